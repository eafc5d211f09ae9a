/* SPDX-License-Identifier: MIT */
/*
 * See ohdr_edit.h.
 *
 * A header is one block or more, each a run of messages; what is free in a block is a message of
 * kind 0 ("NIL"), or, if it is too short for that, a gap at the end.  A link goes into the first
 * block that has room for it.  If none has, there comes a new block, twice as large as what it
 * takes in: all short blocks but the first, so that a group of five hundred links has half a dozen
 * blocks and not the five hundred that HDF5 would make, and the new link.  What says where the new
 * block is, a continuation message, stands where that of a short block stood; the first time links
 * have to make room for it, which move to the new block.
 *
 * Blocks are put together anew in memory from the messages they are to have, in the order they had,
 * and written whole: the pager holds no page that is as it was.
 */
#include "ohdr_edit.h"
#include "grow.h"
#include "ohdr_impl.h"
#include "ohdr_make.h"

#define EDIT_LONG 8192u  /* a block of this length or more stays */
#define EDIT_MOST 65535u /* a longer one may not be free as one message */
#define EDIT_NEW 8u      /* links of room that a new block has at least */

struct edit_piece { /* a message, head included */
    const uint8_t *bytes;
    size_t size;
    size_t block; /* in which it is to be */
};

struct edit {
    hs_pager *pager;
    const hs_ohdr *header;
    struct edit_piece *pieces;
    size_t count, room;
};

#define EDIT_FRESH SIZE_MAX         /* the new block */
#define EDIT_NOWHERE (SIZE_MAX - 1) /* it goes */

static unsigned
edit_kind(const struct edit_piece *piece)
{
    return piece->bytes[0];
}

static size_t
edit_size(const uint8_t *message)
{
    return OHDR_HEAD + ((size_t)message[1] | (size_t)message[2] << 8);
}

/* Where a continuation message leads. */
static uint64_t
edit_target(const struct edit_piece *piece)
{
    return hs_get_le64(piece->bytes + OHDR_HEAD);
}

/* Take the blocks apart, but for what is free.  They were read, so the messages fit. */
static int
edit_open(struct edit *edit, h5store_err *err)
{
    const hs_ohdr *header = edit->header;
    const uint8_t *block = header->bytes;
    int rc = H5STORE_OK;

    if (block[5] & OHDR_ORDER_TRACKED)
        return H5STORE_DONE;
    for (size_t i = 0; i < header->block_count; block += header->blocks[i].length, i++) {
        const uint8_t *at = block + (i == 0 ? header->prefix : 4);
        const uint8_t *end = block + header->blocks[i].length - OHDR_CHECKSUM;

        if (header->blocks[i].length > EDIT_MOST)
            return H5STORE_DONE;
        for (; end - at >= (ptrdiff_t)OHDR_HEAD; at += edit_size(at)) {
            if (at[0] == OHDR_NIL)
                continue;
            rc = hs_grow(&edit->pieces, edit->count, &edit->room, sizeof *edit->pieces,
                         "an object header", err);
            if (rc < 0)
                return rc;
            edit->pieces[edit->count++] = (struct edit_piece){at, edit_size(at), i};
        }
    }
    return rc;
}

/* Bytes of the messages that a block is to have. */
static size_t
edit_used(const struct edit *edit, size_t block)
{
    size_t used = 0;

    for (size_t i = 0; i < edit->count; i++)
        used += edit->pieces[i].block == block ? edit->pieces[i].size : 0;
    return used;
}

/* Bytes of a block that messages can have. */
static size_t
edit_capacity(const struct edit *edit, size_t block)
{
    size_t length = (size_t)edit->header->blocks[block].length;

    return length - (block == 0 ? edit->header->prefix : 4) - OHDR_CHECKSUM;
}

/* Write a block that begins with @p prefix and has the messages of @p block. */
static int
edit_write(const struct edit *edit, size_t block, hs_ohdr_block place, const uint8_t *prefix,
           size_t prefix_size, h5store_err *err)
{
    HS_CLEANUP(hs_freep) uint8_t *bytes = calloc(1, (size_t)place.length);
    size_t used = prefix_size, end = (size_t)place.length - OHDR_CHECKSUM;

    if (bytes == NULL)
        return hs_fail_nomem(err, place.length, "an object header");
    memcpy(bytes, prefix, prefix_size);
    for (size_t i = 0; i < edit->count; i++) {
        const struct edit_piece *piece = &edit->pieces[i];

        if (piece->block != block)
            continue;
        memcpy(bytes + used, piece->bytes, piece->size);
        used += piece->size;
    }
    if (end - used >= OHDR_HEAD)
        ohdr_put_head(bytes + used, OHDR_NIL, 0, end - used - OHDR_HEAD);
    ohdr_seal(bytes, (size_t)place.length);
    return hs_pager_write(edit->pager, place.address, bytes, (size_t)place.length, err);
}

