/* SPDX-License-Identifier: MIT */
/*
 * Bytes of arrays that do not lie in one piece, compared with an element-by-element walk.
 */
#include "digest.h"
#include "source.h"
#include "suites.h"
#include <stdio.h>

#define ROOM 20000

static uint8_t memory[ROOM], expected[ROOM], got[ROOM];
static uint64_t state;

static uint64_t
draw(uint64_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (state >> 33) % below;
}

static void
setup(void)
{
    state = 7;
    for (size_t i = 0; i < ROOM; i++)
        memory[i] = (uint8_t)draw(256);
}

/* The same bytes by the definition: the last index fastest, each element by itself. */
static void
walk(const h5store_array *array, size_t itemsize)
{
    uint64_t elements = array->nbytes / itemsize;

    for (uint64_t i = 0; i < elements; i++) {
        const uint8_t *place = array->data;
        uint64_t rest = i;

        for (int d = array->rank - 1; d >= 0; d--) {
            place += (int64_t)(rest % array->shape[d]) * array->strides[d];
            rest /= array->shape[d];
        }
        memcpy(expected + i * itemsize, place, itemsize);
    }
}

/* Runs of a few lengths, and the whole.  Was anything to be gathered? */
static bool
compare(const h5store_array *array, size_t itemsize)
{
    hs_source source = hs_source_of(array);
    static const size_t runs[] = {1, 7, 64, 1000, ROOM};
    int wrong = 0;

    walk(array, itemsize);
    for (size_t r = 0; r < sizeof runs / sizeof runs[0]; r++) {
        for (uint64_t from = 0; from < array->nbytes;) {
            size_t size = (size_t)hs_min(runs[r], array->nbytes - from);
            const uint8_t *bytes = hs_source_bytes(&source, from, size, got);

            wrong += memcmp(bytes, expected + from, size) != 0 ||
                     (bytes != got && !hs_source_is_whole(&source));
            from += size;
        }
    }
    ck_assert_int_eq(wrong, 0);
    return !hs_source_is_whole(&source);
}

START_TEST(contiguous_bytes_are_not_copied)
{
    h5store_array array = {
        .dtype = "'|u1'", .rank = 1, .shape = {1000}, .nbytes = 1000, .data = memory};
    hs_source source = hs_source_of(&array);

    ck_assert(hs_source_is_whole(&source));
    ck_assert_ptr_eq(hs_source_bytes(&source, 17, 100, NULL), memory + 17);
}
END_TEST

START_TEST(strides_that_are_contiguous_are_noticed)
{
    static const int64_t strides[] = {4096, 96, 8, 8};
    h5store_array array = {.dtype = "'<f8'",
                           .rank = 4,
                           .shape = {1, 10, 1, 12},
                           .nbytes = 960,
                           .data = memory,
                           .strides = strides};
    hs_source source = hs_source_of(&array);

    ck_assert(hs_source_is_whole(&source));
    array.nbytes = 0;
    array.shape[1] = 0;
    source = hs_source_of(&array);
    ck_assert(hs_source_is_whole(&source));
}
END_TEST

/* Slices with steps, backwards, broadcast, with the axes in any order: 2000 of them. */
START_TEST(any_strides_give_the_bytes_in_order)
{
    static const size_t itemsizes[] = {1, 2, 3, 4, 8, 12, 16, 100};
    int gathered = 0;

    for (int round = 0; round < 2000; round++) {
        size_t itemsize = itemsizes[draw(sizeof itemsizes / sizeof itemsizes[0])];
        int rank = 1 + (int)draw(5), order[5];
        int64_t strides[5], whole = (int64_t)itemsize;
        uint64_t elements = 1;
        h5store_array array = {.dtype = "'|u1'", .rank = rank, .data = memory, .strides = strides};

        for (int i = 0; i < rank; i++)
            order[i] = i;
        for (int i = rank - 1; i > 0 && draw(2); i--) {
            int j = (int)draw((uint64_t)i + 1), kept = order[i];

            order[i] = order[j];
            order[j] = kept;
        }
        for (int i = rank - 1; i >= 0; i--) {
            int d = order[i];
            int64_t step = 1 + (int64_t)draw(3) / 2;

            array.shape[d] = 1 + draw(6);
            strides[d] = draw(8) == 0 ? 0 : whole * step;
            whole *= step * (int64_t)array.shape[d];
            if (whole > ROOM) { /* too large: the rest is of length 1 */
                array.shape[d] = 1;
                whole = ROOM;
            }
            elements *= array.shape[d];
        }
        for (int i = 0; i < rank; i++)
            if (strides[i] > 0 && draw(4) == 0) {
                array.data = (const uint8_t *)array.data +
                             (int64_t)(array.shape[i] - 1) * strides[i];
                strides[i] = -strides[i];
            }
        array.nbytes = elements * itemsize;
        if (array.nbytes > ROOM)
            continue;
        gathered += compare(&array, itemsize);
    }
    ck_assert_int_ge(gathered, 500);
}
END_TEST

/* Longer than a run for the digest, so that several threads gather their own. */
START_TEST(name_is_that_of_the_copy)
{
    const size_t rows = 3001, columns = 1501, all = rows * columns * 4;
    uint8_t *large = malloc(2 * all), *copy = malloc(all);
    const int64_t strides[] = {-(int64_t)columns * 8, 8};
    h5store_array array = {
        .dtype = "'<f4'", .rank = 2, .shape = {rows, columns}, .nbytes = all, .strides = strides};
    h5store_array plain = {
        .dtype = "'<f4'", .rank = 2, .shape = {rows, columns}, .nbytes = all, .data = copy};
    h5store_id id, same;
    uint64_t sum, same_sum;

    ck_assert(large != NULL && copy != NULL);
    for (size_t i = 0; i < 2 * all; i++)
        large[i] = (uint8_t)draw(256);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            memcpy(copy + 4 * (i * columns + j), large + 8 * ((rows - 1 - i) * columns + j), 4);
    array.data = large + 8 * (rows - 1) * columns;
    for (int threads = 1; threads <= 4; threads++) {
        ck_assert_int_eq(hs_digest_array(&array, threads, &id, &sum, NULL), H5STORE_OK);
        ck_assert_int_eq(hs_digest_array(&plain, threads, &same, &same_sum, NULL), H5STORE_OK);
        ck_assert_int_eq(h5store_id_equal(&id, &same), 1);
        ck_assert_uint_eq(sum, same_sum);
    }
    free(large);
    free(copy);
}
END_TEST

Suite *
source_suite(void)
{
    Suite *suite = suite_create("source");
    TCase *bytes = tcase_create("bytes");

    tcase_add_checked_fixture(bytes, setup, NULL);
    tcase_add_test(bytes, contiguous_bytes_are_not_copied);
    tcase_add_test(bytes, strides_that_are_contiguous_are_noticed);
    tcase_add_test(bytes, any_strides_give_the_bytes_in_order);
    tcase_add_test(bytes, name_is_that_of_the_copy);
    suite_add_tcase(suite, bytes);
    return suite;
}
