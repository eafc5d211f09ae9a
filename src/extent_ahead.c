/* SPDX-License-Identifier: MIT */
/*
 * Reserving ahead: a process that stores one array of a moderate size after the other reserves
 * for more and more of them at once, up to 4 MiB, so that a reservation, which is a commit, is made
 * for one of many.  What is left over is a reservation like any other: a loose extent, which goes
 * when nobody pins it any more.  It is given up when the process pauses, so that a cache that is
 * not being filled takes no more space than its arrays.
 *
 * A hole in the file that has room for one array is used before the file grows for many, and where
 * the disk is nearly full nothing is taken from others.
 */
#include "extent.h"
#include "os.h"

#define AHEAD_BYTES ((uint64_t)4 * 1024 * 1024) /* that are reserved at once */
#define AHEAD_PAUSE UINT64_C(1000000000)        /* nanoseconds after which it begins with one */
#define AHEAD_ROOM (64 * AHEAD_BYTES)           /* that the disk must have */

/* How many extents to reserve for. */
static uint64_t
ahead_run(hs_container *c, const hs_ahead *ahead, uint64_t length)
{
    if (ahead->run == 0 || hs_os_now() - ahead->when > AHEAD_PAUSE ||
        hs_os_room(hs_container_fd(c)) < AHEAD_ROOM)
        return 1;
    return hs_max(1, hs_min(2 * ahead->run, AHEAD_BYTES / length));
}

/* Let go of what is left. */
static void
ahead_drop(hs_container *c, hs_ahead *ahead)
{
    if (ahead->rest.length > 0)
        hs_container_unpin(c, ahead->rest);
    ahead->rest.length = 0;
}

/* Cut an extent from what is left, if there is enough of it. */
static bool
ahead_cut(hs_container *c, hs_ahead *ahead, uint64_t length, hs_extent *extent)
{
    if (ahead->rest.length < length ||
        (ahead->rest.length > length && !hs_container_split_pin(c, ahead->rest, length)))
        return false;
    *extent = (hs_extent){ahead->rest.address, length};
    ahead->rest.address += length;
    ahead->rest.length -= length;
    return true;
}

static int
ahead_reserve(hs_container *c, hs_ahead *ahead, uint64_t length, hs_extent *extent,
              h5store_err *err)
{
    uint64_t run = ahead_run(c, ahead, length);
    hs_extent taken;
    int rc;

    ahead_drop(c, ahead);
    rc = hs_extent_reserve_some(c, run * length, length, &taken, err);
    if (rc == H5STORE_E_NO_SPACE && run > 1) {
        run = 1;
        rc = hs_extent_reserve(c, length, &taken, err);
    }
    if (rc < 0)
        return rc;
    ahead->run = run;
    ahead->when = hs_os_now();
    ahead->rest = taken;
    if (ahead_cut(c, ahead, length, extent))
        return rc;
    hs_extent_shorten(c, &taken, length); /* no memory for another pin */
    ahead->rest.length = 0;
    *extent = taken;
    return rc;
}

int
hs_extent_reserve_ahead(hs_container *c, uint64_t length, hs_extent *extent, h5store_err *err)
{
    hs_ahead *ahead = hs_container_ahead(c);
    int rc = hs_container_check_process(c, err);

    if (rc < 0)
        return rc;
    if (length > AHEAD_BYTES / 2 || pthread_mutex_trylock(&ahead->mutex) != 0)
        return hs_extent_reserve(c, length, extent, err);
    length = hs_round_up(length, HS_SPACE_UNIT);
    if (!ahead_cut(c, ahead, length, extent))
        rc = ahead_reserve(c, ahead, length, extent, err);
    pthread_mutex_unlock(&ahead->mutex);
    return rc;
}

void
hs_extent_give_up_ahead(hs_container *c)
{
    hs_ahead *ahead = hs_container_ahead(c);

    if (hs_container_check_process(c, NULL) < 0 || pthread_mutex_trylock(&ahead->mutex) != 0)
        return;
    ahead_drop(c, ahead);
    ahead->run = 0;
    pthread_mutex_unlock(&ahead->mutex);
}
