/* SPDX-License-Identifier: MIT */
/*
 * The bytes of an extent: written, read and compared by several threads, past HDF5 and the log;
 * see extent.h.  Called by put.c, reader.c and store_blob.c, with the extent pinned, and in no
 * scope (I5).
 */
#include "extent.h"
#include "os.h"
#include "parallel.h"
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#define EXTENT_WRITE_STEP ((uint64_t)8 * 1024 * 1024)
#define EXTENT_SCRATCH_STEP ((uint64_t)HS_RUN_SIZE * HS_RUNS_WITH_SCRATCH)

/* ---- writing ---------------------------------------------------------- */

struct extent_put {
    hs_container *container;
    hs_extent extent;
    const hs_source *source;
    hs_tree *tree; /* NULL: only write */
    bool sha;      /* else it takes the checksums only */
};

static int
extent_put_bytes(const struct extent_put *put, const void *bytes, size_t size, uint64_t from,
                 h5store_err *err)
{
    return hs_os_pwrite(hs_container_fd(put->container), hs_container_path(put->container), bytes,
                        size, put->extent.address + from, err);
}

static int
extent_put_digest(const struct extent_put *put, const void *bytes, size_t size, uint64_t from,
                  h5store_err *err)
{
    if (put->tree == NULL)
        return H5STORE_OK;
    return hs_tree_run(put->tree, from / HS_PIECE_SIZE, (size + HS_PIECE_SIZE - 1) / HS_PIECE_SIZE,
                       bytes, put->sha, true, err);
}

/* Digest a run, and write it while it is in cache. */
static int
extent_put_range(const struct extent_put *put, uint64_t from, uint64_t end, h5store_err *err)
{
    HS_CLEANUP(hs_freep) void *scratch = NULL;
    int rc = H5STORE_OK;

    if (!hs_source_is_whole(put->source)) {
        scratch = malloc(HS_RUN_SIZE);
        if (scratch == NULL)
            return hs_fail_nomem(err, HS_RUN_SIZE, "an array that does not lie in one piece");
    }
    for (size_t size; rc == H5STORE_OK && from < end; from += size) {
        const void *bytes;

        size = (size_t)hs_min(end - from, HS_RUN_SIZE);
        bytes = hs_source_bytes(put->source, from, size, scratch);
        rc = extent_put_digest(put, bytes, size, from, err);
        if (rc == H5STORE_OK)
            rc = extent_put_bytes(put, bytes, size, from, err);
    }
    return rc;
}

/* Several runs that are gathered once for both. */
static int
extent_put_gathered(void *context, uint64_t index, h5store_err *err)
{
    const struct extent_put *put = context;
    uint64_t from = index * EXTENT_SCRATCH_STEP;

    return extent_put_range(put, from, hs_min(from + EXTENT_SCRATCH_STEP, put->source->nbytes),
                            err);
}

/*
 * Step 0 writes everything, the others digest.  One writer: buffered writes to one inode
 * serialise, so more would only wait for each other.  It begins first and, when done, takes
 * its part in digesting.
 *
 * Writes end at multiples of their size in the file: the page cache keeps what one write brings in
 * pages as large as lie aligned in it, and where a mapping meets large ones it has fewer faults
 * (512 MiB touched: 5.5 ms, and 3.3 ms so).
 */
static int
extent_put_whole(void *context, uint64_t index, h5store_err *err)
{
    const struct extent_put *put = context;
    uint64_t size = put->source->nbytes, from = (index - 1) * HS_RUN_SIZE, step;
    int rc = H5STORE_OK;

    if (index > 0)
        return extent_put_digest(put, put->source->data + from,
                                 (size_t)hs_min(size - from, HS_RUN_SIZE), from, err);
    for (from = 0; rc == H5STORE_OK && from < size; from += step) {
        step = EXTENT_WRITE_STEP - (put->extent.address + from) % EXTENT_WRITE_STEP;
        step = hs_min(size - from, step);
        rc = extent_put_bytes(put, put->source->data + from, (size_t)step, from, err);
    }
    return rc;
}

int
hs_extent_write(hs_container *c, hs_extent extent, const hs_source *source, int threads,
                hs_tree *tree, bool sha, h5store_err *err)
{
    struct extent_put put = {c, extent, source, tree, sha};
    uint64_t size = source->nbytes;

    threads = sha ? hs_parallel_threads(threads, size, HS_GRAIN_WRITE) : 1;
    if (!hs_source_is_whole(source))
        return hs_parallel_for((size + EXTENT_SCRATCH_STEP - 1) / EXTENT_SCRATCH_STEP, threads,
                               extent_put_gathered, &put, err);
    if (tree == NULL)
        return extent_put_whole(&put, 0, err);
    if (threads == 1)
        return extent_put_range(&put, 0, size, err);
    return hs_parallel_for(1 + (size + HS_RUN_SIZE - 1) / HS_RUN_SIZE, threads, extent_put_whole,
                           &put, err);
}

