/* SPDX-License-Identifier: MIT */
/*
 * The loop by several threads.  Where a test needs two steps to run at once, they wait for
 * each other.
 */
#include "os.h"
#include "parallel.h"
#include "suites.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define MOST 100000

static atomic_uint begun[MOST];

static int
count_step(void *context, uint64_t index, h5store_err *err)
{
    (void)context;
    (void)err;
    atomic_fetch_add(&begun[index], 1);
    return H5STORE_OK;
}

START_TEST(every_index_is_done_once)
{
    static const uint64_t counts[] = {0, 1, 2, 3, 7, 1000, MOST};
    static const int threads[] = {1, 2, 3, 8, 64, 1000};

    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
            for (size_t i = 0; i < MOST; i++)
                atomic_store(&begun[i], 0);
            ck_assert_int_eq(hs_parallel_for(counts[c], threads[t], count_step, NULL, NULL),
                             H5STORE_OK);
            for (size_t i = 0; i < MOST; i++)
                ck_assert_uint_eq(atomic_load(&begun[i]), i < counts[c]);
        }
    }
}
END_TEST

struct meeting {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int here, wanted;
};

/* Comes back only when as many steps as wanted are inside at once. */
static int
meet_step(void *context, uint64_t index, h5store_err *err)
{
    struct meeting *meeting = context;

    (void)index;
    (void)err;
    pthread_mutex_lock(&meeting->mutex);
    meeting->here++;
    pthread_cond_broadcast(&meeting->changed);
    while (meeting->here < meeting->wanted)
        pthread_cond_wait(&meeting->changed, &meeting->mutex);
    pthread_mutex_unlock(&meeting->mutex);
    return H5STORE_OK;
}

START_TEST(steps_run_at_the_same_time)
{
    struct meeting meeting = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 5};

    ck_assert_int_eq(hs_parallel_for(5, 5, meet_step, &meeting, NULL), H5STORE_OK);
    ck_assert_int_eq(meeting.here, 5);
}
END_TEST

static atomic_uint_fast64_t newest;

static int
rising_step(void *context, uint64_t index, h5store_err *err)
{
    (void)context;
    (void)err;
    /* Alone: each follows the one before. */
    return atomic_exchange(&newest, index + 1) == index ? H5STORE_OK : H5STORE_E_IO;
}

START_TEST(one_thread_goes_in_order)
{
    atomic_store(&newest, 0);
    ck_assert_int_eq(hs_parallel_for(1000, 1, rising_step, NULL, NULL), H5STORE_OK);
    ck_assert_uint_eq(atomic_load(&newest), 1000);
}
END_TEST

#define BAD 500

struct failing {
    atomic_uint running, done;
};

static int
failing_step(void *context, uint64_t index, h5store_err *err)
{
    struct failing *failing = context;

    atomic_fetch_add(&failing->running, 1);
    sched_yield();
    atomic_fetch_sub(&failing->running, 1);
    atomic_fetch_add(&failing->done, 1);
    if (index == BAD)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "step %d is bad", BAD);
    return H5STORE_OK;
}

START_TEST(failure_stops_the_loop_and_comes_back)
{
    static const int threads[] = {1, 2, 8};

    for (size_t t = 0; t < 3; t++) {
        struct failing failing = {0, 0};
        h5store_err err = {0};

        ck_assert_int_eq(
            hs_parallel_for(UINT64_C(1) << 60, threads[t], failing_step, &failing, &err),
            H5STORE_E_DAMAGED);
        ck_assert_int_eq(err.code, H5STORE_E_DAMAGED);
        ck_assert_str_eq(err.message, "step 500 is bad");
        ck_assert_uint_eq(atomic_load(&failing.running), 0);
        ck_assert_uint_ge(atomic_load(&failing.done), BAD + 1);
        ck_assert_int_eq(
            hs_parallel_for(UINT64_C(1) << 60, threads[t], failing_step, &failing, NULL),
            H5STORE_E_DAMAGED);
    }
}
END_TEST

static int
fail_together(void *context, uint64_t index, h5store_err *err)
{
    meet_step(context, index, err);
    return hs_fail(err, index % 2 == 0 ? H5STORE_E_IO : H5STORE_E_DAMAGED, 0, "step %llu",
                   (unsigned long long)index);
}

START_TEST(of_many_failures_one_is_told_whole)
{
    for (int round = 0; round < 50; round++) {
        struct meeting meeting = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 4};
        unsigned long long step;
        h5store_err err;
        int rc = hs_parallel_for(4, 4, fail_together, &meeting, &err);

        ck_assert_int_eq(sscanf(err.message, "step %llu", &step), 1);
        ck_assert_int_eq(rc, step % 2 == 0 ? H5STORE_E_IO : H5STORE_E_DAMAGED);
        ck_assert_int_eq(err.code, rc);
    }
}
END_TEST

struct masks {
    struct meeting meeting; /* first: meet_step takes it */
    pthread_t caller;
    atomic_int others, open;
};

