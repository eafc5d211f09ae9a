/* SPDX-License-Identifier: MIT */
/*
 * See deflate_run.h.  Called by deflate.c.  No state.
 */
#include "deflate_run.h"

#define RUN_STEP ((size_t)4096)
#define RUN_CHANGES 16u /* inside a step */
#define RUN_MATCH 258u  /* bytes of the longest match */
#define RUN_SHORT 10u   /* those of 3 to so many bytes have codes without further bits */

/* Bits of a step at most: a literal for each run, matches, and what is left of runs after them. */
#define RUN_BITS \
    ((RUN_CHANGES + 2) * (9 + 12 * (RUN_MATCH / RUN_SHORT + 1) + 2 * 9) + \
     13 * (RUN_STEP / RUN_MATCH))

size_t
hs_run_length(const uint8_t *bytes, size_t size)
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

size_t
hs_run_room(size_t length)
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

size_t
hs_run_code(const uint8_t *bytes, size_t length, uint8_t *to)
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
