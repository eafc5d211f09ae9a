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
#include "grow.h"
#include "h5util.h"
#include "os.h"
#include "reader.h"
#include <stdarg.h>
#include <stdio.h>

/* Results named for having arrays with errors; of more, the number. */
#define VERIFY_MOST_AFFECTED 1000u

struct verify_piece {
    hs_extent extent;
    h5store_id id;
    bool is_blob; /* else free or loose space, or the space table */
};

struct verify_state {
    hs_container *container;
    const h5store_verify_options *options;
    uint64_t errors;
    bool stopped; /* a callback said so */
    uint64_t sequence, eoa;
    hs_counters stated, counted;
    struct verify_piece *pieces;
    size_t count, room;
    uint64_t checked, salt;
    h5store_id *bad; /* blobs with an error, in order of id; verify_add_bad */
    size_t bad_count, bad_room;
    uint64_t affected;
    bool pages_damaged; /* of those that only we write */
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
    if (!v->stopped && v->options->finding != NULL &&
        v->options->finding(&finding, v->options->context) != 0)
        v->stopped = true;
}

static int
verify_add(struct verify_state *v, struct verify_piece piece, h5store_err *err)
{
    int rc = hs_grow(&v->pieces, v->count, &v->room, sizeof *v->pieces, "verifying", err);

    if (rc == H5STORE_OK)
        v->pieces[v->count++] = piece;
    return rc;
}

/* A blob has an error: the results that have it are named later.  Blobs are walked in order. */
static int
verify_add_bad(struct verify_state *v, const h5store_id *id, h5store_err *err)
{
    int rc;

    if (v->bad_count > 0 && h5store_id_equal(&v->bad[v->bad_count - 1], id))
        return H5STORE_OK;
    rc = hs_grow(&v->bad, v->bad_count, &v->bad_room, sizeof *v->bad, "verifying", err);
    if (rc == H5STORE_OK)
        v->bad[v->bad_count++] = *id;
    return rc;
}

static int
verify_compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(h5store_id));
}

static bool
verify_is_bad(const struct verify_state *v, const h5store_id *id)
{
    return v->bad_count > 0 &&
           bsearch(id, v->bad, v->bad_count, sizeof *v->bad, verify_compare_ids) != NULL;
}

/* ---- 1 and 2: the frame ----------------------------------------------- */

/* In a read scope: the tables of the usage page, and whether the pages that only we write are
 * sound.  *what: a finding, or NULL. */
static int
verify_look_at_usage(struct verify_state *v, const char **what, h5store_err *err)
{
    uint8_t page[HS_PAGE_SIZE];
    hs_usage *usage;
    int rc = hs_container_usage(v->container, &usage, err);

    if (rc == H5STORE_OK && usage->table.length > 0)
        rc = verify_add(v, (struct verify_piece){.extent = usage->table}, err);
    if (rc == H5STORE_OK && usage->misses.length > 0)
        rc = verify_add(v, (struct verify_piece){.extent = usage->misses}, err);
    if (rc == H5STORE_OK)
        rc = hs_pager_read(hs_container_pager(v->container), HS_SPACE_BLOCKS_ADDRESS, page,
                           sizeof page, err);
    v->pages_damaged = rc == H5STORE_OK && !hs_space_are_blocks_sound(page);
    if (v->pages_damaged)
        *what = "the blocks page is damaged, so that free space of metadata is lost; compact "
                "the container";
    return rc;
}

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
    *what = NULL;
    rc = verify_add(v, (struct verify_piece){.extent = space->table}, err);
    for (size_t i = 0; rc == H5STORE_OK && i < space->count; i++)
        rc = verify_add(v, (struct verify_piece){.extent = space->slots[i].extent}, err);
    if (rc == H5STORE_OK)
        rc = verify_look_at_usage(v, what, err);
    if (rc < 0 || *what != NULL)
        return rc;
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
        verify_find(v, v->pages_damaged ? H5STORE_V_SUPERBLOCK : H5STORE_V_ROOT, true, "/", "%s",
                    what);
    return rc;
}

/* ---- 3 to 6: blobs ---------------------------------------------------- */

