/* SPDX-License-Identifier: MIT */
/*
 * h5store verify and h5store flush.
 *
 * verify tells each finding as it is made and counts them; the library does the checking.
 */
#include "tool.h"

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
verify_summary(const tool_findings *run)
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
    tool_findings run;
    h5store_verify_options options = {.check = args->check,
                                      .fraction = args->fraction,
                                      .finding = tool_findings_note,
                                      .progress = tool_findings_progress,
                                      .context = &run};
    uint64_t errors = 0;
    int rc;

    tool_findings_begin(&run, "verify", out, args);
    rc = h5store_verify(store, &options, &errors, err);
    tool_findings_clear_line(&run);
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
