/* SPDX-License-Identifier: MIT */
/*
 * Run a loop over pieces by a few threads that are made for the call and gone after
 * it, so that a fork never meets one.  All signals but those of a fault are blocked in
 * them.
 */
#ifndef HS_PARALLEL_H
#define HS_PARALLEL_H

#include "error.h"

/* One step of the loop: piece @p index.  Called from several threads at once. */
typedef int (*hs_parallel_fn)(void *context, uint64_t index, h5store_err *err);

/*
 * Call @p step for 0 .. @p count - 1, each once, in rising order of beginning, by at most
 * @p threads threads including the caller's.  The first failure stops the loop: steps
 * that have begun are finished, its code and message are returned.  When no thread can
 * be made the caller does all alone.
 */
int hs_parallel_for(uint64_t count, int threads, hs_parallel_fn step, void *context,
                    h5store_err *err);

/* How many threads for @p bytes of work: 1 for little, never more than @p wanted;
 * @p wanted 0 means the CPUs this process may use, at most 8. */
int hs_parallel_threads(int wanted, uint64_t bytes);

#endif
