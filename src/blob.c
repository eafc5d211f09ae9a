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

void
hs_blob_release(hs_blob *blob)
{
    free(blob->dtype);
    blob->dtype = NULL;
}

void
hs_blob_path(const h5store_id *id, char path[HS_BLOB_PATH_SIZE])
{
    char text[H5STORE_ID_TEXT_SIZE];

    h5store_id_format(id, text);
    snprintf(path, HS_BLOB_PATH_SIZE, "/blobs/%.2s/%s", text, text);
}

int
hs_blob_find(hid_t file, const h5store_id *id, hid_t *dataset, h5store_err *err)
{
    char path[HS_BLOB_PATH_SIZE];

    hs_blob_path(id, path);
    *dataset = H5Dopen2(file, path, H5P_DEFAULT);
    if (*dataset >= 0)
        return H5STORE_OK;
    (void)H5Eclear2(H5E_DEFAULT);
    return hs_fail(err, H5STORE_E_NOT_FOUND, 0, "there is no blob %s", path + sizeof "/blobs/3f");
}

/* ---- describing ------------------------------------------------------- */

/* Bytes of the array by HDF5's own description, which a damaged attribute leaves alone. */
static int
blob_size(hid_t dataset, uint64_t *nbytes, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_type) hid_t type = H5Dget_type(dataset);
    HS_CLEANUP(hs_h5_close_space) hid_t space = H5Dget_space(dataset);
    hssize_t points = space < 0 ? -1 : H5Sget_simple_extent_npoints(space);
    size_t size = type < 0 ? 0 : H5Tget_size(type);

    if (points < 0 || size == 0 || !hs_mul((uint64_t)points, size, nbytes))
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "the shape of a blob is impossible");
    return H5STORE_OK;
}

int
hs_blob_brief_of(hid_t dataset, hs_blob_brief *brief, h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *text = NULL;
    int rc;

    memset(brief, 0, sizeof *brief);
    rc = blob_size(dataset, &brief->nbytes, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_link_count(dataset, &brief->links, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_read_text(dataset, "id", H5STORE_ID_TEXT_SIZE, &text, err);
    if (rc == H5STORE_OK && h5store_id_parse(text, &brief->id, NULL) < 0)
        rc = hs_fail(err, H5STORE_E_DAMAGED, 0, "'%s' is not the name of a blob", text);
    return rc;
}

/* Where the bytes lie; checks that HDF5 knows of enough of them. */
static int
blob_locate(hs_container *c, hid_t dataset, hs_blob *blob, h5store_err *err)
{
    static const hsize_t origin[H5S_MAX_RANK];
    haddr_t address = HADDR_UNDEF;
    hsize_t size = 0, stored = H5Dget_storage_size(dataset);
    unsigned mask = 0;

    if (H5Dget_chunk_info_by_coord(dataset, origin, &mask, &address, &size) < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_DAMAGED, "its bytes cannot be located");
    if (address == HADDR_UNDEF || address % HS_SPACE_UNIT != 0 || mask != 0 ||
        stored < blob->info.array.nbytes)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "its bytes are not where they must be");
    blob->extent = (hs_extent){address, hs_round_up(stored, HS_SPACE_UNIT)};
    if (address + blob->extent.length > hs_container_space(c)->eoa)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "its bytes lie beyond the end of the file");
    blob->info.offset = address;
    blob->info.stored_bytes = blob->extent.length;
    return H5STORE_OK;
}

static int
blob_read_inline(hs_container *c, hid_t dataset, hs_blob *blob, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_type) hid_t type = H5Dget_type(dataset);

    if (blob->info.array.nbytes == 0)
        return H5STORE_OK;
    if (type < 0 || H5Dget_storage_size(dataset) != blob->info.array.nbytes)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "its bytes are not as many as they must be");
    if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, blob->inline_bytes) < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_DAMAGED, "its bytes cannot be read");
    return H5STORE_OK;
}

