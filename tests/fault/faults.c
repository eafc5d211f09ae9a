/* SPDX-License-Identifier: MIT */
/*
 * Every public call with each of its allocations and system calls failing, one at a time, until
 * it passes untouched.
 *
 *   faults [--lasting] [NAME...]
 *
 * A call that fails must say so with a code that fits and a sentence, leave the container as it
 * was and verifiable, lose no descriptor and (under AddressSanitizer) no memory.  A call that
 * succeeds must have done its work.  With --lasting everything after the failure fails as well.
 */
#include "faults.h"
#include "../support/holdings.h"
#include "../support/sample.h"
#include "../support/scratch.h"
#include "inject.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAULT_SECONDS 120
#define FAULT_MOST 3000 /* steps of one call: more are a loop */

/* From LeakSanitizer, where there is one. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

struct fault_counts {
    uint64_t calls, failures_ordered, errors, hidden, wrong;
};

struct fault_run {
    const fault_case *test;
    inject_kind kind;
    bool lasting;
    struct fault_counts *counts; /* shared */
};

static char *fault_closed, *fault_left, *fault_work, *fault_path;

static size_t
fault_descriptors(void)
{
    return scratch_count("/proc/self/fd");
}

/* ---- the containers --------------------------------------------------- */

static int
fault_make(void *context)
{
    const char *folder = context;
    h5store_err err = {0};
    h5store *store;

    inject_install();
    PROVE(fault_open(scratch_path(folder, "c.h5"), H5STORE_CREATE, H5STORE_DURABLE_PROCESS, &store,
                     &err) == 0,
          "%s", err.message);
    PROVE(fault_fill(store, &err) == 0, "%s", err.message);
    if (folder == fault_left)
        kill(getpid(), SIGKILL);
    PROVE(h5store_close(store, &err) == 0, "%s", err.message);
    return 0;
}

/* ---- what a code must be ---------------------------------------------- */

static bool
fault_fits(inject_kind kind, int rc)
{
    switch (kind) {
    case INJECT_MEMORY:
        return rc == H5STORE_E_NOMEM;
    case INJECT_EIO:
    case INJECT_EMFILE:
        return rc == H5STORE_E_IO;
    case INJECT_ENOSPC:
        return rc == H5STORE_E_NO_SPACE;
    case INJECT_INTERRUPTED:
    case INJECT_SHORT:
    case INJECT_KINDS:
        break;
    }
    return false; /* nobody should notice these */
}

static void
fault_wrong(const struct fault_run *run, uint64_t n, const char *what, int rc,
            const h5store_err *err)
{
    run->counts->wrong++;
    fprintf(stderr, "%s, %s number %llu (%s): %s: %d, %s\n", run->test->name,
            inject_name(run->kind), (unsigned long long)n, inject_what(), what, rc, err->message);
}

/* ---- one failure ------------------------------------------------------ */

static void
fault_release(fault_context *c)
{
    h5store_batch_abort(c->batch);
    h5store_blob_close(c->blob);
    h5store_item_close(c->item);
}

/* Open what is left with nothing failing: is it what it must be? */
static void
fault_look(const struct fault_run *run, uint64_t n, int rc, const holdings *before,
           const holdings *after)
{
    h5store_err err = {0};
    holdings held = {0};
    uint64_t errors = 0;
    h5store *store;
    bool is_before, is_after;
    int looked = fault_open(fault_path, 0, H5STORE_DURABLE_PROCESS, &store, &err);

    if (looked < 0) {
        fault_wrong(run, n, "cannot be opened afterwards", looked, &err);
        return;
    }
    looked = holdings_verify(store, false, &errors, &err);
    if (looked < 0 || errors > 0)
        fault_wrong(run, n, "cannot be verified afterwards", looked < 0 ? looked : (int)errors,
                    &err);
    looked = holdings_read(store, &held, &err);
    if (looked < 0)
        fault_wrong(run, n, "cannot be read afterwards", looked, &err);
    is_before = holdings_equal(&held, before);
    is_after = after == NULL || holdings_equal(&held, after);
    if (looked == 0 && rc < 0 && !is_before && !(run->test->may_stand && is_after))
        fault_wrong(run, n, "failed, and changed something", rc, &err);
    if (looked == 0 && rc >= 0 && !is_after)
        fault_wrong(run, n, "succeeded, and did not do it", rc, &err);
    holdings_release(&held);
    if (h5store_close(store, &err) < 0)
        fault_wrong(run, n, "cannot be closed afterwards", err.code, &err);
}

