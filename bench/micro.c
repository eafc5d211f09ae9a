/* SPDX-License-Identifier: MIT */
/*
 * What the library costs without Python, step by step, beside what the machine gives.
 *
 *   make bench/micro && bench/micro [--quick] NEW-FOLDER
 *
 * Uses the public interface alone, as any program would; OpenSSL's SHA-256, memcpy, and bare
 * pwrite and pread over the same bytes are the limits.  Everything is run in turn, round by
 * round; the table printed has the median and the quartiles of the rounds, in seconds of one
 * call, with tabs between the columns.  NEW-FOLDER decides which file system is measured; it
 * is made, and removed again.  bench/micro.py reads the table.
 *
 * Buffers have been touched before they are timed, except that whatever copies ("memcpy",
 * "pread", "read") does so into fresh memory, as a program that loads a result has to.  Huge
 * pages are asked for, for all of them alike.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <h5store/h5store.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define PIECE (256 * KIB)
#define MOST_ROUNDS 41
#define MOST_SERIES 200
#define MOST_THREADS 64
#define ITEMS 100 /* small items in one round */

static h5store_err err; /* of the last call that failed */

static void
die(const char *what)
{
    fprintf(stderr, "micro: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

/* For calls of the library: less than zero is failure, and the message says why. */
static int
ok(int rc, const char *what)
{
    if (rc < 0) {
        fprintf(stderr, "micro: %s: %s (%s)\n", what, err.message, h5store_code_name(rc));
        exit(EXIT_FAILURE);
    }
    return rc;
}

static void
check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "micro: not as it should be: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

/* ---- the record ------------------------------------------------------------ */

struct series {
    const char *name;
    size_t size; /* of the array; 0 if there is none */
    int threads;
    int count;
    double seconds[MOST_ROUNDS];
};

static struct series record[MOST_SERIES];
static int series_count;
static bool counts; /* false in the first round, which is thrown away */

static void
note(const char *name, size_t size, int threads, double seconds)
{
    struct series *s;

    if (!counts)
        return;
    for (s = record; s < record + series_count; s++)
        if (strcmp(s->name, name) == 0 && s->size == size && s->threads == threads)
            break;
    if (s == record + series_count) {
        assert(series_count < MOST_SERIES);
        *s = (struct series){.name = name, .size = size, .threads = threads};
        series_count++;
    }
    assert(s->count < MOST_ROUNDS);
    s->seconds[s->count++] = seconds;
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void
print_record(void)
{
    printf("# name\tsize\tthreads\tmedian\tlow\thigh\n");
    for (struct series *s = record; s < record + series_count; s++) {
        qsort(s->seconds, (size_t)s->count, sizeof s->seconds[0], compare);
        printf("%s\t%zu\t%d\t%.9f\t%.9f\t%.9f\n", s->name, s->size, s->threads,
               s->seconds[s->count / 2], s->seconds[s->count / 4], s->seconds[s->count * 3 / 4]);
    }
}

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- memory ---------------------------------------------------------------- */

/* Fresh pages, none of which was touched. */
static uint8_t *
fresh(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        die("mmap");
    madvise(memory, size, MADV_HUGEPAGE); /* helps where it can */
    return memory;
}

static uint8_t *
random_bytes(size_t size)
{
    uint8_t *memory = fresh(size);
    uint64_t state = 88172645463325252u, *words = (uint64_t *)(void *)memory;

    for (size_t i = 0; i < size / 8; i++) { /* xorshift */
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words[i] = state;
    }
    return memory;
}

/* Make it an array that was never there, by eight bytes in each piece. */
static void
renew(uint8_t *data, size_t size)
{
    static uint64_t serial;

    for (size_t at = 0; at + 8 <= size; at += PIECE) {
        serial++;
        memcpy(data + at, &serial, sizeof serial);
    }
}

static h5store_array
describe(const uint8_t *data, size_t size)
{
    return (h5store_array){
        .dtype = "'|u1'", .rank = 1, .shape = {size}, .nbytes = size, .data = data};
}

/* ---- digests ---------------------------------------------------------------- */

static void
time_digests(uint8_t *data, size_t size, int cpus)
{
    int calls = (int)(size < 16 * MIB ? 16 * MIB / size : 1);
    h5store_array array = describe(data, size);
    unsigned char digest[EVP_MAX_MD_SIZE];
    h5store_id id;
    double start;

    start = now();
    for (int i = 0; i < calls; i++)
        if (!EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL))
            check(false, "EVP_Digest");
    note("evp", size, 1, (now() - start) / calls);

    for (int threads = 1; threads <= cpus; threads *= 2) {
        start = now();
        for (int i = 0; i < calls; i++)
            ok(h5store_hash(&array, threads, &id, &err), "hash");
        note("hash", size, threads, (now() - start) / calls);
    }
}

/* ---- what the machine gives -------------------------------------------------- */

struct share {
    int fd;
    uint8_t *data;
    size_t size;
    off_t offset;
};

static void *
read_share(void *context)
{
    struct share *share = context;

    for (size_t done = 0; done < share->size;) {
        ssize_t got = pread(share->fd, share->data + done, share->size - done,
                            share->offset + (off_t)done);
        if (got <= 0)
            die("pread");
        done += (size_t)got;
    }
    return NULL;
}

/* Threads are made for the call and take a share each, as in the library. */
static void
read_by_threads(int fd, uint8_t *data, size_t size, int threads)
{
    struct share shares[MOST_THREADS];
    pthread_t others[MOST_THREADS];
    size_t part = (size / (size_t)threads) & ~(PIECE - 1);

    for (int i = 0; i < threads; i++) {
        size_t at = part * (size_t)i, end = i == threads - 1 ? size : at + part;
        shares[i] = (struct share){fd, data + at, end - at, (off_t)at};
        if (i > 0 && pthread_create(&others[i], NULL, read_share, &shares[i]) != 0)
            die("pthread_create");
    }
    read_share(&shares[0]);
    for (int i = 1; i < threads; i++)
        pthread_join(others[i], NULL);
}

static void
time_machine(const char *folder, const uint8_t *data, size_t size, int cpus)
{
    char path[4096];
    uint8_t *copy = fresh(size);
    double start = now();
    int fd;

    memcpy(copy, data, size);
    note("memcpy", size, 1, now() - start);
    munmap(copy, size);

    snprintf(path, sizeof path, "%s/bare", folder);
    start = now();
    fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, (off_t)size) != 0)
        die(path);
    for (size_t done = 0; done < size;) {
        ssize_t put = pwrite(fd, data + done, size - done, (off_t)done);
        if (put <= 0)
            die("pwrite");
        done += (size_t)put;
    }
    note("write", size, 1, now() - start);

    for (int threads = 1; threads <= cpus; threads *= 2) {
        copy = fresh(size);
        start = now();
        read_by_threads(fd, copy, size, threads);
        note("pread", size, threads, now() - start);
        munmap(copy, size);
    }
    close(fd);
    unlink(path);
}

