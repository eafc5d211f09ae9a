/* SPDX-License-Identifier: MIT */
/*
 * The damaged file: a pager of our own over it, with the pages of the log that are valid, and
 * the search for object headers by their signature.
 *
 * WHILE OTHERS USE IT.  The stock lock is held shared throughout, as an HDF5 program does
 * that reads the file.  So nothing is applied: the file stays as it is, commits wait in the
 * log, and no extent that was in use at the commit we read is punched or used again, since its
 * removal has to be applied first.  The log is read once, under READ shared.
 */
#include "digest.h"
#include "lock.h"
#include "os.h"
#include "salvage_impl.h"
#include "superblock.h"
#include "wal.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <sys/file.h>

#define SEARCH_STEP ((size_t)4 * 1024 * 1024)
#define SEARCH_LEAST ((size_t)64 * 1024) /* where the disk has bad places */
#define SEARCH_UNIT 8u                   /* HDF5's metadata begins at multiples of it */

/* ---- opening ----------------------------------------------------------- */

/* How long the file is. */
static int
source_measure(salvage *s, h5store_err *err)
{
    struct stat status;
    int rc = hs_os_fstat(s->pager.fd, s->pager.path, &status, err);

    if (rc < 0)
        return rc;
    if (!S_ISREG(status.st_mode))
        return hs_fail(err, H5STORE_E_NOT_A_STORE, 0,
                       "'%s' is not a regular file; give the path of a container", s->pager.path);
    s->file_size = (uint64_t)status.st_size;
    s->size = hs_max(s->size, s->file_size);
    return H5STORE_OK;
}

static int
source_open_file(salvage *s, h5store_err *err)
{
    int rc = hs_os_open(s->pager.path, O_RDONLY | O_NONBLOCK, &s->pager.fd, err);

    return rc < 0 ? rc : source_measure(s, err);
}

static int
source_lock(salvage *s, h5store_err *err)
{
    uint64_t deadline = hs_os_now() + (uint64_t)(s->options->timeout * 1e9);

    for (;;) {
        bool granted;
        int rc = hs_os_flock(s->pager.fd, s->pager.path, LOCK_SH, &granted, err);

        if (rc < 0 || granted)
            return rc;
        if (hs_os_now() >= deadline)
            return hs_fail(err, H5STORE_E_BUSY, 0,
                           "a program is writing to '%s'; end it, or allow a longer timeout",
                           s->pager.path);
        hs_os_sleep(1000000);
    }
}

/* Lay the valid records of the log over the file.  *records: how many there are. */
static int
source_read_records(salvage *s, hs_wal *wal, uint64_t *records, h5store_err *err)
{
    hs_wal_record record;
    int rc;

    hs_wal_rewind(wal);
    while ((rc = hs_wal_next(wal, &record, err)) == H5STORE_OK) {
        ++*records;
        for (size_t i = 0; rc == H5STORE_OK && i < record.page_count; i++) {
            const uint8_t *entry = record.pages + i * (8 + HS_PAGE_SIZE);
            uint64_t number = hs_get_le64(entry);

            if (number >= INT64_MAX / HS_PAGE_SIZE)
                continue; /* of no file */
            rc = hs_overlay_set(&s->pager.committed, number, record.sequence, entry + 8, err);
            s->size = hs_max(s->size, (number + 1) * HS_PAGE_SIZE);
        }
        if (rc < 0)
            return rc;
    }
    return rc == H5STORE_DONE ? H5STORE_OK : rc;
}

/* Does the log belong to this container?  Where the container cannot tell its id, it may. */
static bool
source_owns_log(salvage *s, const hs_wal *wal, bool *version, h5store_err *err)
{
    hs_stamp stamp;
    int rc = hs_stamp_read(&s->pager, &stamp, err);

    *version = rc == H5STORE_E_VERSION;
    if (rc < 0)
        return true;
    s->is_ours = true;
    return wal == NULL || memcmp(stamp.container_id, wal->header.container_id, 16) == 0;
}

