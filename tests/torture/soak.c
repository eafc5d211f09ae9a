/* SPDX-License-Identifier: MIT */
/*
 * A container in use for long: results come and go, and it must not grow by that.
 *
 *   soak [--cycles N] [--workers N] [--seed N]
 *
 * Workers put, replace and remove the results of a working set, each those of its own slots,
 * with arrays of 64 bytes to half a megabyte, some of which results share; they close and open
 * the container all the time, and read what the others have.  A cycle is one result that is
 * put; all but those of the first round take the place of one that goes.  Several times on the
 * way all stop, and then
 *
 *   - every slot has the bytes that were put there last, and there is nothing else;
 *   - verify, with all bytes digested, finds nothing;
 *   - the file is smaller than SOAK_SIZE times one that is made of the same results afresh, and
 *     takes less than SOAK_DISK times its blocks.
 */
#include "../support/holdings.h"
#include "../support/sample.h"
#include "../support/scratch.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOAK_SLOTS 1000u
#define SOAK_STOPS 4u
#define SOAK_SIZE 2.0
#define SOAK_DISK 1.2
#define SOAK_MOST ((size_t)512 * 1024) /* bytes of an array */
#define SOAK_REOPEN 100u               /* cycles of one worker between two openings */
#define SOAK_WORKERS 16

/* What a slot holds.  The array of a seed is a function of it. */
struct soak_slot {
    uint64_t seed, shared; /* 0: nothing; no second array */
};

struct soak_shared {
    struct soak_slot slots[SOAK_SLOTS];
    uint64_t puts, removals, checks, reads, openings, errors;
    uint64_t items, blobs;
    double size, disk; /* relative to a fresh file, at the last stop */
};

struct soak_worker {
    unsigned index;
    uint64_t cycles; /* to do */
    uint64_t next;   /* seed */
    scratch_random random;
    h5store *store;
};

static struct soak_shared *soak;
static const char *soak_path, *soak_fresh;
static unsigned soak_workers = 2;
static uint64_t soak_cycles = 3000, soak_seed = 1;
static h5store_err soak_err;
static uint8_t soak_buffer[SOAK_MOST];

static void
soak_need(int rc, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "process %ld: %s: %d, %s\n", (long)getpid(), what, rc, soak_err.message);
    _exit(3);
}

static void
soak_wrong(const char *what, unsigned slot)
{
    fprintf(stderr, "process %ld: slot %u: %s\n", (long)getpid(), slot, what);
    _exit(4);
}

static void
soak_count(uint64_t *counter, uint64_t more)
{
    __atomic_fetch_add(counter, more, __ATOMIC_SEQ_CST);
}

static h5store *
soak_open(const char *path)
{
    h5store_options options;
    h5store *store;

    h5store_options_init(&options);
    options.flags = H5STORE_CREATE;
    options.threads = 1;
    soak_need(h5store_open(path, &options, &store, &soak_err), "open");
    return store;
}

/* ---- contents --------------------------------------------------------- */

/* From 64 bytes on, as many of each power of two. */
static size_t
soak_size(uint64_t seed)
{
    uint64_t mixed = seed * UINT64_C(0x9E3779B97F4A7C15);
    size_t least = (size_t)64 << (mixed >> 32) % 13;

    return least + (size_t)(mixed >> 40) % least / 8 * 8;
}

static void
soak_names(unsigned slot, char collection[32], char key[32])
{
    snprintf(collection, 32, "soak/function%u", slot % 3);
    snprintf(key, 32, "%08x-%u", slot * 2654435761u, slot);
}

static h5store_id
soak_put_array(h5store_batch *batch, uint64_t seed)
{
    size_t size = soak_size(seed);
    h5store_array array = sample_array(soak_buffer, size);
    h5store_id id;

    sample_fill(soak_buffer, size, seed);
    soak_need(h5store_batch_put(batch, &array, &id, &soak_err), "put");
    return id;
}

