/* SPDX-License-Identifier: MIT */
/*
 * What a container holds, as sorted lines of text: one for each item (names, output,
 * metadata, links), each source text and each kept blob.  Read through the library, or by
 * HDF5 with its own driver, which is how other programs see it.  Two containers hold the
 * same when their states are equal.
 */
#ifndef HOLDINGS_H
#define HOLDINGS_H

#include <h5store/h5store.h>
#include <stdbool.h>

typedef struct holdings {
    char **lines;
    size_t count, room;
} holdings;

void holdings_release(holdings *s);

/* Through the library.  The first failure of a call is returned. */
int holdings_read(h5store *store, holdings *s, h5store_err *err);

/*
 * By HDF5's own driver, every array byte read and digested.  Returns 1 when HDF5 refuses to
 * open the file, 0 when all of it could be read, and -1, with *what, when it opened and
 * something in it could not be read or is not what its name says: that must never happen.
 */
int holdings_read_stock(const char *path, holdings *s, char what[256]);

/* Verify with every byte digested, printing the findings; how many are errors. */
int holdings_verify(h5store *store, bool quiet, uint64_t *errors, h5store_err *err);

bool holdings_equal(const holdings *a, const holdings *b);
bool holdings_has(const holdings *s, const char *line);
void holdings_print(const holdings *s, const char *title);

/* To and from a file, to cross from a child to its parent. */
void holdings_save(const holdings *s, const char *path);
void holdings_load(holdings *s, const char *path);

#endif
