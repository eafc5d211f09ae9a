/* SPDX-License-Identifier: MIT */
/*
 * One container, many visitors: scopes, other processes, other HDF5 programs, readers, files
 * that are deleted or replaced.  What a killed process leaves is in check_recover.c.
 */
#include "container.h"
#include "h5util.h"
#include "os.h"
#include "superblock.h"
#include "support/child.h"
#include "support/container.h"
#include "support/core.h"
#include "support/fixture.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *container_suite(void);

/* HDF5's own driver writes an attribute of @p size bytes to the root. */
static void
write_with_stock_hdf5(const char *name, size_t size)
{
    hid_t file = H5Fopen(box_path(), H5F_ACC_RDWR, H5P_DEFAULT), type = H5Tcopy(H5T_C_S1);
    hid_t space = H5Screate(H5S_SCALAR), attribute;
    char *text = calloc(1, size + 1);

    ck_assert_int_ge(file, 0);
    memset(text, 'x', size);
    H5Tset_size(type, size);
    attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    ck_assert_int_ge(attribute, 0);
    ck_assert_int_ge(H5Awrite(attribute, type, text), 0);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
    ck_assert_int_ge(H5Fclose(file), 0);
    free(text);
}

/* ---- scopes ------------------------------------------------------------------------- */

static void
make_group(hs_container *c, const char *name, bool commit)
{
    hid_t file;

    BOX_OK(hs_container_write_begin(c, &file, &box_err));
    ck_assert_int_ge(H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)), 0);
    if (commit)
        BOX_OK(hs_container_commit(c, NULL, 0, &box_err));
    else
        hs_container_abort(c);
}

static bool
has_group(hs_container *c, const char *name)
{
    hid_t file;
    htri_t has;

    BOX_OK(hs_container_read_begin(c, &file, &box_err));
    has = H5Lexists(file, name, H5P_DEFAULT);
    hs_container_read_end(c);
    ck_assert_int_ge(has, 0);
    return has > 0;
}

START_TEST(commit_is_seen_by_every_handle_and_abort_by_none)
{
    hs_container *a = core_open(box_path(), H5STORE_CREATE, false),
                 *b = core_open(box_path(), H5STORE_CREATE, false);
    uint64_t sequence;

    BOX_OK(hs_container_read_begin(a, NULL, &box_err));
    sequence = hs_container_sequence(a);
    hs_container_read_end(a);
    for (int round = 0; round < 20; round++) {
        char kept[24], dropped[24];

        snprintf(kept, sizeof kept, "kept%d", round);
        snprintf(dropped, sizeof dropped, "dropped%d", round);
        make_group(round % 2 ? a : b, dropped, false);
        make_group(round % 2 ? a : b, kept, true);
        ck_assert(has_group(a, kept) && has_group(b, kept));
        ck_assert(!has_group(a, dropped) && !has_group(b, dropped));
    }
    BOX_OK(hs_container_read_begin(b, NULL, &box_err));
    ck_assert_uint_eq(hs_container_sequence(b), sequence + 20);
    hs_container_read_end(b);
    BOX_OK(hs_container_close(a, &box_err));
    ck_assert(has_group(b, "kept0") && has_group(b, "kept19"));
    BOX_OK(hs_container_close(b, &box_err));
    ck_assert_int_eq(box_size(box_log_path()), -1);
    ck_assert_int_eq(box_run("h5ls '%s' | grep -c kept | grep -qx 21", box_path()), 0);
}
END_TEST

START_TEST(commit_of_nothing_writes_little)
{
    hs_container *c = core_open(box_path(), H5STORE_CREATE, false);
    long long before;
    hid_t file;

    make_group(c, "g", true);
    before = box_size(box_log_path());
    for (int i = 0; i < 10; i++) {
        BOX_OK(hs_container_write_begin(c, &file, &box_err));
        BOX_OK(hs_container_commit(c, NULL, 0, &box_err));
        BOX_OK(hs_container_write_begin(c, NULL, &box_err));
        BOX_OK(hs_container_commit(c, NULL, 0, &box_err));
    }
    ck_assert_int_le(box_size(box_log_path()) - before, 10 * 400);
    BOX_OK(hs_container_close(c, &box_err));
}
END_TEST

