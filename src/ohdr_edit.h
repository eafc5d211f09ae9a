/* SPDX-License-Identifier: MIT */
/*
 * What is changed of an object header without HDF5: the links of a group that keeps them in the
 * header, and the number of references to an object.  HDF5 reads what comes of it, and changes it
 * as its own.
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

/* In a transaction: take a hard link of the header away.  DONE: there is none of that name. */
int hs_ohdr_remove_link(hs_pager *pager, const hs_ohdr *header, const char *name, size_t length,
                        h5store_err *err);

/* In a transaction: count @p more hard links to an object, or fewer, but at least one.  DONE also
 * if the header does not say how many there are, which means one. */
int hs_ohdr_change_references(hs_pager *pager, const hs_ohdr *header, int64_t more,
                              h5store_err *err);

#endif
