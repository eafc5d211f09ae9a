/* SPDX-License-Identifier: MIT */
/*
 * SHA-256 of two messages of the same length at once, by the SHA instructions of x86.
 */
#ifndef HS_SHA_PAIR_H
#define HS_SHA_PAIR_H

#include "common.h"

/* Does this machine have them?  Otherwise hs_sha_pair must not be called. */
bool hs_sha_pair_available(void);

/* Digest @p size bytes at @p first and at @p second. */
void hs_sha_pair(const void *first, const void *second, size_t size, uint8_t first_digest[32],
                 uint8_t second_digest[32]);

#endif
