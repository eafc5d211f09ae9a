/* SPDX-License-Identifier: MIT */
/*
 * The pager: what is read is the file, under the committed pages, under the pending ones.
 */
#include "os.h"
#include "pager.h"
#include "support/fixture.h"
#include <check.h>
#include <unistd.h>

Suite *pager_suite(void);

#define FILE_SIZE (16 * HS_PAGE_SIZE)

static hs_pager pager;
static uint8_t model[32 * HS_PAGE_SIZE]; /* what must be read; zeros beyond the file */

static void
setup(void)
{
    fixture_setup();
    memset(&pager, 0, sizeof pager);
    memset(model, 0, sizeof model);
    pager.path = fixture_path("file");
    ck_assert_int_eq(hs_os_open(pager.path, O_RDWR | O_CREAT, &pager.fd, NULL), H5STORE_OK);
    fixture_fill(model, FILE_SIZE, 7);
    ck_assert_int_eq(hs_os_pwrite(pager.fd, pager.path, model, FILE_SIZE, 0, NULL), H5STORE_OK);
}

static void
teardown(void)
{
    hs_overlay_release(&pager.committed);
    hs_overlay_release(&pager.pending);
    hs_os_closep(&pager.fd);
    fixture_teardown();
}

static void
expect_model(void)
{
    uint8_t bytes[sizeof model];

    ck_assert_int_eq(hs_pager_read(&pager, 0, bytes, sizeof bytes, NULL), H5STORE_OK);
    ck_assert_mem_eq(bytes, model, sizeof model);
    ck_assert_int_eq(hs_pager_read(&pager, 100, bytes, 1000, NULL), H5STORE_OK);
    ck_assert_mem_eq(bytes, model + 100, 1000);
}

static void
write_at(uint64_t address, size_t size, uint64_t seed)
{
    uint8_t bytes[sizeof model];

    fixture_fill(bytes, size, seed);
    ck_assert_int_eq(hs_pager_write(&pager, address, bytes, size, NULL), H5STORE_OK);
    if (pager.in_transaction)
        memcpy(model + address, bytes, size);
}

START_TEST(reading_adds_nothing_to_the_file)
{
    expect_model();
    ck_assert_uint_eq(pager.committed.count + pager.pending.count, 0);
}
END_TEST

START_TEST(write_outside_a_transaction_is_dropped)
{
    write_at(10, 5000, 1);
    ck_assert_uint_eq(pager.pending.count, 0);
    expect_model();
}
END_TEST

