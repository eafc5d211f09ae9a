/* SPDX-License-Identifier: MIT */
/*
 * Putting, and changes that are made together or not at all: seen through the public API and,
 * after closing, through stock tools.
 */
#include "support/child.h"
#include "support/container.h"
#include "support/fixture.h"
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *batch_suite(void);

static h5store *store;

static void
setup(void)
{
    box_setup();
    store = box_open(H5STORE_CREATE);
}

/* Whatever a test did, the container must be sound afterwards. */
static void
teardown(void)
{
    box_expect_verified(store);
    box_close(store);
    ck_assert_int_eq(box_size(box_log_path()), -1);
    ck_assert_int_eq(box_run("h5ls -r '%s'", box_path()), 0);
    box_teardown();
}

static bool
has_blob(const h5store_id *id)
{
    h5store_blob *blob;
    int rc = h5store_blob_open(store, id, &blob, &box_err);

    ck_assert_msg(rc == H5STORE_OK || rc == H5STORE_E_NOT_FOUND, "%s", box_err.message);
    if (rc == H5STORE_OK)
        h5store_blob_close(blob);
    return rc == H5STORE_OK;
}

/* ---- putting ------------------------------------------------------------------------ */

START_TEST(array_is_stored_once)
{
    int code;
    h5store_id first = box_put(store, 100000, 1, &code), again;
    uint64_t size;

    ck_assert_int_eq(code, H5STORE_OK);
    size = box_totals(store).file_size;
    again = box_put(store, 100000, 1, &code);
    ck_assert_int_eq(code, H5STORE_EXISTS);
    ck_assert_int_eq(h5store_id_equal(&first, &again), 1);
    ck_assert_uint_eq(box_totals(store).file_size, size);
    ck_assert_uint_eq(box_totals(store).blobs, 1);
    box_expect_put(store, &first, 100000, 1);
}
END_TEST

/* Sizes round the borders: nothing, inline, a page, a piece, a chunk, several chunks. */
START_TEST(array_of_any_size_comes_back)
{
    static const size_t sizes[] = {0,      1,      511,    512,     513,     4095,    4096,   4097,
                                   262143, 262144, 262145, 1048575, 1048576, 1048577, 5000000};
    h5store_id id = box_put(store, sizes[_i], 3, NULL), same;
    h5store_array array = box_array(sizes[_i], 3);
    h5store_blob *blob;
    const void *data;

    BOX_OK(h5store_hash(&array, 0, &same, &box_err));
    ck_assert_int_eq(h5store_id_equal(&id, &same), 1);
    BOX_OK(h5store_hash(&array, 1, &same, &box_err));
    ck_assert_int_eq(h5store_id_equal(&id, &same), 1);
    box_expect_put(store, &id, sizes[_i], 3);
    BOX_OK(h5store_blob_open(store, &id, &blob, &box_err));
    BOX_OK(h5store_blob_map(blob, &data, &box_err));
    ck_assert(sizes[_i] == 0 || memcmp(data, array.data, sizes[_i]) == 0);
    ck_assert_uint_eq((uintptr_t)data % (sizes[_i] > 512 ? 4096 : 1), 0);
    h5store_blob_close(blob);
    box_close(store);
    store = box_open(0);
    box_expect_put(store, &id, sizes[_i], 3);
    box_free(&array);
}
END_TEST

/* HDF5's own driver reads the numbers of a closed container. */
START_TEST(stock_hdf5_reads_the_array)
{
    double numbers[300][50], read[300][50];
    h5store_array array = {
        .dtype = "'<f8'", .rank = 2, .shape = {300, 50}, .nbytes = sizeof numbers, .data = numbers};
    char text[H5STORE_ID_TEXT_SIZE], path[100];
    hsize_t dims[2];
    h5store_id id;
    hid_t file, dataset, space;

    for (int i = 0; i < 300; i++)
        for (int j = 0; j < 50; j++)
            numbers[i][j] = i * 1000 + j / 7.0;
    BOX_OK(h5store_put(store, &array, &id, &box_err));
    BOX_OK(h5store_flush(store, &box_err));
    h5store_id_format(&id, text);
    snprintf(path, sizeof path, "/blobs/%.2s/%s", text, text);
    file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);
    ck_assert_int_ge(file, 0);
    dataset = H5Dopen2(file, path, H5P_DEFAULT);
    ck_assert_int_ge(dataset, 0);
    space = H5Dget_space(dataset);
    ck_assert_int_eq(H5Sget_simple_extent_dims(space, dims, NULL), 2);
    ck_assert_uint_eq(dims[0], 300);
    ck_assert_uint_eq(dims[1], 50);
    ck_assert_int_ge(H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, read), 0);
    ck_assert_mem_eq(read, numbers, sizeof numbers);
    H5Sclose(space);
    H5Dclose(dataset);
    H5Fclose(file);
}
END_TEST

