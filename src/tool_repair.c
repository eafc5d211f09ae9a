/* SPDX-License-Identifier: MIT */
/*
 * h5store repair: what is whole in a damaged container, into a new one.  The library does the
 * saving; this tells each loss as it is met, and sums up.
 */
#include "tool.h"

static void
repair_line(tool_out *out, const char *verb, uint64_t results, uint64_t arrays)
{
    tool_printf(out, "%s %llu %s, %llu %s\n", verb, (unsigned long long)results,
                results == 1 ? "result" : "results", (unsigned long long)arrays,
                arrays == 1 ? "array" : "arrays");
}

static void
repair_summary(tool_out *out, const tool_args *args, const h5store_salvaged *done)
{
    repair_line(out, "saved", done->items, done->blobs);
    repair_line(out, "lost ", done->lost_items, done->lost_blobs);
    if (done->unnamed_items > 0)
        tool_printf(out, "%llu of the saved results lost their names: see \"recovered\"\n",
                    (unsigned long long)done->unnamed_items);
    tool_puts(out, "the new container is ");
    tool_show(out, args->operand, TOOL_COLUMNS - 21);
    tool_puts(out, "\n");
}

int
tool_repair(h5store *target, const tool_args *args, tool_out *out, h5store_err *err)
{
    tool_findings run;
    h5store_options defaults;
    h5store_salvage_options options = {
        .finding = tool_findings_note, .progress = tool_findings_progress, .context = &run};
    h5store_salvaged done = {0};
    int rc;

    h5store_options_init(&defaults);
    options.timeout = args->timeout >= 0 ? args->timeout : defaults.timeout;
    tool_findings_begin(&run, "repair", out, args);
    rc = h5store_salvage(args->container, target, &options, &done, err);
    tool_findings_clear_line(&run);
    if (tool_out_failed(out))
        return tool_fail_out(out, err);
    if (rc < 0)
        return rc;
    if (args->form == TOOL_HUMAN) {
        repair_summary(out, args, &done);
    } else {
        tool_table_trailer(&run.table, "target", tool_text(args->operand));
        tool_table_trailer(&run.table, "results", tool_number(done.items));
        tool_table_trailer(&run.table, "blobs", tool_number(done.blobs));
        tool_table_trailer(&run.table, "lost_results", tool_number(done.lost_items));
        tool_table_trailer(&run.table, "lost_blobs", tool_number(done.lost_blobs));
        tool_table_trailer(&run.table, "unnamed_results", tool_number(done.unnamed_items));
        tool_table_end(&run.table);
    }
    return done.lost_items + done.lost_blobs + done.unnamed_items > 0 ? TOOL_FINDINGS : TOOL_FINE;
}