static int
mask_step(void *context, uint64_t index, h5store_err *err)
{
    static const int blocked[] = {SIGINT, SIGTERM, SIGALRM, SIGCHLD, SIGUSR1, SIGPROF, SIGWINCH};
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct masks *masks = context;
    sigset_t mask;

    meet_step(context, index, err);
    if (pthread_equal(pthread_self(), masks->caller))
        return H5STORE_OK;
    atomic_fetch_add(&masks->others, 1);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (size_t i = 0; i < sizeof blocked / sizeof blocked[0]; i++)
        if (!sigismember(&mask, blocked[i]))
            return hs_fail(err, H5STORE_E_IO, 0, "signal %d is open", blocked[i]);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (sigismember(&mask, faults[i]))
            return hs_fail(err, H5STORE_E_IO, 0, "signal %d is blocked", faults[i]);
    return H5STORE_OK;
}

START_TEST(signals_stay_with_the_threads_of_the_program)
{
    struct masks masks = {.meeting = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 4}};
    sigset_t before, after;
    h5store_err err = {0};

    masks.caller = pthread_self();
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    ck_assert_msg(hs_parallel_for(4, 4, mask_step, &masks, &err) == H5STORE_OK, "%s", err.message);
    ck_assert_int_eq(atomic_load(&masks.others), 3);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int number = 1; number < 32; number++)
        ck_assert_int_eq(sigismember(&before, number), sigismember(&after, number));
}
END_TEST

static int
alone_step(void *context, uint64_t index, h5store_err *err)
{
    if (!pthread_equal(pthread_self(), *(pthread_t *)context))
        return hs_fail(err, H5STORE_E_IO, 0, "another thread has step %d", (int)index);
    return count_step(NULL, index, err);
}

static void *
return_at_once(void *argument)
{
    return argument;
}

START_TEST(without_threads_the_caller_does_all)
{
    pthread_t self = pthread_self();
    struct rlimit none = {0, 0};
    pthread_attr_t attributes;
    pthread_t thread;
    h5store_err err = {0};

    /* A stack that does not fit makes every pthread_create fail. */
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, (size_t)1 << 46);
    if (pthread_setattr_default_np(&attributes) != 0) {
        ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &none), 0);
        ck_assert_int_eq(setuid(65534), 0); /* the limit is not for root */
    }
    pthread_attr_destroy(&attributes);
    ck_assert_int_ne(pthread_create(&thread, NULL, return_at_once, NULL), 0);
    for (size_t i = 0; i < 100; i++)
        atomic_store(&begun[i], 0);
    ck_assert_msg(hs_parallel_for(100, 8, alone_step, &self, &err) == H5STORE_OK, "%s",
                  err.message);
    for (size_t i = 0; i < 100; i++)
        ck_assert_uint_eq(atomic_load(&begun[i]), 1);
}
END_TEST

START_TEST(number_of_threads_follows_the_work)
{
    const uint64_t much = UINT64_C(1) << 40, grain = 3000;

    ck_assert_int_eq(hs_parallel_threads(8, 0, grain), 1);
    ck_assert_int_eq(hs_parallel_threads(8, 2 * grain - 1, grain), 1);
    ck_assert_int_eq(hs_parallel_threads(8, 2 * grain, grain), 2);
    ck_assert_int_eq(hs_parallel_threads(1, much, grain), 1);
    ck_assert_int_eq(hs_parallel_threads(3, much, grain), 3);
    for (uint64_t bytes = 1; bytes < much; bytes *= 2) {
        int threads = hs_parallel_threads(8, bytes, grain);

        ck_assert_int_ge(threads, 1);
        ck_assert_int_le(threads, 8);
        ck_assert_int_le(threads, hs_parallel_threads(8, 2 * bytes, grain));
    }
    ck_assert_int_eq(hs_parallel_threads(8, much, grain), 8);
}
END_TEST

START_TEST(usual_number_keeps_to_what_the_environment_says)
{
    static const struct {
        const char *text;
        int limit; /* 0: none */
    } cases[] = {{"1", 1},  {"2", 2}, {"3,2,1", 3}, {" 2 ", 2}, {"1000000", 0}, {"0", 0},
                 {"-1", 0}, {"", 0},  {"two", 0},   {"2x", 0},  {",2", 0}};
    int cpus = hs_os_cpu_count(), usual = cpus < 8 ? cpus : 8;

    unsetenv("OMP_NUM_THREADS");
    ck_assert_int_eq(hs_parallel_usual(), usual);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int limit = cases[i].limit;

        setenv("OMP_NUM_THREADS", cases[i].text, 1);
        ck_assert_int_eq(hs_parallel_usual(), limit > 0 && limit < usual ? limit : usual);
    }
    unsetenv("OMP_NUM_THREADS");
}
END_TEST

Suite *
parallel_suite(void)
{
    Suite *suite = suite_create("parallel");
    TCase *loop = tcase_create("loop");

    tcase_add_test(loop, every_index_is_done_once);
    tcase_add_test(loop, steps_run_at_the_same_time);
    tcase_add_test(loop, one_thread_goes_in_order);
    tcase_add_test(loop, failure_stops_the_loop_and_comes_back);
    tcase_add_test(loop, of_many_failures_one_is_told_whole);
    tcase_add_test(loop, signals_stay_with_the_threads_of_the_program);
    tcase_add_test(loop, without_threads_the_caller_does_all);
    tcase_add_test(loop, number_of_threads_follows_the_work);
    tcase_add_test(loop, usual_number_keeps_to_what_the_environment_says);
    tcase_set_timeout(loop, 120);
    suite_add_tcase(suite, loop);
    return suite;
}
