/* SPDX-License-Identifier: MIT */
/*
 * The commit of a batch without HDF5, see direct.h: what a cache does all day, and little else.
 *
 * First each blob that the batch is to link to gets all these links counted, once: a new one is
 * made with them, and one that is there gets them added.  Then come the changes, in their order,
 * with the addresses of these blobs, and then what lost its last link goes.
 */
#include "batch_impl.h"
#include "direct.h"

/* A blob that the batch links to. */
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
    hs_id_list orphans;
    hs_wal_blob *log;
    size_t logged;
};

static bool
direct_is_plain(const hs_batch *batch)
{
    size_t kept = 0;

    for (size_t i = 0; i < batch->put_count; i++)
        if (batch->puts[i]->state == HS_PUT_MENDED)
            return false;
    for (size_t i = 0; i < batch->op_count; i++)
        switch (batch->ops[i].kind) {
        case SET_ITEM:
        case SET_SOURCE:
            break;
        case KEEP:
        case DISCARD:
            kept++;
            break;
        case REMOVE:
            if (batch->ops[i].key == NULL)
                return false;
            break;
        default:
            return false;
        }
    return kept == 0 || batch->op_count == 1; /* the usual; no order need be thought of then */
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

static int
direct_compare_id(const void *id, const void *put)
{
    return memcmp(id, &(*(const hs_put *const *)put)->id, sizeof(h5store_id));
}

static const hs_put *
direct_put_of(const struct direct_job *job, const h5store_id *id)
{
    const hs_put *const *found = bsearch(id, job->puts, job->batch->put_count, sizeof *job->puts,
                                         direct_compare_id);

    return found != NULL ? *found : NULL;
}

/* Were bytes written for a put?  Then what has its name may have metadata that cannot be read. */
static bool
direct_writes(const hs_batch *batch)
{
    for (size_t i = 0; i < batch->put_count; i++)
        if (batch->puts[i]->state != HS_PUT_FOUND)
            return true;
    return false;
}

/* The only target is a blob that is to be kept by itself.  *kept: it is, and that is that. */
static int
direct_kept_target(struct direct_job *job, const char *id, bool *kept, h5store_err *err)
{
    int rc = h5store_id_parse(id, &job->targets[0].id, err);

    job->targets[0].links = 1;
    return rc < 0 ? rc : hs_direct_is_kept(job->batch->container, id, kept, err);
}

/* List the targets, each once. */
static int
direct_list(struct direct_job *job, h5store_err *err)
{
    const hs_batch *batch = job->batch;
    size_t links = 0, count = 0;
    bool kept = false;
    int rc;

    for (size_t i = 0; i < batch->op_count; i++)
        links += batch->ops[i].link_count;
    job->targets = calloc(links + 1, sizeof *job->targets); /* one more, to be kept */
    job->puts = malloc((batch->put_count + 1) * sizeof *job->puts);
    if (job->targets == NULL || job->puts == NULL)
        return hs_fail_nomem(err, links * sizeof *job->targets, "a batch");
    if (links >= UINT32_MAX)
        return H5STORE_DONE;
    for (size_t i = 0; i < batch->op_count; i++)
        for (size_t j = 0; j < batch->ops[i].link_count; j++)
            job->targets[count++] = (struct direct_target){batch->ops[i].links[j], 1, 0, 0};
    if (batch->op_count == 1 && batch->ops[0].kind == KEEP) {
        rc = direct_kept_target(job, batch->ops[0].key, &kept, err);
        if (rc != H5STORE_OK || kept)
            return rc == H5STORE_OK && direct_writes(batch) ? H5STORE_DONE : rc;
        links++;
    }
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
direct_refer(struct direct_job *job, struct direct_target *target, h5store_err *err)
{
    hs_container *c = job->batch->container;
    hs_blob blob;
    int rc = hs_blob_describe(c, target->address, &blob, err);

    if (rc == H5STORE_OK) {
        target->nbytes = blob.info.array.nbytes;
        hs_blob_release(&blob);
    }
    if (rc == H5STORE_E_DAMAGED)
        return H5STORE_DONE;
    return rc < 0 ? rc : hs_container_change_references(c, target->address, target->links, err);
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
        return direct_refer(job, target, err);
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

static int
direct_op(struct direct_job *job, const batch_op *op, h5store_err *err)
{
    hs_container *c = job->batch->container;
    h5store_id id;
    int rc;

    switch (op->kind) {
    case SET_ITEM:
        rc = hs_direct_remove_item(c, op->collection, op->key, &job->orphans, err);
        return rc == H5STORE_OK ? direct_item(job, op, err) : rc;
    case SET_SOURCE:
        return hs_direct_source(c, op->collection, op->text, err);
    case REMOVE:
        return hs_direct_remove_item(c, op->collection, op->key, &job->orphans, err);
    case KEEP:
        return job->target_count == 0 ? H5STORE_OK /* it is kept */
                                      : hs_direct_keep(c, op->key, job->targets[0].address, err);
    case DISCARD:
        rc = h5store_id_parse(op->key, &id, err);
        if (rc == H5STORE_OK)
            rc = hs_direct_discard(c, op->key, err);
        return rc == H5STORE_OK ? hs_id_list_add(&job->orphans, &id, err) : rc;
    default:
        return H5STORE_DONE;
    }
}

int
batch_commit_directly(const hs_batch *batch, hs_wal_blob *log, size_t *logged, bool *dropped,
                      h5store_err *err)
{
    struct direct_job job = {.batch = batch, .log = log};
    int rc = direct_is_plain(batch) ? direct_list(&job, err) : H5STORE_DONE;

    for (size_t i = 0; rc == H5STORE_OK && i < job.target_count; i++)
        rc = direct_target(&job, &job.targets[i], err);
    for (size_t i = 0; rc == H5STORE_OK && i < batch->op_count; i++)
        rc = direct_op(&job, &batch->ops[i], err);
    if (rc == H5STORE_OK)
        rc = hs_direct_drop_unused(batch->container, &job.orphans, dropped, err);
    *logged = job.logged;
    hs_id_list_release(&job.orphans);
    free(job.targets);
    free(job.puts);
    return rc;
}
