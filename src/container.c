/* SPDX-License-Identifier: MIT */
/*
 * Scopes and commits.
 *
 * STATE.  What a process knows of the container is: the file as it is on disk, the pages of
 * all records of the log it has read (pager.committed), the decoded space table, and an
 * HDF5 handle whose caches agree with those.  Before each piece of work it catches up:
 *
 *            catch_up: new records                    H5Fopen
 *   BEHIND ------------------------> CURRENT, STALE ----------> CURRENT
 *      ^                                 |  a record without HDF5 metadata
 *      |  another process commits        |  (a reservation) does not make it stale
 *      +---------------------------------+
 *
 *   CURRENT --write_begin--> WRITING --commit--> CURRENT   (record in the log)
 *                               |
 *                               +--abort--> CURRENT, no handle (H5Fclose, and then the
 *                                           pending pages are dropped)
 *
 * COMMIT.  H5Fflush brings HDF5's dirty metadata into the pending pages, space_save adds
 * the space table's, wal_append writes both as one record.  After that, and only then, the
 * commit has happened (I1); what remains is to move the pages from pending to committed,
 * which cannot fail since the room was made before.
 *
 * LOCKS.  The mutex, then WRITE or READ, then HDF5.  A write scope holds WRITE
 * exclusive: nobody else commits or applies.  A read scope holds READ shared: commits go
 * on, but nobody applies, so the file under the pages does not change.  Appliers take WRITE
 * and READ exclusive.
 *
 * OTHER PROGRAMS.  The superblock's sum is noted in the log header whenever we write it.
 * When the one in the file is another, a stock program wrote to it.  If the log holds
 * nothing, all is in the file, and the change is adopted: caches are dropped, and the EOA
 * becomes theirs if that is larger.  If the log holds records, their pages and the foreign
 * changes contradict each other, and every call says so (CHANGED).
 */
#include "container_impl.h"
#include "digest.h"
#include "h5util.h"
#include "superblock.h"
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

uint64_t
hs_container_deadline(const hs_container *c)
{
    return hs_os_now() + c->timeout;
}

int
hs_container_check_process(const hs_container *c, h5store_err *err)
{
    if (c->pid == hs_os_process())
        return H5STORE_OK;
    return hs_fail(err, H5STORE_E_FORKED, 0,
                   "container '%s' was opened before a fork, by process %ld; open it again in "
                   "this process",
                   c->path, (long)c->pid);
}

int
container_enter(hs_container *c, h5store_err *err)
{
    struct timespec until;
    uint64_t deadline;
    int rc = hs_container_check_process(c, err);

    if (rc < 0)
        return rc;
    if (pthread_mutex_trylock(&c->mutex) == 0)
        return H5STORE_OK;
    deadline = hs_container_deadline(c);
    until.tv_sec = (time_t)(deadline / 1000000000u);
    until.tv_nsec = (long)(deadline % 1000000000u);
    if (pthread_mutex_clocklock(&c->mutex, CLOCK_MONOTONIC, &until) != 0)
        return hs_fail(err, H5STORE_E_BUSY, 0,
                       "another thread kept container '%s' busy for %.1f s; try again, or give "
                       "a longer timeout",
                       c->path, (double)c->timeout / 1e9);
    return H5STORE_OK;
}

void
container_leave(hs_container *c)
{
    c->wal.length = 0;
    pthread_mutex_unlock(&c->mutex);
}

void
container_close_handle(hs_container *c)
{
    hs_h5_close_plist(&c->link_list);
    hs_h5_close_plist(&c->group_list);
    c->link_list = c->group_list = H5I_INVALID_HID;
    (void)H5Fclose(c->file);
    c->file = H5I_INVALID_HID;
}

void
container_drop_handle(hs_container *c)
{
    if (c->file < 0)
        return;
    hs_h5_enter();
    container_close_handle(c);
    hs_h5_leave();
}

