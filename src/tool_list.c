/* SPDX-License-Identifier: MIT */
/*
 * The two plain listings: ls, which tells of each blob, and stat, which tells of the
 * whole container.  ls holds one blob at a time, however many there are.
 */
#include "tool.h"
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- ls ------------------------------------------------------------------ */

static const char *const list_columns[] = {"id",    "dtype",        "shape",  "order",  "bytes",
                                           "links", "stored_bytes", "offset", "problem"};

static const char *
list_order(const h5store_blob_info *info)
{
    return info->array.order == H5STORE_ORDER_F ? "F" : "C";
}

static void
list_row_table(tool_table *table, const h5store_blob_info *info, const char *problem)
{
    char id[H5STORE_ID_TEXT_SIZE];
    bool known = problem == NULL;
    tool_value values[COUNT(list_columns)];

    h5store_id_format(&info->id, id);
    values[0] = tool_text(id);
    values[1] = tool_text(known ? info->array.dtype : NULL);
    values[2] = tool_shape(known ? &info->array : NULL);
    values[3] = tool_text(known ? list_order(info) : NULL);
    values[4] = known ? tool_number(info->array.nbytes) : tool_text(NULL);
    values[5] = known ? tool_number(info->links) : tool_text(NULL);
    values[6] = known ? tool_number(info->stored_bytes) : tool_text(NULL);
    values[7] = known ? tool_number(info->offset) : tool_text(NULL);
    values[8] = tool_text(problem);
    tool_table_row(table, values);
}

#define LIST_DTYPE_COLUMNS 16
#define LIST_DTYPE_TEXT 128 /* more than is shown */

static void
list_row_human(tool_out *out, const h5store_blob_info *info, const char *problem)
{
    char id[TOOL_SHORT_ID_TEXT];
    char dtype[LIST_DTYPE_TEXT];
    char size[TOOL_SIZE_TEXT];
    char shape[TOOL_SHAPE_TEXT];
    char middle[64];
    int used;

    tool_printf(out, "%s  ", tool_short_id(&info->id, id));
    if (problem != NULL) {
        tool_puts(out, "unreadable: ");
        tool_show(out, problem, TOOL_COLUMNS - TOOL_SHORT_ID - 2 - 12);
        tool_puts(out, "\n");
        return;
    }

    used = tool_show(out, tool_dtype_text(info->array.dtype, dtype, sizeof(dtype)),
                     LIST_DTYPE_COLUMNS);
    snprintf(middle, sizeof(middle), "%*s  %-5s  %10s  %5llu  ", LIST_DTYPE_COLUMNS - used, "",
             list_order(info), tool_size_text(info->array.nbytes, size),
             (unsigned long long)info->links);
    used += (int)strlen(middle);
    tool_puts(out, middle);
    tool_show(out, tool_shape_text(&info->array, shape), TOOL_COLUMNS - TOOL_SHORT_ID - 2 - used);
    tool_puts(out, "\n");
}

int
tool_next_blob(h5store_blob_cursor *cursor, h5store_blob_info *info, const char **problem,
               h5store_err *err)
{
    h5store_id before = info->id;
    int rc = h5store_blob_cursor_next(cursor, info, err);

    *problem = NULL;
    if (rc != H5STORE_E_DAMAGED || memcmp(&info->id, &before, sizeof(before)) <= 0)
        return rc;
    *problem = err->message;
    return H5STORE_OK;
}

int
tool_ls(h5store *store, const tool_args *args, tool_out *out, h5store_err *err)
{
    TOOL_CLEANUP(tool_blob_cursor_closep) h5store_blob_cursor *cursor = NULL;
    bool human = args->form == TOOL_HUMAN;
    uint64_t blobs = 0, bytes = 0, bad = 0;
    char size[TOOL_SIZE_TEXT];
    h5store_blob_info info = {0};
    const char *problem;
    tool_table table;
    int rc = h5store_blob_cursor_open(store, &cursor, err);

    if (rc < 0)
        return rc;

    if (human)
        tool_printf(out, "%-*s  %-*s  ORDER  %10s  LINKS  SHAPE\n", TOOL_SHORT_ID, "ID",
                    LIST_DTYPE_COLUMNS, "DTYPE", "SIZE");
    else
        tool_table_begin(&table, out, args, "blobs", list_columns, COUNT(list_columns));

    while ((rc = tool_next_blob(cursor, &info, &problem, err)) != H5STORE_DONE) {
        if (rc < 0)
            return rc;
        if (human)
            list_row_human(out, &info, problem);
        else
            list_row_table(&table, &info, problem);
        if (tool_out_failed(out))
            return tool_fail_out(out, err);

        blobs++;
        bad += problem != NULL;
        bytes += problem != NULL ? 0 : info.array.nbytes;
    }

    if (!human)
        tool_table_end(&table);
    else
        tool_printf(out, "%llu %s, %s\n", (unsigned long long)blobs, blobs == 1 ? "blob" : "blobs",
                    tool_size_text(bytes, size));
    if (bad > 0)
        tool_complain("%llu of %llu blobs cannot be understood; 'h5store verify' tells more",
                      (unsigned long long)bad, (unsigned long long)blobs);
    return bad > 0 ? TOOL_FINDINGS : TOOL_FINE;
}

