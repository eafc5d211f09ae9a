/* SPDX-License-Identifier: MIT */
/*
 * Putting one array: whatever its strides, it is stored as its copy would be; and bytes that
 * change under way are never stored under another name.
 */
#include "os.h"
#include "put.h"
#include "suites.h"
#include "support/container.h"
#include "support/core.h"
#include "support/fixture.h"
#include <errno.h>
#include <stdlib.h>

#define ROWS 1500u
#define COLUMNS 600u /* every other of which is stored: 3.6 MB */

static h5store *store;
static double *grid, *copy;
static const int64_t strides[] = {-(int64_t)(COLUMNS * sizeof(double)), 2 * sizeof(double)};

static void
setup(void)
{
    box_setup();
    store = box_open(H5STORE_CREATE);
    grid = malloc(ROWS * COLUMNS * sizeof *grid);
    copy = malloc(ROWS * COLUMNS / 2 * sizeof *copy);
    ck_assert(grid != NULL && copy != NULL);
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        grid[i] = (double)i;
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < COLUMNS / 2; j++)
            copy[i * (COLUMNS / 2) + j] = grid[(ROWS - 1 - i) * COLUMNS + 2 * j];
}

static void
teardown(void)
{
    box_expect_verified(store);
    box_close(store);
    free(grid);
    free(copy);
    box_teardown();
}

/* Every other column, the last row first. */
static h5store_array
sliced(void)
{
    return (h5store_array){.dtype = "'<f8'",
                           .rank = 2,
                           .shape = {ROWS, COLUMNS / 2},
                           .nbytes = ROWS * COLUMNS / 2 * sizeof(double),
                           .data = grid + (ROWS - 1) * COLUMNS,
                           .strides = strides};
}

static h5store_array
copied(void)
{
    h5store_array array = sliced();

    array.data = copy;
    array.strides = NULL;
    return array;
}

static void
expect_copy(const h5store_id *id)
{
    h5store_array array = copied();
    double *back = malloc(array.nbytes);
    h5store_blob *blob;

    ck_assert_ptr_nonnull(back);
    BOX_OK(h5store_blob_open(store, id, &blob, &box_err));
    BOX_OK(h5store_blob_read(blob, back, array.nbytes, H5STORE_CHECK_FULL, &box_err));
    ck_assert_mem_eq(back, copy, array.nbytes);
    ck_assert_ptr_null(h5store_blob_get_info(blob)->array.strides);
    h5store_blob_close(blob);
    free(back);
}

START_TEST(array_with_strides_is_stored_as_its_copy)
{
    h5store_array array = sliced(), plain = copied();
    h5store_id id, same;

    ck_assert_int_eq(BOX_OK(h5store_put(store, &array, &id, &box_err)), H5STORE_OK);
    expect_copy(&id);
    ck_assert_int_eq(BOX_OK(h5store_put(store, &plain, &same, &box_err)), H5STORE_EXISTS);
    ck_assert_int_eq(h5store_id_equal(&id, &same), 1);
    BOX_OK(h5store_hash(&array, 0, &same, &box_err));
    ck_assert_int_eq(h5store_id_equal(&id, &same), 1);
    ck_assert_int_eq(BOX_OK(h5store_put(store, &array, &same, &box_err)), H5STORE_EXISTS);
}
END_TEST

/* Put before, so that it is hashed first; removed since, so that it is then written. */
START_TEST(array_that_is_written_after_hashing_is_right)
{
    h5store_array array = sliced();
    h5store_id id, same;

    BOX_OK(h5store_put(store, &array, &id, &box_err));
    BOX_OK(h5store_discard(store, &id, &box_err));
    ck_assert_int_eq(BOX_OK(h5store_put(store, &array, &same, &box_err)), H5STORE_OK);
    ck_assert_int_eq(h5store_id_equal(&id, &same), 1);
    expect_copy(&id);
}
END_TEST

