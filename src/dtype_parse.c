/* SPDX-License-Identifier: MIT */
/*
 * Reader of NumPy's descriptions; see dtype_parse.h.
 *
 *   type   = code | list | dict | "(" type "," shape [","] ")"
 *   list   = "[" { "(" name "," type [ "," shape ] [","] ")" } "]"
 *   dict   = "{" { "'names'" ":" "[" { string } "]"      | "'formats'" ":" "[" { type } "]"
 *                | "'offsets'" ":" "[" { number } "]"    | "'itemsize'" ":" number
 *                | "'titles'" ":" "[" { string | "None" } "]"
 *                | "'aligned'" ":" ( "True" | "False" ) } "}"
 *   name   = string | "(" string "," string [","] ")"     the first is a title
 *   shape  = "(" { number } ")"                           a tuple: (3,) and (2, 3), not (3)
 *
 * Elements of lists, dicts and shapes are separated by commas; one more may follow the
 * last.  A code is a string: byte order, kind, size, and a unit for times.
 *
 * Recursion goes through parse_type alone, which bounds it.  The length of the text,
 * H5STORE_MAX_DTYPE, bounds everything else.
 */
#include "dtype_parse.h"
#include "literal.h"

struct parser {
    hs_literal in;
    int depth;
};

static int parse_type(struct parser *p, hs_dtype **type);

void
hs_dtype_free(hs_dtype *type)
{
    hs_dtype_field *next;

    if (type == NULL)
        return;
    for (hs_dtype_field *field = type->fields; field != NULL; field = next) {
        next = field->next;
        hs_dtype_free(field->type);
        free(field->name);
        free(field);
    }
    hs_dtype_free(type->base);
    free(type);
}

void
hs_dtype_freep(hs_dtype **type)
{
    hs_dtype_free(*type);
}

static int
parse_invalid(const struct parser *p, const char *what)
{
    return hs_literal_fail(&p->in, H5STORE_E_INVALID, what);
}

static char
parse_peek(const struct parser *p)
{
    return p->in.at[strspn(p->in.at, " ")];
}

static int
parse_nomem(const struct parser *p, size_t bytes)
{
    return hs_fail_nomem(p->in.err, bytes, "a dtype");
}

/* ---- codes ---------------------------------------------------------------- */

/* "[25s]" up to the end of the code: a count and a unit of NumPy. */
static bool
code_is_unit(const char *at)
{
    static const char *const units[] = {"Y]",  "M]",  "W]",  "D]",  "h]",  "m]", "s]",
                                        "ms]", "us]", "ns]", "ps]", "fs]", "as]"};
    uint64_t count = 1;

    if (*at++ != '[')
        return false;
    if (*at >= '0' && *at <= '9' && (!hs_literal_scan_number(&at, &count) || count == 0))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(units[i], at) == 0)
            return true;
    return false;
}

/* The kinds of NumPy and the sizes that each can have. */
static const struct code_kind {
    char letter;
    enum hs_dtype_kind kind;
    uint64_t sizes; /* bit n is set: n bytes; 0: any size */
} code_kinds[] = {
    {'b', HS_DTYPE_BOOL, 1u << 1},
    {'i', HS_DTYPE_INT, 1u << 1 | 1u << 2 | 1u << 4 | 1u << 8},
    {'u', HS_DTYPE_UINT, 1u << 1 | 1u << 2 | 1u << 4 | 1u << 8},
    {'f', HS_DTYPE_FLOAT, 1u << 2 | 1u << 4 | 1u << 8 | 1u << 12 | 1u << 16},
    {'c', HS_DTYPE_COMPLEX, 1u << 8 | 1u << 16 | 1u << 24 | UINT64_C(1) << 32},
    {'M', HS_DTYPE_TIME, 1u << 8},
    {'m', HS_DTYPE_TIME, 1u << 8},
    {'S', HS_DTYPE_BYTES, 0},
    {'U', HS_DTYPE_TEXT, 0},
    {'V', HS_DTYPE_VOID, 0},
};

