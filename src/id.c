/* SPDX-License-Identifier: MIT */
/*
 * The text of a blob's name.  Public functions of h5store/id.h; no state.
 */
#include "error.h"
#include <h5store/id.h>

void
h5store_id_format(const h5store_id *id, char text[H5STORE_ID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < H5STORE_ID_SIZE; i++) {
        text[2 * i] = digits[id->bytes[i] >> 4];
        text[2 * i + 1] = digits[id->bytes[i] & 15];
    }
    text[H5STORE_ID_TEXT_SIZE - 1] = '\0';
}

/* The value of a hex digit, or -1; isxdigit would ask the locale. */
static int
id_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int
h5store_id_parse(const char *text, h5store_id *id, h5store_err *err)
{
    h5store_id parsed;

    if (text == NULL || id == NULL)
        return hs_fail(err, H5STORE_E_INVALID, 0,
                       "h5store_id_parse was called with a NULL argument");
    for (size_t i = 0; i < H5STORE_ID_SIZE; i++) {
        int high = id_digit(text[2 * i]);
        int low = high < 0 ? -1 : id_digit(text[2 * i + 1]);

        if (low < 0)
            return hs_fail(err, H5STORE_E_INVALID, 0,
                           "'%s' is not the name of a blob: give %d hex digits", text,
                           2 * H5STORE_ID_SIZE);
        parsed.bytes[i] = (uint8_t)(high << 4 | low);
    }
    if (text[H5STORE_ID_TEXT_SIZE - 1] != '\0')
        return hs_fail(err, H5STORE_E_INVALID, 0,
                       "'%s' is not the name of a blob: it has more than %d characters", text,
                       2 * H5STORE_ID_SIZE);
    *id = parsed;
    return H5STORE_OK;
}

int
h5store_id_equal(const h5store_id *a, const h5store_id *b)
{
    return memcmp(a->bytes, b->bytes, H5STORE_ID_SIZE) == 0;
}