/* Write a block of the header again. */
static int
edit_rewrite(const struct edit *edit, size_t block, h5store_err *err)
{
    const hs_ohdr_block *blocks = edit->header->blocks;

    return block == 0
               ? edit_write(edit, block, blocks[0], edit->header->bytes, edit->header->prefix, err)
               : edit_write(edit, block, blocks[block], (const uint8_t *)"OCHK", 4, err);
}

/* ---- a new block ------------------------------------------------------ */

static bool
edit_stays(const struct edit *edit, size_t block)
{
    return block == 0 || edit->header->blocks[block].length >= EDIT_LONG;
}

/* Does a continuation message lead to a block that the new one takes in? */
static bool
edit_leads_to_short(const struct edit *edit, const struct edit_piece *piece)
{
    const hs_ohdr *header = edit->header;

    for (size_t i = 1; i < header->block_count; i++)
        if (header->blocks[i].address == edit_target(piece))
            return !edit_stays(edit, i);
    return false;
}

/*
 * Let links of a block that stays move until a continuation message has room there.  False: there
 * are too few; then none has moved.
 */
static bool
edit_make_way(struct edit *edit, size_t block, size_t size)
{
    size_t free = edit_capacity(edit, block) - edit_used(edit, block), from = edit->count;

    while (free < size && from > 0) {
        const struct edit_piece *piece = &edit->pieces[--from];

        if (piece->block == block && edit_kind(piece) == OHDR_LINK)
            free += piece->size;
    }
    if (free < size)
        return false;
    for (size_t i = from; i < edit->count; i++)
        if (edit->pieces[i].block == block && edit_kind(&edit->pieces[i]) == OHDR_LINK)
            edit->pieces[i].block = EDIT_FRESH;
    return true;
}

/* Decide which block each message is in when there is a new one, to which @p leader leads; changed:
 * for each block that stays, whether it has others than before.  DONE: the leader has no place. */
static int
edit_distribute(struct edit *edit, const uint8_t *leader, size_t leader_size, bool *changed)
{
    size_t place = EDIT_NOWHERE;

    for (size_t i = 0; i < edit->count; i++) {
        struct edit_piece *piece = &edit->pieces[i];
        bool stays = piece->block == EDIT_FRESH || edit_stays(edit, piece->block);

        if (edit_kind(piece) == OHDR_CONTINUATION && edit_leads_to_short(edit, piece)) {
            if (stays) {
                changed[piece->block] = true;
                place = place == EDIT_NOWHERE ? piece->block : place;
            }
            piece->block = EDIT_NOWHERE;
        } else if (!stays) {
            piece->block = EDIT_FRESH;
        }
    }
    for (size_t i = edit->header->block_count; place == EDIT_NOWHERE && i-- > 0;)
        if (edit_stays(edit, i) && edit_make_way(edit, i, leader_size)) {
            changed[i] = true;
            place = i;
        }
    if (place == EDIT_NOWHERE)
        return H5STORE_DONE;
    edit->pieces[edit->count++] = (struct edit_piece){leader, leader_size, place};
    return H5STORE_OK;
}

/* The last piece is new and has no block yet: give it a new one. */
static int
edit_extend(struct edit *edit, hs_space *space, h5store_err *err)
{
    const hs_ohdr *header = edit->header;
    uint8_t leader[OHDR_HEAD + 16] = {0};
    HS_CLEANUP(hs_freep) bool *changed = calloc(header->block_count, sizeof *changed);
    hs_ohdr_block fresh;
    size_t least = EDIT_NEW * edit->pieces[edit->count - 1].size, used;
    int rc = hs_grow(&edit->pieces, edit->count, &edit->room, sizeof *edit->pieces,
                     "an object header", err);

    if (rc == H5STORE_OK && changed == NULL)
        rc = hs_fail_nomem(err, header->block_count * sizeof *changed, "an object header");
    if (rc == H5STORE_OK)
        rc = edit_distribute(edit, leader, sizeof leader, changed);
    if (rc != H5STORE_OK)
        return rc;
    used = edit_used(edit, EDIT_FRESH);
    if (used + EDIT_LONG > HS_ARENA_SIZE / 2)
        return H5STORE_DONE;
    fresh.length = hs_round_up(4 + used + hs_min(EDIT_LONG, hs_max(least, used)) + OHDR_CHECKSUM,
                               8);
    rc = hs_space_metadata(space, edit->pager, fresh.length, &fresh.address, err);
    if (rc < 0)
        return rc;
    ohdr_put_head(leader, OHDR_CONTINUATION, 0, 16);
    hs_put_le64(leader + OHDR_HEAD, fresh.address);
    hs_put_le64(leader + OHDR_HEAD + 8, fresh.length);
    rc = edit_write(edit, EDIT_FRESH, fresh, (const uint8_t *)"OCHK", 4, err);
    for (size_t i = 0; rc == H5STORE_OK && i < header->block_count; i++) {
        if (changed[i])
            rc = edit_rewrite(edit, i, err);
        else if (!edit_stays(edit, i))
            hs_space_give_block(space, header->blocks[i].address, header->blocks[i].length);
    }
    return rc;
}

