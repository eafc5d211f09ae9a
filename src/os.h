/* SPDX-License-Identifier: MIT */
/*
 * The only file with system calls (os.c).  All of them go through one table, so
 * that tests can count, fail, tear, and record them: see tests/support/.
 *
 * Every function that can fail returns 0 (or a code < 0 with *err filled).  Paths
 * in messages are what the caller passes as @p path, for people.
 */
#ifndef HS_OS_H
#define HS_OS_H

#include "error.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <time.h>

/* The system as the library sees it.  Signatures and results are those of the
 * calls they are named for: -1 and errno on failure. */
struct hs_os_ops {
    int (*open)(const char *path, int flags, mode_t mode);
    int (*close)(int fd);
    ssize_t (*pread)(int fd, void *buffer, size_t size, off_t offset);
    /* EAGAIN, or less, of what is not in memory; not every file system has it */
    ssize_t (*pread_cached)(int fd, void *buffer, size_t size, off_t offset);
    ssize_t (*pwrite)(int fd, const void *buffer, size_t size, off_t offset);
    int (*ftruncate)(int fd, off_t length);
    int (*fallocate)(int fd, int mode, off_t offset, off_t length);
    int (*fdatasync)(int fd);
    int (*fsync)(int fd);
    int (*fstat)(int fd, struct stat *status);
    int (*stat)(const char *path, struct stat *status);
    int (*fstatvfs)(int fd, struct statvfs *status);
    int (*fcntl_lock)(int fd, int command, struct flock *lock);
    int (*flock)(int fd, int operation);
    int (*rename)(const char *from, const char *to);
    int (*link)(const char *from, const char *to);
    int (*unlink)(const char *path);
    void *(*mmap)(void *address, size_t length, int protection, int flags, int fd, off_t offset);
    int (*munmap)(void *address, size_t length);
    int (*madvise)(void *address, size_t length, int advice);
};

/*
 * The table in use.  Tests replace it before any container is open, with
 * hs_os_set_ops, and put NULL back (the real one) after all are closed.
 */
extern const struct hs_os_ops *hs_os;
extern const struct hs_os_ops hs_os_real;
void hs_os_set_ops(const struct hs_os_ops *ops);

/* Opens with O_CLOEXEC.  Retries EINTR.  NOT_FOUND, READ_ONLY, NO_SPACE, IO... */
int hs_os_open(const char *path, int flags, int *fd, h5store_err *err);

/* Close; -1 is allowed and does nothing.  Sets *fd to -1.  For HS_CLEANUP too. */
void hs_os_closep(int *fd);

/* Exactly @p size bytes, retrying EINTR and short counts.  When the file ends
 * before: the rest is zeros, and *got (may be NULL) says how much was there. */
int hs_os_pread(int fd, const char *path, void *buffer, size_t size, uint64_t offset, size_t *got,
                h5store_err *err);
/* The same if all of it can be had without waiting for the disk; else false. */
bool hs_os_pread_cached(int fd, void *buffer, size_t size, uint64_t offset);
int hs_os_pwrite(int fd, const char *path, const void *buffer, size_t size, uint64_t offset,
                 h5store_err *err);
int hs_os_truncate(int fd, const char *path, uint64_t length, h5store_err *err);

/* Set disk blocks aside for a range, growing the file.  A file system that cannot
 * is no failure (the blocks then come with the writes).  NO_SPACE when full. */
int hs_os_reserve(int fd, const char *path, uint64_t offset, uint64_t length, h5store_err *err);

/* The same beyond the end, keeping the length; cutting the file gives them back. */
int hs_os_reserve_beyond(int fd, const char *path, uint64_t offset, uint64_t length,
                         h5store_err *err);

/* Give the blocks of a range back, keeping the length.  *done says whether the
 * file system could (EOPNOTSUPP is no failure). */
int hs_os_punch(int fd, const char *path, uint64_t offset, uint64_t length, bool *done,
                h5store_err *err);
int hs_os_datasync(int fd, const char *path, h5store_err *err);

/* Bytes that the file's file system has for those who are not root; 0: not known. */
uint64_t hs_os_room(int fd);

/* fsync of the folder that holds @p path, so that a rename is durable. */
int hs_os_sync_parent(const char *path, h5store_err *err);
int hs_os_fstat(int fd, const char *path, struct stat *status, h5store_err *err);

/*
 * Give a file that was just made, and is empty still, the group and the rights of another, so that
 * whoever may use one may use both; root gives it the owner, too.  Where the group cannot be had,
 * the rights of a group stay as they are.  Does what it can, and fails never.
 */
void hs_os_take_rights(int fd, int like);

/* Give @p from the name @p to unless that exists (link + unlink; rename where links
 * are missing).  *taken says that @p to existed; then @p from is unlinked. */
int hs_os_publish(const char *from, const char *to, bool *taken, h5store_err *err);
int hs_os_unlink(const char *path, h5store_err *err); /* ENOENT is no failure */

/* @p path with @p suffix, such that it still means the same after a chdir; free() it.  NULL
 * when memory ran out.  In a folder that is gone the path stays as it is. */
char *hs_os_absolute(const char *path, const char *suffix);

/*
 * Try an OFD byte-range lock, never waiting: F_RDLCK, F_WRLCK or F_UNLCK.
 * *granted says whether it was had (false: somebody else holds it).  UNSUPPORTED
 * where the system or the file system has no OFD locks (EINVAL, ENOLCK, EOPNOTSUPP).
 */
int hs_os_lock(int fd, const char *path, short type, uint64_t start, uint64_t length, bool *granted,
               h5store_err *err);

/* Would an F_WRLCK on the range be granted to a stranger?  (F_OFD_GETLK) */
int hs_os_lock_test(int fd, const char *path, uint64_t start, uint64_t length, bool *is_free,
                    h5store_err *err);

/* The range of a lock that keeps an F_WRLCK on a range from being granted; *from == *to: none. */
int hs_os_lock_find(int fd, const char *path, uint64_t start, uint64_t length, uint64_t *from,
                    uint64_t *to, h5store_err *err);

/* flock as stock HDF5 uses it, never waiting: LOCK_SH, LOCK_EX, LOCK_UN.  A file
 * system without flock counts as granted (stock HDF5 does not lock there either). */
int hs_os_flock(int fd, const char *path, int operation, bool *granted, h5store_err *err);

/* Read-only shared mapping; offset on a page boundary. */
int hs_os_map(int fd, const char *path, uint64_t offset, size_t length, void **address,
              h5store_err *err);
void hs_os_unmap(void *address, size_t length);

/* CLOCK_MONOTONIC in nanoseconds; cannot fail. */
uint64_t hs_os_now(void);

/* Microseconds since the epoch, by the wall clock. */
uint64_t hs_os_time(void);
/* May be shorter when a signal arrives; 0 lets others run first. */
void hs_os_sleep(uint64_t nanoseconds);

/* 16 random bytes (getrandom), 16 bytes that name this boot of this machine
 * (/proc/sys/kernel/random/boot_id, without dashes; zeros where there is none). */
int hs_os_random(uint8_t bytes[16], h5store_err *err);
void hs_os_boot_id(uint8_t bytes[16]);

/* getpid(), mostly without a system call: asked several times in each scope. */
pid_t hs_os_process(void);

/* CPUs this process may run on (sched_getaffinity), at least 1. */
int hs_os_cpu_count(void);

#endif
