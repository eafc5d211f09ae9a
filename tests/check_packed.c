/* SPDX-License-Identifier: MIT */
/*
 * Packed blobs, seen through the public API, through HDF5's own driver and filters, and from
 * inside: what a damaged index says is never believed.
 */
#include "packed.h"
#include "reader.h"
#include "suites.h"
#include "support/container.h"
#include "support/core.h"
#include "support/fixture.h"
#include <stdlib.h>
#include <unistd.h>

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
    box_expect_verified(store);
    box_close(store);
    ck_assert_int_eq(box_run("h5ls -r '%s'", box_path()), 0);
    box_teardown();
}

/* ---- arrays that get smaller ---------------------------------------------------------- */

#define ROWS 3001u
#define COLUMNS 503u /* neither divides a chunk: 12 MB of doubles */

static h5store_array
smooth(uint64_t rows, uint64_t columns, unsigned seed)
{
    double *numbers = malloc((size_t)(rows * columns) * sizeof *numbers);

    ck_assert_ptr_nonnull(numbers);
    for (uint64_t i = 0; i < rows * columns; i++)
        numbers[i] = (double)(i / 5 + seed);
    return (h5store_array){.dtype = "'<f8'",
                           .rank = 2,
                           .shape = {rows, columns},
                           .nbytes = rows * columns * sizeof *numbers,
                           .data = numbers};
}

static h5store_id
put_at(const h5store_array *array, int level, const char *key, int expected)
{
    h5store_item_spec spec = {.collection = "m/f", .key = key, .link_count = 1};
    h5store_batch *batch = box_begin(store);
    h5store_id id;

    BOX_OK(h5store_batch_compress(batch, level, &box_err));
    ck_assert_int_eq(BOX_OK(h5store_batch_put(batch, array, &id, &box_err)), expected);
    spec.links = &id;
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    return id;
}

static h5store_blob_info
info_of(const h5store_id *id)
{
    h5store_blob *blob;
    h5store_blob_info info;

    BOX_OK(h5store_blob_open(store, id, &blob, &box_err));
    info = *h5store_blob_get_info(blob);
    h5store_blob_close(blob);
    return info;
}

static bool
is_packed(const h5store_id *id)
{
    h5store_blob_info info = info_of(id);

    return info.offset == 0 && info.stored_bytes > 0;
}

static void
expect(const h5store_id *id, const h5store_array *array)
{
    static const h5store_check checks[] = {H5STORE_CHECK_NEVER, H5STORE_CHECK_FAST,
                                           H5STORE_CHECK_FULL};
    uint8_t *back = malloc(array->nbytes);
    h5store_blob *blob;
    const void *data;

    ck_assert_ptr_nonnull(back);
    BOX_OK(h5store_blob_open(store, id, &blob, &box_err));
    for (size_t i = 0; i < 3; i++) {
        memset(back, 0, array->nbytes);
        BOX_OK(h5store_blob_read(blob, back, array->nbytes, checks[i], &box_err));
        ck_assert(memcmp(back, array->data, array->nbytes) == 0);
    }
    BOX_OK(h5store_blob_map(blob, &data, &box_err));
    ck_assert(memcmp(data, array->data, array->nbytes) == 0);
    h5store_blob_close(blob);
    free(back);
}

/* By HDF5's own driver and filters. */
static void
expect_stock(const h5store_id *id, const h5store_array *array)
{
    char text[H5STORE_ID_TEXT_SIZE], path[H5STORE_ID_TEXT_SIZE + 16];
    uint8_t *back = malloc(array->nbytes);
    hid_t file, dataset, type;

    ck_assert_ptr_nonnull(back);
    BOX_OK(h5store_flush(store, &box_err));
    h5store_id_format(id, text);
    snprintf(path, sizeof path, "/blobs/%.2s/%s", text, text);
    file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);
    ck_assert_int_ge(file, 0);
    dataset = H5Dopen2(file, path, H5P_DEFAULT);
    ck_assert_int_ge(dataset, 0);
    type = H5Dget_type(dataset);
    ck_assert_int_ge(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, back), 0);
    ck_assert(memcmp(back, array->data, array->nbytes) == 0);
    H5Tclose(type);
    H5Dclose(dataset);
    H5Fclose(file);
    free(back);
}

