/* SPDX-License-Identifier: MIT */
/*
 * Where h5py and this module use one libhdf5, and that is not thread-safe: two threads, one in
 * h5py and one in here, would be inside it at the same time.  h5py makes all its calls under a
 * lock of its own, `phil`; so each call of the library is made under the same lock.
 *
 * It is taken before any lock of the library and given back after all of them, with the GIL
 * held, so it cannot stand crosswise to them.  decache/_neighbours.py finds it, and sets
 * nothing where HDF5 is thread-safe.
 */
#include "state.h"

static PyObject *
neighbour_find(const module_state *state)
{
    PyObject *lock = PyObject_CallNoArgs(state->find_lock), *taken;

    if (lock == NULL || lock == Py_None) {
        Py_CLEAR(lock);
        return NULL;
    }
    taken = PyObject_CallMethod(lock, "acquire", NULL);
    if (taken == NULL)
        Py_CLEAR(lock);
    Py_XDECREF(taken);
    return lock;
}

PyObject *
neighbour_enter(const module_state *state)
{
    PyObject *lock, *error[3];

    if (state->find_lock == NULL)
        return NULL;
    PyErr_Fetch(&error[0], &error[1], &error[2]); /* objects also go while one is on its way */
    lock = neighbour_find(state);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(state->find_lock);
    PyErr_Restore(error[0], error[1], error[2]);
    return lock;
}

void
neighbour_leave(PyObject *lock)
{
    PyObject *released, *error[3];

    if (lock == NULL)
        return;
    PyErr_Fetch(&error[0], &error[1], &error[2]);
    released = PyObject_CallMethod(lock, "release", NULL);
    if (released == NULL)
        PyErr_WriteUnraisable(lock);
    Py_XDECREF(released);
    Py_DECREF(lock);
    PyErr_Restore(error[0], error[1], error[2]);
}

static PyObject *
neighbour_lock_with(PyObject *module, PyObject *find)
{
    module_state *state = PyModule_GetState(module);

    Py_XDECREF(state->find_lock);
    Py_INCREF(find);
    state->find_lock = find;
    Py_RETURN_NONE;
}

static PyMethodDef neighbour_methods[] = {
    {"lock_with", neighbour_lock_with, METH_O,
     "lock_with(find): from now on call the library under the lock that find() returns, if any."},
    {NULL, NULL, 0, NULL},
};

int
neighbour_add(PyObject *module, module_state *state)
{
    state->find_lock = NULL;
    if (PyModule_AddIntConstant(module, "hdf5_is_thread_safe", h5store_hdf5_is_thread_safe()) < 0)
        return -1;
    return PyModule_AddFunctions(module, neighbour_methods);
}
