/* SPDX-License-Identifier: MIT */
/*
 * Saving what is whole in a damaged container.
 */
#ifndef H5STORE_REPAIR_H
#define H5STORE_REPAIR_H

#include <h5store/verify.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Whom to tell, and how long to wait.  Zeros are fine. */
typedef struct h5store_salvage_options {
    h5store_finding_fn finding;   /**< may be NULL; errors are losses, by name */
    h5store_progress_fn progress; /**< may be NULL */
    void *context;                /**< handed to both */
    double timeout;               /**< seconds to wait for a program that writes to the source;
                                       0: try once */
} h5store_salvage_options;

/** What became of it. */
typedef struct h5store_salvaged {
    uint64_t items;         /**< results that are in the target now */
    uint64_t blobs;         /**< distinct arrays that are in the target now */
    uint64_t lost_items;    /**< results that are not, as far as is known */
    uint64_t lost_blobs;    /**< arrays that are not, as far as is known */
    uint64_t unnamed_items; /**< of the saved results, those whose names were lost: they are
                                 below the collection "recovered" */
} h5store_salvaged;

/**
 * Copy into another container what is whole in one that may be damaged in any way: every
 * array whose bytes still have the SHA-256 that it is named by, and every result that can be
 * read and whose arrays are all whole.  Nothing is taken on trust: no name is believed that
 * no checksum vouches for, and what was removed does not come back.
 *
 * HDF5 is not asked to open the source.  Where groups of it are damaged, or its root is gone,
 * the file is searched for objects; a result whose name is lost is saved below the collection
 * "recovered", and a finding says so.  What the log holds is taken in, as far as it is valid.
 *
 * The source is never written to.  If it is in use, it is saved as it was at one commit;
 * those who use it go on, and their commits wait in the log meanwhile.
 *
 * Locks: the lock of an HDF5 program that reads the source, for the whole time; of the
 * target, those of h5store_batch_commit, now and then.
 * Crash: what was committed to the target stays there.
 *
 * @param      source   Path of the container to save from.
 * @param      target   Where to; by custom one that was just made.  Results of the same name
 *                      are replaced.
 * @param      options  NULL: nobody is told, and the timeout is that of h5store_options_init.
 * @param[out] result   Written on success, also when a callback ended it.  May be NULL.
 *
 * @retval H5STORE_OK             It came to its end; what was lost is in result.
 * @retval H5STORE_E_INVALID      A NULL argument; or source and target are the same.
 * @retval H5STORE_E_NOT_FOUND    There is no such file.
 * @retval H5STORE_E_NOT_A_STORE  There is nothing of a container in it.
 * @retval H5STORE_E_VERSION      It was written by a newer version.
 * @retval H5STORE_E_BUSY         A program kept writing to the source past the timeout.
 * @retval others                 As for h5store_batch_commit, of the target; IO, NOMEM.
 * @since 0.2
 */
H5STORE_API int h5store_salvage(const char *source, h5store *target,
                                const h5store_salvage_options *options, h5store_salvaged *result,
                                h5store_err *err) H5STORE_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
