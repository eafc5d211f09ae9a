/* SPDX-License-Identifier: MIT */
/*
 * Extents from reservation to punching: nobody's bytes are touched while anybody has them
 * pinned, and nothing is lost when a process dies.
 */
#include "extent.h"
#include "os.h"
#include "support/child.h"
#include "support/container.h"
#include "support/core.h"
#include "support/fixture.h"
#include "support/power.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *extent_suite(void);

#define SIZE (3u * 1024 * 1024 + 5000)

static hs_container *c;
static uint8_t *data, *read_back;
static hs_source source; /* data */

static void
setup(void)
{
    box_setup();
    c = core_open(box_path(), H5STORE_CREATE, false);
    data = malloc(SIZE);
    read_back = malloc(SIZE);
    fixture_fill(data, SIZE, 1);
    source = (hs_source){.data = data, .nbytes = SIZE};
}

static void
teardown(void)
{
    free(data);
    free(read_back);
    BOX_OK(hs_container_close(c, &box_err));
    box_teardown();
    box_err.code = 0;
}

static hs_extent
reserve(hs_container *from, uint64_t length)
{
    hs_extent extent;

    BOX_OK(hs_extent_reserve(from, length, &extent, &box_err));
    ck_assert_uint_eq(extent.address % HS_SPACE_UNIT, 0);
    ck_assert_uint_eq(extent.length, hs_round_up(length, HS_SPACE_UNIT));
    return extent;
}

static size_t
loose_extents(void)
{
    size_t count = 0;

    BOX_OK(hs_container_read_begin(c, NULL, &box_err));
    for (size_t i = 0; i < hs_container_space(c)->count; i++)
        count += hs_container_space(c)->slots[i].loose;
    hs_container_read_end(c);
    return count;
}

