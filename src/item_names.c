/* SPDX-License-Identifier: MIT */
/*
 * Names of items and collections, lists of names and ids, and the visit of a tree; see item.h.
 *
 * A component of a collection or a key stands in the file as it is, but for its first byte,
 * which is written as %XX when it is '#' (that marks the groups which hold items), '%', or
 * the only byte and a dot (HDF5 takes "." for the group itself).
 */
#include "grow.h"
#include "h5util.h"
#include "item.h"
#include "vfd_compat.h"
#include <stdio.h>

static bool
item_is_plain(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '-';
}

bool
hs_item_is_fan(const char *name)
{
    return name[0] == '#';
}

int
hs_item_check_names(const char *collection, const char *key, h5store_err *err)
{
    size_t length = strlen(collection);

    if (length == 0 || length > H5STORE_MAX_COLLECTION)
        return hs_fail(err, H5STORE_E_INVALID, 0, "a collection's name has 1 to %d bytes, not %zu",
                       H5STORE_MAX_COLLECTION, length);
    if (collection[0] == '/' || collection[length - 1] == '/' || strstr(collection, "//") != NULL)
        return hs_fail(err, H5STORE_E_INVALID, 0,
                       "the collection '%s' has an empty component; join non-empty ones by '/'",
                       collection);
    if (key == NULL)
        return H5STORE_OK;
    length = strlen(key);
    if (length == 0 || length > H5STORE_MAX_KEY || strchr(key, '/') != NULL)
        return hs_fail(err, H5STORE_E_INVALID, 0, "the key '%s' must have 1 to %d bytes and no '/'",
                       key, H5STORE_MAX_KEY);
    return H5STORE_OK;
}

/* Append a component of @p length bytes with a slash before it. */
static char *
item_append(char *out, const char *component, size_t length)
{
    *out++ = '/';
    if (component[0] == '#' || component[0] == '%' || (length == 1 && component[0] == '.')) {
        out += sprintf(out, "%%%02X", (unsigned char)component[0]);
        component++;
        length--;
    }
    memcpy(out, component, length);
    return out + length;
}

int
hs_item_path(const char *collection, const char *key, char **path, h5store_err *err)
{
    size_t room = sizeof "/items" + 16;
    char *start, *out;

    /* In the worst case each component is one byte that becomes three. */
    room += collection != NULL ? 3 * strlen(collection) + 3 : 0;
    room += key != NULL ? 3 * strlen(key) + 3 : 0;
    start = out = malloc(room);
    if (start == NULL)
        return hs_fail_nomem(err, room, "a path");
    out += sprintf(out, "/items");
    while (collection != NULL && *collection != '\0') {
        size_t length = strcspn(collection, "/");

        out = item_append(out, collection, length);
        collection += length + (collection[length] == '/');
    }
    if (key != NULL) {
        if (item_is_plain(key[0]) && item_is_plain(key[1]))
            out += sprintf(out, "/#%.2s", key);
        else
            out += sprintf(out, "/#+");
        out = item_append(out, key, strlen(key));
    }
    *out = '\0';
    *path = start;
    return H5STORE_OK;
}

int
hs_item_unescape(const char *component, char **name, h5store_err *err)
{
    unsigned byte;
    char *copy = strdup(component);

    if (copy == NULL)
        return hs_fail_nomem(err, strlen(component), "a name");
    if (copy[0] == '%' && sscanf(copy + 1, "%2X", &byte) == 1 && strlen(copy) >= 3) {
        copy[0] = (char)byte;
        memmove(copy + 1, copy + 3, strlen(copy + 3) + 1);
    }
    *name = copy;
    return H5STORE_OK;
}

int
hs_item_join(const char *collection, const char *name, char **path, h5store_err *err)
{
    size_t room = (collection != NULL ? strlen(collection) + 1 : 0) + strlen(name) + 1;
    char *joined = malloc(room);

    if (joined == NULL)
        return hs_fail_nomem(err, room, "a path");
    snprintf(joined, room, "%s%s%s", collection != NULL ? collection : "",
             collection != NULL ? "/" : "", name);
    *path = joined;
    return H5STORE_OK;
}

/* ---- lists ------------------------------------------------------------ */

int
hs_id_list_add(hs_id_list *list, const h5store_id *id, h5store_err *err)
{
    int rc = hs_grow(&list->ids, list->count, &list->room, sizeof *list->ids, "a list of blobs",
                     err);

    if (rc == H5STORE_OK)
        list->ids[list->count++] = *id;
    return rc;
}

void
hs_id_list_release(hs_id_list *list)
{
    free(list->ids);
    memset(list, 0, sizeof *list);
}

