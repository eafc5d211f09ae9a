/* SPDX-License-Identifier: MIT */
/*
 * See put.h.  Called by batch.c, outside scopes.
 *
 * The array is hashed, the name is looked for, and if it is not there an extent is reserved
 * and the bytes are written.  A large array that is probably new (probe.h) is written while
 * it is hashed; if it turns out to be known after all, its extent is given up.  Several arrays
 * of a moderate size go through this side by side, one thread for each.
 *
 * A large array that this process has probably put before is compared, byte for byte, with what
 * the container has: if they are equal, so are their names.  That takes half the time of a
 * SHA-256.  It trusts nothing that hashing would not find: the bytes must be those of the file and
 * of the checksum that was taken when they were put.  If they are not, the array is hashed; if it
 * then has the very name, the file's bytes are damaged, and are written again.  Bytes that the
 * system would have to get from the disk are not waited for: hashing is quicker than that.
 *
 * An array that is to be packed is always hashed first, since packing takes many times as
 * long.  One that does not get smaller by a tenth is written as it is.
 *
 * The caller's memory may change under us.  Of bytes that are written after they were named the
 * checksum is therefore taken again on the way (the name would take ten times as long), and the
 * put fails if that is another.
 */
#include "put.h"
#include "dtype.h"
#include "extent.h"
#include "parallel.h"
#include "reader.h"

/* Below this hashing takes less time than reserving, or than looking for what to compare with. */
#define PUT_OVERLAP_LEAST ((uint64_t)1024 * 1024)

void
hs_put_release(hs_put *put)
{
    if (put != NULL) {
        free((char *)(uintptr_t)put->array.dtype);
        free(put->type);
        hs_packed_release(&put->packed);
    }
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
    return hs_extent_reserve_ahead(c, put->layout.extent, &put->extent, err);
}

hs_blob_parts
hs_put_parts(const hs_put *put)
{
    bool packed = hs_is_packed(&put->packed);

    return (hs_blob_parts){.id = &put->id,
                           .array = &put->array,
                           .layout = packed ? &put->packed.layout : &put->layout,
                           .packed = packed ? &put->packed : NULL,
                           .extent = put->extent,
                           .sum = put->sum,
                           .type = put->type,
                           .type_size = put->type_size};
}

void
hs_put_abandon(hs_container *c, hs_put *put)
{
    if (put->extent.length > 0)
        hs_extent_abandon(c, put->extent);
    put->extent.length = 0;
}

/* Write the bytes to the put's extent and tell what they are: name, unless that is NULL, and
 * checksum. */
static int
put_write(hs_container *c, const hs_put *put, const h5store_array *array, int threads,
          h5store_id *id, uint64_t *sum, h5store_err *err)
{
    HS_CLEANUP(hs_tree_freep) hs_tree *tree = NULL;
    hs_source source = hs_source_of(array);
    int rc = hs_tree_new(array->nbytes, &tree, err);

    if (rc == H5STORE_OK)
        rc = hs_extent_write(c, put->extent, &source, threads, tree, id != NULL, err);
    if (rc == H5STORE_OK && id != NULL)
        rc = hs_tree_id(tree, &put->array, id, err);
    if (rc == H5STORE_OK)
        *sum = hs_tree_sum(tree);
    return rc;
}

/* What is described, with the bytes of the caller. */
static h5store_array
put_described(const hs_put *put, const h5store_array *array)
{
    h5store_array described = put->array;

    described.data = array->data;
    described.strides = array->strides;
    return described;
}

static bool
put_has_form(const hs_put *put, const h5store_array *other)
{
    const h5store_array *array = &put->array;

    return strcmp(array->dtype, other->dtype) == 0 && array->order == other->order &&
           array->rank == other->rank && array->nbytes == other->nbytes &&
           memcmp(array->shape, other->shape, sizeof array->shape[0] * (size_t)array->rank) == 0;
}

/* Is the array, in all bytes, what the container has under the likely name?  Then it is named. */
static hs_comparison
put_compare(hs_container *c, hs_put *put, const h5store_array *array, const hs_blob *blob,
            int threads)
{
    HS_CLEANUP(hs_tree_freep) hs_tree *tree = NULL;
    hs_source source = hs_source_of(array);
    hs_comparison outcome;

    if (blob->extent.length == 0 || hs_is_packed(&blob->packed) || blob->damaged ||
        !hs_source_is_whole(&source) || !put_has_form(put, &blob->info.array) ||
        hs_tree_new(array->nbytes, &tree, NULL) < 0 ||
        hs_extent_compare(c, blob->extent, &source, threads, tree, &outcome, NULL) < 0)
        return HS_UNKNOWN;
    if (outcome != HS_EQUAL)
        return outcome;
    put->id = put->likely;
    put->sum = hs_tree_sum(tree);
    return put->sum == blob->sum ? HS_EQUAL : HS_DIFFERENT;
}

