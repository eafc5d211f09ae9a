/* SPDX-License-Identifier: MIT */
/*
 * The space header and table.
 *
 * Header, page 2 of the file (all little-endian; FORMAT.md, "Space header"):
 *
 *   0 "h5sspace"  8 EOA  16 arena next  24 arena end  32 table address  40 table length
 *   48 slots in use  56 free bytes  64 items  72 blobs  80 links  88 blob bytes
 *   96 linked bytes  104.. zeros  248 XXH3-64 of bytes 0 to 247
 *
 * Table: pages of ten slots of 24 bytes {address, length | 1 if loose, sequence}, the
 * last 16 bytes of a page unused.  Slots are in no order on disk: a slot that goes is replaced
 * by the last one, so a change touches one or two pages (space_slots.c).
 *
 * Nothing read is trusted: extents must lie on units, below the EOA, and above the
 * fixed part; whether they overlap is for verify to say.
 */
#include "digest.h"
#include "os.h"
#include "space_impl.h"
#include <assert.h>

#define SPACE_STAMP_ADDRESS 256u
#define SPACE_HEADER_ADDRESS 512u
#define SPACE_TABLE_ADDRESS 4096u
#define SPACE_SLOT_SIZE 24u

static const char space_magic[8] = {'h', '5', 's', 's', 'p', 'a', 'c', 'e'};
static const char stamp_magic[8] = {'h', '5', 's', 't', 'o', 'r', 'e', '\n'};

int
hs_stamp_read(hs_pager *pager, hs_stamp *stamp, h5store_err *err)
{
    uint8_t page[HS_PAGE_SIZE];
    uint32_t version;
    int rc = hs_pager_read(pager, SPACE_STAMP_ADDRESS, page, sizeof page, err);

    if (rc < 0)
        return rc;
    if (memcmp(page, stamp_magic, sizeof stamp_magic) != 0)
        return hs_fail(err, H5STORE_E_NOT_A_STORE, 0,
                       "'%s' is an HDF5 file, but not a container of h5store; choose another "
                       "location, or move the file away",
                       pager->path);
    version = hs_get_le32(page + 8);
    if (version > 1)
        return hs_fail(err, H5STORE_E_VERSION, 0,
                       "'%s' is a container of format version %u, and this library knows only "
                       "version 1; it was not touched: use a newer h5store, or another location",
                       pager->path, version);
    if (version == 0 || hs_get_le64(page + 248) != hs_sum64(page, 248))
        return hs_fail(err, H5STORE_E_DAMAGED, 0,
                       "the stamp of container '%s' is damaged; run "
                       "'h5store verify', and restore the file or set it aside",
                       pager->path);
    stamp->format_version = version;
    memcpy(stamp->container_id, page + 16, 16);
    return H5STORE_OK;
}

int
hs_stamp_write(hs_pager *pager, const hs_stamp *stamp, h5store_err *err)
{
    uint8_t page[HS_PAGE_SIZE] = {0};

    memcpy(page, stamp_magic, sizeof stamp_magic);
    hs_put_le32(page + 8, stamp->format_version);
    memcpy(page + 16, stamp->container_id, 16);
    hs_put_le64(page + 248, hs_sum64(page, 248));
    return hs_pager_write(pager, SPACE_STAMP_ADDRESS, page, sizeof page, err);
}

void
hs_space_forget(hs_space *space)
{
    space->loaded = false;
}

void
hs_space_release(hs_space *space)
{
    free(space->slots);
    free(space->order);
    free(space->blocks.given);
    free(space->fresh);
    free(space->dirty);
    memset(space, 0, sizeof *space);
}

static uint64_t
space_table_room(const hs_space *space)
{
    return space->table.length / HS_PAGE_SIZE * SPACE_SLOTS_PER_PAGE;
}

static bool
space_is_sound(const hs_space *space, hs_extent extent)
{
    uint64_t end;

    return extent.address % HS_SPACE_UNIT == 0 && extent.length % HS_SPACE_UNIT == 0 &&
           extent.length > 0 && extent.address >= SPACE_TABLE_ADDRESS &&
           hs_add(extent.address, extent.length, &end) && end <= space->eoa;
}

static int
space_damaged(const hs_pager *pager, const char *what, h5store_err *err)
{
    return hs_fail(err, H5STORE_E_DAMAGED, 0,
                   "the %s of container '%s' is damaged; run 'h5store verify', and restore the "
                   "file or set it aside",
                   what, pager->path);
}

