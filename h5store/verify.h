/* SPDX-License-Identifier: MIT */
/*
 * Checking a container against FORMAT.md, clause by clause.
 */
#ifndef H5STORE_VERIFY_H
#define H5STORE_VERIFY_H

#include <h5store/blob.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The clauses; the numbers are those of FORMAT.md, "Findings". */
enum h5store_clause {
    H5STORE_V_SUPERBLOCK = 1, /**< superblock or space header not as it must be */
    H5STORE_V_ROOT = 2,       /**< root attributes missing or wrong */
    H5STORE_V_BLOB_META = 3,  /**< a blob's attributes, type, extent contradict each other */
    H5STORE_V_BLOB_SUM = 4,   /**< a blob's bytes do not have its checksum */
    H5STORE_V_BLOB_NAME = 5,  /**< a blob's bytes do not have its SHA-256 */
    H5STORE_V_ORPHAN = 6,     /**< a blob that nothing refers to */
    H5STORE_V_ITEM = 7,       /**< an item lacks its output or cannot be read */
    H5STORE_V_LINK = 8,       /**< a link of an item leads to no blob of /blobs */
    H5STORE_V_OVERLAP = 9,    /**< two extents share bytes, or one lies beyond the file */
    H5STORE_V_TOTALS = 10     /**< a counter differs from what was counted */
};

/** One finding. */
typedef struct h5store_finding {
    enum h5store_clause clause;
    int is_error;       /**< 0: a remark */
    const char *object; /**< path of the object in the file; owned by the library */
    const char *text;   /**< a sentence; owned by the library */
} h5store_finding;

/**
 * Called for each finding, with no lock held; it may call the library, but not
 * close the store.  Anything but 0 ends the check.
 */
typedef int (*h5store_finding_fn)(const h5store_finding *finding, void *context);

/**
 * Called now and then, with no lock held, with the bytes looked at so far, of about how many.
 * Anything but 0 ends the work early, in good order; it is not called again.
 */
typedef int (*h5store_progress_fn)(uint64_t done, uint64_t total, void *context);

/** What to check and whom to tell. */
typedef struct h5store_verify_options {
    h5store_check check;          /**< of the bytes of each blob */
    double fraction;              /**< of the blobs whose bytes are checked: 1 for all */
    h5store_finding_fn finding;   /**< may be NULL */
    h5store_progress_fn progress; /**< may be NULL */
    void *context;                /**< handed to both */
} h5store_verify_options;

/**
 * Check a container while others may be using it.  If somebody commits meanwhile, clauses 9
 * and 10, which compare the whole with its parts, are passed over with a remark.
 *
 * Locks: READ, shared, for moments; none while bytes are read.
 *
 * @param[out] errors  How many findings were errors; written on success.
 * @retval H5STORE_OK         The check came to its end (with 0 or more findings).
 * @retval H5STORE_E_INVALID  A NULL argument, a fraction out of 0..1.
 * @retval others             As for h5store_blob_open.
 * @since 0.2
 */
H5STORE_API int h5store_verify(h5store *store, const h5store_verify_options *options,
                               uint64_t *errors, h5store_err *err) H5STORE_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
