/* SPDX-License-Identifier: MIT */
/*
 * Commits without HDF5: it is really not used; where it has to be, nothing is left of the attempt
 * to do without.  (That they make what HDF5 makes: check_direct_same.c.)
 */
#include "container_impl.h"
#include "store_impl.h"
#include "support/child.h"
#include "support/container.h"
#include "support/fixture.h"
#include "support/zoo.h"
#include <stdio.h>

Suite *direct_suite(void);

static h5store *store;

static void
setup(void)
{
    box_setup();
    store = NULL;
}

/* Whatever a test did, the container must be sound afterwards. */
static void
teardown(void)
{
    if (store != NULL) {
        box_expect_verified(store);
        box_close(store);
        ck_assert_int_eq(box_run("h5ls -r '%s'", box_path()), 0);
    }
    box_teardown();
}

/* Has this handle used HDF5 since it was opened? */
static bool
used_hdf5(void)
{
    return store->container->file >= 0;
}

/* Commits that the handle made without HDF5 since the last that needed it. */
static unsigned
spared(void)
{
    return store->container->headers_spared;
}

static void
key_of(unsigned i, char key[40])
{
    snprintf(key, 40, "%08x%024u", i * 2654435761u, i);
}

/* ---- without HDF5 ------------------------------------------------------------------ */

START_TEST(a_cache_is_used_without_hdf5)
{
    char key[40];
    char *text;

    box_make();
    store = box_open(0);
    for (unsigned i = 0; i < 600; i++) {
        key_of(i, key);
        box_set(store, i % 2 ? "m/f" : "deep/er/than/that/g", key, 600,
                i % 500); /* known ones, too */
    }
    for (unsigned i = 0; i < 600; i += 3) {
        key_of(i, key);
        box_remove(store, i % 2 ? "m/f" : "deep/er/than/that/g", key);
    }
    for (unsigned i = 1; i < 600; i += 6) { /* anew, and in place of what is there */
        key_of(i, key);
        box_set(store, i % 2 ? "m/f" : "deep/er/than/that/g", key, 700, 1000 + i);
    }
    ck_assert(!used_hdf5());
    ck_assert_uint_gt(spared(), 800);
    ck_assert_uint_eq(box_totals(store).items, 400);
    for (unsigned i = 0; i < 600; i++) {
        key_of(i, key);
        ck_assert_int_eq(box_has_item(store, i % 2 ? "m/f" : "deep/er/than/that/g", key),
                         i % 3 != 0);
    }
    ck_assert(!used_hdf5());
    ck_assert_int_eq(h5store_get_source(store, "m/f", &text, &box_err), H5STORE_E_NOT_FOUND);
}
END_TEST

START_TEST(arrays_are_kept_and_discarded_without_hdf5)
{
    h5store_id ids[40];
    int code;

    box_make();
    store = box_open(0);
    for (unsigned i = 0; i < 40; i++) {
        ids[i] = box_put(store, 900, i, &code);
        ck_assert_int_eq(code, H5STORE_OK);
        ck_assert(h5store_id_equal(&ids[i], &(h5store_id){{0}}) == 0);
        box_put(store, 900, i, &code);
        ck_assert_int_eq(code, H5STORE_EXISTS);
    }
    box_set(store, "m/f", "item", 900, 7);
    for (unsigned i = 0; i < 40; i++)
        if (i % 2)
            BOX_OK(h5store_discard(store, &ids[i], &box_err));
    ck_assert(!used_hdf5());
    ck_assert_uint_eq(box_totals(store).blobs, 21); /* one has an item */
    box_expect_put(store, &ids[7], 900, 7);
    BOX_FAILS(H5STORE_E_NOT_FOUND, h5store_discard(store, &ids[7], &box_err));
    box_remove(store, "m/f", "item");
    ck_assert_uint_eq(box_totals(store).blobs, 20);
}
END_TEST

