/* SPDX-License-Identifier: MIT */
/*
 * A guess, before an array is hashed, whether this process has put it before, and as what.
 *
 * It decides only the order of work: an array that is probably new is written while it is
 * hashed, one that is probably known is compared with what the container has of that name, or
 * hashed first and then, as a rule, not written.  A wrong guess costs time, never anything else.
 */
#ifndef HS_PROBE_H
#define HS_PROBE_H

#include <h5store/array.h>
#include <h5store/id.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Zero-initialised is empty; any number of threads may use one. */
#define HS_PROBE_SLOTS 8192u
typedef struct hs_probes {
    struct hs_probe_slot {
        atomic_uint_least64_t probe;
        atomic_uint_least64_t id[4]; /* all zero: not known yet */
    } slots[HS_PROBE_SLOTS];
} hs_probes;

/* A fingerprint of the description and of some kilobytes here and there. */
uint64_t hs_probe_of(const h5store_array *array);

/* Was it noted?  *id is then the name, if it was noted too; else it is zero.  While others note
 * theirs it may be a mixture of two. */
bool hs_probe_seen(hs_probes *probes, uint64_t probe, h5store_id *id);

/* @p id NULL: it is not known yet. */
void hs_probe_note(hs_probes *probes, uint64_t probe, const h5store_id *id);

#endif
