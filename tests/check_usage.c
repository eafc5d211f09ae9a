/* SPDX-License-Identifier: MIT */
/*
 * Usage: times of items, counters and misses, across processes, removals and growth.
 */
#include "support/child.h"
#include "support/container.h"
#include <check.h>
#include <h5store/h5store.h>

Suite *usage_suite(void);

static h5store *store;

static void
setup(void)
{
    box_setup();
    store = box_open(H5STORE_CREATE);
}

static void
teardown(void)
{
    box_close(store);
    box_teardown();
}

/* What the walk tells of an item. */
static h5store_item_info
info_of(const char *key)
{
    h5store_item_cursor *cursor;
    h5store_item_info info, found = {0};

    BOX_OK(h5store_item_cursor_open(store, NULL, &cursor, &box_err));
    while (BOX_OK(h5store_item_cursor_next(cursor, &info, &box_err)) == H5STORE_OK)
        if (info.key != NULL && strcmp(info.key, key) == 0)
            found = info;
    h5store_item_cursor_close(cursor);
    return found;
}

static h5store_usage
usage(void)
{
    h5store_usage got;

    BOX_OK(h5store_get_usage(store, &got, &box_err));
    return got;
}

START_TEST(hit_changes_when_it_was_used)
{
    h5store_item_info before, after;

    box_set(store, "m/f", "a", 600, 1);
    box_set(store, "m/f", "b", 600, 2);
    before = info_of("a");
    ck_assert_uint_gt(before.stored, 1700000000000000);
    ck_assert_uint_eq(before.stored, before.used);
    BOX_OK(h5store_note(store, H5STORE_NOTE_HIT, "m/f", "a", NULL, &box_err));
    BOX_OK(h5store_flush(store, &box_err));
    after = info_of("a");
    ck_assert_uint_eq(after.stored, before.stored);
    ck_assert_uint_ge(after.used, before.used + 1);
    ck_assert_uint_lt(info_of("b").used, after.used);
}
END_TEST

START_TEST(notes_survive_closing_and_are_summed)
{
    for (unsigned i = 0; i < 5; i++)
        BOX_OK(h5store_note(store, H5STORE_NOTE_HIT, "m/f", "a", NULL, &box_err));
    BOX_OK(h5store_note(store, H5STORE_NOTE_MISS, "m/f", "a", "first call", &box_err));
    BOX_OK(h5store_note(store, H5STORE_NOTE_HEAL, "m/f", "a", NULL, &box_err));
    ck_assert_uint_eq(usage().hits, 5); /* before anything was written */
    box_put(store, 3000, 1, NULL);
    box_put(store, 3000, 1, NULL);
    box_close(store);
    store = box_open(0);
    ck_assert_uint_eq(usage().hits, 5);
    ck_assert_uint_eq(usage().misses, 1);
    ck_assert_uint_eq(usage().heals, 1);
    ck_assert_uint_eq(usage().stored, 1);
    ck_assert_uint_eq(usage().duplicates, 1);
    ck_assert_uint_eq(usage().duplicate_bytes, 3000);
}
END_TEST

START_TEST(last_misses_are_told)
{
    h5store_miss misses[H5STORE_MAX_MISSES];
    char key[16], longer[600];
    size_t count;

    BOX_OK(h5store_get_misses(store, misses, &count, &box_err));
    ck_assert_uint_eq(count, 0);
    for (unsigned i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "%u", i);
        BOX_OK(h5store_note(store, H5STORE_NOTE_MISS, "m/f", key, "new arguments", &box_err));
    }
    BOX_OK(h5store_get_misses(store, misses, &count, &box_err));
    ck_assert_uint_eq(count, H5STORE_MAX_MISSES);
    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof key, "%u", 49 - i);
        ck_assert_str_eq(misses[i].key, key);
        ck_assert_str_eq(misses[i].collection, "m/f");
        ck_assert_str_eq(misses[i].text, "new arguments");
        ck_assert_uint_gt(misses[i].time, 1700000000000000);
    }
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    BOX_OK(h5store_note(store, H5STORE_NOTE_MISS, longer, longer, longer, &box_err));
    BOX_OK(h5store_get_misses(store, misses, &count, &box_err));
    ck_assert_uint_eq(count, H5STORE_MAX_MISSES);
    ck_assert_uint_ge(strlen(misses[0].collection), 90);
}
END_TEST

/* More items than the first table holds, of which half go. */
START_TEST(table_grows_and_forgets)
{
    enum { ITEMS = 700 };
    unsigned dated = 0;
    h5store_item_cursor *cursor;
    h5store_item_info info;

    for (unsigned i = 0; i < ITEMS; i++) {
        h5store_batch *batch = box_begin(store);
        char key[16];

        snprintf(key, sizeof key, "%u", i);
        box_set_in(batch, i % 2 ? "m/f" : "m/g", key, NULL, 0);
        BOX_OK(h5store_batch_commit(batch, &box_err));
    }
    box_remove(store, "m/g", NULL);
    BOX_OK(h5store_item_cursor_open(store, NULL, &cursor, &box_err));
    while (BOX_OK(h5store_item_cursor_next(cursor, &info, &box_err)) == H5STORE_OK)
        dated += info.key != NULL && info.used > 1700000000000000;
    h5store_item_cursor_close(cursor);
    ck_assert_uint_eq(dated, ITEMS / 2);
    box_expect_verified(store);
}
END_TEST

static int
note_and_die(child *parent, void *context)
{
    h5store *mine = box_open(0);

    (void)context;
    for (unsigned i = 0; i < 10; i++)
        child_assert(h5store_note(mine, H5STORE_NOTE_HIT, "m/f", "a", NULL, &box_err) == 0);
    box_close(mine);
    child_tell(parent, 1);
    return 0;
}

START_TEST(other_processes_add_theirs)
{
    child *others[3];

    box_set(store, "m/f", "a", 600, 1);
    for (unsigned i = 0; i < 3; i++)
        others[i] = child_start(note_and_die, NULL);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(child_hear(others[i]), 1);
        ck_assert_int_eq(child_wait(others[i]), 0);
    }
    ck_assert_uint_eq(usage().hits, 30);
}
END_TEST

START_TEST(bad_arguments_are_refused)
{
    size_t count;

    BOX_FAILS(H5STORE_E_INVALID, h5store_note(store, 9, "m", "k", NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_note(store, H5STORE_NOTE_HIT, NULL, "k", NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_get_usage(store, NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_get_misses(store, NULL, &count, &box_err));
}
END_TEST

Suite *
usage_suite(void)
{
    Suite *suite = suite_create("usage");
    TCase *notes = tcase_create("notes");

    tcase_add_checked_fixture(notes, setup, teardown);
    tcase_add_test(notes, hit_changes_when_it_was_used);
    tcase_add_test(notes, notes_survive_closing_and_are_summed);
    tcase_add_test(notes, last_misses_are_told);
    tcase_add_test(notes, table_grows_and_forgets);
    tcase_add_test(notes, other_processes_add_theirs);
    tcase_add_test(notes, bad_arguments_are_refused);
    suite_add_tcase(suite, notes);
    return suite;
}
