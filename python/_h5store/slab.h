/* SPDX-License-Identifier: MIT */
/*
 * Memory for the many middling arrays of a result; slab.c says why and how.
 *
 * As malloc and its kin, with blocks that begin with a page of memory.  A block goes back by
 * slab_free or slab_realloc alone.  Any thread may call; a forked child goes on with what it
 * inherited.
 */
#ifndef H5STORE_PYTHON_SLAB_H
#define H5STORE_PYTHON_SLAB_H

#include <stddef.h>

#define SLAB_LEAST ((size_t)64 * 1024)      /* smaller arrays gain nothing */
#define SLAB_MOST ((size_t)4 * 1024 * 1024) /* larger ones would leave much of a slab unused */

/* To be called before all others; more than once does no harm. */
void slab_start(void);

/* NULL without memory. */
void *slab_malloc(size_t size);
void *slab_calloc(size_t count, size_t size);
void *slab_realloc(void *block, size_t size);
void slab_free(void *block);

#endif
