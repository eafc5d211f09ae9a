/* SPDX-License-Identifier: MIT */
/*
 * The datasets of packed blobs; see packed.h.
 *
 * The index is HDF5's "fixed array" (HDF5 File Format Specification, version 3, III.H): a
 * header, "FAHD", and a data block, "FADB", with an element for each chunk in row-major order:
 * its address, its length, and a mask of the filters that were left out.  Up to 1024 elements
 * follow each other directly; more stand in pages of 1024, each with a checksum of its own,
 * behind a bit for each page that says whether it was ever written.
 */
#include "packed.h"
#include "deflate.h"
#include "h5util.h"
#include <assert.h>

#define PACKED_LEAST ((uint64_t)16 * 1024)  /* bytes of an array: less does not pay */
#define PACKED_CHUNK ((uint64_t)512 * 1024) /* bytes of a chunk, about */
#define PACKED_CHUNK_MOST ((uint64_t)1024 * 1024)
#define PACKED_COUNT_MOST ((uint64_t)1 << 20)

#define PACKED_SHUFFLE 2u /* HDF5's numbers of the filters */
#define PACKED_DEFLATE 1u

void
hs_packed_release(hs_packed *packed)
{
    free(packed->chunks);
    memset(packed, 0, sizeof *packed);
}

uint64_t
hs_packed_length(const hs_packed *packed)
{
    uint64_t length = 0;

    for (size_t i = 0; i < packed->count; i++)
        length += packed->chunks[i].length;
    return length;
}

/* Chunks of a layout, which hs_array_layout_for has made or packed_take_layout checked. */
static uint64_t
packed_count(const hs_layout *layout)
{
    uint64_t count = 1;

    for (int i = 0; i < layout->rank; i++)
        count *= layout->dims[i] / layout->chunk[i] + (layout->dims[i] % layout->chunk[i] != 0);
    return count;
}

static int
packed_need_chunks(hs_packed *packed, uint64_t count, h5store_err *err)
{
    packed->chunks = calloc((size_t)count, sizeof *packed->chunks);
    if (packed->chunks == NULL)
        return hs_fail_nomem(err, count * sizeof *packed->chunks, "compression");
    packed->count = (size_t)count;
    return H5STORE_OK;
}

int
hs_packed_plan(const h5store_array *array, size_t itemsize, int level, hs_packed *packed,
               h5store_err *err)
{
    hs_packed plan = {.item = itemsize, .level = level};
    uint64_t count;

    memset(packed, 0, sizeof *packed);
    /* Two chunks at least: for one, HDF5 would take another index. */
    if (array->nbytes < PACKED_LEAST ||
        hs_array_layout_for(array, itemsize, hs_min(PACKED_CHUNK, array->nbytes / 2),
                            PACKED_CHUNK_MOST, &plan.layout, NULL) < 0)
        return H5STORE_OK;
    count = packed_count(&plan.layout);
    if (count < 2 || count > PACKED_COUNT_MOST || plan.layout.extent / count > PACKED_CHUNK_MOST)
        return H5STORE_OK;
    plan.chunk_size = (size_t)(plan.layout.extent / count);
    *packed = plan;
    return packed_need_chunks(packed, count, err);
}

/* ---- the index -------------------------------------------------------- */

#define FIXED_HEADER 28u /* bytes */
#define FIXED_PREFIX 14u /* of the data block, before its elements or its bits */
#define FIXED_SUM 4u

/* Where the elements of a fixed array stand. */
struct fixed_array {
    uint64_t address;        /* of the data block */
    uint64_t count, element; /* elements; bytes of each */
    uint64_t page;           /* elements of a page; 0: there are no pages */
    uint64_t prefix;         /* bytes before the elements or the first page, checksum included
                                if there are pages */
    uint64_t length;         /* of all of it */
};

static int
fixed_damaged(h5store_err *err)
{
    return hs_fail(err, H5STORE_E_DAMAGED, 0, "the index of its chunks is not sound");
}

static bool
fixed_is_whole(const uint8_t *bytes, uint64_t length)
{
    size_t size = (size_t)(length - FIXED_SUM);

    return hs_ohdr_checksum(bytes, size) == hs_get_le32(bytes + size);
}

