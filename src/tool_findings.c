/* SPDX-License-Identifier: MIT */
/*
 * Findings as they are made, for verify and repair.
 *
 * On a terminal, work that takes over a second shows how far it is: one line, rewritten in
 * place, and gone before anything else is printed.
 */
#include "tool.h"
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define FINDINGS_PATIENCE 1.0 /* seconds before the progress line appears */
#define FINDINGS_REDRAW 0.2   /* seconds between two of them */

static const char *const findings_columns[] = {"number",      "severity", "clause",
                                               "clause_name", "object",   "text"};

static double
findings_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static const char *
findings_clause_name(enum h5store_clause clause)
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

void
tool_findings_begin(tool_findings *findings, const char *verb, tool_out *out, const tool_args *args)
{
    *findings = (tool_findings){
        .verb = verb, .out = out, .args = args, .interactive = isatty(STDERR_FILENO) == 1};
    findings->redraw_at = findings_now() + FINDINGS_PATIENCE;
    if (args->form != TOOL_HUMAN)
        tool_table_begin(&findings->table, out, args, "findings", findings_columns,
                         COUNT(findings_columns));
    tool_out_flush(out); /* whoever waits for findings sees that the work has begun */
}

void
tool_findings_clear_line(tool_findings *findings)
{
    if (!findings->drawn)
        return;
    fprintf(stderr, "\r%*s\r", TOOL_COLUMNS - 1, "");
    fflush(stderr);
    findings->drawn = false;
}

/* A path in the file with each id in it shortened, for people. */
static void
findings_short_path(const char *path, char *text, size_t size)
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

int
tool_findings_note(const h5store_finding *finding, void *context)
{
    tool_findings *findings = context;
    const char *severity = finding->is_error ? "error" : "remark";
    const char *name = findings_clause_name(finding->clause);
    char path[1024];

    tool_findings_clear_line(findings);
    findings->found++;
    findings->errors += finding->is_error != 0;

    if (findings->args->form != TOOL_HUMAN) {
        tool_table_row(&findings->table,
                       (tool_value[]){tool_number(findings->found), tool_text(severity),
                                      tool_number((uint64_t)finding->clause), tool_text(name),
                                      tool_text(finding->object), tool_text(finding->text)});
    } else {
        tool_printf(findings->out, "%llu. %s, clause %d (%s)\n",
                    (unsigned long long)findings->found, severity, (int)finding->clause, name);
        if (finding->object != NULL && finding->object[0] != '\0') {
            findings_short_path(finding->object, path, sizeof(path));
            tool_show_wrapped(findings->out, path, 3);
        }
        tool_show_wrapped(findings->out, finding->text, 3);
    }
    tool_out_flush(findings->out); /* long work is watched as it goes */
    return tool_out_failed(findings->out) ? 1 : 0;
}

int
tool_findings_progress(uint64_t done, uint64_t total, void *context)
{
    tool_findings *findings = context;
    char had[TOOL_SIZE_TEXT], all[TOOL_SIZE_TEXT];
    double now = findings_now();

    if (!findings->interactive || now < findings->redraw_at)
        return 0;
    findings->redraw_at = now + FINDINGS_REDRAW;
    findings->drawn = true;
    fprintf(stderr, "\r%s: %3.0f %%, %10s of %10s", findings->verb,
            total > 0 && done < total ? 100.0 * (double)done / (double)total : 100.0,
            tool_size_text(done, had), tool_size_text(total, all));
    fflush(stderr);
    return 0;
}
