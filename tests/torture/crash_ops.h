/* SPDX-License-Identifier: MIT */
/*
 * The operations that are interrupted at every system call, for crash.c.
 */
#ifndef CRASH_OPS_H
#define CRASH_OPS_H

#include <h5store/h5store.h>
#include <stdbool.h>

/* What is in the folder before. */
typedef enum crash_base {
    BASE_NOTHING, /* no container */
    BASE_CLOSED,  /* a container that was closed: no log */
    BASE_LEFT,    /* one whose last user was killed: its results are in the log */
    BASE_HALF,    /* killed again, in the middle of applying that log */
    BASE_DAMAGED, /* closed, and the bytes of one array were changed afterwards */
    BASE_CROWDED, /* closed, with more arrays than fit in one space table */
    BASE_KINDS
} crash_base;

/*
 * An operation works on an open store, or opens it by itself: that is how opening, recovering
 * and closing are interrupted.  It is acknowledged when it returns.
 */
typedef struct crash_op {
    const char *name;
    crash_base base;
    bool opens;   /* by_path, else with_store */
    bool is_mute; /* writes nothing at all */
    int (*with_store)(h5store *store, h5store_err *err);
    int (*by_path)(const char *path, h5store_err *err);
} crash_op;

/* Called by operations of several commits after each but the last. */
extern void (*crash_point)(h5store *store);

extern const crash_op crash_ops[];
extern const size_t crash_op_count;

/* Make what @p base says in a store that is open, but for killing and changing bytes. */
int crash_fill(crash_base base, h5store *store, h5store_err *err);

/* The array of BASE_DAMAGED. */
#define CRASH_DAMAGED_SEED 4
int crash_open(const char *path, unsigned flags, h5store **store, h5store_err *err);

#endif
