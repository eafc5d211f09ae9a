/* SPDX-License-Identifier: MIT */
/*
 * What the files of the ohdr module share: ohdr.c (the blocks of a header, and what is asked of
 * it), ohdr_messages.c (what the messages in them say), ohdr_make.c (new headers) and ohdr_edit.c
 * (links and references that are added to one).  Nobody else includes this.
 */
#ifndef HS_OHDR_IMPL_H
#define HS_OHDR_IMPL_H

#include "ohdr.h"

#define OHDR_MOST_RANK 32u
#define OHDR_HEAD 4u /* bytes of a message before its body, where no creation order is tracked */
#define OHDR_CHECKSUM 4u

enum { /* flags of a header */
       OHDR_LENGTH_WIDTH = 0x03,
       OHDR_ORDER_TRACKED = 0x04,
       OHDR_HAS_LIMITS = 0x10,
       OHDR_HAS_TIMES = 0x20,
       OHDR_RESERVED = 0xC0
};

enum { /* kinds of messages */
       OHDR_NIL = 0x00,
       OHDR_DATASPACE = 0x01,
       OHDR_LINK_INFO = 0x02,
       OHDR_DATATYPE = 0x03,
       OHDR_FILL = 0x05,
       OHDR_LINK = 0x06,
       OHDR_LAYOUT = 0x08,
       OHDR_GROUP_INFO = 0x0A,
       OHDR_FILTERS = 0x0B,
       OHDR_ATTRIBUTE = 0x0C,
       OHDR_CONTINUATION = 0x10,
       OHDR_ATTRIBUTE_INFO = 0x15,
       OHDR_REFERENCES = 0x16
};

/* ---- bytes that end --------------------------------------------------- */

struct ohdr_span {
    const uint8_t *at, *end;
};

static inline bool
ohdr_take(struct ohdr_span *span, uint64_t size, const uint8_t **bytes)
{
    if (size > (uint64_t)(span->end - span->at))
        return false;
    *bytes = span->at;
    span->at += size;
    return true;
}

/* An integer of 1 to 8 bytes. */
static inline bool
ohdr_number(struct ohdr_span *span, unsigned width, uint64_t *value)
{
    const uint8_t *bytes;

    if (width == 0 || width > 8 || !ohdr_take(span, width, &bytes))
        return false;
    *value = 0;
    for (unsigned i = 0; i < width; i++)
        *value |= (uint64_t)bytes[i] << (8 * i);
    return true;
}

/* ---- writing ---------------------------------------------------------- */

static inline void
ohdr_put_head(uint8_t *place, unsigned kind, unsigned flags, size_t size)
{
    place[0] = (uint8_t)kind;
    place[1] = (uint8_t)size;
    place[2] = (uint8_t)(size >> 8);
    place[3] = (uint8_t)flags;
}

/* A link message of version 1: hard, its name UTF-8, the name's length in one or two bytes. */
static inline size_t
ohdr_link_size(size_t length)
{
    return 3 + (length > 255 ? 2 : 1) + length + 8;
}

static inline void
ohdr_put_link(uint8_t *body, const char *name, size_t length, uint64_t address)
{
    *body++ = 1;
    *body++ = length > 255 ? 0x11 : 0x10;
    *body++ = 1;
    *body++ = (uint8_t)length;
    if (length > 255)
        *body++ = (uint8_t)(length >> 8);
    memcpy(body, name, length);
    hs_put_le64(body + length, address);
}

/* Set the checksum at the end of a block. */
static inline void
ohdr_seal(uint8_t *block, size_t length)
{
    hs_put_le32(block + length - OHDR_CHECKSUM, hs_ohdr_checksum(block, length - OHDR_CHECKSUM));
}

/* ---- messages --------------------------------------------------------- */

struct ohdr_message {
    unsigned kind;
    bool shared; /* its body lies elsewhere: we write no such */
    struct ohdr_span body;
};

/*
 * Put what one message says into @p header, whose arrays have room for it.  False: it is
 * impossible.  *place is set to where a layout message has the address of the data,
 * *chunk_rank to the number of its chunks' dimensions.
 */
bool ohdr_interpret(struct ohdr_message *message, hs_ohdr *header, int *chunk_rank,
                    const uint8_t **place);

#endif
