/* SPDX-License-Identifier: MIT */
/*
 * Small attributes, and living in one program with others who use HDF5.
 */
#include "h5util.h"
#include "support/fixture.h"
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

Suite *h5util_suite(void);

static hid_t file;
static h5store_err err;

static void
setup(void)
{
    hid_t list = H5Pcreate(H5P_FILE_ACCESS); /* as in a container: attributes of any size */

    fixture_setup();
    H5Pset_libver_bounds(list, H5F_LIBVER_V110, H5F_LIBVER_V110);
    file = H5Fcreate(fixture_path("file.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, list);
    ck_assert_int_ge(file, 0);
    H5Pclose(list);
    hs_h5_enter();
}

static void
teardown(void)
{
    hs_h5_leave();
    ck_assert_int_eq(H5Fget_obj_count(file, H5F_OBJ_ALL), 1); /* nothing is left open */
    ck_assert_int_ge(H5Fclose(file), 0);
    fixture_teardown();
}

static void
expect_text(const char *name, const char *expected)
{
    char *text;

    ck_assert_int_eq(hs_h5_read_text(file, name, 100000, &text, &err), H5STORE_OK);
    ck_assert_str_eq(text, expected);
    free(text);
}

static void
expect_damaged_text(const char *name, size_t most)
{
    char *text = NULL;

    ck_assert_int_eq(hs_h5_read_text(file, name, most, &text, &err), H5STORE_E_DAMAGED);
    ck_assert_ptr_null(text);
    ck_assert_ptr_nonnull(strstr(err.message, name));
    ck_assert_int_eq(hs_h5_read_text(file, name, most, &text, NULL), H5STORE_E_DAMAGED);
}

static void
expect_damaged_numbers(const char *name, size_t room)
{
    uint64_t values[8] = {7};
    size_t count = 99;

    ck_assert_int_eq(hs_h5_read_u64(file, name, values, room, &count, &err), H5STORE_E_DAMAGED);
    ck_assert_uint_eq(count, 99);
    ck_assert_uint_eq(values[0], 7);
    ck_assert_ptr_nonnull(strstr(err.message, name));
}

START_TEST(text_comes_back)
{
    char *large = calloc(1, 80001);

    memset(large, 'l', 80000);
    for (const char *const *text = (const char *const[]){"", "x", "\xc3\xa4 and \n", large, NULL};
         *text != NULL; text++) {
        ck_assert_int_eq(hs_h5_write_text(file, "text", *text, &err), H5STORE_OK);
        expect_text("text", *text); /* in place of the one before */
    }
    expect_damaged_text("text", 79999);
    expect_damaged_text("none", 100);
    free(large);
}
END_TEST

START_TEST(numbers_come_back)
{
    const uint64_t values[3] = {0, 1, UINT64_MAX};
    uint64_t read[3];
    size_t count;

    ck_assert_int_eq(hs_h5_write_u64(file, "list", values, 3, false, &err), H5STORE_OK);
    ck_assert_int_eq(hs_h5_read_u64(file, "list", read, 3, &count, &err), H5STORE_OK);
    ck_assert_uint_eq(count, 3);
    ck_assert_mem_eq(read, values, sizeof values);
    expect_damaged_numbers("list", 2);
    ck_assert_int_eq(hs_h5_write_u64(file, "list", values + 2, 1, true, &err), H5STORE_OK);
    ck_assert_int_eq(hs_h5_read_u64(file, "list", read, 1, &count, &err), H5STORE_OK);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(read[0], UINT64_MAX);
    ck_assert_int_eq(hs_h5_write_u64(file, "empty", NULL, 0, false, &err), H5STORE_OK);
    ck_assert_int_eq(hs_h5_read_u64(file, "empty", read, 0, &count, &err), H5STORE_OK);
    ck_assert_uint_eq(count, 0);
    expect_damaged_numbers("none", 3);
}
END_TEST

/* Whatever another program put there in place of ours. */
START_TEST(other_types_are_noticed)
{
    hid_t scalar = H5Screate(H5S_SCALAR), null = H5Screate(H5S_NULL), text = H5Tcopy(H5T_C_S1);
    hid_t two = H5Screate_simple(1, (hsize_t[]){2}, NULL);
    hid_t types[] = {H5T_STD_U32LE, H5T_IEEE_F64LE, H5T_STD_REF_OBJ, text, text};
    char name[16];
    hid_t made;

    H5Tset_size(text, H5T_VARIABLE);
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "type%d", i);
        made = H5Acreate2(file, name, types[i], scalar, H5P_DEFAULT, H5P_DEFAULT);
        ck_assert_int_ge(made, 0);
        H5Aclose(made);
        expect_damaged_text(name, 100);
        expect_damaged_numbers(name, 8);
    }
    H5Tset_size(text, 4);
    made = H5Acreate2(file, "two", text, two, H5P_DEFAULT, H5P_DEFAULT);
    H5Aclose(made);
    expect_damaged_text("two", 100);
    made = H5Acreate2(file, "null", text, null, H5P_DEFAULT, H5P_DEFAULT);
    H5Aclose(made);
    expect_damaged_text("null", 100);
    H5Tclose(text);
    H5Sclose(two);
    H5Sclose(null);
    H5Sclose(scalar);
}
END_TEST

