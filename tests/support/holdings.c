/* SPDX-License-Identifier: MIT */
/*
 * See holdings.h.
 */
#include "holdings.h"
#include "../../src/digest.h"
#include "scratch.h"
#include <hdf5.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lines ------------------------------------------------------------ */

void
holdings_release(holdings *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->lines[i]);
    free(s->lines);
    memset(s, 0, sizeof *s);
}

static void holdings_add(holdings *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void
holdings_add(holdings *s, const char *format, ...)
{
    va_list arguments;
    int length;

    if (s->count == s->room) {
        s->room = s->room ? s->room * 2 : 64;
        s->lines = realloc(s->lines, s->room * sizeof *s->lines);
        PROVE(s->lines != NULL, "no memory");
    }
    va_start(arguments, format);
    length = vasprintf(&s->lines[s->count++], format, arguments);
    va_end(arguments);
    PROVE(length >= 0, "no memory");
}

static int
holdings_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
holdings_sort(holdings *s)
{
    if (s->count > 0)
        qsort(s->lines, s->count, sizeof *s->lines, holdings_compare);
}

bool
holdings_equal(const holdings *a, const holdings *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->lines[i], b->lines[i]) != 0)
            return false;
    return true;
}

bool
holdings_has(const holdings *s, const char *line)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->lines[i], line) == 0)
            return true;
    return false;
}

void
holdings_print(const holdings *s, const char *title)
{
    fprintf(stderr, "  %s (%zu):\n", title, s->count);
    for (size_t i = 0; i < s->count && i < 40; i++)
        fprintf(stderr, "    %s\n", s->lines[i]);
}

void
holdings_save(const holdings *s, const char *path)
{
    FILE *file = fopen(path, "w");

    PROVE(file != NULL, "cannot write %s", path);
    for (size_t i = 0; i < s->count; i++)
        fprintf(file, "%s\n", s->lines[i]);
    PROVE(fclose(file) == 0, "cannot write %s", path);
}

void
holdings_load(holdings *s, const char *path)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t length;

    PROVE(file != NULL, "cannot read %s", path);
    memset(s, 0, sizeof *s);
    while ((length = getline(&line, &room, file)) > 0) {
        line[length - 1] = '\0';
        holdings_add(s, "%s", line);
    }
    free(line);
    fclose(file);
}

/* ---- through the library ---------------------------------------------- */

struct holdings_counts {
    h5store_id *ids; /* one for each link of an item */
    size_t count, room;
};

static void
holdings_count_link(struct holdings_counts *counts, const h5store_id *id)
{
    if (counts->count == counts->room) {
        counts->room = counts->room ? counts->room * 2 : 64;
        counts->ids = realloc(counts->ids, counts->room * sizeof *counts->ids);
        PROVE(counts->ids != NULL, "no memory");
    }
    counts->ids[counts->count++] = *id;
}

static void
holdings_item_line(holdings *s, const char *path, const void *output, size_t size,
                   const char *metadata, const char *links)
{
    holdings_add(s, "item %s output %016llx metadata %s links%s", path,
                 (unsigned long long)hs_sum64(output, size), metadata, links);
}

static int
holdings_read_item(h5store *store, holdings *s, struct holdings_counts *counts,
                   const char *collection, const char *key, h5store_err *err)
{
    char links[1200] = "", path[600], text[H5STORE_ID_TEXT_SIZE];
    h5store_item *item;
    const void *output;
    size_t size;
    int rc = h5store_item_open(store, collection, key, &item, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < h5store_item_link_count(item); i++) {
        const h5store_id *id = &h5store_blob_get_info(h5store_item_blob(item, i))->id;
        size_t used = strlen(links);

        h5store_id_format(id, text);
        snprintf(links + used, sizeof links - used, " %s", text);
        holdings_count_link(counts, id);
    }
    output = h5store_item_output(item, &size);
    snprintf(path, sizeof path, "%s/%s", collection, key);
    holdings_item_line(s, path, output, size, h5store_item_metadata(item), links);
    h5store_item_close(item);
    return 0;
}

