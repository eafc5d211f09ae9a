/* SPDX-License-Identifier: MIT */
/*
 * The datasets under /blobs: what is written into them, and that nothing read back from them
 * is trusted.  HDF5's own driver plays the program that damages them.
 */
#include "blob.h"
#include "h5util.h"
#include "support/container.h"
#include "support/fixture.h"
#include <stdio.h>

Suite *blob_suite(void);

#define BIG 20000u
#define SMALL 300u

static char paths[2][HS_BLOB_PATH_SIZE]; /* of the big and the small blob, both kept */
static h5store_id ids[2];
static const size_t sizes[2] = {BIG, SMALL};

static void
setup(void)
{
    h5store *store;

    box_setup();
    store = box_open(H5STORE_CREATE);
    for (unsigned i = 0; i < 2; i++) {
        ids[i] = box_put(store, sizes[i], i, NULL);
        hs_blob_path(&ids[i], paths[i]);
    }
    box_set(store, "m/f", "k", BIG, 0);
    box_close(store);
}

/* ---- what is written ------------------------------------------------------------------- */

START_TEST(path_has_the_name)
{
    h5store_id id = {{0xab, 0xcd, 0, 1}};
    char path[HS_BLOB_PATH_SIZE];

    hs_blob_path(&id, path);
    ck_assert_str_eq(path, "/blobs/ab/abcd0001000000000000000000000000000000000000000000000000000000"
                           "00");
}
END_TEST

START_TEST(attributes_are_as_the_format_says)
{
    HS_CLEANUP(hs_freep) char *text = box_output("h5dump -A -d %s '%s'", paths[0], box_path());
    char id[H5STORE_ID_TEXT_SIZE];

    h5store_id_format(&ids[0], id);
    ck_assert_ptr_nonnull(strstr(text, id));
    for (const char *const *name =
             (const char *const[]){"\"id\"", "\"dtype\"", "\"shape\"", "\"order\"", "\"checksum\"",
                                   "'|u1'", "H5T_STD_U8LE", "20000", NULL};
         *name != NULL; name++)
        ck_assert_msg(strstr(text, *name) != NULL, "%s is missing: %s", *name, text);
}
END_TEST

/* One byte range: the implicit index, or none. */
START_TEST(layout_is_as_the_format_says)
{
    HS_CLEANUP(hs_freep) char *big = box_output("h5dump -pH -d %s '%s'", paths[0], box_path());
    HS_CLEANUP(hs_freep) char *small = box_output("h5dump -pH -d %s '%s'", paths[1], box_path());

    ck_assert_ptr_nonnull(strstr(big, "CHUNKED"));
    ck_assert_ptr_nonnull(strstr(big, "H5D_ALLOC_TIME_EARLY"));
    ck_assert_ptr_nonnull(strstr(big, "H5D_FILL_TIME_NEVER"));
    ck_assert_ptr_nonnull(strstr(small, "COMPACT"));
}
END_TEST

START_TEST(brief_and_description_agree)
{
    h5store_options options;
    hs_container *c;
    bool unclean;
    hid_t file;

    h5store_options_init(&options);
    BOX_OK(hs_container_open(box_path(), &options, &c, &unclean, &box_err));
    BOX_OK(hs_container_read_begin(c, &file, &box_err));
    for (unsigned i = 0; i < 2; i++) {
        hs_blob_brief brief;
        hs_blob blob;
        hid_t dataset;

        BOX_OK(hs_blob_find(file, &ids[i], &dataset, &box_err));
        BOX_OK(hs_blob_brief_of(dataset, &brief, &box_err));
        BOX_OK(hs_blob_describe(c, dataset, &blob, &box_err));
        ck_assert_int_eq(h5store_id_equal(&brief.id, &ids[i]), 1);
        ck_assert_int_eq(h5store_id_equal(&blob.info.id, &ids[i]), 1);
        ck_assert_uint_eq(brief.nbytes, sizes[i]);
        ck_assert_uint_eq(blob.info.array.nbytes, sizes[i]);
        ck_assert_uint_eq(brief.links, i == 0 ? 3 : 2); /* /blobs, /kept, the item */
        ck_assert(!blob.damaged);
        ck_assert_uint_eq(blob.extent.length, i == 0 ? hs_round_up(BIG, HS_SPACE_UNIT) : 0);
        hs_blob_release(&blob);
        hs_h5_close_dataset(&dataset);
    }
    hs_container_read_end(c);
    BOX_OK(hs_container_close(c, &box_err));
}
END_TEST

/* ---- what is read is not trusted ----------------------------------------------------------- */

typedef void (*damage_fn)(hid_t dataset);

static void
put_text(hid_t dataset, const char *name, const char *text)
{
    ck_assert_int_eq(hs_h5_write_text(dataset, name, text, &box_err), H5STORE_OK);
}

