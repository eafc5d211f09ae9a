/* SPDX-License-Identifier: MIT */
/*
 * Handles on one log, and a child that takes and releases locks as it is told.
 */
#ifndef TESTS_LOCKER_H
#define TESTS_LOCKER_H

#include "child.h"
#include "lock.h"

#define SECOND UINT64_C(1000000000)
#define LONG (20 * SECOND) /* a deadline that no test should meet */

typedef struct handle {
    int fd;
    hs_locks *locks;
} handle;

/* The log of the test in hand: an empty file. */
extern const char *locker_path;
void locker_setup(void); /* for tcase_add_checked_fixture, instead of fixture_setup */

/* These also work in a child. */
handle open_handle(void);
handle open_read_only(void);
void close_handle(handle *h);
uint64_t later(uint64_t span);

/* ---- a child ---------------------------------------------------------- */

enum order { TAKE, TRY, RELEASE, PIN, UNPIN, PIN_EXCLUSIVE, UNPIN_EXCLUSIVE, END };

/* Begin one, with a handle of its own. */
child *locker_start(void);

/*
 * TAKE (waits) and TRY: @p a is the role, @p b the mode.  RELEASE: the role.  The others:
 * @p a is a page of 4096 bytes, @p b how many.
 *
 * locker_tell gives an order, locker_hear gives its result: the code, or 1 for
 * PIN_EXCLUSIVE that was granted.  ask does both.
 */
void locker_tell(child *c, enum order order, uint64_t a, uint64_t b);
int locker_hear(child *c);
int ask(child *c, enum order order, uint64_t a, uint64_t b);

/* Let it close its handle and end. */
void dismiss(child *c);

#endif