/*
 * Name and checksum of an array that is probably known: by comparing, or, where that cannot be
 * done, by hashing.
 */
static int
put_recognise(hs_container *c, hs_put *put, const h5store_array *array, int threads,
              h5store_err *err)
{
    h5store_array described = put_described(put, array);
    hs_comparison outcome;
    hs_blob blob;
    int rc = hs_reader_find_blob(c, &put->likely, &blob, NULL);

    if (rc < 0)
        return hs_digest_array(&described, threads, &put->id, &put->sum, err);
    outcome = put_compare(c, put, array, &blob, threads);
    if (outcome != HS_EQUAL)
        rc = hs_digest_array(&described, threads, &put->id, &put->sum, err);
    if (rc == H5STORE_OK && outcome == HS_DIFFERENT && h5store_id_equal(&put->id, &put->likely))
        hs_reader_mark(c, &blob);
    hs_reader_release_blob(c, &blob);
    return rc;
}

/* Name and checksum; the bytes are written meanwhile if there is an extent for them. */
static int
put_digest(hs_container *c, hs_put *put, const h5store_array *array, int threads, h5store_err *err)
{
    h5store_array described = put_described(put, array);
    int rc;

    if (put->extent.length > 0)
        rc = put_write(c, put, array, threads, &put->id, &put->sum, err);
    else if (put->is_likely)
        rc = put_recognise(c, put, array, threads, err);
    else
        rc = hs_digest_array(&described, threads, &put->id, &put->sum, err);
    if (rc == H5STORE_OK && put->probe != 0)
        hs_probe_note(hs_container_probes(c), put->probe, &put->id);
    return rc;
}

/*
 * Whether an array is to be written while it is hashed: one that is probably new.  One that is
 * small, or that this process probably put before, or whose name is wanted @p first, is not.
 */
static bool
put_is_new(hs_container *c, hs_put *put, const h5store_array *array, bool first, uint64_t least)
{
    static const h5store_id none;
    h5store_array described = put_described(put, array);
    bool seen;

    if (first || array->nbytes < least)
        return false;
    put->probe = hs_probe_of(&described);
    seen = hs_probe_seen(hs_container_probes(c), put->probe, &put->likely);
    put->is_likely = seen && array->nbytes >= PUT_OVERLAP_LEAST &&
                     !h5store_id_equal(&put->likely, &none);
    return !seen;
}

int
hs_put_begin(hs_container *c, const h5store_array *array, int level, hs_put **put, h5store_err *err)
{
    HS_CLEANUP(hs_put_releasep) hs_put *made = calloc(1, sizeof *made);
    int rc;

    if (made == NULL)
        return hs_fail_nomem(err, sizeof *made, "an array");
    rc = put_describe(made, array, err);
    if (rc < 0)
        return rc;
    if (put_is_new(c, made, array, level > 0, PUT_OVERLAP_LEAST))
        rc = put_reserve(c, made, err);
    if (rc == H5STORE_OK)
        rc = put_digest(c, made, array, hs_container_threads(c), err);
    if (rc < 0) {
        hs_put_abandon(c, made);
        return rc;
    }
    *put = hs_take(&made);
    return H5STORE_OK;
}

/* ---- several at a time ------------------------------------------------- */

struct put_group {
    hs_container *container;
    const h5store_array *arrays;
    size_t count;
    hs_put **puts;
    size_t *new; /* those that are probably new, */
    hs_extent *extents;
    size_t new_count;
};

/* Choose those that are probably new, each of equal ones once, and reserve for them. */
static int
put_group_reserve(struct put_group *group, h5store_err *err)
{
    int rc = H5STORE_OK;

    for (size_t i = 0; i < group->count; i++) {
        hs_put *put = group->puts[i];

        /* Space for all costs one commit, so small ones need not be looked for first. */
        if (put->layout.kind == HS_LAYOUT_COMPACT ||
            !put_is_new(group->container, put, &group->arrays[i], false, 0))
            continue;
        hs_probe_note(hs_container_probes(group->container), put->probe, NULL);
        group->extents[group->new_count] = (hs_extent){.length = put->layout.extent};
        group->new[group->new_count++] = i;
    }
    if (group->new_count > 0)
        rc = hs_extent_reserve_all(group->container, group->extents, group->new_count, err);
    for (size_t i = 0; rc == H5STORE_OK && i < group->new_count; i++)
        group->puts[group->new[i]]->extent = group->extents[i];
    return rc;
}

