/* SPDX-License-Identifier: MIT */
/*
 * All of libh5store in one program: what a cache of function results needs, in C.
 *
 *     cc store.c $(pkg-config --cflags --libs h5store) -o store
 *     ./store /tmp/example.h5
 *
 * It makes a container (the file must not exist yet), stores arrays and results in it,
 * reads them back, looks around, removes, verifies, and leaves the container there for
 * `h5store tree /tmp/example.h5`, h5dump or h5py.  Each step prints what it did and
 * checks it: the program ends with status 1 at the first thing that is not as it should be.
 *
 * The dtypes below say "little-endian" ('<'); on a big-endian machine they would be '>'.
 */
#include <h5store/h5store.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS 512
#define COLUMNS 256
#define STEPS 1000

/* One of these outlives every call, since each call that fails fills it anew. */
static h5store_err err;

static void
die(const char *what)
{
    fprintf(stderr, "store: %s\n", what);
    exit(EXIT_FAILURE);
}

/* For calls of the library: less than zero is failure, and the message says why. */
static int
ok(int rc, const char *what)
{
    if (rc < 0) {
        fprintf(stderr, "store: %s: %s (%s)\n", what, err.message, h5store_code_name(rc));
        exit(EXIT_FAILURE);
    }
    return rc;
}

static void
check(int holds, const char *what)
{
    if (!holds)
        die(what);
}

/* ---- the data ------------------------------------------------------------- */

/* A table of doubles, as a function might return it. */
static double table[ROWS][COLUMNS];

/* A series of records: NumPy's [('step', '<i4'), ('loss', '<f8')], which has no padding. */
#pragma pack(push, 1)
struct sample {
    int32_t step;
    double loss;
};
#pragma pack(pop)
static struct sample series[STEPS];

static void
compute(void)
{
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++)
            table[i][j] = i + j / 1000.0;
    for (int i = 0; i < STEPS; i++)
        series[i] = (struct sample){.step = i, .loss = 1.0 / (i + 1)};
}

/* An array is described, never copied: dtype as NumPy writes it, shape, and where it is. */
static h5store_array
describe_table(void)
{
    return (h5store_array){.dtype = "'<f8'",
                           .order = H5STORE_ORDER_C,
                           .rank = 2,
                           .shape = {ROWS, COLUMNS},
                           .nbytes = sizeof(table),
                           .data = table};
}

static h5store_array
describe_series(void)
{
    return (h5store_array){.dtype = "[('step', '<i4'), ('loss', '<f8')]",
                           .order = H5STORE_ORDER_C,
                           .rank = 1,
                           .shape = {STEPS},
                           .nbytes = sizeof(series),
                           .data = series};
}

/* ---- the steps ------------------------------------------------------------ */

static h5store *
create(const char *path)
{
    h5store_options options;
    h5store *store;

    if (access(path, F_OK) == 0)
        die("the file exists already; give the path of a new one");

    h5store_options_init(&options);
    options.flags = H5STORE_CREATE;
    options.timeout = 10; /* seconds to wait for another process at most */
    ok(h5store_open(path, &options, &store, &err), "create");

    printf("libh5store %s on HDF5 %s made %s\n", h5store_version(), h5store_hdf5_version(),
           h5store_path(store));
    if (h5store_notice(store)[0] != '\0') /* what recovery had to say */
        printf("notice: %s\n", h5store_notice(store));
    return store;
}

/* Arrays by themselves: kept until they are discarded, and never stored twice. */
static h5store_id
put_alone(h5store *store)
{
    h5store_array array = describe_table();
    char text[H5STORE_ID_TEXT_SIZE];
    h5store_id id, again, parsed;

    check(ok(h5store_put(store, &array, &id, &err), "put") == H5STORE_OK, "a new array is new");
    check(ok(h5store_put(store, &array, &again, &err), "put") == H5STORE_EXISTS,
          "the same array again is not stored again");
    check(h5store_id_equal(&id, &again), "equal arrays have one name");

    /* The name follows from the content alone; no container is needed to know it. */
    ok(h5store_hash(&array, 0, &again, &err), "hash");
    check(h5store_id_equal(&id, &again), "hash gives the name that put gave");

    h5store_id_format(&id, text);
    ok(h5store_id_parse(text, &parsed, &err), "parse");
    check(h5store_id_equal(&id, &parsed), "the text of an id is the id");
    printf("put a table of %d x %d doubles: %.12s...\n", ROWS, COLUMNS, text);
    return id;
}

/*
 * Results: a batch is one commit.  The two results below share the table, which is stored
 * once; only the first has the series.  "output" would be a pickle in Python.
 */
