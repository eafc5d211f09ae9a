/* SPDX-License-Identifier: MIT */
/*
 * Links and references that are added to object headers without HDF5, which is the oracle: of a
 * file that it made and we changed it must say exactly what a model says, and go on with it.
 */
#include "h5util.h"
#include "ohdr_edit.h"
#include "ohdr_make.h"
#include "os.h"
#include "superblock.h"
#include "support/fixture.h"
#include "vfd_compat.h"
#include <check.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *ohdr_edit_suite(void);

#define TARGETS 5u
#define NAMES 1100u
#define ARENA ((uint64_t)1024 * 1024)
#define NO_TARGET UINT_MAX

static const char *path;
static hid_t file;
static hs_pager pager;
static hs_space space;
static h5store_err err;
static unsigned model[NAMES]; /* the target of each name in /g, or NO_TARGET */
static uint64_t target_at[TARGETS];

static void
setup(void)
{
    fixture_setup();
    path = fixture_path("edit.h5");
    memset(&pager, 0, sizeof pager);
    memset(&space, 0, sizeof space);
    pager.fd = -1;
    pager.path = path;
    for (unsigned i = 0; i < NAMES; i++)
        model[i] = NO_TARGET;
    ck_assert_int_ge(H5Eset_auto2(H5E_DEFAULT, NULL, NULL), 0);
}

static void
teardown(void)
{
    hs_overlay_release(&pager.pending);
    hs_space_release(&space);
    hs_os_closep(&pager.fd);
    fixture_teardown();
}

/* Names of 1 to 300 bytes. */
static size_t
name_of(unsigned i, char name[304])
{
    size_t length = (size_t)sprintf(name, "%x", i);
    static const size_t lengths[] = {0, 3, 32, 64, 64, 64, 255, 256, 300};
    size_t least = lengths[i % (sizeof lengths / sizeof *lengths)];

    while (length < least)
        name[length++] = "-~"[i / 7 % 2];
    name[length] = '\0';
    return length;
}

/* ---- HDF5 --------------------------------------------------------------------------- */

static uint64_t
address_of(const char *name)
{
    hs_link_info info;

    ck_assert_int_ge(hs_link_info_get(file, name, &info), 0);
    return hs_h5_link_address(&info);
}

static void
hdf5_open(unsigned flags)
{
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS), fcpl = H5Pcreate(H5P_FILE_CREATE);

    ck_assert_int_ge(H5Pset_libver_bounds(fapl, H5F_LIBVER_V110, H5F_LIBVER_V110), 0);
    ck_assert_int_ge(H5Pset_link_phase_change(fcpl, 1000, 10), 0); /* of the root */
    file = flags & H5F_ACC_TRUNC ? H5Fcreate(path, flags, fcpl, fapl) : H5Fopen(path, flags, fapl);
    ck_assert_int_ge(file, 0);
    H5Pclose(fcpl);
    H5Pclose(fapl);
}

static void
hdf5_close(void)
{
    ck_assert_int_ge(H5Fclose(file), 0);
}

