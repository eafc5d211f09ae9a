/* SPDX-License-Identifier: MIT */
/*
 * What can go wrong, and how a caller is told.
 *
 * Every fallible function of the library returns an int and takes a pointer to
 * an h5store_err as its last argument.  Zero or more is success (positive values
 * are remarks, such as H5STORE_EXISTS), less than zero is one of the codes below.
 * On failure the h5store_err holds the same code, the system's errno where the
 * system was the cause, and one sentence that names the file, the object, the
 * cause and what to do next.  The pointer may be NULL when the code is enough.
 * The library never prints, never exits, and leaves errno unspecified.
 */
#ifndef H5STORE_ERROR_H
#define H5STORE_ERROR_H

#include <h5store/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Result codes.  The numbers are part of the ABI and never change. */
enum h5store_code {
    /** Success. */
    H5STORE_OK = 0,
    /** Success: identical bytes were stored already, nothing was written. */
    H5STORE_EXISTS = 1,
    /** Success: an iteration has come to its end. */
    H5STORE_DONE = 2,

    /** An argument is NULL, out of range or contradictory.  Mend the call. */
    H5STORE_E_INVALID = -1,
    /** No such blob, item, or (when not creating) container. */
    H5STORE_E_NOT_FOUND = -2,
    /** Memory ran out.  Nothing was changed; retry when there is more. */
    H5STORE_E_NOMEM = -3,
    /** The system refused a call; os_errno says which way. */
    H5STORE_E_IO = -4,
    /** Disk or quota is full.  Nothing was changed; free space and retry. */
    H5STORE_E_NO_SPACE = -5,
    /** Another process or thread kept a lock past the timeout.  Retry is safe. */
    H5STORE_E_BUSY = -6,
    /** The file is not an HDF5 file, or not one of ours. */
    H5STORE_E_NOT_A_STORE = -7,
    /** The container was written by a newer version.  It is not touched. */
    H5STORE_E_VERSION = -8,
    /** Stored bytes or metadata are not what was written. */
    H5STORE_E_DAMAGED = -9,
    /** The file was deleted, replaced, or written by another program. */
    H5STORE_E_CHANGED = -10,
    /** The container or its file system does not allow writing. */
    H5STORE_E_READ_ONLY = -11,
    /** The handle was opened before a fork and is used in the child: reopen. */
    H5STORE_E_FORKED = -12,
    /** The handle is being closed by another thread. */
    H5STORE_E_CLOSED = -13,
    /** A type that HDF5 cannot hold, or a file system without working locks. */
    H5STORE_E_UNSUPPORTED = -14,
    /** An earlier sync failed, so nothing more is promised: close and reopen. */
    H5STORE_E_POISONED = -15,
    /** The HDF5 library failed for a reason none of the above describes. */
    H5STORE_E_HDF5 = -16
};

/** Longest message, with its terminating zero. */
#define H5STORE_MESSAGE_SIZE 512

/**
 * One failure.  Filled only when a call returns less than zero; owned by the
 * caller, needs no initialisation and no release.
 */
typedef struct h5store_err {
    int code;                           /**< the value that was returned */
    int os_errno;                       /**< errno of the system call, or 0 */
    char message[H5STORE_MESSAGE_SIZE]; /**< UTF-8, one sentence or two */
} h5store_err;

/**
 * The name of a code, such as "H5STORE_E_BUSY".
 *
 * @param code  Any int.
 * @return A constant string, never NULL; "H5STORE_E_UNKNOWN" for a value not in
 *         the list.
 * @since 0.2
 */
H5STORE_API const char *h5store_code_name(int code);

#ifdef __cplusplus
}
#endif
#endif
