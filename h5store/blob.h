/* SPDX-License-Identifier: MIT */
/*
 * Reading stored arrays, one at a time or all of them.
 *
 * An h5store_blob is one array that was looked up and pinned: as long as it is
 * open its bytes stay where they are, in this and every other process, even if
 * the array is removed from the container meanwhile.  Reading and mapping take no
 * lock and make no HDF5 call.
 */
#ifndef H5STORE_BLOB_H
#define H5STORE_BLOB_H

#include <h5store/array.h>
#include <h5store/id.h>
#include <h5store/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An array that was looked up and is pinned.  Opaque; for one thread at a time. */
typedef struct h5store_blob h5store_blob;

/** How much h5store_blob_read checks. */
typedef enum h5store_check {
    H5STORE_CHECK_NEVER = 0, /**< nothing */
    H5STORE_CHECK_FAST = 1,  /**< the fast checksum, while the bytes are in cache */
    H5STORE_CHECK_FULL = 2   /**< the SHA-256, that is, the name itself */
} h5store_check;

/** What is known of a blob. */
typedef struct h5store_blob_info {
    h5store_id id;
    h5store_array array;   /**< dtype is owned by the blob or cursor; data is NULL */
    uint64_t links;        /**< what keeps it: each link of an item, and 1 if kept by put */
    uint64_t offset;       /**< of the bytes in the container file; 0 if they are not there
                                as they are: kept inline or compressed */
    uint64_t stored_bytes; /**< bytes set aside for it in the file; 0 if kept inline */
} h5store_blob_info;

/**
 * Store an array by itself and keep it until h5store_discard.
 *
 * The bytes are hashed first, by several threads; when the container holds them
 * already nothing is written.  To store arrays that belong to a result, use
 * h5store_batch instead: they then live exactly as long as their items.
 *
 * Locks: WRITE twice, for a moment; never while bytes are hashed or written.
 * Crash: killed inside this call, the container is as before or as after.
 *
 * @param      array  Borrowed for the call.
 * @param[out] id     Written only on success; may be NULL.
 * @param[out] err    May be NULL.
 *
 * @retval H5STORE_OK             A new dataset was written, and is kept.
 * @retval H5STORE_EXISTS         It was stored already, and is kept.
 * @retval H5STORE_E_INVALID      A NULL argument, or a description that contradicts itself.
 * @retval H5STORE_E_UNSUPPORTED  A dtype that HDF5 cannot hold.
 * @retval H5STORE_E_READ_ONLY    The store is open read-only.
 * @retval H5STORE_E_NO_SPACE     Disk or quota full; the container is unchanged.
 * @retval H5STORE_E_BUSY         WRITE was not to be had within the timeout.
 * @retval H5STORE_E_IO           The system refused a call.
 * @retval H5STORE_E_NOMEM        Memory ran out.
 * @retval H5STORE_E_CHANGED      The file was deleted, replaced or written by another program.
 * @retval H5STORE_E_DAMAGED      The container's metadata is not readable.
 * @retval H5STORE_E_HDF5         HDF5 failed.
 * @retval H5STORE_E_POISONED     An earlier sync failed.
 * @retval H5STORE_E_FORKED       Used in a child.
 * @retval H5STORE_E_CLOSED       Being closed.
 * @since 0.2
 */
H5STORE_API int h5store_put(h5store *store, const h5store_array *array, h5store_id *id,
                            h5store_err *err) H5STORE_MUST_CHECK;

/**
 * No longer keep what h5store_put stored.  The array goes at once if no item
 * refers to it.
 *
 * @retval H5STORE_OK           Done.
 * @retval H5STORE_E_NOT_FOUND  It was not kept.
 * @retval others               As for h5store_put.
 * @since 0.2
 */
H5STORE_API int h5store_discard(h5store *store, const h5store_id *id,
                                h5store_err *err) H5STORE_MUST_CHECK;

/**
 * Compute the name an array would have.  Touches no container, takes no lock.
 *
 * @param      threads  0: as h5store_options.
 * @retval H5STORE_OK         Done.
 * @retval H5STORE_E_INVALID  A NULL argument, or a description that contradicts itself.
 * @retval H5STORE_E_UNSUPPORTED  A dtype that HDF5 cannot hold.
 * @retval H5STORE_E_NOMEM    Memory ran out.
 * @since 0.2
 */
H5STORE_API int h5store_hash(const h5store_array *array, int threads, h5store_id *id,
                             h5store_err *err) H5STORE_MUST_CHECK;

