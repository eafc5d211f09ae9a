/* SPDX-License-Identifier: MIT */
/*
 * Lists that grow one by one: an array, how many it holds, and for how many there is room.
 */
#ifndef HS_GROW_H
#define HS_GROW_H

#include "error.h"

/*
 * See to room for one more.  @p array is the address of the pointer to the array's elements, of
 * @p size bytes each; it is NULL while @p room is 0, and released with free().  NOMEM, naming
 * @p what: then array and room are as they were.
 */
int hs_grow(void *array, size_t count, size_t *room, size_t size, const char *what,
            h5store_err *err);

#endif
