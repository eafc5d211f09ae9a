/* SPDX-License-Identifier: MIT */
/*
 * What the parts of a fractal heap and of its B-tree say; see dense_impl.h.  Pure functions.
 */
#include "dense_impl.h"

static uint64_t
shape_number(const uint8_t *bytes, unsigned width)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < width; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static bool
shape_is_whole(const uint8_t *bytes, size_t size)
{
    return hs_get_le32(bytes + size - DENSE_CHECKSUM) ==
           hs_ohdr_checksum(bytes, size - DENSE_CHECKSUM);
}

static unsigned
shape_log2(uint64_t value)
{
    return 63u - (unsigned)__builtin_clzll(value);
}

static bool
shape_is_power(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* ---- the tree --------------------------------------------------------- */

/* Bytes that a number up to @p most takes. */
static unsigned
shape_width(uint64_t most)
{
    return shape_log2(most) / 8 + 1;
}

/* Bytes of what leads to a child: its address, the number of its records, and, unless it is a
 * leaf, that of all below it. */
static unsigned
shape_pointer(const struct dense_tree *tree, unsigned depth)
{
    return 8 + tree->count_width + tree->total_width[depth - 1];
}

/* How many bytes the numbers in internal nodes take follows from how many records fit. */
static bool
shape_measure(struct dense_tree *tree)
{
    uint64_t most = (tree->node_size - DENSE_NODE_PREFIX) / DENSE_RECORD, total = most;

    if (most == 0)
        return false;
    tree->count_width = shape_width(most);
    tree->total_width[0] = 0;
    for (unsigned depth = 1; depth <= tree->depth; depth++) {
        unsigned pointer = shape_pointer(tree, depth);
        uint64_t fit;

        if (tree->node_size < DENSE_NODE_PREFIX + pointer)
            return false;
        fit = (tree->node_size - (DENSE_NODE_PREFIX + pointer)) / (DENSE_RECORD + pointer);
        if (fit == 0 || !hs_mul(fit + 1, total, &total) || !hs_add(total, fit, &total))
            return false;
        tree->total_width[depth] = shape_width(total);
    }
    return true;
}

bool
dense_parse_tree(const uint8_t head[DENSE_TREE_SIZE], struct dense_tree *tree)
{
    tree->node_size = hs_get_le32(head + 6);
    tree->depth = (unsigned)shape_number(head + 12, 2);
    tree->root = hs_get_le64(head + 16);
    tree->root_count = shape_number(head + 24, 2);
    tree->most = hs_get_le64(head + 26);
    return memcmp(head, "BTHD", 4) == 0 && head[4] == 0 && head[5] == DENSE_NAME_INDEX &&
           shape_number(head + 10, 2) == DENSE_RECORD && shape_is_whole(head, DENSE_TREE_SIZE) &&
           tree->node_size >= 64 && tree->node_size <= DENSE_MOST_NODE &&
           tree->depth <= DENSE_MOST_DEPTH && tree->most <= DENSE_MOST_RECORDS &&
           shape_measure(tree);
}

bool
dense_node_is_sound(const struct dense_tree *tree, const uint8_t *node, unsigned depth,
                    uint64_t count)
{
    uint64_t used = DENSE_NODE_PREFIX + count * DENSE_RECORD;

    if (depth > 0)
        used += (count + 1) * shape_pointer(tree, depth);
    return used <= tree->node_size && memcmp(node, depth > 0 ? "BTIN" : "BTLF", 4) == 0 &&
           node[4] == 0 && node[5] == DENSE_NAME_INDEX && shape_is_whole(node, (size_t)used);
}

void
dense_child(const struct dense_tree *tree, const uint8_t *node, unsigned depth, uint64_t count,
            uint64_t index, uint64_t *address, uint64_t *records)
{
    const uint8_t *child = node + DENSE_NODE_HEAD + count * DENSE_RECORD +
                           index * shape_pointer(tree, depth);

    *address = hs_get_le64(child);
    *records = shape_number(child + 8, tree->count_width);
}

bool
dense_parse_record(const uint8_t bytes[DENSE_RECORD], struct dense_record *record)
{
    record->hash = hs_get_le32(bytes);
    record->offset = hs_get_le32(bytes + 5);
    record->length = (uint32_t)shape_number(bytes + 9, 2);
    return bytes[4] == 0;
}

/* ---- the heap --------------------------------------------------------- */

bool
dense_parse_heap(const uint8_t head[DENSE_HEAP_SIZE], struct dense_heap *heap)
{
    heap->width = (unsigned)shape_number(head + 110, 2);
    heap->start = hs_get_le64(head + 112);
    heap->max_direct = hs_get_le64(head + 120);
    heap->root = hs_get_le64(head + 132);
    heap->rows = (unsigned)shape_number(head + 140, 2);
    return memcmp(head, "FRHP", 4) == 0 && head[4] == 0 && shape_is_whole(head, DENSE_HEAP_SIZE) &&
           (head[9] & 0x02) != 0 && shape_number(head + 7, 2) == 0 &&
           shape_number(head + 128, 2) == 32 && shape_is_power(heap->width) && heap->width <= 64 &&
           shape_is_power(heap->start) && heap->start >= 64 && shape_is_power(heap->max_direct) &&
           heap->max_direct >= heap->start && heap->max_direct <= 1 << 20 && heap->rows <= 32 &&
           heap->start * heap->width <= 2 * heap->max_direct; /* the least of an indirect block */
}

uint64_t
dense_row_size(const struct dense_heap *heap, unsigned row)
{
    return row == 0 ? heap->start : heap->start << (row - 1);
}

size_t
dense_indirect_size(const struct dense_heap *heap, unsigned rows)
{
    return DENSE_BLOCK_HEAD + (size_t)rows * heap->width * 8;
}

unsigned
dense_rows_for(const struct dense_heap *heap, uint64_t size)
{
    return shape_log2(size) - shape_log2(heap->start * heap->width) + 1;
}

uint64_t
dense_block_size(const struct dense_heap *heap, uint64_t offset)
{
    uint64_t row = heap->start * heap->width;

    return offset < row ? heap->start : heap->start << (shape_log2(offset) - shape_log2(row));
}

bool
hs_dense_parse_block(const uint8_t bytes[HS_DENSE_HEAD_SIZE], uint64_t address,
                     hs_dense_block *block)
{
    if (memcmp(bytes, "FHDB", 4) != 0 || bytes[4] != 0)
        return false;
    *block = (hs_dense_block){address, hs_get_le64(bytes + 5), hs_get_le32(bytes + 13)};
    return true;
}

bool
dense_indirect_is_sound(const uint8_t *bytes, size_t size, uint64_t heap, uint64_t offset)
{
    return memcmp(bytes, "FHIB", 4) == 0 && hs_get_le64(bytes + 5) == heap &&
           hs_get_le32(bytes + 13) == offset && shape_is_whole(bytes, size);
}

bool
dense_direct_is_sound(uint8_t *bytes, size_t size, uint64_t heap, uint64_t offset)
{
    uint32_t stated = hs_get_le32(bytes + DENSE_BLOCK_HEAD - DENSE_CHECKSUM);
    hs_dense_block block;

    if (!hs_dense_parse_block(bytes, 0, &block) || block.heap != heap || block.offset != offset)
        return false;
    memset(bytes + DENSE_BLOCK_HEAD - DENSE_CHECKSUM, 0, DENSE_CHECKSUM);
    return hs_ohdr_checksum(bytes, size) == stated;
}
