/* SPDX-License-Identifier: MIT */
/*
 * What the files of the h5store command share.  The command sees the library as any
 * other program does: through <h5store/...> alone.
 *
 * tool.c reads the command line, opens the container and calls one of the commands
 * below; a command writes through a tool_out and returns TOOL_FINE, TOOL_FINDINGS, or a
 * code < 0 with *err filled.  main() alone turns that into an exit status and a message.
 * Nothing here unpickles or runs anything that a container holds, and whatever comes
 * from a container is escaped before it is shown to a person.
 */
#ifndef TOOL_H
#define TOOL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* wcwidth, strndup, open_memstream; before any other header */
#endif

#include <h5store/h5store.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define TOOL_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define TOOL_CLEANUP(function) __attribute__((cleanup(function)))

/* No line for people is longer than this, whatever the terminal. */
#define TOOL_COLUMNS 80

/* Digits of an id in listings for people. */
#define TOOL_SHORT_ID 12

/* Exit statuses; h5store(1), "EXIT STATUS". */
enum {
    TOOL_FINE = 0,
    TOOL_FINDINGS = 1, /* the work was done, and the container is damaged in part */
    TOOL_USAGE = 2,
    TOOL_FAILED = 3
};

/* Whom a listing is for. */
typedef enum tool_form { TOOL_HUMAN, TOOL_TSV, TOOL_JSON } tool_form;

/* The command line, understood. */
typedef struct tool_args {
    const char *container; /* the file, after a folder was resolved */
    const char *operand;   /* COLLECTION, ID or TARGET; NULL when not given */
    tool_form form;
    double timeout;        /* seconds; < 0: the library's default */
    bool collections_only; /* tree */
    bool unchecked;        /* cat */
    h5store_check check;   /* verify */
    double fraction;       /* verify */
} tool_args;

/* ---- output (tool_out.c) ------------------------------------------------ */

/*
 * Standard output.  The first failure is kept and later writes do nothing, so that a
 * command may write without looking and ask tool_out_failed() once a row.
 */
typedef struct tool_out {
    FILE *file;
    int os_errno; /* of the first write that failed; 0: none */
} tool_out;

void tool_write(tool_out *out, const void *bytes, size_t size);
void tool_puts(tool_out *out, const char *text);
void tool_printf(tool_out *out, const char *format, ...) TOOL_PRINTF(2, 3);
void tool_out_flush(tool_out *out);
bool tool_out_failed(const tool_out *out);

/* Fill *err (never NULL here) as the library does, and return @p code. */
int tool_fail(h5store_err *err, int code, const char *format, ...) TOOL_PRINTF(3, 4);

/* The failure of standard output, for a command that cannot go on. */
int tool_fail_out(const tool_out *out, h5store_err *err);

/* "h5store: " and a message on standard error, made safe to show. */
void tool_complain(const char *format, ...) TOOL_PRINTF(1, 2);

/* ---- text (tool_text.c) ------------------------------------------------- */

/* Room for any size or share: "1023.9 KiB", "16.0 EiB". */
#define TOOL_SIZE_TEXT 16
const char *tool_size_text(uint64_t bytes, char text[TOOL_SIZE_TEXT]);

/* An id as its first TOOL_SHORT_ID digits. */
#define TOOL_SHORT_ID_TEXT (TOOL_SHORT_ID + 1)
const char *tool_short_id(const h5store_id *id, char text[TOOL_SHORT_ID_TEXT]);

/* A shape as NumPy writes it: "()", "(3,)", "(3, 4)". */
#define TOOL_SHAPE_TEXT (H5STORE_MAX_RANK * 22 + 4)
const char *tool_shape_text(const h5store_array *array, char text[TOOL_SHAPE_TEXT]);

/* A dtype for people: a plain one without its quotes.  Writes at most @p size bytes. */
const char *tool_dtype_text(const char *dtype, char *text, size_t size);

/*
 * Bytes from a container for a person: at most @p columns columns of them, with "..." at
 * the end of what was cut.  Control characters, and bytes that are no UTF-8, come as
 * \xNN.  Returns how many columns were used.
 */
int tool_show(tool_out *out, const char *text, int columns);

/* The same, broken into lines at spaces, each begun with @p indent spaces. */
void tool_show_wrapped(tool_out *out, const char *text, int indent);

/* JSON string of any bytes: a byte that is no UTF-8 becomes \udcNN, which is what
 * Python's "surrogateescape" decodes to.  NULL becomes null. */
void tool_json_text(tool_out *out, const char *text);

/* ---- tables for programs (tool_table.c) --------------------------------- */

