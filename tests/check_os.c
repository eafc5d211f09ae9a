/* SPDX-License-Identifier: MIT */
/*
 * System calls on the bytes of a file: what they do on a real file system, and, through
 * the table, what happens when the system interrupts them, does half, or refuses.
 */
#include "os.h"
#include "suites.h"
#include "support/faulty.h"
#include "support/fixture.h"
#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

static const char *path;
static int fd;

static void
setup(void)
{
    fixture_setup();
    faulty_begin();
    path = fixture_path("file");
    fd = -1;
    ck_assert_int_eq(hs_os_open(path, O_RDWR | O_CREAT | O_EXCL, &fd, NULL), H5STORE_OK);
}

static void
teardown(void)
{
    faulty_end();
    hs_os_closep(&fd);
    fixture_teardown();
}

static uint64_t
length_of(int file)
{
    struct stat status;

    ck_assert_int_eq(hs_os_fstat(file, "file", &status, NULL), H5STORE_OK);
    return (uint64_t)status.st_size;
}

static void
expect_failure(int rc, int code, int os_errno, const h5store_err *err, const char *name)
{
    ck_assert_int_eq(rc, code);
    ck_assert_int_eq(err->code, code);
    ck_assert_int_eq(err->os_errno, os_errno);
    ck_assert_msg(strstr(err->message, name) != NULL, "'%s' lacks '%s'", err->message, name);
    ck_assert_msg(strstr(err->message, strerror(os_errno)) != NULL, "%s", err->message);
}

/* ---- opening ---------------------------------------------------------- */

START_TEST(open_sets_close_on_exec_and_close_forgets)
{
    int none = -1;

    ck_assert_int_ge(fd, 0);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    hs_os_closep(&fd);
    ck_assert_int_eq(fd, -1);
    hs_os_closep(&none);
    ck_assert_int_eq(none, -1);
}
END_TEST

START_TEST(open_says_why_not)
{
    const char *missing = fixture_path("missing");
    int opened = 77;
    h5store_err err;

    expect_failure(hs_os_open(missing, O_RDONLY, &opened, &err), H5STORE_E_NOT_FOUND, ENOENT, &err,
                   missing);
    expect_failure(hs_os_open(path, O_RDWR | O_CREAT | O_EXCL, &opened, &err), H5STORE_E_IO, EEXIST,
                   &err, path);
    expect_failure(hs_os_open(fixture_folder(), O_RDWR, &opened, &err), H5STORE_E_IO, EISDIR, &err,
                   fixture_folder());
    faulty_arm(EACCES, 1);
    expect_failure(hs_os_open(path, O_RDWR, &opened, &err), H5STORE_E_READ_ONLY, EACCES, &err,
                   path);
    faulty_expect_tripped();
    ck_assert_int_eq(opened, 77);
    faulty_arm(EINTR, 3);
    ck_assert_int_eq(hs_os_open(path, O_RDWR, &opened, &err), H5STORE_OK);
    faulty_expect_tripped();
    hs_os_closep(&opened);
}
END_TEST

/* ---- bytes ------------------------------------------------------------ */

START_TEST(bytes_come_back)
{
    HS_CLEANUP(hs_freep) uint8_t *wrote = malloc(MIB), *read = malloc(MIB);
    size_t got;

    fixture_fill(wrote, MIB, 3);
    ck_assert_int_eq(hs_os_pwrite(fd, path, wrote, MIB, 12345, NULL), H5STORE_OK);
    ck_assert_uint_eq(length_of(fd), MIB + 12345);
    ck_assert_int_eq(hs_os_pread(fd, path, read, MIB, 12345, &got, NULL), H5STORE_OK);
    ck_assert_uint_eq(got, MIB);
    ck_assert_int_eq(memcmp(wrote, read, MIB), 0);
}
END_TEST

START_TEST(beyond_the_end_are_zeros)
{
    uint8_t buffer[100];
    size_t got = 77;

    ck_assert_int_eq(hs_os_pwrite(fd, path, "0123456789", 10, 0, NULL), H5STORE_OK);
    memset(buffer, 0xff, sizeof buffer);
    ck_assert_int_eq(hs_os_pread(fd, path, buffer, sizeof buffer, 4, &got, NULL), H5STORE_OK);
    ck_assert_uint_eq(got, 6);
    ck_assert_int_eq(memcmp(buffer, "456789", 6), 0);
    for (size_t i = 6; i < sizeof buffer; i++)
        ck_assert_uint_eq(buffer[i], 0);
    memset(buffer, 0xff, sizeof buffer);
    ck_assert_int_eq(hs_os_pread(fd, path, buffer, sizeof buffer, 4000, &got, NULL), H5STORE_OK);
    ck_assert_uint_eq(got, 0);
    ck_assert_uint_eq(buffer[0], 0);
    ck_assert_int_eq(hs_os_pread(fd, path, buffer, sizeof buffer, 4000, NULL, NULL), H5STORE_OK);
}
END_TEST

