/* SPDX-License-Identifier: MIT */
/*
 * The space table: every byte belongs to exactly one owner, whatever is taken, given back,
 * saved and loaded.  The model is an array with one entry for each unit of the file.
 */
#include "digest.h"
#include "os.h"
#include "space.h"
#include "support/fixture.h"
#include <check.h>
#include <unistd.h>

Suite *space_suite(void);

#define HEADER 512u /* page 2 of the file */
#define STAMP 256u
#define MOST_UNITS 4096u

static hs_pager pager;
static hs_space space;
static h5store_err err;

static void
setup(void)
{
    fixture_setup();
    memset(&pager, 0, sizeof pager);
    memset(&space, 0, sizeof space);
    pager.path = fixture_path("file");
    ck_assert_int_eq(hs_os_open(pager.path, O_RDWR | O_CREAT, &pager.fd, &err), H5STORE_OK);
    pager.in_transaction = true;
    ck_assert_int_eq(hs_space_init(&space, &err), H5STORE_OK);
}

static void
teardown(void)
{
    hs_space_release(&space);
    hs_overlay_release(&pager.committed);
    hs_overlay_release(&pager.pending);
    hs_os_closep(&pager.fd);
    fixture_teardown();
}

/* Save, as of record @p sequence, and make it committed. */
static size_t
save(uint64_t sequence)
{
    size_t pages;

    ck_assert_int_eq(hs_space_save(&space, &pager, sequence, &err), H5STORE_OK);
    pages = pager.pending.count;
    ck_assert_int_eq(hs_overlay_reserve(&pager.committed, pages, &err), H5STORE_OK);
    hs_overlay_merge(&pager.committed, &pager.pending, sequence);
    return pages;
}

static void
reload(void)
{
    hs_space_forget(&space);
    ck_assert_int_eq(hs_space_load(&space, &pager, &err), H5STORE_OK);
}

static hs_extent
take(uint64_t length, bool *reused)
{
    hs_extent extent = {0, 0};
    bool flag;

    ck_assert_int_eq(hs_space_take(&space, length, &extent, &flag, &err), H5STORE_OK);
    if (reused != NULL)
        *reused = flag;
    return extent;
}

static void
loosen(hs_extent extent, uint64_t sequence)
{
    ck_assert_int_eq(hs_space_loosen(&space, extent, sequence, &err), H5STORE_OK);
}

/* ---- stamp ------------------------------------------------------------------------- */

START_TEST(stamp_is_read_as_it_was_written)
{
    hs_stamp stamp = {1, {1, 2, 3, 250}}, read = {0};

    ck_assert_int_eq(hs_stamp_read(&pager, &read, &err), H5STORE_E_NOT_A_STORE);
    ck_assert_int_eq(hs_stamp_write(&pager, &stamp, &err), H5STORE_OK);
    ck_assert_int_eq(hs_stamp_read(&pager, &read, &err), H5STORE_OK);
    ck_assert_uint_eq(read.format_version, 1);
    ck_assert_mem_eq(read.container_id, stamp.container_id, 16);
}
END_TEST

START_TEST(newer_stamp_is_refused)
{
    hs_stamp stamp = {2, {0}};

    ck_assert_int_eq(hs_stamp_write(&pager, &stamp, &err), H5STORE_OK);
    ck_assert_int_eq(hs_stamp_read(&pager, &stamp, &err), H5STORE_E_VERSION);
    ck_assert_ptr_nonnull(strstr(err.message, "version 2"));
    stamp.format_version = 0;
    ck_assert_int_eq(hs_stamp_write(&pager, &stamp, &err), H5STORE_OK);
    ck_assert_int_eq(hs_stamp_read(&pager, &stamp, &err), H5STORE_E_DAMAGED);
}
END_TEST

static void
flip(uint64_t address)
{
    uint8_t byte;

    ck_assert_int_eq(hs_pager_read(&pager, address, &byte, 1, &err), H5STORE_OK);
    byte ^= 0x10;
    ck_assert_int_eq(hs_pager_write(&pager, address, &byte, 1, &err), H5STORE_OK);
}

