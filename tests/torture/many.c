/* SPDX-License-Identifier: MIT */
/*
 * Many processes at once: what they may never do to each other.
 *
 *   many [--seconds N]
 *
 *   same      all put the same new arrays at the same moment: each is stored once
 *   mapped    readers look at mapped arrays all the time while others remove and put: the bytes
 *             under a mapping never change (I4)
 *   turns     one that writes now and then among seven that always write gets its turn (I6)
 *   programs  other HDF5 programs open the file at random moments while four write: they read
 *             all of it, or are refused, and never read something else (I2)
 *   open      another program that has the file open keeps nobody from committing, and when it
 *             is gone the log is applied
 */
#include "../support/holdings.h"
#include "../support/sample.h"
#include "../support/scratch.h"
#include <errno.h>
#include <hdf5.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY_MOST 16
#define MANY_ROUNDS 40 /* arrays of "same" */
#define MANY_KEYS 12
#define MANY_BUSY 7

struct many_shared {
    volatile int ready, go, stop;
    uint64_t stored, found;          /* same */
    uint64_t looks, mapped, changed; /* mapped */
    uint64_t packed;                 /* of the looks, at arrays that are packed */
    uint64_t turns[MANY_MOST];       /* turns, programs */
    double longest;
    uint64_t read, refused, different; /* programs */
    uint64_t errors;
};

static struct many_shared *many;
static char *many_path;
static double many_seconds = 3;
static h5store_err many_err;

static void
many_need(int rc, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "process %ld: %s: %d, %s\n", (long)getpid(), what, rc, many_err.message);
    __atomic_fetch_add(&many->errors, 1, __ATOMIC_SEQ_CST);
    _exit(3);
}

static h5store *
many_open(void)
{
    h5store_options options;
    h5store *store;

    h5store_options_init(&options);
    options.flags = H5STORE_CREATE;
    options.threads = 1;
    many_need(h5store_open(many_path, &options, &store, &many_err), "open");
    return store;
}

