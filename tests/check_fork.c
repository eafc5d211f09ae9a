/* SPDX-License-Identifier: MIT */
/*
 * What a child of a fork inherits: an array that the parent had mapped keeps its bytes in the
 * child (I4), whatever the parent lets go of, removes and closes.
 */
#include "forks.h"
#include "os.h"
#include "support/container.h"
#include "support/fixture.h"
#include <pthread.h>
#include <string.h>

Suite *fork_suite(void);

#define SIZE 200000u
#define BIG 4000000u /* whose going shows in the blocks of the file */

/* What the child looks at. */
struct inherited {
    h5store *store;
    h5store_blob *blob;
    h5store_item *item;
    const void *data;
    size_t size;
    unsigned seed;
};

static void
expect_bytes(const struct inherited *mine)
{
    h5store_array want = box_array(mine->size, mine->seed);

    if (memcmp(mine->data, want.data, mine->size) != 0)
        box_fail("the mapping has other bytes than were put");
    box_free(&want);
}

enum order { LOOK, CLOSE_HANDLE, CLOSE_BLOB, END };

/* Do as the parent says until it says END. */
static int
look_when_told(child *parent, void *context)
{
    struct inherited *mine = context;
    uint64_t order;

    while ((order = child_hear(parent)) != END) {
        if (order == LOOK)
            expect_bytes(mine);
        else if (order == CLOSE_HANDLE)
            box_close(mine->store);
        else
            h5store_blob_close(mine->blob);
        child_tell(parent, order);
    }
    return 0;
}

static void
tell(child *c, enum order order)
{
    child_tell(c, order);
    ck_assert_uint_eq(child_hear(c), order);
}

static void
end(child *c)
{
    child_tell(c, END);
    ck_assert_int_eq(child_wait(c), 0);
}

/* A new container with the array, which is kept; mapped. */
static struct inherited
map_array(size_t size, unsigned seed)
{
    struct inherited mine = {.store = box_open(H5STORE_CREATE), .size = size, .seed = seed};
    h5store_id id = box_put(mine.store, size, seed, NULL);

    BOX_OK(h5store_blob_open(mine.store, &id, &mine.blob, &box_err));
    BOX_OK(h5store_blob_map(mine.blob, &mine.data, &box_err));
    return mine;
}

static void
discard(h5store *store, size_t size, unsigned seed)
{
    h5store_array array = box_array(size, seed);
    h5store_id id;

    BOX_OK(h5store_hash(&array, 1, &id, &box_err));
    BOX_OK(h5store_discard(store, &id, &box_err));
    BOX_OK(h5store_flush(store, &box_err));
    box_free(&array);
}

/* The file's blocks fall by the array: nobody pins it. */
static void
expect_space_back(h5store *store, uint64_t before)
{
    BOX_OK(h5store_flush(store, &box_err));
    ck_assert_uint_le(box_totals(store).disk_bytes + BIG / 2, before);
}

/* ---- forks are seen -------------------------------------------------------------------- */

static uint64_t mark;
static bool seen_while_forking;

/* Registered first it runs last. */
static void
look_while_forking(void)
{
    seen_while_forking = hs_forks_since(mark);
}

static int
begin_anew(child *parent, void *context)
{
    (void)parent;
    (void)context;
    return hs_forks_since(hs_forks_now());
}

START_TEST(forks_are_seen_from_their_beginning)
{
    child *c;

    ck_assert_int_eq(pthread_atfork(look_while_forking, NULL, NULL), 0);
    mark = hs_forks_now();
    ck_assert(!hs_forks_since(mark));
    c = child_start(begin_anew, NULL);
    ck_assert(seen_while_forking);
    ck_assert(hs_forks_since(mark));
    ck_assert(!hs_forks_since(hs_forks_now()));
    ck_assert_int_eq(child_wait(c), 0);
    mark = hs_forks_now();
    ck_assert_int_eq(box_run("true"), 0); /* nothing of ours is left in it */
    ck_assert(!hs_forks_since(mark));
}
END_TEST

/* ---- the mapping stays ----------------------------------------------------------------- */

START_TEST(mapping_of_a_child_outlives_the_parents)
{
    struct inherited mine = map_array(SIZE, 1);
    h5store *other = _i == 0 ? mine.store : box_open(0);
    child *c = child_start(look_when_told, &mine);

    tell(c, LOOK);
    h5store_blob_close(mine.blob);
    discard(other, SIZE, 1);
    box_put(other, SIZE, 2, NULL); /* would take its place */
    tell(c, LOOK);
    end(c);
    if (other != mine.store)
        box_close(other);
    box_close(mine.store);
    box_expect_sound();
}
END_TEST

