/* SPDX-License-Identifier: MIT */
/*
 * One chunk: against the definition of shuffling, and against zlib's format as HDF5's own
 * filters read and write it.
 */
#include "deflate.h"
#include "suites.h"
#include "vfd_compat.h"

#define ROOM 40000

static _Alignas(double) uint8_t plain[ROOM];
static uint8_t there[ROOM], back[ROOM], expected[ROOM];
static const size_t items[] = {1, 2, 3, 4, 5, 7, 8, 12, 16, 24, 100, 1000};
#define ITEMS (sizeof items / sizeof items[0])

static void
setup(void)
{
    uint64_t state = 11;

    for (size_t i = 0; i < ROOM; i++) {
        state = state * UINT64_C(6364136223846793005) + 1;
        plain[i] = (uint8_t)(state >> 56);
    }
}

START_TEST(shuffling_is_a_transposition)
{
    size_t item = items[_i];

    /* All numbers of items round the length of vectors, and a large one. */
    for (size_t count = 0; count <= 100; count++) {
        size_t n = count < 100 ? count : ROOM / item, size = n * item;

        if (size > ROOM)
            continue;
        for (size_t k = 0; k < item; k++)
            for (size_t i = 0; i < n; i++)
                expected[k * n + i] = plain[i * item + k];
        memset(there, 0xAA, ROOM);
        memset(back, 0xAA, ROOM);
        hs_shuffle(plain, size, item, there);
        ck_assert_mem_eq(there, expected, size);
        hs_unshuffle(there, size, item, back);
        ck_assert_mem_eq(back, plain, size);
        if (size < ROOM) {
            ck_assert_uint_eq(there[size], 0xAA);
            ck_assert_uint_eq(back[size], 0xAA);
        }
    }
}
END_TEST

/* Bytes that get smaller. */
static void
fill_smooth(size_t item)
{
    for (size_t i = 0; i < ROOM; i++)
        plain[i] = (uint8_t)(i % item == 0 ? i / item / 3 : 7 * (i % item));
}

START_TEST(every_level_gives_back_what_was_put)
{
    size_t item = items[_i], size = ROOM / item * item;

    fill_smooth(item);
    for (int level = HS_DEFLATE_LEAST; level <= HS_DEFLATE_MOST; level++) {
        HS_CLEANUP(hs_deflater_freep) hs_deflater *deflater = NULL;
        HS_CLEANUP(hs_deflater_freep) hs_deflater *inflater = NULL;
        size_t length;

        ck_assert_int_eq(hs_deflater_new(size, level, &deflater, NULL), H5STORE_OK);
        ck_assert_int_eq(hs_deflater_new(size, 0, &inflater, NULL), H5STORE_OK);
        length = hs_deflate(deflater, plain, size, item, there, ROOM);
        ck_assert_uint_gt(length, 0);
        ck_assert_uint_lt(length, size / 2);
        memset(back, 0, ROOM);
        ck_assert(hs_inflate(inflater, there, length, item, back, size));
        ck_assert_mem_eq(back, plain, size);
        /* And a smaller one with the same memory. */
        length = hs_deflate(deflater, plain, item * 20, item, there, ROOM);
        ck_assert(hs_inflate(inflater, there, length, item, back, item * 20));
    }
}
END_TEST

START_TEST(what_does_not_fit_is_told)
{
    HS_CLEANUP(hs_deflater_freep) hs_deflater *deflater = NULL;

    ck_assert_int_eq(hs_deflater_new(ROOM, 1, &deflater, NULL), H5STORE_OK);
    ck_assert_uint_eq(hs_deflate(deflater, plain, ROOM, 8, there, ROOM - 1), 0);
}
END_TEST

/* Each byte changed, and each end cut: refused or, if it gives something, of the same size. */
START_TEST(damaged_bytes_are_refused)
{
    HS_CLEANUP(hs_deflater_freep) hs_deflater *deflater = NULL;
    HS_CLEANUP(hs_deflater_freep) hs_deflater *inflater = NULL;
    size_t size = 4000, length, refused = 0;

    fill_smooth(8);
    ck_assert_int_eq(hs_deflater_new(size, 3, &deflater, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_deflater_new(size, 0, &inflater, NULL), H5STORE_OK);
    length = hs_deflate(deflater, plain, size, 8, there, ROOM);
    ck_assert(hs_inflate(inflater, there, length, 8, back, size));
    ck_assert(!hs_inflate(inflater, there, length, 8, back, size - 8));
    for (size_t i = 0; i < length; i++) {
        there[i] ^= 0x40;
        refused += !hs_inflate(inflater, there, length, 8, back, size);
        there[i] ^= 0x40;
        ck_assert(!hs_inflate(inflater, there, i, 8, back, size));
    }
    ck_assert_uint_ge(refused, length - 1); /* a bit of the header means nothing */
}
END_TEST

/* HDF5's filters on a chunk of ours, and ours on one of HDF5's, in memory. */
static hid_t
make_dataset(hid_t file, const char *name, size_t item, hsize_t count)
{
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &count, NULL);
    hid_t type = H5Tcreate(H5T_OPAQUE, item), dataset;

    ck_assert_int_ge(H5Tset_tag(type, ""), 0);
    ck_assert_int_ge(H5Pset_chunk(list, 1, &count), 0);
    if (item > 1)
        ck_assert_int_ge(H5Pset_shuffle(list), 0);
    ck_assert_int_ge(H5Pset_deflate(list, 1), 0);
    dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    ck_assert_int_ge(dataset, 0);
    H5Tclose(type);
    H5Pclose(list);
    H5Sclose(space);
    return dataset;
}

