/* SPDX-License-Identifier: MIT */
/*
 * Verifying: each clause is provoked, by HDF5's own driver or byte by byte, and found; a sound
 * container has no finding.
 */
#include "digest.h"
#include "support/container.h"
#include "support/fixture.h"
#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *verify_suite(void);

#define HEADER 512 /* space header, page 2 */

static h5store_id id;   /* of an array of two items */
static h5store_id kept; /* of an array that put keeps */
static char blob_path[100], kept_path[100];
static uint64_t offset; /* of the bytes of id */

static void
setup(void)
{
    h5store_array array = box_array(20000, 1);
    char text[H5STORE_ID_TEXT_SIZE];
    h5store *store;

    box_setup();
    store = box_open(H5STORE_CREATE);
    box_set(store, "m/f", "k1", 20000, 1);
    box_set(store, "m/f", "k2", 20000, 1);
    box_set(store, "m/g", "k3", 300, 2);
    kept = box_put(store, 30000, 3, NULL);
    BOX_OK(h5store_hash(&array, 1, &id, &box_err));
    offset = box_offset(store, &id);
    h5store_id_format(&id, text);
    snprintf(blob_path, sizeof blob_path, "/blobs/%.2s/%s", text, text);
    h5store_id_format(&kept, text);
    snprintf(kept_path, sizeof kept_path, "/kept/%s", text);
    box_expect_verified(store);
    box_close(store);
    box_free(&array);
}

/* ---- what the callback hears ------------------------------------------------------------ */

struct heard {
    unsigned clauses[H5STORE_V_TOTALS + 1]; /* errors by clause */
    unsigned errors, remarks, calls, stop_after;
    char object[256]; /* of the first error */
    char named[2048]; /* objects of the remarks */
    uint64_t done, total, progress_calls, stop_at;
    h5store *commit_to;
};

static int
hear(const h5store_finding *finding, void *context)
{
    struct heard *heard = context;

    ck_assert_int_ge(finding->clause, 1);
    ck_assert_int_le(finding->clause, H5STORE_V_TOTALS);
    ck_assert(finding->object[0] == '/' && strlen(finding->text) > 10);
    heard->calls++;
    if (finding->is_error) {
        if (heard->errors++ == 0)
            snprintf(heard->object, sizeof heard->object, "%s", finding->object);
        heard->clauses[finding->clause]++;
    } else {
        size_t used = strlen(heard->named);

        heard->remarks++;
        snprintf(heard->named + used, sizeof heard->named - used, "%s\n", finding->object);
    }
    return heard->stop_after != 0 && heard->calls >= heard->stop_after;
}

static int
hear_progress(uint64_t done, uint64_t total, void *context)
{
    struct heard *heard = context;

    ck_assert_uint_ge(done, heard->done);
    heard->done = done;
    heard->total = total;
    if (heard->progress_calls++ == 0 && heard->commit_to != NULL)
        box_put(heard->commit_to, 1000, 77, NULL);
    return heard->stop_at != 0 && heard->progress_calls >= heard->stop_at;
}

static struct heard
verify(h5store_check check, double fraction, unsigned stop_after)
{
    struct heard heard = {.stop_after = stop_after};
    h5store_verify_options options = {check, fraction, hear, hear_progress, &heard};
    h5store *store = box_open(0);
    uint64_t errors;

    BOX_OK(h5store_verify(store, &options, &errors, &box_err));
    ck_assert_uint_eq(errors, heard.errors);
    box_close(store);
    return heard;
}

/* Errors of this clause, about this object, must be found. */
static void
expect(int clause, const char *object)
{
    struct heard heard = verify(H5STORE_CHECK_FULL, 1, 0);

    ck_assert_msg(heard.clauses[clause] >= 1, "clause %d was not found, of %u errors", clause,
                  heard.errors);
    ck_assert_msg(strstr(heard.object, object) != NULL, "'%s' is not '%s'", heard.object, object);
}

/* ---- provoking --------------------------------------------------------------------------- */

static hid_t
open_stock(void)
{
    hid_t file = H5Fopen(box_path(), H5F_ACC_RDWR, H5P_DEFAULT);

    ck_assert_int_ge(file, 0);
    return file;
}

static void
unlink_stock(const char *path)
{
    hid_t file = open_stock();

    ck_assert_int_ge(H5Ldelete(file, path, H5P_DEFAULT), 0);
    ck_assert_int_ge(H5Fclose(file), 0);
}

