/* SPDX-License-Identifier: MIT */
/*
 * Opening and recovering a container; container_create.c makes new ones.
 *
 * ORDER.  Who opens first looks at the file alone, so that a file which is not ours, or
 * of a newer version, is refused before anything is created beside it.  Then the log is
 * opened (and created), MEMBER is taken shared, and only then is it certain that the log
 * at the path is this one: the last user of a container unlinks the log while it holds
 * MEMBER exclusive, so one who waited for MEMBER on an unlinked log begins again.  The rest
 * happens under WRITE.
 *
 * RECOVERY is the ordinary catching up: the valid records of the log are taken in.  What is
 * special is handled here: a log that is new, or was the log of another container (it is
 * started over); a file that a killed process left half-applied (it is applied again at
 * once, since stock programs refuse it meanwhile); another boot id in the log's header with
 * nobody else inside, which means a power cut or crash of the machine: the caller is told
 * to check the blobs that the log lists, whose bytes may not have reached the disk.
 */
#include "container_impl.h"
#include "digest.h"
#include "extent.h"
#include "h5util.h"
#include "parallel.h"
#include "superblock.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>

/* ---- looking at what is there ----------------------------------------- */

/*
 * Open the file and read its stamp.  NOT_FOUND when there is none.  Touches nothing.
 */
static int
container_open_file(hs_container *c, h5store_err *err)
{
    uint8_t bytes[HS_SUPERBLOCK_SIZE];
    struct stat status;
    size_t got;
    int rc;

    hs_os_closep(&c->fd);
    /* O_NONBLOCK: a FIFO is to be refused below, not to be waited for. */
    rc = hs_os_open(c->path, (c->read_only ? O_RDONLY : O_RDWR) | O_NONBLOCK, &c->fd, err);
    if (rc == H5STORE_E_IO && err != NULL && err->os_errno == EISDIR)
        return hs_fail(err, H5STORE_E_NOT_A_STORE, 0,
                       "'%s' is a folder, not a container; give the path of a file", c->path);
    if (rc < 0)
        return rc;
    c->pager.fd = c->fd;
    rc = hs_os_fstat(c->fd, c->path, &status, err);
    if (rc == H5STORE_OK && !S_ISREG(status.st_mode))
        return hs_fail(err, H5STORE_E_NOT_A_STORE, 0,
                       "'%s' is not a regular file; give the path of a container", c->path);
    if (rc == H5STORE_OK)
        rc = hs_os_pread(c->fd, c->path, bytes, sizeof bytes, 0, &got, err);
    if (rc < 0)
        return rc;
    if (got == 0)
        return hs_fail(err, H5STORE_E_NOT_A_STORE, 0,
                       "'%s' is an empty file, not a container; move it away", c->path);
    if (hs_superblock_inspect(bytes) == HS_SUPERBLOCK_NONE)
        return hs_fail(err, H5STORE_E_NOT_A_STORE, 0,
                       "'%s' is not an HDF5 file; choose another location, or move the file away",
                       c->path);
    return hs_stamp_read(&c->pager, &c->stamp, err);
}

static int
container_open_log(hs_container *c, h5store_err *err)
{
    int flags = c->read_only ? O_RDONLY : O_RDWR | O_CREAT;
    int rc = hs_os_open(c->log_path, flags, &c->log_fd, err);

    if (rc == H5STORE_E_NOT_FOUND && c->read_only)
        return H5STORE_OK;
    if (rc == H5STORE_E_NOT_FOUND && c->fd < 0)
        return hs_fail(err, H5STORE_E_NOT_FOUND, ENOENT,
                       "container '%s' cannot be created: there is no such folder; create the "
                       "folder, or correct the path",
                       c->path);
    if (rc < 0)
        return rc;
    if (!c->read_only && c->fd >= 0)
        hs_os_take_rights(c->log_fd, c->fd);
    c->wal.fd = c->log_fd;
    return hs_locks_open(c->log_fd, c->log_path, !c->read_only, &c->locks, err);
}

