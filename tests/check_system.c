/* SPDX-License-Identifier: MIT */
/*
 * The rest of os.c: names, locks, and what it knows of the machine.
 */
#include "os.h"
#include "suites.h"
#include "support/child.h"
#include "support/faulty.h"
#include "support/fixture.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

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

static bool
exists(const char *name)
{
    struct stat status;

    return stat(name, &status) == 0;
}

static int
make_file(const char *name, const char *text)
{
    HS_CLEANUP(hs_os_closep) int made = -1;

    ck_assert_int_eq(hs_os_open(name, O_RDWR | O_CREAT | O_EXCL, &made, NULL), H5STORE_OK);
    return hs_os_pwrite(made, name, text, strlen(text), 0, NULL);
}

static void
expect_text(const char *name, const char *text)
{
    HS_CLEANUP(hs_os_closep) int made = -1;
    char found[64];
    size_t got;

    ck_assert_int_eq(hs_os_open(name, O_RDONLY, &made, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_pread(made, name, found, sizeof found, 0, &got, NULL), H5STORE_OK);
    ck_assert_uint_eq(got, strlen(text));
    ck_assert_int_eq(memcmp(found, text, got), 0);
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

/* ---- names ------------------------------------------------------------ */

START_TEST(sync_parent_takes_any_form_of_path)
{
    h5store_err err;

    ck_assert_int_eq(hs_os_sync_parent(path, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_sync_parent("/x", NULL), H5STORE_OK);
    ck_assert_int_eq(chdir(fixture_folder()), 0);
    ck_assert_int_eq(hs_os_sync_parent("file", NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_sync_parent(fixture_path("no/where"), &err), H5STORE_E_NOT_FOUND);
    faulty_arm(EINVAL, 1);
    faulty_ops.open = hs_os_real.open;
    ck_assert_int_eq(hs_os_sync_parent(path, NULL), H5STORE_OK);
    faulty_expect_tripped();
    faulty_arm(EIO, 1);
    expect_failure(hs_os_sync_parent(path, &err), H5STORE_E_IO, EIO, &err, fixture_folder());
    faulty_expect_tripped();
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(publishing_never_replaces)
{
    const char *from = fixture_path("from"), *to = fixture_path("to");
    bool taken;

    /* 0: links work; others: the errno of a file system without them. */
    static const int links[] = {0, EPERM, EOPNOTSUPP, ENOSYS};

    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        make_file(from, "first");
        faulty_arm(links[i], links[i] != 0);
        taken = true;
        ck_assert_int_eq(hs_os_publish(from, to, &taken, NULL), H5STORE_OK);
        faulty_expect_tripped();
        ck_assert(!taken);
        ck_assert(!exists(from));
        expect_text(to, "first");

        make_file(from, "second");
        faulty_arm(links[i], links[i] != 0);
        ck_assert_int_eq(hs_os_publish(from, to, &taken, NULL), H5STORE_OK);
        faulty_expect_tripped();
        ck_assert(taken);
        ck_assert(!exists(from));
        expect_text(to, "first");
        ck_assert_int_eq(hs_os_unlink(to, NULL), H5STORE_OK);
    }
}
END_TEST

static int
link_and_lose_the_answer(const char *from, const char *to)
{
    if (hs_os_real.link(from, to) != 0)
        return -1;
    errno = EEXIST;
    return -1;
}

START_TEST(link_whose_answer_was_lost_is_ours)
{
    const char *from = fixture_path("from"), *to = fixture_path("to");
    bool taken = true;

    make_file(from, "first");
    faulty_ops.link = link_and_lose_the_answer;
    hs_os_set_ops(&faulty_ops);
    ck_assert_int_eq(hs_os_publish(from, to, &taken, NULL), H5STORE_OK);
    ck_assert(!taken);
    ck_assert(!exists(from));
    expect_text(to, "first");
}
END_TEST

START_TEST(publishing_says_why_not)
{
    const char *from = fixture_path("from"), *to = fixture_path("to");
    bool taken;
    h5store_err err;

    expect_failure(hs_os_publish(from, to, &taken, &err), H5STORE_E_NOT_FOUND, ENOENT, &err, from);
    make_file(from, "first");
    faulty_arm(ENOSPC, 1);
    expect_failure(hs_os_publish(from, to, &taken, &err), H5STORE_E_NO_SPACE, ENOSPC, &err, to);
    faulty_expect_tripped();
    faulty_arm(EPERM, 2); /* link, then rename */
    expect_failure(hs_os_publish(from, to, &taken, &err), H5STORE_E_READ_ONLY, EPERM, &err, to);
    faulty_expect_tripped();
    ck_assert(exists(from));
    ck_assert(!exists(to));
}
END_TEST

START_TEST(unlinking_what_is_not_there_is_done)
{
    ck_assert_int_eq(hs_os_unlink(path, NULL), H5STORE_OK);
    ck_assert(!exists(path));
    ck_assert_int_eq(hs_os_unlink(path, NULL), H5STORE_OK);
}
END_TEST

/* ---- locks ------------------------------------------------------------ */

static bool
try_lock(int file, short type, uint64_t start, uint64_t length)
{
    bool granted;

    ck_assert_int_eq(hs_os_lock(file, path, type, start, length, &granted, NULL), H5STORE_OK);
    return granted;
}

static bool
is_free(int file, uint64_t start, uint64_t length)
{
    bool free;

    ck_assert_int_eq(hs_os_lock_test(file, path, start, length, &free, NULL), H5STORE_OK);
    return free;
}

START_TEST(byte_range_locks_belong_to_the_open_file)
{
    const uint64_t far = (UINT64_C(1) << 62) + 5;
    HS_CLEANUP(hs_os_closep) int other = -1, third = -1;

    ck_assert_int_eq(hs_os_open(path, O_RDWR, &other, NULL), H5STORE_OK);
    ck_assert(try_lock(fd, F_WRLCK, far, 10));
    ck_assert(is_free(fd, far, 10)); /* to its owner */
    ck_assert(!is_free(other, far, 10));
    ck_assert(!is_free(other, far + 9, 1));
    ck_assert(is_free(other, far + 10, 100));
    ck_assert(!try_lock(other, F_WRLCK, far + 9, 1));
    ck_assert(!try_lock(other, F_RDLCK, far - 5, 6));
    ck_assert(try_lock(other, F_WRLCK, 0, far));
    ck_assert(try_lock(fd, F_RDLCK, far, 10)); /* down */
    ck_assert(try_lock(other, F_RDLCK, far, 10));
    ck_assert(!try_lock(fd, F_WRLCK, far, 10)); /* not up, and still shared */
    ck_assert(!try_lock(other, F_WRLCK, far, 10));
    ck_assert(try_lock(fd, F_UNLCK, far, 10));
    ck_assert(try_lock(other, F_WRLCK, far, 10));
    /* Another descriptor comes and goes. */
    ck_assert_int_eq(hs_os_open(path, O_RDWR, &third, NULL), H5STORE_OK);
    hs_os_closep(&third);
    ck_assert(!is_free(fd, far, 10));
    hs_os_closep(&other);
    ck_assert(is_free(fd, 0, far + 100));
}
END_TEST

START_TEST(flock_excludes_as_hdf5_does)
{
    HS_CLEANUP(hs_os_closep) int other = -1;
    bool granted;

    ck_assert_int_eq(hs_os_open(path, O_RDWR, &other, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_flock(fd, path, LOCK_SH, &granted, NULL), H5STORE_OK);
    ck_assert(granted);
    ck_assert_int_eq(hs_os_flock(other, path, LOCK_SH, &granted, NULL), H5STORE_OK);
    ck_assert(granted);
    ck_assert_int_eq(hs_os_flock(other, path, LOCK_UN, &granted, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_flock(other, path, LOCK_EX, &granted, NULL), H5STORE_OK);
    ck_assert(!granted);
    ck_assert_int_eq(hs_os_flock(fd, path, LOCK_UN, &granted, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_os_flock(other, path, LOCK_EX, &granted, NULL), H5STORE_OK);
    ck_assert(granted);
}
END_TEST

START_TEST(failures_of_locks_have_their_codes)
{
    static const struct {
        int os_errno, range, whole; /* code of a byte-range lock, and of flock */
    } cases[] = {
        {EINVAL, H5STORE_E_UNSUPPORTED, H5STORE_E_IO},
        {ENOLCK, H5STORE_E_UNSUPPORTED, H5STORE_OK},
        {EOPNOTSUPP, H5STORE_E_UNSUPPORTED, H5STORE_OK},
        {ENOSYS, H5STORE_E_UNSUPPORTED, H5STORE_OK},
        {EIO, H5STORE_E_IO, H5STORE_E_IO},
        {EINTR, H5STORE_OK, H5STORE_OK},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool granted = false;

        faulty_arm(cases[i].os_errno, 1);
        ck_assert_int_eq(hs_os_lock(fd, path, F_WRLCK, 0, 1, &granted, NULL), cases[i].range);
        faulty_expect_tripped();
        ck_assert_int_eq(granted, cases[i].range == H5STORE_OK);
        faulty_arm(cases[i].os_errno, 1);
        ck_assert_int_eq(hs_os_lock_test(fd, path, 0, 1, &granted, NULL), cases[i].range);
        faulty_expect_tripped();
        granted = false;
        faulty_arm(cases[i].os_errno, 1);
        ck_assert_int_eq(hs_os_flock(fd, path, LOCK_EX, &granted, NULL), cases[i].whole);
        faulty_expect_tripped();
        ck_assert_int_eq(granted, cases[i].whole == H5STORE_OK);
    }
}
END_TEST

/* ---- time, chance, the machine ---------------------------------------- */

START_TEST(clock_goes_forward)
{
    uint64_t before = hs_os_now(), after;

    for (int i = 0; i < 1000; i++) {
        after = hs_os_now();
        ck_assert_uint_ge(after, before);
        before = after;
    }
    hs_os_sleep(0);
    hs_os_sleep(3000000);
    ck_assert_uint_ge(hs_os_now(), before + 3000000);
}
END_TEST

START_TEST(random_bytes_differ)
{
    uint8_t seen[64][16], ones[16] = {0}, zeros[16] = {0};

    for (size_t i = 0; i < 64; i++) {
        ck_assert_int_eq(hs_os_random(seen[i], NULL), H5STORE_OK);
        for (size_t j = 0; j < i; j++)
            ck_assert_int_ne(memcmp(seen[i], seen[j], 16), 0);
        for (size_t k = 0; k < 16; k++) {
            ones[k] |= seen[i][k];
            zeros[k] |= (uint8_t)~seen[i][k];
        }
    }
    for (size_t k = 0; k < 16; k++) /* no bit stands still; by chance once in 2^55 runs */
        ck_assert(ones[k] == 0xff && zeros[k] == 0xff);
}
END_TEST

START_TEST(boot_id_is_the_kernels)
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    uint8_t expected[16] = {0}, found[16];
    unsigned byte;

    for (size_t i = 0; file != NULL && i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            ck_assert_int_eq(fgetc(file), '-');
        ck_assert_int_eq(fscanf(file, "%2x", &byte), 1);
        expected[i] = (uint8_t)byte;
    }
    if (file != NULL)
        fclose(file);
    memset(found, 0xee, sizeof found);
    hs_os_boot_id(found);
    ck_assert_int_eq(memcmp(found, expected, 16), 0);
    faulty_arm(ENOENT, 1);
    hs_os_boot_id(found);
    faulty_expect_tripped();
    memset(expected, 0, sizeof expected);
    ck_assert_int_eq(memcmp(found, expected, 16), 0);
}
END_TEST

static int
count_on_one_cpu(child *parent, void *context)
{
    cpu_set_t mask;
    int first = 0;

    (void)parent;
    (void)context;
    child_assert(sched_getaffinity(0, sizeof mask, &mask) == 0);
    child_assert(hs_os_cpu_count() == CPU_COUNT(&mask));
    while (!CPU_ISSET(first, &mask))
        first++;
    CPU_ZERO(&mask);
    CPU_SET(first, &mask);
    child_assert(sched_setaffinity(0, sizeof mask, &mask) == 0);
    child_assert(hs_os_cpu_count() == 1);
    return 0;
}

START_TEST(cpus_are_those_of_the_mask)
{
    ck_assert_int_eq(child_wait(child_start(count_on_one_cpu, NULL)), 0);
}
END_TEST

Suite *
system_suite(void)
{
    Suite *suite = suite_create("system");
    TCase *names = tcase_create("names"), *locks = tcase_create("locks");
    TCase *machine = tcase_create("machine");
    TCase *cases[] = {names, locks, machine};

    tcase_add_test(names, sync_parent_takes_any_form_of_path);
    tcase_add_test(names, publishing_never_replaces);
    tcase_add_test(names, link_whose_answer_was_lost_is_ours);
    tcase_add_test(names, publishing_says_why_not);
    tcase_add_test(names, unlinking_what_is_not_there_is_done);
    tcase_add_test(locks, byte_range_locks_belong_to_the_open_file);
    tcase_add_test(locks, flock_excludes_as_hdf5_does);
    tcase_add_test(locks, failures_of_locks_have_their_codes);
    tcase_add_test(machine, clock_goes_forward);
    tcase_add_test(machine, random_bytes_differ);
    tcase_add_test(machine, boot_id_is_the_kernels);
    tcase_add_test(machine, cpus_are_those_of_the_mask);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tcase_add_checked_fixture(cases[i], setup, teardown);
        suite_add_tcase(suite, cases[i]);
    }
    return suite;
}
