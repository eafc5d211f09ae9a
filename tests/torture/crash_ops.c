/* SPDX-License-Identifier: MIT */
/*
 * See crash_ops.h.
 */
#include "crash_ops.h"
#include "../support/sample.h"
#include "../support/scratch.h"
#include <stdio.h>
#include <string.h>

void (*crash_point)(h5store *store);

int
crash_open(const char *path, unsigned flags, h5store **store, h5store_err *err)
{
    h5store_options options;

    h5store_options_init(&options);
    options.flags = flags;
    options.threads = 1;
    options.timeout = 5;
    return h5store_open(path, &options, store, err);
}

/* ---- what is there before --------------------------------------------- */

int
crash_fill(crash_base base, h5store *store, h5store_err *err)
{
    uint8_t buffer[SAMPLE_MOST] = {0};
    h5store_array array = sample_array(buffer, 8192);
    h5store_batch *batch;
    char key[16];
    int rc = 0;

    if (base == BASE_NOTHING)
        return 0;
    sample_fill(buffer, 8192, 500);
    rc = h5store_put(store, &array, NULL, err);
    if (rc >= 0)
        rc = sample_set_item(store, "module/f", "first", 1, 2, err);
    if (rc >= 0)
        rc = sample_set_item(store, "module/f", "second", 2, 2, err);
    if (rc >= 0)
        rc = sample_set_item(store, "module/g", "third", CRASH_DAMAGED_SEED, 1, err);
    if (rc >= 0)
        rc = sample_set_item(store, "module/g/deep", "fourth", 6, 1, err);
    if (rc < 0 || base != BASE_CROWDED)
        return rc < 0 ? rc : 0;
    /* Every other array stays, so that the extents of the others cannot join. */
    rc = h5store_batch_begin(store, &batch, err);
    for (int i = 0; rc >= 0 && i < 400; i++) {
        snprintf(key, sizeof key, "%d", i);
        rc = sample_set(batch, i % 2 ? "crowd/stays" : "crowd/goes", key, 10000 + (uint64_t)i, 1,
                        err);
    }
    return rc < 0 ? rc : h5store_batch_commit(batch, err);
}

/* ---- operations on an open store -------------------------------------- */

static int
op_put(h5store *store, uint64_t seed, size_t size, h5store_err *err)
{
    uint8_t buffer[SAMPLE_MOST] = {0};
    h5store_array array = sample_array(buffer, size);

    sample_fill(buffer, size, seed);
    return h5store_put(store, &array, NULL, err);
}

static int
op_put_new(h5store *store, h5store_err *err)
{
    return op_put(store, 501, 33000, err);
}

static int
op_put_same(h5store *store, h5store_err *err)
{
    return op_put(store, 500, 8192, err);
}

static int
op_put_inline(h5store *store, h5store_err *err)
{
    return op_put(store, 502, 64, err);
}

static int
op_discard(h5store *store, h5store_err *err)
{
    uint8_t buffer[8192] = {0};
    h5store_array array = sample_array(buffer, sizeof buffer);
    h5store_id id;
    int rc;

    sample_fill(buffer, sizeof buffer, 500);
    rc = h5store_hash(&array, 1, &id, err);
    return rc < 0 ? rc : h5store_discard(store, &id, err);
}

static int
op_set_item(h5store *store, h5store_err *err)
{
    return sample_set_item(store, "module/new", "fifth", 18, 3, err); /* the second is packed */
}

static int
op_replace_item(h5store *store, h5store_err *err)
{
    return sample_set_item(store, "module/f", "first", 30, 2, err);
}

static int
op_set_metadata(h5store *store, h5store_err *err)
{
    h5store_batch *batch;
    int rc = h5store_batch_begin(store, &batch, err);

    if (rc == 0)
        rc = h5store_batch_set_metadata(batch, "module/f", "second", "{\"other\": 1}", err);
    return rc < 0 ? rc : h5store_batch_commit(batch, err);
}

static int
op_set_source(h5store *store, h5store_err *err)
{
    h5store_batch *batch;
    int rc = h5store_batch_begin(store, &batch, err);

    if (rc == 0)
        rc = h5store_batch_set_source(batch, "module/f", "def f(): pass", err);
    return rc < 0 ? rc : h5store_batch_commit(batch, err);
}

static int
op_remove(h5store *store, const char *collection, const char *key, h5store_err *err)
{
    h5store_batch *batch;
    int rc = h5store_batch_begin(store, &batch, err);

    if (rc == 0)
        rc = h5store_batch_remove(batch, collection, key, err);
    return rc < 0 ? rc : h5store_batch_commit(batch, err);
}

static int
op_remove_item(h5store *store, h5store_err *err)
{
    return op_remove(store, "module/f", "second", err);
}