/* Can there be so many slots?  Pages of the table are in the file or held; its length, which the
 * EOA bounds, may be forged like that. */
static int
space_check_count(const hs_space *space, const hs_pager *pager, uint64_t count, h5store_err *err)
{
    uint64_t pages = pager->committed.count + pager->pending.count;
    struct stat status;
    int rc;

    if (count <= space->room) /* no more memory is asked for */
        return H5STORE_OK;
    rc = hs_os_fstat(pager->fd, pager->path, &status, err);
    if (rc < 0)
        return rc;
    pages += (uint64_t)status.st_size / HS_PAGE_SIZE;
    return count / SPACE_SLOTS_PER_PAGE > pages ? space_damaged(pager, "space header", err)
                                                : H5STORE_OK;
}

static int
space_load_table(hs_space *space, hs_pager *pager, h5store_err *err)
{
    size_t pages = space->count / SPACE_SLOTS_PER_PAGE + 1;
    HS_CLEANUP(hs_freep) uint8_t *table = malloc(pages * HS_PAGE_SIZE);
    int rc;

    if (table == NULL)
        return hs_fail_nomem(err, pages * HS_PAGE_SIZE, "the space table");
    rc = hs_pager_read(pager, space->table.address, table, pages * HS_PAGE_SIZE, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < space->count; i++) {
        const uint8_t *p = table + i / SPACE_SLOTS_PER_PAGE * HS_PAGE_SIZE +
                           i % SPACE_SLOTS_PER_PAGE * SPACE_SLOT_SIZE;
        hs_slot *slot = &space->slots[i];

        slot->extent.address = hs_get_le64(p);
        slot->extent.length = hs_get_le64(p + 8) & ~UINT64_C(1);
        slot->loose = hs_get_le64(p + 8) & 1;
        slot->sequence = hs_get_le64(p + 16);
        if (!space_is_sound(space, slot->extent))
            return space_damaged(pager, "space table", err);
    }
    return H5STORE_OK;
}

/* Is a page the space header, as it was written? */
static bool
space_is_header(const uint8_t page[HS_PAGE_SIZE])
{
    return memcmp(page, space_magic, sizeof space_magic) == 0 &&
           hs_get_le64(page + 248) == hs_sum64(page, 248);
}

bool
hs_space_peek_eoa(const uint8_t head[HS_SPACE_HEAD_SIZE], uint64_t *eoa)
{
    if (!space_is_header(head + SPACE_HEADER_ADDRESS))
        return false;
    *eoa = hs_get_le64(head + SPACE_HEADER_ADDRESS + 8);
    return true;
}

int
hs_space_load(hs_space *space, hs_pager *pager, h5store_err *err)
{
    uint8_t page[2 * HS_PAGE_SIZE]; /* the header, and the blocks page behind it */
    uint64_t count;
    int rc;

    if (space->loaded)
        return H5STORE_OK;
    rc = hs_pager_read(pager, SPACE_HEADER_ADDRESS, page, sizeof page, err);
    if (rc < 0)
        return rc;
    if (!space_is_header(page))
        return space_damaged(pager, "space header", err);
    space->eoa = hs_get_le64(page + 8);
    space->arena_next = hs_get_le64(page + 16);
    space->arena_end = hs_get_le64(page + 24);
    space->table.address = hs_get_le64(page + 32);
    space->table.length = hs_get_le64(page + 40);
    count = hs_get_le64(page + 48);
    space->free_bytes = hs_get_le64(page + 56);
    space->counters.items = hs_get_le64(page + 64);
    space->counters.blobs = hs_get_le64(page + 72);
    space->counters.links = hs_get_le64(page + 80);
    space->counters.blob_bytes = hs_get_le64(page + 88);
    space->counters.linked_bytes = hs_get_le64(page + 96);
    if (!space_is_sound(space, space->table) || count > space_table_room(space) ||
        space->arena_next > space->arena_end || space->arena_end > space->eoa)
        return space_damaged(pager, "space header", err);
    rc = space_check_count(space, pager, count, err);
    if (rc == H5STORE_OK)
        rc = space_need_slots(space, (size_t)count, err);
    if (rc < 0)
        return rc;
    space->count = (size_t)count;
    rc = space_load_table(space, pager, err);
    if (rc < 0)
        return rc;
    space_sort(space);
    space_load_blocks(space, page + HS_PAGE_SIZE);
    memset(space->dirty, 0, space->dirty_room);
    space->header_dirty = space->removed = space->low_first = space->fresh_noted = false;
    space->loaded = true;
    return H5STORE_OK;
}

