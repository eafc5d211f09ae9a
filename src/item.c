/* SPDX-License-Identifier: MIT */
/*
 * Items and collections; see item.h.
 *
 * The text of metadata and source and the bytes of the output are attributes: one object
 * header holds a whole item, and is read or written at once.  What is too large for a header
 * message (64 KiB) becomes a contiguous dataset in the item's group; its bytes are HDF5
 * metadata to the driver, and committed with the rest.  Outputs of more than some tens of KiB
 * are better stored as blobs.
 */
#include "item.h"
#include "h5util.h"
#include <assert.h>
#include <stdio.h>

#define ITEM_ATTRIBUTE_MOST 32000u
#define ITEM_HEADER_MORE 160u /* bytes of the two attributes beside their values, at most */
#define ITEM_OUTPUT_MOST ((size_t)256 * 1024 * 1024)
#define ITEM_INDEX_TEXT 24

static void
item_index_name(size_t index, char name[ITEM_INDEX_TEXT])
{
    snprintf(name, ITEM_INDEX_TEXT, "%zu", index);
}

int
hs_item_find(hid_t file, const char *collection, const char *key, hid_t *group, h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *path = NULL;
    int rc = hs_item_path(collection, key, &path, err);

    if (rc < 0)
        return rc;
    *group = H5Gopen2(file, path, H5P_DEFAULT);
    if (*group >= 0)
        return H5STORE_OK;
    (void)H5Eclear2(H5E_DEFAULT);
    return hs_fail(err, H5STORE_E_NOT_FOUND, 0, "there is no '%s'", path);
}

/* Is a member of an item a dataset, since it is too large for an attribute?  < 0: failed. */
static int
item_has_dataset(hid_t item, const char *name, h5store_err *err)
{
    htri_t has = H5Aexists(item, name);

    if (has < 0)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "an item cannot be read");
    return has > 0 ? 0 : hs_h5_has_link(item, name, err);
}

int
hs_item_count_links(hid_t item, size_t *count, h5store_err *err)
{
    int output = item_has_dataset(item, "output", err);
    int metadata = output < 0 ? output : item_has_dataset(item, "metadata", err);
    H5G_info_t info;

    if (metadata < 0)
        return metadata;
    if (H5Gget_info(item, &info) < 0 || info.nlinks < (hsize_t)(output + metadata))
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "the links of an item cannot be counted");
    *count = (size_t)info.nlinks - (size_t)(output + metadata);
    return H5STORE_OK;
}

int
hs_item_open_link(hid_t item, size_t index, hid_t *dataset, h5store_err *err)
{
    char name[ITEM_INDEX_TEXT];

    item_index_name(index, name);
    *dataset = H5Dopen2(item, name, H5P_DEFAULT);
    if (*dataset < 0)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "link %s of an item leads nowhere", name);
    return H5STORE_OK;
}

/* ---- members ---------------------------------------------------------- */

static int
item_check_size(const char *name, uint64_t size, h5store_err *err)
{
    if (size > ITEM_OUTPUT_MOST)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "the '%s' of an item has %llu bytes", name,
                       (unsigned long long)size);
    return H5STORE_OK;
}

/* A member: an attribute, or else a dataset. */
typedef struct item_member {
    hid_t attribute, dataset, type, space;
    uint64_t size;
} item_member;

static void
item_close_member(item_member *member)
{
    hs_h5_close_space(&member->space);
    hs_h5_close_type(&member->type);
    hs_h5_close_dataset(&member->dataset);
    hs_h5_close_attribute(&member->attribute);
}

static int
item_open_member(hid_t item, const char *name, item_member *member, h5store_err *err)
{
    htri_t has = H5Aexists(item, name);
    hssize_t points;
    size_t size;

    if (has < 0)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "an item cannot be read");
    if (has > 0) {
        member->attribute = H5Aopen(item, name, H5P_DEFAULT);
        member->type = H5Aget_type(member->attribute);
        member->space = H5Aget_space(member->attribute);
    } else {
        member->dataset = H5Dopen2(item, name, H5P_DEFAULT);
        if (member->dataset < 0)
            return hs_h5_fail(err, H5STORE_E_DAMAGED, "an item has no '%s'", name);
        member->type = H5Dget_type(member->dataset);
        member->space = H5Dget_space(member->dataset);
    }
    points = member->space < 0 ? -1 : H5Sget_simple_extent_npoints(member->space);
    size = member->type < 0 ? 0 : H5Tget_size(member->type);
    if (points < 0 || size == 0 || H5Tis_variable_str(member->type) > 0 ||
        !hs_mul((uint64_t)points, size, &member->size))
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "the '%s' of an item is not bytes", name);
    if (has == 0 && H5Dget_storage_size(member->dataset) != member->size)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "the '%s' of an item lacks bytes", name);
    return item_check_size(name, member->size, err);
}