START_TEST(damaged_stamp_is_noticed)
{
    hs_stamp stamp = {1, {9}}, read;
    unsigned tried = 0;

    ck_assert_int_eq(hs_stamp_write(&pager, &stamp, &err), H5STORE_OK);
    for (unsigned i = 0; i < HS_PAGE_SIZE; i++, tried++) {
        int rc;

        flip(STAMP + i);
        rc = hs_stamp_read(&pager, &read, &err);
        ck_assert_int_eq(rc, i < 8              ? H5STORE_E_NOT_A_STORE
                             : i >= 8 && i < 12 ? H5STORE_E_VERSION
                                                : H5STORE_E_DAMAGED);
        flip(STAMP + i);
    }
    ck_assert_uint_eq(tried, HS_PAGE_SIZE);
    ck_assert_int_eq(hs_stamp_read(&pager, &read, &err), H5STORE_OK);
}
END_TEST

/* ---- taking and giving back -------------------------------------------------------- */

START_TEST(impossible_lengths_are_refused)
{
    static const uint64_t lengths[] = {0, INT64_MAX, UINT64_MAX, INT64_MAX - HS_SPACE_UNIT + 1};
    hs_extent extent;
    bool reused;

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        ck_assert_int_eq(hs_space_take(&space, lengths[i], &extent, &reused, &err),
                         H5STORE_E_INVALID);
    ck_assert_int_eq(hs_space_take(&space, INT64_MAX - HS_SPACE_UNIT, &extent, &reused, &err),
                     H5STORE_E_NO_SPACE);
    ck_assert_uint_eq(space.eoa, HS_SPACE_START);
}
END_TEST

START_TEST(best_fit_leaves_large_extents_whole)
{
    hs_extent a = take(4 * HS_SPACE_UNIT, NULL), wall = take(1, NULL);
    hs_extent b = take(2 * HS_SPACE_UNIT, NULL), end = take(1, NULL), again;
    bool reused;

    ck_assert_uint_eq(wall.length, HS_SPACE_UNIT);
    loosen(a, 1);
    loosen(b, 1);
    ck_assert_uint_eq(space.free_bytes, 0);
    ck_assert(hs_space_free(&space, a) && hs_space_free(&space, b));
    ck_assert_uint_eq(space.free_bytes, 6 * HS_SPACE_UNIT);
    again = take(HS_SPACE_UNIT + 1, &reused);
    ck_assert(reused);
    ck_assert_uint_eq(again.address, b.address);
    again = take(HS_SPACE_UNIT, &reused);
    ck_assert_uint_eq(again.address, a.address);
    again = take(4 * HS_SPACE_UNIT, &reused);
    ck_assert(!reused);
    ck_assert_uint_eq(again.address, end.address + end.length);
    ck_assert_uint_eq(space.free_bytes, 3 * HS_SPACE_UNIT);
}
END_TEST

START_TEST(free_neighbours_join)
{
    hs_extent piece[5];

    for (int i = 0; i < 5; i++)
        piece[i] = take(HS_SPACE_UNIT, NULL);
    for (int i = 0; i < 5; i++)
        loosen(piece[i], 1);
    ck_assert(hs_space_free(&space, piece[0]) && hs_space_free(&space, piece[4]) &&
              hs_space_free(&space, piece[2]));
    ck_assert_uint_eq(space.count, 5);
    ck_assert(hs_space_free(&space, piece[1])); /* joins both sides */
    ck_assert_uint_eq(space.count, 3);
    ck_assert(hs_space_free(&space, piece[3]));
    ck_assert_uint_eq(space.count, 1);
    ck_assert_uint_eq(space.slots[0].extent.address, piece[0].address);
    ck_assert_uint_eq(space.slots[0].extent.length, 5 * HS_SPACE_UNIT);
    ck_assert(!hs_space_free(&space, piece[3])); /* is not loose any more */
    ck_assert(!hs_space_tighten(&space, piece[3]));
}
END_TEST

