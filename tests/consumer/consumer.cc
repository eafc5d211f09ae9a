/* SPDX-License-Identifier: MIT */
/*
 * The headers in C++: they compile, their functions have C linkage, and the codes and plain
 * values work as they do in C.
 */
#include <h5store/h5store.h>

#include <cstdio>
#include <cstring>
#include <string>

int
main()
{
    h5store_err err;
    h5store_id id;
    h5store_id again;
    h5store *store = nullptr;
    char text[H5STORE_ID_TEXT_SIZE];
    const std::string digits(2 * H5STORE_ID_SIZE, 'a');

    if (std::strcmp(h5store_version(), H5STORE_VERSION) != 0)
        return std::puts("another version was linked"), 1;
    if (h5store_id_parse(digits.c_str(), &id, &err) != H5STORE_OK)
        return std::puts(err.message), 1;
    h5store_id_format(&id, text);
    if (digits != text)
        return std::puts("another id came back"), 1;
    if (h5store_id_parse(text, &again, &err) != H5STORE_OK || !h5store_id_equal(&id, &again))
        return std::puts("an id does not equal itself"), 1;
    if (h5store_open(nullptr, nullptr, &store, &err) != H5STORE_E_INVALID || store != nullptr)
        return std::puts("no path was taken for a path"), 1;
    return 0;
}
