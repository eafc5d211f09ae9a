/* SPDX-License-Identifier: MIT */
/*
 * The driver under HDF5 itself, without a container: what HDF5 writes stays in the pages until
 * they are written out by the test, and HDF5's own driver then reads the file.
 */
#include "h5util.h"
#include "os.h"
#include "superblock.h"
#include "support/container.h"
#include "support/fixture.h"
#include "vfd.h"
#include <stdio.h>
#include <unistd.h>

Suite *vfd_suite(void);

static hs_pager pager;
static hs_space space;
static hs_vfd_host host;
static h5store_err err;

static void
setup(void)
{
    box_setup();
    pager.path = box_path();
    ck_assert_int_eq(hs_os_open(pager.path, O_RDWR | O_CREAT, &pager.fd, &err), H5STORE_OK);
    ck_assert_int_eq(hs_space_init(&space, &err), H5STORE_OK);
    host.pager = &pager;
    host.space = &space;
    pager.in_transaction = true;
}

static void
teardown(void)
{
    ck_assert_int_eq(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
    hs_space_release(&space);
    hs_overlay_release(&pager.committed);
    hs_overlay_release(&pager.pending);
    hs_os_closep(&pager.fd);
    box_teardown();
}

static hid_t
create(void)
{
    hid_t fapl, fcpl, file;

    ck_assert_int_eq(hs_vfd_access_list(&host, &fapl, &err), H5STORE_OK);
    ck_assert_int_eq(hs_vfd_creation_list(&fcpl, &err), H5STORE_OK);
    host.blank = true;
    file = H5Fcreate("a name that means nothing", H5F_ACC_TRUNC, fcpl, fapl);
    ck_assert_int_ge(file, 0);
    ck_assert(!host.blank);
    H5Pclose(fapl);
    H5Pclose(fcpl);
    return file;
}

static hid_t
reopen(unsigned flags)
{
    hid_t fapl, file;

    ck_assert_int_eq(hs_vfd_access_list(&host, &fapl, &err), H5STORE_OK);
    H5E_BEGIN_TRY
    {
        file = H5Fopen("another name", flags, fapl);
    }
    H5E_END_TRY
    H5Pclose(fapl);
    return file;
}

static void
make_groups(hid_t file, const char *prefix, int count)
{
    for (int i = 0; i < count; i++) {
        char name[32];

        snprintf(name, sizeof name, "%s%d", prefix, i);
        ck_assert_int_ge(H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)),
                         0);
    }
}

static int
count_links(hid_t file)
{
    H5G_info_t info;

    ck_assert_int_ge(H5Gget_info(file, &info), 0);
    return (int)info.nlinks;
}

/* As container.c does it: what is pending is written to the file. */
static void
write_out(void)
{
    hs_page **pages;

    ck_assert_int_eq(hs_overlay_sorted(&pager.pending, &pages, &err), H5STORE_OK);
    for (size_t i = 0; i < pager.pending.count; i++)
        ck_assert_int_eq(hs_os_pwrite(pager.fd, pager.path, pages[i]->bytes, HS_PAGE_SIZE,
                                      pages[i]->number * HS_PAGE_SIZE, &err),
                         H5STORE_OK);
    free(pages);
    ck_assert_int_eq(ftruncate(pager.fd, (off_t)space.eoa), 0);
    hs_overlay_clear(&pager.pending);
}

START_TEST(nothing_reaches_the_file_by_itself)
{
    hid_t file = create();

    make_groups(file, "g", 50);
    ck_assert_int_ge(H5Fflush(file, H5F_SCOPE_GLOBAL), 0);
    ck_assert_int_ge(H5Fclose(file), 0);
    /* Room was made for it, so that it cannot be missing later; but no byte was written. */
    ck_assert_int_eq(box_run("cmp -n $(stat -c %%s '%s') '%s' /dev/zero", box_path(), box_path()),
                     0);
    ck_assert_uint_gt(pager.pending.count, 0);
    ck_assert_int_eq(host.failure.code, H5STORE_OK);
}
END_TEST

