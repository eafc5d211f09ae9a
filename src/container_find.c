/* SPDX-License-Identifier: MIT */
/*
 * Objects by their paths, in a scope; see container.h.  No HDF5 is needed for it (groups.h); where
 * a write scope uses it, the same knowledge saves HDF5 the walk from the root.
 */
#include "container_impl.h"
#include "h5util.h"
#include "vfd_compat.h"
#include <assert.h>

int
hs_container_find(hs_container *c, const char *path, uint64_t *address, h5store_err *err)
{
    hid_t file;
    int rc;

    assert(c->scope != SCOPE_NONE);
    if (!c->scope_hdf5) {
        rc = hs_groups_find(c->groups, &c->pager, path, address, err);
        if (rc != H5STORE_E_DAMAGED || c->scope == SCOPE_WRITE)
            return rc;
    }
    rc = hs_container_use_hdf5(c, &file, err);
    return rc < 0 ? rc : hs_h5_find(file, path, address, err);
}

hid_t
hs_container_group(hs_container *c, const char *path)
{
    hid_t group = H5I_INVALID_HID;
    uint64_t address;

    assert(c->scope != SCOPE_NONE && c->scope_hdf5);
    if (!c->groups_go && c->old_file < 0 &&
        hs_groups_find(c->groups, &c->pager, path, &address, NULL) == H5STORE_OK)
        group = hs_open_at(c->file, address);
    if (group < 0)
        (void)H5Eclear2(H5E_DEFAULT);
    return group;
}

void
hs_container_removes_groups(hs_container *c)
{
    assert(c->scope == SCOPE_WRITE);
    c->groups_go = true;
}

int
hs_container_link_list(hs_container *c, hid_t *list, h5store_err *err)
{
    int rc = H5STORE_OK;

    assert(c->scope == SCOPE_WRITE && c->scope_hdf5);
    if (c->link_list < 0)
        rc = hs_h5_link_list(&c->link_list, err);
    *list = c->link_list;
    return rc;
}

int
hs_container_group_list(hs_container *c, hid_t *list, h5store_err *err)
{
    int rc = H5STORE_OK;

    assert(c->scope == SCOPE_WRITE && c->scope_hdf5);
    if (c->group_list < 0)
        rc = hs_h5_group_list(&c->group_list, err);
    *list = c->group_list;
    return rc;
}
