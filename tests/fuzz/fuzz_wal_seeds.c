/* SPDX-License-Identifier: MIT */
/*
 * Make the seeds of fuzz_wal: logs that the library wrote, whole, torn, trimmed and reset, each
 * behind the byte that says which sums are mended.
 *
 *   fuzz_wal_seeds FOLDER
 */
#include "../../src/digest.h"
#include "../../src/wal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *seeds_folder;
static int seeds_made;

static void
seeds_need(int rc, const h5store_err *err)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "fuzz_wal_seeds: %s\n", err->message);
    exit(1);
}

/* Write the log, cut off at @p size (0: all of it), as one seed for each way of mending. */
static void
seeds_write(int fd, const char *name, off_t size)
{
    char path[4200], bytes[65536];
    ssize_t count = pread(fd, bytes, sizeof bytes, 0);

    if (size > 0 && size < count)
        count = size;
    for (int mend = 0; mend < 8; mend = 2 * mend + 1) { /* of what */
        FILE *file;

        snprintf(path, sizeof path, "%s/%s-%d", seeds_folder, name, mend);
        file = fopen(path, "wb");
        if (file == NULL || fputc(mend, file) == EOF ||
            fwrite(bytes, 1, (size_t)count, file) != (size_t)count || fclose(file) != 0) {
            fprintf(stderr, "fuzz_wal_seeds: cannot write '%s'\n", path);
            exit(1);
        }
        seeds_made++;
    }
}

static void
seeds_commit(hs_wal *wal, uint64_t number, size_t pages, size_t blobs, unsigned flags)
{
    hs_overlay overlay = {0};
    hs_wal_blob list[4] = {{.extent = {4096 * (number + 2), 8192}}};
    uint8_t page[HS_PAGE_SIZE] = {(uint8_t)number};
    h5store_err err;

    for (size_t i = 0; i < pages; i++)
        seeds_need(hs_overlay_set(&overlay, number + i, 0, page, &err), &err);
    seeds_need(hs_wal_append(wal, &overlay, list, blobs, flags, &err), &err);
    hs_overlay_release(&overlay);
}

int
main(int count, char **arguments)
{
    hs_wal wal = {.path = "seed"};
    h5store_err err;
    uint64_t position;
    char path[4200];
    int fd;

    if (count != 2) {
        fprintf(stderr, "usage: fuzz_wal_seeds FOLDER\n");
        return 2;
    }
    seeds_folder = arguments[1];
    if (mkdir(seeds_folder, 0777) != 0 && errno != EEXIST) {
        perror(seeds_folder);
        return 1;
    }
    snprintf(path, sizeof path, "%s/.making", seeds_folder);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        perror(path);
        return 1;
    }
    wal.fd = fd;
    wal.header = (hs_wal_header){
        .epoch = 5, .start = HS_WAL_RECORDS, .start_sequence = 1, .superblock_sum = 99};
    seeds_need(hs_wal_write_header(&wal, &err), &err);
    seeds_write(fd, "empty", 0);
    hs_wal_rewind(&wal);
    seeds_commit(&wal, 1, 3, 1, HS_RECORD_METADATA);
    seeds_write(fd, "one", 0);
    seeds_write(fd, "torn", HS_WAL_RECORDS + 300);
    seeds_commit(&wal, 2, 1, 0, 0);
    position = wal.tail;
    seeds_commit(&wal, 9, 12, 2, HS_RECORD_METADATA | HS_RECORD_REMOVAL);
    seeds_write(fd, "three", 0);
    wal.header.applied = 2;
    seeds_need(hs_wal_write_header(&wal, &err), &err);
    seeds_need(hs_wal_trim(&wal, position, 3, &err), &err);
    seeds_write(fd, "trimmed", 0);
    seeds_need(hs_wal_reset(&wal, &err), &err);
    seeds_commit(&wal, 4, 2, 1, HS_RECORD_METADATA);
    seeds_write(fd, "reset", 0);
    hs_wal_release(&wal);
    close(fd);
    unlink(path);
    printf("fuzz_wal_seeds: %d seeds\n", seeds_made);
    return 0;
}
