/* SPDX-License-Identifier: MIT */
/*
 * See batch.h.
 *
 * A PUT (put.c) is outside the commit, and outside locks but for moments.  What it found then
 * may have changed when the batch commits:
 *
 *   written, and still absent     the dataset is made over the extent
 *   written, but present now      another process put the same: ours is given up
 *   found, and still present      nothing to do
 *   found, but removed since      its extent is pinned by us, so the bytes are still there:
 *                                 the dataset is made anew over the same extent
 *   found damaged                 the bytes were written again in place, the mark is cleared
 *
 * A REMOVAL lowers link counts; blobs whose only link is left in /blobs go in the same
 * commit (I4).  When blobs were removed by name or by collection the log is applied and the
 * space punched before the call returns, so that du falls at once; but for no longer than a
 * quarter of a second, since some disks take a millisecond for a hole, and then the janitor
 * goes on.  Blobs that merely lost their last item to a new result wait for the janitor.  The
 * removal of everything is a rebuild without items (rebuild.h), which takes no longer for a
 * million of them, and that of nearly everything one of the rest.  When a removal leaves too
 * much waste in the metadata, a rebuild follows it.
 */
#include "batch_impl.h"
#include "extent.h"
#include "grow.h"
#include "h5util.h"
#include "os.h"
#include "rebuild.h"
#include "removal.h"
#include <stdio.h>

#define BATCH_TOGETHER 64u /* arrays that are put at once */

/* ---- memory ----------------------------------------------------------- */

static void
batch_free_op(batch_op *op)
{
    free(op->collection);
    free(op->key);
    free(op->text);
    free(op->output);
    free(op->links);
}

static void
batch_free(hs_batch *batch)
{
    for (size_t i = 0; i < batch->put_count; i++)
        hs_put_release(batch->puts[i]);
    for (size_t i = 0; i < batch->op_count; i++)
        batch_free_op(&batch->ops[i]);
    free(batch->puts);
    free(batch->ops);
    free(batch);
}

static void
batch_unpin(hs_batch *batch)
{
    for (size_t i = 0; i < batch->put_count; i++)
        if (batch->puts[i]->extent.length > 0)
            hs_container_unpin(batch->container, batch->puts[i]->extent);
}

int
hs_batch_new(hs_container *c, hs_batch **batch, h5store_err *err)
{
    hs_batch *made;

    if (hs_container_is_read_only(c))
        return hs_fail(err, H5STORE_E_READ_ONLY, 0, "container '%s' is open for reading only",
                       hs_container_path(c));
    made = calloc(1, sizeof *made);
    if (made == NULL)
        return hs_fail_nomem(err, sizeof *made, "a batch");
    made->container = c;
    *batch = made;
    return H5STORE_OK;
}

/* ---- putting ---------------------------------------------------------- */

void
hs_batch_compress(hs_batch *batch, int level)
{
    batch->level = level;
}

/* Take over a put that has its name: see to its bytes, unless the batch has an equal one. */
static int
batch_take(hs_batch *batch, hs_put **put, const h5store_array *array, h5store_id *id,
           h5store_err *err)
{
    bool found = false;
    int rc = hs_grow(&batch->puts, batch->put_count, &batch->put_room, sizeof *batch->puts,
                     "a batch", err);

    for (size_t i = 0; rc == H5STORE_OK && i < batch->put_count; i++)
        if (h5store_id_equal(&batch->puts[i]->id, &(*put)->id)) {
            hs_put_abandon(batch->container, *put);
            *id = batch->puts[i]->id;
            return H5STORE_EXISTS;
        }
    if (rc < 0) {
        hs_put_abandon(batch->container, *put);
        return rc;
    }
    rc = hs_put_store(batch->container, *put, array, batch->level, &found, err);
    if (rc < 0)
        return rc;
    *id = (*put)->id;
    batch->puts[batch->put_count++] = hs_take(put);
    return found ? H5STORE_EXISTS : H5STORE_OK;
}

int
hs_batch_put(hs_batch *batch, const h5store_array *array, h5store_id *id, h5store_err *err)
{
    HS_CLEANUP(hs_put_releasep) hs_put *put = NULL;
    int rc = hs_put_begin(batch->container, array, batch->level, &put, err);

    return rc < 0 ? rc : batch_take(batch, &put, array, id, err);
}

