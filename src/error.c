/* SPDX-License-Identifier: MIT */
/*
 * Codes and messages.  Called by every file; owns nothing.
 *
 * Always holds: a message is valid UTF-8 if its parts are, is never cut in the middle of a
 * character, and keeps its end ("...: No space left on device") when it is the words before
 * that are too long.  The arguments may point into the message that is replaced.
 */
#include "error.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const char error_more[] = "...";

/* Shorten a text to less than @p room bytes, at the border of a character. */
static void
error_cut(char *text, size_t room)
{
    size_t end = room - sizeof error_more;

    while (end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80)
        end--;
    memcpy(text + end, error_more, sizeof error_more);
}

/* Format into @p text; what does not fit in @p room bytes is replaced by "...". */
static void HS_PRINTF(3, 0)
    error_format(char *text, size_t room, const char *format, va_list arguments)
{
    int length = vsnprintf(text, room, format, arguments);

    if (length < 0)
        snprintf(text, room, "%s", format);
    else if ((size_t)length >= room)
        error_cut(text, room);
}

/* strerror is not for threads, and strerror_r comes in two kinds. */
static const char *
error_system_text(int os_errno, char *room, size_t size)
{
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
    return strerror_r(os_errno, room, size);
#else
    if (strerror_r(os_errno, room, size) != 0)
        snprintf(room, size, "error %d", os_errno);
    return room;
#endif
}

static void HS_PRINTF(4, 0)
    error_fill(h5store_err *err, int code, int os_errno, const char *format, va_list arguments)
{
    char words[H5STORE_MESSAGE_SIZE], reason[128] = "", room[96];

    if (os_errno != 0)
        snprintf(reason, sizeof reason, ": %s", error_system_text(os_errno, room, sizeof room));
    error_format(words, sizeof words - strlen(reason), format, arguments);
    err->code = code;
    err->os_errno = os_errno;
    strcpy(err->message, words);
    strcat(err->message, reason);
}

int
hs_fail(h5store_err *err, enum h5store_code code, int os_errno, const char *format, ...)
{
    va_list arguments;

    if (err == NULL)
        return code;
    va_start(arguments, format);
    error_fill(err, code, os_errno, format, arguments);
    va_end(arguments);
    return code;
}

static enum h5store_code
error_code_of(int os_errno)
{
    switch (os_errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return H5STORE_E_NO_SPACE;
    case ENOMEM:
        return H5STORE_E_NOMEM;
    case EROFS:
    case EACCES:
    case EPERM:
        return H5STORE_E_READ_ONLY;
    case ENOENT:
        return H5STORE_E_NOT_FOUND;
    default:
        return H5STORE_E_IO;
    }
}

int
hs_fail_os(h5store_err *err, int os_errno, const char *format, ...)
{
    enum h5store_code code = error_code_of(os_errno);
    va_list arguments;

    if (err == NULL)
        return code;
    va_start(arguments, format);
    error_fill(err, code, os_errno, format, arguments);
    va_end(arguments);
    return code;
}

int
hs_prefix(h5store_err *err, int code, const char *format, ...)
{
    char words[H5STORE_MESSAGE_SIZE], old[H5STORE_MESSAGE_SIZE];
    va_list arguments;
    int length;

    if (err == NULL)
        return code;
    va_start(arguments, format);
    error_format(words, sizeof words / 2, format, arguments);
    va_end(arguments);
    memcpy(old, err->message, sizeof old);
    length = snprintf(err->message, sizeof err->message, "%s: %s", words, old);
    if (length >= (int)sizeof err->message)
        error_cut(err->message, sizeof err->message);
    return code;
}

int
hs_fail_nomem(h5store_err *err, uint64_t bytes, const char *what)
{
    if (bytes == 0)
        return hs_fail(err, H5STORE_E_NOMEM, 0, "out of memory (for %s)", what);
    return hs_fail(err, H5STORE_E_NOMEM, 0, "out of memory (%llu bytes for %s)",
                   (unsigned long long)bytes, what);
}

const char *
h5store_code_name(int code)
{
    /* An int from outside, so that the compiler's check of the list needs its own switch. */
    switch ((enum h5store_code)code) {
#define NAME(value) \
    case value: \
        return #value
        NAME(H5STORE_OK);
        NAME(H5STORE_EXISTS);
        NAME(H5STORE_DONE);
        NAME(H5STORE_E_INVALID);
        NAME(H5STORE_E_NOT_FOUND);
        NAME(H5STORE_E_NOMEM);
        NAME(H5STORE_E_IO);
        NAME(H5STORE_E_NO_SPACE);
        NAME(H5STORE_E_BUSY);
        NAME(H5STORE_E_NOT_A_STORE);
        NAME(H5STORE_E_VERSION);
        NAME(H5STORE_E_DAMAGED);
        NAME(H5STORE_E_CHANGED);
        NAME(H5STORE_E_READ_ONLY);
        NAME(H5STORE_E_FORKED);
        NAME(H5STORE_E_CLOSED);
        NAME(H5STORE_E_UNSUPPORTED);
        NAME(H5STORE_E_POISONED);
        NAME(H5STORE_E_HDF5);
#undef NAME
    }
    return "H5STORE_E_UNKNOWN"; /* no default above: a code left out is a warning */
}
