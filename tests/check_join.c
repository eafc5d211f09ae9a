/* SPDX-License-Identifier: MIT */
/*
 * A reader that met no log, and joins those who write when there is one.
 */
#include "lock.h"
#include "os.h"
#include "support/container.h"
#include "support/fixture.h"
#include <dirent.h>
#include <fcntl.h>

Suite *join_suite(void);

static h5store *reader;

static unsigned
count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    ck_assert_ptr_nonnull(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

/* A container with an item, and a reader of it that has little patience. */
static void
setup(void)
{
    h5store *writer;

    box_setup();
    writer = box_open(H5STORE_CREATE);
    box_set(writer, "m/f", "a", 4000, 1);
    box_close(writer);
    BOX_OK(box_try_open(box_path(), H5STORE_READ_ONLY, 0.05, &reader));
    ck_assert(box_has_item(reader, "m/f", "a"));
}

static void
teardown(void)
{
    box_close(reader);
    box_teardown();
}

/* Let the reader look while somebody has the log alone, as one who recovers it has. */
static void
refuse_reader(int looks)
{
    unsigned before = count_descriptors();
    hs_locks *locks;
    int fd;

    BOX_OK(hs_os_open(box_log_path(), O_RDWR | O_CREAT, &fd, &box_err));
    BOX_OK(hs_locks_open(fd, box_log_path(), true, &locks, &box_err));
    BOX_OK(hs_lock_take(locks, HS_LOCK_MEMBER, HS_EXCLUSIVE, 0, &box_err));
    for (int i = 0; i < looks; i++)
        BOX_FAILS(H5STORE_E_BUSY, h5store_item_has(reader, "m/f", "a", &box_err));
    hs_locks_close(locks);
    hs_os_closep(&fd);
    ck_assert_uint_eq(count_descriptors(), before);
}

/* One that kept the lock of a stock reader would keep everybody from applying. */
START_TEST(refused_reader_joins_at_its_next_look)
{
    h5store *writer;

    refuse_reader(3);
    writer = box_open(0);
    box_set(writer, "m/f", "b", 4000, 2);
    ck_assert(box_has_item(reader, "m/f", "b"));
    BOX_OK(h5store_flush(writer, &box_err));
    box_close(writer);
    ck_assert(box_has_item(reader, "m/f", "b"));
}
END_TEST

/* One that was no member would be left with the log of before. */
START_TEST(refused_reader_is_a_member_then)
{
    h5store *writer;

    refuse_reader(1);
    writer = box_open(0);
    ck_assert(box_has_item(reader, "m/f", "a"));
    box_close(writer);
    ck_assert_int_ge(box_size(box_log_path()), 0); /* the reader is inside */
    writer = box_open(0);
    box_set(writer, "m/f", "c", 4000, 3);
    ck_assert(box_has_item(reader, "m/f", "c"));
    box_close(writer);
}
END_TEST

Suite *
join_suite(void)
{
    Suite *suite = suite_create("join");
    TCase *late = tcase_create("late");

    tcase_add_checked_fixture(late, setup, teardown);
    tcase_add_test(late, refused_reader_joins_at_its_next_look);
    tcase_add_test(late, refused_reader_is_a_member_then);
    suite_add_tcase(suite, late);
    return suite;
}
