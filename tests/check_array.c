/* SPDX-License-Identifier: MIT */
/*
 * Descriptions of arrays: what is refused, the one order of equal bytes, and the cutting
 * into chunks: that it keeps an array's bytes together is computed element by element for
 * many shapes, and looked up in a file of HDF5's own making for some.
 */
#include "array.h"
#include "dtype.h"
#include "h5util.h"
#include "suites.h"
#include <check.h>
#include <stdio.h>

/* For the tables: the shape ends with END, since a length may be 0. */
#define END UINT64_MAX
#define SHAPE(...) {__VA_ARGS__, END}
#define SCALAR {END}

#define MIB (UINT64_C(1) << 20)

static h5store_array
describe(const char *dtype, const uint64_t *shape, h5store_order order)
{
    h5store_array array = {.dtype = dtype, .order = order};
    size_t itemsize;

    ck_assert_int_eq(hs_dtype_itemsize(dtype, &itemsize, NULL), H5STORE_OK);
    array.nbytes = itemsize;
    for (; shape[array.rank] != END; array.rank++) {
        array.shape[array.rank] = shape[array.rank];
        array.nbytes *= shape[array.rank];
    }
    return array;
}

/* ---- checks ------------------------------------------------------------------------ */

static void
expect_refusal(const h5store_array *array, int code, const char *words)
{
    h5store_err err = {0};

    ck_assert_int_eq(hs_array_check(array, true, &err), code);
    ck_assert_int_eq(err.code, code);
    ck_assert_msg(strstr(err.message, words) != NULL, "'%s' lacks '%s'", err.message, words);
    ck_assert_int_eq(hs_array_check(array, true, NULL), code);
}

START_TEST(contradictory_description_is_refused)
{
    static const uint64_t shape[] = SHAPE(2, 3);
    const h5store_array good = {"'<f8'", H5STORE_ORDER_C, 2, {2, 3}, 48, shape, NULL};
    HS_CLEANUP(hs_freep) char *text = calloc(1, H5STORE_MAX_DTYPE + 2);
    h5store_array array = good;

    ck_assert_int_eq(hs_array_check(&good, true, NULL), H5STORE_OK);
    expect_refusal(NULL, H5STORE_E_INVALID, "NULL");
    array.dtype = NULL;
    expect_refusal(&array, H5STORE_E_INVALID, "dtype");
    array.dtype = "'<f9'";
    expect_refusal(&array, H5STORE_E_INVALID, "<f9");
    array.dtype = "'|O'";
    expect_refusal(&array, H5STORE_E_UNSUPPORTED, "pointers");
    memset(text, ' ', H5STORE_MAX_DTYPE + 1);
    array.dtype = text;
    expect_refusal(&array, H5STORE_E_UNSUPPORTED, "65000 bytes");
    array = good;
    array.rank = -1;
    expect_refusal(&array, H5STORE_E_INVALID, "rank -1");
    array.rank = H5STORE_MAX_RANK + 1;
    expect_refusal(&array, H5STORE_E_INVALID, "rank 65");
    array = good;
    array.order = (h5store_order)2;
    expect_refusal(&array, H5STORE_E_INVALID, "order 2");
    array = good;
    array.nbytes = 47;
    expect_refusal(&array, H5STORE_E_INVALID, "nbytes is 47");
    array = good;
    array.data = NULL;
    expect_refusal(&array, H5STORE_E_INVALID, "data is NULL");
    ck_assert_int_eq(hs_array_check(&array, false, NULL), H5STORE_OK);
}
END_TEST