/* How many of the arrays, from the first on, are best put at once: 1 if that one is large. */
static size_t
batch_group(const hs_batch *batch, const h5store_array *arrays, size_t count)
{
    size_t together = 0;

    while (batch->level == 0 && together < hs_min(count, BATCH_TOGETHER) &&
           arrays[together].nbytes <= HS_PUT_TOGETHER)
        together++;
    return (size_t)hs_max(1, together);
}

static int
batch_put_group(hs_batch *batch, const h5store_array *arrays, size_t count, h5store_id *ids,
                h5store_err *err)
{
    hs_put *puts[BATCH_TOGETHER];
    int rc = hs_put_begin_all(batch->container, arrays, count, puts, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count; i++) {
        if (rc >= 0)
            rc = batch_take(batch, &puts[i], &arrays[i], &ids[i], err);
        else
            hs_put_abandon(batch->container, puts[i]);
        hs_put_releasep(&puts[i]);
    }
    return rc;
}

int
hs_batch_put_all(hs_batch *batch, const h5store_array *arrays, size_t count, h5store_id *ids,
                 h5store_err *err)
{
    size_t together;
    int rc = H5STORE_OK;

    for (size_t i = 0; rc >= 0 && i < count; i += together) {
        together = batch_group(batch, arrays + i, count - i);
        rc = together == 1 ? hs_batch_put(batch, arrays + i, ids + i, err)
                           : batch_put_group(batch, arrays + i, together, ids + i, err);
    }
    return rc < 0 ? rc : H5STORE_OK;
}

/* ---- noting changes --------------------------------------------------- */

/* A copy of a text that may be NULL; false when memory ran out. */
static bool
batch_copy(const char *text, char **copy)
{
    *copy = text != NULL ? strdup(text) : NULL;
    return text == NULL || *copy != NULL;
}

static int
batch_note(hs_batch *batch, batch_kind kind, const char *collection, const char *key,
           const char *text, batch_op **noted, h5store_err *err)
{
    batch_op op = {.kind = kind};
    int rc = hs_grow(&batch->ops, batch->op_count, &batch->op_room, sizeof *batch->ops, "a batch",
                     err);

    if (rc < 0)
        return rc;
    if (!batch_copy(collection, &op.collection) || !batch_copy(key, &op.key) ||
        !batch_copy(text, &op.text)) {
        batch_free_op(&op);
        return hs_fail_nomem(err, 0, "a batch");
    }
    batch->ops[batch->op_count] = op;
    if (noted != NULL)
        *noted = &batch->ops[batch->op_count];
    batch->op_count++;
    return H5STORE_OK;
}

int
hs_batch_set_item(hs_batch *batch, const h5store_item_spec *spec, h5store_err *err)
{
    batch_op *op;
    int rc = hs_item_check_names(spec->collection, spec->key, err);

    if (rc == H5STORE_OK)
        rc = batch_note(batch, SET_ITEM, spec->collection, spec->key, spec->metadata, &op, err);
    if (rc < 0)
        return rc;
    op->output = malloc(spec->output_size + 1);
    op->links = malloc((spec->link_count + 1) * sizeof *op->links);
    if (op->output == NULL || op->links == NULL) {
        batch_free_op(op);
        batch->op_count--;
        return hs_fail_nomem(err, spec->output_size, "an item");
    }
    if (spec->output_size > 0)
        memcpy(op->output, spec->output, spec->output_size);
    if (spec->link_count > 0)
        memcpy(op->links, spec->links, spec->link_count * sizeof *op->links);
    op->output_size = spec->output_size;
    op->link_count = spec->link_count;
    return H5STORE_OK;
}

int
hs_batch_set_metadata(hs_batch *batch, const char *collection, const char *key,
                      const char *metadata, h5store_err *err)
{
    int rc = hs_item_check_names(collection, key, err);

    for (size_t i = batch->op_count; rc == H5STORE_OK && i-- > 0;) {
        batch_op *op = &batch->ops[i];
        char *copy;

        if (op->kind == REMOVE)
            break;
        if (op->kind != SET_ITEM || strcmp(op->key, key) != 0 ||
            strcmp(op->collection, collection) != 0)
            continue;
        /* Of an item of this batch: it gets these at once. */
        if (!batch_copy(metadata, &copy))
            return hs_fail_nomem(err, 0, "a batch");
        free(op->text);
        op->text = copy;
        return H5STORE_OK;
    }
    return rc < 0 ? rc : batch_note(batch, SET_METADATA, collection, key, metadata, NULL, err);
}