static void
container_close_log(hs_container *c)
{
    hs_locks_close(c->locks);
    c->locks = NULL;
    hs_os_closep(&c->log_fd);
    c->wal.fd = -1;
}

/*
 * A reader met no log, and may not make one: nobody writes now, but somebody may begin to.
 * With the lock of a stock reader nothing is applied, so the file stays as it is.
 */
static int
container_freeze(hs_container *c, uint64_t deadline, bool *frozen, h5store_err *err)
{
    int rc = hs_os_flock(c->fd, c->path, LOCK_SH, frozen, err);

    if (rc < 0 || *frozen)
        return rc;
    if (hs_os_now() >= deadline)
        return hs_fail(err, H5STORE_E_BUSY, 0,
                       "another program is writing to container '%s'; try again, or allow a "
                       "longer timeout",
                       c->path);
    hs_os_sleep(1000000);
    return H5STORE_OK;
}

/* Is the log that we have open the one at its path?  The last user may have removed it; after
 * the container was deleted or set aside it may be the log of another one.  Opened, since a
 * client of NFS may remember for a while what a path led to, but asks when it opens. */
static int
container_reopen_log(const hs_container *c, int flags, int *fd, bool *is_ours, h5store_err *err)
{
    struct stat held, there;
    int rc = hs_os_open(c->log_path, flags, fd, err);

    *is_ours = false;
    if (rc == H5STORE_E_NOT_FOUND)
        return H5STORE_OK;
    if (rc == H5STORE_OK)
        rc = hs_os_fstat(*fd, c->log_path, &there, err);
    if (rc == H5STORE_OK)
        rc = hs_os_fstat(c->log_fd, c->log_path, &held, err);
    if (rc == H5STORE_OK)
        *is_ours = held.st_dev == there.st_dev && held.st_ino == there.st_ino;
    return rc;
}

static int
container_find_log(const hs_container *c, bool *is_ours, h5store_err *err)
{
    HS_CLEANUP(hs_os_closep) int fd = -1;

    return container_reopen_log(c, O_RDONLY, &fd, is_ours, err);
}

/* Be a member of the log that is at the path; or, reading only and without one, freeze the
 * file, which is open. */
static int
container_join(hs_container *c, uint64_t deadline, h5store_err *err)
{
    bool frozen = false, is_ours = false;

    for (;;) {
        int rc = container_open_log(c, err);

        if (rc == H5STORE_OK && c->locks == NULL) {
            rc = container_freeze(c, deadline, &frozen, err);
            if (rc == H5STORE_OK && !frozen)
                continue;
        }
        if (rc < 0 || c->locks == NULL)
            return rc;
        rc = hs_lock_take(c->locks, HS_LOCK_MEMBER, HS_SHARED, deadline, err);
        if (rc == H5STORE_OK)
            rc = container_find_log(c, &is_ours, err);
        if (rc < 0 || is_ours)
            return rc;
        /* The last user removed it while we waited.  That its link count is 0 then is not to be
         * relied on: NFS and FUSE rename a file that is open instead of unlinking it. */
        container_close_log(c);
    }
}

int
container_join_late(hs_container *c, h5store_err *err)
{
    bool granted;
    int rc = container_join(c, hs_container_deadline(c), err);

    if (rc == H5STORE_OK && c->locks != NULL)
        rc = hs_os_flock(c->fd, c->path, LOCK_UN, &granted, err);
    if (rc < 0) /* whoever has locks passes for a member, and would not try again */
        container_close_log(c);
    return rc;
}

/* ---- the log's header ------------------------------------------------- */

