/* SPDX-License-Identifier: MIT */
/*
 * The page table: compared with a plain array of pages over thousands of changes.
 */
#include "overlay.h"
#include "support/fixture.h"
#include <check.h>

Suite *overlay_suite(void);

#define PAGES 512

static void
fill_page(uint8_t bytes[HS_PAGE_SIZE], uint64_t number, unsigned version)
{
    fixture_fill(bytes, HS_PAGE_SIZE, number * 1000003 + version);
}

static void
set_page(hs_overlay *overlay, uint64_t number, uint64_t sequence, unsigned version)
{
    uint8_t bytes[HS_PAGE_SIZE];

    fill_page(bytes, number, version);
    ck_assert_int_eq(hs_overlay_set(overlay, number, sequence, bytes, NULL), H5STORE_OK);
}

static void
expect_page(const hs_overlay *overlay, uint64_t number, uint64_t sequence, unsigned version)
{
    const hs_page *page = hs_overlay_find(overlay, number);
    uint8_t bytes[HS_PAGE_SIZE];

    fill_page(bytes, number, version);
    ck_assert_ptr_nonnull(page);
    ck_assert_uint_eq(page->number, number);
    ck_assert_uint_eq(page->sequence, sequence);
    ck_assert_mem_eq(page->bytes, bytes, HS_PAGE_SIZE);
}

static bool
is_old(const hs_page *page, const void *sequence)
{
    return page->sequence <= *(const uint64_t *)sequence;
}

START_TEST(empty_overlay_has_no_page)
{
    HS_CLEANUP(hs_overlay_release) hs_overlay overlay = {0};
    HS_CLEANUP(hs_freep) hs_page **pages = NULL;
    uint8_t bytes[3] = {1, 2, 3};

    ck_assert_ptr_null(hs_overlay_find(&overlay, 0));
    hs_overlay_patch(&overlay, 0, bytes, sizeof bytes);
    ck_assert_mem_eq(bytes, "\1\2\3", 3);
    hs_overlay_drop(&overlay, is_old, &(uint64_t){UINT64_MAX});
    hs_overlay_drop_range(&overlay, 0, UINT64_MAX);
    hs_overlay_clear(&overlay);
    ck_assert_int_eq(hs_overlay_sorted(&overlay, &pages, NULL), H5STORE_OK);
    ck_assert_uint_eq(overlay.count, 0);
}
END_TEST

/* Page numbers of all sizes, so that homes collide and probing wraps round. */
static uint64_t
number_of(unsigned index)
{
    return index % 3 == 0   ? index
           : index % 3 == 1 ? (uint64_t)index << 40
                            : UINT64_MAX / 256 - index;
}

/* A random sequence of set, drop, clear and merge, with a plain table beside it. */
START_TEST(overlay_agrees_with_a_plain_table)
{
    hs_overlay overlay = {0}, other = {0};
    struct {
        unsigned version;
        uint64_t sequence;
    } model[PAGES] = {{0, 0}};
    uint64_t state = 1, sets = 0, drops = 0, merges = 0, clears = 0, ranges = 0;

    for (unsigned step = 1; step <= 8000; step++) {
        uint64_t draw = fixture_random(&state) % 1000;
        unsigned index = (unsigned)(fixture_random(&state) % PAGES);
        size_t held = 0;

        if (draw < 970) {
            set_page(&overlay, number_of(index), step, step);
            model[index].version = step;
            model[index].sequence = step;
            sets++;
        } else if (draw < 980) {
            uint64_t sequence = step - fixture_random(&state) % 300;

            hs_overlay_drop(&overlay, is_old, &sequence);
            for (unsigned i = 0; i < PAGES; i++)
                if (model[i].sequence <= sequence)
                    model[i].version = 0;
            drops++;
        } else if (draw < 990) {
            uint64_t first = number_of(index), end = first + fixture_random(&state) % 500;

            hs_overlay_drop_range(&overlay, first, end);
            for (unsigned i = 0; i < PAGES; i++)
                if (number_of(i) >= first && number_of(i) < end)
                    model[i].version = 0;
            ranges++;
        } else if (draw < 998) {
            unsigned from = index, count = 1 + (unsigned)(fixture_random(&state) % 64);

            for (unsigned i = from; i < from + count && i < PAGES; i++) {
                set_page(&other, number_of(i), 0, step);
                model[i].version = step;
                model[i].sequence = step;
            }
            ck_assert_int_eq(hs_overlay_reserve(&overlay, other.count, NULL), H5STORE_OK);
            hs_overlay_merge(&overlay, &other, step);
            ck_assert_uint_eq(other.count, 0);
            merges++;
        } else {
            hs_overlay_clear(&overlay);
            memset(model, 0, sizeof model);
            clears++;
        }
        for (unsigned i = 0; i < PAGES; i++)
            held += model[i].version != 0;
        if (overlay.count != held || overlay.capacity / 2 < held)
            ck_abort_msg("%zu pages of %zu are held", overlay.count, held);
        if (step % 200 == 0)
            for (unsigned i = 0; i < PAGES; i++) {
                if (model[i].version != 0)
                    expect_page(&overlay, number_of(i), model[i].sequence, model[i].version);
                else
                    ck_assert_ptr_null(hs_overlay_find(&overlay, number_of(i)));
            }
    }
    ck_assert_uint_gt(sets, 7000);
    ck_assert_uint_gt(drops, 30);
    ck_assert_uint_gt(ranges, 30);
    ck_assert_uint_gt(merges, 50);
    ck_assert_uint_gt(clears, 5);
    hs_overlay_release(&overlay);
    hs_overlay_release(&other);
}
END_TEST

