/* SPDX-License-Identifier: MIT */
/*
 * One link of a group with many, by its name; see dense.h, and dense_impl.h for the parts.
 *
 * The tree's records are in the order of the hashes of the names.  Several names can have the same
 * hash, and their records may be spread over neighbouring nodes, so all of them are looked at.
 */
#include "dense_impl.h"

struct find_job {
    const hs_dense_parts *parts;
    uint64_t heap_address;
    struct dense_heap heap;
    bool heap_known;
    struct dense_tree tree;
    const char *name;
    size_t length;
    uint32_t hash;
    uint64_t address; /* found */
    h5store_err *err;
};

static int
find_damaged(const struct find_job *job, uint64_t address)
{
    return hs_fail(job->err, H5STORE_E_DAMAGED, 0,
                   "the list of a large group is damaged at byte %llu; `h5store verify` tells what "
                   "is affected",
                   (unsigned long long)address);
}

/* ---- the heap --------------------------------------------------------- */

static bool
find_heap_is_sound(uint8_t *bytes, size_t size HS_UNUSED, const void *what HS_UNUSED)
{
    struct dense_heap heap;

    return dense_parse_heap(bytes, &heap);
}

struct find_place {
    uint64_t heap, offset;
};

static bool
find_indirect_is_sound(uint8_t *bytes, size_t size, const void *what)
{
    const struct find_place *place = what;

    return dense_indirect_is_sound(bytes, size, place->heap, place->offset);
}

static bool
find_direct_is_sound(uint8_t *bytes, size_t size, const void *what)
{
    const struct find_place *place = what;

    return dense_direct_is_sound(bytes, size, place->heap, place->offset);
}

static int
find_know_heap(struct find_job *job)
{
    const uint8_t *head;
    int rc;

    if (job->heap_known)
        return H5STORE_OK;
    rc = job->parts->get(job->parts, job->heap_address, DENSE_HEAP_SIZE, 0, find_heap_is_sound,
                         NULL, &head, job->err);
    if (rc < 0)
        return rc;
    (void)dense_parse_heap(head, &job->heap);
    job->heap_known = true;
    return H5STORE_OK;
}

/* A block, from the root of the heap down to the direct one that covers an offset. */
struct find_block {
    uint64_t address;
    uint64_t offset; /* of its range in the heap */
    uint64_t size;   /* of a direct block */
    unsigned rows;   /* of an indirect block; 0: it is direct */
};

/* From an indirect block to the one below it. */
static int
find_descend(const struct find_job *job, uint64_t offset, struct find_block *block)
{
    const struct dense_heap *heap = &job->heap;
    struct find_place place = {job->heap_address, block->offset};
    const uint8_t *bytes, *entry;
    uint64_t each = heap->start;
    unsigned row = 0;
    int rc = job->parts->get(job->parts, block->address, dense_indirect_size(heap, block->rows),
                             block->offset, find_indirect_is_sound, &place, &bytes, job->err);

    if (rc < 0)
        return rc;
    entry = bytes + DENSE_BLOCK_HEAD - DENSE_CHECKSUM;
    while (row < block->rows && offset - block->offset >= each * heap->width) {
        block->offset += each * heap->width;
        entry += (size_t)8 * heap->width;
        each = dense_row_size(heap, ++row);
    }
    if (row == block->rows)
        return find_damaged(job, block->address);
    entry += (offset - block->offset) / each * 8;
    block->offset += (offset - block->offset) / each * each;
    block->address = hs_get_le64(entry);
    block->size = each;
    block->rows = each <= heap->max_direct ? 0 : dense_rows_for(heap, each);
    return H5STORE_OK;
}

