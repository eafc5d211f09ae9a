/* SPDX-License-Identifier: MIT */
/*
 * One durable HDF5 file: opening with recovery, read and write scopes, commit, abort,
 * applying the log.  Sole owner of the file's hid_t.  The essay is in container.c.
 *
 * Any number of threads may use one hs_container.  Between a ..._begin that succeeded and
 * its end the calling thread has the container, and all HDF5, to itself, so scopes are for
 * metadata work only: no array byte is hashed, read or written inside (I5).
 */
#ifndef HS_CONTAINER_H
#define HS_CONTAINER_H

#include "ahead.h"
#include "ohdr_edit.h"
#include "ohdr_make.h"
#include "probe.h"
#include "usage.h"
#include "wal.h"
#include <h5store/store.h>
#include <hdf5.h>

typedef struct hs_container hs_container;

/*
 * Open, creating and recovering as the options say; codes as h5store_open.
 *
 * After a power cut (*unclean) the caller must look at the blobs of the log
 * (hs_container_logged_blobs) and then call hs_container_settle; until then no other
 * process gets in.
 */
int hs_container_open(const char *path, const h5store_options *options, hs_container **container,
                      bool *unclean, h5store_err *err);
int hs_container_settle(hs_container *container, h5store_err *err);

/* The blobs that records still in the log brought; array released with free(). */
int hs_container_logged_blobs(hs_container *container, hs_wal_blob **blobs, size_t *count,
                              h5store_err *err);

/* Sync, apply, remove the log when this is the last user, and release. */
int hs_container_close(hs_container *container, h5store_err *err);

/*
 * Sentences for people about what opening met, or "".  Appended to by recovery, and twice at
 * most after opening: a text that was got before that stays as it is.  Add outside scopes.
 */
const char *hs_container_notice(const hs_container *container);
void hs_container_add_notice(hs_container *container, const char *format, ...) HS_PRINTF(2, 3);

/* Holes cannot be punched: put that into the notice, if it is not there.  Outside scopes. */
void hs_container_note_no_holes(hs_container *container);

/* Some of the metadata cannot be read, so that it is not made anew: the same.  And: did it happen
 * since opening? */
void hs_container_note_unreadable(hs_container *container, const h5store_err *cause);
bool hs_container_has_unreadable(const hs_container *container);

/*
 * A read scope: the newest commit, unchanged until hs_container_read_end.
 * BUSY, IO, NOMEM, CHANGED, DAMAGED, FORKED, HDF5.
 */
int hs_container_read_begin(hs_container *container, hid_t *file, h5store_err *err);

/*
 * In any scope: the address of the object header at a path.  A read scope that was begun without
 * HDF5 (@p file NULL) comes to use it only when groups.h cannot read what is there; a write scope
 * without HDF5 goes on without, and the answer is DAMAGED.
 * NOT_FOUND; else as hs_container_read_begin.
 */
int hs_container_find(hs_container *container, const char *path, uint64_t *address,
                      h5store_err *err);

/*
 * In a scope with HDF5: the group at a path, opened at its address, which takes a fifth of the time
 * that HDF5 takes to walk there.  Negative: there is none, or it is not known where it is; go by
 * path.  A write scope that may remove groups must say so before it does.
 */
hid_t hs_container_group(hs_container *container, const char *path);
void hs_container_removes_groups(hs_container *container);

/* In a write scope with HDF5: lists for links (with the groups on the way) and groups that are made
 * in it.  They are the container's. */
int hs_container_link_list(hs_container *container, hid_t *list, h5store_err *err);
int hs_container_group_list(hs_container *container, hid_t *list, h5store_err *err);
void hs_container_read_end(hs_container *container);

/* A scope that was begun without HDF5 uses it, from now to its end.  As hs_container_read_begin. */
int hs_container_use_hdf5(hs_container *container, hid_t *file, h5store_err *err);

/*
 * Inside a read scope: has nothing been removed since it began?  A reader that has pinned
 * an extent must ask, and look again if not: a removal that was committed before the pin
 * was set did not see it.
 */
int hs_container_is_current(hs_container *container, bool *current, h5store_err *err);

/*
 * A write scope.  @p file NULL: only the space table changes, HDF5 is not touched.
 * Ends with hs_container_commit or hs_container_abort, whatever commit returns.
 */