int
hs_space_init(hs_space *space, h5store_err *err)
{
    int rc = space_need_slots(space, 0, err);

    if (rc < 0)
        return rc;
    space->eoa = HS_SPACE_START;
    space->table = (hs_extent){SPACE_TABLE_ADDRESS, HS_SPACE_START - SPACE_TABLE_ADDRESS};
    space->header_dirty = true;
    space->loaded = true;
    return H5STORE_OK;
}

static int
space_save_page(const hs_space *space, hs_pager *pager, size_t index, h5store_err *err)
{
    uint8_t page[HS_PAGE_SIZE] = {0};
    size_t first = index * SPACE_SLOTS_PER_PAGE;

    for (size_t i = 0; i < SPACE_SLOTS_PER_PAGE && first + i < space->count; i++) {
        const hs_slot *slot = &space->slots[first + i];
        uint8_t *p = page + i * SPACE_SLOT_SIZE;

        hs_put_le64(p, slot->extent.address);
        hs_put_le64(p + 8, slot->extent.length | (slot->loose ? 1 : 0));
        hs_put_le64(p + 16, slot->sequence);
    }
    return hs_pager_write(pager, space->table.address + index * HS_PAGE_SIZE, page, sizeof page,
                          err);
}

static int
space_save_header(const hs_space *space, hs_pager *pager, h5store_err *err)
{
    uint8_t page[HS_PAGE_SIZE] = {0};

    memcpy(page, space_magic, sizeof space_magic);
    hs_put_le64(page + 8, space->eoa);
    hs_put_le64(page + 16, space->arena_next);
    hs_put_le64(page + 24, space->arena_end);
    hs_put_le64(page + 32, space->table.address);
    hs_put_le64(page + 40, space->table.length);
    hs_put_le64(page + 48, space->count);
    hs_put_le64(page + 56, space->free_bytes);
    hs_put_le64(page + 64, space->counters.items);
    hs_put_le64(page + 72, space->counters.blobs);
    hs_put_le64(page + 80, space->counters.links);
    hs_put_le64(page + 88, space->counters.blob_bytes);
    hs_put_le64(page + 96, space->counters.linked_bytes);
    hs_put_le64(page + 248, hs_sum64(page, 248));
    return hs_pager_write(pager, SPACE_HEADER_ADDRESS, page, sizeof page, err);
}

/* Move the table to a region of its own of some length; the old one goes when that is applied. */
static int
space_move_table(hs_space *space, hs_pager *pager, uint64_t length, uint64_t sequence,
                 h5store_err *err)
{
    hs_extent old = space->table;
    bool reused;
    int rc;

    rc = hs_space_take(space, length, &space->table, &reused, err);
    if (rc == H5STORE_OK)
        rc = hs_pager_reserve(pager, space->table.address, space->table.length, err);
    if (rc < 0)
        return rc;
    rc = hs_space_loosen(space, old, sequence, err);
    if (rc < 0)
        return rc;
    memset(space->dirty, 1, space->dirty_room);
    return reused ? hs_pager_zero(pager, space->table.address, space->table.length, err)
                  : H5STORE_OK;
}

int
hs_space_save(hs_space *space, hs_pager *pager, uint64_t sequence, h5store_err *err)
{
    size_t pages;
    int rc;

    assert(space->loaded);
    rc = space_save_blocks(space, pager, err);
    if (rc < 0)
        return rc;
    while (space->count > space_table_room(space)) {
        rc = space_move_table(space, pager, 2 * space->table.length, sequence, err);
        if (rc < 0)
            return rc;
    }
    pages = (size_t)hs_min(space->dirty_room, space->table.length / HS_PAGE_SIZE);
    for (size_t i = 0; i < pages; i++) {
        if (!space->dirty[i])
            continue;
        rc = space_save_page(space, pager, i, err);
        if (rc < 0)
            return rc;
        space->dirty[i] = 0;
    }
    space->header_dirty = false;
    return space_save_header(space, pager, err);
}

int
hs_space_move_table(hs_space *space, hs_pager *pager, uint64_t sequence, h5store_err *err)
{
    uint64_t least = hs_round_up((space->count / SPACE_SLOTS_PER_PAGE + 1) * HS_PAGE_SIZE,
                                 HS_SPACE_UNIT);

    return space->table.address == SPACE_TABLE_ADDRESS
               ? H5STORE_OK
               : space_move_table(space, pager, least, sequence, err);
}
