/* SPDX-License-Identifier: MIT */
/*
 * From a path to an object without HDF5.
 *
 * HDF5 takes 30,000 instructions to look for a result, and must open the file anew whenever another
 * process has committed.  Here the parts of the groups on the way (headers, and nodes and
 * blocks of the large ones) are read through the pager, each with its checksum compared, and are
 * kept until a commit changes a page of theirs.  So a reader among writers reads again only what
 * they have changed.
 *
 * Owned by container.c, used with its mutex held, in scopes without HDF5, which may hold changes
 * that the pages do not have yet.
 */
#ifndef HS_GROUPS_H
#define HS_GROUPS_H

#include "ohdr.h"

typedef struct hs_groups hs_groups;

int hs_groups_new(hs_groups **groups, h5store_err *err);
void hs_groups_free(hs_groups *groups); /* NULL is nothing */

/* A page was committed: what was read of it is read again. */
void hs_groups_changed(hs_groups *groups, uint64_t page_number);
void hs_groups_committed(hs_groups *groups, const hs_overlay *pages); /* all of these */

/* Forget everything: the file is not what it was. */
void hs_groups_forget(hs_groups *groups);

/*
 * The address of the object header at an absolute path.
 *
 * NOT_FOUND: the groups were read, and have no such hard link.  DAMAGED: a group on the way cannot
 * be read here; HDF5 may know better, since other programs write groups of other kinds.  IO,
 * NOMEM.
 */
int hs_groups_find(hs_groups *groups, hs_pager *pager, const char *path, uint64_t *address,
                   h5store_err *err);

/* The object header there, a group's or not; kept until the next call. */
int hs_groups_open(hs_groups *groups, hs_pager *pager, const char *path, const hs_ohdr **header,
                   h5store_err *err);

#endif
