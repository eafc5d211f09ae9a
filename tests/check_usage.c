/* SPDX-License-Identifier: MIT */
/*
 * Usage: times of items, counters and misses, across processes, removals and growth.
 */
#include "container.h"
#include "os.h"
#include "support/child.h"
#include "support/container.h"
#include "support/core.h"
#include "support/fixture.h"
#include <check.h>
#include <h5store/h5store.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

/* An item that comes from elsewhere keeps its times, before and after it was put. */
START_TEST(times_are_taken_over)
{
    static const struct {
        const char *key;
        uint64_t stored, used, expected_stored, expected_used;
    } cases[] = {{"a", 1000, 3000, 1000, 3000},
                 {"b", 0, 5000, 5000, 5000},
                 {"c", 7000, 0, 7000, 7000},
                 {"d", 7000, 300, 7000, 7000},
                 {"e", 1000, UINT64_MAX, 1000, UINT64_MAX},
                 {"f", UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX},
                 {"g", 0, 0, UINT64_MAX, UINT64_MAX}};
    uint64_t before = (uint64_t)time(NULL) * 1000000;
    h5store_batch *batch;

    BOX_OK(h5store_batch_begin(store, &batch, &box_err));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        h5store_item_spec spec = {.collection = "m/f", .key = cases[i].key};

        BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
        BOX_OK(h5store_batch_set_times(batch, "m/f", cases[i].key, cases[i].stored, cases[i].used,
                                       &box_err));
    }
    BOX_OK(h5store_batch_set_times(batch, "m/f", "none", 1, 1, &box_err)); /* no such item */
    BOX_OK(h5store_batch_commit(batch, &box_err));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        h5store_item_info info = info_of(cases[i].key);

        if (cases[i].expected_stored == UINT64_MAX) /* now */
            ck_assert_uint_ge(info.stored, before);
        else
            ck_assert_uint_eq(info.stored, cases[i].expected_stored);
        if (cases[i].expected_used == UINT64_MAX)
            ck_assert_uint_ge(info.used, before);
        else
            ck_assert_uint_eq(info.used, cases[i].expected_used);
        ck_assert_uint_le(info.used, (uint64_t)time(NULL) * 1000000 + 1000000);
    }
    box_set(store, "m/f", "none", 600, 1);
    ck_assert_uint_ge(info_of("none").stored, before);
    BOX_OK(h5store_note(store, H5STORE_NOTE_HIT, "m/f", "b", NULL, &box_err));
    BOX_OK(h5store_flush(store, &box_err));
    ck_assert_uint_eq(info_of("b").stored, 5000);
    ck_assert_uint_ge(info_of("b").used, before);
}
END_TEST

/* Those that times_outlive_compaction_and_salvage gave. */
static void
expect_odd_times(void)
{
    char key[16];

    for (unsigned i = 1; i < 400; i += 50) {
        snprintf(key, sizeof key, "%u", i);
        ck_assert_uint_eq(info_of(key).stored, 1000 + i);
        ck_assert_uint_eq(info_of(key).used, 2000 + i);
    }
}

