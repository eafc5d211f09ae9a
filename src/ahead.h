/* SPDX-License-Identifier: MIT */
/*
 * Space for arrays to come, which a container has reserved ahead of need; see extent.h,
 * hs_extent_reserve_ahead.  Owned by container.c, which keeps it for extent_ahead.c.
 */
#ifndef HS_AHEAD_H
#define HS_AHEAD_H

#include "space.h"
#include <pthread.h>

typedef struct hs_ahead {
    pthread_mutex_t mutex; /* only tried, never waited for: who does not get it reserves alone */
    hs_extent rest;        /* loose, and pinned; length 0: there is none */
    uint64_t run;          /* extents that were reserved at once the last time, */
    uint64_t when;         /* at this time of hs_os_now */
} hs_ahead;

#endif