static int
op_remove_collection(h5store *store, h5store_err *err)
{
    return op_remove(store, "module/g", NULL, err);
}

static int
op_remove_everything(h5store *store, h5store_err *err)
{
    return op_remove(store, NULL, NULL, err);
}

static int
op_remove_crowd(h5store *store, h5store_err *err)
{
    return op_remove(store, "crowd/goes", NULL, err);
}

/* One commit of everything at once. */
static int
op_batch(h5store *store, h5store_err *err)
{
    h5store_batch *batch;
    int rc = h5store_batch_begin(store, &batch, err);

    if (rc == 0)
        rc = h5store_batch_remove(batch, "module/f", "first", err);
    if (rc == 0)
        rc = sample_set(batch, "module/f", "sixth", 40, 2, err);
    if (rc == 0)
        rc = sample_set(batch, "module/f", "second", 41, 2, err);
    if (rc == 0)
        rc = h5store_batch_set_source(batch, "module/f", "def f(x): return x", err);
    return rc < 0 ? rc : h5store_batch_commit(batch, err);
}

static int
op_flush(h5store *store, h5store_err *err)
{
    return h5store_flush(store, err);
}

/* Space that is reserved, and applied to the file, by a put that is given up. */
static int
op_reserve_flush(h5store *store, h5store_err *err)
{
    h5store_batch *batch;
    h5store_id id;
    int rc = h5store_batch_begin(store, &batch, err);

    if (rc == 0)
        rc = sample_put(batch, 60, &id, err);
    if (rc == 0)
        rc = h5store_flush(store, err);
    h5store_batch_abort(batch);
    return rc;
}

/* Space comes back and is used again. */
static int
op_reuse(h5store *store, h5store_err *err)
{
    int rc = op_discard(store, err);

    if (rc < 0)
        return rc;
    crash_point(store);
    rc = h5store_flush(store, err);
    return rc < 0 ? rc : op_put(store, 500, 8192, err);
}

/* A hole that the metadata fits into: else a compaction would leave that as it is. */
static int
op_make_hole(h5store *store, h5store_err *err)
{
    static char text[400000];
    h5store_batch *batch;
    int rc = h5store_batch_begin(store, &batch, err);

    memset(text, 'x', sizeof text - 1);
    if (rc == 0)
        rc = h5store_batch_set_source(batch, "module/hole", text, err);
    if (rc == 0)
        rc = h5store_batch_commit(batch, err);
    if (rc < 0)
        return rc;
    crash_point(store);
    rc = op_remove(store, "module/hole", NULL, err);
    if (rc == 0)
        crash_point(store);
    return rc;
}

static int
op_compact_all(h5store *store, h5store_err *err)
{
    h5store_compaction done;
    int rc = h5store_compact(store, NULL, NULL, &done, err);

    PROVE(rc < 0 || done.rebuilt, "the metadata stayed as it was");
    return rc;
}

/* The metadata is made anew, and arrays move into the holes before them. */
static int
op_compact(h5store *store, h5store_err *err)
{
    int rc = op_make_hole(store, err);

    if (rc == 0)
        rc = op_remove(store, "module/f", NULL, err);
    if (rc < 0)
        return rc;
    crash_point(store);
    return op_compact_all(store, err);
}

static int
op_compact_at_once(h5store *store, h5store_err *err)
{
    int rc = op_make_hole(store, err);

    return rc < 0 ? rc : op_compact_all(store, err);
}

/* What is noted in memory is written by itself. */
static int
op_note(h5store *store, h5store_err *err)
{
    h5store_miss misses[H5STORE_MAX_MISSES];
    size_t count;
    int rc = h5store_note(store, H5STORE_NOTE_HIT, "module/f", "first", NULL, err);

    if (rc == 0)
        rc = h5store_note(store, H5STORE_NOTE_MISS, "module/f", "none", "why", err);
    return rc < 0 ? rc : h5store_get_misses(store, misses, &count, err);
}

/* A put finds its array, a removal takes it away before the commit. */
static int
op_resurrect(h5store *store, h5store_err *err)
{
    h5store *other = NULL;
    h5store_batch *batch;
    int rc = h5store_batch_begin(store, &batch, err);

    if (rc == 0)
        rc = sample_set(batch, "module/h", "again", 6, 1, err);
    if (rc == 0)
        rc = crash_open(h5store_path(store), 0, &other, err);
    if (rc == 0)
        rc = op_remove(other, "module/g", NULL, err);
    if (other != NULL)
        h5store_close(other, NULL);
    if (rc < 0)
        return rc;
    crash_point(store);
    return h5store_batch_commit(batch, err);
}

