/* SPDX-License-Identifier: MIT */
/*
 * The table of system calls that counts, dies, and notes; see crashfs.h.  What is made of a
 * record is in crashfs_rebuild.c.
 */
#include "crashfs_impl.h"
#include <errno.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CRASHFS_FDS 1024

static struct {
    crashfs_log *log;
    crashfs_record *record;
    uint64_t calls, stop;
    size_t tear;
    pid_t thread;
    bool syncs;
    unsigned boots;
    int objects[CRASHFS_FDS]; /* of each descriptor: object + 1, FOLDER, or 0 */
} crashfs;

#define CRASHFS_FOLDER (-1)

static const char crashfs_boot_path[] = "/proc/sys/kernel/random/boot_id";

static pid_t
crashfs_thread(void)
{
    return (pid_t)syscall(SYS_gettid);
}

/* Count a call.  True when it is this one that is not to be made any more. */
static bool
crashfs_count(crashfs_kind kind, size_t size)
{
    if (crashfs.thread != crashfs_thread())
        return false;
    crashfs.calls++;
    if (crashfs.log != NULL) {
        PROVE(crashfs.calls < CRASHFS_MOST_CALLS, "too many calls");
        crashfs.log->calls = crashfs.calls;
        crashfs.log->kinds[crashfs.calls] = (uint8_t)kind;
        crashfs.log->sizes[crashfs.calls] = (uint32_t)size;
    }
    return crashfs.calls == crashfs.stop;
}

static void
crashfs_die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static void
crashfs_step(crashfs_kind kind, size_t size)
{
    if (crashfs_count(kind, size))
        crashfs_die();
}

/* ---- noting ----------------------------------------------------------- */

static struct crashfs_entry *
crashfs_append(crashfs_kind kind, int object)
{
    crashfs_record *r = crashfs.record;
    struct crashfs_entry *entry;

    if (r == NULL || crashfs.thread != crashfs_thread())
        return NULL;
    PROVE(r->count < CRASHFS_MOST_CALLS, "the record is full");
    entry = &r->entries[r->count++];
    memset(entry, 0, sizeof *entry);
    entry->kind = kind;
    entry->object = object;
    return entry;
}

static uint64_t
crashfs_keep(const void *bytes, size_t size)
{
    crashfs_record *r = crashfs.record;
    uint64_t at = r->used;

    PROVE(size <= sizeof r->bytes - at, "the record is full");
    memcpy(r->bytes + at, bytes, size);
    r->used += size;
    return at;
}

/* The name inside the folder of the record, or NULL when the path is elsewhere. */
static const char *
crashfs_name(const char *path)
{
    const char *folder = crashfs.record != NULL ? crashfs.record->folder : NULL;
    size_t length = folder != NULL ? strlen(folder) : 0;

    if (folder == NULL || strncmp(path, folder, length) != 0 || path[length] != '/')
        return NULL;
    return path + length + 1;
}

static int
crashfs_find(const char *name)
{
    for (size_t i = 0; i < crashfs.record->name_count; i++)
        if (strcmp(crashfs.record->names[i].name, name) == 0)
            return crashfs.record->names[i].object;
    return -1;
}

static void
crashfs_forget_name(const char *name)
{
    crashfs_record *r = crashfs.record;

    for (size_t i = 0; i < r->name_count; i++)
        if (strcmp(r->names[i].name, name) == 0)
            r->names[i] = r->names[--r->name_count];
}

static void
crashfs_set_name(const char *name, int object)
{
    crashfs_record *r = crashfs.record;

    crashfs_forget_name(name);
    PROVE(r->name_count < CRASHFS_NAMES && strlen(name) < sizeof r->names[0].name, "%s", name);
    strcpy(r->names[r->name_count].name, name);
    r->names[r->name_count++].object = object;
}

/* Note a call about names. */
static void
crashfs_note_names(crashfs_kind kind, int object, const char *from, const char *to)
{
    struct crashfs_entry *entry = crashfs_append(kind, object);

    if (entry == NULL)
        return;
    snprintf(entry->from, sizeof entry->from, "%s", from);
    snprintf(entry->to, sizeof entry->to, "%s", to != NULL ? to : "");
}