static void
put_numbers(hid_t dataset, const char *name, const uint64_t *values, size_t count)
{
    ck_assert_int_eq(hs_h5_write_u64(dataset, name, values, count, false, &box_err), H5STORE_OK);
}

static void
lose_attribute(hid_t dataset, const char *name)
{
    ck_assert_int_ge(H5Adelete(dataset, name), 0);
}

static void no_id(hid_t d) { lose_attribute(d, "id"); }
static void no_dtype(hid_t d) { lose_attribute(d, "dtype"); }
static void no_shape(hid_t d) { lose_attribute(d, "shape"); }
static void no_order(hid_t d) { lose_attribute(d, "order"); }
static void no_checksum(hid_t d) { lose_attribute(d, "checksum"); }
static void short_id(hid_t d) { put_text(d, "id", "abc"); }
static void odd_id(hid_t d) { put_text(d, "id", "zz"); }
static void odd_dtype(hid_t d) { put_text(d, "dtype", "'<f9'"); }
static void object_dtype(hid_t d) { put_text(d, "dtype", "'|O'"); }
static void larger_dtype(hid_t d) { put_text(d, "dtype", "'<f8'"); }
static void odd_order(hid_t d) { put_text(d, "order", "K"); }
static void two_checksums(hid_t d) { put_numbers(d, "checksum", (uint64_t[]){1, 2}, 2); }
static void text_checksum(hid_t d) { lose_attribute(d, "checksum"); put_text(d, "checksum", "1"); }
static void larger_shape(hid_t d) { put_numbers(d, "shape", (uint64_t[]){1u << 30}, 1); }
static void
endless_shape(hid_t d)
{
    put_numbers(d, "shape", (uint64_t[]){UINT64_C(1) << 62, 8}, 2);
}
static void
high_rank(hid_t d)
{
    uint64_t ones[H5STORE_MAX_RANK + 1];

    for (int i = 0; i <= H5STORE_MAX_RANK; i++)
        ones[i] = 1;
    put_numbers(d, "shape", ones, H5STORE_MAX_RANK + 1);
}

static const damage_fn damages[] = {
    no_id,      no_dtype,  no_shape,      no_order,      no_checksum,  short_id,      odd_id,
    odd_dtype,  object_dtype, larger_dtype, odd_order, two_checksums, text_checksum, larger_shape,
    endless_shape, high_rank,
};
#define DAMAGES (int)(sizeof damages / sizeof *damages)

/* Each damage, to a large and a small blob: opening says DAMAGED, names the blob, and putting
 * the array again makes the blob right. */
START_TEST(damaged_description_is_noticed_and_replaced)
{
    unsigned which = (unsigned)_i % 2;
    hid_t file = H5Fopen(box_path(), H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t dataset = H5Dopen2(file, paths[which], H5P_DEFAULT);
    h5store_blob *blob;
    h5store *store;
    int rc;

    ck_assert_int_ge(dataset, 0);
    damages[_i / 2](dataset);
    H5Dclose(dataset);
    ck_assert_int_ge(H5Fclose(file), 0);
    store = box_open(0);
    BOX_FAILS(H5STORE_E_DAMAGED, h5store_blob_open(store, &ids[which], &blob, &box_err));
    ck_assert_ptr_nonnull(strstr(box_err.message, paths[which]));
    ck_assert_ptr_nonnull(strstr(box_err.message, box_path()));
    ck_assert_uint_gt(box_verify(store), 0);
    box_set(store, "m/f", "k", BIG, 0);
    box_set(store, "m/f", "k2", SMALL, 1);
    rc = h5store_discard(store, &ids[which], &box_err);
    ck_assert_msg(rc == H5STORE_OK, "%s", box_err.message);
    box_put(store, sizes[which], which, NULL);
    box_expect_put(store, &ids[which], sizes[which], which);
    box_expect_verified(store);
    box_close(store);
    box_expect_sound();
}
END_TEST

Suite *
blob_suite(void)
{
    Suite *suite = suite_create("blob");
    TCase *written = tcase_create("written");
    TCase *read = tcase_create("read");

    tcase_add_checked_fixture(written, setup, box_teardown);
    tcase_add_test(written, path_has_the_name);
    tcase_add_test(written, attributes_are_as_the_format_says);
    tcase_add_test(written, layout_is_as_the_format_says);
    tcase_add_test(written, brief_and_description_agree);
    tcase_add_checked_fixture(read, setup, box_teardown);
    tcase_set_timeout(read, 60);
    tcase_add_loop_test(read, damaged_description_is_noticed_and_replaced, 0, 2 * DAMAGES);
    suite_add_tcase(suite, written);
    suite_add_tcase(suite, read);
    return suite;
}
