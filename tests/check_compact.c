/* SPDX-License-Identifier: MIT */
/*
 * Compaction and rebuilds: the file becomes as small as what it holds, no array changes, and
 * what is pinned stays where it is.
 */
#include "rebuild.h"
#include "support/child.h"
#include "support/container.h"
#include "support/fixture.h"
#include <check.h>
#include <h5store/h5store.h>

Suite *compact_suite(void);

#define COUNT 200u
#define SIZE 30000u

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
    if (store != NULL)
        box_close(store);
    box_teardown();
}

static void
key_of(unsigned i, char key[16])
{
    snprintf(key, 16, "%08x", i * 2654435761u);
}

/* Items with an array each; every second one goes again. */
static void
fill_and_thin(void)
{
    for (unsigned i = 0; i < COUNT; i++) {
        char key[16];

        key_of(i, key);
        box_set(store, "m/f", key, SIZE, i);
    }
    for (unsigned i = 1; i < COUNT; i += 2) {
        char key[16];

        key_of(i, key);
        box_remove(store, "m/f", key);
    }
}

/* How many of the items have exactly their array. */
static unsigned
count_right(void)
{
    unsigned right = 0;

    for (unsigned i = 0; i < COUNT; i++) {
        h5store_item *item;
        char key[16];

        key_of(i, key);
        if (h5store_item_open(store, "m/f", key, &item, &box_err) < 0)
            continue;
        ck_assert_uint_eq(h5store_item_link_count(item), 1);
        box_expect(h5store_item_blob(item, 0), SIZE, i);
        h5store_item_close(item);
        right++;
    }
    return right;
}

/* Results without arrays, of which enough go again for a compaction to make the metadata anew,
 * and not so many that the removal does it. */
static void
make_waste(void)
{
    h5store_item_spec spec = {.collection = "m/waste", .output = malloc(3000), .output_size = 3000};
    h5store_batch *batch = box_begin(store);
    char key[16];

    memset((void *)(uintptr_t)spec.output, 5, spec.output_size);
    spec.key = key;
    spec.metadata = "{}";
    for (unsigned i = 0; i < 300; i++) {
        key_of(i, key);
        BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    }
    BOX_OK(h5store_batch_commit(batch, &box_err));
    free((void *)(uintptr_t)spec.output);
    batch = box_begin(store);
    for (unsigned i = 0; i < 120; i++) {
        key_of(i, key);
        BOX_OK(h5store_batch_remove(batch, "m/waste", key, &box_err));
    }
    BOX_OK(h5store_batch_commit(batch, &box_err));
}

static void
drop_waste(void)
{
    BOX_OK(h5store_flush(store, &box_err));
    box_remove(store, "m/waste", NULL);
}

static h5store_compaction
compact(void)
{
    h5store_compaction done;

    BOX_OK(h5store_compact(store, NULL, NULL, &done, &box_err));
    return done;
}

START_TEST(holes_are_closed)
{
    h5store_compaction done;
    h5store_totals totals;

    fill_and_thin();
    done = compact();
    totals = box_totals(store);
    ck_assert_uint_gt(done.moved, COUNT / 8);
    ck_assert_uint_ge(done.moved_bytes, done.moved * (uint64_t)SIZE);
    ck_assert_int_eq(done.rebuilt, 1);
    ck_assert_uint_eq(done.size_after, totals.file_size);
    ck_assert_uint_lt(totals.file_size, COUNT / 2 * (SIZE + 8192u) + 600000u);
    ck_assert_uint_lt(done.size_after, done.size_before * 3 / 4);
    ck_assert_uint_eq(totals.items, COUNT / 2);
    ck_assert_uint_eq(count_right(), COUNT / 2);
    box_expect_verified(store);
    box_close(store);
    store = box_open(0);
    ck_assert_uint_eq(count_right(), COUNT / 2);
    ck_assert_uint_eq(compact().moved, 0); /* there is nothing more to do */
}
END_TEST

START_TEST(pinned_array_keeps_its_bytes)
{
    h5store_item *items[COUNT / 2];
    const void *data[COUNT / 2];
    unsigned open = 0;

    fill_and_thin();
    for (unsigned i = 0; i < COUNT; i += 2) {
        char key[16];

        key_of(i, key);
        BOX_OK(h5store_item_open(store, "m/f", key, &items[open], &box_err));
        BOX_OK(h5store_blob_map(h5store_item_blob(items[open], 0), &data[open], &box_err));
        open++;
    }
    ck_assert_uint_gt(compact().moved, 0);
    for (unsigned i = 0; i < open; i++) {
        h5store_array array = box_array(SIZE, 2 * i);

        ck_assert_mem_eq(data[i], array.data, SIZE); /* the old place */
        box_free(&array);
    }
    ck_assert_uint_eq(count_right(), COUNT / 2); /* the new one */
    for (unsigned i = 0; i < open; i++)
        h5store_item_close(items[i]);
    ck_assert_uint_lt(compact().size_after, COUNT / 2 * (SIZE + 8192u) + 600000u);
    ck_assert_uint_eq(count_right(), COUNT / 2);
}
END_TEST

