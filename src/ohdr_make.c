/* SPDX-License-Identifier: MIT */
/*
 * See ohdr_make.h.  Numbers in hexadecimal are those of the specification, version 3.
 */
#include "ohdr_make.h"
#include "ohdr_impl.h"
#include <h5store/array.h>

#define DRAFT_MOST (HS_ARENA_SIZE / 2 - 64u) /* bytes of messages: blocks come from arenas */
#define DRAFT_UNDEFINED UINT64_MAX           /* an address */

enum { /* flags of a message */
       DRAFT_CONSTANT = 0x01,
       DRAFT_NOT_SHARED = 0x04
};

void
hs_draft_release(hs_draft *draft)
{
    free(draft->bytes);
    memset(draft, 0, sizeof *draft);
}

/* ---- bytes ------------------------------------------------------------ */

/* Where @p size bytes go, or NULL. */
static uint8_t *
draft_take(hs_draft *draft, size_t size)
{
    uint8_t *place;

    if (size > DRAFT_MOST - hs_min(draft->used, DRAFT_MOST))
        draft->too_long = true;
    if (draft->too_long || draft->no_memory)
        return NULL;
    if (draft->used + size > draft->room) {
        size_t room = 2 * (draft->used + size) + 512;
        uint8_t *grown = realloc(draft->bytes, room);

        if (grown == NULL) {
            draft->no_memory = true;
            return NULL;
        }
        draft->bytes = grown;
        draft->room = room;
    }
    place = draft->bytes + draft->used;
    draft->used += size;
    return place;
}

/* The head of a message, whose body the caller writes; NULL: do not. */
static uint8_t *
draft_message(hs_draft *draft, unsigned kind, unsigned flags, size_t size)
{
    uint8_t *place = draft_take(draft, OHDR_HEAD + size);

    if (place == NULL)
        return NULL;
    ohdr_put_head(place, kind, flags, size);
    return place + OHDR_HEAD;
}

/* Append to what is being written. */
static uint8_t *
draft_put(uint8_t *at, const void *bytes, size_t size)
{
    if (size > 0)
        memcpy(at, bytes, size);
    return at + size;
}

static uint8_t *
draft_put_number(uint8_t *at, uint64_t value, unsigned width)
{
    for (unsigned i = 0; i < width; i++)
        *at++ = (uint8_t)(value >> (8 * i));
    return at;
}

/* ---- dataspaces ------------------------------------------------------- */

/* Version 2, with the largest dimensions, which are the same; rank 0: a scalar. */
static size_t
draft_space_size(int rank)
{
    return 4 + 16 * (size_t)rank;
}

static uint8_t *
draft_put_space(uint8_t *at, int rank, const hsize_t *dims)
{
    const uint8_t head[4] = {2, (uint8_t)rank, rank > 0, rank > 0};

    at = draft_put(at, head, sizeof head);
    for (int twice = 0; twice < 2; twice++)
        for (int i = 0; i < rank; i++)
            at = draft_put_number(at, dims[i], 8);
    return at;
}

void
hs_draft_dataspace(hs_draft *draft, int rank, const hsize_t *dims)
{
    uint8_t *body = draft_message(draft, OHDR_DATASPACE, 0, draft_space_size(rank));

    if (body != NULL)
        (void)draft_put_space(body, rank, dims);
}

/* ---- datasets --------------------------------------------------------- */

void
hs_draft_datatype(hs_draft *draft, const uint8_t *encoded, size_t size)
{
    uint8_t *body = draft_message(draft, OHDR_DATATYPE, DRAFT_CONSTANT, size);

    if (body != NULL)
        (void)draft_put(body, encoded, size);
}

uint32_t
hs_draft_type_size(const uint8_t *encoded)
{
    return hs_get_le32(encoded + 4);
}

