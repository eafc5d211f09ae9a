/* SPDX-License-Identifier: MIT */
/*
 * See patient.h.
 */
#include "patient.h"
#include "common.h"
#include "fixture.h"
#include "h5util.h"
#include "zoo.h"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define SEED_KEPT 5000u
#define SEED_SHARED 6000u

/* ---- what there is ---------------------------------------------------------------- */

/* Of every four results one is of each function but m/f, which has the rest. */
const char *
patient_collection(unsigned n)
{
    static const char *const others[] = {"m/g", "package.module/function", "top"};

    return n % 8 < 3 ? others[n % 8] : "m/f";
}

/* Most keys of m/f begin alike, so that a group becomes large; others do not. */
void
patient_key(unsigned n, char key[64])
{
    if (n % 8 >= 4)
        snprintf(key, 64, "aa%08x-and-so-on", n * 2654435761u);
    else
        snprintf(key, 64, "%02x%08x", n % 16 + 16, n * 2654435761u);
}

size_t
patient_links(unsigned n)
{
    return n % 4;
}

void
patient_array(unsigned n, size_t link, size_t *size, unsigned *seed)
{
    static const size_t sizes[] = {40, 700, 30000, 512};

    if (link == 2) { /* two results share it */
        *size = 9000;
        *seed = SEED_SHARED + n / 8;
    } else {
        *size = sizes[(n / 4 + link) % 4];
        *seed = 10 * n + (unsigned)link;
    }
}

static size_t
patient_output(unsigned n, char *output)
{
    size_t size = n % 17 == 0 ? 40000 : n % 5 == 0 ? 3000 : 20;

    fixture_fill(output, size, n);
    snprintf(output, 16, "result %u", n);
    return size;
}

static void
patient_put(h5store_batch *batch, unsigned n)
{
    static char output[40000];
    h5store_id ids[4];
    char key[64], metadata[64];
    h5store_item_spec spec = {patient_collection(n),     key,      output,
                              patient_output(n, output), metadata, ids,
                              patient_links(n)};

    patient_key(n, key);
    snprintf(metadata, sizeof metadata, "{\"number\": %u}", n);
    for (size_t i = 0; i < spec.link_count; i++) {
        h5store_array array;
        unsigned seed;
        size_t size;

        patient_array(n, i, &size, &seed);
        array = box_array(size, seed);
        BOX_OK(h5store_batch_put(batch, &array, &ids[i], &box_err));
        box_free(&array);
    }
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
}

