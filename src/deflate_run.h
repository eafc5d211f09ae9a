/* SPDX-License-Identifier: MIT */
/*
 * A beginning of bytes that hardly ever change, as a block of deflate (RFC 1951).
 *
 * What is shuffled often begins so: the low bytes of whole numbers, or of single precision, that
 * are kept as doubles.  libdeflate takes 410 MB/s over zeros (1.14, measured).  Here they become
 * literals and matches at distance 1, in the fixed code, at several times that.
 */
#ifndef HS_DEFLATE_RUN_H
#define HS_DEFLATE_RUN_H

#include "common.h"

/* How many bytes at the beginning hardly ever change; 0: it is not worth while. */
size_t hs_run_length(const uint8_t *bytes, size_t size);

/* Bytes that hs_run_code takes at most for so many. */
size_t hs_run_room(size_t length);

/* Code them: a block that is not the last, and an empty one that ends with a whole byte, so that
 * any stream may follow.  Returns the length. */
size_t hs_run_code(const uint8_t *bytes, size_t length, uint8_t *to);

#endif
