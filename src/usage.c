/* SPDX-License-Identifier: MIT */
/*
 * The usage page, the table of times, and the ring of misses; see usage.h.
 *
 * The table is a hash table of pages with ten slots of 24 bytes: {hash, stored, used}.  An item
 * is looked for in the page that its hash gives and, while pages are full, in those that
 * follow.  A slot that is given up keeps the hash SLOT_GONE, so that a search goes on behind
 * it.  At three quarters the table moves to a new one without the slots that are gone, which is
 * as large as it must be to be half full at most: its size goes by what there is, and not by
 * what there ever was.
 */
#include "usage.h"
#include "digest.h"

#define USAGE_PAGE_ADDRESS 1024u
#define SLOT_SIZE 24u
#define SLOTS_PER_PAGE (HS_PAGE_SIZE / SLOT_SIZE)
#define SLOT_EMPTY 0u
#define SLOT_GONE 1u
#define TABLE_FIRST 4096u
#define MISS_TEXTS 232u /* bytes for the three texts of a miss */

static const char usage_magic[8] = {'h', '5', 's', 'u', 's', 'a', 'g', 'e'};

uint64_t
hs_usage_hash(const char *collection, const char *key)
{
    uint64_t parts[2] = {hs_sum64(collection, strlen(collection)), hs_sum64(key, strlen(key))};
    uint64_t hash = hs_sum64(parts, sizeof parts);

    return hash > SLOT_GONE ? hash : hash + 2;
}

/* ---- the page --------------------------------------------------------- */

static hs_extent
usage_sound(hs_extent extent, uint64_t eoa)
{
    bool sound = extent.address % HS_SPACE_UNIT == 0 && extent.length % HS_SPACE_UNIT == 0 &&
                 extent.address >= HS_SPACE_START && extent.length <= eoa &&
                 extent.address <= eoa - extent.length;

    return sound ? extent : (hs_extent){0, 0};
}

int
hs_usage_load(hs_pager *pager, uint64_t eoa, hs_usage *usage, h5store_err *err)
{
    uint8_t page[HS_PAGE_SIZE];
    int rc = hs_pager_read(pager, USAGE_PAGE_ADDRESS, page, sizeof page, err);

    memset(usage, 0, sizeof *usage);
    if (rc < 0 || memcmp(page, usage_magic, sizeof usage_magic) != 0 ||
        hs_get_le64(page + 248) != hs_sum64(page, 248))
        return rc;
    usage->table = usage_sound((hs_extent){hs_get_le64(page + 8), hs_get_le64(page + 16)}, eoa);
    usage->slots = hs_get_le64(page + 24);
    usage->misses = usage_sound((hs_extent){hs_get_le64(page + 32), hs_get_le64(page + 40)}, eoa);
    usage->miss_next = hs_get_le64(page + 48);
    usage->counters.hits = hs_get_le64(page + 56);
    usage->counters.misses = hs_get_le64(page + 64);
    usage->counters.heals = hs_get_le64(page + 72);
    usage->counters.stored = hs_get_le64(page + 80);
    usage->counters.duplicates = hs_get_le64(page + 88);
    usage->counters.duplicate_bytes = hs_get_le64(page + 96);
    if (usage->misses.length < HS_USAGE_MISSES * HS_PAGE_SIZE)
        usage->misses = (hs_extent){0, 0};
    return H5STORE_OK;
}

