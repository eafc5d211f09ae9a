/* SPDX-License-Identifier: MIT */
/*
 * All records of the log in force again: after a power cut, and after a sync that failed.  What
 * was applied long ago is then applied once more, and must not be laid over arrays that came to
 * lie where the pages of old records were.
 */
#include "os.h"
#include "support/child.h"
#include "support/container.h"
#include "support/fixture.h"
#include "support/power.h"
#include <errno.h>
#include <hdf5.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *replay_suite(void);

#define SIZE 4000u

/* Keys in an order that is not theirs, as hashes are. */
static const char *
key_of(char kind, unsigned i)
{
    static char key[32];

    snprintf(key, sizeof key, "%c%07x", kind, i * 2654435761u % 0xfffffff);
    return key;
}

static void
set_many(h5store *store, char kind, unsigned count)
{
    h5store_batch *batch = box_begin(store);

    for (unsigned i = 0; i < count; i++)
        box_set_in(batch, "m/many", key_of(kind, i), NULL, 0);
    BOX_OK(h5store_batch_commit(batch, &box_err));
}

/* Tables grow and move, and where they were is free once the removal is applied, which happens
 * at once.  The log still has the pages that were there. */
static void
free_what_records_wrote(h5store *store)
{
    set_many(store, 'n', 600);
    set_many(store, 'k', 1500);
    box_remove(store, "m/f", "gone");
}

/* The files as they are now, elsewhere: what a disk has after the machine stops. */
static const char *
cut_power(void)
{
    const char *path = fixture_path("cut.h5"), *log = fixture_path("cut.h5-wal");

    box_copy(box_path(), path);
    box_copy(box_log_path(), log);
    power_change_boot_id(log);
    return path;
}

static h5store *
open_at(const char *path)
{
    h5store *store;

    BOX_OK(box_try_open(path, 0, 10, &store));
    return store;
}

/* ---- arrays that came after ---------------------------------------------------------------- */

static int
flock_and_die(int fd, int operation)
{
    if ((operation & LOCK_EX) != 0)
        raise(SIGKILL); /* all is looked at and settled; applying begins */
    return hs_os_real.flock(fd, operation);
}

static int
open_and_die(child *parent __attribute__((unused)), void *context)
{
    struct hs_os_ops ops = hs_os_real;

    ops.flock = flock_and_die;
    hs_os_set_ops(&ops);
    (void)open_at(context);
    return 0;
}

static void
set_twenty(h5store *store)
{
    for (unsigned i = 0; i < 20; i++)
        box_set(store, "m/new", key_of('a', i), SIZE, i);
}

/* Opening could not apply the log: a stock reader was in the way, or the process was killed.
 * What is stored then takes space that is free, and the log is applied after it. */
START_TEST(arrays_stored_after_the_cut_stay)
{
    h5store *store = box_open(H5STORE_CREATE);
    const char *path;
    hid_t file = H5I_INVALID_HID;

    box_set(store, "m/f", "gone", SIZE, 99);
    free_what_records_wrote(store);
    path = cut_power();
    box_close(store);
    if (_i == 0) {
        file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
        ck_assert_int_ge(file, 0);
    } else {
        child *opener = child_start(open_and_die, (void *)(uintptr_t)path);

        ck_assert_int_eq(child_wait(opener), -SIGKILL);
    }
    store = open_at(path);
    box_expect_verified(store);
    set_twenty(store);
    box_expect_verified(store);
    if (_i == 0)
        ck_assert_int_ge(H5Fclose(file), 0);
    BOX_OK(h5store_flush(store, &box_err));
    box_expect_verified(store);
    box_close(store);
}
END_TEST

/* The same, but what applies the log comes between the bytes of an array and its commit. */
START_TEST(arrays_being_stored_after_the_cut_stay)
{
    h5store *store = box_open(H5STORE_CREATE);
    h5store_batch *batch;
    h5store_id ids[20];
    const char *path;
    hid_t file;

    box_set(store, "m/f", "gone", SIZE, 99);
    free_what_records_wrote(store);
    path = cut_power();
    box_close(store);
    file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    ck_assert_int_ge(file, 0);
    store = open_at(path);
    batch = box_begin(store);
    for (unsigned i = 0; i < 20; i++)
        ids[i] = box_put_in(batch, SIZE, i, H5STORE_OK);
    ck_assert_int_ge(H5Fclose(file), 0);
    BOX_OK(h5store_flush(store, &box_err));
    box_set_in(batch, "m/new", "all", ids, 20);
    BOX_OK(h5store_batch_commit(batch, &box_err));
    box_expect_verified(store);
    box_close(store);
}
END_TEST

/* ---- arrays that were moved ---------------------------------------------------------------- */

#define LOW 400u

static struct {
    h5store *other; /* stores meanwhile */
    unsigned rounds;
    const char *path; /* of the files as they were after the second round */
} compaction;

