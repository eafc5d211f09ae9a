/* SPDX-License-Identifier: MIT */
/*
 * Object headers of version 2; see ohdr.h.
 *
 *   "OHDR"  version 2 (1)  flags (1)  [four times (16)]  [two limits of attributes (4)]
 *           length of the messages (1, 2, 4 or 8)  messages  checksum (4)
 *   "OCHK"  messages  checksum (4)
 *
 * A message is its kind (1), its length (2), flags (1) and, when the header says so, a creation
 * order (2) before its body.  A continuation message says where an "OCHK" lies.
 *
 * The parts ("blocks") are first put one behind the other in memory, each with its checksum
 * compared; then the messages are counted, room for what they say is made behind the bytes, in
 * the same allocation, and the messages are taken apart.  Nearly all headers, their one
 * continuation included, lie within the first window and cost one read.
 */
#include "ohdr_impl.h"
#include <assert.h>

#define OHDR_WINDOW 4096u
#define OHDR_MOST_BLOCKS 640u /* HDF5 makes one for each link that a header has no room for */
#define OHDR_MOST_BYTES ((uint64_t)4 * 1024 * 1024)
#define OHDR_SHARED 0x02u /* flag of a message */

/* ---- checksum --------------------------------------------------------- */

static inline uint32_t
ohdr_rotate(uint32_t x, int k)
{
    return (x << k) | (x >> (32 - k));
}

uint32_t
hs_ohdr_checksum(const uint8_t *bytes, size_t size)
{
    uint32_t a = 0xdeadbeefu + (uint32_t)size, b = a, c = a;
    uint8_t last[12] = {0};

    for (; size > 12; bytes += 12, size -= 12) {
        a += hs_get_le32(bytes);
        b += hs_get_le32(bytes + 4);
        c += hs_get_le32(bytes + 8);
        a = (a - c) ^ ohdr_rotate(c, 4), c += b;
        b = (b - a) ^ ohdr_rotate(a, 6), a += c;
        c = (c - b) ^ ohdr_rotate(b, 8), b += a;
        a = (a - c) ^ ohdr_rotate(c, 16), c += b;
        b = (b - a) ^ ohdr_rotate(a, 19), a += c;
        c = (c - b) ^ ohdr_rotate(b, 4), b += a;
    }
    if (size == 0)
        return c;
    memcpy(last, bytes, size);
    a += hs_get_le32(last);
    b += hs_get_le32(last + 4);
    c += hs_get_le32(last + 8);
    c = (c ^ b) - ohdr_rotate(b, 14);
    a = (a ^ c) - ohdr_rotate(c, 11);
    b = (b ^ a) - ohdr_rotate(a, 25);
    c = (c ^ b) - ohdr_rotate(b, 16);
    a = (a ^ c) - ohdr_rotate(c, 4);
    b = (b ^ a) - ohdr_rotate(a, 14);
    c = (c ^ b) - ohdr_rotate(b, 24);
    return c;
}

static bool
ohdr_is_whole(const uint8_t *block, uint64_t length)
{
    return hs_get_le32(block + length - OHDR_CHECKSUM) ==
           hs_ohdr_checksum(block, (size_t)length - OHDR_CHECKSUM);
}

/* ---- one read of a header --------------------------------------------- */

struct ohdr_job {
    hs_pager *pager;
    uint64_t address;
    size_t prefix; /* bytes of the first block before its messages */
    bool order_tracked;
    uint8_t *bytes; /* all blocks, one behind the other */
    size_t used, room;
    size_t block_count, link_room, attribute_room;
    hs_ohdr_block blocks[OHDR_MOST_BLOCKS];
    uint8_t window[OHDR_WINDOW]; /* the file from address on */
};

static int
ohdr_damaged(const hs_pager *pager, uint64_t address, const char *why, h5store_err *err)
{
    return hs_fail(err, H5STORE_E_DAMAGED, 0,
                   "container '%s' has no sound object header at byte %llu: %s; `h5store verify` "
                   "tells what is affected",
                   pager->path, (unsigned long long)address, why);
}

