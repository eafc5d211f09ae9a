/* SPDX-License-Identifier: MIT */
/*
 * See source.h.  Called by digest.c, extent_bytes.c, probe.c and batch.c.
 *
 * Before anything is gathered the dimensions are made few: those of length 1 go, neighbours
 * that are walked in one stride become one, and an innermost one that lies in one piece
 * becomes part of the item.
 */
#include "source.h"
#include <assert.h>

hs_source
hs_source_of(const h5store_array *array)
{
    hs_source source = {.data = array->data, .nbytes = array->nbytes};
    uint64_t elements = 1;
    int rank = 0;

    if (array->strides == NULL || array->nbytes == 0)
        return source;
    for (int i = 0; i < array->rank; i++) {
        uint64_t dim = array->shape[i];
        int64_t stride = array->strides[i];

        elements *= dim;
        if (dim == 1)
            continue;
        /* One step of the dimension before is all of this one. */
        if (rank > 0 && source.strides[rank - 1] / (int64_t)dim == stride &&
            source.strides[rank - 1] % (int64_t)dim == 0) {
            source.shape[rank - 1] *= dim;
            source.strides[rank - 1] = stride;
            continue;
        }
        source.shape[rank] = dim;
        source.strides[rank++] = stride;
    }
    source.item = array->nbytes / elements;
    if (rank > 0 && source.strides[rank - 1] == (int64_t)source.item)
        source.item *= source.shape[--rank];
    source.rank = rank;
    return source;
}

/* Where an item is; its index in each dimension goes to @p at. */
static const uint8_t *
source_locate(const hs_source *source, uint64_t item, uint64_t at[])
{
    const uint8_t *place = source->data;

    for (int i = source->rank - 1; i >= 0; i--) {
        at[i] = item % source->shape[i];
        item /= source->shape[i];
        place += (int64_t)at[i] * source->strides[i];
    }
    return place;
}

/* The length being a constant, each memcpy is one load and one store. */
#define SOURCE_COPY(length) \
    for (uint64_t i = 0; i < count; i++, from += stride, to += (length)) \
    memcpy(to, from, (length))

static void
source_copy(uint8_t *to, const uint8_t *from, int64_t stride, uint64_t count, uint64_t item)
{
    switch (item) {
    case 1:
        SOURCE_COPY(1);
        break;
    case 2:
        SOURCE_COPY(2);
        break;
    case 4:
        SOURCE_COPY(4);
        break;
    case 8:
        SOURCE_COPY(8);
        break;
    case 16:
        SOURCE_COPY(16);
        break;
    default:
        SOURCE_COPY(item);
    }
}

static void
source_gather(const hs_source *source, uint64_t item, uint64_t count, uint8_t *to)
{
    uint64_t at[H5STORE_MAX_RANK];
    const uint8_t *from = source_locate(source, item, at);
    int last = source->rank - 1;

    while (count > 0) {
        uint64_t run = hs_min(count, source->shape[last] - at[last]);
        int i = last;

        source_copy(to, from, source->strides[last], run, source->item);
        to += run * source->item;
        count -= run;
        at[last] += run;
        from += (int64_t)run * source->strides[last];
        for (; i > 0 && at[i] == source->shape[i]; i--) {
            from += source->strides[i - 1] - (int64_t)source->shape[i] * source->strides[i];
            at[i] = 0;
            at[i - 1]++;
        }
    }
}

const uint8_t *
hs_source_bytes(const hs_source *source, uint64_t from, size_t size, void *scratch)
{
    uint64_t at[H5STORE_MAX_RANK], item, skip;
    uint8_t *to = scratch;
    size_t part;

    assert(from <= source->nbytes && size <= source->nbytes - from);
    if (hs_source_is_whole(source))
        return source->data + from;
    item = from / source->item;
    skip = from % source->item;
    if (skip > 0 && size > 0) {
        part = (size_t)hs_min(source->item - skip, size);
        memcpy(to, source_locate(source, item++, at) + skip, part);
        to += part;
        size -= part;
    }
    part = size - size % (size_t)source->item;
    source_gather(source, item, part / source->item, to);
    if (part < size)
        memcpy(to + part, source_locate(source, item + part / source->item, at), size - part);
    return scratch;
}
