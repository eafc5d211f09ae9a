/* SPDX-License-Identifier: MIT */
/*
 * What opening finds: logs of killed processes, of other containers, without a container or
 * without a header; processes that died at any write while they applied; a machine that
 * went down (another boot id in the log) with arrays that did not reach the disk.
 */
#include "digest.h"
#include "os.h"
#include "support/child.h"
#include "support/container.h"
#include "support/fixture.h"
#include "support/power.h"
#include <fcntl.h>
#include <hdf5.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *recover_suite(void);

/* ---- logs ------------------------------------------------------------------------------- */

START_TEST(log_of_a_killed_process_is_taken_in)
{
    h5store *store;

    box_leave_log();
    ck_assert(!box_stock_sees("/items/m"));
    store = box_open(_i == 0 ? 0 : H5STORE_READ_ONLY);
    BOX_OK(h5store_item_has(store, "m/f", "key", &box_err));
    box_expect_verified(store);
    ck_assert_str_eq(h5store_notice(store), "");
    box_close(store);
    ck_assert_int_eq(box_stock_sees("/items/m"), _i == 0); /* who reads only changes nothing */
    ck_assert_int_eq(box_size(box_log_path()) > 0, _i != 0);
    box_expect_sound();
    ck_assert(box_stock_sees("/items/m"));
}
END_TEST

START_TEST(container_without_its_log_is_an_older_one)
{
    h5store *store;

    box_leave_log();
    ck_assert_int_eq(unlink(box_log_path()), 0);
    store = box_open(0);
    ck_assert_int_eq(h5store_item_has(store, "m/f", "key", NULL), H5STORE_E_NOT_FOUND);
    box_set(store, "m/f", "key", 100000, 1);
    box_close(store);
    box_expect_sound();
}
END_TEST

/* The container was deleted and the log forgotten: the next one at the place is another. */
START_TEST(log_without_its_container_is_dropped)
{
    h5store *store;

    box_leave_log();
    ck_assert_int_eq(unlink(box_path()), 0);
    ck_assert_int_eq(box_try_open(box_path(), 0, 5, &store), H5STORE_E_NOT_FOUND);
    store = box_open(H5STORE_CREATE);
    ck_assert_ptr_nonnull(strstr(h5store_notice(store), box_log_path()));
    ck_assert_int_eq(h5store_item_has(store, "m/f", "key", NULL), H5STORE_E_NOT_FOUND);
    box_set(store, "m/f", "key", 1000, 1);
    box_close(store);
    box_expect_sound();
}
END_TEST

START_TEST(log_of_another_container_is_dropped)
{
    h5store *store;

    box_leave_log();
    ck_assert_int_eq(rename(box_log_path(), fixture_path("log")), 0);
    ck_assert_int_eq(unlink(box_path()), 0);
    box_make();
    ck_assert_int_eq(rename(fixture_path("log"), box_log_path()), 0);
    store = box_open(H5STORE_READ_ONLY); /* can be read beside it */
    ck_assert_uint_eq(box_totals(store).items, 0);
    box_close(store);
    store = box_open(0);
    ck_assert_ptr_nonnull(strstr(h5store_notice(store), "another container"));
    ck_assert_uint_eq(box_totals(store).items, 0);
    box_close(store);
    box_expect_sound();
}
END_TEST

/* A process was killed between making the log and writing its header. */
START_TEST(log_without_a_header_is_none)
{
    h5store *store;

    box_make();
    box_write(box_log_path(), "", 0);
    store = box_open(H5STORE_READ_ONLY);
    box_expect_verified(store);
    box_close(store);
    box_write(box_log_path(), "garbage", 7);
    store = box_open(0);
    ck_assert_str_eq(h5store_notice(store), "");
    box_put(store, 5000, 1, NULL);
    box_close(store);
    box_expect_sound();
}
END_TEST

