/* SPDX-License-Identifier: MIT */
/*
 * See recover.h.
 *
 * The log of commits survives a power cut up to where it was synced; the bytes of arrays
 * are not synced for each commit.  So a record may have survived whose array did not.  The
 * log lists the blobs of every commit that is not known to be on the disk as a whole;
 * each is read and compared with its checksum.  Nobody else gets in meanwhile: this process
 * holds MEMBER exclusive.
 */
#include "recover.h"
#include "extent.h"
#include "h5util.h"
#include "item.h"
#include "reader.h"

/* Is a blob of the log present, and torn? */
static int
recover_look(hs_container *c, const h5store_id *id, bool *torn, h5store_err *err)
{
    bool sum_right = true, name_right = true;
    hs_blob blob;
    int rc = hs_reader_find_blob(c, id, &blob, err);

    *torn = rc == H5STORE_E_DAMAGED;
    if (rc == H5STORE_E_NOT_FOUND || rc == H5STORE_E_DAMAGED)
        return H5STORE_OK;
    if (rc < 0)
        return rc;
    rc = hs_reader_check(c, &blob, H5STORE_CHECK_FULL, &sum_right, &name_right, err);
    hs_reader_release_blob(c, &blob);
    if (rc == H5STORE_E_DAMAGED)
        sum_right = false, rc = H5STORE_OK;
    *torn = !sum_right || !name_right;
    return rc;
}

/* Does an item link to a torn blob, or is it damaged itself?  NOMEM, IO. */
static int
recover_look_at_item(hs_container *c, uint64_t address, const hs_id_list *torn, bool *is_torn,
                     h5store_err *err)
{
    HS_CLEANUP(hs_item_release) hs_item item = {0};
    int rc = hs_item_read(c, address, false, &item, err);

    *is_torn = false;
    for (size_t i = 0; rc == H5STORE_OK && !*is_torn && i < item.link_count; i++) {
        hs_blob_brief brief;

        rc = hs_blob_brief_of(c, item.links[i], &brief, err);
        for (size_t j = 0; rc == H5STORE_OK && j < torn->count; j++)
            *is_torn = *is_torn || h5store_id_equal(&torn->ids[j], &brief.id);
    }
    if (rc != H5STORE_E_DAMAGED)
        return rc;
    *is_torn = true;
    return H5STORE_OK;
}

struct recover_walk {
    hs_container *container;
    hid_t file;
    const hs_id_list *torn;
    hs_id_list orphans;
    uint64_t items; /* dropped */
};

/* Drop the torn items below a group whose path in terms of collections is @p collection. */
static int
recover_drop_items(struct recover_walk *walk, hid_t group, const char *collection, bool in_fan,
                   int depth, h5store_err *err)
{
    hs_names names;
    int rc;

    if (depth > HS_ITEM_DEPTH)
        return H5STORE_OK; /* a circle, which verify reports */
    rc = hs_names_read(group, &names, err);
    for (size_t i = 0; rc == H5STORE_OK && i < names.count; i++) {
        HS_CLEANUP(hs_h5_close_group) hid_t member = H5Gopen2(group, names.names[i], H5P_DEFAULT);
        HS_CLEANUP(hs_freep) char *name = NULL;
        HS_CLEANUP(hs_freep) char *path = NULL;
        bool is_torn = false;

        if (member < 0) {
            (void)H5Eclear2(H5E_DEFAULT);
            continue;
        }
        rc = hs_item_unescape(names.names[i], &name, err);
        if (rc == H5STORE_OK && in_fan)
            rc = recover_look_at_item(walk->container, names.addresses[i], walk->torn, &is_torn,
                                      err);
        if (rc == H5STORE_OK && is_torn) {
            hs_h5_close_group(&member);
            rc = hs_item_remove(walk->container, walk->file, &(hs_item_name){collection, name}, 1,
                                &walk->orphans, err);
            walk->items++;
        } else if (rc == H5STORE_OK && !in_fan) {
            bool fan = hs_item_is_fan(names.names[i]);

            rc = fan ? H5STORE_OK : hs_item_join(collection, name, &path, err);
            if (rc == H5STORE_OK)
                rc = recover_drop_items(walk, member, fan ? collection : path, fan, depth + 1, err);
        }
    }
    hs_names_release(&names);
    return rc;
}

/* In a write scope: drop torn blobs and what refers to them. */
static int
recover_drop(hs_container *c, hid_t file, const hs_id_list *torn, uint64_t *items, h5store_err *err)
{
    struct recover_walk walk = {.container = c, .file = file, .torn = torn};
    HS_CLEANUP(hs_h5_close_group) hid_t root = H5Gopen2(file, "/items", H5P_DEFAULT);
    char kept[sizeof "/kept/" + H5STORE_ID_TEXT_SIZE] = "/kept/";
    bool dropped;
    int rc;

    if (root < 0)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "container '%s' has no group '/items'",
                          hs_container_path(c));
    rc = recover_drop_items(&walk, root, NULL, false, 0, err);
    for (size_t i = 0; rc == H5STORE_OK && i < torn->count; i++) {
        h5store_id_format(&torn->ids[i], kept + sizeof "/kept/" - 1);
        if (H5Lexists(file, kept, H5P_DEFAULT) > 0)
            (void)H5Ldelete(file, kept, H5P_DEFAULT);
        rc = hs_id_list_add(&walk.orphans, &torn->ids[i], err);
    }
    if (rc == H5STORE_OK)
        rc = hs_blob_drop_unused(c, file, walk.orphans.ids, walk.orphans.count, &dropped, err);
    hs_id_list_release(&walk.orphans);
    *items = walk.items;
    return rc;
}

static int
recover_power(hs_container *c, h5store_err *err)
{
    HS_CLEANUP(hs_freep) hs_wal_blob *blobs = NULL;
    HS_CLEANUP(hs_id_list_release) hs_id_list torn = {0};
    uint64_t items = 0;
    size_t count;
    hid_t file;
    int rc = hs_container_logged_blobs(c, &blobs, &count, err);

    for (size_t i = 0; rc == H5STORE_OK && i < count; i++) {
        bool is_torn;

        rc = recover_look(c, &blobs[i].id, &is_torn, err);
        if (rc == H5STORE_OK && is_torn)
            rc = hs_id_list_add(&torn, &blobs[i].id, err);
    }
    if (rc < 0 || torn.count == 0)
        return rc;
    rc = hs_container_write_begin(c, &file, err);
    if (rc < 0)
        return rc;
    rc = recover_drop(c, file, &torn, &items, err);
    if (rc < 0) {
        hs_container_abort(c);
        return rc;
    }
    rc = hs_container_commit(c, NULL, 0, err);
    if (rc == H5STORE_OK)
        hs_container_add_notice(c,
                                "the machine stopped while container '%s' was in use: %zu of "
                                "its newest arrays had not reached the disk and were dropped, "
                                "with %llu results",
                                hs_container_path(c), torn.count, (unsigned long long)items);
    return rc;
}

int
hs_recover(hs_container *c, bool unclean, h5store_err *err)
{
    int rc = H5STORE_OK;

    if (hs_container_is_read_only(c))
        return H5STORE_OK;
    if (unclean) {
        rc = recover_power(c, err);
        if (rc == H5STORE_OK)
            rc = hs_container_settle(c, err);
        if (rc < 0)
            return rc;
    }
    if (unclean || hs_container_is_half_applied(c))
        (void)hs_container_checkpoint(c, true, NULL); /* if a stock reader is in the way: later */
    (void)hs_extent_reclaim(c, NULL);
    return H5STORE_OK;
}
