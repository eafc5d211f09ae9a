/* SPDX-License-Identifier: MIT */
/*
 * What the search found and no name leads to; see salvage.c, "What was removed".
 *
 * A group that was made by a name says itself where it was, in its attribute "path": /blobs,
 * /items, /kept, and collections with a source text.  It is taken at its word if nothing else
 * is there and no other group claims the same.  All others get a name below "recovered": it
 * may be guessed which function they were of, but a wrong guess would hand out wrong results.
 */
#include "salvage_impl.h"
#include <stdio.h>

/* What the links of a group that was found look like. */
struct orphan_look {
    salvage *s;
    uint64_t count, fans, items, groups, hex2, hex64;
    uint64_t address; /* of the group that has them */
    char prefix[3];   /* of the first name */
};

static int
orphan_take_look(const hs_ohdr_link *link, bool sure HS_UNUSED, void *context,
                 h5store_err *err HS_UNUSED)
{
    struct orphan_look *look = context;
    salvage_head *head = salvage_head_at(look->s, link->address);

    if (look->count++ == 0)
        snprintf(look->prefix, sizeof look->prefix, "%.*s", (int)hs_min(link->name_length, 2),
                 link->name);
    look->fans += link->name_length > 0 && link->name[0] == '#';
    look->hex2 += salvage_is_hex(link->name, link->name_length, 2);
    look->hex64 += salvage_is_hex(link->name, link->name_length, 64) &&
                   (head == NULL || head->kind == HEAD_BLOB);
    if (head != NULL) {
        look->items += head->kind == HEAD_ITEM;
        look->groups += head->kind == HEAD_GROUP;
        head->child = head->child || head->address != look->address;
    }
    return H5STORE_OK;
}

static int
orphan_look_at(salvage *s, uint64_t address, struct orphan_look *look, h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    int rc = salvage_header(s, address, &header, NULL);

    memset(look, 0, sizeof *look);
    look->s = s;
    look->address = address;
    if (rc == H5STORE_OK)
        rc = salvage_links(s, &header, orphan_take_look, look, NULL);
    return rc < 0 && rc != H5STORE_E_DAMAGED ? hs_fail_nomem(err, 0, "a group") : H5STORE_OK;
}

static int
orphan_is_orphan(salvage *s, const salvage_head *head, bool *orphan, h5store_err *err)
{
    salvage_object *object;
    int rc = salvage_object_at(s, head->address, &object, err);

    if (rc == H5STORE_OK)
        *orphan = !object->reached;
    return rc;
}

/* Groups of the names of blobs: the arrays that they lead to are no strangers. */
static int
orphan_take_blob_groups(salvage *s, h5store_err *err)
{
    int rc = H5STORE_OK;

    for (size_t i = 0; rc == H5STORE_OK && i < s->head_count; i++) {
        const salvage_head *head = &s->heads[i];
        struct orphan_look look;
        bool orphan = false;

        if (head->kind != HEAD_GROUP)
            continue;
        rc = orphan_is_orphan(s, head, &orphan, err);
        if (rc == H5STORE_OK && orphan)
            rc = orphan_look_at(s, head->address, &look, err);
        if (rc == H5STORE_OK && orphan && s->blobs_damaged && look.count > 0 &&
            look.hex64 == look.count)
            rc = salvage_walk(s, PLACE_BLOB_FAN, head->address, NULL, true, err);
    }
    return rc;
}

/* ---- groups that say themselves where they were ------------------------- */

static int
orphan_read_path(salvage *s, uint64_t address, char **path, h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    const hs_ohdr_attribute *attribute = NULL;
    int rc = salvage_header(s, address, &header, NULL);

    if (rc == H5STORE_OK)
        attribute = hs_ohdr_find(&header, "path");
    *path = attribute != NULL ? strndup((const char *)attribute->value, attribute->size)
                              : strdup("");
    return *path != NULL ? H5STORE_OK : hs_fail_nomem(err, 0, "a name");
}

/* The collection that a path in the file is of; NULL when it is none. */
static int
orphan_path_to_collection(const char *path, char **collection, h5store_err *err)
{
    static const char start[] = "/items/";
    char *all = NULL;
    int rc = H5STORE_OK;

    *collection = NULL;
    if (strncmp(path, start, sizeof start - 1) != 0)
        return H5STORE_OK;
    path += sizeof start - 1;
    while (rc == H5STORE_OK && *path != '\0') {
        size_t length = strcspn(path, "/");
        HS_CLEANUP(hs_freep) char *component = strndup(path, length);
        HS_CLEANUP(hs_freep) char *plain = NULL;
        HS_CLEANUP(hs_freep) char *before = all;

        all = NULL;
        if (component == NULL)
            return hs_fail_nomem(err, length, "a name");
        rc = hs_item_unescape(component, &plain, err);
        if (rc == H5STORE_OK)
            rc = hs_item_join(before, plain, &all, err);
        path += length + (path[length] == '/');
    }
    if (rc == H5STORE_OK && all != NULL && hs_item_check_names(all, NULL, NULL) < 0) {
        free(all);
        all = NULL;
    }
    *collection = all;
    return rc;
}

