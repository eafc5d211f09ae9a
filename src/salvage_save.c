/* SPDX-License-Identifier: MIT */
/*
 * Arrays and results: checked, and put into the target through the ordinary batches, so that
 * what comes out is an ordinary container.
 *
 * An array is read and digested piece by piece.  Its name must be the SHA-256 of what was
 * read; then it is put, packed if it was packed.  One that fits into the buffer is still there,
 * and is not read again.
 *
 * A batch is committed when it is large enough.  A blob that was put for a result which then
 * proved lost has no link, and does not stay: it is put again if something else needs it.
 */
#include "os.h"
#include "reader.h"
#include "salvage_impl.h"
#include <stdio.h>

#define SAVE_BUFFER ((size_t)16 * 1024 * 1024) /* a multiple of a piece */
#define SAVE_BATCH_OPS 500u
#define SAVE_BATCH_PUTS 200u
#define SAVE_BATCH_BYTES ((uint64_t)256 * 1024 * 1024)
#define SAVE_MEMBER_MOST ((uint64_t)256 * 1024 * 1024) /* bytes of an output */

/* ---- the batch --------------------------------------------------------- */

int
salvage_commit(salvage *s, h5store_err *err)
{
    hs_batch *batch = s->batch;
    int rc;

    if (batch == NULL)
        return H5STORE_OK;
    s->batch = NULL;
    rc = hs_batch_commit(batch, err);
    for (size_t i = 0; rc == H5STORE_OK && i < s->put_count; i++) {
        salvage_object *object;

        rc = salvage_object_at(s, s->puts[i], &object, err);
        if (rc < 0)
            break;
        object->state = object->referenced ? BLOB_SAVED : BLOB_WHOLE;
        s->result.blobs -= !object->referenced; /* it did not stay */
    }
    s->put_count = s->batch_ops = 0;
    s->batch_bytes = 0;
    return rc;
}

static int
save_need_batch(salvage *s, h5store_err *err)
{
    return s->batch != NULL ? H5STORE_OK : hs_batch_new(s->target, &s->batch, err);
}

static int
save_end_step(salvage *s, uint64_t bytes, h5store_err *err)
{
    s->batch_ops++;
    s->batch_bytes += bytes;
    if (s->batch_ops < SAVE_BATCH_OPS && s->put_count < SAVE_BATCH_PUTS &&
        s->batch_bytes < SAVE_BATCH_BYTES)
        return H5STORE_OK;
    return salvage_commit(s, err);
}

/* ---- arrays ------------------------------------------------------------ */

static void
save_lose_blob(salvage *s, salvage_object *object, enum h5store_clause clause, const char *why)
{
    char path[HS_BLOB_PATH_SIZE];

    object->state = BLOB_LOST;
    s->result.lost_blobs++;
    if (object->named)
        hs_blob_path(&object->id, path);
    else
        snprintf(path, sizeof path, "/blobs (byte %llu)", (unsigned long long)object->address);
    salvage_find(s, clause, true, path, "%s", why);
}

static hs_packed_file
save_file(const salvage *s)
{
    return (hs_packed_file){s->pager.fd, s->pager.path, hs_container_threads(s->target)};
}

/* Read some of a blob's bytes into the buffer.  *got: how many there are. */
static int
save_read(salvage *s, const hs_blob *blob, uint64_t from, size_t size, size_t *got,
          h5store_err *err)
{
    int rc;

    if (!hs_is_packed(&blob->packed))
        return hs_os_pread(s->pager.fd, s->pager.path, s->buffer, size, blob->extent.address + from,
                           got, err);
    rc = hs_packed_read(save_file(s), &blob->packed, blob->extent, from, s->buffer, size, err);
    *got = rc == H5STORE_OK ? size : 0;
    return rc == H5STORE_E_DAMAGED ? H5STORE_OK : rc;
}

/* Digest the bytes of an extent.  If all of it fits, it is in the buffer afterwards.  *whole:
 * they were all there. */
