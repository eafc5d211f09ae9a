/* SPDX-License-Identifier: MIT */
/*
 * See compact.h.
 *
 * MOVING.  From the last array of the file on, each is copied into the lowest hole that lies
 * before it and is large enough:
 *
 *   1  (WRITE)  take the hole, as a reservation: loose, and pinned by us
 *   2  (none)   pin the array, copy it and compare its checksum on the way; sync
 *   3  (WRITE)  if the array still is where it was: let its object header say the new place,
 *               and the old place is loose from this record on
 *
 * Readers that looked the array up before have the old place pinned and its bytes stay; those
 * that come after see the new one.  The bytes are on the disk before the record is written, so
 * neither a kill nor a power cut leaves a header that points to nothing (I1).  Whoever dies in
 * between leaves a reservation that nobody pins.  The record lists the arrays with their new
 * places, as that of a put does: after a power cut older records must not be laid over them.  An
 * array that a reader found damaged is left alone, since the next put writes its bytes again where
 * they are.
 *
 * Several arrays go in one round, so that a round costs two short commits and one sync.
 *
 * THE METADATA stays where it is while it is not worth a copy.  It lies between the arrays, and
 * the file cannot end before the last of it.  Making it anew takes as much space once more until
 * the old is given up: in holes, if there are such; else behind everything, from where it goes
 * into what the old one left, by making it anew again.  So this is done only if it is known to
 * fit in the end, and the file never gets longer.
 */
#include "compact.h"
#include "cursor.h"
#include "extent.h"
#include "grow.h"
#include "os.h"
#include "reader.h"
#include "rebuild.h"

#define COMPACT_ROUND 256u
#define COMPACT_ROUND_BYTES ((uint64_t)64 * 1024 * 1024)
#define COMPACT_STEP ((size_t)4 * 1024 * 1024)
#define COMPACT_LEAST_PART 32 /* of the file, free or waste, for the metadata to be copied */

struct compact_move {
    h5store_id id;
    hs_extent from, to;
    uint64_t size; /* of the array */
    bool copied;
};

struct compact {
    hs_container *container;
    h5store_progress_fn progress;
    void *context;
    h5store_compaction *result;
    struct compact_move *blobs; /* all that can move, the last of the file first */
    size_t count, room;
    uint64_t bytes, done;
};

/* ---- what there is ---------------------------------------------------- */

static int
compact_note(struct compact *job, const hs_blob *blob, h5store_err *err)
{
    int rc;

    if (blob->damaged || blob->extent.length == 0)
        return H5STORE_OK;
    rc = hs_grow(&job->blobs, job->count, &job->room, sizeof *job->blobs, "a compaction", err);
    if (rc < 0)
        return rc;
    job->blobs[job->count++] = (struct compact_move){.id = blob->info.id, .from = blob->extent};
    job->bytes += blob->extent.length;
    return H5STORE_OK;
}

static int
compact_by_place(const void *a, const void *b)
{
    const struct compact_move *left = a, *right = b;

    return left->from.address < right->from.address   ? 1
           : left->from.address > right->from.address ? -1
                                                      : 0;
}

static int
compact_list(struct compact *job, h5store_err *err)
{
    hs_blob_walk walk = {.container = job->container};
    int rc;

    while ((rc = hs_blob_walk_next(&walk, err)) == H5STORE_OK || rc == H5STORE_E_DAMAGED) {
        rc = rc == H5STORE_OK ? compact_note(job, &walk.blob, err) : H5STORE_OK;
        if (rc < 0)
            break;
    }
    hs_blob_walk_release(&walk);
    if (rc < 0)
        return rc;
    if (job->count > 0)
        qsort(job->blobs, job->count, sizeof *job->blobs, compact_by_place);
    return H5STORE_OK;
}

/* ---- one round -------------------------------------------------------- */

