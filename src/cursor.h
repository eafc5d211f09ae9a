/* SPDX-License-Identifier: MIT */
/*
 * Walks over all blobs and all items, in read scopes of one step each, so that a walk never
 * keeps anybody waiting and needs memory for the names of one group at a time.
 */
#ifndef HS_CURSOR_H
#define HS_CURSOR_H

#include "item.h"

/* Zero-initialise, set the container; release when done. */
typedef struct hs_blob_walk {
    hs_container *container;
    unsigned fan;   /* of 256, the next group to list */
    hs_names names; /* of the group at hand */
    size_t next;
    hs_blob blob; /* the last one told */
} hs_blob_walk;

/* H5STORE_OK: walk->blob; DONE; DAMAGED: walk->blob.info.id alone is set, and the next call
 * goes on; other codes as hs_container_read_begin. */
int hs_blob_walk_next(hs_blob_walk *walk, h5store_err *err);
void hs_blob_walk_release(hs_blob_walk *walk);

typedef struct hs_item_walk hs_item_walk;

/* Below @p collection, or everything (NULL). */
int hs_item_walk_new(hs_container *container, const char *collection, hs_item_walk **walk,
                     h5store_err *err);
int hs_item_walk_next(hs_item_walk *walk, h5store_item_info *info, h5store_err *err);
void hs_item_walk_free(hs_item_walk *walk);

#endif
