/* SPDX-License-Identifier: MIT */
/*
 * Arrays: checks, and where HDF5's chunks are cut.
 *
 * HDF5 stores a chunked dataset of early allocation and fixed dimensions with no index:
 * the chunks lie side by side in row-major order, each as large as the others.  The
 * bytes of an array are therefore one byte range of the file exactly when row-major order
 * of the chunks, and of the elements in each, is row-major order of the elements.  That is
 * so when there is a dimension s with
 *
 *   chunk[i] = 1        for i < s      one chunk never spans two rows
 *   chunk[i] = dims[i]  for i > s      and always whole ones
 *
 * and chunk[s] divides dims[s], or every dims[i] with i < s is 1.  In the second case the
 * last chunk may be padded, since that padding lies behind the very last element.
 *
 * Chunks are of about 1 MiB: small enough for viewers, which read whole ones, large enough
 * that a long array has few.  A shape for which no such cut is between a sixteenth of
 * that and 1 GiB is given up, and the elements are stored in one dimension.
 */
#include "array.h"
#include "dtype.h"
#include <assert.h>

#define CHUNK_TARGET (UINT64_C(1) << 20)
#define CHUNK_MOST (UINT64_C(1) << 30) /* HDF5 1.10 refuses files with chunks of 4 GiB */
#define CHUNK_LEAST_PART 16            /* no chunk is less than this part of the target */
#define DIVISOR_MOST (UINT64_C(1) << 20)

int
h5store_dtype_itemsize(const char *dtype, size_t *itemsize, h5store_err *err)
{
    if (dtype == NULL || itemsize == NULL)
        return hs_fail(err, H5STORE_E_INVALID, 0,
                       "h5store_dtype_itemsize: an argument is NULL; give both");
    return hs_dtype_itemsize(dtype, itemsize, err);
}

/* ---- checks ------------------------------------------------------------------ */

/*
 * Bytes of a shape.  The dimensions that are not 0 must multiply to less than 2^63, as in
 * NumPy: sizes derived from some of them never overflow then.
 */
static bool
array_bytes(const h5store_array *array, uint64_t itemsize, uint64_t *bytes)
{
    uint64_t product = hs_max(itemsize, 1);
    bool empty = itemsize == 0;

    for (int i = 0; i < array->rank; i++) {
        empty = empty || array->shape[i] == 0;
        if (!hs_mul(product, hs_max(array->shape[i], 1), &product) || product > INT64_MAX)
            return false;
    }
    *bytes = empty ? 0 : product;
    return true;
}

int
hs_array_check(const h5store_array *array, bool need_data, h5store_err *err)
{
    uint64_t bytes;
    size_t itemsize;
    int rc;

    if (array == NULL)
        return hs_fail(err, H5STORE_E_INVALID, 0, "array: is NULL; give a description");
    if (array->dtype == NULL)
        return hs_fail(err, H5STORE_E_INVALID, 0, "array: dtype is NULL; give a description");
    if (array->rank < 0 || array->rank > H5STORE_MAX_RANK)
        return hs_fail(err, H5STORE_E_INVALID, 0, "array: rank %d is not in 0 to %d", array->rank,
                       H5STORE_MAX_RANK);
    if (array->order != H5STORE_ORDER_C && array->order != H5STORE_ORDER_F)
        return hs_fail(err, H5STORE_E_INVALID, 0,
                       "array: order %d is neither H5STORE_ORDER_C nor H5STORE_ORDER_F",
                       (int)array->order);
    if (array->strides != NULL && array->order != H5STORE_ORDER_C)
        return hs_fail(err, H5STORE_E_INVALID, 0,
                       "array: has strides, but not order H5STORE_ORDER_C; give one of the two");
    rc = hs_dtype_itemsize(array->dtype, &itemsize, err);
    if (rc < 0)
        return rc;
    if (!array_bytes(array, itemsize, &bytes))
        return hs_fail(err, H5STORE_E_INVALID, 0,
                       "array: a shape of 2^63 bytes or more; no memory holds it");
    if (bytes != array->nbytes)
        return hs_fail(err, H5STORE_E_INVALID, 0,
                       "array: nbytes is %llu, but the shape has %llu bytes with items of %zu",
                       (unsigned long long)array->nbytes, (unsigned long long)bytes, itemsize);
    if (need_data && bytes > 0 && array->data == NULL)
        return hs_fail(err, H5STORE_E_INVALID, 0, "array: data is NULL; give its %llu bytes",
                       (unsigned long long)bytes);
    return H5STORE_OK;
}

void
hs_array_normalise(h5store_array *array)
{
    int larger = 0;

    for (int i = 0; i < array->rank; i++) {
        if (array->shape[i] == 0)
            larger = -H5STORE_MAX_RANK; /* no element: no order, whatever follows */
        else if (array->shape[i] > 1)
            larger++;
    }
    if (larger <= 1)
        array->order = H5STORE_ORDER_C;
}

/* ---- cutting chunks ------------------------------------------------------------ */

static uint64_t
layout_divide_up(uint64_t value, uint64_t by)
{
    return value / by + (value % by != 0);
}