static int
fixed_find(hs_pager *pager, uint64_t address, uint64_t count, struct fixed_array *array,
           h5store_err *err)
{
    uint8_t head[FIXED_HEADER];
    struct fixed_array found = {.count = count};
    uint64_t pages, bits;
    int rc = hs_pager_read(pager, address, head, sizeof head, err);

    if (rc < 0)
        return rc;
    /* Signature, version, class (1: filtered chunks), bytes of an element, bits of a page. */
    if (memcmp(head, "FAHD\0\1", 6) != 0 || !fixed_is_whole(head, sizeof head) || head[6] < 13 ||
        head[6] > 20 || head[7] > 20 || hs_get_le64(head + 8) != count)
        return fixed_damaged(err);
    found.element = head[6];
    found.address = hs_get_le64(head + 16);
    found.prefix = FIXED_PREFIX;
    found.length = FIXED_PREFIX + count * found.element + FIXED_SUM;
    if (count > (uint64_t)1 << head[7]) {
        found.page = (uint64_t)1 << head[7];
        pages = (count + found.page - 1) / found.page;
        bits = (pages + 7) / 8;
        found.prefix = FIXED_PREFIX + bits + FIXED_SUM;
        found.length = found.prefix + count * found.element + pages * FIXED_SUM;
    }
    *array = found;
    return H5STORE_OK;
}

/* The address of a run of elements, and how many stand there before a checksum. */
static uint64_t
fixed_run(const struct fixed_array *array, uint64_t first, uint64_t *count)
{
    uint64_t size = array->page > 0 ? array->page : array->count;

    *count = hs_min(size, array->count - first);
    return array->address + array->prefix + first / size * (size * array->element + FIXED_SUM);
}

/* The prefix of the data block is sound, and every page was written. */
static int
fixed_check_prefix(hs_pager *pager, const struct fixed_array *array, uint64_t header,
                   h5store_err *err)
{
    HS_CLEANUP(hs_freep) uint8_t *bytes = malloc((size_t)array->prefix);
    uint64_t pages = array->page > 0 ? (array->count + array->page - 1) / array->page : 0;
    int rc;

    if (bytes == NULL)
        return hs_fail_nomem(err, array->prefix, "an index");
    rc = hs_pager_read(pager, array->address, bytes, (size_t)array->prefix, err);
    if (rc < 0)
        return rc;
    if (memcmp(bytes, "FADB\0\1", 6) != 0 || hs_get_le64(bytes + 6) != header ||
        (pages > 0 && !fixed_is_whole(bytes, array->prefix)))
        return fixed_damaged(err);
    for (uint64_t i = 0; i < pages; i++)
        if ((bytes[FIXED_PREFIX + i / 8] & 0x80u >> i % 8) == 0)
            return fixed_damaged(err);
    return H5STORE_OK;
}

/*
 * The bytes of one run with its checksum; without pages, of the whole data block.  *at: where
 * the elements begin in them.
 */
static int
fixed_read_run(hs_pager *pager, const struct fixed_array *array, uint64_t first, uint8_t **bytes,
               uint64_t *address, uint64_t *length, uint64_t *at, h5store_err *err)
{
    uint64_t count;
    HS_CLEANUP(hs_freep) uint8_t *read = NULL;
    int rc;

    *address = fixed_run(array, first, &count);
    *at = 0;
    if (array->page == 0) {
        *address = array->address;
        *at = array->prefix;
    }
    *length = *at + count * array->element + FIXED_SUM;
    read = malloc((size_t)*length);
    if (read == NULL)
        return hs_fail_nomem(err, *length, "an index");
    rc = hs_pager_read(pager, *address, read, (size_t)*length, err);
    if (rc < 0)
        return rc;
    if (!fixed_is_whole(read, *length))
        return fixed_damaged(err);
    *bytes = hs_take(&read);
    return H5STORE_OK;
}

/* ---- reading ---------------------------------------------------------- */

/* The filters are ours, in our order; which items do they shuffle? */
static bool
packed_take_filters(const hs_ohdr *header, hs_packed *packed)
{
    const hs_ohdr_filter *filter = header->filters;
    int count = header->filter_count;

    packed->item = 1;
    if (count == 2) {
        if (filter->id != PACKED_SHUFFLE || filter->value != header->type_size)
            return false;
        packed->item = header->type_size;
        filter++;
        count--;
    }
    packed->level = (int)hs_max(1, hs_min(filter->value, HS_DEFLATE_MOST));
    return count == 1 && filter->id == PACKED_DEFLATE;
}

