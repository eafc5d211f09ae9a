/* SPDX-License-Identifier: MIT */
/*
 * Extents from reservation to punching; see extent.h.
 *
 * A reservation is a loose slot of the space table, committed by itself, and a pin.  If
 * the process dies the pin goes, and the slot is like one whose blob was removed: whoever
 * reclaims next frees it.  The commit of the blob takes the slot away.
 *
 * Reclaiming has three steps, so that the punch, which may take long, holds no role:
 *   1  (WRITE)  choose loose slots whose removal is applied, and pin them exclusively;
 *   2  (none)   punch;
 *   3  (WRITE)  release the exclusive pins, make the slots free, commit.
 * The slot becomes free last: as soon as it is, somebody may take and pin the extent.
 */
#include "extent.h"
#include "os.h"
#include "parallel.h"
#include <stdlib.h>

#define EXTENT_RECLAIM_BATCH 1024u
#define EXTENT_WRITE_STEP ((uint64_t)8 * 1024 * 1024)

int
hs_extent_reserve(hs_container *c, uint64_t length, hs_extent *extent, h5store_err *err)
{
    hs_extent taken;
    bool reused;
    int rc = hs_container_write_begin(c, NULL, err);

    if (rc < 0)
        return rc;
    rc = hs_space_take(hs_container_space(c), length, &taken, &reused, err);
    if (rc == H5STORE_OK)
        rc = hs_space_loosen(hs_container_space(c), taken, 0, err);
    if (rc == H5STORE_OK)
        rc = hs_container_pin(c, taken, err);
    if (rc < 0) {
        hs_container_abort(c);
        return rc;
    }
    rc = hs_container_commit(c, NULL, 0, err);
    if (rc < 0) {
        hs_container_unpin(c, taken);
        return rc;
    }
    rc = hs_os_reserve(hs_container_fd(c), hs_container_path(c), taken.address, taken.length, err);
    if (rc < 0) {
        hs_extent_abandon(c, taken);
        return rc;
    }
    *extent = taken;
    return H5STORE_OK;
}

void
hs_extent_abandon(hs_container *c, hs_extent extent)
{
    hs_container_unpin(c, extent);
    /* If that fails the extent stays loose, for a later reclaim. */
    (void)hs_extent_reclaim(c, NULL);
}

/* ---- writing ---------------------------------------------------------- */

#define EXTENT_DIGEST_RUN 2u /* pieces: digested side by side */

struct extent_put {
    hs_container *container;
    hs_extent extent;
    const uint8_t *data;
    uint64_t size;
    hs_tree *tree;
};

/*
 * Step 0 writes everything, the others digest.  One writer: buffered writes to one inode
 * serialise, so more would only wait for each other.  It begins first and, when done, takes
 * its part in digesting.
 */
static int
extent_put_step(void *context, uint64_t index, h5store_err *err)
{
    const struct extent_put *put = context;
    uint64_t first = (index - 1) * EXTENT_DIGEST_RUN;
    int rc = H5STORE_OK;

    if (index > 0)
        return hs_tree_run(put->tree, first,
                           hs_min(EXTENT_DIGEST_RUN, hs_tree_pieces(put->tree) - first),
                           put->data + first * HS_PIECE_SIZE, true, true, err);
    for (uint64_t done = 0; rc == H5STORE_OK && done < put->size; done += EXTENT_WRITE_STEP)
        rc = hs_os_pwrite(hs_container_fd(put->container), hs_container_path(put->container),
                          put->data + done, (size_t)hs_min(put->size - done, EXTENT_WRITE_STEP),
                          put->extent.address + done, err);
    return rc;
}

int
hs_extent_write(hs_container *c, hs_extent extent, const void *data, uint64_t size, hs_tree *tree,
                h5store_err *err)
{
    struct extent_put put = {c, extent, data, size, tree};
    uint64_t pieces = tree != NULL ? hs_tree_pieces(tree) : 0;

    return hs_parallel_for(1 + (pieces + EXTENT_DIGEST_RUN - 1) / EXTENT_DIGEST_RUN,
                           tree != NULL ? hs_parallel_threads(hs_container_threads(c), size) : 1,
                           extent_put_step, &put, err);
}