static int
save_digest(salvage *s, const hs_blob *blob, hs_tree *tree, bool *whole, h5store_err *err)
{
    uint64_t size = blob->info.array.nbytes;
    int rc = H5STORE_OK;

    *whole = true;
    for (uint64_t done = 0; rc == H5STORE_OK && *whole && done < size; done += SAVE_BUFFER) {
        size_t step = (size_t)hs_min(size - done, SAVE_BUFFER), got = 0;

        rc = save_read(s, blob, done, step, &got, err);
        if (rc == H5STORE_E_IO || (rc == H5STORE_OK && got < step)) {
            *whole = false;
            return H5STORE_OK;
        }
        if (rc == H5STORE_OK)
            rc = hs_tree_run(tree, done / HS_PIECE_SIZE, (step + HS_PIECE_SIZE - 1) / HS_PIECE_SIZE,
                             s->buffer, true, false, err);
        salvage_progress(s, step);
    }
    return rc;
}

static int
save_put(salvage *s, const hs_blob *blob, h5store_err *err)
{
    h5store_array array = blob->info.array;
    HS_CLEANUP(hs_freep) uint8_t *unpacked = NULL;
    void *mapped = NULL;
    h5store_id id;
    int rc = save_need_batch(s, err);

    if (rc < 0)
        return rc;
    hs_batch_compress(s->batch, hs_is_packed(&blob->packed) ? blob->packed.level : 0);
    if (blob->extent.length == 0) {
        array.data = blob->inline_bytes;
    } else if (array.nbytes <= SAVE_BUFFER) {
        array.data = s->buffer;
    } else if (hs_is_packed(&blob->packed)) {
        array.data = unpacked = malloc((size_t)array.nbytes);
        if (unpacked == NULL)
            return hs_fail_nomem(err, array.nbytes, "unpacking an array");
        rc = hs_packed_read(save_file(s), &blob->packed, blob->extent, 0, unpacked, array.nbytes,
                            err);
    } else {
        rc = hs_os_map(s->pager.fd, s->pager.path, blob->extent.address, (size_t)array.nbytes,
                       &mapped, err);
        array.data = mapped;
    }
    if (rc == H5STORE_OK)
        rc = hs_batch_put(s->batch, &array, &id, err);
    if (mapped != NULL)
        hs_os_unmap(mapped, (size_t)array.nbytes);
    if (rc >= 0 && !h5store_id_equal(&id, &blob->info.id))
        rc = H5STORE_E_DAMAGED; /* other bytes than a moment ago */
    return rc < 0 ? rc : H5STORE_OK;
}

/* Read and check a blob that was not met before, and put it.  *why: what is wrong. */
static int
save_check(salvage *s, const hs_blob *blob, const char **why, h5store_err *err)
{
    HS_CLEANUP(hs_tree_freep) hs_tree *tree = NULL;
    h5store_id id;
    bool whole = true;
    int rc;

    if (s->buffer == NULL)
        s->buffer = malloc(SAVE_BUFFER);
    if (s->buffer == NULL)
        return hs_fail_nomem(err, SAVE_BUFFER, "reading arrays");
    if (!hs_is_packed(&blob->packed) &&
        blob->extent.address + blob->info.array.nbytes > s->file_size) {
        *why = "the file ends before its bytes do";
        return H5STORE_OK;
    }
    rc = hs_tree_new(blob->info.array.nbytes, &tree, err);
    if (rc == H5STORE_OK && blob->extent.length == 0)
        rc = hs_tree_run(tree, 0, hs_tree_pieces(tree), blob->inline_bytes, true, false, err);
    else if (rc == H5STORE_OK)
        rc = save_digest(s, blob, tree, &whole, err);
    if (rc == H5STORE_OK && whole)
        rc = hs_tree_id(tree, &blob->info.array, &id, err);
    if (rc < 0)
        return rc;
    if (!whole)
        *why = "its bytes cannot be read";
    else if (!h5store_id_equal(&id, &blob->info.id))
        *why = "its bytes do not have the SHA-256 that it is named by";
    else
        rc = save_put(s, blob, err);
    if (rc == H5STORE_E_DAMAGED || rc == H5STORE_E_INVALID || rc == H5STORE_E_UNSUPPORTED) {
        *why = "it cannot be stored again";
        return H5STORE_OK;
    }
    return rc;
}

