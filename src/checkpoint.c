/* SPDX-License-Identifier: MIT */
/*
 * Applying the log to the container file.
 *
 * STEPS, with the locks held (m: the mutex, W: WRITE, R: READ exclusive, F: stock flock):
 *
 *   1  fdatasync the log                                            -
 *   2  catch up; lengthen the file; note in the log's header        m W R F
 *      what the superblock will be; fdatasync that and what
 *      came since 1; write the superblock with the mark;
 *      write all pages but page 0; write page 0, without the mark;
 *      cut off what lies behind the end that it states;
 *      note in the log's header: applied so far, the new sum
 *   3  fdatasync the file                                           -
 *   4  give up the records that step 2 applied                      m W R
 *
 * WHY THIS ORDER.  The log is on the disk before a page of it is written to the file, so a
 * power cut in step 2 leaves a file that the log repairs.  The mark makes a stock program
 * refuse a file that a killed process left between old and new; our own processes have the
 * pages in memory or in the log, and see no difference (I2).  Page 0 goes last and alone,
 * since it is what makes the new state visible and takes the mark away; a page of 256 bytes
 * lies in one disk sector.  The records stay until the file is synced.  The long syncs, 1
 * and 3, hold no lock (I5); what step 2 syncs is what came in between.
 *
 * Every extent that anybody writes to lies below the EOA of the newest record, since space is
 * handed out by records; so the length can be set to it.  Who reserves blocks for an extent
 * lengthens the file at most to there.
 *
 * F is asked for without waiting.  When a stock program has the file open, nothing is
 * applied; the log grows, and keeps everything.  Step 3 comes all the same: the bytes of arrays
 * are in the file, whoever has it open, and would else be on the disk by chance.
 */
#include "container_impl.h"
#include "digest.h"
#include "superblock.h"
#include <assert.h>
#include <errno.h>
#include <sys/file.h>

#define CHECKPOINT_PATIENCE UINT64_C(500000000) /* nanoseconds */

static int
checkpoint_write_superblock(hs_container *c, uint8_t bytes[HS_SUPERBLOCK_SIZE], bool marked,
                            h5store_err *err)
{
    hs_superblock_set_mark(bytes, marked);
    return hs_os_pwrite(c->fd, c->path, bytes, HS_SUPERBLOCK_SIZE, 0, err);
}

/* Pages that follow each other go in one write. */
int
container_apply_pages(hs_container *c, hs_page *const *pages, size_t count, h5store_err *err)
{
    enum { RUN = 256 };
    HS_CLEANUP(hs_freep) uint8_t *run = malloc((size_t)RUN * HS_PAGE_SIZE);
    size_t i = 0;
    int rc = H5STORE_OK;

    if (run == NULL)
        return hs_fail_nomem(err, (uint64_t)RUN * HS_PAGE_SIZE, "writing pages");
    if (i < count && pages[i]->number == 0)
        i++;
    while (rc == H5STORE_OK && i < count) {
        uint64_t first = pages[i]->number;
        size_t n = 0;

        while (i < count && n < RUN && pages[i]->number == first + n)
            memcpy(run + n++ * HS_PAGE_SIZE, pages[i++]->bytes, HS_PAGE_SIZE);
        rc = hs_os_pwrite(c->fd, c->path, run, n * HS_PAGE_SIZE, first * HS_PAGE_SIZE, err);
    }
    return rc;
}

static int
checkpoint_lengthen(hs_container *c, h5store_err *err)
{
    struct stat status;
    int rc = hs_os_fstat(c->fd, c->path, &status, err);

    if (rc == H5STORE_OK && (uint64_t)status.st_size < c->space.eoa)
        rc = hs_os_truncate(c->fd, c->path, c->space.eoa, err);
    return rc;
}

/* After the superblock has the new end.  A killed process leaves the file longer than that, as
 * any HDF5 program may find it. */
static int
checkpoint_shorten(hs_container *c, h5store_err *err)
{
    struct stat status;
    int rc = hs_os_fstat(c->fd, c->path, &status, err);

    if (rc == H5STORE_OK && (uint64_t)status.st_size > c->space.eoa)
        rc = hs_os_truncate(c->fd, c->path, c->space.eoa, err);
    return rc;
}

/*
 * Note in the log's header which superblock there is and which will be, so that whoever finds
 * either knows that it is ours, and have that and all records on the disk before the file is
 * touched.
 */
static int
checkpoint_announce(hs_container *c, uint8_t old[HS_SUPERBLOCK_SIZE],
                    const uint8_t fresh[HS_SUPERBLOCK_SIZE], h5store_err *err)
{
    int rc;

    if (hs_superblock_inspect(old) == HS_SUPERBLOCK_GOOD) {
        hs_superblock_set_mark(old, false);
        c->wal.header.superblock_sum = hs_sum64(old, HS_SUPERBLOCK_SIZE);
    }
    c->wal.header.applying_sum = hs_sum64(fresh, HS_SUPERBLOCK_SIZE);
    rc = hs_wal_write_header(&c->wal, err);
    return rc < 0 ? rc : container_sync_log(c, err);
}

