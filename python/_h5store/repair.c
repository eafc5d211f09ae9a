/* SPDX-License-Identifier: MIT */
/*
 * salvage: what is whole in a damaged container, into a Store.
 *
 * Findings are told as they are made, from the middle of the library's call, which holds no
 * lock then: the GIL is taken back for that, and an exception ends the salvage and is raised
 * when the call has come home.
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

struct salvage_call {
    module_state *state;
    PyObject *finding;     /* borrowed; NULL: nobody is told */
    PyThreadState *thread; /* while the GIL is given away */
};

static int
salvage_tell(const h5store_finding *finding, void *context)
{
    struct salvage_call *call = context;
    PyObject *record, *result = NULL;

    PyEval_RestoreThread(call->thread);
    record = finding_new(call->state, (int)finding->clause, finding->is_error, finding->object,
                         finding->text);
    if (record != NULL)
        result = PyObject_CallFunctionObjArgs(call->finding, record, NULL);
    Py_XDECREF(record);
    Py_XDECREF(result);
    if (result != NULL && PyErr_CheckSignals() < 0)
        result = NULL;
    call->thread = PyEval_SaveThread();
    return result != NULL ? 0 : -1;
}

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
    struct salvage_call call = {.state = PyModule_GetState(module)};
    h5store_options defaults;
    h5store_salvage_options options = {.context = &call};
    h5store_salvaged done = {0};
    PyObject *source, *target;
    h5store *store;
    h5store_err err;
    int rc;

    if (!PyArg_ParseTuple(args, "O&O!|O:salvage", PyUnicode_FSConverter, &source,
                          call.state->store_type, &target, &call.finding))
        return NULL;
    store = store_enter((StoreObject *)target);
    if (store == NULL) {
        Py_DECREF(source);
        return NULL;
    }
    h5store_options_init(&defaults);
    options.timeout = defaults.timeout;
    if (call.finding != NULL && call.finding != Py_None)
        options.finding = salvage_tell;
    call.thread = PyEval_SaveThread();
    rc = h5store_salvage(PyBytes_AsString(source), store, &options, &done, &err);
    PyEval_RestoreThread(call.thread);
    store_leave((StoreObject *)target);
    Py_DECREF(source);
    if (PyErr_Occurred())
        return NULL;
    if (rc < 0)
        return error_raise(call.state, &err);
    return salvage_record(call.state, &done);
}

static PyMethodDef repair_functions[] = {
    {"salvage", salvage, METH_VARARGS, "salvage(source, target, finding=None, /) -> Salvage"},
    {NULL, NULL, 0, NULL},
};

int
repair_add(PyObject *module, module_state *state)
{
    if (module_add_record(module, &salvage_desc, &state->salvage_type) < 0)
        return -1;
    return PyModule_AddFunctions(module, repair_functions);
}
