/* SPDX-License-Identifier: MIT */
/*
 * Codes and messages, and the text of ids.
 */
#include "error.h"
#include "suites.h"
#include <errno.h>
#include <h5store/id.h>
#include <stdio.h>

static bool
ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);

    return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* Decode strictly: every lead byte has its followers, and none is without a lead. */
static bool
is_utf8(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0';) {
        int more = *p < 0x80 ? 0 : *p >> 5 == 6 ? 1 : *p >> 4 == 14 ? 2 : *p >> 3 == 30 ? 3 : -1;

        if (more < 0)
            return false;
        for (p++; more > 0; more--, p++)
            if (*p >> 6 != 2)
                return false;
    }
    return true;
}

START_TEST(failure_is_code_errno_and_sentence)
{
    h5store_err err;

    ck_assert_int_eq(hs_fail(&err, H5STORE_E_BUSY, 0, "'%s' is busy for %d s", "a.h5", 3),
                     H5STORE_E_BUSY);
    ck_assert_int_eq(err.code, H5STORE_E_BUSY);
    ck_assert_int_eq(err.os_errno, 0);
    ck_assert_str_eq(err.message, "'a.h5' is busy for 3 s");
    ck_assert_int_eq(hs_fail(&err, H5STORE_E_IO, ENOSPC, "cannot write '%s'", "a.h5"),
                     H5STORE_E_IO);
    ck_assert_int_eq(err.os_errno, ENOSPC);
    ck_assert_str_eq(err.message, "cannot write 'a.h5': No space left on device");
    ck_assert_int_eq(hs_fail(NULL, H5STORE_E_DAMAGED, EIO, "nobody %s", "listens"),
                     H5STORE_E_DAMAGED);
}
END_TEST

START_TEST(unknown_errno_has_words_too)
{
    h5store_err err;

    ck_assert_int_eq(hs_fail_os(&err, 99999, "cannot do it"), H5STORE_E_IO);
    ck_assert_ptr_nonnull(strstr(err.message, "cannot do it: "));
    ck_assert_ptr_nonnull(strstr(err.message, "99999"));
}
END_TEST

START_TEST(errno_gives_the_code)
{
    static const struct {
        int os_errno, code;
    } cases[] = {
        {ENOSPC, H5STORE_E_NO_SPACE}, {EDQUOT, H5STORE_E_NO_SPACE},  {EFBIG, H5STORE_E_NO_SPACE},
        {ENOMEM, H5STORE_E_NOMEM},    {EROFS, H5STORE_E_READ_ONLY},  {EACCES, H5STORE_E_READ_ONLY},
        {EPERM, H5STORE_E_READ_ONLY}, {ENOENT, H5STORE_E_NOT_FOUND}, {EIO, H5STORE_E_IO},
        {EINVAL, H5STORE_E_IO},       {ESTALE, H5STORE_E_IO},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        h5store_err err;

        ck_assert_int_eq(hs_fail_os(&err, cases[i].os_errno, "x"), cases[i].code);
        ck_assert_int_eq(err.code, cases[i].code);
        ck_assert_int_eq(err.os_errno, cases[i].os_errno);
        ck_assert_int_eq(hs_fail_os(NULL, cases[i].os_errno, "x"), cases[i].code);
    }
}
END_TEST

START_TEST(prefix_keeps_code_and_errno)
{
    h5store_err err;

    hs_fail_os(&err, ENOENT, "cannot open '%s'", "a.h5");
    ck_assert_int_eq(hs_prefix(&err, err.code, "item '%s'", "f/1"), H5STORE_E_NOT_FOUND);
    ck_assert_int_eq(err.code, H5STORE_E_NOT_FOUND);
    ck_assert_int_eq(err.os_errno, ENOENT);
    ck_assert_str_eq(err.message, "item 'f/1': cannot open 'a.h5': No such file or directory");
    ck_assert_int_eq(hs_prefix(NULL, H5STORE_E_BUSY, "x"), H5STORE_E_BUSY);
}
END_TEST

START_TEST(arguments_may_point_into_the_message)
{
    h5store_err err;

    hs_fail(&err, H5STORE_E_INVALID, 0, "inner");
    hs_fail(&err, H5STORE_E_DAMAGED, 0, "outer (%s)", err.message);
    ck_assert_str_eq(err.message, "outer (inner)");
    hs_prefix(&err, err.code, "<%s>", err.message);
    ck_assert_str_eq(err.message, "<outer (inner)>: outer (inner)");
}
END_TEST

/* Paths of every length, of characters of one to four bytes: the message fits, says that
 * it was cut, stays UTF-8, and keeps the system's words. */
