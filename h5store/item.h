/* SPDX-License-Identifier: MIT */
/*
 * Items: the results of cached calls, and what they refer to.
 *
 * An item has a collection (a path such as "mymodule/myfunction"; components are
 * any non-empty bytes without '/' and NUL) and a key (one such component, by
 * custom the hash of the arguments).  It holds an output (any bytes, by custom a
 * pickle), metadata (a text, by custom JSON), and numbered links 0, 1, 2 ... to
 * blobs.  A collection may hold a source text.
 *
 * A blob lives as long as something refers to it: an item, or h5store_put.
 */
#ifndef H5STORE_ITEM_H
#define H5STORE_ITEM_H

#include <h5store/blob.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Longest collection path and longest key, in bytes without the zero. */
#define H5STORE_MAX_COLLECTION 4096
#define H5STORE_MAX_KEY 255

/* ---- writing ---------------------------------------------------------- */

/**
 * Changes that are committed together, or not at all.  Opaque; for one thread at
 * a time.  A batch takes no lock before h5store_batch_commit but for the moments
 * in which h5store_batch_put reserves space.
 */
typedef struct h5store_batch h5store_batch;

/**
 * Begin a batch.
 *
 * @param[out] batch  End it with h5store_batch_commit or h5store_batch_abort.
 * @retval H5STORE_OK           Begun.
 * @retval H5STORE_E_INVALID    A NULL argument.
 * @retval H5STORE_E_READ_ONLY  The store is open read-only.
 * @retval H5STORE_E_NOMEM      Memory ran out.
 * @retval H5STORE_E_FORKED, H5STORE_E_CLOSED  As for h5store_stat.
 * @since 0.2
 */
H5STORE_API int h5store_batch_begin(h5store *store, h5store_batch **batch,
                                    h5store_err *err) H5STORE_MUST_CHECK;

/**
 * Store an array as part of a batch.  Its bytes are hashed and written now, and
 * may be released or changed by the caller as soon as this returns; nobody sees
 * the blob before the commit, and it stays only if an item of the batch (or of
 * somebody else) links to it.
 *
 * A blob that a reader found damaged is written again.
 *
 * @param[out] id  Written only on success.
 * @retval H5STORE_OK      Written.
 * @retval H5STORE_EXISTS  The container, or this batch, holds it already.
 * @retval others          As for h5store_put; the batch is still usable.
 * @since 0.2
 */
H5STORE_API int h5store_batch_put(h5store_batch *batch, const h5store_array *array, h5store_id *id,
                                  h5store_err *err) H5STORE_MUST_CHECK;

/**
 * Store several arrays as part of a batch, as h5store_batch_put does one by one.
 *
 * Arrays of up to 4 MiB are hashed and written side by side by the threads of the store, and the
 * space for up to 64 of them is reserved in one commit.  Larger ones, and those that are to be
 * compressed, are put one after another.
 *
 * @param      arrays  @p count descriptions; borrowed, not kept after return.
 * @param[out] ids     @p count names, in the order of the arrays; on failure, some of them.
 * @retval H5STORE_OK  All are in the container or this batch.
 * @retval others      As for h5store_put, of the first array that failed; arrays before it
 *                     may have been put, and the batch is still usable.
 * @since 0.2
 */
H5STORE_API int h5store_batch_put_all(h5store_batch *batch, const h5store_array *arrays,
                                      size_t count, h5store_id *ids,
                                      h5store_err *err) H5STORE_MUST_CHECK;

/**
 * Compress arrays that are put into a batch from now on.
 *
 * They are stored as chunks that went through HDF5's filters shuffle and deflate, which every
 * HDF5 program reads; by several threads, past HDF5's own filters.  An array that does not get
 * smaller by a tenth, or is small, is stored as it is.  Names do not change, so an array that
 * the container has, in either form, is not stored again.
 *
 * @param level  1 (fast) to 9 (small); 0: no more, as at the beginning.
 * @retval H5STORE_OK         Done.
 * @retval H5STORE_E_INVALID  batch is NULL, or the level is out of range.
 * @since 0.2
 */
H5STORE_API int h5store_batch_compress(h5store_batch *batch, int level,
                                       h5store_err *err) H5STORE_MUST_CHECK;

