/* SPDX-License-Identifier: MIT */
/*
 * What the files of the salvage module share.  salvage.c has the essay and the order of work;
 * salvage_source.c reads the damaged file and searches it; salvage_walk.c follows groups and
 * their links; salvage_orphans.c has what no name leads to; salvage_save.c checks arrays and
 * results and puts them into the target.  Nobody else includes this.
 */
#ifndef HS_SALVAGE_IMPL_H
#define HS_SALVAGE_IMPL_H

#include "batch.h"
#include "dense.h"
#include "grow.h"
#include "salvage.h"

/* What is known of an object header that something leads to.  Blobs have all of it. */
typedef struct salvage_object {
    uint64_t address; /* UINT64_MAX: an empty place of the table */
    h5store_id id;
    uint32_t references; /* hard links, as the header says; 0: it was not read */
    uint32_t used;       /* of these, links of results that were read */
    enum {
        BLOB_UNREAD,
        BLOB_WHOLE, /* it was checked, and is not in the target */
        BLOB_PUT,   /* it is in the batch in hand */
        BLOB_SAVED,
        BLOB_LOST
    } state;
    bool reached;    /* by a name */
    bool named;      /* id is known */
    bool is_blob;    /* it is, or should be, a blob of /blobs */
    bool kept;       /* /kept has it */
    bool referenced; /* a result in the target, or in the batch in hand, has it */
} salvage_object;

typedef enum salvage_kind {
    PLACE_BLOBS, /* /blobs */
    PLACE_BLOB_FAN,
    PLACE_KEPT,
    PLACE_COLLECTION, /* /items, or a collection */
    PLACE_FAN,        /* a group of results */
    PLACE_ITEM
} salvage_kind;

/* A group that is to be walked, or a result that is to be read. */
typedef struct salvage_place {
    salvage_kind kind;
    uint64_t address;
    char *collection; /* owned; NULL: /items itself */
    char *key;        /* owned; of an item */
    bool orphan;      /* no name leads to it: it may have been removed */
} salvage_place;

typedef struct salvage_places {
    salvage_place *list;
    size_t count, room;
} salvage_places;

/* A group some of whose links could not be read. */
typedef struct salvage_gap {
    salvage_place place;
    uint64_t heap, tree;
} salvage_gap;

/* A sound object header that was found by its signature. */
typedef struct salvage_head {
    uint64_t address;
    uint64_t heap; /* of a group with many links, or UINT64_MAX */
    bool has_path; /* it says itself where it was */
    enum { HEAD_GROUP, HEAD_ITEM, HEAD_BLOB, HEAD_ROOT, HEAD_OTHER } kind;
    bool child; /* a group that was found so leads to it */
} salvage_head;

typedef struct salvage {
    const h5store_salvage_options *options;
    h5store_salvaged result;
    bool stopped;         /* a callback said so */
    uint64_t done, total; /* bytes, for the progress */

    /* salvage_source.c */
    hs_pager pager;
    char *log_path;
    uint64_t size; /* of the file, or where the last page of the log ends */
    uint64_t file_size;
    h5store_err unread; /* why some of it could not be read; code 0: all could */
    bool is_ours;       /* something of a container was seen */
    bool counted;       /* the counters are known */
    hs_counters counters;
    hs_usage usage;      /* where the times are, if anywhere */
    salvage_head *heads; /* by address */
    size_t head_count, head_room;
    hs_dense_block *blocks; /* by heap */
    size_t block_count, block_room;

    /* salvage_walk.c */
    salvage_object *objects; /* open addressing by address */
    size_t object_count, object_room;
    salvage_places pending; /* groups to be walked */
    salvage_places unsure;  /* names that are believed when nothing contradicts them */
    salvage_places hollow;  /* unsure names of results that cannot be read */
    salvage_places walked;  /* collections, by name */
    salvage_gap *gaps;
    size_t gap_count, gap_room;
    uint64_t *heaps; /* of the groups that were walked */
    size_t heap_count, heap_room;
    bool has_items;                                  /* the root leads to /items */
    bool items_damaged, blobs_damaged, kept_damaged; /* names below are missing */
    bool again; /* groups are walked a second time: what is known already is no finding */

    /* salvage_save.c */
    hs_container *target;
    hs_batch *batch;
    size_t batch_ops;
    uint64_t batch_bytes;
    uint64_t *puts; /* addresses of the blobs in the batch */
    size_t put_count, put_room;
    uint8_t *buffer;
} salvage;