/*
 * Have the log on the disk, and under its name: that of a new one is not there before its
 * folder is synced, and an older one, unlinked and no less on the disk, would take its place
 * after a power cut.  A folder that we may not read is left to its file system's journal; one
 * that is gone was moved or removed.
 */
int
container_sync_log(hs_container *c, h5store_err *err)
{
    h5store_err failure = {0};
    int rc = hs_os_datasync(c->log_fd, c->log_path, &failure);

    if (rc == H5STORE_OK && !c->log_is_named) {
        rc = hs_os_sync_parent(c->log_path, &failure);
        if (rc == H5STORE_E_READ_ONLY || rc == H5STORE_E_NOT_FOUND)
            rc = H5STORE_OK;
        c->log_is_named = rc == H5STORE_OK;
    }
    if (rc == H5STORE_OK)
        return rc;
    /* The kernel may have dropped the pages: never retry.  But without descriptors or memory
     * the folder was not even opened. */
    if (failure.os_errno != EMFILE && failure.os_errno != ENFILE && rc != H5STORE_E_NOMEM)
        c->poisoned = true;
    if (err != NULL)
        *err = failure;
    return rc;
}

/* ---- what others did to the files -------------------------------------- */

/* Another program wrote to the file. */
static void
container_forget(hs_container *c)
{
    container_drop_handle(c);
    hs_groups_forget(c->groups);
    hs_space_forget(&c->space);
    c->generation++;
}

/* Are file and log still the ones at their paths?  Learns how long the log is. */
static int
container_check_files(hs_container *c, h5store_err *err)
{
    struct stat status;
    int rc = hs_os_fstat(c->fd, c->path, &status, err);

    if (rc < 0)
        return rc;
    if (status.st_nlink > 0 && c->log_fd >= 0) {
        rc = hs_os_fstat(c->log_fd, c->log_path, &status, err);
        if (rc < 0)
            return rc;
        c->wal.length = (uint64_t)status.st_size;
    }
    if (status.st_nlink > 0)
        return H5STORE_OK;
    return hs_fail(err, H5STORE_E_CHANGED, 0,
                   "container '%s' or its log was deleted or replaced while it was open; open it "
                   "again",
                   c->path);
}

/* ---- the HDF5 handle -------------------------------------------------- */

/* HDF5 writes the superblock when it closes a file, with the root group that this handle knows:
 * that must not get into a transaction, since another process may have made a new tree. */
void
container_close_stale(hs_container *c)
{
    bool in_transaction = c->pager.in_transaction;

    if (c->file < 0)
        return;
    c->pager.in_transaction = false;
    container_close_handle(c);
    c->pager.in_transaction = in_transaction;
}

/* Inside HDF5.  The handle agrees with the pages afterwards. */
static int
container_need_handle(hs_container *c, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_plist) hid_t fapl = H5I_INVALID_HID;
    int rc;

    if (c->file >= 0 && !c->handle_stale)
        return H5STORE_OK;
    container_close_stale(c);
    rc = hs_vfd_access_list(&c->host, &fapl, err);
    if (rc < 0)
        return rc;
    c->file = H5Fopen(c->path, c->read_only ? H5F_ACC_RDONLY : H5F_ACC_RDWR, fapl);
    if (c->file < 0)
        return hs_container_hdf5_fail(c, err, H5STORE_E_DAMAGED,
                                      "container '%s' cannot be opened by HDF5", c->path);
    c->handle_stale = false;
    return H5STORE_OK;
}