int hs_container_write_begin(hs_container *container, hid_t *file, h5store_err *err);
int hs_container_commit(hs_container *container, const hs_wal_blob *blobs, size_t blob_count,
                        h5store_err *err);
void hs_container_abort(hs_container *container);

/* Inside a write scope: it gives space back, and may use what is kept for that on a full disk. */
void hs_container_gives_space(hs_container *container);

/* Inside a scope: the space table (to be changed in a write scope only). */
hs_space *hs_container_space(hs_container *container);

/* Inside a scope: the pages, for those who read object headers themselves.  They agree with
 * HDF5's caches but for what this scope changed; hs_container_settle_pages brings that in. */
hs_pager *hs_container_pager(hs_container *container);
int hs_container_settle_pages(hs_container *container, h5store_err *err);

/* Inside a scope: the number that the next record will have, that is, in a write scope, the
 * record of this commit. */
uint64_t hs_container_sequence(const hs_container *container);

/* At any time: a number that changes whenever this process learns of changed HDF5 metadata.  When
 * it is in a scope what it was before a look, then that look is still true. */
uint64_t hs_container_generation(const hs_container *container);

/* Inside a scope: records up to this number have been applied to the file. */
uint64_t hs_container_applied(const hs_container *container);

/*
 * Inside a write scope: HDF5's next allocation of exactly @p size raw bytes is to be
 * @p extent.  Asking again whether it was taken: hs_container_placed.
 */
void hs_container_place(hs_container *container, hs_extent extent, uint64_t size);
bool hs_container_placed(hs_container *container);

/* An HDF5 call inside a scope failed: the cause is ours if a callback noted one. */
int hs_container_hdf5_fail(hs_container *container, h5store_err *err, enum h5store_code otherwise,
                           const char *format, ...) HS_PRINTF(4, 5);

/*
 * At the end of a scope, with what was made of it: when a callback noted a failure (a read that
 * the system refused, no memory), HDF5 called it whatever it liked, such as "not found", and
 * somebody believed it.  Returns what it was then, else @p rc.
 */
int hs_container_verdict(const hs_container *container, int rc, h5store_err *err);

/*
 * Pins (I4).  Take inside a scope; release at any time, by any thread, outside scopes.
 * BUSY when the extent is being given back: then what led to it is no longer current.
 */
int hs_container_pin(hs_container *container, hs_extent extent, h5store_err *err);
void hs_container_unpin(hs_container *container, hs_extent extent);

/* Before that is released: a child of a fork has the extent mapped, too.  It stays pinned until
 * the container is closed and the child has ended. */
void hs_container_keep_pin(hs_container *container, hs_extent extent);

/* Pin only the first @p length bytes from now on; nobody else knows of this pin. */
void hs_container_shorten_pin(hs_container *container, hs_extent extent, uint64_t length);

/* Two pins, of its first @p length bytes and of the rest, in place of a pin nobody else knows of.
 * False: there is no memory for that. */
bool hs_container_split_pin(hs_container *container, hs_extent extent, uint64_t length);

/* Exclusive ones are taken and released inside a write scope, or released without one. */
int hs_container_pin_exclusive(hs_container *container, hs_extent extent, bool *granted,
                               h5store_err *err);
/* What is in the way: a pin that overlaps the extent; one of no length when it has gone. */
int hs_container_find_pin(hs_container *container, hs_extent extent, hs_extent *pin,
                          h5store_err *err);
void hs_container_unpin_exclusive(hs_container *container, hs_extent extent, bool in_scope);

/*
 * Bring the file up to date with the log; with @p trim also sync it and give up the
 * log's records.  BUSY when another program has the file open, or a lock is not to be
 * had: nothing is lost then, the log keeps everything, and the file is synced with @p trim.
 */
int hs_container_checkpoint(hs_container *container, bool trim, h5store_err *err);

/* Did a process die in the middle of applying?  Stock programs refuse the file until then. */
bool hs_container_is_half_applied(hs_container *container);

/* Sync array bytes to disk, for commits that must survive a power cut. */
int hs_container_sync_data(hs_container *container, h5store_err *err);

/*
 * A write scope that makes the metadata anew (container_rebuild.c): two trees, the old one to be
 * read and the fresh one to be filled; @p low: as near to the beginning of the file as it can be.
 * @p used: the extents of all arrays of the fresh one.
 */
int hs_container_rebuild_begin(hs_container *container, bool low, hid_t *old, hid_t *fresh,
                               h5store_err *err);