START_TEST(shape_that_overflows_is_refused)
{
    static const struct {
        uint64_t shape[4];
        uint64_t nbytes; /* what a product modulo 2^64 would give */
    } cases[] = {
        {SHAPE(UINT64_C(1) << 61, 8), 0},
        {SHAPE((UINT64_C(1) << 61) + 1), 8},
        {SHAPE(UINT64_C(1) << 32, UINT64_C(1) << 32), 0},
        {SHAPE(UINT64_C(1) << 60), UINT64_C(1) << 63},
        {SHAPE(0, UINT64_C(1) << 40, UINT64_C(1) << 40), 0},
        {SHAPE(UINT64_MAX - 1, 2), UINT64_MAX - 31},
    };
    h5store_array array = {.dtype = "'<f8'", .data = cases, .nbytes = cases[_i].nbytes};

    for (; cases[_i].shape[array.rank] != END; array.rank++)
        array.shape[array.rank] = cases[_i].shape[array.rank];
    expect_refusal(&array, H5STORE_E_INVALID, "2^63");
}
END_TEST

START_TEST(array_without_bytes_needs_no_data)
{
    h5store_array array = {.dtype = "'<f8'", .rank = 3, .shape = {5, 0, 7}};

    ck_assert_int_eq(hs_array_check(&array, true, NULL), H5STORE_OK);
    array = (h5store_array){.dtype = "'|S0'", .rank = 1, .shape = {1000}};
    ck_assert_int_eq(hs_array_check(&array, true, NULL), H5STORE_OK);
    array.nbytes = 1000;
    expect_refusal(&array, H5STORE_E_INVALID, "nbytes is 1000");
}
END_TEST

START_TEST(itemsize_is_public)
{
    h5store_err err;
    size_t itemsize = 0;

    ck_assert_int_eq(h5store_dtype_itemsize("'<c16'", &itemsize, &err), H5STORE_OK);
    ck_assert_uint_eq(itemsize, 16);
    ck_assert_int_eq(h5store_dtype_itemsize(NULL, &itemsize, &err), H5STORE_E_INVALID);
    ck_assert_int_eq(h5store_dtype_itemsize("'<c16'", NULL, &err), H5STORE_E_INVALID);
    ck_assert_int_eq(h5store_dtype_itemsize("'|O'", &itemsize, &err), H5STORE_E_UNSUPPORTED);
    ck_assert_uint_eq(itemsize, 16);
}
END_TEST

START_TEST(order_is_kept_only_where_it_matters)
{
    static const struct {
        uint64_t shape[6];
        h5store_order order;
    } cases[] = {
        {SCALAR, H5STORE_ORDER_C},         {SHAPE(7), H5STORE_ORDER_C},
        {SHAPE(1, 1, 1), H5STORE_ORDER_C}, {SHAPE(1, 9), H5STORE_ORDER_C},
        {SHAPE(9, 1), H5STORE_ORDER_C},    {SHAPE(5, 0, 3), H5STORE_ORDER_C},
        {SHAPE(0, 4, 4), H5STORE_ORDER_C}, {SHAPE(2, 2), H5STORE_ORDER_F},
        {SHAPE(2, 1, 2), H5STORE_ORDER_F}, {SHAPE(1, 3, 1, 2), H5STORE_ORDER_F},
    };
    h5store_array array = describe("'|i1'", cases[_i].shape, H5STORE_ORDER_F);

    hs_array_normalise(&array);
    ck_assert_int_eq(array.order, cases[_i].order);
    array.order = H5STORE_ORDER_C;
    hs_array_normalise(&array);
    ck_assert_int_eq(array.order, H5STORE_ORDER_C);
}
END_TEST

/* ---- the plan ------------------------------------------------------------------------ */

static void
show_dims(int rank, const hsize_t *dims, char *text)
{
    text[0] = '\0';
    for (int i = 0; i < rank; i++)
        sprintf(text + strlen(text), "%s%llu", i == 0 ? "" : " ", (unsigned long long)dims[i]);
}