static void
verify_progress(struct verify_state *v)
{
    uint64_t total = (uint64_t)((double)v->stated.blob_bytes * v->options->fraction);

    total = hs_max(total, v->checked); /* others may add, and what is drawn may be large */
    if (!v->stopped && v->options->progress != NULL &&
        v->options->progress(v->checked, total, v->options->context) != 0)
        v->stopped = true;
}

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
        return verify_add_bad(v, id, err);
    }
    if (rc < 0) {
        if (err != NULL)
            *err = inner;
        return rc;
    }
    if (!sum_right || !name_right) {
        rc = verify_add_bad(v, id, err);
        if (rc < 0)
            return rc;
    }
    if (!sum_right)
        verify_find(v, H5STORE_V_BLOB_SUM, true, path,
                    "its bytes do not have its checksum; store the array again to mend it");
    if (!name_right)
        verify_find(v, H5STORE_V_BLOB_NAME, true, path,
                    "its bytes do not have the SHA-256 that it is named by");
    verify_progress(v);
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
    if (blob->damaged) {
        verify_find(v, H5STORE_V_BLOB_SUM, true, path, "a reader found it damaged");
        rc = verify_add_bad(v, &blob->info.id, err);
    }
    if (rc == H5STORE_OK && blob->extent.length > 0)
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
            rc = verify_add_bad(v, &walk.blob.info.id, &inner);
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

/* What is wrong with an item that the walk understood. */
struct verify_trouble {
    size_t stray;       /* a link whose blob /blobs does not have, or SIZE_MAX */
    size_t bad;         /* the first link to a blob with an error, or SIZE_MAX */
    char text[13];      /* the beginning of its id */
    h5store_err damage; /* of the item itself; code 0: none */
};

/* In a read scope.  NOMEM, IO. */
static int
verify_look_at_item(struct verify_state *v, hid_t file, const h5store_item_info *info,
                    struct verify_trouble *found, h5store_err *err)
{
    HS_CLEANUP(hs_item_release) hs_item item = {0};
    uint64_t address, named;
    int rc = hs_item_find(v->container, info->collection, info->key, &address, err);

    *found = (struct verify_trouble){.stray = SIZE_MAX, .bad = SIZE_MAX};
    if (rc == H5STORE_OK) {
        rc = hs_item_read(v->container, address, v->options->check != H5STORE_CHECK_NEVER, &item,
                          &found->damage);
        if (rc == H5STORE_OK)
            found->damage.code = H5STORE_OK;
        else if (err != NULL)
            *err = found->damage;
    }
    for (size_t i = 0; rc == H5STORE_OK && i < item.link_count; i++) {
        char text[H5STORE_ID_TEXT_SIZE];
        hs_blob_brief brief;
        int link = hs_blob_brief_of(v->container, item.links[i], &brief, err);

        if (link == H5STORE_OK && found->bad == SIZE_MAX && verify_is_bad(v, &brief.id)) {
            found->bad = i;
            h5store_id_format(&brief.id, text);
            snprintf(found->text, sizeof found->text, "%.12s", text);
        }
        if (link == H5STORE_OK)
            link = hs_blob_find(file, &brief.id, &named, err);
        if (link < 0)
            found->stray = i;
        if (link == H5STORE_E_NOMEM || link == H5STORE_E_IO)
            rc = link;
    }
    return rc == H5STORE_E_NOMEM || rc == H5STORE_E_IO ? rc : H5STORE_OK;
}

static int
verify_item(struct verify_state *v, const h5store_item_info *info, h5store_err *err)
{
    HS_CLEANUP(hs_freep) char *path = NULL;
    struct verify_trouble found;
    hid_t file;
    int rc = hs_item_path(info->collection, info->key, &path, err);

    if (rc == H5STORE_OK)
        rc = hs_container_read_begin(v->container, &file, err);
    if (rc < 0)
        return rc;
    rc = verify_look_at_item(v, file, info, &found, err);
    rc = hs_container_verdict(v->container, rc, err);
    hs_container_read_end(v->container);
    if (rc < 0)
        return rc;
    v->counted.items++;
    v->counted.links += info->link_count;
    v->counted.linked_bytes += info->linked_bytes;
    if (found.damage.code == H5STORE_E_DAMAGED)
        verify_find(v, H5STORE_V_ITEM, true, path, "%s", found.damage.message);
    if (found.stray != SIZE_MAX)
        verify_find(v, H5STORE_V_LINK, true, path, "its link %zu leads to no blob of /blobs",
                    found.stray);
    if (found.bad != SIZE_MAX && v->affected++ < VERIFY_MOST_AFFECTED)
        verify_find(v, H5STORE_V_ITEM, false, path,
                    "its array %zu (%s) has an error: it will be computed again", found.bad,
                    found.text);
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
    if (v->affected > VERIFY_MOST_AFFECTED && !v->stopped)
        verify_find(v, H5STORE_V_ITEM, false, "/items",
                    "%llu more have arrays with errors: they will be computed again",
                    (unsigned long long)(v->affected - VERIFY_MOST_AFFECTED));
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
    free(v.bad);
    if (rc == H5STORE_OK)
        *errors = v.errors;
    return rc;
}
