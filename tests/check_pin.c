/* SPDX-License-Identifier: MIT */
/*
 * The pins: between processes, inside one, and many random steps against a model.
 */
#include "lock.h"
#include "suites.h"
#include "support/child.h"
#include "support/fixture.h"
#include "support/locker.h"

static bool
try_pages(handle *h, uint64_t page, uint64_t pages)
{
    bool granted;

    ck_assert_int_eq(hs_pin_try_exclusive(h->locks, page * 4096, pages * 4096, &granted, NULL), 0);
    return granted;
}

START_TEST(pin_keeps_another_process_from_punching)
{
    handle h = open_handle();
    child *c = locker_start();

    ck_assert_int_eq(ask(c, PIN, 10, 4), 0);
    ck_assert(!try_pages(&h, 10, 4));
    ck_assert(!try_pages(&h, 13, 8)); /* any part of it */
    ck_assert(!try_pages(&h, 0, 11));
    ck_assert(!try_pages(&h, 11, 1));
    ck_assert(try_pages(&h, 14, 2)); /* beside it */
    ck_assert(try_pages(&h, 9, 1));
    ck_assert_int_eq(ask(c, UNPIN, 10, 0), 0);
    ck_assert(try_pages(&h, 10, 4));
    ck_assert_int_eq(ask(c, PIN, 10, 4), H5STORE_E_BUSY);
    hs_pin_release_exclusive(h.locks, 10 * 4096, 4 * 4096);
    ck_assert_int_eq(ask(c, PIN, 10, 4), 0);
    dismiss(c);
    close_handle(&h);
}
END_TEST

START_TEST(pin_of_a_killed_process_goes)
{
    handle h = open_handle();
    child *c = locker_start();

    ck_assert_int_eq(ask(c, PIN, 3, 1), 0);
    ck_assert_int_eq(ask(c, PIN_EXCLUSIVE, 5, 1), 1);
    ck_assert(!try_pages(&h, 3, 1));
    ck_assert_int_eq(hs_pin_take(h.locks, 5 * 4096, 4096, NULL), H5STORE_E_BUSY);
    child_kill(c);
    ck_assert(try_pages(&h, 3, 1));
    ck_assert_int_eq(hs_pin_take(h.locks, 5 * 4096, 4096, NULL), H5STORE_OK);
    close_handle(&h);
}
END_TEST

START_TEST(pins_of_one_process_count)
{
    handle h = open_handle();
    child *c = locker_start();

    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(hs_pin_take(h.locks, 4096, 8192, NULL), H5STORE_OK);
    for (int i = 0; i < 3; i++) {
        /* The kernel would grant it to the owner and turn the shared lock into another. */
        ck_assert(!try_pages(&h, 1, 2));
        ck_assert(!try_pages(&h, 2, 5));
        ck_assert(!try_pages(&h, 0, 2));
        ck_assert_int_eq(ask(c, PIN_EXCLUSIVE, 2, 1), 0);
        hs_pin_release(h.locks, 4096);
    }
    ck_assert(try_pages(&h, 0, 2));
    ck_assert_int_eq(hs_pin_take(h.locks, 0, 8192, NULL), H5STORE_E_BUSY);
    ck_assert_int_eq(ask(c, PIN_EXCLUSIVE, 2, 1), 1);
    dismiss(c);
    close_handle(&h);
}
END_TEST

/* What is kept counts once, however often it is asked for, and is not exclusive to anybody. */
START_TEST(kept_pin_stays)
{
    handle h = open_handle();
    child *c = locker_start();

    for (int i = 0; i < 3; i++) {
        ck_assert(!hs_locks_keep_pins(h.locks) || i > 0);
        ck_assert_int_eq(hs_pin_take(h.locks, 4096, 8192, NULL), H5STORE_OK);
        ck_assert_int_eq(hs_pin_take(h.locks, 4096, 8192, NULL), H5STORE_OK);
        hs_pin_keep(h.locks, 4096);
        hs_pin_release(h.locks, 4096);
        hs_pin_keep(h.locks, 4096);
        hs_pin_release(h.locks, 4096);
        ck_assert(hs_locks_keep_pins(h.locks));
        ck_assert(!try_pages(&h, 1, 2));
        ck_assert_int_eq(ask(c, PIN_EXCLUSIVE, 1, 2), 0);
        ck_assert_int_eq(ask(c, PIN, 1, 2), 0);
        ck_assert_int_eq(ask(c, UNPIN, 1, 0), 0);
    }
    dismiss(c);
    close_handle(&h);
}
END_TEST