START_TEST(newer_log_is_refused)
{
    uint8_t copy[256];
    h5store *store;
    int fd;

    box_leave_log();
    fd = open(box_log_path(), O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pread(fd, copy, sizeof copy, i * 512), sizeof copy);
        hs_put_le32(copy + 8, 2);
        hs_put_le64(copy + 248, hs_sum64(copy, 248));
        ck_assert_int_eq(pwrite(fd, copy, sizeof copy, i * 512), sizeof copy);
    }
    close(fd);
    ck_assert_int_eq(box_try_open(box_path(), 0, 5, &store), H5STORE_E_VERSION);
    ck_assert_int_eq(box_try_open(box_path(), H5STORE_READ_ONLY, 5, &store), H5STORE_E_VERSION);
    ck_assert_ptr_nonnull(strstr(box_err.message, box_log_path()));
}
END_TEST

/* ---- killed while applying ------------------------------------------------------------------ */

static const char *kill_path; /* a write to it ... */
static int kill_skip;         /* ... is the last but so many */

/* The real write, until it is time to die before it. */
static ssize_t
pwrite_and_die(int fd, const void *buffer, size_t size, off_t offset)
{
    struct stat mine, theirs;

    if (fstat(fd, &mine) == 0 && stat(kill_path, &theirs) == 0 && mine.st_ino == theirs.st_ino &&
        kill_skip-- == 0)
        raise(SIGKILL);
    return hs_os_real.pwrite(fd, buffer, size, offset);
}

static int
apply_and_die(child *parent, void *context)
{
    struct hs_os_ops ops = hs_os_real;
    h5store *store;

    (void)context;
    (void)parent;
    ops.pwrite = pwrite_and_die;
    hs_os_set_ops(&ops);
    store = box_open(0);
    h5store_close(store, NULL);
    return 0;
}

static int
reserve_and_wait(child *parent, void *context)
{
    h5store *store = box_open(H5STORE_CREATE);
    h5store_array array = box_array(1000000, 3);
    h5store_batch *batch;
    h5store_id id;

    (void)context;
    BOX_OK(h5store_batch_begin(store, &batch, &box_err));
    BOX_OK(h5store_batch_put(batch, &array, &id, &box_err));
    child_tell(parent, 1);
    child_hear(parent);
    return 0;
}

/* Whatever was applied when it died, the next one goes on: also when the log held nothing
 * but a change of the space table, which HDF5 knows nothing of. */
static void
die_at_each_write(const char *path, child_fn before)
{
    unsigned died = 0;
    int status = -SIGKILL;

    for (int n = 0; status == -SIGKILL; n++) {
        child *c;

        unlink(box_log_path());
        unlink(box_path());
        box_make();
        c = child_start(before, NULL);
        child_hear(c);
        child_kill(c);
        kill_path = path;
        kill_skip = n;
        c = child_start(apply_and_die, NULL);
        status = child_wait(c);
        ck_assert_msg(status == 0 || status == -SIGKILL, "write %d: ended with %d", n, status);
        died += status == -SIGKILL;
        box_expect_sound();
    }
    ck_assert_uint_ge(died, 3);
}

START_TEST(death_at_any_write_to_the_container_is_mended)
{
    die_at_each_write(box_path(), _i == 0 ? box_put_and_wait : reserve_and_wait);
}
END_TEST

START_TEST(death_at_any_write_to_the_log_is_mended)
{
    die_at_each_write(box_log_path(), _i == 0 ? box_put_and_wait : reserve_and_wait);
}
END_TEST

/* ---- a machine that went down ------------------------------------------------------------- */

/* Arrays 1, 2 and 3 in items, 2 in two of them, 4 kept; then killed with all in the log. */
static int
put_four(child *parent, void *context)
{
    h5store *store = box_open(H5STORE_CREATE);
    h5store_id *ids = context;
    hid_t file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);

    child_assert(file >= 0);
    for (unsigned i = 1; i <= 3; i++) {
        char key[] = {'k', (char)('0' + i), '\0'};
        h5store_array array = box_array(20000, i);

        box_set(store, "m/f", key, 20000, i);
        BOX_OK(h5store_hash(&array, 1, &ids[i - 1], &box_err));
        box_free(&array);
    }
    box_set(store, "m/%g/#h", ".", 20000, 2);
    ids[3] = box_put(store, 20000, 4, NULL);
    child_tell(parent, 1);
    child_hear(parent);
    return 0;
}

