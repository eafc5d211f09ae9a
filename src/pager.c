/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes through the overlays; see pager.h.
 */
#include "pager.h"
#include "os.h"
#include <assert.h>

/* The page as it is now, if it is held. */
static const hs_page *
pager_find(const hs_pager *pager, uint64_t number)
{
    const hs_page *page = pager->in_transaction ? hs_overlay_find(&pager->pending, number) : NULL;

    return page != NULL ? page : hs_overlay_find(&pager->committed, number);
}

/* Are all pages of a range held?  Then nothing of it need be read: what was written lately is
 * read and written again by the next commits. */
static bool
pager_holds(const hs_pager *pager, uint64_t address, size_t size)
{
    uint64_t end;

    if (!hs_add(address, size, &end))
        return false; /* and no file has it */
    for (uint64_t number = address / HS_PAGE_SIZE; number * HS_PAGE_SIZE < end; number++)
        if (pager_find(pager, number) == NULL)
            return false;
    return true;
}

int
hs_pager_read(hs_pager *pager, uint64_t address, void *buffer, size_t size, h5store_err *err)
{
    int rc = H5STORE_OK;

    if (!pager_holds(pager, address, size))
        rc = hs_os_pread(pager->fd, pager->path, buffer, size, address, NULL, err);
    if (rc < 0)
        return rc;
    hs_overlay_patch(&pager->committed, address, buffer, size);
    if (pager->in_transaction)
        hs_overlay_patch(&pager->pending, address, buffer, size);
    return H5STORE_OK;
}

int
hs_pager_write(hs_pager *pager, uint64_t address, const void *buffer, size_t size, h5store_err *err)
{
    uint64_t first = address / HS_PAGE_SIZE;
    uint64_t last = (address + size + HS_PAGE_SIZE - 1) / HS_PAGE_SIZE;
    HS_CLEANUP(hs_freep) uint8_t *old = NULL;
    size_t span;
    int rc;

    if (!pager->in_transaction || size == 0)
        return H5STORE_OK;
    span = (size_t)(last - first) * HS_PAGE_SIZE;
    old = malloc(span);
    if (old == NULL)
        return hs_fail_nomem(err, span, "a metadata write");
    rc = hs_pager_read(pager, first * HS_PAGE_SIZE, old, span, err);
    if (rc < 0)
        return rc;
    for (uint64_t number = first; number < last; number++) {
        uint8_t *page = old + (number - first) * HS_PAGE_SIZE;
        uint64_t from = hs_max(address, number * HS_PAGE_SIZE);
        uint64_t to = hs_min(address + size, (number + 1) * HS_PAGE_SIZE);
        const uint8_t *bytes = (const uint8_t *)buffer + (from - address);

        if (memcmp(page + from % HS_PAGE_SIZE, bytes, to - from) == 0)
            continue;
        memcpy(page + from % HS_PAGE_SIZE, bytes, to - from);
        rc = hs_overlay_set(&pager->pending, number, 0, page, err);
        if (rc < 0)
            return rc;
    }
    return H5STORE_OK;
}

int
hs_pager_zero(hs_pager *pager, uint64_t address, uint64_t size, h5store_err *err)
{
    static const uint8_t zeros[HS_PAGE_SIZE];

    assert(pager->in_transaction && address % HS_PAGE_SIZE == 0 && size % HS_PAGE_SIZE == 0);
    for (uint64_t number = address / HS_PAGE_SIZE; number < (address + size) / HS_PAGE_SIZE;
         number++) {
        int rc = hs_overlay_set(&pager->pending, number, 0, zeros, err);

        if (rc < 0)
            return rc;
    }
    return H5STORE_OK;
}

int
hs_pager_reserve(hs_pager *pager, uint64_t address, uint64_t size, h5store_err *err)
{
    return hs_os_reserve(pager->fd, pager->path, address, size, err);
}
