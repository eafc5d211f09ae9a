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
#include "dense.h"
#include "h5util.h"
#include <assert.h>
#include <stdio.h>

#define ITEM_HEADER_MORE 160u /* bytes of the two attributes beside their values, at most */
#define ITEM_KEY_EXPECTED 32u /* bytes of a key: joblib's are MD5 sums */
#define ITEM_OUTPUT_MOST ((size_t)256 * 1024 * 1024)

int
hs_item_find(hs_container *c, const char *collection, const char *key, uint64_t *address,
             h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *path = NULL;
    int rc = hs_item_path(collection, key, &path, err);

    return rc < 0 ? rc : hs_container_find(c, path, address, err);
}

/* ---- reading ---------------------------------------------------------- */

static void
item_release_member(hs_item_member *member)
{
    hs_ohdr_release(&member->dataset);
    free(member->owned);
}

void
hs_item_release(hs_item *item)
{
    item_release_member(&item->output);
    item_release_member(&item->metadata);
    hs_ohdr_release(&item->header);
    free(item->links);
    memset(item, 0, sizeof *item);
}

/* A member that is an attribute.  False: there is none of that name. */
static bool
item_find_attribute(const hs_item *item, const char *name, hs_item_member *member)
{
    const hs_ohdr_attribute *attribute = hs_ohdr_find(&item->header, name);

    if (attribute == NULL)
        return false;
    member->bytes = attribute->value;
    member->size = attribute->size;
    return true;
}

/* A member that is a dataset. */
static int
item_read_dataset(hs_container *c, const char *name, uint64_t address, bool with_bytes,
                  hs_item_member *member, h5store_err *err)
{
    hs_ohdr *dataset = &member->dataset;
    uint64_t sum;
    int rc = hs_ohdr_read(hs_container_pager(c), address, dataset, err);

    if (rc < 0)
        return rc;
    if (dataset->layout != HS_OHDR_CONTIGUOUS || dataset->data_size > ITEM_OUTPUT_MOST ||
        dataset->data_address > hs_container_space(c)->eoa ||
        dataset->data_size > hs_container_space(c)->eoa - dataset->data_address)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "the '%s' of an item is not bytes", name);
    member->size = dataset->data_size;
    if (!with_bytes)
        return H5STORE_OK;
    member->owned = malloc((size_t)member->size);
    if (member->owned == NULL)
        return hs_fail_nomem(err, member->size, "an item");
    member->bytes = member->owned;
    rc = hs_pager_read(hs_container_pager(c), dataset->data_address, member->owned,
                       (size_t)member->size, err);
    if (rc == H5STORE_OK && (!hs_ohdr_u64(dataset, "checksum", &sum) ||
                             sum != hs_sum64(member->owned, (size_t)member->size)))
        rc = hs_fail(err, H5STORE_E_DAMAGED, 0, "the '%s' of an item does not have its checksum",
                     name);
    return rc;
}

/* The number that a link is named by; SIZE_MAX when it is none. */
static size_t
item_link_number(const char *name, size_t length)
{
    size_t number = 0;

    if (length == 0 || length > 10 || (name[0] == '0' && length > 1))
        return SIZE_MAX;
    for (size_t i = 0; i < length; i++) {
        if (name[i] < '0' || name[i] > '9')
            return SIZE_MAX;
        number = 10 * number + (size_t)(name[i] - '0');
    }
    return number;
}

/* What is collected of an item's group. */
struct item_links {
    hs_item *item;
    uint64_t output, metadata; /* of datasets; UINT64_MAX: none */
    size_t found;
    bool strange;
};

static void
item_note_link(struct item_links *links, const char *name, size_t length, uint64_t address)
{
    size_t number = item_link_number(name, length);

    if (number < links->item->link_count && links->item->links[number] == UINT64_MAX) {
        links->item->links[number] = address;
        links->found++;
    } else if (length == 6 && memcmp(name, "output", 6) == 0) {
        links->output = address;
    } else if (length == 8 && memcmp(name, "metadata", 8) == 0) {
        links->metadata = address;
    } else if (number != SIZE_MAX) {
        links->strange = true;
    }
}

