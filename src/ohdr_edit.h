/* SPDX-License-Identifier: MIT */
/*
 * What is added to an object header without HDF5: a link of a group that keeps its links in the
 * header, and references to an object.  HDF5 reads what comes of it, and changes it as its own.
 *
 * The caller holds a write scope in which HDF5 was not used, and opens HDF5 handles anew; @p header
 * was read in it (ohdr.h), and is not what the file says afterwards.
 */
#ifndef HS_OHDR_EDIT_H
#define HS_OHDR_EDIT_H

#include "ohdr.h"

/*
 * In a transaction: add a hard link.  Nobody else has that name in the group.
 * DONE: this header cannot take it, and is as it was.  NOMEM, NO_SPACE, IO.
 */
int hs_ohdr_add_link(hs_pager *pager, hs_space *space, const hs_ohdr *header, const char *name,
                     size_t length, uint64_t address, h5store_err *err);

/* In a transaction: count @p more hard links to an object that has two or more.  The same codes. */
int hs_ohdr_add_references(hs_pager *pager, const hs_ohdr *header, uint32_t more, h5store_err *err);

#endif
