/* SPDX-License-Identifier: MIT */
/*
 * The bytes of arrays: reserving a place for them, moving them past HDF5, giving the
 * place back.  No function here holds a lock while bytes move (I5).
 */
#ifndef HS_EXTENT_H
#define HS_EXTENT_H

#include "container.h"
#include "digest.h"

/*
 * Set @p length bytes aside, as a loose extent that this process pins.  One short commit
 * of the space table; then disk blocks are reserved, so that a full disk is met before a
 * byte is written.  NO_SPACE, and the codes of hs_container_write_begin.
 */
int hs_extent_reserve(hs_container *container, uint64_t length, hs_extent *extent,
                      h5store_err *err);

/*
 * The same of at most 4 MiB, perhaps from what was reserved ahead with one before; else for more
 * at once than is asked for.  What is left of it is given up when the container is closed, when
 * nothing was committed for a second, and by who needs the space.
 */
int hs_extent_reserve_ahead(hs_container *container, uint64_t length, hs_extent *extent,
                            h5store_err *err);
void hs_extent_give_up_ahead(hs_container *container);

/* As hs_extent_reserve for @p length bytes, or, where the file has free space for @p least bytes
 * but not for those, for @p least; 0: not less than @p length. */
int hs_extent_reserve_some(hs_container *container, uint64_t length, uint64_t least,
                           hs_extent *extent, h5store_err *err);

/* The same for several lengths in one commit; all or none.  @p extents comes with the lengths
 * and gets the addresses. */
int hs_extent_reserve_all(hs_container *container, hs_extent *extents, size_t count,
                          h5store_err *err);

/* Keep only the first @p length bytes, rounded up, of a reservation; the rest is free again. */
void hs_extent_shorten(hs_container *container, hs_extent *extent, uint64_t length);

/* Give up a reservation that was not committed: its pin and its space. */
void hs_extent_abandon(hs_container *container, hs_extent extent);

/*
 * Write the bytes of an array at the beginning of an extent.  With a @p tree its XXH3 is taken
 * meanwhile, and with @p sha its SHA-256, by up to @p threads threads.
 */
int hs_extent_write(hs_container *container, hs_extent extent, const hs_source *source, int threads,
                    hs_tree *tree, bool sha, h5store_err *err);

/*
 * Read the first @p size bytes into @p buffer by several threads, taking the digests of
 * @p tree on the way while a piece is in cache: XXH3 if @p sum, SHA-256 if @p sha.
 * @p tree NULL: neither.  DAMAGED when the file is too short.
 */
int hs_extent_read(hs_container *container, hs_extent extent, void *buffer, uint64_t size,
                   hs_tree *tree, bool sha, bool sum, h5store_err *err);

/* The same without a buffer for all: each thread reads pieces into memory of its own. */
int hs_extent_digest(hs_container *container, hs_extent extent, uint64_t size, hs_tree *tree,
                     bool sha, bool sum, h5store_err *err);

/*
 * Does an extent begin with the bytes of @p source, which lie in one piece?  If so, the XXH3 of all
 * of them is in @p tree.  Never waits for the disk: what is not in memory, or cannot be read, is
 * not known.  NOMEM.
 */
typedef enum hs_comparison { HS_EQUAL, HS_DIFFERENT, HS_UNKNOWN } hs_comparison;
int hs_extent_compare(hs_container *container, hs_extent extent, const hs_source *source,
                      int threads, hs_tree *tree, hs_comparison *outcome, h5store_err *err);

/* Map an array's bytes for reading; released with hs_os_unmap(address, nbytes).  DAMAGED when the
 * file ends before they do. */
int hs_extent_map(hs_container *container, uint64_t offset, uint64_t nbytes, void **address,
                  h5store_err *err);

/*
 * Free the loose extents that nobody pins and that no applied state of the file refers to:
 * punch them (du falls) and make them free for later puts (I4).
 */
int hs_extent_reclaim(hs_container *container, h5store_err *err);

/* The same until a time of hs_os_now, but at least a step: a disk that is told of each hole takes
 * a millisecond for it.  The janitor does the rest, or whoever closes. */
#define HS_EXTENT_PATIENCE UINT64_C(250000000) /* nanoseconds, of who removes */
int hs_extent_reclaim_until(hs_container *container, uint64_t until, h5store_err *err);
/* For as long as a caller has patience.  If it fails, what is loose stays for a later reclaim. */
void hs_extent_reclaim_briefly(hs_container *container);

#endif