START_TEST(pages_that_do_not_change_are_not_held)
{
    pager.in_transaction = true;
    ck_assert_int_eq(hs_pager_write(&pager, 0, model, FILE_SIZE, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_pager_write(&pager, FILE_SIZE, model + FILE_SIZE, 1000, NULL), H5STORE_OK);
    ck_assert_uint_eq(pager.pending.count, 0);
    ck_assert_int_eq(hs_pager_write(&pager, 0, NULL, 0, NULL), H5STORE_OK);
    model[5 * HS_PAGE_SIZE + 3] ^= 1;
    ck_assert_int_eq(hs_pager_write(&pager, 0, model, FILE_SIZE, NULL), H5STORE_OK);
    ck_assert_uint_eq(pager.pending.count, 1);
    ck_assert_ptr_nonnull(hs_overlay_find(&pager.pending, 5));
    expect_model();
}
END_TEST

/* A page changed and changed back is held still: its image in the log must win over the
 * changed one. */
START_TEST(page_that_was_changed_back_is_right)
{
    uint8_t old = model[300];

    pager.in_transaction = true;
    model[300] ^= 0xff;
    ck_assert_int_eq(hs_pager_write(&pager, 300, &model[300], 1, NULL), H5STORE_OK);
    model[300] = old;
    ck_assert_int_eq(hs_pager_write(&pager, 300, &model[300], 1, NULL), H5STORE_OK);
    expect_model();
}
END_TEST

START_TEST(pending_lies_over_committed_over_file)
{
    uint64_t state = 3;
    unsigned writes = 0, commits = 0, aborts = 0;
    uint8_t before[sizeof model];

    for (uint64_t sequence = 1; sequence <= 60; sequence++) {
        memcpy(before, model, sizeof model);
        pager.in_transaction = true;
        for (unsigned i = 0; i < 20; i++, writes++) {
            uint64_t address = fixture_random(&state) % (sizeof model - 700);

            write_at(address, 1 + fixture_random(&state) % 700, fixture_random(&state));
            expect_model();
        }
        if (fixture_random(&state) % 3 == 0) {
            hs_overlay_clear(&pager.pending);
            memcpy(model, before, sizeof model);
            aborts++;
        } else {
            ck_assert_int_eq(hs_overlay_reserve(&pager.committed, pager.pending.count, NULL), 0);
            hs_overlay_merge(&pager.committed, &pager.pending, sequence);
            commits++;
        }
        pager.in_transaction = false;
        expect_model();
    }
    ck_assert_uint_eq(writes, 1200);
    ck_assert_uint_gt(commits, 10);
    ck_assert_uint_gt(aborts, 10);
}
END_TEST

/* Pending pages of an aborted transaction are not seen outside of it. */
START_TEST(pending_is_hidden_outside_a_transaction)
{
    uint8_t byte = model[0] ^ 1, read;

    pager.in_transaction = true;
    ck_assert_int_eq(hs_pager_write(&pager, 0, &byte, 1, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_pager_read(&pager, 0, &read, 1, NULL), H5STORE_OK);
    ck_assert_uint_eq(read, byte);
    pager.in_transaction = false;
    ck_assert_int_eq(hs_pager_read(&pager, 0, &read, 1, NULL), H5STORE_OK);
    ck_assert_uint_eq(read, model[0]);
}
END_TEST

START_TEST(zeroed_pages_are_held_whatever_the_file_has)
{
    pager.in_transaction = true;
    ck_assert_int_eq(hs_pager_zero(&pager, 8 * HS_PAGE_SIZE, 16 * HS_PAGE_SIZE, NULL), H5STORE_OK);
    memset(model + 8 * HS_PAGE_SIZE, 0, 16 * HS_PAGE_SIZE);
    ck_assert_uint_eq(pager.pending.count, 16); /* those beyond the file, too */
    expect_model();
}
END_TEST

START_TEST(failed_read_is_reported)
{
    h5store_err err;
    uint8_t byte;
    int fd = pager.fd;

    pager.fd = -1;
    ck_assert_int_eq(hs_pager_read(&pager, 0, &byte, 1, &err), H5STORE_E_IO);
    ck_assert_ptr_nonnull(strstr(err.message, pager.path));
    pager.in_transaction = true;
    ck_assert_int_eq(hs_pager_write(&pager, 0, "x", 1, &err), H5STORE_E_IO);
    pager.fd = fd;
    ck_assert_uint_eq(pager.pending.count, 0);
}
END_TEST

/* As a damaged address of metadata may be. */
START_TEST(range_beyond_any_file_is_refused)
{
    uint8_t bytes[28];
    h5store_err err;

    for (uint64_t before = 0; before < sizeof bytes; before++)
        ck_assert_int_lt(hs_pager_read(&pager, UINT64_MAX - before, bytes, sizeof bytes, &err), 0);
}
END_TEST

Suite *
pager_suite(void)
{
    Suite *suite = suite_create("pager");
    TCase *layers = tcase_create("layers");

    tcase_add_checked_fixture(layers, setup, teardown);
    tcase_set_timeout(layers, 60);
    tcase_add_test(layers, reading_adds_nothing_to_the_file);
    tcase_add_test(layers, write_outside_a_transaction_is_dropped);
    tcase_add_test(layers, pages_that_do_not_change_are_not_held);
    tcase_add_test(layers, page_that_was_changed_back_is_right);
    tcase_add_test(layers, pending_lies_over_committed_over_file);
    tcase_add_test(layers, pending_is_hidden_outside_a_transaction);
    tcase_add_test(layers, zeroed_pages_are_held_whatever_the_file_has);
    tcase_add_test(layers, failed_read_is_reported);
    tcase_add_test(layers, range_beyond_any_file_is_refused);
    suite_add_tcase(suite, layers);
    return suite;
}