/* Step 1: the next arrays for which there is a hole; *taken of them have one. */
static int
compact_reserve(struct compact *job, size_t *next, struct compact_move *moves, size_t *taken,
                h5store_err *err)
{
    hs_container *c = job->container;
    uint64_t bytes = 0;
    int rc = hs_container_write_begin(c, NULL, err);

    *taken = 0;
    if (rc < 0)
        return rc;
    while (rc == H5STORE_OK && *next < job->count && *taken < COMPACT_ROUND &&
           bytes < COMPACT_ROUND_BYTES) {
        struct compact_move *move = &moves[*taken];

        *move = job->blobs[(*next)++];
        job->done += move->from.length;
        if (!hs_space_take_below(hs_container_space(c), move->from.length, move->from.address,
                                 &move->to))
            continue;
        rc = hs_space_loosen(hs_container_space(c), move->to, 0, err);
        if (rc == H5STORE_OK)
            rc = hs_container_pin(c, move->to, err);
        if (rc == H5STORE_OK) {
            bytes += move->to.length;
            ++*taken;
        }
    }
    if (rc < 0 || *taken == 0)
        hs_container_abort(c);
    else
        rc = hs_container_commit(c, NULL, 0, err);
    if (rc < 0) {
        for (size_t i = 0; i < *taken; i++)
            hs_container_unpin(c, moves[i].to);
        *taken = 0;
    }
    return rc;
}

/* Copy the bytes of a pinned array, and say whether they are those that were put. */
static int
compact_copy_bytes(hs_container *c, const hs_blob *blob, hs_extent to, bool *right,
                   h5store_err *err)
{
    HS_CLEANUP(hs_freep) uint8_t *buffer = malloc(COMPACT_STEP);
    HS_CLEANUP(hs_tree_freep) hs_tree *tree = NULL;
    bool packed = hs_is_packed(&blob->packed);
    uint64_t size = packed ? hs_packed_length(&blob->packed) : blob->info.array.nbytes;
    int rc = buffer == NULL ? hs_fail_nomem(err, COMPACT_STEP, "a compaction")
                            : hs_tree_new(blob->info.array.nbytes, &tree, err);

    *right = false;
    for (uint64_t done = 0; rc == H5STORE_OK && done < size; done += COMPACT_STEP) {
        size_t step = (size_t)hs_min(size - done, COMPACT_STEP), got;
        uint64_t piece = done / HS_PIECE_SIZE;

        rc = hs_os_pread(hs_container_fd(c), hs_container_path(c), buffer, step,
                         blob->extent.address + done, &got, err);
        if (rc < 0 || got < step)
            return rc; /* cut short: not ours to say here */
        for (size_t at = 0; !packed && rc == H5STORE_OK && at < step; at += HS_PIECE_SIZE)
            rc = hs_tree_piece(tree, piece++, buffer + at, false, true, err);
        if (rc == H5STORE_OK)
            rc = hs_os_pwrite(hs_container_fd(c), hs_container_path(c), buffer, step,
                              to.address + done, err);
    }
    if (rc == H5STORE_OK && packed)
        rc = hs_packed_digest(hs_packed_file_of(c), &blob->packed, to, blob->info.array.nbytes,
                              tree, false, true, err);
    if (rc == H5STORE_OK)
        *right = hs_tree_sum(tree) == blob->sum;
    return rc == H5STORE_E_DAMAGED ? H5STORE_OK : rc;
}

/* Step 2. */
static int
compact_copy(hs_container *c, struct compact_move *move, h5store_err *err)
{
    hs_blob blob;
    int rc = hs_reader_find_blob(c, &move->id, &blob, err);

    if (rc == H5STORE_E_NOT_FOUND || rc == H5STORE_E_DAMAGED)
        return H5STORE_OK;
    if (rc < 0)
        return rc;
    if (!blob.damaged && blob.extent.address == move->from.address &&
        blob.extent.length == move->from.length) {
        rc = hs_os_reserve(hs_container_fd(c), hs_container_path(c), move->to.address,
                           move->to.length, err);
        if (rc == H5STORE_OK)
            rc = compact_copy_bytes(c, &blob, move->to, &move->copied, err);
        move->size = blob.info.array.nbytes;
    }
    hs_reader_release_blob(c, &blob);
    return rc;
}

