/* SPDX-License-Identifier: MIT */
/*
 * Which bytes of the container file belong to whom, and how many things it holds.
 *
 * The first 8 KiB of the file: HDF5's superblock in page 0, the stamp in page 1 (what
 * this file is, written once), the space header in page 2, the blocks page in page 3, and from
 * 4096 on the first space table.  HDF5 regards all of it as allocated, so no program touches
 * it.  They
 * change through the pager like HDF5's own metadata, and so commit and recover with it.
 *
 * Every other byte below the EOA is one of
 *   used    HDF5 metadata (in arenas), a blob's extent, or an old space table;
 *   free    in a slot of the table: whoever needs space takes it;
 *   loose   in a slot of the table: referred to by nothing, but perhaps still pinned: an
 *           extent reserved by a put that has not committed, or one whose blob was
 *           removed.  It becomes free when nobody pins it and the removal has been
 *           applied to the file (until then a stock reader may still see the blob).
 *
 * So a writer that dies between reserving and committing leaks nothing: its pin goes
 * with it, and the next who looks frees the extent (I4).
 */
#ifndef HS_SPACE_H
#define HS_SPACE_H

#include "pager.h"

#define HS_SPACE_UNIT 4096u
#define HS_SPACE_START 8192u /* first byte after the fixed part and the first table */
#define HS_ARENA_SIZE (64u * 1024u)

/* The stamp, page 1: FORMAT.md, "Stamp". */
typedef struct hs_stamp {
    uint32_t format_version;
    uint8_t container_id[16];
} hs_stamp;

/* NOT_A_STORE when the page is no stamp; VERSION when it is of a newer format. */
int hs_stamp_read(hs_pager *pager, hs_stamp *stamp, h5store_err *err);
int hs_stamp_write(hs_pager *pager, const hs_stamp *stamp, h5store_err *err);

typedef struct hs_counters {
    uint64_t items, blobs, links, blob_bytes, linked_bytes;
} hs_counters;

/* A run of bytes in the file, both multiples of HS_SPACE_UNIT. */
typedef struct hs_extent {
    uint64_t address;
    uint64_t length;
} hs_extent;

typedef struct hs_slot {
    hs_extent extent;
    bool loose;
    uint64_t sequence; /* loose: of the log record that removed the blob; else 0 */
} hs_slot;

/* Free blocks of HDF5 metadata, by length. */
#define HS_SPACE_CLASSES 24
typedef struct hs_blocks {
    uint64_t metadata_bytes;          /* of all arenas and large blocks */
    uint64_t free_bytes;              /* of the blocks below */
    uint64_t heads[HS_SPACE_CLASSES]; /* address of the first of each class, or 0 */
    uint64_t object_bytes; /* metadata of an item or blob when last made anew; 0: not known */
    hs_extent *given;      /* given back since the last save */
    size_t given_count, given_room;
} hs_blocks;

typedef struct hs_space {
    bool loaded;
    uint64_t eoa;
    uint64_t arena_next, arena_end; /* metadata space not handed out yet */
    uint64_t free_bytes;
    hs_counters counters;
    hs_blocks blocks;
    hs_extent table;
    hs_slot *slots;
    uint32_t *order;    /* their numbers by address */
    size_t count, room; /* slots in use; slots allocated in memory */
    uint8_t *dirty;     /* one flag per page of the table */
    size_t dirty_room;
    bool header_dirty;
    bool removed;     /* a blob's extent became loose since the last save */
    bool low_first;   /* take the lowest free extent that fits, not the smallest */
    hs_extent *fresh; /* metadata space taken since hs_space_start_metadata */
    size_t fresh_count, fresh_room;
    bool fresh_noted;
} hs_space;

/* Forget what was loaded (after an abort, or when another process committed). */
void hs_space_forget(hs_space *space);
void hs_space_release(hs_space *space);

/* Load from the pager unless loaded.  DAMAGED when the header or table is not sound. */
int hs_space_load(hs_space *space, hs_pager *pager, h5store_err *err);

