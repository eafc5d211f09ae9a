/* SPDX-License-Identifier: MIT */
/*
 * Paths looked up without HDF5.  HDF5 makes the groups, and is the oracle: for each name, before
 * and after changes of which only the pages are told; names whose hashes are equal; and with any
 * byte of the groups broken, nothing wrong is ever found.
 */
#include "groups.h"
#include "h5util.h"
#include "ohdr.h"
#include "os.h"
#include "support/fixture.h"
#include <check.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *groups_suite(void);

#define TARGETS 3u

static hs_groups *groups;
static hs_pager pager;
static h5store_err err;
static hid_t file;

static void
setup(void)
{
    fixture_setup();
    memset(&pager, 0, sizeof pager);
    pager.fd = -1;
    pager.path = fixture_path("groups.h5");
    file = H5I_INVALID_HID;
    ck_assert_int_ge(H5Eset_auto2(H5E_DEFAULT, NULL, NULL), 0); /* it will miss some names */
    ck_assert_int_eq(hs_groups_new(&groups, &err), H5STORE_OK);
}

static void
teardown(void)
{
    hs_groups_free(groups);
    hs_os_closep(&pager.fd);
    fixture_teardown();
}

static void
open_file(unsigned flags)
{
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);

    ck_assert_int_ge(H5Pset_libver_bounds(fapl, H5F_LIBVER_V110, H5F_LIBVER_V110), 0);
    file = flags & H5F_ACC_TRUNC ? H5Fcreate(pager.path, H5F_ACC_TRUNC, H5P_DEFAULT, fapl)
                                 : H5Fopen(pager.path, flags, fapl);
    ck_assert_int_ge(file, 0);
    H5Pclose(fapl);
}

