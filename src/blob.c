/* SPDX-License-Identifier: MIT */
/*
 * The datasets under /blobs; see blob.h.
 *
 * Attributes of a blob: id (64 hex digits), dtype (NumPy's description), shape (uint64, one
 * for each dimension), order ("C" or "F"), checksum (uint64), and damaged (uint64 1) once a
 * reader found other bytes than were put.  The HDF5 type and dataspace are for viewers:
 * what we read are the attributes and the place of the bytes.
 */
#include "blob.h"
#include "dtype.h"
#include "h5util.h"
#include <assert.h>
#include <stdio.h>

/* HDF5 takes the third power of the links in a header to remove one; see ohdr_make.h. */
#define BLOB_LINKS_FOR_HDF5 (HS_LINKS_FOR_HDF5 + 8)

void
hs_blob_release(hs_blob *blob)
{
    free(blob->dtype);
    blob->dtype = NULL;
    hs_packed_release(&blob->packed);
}

void
hs_blob_path(const h5store_id *id, char path[HS_BLOB_PATH_SIZE])
{
    char text[H5STORE_ID_TEXT_SIZE];

    h5store_id_format(id, text);
    snprintf(path, HS_BLOB_PATH_SIZE, "/blobs/%.2s/%s", text, text);
}

const char *
hs_blob_name(const char path[HS_BLOB_PATH_SIZE])
{
    return path + sizeof "/blobs/3f";
}

hid_t
hs_blob_fan(hs_container *c, const h5store_id *id)
{
    char path[sizeof "/blobs/3f"];

    snprintf(path, sizeof path, "/blobs/%02x", id->bytes[0]);
    return hs_container_group(c, path);
}

static int
blob_fail_missing(const char *path, h5store_err *err)
{
    return hs_fail(err, H5STORE_E_NOT_FOUND, 0, "there is no blob %s", hs_blob_name(path));
}

int
hs_blob_find(hid_t file, const h5store_id *id, uint64_t *address, h5store_err *err)
{
    char path[HS_BLOB_PATH_SIZE];

    hs_blob_path(id, path);
    return hs_h5_find(file, path, address, NULL) < 0 ? blob_fail_missing(path, err) : H5STORE_OK;
}

int
hs_blob_look(hs_container *c, const h5store_id *id, uint64_t *address, h5store_err *err)
{
    char path[HS_BLOB_PATH_SIZE];
    int rc;

    hs_blob_path(id, path);
    rc = hs_container_find(c, path, address, err);
    return rc == H5STORE_E_NOT_FOUND ? blob_fail_missing(path, err) : rc;
}

/* ---- describing ------------------------------------------------------- */

/* Bytes of the array by HDF5's own description, which a damaged attribute leaves alone. */
static int
blob_size(const hs_ohdr *header, uint64_t *nbytes, h5store_err *err)
{
    uint64_t size = header->type_size;
    bool fits = size > 0;

    for (int i = 0; fits && i < header->rank; i++)
        fits = hs_mul(size, header->dims[i], &size);
    if (!fits)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "its type and shape are impossible");
    *nbytes = size;
    return H5STORE_OK;
}

static int
blob_id(const hs_ohdr *header, h5store_id *id, h5store_err *err)
{
    char text[H5STORE_ID_TEXT_SIZE] = "";

    if (!hs_ohdr_text(header, "id", text, sizeof text) || h5store_id_parse(text, id, NULL) < 0)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "its attribute 'id' is not the name of a blob");
    return H5STORE_OK;
}

int
hs_blob_brief_of(hs_container *c, uint64_t address, hs_blob_brief *brief, h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    int rc = hs_ohdr_read(hs_container_pager(c), address, &header, err);

    memset(brief, 0, sizeof *brief);
    if (rc < 0)
        return rc;
    brief->links = header.references;
    rc = blob_size(&header, &brief->nbytes, err);
    return rc < 0 ? rc : blob_id(&header, &brief->id, err);
}