int
salvage_blob(salvage *s, uint64_t address, bool *whole, h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    HS_CLEANUP(hs_blob_release) hs_blob blob = {0};
    salvage_object *object;
    h5store_err inner = {0};
    const char *why = NULL;
    int rc = salvage_object_at(s, address, &object, err);

    if (rc < 0)
        return rc;
    *whole = object->state == BLOB_PUT || object->state == BLOB_SAVED;
    if (*whole || object->state == BLOB_LOST)
        return H5STORE_OK;
    rc = salvage_header(s, address, &header, &inner);
    if (rc == H5STORE_OK)
        rc = hs_blob_parse(&s->pager, &header, INT64_MAX, &blob, &inner);
    if (rc == H5STORE_E_DAMAGED) {
        object->is_blob = true;
        save_lose_blob(s, object, H5STORE_V_BLOB_META, inner.message);
        return H5STORE_OK;
    }
    if (rc == H5STORE_OK) {
        object->references = header.references;
        object->id = blob.info.id;
        object->is_blob = object->named = true;
        rc = save_check(s, &blob, &why, &inner);
    }
    if (rc < 0) {
        if (err != NULL)
            *err = inner;
        return rc;
    }
    if (why != NULL) {
        save_lose_blob(s, object, H5STORE_V_BLOB_NAME, why);
        return H5STORE_OK;
    }
    *whole = true;
    object->state = BLOB_PUT;
    rc = hs_grow(&s->puts, s->put_count, &s->put_room, sizeof *s->puts, "salvaging", err);
    if (rc < 0)
        return rc;
    s->puts[s->put_count++] = address;
    s->result.blobs++;
    s->batch_bytes += blob.info.array.nbytes;
    return H5STORE_OK;
}

int
salvage_keep(salvage *s, uint64_t address, h5store_err *err)
{
    salvage_object *object;
    int rc = salvage_object_at(s, address, &object, err);

    if (rc == H5STORE_OK)
        rc = save_need_batch(s, err);
    if (rc == H5STORE_OK)
        rc = hs_batch_keep(s->batch, &object->id, true, err);
    if (rc < 0)
        return rc;
    object->referenced = true;
    return save_end_step(s, 0, err);
}

/* ---- results ----------------------------------------------------------- */

/* A result as it is read. */
struct save_item {
    hs_ohdr header;
    struct save_link {
        uint64_t index, address;
    } *links;
    size_t count, room;
    uint64_t members[2]; /* addresses of the datasets "output" and "metadata", or UINT64_MAX */
    const uint8_t *bytes[2];
    size_t sizes[2];
    uint8_t *owned[2];
};

static const char *const save_members[2] = {"output", "metadata"};

static void
save_item_release(struct save_item *item)
{
    hs_ohdr_release(&item->header);
    free(item->links);
    free(item->owned[0]);
    free(item->owned[1]);
}

/* "0", "1", "23": a number as this library writes it. */
static bool
save_parse_index(const hs_ohdr_link *link, uint64_t *index)
{
    *index = 0;
    if (link->name_length == 0 || link->name_length > 18 ||
        (link->name[0] == '0' && link->name_length > 1))
        return false;
    for (size_t i = 0; i < link->name_length; i++) {
        if (link->name[i] < '0' || link->name[i] > '9')
            return false;
        *index = 10 * *index + (uint64_t)(link->name[i] - '0');
    }
    return true;
}

static int
save_take_link(const hs_ohdr_link *link, bool sure, void *context, h5store_err *err)
{
    struct save_item *item = context;
    uint64_t index;
    int rc;

    if (!sure) /* of an array the content is checked, but not that this is the one */
        return H5STORE_OK;
    for (int i = 0; i < 2; i++)
        if (link->name_length == strlen(save_members[i]) &&
            memcmp(link->name, save_members[i], link->name_length) == 0) {
            item->members[i] = link->address;
            return H5STORE_OK;
        }
    if (!save_parse_index(link, &index))
        return H5STORE_OK;
    rc = hs_grow(&item->links, item->count, &item->room, sizeof *item->links, "salvaging", err);
    if (rc == H5STORE_OK)
        item->links[item->count++] = (struct save_link){index, link->address};
    return rc;
}

static int
save_compare_links(const void *a, const void *b)
{
    const struct save_link *left = a, *right = b;

    return left->index < right->index ? -1 : left->index > right->index;
}

