/* SPDX-License-Identifier: MIT */
/*
 * Noting what the cache is used for, so that a hit stays a read.
 *
 * Notes are taken in memory, under a mutex of their own that is held for no longer than that.
 * Each commit takes along what was noted until then; hs_container_write_notes is for a process
 * that has only hits.  A note that cannot be written is lost: it is about order and statistics,
 * not about results.
 *
 * WITHOUT THE LOG.  A process that has only hits, like most, need not wait for the disk when it
 * closes, as it would for a record that has to be applied.  If the log is empty, it writes the
 * pages of the table of times and the usage page into the file, and they get to the disk when
 * they do.  Each of them is sound by itself, whatever becomes of the others: a slot of the table
 * says when one item was used, and the usage page has a checksum.  Nobody reads meanwhile
 * (READ exclusive), and nothing of HDF5's lies there.
 */
#include "container_impl.h"
#include "grow.h"

#define NOTES_MOST 65536u /* hits in memory; beyond that only counted */
#define NOTES_DUE 4096u
#define NOTES_LATEST UINT64_C(60000000000) /* nanoseconds */

int
container_notes_init(hs_container *c, h5store_err *err)
{
    if (pthread_mutex_init(&c->notes.mutex, NULL) != 0)
        return hs_fail_nomem(err, sizeof c->notes, "a container");
    return H5STORE_OK;
}

void
container_notes_destroy(hs_container *c)
{
    free(c->notes.lists[0].uses);
    free(c->notes.lists[1].uses);
    pthread_mutex_destroy(&c->notes.mutex);
}

static void
notes_add_use(container_note_list *list, uint64_t hash, uint64_t now)
{
    if (list->use_count > 0 && list->uses[list->use_count - 1].hash == hash) {
        list->uses[list->use_count - 1].time = now; /* the same one in a loop */
        return;
    }
    if (list->use_count == NOTES_MOST || hs_grow(&list->uses, list->use_count, &list->use_room,
                                                 sizeof *list->uses, "notes", NULL) < 0)
        return;
    list->uses[list->use_count++] = (container_use){hash, now};
}

static void
notes_copy(char *to, size_t room, const char *from)
{
    size_t length = strlen(from), taken = hs_min(length, room - 1);

    memcpy(to, from + (length - taken), taken); /* the end of a name says most */
    to[taken] = '\0';
}

/* The list that notes go to; mutex held. */
static container_note_list *
notes_current(hs_container *c)
{
    return &c->notes.lists[c->notes.current];
}

bool
hs_container_note(hs_container *c, hs_note note, const char *collection, const char *key,
                  const char *text)
{
    container_note_list *list;
    uint64_t now = hs_os_now(), time = hs_os_time();
    bool due;

    if (c->read_only)
        return false;
    pthread_mutex_lock(&c->notes.mutex);
    list = notes_current(c);
    if (list->since == 0)
        list->since = now;
    if (note == HS_NOTE_HIT) {
        list->counters.hits++;
        notes_add_use(list, hs_usage_hash(collection, key), time);
    } else if (note == HS_NOTE_HEAL) {
        list->counters.heals++;
    } else {
        hs_usage_miss *miss = &list->misses[list->miss_count++ % HS_USAGE_MISSES];

        list->counters.misses++;
        miss->time = time;
        notes_copy(miss->collection, sizeof miss->collection, collection);
        notes_copy(miss->key, sizeof miss->key, key);
        notes_copy(miss->text, sizeof miss->text, text);
    }
    due = list->use_count >= NOTES_DUE || now - list->since > NOTES_LATEST;
    pthread_mutex_unlock(&c->notes.mutex);
    return due;
}

void
hs_container_note_puts(hs_container *c, uint64_t stored, uint64_t duplicates,
                       uint64_t duplicate_bytes)
{
    hs_usage_counters *counters;

    pthread_mutex_lock(&c->notes.mutex);
    counters = &notes_current(c)->counters;
    counters->stored += stored;
    counters->duplicates += duplicates;
    counters->duplicate_bytes += duplicate_bytes;
    pthread_mutex_unlock(&c->notes.mutex);
}

