/* SPDX-License-Identifier: MIT */
/*
 * A program that knows the library only by "pkg-config h5store": stores an array in the
 * container named on the command line, which must not exist, and gets it back after opening
 * the container anew.
 */
#include <h5store/h5store.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static h5store_err err;

static void
must(int rc)
{
    if (rc < 0) {
        fprintf(stderr, "link: %s: %s\n", h5store_code_name(rc), err.message);
        exit(EXIT_FAILURE);
    }
}

static h5store *
open_with(const char *path, unsigned flags)
{
    h5store_options options;
    h5store *store;

    h5store_options_init(&options);
    options.flags = flags;
    must(h5store_open(path, &options, &store, &err));
    return store;
}

int
main(int argc, char **argv)
{
    const double values[2][3] = {{0, 1, 2}, {-0.0, 1e300, 1e-300}};
    double back[2][3];
    h5store_array array = {
        .dtype = "'<f8'",
        .rank = 2,
        .shape = {2, 3},
        .nbytes = sizeof values,
        .data = values,
    };
    h5store_blob *blob;
    h5store *store;
    h5store_id id;

    if (argc != 2) {
        fprintf(stderr, "usage: link CONTAINER\n");
        return 2;
    }
    if (strcmp(h5store_version(), H5STORE_VERSION) != 0) {
        fprintf(stderr, "link: headers of %s, library of %s\n", H5STORE_VERSION, h5store_version());
        return EXIT_FAILURE;
    }

    store = open_with(argv[1], H5STORE_CREATE);
    must(h5store_put(store, &array, &id, &err));
    must(h5store_close(store, &err));

    store = open_with(argv[1], H5STORE_READ_ONLY);
    must(h5store_blob_open(store, &id, &blob, &err));
    must(h5store_blob_read(blob, back, sizeof back, H5STORE_CHECK_FULL, &err));
    h5store_blob_close(blob);
    must(h5store_close(store, &err));

    if (memcmp(values, back, sizeof values) != 0) {
        fprintf(stderr, "link: other bytes came back\n");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
