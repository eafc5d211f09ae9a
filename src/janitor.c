/* SPDX-License-Identifier: MIT */
/*
 * One thread for each container that was written to: it syncs and applies the log when no
 * commit has come for a second, and every two seconds under load, so that a power cut costs
 * little and other HDF5 programs see a fresh file while the process computes for hours.
 *
 * The bytes of arrays are synced when it is quiet, and every ten seconds under load.  Until then a
 * power cut may take them, whatever of the log is on the disk: it lists what may be torn.  More
 * often would compete with the writers; not at all, and how much is lost would be the kernel's
 * affair.
 *
 * It is started by the first commit and ended by closing, makes no HDF5 call, and holds
 * no lock while it syncs.  A failure is not reported here: the log keeps everything, and the
 * next flush or close meets the same failure and says so.  After a fork the child has no
 * such thread and does not miss it, since its handle is unusable.
 */
#include "container_impl.h"
#include "extent.h"
#include <errno.h>
#include <signal.h>

#define JANITOR_IDLE UINT64_C(1000000000)   /* nanoseconds without a commit */
#define JANITOR_LATEST UINT64_C(2000000000) /* between two applications under load, */
#define JANITOR_BYTES UINT64_C(10000000000) /* and between two syncs of array bytes */

int
container_janitor_init(hs_container *c, h5store_err *err)
{
    pthread_condattr_t attributes;

    if (pthread_condattr_init(&attributes) != 0)
        return hs_fail_nomem(err, sizeof attributes, "a container");
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&c->janitor.wake, &attributes);
    pthread_condattr_destroy(&attributes);
    return H5STORE_OK;
}

void
container_janitor_destroy(hs_container *c)
{
    pthread_cond_destroy(&c->janitor.wake);
}

static void
janitor_wait(hs_container *c, uint64_t until)
{
    struct timespec time = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};

    (void)pthread_cond_timedwait(&c->janitor.wake, &c->mutex, &time);
}

static void *
janitor_run(void *context)
{
    hs_container *c = context;
    uint64_t done_commit = 0, done_at = hs_os_now(), synced_at = done_at;

    pthread_mutex_lock(&c->mutex);
    while (!c->janitor.stop) {
        uint64_t now = hs_os_now(), last = c->janitor.last_commit;
        bool quiet = now >= last + JANITOR_IDLE;

        if (last == done_commit) {
            c->janitor.idle = true;
            pthread_cond_wait(&c->janitor.wake, &c->mutex);
            c->janitor.idle = false;
        } else if (!quiet && now < done_at + JANITOR_LATEST) {
            janitor_wait(c, hs_min(last + JANITOR_IDLE, done_at + JANITOR_LATEST));
        } else {
            bool bytes = quiet || now >= synced_at + JANITOR_BYTES;
            int rc;

            pthread_mutex_unlock(&c->mutex);
            if (quiet)
                hs_extent_give_up_ahead(c);
            rc = hs_container_checkpoint(c, bytes, NULL);
            if (rc == H5STORE_OK)
                (void)hs_extent_reclaim(c, NULL); /* of results that were replaced */
            done_at = hs_os_now();
            if ((rc == H5STORE_OK || rc == H5STORE_E_BUSY) && bytes)
                synced_at = done_at;
            pthread_mutex_lock(&c->mutex);
            if (rc == H5STORE_OK && quiet)
                done_commit = last;
            else if (rc < 0 && !c->janitor.stop)
                janitor_wait(c, done_at + JANITOR_IDLE); /* a stock reader is in the way */
        }
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

void
container_janitor_note(hs_container *c)
{
    sigset_t all, old;

    c->janitor.last_commit = hs_os_now();
    if (c->janitor.running) {
        if (c->janitor.idle)
            pthread_cond_signal(&c->janitor.wake);
        return;
    }
    if (c->janitor.stop) /* closing, which commits what it reclaims, does the rest itself */
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    /* Without the thread the log is applied at close: slower to recover, nothing else. */
    c->janitor.running = pthread_create(&c->janitor.thread, NULL, janitor_run, c) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void
container_janitor_stop(hs_container *c)
{
    bool running;

    pthread_mutex_lock(&c->mutex);
    running = c->janitor.running;
    c->janitor.stop = true;
    pthread_cond_signal(&c->janitor.wake);
    pthread_mutex_unlock(&c->mutex);
    if (running)
        pthread_join(c->janitor.thread, NULL);
    c->janitor.running = false;
}
