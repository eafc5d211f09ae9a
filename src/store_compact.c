/* SPDX-License-Identifier: MIT */
/*
 * The public facade: compaction.
 */
#include "compact.h"
#include "store_impl.h"

int
h5store_compact(h5store *store, h5store_progress_fn progress, void *context,
                h5store_compaction *result, h5store_err *err)
{
    int rc = hs_store_need(result != NULL, "h5store_compact", err);

    if (rc == H5STORE_OK)
        rc = hs_store_enter(store, err);
    if (rc < 0)
        return rc;
    rc = hs_compact(store->container, progress, context, result, err);
    hs_store_leave(store);
    return rc;
}
