/* SPDX-License-Identifier: MIT */
/*
 * Flip each byte of a small container and of its log, one at a time, and cut both off at each
 * length.  Every outcome must be right data, a clean error, or a miss that the next put heals;
 * never wrong data, a crash or a hang (I3, I8).
 *
 *   flip [--all] [--seed N]
 *
 * Without --all, each byte of what is small and particular (superblock, stamp, space header and
 * table, log headers) and every some-and-twentieth of the rest.  Each try runs in a process of
 * its own that has few seconds.
 *
 * The bytes of arrays are read with the fast checksum, and mapped ones are not looked at, as
 * h5store_blob_map promises nothing about them.
 */
#include "../support/crashfs.h"
#include "../support/holdings.h"
#include "../support/sample.h"
#include "../support/scratch.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FLIP_SECONDS 10
#define FLIP_ITEMS 3
#define FLIP_KEPT 400
#define FLIP_STRIDE 23 /* odd, so that it meets every place of a structure sooner or later */

static const struct flip_item {
    const char *collection, *key;
    uint64_t seed;
    size_t count;
} flip_items[FLIP_ITEMS] = {
    {"module/f", "one", 1, 3}, {"module/f", "two", 12, 2}, {"module/g/h", "three", 7, 1}};

static char *flip_closed, *flip_left, *flip_work, *flip_path;

/* What became of the tries; in memory shared with the children. */
struct flip_counts {
    uint64_t tries, refused, right, missed, errors, healed, found, wrong, ends;
    uint64_t packed; /* arrays that were packed, and read */
};

struct flip_try {
    struct flip_counts *counts;
    char what[200];
};

/* ---- the containers --------------------------------------------------- */

static int
flip_open(h5store **store, unsigned flags, h5store_err *err)
{
    h5store_options options;

    h5store_options_init(&options);
    options.flags = flags;
    options.threads = 1;
    options.timeout = 1;
    return h5store_open(flip_path, &options, store, err);
}

static int
flip_set(h5store *store, const struct flip_item *item, h5store_err *err)
{
    return sample_set_item(store, item->collection, item->key, item->seed, item->count, err);
}

static int
flip_make(void *context)
{
    const char *folder = context;
    uint8_t buffer[SAMPLE_MOST] = {0};
    h5store_array array = sample_array(buffer, 8192);
    h5store_err err = {0};
    h5store *store;

    crashfs_arm(NULL, 0, 0);
    PROVE(flip_open(&store, H5STORE_CREATE, &err) == 0, "%s", err.message);
    for (int i = 0; i < FLIP_ITEMS; i++)
        PROVE(flip_set(store, &flip_items[i], &err) == 0, "%s", err.message);
    sample_fill(buffer, 8192, FLIP_KEPT);
    PROVE(h5store_put(store, &array, NULL, &err) == 0, "%s", err.message);
    if (folder == flip_left)
        kill(getpid(), SIGKILL);
    PROVE(h5store_close(store, &err) == 0, "%s", err.message);
    return 0;
}

/* ---- one try ---------------------------------------------------------- */

static void
flip_wrong(const struct flip_try *try, const char *why, const char *more)
{
    try->counts->wrong++;
    fprintf(stderr, "%s: %s%s\n", try->what, why, more);
}

/* A message must name something and be made of text. */
static void
flip_check_error(const struct flip_try *try, int rc, const h5store_err *err)
{
    if (err->code != rc || strlen(err->message) < 10 || rc == H5STORE_E_INVALID ||
        rc == H5STORE_E_BUSY || rc == H5STORE_E_NOMEM)
        flip_wrong(try, "an error that does not fit: ", err->message);
}