/* Bytes of all chunks of a dataset; 0 when they cannot be counted. */
static uint64_t
blob_stored(const hs_ohdr *header)
{
    uint64_t stored = header->chunk_size;

    for (int i = 0; i < header->rank; i++) {
        uint64_t chunk = header->chunk_dims[i];

        if (chunk == 0 ||
            !hs_mul(stored, header->dims[i] / chunk + (header->dims[i] % chunk != 0), &stored))
            return 0;
    }
    return stored;
}

/* Where the bytes lie; checks that HDF5 knows of enough of them. */
static int
blob_locate(const hs_ohdr *header, uint64_t eoa, hs_blob *blob, h5store_err *err)
{
    uint64_t address = header->data_address, stored = blob_stored(header), end;

    if (header->layout != HS_OHDR_IMPLICIT || address % HS_SPACE_UNIT != 0 ||
        stored < blob->info.array.nbytes || stored > INT64_MAX)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "its bytes are not where they must be");
    blob->extent = (hs_extent){address, hs_round_up(stored, HS_SPACE_UNIT)};
    if (!hs_add(address, blob->extent.length, &end) || end > eoa)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "its bytes lie beyond the end of the file");
    blob->info.offset = address;
    blob->info.stored_bytes = blob->extent.length;
    return H5STORE_OK;
}

static int
blob_read_inline(const hs_ohdr *header, hs_blob *blob, h5store_err *err)
{
    size_t size = (size_t)blob->info.array.nbytes;

    if (size == 0)
        return H5STORE_OK;
    if (header->layout != HS_OHDR_COMPACT || header->data_size != size)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "its bytes are not as many as they must be");
    memcpy(blob->inline_bytes, header->data, size);
    return H5STORE_OK;
}

static int
blob_read_dtype(const hs_ohdr *header, hs_blob *blob, h5store_err *err)
{
    const hs_ohdr_attribute *dtype = hs_ohdr_find(header, "dtype");

    if (dtype == NULL || dtype->type_class != H5T_STRING || dtype->count != 1 ||
        dtype->size > H5STORE_MAX_DTYPE)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "its attribute 'dtype' is not a text");
    blob->dtype = strndup((const char *)dtype->value, dtype->size);
    return blob->dtype != NULL ? H5STORE_OK : hs_fail_nomem(err, dtype->size, "a dtype");
}

static int
blob_read_shape(const hs_ohdr *header, h5store_array *array, h5store_err *err)
{
    const hs_ohdr_attribute *shape = hs_ohdr_find(header, "shape");

    if (shape == NULL || shape->type_class != H5T_INTEGER || shape->type_size != 8 ||
        shape->count > H5STORE_MAX_RANK)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "its attribute 'shape' is not a list of numbers");
    array->rank = (int)shape->count;
    for (int i = 0; i < array->rank; i++)
        array->shape[i] = hs_get_le64(shape->value + 8 * (size_t)i);
    return H5STORE_OK;
}

/* Where packed bytes lie; they cannot be mapped, and so have no offset for anybody else. */
static int
blob_locate_packed(hs_pager *pager, const hs_ohdr *header, uint64_t eoa, hs_blob *blob,
                   h5store_err *err)
{
    int rc = hs_packed_parse(pager, header, eoa, &blob->packed, &blob->extent, err);

    if (rc < 0)
        return rc;
    blob->info.stored_bytes = blob->extent.length;
    if (blob->packed.layout.extent >= blob->info.array.nbytes)
        return H5STORE_OK;
    return hs_fail(err, H5STORE_E_DAMAGED, 0, "its chunks do not hold all of it");
}