static void
remove_attribute(const char *path, const char *name)
{
    hid_t file = open_stock();

    ck_assert_int_ge(H5Adelete_by_name(file, path, name, H5P_DEFAULT), 0);
    ck_assert_int_ge(H5Fclose(file), 0);
}

/* Change a number of the space header, and its sum. */
static void
edit_header(unsigned at, uint64_t value, uint64_t more)
{
    uint8_t page[256];
    int fd = open(box_path(), O_RDWR | O_CLOEXEC);

    ck_assert_int_eq(pread(fd, page, sizeof page, HEADER), sizeof page);
    hs_put_le64(page + at, more ? hs_get_le64(page + at) + more : value);
    hs_put_le64(page + 248, hs_sum64(page, 248));
    ck_assert_int_eq(pwrite(fd, page, sizeof page, HEADER), sizeof page);
    close(fd);
}

static void
write_at(uint64_t where, const void *bytes, size_t size)
{
    int fd = open(box_path(), O_RDWR | O_CLOEXEC);

    ck_assert_int_eq(pwrite(fd, bytes, size, (off_t)where), (ssize_t)size);
    close(fd);
}

/* The space header is damaged while the container is open: there is no way in any more. */
START_TEST(unreadable_frame_is_found)
{
    struct heard heard = {0};
    h5store_verify_options options = {H5STORE_CHECK_FULL, 1, hear, hear_progress, &heard};
    h5store *store = box_open(0);
    uint64_t errors;

    box_flip(box_path(), HEADER + 100);
    BOX_OK(h5store_verify(store, &options, &errors, &box_err));
    ck_assert_uint_eq(errors, 1);
    ck_assert_uint_eq(heard.clauses[H5STORE_V_SUPERBLOCK], 1);
    box_flip(box_path(), HEADER + 100);
    BOX_OK(h5store_verify(store, &options, &errors, &box_err));
    ck_assert_uint_eq(errors, 0);
    box_close(store);
}
END_TEST

START_TEST(incomplete_root_is_found)
{
    static const char *const attributes[] = {"format", "format_version", "container_id", "README"};

    if (_i < 4)
        remove_attribute("/", attributes[_i]);
    else
        unlink_stock("/kept");
    expect(H5STORE_V_ROOT, "/");
}
END_TEST

START_TEST(blob_without_an_attribute_is_found)
{
    static const char *const attributes[] = {"id", "dtype", "shape", "order", "checksum"};

    remove_attribute(blob_path, attributes[_i]);
    expect(H5STORE_V_BLOB_META, blob_path);
}
END_TEST

START_TEST(stray_member_of_blobs_is_found)
{
    hid_t file = open_stock(), links = H5Pcreate(H5P_LINK_CREATE);

    H5Pset_create_intermediate_group(links, 1);
    ck_assert_int_ge(
        H5Lcreate_hard(file, blob_path, file, "/blobs/00/stranger", links, H5P_DEFAULT), 0);
    H5Pclose(links);
    H5Fclose(file);
    expect(H5STORE_V_BLOB_META, "/blobs/");
}
END_TEST

START_TEST(wrong_bytes_are_found)
{
    struct heard heard;

    box_flip(box_path(), offset + 10000);
    heard = verify(H5STORE_CHECK_NEVER, 1, 0);
    ck_assert_uint_eq(heard.errors, 0);
    heard = verify(H5STORE_CHECK_FULL, 0, 0);
    ck_assert_uint_eq(heard.errors, 0);
    heard = verify(H5STORE_CHECK_FAST, 1, 0);
    ck_assert_uint_eq(heard.clauses[H5STORE_V_BLOB_SUM], 1);
    ck_assert_uint_eq(heard.errors, 1);
    expect(H5STORE_V_BLOB_SUM, blob_path);
    expect(H5STORE_V_BLOB_NAME, blob_path);
}
END_TEST

