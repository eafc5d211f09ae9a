/* SPDX-License-Identifier: MIT */
/*
 * See grow.h.  Room doubles, so that adding takes constant time on average.
 */
#include "grow.h"
#include "common.h"
#include <stdlib.h>
#include <string.h>

#define GROW_FIRST 16u

int
hs_grow(void *array, size_t count, size_t *room, size_t size, const char *what, h5store_err *err)
{
    size_t wanted = *room > 0 ? 2 * *room : GROW_FIRST;
    void *elements;

    if (count < *room)
        return H5STORE_OK;
    memcpy(&elements, array, sizeof elements); /* a pointer to whatever they are */
    elements = realloc(elements, wanted * size);
    if (elements == NULL)
        return hs_fail_nomem(err, wanted * size, what);
    memcpy(array, &elements, sizeof elements);
    *room = wanted;
    return H5STORE_OK;
}