static int
store_meanwhile(uint64_t done __attribute__((unused)), uint64_t total __attribute__((unused)),
                void *context __attribute__((unused)))
{
    compaction.rounds++;
    if (compaction.rounds == 1)
        free_what_records_wrote(compaction.other);
    else if (compaction.rounds == 2)
        compaction.path = cut_power();
    return 0;
}

/* A compaction moved arrays to where pages of records had been, and the log begins with those. */
START_TEST(arrays_moved_before_the_cut_stay)
{
    h5store_compaction done;
    h5store *store = box_open(H5STORE_CREATE);

    for (unsigned i = 0; i < 2 * LOW; i++) {
        box_set(store, i < LOW ? "m/low" : "m/f", key_of('a', i), SIZE, i);
        if (i == LOW + 5)
            box_set(store, "m/f", "gone", SIZE, 99999);
    }
    box_close(store);
    store = box_open(0);
    for (unsigned i = 0; i < LOW * 4 / 5; i++)
        box_remove(store, "m/low", key_of('a', i));
    box_close(store);
    store = box_open(0);
    compaction.other = box_open(0);
    BOX_OK(h5store_compact(store, store_meanwhile, NULL, &done, &box_err));
    ck_assert_uint_ge(compaction.rounds, 2);
    ck_assert_uint_gt(done.moved, 0);
    box_expect_verified(store);
    box_close(compaction.other);
    box_close(store);
    store = open_at(compaction.path);
    box_expect_verified(store);
    box_close(store);
}
END_TEST

/* ---- a sync that failed -------------------------------------------------------------------- */

/* A disk that takes nothing: what is written to the container gets to the page cache alone. */
static struct {
    ino_t inode;
    bool fails;
    unsigned failed;
} disk;

static int
fdatasync_or_fail(int fd)
{
    struct stat status;

    if (fstat(fd, &status) == 0 && status.st_ino == disk.inode && disk.fails) {
        disk.failed++;
        errno = EIO;
        return -1;
    }
    return hs_os_real.fdatasync(fd);
}

/*
 * The kernel drops what it could not write, and says so once: the next sync succeeds.  Who opens
 * the container after that must not take the failed application for done, nor those who have it
 * open (_i == 1).  _i == 2: the sync before a commit that is to survive a power cut fails.
 */
START_TEST(what_a_failed_sync_lost_is_applied_again)
{
    const char *before = fixture_path("before.h5");
    struct hs_os_ops ops = hs_os_real;
    h5store *store = box_open(H5STORE_CREATE), *other = NULL;
    struct stat status;
    int fd;

    ops.fdatasync = fdatasync_or_fail;
    set_twenty(store);
    box_close(store);
    ck_assert_int_eq(stat(box_path(), &status), 0);
    disk.inode = status.st_ino;
    hs_os_set_ops(&ops);
    store = box_open(0);
    if (_i == 1)
        other = box_open(0);
    for (unsigned i = 0; i < 10; i++) /* so small that they lie in the metadata */
        box_set(store, "m/late", key_of('b', i), 300, 1000 + i);
    if (other != NULL)
        ck_assert(box_has_item(other, "m/late", key_of('b', 9)));
    box_copy(box_path(), before);
    disk.fails = true;
    BOX_FAILS(H5STORE_E_IO, h5store_flush(store, &box_err));
    disk.fails = false;
    ck_assert_uint_eq(disk.failed, 1);
    BOX_FAILS(H5STORE_E_POISONED, h5store_flush(store, &box_err));
    /* It is gone from the page cache, too. */
    ck_assert_int_eq(box_run("dd if='%s' of='%s' conv=notrunc bs=1M", before, box_path()), 0);
    fd = truncate(box_path(), box_size(before));
    ck_assert_int_eq(fd, 0);
    h5store_close(store, NULL);
    if (other == NULL)
        other = open_at(box_path());
    ck_assert(box_has_item(other, "m/late", key_of('b', 9)));
    box_set(other, "m/late", "another", 300, 2000);
    BOX_OK(h5store_flush(other, &box_err));
    box_close(other);
    hs_os_set_ops(NULL);
    ck_assert_int_eq(box_size(box_log_path()), -1);
    store = box_open(0);
    for (unsigned i = 0; i < 10; i++)
        ck_assert(box_has_item(store, "m/late", key_of('b', i)));
    ck_assert_uint_eq(box_totals(store).items, 31);
    box_expect_verified(store);
    box_close(store);
}
END_TEST

Suite *
replay_suite(void)
{
    Suite *suite = suite_create("replay");
    TCase *tcase = tcase_create("replay");

    tcase_add_checked_fixture(tcase, box_setup, box_teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, arrays_stored_after_the_cut_stay, 0, 2);
    tcase_add_test(tcase, arrays_being_stored_after_the_cut_stay);
    tcase_add_test(tcase, arrays_moved_before_the_cut_stay);
    tcase_add_loop_test(tcase, what_a_failed_sync_lost_is_applied_again, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}