/* The EOA that the space header among the first HS_SPACE_HEAD_SIZE bytes of a file states. */
#define HS_SPACE_HEAD_SIZE 768u
bool hs_space_peek_eoa(const uint8_t head[HS_SPACE_HEAD_SIZE], uint64_t *eoa);

/* The state of a new container. */
int hs_space_init(hs_space *space, h5store_err *err);

/* Write what changed into the pending pages.  @p sequence: of the record to come. */
int hs_space_save(hs_space *space, hs_pager *pager, uint64_t sequence, h5store_err *err);

/* Take @p length bytes (rounded up) from the free slots or from the end. */
int hs_space_take(hs_space *space, uint64_t length, hs_extent *extent, bool *reused,
                  h5store_err *err);

/* Bytes of free extents, in whole pieces of so many. */
uint64_t hs_space_free_in(const hs_space *space, uint64_t piece);

/* Is there a free extent of so many bytes? */
bool hs_space_has_free(const hs_space *space, uint64_t length);

/* The same as hs_space_take from the lowest free extent that begins below an address.  False: none
 * is free. */
bool hs_space_take_below(hs_space *space, uint64_t length, uint64_t below, hs_extent *extent);

/* used -> loose; sequence 0 for a fresh reservation.  Neighbours that the same record removed
 * become one. */
int hs_space_loosen(hs_space *space, hs_extent extent, uint64_t sequence, h5store_err *err);

/* loose -> used: a reservation was committed, or a removed blob came back.  False when
 * no loose extent holds this one. */
bool hs_space_tighten(hs_space *space, hs_extent extent);

/* loose -> free, joined with free neighbours.  False when no loose extent holds this one. */
bool hs_space_free(hs_space *space, hs_extent extent);

/* Let the file end where the last used or loose extent does. */
void hs_space_shrink(hs_space *space);

/* Space for HDF5 metadata of @p size bytes: a block that was given back, or from the arena, or
 * by itself when large. */
int hs_space_metadata(hs_space *space, hs_pager *pager, uint64_t size, uint64_t *address,
                      h5store_err *err);

/* A block of HDF5 metadata is needed no more, once this transaction is saved.  One too small
 * to be of use, or for which there is no memory, is lost until the next repack. */
void hs_space_give_block(hs_space *space, uint64_t address, uint64_t length);

/* Is a page the blocks page, or one that was never written? */
#define HS_SPACE_BLOCKS_ADDRESS 768u
bool hs_space_are_blocks_sound(const uint8_t page[HS_PAGE_SIZE]);

/* The same for space of any size that hs_space_metadata handed out; a large piece becomes loose. */
int hs_space_give_metadata(hs_space *space, uint64_t address, uint64_t size, uint64_t sequence,
                           h5store_err *err);

/*
 * For a rebuild: what is in use for HDF5 metadata is given up, all counters start at 0, and new
 * metadata goes to space of its own.  Then, when all is made anew: every byte that is in none
 * of these becomes loose: the fixed part, the table, the slots, the new metadata, and what the
 * caller names.
 */
void hs_space_start_metadata(hs_space *space);
int hs_space_loosen_rest(hs_space *space, const hs_extent *used, size_t used_count,
                         const hs_extent *more, size_t more_count, uint64_t sequence,
                         h5store_err *err);

/* Bytes of HDF5 metadata that are free, or lost to HDF5 until the next rebuild; an estimate. */
uint64_t hs_space_waste(const hs_space *space);

/* Move the table to where space is given now, and let it be as long as it must be. */
int hs_space_move_table(hs_space *space, hs_pager *pager, uint64_t sequence, h5store_err *err);

/* Does a byte lie in an extent that is free, or reserved for an array that is not committed? */
bool hs_space_is_unused(const hs_space *space, uint64_t address);

/* Bytes below the end that are neither free nor removed nor reserved. */
uint64_t hs_space_used(const hs_space *space);

#endif
