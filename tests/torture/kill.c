/* SPDX-License-Identifier: MIT */
/*
 * Kill writers, readers and removers with SIGKILL, again and again, and look whether anything
 * that was acknowledged is gone or wrong (I1, I3, I4).
 *
 *   kill [--kills N] [--workers N] [--seed N]
 *   kill --stock | --stock-latest [--kills N]
 *
 * Workers share one container.  Each has keys of its own, so that its witness file says what
 * they must be; the arrays are drawn from a pool that all share, so that one puts what another
 * removes.  A key is two items that are always set and removed together: if they ever differ,
 * a commit was torn.  Half of the deaths come from the parent at any instruction; the other
 * half a worker brings upon itself before or inside a system call that changes the disk.
 * Every now and then all are killed at once and the container is opened and looked at.
 *
 * With --stock the same is done to plain HDF5 (one writer, H5Fflush for each put): it is the
 * column to compare with, nothing is expected of it.
 */
#include "kill.h"
#include "../support/crashfs.h"
#include "../support/holdings.h"
#include "../support/sample.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_MOST_WORKERS 16
#define KILL_POOL 60            /* seeds of arrays */
#define KILL_COLLECTIONS 3      /* of each worker */
#define KILL_PER_CHECK 20       /* deaths between two looks */
#define KILL_KEPT WITNESS_GROUP /* the first key that is a kept array, not items */

static const char *kill_path;
static h5store_err kill_err;

/* ---- names ------------------------------------------------------------ */

static void
kill_names(int slot, uint32_t key, bool second, char collection[64], char name[64])
{
    snprintf(collection, 64, "worker%d/function%u", slot, key % KILL_COLLECTIONS);
    snprintf(name, 64, "%c%u", second ? 'b' : 'a', key);
}

/* The array that a worker keeps under one of the upper keys; nobody else has it. */
static uint64_t
kill_kept_seed(int slot, uint32_t key)
{
    return 1000 + (uint64_t)slot * WITNESS_KEYS + key;
}

/* ---- a worker --------------------------------------------------------- */

struct kill_worker {
    int slot, witness;
    h5store *store;
    scratch_random random;
};

static void
worker_need(int rc, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "worker %ld: %s: %d, %s\n", (long)getpid(), what, rc, kill_err.message);
    _exit(3);
}

static void
worker_wrong(const char *what)
{
    fprintf(stderr, "worker %ld: %s\n", (long)getpid(), what);
    _exit(4);
}

static void
worker_open(struct kill_worker *w)
{
    h5store_options options;

    h5store_options_init(&options);
    options.flags = H5STORE_CREATE;
    if (scratch_draw(&w->random, 4) == 0)
        options.durability = H5STORE_DURABLE_POWER;
    worker_need(h5store_open(kill_path, &options, &w->store, &kill_err), "open");
}

/* Set both items of a key (state > 0), or remove them. */
static void
worker_change(struct kill_worker *w, uint32_t key, uint64_t state)
{
    char collection[64], name[64];
    h5store_batch *batch;

    witness_note(w->witness, WITNESS_BEGIN, key, state);
    worker_need(h5store_batch_begin(w->store, &batch, &kill_err), "begin");
    for (int second = 0; second < 2; second++) {
        kill_names(w->slot, key, second, collection, name);
        if (state > 0)
            worker_need(sample_set(batch, collection, name, state, 1 + state % 2, &kill_err),
                        "set");
        else
            worker_need(h5store_batch_remove(batch, collection, name, &kill_err), "remove");
    }
    worker_need(h5store_batch_commit(batch, &kill_err), "commit");
    witness_note(w->witness, WITNESS_ACK, key, state);
}

