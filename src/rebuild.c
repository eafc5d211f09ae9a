/* SPDX-License-Identifier: MIT */
/*
 * See rebuild.h, and container_rebuild.c for what makes it one atomic commit.
 *
 * First the blobs that something refers to are made in the fresh tree, over the same bytes; then
 * what is kept, and the items, with links to them.  When only some items come along, those are
 * looked at first, to know their blobs.
 *
 * Whatever of the old tree is not in the fresh one is gone for good, space and all.  So the first
 * thing that cannot be read ends it (DAMAGED here, DONE for the caller): it may be what a reader
 * gets around, as a damaged group of /blobs, or what can be mended yet, or be saved.
 */
#include "rebuild.h"
#include "dtype.h"
#include "grow.h"
#include "h5util.h"

#define REBUILD_QUICK 20000u /* objects: some two seconds of WRITE */
#define REBUILD_LEAST ((uint64_t)2 * 1024 * 1024)

struct rebuild {
    hs_container *container;
    hid_t old, fresh;
    hs_sizes blobs; /* made so far, in the order of their names */
    size_t blob_room;
    hs_extent *extents;
    size_t extent_count, extent_room;
    hs_rebuild_gone_fn gone; /* NULL: all items come along */
    void *context;
    uint64_t most; /* items that may come along */
    uint64_t items;
    hs_id_list wanted;           /* blobs of items that come along */
    struct rebuild_times *times; /* of items that come along */
    size_t time_count, time_room;
};

struct rebuild_times {
    uint64_t hash;
    hs_usage_times times;
};

/* ---- blobs ------------------------------------------------------------ */

static int
rebuild_make_blob(struct rebuild *r, hs_blob *blob, h5store_err *err)
{
    hs_container *c = r->container;
    h5store_array array = blob->info.array;
    bool packed = hs_is_packed(&blob->packed);
    hs_blob_parts parts = {.id = &blob->info.id,
                           .array = &array,
                           .packed = packed ? &blob->packed : NULL,
                           .extent = blob->extent,
                           .sum = blob->sum};
    hs_layout layout;
    size_t itemsize;
    int rc = hs_dtype_itemsize(blob->dtype, &itemsize, err);

    array.data = blob->inline_bytes;
    if (rc == H5STORE_OK)
        rc = hs_array_layout(&array, itemsize, &layout, err);
    if (rc < 0)
        return rc;
    parts.layout = packed ? &blob->packed.layout : &layout;
    if (layout.kind == HS_LAYOUT_CHUNKED) {
        if (!packed && hs_round_up(layout.extent, HS_SPACE_UNIT) != blob->extent.length)
            return hs_fail(err, H5STORE_E_UNSUPPORTED, 0,
                           "container '%s' has arrays in chunks that this library does not make; "
                           "its metadata cannot be made anew",
                           hs_container_path(c));
        rc = hs_grow(&r->extents, r->extent_count, &r->extent_room, sizeof *r->extents, "a rebuild",
                     err);
        if (rc == H5STORE_OK) /* for a moment, as after a reservation */
            rc = hs_space_loosen(hs_container_space(c), blob->extent, hs_container_sequence(c),
                                 err);
        if (rc < 0)
            return rc;
        r->extents[r->extent_count++] = blob->extent;
    }
    rc = hs_blob_create(c, r->fresh, &parts, err);
    if (rc == H5STORE_OK && blob->damaged)
        rc = hs_blob_mark(r->fresh, &blob->info.id, err);
    return rc;
}

static int
rebuild_blob(struct rebuild *r, uint64_t address, h5store_err *err)
{
    hs_blob blob;
    int rc = hs_blob_describe(r->container, address, &blob, err);

    if (rc < 0)
        return rc;
    if (blob.info.links > 0) {
        rc = hs_grow(&r->blobs.sizes, r->blobs.count, &r->blob_room, sizeof *r->blobs.sizes,
                     "a rebuild", err);
        if (rc == H5STORE_OK)
            rc = rebuild_make_blob(r, &blob, err);
        if (rc == H5STORE_OK)
            r->blobs.sizes[r->blobs.count++] = (struct hs_size){blob.info.id,
                                                                blob.info.array.nbytes};
    }
    hs_blob_release(&blob);
    return rc;
}