START_TEST(only_removals_are_told_to_readers)
{
    hs_extent extent = take(1, NULL);

    loosen(extent, 0);
    ck_assert(!space.removed);
    ck_assert(hs_space_tighten(&space, extent));
    ck_assert(!hs_space_tighten(&space, extent));
    loosen(extent, 5);
    ck_assert(space.removed);
}
END_TEST

/* ---- metadata ---------------------------------------------------------------------- */

START_TEST(metadata_comes_from_arenas)
{
    uint64_t a, b, c, large;

    ck_assert_int_eq(hs_space_metadata(&space, &pager, 13, &a, &err), H5STORE_OK);
    ck_assert_int_eq(hs_space_metadata(&space, &pager, 8, &b, &err), H5STORE_OK);
    ck_assert_uint_eq(b, a + 16);
    ck_assert_uint_eq(space.eoa, HS_SPACE_START + HS_ARENA_SIZE);
    ck_assert_int_eq(hs_space_metadata(&space, &pager, HS_ARENA_SIZE, &large, &err), H5STORE_OK);
    ck_assert_uint_eq(large, HS_SPACE_START + HS_ARENA_SIZE);
    ck_assert_int_eq(hs_space_metadata(&space, &pager, 8, &c, &err), H5STORE_OK);
    ck_assert_uint_eq(c, b + 8); /* the arena goes on after a large one */
    ck_assert_uint_eq(pager.pending.count, 0);
}
END_TEST

START_TEST(arena_over_used_space_is_zeroed)
{
    hs_extent old = take(HS_ARENA_SIZE, NULL);
    uint8_t bytes[64];
    uint64_t address;

    fixture_fill(bytes, sizeof bytes, 1);
    ck_assert_int_eq(hs_os_pwrite(pager.fd, pager.path, bytes, sizeof bytes, old.address, &err), 0);
    loosen(old, 1);
    ck_assert(hs_space_free(&space, old));
    ck_assert_int_eq(hs_space_metadata(&space, &pager, sizeof bytes, &address, &err), H5STORE_OK);
    ck_assert_uint_eq(address, old.address);
    ck_assert_uint_eq(pager.pending.count, HS_ARENA_SIZE / HS_PAGE_SIZE);
    ck_assert_int_eq(hs_pager_read(&pager, address, bytes, sizeof bytes, &err), H5STORE_OK);
    for (size_t i = 0; i < sizeof bytes; i++)
        ck_assert_uint_eq(bytes[i], 0);
}
END_TEST

/* Arenas that follow each other are one: what is left of the first is used. */
START_TEST(adjacent_arenas_waste_nothing)
{
    uint64_t address, last = 0, total = 0;

    for (int i = 0; i < 1000; i++, last = address, total += 1000) {
        ck_assert_int_eq(hs_space_metadata(&space, &pager, 1000, &address, &err), H5STORE_OK);
        ck_assert(i == 0 || address == last + 1000);
    }
    ck_assert_uint_eq(space.eoa,
                      HS_SPACE_START + (total + HS_ARENA_SIZE - 1) / HS_ARENA_SIZE * HS_ARENA_SIZE);
}
END_TEST

/* ---- a model ------------------------------------------------------------------------ */

enum owner { NOBODY, USED, LOOSE, FREE };

static uint8_t owners[MOST_UNITS];
static hs_extent held[256]; /* used and loose extents */
static bool held_loose[256];
static unsigned held_count;

static void
own(hs_extent extent, enum owner from, enum owner to)
{
    ck_assert_uint_le((extent.address + extent.length) / HS_SPACE_UNIT, MOST_UNITS);
    for (uint64_t unit = extent.address / HS_SPACE_UNIT;
         unit < (extent.address + extent.length) / HS_SPACE_UNIT; unit++) {
        if (owners[unit] != from)
            ck_abort_msg("unit %llu has owner %d, not %d", (unsigned long long)unit, owners[unit],
                         from);
        owners[unit] = (uint8_t)to;
    }
}

static enum owner
owner_of(hs_extent extent)
{
    return (enum owner)owners[extent.address / HS_SPACE_UNIT];
}

