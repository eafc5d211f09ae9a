/* SPDX-License-Identifier: MIT */
/*
 * The bytes of an array that is to be hashed or stored, in the order in which they are
 * stored, wherever they lie in memory.
 *
 * An array that does not lie in one piece is never copied as a whole: whoever needs its
 * bytes gathers a run of them at a time, any run at any time, in several threads at once.
 */
#ifndef HS_SOURCE_H
#define HS_SOURCE_H

#include "common.h"
#include <h5store/array.h>

/* A plain value; borrows the memory of the array. */
typedef struct hs_source {
    const uint8_t *data; /* of the first item */
    uint64_t nbytes;
    /* Only for an array with strides: rank is 0 otherwise.  Items are as long as what lies
     * in one piece, which may be more than an element. */
    uint64_t item;
    int rank;
    uint64_t shape[H5STORE_MAX_RANK];
    int64_t strides[H5STORE_MAX_RANK];
} hs_source;

/* Of an array that hs_array_check has passed. */
hs_source hs_source_of(const h5store_array *array);

/* Do all bytes lie at source->data?  Then @p scratch below may be NULL. */
static inline bool
hs_source_is_whole(const hs_source *source)
{
    return source->rank == 0;
}

/* @p size bytes from @p from on: where they are, or copied to @p scratch, which has room for
 * them. */
const uint8_t *hs_source_bytes(const hs_source *source, uint64_t from, size_t size, void *scratch);

#endif