static int
rebuild_names(hid_t file, const char *path, hs_names *names, h5store_err *err)
{
    htri_t has = H5Lexists(file, path, H5P_DEFAULT);
    HS_CLEANUP(hs_h5_close_group) hid_t group = H5I_INVALID_HID;

    if (has == 0)
        return H5STORE_OK;
    if (has > 0)
        group = H5Gopen2(file, path, H5P_DEFAULT);
    if (group < 0)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "the group '%s' cannot be opened", path);
    return hs_names_read(group, names, err);
}

static int
rebuild_blobs(struct rebuild *r, h5store_err *err)
{
    int rc = H5STORE_OK;

    for (unsigned fan = 0; rc == H5STORE_OK && fan < 256; fan++) {
        HS_CLEANUP(hs_names_release) hs_names names = {0};
        char path[16];

        snprintf(path, sizeof path, "/blobs/%02x", fan);
        rc = rebuild_names(r->old, path, &names, err);
        for (size_t i = 0; rc == H5STORE_OK && i < names.count; i++) {
            h5store_id id;

            rc = rebuild_blob(r, names.addresses[i], err);
            if (rc == H5STORE_E_DAMAGED && h5store_id_parse(names.names[i], &id, NULL) < 0)
                rc = H5STORE_OK; /* not ours */
        }
    }
    return rc;
}

/* Only those that are kept by themselves, when items do not come along. */
static int
rebuild_kept_blob(struct rebuild *r, const h5store_id *id, uint64_t address, h5store_err *err)
{
    (void)hs_blob_find(r->old, id, &address, NULL); /* else what is kept leads there, too */
    return rebuild_blob(r, address, err);
}

static int
rebuild_kept(struct rebuild *r, bool with_items, h5store_err *err)
{
    HS_CLEANUP(hs_names_release) hs_names names = {0};
    int rc = rebuild_names(r->old, "/kept", &names, err);

    for (size_t i = 0; rc == H5STORE_OK && i < names.count; i++) {
        char path[HS_BLOB_PATH_SIZE], kept[HS_BLOB_PATH_SIZE];
        h5store_id id;
        uint64_t ignored;

        if (h5store_id_parse(names.names[i], &id, NULL) < 0)
            continue;
        if (!with_items)
            rc = rebuild_kept_blob(r, &id, names.addresses[i], err);
        hs_blob_path(&id, path);
        if (rc == H5STORE_OK && !hs_sizes_find(&r->blobs, &id, &ignored))
            rc = hs_fail(err, H5STORE_E_DAMAGED, 0, "there is no '%s', which is kept", path);
        if (rc < 0)
            return rc;
        snprintf(kept, sizeof kept, "/kept/%s", names.names[i]);
        if (H5Lcreate_hard(r->fresh, path, r->fresh, kept, H5P_DEFAULT, H5P_DEFAULT) < 0)
            rc = hs_container_hdf5_fail(r->container, err, H5STORE_E_HDF5, "cannot keep '%s'",
                                        path);
    }
    return rc;
}

/* ---- items ------------------------------------------------------------ */

/* The ids of an item's blobs, all of which came along. */
static int
rebuild_links(struct rebuild *r, const hs_item *item, h5store_id *ids, h5store_err *err)
{
    for (size_t i = 0; i < item->link_count; i++) {
        hs_blob_brief brief;
        uint64_t ignored;
        int rc = hs_blob_brief_of(r->container, item->links[i], &brief, err);

        if (rc == H5STORE_OK && !hs_sizes_find(&r->blobs, &brief.id, &ignored))
            rc = hs_fail(err, H5STORE_E_DAMAGED, 0, "array %zu of it is not in '/blobs'", i);
        if (rc < 0)
            return rc;
        ids[i] = brief.id;
    }
    return H5STORE_OK;
}

static int
rebuild_item(const char *collection, const char *key, uint64_t address, void *context,
             h5store_err *err)
{
    struct rebuild *r = context;
    HS_CLEANUP(hs_item_release) hs_item item = {0};
    HS_CLEANUP(hs_freep) h5store_id *ids = NULL;
    HS_CLEANUP(hs_freep) uint8_t *metadata = NULL;
    h5store_item_spec spec = {.collection = collection, .key = key};
    int rc;

    if (r->gone != NULL && r->gone(collection, key, r->context))
        return H5STORE_OK;
    rc = hs_item_read(r->container, address, true, &item, err);
    if (rc < 0)
        return hs_prefix(err, rc, "item '%s' of '%s'", key, collection);
    ids = malloc((item.link_count + 1) * sizeof *ids);
    if (ids == NULL)
        return hs_fail_nomem(err, item.link_count * sizeof *ids, "a rebuild");
    rc = rebuild_links(r, &item, ids, err);
    if (rc < 0)
        return hs_prefix(err, rc, "item '%s' of '%s'", key, collection);
    rc = hs_item_copy_member(&item.metadata, &metadata, err);
    if (rc < 0)
        return rc;
    spec.metadata = (const char *)metadata;
    spec.output = item.output.bytes;
    spec.output_size = (size_t)item.output.size;
    spec.links = ids;
    spec.link_count = item.link_count;
    rc = hs_item_create(r->container, r->fresh, &spec, &r->blobs, err);
    return rc < 0 ? rc : H5STORE_OK;
}

