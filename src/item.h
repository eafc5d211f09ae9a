/* SPDX-License-Identifier: MIT */
/*
 * Items and collections inside a scope: the groups under /items.  FORMAT.md, "Items", is
 * the specification.
 *
 *   /items/<component>/<component>/...              a collection; attribute source
 *   /items/<collection>/#<ab>/<key>/                an item; ab are the key's first two bytes
 *       metadata   text        output   bytes        0, 1, 2 ...   hard links to blobs
 */
#ifndef HS_ITEM_H
#define HS_ITEM_H

#include "blob.h"
#include <h5store/item.h>

/* The deepest group below /items: one-byte components, and the group that holds items.  What
 * lies deeper is not ours, or a circle that another program made. */
#define HS_ITEM_DEPTH (H5STORE_MAX_COLLECTION / 2 + 1)

/* ---- names ------------------------------------------------------------ */

/* Check a collection path and (unless NULL) a key.  INVALID. */
int hs_item_check_names(const char *collection, const char *key, h5store_err *err);

/* The path of a collection (NULL: "/items"), or of an item, in the file; free() it. */
int hs_item_path(const char *collection, const char *key, char **path, h5store_err *err);

/* The name of a component as it was before hs_item_path; free() it. */
int hs_item_unescape(const char *component, char **name, h5store_err *err);

/* "collection/name", or only the name when collection is NULL; free() it. */
int hs_item_join(const char *collection, const char *name, char **path, h5store_err *err);

/* Is this member of a collection's group one of the groups that hold items? */
bool hs_item_is_fan(const char *name);

/* ---- in any scope ----------------------------------------------------- */

/* Open the group of an item or collection.  NOT_FOUND. */
int hs_item_find(hid_t file, const char *collection, const char *key, hid_t *group,
                 h5store_err *err);

/* The number of links 0, 1, 2 ...  DAMAGED. */
int hs_item_count_links(hid_t item, size_t *count, h5store_err *err);

/* Open link @p index of an item. */
int hs_item_open_link(hid_t item, size_t index, hid_t *dataset, h5store_err *err);

/* The members; free() what they give.  DAMAGED when the member is not as it must be. */
int hs_item_read_output(hs_container *container, hid_t item, uint8_t **output, size_t *size,
                        h5store_err *err);
int hs_item_read_metadata(hs_container *container, hid_t item, char **metadata,
                          h5store_err *err);
int hs_item_sizes(hid_t item, uint64_t *output, uint64_t *metadata, h5store_err *err);
int hs_item_read_source(hid_t collection, char **text, h5store_err *err);

/* The names of a group's members, in order of name. */
typedef struct hs_names {
    char **names;
    size_t count, room;
} hs_names;
int hs_names_read(hid_t group, hs_names *names, h5store_err *err);
void hs_names_release(hs_names *names);

/* ---- in a write scope ------------------------------------------------- */

/* Blobs that lost a link and may have to go; zero-initialised is empty. */
typedef struct hs_id_list {
    h5store_id *ids;
    size_t count, room;
} hs_id_list;
int hs_id_list_add(hs_id_list *list, const h5store_id *id, h5store_err *err);
void hs_id_list_release(hs_id_list *list);

/* Make an item that is not there.  NOT_FOUND when a blob of it is not in /blobs. */
int hs_item_create(hs_container *container, hid_t file, const h5store_item_spec *spec,
                   h5store_err *err);

/* Remove an item, if it is there; its blobs are added to @p orphans. */
int hs_item_remove(hs_container *container, hid_t file, const char *collection, const char *key,
                   hs_id_list *orphans, h5store_err *err);

/* Remove a collection and all below it (NULL: everything), if it is there. */
int hs_item_remove_collection(hs_container *container, hid_t file, const char *collection,
                              hs_id_list *orphans, h5store_err *err);

/* Replace the metadata of an item, if it is there. */
int hs_item_set_metadata(hs_container *container, hid_t file, const char *collection,
                         const char *key, const char *metadata, h5store_err *err);

/* Make a collection, and set its source text unless @p text is NULL. */
int hs_item_set_source(hs_container *container, hid_t file, const char *collection,
                       const char *text, h5store_err *err);

#endif