/* A list for @p count links, none of which is known yet. */
static int
item_expect_links(hs_item *item, size_t count, h5store_err *err)
{
    item->links = malloc((count + 1) * sizeof *item->links);
    if (item->links == NULL)
        return hs_fail_nomem(err, count * sizeof *item->links, "an item");
    memset(item->links, 0xff, (count + 1) * sizeof *item->links);
    item->link_count = count;
    return H5STORE_OK;
}

/* hs_dense_fn */
static int
item_count_link(const hs_ohdr_link *link HS_UNUSED, bool sure HS_UNUSED, void *context,
                h5store_err *err HS_UNUSED)
{
    ++*(size_t *)context;
    return H5STORE_OK;
}

/* hs_dense_fn */
static int
item_note_dense(const hs_ohdr_link *link, bool sure HS_UNUSED, void *context,
                h5store_err *err HS_UNUSED)
{
    item_note_link(context, link->name, link->name_length, link->address);
    return H5STORE_OK;
}

/* The links of a group that keeps them in a heap. */
static int
item_list_links(hs_pager *pager, struct item_links *links, h5store_err *err)
{
    const hs_ohdr *header = &links->item->header;
    size_t count = 0;
    int rc = hs_dense_links(pager, header->heap, header->name_index, NULL, 0, item_count_link,
                            &count, err);

    if (rc == H5STORE_OK)
        rc = item_expect_links(links->item, count, err);
    if (rc == H5STORE_OK)
        rc = hs_dense_links(pager, header->heap, header->name_index, NULL, 0, item_note_dense,
                            links, err);
    return rc;
}

static int
item_read_links(hs_pager *pager, struct item_links *links, h5store_err *err)
{
    const hs_ohdr *header = &links->item->header;
    int rc;

    if (header->links_dense)
        return item_list_links(pager, links, err);
    rc = item_expect_links(links->item, header->link_count, err);
    for (size_t i = 0; rc == H5STORE_OK && i < header->link_count; i++)
        item_note_link(links, header->links[i].name, header->links[i].name_length,
                       header->links[i].address);
    return rc;
}

static int
item_read_member(hs_container *c, const hs_item *item, const char *name, uint64_t dataset,
                 bool with_bytes, hs_item_member *member, h5store_err *err)
{
    if (item_find_attribute(item, name, member))
        return H5STORE_OK;
    if (dataset == UINT64_MAX)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "an item has no '%s'", name);
    return item_read_dataset(c, name, dataset, with_bytes, member, err);
}

int
hs_item_read(hs_container *c, uint64_t address, bool with_bytes, hs_item *item, h5store_err *err)
{
    struct item_links links = {item, UINT64_MAX, UINT64_MAX, 0, false};
    int rc;

    memset(item, 0, sizeof *item);
    rc = hs_ohdr_read(hs_container_pager(c), address, &item->header, err);
    if (rc == H5STORE_OK && !item->header.is_group)
        rc = hs_fail(err, H5STORE_E_DAMAGED, 0, "an item is not a group");
    if (rc == H5STORE_OK)
        rc = item_read_links(hs_container_pager(c), &links, err);
    if (rc == H5STORE_OK)
        rc = item_read_member(c, item, "output", links.output, with_bytes, &item->output, err);
    if (rc == H5STORE_OK)
        rc = item_read_member(c, item, "metadata", links.metadata, with_bytes, &item->metadata,
                              err);
    item->link_count = links.found;
    for (size_t i = 0; rc == H5STORE_OK && i < links.found; i++)
        links.strange = links.strange || item->links[i] == UINT64_MAX;
    if (rc == H5STORE_OK && links.strange)
        rc = hs_fail(err, H5STORE_E_DAMAGED, 0, "the links of an item are not 0, 1, 2 ...");
    if (rc < 0)
        hs_item_release(item);
    return rc;
}

