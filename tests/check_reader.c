/* SPDX-License-Identifier: MIT */
/*
 * Reading: exactly the bytes that were put, or an error; and the healing of what is not (I3).
 */
#include "digest.h"
#include "support/container.h"
#include "support/fixture.h"
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *reader_suite(void);

#define SIZE 3000000u /* several chunks and pieces */

static h5store *store;

static void
setup(void)
{
    box_setup();
    store = box_open(H5STORE_CREATE);
}

static void
teardown(void)
{
    box_close(store);
    box_teardown();
}

static h5store_blob *
open_blob(h5store *from, const h5store_id *id)
{
    h5store_blob *blob;

    BOX_OK(h5store_blob_open(from, id, &blob, &box_err));
    return blob;
}

START_TEST(missing_arguments_are_refused)
{
    h5store_id id = box_put(store, 5000, 1, NULL), none = {{7}};
    h5store_blob *blob = open_blob(store, &id), *other;
    char bytes[5001];
    const void *data;

    BOX_FAILS(H5STORE_E_INVALID, h5store_blob_open(NULL, &id, &other, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_blob_open(store, NULL, &other, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_blob_open(store, &id, NULL, &box_err));
    BOX_FAILS(H5STORE_E_NOT_FOUND, h5store_blob_open(store, &none, &other, &box_err));
    ck_assert_ptr_nonnull(strstr(box_err.message, box_path()));
    ck_assert_ptr_nonnull(strstr(box_err.message, "0700000000"));
    BOX_FAILS(H5STORE_E_INVALID,
              h5store_blob_read(NULL, bytes, 5000, H5STORE_CHECK_FAST, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_blob_read(blob, NULL, 5000, H5STORE_CHECK_FAST, &box_err));
    for (int size = 4999; size <= 5001; size += 2)
        BOX_FAILS(H5STORE_E_INVALID,
                  h5store_blob_read(blob, bytes, (size_t)size, H5STORE_CHECK_FAST, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_blob_read(blob, bytes, 5000, (h5store_check)3, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_blob_map(NULL, &data, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_blob_map(blob, NULL, &box_err));
    h5store_blob_close(blob);
    h5store_blob_close(NULL);
}
END_TEST

START_TEST(info_tells_everything)
{
    h5store_id id = box_put(store, 5000, 1, NULL);
    h5store_blob *blob = open_blob(store, &id);
    const h5store_blob_info *info = h5store_blob_get_info(blob);

    ck_assert_int_eq(h5store_id_equal(&info->id, &id), 1);
    ck_assert_str_eq(info->array.dtype, "'|u1'");
    ck_assert_uint_eq(info->array.nbytes, 5000);
    ck_assert_uint_eq(info->stored_bytes, 8192);
    ck_assert_uint_eq(info->offset % 4096, 0);
    ck_assert_uint_gt(info->offset, 0);
    h5store_blob_close(blob);
}
END_TEST

/* The offset is a promise: joblib's workers map the file by it. */
START_TEST(offset_is_where_the_bytes_are)
{
    h5store_id id = box_put(store, SIZE, 1, NULL);
    h5store_array array = box_array(SIZE, 1);
    uint64_t offset = box_offset(store, &id);

    box_write(fixture_path("expected"), array.data, SIZE);
    ck_assert_int_eq(box_run("tail -c +%llu '%s' | head -c %u | cmp - '%s'",
                             (unsigned long long)offset + 1, box_path(), SIZE,
                             fixture_path("expected")),
                     0);
    box_free(&array);
}
END_TEST

START_TEST(mapping_is_the_same_each_time)
{
    h5store_id id = box_put(store, SIZE, 1, NULL);
    h5store_array array = box_array(SIZE, 1);
    h5store_blob *blob = open_blob(store, &id);
    const void *first, *second;

    BOX_OK(h5store_blob_map(blob, &first, &box_err));
    BOX_OK(h5store_blob_map(blob, &second, &box_err));
    ck_assert_ptr_eq(first, second);
    ck_assert_mem_eq(first, array.data, SIZE);
    h5store_blob_close(blob);
    box_free(&array);
}
END_TEST

/* Removed and reused elsewhere, in this and in another handle: who has it open sees nothing
 * of that (I4). */
START_TEST(open_blob_keeps_its_bytes)
{
    h5store_id id = box_put(store, SIZE, 1, NULL);
    h5store_array array = box_array(SIZE, 1);
    h5store_blob *blob = open_blob(store, &id);
    h5store *other = box_open(0);
    const void *data;

    BOX_OK(h5store_blob_map(blob, &data, &box_err));
    BOX_OK(h5store_discard(_i == 0 ? store : other, &id, &box_err));
    BOX_OK(h5store_flush(store, &box_err));
    BOX_OK(h5store_flush(other, &box_err));
    for (unsigned i = 2; i < 5; i++)
        box_put(_i == 0 ? other : store, SIZE, i, NULL);
    ck_assert_mem_eq(data, array.data, SIZE);
    box_expect(blob, SIZE, 1);
    ck_assert_uint_lt(box_totals(store).free_bytes, SIZE);
    h5store_blob_close(blob);
    BOX_OK(h5store_flush(store, &box_err));
    ck_assert_uint_ge(box_totals(store).free_bytes, SIZE);
    box_expect_verified(store);
    box_close(other);
    box_free(&array);
}
END_TEST

/* ---- damage and healing ---------------------------------------------------------------- */

START_TEST(flipped_byte_is_noticed_wherever_it_is)
{
    static const uint64_t places[] = {0, 1, 262143, 262144, 1048576, 2999999};
    h5store_id id = box_put(store, SIZE, 1, NULL);
    uint64_t offset = box_offset(store, &id);
    unsigned char *bytes = malloc(SIZE);
    h5store_array array = box_array(SIZE, 1);
    h5store *reader;

    BOX_OK(h5store_flush(store, &box_err));
    reader = box_open(H5STORE_READ_ONLY); /* which leaves no mark */
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        h5store_blob *blob = open_blob(reader, &id);

        box_flip(box_path(), offset + places[i]);
        BOX_FAILS(H5STORE_E_DAMAGED,
                  h5store_blob_read(blob, bytes, SIZE, H5STORE_CHECK_FAST, &box_err));
        ck_assert_ptr_nonnull(strstr(box_err.message, box_path()));
        BOX_FAILS(H5STORE_E_DAMAGED,
                  h5store_blob_read(blob, bytes, SIZE, H5STORE_CHECK_FULL, &box_err));
        BOX_OK(h5store_blob_read(blob, bytes, SIZE, H5STORE_CHECK_NEVER, &box_err));
        ck_assert_uint_ne(bytes[places[i]], ((const unsigned char *)array.data)[places[i]]);
        box_flip(box_path(), offset + places[i]);
        BOX_OK(h5store_blob_read(blob, bytes, SIZE, H5STORE_CHECK_FULL, &box_err));
        ck_assert_mem_eq(bytes, array.data, SIZE);
        h5store_blob_close(blob);
    }
    box_close(reader);
    box_expect_verified(store);
    box_free(&array);
    free(bytes);
}
END_TEST

/* A result is read, found damaged, computed again and put: then it is right for everybody,
 * also for the items that nobody touched. */
START_TEST(damaged_blob_is_mended_by_the_next_put)
{
    h5store_array array = box_array(SIZE, 1);
    unsigned char *bytes = malloc(SIZE);
    h5store_item *item;
    h5store_blob *blob;
    const void *data;
    h5store_id id;

    box_set(store, "m/f", "one", SIZE, 1);
    box_set(store, "m/f", "two", SIZE, 1);
    BOX_OK(h5store_hash(&array, 0, &id, &box_err));
    box_flip(box_path(), box_offset(store, &id) + 1234567);
    BOX_OK(h5store_item_open(store, "m/f", "one", &item, &box_err));
    BOX_FAILS(H5STORE_E_DAMAGED, h5store_blob_read(h5store_item_blob(item, 0), bytes, SIZE,
                                                   H5STORE_CHECK_FAST, &box_err));
    h5store_item_close(item);
    blob = open_blob(store, &id);
    BOX_FAILS(H5STORE_E_DAMAGED, h5store_blob_map(blob, &data, &box_err)); /* it is marked */
    h5store_blob_close(blob);
    ck_assert_uint_gt(box_verify(store), 0);
    box_set(store, "m/f", "one", SIZE, 1);
    BOX_OK(h5store_item_open(store, "m/f", "two", &item, &box_err));
    box_expect(h5store_item_blob(item, 0), SIZE, 1);
    BOX_OK(h5store_blob_map(h5store_item_blob(item, 0), &data, &box_err));
    ck_assert_mem_eq(data, array.data, SIZE);
    h5store_item_close(item);
    ck_assert_uint_eq(box_totals(store).blobs, 1);
    box_expect_verified(store);
    free(bytes);
    box_free(&array);
}
END_TEST

START_TEST(mark_survives_closing)
{
    h5store_id id = box_put(store, 5000, 1, NULL);
    unsigned char bytes[5000];
    h5store_blob *blob = open_blob(store, &id);

    box_flip(box_path(), box_offset(store, &id));
    BOX_FAILS(H5STORE_E_DAMAGED,
              h5store_blob_read(blob, bytes, 5000, H5STORE_CHECK_FAST, &box_err));
    h5store_blob_close(blob);
    box_close(store);
    ck_assert_int_eq(box_run("h5dump -A '%s' | grep -q damaged", box_path()), 0);
    store = box_open(0);
    box_put(store, 5000, 1, NULL);
    box_close(store);
    ck_assert_int_ne(box_run("h5dump -A '%s' | grep -q damaged", box_path()), 0);
    store = box_open(0);
    box_expect_put(store, &id, 5000, 1);
    box_expect_verified(store);
}
END_TEST

/* The bytes of small arrays are in HDF5's metadata, which HDF5 does not check everywhere. */
START_TEST(damaged_inline_array_is_mended)
{
    h5store_id id = box_put(store, 300, 1, NULL);
    unsigned char bytes[300] = {0};
    char text[H5STORE_ID_TEXT_SIZE], path[100];
    h5store_blob *blob;
    hid_t file, dataset;
    int code;

    h5store_id_format(&id, text);
    box_close(store);
    file = H5Fopen(box_path(), H5F_ACC_RDWR, H5P_DEFAULT);
    snprintf(path, sizeof path, "/blobs/%.2s/%s", text, text);
    dataset = H5Dopen2(file, path, H5P_DEFAULT);
    ck_assert_int_ge(H5Dwrite(dataset, H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes), 0);
    H5Dclose(dataset);
    H5Fclose(file);
    store = box_open(0);
    blob = open_blob(store, &id);
    BOX_FAILS(H5STORE_E_DAMAGED, h5store_blob_read(blob, bytes, 300, H5STORE_CHECK_FAST, &box_err));
    h5store_blob_close(blob);
    ck_assert_uint_gt(box_verify(store), 0);
    box_put(store, 300, 1, &code);
    ck_assert_int_eq(code, H5STORE_EXISTS);
    box_expect_put(store, &id, 300, 1);
    box_expect_verified(store);
}
END_TEST

/* Cut off behind our back while it is open. */
START_TEST(file_that_lost_its_end_is_noticed)
{
    h5store_id id = box_put(store, SIZE, 1, NULL);
    unsigned char *bytes = malloc(SIZE);
    h5store_blob *blob = open_blob(store, &id);
    const void *data;

    ck_assert_int_eq(truncate(box_path(), (off_t)box_offset(store, &id) + 1000000), 0);
    BOX_FAILS(H5STORE_E_DAMAGED,
              h5store_blob_read(blob, bytes, SIZE, H5STORE_CHECK_NEVER, &box_err));
    BOX_FAILS(H5STORE_E_DAMAGED,
              h5store_blob_read(blob, bytes, SIZE, H5STORE_CHECK_FAST, &box_err));
    BOX_FAILS(H5STORE_E_DAMAGED, h5store_blob_map(blob, &data, &box_err));
    h5store_blob_close(blob);
    free(bytes);
}
END_TEST

Suite *
reader_suite(void)
{
    Suite *suite = suite_create("reader");
    TCase *reading = tcase_create("reading");
    TCase *healing = tcase_create("healing");

    tcase_add_checked_fixture(reading, setup, teardown);
    tcase_set_timeout(reading, 60);
    tcase_add_test(reading, missing_arguments_are_refused);
    tcase_add_test(reading, info_tells_everything);
    tcase_add_test(reading, offset_is_where_the_bytes_are);
    tcase_add_test(reading, mapping_is_the_same_each_time);
    tcase_add_loop_test(reading, open_blob_keeps_its_bytes, 0, 2);
    tcase_add_checked_fixture(healing, setup, teardown);
    tcase_set_timeout(healing, 60);
    tcase_add_test(healing, flipped_byte_is_noticed_wherever_it_is);
    tcase_add_test(healing, damaged_blob_is_mended_by_the_next_put);
    tcase_add_test(healing, mark_survives_closing);
    tcase_add_test(healing, damaged_inline_array_is_mended);
    tcase_add_test(healing, file_that_lost_its_end_is_noticed);
    suite_add_tcase(suite, reading);
    suite_add_tcase(suite, healing);
    return suite;
}
