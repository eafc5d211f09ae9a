/* SPDX-License-Identifier: MIT */
/*
 * Salvaging: real containers, damaged in many ways, into fresh ones.
 *
 * What each result holds follows from its number, which stands in its output; so whatever is in
 * the target can be told from what was put.  Nothing wrong may be there, nothing that was
 * removed, and what is not there must have been counted as lost.
 */
#include "h5util.h"
#include "ohdr.h"
#include "os.h"
#include "salvage.h"
#include "support/container.h"
#include "support/fixture.h"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

Suite *salvage_suite(void);

#define ITEMS 80u    /* that are there */
#define REMOVED 16u  /* numbers from ITEMS on */
#define KEPT 4u
#define SEED_KEPT 5000u
#define SEED_SHARED 6000u

/* ---- what there is ---------------------------------------------------------------- */

/* Of every four results one is of each function but m/f, which has the rest. */
static const char *
collection_of(unsigned n)
{
    static const char *const others[] = {"m/g", "package.module/function", "top"};

    return n % 8 < 3 ? others[n % 8] : "m/f";
}

/* Most keys of m/f begin alike, so that a group becomes large; others do not. */
static void
key_of(unsigned n, char key[64])
{
    if (n % 8 >= 4)
        snprintf(key, 64, "aa%08x-and-so-on", n * 2654435761u);
    else
        snprintf(key, 64, "%02x%08x", n % 16 + 16, n * 2654435761u);
}

static size_t
links_of(unsigned n)
{
    return n % 4;
}

static void
array_of(unsigned n, size_t link, size_t *size, unsigned *seed)
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
output_of(unsigned n, char *output)
{
    size_t size = n % 17 == 0 ? 40000 : n % 5 == 0 ? 3000 : 20;

    fixture_fill(output, size, n);
    snprintf(output, 16, "result %u", n);
    return size;
}

static void
put_item(h5store_batch *batch, unsigned n)
{
    static char output[40000];
    h5store_id ids[4];
    char key[64], metadata[64];
    h5store_item_spec spec = {collection_of(n), key, output, output_of(n, output), metadata, ids,
                              links_of(n)};

    key_of(n, key);
    snprintf(metadata, sizeof metadata, "{\"number\": %u}", n);
    for (size_t i = 0; i < spec.link_count; i++) {
        h5store_array array;
        unsigned seed;
        size_t size;

        array_of(n, i, &size, &seed);
        array = box_array(size, seed);
        BOX_OK(h5store_batch_put(batch, &array, &ids[i], &box_err));
        box_free(&array);
    }
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
}

