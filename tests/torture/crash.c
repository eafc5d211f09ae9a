/* SPDX-License-Identifier: MIT */
/*
 * Stop a process before, and inside, every system call of every operation that changes
 * something on disk, and look at what is left (I1, I2, I3).
 *
 *   crash [--all] [--power-only | --death-only] [NAME...]
 *
 * Death: the process is killed; a pwrite may be done in part.  Power cut: see crash_power.c.
 * After each, other HDF5 programs must read a state that was committed or be refused, and
 * opening must find the state before the operation or the one after it, the latter if it was
 * acknowledged, and nothing for verify to find.
 *
 * Without --all a pwrite is torn in one place, with it in four; and of many holes punched in
 * a row only the first and the last are tried.
 */
#include "crash.h"
#include "../support/sample.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CRASH_SECONDS 60

struct crash_folders crash_folders;
static char *crash_bases[BASE_KINDS];

/* ---- bases ------------------------------------------------------------ */

struct crash_making {
    crash_base base;
    const char *path;
    uint64_t stop;
    crashfs_log *log;
};

static int
base_close(void *context)
{
    struct crash_making *making = context;
    h5store_err err = {0};
    h5store *store;
    int rc;

    crashfs_arm(NULL, 0, 0);
    rc = crash_open(making->path, H5STORE_CREATE, &store, &err);

    if (rc == 0)
        rc = crash_fill(making->base, store, &err);
    if (rc == 0 && making->base == BASE_LEFT) {
        rc = h5store_flush(store, &err);
        if (rc == 0)
            rc = sample_set_item(store, "module/f", "late", 70, 2, &err);
        if (rc == 0)
            kill(getpid(), SIGKILL);
    }
    if (rc == 0)
        rc = h5store_close(store, &err);
    PROVE(rc == 0, "%s", err.message);
    return 0;
}

/* Open a store whose log waits, and die before call @p stop. */
static int
base_apply(void *context)
{
    struct crash_making *making = context;
    h5store_err err = {0};
    h5store *store;

    crashfs_arm(making->log, making->stop, 0);
    PROVE(crash_open(making->path, 0, &store, &err) == 0, "%s", err.message);
    PROVE(h5store_flush(store, &err) == 0, "%s", err.message);
    kill(getpid(), SIGKILL);
    return 0;
}

/* Change a byte of an array behind the library's back. */
static int
base_damage(void *context)
{
    const char *path = context;
    h5store_err err = {0};
    h5store *store;
    h5store_item *item;
    uint64_t offset;
    uint8_t byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    PROVE(crash_open(path, 0, &store, &err) == 0, "%s", err.message);
    PROVE(h5store_item_open(store, "module/g", "third", &item, &err) == 0, "%s", err.message);
    offset = h5store_blob_get_info(h5store_item_blob(item, 0))->offset;
    PROVE(fd >= 0 && offset > 0 && pread(fd, &byte, 1, (off_t)offset + 100) == 1, "damage");
    byte ^= 0x40;
    PROVE(pwrite(fd, &byte, 1, (off_t)offset + 100) == 1, "damage: %s", strerror(errno));
    h5store_item_close(item);
    PROVE(h5store_close(store, &err) == 0, "%s", err.message);
    return 0;
}

