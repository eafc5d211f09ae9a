/* SPDX-License-Identifier: MIT */
/*
 * Failures to order: the Nth allocation or the Nth system call of the library fails.
 *
 * Allocations are wrapped by the linker (-Wl,--wrap), so that those of HDF5 and OpenSSL, which
 * are other libraries, are left alone; system calls by the table of src/os.h.  Only calls of
 * the thread that armed count.
 */
#ifndef INJECT_H
#define INJECT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum inject_kind {
    INJECT_MEMORY,      /* an allocation gives NULL */
    INJECT_EIO,         /* any system call */
    INJECT_ENOSPC,      /* one that may need disk blocks */
    INJECT_EMFILE,      /* one that opens */
    INJECT_INTERRUPTED, /* EINTR from one that may be interrupted */
    INJECT_SHORT,       /* pread and pwrite move half of what was asked */
    INJECT_KINDS
} inject_kind;

/* Fail the @p n th from now on (n > 0); with @p lasting all after it as well. */
void inject_arm(inject_kind kind, uint64_t n, bool lasting);

/* Stop; true when it came to the failure. */
bool inject_disarm(void);

const char *inject_name(inject_kind kind);

/* What failed, for messages. */
const char *inject_what(void);

/* Put the table of system calls in use, once; syncs are not made. */
void inject_install(void);

#endif