static int
source_take_log(salvage *s, hs_wal *wal, h5store_err *err)
{
    bool present = false, version;
    uint64_t records = 0;
    struct stat status;
    int rc = hs_os_fstat(wal->fd, wal->path, &status, err);

    if (rc == H5STORE_OK)
        rc = hs_wal_read_header(wal, &present, err);
    if (rc < 0)
        return rc;
    if (present && source_owns_log(s, wal, &version, NULL))
        rc = source_read_records(s, wal, &records, err);
    else if (present)
        salvage_find(s, H5STORE_V_SUPERBLOCK, false, "/",
                     "the log '%s' belongs to another container, and was passed over", wal->path);
    else if (status.st_size > 0)
        salvage_find(s, H5STORE_V_SUPERBLOCK, false, "/",
                     "the log '%s' is damaged, and was passed over", wal->path);
    s->is_ours = s->is_ours || records > 0;
    return rc;
}

/* Without a log, everything is in the file. */
static int
source_read_log(salvage *s, h5store_err *err)
{
    HS_CLEANUP(hs_os_closep) int fd = -1;
    hs_locks *locks = NULL;
    hs_wal wal = {.path = s->log_path};
    h5store_err inner;
    int rc = hs_os_open(s->log_path, O_RDONLY | O_NONBLOCK, &fd, &inner);

    if (rc == H5STORE_E_NOT_FOUND)
        return H5STORE_OK;
    if (rc == H5STORE_OK) {
        wal.fd = fd;
        rc = hs_locks_open(fd, s->log_path, false, &locks, &inner);
    }
    if (rc == H5STORE_OK) {
        rc = hs_lock_take(locks, HS_LOCK_READ, HS_SHARED,
                          hs_os_now() + (uint64_t)(s->options->timeout * 1e9), &inner);
        if (rc == H5STORE_E_UNSUPPORTED)
            rc = H5STORE_OK; /* then nobody of ours has it open either */
    }
    if (rc == H5STORE_OK)
        rc = source_take_log(s, &wal, &inner);
    hs_wal_release(&wal);
    hs_locks_close(locks);
    if (rc == H5STORE_E_IO || rc == H5STORE_E_READ_ONLY) {
        salvage_find(s, H5STORE_V_SUPERBLOCK, true, "/",
                     "the log cannot be read, so that the newest results are missing: %s",
                     inner.message);
        return H5STORE_OK;
    }
    if (rc < 0 && err != NULL)
        *err = inner;
    return rc;
}

static void
source_read_counters(salvage *s)
{
    hs_space space = {0};

    if (hs_space_load(&space, &s->pager, NULL) == H5STORE_OK) {
        s->counted = s->is_ours = true;
        s->counters = space.counters;
    } else {
        salvage_find(s, H5STORE_V_SUPERBLOCK, false, "/",
                     "the space table is damaged, so that it is not known how much there was");
    }
    hs_space_release(&space);
}

int
salvage_open(salvage *s, const char *path, h5store_err *err)
{
    bool version;
    int rc;

    s->pager.fd = -1;
    s->pager.path = path;
    s->log_path = hs_os_absolute(path, "-wal");
    if (s->log_path == NULL)
        return hs_fail_nomem(err, strlen(path), "a path");
    rc = source_open_file(s, err);
    if (rc == H5STORE_OK)
        rc = source_lock(s, err);
    if (rc == H5STORE_OK)
        rc = source_read_log(s, err);
    if (rc == H5STORE_OK)
        rc = source_measure(s, err); /* again: records came, and arrays before them */
    if (rc < 0)
        return rc;
    (void)source_owns_log(s, NULL, &version, err);
    if (version)
        return H5STORE_E_VERSION;
    if (s->size > 0)
        source_read_counters(s);
    return H5STORE_OK;
}

void
salvage_close(salvage *s)
{
    hs_overlay_release(&s->pager.committed);
    hs_os_closep(&s->pager.fd); /* and with it the lock */
    free(s->log_path);
    free(s->heads);
    free(s->blocks);
}

