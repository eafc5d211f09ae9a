/* SPDX-License-Identifier: MIT */
/*
 * Batches: arrays whose bytes are written at once, and changes that are committed
 * together.  The contract is h5store/item.h; this is the same without the handle.
 */
#ifndef HS_BATCH_H
#define HS_BATCH_H

#include "item.h"

typedef struct hs_batch hs_batch;

int hs_batch_new(hs_container *container, hs_batch **batch, h5store_err *err);

/* Pack arrays that are put from now on if that makes them smaller: 1 to 9; 0: no more. */
void hs_batch_compress(hs_batch *batch, int level);
int hs_batch_put(hs_batch *batch, const h5store_array *array, h5store_id *id, h5store_err *err);
/* Several; those that are not large are hashed and written side by side.  OK. */
int hs_batch_put_all(hs_batch *batch, const h5store_array *arrays, size_t count, h5store_id *ids,
                     h5store_err *err);
int hs_batch_set_item(hs_batch *batch, const h5store_item_spec *spec, h5store_err *err);
int hs_batch_set_metadata(hs_batch *batch, const char *collection, const char *key,
                          const char *metadata, h5store_err *err);
int hs_batch_set_times(hs_batch *batch, const char *collection, const char *key,
                       hs_usage_times times, h5store_err *err);
int hs_batch_set_source(hs_batch *batch, const char *collection, const char *text,
                        h5store_err *err);
int hs_batch_remove(hs_batch *batch, const char *collection, const char *key, h5store_err *err);

/* Keep a blob of the batch without an item, or no longer (then NOT_FOUND at commit when it
 * was not kept). */
int hs_batch_keep(hs_batch *batch, const h5store_id *id, bool keep, h5store_err *err);

/* Both release the batch. */
int hs_batch_commit(hs_batch *batch, h5store_err *err);
void hs_batch_abort(hs_batch *batch);

#endif