static int
container_start_log(hs_container *c, h5store_err *err)
{
    uint8_t bytes[HS_SUPERBLOCK_SIZE], random[16];
    hs_wal_header *header = &c->wal.header;
    int rc = hs_os_random(random, err);

    if (rc == H5STORE_OK)
        rc = hs_os_pread(c->fd, c->path, bytes, sizeof bytes, 0, NULL, err);
    if (rc == H5STORE_OK)
        rc = hs_os_truncate(c->log_fd, c->log_path, 0, err);
    if (rc < 0)
        return rc;
    memset(header, 0, sizeof *header);
    memcpy(header->container_id, c->stamp.container_id, 16);
    hs_os_boot_id(header->boot_id);
    header->epoch = hs_get_le64(random);
    header->start = HS_WAL_RECORDS;
    header->start_sequence = 1;
    header->superblock_sum = hs_sum64(bytes, sizeof bytes);
    if (hs_superblock_inspect(bytes) != HS_SUPERBLOCK_GOOD)
        return hs_fail(err, H5STORE_E_DAMAGED, 0,
                       "the superblock of container '%s' is damaged, and there is no log to mend "
                       "it; restore the file or set it aside",
                       c->path);
    if (hs_superblock_is_marked(bytes))
        return hs_fail(err, H5STORE_E_CHANGED, 0,
                       "container '%s' is open for writing in another program, or a program was "
                       "killed while it wrote and the log is gone; end that program, or clear "
                       "the mark with 'h5clear -s'",
                       c->path);
    return hs_wal_write_header(&c->wal, err);
}

/*
 * After a power cut nothing that was written since the last sync can be relied on: not that
 * the records were applied, though the header may say so, nor which superblock the file has.
 * All records of the log are in force again.
 */
static int
container_distrust_file(hs_container *c, h5store_err *err)
{
    uint8_t bytes[HS_SUPERBLOCK_SIZE];
    int rc = hs_os_pread(c->fd, c->path, bytes, sizeof bytes, 0, NULL, err);

    if (rc < 0)
        return rc;
    container_put_in_force(c);
    c->wal.header.superblock_sum = hs_sum64(bytes, sizeof bytes);
    return hs_wal_write_header(&c->wal, err);
}

static int
container_check_log(hs_container *c, bool *unclean, h5store_err *err)
{
    uint8_t boot[16];
    bool present;
    int rc = hs_wal_read_header(&c->wal, &present, err);

    if (rc < 0)
        return rc;
    if (present && memcmp(c->wal.header.container_id, c->stamp.container_id, 16) != 0) {
        struct stat status;

        rc = hs_os_fstat(c->log_fd, c->log_path, &status, err);
        if (rc < 0)
            return rc;
        hs_container_add_notice(c,
                                "the log '%s' belonged to another container that was at this "
                                "place; its %lld bytes were dropped",
                                c->log_path, (long long)status.st_size);
        present = false;
    }
    if (!present)
        rc = container_start_log(c, err);
    if (rc < 0)
        return rc;
    hs_os_boot_id(boot);
    if (memcmp(boot, c->wal.header.boot_id, sizeof boot) != 0) {
        /* Alone: the machine went down with the log in use.  Not alone: a process on
         * another machine shares the folder. */
        rc = hs_lock_take(c->locks, HS_LOCK_MEMBER, HS_EXCLUSIVE, 0, err);
        if (rc < 0 && rc != H5STORE_E_BUSY)
            return rc;
        *unclean = rc == H5STORE_OK;
        if (*unclean)
            rc = container_distrust_file(c, err);
        if (*unclean && rc < 0)
            return rc;
    }
    c->seen_epoch = c->wal.header.epoch;
    hs_wal_rewind(&c->wal);
    return H5STORE_OK;
}

int
hs_container_settle(hs_container *c, h5store_err *err)
{
    int rc = container_enter(c, err);

    if (rc < 0)
        return rc;
    hs_os_boot_id(c->wal.header.boot_id);
    rc = hs_wal_write_header(&c->wal, err);
    if (rc == H5STORE_OK)
        rc = hs_lock_take(c->locks, HS_LOCK_MEMBER, HS_SHARED, 0, err);
    container_leave(c);
    return rc;
}

