/* SPDX-License-Identifier: MIT */
/*
 * The one place that knows HDF5 versions.  H5FD_class_t of 1.10 begins with the name;
 * 1.13 moved the driver interface to H5FDdevelop.h and added the fields version (which
 * is checked) and value (256 to 511 are for testing; a driver by id needs no registered
 * one).  Designated initialisers leave all newer callbacks NULL, which HDF5 takes as
 * "do it by read and write".
 */
#ifndef HS_VFD_COMPAT_H
#define HS_VFD_COMPAT_H

#include <hdf5.h>

#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#define HS_VFD_CLASS_NEW .version = H5FD_CLASS_VERSION, .value = (H5FD_class_value_t)511
#else
#define HS_VFD_CLASS_NEW .sb_size = NULL
#endif

/* In the access flags is a call that ends the program when the library is of another release than
 * these headers.  Releases of one minor version go together, and vfd.c refuses others. */
#undef H5CHECK
#define H5CHECK

/* Link information: 1.12 replaced addresses by tokens, in new calls. */
#if H5_VERSION_GE(1, 12, 0)
typedef H5L_info2_t hs_link_info;
#define hs_link_iterate H5Literate2
#define hs_link_info_get(loc, path, info) H5Lget_info2((loc), (path), (info), H5P_DEFAULT)
#define hs_open_at(file, address) \
    __extension__({ \
        H5O_token_t hs_token; \
        H5VLnative_addr_to_token((file), (address), &hs_token) < 0 \
            ? H5I_INVALID_HID \
            : H5Oopen_by_token((file), hs_token); \
    })
/* The native format's token is the address, little-endian. */
#define hs_link_place(info) ((info).u.token)
#else
typedef H5L_info_t hs_link_info;
#define hs_link_iterate H5Literate
#define hs_link_info_get(loc, path, info) H5Lget_info((loc), (path), (info), H5P_DEFAULT)
#define hs_open_at(file, address) H5Oopen_by_addr((file), (address))
#define hs_link_place(info) ((info).u.address)
#endif

/* For the tests, which compare our own reading of the format with HDF5's. */
#if H5_VERSION_GE(1, 12, 0)
typedef H5O_info2_t hs_object_info;
typedef H5O_native_info_t hs_header_info;
#define hs_object_info_get(object, info) \
    H5Oget_info3((object), (info), H5O_INFO_BASIC | H5O_INFO_NUM_ATTRS)
#define hs_object_address(object, info, address) \
    H5VLnative_token_to_addr((object), (info).token, (address))
#define hs_header_info_get(object, info) H5Oget_native_info((object), (info), H5O_NATIVE_INFO_HDR)
#else
typedef H5O_info_t hs_object_info;
typedef H5O_info_t hs_header_info;
#define hs_object_info_get(object, info) \
    H5Oget_info2((object), (info), H5O_INFO_BASIC | H5O_INFO_NUM_ATTRS)
#define hs_object_address(object, info, address) (*(address) = (info).addr, 0)
#define hs_header_info_get(object, info) H5Oget_info2((object), (info), H5O_INFO_HDR)
#endif

/* 2.0 wants to know the size of the buffer. */
#if H5_VERSION_GE(2, 0, 0)
#define hs_read_chunk(dataset, origin, mask, buffer, size) \
    H5Dread_chunk2((dataset), H5P_DEFAULT, (origin), (mask), (buffer), (size))
#define hs_type_decode(bytes, size) H5Tdecode2((bytes), (size))
#else
#define hs_type_decode(bytes, size) ((void)(size), H5Tdecode(bytes))
#define hs_read_chunk(dataset, origin, mask, buffer, size) \
    ((void)(size), H5Dread_chunk((dataset), H5P_DEFAULT, (origin), (mask), (buffer)))
#endif

#endif