/* 1: right, 0: a miss or an error, after which it must be set again. */
static int
flip_read_item(const struct flip_try *try, h5store *store, const struct flip_item *item)
{
    h5store_err err = {0};
    h5store_item *open;
    uint64_t seed = 0;
    int rc = h5store_item_open(store, item->collection, item->key, &open, &err);

    if (rc == 0) {
        rc = sample_check_item(open, false, &seed, &err);
        h5store_item_close(open);
        if (rc == 0 && seed == item->seed) {
            try->counts->right++;
            return 1;
        }
        /* Output and metadata have no checksum of their own: what a caller decodes from
         * them is judged by it.  Bytes of arrays have one. */
        if (rc >= 0) {
            try->counts->found++;
            return 0;
        }
    }
    flip_check_error(try, rc, &err);
    try->counts->missed += rc == H5STORE_E_NOT_FOUND;
    try->counts->errors += rc != H5STORE_E_NOT_FOUND;
    return 0;
}

/* Set what was missing again.  1: it is right now; 0: it was refused with an error; -1: it reads
 * with an error, which *err has. */
static int
flip_set_again(const struct flip_try *try, h5store *store, const struct flip_item *item,
               h5store_err *err)
{
    h5store_item *open;
    uint64_t seed = 0;
    int rc = flip_set(store, item, err);

    if (rc < 0) {
        flip_check_error(try, rc, err);
        return 0;
    }
    rc = h5store_item_open(store, item->collection, item->key, &open, err);
    if (rc == 0) {
        rc = sample_check_item(open, false, &seed, err);
        h5store_item_close(open);
    }
    return rc == 0 && seed == item->seed ? 1 : -1;
}

/* A reader stops at the first bad array, so each round may mend one. */
static void
flip_heal(const struct flip_try *try, h5store *store, const struct flip_item *item)
{
    h5store_err err = {0};
    int rc = -1;

    for (size_t i = 0; rc < 0 && i < item->count; i++)
        rc = flip_set_again(try, store, item, &err);
    try->counts->healed += rc > 0;
    if (rc < 0)
        flip_wrong(try, "set again, and still not right: ", err.message);
}

static int
flip_run(void *context)
{
    const struct flip_try *try = context;
    h5store_err err = {0};
    h5store *store;
    uint64_t errors = 0;
    h5store_totals totals;
    int rc;

    crashfs_arm(NULL, 0, 0);
    rc = flip_open(&store, 0, &err);
    if (rc < 0) {
        flip_check_error(try, rc, &err);
        try->counts->refused++;
        return 0;
    }
    rc = h5store_stat(store, &totals, &err);
    if (rc < 0)
        flip_check_error(try, rc, &err);
    rc = holdings_verify(store, true, &errors, &err);
    if (rc < 0)
        flip_check_error(try, rc, &err);
    for (int i = 0; i < FLIP_ITEMS; i++)
        if (flip_read_item(try, store, &flip_items[i]) == 0)
            flip_heal(try, store, &flip_items[i]);
    try->counts->packed += sample_unpacked;
    rc = h5store_close(store, &err);
    if (rc < 0)
        flip_check_error(try, rc, &err);
    return 0;
}

static void
flip_try_now(struct flip_try *try)
{
    int status = scratch_run(flip_run, try, FLIP_SECONDS);

    try->counts->tries++;
    if (status == 0)
        return;
    fprintf(stderr, "%s: ended with status %#x%s\n", try->what, status,
            WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? " (too slow)" : "");
    try->counts->ends++;
}

/* ---- all of them ------------------------------------------------------ */

static off_t
flip_size(const char *folder, const char *name)
{
    struct stat status;

    return stat(scratch_path(folder, name), &status) == 0 ? status.st_size : -1;
}

/* Flip bits of one byte of a file in the work folder. */
static void
flip_byte(const char *name, off_t at, uint8_t bits)
{
    int fd = open(scratch_path(flip_work, name), O_RDWR | O_CLOEXEC);
    uint8_t byte;

    PROVE(fd >= 0 && pread(fd, &byte, 1, at) == 1, "%s: %s", name, strerror(errno));
    byte ^= bits;
    PROVE(pwrite(fd, &byte, 1, at) == 1, "%s: %s", name, strerror(errno));
    close(fd);
}