static void
worker_remove_all(struct kill_worker *w)
{
    char collection[64];
    h5store_batch *batch;

    snprintf(collection, sizeof collection, "worker%d", w->slot);
    witness_note(w->witness, WITNESS_BEGIN, WITNESS_ALL, 0);
    worker_need(h5store_batch_begin(w->store, &batch, &kill_err), "begin");
    worker_need(h5store_batch_remove(batch, collection, NULL, &kill_err), "remove");
    worker_need(h5store_batch_commit(batch, &kill_err), "commit");
    witness_note(w->witness, WITNESS_ACK, WITNESS_ALL, 0);
}

static void
worker_keep(struct kill_worker *w, uint32_t key)
{
    uint64_t seed = kill_kept_seed(w->slot, key);
    size_t size = sample_size(seed);
    uint8_t buffer[SAMPLE_MOST];
    h5store_array array = sample_array(buffer, size);
    bool keep = scratch_draw(&w->random, 3) != 0;
    h5store_id id;
    int rc;

    sample_fill(buffer, size, seed);
    witness_note(w->witness, WITNESS_BEGIN, key, keep);
    if (keep) {
        worker_need(h5store_put(w->store, &array, &id, &kill_err), "put");
    } else {
        worker_need(h5store_hash(&array, 1, &id, &kill_err), "hash");
        rc = h5store_discard(w->store, &id, &kill_err);
        worker_need(rc == H5STORE_E_NOT_FOUND ? 0 : rc, "discard");
    }
    witness_note(w->witness, WITNESS_ACK, key, keep);
}

/* Read somebody's item.  Whatever it is, its bytes must be those of its own seed, and stay
 * so as long as they are mapped. */
static void
worker_read(struct kill_worker *w, int workers)
{
    uint32_t key = (uint32_t)scratch_draw(&w->random, WITNESS_GROUP);
    bool mapped = scratch_draw(&w->random, 2) == 0;
    char collection[64], name[64];
    h5store_item *item;
    uint64_t seed;
    int rc;

    kill_names((int)scratch_draw(&w->random, (uint64_t)workers), key,
               scratch_draw(&w->random, 2) == 0, collection, name);
    rc = h5store_item_open(w->store, collection, name, &item, &kill_err);
    if (rc == H5STORE_E_NOT_FOUND)
        return;
    worker_need(rc, "item_open");
    rc = sample_check_item(item, mapped, &seed, &kill_err);
    worker_need(rc, "read");
    if (rc == 0 && mapped) {
        usleep((useconds_t)scratch_draw(&w->random, 3000));
        rc = sample_check_item(item, mapped, &seed, &kill_err);
    }
    if (rc != 0)
        worker_wrong("an item has bytes that nobody put");
    h5store_item_close(item);
}

static void
worker_step(struct kill_worker *w, int workers)
{
    uint64_t dice = scratch_draw(&w->random, 100);
    uint32_t key = (uint32_t)scratch_draw(&w->random, WITNESS_GROUP);

    if (dice < 45) {
        worker_change(w, key, 1 + scratch_draw(&w->random, KILL_POOL));
    } else if (dice < 58) {
        worker_change(w, key, 0);
    } else if (dice < 84) {
        worker_read(w, workers);
    } else if (dice < 92) {
        worker_keep(w, KILL_KEPT + (uint32_t)scratch_draw(&w->random, WITNESS_KEYS - KILL_KEPT));
    } else if (dice < 95) {
        int rc = h5store_flush(w->store, &kill_err);

        worker_need(rc == H5STORE_E_BUSY ? 0 : rc, "flush");
    } else if (dice < 99) {
        worker_need(h5store_close(w->store, &kill_err), "close");
        worker_open(w);
    } else {
        worker_remove_all(w);
    }
}

static void
worker_run(int slot, int workers, uint64_t seed, const char *witness_path)
{
    struct kill_worker w = {.slot = slot, .random = {seed}};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (scratch_draw(&w.random, 2) == 0)
        crashfs_arm_real(1 + scratch_draw(&w.random, 50), scratch_draw(&w.random, 3000));
    w.witness = witness_open(witness_path);
    worker_open(&w);
    for (;;)
        worker_step(&w, workers);
}

