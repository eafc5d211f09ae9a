/* SPDX-License-Identifier: MIT */
/*
 * Store.verify, and hash_array.
 *
 * The library tells its findings one by one while the GIL is released; they are kept in plain
 * memory and become Python objects when the check is over.
 */
#include "state.h"
#include <stdlib.h>
#include <string.h>

struct found {
    struct found *next;
    int clause;
    int is_error;
    char *object;
    char *text;
};

struct collected {
    struct found *first;
    struct found **last;
};

static PyStructSequence_Field finding_fields[] = {
    {"clause", "its number in FORMAT.md, \"Findings\""},
    {"is_error", "False: a remark"},
    {"object", "path of the object in the file"},
    {"text", "a sentence"},
    {NULL, NULL},
};

static PyStructSequence_Desc finding_desc = {"decache.Finding", "What a check found.",
                                             finding_fields, 4};

/* Runs without the GIL, in a thread of the caller's or the library's: no Python here. */
static int
verify_collect(const h5store_finding *finding, void *context)
{
    struct collected *collected = context;
    struct found *found = calloc(1, sizeof(*found));

    if (found == NULL)
        return -1;
    found->clause = (int)finding->clause;
    found->is_error = finding->is_error;
    found->object = strdup(finding->object != NULL ? finding->object : "");
    found->text = strdup(finding->text != NULL ? finding->text : "");
    *collected->last = found;
    collected->last = &found->next;
    return found->object == NULL || found->text == NULL ? -1 : 0;
}

static void
verify_release(struct found *found)
{
    while (found != NULL) {
        struct found *next = found->next;

        free(found->object);
        free(found->text);
        free(found);
        found = next;
    }
}

PyObject *
finding_new(module_state *state, int clause, int is_error, const char *object, const char *text)
{
    PyObject *record = PyStructSequence_New(state->finding_type);
    PyObject *values[4];
    int failed = 0;

    if (record == NULL)
        return NULL;
    values[0] = PyLong_FromLong(clause);
    values[1] = PyBool_FromLong(is_error);
    values[2] = text_decode(object);
    values[3] = text_decode(text);
    for (Py_ssize_t i = 0; i < 4; i++) {
        failed |= values[i] == NULL;
        PyStructSequence_SetItem(record, i, values[i]);
    }
    if (failed)
        Py_CLEAR(record);
    return record;
}

static PyObject *
verify_record(module_state *state, const struct found *found)
{
    if (found->object == NULL || found->text == NULL)
        return PyErr_NoMemory();
    return finding_new(state, found->clause, found->is_error, found->object, found->text);
}

static PyObject *
verify_list(module_state *state, const struct found *found)
{
    PyObject *list = PyList_New(0);

    for (; list != NULL && found != NULL; found = found->next) {
        PyObject *record = verify_record(state, found);

        if (record == NULL || PyList_Append(list, record) < 0)
            Py_CLEAR(list);
        Py_XDECREF(record);
    }
    return list;
}

PyObject *
store_verify(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"check", "fraction", NULL};
    h5store_verify_options options = {.check = H5STORE_CHECK_FAST, .fraction = 1.0};
    struct collected collected = {.first = NULL};
    PyObject *result;
    uint64_t errors;
    h5store_err err;
    h5store *store;
    int rc;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$O&d:verify", names, check_converter,
                                     &options.check, &options.fraction))
        return NULL;
    store = store_enter((StoreObject *)self);
    if (store == NULL)
        return NULL;
    collected.last = &collected.first;
    options.finding = verify_collect;
    options.context = &collected;
    Py_BEGIN_ALLOW_THREADS
    rc = h5store_verify(store, &options, &errors, &err);
    Py_END_ALLOW_THREADS
    store_leave((StoreObject *)self);
    if (rc < 0)
        result = error_raise(state_of(self), &err);
    else
        result = verify_list(state_of(self), collected.first);
    verify_release(collected.first);
    return result;
}

static PyObject *
verify_hash_array(PyObject *module, PyObject *args)
{
    const char *dtype;
    PyObject *object;
    int threads = 0, rc;
    int64_t strides[H5STORE_MAX_RANK];
    h5store_array array;
    h5store_id id;
    h5store_err err;

    if (!PyArg_ParseTuple(args, "Os|i", &object, &dtype, &threads) ||
        array_describe(object, dtype, &array, strides) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = h5store_hash(&array, threads, &id, &err);
    Py_END_ALLOW_THREADS
    if (rc < 0)
        return error_raise(PyModule_GetState(module), &err);
    return id_to_text(&id);
}

static PyMethodDef verify_functions[] = {
    {"hash_array", verify_hash_array, METH_VARARGS, "hash_array(array, dtype, threads=0) -> id"},
    {NULL, NULL, 0, NULL},
};

int
verify_add(PyObject *module, module_state *state)
{
    if (module_add_record(module, &finding_desc, &state->finding_type) < 0)
        return -1;
    return PyModule_AddFunctions(module, verify_functions);
}
