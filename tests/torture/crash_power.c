/* SPDX-License-Identifier: MIT */
/*
 * Power cuts.  A script of commits, removals and flushes runs once and is recorded; then the
 * machine stops before each of its system calls, and what was not synced by then is lost,
 * kept, or kept in part (crashfs.h has the model).  Opening, under another boot id, must
 * find:
 *
 *   with durability "power"  the state that was acknowledged last, or the next one;
 *   by default               every item of some state since the last flush, whole, and each
 *                            item that all states since then have;
 *
 * and verify must find nothing.  The recovery is then cut short in the same way.
 */
#include "../../src/common.h"
#include "../support/sample.h"
#include "crash.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define POWER_SECONDS 60
#define POWER_MOST_STEPS 40

/* ---- the script ------------------------------------------------------- */

enum power_kind {
    POWER_SET,
    POWER_REMOVE,
    POWER_PUT,
    POWER_BIG,
    POWER_SAME,
    POWER_FLUSH,
    POWER_CLOSE,
    POWER_HIT
};

struct power_step {
    enum power_kind kind;
    const char *key;
    uint64_t seed;
};

/* The key of POWER_SAME: arrays that are there already, in an item that is committed through a
 * handle with durability "power" whatever the others have.  It must not be lost from then on. */
static const char power_same_line[] = "item module/f/p ";

/* Sets, replacements and removals, so that space is freed and taken again, with flushes
 * between; then the log is given up, hits are noted without one, and a new one is begun. */
static const struct power_step power_script[] = {
    {POWER_SET, "a", 100},  {POWER_SET, "b", 104},  {POWER_PUT, NULL, 110},
    {POWER_SET, "a", 120},  {POWER_FLUSH, NULL, 0}, {POWER_REMOVE, "b", 0},
    {POWER_SET, "c", 130},  {POWER_SET, "d", 134},  {POWER_REMOVE, "a", 0},
    {POWER_SAME, "p", 130}, {POWER_BIG, "e", 140},  {POWER_SET, "c", 138},
    {POWER_FLUSH, NULL, 0}, {POWER_SET, "c", 130},  {POWER_REMOVE, "first", 0},
    {POWER_SET, "f", 150},  {POWER_CLOSE, NULL, 0}, {POWER_HIT, "f", 0},
    {POWER_HIT, "c", 0},    {POWER_CLOSE, NULL, 0}, {POWER_SET, "g", 160},
    {POWER_REMOVE, "d", 0}, {POWER_SET, "h", 164},  {POWER_CLOSE, NULL, 0},
};
#define POWER_STEPS (sizeof power_script / sizeof *power_script)

struct power_run {
    crashfs_record *record;
    h5store_durability durability;
    crash_base base;
    const char *base_folder;
    bool rebooted;
};

static int
power_open(const struct power_run *run, h5store **store, h5store_err *err)
{
    h5store_options options;

    h5store_options_init(&options);
    options.flags = H5STORE_CREATE;
    options.threads = 1;
    options.timeout = 5;
    options.durability = run->durability;
    return h5store_open(crash_folders.path, &options, store, err);
}

static int
power_set_same(const struct power_step *step, h5store_err *err)
{
    struct power_run run = {.durability = H5STORE_DURABLE_POWER};
    h5store *store;
    int rc = power_open(&run, &store, err);

    if (rc < 0)
        return rc;
    rc = sample_set_item(store, "module/f", step->key, step->seed, 2, err);
    return rc < 0 ? rc : h5store_close(store, err);
}

static int
power_do(const struct power_step *step, h5store *store, h5store_err *err)
{
    uint8_t buffer[SAMPLE_MOST] = {0};
    h5store_array array = sample_array(buffer, 16384);
    h5store_batch *batch;
    char key[16];
    int rc = 0;

    switch (step->kind) {
    case POWER_SET:
        return sample_set_item(store, "module/f", step->key, step->seed, 2, err);
    case POWER_PUT:
        sample_fill(buffer, 16384, step->seed);
        return h5store_put(store, &array, NULL, err);
    case POWER_SAME:
        return power_set_same(step, err);
    case POWER_FLUSH:
        return h5store_flush(store, err);
    case POWER_CLOSE:
        return h5store_close(store, err);
    case POWER_HIT:
        return h5store_note(store, H5STORE_NOTE_HIT, "module/f", step->key, NULL, err);
    case POWER_REMOVE:
    case POWER_BIG:
        break;
    }
    rc = h5store_batch_begin(store, &batch, err);
    if (rc == 0 && step->kind == POWER_REMOVE)
        rc = h5store_batch_remove(batch, "module/f", step->key, err);
    for (uint64_t i = 0; rc == 0 && step->kind == POWER_BIG && i < 12; i++) {
        snprintf(key, sizeof key, "%s%llu", step->key, (unsigned long long)i);
        rc = sample_set(batch, "module/f", key, step->seed + i, 1, err);
    }
    return rc < 0 ? rc : h5store_batch_commit(batch, err);
}

