/* SPDX-License-Identifier: MIT */
/*
 * A loop by several threads.  Called by digest.c, extent_bytes.c, packed_bytes.c and put.c.
 *
 * Owns nothing between calls: the threads live as long as the call, so a fork in another
 * thread finds no idle worker whose mutex it would inherit locked, and closing needs no
 * shutdown.  Making a thread costs tens of microseconds; hs_parallel_threads gives each
 * one several times that of work.
 *
 * Always holds: when hs_parallel_for returns, no step is running.
 */
#include "parallel.h"
#include "os.h"
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#define PARALLEL_MOST 64 /* threads of one call, whatever is wanted */
#define PARALLEL_USUAL 8 /* when the caller leaves it to us */

struct parallel_loop {
    hs_parallel_fn step;
    void *context;
    uint64_t count;
    atomic_uint_fast64_t next; /* the first index that nobody has begun */
    atomic_bool stopped;
    pthread_mutex_t mutex; /* guards what follows */
    int code;
    h5store_err failure;
};

static void
parallel_stop(struct parallel_loop *loop, int code, const h5store_err *failure)
{
    pthread_mutex_lock(&loop->mutex);
    if (loop->code == H5STORE_OK) {
        loop->code = code;
        loop->failure = *failure;
    }
    pthread_mutex_unlock(&loop->mutex);
    atomic_store(&loop->stopped, true);
}

static void *
parallel_work(void *argument)
{
    struct parallel_loop *loop = argument;

    while (!atomic_load(&loop->stopped)) {
        uint64_t index = atomic_fetch_add(&loop->next, 1);
        h5store_err failure;
        int code;

        if (index >= loop->count)
            break;
        code = loop->step(loop->context, index, &failure);
        if (code < 0)
            parallel_stop(loop, code, &failure);
    }
    return NULL;
}

/*
 * Make up to @p wanted threads; returns how many there are.  They inherit a mask that
 * blocks every signal, so that the program's handlers go on running in its own threads;
 * those of a fault stay open, since the kernel delivers them to the thread at fault and
 * would kill the program past its handler if it were blocked.
 */
static int
parallel_start(pthread_t *threads, int wanted, struct parallel_loop *loop)
{
    sigset_t block, before;
    int made = 0;

    sigfillset(&block);
    sigdelset(&block, SIGSEGV);
    sigdelset(&block, SIGBUS);
    sigdelset(&block, SIGFPE);
    sigdelset(&block, SIGILL);
    if (pthread_sigmask(SIG_BLOCK, &block, &before) != 0)
        return 0;
    while (made < wanted && pthread_create(&threads[made], NULL, parallel_work, loop) == 0)
        made++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return made;
}

static int
parallel_alone(uint64_t count, hs_parallel_fn step, void *context, h5store_err *err)
{
    int code = H5STORE_OK;

    for (uint64_t i = 0; code >= 0 && i < count; i++)
        code = step(context, i, err);
    return code < 0 ? code : H5STORE_OK;
}

int
hs_parallel_for(uint64_t count, int threads, hs_parallel_fn step, void *context, h5store_err *err)
{
    struct parallel_loop loop = {.step = step, .context = context, .count = count};
    pthread_t made[PARALLEL_MOST - 1];
    int others;

    assert(threads >= 1);
    others = (int)hs_min(hs_min((uint64_t)threads, PARALLEL_MOST), count) - 1;
    if (others <= 0)
        return parallel_alone(count, step, context, err);
    pthread_mutex_init(&loop.mutex, NULL);
    others = parallel_start(made, others, &loop);
    parallel_work(&loop);
    while (others > 0)
        pthread_join(made[--others], NULL);
    pthread_mutex_destroy(&loop.mutex);
    if (loop.code < 0 && err != NULL)
        *err = loop.failure;
    return loop.code;
}

/*
 * What the program wants of libraries like this one: the first number of OMP_NUM_THREADS,
 * which is a list if parallel regions are nested.  0: it says nothing that can be used.
 */
static uint64_t
parallel_limit(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    char *end;
    long limit;

    if (text == NULL)
        return 0;
    limit = strtol(text, &end, 10);
    while (*end == ' ' || *end == '\t')
        end++;
    return end != text && (*end == '\0' || *end == ',') && limit > 0 ? (uint64_t)limit : 0;
}

int
hs_parallel_usual(void)
{
    uint64_t count = hs_min((uint64_t)hs_os_cpu_count(), PARALLEL_USUAL);
    uint64_t limit = parallel_limit();

    return (int)(limit > 0 ? hs_min(count, limit) : count);
}

int
hs_parallel_threads(int most, uint64_t bytes, uint64_t grain)
{
    uint64_t useful = bytes / grain;

    assert(most >= 1);
    return (int)hs_max(1, hs_min(hs_min((uint64_t)most, useful), PARALLEL_MOST));
}
