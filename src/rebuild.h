/* SPDX-License-Identifier: MIT */
/*
 * Making the HDF5 metadata of a container anew: dropping what is waste, or all results at once.
 */
#ifndef HS_REBUILD_H
#define HS_REBUILD_H

#include "item.h"

/*
 * Copy collections, items, blobs and what is kept into a fresh tree, and commit it.  @p with_items
 * false: nothing but what is kept by itself, which is how everything is removed in one step.
 * @p low: put the metadata into the lowest holes.
 *
 * DONE: nothing was changed, since something that is to come along cannot be read and would be
 * lost; @p err says what.
 */
int hs_rebuild(hs_container *container, bool with_items, bool low, h5store_err *err);

/*
 * Remove most of what there is: copy the items that stay, with their blobs and the times when
 * they were used, into a fresh tree.  @p gone says of an item, or (@p key NULL) of a whole
 * collection, whether it goes.  Takes as long as what stays needs, and not what goes.
 *
 * DONE: nothing was changed, since more than an eighth stays, or since something that stays
 * cannot be read and would be lost.
 */
typedef bool (*hs_rebuild_gone_fn)(const char *collection, const char *key, void *context);
int hs_rebuild_without(hs_container *container, hs_rebuild_gone_fn gone, void *context,
                       h5store_err *err);

/* Is so much of the metadata waste that a rebuild pays, and is it quick?  In a scope. */
bool hs_rebuild_pays(const hs_space *space);

/* Is a rebuild short enough for others to wait for?  In a scope. */
bool hs_rebuild_is_quick(const hs_space *space);

#endif