/* The messages of a block whose bytes begin at @p bytes. */
static struct ohdr_span
ohdr_messages(const struct ohdr_job *job, size_t block, const uint8_t *bytes)
{
    size_t before = block == 0 ? job->prefix : 4;

    return (struct ohdr_span){bytes + before, bytes + job->blocks[block].length - OHDR_CHECKSUM};
}

/* 1: the next message; 0: the end, or less than a message has before it; -1: it does not fit. */
static int
ohdr_next(const struct ohdr_job *job, struct ohdr_span *span, struct ohdr_message *message)
{
    size_t head = job->order_tracked ? 6 : 4;
    const uint8_t *bytes, *body;
    uint64_t size;

    if (!ohdr_take(span, head, &bytes))
        return 0;
    size = (uint64_t)bytes[1] | (uint64_t)bytes[2] << 8;
    if (!ohdr_take(span, size, &body))
        return -1;
    message->kind = bytes[0];
    message->shared = (bytes[3] & OHDR_SHARED) != 0;
    message->body = (struct ohdr_span){body, body + size};
    return 1;
}

/* ---- gathering the blocks --------------------------------------------- */

/* Make room for @p more bytes. */
static int
ohdr_grow(struct ohdr_job *job, size_t more, h5store_err *err)
{
    size_t room = job->used + more;
    uint8_t *bytes;

    if (room <= job->room)
        return H5STORE_OK;
    /* What follows, a continuation and the arrays, mostly needs less than this. */
    room += room / 2 + 512;
    bytes = realloc(job->bytes, room);
    if (bytes == NULL)
        return hs_fail_nomem(err, room, "an object header");
    job->bytes = bytes;
    job->room = room;
    return H5STORE_OK;
}

/* Append a block's bytes, and check them. */
static int
ohdr_append(struct ohdr_job *job, size_t block, h5store_err *err)
{
    const hs_ohdr_block *b = &job->blocks[block];
    uint8_t *place;
    int rc;

    if (job->used + b->length > OHDR_MOST_BYTES)
        return ohdr_damaged(job->pager, job->address, "it says that it is too long", err);
    rc = ohdr_grow(job, (size_t)b->length, err);
    if (rc < 0)
        return rc;
    place = job->bytes + job->used;
    if (b->address >= job->address && b->length <= OHDR_WINDOW &&
        b->address - job->address <= OHDR_WINDOW - b->length)
        memcpy(place, job->window + (b->address - job->address), (size_t)b->length);
    else
        rc = hs_pager_read(job->pager, b->address, place, (size_t)b->length, err);
    if (rc < 0)
        return rc;
    if ((block > 0 && memcmp(place, "OCHK", 4) != 0) || !ohdr_is_whole(place, b->length))
        return ohdr_damaged(job->pager, job->address, "a checksum in it is wrong", err);
    job->used += (size_t)b->length;
    return H5STORE_OK;
}

/* The first block's length and what its messages look like. */
static int
ohdr_prefix(struct ohdr_job *job, h5store_err *err)
{
    const uint8_t *bytes = job->window;
    struct ohdr_span span = {bytes + 6, bytes + OHDR_WINDOW};
    const uint8_t *skipped;
    uint64_t size = 0;
    unsigned flags = bytes[5];

    if (memcmp(bytes, "OHDR", 4) != 0 || bytes[4] != 2 || (flags & OHDR_RESERVED) != 0)
        return ohdr_damaged(job->pager, job->address, "it does not begin like one", err);
    if (flags & OHDR_HAS_TIMES)
        (void)ohdr_take(&span, 16, &skipped);
    if (flags & OHDR_HAS_LIMITS)
        (void)ohdr_take(&span, 4, &skipped);
    (void)ohdr_number(&span, 1u << (flags & OHDR_LENGTH_WIDTH), &size);
    if (size > OHDR_MOST_BYTES)
        return ohdr_damaged(job->pager, job->address, "it says that it is too long", err);
    job->prefix = (size_t)(span.at - bytes);
    job->order_tracked = (flags & OHDR_ORDER_TRACKED) != 0;
    job->blocks[0] = (hs_ohdr_block){job->address, job->prefix + size + OHDR_CHECKSUM};
    job->block_count = 1;
    return H5STORE_OK;
}