static int
rebuild_source(const char *collection, void *context, h5store_err *err)
{
    const struct rebuild *r = context;
    HS_CLEANUP(hs_freep) char *text = NULL;
    int rc;

    if (r->gone != NULL && r->gone(collection, NULL, r->context))
        return H5STORE_OK;
    rc = hs_item_read_source(r->old, collection, &text, err);
    if (rc == H5STORE_E_NOT_FOUND)
        rc = H5STORE_OK;
    return rc < 0 ? rc : hs_item_set_source(r->container, r->fresh, collection, text, err);
}

/* ---- some items ------------------------------------------------------- */

/* Note the blobs and times of an item that comes along.  DONE: too many do. */
static int
rebuild_look_at(const char *collection, const char *key, uint64_t address, void *context,
                h5store_err *err)
{
    struct rebuild *r = context;
    HS_CLEANUP(hs_item_release) hs_item item = {0};
    struct rebuild_times *entry;
    hs_usage *usage;
    int rc;

    if (r->gone(collection, key, r->context))
        return H5STORE_OK;
    if (++r->items > r->most)
        return H5STORE_DONE;
    rc = hs_item_read(r->container, address, false, &item, err);
    for (size_t i = 0; rc == H5STORE_OK && i < item.link_count; i++) {
        hs_blob_brief brief;

        rc = hs_blob_brief_of(r->container, item.links[i], &brief, err);
        if (rc == H5STORE_OK)
            rc = hs_id_list_add(&r->wanted, &brief.id, err);
    }
    if (rc == H5STORE_OK)
        rc = hs_grow(&r->times, r->time_count, &r->time_room, sizeof *r->times, "a rebuild", err);
    if (rc == H5STORE_OK)
        rc = hs_container_usage(r->container, &usage, err);
    if (rc < 0)
        return rc;
    entry = &r->times[r->time_count++];
    entry->hash = hs_usage_hash(collection, key);
    return hs_usage_find(hs_container_pager(r->container), usage, entry->hash, &entry->times, err);
}

static int
rebuild_compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(h5store_id));
}

/* The blobs of items that come along, and those that are kept by themselves. */
static int
rebuild_wanted(struct rebuild *r, h5store_err *err)
{
    HS_CLEANUP(hs_names_release) hs_names names = {0};
    int rc = rebuild_names(r->old, "/kept", &names, err);

    for (size_t i = 0; rc == H5STORE_OK && i < names.count; i++) {
        h5store_id id;

        if (h5store_id_parse(names.names[i], &id, NULL) == H5STORE_OK)
            rc = hs_id_list_add(&r->wanted, &id, err);
    }
    if (r->wanted.count > 0)
        qsort(r->wanted.ids, r->wanted.count, sizeof *r->wanted.ids, rebuild_compare_ids);
    for (size_t i = 0; rc == H5STORE_OK && i < r->wanted.count; i++) {
        const h5store_id *id = &r->wanted.ids[i];
        size_t before = r->blobs.count;
        uint64_t address;

        if (i > 0 && h5store_id_equal(id, id - 1))
            continue;
        if (hs_blob_find(r->old, id, &address, NULL) < 0)
            return H5STORE_DONE;
        rc = rebuild_blob(r, address, err);
        if (rc == H5STORE_OK && r->blobs.count == before)
            rc = H5STORE_DONE; /* its count of links is wrong */
    }
    return rc;
}