START_TEST(mapping_of_an_item_outlives_it)
{
    struct inherited mine = {.store = box_open(H5STORE_CREATE), .size = SIZE, .seed = 3};
    child *c;

    box_set(mine.store, "m", "k", SIZE, 3);
    BOX_OK(h5store_item_open(mine.store, "m", "k", &mine.item, &box_err));
    BOX_OK(h5store_blob_map(h5store_item_blob(mine.item, 0), &mine.data, &box_err));
    c = child_start(look_when_told, &mine);
    h5store_item_close(mine.item);
    box_remove(mine.store, "m", "k");
    BOX_OK(h5store_flush(mine.store, &box_err));
    tell(c, LOOK);
    end(c);
    box_close(mine.store);
    box_expect_sound();
}
END_TEST

/* As decache does, which needs a mapping that is NumPy's. */
START_TEST(mapping_of_the_callers_own_counts)
{
    struct inherited mine = {.store = box_open(H5STORE_CREATE), .size = SIZE, .seed = 4};
    h5store_id id = box_put(mine.store, SIZE, 4, NULL);
    int fd = open(box_path(), O_RDONLY | O_CLOEXEC);
    void *data;
    child *c;

    BOX_OK(h5store_flush(mine.store, &box_err));
    BOX_OK(h5store_blob_open(mine.store, &id, &mine.blob, &box_err));
    BOX_OK(
        hs_os_map(fd, box_path(), h5store_blob_get_info(mine.blob)->offset, SIZE, &data, &box_err));
    mine.data = data;
    c = child_start(look_when_told, &mine);
    tell(c, LOOK);
    h5store_blob_close(mine.blob);
    discard(mine.store, SIZE, 4);
    tell(c, LOOK);
    end(c);
    hs_os_unmap(data, SIZE);
    hs_os_closep(&fd);
    box_close(mine.store);
}
END_TEST

/* The log stays with the child's pin in it, or the next to come would make one without. */
START_TEST(mapping_of_a_child_outlives_the_parents_handle)
{
    struct inherited mine = map_array(BIG, 5);
    child *c = child_start(look_when_told, &mine);
    uint64_t full;
    h5store *next;

    h5store_blob_close(mine.blob);
    box_close(mine.store);
    tell(c, LOOK);
    ck_assert_int_gt(box_size(box_log_path()), 0);
    next = box_open(0);
    full = box_totals(next).disk_bytes;
    discard(next, BIG, 5);
    box_put(next, BIG, 6, NULL);
    tell(c, LOOK);
    box_close(next);
    ck_assert_int_gt(box_size(box_log_path()), 0);
    next = box_open(0);
    tell(c, LOOK);
    end(c);
    BOX_OK(h5store_flush(next, &box_err)); /* nothing but the second is there now */
    ck_assert_uint_le(box_totals(next).disk_bytes, full + BIG / 2);
    box_close(next);
    ck_assert_int_eq(box_size(box_log_path()), -1);
    box_expect_sound();
}
END_TEST

/* Closing its copy of the handle lets go of the descriptors when nothing is mapped any more. */
START_TEST(closing_in_the_child_keeps_its_mappings)
{
    struct inherited mine = map_array(BIG, 7);
    child *c = child_start(look_when_told, &mine);
    h5store *next;
    uint64_t full;

    tell(c, CLOSE_HANDLE);
    h5store_blob_close(mine.blob);
    box_close(mine.store);
    next = box_open(0);
    full = box_totals(next).disk_bytes;
    discard(next, BIG, 7);
    tell(c, LOOK);
    tell(c, CLOSE_BLOB);
    expect_space_back(next, full);
    box_close(next);
    ck_assert_int_eq(box_size(box_log_path()), -1);
    end(c);
    box_expect_sound();
}
END_TEST