/* Only removals make a reader look again. */
START_TEST(reader_is_told_of_removals)
{
    hs_container *a = core_open(box_path(), H5STORE_CREATE, false),
                 *b = core_open(box_path(), H5STORE_CREATE, false);
    hs_extent extent;
    bool current, reused;

    BOX_OK(hs_container_write_begin(b, NULL, &box_err));
    BOX_OK(hs_space_take(hs_container_space(b), 1, &extent, &reused, &box_err));
    BOX_OK(hs_container_commit(b, NULL, 0, &box_err));
    BOX_OK(hs_container_read_begin(a, NULL, &box_err));
    BOX_OK(hs_container_is_current(a, &current, &box_err));
    ck_assert(current);
    make_group(b, "g", true);
    BOX_OK(hs_container_is_current(a, &current, &box_err));
    ck_assert(current);
    BOX_OK(hs_container_write_begin(b, NULL, &box_err));
    BOX_OK(hs_space_loosen(hs_container_space(b), extent, hs_container_sequence(b), &box_err));
    BOX_OK(hs_container_commit(b, NULL, 0, &box_err));
    make_group(b, "h", true);
    BOX_OK(hs_container_is_current(a, &current, &box_err));
    ck_assert(!current);
    hs_container_read_end(a);
    ck_assert(has_group(a, "h"));
    BOX_OK(hs_container_close(a, &box_err));
    BOX_OK(hs_container_close(b, &box_err));
}
END_TEST

/* ---- applying ------------------------------------------------------------------------ */

START_TEST(flush_shows_everything_to_stock_tools)
{
    h5store *store = box_open(H5STORE_CREATE);

    box_set(store, "first", "key", 2000, 1);
    BOX_OK(h5store_flush(store, &box_err));
    ck_assert(box_stock_sees("/items/first"));
    ck_assert_int_le(box_size(box_log_path()), 4096);
    box_set(store, "second", "key", 2000, 2);
    ck_assert(box_stock_sees("/items/first"));
    BOX_OK(h5store_flush(store, &box_err));
    ck_assert(box_stock_sees("/items/second"));
    BOX_OK(h5store_flush(store, &box_err)); /* nothing to do */
    box_close(store);
}
END_TEST

/* A stock reader has the file open: nothing changes under it, nobody waits, nothing is lost. */
START_TEST(stock_reader_keeps_the_file_as_it_is)
{
    h5store *store = box_open(H5STORE_CREATE);
    hid_t file;

    box_set(store, "first", "key", 2000, 1);
    BOX_OK(h5store_flush(store, &box_err));
    file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);
    ck_assert_int_ge(file, 0);
    box_copy(box_path(), fixture_path("copy"));
    box_set(store, "second", "key", 300, 2);
    box_remove(store, "first", NULL);
    BOX_FAILS(H5STORE_E_BUSY, h5store_flush(store, &box_err));
    ck_assert_int_eq(box_run("cmp '%s' '%s'", box_path(), fixture_path("copy")), 0);
    ck_assert_int_gt(H5Lexists(file, "/items/first", H5P_DEFAULT), 0);
    box_close(store); /* the log stays */
    ck_assert_int_gt(box_size(box_log_path()), 4096);
    store = box_open(0);
    ck_assert_int_eq(h5store_item_has(store, "first", "key", NULL), H5STORE_E_NOT_FOUND);
    BOX_OK(h5store_item_has(store, "second", "key", &box_err));
    ck_assert_int_ge(H5Fclose(file), 0);
    box_close(store);
    ck_assert_int_eq(box_size(box_log_path()), -1);
    ck_assert(box_stock_sees("/items/second") && !box_stock_sees("/items/first"));
    box_expect_sound();
}
END_TEST

/* ---- what others do while the file is synced --------------------------------------------- */

static h5store *flushing, *acting; /* two handles; the second acts while the first syncs */
static struct hs_os_ops sync_ops;
static unsigned syncs;
static ino_t container_inode;
static void (*during_sync)(void);

/* Step 3 of a checkpoint: the container is synced, and no lock is held. */
static int
fdatasync_and_act(int fd)
{
    struct stat status;
    void (*act)(void) = during_sync;

    if (fstat(fd, &status) == 0 && status.st_ino == container_inode && act != NULL) {
        during_sync = NULL;
        syncs++;
        act();
    }
    return hs_os_real.fdatasync(fd);
}