/* A fresh table of the times that come along. */
static int
rebuild_set_times(struct rebuild *r, h5store_err *err)
{
    hs_container *c = r->container;
    hs_usage *usage;
    int rc = hs_container_usage_clear(c, err);

    if (rc == H5STORE_OK)
        rc = hs_container_usage(c, &usage, err);
    for (size_t i = 0; rc == H5STORE_OK && i < r->time_count; i++)
        rc = hs_usage_set(hs_container_pager(c), hs_container_space(c), usage, r->times[i].hash,
                          r->times[i].times, true, hs_container_sequence(c), err);
    return rc;
}

static int
rebuild_some(struct rebuild *r, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_group) hid_t items = H5Gopen2(r->old, "/items", H5P_DEFAULT);
    const hs_item_visitor look = {
        .item = rebuild_look_at, .context = r, .refuses_depth = true, .refuses_damage = true};
    const hs_item_visitor make = {.item = rebuild_item,
                                  .collection = rebuild_source,
                                  .context = r,
                                  .refuses_depth = true,
                                  .refuses_damage = true};
    int rc = items < 0 ? H5STORE_DONE : hs_item_visit(r->container, items, NULL, &look, err);

    if (rc == H5STORE_OK)
        rc = rebuild_wanted(r, err);
    if (rc == H5STORE_OK)
        rc = rebuild_kept(r, true, err);
    if (rc == H5STORE_OK)
        rc = hs_item_visit(r->container, items, NULL, &make, err);
    return rc == H5STORE_OK ? rebuild_set_times(r, err) : rc;
}

/* ---- the whole -------------------------------------------------------- */

/* All was made, or not: the one commit, or nothing. */
static int
rebuild_end(struct rebuild *r, int rc, h5store_err *err)
{
    rc = hs_container_verdict(r->container, rc, err);
    if (rc == H5STORE_OK)
        rc = hs_container_rebuild_commit(r->container, r->extents, r->extent_count, err);
    else
        hs_container_rebuild_abort(r->container);
    if (rc == H5STORE_E_DAMAGED)
        rc = H5STORE_DONE;
    free(r->blobs.sizes);
    free(r->extents);
    free(r->times);
    hs_id_list_release(&r->wanted);
    return rc;
}

int
hs_rebuild_without(hs_container *c, hs_rebuild_gone_fn gone, void *context, h5store_err *err)
{
    struct rebuild r = {.container = c, .gone = gone, .context = context};
    int rc = hs_container_read_begin(c, NULL, err);

    if (rc < 0)
        return rc;
    r.most = hs_container_space(c)->counters.items / 8;
    hs_container_read_end(c);
    rc = hs_container_rebuild_begin(c, false, &r.old, &r.fresh, err);
    return rc < 0 ? rc : rebuild_end(&r, rebuild_some(&r, err), err);
}

static int
rebuild_all(struct rebuild *r, bool with_items, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_group) hid_t items = H5I_INVALID_HID;
    const hs_item_visitor visitor = {
        .item = rebuild_item, .collection = rebuild_source, .context = r, .refuses_damage = true};
    int rc = with_items ? rebuild_blobs(r, err) : H5STORE_OK;

    if (rc == H5STORE_OK)
        rc = rebuild_kept(r, with_items, err);
    if (rc < 0 || !with_items)
        return rc;
    items = H5Gopen2(r->old, "/items", H5P_DEFAULT);
    if (items < 0)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "container '%s' has no group '/items'",
                          hs_container_path(r->container));
    return hs_item_visit(r->container, items, NULL, &visitor, err);
}

int
hs_rebuild(hs_container *c, bool with_items, bool low, h5store_err *err)
{
    struct rebuild r = {.container = c};
    int rc = hs_container_rebuild_begin(c, low, &r.old, &r.fresh, err);

    if (rc < 0)
        return rc;
    rc = rebuild_all(&r, with_items, err);
    if (rc == H5STORE_OK && low)
        rc = hs_container_rebuild_tables(c, err);
    if (rc == H5STORE_OK && !with_items)
        rc = hs_container_usage_clear(c, err);
    return rebuild_end(&r, rc, err);
}

bool
hs_rebuild_is_quick(const hs_space *space)
{
    return space->counters.items + space->counters.blobs <= REBUILD_QUICK;
}

/*
 * When half of the metadata is waste, and that is not little.  So much is made again and again in
 * between that making the rest anew costs a part of it.
 */
bool
hs_rebuild_pays(const hs_space *space)
{
    uint64_t waste = hs_space_waste(space);

    return hs_rebuild_is_quick(space) && waste > REBUILD_LEAST &&
           waste > space->blocks.metadata_bytes / 2;
}