/* How many groups that no name leads to say that they were here? */
static int
orphan_count_claims(salvage *s, const char *path, size_t *claims, h5store_err *err)
{
    int rc = H5STORE_OK;

    *claims = 0;
    for (size_t i = 0; rc == H5STORE_OK && i < s->head_count; i++) {
        HS_CLEANUP(hs_freep) char *other = NULL;
        bool orphan = false;

        if (!s->heads[i].has_path)
            continue;
        rc = orphan_is_orphan(s, &s->heads[i], &orphan, err);
        if (rc == H5STORE_OK && orphan)
            rc = orphan_read_path(s, s->heads[i].address, &other, err);
        *claims += other != NULL && strcmp(other, path) == 0;
    }
    return rc;
}

/* A group at its own word: if no other is there, and no other says the same. */
static int
orphan_take_claim(salvage *s, const salvage_head *head, const char *path, h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *collection = NULL;
    size_t claims;
    int rc = orphan_count_claims(s, path, &claims, err);

    if (rc < 0 || claims != 1)
        return rc;
    if (strcmp(path, "/blobs") == 0)
        return s->blobs_damaged ? salvage_walk(s, PLACE_BLOBS, head->address, NULL, false, err)
                                : H5STORE_OK;
    if (strcmp(path, "/kept") == 0)
        return s->kept_damaged ? salvage_walk(s, PLACE_KEPT, head->address, NULL, false, err)
                               : H5STORE_OK;
    if (strcmp(path, "/items") == 0)
        return s->has_items ? H5STORE_OK
                            : salvage_walk(s, PLACE_COLLECTION, head->address, NULL, false, err);
    rc = orphan_path_to_collection(path, &collection, err);
    if (rc < 0 || collection == NULL || salvage_has_walked(s, collection))
        return rc;
    return salvage_walk(s, PLACE_COLLECTION, head->address, collection, true, err);
}

/* The three at the top first: what is below them needs no word of its own then. */
static int
orphan_take_claims(salvage *s, h5store_err *err)
{
    static const char *const tops[] = {"/blobs", "/items", "/kept", NULL};
    int rc = H5STORE_OK;

    for (size_t top = 0; top < sizeof tops / sizeof *tops; top++)
        for (size_t i = 0; rc == H5STORE_OK && i < s->head_count && !s->stopped; i++) {
            HS_CLEANUP(hs_freep) char *path = NULL;
            bool orphan = false;

            if (!s->heads[i].has_path)
                continue;
            rc = orphan_is_orphan(s, &s->heads[i], &orphan, err);
            if (rc < 0 || !orphan)
                continue;
            rc = orphan_read_path(s, s->heads[i].address, &path, err);
            if (rc == H5STORE_OK && (tops[top] == NULL || strcmp(path, tops[top]) == 0))
                rc = orphan_take_claim(s, &s->heads[i], path, err);
        }
    return rc;
}

/* ---- groups that do not ------------------------------------------------- */

/* A collection for what was found: "recovered/at-<byte>", or for groups of results, of which a
 * function has many, "recovered/<n>", where n is how many of their keys begin in the same way. */
static void
orphan_name_group(char (*prefixes)[3], size_t *count, size_t room, const char *prefix,
                  uint64_t address, char name[64])
{
    size_t same = 1;

    snprintf(name, 64, SALVAGE_RECOVERED "/at-%llu", (unsigned long long)address);
    if (prefix == NULL || *count == room)
        return;
    for (size_t i = 0; i < *count; i++)
        same += strcmp(prefixes[i], prefix) == 0;
    snprintf(prefixes[(*count)++], 3, "%s", prefix);
    snprintf(name, 64, SALVAGE_RECOVERED "/%zu", same);
}

#define ORPHAN_PREFIXES 4096u

static int
orphan_take_groups(salvage *s, char (*prefixes)[3], size_t *count, h5store_err *err)
{
    int rc = H5STORE_OK;

    for (size_t i = 0; rc == H5STORE_OK && i < s->head_count && !s->stopped; i++) {
        const salvage_head *head = &s->heads[i];
        struct orphan_look look;
        bool orphan = false, fan;
        char name[64];

        if (head->kind != HEAD_GROUP || head->child)
            continue;
        rc = orphan_is_orphan(s, head, &orphan, err);
        if (rc == H5STORE_OK && orphan)
            rc = orphan_look_at(s, head->address, &look, err);
        if (rc < 0 || !orphan || look.hex64 == look.count || look.hex2 == look.count)
            continue;
        fan = look.fans == 0 && look.items > 0;
        orphan_name_group(prefixes, count, ORPHAN_PREFIXES, fan ? look.prefix : NULL, head->address,
                          name);
        rc = salvage_walk(s, fan ? PLACE_FAN : PLACE_COLLECTION, head->address, name, true, err);
    }
    return rc;
}

