/* SPDX-License-Identifier: MIT */
/*
 * See zoo.h.
 */
#include "zoo.h"
#include "container.h"
#include "fixture.h"
#include "h5util.h"
#include <stdio.h>

static h5store_id
zoo_put(h5store_batch *batch, h5store_array array, unsigned seed)
{
    unsigned char *data = malloc(array.nbytes + 1);
    h5store_id id;

    fixture_fill(data, array.nbytes, seed);
    array.data = data;
    BOX_OK(h5store_batch_put(batch, &array, &id, &box_err));
    free(data);
    return id;
}

/* An array that can be compressed. */
static h5store_id
zoo_put_even(h5store_batch *batch)
{
    static int32_t numbers[100000];
    h5store_array array = {
        .dtype = "'<i4'", .rank = 1, .shape = {100000}, .nbytes = 400000, .data = numbers};
    h5store_id id;

    for (int i = 0; i < 100000; i++)
        numbers[i] = i / 7;
    BOX_OK(h5store_batch_put(batch, &array, &id, &box_err));
    return id;
}

/* A description of a record with so many fields, which takes a continuation block. */
static const char *
zoo_record(int fields)
{
    static char text[8192];
    size_t used = (size_t)snprintf(text, sizeof text, "[");

    for (int i = 0; i < fields; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "('field%d', '<f8'), ", i);
    snprintf(text + used, sizeof text - used, "]");
    return text;
}

static void
zoo_set(h5store_batch *batch, const char *key, const h5store_id *ids, size_t count, size_t output,
        size_t metadata)
{
    char *bytes = malloc(output + 1), *text = malloc(metadata + 1);
    h5store_item_spec spec = {"module/function", key, bytes, output, text, ids, count};

    fixture_fill(bytes, output, 7);
    memset(text, 'm', metadata);
    text[metadata] = '\0';
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    free(bytes);
    free(text);
}

/* By HDF5's own driver, but with headers at multiples of 8, as ours has them. */
static hid_t
zoo_open(hid_t fapl)
{
    hid_t file;

    ck_assert_int_ge(H5Pset_libver_bounds(fapl, H5F_LIBVER_V110, H5F_LIBVER_V110), 0);
    ck_assert_int_ge(H5Pset_meta_block_size(fapl, 0), 0);
    ck_assert_int_ge(H5Pset_alignment(fapl, 1, 8), 0);
    file = H5Fopen(box_path(), H5F_ACC_RDWR, fapl);
    ck_assert_int_ge(file, 0);
    return file;
}

void
zoo_make_with_heaps(void)
{
    static const char *const paths[] = {"/blobs", "/items", "/kept"};
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS), file;

    box_make();
    file = zoo_open(fapl);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        hid_t group;

        ck_assert_int_ge(H5Ldelete(file, paths[i], H5P_DEFAULT), 0);
        group = H5Gcreate2(file, paths[i], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        ck_assert_int_ge(group, 0);
        BOX_OK(hs_h5_write_text(group, "path", paths[i], &box_err));
        H5Gclose(group);
    }
    ck_assert_int_ge(H5Fclose(file), 0);
    H5Pclose(fapl);
}

void
zoo_make_groups(const char *const *paths, size_t count)
{
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS), file;

    file = zoo_open(fapl);
    for (size_t i = 0; i < count; i++) {
        hid_t group = H5Gcreate2(file, paths[i], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

        ck_assert_int_ge(group, 0);
        H5Gclose(group);
    }
    ck_assert_int_ge(H5Fclose(file), 0);
    H5Pclose(fapl);
}