static int
holdings_read_source(h5store *store, holdings *s, const char *collection, h5store_err *err)
{
    char *text;
    int rc = h5store_get_source(store, collection, &text, err);

    if (rc == H5STORE_E_NOT_FOUND)
        return 0;
    if (rc == 0)
        holdings_add(s, "source %s %s", collection, text);
    if (rc == 0)
        free(text);
    return rc;
}

static int
holdings_read_items(h5store *store, holdings *s, struct holdings_counts *counts, h5store_err *err)
{
    h5store_item_cursor *cursor;
    h5store_item_info info;
    int rc = h5store_item_cursor_open(store, NULL, &cursor, err);

    if (rc < 0)
        return rc;
    while (rc == 0 && (rc = h5store_item_cursor_next(cursor, &info, err)) == H5STORE_OK)
        rc = info.key != NULL ? holdings_read_item(store, s, counts, info.collection, info.key, err)
                              : holdings_read_source(store, s, info.collection, err);
    h5store_item_cursor_close(cursor);
    return rc < 0 ? rc : 0;
}

int
holdings_read(h5store *store, holdings *s, h5store_err *err)
{
    struct holdings_counts counts = {0};
    h5store_blob_cursor *cursor;
    h5store_blob_info info;
    char text[H5STORE_ID_TEXT_SIZE];
    int rc;

    memset(s, 0, sizeof *s);
    rc = holdings_read_items(store, s, &counts, err);
    if (rc == 0)
        rc = h5store_blob_cursor_open(store, &cursor, err);
    if (rc < 0) {
        free(counts.ids);
        return rc;
    }
    while ((rc = h5store_blob_cursor_next(cursor, &info, err)) == H5STORE_OK) {
        uint64_t linked = 0;

        for (size_t i = 0; i < counts.count; i++)
            linked += (uint64_t)h5store_id_equal(&counts.ids[i], &info.id);
        h5store_id_format(&info.id, text);
        if (info.links > linked)
            holdings_add(s, "kept %s", text);
    }
    h5store_blob_cursor_close(cursor);
    free(counts.ids);
    holdings_sort(s);
    return rc < 0 ? rc : 0;
}

static int
holdings_finding(const h5store_finding *finding, void *context)
{
    if (finding->is_error && !*(const bool *)context)
        fprintf(stderr, "  finding %d: %s: %s\n", (int)finding->clause, finding->object,
                finding->text);
    return 0;
}

int
holdings_verify(h5store *store, bool quiet, uint64_t *errors, h5store_err *err)
{
    h5store_verify_options options = {.check = H5STORE_CHECK_FULL,
                                      .fraction = 1.0,
                                      .finding = holdings_finding,
                                      .context = &quiet};

    return h5store_verify(store, &options, errors, err);
}

/* ---- by HDF5's own driver --------------------------------------------- */

struct holdings_stock {
    holdings *s;
    char *what;
    bool failed;
    char path[600]; /* of the group that is walked, in terms of collections */
};

static herr_t
stock_fail(struct holdings_stock *stock, const char *name, const char *why)
{
    if (!stock->failed)
        snprintf(stock->what, 256, "%.120s: %.100s", name, why);
    stock->failed = true;
    return -1;
}

/* A text attribute or scalar dataset; malloc'ed, NULL when there is none. */
static char *
stock_text(hid_t object, const char *name)
{
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    hid_t type = attribute < 0 ? -1 : H5Aget_type(attribute);
    char *text = type < 0 ? NULL : calloc(1, H5Tget_size(type) + 1);

    if (text != NULL && H5Aread(attribute, type, text) < 0) {
        free(text);
        text = NULL;
    }
    if (type >= 0)
        H5Tclose(type);
    if (attribute >= 0)
        H5Aclose(attribute);
    return text;
}

