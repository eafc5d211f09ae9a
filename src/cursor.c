/* SPDX-License-Identifier: MIT */
/*
 * See cursor.h.  What was removed between listing a group and looking at a member is passed
 * over.
 */
#include "cursor.h"
#include "h5util.h"
#include <stdio.h>

/*
 * A read scope for one step.  DAMAGED is said of single entries, behind which a walk goes on;
 * a container that cannot be read at all ends it, so it gets another code.
 */
static int
walk_begin(hs_container *c, hid_t *file, h5store_err *err)
{
    h5store_err inner;
    int rc = hs_container_read_begin(c, file, &inner);

    if (rc == H5STORE_E_DAMAGED)
        return hs_fail(err, H5STORE_E_HDF5, 0, "%s", inner.message);
    if (rc < 0 && err != NULL)
        *err = inner;
    return rc;
}

/* ---- blobs ------------------------------------------------------------ */

/* List the next of the 256 groups that has members. */
static int
blob_walk_fill(hs_blob_walk *walk, hid_t file, h5store_err *err)
{
    while (walk->next == walk->names.count && walk->fan < 256) {
        char path[16];
        hid_t group;
        int rc;

        snprintf(path, sizeof path, "/blobs/%02x", walk->fan++);
        hs_names_release(&walk->names);
        walk->next = 0;
        if (H5Lexists(file, path, H5P_DEFAULT) <= 0)
            continue;
        group = H5Gopen2(file, path, H5P_DEFAULT);
        if (group < 0)
            return hs_h5_fail(err, H5STORE_E_DAMAGED, "group '%s' cannot be opened", path);
        rc = hs_names_read(group, &walk->names, err);
        hs_h5_close_group(&group);
        if (rc < 0)
            return rc;
    }
    return walk->next < walk->names.count ? H5STORE_OK : H5STORE_DONE;
}

static int
blob_walk_step(hs_blob_walk *walk, hid_t file, h5store_err *err)
{
    for (;;) {
        HS_CLEANUP(hs_h5_close_dataset) hid_t dataset = H5I_INVALID_HID;
        const char *name;
        h5store_id id;
        int rc = blob_walk_fill(walk, file, err);

        if (rc != H5STORE_OK)
            return rc;
        name = walk->names.names[walk->next++];
        rc = h5store_id_parse(name, &id, NULL);
        if (rc < 0)
            return hs_fail(err, H5STORE_E_DAMAGED, 0, "'/blobs' has a member '%s' that is no name "
                           "of a blob", name);
        if (hs_blob_find(file, &id, &dataset, NULL) < 0)
            continue;
        rc = hs_blob_describe(walk->container, dataset, &walk->blob, err);
        if (rc == H5STORE_E_DAMAGED)
            walk->blob.info.id = id;
        return rc;
    }
}

int
hs_blob_walk_next(hs_blob_walk *walk, h5store_err *err)
{
    hid_t file;
    int rc = walk_begin(walk->container, &file, err);

    if (rc < 0)
        return rc;
    hs_blob_release(&walk->blob);
    memset(&walk->blob, 0, sizeof walk->blob);
    rc = blob_walk_step(walk, file, err);
    rc = hs_container_verdict(walk->container, rc, err);
    hs_container_read_end(walk->container);
    return rc;
}

void
hs_blob_walk_release(hs_blob_walk *walk)
{
    hs_names_release(&walk->names);
    hs_blob_release(&walk->blob);
}

/* ---- items ------------------------------------------------------------ */

/* A group whose members are being told: a collection, or one of its fan groups. */
typedef struct walk_frame {
    char *collection; /* NULL: /items itself */
    char *path;       /* of the group in the file */
    bool fan;
    hs_names names;
    size_t next;        /* SIZE_MAX: the names are not listed yet */
    hs_h5_place place;  /* of the group, once they are */
} walk_frame;

struct hs_item_walk {
    hs_container *container;
    walk_frame *frames;
    size_t depth, room;
    char *told_collection, *told_key;
    bool tell_first; /* the collection that the walk began at */
};

static void
walk_pop(hs_item_walk *walk)
{
    walk_frame *frame = &walk->frames[--walk->depth];

    free(frame->collection);
    free(frame->path);
    hs_names_release(&frame->names);
}