int hs_container_rebuild_tables(hs_container *container, h5store_err *err); /* move them, too */
int hs_container_rebuild_commit(hs_container *container, const hs_extent *used, size_t count,
                                h5store_err *err);
void hs_container_rebuild_abort(hs_container *container);

/* Has nobody else the container open, at this moment? */
bool hs_container_is_alone(hs_container *container);

/* Inside a write scope: object headers were changed past HDF5, whose handle is of no use then. */
void hs_container_changed_headers(hs_container *container);

/*
 * Commits without HDF5 (container_headers.c), in a write scope that was begun without it.
 *
 * Whether that should be tried may be asked at any time: not when HDF5 was needed lately, and has
 * its handle open.  When it turns out (DONE) that there is no way without it, what the scope has
 * changed is dropped, and it goes on with HDF5.
 */
bool hs_container_may_spare_hdf5(const hs_container *container);
int hs_container_resort_to_hdf5(hs_container *container, hid_t *file, h5store_err *err);

/* The header of the group at a path, kept until the next call of any of these.  NOT_FOUND. */
int hs_container_group_header(hs_container *container, const char *path, const hs_ohdr **header,
                              h5store_err *err);

/* As hs_draft_write and the functions of ohdr_edit.h, DONE included. */
int hs_container_make_header(hs_container *container, hs_draft *draft, uint64_t *address,
                             h5store_err *err);
int hs_container_add_link(hs_container *container, const hs_ohdr *group, const char *name,
                          size_t length, uint64_t address, h5store_err *err);
int hs_container_remove_link(hs_container *container, const hs_ohdr *group, const char *name,
                             size_t length, h5store_err *err);
int hs_container_change_references(hs_container *container, uint64_t address, int64_t more,
                                   h5store_err *err);

/* At the end of a write scope with HDF5, which after hs_container_settle_pages is not to change
 * that group again: hs_ohdr_remove_link. */
int hs_container_unlink_settled(hs_container *container, uint64_t group, const char *name,
                                size_t length, h5store_err *err);

/*
 * What the cache is used for (usage.h).  Notes are taken at any time, by any thread, and written
 * with the next commit; hs_container_note says when it is time for hs_container_write_notes.
 */
typedef enum hs_note { HS_NOTE_HIT, HS_NOTE_MISS, HS_NOTE_HEAL } hs_note;
bool hs_container_note(hs_container *container, hs_note note, const char *collection,
                       const char *key, const char *text);
void hs_container_note_puts(hs_container *container, uint64_t stored, uint64_t duplicates,
                            uint64_t duplicate_bytes);
int hs_container_write_notes(hs_container *container, h5store_err *err);
int hs_container_counters(hs_container *container, hs_usage_counters *counters, h5store_err *err);
int hs_container_misses(hs_container *container, hs_usage_miss misses[HS_USAGE_MISSES],
                        size_t *count, h5store_err *err);

/* Inside a scope: the usage page; inside a write scope: an item is stored, or goes. */
int hs_container_usage(hs_container *container, hs_usage **usage, h5store_err *err);
int hs_container_usage_set(hs_container *container, const char *collection, const char *key,
                           h5store_err *err);
/* The same of one that comes from elsewhere; nothing if it is not there. */
int hs_container_usage_set_times(hs_container *container, const char *collection, const char *key,
                                 hs_usage_times times, h5store_err *err);
/* All items go. */
int hs_container_usage_clear(hs_container *container, h5store_err *err);
int hs_container_usage_remove(hs_container *container, const char *collection, const char *key,
                              h5store_err *err);

/* What does not change while it is open. */
const char *hs_container_path(const hs_container *container);
int hs_container_fd(const hs_container *container);
int hs_container_threads(const hs_container *container);
hs_probes *hs_container_probes(hs_container *container);
hs_ahead *hs_container_ahead(hs_container *container);
uint64_t hs_container_deadline(const hs_container *container); /* of a wait that begins now */
bool hs_container_is_read_only(const hs_container *container);
bool hs_container_is_power_safe(const hs_container *container);

/* FORKED in a child of the process that opened it. */
int hs_container_check_process(const hs_container *container, h5store_err *err);

/* Sizes of file and log, for totals. */
int hs_container_sizes(hs_container *container, uint64_t *file_size, uint64_t *disk_bytes,
                       uint64_t *log_bytes, h5store_err *err);

#endif