/* A file with targets, and with /g unless @p creation is negative.  Closed. */
static void
make_file(hid_t creation, unsigned attributes)
{
    char name[32], alias[32];
    uint64_t value = 7;

    hdf5_open(H5F_ACC_TRUNC);
    for (unsigned i = 0; i < TARGETS; i++) {
        snprintf(name, sizeof name, "target%u", i);
        H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        target_at[i] = address_of(name);
        snprintf(alias, sizeof alias, "alias%u", i); /* or its links would not be counted */
        ck_assert_int_ge(H5Lcreate_hard(file, name, file, alias, H5P_DEFAULT, H5P_DEFAULT), 0);
    }
    H5Gclose(H5Gcreate2(file, "single", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    if (creation >= 0) {
        hid_t group = H5Gcreate2(file, "g", H5P_DEFAULT, creation, H5P_DEFAULT);

        ck_assert_int_ge(group, 0);
        for (unsigned i = 0; i < attributes; i++) {
            snprintf(name, sizeof name, "attribute%u", i);
            ck_assert_int_eq(hs_h5_write_u64(group, name, &value, 1, true, &err), H5STORE_OK);
        }
        H5Gclose(group);
    }
    hdf5_close();
}

static void
hdf5_link(unsigned i, unsigned target)
{
    char name[304], from[32], to[320];

    name_of(i, name);
    snprintf(from, sizeof from, "target%u", target);
    snprintf(to, sizeof to, "g/%s", name);
    ck_assert_int_ge(H5Lcreate_hard(file, from, file, to, H5P_DEFAULT, H5P_DEFAULT), 0);
    model[i] = target;
}

static void
hdf5_unlink(unsigned i)
{
    char name[304], to[320];

    name_of(i, name);
    snprintf(to, sizeof to, "g/%s", name);
    ck_assert_int_ge(H5Ldelete(file, to, H5P_DEFAULT), 0);
    model[i] = NO_TARGET;
}

/* HDF5 knows the links of the model and no others, and counts them; how many. */
static unsigned
expect_model(unsigned attributes)
{
    unsigned links = 0, counts[TARGETS] = {0};
    char target[32];
    H5G_info_t info;
    hs_object_info object;
    hid_t group;

    hdf5_open(H5F_ACC_RDONLY);
    group = H5Gopen2(file, "g", H5P_DEFAULT);
    ck_assert_int_ge(group, 0);
    for (unsigned i = 0; i < NAMES; i++) {
        char name[304];
        hs_link_info link;

        name_of(i, name);
        if (model[i] == NO_TARGET) {
            ck_assert_int_eq(H5Lexists(group, name, H5P_DEFAULT), 0);
            continue;
        }
        counts[model[i]]++;
        ck_assert_msg(hs_link_info_get(group, name, &link) >= 0, "name %u is not there", i);
        ck_assert_uint_eq(hs_h5_link_address(&link), target_at[model[i]]);
        links++;
    }
    ck_assert_int_ge(H5Gget_info(group, &info), 0);
    ck_assert_uint_eq(info.nlinks, links);
    ck_assert_int_ge(hs_object_info_get(group, &object), 0);
    ck_assert_uint_eq(object.num_attrs, attributes);
    H5Gclose(group);
    for (unsigned i = 0; i < TARGETS; i++) {
        snprintf(target, sizeof target, "target%u", i);
        group = H5Oopen(file, target, H5P_DEFAULT);
        ck_assert_int_ge(hs_object_info_get(group, &object), 0);
        ck_assert_uint_eq(object.rc, 2 + counts[i]);
        H5Oclose(group);
    }
    hdf5_close();
    return links;
}

/* ---- ours --------------------------------------------------------------------------- */

/* The end of the file is an arena for metadata. */
static void
ours_begin(void)
{
    struct stat status;

    if (pager.fd < 0)
        ck_assert_int_eq(hs_os_open(path, O_RDWR, &pager.fd, &err), H5STORE_OK);
    ck_assert_int_eq(fstat(pager.fd, &status), 0);
    pager.in_transaction = true;
    space.arena_next = hs_round_up((uint64_t)status.st_size, 4096);
    space.arena_end = space.eoa = space.arena_next + ARENA;
    space.blocks.given_count = 0;
}

static void
ours_read(uint64_t address, hs_ohdr *header)
{
    ck_assert_msg(hs_ohdr_read(&pager, address, header, &err) == H5STORE_OK, "%s", err.message);
}

/* Where the root group has a link to; 0: nowhere. */
static uint64_t
ours_root(const char *name)
{
    uint8_t bytes[HS_SUPERBLOCK_SIZE];
    uint64_t found = 0;
    hs_ohdr root;

    ck_assert_int_eq(hs_pager_read(&pager, 0, bytes, sizeof bytes, &err), H5STORE_OK);
    ours_read(hs_superblock_root(bytes), &root);
    for (size_t i = 0; i < root.link_count; i++)
        if (root.links[i].name_length == strlen(name) &&
            memcmp(root.links[i].name, name, strlen(name)) == 0)
            found = root.links[i].address;
    hs_ohdr_release(&root);
    return found;
}

static int
ours_refer(uint64_t object, int64_t more)
{
    hs_ohdr header;
    int rc;

    ours_read(object, &header);
    rc = hs_ohdr_change_references(&pager, &header, more, &err);
    hs_ohdr_release(&header);
    return rc;
}

static int
ours_link(uint64_t group, unsigned i, unsigned target, size_t *blocks)
{
    char name[304];
    size_t length = name_of(i, name);
    hs_ohdr header;
    int rc;

    ours_read(group, &header);
    *blocks = header.block_count;
    rc = hs_ohdr_add_link(&pager, &space, &header, name, length, target_at[target], &err);
    hs_ohdr_release(&header);
    if (rc == H5STORE_OK) {
        model[i] = target;
        rc = ours_refer(target_at[target], 1);
    }
    return rc;
}

/* Bring what is pending into the file, which ends with the arena. */
static void
ours_end(void)
{
    uint8_t bytes[HS_SUPERBLOCK_SIZE];
    hs_page **pages;

    ck_assert_int_eq(hs_pager_read(&pager, 0, bytes, sizeof bytes, &err), H5STORE_OK);
    hs_superblock_set_eoa(bytes, space.eoa);
    ck_assert_int_eq(hs_pager_write(&pager, 0, bytes, sizeof bytes, &err), H5STORE_OK);
    ck_assert_int_eq(ftruncate(pager.fd, (off_t)space.eoa), 0);
    ck_assert_int_eq(hs_overlay_sorted(&pager.pending, &pages, &err), H5STORE_OK);
    for (size_t i = 0; i < pager.pending.count; i++)
        ck_assert_int_eq(hs_os_pwrite(pager.fd, path, pages[i]->bytes, HS_PAGE_SIZE,
                                      pages[i]->number * HS_PAGE_SIZE, &err),
                         H5STORE_OK);
    free(pages);
    hs_overlay_clear(&pager.pending);
    pager.in_transaction = false;
}

/* ---- links -------------------------------------------------------------------------- */

/* Groups of many beginnings. */
#define KINDS 8

static hid_t
kind_list(int kind)
{
    hid_t list = H5I_INVALID_HID;

    ck_assert_int_eq(hs_h5_group_list(&list, &err), H5STORE_OK);
    if (kind != 6) /* many more than ours have */
        H5Pset_link_phase_change(list, 2000, 1);
    switch (kind) {
    case 1:
        H5Pset_est_link_info(list, 8, 64);
        break;
    case 2:
        H5Pset_est_link_info(list, 1, 1);
        break;
    case 3:
        H5Pset_est_link_info(list, 200, 64); /* one large block */
        break;
    case 4:
        H5Pset_obj_track_times(list, false);
        break;
    case 5:
        H5Pset_attr_phase_change(list, 20, 15); /* limits in the prefix */
        break;
    default:
        break;
    }
    return list;
}

START_TEST(hdf5_finds_what_was_added)
{
    unsigned attributes = _i % 3 * 3, added = 0;
    hid_t list = kind_list(_i);
    size_t blocks = 0, most = 0, given = 0;
    uint64_t group, state = (uint64_t)_i + 1;

    make_file(list, attributes);
    H5Pclose(list);
    for (unsigned round = 0; round < 4; round++) {
        ours_begin();
        group = ours_root("g");
        ck_assert_uint_ne(group, 0);
        for (unsigned i = round * 250; i < (round + 1) * 250; i++) {
            unsigned target = (unsigned)(fixture_random(&state) % TARGETS);

            ck_assert_int_eq(ours_link(group, i, target, &blocks), H5STORE_OK);
            most = (size_t)hs_max(most, blocks);
            added++;
        }
        given += space.blocks.given_count;
        ours_end();
        if (round % 3 == 0)
            ck_assert_uint_eq(expect_model(attributes), added);
    }
    ck_assert_uint_gt(most, 5);
    ck_assert_uint_le(most, 24); /* a hundred KiB */
    ck_assert_uint_gt(given, 2);
}
END_TEST

START_TEST(group_of_ours_is_one_of_hdf5)
{
    HS_CLEANUP(hs_draft_release) hs_draft draft = {0};
    char name[304];
    size_t blocks, length = name_of(0, name);
    uint64_t address;
    hs_ohdr root;
    uint8_t bytes[HS_SUPERBLOCK_SIZE];

    make_file(-1, 0);
    ours_begin();
    hs_draft_group(&draft);
    hs_draft_attributes(&draft);
    hs_draft_number(&draft, "number", 5);
    hs_draft_link(&draft, name, length, target_at[1]);
    hs_draft_room(&draft, 200);
    model[0] = 1;
    ck_assert_int_eq(ours_refer(target_at[1], 1), H5STORE_OK);
    ck_assert_int_eq(hs_draft_write(&draft, &space, &pager, &address, &err), H5STORE_OK);
    ck_assert_int_eq(hs_pager_read(&pager, 0, bytes, sizeof bytes, &err), H5STORE_OK);
    ours_read(hs_superblock_root(bytes), &root);
    ck_assert_int_eq(hs_ohdr_add_link(&pager, &space, &root, "g", 1, address, &err), H5STORE_OK);
    hs_ohdr_release(&root);
    for (unsigned i = 1; i < 60; i++)
        ck_assert_int_eq(ours_link(address, i, i % TARGETS, &blocks), H5STORE_OK);
    ours_end();
    ck_assert_uint_eq(expect_model(1), 60);
    hdf5_open(H5F_ACC_RDWR); /* HDF5 makes of it what it likes */
    for (unsigned i = 60; i < NAMES; i++)
        hdf5_link(i, i % TARGETS);
    hdf5_close();
    ck_assert_uint_eq(expect_model(1), NAMES);
    ours_begin();
    ours_read(ours_root("g"), &root);
    ck_assert(root.links_dense); /* there are more than HDF5 keeps */
    hs_ohdr_release(&root);
    hdf5_open(H5F_ACC_RDWR);
    for (unsigned i = 20; i < NAMES; i++) /* and back */
        hdf5_unlink(i);
    hdf5_close();
    ck_assert_uint_eq(expect_model(1), 20);
}
END_TEST

/* HDF5 and we in turn, at random. */
START_TEST(both_may_change_a_group)
{
    unsigned ours = 0, theirs = 0, gone = 0, shrunk = 0, fresh = 0, attributes = 0;
    hid_t list = kind_list(_i % 3);
    uint64_t state = (uint64_t)_i + 77;

    make_file(list, 0);
    H5Pclose(list);
    for (unsigned round = 0; round < 16; round++) {
        size_t blocks, before = 0;
        uint64_t group;

        hdf5_open(H5F_ACC_RDWR);
        for (unsigned n = (unsigned)(fixture_random(&state) % 30); n > 0; n--) {
            unsigned i = (unsigned)(fixture_random(&state) % NAMES);

            if (model[i] == NO_TARGET) {
                hdf5_link(i, i % TARGETS);
                theirs++;
            } else {
                hdf5_unlink(i);
                gone++;
            }
        }
        for (unsigned i = 0; round % 4 == 3 && i < NAMES; i++) /* leave holes */
            if (model[i] != NO_TARGET && fixture_random(&state) % 3 == 0) {
                hdf5_unlink(i);
                gone++;
            }
        if (round % 9 == 5) {
            hid_t object = H5Gopen2(file, "g", H5P_DEFAULT);
            char name[24];

            snprintf(name, sizeof name, "text%u", round);
            ck_assert_int_eq(hs_h5_write_text(object, name, "a text", &err), H5STORE_OK);
            H5Gclose(object);
            attributes++;
        }
        hdf5_close();
        ours_begin();
        group = ours_root("g");
        for (unsigned n = 0; n < 25; n++) {
            unsigned i = (unsigned)(fixture_random(&state) % NAMES);

            if (model[i] != NO_TARGET)
                continue;
            ck_assert_int_eq(ours_link(group, i, (i + 1) % TARGETS, &blocks), H5STORE_OK);
            shrunk += before > blocks;
            fresh += before != 0 && blocks > before;
            before = blocks;
            ours++;
        }
        ours_end();
        expect_model(attributes);
    }
    ck_assert_uint_gt(ours, 200);
    ck_assert_uint_gt(theirs, 100);
    ck_assert_uint_gt(gone, 100);
    ck_assert_uint_ge(shrunk + fresh, 2);
}
END_TEST

/* HDF5 makes a block for each link that the header has no room for. */
START_TEST(many_short_blocks_become_one)
{
    hid_t list = kind_list(0);
    size_t before, blocks;
    uint64_t group;

    make_file(list, 2);
    H5Pclose(list);
    hdf5_open(H5F_ACC_RDWR);
    for (unsigned i = 0; i < 100; i++) {
        char name[16];

        hdf5_link(i, i % TARGETS);
        snprintf(name, sizeof name, "wall%u", i); /* or the last block could become longer */
        H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    }
    hdf5_close();
    ours_begin();
    group = ours_root("g");
    ck_assert_int_eq(ours_link(group, 100, 3, &before), H5STORE_OK);
    ck_assert_int_eq(ours_link(group, 101, 3, &blocks), H5STORE_OK);
    ours_end();
    ck_assert_uint_gt(before, 50);
    ck_assert_uint_le(blocks, 4);
    ck_assert_uint_ge(space.blocks.given_count, 5); /* the others are too short to be of use */
    ck_assert_uint_eq(expect_model(2), 102);
}
END_TEST

START_TEST(what_cannot_be_done_changes_nothing)
{
    hid_t list = kind_list(0);
    size_t blocks, pages;
    uint64_t next;

    if (_i != 1)
        H5Pset_link_creation_order(list, H5P_CRT_ORDER_TRACKED);
    if (_i != 0)
        H5Pset_attr_creation_order(list, H5P_CRT_ORDER_TRACKED);
    make_file(list, 1);
    H5Pclose(list);
    ours_begin();
    next = space.arena_next;
    pages = pager.pending.count;
    ck_assert_int_eq(ours_link(ours_root("g"), 0, 0, &blocks), H5STORE_DONE);
    ck_assert_uint_eq(pager.pending.count, pages);
    ck_assert_uint_eq(space.arena_next, next);
    ours_end();
    ck_assert_uint_eq(expect_model(1), 0);
}
END_TEST

/* ---- references --------------------------------------------------------------------- */

static unsigned
count_of(const char *name)
{
    hid_t object;
    hs_object_info info;

    hdf5_open(H5F_ACC_RDONLY);
    object = H5Oopen(file, name, H5P_DEFAULT);
    ck_assert_int_ge(hs_object_info_get(object, &info), 0);
    H5Oclose(object);
    hdf5_close();
    return info.rc;
}

START_TEST(references_are_counted)
{
    hid_t list = kind_list(0);

    make_file(list, 0);
    H5Pclose(list);
    ours_begin();
    ck_assert_int_eq(ours_refer(target_at[1], 3), H5STORE_OK);
    ck_assert_int_eq(ours_refer(target_at[1], 2), H5STORE_OK);
    ck_assert_int_eq(ours_refer(target_at[1], UINT32_MAX), H5STORE_DONE);
    ck_assert_int_eq(ours_refer(target_at[1], -7), H5STORE_DONE);
    ck_assert_int_eq(ours_refer(target_at[2], 3), H5STORE_OK);
    ck_assert_int_eq(ours_refer(target_at[2], -4), H5STORE_OK);         /* it says one */
    ck_assert_int_eq(ours_refer(ours_root("single"), 1), H5STORE_DONE); /* its one is not stated */
    ours_end();
    ck_assert_uint_eq(count_of("target1"), 7);
    ck_assert_uint_eq(count_of("target0"), 2);
    ck_assert_uint_eq(count_of("target2"), 1);
    ck_assert_uint_eq(count_of("single"), 1);
}
END_TEST

/* ---- drafts ------------------------------------------------------------------------- */

START_TEST(too_long_a_draft_is_not_written)
{
    HS_CLEANUP(hs_draft_release) hs_draft draft = {0};
    static char text[40000];
    uint64_t address = 1, next;

    memset(text, 't', sizeof text - 1);
    make_file(-1, 0);
    ours_begin();
    next = space.arena_next;
    hs_draft_group(&draft);
    hs_draft_text(&draft, "text", text);
    hs_draft_number(&draft, "number", 1);
    ck_assert_int_eq(hs_draft_write(&draft, &space, &pager, &address, &err), H5STORE_DONE);
    ck_assert_uint_eq(address, 1);
    ck_assert_uint_eq(space.arena_next, next);
    ck_assert_uint_eq(pager.pending.count, 0);
}
END_TEST

Suite *
ohdr_edit_suite(void)
{
    Suite *suite = suite_create("ohdr_edit");
    TCase *tcase = tcase_create("ohdr_edit");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, hdf5_finds_what_was_added, 0, KINDS);
    tcase_add_test(tcase, group_of_ours_is_one_of_hdf5);
    tcase_add_loop_test(tcase, both_may_change_a_group, 0, 4);
    tcase_add_test(tcase, many_short_blocks_become_one);
    tcase_add_loop_test(tcase, what_cannot_be_done_changes_nothing, 0, 3);
    tcase_add_test(tcase, references_are_counted);
    tcase_add_test(tcase, too_long_a_draft_is_not_written);
    suite_add_tcase(suite, tcase);
    return suite;
}
