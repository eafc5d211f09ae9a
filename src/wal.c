/* SPDX-License-Identifier: MIT */
/*
 * The write-ahead log.
 *
 * BYTES.  Offsets and lengths are little-endian.
 *
 *   0     header, copy A   (256 bytes)
 *   512   header, copy B   (256 bytes)
 *   4096  records, one after the other
 *
 *   header:  0 "h5s-wal\n"   8 le32 version 1   16 container id   32 boot id   48 counter
 *            56 epoch   64 start   72 start sequence   80 applied   88 superblock sum
 *            96 the sum to come   248 XXH3-64 of bytes 0 to 247
 *
 *   record:  0 "h5s-rec\n"   8 epoch   16 sequence   24 flags (le32)   28 pages (le32)
 *            32 blobs (le32)   36 zero   40 length of the body   48 XXH3-64 of the body
 *            56 XXH3-64 of bytes 0 to 55
 *            64 body: pages times {le64 number, 256 bytes}, blobs times {id, le64 address,
 *               le64 length}
 *
 * VALIDITY.  The header is the copy with a right sum and the higher counter; the two are
 * written in turn, so that a torn write leaves the other.  A record is valid when it lies
 * where the one before it ended, both its sums are right, its epoch is the header's, and
 * its sequence number follows.  The log is the longest run of valid records from the
 * header's start: the first bytes that are no valid record are its end, whatever they are.
 *
 * ALGORITHM.  A commit is one append: one write of the whole record, after which every
 * process that looks sees it.  Who appends holds WRITE and stands at the end, since it has
 * read all records before.  Bytes beyond the end (a torn record of a killed process) are
 * cut off first.  Pages are whole images, so that replaying a record twice is harmless.
 *
 * The records are applied to the container file by container.c; then `applied` says how
 * far, and when the file is synced `start` moves, or the log starts over with a new epoch.
 *
 * CRASH ARGUMENT.  Killed before the append is complete: the sums are wrong, the record is
 * the end, nothing was acknowledged.  Killed after it: the record is in the page cache and
 * outlives the process (I1).  Killed while the header is written: the other copy is in
 * force, which says less was done than was; doing it again is harmless.  Power cut: what
 * was not synced may be missing from any place; the run of valid records ends there, and
 * the state is that of an earlier commit.  Records are never applied before they are
 * synced, so the file never runs ahead of the log; and they stay until the file is synced, so
 * that after a power cut all of them are laid over it again, whatever `applied` says.
 *
 * SPACE.  Removing something needs a record, too.  So that it can be removed when the disk is
 * full, every other commit leaves WAL_SPARE bytes of blocks behind its record, which are
 * given back when the log is cut, and had again as soon as it is.
 *
 * READERS.  A process keeps its position (tail, next sequence).  It looks for more before
 * each piece of work, under READ shared or WRITE; `start` and the epoch change only under
 * READ exclusive, so the header and the records it reads belong together.
 */
#include "wal.h"
#include "digest.h"
#include <assert.h>

#define WAL_COPY_SIZE 256u
#define WAL_COPY_DISTANCE 512u
#define WAL_RECORD_HEADER 64u
#define WAL_PAGE_ENTRY (8u + HS_PAGE_SIZE)
#define WAL_BLOB_ENTRY (H5STORE_ID_SIZE + 16u)
#define WAL_WINDOW (64u * 1024u)
#define WAL_VERSION 1u
#define WAL_SPARE (128u * 1024u)

static const char wal_magic[8] = {'h', '5', 's', '-', 'w', 'a', 'l', '\n'};
static const char record_magic[8] = {'h', '5', 's', '-', 'r', 'e', 'c', '\n'};

void
hs_wal_release(hs_wal *wal)
{
    free(wal->window);
    wal->window = NULL;
    wal->window_size = wal->window_room = 0;
}

static bool
wal_copy_is_whole(const uint8_t *copy)
{
    return memcmp(copy, wal_magic, sizeof wal_magic) == 0 &&
           hs_get_le64(copy + 248) == hs_sum64(copy, 248);
}

