/* SPDX-License-Identifier: MIT */
/*
 * The public facade: walks, and verifying.
 */
#include "cursor.h"
#include "store_impl.h"
#include "verify.h"

struct h5store_blob_cursor {
    h5store *store;
    hs_blob_walk walk;
};

int
h5store_blob_cursor_open(h5store *store, h5store_blob_cursor **cursor, h5store_err *err)
{
    h5store_blob_cursor *made;
    int rc = hs_store_need(cursor != NULL, "h5store_blob_cursor_open", err);

    if (rc == H5STORE_OK)
        rc = hs_store_enter(store, err);
    if (rc < 0)
        return rc;
    made = calloc(1, sizeof *made);
    if (made != NULL) {
        made->store = store;
        made->walk.container = store->container;
        hs_store_hold(store);
        *cursor = made;
    } else {
        rc = hs_fail_nomem(err, sizeof *made, "a walk over the blobs");
    }
    hs_store_leave(store);
    return rc;
}

int
h5store_blob_cursor_next(h5store_blob_cursor *cursor, h5store_blob_info *info, h5store_err *err)
{
    int rc = hs_store_need(cursor != NULL && info != NULL, "h5store_blob_cursor_next", err);

    if (rc == H5STORE_OK)
        rc = hs_store_enter(cursor->store, err);
    if (rc < 0)
        return rc;
    rc = hs_blob_walk_next(&cursor->walk, err);
    if (rc == H5STORE_OK || rc == H5STORE_E_DAMAGED)
        *info = cursor->walk.blob.info;
    hs_store_leave(cursor->store);
    return rc;
}

void
h5store_blob_cursor_close(h5store_blob_cursor *cursor)
{
    h5store *store;

    if (cursor == NULL)
        return;
    store = cursor->store;
    hs_blob_walk_release(&cursor->walk);
    free(cursor);
    hs_store_let_go(store);
}

struct h5store_item_cursor {
    h5store *store;
    hs_item_walk *walk;
};

int
h5store_item_cursor_open(h5store *store, const char *collection, h5store_item_cursor **cursor,
                         h5store_err *err)
{
    h5store_item_cursor *made;
    int rc = hs_store_need(cursor != NULL, "h5store_item_cursor_open", err);

    if (rc == H5STORE_OK && collection != NULL)
        rc = hs_item_check_names(collection, NULL, err);
    if (rc == H5STORE_OK)
        rc = hs_store_enter(store, err);
    if (rc < 0)
        return rc;
    /* So that it tells when items were last used by this process, too. */
    (void)hs_container_write_notes(store->container, NULL);
    made = calloc(1, sizeof *made);
    rc = made == NULL ? hs_fail_nomem(err, sizeof *made, "a walk over the items")
                      : hs_item_walk_new(store->container, collection, &made->walk, err);
    if (rc == H5STORE_OK) {
        made->store = store;
        hs_store_hold(store);
        *cursor = made;
    } else {
        free(made);
    }
    hs_store_leave(store);
    return rc;
}

int
h5store_item_cursor_next(h5store_item_cursor *cursor, h5store_item_info *info, h5store_err *err)
{
    int rc = hs_store_need(cursor != NULL && info != NULL, "h5store_item_cursor_next", err);

    if (rc == H5STORE_OK)
        rc = hs_store_enter(cursor->store, err);
    if (rc < 0)
        return rc;
    rc = hs_item_walk_next(cursor->walk, info, err);
    hs_store_leave(cursor->store);
    return rc;
}

void
h5store_item_cursor_close(h5store_item_cursor *cursor)
{
    h5store *store;

    if (cursor == NULL)
        return;
    store = cursor->store;
    hs_item_walk_free(cursor->walk);
    free(cursor);
    hs_store_let_go(store);
}

int
h5store_verify(h5store *store, const h5store_verify_options *options, uint64_t *errors,
               h5store_err *err)
{
    int rc = hs_store_need(options != NULL && errors != NULL, "h5store_verify", err);

    if (rc == H5STORE_OK && !(options->fraction >= 0 && options->fraction <= 1))
        rc = hs_fail(err, H5STORE_E_INVALID, 0, "the fraction to verify is %g; give 0 to 1",
                     options->fraction);
    if (rc == H5STORE_OK)
        rc = hs_store_enter(store, err);
    if (rc < 0)
        return rc;
    rc = hs_verify(store->container, options, errors, err);
    hs_store_leave(store);
    return rc;
}
