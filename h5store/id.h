/* SPDX-License-Identifier: MIT */
/*
 * The name of a blob: 32 bytes of SHA-256, written as 64 lower-case hex digits.
 * FORMAT.md, "Name of a blob", says what is hashed.
 */
#ifndef H5STORE_ID_H
#define H5STORE_ID_H

#include <h5store/error.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Bytes of an id, and the size of its text with the terminating zero. */
#define H5STORE_ID_SIZE 32
#define H5STORE_ID_TEXT_SIZE 65

/** A blob's name.  A plain value: copy and compare it freely. */
typedef struct h5store_id {
    uint8_t bytes[H5STORE_ID_SIZE];
} h5store_id;

/**
 * Write an id as 64 lower-case hex digits and a zero.
 *
 * @param      id    Not NULL.
 * @param[out] text  At least H5STORE_ID_TEXT_SIZE bytes.
 * @since 0.2
 */
H5STORE_API void h5store_id_format(const h5store_id *id, char text[H5STORE_ID_TEXT_SIZE]);

/**
 * Read an id from exactly 64 hex digits of either case.
 *
 * @param      text  Zero-terminated.
 * @param[out] id    Written only on success.
 * @param[out] err   May be NULL.
 *
 * @retval H5STORE_OK         Done.
 * @retval H5STORE_E_INVALID  A NULL argument, another length, or another character.
 * @since 0.2
 */
H5STORE_API int h5store_id_parse(const char *text, h5store_id *id,
                                 h5store_err *err) H5STORE_MUST_CHECK;

/** 1 when both are the same, else 0.  Neither may be NULL.  @since 0.2 */
H5STORE_API int h5store_id_equal(const h5store_id *a, const h5store_id *b);

#ifdef __cplusplus
}
#endif
#endif