static bool
packed_take_layout(const hs_ohdr *header, hs_layout *layout)
{
    uint64_t extent = header->type_size, count = 1;

    layout->kind = HS_LAYOUT_CHUNKED;
    layout->rank = header->rank;
    if (header->rank < 1 || header->rank > H5S_MAX_RANK)
        return false;
    for (int i = 0; i < header->rank; i++) {
        uint64_t dim = header->dims[i], chunk = header->chunk_dims[i], chunks;

        if (dim == 0 || chunk == 0)
            return false;
        chunks = dim / chunk + (dim % chunk != 0);
        layout->dims[i] = dim;
        layout->chunk[i] = chunk;
        if (!hs_mul(extent, chunks, &extent) || !hs_mul(extent, chunk, &extent) ||
            !hs_mul(count, chunks, &count))
            return false;
    }
    layout->extent = extent;
    return extent <= INT64_MAX && count >= 2 && count <= PACKED_COUNT_MOST;
}

/* One element of the index; the offset is the address for now. */
static bool
packed_take_chunk(const uint8_t *bytes, uint64_t element, const hs_packed *packed,
                  hs_packed_chunk *chunk)
{
    uint32_t mask = hs_get_le32(bytes + element - 4), all = packed->item > 1 ? 3 : 1;
    uint64_t length = 0;

    for (uint64_t i = element - 4; i-- > 8;)
        length = length << 8 | bytes[i];
    *chunk = (hs_packed_chunk){hs_get_le64(bytes), length, mask != 0};
    return length > 0 &&
           (mask == 0 ? length < packed->chunk_size : mask == all && length == packed->chunk_size);
}

static int
packed_read_chunks(hs_pager *pager, const struct fixed_array *array, hs_packed *packed,
                   h5store_err *err)
{
    for (uint64_t first = 0, count; first < array->count; first += count) {
        HS_CLEANUP(hs_freep) uint8_t *bytes = NULL;
        uint64_t address, length, at;
        int rc;

        (void)fixed_run(array, first, &count);
        rc = fixed_read_run(pager, array, first, &bytes, &address, &length, &at, err);
        if (rc < 0)
            return rc;
        for (uint64_t i = 0; i < count; i++)
            if (!packed_take_chunk(bytes + at + i * array->element, array->element, packed,
                                   &packed->chunks[first + i]))
                return fixed_damaged(err);
    }
    return H5STORE_OK;
}

/* Addresses to offsets; the chunks fill one extent from its beginning to its end. */
static int
packed_place(hs_packed *packed, uint64_t eoa, hs_extent *extent, h5store_err *err)
{
    uint64_t begin = UINT64_MAX, end = 0, length = hs_packed_length(packed);

    for (size_t i = 0; i < packed->count; i++) {
        uint64_t last;

        if (!hs_add(packed->chunks[i].offset, packed->chunks[i].length, &last))
            return fixed_damaged(err);
        begin = hs_min(begin, packed->chunks[i].offset);
        end = hs_max(end, last);
    }
    if (begin % HS_SPACE_UNIT != 0 || end > INT64_MAX || end - begin != length)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "its bytes are not where they must be");
    *extent = (hs_extent){begin, hs_round_up(length, HS_SPACE_UNIT)};
    if (begin + extent->length > eoa)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "its bytes lie beyond the end of the file");
    for (size_t i = 0; i < packed->count; i++)
        packed->chunks[i].offset -= begin;
    return H5STORE_OK;
}

static int
packed_find(hs_pager *pager, const hs_ohdr *header, hs_packed *packed, struct fixed_array *array,
            h5store_err *err)
{
    int rc;

    memset(packed, 0, sizeof *packed);
    if (header->layout != HS_OHDR_FIXED_ARRAY || !packed_take_filters(header, packed) ||
        !packed_take_layout(header, &packed->layout) || header->chunk_size > PACKED_CHUNK_MOST)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "it is not compressed as it must be");
    packed->chunk_size = (size_t)header->chunk_size;
    rc = fixed_find(pager, header->data_address, packed_count(&packed->layout), array, err);
    return rc < 0 ? rc : fixed_check_prefix(pager, array, header->data_address, err);
}

int
hs_packed_parse(hs_pager *pager, const hs_ohdr *header, uint64_t eoa, hs_packed *packed,
                hs_extent *extent, h5store_err *err)
{
    HS_CLEANUP(hs_packed_release) hs_packed found;
    struct fixed_array array;
    int rc = packed_find(pager, header, &found, &array, err);

    if (rc == H5STORE_OK)
        rc = packed_need_chunks(&found, array.count, err);
    if (rc == H5STORE_OK)
        rc = packed_read_chunks(pager, &array, &found, err);
    if (rc == H5STORE_OK)
        rc = packed_place(&found, eoa, extent, err);
    if (rc < 0)
        return rc;
    *packed = found;
    memset(&found, 0, sizeof found);
    return H5STORE_OK;
}