/* A reader finds the damage, a put mends it. */
static int
op_mend(h5store *store, h5store_err *err)
{
    uint8_t buffer[SAMPLE_MOST] = {0};
    h5store_item *item;
    int rc = h5store_item_open(store, "module/g", "third", &item, err);

    if (rc < 0)
        return rc;
    rc = h5store_blob_read(h5store_item_blob(item, 0), buffer, sample_size(CRASH_DAMAGED_SEED),
                           H5STORE_CHECK_FAST, err);
    h5store_item_close(item);
    if (rc != H5STORE_E_DAMAGED)
        return rc < 0 ? rc : -1;
    return sample_set_item(store, "module/g", "third", CRASH_DAMAGED_SEED, 1, err);
}

/* ---- operations from opening to closing ------------------------------- */

static int
op_open_close(const char *path, h5store_err *err)
{
    h5store *store;
    int rc = crash_open(path, H5STORE_CREATE, &store, err);

    return rc < 0 ? rc : h5store_close(store, err);
}

/* Closing writes the times of the hits into the file, as the log is empty. */
static int
op_hit_close(const char *path, h5store_err *err)
{
    h5store *store;
    int rc = crash_open(path, 0, &store, err);

    if (rc == 0)
        rc = h5store_note(store, H5STORE_NOTE_HIT, "module/f", "first", NULL, err);
    if (rc == 0)
        rc = h5store_note(store, H5STORE_NOTE_HIT, "module/g", "third", NULL, err);
    return rc < 0 ? rc : h5store_close(store, err);
}

static int
op_session(const char *path, h5store_err *err)
{
    h5store *store;
    int rc = crash_open(path, H5STORE_CREATE, &store, err);

    if (rc < 0)
        return rc;
    rc = op_set_item(store, err);
    if (rc < 0)
        return rc;
    crash_point(store);
    rc = op_remove_item(store, err);
    if (rc < 0)
        return rc;
    crash_point(store);
    return h5store_close(store, err);
}

const crash_op crash_ops[] = {
    {"create", BASE_NOTHING, true, false, NULL, op_open_close},
    {"put", BASE_CLOSED, false, false, op_put_new, NULL},
    {"put the same again", BASE_CLOSED, false, true, op_put_same, NULL},
    {"put inline", BASE_CLOSED, false, false, op_put_inline, NULL},
    {"put, log left behind", BASE_LEFT, false, false, op_put_new, NULL},
    {"discard", BASE_CLOSED, false, false, op_discard, NULL},
    {"set item", BASE_CLOSED, false, false, op_set_item, NULL},
    {"replace item", BASE_CLOSED, false, false, op_replace_item, NULL},
    {"replace item, log left behind", BASE_LEFT, false, false, op_replace_item, NULL},
    {"set metadata", BASE_CLOSED, false, false, op_set_metadata, NULL},
    {"set source", BASE_CLOSED, false, false, op_set_source, NULL},
    {"batch", BASE_CLOSED, false, false, op_batch, NULL},
    {"remove item", BASE_CLOSED, false, false, op_remove_item, NULL},
    {"remove item, log left behind", BASE_LEFT, false, false, op_remove_item, NULL},
    {"remove collection", BASE_CLOSED, false, false, op_remove_collection, NULL},
    {"remove everything", BASE_LEFT, false, false, op_remove_everything, NULL},
    {"remove many", BASE_CROWDED, false, false, op_remove_crowd, NULL},
    {"flush", BASE_LEFT, false, false, op_flush, NULL},
    {"reserve, flush, give up", BASE_CLOSED, false, false, op_reserve_flush, NULL},
    {"discard, flush, put", BASE_CLOSED, false, false, op_reuse, NULL},
    {"found, removed, put back", BASE_CLOSED, false, false, op_resurrect, NULL},
    {"compact", BASE_CLOSED, false, false, op_compact, NULL},
    {"compact, log left behind", BASE_LEFT, false, false, op_compact_at_once, NULL},
    {"note", BASE_CLOSED, false, false, op_note, NULL},
    {"mend", BASE_DAMAGED, false, false, op_mend, NULL},
    {"open and close", BASE_CLOSED, true, false, NULL, op_open_close},
    {"hits and close", BASE_CLOSED, true, false, NULL, op_hit_close},
    {"hits and close, log left behind", BASE_LEFT, true, false, NULL, op_hit_close},
    {"recover a log", BASE_LEFT, true, false, NULL, op_open_close},
    {"recover a half-applied log", BASE_HALF, true, false, NULL, op_open_close},
    {"session", BASE_LEFT, true, false, NULL, op_session},
};
const size_t crash_op_count = sizeof crash_ops / sizeof *crash_ops;
