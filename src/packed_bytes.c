/* SPDX-License-Identifier: MIT */
/*
 * Packing and unpacking the chunks of an array by several threads.  Called by put.c,
 * reader.c and salvage; holds no lock (I5).
 *
 * Whoever has packed a chunk takes the next free bytes of the extent and writes it there, so
 * the chunks lie in the order in which they were done, and nobody waits for anybody.  Each
 * thread has memory for three chunks at most, which hs_packed_plan keeps small.
 */
#include "deflate.h"
#include "os.h"
#include "packed.h"
#include "parallel.h"
#include <stdatomic.h>

#define PACKED_STEP 8u                            /* chunks for which a thread takes memory once */
#define PACKED_SAMPLE ((uint64_t)64 * 1024)       /* bytes that are tried, at three places */
#define PACKED_WINDOW ((uint64_t)8 * 1024 * 1024) /* unpacked at a time for digesting */

hs_packed_file
hs_packed_file_of(const hs_container *c)
{
    return (hs_packed_file){hs_container_fd(c), hs_container_path(c), hs_container_threads(c)};
}

/* What a thread takes for a step. */
struct packed_memory {
    hs_deflater *deflater;
    uint8_t *plain, *packed; /* a chunk each */
};

static void
packed_release_memory(struct packed_memory *memory)
{
    hs_deflater_freep(&memory->deflater);
    free(memory->plain);
    free(memory->packed);
}

static int
packed_take_memory(struct packed_memory *memory, size_t chunk_size, int level, h5store_err *err)
{
    memory->plain = malloc(chunk_size);
    memory->packed = malloc(chunk_size);
    if (memory->plain == NULL || memory->packed == NULL)
        return hs_fail_nomem(err, 2 * chunk_size, "compression");
    return hs_deflater_new(chunk_size, level, &memory->deflater, err);
}

/* Few enough chunks a step that all threads have work. */
static uint64_t
packed_step(uint64_t chunks, int threads)
{
    return hs_max(1, hs_min(PACKED_STEP, chunks / (2 * (uint64_t)threads)));
}

/* ---- packing ---------------------------------------------------------- */

/* Bytes that are left of the samples, with items of so many bytes shuffled. */
static uint64_t
packed_sample(const hs_source *source, size_t size, uint64_t span, size_t item,
              struct packed_memory *memory)
{
    uint64_t total = 0;

    for (uint64_t i = 0; i < 3; i++) {
        const uint8_t *bytes = hs_source_bytes(source, i * span, size, memory->plain);
        size_t length = hs_deflate(memory->deflater, bytes, size, item, memory->packed, size);

        total += length > 0 ? length : size;
    }
    return total;
}

int
hs_packed_try(hs_packed *packed, const hs_source *source, bool *pays, h5store_err *err)
{
    HS_CLEANUP(packed_release_memory) struct packed_memory memory = {0};
    size_t item = packed->item;
    uint64_t items = source->nbytes / item, piece = hs_max(1, PACKED_SAMPLE / item);
    size_t size = (size_t)(hs_min(items, piece) * item);
    uint64_t span = (source->nbytes - size) / 2 / item * item, least, shuffled;
    int rc = packed_take_memory(&memory, size, packed->level, err);

    if (rc < 0)
        return rc;
    packed->item = 1;
    least = packed_sample(source, size, span, 1, &memory);
    if (item > 1) {
        shuffled = packed_sample(source, size, span, item, &memory);
        if (shuffled < least / 10 * 9) {
            packed->item = item;
            least = shuffled;
        }
    }
    *pays = least < 3 * (uint64_t)size / 10 * 9;
    return H5STORE_OK;
}

struct packed_put {
    hs_packed_file file;
    hs_packed *packed;
    const hs_source *source;
    hs_extent extent;
    uint64_t step;             /* chunks */
    atomic_uint_fast64_t next; /* the first byte of the extent that nobody has taken */
    atomic_bool full;
};

/* The bytes of a chunk, with zeros behind those of the array. */
static const uint8_t *
packed_chunk_bytes(const struct packed_put *put, size_t index, uint8_t *scratch)
{
    size_t size = put->packed->chunk_size;
    uint64_t from = (uint64_t)index * size;
    size_t there = (size_t)hs_min(put->source->nbytes - from, size);
    const uint8_t *bytes = hs_source_bytes(put->source, from, there, scratch);

    if (there == size)
        return bytes;
    if (bytes != scratch)
        memcpy(scratch, bytes, there);
    memset(scratch + there, 0, size - there);
    return scratch;
}

static int
packed_put_chunk(struct packed_put *put, size_t index, struct packed_memory *memory,
                 h5store_err *err)
{
    const hs_packed *packed = put->packed;
    const uint8_t *bytes = packed_chunk_bytes(put, index, memory->plain);
    size_t length = hs_deflate(memory->deflater, bytes, packed->chunk_size, packed->item,
                               memory->packed, packed->chunk_size - 1);
    hs_packed_chunk *chunk = &packed->chunks[index];

    chunk->raw = length == 0;
    chunk->length = chunk->raw ? packed->chunk_size : length;
    chunk->offset = atomic_fetch_add(&put->next, chunk->length);
    if (chunk->offset + chunk->length > put->extent.length) {
        atomic_store(&put->full, true);
        return H5STORE_OK;
    }
    return hs_os_pwrite(put->file.fd, put->file.path, chunk->raw ? bytes : memory->packed,
                        (size_t)chunk->length, put->extent.address + chunk->offset, err);
}