START_TEST(stock_hdf5_reads_what_was_written_out)
{
    hid_t file = create();
    char *large = calloc(1, 70001), *read;
    uint8_t bytes[HS_SUPERBLOCK_SIZE];

    memset(large, 'v', 70000);
    make_groups(file, "g", 100);
    /* Too large for an object header: it goes through the heap, as raw data to the driver. */
    ck_assert_int_eq(hs_h5_write_text(file, "large", large, &err), H5STORE_OK);
    ck_assert_int_ge(H5Fclose(file), 0);
    write_out();
    ck_assert_int_eq(pread(pager.fd, bytes, sizeof bytes, 0), sizeof bytes);
    ck_assert_int_eq(hs_superblock_inspect(bytes), HS_SUPERBLOCK_GOOD);
    ck_assert(!hs_superblock_is_marked(bytes)); /* no h5clear is ever needed */
    file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);
    ck_assert_int_ge(file, 0);
    ck_assert_int_eq(count_links(file), 100);
    ck_assert_int_eq(hs_h5_read_text(file, "large", 100000, &read, &err), H5STORE_OK);
    ck_assert_str_eq(read, large);
    H5Fclose(file);
    free(read);
    free(large);
    ck_assert_int_eq(box_run("h5ls -r '%s' && h5dump -H '%s'", box_path(), box_path()), 0);
}
END_TEST

START_TEST(writes_outside_a_transaction_are_dropped)
{
    hid_t file = create();

    make_groups(file, "g", 3);
    ck_assert_int_ge(H5Fclose(file), 0);
    write_out();
    pager.in_transaction = false;
    file = reopen(H5F_ACC_RDWR);
    ck_assert_int_eq(count_links(file), 3);
    ck_assert_int_ge(H5Fclose(file), 0);
    ck_assert_uint_eq(pager.pending.count, 0);
}
END_TEST

/* A closing file that lost its transaction: nothing fails, and nothing is left half-closed. */
START_TEST(aborted_changes_close_cleanly)
{
    hid_t file = create();
    uint64_t eoa;

    make_groups(file, "g", 3);
    ck_assert_int_ge(H5Fclose(file), 0);
    write_out();
    eoa = space.eoa;
    file = reopen(H5F_ACC_RDWR);
    make_groups(file, "lost", 500); /* HDF5 needs space for some of it when it flushes */
    host.closing = true;
    if (_i == 1) { /* and even when no disk has it */
        space.arena_next = space.arena_end;
        space.eoa = INT64_MAX / 4 / HS_SPACE_UNIT * HS_SPACE_UNIT;
    }
    ck_assert_int_ge(H5Fclose(file), 0);
    host.closing = false;
    ck_assert_int_eq(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
    hs_overlay_clear(&pager.pending);
    space.eoa = eoa;
    file = reopen(H5F_ACC_RDONLY);
    ck_assert_int_eq(count_links(file), 3);
    H5Fclose(file);
}
END_TEST

/* Each open is a file of its own, or HDF5 would hand out one with an old cache. */
START_TEST(handles_share_no_cache)
{
    hid_t file = create(), first, second;

    make_groups(file, "g", 3);
    ck_assert_int_ge(H5Fclose(file), 0);
    first = reopen(H5F_ACC_RDONLY);
    ck_assert_int_eq(count_links(first), 3);
    file = reopen(H5F_ACC_RDWR);
    make_groups(file, "more", 4);
    ck_assert_int_ge(H5Fclose(file), 0);
    second = reopen(H5F_ACC_RDONLY);
    ck_assert_int_eq(count_links(second), 7);
    H5Fclose(first);
    H5Fclose(second);
}
END_TEST

static hid_t
commit_type(hid_t file, const char *member)
{
    hid_t type = H5Tcreate(H5T_COMPOUND, 4);

    ck_assert_int_ge(H5Tinsert(type, member, 0, H5T_STD_I32LE), 0);
    ck_assert_int_ge(H5Tcommit_anon(file, type, H5P_DEFAULT, H5P_DEFAULT), 0);
    return type;
}

/*
 * HDF5 would make a block at the end of the file longer in place, and another may follow it.  A
 * committed type has a header without room for an attribute; at one of the lengths it takes all
 * of a block, whose size is a multiple of 8.
 */
START_TEST(block_at_the_end_stays_as_long_as_it_is)
{
    hid_t file = create(), type;
    char name[64], *read;

    for (int length = 1; length <= 8; length++) {
        uint64_t address, size;

        snprintf(name, sizeof name, "%.*s", length, "a member");
        space.arena_next = space.arena_end;
        ck_assert_int_eq(hs_space_metadata(&space, &pager, 8, &address, &err), H5STORE_OK);
        size = space.arena_next;
        H5Tclose(commit_type(file, name));
        size = space.arena_next - size;
        space.arena_next = space.arena_end - size;
        type = commit_type(file, name);
        ck_assert(space.arena_next == space.arena_end && space.arena_end == space.eoa);
        ck_assert_int_eq(hs_h5_write_text(type, "attribute", "its text", &err), H5STORE_OK);
        snprintf(name, sizeof name, "type %d", length);
        ck_assert_int_ge(H5Olink(type, file, name, H5P_DEFAULT, H5P_DEFAULT), 0);
        H5Tclose(type);
        snprintf(name, sizeof name, "group %d of ", length);
        make_groups(file, name, 2);
    }
    ck_assert_int_ge(H5Fclose(file), 0);
    write_out();
    file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);
    for (int length = 1; length <= 8; length++) {
        snprintf(name, sizeof name, "type %d", length);
        type = H5Topen2(file, name, H5P_DEFAULT);
        ck_assert_int_eq(hs_h5_read_text(type, "attribute", 100, &read, &err), H5STORE_OK);
        ck_assert_str_eq(read, "its text");
        free(read);
        H5Tclose(type);
        snprintf(name, sizeof name, "group %d of 1/none", length);
        ck_assert_int_eq(H5Lexists(file, name, H5P_DEFAULT), 0);
    }
    H5Fclose(file);
}
END_TEST

