/* SPDX-License-Identifier: MIT */
/*
 * Names of collections and items: whatever bytes they are, they are kept apart, come back
 * from a walk as they were given, and stand in the file as FORMAT.md says.  And what items
 * hold: outputs, metadata, links, the source of their collection.
 */
#include "item.h"
#include "support/container.h"
#include "support/core.h"
#include "support/fixture.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *item_suite(void);

static h5store_err err;

/* ---- pure functions ----------------------------------------------------------------- */

START_TEST(path_is_as_the_format_says)
{
    static const struct {
        const char *collection, *key, *path;
    } cases[] = {
        {NULL, NULL, "/items"},
        {"m", NULL, "/items/m"},
        {"m/f", NULL, "/items/m/f"},
        {"m/f", "abcdef", "/items/m/f/#ab/abcdef"},
        {"m/f", "ab", "/items/m/f/#ab/ab"},
        {"m/f", "a", "/items/m/f/#+/a"},
        {"m/f", ".", "/items/m/f/#+/%2E"},
        {"m/f", "..", "/items/m/f/#+/.."},
        {"./..", ".a", "/items/%2E/../#+/.a"},
        {"#x/%y", "#z", "/items/%23x/%25y/#+/%23z"},
        {"%23x", "%", "/items/%2523x/#+/%25"},
        {"\xc3\xa4", "\xff\x01", "/items/\xc3\xa4/#+/\xff\x01"},
        {"a b", "A-_9", "/items/a b/#A-/A-_9"},
    };
    unsigned tried = 0;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++, tried++) {
        char *path;

        ck_assert_int_eq(hs_item_path(cases[i].collection, cases[i].key, &path, &err), H5STORE_OK);
        ck_assert_str_eq(path, cases[i].path);
        free(path);
    }
    ck_assert_uint_eq(tried, 13);
}
END_TEST

/* Each byte in first, second and only place: never the path of another, and back again. */
START_TEST(names_are_told_apart_and_come_back)
{
    char *paths[765];
    unsigned count = 0;

    for (unsigned byte = 1; byte < 256; byte++) {
        const char names[3][3] = {{(char)byte, 0}, {(char)byte, 'x', 0}, {'x', (char)byte, 0}};

        for (int form = 0; form < 3 && byte != '/'; form++) {
            char *path, *back;

            ck_assert_int_eq(hs_item_check_names(names[form], names[form], &err), H5STORE_OK);
            ck_assert_int_eq(hs_item_path(names[form], names[form], &path, &err), H5STORE_OK);
            ck_assert_int_eq(hs_item_unescape(strrchr(path, '/') + 1, &back, &err), H5STORE_OK);
            ck_assert_str_eq(back, names[form]);
            free(back);
            ck_assert(!hs_item_is_fan(path + strlen("/items/")));
            for (unsigned i = 0; i < count; i++)
                if (strcmp(paths[i], path) == 0 && !(byte == 'x' && form == 2))
                    ck_abort_msg("'%s' is the path of two names", path);
            paths[count++] = path;
        }
    }
    ck_assert_uint_eq(count, 762);
    while (count > 0)
        free(paths[--count]);
}
END_TEST

START_TEST(bad_names_are_refused)
{
    char *collection = calloc(1, H5STORE_MAX_COLLECTION + 2), key[H5STORE_MAX_KEY + 2] = {0};

    memset(collection, 'c', H5STORE_MAX_COLLECTION);
    memset(key, 'k', H5STORE_MAX_KEY);
    ck_assert_int_eq(hs_item_check_names(collection, key, &err), H5STORE_OK);
    collection[H5STORE_MAX_COLLECTION] = 'c';
    ck_assert_int_eq(hs_item_check_names(collection, NULL, &err), H5STORE_E_INVALID);
    ck_assert_ptr_nonnull(strstr(err.message, "4096"));
    key[H5STORE_MAX_KEY] = 'k';
    ck_assert_int_eq(hs_item_check_names("c", key, &err), H5STORE_E_INVALID);
    ck_assert_ptr_nonnull(strstr(err.message, "255"));
    for (const char *const *bad = (const char *const[]){"", "/", "/a", "a/", "a//b", "//", NULL};
         *bad != NULL; bad++)
        ck_assert_msg(hs_item_check_names(*bad, NULL, &err) == H5STORE_E_INVALID, "'%s'", *bad);
    for (const char *const *bad = (const char *const[]){"", "/", "a/b", "/a", NULL}; *bad != NULL;
         bad++)
        ck_assert_msg(hs_item_check_names("c", *bad, &err) == H5STORE_E_INVALID, "'%s'", *bad);
    free(collection);
}
END_TEST

