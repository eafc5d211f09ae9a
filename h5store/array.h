/* SPDX-License-Identifier: MIT */
/*
 * How an array is described to the store.
 *
 * The element type is given as text, in NumPy's own notation as it stands in the
 * header of a .npy file (numpy.lib.format.dtype_to_descr):
 *
 *   '<f8'                                    a plain type
 *   '<M8[ns]'                                a date with its unit
 *   [('x', '<i4'), ('y', '<f8', (3,))]       a record; subarrays as a third member
 *   [('', '|V4'), ('x', '<i8')]              padding as nameless void, as .npy does
 *
 * plus what .npy loses and decache needs: a dict form for records with titles,
 * aligned flags or overlapping fields,
 *
 *   {'names': [...], 'formats': [...], 'offsets': [...], 'titles': [...],
 *    'itemsize': 16, 'aligned': True}
 *
 * FORMAT.md, "Element types", has the grammar and the HDF5 type that each maps to.
 * Types that hold pointers ('O', NumPy's StringDType) have no description here.
 */
#ifndef H5STORE_ARRAY_H
#define H5STORE_ARRAY_H

#include <h5store/error.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Most dimensions an array may have (NumPy's own limit since 2.0). */
#define H5STORE_MAX_RANK 64

/** Longest dtype description, in bytes without the zero. */
#define H5STORE_MAX_DTYPE 65000

/** How the bytes lie. */
typedef enum h5store_order {
    H5STORE_ORDER_C = 0, /**< the last index varies fastest */
    H5STORE_ORDER_F = 1  /**< the first index varies fastest */
} h5store_order;

/**
 * One array: what its bytes mean and where they are.  A plain value; the
 * pointers are borrowed, by the library from the caller during a call, by the
 * caller from an h5store_blob until that is closed.
 *
 * There are exactly @c nbytes bytes, which must be the product of the shape and
 * the item size.  Without @c strides they are contiguous in @c order.  With
 * strides they may lie anywhere; such an array is stored as if it had been copied
 * to one piece in order C, but is never copied as a whole.
 */
typedef struct h5store_array {
    const char *dtype;                /**< NumPy's description, UTF-8 */
    h5store_order order;              /**< C for rank 0 and 1 */
    int rank;                         /**< 0 to H5STORE_MAX_RANK */
    uint64_t shape[H5STORE_MAX_RANK]; /**< first index first, whatever the order */
    uint64_t nbytes;                  /**< length of data */
    const void *data;                 /**< the first element; NULL in descriptions that
                                           were read */
    const int64_t *strides;           /**< NULL, or for each dimension the bytes from one
                                           index to the next, also 0 or less; order C */
} h5store_array;

/**
 * Bytes of one element of a dtype.
 *
 * @param      dtype     NumPy's description.
 * @param[out] itemsize  Written only on success.
 * @param[out] err       May be NULL.
 *
 * @retval H5STORE_OK             Done.
 * @retval H5STORE_E_INVALID      NULL, or not a description.
 * @retval H5STORE_E_UNSUPPORTED  A description of a type that HDF5 cannot hold.
 * @retval H5STORE_E_NOMEM        Memory ran out.
 * @since 0.2
 */
H5STORE_API int h5store_dtype_itemsize(const char *dtype, size_t *itemsize,
                                       h5store_err *err) H5STORE_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
