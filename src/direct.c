/* SPDX-License-Identifier: MIT */
/*
 * See direct.h.  An object's header is written first, and then its link into the group it goes
 * to; a group on the way that is missing is made with the link in it, and then linked itself.
 */
#include "direct.h"
#include <stdio.h>

/* ---- groups ----------------------------------------------------------- */

/* Does a header have all links of its group, and no others than we make? */
static bool
direct_is_fit(const hs_ohdr *group)
{
    return group->is_group && !group->links_dense && !group->links_elsewhere;
}

/* The link of that name in a header, or NULL. */
static const hs_ohdr_link *
direct_find(const hs_ohdr *group, const char *name, size_t length)
{
    for (size_t i = 0; i < group->link_count; i++)
        if (group->links[i].name_length == length &&
            memcmp(group->links[i].name, name, length) == 0)
            return &group->links[i];
    return NULL;
}

/* Add a link to a group that is there. */
static int
direct_add(hs_container *c, const hs_ohdr *group, const char *name, size_t length, uint64_t target,
           h5store_err *err)
{
    if (!direct_is_fit(group) || group->link_count >= HS_LINKS_MOST ||
        direct_find(group, name, length) != NULL)
        return H5STORE_DONE;
    return hs_container_add_link(c, group, name, length, target, err);
}

/* Make a group with one link, and with room for others like it. */
static int
direct_make_group(hs_container *c, const char *name, size_t length, uint64_t target,
                  uint64_t *address, h5store_err *err)
{
    HS_CLEANUP(hs_draft_release) hs_draft draft = {0};

    hs_draft_group(&draft);
    hs_draft_link(&draft, name, length, target);
    hs_draft_room(&draft, (HS_LINKS_EXPECTED - 1) * hs_draft_link_size(length));
    return hs_container_make_header(c, &draft, address, err);
}

/* Let @p path, whose last slash is not its first byte, lead to @p target; the path is cut short. */
static int
direct_link(hs_container *c, char *path, uint64_t target, h5store_err *err)
{
    for (;;) {
        const hs_ohdr *group;
        char *slash = strrchr(path, '/');
        const char *name = slash + 1;
        size_t length = strlen(name);
        int rc;

        if (slash == path)
            return H5STORE_DONE; /* the three groups of the root are always there */
        *slash = '\0';
        rc = hs_container_group_header(c, path, &group, err);
        if (rc == H5STORE_OK)
            return direct_add(c, group, name, length, target, err);
        if (rc != H5STORE_E_NOT_FOUND)
            return rc == H5STORE_E_DAMAGED ? H5STORE_DONE : rc;
        rc = direct_make_group(c, name, length, target, &target, err);
        if (rc != H5STORE_OK)
            return rc;
    }
}

/* Cut a path in two, and get the header of the group that it leads to without its last part.
 * NOT_FOUND; DONE when its links are elsewhere. */
static int
direct_group(hs_container *c, char *path, const hs_ohdr **group, const char **name,
             h5store_err *err)
{
    char *slash = strrchr(path, '/');
    int rc;

    *slash = '\0';
    *name = slash + 1;
    rc = hs_container_group_header(c, path, group, err);
    if (rc == H5STORE_E_DAMAGED || (rc == H5STORE_OK && !direct_is_fit(*group)))
        return H5STORE_DONE;
    return rc;
}

/* Where a path leads.  NOT_FOUND, DONE. */
static int
direct_address(hs_container *c, char *path, uint64_t *address, h5store_err *err)
{
    const hs_ohdr_link *link;
    const hs_ohdr *group;
    const char *name;
    int rc = direct_group(c, path, &group, &name, err);

    if (rc != H5STORE_OK)
        return rc;
    link = direct_find(group, name, strlen(name));
    if (link == NULL)
        return H5STORE_E_NOT_FOUND;
    *address = link->address;
    return H5STORE_OK;
}

/* Take away what a path leads to; @p path was cut by direct_address. */
static int
direct_unlink(hs_container *c, const char *path, h5store_err *err)
{
    const char *name = path + strlen(path) + 1;
    const hs_ohdr *group;
    int rc = hs_container_group_header(c, path, &group, err);

    return rc < 0 ? rc : hs_container_remove_link(c, group, name, strlen(name), err);
}

/* ---- blobs ------------------------------------------------------------ */