START_TEST(damaged_blob_is_mended_from_strides)
{
    h5store_array array = sliced();
    h5store_blob *blob;
    h5store_id id;

    BOX_OK(h5store_put(store, &array, &id, &box_err));
    box_flip(box_path(), box_offset(store, &id) + 1000000);
    BOX_OK(h5store_blob_open(store, &id, &blob, &box_err));
    BOX_FAILS(H5STORE_E_DAMAGED,
              h5store_blob_read(blob, copy, array.nbytes, H5STORE_CHECK_FAST, &box_err));
    h5store_blob_close(blob);
    for (size_t i = 0; i < ROWS; i++) /* what was read is not what was put */
        for (size_t j = 0; j < COLUMNS / 2; j++)
            copy[i * (COLUMNS / 2) + j] = grid[(ROWS - 1 - i) * COLUMNS + 2 * j];
    BOX_OK(h5store_put(store, &array, &id, &box_err));
    expect_copy(&id);
}
END_TEST

START_TEST(few_bytes_with_strides_are_stored_inline)
{
    h5store_array array = sliced();
    double back[20];
    h5store_blob *blob;
    h5store_id id;

    array.shape[0] = 4;
    array.shape[1] = 5;
    array.nbytes = sizeof back;
    BOX_OK(h5store_put(store, &array, &id, &box_err));
    BOX_OK(h5store_blob_open(store, &id, &blob, &box_err));
    BOX_OK(h5store_blob_read(blob, back, sizeof back, H5STORE_CHECK_FULL, &box_err));
    h5store_blob_close(blob);
    for (size_t i = 0; i < 20; i++)
        ck_assert_double_eq(back[i], copy[i / 5 * (COLUMNS / 2) + i % 5]);
}
END_TEST

