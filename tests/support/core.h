/* SPDX-License-Identifier: MIT */
/*
 * For tests below the public API: the container of the test as the library's own modules see it.
 * What fails, fails the test (container.h).
 */
#ifndef HS_TEST_CORE_H
#define HS_TEST_CORE_H

#include "../../src/container.h"
#include "child.h"

/* Open a container, with a timeout of 5 s; @p unclean: it was left by a power cut.  Close it with
 * hs_container_close. */
hs_container *core_open(const char *path, unsigned flags, bool unclean);

/* Bytes of the file that are not free. */
uint64_t core_used_bytes(hs_container *c);

/* What @p reserve reserves in a child, which tells of it and waits, is in use for as long as the
 * child lives: @p bytes. */
void core_expect_gone_with_process(hs_container *c, child_fn reserve, uint64_t bytes);

/* The sequence number of the next commit. */
uint64_t core_commits(hs_container *c);

#endif