/* Each commit looks through all of the table; a large one must not make all others slow. */
START_TEST(table_of_a_large_commit_does_not_stay)
{
    HS_CLEANUP(hs_overlay_release) hs_overlay committed = {0};
    HS_CLEANUP(hs_overlay_release) hs_overlay pending = {0};

    for (uint64_t i = 0; i < 5000; i++)
        set_page(&pending, i, 0, 1);
    ck_assert_int_eq(hs_overlay_reserve(&committed, pending.count, NULL), H5STORE_OK);
    hs_overlay_merge(&committed, &pending, 1);
    ck_assert_uint_le(pending.capacity, 256);
    set_page(&pending, 3, 0, 2);
    ck_assert_int_eq(hs_overlay_reserve(&committed, pending.count, NULL), H5STORE_OK);
    hs_overlay_merge(&committed, &pending, 2);
    ck_assert_uint_eq(committed.count, 5000);
    expect_page(&committed, 3, 2, 2);
    expect_page(&committed, 4999, 1, 1);
}
END_TEST

/* Every combination of start and end within three pages of which the middle one is held. */
START_TEST(patch_covers_any_part_of_a_page)
{
    HS_CLEANUP(hs_overlay_release) hs_overlay overlay = {0};
    uint8_t page[HS_PAGE_SIZE], bytes[3 * HS_PAGE_SIZE], want[3 * HS_PAGE_SIZE];
    uint8_t beyond[3 * HS_PAGE_SIZE];
    unsigned tried = 0;

    set_page(&overlay, 11, 1, 1);
    fill_page(page, 11, 1);
    memset(want, 0x55, sizeof want);
    memset(beyond, 0x55, sizeof beyond);
    memcpy(want + HS_PAGE_SIZE, page, HS_PAGE_SIZE);
    for (size_t from = 0; from < sizeof bytes; from += 17)
        for (size_t to = from; to <= sizeof bytes; to += 13) {
            memset(bytes, 0x55, sizeof bytes);
            hs_overlay_patch(&overlay, 10 * HS_PAGE_SIZE + from, bytes, to - from);
            ck_assert_mem_eq(bytes, want + from, to - from);
            ck_assert_mem_eq(bytes + (to - from), beyond, sizeof bytes - (to - from));
            tried++;
        }
    ck_assert_uint_gt(tried, 1000);
}
END_TEST

START_TEST(sorted_pages_rise)
{
    HS_CLEANUP(hs_overlay_release) hs_overlay overlay = {0};
    HS_CLEANUP(hs_freep) hs_page **pages = NULL;

    for (unsigned i = 0; i < PAGES; i++)
        set_page(&overlay, number_of(i * 7 % PAGES), 1, i);
    ck_assert_int_eq(hs_overlay_sorted(&overlay, &pages, NULL), H5STORE_OK);
    for (size_t i = 1; i < overlay.count; i++)
        ck_assert_uint_lt(pages[i - 1]->number, pages[i]->number);
    ck_assert_uint_eq(overlay.count, PAGES);
}
END_TEST

START_TEST(reserved_room_is_not_taken_again)
{
    HS_CLEANUP(hs_overlay_release) hs_overlay overlay = {0};
    hs_page **slots;

    ck_assert_int_eq(hs_overlay_reserve(&overlay, PAGES, NULL), H5STORE_OK);
    slots = overlay.slots;
    for (unsigned i = 0; i < PAGES; i++)
        set_page(&overlay, number_of(i), 1, i);
    ck_assert_ptr_eq(overlay.slots, slots);
    set_page(&overlay, number_of(PAGES), 1, 1);
    expect_page(&overlay, number_of(PAGES), 1, 1);
}
END_TEST

Suite *
overlay_suite(void)
{
    Suite *suite = suite_create("overlay");
    TCase *table = tcase_create("table");

    tcase_set_timeout(table, 120);
    tcase_add_test(table, empty_overlay_has_no_page);
    tcase_add_test(table, overlay_agrees_with_a_plain_table);
    tcase_add_test(table, table_of_a_large_commit_does_not_stay);
    tcase_add_test(table, patch_covers_any_part_of_a_page);
    tcase_add_test(table, sorted_pages_rise);
    tcase_add_test(table, reserved_room_is_not_taken_again);
    suite_add_tcase(suite, table);
    return suite;
}
