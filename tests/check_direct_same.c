/* SPDX-License-Identifier: MIT */
/*
 * Arrays and results that are stored without HDF5 are what HDF5 makes of the same, message by
 * message, and by its own words.
 */
#include "container_impl.h"
#include "h5util.h"
#include "ohdr_impl.h"
#include "store_impl.h"
#include "support/container.h"
#include "support/fixture.h"
#include "vfd_compat.h"
#include <stdio.h>

Suite *direct_same_suite(void);

#define KEY "5556f19cc5d04fa9894538e16fcc7603"

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
    h5store *store;
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
    ck_assert_int_eq(store->container->file >= 0, force); /* is HDF5 used? */
    box_expect_verified(store);
    box_close(store);
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
        uint8_t *at = block + 4, *end = block + header->blocks[i].length - OHDR_CHECKSUM;

        ck_assert_uint_eq(messages->bytes[5] & OHDR_ORDER_TRACKED, 0);
        if (i == 0)
            at = block + header->prefix;
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

Suite *
direct_same_suite(void)
{
    Suite *suite = suite_create("direct_same");
    TCase *tcase = tcase_create("direct_same");

    tcase_add_checked_fixture(tcase, box_setup, box_teardown);
    tcase_add_loop_test(tcase, objects_are_as_hdf5_makes_them, 0, FORMS);
    suite_add_tcase(suite, tcase);
    return suite;
}
