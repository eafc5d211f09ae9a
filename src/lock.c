/* SPDX-License-Identifier: MIT */
/*
 * Locks between processes.  Called by the container alone, with its mutex held.
 *
 * BYTES.  All locks are byte ranges of the log file, far above any byte the log can have
 * (a lock needs no byte to be there):
 *
 *   2^61 + address of an extent ...   the pins, as long as their extents
 *   2^62 + 0                          MEMBER
 *   2^62 + 16                         WRITE
 *   2^62 + 32                         READ
 *   2^62 + 48                         NEXT, the turnstile before WRITE
 *   2^62 + 64                         GATE, the turnstile before READ, exclusive
 *
 * The roles are apart so that the kernel never merges two of them into one record, which
 * it could then only split with memory.  LOCKING.md has the table of who holds what when.
 *
 * OPEN FILE DESCRIPTION LOCKS.  The owner of a lock is the open file, not the process:
 *  - another handle on the same container in the same process is a stranger, as it must be;
 *  - closing some other descriptor of the log does not drop our locks (POSIX locks would);
 *  - they go when the last descriptor goes, so a killed process leaves none;
 *  - a fork shares them.  An unlock by the child would free the parent's, so in a child
 *    hs_locks_close only forgets, and the descriptor is closed by its owner.  An unlock by
 *    the parent would free a pin under what the child has mapped, so such a pin is never
 *    unlocked (hs_pin_keep): it goes with the last of their descriptors;
 *  - an owner never conflicts with itself: asking for F_WRLCK over one's own F_RDLCK
 *    converts it.  Hence the table of pins below, which is asked before the kernel.
 *
 * WAITING.  F_OFD_SETLKW waits without a bound, and only a signal ends it; a library may
 * neither own a signal nor its handler.  So the lock is tried, then tried again after
 * sched_yield a few times, then after sleeps that grow from LOCK_PAUSE to LOCK_PAUSE_MOST,
 * each of random length so that processes do not march in step, until the deadline.
 *
 * FAIRNESS.  Among those who poll, whoever releases a lock and wants it again at once wins
 * nearly always: it tries first, while the others sleep.  So nobody tries WRITE except who
 * holds NEXT, takes NEXT, then WRITE, then gives NEXT back.  Who releases WRITE finds NEXT
 * held by the one who waits, and is behind it.  Trying WRITE directly first would save two
 * of four calls and bring the old evil back.  That leaves those who wait for NEXT: they
 * poll, so the one that polls most often has the best chance.  A newcomer polls often, and
 * one that had WRITE a moment ago must not count as one: it begins with the longest pause
 * (LOCK_RECENT).  Eight processes that hold WRITE for 1 ms at a time, on two CPUs, had 216
 * to 236 turns each in two seconds, 894 turns a second in all; without LOCK_RECENT 528 a
 * second; with the direct try 1783 turns went to one, and one each to five others.
 *
 * READ is shared by many whose turns overlap, so an exclusive taker could wait for ever.
 * It holds GATE while it waits, and nobody takes READ shared while GATE is held: the
 * readers inside finish, new ones wait.  A reader asks with F_OFD_GETLK, which leaves a
 * moment in which it can slip in: once for each reader, so it delays and never starves.
 *
 * ORDER.  MEMBER, WRITE, READ.  Waiting for one while holding a later one, or waiting to
 * change shared into exclusive (two who do it wait for each other), is our mistake and
 * asserts.  Trying (deadline 0) never waits and is free to go against the order.
 *
 * PINS.  The table holds the ranges of this handle's pins, sorted.  L1: they are disjoint,
 * and the kernel has exactly these ranges of ours above 2^61.  L2: a range is in it either
 * with a count of one or more (F_RDLCK) or as exclusive (F_WRLCK).  Two pins that overlap
 * without being equal could only come from a damaged container, and are refused: releasing
 * one would unlock bytes of the other.
 *
 * COST.  Uncontended, WRITE is four calls of fcntl in all, READ shared three, a pin two.
 * The kernel walks every record of the file in each of them, and it joins neighbouring
 * pins of one handle into one record; 1000 pins that have no neighbours made a role about
 * ten times as dear, 100 made no difference that could be seen (Linux 6.18).
 */
#include "lock.h"
#include "grow.h"
#include <assert.h>

