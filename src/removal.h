/* SPDX-License-Identifier: MIT */
/*
 * What a batch removes, as a set of names: for a removal of most of a container, which is quicker
 * by making the metadata of the rest anew (rebuild.h) than by taking away one item after the
 * other.
 */
#ifndef HS_REMOVAL_H
#define HS_REMOVAL_H

#include "item.h"

/* Zero-initialise; the names are the caller's. */
typedef struct hs_removal {
    hs_item_name *items;
    size_t item_count, item_room;
    const char **collections; /* with all below them */
    size_t collection_count, collection_room;
} hs_removal;

/* Add an item, or (@p key NULL) a collection. */
int hs_removal_add(hs_removal *removal, const char *collection, const char *key, h5store_err *err);

/* When all are added: are these most of what the container holds, and more than a few?  Not
 * exact: others may change it, and names may be in vain. */
int hs_removal_is_most(hs_removal *removal, hs_container *container, bool *most, h5store_err *err);

/* After hs_removal_is_most: does an item, or (@p key NULL) a collection, go?  @p context: the
 * removal. */
bool hs_removal_has(const char *collection, const char *key, void *context);

void hs_removal_release(hs_removal *removal);

#endif
