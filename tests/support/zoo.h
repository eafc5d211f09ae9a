/* SPDX-License-Identifier: MIT */
/*
 * Files with one of each kind of object, for those who read HDF5's metadata themselves.
 */
#ifndef TESTS_ZOO_H
#define TESTS_ZOO_H

#include <stddef.h>

/* An empty container of the test as HDF5 makes groups by default, and earlier versions did: the
 * ninth link of a group moves all to a heap. */
void zoo_make_with_heaps(void);

/* In the closed container of the test: more such groups, each after the one that it is in. */
void zoo_make_groups(const char *const *paths, size_t count);

/*
 * The container of the test: arrays of all layouts and orders; items with few and many links,
 * with small and large members, some of which were set again and again; groups that keep
 * their links in the header, and groups that do not.
 */
void zoo_make(void);

/* A file of HDF5's own driver, with what the library does not write; its path.  Two groups
 * below the root, one of which tracks the order of creation, and four datasets. */
const char *zoo_make_foreign(void);

#endif