static void
flush_with(void (*act)(void))
{
    struct stat status;

    sync_ops = hs_os_real;
    sync_ops.fdatasync = fdatasync_and_act;
    hs_os_set_ops(&sync_ops);
    flushing = box_open(H5STORE_CREATE);
    acting = box_open(0);
    ck_assert_int_eq(stat(box_path(), &status), 0);
    container_inode = status.st_ino;
    box_put(acting, 5000, 1, NULL);
    box_put(flushing, 5000, 2, NULL);
    during_sync = act;
    BOX_OK(h5store_flush(flushing, &box_err));
    ck_assert_uint_eq(syncs, 1);
}

static void
close_both(void)
{
    box_close(flushing);
    box_close(acting);
    hs_os_set_ops(NULL);
    box_expect_sound();
}

static void
only_count(void)
{
}

/* Nothing is applied while a stock reader has the file open, but arrays are as safe as ever. */
START_TEST(arrays_are_synced_while_a_stock_reader_is_there)
{
    hid_t file;

    flush_with(only_count);
    file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);
    ck_assert_int_ge(file, 0);
    box_put(flushing, 5000, 3, NULL);
    during_sync = only_count;
    BOX_FAILS(H5STORE_E_BUSY, h5store_flush(flushing, &box_err));
    ck_assert_uint_eq(syncs, 2);
    ck_assert_int_gt(box_size(box_log_path()), 4096);
    ck_assert_int_ge(H5Fclose(file), 0);
    close_both();
}
END_TEST

static void
start_over_and_commit(void)
{
    BOX_OK(h5store_flush(acting, &box_err)); /* the log starts over */
    for (unsigned i = 10; i < 14; i++)
        box_put(acting, 5000, i, NULL);
    (void)box_totals(flushing); /* another thread of the one that flushes reads */
}

/* How far it had come before the log started over means nothing in the log of now.  Who opens
 * the container next knows only what the log and the file say. */
START_TEST(records_are_given_up_in_their_own_epoch_only)
{
    h5store *next;

    flush_with(start_over_and_commit);
    next = box_open(0);
    ck_assert_uint_eq(box_totals(next).blobs, 6);
    box_expect_verified(next);
    box_close(next);
    close_both();
}
END_TEST

static h5store_blob *held; /* keeps its space from being reclaimed, which would be a commit */

/* Applies at once, and does not sync. */
static void
remove_and_apply(void)
{
    h5store_array array = box_array(5000, 1);
    h5store_id id;

    BOX_OK(h5store_hash(&array, 1, &id, &box_err));
    BOX_OK(h5store_blob_open(acting, &id, &held, &box_err));
    BOX_OK(h5store_discard(acting, &id, &box_err));
    box_free(&array);
}

/* What was applied after the sync began may not be on the disk: its records must stay. */
START_TEST(records_stay_until_they_are_synced)
{
    flush_with(remove_and_apply);
    ck_assert_int_gt(box_size(box_log_path()), 4096);
    BOX_OK(h5store_flush(flushing, &box_err));
    ck_assert_int_eq(box_size(box_log_path()), 4096);
    h5store_blob_close(held);
    close_both();
}
END_TEST

/* ---- other programs that write --------------------------------------------------------- */

START_TEST(change_by_a_stock_program_is_adopted)
{
    size_t size = _i == 0 ? 10 : 50000; /* in the root's header, or at the end of the file */
    h5store *store = box_open(H5STORE_CREATE);
    h5store_id id = box_put(store, 100000, 1, NULL);
    char *text;

    if (_i == 2) { /* while we have it open, with nothing in the log */
        BOX_OK(h5store_flush(store, &box_err));
        write_with_stock_hdf5("theirs", size);
    } else {
        box_close(store);
        write_with_stock_hdf5("theirs", size);
        store = box_open(0);
    }
    box_expect_put(store, &id, 100000, 1);
    for (unsigned i = 2; i < 8; i++)
        box_put(store, 100000, i, NULL); /* must not land on their bytes */
    BOX_OK(h5store_flush(store, &box_err));
    box_expect_verified(store);
    box_close(store);
    text = box_output("h5dump -a /theirs '%s'", box_path());
    ck_assert_ptr_nonnull(strstr(text, "xxxxxxxxxx"));
    free(text);
    box_expect_sound();
}
END_TEST

/* One handle meets the change while it has nothing to apply, another adopts it and commits:
 * the first must see that, and not give the record up as if it were none of ours. */
