/* SPDX-License-Identifier: MIT */
/*
 * Rebuilds of damaged metadata: what cannot be read now, and what only that leads to, is not
 * lost.  Each test damages one object header, lets the library work, and mends it.
 */
#include "h5util.h"
#include "rebuild.h"
#include "support/container.h"
#include "vfd_compat.h"

Suite *rebuild_suite(void);

#define COUNT 8u   /* items that stay, with an array each */
#define WASTE 120u /* items that go, and whose metadata is half of all */
#define SIZE 4000u
#define KEPT 77u

#define A_BLOB "/blobs/xx"   /* the group with the array of item a3 */
#define A_FULL "/blobs/xx/x" /* and that array */

static const char *const headers[] = {
    A_BLOB,   A_FULL,     "/kept", "/items/m/f", "/items/m/f/#a3", "/items/m/f/#a3/a3",
    "/items", "/items/m", /* where nothing is found that could be removed */
    "/blobs",             /* where no array is */
};
#define HEADERS ((int)(sizeof headers / sizeof *headers))

static h5store *store;
static uint64_t damaged; /* byte of the file that is turned over */

/* The path of a blob, or (@p whole false) of the group that it lies in. */
static const char *
blob_path(unsigned seed, bool whole)
{
    static char path[HS_BLOB_PATH_SIZE];
    h5store_array array = box_array(SIZE, seed);
    h5store_id id;

    BOX_OK(h5store_hash(&array, 1, &id, &box_err));
    box_free(&array);
    hs_blob_path(&id, path);
    if (!whole)
        *strrchr(path, '/') = '\0';
    return path;
}

/* Close the container and damage the header of an object. */
static void
damage(const char *path)
{
    hs_link_info info;
    hid_t file;

    if (strcmp(path, A_BLOB) == 0 || strcmp(path, A_FULL) == 0)
        path = blob_path(3, strcmp(path, A_FULL) == 0);
    box_close(store);
    file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);
    ck_assert_int_ge(hs_link_info_get(file, path, &info), 0);
    damaged = hs_h5_link_address(&info) + 20;
    ck_assert_int_ge(H5Fclose(file), 0);
    box_flip(box_path(), damaged);
    store = box_open(0);
}

static void
mend(void)
{
    box_close(store);
    box_flip(box_path(), damaged);
    store = box_open(0);
}

static void
setup(void)
{
    static const uint8_t output[30000];
    h5store_item_spec spec = {"m/other", NULL, output, sizeof output, "{}", NULL, 0};
    h5store_batch *batch;
    char key[16];

    box_setup();
    store = box_open(H5STORE_CREATE);
    box_put(store, SIZE, KEPT, NULL);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "a%u", i);
        box_set(store, "m/f", key, SIZE, i);
    }
    box_set(store, "m/other", "array", SIZE, 500);
    batch = box_begin(store);
    BOX_OK(h5store_batch_set_source(batch, "m/f", "def f(): pass", &box_err));
    for (unsigned i = 0; i < WASTE; i++) {
        snprintf(key, sizeof key, "b%u", i);
        spec.key = key;
        BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    }
    BOX_OK(h5store_batch_commit(batch, &box_err));
}

static void
teardown(void)
{
    box_close(store);
    box_teardown();
}

/* How many of the results can be read, each of which has to be right. */
static unsigned
count_right(void)
{
    unsigned right = 0;
    h5store_item *item;
    h5store_blob *blob;
    h5store_id id;
    char key[16], *text;

    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "a%u", i);
        if (h5store_item_open(store, "m/f", key, &item, &box_err) < 0)
            continue;
        box_expect(h5store_item_blob(item, 0), SIZE, i);
        h5store_item_close(item);
        right++;
    }
    BOX_OK(h5store_id_parse(strrchr(blob_path(KEPT, true), '/') + 1, &id, &box_err));
    if (h5store_blob_open(store, &id, &blob, &box_err) == H5STORE_OK) {
        box_expect(blob, SIZE, KEPT);
        h5store_blob_close(blob);
        right++;
    }
    if (h5store_get_source(store, "m/f", &text, &box_err) == H5STORE_OK) {
        ck_assert_str_eq(text, "def f(): pass");
        free(text);
        right++;
    }
    return right;
}

