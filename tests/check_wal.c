/* SPDX-License-Identifier: MIT */
/*
 * The log: what was appended is read again, whole or not at all, wherever it is torn.  Two
 * hs_wal on one file stand for two processes.
 */
#include "digest.h"
#include "os.h"
#include "support/fixture.h"
#include "wal.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

Suite *wal_suite(void);

static hs_wal writer, reader;
static h5store_err err;

static void
setup(void)
{
    fixture_setup();
    memset(&writer, 0, sizeof writer);
    writer.path = fixture_path("box.h5-wal");
    ck_assert_int_eq(hs_os_open(writer.path, O_RDWR | O_CREAT, &writer.fd, &err), H5STORE_OK);
    reader = writer;
    memcpy(writer.header.container_id, "container-id-16b", 16);
    memcpy(writer.header.boot_id, "the boot id, 16.", 16);
    writer.header.epoch = 77;
    writer.header.start = HS_WAL_RECORDS;
    writer.header.start_sequence = 1;
    ck_assert_int_eq(hs_wal_write_header(&writer, &err), H5STORE_OK);
    hs_wal_rewind(&writer);
}

static void
teardown(void)
{
    hs_wal_release(&writer);
    hs_wal_release(&reader);
    hs_os_closep(&writer.fd);
    fixture_teardown();
}

/* Append a record of @p pages pages and @p blobs blobs that follow from the sequence. */
static void
append(size_t pages, size_t blobs, unsigned flags)
{
    HS_CLEANUP(hs_overlay_release) hs_overlay overlay = {0};
    HS_CLEANUP(hs_freep) hs_wal_blob *list = calloc(blobs + 1, sizeof *list);
    uint64_t seed = writer.next_sequence;
    uint8_t bytes[HS_PAGE_SIZE];

    for (size_t i = 0; i < pages; i++) {
        fixture_fill(bytes, sizeof bytes, seed * 1000 + i);
        ck_assert_int_eq(hs_overlay_set(&overlay, seed + (pages - 1 - i) * 3, 0, bytes, &err),
                         H5STORE_OK);
    }
    for (size_t i = 0; i < blobs; i++) {
        fixture_fill(list[i].id.bytes, sizeof list[i].id.bytes, seed + i);
        list[i].extent = (hs_extent){(seed + i) * 4096, 4096 * (i + 1)};
    }
    ck_assert_int_eq(hs_wal_append(&writer, &overlay, list, blobs, flags, &err), H5STORE_OK);
}

/* Is the next record of @p wal the one that append made as number @p sequence? */
static void
expect_record(hs_wal *wal, uint64_t sequence, size_t pages, size_t blobs, unsigned flags)
{
    hs_wal_record record;
    uint8_t bytes[HS_PAGE_SIZE], id[H5STORE_ID_SIZE];

    ck_assert_int_eq(hs_wal_next(wal, &record, &err), H5STORE_OK);
    ck_assert_uint_eq(record.sequence, sequence);
    ck_assert_uint_eq(record.flags, flags);
    ck_assert_uint_eq(record.page_count, pages);
    ck_assert_uint_eq(record.blob_count, blobs);
    for (size_t i = 0; i < pages; i++) {
        const uint8_t *entry = record.pages + i * (8 + HS_PAGE_SIZE);

        ck_assert_uint_eq(hs_get_le64(entry), sequence + i * 3);
        fixture_fill(bytes, sizeof bytes, sequence * 1000 + (pages - 1 - i));
        ck_assert_mem_eq(entry + 8, bytes, HS_PAGE_SIZE);
    }
    for (size_t i = 0; i < blobs; i++) {
        const uint8_t *entry = record.blobs + i * (H5STORE_ID_SIZE + 16);

        fixture_fill(id, sizeof id, sequence + i);
        ck_assert_mem_eq(entry, id, sizeof id);
        ck_assert_uint_eq(hs_get_le64(entry + H5STORE_ID_SIZE), (sequence + i) * 4096);
        ck_assert_uint_eq(hs_get_le64(entry + H5STORE_ID_SIZE + 8), 4096 * (i + 1));
    }
}

static void
expect_end(hs_wal *wal)
{
    hs_wal_record record;
    uint64_t tail = wal->tail, next = wal->next_sequence;

    ck_assert_int_eq(hs_wal_next(wal, &record, &err), H5STORE_DONE);
    ck_assert_uint_eq(wal->tail, tail);
    ck_assert_uint_eq(wal->next_sequence, next);
}

