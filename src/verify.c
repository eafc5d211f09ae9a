/* SPDX-License-Identifier: MIT */
/*
 * See verify.h.  The clauses are those of FORMAT.md, "Findings".
 *
 * Others may commit between the steps, which are read scopes of their own; an object that is
 * gone at the second look is no finding.  What compares the whole with its parts (overlaps,
 * totals) is only said when the log did not move from beginning to end.
 */
#include "verify.h"
#include "cursor.h"
#include "h5util.h"
#include "os.h"
#include "reader.h"
#include <stdarg.h>
#include <stdio.h>

struct verify_piece {
    hs_extent extent;
    h5store_id id;
    bool is_blob; /* else free or loose space, or the space table */
};

struct verify_state {
    hs_container *container;
    const h5store_verify_options *options;
    uint64_t errors;
    bool stopped; /* the callback said so */
    uint64_t sequence, eoa;
    hs_counters stated, counted;
    struct verify_piece *pieces;
    size_t count, room;
    uint64_t checked, salt;
};

static void verify_find(struct verify_state *v, enum h5store_clause clause, bool is_error,
                        const char *object, const char *format, ...) HS_PRINTF(5, 6);

static void
verify_find(struct verify_state *v, enum h5store_clause clause, bool is_error, const char *object,
            const char *format, ...)
{
    char text[H5STORE_MESSAGE_SIZE];
    h5store_finding finding = {clause, is_error, object, text};
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    v->errors += is_error;
    if (v->options->finding != NULL && v->options->finding(&finding, v->options->context) != 0)
        v->stopped = true;
}

static int
verify_add(struct verify_state *v, struct verify_piece piece, h5store_err *err)
{
    if (v->count == v->room) {
        size_t room = v->room ? v->room * 2 : 256;
        struct verify_piece *pieces = realloc(v->pieces, room * sizeof *pieces);

        if (pieces == NULL)
            return hs_fail_nomem(err, room * sizeof *pieces, "verifying");
        v->pieces = pieces;
        v->room = room;
    }
    v->pieces[v->count++] = piece;
    return H5STORE_OK;
}

/* ---- 1 and 2: the frame ----------------------------------------------- */

/* In a read scope: note the space table, look at the root.  *what: a finding, or NULL. */
static int
verify_look_at_root(struct verify_state *v, hid_t file, const char **what, h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *format = NULL;
    const hs_space *space = hs_container_space(v->container);
    uint64_t version = 0;
    size_t one = 0;
    int rc;

    v->sequence = hs_container_sequence(v->container);
    v->stated = space->counters;
    v->eoa = space->eoa;
    rc = verify_add(v, (struct verify_piece){.extent = space->table}, err);
    for (size_t i = 0; rc == H5STORE_OK && i < space->count; i++)
        rc = verify_add(v, (struct verify_piece){.extent = space->slots[i].extent}, err);
    if (rc < 0)
        return rc;
    *what = NULL;
    rc = hs_h5_read_text(file, "format", 64, &format, err);
    if (rc == H5STORE_E_NOMEM)
        return rc;
    if (rc < 0 || strcmp(format, "h5store") != 0)
        *what = "the attribute 'format' is not 'h5store'";
    else if (hs_h5_read_u64(file, "format_version", &version, 1, &one, NULL) < 0 || version != 1)
        *what = "the attribute 'format_version' is not 1";
    else if (H5Aexists(file, "container_id") <= 0 || H5Aexists(file, "README") <= 0)
        *what = "the attribute 'container_id' or 'README' is missing";
    else if (H5Lexists(file, "/blobs", H5P_DEFAULT) <= 0 ||
             H5Lexists(file, "/items", H5P_DEFAULT) <= 0 ||
             H5Lexists(file, "/kept", H5P_DEFAULT) <= 0)
        *what = "one of the groups 'blobs', 'items', 'kept' is missing";
    return H5STORE_OK;
}

static int
verify_frame(struct verify_state *v, h5store_err *err)
{
    const char *what = NULL;
    hid_t file;
    int rc = hs_container_read_begin(v->container, &file, err);

    if (rc == H5STORE_E_DAMAGED || rc == H5STORE_E_HDF5) {
        h5store_err inner;

        rc = hs_container_read_begin(v->container, &file, &inner);
        if (rc < 0) {
            verify_find(v, H5STORE_V_SUPERBLOCK, true, "/", "%s", inner.message);
            v->stopped = true; /* there is no way in */
            return H5STORE_OK;
        }
    }
    if (rc < 0)
        return rc;
    rc = hs_container_verdict(v->container, verify_look_at_root(v, file, &what, err), err);
    hs_container_read_end(v->container);
    if (rc == H5STORE_OK && what != NULL)
        verify_find(v, H5STORE_V_ROOT, true, "/", "%s", what);
    return rc;
}

/* ---- 3 to 6: blobs ---------------------------------------------------- */

