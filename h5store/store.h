/* SPDX-License-Identifier: MIT */
/*
 * Opening a container, closing it, and what it holds in all.
 */
#ifndef H5STORE_STORE_H
#define H5STORE_STORE_H

#include <h5store/error.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An open container.  Opaque; any number of threads may share one. */
typedef struct h5store h5store;

/** Flags of h5store_options. */
enum {
    /** Make the container when there is none. */
    H5STORE_CREATE = 1,
    /** Never write: neither container nor log; needs no write permission. */
    H5STORE_READ_ONLY = 2
};

/** When a commit is safe from what. */
typedef enum h5store_durability {
    /**
     * Default.  A commit survives the death of any process at once, and a power
     * cut after about two seconds, or ten while commits come without a pause of one (a
     * background thread syncs, off every lock).
     */
    H5STORE_DURABLE_PROCESS = 0,
    /** A commit returns when data and log are on the disk (fdatasync). */
    H5STORE_DURABLE_POWER = 1
} h5store_durability;

/** How a container is opened.  Fill with h5store_options_init first. */
typedef struct h5store_options {
    unsigned flags;                /**< H5STORE_CREATE, H5STORE_READ_ONLY, or 0 */
    h5store_durability durability; /**< default H5STORE_DURABLE_PROCESS */
    double timeout;                /**< seconds to wait for a lock; default 30; >= 0 */
    int threads;                   /**< most per call, for hashing and I/O; 0: as many as
                                        CPUs that this process may run on, 8 at most, and no
                                        more than the environment variable OMP_NUM_THREADS
                                        says, both as they are when the store is opened */
} h5store_options;

/** Totals of a container, all exact at one commit. */
typedef struct h5store_totals {
    uint64_t items;          /**< cached results */
    uint64_t blobs;          /**< distinct arrays */
    uint64_t links;          /**< references from items to blobs */
    uint64_t blob_bytes;     /**< bytes of the distinct arrays */
    uint64_t linked_bytes;   /**< bytes if every reference had its own copy */
    uint64_t free_bytes;     /**< space inside the file for later puts */
    uint64_t file_size;      /**< length of the container file (ls -l) */
    uint64_t disk_bytes;     /**< blocks it occupies (du), log included */
    uint64_t log_bytes;      /**< length of the log */
    uint64_t used_bytes;     /**< of the file: neither free, nor removed and waiting for a pin or
                                  for another program to let go, nor reserved for arrays to
                                  come; what it will come down to */
    uint64_t metadata_bytes; /**< of those, HDF5 metadata, unused space in it included */
} h5store_totals;

/**
 * Fill options with the defaults above and flags 0.
 *
 * @param[out] options  Not NULL.
 * @since 0.2
 */
H5STORE_API void h5store_options_init(h5store_options *options);

/**
 * Open the container at a path, and recover it if it was left in the middle.
 *
 * The log lies beside it as "<path>-wal" while anybody has the container open.
 * Creation is atomic: the file appears under its name when it is complete.
 *
 * Locks: waits at most options->timeout for WRITE when it must recover or create.
 * Crash: killed inside this call, the next open does the work again.
 * Fork: the handle belongs to this process; in a child every call but
 * h5store_close gives H5STORE_E_FORKED.
 *
 * @param      path     UTF-8 or the file system's bytes; copied.
 * @param      options  NULL: the defaults.
 * @param[out] store    Written only on success; release with h5store_close.
 * @param[out] err      May be NULL.
 *
 * @retval H5STORE_OK             Open.
 * @retval H5STORE_E_INVALID      A NULL path or store, an option out of range.
 * @retval H5STORE_E_NOT_FOUND    No file, and H5STORE_CREATE was not given; or no folder to
 *                                make it in.
 * @retval H5STORE_E_NOT_A_STORE  The file is a folder, not HDF5, or not ours.
 * @retval H5STORE_E_VERSION      A newer format version; the file is not touched.
 * @retval H5STORE_E_DAMAGED      Ours, but truncated or unreadable beyond the log's help.
 * @retval H5STORE_E_CHANGED      Another program wrote to it while results waited in the log.
 * @retval H5STORE_E_READ_ONLY    Writing is not permitted; open with H5STORE_READ_ONLY.
 * @retval H5STORE_E_UNSUPPORTED  The file system has no working byte-range locks; or the HDF5
 *                                library is of another minor version than at compile time.
 * @retval H5STORE_E_BUSY         A lock was not to be had within the timeout.
 * @retval H5STORE_E_NO_SPACE     No room to create it.
 * @retval H5STORE_E_IO           The system refused a call; see err->os_errno.
 * @retval H5STORE_E_NOMEM        Memory ran out.
 * @retval H5STORE_E_HDF5         HDF5 failed; its own words are in the message.
 * @since 0.2
 */
