/* SPDX-License-Identifier: MIT */
/*
 * Putting one array: from its description and its bytes in memory to a name and an extent
 * that holds them.  batch.c commits what was put.
 */
#ifndef HS_PUT_H
#define HS_PUT_H

#include "blob.h"

/* What became of the bytes. */
typedef enum hs_put_state {
    HS_PUT_WRITTEN, /* they are in an extent of ours, or inline */
    HS_PUT_FOUND,   /* the container had them already; its extent is pinned by us */
    HS_PUT_MENDED   /* the same, but a reader found them damaged: they were written again */
} hs_put_state;

typedef struct hs_put {
    h5store_id id;
    h5store_array array; /* dtype is owned; data points to inline_bytes or nothing */
    hs_layout layout;
    hs_extent extent;    /* pinned unless its length is 0 */
    uint64_t sum;
    hs_put_state state;
    uint8_t inline_bytes[HS_ARRAY_INLINE];
} hs_put;

/*
 * Check the array and take its name.  An array that is probably new is written meanwhile.
 * *put is released with hs_put_release, and before that given up with hs_put_abandon unless
 * it is stored.
 */
int hs_put_begin(hs_container *container, const h5store_array *array, hs_put **put,
                 h5store_err *err);

/*
 * See to it that its bytes are in the container.  *found: they were there already.  On failure
 * there is nothing left to abandon.  INVALID: they were changed since they were named.
 */
int hs_put_store(hs_container *container, hs_put *put, const h5store_array *array, bool *found,
                 h5store_err *err);

/* Give up an extent that is not to be committed. */
void hs_put_abandon(hs_container *container, hs_put *put);

/* The memory; NULL is allowed.  An extent stays pinned. */
void hs_put_release(hs_put *put);
void hs_put_releasep(hs_put **put);

#endif