static void
patient_make(void)
{
    h5store *store = box_open(H5STORE_CREATE);
    h5store_batch *batch = box_begin(store);

    /* Those that go first leave their traces among those that stay. */
    for (unsigned n = 0; n < PATIENT_ITEMS + PATIENT_REMOVED; n++) {
        patient_put(batch, n % 2 == 0 ? n : PATIENT_ITEMS + PATIENT_REMOVED - n);
        if (n % 50 == 49) {
            BOX_OK(h5store_batch_commit(batch, &box_err));
            batch = box_begin(store);
        }
    }
    patient_put(batch, 0);
    BOX_OK(h5store_batch_set_source(batch, "m/f", "def f(): pass", &box_err));
    BOX_OK(h5store_batch_set_source(batch, "top", "def top(): pass", &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    for (unsigned i = 0; i < PATIENT_KEPT; i++)
        (void)box_put(store, i % 2 == 0 ? 20000 : 300, SEED_KEPT + i, NULL);
    batch = box_begin(store);
    for (unsigned n = PATIENT_ITEMS; n < PATIENT_ITEMS + PATIENT_REMOVED; n++) {
        char key[64];

        patient_key(n, key);
        BOX_OK(h5store_batch_remove(batch, patient_collection(n), key, &box_err));
    }
    BOX_OK(h5store_batch_commit(batch, &box_err));
    ck_assert_uint_eq(box_totals(store).items, PATIENT_ITEMS);
    box_expect_verified(store);
    box_close(store);
}

/* ---- the target --------------------------------------------------------------------- */

static int
patient_note(const h5store_finding *finding, void *context)
{
    patient *found = context;
    size_t used = strlen(found->text);

    ck_assert_ptr_nonnull(finding->object);
    found->losses += finding->is_error != 0;
    found->remarks += finding->is_error == 0;
    snprintf(found->text + used, sizeof found->text - used, "%s: %s\n", finding->object,
             finding->text);
    return 0;
}

/* A result of the target: the one that its output says, whole, and under the right name. */
static void
patient_check_item(h5store *store, const h5store_item_info *info, patient *found)
{
    static char output[40000];
    bool recovered = strncmp(info->collection, "recovered", 9) == 0;
    h5store_item *item;
    const char *bytes;
    size_t size;
    char key[64], metadata[64];
    unsigned n;

    BOX_OK(h5store_item_open(store, info->collection, info->key, &item, &box_err));
    bytes = h5store_item_output(item, &size);
    ck_assert_uint_ge(size, 16);
    ck_assert_int_eq(sscanf(bytes, "result %u", &n), 1);
    ck_assert_msg(n < PATIENT_ITEMS, "result %u was removed, and is there again", n);
    ck_assert_msg(!found->there[n], "result %u is there twice", n);
    found->there[n] = true;
    ck_assert_uint_eq(size, patient_output(n, output));
    ck_assert_mem_eq(bytes, output, size);
    snprintf(metadata, sizeof metadata, "{\"number\": %u}", n);
    ck_assert_str_eq(h5store_item_metadata(item), metadata);
    patient_key(n, key);
    if (!recovered) {
        ck_assert_str_eq(info->collection, patient_collection(n));
        ck_assert_str_eq(info->key, key);
    } else if (strncmp(info->key, "at-", 3) != 0) {
        ck_assert_str_eq(info->key, key);
    }
    found->named += !recovered;
    found->unnamed += recovered;
    ck_assert_uint_eq(h5store_item_link_count(item), patient_links(n));
    for (size_t i = 0; i < patient_links(n); i++) {
        unsigned seed;

        patient_array(n, i, &size, &seed);
        box_expect(h5store_item_blob(item, i), size, seed);
    }
    h5store_item_close(item);
}

static void
patient_check_target(h5store *store, patient *found)
{
    h5store_item_cursor *cursor;
    h5store_item_info info;
    int rc;

    BOX_OK(h5store_item_cursor_open(store, NULL, &cursor, &box_err));
    while ((rc = BOX_OK(h5store_item_cursor_next(cursor, &info, &box_err))) == H5STORE_OK)
        if (info.key != NULL)
            patient_check_item(store, &info, found);
    ck_assert_int_eq(rc, H5STORE_DONE);
    h5store_item_cursor_close(cursor);
    for (unsigned i = 0; i < PATIENT_KEPT; i++) {
        h5store_array array = box_array(i % 2 == 0 ? 20000 : 300, SEED_KEPT + i);
        h5store_id id;

        BOX_OK(h5store_hash(&array, 1, &id, &box_err));
        found->kept += h5store_discard(store, &id, &box_err) == H5STORE_OK;
        box_free(&array);
    }
}

/* Salvage a file into a fresh container, and look at everything in that. */
void
patient_salvage(const char *path, patient *found)
{
    const char *target = fixture_path("target.h5");
    h5store_salvage_options options = {patient_note, NULL, found, 1.0};
    h5store_totals totals;
    h5store *store;

    memset(found, 0, sizeof *found);
    unlink(target);
    BOX_OK(box_try_open(target, H5STORE_CREATE, 10, &store));
    BOX_OK(h5store_salvage(path, store, &options, &found->done, &box_err));
    box_expect_verified(store);
    totals = box_totals(store);
    ck_assert_uint_eq(totals.items, found->done.items);
    ck_assert_uint_eq(totals.blobs, found->done.blobs);
    patient_check_target(store, found);
    ck_assert_uint_eq(found->named + found->unnamed, found->done.items);
    ck_assert_uint_eq(found->unnamed, found->done.unnamed_items);
    box_close(store);
}

const char *
patient_copy(void)
{
    const char *path = fixture_path("damaged.h5");

    box_copy(box_path(), path);
    return path;
}

void
patient_zero(const char *path, uint64_t offset, size_t size)
{
    static const uint8_t zeros[65536];
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    ck_assert_uint_le(size, sizeof zeros);
    ck_assert_int_eq(pwrite(fd, zeros, size, (off_t)offset), (ssize_t)size);
    close(fd);
}

/* The address of the object header of something in the source. */
uint64_t
patient_address(const char *path)
{
    hid_t file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);
    uint64_t address = 0;

    ck_assert_int_ge(file, 0);
    if (strcmp(path, "/") == 0) {
        uint8_t bytes[8];
        int fd = open(box_path(), O_RDONLY | O_CLOEXEC);

        ck_assert_int_eq(pread(fd, bytes, 8, 36), 8);
        address = hs_get_le64(bytes);
        close(fd);
    } else {
        ck_assert_int_eq(hs_h5_find(file, path, &address, &box_err), H5STORE_OK);
    }
    H5Fclose(file);
    return address;
}

uint64_t patient_blobs;

void
patient_expect_all(const patient *found)
{
    ck_assert_msg(found->done.items == PATIENT_ITEMS && found->done.blobs == patient_blobs &&
                      found->done.lost_items == 0 && found->done.lost_blobs == 0 &&
                      found->kept == PATIENT_KEPT,
                  "%u items of %u, %u blobs of %u, %u kept; lost %u and %u\n%.1500s",
                  (unsigned)found->done.items, PATIENT_ITEMS, (unsigned)found->done.blobs,
                  (unsigned)patient_blobs, found->kept, (unsigned)found->done.lost_items,
                  (unsigned)found->done.lost_blobs, found->text);
}

void
patient_expect_sum(const patient *found)
{
    ck_assert_msg(found->done.items + found->done.lost_items == PATIENT_ITEMS &&
                      found->done.blobs + found->done.lost_blobs == patient_blobs,
                  "%u items and %u lost of %u, %u blobs and %u lost of %u\n%.1500s",
                  (unsigned)found->done.items, (unsigned)found->done.lost_items, PATIENT_ITEMS,
                  (unsigned)found->done.blobs, (unsigned)found->done.lost_blobs,
                  (unsigned)patient_blobs, found->text);
}

/* What the container was made for: it holds all results. */
static void
patient_fill(void)
{
    h5store *store;

    patient_make();
    store = box_open(0);
    patient_blobs = box_totals(store).blobs;
    box_close(store);
}

void
patient_setup(void)
{
    box_setup();
    patient_fill();
}

void
patient_setup_with_heaps(void)
{
    static const char *const groups[] = {"/items/m", "/items/m/f", "/items/m/f/#aa"};
    hid_t file, group;
    H5G_info_t info;

    box_setup();
    zoo_make_with_heaps();
    zoo_make_groups(groups, 3);
    patient_fill();
    file = H5Fopen(box_path(), H5F_ACC_RDONLY, H5P_DEFAULT);
    for (unsigned i = 0; i < 2; i++) {
        group = H5Gopen2(file, i == 0 ? "/blobs" : "/items/m/f/#aa", H5P_DEFAULT);
        ck_assert_int_ge(H5Gget_info(group, &info), 0);
        ck_assert_int_eq(info.storage_type, H5G_STORAGE_TYPE_DENSE);
        H5Gclose(group);
    }
    H5Fclose(file);
}