H5STORE_API int h5store_open(const char *path, const h5store_options *options, h5store **store,
                             h5store_err *err) H5STORE_MUST_CHECK;

/**
 * Close a container and release the handle, whatever is returned.
 *
 * Waits for calls of other threads that are inside; calls that come later give
 * H5STORE_E_CLOSED to whoever still holds the pointer through a blob or batch.
 * Open blobs and their mappings stay valid until they are closed themselves.
 * The last process to close applies the log to the container and removes it.
 * In a forked child its descriptors are closed, after the last of its open blobs
 * and items, and nothing else is touched.
 *
 * @param      store  NULL is allowed and does nothing.
 * @param[out] err    May be NULL.
 *
 * @retval H5STORE_OK     Closed; everything is in the container file, or in the
 *                        log if others still have it open.
 * @retval H5STORE_E_IO   Closed, but a final sync or apply failed; what was
 *                        committed is still in the log, and the next open applies it.
 * @since 0.2
 */
H5STORE_API int h5store_close(h5store *store, h5store_err *err);

/** The path given to h5store_open; owned by the handle.  @since 0.2 */
H5STORE_API const char *h5store_path(const h5store *store);

/** 1 if opened with H5STORE_READ_ONLY, else 0.  @since 0.2 */
H5STORE_API int h5store_is_read_only(const h5store *store);

/**
 * What there is to say, if anything: results dropped after a power cut, a log that belonged
 * to another container; from the first removal on, that the file system cannot punch holes; and
 * that not all of the metadata can be read.  Owned by the handle; "" when all is well.
 * @since 0.2
 */
H5STORE_API const char *h5store_notice(const h5store *store);

/**
 * Make all commits so far safe from a power cut, and bring the container file up
 * to date for other HDF5 programs.
 *
 * Locks: WRITE and READ for a moment; syncs outside them.
 *
 * @retval H5STORE_OK          Synced and applied.
 * @retval H5STORE_E_BUSY      Synced, but another program holds the container open,
 *                             so that it could not be applied; the log keeps it.
 * @retval H5STORE_E_IO        A write or sync failed; the log keeps everything.
 * @retval H5STORE_E_NO_SPACE  The same, for want of space.
 * @retval H5STORE_E_INVALID   store is NULL.
 * @retval H5STORE_E_FORKED    Used in a child.
 * @retval H5STORE_E_CLOSED    Being closed.
 * @retval H5STORE_E_CHANGED   Another program wrote to the container.
 * @retval H5STORE_E_POISONED  An earlier sync failed.
 * @since 0.2
 */
H5STORE_API int h5store_flush(h5store *store, h5store_err *err);

/**
 * Totals of the container.  Costs a few reads, whatever is stored.
 *
 * @param[out] totals  Written only on success.
 *
 * @retval H5STORE_OK         Done.
 * @retval H5STORE_E_INVALID  A NULL argument.
 * @retval H5STORE_E_BUSY     A lock was not to be had within the timeout.
 * @retval H5STORE_E_IO       The system refused a call.
 * @retval H5STORE_E_DAMAGED  The container's own tables are not readable.
 * @retval H5STORE_E_CHANGED  The file was deleted, replaced or written by another program.
 * @retval H5STORE_E_FORKED   Used in a child.
 * @retval H5STORE_E_CLOSED   Being closed.
 * @since 0.2
 */
H5STORE_API int h5store_stat(h5store *store, h5store_totals *totals,
                             h5store_err *err) H5STORE_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
