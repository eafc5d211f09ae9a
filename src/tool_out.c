/* SPDX-License-Identifier: MIT */
/*
 * Standard output and standard error of the h5store command.
 *
 * A write that fails is noticed here and told once, by main(): a full disk must never
 * look like a short listing.  Standard error is for messages only, which may hold names
 * from a container and so are made safe to show.
 */
#include "tool.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

void
tool_write(tool_out *out, const void *bytes, size_t size)
{
    if (out->os_errno != 0 || size == 0)
        return;

    errno = 0;
    if (fwrite(bytes, 1, size, out->file) != size)
        out->os_errno = errno != 0 ? errno : EIO;
}

void
tool_puts(tool_out *out, const char *text)
{
    tool_write(out, text, strlen(text));
}

void
tool_printf(tool_out *out, const char *format, ...)
{
    va_list arguments;

    if (out->os_errno != 0)
        return;

    errno = 0;
    va_start(arguments, format);
    if (vfprintf(out->file, format, arguments) < 0)
        out->os_errno = errno != 0 ? errno : EIO;
    va_end(arguments);
}

void
tool_out_flush(tool_out *out)
{
    if (out->os_errno != 0)
        return;

    errno = 0;
    if (fflush(out->file) != 0)
        out->os_errno = errno != 0 ? errno : EIO;
}

bool
tool_out_failed(const tool_out *out)
{
    return out->os_errno != 0;
}

int
tool_fail(h5store_err *err, int code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(err->message, sizeof(err->message), format, arguments);
    va_end(arguments);
    err->code = code;
    err->os_errno = 0;
    return code;
}

int
tool_fail_out(const tool_out *out, h5store_err *err)
{
    tool_fail(err, H5STORE_E_IO, "cannot write to standard output: %s", strerror(out->os_errno));
    err->os_errno = out->os_errno;
    return err->code;
}

void
tool_complain(const char *format, ...)
{
    char message[2 * H5STORE_MESSAGE_SIZE];
    tool_out out = {.file = stderr};
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);

    tool_puts(&out, "h5store: ");
    tool_show(&out, message, (int)(4 * sizeof(message)));
    tool_puts(&out, "\n");
}