/* Compacting makes the tables anew, salvaging reads those of the source. */
START_TEST(times_outlive_compaction_and_salvage)
{
    const char *target = fixture_path("target.h5");
    h5store_compaction done;
    h5store_salvaged saved;
    h5store_batch *batch;
    h5store *fresh;
    char key[16];

    for (unsigned i = 0; i < 400; i++) {
        snprintf(key, sizeof key, "%u", i);
        box_set(store, "m/f", key, 5000, i);
    }
    BOX_OK(h5store_batch_begin(store, &batch, &box_err));
    for (unsigned i = 0; i < 400; i++) {
        snprintf(key, sizeof key, "%u", i);
        BOX_OK(i % 2 == 0
                   ? h5store_batch_remove(batch, "m/f", key, &box_err)
                   : h5store_batch_set_times(batch, "m/f", key, 1000 + i, 2000 + i, &box_err));
    }
    BOX_OK(h5store_batch_commit(batch, &box_err));
    BOX_OK(h5store_compact(store, NULL, NULL, &done, &box_err));
    ck_assert_int_eq(done.rebuilt, 1);
    BOX_OK(box_try_open(target, H5STORE_CREATE, 10, &fresh));
    BOX_OK(h5store_salvage(box_path(), fresh, NULL, &saved, &box_err));
    ck_assert_uint_eq(saved.items, 200);
    expect_odd_times();
    box_close(store);
    store = fresh;
    expect_odd_times();
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

/* What matters to the table is how many items there are, not how many there were. */
START_TEST(table_does_not_grow_with_what_went)
{
    hs_container *container;
    hs_usage *table;

    for (unsigned i = 0; i < 1000; i++) {
        h5store_batch *batch = box_begin(store);
        char key[16], old[16];

        snprintf(key, sizeof key, "%u", i);
        snprintf(old, sizeof old, "%u", i - 10);
        box_set_in(batch, "m/f", key, NULL, 0);
        if (i >= 10)
            BOX_OK(h5store_batch_remove(batch, "m/f", old, &box_err));
        BOX_OK(h5store_batch_commit(batch, &box_err));
    }
    ck_assert_uint_gt(info_of("999").used, 1700000000000000);
    ck_assert_uint_gt(info_of("990").used, 1700000000000000);
    box_expect_verified(store);
    container = core_open(box_path(), 0, false);
    BOX_OK(hs_container_read_begin(container, NULL, &box_err));
    BOX_OK(hs_container_usage(container, &table, &box_err));
    ck_assert_uint_eq(table->table.length, 4096); /* the first one had room for all */
    hs_container_read_end(container);
    BOX_OK(hs_container_close(container, &box_err));
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

static atomic_uint syncs;

static int
count_datasync(int fd)
{
    syncs++;
    return fdatasync(fd);
}

static int
count_sync(int fd)
{
    syncs++;
    return fsync(fd);
}

/* Open, note a hit and perhaps something else, close; how often that waited for the disk. */
static unsigned
syncs_of(const char *missed, const char *put)
{
    syncs = 0;
    store = box_open(0);
    BOX_OK(h5store_note(store, H5STORE_NOTE_HIT, "m/f", "a", NULL, &box_err));
    if (missed != NULL)
        BOX_OK(h5store_note(store, H5STORE_NOTE_MISS, "m/f", missed, "first call", &box_err));
    if (put != NULL)
        box_set(store, "m/f", put, 600, 2);
    box_close(store);
    return syncs;
}

START_TEST(closing_after_hits_waits_for_no_disk)
{
    struct hs_os_ops counting = hs_os_real;
    h5store_item_info before, after;

    counting.fdatasync = count_datasync;
    counting.fsync = count_sync;
    box_set(store, "m/f", "a", 600, 1);
    before = info_of("a");
    box_close(store);
    hs_os_set_ops(&counting);
    ck_assert_uint_eq(syncs_of(NULL, NULL), 0);
    ck_assert_uint_gt(syncs_of("b", NULL), 0);
    ck_assert_uint_gt(syncs_of(NULL, "b"), 0);
    ck_assert_uint_eq(syncs_of(NULL, NULL), 0);
    hs_os_set_ops(NULL);
    store = box_open(0);
    after = info_of("a");
    ck_assert_uint_eq(after.stored, before.stored);
    ck_assert_uint_gt(after.used, info_of("b").used);
    ck_assert_uint_eq(usage().hits, 4);
    ck_assert_uint_eq(usage().misses, 1);
    box_expect_verified(store);
}
END_TEST

/* Who has the container open reads them where they were written. */
START_TEST(hits_are_written_into_the_file_while_the_log_is_empty)
{
    uint64_t used;
    long long length;
    child *other;

    for (unsigned i = 0; i < 3; i++) {
        box_set(store, "m/f", "a", 600, i);
        for (unsigned j = 0; i != 1 && j < 2; j++) /* the first one may free space, and note it */
            BOX_OK(h5store_flush(store, &box_err));
        used = info_of("a").used;
        length = box_size(box_log_path());
        other = child_start(note_and_die, NULL);
        ck_assert_uint_eq(child_hear(other), 1);
        ck_assert_int_eq(child_wait(other), 0);
        ck_assert_uint_gt(info_of("a").used, used);
        ck_assert_uint_eq(usage().hits, 10 * (i + 1));
        ck_assert((box_size(box_log_path()) == length) == (i != 1));
    }
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
    tcase_add_test(notes, times_are_taken_over);
    tcase_add_test(notes, times_outlive_compaction_and_salvage);
    tcase_add_test(notes, notes_survive_closing_and_are_summed);
    tcase_add_test(notes, last_misses_are_told);
    tcase_add_test(notes, table_grows_and_forgets);
    tcase_add_test(notes, table_does_not_grow_with_what_went);
    tcase_add_test(notes, other_processes_add_theirs);
    tcase_add_test(notes, closing_after_hits_waits_for_no_disk);
    tcase_add_test(notes, hits_are_written_into_the_file_while_the_log_is_empty);
    tcase_add_test(notes, bad_arguments_are_refused);
    suite_add_tcase(suite, notes);
    return suite;
}