#define LOCK_PINS ((uint64_t)1 << 61)
#define LOCK_ROLES_AT ((uint64_t)1 << 62)
#define LOCK_AT(n) (LOCK_ROLES_AT + 16 * (uint64_t)(n))
#define LOCK_NEXT LOCK_AT(HS_LOCK_ROLES)
#define LOCK_GATE LOCK_AT(HS_LOCK_ROLES + 1)
#define LOCK_END LOCK_AT(HS_LOCK_ROLES + 2)

#define LOCK_YIELDS 4
#define LOCK_PAUSE ((uint64_t)20 * 1000)         /* 20 us */
#define LOCK_PAUSE_MOST ((uint64_t)1000 * 1000)  /* 1 ms */
#define LOCK_PAUSE_FRONT ((uint64_t)250 * 1000)  /* for the one who is next */
#define LOCK_RECENT ((uint64_t)10 * 1000 * 1000) /* 10 ms */

struct lock_pin {
    uint64_t address, length;
    uint64_t count; /* 0: exclusive */
    bool kept;      /* one of the count is a child's */
};

struct hs_locks {
    int fd;
    const char *path;
    bool writable;
    pid_t pid;
    hs_lock_mode held[HS_LOCK_ROLES];
    uint64_t write_released; /* when, for LOCK_RECENT */
    uint64_t chance;         /* state of lock_random */
    struct lock_pin *pins;
    size_t pin_count, pin_room;
};

int
hs_locks_open(int fd, const char *path, bool writable, hs_locks **locks, h5store_err *err)
{
    hs_locks *made = calloc(1, sizeof *made);

    if (made == NULL)
        return hs_fail_nomem(err, sizeof *made, "locks");
    made->fd = fd;
    made->path = path;
    made->writable = writable;
    made->pid = hs_os_process();
    made->chance = hs_os_now() ^ (uint64_t)made->pid << 32 ^ (uint64_t)(uintptr_t)made;
    made->chance |= 1; /* xorshift never leaves 0 */
    *locks = made;
    return H5STORE_OK;
}

/* Unlocking whole records needs no memory and cannot wait.  Where it fails all the same
 * (a network file system that is gone) nothing can be done that closing does not do. */
static void
lock_drop(hs_locks *locks, uint64_t start, uint64_t length)
{
    bool granted;

    (void)hs_os_lock(locks->fd, locks->path, F_UNLCK, start, length, &granted, NULL);
}

/* The same from here to there; a length of 0 would mean as far as there are locks. */
static void
lock_drop_between(hs_locks *locks, uint64_t start, uint64_t end)
{
    if (start < end)
        lock_drop(locks, start, end - start);
}

/* All but what is kept, and MEMBER if anything is: the last member removes the log, and with
 * it every pin. */
static void
lock_drop_all(hs_locks *locks)
{
    uint64_t start = LOCK_PINS;

    for (size_t i = 0; i < locks->pin_count; i++) {
        const struct lock_pin *pin = &locks->pins[i];

        if (!pin->kept)
            continue;
        lock_drop_between(locks, start, LOCK_PINS + pin->address);
        start = LOCK_PINS + pin->address + pin->length;
    }
    if (start > LOCK_PINS) {
        lock_drop_between(locks, start, LOCK_AT(HS_LOCK_MEMBER));
        start = LOCK_AT(HS_LOCK_MEMBER) + 1;
    }
    lock_drop_between(locks, start, LOCK_END);
}

void
hs_locks_close(hs_locks *locks)
{
    if (locks == NULL)
        return;
    if (locks->pid == hs_os_process())
        lock_drop_all(locks);
    free(locks->pins);
    free(locks);
}

/* ---- waiting ---------------------------------------------------------- */

struct lock_wait {
    uint64_t deadline; /* 0: never wait */
    uint64_t pause, most;
    int yields;
};

static struct lock_wait
lock_patience(uint64_t deadline, uint64_t most)
{
    return (struct lock_wait){deadline, LOCK_PAUSE, most, LOCK_YIELDS};
}

/* xorshift64: only to keep waiters out of step. */
static uint64_t
lock_random(hs_locks *locks)
{
    locks->chance ^= locks->chance << 13;
    locks->chance ^= locks->chance >> 7;
    locks->chance ^= locks->chance << 17;
    return locks->chance;
}

