/* SPDX-License-Identifier: MIT */
/*
 * The handle behind the public API, for the store_*.c files alone.
 *
 * An h5store counts two things: calls that are inside it, for which closing waits, and
 * objects made from it (blobs, items, batches, cursors), which keep the container in
 * memory until the last of them is released, but do not keep it open for calls.
 */
#ifndef HS_STORE_IMPL_H
#define HS_STORE_IMPL_H

#include "container.h"
#include "reader.h"
#include <h5store/h5store.h>
#include <pthread.h>
#include <stdatomic.h>

struct h5store {
    hs_container *container;
    pthread_mutex_t mutex;
    pthread_cond_t idle;
    unsigned inside;  /* calls */
    unsigned objects; /* and 1 for the handle until it is closed */
    bool closing;
    /* Blobs and items among the objects.  A forked child, where the mutex is of no use, keeps
     * the descriptors as long as it has any, since the pins go with those. */
    atomic_uint pinned;
};

struct h5store_blob {
    h5store *store;
    hs_blob blob;
    bool owned_by_item; /* released with its item, pin and all */
    uint64_t forks;     /* hs_forks_now() when it was opened */
    bool copied;        /* its bytes were asked for with h5store_blob_read */
    void *address;      /* of the mapping, or NULL */
    void *unpacked;     /* the bytes of a packed blob once they were asked for, or NULL */
};

/* Begin and end a call: E_INVALID for NULL, E_FORKED, E_CLOSED. */
int hs_store_enter(h5store *store, h5store_err *err);
void hs_store_leave(h5store *store);

/* An object of the store comes or goes; the last to go releases the container. */
void hs_store_hold(h5store *store);
void hs_store_let_go(h5store *store);

/* The same of one that pins. */
void hs_store_hold_pins(h5store *store);
void hs_store_let_go_pins(h5store *store);

/* Before a blob is released: unmap it, and leave its pin to a child that has it mapped. */
void hs_store_unmap(h5store_blob *blob);

/* Shared argument check: E_INVALID, naming the function, unless all are given. */
int hs_store_need(bool given, const char *function, h5store_err *err);

#endif