static int
blob_describe(hs_container *c, hid_t dataset, hs_blob *blob, h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *order = NULL;
    HS_CLEANUP(hs_freep) char *id = NULL;
    h5store_array *array = &blob->info.array;
    size_t rank = 0, itemsize = 0, one = 0;
    uint64_t links = 0, size = 0;
    htri_t damaged;
    int rc = hs_h5_read_text(dataset, "id", H5STORE_ID_TEXT_SIZE, &id, err);

    if (rc == H5STORE_OK)
        rc = h5store_id_parse(id, &blob->info.id, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_read_text(dataset, "dtype", H5STORE_MAX_DTYPE, &blob->dtype, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_read_u64(dataset, "shape", array->shape, H5STORE_MAX_RANK, &rank, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_read_text(dataset, "order", 8, &order, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_read_u64(dataset, "checksum", &blob->sum, 1, &one, err);
    if (rc == H5STORE_OK)
        rc = hs_dtype_itemsize(blob->dtype, &itemsize, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_link_count(dataset, &links, err);
    if (rc == H5STORE_OK)
        rc = blob_size(dataset, &size, err);
    if (rc < 0)
        return rc;
    damaged = H5Aexists(dataset, "damaged");
    blob->damaged = damaged != 0;
    blob->info.links = links > 0 ? links - 1 : 0;
    array->dtype = blob->dtype;
    array->rank = (int)rank;
    array->order = order[0] == 'F' ? H5STORE_ORDER_F : H5STORE_ORDER_C;
    array->nbytes = itemsize;
    for (size_t i = 0; i < rank; i++)
        if (!hs_mul(array->nbytes, array->shape[i], &array->nbytes))
            return hs_fail(err, H5STORE_E_DAMAGED, 0, "its shape is impossible");
    if (size != array->nbytes)
        return hs_fail(err, H5STORE_E_DAMAGED, 0,
                       "it has %llu bytes by its attributes and %llu by its HDF5 type and shape",
                       (unsigned long long)array->nbytes, (unsigned long long)size);
    if (one != 1 || (strcmp(order, "C") != 0 && strcmp(order, "F") != 0))
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "its attributes are not as they must be");
    return array->nbytes <= HS_ARRAY_INLINE ? blob_read_inline(c, dataset, blob, err)
                                            : blob_locate(c, dataset, blob, err);
}

int
hs_blob_describe(hs_container *c, hid_t dataset, hs_blob *blob, h5store_err *err)
{
    char name[128] = "?";
    int rc;

    memset(blob, 0, sizeof *blob);
    rc = blob_describe(c, dataset, blob, err);
    if (rc == H5STORE_OK)
        return rc;
    hs_blob_release(blob);
    memset(blob, 0, sizeof *blob);
    (void)H5Iget_name(dataset, name, sizeof name);
    if (rc == H5STORE_E_INVALID || rc == H5STORE_E_UNSUPPORTED) {
        /* What an argument may not be, the file may not hold either. */
        h5store_err inner = err != NULL ? *err : (h5store_err){0};

        rc = hs_fail(err, H5STORE_E_DAMAGED, 0, "%s", inner.message);
    }
    return hs_prefix(err, rc, "blob '%s' of container '%s' is damaged", name,
                     hs_container_path(c));
}

/* ---- making ----------------------------------------------------------- */

static int
blob_write_attributes(hid_t dataset, const h5store_id *id, const h5store_array *array,
                      uint64_t sum, h5store_err *err)
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
blob_creation_list(const hs_layout *layout, hid_t *list, h5store_err *err)
{
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
    return H5STORE_OK;
}

int
hs_blob_create(hs_container *c, hid_t file, const h5store_id *id, const h5store_array *array,
               const hs_layout *layout, hs_extent extent, uint64_t sum, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_type) hid_t type = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_space) hid_t space = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_plist) hid_t creation = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_plist) hid_t links = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_dataset) hid_t dataset = H5I_INVALID_HID;
    bool compact = layout->kind == HS_LAYOUT_COMPACT;
    hs_counters *counters = &hs_container_space(c)->counters;
    char path[HS_BLOB_PATH_SIZE];
    int rc = blob_type(array, &type, err);

    if (rc == H5STORE_OK)
        rc = blob_creation_list(layout, &creation, err);
    if (rc == H5STORE_OK)
        rc = hs_h5_link_list(&links, err);
    if (rc < 0)
        return rc;
    hs_blob_path(id, path);
    space = layout->rank == 0 ? H5Screate(H5S_SCALAR)
                              : H5Screate_simple(layout->rank, layout->dims, NULL);
    if (space < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe the shape of blob '%s'", path);
    if (!compact)
        hs_container_place(c, extent, layout->extent);
    dataset = H5Dcreate2(file, path, type, space, links, creation, H5P_DEFAULT);
    if (!hs_container_placed(c) && !compact && dataset >= 0)
        return hs_fail(err, H5STORE_E_HDF5, 0, "HDF5 placed blob '%s' elsewhere", path);
    if (dataset < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot create blob '%s'", path);
    if (compact && array->nbytes > 0 &&
        H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, array->data) < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot write blob '%s'", path);
    rc = blob_write_attributes(dataset, id, array, sum, err);
    if (rc < 0)
        return rc;
    if (!compact && !hs_space_tighten(hs_container_space(c), extent))
        return hs_fail(err, H5STORE_E_DAMAGED, 0,
                       "the place of blob '%s' is not in the space table of '%s'", path,
                       hs_container_path(c));
    counters->blobs++;
    counters->blob_bytes += array->nbytes;
    return H5STORE_OK;
}

int
hs_blob_drop_unused(hs_container *c, hid_t file, const h5store_id *id, bool *dropped,
                    h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_dataset) hid_t dataset = H5I_INVALID_HID;
    hs_counters *counters = &hs_container_space(c)->counters;
    char path[HS_BLOB_PATH_SIZE];
    hs_blob blob;
    uint64_t links, size = 0;
    int rc = hs_blob_find(file, id, &dataset, NULL);

    *dropped = false;
    if (rc == H5STORE_E_NOT_FOUND)
        return H5STORE_OK;
    rc = hs_h5_link_count(dataset, &links, err);
    if (rc < 0 || links > 1)
        return rc;
    hs_blob_path(id, path);
    rc = hs_blob_describe(c, dataset, &blob, err);
    if (rc == H5STORE_OK) {
        if (blob.extent.length > 0)
            rc = hs_space_loosen(hs_container_space(c), blob.extent, hs_container_sequence(c),
                                 err);
        hs_blob_release(&blob);
    } else if (rc == H5STORE_E_DAMAGED) {
        rc = H5STORE_OK; /* its space is lost to a repack, but it must go all the same */
    }
    if (rc < 0)
        return rc;
    (void)blob_size(dataset, &size, NULL);
    counters->blobs -= hs_min(counters->blobs, 1);
    counters->blob_bytes -= hs_min(counters->blob_bytes, size);
    hs_h5_close_dataset(&dataset);
    if (H5Ldelete(file, path, H5P_DEFAULT) < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot remove blob '%s'", path);
    *dropped = true;
    return H5STORE_OK;
}

int
hs_blob_mark(hid_t dataset, h5store_err *err)
{
    uint64_t one = 1;

    return hs_h5_write_u64(dataset, "damaged", &one, 1, true, err);
}

int
hs_blob_mend(hid_t dataset, const h5store_array *array, const hs_layout *layout, uint64_t sum,
             h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_type) hid_t type = H5Dget_type(dataset);
    htri_t marked = H5Aexists(dataset, "damaged");
    int rc = hs_h5_write_u64(dataset, "checksum", &sum, 1, true, err);

    if (rc < 0)
        return rc;
    if (type < 0 || marked < 0 || (marked > 0 && H5Adelete(dataset, "damaged") < 0))
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot clear the mark of a blob");
    if (layout->kind == HS_LAYOUT_COMPACT && array->nbytes > 0 &&
        H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, array->data) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot write the bytes of a blob again");
    return H5STORE_OK;
}
