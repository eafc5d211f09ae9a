/* SPDX-License-Identifier: MIT */
/*
 * Salvaging: real containers, damaged in many ways, into fresh ones.  Nothing wrong may come
 * out, nothing that was removed, and what does not come out must have been counted as lost.
 */
#include "os.h"
#include "support/fixture.h"
#include "support/patient.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *salvage_suite(void);

/* ---- one damage at a time ------------------------------------------------------------ */

static patient found;

START_TEST(a_healthy_container_is_copied)
{
    h5store *store;
    char *text;

    patient_salvage(box_path(), &found);
    patient_expect_all(&found);
    ck_assert_uint_eq(found.named, PATIENT_ITEMS);
    ck_assert_msg(found.losses + found.remarks == 0, "%.1500s", found.text);
    BOX_OK(box_try_open(fixture_path("target.h5"), 0, 10, &store));
    BOX_OK(h5store_get_source(store, "m/f", &text, &box_err));
    ck_assert_str_eq(text, "def f(): pass");
    free(text);
    box_close(store);
    box_expect_sound(); /* the source */
}
END_TEST

START_TEST(the_start_of_the_file_is_not_needed)
{
    static const struct {
        uint64_t offset;
        size_t size;
    } cases[] = {{0, 48},    {0, 256},  {256, 256},   {512, 256},
                 {768, 256}, {0, 4096}, {4096, 4096}, {0, 8192}};
    const char *path = patient_copy();

    patient_zero(path, cases[_i].offset, cases[_i].size);
    patient_salvage(path, &found);
    patient_expect_all(&found);
    ck_assert_uint_eq(found.named, PATIENT_ITEMS);
    ck_assert_uint_eq(found.losses, 0);
}
END_TEST

START_TEST(the_root_is_not_needed)
{
    const char *path = patient_copy();

    patient_zero(path, patient_address("/"), 64);
    patient_salvage(path, &found);
    patient_expect_all(&found);
    ck_assert_uint_eq(found.named, PATIENT_ITEMS);
    ck_assert_ptr_nonnull(strstr(found.text, "the root group is lost"));
    patient_zero(path, 0, 1024); /* and nothing before it */
    patient_salvage(path, &found);
    patient_expect_all(&found);
}
END_TEST

START_TEST(groups_of_arrays_are_not_needed)
{
    const char *path = patient_copy();

    patient_zero(path, patient_address("/blobs"), 64);
    patient_salvage(path, &found);
    patient_expect_all(&found);
    ck_assert_uint_eq(found.named, PATIENT_ITEMS);
    patient_zero(path, patient_address("/kept"), 64);
    patient_salvage(path, &found);
    patient_expect_all(&found);
    ck_assert_uint_eq(found.named, PATIENT_ITEMS);
}
END_TEST

START_TEST(without_items_names_are_made_up)
{
    const char *path = patient_copy();
    unsigned told = 0;

    for (unsigned n = 0; n < PATIENT_ITEMS; n++) /* those that say themselves where they are */
        told += strcmp(patient_collection(n), "m/f") == 0 ||
                strcmp(patient_collection(n), "top") == 0;
    patient_zero(path, patient_address("/items"), 64);
    patient_salvage(path, &found);
    patient_expect_all(&found);
    ck_assert_uint_eq(found.named, told);
    ck_assert_uint_eq(found.unnamed, PATIENT_ITEMS - told);
    ck_assert_uint_ge(found.losses, PATIENT_ITEMS - told);
    ck_assert_ptr_nonnull(strstr(found.text, "/items: a group cannot be read"));
}
END_TEST

/* A function's group, and a group of its results that is large. */
START_TEST(without_a_group_only_its_names_are_lost)
{
    static const char *const groups[] = {"/items/m", "/items/m/f", "/items/m/f/#aa", "/items/top",
                                         "/items/m/g"};
    const char *path = patient_copy();
    unsigned here = 0;

    for (unsigned n = 0; n < PATIENT_ITEMS; n++) {
        const char *collection = patient_collection(n);
        char key[64];

        patient_key(n, key);
        here += _i == 0   ? strcmp(collection, "m/g") == 0 /* m/f says where it is */
                : _i == 1 ? strcmp(collection, "m/f") == 0
                : _i == 2 ? strcmp(collection, "m/f") == 0 && strncmp(key, "aa", 2) == 0
                : _i == 3 ? strcmp(collection, "top") == 0
                          : strcmp(collection, "m/g") == 0;
    }
    ck_assert_uint_ge(here, 10);
    patient_zero(path, patient_address(groups[_i]), 64);
    patient_salvage(path, &found);
    patient_expect_all(&found);
    ck_assert_uint_eq(found.unnamed, here);
    ck_assert_ptr_nonnull(strstr(found.text, groups[_i][7] == 't' ? "/items/top" : "/items/m"));
}
END_TEST

