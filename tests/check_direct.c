/* SPDX-License-Identifier: MIT */
/*
 * Commits without HDF5: what they make is what HDF5 makes of the same, message by message; HDF5 is
 * really not used; and where it has to be, nothing is left of the attempt to do without.
 */
#include "container_impl.h"
#include "h5util.h"
#include "ohdr_impl.h"
#include "store_impl.h"
#include "support/child.h"
#include "support/container.h"
#include "support/fixture.h"
#include "support/zoo.h"
#include "vfd_compat.h"
#include <stdio.h>

Suite *direct_suite(void);

#define KEY "5556f19cc5d04fa9894538e16fcc7603"

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

/* ---- the same as HDF5 makes -------------------------------------------------------- */

static const struct form {
    const char *dtype;
    int rank;
    uint64_t shape[5];
    h5store_order order;
    uint64_t itemsize;
} forms[] = {
    {"'<f8'", 1, {100}, H5STORE_ORDER_C, 8},
    {"'<f8'", 2, {64, 128}, H5STORE_ORDER_C, 8},
    {"'<f8'", 2, {64, 128}, H5STORE_ORDER_F, 8},
    {"'<f8'", 3, {3, 200, 700}, H5STORE_ORDER_F, 8},
    {"'<f8'", 2, {1000, 700}, H5STORE_ORDER_C, 8}, /* many chunks */
    {"'<f8'", 5, {2, 3, 5, 7, 11}, H5STORE_ORDER_C, 8},
    {"'<f4'", 1, {300000}, H5STORE_ORDER_C, 4},
    {"'>f8'", 1, {255}, H5STORE_ORDER_C, 8},
    {"'<f2'", 1, {300}, H5STORE_ORDER_C, 2},
    {"'|u1'", 1, {65536}, H5STORE_ORDER_C, 1},
    {"'|i1'", 1, {16777217}, H5STORE_ORDER_C, 1},
    {"'>i8'", 1, {100}, H5STORE_ORDER_C, 8},
    {"'<u2'", 1, {1000}, H5STORE_ORDER_C, 2},
    {"'|b1'", 1, {1000}, H5STORE_ORDER_C, 1},
    {"'<c16'", 1, {100}, H5STORE_ORDER_C, 16},
    {"'>c8'", 1, {100}, H5STORE_ORDER_C, 8},
    {"'|S5'", 1, {200}, H5STORE_ORDER_C, 5},
    {"'<U7'", 1, {50}, H5STORE_ORDER_C, 28},
    {"'<M8[ns]'", 1, {100}, H5STORE_ORDER_C, 8},
    {"'|V9'", 1, {100}, H5STORE_ORDER_C, 9},
    {"[('a', '<i4'), ('b', '>f8')]", 1, {100}, H5STORE_ORDER_C, 12},
    {"[('a', [('x', '|b1'), ('y', '<c8')]), ('b', '<f4', (3, 2))]", 1, {100}, H5STORE_ORDER_C, 33},
    {"{'names': ['a'], 'formats': ['<i2'], 'offsets': [3], 'itemsize': 8}",
     1,
     {99},
     H5STORE_ORDER_C,
     8},
};
#define FORMS (sizeof forms / sizeof *forms)

/* Store an array of that form as a result; with HDF5 if it is forced to. */
static h5store_id
make(const char *path, const struct form *form, bool force)
{
    h5store_array array = {
        .dtype = form->dtype, .rank = form->rank, .order = form->order, .nbytes = form->itemsize};
    h5store_item_spec spec = {"module/function", KEY, "output", 6, "{\"a\": 1}", NULL, 2};
    h5store_id ids[2];
    h5store_batch *batch;
    void *bytes;

    for (int i = 0; i < form->rank; i++) {
        array.shape[i] = form->shape[i];
        array.nbytes *= form->shape[i];
    }
    bytes = malloc(array.nbytes);
    fixture_fill(bytes, array.nbytes, 5);
    array.data = bytes;
    BOX_OK(box_try_open(path, H5STORE_CREATE, 10, &store));
    BOX_OK(h5store_batch_begin(store, &batch, &box_err));
    BOX_OK(h5store_batch_put(batch, &array, &ids[0], &box_err));
    ids[1] = ids[0];
    spec.links = ids;
    BOX_OK(h5store_batch_set_item(batch, &spec, &box_err));
    if (force) /* which is not done without HDF5 */
        BOX_OK(h5store_batch_set_times(batch, "module/function", KEY, 1, 1, &box_err));
    BOX_OK(h5store_batch_commit(batch, &box_err));
    ck_assert_int_eq(used_hdf5(), force);
    box_expect_verified(store);
    box_close(store);
    store = NULL;
    free(bytes);
    return ids[0];
}