int
hs_container_logged_blobs(hs_container *c, hs_wal_blob **blobs, size_t *count, h5store_err *err)
{
    HS_CLEANUP(hs_freep) hs_wal_blob *list = NULL;
    hs_wal_record record;
    size_t used = 0;
    int rc = container_enter(c, err);

    if (rc < 0)
        return rc;
    hs_wal_rewind(&c->wal);
    while ((rc = hs_wal_next(&c->wal, &record, err)) == H5STORE_OK) {
        hs_wal_blob *grown = realloc(list, (used + record.blob_count + 1) * sizeof *list);

        if (grown == NULL) {
            rc = hs_fail_nomem(err, (used + record.blob_count) * sizeof *list,
                               "the list of recent blobs");
            break;
        }
        list = grown;
        for (size_t i = 0; i < record.blob_count; i++)
            list[used++] = hs_wal_record_blob(&record, i);
    }
    container_leave(c);
    if (rc < 0)
        return rc;
    *blobs = hs_take(&list);
    *count = used;
    return H5STORE_OK;
}

/* ---- what there is to say --------------------------------------------- */

const char *
hs_container_notice(const hs_container *c)
{
    const char *notice = atomic_load(&c->notice);

    return notice != NULL ? notice : "";
}

void
hs_container_add_notice(hs_container *c, const char *format, ...)
{
    const size_t room = sizeof c->notices[0];
    const char *old;
    char *fresh = c->notices[0];
    va_list arguments;
    size_t used;

    pthread_mutex_lock(&c->mutex);
    old = hs_container_notice(c);
    for (size_t i = 0; i < 2; i++) /* the next one: somebody may be reading this */
        if (old == c->notices[i])
            fresh = c->notices[i + 1];
    used = (size_t)snprintf(fresh, room, "%s%s", old, *old != '\0' ? "; " : "");
    va_start(arguments, format);
    if (used < room)
        vsnprintf(fresh + used, room - used, format, arguments);
    va_end(arguments);
    atomic_store(&c->notice, fresh);
    pthread_mutex_unlock(&c->mutex);
}

void
hs_container_note_no_holes(hs_container *c)
{
    if (!atomic_exchange(&c->no_holes, true))
        hs_container_add_notice(c,
                                "the file system of '%s' cannot punch holes into files: what is "
                                "removed makes room for what comes, but du does not fall",
                                c->path);
}

void
hs_container_note_unreadable(hs_container *c, const h5store_err *cause)
{
    if (!atomic_exchange(&c->unreadable, true))
        hs_container_add_notice(c,
                                "not all of the metadata of '%s' can be read, so it is left as it "
                                "is, with the space that it wastes; 'h5store verify' tells more "
                                "(%s)",
                                c->path, cause->message);
}

bool
hs_container_has_unreadable(const hs_container *c)
{
    return atomic_load(&c->unreadable);
}

/* ---- opening ---------------------------------------------------------- */

/*
 * Is the file as long as its superblock says?  Stock HDF5 refuses it otherwise.  With records
 * in the log it may not be: a power cut can lose the lengthening of a file, and applying the
 * log repeats it.
 */
static int
container_check_length(hs_container *c, h5store_err *err)
{
    uint8_t bytes[HS_SUPERBLOCK_SIZE];
    struct stat status;
    int rc = hs_os_fstat(c->fd, c->path, &status, err);

    if (rc == H5STORE_OK)
        rc = hs_os_pread(c->fd, c->path, bytes, sizeof bytes, 0, NULL, err);
    if (rc < 0 || hs_superblock_inspect(bytes) != HS_SUPERBLOCK_GOOD ||
        hs_superblock_is_marked(bytes) || (uint64_t)status.st_size >= hs_superblock_eoa(bytes))
        return rc;
    return hs_fail(err, H5STORE_E_DAMAGED, 0,
                   "container '%s' is cut short: it has %lld of %llu bytes; restore the file or "
                   "set it aside",
                   c->path, (long long)status.st_size,
                   (unsigned long long)hs_superblock_eoa(bytes));
}