/* HDF5 reads more than a short header has, up to where it thinks that the file ends. */
START_TEST(block_at_the_end_is_read)
{
    hid_t file = create(), type;
    uint64_t size = space.arena_next, address;

    H5Tclose(commit_type(file, "member"));
    size = space.arena_next - size;
    address = space.arena_next = space.arena_end - size;
    type = commit_type(file, "member");
    ck_assert(space.arena_next == space.arena_end && space.arena_end == space.eoa);
    ck_assert_int_ge(H5Oincr_refcount(type), 0);
    H5Tclose(type);
    ck_assert_int_ge(H5Fclose(file), 0);
    file = reopen(H5F_ACC_RDONLY);
    type = hs_open_at(file, address);
    ck_assert_int_eq(H5Iget_type(type), H5I_DATATYPE);
    H5Tclose(type);
    H5Fclose(file);
}
END_TEST

/* The bytes are there already: the chunks of the dataset are put exactly over them. */
START_TEST(announced_raw_data_is_placed)
{
    hsize_t dims[2] = {100, 50}, chunk[2] = {10, 50};
    hid_t file = create(), plist = H5Pcreate(H5P_DATASET_CREATE), dataset;
    hid_t plane = H5Screate_simple(2, dims, NULL);
    int numbers[100][50], read[100][50];
    bool reused;

    for (int i = 0; i < 100; i++)
        for (int j = 0; j < 50; j++)
            numbers[i][j] = i * j;
    ck_assert_int_eq(hs_space_take(&space, sizeof numbers, &host.raw, &reused, &err), H5STORE_OK);
    ck_assert_int_eq(
        hs_os_pwrite(pager.fd, pager.path, numbers, sizeof numbers, host.raw.address, &err),
        H5STORE_OK);
    host.raw_size = sizeof numbers;
    H5Pset_chunk(plist, 2, chunk);
    H5Pset_alloc_time(plist, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(plist, H5D_FILL_TIME_NEVER);
    dataset = H5Dcreate2(file, "d", H5T_STD_I32LE, plane, H5P_DEFAULT, plist, H5P_DEFAULT);
    ck_assert_int_ge(dataset, 0);
    ck_assert_uint_eq(host.raw_size, 0); /* taken, and once */
    H5Dclose(dataset);
    H5Pclose(plist);
    H5Sclose(plane);
    ck_assert_int_ge(H5Fclose(file), 0);
    write_out();
    file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);
    dataset = H5Dopen2(file, "d", H5P_DEFAULT);
    ck_assert_int_ge(H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, read), 0);
    ck_assert_mem_eq(read, numbers, sizeof numbers);
    H5Dclose(dataset);
    H5Fclose(file);
}
END_TEST

