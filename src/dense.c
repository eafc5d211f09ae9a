/* SPDX-License-Identifier: MIT */
/*
 * Fractal heap and B-tree of a group with many links; see dense.h.
 *
 *   heap header   "FRHP": the shape of the heap, and the address of its root block
 *   indirect      "FHIB": addresses of blocks, in rows of four
 *   direct        "FHDB": heap header (8), offset in the heap (4), checksum (4), link messages
 *   tree header   "BTHD"   internal node "BTIN"   leaf "BTLF": records of hash and place
 *
 * The heap is a range of offsets which rows of blocks cover; the first two rows have blocks of
 * `start` bytes, each further row blocks of twice the size, and from max_direct on what a row
 * has are indirect blocks, which divide their range in the same way.
 *
 * The tree is read first.  Its records are sorted by place, and then the blocks are read in
 * order, each once.  So a block is in memory only while its links are told.
 *
 * Nothing read is trusted: lengths are checked, depths are bounded, and a block is told once
 * whoever leads to it.
 */
#include "dense.h"
#include "grow.h"
#include <assert.h>

#define DENSE_CHECKSUM 4u
#define DENSE_HEAP_SIZE 146u
#define DENSE_BLOCK_HEAD 21u
#define DENSE_TREE_SIZE 38u
#define DENSE_NODE_PREFIX 10u /* with its checksum */
#define DENSE_RECORD 11u      /* hash (4), version and kind (1), offset (4), length (2) */
#define DENSE_NAME_INDEX 5u   /* type of the tree */
#define DENSE_MOST_DEPTH 8u
#define DENSE_MOST_NODE 65536u
#define DENSE_MOST_RECORDS ((uint64_t)1 << 27)

struct dense_record {
    uint32_t hash, offset, length;
};

struct dense_span {
    uint64_t from, to;
};

struct dense_job {
    hs_pager *pager;
    uint64_t heap;
    hs_dense_fn tell;
    void *context;
    h5store_err *err;
    bool damaged;                 /* some part could not be read */
    bool tree_whole;              /* the records are all there are */
    struct dense_record *records; /* by offset */
    size_t count, room;
    struct dense_span *told; /* offsets of the blocks told so far */
    size_t told_count, told_room;
    uint64_t start, max_direct; /* sizes of blocks */
    unsigned width;
};

static bool
dense_is_whole(const uint8_t *bytes, size_t size)
{
    return hs_get_le32(bytes + size - DENSE_CHECKSUM) ==
           hs_ohdr_checksum(bytes, size - DENSE_CHECKSUM);
}

/* Read, with a failure of the system as damage: a bad sector is no reason to stop.  *got: the
 * bytes are there. */
static int
dense_read(struct dense_job *job, uint64_t address, uint8_t *bytes, size_t size, bool *got)
{
    int rc = H5STORE_E_IO;

    if (address <= (uint64_t)INT64_MAX - size)
        rc = hs_pager_read(job->pager, address, bytes, size, job->err);
    *got = rc == H5STORE_OK;
    return rc == H5STORE_E_IO ? H5STORE_OK : rc;
}

static uint64_t
dense_number(const uint8_t *bytes, unsigned width)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < width; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static unsigned
dense_log2(uint64_t value)
{
    return 63u - (unsigned)__builtin_clzll(value);
}

