/* SPDX-License-Identifier: MIT */
/*
 * Walks over blobs and items: everything once, in order, whatever is changed meanwhile, and
 * on behind what cannot be understood.
 */
#include "support/container.h"
#include "support/fixture.h"
#include "support/zoo.h"
#include <hdf5.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *cursor_suite(void);

#define COUNT 300

static h5store *store;

static void
setup(void)
{
    box_setup();
    store = box_open(H5STORE_CREATE);
}

/* The same with large groups as earlier versions made them. */
static void
setup_with_heaps(void)
{
    static const char *const groups[] = {"/items/c0", "/items/c1", "/items/c1/#+"};

    box_setup();
    zoo_make_with_heaps();
    zoo_make_groups(groups, sizeof groups / sizeof *groups);
    store = box_open(0);
}

static void
teardown(void)
{
    if (store != NULL)
        box_close(store);
    box_teardown();
}

static h5store_blob_cursor *
walk_blobs(void)
{
    h5store_blob_cursor *cursor;

    BOX_OK(h5store_blob_cursor_open(store, &cursor, &box_err));
    return cursor;
}

static h5store_item_cursor *
walk_items(const char *collection)
{
    h5store_item_cursor *cursor;

    BOX_OK(h5store_item_cursor_open(store, collection, &cursor, &box_err));
    return cursor;
}

START_TEST(empty_container_has_nothing_to_tell)
{
    h5store_blob_cursor *blobs = walk_blobs();
    h5store_item_cursor *items = walk_items(NULL), *below = walk_items("no/such");
    h5store_blob_info blob;
    h5store_item_info item;

    for (int again = 0; again < 2; again++) { /* the end stays the end */
        ck_assert_int_eq(h5store_blob_cursor_next(blobs, &blob, &box_err), H5STORE_DONE);
        ck_assert_int_eq(h5store_item_cursor_next(items, &item, &box_err), H5STORE_DONE);
        ck_assert_int_eq(h5store_item_cursor_next(below, &item, &box_err), H5STORE_DONE);
    }
    h5store_blob_cursor_close(blobs);
    h5store_item_cursor_close(items);
    h5store_item_cursor_close(below);
    h5store_blob_cursor_close(NULL);
    h5store_item_cursor_close(NULL);
}
END_TEST