int
hs_usage_save(hs_pager *pager, const hs_usage *usage, h5store_err *err)
{
    uint8_t page[HS_PAGE_SIZE] = {0};

    memcpy(page, usage_magic, sizeof usage_magic);
    hs_put_le64(page + 8, usage->table.address);
    hs_put_le64(page + 16, usage->table.length);
    hs_put_le64(page + 24, usage->slots);
    hs_put_le64(page + 32, usage->misses.address);
    hs_put_le64(page + 40, usage->misses.length);
    hs_put_le64(page + 48, usage->miss_next);
    hs_put_le64(page + 56, usage->counters.hits);
    hs_put_le64(page + 64, usage->counters.misses);
    hs_put_le64(page + 72, usage->counters.heals);
    hs_put_le64(page + 80, usage->counters.stored);
    hs_put_le64(page + 88, usage->counters.duplicates);
    hs_put_le64(page + 96, usage->counters.duplicate_bytes);
    hs_put_le64(page + 248, hs_sum64(page, 248));
    return hs_pager_write(pager, USAGE_PAGE_ADDRESS, page, sizeof page, err);
}

/* Space for a table or the ring: zeros, with blocks. */
static int
usage_take(hs_pager *pager, hs_space *space, uint64_t length, hs_extent *extent, h5store_err *err)
{
    bool reused;
    int rc = hs_space_take(space, length, extent, &reused, err);

    if (rc == H5STORE_OK)
        rc = hs_pager_reserve(pager, extent->address, extent->length, err);
    if (rc == H5STORE_OK && reused)
        rc = hs_pager_zero(pager, extent->address, extent->length, err);
    return rc;
}

/* ---- the table -------------------------------------------------------- */

static uint64_t
usage_slots(uint64_t length)
{
    return length / HS_PAGE_SIZE * SLOTS_PER_PAGE;
}

/* Where a search ended. */
struct usage_place {
    uint64_t page;               /* its address */
    uint8_t bytes[HS_PAGE_SIZE]; /* of it */
    unsigned slot;               /* of the item, or free for it */
    bool found, full;            /* full: there is no such slot at all */
};

static int
usage_search(hs_pager *pager, const hs_usage *usage, uint64_t hash, struct usage_place *place,
             h5store_err *err)
{
    uint64_t pages = usage->table.length / HS_PAGE_SIZE;

    place->found = false;
    place->full = true;
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t address = usage->table.address + (hash + i) % pages * HS_PAGE_SIZE;
        int rc = hs_pager_read(pager, address, place->bytes, sizeof place->bytes, err);

        if (rc < 0)
            return rc;
        place->page = address;
        for (unsigned slot = 0; slot < SLOTS_PER_PAGE; slot++) {
            uint64_t there = hs_get_le64(place->bytes + slot * SLOT_SIZE);

            if (there != hash && there != SLOT_EMPTY)
                continue;
            place->slot = slot;
            place->found = there == hash;
            place->full = false;
            return H5STORE_OK;
        }
    }
    return H5STORE_OK;
}

int
hs_usage_find(hs_pager *pager, const hs_usage *usage, uint64_t hash, hs_usage_times *times,
              h5store_err *err)
{
    struct usage_place place;
    int rc = usage_search(pager, usage, hash, &place, err);

    *times = (hs_usage_times){0, 0};
    if (rc == H5STORE_OK && place.found) {
        times->stored = hs_get_le64(place.bytes + place.slot * SLOT_SIZE + 8);
        times->used = hs_get_le64(place.bytes + place.slot * SLOT_SIZE + 16);
    }
    return rc;
}

/* Write one slot of a page that was searched. */
static int
usage_write(hs_pager *pager, struct usage_place *place, uint64_t hash, hs_usage_times times,
            h5store_err *err)
{
    uint8_t *slot = place->bytes + place->slot * SLOT_SIZE;

    hs_put_le64(slot, hash);
    if (times.stored != 0)
        hs_put_le64(slot + 8, times.stored);
    if (times.used > hs_get_le64(slot + 16) || times.stored != 0)
        hs_put_le64(slot + 16, times.used);
    return hs_pager_write(pager, place->page + place->slot * SLOT_SIZE, slot, SLOT_SIZE, err);
}

