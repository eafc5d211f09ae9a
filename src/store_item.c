/* SPDX-License-Identifier: MIT */
/*
 * The public facade: batches, and reading items.
 */
#include "batch.h"
#include "deflate.h"
#include "forks.h"
#include "h5util.h"
#include "os.h"
#include "store_impl.h"

/* ---- batches ---------------------------------------------------------- */

struct h5store_batch {
    h5store *store;
    hs_batch *batch;
};

int
h5store_batch_begin(h5store *store, h5store_batch **batch, h5store_err *err)
{
    h5store_batch *made;
    int rc = hs_store_need(batch != NULL, "h5store_batch_begin", err);

    if (rc == H5STORE_OK)
        rc = hs_store_enter(store, err);
    if (rc < 0)
        return rc;
    made = calloc(1, sizeof *made);
    rc = made == NULL ? hs_fail_nomem(err, sizeof *made, "a batch")
                      : hs_batch_new(store->container, &made->batch, err);
    if (rc == H5STORE_OK) {
        made->store = store;
        hs_store_hold(store);
        *batch = made;
    } else {
        free(made);
    }
    hs_store_leave(store);
    return rc;
}

/* Begin a call on a batch. */
static int
batch_enter(const h5store_batch *batch, bool given, const char *function, h5store_err *err)
{
    int rc = hs_store_need(batch != NULL && given, function, err);

    return rc < 0 ? rc : hs_store_enter(batch->store, err);
}

int
h5store_batch_put(h5store_batch *batch, const h5store_array *array, h5store_id *id,
                  h5store_err *err)
{
    int rc = batch_enter(batch, array != NULL && id != NULL, "h5store_batch_put", err);

    if (rc < 0)
        return rc;
    rc = hs_batch_put(batch->batch, array, id, err);
    hs_store_leave(batch->store);
    return rc;
}

int
h5store_batch_put_all(h5store_batch *batch, const h5store_array *arrays, size_t count,
                      h5store_id *ids, h5store_err *err)
{
    bool given = count == 0 || (arrays != NULL && ids != NULL);
    int rc = batch_enter(batch, given, "h5store_batch_put_all", err);

    if (rc < 0)
        return rc;
    rc = hs_batch_put_all(batch->batch, arrays, count, ids, err);
    hs_store_leave(batch->store);
    return rc;
}

int
h5store_batch_compress(h5store_batch *batch, int level, h5store_err *err)
{
    int rc = batch_enter(batch, true, "h5store_batch_compress", err);

    if (rc < 0)
        return rc;
    if (level < 0 || level > HS_DEFLATE_MOST)
        rc = hs_fail(err, H5STORE_E_INVALID, 0, "the level of compression is %d; give 0 to %d",
                     level, HS_DEFLATE_MOST);
    else
        hs_batch_compress(batch->batch, level);
    hs_store_leave(batch->store);
    return rc;
}

int
h5store_batch_set_item(h5store_batch *batch, const h5store_item_spec *spec, h5store_err *err)
{
    bool given = spec != NULL && spec->collection != NULL && spec->key != NULL &&
                 (spec->output != NULL || spec->output_size == 0) &&
                 (spec->links != NULL || spec->link_count == 0);
    int rc = batch_enter(batch, given, "h5store_batch_set_item", err);

    if (rc < 0)
        return rc;
    rc = hs_batch_set_item(batch->batch, spec, err);
    hs_store_leave(batch->store);
    return rc;
}

int
h5store_batch_set_metadata(h5store_batch *batch, const char *collection, const char *key,
                           const char *metadata, h5store_err *err)
{
    int rc = batch_enter(batch, collection != NULL && key != NULL && metadata != NULL,
                         "h5store_batch_set_metadata", err);

    if (rc < 0)
        return rc;
    rc = hs_batch_set_metadata(batch->batch, collection, key, metadata, err);
    hs_store_leave(batch->store);
    return rc;
}

