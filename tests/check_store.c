/* SPDX-License-Identifier: MIT */
/*
 * The handle: what may be opened and what is refused, options, forks, threads, closing,
 * totals.  Putting and reading are in check_batch.c and check_reader.c, other programs in
 * check_container.c.
 */
#include "digest.h"
#include "support/child.h"
#include "support/container.h"
#include "support/fixture.h"
#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *store_suite(void);

static int
try_open(const char *path, unsigned flags)
{
    h5store_options options;
    h5store *store = (h5store *)&options;
    int rc;

    h5store_options_init(&options);
    options.flags = flags;
    options.timeout = 1;
    rc = h5store_open(path, &options, &store, &box_err);
    if (rc == H5STORE_OK)
        box_close(store);
    else if (store != (h5store *)&options)
        box_fail("store was written by an open that failed");
    return rc;
}

/* ---- options and arguments ---------------------------------------------------------- */

START_TEST(defaults_are_as_documented)
{
    h5store_options options;

    memset(&options, 0xff, sizeof options);
    h5store_options_init(&options);
    ck_assert_uint_eq(options.flags, 0);
    ck_assert_int_eq(options.durability, H5STORE_DURABLE_PROCESS);
    ck_assert(options.timeout > 29.9 && options.timeout < 30.1);
    ck_assert_int_eq(options.threads, 0);
}
END_TEST

START_TEST(options_out_of_range_are_refused)
{
    h5store_options options;
    h5store *store;
    const struct {
        unsigned flags;
        int durability;
        double timeout;
        int threads;
    } wrong[] = {
        {4, 0, 1, 0},        {H5STORE_CREATE | H5STORE_READ_ONLY, 0, 1, 0},
        {1, 2, 1, 0},        {1, -1, 1, 0},
        {1, 0, -0.1, 0},     {1, 0, (double)NAN, 0},
        {1, 0, HUGE_VAL, 0}, {1, 0, 1e300, 0},
        {1, 0, 1, -1},       {1, 0, 1, 1000000},
    };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        options = (h5store_options){wrong[i].flags, (h5store_durability)wrong[i].durability,
                                    wrong[i].timeout, wrong[i].threads};
        BOX_FAILS(H5STORE_E_INVALID, h5store_open(box_path(), &options, &store, &box_err));
    }
    ck_assert_int_eq(box_size(box_path()), -1);
    ck_assert_int_eq(box_size(box_log_path()), -1);
}
END_TEST