static void
direct_describe_blob(hs_draft *draft, const hs_blob_parts *parts, uint32_t references)
{
    const h5store_array *array = parts->array;
    const hs_layout *layout = parts->layout;
    char id[H5STORE_ID_TEXT_SIZE];

    h5store_id_format(parts->id, id);
    hs_draft_dataspace(draft, layout->rank, layout->dims);
    hs_draft_datatype(draft, parts->type, parts->type_size);
    hs_draft_fill(draft);
    hs_draft_chunks(draft, layout->rank, layout->dims, layout->chunk,
                    hs_draft_type_size(parts->type), parts->extent.address);
    hs_draft_references(draft, references);
    hs_draft_attributes(draft);
    hs_draft_text(draft, "id", id);
    hs_draft_text(draft, "dtype", array->dtype);
    hs_draft_numbers(draft, "shape", array->shape, (size_t)array->rank);
    hs_draft_text(draft, "order", array->order == H5STORE_ORDER_F ? "F" : "C");
    hs_draft_number(draft, "checksum", parts->sum);
}

int
hs_direct_blob(hs_container *c, const hs_blob_parts *parts, uint32_t references, uint64_t *address,
               h5store_err *err)
{
    HS_CLEANUP(hs_draft_release) hs_draft draft = {0};
    char path[HS_BLOB_PATH_SIZE];
    int rc;

    if (parts->type == NULL || parts->packed != NULL || parts->layout->kind != HS_LAYOUT_CHUNKED)
        return H5STORE_DONE;
    direct_describe_blob(&draft, parts, references);
    rc = hs_container_make_header(c, &draft, address, err);
    hs_blob_path(parts->id, path);
    if (rc == H5STORE_OK)
        rc = direct_link(c, path, *address, err);
    return rc == H5STORE_OK ? hs_blob_made(c, parts, err) : rc;
}

static int
direct_drop(hs_container *c, const h5store_id *id, bool *dropped, h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    char path[HS_BLOB_PATH_SIZE];
    uint64_t address;
    int rc;

    hs_blob_path(id, path);
    rc = direct_address(c, path, &address, err);
    if (rc != H5STORE_OK)
        return rc == H5STORE_E_NOT_FOUND ? H5STORE_OK : rc;
    rc = hs_ohdr_read(hs_container_pager(c), address, &header, err);
    if (rc < 0 || header.references > 1)
        return rc == H5STORE_E_DAMAGED ? H5STORE_DONE : rc;
    rc = hs_blob_give_up(c, &header, err);
    if (rc == H5STORE_OK)
        rc = direct_unlink(c, path, err);
    *dropped = true;
    return rc;
}

int
hs_direct_drop_unused(hs_container *c, const hs_id_list *orphans, bool *dropped, h5store_err *err)
{
    int rc = H5STORE_OK;

    *dropped = false;
    for (size_t i = 0; rc == H5STORE_OK && i < orphans->count; i++)
        rc = direct_drop(c, &orphans->ids[i], dropped, err);
    return rc;
}

/* ---- arrays that are kept --------------------------------------------- */

static void
direct_kept_path(const char *id, char path[HS_BLOB_PATH_SIZE])
{
    snprintf(path, HS_BLOB_PATH_SIZE, "/kept/%s", id);
}

int
hs_direct_is_kept(hs_container *c, const char *id, bool *kept, h5store_err *err)
{
    char path[HS_BLOB_PATH_SIZE];
    uint64_t address;
    int rc;

    direct_kept_path(id, path);
    rc = direct_address(c, path, &address, err);
    *kept = rc == H5STORE_OK;
    return rc == H5STORE_E_NOT_FOUND ? H5STORE_OK : rc;
}

int
hs_direct_keep(hs_container *c, const char *id, uint64_t address, h5store_err *err)
{
    char path[HS_BLOB_PATH_SIZE];

    direct_kept_path(id, path);
    return direct_link(c, path, address, err);
}

int
hs_direct_discard(hs_container *c, const char *id, h5store_err *err)
{
    char path[HS_BLOB_PATH_SIZE];
    uint64_t address;
    int rc;

    direct_kept_path(id, path);
    rc = direct_address(c, path, &address, err);
    if (rc == H5STORE_OK)
        rc = hs_container_change_references(c, address, -1, err);
    if (rc == H5STORE_E_NOT_FOUND || rc == H5STORE_E_DAMAGED)
        return H5STORE_DONE;
    return rc == H5STORE_OK ? direct_unlink(c, path, err) : rc;
}

/* ---- items ------------------------------------------------------------ */