/* The damage was told of; mended, all is there. */
static void
expect_nothing_lost(void)
{
    bool said = strstr(h5store_notice(store), "not all of the metadata") != NULL;

    mend();
    ck_assert_uint_eq(count_right(), COUNT + 2);
    box_expect_verified(store);
    ck_assert(said);
    ck_assert_str_eq(h5store_notice(store), "");
}

/* Remove what makes a rebuild pay. */
static int
remove_waste(void)
{
    h5store_batch *batch = box_begin(store);
    char key[16];

    for (unsigned i = 0; i < WASTE - 5; i++) {
        snprintf(key, sizeof key, "b%u", i);
        BOX_OK(h5store_batch_remove(batch, "m/other", key, &box_err));
    }
    BOX_OK(h5store_batch_remove(batch, "m/other", "array", &box_err));
    return h5store_batch_commit(batch, &box_err);
}

/* Without damage, to see that the tests below are about something. */
START_TEST(rebuild_follows_a_removal_that_leaves_waste)
{
    uint64_t before = box_totals(store).metadata_bytes;

    BOX_OK(remove_waste());
    ck_assert_uint_lt(box_totals(store).metadata_bytes, before / 2);
    ck_assert_uint_eq(count_right(), COUNT + 2);
    ck_assert_str_eq(h5store_notice(store), "");
    box_expect_verified(store);
}
END_TEST

START_TEST(removal_loses_nothing_else)
{
    unsigned right;

    damage(headers[_i]);
    right = count_right();
    BOX_OK(remove_waste());
    ck_assert_uint_eq(count_right(), right);
    expect_nothing_lost();
}
END_TEST

START_TEST(compaction_loses_nothing)
{
    h5store_compaction done;
    unsigned right;

    damage(headers[_i]);
    right = count_right();
    BOX_OK(h5store_compact(store, NULL, NULL, &done, &box_err));
    ck_assert_uint_eq(count_right(), right);
    ck_assert(!done.rebuilt && done.left);
    expect_nothing_lost();
    BOX_OK(h5store_compact(store, NULL, NULL, &done, &box_err));
    ck_assert(done.rebuilt && !done.left);
    ck_assert_uint_eq(count_right(), COUNT + 2);
}
END_TEST

/* That is a rebuild of what stays, if all of that can be read. */
START_TEST(removal_of_most_loses_nothing_else)
{
    h5store_batch *batch = box_begin(store);
    unsigned right;
    char key[16];

    for (unsigned i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "c%u", i);
        box_set_in(batch, "m/many", key, NULL, 0);
    }
    BOX_OK(h5store_batch_commit(batch, &box_err));
    damage(headers[_i]);
    right = count_right();
    batch = box_begin(store);
    BOX_OK(h5store_batch_remove(batch, "m/many", NULL, &box_err));
    BOX_OK(h5store_batch_remove(batch, "m/other", NULL, &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    ck_assert(!box_has_item(store, "m/many", "c7"));
    ck_assert_uint_eq(count_right(), right);
    expect_nothing_lost();
}
END_TEST

/* What is kept leads to the array, as an item does. */
START_TEST(clearing_brings_what_is_kept_along)
{
    damage(blob_path(KEPT, false));
    box_remove(store, NULL, NULL);
    ck_assert_uint_eq(count_right(), 1);
    ck_assert_uint_eq(box_totals(store).items, 0);
    box_expect_verified(store);
}
END_TEST

START_TEST(clearing_leaves_what_is_kept_and_cannot_be_read)
{
    damage("/kept");
    box_remove(store, NULL, NULL);
    mend();
    ck_assert_uint_eq(count_right(), 1);
    ck_assert_uint_eq(box_totals(store).items, 0);
    box_expect_verified(store);
}
END_TEST

Suite *
rebuild_suite(void)
{
    Suite *suite = suite_create("rebuild");
    TCase *harm = tcase_create("harm");

    tcase_add_checked_fixture(harm, setup, teardown);
    tcase_add_test(harm, rebuild_follows_a_removal_that_leaves_waste);
    tcase_add_loop_test(harm, removal_loses_nothing_else, 0, HEADERS - 3);
    tcase_add_loop_test(harm, compaction_loses_nothing, 0, HEADERS);
    tcase_add_loop_test(harm, removal_of_most_loses_nothing_else, 0, HEADERS - 3);
    tcase_add_test(harm, clearing_brings_what_is_kept_along);
    tcase_add_test(harm, clearing_leaves_what_is_kept_and_cannot_be_read);
    suite_add_tcase(suite, harm);
    return suite;
}
