/* SPDX-License-Identifier: MIT */
/*
 * A table of system calls that fail when told to, and that read and write at most three
 * bytes at a time.
 */
#ifndef TESTS_FAULTY_H
#define TESTS_FAULTY_H

#include "os.h"

/* May be changed by a test, between faulty_begin and the first call. */
extern struct hs_os_ops faulty_ops;

/* The most bytes that one pread or pwrite was asked for since faulty_begin. */
extern uint64_t faulty_largest;

/* For fixtures: the table anew; the real one is in use until faulty_arm, and after
 * faulty_end. */
void faulty_begin(void);
void faulty_end(void);

/* Use the table; let the next @p calls of any function fail with @p os_errno. */
void faulty_arm(int os_errno, int calls);

/* All of them have failed; the real table is in use again. */
void faulty_expect_tripped(void);

#endif