/* Behind HDF5's "can't read" is a cause of ours. */
START_TEST(failure_in_a_callback_is_noted)
{
    hid_t file = create();
    int fd = pager.fd;

    make_groups(file, "g", 3);
    ck_assert_int_ge(H5Fclose(file), 0);
    write_out();
    pager.fd = -1;
    ck_assert_int_lt(reopen(H5F_ACC_RDONLY), 0);
    ck_assert_int_eq(host.failure.code, H5STORE_E_IO);
    ck_assert_ptr_nonnull(strstr(host.failure.message, box_path()));
    pager.fd = fd;
}
END_TEST

/* A damaged file that points beyond its end is an error, not a read of zeros. */
START_TEST(addresses_beyond_the_end_are_refused)
{
    hid_t file = create();
    uint8_t bytes[HS_SUPERBLOCK_SIZE];

    ck_assert_int_ge(H5Fclose(file), 0);
    write_out();
    ck_assert_int_eq(pread(pager.fd, bytes, sizeof bytes, 0), sizeof bytes);
    hs_put_le64(bytes + 36, space.eoa + 4096);
    hs_superblock_set_eoa(bytes, space.eoa);
    ck_assert_int_eq(pwrite(pager.fd, bytes, sizeof bytes, 0), sizeof bytes);
    H5E_BEGIN_TRY
    {
        file = reopen(H5F_ACC_RDONLY); /* 2.x looks at the root at once, 1.x when it must */
        ck_assert(file < 0 || H5Lexists(file, "g", H5P_DEFAULT) < 0);
        H5Fclose(file);
    }
    H5E_END_TRY
    ck_assert_int_eq(host.failure.code, H5STORE_OK);
}
END_TEST

/* The program may close the HDF5 library between two uses: the driver registers again. */
START_TEST(driver_survives_a_closed_library)
{
    hid_t file = create();

    ck_assert_int_ge(H5Fclose(file), 0);
    write_out();
    ck_assert_int_ge(H5close(), 0);
    ck_assert_int_ge(H5open(), 0);
    file = reopen(H5F_ACC_RDONLY);
    ck_assert_int_ge(file, 0);
    H5Fclose(file);
}
END_TEST

Suite *
vfd_suite(void)
{
    Suite *suite = suite_create("vfd");
    TCase *driver = tcase_create("driver");

    tcase_add_checked_fixture(driver, setup, teardown);
    tcase_set_timeout(driver, 60);
    tcase_add_test(driver, nothing_reaches_the_file_by_itself);
    tcase_add_test(driver, stock_hdf5_reads_what_was_written_out);
    tcase_add_test(driver, writes_outside_a_transaction_are_dropped);
    tcase_add_loop_test(driver, aborted_changes_close_cleanly, 0, 2);
    tcase_add_test(driver, handles_share_no_cache);
    tcase_add_test(driver, block_at_the_end_stays_as_long_as_it_is);
    tcase_add_test(driver, block_at_the_end_is_read);
    tcase_add_test(driver, announced_raw_data_is_placed);
    tcase_add_test(driver, failure_in_a_callback_is_noted);
    tcase_add_test(driver, addresses_beyond_the_end_are_refused);
    tcase_add_test(driver, driver_survives_a_closed_library);
    suite_add_tcase(suite, driver);
    return suite;
}
