/* SPDX-License-Identifier: MIT */
/*
 * See inject.h.
 */
#include "inject.h"
#include "../../src/os.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct {
    inject_kind kind;
    uint64_t left; /* until the failure; 0: not armed */
    bool lasting, fired;
    const char *what;
} inject;

static __thread bool inject_here; /* the thread that armed */

static const char *const inject_names[INJECT_KINDS] = {"no memory", "EIO",   "ENOSPC",
                                                       "EMFILE",    "EINTR", "short"};

const char *
inject_name(inject_kind kind)
{
    return inject_names[kind];
}

const char *
inject_what(void)
{
    return inject.what != NULL ? inject.what : "nothing";
}

void
inject_arm(inject_kind kind, uint64_t n, bool lasting)
{
    inject.kind = kind;
    inject.left = n;
    inject.lasting = lasting;
    inject.fired = false;
    inject.what = NULL;
    inject_here = true;
}

bool
inject_disarm(void)
{
    inject.left = 0;
    inject_here = false;
    return inject.fired;
}

/* Is it this call's turn to fail? */
static bool
inject_now(inject_kind kind, const char *what)
{
    if (!inject_here || inject.left == 0 || inject.kind != kind)
        return false;
    if (inject.left > 1) {
        inject.left--;
        return false;
    }
    if (!inject.fired)
        inject.what = what;
    inject.fired = true;
    if (!inject.lasting)
        inject.left = 0;
    return true;
}

/* ---- memory ----------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);

void *
__wrap_malloc(size_t size)
{
    return inject_now(INJECT_MEMORY, "malloc") ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
    return inject_now(INJECT_MEMORY, "calloc") ? NULL : __real_calloc(count, size);
}

void *
__wrap_realloc(void *memory, size_t size)
{
    return inject_now(INJECT_MEMORY, "realloc") ? NULL : __real_realloc(memory, size);
}

char *
__wrap_strdup(const char *text)
{
    return inject_now(INJECT_MEMORY, "strdup") ? NULL : __real_strdup(text);
}

char *
__wrap_strndup(const char *text, size_t size)
{
    return inject_now(INJECT_MEMORY, "strndup") ? NULL : __real_strndup(text, size);
}

/* ---- system calls ----------------------------------------------------- */

enum { NEEDS_BLOCKS = 1, OPENS = 2, INTERRUPTIBLE = 4 };

/* Does this call fail?  Sets errno. */
static bool
inject_call(const char *name, unsigned traits)
{
    errno = 0;
    if (inject_now(INJECT_EIO, name))
        errno = EIO;
    else if ((traits & NEEDS_BLOCKS) && inject_now(INJECT_ENOSPC, name))
        errno = ENOSPC;
    else if ((traits & OPENS) && inject_now(INJECT_EMFILE, name))
        errno = EMFILE;
    else if ((traits & INTERRUPTIBLE) && inject_now(INJECT_INTERRUPTED, name))
        errno = EINTR;
    return errno != 0;
}

static int
inject_open(const char *path, int flags, mode_t mode)
{
    unsigned blocks = flags & O_CREAT ? NEEDS_BLOCKS : 0;

    return inject_call("open", OPENS | INTERRUPTIBLE | blocks) ? -1
                                                               : hs_os_real.open(path, flags, mode);
}

static ssize_t
inject_pread(int fd, void *buffer, size_t size, off_t offset)
{
    if (inject_call("pread", INTERRUPTIBLE))
        return -1;
    if (size > 1 && inject_now(INJECT_SHORT, "pread"))
        size /= 2;
    return hs_os_real.pread(fd, buffer, size, offset);
}

static ssize_t
inject_pread_cached(int fd, void *buffer, size_t size, off_t offset)
{
    if (inject_call("preadv2", 0))
        return -1;
    if (size > 1 && inject_now(INJECT_SHORT, "preadv2"))
        size /= 2;
    return hs_os_real.pread_cached(fd, buffer, size, offset);
}

static ssize_t
inject_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
    if (inject_call("pwrite", NEEDS_BLOCKS | INTERRUPTIBLE))
        return -1;
    if (size > 1 && inject_now(INJECT_SHORT, "pwrite"))
        size /= 2;
    return hs_os_real.pwrite(fd, buffer, size, offset);
}

static int
inject_truncate(int fd, off_t length)
{
    return inject_call("ftruncate", NEEDS_BLOCKS | INTERRUPTIBLE)
               ? -1
               : hs_os_real.ftruncate(fd, length);
}

static int
inject_fallocate(int fd, int mode, off_t offset, off_t length)
{
    return inject_call("fallocate", NEEDS_BLOCKS | INTERRUPTIBLE)
               ? -1
               : hs_os_real.fallocate(fd, mode, offset, length);
}

static int
inject_sync(int fd)
{
    (void)fd;
    return inject_call("sync", NEEDS_BLOCKS) ? -1 : 0;
}

static int
inject_fstat(int fd, struct stat *status)
{
    return inject_call("fstat", 0) ? -1 : hs_os_real.fstat(fd, status);
}

static int
inject_stat(const char *path, struct stat *status)
{
    return inject_call("stat", 0) ? -1 : hs_os_real.stat(path, status);
}

static int
inject_fstatvfs(int fd, struct statvfs *status)
{
    return inject_call("fstatvfs", 0) ? -1 : hs_os_real.fstatvfs(fd, status);
}

static int
inject_lock(int fd, int command, struct flock *lock)
{
    /* An unlock of what is locked does not fail. */
    return lock->l_type != F_UNLCK && inject_call("fcntl", INTERRUPTIBLE)
               ? -1
               : hs_os_real.fcntl_lock(fd, command, lock);
}

static int
inject_flock(int fd, int operation)
{
    return inject_call("flock", INTERRUPTIBLE) ? -1 : hs_os_real.flock(fd, operation);
}

static int
inject_rename(const char *from, const char *to)
{
    return inject_call("rename", NEEDS_BLOCKS) ? -1 : hs_os_real.rename(from, to);
}

static int
inject_link(const char *from, const char *to)
{
    return inject_call("link", NEEDS_BLOCKS) ? -1 : hs_os_real.link(from, to);
}

static int
inject_unlink(const char *path)
{
    return inject_call("unlink", 0) ? -1 : hs_os_real.unlink(path);
}

static void *
inject_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    return inject_call("mmap", 0) ? MAP_FAILED
                                  : hs_os_real.mmap(address, length, protection, flags, fd, offset);
}

void
inject_install(void)
{
    static struct hs_os_ops ops;

    ops = hs_os_real;
    ops.open = inject_open;
    ops.pread = inject_pread;
    ops.pread_cached = inject_pread_cached;
    ops.pwrite = inject_pwrite;
    ops.ftruncate = inject_truncate;
    ops.fallocate = inject_fallocate;
    ops.fdatasync = inject_sync;
    ops.fsync = inject_sync;
    ops.fstat = inject_fstat;
    ops.stat = inject_stat;
    ops.fstatvfs = inject_fstatvfs;
    ops.fcntl_lock = inject_lock;
    ops.flock = inject_flock;
    ops.rename = inject_rename;
    ops.link = inject_link;
    ops.unlink = inject_unlink;
    ops.mmap = inject_mmap;
    hs_os_set_ops(&ops);
}