START_TEST(array_comes_back_at_every_level)
{
    h5store_array array = smooth(ROWS, COLUMNS, 1);
    h5store_id id = put_at(&array, _i, "k", H5STORE_OK);

    ck_assert(is_packed(&id));
    ck_assert_uint_lt(info_of(&id).stored_bytes, array.nbytes / 4);
    expect(&id, &array);
    expect_stock(&id, &array);
    box_free(&array);
}
END_TEST

/* From so few rows that it does not pay, through one row, to sizes round those of a chunk. */
START_TEST(any_shape_comes_back)
{
    static const uint64_t shapes[][2] = {{1, 1},     {100, 20},   {1, 5000},  {5000, 1},
                                         {2048, 1},  {2047, 1},   {7, 9999},  {65536, 2},
                                         {65537, 1}, {131072, 1}, {3, 65536}, {1, 300000}};
    h5store_array array = smooth(shapes[_i][0], shapes[_i][1], 2);
    h5store_id id, same;

    array.order = _i % 2 == 0 ? H5STORE_ORDER_C : H5STORE_ORDER_F;
    id = put_at(&array, 2, "k", H5STORE_OK);
    ck_assert_int_eq(is_packed(&id), array.nbytes >= 16 * 1024);
    BOX_OK(h5store_hash(&array, 0, &same, &box_err));
    ck_assert_int_eq(h5store_id_equal(&id, &same), 1);
    expect(&id, &array);
    expect_stock(&id, &array);
    box_free(&array);
}
END_TEST

START_TEST(array_with_strides_is_packed)
{
    const int64_t strides[] = {COLUMNS * 8, 16};
    h5store_array whole = smooth(ROWS, COLUMNS, 3), half = whole, copy = whole;
    double *copied = malloc(ROWS * (COLUMNS / 2) * sizeof *copied);
    h5store_id id;

    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < COLUMNS / 2; j++)
            copied[i * (COLUMNS / 2) + j] = ((const double *)whole.data)[i * COLUMNS + 2 * j];
    half.shape[1] = copy.shape[1] = COLUMNS / 2;
    half.nbytes = copy.nbytes = ROWS * (COLUMNS / 2) * sizeof *copied;
    half.strides = strides;
    copy.data = copied;
    id = put_at(&half, 1, "k", H5STORE_OK);
    ck_assert(is_packed(&id));
    expect(&id, &copy);
    free(copied);
    box_free(&whole);
}
END_TEST

START_TEST(both_forms_are_one_blob)
{
    h5store_array array = smooth(ROWS, COLUMNS, 4), other = smooth(ROWS, COLUMNS, 5);
    h5store_id packed = put_at(&array, 1, "a", H5STORE_OK), plain, same;

    same = put_at(&array, 0, "b", H5STORE_EXISTS);
    ck_assert_int_eq(h5store_id_equal(&packed, &same), 1);
    ck_assert(is_packed(&packed));
    plain = put_at(&other, 0, "c", H5STORE_OK);
    same = put_at(&other, 9, "d", H5STORE_EXISTS);
    ck_assert_int_eq(h5store_id_equal(&plain, &same), 1);
    ck_assert(!is_packed(&plain));
    ck_assert_uint_eq(box_totals(store).blobs, 2);
    ck_assert_uint_eq(box_totals(store).blob_bytes, 2 * array.nbytes);
    box_free(&array);
    box_free(&other);
}
END_TEST