/* The slots must be exactly the loose and free units, and the table's own place used. */
static void
expect_model(void)
{
    uint64_t in_slots = 0, in_model = 0, free_units = 0;

    for (size_t i = 0; i < space.count; i++) {
        const hs_slot *slot = &space.slots[i];

        in_slots += slot->extent.length / HS_SPACE_UNIT;
        for (uint64_t unit = slot->extent.address / HS_SPACE_UNIT;
             unit < (slot->extent.address + slot->extent.length) / HS_SPACE_UNIT; unit++)
            if (owners[unit] != (slot->loose ? LOOSE : FREE))
                ck_abort_msg("unit %llu has owner %d", (unsigned long long)unit, owners[unit]);
    }
    for (unsigned unit = 0; unit < MOST_UNITS; unit++) {
        in_model += owners[unit] == LOOSE || owners[unit] == FREE;
        free_units += owners[unit] == FREE;
        if (owners[unit] == NOBODY && unit * HS_SPACE_UNIT < space.eoa && unit >= 2)
            ck_abort_msg("unit %u is nobody's", unit);
    }
    ck_assert_uint_eq(in_slots, in_model); /* no unit twice */
    ck_assert_uint_eq(space.free_bytes, free_units * HS_SPACE_UNIT);
}

static void
hold(hs_extent extent, bool loose)
{
    if (held_count == sizeof held / sizeof *held)
        return;
    held_loose[held_count] = loose;
    held[held_count++] = extent;
}

static void
forget(unsigned index)
{
    held[index] = held[--held_count];
    held_loose[index] = held_loose[held_count];
}

/* The table may move when it is saved: the new place is used, the old one loose. */
static void
save_and_follow(uint64_t sequence)
{
    hs_extent before = space.table;

    save(sequence);
    if (before.address == space.table.address)
        return;
    own(space.table, owner_of(space.table), USED);
    if (before.address >= HS_SPACE_START) {
        own(before, USED, LOOSE);
    } else {
        owners[before.address / HS_SPACE_UNIT] = LOOSE;
    }
    hold(before, true);
}

START_TEST(every_unit_has_one_owner)
{
    uint64_t state = 11;
    unsigned done[6] = {0}, reuses = 0;

    memset(owners, 0, sizeof owners);
    held_count = 0;
    for (uint64_t step = 1; step <= 3000; step++) {
        unsigned index = held_count ? (unsigned)(fixture_random(&state) % held_count) : 0;
        unsigned action = (unsigned)(fixture_random(&state) % 6);

        if (action == 0 && held_count < 200) {
            bool reused;
            hs_extent extent = take(1 + fixture_random(&state) % (8 * HS_SPACE_UNIT), &reused);

            own(extent, reused ? FREE : NOBODY, USED);
            reuses += reused;
            hold(extent, false);
        } else if (action == 1 && held_count > 0 && !held_loose[index]) {
            loosen(held[index], step % 2 ? step : 0);
            own(held[index], USED, LOOSE);
            held_loose[index] = true;
        } else if (action == 2 && held_count > 0 && step % 4 == 0) {
            ck_assert_int_eq(hs_space_tighten(&space, held[index]), held_loose[index]);
            if (held_loose[index])
                own(held[index], LOOSE, USED);
            held_loose[index] = false;
        } else if (action == 3 && held_count > 0) {
            ck_assert_int_eq(hs_space_free(&space, held[index]), held_loose[index]);
            if (held_loose[index]) {
                own(held[index], LOOSE, FREE);
                forget(index);
            }
        } else if (action == 4) {
            save_and_follow(step);
        } else if (action == 5) {
            save_and_follow(step);
            reload();
        } else {
            continue;
        }
        done[action]++;
        if (step % 8 == 0)
            expect_model();
    }
    for (int i = 0; i < 6; i++)
        ck_assert_uint_gt(done[i], 50);
    ck_assert_uint_gt(reuses, 100);
}
END_TEST

