/* SPDX-License-Identifier: MIT */
/*
 * Every public call that can fail, each with what it needs.  See faults.h.
 */
#include "../support/sample.h"
#include "faults.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FAULT_KEPT 300   /* the seed of the array that is stored by itself */
#define FAULT_PACKED 102 /* of one that is packed */

int
fault_open(const char *path, unsigned flags, h5store_durability durability, h5store **store,
           h5store_err *err)
{
    h5store_options options;

    h5store_options_init(&options);
    options.flags = flags;
    options.durability = durability;
    options.threads = 1;
    options.timeout = 2;
    return h5store_open(path, &options, store, err);
}

static h5store_array
fault_array(uint64_t seed, uint8_t buffer[SAMPLE_MOST])
{
    sample_fill(buffer, sample_size(seed), seed);
    return sample_array(buffer, sample_size(seed));
}

static int
fault_id(uint64_t seed, h5store_id *id, h5store_err *err)
{
    uint8_t buffer[SAMPLE_MOST];
    h5store_array array = fault_array(seed, buffer);

    return h5store_hash(&array, 1, id, err);
}

int
fault_fill(h5store *store, h5store_err *err)
{
    uint8_t buffer[SAMPLE_MOST];
    h5store_array array = fault_array(FAULT_KEPT, buffer);
    h5store_batch *batch;
    int rc = h5store_put(store, &array, NULL, err);

    if (rc >= 0)
        rc = sample_set_item(store, "module/f", "first", 1, 3, err);
    if (rc >= 0)
        rc = sample_set_item(store, "module/g", "second", 5, 2, err);
    if (rc >= 0)
        rc = h5store_batch_begin(store, &batch, err);
    if (rc >= 0)
        rc = h5store_batch_set_source(batch, "module/f", "def f(): pass", err);
    return rc < 0 ? rc : h5store_batch_commit(batch, err);
}

/* ---- stores ----------------------------------------------------------- */

static int
call_open(fault_context *c, h5store_err *err)
{
    return fault_open(c->path, 0, H5STORE_DURABLE_PROCESS, &c->store, err);
}

static int
call_open_read_only(fault_context *c, h5store_err *err)
{
    return fault_open(c->path, H5STORE_READ_ONLY, H5STORE_DURABLE_PROCESS, &c->store, err);
}

static int
call_create(fault_context *c, h5store_err *err)
{
    char path[4200];

    snprintf(path, sizeof path, "%s.other", c->path);
    return fault_open(path, H5STORE_CREATE, H5STORE_DURABLE_PROCESS, &c->store, err);
}

static int
prepare_commit(fault_context *c, h5store_err *err)
{
    int rc = fault_open(c->path, 0, H5STORE_DURABLE_PROCESS, &c->store, err);

    return rc < 0 ? rc : sample_set_item(c->store, "module/f", "before close", 40, 1, err);
}

static int
call_close(fault_context *c, h5store_err *err)
{
    h5store *store = c->store;

    c->store = NULL; /* it is gone, whatever is returned */
    return h5store_close(store, err);
}

static int
call_flush(fault_context *c, h5store_err *err)
{
    return h5store_flush(c->store, err);
}

static int
call_stat(fault_context *c, h5store_err *err)
{
    h5store_totals totals;

    return h5store_stat(c->store, &totals, err);
}

static int
call_verify(fault_context *c, h5store_err *err)
{
    h5store_verify_options options = {.check = H5STORE_CHECK_FULL, .fraction = 1};
    uint64_t errors;
    int rc = h5store_verify(c->store, &options, &errors, err);

    /* What could not be read is an error of the call, not a finding. */
    return rc == 0 && errors > 0 ? 1000 : rc;
}

/* ---- blobs ------------------------------------------------------------ */

static int
fault_put(fault_context *c, uint64_t seed, h5store_err *err)
{
    uint8_t buffer[SAMPLE_MOST];
    h5store_array array = fault_array(seed, buffer);

    return h5store_put(c->store, &array, NULL, err);
}