static const struct plan {
    const char *dtype;
    uint64_t shape[40];
    h5store_order order;
    const char *dims, *chunk; /* chunk NULL: compact */
    bool flat;
} plans[] = {
    /* in the metadata */
    {"'<f8'", SCALAR, H5STORE_ORDER_C, "", NULL, false},
    {"'<f8'", SHAPE(64), H5STORE_ORDER_C, "64", NULL, false},
    {"'<f8'", SHAPE(2, 32), H5STORE_ORDER_F, "32 2", NULL, false},
    {"'<f8'", SHAPE(3, 0, 5), H5STORE_ORDER_C, "3 0 5", NULL, false},
    {"'|S0'", SHAPE(3, 5), H5STORE_ORDER_C, "0", NULL, true},
    {"'|S0'", SCALAR, H5STORE_ORDER_C, "0", NULL, true},
    {"'|i1'",
     SHAPE(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
           1, 1, 7),
     H5STORE_ORDER_C, "7", NULL, true},
    /* one chunk */
    {"'<f8'", SHAPE(65), H5STORE_ORDER_C, "65", "65", false},
    {"'|i1'", SHAPE(MIB), H5STORE_ORDER_C, "1048576", "1048576", false},
    {"'<f4'", SHAPE(100, 200), H5STORE_ORDER_C, "100 200", "100 200", false},
    {"'<f4'", SHAPE(100, 200), H5STORE_ORDER_F, "200 100", "200 100", false},
    {"'|S600'", SCALAR, H5STORE_ORDER_C, "1", "1", true},
    /* rows, as even as can be */
    {"'|i1'", SHAPE(MIB + 1), H5STORE_ORDER_C, "1048577", "524289", false},
    {"'<f8'", SHAPE(1000, 1000), H5STORE_ORDER_C, "1000 1000", "125 1000", false},
    {"'<f8'", SHAPE(1001, 1000), H5STORE_ORDER_C, "1001 1000", "126 1000", false},
    {"'<f8'", SHAPE(10, 20, 3000), H5STORE_ORDER_F, "3000 20 10", "600 20 10", false},
    {"'<f8'", SHAPE(1, 1, 1000000), H5STORE_ORDER_C, "1 1 1000000", "1 1 125000", false},
    {"'<f8'", SHAPE(1, 7, 1, 100000), H5STORE_ORDER_C, "1 7 1 100000", "1 2 1 100000", false},
    {"'|V2000000'", SHAPE(3), H5STORE_ORDER_C, "3", "1", false},
    /* rows of more than 1 MiB: parts that divide them */
    {"'|i1'", SHAPE(3, 3 * MIB), H5STORE_ORDER_C, "3 3145728", "1 1048576", false},
    {"'<f8'", SHAPE(4, 1000, 1000), H5STORE_ORDER_C, "4 1000 1000", "1 125 1000", false},
    {"'<f8'", SHAPE(2, 3, 4, 250007), H5STORE_ORDER_C, "2 3 4 250007", "1 1 1 250007", false},
    {"'|V2000000'", SHAPE(3, 3), H5STORE_ORDER_C, "3 3", "1 1", false},
    /* rows of prime length: whole, or given up */
    {"'|i1'", SHAPE(2, 16777213), H5STORE_ORDER_C, "2 16777213", "1 16777213", false},
    {"'|i1'", SHAPE(2, 1073741827), H5STORE_ORDER_C, "2147483654", "1048065", true},
    {"'|i1'", SHAPE(1, 1073741827), H5STORE_ORDER_C, "1 1073741827", "1 1047554", false},
    /* items of almost 2 GiB */
    {"'|V2147483647'", SHAPE(2, 2), H5STORE_ORDER_C, "2 2", "1 1", false},
    {"'|V2147483647'", SCALAR, H5STORE_ORDER_C, "1", "1", true},
    /* more dimensions than HDF5 has */
    {"'<i8'",
     SHAPE(2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
           1, 1, 100),
     H5STORE_ORDER_F, "200", "200", true},
};

#define PLANS ((int)(sizeof plans / sizeof *plans))