#define ITEM_NO_MEMBER {H5I_INVALID_HID, H5I_INVALID_HID, H5I_INVALID_HID, H5I_INVALID_HID, 0}

/* All bytes of a member, with a zero behind them. */
static int
item_read_member(hs_container *c, hid_t item, const char *name, uint8_t **bytes, size_t *size,
                 h5store_err *err)
{
    HS_CLEANUP(item_close_member) item_member member = ITEM_NO_MEMBER;
    HS_CLEANUP(hs_freep) uint8_t *copy = NULL;
    herr_t status = 0;
    int rc = item_open_member(item, name, &member, err);

    if (rc < 0)
        return rc;
    copy = malloc((size_t)member.size + 1);
    if (copy == NULL)
        return hs_fail_nomem(err, member.size + 1, "an item");
    copy[member.size] = '\0';
    if (member.size > 0)
        status = member.attribute >= 0
                     ? H5Aread(member.attribute, member.type, copy)
                     : H5Dread(member.dataset, member.type, H5S_ALL, H5S_ALL, H5P_DEFAULT, copy);
    if (status < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_DAMAGED,
                                      "the '%s' of an item cannot be read", name);
    *bytes = hs_take(&copy);
    *size = (size_t)member.size;
    return H5STORE_OK;
}

int
hs_item_read_output(hs_container *c, hid_t item, uint8_t **output, size_t *size, h5store_err *err)
{
    return item_read_member(c, item, "output", output, size, err);
}

int
hs_item_read_metadata(hs_container *c, hid_t item, char **metadata, h5store_err *err)
{
    uint8_t *bytes;
    size_t size;
    int rc = item_read_member(c, item, "metadata", &bytes, &size, err);

    if (rc == H5STORE_OK)
        *metadata = (char *)bytes;
    return rc;
}

int
hs_item_sizes(hid_t item, uint64_t *output, uint64_t *metadata, h5store_err *err)
{
    HS_CLEANUP(item_close_member) item_member first = ITEM_NO_MEMBER;
    HS_CLEANUP(item_close_member) item_member second = ITEM_NO_MEMBER;
    int rc = item_open_member(item, "output", &first, err);

    if (rc == H5STORE_OK)
        rc = item_open_member(item, "metadata", &second, err);
    if (rc < 0)
        return rc;
    *output = first.size;
    *metadata = second.size;
    return H5STORE_OK;
}

int
hs_item_read_source(hid_t collection, char **text, h5store_err *err)
{
    htri_t has = H5Aexists(collection, "source");

    if (has < 0)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "a collection cannot be read");
    if (has == 0)
        return hs_fail(err, H5STORE_E_NOT_FOUND, 0, "the collection has no source text");
    return hs_h5_read_text(collection, "source", ITEM_OUTPUT_MOST, text, err);
}

/* ---- making ----------------------------------------------------------- */