/* In a write scope: all notes, of which the next ones are no part.  Emptied by notes_drop. */
static container_note_list *
notes_take(hs_container *c)
{
    container_note_list *list;

    pthread_mutex_lock(&c->notes.mutex);
    list = notes_current(c);
    c->notes.current = !c->notes.current;
    pthread_mutex_unlock(&c->notes.mutex);
    return list;
}

static void
notes_drop(container_note_list *list)
{
    memset(&list->counters, 0, sizeof list->counters);
    list->use_count = 0;
    list->miss_count = list->since = 0;
}

static bool
notes_are_empty(hs_container *c)
{
    static const hs_usage_counters nothing;
    const container_note_list *list;
    bool empty;

    pthread_mutex_lock(&c->notes.mutex);
    list = notes_current(c);
    empty = list->use_count == 0 && list->miss_count == 0 &&
            memcmp(&list->counters, &nothing, sizeof nothing) == 0;
    pthread_mutex_unlock(&c->notes.mutex);
    return empty;
}

/* Nothing but hits, whose notes change pages that there are? */
static bool
notes_are_hits(hs_container *c)
{
    const container_note_list *list;
    bool are;

    pthread_mutex_lock(&c->notes.mutex);
    list = notes_current(c);
    are = list->use_count > 0 && list->miss_count == 0;
    pthread_mutex_unlock(&c->notes.mutex);
    return are;
}

static void
notes_add_counters(hs_usage_counters *sum, const hs_usage_counters *more)
{
    sum->hits += more->hits;
    sum->misses += more->misses;
    sum->heals += more->heals;
    sum->stored += more->stored;
    sum->duplicates += more->duplicates;
    sum->duplicate_bytes += more->duplicate_bytes;
}

int
hs_container_usage(hs_container *c, hs_usage **usage, h5store_err *err)
{
    int rc = H5STORE_OK;

    if (!c->usage_loaded)
        rc = hs_usage_load(&c->pager, c->space.eoa, &c->usage, err);
    c->usage_loaded = rc == H5STORE_OK;
    *usage = &c->usage;
    return rc;
}

int
hs_container_usage_set(hs_container *c, const char *collection, const char *key, h5store_err *err)
{
    uint64_t now = hs_os_time();
    hs_usage *usage;
    int rc = hs_container_usage(c, &usage, err);

    if (rc < 0)
        return rc;
    c->usage_changed = true;
    return hs_usage_set(&c->pager, &c->space, usage, hs_usage_hash(collection, key),
                        (hs_usage_times){now, now}, true, c->wal.next_sequence, err);
}

int
hs_container_usage_set_times(hs_container *c, const char *collection, const char *key,
                             hs_usage_times times, h5store_err *err)
{
    uint64_t now = hs_os_time();
    hs_usage *usage;
    int rc = hs_container_usage(c, &usage, err);

    if (rc < 0 || (times.stored == 0 && times.used == 0))
        return rc;
    times.stored = hs_min(now, times.stored != 0 ? times.stored : times.used);
    times.used = hs_min(now, hs_max(times.stored, times.used));
    c->usage_changed = true;
    return hs_usage_set(&c->pager, &c->space, usage, hs_usage_hash(collection, key), times, false,
                        c->wal.next_sequence, err);
}

int
hs_container_usage_remove(hs_container *c, const char *collection, const char *key,
                          h5store_err *err)
{
    hs_usage *usage;
    int rc = hs_container_usage(c, &usage, err);

    return rc < 0 ? rc : hs_usage_remove(&c->pager, usage, hs_usage_hash(collection, key), err);
}

int
hs_container_usage_clear(hs_container *c, h5store_err *err)
{
    hs_usage *usage;
    int rc = hs_container_usage(c, &usage, err);

    if (rc < 0)
        return rc;
    usage->table = (hs_extent){0, 0};
    usage->slots = 0;
    c->usage_changed = true;
    return H5STORE_OK;
}