/* What other programs may have made: a % that we did not write stays as it is. */
START_TEST(unescape_leaves_what_is_no_escape)
{
    for (const char *const *name = (const char *const[]){"%", "%2", "%zz", "a%23", "", NULL};
         *name != NULL; name++) {
        char *back;

        ck_assert_int_eq(hs_item_unescape(*name, &back, &err), H5STORE_OK);
        ck_assert_str_eq(back, *name);
        free(back);
    }
}
END_TEST

/* ---- in a container ------------------------------------------------------------------- */

static const char *const odd[] = {
    "#",  "%",        ".",        "..",     "#ab", "%23",      "%2523",           " ",
    "\n", "\xc3\xa4", "\xff\xfe", "output", "0",   "metadata", "key with spaces", "-"};
#define ODD (sizeof odd / sizeof *odd)

/* Every odd name as collection and as key, all in one container. */
START_TEST(odd_names_are_kept_apart)
{
    h5store *store = box_open(H5STORE_CREATE);
    h5store_item_cursor *cursor;
    h5store_item_info info;
    bool told[ODD][ODD] = {{false}};
    unsigned seen = 0;
    char *text;
    int rc;

    for (unsigned i = 0; i < ODD; i++)
        for (unsigned j = 0; j < ODD; j++)
            box_set(store, odd[i], odd[j], 600, i * ODD + j);
    box_close(store);
    store = box_open(0);
    for (unsigned i = 0; i < ODD; i++)
        for (unsigned j = 0; j < ODD; j++) {
            h5store_item *item;

            BOX_OK(h5store_item_open(store, odd[i], odd[j], &item, &box_err));
            box_expect(h5store_item_blob(item, 0), 600, i * ODD + j);
            h5store_item_close(item);
        }
    BOX_OK(h5store_item_cursor_open(store, NULL, &cursor, &box_err));
    while ((rc = BOX_OK(h5store_item_cursor_next(cursor, &info, &box_err))) == H5STORE_OK)
        for (unsigned i = 0; i < ODD && info.key != NULL; i++)
            for (unsigned j = 0; j < ODD; j++)
                if (strcmp(odd[i], info.collection) == 0 && strcmp(odd[j], info.key) == 0) {
                    ck_assert(!told[i][j]);
                    told[i][j] = true;
                    seen++;
                }
    ck_assert_int_eq(rc, H5STORE_DONE);
    h5store_item_cursor_close(cursor);
    ck_assert_uint_eq(seen, ODD * ODD);
    box_remove(store, "%23", "#");
    box_remove(store, "#", NULL);
    ck_assert_uint_eq(box_totals(store).items, ODD * ODD - ODD - 1);
    box_expect_verified(store);
    box_close(store);
    text = box_output("h5ls -r '%s'", box_path()); /* stock tools can walk it all */
    free(text);
}
END_TEST