static int
call_put(fault_context *c, h5store_err *err)
{
    return fault_put(c, 61, err);
}

static int
call_put_inline(fault_context *c, h5store_err *err)
{
    uint64_t seed = 62;

    while (sample_size(seed) != 64)
        seed++;
    return fault_put(c, seed, err);
}

static int
call_put_same(fault_context *c, h5store_err *err)
{
    return fault_put(c, FAULT_KEPT, err);
}

/* Long enough to be compared with what is there. */
static int
prepare_put_long(fault_context *c, h5store_err *err)
{
    static uint8_t buffer[5 * 256 * 1024 + 80];
    h5store_array array = sample_array(buffer, sizeof buffer);

    sample_fill(buffer, sizeof buffer, 63);
    return h5store_put(c->store, &array, NULL, err);
}

static int
call_put_long_again(fault_context *c, h5store_err *err)
{
    int rc = prepare_put_long(c, err);

    return rc == H5STORE_OK ? 1000 : rc; /* it was there */
}

static int
call_discard(fault_context *c, h5store_err *err)
{
    h5store_id id;
    int rc = fault_id(FAULT_KEPT, &id, err);

    return rc < 0 ? rc : h5store_discard(c->store, &id, err);
}

static int
call_hash(fault_context *c, h5store_err *err)
{
    h5store_id id;

    (void)c;
    return fault_id(5, &id, err);
}

static int
call_blob_open(fault_context *c, h5store_err *err)
{
    h5store_id id;
    int rc = fault_id(FAULT_KEPT, &id, err);

    return rc < 0 ? rc : h5store_blob_open(c->store, &id, &c->blob, err);
}

static int
call_blob_read(fault_context *c, h5store_err *err)
{
    uint8_t buffer[SAMPLE_MOST];
    size_t size = sample_size(FAULT_KEPT);
    int rc = h5store_blob_read(c->blob, buffer, size, H5STORE_CHECK_FULL, err);

    return rc < 0 || sample_is(buffer, size, FAULT_KEPT) ? rc : 1000;
}

static int
call_blob_map(fault_context *c, h5store_err *err)
{
    const void *bytes;
    int rc = h5store_blob_map(c->blob, &bytes, err);

    return rc < 0 || sample_is(bytes, sample_size(FAULT_KEPT), FAULT_KEPT) ? rc : 1000;
}

static int
call_blob_walk(fault_context *c, h5store_err *err)
{
    h5store_blob_cursor *cursor;
    h5store_blob_info info;
    int count = 0, rc = h5store_blob_cursor_open(c->store, &cursor, err);

    if (rc < 0)
        return rc;
    while ((rc = h5store_blob_cursor_next(cursor, &info, err)) == H5STORE_OK)
        count++;
    h5store_blob_cursor_close(cursor);
    return rc < 0 ? rc : count == 6 ? 0 : 1000;
}

/* ---- packed blobs ------------------------------------------------------ */

/* In an item, since nothing is packed outside of batches. */
static int
call_set_packed(fault_context *c, h5store_err *err)
{
    return sample_set_item(c->store, "module/f", "packed", FAULT_PACKED, 1, err);
}

/* Every way to the bytes of the one that "first" has: right, or the call says why not. */
static int
call_read_packed(fault_context *c, h5store_err *err)
{
    uint64_t seed, before = sample_unpacked;
    int rc = sample_check_item(c->item, false, &seed, err);

    if (rc == 0)
        rc = sample_check_item(c->item, true, &seed, err);
    if (rc < 0)
        return rc;
    return rc == 0 && sample_unpacked == before + 2 ? 0 : 1000;
}

/* ---- batches ---------------------------------------------------------- */

static int
prepare_batch(fault_context *c, h5store_err *err)
{
    return h5store_batch_begin(c->store, &c->batch, err);
}

static int
call_batch_put(fault_context *c, h5store_err *err)
{
    h5store_id id;

    return sample_put(c->batch, 71, &id, err);
}