static bool
code_scan(const char *code, hs_dtype *type)
{
    const struct code_kind *found = NULL;
    const char *at = code + 2;
    uint64_t size;

    for (size_t i = 0; i < sizeof code_kinds / sizeof *code_kinds; i++)
        if (code_kinds[i].letter == code[1])
            found = &code_kinds[i];
    if (found == NULL || !hs_literal_scan_number(&at, &size))
        return false;
    if (found->sizes != 0 && (size >= 64 || (found->sizes >> size & 1) == 0))
        return false;
    if (*at != '\0' && (found->kind != HS_DTYPE_TIME || !code_is_unit(at)))
        return false;
    /* '|' says that there is no byte order, which is not so for numbers of several bytes. */
    if (code[0] == '|' && found->kind != HS_DTYPE_BYTES && found->kind != HS_DTYPE_VOID &&
        size != 1)
        return false;
    if (found->kind == HS_DTYPE_TEXT) {
        if (code[0] == '|')
            return false;
        size *= 4;
    }
    type->kind = found->kind;
    type->big_endian = code[0] == '>';
    type->itemsize = (size_t)size;
    return size <= HS_LITERAL_MAX_NUMBER;
}

static int
parse_code(struct parser *p, hs_dtype *type)
{
    HS_CLEANUP(hs_literal_text_release) hs_literal_text code = {0};
    struct parser before = *p;
    int rc = hs_literal_string(&p->in, &code);

    if (rc < 0)
        return rc;
    if (!code.plain || code.length < 2 || strchr("<>|", code.bytes[0]) == NULL)
        return parse_invalid(&before, "not a type code of byte order, kind and size");
    if (code.bytes[1] == 'O' || code.bytes[1] == 'T')
        return hs_literal_fail(&before.in, H5STORE_E_UNSUPPORTED,
                               "elements that are pointers have no bytes to store");
    if (code.length >= sizeof type->code || !code_scan(code.bytes, type))
        return parse_invalid(&before, "not a kind and size that NumPy has");
    memcpy(type->code, code.bytes, code.length + 1);
    return H5STORE_OK;
}

/* ---- subarrays ------------------------------------------------------------- */

/* Read a shape and put it round @p base; the empty shape changes nothing. */
static int
parse_shape(struct parser *p, hs_dtype **base)
{
    HS_CLEANUP(hs_dtype_freep) hs_dtype *array = calloc(1, sizeof *array);
    uint64_t dim, size = (*base)->itemsize;
    bool comma = true;
    int rc;

    if (array == NULL)
        return parse_nomem(p, sizeof *array);
    rc = hs_literal_expect(&p->in, '(');
    while (rc == H5STORE_OK && !hs_literal_take(&p->in, ')')) {
        if (!comma)
            return parse_invalid(p, "expected ',' or ')'");
        if (array->rank == H5STORE_MAX_RANK)
            return hs_literal_fail(&p->in, H5STORE_E_UNSUPPORTED,
                                   "a subarray of more than 64 dimensions");
        rc = hs_literal_number(&p->in, &dim);
        if (rc < 0)
            return rc;
        array->dims[array->rank++] = (uint32_t)dim;
        size *= dim; /* each below 2^31 */
        if (size > HS_LITERAL_MAX_NUMBER)
            return parse_invalid(p, "a subarray of 2^31 bytes or more");
        comma = hs_literal_take(&p->in, ',');
    }
    if (rc < 0 || array->rank == 0)
        return rc;
    if (array->rank == 1 && !comma)
        return parse_invalid(p, "a shape of one dimension has no comma");
    array->kind = HS_DTYPE_SUBARRAY;
    array->itemsize = (size_t)size;
    array->base = *base;
    *base = hs_take(&array);
    return H5STORE_OK;
}