static void
make_source(void)
{
    h5store *store = box_open(H5STORE_CREATE);
    h5store_batch *batch = box_begin(store);

    /* Those that go first leave their traces among those that stay. */
    for (unsigned n = 0; n < ITEMS + REMOVED; n++) {
        put_item(batch, n % 2 == 0 ? n : ITEMS + REMOVED - n);
        if (n % 50 == 49) {
            BOX_OK(h5store_batch_commit(batch, &box_err));
            batch = box_begin(store);
        }
    }
    put_item(batch, 0);
    BOX_OK(h5store_batch_set_source(batch, "m/f", "def f(): pass", &box_err));
    BOX_OK(h5store_batch_set_source(batch, "top", "def top(): pass", &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    for (unsigned i = 0; i < KEPT; i++)
        (void)box_put(store, i % 2 == 0 ? 20000 : 300, SEED_KEPT + i, NULL);
    batch = box_begin(store);
    for (unsigned n = ITEMS; n < ITEMS + REMOVED; n++) {
        char key[64];

        key_of(n, key);
        BOX_OK(h5store_batch_remove(batch, collection_of(n), key, &box_err));
    }
    BOX_OK(h5store_batch_commit(batch, &box_err));
    ck_assert_uint_eq(box_totals(store).items, ITEMS);
    box_expect_verified(store);
    box_close(store);
}

/* ---- the target --------------------------------------------------------------------- */

struct found {
    h5store_salvaged done;
    unsigned losses, remarks;          /* findings */
    char text[16384];                  /* all of them */
    unsigned named, unnamed, kept;     /* what is in the target */
    bool there[ITEMS];
};

static int
note(const h5store_finding *finding, void *context)
{
    struct found *found = context;
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
check_item(h5store *store, const h5store_item_info *info, struct found *found)
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
    ck_assert_msg(n < ITEMS, "result %u was removed, and is there again", n);
    ck_assert_msg(!found->there[n], "result %u is there twice", n);
    found->there[n] = true;
    ck_assert_uint_eq(size, output_of(n, output));
    ck_assert_mem_eq(bytes, output, size);
    snprintf(metadata, sizeof metadata, "{\"number\": %u}", n);
    ck_assert_str_eq(h5store_item_metadata(item), metadata);
    key_of(n, key);
    if (!recovered) {
        ck_assert_str_eq(info->collection, collection_of(n));
        ck_assert_str_eq(info->key, key);
    } else if (strncmp(info->key, "at-", 3) != 0) {
        ck_assert_str_eq(info->key, key);
    }
    found->named += !recovered;
    found->unnamed += recovered;
    ck_assert_uint_eq(h5store_item_link_count(item), links_of(n));
    for (size_t i = 0; i < links_of(n); i++) {
        unsigned seed;

        array_of(n, i, &size, &seed);
        box_expect(h5store_item_blob(item, i), size, seed);
    }
    h5store_item_close(item);
}

static void
check_target(h5store *store, struct found *found)
{
    h5store_item_cursor *cursor;
    h5store_item_info info;
    int rc;

    BOX_OK(h5store_item_cursor_open(store, NULL, &cursor, &box_err));
    while ((rc = BOX_OK(h5store_item_cursor_next(cursor, &info, &box_err))) == H5STORE_OK)
        if (info.key != NULL)
            check_item(store, &info, found);
    ck_assert_int_eq(rc, H5STORE_DONE);
    h5store_item_cursor_close(cursor);
    for (unsigned i = 0; i < KEPT; i++) {
        h5store_array array = box_array(i % 2 == 0 ? 20000 : 300, SEED_KEPT + i);
        h5store_id id;

        BOX_OK(h5store_hash(&array, 1, &id, &box_err));
        found->kept += h5store_discard(store, &id, &box_err) == H5STORE_OK;
        box_free(&array);
    }
}

/* Salvage a file into a fresh container, and look at everything in that. */
static void
salvage_path(const char *path, struct found *found)
{
    const char *target = fixture_path("target.h5");
    h5store_salvage_options options = {note, NULL, found, 1.0};
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
    check_target(store, found);
    ck_assert_uint_eq(found->named + found->unnamed, found->done.items);
    ck_assert_uint_eq(found->unnamed, found->done.unnamed_items);
    box_close(store);
}

static const char *
copy_source(void)
{
    const char *path = fixture_path("damaged.h5");

    box_copy(box_path(), path);
    return path;
}

static void
zero(const char *path, uint64_t offset, size_t size)
{
    static const uint8_t zeros[65536];
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    ck_assert_uint_le(size, sizeof zeros);
    ck_assert_int_eq(pwrite(fd, zeros, size, (off_t)offset), (ssize_t)size);
    close(fd);
}

/* The address of the object header of something in the source. */
static uint64_t
address_of(const char *path)
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

static uint64_t total_blobs;

static void
expect_all(const struct found *found)
{
    ck_assert_msg(found->done.items == ITEMS && found->done.blobs == total_blobs &&
                      found->done.lost_items == 0 && found->done.lost_blobs == 0 &&
                      found->kept == KEPT,
                  "%u items of %u, %u blobs of %u, %u kept; lost %u and %u\n%.1500s",
                  (unsigned)found->done.items, ITEMS, (unsigned)found->done.blobs,
                  (unsigned)total_blobs, found->kept, (unsigned)found->done.lost_items,
                  (unsigned)found->done.lost_blobs, found->text);
}

static void
expect_sum(const struct found *found)
{
    ck_assert_msg(found->done.items + found->done.lost_items == ITEMS &&
                      found->done.blobs + found->done.lost_blobs == total_blobs,
                  "%u items and %u lost of %u, %u blobs and %u lost of %u\n%.1500s",
                  (unsigned)found->done.items, (unsigned)found->done.lost_items, ITEMS,
                  (unsigned)found->done.blobs, (unsigned)found->done.lost_blobs,
                  (unsigned)total_blobs, found->text);
}

static void
setup(void)
{
    h5store *store;

    box_setup();
    make_source();
    store = box_open(0);
    total_blobs = box_totals(store).blobs;
    box_close(store);
}

/* ---- one damage at a time ------------------------------------------------------------ */

static struct found found;

START_TEST(a_healthy_container_is_copied)
{
    h5store *store;
    char *text;

    salvage_path(box_path(), &found);
    expect_all(&found);
    ck_assert_uint_eq(found.named, ITEMS);
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
    } cases[] = {{0, 48}, {0, 256}, {256, 256}, {512, 256}, {768, 256}, {0, 4096}, {4096, 4096},
                 {0, 8192}};
    const char *path = copy_source();

    zero(path, cases[_i].offset, cases[_i].size);
    salvage_path(path, &found);
    expect_all(&found);
    ck_assert_uint_eq(found.named, ITEMS);
    ck_assert_uint_eq(found.losses, 0);
}
END_TEST

START_TEST(the_root_is_not_needed)
{
    const char *path = copy_source();

    zero(path, address_of("/"), 64);
    salvage_path(path, &found);
    expect_all(&found);
    ck_assert_uint_eq(found.named, ITEMS);
    ck_assert_ptr_nonnull(strstr(found.text, "the root group is lost"));
    zero(path, 0, 1024); /* and nothing before it */
    salvage_path(path, &found);
    expect_all(&found);
}
END_TEST

START_TEST(groups_of_arrays_are_not_needed)
{
    const char *path = copy_source();

    zero(path, address_of("/blobs"), 64);
    salvage_path(path, &found);
    expect_all(&found);
    ck_assert_uint_eq(found.named, ITEMS);
    zero(path, address_of("/kept"), 64);
    salvage_path(path, &found);
    expect_all(&found);
    ck_assert_uint_eq(found.named, ITEMS);
}
END_TEST

START_TEST(without_items_names_are_made_up)
{
    const char *path = copy_source();
    unsigned told = 0;

    for (unsigned n = 0; n < ITEMS; n++) /* those that say themselves where they are */
        told += strcmp(collection_of(n), "m/f") == 0 || strcmp(collection_of(n), "top") == 0;
    zero(path, address_of("/items"), 64);
    salvage_path(path, &found);
    expect_all(&found);
    ck_assert_uint_eq(found.named, told);
    ck_assert_uint_eq(found.unnamed, ITEMS - told);
    ck_assert_uint_ge(found.losses, ITEMS - told);
    ck_assert_ptr_nonnull(strstr(found.text, "/items: a group cannot be read"));
}
END_TEST

/* A function's group, and a group of its results that is large. */
START_TEST(without_a_group_only_its_names_are_lost)
{
    static const char *const groups[] = {"/items/m", "/items/m/f", "/items/m/f/#aa", "/items/top",
                                         "/items/m/g"};
    const char *path = copy_source();
    unsigned here = 0;

    for (unsigned n = 0; n < ITEMS; n++) {
        const char *collection = collection_of(n);
        char key[64];

        key_of(n, key);
        here += _i == 0   ? strcmp(collection, "m/g") == 0 /* m/f says where it is */
                : _i == 1 ? strcmp(collection, "m/f") == 0
                : _i == 2 ? strcmp(collection, "m/f") == 0 && strncmp(key, "aa", 2) == 0
                : _i == 3 ? strcmp(collection, "top") == 0
                          : strcmp(collection, "m/g") == 0;
    }
    ck_assert_uint_ge(here, 10);
    zero(path, address_of(groups[_i]), 64);
    salvage_path(path, &found);
    expect_all(&found);
    ck_assert_uint_eq(found.unnamed, here);
    ck_assert_ptr_nonnull(strstr(found.text, groups[_i][7] == 't' ? "/items/top" : "/items/m"));
}
END_TEST

START_TEST(a_damaged_result_is_lost_by_name)
{
    const char *path = copy_source();
    char key[64], name[128];

    for (unsigned n = 3; n < 12; n++) {
        snprintf(name, sizeof name, "%s", collection_of(n));
        key_of(n, key);
        snprintf(name, sizeof name, "/items/%s/#%.2s/%s", collection_of(n), key, key);
        box_copy(box_path(), path);
        box_flip(path, address_of(name) + 30);
        salvage_path(path, &found);
        expect_sum(&found);
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
    const char *path = copy_source();
    h5store_array array;
    h5store_id id;
    h5store *store;
    uint64_t offset;
    unsigned seed, sharing = 0;
    size_t size;
    char text[H5STORE_ID_TEXT_SIZE];

    array_of(3, 2, &size, &seed); /* which 7 has, too */
    array = box_array(size, seed);
    BOX_OK(h5store_hash(&array, 1, &id, &box_err));
    box_free(&array);
    store = box_open(0);
    offset = box_offset(store, &id);
    box_close(store);
    box_flip(path, offset + 777);
    salvage_path(path, &found);
    expect_sum(&found);
    for (unsigned n = 0; n < ITEMS; n++) {
        bool has = links_of(n) > 2 && n / 8 == 0;

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
    const char *path = copy_source();
    long long size = box_size(path);
    unsigned rounds = 0, some = 0;

    for (long long at = size - 100; at > 10000; at -= size / 23) {
        box_copy(box_path(), path);
        ck_assert_int_eq(truncate(path, at), 0);
        salvage_path(path, &found);
        expect_sum(&found);
        some += found.done.items > 0 && found.done.items < ITEMS;
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
    static const char *const signatures[] = {"OHDR", "OCHK", "FRHP", "FHDB", "FHIB", "BTHD", "BTLF"};
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
    const char *path = copy_source();
    long long size = box_size(path);
    unsigned rounds = 0, unharmed = 0, lossy = 0;

    for (long long at = 8192 + 4096 * _i; at + 4096 <= size; at += PAGE_TESTS * 4096) {
        if (!has_metadata(box_path(), at) && at / 4096 % 16 != 0)
            continue;
        box_copy(box_path(), path);
        zero(path, (uint64_t)at, 4096);
            salvage_path(path, &found);
        expect_sum(&found);
        unharmed += found.done.items == ITEMS && found.done.blobs == total_blobs;
        lossy += found.done.items < ITEMS;
        /* A page has a dozen headers, and each of them is of one thing. */
        ck_assert_uint_ge(found.done.items, ITEMS - 40);
        rounds++;
    }
    ck_assert_uint_ge(rounds, 8);
    ck_assert_uint_ge(lossy, 5);
    ck_assert_uint_lt(unharmed, rounds);
}
END_TEST

/* Bytes turned over here and there, more and more of them. */
START_TEST(bytes_turned_over)
{
    const char *path = copy_source();
    uint64_t size = (uint64_t)box_size(path), state = 7 + (uint64_t)_i;
    unsigned rounds = 0, lossy = 0;

    for (unsigned flips = 1; flips < 3000; flips += 1 + flips / 3) {
        box_copy(box_path(), path);
        for (unsigned i = 0; i < flips; i++)
            box_flip(path, fixture_random(&state) % size);
        salvage_path(path, &found);
        /* The counters may be gone; what was saved is right, as salvage_path made sure. */
        ck_assert_uint_le(found.done.items, ITEMS);
        lossy += found.done.items < ITEMS;
        rounds++;
    }
    ck_assert_uint_ge(rounds, 15);
    ck_assert_uint_ge(lossy, 8);
}
END_TEST

/* ---- the log, and others --------------------------------------------------------------- */

START_TEST(the_log_is_taken_in)
{
    const char *path = copy_source();
    char log[512];
    h5store *store;
    long long size;

    /* Three results that are only in the log. */
    store = box_open(0);
    for (unsigned n = ITEMS; n < ITEMS + 3; n++)
        box_set(store, "new", n == ITEMS ? "one" : n == ITEMS + 1 ? "two" : "three", 5000, n);
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
            zero(log, 0, 1024); /* the header: a log of nobody */
        if (cut != 2) /* records need no container to be laid over */
            zero(path, 0, 256);
        BOX_OK(box_try_open(target, H5STORE_CREATE, 10, &store));
        BOX_OK(h5store_salvage(path, store, NULL, &done, &box_err));
        ck_assert_uint_eq(done.items, ITEMS + (cut == 0 ? 3 : cut == 1 ? 2 : 0));
        ck_assert_int_eq(box_has_item(store, "new", "two"), cut < 2);
        ck_assert_int_eq(box_has_item(store, "new", "three"), cut < 1);
        ck_assert_uint_eq(box_totals(store).items, done.items);
        box_close(store);
    }
}
END_TEST

START_TEST(nonsense_in_the_log_is_passed_over)
{
    const char *path = copy_source();
    char log[512];
    uint8_t nonsense[9000];

    snprintf(log, sizeof log, "%s-wal", path);
    fixture_fill(nonsense, sizeof nonsense, 4);
    box_write(log, nonsense, sizeof nonsense);
    salvage_path(path, &found);
    expect_all(&found);
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
    ck_assert_uint_eq(done.items, ITEMS + 1);
    ck_assert_uint_eq(done.lost_items + done.lost_blobs, 0);
    box_expect_verified(fresh);
    box_close(fresh);
    box_set(store, "new", "two", 5000, 2);
    ck_assert(box_has_item(store, "new", "two"));
    box_expect_verified(store);
    box_close(store);
}
END_TEST

/* A writer that never rests, in a process of its own. */
_Noreturn static int
write_for_ever(child *parent, void *context HS_UNUSED)
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
        ck_assert_uint_ge(done.items, ITEMS);
        ck_assert_uint_le(done.items, ITEMS + 2);
        ck_assert_uint_eq(done.lost_items + done.lost_blobs, 0);
        box_expect_verified(fresh);
        box_close(fresh);
    }
    child_kill(writer);
    ck_assert_uint_eq(rounds, 10);
    box_expect_sound();
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
stop_at_once(const h5store_finding *finding HS_UNUSED, void *context)
{
    ++*(unsigned *)context;
    return 1;
}

START_TEST(the_callback_ends_it)
{
    unsigned calls = 0;
    h5store_salvage_options options = {stop_at_once, NULL, &calls, 1.0};
    const char *path = copy_source();
    h5store_salvaged done;
    h5store *store;

    zero(path, address_of("/items/m/f"), 64);
    BOX_OK(box_try_open(fixture_path("target.h5"), H5STORE_CREATE, 10, &store));
    BOX_OK(h5store_salvage(path, store, &options, &done, &box_err));
    ck_assert_uint_eq(calls, 1);
    ck_assert_uint_lt(done.items, ITEMS);
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

    tcase_add_checked_fixture(tcase, setup, box_teardown);
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
    tcase_add_test(tcase, a_busy_container_is_salvaged_as_of_one_commit);
    tcase_add_test(tcase, what_is_no_container_is_refused);
    tcase_add_test(tcase, the_callback_ends_it);
    suite_add_tcase(suite, tcase);
    return suite;
}