bool
hs_sizes_find(const hs_sizes *sizes, const h5store_id *id, uint64_t *nbytes)
{
    size_t low = 0, high = sizes->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(id, &sizes->sizes[middle].id, sizeof *id);

        if (order == 0) {
            *nbytes = sizes->sizes[middle].nbytes;
            return true;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

void
hs_names_release(hs_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
    free(names->addresses);
    memset(names, 0, sizeof *names);
}

struct names_job {
    hs_names *names;
    bool no_memory;
};

static herr_t
names_add(hid_t group HS_UNUSED, const char *name, const hs_link_info *info, void *data)
{
    struct names_job *job = data;
    hs_names *names = job->names;

    job->no_memory = true; /* unless it comes to its end */
    if (names->count == names->room) {
        size_t room = names->room ? names->room * 2 : 16;
        char **list = realloc(names->names, room * sizeof *list);
        uint64_t *addresses;

        if (list == NULL)
            return -1;
        names->names = list;
        addresses = realloc(names->addresses, room * sizeof *addresses);
        if (addresses == NULL)
            return -1;
        names->addresses = addresses;
        names->room = room;
    }
    names->names[names->count] = strdup(name);
    if (names->names[names->count] == NULL)
        return -1;
    names->addresses[names->count] = info->type == H5L_TYPE_HARD ? hs_h5_link_address(info)
                                                                 : UINT64_MAX;
    names->count++;
    job->no_memory = false;
    return 0;
}

int
hs_names_read(hid_t group, hs_names *names, h5store_err *err)
{
    struct names_job job = {.names = names};
    hsize_t position = 0;

    memset(names, 0, sizeof *names);
    if (hs_link_iterate(group, H5_INDEX_NAME, H5_ITER_INC, &position, names_add, &job) >= 0)
        return H5STORE_OK;
    hs_names_release(names);
    if (job.no_memory) {
        (void)H5Eclear2(H5E_DEFAULT);
        return hs_fail_nomem(err, 0, "the names in a group");
    }
    return hs_h5_fail(err, H5STORE_E_DAMAGED, "the members of a group cannot be listed");
}

/* ---- trees ------------------------------------------------------------ */

/* A member of a collection's group is no group that can be opened: is it damaged, or not ours? */
static int
item_pass_over(hid_t group, const char *name, uint64_t address, const char *collection,
               h5store_err *err)
{
    hid_t other = address != UINT64_MAX ? H5Oopen(group, name, H5P_DEFAULT) : H5I_INVALID_HID;

    if (address != UINT64_MAX && other < 0)
        return hs_h5_fail(err, H5STORE_E_DAMAGED, "the group '%s' of '%s' cannot be opened", name,
                          collection != NULL ? collection : "/items");
    if (other >= 0)
        (void)H5Oclose(other);
    return H5STORE_OK;
}

/* The members of a collection's group, or (@p in_fan) of one that holds items of it. */
static int
item_visit(hs_container *c, hid_t group, const char *collection, bool in_fan, int depth,
           const hs_item_visitor *visitor, h5store_err *err)
{
    HS_CLEANUP(hs_names_release) hs_names names = {0};
    int rc;

    if (depth > HS_ITEM_DEPTH)
        return visitor->refuses_depth
                   ? hs_fail(err, H5STORE_E_DAMAGED, 0, "collections of '%s' lie too deep",
                             hs_container_path(c))
                   : H5STORE_OK;
    rc = hs_names_read(group, &names, err);
    for (size_t i = 0; rc == H5STORE_OK && i < names.count; i++) {
        HS_CLEANUP(hs_h5_close_group) hid_t member = H5I_INVALID_HID;
        HS_CLEANUP(hs_freep) char *name = NULL;
        HS_CLEANUP(hs_freep) char *path = NULL;
        bool fan = !in_fan && hs_item_is_fan(names.names[i]);

        rc = hs_item_unescape(names.names[i], &name, err);
        if (rc < 0)
            break;
        if (in_fan) {
            rc = visitor->item(collection != NULL ? collection : "", name, names.addresses[i],
                               visitor->context, err);
            continue;
        }
        rc = fan ? H5STORE_OK : hs_item_join(collection, name, &path, err);
        if (rc == H5STORE_OK && !fan && visitor->collection != NULL)
            rc = visitor->collection(path, visitor->context, err);
        if (rc < 0)
            break;
        member = H5Gopen2(group, names.names[i], H5P_DEFAULT);
        if (member < 0)
            (void)H5Eclear2(H5E_DEFAULT);
        if (member < 0 && visitor->refuses_damage)
            rc = item_pass_over(group, names.names[i], names.addresses[i], collection, err);
        else if (member >= 0)
            rc = item_visit(c, member, fan ? collection : path, fan, depth + 1, visitor, err);
    }
    return rc;
}

int
hs_item_visit(hs_container *c, hid_t group, const char *collection, const hs_item_visitor *visitor,
              h5store_err *err)
{
    return item_visit(c, group, collection, false, 0, visitor, err);
}