START_TEST(long_message_is_cut_between_characters)
{
    static const char *const characters[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    unsigned cut = 0;

    for (size_t kind = 0; kind < 4; kind++) {
        char path[3 * H5STORE_MESSAGE_SIZE] = "";

        while (strlen(path) < 2 * H5STORE_MESSAGE_SIZE) {
            h5store_err err;

            strcat(path, characters[kind]);
            memset(&err, 'x', sizeof err);
            hs_fail_os(&err, ENOSPC, "cannot write '%s'", path);
            ck_assert_ptr_nonnull(memchr(err.message, '\0', sizeof err.message));
            ck_assert(is_utf8(err.message));
            ck_assert(ends_with(err.message, ": No space left on device"));
            if (strstr(err.message, "...") != NULL) {
                ck_assert_uint_ge(strlen(err.message), H5STORE_MESSAGE_SIZE - 8);
                cut++;
            } else {
                ck_assert_ptr_nonnull(strstr(err.message, path));
            }
            hs_prefix(&err, err.code, "%s", path);
            ck_assert_ptr_nonnull(memchr(err.message, '\0', sizeof err.message));
            ck_assert(is_utf8(err.message));
            ck_assert_ptr_nonnull(strstr(err.message, "cannot write '"));
        }
    }
    ck_assert_uint_gt(cut, 1000);
}
END_TEST

START_TEST(memory_failure_says_what_for)
{
    h5store_err err;

    ck_assert_int_eq(hs_fail_nomem(&err, 4096, "a table"), H5STORE_E_NOMEM);
    ck_assert_str_eq(err.message, "out of memory (4096 bytes for a table)");
    ck_assert_int_eq(hs_fail_nomem(&err, 0, "a table"), H5STORE_E_NOMEM);
    ck_assert_str_eq(err.message, "out of memory (for a table)");
}
END_TEST

START_TEST(every_code_has_its_own_name)
{
    for (int code = H5STORE_E_HDF5; code <= H5STORE_DONE; code++) {
        const char *name = h5store_code_name(code);

        ck_assert_str_ne(name, "H5STORE_E_UNKNOWN");
        ck_assert_int_eq(strncmp(name, code < 0 ? "H5STORE_E_" : "H5STORE_", code < 0 ? 10 : 8), 0);
        for (int other = H5STORE_E_HDF5; other < code; other++)
            ck_assert_str_ne(name, h5store_code_name(other));
    }
    ck_assert_str_eq(h5store_code_name(H5STORE_E_BUSY), "H5STORE_E_BUSY");
    ck_assert_str_eq(h5store_code_name(H5STORE_E_HDF5 - 1), "H5STORE_E_UNKNOWN");
    ck_assert_str_eq(h5store_code_name(H5STORE_DONE + 1), "H5STORE_E_UNKNOWN");
    ck_assert_str_eq(h5store_code_name(-2147483647 - 1), "H5STORE_E_UNKNOWN");
}
END_TEST

START_TEST(id_text_round_trip)
{
    h5store_id id, back;
    char text[H5STORE_ID_TEXT_SIZE], upper[H5STORE_ID_TEXT_SIZE];

    for (int start = 0; start < 256; start += H5STORE_ID_SIZE) {
        for (int i = 0; i < H5STORE_ID_SIZE; i++)
            id.bytes[i] = (uint8_t)(start + i);
        h5store_id_format(&id, text);
        ck_assert_uint_eq(strlen(text), 64);
        for (int i = 0; i < H5STORE_ID_SIZE; i++) {
            char pair[3];

            snprintf(pair, sizeof pair, "%02hhx", id.bytes[i]);
            ck_assert_int_eq(memcmp(text + 2 * i, pair, 2), 0);
        }
        ck_assert_int_eq(h5store_id_parse(text, &back, NULL), H5STORE_OK);
        ck_assert(h5store_id_equal(&id, &back));
        for (size_t i = 0; i < sizeof text; i++)
            upper[i] = text[i] >= 'a' && text[i] <= 'f' ? (char)(text[i] - 32) : text[i];
        ck_assert_int_eq(h5store_id_parse(upper, &back, NULL), H5STORE_OK);
        ck_assert(h5store_id_equal(&id, &back));
        back.bytes[start % H5STORE_ID_SIZE] ^= 1;
        ck_assert(!h5store_id_equal(&id, &back));
    }
}
END_TEST

START_TEST(other_text_is_no_id)
{
    static const char good[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    static const char bad[] = "g/:@G`\x80 -";
    h5store_id id, before;
    h5store_err err;
    char text[80];

    memset(&id, 0x5a, sizeof id);
    before = id;
    for (size_t length = 0; length < 64; length++) {
        snprintf(text, sizeof text, "%.*s", (int)length, good);
        ck_assert_int_eq(h5store_id_parse(text, &id, &err), H5STORE_E_INVALID);
    }
    snprintf(text, sizeof text, "%s0", good);
    ck_assert_int_eq(h5store_id_parse(text, &id, &err), H5STORE_E_INVALID);
    ck_assert_ptr_nonnull(strstr(err.message, text));
    for (size_t place = 0; place < 64; place++) {
        for (size_t i = 0; i < sizeof bad - 1; i++) {
            strcpy(text, good);
            text[place] = bad[i];
            ck_assert_int_eq(h5store_id_parse(text, &id, &err), H5STORE_E_INVALID);
        }
    }
    ck_assert_int_eq(h5store_id_parse(NULL, &id, &err), H5STORE_E_INVALID);
    ck_assert_int_eq(h5store_id_parse(good, NULL, &err), H5STORE_E_INVALID);
    ck_assert_int_eq(h5store_id_parse("", &id, NULL), H5STORE_E_INVALID);
    ck_assert(h5store_id_equal(&id, &before));
}
END_TEST

Suite *
error_suite(void)
{
    Suite *suite = suite_create("error");
    TCase *messages = tcase_create("messages"), *ids = tcase_create("ids");

    tcase_add_test(messages, failure_is_code_errno_and_sentence);
    tcase_add_test(messages, unknown_errno_has_words_too);
    tcase_add_test(messages, errno_gives_the_code);
    tcase_add_test(messages, prefix_keeps_code_and_errno);
    tcase_add_test(messages, arguments_may_point_into_the_message);
    tcase_add_test(messages, long_message_is_cut_between_characters);
    tcase_add_test(messages, memory_failure_says_what_for);
    tcase_add_test(messages, every_code_has_its_own_name);
    tcase_add_test(ids, id_text_round_trip);
    tcase_add_test(ids, other_text_is_no_id);
    suite_add_tcase(suite, messages);
    suite_add_tcase(suite, ids);
    return suite;
}