static int
call_batch_notes(fault_context *c, h5store_err *err)
{
    h5store_item_spec spec = {.collection = "module/f", .key = "empty", .metadata = "{}"};
    int rc = h5store_batch_set_item(c->batch, &spec, err);

    if (rc == 0)
        rc = h5store_batch_set_metadata(c->batch, "module/f", "empty", "{\"a\": 1}", err);
    if (rc == 0)
        rc = h5store_batch_set_times(c->batch, "module/f", "empty", 1, 2, err);
    if (rc == 0)
        rc = h5store_batch_set_source(c->batch, "module/f", "text", err);
    if (rc == 0)
        rc = h5store_batch_remove(c->batch, "module/f", "empty", err);
    return rc;
}

static int
prepare_set(fault_context *c, h5store_err *err)
{
    int rc = prepare_batch(c, err);

    if (rc == 0)
        rc = sample_set(c->batch, "module/new", "third", 80, 3, err);
    if (rc == 0)
        rc = sample_set(c->batch, "module/f", "first", 90, 2, err);
    if (rc == 0)
        rc = h5store_batch_set_metadata(c->batch, "module/g", "second", "{\"b\": 2}", err);
    if (rc == 0)
        rc = h5store_batch_set_times(c->batch, "module/new", "third", 1, 2, err);
    return rc;
}

static int
prepare_remove_item(fault_context *c, h5store_err *err)
{
    int rc = prepare_batch(c, err);

    return rc < 0 ? rc : h5store_batch_remove(c->batch, "module/f", "first", err);
}

static int
prepare_remove_all(fault_context *c, h5store_err *err)
{
    int rc = prepare_batch(c, err);

    return rc < 0 ? rc : h5store_batch_remove(c->batch, NULL, NULL, err);
}

static int
call_commit(fault_context *c, h5store_err *err)
{
    h5store_batch *batch = c->batch;

    c->batch = NULL; /* it is gone, whatever is returned */
    return h5store_batch_commit(batch, err);
}

/* A batch from beginning to end, so that its puts fail too. */
static int
call_set_item(fault_context *c, h5store_err *err)
{
    return sample_set_item(c->store, "module/f", "fourth", 100, 3, err);
}

/* ---- items ------------------------------------------------------------ */

static int
call_item_has(fault_context *c, h5store_err *err)
{
    return h5store_item_has(c->store, "module/f", "first", err);
}

static int
call_item_open(fault_context *c, h5store_err *err)
{
    return h5store_item_open(c->store, "module/f", "first", &c->item, err);
}

static int
call_item_read(fault_context *c, h5store_err *err)
{
    uint64_t seed;
    int rc = sample_check_item(c->item, false, &seed, err);

    return rc == 1 ? 1000 : rc;
}

static int
call_item_metadata(fault_context *c, h5store_err *err)
{
    char *text;
    int rc = h5store_item_get_metadata(c->store, "module/f", "first", &text, err);

    if (rc == 0)
        free(text);
    return rc;
}

static int
call_source(fault_context *c, h5store_err *err)
{
    char *text;
    int rc = h5store_get_source(c->store, "module/f", &text, err);

    if (rc == 0)
        free(text);
    return rc;
}

static int
call_item_walk(fault_context *c, h5store_err *err)
{
    h5store_item_cursor *cursor;
    h5store_item_info info;
    int count = 0, rc = h5store_item_cursor_open(c->store, NULL, &cursor, err);

    if (rc < 0)
        return rc;
    while ((rc = h5store_item_cursor_next(cursor, &info, err)) == H5STORE_OK)
        count += info.key != NULL;
    h5store_item_cursor_close(cursor);
    return rc < 0 ? rc : count == 2 ? 0 : 1000;
}

/* A copy of the container, without the beginning of the file: it has to be searched. */
static int
prepare_salvage(fault_context *c, h5store_err *err)
{
    static const char zeros[4096];
    char source[1024], bytes[4096];
    int rc = h5store_flush(c->store, err);
    FILE *from, *to;
    size_t got;

    snprintf(source, sizeof source, "%s.damaged", c->path);
    from = fopen(c->path, "rb");
    to = fopen(source, "wb");
    if (rc < 0 || from == NULL || to == NULL)
        return rc < 0 ? rc : -1;
    while ((got = fread(bytes, 1, sizeof bytes, from)) > 0)
        fwrite(bytes, 1, got, to);
    rewind(to);
    fwrite(zeros, 1, sizeof zeros, to);
    fclose(from);
    return fclose(to) == 0 ? 0 : -1;
}

