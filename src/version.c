/* SPDX-License-Identifier: MIT */
/*
 * Which versions are in use at run time.  Public functions of h5store/version.h.
 */
#include "h5util.h"
#include <h5store/version.h>
#include <pthread.h>
#include <stdio.h>

static pthread_once_t version_once = PTHREAD_ONCE_INIT;
static char version_hdf5[32] = "unknown"; /* written once, under version_once */

const char *
h5store_version(void)
{
    return H5STORE_VERSION;
}

static void
version_ask_hdf5(void)
{
    unsigned major, minor, release;

    hs_h5_enter();
    if (H5get_libversion(&major, &minor, &release) >= 0)
        snprintf(version_hdf5, sizeof version_hdf5, "%u.%u.%u", major, minor, release);
    hs_h5_leave();
}

int
h5store_hdf5_is_thread_safe(void)
{
    return hs_h5_is_thread_safe();
}

const char *
h5store_hdf5_version(void)
{
    /* The library that was linked at run time, not the headers': they may differ. */
    pthread_once(&version_once, version_ask_hdf5);
    return version_hdf5;
}
