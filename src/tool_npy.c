/* SPDX-License-Identifier: MIT */
/*
 * The header of a .npy file.  Called by cat.
 *
 * A .npy header is Python text: {'descr': ..., 'fortran_order': ..., 'shape': ...}.  The
 * store keeps dtypes in the same notation, so most are copied as they stand.  The store
 * has one form more, a dict for records with titles, aligned flags or overlapping fields
 * (h5store/array.h); .npy has only the list of fields, in order, with padding as nameless
 * void.  Such a dict is rewritten here as that list, keeping names, titles and offsets;
 * the aligned flag is lost, as it is in numpy.save.  Fields that overlap or stand out of
 * order cannot be said in a list: numpy.save refuses them, and so do we.
 *
 * The text comes from a container.  Spans of it are copied, never decoded; whatever is
 * not as expected ends in H5STORE_E_UNSUPPORTED.
 */
#include "tool.h"
#include <errno.h>
#include <string.h>

#define NPY_MAX_DEPTH 32
#define NPY_ALIGN 64

/* A piece of the description. */
typedef struct npy_span {
    const char *at;
    size_t length;
} npy_span;

/* The parts of a record in dict form; length 0: not given. */
typedef struct npy_dict {
    npy_span names;
    npy_span formats;
    npy_span offsets;
    npy_span titles;
    npy_span itemsize;
} npy_dict;

static int npy_type(FILE *sink, npy_span type, int depth, h5store_err *err);

static int
npy_strange(npy_span span, h5store_err *err)
{
    return tool_fail(err, H5STORE_E_UNSUPPORTED,
                     "a .npy file has no words for this dtype, near \"%.*s\"; read the array with "
                     "decache or h5py instead",
                     (int)(span.length < 60 ? span.length : 60), span.at);
}

static int
npy_nomem(h5store_err *err)
{
    return tool_fail(err, H5STORE_E_NOMEM, "out of memory for a .npy header");
}

static npy_span
npy_trim(npy_span span)
{
    while (span.length > 0 && span.at[0] == ' ') {
        span.at++;
        span.length--;
    }
    while (span.length > 0 && span.at[span.length - 1] == ' ')
        span.length--;
    return span;
}

/* What stands inside a pair of brackets; false if @p span is not one pair. */
static bool
npy_inside(npy_span span, char open, char close, npy_span *inside)
{
    span = npy_trim(span);
    if (span.length < 2 || span.at[0] != open || span.at[span.length - 1] != close)
        return false;
    *inside = npy_trim((npy_span){span.at + 1, span.length - 2});
    return true;
}

/*
 * Cut the next part off @p rest, up to @p separator at the outermost level, and step over
 * that.  False when nothing is left (a comma at the very end is no part), or brackets or
 * quotes do not match.
 */
static bool
npy_cut(npy_span *rest, char separator, npy_span *part)
{
    int depth = 0;
    char quote = '\0';
    size_t i = 0;

    for (; i < rest->length; i++) {
        char c = rest->at[i];

        if (quote != '\0') {
            if (c == '\\')
                i++;
            else if (c == quote)
                quote = '\0';
        } else if (c == '\'' || c == '"') {
            quote = c;
        } else if (strchr("([{", c) != NULL) {
            depth++;
        } else if (strchr(")]}", c) != NULL) {
            if (--depth < 0)
                return false;
        } else if (c == separator && depth == 0) {
            break;
        }
    }
    if (depth != 0 || quote != '\0')
        return false;

    *part = npy_trim((npy_span){rest->at, i < rest->length ? i : rest->length});
    *rest = i < rest->length ? (npy_span){rest->at + i + 1, rest->length - i - 1}
                             : (npy_span){rest->at + rest->length, 0};
    return part->length > 0;
}

static void
npy_put(FILE *sink, npy_span span)
{
    fwrite(span.at, 1, span.length, sink);
}

static bool
npy_number(npy_span span, uint64_t *value)
{
    uint64_t number = 0;

    span = npy_trim(span);
    if (span.length == 0 || span.length > 18)
        return false;
    for (size_t i = 0; i < span.length; i++) {
        if (span.at[i] < '0' || span.at[i] > '9')
            return false;
        number = 10 * number + (uint64_t)(span.at[i] - '0');
    }
    *value = number;
    return true;
}

