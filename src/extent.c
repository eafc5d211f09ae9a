/* SPDX-License-Identifier: MIT */
/*
 * Extents from reservation to punching; see extent.h.  Their bytes are in extent_bytes.c, and what
 * is reserved for several at once in extent_ahead.c.
 *
 * A reservation is a loose slot of the space table, committed by itself, and a pin.  If
 * the process dies the pin goes, and the slot is like one whose blob was removed: whoever
 * reclaims next frees it.  The commit of the blob takes the slot away.
 *
 * Reclaiming has three steps, so that the punch, which may take long, holds no role:
 *   1  (WRITE)  choose loose slots whose removal is applied, and pin them exclusively;
 *   2  (none)   punch;
 *   3  (WRITE)  release the exclusive pins, make the slots free, commit.
 * The slot becomes free last: as soon as it is, somebody may take and pin the extent.
 */
#include "extent.h"
#include "os.h"
#include <stdlib.h>

#define EXTENT_RECLAIM_BATCH 1024u
#define EXTENT_PUNCH_STEP ((uint64_t)16 * 1024 * 1024)

/*
 * Take the extents as loose slots that we pin; *pinned: how many of them.  @p least: as
 * hs_extent_reserve_some has it; 0: take what is asked for.
 */
static int
extent_take(hs_container *c, hs_extent *extents, size_t count, uint64_t least, size_t *pinned,
            h5store_err *err)
{
    const hs_space *space = hs_container_space(c);
    int rc = H5STORE_OK;

    if (least > 0 && hs_space_has_free(space, least) && !hs_space_has_free(space, extents->length))
        extents->length = least;
    for (*pinned = 0; *pinned < count; ++*pinned) {
        hs_extent *extent = &extents[*pinned];
        bool reused;

        rc = hs_space_take(hs_container_space(c), extent->length, extent, &reused, err);
        if (rc == H5STORE_OK)
            rc = hs_space_loosen(hs_container_space(c), *extent, 0, err);
        if (rc == H5STORE_OK)
            rc = hs_container_pin(c, *extent, err);
        if (rc < 0)
            return rc;
    }
    return rc;
}

static int
extent_reserve(hs_container *c, hs_extent *extents, size_t count, uint64_t least, h5store_err *err)
{
    size_t pinned;
    int rc = hs_container_write_begin(c, NULL, err);

    if (rc < 0)
        return rc;
    rc = extent_take(c, extents, count, least, &pinned, err);
    if (rc < 0)
        hs_container_abort(c);
    else
        rc = hs_container_commit(c, NULL, 0, err);
    if (rc < 0) {
        while (pinned > 0)
            hs_container_unpin(c, extents[--pinned]);
        return rc;
    }
    for (size_t i = 0; rc == H5STORE_OK && i < count; i++)
        rc = hs_os_reserve(hs_container_fd(c), hs_container_path(c), extents[i].address,
                           extents[i].length, err);
    for (size_t i = 0; rc < 0 && i < count; i++)
        hs_extent_abandon(c, extents[i]);
    return rc;
}

int
hs_extent_reserve_all(hs_container *c, hs_extent *extents, size_t count, h5store_err *err)
{
    return extent_reserve(c, extents, count, 0, err);
}

int
hs_extent_reserve_some(hs_container *c, uint64_t length, uint64_t least, hs_extent *extent,
                       h5store_err *err)
{
    hs_extent taken = {.length = length};
    int rc = extent_reserve(c, &taken, 1, least, err);

    if (rc == H5STORE_OK)
        *extent = taken;
    return rc;
}

int
hs_extent_reserve(hs_container *c, uint64_t length, hs_extent *extent, h5store_err *err)
{
    return hs_extent_reserve_some(c, length, 0, extent, err);
}

void
hs_extent_shorten(hs_container *c, hs_extent *extent, uint64_t length)
{
    length = hs_round_up(length, HS_SPACE_UNIT);
    if (length >= extent->length)
        return;
    hs_container_shorten_pin(c, *extent, length);
    extent->length = length;
    hs_extent_reclaim_briefly(c); /* the rest is a loose extent that nobody pins */
}

void
hs_extent_abandon(hs_container *c, hs_extent extent)
{
    hs_container_unpin(c, extent);
    hs_extent_reclaim_briefly(c);
}

/* ---- reclaiming ------------------------------------------------------- */

/* Extents that are to be punched, pinned exclusively. */
struct extent_chosen {
    hs_extent extents[EXTENT_RECLAIM_BATCH];
    size_t count;
};

/*
 * Pin an extent exclusively, or those parts of it that nobody pins: an extent that many removals
 * made is joined from those of many blobs.
 */