int
hs_wal_read_header(hs_wal *wal, bool *present, h5store_err *err)
{
    uint8_t bytes[WAL_COPY_DISTANCE + WAL_COPY_SIZE];
    const uint8_t *a = bytes, *b = bytes + WAL_COPY_DISTANCE, *copy;
    hs_wal_header *header = &wal->header;
    size_t got;
    int rc;

    rc = hs_os_pread(wal->fd, wal->path, bytes, sizeof bytes, 0, &got, err);
    if (rc < 0)
        return rc;
    if (!wal_copy_is_whole(a) && !wal_copy_is_whole(b)) {
        *present = false;
        return H5STORE_OK;
    }
    if (!wal_copy_is_whole(a))
        copy = b;
    else if (!wal_copy_is_whole(b))
        copy = a;
    else
        copy = hs_get_le64(a + 48) >= hs_get_le64(b + 48) ? a : b;
    if (hs_get_le32(copy + 8) > WAL_VERSION)
        return hs_fail(err, H5STORE_E_VERSION, 0,
                       "the log '%s' is of version %u, and this library knows only version %u; it "
                       "was not touched: use a newer h5store",
                       wal->path, hs_get_le32(copy + 8), WAL_VERSION);
    memcpy(header->container_id, copy + 16, 16);
    memcpy(header->boot_id, copy + 32, 16);
    header->counter = hs_get_le64(copy + 48);
    header->epoch = hs_get_le64(copy + 56);
    header->start = hs_max(hs_get_le64(copy + 64), HS_WAL_RECORDS);
    header->start_sequence = hs_get_le64(copy + 72);
    header->applied = hs_get_le64(copy + 80);
    header->superblock_sum = hs_get_le64(copy + 88);
    header->applying_sum = hs_get_le64(copy + 96);
    *present = true;
    return H5STORE_OK;
}

int
hs_wal_write_header(hs_wal *wal, h5store_err *err)
{
    hs_wal_header *header = &wal->header;
    uint8_t copy[WAL_COPY_SIZE] = {0};
    uint64_t counter = header->counter + 1;
    int rc;

    memcpy(copy, wal_magic, sizeof wal_magic);
    hs_put_le32(copy + 8, WAL_VERSION);
    memcpy(copy + 16, header->container_id, 16);
    memcpy(copy + 32, header->boot_id, 16);
    hs_put_le64(copy + 48, counter);
    hs_put_le64(copy + 56, header->epoch);
    hs_put_le64(copy + 64, header->start);
    hs_put_le64(copy + 72, header->start_sequence);
    hs_put_le64(copy + 80, header->applied);
    hs_put_le64(copy + 88, header->superblock_sum);
    hs_put_le64(copy + 96, header->applying_sum);
    hs_put_le64(copy + 248, hs_sum64(copy, 248));
    rc = hs_os_pwrite(wal->fd, wal->path, copy, sizeof copy, counter % 2 ? WAL_COPY_DISTANCE : 0,
                      err);
    if (rc < 0)
        return rc;
    header->counter = counter;
    return H5STORE_OK;
}

void
hs_wal_rewind(hs_wal *wal)
{
    wal->tail = wal->header.start;
    wal->next_sequence = wal->header.start_sequence;
    wal->window_size = 0;
    wal->reserved = 0;
}

/* Make @p size bytes from the tail on available; *have says how many there are. */
static int
wal_fill(hs_wal *wal, size_t size, const uint8_t **bytes, size_t *have, h5store_err *err)
{
    size_t room = size > WAL_WINDOW ? size : WAL_WINDOW;
    struct stat status;
    int rc;

    if (size > WAL_WINDOW) {
        /* The size comes from the file: no memory for more than there can be. */
        rc = hs_os_fstat(wal->fd, wal->path, &status, err);
        if (rc < 0)
            return rc;
        if ((uint64_t)status.st_size < wal->tail || (uint64_t)status.st_size - wal->tail < size) {
            *have = 0;
            return H5STORE_OK;
        }
    }
    if (wal->tail < wal->window_start || wal->window_size < wal->tail - wal->window_start ||
        wal->window_size - (wal->tail - wal->window_start) < size) {
        if (room > wal->window_room) {
            uint8_t *window = realloc(wal->window, room);

            if (window == NULL)
                return hs_fail_nomem(err, room, "a log record");
            wal->window = window;
            wal->window_room = room;
        }
        wal->window_size = 0;
        rc = hs_os_pread(wal->fd, wal->path, wal->window, room, wal->tail, &wal->window_size, err);
        if (rc < 0)
            return rc;
        wal->window_start = wal->tail;
    }
    *bytes = wal->window + (wal->tail - wal->window_start);
    *have = wal->window_size - (size_t)(wal->tail - wal->window_start);
    return H5STORE_OK;
}

/* The header of a record that may follow; false when it is none. */
static bool
wal_parse(const hs_wal *wal, const uint8_t *p, hs_wal_record *record, uint64_t *body)
{
    uint64_t pages, blobs;

    if (memcmp(p, record_magic, sizeof record_magic) != 0 ||
        hs_get_le64(p + 56) != hs_sum64(p, 56) || hs_get_le64(p + 8) != wal->header.epoch ||
        hs_get_le64(p + 16) != wal->next_sequence)
        return false;
    record->sequence = wal->next_sequence;
    record->flags = hs_get_le32(p + 24);
    record->page_count = hs_get_le32(p + 28);
    record->blob_count = hs_get_le32(p + 32);
    *body = hs_get_le64(p + 40);
    pages = (uint64_t)record->page_count * WAL_PAGE_ENTRY;
    blobs = (uint64_t)record->blob_count * WAL_BLOB_ENTRY;
    return *body == pages + blobs && *body < SIZE_MAX / 2;
}

