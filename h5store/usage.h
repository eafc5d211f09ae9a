/* SPDX-License-Identifier: MIT */
/*
 * What a container is used for: hits and misses, and when items were last used.
 *
 * Notes are kept in memory and written with the next commit of this process, after a minute,
 * by h5store_flush, and on closing; so a hit stays a read.  What a killed process had noted is
 * lost.  A store that is open read-only notes nothing.
 */
#ifndef H5STORE_USAGE_H
#define H5STORE_USAGE_H

#include <h5store/store.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What happened when an item was asked for. */
typedef enum h5store_note_kind {
    H5STORE_NOTE_HIT = 0,  /**< it was read: the item counts as used now */
    H5STORE_NOTE_MISS = 1, /**< it had to be computed */
    H5STORE_NOTE_HEAL = 2  /**< it was there but damaged, and had to be computed again */
} h5store_note_kind;

/**
 * Note what happened.  Takes no lock but a mutex for a moment; once a minute, or after some
 * thousand hits, also WRITE, to write the notes.
 *
 * @param text  Why it missed, for H5STORE_NOTE_MISS; else ignored.  May be NULL.
 * @retval H5STORE_OK         Noted.
 * @retval H5STORE_E_INVALID  A NULL argument or an unknown kind.
 * @retval H5STORE_E_FORKED, H5STORE_E_CLOSED  As for h5store_stat.
 * @since 0.2
 */
H5STORE_API int h5store_note(h5store *store, h5store_note_kind kind, const char *collection,
                             const char *key, const char *text, h5store_err *err);

/** Counters since the container was made. */
typedef struct h5store_usage {
    uint64_t hits, misses, heals;
    uint64_t stored;          /**< arrays that were written */
    uint64_t duplicates;      /**< arrays that were there already when they were put */
    uint64_t duplicate_bytes; /**< bytes of those: what need not be written */
} h5store_usage;

/**
 * The counters, those that this process has not written yet included.
 *
 * @param[out] usage  Written only on success.
 * @retval as h5store_stat.  @since 0.2
 */
H5STORE_API int h5store_get_usage(h5store *store, h5store_usage *usage,
                                  h5store_err *err) H5STORE_MUST_CHECK;

/** One miss. */
#define H5STORE_MAX_MISSES 32
typedef struct h5store_miss {
    uint64_t time;        /**< microseconds since the epoch */
    char collection[112]; /**< the end of it, if it is longer */
    char key[72];
    char text[112]; /**< why, as it was noted */
} h5store_miss;

/**
 * The last misses, newest first; those of other processes as far as they have written them.
 *
 * @param[out] misses  Room for H5STORE_MAX_MISSES.
 * @param[out] count   How many there are.
 * @retval as h5store_stat.  @since 0.2
 */
H5STORE_API int h5store_get_misses(h5store *store, h5store_miss *misses, size_t *count,
                                   h5store_err *err) H5STORE_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