static int
parse_subarray(struct parser *p, hs_dtype **type)
{
    HS_CLEANUP(hs_dtype_freep) hs_dtype *base = NULL;
    int rc = hs_literal_expect(&p->in, '(');

    if (rc == H5STORE_OK)
        rc = parse_type(p, &base);
    if (rc == H5STORE_OK)
        rc = hs_literal_expect(&p->in, ',');
    if (rc == H5STORE_OK)
        rc = parse_shape(p, &base);
    if (rc < 0)
        return rc;
    (void)hs_literal_take(&p->in, ',');
    rc = hs_literal_expect(&p->in, ')');
    if (rc == H5STORE_OK)
        *type = hs_take(&base);
    return rc;
}

/* ---- records ----------------------------------------------------------------- */

/* The field at the end of a record, made when it is not there yet. */
static int
record_slot(struct parser *p, hs_dtype_field **slot)
{
    if (*slot != NULL)
        return H5STORE_OK;
    *slot = calloc(1, sizeof **slot);
    if (*slot == NULL)
        return parse_nomem(p, sizeof **slot);
    return H5STORE_OK;
}

static int
parse_name(struct parser *p, hs_dtype_field *field)
{
    HS_CLEANUP(hs_literal_text_release) hs_literal_text name = {0};
    int rc = hs_literal_string(&p->in, &name);

    if (rc < 0)
        return rc;
    field->name = hs_take(&name.bytes);
    field->name_length = name.length;
    field->plain_name = name.plain;
    return H5STORE_OK;
}

static int
parse_title(struct parser *p, hs_dtype_field *field HS_UNUSED)
{
    HS_CLEANUP(hs_literal_text_release) hs_literal_text title = {0};

    if (hs_literal_take_word(&p->in, "None"))
        return H5STORE_OK;
    return hs_literal_string(&p->in, &title);
}

static int
parse_format(struct parser *p, hs_dtype_field *field)
{
    return parse_type(p, &field->type);
}

static int
parse_offset(struct parser *p, hs_dtype_field *field)
{
    uint64_t offset;
    int rc = hs_literal_number(&p->in, &offset);

    if (rc == H5STORE_OK)
        field->offset = (size_t)offset;
    return rc;
}

/* ('name', type) or ('name', type, shape) or (('title', 'name'), ...). */
static int
parse_list_field(struct parser *p, hs_dtype_field *field)
{
    bool titled;
    int rc = hs_literal_expect(&p->in, '(');

    if (rc < 0)
        return rc;
    titled = hs_literal_take(&p->in, '(');
    if (titled)
        rc = parse_title(p, field);
    if (rc == H5STORE_OK && titled)
        rc = hs_literal_expect(&p->in, ',');
    if (rc == H5STORE_OK)
        rc = parse_name(p, field);
    if (rc == H5STORE_OK && titled) {
        (void)hs_literal_take(&p->in, ',');
        rc = hs_literal_expect(&p->in, ')');
    }
    if (rc == H5STORE_OK)
        rc = hs_literal_expect(&p->in, ',');
    if (rc == H5STORE_OK)
        rc = parse_type(p, &field->type);
    if (rc < 0)
        return rc;
    if (hs_literal_take(&p->in, ',') && parse_peek(p) != ')') {
        rc = parse_shape(p, &field->type);
        if (rc < 0)
            return rc;
        (void)hs_literal_take(&p->in, ',');
    }
    return hs_literal_expect(&p->in, ')');
}

static int
record_compare_names(const void *a, const void *b)
{
    const hs_dtype_field *one = *(hs_dtype_field *const *)a;
    const hs_dtype_field *two = *(hs_dtype_field *const *)b;

    if (one->name_length != two->name_length)
        return one->name_length < two->name_length ? -1 : 1;
    return memcmp(one->name, two->name, one->name_length);
}

static int
record_check_names(const struct parser *p, const hs_dtype *record)
{
    HS_CLEANUP(hs_freep) const hs_dtype_field **sorted = NULL;
    size_t count = 0;

    for (const hs_dtype_field *field = record->fields; field != NULL; field = field->next)
        count += !field->padding;
    if (count < 2)
        return H5STORE_OK;
    sorted = calloc(count, sizeof *sorted);
    if (sorted == NULL)
        return parse_nomem(p, count * sizeof *sorted);
    count = 0;
    for (const hs_dtype_field *field = record->fields; field != NULL; field = field->next)
        if (!field->padding)
            sorted[count++] = field;
    qsort(sorted, count, sizeof *sorted, record_compare_names);
    for (size_t i = 1; i < count; i++)
        if (record_compare_names(&sorted[i - 1], &sorted[i]) == 0)
            return parse_invalid(p, "two fields of a record have the same name");
    return H5STORE_OK;
}