START_TEST(a_damaged_result_is_lost_by_name)
{
    const char *path = patient_copy();
    char key[64], name[128];

    for (unsigned n = 3; n < 12; n++) {
        patient_key(n, key);
        snprintf(name, sizeof name, "/items/%s/#%.2s/%s", patient_collection(n), key, key);
        box_copy(box_path(), path);
        box_flip(path, patient_address(name) + 30);
        patient_salvage(path, &found);
        patient_expect_sum(&found);
        ck_assert_uint_eq(found.done.lost_items, 1);
        ck_assert_uint_eq(found.done.lost_blobs, 0);
        ck_assert_uint_eq(found.losses, 1);
        ck_assert_ptr_nonnull(strstr(found.text, name));
        ck_assert(!found.there[n]);
    }
}
END_TEST

START_TEST(a_damaged_array_costs_its_results)
{
    const char *path = patient_copy();
    h5store_array array;
    h5store_id id;
    h5store *store;
    uint64_t offset;
    unsigned seed, sharing = 0;
    size_t size;
    char text[H5STORE_ID_TEXT_SIZE];

    patient_array(3, 2, &size, &seed); /* which 7 has, too */
    array = box_array(size, seed);
    BOX_OK(h5store_hash(&array, 1, &id, &box_err));
    box_free(&array);
    store = box_open(0);
    offset = box_offset(store, &id);
    box_close(store);
    box_flip(path, offset + 777);
    patient_salvage(path, &found);
    patient_expect_sum(&found);
    for (unsigned n = 0; n < PATIENT_ITEMS; n++) {
        bool has = patient_links(n) > 2 && n / 8 == 0;

        ck_assert_int_eq(found.there[n], !has);
        sharing += has;
    }
    ck_assert_uint_ge(sharing, 2);
    ck_assert_uint_eq(found.done.lost_items, sharing);
    ck_assert_uint_eq(found.done.lost_blobs, 1);
    ck_assert_uint_eq(found.losses, sharing + 1);
    h5store_id_format(&id, text);
    ck_assert_ptr_nonnull(strstr(found.text, text));
    ck_assert_ptr_nonnull(strstr(found.text, "is lost"));
}
END_TEST

/* ---- loops ---------------------------------------------------------------------------- */

START_TEST(files_cut_short)
{
    const char *path = patient_copy();
    long long size = box_size(path);
    unsigned rounds = 0, some = 0;

    for (long long at = size - 100; at > 10000; at -= size / 23) {
        box_copy(box_path(), path);
        ck_assert_int_eq(truncate(path, at), 0);
        patient_salvage(path, &found);
        patient_expect_sum(&found);
        some += found.done.items > 0 && found.done.items < PATIENT_ITEMS;
        rounds++;
    }
    ck_assert_uint_ge(rounds, 20);
    ck_assert_uint_ge(some, 10);
}
END_TEST

/* Does HDF5's metadata begin anywhere in this page? */
static bool
has_metadata(const char *path, long long at)
{
    static const char *const signatures[] = {"OHDR", "OCHK", "FRHP", "FHDB",
                                             "FHIB", "BTHD", "BTLF"};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t page[4096];

    ck_assert_int_eq(pread(fd, page, sizeof page, (off_t)at), sizeof page);
    close(fd);
    for (size_t i = 0; i < sizeof page; i += 8)
        for (size_t k = 0; k < sizeof signatures / sizeof *signatures; k++)
            if (memcmp(page + i, signatures[k], 4) == 0)
                return true;
    return false;
}