int
salvage_root(salvage *s, uint64_t *address, h5store_err *err)
{
    uint8_t bytes[HS_SUPERBLOCK_SIZE];
    int rc = hs_pager_read(&s->pager, 0, bytes, sizeof bytes, err);

    *address = UINT64_MAX;
    if (rc == H5STORE_E_NOMEM)
        return rc;
    if (rc == H5STORE_OK && hs_superblock_inspect(bytes) == HS_SUPERBLOCK_GOOD)
        *address = hs_superblock_root(bytes);
    else
        salvage_find(s, H5STORE_V_SUPERBLOCK, false, "/", "the superblock is damaged");
    return H5STORE_OK;
}

int
salvage_header(salvage *s, uint64_t address, hs_ohdr *header, h5store_err *err)
{
    h5store_err inner;
    int rc = hs_ohdr_read(&s->pager, address, header, &inner);

    if (rc == H5STORE_E_IO)
        s->unread = inner;
    if (rc < 0 && err != NULL)
        *err = inner;
    return rc == H5STORE_E_IO ? H5STORE_E_DAMAGED : rc;
}

/* ---- searching --------------------------------------------------------- */

static int
search_note_block(salvage *s, const uint8_t *bytes, uint64_t address, h5store_err *err)
{
    hs_dense_block block;
    int rc;

    if (!hs_dense_parse_block(bytes, address, &block))
        return H5STORE_OK;
    rc = hs_grow(&s->blocks, s->block_count, &s->block_room, sizeof *s->blocks, "salvaging", err);
    if (rc == H5STORE_OK)
        s->blocks[s->block_count++] = block;
    return rc;
}

static bool
search_has_link(const hs_ohdr *header, const char *name)
{
    for (size_t i = 0; i < header->link_count; i++)
        if (header->links[i].name_length == strlen(name) &&
            memcmp(header->links[i].name, name, strlen(name)) == 0)
            return true;
    return false;
}

static int
search_note_head(salvage *s, uint64_t address, h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    salvage_head head = {.address = address, .heap = UINT64_MAX, .kind = HEAD_OTHER};
    char format[16];
    int rc = salvage_header(s, address, &header, err);

    if (rc < 0)
        return rc == H5STORE_E_DAMAGED ? H5STORE_OK : rc;
    if (!header.is_group && hs_ohdr_find(&header, "id") != NULL)
        head.kind = HEAD_BLOB;
    else if (header.is_group && hs_ohdr_text(&header, "format", format, sizeof format) &&
             strcmp(format, "h5store") == 0)
        head.kind = HEAD_ROOT;
    else if (header.is_group &&
             (hs_ohdr_find(&header, "output") != NULL || search_has_link(&header, "output")))
        head.kind = HEAD_ITEM;
    else if (header.is_group)
        head.kind = HEAD_GROUP;
    if (header.is_group)
        head.heap = header.heap;
    head.has_path = head.kind == HEAD_GROUP && hs_ohdr_find(&header, "path") != NULL;
    rc = hs_grow(&s->heads, s->head_count, &s->head_room, sizeof *s->heads, "salvaging", err);
    if (rc == H5STORE_OK)
        s->heads[s->head_count++] = head;
    return rc;
}

/* Look at bytes that were read, and at those behind them, of which @p size bytes are to be
 * looked at. */
static int
search_bytes(salvage *s, const uint8_t *bytes, uint64_t from, size_t size, h5store_err *err)
{
    int rc = H5STORE_OK;

    for (size_t i = 0; rc == H5STORE_OK && i < size; i += SEARCH_UNIT) {
        if (memcmp(bytes + i, "OHDR", 4) == 0)
            rc = search_note_head(s, from + i, err);
        else if (memcmp(bytes + i, "FHDB", 4) == 0)
            rc = search_note_block(s, bytes + i, from + i, err);
    }
    return rc;
}

/* A part of the file.  Where it cannot be read, smaller parts are tried. */
static int
search_step(salvage *s, uint8_t *bytes, uint64_t from, size_t size, h5store_err *err)
{
    int rc = hs_pager_read(&s->pager, from, bytes, size + HS_DENSE_HEAD_SIZE, &s->unread);

    if (rc == H5STORE_E_IO && size > SEARCH_LEAST) {
        rc = H5STORE_OK;
        for (size_t done = 0; rc == H5STORE_OK && done < size; done += SEARCH_LEAST)
            rc = search_step(s, bytes, from + done, (size_t)hs_min(size - done, SEARCH_LEAST), err);
        return rc;
    }
    if (rc == H5STORE_E_IO) {
        salvage_find(s, H5STORE_V_SUPERBLOCK, false, "/",
                     "bytes %llu to %llu of the file cannot be read", (unsigned long long)from,
                     (unsigned long long)(from + size));
        rc = H5STORE_OK;
    } else if (rc == H5STORE_OK) {
        rc = search_bytes(s, bytes, from, size, err);
    } else if (err != NULL) {
        *err = s->unread;
    }
    salvage_progress(s, size);
    return rc;
}

