/* SPDX-License-Identifier: MIT */
/*
 * HDF5's filters "shuffle" and "deflate" for one chunk at a time, many times faster than
 * HDF5's own: libdeflate does the deflating, and any number of threads may.  What they make,
 * HDF5's filters read, and the other way round.
 */
#ifndef HS_DEFLATE_H
#define HS_DEFLATE_H

#include "error.h"

/* The level of HDF5's filter: 1 is fast, 9 is small. */
#define HS_DEFLATE_LEAST 1
#define HS_DEFLATE_MOST 9

/*
 * First all first bytes of the items, then all second ones, and so on; and back.  @p size is
 * a multiple of @p item, which is 1 or more; the two do not overlap.
 */
void hs_shuffle(const void *from, size_t size, size_t item, void *to);
void hs_unshuffle(const void *from, size_t size, size_t item, void *to);

/* What a thread needs for one chunk after the other: tables, and memory for a chunk. */
typedef struct hs_deflater hs_deflater;

/* @p size: of the largest chunk.  @p level 0: for inflating only.  NOMEM. */
int hs_deflater_new(size_t size, int level, hs_deflater **deflater, h5store_err *err);
void hs_deflater_freep(hs_deflater **deflater);

/*
 * Shuffle (unless items have one byte) and deflate @p size bytes into at most @p room.
 * Returns the length, or 0: they do not fit.
 */
size_t hs_deflate(hs_deflater *deflater, const void *bytes, size_t size, size_t item, void *packed,
                  size_t room);

/* Back to exactly @p size bytes.  False when that is not what the packed bytes give. */
bool hs_inflate(hs_deflater *deflater, const void *packed, size_t length, size_t item, void *bytes,
                size_t size);

#endif