/* Into a container of its own.  What cannot be read is lost, which is no failure. */
static int
call_salvage(fault_context *c, h5store_err *err)
{
    h5store_salvaged done;
    char source[1024], path[1024];
    h5store *target;
    int rc;

    snprintf(source, sizeof source, "%s.damaged", c->path);
    snprintf(path, sizeof path, "%s.target", c->path);
    unlink(path);
    rc = fault_open(path, H5STORE_CREATE, H5STORE_DURABLE_PROCESS, &target, err);
    if (rc < 0)
        return rc;
    rc = h5store_salvage(source, target, NULL, &done, err);
    if (rc == 0 && done.items + done.lost_items < 2)
        rc = 1000;
    if (rc < 0) {
        (void)h5store_close(target, NULL);
        return rc;
    }
    return h5store_close(target, err) < 0 ? err->code : rc;
}

#define ON_STORE(name, prepare, call) \
    {name, false, false, false, H5STORE_DURABLE_PROCESS, prepare, call}

const fault_case fault_cases[] = {
    {"open", false, true, false, H5STORE_DURABLE_PROCESS, NULL, call_open},
    {"open and recover", true, true, false, H5STORE_DURABLE_PROCESS, NULL, call_open},
    {"open read-only", false, true, false, H5STORE_DURABLE_PROCESS, NULL, call_open_read_only},
    {"create", false, true, false, H5STORE_DURABLE_PROCESS, NULL, call_create},
    {"close", false, true, false, H5STORE_DURABLE_PROCESS, prepare_commit, call_close},
    {"flush", true, false, false, H5STORE_DURABLE_PROCESS, NULL, call_flush},
    ON_STORE("stat", NULL, call_stat),
    ON_STORE("verify", NULL, call_verify),
    ON_STORE("salvage", prepare_salvage, call_salvage),
    ON_STORE("put", NULL, call_put),
    {"put, safe from power cuts", false, false, true, H5STORE_DURABLE_POWER, NULL, call_put},
    ON_STORE("put inline", NULL, call_put_inline),
    ON_STORE("put the same again", NULL, call_put_same),
    {"put a long one again", false, false, true, H5STORE_DURABLE_PROCESS, prepare_put_long,
     call_put_long_again},
    ON_STORE("discard", NULL, call_discard),
    ON_STORE("hash", NULL, call_hash),
    ON_STORE("open a blob", NULL, call_blob_open),
    ON_STORE("read a blob", call_blob_open, call_blob_read),
    ON_STORE("map a blob", call_blob_open, call_blob_map),
    ON_STORE("walk over blobs", NULL, call_blob_walk),
    ON_STORE("begin a batch", NULL, prepare_batch),
    ON_STORE("put into a batch", prepare_batch, call_batch_put),
    ON_STORE("note in a batch", prepare_batch, call_batch_notes),
    ON_STORE("commit items", prepare_set, call_commit),
    ON_STORE("commit a removal", prepare_remove_item, call_commit),
    ON_STORE("commit a removal of all", prepare_remove_all, call_commit),
    ON_STORE("set an item", NULL, call_set_item),
    ON_STORE("set an item with a packed array", NULL, call_set_packed),
    ON_STORE("read a packed array", call_item_open, call_read_packed),
    ON_STORE("has an item", NULL, call_item_has),
    ON_STORE("open an item", NULL, call_item_open),
    ON_STORE("read an item", call_item_open, call_item_read),
    ON_STORE("get metadata", NULL, call_item_metadata),
    ON_STORE("get source", NULL, call_source),
    ON_STORE("walk over items", NULL, call_item_walk),
};
const size_t fault_case_count = sizeof fault_cases / sizeof *fault_cases;