/* Noise does not get smaller; nor does what only its samples promise. */
START_TEST(array_that_gets_no_smaller_is_stored_as_it_is)
{
    const size_t size = 12 * 1024 * 1024;
    h5store_array array = box_array(size, 1);
    uint8_t *bytes = (uint8_t *)(uintptr_t)array.data;
    h5store_id id;

    if (_i == 1) {
        memset(bytes, 0, 70000);
        memset(bytes + size / 2 - 70000, 0, 140000);
        memset(bytes + size - 70000, 0, 70000);
    }
    id = put_at(&array, 1, "k", H5STORE_OK);
    ck_assert(!is_packed(&id));
    ck_assert_uint_eq(info_of(&id).stored_bytes, size);
    expect(&id, &array);
    /* What was reserved for packing is free again. */
    ck_assert_uint_le(box_totals(store).disk_bytes, size + size / 8);
    box_free(&array);
}
END_TEST

/* Chunks of noise among others are stored as they are. */
START_TEST(chunks_of_noise_come_back)
{
    h5store_array array = smooth(ROWS, COLUMNS, 6), noise = box_array(3000000, 2);
    h5store_id id;

    memcpy((uint8_t *)(uintptr_t)array.data + 2000000, noise.data, noise.nbytes);
    id = put_at(&array, 1, "k", H5STORE_OK);
    ck_assert(is_packed(&id));
    ck_assert_uint_gt(info_of(&id).stored_bytes, noise.nbytes * 9 / 10);
    expect(&id, &array);
    expect_stock(&id, &array);
    box_free(&array);
    box_free(&noise);
}
END_TEST

START_TEST(space_comes_back)
{
    h5store_array array = smooth(ROWS, COLUMNS, 7);
    uint64_t before = box_totals(store).disk_bytes, between, stored;
    h5store_id id = put_at(&array, 1, "k", H5STORE_OK);

    between = box_totals(store).disk_bytes;
    stored = info_of(&id).stored_bytes;
    ck_assert_uint_ge(between, before + stored);
    ck_assert_uint_lt(between, before + stored + 1000000);
    box_remove(store, "m/f", "k");
    ck_assert_uint_eq(box_totals(store).blobs, 0);
    ck_assert_uint_lt(box_totals(store).disk_bytes, between - stored / 2);
    box_free(&array);
}
END_TEST

/* ---- damage --------------------------------------------------------------------------- */

/* Where the extent of a blob begins, by HDF5. */
static uint64_t
place_of(const h5store_id *id)
{
    char text[H5STORE_ID_TEXT_SIZE], path[H5STORE_ID_TEXT_SIZE + 16];
    hid_t file, dataset, space;
    uint64_t least = UINT64_MAX;
    hsize_t count;

    BOX_OK(h5store_flush(store, &box_err));
    h5store_id_format(id, text);
    snprintf(path, sizeof path, "/blobs/%.2s/%s", text, text);
    file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);
    dataset = H5Dopen2(file, path, H5P_DEFAULT);
    ck_assert_int_ge(dataset, 0);
    space = H5Dget_space(dataset);
    ck_assert_int_ge(H5Dget_num_chunks(dataset, space, &count), 0);
    ck_assert_uint_ge(count, 2);
    for (hsize_t i = 0; i < count; i++) {
        hsize_t at[2], size;
        haddr_t address;
        unsigned mask;

        ck_assert_int_ge(H5Dget_chunk_info(dataset, space, i, at, &mask, &address, &size), 0);
        least = hs_min(least, address);
    }
    H5Sclose(space);
    H5Dclose(dataset);
    H5Fclose(file);
    return least;
}

static int
read_code(const h5store_id *id, size_t size)
{
    uint8_t *back = malloc(size);
    h5store_blob *blob;
    int rc = h5store_blob_open(store, id, &blob, &box_err);

    if (rc == H5STORE_OK) {
        rc = h5store_blob_read(blob, back, size, H5STORE_CHECK_FAST, &box_err);
        h5store_blob_close(blob);
    }
    free(back);
    return rc;
}

