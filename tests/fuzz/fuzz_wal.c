/* SPDX-License-Identifier: MIT */
/*
 * Reading a log that anybody may have written: a libFuzzer target for hs_wal_*.
 *
 * The input is the log.  Its checksums are mended first when the first byte of the input says
 * so, since no mutation gets past them otherwise: byte 0 is taken away, bit 0 mends both copies
 * of the header, bit 1 the records as far as their lengths make sense, bit 2 the lengths.
 *
 * What must hold for any input: no crash; every record that is returned lies in the file, its
 * pages and blobs inside it, with the number that follows; reading twice gives the same; and
 * after a record was appended, it is found.
 *
 * Build with clang -fsanitize=fuzzer,address,undefined; seeds are made by fuzz_wal_seeds.
 */
#include "../../src/digest.h"
#include "../../src/wal.h"
#include <assert.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define FUZZ_MOST ((size_t)1 << 20)
#define FUZZ_RECORD_HEADER 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_MUST(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "fuzz_wal: not true: %s\n", #condition); \
            __builtin_trap(); \
        } \
    } while (0)

static void
fuzz_mend_header(uint8_t *copy)
{
    hs_put_le64(copy + 248, hs_sum64(copy, 248));
}

/* Make the length of a record's body what its counts come to. */
static void
fuzz_mend_length(uint8_t *record)
{
    uint64_t pages = (uint64_t)hs_get_le32(record + 28) * (8 + HS_PAGE_SIZE);
    uint64_t blobs = (uint64_t)hs_get_le32(record + 32) * (H5STORE_ID_SIZE + 16);

    hs_put_le64(record + 40, pages + blobs);
}

static void
fuzz_mend_records(uint8_t *log, size_t size, bool lengths)
{
    size_t at = HS_WAL_RECORDS;

    while (at + FUZZ_RECORD_HEADER <= size) {
        uint64_t body;

        if (lengths)
            fuzz_mend_length(log + at);
        body = hs_get_le64(log + at + 40);
        if (body > size - at - FUZZ_RECORD_HEADER)
            body = size - at - FUZZ_RECORD_HEADER; /* is wrong, and has a right sum */
        hs_put_le64(log + at + 48, hs_sum64(log + at + FUZZ_RECORD_HEADER, body));
        hs_put_le64(log + at + 56, hs_sum64(log + at, 56));
        at += FUZZ_RECORD_HEADER + body;
    }
}

/* Read all records; returns a digest of what they say. */
static uint64_t
fuzz_read(hs_wal *wal, uint64_t size, uint64_t *count)
{
    uint64_t digest = 0, sequence = wal->header.start_sequence, tail;
    hs_wal_record record;
    h5store_err err;
    int rc;

    *count = 0;
    hs_wal_rewind(wal);
    while ((rc = hs_wal_next(wal, &record, &err)) == H5STORE_OK) {
        size_t pages = record.page_count * (8 + HS_PAGE_SIZE);
        size_t blobs = record.blob_count * (H5STORE_ID_SIZE + 16);

        FUZZ_MUST(record.sequence == sequence);
        sequence++;
        FUZZ_MUST(wal->tail <= size && wal->next_sequence == sequence);
        FUZZ_MUST(pages + blobs <= size);
        digest = digest * 31 + hs_sum64(record.pages, pages) + record.flags;
        digest = digest * 31 + hs_sum64(record.blobs, blobs);
        ++*count;
    }
    FUZZ_MUST(rc == H5STORE_DONE || rc < 0);
    tail = wal->tail;
    /* There is nothing more, however often one asks. */
    FUZZ_MUST(rc < 0 || hs_wal_next(wal, &record, &err) == rc);
    FUZZ_MUST(wal->tail == tail);
    return digest;
}

static void
fuzz_append(hs_wal *wal)
{
    static const uint8_t page[HS_PAGE_SIZE] = {1, 2, 3};
    hs_wal_blob blob = {.extent = {8192, 4096}};
    hs_overlay overlay = {0};
    hs_wal_record record;
    uint64_t tail = wal->tail, sequence = wal->next_sequence;
    h5store_err err;

    /* Where nobody can write the append must say so. */
    FUZZ_MUST(hs_overlay_set(&overlay, 7, 0, page, &err) == 0);
    if (hs_wal_append(wal, &overlay, &blob, 1, HS_RECORD_METADATA, &err) == H5STORE_OK) {
        wal->tail = tail;
        wal->next_sequence = sequence;
        FUZZ_MUST(hs_wal_next(wal, &record, &err) == H5STORE_OK);
        FUZZ_MUST(record.sequence == sequence && record.page_count == 1 && record.blob_count == 1 &&
                  record.flags == HS_RECORD_METADATA);
        FUZZ_MUST(hs_get_le64(record.pages) == 7 &&
                  memcmp(record.pages + 8, page, sizeof page) == 0);
        FUZZ_MUST(hs_wal_next(wal, &record, &err) == H5STORE_DONE);
    }
    hs_overlay_release(&overlay);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static uint8_t *log;
    hs_wal wal = {.path = "fuzzed-wal"};
    uint64_t first, second, count, again;
    h5store_err err;
    bool present;

    if (size < 1 || size > FUZZ_MOST)
        return 0;
    if (fd < 0) {
        fd = memfd_create("log", MFD_CLOEXEC);
        log = malloc(FUZZ_MOST);
        FUZZ_MUST(fd >= 0 && log != NULL);
    }
    size--;
    memcpy(log, data + 1, size);
    if ((data[0] & 1) && size >= 768) {
        fuzz_mend_header(log);
        fuzz_mend_header(log + 512);
    }
    if (data[0] & 2)
        fuzz_mend_records(log, size, (data[0] & 4) != 0);
    FUZZ_MUST(ftruncate(fd, 0) == 0 && pwrite(fd, log, size, 0) == (ssize_t)size);
    wal.fd = fd;
    if (hs_wal_read_header(&wal, &present, &err) == H5STORE_OK && present) {
        first = fuzz_read(&wal, size, &count);
        second = fuzz_read(&wal, size, &again);
        FUZZ_MUST(first == second && count == again);
        if (wal.tail < FUZZ_MOST)
            fuzz_append(&wal);
    }
    hs_wal_release(&wal);
    return 0;
}
