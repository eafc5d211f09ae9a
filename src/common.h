/* SPDX-License-Identifier: MIT */
/*
 * What every file of the library may use: attributes, cleanup macros, checked
 * size arithmetic, little-endian loads and stores.  No state, no system calls.
 */
#ifndef HS_COMMON_H
#define HS_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define HS_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define HS_UNUSED __attribute__((unused))

/*
 * HS_CLEANUP(f) type name = ...;  calls f(&name) when the scope ends.  Only for
 * release; what must be undone on failure alone has a label.
 */
#define HS_CLEANUP(function) __attribute__((cleanup(function)))

/* Takes the address of any pointer that malloc gave. */
static inline void
hs_freep(void *pointer)
{
    free(*(void **)pointer);
}

/* Hand a pointer over to the caller: the cleanup of @p pointer then does nothing. */
static inline void *
hs_take(void *pointer)
{
    void *taken = *(void **)pointer;

    *(void **)pointer = NULL;
    return taken;
}

/* Checked arithmetic: true and a result, or false on overflow. */
static inline bool
hs_add(uint64_t a, uint64_t b, uint64_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

static inline bool
hs_mul(uint64_t a, uint64_t b, uint64_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

/* Round up to a multiple of a power of two; the caller knows that it fits. */
static inline uint64_t
hs_round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) & ~(unit - 1);
}

static inline uint64_t
hs_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t
hs_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Integers in files are little-endian and may lie anywhere. */
static inline void
hs_put_le32(uint8_t *p, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

static inline void
hs_put_le64(uint8_t *p, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

static inline uint32_t
hs_get_le32(const uint8_t *p)
{
    uint32_t value = 0;

    for (int i = 0; i < 4; i++)
        value |= (uint32_t)p[i] << (8 * i);
    return value;
}

static inline uint64_t
hs_get_le64(const uint8_t *p)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}

#endif