START_TEST(adopted_change_is_adopted_for_all)
{
    hs_container *a = core_open(box_path(), H5STORE_CREATE, false),
                 *b = core_open(box_path(), H5STORE_CREATE, false), *next;

    make_group(a, "first", true);
    BOX_OK(hs_container_checkpoint(a, true, &box_err));
    write_with_stock_hdf5("theirs", 50000);
    BOX_OK(hs_container_checkpoint(a, true, &box_err));
    make_group(b, "second", true);
    BOX_OK(hs_container_checkpoint(a, true, &box_err));
    next = core_open(box_path(), H5STORE_CREATE, false);
    ck_assert(has_group(next, "first") && has_group(next, "second"));
    BOX_OK(hs_container_close(next, &box_err));
    BOX_OK(hs_container_close(a, &box_err));
    BOX_OK(hs_container_close(b, &box_err));
    ck_assert(box_stock_sees("/second"));
    ck_assert_int_eq(box_run("h5dump -a /theirs '%s'", box_path()), 0);
}
END_TEST

START_TEST(change_beside_a_full_log_is_refused)
{
    h5store *store;

    box_leave_log();
    write_with_stock_hdf5("theirs", 50000);
    box_copy(box_path(), fixture_path("copy"));
    ck_assert_int_eq(box_try_open(box_path(), 0, 5, &store), H5STORE_E_CHANGED);
    ck_assert_int_eq(box_try_open(box_path(), H5STORE_READ_ONLY, 5, &store), H5STORE_E_CHANGED);
    ck_assert_ptr_nonnull(strstr(box_err.message, box_path()));
    ck_assert_int_eq(box_run("cmp '%s' '%s'", box_path(), fixture_path("copy")), 0);
}
END_TEST

START_TEST(mark_of_a_killed_stock_writer_is_respected)
{
    uint8_t bytes[HS_SUPERBLOCK_SIZE];
    int fd;
    h5store *store;

    box_make();
    fd = open(box_path(), O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(pread(fd, bytes, sizeof bytes, 0), sizeof bytes);
    hs_superblock_set_mark(bytes, true);
    ck_assert_int_eq(pwrite(fd, bytes, sizeof bytes, 0), sizeof bytes);
    ck_assert_int_eq(box_try_open(box_path(), 0, 5, &store), H5STORE_E_CHANGED);
    ck_assert_ptr_nonnull(strstr(box_err.message, "h5clear"));
    ck_assert_int_eq(box_run("h5clear -s '%s'", box_path()), 0);
    close(fd);
    box_expect_sound();
}
END_TEST

/* ---- files that go away ----------------------------------------------------------------- */

START_TEST(deleted_container_is_noticed)
{
    h5store *store = box_open(H5STORE_CREATE), *other;
    h5store_id id = box_put(store, 50000, 1, NULL), mine;
    h5store_array array = box_array(1000, 2);
    h5store_totals totals;
    h5store_blob *blob, *again;

    BOX_OK(h5store_blob_open(store, &id, &blob, &box_err));
    switch (_i) {
    case 0:
        ck_assert_int_eq(unlink(box_path()), 0);
        break;
    case 1:
        ck_assert_int_eq(unlink(box_log_path()), 0);
        break;
    case 2:
        ck_assert_int_eq(unlink(box_path()) + unlink(box_log_path()), 0);
        break;
    default: /* replaced by another */
        ck_assert_int_eq(box_try_open(fixture_path("new.h5"), H5STORE_CREATE, 5, &other), 0);
        box_close(other);
        ck_assert_int_eq(rename(fixture_path("new.h5"), box_path()), 0);
        break;
    }
    BOX_FAILS(H5STORE_E_CHANGED, h5store_put(store, &array, &mine, &box_err));
    BOX_FAILS(H5STORE_E_CHANGED, h5store_stat(store, &totals, &box_err));
    BOX_FAILS(H5STORE_E_CHANGED, h5store_blob_open(store, &id, &again, &box_err));
    ck_assert_ptr_nonnull(strstr(box_err.message, "open it again"));
    box_expect(blob, 50000, 1); /* what was looked up is there still */
    h5store_blob_close(blob);
    /* Another container at the place, in use, must come to no harm by our closing. */
    other = _i == 1 ? NULL : box_open(H5STORE_CREATE);
    if (other != NULL)
        mine = box_put(other, 6000, 3, NULL);
    h5store_close(store, NULL);
    if (other != NULL) {
        box_expect_put(other, &mine, 6000, 3);
        box_put(other, 6000, 4, NULL);
        box_close(other);
    }
    box_expect_sound();
    box_free(&array);
}
END_TEST

static int
open_and_put(child *parent, void *context)
{
    h5store *store;

    child_hear(parent);
    store = box_open(0);
    *(h5store_id *)context = box_put(store, 70000, 1, NULL);
    child_tell(parent, 1);
    child_hear(parent);
    box_close(store);
    return 0;
}

/* Has a process the file open? */
static bool
has_open(pid_t pid, const char *path)
{
    char link[64], target[4096];

    for (int fd = 0; fd < 256; fd++) {
        ssize_t length;

        snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)pid, fd);
        length = readlink(link, target, sizeof target - 1);
        if (length < 0)
            continue;
        target[length] = '\0';
        if (strcmp(target, path) == 0)
            return true;
    }
    return false;
}