int
hs_batch_set_times(hs_batch *batch, const char *collection, const char *key, hs_usage_times times,
                   h5store_err *err)
{
    batch_op *op;
    int rc = hs_item_check_names(collection, key, err);

    if (rc == H5STORE_OK)
        rc = batch_note(batch, SET_TIMES, collection, key, NULL, &op, err);
    if (rc == H5STORE_OK)
        op->times = times;
    return rc;
}

int
hs_batch_set_source(hs_batch *batch, const char *collection, const char *text, h5store_err *err)
{
    int rc = hs_item_check_names(collection, NULL, err);

    return rc < 0 ? rc : batch_note(batch, SET_SOURCE, collection, NULL, text, NULL, err);
}

int
hs_batch_remove(hs_batch *batch, const char *collection, const char *key, h5store_err *err)
{
    int rc = collection != NULL ? hs_item_check_names(collection, key, err) : H5STORE_OK;

    return rc < 0 ? rc : batch_note(batch, REMOVE, collection, key, NULL, NULL, err);
}

int
hs_batch_keep(hs_batch *batch, const h5store_id *id, bool keep, h5store_err *err)
{
    char text[H5STORE_ID_TEXT_SIZE];

    h5store_id_format(id, text);
    return batch_note(batch, keep ? KEEP : DISCARD, NULL, text, NULL, NULL, err);
}

/* ---- committing ------------------------------------------------------- */

/* Is a blob the one whose bytes a put has written again? */
static bool
commit_mends(const hs_put *put, const hs_blob *blob)
{
    const hs_packed *ours = &put->packed, *theirs = &blob->packed;

    if (put->state != HS_PUT_MENDED)
        return false;
    if (!hs_is_packed(ours))
        return !hs_is_packed(theirs) && blob->extent.address == put->extent.address;
    return theirs->count == ours->count && theirs->chunk_size == ours->chunk_size &&
           theirs->item == ours->item;
}

/* Make the dataset of a put true, whatever happened since.  *record: to be logged. */
static int
commit_put(hs_container *c, hid_t file, const hs_put *put, bool *record, h5store_err *err)
{
    hs_counters *counters = &hs_container_space(c)->counters;
    hs_blob_parts parts = hs_put_parts(put);
    char path[HS_BLOB_PATH_SIZE];
    uint64_t address;
    hs_blob blob;
    bool is_new = put->is_absent && put->generation == hs_container_generation(c);
    int rc = is_new ? H5STORE_E_NOT_FOUND : hs_blob_find(file, &put->id, &address, NULL);

    *record = put->state != HS_PUT_FOUND && put->extent.length > 0;
    if (rc == H5STORE_OK) {
        rc = hs_blob_describe(c, address, &blob, err);
        if (rc == H5STORE_OK) {
            if (commit_mends(put, &blob))
                rc = hs_blob_mend(c, file, &blob, &parts, err);
            hs_blob_release(&blob);
            return rc;
        }
        if (rc != H5STORE_E_DAMAGED)
            return rc;
        /* Items keep the unreadable object by their own links until they are set again. */
        hs_blob_path(&put->id, path);
        if (H5Ldelete(file, path, H5P_DEFAULT) < 0)
            return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot replace blob '%s'", path);
        counters->blobs -= hs_min(counters->blobs, 1);
        counters->blob_bytes -= hs_min(counters->blob_bytes, put->array.nbytes);
    }
    return hs_blob_create(c, file, &parts, err);
}