static void
soak_set(h5store_batch *batch, unsigned slot, struct soak_slot content)
{
    char collection[32], key[32], output[64];
    h5store_id ids[2];
    h5store_item_spec spec = {.collection = collection,
                              .key = key,
                              .output = output,
                              .metadata = "{\"duration\": 0.5, \"input_args\": {\"x\": \"1\"}}",
                              .links = ids,
                              .link_count = 1};

    soak_names(slot, collection, key);
    spec.output_size = (size_t)snprintf(output, sizeof output, "%llu %llu",
                                        (unsigned long long)content.seed,
                                        (unsigned long long)content.shared);
    ids[0] = soak_put_array(batch, content.seed);
    if (content.shared != 0)
        ids[spec.link_count++] = soak_put_array(batch, content.shared);
    soak_need(h5store_batch_set_item(batch, &spec, &soak_err), "set");
}

/* Look at the item of a slot: are the arrays those that its output names?  False: none. */
static bool
soak_look(h5store *store, unsigned slot, struct soak_slot *content)
{
    char collection[32], key[32], text[64];
    unsigned long long seeds[2];
    h5store_item *item;
    const void *output;
    size_t size;
    int rc;

    soak_names(slot, collection, key);
    rc = h5store_item_open(store, collection, key, &item, &soak_err);
    if (rc == H5STORE_E_NOT_FOUND)
        return false;
    soak_need(rc, "open an item");
    output = h5store_item_output(item, &size);
    if (size >= sizeof text)
        soak_wrong("its output is too long", slot);
    memcpy(text, output, size);
    text[size] = '\0';
    if (sscanf(text, "%llu %llu", &seeds[0], &seeds[1]) != 2)
        soak_wrong("its output is not what was put", slot);
    if (h5store_item_link_count(item) != 1 + (seeds[1] != 0))
        soak_wrong("it has not as many arrays as were put", slot);
    for (size_t i = 0; i < h5store_item_link_count(item); i++) {
        h5store_blob *blob = h5store_item_blob(item, i);

        size = soak_size(seeds[i]);
        if (blob == NULL || h5store_blob_get_info(blob)->array.nbytes != size)
            soak_wrong("an array has another size", slot);
        soak_need(h5store_blob_read(blob, soak_buffer, size, H5STORE_CHECK_FAST, &soak_err),
                  "read");
        if (!sample_is(soak_buffer, size, seeds[i]))
            soak_wrong("an array has other bytes", slot);
    }
    h5store_item_close(item);
    *content = (struct soak_slot){seeds[0], seeds[1]};
    return true;
}

/* ---- working ---------------------------------------------------------- */

static unsigned
soak_own_slot(struct soak_worker *worker)
{
    unsigned own = SOAK_SLOTS / soak_workers;

    return worker->index + soak_workers * (unsigned)scratch_draw(&worker->random, own);
}

static struct soak_slot
soak_new_content(struct soak_worker *worker)
{
    struct soak_slot content = {worker->next++, 0};

    if (scratch_draw(&worker->random, 16) == 0) /* perhaps of a slot that is empty: then 0 */
        content.shared = soak->slots[soak_own_slot(worker)].seed;
    return content;
}

static void
soak_remove(h5store_batch *batch, unsigned slot)
{
    char collection[32], key[32];

    soak_names(slot, collection, key);
    soak_need(h5store_batch_remove(batch, collection, key, &soak_err), "remove");
}

/* One commit: remove what some slots hold (@p removes), and put something new (@p puts). */
static void
soak_change(struct soak_worker *worker, const unsigned *slots, unsigned count, bool removes,
            bool puts)
{
    struct soak_slot fresh[8] = {{0}};
    h5store_batch *batch;

    soak_need(h5store_batch_begin(worker->store, &batch, &soak_err), "begin");
    for (unsigned i = 0; i < count; i++) {
        soak_count(&soak->removals, soak->slots[slots[i]].seed != 0 && (removes || puts));
        if (removes)
            soak_remove(batch, slots[i]);
        if (!puts)
            continue;
        fresh[i] = soak_new_content(worker);
        soak_set(batch, slots[i], fresh[i]);
    }
    soak_need(h5store_batch_commit(batch, &soak_err), "commit");
    for (unsigned i = 0; i < count; i++)
        soak->slots[slots[i]] = fresh[i];
    soak_count(&soak->puts, puts ? count : 0);
    worker->cycles -= puts ? count : 0;
}