START_TEST(interrupted_and_short_calls_go_on)
{
    uint8_t wrote[1000], read[1000];
    size_t got;

    fixture_fill(wrote, sizeof wrote, 4);
    faulty_arm(EINTR, 5);
    ck_assert_int_eq(hs_os_pwrite(fd, path, wrote, sizeof wrote, 50, NULL), H5STORE_OK);
    faulty_expect_tripped();
    faulty_arm(EINTR, 5);
    ck_assert_int_eq(hs_os_pread(fd, path, read, sizeof read, 50, &got, NULL), H5STORE_OK);
    faulty_expect_tripped();
    ck_assert_uint_eq(got, sizeof read);
    ck_assert_int_eq(memcmp(wrote, read, sizeof read), 0);
    faulty_arm(EINTR, 1);
    ck_assert_int_eq(hs_os_truncate(fd, path, 10, NULL), H5STORE_OK);
    faulty_expect_tripped();
    ck_assert_uint_eq(length_of(fd), 10);
}
END_TEST

START_TEST(failed_calls_have_their_codes)
{
    static const struct {
        int os_errno, code;
    } cases[] = {
        {EIO, H5STORE_E_IO},          {ENOSPC, H5STORE_E_NO_SPACE}, {EDQUOT, H5STORE_E_NO_SPACE},
        {EROFS, H5STORE_E_READ_ONLY}, {ENOMEM, H5STORE_E_NOMEM},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int number = cases[i].os_errno, code = cases[i].code;
        void *address = &address;
        struct stat status;
        bool done;
        char byte = 0;
        h5store_err err;

        faulty_arm(number, 9);
        expect_failure(hs_os_pread(fd, path, &byte, 1, 0, NULL, &err), code, number, &err, path);
        expect_failure(hs_os_pwrite(fd, path, &byte, 1, 0, &err), code, number, &err, path);
        expect_failure(hs_os_truncate(fd, path, 1, &err), code, number, &err, path);
        expect_failure(hs_os_reserve(fd, path, 0, 1, &err), code, number, &err, path);
        expect_failure(hs_os_punch(fd, path, 0, 1, &done, &err), code, number, &err, path);
        expect_failure(hs_os_datasync(fd, path, &err), code, number, &err, path);
        expect_failure(hs_os_fstat(fd, path, &status, &err), code, number, &err, path);
        expect_failure(hs_os_unlink(path, &err), code, number, &err, path);
        expect_failure(hs_os_map(fd, path, 0, 1, &address, &err), code, number, &err, path);
        faulty_expect_tripped();
        ck_assert_ptr_eq(address, &address);
        ck_assert_int_eq(access(path, F_OK), 0);
    }
}
END_TEST

static ssize_t
write_nothing(int file, const void *buffer, size_t size, off_t offset)
{
    (void)file;
    (void)buffer;
    (void)size;
    (void)offset;
    return 0;
}

START_TEST(write_without_progress_ends)
{
    h5store_err err;

    faulty_ops.pwrite = write_nothing;
    hs_os_set_ops(&faulty_ops);
    expect_failure(hs_os_pwrite(fd, path, "x", 1, 0, &err), H5STORE_E_IO, EIO, &err, path);
}
END_TEST

START_TEST(offsets_that_no_file_has_are_refused)
{
    char byte = 0;
    bool done;
    void *address;
    h5store_err err;

    expect_failure(hs_os_pread(fd, path, &byte, 1, UINT64_MAX, NULL, &err), H5STORE_E_IO, EOVERFLOW,
                   &err, path);
    expect_failure(hs_os_pread(fd, path, &byte, 1, INT64_MAX, NULL, &err), H5STORE_E_IO, EOVERFLOW,
                   &err, path);
    expect_failure(hs_os_pwrite(fd, path, &byte, 1, INT64_MAX, &err), H5STORE_E_NO_SPACE, EFBIG,
                   &err, path);
    expect_failure(hs_os_truncate(fd, path, UINT64_MAX, &err), H5STORE_E_NO_SPACE, EFBIG, &err,
                   path);
    expect_failure(hs_os_reserve(fd, path, UINT64_MAX - 1, 4, &err), H5STORE_E_NO_SPACE, EFBIG,
                   &err, path);
    expect_failure(hs_os_punch(fd, path, 1, INT64_MAX, &done, &err), H5STORE_E_NO_SPACE, EFBIG,
                   &err, path);
    expect_failure(hs_os_map(fd, path, UINT64_MAX - 4095, 8192, &address, &err), H5STORE_E_IO,
                   EOVERFLOW, &err, path);
    ck_assert_uint_eq(length_of(fd), 0);
}
END_TEST

