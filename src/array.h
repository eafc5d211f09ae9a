/* SPDX-License-Identifier: MIT */
/*
 * Checking a caller's description of an array, and planning the dataset for it.
 *
 * batch.c checks and plans, blob.c makes the dataset.  Pure functions: nothing is kept.
 */
#ifndef HS_ARRAY_H
#define HS_ARRAY_H

#include "error.h"
#include <h5store/array.h>
#include <hdf5.h>

/* Arrays of so many bytes or fewer lie in the metadata, as compact datasets. */
#define HS_ARRAY_INLINE 512

typedef struct hs_layout {
    enum { HS_LAYOUT_COMPACT, HS_LAYOUT_CHUNKED } kind;
    int rank;
    hsize_t dims[H5S_MAX_RANK];  /* as HDF5 sees it: reversed for order F */
    hsize_t chunk[H5S_MAX_RANK]; /* of CHUNKED */
    uint64_t extent;             /* of CHUNKED: bytes of all chunks, edge padding included */
    bool flat;                   /* stored 1-D because the shape could not be kept */
} hs_layout;

/*
 * Is the description one that can be stored?  @p need_data: the bytes must be there too.
 * INVALID, UNSUPPORTED, NOMEM; the message names what is wrong.
 */
int hs_array_check(const h5store_array *array, bool need_data, h5store_err *err);

/*
 * Give the same bytes the same description: the order becomes C wherever both orders
 * mean the same, which is when at most one dimension is larger than 1 or one is 0.
 */
void hs_array_normalise(h5store_array *array);

/* The dataset for an array that hs_array_check has passed.  UNSUPPORTED. */
int hs_array_layout(const h5store_array *array, size_t itemsize, hs_layout *layout,
                    h5store_err *err);

/*
 * The same for arrays that are chunked, with the sizes in bytes that a chunk should and may
 * have.  One element may be larger than both.  The array has elements and they have bytes.
 */
int hs_array_layout_for(const h5store_array *array, size_t itemsize, uint64_t target, uint64_t most,
                        hs_layout *layout, h5store_err *err);

#endif
