/* SPDX-License-Identifier: MIT */
/*
 * What the files of the space module share: space.c (what is on disk), space_slots.c (free and
 * loose extents), space_blocks.c (blocks of HDF5 metadata).  Nobody else includes this.
 */
#ifndef HS_SPACE_IMPL_H
#define HS_SPACE_IMPL_H

#include "space.h"

#define SPACE_SLOTS_PER_PAGE 10u
#define SPACE_CLASSES HS_SPACE_CLASSES

/* Room in memory for @p count slots, and for as many more as one change can add.  NOMEM. */
int space_need_slots(hs_space *space, size_t count, h5store_err *err);

/* space_blocks.c: the blocks page. */
void space_load_blocks(hs_space *space, const uint8_t page[HS_PAGE_SIZE]);
int space_save_blocks(hs_space *space, hs_pager *pager, h5store_err *err);

/* Bring the order of addresses in line with the slots, after they were loaded. */
void space_sort(hs_space *space);

#endif
