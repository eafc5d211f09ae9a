/* SPDX-License-Identifier: MIT */
/*
 * What a strict C11 program may do with the headers alone.  Compiled by consumer.sh with
 * -std=c11 -pedantic -Werror against the installed headers; never linked.
 */
#include <h5store/h5store.h>

_Static_assert(H5STORE_OK == 0 && H5STORE_EXISTS > 0 && H5STORE_E_INVALID < 0,
               "success is zero or more, failure less");
_Static_assert(sizeof(h5store_id) == H5STORE_ID_SIZE, "an id is a plain value");
_Static_assert(H5STORE_ID_TEXT_SIZE == 2 * H5STORE_ID_SIZE + 1, "two digits a byte and a zero");
_Static_assert(sizeof H5STORE_VERSION >= sizeof "0.0.0", "a version is three numbers");
_Static_assert(H5STORE_FORMAT_VERSION >= 1, "format versions begin at 1");

/* All types can be complete or pointed to, and the callbacks have the type that they say. */
int count_finding(const h5store_finding *finding, void *context);

int
count_finding(const h5store_finding *finding, void *context)
{
    *(int *)context += finding->is_error;
    return 0;
}

h5store_verify_options full_check(int *errors);

h5store_verify_options
full_check(int *errors)
{
    h5store_verify_options options = {
        .check = H5STORE_CHECK_FULL,
        .fraction = 1,
        .finding = count_finding,
        .context = errors,
    };

    return options;
}
