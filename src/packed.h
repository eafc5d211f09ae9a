/* SPDX-License-Identifier: MIT */
/*
 * Packed blobs: datasets whose chunks went through HDF5's filters "shuffle" and "deflate".
 * FORMAT.md, "Packed blobs", is the specification.
 *
 * The packed chunks lie in one extent, like the bytes of any blob, one behind the other in any
 * order.  They are made (deflate.h) and written by us, past HDF5, which is told only where
 * each one lies.  Its index, a "fixed array" in the metadata, is read without it.
 */
#ifndef HS_PACKED_H
#define HS_PACKED_H

#include "array.h"
#include "container.h"
#include "digest.h"
#include "ohdr.h"

typedef struct hs_packed_chunk {
    uint64_t offset; /* from the beginning of the extent */
    uint64_t length;
    bool raw; /* neither shuffled nor deflated: it would not get smaller */
} hs_packed_chunk;

/* All zeros: not packed. */
typedef struct hs_packed {
    hs_layout layout;
    size_t chunk_size; /* bytes of a chunk before packing */
    size_t item;       /* bytes that are shuffled; 1: the filter is not there */
    int level;
    hs_packed_chunk *chunks; /* owned */
    size_t count;
} hs_packed;

void hs_packed_release(hs_packed *packed);

static inline bool
hs_is_packed(const hs_packed *packed)
{
    return packed->count > 0;
}

/* Bytes of the extent that the chunks take. */
uint64_t hs_packed_length(const hs_packed *packed);

/* ---- the dataset (packed.c) ------------------------------------------- */

/*
 * How an array would be cut.  *packed is not packed afterwards if it is too small or cannot be
 * cut.  @p level: 1 to 9.  NOMEM.
 */
int hs_packed_plan(const h5store_array *array, size_t itemsize, int level, hs_packed *packed,
                   h5store_err *err);

/* Read a dataset's index, and find the extent.  DAMAGED unless all of it is sound. */
int hs_packed_parse(hs_pager *pager, const hs_ohdr *header, uint64_t eoa, hs_packed *packed,
                    hs_extent *extent, h5store_err *err);

/* In a write scope, for a new dataset: its creation list; then tell HDF5 where the chunks are. */
int hs_packed_set_filters(const hs_packed *packed, hid_t creation_list, h5store_err *err);
int hs_packed_announce(hs_container *container, hid_t dataset, const hs_packed *packed,
                       hs_extent extent, h5store_err *err);

/*
 * In a transaction of the pager: let the chunks of a dataset lie elsewhere, or be other ones of
 * the same size before packing.  HDF5 handles must be opened anew.  DAMAGED, IO, NOMEM.
 */
int hs_packed_rewrite(hs_pager *pager, const hs_ohdr *header, const hs_packed *packed,
                      hs_extent extent, h5store_err *err);

/* Blocks of metadata that the index takes: its header and its entries. */
int hs_packed_blocks(hs_pager *pager, const hs_ohdr *header, hs_ohdr_block blocks[2],
                     h5store_err *err);

/* ---- the bytes (packed_bytes.c) --------------------------------------- */

/* Where they are read and written. */
typedef struct hs_packed_file {
    int fd;
    const char *path;
    int threads;
} hs_packed_file;

hs_packed_file hs_packed_file_of(const hs_container *container);

/* Would packing pay, and is it worth while to shuffle?  Tries some kilobytes here and there.
 * NOMEM. */
int hs_packed_try(hs_packed *packed, const hs_source *source, bool *pays, h5store_err *err);

/*
 * Pack an array into an extent by several threads.  *fits: it did; otherwise nothing of what
 * was written is of use.  IO, NO_SPACE, NOMEM.
 */
int hs_packed_write(hs_packed_file file, hs_packed *packed, const hs_source *source,
                    hs_extent extent, bool *fits, h5store_err *err);

/* Unpack @p size bytes of an array, from @p from on.  DAMAGED, IO, NOMEM. */
int hs_packed_read(hs_packed_file file, const hs_packed *packed, hs_extent extent, uint64_t from,
                   void *buffer, uint64_t size, h5store_err *err);

/* Take the digests of all pieces of the array, unpacking some megabytes at a time. */
int hs_packed_digest(hs_packed_file file, const hs_packed *packed, hs_extent extent, uint64_t size,
                     hs_tree *tree, bool sha, bool sum, h5store_err *err);

#endif
