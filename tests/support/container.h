/* SPDX-License-Identifier: MIT */
/*
 * For tests that need a container: one in the folder of the test (fixture.h), arrays with a
 * known pattern, and calls of the public API that fail the test with the library's own words.
 *
 * In a child process what fails ends the child with CHILD_FAILED instead (child.h).
 */
#ifndef HS_TEST_CONTAINER_H
#define HS_TEST_CONTAINER_H

#include "child.h"
#include <check.h>
#include <h5store/h5store.h>
#include <stdbool.h>
#include <stddef.h>

/* The checked fixture: that of fixture.h, and what is here forgets the last test. */
void box_setup(void);
void box_teardown(void);

/* The container of the test, and its log. */
const char *box_path(void);
const char *box_log_path(void);

/* Fail the test, or end the child. */
void box_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Fail the test unless @p code is a success; gives it back. */
int box_ok_at(int code, const h5store_err *err, const char *call, const char *file, int line);
#define BOX_OK(call) box_ok_at((call), &box_err, #call, __FILE__, __LINE__)
extern h5store_err box_err;

/* Fail the test unless @p call gives @p expected, says so in box_err, and has words for it. */
void box_fails_at(int code, int expected, const char *call, const char *file, int line);
#define BOX_FAILS(expected, call) \
    (memset(&box_err, 0, sizeof box_err), \
     box_fails_at((call), (expected), #call, __FILE__, __LINE__))

/* Open the container of the test, with a timeout of 10 s. */
h5store *box_open(unsigned flags);
void box_close(h5store *store);

/* Open any container, without failing the test. */
int box_try_open(const char *path, unsigned flags, double timeout, h5store **store);

/* Leave an item m/f/key with an array of 100000 bytes, seed 1, in the log of a container that
 * is new: by a child that is killed.  box_put_and_wait is what the child does. */
void box_leave_log(void);
int box_put_and_wait(child *parent, void *context);

/* Does h5ls, which knows nothing of the log, list an object whose path has @p path in it? */
bool box_stock_sees(const char *path);

/* Open, creating it, and close: an empty container without a log. */
void box_make(void);

/* An array of @p size bytes, type '|u1', that differs for each @p seed.  data is malloc'ed. */
h5store_array box_array(size_t size, unsigned seed);
void box_free(h5store_array *array);

/* Put such an array and keep it; returns its name.  *code may be NULL. */
h5store_id box_put(h5store *store, size_t size, unsigned seed, int *code);

/* Set one item with one link to such an array. */
void box_set(h5store *store, const char *collection, const char *key, size_t size, unsigned seed);
void box_remove(h5store *store, const char *collection, const char *key);

/* The same in steps; @p expected is OK or EXISTS. */
h5store_batch *box_begin(h5store *store);
h5store_id box_put_in(h5store_batch *batch, size_t size, unsigned seed, int expected);
void box_set_in(h5store_batch *batch, const char *collection, const char *key,
                const h5store_id *ids, size_t count);

/* Leave a hole that all metadata of a small container fits into, so that a compaction makes it
 * anew. */
void box_make_hole(h5store *store);

/* Is the item there?  Is it exactly this? */
bool box_has_item(h5store *store, const char *collection, const char *key);
void box_expect_item(h5store *store, const char *collection, const char *key, const void *output,
                     size_t size, const char *metadata, size_t links);

/* Does the blob hold exactly that array?  Checked in full. */
void box_expect(h5store_blob *blob, size_t size, unsigned seed);
void box_expect_put(h5store *store, const h5store_id *id, size_t size, unsigned seed);

h5store_totals box_totals(h5store *store);

/* Verify in full: the number of errors; or fail the test if there is any, with its words. */
uint64_t box_verify(h5store *store);
void box_expect_verified(h5store *store);

/* Open, verify, close: fails the test when there is any error. */
void box_expect_sound(void);

/* Where in the file the bytes of a blob lie, and a byte of the file turned over. */
uint64_t box_offset(h5store *store, const h5store_id *id);
void box_flip(const char *path, uint64_t offset);

/* Run a shell command, its output thrown away; the exit status. */
int box_run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The output of a shell command; free() it.  Fails the test if the command fails. */
char *box_output(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Length of a file, or -1 when there is none; a copy; a file made of bytes. */
long long box_size(const char *path);
void box_copy(const char *from, const char *to);
void box_write(const char *path, const void *bytes, size_t size);

#endif