START_TEST(source_is_stored_and_read_without_hdf5)
{
    h5store_batch *batch;
    char *text;

    box_make();
    store = box_open(0);
    batch = box_begin(store);
    BOX_OK(h5store_batch_set_source(batch, "m/f", "def f(): pass", &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    box_set(store, "m/f", "key", 600, 1);
    BOX_OK(h5store_get_source(store, "m/f", &text, &box_err));
    ck_assert_str_eq(text, "def f(): pass");
    free(text);
    ck_assert(!used_hdf5());
    BOX_OK(h5store_flush(store, &box_err));
    ck_assert_int_eq(
        box_run("h5dump -a /items/m/f/path '%s' | grep -q '(0): \"/items/m/f\"'", box_path()), 0);
    batch = box_begin(store); /* another one is HDF5's affair */
    BOX_OK(h5store_batch_set_source(batch, "m/f", "def f(): return 1", &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    ck_assert(used_hdf5());
    BOX_OK(h5store_get_source(store, "m/f", &text, &box_err));
    ck_assert_str_eq(text, "def f(): return 1");
    free(text);
}
END_TEST

/* Groups on the way, of names that are long, and of names in which HDF5 sees something. */
START_TEST(groups_on_the_way_are_made)
{
    static char component[301];
    char deep[2000] = "";

    memset(component, 'c', sizeof component - 1);
    for (int i = 0; i < 6; i++) {
        strcat(deep, i > 0 ? "/" : "");
        strcat(deep, component);
    }
    box_make();
    store = box_open(0);
    box_set(store, deep, "key", 600, 1);
    box_set(store, component, "key", 600, 1);
    box_set(store, "#/%/.", "#", 600, 1);
    box_set(store, "..", "..", 600, 1);
    ck_assert(!used_hdf5());
    ck_assert(box_has_item(store, deep, "key"));
    ck_assert(box_has_item(store, component, "key"));
    ck_assert(box_has_item(store, "#/%/.", "#"));
    ck_assert(box_has_item(store, "..", ".."));
    ck_assert_uint_eq(box_totals(store).blobs, 1);
}
END_TEST

/* ---- with HDF5 --------------------------------------------------------------------- */

/* Commit an item with so many bytes and links. */
static void
set_sized(const char *key, size_t output, size_t metadata, size_t links)
{
    h5store_batch *batch = box_begin(store);
    h5store_id *ids = malloc((links + 1) * sizeof *ids);
    uint8_t *bytes = malloc(output + 1);
    char *text = calloc(1, metadata + 1);
    h5store_item_spec spec = {"m/f", key, bytes, output, text, ids, links};

    memset(bytes, 'o', output);
    memset(text, 'm', metadata);
    for (size_t i = 0; i < links; i++) {
        h5store_array array = box_array(600, (unsigned)i % 30);

        BOX_OK(h5store_batch_put(batch, &array, &ids[i], &box_err));
        box_free(&array);
    }
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    free(ids);
    free(bytes);
    free(text);
}

/* What goes without HDF5, and what does not, and is right all the same. */
START_TEST(what_is_large_needs_hdf5)
{
    static const struct {
        size_t output, metadata, links;
        bool hdf5;
    } cases[] = {{600, 0, 0, false},       {600, 100, 1, false},     {600, 100, 100, false},
                 {600, 100, 512, false},   {600, 100, 513, true},    {20000, 10000, 3, false},
                 {32000, 100, 3, false},   {32001, 100, 3, true},    {600, 32001, 3, true},
                 {31000, 31000, 40, true}, {100000, 100000, 2, true}};

    box_make();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *bytes = malloc(cases[i].output);
        char *text = calloc(1, cases[i].metadata + 1);

        store = box_open(0);
        memset(bytes, 'o', cases[i].output);
        memset(text, 'm', cases[i].metadata);
        for (int twice = 0; twice < 2; twice++) {
            set_sized("key", cases[i].output, cases[i].metadata, cases[i].links);
            ck_assert_msg(used_hdf5() == cases[i].hdf5, "case %zu", i);
            box_expect_item(store, "m/f", "key", bytes, cases[i].output,
                            cases[i].metadata > 0 ? text : "{}", cases[i].links);
        }
        box_expect_verified(store);
        ck_assert_uint_eq(box_totals(store).items, 1);
        ck_assert_uint_eq(box_totals(store).blobs, hs_min(cases[i].links, 30));
        box_close(store);
        free(bytes);
        free(text);
    }
    store = box_open(0);
}
END_TEST

/* HDF5 is gone on with for two commits, and for more where it is needed again and again. */
START_TEST(hdf5_is_gone_on_with_for_a_while)
{
    unsigned without = 0, needed = 0;
    char key[40];

    box_make();
    store = box_open(0);
    set_sized("large", 40000, 10, 1);
    ck_assert(used_hdf5());
    ck_assert_uint_eq(store->container->headers_pause, 2);
    for (unsigned i = 0; i < 40; i++) {
        key_of(i, key);
        box_set(store, "m/f", key, 600, i);
    }
    ck_assert_uint_eq(spared(), 38);
    for (unsigned i = 40; i < 400; i++) {
        unsigned before = spared();

        key_of(i, key);
        if (i % 4 == 0)
            set_sized(key, 40000, 10, 1);
        else
            box_set(store, "m/f", key, 600, i);
        needed += i % 4 == 0;
        without += spared() > before;
    }
    ck_assert_uint_eq(needed, 90);
    ck_assert_uint_lt(without, 90); /* of 270: most would have to open HDF5 again */
}
END_TEST

/* Containers of earlier versions have groups with heaps, and go on having them. */
START_TEST(groups_with_heaps_need_hdf5)
{
    unsigned without = 0;
    h5store_batch *batch;
    char key[40];

    zoo_make_with_heaps();
    store = box_open(0);
    batch = box_begin(store);
    for (unsigned i = 0; i < 5000; i++) { /* twenty in each group */
        h5store_id id = box_put_in(batch, 600, i, H5STORE_OK);

        key_of(i, key);
        box_set_in(batch, "m/f", key, &id, 1);
    }
    BOX_OK(h5store_batch_set_times(batch, "m/f", key, 1, 1, &box_err)); /* by HDF5 */
    BOX_OK(h5store_batch_commit(batch, &box_err));
    for (unsigned i = 5000; i < 5600; i++) {
        unsigned before = spared();

        key_of(i, key);
        box_set(store, "m/f", key, 600, i);
        without += spared() > before;
    }
    ck_assert_uint_lt(without, 20);
    for (unsigned i = 0; i < 5600; i++) {
        key_of(i, key);
        ck_assert(box_has_item(store, "m/f", key));
        if (i % 7 == 0)
            box_remove(store, "m/f", key);
    }
    ck_assert_uint_eq(box_totals(store).items, 4800);
    ck_assert_uint_eq(box_totals(store).blobs, 4800);
}
END_TEST

/* What HDF5 fills is soon in heaps: to move many links at once takes it minutes. */
START_TEST(crowded_groups_keep_nobody_waiting)
{
    uint64_t began = hs_os_now();
    h5store_compaction done;
    h5store_batch *batch;
    char key[40];

    box_make();
    store = box_open(0);
    batch = box_begin(store);
    for (unsigned i = 0; i < 1100; i++) {
        h5store_id id = box_put_in(batch, 600, i % 40, i < 40 ? H5STORE_OK : H5STORE_EXISTS);

        snprintf(key, sizeof key, "aa%08u", i);
        box_set_in(batch, "m/f", key, &id, 1);
    }
    BOX_OK(h5store_batch_set_times(batch, "m/f", key, 1, 1, &box_err)); /* by HDF5 */
    BOX_OK(h5store_batch_commit(batch, &box_err));
    for (unsigned i = 0; i < 1100; i++) { /* and by us */
        snprintf(key, sizeof key, "bb%08u", i);
        box_set(store, "m/f", key, 600, i % 40);
    }
    for (unsigned i = 0; i < 600; i++)
        (void)box_put(store, 700, i, NULL);
    box_make_hole(store);
    BOX_OK(h5store_compact(store, NULL, NULL, &done, &box_err));
    ck_assert_int_eq(done.rebuilt, 1);
    for (unsigned i = 0; i < 1100; i += 2) {
        snprintf(key, sizeof key, "aa%08u", i);
        box_remove(store, "m/f", key);
        snprintf(key, sizeof key, "bb%08u", i);
        box_remove(store, "m/f", key);
    }
    ck_assert_uint_eq(box_totals(store).items, 1100);
    ck_assert_uint_lt(hs_os_now() - began, UINT64_C(30000000000)); /* of minutes; not a benchmark */
}
END_TEST

/* Of one group until its links go to a heap, and back. */
START_TEST(a_group_becomes_large_and_small_again)
{
    unsigned without = 0;
    char key[40];

    box_make();
    store = box_open(0);
    for (unsigned i = 0; i < 700; i++) {
        unsigned before = spared();

        snprintf(key, sizeof key, "aa%08u", i);
        set_sized(key, 10, 10, 1);
        without += spared() > before;
    }
    ck_assert_uint_ge(without, HS_LINKS_MOST);
    ck_assert_uint_lt(without, 520);
    for (unsigned i = 0; i < 700; i++) {
        snprintf(key, sizeof key, "aa%08u", i);
        ck_assert(box_has_item(store, "m/f", key));
        if (i % 10)
            box_remove(store, "m/f", key);
    }
    box_expect_verified(store);
    box_set(store, "m/f", "aa-new", 600, 3);
    ck_assert_uint_eq(box_totals(store).items, 71);
}
END_TEST

/* ---- other programs ---------------------------------------------------------------- */

/* Let another program do something to the closed file. */
static hid_t
stock_open(void)
{
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS), file;

    ck_assert_int_ge(H5Pset_libver_bounds(fapl, H5F_LIBVER_V110, H5F_LIBVER_V110), 0);
    file = H5Fopen(box_path(), H5F_ACC_RDWR, fapl);
    ck_assert_int_ge(file, 0);
    H5Pclose(fapl);
    return file;
}

START_TEST(soft_link_is_not_doubled)
{
    hid_t file;
    H5G_info_t info;
    h5store_batch *batch;
    h5store_id id;

    box_make();
    file = stock_open();
    H5Gclose(H5Gcreate2(file, "/items/real", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    ck_assert_int_ge(H5Lcreate_soft("/items/real", file, "/items/alias", H5P_DEFAULT, H5P_DEFAULT),
                     0);
    ck_assert_int_ge(H5Fclose(file), 0);
    store = box_open(0);
    batch = box_begin(store);
    id = box_put_in(batch, 600, 1, H5STORE_OK);
    box_set_in(batch, "alias/f", "key", &id, 1);
    BOX_OK(h5store_batch_commit(batch, &box_err)); /* through the link, as HDF5 does it */
    ck_assert(used_hdf5());
    box_close(store);
    store = NULL;
    file = stock_open();
    ck_assert_int_ge(H5Gget_info_by_name(file, "/items", &info, H5P_DEFAULT), 0);
    ck_assert_uint_eq(info.nlinks, 2);
    ck_assert_int_ge(H5Fclose(file), 0);
}
END_TEST

/* Space that another program took at the end is not given out again, by a second attempt either. */
START_TEST(bytes_of_another_program_stay)
{
    hsize_t size = 300000;
    uint8_t *bytes = malloc(size), *back = malloc(size);
    hid_t file, space = H5Screate_simple(1, &size, NULL), data;

    fixture_fill(bytes, size, 77);
    box_make();
    file = stock_open();
    data = H5Dcreate2(file, "/theirs", H5T_STD_U8LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    ck_assert_int_ge(H5Dwrite(data, H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes), 0);
    H5Dclose(data);
    ck_assert_int_ge(H5Fclose(file), 0);
    store = box_open(0);
    set_sized("key", 40000, 10, 3); /* begun without HDF5, and made with it */
    ck_assert(used_hdf5());
    box_set(store, "m/f", "other", 400000, 1);
    box_expect_verified(store);
    box_close(store);
    store = NULL;
    file = stock_open();
    data = H5Dopen2(file, "/theirs", H5P_DEFAULT);
    ck_assert_int_ge(H5Dread(data, H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, back), 0);
    ck_assert_mem_eq(back, bytes, size);
    H5Dclose(data);
    H5Sclose(space);
    ck_assert_int_ge(H5Fclose(file), 0);
    free(bytes);
    free(back);
}
END_TEST

/* ---- nothing is left of an attempt -------------------------------------------------- */

START_TEST(an_attempt_in_vain_leaves_nothing)
{
    h5store_batch *batch;
    h5store_id id, packed;
    uint8_t *even = calloc(1, 100000);
    h5store_totals totals;
    int code;

    box_make();
    store = box_open(0);
    box_set(store, "m/f", "before", 600, 1);
    batch = box_begin(store);
    id = box_put_in(batch, 700, 2, H5STORE_OK);
    BOX_OK(h5store_batch_compress(batch, 1, &box_err));
    BOX_OK(h5store_batch_put(
        batch,
        &(h5store_array){
            .dtype = "'|u1'", .rank = 1, .shape = {100000}, .nbytes = 100000, .data = even},
        &packed, &box_err));
    box_set_in(batch, "new/one", "aa-first", &id, 1);  /* all this could be done, */
    box_set_in(batch, "m/f", "before", &id, 1);        /* even this, */
    box_set_in(batch, "m/f", "aa-packed", &packed, 1); /* but not this */
    BOX_OK(h5store_batch_commit(batch, &box_err));
    ck_assert(used_hdf5());
    totals = box_totals(store);
    ck_assert_uint_eq(totals.items, 3);
    ck_assert_uint_eq(totals.blobs, 2);
    ck_assert_uint_eq(totals.links, 3);
    box_expect_verified(store);
    ck_assert(box_has_item(store, "new/one", "aa-first"));
    ck_assert(box_has_item(store, "m/f", "aa-packed"));
    box_put(store, 600, 1, &code); /* which went with its item */
    ck_assert_int_eq(code, H5STORE_OK);
    free(even);
}
END_TEST

START_TEST(a_failed_commit_leaves_nothing)
{
    h5store_batch *batch;
    h5store_id id, nowhere = {{1, 2, 3}};

    box_make();
    store = box_open(0);
    batch = box_begin(store);
    id = box_put_in(batch, 700, 2, H5STORE_OK);
    box_set_in(batch, "m/f", "first", &id, 1);
    box_set_in(batch, "m/f", "second", &nowhere, 1);
    BOX_FAILS(H5STORE_E_NOT_FOUND, h5store_batch_commit(batch, &box_err));
    ck_assert(!box_has_item(store, "m/f", "first"));
    ck_assert_uint_eq(box_totals(store).items, 0);
    ck_assert_uint_eq(box_totals(store).blobs, 0);
    box_set(store, "m/f", "first", 700, 2);
    ck_assert_uint_eq(box_totals(store).items, 1);
}
END_TEST

/* ---- references -------------------------------------------------------------------- */

START_TEST(an_array_goes_with_its_last_item)
{
    h5store_batch *batch;
    h5store_id id, twice[2];
    char key[40];

    box_make();
    store = box_open(0);
    for (unsigned i = 0; i < 3; i++) {
        key_of(i, key);
        box_set(store, "m/f", key, 5000, 9);
    }
    batch = box_begin(store);
    id = box_put_in(batch, 5000, 9, H5STORE_EXISTS);
    twice[0] = twice[1] = id;
    box_set_in(batch, "m/f", "twice", twice, 2);
    box_set_in(batch, "m/f", "once", &id, 1);
    BOX_OK(h5store_batch_commit(batch, &box_err));
    BOX_OK(h5store_flush(store, &box_err));
    ck_assert_uint_eq(box_totals(store).links, 6);
    for (unsigned i = 0; i < 3; i++) {
        key_of(i, key);
        box_remove(store, "m/f", key);
        box_expect_verified(store); /* which counts links */
        box_expect_put(store, &id, 5000, 9);
    }
    box_remove(store, "m/f", "twice");
    box_expect_put(store, &id, 5000, 9);
    box_remove(store, "m/f", "once");
    ck_assert_uint_eq(box_totals(store).blobs, 0);
    ck_assert_uint_eq(box_totals(store).links, 0);
    ck_assert_uint_eq(spared(), 9);
}
END_TEST

/* Found when it was put, and removed by another handle before the commit. */
START_TEST(an_array_that_was_found_may_have_gone)
{
    h5store *other;
    h5store_batch *batch;
    h5store_id id;

    box_make();
    store = box_open(0);
    box_set(store, "m/f", "old", 5000, 9);
    other = box_open(0);
    batch = box_begin(store);
    id = box_put_in(batch, 5000, 9, H5STORE_EXISTS);
    box_set_in(batch, "m/f", "new", &id, 1);
    box_remove(other, "m/f", "old");
    ck_assert_uint_eq(box_totals(other).blobs, 0);
    BOX_OK(h5store_batch_commit(batch, &box_err));
    box_expect_put(other, &id, 5000, 9);
    box_expect_verified(other);
    box_close(other);
}
END_TEST

/* ---- two processes ----------------------------------------------------------------- */

static int
other_process(child *parent, void *context HS_UNUSED)
{
    h5store *mine = box_open(0);

    child_tell(parent, 0);
    for (unsigned i = 0; i < 200; i++) {
        char key[40];

        child_hear(parent);
        key_of(i, key);
        child_assert(box_has_item(mine, "m/f", key));
        box_set(mine, "m/g", key, 600, i); /* the same array */
        if (i % 4 == 0)
            box_remove(mine, "m/f", key);
        child_tell(parent, mine->container->file >= 0);
    }
    box_close(mine);
    return 0;
}

START_TEST(processes_take_turns_without_hdf5)
{
    child *c;

    box_make();
    c = child_start(other_process, NULL);
    store = box_open(0);
    child_hear(c);
    for (unsigned i = 0; i < 200; i++) {
        char key[40];

        key_of(i, key);
        box_set(store, "m/f", key, 600, i);
        child_tell(c, i);
        ck_assert_uint_eq(child_hear(c), 0);
        ck_assert(box_has_item(store, "m/g", key));
        ck_assert_int_eq(box_has_item(store, "m/f", key), i % 4 != 0);
    }
    ck_assert_int_eq(child_wait(c), 0);
    ck_assert(!used_hdf5());
    ck_assert_uint_eq(box_totals(store).items, 350);
    ck_assert_uint_eq(box_totals(store).blobs, 200);
}
END_TEST

Suite *
direct_suite(void)
{
    Suite *suite = suite_create("direct");
    TCase *without = tcase_create("without"), *with = tcase_create("with");
    TCase *left = tcase_create("left");

    tcase_add_checked_fixture(without, setup, teardown);
    tcase_add_test(without, a_cache_is_used_without_hdf5);
    tcase_add_test(without, arrays_are_kept_and_discarded_without_hdf5);
    tcase_add_test(without, source_is_stored_and_read_without_hdf5);
    tcase_add_test(without, groups_on_the_way_are_made);
    tcase_add_test(without, an_array_goes_with_its_last_item);
    tcase_add_test(without, an_array_that_was_found_may_have_gone);
    tcase_add_test(without, processes_take_turns_without_hdf5);
    tcase_add_checked_fixture(with, setup, teardown);
    tcase_add_test(with, what_is_large_needs_hdf5);
    tcase_add_test(with, hdf5_is_gone_on_with_for_a_while);
    tcase_add_test(with, groups_with_heaps_need_hdf5);
    tcase_add_test(with, crowded_groups_keep_nobody_waiting);
    tcase_add_test(with, soft_link_is_not_doubled);
    tcase_add_test(with, bytes_of_another_program_stay);
    tcase_add_test(with, a_group_becomes_large_and_small_again);
    tcase_add_checked_fixture(left, setup, teardown);
    tcase_add_test(left, an_attempt_in_vain_leaves_nothing);
    tcase_add_test(left, a_failed_commit_leaves_nothing);
    suite_add_tcase(suite, without);
    suite_add_tcase(suite, with);
    suite_add_tcase(suite, left);
    return suite;
}