/* ---- looking ---------------------------------------------------------- */

struct kill_look {
    witness *witnesses;
    int workers;
    uint64_t items, packed, lost, wrong, torn, errors;
};

static void
look_say(const char *what, int slot, uint32_t key, uint64_t state)
{
    fprintf(stderr, "  worker %d, key %u, state %llu: %s\n", slot, key, (unsigned long long)state,
            what);
}

/* The seed of an item, 0 when it is not there, UINT64_MAX when it is wrong. */
static uint64_t
look_at_item(h5store *store, int slot, uint32_t key, bool second)
{
    char collection[64], name[64];
    h5store_item *item;
    uint64_t seed = UINT64_MAX;
    int rc;

    kill_names(slot, key, second, collection, name);
    rc = h5store_item_open(store, collection, name, &item, &kill_err);
    if (rc == H5STORE_E_NOT_FOUND)
        return 0;
    if (rc < 0) {
        fprintf(stderr, "  %s/%s: %s\n", collection, name, kill_err.message);
        return UINT64_MAX;
    }
    if (sample_check_item(item, false, &seed, &kill_err) != 0)
        seed = UINT64_MAX;
    h5store_item_close(item);
    return seed;
}

static uint64_t
look_at_kept(h5store *store, int slot, uint32_t key)
{
    uint64_t seed = kill_kept_seed(slot, key);
    size_t size = sample_size(seed);
    uint8_t buffer[SAMPLE_MOST], bytes[SAMPLE_MOST];
    h5store_array array = sample_array(buffer, size);
    h5store_blob *blob;
    h5store_id id;
    int rc;

    sample_fill(buffer, size, seed);
    PROVE(h5store_hash(&array, 1, &id, &kill_err) == 0, "%s", kill_err.message);
    rc = h5store_blob_open(store, &id, &blob, &kill_err);
    if (rc == H5STORE_E_NOT_FOUND)
        return 0;
    if (rc == 0) {
        rc = h5store_blob_read(blob, bytes, size, H5STORE_CHECK_FULL, &kill_err);
        h5store_blob_close(blob);
    }
    return rc == 0 && memcmp(bytes, buffer, size) == 0 ? 1 : UINT64_MAX;
}

static void
look_at_key(struct kill_look *look, h5store *store, int slot, uint32_t key)
{
    witness *w = &look->witnesses[slot];
    uint64_t state;

    if (key >= KILL_KEPT) {
        state = look_at_kept(store, slot, key);
    } else {
        uint64_t second = look_at_item(store, slot, key, true);

        state = look_at_item(store, slot, key, false);
        if (state != second) {
            look_say("the other of its two items has another one", slot, key, state);
            look->torn++;
        }
    }
    look->items += state != 0 && state != UINT64_MAX;
    if (state == UINT64_MAX) {
        look_say("it cannot be read, or has bytes that nobody put", slot, key, state);
        look->wrong++;
    } else if (!witness_is(w, key, state)) {
        look_say(state == 0 ? "lost" : "an old or unknown state", slot, key, state);
        look->lost += state == 0;
        look->wrong += state != 0;
    }
}

static int
look_run(void *context)
{
    struct kill_look *look = context;
    h5store_options options;
    h5store *store;
    uint64_t errors = 0;
    int rc;

    h5store_options_init(&options);
    options.flags = H5STORE_CREATE;
    rc = h5store_open(kill_path, &options, &store, &kill_err);
    if (rc < 0) {
        fprintf(stderr, "  cannot open: %s\n", kill_err.message);
        return 1;
    }
    if (h5store_notice(store)[0] != '\0')
        fprintf(stderr, "  notice: %s\n", h5store_notice(store));
    rc = holdings_verify(store, false, &errors, &kill_err);
    if (rc < 0)
        fprintf(stderr, "  cannot verify: %s\n", kill_err.message);
    look->errors += errors + (rc < 0);
    for (int slot = 0; slot < look->workers; slot++)
        for (uint32_t key = 0; key < WITNESS_KEYS; key++)
            look_at_key(look, store, slot, key);
    look->packed += sample_unpacked;
    rc = h5store_close(store, &kill_err);
    if (rc < 0)
        fprintf(stderr, "  cannot close: %s\n", kill_err.message);
    return rc < 0;
}