/*
 * Offsets that were not given (packed), item size that was not given (0: the end of the
 * last byte), and the checks of what was.
 */
static int
record_finish(const struct parser *p, hs_dtype *record, bool pack, bool sized)
{
    uint64_t end = 0;

    for (hs_dtype_field *field = record->fields; field != NULL; field = field->next) {
        if (pack)
            field->offset = (size_t)end;
        end = hs_max(end, (uint64_t)field->offset + field->type->itemsize);
        if (end > HS_LITERAL_MAX_NUMBER)
            return parse_invalid(p, "a record of 2^31 bytes or more");
    }
    if (sized && end > record->itemsize)
        return parse_invalid(p, "a field reaches beyond the item size of its record");
    if (!sized)
        record->itemsize = (size_t)end;
    return record_check_names(p, record);
}

static int
parse_list(struct parser *p, hs_dtype *record)
{
    hs_dtype_field **slot = &record->fields;
    bool ended = false;
    int rc = hs_literal_expect(&p->in, '[');

    for (int count = 0; rc == H5STORE_OK; count++) {
        rc = hs_literal_next(&p->in, ']', count, &ended);
        if (rc < 0 || ended)
            break;
        rc = record_slot(p, slot);
        if (rc == H5STORE_OK)
            rc = parse_list_field(p, *slot);
        if (rc < 0)
            return rc;
        (*slot)->padding = (*slot)->name_length == 0 && (*slot)->type->kind == HS_DTYPE_VOID;
        slot = &(*slot)->next;
    }
    return rc < 0 ? rc : record_finish(p, record, true, false);
}

/* One list of the dict form; the first one makes the fields, the others must match. */
static int
parse_dict_list(struct parser *p, hs_dtype *record, int *fields,
                int (*parse_element)(struct parser *, hs_dtype_field *))
{
    hs_dtype_field **slot = &record->fields;
    bool ended = false;
    int count, rc = hs_literal_expect(&p->in, '[');

    for (count = 0; rc == H5STORE_OK; count++) {
        rc = hs_literal_next(&p->in, ']', count, &ended);
        if (rc < 0 || ended)
            break;
        if (*slot == NULL && *fields >= 0)
            return parse_invalid(p, "more entries than in the other lists of the dict");
        rc = record_slot(p, slot);
        if (rc == H5STORE_OK)
            rc = parse_element(p, *slot);
        if (rc < 0)
            return rc;
        slot = &(*slot)->next;
    }
    if (rc == H5STORE_OK && *fields >= 0 && count != *fields)
        return parse_invalid(p, "fewer entries than in the other lists of the dict");
    *fields = count;
    return rc;
}

enum dict_key { KEY_NAMES, KEY_FORMATS, KEY_OFFSETS, KEY_TITLES, KEY_ITEMSIZE, KEY_ALIGNED, KEYS };

static int
parse_dict_key(struct parser *p, enum dict_key *key)
{
    static const char *const names[KEYS] = {"names",  "formats",  "offsets",
                                            "titles", "itemsize", "aligned"};
    HS_CLEANUP(hs_literal_text_release) hs_literal_text text = {0};
    int rc = hs_literal_string(&p->in, &text);

    if (rc < 0)
        return rc;
    for (*key = 0; *key < KEYS; (*key)++)
        if (text.plain && strcmp(names[*key], text.bytes) == 0)
            return hs_literal_expect(&p->in, ':');
    return parse_invalid(p, "not a key of a dtype's dict form");
}