void
hs_item_walk_free(hs_item_walk *walk)
{
    if (walk == NULL)
        return;
    while (walk->depth > 0)
        walk_pop(walk);
    free(walk->frames);
    free(walk->told_collection);
    free(walk->told_key);
    free(walk);
}

/* Takes both strings over, also on failure.  Names are listed when it is reached. */
static int
walk_push(hs_item_walk *walk, char *collection, char *path, bool fan, h5store_err *err)
{
    if (walk->depth > HS_ITEM_DEPTH) {
        free(collection);
        free(path);
        return hs_fail(err, H5STORE_E_DAMAGED, 0, "collections of '%s' lie too deep",
                       hs_container_path(walk->container));
    }
    if (walk->depth == walk->room) {
        size_t room = walk->room ? walk->room * 2 : 8;
        walk_frame *frames = realloc(walk->frames, room * sizeof *frames);

        if (frames == NULL) {
            free(collection);
            free(path);
            return hs_fail_nomem(err, room * sizeof *frames, "a walk over the items");
        }
        walk->frames = frames;
        walk->room = room;
    }
    walk->frames[walk->depth++] =
        (walk_frame){.collection = collection, .path = path, .fan = fan, .next = SIZE_MAX};
    return H5STORE_OK;
}

int
hs_item_walk_new(hs_container *c, const char *collection, hs_item_walk **walk, h5store_err *err)
{
    hs_item_walk *made = calloc(1, sizeof *made);
    char *path = NULL, *copy = NULL;
    int rc = H5STORE_OK;

    if (made == NULL || (collection != NULL && (copy = strdup(collection)) == NULL)) {
        free(made);
        return hs_fail_nomem(err, sizeof *made, "a walk over the items");
    }
    made->container = c;
    made->tell_first = collection != NULL;
    rc = hs_item_path(collection, NULL, &path, err);
    if (rc < 0)
        free(copy);
    else
        rc = walk_push(made, copy, path, false, err);
    if (rc < 0) {
        hs_item_walk_free(made);
        return rc;
    }
    *walk = made;
    return H5STORE_OK;
}

/* What an item's links come to. */
static int
walk_weigh(hid_t item, h5store_item_info *info, h5store_err *err)
{
    size_t count;
    HS_CLEANUP(hs_freep) hs_blob_brief *briefs = NULL;
    int rc = hs_item_count_links(item, &count, err);

    if (rc == H5STORE_OK)
        rc = hs_item_sizes(item, &info->output_size, &info->metadata_size, err);
    if (rc < 0)
        return rc;
    briefs = calloc(count + 1, sizeof *briefs);
    if (briefs == NULL)
        return hs_fail_nomem(err, count * sizeof *briefs, "an item");
    for (size_t i = 0; i < count; i++) {
        HS_CLEANUP(hs_h5_close_dataset) hid_t dataset = H5I_INVALID_HID;
        uint64_t mine = 1;

        rc = hs_item_open_link(item, i, &dataset, err);
        if (rc == H5STORE_OK)
            rc = hs_blob_brief_of(dataset, &briefs[i], err);
        if (rc < 0)
            return rc;
        info->linked_bytes += briefs[i].nbytes;
        /* Its own once all its links, and the one in /blobs, are from here. */
        for (size_t j = 0; j < i; j++)
            mine += h5store_id_equal(&briefs[i].id, &briefs[j].id) != 0;
        if (briefs[i].links == mine + 1)
            info->own_bytes += briefs[i].nbytes;
    }
    info->link_count = count;
    return H5STORE_OK;
}

static int
walk_tell(hs_item_walk *walk, const char *collection, const char *key, h5store_item_info *info,
          h5store_err *err)
{
    free(walk->told_collection);
    free(walk->told_key);
    walk->told_key = NULL;
    walk->told_collection = strdup(collection);
    if (walk->told_collection == NULL || (key != NULL && (walk->told_key = strdup(key)) == NULL))
        return hs_fail_nomem(err, 0, "a walk over the items");
    memset(info, 0, sizeof *info);
    info->collection = walk->told_collection;
    info->key = walk->told_key;
    return H5STORE_OK;
}