/* ---- reading ---------------------------------------------------------- */

struct extent_job {
    hs_container *container;
    hs_extent extent;
    uint8_t *buffer; /* NULL: memory of each step's own */
    uint64_t size, step;
    hs_tree *tree;
    bool sha, sum;
};

static int
extent_read_step(void *context, uint64_t index, h5store_err *err)
{
    const struct extent_job *job = context;
    uint64_t from = index * job->step;
    size_t length = (size_t)hs_min(job->size - from, job->step), got;
    HS_CLEANUP(hs_freep) uint8_t *own = NULL;
    uint8_t *place = job->buffer != NULL ? job->buffer + from : NULL;
    int rc;

    if (place == NULL) {
        own = place = malloc(length);
        if (own == NULL)
            return hs_fail_nomem(err, length, "reading an array");
    }
    rc = hs_os_pread(hs_container_fd(job->container), hs_container_path(job->container), place,
                     length, job->extent.address + from, &got, err);
    if (rc < 0)
        return rc;
    if (got < length)
        return hs_fail(err, H5STORE_E_DAMAGED, 0,
                       "container '%s' ends at byte %llu, in the middle of an array",
                       hs_container_path(job->container),
                       (unsigned long long)(job->extent.address + from + got));
    if (job->tree == NULL)
        return H5STORE_OK;
    for (size_t done = 0; rc == H5STORE_OK && done < length; done += HS_PIECE_SIZE)
        rc = hs_tree_piece(job->tree, (from + done) / HS_PIECE_SIZE, place + done, job->sha,
                           job->sum, err);
    return rc;
}

static int
extent_run(struct extent_job *job, h5store_err *err)
{
    int threads = hs_parallel_threads(hs_container_threads(job->container), job->size);

    /* A piece at a time keeps what was read in cache for the digest. */
    job->step = job->tree != NULL ? HS_PIECE_SIZE : 4 * HS_PIECE_SIZE;
    return hs_parallel_for((job->size + job->step - 1) / job->step, threads, extent_read_step, job,
                           err);
}

int
hs_extent_read(hs_container *c, hs_extent extent, void *buffer, uint64_t size, hs_tree *tree,
               bool sha, bool sum, h5store_err *err)
{
    struct extent_job job = {c, extent, buffer, size, 0, tree, sha, sum};

    return extent_run(&job, err);
}

int
hs_extent_digest(hs_container *c, hs_extent extent, uint64_t size, hs_tree *tree, bool sha,
                 bool sum, h5store_err *err)
{
    struct extent_job job = {c, extent, NULL, size, 0, tree, sha, sum};

    return extent_run(&job, err);
}

int
hs_extent_map(hs_container *c, hs_extent extent, void **address, h5store_err *err)
{
    struct stat status;
    int rc = hs_os_fstat(hs_container_fd(c), hs_container_path(c), &status, err);

    if (rc < 0)
        return rc;
    /* Touching a page beyond the end would kill the process with SIGBUS. */
    if ((uint64_t)status.st_size < extent.address + extent.length)
        return hs_fail(err, H5STORE_E_DAMAGED, 0,
                       "container '%s' has %lld bytes and ends in the middle of an array",
                       hs_container_path(c), (long long)status.st_size);
    return hs_os_map(hs_container_fd(c), hs_container_path(c), extent.address,
                     (size_t)extent.length, address, err);
}

/* ---- reclaiming ------------------------------------------------------- */

/* Extents that are to be punched, pinned exclusively. */
struct extent_chosen {
    hs_extent extents[EXTENT_RECLAIM_BATCH];
    size_t count;
};

/*
 * Pin an extent exclusively, or those parts of it that nobody pins: an extent that many removals
 * made is joined from those of many blobs.
 */