int
hs_packed_blocks(hs_pager *pager, const hs_ohdr *header, hs_ohdr_block blocks[2], h5store_err *err)
{
    hs_packed packed;
    struct fixed_array array;
    int rc = packed_find(pager, header, &packed, &array, err);

    if (rc < 0)
        return rc;
    blocks[0] = (hs_ohdr_block){header->data_address, FIXED_HEADER};
    blocks[1] = (hs_ohdr_block){array.address, array.length};
    return H5STORE_OK;
}

/* ---- writing ---------------------------------------------------------- */

int
hs_packed_set_filters(const hs_packed *packed, hid_t list, h5store_err *err)
{
    if ((packed->item > 1 && H5Pset_shuffle(list) < 0) ||
        H5Pset_deflate(list, (unsigned)packed->level) < 0 ||
        H5Pset_alloc_time(list, H5D_ALLOC_TIME_INCR) < 0)
        return hs_h5_fail(err, H5STORE_E_HDF5, "cannot describe a compressed dataset");
    return H5STORE_OK;
}

int
hs_packed_announce(hs_container *c, hid_t dataset, const hs_packed *packed, hs_extent extent,
                   h5store_err *err)
{
    static const uint8_t nothing; /* the driver does not look at what it does not write */
    const hs_layout *layout = &packed->layout;
    hsize_t at[H5S_MAX_RANK] = {0};

    for (size_t k = 0; k < packed->count; k++) {
        const hs_packed_chunk *chunk = &packed->chunks[k];
        hs_extent place = {extent.address + chunk->offset, chunk->length};
        uint32_t mask = !chunk->raw ? 0 : packed->item > 1 ? 3 : 1;

        hs_container_place(c, place, place.length);
        if (H5Dwrite_chunk(dataset, H5P_DEFAULT, mask, at, (size_t)chunk->length, &nothing) < 0)
            return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5,
                                          "cannot enter a chunk in its dataset");
        if (!hs_container_placed(c))
            return hs_fail(err, H5STORE_E_HDF5, 0, "HDF5 placed a chunk elsewhere");
        for (int i = layout->rank - 1; i >= 0; i--) {
            at[i] += layout->chunk[i];
            if (at[i] < layout->dims[i])
                break;
            at[i] = 0;
        }
    }
    return H5STORE_OK;
}

static void
packed_put_chunk(const hs_packed *packed, const hs_packed_chunk *chunk, hs_extent extent,
                 uint8_t *bytes, uint64_t element)
{
    hs_put_le64(bytes, extent.address + chunk->offset);
    for (uint64_t i = 8; i < element - 4; i++)
        bytes[i] = (uint8_t)(chunk->length >> 8 * (i - 8));
    hs_put_le32(bytes + element - 4, !chunk->raw ? 0 : packed->item > 1 ? 3 : 1);
}

int
hs_packed_rewrite(hs_pager *pager, const hs_ohdr *header, const hs_packed *packed, hs_extent extent,
                  h5store_err *err)
{
    hs_packed old;
    struct fixed_array array;
    int rc = packed_find(pager, header, &old, &array, err);

    if (rc < 0)
        return rc;
    if (old.chunk_size != packed->chunk_size || old.item != packed->item ||
        array.count != packed->count)
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "it is cut otherwise than it was");
    for (uint64_t first = 0, count; first < array.count; first += count) {
        HS_CLEANUP(hs_freep) uint8_t *bytes = NULL;
        uint64_t address, length, at;

        (void)fixed_run(&array, first, &count);
        rc = fixed_read_run(pager, &array, first, &bytes, &address, &length, &at, err);
        if (rc < 0)
            return rc;
        for (uint64_t i = 0; i < count; i++)
            packed_put_chunk(packed, &packed->chunks[first + i], extent,
                             bytes + at + i * array.element, array.element);
        hs_put_le32(bytes + length - FIXED_SUM,
                    hs_ohdr_checksum(bytes, (size_t)(length - FIXED_SUM)));
        rc = hs_pager_write(pager, address, bytes, (size_t)length, err);
        if (rc < 0)
            return rc;
    }
    return H5STORE_OK;
}
