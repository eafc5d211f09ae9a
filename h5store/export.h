/* SPDX-License-Identifier: MIT */
/*
 * Two markers used by every public declaration.  H5STORE_API: exported from the
 * shared library, which is built with hidden visibility.  H5STORE_MUST_CHECK:
 * ignoring the result is a bug, and the compiler says so.
 */
#ifndef H5STORE_EXPORT_H
#define H5STORE_EXPORT_H

#if defined(__GNUC__)
#define H5STORE_API __attribute__((visibility("default")))
#define H5STORE_MUST_CHECK __attribute__((warn_unused_result))
#else
#define H5STORE_API
#define H5STORE_MUST_CHECK
#endif

#endif