/* Everything under WRITE (or, read-only, READ shared). */
static int
container_open_locked(hs_container *c, bool create, bool *unclean, h5store_err *err)
{
    /* A frozen file is open already, and the lock would go with its descriptor. */
    int rc = c->locks != NULL ? container_open_file(c, err) : H5STORE_OK;

    if (rc == H5STORE_E_NOT_FOUND && create) {
        rc = container_create_file(c, err);
        if (rc == H5STORE_OK)
            rc = container_open_file(c, err);
    }
    if (rc == H5STORE_OK && !c->read_only)
        rc = container_check_log(c, unclean, err);
    if (rc == H5STORE_OK && c->log_fd >= 0)
        rc = container_catch_up(c, err);
    if (rc == H5STORE_OK && (c->log_fd < 0 || c->wal.tail == c->wal.header.start))
        rc = container_check_length(c, err);
    if (rc == H5STORE_OK)
        rc = hs_space_load(&c->space, &c->pager, err);
    return rc;
}

static hs_container *
container_new(const char *path, const h5store_options *options, h5store_err *err)
{
    hs_container *c = calloc(1, sizeof *c);

    if (c == NULL) {
        hs_fail_nomem(err, sizeof *c, "a container");
        return NULL;
    }
    c->path = strdup(path);
    c->log_path = hs_os_absolute(path, "-wal"); /* closing removes it, wherever that happens */
    if (c->path == NULL || c->log_path == NULL || hs_groups_new(&c->groups, err) < 0 ||
        container_janitor_init(c, err) < 0 || container_notes_init(c, err) < 0) {
        hs_fail_nomem(err, strlen(path), "a container");
        hs_groups_free(c->groups);
        free(c->path);
        free(c->log_path);
        free(c);
        return NULL;
    }
    c->pid = hs_os_process();
    c->read_only = (options->flags & H5STORE_READ_ONLY) != 0;
    c->durability = options->durability;
    c->timeout = (uint64_t)(options->timeout * 1e9);
    c->threads = options->threads > 0 ? options->threads : hs_parallel_usual();
    pthread_mutex_init(&c->mutex, NULL);
    pthread_mutex_init(&c->ahead.mutex, NULL);
    c->fd = c->log_fd = c->wal.fd = c->pager.fd = -1;
    c->wal.path = c->log_path;
    c->pager.path = c->path;
    c->file = c->old_file = c->link_list = c->group_list = H5I_INVALID_HID;
    c->host.pager = &c->pager;
    c->host.space = &c->space;
    return c;
}

/* Release everything; no HDF5 call and no unlock in a forked child, to whose parent the
 * handle's state belongs: HDF5's own end-of-process clean-up still needs the pager. */
static void
container_free(hs_container *c)
{
    bool child = hs_container_check_process(c, NULL) < 0;

    if (!child)
        container_drop_handle(c);
    container_close_log(c);
    hs_os_closep(&c->fd);
    c->pager.fd = -1;
    if (child)
        return;
    hs_wal_release(&c->wal);
    hs_overlay_release(&c->pager.committed);
    hs_overlay_release(&c->pager.pending);
    hs_groups_free(c->groups);
    hs_space_release(&c->space);
    container_janitor_destroy(c);
    container_notes_destroy(c);
    pthread_mutex_destroy(&c->ahead.mutex);
    pthread_mutex_destroy(&c->mutex);
    free(c->path);
    free(c->log_path);
    free(c);
}

/* Is it certain that this may be unlinked by its path? */
static bool
container_may_unlink_log(const hs_container *c)
{
    bool is_ours;

    return container_find_log(c, &is_ours, NULL) == H5STORE_OK && is_ours;
}

/* Opening failed: leave no log behind that we made.  One without a byte is nobody's. */
static void
container_drop_new_log(hs_container *c)
{
    struct stat status;
    int rc;

    if (c->read_only || c->locks == NULL ||
        hs_os_fstat(c->log_fd, c->log_path, &status, NULL) < 0 || status.st_size != 0)
        return;
    rc = hs_lock_take(c->locks, HS_LOCK_MEMBER, HS_EXCLUSIVE, 0, NULL);
    if ((rc == H5STORE_OK || rc == H5STORE_E_UNSUPPORTED) && container_may_unlink_log(c))
        (void)hs_os_unlink(c->log_path, NULL);
}