/** One item to be stored. */
typedef struct h5store_item_spec {
    const char *collection; /**< zero-terminated */
    const char *key;        /**< zero-terminated */
    const void *output;     /**< may be NULL when output_size is 0 */
    size_t output_size;
    const char *metadata;    /**< UTF-8, zero-terminated; NULL: "{}" */
    const h5store_id *links; /**< blobs of this batch or of the container, in order;
                                  the same one may occur more than once */
    size_t link_count;
} h5store_item_spec;

/**
 * Set an item, replacing one of that name.  Everything is copied.  Blobs that the
 * replaced one alone referred to go in the same commit.
 *
 * @retval H5STORE_OK         Noted.
 * @retval H5STORE_E_INVALID  A NULL argument, or a name that is empty, too long, or has
 *                            an empty component.
 * @retval H5STORE_E_NOMEM    Memory ran out; the batch is as before.
 * @since 0.2
 */
H5STORE_API int h5store_batch_set_item(h5store_batch *batch, const h5store_item_spec *spec,
                                       h5store_err *err) H5STORE_MUST_CHECK;

/**
 * Replace the metadata of an item that exists when the batch is committed (or
 * comes into being in it); without such an item nothing happens.
 * @retval as h5store_batch_set_item.  @since 0.2
 */
H5STORE_API int h5store_batch_set_metadata(h5store_batch *batch, const char *collection,
                                           const char *key, const char *metadata,
                                           h5store_err *err) H5STORE_MUST_CHECK;

/**
 * Say when an item was stored and last used, for one that comes from elsewhere: limits remove
 * first what was not used for longest.  Without it an item counts as stored and used when it is
 * committed; without an item nothing happens.
 *
 * @param stored  In microseconds since the epoch.  0: as @p used.
 * @param used    The same; not before @p stored.  What lies ahead counts as now; if both are 0
 *                nothing happens.
 * @retval as h5store_batch_set_item.  @since 0.2
 */
H5STORE_API int h5store_batch_set_times(h5store_batch *batch, const char *collection,
                                        const char *key, uint64_t stored, uint64_t used,
                                        h5store_err *err) H5STORE_MUST_CHECK;

/**
 * Set the source text of a collection, creating the collection.
 * @param text  UTF-8; NULL only creates the collection.
 * @retval as h5store_batch_set_item.  @since 0.2
 */
H5STORE_API int h5store_batch_set_source(h5store_batch *batch, const char *collection,
                                         const char *text, h5store_err *err) H5STORE_MUST_CHECK;

/**
 * Remove an item (key given), a collection with all below it (key NULL), or
 * everything (both NULL).  What is not there is no error.
 * @retval as h5store_batch_set_item.  @since 0.2
 */
H5STORE_API int h5store_batch_remove(h5store_batch *batch, const char *collection, const char *key,
                                     h5store_err *err) H5STORE_MUST_CHECK;

/**
 * Make all of it so, in the order it was given, and end the batch.
 *
 * On success everything is visible to every process.  On failure nothing has
 * changed.  The batch is released in either case.  A blob that was found present
 * and has been removed meanwhile is put back.
 *
 * Locks: WRITE, for the time of the metadata work.
 * Crash: killed inside this call, the container is as before or as after.
 *
 * @retval H5STORE_OK           Committed.
 * @retval H5STORE_E_NOT_FOUND  An item links to a blob that is neither in the batch
 *                              nor in the container.
 * @retval others               As for h5store_put.
 * @since 0.2
 */
H5STORE_API int h5store_batch_commit(h5store_batch *batch, h5store_err *err) H5STORE_MUST_CHECK;

/** Forget a batch; its reserved space comes back.  NULL is allowed.  @since 0.2 */
H5STORE_API void h5store_batch_abort(h5store_batch *batch);

/* ---- reading ---------------------------------------------------------- */

/** An item that was read, with its blobs pinned.  For one thread at a time. */
typedef struct h5store_item h5store_item;

/**
 * Is there such an item, with all its blobs?  Locks: READ, shared, for a moment.
 *
 * @retval H5STORE_OK           Yes.
 * @retval H5STORE_E_NOT_FOUND  No.
 * @retval others               As for h5store_blob_open.
 * @since 0.2
 */
H5STORE_API int h5store_item_has(h5store *store, const char *collection, const char *key,
                                 h5store_err *err) H5STORE_MUST_CHECK;