static int
packed_put_step(void *context, uint64_t index, h5store_err *err)
{
    struct packed_put *put = context;
    HS_CLEANUP(packed_release_memory) struct packed_memory memory = {0};
    uint64_t first = index * put->step, end = hs_min(first + put->step, put->packed->count);
    int rc;

    if (atomic_load(&put->full))
        return H5STORE_OK;
    rc = packed_take_memory(&memory, put->packed->chunk_size, put->packed->level, err);
    for (uint64_t i = first; rc == H5STORE_OK && i < end && !atomic_load(&put->full); i++)
        rc = packed_put_chunk(put, (size_t)i, &memory, err);
    return rc;
}

int
hs_packed_write(hs_packed_file file, hs_packed *packed, const hs_source *source, hs_extent extent,
                bool *fits, h5store_err *err)
{
    struct packed_put put = {.file = file, .packed = packed, .source = source, .extent = extent};
    int threads = hs_parallel_threads(file.threads, source->nbytes, HS_GRAIN_PACK), rc;

    put.step = packed_step(packed->count, threads);
    rc = hs_parallel_for((packed->count + put.step - 1) / put.step, threads, packed_put_step, &put,
                         err);
    if (rc == H5STORE_OK)
        *fits = !atomic_load(&put.full);
    return rc;
}

/* ---- unpacking -------------------------------------------------------- */

struct packed_get {
    hs_packed_file file;
    const hs_packed *packed;
    hs_extent extent;
    uint64_t from, size; /* of the array */
    uint8_t *buffer;
    uint64_t first, end; /* chunks */
    uint64_t step;
};

static int
packed_get_bytes(const struct packed_get *get, const hs_packed_chunk *chunk, void *place,
                 h5store_err *err)
{
    uint64_t address = get->extent.address + chunk->offset;
    size_t got;
    int rc = hs_os_pread(get->file.fd, get->file.path, place, (size_t)chunk->length, address, &got,
                         err);

    if (rc < 0 || got == chunk->length)
        return rc;
    return hs_fail(err, H5STORE_E_DAMAGED, 0,
                   "container '%s' ends at byte %llu, in the middle of an array", get->file.path,
                   (unsigned long long)(address + got));
}

static int
packed_get_chunk(const struct packed_get *get, uint64_t index, struct packed_memory *memory,
                 h5store_err *err)
{
    const hs_packed *packed = get->packed;
    const hs_packed_chunk *chunk = &packed->chunks[index];
    uint64_t begin = index * packed->chunk_size, end = begin + packed->chunk_size;
    uint64_t from = hs_max(begin, get->from), until = hs_min(end, get->from + get->size);
    uint8_t *target = get->buffer + (from - get->from);
    bool whole = from == begin && until == end;
    uint8_t *plain = whole ? target : memory->plain;
    int rc = packed_get_bytes(get, chunk, chunk->raw ? plain : memory->packed, err);

    if (rc < 0)
        return rc;
    if (!chunk->raw && !hs_inflate(memory->deflater, memory->packed, (size_t)chunk->length,
                                   packed->item, plain, packed->chunk_size))
        return hs_fail(err, H5STORE_E_DAMAGED, 0,
                       "the %llu bytes at %llu of container '%s' do not inflate to what was put",
                       (unsigned long long)chunk->length,
                       (unsigned long long)(get->extent.address + chunk->offset), get->file.path);
    if (!whole)
        memcpy(target, plain + (from - begin), (size_t)(until - from));
    return H5STORE_OK;
}

static int
packed_get_step(void *context, uint64_t index, h5store_err *err)
{
    const struct packed_get *get = context;
    HS_CLEANUP(packed_release_memory) struct packed_memory memory = {0};
    uint64_t first = get->first + index * get->step, end = hs_min(first + get->step, get->end);
    int rc = packed_take_memory(&memory, get->packed->chunk_size, 0, err);

    for (uint64_t i = first; rc == H5STORE_OK && i < end; i++)
        rc = packed_get_chunk(get, i, &memory, err);
    return rc;
}

int
hs_packed_read(hs_packed_file file, const hs_packed *packed, hs_extent extent, uint64_t from,
               void *buffer, uint64_t size, h5store_err *err)
{
    struct packed_get get = {
        .file = file, .packed = packed, .extent = extent, .from = from, .size = size};
    int threads = hs_parallel_threads(file.threads, size, HS_GRAIN_PACK);

    if (size == 0)
        return H5STORE_OK;
    get.buffer = buffer;
    get.first = from / packed->chunk_size;
    get.end = (from + size - 1) / packed->chunk_size + 1;
    get.step = packed_step(get.end - get.first, threads);
    return hs_parallel_for((get.end - get.first + get.step - 1) / get.step, threads,
                           packed_get_step, &get, err);
}

int
hs_packed_digest(hs_packed_file file, const hs_packed *packed, hs_extent extent, uint64_t size,
                 hs_tree *tree, bool sha, bool sum, h5store_err *err)
{
    uint64_t room = hs_min(size, PACKED_WINDOW);
    HS_CLEANUP(hs_freep) uint8_t *window = malloc((size_t)room);
    int rc = window != NULL ? H5STORE_OK : hs_fail_nomem(err, room, "unpacking an array");

    for (uint64_t done = 0, part; rc == H5STORE_OK && done < size; done += part) {
        part = hs_min(size - done, PACKED_WINDOW);
        rc = hs_packed_read(file, packed, extent, done, window, part, err);
        if (rc == H5STORE_OK)
            rc = hs_tree_memory(tree, done / HS_PIECE_SIZE, window, part, file.threads, sha, sum,
                                err);
    }
    return rc;
}
