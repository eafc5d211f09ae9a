/* SPDX-License-Identifier: MIT */
/*
 * Links of large groups read without HDF5.  HDF5 makes the groups, and is the oracle; then parts
 * of them are wiped out, and what is told must be true, and as much as can be known.
 */
#include "dense_impl.h"
#include "h5util.h"
#include "ohdr.h"
#include "os.h"
#include "support/fixture.h"
#include "vfd_compat.h"
#include <check.h>
#include <stdio.h>
#include <unistd.h>

Suite *dense_suite(void);

#define MOST 30000u

static hs_pager pager;
static hs_ohdr group;
static h5store_err err;
static uint64_t targets[3]; /* addresses of what the links lead to */

static void
setup(void)
{
    fixture_setup();
    memset(&pager, 0, sizeof pager);
    memset(&group, 0, sizeof group);
    pager.fd = -1;
}

static void
teardown(void)
{
    hs_ohdr_release(&group);
    hs_overlay_release(&pager.pending);
    hs_os_closep(&pager.fd);
    fixture_teardown();
}

static void
name_of(unsigned n, char name[64])
{
    snprintf(name, 64, "%08x-a-name-as-long-as-a-key-mostly-is", n * 2654435761u);
}

static uint64_t
address_of(hid_t place, const char *path)
{
    hs_object_info info;
    hid_t object = H5Oopen(place, path, H5P_DEFAULT);
    haddr_t address;

    ck_assert_int_ge(hs_object_info_get(object, &info), 0);
    ck_assert_int_ge(hs_object_address(object, info, &address), 0);
    H5Oclose(object);
    return address;
}

/* A group with @p count links to three objects in turn; those before @p removed are removed. */
static void
make(unsigned count, unsigned removed)
{
    const char *path = fixture_path("groups.h5");
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS), file, place;
    char name[64];
    uint64_t address;

    ck_assert_int_ge(H5Pset_libver_bounds(fapl, H5F_LIBVER_V110, H5F_LIBVER_V110), 0);
    file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, fapl);
    ck_assert_int_ge(file, 0);
    place = H5Gcreate2(file, "large", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "target%u", i);
        H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        targets[i] = address_of(file, name);
    }
    for (unsigned i = 0; i < count; i++) {
        char target[64];

        name_of(i, name);
        snprintf(target, sizeof target, "/target%u", i % 3);
        ck_assert_int_ge(H5Lcreate_hard(file, target, place, name, H5P_DEFAULT, H5P_DEFAULT), 0);
    }
    for (unsigned i = 0; i < removed; i++) {
        name_of(i, name);
        ck_assert_int_ge(H5Ldelete(place, name, H5P_DEFAULT), 0);
    }
    H5Gclose(place);
    address = address_of(file, "large");
    ck_assert_int_ge(H5Fclose(file), 0);
    H5Pclose(fapl);
    pager.path = path;
    ck_assert_int_eq(hs_os_open(path, O_RDWR, &pager.fd, &err), H5STORE_OK);
    pager.in_transaction = true;
    ck_assert_int_eq(hs_ohdr_read(&pager, address, &group, &err), H5STORE_OK);
    ck_assert(group.links_dense);
}

/* ---- what is told ----------------------------------------------------------------- */

struct heard {
    uint8_t times[MOST];
    unsigned sure, unsure, wrong;
};

static int
hear(const hs_ohdr_link *link, bool sure, void *context, h5store_err *error HS_UNUSED)
{
    struct heard *heard = context;
    char name[64], told[64] = "";
    unsigned hash, n;

    if (link->name_length < sizeof told)
        memcpy(told, link->name, link->name_length);
    n = sscanf(told, "%8x", &hash) == 1 ? hash * 244002641u : MOST; /* undoes name_of */
    name_of(n, name);
    if (n >= MOST || strcmp(name, told) != 0 || link->address != targets[n % 3]) {
        heard->wrong++;
        return H5STORE_OK;
    }
    heard->times[n]++;
    heard->sure += sure;
    heard->unsure += !sure;
    return H5STORE_OK;
}

static int
listen(struct heard *heard, const hs_dense_block *strays, size_t count)
{
    memset(heard, 0, sizeof *heard);
    return hs_dense_links(&pager, group.heap, group.name_index, strays, count, hear, heard, &err);
}

static const unsigned sizes[] = {9, 40, 700, 9000, MOST};

START_TEST(all_links_are_told)
{
    static struct heard heard;
    unsigned count = sizes[_i];

    make(count, 0);
    ck_assert_int_eq(listen(&heard, NULL, 0), H5STORE_OK);
    ck_assert_uint_eq(heard.sure, count);
    ck_assert_uint_eq(heard.unsure + heard.wrong, 0);
    for (unsigned i = 0; i < count; i++)
        ck_assert_uint_eq(heard.times[i], 1);
}
END_TEST