/**
 * Read an item: its output and metadata, and its blobs looked up and pinned, all
 * as of one commit.  Locks: READ, shared, for a moment.
 *
 * @param[out] item  Release with h5store_item_close.
 * @retval H5STORE_OK           Read.
 * @retval H5STORE_E_NOT_FOUND  No such item.
 * @retval others               As for h5store_blob_open.
 * @since 0.2
 */
H5STORE_API int h5store_item_open(h5store *store, const char *collection, const char *key,
                                  h5store_item **item, h5store_err *err) H5STORE_MUST_CHECK;

/** The output; valid until the item is closed.  @since 0.2 */
H5STORE_API const void *h5store_item_output(const h5store_item *item, size_t *size);

/** The metadata, zero-terminated; valid until the item is closed.  @since 0.2 */
H5STORE_API const char *h5store_item_metadata(const h5store_item *item);

/** How many blobs the item links to.  @since 0.2 */
H5STORE_API size_t h5store_item_link_count(const h5store_item *item);

/**
 * The blob behind link @p index, or NULL when there is no such link.  Owned by the
 * item: do not close it.  @since 0.2
 */
H5STORE_API h5store_blob *h5store_item_blob(const h5store_item *item, size_t index);

/** Release an item, its blobs and their pins.  NULL is allowed.  @since 0.2 */
H5STORE_API void h5store_item_close(h5store_item *item);

/**
 * Read only the metadata of an item.
 *
 * @param[out] metadata  Zero-terminated; release with free().
 * @retval as h5store_item_open.  @since 0.2
 */
H5STORE_API int h5store_item_get_metadata(h5store *store, const char *collection, const char *key,
                                          char **metadata, h5store_err *err) H5STORE_MUST_CHECK;

/**
 * Read the source text of a collection.
 *
 * @param[out] text  Zero-terminated; release with free().
 * @retval H5STORE_E_NOT_FOUND  No such collection, or it has no source text.
 * @retval others               As for h5store_item_open.
 * @since 0.2
 */
H5STORE_API int h5store_get_source(h5store *store, const char *collection, char **text,
                                   h5store_err *err) H5STORE_MUST_CHECK;

/** What a walk over the items tells of one. */
typedef struct h5store_item_info {
    const char *collection; /**< owned by the cursor */
    const char *key;        /**< owned by the cursor; NULL: a collection itself */
    uint64_t output_size;   /**< bytes of the output */
    uint64_t metadata_size; /**< bytes of the metadata */
    uint64_t link_count;    /**< links to blobs */
    uint64_t linked_bytes;  /**< bytes of the linked blobs */
    uint64_t own_bytes;     /**< of these, bytes of blobs that nothing else links to */
    uint64_t stored;        /**< when it was stored, in microseconds since the epoch; 0: not
                                 known */
    uint64_t used;          /**< when it was stored or last used (h5store_note); 0: unknown */
} h5store_item_info;

/** A walk over collections and items.  For one thread at a time. */
typedef struct h5store_item_cursor h5store_item_cursor;

/**
 * Begin a walk over a collection and all below it (NULL: over everything).  Each
 * collection is told once before its items.  Holds no lock between calls.
 * @retval as h5store_blob_cursor_open.  @since 0.2
 */
H5STORE_API int h5store_item_cursor_open(h5store *store, const char *collection,
                                         h5store_item_cursor **cursor,
                                         h5store_err *err) H5STORE_MUST_CHECK;

/**
 * The next collection or item.
 * @param[out] info  Its pointers are valid until the next call.
 * @retval H5STORE_OK    One.
 * @retval H5STORE_DONE  There are no more.
 * @retval H5STORE_E_DAMAGED  This one cannot be understood: its names are set, and the
 *                            next call goes on behind it.
 * @retval others        As for h5store_blob_open.
 * @since 0.2
 */
H5STORE_API int h5store_item_cursor_next(h5store_item_cursor *cursor, h5store_item_info *info,
                                         h5store_err *err) H5STORE_MUST_CHECK;

/** End a walk.  NULL is allowed.  @since 0.2 */
H5STORE_API void h5store_item_cursor_close(h5store_item_cursor *cursor);

#ifdef __cplusplus
}
#endif
#endif
