/* SPDX-License-Identifier: MIT */
/*
 * Version 3 superblock, all offsets of 8 bytes:
 *
 *   0  signature (8)    8 version   9 size of offsets   10 size of lengths
 *   11 flags            12 base address (8)             20 extension address (8)
 *   28 end of file (8)  36 root group header (8)        44 checksum (4)
 *
 * The checksum is HDF5's metadata checksum (ohdr.h) over bytes 0 to 43.
 */
#include "superblock.h"
#include "ohdr.h"

#define SUPERBLOCK_SUMMED 44u
#define SUPERBLOCK_WRITE_ACCESS 0x01u

hs_superblock_state
hs_superblock_inspect(const uint8_t bytes[HS_SUPERBLOCK_SIZE])
{
    static const uint8_t signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

    if (memcmp(bytes, signature, sizeof signature) != 0)
        return HS_SUPERBLOCK_NONE;
    if (bytes[8] != 3 || bytes[9] != 8 || bytes[10] != 8)
        return HS_SUPERBLOCK_OTHER;
    if (hs_get_le32(bytes + SUPERBLOCK_SUMMED) != hs_ohdr_checksum(bytes, SUPERBLOCK_SUMMED))
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
    hs_put_le32(bytes + SUPERBLOCK_SUMMED, hs_ohdr_checksum(bytes, SUPERBLOCK_SUMMED));
}

void
hs_superblock_set_mark(uint8_t bytes[HS_SUPERBLOCK_SIZE], bool marked)
{
    bytes[11] = marked ? bytes[11] | SUPERBLOCK_WRITE_ACCESS
                       : bytes[11] & (uint8_t)~SUPERBLOCK_WRITE_ACCESS;
    hs_put_le32(bytes + SUPERBLOCK_SUMMED, hs_ohdr_checksum(bytes, SUPERBLOCK_SUMMED));
}
