/* SPDX-License-Identifier: MIT */
/*
 * The roles, between real processes.  Where a process must be known to wait, the turnstile
 * that it then holds is looked at (its byte is documented), not a clock.
 */
#include "lock.h"
#include "suites.h"
#include "support/child.h"
#include "support/faulty.h"
#include "support/fixture.h"
#include "support/locker.h"
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

/* LOCKING.md, "The locks". */
#define AT_NEXT ((UINT64_C(1) << 62) + 48)
#define AT_GATE ((UINT64_C(1) << 62) + 64)

/* Wait until somebody waits behind a turnstile. */
static void
await_waiter(handle *h, uint64_t turnstile)
{
    bool is_free = true;

    while (is_free) {
        if (hs_os_lock_test(h->fd, locker_path, turnstile, 1, &is_free, NULL) < 0)
            abort();
        hs_os_sleep(1000);
    }
}

/* ---- roles ------------------------------------------------------------ */

START_TEST(exclusive_excludes_another_process)
{
    static const char *const names[HS_LOCK_ROLES] = {"member lock", "write lock", "read lock"};
    handle h = open_handle();
    child *c = locker_start();
    h5store_err err;

    ck_assert_int_eq(ask(c, TRY, (uint64_t)_i, HS_EXCLUSIVE), 0);
    ck_assert_int_eq(hs_lock_take(h.locks, (hs_role)_i, HS_EXCLUSIVE, 0, &err), H5STORE_E_BUSY);
    ck_assert_int_eq(err.code, H5STORE_E_BUSY);
    ck_assert_ptr_nonnull(strstr(err.message, locker_path));
    ck_assert_ptr_nonnull(strstr(err.message, names[_i]));
    ck_assert_int_eq(hs_lock_held(h.locks, (hs_role)_i), HS_UNLOCKED);
    if (_i != HS_LOCK_WRITE)
        ck_assert_int_eq(hs_lock_take(h.locks, (hs_role)_i, HS_SHARED, 0, NULL), H5STORE_E_BUSY);
    ck_assert_int_eq(ask(c, RELEASE, (uint64_t)_i, 0), 0);
    ck_assert_int_eq(hs_lock_take(h.locks, (hs_role)_i, HS_EXCLUSIVE, 0, &err), H5STORE_OK);
    ck_assert_int_eq(hs_lock_held(h.locks, (hs_role)_i), HS_EXCLUSIVE);
    ck_assert_int_eq(ask(c, TRY, (uint64_t)_i, HS_EXCLUSIVE), H5STORE_E_BUSY);
    hs_lock_release(h.locks, (hs_role)_i);
    ck_assert_int_eq(ask(c, TRY, (uint64_t)_i, HS_EXCLUSIVE), 0);
    dismiss(c);
    close_handle(&h);
}
END_TEST

START_TEST(two_handles_of_a_process_exclude_each_other)
{
    handle a = open_handle(), b = open_handle();

    ck_assert_int_eq(hs_lock_take(a.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_lock_take(b.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, 0, NULL), H5STORE_E_BUSY);
    /* Closing another descriptor of the file would drop POSIX locks. */
    close_handle(&b);
    b = open_handle();
    ck_assert_int_eq(hs_lock_take(b.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, 0, NULL), H5STORE_E_BUSY);
    hs_lock_release(a.locks, HS_LOCK_WRITE);
    ck_assert_int_eq(hs_lock_take(b.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, 0, NULL), H5STORE_OK);
    close_handle(&a);
    close_handle(&b);
}
END_TEST

START_TEST(roles_are_independent)
{
    handle h = open_handle();
    child *c = locker_start();

    ck_assert_int_eq(ask(c, TRY, HS_LOCK_WRITE, HS_EXCLUSIVE), 0);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_MEMBER, HS_EXCLUSIVE, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_READ, HS_EXCLUSIVE, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_pin_take(h.locks, 0, 4096, NULL), H5STORE_OK);
    dismiss(c);
    close_handle(&h);
}
END_TEST

