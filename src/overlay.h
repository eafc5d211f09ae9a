/* SPDX-License-Identifier: MIT */
/*
 * Metadata that is committed or about to be, but not yet in the container file:
 * pages of 256 bytes by number.  Pages are small because HDF5 rewrites whole heap
 * blocks of which little changed, and what did not change need not be logged.
 *
 * Called by pager.c and container.c, with the container's mutex held.
 */
#ifndef HS_OVERLAY_H
#define HS_OVERLAY_H

#include "error.h"

#define HS_PAGE_SIZE 256u

typedef struct hs_page {
    uint64_t number;   /* offset in the file / HS_PAGE_SIZE */
    uint64_t sequence; /* of the log record that brought it; 0 while pending */
    uint8_t bytes[HS_PAGE_SIZE];
} hs_page;

/* Open addressing over the page numbers; zero-initialised is empty. */
typedef struct hs_overlay {
    hs_page **slots;
    size_t capacity; /* 0 or a power of two */
    size_t count;
} hs_overlay;

/* Drop all pages, keep the table. */
void hs_overlay_clear(hs_overlay *overlay);

/* Drop everything; the overlay is then empty and usable. */
void hs_overlay_release(hs_overlay *overlay);

/* The page, or NULL.  Valid until the overlay changes. */
hs_page *hs_overlay_find(const hs_overlay *overlay, uint64_t number);

/* Make sure that @p more pages can be added without memory running out. */
int hs_overlay_reserve(hs_overlay *overlay, size_t more, h5store_err *err);

/* Set a page, copying its bytes.  NOMEM. */
int hs_overlay_set(hs_overlay *overlay, uint64_t number, uint64_t sequence, const void *bytes,
                   h5store_err *err);

/* Lay the held pages over @p size bytes that were read at @p address. */
void hs_overlay_patch(const hs_overlay *overlay, uint64_t address, void *buffer, size_t size);

/*
 * Move all pages of @p from into @p into, as of @p sequence; @p from is empty then.
 * Room must have been reserved, so that this cannot fail: it happens after the log
 * record is written, when there is no way back.
 */
void hs_overlay_merge(hs_overlay *into, hs_overlay *from, uint64_t sequence);

/* Drop the pages of which @p goes says so. */
typedef bool (*hs_overlay_goes_fn)(const hs_page *page, const void *context);
void hs_overlay_drop(hs_overlay *overlay, hs_overlay_goes_fn goes, const void *context);

/* Drop the pages from number @p first to before @p end. */
void hs_overlay_drop_range(hs_overlay *overlay, uint64_t first, uint64_t end);

/* All pages by rising number; an array of count pointers, released with free(). */
int hs_overlay_sorted(const hs_overlay *overlay, hs_page ***pages, h5store_err *err);

#endif