int
hs_container_hdf5_fail(hs_container *c, h5store_err *err, enum h5store_code otherwise,
                       const char *format, ...)
{
    char what[H5STORE_MESSAGE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (c->host.failure.code == H5STORE_OK)
        return hs_h5_fail(err, otherwise, "%s", what);
    if (err != NULL)
        *err = c->host.failure;
    hs_prefix(err, c->host.failure.code, "%s", what);
    return c->host.failure.code;
}

int
hs_container_verdict(const hs_container *c, int rc, h5store_err *err)
{
    if (c->old_file >= 0 && c->old_host.failure.code != H5STORE_OK) { /* of a rebuild */
        if (err != NULL)
            *err = c->old_host.failure;
        return c->old_host.failure.code;
    }
    if (c->host.failure.code == H5STORE_OK || rc == c->host.failure.code)
        return rc;
    if (err != NULL)
        *err = c->host.failure;
    return c->host.failure.code;
}

int
hs_container_use_hdf5(hs_container *c, hid_t *file, h5store_err *err)
{
    int rc = H5STORE_OK;

    if (!c->scope_hdf5) {
        rc = hs_h5_need_memory(err);
        if (rc < 0)
            return rc;
        hs_h5_enter();
        rc = container_need_handle(c, err);
        c->scope_hdf5 = rc == H5STORE_OK;
        if (rc < 0)
            hs_h5_leave();
    }
    if (rc == H5STORE_OK)
        *file = c->file;
    return rc;
}

int
container_load_space(hs_container *c, h5store_err *err)
{
    int rc = hs_space_load(&c->space, &c->pager, err);

    if (rc == H5STORE_OK)
        c->space.eoa = hs_max(c->space.eoa, c->foreign_eoa);
    return rc;
}

static int
container_open_scope(hs_container *c, container_scope scope, hid_t *file, h5store_err *err)
{
    int rc = container_check_files(c, err);

    c->host.failure.code = H5STORE_OK;
    if (rc == H5STORE_OK)
        rc = container_catch_up(c, err);
    if (rc == H5STORE_OK && c->foreign)
        container_forget(c);
    if (rc == H5STORE_OK)
        rc = container_load_space(c, err);
    if (rc < 0)
        return rc;
    c->scope = scope;
    c->usage_loaded = c->usage_changed = c->notes_due = c->groups_go = false;
    c->scope_hdf5 = c->scope_headers = false;
    c->pager.in_transaction = scope == SCOPE_WRITE;
    if (file == NULL)
        return H5STORE_OK;
    rc = hs_container_use_hdf5(c, file, err);
    if (rc == H5STORE_OK)
        return rc;
    c->scope = SCOPE_NONE;
    c->pager.in_transaction = false;
    hs_overlay_clear(&c->pager.pending);
    return rc;
}

/* ---- read scopes ------------------------------------------------------ */

int
hs_container_read_begin(hs_container *c, hid_t *file, h5store_err *err)
{
    int rc = container_enter(c, err);

    if (rc < 0)
        return rc;
    if (c->locks == NULL && c->bare_pins == 0)
        rc = container_join_late(c, err); /* if somebody writes by now */
    if (rc == H5STORE_OK && c->locks != NULL)
        rc = hs_lock_take(c->locks, HS_LOCK_READ, HS_SHARED, hs_container_deadline(c), err);
    if (rc == H5STORE_OK) {
        rc = container_open_scope(c, SCOPE_READ, file, err);
        if (rc < 0 && c->locks != NULL)
            hs_lock_release(c->locks, HS_LOCK_READ);
    }
    if (rc < 0)
        container_leave(c);
    return rc;
}

void
hs_container_read_end(hs_container *c)
{
    assert(c->scope == SCOPE_READ);
    if (c->scope_hdf5)
        hs_h5_leave();
    c->scope = SCOPE_NONE;
    c->foreign = false; /* looked at anew each time until a write scope adopts it */
    if (c->locks != NULL)
        hs_lock_release(c->locks, HS_LOCK_READ);
    container_leave(c);
}

int
hs_container_is_current(hs_container *c, bool *current, h5store_err *err)
{
    uint64_t tail = c->wal.tail, sequence = c->wal.next_sequence;
    hs_wal_record record;
    int rc = H5STORE_DONE;

    assert(c->scope == SCOPE_READ);
    c->wal.length = 0; /* it may be longer by now */
    *current = true;
    if (c->log_fd < 0)
        return H5STORE_OK;
    while (*current && (rc = hs_wal_next(&c->wal, &record, err)) == H5STORE_OK)
        *current = (record.flags & HS_RECORD_REMOVAL) == 0;
    c->wal.tail = tail; /* what was only looked at is left for the next catch-up */
    c->wal.next_sequence = sequence;
    c->wal.window_size = 0;
    return rc < 0 ? rc : H5STORE_OK;
}

/* ---- write scopes ----------------------------------------------------- */

static int
container_check_writable(const hs_container *c, h5store_err *err)
{
    if (c->read_only)
        return hs_fail(err, H5STORE_E_READ_ONLY, 0, "container '%s' is open for reading only",
                       c->path);
    if (c->poisoned)
        return hs_fail(err, H5STORE_E_POISONED, 0,
                       "an earlier sync of container '%s' failed, so that nothing more can be "
                       "promised; close it and open it again",
                       c->path);
    return H5STORE_OK;
}

/* Make a change by another program ours: their EOA, and the sum of their superblock. */
static int
container_adopt(hs_container *c, h5store_err *err)
{
    uint8_t bytes[HS_SUPERBLOCK_SIZE];
    int rc = hs_os_pread(c->fd, c->path, bytes, sizeof bytes, 0, NULL, err);

    if (rc < 0)
        return rc;
    if (hs_superblock_is_marked(bytes))
        return hs_fail(err, H5STORE_E_CHANGED, 0,
                       "container '%s' is open for writing in another program, or one was killed "
                       "while it wrote; end it, or clear the mark with 'h5clear -s'",
                       c->path);
    c->wal.header.superblock_sum = hs_sum64(bytes, sizeof bytes);
    rc = hs_wal_write_header(&c->wal, err);
    if (rc == H5STORE_OK)
        c->foreign = false;
    return rc;
}

int
hs_container_write_begin(hs_container *c, hid_t *file, h5store_err *err)
{
    int rc = container_enter(c, err);

    if (rc < 0)
        return rc;
    rc = container_check_writable(c, err);
    if (rc == H5STORE_OK)
        rc = hs_lock_take(c->locks, HS_LOCK_WRITE, HS_EXCLUSIVE, hs_container_deadline(c), err);
    if (rc < 0) {
        container_leave(c);
        return rc;
    }
    rc = container_open_scope(c, SCOPE_WRITE, file, err);
    if (rc == H5STORE_OK && c->foreign) {
        rc = container_adopt(c, err);
        if (rc < 0) {
            hs_container_abort(c);
            return rc;
        }
    }
    if (rc < 0) {
        hs_lock_release(c->locks, HS_LOCK_WRITE);
        container_leave(c);
    }
    return rc;
}

static void
container_end_write(hs_container *c)
{
    if (c->scope_hdf5)
        hs_h5_leave();
    c->scope = SCOPE_NONE;
    c->gives_space = false;
    c->pager.in_transaction = false;
    hs_overlay_clear(&c->pager.pending);
    hs_lock_release(c->locks, HS_LOCK_WRITE);
    container_leave(c);
}

void
hs_container_abort(hs_container *c)
{
    assert(c->scope == SCOPE_WRITE);
    if (c->scope_hdf5 && c->file >= 0) {
        /* HDF5 writes what it had changed, and may need space for it; the pages and the
         * space go below. */
        c->host.closing = true;
        container_close_handle(c);
        c->host.closing = false;
    }
    hs_groups_forget(c->groups); /* some may have been read as this scope had them */
    c->host.raw_size = 0;
    c->host.failure.code = H5STORE_OK;
    c->foreign = false;
    hs_space_forget(&c->space);
    container_end_write(c);
}

int
hs_container_commit(hs_container *c, const hs_wal_blob *blobs, size_t blob_count, h5store_err *err)
{
    bool metadata = c->scope_hdf5 || c->scope_headers;
    unsigned flags = metadata ? HS_RECORD_METADATA : 0;
    uint64_t sequence = c->wal.next_sequence;
    int rc = H5STORE_OK;

    assert(c->scope == SCOPE_WRITE);
    if (c->scope_hdf5)
        rc = hs_container_settle_pages(c, err);
    if (rc == H5STORE_OK)
        rc = container_merge_notes(c, err);
    if (rc == H5STORE_OK)
        rc = hs_space_save(&c->space, &c->pager, sequence, err);
    if (rc == H5STORE_OK && c->pager.pending.count > 0) {
        flags |= c->space.removed ? HS_RECORD_REMOVAL : 0;
        c->space.removed = false;
        rc = hs_overlay_reserve(&c->pager.committed, c->pager.pending.count, err);
        if (rc == H5STORE_OK && !c->gives_space)
            rc = hs_wal_reserve(&c->wal, c->pager.pending.count, blob_count, err);
        if (rc == H5STORE_OK)
            rc = hs_wal_append(&c->wal, &c->pager.pending, blobs, blob_count, flags, err);
        if (rc == H5STORE_OK) {
            for (size_t i = 0; i < blob_count; i++)
                container_drop_old_pages(c, &blobs[i]);
            hs_groups_committed(c->groups, &c->pager.pending);
            hs_overlay_merge(&c->pager.committed, &c->pager.pending, sequence);
            c->generation += metadata;
            c->handle_stale = c->handle_stale || c->scope_headers;
            c->headers_spared += c->scope_headers && !c->scope_hdf5;
            container_janitor_note(c);
        }
    }
    if (rc < 0) {
        hs_container_abort(c);
        return rc;
    }
    container_end_write(c);
    return c->durability == H5STORE_DURABLE_POWER ? container_sync_log(c, err) : H5STORE_OK;
}

void
hs_container_changed_headers(hs_container *c)
{
    assert(c->scope == SCOPE_WRITE && c->scope_hdf5);
    c->handle_stale = true; /* which the next scope finds; this one goes on with it */
}

void
hs_container_gives_space(hs_container *c)
{
    assert(c->scope == SCOPE_WRITE);
    c->gives_space = true;
}

hs_space *
hs_container_space(hs_container *c)
{
    assert(c->scope != SCOPE_NONE);
    return &c->space;
}

hs_pager *
hs_container_pager(hs_container *c)
{
    assert(c->scope != SCOPE_NONE);
    return &c->pager;
}

int
hs_container_settle_pages(hs_container *c, h5store_err *err)
{
    int rc = H5STORE_OK;

    assert(c->scope == SCOPE_WRITE && c->scope_hdf5);
    if (H5Fflush(c->file, H5F_SCOPE_LOCAL) < 0)
        rc = hs_container_hdf5_fail(c, err, H5STORE_E_HDF5,
                                    "cannot bring the metadata of container '%s' together",
                                    c->path);
    return hs_container_verdict(c, rc, err);
}

uint64_t
hs_container_sequence(const hs_container *c)
{
    assert(c->scope != SCOPE_NONE);
    return c->wal.next_sequence;
}

uint64_t
hs_container_generation(const hs_container *c)
{
    return c->generation;
}

uint64_t
hs_container_applied(const hs_container *c)
{
    return c->wal.header.applied;
}

void
hs_container_place(hs_container *c, hs_extent extent, uint64_t size)
{
    assert(c->scope == SCOPE_WRITE && c->scope_hdf5 && size <= extent.length);
    c->host.raw = extent;
    c->host.raw_size = size;
    c->host.raw_given = 0;
}

bool
hs_container_placed(hs_container *c)
{
    bool placed = c->host.raw_size == 0;

    c->host.raw_size = 0;
    c->host.raw_given = 0;
    return placed;
}
