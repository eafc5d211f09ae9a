/* SPDX-License-Identifier: MIT */
/*
 * The commit of a batch that only stores new items or sources, which is what a cache does all day,
 * without HDF5; see direct.h.
 *
 * First each blob that an item of the batch links to gets all these links counted, once: a new one
 * is made with them, and one that is there gets them added.  Then the items are made, with the
 * addresses of their blobs.
 */
#include "batch_impl.h"
#include "direct.h"

/* A blob that items of the batch link to. */
struct direct_target {
    h5store_id id;
    uint32_t links;
    uint64_t address, nbytes;
};

struct direct_job {
    const hs_batch *batch;
    struct direct_target *targets; /* by id */
    size_t target_count;
    const hs_put **puts; /* by id */
    hs_wal_blob *log;
    size_t logged;
};

static bool
direct_is_plain(const hs_batch *batch)
{
    for (size_t i = 0; i < batch->op_count; i++)
        if (batch->ops[i].kind != SET_ITEM && batch->ops[i].kind != SET_SOURCE)
            return false;
    return true;
}

static int
direct_compare_targets(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(h5store_id));
}

static int
direct_compare_puts(const void *a, const void *b)
{
    const hs_put *const *left = a, *const *right = b;

    return memcmp(&(*left)->id, &(*right)->id, sizeof(h5store_id));
}

static const hs_put *
direct_put_of(const struct direct_job *job, const h5store_id *id)
{
    size_t low = 0, high = job->batch->put_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(&job->puts[middle]->id, id, sizeof *id);

        if (order == 0)
            return job->puts[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* List the targets, each once. */
static int
direct_list(struct direct_job *job, h5store_err *err)
{
    const hs_batch *batch = job->batch;
    size_t links = 0, count = 0;

    for (size_t i = 0; i < batch->op_count; i++)
        links += batch->ops[i].link_count;
    job->targets = calloc(links + 1, sizeof *job->targets);
    job->puts = malloc((batch->put_count + 1) * sizeof *job->puts);
    if (job->targets == NULL || job->puts == NULL)
        return hs_fail_nomem(err, links * sizeof *job->targets, "a batch");
    if (links >= UINT32_MAX)
        return H5STORE_DONE;
    for (size_t i = 0; i < batch->op_count; i++)
        for (size_t j = 0; j < batch->ops[i].link_count; j++)
            job->targets[count++] = (struct direct_target){batch->ops[i].links[j], 1, 0, 0};
    qsort(job->targets, links, sizeof *job->targets, direct_compare_targets);
    for (size_t i = 0; i < links; i++) {
        struct direct_target *last = job->targets + job->target_count;

        if (i > 0 && h5store_id_equal(&last[-1].id, &job->targets[i].id)) {
            last[-1].links++;
        } else {
            *last = job->targets[i];
            job->target_count++;
        }
    }
    for (size_t i = 0; i < batch->put_count; i++)
        job->puts[i] = batch->puts[i];
    qsort(job->puts, batch->put_count, sizeof *job->puts, direct_compare_puts);
    return H5STORE_OK;
}

/* Count the links to a blob that is there. */
static int
direct_refer(struct direct_job *job, struct direct_target *target, const hs_put *put,
             h5store_err *err)
{
    hs_container *c = job->batch->container;
    hs_blob blob;
    int rc = hs_blob_describe(c, target->address, &blob, err);

    if (rc == H5STORE_OK) {
        target->nbytes = blob.info.array.nbytes;
        hs_blob_release(&blob);
    }
    if (rc == H5STORE_E_DAMAGED || (put != NULL && put->state == HS_PUT_MENDED))
        return H5STORE_DONE;
    return rc < 0 ? rc : hs_container_add_references(c, target->address, target->links, err);
}

/* See to it that a blob is there and counts its links. */
static int
direct_target(struct direct_job *job, struct direct_target *target, h5store_err *err)
{
    hs_container *c = job->batch->container;
    const hs_put *put = direct_put_of(job, &target->id);
    bool is_new = put != NULL && put->is_absent && put->generation == hs_container_generation(c);
    hs_blob_parts parts;
    int rc = is_new ? H5STORE_E_NOT_FOUND : hs_blob_look(c, &target->id, &target->address, err);

    if (rc == H5STORE_OK)
        return direct_refer(job, target, put, err);
    if (rc != H5STORE_E_NOT_FOUND || put == NULL)
        return rc == H5STORE_E_NOT_FOUND || rc == H5STORE_E_DAMAGED ? H5STORE_DONE : rc;
    parts = hs_put_parts(put);
    target->nbytes = put->array.nbytes;
    rc = hs_direct_blob(c, &parts, 1 + target->links, &target->address, err);
    if (rc == H5STORE_OK && put->state != HS_PUT_FOUND)
        job->log[job->logged++] = (hs_wal_blob){put->id, put->extent};
    return rc;
}

static int
direct_item(const struct direct_job *job, const batch_op *op, h5store_err *err)
{
    HS_CLEANUP(hs_freep) uint64_t *addresses = malloc((op->link_count + 1) * sizeof *addresses);
    h5store_item_spec spec = batch_spec(op);
    uint64_t bytes = 0;

    if (addresses == NULL)
        return hs_fail_nomem(err, op->link_count * sizeof *addresses, "a batch");
    for (size_t i = 0; i < op->link_count; i++) {
        const struct direct_target *target = bsearch(&op->links[i], job->targets, job->target_count,
                                                     sizeof *target, direct_compare_targets);

        addresses[i] = target->address;
        bytes += target->nbytes;
    }
    return hs_direct_item(job->batch->container, &spec, addresses, bytes, err);
}

int
batch_commit_directly(const hs_batch *batch, hs_wal_blob *log, size_t *logged, h5store_err *err)
{
    struct direct_job job = {.batch = batch, .log = log};
    int rc = direct_is_plain(batch) ? direct_list(&job, err) : H5STORE_DONE;

    for (size_t i = 0; rc == H5STORE_OK && i < job.target_count; i++)
        rc = direct_target(&job, &job.targets[i], err);
    for (size_t i = 0; rc == H5STORE_OK && i < batch->op_count; i++) {
        const batch_op *op = &batch->ops[i];

        rc = op->kind == SET_ITEM
                 ? direct_item(&job, op, err)
                 : hs_direct_source(batch->container, op->collection, op->text, err);
    }
    *logged = job.logged;
    free(job.targets);
    free(job.puts);
    return rc;
}