int
hs_item_copy_member(const hs_item_member *member, uint8_t **copy, h5store_err *err)
{
    *copy = malloc((size_t)member->size + 1);
    if (*copy == NULL)
        return hs_fail_nomem(err, member->size + 1, "an item");
    if (member->size > 0)
        memcpy(*copy, member->bytes, (size_t)member->size);
    (*copy)[member->size] = '\0';
    return H5STORE_OK;
}

int
hs_item_open(hid_t file, const char *collection, const char *key, hid_t *group, h5store_err *err)
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

int
hs_item_read_source(hid_t file, const char *collection, char **text, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_group) hid_t group = H5I_INVALID_HID;
    htri_t has;
    int rc = hs_item_open(file, collection, NULL, &group, err);

    if (rc < 0)
        return rc;
    has = H5Aexists(group, "source");
    if (has < 0)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "a collection cannot be read");
    if (has == 0)
        return hs_fail(err, H5STORE_E_NOT_FOUND, 0, "the collection has no source text");
    return hs_h5_read_text(group, "source", ITEM_OUTPUT_MOST, text, err);
}

int
hs_item_find_source(hs_container *c, const char *collection, char **text, h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    const hs_ohdr_attribute *source = NULL;
    uint64_t address;
    hid_t file;
    int rc = hs_item_find(c, collection, NULL, &address, err);

    if (rc < 0)
        return rc;
    if (hs_ohdr_read(hs_container_pager(c), address, &header, NULL) == H5STORE_OK)
        source = hs_ohdr_find(&header, "source");
    if (source == NULL) { /* HDF5 knows whether there is none, or only not here */
        rc = hs_container_use_hdf5(c, &file, err);
        return rc < 0 ? rc : hs_item_read_source(file, collection, text, err);
    }
    *text = strndup((const char *)source->value, source->size);
    return *text != NULL ? H5STORE_OK : hs_fail_nomem(err, source->size, "a source text");
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
    uint64_t sum;

    if (size <= HS_ITEM_ATTRIBUTE_MOST) {
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
    sum = hs_sum64(bytes, size); /* HDF5 has none for the bytes of a dataset */
    return hs_h5_write_u64(dataset, "checksum", &sum, 1, true, err);
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
          const hs_sizes *sizes, h5store_err *err)
{
    hs_counters *counters = &hs_container_space(c)->counters;
    HS_CLEANUP(hs_h5_close_group) hid_t fan = H5I_INVALID_HID;
    char name[HS_ITEM_LINK_NAME_SIZE], path[HS_BLOB_PATH_SIZE];
    uint64_t address, nbytes;
    hs_blob_brief brief;

    if (!hs_sizes_find(sizes, id, &nbytes)) { /* not of this batch */
        int rc = hs_blob_find(file, id, &address, err);

        if (rc == H5STORE_OK)
            rc = hs_blob_brief_of(c, address, &brief, err);
        if (rc < 0)
            return rc;
        nbytes = brief.nbytes;
    }
    snprintf(name, sizeof name, "%zu", index);
    fan = hs_blob_fan(c, id);
    hs_blob_path(id, path);
    if (H5Lcreate_hard(fan >= 0 ? fan : file, fan >= 0 ? hs_blob_name(path) : path, item, name,
                       H5P_DEFAULT, H5P_DEFAULT) < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot make link %s of an item",
                                      name);
    counters->links++;
    counters->linked_bytes += nbytes;
    return H5STORE_OK;
}

/*
 * A creation list with which the header is made as large as what is to go into it: HDF5 makes
 * room for links only, and would need a second block for the attributes.
 */
static int
item_expect_size(hid_t list, const h5store_item_spec *spec, h5store_err *err)
{
    size_t metadata = spec->metadata != NULL ? strlen(spec->metadata) : 2;
    size_t room = ITEM_HEADER_MORE + 16 * hs_min(spec->link_count, HS_LINKS_FOR_HDF5);

    room += metadata <= HS_ITEM_ATTRIBUTE_MOST ? metadata : 0;
    room += spec->output_size <= HS_ITEM_ATTRIBUTE_MOST ? spec->output_size : 0;
    if (H5Pset_est_link_info(list, 1, (unsigned)hs_min(room, 65000)) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe an item");
    return H5STORE_OK;
}

/* Make the group of an item, in the group that it goes to if that is there.  Negative: HDF5's. */
static hid_t
item_make_group(hs_container *c, hid_t file, char *path, hid_t links, hid_t creation)
{
    char *slash = strrchr(path, '/');
    HS_CLEANUP(hs_h5_close_group) hid_t fan = H5I_INVALID_HID;

    *slash = '\0';
    fan = hs_container_group(c, path);
    *slash = '/';
    return fan >= 0 ? H5Gcreate2(fan, slash + 1, links, creation, H5P_DEFAULT)
                    : H5Gcreate2(file, path, links, creation, H5P_DEFAULT);
}

int
hs_item_create(hs_container *c, hid_t file, const h5store_item_spec *spec, const hs_sizes *sizes,
               h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *path = NULL;
    HS_CLEANUP(hs_h5_close_group) hid_t item = H5I_INVALID_HID;
    hid_t links, creation;
    int rc = hs_item_path(spec->collection, spec->key, &path, err);

    if (rc == H5STORE_OK && spec->output_size > ITEM_OUTPUT_MOST)
        rc = hs_fail(err, H5STORE_E_INVALID, 0,
                     "an output of %zu bytes is too large for an item; store it as an array",
                     spec->output_size);
    if (rc == H5STORE_OK)
        rc = hs_container_link_list(c, &links, err);
    if (rc == H5STORE_OK)
        rc = hs_container_group_list(c, &creation, err);
    if (rc == H5STORE_OK)
        rc = item_expect_size(creation, spec, err);
    if (rc < 0)
        return rc;
    item = item_make_group(c, file, path, links, creation);
    if (item < 0 && H5Lexists(file, path, H5P_DEFAULT) > 0) {
        (void)H5Eclear2(H5E_DEFAULT);
        return H5STORE_EXISTS;
    }
    if (item < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot create item '%s'", path);
    rc = item_write_metadata(c, item, spec->metadata != NULL ? spec->metadata : "{}", err);
    if (rc == H5STORE_OK)
        rc = item_write_output(c, item, spec->output, spec->output_size, err);
    for (size_t i = 0; rc == H5STORE_OK && i < spec->link_count; i++)
        rc = item_link(c, file, item, &spec->links[i], i, sizes, err);
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
    int rc = hs_item_open(file, collection, key, &item, err);

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
    HS_CLEANUP(hs_h5_close_group) hid_t group = H5I_INVALID_HID;
    hid_t links, creation;
    int rc = hs_item_path(collection, NULL, &path, err);

    if (rc < 0)
        return rc;
    rc = hs_item_open(file, collection, NULL, &group, err);
    if (rc == H5STORE_E_NOT_FOUND) {
        rc = hs_container_link_list(c, &links, err);
        if (rc == H5STORE_OK)
            rc = hs_container_group_list(c, &creation, err);
        if (rc < 0)
            return rc;
        if (H5Pset_est_link_info(creation, HS_LINKS_EXPECTED, ITEM_KEY_EXPECTED) < 0)
            return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe a collection");
        group = H5Gcreate2(file, path, links, creation, H5P_DEFAULT);
        if (group < 0)
            rc = hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot create collection '%s'",
                                        path);
    }
    if (rc < 0 || text == NULL)
        return rc;
    rc = hs_h5_write_text(group, "path", path, err);
    return rc < 0 ? rc : hs_h5_write_text(group, "source", text, err);
}