START_TEST(plan_is_as_expected)
{
    const struct plan *plan = &plans[_i];
    h5store_array array = describe(plan->dtype, plan->shape, plan->order);
    hs_layout layout;
    char text[1024];
    size_t itemsize;

    ck_assert_int_eq(hs_dtype_itemsize(plan->dtype, &itemsize, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_array_layout(&array, itemsize, &layout, NULL), H5STORE_OK);
    show_dims(layout.rank, layout.dims, text);
    ck_assert_str_eq(text, plan->dims);
    ck_assert_int_eq(layout.flat, plan->flat);
    ck_assert_int_eq(layout.kind, plan->chunk == NULL ? HS_LAYOUT_COMPACT : HS_LAYOUT_CHUNKED);
    if (plan->chunk == NULL)
        return;
    show_dims(layout.rank, layout.chunk, text);
    ck_assert_str_eq(text, plan->chunk);
    ck_assert_uint_ge(layout.extent, array.nbytes);
}
END_TEST

START_TEST(extent_beyond_any_file_is_refused)
{
    /* 2^63 - 2^31 bytes fit; the padding of the last chunk makes them too many. */
    h5store_array array = {.dtype = "'|V1'", .rank = 1, .shape = {INT64_MAX}, .nbytes = INT64_MAX};
    h5store_err err;
    hs_layout layout = {.rank = -7};

    ck_assert_int_eq(hs_array_check(&array, false, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_array_layout(&array, 1, &layout, &err), H5STORE_E_UNSUPPORTED);
    ck_assert_int_eq(layout.rank, -7);
}
END_TEST

/* ---- contiguity -------------------------------------------------------------------------- */

/* A small generator, the same everywhere. */
static uint32_t
draw(uint64_t *state, uint32_t below)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33) % below;
}

/* Where HDF5 puts an element: chunks in row-major order, and elements in each chunk. */
static uint64_t
place_of(uint64_t element, const hs_layout *layout)
{
    uint64_t chunk = 0, inside = 0, chunks = 1, size = 1;

    for (int i = layout->rank - 1; i >= 0; i--) {
        uint64_t index = element % layout->dims[i];

        element /= layout->dims[i];
        chunk += index / layout->chunk[i] * chunks;
        inside += index % layout->chunk[i] * size;
        chunks *= (layout->dims[i] + layout->chunk[i] - 1) / layout->chunk[i];
        size *= layout->chunk[i];
    }
    return chunk * size + inside;
}

static void
random_array(uint64_t *state, const char **dtype, h5store_array *array, size_t *itemsize)
{
    static const char *const dtypes[] = {"'|i1'", "'<i2'", "'<f8'", "'|V3'", "'|V70'", "'<c16'"};
    uint64_t shape[36];
    uint64_t elements = 1;
    int rank = (int)draw(state, 12) == 0 ? 33 + (int)draw(state, 2) : (int)draw(state, 6);

    for (int i = 0; i < rank; i++) {
        shape[i] = draw(state, 3) == 0 ? 1 : 1 + draw(state, rank < 3 ? 97 : 13);
        if (elements * shape[i] > 20000)
            shape[i] = 1;
        elements *= shape[i];
    }
    shape[rank] = END;
    *dtype = dtypes[draw(state, sizeof dtypes / sizeof *dtypes)];
    *array = describe(*dtype, shape, draw(state, 2) ? H5STORE_ORDER_F : H5STORE_ORDER_C);
    ck_assert_int_eq(hs_dtype_itemsize(*dtype, itemsize, NULL), H5STORE_OK);
}