/* Is this one of the blobs whose bytes are checked? */
static bool
verify_is_chosen(const struct verify_state *v, const h5store_id *id)
{
    uint64_t draw = (hs_get_le64(id->bytes) ^ v->salt) * UINT64_C(0x9E3779B97F4A7C15);

    return v->options->check != H5STORE_CHECK_NEVER &&
           (double)(draw >> 11) * 0x1p-53 < v->options->fraction;
}

static int
verify_bytes(struct verify_state *v, const h5store_id *id, const char *path, h5store_err *err)
{
    bool sum_right = true, name_right = true;
    h5store_err inner;
    hs_blob blob;
    int rc = hs_reader_find_blob(v->container, id, &blob, &inner);

    if (rc == H5STORE_E_NOT_FOUND)
        return H5STORE_OK;
    if (rc == H5STORE_OK) {
        rc = hs_reader_check(v->container, &blob, v->options->check, &sum_right, &name_right,
                             &inner);
        v->checked += blob.info.array.nbytes;
        hs_reader_release_blob(v->container, &blob);
    }
    if (rc == H5STORE_E_DAMAGED) {
        verify_find(v, H5STORE_V_BLOB_META, true, path, "%s", inner.message);
        return H5STORE_OK;
    }
    if (rc < 0) {
        if (err != NULL)
            *err = inner;
        return rc;
    }
    if (!sum_right)
        verify_find(v, H5STORE_V_BLOB_SUM, true, path,
                    "its bytes do not have its checksum; store the array again to mend it");
    if (!name_right)
        verify_find(v, H5STORE_V_BLOB_NAME, true, path,
                    "its bytes do not have the SHA-256 that it is named by");
    if (v->options->progress != NULL)
        v->options->progress(v->checked,
                             (uint64_t)((double)v->stated.blob_bytes * v->options->fraction),
                             v->options->context);
    return H5STORE_OK;
}

static int
verify_blob(struct verify_state *v, const hs_blob *blob, h5store_err *err)
{
    char path[HS_BLOB_PATH_SIZE];
    int rc = H5STORE_OK;

    hs_blob_path(&blob->info.id, path);
    v->counted.blobs++;
    v->counted.blob_bytes += blob->info.array.nbytes;
    if (blob->info.links == 0)
        verify_find(v, H5STORE_V_ORPHAN, true, path, "nothing refers to it");
    if (blob->damaged)
        verify_find(v, H5STORE_V_BLOB_SUM, true, path, "a reader found it damaged");
    if (blob->extent.length > 0)
        rc = verify_add(v, (struct verify_piece){blob->extent, blob->info.id, true}, err);
    if (rc == H5STORE_OK && !v->stopped && verify_is_chosen(v, &blob->info.id))
        rc = verify_bytes(v, &blob->info.id, path, err);
    return rc;
}

static int
verify_blobs(struct verify_state *v, h5store_err *err)
{
    hs_blob_walk walk = {.container = v->container};
    h5store_err inner = {0};
    int rc = H5STORE_OK;

    while (rc == H5STORE_OK && !v->stopped) {
        rc = hs_blob_walk_next(&walk, &inner);
        if (rc == H5STORE_E_DAMAGED) {
            char path[HS_BLOB_PATH_SIZE];

            hs_blob_path(&walk.blob.info.id, path);
            verify_find(v, H5STORE_V_BLOB_META, true, path, "%s", inner.message);
            v->counted.blobs++;
            rc = H5STORE_OK;
        } else if (rc == H5STORE_OK) {
            rc = verify_blob(v, &walk.blob, &inner);
        }
    }
    hs_blob_walk_release(&walk);
    if (rc < 0 && err != NULL)
        *err = inner;
    return rc < 0 ? rc : H5STORE_OK;
}

/* ---- 7 and 8: items --------------------------------------------------- */

/* In a read scope: a link whose blob /blobs does not have, or SIZE_MAX.  NOMEM. */
static int
verify_stray_link(hs_container *c, hid_t file, const char *collection, const char *key, size_t *stray,
                  h5store_err *err)
{
    HS_CLEANUP(hs_item_release) hs_item item = {0};
    uint64_t address, named;
    int rc = hs_item_find(file, collection, key, &address, err);

    *stray = SIZE_MAX;
    if (rc == H5STORE_OK)
        rc = hs_item_read(c, file, address, false, &item, err);
    for (size_t i = 0; rc == H5STORE_OK && i < item.link_count; i++) {
        hs_blob_brief brief;

        rc = hs_blob_brief_of(c, item.links[i], &brief, err);
        if (rc == H5STORE_OK)
            rc = hs_blob_find(file, &brief.id, &named, err);
        if (rc < 0)
            *stray = i;
    }
    return rc == H5STORE_E_NOMEM || rc == H5STORE_E_IO ? rc : H5STORE_OK;
}

