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

int
salvage_grow(void *list, size_t count, size_t *room, size_t size, h5store_err *err)
{
    size_t wanted = *room > 0 ? 2 * *room : 16;
    void *grown;

    if (count < *room)
        return H5STORE_OK;
    grown = realloc(*(void **)list, wanted * size);
    if (grown == NULL)
        return hs_fail_nomem(err, wanted * size, "salvaging");
    *(void **)list = grown;
    *room = wanted;
    return H5STORE_OK;
}

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
    if (s->options->finding != NULL && s->options->finding(&finding, s->options->context) != 0)
        s->stopped = true;
}

void
salvage_progress(salvage *s, uint64_t more)
{
    s->done += more;
    s->total = hs_max(s->total, s->done);
    if (s->options->progress != NULL)
        s->options->progress(s->done, s->total, s->options->context);
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

/* ---- what has no name --------------------------------------------------- */

/* What the links of a group that was found look like. */
struct salvage_look {
    salvage *s;
    uint64_t count, fans, items, groups, hex2, hex64;
    uint64_t address; /* of the group that has them */
    char prefix[3];   /* of the first name */
};

static int
salvage_take_look(const hs_ohdr_link *link, bool sure HS_UNUSED, void *context,
                  h5store_err *err HS_UNUSED)
{
    struct salvage_look *look = context;
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
salvage_look_at(salvage *s, uint64_t address, struct salvage_look *look, h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    int rc = salvage_header(s, address, &header, NULL);

    memset(look, 0, sizeof *look);
    look->s = s;
    look->address = address;
    if (rc == H5STORE_OK)
        rc = salvage_links(s, &header, salvage_take_look, look, NULL);
    return rc < 0 && rc != H5STORE_E_DAMAGED ? hs_fail_nomem(err, 0, "a group") : H5STORE_OK;
}

static int
salvage_is_orphan(salvage *s, const salvage_head *head, bool *orphan, h5store_err *err)
{
    salvage_object *object;
    int rc = salvage_object_at(s, head->address, &object, err);

    if (rc == H5STORE_OK)
        *orphan = !object->reached;
    return rc;
}

/* Groups of the names of blobs: the arrays that they lead to are no strangers. */
static int
salvage_take_blob_groups(salvage *s, h5store_err *err)
{
    int rc = H5STORE_OK;

    for (size_t i = 0; rc == H5STORE_OK && i < s->head_count; i++) {
        const salvage_head *head = &s->heads[i];
        struct salvage_look look;
        bool orphan = false;

        if (head->kind != HEAD_GROUP)
            continue;
        rc = salvage_is_orphan(s, head, &orphan, err);
        if (rc == H5STORE_OK && orphan)
            rc = salvage_look_at(s, head->address, &look, err);
        if (rc == H5STORE_OK && orphan && s->blobs_damaged && look.count > 0 &&
            look.hex64 == look.count)
            rc = salvage_walk(s, PLACE_BLOB_FAN, head->address, NULL, true, err);
    }
    return rc;
}

/* ---- groups that say themselves where they were ------------------------- */

static int
salvage_read_path(salvage *s, uint64_t address, char **path, h5store_err *err)
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
salvage_path_to_collection(const char *path, char **collection, h5store_err *err)
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
salvage_count_claims(salvage *s, const char *path, size_t *claims, h5store_err *err)
{
    int rc = H5STORE_OK;

    *claims = 0;
    for (size_t i = 0; rc == H5STORE_OK && i < s->head_count; i++) {
        HS_CLEANUP(hs_freep) char *other = NULL;
        bool orphan = false;

        if (!s->heads[i].has_path)
            continue;
        rc = salvage_is_orphan(s, &s->heads[i], &orphan, err);
        if (rc == H5STORE_OK && orphan)
            rc = salvage_read_path(s, s->heads[i].address, &other, err);
        *claims += other != NULL && strcmp(other, path) == 0;
    }
    return rc;
}

/* A group at its own word: if no other is there, and no other says the same. */
static int
salvage_take_claim(salvage *s, const salvage_head *head, const char *path, h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *collection = NULL;
    size_t claims;
    int rc = salvage_count_claims(s, path, &claims, err);

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
    rc = salvage_path_to_collection(path, &collection, err);
    if (rc < 0 || collection == NULL || salvage_has_walked(s, collection))
        return rc;
    return salvage_walk(s, PLACE_COLLECTION, head->address, collection, true, err);
}

/* The three at the top first: what is below them needs no word of its own then. */
static int
salvage_take_claims(salvage *s, h5store_err *err)
{
    static const char *const tops[] = {"/blobs", "/items", "/kept", NULL};
    int rc = H5STORE_OK;

    for (size_t top = 0; top < sizeof tops / sizeof *tops; top++)
        for (size_t i = 0; rc == H5STORE_OK && i < s->head_count && !s->stopped; i++) {
            HS_CLEANUP(hs_freep) char *path = NULL;
            bool orphan = false;

            if (!s->heads[i].has_path)
                continue;
            rc = salvage_is_orphan(s, &s->heads[i], &orphan, err);
            if (rc < 0 || !orphan)
                continue;
            rc = salvage_read_path(s, s->heads[i].address, &path, err);
            if (rc == H5STORE_OK && (tops[top] == NULL || strcmp(path, tops[top]) == 0))
                rc = salvage_take_claim(s, &s->heads[i], path, err);
        }
    return rc;
}

/* ---- groups that do not ------------------------------------------------- */

/* A collection for what was found: "recovered/at-<byte>", or for groups of results, of which a
 * function has many, "recovered/<n>", where n is how many of their keys begin in the same way. */
static void
salvage_name_group(char (*prefixes)[3], size_t *count, size_t room, const char *prefix,
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

#define SALVAGE_PREFIXES 4096u

static int
salvage_take_groups(salvage *s, char (*prefixes)[3], size_t *count, h5store_err *err)
{
    int rc = H5STORE_OK;

    for (size_t i = 0; rc == H5STORE_OK && i < s->head_count && !s->stopped; i++) {
        const salvage_head *head = &s->heads[i];
        struct salvage_look look;
        bool orphan = false, fan;
        char name[64];

        if (head->kind != HEAD_GROUP || head->child)
            continue;
        rc = salvage_is_orphan(s, head, &orphan, err);
        if (rc == H5STORE_OK && orphan)
            rc = salvage_look_at(s, head->address, &look, err);
        if (rc < 0 || !orphan || look.hex64 == look.count || look.hex2 == look.count)
            continue;
        fan = look.fans == 0 && look.items > 0;
        salvage_name_group(prefixes, count, SALVAGE_PREFIXES, fan ? look.prefix : NULL,
                           head->address, name);
        rc = salvage_walk(s, fan ? PLACE_FAN : PLACE_COLLECTION, head->address, name, true, err);
    }
    return rc;
}

static int
salvage_compare(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;

    return *left < *right ? -1 : *left > *right;
}

/* The heaps of all groups that were found, sorted; free() them. */
static int
salvage_known_heaps(const salvage *s, uint64_t **heaps, size_t *count, h5store_err *err)
{
    size_t room = s->heap_count + s->head_count;
    uint64_t *list = malloc((room + 1) * sizeof *list);

    if (list == NULL)
        return hs_fail_nomem(err, room * sizeof *list, "a list of groups");
    if (s->heap_count > 0)
        memcpy(list, s->heaps, s->heap_count * sizeof *list);
    for (size_t i = 0; i < s->head_count; i++)
        list[s->heap_count + i] = s->heads[i].heap;
    qsort(list, room, sizeof *list, salvage_compare);
    *heaps = list;
    *count = room;
    return H5STORE_OK;
}

/* Heaps whose groups are lost. */
static int
salvage_take_heaps(salvage *s, char (*prefixes)[3], size_t *count, h5store_err *err)
{
    HS_CLEANUP(hs_freep) uint64_t *known = NULL;
    size_t known_count = 0;
    int rc = salvage_known_heaps(s, &known, &known_count, err);

    for (size_t i = 0, next; rc == H5STORE_OK && i < s->block_count && !s->stopped; i = next) {
        uint64_t heap = s->blocks[i].heap;
        struct salvage_look look = {.s = s, .address = UINT64_MAX};
        char name[64];

        for (next = i + 1; next < s->block_count && s->blocks[next].heap == heap; next++)
            ;
        if (bsearch(&heap, known, known_count, sizeof *known, salvage_compare) != NULL)
            continue;
        rc = hs_dense_links(&s->pager, heap, UINT64_MAX, &s->blocks[i], next - i,
                            salvage_take_look, &look, NULL);
        if (rc < 0 && rc != H5STORE_E_DAMAGED)
            return hs_fail_nomem(err, 0, "a group");
        rc = H5STORE_OK;
        if (look.hex64 == look.count && look.count > 0) {
            rc = salvage_walk_heap(s, PLACE_BLOB_FAN, heap, NULL, err);
        } else if (look.items > 0 || look.groups > 0) {
            bool fan = look.items > look.groups;

            salvage_name_group(prefixes, count, SALVAGE_PREFIXES, fan ? look.prefix : NULL, heap,
                               name);
            rc = salvage_walk_heap(s, fan ? PLACE_FAN : PLACE_COLLECTION, heap, name, err);
        }
    }
    return rc;
}

/* Results that nothing leads to. */
static int
salvage_take_items(salvage *s, h5store_err *err)
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

static int
salvage_take_orphans(salvage *s, h5store_err *err)
{
    HS_CLEANUP(hs_freep) void *prefixes = malloc(SALVAGE_PREFIXES * 3);
    size_t count = 0;
    int rc = prefixes != NULL ? H5STORE_OK : hs_fail_nomem(err, SALVAGE_PREFIXES * 3, "names");

    /* Who is above whom, first. */
    for (size_t i = 0; rc == H5STORE_OK && i < s->head_count; i++) {
        struct salvage_look look;

        if (s->heads[i].kind == HEAD_GROUP)
            rc = salvage_look_at(s, s->heads[i].address, &look, err);
    }
    if (rc == H5STORE_OK)
        rc = salvage_take_claims(s, err);
    if (rc == H5STORE_OK)
        rc = salvage_take_blob_groups(s, err);
    if (rc == H5STORE_OK && salvage_missing_items(s) > 0)
        rc = salvage_take_groups(s, prefixes, &count, err);
    if (rc == H5STORE_OK)
        rc = salvage_take_heaps(s, prefixes, &count, err);
    if (rc == H5STORE_OK)
        rc = salvage_believe(s, err);
    if (rc == H5STORE_OK && salvage_missing_items(s) > 0)
        rc = salvage_take_items(s, err);
    return rc;
}

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
        rc = salvage_grow(&addresses, count, &room, sizeof *addresses, err);
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
salvage_all(salvage *s, h5store_err *err)
{
    uint64_t address;
    bool root = false;
    int rc = salvage_root(s, &address, err);

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
        return hs_fail(err, H5STORE_E_NOT_A_STORE, 0,
                       "nothing of a container of h5store was found in '%s'; check that it is the "
                       "right file", s->pager.path);
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