static void
soak_check_own(struct soak_worker *worker, unsigned slot)
{
    struct soak_slot content = {0, 0};
    bool found = soak_look(worker->store, slot, &content);

    if (found != (soak->slots[slot].seed != 0))
        soak_wrong(found ? "it has come back" : "it is lost", slot);
    if (found && memcmp(&content, &soak->slots[slot], sizeof content) != 0)
        soak_wrong("it has what was there before", slot);
    soak_count(&soak->checks, 1);
}

static void
soak_cycle(struct soak_worker *worker)
{
    struct soak_slot ignored;
    unsigned slots[8], count = 0;

    slots[0] = soak_own_slot(worker);
    if (scratch_draw(&worker->random, 8) == 0)
        soak_check_own(worker, slots[0]);
    if (scratch_draw(&worker->random, 8) == 0 && /* of another, who may change it just now */
        soak_look(worker->store, (unsigned)scratch_draw(&worker->random, SOAK_SLOTS), &ignored))
        soak_count(&soak->reads, 1);
    switch (scratch_draw(&worker->random, 8)) {
    case 0: /* several at once, of which none is there twice */
        for (unsigned i = 0; i < 8 && i < worker->cycles; i++)
            slots[count++] = (slots[0] + i * soak_workers) %
                             (SOAK_SLOTS - SOAK_SLOTS % soak_workers);
        soak_change(worker, slots, count, true, true);
        break;
    case 1: /* and stays away for a while */
        soak_change(worker, slots, 1, true, false);
        break;
    case 2:
    case 3:
    case 4:
        soak_change(worker, slots, 1, false, true);
        break;
    default:
        soak_change(worker, slots, 1, true, false);
        soak_change(worker, slots, 1, false, true);
    }
}

static void
soak_work(unsigned index, unsigned stop)
{
    struct soak_worker worker = {
        .index = index,
        .cycles = soak_cycles / SOAK_STOPS / soak_workers,
        .next = (uint64_t)(index + 1) << 40 | (uint64_t)stop << 32 | 1,
        .random = {(soak_seed * 1000 + stop) * 1000 + index + 1},
    };
    uint64_t opened_at = worker.cycles;

    worker.store = soak_open(soak_path);
    while (worker.cycles > 0) {
        soak_cycle(&worker);
        if (opened_at - worker.cycles < SOAK_REOPEN)
            continue;
        soak_need(h5store_close(worker.store, &soak_err), "close");
        worker.store = soak_open(soak_path);
        soak_count(&soak->openings, 1);
        opened_at = worker.cycles;
    }
    soak_need(h5store_close(worker.store, &soak_err), "close");
}