static uint64_t
disk_bytes(void)
{
    struct stat status;

    ck_assert_int_eq(stat(box_path(), &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

/* used -> loose, as if a blob had been removed. */
static void
loosen(hs_extent extent, bool removed)
{
    BOX_OK(hs_container_write_begin(c, NULL, &box_err));
    if (removed)
        (void)hs_space_tighten(hs_container_space(c), extent);
    BOX_OK(hs_space_loosen(hs_container_space(c), extent, removed ? hs_container_sequence(c) : 0,
                           &box_err));
    BOX_OK(hs_container_commit(c, NULL, 0, &box_err));
}

/* ---- bytes ---------------------------------------------------------------------------- */

START_TEST(bytes_come_back_with_their_digests)
{
    h5store_array array = {"'|u1'", H5STORE_ORDER_C, 1, {SIZE}, SIZE, data, NULL};
    HS_CLEANUP(hs_tree_freep) hs_tree *written = NULL;
    HS_CLEANUP(hs_tree_freep) hs_tree *tree = NULL;
    hs_extent extent = reserve(c, SIZE);
    h5store_id id, named;
    uint64_t sum;
    void *address;

    BOX_OK(hs_digest_array(&array, 2, &id, &sum, &box_err));
    BOX_OK(hs_tree_new(SIZE, &written, &box_err));
    BOX_OK(hs_extent_write(c, extent, &source, 2, written, true, &box_err));
    BOX_OK(hs_tree_id(written, &array, &named, &box_err));
    ck_assert_int_eq(h5store_id_equal(&id, &named), 1);
    ck_assert_uint_eq(hs_tree_sum(written), sum);

    BOX_OK(hs_tree_new(SIZE, &tree, &box_err));
    BOX_OK(hs_extent_read(c, extent, read_back, SIZE, tree, true, true, &box_err));
    ck_assert_mem_eq(read_back, data, SIZE);
    BOX_OK(hs_tree_id(tree, &array, &named, &box_err));
    ck_assert_int_eq(h5store_id_equal(&id, &named), 1);
    ck_assert_uint_eq(hs_tree_sum(tree), sum);
    hs_tree_freep(&tree);

    BOX_OK(hs_tree_new(SIZE, &tree, &box_err));
    BOX_OK(hs_extent_digest(c, extent, SIZE, tree, true, true, &box_err));
    BOX_OK(hs_tree_id(tree, &array, &named, &box_err));
    ck_assert_int_eq(h5store_id_equal(&id, &named), 1);
    ck_assert_uint_eq(hs_tree_sum(tree), sum);

    memset(read_back, 0, SIZE);
    BOX_OK(hs_extent_read(c, extent, read_back, SIZE, NULL, false, false, &box_err));
    ck_assert_mem_eq(read_back, data, SIZE);
    BOX_OK(hs_extent_map(c, extent.address, extent.length, &address, &box_err));
    ck_assert_mem_eq(address, data, SIZE);
    hs_os_unmap(address, extent.length);
    hs_extent_abandon(c, extent);
}
END_TEST

/* At every place in a page, also where reading goes by way of another buffer. */
/* Longer than several writes, which do not begin where the extent does; with and without hashing,
 * and with one thread. */
START_TEST(long_array_is_written_whole)
{
    enum { LONG = 21 * 1024 * 1024 + 100 };
    hs_source many = {.data = malloc(LONG), .nbytes = LONG};
    uint8_t *back = malloc(LONG);

    ck_assert_ptr_nonnull(back);
    fixture_fill((uint8_t *)(uintptr_t)many.data, LONG, 2);
    for (int threads = 2; threads >= 0; threads--) {
        HS_CLEANUP(hs_tree_freep) hs_tree *tree = NULL;
        hs_extent before = reserve(c, HS_SPACE_UNIT), extent = reserve(c, LONG);

        BOX_OK(hs_tree_new(LONG, &tree, &box_err));
        BOX_OK(hs_extent_write(c, extent, &many, hs_max(threads, 1), threads > 0 ? tree : NULL,
                               threads > 0, &box_err));
        BOX_OK(hs_extent_read(c, extent, back, LONG, NULL, false, false, &box_err));
        ck_assert_mem_eq(back, many.data, LONG);
        hs_extent_abandon(c, extent);
        hs_extent_abandon(c, before);
    }
    free((uint8_t *)(uintptr_t)many.data);
    free(back);
}
END_TEST

START_TEST(bytes_come_to_any_place_in_a_page)
{
    static const size_t places[] = {0, 1, 16, 48, 63, 64, 100, 2048, 4095};
    h5store_array array = {
        .dtype = "'|u1'", .rank = 1, .shape = {SIZE}, .nbytes = SIZE, .data = data};
    hs_extent extent = reserve(c, SIZE);
    uint8_t *room = malloc(SIZE + 2 * 4096), *page = room + 4096 - (uintptr_t)room % 4096;
    h5store_id id, named;

    BOX_OK(hs_extent_write(c, extent, &source, 2, NULL, false, &box_err));
    BOX_OK(hs_digest_array(&array, 1, &id, NULL, &box_err));
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        HS_CLEANUP(hs_tree_freep) hs_tree *tree = NULL;

        memset(page, 0, SIZE);
        BOX_OK(hs_tree_new(SIZE, &tree, &box_err));
        BOX_OK(hs_extent_read(c, extent, page + places[i], SIZE, tree, true, true, &box_err));
        ck_assert_mem_eq(page + places[i], data, SIZE);
        BOX_OK(hs_tree_id(tree, &array, &named, &box_err));
        ck_assert_int_eq(h5store_id_equal(&id, &named), 1);
        ck_assert_int_eq(truncate(box_path(), (off_t)(extent.address + SIZE - 1)), 0);
        BOX_FAILS(H5STORE_E_DAMAGED,
                  hs_extent_read(c, extent, page + places[i], SIZE, NULL, false, false, &box_err));
        BOX_OK(hs_extent_write(c, extent, &source, 2, NULL, false, &box_err));
    }
    free(room);
    hs_extent_abandon(c, extent);
}
END_TEST

START_TEST(short_file_is_noticed)
{
    HS_CLEANUP(hs_tree_freep) hs_tree *tree = NULL;
    hs_extent extent = reserve(c, SIZE);
    void *address;

    BOX_OK(hs_extent_write(c, extent, &source, 2, NULL, false, &box_err));
    ck_assert_int_eq(truncate(box_path(), (off_t)(extent.address + SIZE - 1)), 0);
    BOX_OK(hs_tree_new(SIZE, &tree, &box_err));
    BOX_FAILS(H5STORE_E_DAMAGED,
              hs_extent_read(c, extent, read_back, SIZE, NULL, false, false, &box_err));
    BOX_FAILS(H5STORE_E_DAMAGED, hs_extent_digest(c, extent, SIZE, tree, true, true, &box_err));
    BOX_FAILS(H5STORE_E_DAMAGED,
              hs_extent_map(c, extent.address, extent.length, &address, &box_err));
    BOX_OK(hs_extent_read(c, extent, read_back, SIZE - 1, NULL, false, false, &box_err));
    ck_assert_mem_eq(read_back, data, SIZE - 1);
    hs_extent_abandon(c, extent);
}
END_TEST

START_TEST(impossible_extent_is_refused)
{
    hs_extent extent;

    BOX_FAILS(H5STORE_E_INVALID, hs_extent_reserve(c, UINT64_MAX, &extent, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, hs_extent_reserve(c, 0, &extent, &box_err));
    ck_assert_uint_eq(loose_extents(), 0);
}
END_TEST

/* More than there is (a limit of the process stands for the disk): said before a byte is
 * written, and nothing is kept. */
START_TEST(full_disk_is_met_before_writing)
{
    const struct rlimit limit = {(rlim_t)box_size(box_path()) + 1000000, RLIM_INFINITY};
    uint64_t used = core_used_bytes(c);
    struct rlimit old;
    hs_extent extent;

    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    BOX_FAILS(H5STORE_E_NO_SPACE, hs_extent_reserve(c, SIZE, &extent, &box_err));
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    ck_assert_uint_eq(loose_extents(), 0);
    ck_assert_uint_eq(core_used_bytes(c), used); /* nothing was lost */
    ck_assert_uint_eq(reserve(c, SIZE).length, hs_round_up(SIZE, HS_SPACE_UNIT));
}
END_TEST

START_TEST(several_are_reserved_in_one_commit_or_none)
{
    hs_extent extents[5], bad[5];
    uint64_t used = core_used_bytes(c), sequence = core_commits(c);

    for (int i = 0; i < 5; i++)
        bad[i] = extents[i] = (hs_extent){.length = 10000u * (unsigned)(i + 1)};
    bad[4].length = UINT64_MAX;
    BOX_FAILS(H5STORE_E_INVALID, hs_extent_reserve_all(c, bad, 5, &box_err));
    ck_assert_uint_eq(loose_extents(), 0);
    ck_assert_uint_eq(core_used_bytes(c), used);
    ck_assert_uint_eq(core_commits(c), sequence);
    BOX_OK(hs_extent_reserve_all(c, extents, 5, &box_err));
    ck_assert_uint_eq(core_commits(c), sequence + 1);
    for (int i = 0; i < 5; i++) {
        ck_assert_uint_eq(extents[i].length,
                          hs_round_up(10000u * (unsigned)(i + 1), HS_SPACE_UNIT));
        for (int j = 0; j < i; j++)
            ck_assert(extents[j].address + extents[j].length <= extents[i].address ||
                      extents[i].address + extents[i].length <= extents[j].address);
    }
    BOX_OK(hs_extent_reclaim(c, &box_err)); /* they are pinned */
    ck_assert_uint_eq(loose_extents(), 5);
    for (int i = 0; i < 5; i++)
        hs_extent_abandon(c, extents[i]);
    ck_assert_uint_eq(core_used_bytes(c), used);
}
END_TEST

/* ---- reclaiming ------------------------------------------------------------------------- */

START_TEST(abandoned_reservation_is_free_and_punched)
{
    uint64_t full, used = core_used_bytes(c);
    hs_extent extent = reserve(c, SIZE);

    BOX_OK(hs_extent_write(c, extent, &source, 2, NULL, false, &box_err));
    BOX_OK(hs_container_sync_data(c, &box_err));
    full = disk_bytes();
    hs_extent_abandon(c, extent);
    ck_assert_uint_eq(core_used_bytes(c), used);
    ck_assert_uint_eq(loose_extents(), 0);
    ck_assert_uint_le(disk_bytes() + SIZE - 8192, full);
    ck_assert_uint_eq(reserve(c, SIZE).address, extent.address); /* and is used again */
    hs_extent_abandon(c, extent);
}
END_TEST

/* Removals that lie side by side are one loose extent; a pin in its middle keeps its own bytes. */
START_TEST(what_nobody_pins_of_a_joined_extent_is_freed)
{
    hs_container *other = core_open(box_path(), 0, false);
    uint64_t used = core_used_bytes(c);
    hs_extent parts[5], pinned[2];

    for (int i = 0; i < 5; i++)
        parts[i] = reserve(c, SIZE);
    BOX_OK(hs_container_write_begin(c, NULL, &box_err));
    for (int i = 0; i < 5; i++) {
        ck_assert(hs_space_tighten(hs_container_space(c), parts[i]));
        BOX_OK(
            hs_space_loosen(hs_container_space(c), parts[i], hs_container_sequence(c), &box_err));
    }
    BOX_OK(hs_container_commit(c, NULL, 0, &box_err));
    ck_assert_uint_eq(loose_extents(), 1);
    pinned[0] = parts[1]; /* by this process; the others are let go */
    pinned[1] = parts[3];
    BOX_OK(hs_container_read_begin(other, NULL, &box_err));
    BOX_OK(hs_container_pin(other, pinned[1], &box_err));
    hs_container_read_end(other);
    for (int i = 0; i < 5; i++)
        if (i != 1)
            hs_container_unpin(c, parts[i]);
    BOX_OK(hs_container_checkpoint(c, false, &box_err));
    BOX_OK(hs_extent_reclaim(c, &box_err));
    ck_assert_uint_eq(core_used_bytes(c), used + pinned[0].length + pinned[1].length);
    ck_assert_uint_eq(loose_extents(), 2);
    hs_container_unpin(c, pinned[0]);
    hs_container_unpin(other, pinned[1]);
    BOX_OK(hs_extent_reclaim(c, &box_err));
    ck_assert_uint_eq(core_used_bytes(c), used);
    ck_assert_uint_eq(loose_extents(), 0);
    BOX_OK(hs_container_close(other, &box_err));
}
END_TEST

START_TEST(pinned_extent_is_left_alone)
{
    hs_container *other = core_open(box_path(), 0, false);
    uint64_t used = core_used_bytes(c);
    hs_extent mine = reserve(c, SIZE), theirs = reserve(other, SIZE);

    BOX_OK(hs_extent_write(c, mine, &source, 2, NULL, false, &box_err));
    BOX_OK(hs_extent_write(other, theirs, &source, 2, NULL, false, &box_err));
    BOX_OK(hs_extent_reclaim(c, &box_err));
    BOX_OK(hs_extent_reclaim(other, &box_err));
    ck_assert_uint_eq(core_used_bytes(c), used + mine.length + theirs.length);
    ck_assert_uint_eq(loose_extents(), 2);
    BOX_OK(hs_extent_read(c, mine, read_back, SIZE, NULL, false, false, &box_err));
    ck_assert_mem_eq(read_back, data, SIZE);
    BOX_OK(hs_extent_read(c, theirs, read_back, SIZE, NULL, false, false, &box_err));
    ck_assert_mem_eq(read_back, data, SIZE);
    hs_extent_abandon(other, theirs);
    ck_assert_uint_eq(core_used_bytes(c), used + mine.length);
    hs_extent_abandon(c, mine);
    ck_assert_uint_eq(core_used_bytes(c), used);
    BOX_OK(hs_container_close(other, &box_err));
}
END_TEST

/* Until a removal is applied a stock reader may still see the blob. */
START_TEST(removal_that_is_not_applied_is_left_alone)
{
    uint64_t used = core_used_bytes(c);
    hs_extent extent = reserve(c, SIZE);

    loosen(extent, true);
    hs_container_unpin(c, extent);
    BOX_OK(hs_extent_reclaim(c, &box_err));
    ck_assert_uint_eq(core_used_bytes(c), used + extent.length);
    BOX_OK(hs_container_checkpoint(c, false, &box_err));
    BOX_OK(hs_extent_reclaim(c, &box_err));
    ck_assert_uint_eq(core_used_bytes(c), used);
}
END_TEST

/* More than one round of the loop inside. */
START_TEST(thousands_of_extents_are_reclaimed)
{
    enum { COUNT = 2500 };
    uint64_t used;

    BOX_OK(hs_container_write_begin(c, NULL, &box_err));
    for (int i = 0; i < COUNT; i++) {
        hs_extent extent, wall;
        bool reused;

        BOX_OK(hs_space_take(hs_container_space(c), 1, &extent, &reused, &box_err));
        BOX_OK(hs_space_take(hs_container_space(c), 1, &wall, &reused, &box_err));
        BOX_OK(hs_space_loosen(hs_container_space(c), extent, 0, &box_err));
    }
    BOX_OK(hs_container_commit(c, NULL, 0, &box_err));
    ck_assert_uint_ge(loose_extents(), COUNT);
    used = core_used_bytes(c);
    BOX_OK(hs_extent_reclaim(c, &box_err));
    ck_assert_uint_le(core_used_bytes(c) + COUNT * (uint64_t)HS_SPACE_UNIT, used);
    ck_assert_uint_lt(loose_extents(), 10); /* old places of the table, not applied yet */
}
END_TEST

/* Leave in the log a page whose place was freed after it was applied, and is reserved now. */
static hs_extent
reserve_place_of_a_page(void)
{
    uint8_t page[HS_PAGE_SIZE] = {1};
    hs_extent place, again;
    bool reused;

    BOX_OK(hs_container_write_begin(c, NULL, &box_err));
    BOX_OK(hs_space_take(hs_container_space(c), SIZE, &place, &reused, &box_err));
    BOX_OK(hs_pager_write(hs_container_pager(c), place.address + HS_PAGE_SIZE, page, sizeof page,
                          &box_err));
    BOX_OK(hs_container_commit(c, NULL, 0, &box_err));
    BOX_OK(hs_container_write_begin(c, NULL, &box_err));
    BOX_OK(hs_space_loosen(hs_container_space(c), place, hs_container_sequence(c), &box_err));
    BOX_OK(hs_container_commit(c, NULL, 0, &box_err));
    BOX_OK(hs_container_checkpoint(c, false, &box_err)); /* the log keeps its records */
    BOX_OK(hs_extent_reclaim(c, &box_err));
    again = reserve(c, SIZE);
    ck_assert_uint_eq(again.address, place.address);
    BOX_OK(hs_extent_write(c, again, &source, 2, NULL, false, &box_err));
    return again;
}

/* A page that was applied, and whose place holds an array by now, is not applied again by one who
 * finds it in the log. */
START_TEST(applied_page_is_no_danger_to_an_array)
{
    hs_extent again = reserve_place_of_a_page();
    hs_container *other = core_open(box_path(), 0, false);

    BOX_OK(hs_container_checkpoint(other, false, &box_err));
    BOX_OK(hs_container_close(other, &box_err));
    BOX_OK(hs_extent_read(c, again, read_back, SIZE, NULL, false, false, &box_err));
    ck_assert_mem_eq(read_back, data, SIZE);
    hs_extent_abandon(c, again);
}
END_TEST

/* Nor after a power cut, when it is not sure that anything was applied. */
START_TEST(page_of_before_a_power_cut_is_no_danger_to_an_array)
{
    hs_extent again = reserve_place_of_a_page();
    h5store_array array = {
        .dtype = "'|u1'", .rank = 1, .shape = {SIZE}, .nbytes = SIZE, .data = data};
    hs_wal_blob logged = {.extent = again};
    const char *path = fixture_path("cut.h5"), *log_path = fixture_path("cut.h5-wal");
    int fd;

    BOX_OK(h5store_hash(&array, 1, &logged.id, &box_err));
    BOX_OK(hs_container_write_begin(c, NULL, &box_err));
    ck_assert(hs_space_tighten(hs_container_space(c), again));
    BOX_OK(hs_container_commit(c, &logged, 1, &box_err));
    box_copy(box_path(), path);
    box_copy(box_log_path(), log_path);
    power_change_boot_id(log_path);
    BOX_OK(hs_container_close(core_open(path, 0, true), &box_err));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(pread(fd, read_back, SIZE, (off_t)again.address), SIZE);
    close(fd);
    ck_assert_mem_eq(read_back, data, SIZE);
    hs_container_unpin(c, again);
}
END_TEST

/* Who has no time punches one step, of one extent; all others stay loose, and let go of. */
START_TEST(what_it_is_too_late_for_is_left_to_the_next)
{
    enum { STEP = 16 * 1024 * 1024 };
    uint64_t used = core_used_bytes(c);
    hs_extent large = reserve(c, 2 * STEP + 4096), wall = reserve(c, 1), small = reserve(c, 1);
    uint64_t disk = disk_bytes();

    hs_container_unpin(c, large);
    hs_container_unpin(c, small);
    BOX_OK(hs_extent_reclaim_until(c, 0, &box_err));
    ck_assert_uint_eq(core_used_bytes(c), used + large.length - STEP + wall.length + small.length);
    ck_assert_uint_eq(loose_extents(), 3);                /* the wall is one */
    ck_assert_uint_ge(disk + 65536, disk_bytes() + STEP); /* the log grows by a little */
    BOX_OK(hs_container_checkpoint(c, false, &box_err));
    BOX_OK(hs_extent_reclaim_until(c, 0, &box_err));
    BOX_OK(hs_extent_reclaim(c, &box_err)); /* nothing was left pinned */
    ck_assert_uint_eq(core_used_bytes(c), used + wall.length);
    hs_extent_abandon(c, wall);
    ck_assert_uint_eq(core_used_bytes(c), used);
}
END_TEST

static int
reserve_and_wait(child *parent, void *context)
{
    hs_container *mine = core_open(box_path(), 0, false);
    hs_extent extent;

    (void)context;
    child_assert(hs_extent_reserve(mine, SIZE, &extent, &box_err) == H5STORE_OK);
    child_assert(hs_extent_write(mine, extent, &source, 2, NULL, false, &box_err) == H5STORE_OK);
    child_tell(parent, extent.address);
    child_hear(parent);
    return 0;
}

START_TEST(reservation_of_a_killed_process_is_reclaimed)
{
    core_expect_gone_with_process(c, reserve_and_wait, hs_round_up(SIZE, HS_SPACE_UNIT));
}
END_TEST

Suite *
extent_suite(void)
{
    Suite *suite = suite_create("extent");
    TCase *bytes = tcase_create("bytes");
    TCase *reclaim = tcase_create("reclaim");

    tcase_add_checked_fixture(bytes, setup, teardown);
    tcase_set_timeout(bytes, 60);
    tcase_add_test(bytes, bytes_come_back_with_their_digests);
    tcase_add_test(bytes, long_array_is_written_whole);
    tcase_add_test(bytes, bytes_come_to_any_place_in_a_page);
    tcase_add_test(bytes, short_file_is_noticed);
    tcase_add_test(bytes, impossible_extent_is_refused);
    tcase_add_test(bytes, full_disk_is_met_before_writing);
    tcase_add_test(bytes, several_are_reserved_in_one_commit_or_none);
    tcase_add_checked_fixture(reclaim, setup, teardown);
    tcase_set_timeout(reclaim, 60);
    tcase_add_test(reclaim, abandoned_reservation_is_free_and_punched);
    tcase_add_test(reclaim, pinned_extent_is_left_alone);
    tcase_add_test(reclaim, what_nobody_pins_of_a_joined_extent_is_freed);
    tcase_add_test(reclaim, removal_that_is_not_applied_is_left_alone);
    tcase_add_test(reclaim, thousands_of_extents_are_reclaimed);
    tcase_add_test(reclaim, applied_page_is_no_danger_to_an_array);
    tcase_add_test(reclaim, page_of_before_a_power_cut_is_no_danger_to_an_array);
    tcase_add_test(reclaim, what_it_is_too_late_for_is_left_to_the_next);
    tcase_add_test(reclaim, reservation_of_a_killed_process_is_reclaimed);
    suite_add_tcase(suite, bytes);
    suite_add_tcase(suite, reclaim);
    return suite;
}
