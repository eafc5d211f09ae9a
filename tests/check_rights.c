/* SPDX-License-Identifier: MIT */
/*
 * Several users of one container: the log, which comes and goes, has its group and its rights.
 */
#include "os.h"
#include "support/container.h"
#include "support/fixture.h"
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *rights_suite(void);

#define NOBODY 65534
#define TEAM 54321

static struct stat
status_of(const char *path)
{
    struct stat status;

    ck_assert_int_eq(stat(path, &status), 0);
    return status;
}

/* A container with these rights, closed. */
static void
make_container(mode_t mode)
{
    box_close(box_open(H5STORE_CREATE));
    ck_assert_int_eq(box_size(box_log_path()), -1);
    ck_assert_int_eq(chmod(box_path(), mode), 0);
}

/* Open and close it as one who lets nobody in: what the log was meanwhile. */
static struct stat
log_of_a_private_user(void)
{
    mode_t before = umask(0077);
    h5store *store = box_open(0);
    struct stat status = status_of(box_log_path());

    umask(before);
    box_set(store, "f", "key", 2000, 1);
    box_close(store);
    ck_assert_int_eq(box_size(box_log_path()), -1);
    return status;
}

START_TEST(the_log_has_the_rights_of_the_container)
{
    static const mode_t modes[] = {0644, 0664, 0660, 0666, 0600};

    make_container(modes[_i]);
    ck_assert_uint_eq(log_of_a_private_user().st_mode & ACCESSPERMS, modes[_i]);
    box_expect_sound();
}
END_TEST

START_TEST(rights_are_taken_away_too)
{
    mode_t before = umask(0);
    struct stat status;
    h5store *store;

    make_container(0600);
    store = box_open(0);
    status = status_of(box_log_path());
    umask(before);
    ck_assert_uint_eq(status.st_mode & ACCESSPERMS, 0600);
    box_close(store);
}
END_TEST

/* Else the owner could not write any more. */
START_TEST(root_makes_the_log_of_the_owner)
{
    struct stat status;

    if (geteuid() != 0)
        return;
    make_container(0640);
    ck_assert_int_eq(chown(box_path(), NOBODY, TEAM), 0);
    status = log_of_a_private_user();
    ck_assert_uint_eq(status.st_uid, NOBODY);
    ck_assert_uint_eq(status.st_gid, TEAM);
    ck_assert_uint_eq(status.st_mode & ACCESSPERMS, 0640);
}
END_TEST

/* A user whose own group is another one: a member of the container's, or not. */
START_TEST(the_group_is_the_containers_or_has_no_rights)
{
    const gid_t team = TEAM;
    struct stat status;

    if (geteuid() != 0)
        return;
    make_container(0666);
    ck_assert_int_eq(chown(box_path(), 0, TEAM), 0);
    ck_assert_int_eq(
        box_run("chmod 755 '%s/..' && chmod 777 '%s'", fixture_folder(), fixture_folder()), 0);
    ck_assert_int_eq(setgroups(_i == 0 ? 1 : 0, &team), 0);
    ck_assert_int_eq(setegid(NOBODY), 0);
    ck_assert_int_eq(seteuid(NOBODY), 0);
    status = log_of_a_private_user();
    ck_assert_int_eq(seteuid(0), 0);
    ck_assert_uint_eq(status.st_uid, NOBODY);
    ck_assert_uint_eq(status.st_gid, _i == 0 ? TEAM : NOBODY);
    ck_assert_uint_eq(status.st_mode & ACCESSPERMS, _i == 0 ? 0666 : 0606);
}
END_TEST

/* Only a file that is new is nobody's yet. */
START_TEST(a_file_with_bytes_keeps_its_rights)
{
    const char *path = fixture_path("written"), *other = fixture_path("other");
    int fd = open(path, O_RDWR | O_CREAT, 0600), like = open(other, O_RDWR | O_CREAT, 0600);

    ck_assert(fd >= 0 && like >= 0);
    ck_assert_int_eq(fchmod(like, 0644), 0);
    ck_assert_int_eq(write(fd, "x", 1), 1);
    hs_os_take_rights(fd, like);
    ck_assert_uint_eq(status_of(path).st_mode & ACCESSPERMS, 0600);
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    hs_os_take_rights(fd, like);
    ck_assert_uint_eq(status_of(path).st_mode & ACCESSPERMS, 0644);
    hs_os_take_rights(fd, -1); /* cannot be looked at: nothing happens */
    ck_assert_uint_eq(status_of(path).st_mode & ACCESSPERMS, 0644);
    close(fd);
    close(like);
}
END_TEST

Suite *
rights_suite(void)
{
    Suite *suite = suite_create("rights");
    TCase *tcase = tcase_create("rights");

    tcase_add_checked_fixture(tcase, box_setup, box_teardown);
    tcase_add_loop_test(tcase, the_log_has_the_rights_of_the_container, 0, 5);
    tcase_add_test(tcase, rights_are_taken_away_too);
    tcase_add_test(tcase, root_makes_the_log_of_the_owner);
    tcase_add_loop_test(tcase, the_group_is_the_containers_or_has_no_rights, 0, 2);
    tcase_add_test(tcase, a_file_with_bytes_keeps_its_rights);
    suite_add_tcase(suite, tcase);
    return suite;
}
