/* SPDX-License-Identifier: MIT */
/*
 * The system.  Called by every file that touches a file, a clock or a lock.
 *
 * Owns one pointer, hs_os, to the table in use; it is changed by tests alone, while no
 * container is open.  Calls whose failure no test needs (clock, sleep, random numbers, the
 * CPU mask, the process, owners and rights) are made directly.
 *
 * Always holds: EINTR and short counts are dealt with here and seen by nobody else; no
 * call moves more than 1 GiB, since Linux moves at most 2 GiB less a page; an offset that
 * off_t cannot hold is refused before the call.
 */
#include "os.h"
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#define OS_MOST_BYTES ((size_t)1 << 30)

/* ---- the table -------------------------------------------------------- */

/* These take a variable number of arguments, or have other types in some C libraries. */
static int
os_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

static int
os_fcntl_lock(int fd, int command, struct flock *lock)
{
    return fcntl(fd, command, lock);
}

static ssize_t
os_pread_cached(int fd, void *buffer, size_t size, off_t offset)
{
    struct iovec part = {buffer, size};

    return preadv2(fd, &part, 1, offset, RWF_NOWAIT);
}

static int
os_fstat(int fd, struct stat *status)
{
    return fstat(fd, status);
}

static int
os_stat(const char *path, struct stat *status)
{
    return stat(path, status);
}

const struct hs_os_ops hs_os_real = {
    .open = os_open,
    .close = close,
    .pread = pread,
    .pread_cached = os_pread_cached,
    .pwrite = pwrite,
    .ftruncate = ftruncate,
    .fallocate = fallocate,
    .fdatasync = fdatasync,
    .fsync = fsync,
    .fstat = os_fstat,
    .stat = os_stat,
    .fstatvfs = fstatvfs,
    .fcntl_lock = os_fcntl_lock,
    .flock = flock,
    .rename = rename,
    .link = link,
    .unlink = unlink,
    .mmap = mmap,
    .munmap = munmap,
    .madvise = madvise,
};

const struct hs_os_ops *hs_os = &hs_os_real;

void
hs_os_set_ops(const struct hs_os_ops *ops)
{
    hs_os = ops != NULL ? ops : &hs_os_real;
}

/* ---- opening and closing ---------------------------------------------- */

int
hs_os_open(const char *path, int flags, int *fd, h5store_err *err)
{
    int opened;

    do
        opened = hs_os->open(path, flags | O_CLOEXEC, 0666);
    while (opened < 0 && errno == EINTR);
    if (opened < 0)
        return hs_fail_os(err, errno, "cannot open '%s'", path);
    *fd = opened;
    return H5STORE_OK;
}

void
hs_os_closep(int *fd)
{
    /* Not repeated after EINTR: Linux has closed it all the same. */
    if (*fd >= 0)
        hs_os->close(*fd);
    *fd = -1;
}

/* ---- bytes ------------------------------------------------------------ */

/* Can a call with this range be made at all? */
static bool
os_range_fits(uint64_t offset, uint64_t length)
{
    uint64_t end;

    return hs_add(offset, length, &end) && end <= INT64_MAX;
}

int
hs_os_pread(int fd, const char *path, void *buffer, size_t size, uint64_t offset, size_t *got,
            h5store_err *err)
{
    size_t done = 0;

    if (!os_range_fits(offset, size))
        return hs_fail_os(err, EOVERFLOW, "cannot read %zu bytes at %llu of '%s'", size,
                          (unsigned long long)offset, path);
    while (done < size) {
        size_t wanted = size - done < OS_MOST_BYTES ? size - done : OS_MOST_BYTES;
        ssize_t count = hs_os->pread(fd, (uint8_t *)buffer + done, wanted, (off_t)(offset + done));

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return hs_fail_os(err, errno, "cannot read %zu bytes at %llu of '%s'", size,
                              (unsigned long long)offset, path);
        if (count == 0)
            break;
        done += (size_t)count;
    }
    memset((uint8_t *)buffer + done, 0, size - done);
    if (got != NULL)
        *got = done;
    return H5STORE_OK;
}