struct messages {
    uint8_t *bytes;
    struct ohdr_span spans[64]; /* sorted */
    size_t count;
};

static int
compare_spans(const void *a, const void *b)
{
    const struct ohdr_span *left = a, *right = b;
    size_t sizes[2] = {(size_t)(left->end - left->at), (size_t)(right->end - right->at)};
    int order = memcmp(left->at, right->at, sizes[0] < sizes[1] ? sizes[0] : sizes[1]);

    return order != 0 ? order : (sizes[0] > sizes[1]) - (sizes[0] < sizes[1]);
}

/*
 * What a header says, but for where things are, what is free, and what HDF5 guesses of the future:
 * the estimates of a group.  Links are left to the caller, since HDF5 calls digits ASCII.
 */
static void
take_apart(const hs_ohdr *header, struct messages *messages)
{
    size_t size = 0;
    uint8_t *block;

    for (size_t i = 0; i < header->block_count; i++)
        size += header->blocks[i].length;
    messages->bytes = block = malloc(size);
    messages->count = 0;
    memcpy(block, header->bytes, size);
    for (size_t i = 0; i < header->block_count; block += header->blocks[i].length, i++) {
        unsigned flags = messages->bytes[5];
        uint8_t *at = block + 4, *end = block + header->blocks[i].length - OHDR_CHECKSUM;

        ck_assert_uint_eq(flags & OHDR_ORDER_TRACKED, 0);
        if (i == 0)
            at += 2 + (flags & OHDR_HAS_TIMES ? 16 : 0) + (1u << (flags & OHDR_LENGTH_WIDTH));
        for (size_t length; end - at >= (ptrdiff_t)OHDR_HEAD; at += length) {
            length = OHDR_HEAD + ((size_t)at[1] | (size_t)at[2] << 8);
            if (at[0] == OHDR_NIL || at[0] == OHDR_CONTINUATION || at[0] == OHDR_LINK ||
                at[0] == OHDR_GROUP_INFO)
                continue;
            if (at[0] == OHDR_LAYOUT)
                memset(at + length - 8, 0, 8);
            ck_assert_uint_lt(messages->count, 64);
            messages->spans[messages->count++] = (struct ohdr_span){at, at + length};
        }
    }
    qsort(messages->spans, messages->count, sizeof *messages->spans, compare_spans);
}

static hs_pager
pager_of(const char *path)
{
    hs_pager pager = {.fd = -1, .path = path};

    ck_assert_int_eq(hs_os_open(path, O_RDONLY, &pager.fd, &box_err), H5STORE_OK);
    return pager;
}

static void
read_header(hs_pager *pager, hid_t file, const char *path, hs_ohdr *header)
{
    hs_link_info info;

    ck_assert_int_ge(hs_link_info_get(file, path, &info), 0);
    BOX_OK(hs_ohdr_read(pager, hs_h5_link_address(&info), header, &box_err));
}

static unsigned
compare_headers(const hs_ohdr *a, const hs_ohdr *b)
{
    struct messages left, right;
    unsigned count;

    take_apart(a, &left);
    take_apart(b, &right);
    ck_assert_uint_eq(left.count, right.count);
    for (size_t i = 0; i < left.count; i++) {
        unsigned type = left.spans[i].at[OHDR_HEAD] & 0x0F;

        /* HDF5 encodes these as its first version did when it is asked, and shorter in a file. */
        if (*left.spans[i].at == OHDR_DATATYPE &&
            (type == H5T_COMPOUND || type == H5T_ENUM || type == H5T_ARRAY))
            continue;
        ck_assert_msg(compare_spans(&left.spans[i], &right.spans[i]) == 0,
                      "message %zu, of kind %u, is not as HDF5 makes it", i, *left.spans[i].at);
    }
    ck_assert_uint_eq(a->references, b->references);
    ck_assert_uint_eq(a->link_count, b->link_count);
    for (size_t i = 0; i < a->link_count; i++) {
        ck_assert_uint_eq(a->links[i].name_length, b->links[i].name_length);
        ck_assert_mem_eq(a->links[i].name, b->links[i].name, a->links[i].name_length);
    }
    count = (unsigned)left.count;
    free(left.bytes);
    free(right.bytes);
    return count;
}