static int
stock_numbers(hid_t object, const char *name, uint64_t *numbers, size_t room)
{
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    hid_t space = attribute < 0 ? -1 : H5Aget_space(attribute);
    hssize_t count = space < 0 ? -1 : H5Sget_simple_extent_npoints(space);

    if (count > (hssize_t)room || (count > 0 && H5Aread(attribute, H5T_NATIVE_UINT64, numbers) < 0))
        count = -1;
    if (space >= 0)
        H5Sclose(space);
    if (attribute >= 0)
        H5Aclose(attribute);
    return (int)count;
}

/* All bytes of a dataset, as they are in the file; malloc'ed, with a zero behind them. */
static void *
stock_bytes(hid_t dataset, size_t *size)
{
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    size_t count = (size_t)H5Sget_simple_extent_npoints(space);
    char *bytes;

    *size = count * H5Tget_size(type);
    bytes = calloc(1, *size + 1);
    if (bytes != NULL && *size > 0 &&
        H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) < 0) {
        free(bytes);
        bytes = NULL;
    }
    H5Tclose(type);
    H5Sclose(space);
    return bytes;
}

static herr_t
stock_blob(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
    struct holdings_stock *stock = context;
    hid_t dataset = H5Dopen2(group, name, H5P_DEFAULT);
    char *dtype = NULL, *order = NULL, text[H5STORE_ID_TEXT_SIZE] = "";
    h5store_array array = {0};
    h5store_id id;
    size_t size = 0;
    void *bytes = NULL;
    int rank = -1;

    (void)info;
    if (dataset >= 0) {
        dtype = stock_text(dataset, "dtype");
        order = stock_text(dataset, "order");
        rank = stock_numbers(dataset, "shape", array.shape, H5STORE_MAX_RANK);
        bytes = stock_bytes(dataset, &size);
        H5Dclose(dataset);
    }
    if (dtype != NULL && order != NULL && rank >= 0 && bytes != NULL) {
        array.dtype = dtype;
        array.order = order[0] == 'F' ? H5STORE_ORDER_F : H5STORE_ORDER_C;
        array.rank = rank;
        array.nbytes = size;
        array.data = bytes;
        if (hs_digest_array(&array, 1, &id, NULL, NULL) == 0)
            h5store_id_format(&id, text);
    }
    free(dtype);
    free(order);
    free(bytes);
    if (strcmp(text, name) != 0)
        return stock_fail(stock, name,
                          text[0] == '\0' ? "the blob cannot be read"
                                          : "the bytes are not those of the name");
    return 0;
}

static herr_t
stock_fan(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
    struct holdings_stock *stock = context;
    hid_t member = H5Gopen2(group, name, H5P_DEFAULT);
    herr_t rc;

    (void)info;
    if (member < 0)
        return stock_fail(stock, name, "the group of blobs cannot be opened");
    rc = H5Literate(member, H5_INDEX_NAME, H5_ITER_INC, NULL, stock_blob, stock);
    H5Gclose(member);
    return rc < 0 ? stock_fail(stock, name, "the group of blobs cannot be listed") : 0;
}

/* The bytes of a member of an item: an attribute, or a dataset when it is large. */
static void *
stock_member(hid_t item, const char *name, size_t *size)
{
    void *bytes = NULL;
    hid_t member;

    if (H5Aexists(item, name) > 0) {
        hid_t type, space;

        member = H5Aopen(item, name, H5P_DEFAULT);
        type = H5Aget_type(member);
        space = H5Aget_space(member);
        *size = H5Tget_size(type) * (size_t)H5Sget_simple_extent_npoints(space);
        bytes = calloc(*size + 1, 1);
        if (bytes != NULL && *size > 0 && H5Aread(member, type, bytes) < 0) {
            free(bytes);
            bytes = NULL;
        }
        H5Sclose(space);
        H5Tclose(type);
        H5Aclose(member);
        return bytes;
    }
    member = H5Dopen2(item, name, H5P_DEFAULT);
    if (member >= 0) {
        bytes = stock_bytes(member, size);
        H5Dclose(member);
    }
    return bytes;
}