/* ---- one result with an array ------------------------------------------------- */

static void
commit_item(h5store_batch *batch, const char *key, const h5store_id *id)
{
    h5store_item_spec spec = {.collection = "bench/micro",
                              .key = key,
                              .output = "a pickle would be here",
                              .output_size = 22,
                              .metadata = "{\"duration\": 0.25, \"input_args\": {\"key\": \"1\"}}",
                              .links = id,
                              .link_count = id == NULL ? 0 : 1};

    ok(h5store_batch_set_item(batch, &spec, &err), "set item");
    ok(h5store_batch_commit(batch, &err), "commit");
}

/* Put and commit as two rows; "again" if the container has the array already. */
static void
time_put(h5store *store, const uint8_t *data, size_t size, int threads, bool again)
{
    h5store_array array = describe(data, size);
    h5store_batch *batch;
    h5store_id id;
    double start = now();
    int rc;

    ok(h5store_batch_begin(store, &batch, &err), "begin");
    rc = ok(h5store_batch_put(batch, &array, &id, &err), "put");
    note(again ? "put again" : "put", size, threads, now() - start);
    check(rc == (again ? H5STORE_EXISTS : H5STORE_OK), "what is new is new, and nothing else");

    start = now();
    commit_item(batch, again ? "second" : "first", &id);
    note(again ? "commit again" : "commit", size, threads, now() - start);
}

static void
time_read(h5store *store, const uint8_t *data, size_t size, int threads, h5store_check checked)
{
    uint8_t *copy = fresh(size);
    h5store_item *item;
    double start = now();

    ok(h5store_item_open(store, "bench/micro", "first", &item, &err), "open");
    if (checked != H5STORE_CHECK_NEVER)
        note("open", size, threads, now() - start);
    start = now();
    ok(h5store_blob_read(h5store_item_blob(item, 0), copy, size, checked, &err), "read");
    note(checked == H5STORE_CHECK_NEVER ? "read unchecked" : "read", size, threads, now() - start);
    h5store_item_close(item);
    if (!counts)
        check(memcmp(copy, data, size) == 0, "what was put comes back");
    munmap(copy, size);
}