/* Do an array's bytes lie where they did?  *packed: how, to be released. */
static bool
compact_is_there(hs_container *c, const hs_ohdr *header, hs_extent place, hs_packed *packed)
{
    hs_extent extent;

    if (!header->filtered)
        return header->data_address == place.address;
    return hs_packed_parse(hs_container_pager(c), header, hs_container_space(c)->eoa, packed,
                           &extent, NULL) == H5STORE_OK &&
           extent.address == place.address && extent.length == place.length;
}

/* In a write scope: let the header of an array, or the index of its chunks, say its new place. */
static int
compact_turn(hs_container *c, hid_t file, const struct compact_move *move, bool *turned,
             h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    HS_CLEANUP(hs_packed_release) hs_packed packed = {0};
    hs_space *space = hs_container_space(c);
    hs_pager *pager = hs_container_pager(c);
    uint64_t address;
    int rc;

    *turned = false;
    if (hs_blob_find(file, &move->id, &address, NULL) < 0 ||
        hs_ohdr_read(pager, address, &header, NULL) < 0 ||
        hs_ohdr_find(&header, "damaged") != NULL ||
        !compact_is_there(c, &header, move->from, &packed) || !hs_space_tighten(space, move->to))
        return H5STORE_OK; /* it was removed or found damaged meanwhile */
    *turned = true;
    rc = hs_is_packed(&packed) ? hs_packed_rewrite(pager, &header, &packed, move->to, err)
                               : hs_ohdr_move_data(pager, &header, move->to.address, err);
    return rc < 0 ? rc : hs_space_loosen(space, move->from, hs_container_sequence(c), err);
}

/* Step 3. */
static int
compact_commit(struct compact *job, const struct compact_move *moves, size_t count,
               h5store_err *err)
{
    HS_CLEANUP(hs_freep) hs_wal_blob *log = malloc(count * sizeof *log);
    hs_container *c = job->container;
    uint64_t bytes = 0;
    size_t moved = 0;
    hid_t file;
    int rc = log == NULL ? hs_fail_nomem(err, count * sizeof *log, "a compaction")
                         : hs_container_write_begin(c, &file, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; rc == H5STORE_OK && i < count; i++) {
        bool turned = false;

        if (moves[i].copied)
            rc = compact_turn(c, file, &moves[i], &turned, err);
        if (turned) {
            log[moved++] = (hs_wal_blob){moves[i].id, moves[i].to};
            bytes += moves[i].size;
        }
    }
    rc = hs_container_verdict(c, rc, err);
    if (rc < 0) {
        hs_container_abort(c);
        return rc;
    }
    hs_container_changed_headers(c);
    rc = hs_container_commit(c, log, moved, err);
    if (rc == H5STORE_OK) {
        job->result->moved_bytes += bytes;
        job->result->moved += moved;
    }
    return rc;
}

static int
compact_round(struct compact *job, size_t *next, h5store_err *err)
{
    hs_container *c = job->container;
    HS_CLEANUP(hs_freep) struct compact_move *moves = calloc(COMPACT_ROUND, sizeof *moves);
    size_t taken;
    int rc;

    if (moves == NULL)
        return hs_fail_nomem(err, COMPACT_ROUND * sizeof *moves, "a compaction");
    rc = compact_reserve(job, next, moves, &taken, err);
    for (size_t i = 0; rc == H5STORE_OK && i < taken; i++)
        rc = compact_copy(c, &moves[i], err);
    if (rc == H5STORE_OK && taken > 0)
        rc = hs_container_sync_data(c, err);
    if (rc == H5STORE_OK && taken > 0)
        rc = compact_commit(job, moves, taken, err);
    for (size_t i = 0; i < taken; i++)
        hs_container_unpin(c, moves[i].to);
    if (job->progress != NULL && job->progress(job->done, job->bytes, job->context) != 0)
        *next = job->count; /* what was moved is worth having */
    return rc;
}

/* ---- the whole -------------------------------------------------------- */