/* What other programs see of the file as the killed left it, and after we closed it. */
struct kill_stock_look {
    uint64_t read, refused, different;
};

static int
look_stock(void *context)
{
    struct kill_stock_look *look = context;
    char what[256];
    holdings s;
    int rc = holdings_read_stock(kill_path, &s, what);

    look->read += rc == 0;
    look->refused += rc > 0;
    look->different += rc < 0;
    if (rc < 0)
        fprintf(stderr, "  HDF5 reads something else: %s\n", what);
    holdings_release(&s);
    return 0;
}

/* ---- the loop --------------------------------------------------------- */

struct kill_totals {
    uint64_t kills, by_call, checks, failures;
};

struct kill_run {
    int workers;
    uint64_t kills;
    scratch_random random;
    pid_t children[KILL_MOST_WORKERS];
    char witness_paths[KILL_MOST_WORKERS][4096];
    struct kill_look *look;
    struct kill_stock_look *stock;
    struct kill_totals totals;
};

static void
run_start(struct kill_run *run, int slot)
{
    uint64_t seed = scratch_draw(&run->random, UINT64_MAX);

    fflush(stdout);
    run->children[slot] = fork();
    PROVE(run->children[slot] >= 0, "fork: %s", strerror(errno));
    if (run->children[slot] == 0)
        worker_run(slot, run->workers, seed, run->witness_paths[slot]);
}

/* Wait for a worker that was killed (@p expected), or see whether it is dead already. */
static bool
run_reap(struct kill_run *run, int slot, bool expected)
{
    int status;
    pid_t ended;

    do
        ended = waitpid(run->children[slot], &status, expected ? 0 : WNOHANG);
    while (ended < 0 && errno == EINTR);
    if (ended <= 0)
        return false;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
        run->totals.kills++;
        run->totals.by_call += !expected;
    } else {
        fprintf(stderr, "  a worker ended with status %#x\n", status);
        run->totals.failures++;
    }
    return true;
}

static void
run_kill_all(struct kill_run *run)
{
    for (int slot = 0; slot < run->workers; slot++)
        kill(run->children[slot], SIGKILL);
    for (int slot = 0; slot < run->workers; slot++)
        (void)run_reap(run, slot, true);
}

static void
run_check(struct kill_run *run)
{
    for (int slot = 0; slot < run->workers; slot++)
        witness_read(&run->look->witnesses[slot]);
    run->totals.failures += scratch_run(look_stock, run->stock, 60) != 0;
    if (scratch_run(look_run, run->look, 120) != 0)
        run->totals.failures++;
    run->totals.failures += scratch_run(look_stock, run->stock, 60) != 0;
    run->totals.checks++;
}

static void
run_loop(struct kill_run *run)
{
    uint64_t next_check = KILL_PER_CHECK;

    for (int slot = 0; slot < run->workers; slot++)
        run_start(run, slot);
    while (run->totals.kills < run->kills && run->totals.failures == 0) {
        int slot = (int)scratch_draw(&run->random, (uint64_t)run->workers);

        usleep((useconds_t)scratch_draw(&run->random, 60000));
        kill(run->children[slot], SIGKILL);
        (void)run_reap(run, slot, true);
        run_start(run, slot);
        for (slot = 0; slot < run->workers; slot++)
            if (run_reap(run, slot, false))
                run_start(run, slot);
        if (run->totals.kills < next_check && run->totals.kills < run->kills)
            continue;
        next_check = run->totals.kills + KILL_PER_CHECK;
        run_kill_all(run);
        run_check(run);
        for (slot = 0; slot < run->workers; slot++)
            run_start(run, slot);
    }
    run_kill_all(run);
    run_check(run);
}

