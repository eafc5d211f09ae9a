/* SPDX-License-Identifier: MIT */
/*
 * Names and checksums, against three things that do not share the code: published values
 * of both algorithms; names computed once by another program (Python's hashlib) and kept
 * here, so that a change of the format cannot pass unnoticed; and the specification in
 * digest.h done in the plainest way, one message in memory, for many shapes and lengths.
 */
#include "digest.h"
#include "sha_pair.h"
#include "suites.h"
#include "support/fixture.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <xxhash.h>

#define PIECE HS_PIECE_SIZE
#define MOST (5 * PIECE + 100)

static uint8_t *bytes; /* MOST of them */

static void
setup(void)
{
    bytes = malloc(MOST);
    ck_assert_ptr_nonnull(bytes);
    fixture_fill(bytes, MOST, 1);
}

static void
teardown(void)
{
    free(bytes);
}

static void
sha256(const void *data, size_t size, uint8_t digest[32])
{
    ck_assert_int_eq(EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL), 1);
}

static void
expect_hex(const uint8_t digest[32], const char *hex)
{
    char text[H5STORE_ID_TEXT_SIZE];
    h5store_id id;

    memcpy(id.bytes, digest, 32);
    h5store_id_format(&id, text);
    ck_assert_str_eq(text, hex);
}

/* ---- the specification, plainly --------------------------------------- */

struct message {
    uint8_t *bytes;
    size_t size;
};

static void
append(struct message *message, const void *data, size_t size)
{
    message->bytes = realloc(message->bytes, message->size + size + 1);
    ck_assert_ptr_nonnull(message->bytes);
    memcpy(message->bytes + message->size, data, size);
    message->size += size;
}

static void
append_number(struct message *message, uint64_t number)
{
    uint8_t le[8] = {
        (uint8_t)number,         (uint8_t)(number >> 8),  (uint8_t)(number >> 16),
        (uint8_t)(number >> 24), (uint8_t)(number >> 32), (uint8_t)(number >> 40),
        (uint8_t)(number >> 48), (uint8_t)(number >> 56),
    };

    append(message, le, sizeof le);
}

static h5store_id
plain_name(const h5store_array *array)
{
    struct message message = {NULL, 0};
    const uint8_t *data = array->data;
    h5store_id id;

    append(&message, "h5store1", 8);
    append_number(&message, strlen(array->dtype));
    append(&message, array->dtype, strlen(array->dtype));
    append_number(&message, 1);
    append(&message, array->order == H5STORE_ORDER_F ? "F" : "C", 1);
    append_number(&message, 8 * (uint64_t)array->rank);
    for (int i = 0; i < array->rank; i++)
        append_number(&message, array->shape[i]);
    append_number(&message, array->nbytes);
    for (uint64_t at = 0; at < array->nbytes; at += PIECE) {
        uint8_t digest[32];

        sha256(data + at, array->nbytes - at < PIECE ? array->nbytes - at : PIECE, digest);
        append(&message, digest, sizeof digest);
    }
    sha256(message.bytes, message.size, id.bytes);
    free(message.bytes);
    return id;
}

static uint64_t
plain_sum(const h5store_array *array)
{
    struct message message = {NULL, 0};
    const uint8_t *data = array->data;
    uint64_t sum;

    append(&message, "", 0);
    for (uint64_t at = 0; at < array->nbytes; at += PIECE)
        append_number(
            &message,
            XXH3_64bits(data + at, array->nbytes - at < PIECE ? array->nbytes - at : PIECE));
    sum = XXH3_64bits(message.bytes, message.size);
    free(message.bytes);
    return sum;
}

static h5store_id
name_of(const h5store_array *array)
{
    h5store_id id;

    ck_assert_int_eq(hs_digest_array(array, 1, &id, NULL, NULL), H5STORE_OK);
    return id;
}

static void
expect_as_specified(const h5store_array *array)
{
    static const int threads[] = {1, 2, 7};
    h5store_id expected = plain_name(array), id;
    uint64_t expected_sum = plain_sum(array), sum;

    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
        memset(&id, 0, sizeof id);
        sum = 0;
        ck_assert_int_eq(hs_digest_array(array, threads[i], &id, &sum, NULL), H5STORE_OK);
        ck_assert_msg(h5store_id_equal(&id, &expected), "name of %llu bytes, rank %d, %d threads",
                      (unsigned long long)array->nbytes, array->rank, threads[i]);
        ck_assert_uint_eq(sum, expected_sum);
    }
    id = name_of(array);
    ck_assert(h5store_id_equal(&id, &expected));
    sum = 0;
    ck_assert_int_eq(hs_digest_array(array, 1, NULL, &sum, NULL), H5STORE_OK);
    ck_assert_uint_eq(sum, expected_sum);
}

