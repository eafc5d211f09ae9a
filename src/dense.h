/* SPDX-License-Identifier: MIT */
/*
 * The links of a large group, read without HDF5.
 *
 * Up to eight links lie in the group's object header; more lie in a fractal heap, as link
 * messages, and a B-tree of version 2 has their hashes and places (HDF5 File Format
 * Specification, version 3, III.A.2 and III.G).  salvage.c walks all links, also what is left of
 * them when parts of heap and tree are damaged; item.c those of an item with many arrays; groups.c
 * looks for one by its name.
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

/*
 * Where hs_dense_find gets the parts of heap and tree from: whoever looks again and again keeps
 * them.  `get` gives @p size bytes at @p address of which @p is_sound said that they are good; it
 * may change the copy that it is given.  With another @p tag they are not the same part.  The bytes
 * stay until hs_dense_find returns.  DAMAGED: they are not sound; IO, NOMEM.
 */
typedef bool (*hs_dense_sound_fn)(uint8_t *bytes, size_t size, const void *what);
typedef struct hs_dense_parts {
    int (*get)(const struct hs_dense_parts *parts, uint64_t address, size_t size, uint64_t tag,
               hs_dense_sound_fn is_sound, const void *what, const uint8_t **bytes,
               h5store_err *err);
    void *context;
} hs_dense_parts;

/* The address that a hard link leads to.  NOT_FOUND; DAMAGED: a part on the way is not sound, or
 * not such as HDF5 writes for our groups; and what `get` returned. */
int hs_dense_find(const hs_dense_parts *parts, uint64_t heap, uint64_t tree, const char *name,
                  size_t length, uint64_t *address, h5store_err *err);

/* Is there a direct block at the beginning of these bytes? */
#define HS_DENSE_HEAD_SIZE 17u
bool hs_dense_parse_block(const uint8_t bytes[HS_DENSE_HEAD_SIZE], uint64_t address,
                          hs_dense_block *block);

#endif