bool
hs_os_pread_cached(int fd, void *buffer, size_t size, uint64_t offset)
{
    return os_range_fits(offset, size) && size <= OS_MOST_BYTES &&
           hs_os->pread_cached(fd, buffer, size, (off_t)offset) == (ssize_t)size;
}

int
hs_os_pwrite(int fd, const char *path, const void *buffer, size_t size, uint64_t offset,
             h5store_err *err)
{
    size_t done = 0;
    int failure = os_range_fits(offset, size) ? 0 : EFBIG;

    while (failure == 0 && done < size) {
        size_t wanted = size - done < OS_MOST_BYTES ? size - done : OS_MOST_BYTES;
        ssize_t count = hs_os->pwrite(fd, (const uint8_t *)buffer + done, wanted,
                                      (off_t)(offset + done));

        if (count > 0)
            done += (size_t)count;
        else if (count == 0)
            failure = EIO; /* no error and no progress: do not ask for ever */
        else if (errno != EINTR)
            failure = errno;
    }
    if (failure != 0)
        return hs_fail_os(err, failure, "cannot write %zu bytes at %llu of '%s'", size,
                          (unsigned long long)offset, path);
    return H5STORE_OK;
}

int
hs_os_truncate(int fd, const char *path, uint64_t length, h5store_err *err)
{
    int failure = os_range_fits(0, length) ? EINTR : EFBIG;

    while (failure == EINTR)
        failure = hs_os->ftruncate(fd, (off_t)length) == 0 ? 0 : errno;
    if (failure != 0)
        return hs_fail_os(err, failure, "cannot set the length of '%s' to %llu bytes", path,
                          (unsigned long long)length);
    return H5STORE_OK;
}

/* One fallocate; 0 or the errno. */
static int
os_fallocate(int fd, int mode, uint64_t offset, uint64_t length)
{
    int failure = os_range_fits(offset, length) ? EINTR : EFBIG;

    while (failure == EINTR)
        failure = hs_os->fallocate(fd, mode, (off_t)offset, (off_t)length) == 0 ? 0 : errno;
    return failure;
}

/* Does this errno say that the file system knows no such thing? */
static bool
os_is_missing(int failure)
{
    return failure == EOPNOTSUPP || failure == ENOSYS || failure == EINVAL;
}

static int
os_reserve(int fd, const char *path, int mode, uint64_t offset, uint64_t length, h5store_err *err)
{
    int failure = length > 0 ? os_fallocate(fd, mode, offset, length) : 0;

    if (failure != 0 && !os_is_missing(failure))
        return hs_fail_os(err, failure, "cannot reserve %llu bytes at %llu of '%s'",
                          (unsigned long long)length, (unsigned long long)offset, path);
    return H5STORE_OK;
}

int
hs_os_reserve(int fd, const char *path, uint64_t offset, uint64_t length, h5store_err *err)
{
    return os_reserve(fd, path, 0, offset, length, err);
}

int
hs_os_reserve_beyond(int fd, const char *path, uint64_t offset, uint64_t length, h5store_err *err)
{
    return os_reserve(fd, path, FALLOC_FL_KEEP_SIZE, offset, length, err);
}

int
hs_os_punch(int fd, const char *path, uint64_t offset, uint64_t length, bool *done,
            h5store_err *err)
{
    int failure = 0;

    if (length > 0)
        failure = os_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
    if (failure != 0 && !os_is_missing(failure))
        return hs_fail_os(err, failure, "cannot give %llu bytes at %llu of '%s' back",
                          (unsigned long long)length, (unsigned long long)offset, path);
    *done = failure == 0;
    return H5STORE_OK;
}