static int
parse_dict_value(struct parser *p, enum dict_key key, hs_dtype *record, int *fields, bool *aligned)
{
    static int (*const parse_element[])(struct parser *, hs_dtype_field *) = {
        [KEY_NAMES] = parse_name,
        [KEY_FORMATS] = parse_format,
        [KEY_OFFSETS] = parse_offset,
        [KEY_TITLES] = parse_title,
    };
    uint64_t itemsize;
    int rc;

    if (key == KEY_ITEMSIZE) {
        rc = hs_literal_number(&p->in, &itemsize);
        if (rc == H5STORE_OK)
            record->itemsize = (size_t)itemsize;
        return rc;
    }
    if (key == KEY_ALIGNED) {
        *aligned = hs_literal_take_word(&p->in, "True");
        if (!*aligned && !hs_literal_take_word(&p->in, "False"))
            return parse_invalid(p, "expected True or False");
        return H5STORE_OK;
    }
    return parse_dict_list(p, record, fields, parse_element[key]);
}

static int
parse_dict(struct parser *p, hs_dtype *record)
{
    bool given[KEYS] = {false}, aligned = false, ended;
    int fields = -1, rc = hs_literal_expect(&p->in, '{');

    for (int count = 0; rc == H5STORE_OK; count++) {
        enum dict_key key;

        rc = hs_literal_next(&p->in, '}', count, &ended);
        if (rc < 0 || ended)
            break;
        rc = parse_dict_key(p, &key);
        if (rc < 0)
            return rc;
        if (given[key])
            return parse_invalid(p, "a key of the dict form stands twice");
        given[key] = true;
        rc = parse_dict_value(p, key, record, &fields, &aligned);
    }
    if (rc < 0)
        return rc;
    if (!given[KEY_NAMES] || !given[KEY_FORMATS])
        return parse_invalid(p, "the dict form needs 'names' and 'formats'");
    /* Alignment is the compiler's: what follows from it must be written out. */
    if (aligned && (!given[KEY_OFFSETS] || !given[KEY_ITEMSIZE]))
        return parse_invalid(p, "an aligned record needs 'offsets' and 'itemsize'");
    return record_finish(p, record, !given[KEY_OFFSETS], given[KEY_ITEMSIZE]);
}

/* ---- all types ------------------------------------------------------------------ */

static int
parse_named(struct parser *p, char mark, hs_dtype **type)
{
    HS_CLEANUP(hs_dtype_freep) hs_dtype *made = calloc(1, sizeof *made);
    int rc;

    if (made == NULL)
        return parse_nomem(p, sizeof *made);
    made->kind = HS_DTYPE_RECORD;
    rc = mark == '['   ? parse_list(p, made)
         : mark == '{' ? parse_dict(p, made)
                       : parse_code(p, made);
    if (rc == H5STORE_OK)
        *type = hs_take(&made);
    return rc;
}

static int
parse_type(struct parser *p, hs_dtype **type)
{
    char mark = parse_peek(p);
    int rc;

    if (p->depth == HS_DTYPE_MAX_DEPTH)
        return hs_literal_fail(&p->in, H5STORE_E_UNSUPPORTED,
                               "records inside one another more than 32 deep");
    p->depth++;
    rc = mark == '(' ? parse_subarray(p, type) : parse_named(p, mark, type);
    p->depth--;
    return rc;
}

int
hs_dtype_parse(const char *descr, hs_dtype **type, h5store_err *err)
{
    struct parser p = {.in = {descr, descr, err}};
    HS_CLEANUP(hs_dtype_freep) hs_dtype *made = NULL;
    int rc;

    if (strnlen(descr, H5STORE_MAX_DTYPE + 1) > H5STORE_MAX_DTYPE)
        return hs_fail(err, H5STORE_E_UNSUPPORTED, 0,
                       "a dtype description of more than %d bytes; use fewer or shorter fields",
                       H5STORE_MAX_DTYPE);
    rc = parse_type(&p, &made);
    if (rc < 0)
        return rc;
    if (parse_peek(&p) != '\0')
        return parse_invalid(&p, "text after the end of the type");
    *type = hs_take(&made);
    return H5STORE_OK;
}