/* Split a format (base, shape), as a dict writes a subarray; shape is empty for others. */
static bool
npy_split_subarray(npy_span format, npy_span *base, npy_span *shape)
{
    npy_span rest, more;

    *base = format;
    *shape = (npy_span){format.at, 0};
    if (!npy_inside(format, '(', ')', &rest))
        return true;
    return npy_cut(&rest, ',', base) && npy_cut(&rest, ',', shape) && !npy_cut(&rest, ',', &more);
}

/* Bytes of a field: its base, times its shape. */
static int
npy_field_size(npy_span base, npy_span shape, uint64_t *size, h5store_err *err)
{
    TOOL_CLEANUP(tool_freep) char *text = strndup(base.at, base.length);
    npy_span rest, part;
    uint64_t length;
    size_t itemsize;
    int rc;

    if (text == NULL)
        return npy_nomem(err);
    rc = h5store_dtype_itemsize(text, &itemsize, err);
    if (rc < 0)
        return rc;

    *size = itemsize;
    if (shape.length == 0)
        return H5STORE_OK;
    if (!npy_inside(shape, '(', ')', &rest))
        return npy_strange(shape, err);
    while (npy_cut(&rest, ',', &part))
        if (!npy_number(part, &length) || __builtin_mul_overflow(*size, length, size))
            return npy_strange(shape, err);
    return H5STORE_OK;
}

static int
npy_dict_parts(npy_span inside, npy_dict *dict, h5store_err *err)
{
    npy_span entry;

    *dict = (npy_dict){0};
    while (npy_cut(&inside, ',', &entry)) {
        npy_span value = entry, key;

        if (!npy_cut(&value, ':', &key) || key.length < 2)
            return npy_strange(entry, err);
        value = npy_trim(value);
        key = (npy_span){key.at + 1, key.length - 2};
#define NPY_IS(word) (key.length == strlen(word) && memcmp(key.at, word, key.length) == 0)
        if (NPY_IS("itemsize"))
            dict->itemsize = value;
        else if (NPY_IS("names") && npy_inside(value, '[', ']', &dict->names))
            continue;
        else if (NPY_IS("formats") && npy_inside(value, '[', ']', &dict->formats))
            continue;
        else if (NPY_IS("offsets") && npy_inside(value, '[', ']', &dict->offsets))
            continue;
        else if (NPY_IS("titles") && npy_inside(value, '[', ']', &dict->titles))
            continue;
        else if (!NPY_IS("aligned"))
            return npy_strange(entry, err);
#undef NPY_IS
    }
    return H5STORE_OK;
}

static void
npy_put_padding(FILE *sink, uint64_t bytes)
{
    if (bytes > 0)
        fprintf(sink, "('', '|V%llu'), ", (unsigned long long)bytes);
}

/* One field of the list, from its parts in the dict. */
static int
npy_put_field(FILE *sink, npy_span name, npy_span title, npy_span base, npy_span shape, int depth,
              h5store_err *err)
{
    bool titled = title.length > 0 && !(title.length == 4 && memcmp(title.at, "None", 4) == 0);
    int rc;

    fputs(titled ? "((" : "(", sink);
    if (titled) {
        npy_put(sink, title);
        fputs(", ", sink);
    }
    npy_put(sink, name);
    fputs(titled ? "), " : ", ", sink);
    rc = npy_type(sink, base, depth + 1, err);
    if (rc < 0)
        return rc;
    if (shape.length > 0) {
        fputs(", ", sink);
        npy_put(sink, shape);
    }
    fputs("), ", sink);
    return H5STORE_OK;
}

/* A record in dict form, as the list that .npy knows. */
static int
npy_dict_type(FILE *sink, npy_span inside, int depth, h5store_err *err)
{
    npy_dict dict;
    npy_span whole = inside, name;
    uint64_t at = 0, itemsize = 0;
    int rc = npy_dict_parts(inside, &dict, err);

    if (rc < 0)
        return rc;

    fputs("[", sink);
    while (npy_cut(&dict.names, ',', &name)) {
        npy_span format, base, shape, offset_text, title = {name.at, 0};
        uint64_t offset = at, size = 0;

        if (!npy_cut(&dict.formats, ',', &format) || !npy_split_subarray(format, &base, &shape))
            return npy_strange(name, err);
        if (npy_cut(&dict.offsets, ',', &offset_text) && !npy_number(offset_text, &offset))
            return npy_strange(offset_text, err);
        npy_cut(&dict.titles, ',', &title);
        rc = npy_field_size(base, shape, &size, err);
        if (rc < 0)
            return rc;
        if (offset < at)
            return tool_fail(err, H5STORE_E_UNSUPPORTED,
                             "the record's field %.*s overlaps another or stands out of order, "
                             "which a .npy file cannot say; read the array with decache or h5py",
                             (int)(name.length < 60 ? name.length : 60), name.at);
        npy_put_padding(sink, offset - at);
        rc = npy_put_field(sink, name, title, base, shape, depth, err);
        if (rc < 0)
            return rc;
        if (__builtin_add_overflow(offset, size, &at))
            return npy_strange(whole, err);
    }
    if (npy_number(dict.itemsize, &itemsize) && itemsize > at)
        npy_put_padding(sink, itemsize - at);
    fputs("]", sink);
    return H5STORE_OK;
}