START_TEST(shared_is_shared_and_keeps_exclusive_out)
{
    handle h = open_handle();
    child *c = locker_start(), *d = locker_start();

    ck_assert_int_eq(ask(c, TRY, (uint64_t)_i, HS_SHARED), 0);
    ck_assert_int_eq(ask(d, TRY, (uint64_t)_i, HS_SHARED), 0);
    ck_assert_int_eq(hs_lock_take(h.locks, (hs_role)_i, HS_EXCLUSIVE, 0, NULL), H5STORE_E_BUSY);
    ck_assert_int_eq(ask(c, RELEASE, (uint64_t)_i, 0), 0);
    ck_assert_int_eq(hs_lock_take(h.locks, (hs_role)_i, HS_EXCLUSIVE, 0, NULL), H5STORE_E_BUSY);
    ck_assert_int_eq(ask(d, RELEASE, (uint64_t)_i, 0), 0);
    ck_assert_int_eq(hs_lock_take(h.locks, (hs_role)_i, HS_EXCLUSIVE, 0, NULL), H5STORE_OK);
    dismiss(c);
    dismiss(d);
    close_handle(&h);
}
END_TEST

START_TEST(member_is_upgraded_by_the_last_and_stays_shared_otherwise)
{
    handle h = open_handle();
    child *c = locker_start(), *d = locker_start();

    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_MEMBER, HS_SHARED, later(LONG), NULL), 0);
    ck_assert_int_eq(ask(c, TAKE, HS_LOCK_MEMBER, HS_SHARED), 0);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_MEMBER, HS_EXCLUSIVE, 0, NULL), H5STORE_E_BUSY);
    ck_assert_int_eq(hs_lock_held(h.locks, HS_LOCK_MEMBER), HS_SHARED);
    ck_assert_int_eq(ask(c, TRY, HS_LOCK_MEMBER, HS_EXCLUSIVE), H5STORE_E_BUSY);
    ck_assert_int_eq(ask(c, RELEASE, HS_LOCK_MEMBER, 0), 0);
    /* Had the failure cost it the shared lock, a third could be exclusive now. */
    ck_assert_int_eq(ask(d, TRY, HS_LOCK_MEMBER, HS_EXCLUSIVE), H5STORE_E_BUSY);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_MEMBER, HS_EXCLUSIVE, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(ask(d, TRY, HS_LOCK_MEMBER, HS_SHARED), H5STORE_E_BUSY);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_MEMBER, HS_SHARED, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(ask(d, TRY, HS_LOCK_MEMBER, HS_SHARED), 0);
    dismiss(c);
    dismiss(d);
    close_handle(&h);
}
END_TEST

START_TEST(trying_may_go_against_the_order)
{
    handle h = open_handle();

    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_MEMBER, HS_SHARED, later(LONG), NULL), 0);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, later(LONG), NULL), 0);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_MEMBER, HS_EXCLUSIVE, 0, NULL), 0);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_MEMBER, HS_SHARED, 0, NULL), 0);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_READ, HS_EXCLUSIVE, later(LONG), NULL), 0);
    close_handle(&h);
}
END_TEST

#ifndef NDEBUG
START_TEST(waiting_against_the_order_aborts)
{
    handle h = open_handle();

    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_READ, HS_SHARED, 0, NULL), H5STORE_OK);
    (void)hs_lock_take(h.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, later(1), NULL);
}
END_TEST

START_TEST(waiting_for_an_upgrade_aborts)
{
    handle h = open_handle();

    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_READ, HS_SHARED, 0, NULL), H5STORE_OK);
    (void)hs_lock_take(h.locks, HS_LOCK_READ, HS_EXCLUSIVE, later(1), NULL);
}
END_TEST

START_TEST(releasing_what_is_not_held_aborts)
{
    handle h = open_handle();

    hs_lock_release(h.locks, HS_LOCK_WRITE);
}
END_TEST
#endif

START_TEST(deadline_ends_the_wait)
{
    handle h = open_handle();
    child *c = locker_start();
    hs_lock_mode mode = _i == HS_LOCK_WRITE ? HS_EXCLUSIVE : HS_SHARED;
    uint64_t deadline;
    h5store_err err;

    ck_assert_int_eq(ask(c, TRY, (uint64_t)_i, HS_EXCLUSIVE), 0);
    deadline = later(SECOND / 20);
    ck_assert_int_eq(hs_lock_take(h.locks, (hs_role)_i, mode, deadline, &err), H5STORE_E_BUSY);
    ck_assert_uint_ge(hs_os_now(), deadline);
    ck_assert_ptr_nonnull(strstr(err.message, "in time"));
    ck_assert_ptr_nonnull(strstr(err.message, locker_path));
    /* Nothing is left behind: the turnstiles are free. */
    ck_assert_int_eq(ask(c, RELEASE, (uint64_t)_i, 0), 0);
    ck_assert_int_eq(ask(c, TRY, (uint64_t)_i, HS_EXCLUSIVE), 0);
    dismiss(c);
    close_handle(&h);
}
END_TEST