/* Who waits while the last user removes the log must not go on with that one: the next to come
 * would make another, and what is in the first is lost.  NFS deletes a file that is open by
 * giving it another name, so it keeps its link. */
START_TEST(removed_log_that_keeps_its_link_is_not_joined)
{
    struct flock member = {.l_type = F_WRLCK, .l_start = INT64_C(1) << 62, .l_len = 1};
    h5store_id *id = child_shared_memory(sizeof *id);
    h5store *store;
    child *c;
    int log;

    box_make();
    c = child_start(open_and_put, id); /* before the log is open here: it would share the lock */
    log = open(box_log_path(), O_RDWR | O_CREAT, 0600);
    ck_assert_int_eq(fcntl(log, F_OFD_SETLK, &member), 0);
    child_tell(c, 1);
    while (!has_open(child_pid(c), box_log_path()))
        usleep(1000);
    ck_assert_int_eq(rename(box_log_path(), fixture_path(".nfs0001")), 0);
    close(log);
    child_hear(c);
    store = box_open(0);
    box_expect_put(store, id, 70000, 1);
    box_put(store, 80000, 2, NULL);
    child_tell(c, 1);
    ck_assert_int_eq(child_wait(c), 0);
    box_close(store);
    box_expect_sound();
}
END_TEST

/* ---- waiting ------------------------------------------------------------------------------ */

static int
hold_write(child *parent, void *context)
{
    hs_container *c = core_open(box_path(), H5STORE_CREATE, false);

    (void)context;
    child_assert(hs_container_write_begin(c, NULL, &box_err) == H5STORE_OK);
    child_tell(parent, 1);
    child_hear(parent);
    hs_container_abort(c);
    hs_container_close(c, NULL);
    return 0;
}

START_TEST(waiting_for_a_lock_ends)
{
    h5store_array array = box_array(1000, 1);
    h5store *store, *late;
    child *c;
    h5store_id id;

    box_make();
    ck_assert_int_eq(box_try_open(box_path(), 0, 0.2, &store), H5STORE_OK);
    c = child_start(hold_write, NULL);
    child_hear(c);
    BOX_FAILS(H5STORE_E_BUSY, h5store_put(store, &array, &id, &box_err));
    ck_assert_ptr_nonnull(strstr(box_err.message, box_path()));
    ck_assert_int_eq(box_try_open(box_path(), 0, 0.2, &late), H5STORE_E_BUSY);
    ck_assert_int_eq(box_try_open(box_path(), 0, 0, &late), H5STORE_E_BUSY);
    ck_assert_uint_eq(box_totals(store).blobs, 0); /* reading waits for no writer */
    child_tell(c, 1);
    ck_assert_int_eq(child_wait(c), 0);
    BOX_OK(h5store_put(store, &array, &id, &box_err));
    box_close(store);
    box_free(&array);
    box_expect_sound();
}
END_TEST

/* A writer that is killed with the lock held lets it go. */
START_TEST(lock_of_a_killed_process_is_free)
{
    h5store *store = box_open(H5STORE_CREATE);
    child *c = child_start(hold_write, NULL);

    child_hear(c);
    child_kill(c);
    box_put(store, 1000, 1, NULL);
    box_close(store);
    box_expect_sound();
}
END_TEST

/* ---- reading only -------------------------------------------------------------------------- */

START_TEST(reader_refuses_to_write)
{
    h5store_array array = box_array(1000, 1);
    h5store_batch *batch;
    h5store *store;
    h5store_id id = {{0}};

    box_make();
    store = box_open(H5STORE_READ_ONLY);
    BOX_FAILS(H5STORE_E_READ_ONLY, h5store_put(store, &array, &id, &box_err));
    BOX_FAILS(H5STORE_E_READ_ONLY, h5store_discard(store, &id, &box_err));
    BOX_FAILS(H5STORE_E_READ_ONLY, h5store_batch_begin(store, &batch, &box_err));
    BOX_OK(h5store_flush(store, &box_err));
    box_close(store);
    ck_assert_int_eq(box_size(box_log_path()), -1);
    box_free(&array);
}
END_TEST

