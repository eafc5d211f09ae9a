/* SPDX-License-Identifier: MIT */
/*
 * Contents that can be told right from wrong without being kept: an array, an output and
 * metadata are functions of a small number, which stands in the output.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <h5store/h5store.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Fill and compare @p size bytes (a multiple of 8).  What sample_put packs gets smaller by it. */
void sample_fill(void *buffer, size_t size, uint64_t seed);
bool sample_is(const void *buffer, size_t size, uint64_t seed);

/* An array of '<f8' over a buffer. */
h5store_array sample_array(const void *buffer, size_t size);

/* How many bytes the array of a seed has: at most SAMPLE_MOST, a few of them inline. */
#define SAMPLE_MOST 40000
size_t sample_size(uint64_t seed);

/* How many packed arrays were read by this process, and found right. */
extern atomic_uint_least64_t sample_unpacked;

/* Put the array of a seed into a batch; those of one size are packed. */
int sample_put(h5store_batch *batch, uint64_t seed, h5store_id *id, h5store_err *err);

#define SAMPLE_ARRAYS 8 /* of one item, at most */

/* Put @p count arrays, of the seeds from @p seed on, and note an item over them. */
int sample_set(h5store_batch *batch, const char *collection, const char *key, uint64_t seed,
               size_t count, h5store_err *err);

/* The same as one commit. */
int sample_set_item(h5store *store, const char *collection, const char *key, uint64_t seed,
                    size_t count, h5store_err *err);

/* Is an open item the one of some seed, in output, metadata and bytes?  If so *seed tells.
 * @p mapped: through mappings instead of reads.  Codes of the calls inside; DAMAGED is never
 * made here: what is wrong without an error is returned as 1. */
int sample_check_item(h5store_item *item, bool mapped, uint64_t *seed, h5store_err *err);

#endif