/* ---- published values ------------------------------------------------- */

START_TEST(xxh3_has_its_published_values)
{
    /* xxHash's own sanity check: XXH3_64bits of the first bytes of its test pattern. */
    static const struct {
        size_t size;
        uint64_t sum;
    } cases[] = {
        {0, UINT64_C(0x2D06800538D394C2)},    {1, UINT64_C(0xC44BDFF4074EECDB)},
        {6, UINT64_C(0x27B56A84CD2D7325)},    {12, UINT64_C(0xA713DAF0DFBB77E7)},
        {24, UINT64_C(0xA3FE70BF9D3510EB)},   {48, UINT64_C(0x397DA259ECBA1F11)},
        {80, UINT64_C(0xBCDEFBBB2C47C90A)},   {195, UINT64_C(0xCD94217EE362EC3A)},
        {403, UINT64_C(0xCDEB804D65C6DEA4)},  {512, UINT64_C(0x617E49599013CB6B)},
        {2048, UINT64_C(0xDD59E2C3A5F038E0)}, {2240, UINT64_C(0x6E73A90539CF2948)},
        {2367, UINT64_C(0xCB37AEB9E5D361ED)},
    };
    uint64_t generator = 2654435761u;
    uint8_t pattern[2367];

    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = (uint8_t)(generator >> 56);
        generator *= UINT64_C(11400714785074694797);
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_uint_eq(hs_sum64(pattern, cases[i].size), cases[i].sum);
}
END_TEST

START_TEST(names_computed_elsewhere)
{
    static const double doubles[] = {0, 1, 2};
    static const int32_t integers[] = {0, 1, 2, 3, 4, 5};
    const struct {
        h5store_array array;
        const char *name;
    } cases[] = {
        {{"'<f8'", H5STORE_ORDER_C, 1, {3}, 24, doubles, NULL},
         "3acdce833b9600d265d6b0b2dbee166a5df05a5349b7ffbbb67a6dc518d7073c"},
        {{"'|u1'", H5STORE_ORDER_C, 1, {0}, 0, NULL, NULL},
         "7d11135fd67305495d3cb72fedf43757940319ec0a415a87f0414c092ee91611"},
        {{"'<i4'", H5STORE_ORDER_F, 2, {2, 3}, 24, integers, NULL},
         "46933fb8c9459d48da45d9670d552b9e38336f755b3d504c1d401be9eaf0300f"},
        {{"'|u1'", H5STORE_ORDER_C, 1, {600000}, 600000, bytes, NULL},
         "d288dd34da625966d7f2e04fef96217c860e621ed5e7c46d7c8820185310314a"},
    };

    for (uint64_t i = 0; i < 600000; i++)
        bytes[i] = (uint8_t)(i * i / 7 % 251);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_hex(name_of(&cases[i].array).bytes, cases[i].name);
}
END_TEST

START_TEST(checksum_of_nothing)
{
    const h5store_array empty = {"'|u1'", H5STORE_ORDER_C, 1, {0}, 0, NULL, NULL};
    uint64_t sum;

    ck_assert_int_eq(hs_digest_array(&empty, 1, NULL, &sum, NULL), H5STORE_OK);
    ck_assert_uint_eq(sum, UINT64_C(0x2D06800538D394C2));
}
END_TEST

/* ---- many shapes and lengths ------------------------------------------ */

START_TEST(every_length_round_the_borders_is_as_specified)
{
    unsigned done = 0;

    for (uint64_t pieces = 0; pieces <= 5; pieces++) {
        for (int off = -2; off <= 2; off++) {
            uint64_t nbytes = pieces * PIECE + (uint64_t)off;
            h5store_array array = {"'|u1'", H5STORE_ORDER_C, 1, {nbytes}, nbytes, bytes, NULL};

            if (nbytes > MOST)
                continue; /* less than nothing */
            expect_as_specified(&array);
            done++;
        }
    }
    ck_assert_uint_eq(done, 6 * 5 - 2);
}
END_TEST

