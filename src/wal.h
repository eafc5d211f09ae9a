/* SPDX-License-Identifier: MIT */
/*
 * The write-ahead log, "<container>-wal": one record for each commit that the container
 * file does not have for sure yet.  The essay is in wal.c; the bytes are in FORMAT.md.
 *
 * Owned by container.c, which holds its mutex and the roles named with each function.
 */
#ifndef HS_WAL_H
#define HS_WAL_H

#include "os.h"
#include "overlay.h"
#include "space.h"

#include <h5store/id.h>

#define HS_WAL_RECORDS 4096u /* offset of the first record */

/* What the header says.  Offsets are positions in the log. */
typedef struct hs_wal_header {
    uint8_t container_id[16];
    uint8_t boot_id[16];     /* of the machine's run in which it was last written */
    uint64_t counter;        /* grows with each writing of the header */
    uint64_t epoch;          /* grows when the log starts over */
    uint64_t start;          /* of the first record that is still needed */
    uint64_t start_sequence; /* its sequence number, or the next one to be given */
    uint64_t applied;        /* records up to this sequence number are in the file */
    uint64_t superblock_sum; /* hs_sum64 of the superblock as we left it in the file */
    uint64_t applying_sum;   /* of the one that who applies is about to leave there */
} hs_wal_header;

/* A blob whose bytes were written for a record: checked after a power cut. */
typedef struct hs_wal_blob {
    h5store_id id;
    hs_extent extent;
} hs_wal_blob;

enum {
    HS_RECORD_METADATA = 1, /* HDF5 metadata changed: other processes reopen their handle */
    HS_RECORD_REMOVAL = 2   /* an extent became loose: who looked it up before may have to again */
};

typedef struct hs_wal_record {
    uint64_t sequence;
    unsigned flags;
    size_t page_count, blob_count;
    const uint8_t *pages; /* page_count times le64 number, HS_PAGE_SIZE bytes */
    const uint8_t *blobs; /* blob_count times 32 bytes id, le64 address, le64 length */
} hs_wal_record;

hs_wal_blob hs_wal_record_blob(const hs_wal_record *record, size_t index);

typedef struct hs_wal {
    int fd; /* owned by container.c */
    const char *path;
    hs_wal_header header;
    uint64_t tail;          /* where the next record will be found or written */
    uint64_t next_sequence; /* the number it will have */
    uint8_t *window;        /* bytes of the log from window_start on */
    size_t window_size, window_room;
    uint64_t window_start;
    uint64_t reserved; /* there are blocks up to here, as far as this process knows */
    uint64_t length;   /* of the log when the scope that is open began (container.c); 0: not known.
                          While WRITE is held nobody else makes it longer. */
} hs_wal;

void hs_wal_release(hs_wal *wal);

/*
 * Read the header (READ shared or WRITE held).  *present is false when the log is empty
 * or neither copy of the header is whole, as in a log that was just created.
 * VERSION when it was written by a newer library.
 */
int hs_wal_read_header(hs_wal *wal, bool *present, h5store_err *err);

/* Write wal->header (WRITE held, and READ exclusive unless the log is being born). */
int hs_wal_write_header(hs_wal *wal, h5store_err *err);

/* Put the reading position to the start of the log. */
void hs_wal_rewind(hs_wal *wal);

/*
 * The record at the tail.  H5STORE_DONE when there is none (yet), or when what is there is
 * not whole: then it was never acknowledged.  On success the tail is behind it; the record
 * points into memory of the log that is valid until the next call.
 */
int hs_wal_next(hs_wal *wal, hs_wal_record *record, h5store_err *err);

/*
 * Before appending a record that does not give space back: have blocks for it and for later
 * ones that do (wal.c, SPACE).  NO_SPACE.
 */
int hs_wal_reserve(hs_wal *wal, size_t pages, size_t blobs, h5store_err *err);

/*
 * Append a record (WRITE held, the tail at the end).  When this returns OK the commit has
 * happened, for every process, and survives the death of any (I1).
 */
int hs_wal_append(hs_wal *wal, const hs_overlay *pages, const hs_wal_blob *blobs, size_t blob_count,
                  unsigned flags, h5store_err *err);

/* The end of the log at or above which nothing is needed: start over (WRITE held, READ
 * exclusive, everything up to the tail applied and synced). */
int hs_wal_reset(hs_wal *wal, h5store_err *err);

/* Give up the records before @p position, which are applied and synced (same locks). */
int hs_wal_trim(hs_wal *wal, uint64_t position, uint64_t sequence, h5store_err *err);

#endif
