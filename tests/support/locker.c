/* SPDX-License-Identifier: MIT */
/*
 * Orders and answers are single numbers.
 */
#include "locker.h"
#include "fixture.h"
#include <check.h>

const char *locker_path;

void
locker_setup(void)
{
    FILE *file;

    fixture_setup();
    locker_path = fixture_path("x.h5-wal");
    file = fopen(locker_path, "w");
    ck_assert_ptr_nonnull(file);
    fclose(file);
}

static handle
open_as(int flags)
{
    handle h = {-1, NULL};

    if (hs_os_open(locker_path, flags, &h.fd, NULL) < 0 ||
        hs_locks_open(h.fd, locker_path, flags == O_RDWR, &h.locks, NULL) < 0)
        abort();
    return h;
}

handle
open_handle(void)
{
    return open_as(O_RDWR);
}

handle
open_read_only(void)
{
    return open_as(O_RDONLY);
}

void
close_handle(handle *h)
{
    hs_locks_close(h->locks);
    hs_os_closep(&h->fd);
}

uint64_t
later(uint64_t span)
{
    return hs_os_now() + span;
}

/* ---- a child ---------------------------------------------------------- */

#define A(told) ((told) >> 8 & 0xffffff)
#define B(told) ((told) >> 32)

static int
locker_obey(child *parent, void *context)
{
    handle h = open_handle();

    (void)context;
    for (;;) {
        uint64_t told = child_hear(parent), at = A(told) * 4096, length = B(told) * 4096;
        hs_role role = (hs_role)A(told);
        hs_lock_mode mode = (hs_lock_mode)B(told);
        bool granted = false;
        int rc = 0;

        switch ((enum order)(told & 0xff)) {
        case TAKE:
            rc = hs_lock_take(h.locks, role, mode, later(LONG), NULL);
            break;
        case TRY:
            rc = hs_lock_take(h.locks, role, mode, 0, NULL);
            break;
        case RELEASE:
            hs_lock_release(h.locks, role);
            break;
        case PIN:
            rc = hs_pin_take(h.locks, at, length, NULL);
            break;
        case UNPIN:
            hs_pin_release(h.locks, at);
            break;
        case PIN_EXCLUSIVE:
            rc = hs_pin_try_exclusive(h.locks, at, length, &granted, NULL);
            break;
        case UNPIN_EXCLUSIVE:
            hs_pin_release_exclusive(h.locks, at, length);
            break;
        case END:
            close_handle(&h);
            return 0;
        }
        child_tell(parent, (uint64_t)(rc < 0 ? rc : granted));
    }
}

child *
locker_start(void)
{
    return child_start(locker_obey, NULL);
}

void
locker_tell(child *c, enum order order, uint64_t a, uint64_t b)
{
    child_tell(c, (uint64_t)order | a << 8 | b << 32);
}

int
locker_hear(child *c)
{
    return (int)child_hear(c);
}

int
ask(child *c, enum order order, uint64_t a, uint64_t b)
{
    locker_tell(c, order, a, b);
    return locker_hear(c);
}

void
dismiss(child *c)
{
    locker_tell(c, END, 0, 0);
    ck_assert_int_eq(child_wait(c), 0);
}