START_TEST(others_find_what_was_moved)
{
    h5store *other = box_open(0), *mine = store;

    fill_and_thin();
    store = other;
    ck_assert_uint_eq(count_right(), COUNT / 2);
    store = mine;
    ck_assert_uint_gt(compact().moved, 0);
    store = other;
    ck_assert_uint_eq(count_right(), COUNT / 2);
    store = mine;
    box_close(other);
}
END_TEST

/* A process that had the old tree open goes on with the new one, and does not bring the old
 * superblock back. */
START_TEST(others_go_on_after_a_rebuild)
{
    h5store *other = box_open(0);
    unsigned rounds = 0;

    for (unsigned i = 0; i < 6; i++, rounds++) {
        char key[16];

        snprintf(key, sizeof key, "o%u", i);
        box_set(other, "m/other", key, SIZE, 1000 + i);
        make_waste();
        ck_assert_int_eq(compact().rebuilt, 1);
        drop_waste();
        snprintf(key, sizeof key, "p%u", i);
        box_set(other, "m/other", key, SIZE, 2000 + i);
        ck_assert_uint_eq(box_totals(store).items, 2 * (i + 1));
        box_expect_verified(store);
        box_expect_verified(other);
    }
    ck_assert_uint_eq(rounds, 6);
    box_close(other); /* gives up what it has reserved ahead */
    /* And the metadata of the old trees is not left. */
    ck_assert_uint_lt(compact().size_after, 12 * (SIZE + 8192u) + 400000u);
}
END_TEST

/* Whatever was stored and removed: small results alone, arrays that fit into no hole, all of it. */
START_TEST(compaction_never_makes_the_file_longer)
{
    uint64_t state = 7 + (uint64_t)_i, shorter = 0, same = 0;
    unsigned next = 0;

    for (unsigned round = 0; round < 12; round++) {
        unsigned more = (unsigned)(fixture_random(&state) % 60);
        size_t most = (size_t)1 << (6 + fixture_random(&state) % 13);
        h5store_batch *batch = box_begin(store);
        h5store_compaction done;
        char key[16];

        for (unsigned i = 0; i < more; i++, next++) {
            h5store_id id = box_put_in(batch, 1 + fixture_random(&state) % most, next, H5STORE_OK);

            key_of(next, key);
            box_set_in(batch, "m/any", key, &id, _i == 0 ? 0 : 1);
        }
        BOX_OK(h5store_batch_commit(batch, &box_err));
        if (round % 3 == 1)
            make_waste();
        for (unsigned i = 0; i < more / 2; i++) {
            key_of((unsigned)(fixture_random(&state) % next), key);
            if (box_has_item(store, "m/any", key))
                box_remove(store, "m/any", key);
        }
        BOX_OK(h5store_flush(store, &box_err));
        done = compact();
        ck_assert_uint_le(done.size_after, done.size_before);
        shorter += done.size_after < done.size_before;
        same += done.size_after == done.size_before;
        done = compact();
        ck_assert_uint_le(done.size_after, done.size_before);
        box_expect_verified(store);
    }
    ck_assert_uint_gt(shorter, 2);
    ck_assert_uint_gt(shorter + same, 11);
}
END_TEST

/* Processes store and remove while another compacts all the time. */
static int
store_and_remove(child *parent, void *context)
{
    h5store *mine = box_open(0);
    unsigned number = *(const unsigned *)context, commits = 0;

    for (unsigned i = 0; i < 150; i++, commits++) {
        char key[16];

        snprintf(key, sizeof key, "%u-%u", number, i % 20);
        if (i % 3 == 2)
            box_remove(mine, "m/busy", key);
        else
            box_set(mine, "m/busy", key, 20000 + i, number * 1000 + i);
    }
    box_close(mine);
    child_tell(parent, commits);
    return 0;
}

START_TEST(compaction_beside_writers)
{
    unsigned numbers[2] = {1, 2}, rounds = 0;
    child *writers[2];

    for (unsigned i = 0; i < 2; i++)
        writers[i] = child_start(store_and_remove, &numbers[i]);
    for (; rounds < 25; rounds++)
        compact();
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_uint_eq(child_hear(writers[i]), 150);
        ck_assert_int_eq(child_wait(writers[i]), 0);
    }
    compact();
    ck_assert_uint_eq(rounds, 25);
    box_expect_verified(store);
}
END_TEST

