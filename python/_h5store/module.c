/* SPDX-License-Identifier: MIT */
/*
 * decache._h5store: the library for Python.
 *
 * A private module: decache's Python files are its only users, and what they hand to users
 * is documented there.  Multi-phase initialisation, all state per module, all types on the
 * heap, immutable and final; see state.h for the rules of GIL and threads.
 */
#include "state.h"

module_state *
state_of(PyObject *self)
{
    return PyType_GetModuleState(Py_TYPE(self));
}

int
module_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot)
{
    *slot = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *slot == NULL ? -1 : PyModule_AddType(module, *slot);
}

int
module_add_record(PyObject *module, PyStructSequence_Desc *desc, PyTypeObject **slot)
{
    *slot = PyStructSequence_NewType(desc);
    return *slot == NULL ? -1 : PyModule_AddType(module, *slot);
}

PyObject *
record_of_numbers(PyTypeObject *type, const uint64_t *numbers, Py_ssize_t count)
{
    PyObject *record = PyStructSequence_New(type);

    for (Py_ssize_t i = 0; record != NULL && i < count; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(numbers[i]);

        if (value == NULL)
            Py_CLEAR(record);
        else
            PyStructSequence_SetItem(record, i, value);
    }
    return record;
}

void
object_free(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    release(self);
    Py_DECREF(type);
}

/*
 * One interpreter of a process may have the module: NumPy allows no other, and neither a store's
 * handles nor HDF5 are parted by interpreter.  The slot below says so to those that know it, which
 * a module of the limited API of 3.11 cannot; so it is asked here, before NumPy is.
 */
static int
module_refuse_subinterpreter(void)
{
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) == 0)
        return 0;
    PyErr_SetString(PyExc_ImportError,
                    "decache._h5store does not support subinterpreters: use processes or threads");
    return -1;
}

static int
module_exec(PyObject *module)
{
    static int (*const parts[])(PyObject *, module_state *) = {
        errors_add, store_add, blob_add,   item_add, batch_add,
        verify_add, usage_add, repair_add, hook_add, neighbour_add,
    };
    module_state *state = PyModule_GetState(module);

    if (module_refuse_subinterpreter() < 0 || array_import() < 0)
        return -1;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i](module, state) < 0)
            return -1;
    }
    if (PyModule_AddStringConstant(module, "library_version", h5store_version()) < 0 ||
        PyModule_AddStringConstant(module, "hdf5_version", h5store_hdf5_version()) < 0 ||
        PyModule_AddIntConstant(module, "FORMAT_VERSION", H5STORE_FORMAT_VERSION) < 0)
        return -1;
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state *state = PyModule_GetState(module);

    if (state == NULL)
        return 0;
    Py_VISIT(state->find_lock);
    Py_VISIT(state->error);
    for (int i = 0; i < ERROR_CLASS_COUNT; i++)
        Py_VISIT(state->error_classes[i]);
    Py_VISIT(state->store_type);
    Py_VISIT(state->blob_type);
    Py_VISIT(state->blob_cursor_type);
    Py_VISIT(state->item_type);
    Py_VISIT(state->item_cursor_type);
    Py_VISIT(state->batch_type);
    Py_VISIT(state->hook_type);
    Py_VISIT(state->blob_info_type);
    Py_VISIT(state->item_info_type);
    Py_VISIT(state->totals_type);
    Py_VISIT(state->finding_type);
    Py_VISIT(state->usage_type);
    Py_VISIT(state->compaction_type);
    Py_VISIT(state->salvage_type);
    return 0;
}

static int
module_clear(PyObject *module)
{
    module_state *state = PyModule_GetState(module);

    if (state == NULL)
        return 0;
    Py_CLEAR(state->find_lock);
    Py_CLEAR(state->error);
    for (int i = 0; i < ERROR_CLASS_COUNT; i++)
        Py_CLEAR(state->error_classes[i]);
    Py_CLEAR(state->store_type);
    Py_CLEAR(state->blob_type);
    Py_CLEAR(state->blob_cursor_type);
    Py_CLEAR(state->item_type);
    Py_CLEAR(state->item_cursor_type);
    Py_CLEAR(state->batch_type);
    Py_CLEAR(state->hook_type);
    Py_CLEAR(state->blob_info_type);
    Py_CLEAR(state->item_info_type);
    Py_CLEAR(state->totals_type);
    Py_CLEAR(state->finding_type);
    Py_CLEAR(state->usage_type);
    Py_CLEAR(state->compaction_type);
    Py_CLEAR(state->salvage_type);
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#ifdef Py_mod_gil
    /* The GIL guards `busy`, `active` and `closing`, see state.h: a free-threaded interpreter
     * turns it on when the module is imported, and says so. */
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "decache._h5store",
    .m_doc = "The h5store library: arrays and results in one HDF5 file (private).",
    .m_size = sizeof(module_state),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__h5store(void);

PyMODINIT_FUNC
PyInit__h5store(void)
{
    return PyModuleDef_Init(&module_def);
}
