/* SPDX-License-Identifier: MIT */
/*
 * Version 3 superblock, all offsets of 8 bytes:
 *
 *   0  signature (8)    8 version   9 size of offsets   10 size of lengths
 *   11 flags            12 base address (8)             20 extension address (8)
 *   28 end of file (8)  36 root group header (8)        44 checksum (4)
 *
 * The checksum is Bob Jenkins' lookup3 hashlittle (public domain, 2006,
 * burtleburtle.net/bob/c/lookup3.c) over bytes 0 to 43 with initial value 0, which the
 * format specification names as its metadata checksum.
 */
#include "superblock.h"

#define SUPERBLOCK_SUMMED 44u
#define SUPERBLOCK_WRITE_ACCESS 0x01u

static uint32_t
superblock_rotate(uint32_t x, int k)
{
    return (x << k) | (x >> (32 - k));
}

/* hashlittle for the one length in use, 44 bytes: three blocks of 12, then 8. */
static uint32_t
superblock_checksum(const uint8_t *bytes)
{
    uint32_t a = 0xdeadbeefu + SUPERBLOCK_SUMMED;
    uint32_t b = a, c = a;

    for (int block = 0; block < 3; block++, bytes += 12) {
        a += hs_get_le32(bytes);
        b += hs_get_le32(bytes + 4);
        c += hs_get_le32(bytes + 8);
        a = (a - c) ^ superblock_rotate(c, 4), c += b;
        b = (b - a) ^ superblock_rotate(a, 6), a += c;
        c = (c - b) ^ superblock_rotate(b, 8), b += a;
        a = (a - c) ^ superblock_rotate(c, 16), c += b;
        b = (b - a) ^ superblock_rotate(a, 19), a += c;
        c = (c - b) ^ superblock_rotate(b, 4), b += a;
    }
    a += hs_get_le32(bytes);
    b += hs_get_le32(bytes + 4);
    c = (c ^ b) - superblock_rotate(b, 14);
    a = (a ^ c) - superblock_rotate(c, 11);
    b = (b ^ a) - superblock_rotate(a, 25);
    c = (c ^ b) - superblock_rotate(b, 16);
    a = (a ^ c) - superblock_rotate(c, 4);
    b = (b ^ a) - superblock_rotate(a, 14);
    c = (c ^ b) - superblock_rotate(b, 24);
    return c;
}

hs_superblock_state
hs_superblock_inspect(const uint8_t bytes[HS_SUPERBLOCK_SIZE])
{
    static const uint8_t signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

    if (memcmp(bytes, signature, sizeof signature) != 0)
        return HS_SUPERBLOCK_NONE;
    if (bytes[8] != 3 || bytes[9] != 8 || bytes[10] != 8)
        return HS_SUPERBLOCK_OTHER;
    if (hs_get_le32(bytes + SUPERBLOCK_SUMMED) != superblock_checksum(bytes))
        return HS_SUPERBLOCK_BROKEN;
    return HS_SUPERBLOCK_GOOD;
}

uint64_t
hs_superblock_eoa(const uint8_t bytes[HS_SUPERBLOCK_SIZE])
{
    return hs_get_le64(bytes + 28);
}

uint64_t
hs_superblock_root(const uint8_t bytes[HS_SUPERBLOCK_SIZE])
{
    return hs_get_le64(bytes + 36);
}

bool
hs_superblock_is_marked(const uint8_t bytes[HS_SUPERBLOCK_SIZE])
{
    return (bytes[11] & SUPERBLOCK_WRITE_ACCESS) != 0;
}

void
hs_superblock_set_eoa(uint8_t bytes[HS_SUPERBLOCK_SIZE], uint64_t eoa)
{
    hs_put_le64(bytes + 28, eoa);
    hs_put_le32(bytes + SUPERBLOCK_SUMMED, superblock_checksum(bytes));
}

void
hs_superblock_set_mark(uint8_t bytes[HS_SUPERBLOCK_SIZE], bool marked)
{
    bytes[11] = marked ? bytes[11] | SUPERBLOCK_WRITE_ACCESS
                       : bytes[11] & (uint8_t)~SUPERBLOCK_WRITE_ACCESS;
    hs_put_le32(bytes + SUPERBLOCK_SUMMED, superblock_checksum(bytes));
}