START_TEST(damaged_bytes_are_noticed_and_mended_for_all)
{
    h5store_array array = smooth(ROWS, COLUMNS, 8);
    h5store_id id = put_at(&array, 1, "a", H5STORE_OK);

    (void)put_at(&array, 1, "b", H5STORE_EXISTS);
    box_flip(box_path(), place_of(&id) + 1000 + (unsigned)_i * 4099);
    ck_assert_uint_ge(box_verify(store), 1);
    ck_assert_int_eq(read_code(&id, array.nbytes), H5STORE_E_DAMAGED);
    /* At another level, and once by one who does not compress. */
    (void)put_at(&array, _i == 0 ? 0 : 9, "c", H5STORE_EXISTS);
    ck_assert(is_packed(&id));
    expect(&id, &array);
    expect_stock(&id, &array);
    ck_assert_uint_eq(box_totals(store).blobs, 1);
    ck_assert_uint_eq(box_totals(store).links, 3);
    box_free(&array);
}
END_TEST

START_TEST(cut_file_is_noticed)
{
    h5store_array array = smooth(ROWS, COLUMNS, 9);
    h5store_id id = put_at(&array, 1, "a", H5STORE_OK);
    uint64_t place = place_of(&id);

    ck_assert_int_eq(truncate(box_path(), (off_t)(place + 5000)), 0);
    ck_assert_int_eq(read_code(&id, array.nbytes), H5STORE_E_DAMAGED);
    (void)put_at(&array, 1, "b", H5STORE_EXISTS);
    expect(&id, &array);
    box_free(&array);
}
END_TEST

/* ---- from inside ---------------------------------------------------------------------- */

/* In memory: what is written is the overlay of a pager over an applied file. */
struct inside {
    hs_container *c;
    hs_ohdr header;
};

static void
inside_begin(struct inside *in, const h5store_id *id)
{
    uint64_t address;
    hid_t file;

    in->c = core_open(box_path(), 0, false);
    BOX_OK(hs_container_write_begin(in->c, &file, &box_err));
    BOX_OK(hs_blob_find(file, id, &address, &box_err));
    BOX_OK(hs_ohdr_read(hs_container_pager(in->c), address, &in->header, &box_err));
}

static void
inside_end(struct inside *in)
{
    hs_ohdr_release(&in->header);
    hs_container_abort(in->c);
    BOX_OK(hs_container_close(in->c, &box_err));
}

/* More than 1024 chunks: the index has pages.  Every byte of it counts. */
START_TEST(damaged_index_is_never_believed)
{
    uint64_t rows = _i == 0 ? ROWS : 40 * ROWS;
    h5store_array array = smooth(rows, _i == 0 ? COLUMNS : 5 * COLUMNS, 10);
    h5store_id id = put_at(&array, 1, "a", H5STORE_OK);
    hs_packed packed, other;
    hs_ohdr_block blocks[2];
    struct inside in;
    hs_extent extent, again;
    hs_pager *pager;
    unsigned refused = 0, tried = 0;

    inside_begin(&in, &id);
    pager = hs_container_pager(in.c);
    BOX_OK(hs_packed_parse(pager, &in.header, INT64_MAX, &packed, &extent, &box_err));
    ck_assert_int_eq(packed.count > 1024, _i);
    BOX_OK(hs_packed_blocks(pager, &in.header, blocks, &box_err));
    BOX_FAILS(H5STORE_E_DAMAGED,
              hs_packed_parse(pager, &in.header, extent.address + extent.length - 1, &other, &again,
                              &box_err));
    for (int b = 0; b < 2; b++)
        for (uint64_t i = 0; i < blocks[b].length; i += _i == 0 || i < 64 ? 1 : 97) {
            uint8_t byte, wrong;

            BOX_OK(hs_pager_read(pager, blocks[b].address + i, &byte, 1, &box_err));
            wrong = byte ^ (uint8_t)(1 << i % 8);
            BOX_OK(hs_pager_write(pager, blocks[b].address + i, &wrong, 1, &box_err));
            tried++;
            refused += hs_packed_parse(pager, &in.header, INT64_MAX, &other, &again, &box_err) ==
                       H5STORE_E_DAMAGED;
            BOX_OK(hs_pager_write(pager, blocks[b].address + i, &byte, 1, &box_err));
        }
    ck_assert_uint_ge(tried, 100);
    ck_assert_uint_eq(refused, tried);
    hs_packed_release(&packed);
    inside_end(&in);
    box_free(&array);
}
END_TEST