static int
put_group_step(void *context, uint64_t index, h5store_err *err)
{
    struct put_group *group = context;

    return put_digest(group->container, group->puts[index], &group->arrays[index], 1, err);
}

static int
put_group_run(struct put_group *group, h5store_err *err)
{
    uint64_t bytes = 0;
    int rc = H5STORE_OK;

    for (size_t i = 0; rc == H5STORE_OK && i < group->count; i++) {
        group->puts[i] = calloc(1, sizeof *group->puts[i]);
        rc = group->puts[i] == NULL ? hs_fail_nomem(err, sizeof *group->puts[i], "an array")
                                    : put_describe(group->puts[i], &group->arrays[i], err);
        bytes += group->arrays[i].nbytes;
    }
    if (rc == H5STORE_OK)
        rc = put_group_reserve(group, err);
    if (rc == H5STORE_OK)
        rc = hs_parallel_for(
            group->count,
            hs_parallel_threads(hs_container_threads(group->container), bytes, HS_GRAIN_WRITE),
            put_group_step, group, err);
    return rc;
}

int
hs_put_begin_all(hs_container *c, const h5store_array *arrays, size_t count, hs_put **puts,
                 h5store_err *err)
{
    HS_CLEANUP(hs_freep) void *new = calloc(count, sizeof(size_t));
    HS_CLEANUP(hs_freep) void *extents = calloc(count, sizeof(hs_extent));
    struct put_group group = {c, arrays, count, puts, new, extents, 0};
    int rc;

    if (new == NULL || extents == NULL)
        return hs_fail_nomem(err, count * sizeof(hs_extent), "arrays");
    memset(puts, 0, count * sizeof *puts);
    rc = put_group_run(&group, err);
    for (size_t i = 0; rc < 0 && i < count; i++) {
        if (puts[i] != NULL)
            hs_put_abandon(c, puts[i]);
        hs_put_releasep(&puts[i]);
    }
    return rc;
}

/* ---- one that has a name ----------------------------------------------- */

/* Is it in the container?  Then its extent is pinned, and the one we have is given up. */
static int
put_look(hs_container *c, hs_put *put, bool *found, h5store_err *err)
{
    hs_blob blob;
    int rc;

    put->generation = hs_container_generation(c);
    rc = hs_reader_find_blob(c, &put->id, &blob, err);
    *found = rc == H5STORE_OK;
    put->is_absent = rc == H5STORE_E_NOT_FOUND;
    if (rc == H5STORE_E_NOT_FOUND || rc == H5STORE_E_DAMAGED)
        return H5STORE_OK; /* metadata that cannot be read is replaced at commit */
    if (rc < 0)
        return rc;
    hs_put_abandon(c, put);
    put->extent = blob.extent;
    put->packed = blob.packed;
    put->state = blob.damaged ? HS_PUT_MENDED : HS_PUT_FOUND;
    memset(&blob.packed, 0, sizeof blob.packed);
    hs_blob_release(&blob); /* the pin is ours now */
    return H5STORE_OK;
}

static int
put_fail_changed(const hs_container *c, h5store_err *err)
{
    return hs_fail(err, H5STORE_E_INVALID, 0,
                   "the array was changed while it was being stored in '%s'; let other threads "
                   "change it before or after",
                   hs_container_path(c));
}

/* Write the bytes after they were named. */
static int
put_write_named(hs_container *c, const hs_put *put, const h5store_array *array, h5store_err *err)
{
    uint64_t sum;
    int rc = put_write(c, put, array, hs_container_threads(c), NULL, &sum, err);

    return rc < 0 || sum == put->sum ? rc : put_fail_changed(c, err);
}

/*
 * Pack the bytes into an extent of at most @p room bytes, of which what is left over is given
 * back.  *fits: it did; otherwise there is no extent.
 */
static int
put_pack(hs_container *c, hs_put *put, const h5store_array *array, uint64_t room, bool *fits,
         h5store_err *err)
{
    h5store_array described = put_described(put, array);
    hs_source source = hs_source_of(array);
    uint64_t sum;
    int rc = hs_extent_reserve(c, room, &put->extent, err);

    if (rc < 0)
        return rc;
    rc = hs_packed_write(hs_packed_file_of(c), &put->packed, &source, put->extent, fits, err);
    if (rc < 0 || !*fits) {
        hs_put_abandon(c, put);
        return rc;
    }
    hs_extent_shorten(c, &put->extent, hs_packed_length(&put->packed));
    /* Not while they were packed, since chunks are cut otherwise than pieces. */
    rc = hs_digest_array(&described, hs_container_threads(c), NULL, &sum, err);
    return rc < 0 || sum == put->sum ? rc : put_fail_changed(c, err);
}

