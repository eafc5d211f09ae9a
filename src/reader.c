/* SPDX-License-Identifier: MIT */
/*
 * See reader.h.
 *
 * PIN, THEN ASK.  A read scope does not keep others from committing.  Between looking a
 * blob up and pinning its extent a removal may commit, find no pin, and have the extent
 * punched.  So after pinning the reader asks whether a removal has been committed since
 * its scope began; if so it lets go and looks again.  Whoever removes commits first and
 * tests the pins after; so either the reader sees the commit or the remover sees the pin.
 * A reader that meets the exclusive pin of one who punches looks again, too.
 */
#include "reader.h"
#include "extent.h"
#include "h5util.h"
#include "os.h"

#define READER_PAUSE UINT64_C(100000) /* nanoseconds */

/* ---- finding ---------------------------------------------------------- */

static int
reader_pin(hs_container *c, const hs_blob *blob, h5store_err *err)
{
    return blob->extent.length == 0 ? H5STORE_OK : hs_container_pin(c, blob->extent, err);
}

void
hs_reader_release_blob(hs_container *c, hs_blob *blob)
{
    if (blob->extent.length > 0)
        hs_container_unpin(c, blob->extent);
    hs_blob_release(blob);
}

void
hs_reader_release_item(hs_container *c, hs_item_data *item)
{
    for (size_t i = 0; i < item->blob_count; i++)
        hs_reader_release_blob(c, &item->blobs[i]);
    free(item->blobs);
    free(item->output);
    free(item->metadata);
    memset(item, 0, sizeof *item);
}

/* Describe and pin; on failure there is nothing to release. */
static int
reader_take(hs_container *c, uint64_t address, hs_blob *blob, h5store_err *err)
{
    int rc = hs_blob_describe(c, address, blob, err);

    if (rc < 0)
        return rc;
    rc = reader_pin(c, blob, err);
    if (rc < 0)
        hs_blob_release(blob);
    return rc;
}

static int
reader_take_by_id(hs_container *c, const h5store_id *id, hs_blob *blob, h5store_err *err)
{
    uint64_t address;
    int rc = hs_blob_look(c, id, &address, err);

    if (rc == H5STORE_E_NOT_FOUND)
        return hs_prefix(err, rc, "container '%s'", hs_container_path(c));
    if (rc < 0)
        return rc;
    rc = reader_take(c, address, blob, err);
    if (rc == H5STORE_E_DAMAGED) {
        char path[HS_BLOB_PATH_SIZE];

        hs_blob_path(id, path);
        return hs_prefix(err, rc, "'%s'", path);
    }
    return rc;
}

/*
 * After a look inside a read scope, with what it gave: end the scope.  True when it must be
 * looked again; *rc is then what to give up with, or OK.
 */
static bool
reader_again(hs_container *c, int *rc, uint64_t deadline, h5store_err *err)
{
    bool current = true, taken;

    *rc = hs_container_verdict(c, *rc, err);
    taken = *rc == H5STORE_OK;
    if (taken)
        *rc = hs_container_is_current(c, &current, err);
    hs_container_read_end(c);
    if (taken)
        return !current;
    if (*rc != H5STORE_E_BUSY || hs_os_now() >= deadline)
        return false;
    hs_os_sleep(READER_PAUSE);
    return true;
}

int
hs_reader_find_blob(hs_container *c, const h5store_id *id, hs_blob *blob, h5store_err *err)
{
    uint64_t deadline = hs_container_deadline(c);
    bool again, taken;
    int rc;

    do {
        rc = hs_container_read_begin(c, NULL, err);
        if (rc < 0)
            return rc;
        rc = reader_take_by_id(c, id, blob, err);
        taken = rc == H5STORE_OK;
        again = reader_again(c, &rc, deadline, err);
        if (taken && (again || rc < 0))
            hs_reader_release_blob(c, blob);
    } while (again);
    return rc;
}

/* On failure the item holds what was taken so far. */
static int
reader_take_item(hs_container *c, const char *collection, const char *key, hs_item_data *item,
                 h5store_err *err)
{
    HS_CLEANUP(hs_item_release) hs_item found = {0};
    uint64_t address;
    int rc = hs_item_find(c, collection, key, &address, err);

    if (rc < 0)
        return rc;
    rc = hs_item_read(c, address, true, &found, err);
    if (rc < 0)
        return hs_prefix(err, rc, "item '%s/%s' of container '%s' is damaged", collection, key,
                         hs_container_path(c));
    rc = hs_item_copy_member(&found.output, &item->output, err);
    if (rc == H5STORE_OK)
        rc = hs_item_copy_member(&found.metadata, (uint8_t **)&item->metadata, err);
    if (rc < 0)
        return rc;
    item->output_size = (size_t)found.output.size;
    item->blobs = calloc(found.link_count + 1, sizeof *item->blobs);
    if (item->blobs == NULL)
        return hs_fail_nomem(err, found.link_count * sizeof *item->blobs, "an item");
    for (; item->blob_count < found.link_count; item->blob_count++) {
        rc = reader_take(c, found.links[item->blob_count], &item->blobs[item->blob_count], err);
        if (rc < 0)
            return rc;
    }
    return H5STORE_OK;
}