/* As an attribute if that can hold it, else as a dataset. */
static int
item_write_member(hs_container *c, hid_t item, const char *name, hid_t type, hid_t space,
                  const void *bytes, size_t size, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_plist) hid_t creation = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_dataset) hid_t dataset = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_attribute) hid_t attribute = H5I_INVALID_HID;

    if (size <= ITEM_ATTRIBUTE_MOST) {
        attribute = H5Acreate2(item, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
        if (attribute < 0 || (size > 0 && H5Awrite(attribute, type, bytes) < 0))
            return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5,
                                          "cannot write the '%s' of an item", name);
        return H5STORE_OK;
    }
    creation = H5Pcreate(H5P_DATASET_CREATE);
    if (creation < 0 || H5Pset_layout(creation, H5D_CONTIGUOUS) < 0 ||
        H5Pset_obj_track_times(creation, false) < 0 ||
        H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe the '%s' of an item", name);
    dataset = H5Dcreate2(item, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    if (dataset < 0 || H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot write the '%s' of an item",
                                      name);
    return H5STORE_OK;
}

static int
item_write_output(hs_container *c, hid_t item, const void *output, size_t size, h5store_err *err)
{
    hsize_t dims = size;
    HS_CLEANUP(hs_h5_close_space) hid_t space = H5Screate_simple(1, &dims, NULL);

    if (space < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe the output of an item");
    return item_write_member(c, item, "output", H5T_STD_U8LE, space, output, size, err);
}

static int
item_write_metadata(hs_container *c, hid_t item, const char *metadata, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_space) hid_t space = H5Screate(H5S_SCALAR);
    HS_CLEANUP(hs_h5_close_type) hid_t type = H5Tcopy(H5T_C_S1);
    size_t size = strlen(metadata);

    if (size == 0) /* HDF5 has no text of no bytes */
        metadata = "{}", size = 2;
    if (space < 0 || type < 0 || H5Tset_size(type, size) < 0 ||
        H5Tset_cset(type, H5T_CSET_UTF8) < 0 || H5Tset_strpad(type, H5T_STR_NULLPAD) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe the metadata of an item");
    return item_write_member(c, item, "metadata", type, space, metadata, size, err);
}

static int
item_link(hs_container *c, hid_t file, hid_t item, const h5store_id *id, size_t index,
          h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_dataset) hid_t dataset = H5I_INVALID_HID;
    hs_counters *counters = &hs_container_space(c)->counters;
    char name[ITEM_INDEX_TEXT];
    hs_blob_brief brief;
    int rc = hs_blob_find(file, id, &dataset, err);

    if (rc < 0)
        return rc;
    item_index_name(index, name);
    if (H5Olink(dataset, item, name, H5P_DEFAULT, H5P_DEFAULT) < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot make link %s of an item",
                                      name);
    rc = hs_blob_brief_of(dataset, &brief, err);
    if (rc < 0)
        return rc;
    counters->links++;
    counters->linked_bytes += brief.nbytes;
    return H5STORE_OK;
}

/*
 * A creation list with which the header is made as large as what is to go into it: HDF5 makes
 * room for links only, and would need a second block for the attributes.
 */
static int
item_creation_list(const h5store_item_spec *spec, hid_t *list, h5store_err *err)
{
    size_t metadata = spec->metadata != NULL ? strlen(spec->metadata) : 2;
    size_t room = ITEM_HEADER_MORE + 16 * hs_min(spec->link_count, 8);

    room += metadata <= ITEM_ATTRIBUTE_MOST ? metadata : 0;
    room += spec->output_size <= ITEM_ATTRIBUTE_MOST ? spec->output_size : 0;
    *list = H5Pcreate(H5P_GROUP_CREATE);
    if (*list < 0 || H5Pset_est_link_info(*list, 1, (unsigned)hs_min(room, 65000)) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe an item");
    return H5STORE_OK;
}

int
hs_item_create(hs_container *c, hid_t file, const h5store_item_spec *spec, h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *path = NULL;
    HS_CLEANUP(hs_h5_close_plist) hid_t links = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_plist) hid_t creation = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_group) hid_t item = H5I_INVALID_HID;
    int rc = hs_item_path(spec->collection, spec->key, &path, err);

    if (rc == H5STORE_OK && spec->output_size > ITEM_OUTPUT_MOST)
        rc = hs_fail(err, H5STORE_E_INVALID, 0,
                     "an output of %zu bytes is too large for an item; store it as an array",
                     spec->output_size);
    if (rc == H5STORE_OK)
        rc = hs_h5_link_list(&links, err);
    if (rc == H5STORE_OK)
        rc = item_creation_list(spec, &creation, err);
    if (rc < 0)
        return rc;
    item = H5Gcreate2(file, path, links, creation, H5P_DEFAULT);
    if (item < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot create item '%s'", path);
    rc = item_write_metadata(c, item, spec->metadata != NULL ? spec->metadata : "{}", err);
    if (rc == H5STORE_OK)
        rc = item_write_output(c, item, spec->output, spec->output_size, err);
    for (size_t i = 0; rc == H5STORE_OK && i < spec->link_count; i++)
        rc = item_link(c, file, item, &spec->links[i], i, err);
    if (rc < 0)
        return hs_prefix(err, rc, "item '%s'", path);
    hs_container_space(c)->counters.items++;
    return H5STORE_OK;
}

int
hs_item_set_metadata(hs_container *c, hid_t file, const char *collection, const char *key,
                     const char *metadata, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_group) hid_t item = H5I_INVALID_HID;
    int rc = hs_item_find(file, collection, key, &item, err);

    if (rc == H5STORE_E_NOT_FOUND)
        return H5STORE_OK;
    if (rc < 0)
        return rc;
    if (H5Adelete(item, "metadata") < 0 && H5Ldelete(item, "metadata", H5P_DEFAULT) < 0)
        (void)H5Eclear2(H5E_DEFAULT); /* it had none: that is mended now */
    return item_write_metadata(c, item, metadata, err);
}