/* A list of fields is .npy's own form, but a field's type may be a dict. */
static int
npy_list_type(FILE *sink, npy_span inside, int depth, h5store_err *err)
{
    npy_span field;

    fputs("[", sink);
    while (npy_cut(&inside, ',', &field)) {
        npy_span rest, name, type, shape;
        int rc;

        if (!npy_inside(field, '(', ')', &rest) || !npy_cut(&rest, ',', &name) ||
            !npy_cut(&rest, ',', &type))
            return npy_strange(field, err);
        fputs("(", sink);
        npy_put(sink, name);
        fputs(", ", sink);
        rc = npy_type(sink, type, depth + 1, err);
        if (rc < 0)
            return rc;
        if (npy_cut(&rest, ',', &shape)) {
            fputs(", ", sink);
            npy_put(sink, shape);
        }
        fputs("), ", sink);
    }
    fputs("]", sink);
    return H5STORE_OK;
}

static int
npy_type(FILE *sink, npy_span type, int depth, h5store_err *err)
{
    npy_span inside;

    type = npy_trim(type);
    if (type.length == 0 || depth > NPY_MAX_DEPTH)
        return npy_strange(type, err);
    if (npy_inside(type, '{', '}', &inside))
        return npy_dict_type(sink, inside, depth, err);
    if (npy_inside(type, '[', ']', &inside))
        return npy_list_type(sink, inside, depth, err);
    if (type.at[0] == '\'' || type.at[0] == '"') {
        npy_put(sink, type);
        return H5STORE_OK;
    }
    return npy_strange(type, err);
}

/* The text of the header; release with free(). */
static int
npy_text(const h5store_array *array, char **text, size_t *length, h5store_err *err)
{
    FILE *sink = open_memstream(text, length);
    char shape[TOOL_SHAPE_TEXT];
    bool failed;
    int rc;

    if (sink == NULL)
        return npy_nomem(err);

    fputs("{'descr': ", sink);
    rc = npy_type(sink, (npy_span){array->dtype, strlen(array->dtype)}, 0, err);
    fprintf(sink, ", 'fortran_order': %s, 'shape': %s, }",
            array->order == H5STORE_ORDER_F ? "True" : "False", tool_shape_text(array, shape));
    failed = ferror(sink) != 0;
    failed |= fclose(sink) != 0; /* which fills *text */
    return rc == H5STORE_OK && failed ? npy_nomem(err) : rc;
}

int
tool_npy_header(const h5store_array *array, char **header, size_t *size, h5store_err *err)
{
    TOOL_CLEANUP(tool_freep) char *text = NULL;
    size_t length = 0, before, total;
    bool ascii = true;
    int version, rc = npy_text(array, &text, &length, err);
    char *bytes;

    if (rc < 0)
        return rc;

    for (size_t i = 0; i < length; i++)
        ascii &= (unsigned char)text[i] < 0x80;
    version = !ascii ? 3 : length + NPY_ALIGN < 65536 ? 1 : 2;
    before = version == 1 ? 10 : 12; /* magic, version, length */
    total = (before + length + 1 + NPY_ALIGN - 1) / NPY_ALIGN * NPY_ALIGN;

    bytes = malloc(total);
    if (bytes == NULL)
        return npy_nomem(err);
    memset(bytes, ' ', total);
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (char)version;
    bytes[7] = 0;
    for (size_t i = 8; i < before; i++)
        bytes[i] = (char)((total - before) >> (8 * (i - 8)) & 0xff);
    memcpy(bytes + before, text, length);
    bytes[total - 1] = '\n';
    *header = bytes;
    *size = total;
    return H5STORE_OK;
}