static void
direct_describe_item(hs_draft *draft, const h5store_item_spec *spec, const uint64_t *blobs)
{
    const char *metadata = spec->metadata != NULL ? spec->metadata : "";
    char name[HS_ITEM_LINK_NAME_SIZE];

    hs_draft_group(draft);
    hs_draft_attributes(draft);
    hs_draft_text(draft, "metadata", *metadata != '\0' ? metadata : "{}");
    hs_draft_octets(draft, "output", spec->output, spec->output_size);
    for (size_t i = 0; i < spec->link_count; i++)
        hs_draft_link(draft, name, (size_t)sprintf(name, "%zu", i), blobs[i]);
}

int
hs_direct_item(hs_container *c, const h5store_item_spec *spec, const uint64_t *blobs,
               uint64_t linked_bytes, h5store_err *err)
{
    HS_CLEANUP(hs_draft_release) hs_draft draft = {0};
    HS_CLEANUP(hs_freep) char *path = NULL;
    hs_counters *counters = &hs_container_space(c)->counters;
    uint64_t address;
    int rc;

    if (spec->output_size > HS_ITEM_ATTRIBUTE_MOST || spec->link_count > HS_LINKS_MOST ||
        (spec->metadata != NULL && strlen(spec->metadata) > HS_ITEM_ATTRIBUTE_MOST))
        return H5STORE_DONE;
    rc = hs_item_path(spec->collection, spec->key, &path, err);
    if (rc < 0)
        return rc;
    direct_describe_item(&draft, spec, blobs);
    rc = hs_container_make_header(c, &draft, &address, err);
    if (rc == H5STORE_OK)
        rc = direct_link(c, path, address, err);
    if (rc == H5STORE_OK)
        rc = hs_container_usage_set(c, spec->collection, spec->key, err);
    if (rc != H5STORE_OK)
        return rc;
    counters->items++;
    counters->links += spec->link_count;
    counters->linked_bytes += linked_bytes;
    return rc;
}

/* The blobs of an item have one link less. */
static int
direct_let_go(hs_container *c, const hs_item *item, h5store_err *err)
{
    int rc = H5STORE_OK;

    for (size_t i = 0; rc == H5STORE_OK && i < item->link_count; i++)
        rc = hs_container_change_references(c, item->links[i], -1, err);
    return rc == H5STORE_E_DAMAGED ? H5STORE_DONE : rc;
}

int
hs_direct_remove_item(hs_container *c, const char *collection, const char *key, hs_id_list *orphans,
                      h5store_err *err)
{
    HS_CLEANUP(hs_item_release) hs_item item = {0};
    HS_CLEANUP(hs_freep) char *path = NULL;
    uint64_t address;
    int rc = hs_item_path(collection, key, &path, err);

    if (rc == H5STORE_OK)
        rc = direct_address(c, path, &address, err);
    if (rc != H5STORE_OK)
        return rc == H5STORE_E_NOT_FOUND ? H5STORE_OK : rc;
    rc = hs_item_read(c, address, false, &item, err);
    if (rc < 0 || item.header.references > 1) /* another program gave it a second name */
        return rc == H5STORE_E_DAMAGED || rc == H5STORE_OK ? H5STORE_DONE : rc;
    rc = direct_let_go(c, &item, err);
    if (rc == H5STORE_OK)
        rc = hs_item_give_up(c, &item, orphans, err);
    if (rc == H5STORE_OK)
        rc = direct_unlink(c, path, err);
    return rc == H5STORE_OK ? hs_container_usage_remove(c, collection, key, err) : rc;
}

/* ---- collections ------------------------------------------------------ */

int
hs_direct_source(hs_container *c, const char *collection, const char *text, h5store_err *err)
{
    HS_CLEANUP(hs_draft_release) hs_draft draft = {0};
    HS_CLEANUP(hs_freep) char *path = NULL;
    uint64_t address;
    int rc;

    if (text == NULL || *text == '\0')
        return H5STORE_DONE;
    rc = hs_item_path(collection, NULL, &path, err);
    if (rc < 0)
        return rc;
    hs_draft_group(&draft);
    hs_draft_attributes(&draft);
    hs_draft_text(&draft, "path", path);
    hs_draft_text(&draft, "source", text);
    hs_draft_room(&draft, HS_LINKS_EXPECTED * hs_draft_link_size(sizeof "#3f" - 1));
    rc = hs_container_make_header(c, &draft, &address, err);
    return rc == H5STORE_OK ? direct_link(c, path, address, err) : rc;
}
