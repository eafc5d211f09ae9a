/* SPDX-License-Identifier: MIT */
/*
 * h5store cat: one array as a .npy file on standard output.
 *
 * The bytes are mapped, not copied, so an array larger than memory goes through.  They
 * are hashed before the first is written: what comes out of the pipe either is the array
 * of that name or does not come at all.  --unchecked leaves that out, to save what can be
 * saved of a damaged one.
 */
#include "tool.h"
#include <string.h>
#include <unistd.h>

#define CAT_STEP ((size_t)1 << 20) /* so that a closed pipe is noticed soon */

/* The digits of an id or of its beginning, in lower case; false if it is neither. */
static bool
cat_digits(const char *text, char digits[H5STORE_ID_TEXT_SIZE])
{
    size_t length = strlen(text);

    if (length == 0 || length >= H5STORE_ID_TEXT_SIZE)
        return false;
    for (size_t i = 0; i <= length; i++)
        digits[i] = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] - 'A' + 'a') : text[i];
    return strspn(digits, "0123456789abcdef") == length;
}

/* The one id that begins with @p digits.  The walk is in order of name and ends early. */
static int
cat_find(h5store *store, const tool_args *args, const char *digits, h5store_id *id,
         h5store_err *err)
{
    TOOL_CLEANUP(tool_blob_cursor_closep) h5store_blob_cursor *cursor = NULL;
    size_t length = strlen(digits);
    char found[H5STORE_ID_TEXT_SIZE] = "", text[H5STORE_ID_TEXT_SIZE];
    h5store_blob_info info = {0};
    const char *problem; /* of a damaged one: opening it will say so */
    int rc = h5store_blob_cursor_open(store, &cursor, err);

    if (rc < 0)
        return rc;

    while ((rc = tool_next_blob(cursor, &info, &problem, err)) != H5STORE_DONE) {
        int order;

        if (rc < 0)
            return rc;
        h5store_id_format(&info.id, text);
        order = strncmp(text, digits, length);
        if (order > 0)
            break;
        if (order < 0)
            continue;
        if (found[0] != '\0')
            return tool_fail(err, H5STORE_E_INVALID,
                             "\"%s\" begins the ids of several arrays of %s, such as %s and %s; "
                             "give more digits",
                             digits, args->container, found, text);
        memcpy(found, text, sizeof(found));
        *id = info.id;
    }
    if (found[0] == '\0')
        return tool_fail(err, H5STORE_E_NOT_FOUND,
                         "%s holds no array whose id begins with \"%s\"; 'h5store ls' lists them",
                         args->container, digits);
    return H5STORE_OK;
}

static int
cat_check(const h5store_blob_info *info, const void *data, h5store_err *err)
{
    h5store_array array = info->array;
    char text[H5STORE_ID_TEXT_SIZE];
    h5store_id id;
    int rc;

    array.data = data;
    rc = h5store_hash(&array, 0, &id, err);
    if (rc < 0 || h5store_id_equal(&id, &info->id))
        return rc;
    h5store_id_format(&info->id, text);
    return tool_fail(err, H5STORE_E_DAMAGED,
                     "the bytes of array %s are damaged, so nothing was written; "
                     "'h5store cat --unchecked' writes them as they are",
                     text);
}

int
tool_cat(h5store *store, const tool_args *args, tool_out *out, h5store_err *err)
{
    TOOL_CLEANUP(tool_blob_closep) h5store_blob *blob = NULL;
    TOOL_CLEANUP(tool_freep) char *header = NULL;
    char digits[H5STORE_ID_TEXT_SIZE];
    const h5store_blob_info *info;
    const void *data = NULL;
    size_t header_size;
    h5store_id id;
    int rc;

    if (!cat_digits(args->operand, digits)) {
        tool_complain("\"%s\" is not an id: 1 to %d hexadecimal digits", args->operand,
                      H5STORE_ID_TEXT_SIZE - 1);
        return TOOL_USAGE;
    }
    if (isatty(fileno(out->file))) {
        tool_complain("not writing a .npy file to a terminal; redirect it: h5store cat ... > "
                      "array.npy");
        return TOOL_USAGE;
    }

    rc = strlen(digits) == H5STORE_ID_TEXT_SIZE - 1 ? h5store_id_parse(digits, &id, err)
                                                    : cat_find(store, args, digits, &id, err);
    if (rc < 0)
        return rc;
    rc = h5store_blob_open(store, &id, &blob, err);
    if (rc < 0)
        return rc;
    info = h5store_blob_get_info(blob);
    rc = tool_npy_header(&info->array, &header, &header_size, err);
    if (rc < 0)
        return rc;

    if (info->array.nbytes > 0) {
        rc = h5store_blob_map(blob, &data, err);
        if (rc < 0)
            return rc;
    }
    if (!args->unchecked) {
        rc = cat_check(info, data, err);
        if (rc < 0)
            return rc;
    }

    tool_write(out, header, header_size);
    for (uint64_t done = 0; done < info->array.nbytes && !tool_out_failed(out); done += CAT_STEP) {
        uint64_t left = info->array.nbytes - done;

        tool_write(out, (const char *)data + done, left < CAT_STEP ? (size_t)left : CAT_STEP);
    }
    return tool_out_failed(out) ? tool_fail_out(out, err) : TOOL_FINE;
}