static int
crashfs_object(int fd)
{
    return fd >= 0 && fd < CRASHFS_FDS ? crashfs.objects[fd] - 1 : -1;
}

void
crashfs_note(uint64_t value)
{
    struct crashfs_entry *entry = crashfs_append(CRASHFS_NOTE, -1);

    if (entry != NULL)
        entry->offset = value;
}

/* ---- the calls -------------------------------------------------------- */

static int
crashfs_open_boot(void)
{
    int fd = memfd_create("boot", MFD_CLOEXEC);

    PROVE(fd >= 0 && dprintf(fd, "00112233-4455-6677-8899-aabb%08x\n", crashfs.boots) > 0, "%s",
          strerror(errno));
    return fd;
}

static int
crashfs_open(const char *path, int flags, mode_t mode)
{
    const char *name = crashfs_name(path);
    bool creates = (flags & O_CREAT) != 0 && access(path, F_OK) != 0;
    int fd;

    if (crashfs.boots > 0 && strcmp(path, crashfs_boot_path) == 0)
        return crashfs_open_boot();
    if (creates)
        crashfs_step(CRASHFS_CREATE, 0);
    fd = hs_os_real.open(path, flags, mode);
    if (fd < 0 || crashfs.record == NULL)
        return fd;
    PROVE(fd < CRASHFS_FDS, "too many open files");
    crashfs.objects[fd] = 0;
    if (strcmp(path, crashfs.record->folder) == 0)
        crashfs.objects[fd] = CRASHFS_FOLDER;
    if (name == NULL)
        return fd;
    if (creates) {
        crashfs_set_name(name, crashfs.record->object_count++);
        crashfs_note_names(CRASHFS_CREATE, crashfs_find(name), name, NULL);
    }
    crashfs.objects[fd] = crashfs_find(name) + 1;
    return fd;
}

/* A write inside one sector is done or not: the kernel copies it in one go, and so does a disk. */
static bool
crashfs_may_tear(off_t offset, size_t size)
{
    return size > 0 &&
           (uint64_t)offset / CRASHFS_SECTOR != ((uint64_t)offset + size - 1) / CRASHFS_SECTOR;
}

static ssize_t
crashfs_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
    struct crashfs_entry *entry;

    if (crashfs_count(CRASHFS_PWRITE, size)) {
        if (crashfs.tear > 0 && crashfs_may_tear(offset, size))
            (void)!pwrite(fd, buffer, crashfs.tear < size ? crashfs.tear : size, offset);
        crashfs_die();
    }
    entry = crashfs_append(CRASHFS_PWRITE, crashfs_object(fd));
    if (entry != NULL) {
        entry->offset = (uint64_t)offset;
        entry->length = size;
        entry->bytes = crashfs_keep(buffer, size);
    }
    return pwrite(fd, buffer, size, offset);
}

static void
crashfs_note_range(crashfs_kind kind, int fd, off_t offset, off_t length)
{
    struct crashfs_entry *entry = crashfs_append(kind, crashfs_object(fd));

    if (entry == NULL)
        return;
    entry->offset = (uint64_t)offset;
    entry->length = (uint64_t)length;
}

static int
crashfs_truncate(int fd, off_t length)
{
    crashfs_step(CRASHFS_TRUNCATE, 0);
    crashfs_note_range(CRASHFS_TRUNCATE, fd, 0, length);
    return ftruncate(fd, length);
}

static int
crashfs_fallocate(int fd, int mode, off_t offset, off_t length)
{
    crashfs_kind kind = mode & FALLOC_FL_PUNCH_HOLE ? CRASHFS_PUNCH : CRASHFS_RESERVE;

    if (mode == FALLOC_FL_KEEP_SIZE) /* blocks beyond the end: nobody can see them */
        return fallocate(fd, mode, offset, length);
    crashfs_step(kind, 0);
    crashfs_note_range(kind, fd, offset, length);
    return fallocate(fd, mode, offset, length);
}