uint64_t
hs_os_room(int fd)
{
    struct statvfs status;
    uint64_t room;

    if (hs_os->fstatvfs(fd, &status) != 0 || !hs_mul(status.f_bavail, status.f_frsize, &room))
        return 0;
    return room;
}

/* ---- durability, status ----------------------------------------------- */

int
hs_os_datasync(int fd, const char *path, h5store_err *err)
{
    /* Not repeated after a failure, EINTR included: the kernel may have dropped the pages
     * that it could not write, and would then report success. */
    if (hs_os->fdatasync(fd) != 0)
        return hs_fail_os(err, errno, "cannot sync '%s'", path);
    return H5STORE_OK;
}

/* The folder of a path, as malloc'ed text. */
static char *
os_parent(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return strdup(".");
    if (slash == path)
        return strdup("/");
    return strndup(path, (size_t)(slash - path));
}

int
hs_os_sync_parent(const char *path, h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *folder = os_parent(path);
    HS_CLEANUP(hs_os_closep) int fd = -1;
    int rc;

    if (folder == NULL)
        return hs_fail_nomem(err, strlen(path), "a path");
    rc = hs_os_open(folder, O_RDONLY | O_DIRECTORY, &fd, err);
    if (rc < 0)
        return rc;
    if (hs_os->fsync(fd) != 0 && errno != EINVAL) /* EINVAL: no folders are synced there */
        return hs_fail_os(err, errno, "cannot sync the folder '%s'", folder);
    return H5STORE_OK;
}

int
hs_os_fstat(int fd, const char *path, struct stat *status, h5store_err *err)
{
    if (hs_os->fstat(fd, status) != 0)
        return hs_fail_os(err, errno, "cannot get the status of '%s'", path);
    return H5STORE_OK;
}

/* ---- names ------------------------------------------------------------ */

/* Do both names lead to one file?  An NFS server whose answer was lost says EEXIST to the
 * repetition of a link that it has made. */