int
h5store_batch_set_times(h5store_batch *batch, const char *collection, const char *key,
                        uint64_t stored, uint64_t used, h5store_err *err)
{
    int rc = batch_enter(batch, collection != NULL && key != NULL, "h5store_batch_set_times", err);

    if (rc < 0)
        return rc;
    rc = hs_batch_set_times(batch->batch, collection, key, (hs_usage_times){stored, used}, err);
    hs_store_leave(batch->store);
    return rc;
}

int
h5store_batch_set_source(h5store_batch *batch, const char *collection, const char *text,
                         h5store_err *err)
{
    int rc = batch_enter(batch, collection != NULL, "h5store_batch_set_source", err);

    if (rc < 0)
        return rc;
    rc = hs_batch_set_source(batch->batch, collection, text, err);
    hs_store_leave(batch->store);
    return rc;
}

int
h5store_batch_remove(h5store_batch *batch, const char *collection, const char *key,
                     h5store_err *err)
{
    int rc = batch_enter(batch, collection != NULL || key == NULL, "h5store_batch_remove", err);

    if (rc < 0)
        return rc;
    rc = hs_batch_remove(batch->batch, collection, key, err);
    hs_store_leave(batch->store);
    return rc;
}

static void
batch_release(h5store_batch *batch)
{
    h5store *store = batch->store;

    free(batch);
    hs_store_let_go(store);
}

int
h5store_batch_commit(h5store_batch *batch, h5store_err *err)
{
    int rc = batch_enter(batch, true, "h5store_batch_commit", err);

    if (rc < 0) {
        h5store_batch_abort(batch);
        return rc;
    }
    rc = hs_batch_commit(batch->batch, err);
    hs_store_leave(batch->store);
    batch_release(batch);
    return rc;
}

void
h5store_batch_abort(h5store_batch *batch)
{
    if (batch == NULL)
        return;
    hs_batch_abort(batch->batch);
    batch_release(batch);
}

/* ---- items ------------------------------------------------------------ */

struct h5store_item {
    h5store *store;
    hs_item_data data;
    h5store_blob *blobs; /* one for each of data.blobs, whose place they take */
};

/* Begin a call that names an item (or, key NULL allowed, a collection). */
static int
item_enter(h5store *store, const char *collection, const char *key, bool given,
           const char *function, h5store_err *err)
{
    int rc = hs_store_need(collection != NULL && given, function, err);

    if (rc == H5STORE_OK)
        rc = hs_item_check_names(collection, key, err);
    return rc < 0 ? rc : hs_store_enter(store, err);
}

int
h5store_item_has(h5store *store, const char *collection, const char *key, h5store_err *err)
{
    uint64_t address;
    int rc = item_enter(store, collection, key, key != NULL, "h5store_item_has", err);

    if (rc < 0)
        return rc;
    rc = hs_container_read_begin(store->container, NULL, err);
    if (rc == H5STORE_OK) {
        hs_item item = {0};

        rc = hs_item_find(store->container, collection, key, &address, err);
        if (rc == H5STORE_OK)
            rc = hs_item_read(store->container, address, false, &item, err);
        if (rc == H5STORE_E_DAMAGED)
            rc = hs_fail(err, H5STORE_E_NOT_FOUND, 0, "the item '%s/%s' is damaged", collection,
                         key);
        hs_item_release(&item);
        rc = hs_container_verdict(store->container, rc, err);
        hs_container_read_end(store->container);
    }
    hs_store_leave(store);
    return rc;
}