static int
blob_parse(hs_pager *pager, const hs_ohdr *header, uint64_t eoa, hs_blob *blob, h5store_err *err)
{
    h5store_array *array = &blob->info.array;
    char order[8] = "";
    size_t itemsize = 0;
    uint64_t size = 0;
    int rc = blob_id(header, &blob->info.id, err);

    if (rc == H5STORE_OK)
        rc = blob_read_dtype(header, blob, err);
    if (rc == H5STORE_OK)
        rc = blob_read_shape(header, array, err);
    if (rc == H5STORE_OK)
        rc = hs_dtype_itemsize(blob->dtype, &itemsize, err);
    if (rc == H5STORE_OK)
        rc = blob_size(header, &size, err);
    if (rc < 0)
        return rc;
    if (!hs_ohdr_text(header, "order", order, sizeof order) ||
        (strcmp(order, "C") != 0 && strcmp(order, "F") != 0) ||
        !hs_ohdr_u64(header, "checksum", &blob->sum))
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "its attributes are not as they must be");
    blob->damaged = hs_ohdr_find(header, "damaged") != NULL;
    blob->info.links = header->references > 0 ? header->references - 1 : 0;
    array->dtype = blob->dtype;
    array->order = order[0] == 'F' ? H5STORE_ORDER_F : H5STORE_ORDER_C;
    array->nbytes = itemsize;
    for (int i = 0; i < array->rank; i++)
        if (!hs_mul(array->nbytes, array->shape[i], &array->nbytes))
            return hs_fail(err, H5STORE_E_DAMAGED, 0, "its shape is impossible");
    if (size != array->nbytes)
        return hs_fail(err, H5STORE_E_DAMAGED, 0,
                       "it has %llu bytes by its attributes and %llu by its HDF5 type and shape",
                       (unsigned long long)array->nbytes, (unsigned long long)size);
    if (array->nbytes <= HS_ARRAY_INLINE)
        return blob_read_inline(header, blob, err);
    return header->filtered ? blob_locate_packed(pager, header, eoa, blob, err)
                            : blob_locate(header, eoa, blob, err);
}

int
hs_blob_parse(hs_pager *pager, const hs_ohdr *header, uint64_t eoa, hs_blob *blob, h5store_err *err)
{
    int rc;

    memset(blob, 0, sizeof *blob);
    rc = blob_parse(pager, header, eoa, blob, err);
    if (rc == H5STORE_OK)
        return rc;
    hs_blob_release(blob);
    memset(blob, 0, sizeof *blob);
    if (rc == H5STORE_E_INVALID || rc == H5STORE_E_UNSUPPORTED) {
        /* What an argument may not be, the file may not hold either. */
        h5store_err inner = err != NULL ? *err : (h5store_err){0};

        rc = hs_fail(err, H5STORE_E_DAMAGED, 0, "%s", inner.message);
    }
    return rc;
}

int
hs_blob_describe(hs_container *c, uint64_t address, hs_blob *blob, h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    char name[H5STORE_ID_TEXT_SIZE] = "";
    int rc;

    memset(blob, 0, sizeof *blob);
    rc = hs_ohdr_read(hs_container_pager(c), address, &header, err);
    if (rc == H5STORE_OK)
        rc = hs_blob_parse(hs_container_pager(c), &header, hs_container_space(c)->eoa, blob, err);
    if (rc == H5STORE_OK)
        return rc;
    if (!hs_ohdr_text(&header, "id", name, sizeof name))
        snprintf(name, sizeof name, "at byte %llu", (unsigned long long)address);
    return hs_prefix(err, rc, "blob %s of container '%s' is damaged", name, hs_container_path(c));
}

/* ---- making ----------------------------------------------------------- */