static herr_t
stock_item(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
    struct holdings_stock *stock = context;
    hid_t item = H5Gopen2(group, name, H5P_DEFAULT);
    char links[1200] = "", path[900], number[32];
    void *output = NULL, *metadata = NULL;
    size_t size = 0, ignored;
    hid_t dataset;

    (void)info;
    if (item < 0)
        return stock_fail(stock, name, "the item cannot be opened");
    for (size_t i = 0;; i++) {
        size_t used = strlen(links);
        char *id;

        snprintf(number, sizeof number, "%zu", i);
        if (H5Lexists(item, number, H5P_DEFAULT) <= 0)
            break;
        dataset = H5Dopen2(item, number, H5P_DEFAULT);
        id = dataset < 0 ? NULL : stock_text(dataset, "id");
        if (dataset >= 0)
            H5Dclose(dataset);
        if (id == NULL) {
            H5Gclose(item);
            return stock_fail(stock, name, "a link leads nowhere");
        }
        snprintf(links + used, sizeof links - used, " %s", id);
        free(id);
    }
    output = stock_member(item, "output", &size);
    metadata = stock_member(item, "metadata", &ignored);
    H5Gclose(item);
    if (output == NULL || metadata == NULL) {
        free(output);
        free(metadata);
        return stock_fail(stock, name, "output or metadata cannot be read");
    }
    snprintf(path, sizeof path, "%s/%s", stock->path, name);
    holdings_item_line(stock->s, path, output, size, metadata, links);
    free(output);
    free(metadata);
    return 0;
}

static herr_t
stock_collection(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
    struct holdings_stock *stock = context;
    hid_t member = H5Gopen2(group, name, H5P_DEFAULT);
    size_t length = strlen(stock->path);
    bool is_fan = name[0] == '#';
    herr_t rc;

    (void)info;
    if (member < 0)
        return stock_fail(stock, name, "the collection cannot be opened");
    if (!is_fan) {
        char *source;

        snprintf(stock->path + length, sizeof stock->path - length, "%s%s", length ? "/" : "",
                 name);
        source = H5Aexists(member, "source") > 0 ? stock_text(member, "source") : NULL;
        if (source != NULL)
            holdings_add(stock->s, "source %s %s", stock->path, source);
        free(source);
    }
    rc = H5Literate(member, H5_INDEX_NAME, H5_ITER_INC, NULL,
                    is_fan ? stock_item : stock_collection, stock);
    stock->path[length] = '\0';
    H5Gclose(member);
    return rc < 0 ? stock_fail(stock, name, "the collection cannot be listed") : 0;
}

static herr_t
stock_kept(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
    struct holdings_stock *stock = context;
    hid_t dataset = H5Dopen2(group, name, H5P_DEFAULT);

    (void)info;
    if (dataset < 0)
        return stock_fail(stock, name, "the kept blob cannot be opened");
    H5Dclose(dataset);
    holdings_add(stock->s, "kept %s", name);
    return 0;
}

static void
stock_walk(struct holdings_stock *stock, hid_t file, const char *name, H5L_iterate_t function)
{
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT);

    if (group < 0 || H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, function, stock) < 0)
        stock_fail(stock, name, "the group cannot be walked");
    if (group >= 0)
        H5Gclose(group);
}

int
holdings_read_stock(const char *path, holdings *s, char what[256])
{
    struct holdings_stock stock = {.s = s, .what = what};
    hid_t file;

    memset(s, 0, sizeof *s);
    what[0] = '\0';
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0)
        return 1;
    stock_walk(&stock, file, "/blobs", stock_fan);
    stock_walk(&stock, file, "/items", stock_collection);
    stock_walk(&stock, file, "/kept", stock_kept);
    H5Fclose(file);
    holdings_sort(s);
    return stock.failed ? -1 : 0;
}