/* One value of a row. */
typedef struct tool_value {
    enum { TOOL_TEXT, TOOL_NUMBER, TOOL_REAL, TOOL_SHAPE } kind;
    const char *text; /* TOOL_TEXT; NULL: none (null in JSON, nothing in TSV) */
    uint64_t number;
    double real;
    const h5store_array *array; /* TOOL_SHAPE; NULL: none */
} tool_value;

static inline tool_value
tool_text(const char *text)
{
    return (tool_value){.kind = TOOL_TEXT, .text = text};
}

static inline tool_value
tool_number(uint64_t number)
{
    return (tool_value){.kind = TOOL_NUMBER, .number = number};
}

static inline tool_value
tool_real(double real)
{
    return (tool_value){.kind = TOOL_REAL, .real = real};
}

static inline tool_value
tool_shape(const h5store_array *array)
{
    return (tool_value){.kind = TOOL_SHAPE, .array = array};
}

/*
 * A table for programs, as TSV or JSON, written row by row:
 *
 *   TSV   a line of column names, then one line a row
 *   JSON  {"container": ..., NAME: [one object a row, one row a line], trailers...}
 *
 * A JSON document is complete only if the command came to its end.
 */
typedef struct tool_table {
    tool_out *out;
    tool_form form; /* TOOL_TSV or TOOL_JSON */
    const char *const *columns;
    size_t width;
    uint64_t rows;
} tool_table;

/* One value by itself. */
void tool_value_write(tool_out *out, tool_form form, const tool_value *value);

void tool_table_begin(tool_table *table, tool_out *out, const tool_args *args, const char *name,
                      const char *const *columns, size_t width);
void tool_table_row(tool_table *table, const tool_value *values); /* @c width of them */
void tool_table_trailer(tool_table *table, const char *name, tool_value value); /* JSON only */
void tool_table_end(tool_table *table);

/* ---- findings (tool_findings.c) ------------------------------------------ */

/* Findings of one run, told as they are made. */
typedef struct tool_findings {
    const char *verb;
    tool_out *out;
    const tool_args *args;
    tool_table table; /* unless for people */
    uint64_t found;
    uint64_t errors;
    bool interactive; /* standard error is a terminal */
    bool drawn;       /* a progress line stands there */
    double redraw_at;
} tool_findings;

/* @p verb: what is done, for the progress line. */
void tool_findings_begin(tool_findings *findings, const char *verb, tool_out *out,
                         const tool_args *args);
void tool_findings_clear_line(tool_findings *findings); /* before anything else is printed */

/* The two callbacks; their context is the tool_findings. */
int tool_findings_note(const h5store_finding *finding, void *context);
int tool_findings_progress(uint64_t done, uint64_t total, void *context);

/* ---- cleanup ------------------------------------------------------------- */

static inline void
tool_blob_cursor_closep(h5store_blob_cursor **cursor)
{
    h5store_blob_cursor_close(*cursor);
}

static inline void
tool_item_cursor_closep(h5store_item_cursor **cursor)
{
    h5store_item_cursor_close(*cursor);
}

static inline void
tool_blob_closep(h5store_blob **blob)
{
    h5store_blob_close(*blob);
}

static inline void
tool_freep(void *pointer)
{
    free(*(void **)pointer);
}

/* ---- walks --------------------------------------------------------------- */

/*
 * The next blob, in rising order of id.  @p info is zero before the first call and left
 * alone between them; *problem is NULL, or says why this blob cannot be understood (then
 * its id alone is known).  Damage that concerns no single blob, which therefore does not
 * get the walk any further, is a failure like others.
 */
int tool_next_blob(h5store_blob_cursor *cursor, h5store_blob_info *info, const char **problem,
                   h5store_err *err);

/* ---- commands ----------------------------------------------------------- */

int tool_ls(h5store *store, const tool_args *args, tool_out *out, h5store_err *err);
int tool_stat(h5store *store, const tool_args *args, tool_out *out, h5store_err *err);
int tool_tree(h5store *store, const tool_args *args, tool_out *out, h5store_err *err);
int tool_cat(h5store *store, const tool_args *args, tool_out *out, h5store_err *err);
int tool_verify(h5store *store, const tool_args *args, tool_out *out, h5store_err *err);
int tool_repair(h5store *target, const tool_args *args, tool_out *out, h5store_err *err);
int tool_flush(h5store *store, const tool_args *args, tool_out *out, h5store_err *err);

/*
 * The header of a .npy file for an array (tool_npy.c): magic, version, length and text,
 * padded to 64 bytes.
 *
 * @param[out] header  Release with free().
 * @retval H5STORE_OK             Done.
 * @retval H5STORE_E_UNSUPPORTED  A record that .npy has no words for.
 * @retval H5STORE_E_NOMEM        Memory ran out.
 */
int tool_npy_header(const h5store_array *array, char **header, size_t *size, h5store_err *err);

#endif
