/* SPDX-License-Identifier: MIT */
/*
 * Object headers made without HDF5: what it would write for a group or for the dataset of an
 * array, in one block.
 *
 * HDF5 takes some 100,000 instructions for a dataset with five attributes, and a process that has
 * to open the file anew first, since another one committed, a million.  The bytes themselves are
 * few and fixed by the HDF5 File Format Specification (version 3, IV.A.2): these functions put
 * messages one behind the other, as HDF5 1.10 does with its newest format.  Tests compare them.
 * Different are only that the names of links are always said to be UTF-8, and that compound, enum
 * and array types have the form in which HDF5 gives them away, which is longer than in its files.
 *
 * A draft is filled message by message and then written.  Running out of memory, or a message
 * that is too long for a header, is noted and reported when it is written.
 */
#ifndef HS_OHDR_MAKE_H
#define HS_OHDR_MAKE_H

#include "space.h"
#include <hdf5.h>

/* Zero-initialised is empty; release with hs_draft_release. */
typedef struct hs_draft {
    uint8_t *bytes; /* of the messages; owned */
    size_t used, room;
    bool no_memory, too_long;
} hs_draft;

void hs_draft_release(hs_draft *draft);

/* ---- datasets --------------------------------------------------------- */

/* Dimensions that do not change, at least one. */
void hs_draft_dataspace(hs_draft *draft, int rank, const hsize_t *dims);

/* A datatype as HDF5 encodes it (hs_dtype_encode), and the bytes of an element of it. */
void hs_draft_datatype(hs_draft *draft, const uint8_t *encoded, size_t size);
uint32_t hs_draft_type_size(const uint8_t *encoded);

/* Space is allocated early and never filled. */
void hs_draft_fill(hs_draft *draft);

/* Chunks one behind the other from @p address on, without filters. */
void hs_draft_chunks(hs_draft *draft, int rank, const hsize_t *dims, const hsize_t *chunk,
                     uint64_t itemsize, uint64_t address);

/* ---- groups ----------------------------------------------------------- */

/*
 * We add links to a group's header until it has so many.  Then HDF5 moves all to a heap, as it does
 * when it adds one to a group that has the second number, or more; below the third it moves them
 * back.
 *
 * HDF5 is slow with many links in a header.  To remove one it takes the third power of their
 * number: 10 us of 32, 30 us of 64, 160 us of 128, 1 ms of 256; and it adds each in a block of its
 * own, and to move 128 of those takes it 40 ms, and 256 a second.  So it is to keep few, and what
 * we have put there is removed by us where that can be.
 */
#define HS_LINKS_MOST 512u
#define HS_LINKS_FOR_HDF5 32u
#define HS_LINKS_LEAST 24u

/* A header has room for so many from the start. */
#define HS_LINKS_EXPECTED 8u

void hs_draft_group(hs_draft *draft);

/* A hard link; @p length: bytes of the name, 1 to 65535. */
void hs_draft_link(hs_draft *draft, const char *name, size_t length, uint64_t address);
size_t hs_draft_link_size(size_t length); /* bytes that it takes */

/* Room for messages to come. */
void hs_draft_room(hs_draft *draft, size_t size);

/* ---- either ----------------------------------------------------------- */

/* Hard links to the object. */
void hs_draft_references(hs_draft *draft, uint32_t count);

/* Attributes follow, all of them in the header. */
void hs_draft_attributes(hs_draft *draft);
void hs_draft_text(hs_draft *draft, const char *name, const char *text); /* not empty */
void hs_draft_number(hs_draft *draft, const char *name, uint64_t value);
void hs_draft_numbers(hs_draft *draft, const char *name, const uint64_t *values, size_t count);
void hs_draft_octets(hs_draft *draft, const char *name, const void *bytes, size_t size);

/*
 * In a transaction: take space for the header and write it.
 * DONE: it is too long, nothing was done.  NOMEM, NO_SPACE, IO.
 */
int hs_draft_write(hs_draft *draft, hs_space *space, hs_pager *pager, uint64_t *address,
                   h5store_err *err);

#endif