static bool
os_is_same_file(const char *a, const char *b)
{
    struct stat first, second;

    return hs_os->stat(a, &first) == 0 && hs_os->stat(b, &second) == 0 &&
           first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

int
hs_os_publish(const char *from, const char *to, bool *taken, h5store_err *err)
{
    int failure = hs_os->link(from, to) == 0 ? 0 : errno;
    struct stat status;
    bool exists = false;

    if (failure == EEXIST) {
        exists = !os_is_same_file(from, to);
    } else if (failure == EPERM || os_is_missing(failure)) {
        /* No links here (FAT, some FUSE).  Two that publish at the same moment can both
         * pass this test; there the later one wins. */
        exists = hs_os->stat(to, &status) == 0;
        if (!exists) {
            if (hs_os->rename(from, to) != 0)
                return hs_fail_os(err, errno, "cannot rename '%s' to '%s'", from, to);
            *taken = false;
            return H5STORE_OK;
        }
    } else if (failure != 0) {
        return hs_fail_os(err, failure, "cannot give '%s' the name '%s'", from, to);
    }
    /* What a failure would leave is a second name: untidy, not wrong. */
    hs_os->unlink(from);
    *taken = exists;
    return H5STORE_OK;
}

int
hs_os_unlink(const char *path, h5store_err *err)
{
    if (hs_os->unlink(path) != 0 && errno != ENOENT)
        return hs_fail_os(err, errno, "cannot remove '%s'", path);
    return H5STORE_OK;
}

char *
hs_os_absolute(const char *path, const char *suffix)
{
    char *folder = path[0] != '/' ? getcwd(NULL, 0) : NULL;
    size_t size = (folder != NULL ? strlen(folder) + 1 : 0) + strlen(path) + strlen(suffix) + 1;
    char *absolute = malloc(size);

    if (absolute != NULL)
        snprintf(absolute, size, "%s%s%s%s", folder != NULL ? folder : "",
                 folder != NULL ? "/" : "", path, suffix);
    free(folder);
    return absolute;
}

/* ---- locks ------------------------------------------------------------ */

static int
os_lock_fail(h5store_err *err, int failure, const char *path)
{
    if (failure == EINVAL || failure == ENOLCK || failure == EOPNOTSUPP || failure == ENOSYS)
        return hs_fail(err, H5STORE_E_UNSUPPORTED, failure,
                       "the file system of '%s' gives no byte-range locks of open files (Linux "
                       "3.15 or newer); put the container on another one",
                       path);
    return hs_fail_os(err, failure, "cannot lock '%s'", path);
}

int
hs_os_lock(int fd, const char *path, short type, uint64_t start, uint64_t length, bool *granted,
           h5store_err *err)
{
    struct flock lock = {
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = (off_t)start,
        .l_len = (off_t)length,
    };
    int failure;

    assert(length > 0 && os_range_fits(start, length)); /* length 0 would mean: to the end */
    do
        failure = hs_os->fcntl_lock(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
    while (failure == EINTR);
    if (failure != 0 && failure != EAGAIN && failure != EACCES)
        return os_lock_fail(err, failure, path);
    *granted = failure == 0;
    return H5STORE_OK;
}

int
hs_os_lock_find(int fd, const char *path, uint64_t start, uint64_t length, uint64_t *from,
                uint64_t *to, h5store_err *err)
{
    struct flock lock = {
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = (off_t)start,
        .l_len = (off_t)length,
    };
    int failure;

    assert(length > 0 && os_range_fits(start, length));
    do
        failure = hs_os->fcntl_lock(fd, F_OFD_GETLK, &lock) == 0 ? 0 : errno;
    while (failure == EINTR);
    if (failure != 0)
        return os_lock_fail(err, failure, path);
    *from = *to = start;
    if (lock.l_type == F_UNLCK)
        return H5STORE_OK;
    *from = (uint64_t)lock.l_start;
    *to = lock.l_len > 0 ? (uint64_t)lock.l_start + (uint64_t)lock.l_len : UINT64_MAX;
    return H5STORE_OK;
}

int
hs_os_lock_test(int fd, const char *path, uint64_t start, uint64_t length, bool *is_free,
                h5store_err *err)
{
    uint64_t from, to;
    int rc = hs_os_lock_find(fd, path, start, length, &from, &to, err);

    if (rc == H5STORE_OK)
        *is_free = from == to;
    return rc;
}

int
hs_os_flock(int fd, const char *path, int operation, bool *granted, h5store_err *err)
{
    int failure;

    do
        failure = hs_os->flock(fd, operation | LOCK_NB) == 0 ? 0 : errno;
    while (failure == EINTR);
    if (failure != 0 && failure != EWOULDBLOCK && failure != ENOSYS && failure != EOPNOTSUPP &&
        failure != ENOLCK)
        return hs_fail_os(err, failure, "cannot lock '%s' as HDF5 does", path);
    *granted = failure != EWOULDBLOCK;
    return H5STORE_OK;
}

/* ---- mapping ---------------------------------------------------------- */

int
hs_os_map(int fd, const char *path, uint64_t offset, size_t length, void **address,
          h5store_err *err)
{
    void *mapped;

    if (!os_range_fits(offset, length))
        return hs_fail_os(err, EOVERFLOW, "cannot map %zu bytes at %llu of '%s'", length,
                          (unsigned long long)offset, path);
    mapped = hs_os->mmap(NULL, length, PROT_READ, MAP_SHARED, fd, (off_t)offset);
    if (mapped == MAP_FAILED)
        return hs_fail_os(err, errno, "cannot map %zu bytes at %llu of '%s'", length,
                          (unsigned long long)offset, path);
    *address = mapped;
    return H5STORE_OK;
}

void
hs_os_unmap(void *address, size_t length)
{
    hs_os->munmap(address, length);
}

/* ---- time, chance, the machine ---------------------------------------- */

uint64_t
hs_os_time(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t
hs_os_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void
hs_os_sleep(uint64_t nanoseconds)
{
    struct timespec span = {
        .tv_sec = (time_t)(nanoseconds / 1000000000u),
        .tv_nsec = (long)(nanoseconds % 1000000000u),
    };

    if (nanoseconds == 0)
        sched_yield();
    else
        clock_nanosleep(CLOCK_MONOTONIC, 0, &span, NULL);
}

int
hs_os_random(uint8_t bytes[16], h5store_err *err)
{
    ssize_t count;

    do
        count = getrandom(bytes, 16, 0);
    while (count < 0 && errno == EINTR);
    if (count != 16) /* up to 256 bytes come whole or not at all */
        return hs_fail_os(err, count < 0 ? errno : EIO, "the system gave no random numbers");
    return H5STORE_OK;
}

static int
os_hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void
hs_os_boot_id(uint8_t bytes[16])
{
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    HS_CLEANUP(hs_os_closep) int fd = -1;
    char text[36] = "";
    size_t digits = 0;

    memset(bytes, 0, 16);
    if (hs_os_open(path, O_RDONLY, &fd, NULL) < 0 ||
        hs_os_pread(fd, path, text, sizeof text, 0, NULL, NULL) < 0)
        return;
    for (size_t i = 0; i < sizeof text && digits < 32; i++) {
        int digit = os_hex_digit(text[i]);

        if (digit < 0)
            continue; /* a dash */
        bytes[digits / 2] |= (uint8_t)(digits % 2 == 0 ? digit << 4 : digit);
        digits++;
    }
    if (digits < 32)
        memset(bytes, 0, 16);
}

void
hs_os_take_rights(int fd, int like)
{
    mode_t mode, group = S_IRWXG;
    struct stat made, other;

    if (hs_os->fstat(fd, &made) < 0 || hs_os->fstat(like, &other) < 0 || made.st_size != 0)
        return;
    if ((made.st_uid != other.st_uid || made.st_gid != other.st_gid) &&
        fchown(fd, geteuid() == 0 ? other.st_uid : (uid_t)-1, other.st_gid) == 0)
        made.st_gid = other.st_gid;
    if (made.st_gid == other.st_gid)
        group = 0;
    mode = (other.st_mode & ACCESSPERMS & ~group) | (made.st_mode & group);
    if (mode != (made.st_mode & ACCESSPERMS))
        (void)fchmod(fd, mode);
}

/* A page which the kernel fills with zeros in the child of any fork (Linux 4.14), and in which
 * a process notes its id.  NULL: not to be had. */
static _Atomic pid_t *os_noted;

static void
os_have_page(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return;
    /* An emulator may say yes to all advice, and do nothing: then also to one that there is not. */
    if (hs_os->madvise(page, size, MADV_WIPEONFORK) == 0 && hs_os->madvise(page, size, -1) != 0)
        os_noted = page;
    else
        (void)munmap(page, size);
}

pid_t
hs_os_process(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pid_t process;

    (void)pthread_once(&once, os_have_page);
    if (os_noted == NULL)
        return getpid();
    process = *os_noted;
    if (process == 0)
        *os_noted = process = getpid();
    return process;
}

int
hs_os_cpu_count(void)
{
    /* The mask of a large machine does not fit in a cpu_set_t; EINVAL says so. */
    for (int room = CPU_SETSIZE; room <= 64 * CPU_SETSIZE; room *= 4) {
        size_t size = CPU_ALLOC_SIZE(room);
        cpu_set_t *set = CPU_ALLOC(room);
        int count = 0, failure = ENOMEM;

        if (set != NULL) {
            failure = sched_getaffinity(0, size, set) == 0 ? 0 : errno;
            count = failure == 0 ? CPU_COUNT_S(size, set) : 0;
            CPU_FREE(set);
        }
        if (failure != EINVAL)
            return count > 0 ? count : 1;
    }
    return 1;
}
