/* SPDX-License-Identifier: MIT */
/*
 * salvage: what is whole in a damaged container, into a Store.
 *
 * Findings are told as they are made; see verify.c.
 */
#include "state.h"

static PyStructSequence_Field salvage_fields[] = {
    {"items", "results that were saved"},
    {"blobs", "arrays that were saved"},
    {"lost_items", "results that were lost, as far as is known"},
    {"lost_blobs", "arrays that were lost, as far as is known"},
    {"unnamed_items", "of the saved results, those below \"recovered\", whose names were lost"},
    {NULL, NULL},
};

static PyStructSequence_Desc salvage_desc = {"decache.Salvage", "What became of a container.",
                                             salvage_fields, 5};

static PyObject *
salvage_record(module_state *state, const h5store_salvaged *done)
{
    const uint64_t values[] = {done->items, done->blobs, done->lost_items, done->lost_blobs,
                               done->unnamed_items};

    return record_of_numbers(state->salvage_type, values, 5);
}

static PyObject *
salvage(PyObject *module, PyObject *args)
{
    telling told = {.state = PyModule_GetState(module)};
    h5store_options defaults;
    h5store_salvage_options options = {.progress = telling_progress, .context = &told};
    h5store_salvaged done = {0};
    PyObject *source, *target;
    h5store *store;
    h5store_err err;
    int rc;
    PyObject *lock;

    if (!PyArg_ParseTuple(args, "O&O!|OO:salvage", PyUnicode_FSConverter, &source,
                          told.state->store_type, &target, &told.finding, &told.progress))
        return NULL;
    store = store_enter((StoreObject *)target);
    if (store == NULL) {
        Py_DECREF(source);
        return NULL;
    }
    h5store_options_init(&defaults);
    options.timeout = defaults.timeout;
    if (told.finding != NULL && told.finding != Py_None)
        options.finding = telling_finding;
    lock = neighbour_enter(told.state);
    told.thread = PyEval_SaveThread();
    rc = h5store_salvage(PyBytes_AsString(source), store, &options, &done, &err);
    PyEval_RestoreThread(told.thread);
    neighbour_leave(lock);
    store_leave((StoreObject *)target);
    Py_DECREF(source);
    if (PyErr_Occurred())
        return NULL;
    if (rc < 0)
        return error_raise(told.state, &err);
    return salvage_record(told.state, &done);
}

static PyMethodDef repair_functions[] = {
    {"salvage", salvage, METH_VARARGS,
     "salvage(source, target, finding=None, progress=None, /) -> Salvage"},
    {NULL, NULL, 0, NULL},
};

int
repair_add(PyObject *module, module_state *state)
{
    if (module_add_record(module, &salvage_desc, &state->salvage_type) < 0)
        return -1;
    return PyModule_AddFunctions(module, repair_functions);
}