static int
blob_write_attributes(hid_t dataset, const h5store_id *id, const h5store_array *array, uint64_t sum,
                      h5store_err *err)
{
    char text[H5STORE_ID_TEXT_SIZE];
    int rc;

    h5store_id_format(id, text);
    rc = hs_h5_write_text(dataset, "id", text, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_write_text(dataset, "dtype", array->dtype, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_write_u64(dataset, "shape", array->shape, (size_t)array->rank, false, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_write_text(dataset, "order", array->order == H5STORE_ORDER_F ? "F" : "C", err);
    if (rc == H5STORE_OK)
        rc = hs_h5_write_u64(dataset, "checksum", &sum, 1, true, err);
    return rc;
}

/* The type that viewers see; arrays of items without bytes show as no bytes. */
static int
blob_type(const h5store_array *array, hid_t *type, h5store_err *err)
{
    size_t itemsize;
    int rc = hs_dtype_itemsize(array->dtype, &itemsize, err);

    if (rc < 0)
        return rc;
    if (itemsize > 0)
        return hs_dtype_to_hdf5(array->dtype, type, err);
    *type = H5Tcopy(H5T_STD_U8LE);
    return *type < 0 ? hs_h5_fail(err, H5STORE_E_HDF5, "cannot make a type") : H5STORE_OK;
}

static int
blob_creation_list(const hs_blob_parts *parts, hid_t *list, h5store_err *err)
{
    const hs_layout *layout = parts->layout;

    *list = H5Pcreate(H5P_DATASET_CREATE);
    if (*list < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe a dataset");
    /* Early allocation of chunks and no fill give the implicit index: one byte range. */
    if (layout->kind == HS_LAYOUT_COMPACT
            ? H5Pset_layout(*list, H5D_COMPACT) < 0
            : H5Pset_chunk(*list, layout->rank, layout->chunk) < 0 ||
                  H5Pset_alloc_time(*list, H5D_ALLOC_TIME_EARLY) < 0 ||
                  H5Pset_fill_time(*list, H5D_FILL_TIME_NEVER) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe a dataset");
    /* The library knows when something was put; four more times a dataset cost space. */
    if (H5Pset_obj_track_times(*list, false) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe a dataset");
    return parts->packed != NULL ? hs_packed_set_filters(parts->packed, *list, err) : H5STORE_OK;
}

/* Have HDF5 make the dataset where its bytes are. */
static int
blob_make(hs_container *c, hid_t file, const char *path, const hs_blob_parts *parts, hid_t *dataset,
          h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_type) hid_t type = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_space) hid_t space = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_plist) hid_t creation = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_group) hid_t fan = hs_blob_fan(c, parts->id);
    hid_t links;
    const hs_layout *layout = parts->layout;
    bool placed = layout->kind == HS_LAYOUT_CHUNKED && parts->packed == NULL;
    int rc = blob_type(parts->array, &type, err);

    if (rc == H5STORE_OK)
        rc = blob_creation_list(parts, &creation, err);
    if (rc == H5STORE_OK)
        rc = hs_container_link_list(c, &links, err);
    if (rc < 0)
        return rc;
    space = layout->rank == 0 ? H5Screate(H5S_SCALAR)
                              : H5Screate_simple(layout->rank, layout->dims, NULL);
    if (space < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe the shape of blob '%s'", path);
    if (placed)
        hs_container_place(c, parts->extent, layout->extent);
    *dataset = fan >= 0
                   ? H5Dcreate2(fan, hs_blob_name(path), type, space, links, creation, H5P_DEFAULT)
                   : H5Dcreate2(file, path, type, space, links, creation, H5P_DEFAULT);
    if (placed && !hs_container_placed(c) && *dataset >= 0)
        return hs_fail(err, H5STORE_E_HDF5, 0, "HDF5 placed blob '%s' elsewhere", path);
    if (*dataset < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot create blob '%s'", path);
    if (layout->kind == HS_LAYOUT_COMPACT && parts->array->nbytes > 0 &&
        H5Dwrite(*dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, parts->array->data) < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot write blob '%s'", path);
    return parts->packed != NULL
               ? hs_packed_announce(c, *dataset, parts->packed, parts->extent, err)
               : H5STORE_OK;
}

/* loose -> used */
static int
blob_use_extent(hs_container *c, const h5store_id *id, hs_extent extent, h5store_err *err)
{
    char path[HS_BLOB_PATH_SIZE];

    if (hs_space_tighten(hs_container_space(c), extent))
        return H5STORE_OK;
    hs_blob_path(id, path);
    return hs_fail(err, H5STORE_E_DAMAGED, 0,
                   "the place of blob '%s' is not in the space table of '%s'", path,
                   hs_container_path(c));
}

int
hs_blob_made(hs_container *c, const hs_blob_parts *parts, h5store_err *err)
{
    hs_counters *counters = &hs_container_space(c)->counters;
    int rc = H5STORE_OK;

    if (parts->layout->kind == HS_LAYOUT_CHUNKED)
        rc = blob_use_extent(c, parts->id, parts->extent, err);
    if (rc < 0)
        return rc;
    counters->blobs++;
    counters->blob_bytes += parts->array->nbytes;
    return H5STORE_OK;
}

int
hs_blob_create(hs_container *c, hid_t file, const hs_blob_parts *parts, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_dataset) hid_t dataset = H5I_INVALID_HID;
    char path[HS_BLOB_PATH_SIZE];
    int rc;

    hs_blob_path(parts->id, path);
    rc = blob_make(c, file, path, parts, &dataset, err);
    if (rc == H5STORE_OK)
        rc = blob_write_attributes(dataset, parts->id, parts->array, parts->sum, err);
    return rc < 0 ? rc : hs_blob_made(c, parts, err);
}

/* ---- removing --------------------------------------------------------- */

int
hs_blob_give_up(hs_container *c, const hs_ohdr *header, h5store_err *err)
{
    hs_space *space = hs_container_space(c);
    hs_ohdr_block index[2] = {{0, 0}, {0, 0}}; /* of a packed one */
    uint64_t size = 0;
    hs_blob blob = {0};
    int rc;

    /* Damaged, it must go all the same; its space is lost to a repack. */
    if (header->block_count > 0 &&
        hs_blob_parse(hs_container_pager(c), header, space->eoa, &blob, NULL) == H5STORE_OK &&
        blob.extent.length > 0) {
        if (hs_is_packed(&blob.packed) &&
            hs_packed_blocks(hs_container_pager(c), header, index, NULL) < 0)
            index[0].length = index[1].length = 0;
        rc = hs_space_loosen(space, blob.extent, hs_container_sequence(c), err);
        if (rc < 0) {
            hs_blob_release(&blob);
            return rc;
        }
    }
    hs_blob_release(&blob);
    (void)blob_size(header, &size, NULL);
    space->counters.blobs -= hs_min(space->counters.blobs, 1);
    space->counters.blob_bytes -= hs_min(space->counters.blob_bytes, size);
    hs_ohdr_give_back(space, header);
    for (int i = 0; i < 2; i++)
        if (index[i].length > 0)
            hs_space_give_block(space, index[i].address, index[i].length);
    return H5STORE_OK;
}

/* The group of the blobs with the same two digits. */
struct blob_fan {
    hid_t group;
    uint64_t address; /* to be changed past HDF5; else 0 */
};

/* Take a blob away, if it is unused. */
static int
blob_drop(hs_container *c, const struct blob_fan *fan, const h5store_id *id, bool *dropped,
          h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    char name[H5STORE_ID_TEXT_SIZE];
    uint64_t address;
    int rc;

    h5store_id_format(id, name);
    if (hs_h5_find(fan->group, name, &address, NULL) < 0)
        return H5STORE_OK;
    rc = hs_ohdr_read(hs_container_pager(c), address, &header, err);
    if (rc < 0 && rc != H5STORE_E_DAMAGED)
        return rc;
    if (rc == H5STORE_OK && header.references > 1)
        return rc;
    rc = hs_blob_give_up(c, &header, err);
    if (rc < 0)
        return rc;
    *dropped = true;
    if (fan->address != 0)
        return hs_container_unlink_settled(c, fan->address, name, strlen(name), err);
    if (H5Ldelete(fan->group, name, H5P_DEFAULT) < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot remove blob '%s'", name);
    return H5STORE_OK;
}

/* Open the group that a blob is in, and decide how it is changed. */
static void
blob_open_fan(hs_container *c, hid_t file, const h5store_id *id, struct blob_fan *fan)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    char path[HS_BLOB_PATH_SIZE];
    uint64_t address;

    hs_blob_path(id, path);
    path[sizeof "/blobs/3f" - 1] = '\0';
    fan->address = 0;
    fan->group = H5Gopen2(file, path, H5P_DEFAULT);
    if (fan->group < 0)
        (void)H5Eclear2(H5E_DEFAULT);
    else if (hs_h5_find(file, path, &address, NULL) == H5STORE_OK &&
             hs_ohdr_read(hs_container_pager(c), address, &header, NULL) == H5STORE_OK &&
             header.link_count > BLOB_LINKS_FOR_HDF5)
        fan->address = address;
}

static int
blob_compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(h5store_id));
}

int
hs_blob_drop_unused(hs_container *c, hid_t file, h5store_id *ids, size_t count, bool *dropped,
                    h5store_err *err)
{
    struct blob_fan fan = {H5I_INVALID_HID, 0};
    int rc = H5STORE_OK;

    *dropped = false;
    if (count == 0)
        return rc;
    /* So that the headers in the pages have the counts that HDF5 has. */
    rc = hs_container_settle_pages(c, err);
    qsort(ids, count, sizeof *ids, blob_compare);
    for (size_t i = 0; rc == H5STORE_OK && i < count; i++) {
        if (i > 0 && h5store_id_equal(&ids[i], &ids[i - 1]))
            continue;
        if (fan.group < 0 || ids[i].bytes[0] != ids[i - 1].bytes[0]) {
            hs_h5_close_group(&fan.group);
            blob_open_fan(c, file, &ids[i], &fan);
        }
        if (fan.group >= 0)
            rc = blob_drop(c, &fan, &ids[i], dropped, err);
    }
    hs_h5_close_group(&fan.group);
    return rc;
}

/* ---- damage ----------------------------------------------------------- */

static int
blob_open(hid_t file, const h5store_id *id, hid_t *dataset, h5store_err *err)
{
    char path[HS_BLOB_PATH_SIZE];

    hs_blob_path(id, path);
    *dataset = H5Dopen2(file, path, H5P_DEFAULT);
    return *dataset >= 0 ? H5STORE_OK
                         : hs_h5_fail(err, H5STORE_E_DAMAGED, "blob '%s' cannot be opened", path);
}

int
hs_blob_mark(hid_t file, const h5store_id *id, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_dataset) hid_t dataset = H5I_INVALID_HID;
    uint64_t one = 1;
    int rc = blob_open(file, id, &dataset, err);

    return rc < 0 ? rc : hs_h5_write_u64(dataset, "damaged", &one, 1, true, err);
}

/* Another extent takes the place of a packed blob's. */
static int
blob_exchange(hs_container *c, hid_t file, const hs_blob *old, const hs_blob_parts *parts,
              h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    uint64_t address;
    int rc = hs_blob_find(file, parts->id, &address, err);

    if (rc == H5STORE_OK)
        rc = hs_ohdr_read(hs_container_pager(c), address, &header, err);
    if (rc == H5STORE_OK)
        rc = hs_packed_rewrite(hs_container_pager(c), &header, parts->packed, parts->extent, err);
    if (rc == H5STORE_OK)
        rc = blob_use_extent(c, parts->id, parts->extent, err);
    if (rc == H5STORE_OK)
        rc = hs_space_loosen(hs_container_space(c), old->extent, hs_container_sequence(c), err);
    if (rc == H5STORE_OK)
        hs_container_changed_headers(c);
    return rc;
}

int
hs_blob_mend(hs_container *c, hid_t file, const hs_blob *old, const hs_blob_parts *parts,
             h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_dataset) hid_t dataset = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_type) hid_t type = H5I_INVALID_HID;
    htri_t marked;
    int rc = parts->packed != NULL ? blob_exchange(c, file, old, parts, err) : H5STORE_OK;

    if (rc == H5STORE_OK)
        rc = blob_open(file, parts->id, &dataset, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_write_u64(dataset, "checksum", &parts->sum, 1, true, err);
    if (rc < 0)
        return rc;
    type = H5Dget_type(dataset);
    marked = H5Aexists(dataset, "damaged");
    if (type < 0 || marked < 0 || (marked > 0 && H5Adelete(dataset, "damaged") < 0))
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot clear the mark of a blob");
    if (parts->layout->kind == HS_LAYOUT_COMPACT && parts->array->nbytes > 0 &&
        H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, parts->array->data) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot write the bytes of a blob again");
    return H5STORE_OK;
}
