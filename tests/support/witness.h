/* SPDX-License-Identifier: MIT */
/*
 * The witness of a torture run: a file for each writer, outside the store, in which it notes
 * what it is about to do before it calls the store, and that it was acknowledged after.  Who
 * reads it knows for each key the states that it may be in: what was last acknowledged, and
 * what was begun since.
 *
 * A note is one write of 16 bytes to a file opened with O_APPEND: a killed process has made
 * it or not.  State 0 is "not there".
 */
#ifndef WITNESS_H
#define WITNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WITNESS_KEYS 40
#define WITNESS_ALL UINT32_MAX /* a note about the keys below WITNESS_GROUP */
#define WITNESS_GROUP 24
#define WITNESS_MOST 128

enum { WITNESS_BEGIN = 1, WITNESS_ACK = 2 };

/* The writer's side. */
int witness_open(const char *path);
void witness_note(int fd, uint16_t kind, uint32_t key, uint64_t state);

/* The reader's side. */
typedef struct witness {
    int fd;
    uint64_t acknowledged; /* how many notes said so */
    struct {
        uint64_t states[WITNESS_MOST]; /* the first was acknowledged */
        size_t count;
    } keys[WITNESS_KEYS];
} witness;

void witness_init(witness *w, const char *path);
void witness_read(witness *w); /* what was noted since the last time */

/* May the key be in this state?  If so it is, from now on. */
bool witness_is(witness *w, uint32_t key, uint64_t state);

/* May it not be there? */
bool witness_may_lack(const witness *w, uint32_t key);

#endif