static const char *
power_state_path(size_t step)
{
    char name[32];

    snprintf(name, sizeof name, "state%zu", step);
    return scratch_path(scratch_folder(), name);
}

/* The state is read by a look at a copy: the run itself must not be disturbed. */
static int
power_script_run(void *context)
{
    const struct power_run *run = context;
    h5store_err err = {0};
    h5store *store = NULL;
    holdings held;

    crashfs_record_begin(run->record, crash_folders.work);
    for (size_t i = 0; i < POWER_STEPS; i++) {
        int rc = store == NULL ? power_open(run, &store, &err) : 0;

        if (i == 0 && rc == 0) {
            rc = holdings_read(store, &held, &err);
            holdings_save(&held, power_state_path(0));
        }
        if (rc == 0)
            rc = power_do(&power_script[i], store, &err);
        PROVE(rc >= 0, "step %zu: %s", i, err.message);
        crashfs_note(i + 1);
        if (power_script[i].kind == POWER_CLOSE) {
            store = NULL;
        } else {
            PROVE(holdings_read(store, &held, &err) == 0, "step %zu: %s", i, err.message);
        }
        holdings_save(&held, power_state_path(i + 1));
    }
    return 0;
}

/* ---- what must be found ----------------------------------------------- */

static bool
power_is_flush(size_t step)
{
    return power_script[step].kind == POWER_FLUSH || power_script[step].kind == POWER_CLOSE;
}

static bool
power_has_same(const holdings *held)
{
    for (size_t i = 0; i < held->count; i++)
        if (strncmp(held->lines[i], power_same_line, sizeof power_same_line - 1) == 0)
            return true;
    return false;
}

static bool
power_is_right(const holdings *held, const holdings *states, size_t acknowledged, bool strict)
{
    size_t last = acknowledged < POWER_STEPS ? acknowledged + 1 : acknowledged, first = 0;

    if (strict)
        return holdings_equal(held, &states[acknowledged]) || holdings_equal(held, &states[last]);
    for (size_t i = 1; i <= acknowledged; i++) {
        if (power_is_flush(i - 1))
            first = i;
        if (power_script[i - 1].kind == POWER_SAME && !power_has_same(held))
            return false;
    }
    for (size_t i = 0; i < held->count; i++) {
        bool known = false;

        for (size_t j = first; j <= last; j++)
            known = known || holdings_has(&states[j], held->lines[i]);
        if (!known)
            return false;
    }
    for (size_t i = 0; i < states[first].count; i++) {
        bool always = true;

        for (size_t j = first; j <= last; j++)
            always = always && holdings_has(&states[j], states[first].lines[i]);
        if (always && !holdings_has(held, states[first].lines[i]))
            return false;
    }
    return true;
}

/* HDF5 refuses a file that is shorter than it says, or that says it is open for writing. */
static void
power_tell_length(const char *where)
{
    uint8_t head[48] = {0};
    struct stat status = {0};
    int fd = open(crash_folders.path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        (void)!pread(fd, head, sizeof head, 0);
        (void)fstat(fd, &status);
        close(fd);
    }
    fprintf(stderr,
            "%s: HDF5 refuses the file after closing; it has %lld bytes, and says %llu, "
            "mark %d\n",
            where, (long long)status.st_size, (unsigned long long)hs_get_le64(head + 28), head[11]);
}

static void
power_check(const struct power_run *run, const holdings *states, size_t n, const char *how,
            struct crash_counts *counts)
{
    size_t acknowledged = (size_t)crashfs_record_note(run->record, n);
    bool strict = run->durability == H5STORE_DURABLE_POWER;
    holdings held = {0};
    char where[200];

    snprintf(where, sizeof where, "power cut before call %zu (%s, durability %s)", n, how,
             strict ? "power" : "process");
    if (!crash_look_inside(true, false, &held, counts, where))
        return;
    if (!power_is_right(&held, states, acknowledged, strict)) {
        fprintf(stderr, "%s: a state that must not be, after step %zu\n", where, acknowledged);
        holdings_print(&held, "found");
        holdings_print(&states[acknowledged], "acknowledged");
        counts->failures++;
    }
    holdings_release(&held);
    if (crash_look_outside(false, &held, counts, where) == 1) {
        power_tell_length(where);
        counts->failures++;
    }
    holdings_release(&held);
}

/* ---- cutting a recovery short ----------------------------------------- */

static int
power_recover(void *context)
{
    const struct power_run *run = context;
    h5store_err err = {0};
    h5store *store;

    if (run->record != NULL)
        crashfs_record_begin(run->record, crash_folders.work);
    crashfs_reboot(1);
    PROVE(power_open(run, &store, &err) == 0, "%s", err.message);
    PROVE(h5store_close(store, &err) == 0, "%s", err.message);
    return 0;
}

struct power_death {
    const struct power_run *run;
    uint64_t stop;
};

static int
power_die(void *context)
{
    const struct power_death *death = context;
    struct power_run run = *death->run;

    run.record = NULL;
    crashfs_arm(NULL, death->stop, 7);
    return power_recover(&run);
}

