/* SPDX-License-Identifier: MIT */
/*
 * The page table of overlay.h: open addressing with linear probing, never more than
 * half full.  Entries leave all at once, or by passes over all of it (hs_overlay_drop), so
 * there are no tombstones.  No page that must go may stay for want of memory: it would mask what
 * the file has by now, and be written over it.  So leaving takes none.
 */
#include "overlay.h"
#include <assert.h>

#define OVERLAY_MIN_CAPACITY 64u
#define OVERLAY_KEPT_CAPACITY 256u /* of a table that was emptied; most commits need less */

/* Fibonacci hashing: page numbers come in runs, which this spreads evenly. */
static size_t
overlay_home(const hs_overlay *overlay, uint64_t number)
{
    return (size_t)((number * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (overlay->capacity - 1);
}

static size_t
overlay_index(const hs_overlay *overlay, uint64_t number)
{
    size_t i = overlay_home(overlay, number);

    while (overlay->slots[i] != NULL && overlay->slots[i]->number != number)
        i = (i + 1) & (overlay->capacity - 1);
    return i;
}

void
hs_overlay_clear(hs_overlay *overlay)
{
    for (size_t i = 0; overlay->count > 0 && i < overlay->capacity; i++) {
        if (overlay->slots[i] == NULL)
            continue;
        free(overlay->slots[i]);
        overlay->slots[i] = NULL;
        overlay->count--;
    }
}

void
hs_overlay_release(hs_overlay *overlay)
{
    hs_overlay_clear(overlay);
    free(overlay->slots);
    overlay->slots = NULL;
    overlay->capacity = 0;
}

hs_page *
hs_overlay_find(const hs_overlay *overlay, uint64_t number)
{
    if (overlay->count == 0)
        return NULL;
    return overlay->slots[overlay_index(overlay, number)];
}

int
hs_overlay_reserve(hs_overlay *overlay, size_t more, h5store_err *err)
{
    size_t capacity = overlay->capacity ? overlay->capacity : OVERLAY_MIN_CAPACITY;
    hs_overlay grown = {0};

    while (capacity / 2 < overlay->count + more)
        capacity *= 2;
    if (capacity == overlay->capacity)
        return H5STORE_OK;
    grown.slots = calloc(capacity, sizeof *grown.slots);
    if (grown.slots == NULL)
        return hs_fail_nomem(err, capacity * sizeof *grown.slots, "the table of held pages");
    grown.capacity = capacity;
    for (size_t i = 0; i < overlay->capacity; i++)
        if (overlay->slots[i] != NULL) {
            grown.slots[overlay_index(&grown, overlay->slots[i]->number)] = overlay->slots[i];
            grown.count++;
        }
    free(overlay->slots);
    *overlay = grown;
    return H5STORE_OK;
}

int
hs_overlay_set(hs_overlay *overlay, uint64_t number, uint64_t sequence, const void *bytes,
               h5store_err *err)
{
    hs_page *page;
    size_t i;
    int rc;

    rc = hs_overlay_reserve(overlay, 1, err);
    if (rc < 0)
        return rc;
    i = overlay_index(overlay, number);
    page = overlay->slots[i];
    if (page == NULL) {
        page = malloc(sizeof *page);
        if (page == NULL)
            return hs_fail_nomem(err, sizeof *page, "a held page");
        page->number = number;
        overlay->slots[i] = page;
        overlay->count++;
    }
    page->sequence = sequence;
    memcpy(page->bytes, bytes, HS_PAGE_SIZE);
    return H5STORE_OK;
}

void
hs_overlay_patch(const hs_overlay *overlay, uint64_t address, void *buffer, size_t size)
{
    uint64_t end = address + size;

    if (overlay->count == 0 || size == 0)
        return;
    for (uint64_t number = address / HS_PAGE_SIZE; number * HS_PAGE_SIZE < end; number++) {
        const hs_page *page = hs_overlay_find(overlay, number);
        uint64_t from, to;

        if (page == NULL)
            continue;
        from = hs_max(address, number * HS_PAGE_SIZE);
        to = hs_min(end, (number + 1) * HS_PAGE_SIZE);
        memcpy((uint8_t *)buffer + (from - address), page->bytes + from % HS_PAGE_SIZE, to - from);
    }
}

void
hs_overlay_merge(hs_overlay *into, hs_overlay *from, uint64_t sequence)
{
    for (size_t i = 0; i < from->capacity && from->count > 0; i++) {
        hs_page *page = from->slots[i];
        size_t j;

        if (page == NULL)
            continue;
        assert(into->capacity / 2 >= into->count);
        page->sequence = sequence;
        j = overlay_index(into, page->number);
        if (into->slots[j] == NULL)
            into->count++;
        free(into->slots[j]);
        into->slots[j] = page;
        from->slots[i] = NULL;
        from->count--;
    }
    /* Every commit looks through all of the table, so one that was large must not stay so. */
    if (from->capacity > OVERLAY_KEPT_CAPACITY)
        hs_overlay_release(from);
}

/* Put the entries where they are found again, once others are gone from between.  In order from
 * behind an empty slot (half of them are), so that each goes to where those before it end. */
static void
overlay_close_gaps(hs_overlay *overlay)
{
    size_t start = 0, mask = overlay->capacity - 1;

    while (overlay->slots[start] != NULL)
        start++;
    for (size_t i = 1; i <= mask; i++) {
        hs_page **slot = &overlay->slots[(start + i) & mask];
        hs_page *page = *slot;

        if (page == NULL)
            continue;
        *slot = NULL;
        overlay->slots[overlay_index(overlay, page->number)] = page;
    }
}

void
hs_overlay_drop(hs_overlay *overlay, hs_overlay_goes_fn goes, const void *context)
{
    size_t before = overlay->count;

    for (size_t i = 0; overlay->count > 0 && i < overlay->capacity; i++) {
        hs_page *page = overlay->slots[i];

        if (page == NULL || !goes(page, context))
            continue;
        free(page);
        overlay->slots[i] = NULL;
        overlay->count--;
    }
    if (overlay->count < before && overlay->count > 0)
        overlay_close_gaps(overlay);
}

struct overlay_range {
    uint64_t first, end;
};

static bool
overlay_is_in_range(const hs_page *page, const void *context)
{
    const struct overlay_range *range = context;

    return page->number >= range->first && page->number < range->end;
}

void
hs_overlay_drop_range(hs_overlay *overlay, uint64_t first, uint64_t end)
{
    struct overlay_range range = {first, end};
    bool any = overlay->count > 0;

    if (any && end - first < overlay->capacity) { /* mostly there is none: quicker to look for */
        any = false;
        for (uint64_t number = first; !any && number < end; number++)
            any = hs_overlay_find(overlay, number) != NULL;
    }
    if (any)
        hs_overlay_drop(overlay, overlay_is_in_range, &range);
}

static int
overlay_compare(const void *a, const void *b)
{
    uint64_t left = (*(hs_page *const *)a)->number;
    uint64_t right = (*(hs_page *const *)b)->number;

    return left < right ? -1 : left > right;
}

int
hs_overlay_sorted(const hs_overlay *overlay, hs_page ***pages, h5store_err *err)
{
    hs_page **list = malloc((overlay->count + 1) * sizeof *list);
    size_t n = 0;

    if (list == NULL)
        return hs_fail_nomem(err, overlay->count * sizeof *list, "a list of held pages");
    for (size_t i = 0; i < overlay->capacity && n < overlay->count; i++)
        if (overlay->slots[i] != NULL)
            list[n++] = overlay->slots[i];
    qsort(list, n, sizeof *list, overlay_compare);
    *pages = list;
    return H5STORE_OK;
}
