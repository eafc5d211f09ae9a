/* SPDX-License-Identifier: MIT */
/*
 * Many threads on one handle, and on several handles of one process: for ThreadSanitizer, and
 * for the promise that a handle may be shared.
 *
 *   threads [--seconds N] [--threads N]
 *
 * Threads set, remove, read, map, walk, flush, verify and ask for totals, all over the same few
 * keys.  Then the handle is closed while they are inside: each call that is under way comes to
 * its end, each that comes later says CLOSED.  At last a child of a fork uses what it inherited:
 * it is told FORKED, and the parent is not disturbed.
 */
#include "../support/holdings.h"
#include "../support/sample.h"
#include "../support/scratch.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MOST 32
#define THREADS_KEYS 16

static const char *threads_path;
static atomic_bool threads_stop;
static atomic_ulong threads_calls, threads_reads, threads_closed, threads_wrong;

struct threads_one {
    pthread_t thread;
    h5store *store;
    unsigned number;
};

/* True while the thread may go on. */
static bool
threads_went(int rc, const char *what, const h5store_err *err)
{
    if (rc >= 0 || rc == H5STORE_E_NOT_FOUND) {
        atomic_fetch_add(&threads_calls, 1);
        return true;
    }
    if (rc == H5STORE_E_CLOSED) {
        atomic_fetch_add(&threads_closed, 1);
        return false;
    }
    if (rc == H5STORE_E_BUSY && strcmp(what, "flush") == 0)
        return true; /* another handle is at it */
    fprintf(stderr, "%s: %d, %s\n", what, rc, err->message);
    atomic_fetch_add(&threads_wrong, 1);
    return false;
}

static int
threads_read(h5store *store, const char *key, bool mapped, h5store_err *err)
{
    h5store_item *item;
    uint64_t seed;
    int rc = h5store_item_open(store, "m/f", key, &item, err);

    if (rc < 0)
        return rc;
    rc = sample_check_item(item, mapped, &seed, err);
    if (rc == 0 && mapped) {
        usleep(500);
        rc = sample_check_item(item, mapped, &seed, err);
    }
    h5store_item_close(item);
    atomic_fetch_add(&threads_reads, 1);
    if (rc == 1)
        atomic_fetch_add(&threads_wrong, 1);
    return rc < 0 ? rc : 0;
}

static int
threads_remove(h5store *store, const char *key, h5store_err *err)
{
    h5store_batch *batch;
    int rc = h5store_batch_begin(store, &batch, err);

    if (rc < 0)
        return rc;
    rc = h5store_batch_remove(batch, "m/f", key, err);
    if (rc == 0)
        return h5store_batch_commit(batch, err);
    h5store_batch_abort(batch);
    return rc;
}

static int
threads_walk(h5store *store, h5store_err *err)
{
    h5store_blob_cursor *cursor;
    h5store_blob_info info;
    int rc = h5store_blob_cursor_open(store, &cursor, err);

    if (rc < 0)
        return rc;
    while ((rc = h5store_blob_cursor_next(cursor, &info, err)) == H5STORE_OK)
        ;
    h5store_blob_cursor_close(cursor);
    return rc;
}

static bool
threads_step(struct threads_one *one, scratch_random *random)
{
    h5store_err err = {0};
    uint64_t dice = scratch_draw(random, 100);
    h5store_totals totals;
    uint64_t errors;
    char key[16];

    snprintf(key, sizeof key, "k%llu", (unsigned long long)scratch_draw(random, THREADS_KEYS));
    if (dice < 35)
        return threads_went(
            sample_set_item(one->store, "m/f", key, 1 + scratch_draw(random, 20), 2, &err), "set",
            &err);
    if (dice < 45)
        return threads_went(threads_remove(one->store, key, &err), "remove", &err);
    if (dice < 80)
        return threads_went(threads_read(one->store, key, dice % 2 == 0, &err), "read", &err);
    if (dice < 86)
        return threads_went(h5store_stat(one->store, &totals, &err), "stat", &err);
    if (dice < 92)
        return threads_went(threads_walk(one->store, &err), "walk", &err);
    if (dice < 97)
        return threads_went(h5store_flush(one->store, &err), "flush", &err);
    return threads_went(holdings_verify(one->store, false, &errors, &err), "verify", &err);
}