static int
ohdr_continue(struct ohdr_job *job, struct ohdr_span *body, h5store_err *err)
{
    hs_ohdr_block block;
    uint64_t end;

    if (!ohdr_number(body, 8, &block.address) || !ohdr_number(body, 8, &block.length) ||
        !hs_add(block.address, block.length, &end) || end > INT64_MAX ||
        block.length < 4 + OHDR_CHECKSUM)
        return ohdr_damaged(job->pager, job->address, "it continues nowhere", err);
    for (size_t i = 0; i < job->block_count; i++)
        if (job->blocks[i].address == block.address)
            return ohdr_damaged(job->pager, job->address, "it continues in itself", err);
    if (job->block_count == OHDR_MOST_BLOCKS)
        return ohdr_damaged(job->pager, job->address, "it has too many parts", err);
    job->blocks[job->block_count++] = block;
    return H5STORE_OK;
}

/* Get all blocks, and count what they hold. */
static int
ohdr_gather(struct ohdr_job *job, h5store_err *err)
{
    int rc = H5STORE_OK;

    for (size_t i = 0; rc == H5STORE_OK && i < job->block_count; i++) {
        struct ohdr_message message;
        struct ohdr_span span;
        int more = 0;

        rc = ohdr_append(job, i, err);
        if (rc < 0)
            return rc;
        span = ohdr_messages(job, i, job->bytes + job->used - job->blocks[i].length);
        while (rc == H5STORE_OK && (more = ohdr_next(job, &span, &message)) > 0) {
            if (message.kind == OHDR_CONTINUATION)
                rc = ohdr_continue(job, &message.body, err);
            job->link_room += message.kind == OHDR_LINK;
            job->attribute_room += message.kind == OHDR_ATTRIBUTE;
        }
        if (more < 0)
            rc = ohdr_damaged(job->pager, job->address, "a message in it is cut short", err);
    }
    return rc;
}

/* ---- putting it together ---------------------------------------------- */

/* The arrays lie behind the bytes, in the order of their sizes' alignment: all of 8 bytes. */
static int
ohdr_make_room(struct ohdr_job *job, hs_ohdr *header, h5store_err *err)
{
    size_t first = (size_t)hs_round_up(job->used, sizeof(uint64_t));
    size_t blocks = job->block_count * sizeof *header->blocks;
    size_t links = job->link_room * sizeof *header->links;
    size_t attributes = job->attribute_room * sizeof *header->attributes;
    int rc = ohdr_grow(job, first - job->used + blocks + links + attributes, err);

    if (rc < 0)
        return rc;
    header->bytes = job->bytes;
    header->blocks = (hs_ohdr_block *)(void *)(job->bytes + first);
    header->links = (hs_ohdr_link *)(void *)(job->bytes + first + blocks);
    header->attributes = (hs_ohdr_attribute *)(void *)(job->bytes + first + blocks + links);
    memcpy(header->blocks, job->blocks, blocks);
    header->block_count = job->block_count;
    header->prefix = job->prefix;
    return H5STORE_OK;
}

static int
ohdr_fill(struct ohdr_job *job, hs_ohdr *header, h5store_err *err)
{
    const uint8_t *bytes = job->bytes, *place = NULL;
    int chunk_rank = 0, rc;

    rc = ohdr_make_room(job, header, err);
    if (rc < 0)
        return rc;
    bytes = job->bytes;
    for (size_t i = 0; i < job->block_count; bytes += job->blocks[i].length, i++) {
        struct ohdr_span span = ohdr_messages(job, i, bytes);
        struct ohdr_message message;
        bool placed = place != NULL;

        while (ohdr_next(job, &span, &message) > 0)
            if (!ohdr_interpret(&message, header, &chunk_rank, &place))
                return ohdr_damaged(job->pager, job->address, "a message in it is impossible", err);
        if (place != NULL && !placed)
            header->layout_place = job->blocks[i].address + (uint64_t)(place - bytes);
    }
    if ((header->layout == HS_OHDR_IMPLICIT || header->layout == HS_OHDR_FIXED_ARRAY) &&
        chunk_rank != header->rank)
        return ohdr_damaged(job->pager, job->address, "its chunks do not fit its shape", err);
    return H5STORE_OK;
}

