/* SPDX-License-Identifier: MIT */
/*
 * What the files of the container module share: container.c (scopes and commits),
 * container_catch_up.c (what others did), container_find.c (objects by their paths),
 * container_headers.c (commits without HDF5),
 * container_open.c (opening and recovery), container_create.c, container_pin.c,
 * container_rebuild.c (a new tree of metadata), container_usage.c (times of use), checkpoint.c
 * (applying), janitor.c (the thread that does it when all is quiet).  Nobody else includes this.
 */
#ifndef HS_CONTAINER_IMPL_H
#define HS_CONTAINER_IMPL_H

#include "container.h"
#include "groups.h"
#include "lock.h"
#include "vfd.h"
#include <pthread.h>
#include <stdatomic.h>

typedef enum container_scope { SCOPE_NONE, SCOPE_READ, SCOPE_WRITE } container_scope;

typedef struct container_janitor {
    pthread_t thread;
    pthread_cond_t wake;
    bool running;
    bool idle; /* it waits for the next commit */
    bool stop;
    uint64_t last_commit; /* hs_os_now() */
} container_janitor;

/* What was noted since the last commit. */
typedef struct container_use {
    uint64_t hash, time;
} container_use;

typedef struct container_note_list {
    hs_usage_counters counters;
    container_use *uses;
    size_t use_count, use_room;
    hs_usage_miss misses[HS_USAGE_MISSES]; /* a ring */
    uint64_t miss_count;
    uint64_t since; /* hs_os_now() of the first note; 0: none */
} container_note_list;

typedef struct container_notes {
    pthread_mutex_t mutex;        /* innermost: nothing is waited for while it is held */
    container_note_list lists[2]; /* one is noted into, a commit writes the other */
    unsigned current;
} container_notes;

struct hs_container {
    /* Constant after opening. */
    char *path, *log_path;
    pid_t pid;
    bool read_only;
    h5store_durability durability;
    uint64_t timeout; /* nanoseconds */
    int threads;
    hs_stamp stamp;
    hs_probes probes; /* locks itself */
    hs_ahead ahead;   /* the same */

    /* Guarded by the mutex, and across processes by the roles of LOCKING.md. */
    pthread_mutex_t mutex;
    int fd, log_fd;
    hs_locks *locks;    /* NULL: read-only, and there was no log; then the file is frozen */
    unsigned bare_pins; /* that were taken without locks, which the frozen file stands for */
    bool bare_kept;     /* one of them is a child's */
    hs_wal wal;
    hs_pager pager;
    hs_groups *groups;
    hs_space space;
    hs_vfd_host host;
    uint64_t seen_epoch, seen_applied;
    hid_t file;                      /* H5I_INVALID_HID: not open */
    hid_t link_list, group_list;     /* H5I_INVALID_HID, or property lists that live as long */
    hs_vfd_host old_host;            /* of the tree that a rebuild replaces, */
    hid_t old_file;                  /* and that tree; open during a rebuild only */
    atomic_uint_fast64_t generation; /* changes with the HDF5 metadata that this process knows */
    bool handle_stale;               /* another process committed metadata since it was opened */
    uint64_t foreign_eoa;            /* to where another program has allocated space; 0: none has */
    bool foreign;                    /* another program wrote to the file; to be adopted */
    atomic_bool poisoned;
    atomic_bool log_is_named; /* the log's name is on the disk for sure */
    container_scope scope;
    bool scope_hdf5;           /* the scope is inside HDF5 */
    bool scope_headers;        /* it changed object headers without HDF5 */
    atomic_uint headers_pause; /* commits for which that is not tried, */
    unsigned headers_length;   /* how many it was at first, */
    unsigned headers_spared;   /* and commits that did without HDF5 since */
    bool gives_space;          /* the scope may use what the log keeps for removals */
    bool groups_go;            /* it may remove groups */
    char notices[3][H5STORE_MESSAGE_SIZE];
    _Atomic(const char *) notice; /* NULL, or one of these */
    atomic_bool no_holes;         /* the file system has none, and the notice says so */
    atomic_bool unreadable;       /* some of the metadata is, and the notice says so */
    container_janitor janitor;
    hs_usage usage; /* as of the scope, when loaded */
    bool usage_loaded, usage_changed;
    bool notes_due; /* the scope is there to write what was noted */
    container_notes notes;
};

/* container.c, for the others; mutex held unless said otherwise. */
int container_enter(hs_container *c, h5store_err *err); /* takes the mutex, checks the process */
void container_leave(hs_container *c);
/* The space table, and no less than other programs have taken. */
int container_load_space(hs_container *c, h5store_err *err);
int container_sync_log(hs_container *c, h5store_err *err); /* with or without the mutex */
void container_drop_handle(hs_container *c);               /* goes into HDF5 */
void container_close_handle(hs_container *c);              /* inside HDF5 */
void container_close_stale(hs_container *c);               /* the same, outside its transaction */

/* container_catch_up.c */
int container_catch_up(hs_container *c, h5store_err *err); /* WRITE, or READ shared held */
/* A blob comes with a record.  Its place may have been that of pages which came before, and had
 * been applied when it was freed; but where all records are in force again they are held. */
void container_drop_old_pages(hs_container *c, const hs_wal_blob *blob);

/* Caught up: is nothing of the log applied?  So it is with a new one, and again after a power cut
 * or a sync that failed. */
static inline bool
container_all_in_force(const hs_container *c)
{
    return c->wal.header.applied < c->wal.header.start_sequence;
}

/* Make it so; the header is to be written. */
static inline void
container_put_in_force(hs_container *c)
{
    c->wal.header.applied = c->wal.header.start_sequence - 1;
}

/* container_open.c */
int container_create_tree(hs_container *c, hid_t *file, h5store_err *err); /* in a transaction */
int container_create_file(hs_container *c, h5store_err *err);
int container_join_late(hs_container *c, h5store_err *err); /* when there were no locks */

/* container_usage.c */
int container_notes_init(hs_container *c, h5store_err *err);
void container_notes_destroy(hs_container *c);
int container_merge_notes(hs_container *c, h5store_err *err); /* in a write scope */
/* When closing, without the mutex: write the notes without the log, which was empty.  False: not
 * so. */
bool container_write_notes_in_place(hs_container *c);

/* checkpoint.c */
/* The mutex, WRITE, and READ exclusive, with little patience, and caught up; and back. */
int container_lock_alone(hs_container *c, h5store_err *err);
void container_unlock_alone(hs_container *c);
/* Caught up: is the log without records, and the file as we left it? */
bool container_log_is_empty(hs_container *c);
bool container_finds_log_empty(hs_container *c); /* the same after a look, without the mutex */
int container_apply_pages(hs_container *c, hs_page *const *pages, size_t count, h5store_err *err);

/* janitor.c */
void container_janitor_note(hs_container *c); /* a commit happened; mutex held */
void container_janitor_stop(hs_container *c); /* without the mutex */
int container_janitor_init(hs_container *c, h5store_err *err);
void container_janitor_destroy(hs_container *c);

#endif