static void
time_array(h5store *store, uint8_t *data, size_t size, int threads)
{
    h5store_batch *batch;
    double start;

    renew(data, size);
    time_put(store, data, size, threads, false);
    time_put(store, data, size, threads, true);
    time_read(store, data, size, threads, H5STORE_CHECK_FAST);
    time_read(store, data, size, threads, H5STORE_CHECK_NEVER);

    start = now();
    ok(h5store_batch_begin(store, &batch, &err), "begin");
    ok(h5store_batch_remove(batch, "bench/micro", NULL, &err), "remove");
    ok(h5store_batch_commit(batch, &err), "commit");
    note("remove", size, threads, now() - start);
}

/* ---- results without arrays ---------------------------------------------------- */

static void
time_items(h5store *store)
{
    char key[32], *metadata;
    h5store_batch *batch;
    h5store_item *item;
    double start = now();

    for (int i = 0; i < ITEMS; i++) {
        snprintf(key, sizeof key, "item-%d", i);
        ok(h5store_batch_begin(store, &batch, &err), "begin");
        commit_item(batch, key, NULL);
    }
    note("item commit", 0, 1, (now() - start) / ITEMS);

    start = now();
    for (int i = 0; i < ITEMS; i++) {
        snprintf(key, sizeof key, "item-%d", i);
        ok(h5store_item_has(store, "bench/micro", key, &err), "look up");
    }
    note("item lookup", 0, 1, (now() - start) / ITEMS);

    start = now();
    for (int i = 0; i < ITEMS; i++) {
        snprintf(key, sizeof key, "item-%d", i);
        ok(h5store_item_get_metadata(store, "bench/micro", key, &metadata, &err), "metadata");
        free(metadata);
    }
    note("item metadata", 0, 1, (now() - start) / ITEMS);

    start = now();
    for (int i = 0; i < ITEMS; i++) {
        snprintf(key, sizeof key, "item-%d", i);
        ok(h5store_item_open(store, "bench/micro", key, &item, &err), "open");
        h5store_item_close(item);
    }
    note("item open", 0, 1, (now() - start) / ITEMS);

    start = now();
    ok(h5store_batch_begin(store, &batch, &err), "begin");
    for (int i = 0; i < ITEMS; i++) {
        snprintf(key, sizeof key, "item-%d", i);
        ok(h5store_batch_remove(batch, "bench/micro", key, &err), "remove");
    }
    ok(h5store_batch_commit(batch, &err), "commit");
    note("item remove", 0, 1, (now() - start) / ITEMS);
}

/* ---- all of it ------------------------------------------------------------------ */

struct container {
    char path[4096];
    int threads;
    h5store *store;
};

static void
open_container(struct container *c, const char *folder, int threads)
{
    h5store_options options;

    snprintf(c->path, sizeof c->path, "%s/threads-%d.h5", folder, threads);
    c->threads = threads;
    h5store_options_init(&options);
    options.flags = H5STORE_CREATE;
    options.threads = threads;
    ok(h5store_open(c->path, &options, &c->store, &err), "open");
}

static void
close_container(struct container *c)
{
    ok(h5store_close(c->store, &err), "close");
    unlink(c->path);
}

static int
count_cpus(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    return count < MOST_THREADS ? count : MOST_THREADS;
}

int
main(int argc, char **argv)
{
    static const size_t sizes[] = {4 * KIB, 64 * KIB, MIB, 64 * MIB};
    bool quick = argc == 3 && strcmp(argv[1], "--quick") == 0;
    const char *folder = argv[argc - 1];
    int rounds = quick ? 5 : MOST_ROUNDS, cpus = count_cpus();
    struct container alone, all;
    uint8_t *data;

    if (argc != 2 + quick || folder[0] == '-') {
        fprintf(stderr, "usage: micro [--quick] NEW-FOLDER\n");
        return EXIT_FAILURE;
    }
    if (mkdir(folder, 0700) != 0)
        die(folder);
    data = random_bytes(64 * MIB);
    open_container(&alone, folder, 1);
    if (cpus > 1)
        open_container(&all, folder, cpus);
    sync();

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int round = 0; round <= rounds; round++) {
            counts = round > 0;
            time_digests(data, sizes[i], cpus);
            time_machine(folder, data, sizes[i], cpus);
            time_array(alone.store, data, sizes[i], 1);
            if (cpus > 1)
                time_array(all.store, data, sizes[i], cpus);
            if (i == 0)
                time_items(alone.store);
        }
    print_record();

    close_container(&alone);
    if (cpus > 1)
        close_container(&all);
    munmap(data, 64 * MIB);
    if (rmdir(folder) != 0)
        die(folder);
    return EXIT_SUCCESS;
}