/* On the first so many whole items of what is plain. */
static void
expect_hdf5_agrees(size_t item)
{
    HS_CLEANUP(hs_deflater_freep) hs_deflater *deflater = NULL;
    HS_CLEANUP(hs_deflater_freep) hs_deflater *inflater = NULL;
    size_t size = ROOM / item * item, length, room = ROOM;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), file, dataset, type;
    const hsize_t origin = 0;
    hsize_t stored;
    uint32_t mask;

    ck_assert_int_eq(hs_deflater_new(size, 6, &deflater, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_deflater_new(size, 0, &inflater, NULL), H5STORE_OK);
    ck_assert_int_ge(H5Pset_fapl_core(access, 65536, false), 0);
    file = H5Fcreate("deflate.h5", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    ck_assert_int_ge(file, 0);

    dataset = make_dataset(file, "ours", item, size / item);
    type = H5Dget_type(dataset);
    length = hs_deflate(deflater, plain, size, item, there, ROOM);
    ck_assert_int_ge(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, &origin, length, there), 0);
    memset(back, 0, ROOM);
    ck_assert_int_ge(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, back), 0);
    ck_assert_mem_eq(back, plain, size);
    H5Dclose(dataset);

    dataset = make_dataset(file, "theirs", item, size / item);
    ck_assert_int_ge(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, plain), 0);
    ck_assert_int_ge(H5Fflush(file, H5F_SCOPE_LOCAL), 0);
    ck_assert_int_ge(H5Dget_chunk_storage_size(dataset, &origin, &stored), 0);
    ck_assert_uint_le(stored, ROOM);
    ck_assert_int_ge(hs_read_chunk(dataset, &origin, &mask, there, &room), 0);
    ck_assert_uint_eq(mask, 0);
    memset(back, 0, ROOM);
    ck_assert(hs_inflate(inflater, there, (size_t)stored, item, back, size));
    ck_assert_mem_eq(back, plain, size);

    H5Dclose(dataset);
    H5Tclose(type);
    H5Fclose(file);
    H5Pclose(access);
}

START_TEST(hdf5_agrees)
{
    fill_smooth(items[_i]);
    expect_hdf5_agrees(items[_i]);
}
END_TEST

/* A beginning that hardly ever changes is coded otherwise; what follows it may be anything. */
START_TEST(beginnings_of_equal_bytes_come_back)
{
    static const uint8_t bytes[] = {0, 1, 143, 144, 255};
    static const size_t lengths[] = {4095,  4096,  4097,  8191,  8192,  12288, 16384,
                                     20480, 24576, 28672, 32768, 36864, ROOM};

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (size_t distance = 0; distance < 1000; distance += distance / 7 + 97) {
            HS_CLEANUP(hs_deflater_freep) hs_deflater *deflater = NULL;
            size_t length, others = 0;

            setup();
            memset(plain, bytes[_i], lengths[i]);
            for (size_t at = 0; distance > 0 && at < lengths[i]; at += distance, others++)
                plain[at] = (uint8_t)at;
            expect_hdf5_agrees(1);

            ck_assert_int_eq(hs_deflater_new(ROOM, 1, &deflater, NULL), H5STORE_OK);
            length = hs_deflate(deflater, plain, ROOM, 1, there, ROOM);
            ck_assert_uint_gt(length, ROOM - lengths[i]); /* the rest is random */
            ck_assert_uint_lt(length, ROOM - lengths[i] + 400 + 50 * others);
            for (size_t room = 0; room < 1000; room += 7) {
                there[room] = 0xAA;
                ck_assert_uint_le(hs_deflate(deflater, plain, ROOM, 1, there, room), room);
                ck_assert_uint_eq(there[room], 0xAA);
            }
        }
    }
}
END_TEST

/* Whole numbers as doubles: five of eight planes are zeros. */
START_TEST(whole_numbers_come_back)
{
    double *numbers = (double *)(void *)plain;

    for (size_t i = 0; i < ROOM / sizeof *numbers; i++)
        numbers[i] = (double)(i * i % 1000);
    expect_hdf5_agrees(sizeof *numbers);
}
END_TEST

Suite *
deflate_suite(void)
{
    Suite *suite = suite_create("deflate");
    TCase *chunks = tcase_create("chunks");

    tcase_add_checked_fixture(chunks, setup, NULL);
    tcase_add_loop_test(chunks, shuffling_is_a_transposition, 0, (int)ITEMS);
    tcase_add_loop_test(chunks, every_level_gives_back_what_was_put, 0, (int)ITEMS);
    tcase_add_test(chunks, what_does_not_fit_is_told);
    tcase_add_test(chunks, damaged_bytes_are_refused);
    tcase_add_loop_test(chunks, hdf5_agrees, 0, (int)ITEMS);
    tcase_add_loop_test(chunks, beginnings_of_equal_bytes_come_back, 0, 5);
    tcase_add_test(chunks, whole_numbers_come_back);
    suite_add_tcase(suite, chunks);
    return suite;
}