static void
flip_file(const char *folder, const char *name, bool all, scratch_random *random,
          struct flip_counts *counts)
{
    off_t size = flip_size(folder, name);
    struct flip_counts before = *counts;

    PROVE(size > 0, "%s has no bytes", name);
    for (off_t at = 0; at < size; at++) {
        struct flip_try try = {.counts = counts};
        uint8_t bits = (uint8_t)(1 + scratch_draw(random, 255));

        if (!all && at % FLIP_STRIDE != 0 && (at >= 1024 || at % 3 != 0))
            continue;
        snprintf(try.what, sizeof try.what, "byte %lld of %s changed by %#x", (long long)at, name,
                 bits);
        scratch_copy(folder, flip_work);
        flip_byte(name, at, bits);
        flip_try_now(&try);
    }
    for (off_t length = 0; length < size; length += all ? 13 : 397) {
        struct flip_try try = {.counts = counts};

        snprintf(try.what, sizeof try.what, "%s cut off at %lld", name, (long long)length);
        scratch_copy(folder, flip_work);
        PROVE(truncate(scratch_path(flip_work, name), length) == 0, "truncate");
        flip_try_now(&try);
    }
    printf("  %-8s %s, %lld bytes: %llu tries, %llu refused, items: %llu right, %llu missed, %llu "
           "errors, %llu noticed by the reader, %llu healed\n",
           name, folder == flip_left ? "with its log" : "alone", (long long)size,
           (unsigned long long)(counts->tries - before.tries),
           (unsigned long long)(counts->refused - before.refused),
           (unsigned long long)(counts->right - before.right),
           (unsigned long long)(counts->missed - before.missed),
           (unsigned long long)(counts->errors - before.errors),
           (unsigned long long)(counts->found - before.found),
           (unsigned long long)(counts->healed - before.healed));
    fflush(stdout);
}

int
main(int count, char **arguments)
{
    struct flip_counts *counts = scratch_shared(sizeof *counts);
    scratch_random random = {5};
    bool all = false;

    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--all") == 0)
            all = true;
        else if (strcmp(arguments[i], "--seed") == 0 && i + 1 < count)
            random.state = strtoull(arguments[++i], NULL, 10);
        else
            PROVE(false, "unknown argument %s", arguments[i]);
    }
    flip_closed = scratch_subfolder("closed");
    flip_left = scratch_subfolder("left");
    flip_work = scratch_subfolder("work");
    flip_path = strdup(scratch_path(flip_work, "c.h5"));
    PROVE(scratch_run(flip_make, flip_closed, 60) == 0, "making");
    scratch_copy(flip_work, flip_closed);
    scratch_clear(flip_work);
    PROVE(WIFSIGNALED(scratch_run(flip_make, flip_left, 60)), "making");
    scratch_copy(flip_work, flip_left);
    flip_file(flip_closed, "c.h5", all, &random, counts);
    flip_file(flip_left, "c.h5", all, &random, counts);
    flip_file(flip_left, "c.h5-wal", all, &random, counts);
    printf("corruption: %llu tries, %llu refused, items: %llu right, %llu missed, %llu errors, "
           "%llu noticed by the reader, %llu healed; %llu packed arrays read; %llu wrong, %llu "
           "crashes or hangs\n",
           (unsigned long long)counts->tries, (unsigned long long)counts->refused,
           (unsigned long long)counts->right, (unsigned long long)counts->missed,
           (unsigned long long)counts->errors, (unsigned long long)counts->found,
           (unsigned long long)counts->healed, (unsigned long long)counts->packed,
           (unsigned long long)counts->wrong, (unsigned long long)counts->ends);
    PROVE(counts->packed > 0 && counts->tries > 0 && counts->right > 0 && counts->refused > 0 &&
              counts->healed > 0,
          "nothing was done");
    return counts->wrong > 0 || counts->ends > 0;
}