int
hs_reader_find_item(hs_container *c, const char *collection, const char *key, hs_item_data *item,
                    h5store_err *err)
{
    uint64_t deadline = hs_container_deadline(c);
    bool again;
    int rc;

    do {
        rc = hs_container_read_begin(c, NULL, err);
        if (rc < 0)
            return rc;
        memset(item, 0, sizeof *item);
        rc = reader_take_item(c, collection, key, item, err);
        again = reader_again(c, &rc, deadline, err);
        if (again || rc < 0)
            hs_reader_release_item(c, item);
    } while (again);
    return rc;
}

/* ---- bytes ------------------------------------------------------------ */

static int
reader_unpack(hs_container *c, const hs_blob *blob, void *buffer, hs_tree *tree, bool sha, bool sum,
              h5store_err *err)
{
    hs_packed_file file = hs_packed_file_of(c);
    uint64_t size = blob->info.array.nbytes;
    char text[H5STORE_ID_TEXT_SIZE];
    int rc;

    if (buffer == NULL)
        return hs_packed_digest(file, &blob->packed, blob->extent, size, tree, sha, sum, err);
    rc = hs_packed_read(file, &blob->packed, blob->extent, 0, buffer, size, err);
    if (rc == H5STORE_OK && tree != NULL)
        rc = hs_tree_memory(tree, 0, buffer, size, file.threads, sha, sum, err);
    if (rc != H5STORE_E_DAMAGED)
        return rc;
    h5store_id_format(&blob->info.id, text);
    return hs_prefix(err, rc, "blob %s must be computed again: storing it mends the blob", text);
}

/* Take the digests of a blob's bytes, which go to @p buffer unless that is NULL. */
static int
reader_digest(hs_container *c, const hs_blob *blob, void *buffer, hs_tree *tree, bool sha, bool sum,
              h5store_err *err)
{
    uint64_t size = blob->info.array.nbytes;

    if (hs_is_packed(&blob->packed))
        return reader_unpack(c, blob, buffer, tree, sha, sum, err);
    if (blob->extent.length > 0)
        return buffer != NULL ? hs_extent_read(c, blob->extent, buffer, size, tree, sha, sum, err)
                              : hs_extent_digest(c, blob->extent, size, tree, sha, sum, err);
    if (buffer != NULL)
        memcpy(buffer, blob->inline_bytes, (size_t)size);
    if (tree == NULL || size == 0)
        return H5STORE_OK;
    return hs_tree_piece(tree, 0, blob->inline_bytes, sha, sum, err);
}

static int
reader_compare(const hs_blob *blob, const hs_tree *tree, bool sha, bool *sum_right,
               bool *name_right, h5store_err *err)
{
    h5store_id id;
    int rc = H5STORE_OK;

    *sum_right = hs_tree_sum(tree) == blob->sum;
    *name_right = true;
    if (sha)
        rc = hs_tree_id(tree, &blob->info.array, &id, err);
    if (sha && rc == H5STORE_OK)
        *name_right = h5store_id_equal(&id, &blob->info.id) != 0;
    return rc;
}

/* Note in the container that a blob's bytes are wrong.  What fails here is tried again by
 * the next reader. */
void
hs_reader_mark(hs_container *c, const hs_blob *blob)
{
    hid_t file;

    if (hs_container_is_read_only(c) || hs_container_write_begin(c, &file, NULL) < 0)
        return;
    if (hs_blob_mark(file, &blob->info.id, NULL) < 0)
        hs_container_abort(c);
    else
        (void)hs_container_commit(c, NULL, 0, NULL);
}

int
hs_reader_check(hs_container *c, const hs_blob *blob, h5store_check check, bool *sum_right,
                bool *name_right, h5store_err *err)
{
    HS_CLEANUP(hs_tree_freep) hs_tree *tree = NULL;
    bool sha = check == H5STORE_CHECK_FULL;
    int rc = hs_tree_new(blob->info.array.nbytes, &tree, err);

    if (rc == H5STORE_OK)
        rc = reader_digest(c, blob, NULL, tree, sha, true, err);
    if (rc == H5STORE_E_DAMAGED && hs_is_packed(&blob->packed)) {
        *sum_right = *name_right = false; /* there is nothing to take it of */
        return H5STORE_OK;
    }
    if (rc < 0)
        return rc;
    return reader_compare(blob, tree, sha, sum_right, name_right, err);
}

int
hs_reader_read(hs_container *c, const hs_blob *blob, void *buffer, h5store_check check,
               h5store_err *err)
{
    HS_CLEANUP(hs_tree_freep) hs_tree *tree = NULL;
    char text[H5STORE_ID_TEXT_SIZE];
    bool sum_right, name_right, sha = check == H5STORE_CHECK_FULL;
    int rc = H5STORE_OK;

    if (check != H5STORE_CHECK_NEVER)
        rc = hs_tree_new(blob->info.array.nbytes, &tree, err);
    if (rc == H5STORE_OK)
        rc = reader_digest(c, blob, buffer, tree, sha, true, err);
    if (rc == H5STORE_E_DAMAGED) /* the file is too short */
        hs_reader_mark(c, blob);
    if (rc < 0 || check == H5STORE_CHECK_NEVER)
        return rc;
    rc = reader_compare(blob, tree, sha, &sum_right, &name_right, err);
    if (rc < 0 || (sum_right && name_right))
        return rc;
    hs_reader_mark(c, blob);
    h5store_id_format(&blob->info.id, text);
    return hs_fail(err, H5STORE_E_DAMAGED, 0,
                   "the bytes of blob %s in container '%s' are not those that were put (%s); "
                   "compute the result again: storing it mends the blob",
                   text, hs_container_path(c),
                   sum_right ? "its SHA-256 differs" : "checksum differs");
}
