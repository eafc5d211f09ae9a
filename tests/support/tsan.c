/* SPDX-License-Identifier: MIT */
/*
 * For ThreadSanitizer alone.  That of GCC 12 does not know pthread_mutex_clocklock, and takes what
 * it guards for unguarded whenever a thread had to wait; so programs built with it get this one,
 * made of a function that it does know.
 */
#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until);

int
pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until)
{
    struct timespec now;
    int rc;

    while ((rc = pthread_mutex_trylock(mutex)) == EBUSY) {
        clock_gettime(clock, &now);
        if (now.tv_sec > until->tv_sec ||
            (now.tv_sec == until->tv_sec && now.tv_nsec > until->tv_nsec))
            return ETIMEDOUT;
        usleep(100);
    }
    return rc;
}
#endif