/* The order is part of what the bytes mean; where it means nothing it makes no other blob. */
START_TEST(order_belongs_to_the_name)
{
    float grid[6][4] = {{1, 2}, {3}};
    h5store_array array = {"'<f4'", H5STORE_ORDER_C, 2, {6, 4}, sizeof grid, grid, NULL};
    const h5store_blob_info *info;
    h5store_id c, f, flat, flat_f;
    h5store_blob *blob;

    BOX_OK(h5store_put(store, &array, &c, &box_err));
    array.order = H5STORE_ORDER_F;
    BOX_OK(h5store_put(store, &array, &f, &box_err));
    ck_assert_int_eq(h5store_id_equal(&c, &f), 0);
    BOX_OK(h5store_blob_open(store, &f, &blob, &box_err));
    info = h5store_blob_get_info(blob);
    ck_assert_int_eq(info->array.order, H5STORE_ORDER_F);
    ck_assert_int_eq(info->array.rank, 2);
    ck_assert_uint_eq(info->array.shape[0], 6);
    ck_assert_uint_eq(info->array.shape[1], 4);
    ck_assert_str_eq(info->array.dtype, "'<f4'");
    ck_assert_ptr_null(info->array.data);
    h5store_blob_close(blob);
    array = (h5store_array){"'<f4'", H5STORE_ORDER_C, 2, {24, 1}, sizeof grid, grid, NULL};
    BOX_OK(h5store_put(store, &array, &flat, &box_err));
    array.order = H5STORE_ORDER_F;
    ck_assert_int_eq(h5store_put(store, &array, &flat_f, &box_err), H5STORE_EXISTS);
    ck_assert_int_eq(h5store_id_equal(&flat, &flat_f), 1);
}
END_TEST