static int
commit_keep(hs_container *c, hid_t file, const char *id, bool keep, hs_id_list *orphans,
            h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_group) hid_t kept = H5Gopen2(file, "/kept", H5P_DEFAULT);
    char path[HS_BLOB_PATH_SIZE];
    uint64_t address;
    h5store_id name;
    int rc, has = kept < 0 ? hs_h5_fail(err, H5STORE_E_DAMAGED, "there is no group '/kept'")
                           : hs_h5_has_link(kept, id, err);

    if (has < 0)
        return has;
    rc = h5store_id_parse(id, &name, err);
    if (rc < 0 || (keep && has))
        return rc;
    if (!keep) {
        if (!has)
            return hs_fail(err, H5STORE_E_NOT_FOUND, 0, "blob %s is not kept in container '%s'", id,
                           hs_container_path(c));
        if (H5Ldelete(kept, id, H5P_DEFAULT) < 0)
            return hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot discard blob %s", id);
        return hs_id_list_add(orphans, &name, err);
    }
    hs_blob_path(&name, path);
    rc = hs_blob_find(file, &name, &address, err);
    if (rc == H5STORE_OK && H5Lcreate_hard(file, path, kept, id, H5P_DEFAULT, H5P_DEFAULT) < 0)
        rc = hs_container_hdf5_fail(c, err, H5STORE_E_HDF5, "cannot keep blob %s", id);
    return rc;
}

static int
commit_op(hs_container *c, hid_t file, const batch_op *op, const hs_sizes *sizes,
          hs_id_list *orphans, h5store_err *err)
{
    h5store_item_spec spec = batch_spec(op);
    hs_item_name name = {op->collection, op->key};
    int rc;

    switch (op->kind) {
    case SET_ITEM:
        rc = hs_item_create(c, file, &spec, sizes, err);
        if (rc == H5STORE_EXISTS) {
            rc = hs_item_remove(c, file, &name, 1, orphans, err);
            if (rc == H5STORE_OK)
                rc = hs_item_create(c, file, &spec, sizes, err);
        }
        return rc < 0 ? rc : hs_container_usage_set(c, op->collection, op->key, err);
    case SET_METADATA:
        return hs_item_set_metadata(c, file, op->collection, op->key,
                                    op->text != NULL ? op->text : "{}", err);
    case SET_TIMES:
        return hs_container_usage_set_times(c, op->collection, op->key, op->times, err);
    case SET_SOURCE:
        return hs_item_set_source(c, file, op->collection, op->text, err);
    case REMOVE:
        return hs_item_remove_collection(c, file, op->collection, orphans, err);
    case KEEP:
    case DISCARD:
        return commit_keep(c, file, op->key, op->kind == KEEP, orphans, err);
    }
    return H5STORE_OK;
}

static bool
batch_is_removal_of_item(const batch_op *op)
{
    return op->kind == REMOVE && op->key != NULL;
}

/* The removals of items that follow each other from @p first on; *next: what comes then. */
static int
commit_removals(const hs_batch *batch, hid_t file, size_t first, size_t *next, hs_id_list *orphans,
                h5store_err *err)
{
    HS_CLEANUP(hs_freep) hs_item_name *names = NULL;
    size_t end = first;

    while (end < batch->op_count && batch_is_removal_of_item(&batch->ops[end]))
        end++;
    names = malloc((end - first) * sizeof *names);
    if (names == NULL)
        return hs_fail_nomem(err, (end - first) * sizeof *names, "a batch");
    for (size_t i = first; i < end; i++)
        names[i - first] = (hs_item_name){batch->ops[i].collection, batch->ops[i].key};
    *next = end;
    return hs_item_remove(batch->container, file, names, end - first, orphans, err);
}

static int
batch_compare_sizes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(h5store_id));
}

/* The blobs that items of the batch link to or that it keeps, by id; bytes are those of puts. */
static int
batch_linked(const hs_batch *batch, hs_sizes *linked, h5store_err *err)
{
    size_t room = 1;

    for (size_t i = 0; i < batch->op_count; i++)
        room += batch->ops[i].link_count + 1;
    linked->sizes = calloc(room, sizeof *linked->sizes);
    if (linked->sizes == NULL)
        return hs_fail_nomem(err, room * sizeof *linked->sizes, "a batch");
    for (size_t i = 0; i < batch->op_count; i++) {
        const batch_op *op = &batch->ops[i];

        for (size_t j = 0; j < op->link_count; j++)
            linked->sizes[linked->count++].id = op->links[j];
        if (op->kind == KEEP &&
            h5store_id_parse(op->key, &linked->sizes[linked->count].id, NULL) == H5STORE_OK)
            linked->count++;
    }
    qsort(linked->sizes, linked->count, sizeof *linked->sizes, batch_compare_sizes);
    return H5STORE_OK;
}