/* Make the call with failure @p n (0: none).  True when the failure was met. */
static bool
fault_once(const struct fault_run *run, uint64_t n, const holdings *before, const holdings *after)
{
    const fault_case *test = run->test;
    fault_context context = {.path = fault_path};
    size_t descriptors = fault_descriptors();
    h5store_err err = {0};
    bool fired = false;
    int rc;

    scratch_copy(test->left ? fault_left : fault_closed, fault_work);
    if (!test->opens)
        PROVE(fault_open(fault_path, 0, test->durability, &context.store, &err) == 0, "%s",
              err.message);
    if (test->prepare != NULL)
        PROVE(test->prepare(&context, &err) >= 0, "%s: %s", test->name, err.message);
    memset(&err, 0, sizeof err);
    if (n > 0)
        inject_arm(run->kind, n, run->lasting);
    rc = test->call(&context, &err);
    if (n > 0)
        fired = inject_disarm();
    if (rc == 1000)
        fault_wrong(run, n, "succeeded with a wrong result", rc, &err);
    if (rc < 0 && !fired)
        fault_wrong(run, n, "failed by itself", rc, &err);
    else if (rc < 0 && !fault_fits(run->kind, rc))
        fault_wrong(run, n, "failed with another code", rc, &err);
    if (rc < 0 && (err.code != rc || strlen(err.message) < 10))
        fault_wrong(run, n, "said nothing, or something else", rc, &err);
    run->counts->calls++;
    run->counts->failures_ordered += fired;
    run->counts->errors += fired && rc < 0;
    run->counts->hidden += fired && rc >= 0;
    fault_release(&context);
    if (context.store != NULL) {
        int closed = h5store_close(context.store, &err);

        /* A sync that failed is told again. */
        if (closed < 0 && closed != H5STORE_E_POISONED)
            fault_wrong(run, n, "cannot be closed", closed, &err);
    }
    fault_look(run, n, rc, before, after);
    if (fault_descriptors() != descriptors)
        fault_wrong(run, n, "a descriptor was lost", rc, &err);
    return fired;
}

static void
fault_learn(const struct fault_run *run, holdings *before, holdings *after)
{
    h5store_err err = {0};
    h5store *store;

    scratch_copy(run->test->left ? fault_left : fault_closed, fault_work);
    PROVE(fault_open(fault_path, 0, H5STORE_DURABLE_PROCESS, &store, &err) == 0 &&
              holdings_read(store, before, &err) == 0 && h5store_close(store, &err) == 0,
          "%s", err.message);
    PROVE(!fault_once(run, 0, before, NULL), "no failure was ordered");
    PROVE(fault_open(fault_path, 0, H5STORE_DURABLE_PROCESS, &store, &err) == 0 &&
              holdings_read(store, after, &err) == 0 && h5store_close(store, &err) == 0,
          "%s", err.message);
}

static int
fault_run_case(void *context)
{
    const struct fault_run *run = context;
    holdings before, after;
    uint64_t n = 1;

    inject_install();
    fault_learn(run, &before, &after);
    /* What is prepared may be there after a failure that changes nothing. */
    while (fault_once(run, n, run->test->prepare == NULL || !run->test->opens ? &before : &after,
                      &after))
        PROVE(++n < FAULT_MOST, "%s does not come to an end", run->test->name);
    holdings_release(&before);
    holdings_release(&after);
    if (__lsan_do_recoverable_leak_check != NULL && __lsan_do_recoverable_leak_check() != 0)
        return 2;
    return 0;
}

static bool
fault_is_chosen(const char *name, int count, char **names)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return count == 0;
}

int
main(int count, char **arguments)
{
    struct fault_counts *counts = scratch_shared(sizeof *counts);
    bool lasting = count > 1 && strcmp(arguments[1], "--lasting") == 0;
    int first = lasting ? 2 : 1;
    uint64_t ends = 0;

    fault_closed = scratch_subfolder("closed");
    fault_left = scratch_subfolder("left");
    fault_work = scratch_subfolder("work");
    fault_path = strdup(scratch_path(fault_work, "c.h5"));
    PROVE(scratch_run(fault_make, fault_closed, FAULT_SECONDS) == 0, "making");
    PROVE(WIFSIGNALED(scratch_run(fault_make, fault_left, FAULT_SECONDS)), "making");
    for (size_t i = 0; i < fault_case_count; i++) {
        struct fault_counts before = *counts;

        if (!fault_is_chosen(fault_cases[i].name, count - first, arguments + first))
            continue;
        for (int kind = 0; kind < INJECT_KINDS; kind++) {
            struct fault_run run = {&fault_cases[i], (inject_kind)kind, lasting, counts};
            int status;

            if (lasting && (kind == INJECT_INTERRUPTED || kind == INJECT_SHORT))
                continue; /* would never end */
            status = scratch_run(fault_run_case, &run, FAULT_SECONDS);
            if (status != 0) {
                fprintf(stderr, "%s, %s: ended with status %#x\n", run.test->name,
                        inject_name(run.kind), status);
                ends++;
            }
        }
        printf("  %-26s %5llu failures ordered, %5llu errors, %5llu without consequence\n",
               fault_cases[i].name,
               (unsigned long long)(counts->failures_ordered - before.failures_ordered),
               (unsigned long long)(counts->errors - before.errors),
               (unsigned long long)(counts->hidden - before.hidden));
        fflush(stdout);
    }
    printf("faults%s: %llu calls, %llu failures ordered, %llu errors returned, %llu without "
           "consequence, %llu wrong, %llu crashes or leaks\n",
           lasting ? " that last" : "", (unsigned long long)counts->calls,
           (unsigned long long)counts->failures_ordered, (unsigned long long)counts->errors,
           (unsigned long long)counts->hidden, (unsigned long long)counts->wrong,
           (unsigned long long)ends);
    PROVE(counts->errors > 0 && counts->hidden > 0, "nothing was done");
    return counts->wrong > 0 || ends > 0;
}