/* Bytes and checksum changed together: the name alone tells. */
START_TEST(forged_checksum_is_found)
{
    unsigned char bytes[20000];
    h5store_array array = {"'|u1'", H5STORE_ORDER_C, 1, {20000}, sizeof bytes, bytes, NULL};
    hid_t file, dataset, attribute;
    struct heard heard;
    uint64_t sum;
    int fd;

    box_flip(box_path(), offset + 10000);
    fd = open(box_path(), O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(pread(fd, bytes, sizeof bytes, (off_t)offset), sizeof bytes);
    close(fd);
    BOX_OK(hs_digest_array(&array, 1, NULL, &sum, &box_err));
    file = open_stock();
    dataset = H5Dopen2(file, blob_path, H5P_DEFAULT);
    attribute = H5Aopen(dataset, "checksum", H5P_DEFAULT);
    ck_assert_int_ge(H5Awrite(attribute, H5T_NATIVE_UINT64, &sum), 0);
    H5Aclose(attribute);
    H5Dclose(dataset);
    H5Fclose(file);
    heard = verify(H5STORE_CHECK_FAST, 1, 0);
    ck_assert_uint_eq(heard.errors, 0);
    expect(H5STORE_V_BLOB_NAME, blob_path);
}
END_TEST

START_TEST(blob_without_references_is_found)
{
    unlink_stock(kept_path);
    expect(H5STORE_V_ORPHAN, "/blobs/");
}
END_TEST

START_TEST(incomplete_item_is_found)
{
    remove_attribute("/items/m/f/#k1/k1", _i == 0 ? "output" : "metadata");
    expect(H5STORE_V_ITEM, "/items/m/f/#k1/k1");
}
END_TEST

START_TEST(link_to_no_blob_is_found)
{
    unlink_stock(blob_path);
    expect(H5STORE_V_LINK, "/items/m/f/#k");
}
END_TEST

/* The space table says that the bytes of a blob are free. */
START_TEST(overlap_is_found)
{
    uint8_t slot[24];

    hs_put_le64(slot, offset);
    hs_put_le64(slot + 8, 4096);
    hs_put_le64(slot + 16, 0);
    write_at(4096, slot, sizeof slot);
    edit_header(48, 1, 0);
    edit_header(56, 4096, 0);
    expect(H5STORE_V_OVERLAP, "/");
}
END_TEST

START_TEST(wrong_totals_are_found)
{
    edit_header(64 + 8 * (unsigned)_i, 0, 1);
    expect(H5STORE_V_TOTALS, "/");
}
END_TEST

/* ---- what an error costs ------------------------------------------------------------------ */

/* Results that have a damaged array are named, and no others. */
START_TEST(affected_results_are_named)
{
    h5store *store = box_open(0);
    h5store_batch *batch = box_begin(store);
    h5store_id ids[3];
    struct heard heard;
    uint64_t shared;

    for (unsigned i = 0; i < 3; i++)
        ids[i] = box_put_in(batch, 20000, 50 + i, H5STORE_OK);
    box_set_in(batch, "m/f", "aa-one", ids, 2);
    box_set_in(batch, "m/f", "bb-two", ids + 1, 2);
    box_set_in(batch, "m/g", "cc-none", ids + 2, 1);
    BOX_OK(h5store_batch_commit(batch, &box_err));
    shared = box_offset(store, &ids[1]);
    box_close(store);
    box_flip(box_path(), shared + 5);
    heard = verify(H5STORE_CHECK_FULL, 1, 0);
    ck_assert_uint_eq(heard.clauses[H5STORE_V_BLOB_NAME], 1);
    ck_assert_str_eq(heard.named, "/items/m/f/#aa/aa-one\n/items/m/f/#bb/bb-two\n");
    heard = verify(H5STORE_CHECK_NEVER, 1, 0);
    ck_assert_uint_eq(heard.calls, 0);
}
END_TEST

/* An output that is a dataset of its own has a checksum, too. */
START_TEST(wrong_bytes_of_an_output_are_found)
{
    static char output[50000];
    h5store *store = box_open(0);
    h5store_batch *batch = box_begin(store);
    h5store_item_spec spec = {"m/f", "large", output, sizeof output, "{}", NULL, 0};
    hid_t file, dataset;
    haddr_t address;

    memset(output, 'o', sizeof output);
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    box_close(store);
    file = open_stock();
    dataset = H5Dopen2(file, "/items/m/f/#la/large/output", H5P_DEFAULT);
    address = H5Dget_offset(dataset);
    H5Dclose(dataset);
    H5Fclose(file);
    ck_assert_uint_ne(address, HADDR_UNDEF);
    box_flip(box_path(), address + 40000);
    expect(H5STORE_V_ITEM, "/items/m/f/#la/large");
}
END_TEST

/* ---- the check itself ---------------------------------------------------------------------- */

START_TEST(sound_container_has_no_finding)
{
    struct heard heard = verify(H5STORE_CHECK_FULL, 1, 0);

    ck_assert_uint_eq(heard.calls, 0);
    ck_assert_uint_ge(heard.progress_calls, 2);
    ck_assert_uint_eq(heard.done, 50300);
    ck_assert_uint_eq(heard.total, 50300);
    heard = verify(H5STORE_CHECK_NEVER, 1, 0);
    ck_assert_uint_eq(heard.calls + heard.progress_calls, 0);
}
END_TEST

START_TEST(callback_may_end_the_check)
{
    struct heard heard;

    remove_attribute("/", "format");
    remove_attribute(blob_path, "dtype");
    ck_assert_uint_ge(verify(H5STORE_CHECK_FULL, 1, 0).calls, 2);
    heard = verify(H5STORE_CHECK_FULL, 1, 1);
    ck_assert_uint_eq(heard.calls, 1);
    ck_assert_uint_eq(heard.clauses[H5STORE_V_ROOT], 1);
}
END_TEST

/* The rest of the arrays is not read, and nothing is said of totals that were not counted. */
START_TEST(progress_may_end_the_check)
{
    struct heard heard = {.stop_at = 1};
    h5store_verify_options options = {H5STORE_CHECK_FULL, 1, hear, hear_progress, &heard};
    h5store *store = box_open(0);
    uint64_t errors;

    BOX_OK(h5store_verify(store, &options, &errors, &box_err));
    ck_assert_uint_eq(heard.progress_calls, 1);
    ck_assert_uint_gt(heard.done, 0);
    ck_assert_uint_lt(heard.done, heard.total);
    ck_assert_uint_eq(heard.calls, 0);
    box_close(store);
}
END_TEST

/* Without anybody to tell, the number of errors is still right. */
START_TEST(errors_are_counted_without_a_callback)
{
    h5store_verify_options options = {H5STORE_CHECK_FULL, 1, NULL, NULL, NULL};
    h5store *store;
    uint64_t errors = 0;

    box_flip(box_path(), offset);
    store = box_open(H5STORE_READ_ONLY);
    BOX_OK(h5store_verify(store, &options, &errors, &box_err));
    ck_assert_uint_eq(errors, 2); /* checksum and name */
    box_close(store);
}
END_TEST

/* Somebody commits while it goes on: a remark, and no false alarm. */
START_TEST(commits_during_the_check_are_no_errors)
{
    struct heard heard = {.commit_to = box_open(0)};
    h5store_verify_options options = {H5STORE_CHECK_FULL, 1, hear, hear_progress, &heard};
    uint64_t errors;

    BOX_OK(h5store_verify(heard.commit_to, &options, &errors, &box_err));
    ck_assert_uint_eq(errors, 0);
    ck_assert_uint_eq(heard.remarks, 1);
    box_close(heard.commit_to);
}
END_TEST

Suite *
verify_suite(void)
{
    Suite *suite = suite_create("verify");
    TCase *clauses = tcase_create("clauses");
    TCase *check = tcase_create("check");

    tcase_add_checked_fixture(clauses, setup, box_teardown);
    tcase_set_timeout(clauses, 60);
    tcase_add_test(clauses, unreadable_frame_is_found);
    tcase_add_loop_test(clauses, incomplete_root_is_found, 0, 5);
    tcase_add_loop_test(clauses, blob_without_an_attribute_is_found, 0, 5);
    tcase_add_test(clauses, stray_member_of_blobs_is_found);
    tcase_add_test(clauses, wrong_bytes_are_found);
    tcase_add_test(clauses, forged_checksum_is_found);
    tcase_add_test(clauses, blob_without_references_is_found);
    tcase_add_loop_test(clauses, incomplete_item_is_found, 0, 2);
    tcase_add_test(clauses, link_to_no_blob_is_found);
    tcase_add_test(clauses, overlap_is_found);
    tcase_add_loop_test(clauses, wrong_totals_are_found, 0, 5);
    tcase_add_test(clauses, affected_results_are_named);
    tcase_add_test(clauses, wrong_bytes_of_an_output_are_found);
    tcase_add_checked_fixture(check, setup, box_teardown);
    tcase_set_timeout(check, 60);
    tcase_add_test(check, sound_container_has_no_finding);
    tcase_add_test(check, callback_may_end_the_check);
    tcase_add_test(check, progress_may_end_the_check);
    tcase_add_test(check, errors_are_counted_without_a_callback);
    tcase_add_test(check, commits_during_the_check_are_no_errors);
    suite_add_tcase(suite, clauses);
    suite_add_tcase(suite, check);
    return suite;
}
