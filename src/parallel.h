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

/*
 * How many threads a program that did not choose gets: as many as CPUs that it may run on,
 * but 8 at most, and no more than OMP_NUM_THREADS says; that is how joblib and others keep
 * the libraries in 8 worker processes from making 8 threads each.  Reads the environment,
 * which others may be changing: ask once, when something is opened.
 */
int hs_parallel_usual(void);

/*
 * Bytes of work that are worth a thread of their own.  Making one and waiting for it takes 60 to
 * 100 us in a virtual machine, as long as it takes to read 1 MiB; to hash that takes 330 us
 * (measured).  Hashing and writing it takes longer, and so does compressing.
 */
#define HS_GRAIN_READ ((uint64_t)2 * 1024 * 1024)
#define HS_GRAIN_HASH ((uint64_t)1024 * 1024)
#define HS_GRAIN_WRITE ((uint64_t)512 * 1024)
#define HS_GRAIN_PACK HS_GRAIN_WRITE

/* How many threads for @p bytes of work of a kind: 1 for little, never more than @p most. */
int hs_parallel_threads(int most, uint64_t bytes, uint64_t grain);

#endif
