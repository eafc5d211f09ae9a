/* SPDX-License-Identifier: MIT */
/*
 * See sample.h.
 */
#include "sample.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE_PACKED 16384u /* bytes of the arrays that are packed: the least that can be */

atomic_uint_least64_t sample_unpacked;

static uint64_t
sample_hash(uint64_t seed, size_t index)
{
    uint64_t x = (seed + 1) * UINT64_C(0x9E3779B97F4A7C15) + index;

    x ^= x >> 31;
    return x * UINT64_C(0xBF58476D1CE4E5B9);
}

/* Of what is to be packed, five bytes of eight are the same in all elements. */
static uint64_t
sample_word(uint64_t seed, size_t index)
{
    uint64_t word = sample_hash(seed, index);

    if (sample_size(seed) == SAMPLE_PACKED)
        word = (word & 0xFFFFFF) | (seed + 1) << 24;
    return word;
}

void
sample_fill(void *buffer, size_t size, uint64_t seed)
{
    uint8_t *bytes = buffer;

    for (size_t i = 0; i < size / 8; i++) {
        uint64_t word = sample_word(seed, i);

        memcpy(bytes + 8 * i, &word, 8);
    }
}

bool
sample_is(const void *buffer, size_t size, uint64_t seed)
{
    const uint8_t *bytes = buffer;

    for (size_t i = 0; i < size / 8; i++) {
        uint64_t word = sample_word(seed, i);

        if (memcmp(bytes + 8 * i, &word, 8) != 0)
            return false;
    }
    return true;
}

h5store_array
sample_array(const void *buffer, size_t size)
{
    return (h5store_array){
        .dtype = "'<f8'", .rank = 1, .shape = {size / 8}, .nbytes = size, .data = buffer};
}

size_t
sample_size(uint64_t seed)
{
    static const size_t sizes[] = {4104, 8192, 64, 12000, 4096, 33000, 520, SAMPLE_PACKED};

    return sizes[sample_hash(seed, 7) >> 40 & 7];
}

int
sample_put(h5store_batch *batch, uint64_t seed, h5store_id *id, h5store_err *err)
{
    size_t size = sample_size(seed);
    uint8_t buffer[SAMPLE_MOST];
    h5store_array array = sample_array(buffer, size);

    int rc = h5store_batch_compress(batch, size == SAMPLE_PACKED, err);

    sample_fill(buffer, size, seed);
    return rc < 0 ? rc : h5store_batch_put(batch, &array, id, err);
}

/* Side by side, as most programs do it; those that are to be packed, and some others, one by one.
 */
static int
sample_put_all(h5store_batch *batch, uint64_t seed, size_t count, h5store_id *ids, h5store_err *err)
{
    static _Thread_local uint8_t buffers[SAMPLE_ARRAYS][SAMPLE_MOST];
    h5store_array arrays[SAMPLE_ARRAYS];
    bool together = seed % 3 != 0;
    int rc = H5STORE_OK;

    for (size_t i = 0; i < count; i++) {
        size_t size = sample_size(seed + i);

        together = together && size != SAMPLE_PACKED;
        sample_fill(buffers[i], size, seed + i);
        arrays[i] = sample_array(buffers[i], size);
    }
    if (together) {
        rc = h5store_batch_compress(batch, 0, err);
        return rc < 0 ? rc : h5store_batch_put_all(batch, arrays, count, ids, err);
    }
    for (size_t i = 0; rc >= 0 && i < count; i++)
        rc = sample_put(batch, seed + i, &ids[i], err);
    return rc;
}

static size_t
sample_texts(uint64_t seed, size_t count, char output[64], char metadata[64])
{
    snprintf(metadata, 64, "{\"seed\": %llu}", (unsigned long long)seed);
    return (size_t)snprintf(output, 64, "%llu %zu", (unsigned long long)seed, count);
}

int
sample_set(h5store_batch *batch, const char *collection, const char *key, uint64_t seed,
           size_t count, h5store_err *err)
{
    h5store_id ids[SAMPLE_ARRAYS];
    char output[64], metadata[64];
    h5store_item_spec spec = {.collection = collection,
                              .key = key,
                              .output = output,
                              .output_size = sample_texts(seed, count, output, metadata),
                              .metadata = metadata,
                              .links = ids,
                              .link_count = count};

    int rc = sample_put_all(batch, seed, count, ids, err);

    return rc < 0 ? rc : h5store_batch_set_item(batch, &spec, err);
}

int
sample_set_item(h5store *store, const char *collection, const char *key, uint64_t seed,
                size_t count, h5store_err *err)
{
    h5store_batch *batch;
    int rc = h5store_batch_begin(store, &batch, err);

    if (rc < 0)
        return rc;
    rc = sample_set(batch, collection, key, seed, count, err);
    if (rc < 0) {
        h5store_batch_abort(batch);
        return rc;
    }
    return h5store_batch_commit(batch, err);
}

static int
sample_check_blob(h5store_blob *blob, bool mapped, uint64_t seed, h5store_err *err)
{
    uint8_t buffer[SAMPLE_MOST];
    const void *bytes = buffer;
    size_t size = sample_size(seed);
    const h5store_blob_info *info;
    int rc;

    if (blob == NULL)
        return 1;
    info = h5store_blob_get_info(blob);
    if (info->array.nbytes != size)
        return 1;
    rc = mapped ? h5store_blob_map(blob, &bytes, err)
                : h5store_blob_read(blob, buffer, size, H5STORE_CHECK_FAST, err);
    if (rc < 0)
        return rc;
    if (!sample_is(bytes, size, seed))
        return 1;
    if (info->offset == 0 && info->stored_bytes > 0)
        atomic_fetch_add(&sample_unpacked, 1);
    return 0;
}

int
sample_check_item(h5store_item *item, bool mapped, uint64_t *seed, h5store_err *err)
{
    char output[64], metadata[64], text[64] = "";
    unsigned long long number;
    size_t size, count;
    const void *bytes = h5store_item_output(item, &size);

    if (size >= sizeof text)
        return 1;
    memcpy(text, bytes, size);
    if (sscanf(text, "%llu %zu", &number, &count) != 2)
        return 1;
    if (sample_texts(number, count, output, metadata) != size || strcmp(text, output) != 0 ||
        strcmp(h5store_item_metadata(item), metadata) != 0 ||
        h5store_item_link_count(item) != count)
        return 1;
    for (size_t i = 0; i < count; i++) {
        int rc = sample_check_blob(h5store_item_blob(item, i), mapped, number + i, err);

        if (rc != 0)
            return rc;
    }
    *seed = number;
    return 0;
}