/* Nothing but the pages that changed is written. */
START_TEST(save_touches_few_pages)
{
    hs_extent extents[100];

    for (int i = 0; i < 100; i++)
        extents[i] = take(1, NULL);
    for (int i = 0; i < 100; i += 2)
        loosen(extents[i], 0);
    save(1);
    ck_assert(hs_space_tighten(&space, extents[40]));
    ck_assert_uint_le(save(2), 3); /* the slot, the last slot, the header */
    reload();
    ck_assert_uint_eq(space.count, 49);
    ck_assert(!hs_space_tighten(&space, extents[40]));
    ck_assert(hs_space_tighten(&space, extents[98]));
}
END_TEST

/* The table outgrows its place, twice and more; the old places are loose. */
START_TEST(table_grows)
{
    static hs_extent extents[2000];
    unsigned moves = 0;

    for (unsigned i = 0; i < 2000; i++) {
        uint64_t table = space.table.address;

        extents[i] = take(1, NULL);
        take(1, NULL); /* keeps it from joining the next */
        loosen(extents[i], i + 1);
        if (i % 50 == 0) {
            save(i + 1);
            reload();
        }
        moves += space.table.address != table;
    }
    save(3000);
    reload();
    ck_assert_uint_gt(moves, 3);
    ck_assert_uint_eq(space.count, 2000 + moves);
    for (unsigned i = 0; i < 2000; i++)
        ck_assert(hs_space_free(&space, extents[i]));
    ck_assert_uint_eq(space.free_bytes, 2000 * (uint64_t)HS_SPACE_UNIT);
}
END_TEST

START_TEST(counters_survive)
{
    space.counters = (hs_counters){1, 2, 3, 4, UINT64_MAX};
    save(1);
    memset(&space.counters, 0, sizeof space.counters);
    reload();
    ck_assert_uint_eq(space.counters.items, 1);
    ck_assert_uint_eq(space.counters.blobs, 2);
    ck_assert_uint_eq(space.counters.links, 3);
    ck_assert_uint_eq(space.counters.blob_bytes, 4);
    ck_assert_uint_eq(space.counters.linked_bytes, UINT64_MAX);
}
END_TEST

/* ---- damage ------------------------------------------------------------------------- */

START_TEST(flipped_header_is_noticed)
{
    unsigned tried = 0;

    save(1);
    for (unsigned i = 0; i < HS_PAGE_SIZE; i++, tried++) {
        flip(HEADER + i);
        hs_space_forget(&space);
        ck_assert_int_eq(hs_space_load(&space, &pager, &err), H5STORE_E_DAMAGED);
        flip(HEADER + i);
    }
    ck_assert_uint_eq(tried, HS_PAGE_SIZE);
    reload();
}
END_TEST

/* Values that contradict each other under a sum that is right. */
START_TEST(impossible_header_is_noticed)
{
    static const struct {
        unsigned at;
        uint64_t value;
    } wrong[] = {
        {16, 1 << 20},           /* arena next behind its end */
        {24, UINT64_MAX},        /* arena end beyond the EOA */
        {32, 0},                 /* table in the fixed part */
        {32, 4097},              /* table off the unit */
        {32, UINT64_MAX - 4095}, /* table wraps round */
        {40, 0},                 /* table of no bytes */
        {40, UINT64_MAX - 4095}, /* table beyond the EOA */
        {48, 161},               /* more slots than fit */
        {48, UINT64_MAX},
    };
    uint8_t good[HS_PAGE_SIZE], page[HS_PAGE_SIZE];

    save(1);
    ck_assert_int_eq(hs_pager_read(&pager, HEADER, good, sizeof good, &err), H5STORE_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memcpy(page, good, sizeof page);
        hs_put_le64(page + wrong[i].at, wrong[i].value);
        hs_put_le64(page + 248, hs_sum64(page, 248));
        ck_assert_int_eq(hs_pager_write(&pager, HEADER, page, sizeof page, &err), H5STORE_OK);
        hs_space_forget(&space);
        ck_assert_msg(hs_space_load(&space, &pager, &err) == H5STORE_E_DAMAGED,
                      "header %zu was taken", i);
        ck_assert_ptr_nonnull(strstr(err.message, pager.path));
    }
}
END_TEST