START_TEST(removed_links_are_not_told)
{
    static struct heard heard;

    make(2000, 1500);
    ck_assert_int_eq(listen(&heard, NULL, 0), H5STORE_OK);
    ck_assert_uint_eq(heard.sure, 500);
    for (unsigned i = 0; i < 2000; i++)
        ck_assert_uint_eq(heard.times[i], i >= 1500);
}
END_TEST

/* ---- damage ----------------------------------------------------------------------- */

/* All places in the file where a signature is. */
static size_t
find(const char *signature, uint64_t *places, size_t room)
{
    size_t count = 0, size;
    struct stat status;
    uint8_t *bytes;

    ck_assert_int_eq(fstat(pager.fd, &status), 0);
    size = (size_t)status.st_size;
    bytes = malloc(size);
    ck_assert_int_eq(hs_pager_read(&pager, 0, bytes, size, &err), H5STORE_OK);
    for (size_t i = 0; i + 4 <= size; i++)
        if (memcmp(bytes + i, signature, 4) == 0) {
            ck_assert_uint_lt(count, room);
            places[count++] = i;
        }
    free(bytes);
    return count;
}

static void
wipe(uint64_t address, size_t size)
{
    static const uint8_t zeros[4096];

    ck_assert_int_eq(hs_pager_write(&pager, address, zeros, size, &err), H5STORE_OK);
}

static void
restore(void)
{
    hs_overlay_clear(&pager.pending);
}

static size_t
find_blocks(hs_dense_block *blocks, size_t room)
{
    uint64_t places[1024];
    size_t count = find("FHDB", places, 1024), kept = 0;

    for (size_t i = 0; i < count; i++) {
        uint8_t head[HS_DENSE_HEAD_SIZE];

        ck_assert_int_eq(hs_pager_read(&pager, places[i], head, sizeof head, &err), H5STORE_OK);
        ck_assert_uint_lt(kept, room);
        if (hs_dense_parse_block(head, places[i], &blocks[kept]) && blocks[kept].heap == group.heap)
            kept++;
    }
    return kept;
}

/* The checksum of each link's block is wrong: the names are vouched for by their hashes. */
START_TEST(names_outlive_a_hole_in_a_block)
{
    static struct heard heard;
    hs_dense_block blocks[64];
    size_t count;
    unsigned holes = 0;

    make(3000, 0);
    count = find_blocks(blocks, 64);
    ck_assert_uint_gt(count, 10);
    for (size_t i = 0; i < count; i++) {
        wipe(blocks[i].address + 100, 200);
        ck_assert_int_eq(listen(&heard, NULL, 0), H5STORE_E_DAMAGED);
        ck_assert_uint_eq(heard.wrong, 0);
        ck_assert_uint_lt(heard.sure, 3000);
        ck_assert_uint_ge(heard.sure + heard.unsure, 3000 - 6);
        ck_assert_uint_lt(heard.sure + heard.unsure, 3000);
        holes++;
        restore();
    }
    ck_assert_uint_gt(holes, 10);
}
END_TEST

/* Without the tree every link in a whole block is told, and none is sure. */
START_TEST(links_outlive_the_tree)
{
    static struct heard heard;
    uint64_t leaves[512];
    size_t count;

    make(3000, 0);
    wipe(group.name_index, 38);
    ck_assert_int_eq(listen(&heard, NULL, 0), H5STORE_E_DAMAGED);
    ck_assert_uint_eq(heard.sure, 0);
    ck_assert_uint_eq(heard.unsure, 3000);
    ck_assert_uint_eq(heard.wrong, 0);
    restore();
    count = find("BTLF", leaves, 512);
    ck_assert_uint_gt(count, 10);
    for (size_t i = 0; i < count; i++) {
        wipe(leaves[i] + 20, 16);
        ck_assert_int_eq(listen(&heard, NULL, 0), H5STORE_E_DAMAGED);
        ck_assert_uint_gt(heard.unsure, 5); /* those of the leaf */
        ck_assert_uint_lt(heard.unsure, 60);
        ck_assert_uint_eq(heard.sure + heard.unsure, 3000);
        for (unsigned n = 0; n < 3000; n++)
            ck_assert_uint_eq(heard.times[n], 1);
        restore();
    }
}
END_TEST

