/* SPDX-License-Identifier: MIT */
/*
 * Result codes as exceptions.
 *
 * One table says for each code which class it is, and which of Python's own classes that
 * also is, so that `except KeyError` or `except OSError` does what one expects.  Every
 * exception has `code` (the library's number) and `errno` (of the system call, or None).
 */
#include "state.h"
#include <string.h>

struct error_class {
    int code;
    const char *name; /* full */
    PyObject **also;  /* a class of Python's, or NULL */
    const char *doc;
};

static PyObject *no_class = NULL; /* a place for `also` to point to: never written */

static const struct error_class error_table[] = {
    {H5STORE_E_INVALID, "decache.InvalidError", &PyExc_ValueError,
     "An argument that is out of range or contradicts another."},
    {H5STORE_E_NOT_FOUND, "decache.NotFoundError", &PyExc_KeyError,
     "No such blob, item or container."},
    {H5STORE_E_NOMEM, "decache.OutOfMemoryError", &PyExc_MemoryError,
     "Memory ran out inside the library; nothing was changed."},
    {H5STORE_E_IO, "decache.InputOutputError", &PyExc_OSError,
     "The system refused a call; see errno."},
    {H5STORE_E_NO_SPACE, "decache.NoSpaceError", &PyExc_OSError,
     "Disk or quota is full; nothing was changed."},
    {H5STORE_E_BUSY, "decache.BusyError", &PyExc_TimeoutError,
     "A lock was not to be had within the timeout; trying again is safe."},
    {H5STORE_E_NOT_A_STORE, "decache.NotAStoreError", &no_class,
     "The file is not an HDF5 file, or not one of ours."},
    {H5STORE_E_VERSION, "decache.VersionError", &no_class,
     "The container was written by a newer version; it is not touched."},
    {H5STORE_E_DAMAGED, "decache.DamagedError", &no_class,
     "Stored bytes or metadata are not what was written."},
    {H5STORE_E_CHANGED, "decache.ChangedError", &no_class,
     "The file was deleted, replaced or written by another program."},
    {H5STORE_E_READ_ONLY, "decache.ReadOnlyError", &PyExc_OSError,
     "The container or its file system does not allow writing."},
    {H5STORE_E_FORKED, "decache.ForkedError", &no_class,
     "The handle was opened before a fork and is used in the child."},
    {H5STORE_E_CLOSED, "decache.ClosedError", &PyExc_ValueError, "The store is closed."},
    {H5STORE_E_UNSUPPORTED, "decache.UnsupportedError", &no_class,
     "A type that HDF5 cannot hold, or a file system without working locks."},
    {H5STORE_E_POISONED, "decache.PoisonedError", &no_class,
     "An earlier sync failed; close and open again."},
    {H5STORE_E_HDF5, "decache.HDF5Error", &no_class,
     "The HDF5 library failed for a reason that no other class describes."},
};

/* KeyError would show the message in quotes; every class here shows it as it is. */
static PyObject *
error_base_dict(void)
{
    PyObject *dict = PyDict_New();
    PyObject *show;

    if (dict == NULL)
        return NULL;
    show = PyObject_GetAttrString(PyExc_BaseException, "__str__");
    if (show == NULL || PyDict_SetItemString(dict, "__str__", show) < 0 ||
        PyDict_SetItemString(dict, "code", Py_None) < 0 ||
        PyDict_SetItemString(dict, "errno", Py_None) < 0)
        Py_CLEAR(dict);
    Py_XDECREF(show);
    return dict;
}

static int
error_add_class(PyObject *module, module_state *state, const struct error_class *entry)
{
    PyObject *also = *entry->also;
    PyObject *bases, *made;

    bases = also != NULL ? PyTuple_Pack(2, state->error, also) : PyTuple_Pack(1, state->error);
    if (bases == NULL)
        return -1;
    made = PyErr_NewExceptionWithDoc(entry->name, entry->doc, bases, NULL);
    Py_DECREF(bases);
    if (made == NULL)
        return -1;
    state->error_classes[-entry->code] = made;
    return PyModule_AddObjectRef(module, entry->name + sizeof("decache.") - 1, made);
}

int
errors_add(PyObject *module, module_state *state)
{
    PyObject *dict = error_base_dict();

    if (dict == NULL)
        return -1;
    state->error = PyErr_NewExceptionWithDoc(
        "decache.Error", "Whatever can go wrong with a container.", PyExc_Exception, dict);
    Py_DECREF(dict);
    if (state->error == NULL || PyModule_AddObjectRef(module, "Error", state->error) < 0)
        return -1;

    for (size_t i = 0; i < sizeof(error_table) / sizeof(error_table[0]); i++) {
        if (error_add_class(module, state, &error_table[i]) < 0)
            return -1;
    }
    return 0;
}

static int
error_set_number(PyObject *exception, const char *name, int number)
{
    PyObject *value = PyLong_FromLong(number);
    int rc;

    if (value == NULL)
        return -1;
    rc = PyObject_SetAttrString(exception, name, value);
    Py_DECREF(value);
    return rc;
}

PyObject *
error_raise(const module_state *state, const h5store_err *err)
{
    PyObject *type = state->error;
    PyObject *message, *exception;

    if (err->code < 0 && -err->code < ERROR_CLASS_COUNT && state->error_classes[-err->code] != NULL)
        type = state->error_classes[-err->code];

    message = PyUnicode_DecodeUTF8(err->message, (Py_ssize_t)strlen(err->message),
                                   "backslashreplace");
    if (message == NULL)
        return NULL;
    exception = PyObject_CallFunctionObjArgs(type, message, NULL);
    Py_DECREF(message);
    if (exception == NULL)
        return NULL;
    if (error_set_number(exception, "code", err->code) < 0 ||
        (err->os_errno != 0 && error_set_number(exception, "errno", err->os_errno) < 0)) {
        Py_DECREF(exception);
        return NULL;
    }
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
    return NULL;
}

PyObject *
error_raise_code(const module_state *state, int code, const char *message)
{
    h5store_err err = {.code = code};

    PyOS_snprintf(err.message, sizeof(err.message), "%s", message);
    return error_raise(state, &err);
}
