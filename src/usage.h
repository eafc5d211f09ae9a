/* SPDX-License-Identifier: MIT */
/*
 * What the cache is used for: when each item was stored and last used, how often there was a
 * hit or a miss, and why the last misses missed.
 *
 * A hit stays a read: it is noted in memory, and written with the next commit of the process,
 * or by one of its own after a while, on flush and on close (container_usage.c).  What a killed
 * process had noted is lost, and nothing depends on it but the order in which results go when
 * a limit is kept.
 *
 * The bytes are in FORMAT.md, "Usage".  Nothing read is trusted: what is not sound counts as
 * not there.  Owned by container.c, which holds its mutex and a scope round every call.
 */
#ifndef HS_USAGE_H
#define HS_USAGE_H

#include "space.h"

typedef struct hs_usage_counters {
    uint64_t hits, misses, heals, stored, duplicates, duplicate_bytes;
} hs_usage_counters;

/* The usage page, as read in a scope. */
typedef struct hs_usage {
    hs_usage_counters counters;
    hs_extent table;    /* length 0: there is none yet */
    uint64_t slots;     /* of it, in use or used before */
    hs_extent misses;   /* length 0: there are none yet */
    uint64_t miss_next; /* how many were ever written */
} hs_usage;

/* When an item was stored and last used, in microseconds since the epoch; 0: not known. */
typedef struct hs_usage_times {
    uint64_t stored, used;
} hs_usage_times;

#define HS_USAGE_MISSES 32u
typedef struct hs_usage_miss {
    uint64_t time; /* microseconds since the epoch */
    char collection[112], key[72], text[112];
} hs_usage_miss;

/* The number that stands for an item. */
uint64_t hs_usage_hash(const char *collection, const char *key);

int hs_usage_load(hs_pager *pager, uint64_t eoa, hs_usage *usage, h5store_err *err);
int hs_usage_find(hs_pager *pager, const hs_usage *usage, uint64_t hash, hs_usage_times *times,
                  h5store_err *err);
/* Newest first. */
int hs_usage_read_misses(hs_pager *pager, const hs_usage *usage,
                         hs_usage_miss misses[HS_USAGE_MISSES], size_t *count, h5store_err *err);

/*
 * In a transaction.  @p sequence: of the record to come.  Zeros in @p times leave what is there;
 * an item that is not in the table is entered only if @p enter.
 */
int hs_usage_set(hs_pager *pager, hs_space *space, hs_usage *usage, uint64_t hash,
                 hs_usage_times times, bool enter, uint64_t sequence, h5store_err *err);
int hs_usage_remove(hs_pager *pager, const hs_usage *usage, uint64_t hash, h5store_err *err);
int hs_usage_add_miss(hs_pager *pager, hs_space *space, hs_usage *usage, const hs_usage_miss *miss,
                      h5store_err *err);
/* Move table and ring to where the space table gives space now. */
int hs_usage_move(hs_pager *pager, hs_space *space, hs_usage *usage, uint64_t sequence,
                  h5store_err *err);
int hs_usage_save(hs_pager *pager, const hs_usage *usage, h5store_err *err);

#endif
