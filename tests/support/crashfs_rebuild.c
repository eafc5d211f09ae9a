/* SPDX-License-Identifier: MIT */
/*
 * What a machine that stopped finds when it wakes up; the model is in crashfs.h.
 */
#include "crashfs_impl.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REBUILD_OBJECTS 64

struct rebuild_object {
    uint8_t *bytes;
    size_t size, room;
};

struct rebuild {
    struct rebuild_object objects[REBUILD_OBJECTS];
    struct crashfs_link names[CRASHFS_NAMES];
    size_t name_count;
};

static int
rebuild_compare(const void *a, const void *b)
{
    return strcmp(((const struct crashfs_link *)a)->name, ((const struct crashfs_link *)b)->name);
}

void
crashfs_list(const char *folder, struct crashfs_link *names, size_t *count)
{
    DIR *stream = opendir(folder);
    struct dirent *entry;

    *count = 0;
    PROVE(stream != NULL, "%s: %s", folder, strerror(errno));
    while ((entry = readdir(stream)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        PROVE(*count < CRASHFS_NAMES && strlen(entry->d_name) < CRASHFS_NAME, "%s", entry->d_name);
        strcpy(names[(*count)++].name, entry->d_name);
    }
    closedir(stream);
    qsort(names, *count, sizeof *names, rebuild_compare);
}

/* ---- objects ---------------------------------------------------------- */

static void
rebuild_resize(struct rebuild_object *object, size_t size)
{
    if (size > object->room) {
        object->room = size * 2;
        object->bytes = realloc(object->bytes, object->room);
        PROVE(object->bytes != NULL, "no memory");
    }
    if (size > object->size)
        memset(object->bytes + object->size, 0, size - object->size);
    object->size = size;
}

static void
rebuild_load(struct rebuild_object *object, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

    PROVE(size >= 0, "%s: %s", path, strerror(errno));
    rebuild_resize(object, (size_t)size);
    PROVE(pread(fd, object->bytes, object->size, 0) == size, "%s: %s", path, strerror(errno));
    close(fd);
}

static void
rebuild_write(struct rebuild_object *object, const struct crashfs_entry *entry,
              const uint8_t *bytes, scratch_random *random)
{
    /* Torn: of each sector the old or the new. */
    bool torn = random != NULL && scratch_draw(random, 3) == 0;
    uint64_t end = entry->offset + entry->length;

    for (uint64_t at = entry->offset; at < end;) {
        uint64_t next = (at / CRASHFS_SECTOR + 1) * CRASHFS_SECTOR;

        next = next < end ? next : end;
        if (!torn || scratch_draw(random, 2) == 0) {
            if (next > object->size)
                rebuild_resize(object, next);
            memcpy(object->bytes + at, bytes + (at - entry->offset), next - at);
        }
        at = next;
    }
}

static void
rebuild_data(struct rebuild *b, const crashfs_record *record, const struct crashfs_entry *entry,
             scratch_random *random)
{
    struct rebuild_object *object = &b->objects[entry->object];
    uint64_t end = entry->offset + entry->length;

    if (entry->kind == CRASHFS_PWRITE) {
        rebuild_write(object, entry, record->bytes + entry->bytes, random);
    } else if (entry->kind == CRASHFS_TRUNCATE) {
        rebuild_resize(object, entry->length);
    } else if (entry->kind == CRASHFS_RESERVE) {
        if (end > object->size)
            rebuild_resize(object, end);
    } else if (entry->offset < object->size) {
        end = end < object->size ? end : object->size;
        memset(object->bytes + entry->offset, 0, end - entry->offset);
    }
}

/* ---- names ------------------------------------------------------------ */

static int
rebuild_take_name(struct rebuild *b, const char *name)
{
    for (size_t i = 0; i < b->name_count; i++)
        if (strcmp(b->names[i].name, name) == 0) {
            int object = b->names[i].object;

            b->names[i] = b->names[--b->name_count];
            return object;
        }
    return -1;
}

static void
rebuild_name(struct rebuild *b, const struct crashfs_entry *entry)
{
    const char *name = entry->kind == CRASHFS_CREATE ? entry->from : entry->to;

    if (entry->kind == CRASHFS_UNLINK || entry->kind == CRASHFS_RENAME)
        (void)rebuild_take_name(b, entry->from);
    if (entry->kind == CRASHFS_UNLINK)
        return;
    (void)rebuild_take_name(b, name);
    PROVE(b->name_count < CRASHFS_NAMES, "too many names");
    strcpy(b->names[b->name_count].name, name);
    b->names[b->name_count++].object = entry->object;
}

/* ---- what is there for sure ------------------------------------------- */

static bool
rebuild_is_name(crashfs_kind kind)
{
    return kind == CRASHFS_CREATE || kind == CRASHFS_RENAME || kind == CRASHFS_LINK ||
           kind == CRASHFS_UNLINK;
}

static bool
rebuild_is_data(crashfs_kind kind)
{
    return kind == CRASHFS_PWRITE || kind == CRASHFS_TRUNCATE || kind == CRASHFS_RESERVE ||
           kind == CRASHFS_PUNCH;
}

static bool
rebuild_is_synced(const crashfs_record *record, size_t i, size_t n)
{
    const struct crashfs_entry *entry = &record->entries[i];

    for (size_t j = i + 1; j < n; j++) {
        const struct crashfs_entry *later = &record->entries[j];

        if (rebuild_is_name(entry->kind)
                ? later->kind == CRASHFS_SYNC_FOLDER
                : later->kind == CRASHFS_SYNC && later->object == entry->object)
            return true;
    }
    return false;
}

/* Of the names that are not synced, how many are there. */
static size_t
rebuild_names_kept(const crashfs_record *record, size_t n, crashfs_loss loss,
                   scratch_random *random)
{
    size_t loose = 0;

    for (size_t i = 0; i < n; i++)
        loose += rebuild_is_name(record->entries[i].kind) && !rebuild_is_synced(record, i, n);
    if (loss == CRASHFS_LOSE_ALL)
        return 0;
    return loss == CRASHFS_LOSE_NOTHING ? loose : (size_t)scratch_draw(random, loose + 1);
}

static void
rebuild_save(const struct rebuild *b, const char *folder)
{
    scratch_clear(folder);
    for (size_t i = 0; i < b->name_count; i++) {
        const struct rebuild_object *object = &b->objects[b->names[i].object];
        const char *path = scratch_path(folder, b->names[i].name);
        int fd = -1;

        for (size_t j = 0; j < i && fd < 0; j++)
            if (b->names[j].object == b->names[i].object)
                fd = link(scratch_path(folder, b->names[j].name), path);
        if (fd == 0)
            continue;
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        PROVE(fd >= 0 && write(fd, object->bytes, object->size) == (ssize_t)object->size, "%s: %s",
              path, strerror(errno));
        close(fd);
    }
}

void
crashfs_rebuild(const crashfs_record *record, const char *base, const char *folder, size_t n,
                crashfs_loss loss, scratch_random *random)
{
    struct rebuild *b = calloc(1, sizeof *b);
    size_t names = rebuild_names_kept(record, n, loss, random);

    PROVE(b != NULL && record->object_count <= REBUILD_OBJECTS, "no memory");
    crashfs_list(base, b->names, &b->name_count);
    for (size_t i = 0; i < b->name_count; i++) {
        b->names[i].object = (int)i;
        rebuild_load(&b->objects[i], scratch_path(base, b->names[i].name));
    }
    for (size_t i = 0; i < n; i++) {
        const struct crashfs_entry *entry = &record->entries[i];
        bool sure = rebuild_is_synced(record, i, n);

        if (rebuild_is_name(entry->kind)) {
            if (sure || names > 0)
                rebuild_name(b, entry);
            if (!sure && names > 0)
                names--;
        } else if (rebuild_is_data(entry->kind) && entry->object >= 0) {
            bool kept = sure || loss == CRASHFS_LOSE_NOTHING ||
                        (loss == CRASHFS_LOSE_SOME && scratch_draw(random, 2) == 0);

            if (kept)
                rebuild_data(b, record, entry, !sure && loss == CRASHFS_LOSE_SOME ? random : NULL);
        }
    }
    rebuild_save(b, folder);
    for (int i = 0; i < record->object_count; i++)
        free(b->objects[i].bytes);
    free(b);
}

/* ---- looking at a record ---------------------------------------------- */

size_t
crashfs_record_calls(const crashfs_record *record)
{
    return record->count;
}

uint64_t
crashfs_record_note(const crashfs_record *record, size_t n)
{
    uint64_t value = 0;

    for (size_t i = 0; i < n; i++)
        if (record->entries[i].kind == CRASHFS_NOTE)
            value = record->entries[i].offset;
    return value;
}

crashfs_kind
crashfs_record_kind(const crashfs_record *record, size_t n)
{
    return record->entries[n].kind;
}