int
hs_wal_next(hs_wal *wal, hs_wal_record *record, h5store_err *err)
{
    const uint8_t *p;
    size_t have;
    uint64_t body;
    int rc;

    if (wal->window_size < wal->tail - wal->window_start + WAL_RECORD_HEADER) {
        /* The usual question is whether there is anything new, and the answer no. */
        uint8_t peek[WAL_RECORD_HEADER];

        wal->window_size = 0;
        if (wal->length != 0 && wal->length <= wal->tail)
            return H5STORE_DONE;
        rc = hs_os_pread(wal->fd, wal->path, peek, sizeof peek, wal->tail, &have, err);
        if (rc < 0)
            return rc;
        if (have < sizeof peek || !wal_parse(wal, peek, record, &body))
            return H5STORE_DONE;
    }
    rc = wal_fill(wal, WAL_RECORD_HEADER, &p, &have, err);
    if (rc < 0)
        return rc;
    if (have < WAL_RECORD_HEADER || !wal_parse(wal, p, record, &body)) {
        wal->window_size = 0;
        return H5STORE_DONE;
    }
    rc = wal_fill(wal, WAL_RECORD_HEADER + (size_t)body, &p, &have, err);
    if (rc < 0)
        return rc;
    if (have < WAL_RECORD_HEADER + body ||
        hs_get_le64(p + 48) != hs_sum64(p + WAL_RECORD_HEADER, (size_t)body)) {
        wal->window_size = 0;
        return H5STORE_DONE;
    }
    record->pages = p + WAL_RECORD_HEADER;
    record->blobs = record->pages + (size_t)record->page_count * WAL_PAGE_ENTRY;
    wal->tail += WAL_RECORD_HEADER + body;
    wal->next_sequence++;
    return H5STORE_OK;
}

hs_wal_blob
hs_wal_record_blob(const hs_wal_record *record, size_t index)
{
    const uint8_t *entry = record->blobs + index * WAL_BLOB_ENTRY;
    hs_wal_blob blob;

    memcpy(blob.id.bytes, entry, H5STORE_ID_SIZE);
    blob.extent.address = hs_get_le64(entry + H5STORE_ID_SIZE);
    blob.extent.length = hs_get_le64(entry + H5STORE_ID_SIZE + 8);
    return blob;
}

/* Cut off what a killed process left beyond the end. */
static int
wal_cut(hs_wal *wal, h5store_err *err)
{
    uint64_t length = wal->length;
    struct stat status;
    int rc;

    if (length == 0) {
        rc = hs_os_fstat(wal->fd, wal->path, &status, err);
        if (rc < 0)
            return rc;
        length = (uint64_t)status.st_size;
    }
    if (length <= wal->tail)
        return H5STORE_OK;
    wal->reserved = 0;
    wal->length = 0;
    return hs_os_truncate(wal->fd, wal->path, wal->tail, err);
}

int
hs_wal_reserve(hs_wal *wal, size_t pages, size_t blobs, h5store_err *err)
{
    uint64_t needed = WAL_RECORD_HEADER + pages * WAL_PAGE_ENTRY + blobs * WAL_BLOB_ENTRY +
                      WAL_SPARE;
    int rc = wal_cut(wal, err);

    if (rc < 0 || wal->tail + needed <= wal->reserved)
        return rc;
    /* More, so that not every commit asks; if that is there. */
    needed += WAL_SPARE;
    rc = hs_os_reserve_beyond(wal->fd, wal->path, wal->tail, needed, err);
    if (rc == H5STORE_E_NO_SPACE) {
        needed -= WAL_SPARE;
        rc = hs_os_reserve_beyond(wal->fd, wal->path, wal->tail, needed, err);
    }
    if (rc == H5STORE_OK)
        wal->reserved = wal->tail + needed;
    return rc;
}