/* Let what was removed go, and the file end where it can. */
static int
compact_settle(hs_container *c, h5store_err *err)
{
    int rc;

    hs_extent_give_up_ahead(c);
    rc = hs_container_checkpoint(c, true, err);
    if (rc == H5STORE_OK)
        rc = hs_extent_reclaim(c, err);
    if (rc == H5STORE_OK)
        rc = hs_container_checkpoint(c, true, err);
    return rc == H5STORE_E_BUSY ? H5STORE_OK : rc; /* another program has the file open */
}

/* Has the metadata, made anew, room below its end?  With a quarter to spare: it may get larger. */
static bool
compact_has_room(const hs_space *space)
{
    return hs_space_free_in(space, HS_ARENA_SIZE) / 5 >= space->blocks.metadata_bytes / 4;
}

/* Is so much of the file free, or waste in the metadata, that making this anew makes it shorter? */
static bool
compact_pays(const hs_space *space)
{
    uint64_t waste = hs_max(hs_space_waste(space), space->blocks.free_bytes);

    return space->free_bytes + waste > space->eoa / COMPACT_LEAST_PART &&
           (compact_has_room(space) || waste > space->blocks.metadata_bytes / 4);
}

/* Make the metadata anew if @p pays, if it takes no long or nobody has to wait, and if nothing
 * is lost by it. */
static int
compact_rebuild(struct compact *job, bool (*pays)(const hs_space *), h5store_err *err)
{
    hs_container *c = job->container;
    h5store_err cause = {0};
    bool due, quick;
    int rc = hs_container_read_begin(c, NULL, err);

    if (rc < 0)
        return rc;
    due = pays(hs_container_space(c));
    quick = hs_rebuild_is_quick(hs_container_space(c));
    hs_container_read_end(c);
    job->result->left = due && !quick && !hs_container_is_alone(c);
    if (!due || job->result->left)
        return H5STORE_OK;
    rc = hs_rebuild(c, true, true, &cause);
    job->result->left = rc == H5STORE_DONE;
    if (rc == H5STORE_OK)
        job->result->rebuilt = 1;
    else if (rc == H5STORE_DONE)
        hs_container_note_unreadable(c, &cause);
    else if (err != NULL)
        *err = cause;
    return rc < 0 ? rc : compact_settle(c, err);
}

static int
compact_move_all(struct compact *job, h5store_err *err)
{
    size_t next = 0;
    int rc;

    job->count = 0;
    job->done = job->bytes = 0;
    rc = compact_list(job, err);
    while (rc == H5STORE_OK && next < job->count)
        rc = compact_round(job, &next, err);
    return rc < 0 ? rc : compact_settle(job->container, err);
}

static int
compact_all(struct compact *job, h5store_err *err)
{
    int rc = compact_settle(job->container, err);

    if (rc == H5STORE_OK)
        rc = compact_move_all(job, err);
    if (rc == H5STORE_OK)
        rc = compact_rebuild(job, compact_pays, err);
    if (rc < 0 || !job->result->rebuilt)
        return rc;
    /* Into where the old metadata was; and then the new one there, or before where they were. */
    rc = compact_move_all(job, err);
    return rc < 0 ? rc : compact_rebuild(job, compact_has_room, err);
}

int
hs_compact(hs_container *c, h5store_progress_fn progress, void *context, h5store_compaction *result,
           h5store_err *err)
{
    struct compact job = {.container = c, .progress = progress, .context = context};
    h5store_compaction done = {0};
    uint64_t ignored;
    int rc = hs_container_sizes(c, &done.size_before, &ignored, &ignored, err);

    if (rc == H5STORE_OK && hs_container_is_read_only(c))
        rc = hs_fail(err, H5STORE_E_READ_ONLY, 0, "container '%s' is open for reading only",
                     hs_container_path(c));
    if (rc < 0)
        return rc;
    job.result = &done;
    rc = compact_all(&job, err);
    free(job.blobs);
    if (rc == H5STORE_OK)
        rc = hs_container_sizes(c, &done.size_after, &ignored, &ignored, err);
    if (rc == H5STORE_OK)
        *result = done;
    return rc;
}