/* ---- stat ---------------------------------------------------------------- */

/* What is told of a container, in this order in every form. */
enum {
    STAT_RESULTS,
    STAT_LINKS,
    STAT_BLOBS,
    STAT_LINKED_BYTES,
    STAT_BLOB_BYTES,
    STAT_SAVED_BYTES,
    STAT_SAVED_PERCENT,
    STAT_FILE_BYTES,
    STAT_FREE_BYTES,
    STAT_LOG_BYTES,
    STAT_DISK_BYTES,
    STAT_COUNT
};

static const char *const stat_names[STAT_COUNT] = {
    "results",       "links",      "blobs",      "linked_bytes", "blob_bytes", "saved_bytes",
    "saved_percent", "file_bytes", "free_bytes", "log_bytes",    "disk_bytes"};

static void
stat_values(const h5store_totals *totals, tool_value values[STAT_COUNT])
{
    /* Blobs that h5store_put keeps may have no reference and outweigh what is saved. */
    uint64_t saved = totals->linked_bytes > totals->blob_bytes
                         ? totals->linked_bytes - totals->blob_bytes
                         : 0;
    double percent = saved > 0 ? 100.0 * (double)saved / (double)totals->linked_bytes : 0.0;

    values[STAT_RESULTS] = tool_number(totals->items);
    values[STAT_LINKS] = tool_number(totals->links);
    values[STAT_BLOBS] = tool_number(totals->blobs);
    values[STAT_LINKED_BYTES] = tool_number(totals->linked_bytes);
    values[STAT_BLOB_BYTES] = tool_number(totals->blob_bytes);
    values[STAT_SAVED_BYTES] = tool_number(saved);
    values[STAT_SAVED_PERCENT] = tool_real(percent);
    values[STAT_FILE_BYTES] = tool_number(totals->file_size);
    values[STAT_FREE_BYTES] = tool_number(totals->free_bytes);
    values[STAT_LOG_BYTES] = tool_number(totals->log_bytes);
    values[STAT_DISK_BYTES] = tool_number(totals->disk_bytes);
}

/* One line for people: a name, a count (-1: none) and a size (-1: none), both of values. */
static void
stat_line(tool_out *out, const char *name, const tool_value *values, int count, int size)
{
    char digits[24] = "";
    char text[TOOL_SIZE_TEXT] = "";

    if (count >= 0)
        snprintf(digits, sizeof(digits), "%llu", (unsigned long long)values[count].number);
    if (size >= 0)
        tool_size_text(values[size].number, text);
    tool_printf(out, "%-18s %10s", name, digits);
    if (size >= 0)
        tool_printf(out, "  %10s", text);
}

static void
stat_human(tool_out *out, const tool_args *args, const tool_value *values)
{
    static const struct {
        const char *name;
        int count;
        int size;
    } lines[] = {
        {"results", STAT_RESULTS, -1},
        {"array references", STAT_LINKS, STAT_LINKED_BYTES},
        {"arrays stored", STAT_BLOBS, STAT_BLOB_BYTES},
        {"saved by sharing", -1, STAT_SAVED_BYTES},
        {"container file", -1, STAT_FILE_BYTES},
        {"free inside it", -1, STAT_FREE_BYTES},
        {"log", -1, STAT_LOG_BYTES},
        {"on disk, with log", -1, STAT_DISK_BYTES},
    };

    tool_printf(out, "%-18s ", "container");
    tool_show(out, args->container, TOOL_COLUMNS - 19);
    tool_puts(out, "\n");
    for (size_t i = 0; i < COUNT(lines); i++) {
        stat_line(out, lines[i].name, values, lines[i].count, lines[i].size);
        if (lines[i].size == STAT_SAVED_BYTES)
            tool_printf(out, "  %.1f %%", values[STAT_SAVED_PERCENT].real);
        tool_puts(out, "\n");
    }
}

static void
stat_json(tool_out *out, const tool_args *args, const tool_value *values)
{
    tool_puts(out, "{\"container\": ");
    tool_json_text(out, args->container);
    for (int i = 0; i < STAT_COUNT; i++) {
        tool_printf(out, ",\n\"%s\": ", stat_names[i]);
        tool_value_write(out, TOOL_JSON, &values[i]);
    }
    tool_puts(out, "}\n");
}

int
tool_stat(h5store *store, const tool_args *args, tool_out *out, h5store_err *err)
{
    static const char *const columns[] = {"name", "value"};
    tool_value values[STAT_COUNT];
    h5store_totals totals;
    tool_table table;
    int rc = h5store_stat(store, &totals, err);

    if (rc < 0)
        return rc;

    stat_values(&totals, values);
    if (args->form == TOOL_HUMAN) {
        stat_human(out, args, values);
    } else if (args->form == TOOL_JSON) {
        stat_json(out, args, values);
    } else {
        tool_table_begin(&table, out, args, "totals", columns, COUNT(columns));
        for (int i = 0; i < STAT_COUNT; i++)
            tool_table_row(&table, (tool_value[]){tool_text(stat_names[i]), values[i]});
        tool_table_end(&table);
    }
    return TOOL_FINE;
}