static bool
checkpoint_is_unused(const hs_page *page, const void *space)
{
    return hs_space_is_unused(space, page->number * HS_PAGE_SIZE);
}

/* WRITE and READ exclusive and the stock lock held, caught up. */
static int
checkpoint_apply(hs_container *c, h5store_err *err)
{
    HS_CLEANUP(hs_freep) hs_page **pages = NULL;
    uint8_t old[HS_SUPERBLOCK_SIZE], fresh[HS_SUPERBLOCK_SIZE];
    int rc = container_load_space(c, err);

    /* Where all is in force again, what some pages belonged to was freed since, and somebody may
     * be writing an array there. */
    if (rc == H5STORE_OK && container_all_in_force(c))
        hs_overlay_drop(&c->pager.committed, checkpoint_is_unused, &c->space);
    if (rc == H5STORE_OK)
        rc = hs_overlay_sorted(&c->pager.committed, &pages, err);
    if (rc == H5STORE_OK)
        rc = hs_os_pread(c->fd, c->path, old, sizeof old, 0, NULL, err);
    if (rc == H5STORE_OK)
        rc = hs_pager_read(&c->pager, 0, fresh, sizeof fresh, err);
    if (rc < 0)
        return rc;
    rc = checkpoint_lengthen(c, err);
    if (rc < 0)
        return rc;
    hs_superblock_set_mark(fresh, false); /* of a killed process, if no record has page 0 */
    hs_superblock_set_eoa(fresh, c->space.eoa);
    rc = checkpoint_announce(c, old, fresh, err);
    if (rc == H5STORE_OK && hs_superblock_inspect(old) == HS_SUPERBLOCK_GOOD)
        rc = checkpoint_write_superblock(c, old, true, err);
    if (rc == H5STORE_OK)
        rc = container_apply_pages(c, pages, c->pager.committed.count, err);
    if (rc == H5STORE_OK)
        rc = checkpoint_write_superblock(c, fresh, false, err);
    if (rc == H5STORE_OK)
        rc = checkpoint_shorten(c, err);
    if (rc < 0)
        return hs_prefix(err, rc, "the log of '%s' could not be applied and keeps everything",
                         c->path);
    c->wal.header.applied = c->wal.next_sequence - 1;
    c->wal.header.superblock_sum = hs_sum64(fresh, sizeof fresh);
    rc = hs_wal_write_header(&c->wal, err);
    if (rc < 0)
        return rc;
    c->seen_applied = c->wal.header.applied;
    hs_overlay_clear(&c->pager.committed);
    return H5STORE_OK;
}

/* Take the mutex and WRITE, and catch up. */
static int
checkpoint_lock_write(hs_container *c, uint64_t deadline, h5store_err *err)
{
    int rc = container_enter(c, err);

    if (rc < 0)
        return rc;
    rc = hs_lock_take(c->locks, HS_LOCK_WRITE, HS_EXCLUSIVE, deadline, err);
    if (rc == H5STORE_OK) {
        rc = container_catch_up(c, err);
        if (rc < 0)
            hs_lock_release(c->locks, HS_LOCK_WRITE);
    }
    if (rc < 0)
        container_leave(c);
    return rc;
}

static void
checkpoint_unlock_write(hs_container *c)
{
    hs_lock_release(c->locks, HS_LOCK_WRITE);
    container_leave(c);
}

/*
 * Take the mutex and the locks of steps 2 and 4.  Applying can wait, and those who would have
 * to wait for it cannot, so the time to get READ from all readers is short.
 */
int
container_lock_alone(hs_container *c, h5store_err *err)
{
    uint64_t deadline = hs_os_now() + hs_min(c->timeout, CHECKPOINT_PATIENCE);
    int rc = checkpoint_lock_write(c, deadline, err);

    if (rc < 0)
        return rc;
    rc = hs_lock_take(c->locks, HS_LOCK_READ, HS_EXCLUSIVE, deadline, err);
    if (rc < 0)
        checkpoint_unlock_write(c);
    return rc;
}

void
container_unlock_alone(hs_container *c)
{
    hs_lock_release(c->locks, HS_LOCK_READ);
    checkpoint_unlock_write(c);
}

static bool
checkpoint_has_nothing(hs_container *c)
{
    uint8_t bytes[HS_SUPERBLOCK_SIZE];

    return c->wal.header.applied + 1 == c->wal.next_sequence &&
           hs_os_pread(c->fd, c->path, bytes, sizeof bytes, 0, NULL, NULL) == H5STORE_OK &&
           hs_sum64(bytes, sizeof bytes) == c->wal.header.superblock_sum;
}

