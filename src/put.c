/* SPDX-License-Identifier: MIT */
/*
 * See put.h.  Called by batch.c, outside scopes.
 *
 * The array is hashed, the name is looked for, and if it is not there an extent is reserved
 * and the bytes are written.  A large array that is probably new (probe.h) is written while
 * it is hashed; if it turns out to be known after all, its extent is given up.
 *
 * The caller's memory may change under us.  Bytes that are written after they were named are
 * therefore named again on the way, and the put fails if that gives another name.
 */
#include "put.h"
#include "extent.h"
#include "reader.h"

/* Below this hashing takes less time than reserving: look first. */
#define PUT_OVERLAP_LEAST ((uint64_t)1024 * 1024)

void
hs_put_release(hs_put *put)
{
    if (put != NULL)
        free((char *)(uintptr_t)put->array.dtype);
    free(put);
}

void
hs_put_releasep(hs_put **put)
{
    hs_put_release(*put);
    *put = NULL;
}

static int
put_describe(hs_put *put, const h5store_array *array, h5store_err *err)
{
    size_t itemsize;
    int rc = hs_array_check(array, true, err);

    if (rc < 0)
        return rc;
    put->array = *array;
    hs_array_normalise(&put->array);
    put->array.data = NULL;
    put->array.strides = NULL;
    put->array.dtype = strdup(array->dtype);
    if (put->array.dtype == NULL)
        return hs_fail_nomem(err, strlen(array->dtype), "a dtype");
    rc = h5store_dtype_itemsize(array->dtype, &itemsize, err);
    return rc < 0 ? rc : hs_array_layout(&put->array, itemsize, &put->layout, err);
}

static int
put_reserve(hs_container *c, hs_put *put, h5store_err *err)
{
    return hs_extent_reserve(c, put->layout.extent, &put->extent, err);
}

void
hs_put_abandon(hs_container *c, hs_put *put)
{
    if (put->extent.length > 0)
        hs_extent_abandon(c, put->extent);
    put->extent.length = 0;
}

/* Write the bytes to the put's extent and tell what they are. */
static int
put_write(hs_container *c, const hs_put *put, const h5store_array *array, h5store_id *id,
          uint64_t *sum, h5store_err *err)
{
    HS_CLEANUP(hs_tree_freep) hs_tree *tree = NULL;
    hs_source source = hs_source_of(array);
    int rc = hs_tree_new(array->nbytes, &tree, err);

    if (rc == H5STORE_OK)
        rc = hs_extent_write(c, put->extent, &source, tree, err);
    if (rc == H5STORE_OK)
        rc = hs_tree_id(tree, &put->array, id, err);
    if (rc == H5STORE_OK)
        *sum = hs_tree_sum(tree);
    return rc;
}

/*
 * Name and checksum.  An array that is probably new is written meanwhile (then it has an
 * extent afterwards); one that is small, or that this process probably put before, is not.
 */
static int
put_digest(hs_container *c, hs_put *put, const h5store_array *array, h5store_err *err)
{
    h5store_array described = put->array;
    uint64_t probe;
    int rc;

    described.data = array->data;
    described.strides = array->strides;
    if (array->nbytes < PUT_OVERLAP_LEAST)
        return hs_digest_array(&described, hs_container_threads(c), &put->id, &put->sum, err);
    probe = hs_probe_of(&described);
    if (hs_probe_seen(hs_container_probes(c), probe))
        return hs_digest_array(&described, hs_container_threads(c), &put->id, &put->sum, err);
    rc = put_reserve(c, put, err);
    if (rc == H5STORE_OK)
        rc = put_write(c, put, array, &put->id, &put->sum, err);
    if (rc < 0) {
        hs_put_abandon(c, put);
        return rc;
    }
    hs_probe_note(hs_container_probes(c), probe);
    return H5STORE_OK;
}

int
hs_put_begin(hs_container *c, const h5store_array *array, hs_put **put, h5store_err *err)
{
    HS_CLEANUP(hs_put_releasep) hs_put *made = calloc(1, sizeof *made);
    int rc;

    if (made == NULL)
        return hs_fail_nomem(err, sizeof *made, "an array");
    rc = put_describe(made, array, err);
    if (rc == H5STORE_OK)
        rc = put_digest(c, made, array, err);
    if (rc == H5STORE_OK)
        *put = hs_take(&made);
    return rc;
}

/* Is it in the container?  Then its extent is pinned, and the one we have is given up. */
static int
put_look(hs_container *c, hs_put *put, bool *found, h5store_err *err)
{
    hs_blob blob;
    int rc = hs_reader_find_blob(c, &put->id, &blob, err);

    *found = rc == H5STORE_OK;
    if (rc == H5STORE_E_NOT_FOUND || rc == H5STORE_E_DAMAGED)
        return H5STORE_OK; /* metadata that cannot be read is replaced at commit */
    if (rc < 0)
        return rc;
    hs_put_abandon(c, put);
    put->extent = blob.extent;
    put->state = blob.damaged ? HS_PUT_MENDED : HS_PUT_FOUND;
    hs_blob_release(&blob); /* the pin is ours now */
    return H5STORE_OK;
}

/* Write the bytes after they were named. */
static int
put_write_named(hs_container *c, const hs_put *put, const h5store_array *array, h5store_err *err)
{
    h5store_id id;
    uint64_t sum;
    int rc = put_write(c, put, array, &id, &sum, err);

    if (rc < 0 || h5store_id_equal(&id, &put->id))
        return rc;
    return hs_fail(err, H5STORE_E_INVALID, 0,
                   "the array was changed while it was being stored in '%s'; let other threads "
                   "change it before or after", hs_container_path(c));
}

/* See to it that the bytes are in the put's extent, or inline. */
static int
put_bytes(hs_container *c, hs_put *put, const h5store_array *array, h5store_err *err)
{
    bool written = put->state == HS_PUT_WRITTEN && put->extent.length > 0;
    int rc = H5STORE_OK;

    if (put->layout.kind == HS_LAYOUT_COMPACT) {
        hs_source source = hs_source_of(array);
        const uint8_t *bytes =
            hs_source_bytes(&source, 0, (size_t)array->nbytes, put->inline_bytes);

        if (bytes != put->inline_bytes && array->nbytes > 0)
            memcpy(put->inline_bytes, bytes, (size_t)array->nbytes);
        put->array.data = put->inline_bytes;
        return H5STORE_OK;
    }
    if (put->state == HS_PUT_FOUND) /* perhaps by one who did not sync it */
        return hs_container_is_power_safe(c) ? hs_container_sync_data(c, err) : H5STORE_OK;
    if (put->extent.length == 0)
        rc = put_reserve(c, put, err);
    if (rc == H5STORE_OK && !written)
        rc = put_write_named(c, put, array, err);
    if (rc == H5STORE_OK && hs_container_is_power_safe(c))
        rc = hs_container_sync_data(c, err);
    return rc;
}

int
hs_put_store(hs_container *c, hs_put *put, const h5store_array *array, bool *found,
             h5store_err *err)
{
    int rc = put_look(c, put, found, err);

    if (rc == H5STORE_OK)
        rc = put_bytes(c, put, array, err);
    if (rc < 0 && *found && put->extent.length > 0)
        hs_container_unpin(c, put->extent);
    else if (rc < 0)
        hs_put_abandon(c, put);
    if (rc < 0)
        put->extent.length = 0;
    return rc;
}
