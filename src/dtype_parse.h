/* SPDX-License-Identifier: MIT */
/*
 * A NumPy description as a tree.
 *
 * dtype.c is the only caller.  The tree is owned by whoever asked for it; nothing in it
 * points into the text.  Its sizes have been checked: every item size is below 2^31, every
 * field lies inside its record, and no two fields of a record have the same name.
 */
#ifndef HS_DTYPE_PARSE_H
#define HS_DTYPE_PARSE_H

#include "error.h"
#include <h5store/array.h>

#define HS_DTYPE_MAX_DEPTH 32 /* types inside one another */

enum hs_dtype_kind {
    HS_DTYPE_BOOL,
    HS_DTYPE_INT,
    HS_DTYPE_UINT,
    HS_DTYPE_FLOAT,
    HS_DTYPE_COMPLEX,
    HS_DTYPE_TIME,  /* datetime64 and timedelta64, with or without a unit */
    HS_DTYPE_BYTES, /* 'S' */
    HS_DTYPE_TEXT,  /* 'U' */
    HS_DTYPE_VOID,  /* 'V' */
    HS_DTYPE_RECORD,
    HS_DTYPE_SUBARRAY
};

typedef struct hs_dtype hs_dtype;

typedef struct hs_dtype_field {
    struct hs_dtype_field *next;
    hs_dtype *type;
    char *name;         /* UTF-8, a surrogate as three bytes */
    size_t name_length; /* a name may hold a zero byte */
    bool plain_name;    /* can be a C string in UTF-8: not empty, no zero byte, no surrogate */
    bool padding;       /* nameless void of the list form: no field at all */
    size_t offset;
} hs_dtype_field;

struct hs_dtype {
    enum hs_dtype_kind kind;
    bool big_endian;
    size_t itemsize;
    char code[24]; /* of a plain type: its text, such as "<M8[25s]" */

    hs_dtype_field *fields; /* of a record, in the order of the description */

    hs_dtype *base; /* of a subarray */
    int rank;
    uint32_t dims[H5STORE_MAX_RANK];
};

/* INVALID, UNSUPPORTED (pointers, or beyond the bounds above), NOMEM. */
int hs_dtype_parse(const char *descr, hs_dtype **type, h5store_err *err);

void hs_dtype_free(hs_dtype *type); /* NULL is nothing */
void hs_dtype_freep(hs_dtype **type);

#endif