static int
extent_choose_parts(hs_container *c, hs_extent extent, struct extent_chosen *chosen,
                    h5store_err *err)
{
    uint64_t end = extent.address + extent.length;

    while (extent.address < end && chosen->count < EXTENT_RECLAIM_BATCH) {
        hs_extent part = {extent.address, end - extent.address}, pin;
        bool granted;
        int rc = hs_container_pin_exclusive(c, part, &granted, err);

        if (rc < 0)
            return rc;
        if (granted) {
            chosen->extents[chosen->count++] = part;
            return H5STORE_OK;
        }
        rc = hs_container_find_pin(c, part, &pin, err);
        if (rc < 0 || pin.length == 0) /* it has gone: the next who looks */
            return rc;
        if (pin.address > part.address) {
            part.length = pin.address - part.address;
            rc = extent_choose_parts(c, part, chosen, err);
            if (rc < 0)
                return rc;
        }
        extent.address = hs_round_up(pin.address + pin.length, HS_SPACE_UNIT);
    }
    return H5STORE_OK;
}

/* Step 1.  The scope is over afterwards. */
static int
extent_choose(hs_container *c, struct extent_chosen *chosen, h5store_err *err)
{
    const hs_space *space;
    uint64_t applied;
    int rc = hs_container_write_begin(c, NULL, err);

    chosen->count = 0;
    if (rc < 0)
        return rc;
    space = hs_container_space(c);
    applied = hs_container_applied(c);
    for (size_t i = 0; rc == H5STORE_OK && i < space->count; i++) {
        const hs_slot *slot = &space->slots[i];

        if (slot->loose && slot->sequence <= applied)
            rc = extent_choose_parts(c, slot->extent, chosen, err);
    }
    hs_container_abort(c);
    return rc;
}

static void
extent_unpin(hs_container *c, const struct extent_chosen *chosen, size_t from, bool in_scope)
{
    for (size_t i = from; i < chosen->count; i++)
        hs_container_unpin_exclusive(c, chosen->extents[i], in_scope);
}

/* Step 2: how many of the chosen are punched. */
static size_t
extent_punch(hs_container *c, const struct extent_chosen *chosen, int *rc, h5store_err *err)
{
    bool done;

    for (size_t i = 0; i < chosen->count; i++) {
        *rc = hs_os_punch(hs_container_fd(c), hs_container_path(c), chosen->extents[i].address,
                          chosen->extents[i].length, &done, err);
        if (*rc < 0)
            return i;
        if (!done)
            hs_container_note_no_holes(c);
    }
    return chosen->count;
}

/* Step 3. */
static int
extent_release(hs_container *c, const struct extent_chosen *chosen, h5store_err *err)
{
    int rc = hs_container_write_begin(c, NULL, err);

    if (rc < 0) {
        extent_unpin(c, chosen, 0, false);
        return rc;
    }
    hs_container_gives_space(c);
    extent_unpin(c, chosen, 0, true);
    for (size_t i = 0; i < chosen->count; i++)
        (void)hs_space_free(hs_container_space(c), chosen->extents[i]);
    hs_space_shrink(hs_container_space(c));
    return hs_container_commit(c, NULL, 0, err);
}

int
hs_extent_reclaim(hs_container *c, h5store_err *err)
{
    HS_CLEANUP(hs_freep) struct extent_chosen *chosen = malloc(sizeof *chosen);
    bool more = true;
    int rc = H5STORE_OK;

    if (chosen == NULL)
        return hs_fail_nomem(err, sizeof *chosen, "freeing space");
    while (rc == H5STORE_OK && more) {
        size_t punched;

        rc = extent_choose(c, chosen, err);
        if (rc < 0 || chosen->count == 0) {
            extent_unpin(c, chosen, 0, false);
            return rc;
        }
        more = chosen->count == EXTENT_RECLAIM_BATCH;
        punched = extent_punch(c, chosen, &rc, err);
        extent_unpin(c, chosen, punched, false);
        chosen->count = punched;
        if (punched > 0) {
            int released = extent_release(c, chosen, rc < 0 ? NULL : err);

            rc = rc < 0 ? rc : released;
        }
    }
    return rc;
}