/* Pack a new array if that pays; afterwards it has an extent or is not packed. */
static int
put_pack_new(hs_container *c, hs_put *put, const h5store_array *array, int level, h5store_err *err)
{
    hs_source source = hs_source_of(array);
    bool pays = false;
    size_t itemsize;
    int rc = h5store_dtype_itemsize(put->array.dtype, &itemsize, err);

    if (rc == H5STORE_OK)
        rc = hs_packed_plan(&put->array, itemsize, level, &put->packed, err);
    if (rc == H5STORE_OK && hs_is_packed(&put->packed))
        rc = hs_packed_try(&put->packed, &source, &pays, err);
    if (rc == H5STORE_OK && pays)
        rc = put_pack(c, put, array, array->nbytes / 10 * 9, &pays, err);
    if (rc == H5STORE_OK && !pays)
        hs_packed_release(&put->packed);
    return rc;
}

/* Pack the array again as it was.  The damaged extent goes at commit; nobody must see it. */
static int
put_pack_again(hs_container *c, hs_put *put, const h5store_array *array, h5store_err *err)
{
    bool fits = false;
    int rc;

    hs_container_unpin(c, put->extent);
    put->extent.length = 0;
    rc = put_pack(c, put, array, put->packed.layout.extent, &fits, err);
    if (rc == H5STORE_OK && !fits) /* no chunk is longer than before packing */
        rc = hs_fail(err, H5STORE_E_IO, 0, "a compressed array does not fit where it must");
    return rc;
}

/* See to it that the bytes are in the put's extent, or inline. */
static int
put_bytes(hs_container *c, hs_put *put, const h5store_array *array, int level, h5store_err *err)
{
    bool written = put->state == HS_PUT_WRITTEN && put->extent.length > 0;
    int rc = H5STORE_OK;

    if (put->layout.kind == HS_LAYOUT_COMPACT) {
        hs_source source = hs_source_of(array);
        const uint8_t *bytes = hs_source_bytes(&source, 0, (size_t)array->nbytes,
                                               put->inline_bytes);

        if (bytes != put->inline_bytes && array->nbytes > 0)
            memcpy(put->inline_bytes, bytes, (size_t)array->nbytes);
        put->array.data = put->inline_bytes;
        return H5STORE_OK;
    }
    if (put->state == HS_PUT_FOUND) /* perhaps by one who did not sync it */
        return hs_container_is_power_safe(c) ? hs_container_sync_data(c, err) : H5STORE_OK;
    if (put->state == HS_PUT_MENDED && hs_is_packed(&put->packed))
        rc = put_pack_again(c, put, array, err);
    else if (put->state == HS_PUT_WRITTEN && !written && level > 0)
        rc = put_pack_new(c, put, array, level, err);
    if (rc == H5STORE_OK && !hs_is_packed(&put->packed)) {
        if (put->extent.length == 0)
            rc = put_reserve(c, put, err);
        if (rc == H5STORE_OK && !written)
            rc = put_write_named(c, put, array, err);
    }
    if (rc == H5STORE_OK && hs_container_is_power_safe(c))
        rc = hs_container_sync_data(c, err);
    return rc;
}

int
hs_put_store(hs_container *c, hs_put *put, const h5store_array *array, int level, bool *found,
             h5store_err *err)
{
    bool ours;
    int rc = put_look(c, put, found, err);

    if (rc == H5STORE_OK)
        rc = put_bytes(c, put, array, level, err);
    if (rc == H5STORE_OK && put->state == HS_PUT_WRITTEN && !hs_is_packed(&put->packed) &&
        put->layout.kind == HS_LAYOUT_CHUNKED && hs_container_may_spare_hdf5(c))
        (void)hs_dtype_encode(put->array.dtype, &put->type, &put->type_size, NULL);
    ours = put->state == HS_PUT_WRITTEN ||
           (put->state == HS_PUT_MENDED && hs_is_packed(&put->packed));
    if (rc < 0 && ours)
        hs_put_abandon(c, put);
    else if (rc < 0 && put->extent.length > 0)
        hs_container_unpin(c, put->extent);
    if (rc < 0)
        put->extent.length = 0;
    return rc;
}