static void
wal_encode(const hs_wal *wal, hs_page *const *pages, size_t page_count, const hs_wal_blob *blobs,
           size_t blob_count, unsigned flags, uint8_t *p, size_t body)
{
    uint8_t *out = p + WAL_RECORD_HEADER;

    for (size_t i = 0; i < page_count; i++, out += WAL_PAGE_ENTRY) {
        hs_put_le64(out, pages[i]->number);
        memcpy(out + 8, pages[i]->bytes, HS_PAGE_SIZE);
    }
    for (size_t i = 0; i < blob_count; i++, out += WAL_BLOB_ENTRY) {
        memcpy(out, blobs[i].id.bytes, H5STORE_ID_SIZE);
        hs_put_le64(out + H5STORE_ID_SIZE, blobs[i].extent.address);
        hs_put_le64(out + H5STORE_ID_SIZE + 8, blobs[i].extent.length);
    }
    memcpy(p, record_magic, sizeof record_magic);
    hs_put_le64(p + 8, wal->header.epoch);
    hs_put_le64(p + 16, wal->next_sequence);
    hs_put_le32(p + 24, flags);
    hs_put_le32(p + 28, (uint32_t)page_count);
    hs_put_le32(p + 32, (uint32_t)blob_count);
    hs_put_le32(p + 36, 0);
    hs_put_le64(p + 40, body);
    hs_put_le64(p + 48, hs_sum64(p + WAL_RECORD_HEADER, body));
    hs_put_le64(p + 56, hs_sum64(p, 56));
}

int
hs_wal_append(hs_wal *wal, const hs_overlay *pages, const hs_wal_blob *blobs, size_t blob_count,
              unsigned flags, h5store_err *err)
{
    HS_CLEANUP(hs_freep) hs_page **sorted = NULL;
    HS_CLEANUP(hs_freep) uint8_t *record = NULL;
    size_t body = pages->count * WAL_PAGE_ENTRY + blob_count * WAL_BLOB_ENTRY;
    int rc;

    if (pages->count > UINT32_MAX || blob_count > UINT32_MAX)
        return hs_fail(err, H5STORE_E_INVALID, 0,
                       "a commit of %zu pages and %zu blobs is too large for the log '%s'; make "
                       "it in smaller batches",
                       pages->count, blob_count, wal->path);
    record = malloc(WAL_RECORD_HEADER + body);
    if (record == NULL)
        return hs_fail_nomem(err, WAL_RECORD_HEADER + body, "a log record");
    rc = hs_overlay_sorted(pages, &sorted, err);
    if (rc < 0)
        return rc;
    wal_encode(wal, sorted, pages->count, blobs, blob_count, flags, record, body);
    rc = wal_cut(wal, err);
    if (rc < 0)
        return rc;
    wal->length = 0;
    rc = hs_os_pwrite(wal->fd, wal->path, record, WAL_RECORD_HEADER + body, wal->tail, err);
    if (rc < 0)
        return rc; /* torn, at worst: the next append cuts it off */
    wal->tail += WAL_RECORD_HEADER + body;
    wal->next_sequence++;
    wal->window_size = 0;
    return H5STORE_OK;
}

int
hs_wal_reset(hs_wal *wal, h5store_err *err)
{
    int rc;

    wal->header.epoch++;
    wal->header.start = HS_WAL_RECORDS;
    wal->header.start_sequence = wal->next_sequence;
    rc = hs_wal_write_header(wal, err);
    if (rc < 0)
        return rc;
    hs_wal_rewind(wal);
    wal->length = 0;
    /* New records take the place of old ones.  Under the old header, after a power cut, the
     * old ones that were not overwritten yet would be laid over a file that is newer. */
    rc = hs_os_datasync(wal->fd, wal->path, err);
    if (rc == H5STORE_OK)
        rc = hs_os_truncate(wal->fd, wal->path, HS_WAL_RECORDS, err);
    if (rc == H5STORE_OK) /* best now, when there are blocks again */
        (void)hs_os_reserve_beyond(wal->fd, wal->path, HS_WAL_RECORDS, WAL_SPARE, NULL);
    return rc;
}

int
hs_wal_trim(hs_wal *wal, uint64_t position, uint64_t sequence, h5store_err *err)
{
    uint64_t old = wal->header.start;
    bool done;
    int rc;

    assert(position >= old && position <= wal->tail);
    wal->header.start = position;
    wal->header.start_sequence = sequence;
    rc = hs_wal_write_header(wal, err);
    if (rc < 0 || position / HS_SPACE_UNIT <= hs_round_up(old, HS_SPACE_UNIT) / HS_SPACE_UNIT)
        return rc;
    /* The hole must not reach the disk before the header that no longer needs what was there. */
    rc = hs_os_datasync(wal->fd, wal->path, err);
    if (rc < 0)
        return rc;
    old = hs_round_up(old, HS_SPACE_UNIT);
    /* Where that fails, on a full disk even, the blocks stay until the log goes. */
    (void)hs_os_punch(wal->fd, wal->path, old, position / HS_SPACE_UNIT * HS_SPACE_UNIT - old,
                      &done, NULL);
    return H5STORE_OK;
}
