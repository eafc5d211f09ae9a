/* SPDX-License-Identifier: MIT */
/*
 * See forks.h.
 *
 * Called by the facade, which must know whose the pin of a mapping is (I4).  Owns two counters,
 * of forks that began and of forks that ended, each as the parent sees it; one that failed counts,
 * too.  Any thread may fork at any time, while others ask: so the handlers do nothing but count.
 *
 * A mark is the number of forks that had ended.  A fork after it has begun and was not among
 * those.  So later, whatever is read first, not both numbers can be equal to the mark.
 *
 * That the library could be unloaded is no concern: the C library then forgets the handlers.
 */
#include "forks.h"
#include <pthread.h>
#include <stdatomic.h>

static atomic_uint_fast64_t forks_begun, forks_ended;

static void
forks_begin(void)
{
    atomic_fetch_add(&forks_begun, 1);
}

static void
forks_end(void)
{
    atomic_fetch_add(&forks_ended, 1);
}

/* Other threads that were about to fork are not here. */
static void
forks_end_in_child(void)
{
    atomic_store(&forks_ended, atomic_load(&forks_begun));
}

static void
forks_watch(void)
{
    if (pthread_atfork(forks_begin, forks_end, forks_end_in_child) != 0)
        forks_begin(); /* unseen, there may be one at any time */
}

uint64_t
hs_forks_now(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, forks_watch);
    return atomic_load(&forks_ended);
}

bool
hs_forks_since(uint64_t mark)
{
    uint64_t ended = atomic_load(&forks_ended);

    return ended != mark || atomic_load(&forks_begun) != ended;
}