/* The puts that something refers to.  *logged: those whose bytes were written for them. */
static int
commit_puts(const hs_batch *batch, hid_t file, hs_sizes *puts, hs_wal_blob *log, size_t *logged,
            h5store_err *err)
{
    HS_CLEANUP(hs_freep) struct hs_size *kept = NULL;
    hs_sizes linked = {0};
    bool record;
    int rc = batch_linked(batch, &linked, err);

    kept = linked.sizes; /* released at the end */
    for (size_t i = 0; rc == H5STORE_OK && i < batch->put_count; i++) {
        const hs_put *put = batch->puts[i];
        uint64_t ignored;

        if (!hs_sizes_find(&linked, &put->id, &ignored))
            continue; /* its reservation is given up with the batch */
        rc = commit_put(batch->container, file, put, &record, err);
        if (rc == H5STORE_OK && record)
            log[(*logged)++] = (hs_wal_blob){put->id, put->extent};
        puts->sizes[puts->count++] = (struct hs_size){put->id, put->array.nbytes};
    }
    qsort(puts->sizes, puts->count, sizeof *puts->sizes, batch_compare_sizes);
    return rc;
}

/* Everything inside the scope.  *dropped: a blob went. */
static int
commit_all(const hs_batch *batch, hid_t file, hs_wal_blob *log, size_t *logged, bool *dropped,
           h5store_err *err)
{
    hs_container *c = batch->container;
    HS_CLEANUP(hs_freep) struct hs_size *sizes = malloc((batch->put_count + 1) * sizeof *sizes);
    HS_CLEANUP(hs_id_list_release) hs_id_list orphans = {0};
    hs_sizes puts = {sizes, 0};
    int rc;

    *logged = 0;
    if (sizes == NULL)
        return hs_fail_nomem(err, batch->put_count * sizeof *sizes, "a batch");
    rc = commit_puts(batch, file, &puts, log, logged, err);
    for (size_t i = 0; rc == H5STORE_OK && i < batch->op_count;)
        if (batch_is_removal_of_item(&batch->ops[i]))
            rc = commit_removals(batch, file, i, &i, &orphans, err);
        else
            rc = commit_op(c, file, &batch->ops[i++], &puts, &orphans, err);
    return rc < 0 ? rc : hs_blob_drop_unused(c, file, orphans.ids, orphans.count, dropped, err);
}

/* The same in a scope that was begun without HDF5, if it can do without.  DONE: it cannot. */
static int
commit_without_hdf5(const hs_batch *batch, hs_wal_blob *log, size_t *logged, bool *dropped,
                    h5store_err *err)
{
    h5store_err attempt; /* may be about what is not there, and that is no failure */
    int rc = hs_container_may_spare_hdf5(batch->container)
                 ? batch_commit_directly(batch, log, logged, dropped, &attempt)
                 : H5STORE_DONE;

    if (rc < 0 && err != NULL)
        *err = attempt;
    return rc;
}

/* The same in a scope that was begun without HDF5, and could not do without. */
static int
commit_with_hdf5(const hs_batch *batch, hs_wal_blob *log, size_t *logged, bool *dropped,
                 h5store_err *err)
{
    hs_container *c = batch->container;
    hid_t file;
    int rc = hs_container_resort_to_hdf5(c, &file, err);

    return rc < 0 ? rc : commit_all(batch, file, log, logged, dropped, err);
}

static void
batch_note_puts(const hs_batch *batch)
{
    uint64_t found = 0, bytes = 0;

    for (size_t i = 0; i < batch->put_count; i++) {
        if (batch->puts[i]->state != HS_PUT_FOUND)
            continue;
        found++;
        bytes += batch->puts[i]->array.nbytes;
    }
    if (batch->put_count > 0)
        hs_container_note_puts(batch->container, batch->put_count - found, found, bytes);
}

static bool
batch_removes(const hs_batch *batch)
{
    for (size_t i = 0; i < batch->op_count; i++)
        if (batch->ops[i].kind == REMOVE || batch->ops[i].kind == DISCARD)
            return true;
    return false;
}

/* Does the batch remove everything, and nothing else? */
static bool
batch_clears(const hs_batch *batch)
{
    return batch->put_count == 0 && batch->op_count == 1 && batch->ops[0].kind == REMOVE &&
           batch->ops[0].collection == NULL;
}

/* Does the batch remove nearly all, and nothing else?  Then commit that by making the rest anew.
 * DONE: not so, or it cannot be done like this. */