/* Is the link of this record the one?  1 or 0. */
static int
find_in_heap(struct find_job *job, const struct dense_record *record)
{
    int rc = find_know_heap(job), depth = 0;
    struct find_block block = {
        .address = job->heap.root, .size = job->heap.start, .rows = job->heap.rows};
    struct find_place place = {job->heap_address, 0};
    const uint8_t *bytes;
    hs_ohdr_link link;
    uint64_t at;

    while (rc == H5STORE_OK && block.rows > 0)
        rc = ++depth > (int)DENSE_MOST_DEPTH ? find_damaged(job, block.address)
                                             : find_descend(job, record->offset, &block);
    if (rc < 0)
        return rc;
    place.offset = block.offset;
    rc = job->parts->get(job->parts, block.address, (size_t)block.size, block.offset,
                         find_direct_is_sound, &place, &bytes, job->err);
    if (rc < 0)
        return rc;
    at = record->offset - block.offset;
    if (at < DENSE_BLOCK_HEAD || at > block.size || record->length > block.size - at ||
        hs_ohdr_parse_link(bytes + at, record->length, &link) == 0)
        return find_damaged(job, block.address); /* or a soft link, which is not ours */
    if (link.name_length != job->length || memcmp(link.name, job->name, job->length) != 0)
        return 0;
    job->address = link.address;
    return 1;
}

/* ---- the tree --------------------------------------------------------- */

static bool
find_tree_is_sound(uint8_t *bytes, size_t size HS_UNUSED, const void *what HS_UNUSED)
{
    struct dense_tree tree;

    return dense_parse_tree(bytes, &tree);
}

struct find_node {
    const struct dense_tree *tree;
    unsigned depth;
    uint64_t count;
};

static bool
find_node_is_sound(uint8_t *bytes, size_t size HS_UNUSED, const void *what)
{
    const struct find_node *node = what;

    return dense_node_is_sound(node->tree, bytes, node->depth, node->count);
}

/* The first record of a node whose hash is not less than the one that is looked for. */
static uint64_t
find_first(const struct find_job *job, const uint8_t *node, uint64_t count)
{
    uint64_t low = 0, high = count;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (hs_get_le32(node + DENSE_NODE_HEAD + middle * DENSE_RECORD) < job->hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int find_in_node(struct find_job *job, uint64_t address, unsigned depth, uint64_t count);

static int
find_in_child(struct find_job *job, const uint8_t *node, unsigned depth, uint64_t count,
              uint64_t index)
{
    uint64_t address, records;

    if (depth == 0)
        return 0;
    dense_child(&job->tree, node, depth, count, index, &address, &records);
    return find_in_node(job, address, depth - 1, records);
}

/* 1: found; 0: it is not below this node. */
static int
find_in_node(struct find_job *job, uint64_t address, unsigned depth, uint64_t count)
{
    struct find_node what = {&job->tree, depth, count};
    const uint8_t *node;
    int rc = job->parts->get(job->parts, address, job->tree.node_size,
                             count | (uint64_t)depth << 32, find_node_is_sound, &what, &node,
                             job->err);
    uint64_t i;

    if (rc < 0)
        return rc;
    i = find_first(job, node, count);
    rc = find_in_child(job, node, depth, count, i);
    for (; rc == 0 && i < count; i++) {
        struct dense_record record;

        if (!dense_parse_record(node + DENSE_NODE_HEAD + i * DENSE_RECORD, &record))
            return find_damaged(job, address); /* a name of kilobytes, which is not ours */
        if (record.hash != job->hash)
            break;
        rc = find_in_heap(job, &record);
        if (rc == 0)
            rc = find_in_child(job, node, depth, count, i + 1);
    }
    return rc;
}

int
hs_dense_find(const hs_dense_parts *parts, uint64_t heap, uint64_t tree, const char *name,
              size_t length, uint64_t *address, h5store_err *err)
{
    struct find_job job = {.parts = parts,
                           .heap_address = heap,
                           .name = name,
                           .length = length,
                           .hash = hs_ohdr_checksum((const uint8_t *)name, length),
                           .err = err};
    const uint8_t *head;
    int rc = parts->get(parts, tree, DENSE_TREE_SIZE, 0, find_tree_is_sound, NULL, &head, err);

    if (rc < 0)
        return rc;
    (void)dense_parse_tree(head, &job.tree);
    rc = job.tree.root == UINT64_MAX
             ? 0
             : find_in_node(&job, job.tree.root, job.tree.depth, job.tree.root_count);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return hs_fail(err, H5STORE_E_NOT_FOUND, 0, "there is no '%.*s'", (int)length, name);
    *address = job.address;
    return H5STORE_OK;
}
