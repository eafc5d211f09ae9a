/* SPDX-License-Identifier: MIT */
/*
 * See removal.h.
 *
 * Making an item and its blob anew costs some 350 us, taking them away some 80 us.  So making the
 * rest anew pays when less than a fifth stays, and is done for an eighth; and what it costs to
 * look how many items a collection has is little beside removing it.
 */
#include "removal.h"
#include "grow.h"
#include "h5util.h"
#include <stdlib.h>

#define REMOVAL_FEW 256u /* items, for which a rebuild does not pay */

int
hs_removal_add(hs_removal *removal, const char *collection, const char *key, h5store_err *err)
{
    int rc;

    if (key == NULL) {
        rc = hs_grow(&removal->collections, removal->collection_count, &removal->collection_room,
                     sizeof *removal->collections, "a batch", err);
        if (rc == H5STORE_OK)
            removal->collections[removal->collection_count++] = collection;
        return rc;
    }
    rc = hs_grow(&removal->items, removal->item_count, &removal->item_room, sizeof *removal->items,
                 "a batch", err);
    if (rc == H5STORE_OK)
        removal->items[removal->item_count++] = (hs_item_name){collection, key};
    return rc;
}

void
hs_removal_release(hs_removal *removal)
{
    free(removal->items);
    free(removal->collections);
    memset(removal, 0, sizeof *removal);
}

/* Is a collection this one, or below it? */
static bool
removal_is_in(const char *collection, const char *above)
{
    size_t length = strlen(above);

    return strncmp(collection, above, length) == 0 &&
           (collection[length] == '\0' || collection[length] == '/');
}

bool
hs_removal_has(const char *collection, const char *key, void *context)
{
    const hs_removal *removal = context;
    hs_item_name name = {collection, key};

    for (size_t i = 0; i < removal->collection_count; i++)
        if (removal_is_in(collection, removal->collections[i]))
            return true;
    return key != NULL && removal->item_count > 0 &&
           bsearch(&name, removal->items, removal->item_count, sizeof name,
                   hs_item_compare_names) != NULL;
}

/* Sort the names, each of them once. */
static void
removal_sort(hs_removal *removal)
{
    size_t count = 0;

    if (removal->item_count == 0)
        return;
    qsort(removal->items, removal->item_count, sizeof *removal->items, hs_item_compare_names);
    for (size_t i = 0; i < removal->item_count; i++)
        if (count == 0 ||
            hs_item_compare_names(&removal->items[count - 1], &removal->items[i]) != 0)
            removal->items[count++] = removal->items[i];
    removal->item_count = count;
}

static int
removal_count_one(const char *collection HS_UNUSED, const char *key HS_UNUSED,
                  uint64_t address HS_UNUSED, void *context, h5store_err *err HS_UNUSED)
{
    ++*(uint64_t *)context;
    return H5STORE_OK;
}

/* In a read scope: how many items there are in a collection and below it. */
static int
removal_count(hs_container *c, hid_t file, const char *collection, uint64_t *count,
              h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_group) hid_t group = H5I_INVALID_HID;
    const hs_item_visitor visitor = {
        .item = removal_count_one, .context = count, .refuses_depth = true};
    int rc = hs_item_open(file, collection, NULL, &group, err);

    if (rc < 0)
        return rc == H5STORE_E_NOT_FOUND ? H5STORE_OK : rc;
    return hs_item_visit(c, group, collection, &visitor, err);
}

int
hs_removal_is_most(hs_removal *removal, hs_container *c, bool *most, h5store_err *err)
{
    uint64_t count, all;
    hid_t file;
    int rc;

    removal_sort(removal);
    if (removal->collection_count == 0 && removal->item_count < REMOVAL_FEW) {
        *most = false; /* as mostly, and without a look */
        return H5STORE_OK;
    }
    rc = hs_container_read_begin(c, &file, err);
    if (rc < 0)
        return rc;
    count = removal->item_count;
    all = hs_container_space(c)->counters.items;
    for (size_t i = 0; rc == H5STORE_OK && all >= REMOVAL_FEW && i < removal->collection_count; i++)
        rc = removal_count(c, file, removal->collections[i], &count, err);
    hs_container_read_end(c);
    if (rc == H5STORE_OK)
        *most = count >= REMOVAL_FEW && count >= all / 8 * 7;
    return rc;
}