/* In a write scope, before the space table is saved. */
int
container_merge_notes(hs_container *c, h5store_err *err)
{
    container_note_list *list;
    hs_usage *usage;
    uint64_t first;
    int rc;

    if (notes_are_empty(c) && !c->usage_changed)
        return H5STORE_OK;
    /* A commit that changes nothing stays one: the notes wait. */
    if (!c->notes_due && !c->usage_changed && c->pager.pending.count == 0 && !c->space.header_dirty)
        return H5STORE_OK;
    rc = hs_container_usage(c, &usage, err);
    if (rc < 0)
        return rc;
    list = notes_take(c);
    notes_add_counters(&usage->counters, &list->counters);
    for (size_t i = 0; rc == H5STORE_OK && i < list->use_count; i++)
        rc = hs_usage_set(&c->pager, &c->space, usage, list->uses[i].hash,
                          (hs_usage_times){0, list->uses[i].time}, false, c->wal.next_sequence,
                          err);
    first = list->miss_count - hs_min(list->miss_count, HS_USAGE_MISSES);
    for (uint64_t i = first; rc == H5STORE_OK && i < list->miss_count; i++)
        rc = hs_usage_add_miss(&c->pager, &c->space, usage, &list->misses[i % HS_USAGE_MISSES],
                               err);
    notes_drop(list);
    return rc < 0 ? rc : hs_usage_save(&c->pager, usage, err);
}

int
hs_container_write_notes(hs_container *c, h5store_err *err)
{
    int rc;

    if (c->read_only || notes_are_empty(c))
        return H5STORE_OK;
    rc = hs_container_write_begin(c, NULL, err);
    if (rc < 0)
        return rc;
    c->notes_due = true;
    return hs_container_commit(c, NULL, 0, err);
}

bool
container_write_notes_in_place(hs_container *c)
{
    HS_CLEANUP(hs_freep) hs_page **pages = NULL;
    bool written = false;

    if (c->read_only || c->poisoned || !notes_are_hits(c) || container_lock_alone(c, NULL) < 0)
        return false;
    if (container_log_is_empty(c) && container_load_space(c, NULL) == H5STORE_OK) {
        c->notes_due = c->pager.in_transaction = true;
        c->usage_loaded = c->usage_changed = false;
        written = container_merge_notes(c, NULL) == H5STORE_OK &&
                  hs_overlay_sorted(&c->pager.pending, &pages, NULL) == H5STORE_OK &&
                  container_apply_pages(c, pages, c->pager.pending.count, NULL) == H5STORE_OK;
        c->pager.in_transaction = false;
        hs_overlay_clear(&c->pager.pending);
    }
    container_unlock_alone(c);
    return written;
}

int
hs_container_counters(hs_container *c, hs_usage_counters *counters, h5store_err *err)
{
    hs_usage *usage;
    int rc = hs_container_read_begin(c, NULL, err);

    if (rc < 0)
        return rc;
    rc = hs_container_usage(c, &usage, err);
    if (rc == H5STORE_OK)
        *counters = usage->counters;
    hs_container_read_end(c);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&c->notes.mutex);
    notes_add_counters(counters, &notes_current(c)->counters);
    pthread_mutex_unlock(&c->notes.mutex);
    return H5STORE_OK;
}

int
hs_container_misses(hs_container *c, hs_usage_miss misses[HS_USAGE_MISSES], size_t *count,
                    h5store_err *err)
{
    hs_usage *usage;
    int rc;

    (void)hs_container_write_notes(c, NULL); /* so that those of this process are among them */
    rc = hs_container_read_begin(c, NULL, err);
    if (rc < 0)
        return rc;
    rc = hs_container_usage(c, &usage, err);
    if (rc == H5STORE_OK)
        rc = hs_usage_read_misses(&c->pager, usage, misses, count, err);
    hs_container_read_end(c);
    return rc;
}
