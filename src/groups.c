/* SPDX-License-Identifier: MIT */
/*
 * Groups that were read, and looking through them; see groups.h.
 *
 * A part that is kept is as it was if none of its pages was committed since it was read.  When
 * each page was last committed is noted in a table that is small because pages share its entries:
 * of two that do, the change of one has the other read again, too.
 *
 * When too much is kept, everything is forgotten before the next look.  Nothing goes during one, so
 * that the parts it has in hand stay.
 */
#include "groups.h"
#include "dense.h"
#include "superblock.h"

#define GROUPS_MOST ((size_t)8 * 1024 * 1024) /* bytes kept */
#define GROUPS_BUCKETS 4096u
#define GROUPS_STAMPS 4096u

struct groups_part {
    struct groups_part *next; /* in its bucket */
    uint64_t address;
    uint64_t tag;
    size_t size;      /* of bytes; 0: it is a header */
    uint64_t current; /* the clock when it was last known to be as it was read */
    hs_ohdr header;
    uint8_t bytes[];
};

struct hs_groups {
    uint64_t clock; /* goes on with each page that changes */
    uint64_t stamps[GROUPS_STAMPS];
    struct groups_part *buckets[GROUPS_BUCKETS];
    size_t kept;
};

/* ---- what is kept ----------------------------------------------------- */

static size_t
groups_hash(uint64_t number, size_t room)
{
    return (size_t)((number * UINT64_C(0x9E3779B97F4A7C15)) >> 40) % room;
}

int
hs_groups_new(hs_groups **groups, h5store_err *err)
{
    *groups = calloc(1, sizeof **groups);
    return *groups != NULL ? H5STORE_OK : hs_fail_nomem(err, sizeof **groups, "groups");
}

static size_t
groups_weight(const struct groups_part *part)
{
    size_t weight = sizeof *part + part->size;

    for (size_t i = 0; part->size == 0 && i < part->header.block_count; i++)
        weight += 2 * (size_t)part->header.blocks[i].length; /* the bytes, and lists of them */
    return weight;
}

/* Take the part that *link points to out of its bucket. */
static void
groups_drop(hs_groups *groups, struct groups_part **link)
{
    struct groups_part *part = *link;

    *link = part->next;
    groups->kept -= groups_weight(part);
    hs_ohdr_release(&part->header);
    free(part);
}

void
hs_groups_forget(hs_groups *groups)
{
    for (size_t i = 0; groups->kept > 0 && i < GROUPS_BUCKETS; i++)
        while (groups->buckets[i] != NULL)
            groups_drop(groups, &groups->buckets[i]);
}

void
hs_groups_free(hs_groups *groups)
{
    if (groups == NULL)
        return;
    hs_groups_forget(groups);
    free(groups);
}

void
hs_groups_changed(hs_groups *groups, uint64_t page_number)
{
    groups->stamps[groups_hash(page_number, GROUPS_STAMPS)] = ++groups->clock;
}

void
hs_groups_committed(hs_groups *groups, const hs_overlay *pages)
{
    for (size_t i = 0; i < pages->capacity; i++)
        if (pages->slots[i] != NULL)
            hs_groups_changed(groups, pages->slots[i]->number);
}

static bool
groups_range_is_current(const hs_groups *groups, uint64_t address, uint64_t size, uint64_t since)
{
    for (uint64_t number = address / HS_PAGE_SIZE; number * HS_PAGE_SIZE < address + size; number++)
        if (groups->stamps[groups_hash(number, GROUPS_STAMPS)] > since)
            return false;
    return true;
}

static bool
groups_is_current(const hs_groups *groups, const struct groups_part *part)
{
    const hs_ohdr *header = &part->header;

    if (part->current == groups->clock)
        return true;
    if (part->size > 0)
        return groups_range_is_current(groups, part->address, part->size, part->current);
    for (size_t i = 0; i < header->block_count; i++)
        if (!groups_range_is_current(groups, header->blocks[i].address, header->blocks[i].length,
                                     part->current))
            return false;
    return true;
}

/* The part at an address as it is in the file, if it is kept. */
static struct groups_part *
groups_kept(hs_groups *groups, uint64_t address, size_t size, uint64_t tag)
{
    struct groups_part **link = &groups->buckets[groups_hash(address, GROUPS_BUCKETS)];

    while (*link != NULL && ((*link)->address != address || (*link)->size != size))
        link = &(*link)->next;
    if (*link == NULL)
        return NULL;
    if ((*link)->tag != tag || !groups_is_current(groups, *link)) {
        groups_drop(groups, link);
        return NULL;
    }
    (*link)->current = groups->clock;
    return *link;
}

static void
groups_keep(hs_groups *groups, struct groups_part *part)
{
    struct groups_part **bucket = &groups->buckets[groups_hash(part->address, GROUPS_BUCKETS)];

    part->current = groups->clock;
    part->next = *bucket;
    *bucket = part;
    groups->kept += groups_weight(part);
}

