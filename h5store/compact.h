/* SPDX-License-Identifier: MIT */
/*
 * Making a container nearly as small as what it holds.
 *
 * Space that was freed is punched at once, so that du falls, and serves later puts.  What stays
 * is the apparent size (ls -l, a copy of the file) and HDF5 metadata of removed results.
 * Compaction makes the metadata anew and moves arrays into the holes before them.
 */
#ifndef H5STORE_COMPACT_H
#define H5STORE_COMPACT_H

#include <h5store/verify.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a compaction did. */
typedef struct h5store_compaction {
    uint64_t size_before; /**< of the file, in bytes (ls -l) */
    uint64_t size_after;
    uint64_t moved_bytes; /**< of arrays */
    uint64_t moved;       /**< arrays */
    int rebuilt;          /**< 1: the metadata was made anew; 0: it was not */
    int left;             /**< 1: it was not, though the file would get shorter, since others who
                               have the container open would wait, or some cannot be read */
} h5store_compaction;

/**
 * Make a container nearly as small as what it holds, while others may be using it.
 *
 * An array that is pinned (open, mapped, being read) by anybody keeps its old place until that
 * ends; its copy is in the new place already.  Damaged arrays are not moved.  A rebuild drops
 * arrays that nothing refers to.  There is none when some of the metadata cannot be read, since
 * that would be lost; h5store_notice says so then.
 *
 * Locks: WRITE for each group of arrays and for the time of the rebuild (up to some seconds for
 * 10,000 results); only pins while bytes are copied.
 * Crash: killed inside this call, every result is still there, and the next compaction or put
 * uses the space.
 *
 * @param      progress  Called with bytes looked at, of how many; may be NULL.  If it ends the
 *                       work, what was moved is moved.
 * @param      context   Handed to @p progress.
 * @param[out] result    Written only on success.
 * @retval H5STORE_OK           Done, as far as others let it.
 * @retval H5STORE_E_READ_ONLY  The store is open read-only.
 * @retval others               As for h5store_put; what was moved before is moved.
 * @since 0.2
 */
H5STORE_API int h5store_compact(h5store *store, h5store_progress_fn progress, void *context,
                                h5store_compaction *result, h5store_err *err) H5STORE_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