START_TEST(objects_are_as_hdf5_makes_them)
{
    const struct form *form = &forms[_i];
    const char *paths[2] = {box_path(), fixture_path("hdf5.h5")};
    hid_t files[2], datasets[2], types[2], spaces[2], lists[2];
    hs_pager pagers[2];
    hs_ohdr headers[2];
    char id[H5STORE_ID_TEXT_SIZE], path[200];
    hsize_t chunks[2][8];
    H5D_alloc_time_t allocated[2];
    H5D_fill_time_t filled[2];
    h5store_id name = make(paths[0], form, false), same = make(paths[1], form, true);

    ck_assert(h5store_id_equal(&name, &same));
    h5store_id_format(&name, id);
    for (int i = 0; i < 2; i++) {
        files[i] = H5Fopen(paths[i], H5F_ACC_RDONLY, H5P_DEFAULT);
        ck_assert_int_ge(files[i], 0);
        pagers[i] = pager_of(paths[i]);
        snprintf(path, sizeof path, "/blobs/%.2s/%s", id, id);
        datasets[i] = H5Dopen2(files[i], path, H5P_DEFAULT);
        ck_assert_int_ge(datasets[i], 0);
        types[i] = H5Dget_type(datasets[i]);
        spaces[i] = H5Dget_space(datasets[i]);
        lists[i] = H5Dget_create_plist(datasets[i]);
        ck_assert_int_eq(H5Pget_chunk(lists[i], 8, chunks[i]),
                         H5Sget_simple_extent_ndims(spaces[i]));
        ck_assert_int_eq(H5Pget_nfilters(lists[i]), 0);
        H5Pget_alloc_time(lists[i], &allocated[i]);
        H5Pget_fill_time(lists[i], &filled[i]);
        read_header(&pagers[i], files[i], path, &headers[i]);
    }
    ck_assert_int_gt(H5Tequal(types[0], types[1]), 0);
    ck_assert_int_gt(H5Sextent_equal(spaces[0], spaces[1]), 0);
    ck_assert_mem_eq(chunks[0], chunks[1],
                     sizeof(hsize_t) * (size_t)H5Sget_simple_extent_ndims(spaces[0]));
    ck_assert_int_eq(allocated[0], allocated[1]);
    ck_assert_int_eq(filled[0], filled[1]);
    ck_assert_uint_eq(headers[0].references, 3); /* /blobs, and twice the item */
    ck_assert_uint_eq(headers[0].block_count, 1);
    ck_assert_uint_ge(compare_headers(&headers[0], &headers[1]), 11);
    for (int i = 0; i < 2; i++) {
        hs_ohdr_release(&headers[i]);
        read_header(&pagers[i], files[i], "/items/module/function/#55/" KEY, &headers[i]);
        ck_assert_uint_eq(headers[i].link_count, 2);
    }
    ck_assert_uint_ge(compare_headers(&headers[0], &headers[1]), 4);
    for (int i = 0; i < 2; i++) {
        hs_ohdr_release(&headers[i]);
        hs_os_closep(&pagers[i].fd);
        H5Tclose(types[i]);
        H5Sclose(spaces[i]);
        H5Pclose(lists[i]);
        H5Dclose(datasets[i]);
        ck_assert_int_ge(H5Fclose(files[i]), 0);
    }
}
END_TEST

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
    char key[40];

    zoo_make_with_heaps();
    store = box_open(0);
    for (unsigned i = 0; i < 3000; i++) {
        unsigned before = spared();

        key_of(i, key);
        box_set(store, "m/f", key, 600, i);
        without += spared() > before;
    }
    ck_assert_uint_gt(without, 100);  /* the first ones */
    ck_assert_uint_lt(without, 2000); /* eight in each group */
    for (unsigned i = 0; i < 3000; i++) {
        key_of(i, key);
        ck_assert(box_has_item(store, "m/f", key));
        if (i % 3 == 0)
            box_remove(store, "m/f", key);
    }
    ck_assert_uint_eq(box_totals(store).items, 2000);
    ck_assert_uint_eq(box_totals(store).blobs, 2000);
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
    TCase *same = tcase_create("same"), *without = tcase_create("without");
    TCase *with = tcase_create("with"), *left = tcase_create("left");

    tcase_add_checked_fixture(same, setup, teardown);
    tcase_add_loop_test(same, objects_are_as_hdf5_makes_them, 0, FORMS);
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
    tcase_add_test(with, a_group_becomes_large_and_small_again);
    tcase_add_checked_fixture(left, setup, teardown);
    tcase_add_test(left, an_attempt_in_vain_leaves_nothing);
    tcase_add_test(left, a_failed_commit_leaves_nothing);
    suite_add_tcase(suite, same);
    suite_add_tcase(suite, without);
    suite_add_tcase(suite, with);
    suite_add_tcase(suite, left);
    return suite;
}