static struct groups_part *
groups_new_part(uint64_t address, size_t size, uint64_t tag, h5store_err *err)
{
    struct groups_part *part = malloc(sizeof *part + size);

    if (part == NULL) {
        (void)hs_fail_nomem(err, sizeof *part + size, "a group");
        return NULL;
    }
    memset(part, 0, sizeof *part);
    part->address = address;
    part->size = size;
    part->tag = tag;
    return part;
}

/* ---- reading ---------------------------------------------------------- */

struct groups_look {
    hs_groups *groups;
    hs_pager *pager;
};

/* hs_dense_parts.get */
static int
groups_bytes(const hs_dense_parts *parts, uint64_t address, size_t size, uint64_t tag,
             hs_dense_sound_fn is_sound, const void *what, const uint8_t **bytes, h5store_err *err)
{
    const struct groups_look *look = parts->context;
    struct groups_part *part = groups_kept(look->groups, address, size, tag);
    bool possible = address <= (uint64_t)INT64_MAX - size;
    int rc = H5STORE_OK;

    if (part == NULL) {
        part = groups_new_part(address, size, tag, err);
        if (part == NULL)
            return H5STORE_E_NOMEM;
        if (possible)
            rc = hs_pager_read(look->pager, address, part->bytes, size, err);
        if (rc == H5STORE_OK && !(possible && is_sound(part->bytes, size, what)))
            rc = hs_fail(err, H5STORE_E_DAMAGED, 0,
                         "the metadata of container '%s' are damaged at byte %llu",
                         look->pager->path, (unsigned long long)address);
        if (rc < 0) {
            free(part);
            return rc;
        }
        groups_keep(look->groups, part);
    }
    *bytes = part->bytes;
    return H5STORE_OK;
}

static bool
groups_superblock_is_good(uint8_t *bytes, size_t size HS_UNUSED, const void *what HS_UNUSED)
{
    return hs_superblock_inspect(bytes) == HS_SUPERBLOCK_GOOD;
}

static int
groups_header(const struct groups_look *look, uint64_t address, const hs_ohdr **header,
              h5store_err *err)
{
    struct groups_part *part = groups_kept(look->groups, address, 0, 0);
    int rc;

    if (part == NULL) {
        part = groups_new_part(address, 0, 0, err);
        if (part == NULL)
            return H5STORE_E_NOMEM;
        rc = hs_ohdr_read(look->pager, address, &part->header, err);
        if (rc < 0) {
            free(part);
            return rc;
        }
        groups_keep(look->groups, part);
    }
    *header = &part->header;
    return H5STORE_OK;
}

/* ---- looking ---------------------------------------------------------- */

/* The member of a group by its name. */
static int
groups_member(const hs_dense_parts *parts, uint64_t group, const char *name, size_t length,
              uint64_t *address, h5store_err *err)
{
    const struct groups_look *look = parts->context;
    const hs_ohdr *header;
    int rc = groups_header(look, group, &header, err);

    if (rc < 0)
        return rc;
    if (!header->is_group)
        return hs_fail(err, H5STORE_E_DAMAGED, 0,
                       "container '%s' has something else at byte %llu than a group",
                       look->pager->path, (unsigned long long)group);
    if (header->links_dense)
        return hs_dense_find(parts, header->heap, header->name_index, name, length, address, err);
    for (size_t i = 0; i < header->link_count; i++)
        if (header->links[i].name_length == length &&
            memcmp(header->links[i].name, name, length) == 0) {
            *address = header->links[i].address;
            return H5STORE_OK;
        }
    return hs_fail(err, H5STORE_E_NOT_FOUND, 0, "there is no '%.*s'", (int)length, name);
}

int
hs_groups_find(hs_groups *groups, hs_pager *pager, const char *path, uint64_t *address,
               h5store_err *err)
{
    struct groups_look look = {groups, pager};
    hs_dense_parts parts = {groups_bytes, &look};
    const char *next = path;
    const uint8_t *superblock;
    uint64_t at;
    int rc;

    if (groups->kept > GROUPS_MOST)
        hs_groups_forget(groups);
    rc = groups_bytes(&parts, 0, HS_SUPERBLOCK_SIZE, 0, groups_superblock_is_good, NULL,
                      &superblock, err);
    if (rc < 0)
        return rc;
    at = hs_superblock_root(superblock);
    while (rc == H5STORE_OK && *next == '/') {
        size_t length = strcspn(++next, "/");

        rc = groups_member(&parts, at, next, length, &at, err);
        next += length;
    }
    if (rc == H5STORE_E_NOT_FOUND)
        return hs_fail(err, rc, 0, "there is no '%s'", path);
    if (rc == H5STORE_OK)
        *address = at;
    return rc;
}

int
hs_groups_open(hs_groups *groups, hs_pager *pager, const char *path, const hs_ohdr **header,
               h5store_err *err)
{
    struct groups_look look = {groups, pager};
    uint64_t address;
    int rc = hs_groups_find(groups, pager, path, &address, err);

    return rc < 0 ? rc : groups_header(&look, address, header, err);
}
