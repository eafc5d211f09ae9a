/* SPDX-License-Identifier: MIT */
/*
 * Learning what others did: the records that came to the log, and whether another program wrote to
 * the file.  See container.c, whose scopes begin with this.
 */
#include "container_impl.h"
#include "digest.h"
#include "superblock.h"

/* Back to the start of the log with nothing known. */
static void
container_start_over(hs_container *c)
{
    hs_overlay_clear(&c->pager.committed);
    hs_groups_forget(c->groups);
    hs_space_forget(&c->space);
    hs_wal_rewind(&c->wal);
    c->seen_epoch = c->wal.header.epoch;
    c->seen_applied = 0;
    c->handle_stale = true;
    c->generation++;
}

void
container_drop_old_pages(hs_container *c, const hs_wal_blob *blob)
{
    uint64_t first = blob->extent.address / HS_PAGE_SIZE;

    if (container_all_in_force(c))
        hs_overlay_drop_range(&c->pager.committed, first,
                              first + blob->extent.length / HS_PAGE_SIZE);
}

/*
 * Take in what came to the log.  Pages of records that are applied already are in the file, and
 * must not be held: their place may have been freed since, and be that of an array by now, over
 * which the next application would write them.
 */
static int
container_read_records(hs_container *c, h5store_err *err)
{
    hs_wal_record record;
    int rc;

    while ((rc = hs_wal_next(&c->wal, &record, err)) == H5STORE_OK) {
        bool applied = record.sequence <= c->seen_applied;

        for (size_t i = 0; i < record.page_count; i++) {
            const uint8_t *entry = record.pages + i * (8 + HS_PAGE_SIZE);

            hs_groups_changed(c->groups, hs_get_le64(entry));
            if (applied)
                continue;
            rc = hs_overlay_set(&c->pager.committed, hs_get_le64(entry), record.sequence, entry + 8,
                                err);
            if (rc < 0)
                return rc;
        }
        for (size_t i = 0; i < record.blob_count; i++) {
            hs_wal_blob blob = hs_wal_record_blob(&record, i);

            container_drop_old_pages(c, &blob);
        }
        hs_space_forget(&c->space);
        if (record.flags & HS_RECORD_METADATA) {
            c->handle_stale = true;
            c->generation++;
        }
    }
    return rc < 0 ? rc : H5STORE_OK;
}

/*
 * The end of what another program allocated: the superblock of the file says more than the
 * space header beside it, which only we write.  Else 0.  Not to be asked of a file that is
 * half-applied: there, the header may be newer than the superblock.
 */
static uint64_t
container_foreign_eoa(const uint8_t bytes[HS_SPACE_HEAD_SIZE])
{
    uint64_t ours, theirs;

    if (hs_superblock_inspect(bytes) != HS_SUPERBLOCK_GOOD || !hs_space_peek_eoa(bytes, &ours))
        return 0;
    theirs = hs_round_up(hs_superblock_eoa(bytes), HS_SPACE_UNIT);
    return theirs > ours ? theirs : 0;
}

/* Is the superblock in the file one that we left there? */
static int
container_check_superblock(hs_container *c, h5store_err *err)
{
    uint8_t bytes[HS_SPACE_HEAD_SIZE];
    int rc = hs_os_pread(c->fd, c->path, bytes, sizeof bytes, 0, NULL, err);

    if (rc < 0)
        return rc;
    c->foreign = false; /* somebody else may have adopted it */
    c->foreign_eoa = 0;
    if (hs_sum64(bytes, HS_SUPERBLOCK_SIZE) == c->wal.header.superblock_sum) {
        if (!hs_superblock_is_marked(bytes))
            c->foreign_eoa = container_foreign_eoa(bytes); /* of changes that were adopted */
        return H5STORE_OK;
    }
    /* A process was killed while it applied: the old one with the mark, the new one that it
     * had announced, or a torn one; the log has the pages to do it again. */
    if (hs_superblock_inspect(bytes) == HS_SUPERBLOCK_GOOD) {
        hs_superblock_set_mark(bytes, false);
        if (hs_sum64(bytes, HS_SUPERBLOCK_SIZE) == c->wal.header.superblock_sum ||
            hs_sum64(bytes, HS_SUPERBLOCK_SIZE) == c->wal.header.applying_sum)
            return H5STORE_OK;
    } else if (hs_overlay_find(&c->pager.committed, 0) != NULL) {
        return H5STORE_OK;
    }
    if (c->wal.tail > c->wal.header.start)
        return hs_fail(err, H5STORE_E_CHANGED, 0,
                       "container '%s' was written by another program while results waited in "
                       "its log; close that program, and set the container aside or restore it",
                       c->path);
    if (hs_superblock_inspect(bytes) != HS_SUPERBLOCK_GOOD)
        return hs_fail(err, H5STORE_E_DAMAGED, 0,
                       "the superblock of container '%s' is damaged; restore the file or set it "
                       "aside",
                       c->path);
    c->foreign = true;
    c->foreign_eoa = container_foreign_eoa(bytes);
    return H5STORE_OK;
}

static bool
container_is_applied(const hs_page *page, const void *applied)
{
    return page->sequence <= *(const uint64_t *)applied;
}

int
container_catch_up(hs_container *c, h5store_err *err)
{
    bool present;
    int rc;

    if (c->log_fd < 0)
        return H5STORE_OK;
    rc = hs_wal_read_header(&c->wal, &present, err);
    if (rc < 0)
        return rc;
    if (!present ||
        memcmp(c->wal.header.container_id, c->stamp.container_id, sizeof c->stamp.container_id)) {
        if (c->read_only) /* a log that nobody has begun: the file is all there is */
            return H5STORE_OK;
        return hs_fail(err, H5STORE_E_CHANGED, 0,
                       "the log '%s' was replaced by that of another container; open it again",
                       c->log_path);
    }
    if (c->wal.header.epoch != c->seen_epoch || c->wal.tail < c->wal.header.start) {
        /* The log went on without what we had read: that is in the file now. */
        bool behind = c->wal.next_sequence != c->wal.header.start_sequence;

        if (behind) {
            container_start_over(c);
        } else {
            hs_overlay_clear(&c->pager.committed);
            hs_wal_rewind(&c->wal);
            c->seen_epoch = c->wal.header.epoch;
        }
    }
    if (c->wal.header.applied < c->seen_applied) /* a sync failed: see hs_container_sync_data */
        container_start_over(c);
    if (c->wal.header.applied > c->seen_applied) {
        c->seen_applied = c->wal.header.applied;
        hs_overlay_drop(&c->pager.committed, container_is_applied, &c->seen_applied);
    }
    rc = container_read_records(c, err);
    if (rc < 0)
        container_start_over(c); /* half a record was taken in */
    else
        rc = container_check_superblock(c, err);
    return rc;
}
