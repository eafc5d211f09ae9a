/* SPDX-License-Identifier: MIT */
/*
 * Saving what is whole in a damaged container; see salvage.h and h5store/repair.h.
 *
 * WHAT IS BELIEVED.  Object headers, tree nodes, heap blocks and log records have checksums, and
 * so have outputs that are datasets; arrays are named by their SHA-256.  So whatever is found
 * is what was put, now or at an earlier time.
 *
 * WHAT WAS REMOVED is not brought back.  Who is reached by names, all of which checksums vouch
 * for, is there.  As long as all groups could be read, nothing else is looked for.  When
 * names are missing the file is searched, and an object without a name is taken for one whose
 * name is lost only if the counters of the space header say that something is missing, and if
 * the arrays of a result have more links than those of the others account for.
 *
 * ORDER OF WORK.
 *   1  open, lock, lay the log over the file (salvage_source.c);
 *   2  walk /blobs, /items, /kept from the root; save each result as it is met;
 *   3  if names are missing: search the file; find the root again if it was that; look again
 *      at groups of which parts were lost; believe names that are not quite sure;
 *   4  take groups that no name leads to at their word, if they have one (the attribute
 *      "path"); give the other results a name below "recovered";
 *   5  blobs that no saved result has: keep them by themselves.
 */
#include "salvage_impl.h"
#include <stdarg.h>
#include <stdio.h>

void
salvage_find(salvage *s, enum h5store_clause clause, bool is_error, const char *object,
             const char *format, ...)
{
    char text[H5STORE_MESSAGE_SIZE];
    h5store_finding finding = {clause, is_error, object, text};
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (!s->stopped && s->options->finding != NULL &&
        s->options->finding(&finding, s->options->context) != 0)
        s->stopped = true;
}

void
salvage_progress(salvage *s, uint64_t more)
{
    s->done += more;
    s->total = hs_max(s->total, s->done);
    if (!s->stopped && s->options->progress != NULL &&
        s->options->progress(s->done, s->total, s->options->context) != 0)
        s->stopped = true;
}

static uint64_t
salvage_missing(const salvage *s, uint64_t stated, uint64_t met)
{
    if (!s->counted)
        return UINT64_MAX;
    return stated - hs_min(stated, met);
}

uint64_t
salvage_missing_items(const salvage *s)
{
    return salvage_missing(s, s->counters.items, s->result.items + s->result.lost_items);
}

uint64_t
salvage_missing_blobs(const salvage *s)
{
    return salvage_missing(s, s->counters.blobs, s->result.blobs + s->result.lost_blobs);
}

/* ---- from the root ------------------------------------------------------ */

struct salvage_tops {
    uint64_t blobs, items, kept;
};

static int
salvage_take_top(const hs_ohdr_link *link, bool sure, void *context, h5store_err *err HS_UNUSED)
{
    struct salvage_tops *tops = context;

    if (!sure)
        return H5STORE_OK;
    if (link->name_length == 5 && memcmp(link->name, "blobs", 5) == 0)
        tops->blobs = link->address;
    else if (link->name_length == 5 && memcmp(link->name, "items", 5) == 0)
        tops->items = link->address;
    else if (link->name_length == 4 && memcmp(link->name, "kept", 4) == 0)
        tops->kept = link->address;
    return H5STORE_OK;
}

/* Walk one of the three groups, or note that it is missing. */
static int
salvage_walk_top(salvage *s, salvage_kind kind, uint64_t address, const char *path, bool *damaged,
                 h5store_err *err)
{
    if (address != UINT64_MAX)
        return salvage_walk(s, kind, address, NULL, false, err);
    *damaged = true;
    salvage_find(s, H5STORE_V_ROOT, false, path, "the root does not lead to this group");
    return H5STORE_OK;
}