int
hs_item_set_source(hs_container *c, hid_t file, const char *collection, const char *text,
                   h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *path = NULL;
    HS_CLEANUP(hs_h5_close_plist) hid_t links = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_group) hid_t group = H5I_INVALID_HID;
    int rc = hs_item_find(file, collection, NULL, &group, err);

    if (rc == H5STORE_E_NOT_FOUND) {
        rc = hs_item_path(collection, NULL, &path, err);
        if (rc == H5STORE_OK)
            rc = hs_h5_link_list(&links, err);
        if (rc < 0)
            return rc;
        group = H5Gcreate2(file, path, links, H5P_DEFAULT, H5P_DEFAULT);
        if (group < 0)
            rc = hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot create collection '%s'",
                                        path);
    }
    if (rc < 0 || text == NULL)
        return rc;
    return hs_h5_write_text(group, "source", text, err);
}

/* ---- removing --------------------------------------------------------- */

/* Note what an item links to, before it goes. */
static int
item_give_up(hs_container *c, hid_t item, hs_id_list *orphans, h5store_err *err)
{
    hs_counters *counters = &hs_container_space(c)->counters;
    size_t count = 0;
    int rc = hs_item_count_links(item, &count, NULL);

    counters->items -= hs_min(counters->items, 1);
    if (rc < 0)
        return H5STORE_OK; /* damaged: it goes; verify finds what it leaves behind */
    for (size_t i = 0; i < count; i++) {
        HS_CLEANUP(hs_h5_close_dataset) hid_t dataset = H5I_INVALID_HID;
        hs_blob_brief brief;

        rc = hs_item_open_link(item, i, &dataset, err);
        if (rc == H5STORE_E_DAMAGED)
            continue;
        if (rc == H5STORE_OK)
            rc = hs_blob_brief_of(dataset, &brief, err);
        if (rc < 0 && rc != H5STORE_E_DAMAGED)
            return rc;
        counters->links -= hs_min(counters->links, 1);
        counters->linked_bytes -= hs_min(counters->linked_bytes, brief.nbytes);
        if (rc < 0)
            continue; /* its name cannot be read: the next put of that array replaces it */
        rc = hs_id_list_add(orphans, &brief.id, err);
        if (rc < 0)
            return rc;
    }
    return H5STORE_OK;
}

/* All items of a collection's group and of the collections below it. */
static int
item_give_up_all(hs_container *c, hid_t group, bool in_fan, hs_id_list *orphans, int depth,
                 h5store_err *err)
{
    hs_names names;
    int rc;

    if (depth > HS_ITEM_DEPTH)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "collections of '%s' lie too deep",
                       hs_container_path(c));
    rc = hs_names_read(group, &names, err);
    for (size_t i = 0; rc == H5STORE_OK && i < names.count; i++) {
        HS_CLEANUP(hs_h5_close_group) hid_t member = H5Gopen2(group, names.names[i], H5P_DEFAULT);

        if (member < 0)
            (void)H5Eclear2(H5E_DEFAULT);
        else if (in_fan)
            rc = item_give_up(c, member, orphans, err);
        else
            rc = item_give_up_all(c, member, hs_item_is_fan(names.names[i]), orphans, depth + 1,
                                  err);
    }
    hs_names_release(&names);
    return rc;
}

int
hs_item_remove(hs_container *c, hid_t file, const char *collection, const char *key,
               hs_id_list *orphans, h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *path = NULL;
    HS_CLEANUP(hs_h5_close_group) hid_t item = H5I_INVALID_HID;
    int rc = hs_item_find(file, collection, key, &item, err);

    if (rc < 0)
        return rc == H5STORE_E_NOT_FOUND ? H5STORE_OK : rc;
    rc = item_give_up(c, item, orphans, err);
    if (rc == H5STORE_OK)
        rc = hs_item_path(collection, key, &path, err);
    if (rc < 0)
        return rc;
    hs_h5_close_group(&item);
    if (H5Ldelete(file, path, H5P_DEFAULT) < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot remove item '%s'", path);
    return H5STORE_OK;
}

int
hs_item_remove_collection(hs_container *c, hid_t file, const char *collection,
                          hs_id_list *orphans, h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *path = NULL;
    HS_CLEANUP(hs_h5_close_group) hid_t group = H5I_INVALID_HID;
    int rc = hs_item_find(file, collection, NULL, &group, err);

    if (rc < 0)
        return rc == H5STORE_E_NOT_FOUND ? H5STORE_OK : rc;
    rc = item_give_up_all(c, group, false, orphans, 0, err);
    if (rc == H5STORE_OK)
        rc = hs_item_path(collection, NULL, &path, err);
    if (rc < 0)
        return rc;
    hs_h5_close_group(&group);
    if (H5Ldelete(file, path, H5P_DEFAULT) < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot remove collection '%s'",
                                      path);
    if (collection != NULL)
        return H5STORE_OK;
    group = H5Gcreate2(file, path, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    return group < 0 ? hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot create '%s'", path)
                     : H5STORE_OK;
}
