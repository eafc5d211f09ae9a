/* SPDX-License-Identifier: MIT */
/*
 * The calls that are made to fail, for faults.c.
 */
#ifndef FAULTS_H
#define FAULTS_H

#include <h5store/h5store.h>
#include <stdbool.h>

/* What a call works on; prepared before the failure is ordered, released after. */
typedef struct fault_context {
    const char *path;
    h5store *store; /* NULL when the call opens it */
    h5store_blob *blob;
    h5store_batch *batch;
    h5store_item *item;
} fault_context;

typedef struct fault_case {
    const char *name;
    bool left;      /* the container was left by a killed process: its log waits */
    bool opens;     /* the call opens or closes the store */
    bool may_stand; /* a failure may come after the change was made: by prepare, or with
                       durability "power" before the sync */
    h5store_durability durability;
    int (*prepare)(fault_context *context, h5store_err *err); /* may be NULL */
    int (*call)(fault_context *context, h5store_err *err);
} fault_case;

extern const fault_case fault_cases[];
extern const size_t fault_case_count;

/* What every container has before. */
int fault_fill(h5store *store, h5store_err *err);
int fault_open(const char *path, unsigned flags, h5store_durability durability, h5store **store,
               h5store_err *err);

#endif