/* *found: there is a root group at this address. */
static int
salvage_walk_root(salvage *s, uint64_t address, bool *found, h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    struct salvage_tops tops = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    salvage_object *object;
    int rc = salvage_header(s, address, &header, NULL);

    *found = false;
    if (rc == H5STORE_OK && header.is_group)
        rc = salvage_links(s, &header, salvage_take_top, &tops, NULL);
    if (rc < 0 && rc != H5STORE_E_DAMAGED)
        return hs_fail_nomem(err, 0, "the root group");
    if (tops.blobs == UINT64_MAX && tops.items == UINT64_MAX)
        return H5STORE_OK;
    *found = s->is_ours = true;
    rc = salvage_object_at(s, address, &object, err);
    if (rc < 0)
        return rc;
    object->reached = true;
    s->has_items = tops.items != UINT64_MAX;
    rc = salvage_walk_top(s, PLACE_BLOBS, tops.blobs, "/blobs", &s->blobs_damaged, err);
    if (rc == H5STORE_OK)
        rc = salvage_walk_top(s, PLACE_COLLECTION, tops.items, "/items", &s->items_damaged, err);
    if (rc == H5STORE_OK)
        rc = salvage_walk_top(s, PLACE_KEPT, tops.kept, "/kept", &s->kept_damaged, err);
    return rc;
}

/* ---- without a root ------------------------------------------------------ */

/* The root was not where it should be: is it elsewhere? */
static int
salvage_find_root(salvage *s, bool *found, h5store_err *err)
{
    int rc = H5STORE_OK;

    for (size_t i = 0; rc == H5STORE_OK && i < s->head_count && !*found; i++)
        if (s->heads[i].kind == HEAD_ROOT)
            rc = salvage_walk_root(s, s->heads[i].address, found, err);
    return rc;
}

static int
salvage_search_all(salvage *s, bool root, h5store_err *err)
{
    int rc;

    s->total += s->size;
    rc = salvage_search(s, err);
    if (rc == H5STORE_OK && !root)
        rc = salvage_find_root(s, &root, err);
    if (rc == H5STORE_OK && !root) {
        salvage_find(s, H5STORE_V_ROOT, false, "/", "the root group is lost");
        s->items_damaged = s->blobs_damaged = s->kept_damaged = true;
    }
    if (rc == H5STORE_OK)
        rc = salvage_fill_gaps(s, err);
    if (rc == H5STORE_OK)
        rc = salvage_believe(s, err);
    if (rc == H5STORE_OK && (s->items_damaged || s->blobs_damaged))
        rc = salvage_take_orphans(s, err);
    return rc;
}

/* ---- blobs without results ---------------------------------------------- */

/* A blob that is in the target, or should be: does it have to be kept there by itself? */
static bool
salvage_must_keep(const salvage *s, const salvage_object *object)
{
    if (object->kept || !object->referenced)
        return true;
    /* One link more than /blobs and the results that were read have: that of /kept, if that
     * cannot be asked. */
    return s->kept_damaged && object->references > object->used + 1;
}

static int
salvage_finish_blob(salvage *s, uint64_t address, bool stranger, h5store_err *err)
{
    char path[HS_BLOB_PATH_SIZE];
    salvage_object *object;
    bool whole, lone;
    int rc;

    if (stranger && salvage_missing_blobs(s) == 0)
        return H5STORE_OK; /* it was removed */
    rc = salvage_blob(s, address, &whole, err);
    if (rc == H5STORE_OK)
        rc = salvage_object_at(s, address, &object, err);
    if (rc < 0 || !whole || !salvage_must_keep(s, object))
        return rc;
    lone = !object->referenced && !object->kept;
    hs_blob_path(&object->id, path);
    rc = salvage_keep(s, address, err);
    if (rc == H5STORE_OK && lone)
        salvage_find(s, H5STORE_V_ORPHAN, false, path,
                     "no result that was saved has it; it is kept by itself");
    return rc;
}

static int
salvage_finish_blobs(salvage *s, h5store_err *err)
{
    HS_CLEANUP(hs_freep) uint64_t *addresses = NULL;
    size_t count = 0, room = 0;
    int rc = salvage_commit(s, err);

    /* The table may move while blobs are read. */
    for (size_t i = 0; rc == H5STORE_OK && i < s->object_room; i++) {
        if (s->objects[i].address == UINT64_MAX || !s->objects[i].is_blob)
            continue;
        rc = hs_grow(&addresses, count, &room, sizeof *addresses, "salvaging", err);
        if (rc == H5STORE_OK)
            addresses[count++] = s->objects[i].address;
    }
    for (size_t i = 0; rc == H5STORE_OK && i < count && !s->stopped; i++)
        rc = salvage_finish_blob(s, addresses[i], false, err);
    for (size_t i = 0; rc == H5STORE_OK && s->blobs_damaged && i < s->head_count && !s->stopped;
         i++) {
        salvage_object *object;

        if (s->heads[i].kind != HEAD_BLOB)
            continue;
        rc = salvage_object_at(s, s->heads[i].address, &object, err);
        if (rc == H5STORE_OK && !object->is_blob)
            rc = salvage_finish_blob(s, s->heads[i].address, true, err);
    }
    return rc < 0 ? rc : salvage_commit(s, err);
}