/* By whoever has the descriptor: it goes with the last of them, and MEMBER as well. */
START_TEST(kept_pins_outlive_closing)
{
    static const uint64_t most = UINT64_C(1) << 61, kept[] = {2, 3, 6};
    handle h = open_handle(), stranger = open_handle();
    int copy = dup(h.fd);
    bool granted;

    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_MEMBER, HS_SHARED, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, 0, NULL), H5STORE_OK);
    for (uint64_t page = 1; page < 8; page++)
        ck_assert_int_eq(hs_pin_take(h.locks, page * 4096, 4096, NULL), H5STORE_OK);
    for (size_t i = 0; i < 3; i++)
        hs_pin_keep(h.locks, kept[i] * 4096);
    if (_i == 1) { /* the last there can be touches the roles */
        ck_assert_int_eq(hs_pin_take(h.locks, most - 4096, 4096, NULL), H5STORE_OK);
        hs_pin_keep(h.locks, most - 4096);
    }
    close_handle(&h);
    for (uint64_t page = 0; page < 9; page++)
        ck_assert_int_eq(try_pages(&stranger, page, 1), page != 2 && page != 3 && page != 6);
    ck_assert_int_eq(try_pages(&stranger, most / 4096 - 1, 1), _i == 0);
    ck_assert_int_eq(hs_lock_take(stranger.locks, HS_LOCK_MEMBER, HS_EXCLUSIVE, 0, NULL),
                     H5STORE_E_BUSY);
    ck_assert_int_eq(hs_lock_take(stranger.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, 0, NULL),
                     H5STORE_OK);
    hs_lock_release(stranger.locks, HS_LOCK_WRITE);
    hs_os_closep(&copy);
    ck_assert_int_eq(hs_lock_take(stranger.locks, HS_LOCK_MEMBER, HS_EXCLUSIVE, 0, NULL),
                     H5STORE_OK);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(hs_pin_try_exclusive(stranger.locks, kept[i] * 4096, 4096, &granted, NULL),
                         H5STORE_OK);
        ck_assert(granted);
    }
    close_handle(&stranger);
}
END_TEST

START_TEST(neighbours_stay_pinned)
{
    handle h = open_handle();
    child *c = locker_start();

    /* The kernel keeps these three as one record, and has to split it. */
    for (uint64_t page = 1; page <= 3; page++)
        ck_assert_int_eq(hs_pin_take(h.locks, page * 4096, 4096, NULL), H5STORE_OK);
    hs_pin_release(h.locks, 2 * 4096);
    ck_assert_int_eq(ask(c, PIN_EXCLUSIVE, 1, 1), 0);
    ck_assert_int_eq(ask(c, PIN_EXCLUSIVE, 2, 1), 1);
    ck_assert_int_eq(ask(c, PIN_EXCLUSIVE, 3, 1), 0);
    dismiss(c);
    close_handle(&h);
}
END_TEST