static int
orphan_compare(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;

    return *left < *right ? -1 : *left > *right;
}

/* The heaps of all groups that were found, sorted; free() them. */
static int
orphan_known_heaps(const salvage *s, uint64_t **heaps, size_t *count, h5store_err *err)
{
    size_t room = s->heap_count + s->head_count;
    uint64_t *list = malloc((room + 1) * sizeof *list);

    if (list == NULL)
        return hs_fail_nomem(err, room * sizeof *list, "a list of groups");
    if (s->heap_count > 0)
        memcpy(list, s->heaps, s->heap_count * sizeof *list);
    for (size_t i = 0; i < s->head_count; i++)
        list[s->heap_count + i] = s->heads[i].heap;
    qsort(list, room, sizeof *list, orphan_compare);
    *heaps = list;
    *count = room;
    return H5STORE_OK;
}

/* Heaps whose groups are lost. */
static int
orphan_take_heaps(salvage *s, char (*prefixes)[3], size_t *count, h5store_err *err)
{
    HS_CLEANUP(hs_freep) uint64_t *known = NULL;
    size_t known_count = 0;
    int rc = orphan_known_heaps(s, &known, &known_count, err);

    for (size_t i = 0, next; rc == H5STORE_OK && i < s->block_count && !s->stopped; i = next) {
        uint64_t heap = s->blocks[i].heap;
        struct orphan_look look = {.s = s, .address = UINT64_MAX};
        char name[64];

        for (next = i + 1; next < s->block_count && s->blocks[next].heap == heap; next++)
            ;
        if (bsearch(&heap, known, known_count, sizeof *known, orphan_compare) != NULL)
            continue;
        rc = hs_dense_links(&s->pager, heap, UINT64_MAX, &s->blocks[i], next - i, orphan_take_look,
                            &look, NULL);
        if (rc < 0 && rc != H5STORE_E_DAMAGED)
            return hs_fail_nomem(err, 0, "a group");
        rc = H5STORE_OK;
        if (look.hex64 == look.count && look.count > 0) {
            rc = salvage_walk_heap(s, PLACE_BLOB_FAN, heap, NULL, err);
        } else if (look.items > 0 || look.groups > 0) {
            bool fan = look.items > look.groups;

            orphan_name_group(prefixes, count, ORPHAN_PREFIXES, fan ? look.prefix : NULL, heap,
                              name);
            rc = salvage_walk_heap(s, fan ? PLACE_FAN : PLACE_COLLECTION, heap, name, err);
        }
    }
    return rc;
}

/* Results that nothing leads to. */
static int
orphan_take_items(salvage *s, h5store_err *err)
{
    int rc = H5STORE_OK;

    for (size_t i = 0; rc == H5STORE_OK && i < s->head_count && !s->stopped; i++) {
        const salvage_head *head = &s->heads[i];
        salvage_object *object;
        char key[32];

        if (head->kind != HEAD_ITEM)
            continue;
        rc = salvage_object_at(s, head->address, &object, err);
        if (rc < 0 || object->reached)
            continue;
        object->reached = true;
        snprintf(key, sizeof key, "at-%llu", (unsigned long long)head->address);
        rc = salvage_item(s, head->address, SALVAGE_RECOVERED, key, true, err);
    }
    return rc;
}

int
salvage_take_orphans(salvage *s, h5store_err *err)
{
    HS_CLEANUP(hs_freep) void *prefixes = malloc(ORPHAN_PREFIXES * 3);
    size_t count = 0;
    int rc = prefixes != NULL ? H5STORE_OK : hs_fail_nomem(err, ORPHAN_PREFIXES * 3, "names");

    /* Who is above whom, first. */
    for (size_t i = 0; rc == H5STORE_OK && i < s->head_count; i++) {
        struct orphan_look look;

        if (s->heads[i].kind == HEAD_GROUP)
            rc = orphan_look_at(s, s->heads[i].address, &look, err);
    }
    if (rc == H5STORE_OK)
        rc = orphan_take_claims(s, err);
    if (rc == H5STORE_OK)
        rc = orphan_take_blob_groups(s, err);
    if (rc == H5STORE_OK && salvage_missing_items(s) > 0)
        rc = orphan_take_groups(s, prefixes, &count, err);
    if (rc == H5STORE_OK)
        rc = orphan_take_heaps(s, prefixes, &count, err);
    if (rc == H5STORE_OK)
        rc = salvage_believe(s, err);
    if (rc == H5STORE_OK && salvage_missing_items(s) > 0)
        rc = orphan_take_items(s, err);
    return rc;
}
