/* SPDX-License-Identifier: MIT */
/*
 * What LeakSanitizer, where there is one, must not report: when a read fails, HDF5 1.10 loses the
 * buffer that it read into.  What we lose is not allocated by HDF5.
 */

/* Visible, or the sanitizer's library does not find it. */
const char *__lsan_default_suppressions(void) __attribute__((visibility("default")));

const char *
__lsan_default_suppressions(void)
{
    return "leak:libhdf5\n";
}