START_TEST(missing_arguments_are_refused)
{
    h5store_blob_cursor *blobs = walk_blobs();
    h5store_item_cursor *items = walk_items(NULL), *other;
    h5store_blob_info blob;
    h5store_item_info item;

    BOX_FAILS(H5STORE_E_INVALID, h5store_blob_cursor_open(NULL, &blobs, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_blob_cursor_open(store, NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_blob_cursor_next(NULL, &blob, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_blob_cursor_next(blobs, NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_item_cursor_open(NULL, NULL, &items, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_item_cursor_open(store, NULL, NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_item_cursor_open(store, "a//b", &other, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_item_cursor_next(NULL, &item, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_item_cursor_next(items, NULL, &box_err));
    h5store_blob_cursor_close(blobs);
    h5store_item_cursor_close(items);
}
END_TEST

START_TEST(every_blob_is_told_once_in_order)
{
    h5store_blob_cursor *cursor;
    h5store_blob_info info;
    h5store_id last = {{0}};
    unsigned seen = 0, inlined = 0;

    for (unsigned i = 0; i < COUNT; i++)
        box_put(store, i % 2 ? 100 : 2000, i, NULL);
    cursor = walk_blobs();
    while (BOX_OK(h5store_blob_cursor_next(cursor, &info, &box_err)) == H5STORE_OK) {
        ck_assert(memcmp(last.bytes, info.id.bytes, sizeof last.bytes) < 0);
        last = info.id;
        ck_assert_str_eq(info.array.dtype, "'|u1'");
        ck_assert_int_eq(info.array.rank, 1);
        ck_assert_uint_eq(info.array.shape[0], info.array.nbytes);
        ck_assert_uint_eq(info.offset % 4096, 0);
        ck_assert_uint_eq(info.stored_bytes, info.array.nbytes == 100 ? 0 : 4096);
        inlined += info.offset == 0;
        seen++;
    }
    ck_assert_uint_eq(seen, COUNT);
    ck_assert_uint_eq(inlined, COUNT / 2);
    h5store_blob_cursor_close(cursor);
}
END_TEST

/* Removing what was told, and putting new ones, as a clean-up does. */
START_TEST(blobs_may_be_changed_during_a_walk)
{
    h5store_blob_cursor *cursor;
    h5store_blob_info info;
    unsigned seen = 0;

    for (unsigned i = 0; i < COUNT; i++)
        box_put(store, 600, i, NULL);
    cursor = walk_blobs();
    while (BOX_OK(h5store_blob_cursor_next(cursor, &info, &box_err)) == H5STORE_OK) {
        if (info.array.nbytes != 600)
            continue;
        BOX_OK(h5store_discard(store, &info.id, &box_err));
        box_put(store, 700, seen, NULL);
        seen++;
    }
    h5store_blob_cursor_close(cursor);
    ck_assert_uint_eq(seen, COUNT);
    ck_assert_uint_eq(box_totals(store).blobs, COUNT);
    ck_assert_uint_eq(box_totals(store).blob_bytes, COUNT * 700);
}
END_TEST

START_TEST(items_are_told_with_what_they_weigh)
{
    h5store_array shared = box_array(5000, 1), own = box_array(3000, 2);
    h5store_item_spec spec = {"m/f", "two", "12345", 5, "{\"m\": 0}", NULL, 3};
    h5store_item_cursor *cursor;
    h5store_item_info info;
    h5store_batch *batch;
    h5store_id ids[3];
    unsigned collections = 0, items = 0;

    box_set(store, "m/f", "one", 5000, 1);
    BOX_OK(h5store_batch_begin(store, &batch, &box_err));
    BOX_OK(h5store_batch_put(batch, &shared, &ids[0], &box_err));
    BOX_OK(h5store_batch_put(batch, &own, &ids[1], &box_err));
    ids[2] = ids[1];
    spec.links = ids;
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    BOX_OK(h5store_batch_set_source(batch, "m/g", "text", &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    cursor = walk_items(NULL);
    while (BOX_OK(h5store_item_cursor_next(cursor, &info, &box_err)) == H5STORE_OK) {
        if (info.key == NULL) {
            const char *const names[] = {"m", "m/f", "m/g"};

            ck_assert_uint_lt(collections, 3);
            ck_assert_str_eq(info.collection, names[collections++]);
            continue;
        }
        items++;
        ck_assert_str_eq(info.collection, "m/f");
        ck_assert_uint_eq(collections, 2); /* each collection before its items */
        if (strcmp(info.key, "one") == 0) {
            ck_assert_uint_eq(info.output_size, 6);
            ck_assert_uint_eq(info.link_count, 1);
            ck_assert_uint_eq(info.linked_bytes, 5000);
            ck_assert_uint_eq(info.own_bytes, 0);
        } else {
            ck_assert_str_eq(info.key, "two");
            ck_assert_uint_eq(info.output_size, 5);
            ck_assert_uint_eq(info.metadata_size, 8);
            ck_assert_uint_eq(info.link_count, 3);
            ck_assert_uint_eq(info.linked_bytes, 11000);
            ck_assert_uint_eq(info.own_bytes, 3000); /* though it is linked twice */
        }
    }
    ck_assert_uint_eq(items, 2);
    ck_assert_uint_eq(collections, 3);
    h5store_item_cursor_close(cursor);
    box_free(&shared);
    box_free(&own);
}
END_TEST

START_TEST(walk_may_begin_below)
{
    h5store_item_cursor *cursor;
    h5store_item_info info;
    unsigned collections = 0, items = 0;

    box_set(store, "a", "k", 600, 1);
    box_set(store, "a/b", "k", 600, 2);
    box_set(store, "a/b/c", "k", 600, 3);
    box_set(store, "a/bb", "k", 600, 4);
    cursor = walk_items("a/b");
    while (BOX_OK(h5store_item_cursor_next(cursor, &info, &box_err)) == H5STORE_OK) {
        ck_assert(strcmp(info.collection, "a/b") == 0 || strcmp(info.collection, "a/b/c") == 0);
        if (info.key == NULL)
            collections++;
        else
            items++;
    }
    h5store_item_cursor_close(cursor);
    ck_assert_uint_eq(collections, 2);
    ck_assert_uint_eq(items, 2);
}
END_TEST

START_TEST(items_may_be_changed_during_a_walk)
{
    h5store_item_cursor *cursor;
    h5store_item_info info;
    unsigned seen = 0;

    for (unsigned i = 0; i < COUNT; i++) {
        char collection[16], key[16];

        snprintf(collection, sizeof collection, "c%u", i % 7);
        snprintf(key, sizeof key, "%u", i * 31);
        box_set(store, collection, key, 600, i);
    }
    cursor = walk_items(NULL);
    while (BOX_OK(h5store_item_cursor_next(cursor, &info, &box_err)) == H5STORE_OK) {
        char *collection;

        if (info.key == NULL)
            continue;
        collection = strdup(info.collection);
        box_remove(store, collection, info.key);
        if (seen++ % 50 == 0)
            box_remove(store, collection, NULL); /* some of which were found already */
        free(collection);
    }
    h5store_item_cursor_close(cursor);
    ck_assert_uint_ge(seen, 7);
    ck_assert_uint_le(seen, COUNT);
    ck_assert_uint_eq(box_totals(store).items, 0);
    ck_assert_uint_eq(box_totals(store).blobs, 0);
}
END_TEST

/* ---- damage ------------------------------------------------------------------------- */

/* With the store closed, HDF5's own driver deletes something of one object. */
static void damage(const char *attribute, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void
damage(const char *attribute, const char *format, ...)
{
    char path[200];
    va_list arguments;
    hid_t file;

    va_start(arguments, format);
    vsnprintf(path, sizeof path, format, arguments);
    va_end(arguments);
    box_close(store);
    file = H5Fopen(box_path(), H5F_ACC_RDWR, H5P_DEFAULT);
    ck_assert_int_ge(file, 0);
    if (attribute != NULL)
        ck_assert_int_ge(H5Adelete_by_name(file, path, attribute, H5P_DEFAULT), 0);
    else
        ck_assert_int_ge(H5Ldelete(file, path, H5P_DEFAULT), 0);
    ck_assert_int_ge(H5Fclose(file), 0);
    store = box_open(0);
}

START_TEST(walk_goes_on_behind_a_damaged_blob)
{
    h5store_id ids[20];
    char text[H5STORE_ID_TEXT_SIZE];
    h5store_blob_cursor *cursor;
    h5store_blob_info info;
    unsigned good = 0, bad = 0;
    int rc;

    for (unsigned i = 0; i < 20; i++)
        ids[i] = box_put(store, 600, i, NULL);
    h5store_id_format(&ids[7], text);
    damage("dtype", "/blobs/%.2s/%s", text, text);
    cursor = walk_blobs();
    while ((rc = h5store_blob_cursor_next(cursor, &info, &box_err)) != H5STORE_DONE) {
        ck_assert(rc == H5STORE_OK || rc == H5STORE_E_DAMAGED);
        if (rc == H5STORE_OK) {
            good++;
            continue;
        }
        bad++;
        ck_assert_int_eq(h5store_id_equal(&info.id, &ids[7]), 1);
        ck_assert_ptr_null(info.array.dtype);
        ck_assert_ptr_nonnull(strstr(box_err.message, text));
    }
    h5store_blob_cursor_close(cursor);
    ck_assert_uint_eq(good, 19);
    ck_assert_uint_eq(bad, 1);
}
END_TEST

START_TEST(walk_goes_on_behind_a_damaged_item)
{
    h5store_item_cursor *cursor;
    h5store_item_info info;
    unsigned good = 0, bad = 0;
    int rc;

    for (unsigned i = 0; i < 20; i++) {
        char key[] = {'k', (char)('a' + i), '\0'};

        box_set(store, "m/f", key, 600, i);
    }
    damage("output", "/items/m/f/#kd/kd");
    cursor = walk_items(NULL);
    while ((rc = h5store_item_cursor_next(cursor, &info, &box_err)) != H5STORE_DONE) {
        ck_assert(rc == H5STORE_OK || rc == H5STORE_E_DAMAGED);
        if (rc == H5STORE_OK) {
            good += info.key != NULL;
            continue;
        }
        bad++;
        ck_assert_str_eq(info.collection, "m/f");
        ck_assert_str_eq(info.key, "kd");
    }
    h5store_item_cursor_close(cursor);
    ck_assert_uint_eq(good, 19);
    ck_assert_uint_eq(bad, 1);
}
END_TEST

/* Another program made a collection a member of itself: the walk must end. */
START_TEST(walk_of_a_circle_ends)
{
    h5store_item_cursor *cursor;
    h5store_item_info info;
    unsigned steps = 0;
    hid_t file;
    int rc;

    box_set(store, "m/f", "k", 600, 1);
    box_close(store);
    file = H5Fopen(box_path(), H5F_ACC_RDWR, H5P_DEFAULT);
    ck_assert_int_ge(
        H5Lcreate_hard(file, "/items/m", file, "/items/m/f/m", H5P_DEFAULT, H5P_DEFAULT), 0);
    H5Fclose(file);
    store = box_open(0);
    cursor = walk_items(NULL);
    while ((rc = h5store_item_cursor_next(cursor, &info, &box_err)) != H5STORE_DONE) {
        ck_assert(rc == H5STORE_OK || rc == H5STORE_E_DAMAGED);
        ck_assert_uint_lt(++steps, 100000);
    }
    h5store_item_cursor_close(cursor);
}
END_TEST

Suite *
cursor_suite(void)
{
    Suite *suite = suite_create("cursor");
    TCase *walks = tcase_create("walks");
    TCase *heaps = tcase_create("heaps");
    TCase *damaged = tcase_create("damage");

    tcase_add_checked_fixture(walks, setup, teardown);
    tcase_set_timeout(walks, 120);
    tcase_add_test(walks, empty_container_has_nothing_to_tell);
    tcase_add_test(walks, missing_arguments_are_refused);
    tcase_add_test(walks, every_blob_is_told_once_in_order);
    tcase_add_test(walks, blobs_may_be_changed_during_a_walk);
    tcase_add_test(walks, items_are_told_with_what_they_weigh);
    tcase_add_test(walks, walk_may_begin_below);
    tcase_add_test(walks, items_may_be_changed_during_a_walk);
    tcase_add_checked_fixture(damaged, setup, teardown);
    tcase_set_timeout(damaged, 120);
    tcase_add_test(damaged, walk_goes_on_behind_a_damaged_blob);
    tcase_add_test(damaged, walk_goes_on_behind_a_damaged_item);
    tcase_add_test(damaged, walk_of_a_circle_ends);
    tcase_add_checked_fixture(heaps, setup_with_heaps, teardown);
    tcase_set_timeout(heaps, 120);
    tcase_add_test(heaps, every_blob_is_told_once_in_order);
    tcase_add_test(heaps, blobs_may_be_changed_during_a_walk);
    tcase_add_test(heaps, items_may_be_changed_during_a_walk);
    tcase_add_test(heaps, walk_goes_on_behind_a_damaged_blob);
    tcase_add_test(heaps, walk_goes_on_behind_a_damaged_item);
    suite_add_tcase(suite, walks);
    suite_add_tcase(suite, heaps);
    suite_add_tcase(suite, damaged);
    return suite;
}