START_TEST(bad_array_is_refused_and_the_batch_goes_on)
{
    h5store_array good = box_array(1000, 1), bad;
    h5store_batch *batch = box_begin(store);
    h5store_id id = {{0}};

    bad = good, bad.nbytes = 999;
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_put(batch, &bad, &id, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_hash(&bad, 0, &id, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_put(store, &bad, &id, &box_err));
    bad = good, bad.dtype = "'|O'";
    BOX_FAILS(H5STORE_E_UNSUPPORTED, h5store_batch_put(batch, &bad, &id, &box_err));
    BOX_FAILS(H5STORE_E_UNSUPPORTED, h5store_hash(&bad, 0, &id, &box_err));
    bad = good, bad.data = NULL;
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_put(batch, &bad, &id, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_hash(&bad, 0, &id, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_hash(NULL, 0, &id, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_hash(&good, 0, NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_put(batch, NULL, &id, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_put(batch, &good, NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_put(NULL, &good, &id, &box_err));
    for (int i = 0; i < H5STORE_ID_SIZE; i++)
        ck_assert_uint_eq(id.bytes[i], 0);
    BOX_OK(h5store_batch_put(batch, &good, &id, &box_err));
    box_set_in(batch, "c", "k", &id, 1);
    BOX_OK(h5store_batch_commit(batch, &box_err));
    box_expect_put(store, &id, 1000, 1);
    box_free(&good);
}
END_TEST

/* Sizes of all kinds, more than go at once, equal ones among them, some known already. */
#define MANY 150
static size_t
size_of_many(int i)
{
    static const size_t sizes[] = {0, 512, 513, 5000, 70000, 1048576, 3000001, 5000000};

    return sizes[i * 7 % 50 % 8];
}

static unsigned
seed_of_many(int i)
{
    return (unsigned)(i % 11);
}

START_TEST(arrays_are_put_all_at_once)
{
    h5store_array arrays[MANY];
    h5store_id ids[MANY], same;
    h5store_batch *batch;
    unsigned looked = 0;

    for (int i = 0; i < MANY; i++)
        arrays[i] = box_array(size_of_many(i), seed_of_many(i));
    box_put(store, size_of_many(3), seed_of_many(3), NULL);
    for (int round = 0; round < 2; round++) { /* the second time all are known */
        batch = box_begin(store);
        box_put_in(batch, size_of_many(5), seed_of_many(5),
                   round == 0 ? H5STORE_OK : H5STORE_EXISTS);
        BOX_OK(h5store_batch_compress(batch, _i, &box_err));
        BOX_OK(h5store_batch_put_all(batch, arrays, MANY, ids, &box_err));
        box_set_in(batch, "c", round == 0 ? "one" : "two", ids, MANY);
        BOX_OK(h5store_batch_commit(batch, &box_err));
        for (int i = 0; i < MANY; i++, looked++) {
            BOX_OK(h5store_hash(&arrays[i], 0, &same, &box_err));
            ck_assert_int_eq(h5store_id_equal(&ids[i], &same), 1);
            box_expect_put(store, &ids[i], size_of_many(i), seed_of_many(i));
        }
    }
    ck_assert_uint_eq(looked, 2 * MANY);
    for (int i = 0; i < MANY; i++)
        box_free(&arrays[i]);
}
END_TEST

START_TEST(bad_array_among_many_is_refused_and_the_batch_goes_on)
{
    h5store_array arrays[9];
    h5store_id ids[9];
    h5store_batch *batch = box_begin(store);
    uint64_t size = box_totals(store).file_size;

    for (int i = 0; i < 9; i++)
        arrays[i] = box_array(300000, (unsigned)i);
    arrays[_i].nbytes--;
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_put_all(batch, arrays, 9, ids, &box_err));
    arrays[_i].nbytes++;
    ck_assert_uint_eq(box_totals(store).file_size, size); /* seen before any is written */
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_put_all(NULL, arrays, 9, ids, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_put_all(batch, NULL, 9, ids, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_put_all(batch, arrays, 9, NULL, &box_err));
    BOX_OK(h5store_batch_put_all(batch, NULL, 0, NULL, &box_err));
    BOX_OK(h5store_batch_put_all(batch, arrays, 9, ids, &box_err));
    box_set_in(batch, "c", "k", ids, 9);
    BOX_OK(h5store_batch_commit(batch, &box_err));
    for (int i = 0; i < 9; i++) {
        box_expect_put(store, &ids[i], 300000, (unsigned)i);
        box_free(&arrays[i]);
    }
}
END_TEST

START_TEST(kept_array_stays_until_it_is_discarded)
{
    h5store_id id = box_put(store, 50000, 1, NULL), other = box_put(store, 60000, 2, NULL);

    box_set(store, "c", "k", 50000, 1);
    box_remove(store, "c", "k");
    ck_assert(has_blob(&id));
    box_set(store, "c", "k", 50000, 1);
    BOX_OK(h5store_discard(store, &id, &box_err));
    ck_assert(has_blob(&id)); /* the item has it */
    BOX_FAILS(H5STORE_E_NOT_FOUND, h5store_discard(store, &id, &box_err));
    box_remove(store, "c", NULL);
    ck_assert(!has_blob(&id));
    BOX_FAILS(H5STORE_E_NOT_FOUND, h5store_discard(store, &id, &box_err));
    ck_assert(has_blob(&other));
}
END_TEST

/* ---- together or not at all ----------------------------------------------------------- */

START_TEST(nothing_is_seen_before_the_commit)
{
    h5store_batch *batch = box_begin(store);
    h5store_id big = box_put_in(batch, 300000, 1, H5STORE_OK),
               small = box_put_in(batch, 20, 2, H5STORE_OK);
    h5store_id ids[2] = {big, small};

    ck_assert_int_eq(h5store_id_equal(&big, &small), 0);
    box_put_in(batch, 300000, 1, H5STORE_EXISTS);
    box_set_in(batch, "m/f", "k", ids, 2);
    BOX_OK(h5store_batch_set_source(batch, "m/f", "def f(): pass", &box_err));
    ck_assert(!has_blob(&big) && !has_blob(&small) && !box_has_item(store, "m/f", "k"));
    ck_assert_uint_eq(box_totals(store).blobs, 0);
    BOX_OK(h5store_batch_commit(batch, &box_err));
    ck_assert(has_blob(&big) && has_blob(&small) && box_has_item(store, "m/f", "k"));
    box_expect_item(store, "m/f", "k", "out", 3, "{}", 2);
}
END_TEST

START_TEST(aborted_batch_leaves_nothing)
{
    h5store_batch *batch = box_begin(store);
    h5store_totals before = box_totals(store), after;
    h5store_id id = box_put_in(batch, 2000000, 1, H5STORE_OK);

    box_set_in(batch, "m/f", "k", &id, 1);
    h5store_batch_abort(batch);
    h5store_batch_abort(NULL);
    ck_assert(!has_blob(&id) && !box_has_item(store, "m/f", "k"));
    after = box_totals(store);
    ck_assert_uint_eq(after.items + after.blobs + after.links, 0);
    BOX_OK(h5store_flush(store, &box_err)); /* its space came back, and is not on disk */
    after = box_totals(store);
    ck_assert_uint_le(after.file_size - after.free_bytes, before.file_size + 200000);
    ck_assert_uint_lt(after.disk_bytes, before.disk_bytes + 1000000);
    box_put(store, 2000000, 2, NULL);
    ck_assert_uint_lt(box_totals(store).free_bytes, 2000000);
}
END_TEST

/* One thing of many cannot be done: nothing of it is. */
START_TEST(failed_commit_changes_nothing)
{
    h5store_id nowhere = {{1, 2, 3}}, good;
    h5store_batch *batch;
    h5store_totals before, after;

    box_set(store, "m/f", "old", 40000, 1);
    before = box_totals(store);
    batch = box_begin(store);
    good = box_put_in(batch, 50000, 2, H5STORE_OK);
    box_set_in(batch, "m/f", "new", &good, 1);
    BOX_OK(h5store_batch_remove(batch, "m/f", "old", &box_err));
    BOX_OK(h5store_batch_set_source(batch, "m/f", "text", &box_err));
    box_set_in(batch, "m/f", "bad", &nowhere, 1);
    BOX_FAILS(H5STORE_E_NOT_FOUND, h5store_batch_commit(batch, &box_err));
    ck_assert(box_has_item(store, "m/f", "old") && !box_has_item(store, "m/f", "new") &&
              !box_has_item(store, "m/f", "bad"));
    ck_assert(!has_blob(&good));
    after = box_totals(store);
    ck_assert_uint_eq(after.items, before.items);
    ck_assert_uint_eq(after.blobs, before.blobs);
    ck_assert_uint_eq(after.links, before.links);
    box_set(store, "m/f", "next", 1000, 3);
    box_expect_verified(store);
}
END_TEST

START_TEST(array_that_no_item_takes_goes)
{
    h5store_batch *batch = box_begin(store);
    h5store_id id = box_put_in(batch, 50000, 1, H5STORE_OK);

    BOX_OK(h5store_batch_commit(batch, &box_err));
    ck_assert(!has_blob(&id));
    ck_assert_uint_eq(box_totals(store).blobs, 0);
    ck_assert_uint_eq(box_totals(store).blob_bytes, 0);
}
END_TEST

/* Found present by the put, removed by another before the commit: it is put back. */
START_TEST(blob_that_is_removed_meanwhile_is_put_back)
{
    size_t size = _i == 0 ? 300000 : 300;
    h5store *other = box_open(0);
    h5store_batch *batch;
    h5store_id id;

    box_set(store, "m/f", "old", size, 1);
    batch = box_begin(store);
    id = box_put_in(batch, size, 1, H5STORE_EXISTS);
    box_remove(other, NULL, NULL);
    BOX_OK(h5store_flush(other, &box_err));
    ck_assert(!has_blob(&id));
    box_set_in(batch, "m/f", "new", &id, 1);
    BOX_OK(h5store_batch_commit(batch, &box_err));
    box_expect_put(store, &id, size, 1);
    box_expect_verified(store);
    box_close(other);
}
END_TEST

/* Two write the same array at the same time: one dataset, the other's space comes back. */
START_TEST(two_batches_with_the_same_array)
{
    h5store *other = box_open(0);
    h5store_batch *mine = box_begin(store), *theirs;
    h5store_array array = box_array(400000, 1);
    h5store_item_spec spec = {"m/g", "k", NULL, 0, NULL, NULL, 1};
    h5store_id id = box_put_in(mine, 400000, 1, H5STORE_OK), same;

    BOX_OK(h5store_batch_begin(other, &theirs, &box_err));
    ck_assert_int_eq(BOX_OK(h5store_batch_put(theirs, &array, &same, &box_err)), H5STORE_OK);
    spec.links = &same;
    BOX_OK(h5store_batch_set_item(theirs, &spec, &box_err));
    BOX_OK(h5store_batch_commit(theirs, &box_err));
    box_set_in(mine, "m/f", "k", &id, 1);
    BOX_OK(h5store_batch_commit(mine, &box_err));
    ck_assert_uint_eq(box_totals(store).blobs, 1);
    ck_assert_uint_eq(box_totals(store).links, 2);
    BOX_OK(h5store_flush(store, &box_err));
    ck_assert_uint_ge(box_totals(store).free_bytes, 400000);
    box_expect_put(store, &id, 400000, 1);
    box_free(&array);
    box_close(other);
}
END_TEST

/* ---- arguments ------------------------------------------------------------------------ */

START_TEST(missing_arguments_are_refused)
{
    h5store_id id = {{0}};
    h5store_item_spec spec = {"c", "k", "x", 1, "{}", &id, 0}, bad;
    h5store_batch *batch = box_begin(store);
    h5store_item *item;
    char *text;

    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_begin(NULL, &batch, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_begin(store, NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_item(NULL, &spec, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_item(batch, NULL, &box_err));
    bad = spec, bad.collection = NULL;
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_item(batch, &bad, &box_err));
    bad = spec, bad.key = NULL;
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_item(batch, &bad, &box_err));
    bad = spec, bad.output = NULL;
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_item(batch, &bad, &box_err));
    bad = spec, bad.links = NULL, bad.link_count = 1;
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_item(batch, &bad, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_metadata(NULL, "c", "k", "{}", &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_metadata(batch, NULL, "k", "{}", &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_metadata(batch, "c", NULL, "{}", &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_metadata(batch, "c", "k", NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_times(NULL, "c", "k", 1, 1, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_times(batch, NULL, "k", 1, 1, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_times(batch, "c", NULL, 1, 1, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_times(batch, "c", "a/b", 1, 1, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_source(NULL, "c", "x", &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_source(batch, NULL, "x", &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_remove(NULL, "c", "k", &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_remove(batch, NULL, "k", &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_commit(NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_item_has(NULL, "c", "k", &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_item_has(store, NULL, "k", &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_item_has(store, "c", NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_item_open(NULL, "c", "k", &item, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_item_open(store, "c", "k", NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_item_get_metadata(store, "c", "k", NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_item_get_metadata(NULL, "c", "k", &text, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_get_source(store, "c", NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_get_source(NULL, "c", &text, &box_err));
    BOX_FAILS(H5STORE_E_NOT_FOUND, h5store_item_open(store, "c", "k", &item, &box_err));
    BOX_FAILS(H5STORE_E_NOT_FOUND, h5store_item_get_metadata(store, "c", "k", &text, &box_err));
    h5store_item_close(NULL);
    BOX_OK(h5store_batch_commit(batch, &box_err)); /* empty, and no failure */
}
END_TEST

/* ---- space ---------------------------------------------------------------------------- */

/* Results that replace each other without a pause: the space of the old ones comes back while
 * that goes on, or the file would grow for hours.  The test's timeout is the limit. */
START_TEST(replaced_results_give_their_space_back)
{
    unsigned rounds = 0;

    do {
        box_set(store, "m/f", "k", 4000 + rounds % 7, rounds);
        usleep(2000);
        rounds++;
    } while (box_totals(store).free_bytes < 100000);
    ck_assert_uint_ge(rounds, 25);
    ck_assert_uint_eq(box_totals(store).blobs, 1);
}
END_TEST

START_TEST(removed_results_give_their_space_back)
{
    uint64_t full, empty;

    for (unsigned i = 0; i < 10; i++)
        box_put(store, 1000000, i, NULL);
    BOX_OK(h5store_flush(store, &box_err));
    full = box_totals(store).disk_bytes;
    for (unsigned i = 0; i < 10; i++) {
        h5store_array array = box_array(1000000, i);
        h5store_id id;

        BOX_OK(h5store_hash(&array, 1, &id, &box_err));
        BOX_OK(h5store_discard(store, &id, &box_err));
        box_free(&array);
    }
    BOX_OK(h5store_flush(store, &box_err)); /* a removal takes no long time for its holes */
    empty = box_totals(store).disk_bytes;
    ck_assert_msg(empty + 9000000 < full, "%llu of %llu bytes are in use still",
                  (unsigned long long)empty, (unsigned long long)full);
    BOX_OK(h5store_flush(store, &box_err));
    ck_assert_uint_le(box_totals(store).file_size - box_totals(store).free_bytes, 400000);
}
END_TEST

/* ---- processes ------------------------------------------------------------------------- */

#define WRITERS 4
#define ROUNDS 60

/* Sets, replaces, reads and removes items that the others also use. */
static int
work(child *parent, void *context)
{
    h5store *mine = box_open(0);
    uint64_t state = *(uint64_t *)context, done = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned seed = (unsigned)(fixture_random(&state) % 20);
        h5store_item *item;
        char key[8];
        int rc;

        snprintf(key, sizeof key, "k%u", seed);
        switch (fixture_random(&state) % 4) {
        case 0:
            box_remove(mine, "shared", key);
            break;
        case 1:
            rc = h5store_item_open(mine, "shared", key, &item, &box_err);
            child_assert(rc == H5STORE_OK || rc == H5STORE_E_NOT_FOUND);
            if (rc != H5STORE_OK)
                continue;
            box_expect(h5store_item_blob(item, 0), 30000, seed);
            h5store_item_close(item);
            break;
        default:
            box_set(mine, "shared", key, 30000, seed);
            break;
        }
        done++;
    }
    child_tell(parent, done);
    box_close(mine);
    return 0;
}

START_TEST(processes_share_a_container)
{
    uint64_t states[WRITERS], done = 0;
    child *children[WRITERS];

    box_close(store); /* the children must not inherit HDF5's state in use */
    for (unsigned i = 0; i < WRITERS; i++) {
        states[i] = i;
        children[i] = child_start(work, &states[i]);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        done += child_hear(children[i]);
        ck_assert_int_eq(child_wait(children[i]), 0);
    }
    ck_assert_uint_gt(done, WRITERS * ROUNDS / 2);
    store = box_open(0);
    ck_assert_str_eq(h5store_notice(store), "");
}
END_TEST

Suite *
batch_suite(void)
{
    Suite *suite = suite_create("batch");
    TCase *putting = tcase_create("putting");
    TCase *together = tcase_create("together");
    TCase *arguments = tcase_create("arguments");
    TCase *space = tcase_create("space");

    tcase_add_checked_fixture(putting, setup, teardown);
    tcase_set_timeout(putting, 60);
    tcase_add_test(putting, array_is_stored_once);
    tcase_add_loop_test(putting, array_of_any_size_comes_back, 0, 15);
    tcase_add_test(putting, stock_hdf5_reads_the_array);
    tcase_add_test(putting, order_belongs_to_the_name);
    tcase_add_test(putting, bad_array_is_refused_and_the_batch_goes_on);
    tcase_add_loop_test(putting, arrays_are_put_all_at_once, 0, 2);
    tcase_add_loop_test(putting, bad_array_among_many_is_refused_and_the_batch_goes_on, 0, 9);
    tcase_add_test(putting, kept_array_stays_until_it_is_discarded);
    tcase_add_checked_fixture(together, setup, teardown);
    tcase_set_timeout(together, 60);
    tcase_add_test(together, nothing_is_seen_before_the_commit);
    tcase_add_test(together, aborted_batch_leaves_nothing);
    tcase_add_test(together, failed_commit_changes_nothing);
    tcase_add_test(together, array_that_no_item_takes_goes);
    tcase_add_loop_test(together, blob_that_is_removed_meanwhile_is_put_back, 0, 2);
    tcase_add_test(together, two_batches_with_the_same_array);
    tcase_add_test(together, processes_share_a_container);
    tcase_add_checked_fixture(arguments, setup, teardown);
    tcase_add_test(arguments, missing_arguments_are_refused);
    tcase_add_checked_fixture(space, setup, teardown);
    tcase_set_timeout(space, 120);
    tcase_add_test(space, replaced_results_give_their_space_back);
    tcase_add_test(space, removed_results_give_their_space_back);
    suite_add_tcase(suite, putting);
    suite_add_tcase(suite, together);
    suite_add_tcase(suite, arguments);
    suite_add_tcase(suite, space);
    return suite;
}