START_TEST(random_arrays_are_as_specified)
{
    uint64_t seed = (uint64_t)_i;

    for (int round = 0; round < 40; round++) {
        static const char letters[] = "'<fiuc|[](,) \xc3\xa9";
        char dtype[200];
        h5store_array array = {.dtype = dtype};
        size_t length = 1 + fixture_random(&seed) % (sizeof dtype - 1);

        for (size_t i = 0; i < length; i++)
            dtype[i] = letters[fixture_random(&seed) % (sizeof letters - 1)];
        dtype[length - 1] = '\0';
        array.rank = (int)(fixture_random(&seed) % (H5STORE_MAX_RANK + 1));
        array.order = fixture_random(&seed) & 1 ? H5STORE_ORDER_F : H5STORE_ORDER_C;
        for (int i = 0; i < array.rank; i++)
            array.shape[i] = fixture_random(&seed) >> (fixture_random(&seed) & 63);
        array.nbytes = fixture_random(&seed) % (MOST >> (fixture_random(&seed) % 20));
        array.data = bytes + fixture_random(&seed) % (MOST - array.nbytes);
        expect_as_specified(&array);
    }
}
END_TEST

START_TEST(description_is_part_of_the_name)
{
    const h5store_array arrays[] = {
        {"'<f8'", H5STORE_ORDER_C, 2, {4, 6}, 192, bytes, NULL},
        {"'<i8'", H5STORE_ORDER_C, 2, {4, 6}, 192, bytes, NULL},
        {"'<f8'", H5STORE_ORDER_F, 2, {4, 6}, 192, bytes, NULL},
        {"'<f8'", H5STORE_ORDER_C, 2, {6, 4}, 192, bytes, NULL},
        {"'<f8'", H5STORE_ORDER_C, 1, {24}, 192, bytes, NULL},
        {"'<f8'", H5STORE_ORDER_C, 3, {4, 6, 1}, 192, bytes, NULL},
        {"'<f8'", H5STORE_ORDER_C, 2, {4, 6}, 191, bytes, NULL},
        {"'<f8'", H5STORE_ORDER_C, 2, {4, 6}, 192, bytes + 1, NULL},
        {"'<f8'C", H5STORE_ORDER_C, 2, {4, 6}, 192, bytes, NULL},
        {"", H5STORE_ORDER_C, 0, {0}, 0, NULL, NULL},
        {"", H5STORE_ORDER_C, 1, {0}, 0, NULL, NULL},
        {"", H5STORE_ORDER_C, 2, {0, 0}, 0, NULL, NULL},
    };
    const size_t count = sizeof arrays / sizeof arrays[0];

    for (size_t i = 0; i < count; i++) {
        h5store_id id = name_of(&arrays[i]);

        for (size_t j = 0; j < i; j++) {
            h5store_id other = name_of(&arrays[j]);

            ck_assert_msg(!h5store_id_equal(&id, &other), "%zu and %zu have one name", i, j);
        }
    }
}
END_TEST

START_TEST(every_bit_counts)
{
    h5store_array array = {.dtype = "'|u1'",
                           .rank = 1,
                           .shape = {2 * PIECE + 9},
                           .nbytes = 2 * PIECE + 9,
                           .data = bytes};
    h5store_id id = name_of(&array), other;
    uint64_t sum = plain_sum(&array), other_sum, seed = 5;

    for (int i = 0; i < 60; i++) {
        size_t place = i == 0 ? 0 : i == 1 ? 2 * PIECE + 8 : fixture_random(&seed) % array.nbytes;
        uint8_t bit = (uint8_t)(1u << (fixture_random(&seed) & 7));

        bytes[place] ^= bit;
        ck_assert_int_eq(hs_digest_array(&array, 2, &other, &other_sum, NULL), H5STORE_OK);
        ck_assert(!h5store_id_equal(&id, &other));
        ck_assert_uint_ne(sum, other_sum);
        bytes[place] ^= bit;
    }
    other = name_of(&array);
    ck_assert(h5store_id_equal(&id, &other));
}
END_TEST

/* ---- the tree by hand ------------------------------------------------- */

/* However the pieces are grouped, and from whatever address they are read. */
START_TEST(pieces_may_be_done_in_any_order_and_in_runs)
{
    h5store_array array = {"'|u1'", H5STORE_ORDER_C, 1, {MOST}, MOST, bytes, NULL};
    h5store_id expected = plain_name(&array);
    uint64_t expected_sum = plain_sum(&array), runs = 0;
    HS_CLEANUP(hs_freep) uint8_t *copy = malloc(MOST + 1);

    ck_assert_ptr_nonnull(copy);
    for (uint64_t first = 0; first < 6; first++) {
        for (uint64_t second = first; second <= 6; second++) {
            HS_CLEANUP(hs_tree_freep) hs_tree *tree = NULL;
            const uint64_t border[] = {0, first, second, 6};
            h5store_id id;

            ck_assert_int_eq(hs_tree_new(MOST, &tree, NULL), H5STORE_OK);
            ck_assert_uint_eq(hs_tree_pieces(tree), 6);
            for (int run = 2; run >= 0; run--) {
                uint64_t at = border[run], count = border[run + 1] - at;
                uint64_t size = hs_min(MOST - at * PIECE, count * PIECE);

                memcpy(copy + 1, bytes + at * PIECE, size);
                ck_assert_int_eq(hs_tree_run(tree, at, count, copy + 1, true, false, NULL), 0);
                ck_assert_int_eq(hs_tree_run(tree, at, count, copy + 1, false, true, NULL), 0);
                memset(copy, 0, MOST + 1);
                runs++;
            }
            ck_assert_int_eq(hs_tree_id(tree, &array, &id, NULL), H5STORE_OK);
            ck_assert(h5store_id_equal(&id, &expected));
            ck_assert_uint_eq(hs_tree_sum(tree), expected_sum);
        }
    }
    ck_assert_uint_gt(runs, 50);
}
END_TEST

