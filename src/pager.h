/* SPDX-License-Identifier: MIT */
/*
 * The container file as HDF5 and the space table see it: the bytes of the file, with
 * the committed pages that are not applied yet laid over them, and inside a
 * transaction the pending ones over those.
 *
 * Owned by container.c, which holds its mutex round every call.  Knows nothing of the
 * log: what is pending becomes committed or is dropped by container.c.
 */
#ifndef HS_PAGER_H
#define HS_PAGER_H

#include "overlay.h"

typedef struct hs_pager {
    int fd;           /* of the container file; owned by container.c */
    const char *path; /* for messages */
    hs_overlay committed;
    hs_overlay pending;
    bool in_transaction; /* writes are kept; otherwise they are dropped */
} hs_pager;

/* Read @p size bytes; beyond the end of the file there are zeros. */
int hs_pager_read(hs_pager *pager, uint64_t address, void *buffer, size_t size, h5store_err *err);

/*
 * Write into the pending pages.  Pages whose bytes do not change are not held, and
 * need not be logged.  Outside a transaction nothing happens: HDF5 rewrites its
 * superblock when it closes a file that it could have written.
 */
int hs_pager_write(hs_pager *pager, uint64_t address, const void *buffer, size_t size,
                   h5store_err *err);

/* Have blocks for a range, so that applying the log needs none.  NO_SPACE. */
int hs_pager_reserve(hs_pager *pager, uint64_t address, uint64_t size, h5store_err *err);

/*
 * Zero a page-aligned range, held and logged whatever the file has there.  For space that
 * held something else before: its bytes in the file may come back after a power cut.
 */
int hs_pager_zero(hs_pager *pager, uint64_t address, uint64_t size, h5store_err *err);

#endif