static void *
threads_run(void *context)
{
    struct threads_one *one = context;
    scratch_random random = {one->number + 1};

    while (!threads_stop && threads_step(one, &random))
        ;
    return NULL;
}

static h5store *
threads_open(void)
{
    h5store_options options;
    h5store_err err = {0};
    h5store *store = NULL;

    h5store_options_init(&options);
    options.flags = H5STORE_CREATE;
    options.threads = 2;
    PROVE(h5store_open(threads_path, &options, &store, &err) == 0, "%s", err.message);
    return store;
}

static void
threads_start(struct threads_one *all, int count, h5store *const *stores, int store_count)
{
    threads_stop = false;
    for (int i = 0; i < count; i++) {
        all[i].store = stores[i % store_count];
        all[i].number = (unsigned)i;
        PROVE(pthread_create(&all[i].thread, NULL, threads_run, &all[i]) == 0, "pthread_create");
    }
}

static void
threads_join(struct threads_one *all, int count)
{
    for (int i = 0; i < count; i++)
        pthread_join(all[i].thread, NULL);
}

static int
threads_child(void *context)
{
    h5store *store = context;
    h5store_err err = {0};
    h5store_totals totals;

    if (h5store_stat(store, &totals, &err) != H5STORE_E_FORKED)
        return 1;
    if (threads_remove(store, "k1", &err) != H5STORE_E_FORKED)
        return 2;
    (void)h5store_close(store, NULL);
    store = threads_open();
    if (h5store_stat(store, &totals, &err) != 0 || h5store_close(store, &err) != 0)
        return 3;
    return 0;
}

static void
threads_look(void)
{
    h5store *store = threads_open();
    h5store_err err = {0};
    uint64_t errors;

    PROVE(holdings_verify(store, false, &errors, &err) == 0 && errors == 0, "%s", err.message);
    PROVE(h5store_close(store, &err) == 0, "%s", err.message);
}

int
main(int count, char **arguments)
{
    struct threads_one all[THREADS_MOST];
    h5store *stores[2], *store;
    h5store_err err = {0};
    double seconds = 2;
    int threads = 8, child;

    for (int i = 1; i + 1 < count; i += 2) {
        if (strcmp(arguments[i], "--seconds") == 0)
            seconds = atof(arguments[i + 1]);
        else if (strcmp(arguments[i], "--threads") == 0)
            threads = atoi(arguments[i + 1]);
    }
    PROVE(threads > 1 && threads <= THREADS_MOST, "--threads %d", threads);
    threads_path = strdup(scratch_path(scratch_folder(), "c.h5"));
    stores[0] = threads_open();
    stores[1] = threads_open();
    threads_start(all, threads, stores, 2);
    usleep((useconds_t)(seconds * 1e6));
    threads_stop = true;
    threads_join(all, threads);
    PROVE(h5store_close(stores[1], &err) == 0, "%s", err.message);

    child = scratch_run(threads_child, stores[0], 60);
    PROVE(child == 0, "the child of a fork: %#x", child);
    PROVE(h5store_flush(stores[0], &err) == 0, "after a fork: %s", err.message);

    /* A cursor keeps the memory of a handle that is closed under its users. */
    store = stores[0];
    threads_start(all, threads, &store, 1);
    usleep((useconds_t)(seconds * 2e5));
    {
        h5store_blob_cursor *cursor;

        PROVE(h5store_blob_cursor_open(store, &cursor, &err) == 0, "%s", err.message);
        PROVE(h5store_close(store, &err) == 0, "%s", err.message);
        threads_join(all, threads);
        h5store_blob_cursor_close(cursor);
    }
    threads_look();
    printf("threads: %d threads, %lu calls, %lu items read, %lu threads told that it was closed, "
           "%lu wrong\n",
           threads, (unsigned long)threads_calls, (unsigned long)threads_reads,
           (unsigned long)threads_closed, (unsigned long)threads_wrong);
    PROVE(threads_calls > 0 && threads_reads > 0 && threads_closed > 0, "nothing was done");
    return threads_wrong > 0;
}
