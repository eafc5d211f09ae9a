/* SPDX-License-Identifier: MIT */
/*
 * A folder for each test, and a pattern of bytes.
 *
 * check_main.c makes the folder of the run before the first test and removes it after the
 * last, so that nothing is left by a test that failed or was killed.
 */
#ifndef TESTS_FIXTURE_H
#define TESTS_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

/* For check_main.c, and for programs that use the rest without Check. */
void fixture_begin(void);
void fixture_end(void);

/* For tcase_add_checked_fixture: a new, empty folder for each test. */
void fixture_setup(void);
void fixture_teardown(void);

/* The folder of the test in hand, and a path in it, which is valid until the test ends. */
const char *fixture_folder(void);
const char *fixture_path(const char *name);

/* Bytes that look random and follow from @p seed: equal seeds, equal bytes, and the bytes
 * of a shorter buffer are the beginning of a longer one's. */
void fixture_fill(void *buffer, size_t size, uint64_t seed);

/* The next of a sequence of numbers that look random; *state is any number to begin with. */
uint64_t fixture_random(uint64_t *state);

#endif