static ssize_t
write_all(int file, const void *buffer, size_t size, off_t offset)
{
    (void)file;
    (void)buffer;
    (void)offset;
    faulty_largest = hs_max(faulty_largest, size);
    return (ssize_t)size;
}

/* Linux would do 2 GiB less a page and say nothing; the loop must not rely on that. */
START_TEST(no_call_moves_more_than_a_gib)
{
    size_t size = 2 * GIB + 5;
    void *memory = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    ck_assert_ptr_ne(memory, MAP_FAILED);
    faulty_ops.pwrite = write_all;
    hs_os_set_ops(&faulty_ops);
    ck_assert_int_eq(hs_os_pwrite(fd, path, memory, size, 0, NULL), H5STORE_OK);
    ck_assert_uint_eq(faulty_largest, GIB);
    munmap(memory, size);
}
END_TEST

/* ---- blocks ----------------------------------------------------------- */

START_TEST(reserving_grows_the_file_and_keeps_its_bytes)
{
    struct stat status;
    char found[3];

    ck_assert_int_eq(hs_os_pwrite(fd, path, "abc", 3, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_reserve(fd, path, 0, MIB, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_pread(fd, path, found, 3, 0, NULL, NULL), H5STORE_OK);
    ck_assert_int_eq(memcmp(found, "abc", 3), 0);
    ck_assert_int_eq(hs_os_fstat(fd, path, &status, NULL), H5STORE_OK);
    if (status.st_size > 3) /* else the file system has no fallocate */
        ck_assert_int_ge(status.st_blocks * 512, (off_t)MIB);
    ck_assert_int_eq(hs_os_reserve(fd, path, 0, 0, NULL), H5STORE_OK);
}
END_TEST

START_TEST(reserving_beyond_the_end_keeps_the_length)
{
    struct stat before, after;
    bool able = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 4096) == 0;

    ck_assert_int_eq(hs_os_pwrite(fd, path, "abc", 3, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_fstat(fd, path, &before, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_reserve_beyond(fd, path, 3, MIB, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_fstat(fd, path, &after, NULL), H5STORE_OK);
    ck_assert_int_eq(after.st_size, 3);
    ck_assert_int_eq(after.st_blocks * 512 >= (off_t)MIB, able);
}
END_TEST

static int
fail_statvfs(int file HS_UNUSED, struct statvfs *status HS_UNUSED)
{
    errno = ENOSYS;
    return -1;
}

START_TEST(room_of_the_disk_is_told)
{
    struct hs_os_ops ops = hs_os_real;
    struct statvfs status;

    ck_assert_int_eq(fstatvfs(fd, &status), 0);
    ck_assert_uint_gt(hs_os_room(fd), 0);
    ck_assert_uint_le(hs_os_room(fd), (uint64_t)status.f_blocks * status.f_frsize);
    ops.fstatvfs = fail_statvfs;
    hs_os_set_ops(&ops);
    ck_assert_uint_eq(hs_os_room(fd), 0);
    hs_os_set_ops(NULL);
    ck_assert_uint_eq(hs_os_room(-1), 0);
}
END_TEST

START_TEST(missing_fallocate_is_no_failure)
{
    static const int missing[] = {EOPNOTSUPP, ENOSYS, EINVAL};

    for (size_t i = 0; i < 3; i++) {
        bool done = true;

        faulty_arm(missing[i], 3);
        ck_assert_int_eq(hs_os_reserve(fd, path, 0, 4096, NULL), H5STORE_OK);
        ck_assert_int_eq(hs_os_reserve_beyond(fd, path, 0, 4096, NULL), H5STORE_OK);
        ck_assert_int_eq(hs_os_punch(fd, path, 0, 4096, &done, NULL), H5STORE_OK);
        faulty_expect_tripped();
        ck_assert(!done);
    }
}
END_TEST

/* Asked of the system itself, so that the library cannot say "no" to everything. */
static bool
can_punch(void)
{
    return ftruncate(fd, (off_t)MIB) == 0 &&
           fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0;
}

START_TEST(punching_gives_blocks_back_and_leaves_zeros)
{
    HS_CLEANUP(hs_freep) uint8_t *buffer = malloc(MIB);
    struct stat before, after;
    bool done, able = can_punch();

    fixture_fill(buffer, MIB, 6);
    ck_assert_int_eq(hs_os_pwrite(fd, path, buffer, MIB, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_datasync(fd, path, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_fstat(fd, path, &before, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_punch(fd, path, MIB / 4, MIB / 2, &done, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_fstat(fd, path, &after, NULL), H5STORE_OK);
    ck_assert_int_eq(after.st_size, (off_t)MIB);
    ck_assert_int_eq(done, able);
    if (!done) {
        ck_assert_int_eq(after.st_blocks, before.st_blocks);
        return;
    }
    ck_assert_int_le(after.st_blocks * 512, before.st_blocks * 512 - (off_t)MIB / 2);
    memset(buffer + MIB / 4, 0, MIB / 2);
    {
        HS_CLEANUP(hs_freep) uint8_t *found = malloc(MIB);

        ck_assert_int_eq(hs_os_pread(fd, path, found, MIB, 0, NULL, NULL), H5STORE_OK);
        ck_assert_int_eq(memcmp(found, buffer, MIB), 0);
    }
}
END_TEST

/* ---- mapping ---------------------------------------------------------- */

/* As qemu's user emulation does, up to version 5 at least. */
static int
agree_and_do_nothing(void *address HS_UNUSED, size_t length HS_UNUSED, int advice HS_UNUSED)
{
    return 0;
}

/* Index 1: where the kernel's help is promised only.  (It is asked for once in a process, so that
 * with CK_FORK=no this sees nothing.) */
START_TEST(each_process_knows_its_own_id)
{
    struct hs_os_ops ops = hs_os_real;
    int status;
    pid_t child;

    if (_i == 1)
        ops.madvise = agree_and_do_nothing;
    hs_os_set_ops(&ops);
    ck_assert_int_eq(hs_os_process(), getpid());
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        bool right = hs_os_process() == getpid() && hs_os_process() == getpid();
        pid_t grandchild = fork(); /* the page is one of a child now */

        if (grandchild == 0)
            _exit(hs_os_process() == getpid() ? 0 : 1);
        _exit(right && waitpid(grandchild, &status, 0) == grandchild && status == 0 ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(hs_os_process(), getpid());
    hs_os_set_ops(NULL);
}
END_TEST

START_TEST(mapping_shows_the_file)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    HS_CLEANUP(hs_freep) uint8_t *wrote = malloc(4 * page);
    void *address;

    fixture_fill(wrote, 4 * page, 8);
    ck_assert_int_eq(hs_os_pwrite(fd, path, wrote, 4 * page, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_map(fd, path, page, 2 * page, &address, NULL), H5STORE_OK);
    ck_assert_int_eq(memcmp(address, wrote + page, 2 * page), 0);
    ck_assert_int_eq(hs_os_pwrite(fd, path, "new", 3, page, NULL), H5STORE_OK);
    ck_assert_int_eq(memcmp(address, "new", 3), 0);
    hs_os_unmap(address, 2 * page);
}
END_TEST

Suite *
os_suite(void)
{
    Suite *suite = suite_create("os");
    TCase *files = tcase_create("files"), *blocks = tcase_create("blocks");
    TCase *cases[] = {files, blocks};

    tcase_add_test(files, open_sets_close_on_exec_and_close_forgets);
    tcase_add_test(files, open_says_why_not);
    tcase_add_test(files, bytes_come_back);
    tcase_add_test(files, beyond_the_end_are_zeros);
    tcase_add_test(files, interrupted_and_short_calls_go_on);
    tcase_add_test(files, failed_calls_have_their_codes);
    tcase_add_test(files, write_without_progress_ends);
    tcase_add_test(files, offsets_that_no_file_has_are_refused);
    tcase_add_test(files, no_call_moves_more_than_a_gib);
    tcase_add_test(blocks, reserving_grows_the_file_and_keeps_its_bytes);
    tcase_add_test(blocks, reserving_beyond_the_end_keeps_the_length);
    tcase_add_test(blocks, room_of_the_disk_is_told);
    tcase_add_test(blocks, missing_fallocate_is_no_failure);
    tcase_add_test(blocks, punching_gives_blocks_back_and_leaves_zeros);
    tcase_add_loop_test(blocks, each_process_knows_its_own_id, 0, 2);
    tcase_add_test(blocks, mapping_shows_the_file);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tcase_add_checked_fixture(cases[i], setup, teardown);
        suite_add_tcase(suite, cases[i]);
    }
    return suite;
}
