/* SPDX-License-Identifier: MIT */
/*
 * See deflate.h.  Called by packed_bytes.c.  No state but the caller's.
 *
 * Shuffling is a transposition of bytes.  Items of 2, 4, 8 or 16 bytes are taken 16 at a
 * time, in vectors: separating even from odd bytes as often as the item can be halved leaves
 * one vector for each byte of the item, and interleaving undoes it.
 */
#include "deflate.h"
#include "deflate_run.h"
#include <assert.h>
#include <libdeflate.h>

#if defined(__SSE2__)
#include <emmintrin.h>

#define SHUFFLE_LANES 16u

/*
 * One round turns vectors a0 a1 a2 a3 ... into those of all even bytes, then those of all odd
 * ones.  After the last round the vector of byte b of the items stands at place b.
 */
static inline void
shuffle_separate(__m128i *v, size_t count)
{
    const __m128i low = _mm_set1_epi16(0x00ff);
    __m128i even[SHUFFLE_LANES], odd[SHUFFLE_LANES];

    for (size_t round = 1; round < count; round *= 2) {
        for (size_t i = 0; i < count / 2; i++) {
            __m128i a = v[2 * i], b = v[2 * i + 1];

            even[i] = _mm_packus_epi16(_mm_and_si128(a, low), _mm_and_si128(b, low));
            odd[i] = _mm_packus_epi16(_mm_srli_epi16(a, 8), _mm_srli_epi16(b, 8));
        }
        for (size_t i = 0; i < count / 2; i++) {
            v[i] = even[i];
            v[count / 2 + i] = odd[i];
        }
    }
}

/* The rounds the other way: vector i with the one half of them further on. */
static inline void
shuffle_interleave(__m128i *v, size_t count)
{
    __m128i made[SHUFFLE_LANES];

    for (size_t round = 1; round < count; round *= 2) {
        for (size_t i = 0; i < count / 2; i++) {
            made[2 * i] = _mm_unpacklo_epi8(v[i], v[count / 2 + i]);
            made[2 * i + 1] = _mm_unpackhi_epi8(v[i], v[count / 2 + i]);
        }
        for (size_t i = 0; i < count; i++)
            v[i] = made[i];
    }
}

static inline void
shuffle_vectors(const uint8_t *from, size_t items, size_t count, uint8_t *to)
{
    __m128i v[SHUFFLE_LANES];

    for (size_t i = 0; i + SHUFFLE_LANES <= items; i += SHUFFLE_LANES) {
        for (size_t k = 0; k < count; k++)
            v[k] = _mm_loadu_si128((const __m128i *)(from + i * count) + k);
        shuffle_separate(v, count);
        for (size_t k = 0; k < count; k++)
            _mm_storeu_si128((__m128i *)(to + k * items + i), v[k]);
    }
}

static inline void
unshuffle_vectors(const uint8_t *from, size_t items, size_t count, uint8_t *to)
{
    __m128i v[SHUFFLE_LANES];

    for (size_t i = 0; i + SHUFFLE_LANES <= items; i += SHUFFLE_LANES) {
        for (size_t k = 0; k < count; k++)
            v[k] = _mm_loadu_si128((const __m128i *)(from + k * items + i));
        shuffle_interleave(v, count);
        for (size_t k = 0; k < count; k++)
            _mm_storeu_si128((__m128i *)(to + i * count) + k, v[k]);
    }
}

/* How many items were done by vectors.  Their size is a constant, so the loops unroll. */
#define SHUFFLE_BY_SIZE(function, from, items, item, to) \
    switch (item) { \
    case 2: \
        function(from, items, 2, to); \
        break; \
    case 4: \
        function(from, items, 4, to); \
        break; \
    case 8: \
        function(from, items, 8, to); \
        break; \
    case 16: \
        function(from, items, 16, to); \
        break; \
    default: \
        return 0; \
    } \
    return items / SHUFFLE_LANES * SHUFFLE_LANES

static size_t
shuffle_some(const uint8_t *from, size_t items, size_t item, uint8_t *to)
{
    SHUFFLE_BY_SIZE(shuffle_vectors, from, items, item, to);
}

static size_t
unshuffle_some(const uint8_t *from, size_t items, size_t item, uint8_t *to)
{
    SHUFFLE_BY_SIZE(unshuffle_vectors, from, items, item, to);
}

#else

static size_t
shuffle_some(const uint8_t *from HS_UNUSED, size_t items HS_UNUSED, size_t item HS_UNUSED,
             uint8_t *to HS_UNUSED)
{
    return 0;
}

