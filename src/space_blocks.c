/* SPDX-License-Identifier: MIT */
/*
 * Space for HDF5 metadata, and blocks of it that are free again.
 *
 * HDF5 asks for metadata space in blocks of some hundred bytes; they come from arenas of 64
 * KiB.  It does not tell its driver which blocks it no longer needs, so the space of removed
 * results would be lost.  But who removes an object knows the blocks of its header
 * (ohdr.h), and gives them back here.
 *
 * A free block says so itself, in its first 24 bytes: "h5sfree\0", its length, and the address
 * of the next free block of its class, or 0.  A class holds the blocks from its least length
 * up to that of the next; the blocks page, page 3 of the file, has the first block of each
 * class.  What is given back in a transaction is chained when that is saved, so nothing is
 * written twice at one address within a transaction.
 *
 * Nothing read is trusted: a chain that leads to something else is given up, which costs
 * space and nothing else.
 */
#include "digest.h"
#include "grow.h"
#include "space_impl.h"

#define BLOCK_HEAD_SIZE 24u
#define BLOCK_OBJECT 1600u /* bytes of metadata for an item or a blob, when that is not known */
#define BLOCK_FEW 64u      /* items and blobs, of which the bytes of the groups are the most */

static const char blocks_magic[8] = {'h', '5', 's', 'b', 'l', 'o', 'c', 'k'};
static const char block_magic[8] = {'h', '5', 's', 'f', 'r', 'e', 'e', '\0'};

/* The least length of each class. */
static const uint32_t block_least[SPACE_CLASSES] = {
    64,  96,   128,  160,  192,  256,  320,  384,  448,  512,  640,   768,
    896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 4096, 8192, 16384, 32768};

/* The class that a block of this length belongs to; it is at least the least of all. */
static unsigned
block_class(uint64_t length)
{
    unsigned class = SPACE_CLASSES - 1;

    while (block_least[class] > length)
        class --;
    return class;
}

void
space_load_blocks(hs_space *space, const uint8_t page[HS_PAGE_SIZE])
{
    hs_blocks *blocks = &space->blocks;

    blocks->given_count = 0;
    blocks->metadata_bytes = blocks->free_bytes = blocks->object_bytes = 0;
    memset(blocks->heads, 0, sizeof blocks->heads);
    if (memcmp(page, blocks_magic, sizeof blocks_magic) != 0 ||
        hs_get_le64(page + 248) != hs_sum64(page, 248))
        return;
    blocks->metadata_bytes = hs_get_le64(page + 8);
    blocks->free_bytes = hs_get_le64(page + 16);
    for (unsigned i = 0; i < SPACE_CLASSES; i++)
        blocks->heads[i] = hs_get_le64(page + 24 + 8 * (size_t)i);
    blocks->object_bytes = hs_get_le64(page + 216);
}

bool
hs_space_are_blocks_sound(const uint8_t page[HS_PAGE_SIZE])
{
    static const uint8_t nothing[HS_PAGE_SIZE];

    return memcmp(page, nothing, sizeof nothing) == 0 ||
           (memcmp(page, blocks_magic, sizeof blocks_magic) == 0 &&
            hs_get_le64(page + 248) == hs_sum64(page, 248));
}

void
hs_space_give_block(hs_space *space, uint64_t address, uint64_t length)
{
    hs_blocks *blocks = &space->blocks;

    if (length < block_least[0] || length > HS_ARENA_SIZE || address % 8 != 0 ||
        address < HS_SPACE_START || length > space->eoa || address > space->eoa - length)
        return;
    if (hs_grow(&blocks->given, blocks->given_count, &blocks->given_room, sizeof *blocks->given,
                "the free blocks", NULL) < 0)
        return; /* lost until the next rebuild */
    blocks->given[blocks->given_count++] = (hs_extent){address, length};
}