START_TEST(chunk_grid_keeps_bytes_contiguous)
{
    uint64_t state = 20240 + (uint64_t)_i, checked = 0;
    int kept = 0, flat = 0, padded = 0, cut_inside = 0;

    for (int round = 0; round < 800; round++) {
        const uint64_t target = UINT64_C(16) << draw(&state, 9);
        const uint64_t most = target * (1 + draw(&state, 8));
        const char *dtype;
        h5store_array array;
        hs_layout layout;
        size_t itemsize;
        uint64_t chunk_bytes, elements = 1;

        random_array(&state, &dtype, &array, &itemsize);
        ck_assert_int_eq(hs_array_layout_for(&array, itemsize, target, most, &layout, NULL),
                         H5STORE_OK);
        chunk_bytes = itemsize;
        for (int i = 0; i < layout.rank; i++) {
            ck_assert_uint_ge(layout.chunk[i], 1);
            ck_assert_uint_le(layout.chunk[i], layout.dims[i]);
            chunk_bytes *= layout.chunk[i];
            elements *= layout.dims[i];
        }
        ck_assert_uint_eq(elements * itemsize, array.nbytes);
        for (uint64_t i = 0; i < elements; i++, checked++)
            if (place_of(i, &layout) != i) /* an assertion costs a system call */
                ck_abort_msg("round %d: element %llu is elsewhere", round, (unsigned long long)i);

        /* Sizes: not far from the target, and padding less than a chunk. */
        ck_assert(chunk_bytes <= hs_max(2 * target, most) || chunk_bytes == itemsize);
        ck_assert(chunk_bytes >= target / 16 || chunk_bytes == array.nbytes);
        ck_assert_uint_ge(layout.extent, array.nbytes);
        ck_assert_uint_lt(layout.extent, array.nbytes + chunk_bytes);
        ck_assert_uint_eq(layout.extent % chunk_bytes, 0);
        if (!layout.flat)
            for (int i = 0; i < array.rank; i++)
                ck_assert_uint_eq(
                    layout.dims[i],
                    array.shape[array.order == H5STORE_ORDER_F ? array.rank - 1 - i : i]);
        flat += layout.flat;
        kept += !layout.flat && layout.rank > 1 && layout.extent > chunk_bytes;
        padded += layout.extent > array.nbytes;
        cut_inside += !layout.flat && layout.dims[0] > 1 && layout.chunk[0] == 1 &&
                      chunk_bytes > itemsize;
    }
    /* Each way of cutting was met, and often. */
    ck_assert_uint_gt(checked, 500000);
    ck_assert_int_gt(kept, 200);
    ck_assert_int_gt(flat, 50);
    ck_assert_int_gt(padded, 50);
    ck_assert_int_gt(cut_inside, 50);
}
END_TEST

/* Write a dataset as HDF5 does, in memory, and hand out the bytes of the file. */
static uint8_t *
write_file(const h5store_array *array, const hs_layout *layout, haddr_t *address, hsize_t *storage,
           size_t *size)
{
    static const hsize_t origin[H5S_MAX_RANK];
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), create = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = layout->rank == 0 ? H5Screate(H5S_SCALAR)
                                    : H5Screate_simple(layout->rank, layout->dims, NULL);
    hid_t type, file, dataset;
    hsize_t chunk_size;
    unsigned mask;
    uint8_t *image;

    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    H5Pset_fapl_core(access, MIB, false);
    file = H5Fcreate("check_array.h5", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    ck_assert_int_eq(hs_dtype_to_hdf5(array->dtype, &type, NULL), H5STORE_OK);
    if (layout->kind == HS_LAYOUT_COMPACT) {
        H5Pset_layout(create, H5D_COMPACT);
    } else {
        H5Pset_chunk(create, layout->rank, layout->chunk);
        H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY);
        H5Pset_fill_time(create, H5D_FILL_TIME_NEVER);
    }
    dataset = H5Dcreate2(file, "x", type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    ck_assert_int_ge(dataset, 0);
    ck_assert_int_ge(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, array->data), 0);
    *storage = H5Dget_storage_size(dataset);
    if (layout->kind == HS_LAYOUT_CHUNKED)
        ck_assert_int_ge(H5Dget_chunk_info_by_coord(dataset, origin, &mask, address, &chunk_size),
                         0);
    H5Fflush(file, H5F_SCOPE_GLOBAL);
    *size = (size_t)H5Fget_file_image(file, NULL, 0);
    image = malloc(*size);
    ck_assert_int_eq(H5Fget_file_image(file, image, *size), (ssize_t)*size);
    H5Dclose(dataset);
    H5Tclose(type);
    H5Sclose(space);
    H5Pclose(create);
    H5Fclose(file);
    H5Pclose(access);
    return image;
}

