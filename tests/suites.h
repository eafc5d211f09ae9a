/* SPDX-License-Identifier: MIT */
/*
 * The suites: one for each module (two for those that would be long), in a file of its
 * own, in the order of the layers.
 */
#ifndef TESTS_SUITES_H
#define TESTS_SUITES_H

#include <check.h>

/* A list, not an expression. */
/* clang-format off */
#define SUITES(X) \
    X(error) X(os) X(system) X(lock) X(pin) X(source) X(deflate) X(digest) X(parallel) \
    X(superblock) X(overlay) X(pager) X(ohdr) X(ohdr_edit) X(dense) X(groups) X(space) X(wal) \
    X(h5util) X(vfd) X(array) X(dtype) X(container) X(rights) X(join) X(janitor) X(extent) \
    X(ahead) X(blob) X(item) X(packed) X(put) X(reader) X(direct) X(direct_same) X(batch) \
    X(cursor) X(usage) X(rebuild) X(compact) X(removal) X(recover) X(replay) X(salvage) X(verify) \
    X(store) X(fork)
/* clang-format on */

#define SUITE_DECLARATION(module) Suite *module##_suite(void);
SUITES(SUITE_DECLARATION)

#endif