START_TEST(links_are_found)
{
    hid_t group = H5Gcreate2(file, "a", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    uint64_t mine, same, other = 1;

    ck_assert_int_eq(hs_h5_has_link(file, "b", &err), 0);
    ck_assert_int_ge(H5Olink(group, file, "b", H5P_DEFAULT, H5P_DEFAULT), 0);
    ck_assert_int_eq(hs_h5_has_link(file, "b", &err), 1);
    ck_assert_int_eq(hs_h5_find(file, "a", &mine, &err), H5STORE_OK);
    ck_assert_int_eq(hs_h5_find(file, "/b", &same, &err), H5STORE_OK);
    ck_assert_uint_eq(mine, same);
    ck_assert_uint_gt(mine, 0);
    ck_assert_int_ge(H5Lcreate_soft("/a", file, "soft", H5P_DEFAULT, H5P_DEFAULT), 0);
    ck_assert_int_eq(hs_h5_find(file, "soft", &other, &err), H5STORE_E_NOT_FOUND);
    ck_assert_int_eq(hs_h5_find(file, "c/d", &other, &err), H5STORE_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.message, "'c/d'"));
    ck_assert_uint_eq(other, 1);
    H5Gclose(group);
    ck_assert_int_eq(hs_h5_has_link(group, "b", &err), H5STORE_E_DAMAGED);
}
END_TEST

START_TEST(failure_has_hdf5s_words)
{
    hid_t list;

    ck_assert_int_eq(hs_h5_link_list(&list, &err), H5STORE_OK);
    ck_assert_int_lt(H5Gopen2(file, "/none/such", H5P_DEFAULT), 0);
    ck_assert_int_eq(hs_h5_fail(&err, H5STORE_E_HDF5, "cannot do %s", "this"), H5STORE_E_HDF5);
    ck_assert_ptr_eq(strstr(err.message, "cannot do this"), err.message);
    ck_assert_ptr_nonnull(strstr(err.message, "HDF5 says"));
    ck_assert_int_eq(H5Eget_num(H5E_DEFAULT), 0);
    ck_assert_int_eq(hs_h5_fail(&err, H5STORE_E_DAMAGED, "without a cause"), H5STORE_E_DAMAGED);
    ck_assert_str_eq(err.message, "without a cause");
    hs_h5_close_plist(&list);
    hs_h5_close_plist(&list); /* nothing the second time */
    ck_assert_int_eq(list, H5I_INVALID_HID);
}
END_TEST

static unsigned printed;

static herr_t
print(hid_t stack, void *data)
{
    (void)stack;
    ck_assert_ptr_eq(data, &printed);
    printed++;
    return 0;
}

