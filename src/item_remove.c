/* SPDX-License-Identifier: MIT */
/*
 * Removing items and collections; see item.h.
 *
 * HDF5 lowers the counts of what an item links to; here are noted whose counts those were, so
 * that batch.c can let unused blobs go, and which blocks of metadata are free again, which HDF5
 * does not tell.  Items go in the order of their names, group by group: their groups are then
 * opened and kept in HDF5's cache once, and not once for each item.
 */
#include "h5util.h"
#include "item.h"
#include <stdlib.h>

/* The space of a member that is a dataset. */
static int
item_give_member(hs_container *c, const hs_item_member *member, h5store_err *err)
{
    hs_space *space = hs_container_space(c);
    const hs_ohdr *dataset = &member->dataset;

    hs_ohdr_give_back(space, dataset);
    if (dataset->block_count == 0)
        return H5STORE_OK;
    return hs_space_give_metadata(space, dataset->data_address, dataset->data_size,
                                  hs_container_sequence(c), err);
}

int
hs_item_give_up(hs_container *c, const hs_item *item, hs_id_list *orphans, h5store_err *err)
{
    hs_space *space = hs_container_space(c);
    hs_counters *counters = &space->counters;
    int rc;

    counters->items -= hs_min(counters->items, 1);
    for (size_t i = 0; i < item->link_count; i++) {
        hs_blob_brief brief;

        rc = hs_blob_brief_of(c, item->links[i], &brief, err);
        if (rc < 0 && rc != H5STORE_E_DAMAGED)
            return rc;
        counters->links -= hs_min(counters->links, 1);
        counters->linked_bytes -= hs_min(counters->linked_bytes, brief.nbytes);
        if (rc < 0)
            continue; /* its name cannot be read: the next put of that array replaces it */
        rc = hs_id_list_add(orphans, &brief.id, err);
        if (rc < 0)
            return rc;
    }
    if (item->header.references > 1) /* another program gave it a second name */
        return H5STORE_OK;
    hs_ohdr_give_back(space, &item->header);
    rc = item_give_member(c, &item->output, err);
    return rc < 0 ? rc : item_give_member(c, &item->metadata, err);
}

/* Inside HDF5: the same of an item that lies there, if it can be read. */
static int
item_give_up(hs_container *c, uint64_t address, hs_id_list *orphans, h5store_err *err)
{
    HS_CLEANUP(hs_item_release) hs_item item = {0};
    hs_counters *counters = &hs_container_space(c)->counters;
    int rc = hs_item_read(c, address, false, &item, err);

    if (rc == H5STORE_E_DAMAGED) { /* or changed in this very scope */
        rc = hs_container_settle_pages(c, err);
        if (rc == H5STORE_OK)
            rc = hs_item_read(c, address, false, &item, err);
    }
    if (rc == H5STORE_OK)
        return hs_item_give_up(c, &item, orphans, err);
    if (rc != H5STORE_E_DAMAGED)
        return rc;
    counters->items -= hs_min(counters->items, 1);
    return H5STORE_OK; /* damaged: it goes; verify finds what it leaves behind */
}

/* ---- items by name ---------------------------------------------------- */

int
hs_item_compare_names(const void *a, const void *b)
{
    const hs_item_name *left = a, *right = b;
    int order = strcmp(left->collection, right->collection);

    return order != 0 ? order : strcmp(left->key, right->key);
}

/* In the group that holds it: remove one, if it is there. */
static int
item_remove_from(hs_container *c, hid_t fan, const char *name, const hs_item_name *item,
                 hs_id_list *orphans, h5store_err *err)
{
    uint64_t address;
    int rc;

    if (hs_h5_find(fan, name, &address, NULL) < 0)
        return H5STORE_OK;
    rc = item_give_up(c, address, orphans, err);
    if (rc < 0)
        return rc;
    if (H5Ldelete(fan, name, H5P_DEFAULT) < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot remove item '%s' of '%s'",
                                      item->key, item->collection);
    return hs_container_usage_remove(c, item->collection, item->key, err);
}

int
hs_item_remove(hs_container *c, hid_t file, hs_item_name *names, size_t count, hs_id_list *orphans,
               h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_group) hid_t fan = H5I_INVALID_HID;
    HS_CLEANUP(hs_freep) char *open = NULL; /* the path of fan */
    int rc = H5STORE_OK;

    qsort(names, count, sizeof *names, hs_item_compare_names);
    for (size_t i = 0; rc == H5STORE_OK && i < count; i++) {
        HS_CLEANUP(hs_freep) char *path = NULL;
        char *name;

        rc = hs_item_path(names[i].collection, names[i].key, &path, err);
        if (rc < 0)
            break;
        name = strrchr(path, '/');
        *name++ = '\0';
        if (open == NULL || strcmp(open, path) != 0) {
            hs_h5_close_group(&fan);
            fan = H5Gopen2(file, path, H5P_DEFAULT);
            if (fan < 0)
                (void)H5Eclear2(H5E_DEFAULT); /* none of these is there */
        }
        if (fan >= 0)
            rc = item_remove_from(c, fan, name, &names[i], orphans, err);
        free(open);
        open = hs_take(&path);
    }
    return rc;
}

/* ---- collections ------------------------------------------------------ */

/* What the removal of a collection carries along. */
struct item_removal {
    hs_container *container;
    hs_id_list *orphans;
};

static int
item_give_up_one(const char *collection, const char *key, uint64_t address, void *context,
                 h5store_err *err)
{
    const struct item_removal *removal = context;
    int rc = item_give_up(removal->container, address, removal->orphans, err);

    return rc < 0 ? rc : hs_container_usage_remove(removal->container, collection, key, err);
}

int
hs_item_remove_collection(hs_container *c, hid_t file, const char *collection, hs_id_list *orphans,
                          h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *path = NULL;
    HS_CLEANUP(hs_h5_close_group) hid_t group = H5I_INVALID_HID;
    hid_t creation;
    struct item_removal removal = {c, orphans};
    const hs_item_visitor visitor = {
        .item = item_give_up_one, .context = &removal, .refuses_depth = true};
    int rc = hs_item_open(file, collection, NULL, &group, err);

    if (rc < 0)
        return rc == H5STORE_E_NOT_FOUND ? H5STORE_OK : rc;
    hs_container_removes_groups(c);
    rc = hs_item_visit(c, group, collection, &visitor, err);
    if (rc == H5STORE_OK)
        rc = hs_item_path(collection, NULL, &path, err);
    if (rc < 0)
        return rc;
    hs_h5_close_group(&group);
    if (H5Ldelete(file, path, H5P_DEFAULT) < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot remove collection '%s'",
                                      path);
    if (collection != NULL)
        return H5STORE_OK;
    rc = hs_container_group_list(c, &creation, err);
    if (rc < 0)
        return rc;
    group = H5Gcreate2(file, path, H5P_DEFAULT, creation, H5P_DEFAULT);
    return group < 0 ? hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot create '%s'", path)
                     : hs_h5_write_text(group, "path", path, err);
}