/* Start @p count processes that wait for each other. */
static void
many_start(int count, void (*function)(int), pid_t children[MANY_MOST])
{
    fflush(stdout);
    many->ready = many->go = many->stop = 0;
    for (int i = 0; i < count; i++) {
        children[i] = fork();
        PROVE(children[i] >= 0, "fork: %s", strerror(errno));
        if (children[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            alarm(120);
            function(i);
            _exit(0);
        }
    }
    while (many->ready < count)
        usleep(1000);
    many->go = 1;
}

static void
many_wait(void)
{
    __atomic_fetch_add(&many->ready, 1, __ATOMIC_SEQ_CST);
    while (!many->go)
        usleep(100);
}

static void
many_end(int count, const pid_t children[MANY_MOST])
{
    for (int i = 0; i < count; i++) {
        int status;

        PROVE(waitpid(children[i], &status, 0) == children[i], "waitpid: %s", strerror(errno));
        PROVE(status == 0, "process %d ended with status %#x", i, status);
    }
}

static int
many_verify(void *context)
{
    uint64_t *blobs = context, errors;
    h5store *store = many_open();
    h5store_totals totals;

    many_need(holdings_verify(store, false, &errors, &many_err), "verify");
    many_need(h5store_stat(store, &totals, &many_err), "stat");
    *blobs = totals.blobs;
    many_need(h5store_close(store, &many_err), "close");
    return errors > 0;
}

static uint64_t
many_check(void)
{
    static uint64_t *blobs;

    if (blobs == NULL)
        blobs = scratch_shared(sizeof *blobs);
    PROVE(scratch_run(many_verify, blobs, 60) == 0, "the container is not in order");
    return *blobs;
}

/* ---- the same arrays -------------------------------------------------- */

static void
same_run(int index)
{
    uint8_t buffer[SAMPLE_MOST] = {0};
    h5store *store = many_open();

    (void)index;
    many_wait();
    for (uint64_t i = 0; i < MANY_ROUNDS; i++) {
        h5store_array array = sample_array(buffer, 33000);
        int rc;

        sample_fill(buffer, 33000, 5000 + i);
        rc = h5store_put(store, &array, NULL, &many_err);
        many_need(rc, "put");
        __atomic_fetch_add(rc == H5STORE_EXISTS ? &many->found : &many->stored, 1,
                           __ATOMIC_SEQ_CST);
    }
    many_need(h5store_close(store, &many_err), "close");
}

static void
many_same(void)
{
    pid_t children[MANY_MOST];
    uint64_t blobs;

    many_start(4, same_run, children);
    many_end(4, children);
    blobs = many_check();
    printf("  same: 4 processes put %d arrays: %llu blobs, %llu written, %llu found\n", MANY_ROUNDS,
           (unsigned long long)blobs, (unsigned long long)many->stored,
           (unsigned long long)many->found);
    PROVE(blobs == MANY_ROUNDS, "%llu blobs", (unsigned long long)blobs);
    PROVE(many->stored + many->found == 4 * MANY_ROUNDS && many->stored >= MANY_ROUNDS, "puts");
}

/* ---- mappings --------------------------------------------------------- */

static void
many_key(uint64_t number, char key[16])
{
    snprintf(key, 16, "k%llu", (unsigned long long)number);
}

/* Set, replace and remove without end; few keys and seeds, so that space is reused. */
static void
many_write(int index)
{
    scratch_random random = {(uint64_t)index + 1};
    h5store *store = many_open();
    char key[16];

    many_wait();
    while (!many->stop) {
        double began = scratch_seconds();
        h5store_batch *batch;

        many_key(scratch_draw(&random, MANY_KEYS), key);
        if (scratch_draw(&random, 3) > 0) {
            many_need(
                sample_set_item(store, "m/f", key, 1 + scratch_draw(&random, 30), 1, &many_err),
                "set");
        } else {
            many_need(h5store_batch_begin(store, &batch, &many_err), "begin");
            many_need(h5store_batch_remove(batch, "m/f", key, &many_err), "remove");
            many_need(h5store_batch_commit(batch, &many_err), "commit");
        }
        many->turns[index]++;
        if (index == MANY_BUSY) { /* the patient one */
            double took = scratch_seconds() - began;

            many->longest = took > many->longest ? took : many->longest;
            usleep(20000);
        }
    }
    many_need(h5store_close(store, &many_err), "close");
}

static void
mapped_read(scratch_random *random, h5store *store)
{
    h5store_item *item;
    uint64_t seed, again;
    char key[16];
    int rc;

    many_key(scratch_draw(random, MANY_KEYS), key);
    rc = h5store_item_open(store, "m/f", key, &item, &many_err);
    if (rc == H5STORE_E_NOT_FOUND)
        return;
    many_need(rc, "item_open");
    rc = sample_check_item(item, true, &seed, &many_err);
    many_need(rc, "map");
    __atomic_fetch_add(&many->mapped, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; rc == 0 && i < 5; i++) {
        usleep(1000);
        rc = sample_check_item(item, true, &again, &many_err);
        rc = rc == 0 && again != seed ? 1 : rc;
        __atomic_fetch_add(&many->looks, 1, __ATOMIC_SEQ_CST);
    }
    if (rc != 0)
        __atomic_fetch_add(&many->changed, 1, __ATOMIC_SEQ_CST);
    h5store_item_close(item);
}

static void
mapped_run(int index)
{
    scratch_random random = {(uint64_t)index + 100};
    h5store *store;

    if (index < 3) {
        many_write(index);
        return;
    }
    store = many_open();
    many_wait();
    while (!many->stop)
        mapped_read(&random, store);
    __atomic_fetch_add(&many->packed, sample_unpacked, __ATOMIC_SEQ_CST);
    many_need(h5store_close(store, &many_err), "close");
}

static void
many_mapped(void)
{
    pid_t children[MANY_MOST];

    many_start(6, mapped_run, children);
    usleep((useconds_t)(many_seconds * 1e6));
    many->stop = 1;
    many_end(6, children);
    (void)many_check();
    printf("  mapped: %llu mappings looked at %llu times (%llu of packed arrays) while 3 processes "
           "made %llu commits: %llu changed\n",
           (unsigned long long)many->mapped, (unsigned long long)many->looks,
           (unsigned long long)many->packed,
           (unsigned long long)(many->turns[0] + many->turns[1] + many->turns[2]),
           (unsigned long long)many->changed);
    PROVE(many->changed == 0, "a mapping changed");
    PROVE(many->mapped > 0 && many->looks > many->packed && many->packed > 0 && many->turns[0] > 0,
          "nothing was done");
}

/* ---- turns ------------------------------------------------------------ */

static void
many_turns(void)
{
    pid_t children[MANY_MOST];
    uint64_t busy = 0;

    memset(many->turns, 0, sizeof many->turns);
    many_start(MANY_BUSY + 1, many_write, children);
    usleep((useconds_t)(many_seconds * 1e6));
    many->stop = 1;
    many_end(MANY_BUSY + 1, children);
    (void)many_check();
    for (int i = 0; i < MANY_BUSY; i++) {
        busy += many->turns[i];
        PROVE(many->turns[i] > 0, "writer %d never had a turn", i);
    }
    printf("  turns: %d busy writers made %llu commits, the one among them %llu; it waited %.0f "
           "ms at most\n",
           MANY_BUSY, (unsigned long long)busy, (unsigned long long)many->turns[MANY_BUSY],
           many->longest * 1e3);
    PROVE(many->turns[MANY_BUSY] > 0, "the one among the busy never had a turn");
}

/* ---- other programs --------------------------------------------------- */

static int
programs_look(void *context)
{
    char what[256];
    holdings held;
    int rc = holdings_read_stock(many_path, &held, what);

    (void)context;
    many->read += rc == 0;
    many->refused += rc > 0;
    many->different += rc < 0;
    if (rc < 0)
        fprintf(stderr, "  HDF5 reads something else: %s\n", what);
    return 0;
}

static void
many_programs(void)
{
    scratch_random random = {77};
    pid_t children[MANY_MOST];
    double end;

    memset(many->turns, 0, sizeof many->turns);
    many_start(4, many_write, children);
    end = scratch_seconds() + 2 * many_seconds;
    while (scratch_seconds() < end) {
        PROVE(scratch_run(programs_look, NULL, 30) == 0, "a reader crashed");
        usleep((useconds_t)scratch_draw(&random, 30000));
    }
    many->stop = 1;
    many_end(4, children);
    (void)many_check();
    printf("  programs: while 4 wrote (%llu commits), %llu other HDF5 programs read all, %llu were "
           "refused, %llu read something else\n",
           (unsigned long long)(many->turns[0] + many->turns[1] + many->turns[2] + many->turns[3]),
           (unsigned long long)many->read, (unsigned long long)many->refused,
           (unsigned long long)many->different);
    PROVE(many->different == 0, "a program read something else");
    PROVE(many->read > 0 && many->turns[0] > 0, "nothing was done");
}

/* A program that has the file open until it is told to stop. */
static void
open_hold(int index)
{
    hid_t file = -1;

    (void)index;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    for (int i = 0; file < 0 && i < 500; i++) {
        file = H5Fopen(many_path, H5F_ACC_RDONLY, H5P_DEFAULT);
        if (file < 0)
            usleep(10000);
    }
    if (file < 0)
        _exit(4);
    many_wait();
    while (!many->stop)
        usleep(1000);
    H5Fclose(file);
}

static int
open_write(void *context)
{
    h5store *store = many_open();
    uint64_t *flushed = context;
    int rc;

    for (uint64_t i = 0; i < 50; i++)
        many_need(sample_set_item(store, "open/f", i % 2 ? "a" : "b", 700 + i, 1, &many_err),
                  "set");
    rc = h5store_flush(store, &many_err);
    *flushed = rc == H5STORE_E_BUSY; /* it must say that it could not apply */
    many_need(h5store_close(store, &many_err), "close");
    return 0;
}

static void
many_held(void)
{
    uint64_t *busy = scratch_shared(sizeof *busy);
    pid_t children[MANY_MOST];
    char what[256], log[4200];
    holdings held;
    bool waited;

    snprintf(log, sizeof log, "%s-wal", many_path);
    many_start(1, open_hold, children);
    PROVE(scratch_run(open_write, busy, 60) == 0, "writing beside an open program");
    waited = access(log, F_OK) == 0;
    many->stop = 1;
    many_end(1, children);
    (void)many_check(); /* opens and closes: the log is applied */
    PROVE(*busy == 1 && waited, "the log was applied under an open program");
    PROVE(access(log, F_OK) != 0, "the log is still there");
    PROVE(holdings_read_stock(many_path, &held, what) == 0, "%s", what);
    PROVE(held.count > 0, "nothing was read");
    printf("  open: 50 commits beside a program that has the file open; the log waited, and was "
           "applied after\n");
    holdings_release(&held);
}

int
main(int count, char **arguments)
{
    if (count == 3 && strcmp(arguments[1], "--seconds") == 0)
        many_seconds = atof(arguments[2]);
    many = scratch_shared(sizeof *many);
    many_path = strdup(scratch_path(scratch_folder(), "c.h5"));
    many_same();
    many_mapped();
    many_turns();
    many_programs();
    many_held();
    printf("many processes: %llu looks at %llu mappings, 0 changed; %llu reads by other programs, "
           "0 wrong; %llu errors\n",
           (unsigned long long)many->looks, (unsigned long long)many->mapped,
           (unsigned long long)many->read, (unsigned long long)many->errors);
    return many->errors > 0;
}
