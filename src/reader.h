/* SPDX-License-Identifier: MIT */
/*
 * Looking things up so that they stay: blobs and items with their extents pinned, and the
 * bytes behind them.
 */
#ifndef HS_READER_H
#define HS_READER_H

#include "item.h"

/* A pinned blob.  Released with hs_reader_release, outside scopes. */
typedef struct hs_item_data {
    uint8_t *output;
    size_t output_size;
    char *metadata;
    hs_blob *blobs; /* pinned, one for each link */
    size_t blob_count;
} hs_item_data;

/* NOT_FOUND, DAMAGED, and the codes of hs_container_read_begin. */
int hs_reader_find_blob(hs_container *container, const h5store_id *id, hs_blob *blob,
                        h5store_err *err);
int hs_reader_find_item(hs_container *container, const char *collection, const char *key,
                        hs_item_data *item, h5store_err *err);

void hs_reader_release_blob(hs_container *container, hs_blob *blob);
void hs_reader_release_item(hs_container *container, hs_item_data *item);

/*
 * Copy the bytes of a pinned blob and check them.  When they are not what was put the blob
 * is marked, so that the next put of the same array writes it again (I3).  DAMAGED.
 */
int hs_reader_read(hs_container *container, const hs_blob *blob, void *buffer, h5store_check check,
                   h5store_err *err);

/* Note in the container that a blob's bytes are wrong or missing, so that the next put of the
 * same array writes them again.  What fails here is tried again by the next reader. */
void hs_reader_mark(hs_container *container, const hs_blob *blob);

/* Only check.  Never marks. */
int hs_reader_check(hs_container *container, const hs_blob *blob, h5store_check check,
                    bool *sum_right, bool *name_right, h5store_err *err);

#endif
