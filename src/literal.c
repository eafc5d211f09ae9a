/* SPDX-License-Identifier: MIT */
/* See literal.h. */
#include "literal.h"

void
hs_literal_text_release(hs_literal_text *text)
{
    free(text->bytes);
    text->bytes = NULL;
}

int
hs_literal_fail(const hs_literal *in, enum h5store_code code, const char *what)
{
    char near[25];
    size_t i;

    for (i = 0; i < sizeof near - 1 && in->at[i] != '\0'; i++)
        near[i] = in->at[i];
    near[i] = '\0';
    for (i = 0; near[i] != '\0'; i++)
        if (near[i] < ' ' || near[i] > '~')
            near[i] = '?'; /* the message must be UTF-8, and the cut may not be */
    return hs_fail(in->err, code, 0,
                   "dtype description, byte %zu, near \"%s\": %s; give what "
                   "numpy.lib.format.dtype_to_descr() returns, as repr() prints it",
                   (size_t)(in->at - in->start), near, what);
}

/* ---- marks, words, numbers ------------------------------------------------ */

static void
literal_skip_spaces(hs_literal *in)
{
    while (*in->at == ' ')
        in->at++;
}

bool
hs_literal_take(hs_literal *in, char mark)
{
    literal_skip_spaces(in);
    if (*in->at != mark)
        return false;
    in->at++;
    return true;
}

bool
hs_literal_take_word(hs_literal *in, const char *word)
{
    size_t length = strlen(word);

    literal_skip_spaces(in);
    if (strncmp(in->at, word, length) != 0)
        return false;
    in->at += length;
    return true;
}

int
hs_literal_expect(hs_literal *in, char mark)
{
    char what[] = "expected '?'";

    if (hs_literal_take(in, mark))
        return H5STORE_OK;
    *strchr(what, '?') = mark;
    return hs_literal_fail(in, H5STORE_E_INVALID, what);
}

int
hs_literal_next(hs_literal *in, char end, int elements, bool *ended)
{
    *ended = hs_literal_take(in, end);
    if (*ended || elements == 0)
        return H5STORE_OK;
    if (!hs_literal_take(in, ','))
        return hs_literal_fail(in, H5STORE_E_INVALID, "expected ',' or the end of a bracket");
    *ended = hs_literal_take(in, end);
    return H5STORE_OK;
}

bool
hs_literal_scan_number(const char **at, uint64_t *number)
{
    const char *digit = *at;
    uint64_t value = 0;

    for (; *digit >= '0' && *digit <= '9'; digit++) {
        value = value * 10 + (uint64_t)(*digit - '0');
        if (value > HS_LITERAL_MAX_NUMBER)
            return false;
    }
    if (digit == *at || (**at == '0' && digit - *at > 1))
        return false;
    *at = digit;
    *number = value;
    return true;
}

int
hs_literal_number(hs_literal *in, uint64_t *number)
{
    literal_skip_spaces(in);
    if (!hs_literal_scan_number(&in->at, number))
        return hs_literal_fail(in, H5STORE_E_INVALID, "expected a number below 2^31");
    return H5STORE_OK;
}

/* ---- strings --------------------------------------------------------------- */

static size_t
literal_encode(uint32_t point, char *out)
{
    size_t length = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const uint32_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (point & 0x3f));
        point >>= 6;
    }
    out[0] = (char)(leads[length] | point);
    return length;
}

/* Bytes of the UTF-8 character at @p at, or 0 when it is not well formed. */
static size_t
literal_utf8_length(const char *at)
{
    unsigned char lead = (unsigned char)at[0];
    size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    unsigned char second;

    if (length == 1)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    for (size_t i = 1; i < length; i++)
        if (((unsigned char)at[i] & 0xc0) != 0x80)
            return 0; /* the terminating zero stops here as well */
    /* No overlong forms, no surrogates, nothing beyond U+10FFFF. */
    second = (unsigned char)at[1];
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
        (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f))
        return 0;
    return length;
}

static bool
literal_scan_hex(const char **at, int digits, uint32_t *value)
{
    *value = 0;
    for (; digits > 0; digits--, (*at)++) {
        char c = **at;

        if (c >= '0' && c <= '9')
            *value = *value << 4 | (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            *value = *value << 4 | (uint32_t)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            *value = *value << 4 | (uint32_t)(c - 'A' + 10);
        else
            return false;
    }
    return true;
}

/* The character that an escape stands for; its backslash has been taken. */
static bool
literal_scan_escape(const char **at, uint32_t *point)
{
    switch (**at) {
    case '\\':
    case '\'':
    case '"':
        *point = (uint32_t)**at;
        break;
    case 'n':
        *point = '\n';
        break;
    case 'r':
        *point = '\r';
        break;
    case 't':
        *point = '\t';
        break;
    case 'x':
        (*at)++;
        return literal_scan_hex(at, 2, point);
    case 'u':
        (*at)++;
        return literal_scan_hex(at, 4, point);
    case 'U':
        (*at)++;
        return literal_scan_hex(at, 8, point) && *point <= 0x10ffff;
    default:
        return false;
    }
    (*at)++;
    return true;
}

/* Up to the closing quote, which is taken. */
static int
literal_string_body(hs_literal *in, char quote, hs_literal_text *text)
{
    while (*in->at != quote) {
        size_t length = literal_utf8_length(in->at);
        uint32_t point = 0;

        if (*in->at == '\0')
            return hs_literal_fail(in, H5STORE_E_INVALID, "a string does not end");
        if (length == 0)
            return hs_literal_fail(in, H5STORE_E_INVALID, "a string is not UTF-8");
        if ((unsigned char)*in->at < ' ')
            return hs_literal_fail(in, H5STORE_E_INVALID, "a control character in a string");
        if (*in->at != '\\') {
            memcpy(text->bytes + text->length, in->at, length);
            text->length += length;
            in->at += length;
            continue;
        }
        in->at++;
        if (!literal_scan_escape(&in->at, &point))
            return hs_literal_fail(in, H5STORE_E_INVALID, "an escape that repr() never prints");
        if (point == 0 || (point >= 0xd800 && point <= 0xdfff))
            text->plain = false;
        text->length += literal_encode(point, text->bytes + text->length);
    }
    in->at++;
    return H5STORE_OK;
}

int
hs_literal_string(hs_literal *in, hs_literal_text *text)
{
    const char *end;
    char quote;
    int rc;

    literal_skip_spaces(in);
    quote = *in->at;
    if (quote != '\'' && quote != '"')
        return hs_literal_fail(in, H5STORE_E_INVALID, "expected a string");
    end = ++in->at;
    while (*end != '\0' && *end != quote)
        end += *end == '\\' && end[1] != '\0' ? 2 : 1;
    /* Enough room: an escape is never shorter than what it stands for. */
    text->bytes = calloc((size_t)(end - in->at) + 1, 1);
    if (text->bytes == NULL)
        return hs_fail_nomem(in->err, (uint64_t)(end - in->at) + 1, "a dtype");
    text->length = 0;
    text->plain = true;
    rc = literal_string_body(in, quote, text);
    text->plain = text->plain && text->length > 0;
    return rc;
}
