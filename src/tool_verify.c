/* SPDX-License-Identifier: MIT */
/*
 * h5store verify and h5store flush.
 *
 * verify tells each finding as it is made and counts them; the library does the checking.
 * On a terminal, a check that takes over a second shows how far it is: one line, rewritten
 * in place, and gone before anything else is printed.
 */
#include "tool.h"
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define VERIFY_PATIENCE 1.0 /* seconds before the progress line appears */
#define VERIFY_REDRAW 0.2   /* seconds between two of them */

static const char *const verify_columns[] = {"number",      "severity", "clause",
                                             "clause_name", "object",   "text"};

typedef struct verify_run {
    tool_out *out;
    const tool_args *args;
    tool_table table; /* unless for people */
    uint64_t found;
    uint64_t errors;
    bool interactive; /* standard error is a terminal */
    bool drawn;       /* a progress line stands there */
    double redraw_at;
} verify_run;

static double
verify_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static const char *
verify_clause_name(enum h5store_clause clause)
{
    switch (clause) {
    case H5STORE_V_SUPERBLOCK:
        return "superblock";
    case H5STORE_V_ROOT:
        return "root";
    case H5STORE_V_BLOB_META:
        return "blob description";
    case H5STORE_V_BLOB_SUM:
        return "blob checksum";
    case H5STORE_V_BLOB_NAME:
        return "blob name";
    case H5STORE_V_ORPHAN:
        return "orphan";
    case H5STORE_V_ITEM:
        return "item";
    case H5STORE_V_LINK:
        return "link";
    case H5STORE_V_OVERLAP:
        return "overlap";
    case H5STORE_V_TOTALS:
        return "totals";
    }
    return "unknown"; /* of a library newer than this command */
}

static void
verify_clear_line(verify_run *run)
{
    if (!run->drawn)
        return;
    fprintf(stderr, "\r%*s\r", TOOL_COLUMNS - 1, "");
    fflush(stderr);
    run->drawn = false;
}

/* A path in the file with each id in it shortened, for people. */
static void
verify_short_path(const char *path, char *text, size_t size)
{
    size_t used = 0;

    while (*path != '\0' && used + 4 < size) {
        size_t digits = strspn(path, "0123456789abcdef");

        if (digits == H5STORE_ID_TEXT_SIZE - 1) {
            used += (size_t)snprintf(text + used, size - used, "%.*s", TOOL_SHORT_ID, path);
            path += digits;
        } else {
            text[used++] = *path++;
        }
    }
    text[used < size ? used : size - 1] = '\0';
}

static int
verify_finding(const h5store_finding *finding, void *context)
{
    verify_run *run = context;
    const char *severity = finding->is_error ? "error" : "remark";
    const char *name = verify_clause_name(finding->clause);
    char path[1024];

    verify_clear_line(run);
    run->found++;
    run->errors += finding->is_error != 0;

    if (run->args->form != TOOL_HUMAN) {
        tool_table_row(&run->table,
                       (tool_value[]){tool_number(run->found), tool_text(severity),
                                      tool_number((uint64_t)finding->clause), tool_text(name),
                                      tool_text(finding->object), tool_text(finding->text)});
    } else {
        tool_printf(run->out, "%llu. %s, clause %d (%s)\n", (unsigned long long)run->found,
                    severity, (int)finding->clause, name);
        if (finding->object != NULL && finding->object[0] != '\0') {
            verify_short_path(finding->object, path, sizeof(path));
            tool_show_wrapped(run->out, path, 3);
        }
        tool_show_wrapped(run->out, finding->text, 3);
    }
    tool_out_flush(run->out); /* a long check is watched as it goes */
    return tool_out_failed(run->out) ? 1 : 0;
}

static void
verify_progress(uint64_t done, uint64_t total, void *context)
{
    verify_run *run = context;
    char had[TOOL_SIZE_TEXT], all[TOOL_SIZE_TEXT];
    double now = verify_now();

    if (!run->interactive || now < run->redraw_at)
        return;
    run->redraw_at = now + VERIFY_REDRAW;
    run->drawn = true;
    fprintf(stderr, "\rverify: %3.0f %%, %10s of %10s",
            total > 0 && done < total ? 100.0 * (double)done / (double)total : 100.0,
            tool_size_text(done, had), tool_size_text(total, all));
    fflush(stderr);
}

static const char *
verify_check_name(h5store_check check)
{
    static const char *const names[] = {[H5STORE_CHECK_NEVER] = "structure",
                                        [H5STORE_CHECK_FAST] = "fast",
                                        [H5STORE_CHECK_FULL] = "full"};

    return names[check];
}

/* The last line for people: what was found, and how closely was looked. */
static void
verify_summary(const verify_run *run)
{
    static const char *const depths[] = {
        [H5STORE_CHECK_NEVER] = "structure only, no array was read",
        [H5STORE_CHECK_FAST] = "arrays by checksum",
        [H5STORE_CHECK_FULL] = "arrays by SHA-256",
    };
    tool_out *out = run->out;
    uint64_t remarks = run->found - run->errors;

    tool_printf(out, "%llu %s, %llu %s (%s", (unsigned long long)run->errors,
                run->errors == 1 ? "error" : "errors", (unsigned long long)remarks,
                remarks == 1 ? "remark" : "remarks", depths[run->args->check]);
    if (run->args->check != H5STORE_CHECK_NEVER && run->args->fraction < 1)
        tool_printf(out, ", %.4g %% of them", 100 * run->args->fraction);
    tool_puts(out, ")\n");
}

int
tool_verify(h5store *store, const tool_args *args, tool_out *out, h5store_err *err)
{
    verify_run run = {.out = out, .args = args, .interactive = isatty(STDERR_FILENO) == 1};
    h5store_verify_options options = {.check = args->check,
                                      .fraction = args->fraction,
                                      .finding = verify_finding,
                                      .progress = verify_progress,
                                      .context = &run};
    uint64_t errors = 0;
    int rc;

    run.redraw_at = verify_now() + VERIFY_PATIENCE;
    if (args->form != TOOL_HUMAN)
        tool_table_begin(&run.table, out, args, "findings", verify_columns, COUNT(verify_columns));
    tool_out_flush(out); /* whoever waits for findings sees that the check has begun */

    rc = h5store_verify(store, &options, &errors, err);
    verify_clear_line(&run);
    if (tool_out_failed(out))
        return tool_fail_out(out, err);
    if (rc < 0)
        return rc;

    if (args->form == TOOL_HUMAN) {
        verify_summary(&run);
    } else {
        tool_table_trailer(&run.table, "check", tool_text(verify_check_name(args->check)));
        tool_table_trailer(&run.table, "fraction", tool_real(args->fraction));
        tool_table_trailer(&run.table, "errors", tool_number(errors));
        tool_table_trailer(&run.table, "remarks", tool_number(run.found - run.errors));
        tool_table_end(&run.table);
    }
    return errors > 0 ? TOOL_FINDINGS : TOOL_FINE;
}

int
tool_flush(h5store *store, const tool_args *args, tool_out *out, h5store_err *err)
{
    int rc = h5store_flush(store, err);

    if (rc < 0)
        return rc;
    tool_show(out, args->container, TOOL_COLUMNS - 15);
    tool_puts(out, " is up to date\n");
    return TOOL_FINE;
}