static void
soak_run_workers(unsigned stop)
{
    pid_t children[SOAK_WORKERS];

    for (unsigned i = 0; i < soak_workers; i++) {
        children[i] = fork();
        PROVE(children[i] >= 0, "fork: %s", strerror(errno));
        if (children[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            soak_work(i, stop);
            _exit(0);
        }
    }
    for (unsigned i = 0; i < soak_workers; i++) {
        int status;

        PROVE(waitpid(children[i], &status, 0) == children[i], "waitpid: %s", strerror(errno));
        PROVE(status == 0, "worker %u ended with status %#x", i, status);
    }
}

/* ---- looking ---------------------------------------------------------- */

/* Everything is there, nothing else is, and a fresh container has the same. */
static int
soak_stop(void *context)
{
    h5store *store = soak_open(soak_path), *fresh;
    h5store_totals totals;
    uint64_t items = 0, errors;

    (void)context;
    (void)unlink(soak_fresh);
    fresh = soak_open(soak_fresh);
    for (unsigned slot = 0; slot < SOAK_SLOTS; slot++) {
        struct soak_worker looker = {.store = store};
        h5store_batch *batch;

        soak_check_own(&looker, slot);
        if (soak->slots[slot].seed == 0)
            continue;
        items++;
        soak_need(h5store_batch_begin(fresh, &batch, &soak_err), "begin");
        soak_set(batch, slot, soak->slots[slot]);
        soak_need(h5store_batch_commit(batch, &soak_err), "commit");
    }
    soak_need(h5store_stat(store, &totals, &soak_err), "stat");
    soak->items = totals.items;
    soak->blobs = totals.blobs;
    soak_need(holdings_verify(store, false, &errors, &soak_err), "verify");
    soak->errors = errors + (totals.items != items);
    soak_need(h5store_stat(fresh, &totals, &soak_err), "stat");
    soak->errors += totals.blobs != soak->blobs;
    soak_need(h5store_close(fresh, &soak_err), "close");
    soak_need(h5store_close(store, &soak_err), "close");
    return 0;
}

static void
soak_look_at_all(void)
{
    struct stat file, fresh;

    PROVE(scratch_run(soak_stop, NULL, 600) == 0, "the container is not as it was left");
    PROVE(soak->errors == 0, "%llu errors", (unsigned long long)soak->errors);
    PROVE(soak->items > SOAK_SLOTS / 2, "there are %llu results", (unsigned long long)soak->items);
    PROVE(stat(soak_path, &file) == 0 && stat(soak_fresh, &fresh) == 0, "%s", strerror(errno));
    soak->size = (double)file.st_size / (double)fresh.st_size;
    soak->disk = (double)file.st_blocks / (double)fresh.st_blocks;
    printf("  %llu puts: %llu results, %.1f MB, size %.3f and disk %.3f of a fresh file\n",
           (unsigned long long)soak->puts, (unsigned long long)soak->items,
           (double)file.st_size / 1e6, soak->size, soak->disk);
    fflush(stdout);
    PROVE(soak->size < SOAK_SIZE, "the file has %lld bytes, a fresh one %lld",
          (long long)file.st_size, (long long)fresh.st_size);
    PROVE(soak->disk < SOAK_DISK, "the file has %lld blocks, a fresh one %lld",
          (long long)file.st_blocks, (long long)fresh.st_blocks);
}

static void
soak_arguments(int count, char **arguments)
{
    for (int i = 1; i + 1 < count; i += 2) {
        unsigned long long value = strtoull(arguments[i + 1], NULL, 10);

        if (strcmp(arguments[i], "--cycles") == 0)
            soak_cycles = value;
        else if (strcmp(arguments[i], "--workers") == 0)
            soak_workers = (unsigned)value;
        else if (strcmp(arguments[i], "--seed") == 0)
            soak_seed = value;
        else
            PROVE(false, "there is no %s", arguments[i]);
    }
    PROVE(soak_workers >= 2 && soak_workers <= SOAK_WORKERS, "2 to %d workers", SOAK_WORKERS);
}

int
main(int count, char **arguments)
{
    double start = scratch_seconds();
    const char *folder = scratch_folder();

    soak_arguments(count, arguments);
    soak = scratch_shared(sizeof *soak);
    soak_path = strdup(scratch_path(folder, "c.h5"));
    soak_fresh = strdup(scratch_path(folder, "fresh.h5"));
    for (unsigned stop = 0; stop < SOAK_STOPS; stop++) {
        soak_run_workers(stop);
        soak_look_at_all();
    }
    PROVE(soak->puts >= soak_cycles - SOAK_STOPS * soak_workers && soak->reads > 0 &&
              soak->checks > SOAK_STOPS * SOAK_SLOTS && soak->openings > 0 && soak->removals > 0 &&
              soak->puts == soak->removals + soak->items,
          "%llu puts, %llu removals, %llu reads", (unsigned long long)soak->puts,
          (unsigned long long)soak->removals, (unsigned long long)soak->reads);
    printf("soak: %llu puts and %llu removals by %u processes with %llu reopenings, %llu results "
           "checked and %llu read beside, 0 wrong; size %.2f and disk %.2f of a fresh file; "
           "%.0f s\n",
           (unsigned long long)soak->puts, (unsigned long long)soak->removals, soak_workers,
           (unsigned long long)soak->openings, (unsigned long long)soak->checks,
           (unsigned long long)soak->reads, soak->size, soak->disk, scratch_seconds() - start);
    return 0;
}
