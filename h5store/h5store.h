/* SPDX-License-Identifier: MIT */
/*
 * libh5store: arrays and results in one HDF5 file, each array once.
 *
 * The model.  A container is one HDF5 file.  It holds blobs (arrays, each stored
 * once under the SHA-256 of its content) and items (results of cached calls: some
 * bytes, some metadata, and links to blobs).  Changes are made by batches, each of
 * which is one atomic commit.  Any HDF5 tool can read the file.
 *
 * Threads.  Any number of threads may share an h5store; hashing and raw I/O of
 * different calls overlap, metadata work is done by one at a time.  Blobs, items,
 * batches and cursors belong to one thread at a time.
 *
 * Processes.  Any number may have the container open and write.  Locks are
 * byte-range locks on the log beside it.  While the bytes of arrays move none is
 * held but pins, which keep these bytes where they are.  LOCKING.md has the roles
 * and the order.
 *
 * Forks.  A handle belongs to the process that opened it.  A child must open its
 * own; using the parent's gives H5STORE_E_FORKED and changes nothing.
 *
 * Durability.  What a commit acknowledged survives the death of any process at any
 * instruction; a power cut may cost the results of the last two seconds, or of ten
 * while they come without a pause, unless H5STORE_DURABLE_POWER is chosen.  The
 * container never becomes unreadable.
 *
 * HDF5.  The library uses HDF5 through its own file driver.  A thread-safe libhdf5
 * is entered without a mutex, any other by one thread at a time.  If the program
 * uses the same libhdf5 from other threads, that must be a thread-safe build.  The
 * library neither changes HDF5's error printing nor its atexit.
 *
 * Typical use (examples/store.c is a complete program):
 *
 *     h5store_options options;
 *     h5store_options_init(&options);
 *     options.flags = H5STORE_CREATE;
 *     if (h5store_open("blobs.h5", &options, &store, &err) < 0) ...
 *     if (h5store_put(store, &array, &id, &err) < 0) ...
 *     if (h5store_blob_open(store, &id, &blob, &err) < 0) ...
 *     if (h5store_blob_read(blob, memory, size, H5STORE_CHECK_FAST, &err) < 0) ...
 *     h5store_blob_close(blob);
 *     h5store_close(store, NULL);
 */
#ifndef H5STORE_H5STORE_H
#define H5STORE_H5STORE_H

#include <h5store/array.h>
#include <h5store/blob.h>
#include <h5store/compact.h>
#include <h5store/error.h>
#include <h5store/id.h>
#include <h5store/item.h>
#include <h5store/repair.h>
#include <h5store/store.h>
#include <h5store/usage.h>
#include <h5store/verify.h>
#include <h5store/version.h>

#endif