/* Each page with metadata in turn, and some others; in several tests. */
#define PAGE_TESTS 6
START_TEST(each_page_wiped_out)
{
    const char *path = patient_copy();
    long long size = box_size(path);
    unsigned rounds = 0, unharmed = 0, lossy = 0;

    for (long long at = 8192 + 4096 * _i; at + 4096 <= size; at += PAGE_TESTS * 4096) {
        if (!has_metadata(box_path(), at) && at / 4096 % 16 != 0)
            continue;
        box_copy(box_path(), path);
        patient_zero(path, (uint64_t)at, 4096);
        patient_salvage(path, &found);
        patient_expect_sum(&found);
        unharmed += found.done.items == PATIENT_ITEMS && found.done.blobs == patient_blobs;
        lossy += found.done.items < PATIENT_ITEMS;
        /* A page has a dozen headers, and each of them is of one thing. */
        ck_assert_uint_ge(found.done.items, PATIENT_ITEMS - 40);
        rounds++;
    }
    ck_assert_uint_ge(rounds, 6);
    ck_assert_uint_ge(lossy, 4);
    ck_assert_uint_lt(unharmed, rounds);
}
END_TEST

/* Bytes turned over here and there, more and more of them. */
START_TEST(bytes_turned_over)
{
    const char *path = patient_copy();
    uint64_t size = (uint64_t)box_size(path), state = 7 + (uint64_t)_i;
    unsigned rounds = 0, lossy = 0;

    for (unsigned flips = 1; flips < 3000; flips += 1 + flips / 3) {
        box_copy(box_path(), path);
        for (unsigned i = 0; i < flips; i++)
            box_flip(path, fixture_random(&state) % size);
        patient_salvage(path, &found);
        /* The counters may be gone; what was saved is right, as patient_salvage made sure. */
        ck_assert_uint_le(found.done.items, PATIENT_ITEMS);
        lossy += found.done.items < PATIENT_ITEMS;
        rounds++;
    }
    ck_assert_uint_ge(rounds, 15);
    ck_assert_uint_ge(lossy, 8);
}
END_TEST

/* ---- the log, and others --------------------------------------------------------------- */

START_TEST(the_log_is_taken_in)
{
    const char *path = patient_copy();
    char log[512];
    h5store *store;
    long long size;

    /* Three results that are only in the log. */
    store = box_open(0);
    for (unsigned n = PATIENT_ITEMS; n < PATIENT_ITEMS + 3; n++)
        box_set(store, "new",
                n == PATIENT_ITEMS       ? "one"
                : n == PATIENT_ITEMS + 1 ? "two"
                                         : "three",
                5000, n);
    box_copy(box_path(), path);
    snprintf(log, sizeof log, "%s-wal", path);
    box_copy(box_log_path(), log);
    box_close(store);

    for (int cut = 0; cut < 3; cut++) {
        h5store_salvaged done;
        const char *target = fixture_path("target.h5");

        unlink(target);
        size = box_size(log);
        if (cut == 1)
            ck_assert_int_eq(truncate(log, size - 10), 0); /* the last record */
        else if (cut == 2)
            patient_zero(log, 0, 1024); /* the header: a log of nobody */
        if (cut != 2)                   /* records need no container to be laid over */
            patient_zero(path, 0, 256);
        BOX_OK(box_try_open(target, H5STORE_CREATE, 10, &store));
        BOX_OK(h5store_salvage(path, store, NULL, &done, &box_err));
        ck_assert_uint_eq(done.items, PATIENT_ITEMS + (cut == 0 ? 3 : cut == 1 ? 2 : 0));
        ck_assert_int_eq(box_has_item(store, "new", "two"), cut < 2);
        ck_assert_int_eq(box_has_item(store, "new", "three"), cut < 1);
        ck_assert_uint_eq(box_totals(store).items, done.items);
        box_close(store);
    }
}
END_TEST

START_TEST(nonsense_in_the_log_is_passed_over)
{
    const char *path = patient_copy();
    char log[512];
    uint8_t nonsense[9000];

    snprintf(log, sizeof log, "%s-wal", path);
    fixture_fill(nonsense, sizeof nonsense, 4);
    box_write(log, nonsense, sizeof nonsense);
    patient_salvage(path, &found);
    patient_expect_all(&found);
    ck_assert_uint_eq(found.remarks, 1);
    ck_assert_ptr_nonnull(strstr(found.text, "-wal"));
}
END_TEST