/* Opened when nobody wrote, so that there was no log; then somebody writes, removes and
 * reuses.  What the reader holds and finds must stay true (I3, I4). */
START_TEST(reader_without_a_log_is_safe_from_later_writers)
{
    h5store *store = box_open(H5STORE_CREATE), *reader;
    h5store_id id = box_put(store, 300000, 1, NULL), newer;
    h5store_array array = box_array(300000, 1);
    h5store_blob *blob;
    const void *data;

    box_close(store);
    reader = box_open(H5STORE_READ_ONLY);
    BOX_OK(h5store_blob_open(reader, &id, &blob, &box_err));
    BOX_OK(h5store_blob_map(blob, &data, &box_err));
    store = box_open(0);
    BOX_OK(h5store_discard(store, &id, &box_err));
    (void)h5store_flush(store, NULL); /* may say that the reader is in the way */
    newer = box_put(store, 300000, 2, NULL);
    ck_assert_mem_eq(data, array.data, 300000);
    box_expect(blob, 300000, 1);
    h5store_blob_close(blob);
    box_close(reader);
    reader = box_open(H5STORE_READ_ONLY);
    box_expect_put(reader, &newer, 300000, 2);
    box_close(reader);
    box_close(store);
    box_free(&array);
    box_expect_sound();
}
END_TEST

/* With a log it sees every commit. */
START_TEST(reader_beside_a_writer_is_up_to_date)
{
    h5store *store = box_open(H5STORE_CREATE), *reader = box_open(H5STORE_READ_ONLY);

    for (unsigned i = 0; i < 20; i++) {
        h5store_id id = box_put(store, 3000, i, NULL);

        box_expect_put(reader, &id, 3000, i);
        if (i % 5 == 0)
            BOX_OK(h5store_flush(store, &box_err));
    }
    box_close(store);
    ck_assert_uint_eq(box_totals(reader).blobs, 20);
    box_close(reader);
    box_expect_sound();
}
END_TEST

/* ---- the suite ------------------------------------------------------------------------------ */

static TCase *
add_case(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);

    tcase_add_checked_fixture(tcase, box_setup, box_teardown);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return tcase;
}

Suite *
container_suite(void)
{
    Suite *suite = suite_create("container");
    TCase *scopes = add_case(suite, "scopes");
    TCase *applying = add_case(suite, "applying");
    TCase *syncing = add_case(suite, "syncing");
    TCase *programs = add_case(suite, "other programs");
    TCase *files = add_case(suite, "files");
    TCase *waiting = add_case(suite, "waiting");
    TCase *reading = add_case(suite, "reading only");

    tcase_add_test(scopes, commit_is_seen_by_every_handle_and_abort_by_none);
    tcase_add_test(scopes, commit_of_nothing_writes_little);
    tcase_add_test(scopes, reader_is_told_of_removals);
    tcase_add_test(applying, flush_shows_everything_to_stock_tools);
    tcase_add_test(applying, stock_reader_keeps_the_file_as_it_is);
    tcase_add_test(syncing, records_are_given_up_in_their_own_epoch_only);
    tcase_add_test(syncing, records_stay_until_they_are_synced);
    tcase_add_test(syncing, arrays_are_synced_while_a_stock_reader_is_there);
    tcase_add_loop_test(programs, change_by_a_stock_program_is_adopted, 0, 3);
    tcase_add_test(programs, adopted_change_is_adopted_for_all);
    tcase_add_test(programs, change_beside_a_full_log_is_refused);
    tcase_add_test(programs, mark_of_a_killed_stock_writer_is_respected);
    tcase_add_loop_test(files, deleted_container_is_noticed, 0, 4);
    tcase_add_test(files, removed_log_that_keeps_its_link_is_not_joined);
    tcase_add_test(waiting, waiting_for_a_lock_ends);
    tcase_add_test(waiting, lock_of_a_killed_process_is_free);
    tcase_add_test(reading, reader_refuses_to_write);
    tcase_add_test(reading, reader_without_a_log_is_safe_from_later_writers);
    tcase_add_test(reading, reader_beside_a_writer_is_up_to_date);
    return suite;
}
