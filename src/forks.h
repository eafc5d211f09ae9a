/* SPDX-License-Identifier: MIT */
/*
 * Forks of this process, as far as they concern what a child may have inherited.
 */
#ifndef HS_FORKS_H
#define HS_FORKS_H

#include "common.h"

/* A mark to ask with later. */
uint64_t hs_forks_now(void);

/*
 * May what was there at that mark be in a child as well by now?  So it is from the moment a fork
 * begins.  A child that runs another program at once (vfork, posix_spawn) does not count: it
 * keeps no descriptor of ours.
 */
bool hs_forks_since(uint64_t mark);

#endif
