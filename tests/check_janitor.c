/* SPDX-License-Identifier: MIT */
/*
 * The thread that applies the log and brings the file to the disk while nobody asks for it.
 */
#include "os.h"
#include "support/container.h"
#include "support/fixture.h"
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

Suite *janitor_suite(void);

/* Without a flush the thread does it when all is quiet.  The timeout is the limit. */
START_TEST(quiet_container_is_applied_by_itself)
{
    h5store *store = box_open(H5STORE_CREATE);

    box_set(store, "first", "key", 2000, 1);
    while (!box_stock_sees("/items/first") || box_size(box_log_path()) > 4096)
        usleep(20000);
    box_close(store);
}
END_TEST

static atomic_uint syncs_of_container;

static int
noted_fdatasync(int fd)
{
    char link[64], target[4096] = {0};

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, target, sizeof target - 1) > 0 && strcmp(target, box_path()) == 0)
        atomic_fetch_add(&syncs_of_container, 1);
    return fdatasync(fd);
}

/* Arrays come without a pause: their bytes are synced all the same, after ten seconds, or a power
 * cut could take any number of them. */
START_TEST(array_bytes_are_synced_under_load)
{
    struct hs_os_ops ops = hs_os_real;
    h5store *store;
    unsigned puts = 0;

    ops.fdatasync = noted_fdatasync;
    hs_os_set_ops(&ops);
    store = box_open(H5STORE_CREATE);
    box_put(store, 70000, 0, NULL);
    atomic_store(&syncs_of_container, 0);
    for (; puts < 300 && atomic_load(&syncs_of_container) == 0; puts++) {
        box_put(store, 70000, puts + 1, NULL);
        usleep(100000);
    }
    ck_assert_uint_ge(atomic_load(&syncs_of_container), 1);
    ck_assert_uint_ge(puts, 5); /* it was not idle */
    box_close(store);
    hs_os_set_ops(&hs_os_real);
}
END_TEST

Suite *
janitor_suite(void)
{
    Suite *suite = suite_create("janitor");
    TCase *tcase = tcase_create("janitor");

    tcase_add_checked_fixture(tcase, box_setup, box_teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, quiet_container_is_applied_by_itself);
    tcase_add_test(tcase, array_bytes_are_synced_under_load);
    suite_add_tcase(suite, tcase);
    return suite;
}