START_TEST(torn_arrays_are_dropped_with_their_items)
{
    h5store_id *ids = child_shared_memory(4 * sizeof *ids);
    bool torn[5] = {false};
    h5store *store;
    h5store_totals t;
    h5store_blob *blob;
    child *c;

    box_make();
    c = child_start(put_four, ids);
    child_hear(c);
    child_kill(c);
    store = box_open(H5STORE_READ_ONLY);
    for (unsigned i = 1; i <= 4; i++) {
        torn[i] = (_i >> (i - 1)) & 1;
        if (torn[i])
            box_flip(box_path(), box_offset(store, &ids[i - 1]) + 7777);
    }
    box_close(store);
    power_change_boot_id(box_log_path());
    store = box_open(0);
    ck_assert_int_eq(strstr(h5store_notice(store), "had not reached the disk") != NULL, _i != 0);
    for (unsigned i = 1; i <= 4; i++) {
        char key[] = {'k', (char)('0' + i), '\0'};
        int rc = h5store_blob_open(store, &ids[i - 1], &blob, &box_err);

        ck_assert_int_eq(rc, torn[i] ? H5STORE_E_NOT_FOUND : H5STORE_OK);
        if (!torn[i]) {
            box_expect(blob, 20000, i);
            h5store_blob_close(blob);
        }
        if (i <= 3)
            ck_assert_int_eq(h5store_item_has(store, "m/f", key, NULL), rc);
        if (i == 2)
            ck_assert_int_eq(h5store_item_has(store, "m/%g/#h", ".", NULL), rc);
    }
    t = box_totals(store);
    ck_assert_uint_eq(t.items, 4u - torn[1] - 2 * torn[2] - torn[3]);
    ck_assert_uint_eq(t.blobs, 4u - torn[1] - torn[2] - torn[3] - torn[4]);
    box_expect_verified(store);
    for (unsigned i = 1; i <= 4; i++) /* computed again: all is as if nothing had been */
        box_set(store, "again", "k", 20000, i);
    box_close(store);
    store = box_open(0);
    ck_assert_str_eq(h5store_notice(store), ""); /* said once */
    box_close(store);
    box_expect_sound();
}
END_TEST

/* The header says "applied", but the file is the one from before: pages that were written
 * are not on the disk after a power cut.  The log has them. */
START_TEST(file_that_lost_what_was_applied_is_mended)
{
    h5store *store = box_open(H5STORE_CREATE);
    h5store_id id;

    box_put(store, 20000, 1, NULL);
    BOX_OK(h5store_flush(store, &box_err));
    box_copy(box_path(), fixture_path("before"));
    id = box_put(store, 300, 2, NULL); /* inline: its bytes are metadata */
    box_copy(box_log_path(), fixture_path("log"));
    BOX_OK(h5store_flush(store, &box_err));
    box_close(store);
    box_copy(fixture_path("before"), box_path());
    box_copy(fixture_path("log"), box_log_path());
    power_change_boot_id(box_log_path());
    store = box_open(0);
    box_expect_put(store, &id, 300, 2);
    box_expect_verified(store);
    box_close(store);
    box_expect_sound();
}
END_TEST

static TCase *
add_case(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);

    tcase_add_checked_fixture(tcase, box_setup, box_teardown);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    return tcase;
}

Suite *
recover_suite(void)
{
    Suite *suite = suite_create("recover");
    TCase *logs = add_case(suite, "logs");
    TCase *killed = add_case(suite, "killed");
    TCase *power = add_case(suite, "power");

    tcase_add_loop_test(logs, log_of_a_killed_process_is_taken_in, 0, 2);
    tcase_add_test(logs, container_without_its_log_is_an_older_one);
    tcase_add_test(logs, log_without_its_container_is_dropped);
    tcase_add_test(logs, log_of_another_container_is_dropped);
    tcase_add_test(logs, log_without_a_header_is_none);
    tcase_add_test(logs, newer_log_is_refused);
    tcase_add_loop_test(killed, death_at_any_write_to_the_container_is_mended, 0, 2);
    tcase_add_loop_test(killed, death_at_any_write_to_the_log_is_mended, 0, 2);
    tcase_add_loop_test(power, torn_arrays_are_dropped_with_their_items, 0, 16);
    tcase_add_test(power, file_that_lost_what_was_applied_is_mended);
    return suite;
}