START_TEST(impossible_pins_are_damage)
{
    static const uint64_t most = UINT64_C(1) << 61;
    static const struct {
        uint64_t address, length;
    } bad[] = {
        {4096, 0},
        {most, 4096},
        {most - 1, 2},
        {0, most + 1},
        {UINT64_MAX, 2},
        {2, UINT64_MAX},
        /* Overlapping the pin on [8192, 16384) without being it. */
        {8192, 4096},
        {8192, 12288},
        {4096, 8192},
        {12288, 4096},
        {4096, 65536},
        {8193, 1},
    };
    handle h = open_handle();
    bool granted;

    ck_assert_int_eq(hs_pin_take(h.locks, 8192, 8192, NULL), H5STORE_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        h5store_err err;

        ck_assert_int_eq(hs_pin_take(h.locks, bad[i].address, bad[i].length, &err),
                         H5STORE_E_DAMAGED);
        ck_assert_ptr_nonnull(strstr(err.message, locker_path));
        if (i < 6)
            ck_assert_int_eq(
                hs_pin_try_exclusive(h.locks, bad[i].address, bad[i].length, &granted, NULL),
                H5STORE_E_DAMAGED);
    }
    ck_assert_int_eq(hs_pin_take(h.locks, most - 4096, 4096, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_pin_take(h.locks, 16384, 4096, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_pin_take(h.locks, 4096, 4096, NULL), H5STORE_OK);
    close_handle(&h);
}
END_TEST

START_TEST(pin_is_cut_in_two)
{
    handle mine = open_handle(), other = open_handle();
    bool granted;

    ck_assert_int_eq(hs_pin_take(mine.locks, 8192, 16384, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_pin_split(mine.locks, 8192, 4096, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_pin_split(mine.locks, 12288, 8192, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_pin_take(mine.locks, 8192, 4096, NULL), H5STORE_OK); /* it is one */
    hs_pin_release(mine.locks, 8192);
    hs_pin_release(mine.locks, 12288);
    for (uint64_t at = 8192; at < 24576; at += 4096) {
        ck_assert_int_eq(hs_pin_try_exclusive(other.locks, at, 4096, &granted, NULL), H5STORE_OK);
        ck_assert_int_eq(granted, at == 12288 || at == 16384);
        if (granted)
            hs_pin_release_exclusive(other.locks, at, 4096);
    }
    hs_pin_release(mine.locks, 8192);
    hs_pin_release(mine.locks, 20480);
    ck_assert_int_eq(hs_pin_try_exclusive(other.locks, 8192, 16384, &granted, NULL), H5STORE_OK);
    ck_assert(granted);
    close_handle(&other);
    close_handle(&mine);
}
END_TEST

/* Random work of two handles against a plain model of who has what. */
#define PLACES 24
#define STEPS 20000

START_TEST(pins_agree_with_a_model)
{
    handle h[2] = {open_handle(), open_handle()};
    int count[2][PLACES] = {{0}}; /* -1: exclusive */
    uint64_t seed = (uint64_t)_i;
    unsigned granted_count = 0, refused = 0;

    for (int step = 0; step < STEPS; step++) {
        uint64_t random = fixture_random(&seed);
        int me = random & 1, place = (int)((random >> 8) % PLACES);
        int *mine = &count[me][place], other = count[!me][place];
        uint64_t at = (uint64_t)place * 4096;
        bool granted;

        switch (random >> 4 & 7) {
        case 0:
        case 1:
        case 2:
            if (*mine < 0 || other < 0) {
                ck_assert_int_eq(hs_pin_take(h[me].locks, at, 4096, NULL), H5STORE_E_BUSY);
                refused++;
            } else {
                ck_assert_int_eq(hs_pin_take(h[me].locks, at, 4096, NULL), H5STORE_OK);
                ++*mine;
            }
            break;
        case 3:
        case 4:
        case 5:
            if (*mine > 0) {
                hs_pin_release(h[me].locks, at);
                --*mine;
            } else if (*mine < 0) {
                hs_pin_release_exclusive(h[me].locks, at, 4096);
                *mine = 0;
            }
            break;
        default:
            ck_assert_int_eq(hs_pin_try_exclusive(h[me].locks, at, 4096, &granted, NULL), 0);
            ck_assert_int_eq(granted, *mine == 0 && other == 0);
            if (granted)
                *mine = -1;
            granted_count += granted;
        }
    }
    ck_assert_uint_gt(granted_count, STEPS / 1000);
    ck_assert_uint_gt(refused, STEPS / 1000);
    close_handle(&h[0]);
    close_handle(&h[1]);
}
END_TEST

Suite *
pin_suite(void)
{
    Suite *suite = suite_create("pin");
    TCase *pins = tcase_create("pins");

    tcase_add_test(pins, pin_keeps_another_process_from_punching);
    tcase_add_test(pins, pin_of_a_killed_process_goes);
    tcase_add_test(pins, pins_of_one_process_count);
    tcase_add_test(pins, kept_pin_stays);
    tcase_add_loop_test(pins, kept_pins_outlive_closing, 0, 2);
    tcase_add_test(pins, neighbours_stay_pinned);
    tcase_add_test(pins, impossible_pins_are_damage);
    tcase_add_test(pins, pin_is_cut_in_two);
    tcase_add_loop_test(pins, pins_agree_with_a_model, 0, 4);
    tcase_add_checked_fixture(pins, locker_setup, fixture_teardown);
    tcase_set_timeout(pins, 120);
    suite_add_tcase(suite, pins);
    return suite;
}
