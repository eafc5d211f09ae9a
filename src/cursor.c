/* SPDX-License-Identifier: MIT */
/*
 * See cursor.h.  What was removed between listing a group and looking at a member is passed
 * over.
 */
#include "cursor.h"
#include "grow.h"
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
        const char *name;
        uint64_t address;
        h5store_id id;
        int rc = blob_walk_fill(walk, file, err);

        if (rc != H5STORE_OK)
            return rc;
        name = walk->names.names[walk->next++];
        rc = h5store_id_parse(name, &id, NULL);
        if (rc < 0)
            return hs_fail(err, H5STORE_E_DAMAGED, 0,
                           "'/blobs' has a member '%s' that is no name "
                           "of a blob",
                           name);
        if (hs_blob_find(file, &id, &address, NULL) < 0)
            continue; /* removed meanwhile */
        rc = hs_blob_describe(walk->container, address, &walk->blob, err);
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
    size_t next;       /* SIZE_MAX: the names are not listed yet */
    uint64_t sequence; /* of the commit as of which they were */
    uint64_t address;  /* of the group, once they are */
} walk_frame;

/*
 * What a scope found, to be told one by one: a scope for each would cost more than the look at
 * an item.
 */
#define WALK_ENTRIES 256

typedef struct walk_entry {
    char *collection, *key; /* both NULL: of a damaged name */
    h5store_item_info info;
    int rc; /* OK or DAMAGED */
} walk_entry;

struct hs_item_walk {
    hs_container *container;
    walk_frame *frames;
    size_t depth, room;
    walk_entry entries[WALK_ENTRIES];
    size_t told, count;
    h5store_err failure; /* of the last entry, if that is damaged */
    bool tell_first;     /* the collection that the walk began at */
};

static void
walk_pop(hs_item_walk *walk)
{
    walk_frame *frame = &walk->frames[--walk->depth];

    free(frame->collection);
    free(frame->path);
    hs_names_release(&frame->names);
}

static void
walk_forget(hs_item_walk *walk)
{
    for (size_t i = 0; i < walk->count; i++) {
        free(walk->entries[i].collection);
        free(walk->entries[i].key);
    }
    walk->count = walk->told = 0;
}

void
hs_item_walk_free(hs_item_walk *walk)
{
    if (walk == NULL)
        return;
    while (walk->depth > 0)
        walk_pop(walk);
    walk_forget(walk);
    free(walk->frames);
    free(walk);
}

