/* SPDX-License-Identifier: MIT */
/*
 * Items and collections inside a scope: the groups under /items.  FORMAT.md, "Items", is
 * the specification.
 *
 *   /items/<component>/<component>/...              a collection; attribute source
 *   /items/<collection>/#<ab>/<key>/                an item; ab are the key's first two bytes
 *       metadata   text        output   bytes        0, 1, 2 ...   hard links to blobs
 *
 * Reading goes through the object headers (ohdr.h), writing through HDF5.
 */
#ifndef HS_ITEM_H
#define HS_ITEM_H

#include "blob.h"
#include "ohdr.h"
#include <h5store/item.h>

/* The deepest group below /items: one-byte components, and the group that holds items.  What
 * lies deeper is not ours, or a circle that another program made. */
#define HS_ITEM_DEPTH (H5STORE_MAX_COLLECTION / 2 + 1)

/* Members of an item that are longer are datasets, shorter ones attributes. */
#define HS_ITEM_ATTRIBUTE_MOST 32000u

#define HS_ITEM_LINK_NAME_SIZE 24 /* room for the name of a link to a blob */

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

/* The address of the object header of an item's or collection's group.  NOT_FOUND. */
int hs_item_find(hs_container *container, const char *collection, const char *key,
                 uint64_t *address, h5store_err *err);

/* Open the group of an item, or (@p key NULL) of a collection.  NOT_FOUND. */
int hs_item_open(hid_t file, const char *collection, const char *key, hid_t *group,
                 h5store_err *err);

/* A member of an item: bytes, in an attribute of the item or in a dataset of its group. */
typedef struct hs_item_member {
    const uint8_t *bytes; /* NULL: in a dataset, and not read */
    uint64_t size;
    hs_ohdr dataset; /* all zeros: an attribute */
    uint8_t *owned;  /* the bytes of a dataset */
} hs_item_member;

/* What an item's object header says. */
typedef struct hs_item {
    hs_ohdr header;
    hs_item_member output, metadata;
    uint64_t *links; /* addresses of the object headers of blobs 0, 1, 2 ... */
    size_t link_count;
} hs_item;

/*
 * Read an item; on success, and only then, release it.  @p with_bytes: members that are datasets
 * are read, too.  DAMAGED when a member is missing or the links are not 0, 1, 2 ...
 */
int hs_item_read(hs_container *container, uint64_t address, bool with_bytes, hs_item *item,
                 h5store_err *err);
void hs_item_release(hs_item *item); /* an all-zero one is nothing */

/* Copy a member, with a zero behind it; free() it. */
int hs_item_copy_member(const hs_item_member *member, uint8_t **copy, h5store_err *err);

/* The source text of a collection; free() it.  NOT_FOUND when it has none. */
int hs_item_read_source(hid_t file, const char *collection, char **text, h5store_err *err);
/* The same in a read scope that need not have begun with HDF5, which is used only for a text that
 * does not lie in a header. */
int hs_item_find_source(hs_container *container, const char *collection, char **text,
                        h5store_err *err);

/* The members of a group, in order of name. */
typedef struct hs_names {
    char **names;
    uint64_t *addresses; /* of the members' object headers; UINT64_MAX for no hard link */
    size_t count, room;
} hs_names;
int hs_names_read(hid_t group, hs_names *names, h5store_err *err);
void hs_names_release(hs_names *names);

/* Whom to tell of the items and collections of a tree; anything but OK ends the visit. */
typedef struct hs_item_visitor {
    int (*item)(const char *collection, const char *key, uint64_t address, void *context,
                h5store_err *err);
    int (*collection)(const char *collection, void *context, h5store_err *err); /* or NULL */
    void *context;
    bool refuses_depth;  /* groups below HS_ITEM_DEPTH: DAMAGED; else they are passed over */
    bool refuses_damage; /* the same for groups that cannot be opened */
} hs_item_visitor;

/*
 * Visit what is in the group of a collection (NULL: "/items"), each collection before what it
 * holds.  Names are listed group by group, before they are told, so that a visitor may remove.
 * What no name of ours leads to is passed over.
 */
int hs_item_visit(hs_container *container, hid_t group, const char *collection,
                  const hs_item_visitor *visitor, h5store_err *err);

/* ---- in a write scope ------------------------------------------------- */

/* Blobs that lost a link and may have to go; zero-initialised is empty. */
typedef struct hs_id_list {
    h5store_id *ids;
    size_t count, room;
} hs_id_list;
int hs_id_list_add(hs_id_list *list, const h5store_id *id, h5store_err *err);
void hs_id_list_release(hs_id_list *list);

/* The bytes of blobs that are known, by id; sorted by it. */
typedef struct hs_sizes {
    struct hs_size {
        h5store_id id;
        uint64_t nbytes;
    } *sizes;
    size_t count;
} hs_sizes;
bool hs_sizes_find(const hs_sizes *sizes, const h5store_id *id, uint64_t *nbytes);

/* Make an item.  EXISTS when there is one of that name: then nothing is changed.  @p sizes: of
 * blobs of the same batch, which are in /blobs.
 * NOT_FOUND when a blob of it is not there. */
int hs_item_create(hs_container *container, hid_t file, const h5store_item_spec *spec,
                   const hs_sizes *sizes, h5store_err *err);

/* An item that was read is about to go: note what it links to, and give its space back. */
int hs_item_give_up(hs_container *container, const hs_item *item, hs_id_list *orphans,
                    h5store_err *err);

/* Remove those of these items that are there; their blobs are added to @p orphans.  Sorts
 * @p names. */
typedef struct hs_item_name {
    const char *collection, *key;
} hs_item_name;
int hs_item_compare_names(const void *a, const void *b); /* for qsort */
int hs_item_remove(hs_container *container, hid_t file, hs_item_name *names, size_t count,
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
