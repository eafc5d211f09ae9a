/* SPDX-License-Identifier: MIT */
/*
 * The free and the loose extents, in memory.
 *
 * `slots` is the table as it lies on disk, in no order; `order` holds the numbers of the slots
 * by address, so that neighbours are found at once.  Neighbours join: two free extents, and two
 * loose ones that the same record removed.  So the removal of a hundred thousand results that
 * lie side by side is one slot, and a part of a slot can be taken out of its middle (a removed
 * blob that is put back, a part that nobody pins).
 *
 * Each change first has room for what it may add (space_need_slots), and cannot fail after.
 */
#include "space_impl.h"
#include <assert.h>

#define SPACE_NONE SIZE_MAX
#define SPACE_SPARE 2u /* slots that one change can add */

int
space_need_slots(hs_space *space, size_t count, h5store_err *err)
{
    size_t room = space->room ? space->room : 64;
    size_t pages;

    if (count > SIZE_MAX / 8 / sizeof *space->slots) /* of a damaged table */
        return hs_fail_nomem(err, count, "the space table");
    while (room < count + SPACE_SPARE)
        room *= 2;
    if (room > space->room) {
        hs_slot *slots = realloc(space->slots, room * sizeof *slots);
        uint32_t *order;

        if (slots == NULL)
            return hs_fail_nomem(err, room * sizeof *slots, "the space table");
        space->slots = slots;
        order = realloc(space->order, room * sizeof *order);
        if (order == NULL)
            return hs_fail_nomem(err, room * sizeof *order, "the space table");
        space->order = order;
        space->room = room;
    }
    pages = space->room / SPACE_SLOTS_PER_PAGE + 1;
    if (pages > space->dirty_room) {
        uint8_t *dirty = realloc(space->dirty, pages);

        if (dirty == NULL)
            return hs_fail_nomem(err, pages, "the space table");
        memset(dirty + space->dirty_room, 0, pages - space->dirty_room);
        space->dirty = dirty;
        space->dirty_room = pages;
    }
    return H5STORE_OK;
}

static int
space_compare(const void *a, const void *b, void *context)
{
    const hs_slot *slots = context;
    uint64_t first = slots[*(const uint32_t *)a].extent.address;
    uint64_t second = slots[*(const uint32_t *)b].extent.address;

    return first < second ? -1 : first > second;
}

void
space_sort(hs_space *space)
{
    for (size_t i = 0; i < space->count; i++)
        space->order[i] = (uint32_t)i;
    qsort_r(space->order, space->count, sizeof *space->order, space_compare, space->slots);
}

/* ---- one slot --------------------------------------------------------- */

static hs_slot *
space_at(const hs_space *space, size_t place)
{
    return &space->slots[space->order[place]];
}

static uint64_t
space_end(const hs_slot *slot)
{
    return slot->extent.address + slot->extent.length;
}

static void
space_touch(hs_space *space, size_t index)
{
    space->dirty[index / SPACE_SLOTS_PER_PAGE] = 1;
    space->header_dirty = true;
}

