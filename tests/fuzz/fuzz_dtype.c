/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target (libFuzzer) for descriptions of element types: any bytes at all.
 *
 * Beyond not crashing, each text must be refused with one of the documented codes and
 * leave the output alone, or have an HDF5 type of exactly its item size.
 */
#include "dtype.h"
#include "h5util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    HS_CLEANUP(hs_freep)
    char *descr = malloc(size + 1); /* exact, so that ASan sees a step too far */
    h5store_err err;
    size_t itemsize = SIZE_MAX;
    hid_t type = H5I_INVALID_HID;
    int rc;

    if (descr == NULL)
        return 0;
    memcpy(descr, data, size);
    descr[size] = '\0';
    rc = hs_dtype_itemsize(descr, &itemsize, &err);
    if (rc != H5STORE_OK) {
        if ((rc != H5STORE_E_INVALID && rc != H5STORE_E_UNSUPPORTED) || err.code != rc ||
            itemsize != SIZE_MAX)
            abort();
        return 0;
    }
    if (itemsize > INT32_MAX)
        abort();
    hs_h5_enter();
    rc = hs_dtype_to_hdf5(descr, &type, &err);
    if (rc == H5STORE_OK ? H5Tget_size(type) != itemsize
                         : rc != H5STORE_E_UNSUPPORTED || type != H5I_INVALID_HID)
        abort();
    hs_h5_close_type(&type);
    hs_h5_leave();
    return 0;
}
