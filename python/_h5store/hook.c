/* SPDX-License-Identifier: MIT */
/*
 * The pickler's hook: finds the large arrays and buffers of a result while the C pickler
 * walks it.
 *
 * decache/_pickler.py sets `reduce` as the pickler's reducer_override and `buffer` as its
 * buffer_callback.  The pickler calls the former for every object that has no code of its
 * own in the pickler (so never for int, str, list, dict, tuple), the latter for every
 * PickleBuffer.  Nearly all of these are small; they are sent on their way here, in a few
 * nanoseconds, and only the large ones reach the Python functions given to PickleHook().
 * (persistent_id, which is called for every object, was measured to more than double the
 * time for a list of a million ints.)
 */
#include "state.h"

typedef struct HookObject {
    PyObject_HEAD Py_ssize_t threshold;
    PyObject *on_array;  /* (ndarray) -> reduce value or NotImplemented */
    PyObject *on_buffer; /* (PickleBuffer) -> true: keep it in the stream */
} HookObject;

static PyObject *
hook_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *on_array, *on_buffer;
    Py_ssize_t threshold;
    HookObject *self;

    if (!PyArg_ParseTuple(args, "nOO", &threshold, &on_array, &on_buffer))
        return NULL;
    self = (HookObject *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    Py_INCREF(on_array);
    Py_INCREF(on_buffer);
    self->threshold = threshold;
    self->on_array = on_array;
    self->on_buffer = on_buffer;
    return (PyObject *)self;
}

static int
hook_traverse(HookObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->on_array);
    Py_VISIT(self->on_buffer);
    return 0;
}

static int
hook_clear(HookObject *self)
{
    Py_CLEAR(self->on_array);
    Py_CLEAR(self->on_buffer);
    return 0;
}

static void
hook_dealloc(HookObject *self)
{
    PyObject_GC_UnTrack(self);
    (void)hook_clear(self);
    object_free((PyObject *)self);
}

static PyObject *
hook_reduce(HookObject *self, PyObject *object)
{
    if (array_is_large(object, self->threshold))
        return PyObject_CallFunctionObjArgs(self->on_array, object, NULL);
    Py_INCREF(Py_NotImplemented);
    return Py_NotImplemented;
}

static PyObject *
hook_buffer(HookObject *self, PyObject *object)
{
    Py_buffer view;
    int keep = 1;

    if (PyObject_GetBuffer(object, &view, PyBUF_FULL_RO) == 0) {
        keep = view.len > 0 && view.len <= self->threshold;
        PyBuffer_Release(&view);
    } else {
        PyErr_Clear(); /* the pickler will say what is wrong with it */
    }
    if (keep)
        Py_RETURN_TRUE;
    return PyObject_CallFunctionObjArgs(self->on_buffer, object, NULL);
}

static PyMethodDef hook_methods[] = {
    {"reduce", (PyCFunction)hook_reduce, METH_O, "For reducer_override."},
    {"buffer", (PyCFunction)hook_buffer, METH_O, "For buffer_callback."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot hook_slots[] = {
    {Py_tp_new, hook_new},
    {Py_tp_dealloc, hook_dealloc},
    {Py_tp_traverse, hook_traverse},
    {Py_tp_clear, hook_clear},
    {Py_tp_methods, hook_methods},
    {Py_tp_doc, "PickleHook(threshold, on_array, on_buffer)"},
    {0, NULL},
};

static PyType_Spec hook_spec = {
    .name = "decache._h5store.PickleHook",
    .basicsize = sizeof(HookObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = hook_slots,
};

int
hook_add(PyObject *module, module_state *state)
{
    return module_add_type(module, &hook_spec, &state->hook_type);
}
