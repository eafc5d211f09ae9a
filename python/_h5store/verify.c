/* SPDX-License-Identifier: MIT */
/*
 * Store.verify, hash_array, and the way from the library's callbacks to those of Python.
 *
 * The callbacks come from the middle of the library's call, in the same thread, with no lock
 * held: the GIL is taken back for them, and an exception ends the work and is raised when the
 * call has come home.
 */
#include "state.h"

static PyStructSequence_Field finding_fields[] = {
    {"clause", "its number in FORMAT.md, \"Findings\""},
    {"is_error", "False: a remark"},
    {"object", "path of the object in the file"},
    {"text", "a sentence"},
    {NULL, NULL},
};

static PyStructSequence_Desc finding_desc = {"decache.Finding", "What a check found.",
                                             finding_fields, 4};

static PyObject *
finding_new(module_state *state, const h5store_finding *finding)
{
    PyObject *record = PyStructSequence_New(state->finding_type);
    PyObject *values[4];
    int failed = 0;

    if (record == NULL)
        return NULL;
    values[0] = PyLong_FromLong(finding->clause);
    values[1] = PyBool_FromLong(finding->is_error);
    values[2] = text_decode(finding->object);
    values[3] = text_decode(finding->text);
    for (Py_ssize_t i = 0; i < 4; i++) {
        failed |= values[i] == NULL;
        PyStructSequence_SetItem(record, i, values[i]);
    }
    if (failed)
        Py_CLEAR(record);
    return record;
}

/* After a callback: give the GIL away again.  Anything but 0 if the work is to end. */
static int
telling_end(telling *told, PyObject *result)
{
    int failed = result == NULL || PyErr_CheckSignals() < 0;

    Py_XDECREF(result);
    told->thread = PyEval_SaveThread();
    return failed ? -1 : 0;
}

int
telling_finding(const h5store_finding *finding, void *context)
{
    telling *told = context;
    PyObject *record, *result = NULL;

    PyEval_RestoreThread(told->thread);
    record = finding_new(told->state, finding);
    if (record != NULL)
        result = PyObject_CallFunctionObjArgs(told->finding, record, NULL);
    Py_XDECREF(record);
    return telling_end(told, result);
}

int
telling_progress(uint64_t done, uint64_t total, void *context)
{
    telling *told = context;
    PyObject *result;

    PyEval_RestoreThread(told->thread);
    if (told->progress == NULL || told->progress == Py_None)
        result = Py_NewRef(Py_None); /* only to see whether there was a signal */
    else
        result = PyObject_CallFunction(told->progress, "KK", (unsigned long long)done,
                                       (unsigned long long)total);
    return telling_end(told, result);
}

PyObject *
store_verify(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"check", "fraction", "progress", NULL};
    telling told = {.state = state_of(self)};
    h5store_verify_options options = {.check = H5STORE_CHECK_FAST,
                                      .fraction = 1.0,
                                      .finding = telling_finding,
                                      .progress = telling_progress,
                                      .context = &told};
    PyObject *list;
    uint64_t errors;
    PyObject *lock;
    h5store_err err;
    h5store *store;
    int rc;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$O&dO:verify", names, check_converter,
                                     &options.check, &options.fraction, &told.progress))
        return NULL;
    list = PyList_New(0);
    if (list != NULL)
        told.finding = PyObject_GetAttrString(list, "append");
    store = told.finding != NULL ? store_enter((StoreObject *)self) : NULL;
    if (store == NULL)
        goto failed;
    lock = neighbour_enter(told.state);
    told.thread = PyEval_SaveThread();
    rc = h5store_verify(store, &options, &errors, &err);
    PyEval_RestoreThread(told.thread);
    neighbour_leave(lock);
    store_leave((StoreObject *)self);
    if (rc < 0 && !PyErr_Occurred())
        error_raise(told.state, &err);
    if (PyErr_Occurred())
        goto failed;
    Py_DECREF(told.finding);
    return list;
failed:
    Py_XDECREF(told.finding);
    Py_XDECREF(list);
    return NULL;
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
