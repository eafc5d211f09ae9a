/* SPDX-License-Identifier: MIT */
/*
 * The record of a run, for crashfs.c, which writes it, and crashfs_rebuild.c, which reads it.
 * Objects are files apart from their names; those of the base folder come first, in the order
 * of crashfs_list.
 */
#ifndef CRASHFS_IMPL_H
#define CRASHFS_IMPL_H

#include "crashfs.h"

#define CRASHFS_NAMES 16
#define CRASHFS_NAME 64

struct crashfs_link {
    char name[CRASHFS_NAME];
    int object;
};

struct crashfs_entry {
    crashfs_kind kind;
    int object;
    uint64_t offset, length; /* of the bytes concerned; offset is the value of a note */
    uint64_t bytes;          /* of a pwrite: where they are kept */
    char from[CRASHFS_NAME], to[CRASHFS_NAME];
};

struct crashfs_record {
    char folder[512];
    struct crashfs_link names[CRASHFS_NAMES]; /* as they are at the end */
    size_t name_count, count;
    int object_count, base_count;
    uint64_t used;
    struct crashfs_entry entries[CRASHFS_MOST_CALLS];
    uint8_t bytes[(size_t)256 << 20];
};

/* The names in a folder, sorted; objects are left to the caller. */
void crashfs_list(const char *folder, struct crashfs_link *names, size_t *count);

#endif