/* Tell a finding.  Errors are losses. */
void salvage_find(salvage *s, enum h5store_clause clause, bool is_error, const char *object,
                  const char *format, ...) HS_PRINTF(5, 6);
void salvage_progress(salvage *s, uint64_t more);

/* How many results or blobs of the source have not been met yet; UINT64_MAX: not known. */
uint64_t salvage_missing_items(const salvage *s);
uint64_t salvage_missing_blobs(const salvage *s);

/* ---- salvage_source.c -------------------------------------------------- */

int salvage_open(salvage *s, const char *path, h5store_err *err);
void salvage_close(salvage *s);

/* The address of the root group, if the superblock has one. */
int salvage_root(salvage *s, uint64_t *address, h5store_err *err);

/* As hs_ohdr_read, but a failure of the disk is damage, too. */
int salvage_header(salvage *s, uint64_t address, hs_ohdr *header, h5store_err *err);

/* Search the file for heads and blocks, passing over the bytes of blobs that are known. */
int salvage_search(salvage *s, h5store_err *err);
salvage_head *salvage_head_at(const salvage *s, uint64_t address);

/* The blocks of a heap, which lie together. */
const hs_dense_block *salvage_blocks_of(const salvage *s, uint64_t heap, size_t *count);

/* ---- salvage_walk.c ---------------------------------------------------- */

/* The object with this header, added if need be.  Valid until another is added. */
int salvage_object_at(salvage *s, uint64_t address, salvage_object **object, h5store_err *err);

/* Tell all links of a group.  DAMAGED: some could not be read. */
int salvage_links(salvage *s, const hs_ohdr *header, hs_dense_fn tell, void *context,
                  h5store_err *err);

/* Add a place; @p collection and @p key are copied. */
int salvage_place_add(salvage_places *places, salvage_kind kind, uint64_t address,
                      const char *collection, const char *key, bool orphan, h5store_err *err);
void salvage_places_release(salvage_places *places);

/* Walk a group and all below it. */
int salvage_walk(salvage *s, salvage_kind kind, uint64_t address, const char *collection,
                 bool orphan, h5store_err *err);

/* The same for the links of a heap whose group is lost. */
int salvage_walk_heap(salvage *s, salvage_kind kind, uint64_t heap, const char *collection,
                      h5store_err *err);

/* Look again at groups with gaps, with what the search found; then believe, of the names that
 * are not sure, those that nothing contradicts. */
int salvage_fill_gaps(salvage *s, h5store_err *err);
int salvage_believe(salvage *s, h5store_err *err);

/* Was a collection of that name walked? */
bool salvage_has_walked(const salvage *s, const char *collection);

/* Is this name of so many bytes two, or 64, hex digits? */
bool salvage_is_hex(const char *name, size_t length, size_t digits);

/* ---- salvage_orphans.c ------------------------------------------------- */

/* After the search: save what no name leads to, and is missing. */
int salvage_take_orphans(salvage *s, h5store_err *err);

/* ---- salvage_save.c ---------------------------------------------------- */

/* Check a blob and put it into the batch, unless that was done.  *whole tells. */
int salvage_blob(salvage *s, uint64_t address, bool *whole, h5store_err *err);

/* Keep a whole blob by itself in the target. */
int salvage_keep(salvage *s, uint64_t address, h5store_err *err);

/* The collection below which results are saved whose names are lost. */
#define SALVAGE_RECOVERED "recovered"

/* Save a result.  @p orphan: no name leads to it, so that it may have been removed. */
int salvage_item(salvage *s, uint64_t address, const char *collection, const char *key, bool orphan,
                 h5store_err *err);

/* Count a result as lost, and say so. */
void salvage_lose_item(salvage *s, const char *collection, const char *key, const char *why);

int salvage_source_text(salvage *s, const char *collection, const hs_ohdr_attribute *text,
                        h5store_err *err);

/* Commit the batch in hand. */
int salvage_commit(salvage *s, h5store_err *err);

#endif
