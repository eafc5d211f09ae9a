/* SPDX-License-Identifier: MIT */
/*
 * Small conversions between Python's values and the library's: names, ids, and the words
 * that stand for enumerators.
 */
#include "state.h"
#include <string.h>

PyObject *
text_encode(PyObject *text, const char *what)
{
    PyObject *bytes;

    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "%s must be a str", what);
        return NULL;
    }
    bytes = PyUnicode_AsEncodedString(text, "utf-8", "surrogateescape");
    if (bytes == NULL)
        return NULL;
    if (strlen(PyBytes_AsString(bytes)) != (size_t)PyBytes_Size(bytes)) {
        Py_DECREF(bytes);
        PyErr_Format(PyExc_ValueError, "%s must not contain a zero character", what);
        return NULL;
    }
    return bytes;
}

PyObject *
text_decode(const char *bytes)
{
    return PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)strlen(bytes), "surrogateescape");
}

int
id_converter(PyObject *text, void *id)
{
    PyObject *bytes = text_encode(text, "a blob's name");
    int rc;

    if (bytes == NULL)
        return 0;
    rc = h5store_id_parse(PyBytes_AsString(bytes), id, NULL);
    Py_DECREF(bytes);
    if (rc < 0) {
        PyErr_Format(PyExc_ValueError, "%R is not a blob's name: 64 hex digits are expected", text);
        return 0;
    }
    return 1;
}

PyObject *
id_to_text(const h5store_id *id)
{
    char text[H5STORE_ID_TEXT_SIZE];

    h5store_id_format(id, text);
    return PyUnicode_FromString(text);
}

int
check_converter(PyObject *text, void *check)
{
    static const struct {
        const char *word;
        h5store_check value;
    } words[] = {
        {"never", H5STORE_CHECK_NEVER},
        {"fast", H5STORE_CHECK_FAST},
        {"full", H5STORE_CHECK_FULL},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (PyUnicode_Check(text) && PyUnicode_CompareWithASCIIString(text, words[i].word) == 0) {
            *(h5store_check *)check = words[i].value;
            return 1;
        }
    }
    PyErr_Format(PyExc_ValueError, "check must be 'never', 'fast' or 'full', not %R", text);
    return 0;
}
