/* SPDX-License-Identifier: MIT */
/*
 * The datasets under /blobs: what is written into them, and that nothing read back from them
 * is trusted.  HDF5's own driver plays the program that damages them.
 */
#include "blob.h"
#include "h5util.h"
#include "os.h"
#include "support/container.h"
#include "support/core.h"
#include "support/fixture.h"
#include <errno.h>
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
    ck_assert_str_eq(path,
                     "/blobs/ab/abcd0001000000000000000000000000000000000000000000000000000000"
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
    hs_container *c = core_open(box_path(), 0, false);
    hid_t file;

    BOX_OK(hs_container_read_begin(c, &file, &box_err));
    for (unsigned i = 0; i < 2; i++) {
        hs_blob_brief brief;
        hs_blob blob;
        uint64_t address;

        BOX_OK(hs_blob_find(file, &ids[i], &address, &box_err));
        BOX_OK(hs_blob_brief_of(c, address, &brief, &box_err));
        BOX_OK(hs_blob_describe(c, address, &blob, &box_err));
        ck_assert_int_eq(h5store_id_equal(&brief.id, &ids[i]), 1);
        ck_assert_int_eq(h5store_id_equal(&blob.info.id, &ids[i]), 1);
        ck_assert_uint_eq(brief.nbytes, sizes[i]);
        ck_assert_uint_eq(blob.info.array.nbytes, sizes[i]);
        ck_assert_uint_eq(brief.links, i == 0 ? 3 : 2); /* /blobs, /kept, the item */
        ck_assert(!blob.damaged);
        ck_assert_uint_eq(blob.extent.length, i == 0 ? hs_round_up(BIG, HS_SPACE_UNIT) : 0);
        hs_blob_release(&blob);
    }
    hs_container_read_end(c);
    BOX_OK(hs_container_close(c, &box_err));
}
END_TEST

/* ---- what is read is not trusted ----------------------------------------------------------- */

static const uint64_t ones[H5STORE_MAX_RANK + 1] = {1, 1};

/* An attribute is lost, or becomes a text, or @c count numbers. */
static const struct damage {
    const char *name, *text;
    const uint64_t *numbers;
    size_t count;
} damages[] = {
    {.name = "id"},
    {.name = "dtype"},
    {.name = "shape"},
    {.name = "order"},
    {.name = "checksum"},
    {.name = "id", .text = "abc"},
    {.name = "dtype", .text = "'<f9'"},
    {.name = "dtype", .text = "'|O'"},
    {.name = "dtype", .text = "'<f8'"}, /* possible, but not for these bytes */
    {.name = "order", .text = "K"},
    {.name = "checksum", .text = "1"},
    {.name = "checksum", .numbers = ones, .count = 2},
    {.name = "shape", .numbers = (const uint64_t[]){1u << 30}, .count = 1},
    {.name = "shape", .numbers = (const uint64_t[]){UINT64_C(1) << 62, 8}, .count = 2},
    {.name = "shape", .numbers = ones, .count = H5STORE_MAX_RANK + 1},
};
#define DAMAGES (int)(sizeof damages / sizeof *damages)

static void
do_damage(hid_t dataset, const struct damage *damage)
{
    ck_assert_int_ge(H5Adelete(dataset, damage->name), 0);
    if (damage->text != NULL)
        BOX_OK(hs_h5_write_text(dataset, damage->name, damage->text, &box_err));
    if (damage->numbers != NULL)
        BOX_OK(hs_h5_write_u64(dataset, damage->name, damage->numbers, damage->count, false,
                               &box_err));
}

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
    do_damage(dataset, &damages[_i / 2]);
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

/* ---- what is mapped ---------------------------------------------------------------------- */

static int
refuse_to_reserve(int fd HS_UNUSED, int mode HS_UNUSED, off_t offset HS_UNUSED,
                  off_t length HS_UNUSED)
{
    errno = EOPNOTSUPP;
    return -1;
}

/* Where blocks cannot be reserved the file ends with the last byte that was written. */
START_TEST(fresh_array_is_mapped_where_blocks_cannot_be_reserved)
{
    struct hs_os_ops ops = hs_os_real;
    h5store_blob *blob;
    const void *data;
    h5store_id id;
    h5store *store;

    ops.fallocate = refuse_to_reserve;
    hs_os_set_ops(&ops);
    store = box_open(0);
    id = box_put(store, BIG + 1, 7, NULL);
    BOX_OK(h5store_blob_open(store, &id, &blob, &box_err));
    BOX_OK(h5store_blob_map(blob, &data, &box_err));
    box_expect(blob, BIG + 1, 7);
    h5store_blob_close(blob);
    box_expect_verified(store);
    box_close(store);
    hs_os_set_ops(NULL);
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
    tcase_add_test(written, fresh_array_is_mapped_where_blocks_cannot_be_reserved);
    tcase_add_checked_fixture(read, setup, box_teardown);
    tcase_set_timeout(read, 60);
    tcase_add_loop_test(read, damaged_description_is_noticed_and_replaced, 0, 2 * DAMAGES);
    suite_add_tcase(suite, written);
    suite_add_tcase(suite, read);
    return suite;
}