START_TEST(strides_with_order_f_are_refused)
{
    h5store_array array = sliced();
    h5store_id id;

    array.order = H5STORE_ORDER_F;
    BOX_FAILS(H5STORE_E_INVALID, h5store_put(store, &array, &id, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_hash(&array, 0, &id, &box_err));
}
END_TEST

/* ---- arrays that were put before ---------------------------------------------------------- */

/* Far from the places of which probe.c takes samples. */
#define BETWEEN_SAMPLES (ROWS * COLUMNS / 2 / 8 * 3)

static void
put_copy(int expected, h5store_id *id)
{
    h5store_array array = copied();

    ck_assert_int_eq(BOX_OK(h5store_put(store, &array, id, &box_err)), expected);
}

/* Two of them at a time, as the arrays of one result. */
static void
put_copies(h5store_id ids[2])
{
    h5store_array arrays[2] = {copied(), copied()};
    h5store_item_spec spec = {
        .collection = "m/f", .key = "k", .output = "", .links = ids, .link_count = 2};
    h5store_batch *batch;

    BOX_OK(h5store_batch_begin(store, &batch, &box_err));
    BOX_OK(h5store_batch_put_all(batch, arrays, 2, ids, &box_err));
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
}

START_TEST(arrays_that_look_alike_are_told_apart)
{
    h5store_id first, second, again, both[2];

    put_copy(H5STORE_OK, &first);
    copy[BETWEEN_SAMPLES] += 1;
    put_copy(H5STORE_OK, &second);
    ck_assert_int_eq(h5store_id_equal(&first, &second), 0);
    expect_copy(&second);
    put_copy(H5STORE_EXISTS, &again);
    ck_assert_int_eq(h5store_id_equal(&second, &again), 1);
    put_copies(both);
    ck_assert_int_eq(h5store_id_equal(&second, &both[0]), 1);
    ck_assert_int_eq(h5store_id_equal(&second, &both[1]), 1);

    copy[BETWEEN_SAMPLES] -= 1;
    put_copies(both);
    ck_assert_int_eq(h5store_id_equal(&first, &both[0]), 1);
    ck_assert_int_eq(h5store_id_equal(&first, &both[1]), 1);
    expect_copy(&first);
}
END_TEST

/* Only a put that looks at the bytes in the file can notice: nobody has read them. */
START_TEST(damage_is_noticed_and_mended_when_the_array_is_put_again)
{
    h5store_id id, both[2];

    put_copy(H5STORE_OK, &id);
    box_flip(box_path(), box_offset(store, &id) + 2500000);
    if (_i == 0)
        put_copy(H5STORE_EXISTS, &id);
    else
        put_copies(both);
    expect_copy(&id);
}
END_TEST

START_TEST(array_of_another_form_is_not_taken_for_the_known_one)
{
    h5store_array turned = copied();
    h5store_id id, other;

    put_copy(H5STORE_OK, &id);
    turned.shape[0] = COLUMNS / 2;
    turned.shape[1] = ROWS;
    ck_assert_int_eq(BOX_OK(h5store_put(store, &turned, &other, &box_err)), H5STORE_OK);
    ck_assert_int_eq(h5store_id_equal(&id, &other), 0);
}
END_TEST

static int asked_of_memory;

static ssize_t
nothing_is_cached(int fd HS_UNUSED, void *buffer HS_UNUSED, size_t size HS_UNUSED,
                  off_t offset HS_UNUSED)
{
    asked_of_memory++;
    errno = EAGAIN;
    return -1;
}

static ssize_t
half_is_cached(int fd, void *buffer, size_t size, off_t offset)
{
    asked_of_memory++;
    return hs_os_real.pread_cached(fd, buffer, size / 2, offset);
}

START_TEST(known_array_that_is_not_in_memory_is_hashed)
{
    struct hs_os_ops ops = hs_os_real;
    h5store_id id, same;

    put_copy(H5STORE_OK, &id);
    asked_of_memory = 0;
    ops.pread_cached = _i == 0 ? nothing_is_cached : half_is_cached;
    hs_os_set_ops(&ops);
    put_copy(H5STORE_EXISTS, &same);
    hs_os_set_ops(NULL);
    ck_assert_int_gt(asked_of_memory, 0);
    ck_assert_int_eq(h5store_id_equal(&id, &same), 1);
    expect_copy(&id);
}
END_TEST

/* ---- from inside: between naming and writing ------------------------------------------- */

/* A container that has seen the array, so that it is hashed first, but no longer has it. */
static hs_container *
container_that_saw(const h5store_array *array)
{
    hs_container *c = core_open(box_path(), 0, false);
    hs_put *put;
    bool found;

    BOX_OK(hs_put_begin(c, array, 0, &put, &box_err));
    BOX_OK(hs_put_store(c, put, array, 0, &found, &box_err));
    ck_assert_uint_gt(put->extent.length, 0);
    hs_put_abandon(c, put);
    hs_put_release(put);
    return c;
}

START_TEST(array_that_changes_after_it_was_named_is_refused)
{
    h5store_array array = _i % 2 == 0 ? copied() : sliced();
    int level = _i / 2; /* 1: to be packed */
    hs_container *c = container_that_saw(&array);
    hs_put *put;
    bool found;

    BOX_OK(hs_put_begin(c, &array, level, &put, &box_err));
    ck_assert_uint_eq(put->extent.length, 0); /* not written while it was hashed */
    (_i % 2 == 0 ? copy : grid)[ROWS / 2 * COLUMNS / 2] += 1;
    BOX_FAILS(H5STORE_E_INVALID, hs_put_store(c, put, &array, level, &found, &box_err));
    ck_assert_uint_eq(put->extent.length, 0);
    hs_put_release(put);
    BOX_OK(hs_container_close(c, &box_err));
}
END_TEST

Suite *
put_suite(void)
{
    Suite *suite = suite_create("put");
    TCase *all = tcase_create("all");

    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, array_with_strides_is_stored_as_its_copy);
    tcase_add_test(all, array_that_is_written_after_hashing_is_right);
    tcase_add_test(all, damaged_blob_is_mended_from_strides);
    tcase_add_test(all, few_bytes_with_strides_are_stored_inline);
    tcase_add_test(all, strides_with_order_f_are_refused);
    tcase_add_test(all, arrays_that_look_alike_are_told_apart);
    tcase_add_loop_test(all, damage_is_noticed_and_mended_when_the_array_is_put_again, 0, 2);
    tcase_add_test(all, array_of_another_form_is_not_taken_for_the_known_one);
    tcase_add_loop_test(all, known_array_that_is_not_in_memory_is_hashed, 0, 2);
    tcase_add_loop_test(all, array_that_changes_after_it_was_named_is_refused, 0, 4);
    suite_add_tcase(suite, all);
    return suite;
}