START_TEST(one_piece_at_a_time_gives_the_same)
{
    h5store_array array = {"'|u1'", H5STORE_ORDER_C, 1, {MOST}, MOST, bytes, NULL};
    HS_CLEANUP(hs_tree_freep) hs_tree *tree = NULL;
    h5store_id expected = plain_name(&array), id;

    ck_assert_int_eq(hs_tree_new(MOST, &tree, NULL), H5STORE_OK);
    for (uint64_t i = 6; i-- > 0;)
        ck_assert_int_eq(hs_tree_piece(tree, i, bytes + i * PIECE, true, true, NULL), H5STORE_OK);
    ck_assert_int_eq(hs_tree_id(tree, &array, &id, NULL), H5STORE_OK);
    ck_assert(h5store_id_equal(&id, &expected));
    ck_assert_uint_eq(hs_tree_sum(tree), plain_sum(&array));
}
END_TEST

START_TEST(length_that_no_file_has_is_refused)
{
    hs_tree *tree = NULL;
    h5store_err err;

    ck_assert_int_eq(hs_tree_new(UINT64_MAX, &tree, &err), H5STORE_E_NOMEM);
    ck_assert_int_eq(err.code, H5STORE_E_NOMEM);
    ck_assert_int_eq(hs_tree_new(UINT64_C(1) << 63, &tree, &err), H5STORE_E_NOMEM);
    ck_assert_ptr_null(tree);
}
END_TEST

/* ---- two at once ------------------------------------------------------ */

START_TEST(pair_agrees_with_openssl_at_all_lengths)
{
    unsigned done = 0;

    if (!hs_sha_pair_available()) {
        printf("this machine has no SHA instructions: hs_sha_pair was not tested\n");
        return;
    }
    for (size_t size = 0; size <= 2 * PIECE + 65; size += size < 1100 ? 1 : PIECE / 4 - 13) {
        uint8_t first[32], second[32], expected[32];

        hs_sha_pair(bytes + 1, bytes + PIECE + 2, size, first, second);
        sha256(bytes + 1, size, expected);
        ck_assert_msg(memcmp(first, expected, 32) == 0, "first of %zu bytes", size);
        sha256(bytes + PIECE + 2, size, expected);
        ck_assert_msg(memcmp(second, expected, 32) == 0, "second of %zu bytes", size);
        done++;
    }
    ck_assert_uint_gt(done, 1100);
    hs_sha_pair("abc", "xyz", 3, bytes, bytes + 32);
    expect_hex(bytes, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
END_TEST

Suite *
digest_suite(void)
{
    Suite *suite = suite_create("digest");
    TCase *values = tcase_create("values"), *shapes = tcase_create("shapes");
    TCase *trees = tcase_create("trees");
    TCase *cases[] = {values, shapes, trees};

    tcase_add_test(values, xxh3_has_its_published_values);
    tcase_add_test(values, names_computed_elsewhere);
    tcase_add_test(values, checksum_of_nothing);
    tcase_add_test(shapes, every_length_round_the_borders_is_as_specified);
    tcase_add_loop_test(shapes, random_arrays_are_as_specified, 0, 4);
    tcase_add_test(shapes, description_is_part_of_the_name);
    tcase_add_test(shapes, every_bit_counts);
    tcase_add_test(trees, pieces_may_be_done_in_any_order_and_in_runs);
    tcase_add_test(trees, one_piece_at_a_time_gives_the_same);
    tcase_add_test(trees, length_that_no_file_has_is_refused);
    tcase_add_test(trees, pair_agrees_with_openssl_at_all_lengths);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tcase_add_checked_fixture(cases[i], setup, teardown);
        tcase_set_timeout(cases[i], 240);
        suite_add_tcase(suite, cases[i]);
    }
    return suite;
}