void
hs_draft_fill(hs_draft *draft)
{
    static const uint8_t early_never[2] = {3, 0x01 | 1 << 2};
    uint8_t *body = draft_message(draft, OHDR_FILL, DRAFT_CONSTANT, sizeof early_never);

    if (body != NULL)
        (void)draft_put(body, early_never, sizeof early_never);
}

static unsigned
draft_width(uint64_t value)
{
    unsigned width = 1;

    while (width < 8 && value >> (8 * width) != 0)
        width++;
    return width;
}

/* Version 4, class 2.  HDF5 has an index of its own, 1, for a single chunk; many without an index
 * are 2, "implicit". */
void
hs_draft_chunks(hs_draft *draft, int rank, const hsize_t *dims, const hsize_t *chunk,
                uint64_t itemsize, uint64_t address)
{
    unsigned width = draft_width(itemsize);
    bool single = true;
    uint8_t *at;

    for (int i = 0; i < rank; i++) {
        width = (unsigned)hs_max(width, draft_width(chunk[i]));
        single = single && chunk[i] == dims[i];
    }
    at = draft_message(draft, OHDR_LAYOUT, DRAFT_CONSTANT, 14 + ((size_t)rank + 1) * width);
    if (at == NULL)
        return;
    at = draft_put(at, (const uint8_t[]){4, 2, 0, (uint8_t)(rank + 1), (uint8_t)width}, 5);
    for (int i = 0; i < rank; i++)
        at = draft_put_number(at, chunk[i], width);
    at = draft_put_number(at, itemsize, width);
    at = draft_put_number(at, single ? 1 : 2, 1);
    (void)draft_put_number(at, address, 8);
}

/* ---- groups ----------------------------------------------------------- */

void
hs_draft_group(hs_draft *draft)
{
    uint8_t *links = draft_message(draft, OHDR_LINK_INFO, 0, 18), *group;

    if (links == NULL)
        return;
    links = draft_put_number(links, 0, 2); /* version and flags: no creation order */
    links = draft_put_number(links, DRAFT_UNDEFINED, 8);
    (void)draft_put_number(links, DRAFT_UNDEFINED, 8);
    group = draft_message(draft, OHDR_GROUP_INFO, DRAFT_CONSTANT, 6);
    if (group == NULL)
        return;
    group = draft_put(group, (const uint8_t[]){0, 0x01}, 2);
    group = draft_put_number(group, HS_LINKS_FOR_HDF5, 2);
    (void)draft_put_number(group, HS_LINKS_LEAST, 2);
}

size_t
hs_draft_link_size(size_t length)
{
    return OHDR_HEAD + ohdr_link_size(length);
}

void
hs_draft_link(hs_draft *draft, const char *name, size_t length, uint64_t address)
{
    uint8_t *body = draft_message(draft, OHDR_LINK, 0, ohdr_link_size(length));

    if (body != NULL)
        ohdr_put_link(body, name, length, address);
}

void
hs_draft_room(hs_draft *draft, size_t size)
{
    uint8_t *body = size < OHDR_HEAD ? NULL : draft_message(draft, OHDR_NIL, 0, size - OHDR_HEAD);

    if (body != NULL)
        memset(body, 0, size - OHDR_HEAD);
}

/* ---- either ----------------------------------------------------------- */

void
hs_draft_references(hs_draft *draft, uint32_t count)
{
    uint8_t *body = count == 1 ? NULL : draft_message(draft, OHDR_REFERENCES, DRAFT_NOT_SHARED, 5);

    if (body != NULL)
        (void)draft_put_number(draft_put_number(body, 0, 1), count, 4);
}

void
hs_draft_attributes(hs_draft *draft)
{
    uint8_t *body = draft_message(draft, OHDR_ATTRIBUTE_INFO, DRAFT_NOT_SHARED, 18);

    if (body == NULL)
        return;
    body = draft_put_number(body, 0, 2); /* version and flags: no creation order */
    body = draft_put_number(body, DRAFT_UNDEFINED, 8);
    (void)draft_put_number(body, DRAFT_UNDEFINED, 8);
}

