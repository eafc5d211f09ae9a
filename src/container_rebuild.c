/* SPDX-License-Identifier: MIT */
/*
 * Making the HDF5 metadata of a container anew, over the same array bytes.
 *
 * HDF5 does not tell which of its metadata it no longer needs, so what is not given back by
 * those who know (space_blocks.c) is waste.  A rebuild makes a second tree of groups and
 * datasets in space of its own while the first can still be read:
 *
 *   begin    the old tree is opened for reading, by a driver file of its own; the metadata
 *            space of the container starts over; an empty tree is created
 *   between  the caller copies what is to stay; an array's bytes stay where they are
 *   commit   every byte below the end that nothing is known to use becomes loose; the new
 *            pages, the superblock with the new root among them, are one record of the log
 *
 * So a rebuild is a commit like any other: killed at any instruction the container is as before
 * or as after, and other processes open their handle anew (I1, I2).  The space of the old tree
 * is punched when the record has been applied, and nobody pins it: it may hold arrays that
 * were removed and are still mapped.
 */
#include "container_impl.h"
#include "h5util.h"

int
hs_container_rebuild_begin(hs_container *c, bool low, hid_t *old, hid_t *fresh, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_plist) hid_t fapl = H5I_INVALID_HID;
    hid_t file;
    int rc = hs_container_write_begin(c, &file, err);

    if (rc < 0)
        return rc;
    container_close_stale(c);
    c->old_host = (hs_vfd_host){.pager = &c->pager, .space = &c->space};
    rc = hs_vfd_access_list(&c->old_host, &fapl, err);
    if (rc == H5STORE_OK) {
        c->old_file = H5Fopen(c->path, H5F_ACC_RDONLY, fapl);
        if (c->old_file < 0)
            rc = hs_h5_fail(err, H5STORE_E_DAMAGED, "container '%s' cannot be opened by HDF5",
                            c->path);
    }
    hs_space_start_metadata(&c->space);
    c->space.low_first = low; /* for the empty tree, too */
    if (rc == H5STORE_OK)
        rc = container_create_tree(c, &c->file, err);
    if (rc < 0) {
        hs_container_rebuild_abort(c);
        return rc;
    }
    *old = c->old_file;
    *fresh = c->file;
    return H5STORE_OK;
}

bool
hs_container_is_alone(hs_container *c)
{
    bool alone;

    if (container_enter(c, NULL) < 0)
        return false;
    alone = hs_lock_take(c->locks, HS_LOCK_MEMBER, HS_EXCLUSIVE, 0, NULL) == H5STORE_OK;
    if (alone)
        (void)hs_lock_take(c->locks, HS_LOCK_MEMBER, HS_SHARED, 0, NULL);
    container_leave(c);
    return alone;
}

static void
rebuild_close_old(hs_container *c)
{
    if (c->old_file >= 0)
        (void)H5Fclose(c->old_file);
    c->old_file = H5I_INVALID_HID;
}

void
hs_container_rebuild_abort(hs_container *c)
{
    rebuild_close_old(c);
    hs_container_abort(c);
}

int
hs_container_rebuild_tables(hs_container *c, h5store_err *err)
{
    hs_usage *usage;
    int rc = hs_container_usage(c, &usage, err);

    if (rc == H5STORE_OK)
        rc = hs_usage_move(&c->pager, &c->space, usage, c->wal.next_sequence, err);
    if (rc == H5STORE_OK)
        rc = hs_space_move_table(&c->space, &c->pager, c->wal.next_sequence, err);
    c->usage_changed = true;
    return rc;
}

int
hs_container_rebuild_commit(hs_container *c, const hs_extent *used, size_t count, h5store_err *err)
{
    hs_usage *usage;
    int rc = hs_container_usage(c, &usage, err);

    rebuild_close_old(c);
    if (rc == H5STORE_OK)
        rc = hs_container_verdict(c, rc, err);
    if (rc == H5STORE_OK) {
        const hs_extent tables[2] = {usage->table, usage->misses};

        rc = hs_space_loosen_rest(&c->space, used, count, tables, 2, c->wal.next_sequence, err);
    }
    if (rc < 0) {
        hs_container_abort(c);
        return rc;
    }
    return hs_container_commit(c, NULL, 0, err);
}
