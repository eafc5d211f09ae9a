/* SPDX-License-Identifier: MIT */
/*
 * Blobs, items and collections made without HDF5: the same objects as hs_blob_create,
 * hs_item_create and hs_item_set_source make, in a write scope that was begun without it
 * (container.h, "Commits without HDF5").
 *
 * Only what is common goes this way: blobs that are neither packed nor inline, items and
 * collections that are new and whose texts fit into a header, groups that have their links in
 * theirs.  For all else the answer is DONE; the scope is then to be started over and to go on with
 * HDF5.
 */
#ifndef HS_DIRECT_H
#define HS_DIRECT_H

#include "item.h"

/* Make the dataset of a blob that is not there, with @p references hard links to it, of which this
 * makes the one in /blobs.  DONE; NOMEM, NO_SPACE, IO, DAMAGED. */
int hs_direct_blob(hs_container *container, const hs_blob_parts *parts, uint32_t references,
                   uint64_t *address, h5store_err *err);

/* Make an item; @p blobs: the addresses of those that it links to, which count these links
 * already, and @p linked_bytes their bytes.  The same codes; DONE also if it is there. */
int hs_direct_item(hs_container *container, const h5store_item_spec *spec, const uint64_t *blobs,
                   uint64_t linked_bytes, h5store_err *err);

/* Make a collection with a source text.  The same codes. */
int hs_direct_source(hs_container *container, const char *collection, const char *text,
                     h5store_err *err);

#endif
