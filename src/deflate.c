/* SPDX-License-Identifier: MIT */
/*
 * See deflate.h.  Called by packed_bytes.c.  No state but the caller's.
 *
 * Shuffling is a transposition of bytes.  Items of 2, 4, 8 or 16 bytes are taken 16 at a
 * time, in vectors: separating even from odd bytes as often as the item can be halved leaves
 * one vector for each byte of the item, and interleaving undoes it.
 *
 * What is shuffled often begins with bytes that hardly ever change: the low bytes of whole
 * numbers, or of single precision, that are kept as doubles.  libdeflate takes 410 MB/s over zeros
 * (1.14, measured), so such a beginning is coded here, as a block of its own, with the fixed code
 * of RFC 1951: literals, and matches at distance 1.  What follows it libdeflate makes as ever.
 */
#include "deflate.h"
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

#define RUN_STEP ((size_t)4096)
#define RUN_CHANGES 16u /* inside a step */
#define RUN_MATCH 258u  /* bytes of the longest match */
#define RUN_SHORT 10u   /* those of 3 to so many bytes have codes without further bits */

/* Bits of a step at most: a literal for each run, matches, and what is left of runs after them. */
#define RUN_BITS \
    ((RUN_CHANGES + 2) * (9 + 12 * (RUN_MATCH / RUN_SHORT + 1) + 2 * 9) + \
     13 * (RUN_STEP / RUN_MATCH))

/* How many bytes at the beginning hardly ever change: a multiple of RUN_STEP. */
static size_t
run_length(const uint8_t *bytes, size_t size)
{
    size_t length = 0;

    for (; length + RUN_STEP <= size; length += RUN_STEP) {
        const uint8_t *step = bytes + length;
        unsigned changes = 0;

        for (size_t i = 1; i < RUN_STEP; i++)
            changes += step[i] != step[i - 1];
        if (changes > RUN_CHANGES)
            break;
    }
    return length;
}

/* How many of the bytes up to @p end are like the first one. */
static size_t
run_equal(const uint8_t *bytes, const uint8_t *end)
{
    const uint64_t all = bytes[0] * UINT64_C(0x0101010101010101);
    const uint8_t *at = bytes;
    uint64_t word;

    for (; end - at >= 8; at += 8) {
        memcpy(&word, at, 8);
        if (word != all)
            break;
    }
    while (at < end && *at == bytes[0])
        at++;
    return (size_t)(at - bytes);
}

struct run_bits {
    uint8_t *to;
    uint64_t held; /* bits that are not written yet, the first one lowest */
    unsigned count;
};

static void
run_put(struct run_bits *bits, uint32_t value, unsigned count)
{
    bits->held |= (uint64_t)value << bits->count;
    for (bits->count += count; bits->count >= 8; bits->count -= 8, bits->held >>= 8)
        *bits->to++ = (uint8_t)bits->held;
}

/* A Huffman code: its highest bit comes first. */
static void
run_put_code(struct run_bits *bits, uint32_t code, unsigned count)
{
    while (count > 0)
        run_put(bits, (code >> --count) & 1, 1);
}

static void
run_put_literal(struct run_bits *bits, uint8_t byte)
{
    if (byte < 144)
        run_put_code(bits, 0x30u + byte, 8);
    else
        run_put_code(bits, 0x190u + (byte - 144u), 9);
}

/* A match at distance 1, whose code is 0. */
static void
run_put_match(struct run_bits *bits, size_t length)
{
    if (length == RUN_MATCH)
        run_put_code(bits, 0xC5, 8);
    else
        run_put_code(bits, (uint32_t)length - 2, 7);
    run_put_code(bits, 0, 5);
}

/* Bytes that run_code takes at most. */
static size_t
run_room(size_t length)
{
    return length / RUN_STEP * (RUN_BITS / 8 + 1) + 8;
}

/* A byte so many times. */
static void
run_put_run(struct run_bits *bits, uint8_t byte, size_t length)
{
    run_put_literal(bits, byte);
    for (length--; length >= RUN_MATCH; length -= RUN_MATCH)
        run_put_match(bits, RUN_MATCH);
    for (size_t part; length >= 3; length -= part) {
        part = hs_min(length, RUN_SHORT);
        run_put_match(bits, part);
    }
    for (; length > 0; length--)
        run_put_literal(bits, byte);
}

/* A block that is not the last, and an empty one that ends with a whole byte.  Returns the length.
 */
static size_t
run_code(const uint8_t *bytes, size_t length, uint8_t *to)
{
    static const uint8_t empty[] = {0, 0, 0xFF, 0xFF};
    const uint8_t *end = bytes + length;
    struct run_bits bits = {.to = to};

    run_put(&bits, 0x2, 3); /* not the last; the fixed code */
    for (size_t equal; bytes < end; bytes += equal) {
        equal = run_equal(bytes, end);
        run_put_run(&bits, bytes[0], equal);
    }
    run_put_code(&bits, 0, 7); /* the end of the block */
    run_put(&bits, 0, 3);      /* not the last; stored */
    run_put(&bits, 0, (8 - bits.count) % 8);
    memcpy(bits.to, empty, sizeof empty);
    return (size_t)(bits.to - to) + sizeof empty;
}

/* A zlib stream (RFC 1950) of bytes of which the first so many hardly ever change. */
static size_t
deflate_after_run(hs_deflater *deflater, const uint8_t *bytes, size_t size, size_t run,
                  uint8_t *packed, size_t room)
{
    size_t length = 2, rest;
    uint32_t sum;

    if (room < 2 + run_room(run) + 4)
        return 0;
    packed[0] = 0x78;
    packed[1] = 0x01;
    length += run_code(bytes, run, packed + length);
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
    run = run_length(bytes, size);
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