void
zoo_make(void)
{
    h5store *store;
    h5store_batch *batch;
    h5store_id ids[40];
    char key[32];
    int n = 0;

    zoo_make_with_heaps();
    store = box_open(0);
    batch = box_begin(store);
    ids[n++] = zoo_put(batch, (h5store_array){.dtype = "'<f8'", .nbytes = 8}, 1); /* a scalar */
    ids[n++] = zoo_put(batch, (h5store_array){.dtype = "'|u1'", .rank = 1}, 2);   /* empty */
    ids[n++] = zoo_put(
        batch, (h5store_array){.dtype = "'|u1'", .rank = 1, .shape = {512}, .nbytes = 512}, 3);
    ids[n++] = zoo_put(
        batch, (h5store_array){.dtype = "'|u1'", .rank = 1, .shape = {513}, .nbytes = 513}, 4);
    ids[n++] = zoo_put(batch,
                       (h5store_array){.dtype = "'<i4'",
                                       .rank = 3,
                                       .shape = {3, 40, 50},
                                       .order = H5STORE_ORDER_F,
                                       .nbytes = 24000},
                       5);
    ids[n++] = zoo_put(
        batch,
        (h5store_array){.dtype = "'<f8'", .rank = 2, .shape = {1000, 700}, .nbytes = 5600000},
        6); /* many chunks */
    ids[n++] = zoo_put(
        batch, (h5store_array){.dtype = zoo_record(60), .rank = 1, .shape = {30}, .nbytes = 14400},
        8);
    ids[n++] = zoo_put(batch, (h5store_array){.dtype = "'|S0'", .rank = 1, .shape = {5}}, 9);
    BOX_OK(h5store_batch_compress(batch, 6, &box_err));
    ids[n++] = zoo_put_even(batch);
    BOX_OK(h5store_batch_compress(batch, 0, &box_err));
    while (n < 40) {
        ids[n] = zoo_put(
            batch, (h5store_array){.dtype = "'|u1'", .rank = 1, .shape = {600}, .nbytes = 600},
            20u + (unsigned)n);
        n++;
    }
    zoo_set(batch, "aa-small", ids, 8, 100, 50);
    zoo_set(batch, "aa-none", NULL, 0, 0, 2);
    zoo_set(batch, "aa-links", ids, 40, 10, 10); /* more than the header of a group holds */
    zoo_set(batch, "aa-large", ids, 1, 60000, 45000);
    zoo_set(batch, "aa-limit", ids, 9, 32000, 32000);
    for (int i = 0; i < 80; i++) { /* two groups whose links are dense */
        snprintf(key, sizeof key, "%s%d", i < 60 ? "bb" : "cc", i);
        zoo_set(batch, key, ids + i % 30, (size_t)i % 10, (size_t)i * 20, (size_t)i * 10 + 2);
    }
    BOX_OK(h5store_batch_set_source(batch, "module/function", "def function(): pass", &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    for (size_t size = 10; size < 20000; size += size / 3) { /* headers that grow */
        batch = box_begin(store);
        zoo_set(batch, "bb1", ids, 3, size, size);
        BOX_OK(h5store_batch_commit(batch, &box_err));
    }
    for (size_t size = 10; size < 3000; size += 7) {
        char *text = malloc(size + 1);

        memset(text, 'x', size);
        text[size] = '\0';
        batch = box_begin(store);
        BOX_OK(h5store_batch_set_metadata(batch, "module/function", "bb2", text, &box_err));
        BOX_OK(h5store_batch_commit(batch, &box_err));
        free(text);
    }
    box_close(store);
}

/* What the library does not write, but another program may. */
const char *
zoo_make_foreign(void)
{
    const char *path = fixture_path("foreign.h5");
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_GROUP_CREATE), file, group;
    hid_t chunks = H5Pcreate(H5P_DATASET_CREATE), space;
    hsize_t dims[2] = {30, 40}, most[2] = {H5S_UNLIMITED, 40}, chunk[2] = {10, 10};
    uint64_t value = 77;

    ck_assert_int_ge(H5Pset_libver_bounds(fapl, H5F_LIBVER_V110, H5F_LIBVER_V110), 0);
    file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, fapl);
    ck_assert_int_ge(file, 0);
    H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    H5Pset_attr_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    H5Pset_attr_phase_change(creation, 5, 3);
    group = H5Gcreate2(file, "ordered", H5P_DEFAULT, creation, H5P_DEFAULT);
    ck_assert_int_ge(H5Lcreate_soft("/ordered", group, "soft", H5P_DEFAULT, H5P_DEFAULT), 0);
    H5Gclose(H5Gcreate2(group, "inner", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    for (int i = 0; i < 12; i++) {
        char name[24];

        snprintf(name, sizeof name, "number%d", i);
        if (i < 4)
            ck_assert_int_eq(hs_h5_write_u64(group, name, &value, 1, true, &box_err), H5STORE_OK);
        ck_assert_int_eq(hs_h5_write_u64(file, name, &value, 1, i > 5, &box_err), H5STORE_OK);
    }
    H5Gclose(group);
    space = H5Screate_simple(2, dims, NULL);
    H5Dclose(H5Dcreate2(file, "contiguous", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT,
                        H5P_DEFAULT));
    H5Pset_chunk(chunks, 2, chunk);
    H5Dclose(
        H5Dcreate2(file, "fixed-array", H5T_NATIVE_INT, space, H5P_DEFAULT, chunks, H5P_DEFAULT));
    H5Pset_shuffle(chunks);
    H5Dclose(H5Dcreate2(file, "filtered", H5T_NATIVE_INT, space, H5P_DEFAULT, chunks, H5P_DEFAULT));
    H5Sclose(space);
    space = H5Screate_simple(2, dims, most);
    H5Dclose(
        H5Dcreate2(file, "unlimited", H5T_NATIVE_INT, space, H5P_DEFAULT, chunks, H5P_DEFAULT));
    H5Sclose(space);
    H5Pclose(chunks);
    H5Pclose(creation);
    ck_assert_int_ge(H5Fclose(file), 0);
    H5Pclose(fapl);
    return path;
}