static int
item_open(h5store *store, const char *collection, const char *key, h5store_item *item,
          h5store_err *err)
{
    hs_item_data *data = &item->data;
    uint64_t forks = hs_forks_now();
    int rc = hs_reader_find_item(store->container, collection, key, data, err);

    if (rc < 0)
        return rc;
    item->blobs = calloc(data->blob_count + 1, sizeof *item->blobs);
    if (item->blobs == NULL) {
        hs_reader_release_item(store->container, data);
        return hs_fail_nomem(err, data->blob_count * sizeof *item->blobs, "an item");
    }
    for (size_t i = 0; i < data->blob_count; i++) {
        item->blobs[i].store = store;
        item->blobs[i].owned_by_item = true;
        item->blobs[i].forks = forks;
        item->blobs[i].blob = data->blobs[i];
    }
    return H5STORE_OK;
}

int
h5store_item_open(h5store *store, const char *collection, const char *key, h5store_item **item,
                  h5store_err *err)
{
    h5store_item *made;
    int rc = item_enter(store, collection, key, key != NULL && item != NULL, "h5store_item_open",
                        err);

    if (rc < 0)
        return rc;
    made = calloc(1, sizeof *made);
    rc = made == NULL ? hs_fail_nomem(err, sizeof *made, "an item")
                      : item_open(store, collection, key, made, err);
    if (rc == H5STORE_OK) {
        made->store = store;
        hs_store_hold_pins(store);
        *item = made;
    } else {
        free(made);
    }
    hs_store_leave(store);
    return rc;
}

const void *
h5store_item_output(const h5store_item *item, size_t *size)
{
    *size = item->data.output_size;
    return item->data.output;
}

const char *
h5store_item_metadata(const h5store_item *item)
{
    return item->data.metadata;
}

size_t
h5store_item_link_count(const h5store_item *item)
{
    return item->data.blob_count;
}

h5store_blob *
h5store_item_blob(const h5store_item *item, size_t index)
{
    return index < item->data.blob_count ? &item->blobs[index] : NULL;
}

void
h5store_item_close(h5store_item *item)
{
    h5store *store;

    if (item == NULL)
        return;
    store = item->store;
    for (size_t i = 0; i < item->data.blob_count; i++)
        hs_store_unmap(&item->blobs[i]);
    hs_reader_release_item(store->container, &item->data);
    free(item->blobs);
    free(item);
    hs_store_let_go_pins(store);
}

/* In a read scope: a copy of an item's metadata. */
static int
item_read_metadata(hs_container *c, const char *collection, const char *key, char **text,
                   h5store_err *err)
{
    hs_item item = {0};
    uint64_t address;
    uint8_t *copy;
    int rc = hs_item_find(c, collection, key, &address, err);

    if (rc == H5STORE_OK)
        rc = hs_item_read(c, address, true, &item, err);
    if (rc < 0)
        return rc;
    rc = hs_item_copy_member(&item.metadata, &copy, err);
    hs_item_release(&item);
    if (rc == H5STORE_OK)
        *text = (char *)copy;
    return rc;
}

/* Read one text of a group under a read scope. */
static int
item_read_text(h5store *store, const char *collection, const char *key, char **text,
               h5store_err *err)
{
    int rc = hs_container_read_begin(store->container, NULL, err);

    if (rc < 0)
        return rc;
    rc = key != NULL ? item_read_metadata(store->container, collection, key, text, err)
                     : hs_item_find_source(store->container, collection, text, err);
    rc = hs_container_verdict(store->container, rc, err);
    hs_container_read_end(store->container);
    return rc;
}

int
h5store_item_get_metadata(h5store *store, const char *collection, const char *key, char **metadata,
                          h5store_err *err)
{
    int rc = item_enter(store, collection, key, key != NULL && metadata != NULL,
                        "h5store_item_get_metadata", err);

    if (rc < 0)
        return rc;
    rc = item_read_text(store, collection, key, metadata, err);
    hs_store_leave(store);
    return rc;
}

int
h5store_get_source(h5store *store, const char *collection, char **text, h5store_err *err)
{
    int rc = item_enter(store, collection, NULL, text != NULL, "h5store_get_source", err);

    if (rc < 0)
        return rc;
    rc = item_read_text(store, collection, NULL, text, err);
    hs_store_leave(store);
    return rc;
}
