/* SPDX-License-Identifier: MIT */
/*
 * Space that is reserved ahead: how much, for whom, and that nothing of it stays behind.
 */
#include "extent.h"
#include "os.h"
#include "support/child.h"
#include "support/container.h"
#include "support/core.h"
#include "support/fixture.h"
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

Suite *ahead_suite(void);

static hs_container *c;

static void
setup(void)
{
    box_setup();
    c = core_open(box_path(), H5STORE_CREATE, false);
}

static void
teardown(void)
{
    BOX_OK(hs_container_close(c, &box_err));
    box_expect_sound();
    box_teardown();
}

static hs_extent
reserve(uint64_t length)
{
    hs_extent extent;

    BOX_OK(hs_extent_reserve(c, length, &extent, &box_err));
    return extent;
}

#define PART ((uint64_t)64 * 1024)

static hs_extent
reserve_ahead(uint64_t length)
{
    hs_extent extent;

    BOX_OK(hs_extent_reserve_ahead(c, length, &extent, &box_err));
    ck_assert_uint_eq(extent.length, hs_round_up(length, HS_SPACE_UNIT));
    return extent;
}

START_TEST(who_goes_on_reserves_for_more_at_once)
{
    uint64_t used = core_used_bytes(c), sequence = core_commits(c);
    hs_extent extents[100];

    for (int i = 0; i < 100; i++) {
        extents[i] = reserve_ahead(PART - 100);
        for (int j = 0; j < i; j++)
            ck_assert(extents[j].address + PART <= extents[i].address ||
                      extents[i].address + PART <= extents[j].address);
    }
    ck_assert_uint_eq(core_commits(c), sequence + 7); /* 1, 2, 4, 8, 16, 32, 64 */
    ck_assert_uint_eq(core_used_bytes(c), used + 127 * PART);
    BOX_OK(hs_extent_reclaim(c, &box_err)); /* all is pinned */
    ck_assert_uint_eq(core_used_bytes(c), used + 127 * PART);
    hs_extent_give_up_ahead(c);
    BOX_OK(hs_extent_reclaim(c, &box_err));
    ck_assert_uint_eq(core_used_bytes(c), used + 100 * PART);
    sequence = core_commits(c);
    extents[0] = (hs_extent_abandon(c, extents[0]), reserve_ahead(PART)); /* for one again */
    ck_assert_uint_le(core_commits(c), sequence + 2);
    for (int i = 0; i < 100; i++)
        hs_extent_abandon(c, extents[i]);
    hs_extent_give_up_ahead(c);
    BOX_OK(hs_extent_reclaim(c, &box_err));
    ck_assert_uint_eq(core_used_bytes(c), used);
}
END_TEST

START_TEST(no_more_than_4_mib_are_reserved_ahead)
{
    uint64_t used = core_used_bytes(c), most = 0, mine = 0;
    hs_extent extents[60];

    for (int i = 0; i < 60; i++) {
        extents[i] = reserve_ahead(1024 * 1024 - (uint64_t)i * 5000); /* no two are alike */
        mine += extents[i].length;
        most = hs_max(most, core_used_bytes(c) - used - mine);
    }
    ck_assert_uint_gt(most, 1024 * 1024);
    /* What was too short for the next one goes when somebody reclaims. */
    BOX_OK(hs_extent_reclaim(c, &box_err));
    ck_assert_uint_le(core_used_bytes(c) - used - mine, 4 * 1024 * 1024);
    ck_assert_uint_eq(reserve_ahead(3 * 1024 * 1024).length, 3 * 1024 * 1024); /* alone */
}
END_TEST

START_TEST(holes_are_filled_before_the_file_grows)
{
    hs_extent holes[20], walls[20];
    uint64_t end;

    for (int i = 0; i < 20; i++) {
        holes[i] = reserve(PART);
        walls[i] = reserve(PART);
    }
    for (int i = 0; i < 20; i++)
        hs_extent_abandon(c, holes[i]);
    end = walls[19].address + PART;
    for (int i = 0; i < 20; i++)
        ck_assert_uint_lt(reserve_ahead(PART).address, end);
    ck_assert_uint_ge(reserve_ahead(PART).address, end);
}
END_TEST

START_TEST(full_disk_has_room_for_one_if_not_for_many)
{
    struct rlimit old, limit;
    hs_extent extents[3] = {reserve_ahead(PART), reserve_ahead(PART), reserve_ahead(PART)};

    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    hs_extent_give_up_ahead(c);
    extents[0] = reserve_ahead(PART); /* the next one is to be two */
    limit = (struct rlimit){extents[0].address + 2 * PART, old.rlim_max};
    for (int i = 0; i < 3; i++)
        limit.rlim_cur = hs_max(limit.rlim_cur, extents[i].address + 2 * PART);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    (void)reserve_ahead(PART);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
}
END_TEST

static int
reserve_ahead_and_wait(child *parent, void *context HS_UNUSED)
{
    hs_container *mine = core_open(box_path(), 0, false);
    hs_extent extent;

    for (int i = 0; i < 5; i++)
        child_assert(hs_extent_reserve_ahead(mine, PART, &extent, &box_err) == H5STORE_OK);
    child_tell(parent, extent.address);
    child_hear(parent);
    return 0;
}

START_TEST(what_was_reserved_ahead_goes_with_its_process)
{
    core_expect_gone_with_process(c, reserve_ahead_and_wait, 7 * PART);
}
END_TEST

START_TEST(a_pause_gives_up_what_is_ahead)
{
    uint64_t used = core_used_bytes(c), until = hs_os_now() + UINT64_C(20000000000);
    hs_extent extents[4];

    for (int i = 0; i < 4; i++)
        extents[i] = reserve_ahead(PART);
    ck_assert_uint_eq(core_used_bytes(c), used + 7 * PART);
    while (core_used_bytes(c) > used + 4 * PART && hs_os_now() < until)
        usleep(50000);
    ck_assert_uint_eq(core_used_bytes(c), used + 4 * PART);
    for (int i = 0; i < 4; i++)
        hs_extent_abandon(c, extents[i]);
}
END_TEST

Suite *
ahead_suite(void)
{
    Suite *suite = suite_create("ahead");
    TCase *tcase = tcase_create("ahead");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, who_goes_on_reserves_for_more_at_once);
    tcase_add_test(tcase, no_more_than_4_mib_are_reserved_ahead);
    tcase_add_test(tcase, holes_are_filled_before_the_file_grows);
    tcase_add_test(tcase, full_disk_has_room_for_one_if_not_for_many);
    tcase_add_test(tcase, what_was_reserved_ahead_goes_with_its_process);
    tcase_add_test(tcase, a_pause_gives_up_what_is_ahead);
    suite_add_tcase(suite, tcase);
    return suite;
}
