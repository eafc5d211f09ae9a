/* SPDX-License-Identifier: MIT */
/*
 * Removals of most of a container, which make the metadata of the rest anew: what stays is as it
 * was in everything, and what goes is gone, for this handle, another one, and stock tools.
 */
#include "support/container.h"
#include "support/fixture.h"
#include "support/zoo.h"
#include <h5store/h5store.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *removal_suite(void);

#define MANY 600u
#define STAY 30u /* of them; less than an eighth */
#define SIZE(i) ((i) % 3 == 0 ? 200u : 5000u + (i) % 7)

static h5store *store, *other;
static h5store_id kept;

static const char *
key_of(unsigned i)
{
    static char key[16];

    snprintf(key, sizeof key, "%02x-%u", i * 37 % 256, i);
    return key;
}

/* The array that items of both collections share, for every fifth. */
static unsigned
seed_of(unsigned i)
{
    return i % 5 == 0 ? 7 : 1000 + i;
}

/* MANY items in "m/most", 40 in "m/more", one in "m" itself and one in "n", and an array that is
 * kept by itself. */
static void
fill(void)
{
    h5store_batch *batch;

    store = box_open(H5STORE_CREATE);
    other = box_open(0);
    kept = box_put(store, 9000, 1, NULL);
    batch = box_begin(store);
    for (unsigned i = 0; i < MANY + 40; i++) {
        const char *collection = i < MANY ? "m/most" : "m/more";
        h5store_id id = box_put_in(batch, i % 5 == 0 ? 5000 : SIZE(i), seed_of(i),
                                   i % 5 == 0 && i > 0 ? H5STORE_EXISTS : H5STORE_OK);

        box_set_in(batch, collection, key_of(i), &id, 1);
        BOX_OK(h5store_batch_set_times(batch, collection, key_of(i), 1000 + i, 2000 + i, &box_err));
    }
    box_set_in(batch, "m", "by itself", NULL, 0);
    box_set_in(batch, "n", "elsewhere", &kept, 1);
    BOX_OK(h5store_batch_set_source(batch, "m/most", "def most(): pass", &box_err));
    BOX_OK(h5store_batch_set_source(batch, "m/more", "def more(): pass", &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    ck_assert(box_has_item(other, "m", "by itself"));
}

static void
setup(void)
{
    box_setup();
    fill();
}

/* The same with large groups as earlier versions made them. */
static void
setup_with_heaps(void)
{
    static const char *const groups[] = {"/items/m", "/items/m/most"};

    box_setup();
    zoo_make_with_heaps();
    zoo_make_groups(groups, sizeof groups / sizeof *groups);
    fill();
}

static void
teardown(void)
{
    box_expect_verified(store);
    box_expect_verified(other);
    box_close(other);
    box_close(store);
    ck_assert_int_eq(box_run("h5ls -r '%s'", box_path()), 0);
    box_teardown();
}

static void
expect_item(unsigned i, const char *collection)
{
    h5store_item *item;

    BOX_OK(h5store_item_open(other, collection, key_of(i), &item, &box_err));
    box_expect(h5store_item_blob(item, 0), i % 5 == 0 ? 5000 : SIZE(i), seed_of(i));
    h5store_item_close(item);
}

/* How many items a walk finds, whose times are those that they had. */
static unsigned
walk_times(void)
{
    h5store_item_cursor *cursor;
    h5store_item_info info;
    unsigned found = 0;

    BOX_OK(h5store_item_cursor_open(other, NULL, &cursor, &box_err));
    while (BOX_OK(h5store_item_cursor_next(cursor, &info, &box_err)) == H5STORE_OK) {
        const char *number = info.key != NULL ? strchr(info.key, '-') : NULL;

        if (number == NULL)
            continue;
        ck_assert_uint_eq(info.stored, 1000 + strtoul(number + 1, NULL, 10));
        ck_assert_uint_eq(info.used, 2000 + strtoul(number + 1, NULL, 10));
        found++;
    }
    h5store_item_cursor_close(cursor);
    return found;
}

static void
expect_source(const char *collection, const char *expected)
{
    char *text;

    if (expected == NULL) {
        BOX_FAILS(H5STORE_E_NOT_FOUND, h5store_get_source(other, collection, &text, &box_err));
        return;
    }
    BOX_OK(h5store_get_source(other, collection, &text, &box_err));
    ck_assert_str_eq(text, expected);
    free(text);
}

/* Names in no order, some twice, some in vain. */
START_TEST(what_stays_of_many_is_whole)
{
    h5store_batch *batch = box_begin(store);
    uint64_t links = 0;

    for (unsigned i = MANY; i-- > STAY;)
        BOX_OK(h5store_batch_remove(batch, "m/most", key_of(i), &box_err));
    BOX_OK(h5store_batch_remove(batch, "m/most", key_of(STAY), &box_err));
    BOX_OK(h5store_batch_remove(batch, "m/none", "none", &box_err));
    BOX_OK(h5store_batch_remove(batch, "m/more", NULL, &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    for (unsigned i = 0; i < MANY; i++)
        if (i < STAY)
            expect_item(i, "m/most"), links++;
        else
            ck_assert(!box_has_item(other, "m/most", key_of(i)));
    ck_assert(!box_has_item(other, "m/more", key_of(MANY)));
    ck_assert(box_has_item(other, "m", "by itself"));
    ck_assert(box_has_item(other, "n", "elsewhere"));
    ck_assert_uint_eq(walk_times(), STAY);
    expect_source("m/most", "def most(): pass");
    expect_source("m/more", NULL);
    box_expect_put(store, &kept, 9000, 1);
    ck_assert_uint_eq(box_totals(store).items, STAY + 2);
    ck_assert_uint_eq(box_totals(store).links, links + 1);
    ck_assert_uint_eq(box_totals(store).blobs, STAY - STAY / 5 + 2);
}
END_TEST

START_TEST(collection_goes_and_what_is_beside_it_stays)
{
    box_remove(store, "m/most", NULL);
    for (unsigned i = MANY; i < MANY + 40; i++)
        expect_item(i, "m/more");
    ck_assert(!box_has_item(other, "m/most", key_of(1)));
    ck_assert_uint_eq(walk_times(), 40);
    expect_source("m/most", NULL);
    expect_source("m/more", "def more(): pass");
    ck_assert_uint_eq(box_totals(store).items, 42);
}
END_TEST

/* An array that is open when its item goes can be read until it is closed. */
START_TEST(open_array_outlives_its_item)
{
    h5store_item *item;

    BOX_OK(h5store_item_open(other, "m/most", key_of(1), &item, &box_err));
    box_remove(store, "m", NULL);
    box_expect(h5store_item_blob(item, 0), SIZE(1), seed_of(1));
    h5store_item_close(item);
    ck_assert(!box_has_item(other, "m/most", key_of(1)));
    ck_assert(box_has_item(other, "n", "elsewhere"));
    ck_assert_uint_eq(box_totals(store).blobs, 1);
}
END_TEST

/* The rest is not made anew when something of it cannot be read: the next put might heal it. */
START_TEST(damaged_array_of_the_rest_stays)
{
    h5store_id id = box_put(store, 30000, 5, NULL);
    h5store_blob *blob;
    char data[30000];

    box_flip(box_path(), box_offset(store, &id) + 20);
    BOX_OK(h5store_blob_open(store, &id, &blob, &box_err));
    BOX_FAILS(H5STORE_E_DAMAGED,
              h5store_blob_read(blob, data, sizeof data, H5STORE_CHECK_FAST, &box_err));
    h5store_blob_close(blob);
    box_remove(store, "m/most", NULL);
    ck_assert(!box_has_item(other, "m/most", key_of(1)));
    box_put(store, 30000, 5, NULL);
    box_expect_put(store, &id, 30000, 5);
    ck_assert_uint_eq(walk_times(), 40);
}
END_TEST

Suite *
removal_suite(void)
{
    Suite *suite = suite_create("removal");
    TCase *cases[] = {tcase_create("most"), tcase_create("heaps")};

    for (int i = 0; i < 2; i++) {
        tcase_add_checked_fixture(cases[i], i == 0 ? setup : setup_with_heaps, teardown);
        tcase_set_timeout(cases[i], 60);
        tcase_add_test(cases[i], what_stays_of_many_is_whole);
        tcase_add_test(cases[i], collection_goes_and_what_is_beside_it_stays);
        tcase_add_test(cases[i], open_array_outlives_its_item);
        tcase_add_test(cases[i], damaged_array_of_the_rest_stays);
        suite_add_tcase(suite, cases[i]);
    }
    return suite;
}