/* ---- reading ---------------------------------------------------------- */

#define EXTENT_BOUNCE ((uint64_t)64 * 1024)
#define EXTENT_PAGE ((uint64_t)4096)

struct extent_job {
    hs_container *container;
    hs_extent extent;
    uint8_t *buffer; /* NULL: memory of each step's own */
    uint64_t size, step;
    hs_tree *tree; /* NULL: only read */
    bool sha, sum;
};

static int
extent_pread(const struct extent_job *job, void *place, uint64_t size, uint64_t from,
             h5store_err *err)
{
    const char *path = hs_container_path(job->container);
    size_t got;
    int rc = hs_os_pread(hs_container_fd(job->container), path, place, (size_t)size,
                         job->extent.address + from, &got, err);

    if (rc < 0 || got == size)
        return rc;
    return hs_fail(err, H5STORE_E_DAMAGED, 0,
                   "container '%s' ends at byte %llu, in the middle of an array", path,
                   (unsigned long long)(job->extent.address + from + got));
}

/*
 * Some CPUs (AMD's Zen 3 was measured) copy three times slower where the target's place in
 * its page is a few bytes behind the source's, and what malloc returns for a large block
 * lies 16 bytes behind the beginning of a page, as extents begin with one.
 */
static bool
extent_collides(const void *place, uint64_t address)
{
    uint64_t behind = ((uint64_t)(uintptr_t)place - address) % EXTENT_PAGE;

    return behind > 0 && behind < 64;
}

/* A small buffer that begins in the middle of a page, inside *block, which is freed; or NULL. */
static uint8_t *
extent_bounce(uint8_t **block)
{
    *block = malloc((size_t)(EXTENT_BOUNCE + 2 * EXTENT_PAGE));
    if (*block == NULL)
        return NULL;
    return *block + EXTENT_PAGE - (uintptr_t)*block % EXTENT_PAGE + EXTENT_PAGE / 2;
}

/* Read by way of such a buffer, for places that collide. */
static int
extent_pread_around(const struct extent_job *job, uint8_t *place, uint64_t size, uint64_t from,
                    h5store_err *err)
{
    HS_CLEANUP(hs_freep) uint8_t *block = NULL;
    uint8_t *middle = extent_bounce(&block);
    int rc = H5STORE_OK;

    if (middle == NULL)
        return extent_pread(job, place, size, from, err);
    for (uint64_t done = 0, part; rc == H5STORE_OK && done < size; done += part) {
        part = hs_min(size - done, EXTENT_BOUNCE);
        rc = extent_pread(job, middle, part, from + done, err);
        if (rc == H5STORE_OK)
            memcpy(place + done, middle, (size_t)part);
    }
    return rc;
}

static int
extent_read_run(const struct extent_job *job, uint8_t *place, uint64_t size, uint64_t from,
                h5store_err *err)
{
    int rc = extent_collides(place, job->extent.address + from)
                 ? extent_pread_around(job, place, size, from, err)
                 : extent_pread(job, place, size, from, err);

    if (rc < 0 || job->tree == NULL)
        return rc;
    return hs_tree_run(job->tree, from / HS_PIECE_SIZE, (size + HS_PIECE_SIZE - 1) / HS_PIECE_SIZE,
                       place, job->sha, job->sum, err);
}

static int
extent_read_step(void *context, uint64_t index, h5store_err *err)
{
    const struct extent_job *job = context;
    uint64_t from = index * job->step, length = hs_min(job->size - from, job->step);
    HS_CLEANUP(hs_freep) uint8_t *own = NULL;
    int rc = H5STORE_OK;

    if (job->buffer == NULL) {
        own = malloc((size_t)hs_min(length, HS_RUN_SIZE));
        if (own == NULL)
            return hs_fail_nomem(err, hs_min(length, HS_RUN_SIZE), "reading an array");
    }
    for (uint64_t done = 0; rc == H5STORE_OK && done < length; done += HS_RUN_SIZE)
        rc = extent_read_run(job, own != NULL ? own : job->buffer + from + done,
                             hs_min(length - done, HS_RUN_SIZE), from + done, err);
    return rc;
}