/* Put a slot into a table in memory, which has room for it. */
static void
usage_enter(uint8_t *table, uint64_t pages, const uint8_t *slot)
{
    uint64_t hash = hs_get_le64(slot);

    for (uint64_t i = 0; i < pages; i++) {
        uint8_t *page = table + (hash + i) % pages * HS_PAGE_SIZE;

        for (unsigned place = 0; place < SLOTS_PER_PAGE; place++)
            if (hs_get_le64(page + place * SLOT_SIZE) == SLOT_EMPTY) {
                memcpy(page + place * SLOT_SIZE, slot, SLOT_SIZE);
                return;
            }
    }
}

/* Move the table to one of the length that it must have, without the slots that are gone. */
static int
usage_move_table(hs_pager *pager, hs_space *space, hs_usage *usage, uint64_t sequence,
                 h5store_err *err)
{
    HS_CLEANUP(hs_freep) uint8_t *old = malloc((size_t)usage->table.length + 1);
    HS_CLEANUP(hs_freep) uint8_t *grown = NULL;
    uint64_t slots = 0, length = TABLE_FIRST;
    hs_extent place;
    int rc;

    if (old == NULL)
        return hs_fail_nomem(err, usage->table.length, "the table of times");
    rc = hs_pager_read(pager, usage->table.address, old, (size_t)usage->table.length, err);
    if (rc < 0)
        return rc;
    for (size_t at = 0; at < usage->table.length; at += HS_PAGE_SIZE)
        for (size_t i = 0; i < SLOTS_PER_PAGE; i++)
            slots += hs_get_le64(old + at + i * SLOT_SIZE) > SLOT_GONE;
    while (usage_slots(length) / 2 <= slots)
        length *= 2;
    grown = calloc(1, (size_t)length);
    if (grown == NULL)
        return hs_fail_nomem(err, length, "the table of times");
    for (size_t at = 0; at < usage->table.length; at += HS_PAGE_SIZE)
        for (size_t i = 0; i < SLOTS_PER_PAGE; i++)
            if (hs_get_le64(old + at + i * SLOT_SIZE) > SLOT_GONE)
                usage_enter(grown, length / HS_PAGE_SIZE, old + at + i * SLOT_SIZE);
    if (rc == H5STORE_OK)
        rc = usage_take(pager, space, length, &place, err);
    if (rc == H5STORE_OK)
        rc = hs_pager_write(pager, place.address, grown, (size_t)length, err);
    if (rc == H5STORE_OK && usage->table.length > 0)
        rc = hs_space_loosen(space, usage->table, sequence, err);
    if (rc == H5STORE_OK) {
        usage->table = place;
        usage->slots = slots;
    }
    return rc;
}

int
hs_usage_set(hs_pager *pager, hs_space *space, hs_usage *usage, uint64_t hash, hs_usage_times times,
             bool enter, uint64_t sequence, h5store_err *err)
{
    struct usage_place place;
    int rc = H5STORE_OK;

    if (enter && usage->slots >= usage_slots(usage->table.length) / 4 * 3)
        rc = usage_move_table(pager, space, usage, sequence, err);
    if (rc == H5STORE_OK)
        rc = usage_search(pager, usage, hash, &place, err);
    if (rc < 0 || place.full || (!place.found && !enter))
        return rc;
    usage->slots += !place.found;
    return usage_write(pager, &place, hash, times, err);
}

int
hs_usage_remove(hs_pager *pager, const hs_usage *usage, uint64_t hash, h5store_err *err)
{
    struct usage_place place;
    uint8_t gone[SLOT_SIZE] = {SLOT_GONE};
    int rc = usage_search(pager, usage, hash, &place, err);

    if (rc < 0 || !place.found)
        return rc;
    return hs_pager_write(pager, place.page + place.slot * SLOT_SIZE, gone, sizeof gone, err);
}