static void
read_header(hs_wal *wal)
{
    bool present = false;

    ck_assert_int_eq(hs_wal_read_header(wal, &present, &err), H5STORE_OK);
    ck_assert(present);
}

static void
start_reading(hs_wal *wal)
{
    read_header(wal);
    hs_wal_rewind(wal);
}

static bool
has_header(void)
{
    bool present;

    ck_assert_int_eq(hs_wal_read_header(&reader, &present, &err), H5STORE_OK);
    return present;
}

static uint64_t
log_size(void)
{
    struct stat status;

    ck_assert_int_eq(fstat(writer.fd, &status), 0);
    return (uint64_t)status.st_size;
}

/* ---- header ------------------------------------------------------------------------ */

START_TEST(header_is_read_as_it_was_written)
{
    writer.header.applied = 5;
    writer.header.superblock_sum = UINT64_MAX - 3;
    ck_assert_int_eq(hs_wal_write_header(&writer, &err), H5STORE_OK);
    read_header(&reader);
    ck_assert_mem_eq(&reader.header, &writer.header, sizeof reader.header);
}
END_TEST

START_TEST(empty_log_has_no_header)
{
    ck_assert_int_eq(ftruncate(writer.fd, 0), 0);
    ck_assert(!has_header());
    ck_assert_int_eq(ftruncate(writer.fd, 8192), 0);
    ck_assert(!has_header());
}
END_TEST

static void
destroy(uint64_t offset)
{
    uint8_t byte;

    ck_assert_int_eq(pread(writer.fd, &byte, 1, (off_t)offset), 1);
    byte ^= 0xff;
    ck_assert_int_eq(pwrite(writer.fd, &byte, 1, (off_t)offset), 1);
}

/* Written in turn: whichever copy is torn, the other is the newest or the one before. */
START_TEST(either_copy_of_the_header_may_be_lost)
{
    for (unsigned round = 0; round < 6; round++) {
        uint64_t newest, newest_at;

        writer.header.applied = 100 + round;
        ck_assert_int_eq(hs_wal_write_header(&writer, &err), H5STORE_OK);
        newest = writer.header.counter;
        newest_at = newest % 2 ? 512 : 0;
        destroy(newest_at + 200);
        read_header(&reader);
        ck_assert_uint_eq(reader.header.counter, newest - 1);
        destroy(newest_at + 200);
        if (round > 0) {
            destroy(512 - newest_at + 200);
            read_header(&reader);
            ck_assert_uint_eq(reader.header.counter, newest);
            ck_assert_uint_eq(reader.header.applied, 100 + round);
            destroy(512 - newest_at + 200);
        }
        read_header(&reader);
        ck_assert_uint_eq(reader.header.counter, newest);
    }
}
END_TEST

START_TEST(header_without_a_whole_copy_is_none)
{
    unsigned tried = 0;

    ck_assert_int_eq(hs_wal_write_header(&writer, &err), H5STORE_OK); /* both copies */
    for (unsigned i = 0; i < 256; i++, tried++) {
        destroy(i);
        ck_assert(has_header());
        destroy(512 + 255 - i);
        ck_assert(!has_header());
        destroy(512 + 255 - i);
        destroy(i);
    }
    ck_assert_uint_eq(tried, 256);
    ck_assert(has_header());
}
END_TEST

START_TEST(newer_log_is_refused)
{
    uint8_t copy[256];
    bool present;

    ck_assert_int_eq(pread(writer.fd, copy, sizeof copy, 512), sizeof copy);
    hs_put_le32(copy + 8, 2);
    hs_put_le64(copy + 48, 1000);
    hs_put_le64(copy + 248, hs_sum64(copy, 248));
    ck_assert_int_eq(pwrite(writer.fd, copy, sizeof copy, 0), sizeof copy);
    ck_assert_int_eq(hs_wal_read_header(&reader, &present, &err), H5STORE_E_VERSION);
    ck_assert_ptr_nonnull(strstr(err.message, writer.path));
}
END_TEST

/* ---- records ----------------------------------------------------------------------- */

