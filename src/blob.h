/* SPDX-License-Identifier: MIT */
/*
 * Blobs inside a scope: the datasets under /blobs, what they say, and how they come and go.
 * FORMAT.md, "Blobs", is the specification.
 *
 * A blob's references are its hard links: one in /blobs, the rest from items and /kept.
 * HDF5's own count is the count.
 */
#ifndef HS_BLOB_H
#define HS_BLOB_H

#include "array.h"
#include "container.h"
#include "ohdr.h"
#include "packed.h"
#include <h5store/blob.h>

/* What a dataset under /blobs says.  dtype is owned; release with hs_blob_release. */
typedef struct hs_blob {
    h5store_blob_info info; /* info.array.dtype points to dtype */
    char *dtype;
    uint64_t sum;     /* the checksum, digest.h */
    bool damaged;     /* a reader found other bytes than were put */
    hs_extent extent; /* length 0: the bytes are inline */
    hs_packed packed; /* how they lie there if they are packed */
    uint8_t inline_bytes[HS_ARRAY_INLINE];
} hs_blob;

void hs_blob_release(hs_blob *blob);

/* ---- in any scope ----------------------------------------------------- */

/* The address of a blob's object header.  NOT_FOUND. */
int hs_blob_find(hid_t file, const h5store_id *id, uint64_t *address, h5store_err *err);
/* The same, in a read scope that need not have begun with HDF5. */
int hs_blob_look(hs_container *container, const h5store_id *id, uint64_t *address,
                 h5store_err *err);

/* Read all that a blob's object header says, checking that it is consistent.  DAMAGED if not. */
int hs_blob_describe(hs_container *container, uint64_t address, hs_blob *blob, h5store_err *err);

/* The same of a header that was read from @p pager, in a file that ends at @p eoa.  DAMAGED. */
int hs_blob_parse(hs_pager *pager, const hs_ohdr *header, uint64_t eoa, hs_blob *blob,
                  h5store_err *err);

/* Only the id, the bytes, and the number of links (the one in /blobs included).  DAMAGED: one
 * of them cannot be read, and is zeros. */
typedef struct hs_blob_brief {
    h5store_id id;
    uint64_t nbytes;
    uint64_t links;
} hs_blob_brief;
int hs_blob_brief_of(hs_container *container, uint64_t address, hs_blob_brief *brief,
                     h5store_err *err);

/* ---- in a write scope ------------------------------------------------- */

/* What a dataset is made of. */
typedef struct hs_blob_parts {
    const h5store_id *id;
    const h5store_array *array; /* for an inline layout with the bytes, which go into it */
    const hs_layout *layout;
    const hs_packed *packed; /* NULL, or how the bytes are packed: then layout is of that */
    hs_extent extent;        /* has the bytes already; is loose, and becomes used */
    uint64_t sum;
    const uint8_t *type; /* NULL, or of dtype.h, for who makes the dataset without HDF5 */
    size_t type_size;
} hs_blob_parts;

/* Make the dataset. */
int hs_blob_create(hs_container *container, hid_t file, const hs_blob_parts *parts,
                   h5store_err *err);

/* It was made: its extent is in use, and it counts.  DAMAGED: the space table has no such extent.
 */
int hs_blob_made(hs_container *container, const hs_blob_parts *parts, h5store_err *err);

/* A blob whose header was read, or could not be read and is all zeros, goes: give its space back.
 */
int hs_blob_give_up(hs_container *container, const hs_ohdr *header, h5store_err *err);

/*
 * Take those of some blobs away to which /blobs has the only link; their extents become loose.
 * Sorts the ids.  *dropped: at least one went.  The last thing in a scope that uses HDF5.
 */
int hs_blob_drop_unused(hs_container *container, hid_t file, h5store_id *ids, size_t count,
                        bool *dropped, h5store_err *err);

/* Note that a reader found other bytes than were put. */
int hs_blob_mark(hid_t file, const h5store_id *id, h5store_err *err);

/*
 * Its bytes were written again: in place, or, if they are packed, to another extent, which
 * takes the place of @p old.  Clear the note, and set what lies in HDF5's hands.
 */
int hs_blob_mend(hs_container *container, hid_t file, const hs_blob *old,
                 const hs_blob_parts *parts, h5store_err *err);

/* "/blobs/3f/3fa9..." */
#define HS_BLOB_PATH_SIZE 80
void hs_blob_path(const h5store_id *id, char path[HS_BLOB_PATH_SIZE]);
const char *hs_blob_name(const char path[HS_BLOB_PATH_SIZE]); /* its last part */

/* The group that a blob is in or goes to; negative: as hs_container_group. */
hid_t hs_blob_fan(hs_container *container, const h5store_id *id);

#endif