int
hs_usage_move(hs_pager *pager, hs_space *space, hs_usage *usage, uint64_t sequence,
              h5store_err *err)
{
    hs_extent misses = usage->misses;
    uint8_t page[HS_PAGE_SIZE];
    int rc = H5STORE_OK;

    if (usage->table.length > 0)
        rc = usage_move_table(pager, space, usage, sequence, err);
    if (rc < 0 || misses.length == 0)
        return rc;
    rc = usage_take(pager, space, misses.length, &usage->misses, err);
    for (uint64_t at = 0; rc == H5STORE_OK && at < misses.length; at += HS_PAGE_SIZE) {
        rc = hs_pager_read(pager, misses.address + at, page, sizeof page, err);
        if (rc == H5STORE_OK)
            rc = hs_pager_write(pager, usage->misses.address + at, page, sizeof page, err);
    }
    return rc < 0 ? rc : hs_space_loosen(space, misses, sequence, err);
}

/* ---- misses ----------------------------------------------------------- */

/* Copy the end of a text that does not fit. */
static size_t
usage_pack(uint8_t *to, const char *text, size_t most)
{
    size_t length = strlen(text), taken = hs_min(length, most);

    memcpy(to, text + (length - taken), taken);
    return taken;
}

int
hs_usage_add_miss(hs_pager *pager, hs_space *space, hs_usage *usage, const hs_usage_miss *miss,
                  h5store_err *err)
{
    uint8_t page[HS_PAGE_SIZE] = {0};
    size_t sizes[3], at = 24;
    int rc = H5STORE_OK;

    if (usage->misses.length == 0) {
        rc = usage_take(pager, space, HS_USAGE_MISSES * HS_PAGE_SIZE, &usage->misses, err);
        usage->miss_next = 0;
    }
    if (rc < 0)
        return rc;
    hs_put_le64(page, miss->time);
    sizes[0] = usage_pack(page + at, miss->collection, 100);
    sizes[1] = usage_pack(page + at + sizes[0], miss->key, 64);
    at += sizes[0] + sizes[1];
    sizes[2] = usage_pack(page + at, miss->text,
                          hs_min(sizeof miss->text - 1, MISS_TEXTS - sizes[0] - sizes[1]));
    for (unsigned i = 0; i < 3; i++)
        hs_put_le32(page + 8 + 4 * i, (uint32_t)sizes[i]);
    return hs_pager_write(
        pager, usage->misses.address + usage->miss_next++ % HS_USAGE_MISSES * HS_PAGE_SIZE, page,
        sizeof page, err);
}

/* Take a text of a page; false when it is longer than what there is room for. */
static bool
usage_unpack(const uint8_t **from, const uint8_t *end, uint32_t size, char *text, size_t room)
{
    if (size >= room || size > (size_t)(end - *from))
        return false;
    memcpy(text, *from, size);
    text[size] = '\0';
    *from += size;
    return true;
}

int
hs_usage_read_misses(hs_pager *pager, const hs_usage *usage, hs_usage_miss misses[HS_USAGE_MISSES],
                     size_t *count, h5store_err *err)
{
    uint64_t written = usage->misses.length > 0 ? hs_min(usage->miss_next, HS_USAGE_MISSES) : 0;

    *count = 0;
    for (uint64_t i = 1; i <= written; i++) {
        uint64_t number = (usage->miss_next - i) % HS_USAGE_MISSES;
        hs_usage_miss *miss = &misses[*count];
        uint8_t page[HS_PAGE_SIZE];
        const uint8_t *from = page + 24;
        int rc = hs_pager_read(pager, usage->misses.address + number * HS_PAGE_SIZE, page,
                               sizeof page, err);

        if (rc < 0)
            return rc;
        miss->time = hs_get_le64(page);
        if (usage_unpack(&from, page + sizeof page, hs_get_le32(page + 8), miss->collection,
                         sizeof miss->collection) &&
            usage_unpack(&from, page + sizeof page, hs_get_le32(page + 12), miss->key,
                         sizeof miss->key) &&
            usage_unpack(&from, page + sizeof page, hs_get_le32(page + 16), miss->text,
                         sizeof miss->text))
            ++*count;
    }
    return H5STORE_OK;
}