/* A container in use: salvaged as it was at a commit, and those inside are not in the way. */
START_TEST(others_may_be_inside)
{
    const char *target = fixture_path("target.h5");
    h5store *store = box_open(0), *fresh;
    h5store_salvaged done;

    box_set(store, "new", "one", 5000, 1);
    BOX_OK(box_try_open(target, H5STORE_CREATE, 10, &fresh));
    BOX_OK(h5store_salvage(box_path(), fresh, NULL, &done, &box_err));
    ck_assert_uint_eq(done.items, PATIENT_ITEMS + 1);
    ck_assert_uint_eq(done.lost_items + done.lost_blobs, 0);
    box_expect_verified(fresh);
    box_close(fresh);
    box_set(store, "new", "two", 5000, 2);
    ck_assert(box_has_item(store, "new", "two"));
    box_expect_verified(store);
    box_close(store);
}
END_TEST

static h5store *late_writer; /* stores a last result when the log is about to be opened */

static int
open_and_store(const char *path, int flags, mode_t mode)
{
    h5store *store = late_writer;

    if (store != NULL && strcmp(path, box_log_path()) == 0) {
        late_writer = NULL;
        box_set(store, "late", "key", 3000000, 9); /* the file gets longer by it */
    }
    return hs_os_real.open(path, flags, mode);
}

/* The log says how long the file is by now, whatever it was when it was opened. */
START_TEST(what_came_before_the_log_was_read_is_saved)
{
    const char *target = fixture_path("target.h5");
    h5store *store = box_open(0), *fresh;
    struct hs_os_ops ops = hs_os_real;
    h5store_salvaged done;

    BOX_OK(box_try_open(target, H5STORE_CREATE, 10, &fresh));
    ops.open = open_and_store;
    late_writer = store;
    hs_os_set_ops(&ops);
    BOX_OK(h5store_salvage(box_path(), fresh, NULL, &done, &box_err));
    hs_os_set_ops(NULL);
    ck_assert_ptr_null(late_writer);
    ck_assert_uint_eq(done.items, PATIENT_ITEMS + 1);
    ck_assert_uint_eq(done.lost_items + done.lost_blobs, 0);
    ck_assert(box_has_item(fresh, "late", "key"));
    box_expect_verified(fresh);
    box_close(fresh);
    box_close(store);
}
END_TEST

/* A writer that never rests, in a process of its own. */
_Noreturn static int
write_for_ever(child *parent, void *context __attribute__((unused)))
{
    h5store *store = box_open(0);

    child_tell(parent, 1);
    for (unsigned n = 0;; n++) {
        box_set(store, "busy", n % 2 == 0 ? "even" : "odd", 50000, n);
        if (n % 5 == 4)
            box_remove(store, "busy", "even");
    }
}

START_TEST(a_busy_container_is_salvaged_as_of_one_commit)
{
    child *writer = child_start(write_for_ever, NULL);
    unsigned rounds = 0;

    (void)child_hear(writer);
    for (; rounds < 10; rounds++) {
        const char *target = fixture_path("target.h5");
        h5store_salvaged done;
        h5store *fresh;

        unlink(target);
        BOX_OK(box_try_open(target, H5STORE_CREATE, 10, &fresh));
        BOX_OK(h5store_salvage(box_path(), fresh, NULL, &done, &box_err));
        ck_assert_uint_ge(done.items, PATIENT_ITEMS);
        ck_assert_uint_le(done.items, PATIENT_ITEMS + 2);
        ck_assert_uint_eq(done.lost_items + done.lost_blobs, 0);
        box_expect_verified(fresh);
        box_close(fresh);
    }
    child_kill(writer);
    ck_assert_uint_eq(rounds, 10);
    box_expect_sound();
}
END_TEST

/* ---- compressed arrays ------------------------------------------------------------------- */

/* Arrays that can be compressed, one that fits into a buffer and one that does not. */
static h5store_array
even_array(size_t megabytes)
{
    size_t count = megabytes << 17;
    uint64_t *numbers = malloc(count * 8);

    for (size_t i = 0; i < count; i++)
        numbers[i] = i / 100;
    return (h5store_array){
        .dtype = "'<u8'", .rank = 1, .shape = {count}, .nbytes = count * 8, .data = numbers};
}