START_TEST(who_waits_gets_the_lock_when_it_is_released)
{
    handle h = open_handle();
    child *c = locker_start();

    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, 0, NULL), H5STORE_OK);
    locker_tell(c, TAKE, HS_LOCK_WRITE, HS_EXCLUSIVE);
    await_waiter(&h, AT_NEXT);
    hs_lock_release(h.locks, HS_LOCK_WRITE);
    /* Fairness: it cannot be had again before the one that waits had it. */
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, 0, NULL), H5STORE_E_BUSY);
    ck_assert_int_eq(locker_hear(c), 0);
    ck_assert_int_eq(ask(c, RELEASE, HS_LOCK_WRITE, 0), 0);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, 0, NULL), H5STORE_OK);
    dismiss(c);
    close_handle(&h);
}
END_TEST

START_TEST(killed_holders_leave_nothing)
{
    handle h = open_handle();
    child *holder = locker_start(), *waiter = locker_start();

    ck_assert_int_eq(ask(holder, TAKE, HS_LOCK_WRITE, HS_EXCLUSIVE), 0);
    locker_tell(waiter, TAKE, HS_LOCK_WRITE, HS_EXCLUSIVE);
    await_waiter(&h, AT_NEXT);
    child_kill(waiter);
    child_kill(holder);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, 0, NULL), H5STORE_OK);
    close_handle(&h);
}
END_TEST

START_TEST(readers_wait_behind_one_who_waits_for_all_of_them)
{
    handle h = open_handle();
    child *reader = locker_start(), *applier = locker_start();

    ck_assert_int_eq(ask(reader, TAKE, HS_LOCK_READ, HS_SHARED), 0);
    locker_tell(applier, TAKE, HS_LOCK_READ, HS_EXCLUSIVE);
    await_waiter(&h, AT_GATE);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_READ, HS_SHARED, 0, NULL), H5STORE_E_BUSY);
    ck_assert_int_eq(ask(reader, RELEASE, HS_LOCK_READ, 0), 0);
    ck_assert_int_eq(locker_hear(applier), 0);
    ck_assert_int_eq(ask(applier, RELEASE, HS_LOCK_READ, 0), 0);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_READ, HS_SHARED, 0, NULL), H5STORE_OK);
    dismiss(reader);
    dismiss(applier);
    close_handle(&h);
}
END_TEST

/* ---- many at once ----------------------------------------------------- */

#define BUSY 8
#define TURNS 2000 /* of all, at most */
#define SHARE 60   /* of one */

struct contest {
    atomic_bool stop;
    atomic_uint total;
    atomic_uint content;       /* how many have had their share */
    unsigned turns[BUSY];      /* each written by one child */
    volatile unsigned guarded; /* changed under WRITE alone, in two steps */
    int number;                /* of the child to be started */
};

static int
compete(child *parent, void *context)
{
    struct contest *contest = context;
    int me = contest->number;
    handle h = open_handle();

    child_tell(parent, 1);
    (void)child_hear(parent);
    while (!atomic_load(&contest->stop)) {
        unsigned seen;

        child_assert(hs_lock_take(h.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, later(LONG), NULL) == 0);
        seen = contest->guarded;
        hs_os_sleep(1000 * 1000); /* the others are in their pauses when it is given back */
        contest->guarded = seen + 1;
        hs_lock_release(h.locks, HS_LOCK_WRITE);
        if (++contest->turns[me] == SHARE)
            atomic_fetch_add(&contest->content, 1);
        if (atomic_fetch_add(&contest->total, 1) + 1 >= TURNS ||
            atomic_load(&contest->content) == BUSY)
            atomic_store(&contest->stop, true);
    }
    close_handle(&h);
    return 0;
}