/* ---- the whole ---------------------------------------------------------- */

/* What is missing, and was not met at all. */
static void
salvage_sum_up(salvage *s)
{
    uint64_t items, blobs;

    /* Names of results that cannot be read: they were removed, unless something is missing. */
    for (size_t i = 0; i < s->hollow.count && salvage_missing_items(s) > 0; i++)
        salvage_lose_item(s, s->hollow.list[i].collection, s->hollow.list[i].key,
                          "it cannot be read");
    items = s->counted ? salvage_missing_items(s) : 0;
    blobs = s->counted ? salvage_missing_blobs(s) : 0;

    if (items > 0)
        salvage_find(s, H5STORE_V_ITEM, true, "/items",
                     "%llu more results are lost, and their names with them",
                     (unsigned long long)items);
    if (blobs > 0)
        salvage_find(s, H5STORE_V_BLOB_META, true, "/blobs",
                     "%llu more arrays are lost, and their names with them",
                     (unsigned long long)blobs);
    s->result.lost_items += items;
    s->result.lost_blobs += blobs;
}

static int
salvage_refuse(const salvage *s, h5store_err *err)
{
    if (s->unread.code != H5STORE_OK) {
        if (err != NULL)
            *err = s->unread;
        return hs_prefix(err, s->unread.code, "nothing could be saved");
    }
    return hs_fail(err, H5STORE_E_NOT_A_STORE, 0,
                   "nothing of a container of h5store was found in '%s'; check that it is the "
                   "right file",
                   s->pager.path);
}

static int
salvage_all(salvage *s, h5store_err *err)
{
    uint64_t address;
    bool root = false;
    int rc;

    if (s->size == 0)
        return salvage_refuse(s, err);
    (void)hs_usage_load(&s->pager, s->size, &s->usage, NULL); /* what is not sound is not there */
    rc = salvage_root(s, &address, err);
    s->total = s->counted ? s->counters.blob_bytes : s->size;
    if (rc == H5STORE_OK && address != UINT64_MAX)
        rc = salvage_walk_root(s, address, &root, err);
    if (rc == H5STORE_OK && !s->stopped &&
        (!root || s->items_damaged || s->blobs_damaged || s->unsure.count > 0))
        rc = salvage_search_all(s, root, err);
    if (rc == H5STORE_OK && !s->stopped)
        rc = salvage_finish_blobs(s, err);
    if (rc == H5STORE_OK)
        rc = salvage_commit(s, err);
    if (rc < 0)
        return rc;
    if (!s->is_ours && s->result.items + s->result.blobs == 0)
        return salvage_refuse(s, err);
    if (!s->stopped)
        salvage_sum_up(s);
    return H5STORE_OK;
}

int
hs_salvage(const char *source, hs_container *target, const h5store_salvage_options *options,
           h5store_salvaged *result, h5store_err *err)
{
    salvage s = {.options = options, .target = target};
    int rc = salvage_open(&s, source, err);

    if (rc == H5STORE_OK)
        rc = salvage_all(&s, err);
    if (s.batch != NULL)
        hs_batch_abort(s.batch);
    salvage_close(&s);
    salvage_places_release(&s.pending);
    salvage_places_release(&s.unsure);
    salvage_places_release(&s.hollow);
    salvage_places_release(&s.walked);
    for (size_t i = 0; i < s.gap_count; i++) {
        free(s.gaps[i].place.collection);
        free(s.gaps[i].place.key);
    }
    free(s.gaps);
    free(s.heaps);
    free(s.objects);
    free(s.puts);
    free(s.buffer);
    if (rc == H5STORE_OK)
        *result = s.result;
    return rc;
}