static int
extent_read_all(struct extent_job *job, h5store_err *err)
{
    int threads = hs_parallel_threads(hs_container_threads(job->container), job->size,
                                      job->sha ? HS_GRAIN_HASH : HS_GRAIN_READ);

    return hs_parallel_for((job->size + job->step - 1) / job->step, threads, extent_read_step, job,
                           err);
}

int
hs_extent_read(hs_container *c, hs_extent extent, void *buffer, uint64_t size, hs_tree *tree,
               bool sha, bool sum, h5store_err *err)
{
    struct extent_job job = {c, extent, buffer, size, HS_RUN_SIZE, tree, sha, sum};

    return extent_read_all(&job, err);
}

int
hs_extent_digest(hs_container *c, hs_extent extent, uint64_t size, hs_tree *tree, bool sha,
                 bool sum, h5store_err *err)
{
    struct extent_job job = {c, extent, NULL, size, EXTENT_SCRATCH_STEP, tree, sha, sum};

    return extent_read_all(&job, err);
}

/* ---- comparing -------------------------------------------------------- */

struct extent_comparison {
    struct extent_job job;
    const uint8_t *data;
    atomic_int outcome;
};

/* A piece: small parts, so that what is read is in the nearest cache when it is compared. */
static int
extent_compare_piece(struct extent_comparison *one, uint8_t *scratch, uint64_t from, uint64_t size,
                     h5store_err *err)
{
    uint64_t at = one->job.extent.address + from;
    const uint8_t *data = one->data + from;

    for (uint64_t done = 0, part; done < size; done += part) {
        bool known;

        part = hs_min(size - done, EXTENT_BOUNCE);
        known = hs_os_pread_cached(hs_container_fd(one->job.container), scratch, (size_t)part,
                                   at + done);
        if (!known || memcmp(scratch, data + done, (size_t)part) != 0) {
            atomic_store(&one->outcome, known ? HS_DIFFERENT : HS_UNKNOWN);
            return H5STORE_OK;
        }
    }
    return hs_tree_piece(one->job.tree, from / HS_PIECE_SIZE, data, false, true, err);
}

static int
extent_compare_step(void *context, uint64_t index, h5store_err *err)
{
    struct extent_comparison *one = context;
    uint64_t from = index * one->job.step, end = hs_min(from + one->job.step, one->job.size);
    HS_CLEANUP(hs_freep) uint8_t *block = NULL;
    uint8_t *scratch = extent_bounce(&block);
    int rc = H5STORE_OK;

    if (scratch == NULL)
        return hs_fail_nomem(err, EXTENT_BOUNCE, "comparing an array");
    for (; rc == H5STORE_OK && from < end && atomic_load(&one->outcome) == HS_EQUAL;
         from += HS_PIECE_SIZE)
        rc = extent_compare_piece(one, scratch, from, hs_min(end - from, HS_PIECE_SIZE), err);
    return rc;
}

int
hs_extent_compare(hs_container *c, hs_extent extent, const hs_source *source, int threads,
                  hs_tree *tree, hs_comparison *outcome, h5store_err *err)
{
    struct extent_comparison one = {
        .job = {c, extent, NULL, source->nbytes, EXTENT_SCRATCH_STEP, tree, false, true},
        .data = source->data};
    int rc;

    assert(hs_source_is_whole(source));
    threads = hs_parallel_threads(threads, source->nbytes, HS_GRAIN_HASH);
    rc = hs_parallel_for((one.job.size + one.job.step - 1) / one.job.step, threads,
                         extent_compare_step, &one, err);
    *outcome = (hs_comparison)atomic_load(&one.outcome);
    return rc;
}

int
hs_extent_map(hs_container *c, uint64_t offset, uint64_t nbytes, void **address, h5store_err *err)
{
    struct stat status;
    int rc = hs_os_fstat(hs_container_fd(c), hs_container_path(c), &status, err);

    if (rc < 0)
        return rc;
    /* Touching a page beyond the end would kill the process with SIGBUS.  (The extent may go on
     * beyond: where blocks cannot be reserved the file is as long as what was written.) */
    if ((uint64_t)status.st_size < offset + nbytes)
        return hs_fail(err, H5STORE_E_DAMAGED, 0,
                       "container '%s' has %lld bytes and ends in the middle of an array",
                       hs_container_path(c), (long long)status.st_size);
    return hs_os_map(hs_container_fd(c), hs_container_path(c), offset, (size_t)nbytes, address,
                     err);
}