/* How many slots begin at or below @p address: the place behind the last of them. */
static size_t
space_place(const hs_space *space, uint64_t address)
{
    size_t low = 0, high = space->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (space_at(space, middle)->extent.address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Enter a slot; there is room. */
static void
space_insert(hs_space *space, hs_slot slot)
{
    size_t place = space_place(space, slot.extent.address);

    assert(space->count < space->room);
    memmove(space->order + place + 1, space->order + place,
            (space->count - place) * sizeof *space->order);
    space->order[place] = (uint32_t)space->count;
    space->slots[space->count] = slot;
    space_touch(space, space->count++);
}

/* Take the slot at a place of the order away; the last of the table moves into its gap. */
static void
space_erase(hs_space *space, size_t place)
{
    uint32_t gap = space->order[place], last = (uint32_t)(space->count - 1);
    size_t at = space_place(space, space->slots[last].extent.address);

    while (space->order[--at] != last)
        assert(at > 0);
    space->order[at] = gap;
    space->slots[gap] = space->slots[last];
    space_touch(space, gap);
    space_touch(space, last);
    memmove(space->order + place, space->order + place + 1,
            (space->count - 1 - place) * sizeof *space->order);
    space->count--;
}

/* ---- joining and cutting ---------------------------------------------- */

static bool
space_is_like(const hs_slot *a, const hs_slot *b)
{
    /* A reservation stays by itself: it is pinned, committed and given up as a whole. */
    return a->loose == b->loose && a->sequence == b->sequence && (!a->loose || a->sequence != 0);
}

/* Enter a slot, joined with its neighbours where they are alike. */
static void
space_join(hs_space *space, hs_slot slot)
{
    size_t place = space_place(space, slot.extent.address);
    hs_slot *before = place > 0 ? space_at(space, place - 1) : NULL;
    hs_slot *after = place < space->count ? space_at(space, place) : NULL;
    bool with_before = before != NULL && space_is_like(before, &slot) &&
                       space_end(before) == slot.extent.address;
    bool with_after = after != NULL && space_is_like(after, &slot) &&
                      space_end(&slot) == after->extent.address;

    if (with_before) {
        before->extent.length += slot.extent.length;
        if (with_after)
            before->extent.length += after->extent.length;
        space_touch(space, space->order[place - 1]);
        if (with_after)
            space_erase(space, place);
    } else if (with_after) {
        after->extent.address = slot.extent.address;
        after->extent.length += slot.extent.length;
        space_touch(space, space->order[place]);
    } else {
        space_insert(space, slot);
    }
}

/* The place of the slot that holds all of an extent, or SPACE_NONE. */
static size_t
space_find(const hs_space *space, hs_extent extent)
{
    size_t place = space_place(space, extent.address);
    const hs_slot *slot;

    if (place == 0)
        return SPACE_NONE;
    slot = space_at(space, place - 1);
    return extent.length <= slot->extent.length &&
                   extent.address - slot->extent.address <= slot->extent.length - extent.length
               ? place - 1
               : SPACE_NONE;
}

/* Take an extent out of the slot at @p place, which holds it; there is room for a rest. */
static void
space_cut(hs_space *space, size_t place, hs_extent extent)
{
    hs_slot *slot = space_at(space, place);
    uint64_t end = extent.address + extent.length;
    hs_slot rest = *slot;

    rest.extent = (hs_extent){end, space_end(slot) - end};
    slot->extent.length = extent.address - slot->extent.address;
    if (slot->extent.length == 0 && rest.extent.length == 0) {
        space_erase(space, place);
        return;
    }
    if (slot->extent.length == 0)
        *slot = rest;
    else if (rest.extent.length > 0)
        space_insert(space, rest);
    space_touch(space, space->order[place]);
}

/* Take an extent out of the loose ones.  False: it is not loose, or no memory. */
static bool
space_cut_loose(hs_space *space, hs_extent extent)
{
    size_t place = space_find(space, extent);

    if (place == SPACE_NONE || !space_at(space, place)->loose ||
        space_need_slots(space, space->count, NULL) < 0)
        return false;
    space_cut(space, place, extent);
    return true;
}

/* ---- taking and giving back ------------------------------------------- */

/* Best fit: the smallest free slot that is large enough, to keep large ones whole; or, to close
 * holes, the first one. */
static size_t
space_find_free(const hs_space *space, uint64_t length)
{
    size_t best = SPACE_NONE;

    for (size_t i = 0; i < space->count; i++) {
        const hs_slot *slot = space_at(space, i);

        if (slot->loose || slot->extent.length < length)
            continue;
        if (best == SPACE_NONE || slot->extent.length < space_at(space, best)->extent.length)
            best = i;
        if (slot->extent.length == length || space->low_first)
            break;
    }
    return best;
}

bool
hs_space_has_free(const hs_space *space, uint64_t length)
{
    return space_find_free(space, length) != SPACE_NONE;
}

int
hs_space_take(hs_space *space, uint64_t length, hs_extent *extent, bool *reused, h5store_err *err)
{
    uint64_t end;
    size_t place;

    if (length == 0 || length > INT64_MAX - HS_SPACE_UNIT)
        return hs_fail(err, H5STORE_E_INVALID, 0,
                       "an extent of %llu bytes cannot be had; no file is that large",
                       (unsigned long long)length);
    length = hs_round_up(length, HS_SPACE_UNIT);
    place = space_find_free(space, length);
    if (place != SPACE_NONE) {
        *extent = (hs_extent){space_at(space, place)->extent.address, length};
        space_cut(space, place, *extent);
        space->free_bytes -= hs_min(space->free_bytes, length);
        *reused = true;
        return H5STORE_OK;
    }
    if (!hs_add(space->eoa, length, &end) || end > INT64_MAX)
        return hs_fail(err, H5STORE_E_NO_SPACE, 0,
                       "the container would exceed the largest file size (%llu bytes more)",
                       (unsigned long long)length);
    *extent = (hs_extent){space->eoa, length};
    space->eoa = end;
    space->header_dirty = true;
    *reused = false;
    return H5STORE_OK;
}

bool
hs_space_take_below(hs_space *space, uint64_t length, uint64_t below, hs_extent *extent)
{
    length = hs_round_up(length, HS_SPACE_UNIT);
    for (size_t place = 0; place < space->count; place++) {
        const hs_slot *slot = space_at(space, place);

        if (slot->extent.address >= below)
            break;
        if (slot->loose || slot->extent.length < length)
            continue;
        *extent = (hs_extent){slot->extent.address, length};
        space_cut(space, place, *extent);
        space->free_bytes -= hs_min(space->free_bytes, length);
        return true;
    }
    return false;
}

int
hs_space_loosen(hs_space *space, hs_extent extent, uint64_t sequence, h5store_err *err)
{
    int rc = space_need_slots(space, space->count + 1, err);

    if (rc < 0)
        return rc;
    space->removed = space->removed || sequence != 0;
    space_join(space, (hs_slot){extent, true, sequence});
    return H5STORE_OK;
}

bool
hs_space_tighten(hs_space *space, hs_extent extent)
{
    return space_cut_loose(space, extent);
}

bool
hs_space_free(hs_space *space, hs_extent extent)
{
    if (!space_cut_loose(space, extent))
        return false;
    space->free_bytes += extent.length;
    space_join(space, (hs_slot){extent, false, 0});
    return true;
}

void
hs_space_shrink(hs_space *space)
{
    const hs_slot *last;

    while (space->count > 0) {
        last = space_at(space, space->count - 1);
        if (last->loose || space_end(last) != space->eoa)
            return;
        space->eoa = last->extent.address;
        space->free_bytes -= hs_min(space->free_bytes, last->extent.length);
        space_erase(space, space->count - 1);
    }
}

uint64_t
hs_space_free_in(const hs_space *space, uint64_t piece)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < space->count; i++)
        if (!space->slots[i].loose)
            bytes += space->slots[i].extent.length / piece * piece;
    return bytes;
}

bool
hs_space_is_unused(const hs_space *space, uint64_t address)
{
    size_t place = space_find(space, (hs_extent){address, 1});

    return place != SPACE_NONE && space_at(space, place)->sequence == 0;
}

uint64_t
hs_space_used(const hs_space *space)
{
    uint64_t used = space->eoa;

    for (size_t i = 0; i < space->count; i++)
        used -= hs_min(used, space->slots[i].extent.length);
    return used;
}
