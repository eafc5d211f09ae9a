/* SPDX-License-Identifier: MIT */
/*
 * NumPy's dtype descriptions, and the HDF5 types that show them to people.
 *
 * The description (h5store/array.h) is what decache restores from; the HDF5 type is
 * for viewers and must equal what h5py would have made, so that h5py gives the dtype
 * back.  The table of all kinds is in dtype.c and in FORMAT.md, "Element types".
 */
#ifndef HS_DTYPE_H
#define HS_DTYPE_H

#include "error.h"
#include <h5store/array.h>
#include <hdf5.h>

/*
 * Item size of a description.  The parser trusts nothing: it bounds length
 * (H5STORE_MAX_DTYPE), depth (32) and sizes (2^31), and never reads past the zero.
 * INVALID, UNSUPPORTED, NOMEM.
 */
int hs_dtype_itemsize(const char *descr, size_t *itemsize, h5store_err *err);

/*
 * The HDF5 type of a description; @p type is closed by the caller with H5Tclose.  Called
 * inside HDF5.  Its size equals the item size.  UNSUPPORTED also for items
 * of 0 bytes, which no HDF5 type has.
 */
int hs_dtype_to_hdf5(const char *descr, hid_t *type, h5store_err *err);

/*
 * The same as the body of the message by which an object header states it; free() it.  Goes into
 * HDF5 itself.  UNSUPPORTED also when HDF5 encodes it in a way that is not known here.
 */
int hs_dtype_encode(const char *descr, uint8_t **message, size_t *size, h5store_err *err);

#endif