/* Without a log a reader has the stock lock in place of pins. */
START_TEST(mapping_of_a_frozen_file_stays_in_the_child)
{
    struct inherited mine = map_array(SIZE, 8);
    h5store_id id = h5store_blob_get_info(mine.blob)->id;
    h5store *writer;
    child *c;

    h5store_blob_close(mine.blob);
    box_close(mine.store);
    mine.store = box_open(H5STORE_READ_ONLY);
    BOX_OK(h5store_blob_open(mine.store, &id, &mine.blob, &box_err));
    BOX_OK(h5store_blob_map(mine.blob, &mine.data, &box_err));
    c = child_start(look_when_told, &mine);
    h5store_blob_close(mine.blob);
    writer = box_open(0);
    (void)box_totals(mine.store); /* would join the writer's log, and unlock */
    BOX_OK(h5store_discard(writer, &id, &box_err));
    (void)h5store_flush(writer, NULL);
    tell(c, LOOK);
    box_close(mine.store);
    (void)h5store_flush(writer, NULL);
    tell(c, LOOK);
    end(c);
    BOX_OK(h5store_flush(writer, &box_err));
    box_close(writer);
    box_expect_sound();
}
END_TEST

/* ---- and nothing else does ------------------------------------------------------------- */

/* A pin that was only read under, and one that was taken after the fork. */
START_TEST(other_pins_are_let_go_of)
{
    struct inherited mine = {.store = box_open(H5STORE_CREATE), .size = BIG, .seed = 9};
    h5store_id id = box_put(mine.store, BIG, 9, NULL);
    uint64_t full;
    child *c;

    if (_i == 0) {
        BOX_OK(h5store_blob_open(mine.store, &id, &mine.blob, &box_err));
        box_expect(mine.blob, BIG, 9);
    }
    c = child_start(look_when_told, &mine);
    if (_i == 1) {
        BOX_OK(h5store_blob_open(mine.store, &id, &mine.blob, &box_err));
        BOX_OK(h5store_blob_map(mine.blob, &mine.data, &box_err));
    }
    h5store_blob_close(mine.blob);
    BOX_OK(h5store_flush(mine.store, &box_err));
    full = box_totals(mine.store).disk_bytes;
    discard(mine.store, BIG, 9);
    expect_space_back(mine.store, full);
    end(c);
    box_close(mine.store);
}
END_TEST

/* However often one forks: the array has one pin, and closing gives it back. */
START_TEST(forks_leave_nothing_when_the_children_are_gone)
{
    struct inherited mine = map_array(BIG, 10);
    h5store_id id = h5store_blob_get_info(mine.blob)->id;
    h5store *next;
    uint64_t full;

    for (int i = 0; i < 20; i++) {
        child *c = child_start(look_when_told, &mine);

        h5store_blob_close(mine.blob);
        tell(c, LOOK);
        end(c);
        BOX_OK(h5store_blob_open(mine.store, &id, &mine.blob, &box_err));
        BOX_OK(h5store_blob_map(mine.blob, &mine.data, &box_err));
        expect_bytes(&mine);
    }
    h5store_blob_close(mine.blob);
    BOX_OK(h5store_flush(mine.store, &box_err));
    full = box_totals(mine.store).disk_bytes;
    discard(mine.store, BIG, 10);
    box_close(mine.store);
    ck_assert_int_eq(box_size(box_log_path()), -1); /* nobody is left to need it */
    next = box_open(0);
    expect_space_back(next, full);
    box_close(next);
    box_expect_sound();
}
END_TEST

Suite *
fork_suite(void)
{
    Suite *suite = suite_create("fork");
    TCase *mapped = tcase_create("mapped");
    TCase *others = tcase_create("others");

    tcase_add_checked_fixture(mapped, box_setup, box_teardown);
    tcase_set_timeout(mapped, 60);
    tcase_add_loop_test(mapped, mapping_of_a_child_outlives_the_parents, 0, 2);
    tcase_add_test(mapped, mapping_of_an_item_outlives_it);
    tcase_add_test(mapped, mapping_of_the_callers_own_counts);
    tcase_add_test(mapped, mapping_of_a_child_outlives_the_parents_handle);
    tcase_add_test(mapped, closing_in_the_child_keeps_its_mappings);
    tcase_add_test(mapped, mapping_of_a_frozen_file_stays_in_the_child);
    tcase_add_test(mapped, forks_are_seen_from_their_beginning);
    suite_add_tcase(suite, mapped);
    tcase_add_checked_fixture(others, box_setup, box_teardown);
    tcase_set_timeout(others, 60);
    tcase_add_loop_test(others, other_pins_are_let_go_of, 0, 2);
    tcase_add_test(others, forks_leave_nothing_when_the_children_are_gone);
    suite_add_tcase(suite, others);
    return suite;
}
