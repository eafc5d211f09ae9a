/* SPDX-License-Identifier: MIT */
/*
 * All links of a group with many; see dense.h, and dense_impl.h for the parts.
 *
 * The tree is read first.  Its records are sorted by place, and then the blocks are read in
 * order, each once.  So a block is in memory only while its links are told.
 *
 * Nothing read is trusted: lengths are checked, depths are bounded, and a block is told once
 * whoever leads to it.
 */
#include "dense_impl.h"
#include "grow.h"

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
    struct dense_heap shape;
};

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

/* ---- the tree --------------------------------------------------------- */

static int
dense_add_record(struct dense_job *job, const uint8_t *bytes)
{
    struct dense_record record;
    int rc;

    if (!dense_parse_record(bytes, &record)) {
        job->damaged = true;
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
    bool got;
    int rc;

    if (node == NULL)
        return hs_fail_nomem(job->err, tree->node_size, "the links of a group");
    rc = dense_read(job, address, node, tree->node_size, &got);
    if (rc < 0)
        return rc;
    if (!got || !dense_node_is_sound(tree, node, depth, count) || job->count + count > tree->most ||
        (count == 0 && depth < tree->depth)) {
        *whole = false;
        return H5STORE_OK;
    }
    for (uint64_t i = 0; rc == H5STORE_OK && i < count; i++)
        rc = dense_add_record(job, node + DENSE_NODE_HEAD + i * DENSE_RECORD);
    for (uint64_t i = 0; rc == H5STORE_OK && depth > 0 && i <= count; i++) {
        uint64_t child, records;

        dense_child(tree, node, depth, count, i, &child, &records);
        rc = dense_node(job, tree, child, depth - 1, records, whole);
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
    if (!got || !dense_parse_tree(head, &tree))
        return H5STORE_OK;
    if (tree.root != UINT64_MAX)
        rc = dense_node(job, &tree, tree.root, tree.depth, tree.root_count, &whole);
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

static int
dense_direct(struct dense_job *job, uint64_t address, uint64_t size, uint64_t offset)
{
    HS_CLEANUP(hs_freep) uint8_t *bytes = NULL;
    bool whole, got, fresh;
    int rc;

    bytes = malloc((size_t)size);
    if (bytes == NULL)
        return hs_fail_nomem(job->err, size, "the links of a group");
    rc = dense_read(job, address, bytes, (size_t)size, &got);
    if (rc < 0)
        return rc;
    whole = got && dense_direct_is_sound(bytes, (size_t)size, job->heap, offset);
    if (!whole)
        job->damaged = true;
    if (!got)
        return H5STORE_OK;
    rc = dense_note_told(job, offset, offset + size, &fresh);
    return rc < 0 || !fresh ? rc : dense_tell(job, bytes, size, offset, whole);
}

/* ---- the heap --------------------------------------------------------- */

/* The blocks that an indirect block with so many rows leads to. */
static int
dense_indirect(struct dense_job *job, uint64_t address, unsigned rows, uint64_t offset,
               unsigned depth)
{
    size_t size = dense_indirect_size(&job->shape, rows);
    HS_CLEANUP(hs_freep) uint8_t *bytes = malloc(size);
    const uint8_t *place;
    bool got;
    int rc;

    if (bytes == NULL)
        return hs_fail_nomem(job->err, size, "the links of a group");
    rc = dense_read(job, address, bytes, size, &got);
    if (rc < 0)
        return rc;
    if (!got || depth > DENSE_MOST_DEPTH ||
        !dense_indirect_is_sound(bytes, size, job->heap, offset)) {
        job->damaged = true;
        return H5STORE_OK;
    }
    place = bytes + DENSE_BLOCK_HEAD - DENSE_CHECKSUM;
    for (unsigned row = 0; row < rows; row++) {
        uint64_t each = dense_row_size(&job->shape, row);

        for (unsigned i = 0; rc == H5STORE_OK && i < job->shape.width; i++) {
            uint64_t child = hs_get_le64(place);

            if (child != UINT64_MAX && each <= job->shape.max_direct)
                rc = dense_direct(job, child, each, offset);
            else if (child != UINT64_MAX)
                rc = dense_indirect(job, child, dense_rows_for(&job->shape, each), offset,
                                    depth + 1);
            place += 8;
            offset += each;
        }
    }
    return rc;
}

/* The shape that HDF5 gives the heap of every group. */
static const struct dense_heap dense_usual = {
    .width = 4, .start = 512, .max_direct = 65536, .root = UINT64_MAX};

static int
dense_read_heap(struct dense_job *job)
{
    uint8_t head[DENSE_HEAP_SIZE];
    bool got;
    int rc = dense_read(job, job->heap, head, sizeof head, &got);

    if (rc < 0)
        return rc;
    if (!got || !dense_parse_heap(head, &job->shape)) {
        job->damaged = true;
        job->shape = dense_usual;
        return H5STORE_OK;
    }
    if (job->shape.root == UINT64_MAX)
        return H5STORE_OK;
    return job->shape.rows == 0 ? dense_direct(job, job->shape.root, job->shape.start, 0)
                                : dense_indirect(job, job->shape.root, job->shape.rows, 0, 0);
}

/* A direct block that was found by its signature: its size follows from its place. */
static int
dense_stray(struct dense_job *job, const hs_dense_block *block)
{
    uint64_t offset = block->offset, size = dense_block_size(&job->shape, offset);

    while (size > job->shape.max_direct) { /* in an indirect block, whose range begins anew */
        offset %= size;
        size = dense_block_size(&job->shape, offset);
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