/* The program's own error printing is silent in our calls, and only there. */
START_TEST(error_printing_of_the_program_is_put_back)
{
    H5E_auto2_t function;
    void *data;

    hs_h5_leave();
    ck_assert_int_ge(H5Eset_auto2(H5E_DEFAULT, print, &printed), 0);
    hs_h5_enter();
    ck_assert_int_lt(H5Gopen2(file, "/none", H5P_DEFAULT), 0);
    hs_h5_leave();
    ck_assert_uint_eq(printed, 0);
    ck_assert_int_ge(H5Eget_auto2(H5E_DEFAULT, &function, &data), 0);
    ck_assert(function == print && data == &printed);
    ck_assert_int_lt(H5Gopen2(file, "/none", H5P_DEFAULT), 0);
    ck_assert_uint_eq(printed, 1);
    hs_h5_enter();
}
END_TEST

static atomic_int guests;  /* threads that are inside, or on their way */
static atomic_bool stayed; /* a guest stayed as long as it meant to */

static void *
look_inside(void *context)
{
    atomic_fetch_add(&guests, 1);
    hs_h5_enter();
    ck_assert_int_gt(H5Iis_valid(file), 0);
    if (context != NULL)
        usleep(300000);
    ck_assert_int_gt(H5Iis_valid(file), 0);
    stayed = true;
    hs_h5_leave();
    atomic_fetch_sub(&guests, 1);
    return NULL;
}

static void
begin_guest(pthread_t *thread, void *context)
{
    ck_assert_int_eq(pthread_create(thread, NULL, look_inside, context), 0);
    while (atomic_load(&guests) == 0)
        usleep(1000);
    usleep(50000); /* it is inside, or waits for HDF5's lock */
}

static herr_t
use_library(hid_t group, const char *name, const hs_link_info *info, void *context)
{
    (void)group, (void)name, (void)info;
    begin_guest(context, NULL);
    hs_h5_enter();
    ck_assert_int_gt(H5Iis_valid(file), 0);
    hs_h5_leave();
    return 1;
}

/* A program that shares our HDF5 calls us from a callback of HDF5's, as users of h5py's visititems
 * do, and so has HDF5's lock.  Another thread that waits for that lock must not be in its way. */
START_TEST(callback_of_hdf5_may_come_in)
{
    hid_t group = H5Gcreate2(file, "a", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hsize_t position = 0;
    hbool_t safe = false;
    pthread_t other;

    ck_assert_int_ge(H5is_library_threadsafe(&safe), 0);
    H5Gclose(group);
    hs_h5_leave();
    if (safe) { /* else nobody may be in a callback while another thread is inside */
        ck_assert_int_eq(
            hs_link_iterate(file, H5_INDEX_NAME, H5_ITER_INC, &position, use_library, &other), 1);
        pthread_join(other, NULL);
        ck_assert_int_eq(guests, 0);
    }
    hs_h5_enter();
}
END_TEST

/* The child's copy of HDF5 is whole, although another thread was inside. */
START_TEST(fork_waits_until_nobody_is_inside)
{
    pthread_t other;
    int status;
    pid_t child;

    hs_h5_leave();
    begin_guest(&other, &other);
    ck_assert(!stayed);
    child = fork();
    if (child == 0) {
        (void)alarm(20);
        hs_h5_enter();
        status = stayed && H5Iis_valid(file) > 0 && H5Fget_obj_count(file, H5F_OBJ_ALL) == 1;
        hs_h5_leave();
        /* Not by _exit: ThreadSanitizer would miss the parent's thread there. */
        (void)execlp(status ? "true" : "false", "fork", (char *)NULL);
        _exit(2);
    }
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    pthread_join(other, NULL);
    hs_h5_enter(); /* the parent goes on as well */
}
END_TEST

Suite *
h5util_suite(void)
{
    Suite *suite = suite_create("h5util");
    TCase *hdf5 = tcase_create("hdf5");

    tcase_add_checked_fixture(hdf5, setup, teardown);
    tcase_add_test(hdf5, text_comes_back);
    tcase_add_test(hdf5, numbers_come_back);
    tcase_add_test(hdf5, other_types_are_noticed);
    tcase_add_test(hdf5, links_are_found);
    tcase_add_test(hdf5, failure_has_hdf5s_words);
    tcase_add_test(hdf5, error_printing_of_the_program_is_put_back);
    tcase_add_test(hdf5, callback_of_hdf5_may_come_in);
    tcase_add_test(hdf5, fork_waits_until_nobody_is_inside);
    suite_add_tcase(suite, hdf5);
    return suite;
}