int
space_save_blocks(hs_space *space, hs_pager *pager, h5store_err *err)
{
    hs_blocks *blocks = &space->blocks;
    uint8_t page[HS_PAGE_SIZE] = {0};

    for (size_t i = 0; i < blocks->given_count; i++) {
        const hs_extent *block = &blocks->given[i];
        unsigned class = block_class(block->length);
        uint8_t head[BLOCK_HEAD_SIZE];
        int rc;

        memcpy(head, block_magic, sizeof block_magic);
        hs_put_le64(head + 8, block->length);
        hs_put_le64(head + 16, blocks->heads[class]);
        rc = hs_pager_write(pager, block->address, head, sizeof head, err);
        if (rc < 0)
            return rc;
        blocks->heads[class] = block->address;
        blocks->free_bytes += block->length;
    }
    blocks->given_count = 0;
    memcpy(page, blocks_magic, sizeof blocks_magic);
    hs_put_le64(page + 8, blocks->metadata_bytes);
    hs_put_le64(page + 16, blocks->free_bytes);
    for (unsigned i = 0; i < SPACE_CLASSES; i++)
        hs_put_le64(page + 24 + 8 * (size_t)i, blocks->heads[i]);
    hs_put_le64(page + 216, blocks->object_bytes);
    hs_put_le64(page + 248, hs_sum64(page, 248));
    return hs_pager_write(pager, HS_SPACE_BLOCKS_ADDRESS, page, sizeof page, err);
}

/* Is there a free block at @p address?  Then its length and the next of its class. */
static bool
block_read(const hs_space *space, hs_pager *pager, uint64_t address, unsigned class,
           uint64_t *length, uint64_t *next)
{
    uint8_t head[BLOCK_HEAD_SIZE];

    if (address % 8 != 0 || address < HS_SPACE_START || address > space->eoa - BLOCK_HEAD_SIZE ||
        hs_pager_read(pager, address, head, sizeof head, NULL) < 0 ||
        memcmp(head, block_magic, sizeof block_magic) != 0)
        return false;
    *length = hs_get_le64(head + 8);
    *next = hs_get_le64(head + 16);
    return *length >= block_least[class] && *length <= HS_ARENA_SIZE &&
           *length <= space->eoa - address;
}

/* Take a free block of at least @p size bytes; what is left over is given back. */
static bool
block_take(hs_space *space, hs_pager *pager, uint64_t size, uint64_t *address)
{
    hs_blocks *blocks = &space->blocks;

    if (blocks->free_bytes == 0 || size < block_least[0])
        return false;
    for (unsigned class = block_class(size); class < SPACE_CLASSES; class ++) {
        uint64_t length, next, head = blocks->heads[class];

        if (head == 0)
            continue;
        if (!block_read(space, pager, head, class, &length, &next)) {
            blocks->heads[class] = 0;
            continue;
        }
        if (length < size) /* of this class the first one is tried, and no other */
            continue;
        blocks->heads[class] = next;
        blocks->free_bytes -= hs_min(blocks->free_bytes, length);
        *address = head;
        hs_space_give_block(space, head + size, length - size);
        return true;
    }
    return false;
}

/* For a rebuild: note an extent that metadata got. */
static int
space_note_fresh(hs_space *space, hs_extent extent, h5store_err *err)
{
    int rc;

    if (!space->fresh_noted)
        return H5STORE_OK;
    rc = hs_grow(&space->fresh, space->fresh_count, &space->fresh_room, sizeof *space->fresh,
                 "the space table", err);
    if (rc == H5STORE_OK)
        space->fresh[space->fresh_count++] = extent;
    return rc;
}

int
hs_space_metadata(hs_space *space, hs_pager *pager, uint64_t size, uint64_t *address,
                  h5store_err *err)
{
    bool large = size > HS_ARENA_SIZE / 2;
    hs_extent extent;
    bool reused;
    int rc;

    size = hs_round_up(size, large ? HS_SPACE_UNIT : 8);
    space->header_dirty = true;
    if (!large && block_take(space, pager, size, address))
        return H5STORE_OK;
    if (large || size > space->arena_end - space->arena_next) {
        rc = hs_space_take(space, large ? size : HS_ARENA_SIZE, &extent, &reused, err);
        if (rc == H5STORE_OK)
            rc = hs_pager_reserve(pager, extent.address, extent.length, err);
        if (rc == H5STORE_OK && reused)
            rc = hs_pager_zero(pager, extent.address, extent.length, err);
        if (rc == H5STORE_OK)
            rc = space_note_fresh(space, extent, err);
        if (rc < 0)
            return rc;
        space->blocks.metadata_bytes += extent.length;
        if (large) {
            *address = extent.address;
            return H5STORE_OK;
        }
        if (space->arena_end != extent.address) {
            hs_space_give_block(space, space->arena_next, space->arena_end - space->arena_next);
            space->arena_next = extent.address;
        }
        space->arena_end = extent.address + extent.length;
    }
    *address = space->arena_next;
    space->arena_next += size;
    return H5STORE_OK;
}