START_TEST(records_are_read_as_they_were_appended)
{
    static const size_t pages[] = {1, 0, 3, 500, 2, 1000, 1}; /* small and beyond a window */

    for (size_t i = 0; i < 7; i++)
        append(pages[i], i, (unsigned)i);
    start_reading(&reader);
    for (size_t i = 0; i < 7; i++)
        expect_record(&reader, i + 1, pages[i], i, (unsigned)i);
    expect_end(&reader);
    ck_assert_uint_eq(reader.tail, writer.tail);
    ck_assert_uint_eq(log_size(), writer.tail);
}
END_TEST

/* A reader that stands at the end sees each record as soon as it is there. */
START_TEST(reader_follows_the_writer)
{
    uint64_t state = 5, sequence = 1;

    start_reading(&reader);
    for (unsigned round = 0; round < 300; round++) {
        unsigned more = (unsigned)(fixture_random(&state) % 4);
        size_t pages[4];

        expect_end(&reader);
        for (unsigned i = 0; i < more; i++)
            append(pages[i] = 1 + fixture_random(&state) % 40, i, i);
        for (unsigned i = 0; i < more; i++)
            expect_record(&reader, sequence++, pages[i], i, i);
    }
    ck_assert_uint_gt(sequence, 300);
    expect_end(&reader);
}
END_TEST

/* The last record cut off at every length: everything before it is read, it never is, and
 * what is appended then takes its place. */
START_TEST(torn_tail_is_the_end)
{
    uint64_t before, whole;
    unsigned tried = 0;

    append(2, 1, 1);
    before = writer.tail;
    append(3, 2, 3);
    whole = writer.tail;
    for (uint64_t length = before; length < whole; length++, tried++) {
        ck_assert_int_eq(ftruncate(writer.fd, (off_t)length), 0);
        start_reading(&reader);
        expect_record(&reader, 1, 2, 1, 1);
        expect_end(&reader);
        writer.tail = reader.tail;
        writer.next_sequence = reader.next_sequence;
        append(3, 2, 3);
        ck_assert_uint_eq(writer.tail, whole);
        expect_record(&reader, 2, 3, 2, 3);
    }
    ck_assert_uint_gt(tried, 900);
}
END_TEST

/* Who has just learnt how long the log is need not look beyond that; a torn record is cut off all
 * the same, and once something was appended the length is not known any more. */
START_TEST(known_length_saves_a_look)
{
    append(1, 0, 1);
    start_reading(&reader);
    expect_record(&reader, 1, 1, 0, 1);
    reader.length = log_size();
    append(2, 1, 3);
    expect_end(&reader);
    reader.length = log_size();
    expect_record(&reader, 2, 2, 1, 3);
    reader.length = 0;
    expect_end(&reader);

    ck_assert_int_eq(pwrite(writer.fd, "torn", 4, (off_t)log_size()), 4);
    writer.length = log_size();
    append(1, 0, 1);
    ck_assert_uint_eq(writer.length, 0);
    ck_assert_uint_eq(log_size(), writer.tail);
    expect_record(&reader, 3, 1, 0, 1);
    writer.length = log_size();
    append(1, 0, 1);
    ck_assert_uint_eq(log_size(), writer.tail);
    expect_record(&reader, 4, 1, 0, 1);
}
END_TEST

START_TEST(flipped_byte_is_the_end)
{
    uint64_t before, whole;
    unsigned tried = 0;

    append(1, 0, 1);
    before = writer.tail;
    append(2, 1, 3);
    whole = writer.tail;
    append(1, 0, 1);
    for (uint64_t at = before; at < whole; at++, tried++) {
        destroy(at);
        start_reading(&reader);
        expect_record(&reader, 1, 1, 0, 1);
        expect_end(&reader); /* nor what is behind it */
        destroy(at);
    }
    ck_assert_uint_gt(tried, 600);
    start_reading(&reader);
    expect_record(&reader, 1, 1, 0, 1);
    expect_record(&reader, 2, 2, 1, 3);
    expect_record(&reader, 3, 1, 0, 1);
}
END_TEST

/* Random bytes, and records of an earlier epoch, behind the end are not read and are gone
 * after the next append. */