static size_t
unshuffle_some(const uint8_t *from HS_UNUSED, size_t items HS_UNUSED, size_t item HS_UNUSED,
               uint8_t *to HS_UNUSED)
{
    return 0;
}

#endif

void
hs_shuffle(const void *from, size_t size, size_t item, void *to)
{
    const uint8_t *bytes = from;
    uint8_t *planes = to;
    size_t items, done;

    assert(item > 0 && size % item == 0);
    items = size / item;
    done = shuffle_some(bytes, items, item, planes);
    for (size_t k = 0; k < item; k++)
        for (size_t i = done; i < items; i++)
            planes[k * items + i] = bytes[i * item + k];
}

void
hs_unshuffle(const void *from, size_t size, size_t item, void *to)
{
    const uint8_t *planes = from;
    uint8_t *bytes = to;
    size_t items, done;

    assert(item > 0 && size % item == 0);
    items = size / item;
    done = unshuffle_some(planes, items, item, bytes);
    for (size_t k = 0; k < item; k++)
        for (size_t i = done; i < items; i++)
            bytes[i * item + k] = planes[k * items + i];
}

/* ---- deflating ------------------------------------------------------------------------- */

struct hs_deflater {
    struct libdeflate_compressor *compressor; /* NULL: for inflating only */
    struct libdeflate_decompressor *decompressor;
    size_t size;
    uint8_t shuffled[];
};

int
hs_deflater_new(size_t size, int level, hs_deflater **deflater, h5store_err *err)
{
    HS_CLEANUP(hs_deflater_freep) hs_deflater *made = NULL;

    assert(level >= 0 && level <= HS_DEFLATE_MOST);
    if (size <= SIZE_MAX - sizeof *made)
        made = malloc(sizeof *made + size);
    if (made == NULL)
        return hs_fail_nomem(err, size, "compression");
    *made = (hs_deflater){.size = size};
    if (level > 0)
        made->compressor = libdeflate_alloc_compressor(level);
    else
        made->decompressor = libdeflate_alloc_decompressor();
    if (made->compressor == NULL && made->decompressor == NULL)
        return hs_fail_nomem(err, 0, "compression");
    *deflater = hs_take(&made);
    return H5STORE_OK;
}

void
hs_deflater_freep(hs_deflater **deflater)
{
    if (*deflater != NULL) {
        libdeflate_free_compressor((*deflater)->compressor);
        libdeflate_free_decompressor((*deflater)->decompressor);
    }
    hs_freep(deflater);
}

/* A zlib stream (RFC 1950) of bytes of which the first so many hardly ever change. */
static size_t
deflate_after_run(hs_deflater *deflater, const uint8_t *bytes, size_t size, size_t run,
                  uint8_t *packed, size_t room)
{
    size_t length = 2, rest;
    uint32_t sum;

    if (room < 2 + hs_run_room(run) + 4)
        return 0;
    packed[0] = 0x78;
    packed[1] = 0x01;
    length += hs_run_code(bytes, run, packed + length);
    rest = libdeflate_deflate_compress(deflater->compressor, bytes + run, size - run,
                                       packed + length, room - length - 4);
    if (rest == 0)
        return 0;
    length += rest;
    sum = libdeflate_adler32(1, bytes, size);
    for (unsigned shift = 32; shift > 0; shift -= 8)
        packed[length++] = (uint8_t)(sum >> (shift - 8));
    return length;
}

size_t
hs_deflate(hs_deflater *deflater, const void *bytes, size_t size, size_t item, void *packed,
           size_t room)
{
    size_t run;

    assert(deflater->compressor != NULL && size <= deflater->size);
    if (item > 1) {
        hs_shuffle(bytes, size, item, deflater->shuffled);
        bytes = deflater->shuffled;
    }
    run = hs_run_length(bytes, size);
    if (run > 0)
        return deflate_after_run(deflater, bytes, size, run, packed, room);
    return libdeflate_zlib_compress(deflater->compressor, bytes, size, packed, room);
}

bool
hs_inflate(hs_deflater *deflater, const void *packed, size_t length, size_t item, void *bytes,
           size_t size)
{
    void *inflated = item > 1 ? deflater->shuffled : bytes;

    assert(deflater->decompressor != NULL && size <= deflater->size);
    if (libdeflate_zlib_decompress(deflater->decompressor, packed, length, inflated, size, NULL) !=
        LIBDEFLATE_SUCCESS)
        return false;
    if (item > 1)
        hs_unshuffle(deflater->shuffled, size, item, bytes);
    return true;
}