static bool
crash_was_killed(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void
base_make(crash_base base, char *folder)
{
    const char *path = strdup(scratch_path(folder, CRASH_FILE));
    struct crash_making making = {base, path, 0, scratch_shared(sizeof(crashfs_log))};
    int status;

    crash_bases[base] = folder;
    if (base == BASE_NOTHING)
        return;
    if (base == BASE_HALF) {
        uint64_t n = 0;

        /* Find the mark that applying sets first: die at the write after it. */
        scratch_copy(crash_bases[BASE_LEFT], folder);
        PROVE(crash_was_killed(scratch_run(base_apply, &making, CRASH_SECONDS)), "apply");
        for (n = making.log->calls; n > 1; n--)
            if (making.log->kinds[n] == CRASHFS_PWRITE && making.log->sizes[n] == 48)
                break;
        PROVE(n > 2, "the superblock was not written");
        scratch_copy(crash_bases[BASE_LEFT], folder);
        making.stop = n;
        PROVE(crash_was_killed(scratch_run(base_apply, &making, CRASH_SECONDS)), "half");
        return;
    }
    status = scratch_run(base_close, &making, CRASH_SECONDS);
    PROVE(base == BASE_LEFT ? crash_was_killed(status) : status == 0, "base %d: %#x", (int)base,
          status);
    if (base == BASE_DAMAGED)
        PROVE(scratch_run(base_damage, (void *)(uintptr_t)path, CRASH_SECONDS) == 0, "damage");
}

const char *
crash_base_folder(crash_base base)
{
    return crash_bases[base];
}

/* ---- looking ---------------------------------------------------------- */

/* What a look found, in memory shared with the child that looks. */
struct crash_look {
    uint64_t errors;
    bool read;
    char message[600], notice[600];
};

static struct crash_look *crash_look;
static bool crash_look_rebooted, crash_look_damaged;

static int
look_at_store(void *context)
{
    struct crash_look *look = crash_look;
    h5store_err err = {0};
    h5store *store;
    holdings held;
    int rc;

    (void)context;
    crashfs_arm(NULL, 0, 0); /* nothing waits for a disk */
    if (crash_look_rebooted)
        crashfs_reboot(2);
    rc = crash_open(crash_folders.path, H5STORE_CREATE, &store, &err);
    if (rc == 0) {
        snprintf(look->notice, sizeof look->notice, "%s", h5store_notice(store));
        rc = holdings_verify(store, crash_look_damaged, &look->errors, &err);
    }
    if (rc == 0)
        rc = holdings_read(store, &held, &err);
    if (rc == 0) {
        holdings_save(&held, crash_folders.result);
        rc = h5store_close(store, &err);
    }
    snprintf(look->message, sizeof look->message, "%s", err.message);
    look->read = rc == 0;
    return 0;
}

static int
look_at_file(void *context)
{
    struct crash_look *look = crash_look;
    holdings held;
    int rc;

    (void)context;
    if (access(crash_folders.path, F_OK) != 0)
        return 3;
    rc = holdings_read_stock(crash_folders.path, &held, look->message);
    if (rc == 0)
        holdings_save(&held, crash_folders.result);
    return rc < 0 ? 2 : rc;
}

bool
crash_look_inside(bool rebooted, bool damaged, holdings *held, struct crash_counts *counts,
                  const char *where)
{
    int status;

    memset(crash_look, 0, sizeof *crash_look);
    crash_look_rebooted = rebooted;
    crash_look_damaged = damaged;
    status = scratch_run(look_at_store, NULL, CRASH_SECONDS);
    counts->looks++;
    if (status != 0 || !crash_look->read) {
        fprintf(stderr, "%s: cannot be opened, verified or read (%#x): %s\n", where, status,
                crash_look->message);
        counts->failures++;
        return false;
    }
    if (crash_look->errors > 0 && !damaged) {
        fprintf(stderr, "%s: %llu findings\n", where, (unsigned long long)crash_look->errors);
        counts->failures++;
    }
    counts->notices += crash_look->notice[0] != '\0';
    holdings_load(held, crash_folders.result);
    return true;
}

int
crash_look_outside(bool damaged, holdings *held, struct crash_counts *counts, const char *where)
{
    int status;

    memset(crash_look, 0, sizeof *crash_look);
    status = scratch_run(look_at_file, NULL, CRASH_SECONDS);
    if (status == 0) {
        holdings_load(held, crash_folders.result);
        counts->stock_read++;
        return 0;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 1) {
        counts->stock_refused++;
        return 1;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
        return 1;
    if (damaged && WIFEXITED(status))
        return 1;
    fprintf(stderr, "%s: HDF5 reads something else (%#x): %s\n", where, status,
            crash_look->message);
    counts->failures++;
    return -1;
}

/* ---- one operation ---------------------------------------------------- */

struct crash_try {
    const crash_op *op;
    crashfs_log *log;
    int *acknowledged; /* shared: how many of its commits */
    uint64_t stop;
    size_t tear;
};

#define CRASH_MOST_POINTS 8
static struct crash_try *crash_trying;

static const char *
try_point_path(int point)
{
    char name[32];

    snprintf(name, sizeof name, "point%d", point);
    return scratch_path(scratch_folder(), name);
}

/* A commit but the last was acknowledged; the clean run notes what there is then. */
static void
try_point(h5store *store)
{
    h5store_err err = {0};
    holdings held;

    ++*crash_trying->acknowledged;
    if (crash_trying->stop != 0)
        return;
    PROVE(holdings_read(store, &held, &err) == 0, "%s", err.message);
    holdings_save(&held, try_point_path(*crash_trying->acknowledged));
    holdings_release(&held);
}

static int
try_run(void *context)
{
    struct crash_try *try = context;
    const crash_op *op = try->op;
    h5store_err err = {0};
    h5store *store;
    int rc;

    crash_trying = try;
    crash_point = try_point;
    if (op->opens) {
        crashfs_arm(try->log, try->stop, try->tear);
        rc = op->by_path(crash_folders.path, &err);
    } else {
        crashfs_arm(NULL, 0, 0);
        PROVE(crash_open(crash_folders.path, H5STORE_CREATE, &store, &err) == 0, "%s", err.message);
        crashfs_arm(try->log, try->stop, try->tear);
        rc = op->with_store(store, &err);
    }
    if (rc < 0)
        fprintf(stderr, "%s: %d, %s\n", op->name, rc, err.message);
    if (rc < 0)
        return 1;
    ++*try->acknowledged;
    /* Die without closing: what was acknowledged is in the log. */
    kill(getpid(), SIGKILL);
    return 0;
}

/* Run it; it dies at the call, or when it is done. */
static bool
crash_try_once(struct crash_try *try, struct crash_counts *counts)
{
    int status;

    scratch_copy(crash_bases[try->op->base], crash_folders.work);
    *try->acknowledged = 0;
    try->log->calls = 0;
    status = scratch_run(try_run, try, CRASH_SECONDS);
    if (crash_was_killed(status))
        return true;
    fprintf(stderr, "%s: ended with status %#x\n", try->op->name, status);
    counts->failures++;
    return false;
}

/* The states that the operation goes through: before, after each of its commits. */
struct crash_states {
    holdings states[CRASH_MOST_POINTS];
    int last;
    holdings applied; /* what the file showed before, while the log waited */
};

/* Which of the states from @p first on is it, the earliest if several are the same?  -1: none. */
static int
crash_find(const struct crash_states *states, const holdings *held, int first)
{
    for (int i = first; i <= states->last; i++)
        if (holdings_equal(held, &states->states[i]))
            return i;
    return -1;
}

static void
crash_check(const struct crash_try *try, const struct crash_states *states,
            struct crash_counts *counts)
{
    bool damaged = try->op->base == BASE_DAMAGED;
    holdings held = {0};
    char where[200];
    int rc, found;

    snprintf(where, sizeof where, "%s, call %llu, %zu bytes", try->op->name,
             (unsigned long long)try->stop, try->tear);
    rc = crash_look_outside(damaged, &held, counts, where);
    if (rc == 0 && crash_find(states, &held, 0) < 0 && !holdings_equal(&held, &states->applied)) {
        fprintf(stderr, "%s: HDF5 reads a state that never was\n", where);
        counts->failures++;
    }
    holdings_release(&held);
    if (!crash_look_inside(false, damaged, &held, counts, where))
        return;
    /* What was acknowledged, or the commit that was under way. */
    found = crash_find(states, &held, *try->acknowledged);
    counts->before += found == 0;
    counts->after += found > 0;
    if (found < 0 || found > *try->acknowledged + 1) {
        fprintf(stderr, "%s: %s, after %d acknowledged commits\n", where,
                found < 0 ? "an acknowledged change is lost, or a third state"
                          : "a commit that was not begun",
                *try->acknowledged);
        holdings_print(&held, "found");
        for (int i = 0; i <= states->last; i++)
            holdings_print(&states->states[i], "one of its states");
        counts->failures++;
    }
    holdings_release(&held);
    /* It was closed: now other programs must be able to read it, and see the same. */
    rc = crash_look_outside(damaged, &held, counts, where);
    if (rc == 1 && !damaged) {
        fprintf(stderr, "%s: HDF5 refuses the file after closing\n", where);
        counts->failures++;
    }
    holdings_release(&held);
}

static void
crash_learn(struct crash_try *try, struct crash_states *states, struct crash_counts *counts)
{
    const char *base = crash_bases[try->op->base];
    bool damaged = try->op->base == BASE_DAMAGED;

    memset(states, 0, sizeof *states);
    scratch_copy(base, crash_folders.work);
    (void)crash_look_outside(damaged, &states->applied, counts, try->op->name);
    PROVE(crash_look_inside(false, damaged, &states->states[0], counts, try->op->name), "base");
    try->stop = 0;
    PROVE(crash_try_once(try, counts) && *try->acknowledged > 0, "%s did not run", try->op->name);
    states->last = *try->acknowledged;
    PROVE(states->last < CRASH_MOST_POINTS, "too many commits");
    for (int i = 1; i < states->last; i++)
        holdings_load(&states->states[i], try_point_path(i));
    PROVE(crash_look_inside(false, damaged, &states->states[states->last], counts, try->op->name),
          "after");
}

/* One of many holes in a row, neither the first nor the last? */
static bool
crash_is_another_punch(const crashfs_log *log, uint64_t n)
{
    return n > 1 && n < log->calls && log->kinds[n - 1] == CRASHFS_PUNCH &&
           log->kinds[n] == CRASHFS_PUNCH && log->kinds[n + 1] == CRASHFS_PUNCH;
}

static void
crash_operation(const crash_op *op, bool all, struct crash_counts *counts)
{
    struct crash_try try = {op, scratch_shared(sizeof(crashfs_log)), scratch_shared(sizeof(int)), 0,
                            0};
    struct crash_states states;
    struct crash_counts before = *counts;
    crashfs_log clean;
    uint64_t steps = 0;

    crash_learn(&try, &states, counts);
    clean = *try.log;
    for (uint64_t n = 1; n <= clean.calls; n++) {
        size_t size = clean.kinds[n] == CRASHFS_PWRITE ? clean.sizes[n] : 0;
        size_t tears[] = {0, size / 2, 1, size > 0 ? size - 1 : 0};
        /* A write inside one sector is done or not, on any disk and in any kernel. */
        size_t count = size <= CRASHFS_SECTOR ? 1 : all ? 4 : 2;

        steps++;
        if (!all && crash_is_another_punch(&clean, n)) {
            counts->skipped++;
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            try.stop = n;
            try.tear = tears[i];
            if (!crash_try_once(&try, counts))
                continue;
            /* The run before the crash was the clean one as far as it went. */
            if (try.log->calls != n || *try.acknowledged >= states.last) {
                fprintf(stderr, "%s: call %llu was not reached (%llu)\n", op->name,
                        (unsigned long long)n, (unsigned long long)try.log->calls);
                counts->failures++;
            }
            crash_check(&try, &states, counts);
            counts->crashes++;
        }
    }
    PROVE(steps == clean.calls && (steps > 0) == !op->is_mute, "%s: %llu steps of %llu", op->name,
          (unsigned long long)steps, (unsigned long long)clean.calls);
    counts->calls += steps;
    printf("  %-32s %4llu calls, %5llu crashes, %4llu times before, %4llu after\n", op->name,
           (unsigned long long)steps, (unsigned long long)(counts->crashes - before.crashes),
           (unsigned long long)(counts->before - before.before),
           (unsigned long long)(counts->after - before.after));
    fflush(stdout);
    for (int i = 0; i <= states.last; i++)
        holdings_release(&states.states[i]);
    holdings_release(&states.applied);
}

static bool
crash_is_chosen(const char *name, int count, char **names)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return count == 0;
}

int
main(int count, char **arguments)
{
    struct crash_counts counts = {0};
    bool all = false, death = true, power = true;
    int i = 1;

    for (; i < count && strncmp(arguments[i], "--", 2) == 0; i++) {
        if (strcmp(arguments[i], "--all") == 0)
            all = true;
        else if (strcmp(arguments[i], "--power-only") == 0)
            death = false;
        else if (strcmp(arguments[i], "--death-only") == 0)
            power = false;
        else
            PROVE(false, "unknown argument %s", arguments[i]);
    }
    crash_look = scratch_shared(sizeof *crash_look);
    crash_folders.work = scratch_subfolder("work");
    crash_folders.path = strdup(scratch_path(crash_folders.work, CRASH_FILE));
    crash_folders.result = strdup(scratch_path(scratch_folder(), "result"));
    for (int base = 0; base < BASE_KINDS; base++) {
        char name[16];

        snprintf(name, sizeof name, "base%d", base);
        base_make((crash_base)base, scratch_subfolder(name));
    }
    for (size_t op = 0; death && op < crash_op_count; op++)
        if (crash_is_chosen(crash_ops[op].name, count - i, arguments + i))
            crash_operation(&crash_ops[op], all, &counts);
    if (death) {
        printf("crashes: %llu calls (%llu of them holes in a row, passed over), %llu crashes, %llu "
               "states before, %llu after; other HDF5 "
               "programs: %llu read, %llu refused; %llu failures\n",
               (unsigned long long)counts.calls, (unsigned long long)counts.skipped,
               (unsigned long long)counts.crashes, (unsigned long long)counts.before,
               (unsigned long long)counts.after, (unsigned long long)counts.stock_read,
               (unsigned long long)counts.stock_refused, (unsigned long long)counts.failures);
        PROVE(counts.crashes > 0 && counts.after > 0, "nothing was done");
    }
    if (power)
        crash_power(all, &counts);
    return counts.failures > 0;
}
