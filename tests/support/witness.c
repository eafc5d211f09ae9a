/* SPDX-License-Identifier: MIT */
/*
 * See witness.h.
 */
#include "witness.h"
#include "scratch.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct witness_note {
    uint16_t kind, zero;
    uint32_t key;
    uint64_t state;
};

int
witness_open(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);

    PROVE(fd >= 0, "%s: %s", path, strerror(errno));
    return fd;
}

void
witness_note(int fd, uint16_t kind, uint32_t key, uint64_t state)
{
    struct witness_note note = {kind, 0, key, state};

    PROVE(write(fd, &note, sizeof note) == sizeof note, "witness: %s", strerror(errno));
}

void
witness_init(witness *w, const char *path)
{
    memset(w, 0, sizeof *w);
    w->fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0666);
    PROVE(w->fd >= 0, "%s: %s", path, strerror(errno));
    for (size_t i = 0; i < WITNESS_KEYS; i++)
        w->keys[i].count = 1;
}

static void
witness_take(witness *w, uint16_t kind, uint32_t key, uint64_t state)
{
    PROVE(key < WITNESS_KEYS, "key %u", key);
    if (kind == WITNESS_ACK)
        w->keys[key].count = 0;
    PROVE(w->keys[key].count < WITNESS_MOST, "key %u has too many states", key);
    w->keys[key].states[w->keys[key].count++] = state;
}

void
witness_read(witness *w)
{
    struct witness_note note;
    ssize_t got;

    while ((got = read(w->fd, &note, sizeof note)) == sizeof note) {
        PROVE(note.kind == WITNESS_BEGIN || note.kind == WITNESS_ACK, "kind %u", note.kind);
        w->acknowledged += note.kind == WITNESS_ACK;
        if (note.key != WITNESS_ALL)
            witness_take(w, note.kind, note.key, note.state);
        for (uint32_t i = 0; note.key == WITNESS_ALL && i < WITNESS_GROUP; i++)
            witness_take(w, note.kind, i, note.state);
    }
    PROVE(got == 0, "witness: a note is %zd bytes long", got);
}

bool
witness_is(witness *w, uint32_t key, uint64_t state)
{
    for (size_t i = 0; i < w->keys[key].count; i++)
        if (w->keys[key].states[i] == state) {
            w->keys[key].states[0] = state;
            w->keys[key].count = 1;
            return true;
        }
    return false;
}

bool
witness_may_lack(const witness *w, uint32_t key)
{
    for (size_t i = 0; i < w->keys[key].count; i++)
        if (w->keys[key].states[i] == 0)
            return true;
    return false;
}