/* Let time pass before the next attempt; false when there is none left. */
static bool
lock_pause(hs_locks *locks, struct lock_wait *wait)
{
    uint64_t now = wait->deadline != 0 ? hs_os_now() : 0;

    if (now >= wait->deadline)
        return false;
    if (wait->yields > 0) {
        wait->yields--;
        hs_os_sleep(0);
        return true;
    }
    hs_os_sleep(hs_min(wait->deadline - now, wait->pause / 2 + lock_random(locks) % wait->pause));
    wait->pause = hs_min(wait->pause + wait->pause / 2, wait->most);
    return true;
}

static int
lock_byte(hs_locks *locks, uint64_t at, short type, struct lock_wait wait, bool *granted,
          h5store_err *err)
{
    int rc;

    do
        rc = hs_os_lock(locks->fd, locks->path, type, at, 1, granted, err);
    while (rc == H5STORE_OK && !*granted && lock_pause(locks, &wait));
    return rc;
}

/* ---- roles ------------------------------------------------------------ */

/* Take an exclusive lock through its turnstile. */
static int
lock_through(hs_locks *locks, uint64_t turnstile, uint64_t at, struct lock_wait wait, bool *granted,
             h5store_err *err)
{
    int rc = lock_byte(locks, turnstile, F_WRLCK, wait, granted, err);

    if (rc < 0 || !*granted)
        return rc;
    rc = lock_byte(locks, at, F_WRLCK, lock_patience(wait.deadline, LOCK_PAUSE_FRONT), granted,
                   err);
    lock_drop(locks, turnstile, 1);
    return rc;
}

static int
lock_take_write(hs_locks *locks, uint64_t deadline, bool *granted, h5store_err *err)
{
    struct lock_wait wait = lock_patience(deadline, LOCK_PAUSE_MOST);

    if (locks->write_released != 0 && hs_os_now() - locks->write_released < LOCK_RECENT) {
        wait.yields = 0;
        wait.pause = wait.most;
    }
    return lock_through(locks, LOCK_NEXT, LOCK_AT(HS_LOCK_WRITE), wait, granted, err);
}

/* READ, shared, unless somebody waits for it at the gate. */
static int
lock_take_read(hs_locks *locks, uint64_t deadline, bool *granted, h5store_err *err)
{
    struct lock_wait wait = lock_patience(deadline, LOCK_PAUSE_MOST);
    int rc;

    do {
        rc = hs_os_lock_test(locks->fd, locks->path, LOCK_GATE, 1, granted, err);
        if (rc == H5STORE_OK && *granted)
            rc = hs_os_lock(locks->fd, locks->path, F_RDLCK, LOCK_AT(HS_LOCK_READ), 1, granted,
                            err);
    } while (rc == H5STORE_OK && !*granted && lock_pause(locks, &wait));
    return rc;
}

static int
lock_take(hs_locks *locks, hs_role role, hs_lock_mode mode, uint64_t deadline, bool *granted,
          h5store_err *err)
{
    struct lock_wait wait = lock_patience(deadline, LOCK_PAUSE_MOST);
    short type = mode == HS_EXCLUSIVE ? F_WRLCK : F_RDLCK;

    if (role == HS_LOCK_WRITE)
        return lock_take_write(locks, deadline, granted, err);
    if (role == HS_LOCK_READ && mode == HS_EXCLUSIVE)
        return lock_through(locks, LOCK_GATE, LOCK_AT(role), wait, granted, err);
    if (role == HS_LOCK_READ && locks->held[role] == HS_UNLOCKED)
        return lock_take_read(locks, deadline, granted, err);
    return lock_byte(locks, LOCK_AT(role), type, wait, granted, err);
}

/* May a handle that holds what this one holds wait for this? */
static HS_UNUSED bool
lock_may_wait(const hs_locks *locks, hs_role role, hs_lock_mode mode)
{
    for (int later = (int)role + 1; later < HS_LOCK_ROLES; later++)
        if (locks->held[later] != HS_UNLOCKED)
            return false;
    return locks->held[role] != HS_SHARED || mode != HS_EXCLUSIVE;
}