START_TEST(hdf5_lays_the_bytes_in_one_range)
{
    uint64_t state = 77;
    int chunked = 0;

    for (int round = 0; round < 150; round++) {
        HS_CLEANUP(hs_freep) uint8_t *data = NULL;
        HS_CLEANUP(hs_freep) uint8_t *image = NULL;
        const char *dtype;
        h5store_array array;
        hs_layout layout;
        haddr_t address = 0;
        hsize_t storage;
        size_t itemsize, size;

        random_array(&state, &dtype, &array, &itemsize);
        ck_assert_int_eq(hs_array_layout_for(&array, itemsize, UINT64_C(64) << draw(&state, 6),
                                             100000, &layout, NULL),
                         H5STORE_OK);
        data = malloc(array.nbytes);
        for (uint64_t i = 0; i < array.nbytes; i++)
            data[i] = (uint8_t)draw(&state, 256);
        array.data = data;
        hs_h5_enter();
        image = write_file(&array, &layout, &address, &storage, &size);
        hs_h5_leave();
        ck_assert_uint_eq(storage, layout.extent);
        ck_assert_uint_le(address + array.nbytes, size);
        ck_assert_mem_eq(image + address, data, array.nbytes);
        chunked += layout.extent / itemsize > 1;
    }
    ck_assert_int_gt(chunked, 100);
}
END_TEST

/* Padding bytes of records and odd values of booleans are part of what is stored. */
START_TEST(compact_dataset_keeps_every_byte)
{
    static const struct {
        const char *dtype;
        uint64_t shape[4];
    } cases[] = {
        {"[('a', '|b1'), ('', '|V7'), ('b', '<f8')]", SHAPE(4, 2)},
        {"{'names': ['a', 'b'], 'formats': ['<i4', '<i4'], 'offsets': [0, 2]}", SHAPE(5)},
        {"{'names': ['a'], 'formats': ['>f2'], 'offsets': [3], 'itemsize': 9}", SCALAR},
        {"'|b1'", SHAPE(3, 5)},
        {"'<f4'", SHAPE(2, 0, 3)},
        {"'<M8[s]'", SHAPE(1)},
    };
    h5store_array array = describe(cases[_i].dtype, cases[_i].shape, H5STORE_ORDER_C);
    HS_CLEANUP(hs_freep) uint8_t *image = NULL;
    uint8_t data[HS_ARRAY_INLINE] = {0};
    hs_layout layout;
    hsize_t storage;
    size_t itemsize, size;

    for (uint64_t i = 0; i < array.nbytes; i++)
        data[i] = (uint8_t)(i * 37 + 201);
    array.data = data;
    ck_assert_int_eq(hs_dtype_itemsize(array.dtype, &itemsize, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_array_layout(&array, itemsize, &layout, NULL), H5STORE_OK);
    ck_assert_int_eq(layout.kind, HS_LAYOUT_COMPACT);
    hs_h5_enter();
    image = write_file(&array, &layout, NULL, &storage, &size);
    hs_h5_leave();
    ck_assert_uint_eq(storage, array.nbytes);
    if (array.nbytes > 0)
        ck_assert_ptr_nonnull(memmem(image, size, data, array.nbytes));
}
END_TEST

Suite *
array_suite(void)
{
    Suite *suite = suite_create("array");
    TCase *check = tcase_create("check");
    TCase *plan = tcase_create("plan");
    TCase *contiguity = tcase_create("contiguity");

    tcase_add_test(check, contradictory_description_is_refused);
    tcase_add_loop_test(check, shape_that_overflows_is_refused, 0, 6);
    tcase_add_test(check, array_without_bytes_needs_no_data);
    tcase_add_test(check, itemsize_is_public);
    tcase_add_loop_test(check, order_is_kept_only_where_it_matters, 0, 10);
    tcase_add_loop_test(plan, plan_is_as_expected, 0, PLANS);
    tcase_add_test(plan, extent_beyond_any_file_is_refused);
    tcase_add_loop_test(contiguity, chunk_grid_keeps_bytes_contiguous, 0, 4);
    tcase_add_test(contiguity, hdf5_lays_the_bytes_in_one_range);
    tcase_add_loop_test(contiguity, compact_dataset_keeps_every_byte, 0, 6);
    tcase_set_timeout(contiguity, 120);
    suite_add_tcase(suite, check);
    suite_add_tcase(suite, plan);
    suite_add_tcase(suite, contiguity);
    return suite;
}