START_TEST(read_only_store_is_refused)
{
    h5store_compaction done;

    fill_and_thin();
    box_close(store);
    store = box_open(H5STORE_READ_ONLY);
    BOX_FAILS(H5STORE_E_READ_ONLY, h5store_compact(store, NULL, NULL, &done, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_compact(store, NULL, NULL, NULL, &box_err));
}
END_TEST

/* Sources, large outputs, shared, kept, inline and Fortran arrays all come along. */
START_TEST(rebuild_keeps_everything)
{
    h5store_batch *batch = box_begin(store);
    uint8_t *output = malloc(200000);
    h5store_id ids[3], kept = box_put(store, 70000, 77, NULL);
    h5store_item_spec spec = {.collection = "deep/er/f",
                              .key = "big",
                              .output = output,
                              .output_size = 200000,
                              .metadata = "{\"a\": 1}",
                              .links = ids,
                              .link_count = 3};
    const void *read;
    char *text;
    h5store_item *item;
    size_t size;

    memset(output, 7, 200000);
    ids[0] = box_put_in(batch, 100, 1, H5STORE_OK);
    ids[1] = box_put_in(batch, 2000000, 2, H5STORE_OK);
    ids[2] = ids[0];
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    BOX_OK(h5store_batch_set_source(batch, "deep/er/f", "def f(): pass", &box_err));
    BOX_OK(h5store_batch_set_source(batch, "empty", NULL, &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    make_waste();
    ck_assert_int_eq(compact().rebuilt, 1);
    drop_waste();
    BOX_OK(h5store_item_open(store, "deep/er/f", "big", &item, &box_err));
    read = h5store_item_output(item, &size);
    ck_assert_uint_eq(size, 200000);
    ck_assert_mem_eq(read, output, size);
    ck_assert_str_eq(h5store_item_metadata(item), "{\"a\": 1}");
    ck_assert_uint_eq(h5store_item_link_count(item), 3);
    box_expect(h5store_item_blob(item, 0), 100, 1);
    box_expect(h5store_item_blob(item, 1), 2000000, 2);
    h5store_item_close(item);
    BOX_OK(h5store_get_source(store, "deep/er/f", &text, &box_err));
    ck_assert_str_eq(text, "def f(): pass");
    free(text);
    BOX_OK(h5store_discard(store, &kept, &box_err));
    ck_assert_uint_eq(box_totals(store).blobs, 2);
    box_expect_verified(store);
    free(output);
}
END_TEST

/* The removal of everything leaves what is kept, and the space of the rest. */
START_TEST(clearing_is_a_rebuild)
{
    h5store_id kept;

    fill_and_thin();
    kept = box_put(store, 50000, 500, NULL);
    box_remove(store, NULL, NULL);
    ck_assert_uint_eq(count_right(), 0);
    ck_assert_uint_eq(box_totals(store).items, 0);
    ck_assert_uint_eq(box_totals(store).blobs, 1);
    ck_assert_int_eq(box_totals(store).blob_bytes, 50000);
    BOX_OK(h5store_discard(store, &kept, &box_err));
    BOX_OK(h5store_flush(store, &box_err));
    ck_assert_uint_lt(box_totals(store).disk_bytes, 700000);
    box_set(store, "m/f", "new", SIZE, 3);
    box_expect_verified(store);
}
END_TEST

/* Metadata of removed results serves later ones: the file does not grow without bound. */
START_TEST(metadata_space_is_used_again)
{
    uint64_t after_ten = 0, after_all;
    unsigned cycles = 0;

    for (unsigned i = 0; i < 600; i++, cycles++) {
        char key[16];

        key_of(i % 50, key);
        if (i >= 50)
            box_remove(store, "m/f", key);
        box_set(store, "m/f", key, 5000, i);
        if (i == 100)
            after_ten = box_totals(store).file_size;
    }
    after_all = box_totals(store).file_size;
    ck_assert_uint_eq(cycles, 600);
    ck_assert_uint_lt(after_all, after_ten + 400000);
    box_expect_verified(store);
}
END_TEST

Suite *
compact_suite(void)
{
    Suite *suite = suite_create("compact");
    TCase *moves = tcase_create("moves"), *rebuilds = tcase_create("rebuilds");

    tcase_add_checked_fixture(moves, setup, teardown);
    tcase_add_test(moves, holes_are_closed);
    tcase_add_test(moves, pinned_array_keeps_its_bytes);
    tcase_add_test(moves, others_find_what_was_moved);
    tcase_add_test(moves, others_go_on_after_a_rebuild);
    tcase_add_loop_test(moves, compaction_never_makes_the_file_longer, 0, 4);
    tcase_add_test(moves, compaction_beside_writers);
    tcase_add_test(moves, read_only_store_is_refused);
    suite_add_tcase(suite, moves);
    tcase_add_checked_fixture(rebuilds, setup, teardown);
    tcase_add_test(rebuilds, rebuild_keeps_everything);
    tcase_add_test(rebuilds, clearing_is_a_rebuild);
    tcase_add_test(rebuilds, metadata_space_is_used_again);
    suite_add_tcase(suite, rebuilds);
    return suite;
}