int
hs_container_open(const char *path, const h5store_options *options, hs_container **container,
                  bool *unclean, h5store_err *err)
{
    bool create = (options->flags & H5STORE_CREATE) != 0;
    hs_container *c = container_new(path, options, err);
    hs_role role;
    uint64_t deadline;
    int rc;

    if (c == NULL)
        return H5STORE_E_NOMEM;
    *unclean = false;
    role = c->read_only ? HS_LOCK_READ : HS_LOCK_WRITE;
    deadline = hs_container_deadline(c);
    rc = container_open_file(c, err);
    if (rc == H5STORE_OK || (rc == H5STORE_E_NOT_FOUND && create && !c->read_only))
        rc = container_join(c, deadline, err);
    if (rc == H5STORE_OK && c->locks != NULL)
        rc = hs_lock_take(c->locks, role, c->read_only ? HS_SHARED : HS_EXCLUSIVE, deadline, err);
    if (rc == H5STORE_OK) {
        rc = container_open_locked(c, create && !c->read_only, unclean, err);
        if (c->locks != NULL)
            hs_lock_release(c->locks, role);
    }
    if (rc < 0) {
        container_drop_new_log(c);
        container_free(c);
        return rc;
    }
    *container = c;
    return H5STORE_OK;
}

/*
 * Children of forks share our open file, and with it the pins that we keep for them and MEMBER,
 * which we could make exclusive over their heads.  So leave that file to them, if there are any,
 * and be a member by another one: who asks through that is told of them, as of anybody.  When we
 * cannot, somebody may be left.
 */
static bool
container_leave_children(hs_container *c)
{
    HS_CLEANUP(hs_os_closep) int fd = -1;
    hs_locks *locks;
    bool is_ours;

    if (!hs_locks_keep_pins(c->locks))
        return true;
    if (container_reopen_log(c, O_RDWR, &fd, &is_ours, NULL) < 0 || !is_ours ||
        hs_locks_open(fd, c->log_path, true, &locks, NULL) < 0)
        return false;
    if (hs_lock_take(locks, HS_LOCK_MEMBER, HS_SHARED, 0, NULL) < 0) {
        hs_locks_close(locks);
        return false;
    }
    container_close_log(c);
    c->locks = locks;
    c->log_fd = c->wal.fd = fd;
    fd = -1;
    return true;
}

/* The last user applies the log, and removes it when nothing is left in it.  Who finds it empty,
 * since nobody changed anything, waits for no disk. */
int
hs_container_close(hs_container *c, h5store_err *err)
{
    bool is_empty; /* the log */
    bool may_be_last;
    int rc = H5STORE_OK;

    if (hs_container_check_process(c, NULL) < 0 || c->read_only) {
        container_free(c);
        return H5STORE_OK;
    }
    container_janitor_stop(c);
    hs_extent_give_up_ahead(c);
    may_be_last = container_leave_children(c);
    is_empty = container_write_notes_in_place(c);
    if (!is_empty) {
        (void)hs_container_write_notes(c, NULL);
        is_empty = container_finds_log_empty(c);
    }
    if (!c->poisoned && !is_empty)
        rc = hs_container_checkpoint(c, true, err);
    if (rc == H5STORE_OK && hs_extent_reclaim(c, NULL) == H5STORE_OK &&
        c->wal.tail > HS_WAL_RECORDS)
        rc = hs_container_checkpoint(c, true, err); /* what reclaiming committed */
    if (rc == H5STORE_OK && container_enter(c, err) == H5STORE_OK) {
        if (may_be_last &&
            hs_lock_take(c->locks, HS_LOCK_MEMBER, HS_EXCLUSIVE, 0, NULL) == H5STORE_OK &&
            container_catch_up(c, NULL) == H5STORE_OK && c->wal.tail == HS_WAL_RECORDS &&
            container_may_unlink_log(c))
            (void)hs_os_unlink(c->log_path, NULL);
        container_leave(c);
    }
    container_free(c);
    /* Others inside, or a stock reader: the log keeps everything, and that is fine. */
    return rc == H5STORE_E_BUSY || rc == H5STORE_E_CHANGED ? H5STORE_OK : rc;
}
