/* SPDX-License-Identifier: MIT */
/*
 * Living with HDF5: who may be inside it, its silent error stack, its ids.
 *
 * Every HDF5 call of the library is made between hs_h5_enter and hs_h5_leave, which come
 * innermost: nobody waits for a file lock or a mutex between them.
 */
#ifndef HS_H5UTIL_H
#define HS_H5UTIL_H

#include "error.h"
#include "vfd_compat.h"
#include <hdf5.h>

/*
 * Go into HDF5, alone if it is not thread-safe, and silence its automatic error printing for
 * this thread; leave restores what the program had set.  Not recursive.
 */
void hs_h5_enter(void);
void hs_h5_leave(void);

/* Whether HDF5 has a lock of its own, so that threads may go in at the same time. */
bool hs_h5_is_thread_safe(void);

/*
 * Before entering: NOMEM unless there is memory for what HDF5 will want.  It follows null
 * pointers and frees twice when its own allocations fail (1.10 while opening a file, 1.10 and
 * later while copying a property list), so it must not come to that.
 */
int hs_h5_need_memory(h5store_err *err);

/*
 * Turn HDF5's error stack into one message: "WHAT: HDF5 says: <innermost> (<outermost>)".
 * The stack is cleared.  Returns code.
 */
int hs_h5_fail(h5store_err *err, enum h5store_code code, const char *format, ...) HS_PRINTF(3, 4);

/* For HS_CLEANUP; an id below zero is nothing. */
void hs_h5_close_dataset(hid_t *id);
void hs_h5_close_group(hid_t *id);
void hs_h5_close_space(hid_t *id);
void hs_h5_close_type(hid_t *id);
void hs_h5_close_attribute(hid_t *id);
void hs_h5_close_plist(hid_t *id);

/* Small attributes.  Writing creates, or replaces one of the same type. */
int hs_h5_write_text(hid_t object, const char *name, const char *text, h5store_err *err);
int hs_h5_write_u64(hid_t object, const char *name, const uint64_t *values, size_t count,
                    bool scalar, h5store_err *err);

/*
 * Reading trusts nothing: DAMAGED when the attribute is missing, of another type, or
 * longer than @p room allows.  Text is copied with a terminating zero.
 */
int hs_h5_read_text(hid_t object, const char *name, size_t most, char **text, h5store_err *err);
int hs_h5_read_u64(hid_t object, const char *name, uint64_t *values, size_t room, size_t *count,
                   h5store_err *err);

/* A link creation list for UTF-8 names that makes the groups on the way. */
int hs_h5_link_list(hid_t *list, h5store_err *err);

/* A group creation list for groups in whose headers HDF5 keeps HS_LINKS_FOR_HDF5 links. */
int hs_h5_group_list(hid_t *list, h5store_err *err);

/* The address of the object header that a hard link leads to.  NOT_FOUND when there is no such
 * link, or a group on the way is missing. */
uint64_t hs_h5_link_address(const hs_link_info *info);
int hs_h5_find(hid_t place, const char *path, uint64_t *address, h5store_err *err);

/* Does a link exist directly under @p group?  < 0: HDF5 failed. */
int hs_h5_has_link(hid_t group, const char *name, h5store_err *err);

#endif
