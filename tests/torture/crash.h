/* SPDX-License-Identifier: MIT */
/*
 * What the two kinds of crashes share: crash.c has deaths of the process, crash_power.c power
 * cuts.
 */
#ifndef CRASH_H
#define CRASH_H

#include "../support/crashfs.h"
#include "../support/holdings.h"
#include "crash_ops.h"

#define CRASH_FILE "c.h5"

struct crash_folders {
    char *work;   /* where it happens */
    char *path;   /* of the container there */
    char *result; /* a file for holdings, outside */
};
extern struct crash_folders crash_folders;

struct crash_counts {
    uint64_t calls, skipped, crashes, looks, before, after, stock_read, stock_refused, notices,
        failures;
};

const char *crash_base_folder(crash_base base);

/* Open, verify, read and close the container in a process of its own; false when that failed,
 * which was printed and counted.  @p damaged: findings are expected. */
bool crash_look_inside(bool rebooted, bool damaged, holdings *held, struct crash_counts *counts,
                       const char *where);

/* By HDF5's own driver: 0 read, 1 refused, -1 something else, which was printed and counted. */
int crash_look_outside(bool damaged, holdings *held, struct crash_counts *counts,
                       const char *where);

void crash_power(bool all, struct crash_counts *counts);

#endif