static int
verify_item(struct verify_state *v, const h5store_item_info *info, h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *path = NULL;
    size_t stray;
    hid_t file;
    int rc = hs_item_path(info->collection, info->key, &path, err);

    if (rc == H5STORE_OK)
        rc = hs_container_read_begin(v->container, &file, err);
    if (rc < 0)
        return rc;
    rc = verify_stray_link(v->container, file, info->collection, info->key, &stray, err);
    rc = hs_container_verdict(v->container, rc, err);
    hs_container_read_end(v->container);
    if (rc < 0)
        return rc;
    v->counted.items++;
    v->counted.links += info->link_count;
    v->counted.linked_bytes += info->linked_bytes;
    if (stray != SIZE_MAX)
        verify_find(v, H5STORE_V_LINK, true, path, "its link %zu leads to no blob of /blobs",
                    stray);
    return H5STORE_OK;
}

static int
verify_items(struct verify_state *v, h5store_err *err)
{
    h5store_item_info info = {0};
    h5store_err inner = {0};
    hs_item_walk *walk;
    int rc = hs_item_walk_new(v->container, NULL, &walk, err);

    if (rc < 0)
        return rc;
    while (rc == H5STORE_OK && !v->stopped) {
        rc = hs_item_walk_next(walk, &info, &inner);
        if (rc == H5STORE_E_DAMAGED) {
            HS_CLEANUP(hs_freep) char *path = NULL;

            if (info.collection != NULL &&
                hs_item_path(info.collection, info.key, &path, NULL) == H5STORE_OK)
                verify_find(v, H5STORE_V_ITEM, true, path, "%s", inner.message);
            else
                verify_find(v, H5STORE_V_ITEM, true, "/items", "%s", inner.message);
            v->counted.items++;
            rc = H5STORE_OK;
        } else if (rc == H5STORE_OK && info.key != NULL) {
            rc = verify_item(v, &info, &inner);
        }
    }
    hs_item_walk_free(walk);
    if (rc < 0 && err != NULL)
        *err = inner;
    return rc < 0 ? rc : H5STORE_OK;
}

/* ---- 9 and 10: the whole ---------------------------------------------- */

static int
verify_compare(const void *a, const void *b)
{
    const struct verify_piece *left = a, *right = b;

    return left->extent.address < right->extent.address
               ? -1
               : left->extent.address > right->extent.address;
}

static void
verify_overlaps(struct verify_state *v)
{
    char path[HS_BLOB_PATH_SIZE];

    if (v->count == 0)
        return;
    qsort(v->pieces, v->count, sizeof *v->pieces, verify_compare);
    for (size_t i = 0; i < v->count && !v->stopped; i++) {
        const struct verify_piece *piece = &v->pieces[i];
        uint64_t end = piece->extent.address + piece->extent.length;

        snprintf(path, sizeof path, "/");
        if (piece->is_blob)
            hs_blob_path(&piece->id, path);
        if (end > v->eoa)
            verify_find(v, H5STORE_V_OVERLAP, true, path, "bytes %llu to %llu lie beyond the end",
                        (unsigned long long)piece->extent.address, (unsigned long long)end);
        if (i + 1 < v->count && end > piece[1].extent.address)
            verify_find(v, H5STORE_V_OVERLAP, true, path,
                        "bytes %llu to %llu are shared with the next extent",
                        (unsigned long long)piece[1].extent.address, (unsigned long long)end);
    }
}

static void
verify_total(struct verify_state *v, const char *name, uint64_t stated, uint64_t counted)
{
    if (stated != counted)
        verify_find(v, H5STORE_V_TOTALS, true, "/", "%s: %llu are stated, %llu were counted", name,
                    (unsigned long long)stated, (unsigned long long)counted);
}

static int
verify_whole(struct verify_state *v, h5store_err *err)
{
    bool moved;
    int rc = hs_container_read_begin(v->container, NULL, err);

    if (rc < 0)
        return rc;
    moved = hs_container_sequence(v->container) != v->sequence;
    hs_container_read_end(v->container);
    if (moved) {
        verify_find(v, H5STORE_V_TOTALS, false, "/",
                    "others committed meanwhile, so that totals and overlaps were not compared");
        return H5STORE_OK;
    }
    verify_overlaps(v);
    verify_total(v, "results", v->stated.items, v->counted.items);
    verify_total(v, "arrays", v->stated.blobs, v->counted.blobs);
    verify_total(v, "links", v->stated.links, v->counted.links);
    verify_total(v, "bytes of arrays", v->stated.blob_bytes, v->counted.blob_bytes);
    verify_total(v, "bytes of linked arrays", v->stated.linked_bytes, v->counted.linked_bytes);
    return H5STORE_OK;
}

int
hs_verify(hs_container *c, const h5store_verify_options *options, uint64_t *errors,
          h5store_err *err)
{
    struct verify_state v = {.container = c, .options = options};
    uint8_t random[16];
    int rc = hs_os_random(random, err);

    if (rc < 0)
        return rc;
    v.salt = hs_get_le64(random);
    rc = verify_frame(&v, err);
    if (rc == H5STORE_OK && !v.stopped)
        rc = verify_blobs(&v, err);
    if (rc == H5STORE_OK && !v.stopped)
        rc = verify_items(&v, err);
    if (rc == H5STORE_OK && !v.stopped)
        rc = verify_whole(&v, err);
    free(v.pieces);
    if (rc == H5STORE_OK)
        *errors = v.errors;
    return rc;
}
