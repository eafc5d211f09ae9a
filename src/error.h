/* SPDX-License-Identifier: MIT */
/*
 * The only maker of error codes.  Upper layers pass on what a lower one said, and
 * may put words before it once, at a module border.
 */
#ifndef HS_ERROR_H
#define HS_ERROR_H

#include "common.h"
#include <h5store/error.h>

/*
 * Fill @p err (which may be NULL) and return @p code.  The message is a sentence
 * that names file, object, cause and what to do.  When @p os_errno is not 0 its
 * text is appended after a colon.
 */
int hs_fail(h5store_err *err, enum h5store_code code, int os_errno, const char *format, ...)
    HS_PRINTF(4, 5);

/*
 * As hs_fail for a system call that failed: the code follows from @p os_errno
 * (ENOSPC, EDQUOT, EFBIG: NO_SPACE; ENOMEM: NOMEM; EROFS, EACCES, EPERM: READ_ONLY;
 * ENOENT: NOT_FOUND; anything else: IO).
 */
int hs_fail_os(h5store_err *err, int os_errno, const char *format, ...) HS_PRINTF(3, 4);

/*
 * Put words and ": " before the message of a failure.  Returns @p code, which is the one
 * of the failure: handed over because @p err may be NULL.
 */
int hs_prefix(h5store_err *err, int code, const char *format, ...) HS_PRINTF(3, 4);

/* The one for memory: "out of memory (N bytes for WHAT)". */
int hs_fail_nomem(h5store_err *err, uint64_t bytes, const char *what);

#endif