static bool
dense_is_power(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* ---- the tree --------------------------------------------------------- */

struct dense_tree {
    uint32_t node_size;
    unsigned depth;
    uint64_t most;                              /* records in all */
    unsigned count_width;                       /* bytes of the number of records in a node */
    unsigned total_width[DENSE_MOST_DEPTH + 1]; /* the same for all below a node, by depth */
};

/* Bytes that a number up to @p most takes. */
static unsigned
dense_width(uint64_t most)
{
    return dense_log2(most) / 8 + 1;
}

/* How many bytes the numbers in internal nodes take follows from how many records fit. */
static bool
dense_measure(struct dense_tree *tree)
{
    uint64_t most = (tree->node_size - DENSE_NODE_PREFIX) / DENSE_RECORD, total = most;

    if (most == 0)
        return false;
    tree->count_width = dense_width(most);
    tree->total_width[0] = 0;
    for (unsigned depth = 1; depth <= tree->depth; depth++) {
        unsigned pointer = 8 + tree->count_width + tree->total_width[depth - 1];
        uint64_t fit;

        if (tree->node_size < DENSE_NODE_PREFIX + pointer)
            return false;
        fit = (tree->node_size - (DENSE_NODE_PREFIX + pointer)) / (DENSE_RECORD + pointer);
        if (fit == 0 || !hs_mul(fit + 1, total, &total) || !hs_add(total, fit, &total))
            return false;
        tree->total_width[depth] = dense_width(total);
    }
    return true;
}

static int
dense_add_record(struct dense_job *job, const uint8_t *bytes)
{
    struct dense_record record = {hs_get_le32(bytes), hs_get_le32(bytes + 5),
                                  (uint32_t)dense_number(bytes + 9, 2)};
    int rc;

    if (bytes[4] != 0) {
        job->damaged = true; /* a link that is no managed object: a name of kilobytes */
        return H5STORE_OK;
    }
    rc = hs_grow(&job->records, job->count, &job->room, sizeof *job->records,
                 "the links of a group", job->err);
    if (rc < 0)
        return rc;
    job->records[job->count++] = record;
    return H5STORE_OK;
}

/* A node with @p count records, and what is below it.  *whole is cleared when some of it is
 * not there. */
static int
dense_node(struct dense_job *job, const struct dense_tree *tree, uint64_t address, unsigned depth,
           uint64_t count, bool *whole)
{
    HS_CLEANUP(hs_freep) uint8_t *node = malloc(tree->node_size);
    unsigned pointer = 8 + tree->count_width + (depth > 1 ? tree->total_width[depth - 1] : 0);
    uint64_t used = DENSE_NODE_PREFIX + count * DENSE_RECORD;
    bool got;
    int rc;

    if (node == NULL)
        return hs_fail_nomem(job->err, tree->node_size, "the links of a group");
    if (depth > 0)
        used += (count + 1) * pointer;
    rc = dense_read(job, address, node, tree->node_size, &got);
    if (rc < 0)
        return rc;
    if (!got || used > tree->node_size || memcmp(node, depth > 0 ? "BTIN" : "BTLF", 4) != 0 ||
        node[4] != 0 || node[5] != DENSE_NAME_INDEX || !dense_is_whole(node, (size_t)used) ||
        job->count + count > tree->most || (count == 0 && depth < tree->depth)) {
        *whole = false;
        return H5STORE_OK;
    }
    for (uint64_t i = 0; rc == H5STORE_OK && i < count; i++)
        rc = dense_add_record(job, node + 6 + i * DENSE_RECORD);
    for (uint64_t i = 0; rc == H5STORE_OK && depth > 0 && i <= count; i++) {
        const uint8_t *child = node + 6 + count * DENSE_RECORD + i * pointer;

        rc = dense_node(job, tree, hs_get_le64(child), depth - 1,
                        dense_number(child + 8, tree->count_width), whole);
    }
    return rc;
}

static int
dense_compare(const void *a, const void *b)
{
    const struct dense_record *left = a, *right = b;

    return left->offset < right->offset ? -1 : left->offset > right->offset;
}

static int
dense_read_tree(struct dense_job *job, uint64_t address)
{
    uint8_t head[DENSE_TREE_SIZE];
    struct dense_tree tree;
    bool whole = true, got;
    int rc = dense_read(job, address, head, sizeof head, &got);

    if (rc < 0)
        return rc;
    tree.node_size = hs_get_le32(head + 6);
    tree.depth = (unsigned)dense_number(head + 12, 2);
    tree.most = hs_get_le64(head + 26);
    if (!got || memcmp(head, "BTHD", 4) != 0 || head[4] != 0 || head[5] != DENSE_NAME_INDEX ||
        dense_number(head + 10, 2) != DENSE_RECORD || !dense_is_whole(head, sizeof head) ||
        tree.node_size < 64 || tree.node_size > DENSE_MOST_NODE || tree.depth > DENSE_MOST_DEPTH ||
        tree.most > DENSE_MOST_RECORDS || !dense_measure(&tree))
        return H5STORE_OK;
    if (hs_get_le64(head + 16) != UINT64_MAX)
        rc = dense_node(job, &tree, hs_get_le64(head + 16), tree.depth, dense_number(head + 24, 2),
                        &whole);
    job->tree_whole = whole;
    if (job->count > 0)
        qsort(job->records, job->count, sizeof *job->records, dense_compare);
    return rc;
}

/* ---- direct blocks ---------------------------------------------------- */

/* The first record at or behind an offset. */
static size_t
dense_find(const struct dense_job *job, uint64_t offset)
{
    size_t low = 0, high = job->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (job->records[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* False: this part of the heap was told before. */
static int
dense_note_told(struct dense_job *job, uint64_t from, uint64_t to, bool *fresh)
{
    int rc;

    *fresh = true;
    for (size_t i = 0; i < job->told_count; i++)
        if (job->told[i].from < to && from < job->told[i].to)
            *fresh = false;
    if (!*fresh)
        return H5STORE_OK;
    rc = hs_grow(&job->told, job->told_count, &job->told_room, sizeof *job->told,
                 "the links of a group", job->err);
    if (rc < 0)
        return rc;
    job->told[job->told_count++] = (struct dense_span){from, to};
    return H5STORE_OK;
}

/* Look for link messages where no record says that there is one. */
static int
dense_search(struct dense_job *job, const uint8_t *bytes, size_t from, size_t to)
{
    int rc = H5STORE_OK;

    while (rc == H5STORE_OK && from < to) {
        hs_ohdr_link link;
        size_t length = 0;

        if (bytes[from] == 1) /* the version */
            length = hs_ohdr_parse_link(bytes + from, to - from, &link);
        if (length > 0 && link.name_length > 0 && link.address != 0)
            rc = job->tell(&link, false, job->context, job->err);
        else
            length = 1;
        from += length;
    }
    return rc;
}

/* Tell the links of a direct block, whose bytes these are.  @p whole: its checksum is right. */
static int
dense_tell(struct dense_job *job, const uint8_t *bytes, uint64_t size, uint64_t offset, bool whole)
{
    size_t at = DENSE_BLOCK_HEAD;
    int rc = H5STORE_OK;

    for (size_t i = dense_find(job, offset); rc == H5STORE_OK && i < job->count; i++) {
        const struct dense_record *record = &job->records[i];
        size_t place = (size_t)(record->offset - offset);
        hs_ohdr_link link;

        if (record->offset >= offset + size)
            break;
        if (place < at || record->length > size - place ||
            hs_ohdr_parse_link(bytes + place, record->length, &link) == 0 ||
            hs_ohdr_checksum((const uint8_t *)link.name, link.name_length) != record->hash) {
            job->damaged = true; /* or a soft link, which is no concern of ours */
            continue;
        }
        if (whole && !job->tree_whole)
            rc = dense_search(job, bytes, at, place);
        if (rc == H5STORE_OK)
            rc = job->tell(&link, whole, job->context, job->err);
        at = place + record->length;
    }
    if (rc == H5STORE_OK && whole && !job->tree_whole)
        rc = dense_search(job, bytes, at, (size_t)size);
    return rc;
}

/* The checksum of a direct block is taken with zeros in its place. */
static bool
dense_block_is_whole(uint8_t *bytes, size_t size)
{
    uint32_t stated = hs_get_le32(bytes + DENSE_BLOCK_HEAD - DENSE_CHECKSUM);

    memset(bytes + DENSE_BLOCK_HEAD - DENSE_CHECKSUM, 0, DENSE_CHECKSUM);
    return hs_ohdr_checksum(bytes, size) == stated;
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

static int
dense_direct(struct dense_job *job, uint64_t address, uint64_t size, uint64_t offset)
{
    HS_CLEANUP(hs_freep) uint8_t *bytes = NULL;
    hs_dense_block block = {0};
    bool whole, got, fresh;
    int rc;

    bytes = malloc((size_t)size);
    if (bytes == NULL)
        return hs_fail_nomem(job->err, size, "the links of a group");
    rc = dense_read(job, address, bytes, (size_t)size, &got);
    if (rc < 0)
        return rc;
    whole = got && hs_dense_parse_block(bytes, address, &block) && block.heap == job->heap &&
            block.offset == offset && dense_block_is_whole(bytes, (size_t)size);
    if (!whole)
        job->damaged = true;
    if (!got)
        return H5STORE_OK;
    rc = dense_note_told(job, offset, offset + size, &fresh);
    return rc < 0 || !fresh ? rc : dense_tell(job, bytes, size, offset, whole);
}

/* ---- the heap --------------------------------------------------------- */

static uint64_t
dense_row_size(const struct dense_job *job, unsigned row)
{
    return row == 0 ? job->start : job->start << (row - 1);
}

/* How many rows the indirect block has that covers a range of @p size bytes. */
static unsigned
dense_rows_for(const struct dense_job *job, uint64_t size)
{
    return dense_log2(size) - dense_log2(job->start * job->width) + 1;
}

/* The blocks that an indirect block with so many rows leads to. */
static int
dense_indirect(struct dense_job *job, uint64_t address, unsigned rows, uint64_t offset,
               unsigned depth)
{
    size_t size = DENSE_BLOCK_HEAD + (size_t)rows * job->width * 8;
    HS_CLEANUP(hs_freep) uint8_t *bytes = malloc(size);
    const uint8_t *place;
    bool got;
    int rc;

    if (bytes == NULL)
        return hs_fail_nomem(job->err, size, "the links of a group");
    rc = dense_read(job, address, bytes, size, &got);
    if (rc < 0)
        return rc;
    if (!got || depth > DENSE_MOST_DEPTH || memcmp(bytes, "FHIB", 4) != 0 ||
        hs_get_le64(bytes + 5) != job->heap || hs_get_le32(bytes + 13) != offset ||
        !dense_is_whole(bytes, size)) {
        job->damaged = true;
        return H5STORE_OK;
    }
    place = bytes + DENSE_BLOCK_HEAD - DENSE_CHECKSUM;
    for (unsigned row = 0; row < rows; row++) {
        uint64_t each = dense_row_size(job, row);

        for (unsigned i = 0; rc == H5STORE_OK && i < job->width; i++, place += 8, offset += each) {
            uint64_t child = hs_get_le64(place);

            if (child == UINT64_MAX)
                continue;
            rc = each <= job->max_direct
                     ? dense_direct(job, child, each, offset)
                     : dense_indirect(job, child, dense_rows_for(job, each), offset, depth + 1);
        }
    }
    return rc;
}

/* The shape that HDF5 gives the heap of every group. */
static void
dense_usual_shape(struct dense_job *job)
{
    job->width = 4;
    job->start = 512;
    job->max_direct = 65536;
}

static int
dense_read_heap(struct dense_job *job)
{
    uint8_t head[DENSE_HEAP_SIZE];
    unsigned rows;
    uint64_t root;
    bool got;
    int rc = dense_read(job, job->heap, head, sizeof head, &got);

    dense_usual_shape(job);
    if (rc < 0)
        return rc;
    if (!got || memcmp(head, "FRHP", 4) != 0 || head[4] != 0 ||
        !dense_is_whole(head, sizeof head) || (head[9] & 0x02) == 0 ||
        dense_number(head + 7, 2) != 0 || dense_number(head + 128, 2) != 32) {
        job->damaged = true;
        return H5STORE_OK;
    }
    job->width = (unsigned)dense_number(head + 110, 2);
    job->start = hs_get_le64(head + 112);
    job->max_direct = hs_get_le64(head + 120);
    root = hs_get_le64(head + 132);
    rows = (unsigned)dense_number(head + 140, 2);
    if (!dense_is_power(job->width) || job->width > 64 || !dense_is_power(job->start) ||
        job->start < 64 || !dense_is_power(job->max_direct) || job->max_direct < job->start ||
        job->max_direct > 1 << 20 || rows > 32) {
        job->damaged = true;
        dense_usual_shape(job);
        return H5STORE_OK;
    }
    if (root == UINT64_MAX)
        return H5STORE_OK;
    return rows == 0 ? dense_direct(job, root, job->start, 0)
                     : dense_indirect(job, root, rows, 0, 0);
}

/* The size of the block that begins at an offset, in the range of an indirect block. */
static uint64_t
dense_block_size(const struct dense_job *job, uint64_t offset)
{
    uint64_t row = job->start * job->width;

    return offset < row ? job->start : job->start << (dense_log2(offset) - dense_log2(row));
}

/* A direct block that was found by its signature: its size follows from its place. */
static int
dense_stray(struct dense_job *job, const hs_dense_block *block)
{
    uint64_t offset = block->offset, size = dense_block_size(job, offset);

    while (size > job->max_direct) { /* in an indirect block, whose range begins anew */
        offset %= size;
        size = dense_block_size(job, offset);
    }
    return dense_direct(job, block->address, size, block->offset);
}

int
hs_dense_links(hs_pager *pager, uint64_t heap, uint64_t tree, const hs_dense_block *strays,
               size_t stray_count, hs_dense_fn tell, void *context, h5store_err *err)
{
    struct dense_job job = {
        .pager = pager, .heap = heap, .tell = tell, .context = context, .err = err};
    int rc = H5STORE_OK;

    if (tree != UINT64_MAX)
        rc = dense_read_tree(&job, tree);
    if (!job.tree_whole)
        job.damaged = true;
    if (rc == H5STORE_OK)
        rc = dense_read_heap(&job);
    for (size_t i = 0; rc == H5STORE_OK && i < stray_count; i++)
        rc = dense_stray(&job, &strays[i]);
    free(job.records);
    free(job.told);
    if (rc == H5STORE_OK && job.damaged)
        return hs_fail(err, H5STORE_E_DAMAGED, 0,
                       "some links of a group of container '%s' cannot be read", pager->path);
    return rc;
}