int
hs_lock_take(hs_locks *locks, hs_role role, hs_lock_mode mode, uint64_t deadline, h5store_err *err)
{
    static const char *const names[HS_LOCK_ROLES] = {"member", "write", "read"};
    bool granted;
    int rc;

    assert(mode == HS_SHARED || (mode == HS_EXCLUSIVE && locks->writable));
    assert(role != HS_LOCK_WRITE || mode == HS_EXCLUSIVE);
    assert(deadline == 0 || lock_may_wait(locks, role, mode));
    if (locks->held[role] == mode)
        return H5STORE_OK;
    rc = lock_take(locks, role, mode, deadline, &granted, err);
    if (rc < 0)
        return rc;
    if (!granted)
        return hs_fail(err, H5STORE_E_BUSY, 0,
                       "the %s lock of '%s' is held by another process or handle%s; try again, or "
                       "allow a longer timeout",
                       names[role], locks->path,
                       deadline != 0 ? " and was not given back in time" : "");
    locks->held[role] = mode;
    return H5STORE_OK;
}

void
hs_lock_release(hs_locks *locks, hs_role role)
{
    assert(locks->held[role] != HS_UNLOCKED);
    lock_drop(locks, LOCK_AT(role), 1);
    locks->held[role] = HS_UNLOCKED;
    if (role == HS_LOCK_WRITE)
        locks->write_released = hs_os_now();
}

hs_lock_mode
hs_lock_held(const hs_locks *locks, hs_role role)
{
    return locks->held[role];
}

/* ---- pins ------------------------------------------------------------- */

/* The first pin that ends beyond @p address: the only one that can hold it, and where one
 * that begins there belongs (L1). */