START_TEST(compressed_arrays_stay_compressed)
{
    static const size_t megabytes[] = {1, 20};
    const char *path = fixture_path("packed.h5"), *target = fixture_path("target.h5");
    h5store_array arrays[2];
    h5store_id ids[2];
    h5store_item_spec spec = {"m/f", "key", "out", 3, "{}", ids, 2};
    h5store_batch *batch;
    h5store_salvaged done;
    h5store_blob *blob;
    h5store *store;
    bool lost = false;
    uint64_t offset;
    uint8_t *bytes;

    BOX_OK(box_try_open(path, H5STORE_CREATE, 10, &store));
    batch = box_begin(store);
    BOX_OK(h5store_batch_compress(batch, 3, &box_err));
    for (int i = 0; i < 2; i++) {
        arrays[i] = even_array(megabytes[i]);
        BOX_OK(h5store_batch_put(batch, &arrays[i], &ids[i], &box_err));
    }
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    box_close(store);

    BOX_OK(box_try_open(target, H5STORE_CREATE, 10, &store));
    BOX_OK(h5store_salvage(path, store, NULL, &done, &box_err));
    ck_assert_uint_eq(done.items, 1);
    ck_assert_uint_eq(done.blobs, 2);
    box_expect_verified(store);
    for (int i = 0; i < 2; i++) {
        BOX_OK(h5store_blob_open(store, &ids[i], &blob, &box_err));
        ck_assert_uint_lt(h5store_blob_get_info(blob)->stored_bytes, arrays[i].nbytes / 2);
        bytes = malloc(arrays[i].nbytes);
        BOX_OK(h5store_blob_read(blob, bytes, arrays[i].nbytes, H5STORE_CHECK_FULL, &box_err));
        ck_assert_int_eq(memcmp(bytes, arrays[i].data, arrays[i].nbytes), 0);
        free(bytes);
        h5store_blob_close(blob);
        box_free(&arrays[i]);
    }
    box_close(store);

    /* A byte of them turned over, wherever it is. */
    for (offset = (uint64_t)box_size(path) / 2; offset < (uint64_t)box_size(path) && !lost;
         offset += 20000) {
        const char *damaged = fixture_path("damaged.h5");

        unlink(target);
        box_copy(path, damaged);
        box_flip(damaged, offset);
        BOX_OK(box_try_open(target, H5STORE_CREATE, 10, &store));
        BOX_OK(h5store_salvage(damaged, store, NULL, &done, &box_err));
        ck_assert_uint_eq(done.blobs + done.lost_blobs, 2);
        ck_assert_uint_eq(done.items + done.lost_items, 1);
        lost = done.lost_blobs > 0;
        box_close(store);
    }
    ck_assert(lost);
}
END_TEST

/* ---- arguments --------------------------------------------------------------------------- */