static int
kill_store(uint64_t kills, int workers, uint64_t seed)
{
    struct kill_run run = {.workers = workers, .kills = kills, .random = {seed}};
    witness *witnesses = scratch_shared((size_t)workers * sizeof *witnesses);
    char *folder = scratch_subfolder("store");
    double began = scratch_seconds();
    uint64_t acknowledged = 0;
    bool passed;

    kill_path = strdup(scratch_path(folder, "c.h5"));
    run.look = scratch_shared(sizeof *run.look);
    run.stock = scratch_shared(sizeof *run.stock);
    *run.look = (struct kill_look){.witnesses = witnesses, .workers = workers};
    for (int slot = 0; slot < workers; slot++) {
        snprintf(run.witness_paths[slot], sizeof run.witness_paths[slot], "%s/witness%d",
                 scratch_folder(), slot);
        witness_init(&witnesses[slot], run.witness_paths[slot]);
    }
    run_loop(&run);
    for (int slot = 0; slot < workers; slot++)
        acknowledged += witnesses[slot].acknowledged;
    passed = run.totals.failures == 0 && run.look->lost == 0 && run.look->wrong == 0 &&
             run.look->torn == 0 && run.look->errors == 0 && run.stock->different == 0;
    printf("other HDF5 programs at %llu of these moments: %llu read all, %llu were refused, %llu "
           "read something else\n",
           (unsigned long long)(run.stock->read + run.stock->refused + run.stock->different),
           (unsigned long long)run.stock->read, (unsigned long long)run.stock->refused,
           (unsigned long long)run.stock->different);
    printf("kill torture: %llu kills (%llu at a system call), %llu acknowledged, %llu looks, "
           "%llu items and %llu packed arrays seen, "
           "%llu lost, %llu wrong, %llu torn, %llu findings, %llu failures, "
           "%.0f s\n",
           (unsigned long long)run.totals.kills, (unsigned long long)run.totals.by_call,
           (unsigned long long)acknowledged, (unsigned long long)run.totals.checks,
           (unsigned long long)run.look->items, (unsigned long long)run.look->packed,
           (unsigned long long)run.look->lost, (unsigned long long)run.look->wrong,
           (unsigned long long)run.look->torn, (unsigned long long)run.look->errors,
           (unsigned long long)run.totals.failures, scratch_seconds() - began);
    if (run.totals.kills < kills || run.totals.by_call == 0 || acknowledged < kills ||
        run.look->items == 0 || run.look->packed == 0 || run.totals.checks < 2 ||
        run.stock->read == 0) {
        printf("kill torture: it did not do what it is for\n");
        passed = false;
    }
    free(folder);
    return passed ? 0 : 1;
}

int
main(int count, char **arguments)
{
    uint64_t kills = 200, seed = 1;
    int workers = 4, stock = -1;

    for (int i = 1; i < count; i++) {
        const char *value = i + 1 < count ? arguments[i + 1] : "";

        if (strcmp(arguments[i], "--stock") == 0)
            stock = 0;
        else if (strcmp(arguments[i], "--stock-latest") == 0)
            stock = 1;
        else if (strcmp(arguments[i], "--kills") == 0)
            kills = strtoull(value, NULL, 10), i++;
        else if (strcmp(arguments[i], "--workers") == 0)
            workers = atoi(value), i++;
        else if (strcmp(arguments[i], "--seed") == 0)
            seed = strtoull(value, NULL, 10), i++;
        else
            PROVE(false, "unknown argument %s", arguments[i]);
    }
    PROVE(workers > 0 && workers <= KILL_MOST_WORKERS && kills > 0 && seed > 0, "arguments");
    return stock < 0 ? kill_store(kills, workers, seed) : kill_stock(kills, seed, stock == 1);
}
