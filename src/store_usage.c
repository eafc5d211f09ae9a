/* SPDX-License-Identifier: MIT */
/*
 * The public facade: what a container is used for.
 */
#include "container.h"
#include "store_impl.h"
#include <h5store/usage.h>

int
h5store_note(h5store *store, h5store_note_kind kind, const char *collection, const char *key,
             const char *text, h5store_err *err)
{
    bool known = kind == H5STORE_NOTE_HIT || kind == H5STORE_NOTE_MISS || kind == H5STORE_NOTE_HEAL;
    int rc = hs_store_need(collection != NULL && key != NULL && known, "h5store_note", err);

    if (rc == H5STORE_OK)
        rc = hs_store_enter(store, err);
    if (rc < 0)
        return rc;
    /* A note that cannot be written now waits for the next commit. */
    if (hs_container_note(store->container, (hs_note)kind, collection, key,
                          text != NULL ? text : ""))
        (void)hs_container_write_notes(store->container, NULL);
    hs_store_leave(store);
    return H5STORE_OK;
}

int
h5store_get_usage(h5store *store, h5store_usage *usage, h5store_err *err)
{
    hs_usage_counters counters;
    int rc = hs_store_need(usage != NULL, "h5store_get_usage", err);

    if (rc == H5STORE_OK)
        rc = hs_store_enter(store, err);
    if (rc < 0)
        return rc;
    rc = hs_container_counters(store->container, &counters, err);
    if (rc == H5STORE_OK)
        *usage = (h5store_usage){counters.hits,   counters.misses,     counters.heals,
                                 counters.stored, counters.duplicates, counters.duplicate_bytes};
    hs_store_leave(store);
    return rc;
}

int
h5store_get_misses(h5store *store, h5store_miss *misses, size_t *count, h5store_err *err)
{
    hs_usage_miss found[HS_USAGE_MISSES];
    int rc = hs_store_need(misses != NULL && count != NULL, "h5store_get_misses", err);

    if (rc == H5STORE_OK)
        rc = hs_store_enter(store, err);
    if (rc < 0)
        return rc;
    rc = hs_container_misses(store->container, found, count, err);
    for (size_t i = 0; rc == H5STORE_OK && i < *count; i++) {
        misses[i].time = found[i].time;
        memcpy(misses[i].collection, found[i].collection, sizeof misses[i].collection);
        memcpy(misses[i].key, found[i].key, sizeof misses[i].key);
        memcpy(misses[i].text, found[i].text, sizeof misses[i].text);
    }
    hs_store_leave(store);
    return rc;
}
