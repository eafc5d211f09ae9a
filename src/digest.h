/* SPDX-License-Identifier: MIT */
/*
 * The two digests: SHA-256 (OpenSSL EVP), which names blobs, and XXH3-64 (libxxhash),
 * which notices accidents.  Both are taken as a tree over pieces of 256 KiB, so that
 * several threads can work on one array, and a piece is read from memory once for both.
 * FORMAT.md, "Name of a blob" and "Checksum", is the specification.
 */
#ifndef HS_DIGEST_H
#define HS_DIGEST_H

#include "error.h"
#include "source.h"
#include <h5store/array.h>
#include <h5store/id.h>

#define HS_PIECE_SIZE ((size_t)256 * 1024)

/*
 * Bytes that are best digested in one go: a pair of pieces for the SHA instructions, and
 * little enough to be in cache still when the second digest is taken.  Who needs memory of
 * that size takes it for several runs, since it may come from the system anew each time.
 */
#define HS_RUN_SIZE (2 * HS_PIECE_SIZE)
#define HS_RUNS_WITH_SCRATCH 8

/*
 * The name of an array:
 *
 *   SHA-256( "h5store1" | le64(len(dtype)) dtype | le64(1) order, 'C' or 'F'
 *            | le64(8 * rank) le64 shape[0] ... | le64(nbytes)
 *            | SHA-256(piece 0) SHA-256(piece 1) ... )
 *
 * Where both orders are the same it is always 'C': the caller has normalised that
 * (hs_array_normalise).  An empty array has no pieces.
 *
 * The checksum of an array: XXH3-64, seed 0, over the concatenated le64 XXH3-64 of
 * its pieces; of an empty array, over nothing.
 */
typedef struct hs_tree hs_tree;

/* Room for the digests of all pieces of @p nbytes bytes.  NOMEM. */
int hs_tree_new(uint64_t nbytes, hs_tree **tree, h5store_err *err);
void hs_tree_freep(hs_tree **tree);
uint64_t hs_tree_pieces(const hs_tree *tree);

/* Digest piece @p index, whose bytes are at @p data: SHA-256 if @p sha, XXH3 if @p sum.
 * Different pieces may be done by different threads at once.  IO if OpenSSL fails. */
int hs_tree_piece(hs_tree *tree, uint64_t index, const void *data, bool sha, bool sum,
                  h5store_err *err);

/*
 * The same for @p count pieces that lie one after the other at @p data.  Two whole pieces
 * at a time are digested side by side where the machine can (sha_pair.h), which is the
 * quicker way.
 */
int hs_tree_run(hs_tree *tree, uint64_t index, uint64_t count, const void *data, bool sha, bool sum,
                h5store_err *err);

/* The same for any number of pieces in memory, by up to @p threads threads; @p size bytes, of
 * which only those at the end of the array need not be whole pieces. */
int hs_tree_memory(hs_tree *tree, uint64_t index, const void *data, uint64_t size, int threads,
                   bool sha, bool sum, h5store_err *err);

/* When all pieces are done. */
int hs_tree_id(const hs_tree *tree, const h5store_array *array, h5store_id *id, h5store_err *err);
uint64_t hs_tree_sum(const hs_tree *tree);

/* Both of a whole array in memory, by up to @p threads threads; either out may be NULL. */
int hs_digest_array(const h5store_array *array, int threads, h5store_id *id, uint64_t *sum,
                    h5store_err *err);

/* XXH3-64, seed 0, for log records and headers. */
uint64_t hs_sum64(const void *data, size_t size);

#endif