/**
 * Look a blob up by name and pin it.
 *
 * Locks: READ, shared, for a moment.
 *
 * @param[out] blob  Written only on success; release with h5store_blob_close.
 *
 * @retval H5STORE_OK           Open.
 * @retval H5STORE_E_NOT_FOUND  No such blob.
 * @retval H5STORE_E_INVALID    A NULL argument.
 * @retval H5STORE_E_DAMAGED    It is there but cannot be understood.
 * @retval H5STORE_E_BUSY, H5STORE_E_IO, H5STORE_E_NOMEM, H5STORE_E_CHANGED,
 *         H5STORE_E_FORKED, H5STORE_E_CLOSED  As for h5store_stat.
 * @since 0.2
 */
H5STORE_API int h5store_blob_open(h5store *store, const h5store_id *id, h5store_blob **blob,
                                  h5store_err *err) H5STORE_MUST_CHECK;

/** What is known of an open blob; valid until it is closed.  @since 0.2 */
H5STORE_API const h5store_blob_info *h5store_blob_get_info(const h5store_blob *blob);

/**
 * Copy the bytes of a blob into memory, by several threads, and check them.
 *
 * @param      buffer  Of @p size bytes; its contents are unspecified on failure.
 * @param      size    Must be info->array.nbytes.
 *
 * @retval H5STORE_OK         The bytes are those that were put (as far as @p check looks).
 * @retval H5STORE_E_DAMAGED  They are not.  The next put of the same array mends the
 *                            blob for all results that share it.
 * @retval H5STORE_E_INVALID  A NULL argument or another size.
 * @retval H5STORE_E_IO       The system refused a read.
 * @retval H5STORE_E_FORKED   Used in a child.
 * @since 0.2
 */
H5STORE_API int h5store_blob_read(h5store_blob *blob, void *buffer, size_t size,
                                  h5store_check check, h5store_err *err) H5STORE_MUST_CHECK;

/**
 * Map the bytes of a blob for reading.  Nothing is checked.  (What is stored
 * compressed cannot be mapped: it is decompressed into memory that the blob owns,
 * and checked.)
 *
 * The mapping is shared with the file and ends with h5store_blob_close.  It keeps
 * its contents even if the blob is removed.
 *
 * A child of a fork inherits the mapping, which keeps its contents there as well,
 * until the child closes the blob or ends, whatever the parent closes and removes.
 * The same goes for a mapping that the caller made by itself at info->offset,
 * unless the blob was read with h5store_blob_read.  The array's space is not
 * given back before the parent has closed the store and the child has ended.
 *
 * @param[out] data  Read-only.  At the array's place in the file, which begins at a
 *                   multiple of 4096; but an array of at most 512 bytes and one that
 *                   is stored compressed are in memory, at any address.
 *
 * @retval H5STORE_OK         Mapped.
 * @retval H5STORE_E_INVALID  A NULL argument.
 * @retval H5STORE_E_NOMEM    No address space.
 * @retval H5STORE_E_IO       The system refused.
 * @retval H5STORE_E_DAMAGED  The file is shorter than the blob, or a reader found it damaged.
 * @retval H5STORE_E_FORKED   Used in a child; what was mapped before stays mapped.
 * @since 0.2
 */
H5STORE_API int h5store_blob_map(h5store_blob *blob, const void **data,
                                 h5store_err *err) H5STORE_MUST_CHECK;

/** Release a blob, its mapping and its pin.  NULL is allowed.  @since 0.2 */
H5STORE_API void h5store_blob_close(h5store_blob *blob);

/** A walk over all blobs, in order of name.  For one thread at a time. */
typedef struct h5store_blob_cursor h5store_blob_cursor;

/**
 * Begin a walk.  Holds no lock between calls: blobs put or removed meanwhile may
 * or may not be seen, all others are seen once.
 *
 * @param[out] cursor  Release with h5store_blob_cursor_close.
 * @retval H5STORE_OK         Done.
 * @retval H5STORE_E_INVALID  A NULL argument.
 * @retval H5STORE_E_NOMEM    Memory ran out.
 * @since 0.2
 */
H5STORE_API int h5store_blob_cursor_open(h5store *store, h5store_blob_cursor **cursor,
                                         h5store_err *err) H5STORE_MUST_CHECK;

/**
 * The next blob.
 *
 * @param[out] info  Valid until the next call; its dtype is owned by the cursor.
 * @retval H5STORE_OK    One blob.
 * @retval H5STORE_DONE  There are no more.
 * @retval H5STORE_E_DAMAGED  This one cannot be understood: info->id is set, and the
 *                            next call goes on behind it.
 * @retval others        As for h5store_blob_open.
 * @since 0.2
 */
H5STORE_API int h5store_blob_cursor_next(h5store_blob_cursor *cursor, h5store_blob_info *info,
                                         h5store_err *err) H5STORE_MUST_CHECK;

/** End a walk.  NULL is allowed.  @since 0.2 */
H5STORE_API void h5store_blob_cursor_close(h5store_blob_cursor *cursor);

#ifdef __cplusplus
}
#endif
#endif
