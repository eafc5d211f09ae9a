/* SPDX-License-Identifier: MIT */
/*
 * Two SHA-256 computations interleaved in one thread.
 *
 * Why: SHA256RNDS2 has a latency of four cycles and depends on the one before it, so one
 * message leaves half of the unit idle.  Two messages side by side fill it.  More than two
 * gain nothing and run out of registers.
 *
 * The algorithm is FIPS 180-4; the use of the instructions follows "Intel SHA Extensions"
 * (Gulley et al., 2013): the state is kept as ABEF and CDGH, and four rounds take one
 * vector of the message schedule.  digest.c decides when to use it, and its tests compare
 * it with OpenSSL at all lengths.
 */
#include "sha_pair.h"
#include <assert.h>

#if defined(__x86_64__) && defined(__GNUC__)

#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>

#define SHA_BLOCK 64u
#define SHA_TARGET __attribute__((target("sha,sse4.1,ssse3")))

static const uint32_t sha_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* A, B ... H as one would write them; sha_pack makes ABEF and CDGH of them. */
static const uint32_t sha_start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

typedef struct sha_lane {
    __m128i abef, cdgh;
} sha_lane;

static bool
sha_ask(void)
{
    unsigned a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_SSE4_1) == 0 || (c & bit_SSSE3) == 0)
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA) != 0;
}

/*
 * Asked once: in a virtual machine each CPUID is an exit to the hypervisor, and the four of them
 * took 15 us (measured), a third of what a piece of 64 KiB takes.  Threads that come at once ask
 * each for itself.
 */
bool
hs_sha_pair_available(void)
{
    enum { UNKNOWN, NO, YES };
    static atomic_int known;
    int answer = atomic_load_explicit(&known, memory_order_relaxed);

    if (answer == UNKNOWN) {
        answer = sha_ask() ? YES : NO;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == YES;
}

SHA_TARGET static inline sha_lane
sha_begin(void)
{
    __m128i dcba = _mm_loadu_si128((const __m128i *)sha_start);
    __m128i hgfe = _mm_loadu_si128((const __m128i *)(sha_start + 4));
    __m128i cdab = _mm_shuffle_epi32(dcba, 0xB1), efgh = _mm_shuffle_epi32(hgfe, 0x1B);

    return (sha_lane){_mm_alignr_epi8(cdab, efgh, 8), _mm_blend_epi16(efgh, cdab, 0xF0)};
}

SHA_TARGET static inline void
sha_end(sha_lane lane, uint8_t digest[32])
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i feba = _mm_shuffle_epi32(lane.abef, 0x1B), dchg = _mm_shuffle_epi32(lane.cdgh, 0xB1);
    __m128i dcba = _mm_blend_epi16(feba, dchg, 0xF0), hgfe = _mm_alignr_epi8(dchg, feba, 8);

    _mm_storeu_si128((__m128i *)digest, _mm_shuffle_epi8(dcba, swap));
    _mm_storeu_si128((__m128i *)(digest + 16), _mm_shuffle_epi8(hgfe, swap));
}

/* The vector of the message schedule for rounds 4 * group ..., group >= 4. */
SHA_TARGET static inline __m128i
sha_schedule(const __m128i w[4], int group)
{
    __m128i last = w[(group + 3) % 4];
    __m128i sum = _mm_sha256msg1_epu32(w[group % 4], w[(group + 1) % 4]);

    sum = _mm_add_epi32(sum, _mm_alignr_epi8(last, w[(group + 2) % 4], 4));
    return _mm_sha256msg2_epu32(sum, last);
}

SHA_TARGET static inline void
sha_rounds(sha_lane *lane, __m128i wk)
{
    lane->cdgh = _mm_sha256rnds2_epu32(lane->cdgh, lane->abef, wk);
    lane->abef = _mm_sha256rnds2_epu32(lane->abef, lane->cdgh, _mm_shuffle_epi32(wk, 0x0E));
}

SHA_TARGET static void
sha_blocks(sha_lane *first, sha_lane *second, const uint8_t *p, const uint8_t *q, size_t blocks)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    sha_lane a = *first, b = *second;

    for (; blocks > 0; blocks--, p += SHA_BLOCK, q += SHA_BLOCK) {
        sha_lane a_before = a, b_before = b;
        __m128i w[4], v[4];

#pragma GCC unroll 16
        for (int group = 0; group < 16; group++) {
            __m128i k = _mm_loadu_si128((const __m128i *)(sha_constants + 4 * group));

            if (group < 4) {
                w[group] = _mm_loadu_si128((const __m128i *)p + group);
                v[group] = _mm_loadu_si128((const __m128i *)q + group);
                w[group] = _mm_shuffle_epi8(w[group], swap);
                v[group] = _mm_shuffle_epi8(v[group], swap);
            } else {
                w[group % 4] = sha_schedule(w, group);
                v[group % 4] = sha_schedule(v, group);
            }
            sha_rounds(&a, _mm_add_epi32(w[group % 4], k));
            sha_rounds(&b, _mm_add_epi32(v[group % 4], k));
        }
        a.abef = _mm_add_epi32(a.abef, a_before.abef);
        a.cdgh = _mm_add_epi32(a.cdgh, a_before.cdgh);
        b.abef = _mm_add_epi32(b.abef, b_before.abef);
        b.cdgh = _mm_add_epi32(b.cdgh, b_before.cdgh);
    }
    *first = a;
    *second = b;
}

/* The last bytes, the bit 1, zeros, and the length in bits, big-endian.  Returns blocks. */
static size_t
sha_pad(uint8_t padded[2 * SHA_BLOCK], const uint8_t *rest, size_t length, uint64_t size)
{
    size_t blocks = length + 9 > SHA_BLOCK ? 2 : 1;

    memset(padded, 0, 2 * SHA_BLOCK);
    if (length > 0)
        memcpy(padded, rest, length);
    padded[length] = 0x80;
    for (int i = 0; i < 8; i++)
        padded[blocks * SHA_BLOCK - 1 - (size_t)i] = (uint8_t)((size * 8) >> (8 * i));
    return blocks;
}

SHA_TARGET void
hs_sha_pair(const void *first, const void *second, size_t size, uint8_t first_digest[32],
            uint8_t second_digest[32])
{
    const uint8_t *p = first, *q = second;
    uint8_t p_end[2 * SHA_BLOCK], q_end[2 * SHA_BLOCK];
    size_t whole = size / SHA_BLOCK, rest = size % SHA_BLOCK, blocks;
    sha_lane a = sha_begin(), b = a;

    sha_blocks(&a, &b, p, q, whole);
    blocks = sha_pad(p_end, p + whole * SHA_BLOCK, rest, size);
    (void)sha_pad(q_end, q + whole * SHA_BLOCK, rest, size);
    sha_blocks(&a, &b, p_end, q_end, blocks);
    sha_end(a, first_digest);
    sha_end(b, second_digest);
}

#else

bool
hs_sha_pair_available(void)
{
    return false;
}

void
hs_sha_pair(const void *first HS_UNUSED, const void *second HS_UNUSED, size_t size HS_UNUSED,
            uint8_t first_digest[32] HS_UNUSED, uint8_t second_digest[32] HS_UNUSED)
{
    assert(!"hs_sha_pair called without the instructions");
}

#endif
