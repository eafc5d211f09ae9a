/* SPDX-License-Identifier: MIT */
/*
 * Names of collections and items: whatever bytes they are, they are kept apart, come back
 * from a walk as they were given, and stand in the file as FORMAT.md says.
 */
#include "item.h"
#include "support/container.h"
#include "support/fixture.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *item_suite(void);

static h5store_err err;

/* ---- pure functions ----------------------------------------------------------------- */

START_TEST(path_is_as_the_format_says)
{
    static const struct { const char *collection, *key, *path; } cases[] = {
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

static const char *const odd[] = {"#",      "%",  ".",    "..",       "#ab", "%23",
                                  "%2523",  " ",  "\n",   "\xc3\xa4", "\xff\xfe",
                                  "output", "0",  "metadata", "key with spaces", "-"};
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
    ck_assert_int_eq(box_run("[ $(h5ls -r '%s/items/m/f' | grep -c output) -eq 512 ]", box_path()),
                     0);
}
END_TEST

Suite *
item_suite(void)
{
    Suite *suite = suite_create("item");
    TCase *names = tcase_create("names");
    TCase *stored = tcase_create("stored");

    tcase_add_test(names, path_is_as_the_format_says);
    tcase_add_test(names, names_are_told_apart_and_come_back);
    tcase_add_test(names, bad_names_are_refused);
    tcase_add_test(names, unescape_leaves_what_is_no_escape);
    tcase_add_checked_fixture(stored, box_setup, box_teardown);
    tcase_set_timeout(stored, 120);
    tcase_add_test(stored, odd_names_are_kept_apart);
    tcase_add_loop_test(stored, longest_names_work, 0, 2);
    tcase_add_test(stored, items_are_spread_over_groups);
    suite_add_tcase(suite, names);
    suite_add_tcase(suite, stored);
    return suite;
}
