/* SPDX-License-Identifier: MIT */
/*
 * The pins of a container (I4), and what of it does not change while it is open.
 *
 * Pins are locks of the log, held by whoever needs the bytes of an extent to stay; lock.c has
 * them.  A container that was opened read-only without a log has no locks; its file is frozen
 * by the stock lock then, and pins are only counted.
 */
#include "container_impl.h"
#include <assert.h>

/* ---- pins ------------------------------------------------------------- */

int
hs_container_pin(hs_container *c, hs_extent extent, h5store_err *err)
{
    assert(c->scope != SCOPE_NONE);
    if (c->locks == NULL) {
        c->bare_pins++;
        return H5STORE_OK;
    }
    return hs_pin_take(c->locks, extent.address, extent.length, err);
}

void
hs_container_unpin(hs_container *c, hs_extent extent)
{
    if (hs_container_check_process(c, NULL) < 0)
        return;
    pthread_mutex_lock(&c->mutex);
    if (c->locks == NULL)
        c->bare_pins--;
    else
        hs_pin_release(c->locks, extent.address);
    pthread_mutex_unlock(&c->mutex);
}

void
hs_container_keep_pin(hs_container *c, hs_extent extent)
{
    if (hs_container_check_process(c, NULL) < 0)
        return;
    pthread_mutex_lock(&c->mutex);
    if (c->locks != NULL) {
        hs_pin_keep(c->locks, extent.address);
    } else if (!c->bare_kept) {
        c->bare_kept = true;
        c->bare_pins++;
    }
    pthread_mutex_unlock(&c->mutex);
}

void
hs_container_shorten_pin(hs_container *c, hs_extent extent, uint64_t length)
{
    pthread_mutex_lock(&c->mutex);
    hs_pin_shorten(c->locks, extent.address, length);
    pthread_mutex_unlock(&c->mutex);
}

bool
hs_container_split_pin(hs_container *c, hs_extent extent, uint64_t length)
{
    int rc;

    pthread_mutex_lock(&c->mutex);
    rc = hs_pin_split(c->locks, extent.address, length, NULL);
    pthread_mutex_unlock(&c->mutex);
    return rc == H5STORE_OK;
}

int
hs_container_pin_exclusive(hs_container *c, hs_extent extent, bool *granted, h5store_err *err)
{
    assert(c->scope == SCOPE_WRITE);
    return hs_pin_try_exclusive(c->locks, extent.address, extent.length, granted, err);
}

int
hs_container_find_pin(hs_container *c, hs_extent extent, hs_extent *pin, h5store_err *err)
{
    uint64_t from, to;
    int rc = hs_pin_find(c->locks, extent.address, extent.length, &from, &to, err);

    if (rc == H5STORE_OK)
        *pin = (hs_extent){from, to - from};
    return rc;
}

void
hs_container_unpin_exclusive(hs_container *c, hs_extent extent, bool in_scope)
{
    if (!in_scope)
        pthread_mutex_lock(&c->mutex);
    hs_pin_release_exclusive(c->locks, extent.address, extent.length);
    if (!in_scope)
        pthread_mutex_unlock(&c->mutex);
}

/* ---- what is constant ------------------------------------------------- */

const char *
hs_container_path(const hs_container *c)
{
    return c->path;
}

int
hs_container_fd(const hs_container *c)
{
    return c->fd;
}

hs_probes *
hs_container_probes(hs_container *c)
{
    return &c->probes;
}

hs_ahead *
hs_container_ahead(hs_container *c)
{
    return &c->ahead;
}

int
hs_container_threads(const hs_container *c)
{
    return c->threads;
}

bool
hs_container_is_read_only(const hs_container *c)
{
    return c->read_only;
}

bool
hs_container_is_power_safe(const hs_container *c)
{
    return c->durability == H5STORE_DURABLE_POWER;
}

int
hs_container_sizes(hs_container *c, uint64_t *file_size, uint64_t *disk_bytes, uint64_t *log_bytes,
                   h5store_err *err)
{
    struct stat file = {0}, log = {0};
    int rc = hs_os_fstat(c->fd, c->path, &file, err);

    if (rc == H5STORE_OK && c->log_fd >= 0)
        rc = hs_os_fstat(c->log_fd, c->log_path, &log, err);
    if (rc < 0)
        return rc;
    *file_size = (uint64_t)file.st_size;
    *disk_bytes = ((uint64_t)file.st_blocks + (uint64_t)log.st_blocks) * 512;
    *log_bytes = (uint64_t)log.st_size;
    return H5STORE_OK;
}
