/* SPDX-License-Identifier: MIT */
/*
 * The superblock, with HDF5 itself as the oracle: files that it made have a checksum that we
 * find right, and what we changed it still opens, or refuses, as it should.
 */
#include "h5util.h"
#include "superblock.h"
#include "support/container.h"
#include "support/fixture.h"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

Suite *superblock_suite(void);

/* A file made by HDF5's own driver, with some groups. */
static const char *
make_file(H5F_libver_t version, int groups)
{
    const char *path = fixture_path("stock.h5");
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS), file;

    ck_assert_int_ge(H5Pset_libver_bounds(fapl, version, H5F_LIBVER_V110), 0);
    file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, fapl);
    ck_assert_int_ge(file, 0);
    for (int i = 0; i < groups; i++) {
        char name[16];

        snprintf(name, sizeof name, "g%d", i);
        ck_assert_int_ge(H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)),
                         0);
    }
    ck_assert_int_ge(H5Fclose(file), 0);
    H5Pclose(fapl);
    return path;
}

static void
read_superblock(const char *path, uint8_t bytes[HS_SUPERBLOCK_SIZE])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    ck_assert_int_eq(pread(fd, bytes, HS_SUPERBLOCK_SIZE, 0), HS_SUPERBLOCK_SIZE);
    close(fd);
}

static void
write_superblock(const char *path, const uint8_t bytes[HS_SUPERBLOCK_SIZE])
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    ck_assert_int_eq(pwrite(fd, bytes, HS_SUPERBLOCK_SIZE, 0), HS_SUPERBLOCK_SIZE);
    close(fd);
}

/* Does stock HDF5 open it? */
static bool
opens(const char *path, unsigned flags)
{
    hid_t file;

    H5E_BEGIN_TRY
    {
        file = H5Fopen(path, flags, H5P_DEFAULT);
    }
    H5E_END_TRY
    if (file >= 0)
        H5Fclose(file);
    return file >= 0;
}

/* Different lengths of file, so that the checksums of many superblocks are compared. */
START_TEST(checksum_is_that_of_hdf5)
{
    const char *path = make_file(H5F_LIBVER_V110, _i * 3);
    uint8_t bytes[HS_SUPERBLOCK_SIZE];

    read_superblock(path, bytes);
    ck_assert_int_eq(hs_superblock_inspect(bytes), HS_SUPERBLOCK_GOOD);
    ck_assert_int_eq(hs_superblock_eoa(bytes), box_size(path));
    ck_assert(!hs_superblock_is_marked(bytes));
}
END_TEST

START_TEST(every_flipped_bit_is_noticed)
{
    uint8_t bytes[HS_SUPERBLOCK_SIZE];
    unsigned noticed = 0;

    read_superblock(make_file(H5F_LIBVER_V110, 1), bytes);
    for (unsigned bit = 0; bit < 8 * HS_SUPERBLOCK_SIZE; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_ne(hs_superblock_inspect(bytes), HS_SUPERBLOCK_GOOD);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        noticed++;
    }
    ck_assert_uint_eq(noticed, 384);
    ck_assert_int_eq(hs_superblock_inspect(bytes), HS_SUPERBLOCK_GOOD);
}
END_TEST

START_TEST(other_versions_are_told_apart)
{
    uint8_t bytes[HS_SUPERBLOCK_SIZE];

    read_superblock(make_file(H5F_LIBVER_EARLIEST, 1), bytes);
    ck_assert_int_eq(hs_superblock_inspect(bytes), HS_SUPERBLOCK_OTHER);
    memset(bytes, 0, sizeof bytes);
    ck_assert_int_eq(hs_superblock_inspect(bytes), HS_SUPERBLOCK_NONE);
    memcpy(bytes, "\x89HDF\r\n\x1a\n\2\10\10", 11);
    ck_assert_int_eq(hs_superblock_inspect(bytes), HS_SUPERBLOCK_OTHER);
    bytes[8] = 3;
    ck_assert_int_eq(hs_superblock_inspect(bytes), HS_SUPERBLOCK_BROKEN);
}
END_TEST

START_TEST(hdf5_takes_what_was_changed)
{
    const char *path = make_file(H5F_LIBVER_V110, 4);
    uint8_t bytes[HS_SUPERBLOCK_SIZE];
    uint64_t eoa;

    read_superblock(path, bytes);
    eoa = hs_superblock_eoa(bytes);
    hs_superblock_set_mark(bytes, true);
    ck_assert(hs_superblock_is_marked(bytes));
    ck_assert_int_eq(hs_superblock_inspect(bytes), HS_SUPERBLOCK_GOOD);
    write_superblock(path, bytes);
    ck_assert(!opens(path, H5F_ACC_RDONLY));
    ck_assert(!opens(path, H5F_ACC_RDWR));

    hs_superblock_set_mark(bytes, false);
    write_superblock(path, bytes);
    ck_assert(opens(path, H5F_ACC_RDONLY));

    /* An end beyond the file is "truncated" to HDF5; with the file it is right again. */
    hs_superblock_set_eoa(bytes, eoa + 4096);
    ck_assert_uint_eq(hs_superblock_eoa(bytes), eoa + 4096);
    write_superblock(path, bytes);
    ck_assert(!opens(path, H5F_ACC_RDONLY));
    ck_assert_int_eq(truncate(path, (off_t)eoa + 4096), 0);
    ck_assert(opens(path, H5F_ACC_RDONLY));
}
END_TEST

Suite *
superblock_suite(void)
{
    Suite *suite = suite_create("superblock");
    TCase *bytes = tcase_create("bytes");

    tcase_add_checked_fixture(bytes, box_setup, box_teardown);
    tcase_add_loop_test(bytes, checksum_is_that_of_hdf5, 0, 12);
    tcase_add_test(bytes, every_flipped_bit_is_noticed);
    tcase_add_test(bytes, other_versions_are_told_apart);
    tcase_add_test(bytes, hdf5_takes_what_was_changed);
    suite_add_tcase(suite, bytes);
    return suite;
}
