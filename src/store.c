/* SPDX-License-Identifier: MIT */
/*
 * The public facade: opening, closing, totals.  Argument checks and handle life are here;
 * what is done is done below.
 */
#include "extent.h"
#include "recover.h"
#include "store_impl.h"
#include <math.h>

int
hs_store_need(bool given, const char *function, h5store_err *err)
{
    if (given)
        return H5STORE_OK;
    return hs_fail(err, H5STORE_E_INVALID, 0, "%s was called with a NULL argument", function);
}

int
hs_store_enter(h5store *store, h5store_err *err)
{
    int rc = hs_store_need(store != NULL, "a function of h5store", err);

    if (rc == H5STORE_OK)
        rc = hs_container_check_process(store->container, err);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&store->mutex);
    if (store->closing)
        rc = hs_fail(err, H5STORE_E_CLOSED, 0, "container '%s' was closed; open it again",
                     hs_container_path(store->container));
    else
        store->inside++;
    pthread_mutex_unlock(&store->mutex);
    return rc;
}

void
hs_store_leave(h5store *store)
{
    pthread_mutex_lock(&store->mutex);
    if (--store->inside == 0 && store->closing)
        pthread_cond_broadcast(&store->idle);
    pthread_mutex_unlock(&store->mutex);
}

void
hs_store_hold(h5store *store)
{
    pthread_mutex_lock(&store->mutex);
    store->objects++;
    pthread_mutex_unlock(&store->mutex);
}

static int
store_release(h5store *store, h5store_err *err)
{
    int rc = hs_container_close(store->container, err);

    pthread_cond_destroy(&store->idle);
    pthread_mutex_destroy(&store->mutex);
    free(store);
    return rc;
}

void
hs_store_let_go(h5store *store)
{
    bool last;

    /* In a forked child the mutex may be held by a thread that does not exist here. */
    if (hs_container_check_process(store->container, NULL) < 0)
        return;
    pthread_mutex_lock(&store->mutex);
    last = --store->objects == 0;
    pthread_mutex_unlock(&store->mutex);
    if (last)
        (void)store_release(store, NULL);
}

void
hs_store_hold_pins(h5store *store)
{
    atomic_fetch_add(&store->pinned, 1);
    hs_store_hold(store);
}

void
hs_store_let_go_pins(h5store *store)
{
    bool last = atomic_fetch_sub(&store->pinned, 1) == 1;

    if (hs_container_check_process(store->container, NULL) == H5STORE_OK)
        hs_store_let_go(store);
    else if (last && store->closing)
        (void)hs_container_close(store->container, NULL);
}

/* ---- opening and closing ---------------------------------------------- */

void
h5store_options_init(h5store_options *options)
{
    *options = (h5store_options){
        .flags = 0, .durability = H5STORE_DURABLE_PROCESS, .timeout = 30.0, .threads = 0};
}

static int
store_check_options(const h5store_options *options, h5store_err *err)
{
    if ((options->flags & ~(unsigned)(H5STORE_CREATE | H5STORE_READ_ONLY)) != 0)
        return hs_fail(err, H5STORE_E_INVALID, 0, "unknown flags %#x", options->flags);
    if ((options->flags & H5STORE_CREATE) != 0 && (options->flags & H5STORE_READ_ONLY) != 0)
        return hs_fail(err, H5STORE_E_INVALID, 0,
                       "a container cannot be created read-only; give one of the two flags");
    if (options->durability != H5STORE_DURABLE_PROCESS &&
        options->durability != H5STORE_DURABLE_POWER)
        return hs_fail(err, H5STORE_E_INVALID, 0, "unknown durability %d",
                       (int)options->durability);
    if (!isfinite(options->timeout) || options->timeout < 0 || options->timeout > 1e9)
        return hs_fail(err, H5STORE_E_INVALID, 0, "the timeout is %g seconds; give 0 to 1e9",
                       options->timeout);
    if (options->threads < 0 || options->threads > 1024)
        return hs_fail(err, H5STORE_E_INVALID, 0, "the number of threads is %d; give 0 to 1024",
                       options->threads);
    return H5STORE_OK;
}

static h5store *
store_new(hs_container *container, h5store_err *err)
{
    h5store *store = calloc(1, sizeof *store);

    if (store == NULL) {
        hs_fail_nomem(err, sizeof *store, "a store");
        return NULL;
    }
    store->container = container;
    store->objects = 1;
    pthread_mutex_init(&store->mutex, NULL);
    pthread_cond_init(&store->idle, NULL);
    return store;
}