bool
container_log_is_empty(hs_container *c)
{
    return !c->foreign && c->wal.tail == HS_WAL_RECORDS && checkpoint_has_nothing(c);
}

bool
container_finds_log_empty(hs_container *c)
{
    bool empty = false;

    if (container_enter(c, NULL) < 0)
        return false;
    if (hs_lock_take(c->locks, HS_LOCK_READ, HS_SHARED, hs_container_deadline(c), NULL) ==
        H5STORE_OK) {
        empty = container_catch_up(c, NULL) == H5STORE_OK && container_log_is_empty(c);
        hs_lock_release(c->locks, HS_LOCK_READ);
    }
    container_leave(c);
    return empty;
}

/* How far the log is applied: a position means something in its epoch alone. */
struct checkpoint_point {
    uint64_t epoch, position, sequence;
};

/* Step 2. */
static int
checkpoint_second_step(hs_container *c, struct checkpoint_point *point, h5store_err *err)
{
    bool granted = false;
    int rc = container_lock_alone(c, err);

    if (rc < 0)
        return rc;
    if (!c->foreign && !checkpoint_has_nothing(c)) {
        rc = hs_os_flock(c->fd, c->path, LOCK_EX, &granted, err);
        if (rc == H5STORE_OK && !granted)
            rc = hs_fail(err, H5STORE_E_BUSY, 0,
                         "another HDF5 program has container '%s' open, so that the newest "
                         "results stay in the log for now; nothing is lost",
                         c->path);
        /* Another program may have written between catching up and the lock. */
        if (rc == H5STORE_OK)
            rc = container_catch_up(c, err);
        if (rc == H5STORE_OK && !c->foreign)
            rc = checkpoint_apply(c, err);
        if (granted)
            (void)hs_os_flock(c->fd, c->path, LOCK_UN, &granted, NULL);
    }
    *point = (struct checkpoint_point){c->seen_epoch, c->wal.tail, c->wal.next_sequence};
    container_unlock_alone(c);
    return rc;
}

/* Step 4. */
static int
checkpoint_last_step(hs_container *c, const struct checkpoint_point *point, h5store_err *err)
{
    int rc = container_lock_alone(c, err);

    if (rc < 0)
        return rc;
    if (point->epoch != c->seen_epoch || point->position <= c->wal.header.start)
        rc = H5STORE_OK;                              /* somebody else was quicker */
    else if (point->sequence == c->wal.next_sequence) /* nothing came since, applied or not */
        rc = hs_wal_reset(&c->wal, err), c->seen_epoch = c->wal.header.epoch;
    else
        rc = hs_wal_trim(&c->wal, point->position, point->sequence, err);
    if (rc < 0)
        c->poisoned = true; /* a sync may have failed */
    container_unlock_alone(c);
    return rc;
}

int
hs_container_checkpoint(hs_container *c, bool trim, h5store_err *err)
{
    struct checkpoint_point point = {0};
    int applied, rc = hs_container_check_process(c, err);

    if (rc < 0)
        return rc;
    if (c->poisoned)
        return hs_fail(err, H5STORE_E_POISONED, 0,
                       "an earlier sync of container '%s' failed; close it and open it again",
                       c->path);
    rc = container_sync_log(c, err);
    if (rc < 0)
        return rc;
    applied = checkpoint_second_step(c, &point, err);
    if (!trim || (applied < 0 && applied != H5STORE_E_BUSY))
        return applied;
    rc = hs_container_sync_data(c, err);
    if (rc < 0 || applied < 0)
        return rc < 0 ? rc : applied;
    return checkpoint_last_step(c, &point, err);
}

bool
hs_container_is_half_applied(hs_container *c)
{
    uint8_t bytes[HS_SUPERBLOCK_SIZE];

    return hs_os_pread(c->fd, c->path, bytes, sizeof bytes, 0, NULL, NULL) == H5STORE_OK &&
           hs_sum64(bytes, sizeof bytes) != c->wal.header.superblock_sum;
}

/*
 * The kernel may have dropped pages that were applied, and tells nobody else: whoever syncs next
 * would give up their records.  So all of the log is to be applied again.
 */
static void
checkpoint_take_back(hs_container *c)
{
    if (checkpoint_lock_write(c, hs_container_deadline(c), NULL) < 0)
        return;
    if (!container_all_in_force(c)) {
        container_put_in_force(c);
        (void)hs_wal_write_header(&c->wal, NULL);
    }
    checkpoint_unlock_write(c);
}

int
hs_container_sync_data(hs_container *c, h5store_err *err)
{
    int rc = hs_os_datasync(c->fd, c->path, err);

    if (rc < 0) {
        c->poisoned = true; /* never retried */
        checkpoint_take_back(c);
    }
    return rc;
}