static int
crashfs_sync(int fd)
{
    bool is_folder = fd >= 0 && fd < CRASHFS_FDS && crashfs.objects[fd] == CRASHFS_FOLDER;
    crashfs_kind kind = is_folder ? CRASHFS_SYNC_FOLDER : CRASHFS_SYNC;

    crashfs_step(kind, 0);
    crashfs_note_range(kind, fd, 0, 0);
    return crashfs.syncs ? fdatasync(fd) : 0;
}

static int
crashfs_rename(const char *from, const char *to)
{
    int rc;

    crashfs_step(CRASHFS_RENAME, 0);
    rc = rename(from, to);
    if (rc == 0 && crashfs_name(from) != NULL && crashfs_name(to) != NULL) {
        int object = crashfs_find(crashfs_name(from));

        crashfs_note_names(CRASHFS_RENAME, object, crashfs_name(from), crashfs_name(to));
        crashfs_forget_name(crashfs_name(from));
        crashfs_set_name(crashfs_name(to), object);
    }
    return rc;
}

static int
crashfs_link(const char *from, const char *to)
{
    int rc;

    crashfs_step(CRASHFS_LINK, 0);
    rc = link(from, to);
    if (rc == 0 && crashfs_name(from) != NULL && crashfs_name(to) != NULL) {
        int object = crashfs_find(crashfs_name(from));

        crashfs_note_names(CRASHFS_LINK, object, crashfs_name(from), crashfs_name(to));
        crashfs_set_name(crashfs_name(to), object);
    }
    return rc;
}

static int
crashfs_unlink(const char *path)
{
    int rc;

    crashfs_step(CRASHFS_UNLINK, 0);
    rc = unlink(path);
    if (rc == 0 && crashfs_name(path) != NULL) {
        crashfs_note_names(CRASHFS_UNLINK, -1, crashfs_name(path), NULL);
        crashfs_forget_name(crashfs_name(path));
    }
    return rc;
}

static struct hs_os_ops crashfs_ops;

static void
crashfs_install(void)
{
    crashfs_ops = hs_os_real;
    crashfs_ops.open = crashfs_open;
    crashfs_ops.pwrite = crashfs_pwrite;
    crashfs_ops.ftruncate = crashfs_truncate;
    crashfs_ops.fallocate = crashfs_fallocate;
    crashfs_ops.fdatasync = crashfs_sync;
    crashfs_ops.fsync = crashfs_sync;
    crashfs_ops.rename = crashfs_rename;
    crashfs_ops.link = crashfs_link;
    crashfs_ops.unlink = crashfs_unlink;
    hs_os_set_ops(&crashfs_ops);
}

/* ---- the beginning ---------------------------------------------------- */

void
crashfs_arm(crashfs_log *log, uint64_t stop, size_t tear)
{
    crashfs.log = log;
    crashfs.calls = 0;
    crashfs.stop = stop;
    crashfs.tear = tear;
    crashfs.thread = crashfs_thread();
    if (log != NULL)
        log->calls = 0;
    crashfs_install();
}

void
crashfs_arm_real(uint64_t stop, size_t tear)
{
    crashfs_arm(NULL, stop, tear);
    crashfs.syncs = true;
}

uint64_t
crashfs_calls(void)
{
    return crashfs.calls;
}

void
crashfs_reboot(unsigned number)
{
    crashfs.boots = number;
    crashfs_install();
}

crashfs_record *
crashfs_record_new(void)
{
    return scratch_shared(sizeof(crashfs_record));
}

void
crashfs_record_free(crashfs_record *record)
{
    munmap(record, sizeof *record);
}

void
crashfs_record_begin(crashfs_record *record, const char *folder)
{
    crashfs_arm(NULL, 0, 0);
    crashfs.record = record;
    memset(record, 0,
           offsetof(crashfs_record, entries)); /* the rest is written before it is read */
    snprintf(record->folder, sizeof record->folder, "%s", folder);
    crashfs_list(folder, record->names, &record->name_count);
    for (size_t i = 0; i < record->name_count; i++)
        record->names[i].object = record->object_count++;
    record->base_count = record->object_count;
}