/* One member of the frame on top.  OK: told; DONE: nothing to tell yet, go on. */
static int
walk_member(hs_item_walk *walk, hid_t file, h5store_item_info *info, h5store_err *err)
{
    walk_frame *frame = &walk->frames[walk->depth - 1];
    const char *raw = frame->names.names[frame->next++];
    HS_CLEANUP(hs_freep) char *name = NULL;
    char *path = NULL, *collection = NULL;
    bool fan = !frame->fan && hs_item_is_fan(raw);
    int rc = hs_item_unescape(raw, &name, err);

    if (rc == H5STORE_OK)
        rc = hs_item_join(frame->path, raw, &path, err);
    if (rc < 0)
        return rc;
    if (frame->fan) {
        HS_CLEANUP(hs_h5_close_group) hid_t item = H5Gopen2(file, path, H5P_DEFAULT);

        free(path);
        if (item < 0) {
            (void)H5Eclear2(H5E_DEFAULT);
            return H5STORE_DONE; /* removed meanwhile */
        }
        rc = walk_tell(walk, frame->collection != NULL ? frame->collection : "", name, info, err);
        return rc < 0 ? rc : walk_weigh(item, info, err);
    }
    if (fan && frame->collection != NULL && (collection = strdup(frame->collection)) == NULL)
        rc = hs_fail_nomem(err, strlen(frame->collection), "a walk over the items");
    else if (!fan)
        rc = hs_item_join(frame->collection, name, &collection, err);
    if (rc < 0) {
        free(path);
        return rc;
    }
    if (!fan)
        rc = walk_tell(walk, collection, NULL, info, err);
    if (rc < 0) {
        free(path);
        free(collection);
        return rc;
    }
    rc = walk_push(walk, collection, path, fan, err);
    return rc < 0 ? rc : fan ? H5STORE_DONE : H5STORE_OK;
}

/* List the frame on top.  A group that is a member of itself, which another program must have
 * made, would make the walk endless. */
static int
walk_list(hs_item_walk *walk, hid_t file, h5store_err *err)
{
    walk_frame *frame = &walk->frames[walk->depth - 1];
    HS_CLEANUP(hs_h5_close_group) hid_t group = H5Gopen2(file, frame->path, H5P_DEFAULT);
    int rc;

    frame->next = 0;
    if (group < 0) {
        (void)H5Eclear2(H5E_DEFAULT);
        return H5STORE_OK; /* removed meanwhile: no members */
    }
    rc = hs_h5_place_of(group, &frame->place, err);
    for (size_t i = 0; rc == H5STORE_OK && i + 1 < walk->depth; i++)
        if (memcmp(&walk->frames[i].place, &frame->place, sizeof frame->place) == 0)
            rc = hs_fail(err, H5STORE_E_DAMAGED, 0, "'%s' is a member of itself", frame->path);
    if (rc == H5STORE_OK)
        rc = hs_names_read(group, &frame->names, err);
    if (rc < 0 && rc != H5STORE_E_DAMAGED)
        frame->next = SIZE_MAX; /* to be tried again */
    return rc;
}

/* Listing failed: say where, and let the next call go on behind it. */
static int
walk_tell_failure(hs_item_walk *walk, h5store_item_info *info, int rc)
{
    const walk_frame *frame = &walk->frames[walk->depth - 1];

    memset(info, 0, sizeof *info);
    if (frame->collection != NULL)
        (void)walk_tell(walk, frame->collection, NULL, info, NULL);
    return rc;
}

int
hs_item_walk_next(hs_item_walk *walk, h5store_item_info *info, h5store_err *err)
{
    hid_t file;
    int rc = walk_begin(walk->container, &file, err);

    *info = (h5store_item_info){0};
    if (rc < 0)
        return rc;
    rc = H5STORE_DONE;
    if (walk->tell_first) {
        walk->tell_first = false;
        if (H5Lexists(file, walk->frames[0].path, H5P_DEFAULT) > 0)
            rc = walk_tell(walk, walk->frames[0].collection, NULL, info, err);
    }
    while (rc == H5STORE_DONE && walk->depth > 0) {
        walk_frame *frame = &walk->frames[walk->depth - 1];

        if (frame->next == SIZE_MAX && (rc = walk_list(walk, file, err)) < 0) {
            rc = walk_tell_failure(walk, info, rc);
            break;
        }
        if (frame->next < frame->names.count) {
            rc = walk_member(walk, file, info, err);
        } else {
            walk_pop(walk);
            rc = H5STORE_DONE;
        }
    }
    (void)H5Eclear2(H5E_DEFAULT);
    rc = hs_container_verdict(walk->container, rc, err);
    hs_container_read_end(walk->container);
    return rc;
}