START_TEST(stale_bytes_are_the_end)
{
    uint8_t stale[40000] = {0};
    uint64_t end;

    append(60, 0, 1);
    append(60, 0, 1);
    ck_assert_int_gt(pread(writer.fd, stale, sizeof stale, HS_WAL_RECORDS), 30000);
    ck_assert_int_eq(hs_wal_reset(&writer, &err), H5STORE_OK);
    ck_assert_uint_eq(log_size(), HS_WAL_RECORDS);
    ck_assert_int_eq(pwrite(writer.fd, stale, sizeof stale, HS_WAL_RECORDS), sizeof stale);
    start_reading(&reader);
    expect_end(&reader);
    append(1, 0, 0);
    end = writer.tail;
    ck_assert_uint_eq(log_size(), end);
    expect_record(&reader, 3, 1, 0, 0);

    fixture_fill(stale, sizeof stale, 9);
    ck_assert_int_eq(pwrite(writer.fd, stale, sizeof stale, (off_t)end), sizeof stale);
    expect_end(&reader);
    append(2, 0, 0);
    expect_record(&reader, 4, 2, 0, 0);
    expect_end(&reader);
}
END_TEST

/* The log of another container, or of an earlier life of this one: right in all but the epoch. */
START_TEST(record_of_another_epoch_is_the_end)
{
    append(1, 0, 0);
    writer.header.epoch++;
    ck_assert_int_eq(hs_wal_write_header(&writer, &err), H5STORE_OK);
    start_reading(&reader);
    expect_end(&reader);
    writer.header.epoch--;
    ck_assert_int_eq(hs_wal_write_header(&writer, &err), H5STORE_OK);
    start_reading(&reader);
    expect_record(&reader, 1, 1, 0, 0);
}
END_TEST

/* A record of the right epoch and place, but not the next number: a copy of an older one. */
START_TEST(repeated_record_is_the_end)
{
    uint8_t record[4096];
    size_t length;

    append(1, 0, 0);
    length = writer.tail - HS_WAL_RECORDS;
    ck_assert_int_eq(pread(writer.fd, record, length, HS_WAL_RECORDS), (ssize_t)length);
    ck_assert_int_eq(pwrite(writer.fd, record, length, (off_t)writer.tail), (ssize_t)length);
    start_reading(&reader);
    expect_record(&reader, 1, 1, 0, 0);
    expect_end(&reader);
}
END_TEST

/* A header with a right sum that claims a body which cannot be. */
START_TEST(impossible_body_is_the_end)
{
    static const struct {
        unsigned at;
        uint64_t value;
    } wrong[] = {
        {40, UINT64_MAX}, {40, 0}, {40, UINT64_C(1) << 63}, {28, UINT32_MAX}, {32, UINT32_MAX},
    };
    uint8_t head[64], copy[64];

    append(1, 0, 0);
    ck_assert_int_eq(pread(writer.fd, head, sizeof head, HS_WAL_RECORDS), sizeof head);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memcpy(copy, head, sizeof copy);
        if (wrong[i].at == 40)
            hs_put_le64(copy + 40, wrong[i].value);
        else
            hs_put_le32(copy + wrong[i].at, (uint32_t)wrong[i].value);
        hs_put_le64(copy + 56, hs_sum64(copy, 56));
        ck_assert_int_eq(pwrite(writer.fd, copy, sizeof copy, HS_WAL_RECORDS), sizeof copy);
        start_reading(&reader);
        expect_end(&reader);
    }
}
END_TEST

/* ---- starting over ------------------------------------------------------------------ */

START_TEST(reset_begins_a_new_epoch)
{
    append(5, 1, 1);
    append(5, 1, 1);
    writer.header.applied = 2;
    ck_assert_int_eq(hs_wal_reset(&writer, &err), H5STORE_OK);
    ck_assert_uint_eq(log_size(), HS_WAL_RECORDS);
    start_reading(&reader);
    ck_assert_uint_eq(reader.header.epoch, 78);
    ck_assert_uint_eq(reader.header.start_sequence, 3);
    ck_assert_uint_eq(reader.header.applied, 2);
    expect_end(&reader);
    append(1, 1, 2);
    expect_record(&reader, 3, 1, 1, 2);
}
END_TEST

/* Trimmed record by record: what is left is read, and the space of the rest comes back. */
/* A commit leaves blocks behind its record for those that give space back, and has them
 * anew when the log was cut. */
