/* SPDX-License-Identifier: MIT */
/*
 * Making the container file as small as what it holds: a rebuild of the metadata, and arrays
 * moved from its end into holes before them.
 */
#ifndef HS_COMPACT_H
#define HS_COMPACT_H

#include "item.h"
#include <h5store/compact.h>

int hs_compact(hs_container *container, h5store_progress_fn progress, void *context,
               h5store_compaction *result, h5store_err *err);

#endif