START_TEST(what_is_no_container_is_refused)
{
    const char *path = fixture_path("file");
    h5store_salvage_options options = {0};
    h5store_salvaged done;
    uint8_t bytes[20000];
    h5store *store;

    BOX_OK(box_try_open(fixture_path("target.h5"), H5STORE_CREATE, 10, &store));
    BOX_FAILS(H5STORE_E_NOT_FOUND, h5store_salvage(path, store, NULL, &done, &box_err));
    BOX_FAILS(H5STORE_E_NOT_A_STORE,
              h5store_salvage(fixture_folder(), store, NULL, &done, &box_err));
    box_write(path, "", 0);
    BOX_FAILS(H5STORE_E_NOT_A_STORE, h5store_salvage(path, store, NULL, &done, &box_err));
    fixture_fill(bytes, sizeof bytes, 9);
    box_write(path, bytes, sizeof bytes);
    BOX_FAILS(H5STORE_E_NOT_A_STORE, h5store_salvage(path, store, NULL, &done, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_salvage(NULL, store, NULL, &done, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_salvage(path, NULL, NULL, &done, &box_err));
    BOX_FAILS(H5STORE_E_INVALID,
              h5store_salvage(fixture_path("target.h5"), store, NULL, &done, &box_err));
    options.timeout = -1;
    BOX_FAILS(H5STORE_E_INVALID, h5store_salvage(box_path(), store, &options, &done, &box_err));
    box_close(store);
    BOX_OK(box_try_open(fixture_path("target.h5"), H5STORE_READ_ONLY, 10, &store));
    BOX_FAILS(H5STORE_E_READ_ONLY, h5store_salvage(box_path(), store, NULL, &done, &box_err));
    box_close(store);
}
END_TEST

static int
stop_at_once(const h5store_finding *finding __attribute__((unused)), void *context)
{
    ++*(unsigned *)context;
    return 1;
}

static int
stop_soon(uint64_t done, uint64_t total, void *context)
{
    ck_assert_uint_le(done, total);
    return ++*(unsigned *)context == 3;
}

/* Of a damaged container the first finding ends it; of a sound one, word of how far it is. */
START_TEST(the_callbacks_end_it)
{
    unsigned calls = 0;
    h5store_salvage_options options = {_i == 0 ? stop_at_once : NULL, _i == 0 ? NULL : stop_soon,
                                       &calls, 1.0};
    const char *path = patient_copy();
    h5store_salvaged done;
    h5store *store;

    if (_i == 0)
        patient_zero(path, patient_address("/items/m/f"), 64);
    BOX_OK(box_try_open(fixture_path("target.h5"), H5STORE_CREATE, 10, &store));
    BOX_OK(h5store_salvage(path, store, &options, &done, &box_err));
    ck_assert_uint_eq(calls, _i == 0 ? 1 : 3);
    ck_assert_uint_lt(done.items, PATIENT_ITEMS);
    ck_assert_uint_eq(box_totals(store).items, done.items);
    box_expect_verified(store);
    box_close(store);
}
END_TEST

Suite *
salvage_suite(void)
{
    Suite *suite = suite_create("salvage");
    TCase *tcase = tcase_create("salvage");
    TCase *heaps = tcase_create("heaps");

    tcase_add_checked_fixture(tcase, patient_setup, box_teardown);
    tcase_add_test(tcase, a_healthy_container_is_copied);
    tcase_add_loop_test(tcase, the_start_of_the_file_is_not_needed, 0, 8);
    tcase_add_test(tcase, the_root_is_not_needed);
    tcase_add_test(tcase, groups_of_arrays_are_not_needed);
    tcase_add_test(tcase, without_items_names_are_made_up);
    tcase_add_loop_test(tcase, without_a_group_only_its_names_are_lost, 0, 5);
    tcase_add_test(tcase, a_damaged_result_is_lost_by_name);
    tcase_add_test(tcase, a_damaged_array_costs_its_results);
    tcase_add_test(tcase, files_cut_short);
    tcase_add_loop_test(tcase, each_page_wiped_out, 0, PAGE_TESTS);
    tcase_add_loop_test(tcase, bytes_turned_over, 0, 2);
    tcase_add_test(tcase, the_log_is_taken_in);
    tcase_add_test(tcase, nonsense_in_the_log_is_passed_over);
    tcase_add_test(tcase, others_may_be_inside);
    tcase_add_test(tcase, what_came_before_the_log_was_read_is_saved);
    tcase_add_test(tcase, a_busy_container_is_salvaged_as_of_one_commit);
    tcase_add_test(tcase, compressed_arrays_stay_compressed);
    tcase_add_test(tcase, what_is_no_container_is_refused);
    tcase_add_loop_test(tcase, the_callbacks_end_it, 0, 2);
    tcase_add_checked_fixture(heaps, patient_setup_with_heaps, box_teardown);
    tcase_add_test(heaps, a_healthy_container_is_copied);
    tcase_add_test(heaps, groups_of_arrays_are_not_needed);
    tcase_add_test(heaps, without_items_names_are_made_up);
    tcase_add_loop_test(heaps, without_a_group_only_its_names_are_lost, 0, 5);
    tcase_add_test(heaps, a_damaged_result_is_lost_by_name);
    tcase_add_loop_test(heaps, each_page_wiped_out, 0, PAGE_TESTS);
    suite_add_tcase(suite, tcase);
    suite_add_tcase(suite, heaps);
    return suite;
}
