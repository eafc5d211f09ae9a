/* SPDX-License-Identifier: MIT */
/*
 * The roles of LOCKING.md as byte ranges of the log file, and the pins.
 *
 * An hs_locks belongs to one open container.  Its functions are called with the
 * container's mutex held, so that one thread at a time is in here; what this
 * module adds is the other processes.  OFD locks belong to the open file
 * description: two handles of one process exclude each other, a fork shares them,
 * and they go with the last descriptor.
 *
 * Order: MEMBER, WRITE, READ.  Waiting for one while holding a later one is a mistake of
 * ours and asserts; so is waiting for a shared lock to become exclusive.  Trying (deadline
 * 0) is allowed.  Pins are never waited for, so they are outside the order.
 */
#ifndef HS_LOCK_H
#define HS_LOCK_H

#include "os.h"

typedef enum hs_role {
    HS_LOCK_MEMBER = 0, /* shared: has the container open; exclusive: is the last */
    HS_LOCK_WRITE = 1,  /* exclusive: commits, reserves, applies */
    HS_LOCK_READ = 2    /* shared: reads metadata of the container file;
                           exclusive: changes it (applies) */
} hs_role;
#define HS_LOCK_ROLES 3

typedef enum hs_lock_mode { HS_UNLOCKED = 0, HS_SHARED = 1, HS_EXCLUSIVE = 2 } hs_lock_mode;

typedef struct hs_locks hs_locks;

/* @p fd is the log's; with @p writable false only shared locks are asked for.  @p path is
 * for messages.  Both are borrowed until hs_locks_close. */
int hs_locks_open(int fd, const char *path, bool writable, hs_locks **locks, h5store_err *err);

/* Releases every lock and pin, unless the process is a forked child: an unlock would be
 * the parent's too, so there the memory alone is.  Pins that are kept stay, and with them
 * MEMBER, as long as a child has the descriptor open.  NULL does nothing. */
void hs_locks_close(hs_locks *locks);

/*
 * Take a role, waiting until @p deadline (hs_os_now() time; 0: try once).  A role that is
 * held already is changed to @p mode; when that fails it stays as it was.
 *
 * Fair enough: WRITE, and READ exclusive, are asked for through a turnstile byte, so that
 * one who releases WRITE cannot take it again before one who waits, and readers whose
 * turns overlap cannot keep a checkpoint out.
 * BUSY when the deadline passed: the message names the file and the role.
 */
int hs_lock_take(hs_locks *locks, hs_role role, hs_lock_mode mode, uint64_t deadline,
                 h5store_err *err);

/* Give a role back.  Cannot fail; asserts that it is held. */
void hs_lock_release(hs_locks *locks, hs_role role);

/* What this handle holds. */
hs_lock_mode hs_lock_held(const hs_locks *locks, hs_role role);

/*
 * Pins.  A pin says: the bytes of this extent must stay.  Counted per extent inside
 * the process (an OFD lock of one descriptor does not count), a shared lock on
 * [address, address + length) towards others.  DAMAGED for a range that no file can have
 * or that overlaps another pin without being equal; BUSY while somebody has it
 * exclusively; IO, UNSUPPORTED, NOMEM.
 */
int hs_pin_take(hs_locks *locks, uint64_t address, uint64_t length, h5store_err *err);
void hs_pin_release(hs_locks *locks, uint64_t address);

/* A child of a fork needs this pin, which we have, as well: it stays when we release ours.  Asked
 * for any number of times it is one. */
void hs_pin_keep(hs_locks *locks, uint64_t address);
bool hs_locks_keep_pins(const hs_locks *locks); /* is there one? */

/* Make two pins of one that was taken once: its first @p length bytes, and the rest.  NOMEM. */
int hs_pin_split(hs_locks *locks, uint64_t address, uint64_t length, h5store_err *err);

/* Let go of all but the first @p length bytes of a pin that was taken once. */
void hs_pin_shorten(hs_locks *locks, uint64_t address, uint64_t length);

/*
 * Try to be the only one who may touch an extent, in order to punch it: *granted is
 * false when anybody, this process included, pins any part of it.  While it is held
 * others cannot pin.  Released with hs_pin_release_exclusive.
 */
int hs_pin_try_exclusive(hs_locks *locks, uint64_t address, uint64_t length, bool *granted,
                         h5store_err *err);
void hs_pin_release_exclusive(hs_locks *locks, uint64_t address, uint64_t length);

/* When that was not granted: a pin that is in the way, *from to *to; both @p address when it
 * has gone meanwhile. */
int hs_pin_find(hs_locks *locks, uint64_t address, uint64_t length, uint64_t *from, uint64_t *to,
                h5store_err *err);

#endif
