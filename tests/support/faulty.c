/* SPDX-License-Identifier: MIT */
/*
 * For one process and one thread at a time: the state is in plain variables.
 */
#include "faulty.h"
#include <check.h>
#include <errno.h>
#include <sys/mman.h>

struct hs_os_ops faulty_ops;
uint64_t faulty_largest;

static int fault;       /* the errno of the next calls */
static int fault_calls; /* how many of them fail */

static int
trip(void)
{
    if (fault_calls == 0)
        return 0;
    fault_calls--;
    errno = fault;
    return -1;
}

#define FAULTY(name, parameters, arguments) \
    static int faulty_##name parameters \
    { \
        return trip() != 0 ? -1 : hs_os_real.name arguments; \
    }
FAULTY(open, (const char *name, int flags, mode_t mode), (name, flags, mode))
FAULTY(ftruncate, (int file, off_t length), (file, length))
FAULTY(fallocate, (int file, int mode, off_t offset, off_t length), (file, mode, offset, length))
FAULTY(fdatasync, (int file), (file))
FAULTY(fsync, (int file), (file))
FAULTY(fstat, (int file, struct stat *status), (file, status))
FAULTY(fcntl_lock, (int file, int command, struct flock *lock), (file, command, lock))
FAULTY(flock, (int file, int operation), (file, operation))
FAULTY(rename, (const char *from, const char *to), (from, to))
FAULTY(link, (const char *from, const char *to), (from, to))
FAULTY(unlink, (const char *name), (name))

/* Also short: at most 3 bytes at a time. */
static ssize_t
faulty_pread(int file, void *buffer, size_t size, off_t offset)
{
    faulty_largest = hs_max(faulty_largest, size);
    return trip() != 0 ? -1 : hs_os_real.pread(file, buffer, hs_min(size, 3), offset);
}

static ssize_t
faulty_pread_cached(int file, void *buffer, size_t size, off_t offset)
{
    return trip() != 0 ? -1 : hs_os_real.pread_cached(file, buffer, size, offset);
}

static ssize_t
faulty_pwrite(int file, const void *buffer, size_t size, off_t offset)
{
    faulty_largest = hs_max(faulty_largest, size);
    return trip() != 0 ? -1 : hs_os_real.pwrite(file, buffer, hs_min(size, 3), offset);
}

static void *
faulty_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
    return trip() != 0 ? MAP_FAILED
                       : hs_os_real.mmap(address, length, protection, flags, file, offset);
}

void
faulty_begin(void)
{
    faulty_ops = hs_os_real;
    faulty_ops.open = faulty_open;
    faulty_ops.pread = faulty_pread;
    faulty_ops.pread_cached = faulty_pread_cached;
    faulty_ops.pwrite = faulty_pwrite;
    faulty_ops.ftruncate = faulty_ftruncate;
    faulty_ops.fallocate = faulty_fallocate;
    faulty_ops.fdatasync = faulty_fdatasync;
    faulty_ops.fsync = faulty_fsync;
    faulty_ops.fstat = faulty_fstat;
    faulty_ops.fcntl_lock = faulty_fcntl_lock;
    faulty_ops.flock = faulty_flock;
    faulty_ops.rename = faulty_rename;
    faulty_ops.link = faulty_link;
    faulty_ops.unlink = faulty_unlink;
    faulty_ops.mmap = faulty_mmap;
    fault_calls = 0;
    faulty_largest = 0;
}

void
faulty_end(void)
{
    hs_os_set_ops(NULL);
}

void
faulty_arm(int os_errno, int calls)
{
    fault = os_errno;
    fault_calls = calls;
    hs_os_set_ops(&faulty_ops);
}

void
faulty_expect_tripped(void)
{
    ck_assert_int_eq(fault_calls, 0);
    hs_os_set_ops(NULL);
}