static int
extent_choose_parts(hs_container *c, hs_extent extent, struct extent_chosen *chosen,
                    h5store_err *err)
{
    uint64_t end = extent.address + extent.length;

    while (extent.address < end && chosen->count < EXTENT_RECLAIM_BATCH) {
        hs_extent part = {extent.address, end - extent.address}, pin;
        bool granted;
        int rc = hs_container_pin_exclusive(c, part, &granted, err);

        if (rc < 0)
            return rc;
        if (granted) {
            chosen->extents[chosen->count++] = part;
            return H5STORE_OK;
        }
        rc = hs_container_find_pin(c, part, &pin, err);
        if (rc < 0 || pin.length == 0) /* it has gone: the next who looks */
            return rc;
        if (pin.address > part.address) {
            part.length = pin.address - part.address;
            rc = extent_choose_parts(c, part, chosen, err);
            if (rc < 0)
                return rc;
        }
        extent.address = hs_round_up(pin.address + pin.length, HS_SPACE_UNIT);
    }
    return H5STORE_OK;
}

/* Step 1.  The scope is over afterwards. */
static int
extent_choose(hs_container *c, struct extent_chosen *chosen, h5store_err *err)
{
    const hs_space *space;
    uint64_t applied;
    int rc = hs_container_write_begin(c, NULL, err);

    chosen->count = 0;
    if (rc < 0)
        return rc;
    space = hs_container_space(c);
    applied = hs_container_applied(c);
    for (size_t i = 0; rc == H5STORE_OK && i < space->count; i++) {
        const hs_slot *slot = &space->slots[i];

        if (slot->loose && slot->sequence <= applied)
            rc = extent_choose_parts(c, slot->extent, chosen, err);
    }
    hs_container_abort(c);
    return rc;
}

static void
extent_unpin(hs_container *c, const struct extent_chosen *chosen, size_t from, bool in_scope)
{
    for (size_t i = from; i < chosen->count; i++)
        hs_container_unpin_exclusive(c, chosen->extents[i], in_scope);
}

/* Punch an extent, step by step until it is late; *punched: how much of it. */
static int
extent_punch_one(hs_container *c, hs_extent extent, uint64_t until, uint64_t *punched,
                 h5store_err *err)
{
    bool done;

    for (*punched = 0; *punched < extent.length && (*punched == 0 || hs_os_now() < until);) {
        uint64_t step = hs_min(extent.length - *punched, EXTENT_PUNCH_STEP);
        int rc = hs_os_punch(hs_container_fd(c), hs_container_path(c), extent.address + *punched,
                             step, &done, err);

        if (rc < 0)
            return rc;
        if (!done)
            hs_container_note_no_holes(c);
        *punched += step;
    }
    return H5STORE_OK;
}

/* Step 2: *chosen has those that are punched, and the others are let go. */
static int
extent_punch(hs_container *c, struct extent_chosen *chosen, uint64_t until, h5store_err *err)
{
    size_t count = 0;
    int rc = H5STORE_OK;

    while (count < chosen->count && rc == H5STORE_OK && (count == 0 || hs_os_now() < until)) {
        hs_extent *extent = &chosen->extents[count];
        uint64_t punched;

        rc = extent_punch_one(c, *extent, until, &punched, err);
        if (punched == 0)
            break;
        if (punched < extent->length)
            hs_container_shorten_pin(c, *extent, punched);
        extent->length = punched;
        count++;
    }
    extent_unpin(c, chosen, count, false);
    chosen->count = count;
    return rc;
}

/* Step 3. */
static int
extent_release(hs_container *c, const struct extent_chosen *chosen, h5store_err *err)
{
    int rc = hs_container_write_begin(c, NULL, err);

    if (rc < 0) {
        extent_unpin(c, chosen, 0, false);
        return rc;
    }
    hs_container_gives_space(c);
    extent_unpin(c, chosen, 0, true);
    for (size_t i = 0; i < chosen->count; i++)
        (void)hs_space_free(hs_container_space(c), chosen->extents[i]);
    hs_space_shrink(hs_container_space(c));
    return hs_container_commit(c, NULL, 0, err);
}

int
hs_extent_reclaim_until(hs_container *c, uint64_t until, h5store_err *err)
{
    HS_CLEANUP(hs_freep) struct extent_chosen *chosen = malloc(sizeof *chosen);
    bool more = true;
    int rc = H5STORE_OK;

    if (chosen == NULL)
        return hs_fail_nomem(err, sizeof *chosen, "freeing space");
    do {
        rc = extent_choose(c, chosen, err);
        if (rc < 0 || chosen->count == 0) {
            extent_unpin(c, chosen, 0, false);
            return rc;
        }
        more = chosen->count == EXTENT_RECLAIM_BATCH;
        rc = extent_punch(c, chosen, until, err);
        if (chosen->count > 0) {
            int released = extent_release(c, chosen, rc < 0 ? NULL : err);

            rc = rc < 0 ? rc : released;
        }
    } while (rc == H5STORE_OK && more && hs_os_now() < until);
    return rc;
}

void
hs_extent_reclaim_briefly(hs_container *c)
{
    (void)hs_extent_reclaim_until(c, hs_os_now() + HS_EXTENT_PATIENCE, NULL);
}

int
hs_extent_reclaim(hs_container *c, h5store_err *err)
{
    return hs_extent_reclaim_until(c, UINT64_MAX, err);
}
