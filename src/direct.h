/* SPDX-License-Identifier: MIT */
/*
 * Blobs, items and collections made and removed without HDF5: the same objects as hs_blob_create,
 * hs_item_create and hs_item_set_source make, in a write scope that was begun without it
 * (container.h, "Commits without HDF5").
 *
 * Only what is common goes this way: blobs that are neither packed nor inline are made, items whose
 * texts fit into a header, collections that are new; and groups must have their links in their
 * headers.  For all else the answer is DONE; what the scope did is then to be dropped, and it goes
 * on with HDF5.  Other codes: NOMEM, NO_SPACE, IO, DAMAGED.
 */
#ifndef HS_DIRECT_H
#define HS_DIRECT_H

#include "item.h"

/* Make the dataset of a blob that is not there, with @p references hard links to it, of which this
 * makes the one in /blobs. */
int hs_direct_blob(hs_container *container, const hs_blob_parts *parts, uint32_t references,
                   uint64_t *address, h5store_err *err);

/* Take those of some blobs away to which /blobs has the only link.  *dropped: at least one went. */
int hs_direct_drop_unused(hs_container *container, const hs_id_list *orphans, bool *dropped,
                          h5store_err *err);

/* Is a blob, by its name, kept by itself?  Keep one that counts that link already, and discard
 * one. */
int hs_direct_is_kept(hs_container *container, const char *id, bool *kept, h5store_err *err);
int hs_direct_keep(hs_container *container, const char *id, uint64_t address, h5store_err *err);
int hs_direct_discard(hs_container *container, const char *id, h5store_err *err);

/* Make an item that is not there; @p blobs: the addresses of those that it links to, which count
 * these links already, and @p linked_bytes their bytes. */
int hs_direct_item(hs_container *container, const h5store_item_spec *spec, const uint64_t *blobs,
                   uint64_t linked_bytes, h5store_err *err);

/* Remove an item if it is there; its blobs are added to @p orphans. */
int hs_direct_remove_item(hs_container *container, const char *collection, const char *key,
                          hs_id_list *orphans, h5store_err *err);

/* Make a collection with a source text. */
int hs_direct_source(hs_container *container, const char *collection, const char *text,
                     h5store_err *err);

#endif