START_TEST(missing_arguments_are_refused)
{
    h5store_array array = box_array(100, 1);
    h5store_totals totals;
    h5store_verify_options verify = {H5STORE_CHECK_FAST, 1, NULL, NULL, NULL};
    uint64_t errors;
    h5store *store, *other;
    h5store_id id;

    BOX_FAILS(H5STORE_E_INVALID, h5store_open(NULL, NULL, &store, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_open("", NULL, &store, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_open(box_path(), NULL, NULL, &box_err));
    ck_assert_int_eq(h5store_close(NULL, NULL), H5STORE_OK);
    store = box_open(H5STORE_CREATE);
    BOX_FAILS(H5STORE_E_INVALID, h5store_flush(NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_stat(NULL, &totals, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_stat(store, NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_put(NULL, &array, &id, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_put(store, NULL, &id, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_discard(NULL, &id, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_discard(store, NULL, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_verify(NULL, &verify, &errors, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_verify(store, NULL, &errors, &box_err));
    BOX_FAILS(H5STORE_E_INVALID, h5store_verify(store, &verify, NULL, &box_err));
    verify.fraction = 1.5;
    BOX_FAILS(H5STORE_E_INVALID, h5store_verify(store, &verify, &errors, &box_err));
    verify.fraction = (double)NAN;
    BOX_FAILS(H5STORE_E_INVALID, h5store_verify(store, &verify, &errors, &box_err));
    /* Without an h5store_err the code alone is told. */
    ck_assert_int_eq(h5store_open(NULL, NULL, &other, NULL), H5STORE_E_INVALID);
    ck_assert_int_eq(h5store_put(store, NULL, &id, NULL), H5STORE_E_INVALID);
    ck_assert_int_eq(h5store_put(store, &array, NULL, NULL), H5STORE_OK);
    box_close(store);
    box_free(&array);
}
END_TEST

START_TEST(handle_tells_what_it_is)
{
    h5store *store = box_open(H5STORE_CREATE), *reader;

    ck_assert_str_eq(h5store_path(store), box_path());
    ck_assert_int_eq(h5store_is_read_only(store), 0);
    ck_assert_str_eq(h5store_notice(store), "");
    reader = box_open(H5STORE_READ_ONLY);
    ck_assert_int_eq(h5store_is_read_only(reader), 1);
    box_close(reader);
    box_close(store);
}
END_TEST

/* ---- what may be opened -------------------------------------------------------------- */

START_TEST(created_container_is_an_ordinary_hdf5_file)
{
    char *text;

    box_make();
    ck_assert_int_eq(box_size(box_log_path()), -1);
    ck_assert_int_eq(box_run("h5ls -r '%s'", box_path()), 0);
    text = box_output("h5dump -A '%s'", box_path());
    ck_assert_ptr_nonnull(strstr(text, "container_id"));
    ck_assert_ptr_nonnull(strstr(text, "\"h5store\""));
    ck_assert_ptr_nonnull(strstr(text, "GROUP \"blobs\""));
    ck_assert_ptr_nonnull(strstr(text, "GROUP \"items\""));
    free(text);
    text = box_output("ls -a '%s' | wc -l", fixture_folder());
    ck_assert_int_eq(atoi(text), 3); /* . .. box.h5: no temporary file is left */
    free(text);
    box_expect_sound();
}
END_TEST

START_TEST(nothing_is_created_unasked)
{
    ck_assert_int_eq(try_open(box_path(), 0), H5STORE_E_NOT_FOUND);
    ck_assert_int_eq(try_open(box_path(), H5STORE_READ_ONLY), H5STORE_E_NOT_FOUND);
    ck_assert_int_eq(box_size(box_path()), -1);
    ck_assert_int_eq(box_size(box_log_path()), -1);
}
END_TEST

/* It is the container that was asked for, and not the log. */
START_TEST(missing_folder_is_called_that)
{
    ck_assert_int_eq(try_open(fixture_path("none/box.h5"), H5STORE_CREATE), H5STORE_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(box_err.message, "none/box.h5'"));
    ck_assert_ptr_nonnull(strstr(box_err.message, "folder"));
    ck_assert_int_eq(box_err.os_errno, ENOENT);
}
END_TEST

/* Files that are not ours stay as they are, with nothing beside them. */
START_TEST(foreign_file_is_refused_and_left_alone)
{
    const char *copy = fixture_path("copy");

    switch (_i) {
    case 0:
        box_write(box_path(), "", 0);
        break;
    case 1:
        box_write(box_path(), "x", 1);
        break;
    case 2:
        box_write(box_path(), "just a text, and longer than any superblock would be, is it not",
                  63);
        break;
    case 3: /* HDF5, but not ours */
        ck_assert_int_ge(H5Fclose(H5Fcreate(box_path(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT)),
                         0);
        break;
    case 4: /* ours, repacked by a stock tool: the contents, but not the space table */
        box_make();
        ck_assert_int_eq(
            box_run("mv '%s' '%s' && h5repack '%s' '%s'", box_path(), copy, copy, box_path()), 0);
        break;
    default: /* the signature alone */
        box_write(box_path(), "\x89HDF\r\n\x1a\n", 8);
        break;
    }
    ck_assert_int_eq(box_run("cp -p '%s' '%s'", box_path(), copy), 0);
    for (unsigned flags = 0; flags <= 2; flags++) {
        ck_assert_int_eq(try_open(box_path(), flags), H5STORE_E_NOT_A_STORE);
        ck_assert_ptr_nonnull(strstr(box_err.message, box_path()));
    }
    ck_assert_int_eq(box_size(box_log_path()), -1);
    ck_assert_int_eq(
        box_run("cmp '%s' '%s' && [ ! '%s' -nt '%s' ]", box_path(), copy, box_path(), copy), 0);
}
END_TEST

START_TEST(folder_and_device_are_refused)
{
    ck_assert_int_eq(mkdir(box_path(), 0777), 0);
    ck_assert_int_eq(try_open(box_path(), H5STORE_CREATE), H5STORE_E_NOT_A_STORE);
    ck_assert_int_eq(try_open(box_path(), H5STORE_READ_ONLY), H5STORE_E_NOT_A_STORE);
    ck_assert_int_eq(try_open("/dev/null", 0), H5STORE_E_NOT_A_STORE);
    ck_assert_int_eq(try_open("/dev/null", H5STORE_READ_ONLY), H5STORE_E_NOT_A_STORE);
}
END_TEST

/* Change bytes of the file and the XXH3 at the end of the page that they are in. */
static void
edit_page(uint64_t page, unsigned at, uint32_t value)
{
    uint8_t bytes[256];
    int fd = open(box_path(), O_RDWR | O_CLOEXEC);

    ck_assert_int_eq(pread(fd, bytes, sizeof bytes, (off_t)page * 256), sizeof bytes);
    hs_put_le32(bytes + at, value);
    hs_put_le64(bytes + 248, hs_sum64(bytes, 248));
    ck_assert_int_eq(pwrite(fd, bytes, sizeof bytes, (off_t)page * 256), sizeof bytes);
    close(fd);
}

START_TEST(newer_format_is_refused_and_left_alone)
{
    const char *copy = fixture_path("copy");

    box_make();
    edit_page(1, 8, 2);
    box_copy(box_path(), copy);
    for (unsigned flags = 0; flags <= 2; flags++)
        ck_assert_int_eq(try_open(box_path(), flags), H5STORE_E_VERSION);
    ck_assert_int_eq(box_run("cmp '%s' '%s'", box_path(), copy), 0);
    ck_assert_int_eq(box_size(box_log_path()), -1);
}
END_TEST

/* A container with something in it, cut off at many lengths: opening or the first look
 * says so, with every flag, and nothing crashes. */
START_TEST(truncated_container_is_refused)
{
    const char *copy = fixture_path("copy");
    h5store *store = box_open(H5STORE_CREATE);
    long long whole;
    unsigned tried = 0;

    box_set(store, "a/b", "key", 100000, 1);
    box_close(store);
    whole = box_size(box_path());
    box_copy(box_path(), copy);
    for (long long length = 8; length < whole; length += length < 1024 ? 100 : 9973, tried++) {
        for (unsigned flags = 0; flags <= 2; flags += 2) {
            int rc;

            box_copy(copy, box_path());
            ck_assert_int_eq(truncate(box_path(), length), 0);
            rc = try_open(box_path(), flags);
            /* Without a stamp, at 256, it could be anybody's. */
            ck_assert_msg(rc == (length < 264 ? H5STORE_E_NOT_A_STORE : H5STORE_E_DAMAGED),
                          "%lld of %lld bytes: %s %s", length, whole, h5store_code_name(rc),
                          box_err.message);
            unlink(box_log_path());
        }
    }
    ck_assert_uint_gt(tried, 20);
}
END_TEST

START_TEST(damaged_frame_is_noticed)
{
    box_make();
    switch (_i) {
    case 0:
        box_flip(box_path(), 40); /* superblock */
        break;
    case 1:
        box_flip(box_path(), 256 + 100); /* stamp */
        break;
    default:
        box_flip(box_path(), 512 + 100); /* space header */
        break;
    }
    ck_assert_int_eq(try_open(box_path(), 0), H5STORE_E_DAMAGED);
    ck_assert_ptr_nonnull(strstr(box_err.message, box_path()));
}
END_TEST

/* Nobody is root for chattr: these need a user whom the file system refuses. */
START_TEST(read_only_folder_can_be_read)
{
    h5store *store = box_open(H5STORE_CREATE);
    h5store_id id = box_put(store, 5000, 1, NULL);
    bool bound;

    box_close(store);
    bound = geteuid() == 0 ? box_run("mount --bind '%s' '%s' && mount -o remount,bind,ro '%s'",
                                     fixture_folder(), fixture_folder(), fixture_folder()) == 0
                           : box_run("chmod a-w '%s' '%s'", fixture_folder(), box_path()) == 0;
    if (bound) {
        ck_assert_int_eq(try_open(box_path(), 0), H5STORE_E_READ_ONLY);
        ck_assert_int_eq(try_open(fixture_path("new.h5"), H5STORE_CREATE), H5STORE_E_READ_ONLY);
        store = box_open(H5STORE_READ_ONLY);
        box_expect_put(store, &id, 5000, 1);
        box_expect_verified(store);
        BOX_FAILS(H5STORE_E_READ_ONLY, h5store_discard(store, &id, &box_err));
        box_close(store);
    }
    if (geteuid() == 0)
        box_run("umount '%s'", fixture_folder());
    if (!bound)
        fprintf(stderr, "SKIPPED: a folder cannot be made read-only here\n");
}
END_TEST

/* ---- forks ---------------------------------------------------------------------------- */

struct forked {
    h5store *store;
    h5store_blob *blob;
    h5store_item *item;
    h5store_batch *batch;
    h5store_blob_cursor *cursor;
    h5store_id id;
};

/* In the child every call says so, and closing everything harms nothing. */
static int
use_inherited(child *parent, void *context)
{
    struct forked *f = context;
    h5store_array array = box_array(100, 5);
    h5store_item_cursor *items;
    h5store_blob_info info;
    h5store_totals totals;
    h5store_batch *batch;
    h5store_blob *blob;
    h5store_item *item;
    const void *data;
    char bytes[5000], *text;
    h5store_id id;

    BOX_FAILS(H5STORE_E_FORKED, h5store_put(f->store, &array, &id, &box_err));
    BOX_FAILS(H5STORE_E_FORKED, h5store_discard(f->store, &f->id, &box_err));
    BOX_FAILS(H5STORE_E_FORKED, h5store_stat(f->store, &totals, &box_err));
    BOX_FAILS(H5STORE_E_FORKED, h5store_flush(f->store, &box_err));
    BOX_FAILS(H5STORE_E_FORKED, h5store_batch_begin(f->store, &batch, &box_err));
    BOX_FAILS(H5STORE_E_FORKED, h5store_batch_put(f->batch, &array, &id, &box_err));
    BOX_FAILS(H5STORE_E_FORKED, h5store_batch_remove(f->batch, "m", "k", &box_err));
    BOX_FAILS(H5STORE_E_FORKED, h5store_blob_open(f->store, &f->id, &blob, &box_err));
    BOX_FAILS(H5STORE_E_FORKED,
              h5store_blob_read(f->blob, bytes, 5000, H5STORE_CHECK_FAST, &box_err));
    BOX_FAILS(H5STORE_E_FORKED, h5store_blob_map(f->blob, &data, &box_err));
    BOX_FAILS(H5STORE_E_FORKED, h5store_item_has(f->store, "m", "k", &box_err));
    BOX_FAILS(H5STORE_E_FORKED, h5store_item_open(f->store, "m", "k", &item, &box_err));
    BOX_FAILS(H5STORE_E_FORKED, h5store_item_get_metadata(f->store, "m", "k", &text, &box_err));
    BOX_FAILS(H5STORE_E_FORKED, h5store_get_source(f->store, "m", &text, &box_err));
    BOX_FAILS(H5STORE_E_FORKED, h5store_blob_cursor_next(f->cursor, &info, &box_err));
    BOX_FAILS(H5STORE_E_FORKED, h5store_item_cursor_open(f->store, NULL, &items, &box_err));
    if (child_hear(parent) == 1) {
        h5store_blob_close(f->blob);
        h5store_item_close(f->item);
        BOX_FAILS(H5STORE_E_FORKED, h5store_batch_commit(f->batch, &box_err));
        h5store_blob_cursor_close(f->cursor);
    }
    box_free(&array);
    box_close(f->store);
    box_close(f->store); /* the memory is the parent's copy still: harmless */
    child_tell(parent, 1);
    child_hear(parent);
    return 0;
}

START_TEST(child_of_a_fork_cannot_harm)
{
    struct forked f = {.store = box_open(H5STORE_CREATE)};
    h5store_array array = box_array(3000, 3);
    h5store_id id;
    child *c;

    f.id = box_put(f.store, 5000, 1, NULL);
    box_set(f.store, "m", "k", 70000, 2);
    BOX_OK(h5store_blob_open(f.store, &f.id, &f.blob, &box_err));
    BOX_OK(h5store_item_open(f.store, "m", "k", &f.item, &box_err));
    BOX_OK(h5store_blob_cursor_open(f.store, &f.cursor, &box_err));
    BOX_OK(h5store_batch_begin(f.store, &f.batch, &box_err));
    BOX_OK(h5store_batch_put(f.batch, &array, &id, &box_err));
    BOX_OK(h5store_batch_set_source(f.batch, "from the parent", "text", &box_err));
    c = child_start(use_inherited, &f);
    child_tell(c, (uint64_t)_i);
    child_hear(c);
    /* The locks and pins are still held: a removal by somebody else keeps the bytes. */
    ck_assert_int_eq(try_open(box_path(), 0), H5STORE_OK);
    BOX_OK(h5store_discard(f.store, &f.id, &box_err));
    box_remove(f.store, NULL, NULL);
    box_expect(f.blob, 5000, 1);
    box_expect(h5store_item_blob(f.item, 0), 70000, 2);
    h5store_blob_close(f.blob);
    h5store_item_close(f.item);
    h5store_blob_cursor_close(f.cursor);
    BOX_OK(h5store_batch_commit(f.batch, &box_err));
    box_put(f.store, 6000, 4, NULL);
    child_tell(c, 2);
    ck_assert_int_eq(child_wait(c), 0);
    box_close(f.store);
    ck_assert_int_eq(box_size(box_log_path()), -1);
    box_free(&array);
    box_expect_sound();
}
END_TEST

static int
open_own(child *parent, void *context)
{
    h5store *store = box_open(0);

    (void)context;
    box_put(store, 5000, 21, NULL);
    box_close(store);
    child_tell(parent, 1);
    return 0;
}

START_TEST(child_of_a_fork_opens_its_own)
{
    h5store *store = box_open(H5STORE_CREATE);
    child *c;
    int code;

    box_put(store, 5000, 20, NULL);
    c = child_start(open_own, NULL);
    child_hear(c);
    ck_assert_int_eq(child_wait(c), 0);
    box_put(store, 5000, 21, &code);
    ck_assert_int_eq(code, H5STORE_EXISTS);
    box_close(store);
    box_expect_sound();
}
END_TEST

/* ---- closing --------------------------------------------------------------------------- */

START_TEST(blob_outlives_the_handle)
{
    h5store *store = box_open(H5STORE_CREATE), *other;
    h5store_id id = box_put(store, 200000, 1, NULL), small = box_put(store, 100, 2, NULL);
    h5store_blob *blob, *inlined;
    const void *data;
    uint64_t full;

    BOX_OK(h5store_blob_open(store, &id, &blob, &box_err));
    BOX_OK(h5store_blob_open(store, &small, &inlined, &box_err));
    BOX_OK(h5store_blob_map(blob, &data, &box_err));
    box_close(store);
    box_expect(blob, 200000, 1);
    box_expect(inlined, 100, 2);
    /* Its pin is still held, so that removing it elsewhere leaves the bytes alone. */
    other = box_open(0);
    BOX_OK(h5store_discard(other, &id, &box_err));
    BOX_OK(h5store_flush(other, &box_err));
    box_expect(blob, 200000, 1);
    full = box_totals(other).disk_bytes;
    h5store_blob_close(inlined);
    h5store_blob_close(blob);
    BOX_OK(h5store_flush(other, &box_err));
    ck_assert_uint_le(box_totals(other).disk_bytes + 190000, full);
    box_close(other);
    ck_assert_int_eq(box_size(box_log_path()), -1);
}
END_TEST

START_TEST(closed_handle_says_so_to_what_is_left_of_it)
{
    h5store *store = box_open(H5STORE_CREATE);
    h5store_array array = box_array(1000, 1);
    h5store_item_cursor *items;
    h5store_blob_cursor *blobs;
    h5store_item_info item;
    h5store_blob_info info;
    h5store_batch *batch, *second;
    h5store_id id;

    box_put(store, 5000, 2, NULL);
    BOX_OK(h5store_batch_begin(store, &batch, &box_err));
    BOX_OK(h5store_batch_begin(store, &second, &box_err));
    BOX_OK(h5store_item_cursor_open(store, NULL, &items, &box_err));
    BOX_OK(h5store_blob_cursor_open(store, &blobs, &box_err));
    BOX_OK(h5store_batch_put(batch, &array, &id, &box_err));
    box_close(store);
    BOX_FAILS(H5STORE_E_CLOSED, h5store_batch_put(batch, &array, &id, &box_err));
    BOX_FAILS(H5STORE_E_CLOSED, h5store_batch_set_source(batch, "a", "b", &box_err));
    BOX_FAILS(H5STORE_E_CLOSED, h5store_batch_commit(batch, &box_err));
    BOX_FAILS(H5STORE_E_CLOSED, h5store_item_cursor_next(items, &item, &box_err));
    BOX_FAILS(H5STORE_E_CLOSED, h5store_blob_cursor_next(blobs, &info, &box_err));
    h5store_batch_abort(second);
    h5store_item_cursor_close(items);
    h5store_blob_cursor_close(blobs);
    ck_assert_int_eq(box_size(box_log_path()), -1); /* the last one let go of it */
    box_free(&array);
    box_expect_sound();
}
END_TEST

struct closer {
    h5store *store;
    atomic_uint puts;
    atomic_bool closed;
};

static void *
put_until_closed(void *context)
{
    struct closer *closer = context;
    h5store_blob *blob = NULL;
    h5store_err err;
    int rc = H5STORE_OK;

    for (unsigned i = 0; rc >= 0; i++) {
        h5store_array array = box_array(20000, i);
        h5store_batch *batch;
        h5store_id id;

        rc = h5store_batch_begin(closer->store, &batch, &err);
        if (rc >= 0) {
            rc = h5store_batch_put(batch, &array, &id, &err);
            if (rc < 0)
                h5store_batch_abort(batch);
            else
                rc = h5store_batch_commit(batch, &err);
        }
        if (rc >= 0)
            atomic_fetch_add(&closer->puts, 1);
        box_free(&array);
    }
    h5store_blob_close(blob);
    return (void *)(intptr_t)rc;
}

/* Threads are inside when it is closed: it waits for them, and they get CLOSED after.  An
 * open cursor keeps the handle's memory for them, as a binding must. */
START_TEST(closing_waits_for_calls_of_other_threads)
{
    struct closer closer = {.store = box_open(H5STORE_CREATE)};
    h5store_blob_cursor *keeper;
    pthread_t threads[3];

    BOX_OK(h5store_blob_cursor_open(closer.store, &keeper, &box_err));
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, put_until_closed, &closer), 0);
    while (atomic_load(&closer.puts) < 30)
        usleep(1000);
    box_close(closer.store);
    for (int i = 0; i < 3; i++) {
        void *rc;

        ck_assert_int_eq(pthread_join(threads[i], &rc), 0);
        ck_assert_int_eq((int)(intptr_t)rc, H5STORE_E_CLOSED);
    }
    h5store_blob_cursor_close(keeper);
    ck_assert_uint_ge(atomic_load(&closer.puts), 30);
    ck_assert_int_eq(box_size(box_log_path()), -1);
    box_expect_sound();
}
END_TEST

/* The unlink of the log at the end must not hit another container's. */
START_TEST(relative_path_means_where_it_was_opened)
{
    const char *elsewhere = fixture_path("elsewhere");
    h5store_options options;
    h5store *store, *other;
    h5store_id id;

    h5store_options_init(&options);
    options.flags = H5STORE_CREATE;
    ck_assert_int_eq(mkdir(elsewhere, 0777), 0);
    ck_assert_int_eq(chdir(elsewhere), 0);
    BOX_OK(h5store_open("box.h5", &options, &other, &box_err));
    id = box_put(other, 5000, 1, NULL);
    ck_assert_int_eq(chdir(fixture_folder()), 0);
    BOX_OK(h5store_open("box.h5", &options, &store, &box_err));
    box_put(store, 5000, 2, NULL);
    ck_assert_int_eq(chdir(elsewhere), 0);
    box_close(store);
    ck_assert_int_gt(box_size("box.h5-wal"), 0);
    ck_assert_int_eq(box_size(box_log_path()), -1);
    box_expect_put(other, &id, 5000, 1);
    box_close(other);
    ck_assert_int_eq(box_size("box.h5-wal"), -1);
    ck_assert_int_eq(chdir("/"), 0);
    box_expect_sound();
}
END_TEST

/* ---- totals ---------------------------------------------------------------------------- */

START_TEST(totals_are_exact)
{
    h5store *store = box_open(H5STORE_CREATE);
    h5store_totals t;
    struct stat file, log;

    t = box_totals(store);
    ck_assert_uint_eq(t.items + t.blobs + t.links + t.blob_bytes + t.linked_bytes + t.free_bytes,
                      0);
    box_put(store, 10000, 1, NULL);
    box_put(store, 10000, 1, NULL);
    box_put(store, 0, 1, NULL);
    box_set(store, "m/f", "a", 10000, 1);
    box_set(store, "m/f", "b", 10000, 1);
    box_set(store, "m/f", "c", 300, 2);
    t = box_totals(store);
    ck_assert_uint_eq(t.items, 3);
    ck_assert_uint_eq(t.blobs, 3);
    ck_assert_uint_eq(t.links, 3);
    ck_assert_uint_eq(t.blob_bytes, 10300);
    ck_assert_uint_eq(t.linked_bytes, 20300);
    ck_assert_int_eq(stat(box_path(), &file), 0);
    ck_assert_int_eq(stat(box_log_path(), &log), 0);
    ck_assert_int_eq(t.file_size, file.st_size);
    ck_assert_int_eq(t.log_bytes, log.st_size);
    ck_assert_int_eq(t.disk_bytes, (file.st_blocks + log.st_blocks) * 512);
    box_set(store, "m/f", "b", 20000, 3); /* replaced */
    box_remove(store, "m/f", "c");
    t = box_totals(store);
    ck_assert_uint_eq(t.items, 2);
    ck_assert_uint_eq(t.blobs, 3);
    ck_assert_uint_eq(t.links, 2);
    ck_assert_uint_eq(t.blob_bytes, 30000);
    ck_assert_uint_eq(t.linked_bytes, 30000);
    box_close(store);
    store = box_open(H5STORE_READ_ONLY);
    ck_assert_uint_eq(box_totals(store).blob_bytes, 30000);
    ck_assert_uint_eq(box_totals(store).log_bytes, 0);
    box_close(store);
    box_expect_sound();
}
END_TEST

Suite *
store_suite(void)
{
    Suite *suite = suite_create("store");
    TCase *arguments = tcase_create("arguments");
    TCase *opening = tcase_create("opening");
    TCase *forks = tcase_create("forks");
    TCase *closing = tcase_create("closing");

    tcase_add_checked_fixture(arguments, box_setup, box_teardown);
    tcase_add_test(arguments, defaults_are_as_documented);
    tcase_add_test(arguments, options_out_of_range_are_refused);
    tcase_add_test(arguments, missing_arguments_are_refused);
    tcase_add_test(arguments, handle_tells_what_it_is);
    tcase_add_checked_fixture(opening, box_setup, box_teardown);
    tcase_set_timeout(opening, 60);
    tcase_add_test(opening, created_container_is_an_ordinary_hdf5_file);
    tcase_add_test(opening, nothing_is_created_unasked);
    tcase_add_test(opening, missing_folder_is_called_that);
    tcase_add_loop_test(opening, foreign_file_is_refused_and_left_alone, 0, 6);
    tcase_add_test(opening, folder_and_device_are_refused);
    tcase_add_test(opening, newer_format_is_refused_and_left_alone);
    tcase_add_test(opening, truncated_container_is_refused);
    tcase_add_loop_test(opening, damaged_frame_is_noticed, 0, 3);
    tcase_add_test(opening, read_only_folder_can_be_read);
    tcase_add_checked_fixture(forks, box_setup, box_teardown);
    tcase_set_timeout(forks, 60);
    tcase_add_loop_test(forks, child_of_a_fork_cannot_harm, 0, 2);
    tcase_add_test(forks, child_of_a_fork_opens_its_own);
    tcase_add_checked_fixture(closing, box_setup, box_teardown);
    tcase_set_timeout(closing, 60);
    tcase_add_test(closing, blob_outlives_the_handle);
    tcase_add_test(closing, closed_handle_says_so_to_what_is_left_of_it);
    tcase_add_test(closing, closing_waits_for_calls_of_other_threads);
    tcase_add_test(closing, relative_path_means_where_it_was_opened);
    tcase_add_test(closing, totals_are_exact);
    suite_add_tcase(suite, arguments);
    suite_add_tcase(suite, opening);
    suite_add_tcase(suite, forks);
    suite_add_tcase(suite, closing);
    return suite;
}
