/* SPDX-License-Identifier: MIT */
/*
 * What the files of the ohdr module share: ohdr.c (the blocks of a header, and what is asked of
 * it) and ohdr_messages.c (what the messages in them say).  Nobody else includes this.
 */
#ifndef HS_OHDR_IMPL_H
#define HS_OHDR_IMPL_H

#include "ohdr.h"

#define OHDR_MOST_RANK 32u

enum { /* kinds of messages */
       OHDR_DATASPACE = 0x01,
       OHDR_LINK_INFO = 0x02,
       OHDR_DATATYPE = 0x03,
       OHDR_LINK = 0x06,
       OHDR_LAYOUT = 0x08,
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
