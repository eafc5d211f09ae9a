/* SPDX-License-Identifier: MIT */
/*
 * Commits without HDF5: object headers that are made and changed by ourselves, in a write scope
 * that was begun without it.  See container.h.
 *
 * The pages say it all then, HDF5 has nothing to flush, and its handle, if there is one, is of no
 * use afterwards.  To open another takes some time more than two commits with HDF5 lose against two
 * without it.  So two go on with HDF5 after one that needed it, and twice as many each time when it
 * is needed again soon, as where most groups are large and have their links in heaps.
 */
#include "container_impl.h"
#include <assert.h>

#define HEADERS_PAUSE 2u       /* commits with HDF5 after one that needed it, at least, */
#define HEADERS_PAUSE_MOST 64u /* and at most */
#define HEADERS_SOON 8u        /* commits without it, after which that is forgotten */

static void
headers_assert(const hs_container *c)
{
    assert(c->scope == SCOPE_WRITE && !c->scope_hdf5);
    (void)c;
}

/* Blocks of a header have changed. */
static void
headers_changed(hs_container *c, const hs_ohdr *header)
{
    for (size_t i = 0; i < header->block_count; i++) {
        const hs_ohdr_block *block = &header->blocks[i];

        for (uint64_t page = block->address / HS_PAGE_SIZE;
             page * HS_PAGE_SIZE < block->address + block->length; page++)
            hs_groups_changed(c->groups, page);
    }
    c->scope_headers = true;
}

bool
hs_container_may_spare_hdf5(const hs_container *c)
{
    return c->headers_pause == 0;
}

/* Drop what the scope has changed. */
static int
headers_drop(hs_container *c, h5store_err *err)
{
    if (!c->scope_headers)
        return H5STORE_OK;
    c->scope_headers = false;
    hs_overlay_clear(&c->pager.pending);
    hs_groups_forget(c->groups);
    hs_space_forget(&c->space);
    c->usage_loaded = c->usage_changed = false;
    return container_load_space(c, err);
}

int
hs_container_resort_to_hdf5(hs_container *c, hid_t *file, h5store_err *err)
{
    int rc;

    headers_assert(c);
    if (c->headers_pause > 0) {
        c->headers_pause--;
    } else {
        c->headers_length = c->headers_spared < HEADERS_SOON
                                ? (unsigned)hs_min(2 * c->headers_length, HEADERS_PAUSE_MOST)
                                : 0;
        c->headers_length = (unsigned)hs_max(c->headers_length, HEADERS_PAUSE);
        c->headers_pause = c->headers_length;
        c->headers_spared = 0;
    }
    rc = headers_drop(c, err);
    return rc < 0 ? rc : hs_container_use_hdf5(c, file, err);
}

int
hs_container_group_header(hs_container *c, const char *path, const hs_ohdr **header,
                          h5store_err *err)
{
    headers_assert(c);
    return hs_groups_open(c->groups, &c->pager, path, header, err);
}

int
hs_container_make_header(hs_container *c, hs_draft *draft, uint64_t *address, h5store_err *err)
{
    headers_assert(c);
    c->scope_headers = true;
    return hs_draft_write(draft, &c->space, &c->pager, address, err);
}

int
hs_container_add_link(hs_container *c, const hs_ohdr *group, const char *name, size_t length,
                      uint64_t address, h5store_err *err)
{
    int rc;

    headers_assert(c);
    rc = hs_ohdr_add_link(&c->pager, &c->space, group, name, length, address, err);
    headers_changed(c, group);
    return rc;
}

int
hs_container_remove_link(hs_container *c, const hs_ohdr *group, const char *name, size_t length,
                         h5store_err *err)
{
    int rc;

    headers_assert(c);
    rc = hs_ohdr_remove_link(&c->pager, group, name, length, err);
    headers_changed(c, group);
    return rc;
}

int
hs_container_change_references(hs_container *c, uint64_t address, int64_t more, h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    int rc;

    headers_assert(c);
    rc = hs_ohdr_read(&c->pager, address, &header, err);
    if (rc < 0)
        return rc;
    rc = hs_ohdr_change_references(&c->pager, &header, more, err);
    headers_changed(c, &header);
    return rc;
}

int
hs_container_unlink_settled(hs_container *c, uint64_t group, const char *name, size_t length,
                            h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    int rc = hs_ohdr_read(&c->pager, group, &header, err);

    assert(c->scope == SCOPE_WRITE && c->scope_hdf5);
    if (rc == H5STORE_OK)
        rc = hs_ohdr_remove_link(&c->pager, &header, name, length, err);
    headers_changed(c, &header);
    return rc;
}