static size_t
pin_find(const hs_locks *locks, uint64_t address)
{
    size_t low = 0, high = locks->pin_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct lock_pin *pin = &locks->pins[middle];

        if (pin->address + pin->length > address)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Does the pin at @p at, if there is one, share bytes with a range that ends at @p end and
 * for whose start pin_find gave @p at? */
static bool
pin_meets(const hs_locks *locks, size_t at, uint64_t end)
{
    return at < locks->pin_count && locks->pins[at].address < end;
}

/* Addresses and lengths come from files. */
static int
pin_check_range(const hs_locks *locks, uint64_t address, uint64_t length, h5store_err *err)
{
    uint64_t end;

    if (length > 0 && hs_add(address, length, &end) && end <= LOCK_PINS)
        return H5STORE_OK;
    return hs_fail(err, H5STORE_E_DAMAGED, 0,
                   "an array is said to have %llu bytes at %llu, which the container of '%s' "
                   "cannot hold; check it with 'h5store verify'",
                   (unsigned long long)length, (unsigned long long)address, locks->path);
}

/* Enter a pin whose range is locked at @p at, where there is room. */
static void
pin_enter(hs_locks *locks, size_t at, struct lock_pin pin)
{
    memmove(locks->pins + at + 1, locks->pins + at, (locks->pin_count - at) * sizeof pin);
    locks->pins[at] = pin;
    locks->pin_count++;
}

/* Lock a range that meets no pin of ours, and enter it at @p at. */
static int
pin_add(hs_locks *locks, size_t at, struct lock_pin pin, bool *granted, h5store_err *err)
{
    int rc = hs_grow(&locks->pins, locks->pin_count, &locks->pin_room, sizeof *locks->pins,
                     "the table of pins", err);

    if (rc < 0)
        return rc;
    rc = hs_os_lock(locks->fd, locks->path, pin.count > 0 ? F_RDLCK : F_WRLCK,
                    LOCK_PINS + pin.address, pin.length, granted, err);
    if (rc < 0 || !*granted)
        return rc;
    pin_enter(locks, at, pin);
    return H5STORE_OK;
}

static void
pin_remove(hs_locks *locks, size_t at)
{
    struct lock_pin *pin = &locks->pins[at];

    lock_drop(locks, LOCK_PINS + pin->address, pin->length);
    locks->pin_count--;
    memmove(pin, pin + 1, (locks->pin_count - at) * sizeof *pin);
}

/* Nobody looks up an array whose space is being given back, so this is a rare race: the
 * array was removed after it was looked up. */
static int
pin_fail_busy(const hs_locks *locks, uint64_t address, h5store_err *err)
{
    return hs_fail(err, H5STORE_E_BUSY, 0,
                   "the space at %llu in the container of '%s' is being given back; look the "
                   "array up again",
                   (unsigned long long)address, locks->path);
}

int
hs_pin_take(hs_locks *locks, uint64_t address, uint64_t length, h5store_err *err)
{
    size_t at = pin_find(locks, address);
    int rc = pin_check_range(locks, address, length, err);
    bool granted;

    if (rc < 0)
        return rc;
    if (pin_meets(locks, at, address + length)) {
        struct lock_pin *pin = &locks->pins[at];

        if (pin->count == 0)
            return pin_fail_busy(locks, address, err);
        if (pin->address != address || pin->length != length)
            return hs_fail(err, H5STORE_E_DAMAGED, 0,
                           "two arrays share bytes of the container of '%s': %llu at %llu and "
                           "%llu at %llu; check it with 'h5store verify'",
                           locks->path, (unsigned long long)pin->length,
                           (unsigned long long)pin->address, (unsigned long long)length,
                           (unsigned long long)address);
        pin->count++;
        return H5STORE_OK;
    }
    rc = pin_add(locks, at, (struct lock_pin){address, length, 1, false}, &granted, err);
    if (rc == H5STORE_OK && !granted)
        rc = pin_fail_busy(locks, address, err);
    return rc;
}

void
hs_pin_release(hs_locks *locks, uint64_t address)
{
    size_t at = pin_find(locks, address);

    assert(at < locks->pin_count && locks->pins[at].address == address);
    assert(locks->pins[at].count > 0);
    if (--locks->pins[at].count == 0)
        pin_remove(locks, at);
}

void
hs_pin_keep(hs_locks *locks, uint64_t address)
{
    struct lock_pin *pin = &locks->pins[pin_find(locks, address)];

    assert(pin->address == address && pin->count > 0);
    if (!pin->kept)
        pin->count++;
    pin->kept = true;
}

bool
hs_locks_keep_pins(const hs_locks *locks)
{
    for (size_t i = 0; i < locks->pin_count; i++)
        if (locks->pins[i].kept)
            return true;
    return false;
}

int
hs_pin_split(hs_locks *locks, uint64_t address, uint64_t length, h5store_err *err)
{
    size_t at = pin_find(locks, address);
    struct lock_pin rest;
    int rc = hs_grow(&locks->pins, locks->pin_count, &locks->pin_room, sizeof *locks->pins,
                     "the table of pins", err);

    if (rc < 0)
        return rc;
    rest = locks->pins[at];
    assert(rest.address == address && rest.count == 1 && length > 0 && length < rest.length);
    locks->pins[at].length = length;
    rest.address += length;
    rest.length -= length;
    pin_enter(locks, at + 1, rest);
    return rc;
}

void
hs_pin_shorten(hs_locks *locks, uint64_t address, uint64_t length)
{
    struct lock_pin *pin = &locks->pins[pin_find(locks, address)];

    assert(pin->address == address && pin->count <= 1);
    assert(length > 0 && length <= pin->length);
    if (length < pin->length)
        lock_drop(locks, LOCK_PINS + address + length, pin->length - length);
    pin->length = length;
}

int
hs_pin_try_exclusive(hs_locks *locks, uint64_t address, uint64_t length, bool *granted,
                     h5store_err *err)
{
    size_t at = pin_find(locks, address);
    int rc = pin_check_range(locks, address, length, err);

    assert(locks->writable);
    if (rc < 0)
        return rc;
    if (pin_meets(locks, at, address + length)) {
        *granted = false;
        return H5STORE_OK;
    }
    return pin_add(locks, at, (struct lock_pin){address, length, 0, false}, granted, err);
}

void
hs_pin_release_exclusive(hs_locks *locks, uint64_t address, uint64_t length HS_UNUSED)
{
    size_t at = pin_find(locks, address);

    assert(at < locks->pin_count && locks->pins[at].address == address);
    assert(locks->pins[at].length == length && locks->pins[at].count == 0);
    pin_remove(locks, at);
}

int
hs_pin_find(hs_locks *locks, uint64_t address, uint64_t length, uint64_t *from, uint64_t *to,
            h5store_err *err)
{
    size_t at = pin_find(locks, address);
    int rc;

    if (pin_meets(locks, at, address + length)) {
        *from = locks->pins[at].address;
        *to = *from + locks->pins[at].length;
        return H5STORE_OK;
    }
    rc = hs_os_lock_find(locks->fd, locks->path, LOCK_PINS + address, length, from, to, err);
    if (rc < 0)
        return rc;
    *from = hs_max(*from, LOCK_PINS + address) - LOCK_PINS;
    *to = hs_min(*to, LOCK_PINS + address + length) - LOCK_PINS;
    return H5STORE_OK;
}