/* What is in @p image is recovered; the recovery is stopped at each of its calls. */
static void
power_cut_recovery(const struct power_run *run, const char *image, struct crash_counts *counts,
                   scratch_random *random)
{
    holdings before = {0}, held = {0};
    char where[120];
    size_t calls = 0;

    scratch_copy(image, crash_folders.work);
    if (!crash_look_inside(true, false, &before, counts, "a recovery"))
        return;
    scratch_copy(image, crash_folders.work);
    PROVE(scratch_run(power_recover, (void *)(uintptr_t)run, POWER_SECONDS) == 0, "recovery");
    for (size_t n = 1; n <= crashfs_record_calls(run->record); n++) {
        for (int loss = CRASHFS_LOSE_ALL; loss <= CRASHFS_LOSE_SOME; loss++) {
            snprintf(where, sizeof where, "power cut before call %zu of a recovery", n);
            crashfs_rebuild(run->record, image, crash_folders.work, n, (crashfs_loss)loss, random);
            counts->crashes++;
            if (!crash_look_inside(true, false, &held, counts, where))
                continue;
            if (!holdings_equal(&held, &before)) {
                fprintf(stderr, "%s: another state\n", where);
                holdings_print(&held, "found");
                holdings_print(&before, "before");
                counts->failures++;
            }
            holdings_release(&held);
        }
        calls += crashfs_record_kind(run->record, n - 1) != CRASHFS_NOTE;
    }
    for (size_t n = 1; n <= calls; n++) {
        struct power_death death = {run, n};
        int status;

        snprintf(where, sizeof where, "death at call %zu of a recovery", n);
        scratch_copy(image, crash_folders.work);
        status = scratch_run(power_die, &death, POWER_SECONDS);
        PROVE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: %#x", where, status);
        counts->crashes++;
        if (!crash_look_inside(true, false, &held, counts, where))
            continue;
        if (!holdings_equal(&held, &before)) {
            fprintf(stderr, "%s: another state\n", where);
            counts->failures++;
        }
        holdings_release(&held);
    }
    counts->calls += calls;
    holdings_release(&before);
}

/* ---- all of it -------------------------------------------------------- */

static void
power_all_cuts(struct power_run *run, bool all, struct crash_counts *counts)
{
    static const char *const hows[] = {"all lost", "nothing lost", "some lost"};
    holdings states[POWER_STEPS + 1];
    scratch_random random = {run->durability == H5STORE_DURABLE_POWER ? 11 : 12};
    char *image = scratch_subfolder("image");
    crashfs_record *script = run->record;
    struct crash_counts before = *counts;
    size_t calls;

    scratch_copy(run->base_folder, crash_folders.work);
    PROVE(scratch_run(power_script_run, run, POWER_SECONDS) == 0, "the script");
    for (size_t i = 0; i <= POWER_STEPS; i++)
        holdings_load(&states[i], power_state_path(i));
    calls = crashfs_record_calls(script);
    PROVE(crashfs_record_note(script, calls) == POWER_STEPS, "the script was not recorded");
    for (size_t n = 1; n <= calls; n++)
        for (int i = all ? 0 : 1; i < (all ? 14 : 3); i++) {
            crashfs_loss loss = i == 0   ? CRASHFS_LOSE_NOTHING
                                : i == 1 ? CRASHFS_LOSE_ALL
                                         : CRASHFS_LOSE_SOME;

            crashfs_rebuild(script, run->base_folder, crash_folders.work, n, loss, &random);
            if (i == 2 && n % (all ? 12 : 60) == 30)
                scratch_copy(crash_folders.work, image);
            power_check(run, states, n, hows[loss], counts);
            counts->crashes++;
            if (i == 2 && n % (all ? 12 : 60) == 30) {
                run->record = crashfs_record_new();
                power_cut_recovery(run, image, counts, &random);
                crashfs_record_free(run->record);
                run->record = script;
            }
        }
    counts->calls += calls;
    printf("  durability %-24s %4zu calls, %5llu power cuts\n",
           run->durability == H5STORE_DURABLE_POWER ? "power" : "process", calls,
           (unsigned long long)(counts->crashes - before.crashes));
    for (size_t i = 0; i <= POWER_STEPS; i++)
        holdings_release(&states[i]);
    free(image);
}

void
crash_power(bool all, struct crash_counts *total)
{
    struct crash_counts counts = {0};
    struct power_run run = {.record = crashfs_record_new(),
                            .base = BASE_LEFT,
                            .base_folder = crash_base_folder(BASE_LEFT)};

    for (int i = 0; i < 2; i++) {
        run.durability = i == 0 ? H5STORE_DURABLE_POWER : H5STORE_DURABLE_PROCESS;
        power_all_cuts(&run, all, &counts);
    }
    printf("power cuts: %llu calls, %llu cuts, %llu times arrays were dropped, %llu failures\n",
           (unsigned long long)counts.calls, (unsigned long long)counts.crashes,
           (unsigned long long)counts.notices, (unsigned long long)counts.failures);
    PROVE(counts.crashes > counts.calls && counts.notices > 0, "nothing was done");
    total->failures += counts.failures;
}