int
hs_space_give_metadata(hs_space *space, uint64_t address, uint64_t size, uint64_t sequence,
                       h5store_err *err)
{
    hs_extent extent = {address, hs_round_up(size, HS_SPACE_UNIT)};

    if (size <= HS_ARENA_SIZE / 2) {
        hs_space_give_block(space, address, hs_round_up(size, 8));
        return H5STORE_OK;
    }
    if (address % HS_SPACE_UNIT != 0 || address < HS_SPACE_START || size > space->eoa ||
        address > space->eoa - extent.length)
        return H5STORE_OK; /* not from here */
    space->blocks.metadata_bytes -= hs_min(space->blocks.metadata_bytes, extent.length);
    return hs_space_loosen(space, extent, sequence, err);
}

/* ---- rebuilding ------------------------------------------------------- */

void
hs_space_start_metadata(hs_space *space)
{
    space->arena_next = space->arena_end = 0;
    memset(space->blocks.heads, 0, sizeof space->blocks.heads);
    space->blocks.metadata_bytes = space->blocks.free_bytes = 0;
    space->blocks.given_count = 0;
    space->counters = (hs_counters){0};
    space->fresh_count = 0;
    space->fresh_noted = space->header_dirty = true;
}

/* Bytes of metadata that were given to HDF5 once, whether it needs them still or not. */
static uint64_t
space_given(const hs_space *space)
{
    uint64_t arena = space->arena_end - space->arena_next;

    return space->blocks.metadata_bytes - hs_min(space->blocks.metadata_bytes, arena);
}

uint64_t
hs_space_waste(const hs_space *space)
{
    uint64_t objects = space->counters.items + space->counters.blobs;
    uint64_t each = space->blocks.object_bytes != 0 ? space->blocks.object_bytes : BLOCK_OBJECT;
    uint64_t live = 0;

    if (!hs_mul(objects, each, &live))
        return 0;
    return space_given(space) - hs_min(space_given(space), live);
}

static int
blocks_compare(const void *a, const void *b)
{
    const hs_extent *left = a, *right = b;

    return left->address < right->address ? -1 : left->address > right->address;
}

int
hs_space_loosen_rest(hs_space *space, const hs_extent *used, size_t used_count,
                     const hs_extent *more, size_t more_count, uint64_t sequence, h5store_err *err)
{
    size_t count = 0, room = used_count + more_count + space->count + space->fresh_count + 2;
    HS_CLEANUP(hs_freep) hs_extent *all = malloc(room * sizeof *all);
    uint64_t at = 0, objects;
    int rc = H5STORE_OK;

    if (all == NULL)
        return hs_fail_nomem(err, room * sizeof *all, "the space table");
    for (size_t i = 0; i < used_count; i++)
        all[count++] = used[i];
    for (size_t i = 0; i < more_count; i++)
        if (more[i].length > 0)
            all[count++] = more[i];
    for (size_t i = 0; i < space->count; i++)
        all[count++] = space->slots[i].extent;
    for (size_t i = 0; i < space->fresh_count; i++)
        all[count++] = space->fresh[i];
    all[count++] = (hs_extent){0, HS_SPACE_START};
    all[count++] = space->table;
    qsort(all, count, sizeof *all, blocks_compare);
    for (size_t i = 0; rc == H5STORE_OK && i < count; i++) {
        if (all[i].address > at)
            rc = hs_space_loosen(space, (hs_extent){at, all[i].address - at}, sequence, err);
        at = hs_max(at, all[i].address + all[i].length);
    }
    if (rc == H5STORE_OK && space->eoa > at)
        rc = hs_space_loosen(space, (hs_extent){at, space->eoa - at}, sequence, err);
    space->fresh_noted = false;
    objects = space->counters.items + space->counters.blobs;
    space->blocks.object_bytes = objects >= BLOCK_FEW ? space_given(space) / objects : 0;
    return rc;
}
