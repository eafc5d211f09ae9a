/* SPDX-License-Identifier: MIT */
/*
 * What the files of the batch module share: batch.c (what is put and noted, and its commit) and
 * batch_direct.c (the commit without HDF5).  Nobody else includes this.
 */
#ifndef HS_BATCH_IMPL_H
#define HS_BATCH_IMPL_H

#include "batch.h"
#include "put.h"

typedef enum batch_kind {
    SET_ITEM,
    SET_METADATA,
    SET_TIMES,
    SET_SOURCE,
    REMOVE,
    KEEP,
    DISCARD
} batch_kind;

typedef struct batch_op {
    batch_kind kind;
    char *collection, *key, *text; /* text: metadata or source */
    uint8_t *output;
    size_t output_size;
    h5store_id *links;
    size_t link_count;
    hs_usage_times times;
} batch_op;

struct hs_batch {
    hs_container *container;
    int level;     /* of compression; 0: none */
    hs_put **puts; /* pointers, since array.data may point inside */
    size_t put_count, put_room;
    batch_op *ops;
    size_t op_count, op_room;
};

/* What a SET_ITEM says; it points into @p op. */
static inline h5store_item_spec
batch_spec(const batch_op *op)
{
    return (h5store_item_spec){op->collection, op->key,   op->output,    op->output_size,
                               op->text,       op->links, op->link_count};
}

/*
 * In a write scope without HDF5: do all that the batch says, and note in @p log the blobs whose
 * bytes were written for it.  *dropped: a blob went.  DONE: that cannot be done without HDF5; the
 * scope is to resort to that.
 */
int batch_commit_directly(const hs_batch *batch, hs_wal_blob *log, size_t *logged, bool *dropped,
                          h5store_err *err);

#endif
