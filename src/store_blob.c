/* SPDX-License-Identifier: MIT */
/*
 * The public facade: putting, reading and listing blobs.
 */
#include "batch.h"
#include "extent.h"
#include "forks.h"
#include "os.h"
#include "parallel.h"
#include "store_impl.h"

/* ---- putting ---------------------------------------------------------- */

static int
store_put(h5store *store, const h5store_array *array, h5store_id *id, h5store_err *err)
{
    hs_batch *batch;
    int put, rc = hs_batch_new(store->container, &batch, err);

    if (rc < 0)
        return rc;
    put = hs_batch_put(batch, array, id, err);
    rc = put < 0 ? put : hs_batch_keep(batch, id, true, err);
    if (rc < 0) {
        hs_batch_abort(batch);
        return rc;
    }
    rc = hs_batch_commit(batch, err);
    return rc < 0 ? rc : put;
}

int
h5store_put(h5store *store, const h5store_array *array, h5store_id *id, h5store_err *err)
{
    h5store_id name;
    int rc = hs_store_need(array != NULL, "h5store_put", err);

    if (rc == H5STORE_OK)
        rc = hs_store_enter(store, err);
    if (rc < 0)
        return rc;
    rc = store_put(store, array, &name, err);
    hs_store_leave(store);
    if (rc >= 0 && id != NULL)
        *id = name;
    return rc;
}

int
h5store_discard(h5store *store, const h5store_id *id, h5store_err *err)
{
    hs_batch *batch;
    int rc = hs_store_need(id != NULL, "h5store_discard", err);

    if (rc == H5STORE_OK)
        rc = hs_store_enter(store, err);
    if (rc < 0)
        return rc;
    rc = hs_batch_new(store->container, &batch, err);
    if (rc == H5STORE_OK) {
        rc = hs_batch_keep(batch, id, false, err);
        if (rc == H5STORE_OK)
            rc = hs_batch_commit(batch, err);
        else
            hs_batch_abort(batch);
    }
    hs_store_leave(store);
    return rc;
}

int
h5store_hash(const h5store_array *array, int threads, h5store_id *id, h5store_err *err)
{
    h5store_array copy;
    int rc = hs_store_need(array != NULL && id != NULL, "h5store_hash", err);

    if (rc == H5STORE_OK)
        rc = hs_array_check(array, true, err);
    if (rc < 0)
        return rc;
    copy = *array;
    hs_array_normalise(&copy);
    return hs_digest_array(&copy, threads > 0 ? threads : hs_parallel_usual(), id, NULL, err);
}

/* ---- reading ---------------------------------------------------------- */

int
h5store_blob_open(h5store *store, const h5store_id *id, h5store_blob **blob, h5store_err *err)
{
    h5store_blob *made;
    int rc = hs_store_need(id != NULL && blob != NULL, "h5store_blob_open", err);

    if (rc == H5STORE_OK)
        rc = hs_store_enter(store, err);
    if (rc < 0)
        return rc;
    made = calloc(1, sizeof *made);
    if (made == NULL) {
        rc = hs_fail_nomem(err, sizeof *made, "a blob");
    } else {
        made->forks = hs_forks_now();
        rc = hs_reader_find_blob(store->container, id, &made->blob, err);
    }
    if (rc == H5STORE_OK) {
        made->store = store;
        hs_store_hold_pins(store);
        *blob = made;
    } else {
        free(made);
    }
    hs_store_leave(store);
    return rc;
}

const h5store_blob_info *
h5store_blob_get_info(const h5store_blob *blob)
{
    return &blob->blob.info;
}

int
h5store_blob_read(h5store_blob *blob, void *buffer, size_t size, h5store_check check,
                  h5store_err *err)
{
    const h5store_array *array;
    int rc = hs_store_need(blob != NULL, "h5store_blob_read", err);

    if (rc == H5STORE_OK)
        rc = hs_container_check_process(blob->store->container, err);
    if (rc < 0)
        return rc;
    array = &blob->blob.info.array;
    if (size != array->nbytes || (buffer == NULL && size > 0))
        return hs_fail(err, H5STORE_E_INVALID, 0,
                       "the blob has %llu bytes, the buffer %zu; give one of the same size",
                       (unsigned long long)array->nbytes, buffer != NULL ? size : 0);
    if (check != H5STORE_CHECK_NEVER && check != H5STORE_CHECK_FAST && check != H5STORE_CHECK_FULL)
        return hs_fail(err, H5STORE_E_INVALID, 0, "unknown kind of check %d", (int)check);
    blob->copied = true;
    return hs_reader_read(blob->store->container, &blob->blob, buffer, check, err);
}

/* What cannot be mapped lies in memory of the blob. */
static int
store_unpack(h5store_blob *blob, const void **data, h5store_err *err)
{
    size_t size = (size_t)blob->blob.info.array.nbytes;
    HS_CLEANUP(hs_freep) void *memory = NULL;
    int rc;

    if (blob->unpacked == NULL) {
        memory = malloc(size);
        if (memory == NULL)
            return hs_fail_nomem(err, size, "an array that is compressed");
        rc = hs_reader_read(blob->store->container, &blob->blob, memory, H5STORE_CHECK_FAST, err);
        if (rc < 0)
            return rc;
        blob->unpacked = hs_take(&memory);
    }
    *data = blob->unpacked;
    return H5STORE_OK;
}

int
h5store_blob_map(h5store_blob *blob, const void **data, h5store_err *err)
{
    int rc = hs_store_need(blob != NULL && data != NULL, "h5store_blob_map", err);

    if (rc == H5STORE_OK)
        rc = hs_container_check_process(blob->store->container, err);
    if (rc == H5STORE_OK && blob->blob.damaged)
        rc = hs_fail(err, H5STORE_E_DAMAGED, 0,
                     "the blob was found damaged; compute the result again: storing it mends it");
    if (rc == H5STORE_OK && hs_is_packed(&blob->blob.packed))
        return store_unpack(blob, data, err);
    if (rc == H5STORE_OK && blob->blob.extent.length > 0 && blob->address == NULL)
        rc = hs_extent_map(blob->store->container, blob->blob.extent.address,
                           blob->blob.info.array.nbytes, &blob->address, err);
    if (rc == H5STORE_E_DAMAGED)
        hs_reader_mark(blob->store->container, &blob->blob);
    if (rc < 0)
        return rc;
    *data = blob->blob.extent.length > 0 ? blob->address : blob->blob.inline_bytes;
    return H5STORE_OK;
}

/*
 * A pin that may be a child's, too: of a blob that was mapped when the process forked, or of one
 * with which nothing was done that is known here, since its offset tells how to map it.
 */
static bool
store_is_shared(const h5store_blob *blob)
{
    bool is_mapped = blob->address != NULL || (!blob->copied && !hs_is_packed(&blob->blob.packed));

    return blob->blob.extent.length > 0 && is_mapped && hs_forks_since(blob->forks);
}

void
hs_store_unmap(h5store_blob *blob)
{
    if (store_is_shared(blob))
        hs_container_keep_pin(blob->store->container, blob->blob.extent);
    if (blob->address != NULL)
        hs_os_unmap(blob->address, (size_t)blob->blob.info.array.nbytes);
    free(blob->unpacked);
}

void
h5store_blob_close(h5store_blob *blob)
{
    h5store *store;

    if (blob == NULL || blob->owned_by_item)
        return;
    store = blob->store;
    hs_store_unmap(blob);
    hs_reader_release_blob(store->container, &blob->blob);
    free(blob);
    hs_store_let_go_pins(store);
}
