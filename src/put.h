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
    HS_PUT_MENDED   /* the same, but a reader found them damaged: they were written again, in
                       place or, if they are packed, to an extent of ours */
} hs_put_state;

typedef struct hs_put {
    h5store_id id;
    h5store_array array; /* dtype is owned; data points to inline_bytes or nothing */
    hs_layout layout;
    hs_extent extent; /* pinned unless its length is 0 */
    hs_packed packed; /* how they lie there if they are packed; layout is not of that */
    uint64_t sum;
    uint8_t *type; /* of one that was written: dtype.h's message; owned; NULL: not known */
    size_t type_size;
    hs_put_state state;
    uint64_t probe;      /* of what is moderately large; else 0 */
    h5store_id likely;   /* the name of an array that this process put and that looked the same */
    bool is_likely;      /* there is one */
    bool is_absent;      /* it was looked for, and was not there, */
    uint64_t generation; /* as of this generation of the container */
    uint8_t inline_bytes[HS_ARRAY_INLINE];
} hs_put;

/*
 * Check the array and take its name: of one that is probably known by comparing, else by hashing.
 * An array that is probably new is written meanwhile, unless it is to be packed (@p level 1 to 9;
 * 0: no).
 * *put is released with hs_put_release, and before that given up with hs_put_abandon unless
 * it is stored.
 */
int hs_put_begin(hs_container *container, const h5store_array *array, int level, hs_put **put,
                 h5store_err *err);

/*
 * The same for @p count arrays at a time, none of which is to be packed; each is hashed, and
 * written if it is probably new, by one thread, several arrays at once, and the space for all is
 * reserved in one commit.  For arrays of up to HS_PUT_TOGETHER bytes, which would not keep
 * several threads busy one by one.  All or none: on failure there is nothing to abandon.
 */
#define HS_PUT_TOGETHER ((uint64_t)4 * 1024 * 1024)
int hs_put_begin_all(hs_container *container, const h5store_array *arrays, size_t count,
                     hs_put **puts, h5store_err *err);

/*
 * See to it that its bytes are in the container.  *found: they were there already.  On failure
 * there is nothing left to abandon.  INVALID: they were changed since they were named.
 */
int hs_put_store(hs_container *container, hs_put *put, const h5store_array *array, int level,
                 bool *found, h5store_err *err);

/* What its dataset is made of. */
hs_blob_parts hs_put_parts(const hs_put *put);

/* Give up an extent that is not to be committed. */
void hs_put_abandon(hs_container *container, hs_put *put);

/* The memory; NULL is allowed.  An extent stays pinned. */
void hs_put_release(hs_put *put);
void hs_put_releasep(hs_put **put);

#endif