START_TEST(busy_writers_all_get_their_turns)
{
    struct contest *contest = child_shared_memory(sizeof *contest);
    child *children[BUSY];
    unsigned sum = 0;

    for (contest->number = 0; contest->number < BUSY; contest->number++) {
        children[contest->number] = child_start(compete, contest);
        (void)child_hear(children[contest->number]);
    }
    for (int i = 0; i < BUSY; i++)
        child_tell(children[i], 1);
    for (int i = 0; i < BUSY; i++)
        ck_assert_int_eq(child_wait(children[i]), 0);
    for (int i = 0; i < BUSY; i++) {
        sum += contest->turns[i];
        /* With even shares all are content after 480 turns; one whom other work keeps from a core
         * for a while is waited for.  Without the turnstile nearly all turns go to one of them. */
        ck_assert_msg(contest->turns[i] >= SHARE, "writer %d had %u turns of %u", i,
                      contest->turns[i], contest->total);
    }
    ck_assert_uint_eq(contest->guarded, sum); /* two inside at once would have lost one */
}
END_TEST

static int
read_on_and_on(child *parent, void *context)
{
    struct contest *contest = context;
    handle h = open_handle();
    unsigned turns = 0;

    child_tell(parent, 1);
    while (!atomic_load(&contest->stop)) {
        unsigned seen;

        child_assert(hs_lock_take(h.locks, HS_LOCK_READ, HS_SHARED, later(LONG), NULL) == 0);
        seen = contest->guarded;
        hs_os_sleep(100 * 1000);
        child_assert(contest->guarded == seen);
        hs_lock_release(h.locks, HS_LOCK_READ);
        turns++;
    }
    child_tell(parent, turns);
    close_handle(&h);
    return 0;
}

START_TEST(overlapping_readers_do_not_keep_an_applier_out)
{
    struct contest *contest = child_shared_memory(sizeof *contest);
    handle h = open_handle();
    child *readers[4];

    for (int i = 0; i < 4; i++) {
        readers[i] = child_start(read_on_and_on, contest);
        (void)child_hear(readers[i]);
    }
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_READ, HS_EXCLUSIVE, later(LONG), NULL), 0);
        contest->guarded++;
        hs_os_sleep(1000);
        contest->guarded++;
        hs_lock_release(h.locks, HS_LOCK_READ);
        hs_os_sleep(500 * 1000);
    }
    atomic_store(&contest->stop, true);
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_gt(child_hear(readers[i]), 0);
        ck_assert_int_eq(child_wait(readers[i]), 0);
    }
    close_handle(&h);
}
END_TEST

/* ---- forks and closing ------------------------------------------------ */

static int
close_inherited(child *parent, void *context)
{
    handle *h = context;

    (void)parent;
    close_handle(h);
    return 0;
}

START_TEST(closing_in_a_forked_child_frees_nothing_of_the_parent)
{
    handle h = open_handle(), stranger = open_handle();
    bool granted;

    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_MEMBER, HS_SHARED, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_pin_take(h.locks, 8192, 4096, NULL), H5STORE_OK);
    ck_assert_int_eq(child_wait(child_start(close_inherited, &h)), 0);
    ck_assert_int_eq(hs_lock_take(stranger.locks, HS_LOCK_MEMBER, HS_EXCLUSIVE, 0, NULL),
                     H5STORE_E_BUSY);
    ck_assert_int_eq(hs_lock_take(stranger.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, 0, NULL),
                     H5STORE_E_BUSY);
    ck_assert_int_eq(hs_pin_try_exclusive(stranger.locks, 8192, 4096, &granted, NULL), 0);
    ck_assert(!granted);
    close_handle(&h);
    close_handle(&stranger);
}
END_TEST

START_TEST(closing_frees_everything)
{
    handle h = open_handle(), stranger = open_handle();
    int copy = dup(h.fd); /* keeps the open file: so it is close that unlocks */
    bool granted;

    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_MEMBER, HS_SHARED, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_READ, HS_EXCLUSIVE, 0, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_pin_take(h.locks, 0, 4096, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_pin_try_exclusive(h.locks, 8192, 4096, &granted, NULL), H5STORE_OK);
    ck_assert(granted);
    close_handle(&h);
    for (int role = 0; role < HS_LOCK_ROLES; role++)
        ck_assert_int_eq(hs_lock_take(stranger.locks, (hs_role)role, HS_EXCLUSIVE, 0, NULL), 0);
    ck_assert_int_eq(hs_pin_try_exclusive(stranger.locks, 0, 1 << 20, &granted, NULL), 0);
    ck_assert(granted);
    close_handle(&stranger);
    close(copy);
    hs_locks_close(NULL);
}
END_TEST

/* ---- what the system may say ------------------------------------------ */