/* Version 3: name, type and space one behind the other, then the value. */
static void
draft_attribute(hs_draft *draft, const char *name, const uint8_t *type, size_t type_size, int rank,
                uint64_t count, const void *value, size_t size)
{
    const hsize_t dims[1] = {count};
    size_t name_size = strlen(name) + 1;
    uint8_t *at = draft_message(draft, OHDR_ATTRIBUTE, 0,
                                9 + name_size + type_size + draft_space_size(rank) + size);

    if (at == NULL)
        return;
    at = draft_put(at, (const uint8_t[]){3, 0}, 2);
    at = draft_put_number(at, name_size, 2);
    at = draft_put_number(at, type_size, 2);
    at = draft_put_number(at, draft_space_size(rank), 2);
    at = draft_put_number(at, 0, 1); /* the name is ASCII */
    at = draft_put(at, name, name_size);
    at = draft_put(at, type, type_size);
    at = draft_put_space(at, rank, dims);
    (void)draft_put(at, value, size);
}

/* A fixed string of class 3, version 1: padded with zeros, UTF-8. */
void
hs_draft_text(hs_draft *draft, const char *name, const char *text)
{
    uint8_t type[8] = {0x13, 0x11};
    size_t size = strlen(text);

    hs_put_le32(type + 4, (uint32_t)size);
    draft_attribute(draft, name, type, sizeof type, 0, 1, text, size);
}

/* An unsigned little-endian integer of class 0, version 1, with all its bits in use. */
static void
draft_integers(hs_draft *draft, const char *name, unsigned width, int rank, uint64_t count,
               const void *value)
{
    uint8_t type[12] = {0x10, 0, 0, 0, (uint8_t)width, 0, 0, 0, 0, 0, (uint8_t)(8 * width), 0};

    draft_attribute(draft, name, type, sizeof type, rank, count, value, (size_t)count * width);
}

void
hs_draft_numbers(hs_draft *draft, const char *name, const uint64_t *values, size_t count)
{
    uint8_t bytes[8 * H5STORE_MAX_RANK];

    for (size_t i = 0; i < hs_min(count, H5STORE_MAX_RANK); i++)
        hs_put_le64(bytes + 8 * i, values[i]);
    draft_integers(draft, name, 8, 1, hs_min(count, H5STORE_MAX_RANK), bytes);
}

void
hs_draft_number(hs_draft *draft, const char *name, uint64_t value)
{
    uint8_t bytes[8];

    hs_put_le64(bytes, value);
    draft_integers(draft, name, 8, 0, 1, bytes);
}

void
hs_draft_octets(hs_draft *draft, const char *name, const void *bytes, size_t size)
{
    draft_integers(draft, name, 1, 1, size, bytes);
}

/* ---- writing ---------------------------------------------------------- */

int
hs_draft_write(hs_draft *draft, hs_space *space, hs_pager *pager, uint64_t *address,
               h5store_err *err)
{
    /* Version 2, without times; the length of the messages in two bytes. */
    uint8_t prefix[8] = {'O', 'H', 'D', 'R', 2, 0x01};
    size_t size = sizeof prefix + draft->used + OHDR_CHECKSUM;
    HS_CLEANUP(hs_freep) uint8_t *bytes = NULL;
    int rc;

    if (draft->too_long)
        return H5STORE_DONE;
    bytes = draft->no_memory ? NULL : malloc(size);
    if (bytes == NULL)
        return hs_fail_nomem(err, size, "an object header");
    (void)draft_put_number(prefix + 6, draft->used, 2);
    memcpy(bytes, prefix, sizeof prefix);
    memcpy(bytes + sizeof prefix, draft->bytes, draft->used);
    ohdr_seal(bytes, size);
    rc = hs_space_metadata(space, pager, size, address, err);
    return rc < 0 ? rc : hs_pager_write(pager, *address, bytes, size, err);
}