int
h5store_open(const char *path, const h5store_options *options, h5store **store, h5store_err *err)
{
    h5store_options defaults;
    hs_container *container;
    bool unclean;
    int rc = hs_store_need(path != NULL && store != NULL, "h5store_open", err);

    h5store_options_init(&defaults);
    if (options == NULL)
        options = &defaults;
    if (rc == H5STORE_OK)
        rc = store_check_options(options, err);
    if (rc == H5STORE_OK && path[0] == '\0')
        rc = hs_fail(err, H5STORE_E_INVALID, 0, "the path of a container is empty");
    if (rc == H5STORE_OK)
        rc = hs_container_open(path, options, &container, &unclean, err);
    if (rc < 0)
        return rc;
    rc = hs_recover(container, unclean, err);
    if (rc == H5STORE_OK) {
        *store = store_new(container, err);
        rc = *store != NULL ? H5STORE_OK : H5STORE_E_NOMEM;
    }
    if (rc < 0)
        (void)hs_container_close(container, NULL);
    return rc;
}

int
h5store_close(h5store *store, h5store_err *err)
{
    bool last;
    int rc;

    if (store == NULL)
        return H5STORE_OK;
    if (hs_container_check_process(store->container, NULL) < 0) {
        store->closing = true;
        return atomic_load(&store->pinned) > 0
                   ? H5STORE_OK
                   : hs_container_close(store->container, err); /* lets go of descriptors only */
    }
    pthread_mutex_lock(&store->mutex);
    store->closing = true;
    while (store->inside > 0)
        pthread_cond_wait(&store->idle, &store->mutex);
    last = store->objects == 1;
    if (last)
        store->objects = 0;
    pthread_mutex_unlock(&store->mutex);
    if (last)
        return store_release(store, err);
    /*
     * Blobs are still open: what was committed goes to the file now all the same.  The
     * handle's own count is given back after that, since the last blob may be closed by
     * another thread at any moment.
     */
    rc = H5STORE_OK;
    if (!hs_container_is_read_only(store->container))
        rc = hs_container_checkpoint(store->container, true, err);
    hs_store_let_go(store);
    return rc == H5STORE_E_BUSY || rc == H5STORE_E_CHANGED ? H5STORE_OK : rc;
}

const char *
h5store_path(const h5store *store)
{
    return hs_container_path(store->container);
}

int
h5store_is_read_only(const h5store *store)
{
    return hs_container_is_read_only(store->container);
}

const char *
h5store_notice(const h5store *store)
{
    return hs_container_notice(store->container);
}

int
h5store_flush(h5store *store, h5store_err *err)
{
    int rc = hs_store_enter(store, err);

    if (rc < 0)
        return rc;
    (void)hs_container_write_notes(store->container, NULL);
    if (!hs_container_is_read_only(store->container))
        rc = hs_container_checkpoint(store->container, true, err);
    if (rc == H5STORE_OK && !hs_container_is_read_only(store->container))
        (void)hs_extent_reclaim(store->container, NULL);
    hs_store_leave(store);
    return rc;
}

int
h5store_stat(h5store *store, h5store_totals *totals, h5store_err *err)
{
    h5store_totals t = {0};
    const hs_space *space;
    int rc = hs_store_need(totals != NULL, "h5store_stat", err);

    if (rc == H5STORE_OK)
        rc = hs_store_enter(store, err);
    if (rc < 0)
        return rc;
    rc = hs_container_read_begin(store->container, NULL, err);
    if (rc == H5STORE_OK) {
        space = hs_container_space(store->container);
        t.items = space->counters.items;
        t.blobs = space->counters.blobs;
        t.links = space->counters.links;
        t.blob_bytes = space->counters.blob_bytes;
        t.linked_bytes = space->counters.linked_bytes;
        t.free_bytes = space->free_bytes;
        t.used_bytes = hs_space_used(space);
        t.metadata_bytes = space->blocks.metadata_bytes;
        hs_container_read_end(store->container);
        rc = hs_container_sizes(store->container, &t.file_size, &t.disk_bytes, &t.log_bytes, err);
    }
    if (rc == H5STORE_OK)
        *totals = t;
    hs_store_leave(store);
    return rc;
}
