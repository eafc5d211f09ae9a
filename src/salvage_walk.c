/* SPDX-License-Identifier: MIT */
/*
 * Groups and their links, followed without HDF5.
 *
 * Groups that wait to be walked are a list, not a recursion: collections may lie two thousand
 * deep.  An object is reached once; a second name for a group is not followed, so circles and
 * forgeries end.
 *
 * A name is SURE when checksums vouch for all of it (dense.h).  Others wait until everything
 * else is done, and are believed when the object they lead to is sound and has no other name.
 */
#include "salvage_impl.h"
#include <stdio.h>

#define OBJECTS_LEAST 1024u

/* ---- objects ----------------------------------------------------------- */

static size_t
object_index(const salvage_object *objects, size_t room, uint64_t address)
{
    size_t i = (size_t)((address * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (room - 1);

    while (objects[i].address != UINT64_MAX && objects[i].address != address)
        i = (i + 1) & (room - 1);
    return i;
}

static int
object_need_room(salvage *s, h5store_err *err)
{
    size_t room = s->object_room > 0 ? 2 * s->object_room : OBJECTS_LEAST;
    salvage_object *objects;

    if (3 * (s->object_count + 1) <= 2 * s->object_room)
        return H5STORE_OK;
    objects = calloc(room, sizeof *objects);
    if (objects == NULL)
        return hs_fail_nomem(err, room * sizeof *objects, "the table of objects");
    for (size_t i = 0; i < room; i++)
        objects[i].address = UINT64_MAX;
    for (size_t i = 0; i < s->object_room; i++)
        if (s->objects[i].address != UINT64_MAX)
            objects[object_index(objects, room, s->objects[i].address)] = s->objects[i];
    free(s->objects);
    s->objects = objects;
    s->object_room = room;
    return H5STORE_OK;
}

int
salvage_object_at(salvage *s, uint64_t address, salvage_object **object, h5store_err *err)
{
    int rc = object_need_room(s, err);
    salvage_object *found;

    if (rc < 0)
        return rc;
    if (address == UINT64_MAX)
        address--; /* of no object, and the mark of an empty place */
    found = &s->objects[object_index(s->objects, s->object_room, address)];
    if (found->address == UINT64_MAX) {
        found->address = address;
        s->object_count++;
    }
    *object = found;
    return H5STORE_OK;
}

/* ---- places ------------------------------------------------------------ */

int
salvage_place_add(salvage_places *places, salvage_kind kind, uint64_t address,
                  const char *collection, const char *key, bool orphan, h5store_err *err)
{
    salvage_place place = {kind, address, NULL, NULL, orphan};
    int rc = hs_grow(&places->list, places->count, &places->room, sizeof *places->list, "salvaging",
                     err);

    if (rc < 0)
        return rc;
    if (collection != NULL)
        place.collection = strdup(collection);
    if (key != NULL)
        place.key = strdup(key);
    if ((collection != NULL && place.collection == NULL) || (key != NULL && place.key == NULL)) {
        free(place.collection);
        free(place.key);
        return hs_fail_nomem(err, 0, "a name");
    }
    places->list[places->count++] = place;
    return H5STORE_OK;
}

static void
place_release(salvage_place *place)
{
    free(place->collection);
    free(place->key);
}

void
salvage_places_release(salvage_places *places)
{
    for (size_t i = 0; i < places->count; i++)
        place_release(&places->list[i]);
    free(places->list);
    memset(places, 0, sizeof *places);
}

/* How a place is called in findings; free() it.  NULL when there is no memory. */
static char *
place_path(const salvage_place *place)
{
    char *path = NULL;

    switch (place->kind) {
    case PLACE_BLOBS:
    case PLACE_BLOB_FAN:
        return strdup("/blobs");
    case PLACE_KEPT:
        return strdup("/kept");
    default:
        return hs_item_path(place->collection, place->key, &path, NULL) == H5STORE_OK ? path : NULL;
    }
}

/* ---- links ------------------------------------------------------------- */

bool
salvage_is_hex(const char *name, size_t length, size_t digits)
{
    if (length != digits)
        return false;
    for (size_t i = 0; i < length; i++)
        if ((name[i] < '0' || name[i] > '9') && (name[i] < 'a' || name[i] > 'f'))
            return false;
    return true;
}

int
salvage_links(salvage *s, const hs_ohdr *header, hs_dense_fn tell, void *context, h5store_err *err)
{
    const hs_dense_block *blocks;
    size_t count;
    int rc = H5STORE_OK;

    for (size_t i = 0; rc == H5STORE_OK && i < header->link_count; i++)
        rc = tell(&header->links[i], true, context, err);
    if (rc < 0 || !header->links_dense)
        return rc;
    blocks = salvage_blocks_of(s, header->heap, &count);
    return hs_dense_links(&s->pager, header->heap, header->name_index, blocks, count, tell, context,
                          err);
}

struct walk_job {
    salvage *s;
    const salvage_place *place;
};

static int
walk_blob(salvage *s, const hs_ohdr_link *link, h5store_err *err)
{
    salvage_object *object;
    char text[H5STORE_ID_TEXT_SIZE];
    int rc = salvage_object_at(s, link->address, &object, err);

    if (rc < 0)
        return rc;
    memcpy(text, link->name, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    object->is_blob = object->reached = true;
    if (!object->named && h5store_id_parse(text, &object->id, NULL) == H5STORE_OK)
        object->named = true;
    return H5STORE_OK;
}

static int
walk_kept(salvage *s, const hs_ohdr_link *link, bool sure, h5store_err *err)
{
    salvage_object *object;
    int rc = salvage_object_at(s, link->address, &object, err);

    if (rc < 0)
        return rc;
    /* /blobs was walked before: what it does not have was discarded, unless it is damaged. */
    if (sure || object->reached) {
        object->kept = true;
        rc = walk_blob(s, link, err);
    }
    return rc;
}

/* A member of a collection's group, or of a group of results, by the name it has in the file. */
static int
walk_named(salvage *s, const salvage_place *place, const char *name, uint64_t address, bool sure,
           h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *plain = NULL;
    HS_CLEANUP(hs_freep) char *path = NULL;
    salvage_places *list = sure ? &s->pending : &s->unsure;
    const char *collection = place->collection;
    salvage_object *object;
    int rc;

    if (place->kind == PLACE_COLLECTION && hs_item_is_fan(name))
        return salvage_place_add(list, PLACE_FAN, address, collection, NULL, place->orphan, err);
    rc = hs_item_unescape(name, &plain, err);
    if (rc < 0)
        return rc;
    if (place->kind == PLACE_COLLECTION) {
        rc = hs_item_join(collection, plain, &path, err);
        if (rc < 0)
            return rc;
        if (hs_item_check_names(path, NULL, NULL) < 0)
            return H5STORE_OK; /* not ours */
        return salvage_place_add(list, PLACE_COLLECTION, address, path, NULL, place->orphan, err);
    }
    if (collection == NULL || hs_item_check_names(collection, plain, NULL) < 0)
        return H5STORE_OK;
    if (!sure)
        return salvage_place_add(list, PLACE_ITEM, address, collection, plain, place->orphan, err);
    rc = salvage_object_at(s, address, &object, err);
    if (rc < 0)
        return rc;
    if (object->reached) {
        if (!s->again)
            salvage_lose_item(s, collection, plain, "another name leads to the same object");
        return H5STORE_OK;
    }
    object->reached = true;
    return salvage_item(s, address, collection, plain, place->orphan, err);
}

static int
walk_link(const hs_ohdr_link *link, bool sure, void *context, h5store_err *err)
{
    struct walk_job *job = context;
    salvage *s = job->s;
    char name[H5STORE_MAX_COLLECTION + 8];

    if (s->stopped || link->name_length == 0 || link->name_length >= sizeof name ||
        memchr(link->name, '\0', link->name_length) != NULL)
        return H5STORE_OK;
    switch (job->place->kind) {
    case PLACE_BLOBS:
        if (!salvage_is_hex(link->name, link->name_length, 2))
            return H5STORE_OK;
        return salvage_place_add(&s->pending, PLACE_BLOB_FAN, link->address, NULL, NULL, false,
                                 err);
    case PLACE_BLOB_FAN:
        return salvage_is_hex(link->name, link->name_length, 64) ? walk_blob(s, link, err)
                                                                 : H5STORE_OK;
    case PLACE_KEPT:
        return salvage_is_hex(link->name, link->name_length, 64) ? walk_kept(s, link, sure, err)
                                                                 : H5STORE_OK;
    default:
        memcpy(name, link->name, link->name_length);
        name[link->name_length] = '\0';
        return walk_named(s, job->place, name, link->address, sure, err);
    }
}

/* ---- groups ------------------------------------------------------------ */

/* Names below this place are missing. */
static void
walk_note_damage(salvage *s, const salvage_place *place)
{
    switch (place->kind) {
    case PLACE_BLOBS:
    case PLACE_BLOB_FAN:
        s->blobs_damaged = true;
        break;
    case PLACE_KEPT:
        s->kept_damaged = true;
        break;
    default:
        s->items_damaged = true;
    }
}

static int
walk_note_gap(salvage *s, const salvage_place *place, uint64_t heap, uint64_t tree,
              h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *path = place_path(place);
    salvage_places copy = {0};
    int rc;

    walk_note_damage(s, place);
    if (path != NULL)
        salvage_find(s, H5STORE_V_ITEM, false, path,
                     "the names in a group cannot all be read where they should be");
    rc = hs_grow(&s->gaps, s->gap_count, &s->gap_room, sizeof *s->gaps, "salvaging", err);
    if (rc == H5STORE_OK)
        rc = salvage_place_add(&copy, place->kind, place->address, place->collection, NULL,
                               place->orphan, err);
    if (rc == H5STORE_OK)
        s->gaps[s->gap_count++] = (salvage_gap){copy.list[0], heap, tree};
    free(copy.list);
    return rc;
}

static int
walk_note_heap(salvage *s, uint64_t heap, h5store_err *err)
{
    int rc = hs_grow(&s->heaps, s->heap_count, &s->heap_room, sizeof *s->heaps, "salvaging", err);

    if (rc == H5STORE_OK)
        s->heaps[s->heap_count++] = heap;
    return rc;
}

/* The group cannot be read, or is no group. */
static void
walk_lose_group(salvage *s, const salvage_place *place, const char *why)
{
    HS_CLEANUP(hs_freep) char *path = place_path(place);

    walk_note_damage(s, place);
    if (path != NULL)
        salvage_find(s, H5STORE_V_ITEM, true, path,
                     "%s cannot be read, and the names in it are lost: %s",
                     place->kind == PLACE_FAN ? "a group of its results" : "a group", why);
}

/* What a group says beside its links. */
static int
walk_note_group(salvage *s, const salvage_place *place, const hs_ohdr *header, h5store_err *err)
{
    int rc = H5STORE_OK;

    if (place->kind == PLACE_COLLECTION && place->collection != NULL) {
        rc = salvage_place_add(&s->walked, PLACE_COLLECTION, place->address, place->collection,
                               NULL, place->orphan, err);
        if (rc == H5STORE_OK)
            rc = salvage_source_text(s, place->collection, hs_ohdr_find(header, "source"), err);
        if (rc == H5STORE_OK && header->attributes_dense) {
            HS_CLEANUP(hs_freep) char *path = place_path(place);

            if (path != NULL)
                salvage_find(s, H5STORE_V_ITEM, false, path,
                             "its source text is too long to be saved");
        }
    }
    if (rc == H5STORE_OK && header->links_dense)
        rc = walk_note_heap(s, header->heap, err);
    return rc;
}

static int
walk_group(salvage *s, const salvage_place *place, h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    struct walk_job job = {s, place};
    salvage_object *object;
    h5store_err inner = {.message = "it is no group"};
    int rc = salvage_object_at(s, place->address, &object, err);

    if (rc < 0 || object->reached)
        return rc;
    object->reached = true;
    rc = salvage_header(s, place->address, &header, &inner);
    if (rc == H5STORE_E_DAMAGED || (rc == H5STORE_OK && !header.is_group)) {
        walk_lose_group(s, place, inner.message);
        return H5STORE_OK;
    }
    if (rc == H5STORE_OK)
        rc = walk_note_group(s, place, &header, &inner);
    if (rc == H5STORE_OK)
        rc = salvage_links(s, &header, walk_link, &job, &inner);
    if (rc == H5STORE_E_DAMAGED)
        return walk_note_gap(s, place, header.heap, header.name_index, err);
    if (rc < 0 && err != NULL)
        *err = inner;
    return rc;
}

bool
salvage_has_walked(const salvage *s, const char *collection)
{
    for (size_t i = 0; i < s->walked.count; i++)
        if (strcmp(s->walked.list[i].collection, collection) == 0)
            return true;
    return false;
}

static int
walk_pending(salvage *s, h5store_err *err)
{
    int rc = H5STORE_OK;

    while (rc == H5STORE_OK && s->pending.count > 0 && !s->stopped) {
        salvage_place place = s->pending.list[--s->pending.count];

        rc = walk_group(s, &place, err);
        place_release(&place);
    }
    return rc;
}

int
salvage_walk(salvage *s, salvage_kind kind, uint64_t address, const char *collection, bool orphan,
             h5store_err *err)
{
    int rc = salvage_place_add(&s->pending, kind, address, collection, NULL, orphan, err);

    return rc < 0 ? rc : walk_pending(s, err);
}

int
salvage_walk_heap(salvage *s, salvage_kind kind, uint64_t heap, const char *collection,
                  h5store_err *err)
{
    salvage_places one = {0};
    const hs_dense_block *blocks;
    size_t count;
    int rc = salvage_place_add(&one, kind, UINT64_MAX, collection, NULL, true, err);

    if (rc == H5STORE_OK)
        rc = walk_note_heap(s, heap, err);
    if (rc == H5STORE_OK) {
        struct walk_job job = {s, &one.list[0]};
        h5store_err inner;

        blocks = salvage_blocks_of(s, heap, &count);
        rc = hs_dense_links(&s->pager, heap, UINT64_MAX, blocks, count, walk_link, &job, &inner);
        if (rc == H5STORE_E_DAMAGED)
            rc = H5STORE_OK; /* which it was from the beginning */
        else if (rc < 0 && err != NULL)
            *err = inner;
    }
    salvage_places_release(&one);
    return rc < 0 ? rc : walk_pending(s, err);
}

/* ---- what is missing ---------------------------------------------------- */

int
salvage_fill_gaps(salvage *s, h5store_err *err)
{
    int rc = H5STORE_OK;

    s->again = true;
    for (size_t i = 0; rc == H5STORE_OK && i < s->gap_count && !s->stopped; i++) {
        const salvage_gap *gap = &s->gaps[i];
        struct walk_job job = {s, &gap->place};
        const hs_dense_block *blocks;
        h5store_err inner;
        size_t count;

        blocks = salvage_blocks_of(s, gap->heap, &count);
        rc = hs_dense_links(&s->pager, gap->heap, gap->tree, blocks, count, walk_link, &job,
                            &inner);
        if (rc == H5STORE_E_DAMAGED)
            rc = H5STORE_OK;
        else if (rc < 0 && err != NULL)
            *err = inner;
        if (rc == H5STORE_OK)
            rc = walk_pending(s, err);
    }
    return rc;
}

static int
believe_compare(const void *a, const void *b)
{
    const salvage_place *left = a, *right = b;

    return left->address < right->address ? -1 : left->address > right->address;
}

/* Are these two the same name for the same thing? */
static bool
believe_same(const salvage_place *a, const salvage_place *b)
{
    return a->kind == b->kind && (a->collection == NULL) == (b->collection == NULL) &&
           (a->collection == NULL || strcmp(a->collection, b->collection) == 0) &&
           (a->key == NULL) == (b->key == NULL) && (a->key == NULL || strcmp(a->key, b->key) == 0);
}

/* One of the names; *believed when nothing contradicts it. */
static int
believe_one(salvage *s, const salvage_place *place, bool contested, h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    salvage_object *object;
    int rc = salvage_object_at(s, place->address, &object, err);

    if (rc < 0 || object->reached || contested)
        return rc;
    rc = salvage_header(s, place->address, &header, err);
    if (rc == H5STORE_E_DAMAGED || (rc == H5STORE_OK && !header.is_group)) {
        if (place->kind != PLACE_ITEM || place->orphan)
            return H5STORE_OK; /* it was removed, for all that is known */
        return salvage_place_add(&s->hollow, PLACE_ITEM, place->address, place->collection,
                                 place->key, false, err);
    }
    if (rc < 0)
        return rc;
    if (place->kind == PLACE_ITEM) {
        object->reached = true;
        return salvage_item(s, place->address, place->collection, place->key, place->orphan, err);
    }
    rc = salvage_place_add(&s->pending, place->kind, place->address, place->collection, NULL,
                           place->orphan, err);
    return rc < 0 ? rc : walk_pending(s, err);
}

int
salvage_believe(salvage *s, h5store_err *err)
{
    int rc = H5STORE_OK;

    while (rc == H5STORE_OK && s->unsure.count > 0 && !s->stopped) {
        salvage_places names = s->unsure;

        memset(&s->unsure, 0, sizeof s->unsure);
        qsort(names.list, names.count, sizeof *names.list, believe_compare);
        for (size_t i = 0, next; rc == H5STORE_OK && i < names.count; i = next) {
            bool contested = false;

            for (next = i + 1;
                 next < names.count && names.list[next].address == names.list[i].address; next++)
                contested = contested || !believe_same(&names.list[next], &names.list[i]);
            rc = believe_one(s, &names.list[i], contested, err);
        }
        salvage_places_release(&names);
    }
    return rc;
}
