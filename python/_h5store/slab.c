/* SPDX-License-Identifier: MIT */
/*
 * Memory for the many middling arrays of a result.
 *
 * A result of a hundred arrays of 1 MiB needs 25,600 new pages of 4 KiB; getting them took
 * longer than reading and checking what goes there.  Large pages take a quarter of that, but
 * one is 2 MiB and has to be aligned, which malloc's memory for such arrays is not.  So arrays
 * of 64 KiB to 4 MiB are cut, one behind the other, from slabs: 8 MiB that begin with a large
 * page and were asked for as such.
 *
 * What is dead in a slab is not handed out again, which keeps this simple; what that can cost
 * is bounded:
 *
 *   - a slab without a living block is unmapped, or, if it is the one that is cut from, begun
 *     anew: arrays read and dropped one after another get the same warm memory;
 *   - in all others, as soon as less than a quarter is alive, the pages of the dead go back to
 *     the system.  So somebody who keeps one array of each result keeps at most four times
 *     what he sees, and one slab.
 *
 * A slab is found from a block by its address: its first block lies at a multiple of
 * SLAB_SIZE, and its head on the page before.  A block that is larger than a slab (a realloc
 * may want one) is alone in one that is as long as it has to be.
 */
#include "slab.h"
#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define SLAB_SIZE ((size_t)8 * 1024 * 1024)
#define SLAB_PAGE ((size_t)4096)
#define SLAB_PARTS 128u /* SLAB_SIZE / SLAB_LEAST */

typedef struct slab {
    size_t length; /* bytes behind the head */
    size_t used;   /* of these, bytes handed out, now dead or not */
    size_t live;
    unsigned count;
    struct slab_part {
        size_t at, size; /* whole pages */
        bool dead;
        bool returned; /* to the system */
    } parts[SLAB_PARTS];
} slab;

static_assert(sizeof(slab) <= SLAB_PAGE, "the head of a slab is one page");

static pthread_mutex_t slab_mutex = PTHREAD_MUTEX_INITIALIZER;
static slab *slab_current; /* the one that blocks are cut from, or NULL */

static void
slab_lock(void)
{
    pthread_mutex_lock(&slab_mutex);
}

static void
slab_unlock(void)
{
    pthread_mutex_unlock(&slab_mutex);
}

static void
slab_start_once(void)
{
    /* Without it, only a fork while another thread is in here would be stuck. */
    (void)pthread_atfork(slab_lock, slab_unlock, slab_unlock);
}

void
slab_start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, slab_start_once);
}

static uint8_t *
slab_bytes(slab *one)
{
    return (uint8_t *)one + SLAB_PAGE;
}

static slab *
slab_of(const void *block)
{
    return (slab *)(((uintptr_t)block & ~(SLAB_SIZE - 1)) - SLAB_PAGE);
}

static struct slab_part *
slab_part_of(slab *one, const void *block)
{
    size_t at = (size_t)((const uint8_t *)block - slab_bytes(one));
    unsigned low = 0, high = one->count;

    while (high - low > 1) {
        unsigned middle = low + (high - low) / 2;

        if (one->parts[middle].at <= at)
            low = middle;
        else
            high = middle;
    }
    assert(low < one->count && one->parts[low].at == at && !one->parts[low].dead);
    return &one->parts[low];
}

/* A slab of @p length bytes, whole pages; NULL without memory. */
static slab *
slab_map(size_t length)
{
    size_t whole = SLAB_SIZE + SLAB_PAGE + length, before;
    uint8_t *mapped, *begin;

    if (length > PTRDIFF_MAX - SLAB_SIZE - SLAB_PAGE)
        return NULL;
    mapped = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return NULL;
    begin = (uint8_t *)(((uintptr_t)mapped + SLAB_PAGE + SLAB_SIZE - 1) & ~(SLAB_SIZE - 1));
    before = (size_t)(begin - SLAB_PAGE - mapped);
    if (before > 0)
        munmap(mapped, before);
    if (whole - before > SLAB_PAGE + length)
        munmap(begin + length, whole - before - SLAB_PAGE - length);
    (void)madvise(begin, length, MADV_HUGEPAGE); /* refused: nothing is lost but time */
    ((slab *)(begin - SLAB_PAGE))->length = length;
    return (slab *)(begin - SLAB_PAGE);
}

/* Whether @p one is of use to those who come next: it was unmapped if not. */
static void
slab_settle(slab *one)
{
    if (one->live == 0 && one == slab_current) {
        one->used = one->count = 0;
    } else if (one->live == 0) {
        munmap(one, SLAB_PAGE + one->length);
    } else if (one != slab_current && one->live < one->used / 4) {
        for (unsigned i = 0; i < one->count; i++) {
            struct slab_part *part = &one->parts[i];

            if (part->dead && !part->returned)
                part->returned = madvise(slab_bytes(one) + part->at, part->size, MADV_DONTNEED) ==
                                 0;
        }
    }
}

void *
slab_malloc(size_t size)
{
    size_t length = (size + SLAB_PAGE - 1) & ~(SLAB_PAGE - 1);
    slab *one, *before = NULL;
    void *block = NULL;

    if (length == 0)
        length = size == 0 ? SLAB_PAGE : SIZE_MAX; /* SIZE_MAX: it would not fit in a size_t */
    slab_lock();
    one = slab_current;
    if (length > SLAB_SIZE) {
        one = slab_map(length);
    } else if (one == NULL || one->count == SLAB_PARTS || one->length - one->used < length) {
        one = slab_map(SLAB_SIZE);
        if (one != NULL) {
            before = slab_current;
            slab_current = one;
        }
    }
    if (one != NULL) {
        block = slab_bytes(one) + one->used;
        one->parts[one->count++] = (struct slab_part){.at = one->used, .size = length};
        one->used += length;
        one->live += length;
    }
    if (before != NULL)
        slab_settle(before);
    slab_unlock();
    return block;
}

void *
slab_calloc(size_t count, size_t size)
{
    void *block;

    if (size > 0 && count > PTRDIFF_MAX / size)
        return NULL;
    block = slab_malloc(count * size);
    if (block != NULL)
        memset(block, 0, count * size);
    return block;
}

void *
slab_realloc(void *block, size_t size)
{
    void *moved = slab_malloc(size);
    size_t before;

    if (moved == NULL || block == NULL)
        return moved;
    slab_lock();
    before = slab_part_of(slab_of(block), block)->size;
    slab_unlock();
    memcpy(moved, block, before < size ? before : size);
    slab_free(block);
    return moved;
}

void
slab_free(void *block)
{
    slab *one;
    struct slab_part *part;

    if (block == NULL)
        return;
    one = slab_of(block);
    slab_lock();
    part = slab_part_of(one, block);
    part->dead = true;
    one->live -= part->size;
    slab_settle(one);
    slab_unlock();
}