/* A file with /a/large and three objects. */
static void
make_file(void)
{
    open_file(H5F_ACC_TRUNC);
    H5Gclose(H5Gcreate2(file, "a", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Gclose(H5Gcreate2(file, "a/large", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    for (unsigned i = 0; i < TARGETS; i++) {
        char name[32];

        snprintf(name, sizeof name, "target%u", i);
        H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    }
}

/* Link, or (@p there false) unlink, a name in the large group. */
static void
change(const char *name, unsigned target, bool there)
{
    char from[32], to[96];

    snprintf(from, sizeof from, "/target%u", target);
    snprintf(to, sizeof to, "/a/large/%s", name);
    if (there)
        ck_assert_int_ge(H5Lcreate_hard(file, from, file, to, H5P_DEFAULT, H5P_DEFAULT), 0);
    else
        ck_assert_int_ge(H5Ldelete(file, to, H5P_DEFAULT), 0);
}

static void
close_file(void)
{
    ck_assert_int_ge(H5Fclose(file), 0);
    if (pager.fd < 0)
        ck_assert_int_eq(hs_os_open(pager.path, O_RDWR, &pager.fd, &err), H5STORE_OK);
}

static long long
file_size(void)
{
    struct stat status;

    ck_assert_int_eq(fstat(pager.fd, &status), 0);
    return (long long)status.st_size;
}

static int
look(const char *name, uint64_t *address)
{
    char path[96];

    snprintf(path, sizeof path, "/a/large/%s", name);
    return hs_groups_find(groups, &pager, path, address, &err);
}

static uint64_t
target_address(unsigned target)
{
    char path[32];
    uint64_t address;

    snprintf(path, sizeof path, "/target%u", target);
    ck_assert_int_eq(hs_groups_find(groups, &pager, path, &address, &err), H5STORE_OK);
    return address;
}

static void
name_of(unsigned n, char name[64])
{
    snprintf(name, 64, "%08x-as-long-as-a-key-mostly-is", n * 2654435761u);
}

/* The same, with @p count links in it to the objects in turn. */
static void
make_large(unsigned count)
{
    char name[64];

    make_file();
    for (unsigned i = 0; i < count; i++) {
        name_of(i, name);
        change(name, i % TARGETS, true);
    }
    close_file();
}

/* Each name below @p count is found where HDF5 finds it, or is missing to both. */
static unsigned
compare(unsigned count)
{
    unsigned found = 0;

    open_file(H5F_ACC_RDONLY);
    for (unsigned i = 0; i < count; i++) {
        uint64_t ours = 0, theirs = 0;
        char name[64], path[96];
        int rc, oracle;

        name_of(i, name);
        snprintf(path, sizeof path, "/a/large/%s", name);
        rc = hs_groups_find(groups, &pager, path, &ours, &err);
        oracle = hs_h5_find(file, path, &theirs, NULL);
        ck_assert_msg(rc == oracle, "%s: %d, HDF5 says %d", path, rc, oracle);
        ck_assert_uint_eq(ours, theirs);
        found += rc == H5STORE_OK;
    }
    H5Fclose(file);
    return found;
}

/* In a heap of one block, of rows of direct blocks, and of indirect blocks; in trees of one, two
 * and three levels. */
static const unsigned sizes[] = {0, 1, 8, 9, 10, 40, 300, 2500, 20000};

START_TEST(every_name_of_a_group)
{
    unsigned count = sizes[_i];

    make_large(count);
    ck_assert_uint_eq(compare(count + 300), count);
}
END_TEST

START_TEST(paths_that_lead_nowhere)
{
    static const char *const missing[] = {"/b",         "/a/larg",    "/a/large2",
                                          "/a/large/x", "/target0/x", "/target3"};
    uint64_t address = 7;

    make_file();
    close_file();
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        ck_assert_int_eq(hs_groups_find(groups, &pager, missing[i], &address, &err),
                         H5STORE_E_NOT_FOUND);
    ck_assert_uint_eq(address, 7);
    ck_assert_str_eq(err.message, "there is no '/target3'");
}
END_TEST

/* The header that is opened is the one that is found, and is kept as it is. */
START_TEST(headers_are_opened_by_their_paths)
{
    static const char *const paths[] = {"/a", "/a/large", "/target0", "/target2"};
    const hs_ohdr *header = NULL, *again;
    uint64_t address;
    char name[64];

    make_large(6);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        ck_assert_int_eq(hs_groups_find(groups, &pager, paths[i], &address, &err), H5STORE_OK);
        ck_assert_int_eq(hs_groups_open(groups, &pager, paths[i], &header, &err), H5STORE_OK);
        ck_assert_uint_eq(header->address, address);
        ck_assert(header->is_group);
        ck_assert_int_eq(hs_groups_open(groups, &pager, paths[i], &again, &err), H5STORE_OK);
        ck_assert_ptr_eq(again, header);
    }
    ck_assert_int_eq(hs_groups_open(groups, &pager, "/a/large", &header, &err), H5STORE_OK);
    ck_assert_uint_eq(header->link_count, 6);
    again = header;
    ck_assert_int_eq(hs_groups_open(groups, &pager, "/a/none", &header, &err), H5STORE_E_NOT_FOUND);
    ck_assert_int_eq(hs_groups_open(groups, &pager, "/target0/x", &header, &err),
                     H5STORE_E_NOT_FOUND);
    ck_assert_ptr_eq(header, again); /* not written on failure */
    open_file(H5F_ACC_RDWR);
    name_of(100, name);
    change(name, 0, true);
    close_file();
    for (long long at = 0; at < file_size(); at += HS_PAGE_SIZE)
        hs_groups_changed(groups, (uint64_t)at / HS_PAGE_SIZE);
    ck_assert_int_eq(hs_groups_open(groups, &pager, "/a/large", &header, &err), H5STORE_OK);
    ck_assert_uint_eq(header->link_count, 7);
    hs_groups_forget(groups);
    ck_assert_int_eq(ftruncate(pager.fd, 0), 0);
    ck_assert_int_eq(hs_groups_open(groups, &pager, "/a", &header, &err), H5STORE_E_DAMAGED);
}
END_TEST

/* Tell the groups of each page that differs from what the file was. */
static unsigned
tell_changes(uint8_t **old, size_t *old_size)
{
    long long size = file_size();
    uint8_t *now = calloc(1, (size_t)size + HS_PAGE_SIZE);
    unsigned changes = 0;

    ck_assert_int_eq(pread(pager.fd, now, (size_t)size, 0), size);
    for (size_t at = 0; at < (size_t)size; at += HS_PAGE_SIZE)
        if (at + HS_PAGE_SIZE > *old_size || memcmp(now + at, *old + at, HS_PAGE_SIZE) != 0) {
            hs_groups_changed(groups, at / HS_PAGE_SIZE);
            changes++;
        }
    free(*old);
    *old = now;
    *old_size = (size_t)size / HS_PAGE_SIZE * HS_PAGE_SIZE;
    return changes;
}

START_TEST(only_what_changed_is_read_again)
{
    uint8_t *old = NULL;
    size_t old_size = 0;
    unsigned there = 0;
    char name[64];

    make_file();
    close_file();
    for (unsigned round = 0; round < 60; round++) {
        (void)tell_changes(&old, &old_size);
        ck_assert_uint_eq(compare(800), there);
        open_file(H5F_ACC_RDWR);
        for (unsigned i = 0; i < 13; i++) { /* of each thirteen that come, four go in time */
            name_of(13 * round + i, name);
            change(name, i % TARGETS, true);
            there++;
        }
        for (unsigned i = 0; i < 4 && round > 5; i++) {
            name_of(13 * (round - 5) + 3 * i, name);
            change(name, 0, false);
            there--;
        }
        close_file();
    }
    ck_assert_uint_gt(tell_changes(&old, &old_size), 3);
    ck_assert_uint_eq(compare(800), there);
    free(old);
}
END_TEST

/* The last page of what is looked at changes, and nobody says so: what is kept is still used. */
START_TEST(what_is_kept_is_used)
{
    uint64_t address, before;
    char name[64];

    make_large(500);
    name_of(77, name);
    ck_assert_int_eq(look(name, &before), H5STORE_OK);
    ck_assert_int_eq(ftruncate(pager.fd, 0), 0); /* it reads as zeros now */
    ck_assert_int_eq(look(name, &address), H5STORE_OK);
    ck_assert_uint_eq(address, before);
    hs_groups_forget(groups);
    ck_assert_int_eq(look(name, &address), H5STORE_E_DAMAGED);
}
END_TEST

/* ---- equal hashes ----------------------------------------------------------------- */

struct hashed {
    uint32_t hash;
    unsigned n;
};

static int
compare_hashes(const void *a, const void *b)
{
    const struct hashed *left = a, *right = b;

    return left->hash < right->hash ? -1 : left->hash > right->hash;
}

START_TEST(names_with_the_same_hash)
{
    static struct hashed all[400000];
    const unsigned most = sizeof all / sizeof *all;
    unsigned pairs = 0;
    uint64_t address;
    char name[64];

    make_file();
    for (unsigned i = 0; i < most; i++) {
        name_of(i, name);
        all[i] = (struct hashed){hs_ohdr_checksum((const uint8_t *)name, strlen(name)), i};
    }
    qsort(all, most, sizeof *all, compare_hashes);
    for (unsigned i = 0; i + 1 < most; i++) {
        if (all[i].hash != all[i + 1].hash)
            continue;
        name_of(all[i].n, name);
        change(name, 0, true);
        name_of(all[i + 1].n, name);
        if (pairs++ % 2 == 0)
            change(name, 1, true); /* of every second pair, one is not there */
    }
    for (unsigned i = 0; i < 400; i++) { /* others round them, so that there are some nodes */
        name_of(most + i, name);
        change(name, 2, true);
    }
    close_file();
    ck_assert_uint_ge(pairs, 8);
    pairs = 0;
    for (unsigned i = 0; i + 1 < most; i++) {
        if (all[i].hash != all[i + 1].hash)
            continue;
        name_of(all[i].n, name);
        ck_assert_int_eq(look(name, &address), H5STORE_OK);
        ck_assert_uint_eq(address, target_address(0));
        name_of(all[i + 1].n, name);
        ck_assert_int_eq(look(name, &address), pairs % 2 == 0 ? H5STORE_OK : H5STORE_E_NOT_FOUND);
        if (pairs++ % 2 == 0)
            ck_assert_uint_eq(address, target_address(1));
    }
}
END_TEST

/* ---- damage ----------------------------------------------------------------------- */

static const unsigned damaged_sizes[] = {5, 60, 700};

/* Break each byte of the file in turn; what is found is right, or it is said to be damaged. */
START_TEST(nothing_wrong_is_found_in_a_broken_file)
{
    unsigned count = damaged_sizes[_i], noticed = 0, unharmed = 0;
    uint64_t truth[3], step = count > 100 ? 7 : 1;
    unsigned asked[3] = {0, count / 2, count + 1};
    char name[64];

    make_large(count);
    for (unsigned k = 0; k < 2; k++) {
        name_of(asked[k], name);
        ck_assert_int_eq(look(name, &truth[k]), H5STORE_OK);
    }
    for (long long at = 0; at < file_size(); at += step) {
        uint8_t byte, broken;

        ck_assert_int_eq(pread(pager.fd, &byte, 1, at), 1);
        broken = byte ^ (uint8_t)(1u << (at % 8));
        ck_assert_int_eq(pwrite(pager.fd, &broken, 1, at), 1);
        hs_groups_forget(groups);
        for (unsigned k = 0; k < 3; k++) {
            uint64_t address;
            int rc;

            name_of(asked[k], name);
            rc = look(name, &address);
            ck_assert(rc == H5STORE_E_DAMAGED || rc == (k < 2 ? H5STORE_OK : H5STORE_E_NOT_FOUND));
            if (rc == H5STORE_OK)
                ck_assert_uint_eq(address, truth[k]);
            noticed += rc == H5STORE_E_DAMAGED;
            unharmed += rc != H5STORE_E_DAMAGED;
        }
        ck_assert_int_eq(pwrite(pager.fd, &byte, 1, at), 1);
    }
    ck_assert_uint_gt(noticed, 100);
    ck_assert_uint_gt(unharmed, 100);
}
END_TEST

/* Groups as older versions of HDF5 make them are left to HDF5. */
START_TEST(old_groups_are_not_read)
{
    uint64_t address;

    file = H5Fcreate(pager.path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Gclose(H5Gcreate2(file, "a", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    close_file();
    ck_assert_int_eq(hs_groups_find(groups, &pager, "/a", &address, &err), H5STORE_E_DAMAGED);
}
END_TEST

Suite *
groups_suite(void)
{
    Suite *suite = suite_create("groups");
    TCase *tcase = tcase_create("groups");

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, every_name_of_a_group, 0, sizeof sizes / sizeof *sizes);
    tcase_add_test(tcase, paths_that_lead_nowhere);
    tcase_add_test(tcase, headers_are_opened_by_their_paths);
    tcase_add_test(tcase, only_what_changed_is_read_again);
    tcase_add_test(tcase, what_is_kept_is_used);
    tcase_add_test(tcase, names_with_the_same_hash);
    tcase_add_loop_test(tcase, nothing_wrong_is_found_in_a_broken_file, 0,
                        sizeof damaged_sizes / sizeof *damaged_sizes);
    tcase_add_test(tcase, old_groups_are_not_read);
    suite_add_tcase(suite, tcase);
    return suite;
}