/* Rewritten, the index says what it was told, and stock HDF5 reads it. */
START_TEST(rewritten_index_is_read)
{
    h5store_array array = smooth(ROWS, COLUMNS, 11);
    h5store_id id = put_at(&array, 1, "a", H5STORE_OK);
    hs_packed packed, moved;
    struct inside in;
    hs_extent extent, there;
    hs_pager *pager;

    inside_begin(&in, &id);
    pager = hs_container_pager(in.c);
    BOX_OK(hs_packed_parse(pager, &in.header, INT64_MAX, &packed, &extent, &box_err));
    there = (hs_extent){extent.address + (1 << 20), extent.length};
    BOX_OK(hs_packed_rewrite(pager, &in.header, &packed, there, &box_err));
    BOX_OK(hs_packed_parse(pager, &in.header, INT64_MAX, &moved, &extent, &box_err));
    ck_assert_uint_eq(extent.address, there.address);
    ck_assert_uint_eq(extent.length, there.length);
    ck_assert_uint_eq(moved.count, packed.count);
    ck_assert(memcmp(moved.chunks, packed.chunks, moved.count * sizeof *moved.chunks) == 0);
    hs_packed_release(&packed);
    hs_packed_release(&moved);
    inside_end(&in);
    box_free(&array);
}
END_TEST

/* Compaction moves packed bytes; a rebuild makes their datasets anew. */
START_TEST(compaction_keeps_packed_blobs)
{
    h5store_array array = smooth(ROWS, COLUMNS, 12);
    h5store_id id, before = box_put(store, 9000000, 1, NULL);
    h5store_compaction done;
    uint64_t place;

    id = put_at(&array, 1, "a", H5STORE_OK);
    place = place_of(&id);
    BOX_OK(h5store_discard(store, &before, &box_err));
    BOX_OK(h5store_compact(store, NULL, NULL, &done, &box_err));
    ck_assert_int_eq(done.rebuilt, 1);
    ck_assert_uint_lt(place_of(&id), place);
    expect(&id, &array);
    expect_stock(&id, &array);
    box_free(&array);
}
END_TEST

START_TEST(level_out_of_range_is_refused)
{
    h5store_batch *batch = box_begin(store);

    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_compress(batch, 10, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_compress(batch, -1, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_compress(NULL, 1, &box_err));
    BOX_OK(h5store_batch_compress(batch, 9, &box_err));
    h5store_batch_abort(batch);
}
END_TEST

Suite *
packed_suite(void)
{
    Suite *suite = suite_create("packed");
    TCase *all = tcase_create("all");

    tcase_add_checked_fixture(all, setup, teardown);
    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, array_comes_back_at_every_level, 1, 10);
    tcase_add_loop_test(all, any_shape_comes_back, 0, 12);
    tcase_add_test(all, array_with_strides_is_packed);
    tcase_add_test(all, both_forms_are_one_blob);
    tcase_add_loop_test(all, array_that_gets_no_smaller_is_stored_as_it_is, 0, 2);
    tcase_add_test(all, chunks_of_noise_come_back);
    tcase_add_test(all, space_comes_back);
    tcase_add_loop_test(all, damaged_bytes_are_noticed_and_mended_for_all, 0, 3);
    tcase_add_test(all, cut_file_is_noticed);
    tcase_add_loop_test(all, damaged_index_is_never_believed, 0, 2);
    tcase_add_test(all, rewritten_index_is_read);
    tcase_add_test(all, compaction_keeps_packed_blobs);
    tcase_add_test(all, level_out_of_range_is_refused);
    suite_add_tcase(suite, all);
    return suite;
}
