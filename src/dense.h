/* SPDX-License-Identifier: MIT */
/*
 * The links of a large group, read without HDF5.
 *
 * Up to eight links lie in the group's object header; more lie in a fractal heap, as link
 * messages, and a B-tree of version 2 has their hashes and places (HDF5 File Format
 * Specification, version 3, III.A.2 and III.G).  Called by whoever walks groups with a pager
 * of its own: salvage.c, for which this reads what is left of heap and tree when parts of
 * them are damaged.
 */
#ifndef HS_DENSE_H
#define HS_DENSE_H

#include "ohdr.h"

/* A direct block of a heap, found by its signature. */
typedef struct hs_dense_block {
    uint64_t address;
    uint64_t heap;   /* the heap that it says it belongs to */
    uint64_t offset; /* of its first byte in the heap */
} hs_dense_block;

/*
 * Called for each hard link; the name is valid until it returns.  @p sure: both checksum and
 * tree vouch for the link.  Otherwise the name alone is vouched for: by its hash in the tree,
 * when the checksum of the block is wrong; or by the checksum of the block, when the tree has
 * gaps, and then the link may have been removed since.  Anything but OK ends the walk.
 */
typedef int (*hs_dense_fn)(const hs_ohdr_link *link, bool sure, void *context, h5store_err *err);

/*
 * Tell all links of the group with this heap and tree of names (UINT64_MAX: not known), in no
 * order.  @p strays, if any, are direct blocks of this heap that were found elsewhere.
 *
 * DAMAGED: some links could not be read; all others have been told.  IO, NOMEM, and what the
 * callback returned.
 */
int hs_dense_links(hs_pager *pager, uint64_t heap, uint64_t tree, const hs_dense_block *strays,
                   size_t stray_count, hs_dense_fn tell, void *context, h5store_err *err);

/* Is there a direct block at the beginning of these bytes? */
#define HS_DENSE_HEAD_SIZE 17u
bool hs_dense_parse_block(const uint8_t bytes[HS_DENSE_HEAD_SIZE], uint64_t address,
                          hs_dense_block *block);

#endif