/* The bytes of a dataset.  *why: what is wrong. */
static int
save_read_dataset(salvage *s, struct save_item *item, int member, const char **why,
                  h5store_err *err)
{
    HS_CLEANUP(hs_ohdr_release) hs_ohdr header = {0};
    int rc = salvage_header(s, item->members[member], &header, NULL);
    uint64_t size = header.data_size, sum;

    *why = "its output or metadata cannot be read";
    if (rc < 0)
        return rc == H5STORE_E_DAMAGED ? H5STORE_OK : hs_fail_nomem(err, 0, "a result");
    if ((header.layout != HS_OHDR_COMPACT && header.layout != HS_OHDR_CONTIGUOUS) ||
        size > SAVE_MEMBER_MOST)
        return H5STORE_OK;
    if (header.layout == HS_OHDR_CONTIGUOUS && size > 0 &&
        (header.data_address > s->size || size > s->size - header.data_address))
        return H5STORE_OK;
    item->owned[member] = malloc((size_t)size + 1);
    if (item->owned[member] == NULL)
        return hs_fail_nomem(err, size, "a result");
    if (header.layout == HS_OHDR_COMPACT)
        memcpy(item->owned[member], header.data, (size_t)size);
    else if (size > 0)
        rc = hs_pager_read(&s->pager, header.data_address, item->owned[member], (size_t)size, err);
    if (rc < 0)
        return rc == H5STORE_E_IO ? H5STORE_OK : rc;
    if (!hs_ohdr_u64(&header, "checksum", &sum) ||
        sum != hs_sum64(item->owned[member], (size_t)size)) {
        *why = "its output or metadata does not have its checksum";
        return H5STORE_OK;
    }
    item->bytes[member] = item->owned[member];
    item->sizes[member] = (size_t)size;
    *why = NULL;
    return H5STORE_OK;
}

/* Read what a result's own header says.  *why: what is wrong with it. */
static int
save_read_item(salvage *s, uint64_t address, struct save_item *item, const char **why,
               h5store_err *err)
{
    h5store_err inner;
    int rc = salvage_header(s, address, &item->header, &inner);

    if (rc == H5STORE_OK)
        rc = salvage_links(s, &item->header, save_take_link, item, &inner);
    if (rc == H5STORE_E_DAMAGED) {
        *why = item->header.bytes == NULL ? "it cannot be read" : "some of its links are lost";
        return H5STORE_OK;
    }
    if (rc < 0) {
        if (err != NULL)
            *err = inner;
        return rc;
    }
    if (item->count > 0)
        qsort(item->links, item->count, sizeof *item->links, save_compare_links);
    for (size_t i = 0; i < item->count; i++)
        if (item->links[i].index != i)
            *why = "some of its links are lost";
    for (int i = 0; rc == H5STORE_OK && i < 2 && *why == NULL; i++) {
        const hs_ohdr_attribute *attribute = hs_ohdr_find(&item->header, save_members[i]);

        if (attribute != NULL) {
            item->bytes[i] = attribute->value;
            item->sizes[i] = attribute->size;
        } else if (item->members[i] != UINT64_MAX) {
            rc = save_read_dataset(s, item, i, why, err);
        } else {
            *why = "it lacks its output or metadata";
        }
    }
    return rc;
}

void
salvage_lose_item(salvage *s, const char *collection, const char *key, const char *why)
{
    HS_CLEANUP(hs_freep) char *path = NULL;

    s->result.lost_items++;
    if (hs_item_path(collection, key, &path, NULL) == H5STORE_OK)
        salvage_find(s, H5STORE_V_ITEM, true, path, "%s", why);
}

/* Are all its arrays whole?  *ids are theirs; free() them.  Notes which links are accounted for. */
static int
save_arrays(salvage *s, const struct save_item *item, bool orphan, h5store_id **ids, char why[128],
            h5store_err *err)
{
    bool whole = true, all = true;
    int rc = H5STORE_OK;

    *ids = malloc((item->count + 1) * sizeof **ids);
    if (*ids == NULL)
        return hs_fail_nomem(err, item->count * sizeof **ids, "a result");
    for (size_t i = 0; i < item->count; i++) {
        char text[H5STORE_ID_TEXT_SIZE] = "?";
        salvage_object *object;

        rc = salvage_blob(s, item->links[i].address, &whole, err);
        if (rc == H5STORE_OK)
            rc = salvage_object_at(s, item->links[i].address, &object, err);
        if (rc < 0)
            return rc;
        if (object->named)
            h5store_id_format(&object->id, text);
        (*ids)[i] = object->id;
        object->used++;
        if (all && !whole) {
            snprintf(why, 128, "its array %zu (%.12s) is lost", i, text);
            all = false;
        } else if (all && orphan && object->used + 1 + object->kept > object->references) {
            /* All links that the array has are those of others: this result was removed. */
            snprintf(why, 128, "it was removed");
            all = false;
        }
    }
    return H5STORE_OK;
}