/* Takes both strings over, also on failure.  Names are listed when it is reached. */
static int
walk_push(hs_item_walk *walk, char *collection, char *path, bool fan, h5store_err *err)
{
    int rc;

    if (walk->depth > HS_ITEM_DEPTH)
        rc = hs_fail(err, H5STORE_E_DAMAGED, 0, "collections of '%s' lie too deep",
                     hs_container_path(walk->container));
    else
        rc = hs_grow(&walk->frames, walk->depth, &walk->room, sizeof *walk->frames,
                     "a walk over the items", err);
    if (rc < 0) {
        free(collection);
        free(path);
        return rc;
    }
    walk->frames[walk->depth++] = (walk_frame){
        .collection = collection, .path = path, .fan = fan, .next = SIZE_MAX};
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
walk_weigh(hs_container *c, uint64_t address, h5store_item_info *info, h5store_err *err)
{
    HS_CLEANUP(hs_item_release) hs_item item = {0};
    HS_CLEANUP(hs_freep) hs_blob_brief *briefs = NULL;
    int rc = hs_item_read(c, address, false, &item, err);

    if (rc < 0)
        return rc;
    info->output_size = item.output.size;
    info->metadata_size = item.metadata.size;
    briefs = calloc(item.link_count + 1, sizeof *briefs);
    if (briefs == NULL)
        return hs_fail_nomem(err, item.link_count * sizeof *briefs, "an item");
    for (size_t i = 0; i < item.link_count; i++) {
        uint64_t mine = 1;

        rc = hs_blob_brief_of(c, item.links[i], &briefs[i], err);
        if (rc < 0)
            return rc;
        info->linked_bytes += briefs[i].nbytes;
        /* Its own once all its links, and the one in /blobs, are from here. */
        for (size_t j = 0; j < i; j++)
            mine += h5store_id_equal(&briefs[i].id, &briefs[j].id) != 0;
        if (briefs[i].links == mine + 1)
            info->own_bytes += briefs[i].nbytes;
    }
    info->link_count = item.link_count;
    return H5STORE_OK;
}

/* Enter one that is to be told; there is room. */
static int
walk_note(hs_item_walk *walk, const char *collection, const char *key, walk_entry **noted,
          h5store_err *err)
{
    walk_entry entry = {0};

    if ((collection != NULL && (entry.collection = strdup(collection)) == NULL) ||
        (key != NULL && (entry.key = strdup(key)) == NULL)) {
        free(entry.collection);
        return hs_fail_nomem(err, 0, "a walk over the items");
    }
    entry.info.collection = entry.collection;
    entry.info.key = entry.key;
    walk->entries[walk->count] = entry;
    *noted = &walk->entries[walk->count++];
    return H5STORE_OK;
}

/* When it was stored and used. */
static int
walk_date(hs_container *c, h5store_item_info *info, h5store_err *err)
{
    hs_usage_times times;
    hs_usage *usage;
    int rc = hs_container_usage(c, &usage, err);

    if (rc == H5STORE_OK)
        rc = hs_usage_find(hs_container_pager(c), usage, hs_usage_hash(info->collection, info->key),
                           &times, err);
    if (rc == H5STORE_OK) {
        info->stored = times.stored;
        info->used = times.used;
    }
    return rc;
}

/* One that cannot be understood is told as such, and the walk goes on behind it. */
static int
walk_note_damage(hs_item_walk *walk, const char *collection, const char *key, int rc)
{
    walk_entry *entry;

    if (rc != H5STORE_E_DAMAGED)
        return rc;
    rc = walk_note(walk, collection, key, &entry, NULL);
    if (rc == H5STORE_OK)
        entry->rc = H5STORE_E_DAMAGED;
    return rc;
}

/* The address of a member: as it was listed, if nobody has committed since. */
static int
walk_find(hs_item_walk *walk, hid_t file, const walk_frame *frame, size_t index, const char *path,
          uint64_t *address)
{
    *address = frame->names.addresses[index];
    if (*address != UINT64_MAX && frame->sequence == hs_container_sequence(walk->container))
        return H5STORE_OK;
    return hs_h5_find(file, path, address, NULL);
}

static int
walk_item(hs_item_walk *walk, hid_t file, const walk_frame *frame, size_t index, const char *name,
          const char *path, h5store_err *err)
{
    const char *collection = frame->collection != NULL ? frame->collection : "";
    walk_entry *entry;
    uint64_t address;
    int rc;

    if (walk_find(walk, file, frame, index, path, &address) < 0)
        return H5STORE_OK; /* removed meanwhile */
    rc = walk_note(walk, collection, name, &entry, err);
    if (rc < 0)
        return rc;
    rc = walk_weigh(walk->container, address, &entry->info, err);
    if (rc == H5STORE_OK)
        rc = walk_date(walk->container, &entry->info, err);
    if (rc == H5STORE_E_DAMAGED) {
        entry->rc = rc;
        return H5STORE_OK;
    }
    return rc;
}

/* One member of the frame on top. */
static int
walk_member(hs_item_walk *walk, hid_t file, h5store_err *err)
{
    walk_frame *frame = &walk->frames[walk->depth - 1];
    size_t index = frame->next++;
    const char *raw = frame->names.names[index];
    HS_CLEANUP(hs_freep) char *name = NULL;
    char *path = NULL, *collection = NULL;
    bool fan = !frame->fan && hs_item_is_fan(raw);
    walk_entry *entry;
    int rc = hs_item_unescape(raw, &name, err);

    if (rc == H5STORE_E_DAMAGED)
        return walk_note_damage(walk, frame->collection, NULL, rc);
    if (rc == H5STORE_OK)
        rc = hs_item_join(frame->path, raw, &path, err);
    if (rc < 0)
        return rc;
    if (frame->fan) {
        rc = walk_item(walk, file, frame, index, name, path, err);
        free(path);
        return rc;
    }
    if (fan && frame->collection != NULL && (collection = strdup(frame->collection)) == NULL)
        rc = hs_fail_nomem(err, strlen(frame->collection), "a walk over the items");
    else if (!fan)
        rc = hs_item_join(frame->collection, name, &collection, err);
    if (rc == H5STORE_OK && !fan)
        rc = walk_note(walk, collection, NULL, &entry, err);
    if (rc < 0) {
        free(path);
        free(collection);
        return rc;
    }
    rc = walk_push(walk, collection, path, fan, err);
    return walk_note_damage(walk, NULL, NULL, rc);
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
    frame->sequence = hs_container_sequence(walk->container);
    rc = hs_h5_find(file, frame->path, &frame->address, err);
    for (size_t i = 0; rc == H5STORE_OK && i + 1 < walk->depth; i++)
        if (walk->frames[i].address == frame->address)
            rc = hs_fail(err, H5STORE_E_DAMAGED, 0, "'%s' is a member of itself", frame->path);
    if (rc == H5STORE_OK)
        rc = hs_names_read(group, &frame->names, err);
    if (rc < 0 && rc != H5STORE_E_DAMAGED)
        frame->next = SIZE_MAX; /* to be tried again */
    return walk_note_damage(walk, frame->collection, NULL, rc);
}

/* In a read scope: look at the next ones, as many as there is room for. */
static int
walk_fill(hs_item_walk *walk, hid_t file, h5store_err *err)
{
    walk_entry *entry;
    int rc = H5STORE_OK;

    if (walk->tell_first) {
        walk->tell_first = false;
        if (H5Lexists(file, walk->frames[0].path, H5P_DEFAULT) > 0)
            rc = walk_note(walk, walk->frames[0].collection, NULL, &entry, err);
        (void)H5Eclear2(H5E_DEFAULT);
    }
    while (rc == H5STORE_OK && walk->depth > 0 && walk->count < WALK_ENTRIES) {
        walk_frame *frame = &walk->frames[walk->depth - 1];

        if (walk->count > 0 && walk->entries[walk->count - 1].rc < 0)
            break; /* the message is kept for the last one only */
        if (frame->next == SIZE_MAX)
            rc = walk_list(walk, file, err);
        else if (frame->next < frame->names.count)
            rc = walk_member(walk, file, err);
        else
            walk_pop(walk);
    }
    return rc;
}

int
hs_item_walk_next(hs_item_walk *walk, h5store_item_info *info, h5store_err *err)
{
    walk_entry *entry;
    hid_t file;
    int rc;

    *info = (h5store_item_info){0};
    if (walk->told == walk->count) {
        walk_forget(walk);
        rc = walk_begin(walk->container, &file, err);
        if (rc < 0)
            return rc;
        rc = walk_fill(walk, file, &walk->failure);
        rc = hs_container_verdict(walk->container, rc, &walk->failure);
        hs_container_read_end(walk->container);
        if (rc < 0) { /* what was found before it is told next time, again */
            if (err != NULL)
                *err = walk->failure;
            return rc;
        }
        if (walk->count == 0)
            return H5STORE_DONE;
    }
    entry = &walk->entries[walk->told++];
    *info = entry->info;
    if (entry->rc < 0 && err != NULL)
        *err = walk->failure;
    return entry->rc;
}