int
hs_ohdr_read(hs_pager *pager, uint64_t address, hs_ohdr *header, h5store_err *err)
{
    struct ohdr_job job; /* large, and mostly set as it is needed */
    hs_ohdr found = {.address = address,
                     .references = 1,
                     .heap = UINT64_MAX,
                     .name_index = UINT64_MAX,
                     .data_address = UINT64_MAX,
                     .type_class = -1};
    int rc;

    if (address > (uint64_t)INT64_MAX - OHDR_MOST_BYTES)
        return ohdr_damaged(pager, address, "no file is that long", err);
    job.pager = pager;
    job.address = address;
    job.bytes = NULL;
    job.used = job.room = job.link_room = job.attribute_room = 0;
    rc = hs_pager_read(pager, address, job.window, OHDR_WINDOW, err);
    if (rc == H5STORE_OK)
        rc = ohdr_prefix(&job, err);
    if (rc == H5STORE_OK)
        rc = ohdr_gather(&job, err);
    if (rc == H5STORE_OK)
        rc = ohdr_fill(&job, &found, err);
    if (rc < 0) {
        free(job.bytes);
        return rc;
    }
    *header = found;
    return H5STORE_OK;
}

void
hs_ohdr_release(hs_ohdr *header)
{
    free(header->bytes);
    memset(header, 0, sizeof *header);
}

/* ---- asking ----------------------------------------------------------- */

const hs_ohdr_attribute *
hs_ohdr_find(const hs_ohdr *header, const char *name)
{
    for (size_t i = 0; i < header->attribute_count; i++)
        if (strcmp(header->attributes[i].name, name) == 0)
            return &header->attributes[i];
    return NULL;
}

bool
hs_ohdr_u64(const hs_ohdr *header, const char *name, uint64_t *value)
{
    const hs_ohdr_attribute *attribute = hs_ohdr_find(header, name);

    if (attribute == NULL || attribute->type_class != 0 || attribute->type_size != 8 ||
        attribute->count != 1)
        return false;
    *value = hs_get_le64(attribute->value);
    return true;
}

bool
hs_ohdr_text(const hs_ohdr *header, const char *name, char *text, size_t room)
{
    const hs_ohdr_attribute *attribute = hs_ohdr_find(header, name);

    if (attribute == NULL || attribute->type_class != 3 || attribute->count != 1 ||
        attribute->size >= room)
        return false;
    memcpy(text, attribute->value, attribute->size);
    text[attribute->size] = '\0';
    return true;
}

/* ---- moving ----------------------------------------------------------- */

int
hs_ohdr_move_data(hs_pager *pager, const hs_ohdr *header, uint64_t data_address, h5store_err *err)
{
    const hs_ohdr_block *block = header->blocks, *end = block + header->block_count;
    HS_CLEANUP(hs_freep) uint8_t *bytes = NULL;
    uint8_t sum[OHDR_CHECKSUM], *place;
    int rc;

    assert(header->layout_place != 0);
    while (block < end && header->layout_place - block->address >= block->length)
        block++;
    assert(block < end);
    bytes = malloc((size_t)block->length);
    if (bytes == NULL)
        return hs_fail_nomem(err, block->length, "an object header");
    rc = hs_pager_read(pager, block->address, bytes, (size_t)block->length, err);
    if (rc < 0)
        return rc;
    place = bytes + (header->layout_place - block->address);
    if (!ohdr_is_whole(bytes, block->length) || hs_get_le64(place) != header->data_address)
        return ohdr_damaged(pager, header->address, "it changed while its bytes were moved", err);
    hs_put_le64(place, data_address);
    hs_put_le32(sum, hs_ohdr_checksum(bytes, (size_t)block->length - OHDR_CHECKSUM));
    rc = hs_pager_write(pager, header->layout_place, place, sizeof data_address, err);
    if (rc == H5STORE_OK)
        rc = hs_pager_write(pager, block->address + block->length - OHDR_CHECKSUM, sum, sizeof sum,
                            err);
    return rc;
}

void
hs_ohdr_give_back(hs_space *space, const hs_ohdr *header)
{
    for (size_t i = 0; i < header->block_count; i++)
        hs_space_give_block(space, header->blocks[i].address, header->blocks[i].length);
}
