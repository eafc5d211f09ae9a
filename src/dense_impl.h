/* SPDX-License-Identifier: MIT */
/*
 * Fractal heap and B-tree of a group with many links, as they lie in the file.  What dense.c,
 * which reads all links, and dense_find.c, which looks for one, share; nobody else includes it.
 *
 *   heap header   "FRHP": the shape of the heap, and the address of its root block
 *   indirect      "FHIB": addresses of blocks, in rows of four
 *   direct        "FHDB": heap header (8), offset in the heap (4), checksum (4), link messages
 *   tree header   "BTHD"   internal node "BTIN"   leaf "BTLF": records of hash and place
 *
 * The heap is a range of offsets which rows of blocks cover; the first two rows have blocks of
 * `start` bytes, each further row blocks of twice the size, and from max_direct on what a row
 * has are indirect blocks, which divide their range in the same way.
 */
#ifndef HS_DENSE_IMPL_H
#define HS_DENSE_IMPL_H

#include "dense.h"

#define DENSE_CHECKSUM 4u
#define DENSE_HEAP_SIZE 146u
#define DENSE_BLOCK_HEAD 21u
#define DENSE_TREE_SIZE 38u
#define DENSE_NODE_HEAD 6u
#define DENSE_NODE_PREFIX 10u /* with its checksum */
#define DENSE_RECORD 11u      /* hash (4), version and kind (1), offset (4), length (2) */
#define DENSE_NAME_INDEX 5u   /* type of the tree */
#define DENSE_MOST_DEPTH 8u
#define DENSE_MOST_NODE 65536u
#define DENSE_MOST_RECORDS ((uint64_t)1 << 27)

/* Where a link lies in the heap. */
struct dense_record {
    uint32_t hash, offset, length; /* of its name; of the message */
};

struct dense_tree {
    uint32_t node_size;
    unsigned depth;
    uint64_t root;                              /* UINT64_MAX: none */
    uint64_t root_count;                        /* records in the root node */
    uint64_t most;                              /* records in all */
    unsigned count_width;                       /* bytes of the number of records in a node */
    unsigned total_width[DENSE_MOST_DEPTH + 1]; /* the same for all below a node, by depth */
};

struct dense_heap {
    unsigned width;             /* blocks in a row */
    uint64_t start, max_direct; /* sizes of blocks */
    uint64_t root;              /* UINT64_MAX: none */
    unsigned rows;              /* of the root; 0: it is a direct block */
};

/* The header of a tree or heap.  False: there is no sound one. */
bool dense_parse_tree(const uint8_t head[DENSE_TREE_SIZE], struct dense_tree *tree);
bool dense_parse_heap(const uint8_t head[DENSE_HEAP_SIZE], struct dense_heap *heap);

/* Is this a node of the tree with so many records?  The bytes are a whole node. */
bool dense_node_is_sound(const struct dense_tree *tree, const uint8_t *node, unsigned depth,
                         uint64_t count);

/* What leads to a child of an internal node: its address, and how many records it has. */
void dense_child(const struct dense_tree *tree, const uint8_t *node, unsigned depth, uint64_t count,
                 uint64_t index, uint64_t *address, uint64_t *records);

/* False: the link is no managed object: a name of kilobytes. */
bool dense_parse_record(const uint8_t bytes[DENSE_RECORD], struct dense_record *record);

/* Is the block whole, and that of this heap which covers @p offset?  The direct one's bytes are
 * changed: its checksum is taken with zeros in its place. */
bool dense_indirect_is_sound(const uint8_t *bytes, size_t size, uint64_t heap, uint64_t offset);
bool dense_direct_is_sound(uint8_t *bytes, size_t size, uint64_t heap, uint64_t offset);

/* Sizes of blocks. */
uint64_t dense_row_size(const struct dense_heap *heap, unsigned row);
size_t dense_indirect_size(const struct dense_heap *heap, unsigned rows);
/* How many rows the indirect block has that covers a range of @p size bytes. */
unsigned dense_rows_for(const struct dense_heap *heap, uint64_t size);
/* The size of the block that begins at an offset, in the range of an indirect block. */
uint64_t dense_block_size(const struct dense_heap *heap, uint64_t offset);

#endif