START_TEST(reserving_leaves_blocks_beyond_the_record)
{
    struct stat status;

    if (fallocate(writer.fd, FALLOC_FL_KEEP_SIZE, 0, 4096) != 0)
        return; /* not on this file system */
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 200; i++) {
            ck_assert_int_eq(hs_wal_reserve(&writer, 10, 1, &err), H5STORE_OK);
            append(10, 1, 0);
            ck_assert_int_eq(hs_os_fstat(writer.fd, writer.path, &status, &err), H5STORE_OK);
            ck_assert_uint_eq((uint64_t)status.st_size, writer.tail);
            ck_assert_uint_ge((uint64_t)status.st_blocks * 512, writer.tail + 128 * 1024 - 4096);
        }
        ck_assert_int_eq(hs_wal_reset(&writer, &err), H5STORE_OK);
        ck_assert_int_eq(hs_os_fstat(writer.fd, writer.path, &status, &err), H5STORE_OK);
        ck_assert_int_ge(status.st_blocks * 512, 128 * 1024);
        ck_assert_int_lt(status.st_blocks * 512, 400 * 1024);
    }
}
END_TEST

static int
punch_on_a_full_disk(int fd HS_UNUSED, int mode, off_t offset HS_UNUSED, off_t length HS_UNUSED)
{
    errno = ENOSPC;
    return (mode & FALLOC_FL_PUNCH_HOLE) != 0 ? -1 : 0;
}

/* Some file systems need blocks to give blocks back. */
START_TEST(trim_does_without_a_hole)
{
    struct hs_os_ops ops = hs_os_real;
    uint64_t end;

    append(100, 0, 0);
    end = writer.tail;
    append(1, 0, 0);
    ops.fallocate = punch_on_a_full_disk;
    hs_os_set_ops(&ops);
    ck_assert_int_eq(hs_wal_trim(&writer, end, 2, &err), H5STORE_OK);
    hs_os_set_ops(NULL);
    start_reading(&reader);
    expect_record(&reader, 2, 1, 0, 0);
    expect_end(&reader);
}
END_TEST

START_TEST(trim_gives_up_the_oldest)
{
    uint64_t ends[20];
    struct stat status;

    for (unsigned i = 0; i < 20; i++) {
        append(100, 0, 0);
        ends[i] = writer.tail;
    }
    for (unsigned i = 0; i < 20; i++) {
        ck_assert_int_eq(hs_wal_trim(&writer, ends[i], i + 2, &err), H5STORE_OK);
        start_reading(&reader);
        for (unsigned j = i + 1; j < 20; j++)
            expect_record(&reader, j + 1, 100, 0, 0);
        expect_end(&reader);
    }
    ck_assert_uint_eq(log_size(), writer.tail);
    ck_assert_int_eq(fstat(writer.fd, &status), 0);
    ck_assert_msg(status.st_blocks * 512 < 100000, "%lld bytes are in use still",
                  (long long)status.st_blocks * 512);
    append(1, 0, 0);
    expect_record(&reader, 21, 1, 0, 0);
}
END_TEST

Suite *
wal_suite(void)
{
    Suite *suite = suite_create("wal");
    TCase *header = tcase_create("header");
    TCase *records = tcase_create("records");
    TCase *over = tcase_create("starting over");

    tcase_add_checked_fixture(header, setup, teardown);
    tcase_add_test(header, header_is_read_as_it_was_written);
    tcase_add_test(header, empty_log_has_no_header);
    tcase_add_test(header, either_copy_of_the_header_may_be_lost);
    tcase_add_test(header, header_without_a_whole_copy_is_none);
    tcase_add_test(header, newer_log_is_refused);
    tcase_add_checked_fixture(records, setup, teardown);
    tcase_set_timeout(records, 60);
    tcase_add_test(records, records_are_read_as_they_were_appended);
    tcase_add_test(records, reader_follows_the_writer);
    tcase_add_test(records, torn_tail_is_the_end);
    tcase_add_test(records, known_length_saves_a_look);
    tcase_add_test(records, flipped_byte_is_the_end);
    tcase_add_test(records, stale_bytes_are_the_end);
    tcase_add_test(records, record_of_another_epoch_is_the_end);
    tcase_add_test(records, repeated_record_is_the_end);
    tcase_add_test(records, impossible_body_is_the_end);
    tcase_add_checked_fixture(over, setup, teardown);
    tcase_add_test(over, reset_begins_a_new_epoch);
    tcase_add_test(over, trim_gives_up_the_oldest);
    tcase_add_test(over, trim_does_without_a_hole);
    tcase_add_test(over, reserving_leaves_blocks_beyond_the_record);
    suite_add_tcase(suite, header);
    suite_add_tcase(suite, records);
    suite_add_tcase(suite, over);
    return suite;
}