static void
layout_dims(const h5store_array *array, hs_layout *layout)
{
    layout->rank = array->rank;
    for (int i = 0; i < array->rank; i++)
        layout->dims[i] = array->shape[array->order == H5STORE_ORDER_F ? array->rank - 1 - i : i];
}

static void
layout_flatten(uint64_t elements, hs_layout *layout)
{
    layout->rank = 1;
    layout->dims[0] = elements;
    layout->flat = true;
}

/*
 * Pieces of a dimension that may be padded at its end: as even as can be, and about
 * @p target bytes each.
 */
static uint64_t
layout_cut_evenly(uint64_t dim, uint64_t row_bytes, uint64_t target)
{
    uint64_t chunks = layout_divide_up(dim * row_bytes, target);

    return layout_divide_up(dim, hs_min(chunks, dim));
}

/* How far a size is from the target, as a factor of 1 or more. */
static double
layout_distance(uint64_t bytes, uint64_t target)
{
    return (double)hs_max(bytes, target) / (double)hs_min(bytes, target);
}

/*
 * The divisor of a dimension that makes the best chunk, or 0 when none makes a fair one.
 * Divisors in pairs of which both are above DIVISOR_MOST are not looked for.
 */
static uint64_t
layout_cut_exactly(uint64_t dim, uint64_t row_bytes, uint64_t target, uint64_t most)
{
    uint64_t best = 0;

    for (uint64_t i = 1; i <= DIVISOR_MOST && i <= dim / i; i++) {
        const uint64_t pair[2] = {i, dim / i};

        if (dim % i != 0)
            continue;
        for (int j = 0; j < 2; j++) {
            uint64_t bytes = pair[j] * row_bytes;

            if (bytes <= most && bytes >= target / CHUNK_LEAST_PART &&
                (best == 0 ||
                 layout_distance(bytes, target) < layout_distance(best * row_bytes, target)))
                best = pair[j];
        }
    }
    return best;
}

/* Fill in layout->chunk for layout->dims; false when the shape must be given up. */
static bool
layout_cut(uint64_t bytes, uint64_t target, uint64_t most, hs_layout *layout)
{
    uint64_t row_bytes = bytes; /* of one step along the dimension before s */
    bool outermost = true;      /* every dimension before s is 1 */
    int s;

    for (s = 0; s < layout->rank; s++) {
        row_bytes /= layout->dims[s];
        layout->chunk[s] = 1;
        if (row_bytes <= target && layout->dims[s] > 1)
            break;
        outermost = outermost && layout->dims[s] == 1;
    }
    if (s == layout->rank)
        return true; /* one element a chunk */
    layout->chunk[s] = outermost ? layout_cut_evenly(layout->dims[s], row_bytes, target)
                                 : layout_cut_exactly(layout->dims[s], row_bytes, target, most);
    for (int i = s + 1; i < layout->rank; i++)
        layout->chunk[i] = layout->dims[i];
    return layout->chunk[s] > 0;
}

static bool
layout_measure(size_t itemsize, hs_layout *layout)
{
    uint64_t extent = itemsize;

    for (int i = 0; i < layout->rank; i++)
        if (!hs_mul(extent, layout_divide_up(layout->dims[i], layout->chunk[i]), &extent) ||
            !hs_mul(extent, layout->chunk[i], &extent))
            return false;
    layout->extent = extent;
    return extent <= INT64_MAX;
}

int
hs_array_layout_for(const h5store_array *array, size_t itemsize, uint64_t target, uint64_t most,
                    hs_layout *layout, h5store_err *err)
{
    hs_layout plan = {.kind = HS_LAYOUT_CHUNKED};

    assert(array->nbytes > 0 && itemsize > 0);
    if (array->rank > 0 && array->rank <= H5S_MAX_RANK)
        layout_dims(array, &plan);
    if (plan.rank == 0 || !layout_cut(array->nbytes, target, most, &plan)) {
        layout_flatten(array->nbytes / itemsize, &plan);
        (void)layout_cut(array->nbytes, target, most, &plan); /* one dimension is always cut */
    }
    if (!layout_measure(itemsize, &plan))
        return hs_fail(err, H5STORE_E_UNSUPPORTED, 0,
                       "array: %llu bytes are too many for a file; store it in parts",
                       (unsigned long long)array->nbytes);
    *layout = plan;
    return H5STORE_OK;
}

int
hs_array_layout(const h5store_array *array, size_t itemsize, hs_layout *layout, h5store_err *err)
{
    hs_layout plan = {.kind = HS_LAYOUT_COMPACT};

    if (array->nbytes > HS_ARRAY_INLINE)
        return hs_array_layout_for(array, itemsize, CHUNK_TARGET, CHUNK_MOST, layout, err);
    if (itemsize == 0)
        layout_flatten(0, &plan);
    else if (array->rank > H5S_MAX_RANK)
        layout_flatten(array->nbytes / itemsize, &plan);
    else
        layout_dims(array, &plan);
    *layout = plan;
    return H5STORE_OK;
}
