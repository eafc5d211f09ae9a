/* SPDX-License-Identifier: MIT */
/*
 * Reading HDF5 object headers without HDF5.
 *
 * Opening an object through HDF5 takes tens of microseconds, listing a hundred thousand
 * results that way takes half a minute, and a file whose root is damaged cannot be opened at
 * all.  What our objects say lies in their object headers, version 2, whose bytes the HDF5
 * File Format Specification (version 3, IV.A.1.b) gives; this module reads those, and only
 * those.  It reads what libh5store writes; anything else is DAMAGED or is passed over.
 *
 * Nothing read is trusted: the checksum of each chunk is compared, and each length is checked
 * before it is used.  The caller holds a scope in which the pages agree with HDF5's caches, or
 * owns a pager of its own.
 */
#ifndef HS_OHDR_H
#define HS_OHDR_H

#include "space.h"

/* A chunk of the header, as it lies in the file: signature to checksum. */
typedef struct hs_ohdr_block {
    uint64_t address, length;
} hs_ohdr_block;

/* A link message of a group that keeps its links in the header.  Hard links only. */
typedef struct hs_ohdr_link {
    const char *name; /* not zero-terminated; points into the header */
    size_t name_length;
    uint64_t address; /* of the object's header */
} hs_ohdr_link;

/* An attribute whose value lies in the header. */
typedef struct hs_ohdr_attribute {
    const char *name; /* zero-terminated; points into the header */
    int type_class;   /* as in the file: 0 integer, 3 string ... */
    size_t type_size; /* bytes of one element */
    uint64_t count;   /* elements; 1 for a scalar */
    const uint8_t *value;
    size_t size; /* type_size * count */
} hs_ohdr_attribute;

typedef enum hs_ohdr_layout {
    HS_OHDR_NO_LAYOUT,
    HS_OHDR_COMPACT,     /* data, size */
    HS_OHDR_CONTIGUOUS,  /* address, size */
    HS_OHDR_IMPLICIT,    /* chunked, the chunks one behind the other: address of the first */
    HS_OHDR_FIXED_ARRAY, /* chunked, with an index: its address */
    HS_OHDR_OTHER
} hs_ohdr_layout;

/* A filter that HDF5 numbers itself, and its first parameter. */
#define HS_OHDR_FILTERS 4
typedef struct hs_ohdr_filter {
    unsigned id;
    uint32_t value;
} hs_ohdr_filter;

typedef struct hs_ohdr {
    uint64_t address;
    uint32_t references;   /* hard links to the object */
    hs_ohdr_block *blocks; /* all chunks, the first one first */
    size_t block_count;
    size_t prefix; /* bytes of the first one before its messages */
    bool is_group;
    bool links_dense;          /* the links lie in a fractal heap */
    bool links_ordered;        /* they have numbers, in the order in which they came */
    bool links_elsewhere;      /* there are also soft or external ones, which are not listed */
    uint64_t heap, name_index; /* of those; UINT64_MAX: none */
    hs_ohdr_link *links;
    size_t link_count;
    bool attributes_dense;
    hs_ohdr_attribute *attributes;
    size_t attribute_count;
    hs_ohdr_layout layout;
    uint64_t data_address; /* CONTIGUOUS, IMPLICIT, FIXED_ARRAY; UINT64_MAX: undefined */
    uint64_t data_size;    /* COMPACT, CONTIGUOUS */
    const uint8_t *data;   /* COMPACT */
    uint64_t chunk_size;   /* IMPLICIT, FIXED_ARRAY: bytes of one chunk */
    int rank;              /* of the dataspace */
    uint64_t dims[33];
    uint64_t chunk_dims[33]; /* the same */
    int type_class;          /* of the dataset */
    size_t type_size;
    bool filtered;    /* has a filter pipeline */
    int filter_count; /* of filters below; 0: none, or such as are not known here */
    hs_ohdr_filter filters[HS_OHDR_FILTERS];
    uint64_t layout_place; /* where in the file data_address stands; 0: nowhere */
    uint8_t *bytes;        /* owned: what the pointers point into */
} hs_ohdr;

/*
 * Read the object header at @p address.  On success release with hs_ohdr_release.
 * DAMAGED: there is no sound header; IO, NOMEM.
 */
int hs_ohdr_read(hs_pager *pager, uint64_t address, hs_ohdr *header, h5store_err *err);
void hs_ohdr_release(hs_ohdr *header); /* an all-zero one is nothing */

/* The attribute of that name, or NULL. */
const hs_ohdr_attribute *hs_ohdr_find(const hs_ohdr *header, const char *name);

/* An attribute that is one unsigned integer of eight bytes, or a text.  False: there is none. */
bool hs_ohdr_u64(const hs_ohdr *header, const char *name, uint64_t *value);
bool hs_ohdr_text(const hs_ohdr *header, const char *name, char *text, size_t room);

/*
 * In a transaction of the pager: let the dataset's bytes lie at @p data_address from now on,
 * and set the checksum of the chunk that says so.  HDF5 handles must be opened anew.
 */
int hs_ohdr_move_data(hs_pager *pager, const hs_ohdr *header, uint64_t data_address,
                      h5store_err *err);

/*
 * A link message by itself, as the heap of a large group has it.  Returns its length, or 0 when
 * the bytes do not begin with one of a hard link.
 */
size_t hs_ohdr_parse_link(const uint8_t *bytes, size_t size, hs_ohdr_link *link);

/* The object is removed: its header's space is free once this transaction is saved. */
void hs_ohdr_give_back(hs_space *space, const hs_ohdr *header);

/* HDF5's checksum of metadata: hashlittle of lookup3 by Bob Jenkins (public domain, 2006,
 * burtleburtle.net/bob/c/lookup3.c) with initial value 0. */
uint32_t hs_ohdr_checksum(const uint8_t *bytes, size_t size);

#endif