START_TEST(failures_of_the_system_have_their_codes)
{
    static const struct {
        int os_errno, code;
    } cases[] = {
        {EINVAL, H5STORE_E_UNSUPPORTED},
        {ENOLCK, H5STORE_E_UNSUPPORTED},
        {EOPNOTSUPP, H5STORE_E_UNSUPPORTED},
        {EIO, H5STORE_E_IO},
        {EAGAIN, H5STORE_E_BUSY},
        {EACCES, H5STORE_E_BUSY},
        {EINTR, H5STORE_OK},
    };
    handle h = open_handle();

    faulty_begin();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        h5store_err err = {0};

        faulty_arm(cases[i].os_errno, 1);
        ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_WRITE, HS_EXCLUSIVE, 0, &err),
                         cases[i].code);
        ck_assert_int_eq(err.code, cases[i].code);
        faulty_expect_tripped();
        if (cases[i].code == H5STORE_OK)
            hs_lock_release(h.locks, HS_LOCK_WRITE);
        faulty_arm(cases[i].os_errno, 1);
        ck_assert_int_eq(hs_pin_take(h.locks, 4096, 4096, NULL), cases[i].code);
        if (cases[i].code == H5STORE_OK)
            hs_pin_release(h.locks, 4096);
        faulty_expect_tripped();
    }
    faulty_end();
    close_handle(&h);
}
END_TEST

START_TEST(read_only_handle_shares)
{
    handle h = open_read_only(), writer = open_handle();
    bool granted;

    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_MEMBER, HS_SHARED, later(LONG), NULL), 0);
    ck_assert_int_eq(hs_lock_take(h.locks, HS_LOCK_READ, HS_SHARED, later(LONG), NULL), 0);
    ck_assert_int_eq(hs_pin_take(h.locks, 4096, 4096, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_lock_take(writer.locks, HS_LOCK_READ, HS_EXCLUSIVE, 0, NULL),
                     H5STORE_E_BUSY);
    ck_assert_int_eq(hs_pin_try_exclusive(writer.locks, 4096, 4096, &granted, NULL), 0);
    ck_assert(!granted);
    close_handle(&h);
    close_handle(&writer);
}
END_TEST

Suite *
lock_suite(void)
{
    Suite *suite = suite_create("lock");
    TCase *roles = tcase_create("roles"), *contests = tcase_create("contests");
    TCase *ends = tcase_create("ends");
    TCase *cases[] = {roles, contests, ends};

    tcase_add_loop_test(roles, exclusive_excludes_another_process, 0, HS_LOCK_ROLES);
    tcase_add_test(roles, two_handles_of_a_process_exclude_each_other);
    tcase_add_test(roles, roles_are_independent);
    tcase_add_loop_test(roles, shared_is_shared_and_keeps_exclusive_out, HS_LOCK_MEMBER, 1);
    tcase_add_loop_test(roles, shared_is_shared_and_keeps_exclusive_out, HS_LOCK_READ,
                        HS_LOCK_READ + 1);
    tcase_add_test(roles, member_is_upgraded_by_the_last_and_stays_shared_otherwise);
    tcase_add_test(roles, trying_may_go_against_the_order);
    tcase_add_loop_test(roles, deadline_ends_the_wait, 0, HS_LOCK_ROLES);
    tcase_add_test(roles, who_waits_gets_the_lock_when_it_is_released);
    tcase_add_test(roles, killed_holders_leave_nothing);
    tcase_add_test(roles, readers_wait_behind_one_who_waits_for_all_of_them);
#ifndef NDEBUG
    tcase_add_test_raise_signal(roles, waiting_against_the_order_aborts, SIGABRT);
    tcase_add_test_raise_signal(roles, waiting_for_an_upgrade_aborts, SIGABRT);
    tcase_add_test_raise_signal(roles, releasing_what_is_not_held_aborts, SIGABRT);
#endif
    tcase_add_test(contests, busy_writers_all_get_their_turns);
    tcase_add_test(contests, overlapping_readers_do_not_keep_an_applier_out);
    tcase_add_test(ends, closing_in_a_forked_child_frees_nothing_of_the_parent);
    tcase_add_test(ends, closing_frees_everything);
    tcase_add_test(ends, failures_of_the_system_have_their_codes);
    tcase_add_test(ends, read_only_handle_shares);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tcase_add_checked_fixture(cases[i], locker_setup, fixture_teardown);
        tcase_set_timeout(cases[i], 120);
        suite_add_tcase(suite, cases[i]);
    }
    return suite;
}