/* Without the heap's header, and without its indirect blocks, blocks are found by signature. */
START_TEST(blocks_are_used_wherever_they_are_found)
{
    static struct heard heard;
    static hs_dense_block blocks[1024];
    uint64_t indirect[64];
    size_t count, lost;

    make(MOST, 0);
    count = find_blocks(blocks, 1024);
    lost = find("FHIB", indirect, 64);
    ck_assert_uint_ge(lost, 2); /* one in another */
    wipe(group.heap, 146);
    ck_assert_int_eq(listen(&heard, NULL, 0), H5STORE_E_DAMAGED);
    ck_assert_uint_eq(heard.sure, 0);
    ck_assert_int_eq(listen(&heard, blocks, count), H5STORE_E_DAMAGED);
    ck_assert_uint_eq(heard.sure, MOST);
    for (unsigned n = 0; n < MOST; n++)
        ck_assert_uint_eq(heard.times[n], 1);
    restore();
    for (size_t i = 0; i < lost; i++) {
        wipe(indirect[i], 40);
        ck_assert_int_eq(listen(&heard, NULL, 0), H5STORE_E_DAMAGED);
        ck_assert_uint_lt(heard.sure, MOST);
        ck_assert_int_eq(listen(&heard, blocks, count), H5STORE_E_DAMAGED);
        ck_assert_uint_eq(heard.sure, MOST);
        ck_assert_uint_eq(heard.unsure + heard.wrong, 0);
        restore();
    }
    /* With neither heap nor tree. */
    wipe(group.heap, 146);
    wipe(group.name_index, 38);
    ck_assert_int_eq(listen(&heard, blocks, count), H5STORE_E_DAMAGED);
    ck_assert_uint_eq(heard.sure, 0);
    ck_assert_uint_eq(heard.unsure, MOST);
}
END_TEST

/* Any byte anywhere: what is told as sure is true. */
START_TEST(nothing_untrue_is_sure)
{
    static struct heard heard;
    uint64_t state = 3;
    unsigned noticed = 0;
    struct stat status;

    make(700, 100);
    ck_assert_int_eq(fstat(pager.fd, &status), 0);
    for (unsigned n = 0; n < 4000; n++) {
        uint64_t address = fixture_random(&state) % (uint64_t)status.st_size;
        uint8_t byte;
        int rc;

        ck_assert_int_eq(hs_pager_read(&pager, address, &byte, 1, &err), H5STORE_OK);
        byte ^= (uint8_t)(1u << fixture_random(&state) % 8);
        ck_assert_int_eq(hs_pager_write(&pager, address, &byte, 1, &err), H5STORE_OK);
        rc = listen(&heard, NULL, 0);
        ck_assert(rc == H5STORE_OK || rc == H5STORE_E_DAMAGED);
        ck_assert(rc == H5STORE_E_DAMAGED || heard.sure == 600);
        for (unsigned i = 0; rc == H5STORE_OK && i < 100; i++)
            ck_assert_uint_eq(heard.times[i], 0);
        noticed += rc == H5STORE_E_DAMAGED;
        restore();
    }
    ck_assert_uint_gt(noticed, 500);
    ck_assert_uint_lt(noticed, 4000);
}
END_TEST

/* The least row of indirect blocks holds a row of direct ones, or its size would be negative. */
START_TEST(heap_whose_rows_do_not_fit_is_none)
{
    uint8_t head[DENSE_HEAP_SIZE];
    struct dense_heap heap;
    uint64_t largest;

    make(700, 100);
    ck_assert_int_eq(hs_pager_read(&pager, group.heap, head, sizeof head, &err), H5STORE_OK);
    ck_assert(dense_parse_heap(head, &heap));
    largest = 2 * heap.max_direct / heap.start; /* so many blocks in a row would still fit */
    for (unsigned width = 1; width <= 64; width *= 2) {
        head[110] = (uint8_t)width;
        hs_put_le32(head + sizeof head - 4, hs_ohdr_checksum(head, sizeof head - 4));
        ck_assert_int_eq(dense_parse_heap(head, &heap), width <= largest);
        hs_put_le64(head + 120, heap.start); /* and of no more than one size */
        hs_put_le32(head + sizeof head - 4, hs_ohdr_checksum(head, sizeof head - 4));
        ck_assert_int_eq(dense_parse_heap(head, &heap), width <= 2);
        hs_put_le64(head + 120, largest * heap.start / 2);
    }
}
END_TEST

/* The callback's own failure ends the walk. */
static int
refuse(const hs_ohdr_link *link HS_UNUSED, bool sure HS_UNUSED, void *context, h5store_err *error)
{
    ++*(unsigned *)context;
    return hs_fail(error, H5STORE_E_INVALID, 0, "no more");
}

START_TEST(who_listens_may_end_it)
{
    unsigned calls = 0;

    make(40, 0);
    ck_assert_int_eq(
        hs_dense_links(&pager, group.heap, group.name_index, NULL, 0, refuse, &calls, &err),
        H5STORE_E_INVALID);
    ck_assert_uint_eq(calls, 1);
}
END_TEST

Suite *
dense_suite(void)
{
    Suite *suite = suite_create("dense");
    TCase *tcase = tcase_create("dense");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, all_links_are_told, 0, (int)(sizeof sizes / sizeof *sizes));
    tcase_add_test(tcase, removed_links_are_not_told);
    tcase_add_test(tcase, names_outlive_a_hole_in_a_block);
    tcase_add_test(tcase, links_outlive_the_tree);
    tcase_add_test(tcase, blocks_are_used_wherever_they_are_found);
    tcase_add_test(tcase, nothing_untrue_is_sure);
    tcase_add_test(tcase, heap_whose_rows_do_not_fit_is_none);
    tcase_add_test(tcase, who_listens_may_end_it);
    suite_add_tcase(suite, tcase);
    return suite;
}