/* The bytes of the blobs that are known by name: there is nothing to be found in them. */
static int
search_known_extents(salvage *s, hs_extent **extents, size_t *count, h5store_err *err)
{
    size_t room = 0;
    int rc = H5STORE_OK;

    *count = 0;
    for (size_t i = 0; rc == H5STORE_OK && i < s->object_room; i++) {
        HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
        const salvage_object *object = &s->objects[i];
        hs_blob blob;

        if (object->address == UINT64_MAX || !object->is_blob || !object->reached)
            continue;
        rc = salvage_header(s, object->address, &header, err);
        if (rc == H5STORE_OK)
            rc = hs_blob_parse(&s->pager, &header, INT64_MAX, &blob, err);
        if (rc == H5STORE_E_DAMAGED) {
            rc = H5STORE_OK;
            continue;
        }
        if (rc < 0)
            break;
        hs_blob_release(&blob);
        if (blob.extent.length == 0)
            continue;
        rc = hs_grow(extents, *count, &room, sizeof **extents, "salvaging", err);
        if (rc == H5STORE_OK)
            (*extents)[(*count)++] = blob.extent;
    }
    return rc;
}

static int
search_compare_extents(const void *a, const void *b)
{
    const hs_extent *left = a, *right = b;

    return left->address < right->address ? -1 : left->address > right->address;
}

static int
search_compare_blocks(const void *a, const void *b)
{
    const hs_dense_block *left = a, *right = b;

    return left->heap < right->heap ? -1 : left->heap > right->heap;
}

int
salvage_search(salvage *s, h5store_err *err)
{
    HS_CLEANUP(hs_freep) uint8_t *bytes = malloc(SEARCH_STEP + HS_DENSE_HEAD_SIZE);
    HS_CLEANUP(hs_freep) hs_extent *extents = NULL;
    size_t count = 0, next = 0;
    uint64_t at = 0;
    int rc = search_known_extents(s, &extents, &count, err);

    if (rc == H5STORE_OK && bytes == NULL)
        rc = hs_fail_nomem(err, SEARCH_STEP, "searching a file");
    if (count > 0)
        qsort(extents, count, sizeof *extents, search_compare_extents);
    while (rc == H5STORE_OK && at < s->size && !s->stopped) {
        uint64_t end = s->size;

        while (next < count && extents[next].address + extents[next].length <= at)
            next++;
        if (next < count && extents[next].address <= at) {
            salvage_progress(s, extents[next].length);
            at = extents[next].address + extents[next].length;
            continue;
        }
        if (next < count)
            end = hs_min(end, extents[next].address);
        end = hs_min(end, at + SEARCH_STEP);
        rc = search_step(s, bytes, at, (size_t)(end - at), err);
        at = hs_round_up(end, SEARCH_UNIT);
    }
    if (s->block_count > 0)
        qsort(s->blocks, s->block_count, sizeof *s->blocks, search_compare_blocks);
    return rc;
}

salvage_head *
salvage_head_at(const salvage *s, uint64_t address)
{
    size_t low = 0, high = s->head_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (s->heads[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->head_count && s->heads[low].address == address ? &s->heads[low] : NULL;
}

const hs_dense_block *
salvage_blocks_of(const salvage *s, uint64_t heap, size_t *count)
{
    size_t low = 0, high = s->block_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (s->blocks[middle].heap < heap)
            low = middle + 1;
        else
            high = middle;
    }
    *count = 0;
    while (low + *count < s->block_count && s->blocks[low + *count].heap == heap)
        ++*count;
    return *count > 0 ? &s->blocks[low] : NULL;
}