static bool
save_is_made_up(const char *collection)
{
    size_t length = strlen(SALVAGE_RECOVERED);

    return strncmp(collection, SALVAGE_RECOVERED, length) == 0 &&
           (collection[length] == '\0' || collection[length] == '/');
}

/* When it was stored and used; where that cannot be told, it counts as used now. */
static int
save_times(salvage *s, const char *collection, const char *key, h5store_err *err)
{
    hs_usage_times times;

    if (hs_usage_find(&s->pager, &s->usage, hs_usage_hash(collection, key), &times, NULL) < 0)
        return H5STORE_OK;
    return hs_batch_set_times(s->batch, collection, key, times, err);
}

int
salvage_item(salvage *s, uint64_t address, const char *collection, const char *key, bool orphan,
             h5store_err *err)
{
    HS_CLEANUP(save_item_release) struct save_item item = {.members = {UINT64_MAX, UINT64_MAX}};
    HS_CLEANUP(hs_freep) h5store_id *ids = NULL;
    HS_CLEANUP(hs_freep) char *metadata = NULL;
    h5store_item_spec spec = {.collection = collection, .key = key};
    char lost[128] = "";
    const char *why = NULL;
    int rc;

    if (orphan && salvage_missing_items(s) == 0)
        return H5STORE_OK; /* it was removed */
    rc = save_read_item(s, address, &item, &why, err);
    if (rc == H5STORE_OK && why == NULL)
        rc = save_arrays(s, &item, orphan, &ids, lost, err);
    if (rc < 0)
        return rc;
    if (why == NULL && lost[0] != '\0')
        why = lost;
    if (why != NULL && orphan)
        return H5STORE_OK; /* it was removed, for all that is known */
    if (why != NULL) {
        salvage_lose_item(s, collection, key, why);
        return H5STORE_OK;
    }
    metadata = strndup(item.sizes[1] > 0 ? (const char *)item.bytes[1] : "", item.sizes[1]);
    if (metadata == NULL)
        return hs_fail_nomem(err, item.sizes[1], "a result");
    spec.metadata = metadata;
    spec.output = item.bytes[0];
    spec.output_size = item.sizes[0];
    spec.links = ids;
    spec.link_count = item.count;
    rc = save_need_batch(s, err);
    if (rc == H5STORE_OK)
        rc = hs_batch_set_item(s->batch, &spec, err);
    if (rc == H5STORE_OK)
        rc = save_times(s, collection, key, err);
    for (size_t i = 0; rc == H5STORE_OK && i < item.count; i++) {
        salvage_object *object;

        rc = salvage_object_at(s, item.links[i].address, &object, err);
        if (rc == H5STORE_OK)
            object->referenced = true;
    }
    if (rc < 0)
        return rc;
    s->result.items++;
    if (save_is_made_up(collection)) {
        HS_CLEANUP(hs_freep) char *path = NULL;

        s->result.unnamed_items++;
        if (hs_item_path(collection, key, &path, NULL) == H5STORE_OK)
            salvage_find(s, H5STORE_V_ITEM, true, path,
                         "its name is lost; it was saved under this one");
    }
    return save_end_step(s, item.sizes[0] + item.sizes[1], err);
}

int
salvage_source_text(salvage *s, const char *collection, const hs_ohdr_attribute *text,
                    h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *copy = NULL;
    int rc;

    if (text == NULL || text->count != 1)
        return H5STORE_OK;
    copy = strndup((const char *)text->value, text->size);
    if (copy == NULL)
        return hs_fail_nomem(err, text->size, "a source text");
    rc = save_need_batch(s, err);
    if (rc == H5STORE_OK)
        rc = hs_batch_set_source(s->batch, collection, copy, err);
    return rc < 0 ? rc : save_end_step(s, text->size, err);
}