static void
store_results(h5store *store)
{
    static const char first_output[] = "table and series";
    static const char second_output[] = "the same table";
    h5store_array array;
    h5store_id links[2];
    h5store_batch *batch;

    ok(h5store_batch_begin(store, &batch, &err), "begin");
    array = describe_table();
    check(ok(h5store_batch_put(batch, &array, &links[0], &err), "put") == H5STORE_EXISTS,
          "the table is there already");
    array = describe_series();
    check(ok(h5store_batch_put(batch, &array, &links[1], &err), "put") == H5STORE_OK,
          "the series is new");

    ok(h5store_batch_set_source(batch, "example/simulate", "double simulate(int seed);", &err),
       "set source");
    ok(h5store_batch_set_item(batch,
                              &(h5store_item_spec){.collection = "example/simulate",
                                                   .key = "seed-1",
                                                   .output = first_output,
                                                   .output_size = sizeof(first_output),
                                                   .metadata = "{\"seed\": 1}",
                                                   .links = links,
                                                   .link_count = 2},
                              &err),
       "set item");
    ok(h5store_batch_set_item(batch,
                              &(h5store_item_spec){.collection = "example/average",
                                                   .key = "all",
                                                   .output = second_output,
                                                   .output_size = sizeof(second_output),
                                                   .links = links,
                                                   .link_count = 1},
                              &err),
       "set item");
    ok(h5store_batch_set_metadata(batch, "example/average", "all", "{\"rows\": 512}", &err),
       "set metadata");

    /* Until now nobody can see any of it. */
    check(h5store_item_has(store, "example/simulate", "seed-1", &err) == H5STORE_E_NOT_FOUND,
          "nothing shows before the commit");
    ok(h5store_batch_commit(batch, &err), "commit");
    ok(h5store_item_has(store, "example/simulate", "seed-1", &err), "has");

    /* A batch that is given up leaves no trace. */
    ok(h5store_batch_begin(store, &batch, &err), "begin");
    ok(h5store_batch_remove(batch, NULL, NULL, &err), "remove");
    h5store_batch_abort(batch);
    ok(h5store_item_has(store, "example/average", "all", &err), "has");
    printf("stored two results that share the table\n");
}

/* A hit: the item, then its arrays, read into our memory or mapped from the file. */
static void
load_result(h5store *store)
{
    struct sample *copy = malloc(sizeof(series));
    const h5store_blob_info *info;
    const void *output, *mapped;
    char *source, *metadata;
    h5store_item *item;
    h5store_blob *blob;
    size_t size;

    check(copy != NULL, "no memory");
    ok(h5store_item_open(store, "example/simulate", "seed-1", &item, &err), "open item");
    output = h5store_item_output(item, &size);
    check(size == sizeof("table and series") && memcmp(output, "table and series", size) == 0,
          "the output is what was set");
    check(strcmp(h5store_item_metadata(item), "{\"seed\": 1}") == 0, "the metadata too");
    check(h5store_item_link_count(item) == 2, "and both links");
    check(h5store_item_blob(item, 2) == NULL, "there is no third");

    blob = h5store_item_blob(item, 0);
    info = h5store_blob_get_info(blob);
    check(info->array.rank == 2 && info->array.shape[0] == ROWS && info->array.shape[1] == COLUMNS,
          "the table kept its shape");
    ok(h5store_blob_map(blob, &mapped, &err), "map"); /* no copy; gone with the item */
    check(memcmp(mapped, table, sizeof(table)) == 0, "the mapped table is the table");

    blob = h5store_item_blob(item, 1);
    info = h5store_blob_get_info(blob);
    check(strcmp(info->array.dtype, "[('step', '<i4'), ('loss', '<f8')]") == 0,
          "the series kept its dtype");
    ok(h5store_blob_read(blob, copy, sizeof(series), H5STORE_CHECK_FULL, &err), "read");
    check(memcmp(copy, series, sizeof(series)) == 0, "the series read is the series");
    h5store_item_close(item);
    free(copy);

    ok(h5store_get_source(store, "example/simulate", &source, &err), "source");
    check(strcmp(source, "double simulate(int seed);") == 0, "the source is what was set");
    free(source);
    ok(h5store_item_get_metadata(store, "example/average", "all", &metadata, &err), "metadata");
    check(strcmp(metadata, "{\"rows\": 512}") == 0, "the metadata was replaced");
    free(metadata);
    printf("loaded a result: %d rows mapped, %d records read and checked\n", ROWS, STEPS);
}

/* A blob that is open stays whole, whatever happens to the container meanwhile. */
static void
open_by_name(h5store *store, const h5store_id *id)
{
    double *copy = malloc(sizeof(table));
    h5store_id unknown = {{0}};
    h5store_blob *blob;

    check(copy != NULL, "no memory");
    ok(h5store_blob_open(store, id, &blob, &err), "open blob");
    ok(h5store_blob_read(blob, copy, sizeof(table), H5STORE_CHECK_FAST, &err), "read");
    check(memcmp(copy, table, sizeof(table)) == 0, "the table read is the table");
    check(h5store_blob_read(blob, copy, 1, H5STORE_CHECK_FAST, &err) == H5STORE_E_INVALID,
          "a buffer of another size is refused");
    h5store_blob_close(blob);
    free(copy);

    check(h5store_blob_open(store, &unknown, &blob, &err) == H5STORE_E_NOT_FOUND,
          "an unknown name is not found");
    printf("asked for an unknown array: %s\n", err.message);
}