START_TEST(longest_names_work)
{
    char *collection = calloc(1, H5STORE_MAX_COLLECTION + 1), key[H5STORE_MAX_KEY + 1] = {0};
    h5store *store = box_open(H5STORE_CREATE);
    h5store_batch *batch;
    h5store_item_spec spec = {collection, key, "x", 1, NULL, NULL, 0};
    char *text;

    memset(key, '%', H5STORE_MAX_KEY);
    for (size_t i = 0; i < H5STORE_MAX_COLLECTION; i++)
        collection[i] = _i == 0 ? 'c' : i % 2 ? '/' : '.'; /* one component, or as many as fit */
    if (_i == 1)
        collection[H5STORE_MAX_COLLECTION - 1] = '\0';
    BOX_OK(h5store_batch_begin(store, &batch, &box_err));
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    BOX_OK(h5store_batch_set_source(batch, collection, "source", &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    BOX_OK(h5store_item_has(store, collection, key, &box_err));
    BOX_OK(h5store_get_source(store, collection, &text, &box_err));
    ck_assert_str_eq(text, "source");
    free(text);
    if (_i == 0) /* the other takes a long time: each of its groups is looked up from the root */
        box_expect_verified(store);
    collection[H5STORE_MAX_COLLECTION - 1] = 'c';
    key[0] = '\0';
    BOX_OK(h5store_batch_begin(store, &batch, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_batch_set_item(batch, &spec, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_item_has(store, "c", "a/b", &box_err));
    h5store_batch_abort(batch);
    box_remove(store, NULL, NULL);
    ck_assert_uint_eq(box_totals(store).items, 0);
    box_expect_verified(store);
    box_close(store);
    free(collection);
}
END_TEST

/* A collection of many items does not become one flat heap: FORMAT.md, "Items". */
START_TEST(items_are_spread_over_groups)
{
    h5store *store = box_open(H5STORE_CREATE);
    h5store_batch *batch;

    BOX_OK(h5store_batch_begin(store, &batch, &box_err));
    for (unsigned i = 0; i < 512; i++) {
        char key[9];
        h5store_item_spec spec = {"m/f", key, NULL, 0, NULL, NULL, 0};

        snprintf(key, sizeof key, "%08x", i * 2654435761u);
        BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    }
    BOX_OK(h5store_batch_commit(batch, &box_err));
    box_close(store);
    ck_assert_int_eq(box_run("[ $(h5ls '%s/items/m/f' | wc -l) -gt 200 ]", box_path()), 0);
    ck_assert_int_eq(
        box_run("[ $(h5dump -A 0 -g /items/m/f '%s' | grep -cE 'GROUP \"[0-9a-f]{8}\"') -eq 512 ]",
                box_path()),
        0);
}
END_TEST

/* ---- what they hold --------------------------------------------------------------------- */

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
    box_teardown();
}

START_TEST(item_is_replaced_as_a_whole)
{
    h5store_item_spec spec = {"m/f", "k", "second", 6, "{\"b\": 2}", NULL, 0};
    h5store_array array = box_array(70000, 1);
    h5store_batch *batch;
    h5store_blob *blob;
    h5store_id id;

    box_set(store, "m/f", "k", 70000, 1);
    BOX_OK(h5store_hash(&array, 1, &id, &box_err));
    BOX_OK(h5store_blob_open(store, &id, &blob, &box_err));
    h5store_blob_close(blob);
    batch = box_begin(store);
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    box_expect_item(store, "m/f", "k", "second", 6, "{\"b\": 2}", 0);
    BOX_FAILS(H5STORE_E_NOT_FOUND,
              h5store_blob_open(store, &id, &blob, &box_err)); /* in the same commit */
    ck_assert_uint_eq(box_totals(store).items, 1);
    box_free(&array);
}
END_TEST

START_TEST(changes_are_made_in_their_order)
{
    h5store_batch *batch = box_begin(store);
    h5store_id id = box_put_in(batch, 5000, 1, H5STORE_OK);

    box_set_in(batch, "c", "a", &id, 1);
    BOX_OK(h5store_batch_remove(batch, "c", "a", &box_err));
    box_set_in(batch, "c", "b", &id, 1);
    box_set_in(batch, "c", "b", NULL, 0);
    BOX_OK(h5store_batch_set_metadata(batch, "c", "b", "{\"x\": 1}", &box_err));
    BOX_OK(h5store_batch_set_metadata(batch, "c", "none", "{}", &box_err)); /* no such item */
    BOX_OK(h5store_batch_remove(batch, "c", "none", &box_err));
    BOX_OK(h5store_batch_remove(batch, "none", NULL, &box_err));
    box_set_in(batch, "d", "k", &id, 1);
    BOX_OK(h5store_batch_commit(batch, &box_err));
    ck_assert(!box_has_item(store, "c", "a") && box_has_item(store, "d", "k") &&
              !box_has_item(store, "c", "none"));
    box_expect_item(store, "c", "b", "out", 3, "{\"x\": 1}", 0);
    ck_assert_uint_eq(box_totals(store).links, 1);
}
END_TEST

START_TEST(same_blob_may_be_linked_more_than_once)
{
    h5store_batch *batch = box_begin(store);
    h5store_id ids[3] = {box_put_in(batch, 5000, 1, H5STORE_OK)};
    h5store_item *item;

    ids[1] = box_put_in(batch, 5000, 2, H5STORE_OK);
    ids[2] = ids[0];
    box_set_in(batch, "c", "k", ids, 3);
    BOX_OK(h5store_batch_commit(batch, &box_err));
    BOX_OK(h5store_item_open(store, "c", "k", &item, &box_err));
    ck_assert_uint_eq(h5store_item_link_count(item), 3);
    box_expect(h5store_item_blob(item, 0), 5000, 1);
    box_expect(h5store_item_blob(item, 1), 5000, 2);
    box_expect(h5store_item_blob(item, 2), 5000, 1);
    h5store_blob_close(h5store_item_blob(item, 2)); /* not ours to close: does nothing */
    box_expect(h5store_item_blob(item, 2), 5000, 1);
    h5store_item_close(item);
    box_remove(store, "c", "k");
    ck_assert_uint_eq(box_totals(store).blobs, 0);
}
END_TEST

/* Begin a new arena and leave so many bytes of it; it ends where the file does. */
static void
leave_of_arena(hs_container *c, uint64_t bytes)
{
    uint64_t address;
    hs_space *space;

    BOX_OK(hs_container_write_begin(c, NULL, &box_err));
    space = hs_container_space(c);
    space->arena_next = space->arena_end;
    BOX_OK(hs_space_metadata(space, hs_container_pager(c), 8, &address, &box_err));
    ck_assert_uint_eq(space->arena_end, space->eoa);
    space->arena_next = space->arena_end - bytes;
    BOX_OK(hs_container_commit(c, NULL, 0, &box_err));
}

/* Headers grow when a blob gets its second link, and are cut off by the end of an arena, and of
 * the file, at any place. */
START_TEST(items_are_whole_wherever_the_file_ends)
{
    h5store_id ids[4] = {box_put(store, 100, 0, NULL)};
    hs_container *c = core_open(box_path(), 0, false);
    unsigned seed = 0;

    for (uint64_t bytes = 8; bytes <= 3000; bytes += 8) {
        h5store_batch *batch;
        char key[20];

        leave_of_arena(c, bytes);
        batch = box_begin(store);
        for (size_t i = 1; i < 4; i++)
            ids[i] = box_put_in(batch, 100, ++seed, H5STORE_OK);
        snprintf(key, sizeof key, "%u", seed);
        box_set_in(batch, "c", key, ids, 4);
        box_set_in(batch, "d", key, ids + 1, 3);
        BOX_OK(h5store_batch_commit(batch, &box_err));
        ids[0] = ids[3];
    }
    BOX_OK(hs_container_close(c, &box_err));
    box_expect_verified(store);
    for (unsigned i = 1; i <= seed; i++) {
        h5store_array array = box_array(100, i);
        h5store_id id;

        BOX_OK(h5store_hash(&array, 0, &id, &box_err));
        box_expect_put(store, &id, 100, i);
        box_free(&array);
    }
}
END_TEST

START_TEST(thousands_of_links_keep_their_order)
{
    enum { COUNT = 3000 };
    h5store_batch *batch = box_begin(store);
    h5store_id *ids = calloc(COUNT, sizeof *ids);
    h5store_item *item;

    for (unsigned i = 0; i < COUNT; i++)
        ids[i] = box_put_in(batch, 100, i, H5STORE_OK);
    box_set_in(batch, "c", "k", ids, COUNT);
    BOX_OK(h5store_batch_commit(batch, &box_err));
    BOX_OK(h5store_item_open(store, "c", "k", &item, &box_err));
    ck_assert_uint_eq(h5store_item_link_count(item), COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        box_expect(h5store_item_blob(item, i), 100, i);
    h5store_item_close(item);
    ck_assert_uint_eq(box_totals(store).links, COUNT);
    box_remove(store, NULL, NULL);
    ck_assert_uint_eq(box_totals(store).blobs, 0);
    free(ids);
}
END_TEST

/* Around the size of an object header, and beyond what one attribute may have. */
START_TEST(large_output_metadata_and_source_come_back)
{
    static const size_t sizes[] = {0, 1, 31999, 32000, 32001, 65535, 65536, 70000, 1000000};
    size_t size = sizes[_i];
    h5store_array bytes = box_array(size, 1);
    char *text = malloc(size + 2), *read;
    h5store_item_spec spec = {"m/f", "k", bytes.data, size, text, NULL, 0};
    h5store_batch *batch = box_begin(store);

    /* A text of no bytes is no metadata; so the shortest has one. */
    memset(text, 'x', size + 1);
    if (size > 2)
        memcpy(text + size - 2, "\xc3\xa4", 2); /* two bytes of UTF-8 */
    text[size > 0 ? size : 1] = '\0';
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    BOX_OK(h5store_batch_set_source(batch, "m/f", text, &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    for (int round = 0; round < 2; round++) {
        box_expect_item(store, "m/f", "k", bytes.data, size, text, 0);
        BOX_OK(h5store_get_source(store, "m/f", &read, &box_err));
        ck_assert_str_eq(read, text);
        free(read);
        box_close(store);
        store = box_open(0);
    }
    batch = box_begin(store);
    BOX_OK(h5store_batch_set_metadata(batch, "m/f", "k", "{}", &box_err));
    BOX_OK(h5store_batch_set_source(batch, "m/f", "short", &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    box_expect_item(store, "m/f", "k", bytes.data, size, "{}", 0);
    BOX_OK(h5store_get_source(store, "m/f", &read, &box_err));
    ck_assert_str_eq(read, "short");
    free(read);
    free(text);
    box_free(&bytes);
}
END_TEST

START_TEST(source_belongs_to_its_collection)
{
    h5store_batch *batch = box_begin(store);
    char *text = NULL;

    BOX_FAILS(H5STORE_E_NOT_FOUND, h5store_get_source(store, "m/f", &text, &box_err));
    BOX_OK(h5store_batch_set_source(batch, "m/f", NULL, &box_err));
    BOX_OK(h5store_batch_set_source(batch, "m/g", "", &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    BOX_FAILS(H5STORE_E_NOT_FOUND, h5store_get_source(store, "m/f", &text, &box_err));
    BOX_FAILS(H5STORE_E_NOT_FOUND, h5store_get_source(store, "m", &text, &box_err));
    ck_assert_ptr_null(text);
    BOX_OK(h5store_get_source(store, "m/g", &text, &box_err));
    ck_assert_str_eq(text, "");
    free(text);
    batch = box_begin(store);
    BOX_OK(h5store_batch_set_source(batch, "m/f", "one", &box_err));
    BOX_OK(h5store_batch_set_source(batch, "m/f", NULL, &box_err)); /* leaves it */
    BOX_OK(h5store_batch_commit(batch, &box_err));
    BOX_OK(h5store_get_source(store, "m/f", &text, &box_err));
    ck_assert_str_eq(text, "one");
    free(text);
}
END_TEST

START_TEST(collection_goes_with_all_below_it)
{
    box_set(store, "a", "k", 1000, 1);
    box_set(store, "a/b", "k", 1000, 2);
    box_set(store, "a/b/c", "k", 1000, 3);
    box_set(store, "ab", "k", 1000, 4);
    box_remove(store, "a/b", NULL);
    ck_assert(box_has_item(store, "a", "k") && !box_has_item(store, "a/b", "k") &&
              !box_has_item(store, "a/b/c", "k"));
    ck_assert_uint_eq(box_totals(store).blobs, 2);
    box_remove(store, "a", NULL);
    ck_assert(!box_has_item(store, "a", "k") && box_has_item(store, "ab", "k"));
    box_remove(store, NULL, NULL);
    ck_assert_uint_eq(box_totals(store).items, 0);
    ck_assert_uint_eq(box_totals(store).blobs, 0);
    box_set(store, "a/b", "k", 1000, 2);
    ck_assert(box_has_item(store, "a/b", "k"));
}
END_TEST

Suite *
item_suite(void)
{
    Suite *suite = suite_create("item");
    TCase *names = tcase_create("names");
    TCase *stored = tcase_create("stored");
    TCase *held = tcase_create("held");

    tcase_add_test(names, path_is_as_the_format_says);
    tcase_add_test(names, names_are_told_apart_and_come_back);
    tcase_add_test(names, bad_names_are_refused);
    tcase_add_test(names, unescape_leaves_what_is_no_escape);
    tcase_add_checked_fixture(stored, box_setup, box_teardown);
    tcase_set_timeout(stored, 120);
    tcase_add_test(stored, odd_names_are_kept_apart);
    tcase_add_loop_test(stored, longest_names_work, 0, 2);
    tcase_add_test(stored, items_are_spread_over_groups);
    tcase_add_checked_fixture(held, setup, teardown);
    tcase_set_timeout(held, 60);
    tcase_add_test(held, item_is_replaced_as_a_whole);
    tcase_add_test(held, changes_are_made_in_their_order);
    tcase_add_test(held, same_blob_may_be_linked_more_than_once);
    tcase_add_test(held, items_are_whole_wherever_the_file_ends);
    tcase_add_test(held, thousands_of_links_keep_their_order);
    tcase_add_loop_test(held, large_output_metadata_and_source_come_back, 0, 9);
    tcase_add_test(held, source_belongs_to_its_collection);
    tcase_add_test(held, collection_goes_with_all_below_it);
    suite_add_tcase(suite, names);
    suite_add_tcase(suite, stored);
    suite_add_tcase(suite, held);
    return suite;
}