static int
batch_remove_most(const batch_op *ops, size_t count, hs_container *c, h5store_err *err)
{
    HS_CLEANUP(hs_removal_release) hs_removal removal = {0};
    bool most = false;
    int rc = H5STORE_OK;

    for (size_t i = 0; rc == H5STORE_OK && i < count; i++)
        rc = ops[i].kind == REMOVE && ops[i].collection != NULL
                 ? hs_removal_add(&removal, ops[i].collection, ops[i].key, err)
                 : H5STORE_DONE;
    if (rc == H5STORE_OK)
        rc = hs_removal_is_most(&removal, c, &most, err);
    if (rc != H5STORE_OK || !most)
        return H5STORE_DONE;
    return hs_rebuild_without(c, hs_removal_has, &removal, err);
}

/* After a commit that removed: apply it and free its space.  That this comes late is no
 * failure. */
static void
batch_give_space(hs_container *c)
{
    uint64_t until = hs_os_now() + HS_EXTENT_PATIENCE;
    h5store_err cause = {0};
    bool pays;
    int rc;

    hs_extent_give_up_ahead(c);
    if (hs_container_checkpoint(c, false, NULL) < 0 ||
        hs_extent_reclaim_until(c, until, NULL) < 0 || hs_container_read_begin(c, NULL, NULL) < 0)
        return;
    pays = hs_rebuild_pays(hs_container_space(c));
    hs_container_read_end(c);
    if (!pays || hs_container_has_unreadable(c)) /* not in vain with each removal */
        return;
    rc = hs_rebuild(c, true, false, &cause);
    if (rc == H5STORE_DONE)
        hs_container_note_unreadable(c, &cause);
    if (rc == H5STORE_OK && hs_container_checkpoint(c, false, NULL) == H5STORE_OK)
        (void)hs_extent_reclaim_until(c, until, NULL);
}

/* Everything but the release of the batch.  *dropped: a blob went. */
static int
batch_commit(const hs_batch *batch, hs_wal_blob *log, bool removes, bool *dropped, h5store_err *err)
{
    hs_container *c = batch->container;
    size_t logged;
    int rc;

    if ((batch_clears(batch) && hs_rebuild(c, false, false, NULL) == H5STORE_OK) ||
        (removes && batch->put_count == 0 &&
         batch_remove_most(batch->ops, batch->op_count, c, NULL) == H5STORE_OK)) {
        *dropped = true;
        return H5STORE_OK;
    } /* on a full disk there is no room for a rebuild */
    rc = hs_container_write_begin(c, NULL, err);
    if (rc < 0)
        return rc;
    if (removes && batch->put_count == 0)
        hs_container_gives_space(c);
    rc = commit_without_hdf5(batch, log, &logged, dropped, err);
    if (rc == H5STORE_DONE)
        rc = commit_with_hdf5(batch, log, &logged, dropped, err);
    if (rc < 0) {
        rc = hs_container_verdict(c, rc, err);
        hs_container_abort(c);
        return rc;
    }
    batch_note_puts(batch);
    return hs_container_commit(c, log, logged, err);
}

int
hs_batch_commit(hs_batch *batch, h5store_err *err)
{
    hs_container *c = batch->container;
    HS_CLEANUP(hs_freep) hs_wal_blob *log = malloc((batch->put_count + 1) * sizeof *log);
    bool dropped = false, removes = batch_removes(batch);
    int rc = log == NULL ? hs_fail_nomem(err, batch->put_count * sizeof *log, "a batch")
                         : batch_commit(batch, log, removes, &dropped, err);

    if (rc < 0) {
        hs_batch_abort(batch);
        if (rc == H5STORE_E_NO_SPACE)
            hs_extent_give_up_ahead(c); /* a quota may leave no more than that */
        return rc;
    }
    batch_unpin(batch);
    batch_free(batch);
    if (dropped && removes)
        batch_give_space(c);
    return rc;
}

void
hs_batch_abort(hs_batch *batch)
{
    bool written = false;

    for (size_t i = 0; i < batch->put_count; i++)
        written = written ||
                  (batch->puts[i]->state == HS_PUT_WRITTEN && batch->puts[i]->extent.length > 0);
    batch_unpin(batch);
    if (written)
        hs_extent_reclaim_briefly(batch->container);
    batch_free(batch);
}
