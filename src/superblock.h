/* SPDX-License-Identifier: MIT */
/*
 * The few bytes of the HDF5 format that the library must understand by itself: the
 * version 3 superblock ("HDF5 File Format Specification", II.A), its checksum, its
 * end-of-file address, and its "open for write" flag.  Pure functions.
 */
#ifndef HS_SUPERBLOCK_H
#define HS_SUPERBLOCK_H

#include "common.h"

#define HS_SUPERBLOCK_SIZE 48u

/* What the bytes at the start of the file are. */
typedef enum hs_superblock_state {
    HS_SUPERBLOCK_NONE,   /* no HDF5 signature */
    HS_SUPERBLOCK_OTHER,  /* HDF5, but not version 3 with 8-byte offsets */
    HS_SUPERBLOCK_BROKEN, /* ours to see, but the checksum is wrong */
    HS_SUPERBLOCK_GOOD
} hs_superblock_state;

hs_superblock_state hs_superblock_inspect(const uint8_t bytes[HS_SUPERBLOCK_SIZE]);

/* Meaningful when GOOD. */
uint64_t hs_superblock_eoa(const uint8_t bytes[HS_SUPERBLOCK_SIZE]);
uint64_t hs_superblock_root(const uint8_t bytes[HS_SUPERBLOCK_SIZE]); /* its object header */
bool hs_superblock_is_marked(const uint8_t bytes[HS_SUPERBLOCK_SIZE]);

/* Change one field and the checksum. */
void hs_superblock_set_eoa(uint8_t bytes[HS_SUPERBLOCK_SIZE], uint64_t eoa);

/* The mark is the flag by which stock HDF5 refuses a file as "already open for
 * write": it stands while pages are being applied, so that a file left half-applied by
 * a killed process is refused and not misread. */
void hs_superblock_set_mark(uint8_t bytes[HS_SUPERBLOCK_SIZE], bool marked);

#endif