/* ---- adding ----------------------------------------------------------- */

/* The first block with room for a message, or EDIT_FRESH. */
static size_t
edit_find_room(const struct edit *edit, size_t size)
{
    size_t next = 0; /* pieces are in the order of their blocks */

    for (size_t block = 0; block < edit->header->block_count; block++) {
        size_t used = 0;

        for (; next < edit->count && edit->pieces[next].block == block; next++)
            used += edit->pieces[next].size;
        if (edit_capacity(edit, block) - used >= size)
            return block;
    }
    return EDIT_FRESH;
}

static int
edit_add(struct edit *edit, hs_space *space, const uint8_t *message, size_t size, h5store_err *err)
{
    size_t block;
    int rc = edit_open(edit, err);

    if (rc == H5STORE_OK)
        rc = hs_grow(&edit->pieces, edit->count, &edit->room, sizeof *edit->pieces,
                     "an object header", err);
    if (rc != H5STORE_OK)
        return rc;
    block = edit_find_room(edit, size);
    edit->pieces[edit->count++] = (struct edit_piece){message, size, block};
    return block == EDIT_FRESH ? edit_extend(edit, space, err) : edit_rewrite(edit, block, err);
}

int
hs_ohdr_add_link(hs_pager *pager, hs_space *space, const hs_ohdr *header, const char *name,
                 size_t length, uint64_t address, h5store_err *err)
{
    struct edit edit = {.pager = pager, .header = header};
    size_t size = hs_draft_link_size(length);
    HS_CLEANUP(hs_freep) uint8_t *message = malloc(size);
    int rc;

    if (message == NULL)
        return hs_fail_nomem(err, size, "a link");
    if (header->links_ordered)
        return H5STORE_DONE;
    ohdr_put_head(message, OHDR_LINK, 0, size - OHDR_HEAD);
    ohdr_put_link(message + OHDR_HEAD, name, length, address);
    rc = edit_add(&edit, space, message, size, err);
    free(edit.pieces);
    return rc;
}

/* ---- changing in place ------------------------------------------------- */

/* Does a message link by that name? */
static bool
edit_is_link(const struct edit_piece *piece, const char *name, size_t length)
{
    hs_ohdr_link link;

    return edit_kind(piece) == OHDR_LINK &&
           hs_ohdr_parse_link(piece->bytes + OHDR_HEAD, piece->size - OHDR_HEAD, &link) > 0 &&
           link.name_length == length && memcmp(link.name, name, length) == 0;
}

/* Write the block of a piece with other bytes in its place. */
static int
edit_replace(struct edit *edit, size_t index, const uint8_t *bytes, h5store_err *err)
{
    edit->pieces[index].bytes = bytes;
    return edit_rewrite(edit, edit->pieces[index].block, err);
}

int
hs_ohdr_remove_link(hs_pager *pager, const hs_ohdr *header, const char *name, size_t length,
                    h5store_err *err)
{
    struct edit edit = {.pager = pager, .header = header};
    HS_CLEANUP(hs_freep) uint8_t *nothing = NULL;
    size_t i = 0;
    int rc = edit_open(&edit, err);

    while (rc == H5STORE_OK && i < edit.count && !edit_is_link(&edit.pieces[i], name, length))
        i++;
    if (rc == H5STORE_OK && i == edit.count)
        rc = H5STORE_DONE;
    if (rc == H5STORE_OK) {
        size_t size = edit.pieces[i].size;

        nothing = calloc(1, size);
        if (nothing != NULL)
            ohdr_put_head(nothing, OHDR_NIL, 0, size - OHDR_HEAD);
        rc = nothing != NULL ? edit_replace(&edit, i, nothing, err)
                             : hs_fail_nomem(err, size, "an object header");
    }
    free(edit.pieces);
    return rc;
}

int
hs_ohdr_change_references(hs_pager *pager, const hs_ohdr *header, int64_t more, h5store_err *err)
{
    struct edit edit = {.pager = pager, .header = header};
    int64_t references = (int64_t)header->references + more;
    uint8_t message[OHDR_HEAD + 5];
    size_t i = 0;
    int rc = edit_open(&edit, err);

    while (rc == H5STORE_OK && i < edit.count &&
           (edit_kind(&edit.pieces[i]) != OHDR_REFERENCES || edit.pieces[i].size != sizeof message))
        i++;
    if (rc == H5STORE_OK && (i == edit.count || references < 1 || references > UINT32_MAX))
        rc = H5STORE_DONE;
    if (rc == H5STORE_OK) {
        memcpy(message, edit.pieces[i].bytes, sizeof message);
        hs_put_le32(message + OHDR_HEAD + 1, (uint32_t)references);
        rc = edit_replace(&edit, i, message, err);
    }
    free(edit.pieces);
    return rc;
}
