/* SPDX-License-Identifier: MIT */
/*
 * Turning numbers and bytes into text: sizes, ids, shapes, and names that may hold
 * anything.  Called by every command.
 *
 * Names in a container are bytes.  Shown raw they could move the cursor of a terminal or
 * break a JSON document, so each form has its own escape, and none loses a byte that a
 * program might need: see h5store(1), "OUTPUT".
 */
#include "tool.h"
#include <langinfo.h>
#include <string.h>
#include <wchar.h>

const char *
tool_size_text(uint64_t bytes, char text[TOOL_SIZE_TEXT])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes / 1024;
    size_t unit = 0;

    if (bytes < 1024) {
        snprintf(text, TOOL_SIZE_TEXT, "%u B", (unsigned)bytes);
        return text;
    }

    while (value >= 1023.95 && unit < 5) { /* what would be printed as 1024.0 */
        value /= 1024;
        unit++;
    }
    snprintf(text, TOOL_SIZE_TEXT, "%.1f %s", value, units[unit]);
    return text;
}

const char *
tool_short_id(const h5store_id *id, char text[TOOL_SHORT_ID_TEXT])
{
    char full[H5STORE_ID_TEXT_SIZE];

    h5store_id_format(id, full);
    memcpy(text, full, TOOL_SHORT_ID);
    text[TOOL_SHORT_ID] = '\0';
    return text;
}

const char *
tool_shape_text(const h5store_array *array, char text[TOOL_SHAPE_TEXT])
{
    size_t used = 0;

    text[used++] = '(';
    for (int i = 0; i < array->rank; i++)
        used += (size_t)snprintf(text + used, TOOL_SHAPE_TEXT - used, "%s%llu", i > 0 ? ", " : "",
                                 (unsigned long long)array->shape[i]);
    snprintf(text + used, TOOL_SHAPE_TEXT - used, "%s", array->rank == 1 ? ",)" : ")");
    return text;
}

const char *
tool_dtype_text(const char *dtype, char *text, size_t size)
{
    size_t length = strlen(dtype);

    if (length >= 2 && (dtype[0] == '\'' || dtype[0] == '"') && dtype[length - 1] == dtype[0])
        snprintf(text, size, "%.*s", (int)(length - 2), dtype + 1);
    else
        snprintf(text, size, "%s", dtype);
    return text;
}

/*
 * The next character of UTF-8 text, by the strict rules (no overlong forms, no
 * surrogates).  Returns its length and *point; 0 when the byte there begins none.
 */
static size_t
text_next(const unsigned char *p, uint32_t *point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = p[0] < 0x80             ? 1
                    : (p[0] & 0xe0) == 0xc0 ? 2
                    : (p[0] & 0xf0) == 0xe0 ? 3
                    : (p[0] & 0xf8) == 0xf0 ? 4
                                            : 0;
    uint32_t value;

    if (length <= 1) {
        *point = p[0];
        return length;
    }

    value = p[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) /* the final zero too */
            return 0;
        value = value << 6 | (p[i] & 0x3fu);
    }
    if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *point = value;
    return length;
}

/* Columns of a character on the terminal; -1 if it is not to be shown as it is. */
static int
text_width(uint32_t point)
{
    if (point < 0x80)
        return point >= 0x20 && point < 0x7f ? 1 : -1;
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        return -1;
    return wcwidth((wchar_t)point);
}

/* One step of a text for people: bytes taken, and what to write in *cell. */
typedef struct text_cell {
    char bytes[4 * 4 + 1];
    int columns;
} text_cell;

static size_t
text_step(const char *text, text_cell *cell)
{
    const unsigned char *p = (const unsigned char *)text;
    uint32_t point;
    size_t length = text_next(p, &point);
    int width = length > 0 ? text_width(point) : -1;

    if (width >= 0) {
        memcpy(cell->bytes, p, length);
        cell->bytes[length] = '\0';
        cell->columns = width;
        return length;
    }

    length = length > 0 ? length : 1;
    for (size_t i = 0; i < length; i++)
        snprintf(cell->bytes + 4 * i, 5, "\\x%02x", (unsigned)p[i]);
    cell->columns = (int)(4 * length);
    return length;
}

/* Columns of a text, or anything above @p limit once that is passed. */
static int
text_columns(const char *text, int limit)
{
    text_cell cell;
    int columns = 0;

    while (*text != '\0' && columns <= limit) {
        text += text_step(text, &cell);
        columns += cell.columns;
    }
    return columns;
}

int
tool_show(tool_out *out, const char *text, int columns)
{
    bool whole = text_columns(text, columns) <= columns;
    int room = whole ? columns : columns - 3;
    int used = 0;
    text_cell cell;

    while (*text != '\0') {
        text += text_step(text, &cell);
        if (used + cell.columns > room)
            break;
        tool_puts(out, cell.bytes);
        used += cell.columns;
    }
    for (int i = 0; !whole && i < 3 && used < columns; i++, used++)
        tool_puts(out, ".");
    return used;
}

void
tool_show_wrapped(tool_out *out, const char *text, int indent)
{
    int room = TOOL_COLUMNS - indent;
    int used = 0;
    text_cell cell;

    tool_printf(out, "%*s", indent, "");
    while (*text != '\0') {
        const char *end = text + strcspn(text, " ");
        int columns = 0;

        for (const char *p = text; p < end; columns += cell.columns)
            p += text_step(p, &cell);
        if (used > 0 && used + 1 + columns > room) {
            tool_printf(out, "\n%*s", indent, "");
            used = 0;
        } else if (used > 0) {
            tool_puts(out, " ");
            used++;
        }
        while (text < end) { /* a word longer than a line is broken anywhere */
            text += text_step(text, &cell);
            if (used + cell.columns > room) {
                tool_printf(out, "\n%*s", indent, "");
                used = 0;
            }
            tool_puts(out, cell.bytes);
            used += cell.columns;
        }
        text += strspn(text, " ");
    }
    tool_puts(out, "\n");
}

void
tool_json_text(tool_out *out, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;

    if (text == NULL) {
        tool_puts(out, "null");
        return;
    }

    tool_puts(out, "\"");
    while (*p != '\0') {
        uint32_t point;
        size_t length = text_next(p, &point);

        if (length == 0)
            tool_printf(out, "\\udc%02x", (unsigned)*p);
        else if (point == '"' || point == '\\')
            tool_printf(out, "\\%c", (int)point);
        else if (point < 0x20 || point == 0x7f)
            tool_printf(out, "\\u%04x", (unsigned)point);
        else
            tool_write(out, p, length);
        p += length > 0 ? length : 1;
    }
    tool_puts(out, "\"");
}