/* A header under a sum that is right, whose table has room for more slots than there can be in the
 * file.  No memory is asked for them: that would be too much, or its size would wrap to 0, by which
 * the slots would be freed, and used after. */
START_TEST(endless_table_is_refused)
{
    uint8_t good[HS_PAGE_SIZE], page[HS_PAGE_SIZE];

    save(1);
    ck_assert_int_eq(hs_pager_read(&pager, HEADER, good, sizeof good, &err), H5STORE_OK);
    for (unsigned bits = 16; bits < 60; bits++) {
        size_t room = space.room;

        memcpy(page, good, sizeof page);
        hs_put_le64(page + 8, UINT64_MAX);
        hs_put_le64(page + 40, UINT64_MAX - 65535);
        hs_put_le64(page + 48, UINT64_C(1) << bits);
        hs_put_le64(page + 248, hs_sum64(page, 248));
        ck_assert_int_eq(hs_pager_write(&pager, HEADER, page, sizeof page, &err), H5STORE_OK);
        hs_space_forget(&space);
        ck_assert_msg(hs_space_load(&space, &pager, &err) == H5STORE_E_DAMAGED,
                      "a count of 2^%u was taken", bits);
        ck_assert_uint_eq(space.room, room);
    }
    ck_assert_int_eq(hs_pager_write(&pager, HEADER, good, sizeof good, &err), H5STORE_OK);
    reload();
    loosen(take(1, NULL), 1);
    ck_assert_uint_gt(space.count, 0);
}
END_TEST

START_TEST(impossible_slot_is_noticed)
{
    static const uint64_t wrong[][2] = {
        {0, 4096},
        {8193, 4096},
        {8192, 0},
        {8192, 100},
        {8192, UINT64_C(1) << 62},
        {UINT64_MAX - 4095, 8192},
        {UINT64_C(1) << 40, 4096},
    };
    uint8_t bytes[16];

    loosen(take(1, NULL), 1);
    save(1);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        hs_put_le64(bytes, wrong[i][0]);
        hs_put_le64(bytes + 8, wrong[i][1]);
        ck_assert_int_eq(hs_pager_write(&pager, 4096, bytes, sizeof bytes, &err), H5STORE_OK);
        hs_space_forget(&space);
        ck_assert_msg(hs_space_load(&space, &pager, &err) == H5STORE_E_DAMAGED,
                      "slot %zu was taken", i);
    }
}
END_TEST

Suite *
space_suite(void)
{
    Suite *suite = suite_create("space");
    TCase *stamp = tcase_create("stamp");
    TCase *table = tcase_create("table");
    TCase *damage = tcase_create("damage");

    tcase_add_checked_fixture(stamp, setup, teardown);
    tcase_add_test(stamp, stamp_is_read_as_it_was_written);
    tcase_add_test(stamp, newer_stamp_is_refused);
    tcase_add_test(stamp, damaged_stamp_is_noticed);
    tcase_add_checked_fixture(table, setup, teardown);
    tcase_set_timeout(table, 120);
    tcase_add_test(table, impossible_lengths_are_refused);
    tcase_add_test(table, best_fit_leaves_large_extents_whole);
    tcase_add_test(table, free_neighbours_join);
    tcase_add_test(table, only_removals_are_told_to_readers);
    tcase_add_test(table, metadata_comes_from_arenas);
    tcase_add_test(table, arena_over_used_space_is_zeroed);
    tcase_add_test(table, adjacent_arenas_waste_nothing);
    tcase_add_test(table, every_unit_has_one_owner);
    tcase_add_test(table, save_touches_few_pages);
    tcase_add_test(table, table_grows);
    tcase_add_test(table, counters_survive);
    tcase_add_checked_fixture(damage, setup, teardown);
    tcase_add_test(damage, flipped_header_is_noticed);
    tcase_add_test(damage, impossible_header_is_noticed);
    tcase_add_test(damage, endless_table_is_refused);
    tcase_add_test(damage, impossible_slot_is_noticed);
    suite_add_tcase(suite, stamp);
    suite_add_tcase(suite, table);
    suite_add_tcase(suite, damage);
    return suite;
}