static h5store_totals
show_totals(h5store *store)
{
    h5store_totals totals;

    ok(h5store_stat(store, &totals, &err), "stat");
    printf("totals: %llu results, %llu arrays, %llu references; %llu bytes stored for %llu\n",
           (unsigned long long)totals.items, (unsigned long long)totals.blobs,
           (unsigned long long)totals.links, (unsigned long long)totals.blob_bytes,
           (unsigned long long)totals.linked_bytes);
    return totals;
}

static void
walk(h5store *store)
{
    h5store_blob_cursor *blobs;
    h5store_item_cursor *items;
    h5store_blob_info blob;
    h5store_item_info item;
    char text[H5STORE_ID_TEXT_SIZE];
    int blob_count = 0, item_count = 0;

    ok(h5store_blob_cursor_open(store, &blobs, &err), "walk");
    while (ok(h5store_blob_cursor_next(blobs, &blob, &err), "next") != H5STORE_DONE) {
        h5store_id_format(&blob.id, text);
        printf("  array %.12s  %8llu bytes  %llu links  %s\n", text,
               (unsigned long long)blob.array.nbytes, (unsigned long long)blob.links,
               blob.array.dtype);
        blob_count++;
    }
    h5store_blob_cursor_close(blobs);
    check(blob_count == 2, "there are two arrays");

    ok(h5store_item_cursor_open(store, "example", &items, &err), "walk");
    while (ok(h5store_item_cursor_next(items, &item, &err), "next") != H5STORE_DONE) {
        if (item.key == NULL) /* the collection itself */
            continue;
        printf("  result %s/%s  %llu links, %llu bytes, %llu of them its own\n", item.collection,
               item.key, (unsigned long long)item.link_count, (unsigned long long)item.linked_bytes,
               (unsigned long long)item.own_bytes);
        item_count++;
    }
    h5store_item_cursor_close(items);
    check(item_count == 2, "there are two results");
}

/* What nothing refers to any more goes with the last reference, in the same commit. */
static void
remove_result(h5store *store, const h5store_id *id)
{
    h5store_batch *batch;
    h5store_totals totals;

    ok(h5store_batch_begin(store, &batch, &err), "begin");
    ok(h5store_batch_remove(batch, "example/simulate", "seed-1", &err), "remove");
    ok(h5store_batch_commit(batch, &err), "commit");
    check(h5store_item_has(store, "example/simulate", "seed-1", &err) == H5STORE_E_NOT_FOUND,
          "the result is gone");

    ok(h5store_discard(store, id, &err), "discard"); /* the other result keeps the table */
    check(h5store_discard(store, id, &err) == H5STORE_E_NOT_FOUND, "it is not kept any more");
    totals = show_totals(store);
    check(totals.items == 1 && totals.blobs == 1, "one result and its table are left");
    check(totals.blob_bytes == sizeof(table), "the series went with its result");
}

static int
print_finding(const h5store_finding *finding, void *context)
{
    (void)context;
    printf("  %s: %s\n", finding->object, finding->text);
    return 0; /* go on */
}

static void
verify(h5store *store)
{
    h5store_verify_options options = {
        .check = H5STORE_CHECK_FULL, .fraction = 1, .finding = print_finding};
    uint64_t errors;

    ok(h5store_verify(store, &options, &errors, &err), "verify");
    check(errors == 0, "the container is sound");
    printf("verified: no errors\n");
}

/* Another process, or a later day: the container as a reader sees it. */
static void
read_only(const char *path)
{
    h5store_array array = describe_series();
    h5store_options options;
    h5store *store;

    h5store_options_init(&options);
    options.flags = H5STORE_READ_ONLY;
    ok(h5store_open(path, &options, &store, &err), "open read-only");
    check(h5store_is_read_only(store), "it is read-only");
    ok(h5store_item_has(store, "example/average", "all", &err), "has");
    check(h5store_put(store, &array, NULL, &err) == H5STORE_E_READ_ONLY, "a put is refused");
    ok(h5store_close(store, &err), "close");
    printf("read it again, read-only\n");
}

int
main(int argc, char **argv)
{
    h5store_totals totals;
    h5store_id id;
    h5store *store;

    if (argc != 2)
        die("usage: store PATH-OF-A-NEW-CONTAINER");

    compute();
    store = create(argv[1]);
    id = put_alone(store);
    store_results(store);
    load_result(store);
    open_by_name(store, &id);
    totals = show_totals(store);
    check(totals.items == 2 && totals.blobs == 2 && totals.links == 3, "totals are exact");
    check(totals.linked_bytes - totals.blob_bytes == sizeof(table), "one table was saved");
    walk(store);
    remove_result(store, &id);
    verify(store);
    ok(h5store_flush(store, &err), "flush"); /* safe from a power cut from here on */
    ok(h5store_close(store, &err), "close");
    read_only(argv[1]);
    return EXIT_SUCCESS;
}
