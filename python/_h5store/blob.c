/* SPDX-License-Identifier: MIT */
/*
 * The Blob type: one stored array, looked up and pinned for as long as the object lives;
 * and the walk over all of them.
 *
 * A Blob that came from an Item is borrowed from it: it keeps the Item, which closes it.
 */
#include "state.h"
#include <string.h>

/* ---- what is known of a blob ------------------------------------------- */

static PyStructSequence_Field blob_info_fields[] = {
    {"id", "64 hex digits"},
    {"dtype", "NumPy's description as text; None if damaged"},
    {"order", "'C' or 'F'"},
    {"shape", "tuple of int"},
    {"nbytes", "bytes of the array"},
    {"links", "references from items"},
    {"offset", "of the bytes in the container file; 0 if kept inline or compressed"},
    {"stored_bytes", "bytes set aside in the file"},
    {"damage", "None, or what is wrong with it"},
    {NULL, NULL},
};

static PyStructSequence_Desc blob_info_desc = {"decache.BlobInfo", "What is known of a blob.",
                                               blob_info_fields, 9};

static PyObject *
shape_to_tuple(const h5store_array *array)
{
    PyObject *shape = PyTuple_New(array->rank);

    for (int i = 0; shape != NULL && i < array->rank; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(array->shape[i]);

        if (value == NULL)
            Py_CLEAR(shape);
        else
            PyTuple_SetItem(shape, i, value);
    }
    return shape;
}

static PyObject *
none(void)
{
    Py_INCREF(Py_None);
    return Py_None;
}

PyObject *
blob_info_new(module_state *state, const h5store_blob_info *info, const char *damage)
{
    const h5store_array *array = &info->array;
    PyObject *record = PyStructSequence_New(state->blob_info_type);
    int known = damage == NULL;
    PyObject *values[9];
    int failed = 0;

    if (record == NULL)
        return NULL;
    values[0] = id_to_text(&info->id);
    values[1] = known ? PyUnicode_FromString(array->dtype) : none();
    values[2] = known ? PyUnicode_FromString(array->order == H5STORE_ORDER_F ? "F" : "C") : none();
    values[3] = known ? shape_to_tuple(array) : none();
    values[4] = PyLong_FromUnsignedLongLong(known ? array->nbytes : 0);
    values[5] = PyLong_FromUnsignedLongLong(known ? info->links : 0);
    values[6] = PyLong_FromUnsignedLongLong(known ? info->offset : 0);
    values[7] = PyLong_FromUnsignedLongLong(known ? info->stored_bytes : 0);
    values[8] = known ? none() : PyUnicode_FromString(damage);
    for (Py_ssize_t i = 0; i < 9; i++) {
        failed |= values[i] == NULL;
        PyStructSequence_SetItem(record, i, values[i]);
    }
    if (failed)
        Py_CLEAR(record);
    return record;
}

/* ---- Blob -------------------------------------------------------------- */

PyObject *
blob_new(module_state *state, PyObject *owner, h5store_blob *blob, int borrowed)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(state->blob_type, Py_tp_alloc);
    BlobObject *self = (BlobObject *)allocate(state->blob_type, 0);

    if (self == NULL) {
        if (!borrowed)
            h5store_blob_close(blob);
        return NULL;
    }
    Py_INCREF(owner);
    self->owner = owner;
    self->blob = blob;
    self->borrowed = borrowed;
    return (PyObject *)self;
}

static void
blob_dealloc(BlobObject *self)
{
    if (!self->borrowed && self->blob != NULL) {
        CALL_BEGIN(state_of((PyObject *)self))
        h5store_blob_close(self->blob);
        CALL_END
    }
    Py_XDECREF(self->owner);
    object_free((PyObject *)self);
}

static int
blob_claim(BlobObject *self)
{
    if (self->busy) {
        error_raise_code(state_of((PyObject *)self), H5STORE_E_INVALID,
                         "The blob is in use by another thread.");
        return -1;
    }
    self->busy = 1;
    return 0;
}

/* @p is_new: nobody has seen the memory yet. */
static int
blob_read_memory(BlobObject *self, void *data, size_t size, h5store_check check, int is_new)
{
    h5store_err err;
    int rc;

    if (blob_claim(self) < 0)
        return -1;
    CALL_BEGIN(state_of((PyObject *)self))
    if (is_new)
        array_populate(data, size);
    rc = h5store_blob_read(self->blob, data, size, check, &err);
    CALL_END
    self->busy = 0;
    if (rc < 0) {
        error_raise(state_of((PyObject *)self), &err);
        return -1;
    }
    return 0;
}

static PyObject *
blob_read(BlobObject *self, PyObject *args)
{
    const h5store_array *stored = &h5store_blob_get_info(self->blob)->array;
    h5store_check check = H5STORE_CHECK_FAST;
    PyObject *dtype, *array;
    void *data;

    if (!PyArg_ParseTuple(args, "O|O&", &dtype, check_converter, &check))
        return NULL;
    array = array_new(state_of((PyObject *)self), stored, dtype, &data);
    if (array != NULL && blob_read_memory(self, data, (size_t)stored->nbytes, check, 1) < 0)
        Py_CLEAR(array);
    return array;
}

static PyObject *
blob_read_into(BlobObject *self, PyObject *args)
{
    const h5store_array *stored = &h5store_blob_get_info(self->blob)->array;
    h5store_check check = H5STORE_CHECK_FAST;
    PyObject *target;
    Py_buffer view;
    int rc;

    if (!PyArg_ParseTuple(args, "O|O&", &target, check_converter, &check) ||
        PyObject_GetBuffer(target, &view, PyBUF_WRITABLE) < 0)
        return NULL;
    if ((uint64_t)view.len != stored->nbytes) {
        PyErr_Format(PyExc_ValueError, "a buffer of %llu bytes is expected, not %zd",
                     (unsigned long long)stored->nbytes, view.len);
        rc = -1;
    } else {
        rc = blob_read_memory(self, view.buf, (size_t)view.len, check, 0);
    }
    PyBuffer_Release(&view);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
blob_get_info(BlobObject *self, void *Py_UNUSED(closure))
{
    return blob_info_new(state_of((PyObject *)self), h5store_blob_get_info(self->blob), NULL);
}

static PyObject *
blob_get_dtype(BlobObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(h5store_blob_get_info(self->blob)->array.dtype);
}

static PyMethodDef blob_methods[] = {
    {"read", (PyCFunction)blob_read, METH_VARARGS, "read(dtype, check='fast') -> new array"},
    {"read_into", (PyCFunction)blob_read_into, METH_VARARGS, "read_into(buffer, check='fast')"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef blob_getset[] = {
    {"info", (getter)blob_get_info, NULL, "A BlobInfo.", NULL},
    {"dtype", (getter)blob_get_dtype, NULL, "NumPy's description as text: info.dtype.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot blob_slots[] = {
    {Py_tp_dealloc, blob_dealloc},
    {Py_tp_methods, blob_methods},
    {Py_tp_getset, blob_getset},
    {Py_tp_doc, "A stored array, pinned for as long as this lives."},
    {0, NULL},
};

static PyType_Spec blob_spec = {
    .name = "decache._h5store.Blob",
    .basicsize = sizeof(BlobObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = blob_slots,
};

/* ---- the walk ---------------------------------------------------------- */

typedef struct BlobCursorObject {
    PyObject_HEAD StoreObject *store; /* kept open by the reference */
    h5store_blob_cursor *cursor;
    int busy;
} BlobCursorObject;

PyObject *
blob_cursor_new(module_state *state, StoreObject *store)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(state->blob_cursor_type, Py_tp_alloc);
    BlobCursorObject *self = (BlobCursorObject *)allocate(state->blob_cursor_type, 0);
    h5store_err err;
    h5store *handle;
    int rc;

    if (self == NULL)
        return NULL;
    Py_INCREF((PyObject *)store);
    self->store = store;
    handle = store_enter(store);
    if (handle == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_blob_cursor_open(handle, &self->cursor, &err);
    CALL_END
    store_leave(store);
    if (rc < 0) {
        Py_DECREF(self);
        return error_raise(state, &err);
    }
    return (PyObject *)self;
}

static void
blob_cursor_dealloc(BlobCursorObject *self)
{
    if (self->cursor != NULL) {
        CALL_BEGIN(state_of((PyObject *)self))
        h5store_blob_cursor_close(self->cursor);
        CALL_END
    }
    Py_XDECREF((PyObject *)self->store);
    object_free((PyObject *)self);
}

static PyObject *
blob_cursor_next(BlobCursorObject *self)
{
    module_state *state = state_of((PyObject *)self);
    h5store_blob_info info;
    h5store_err err;
    PyObject *result;
    int rc;

    if (self->busy)
        return error_raise_code(state, H5STORE_E_INVALID,
                                "The cursor is in use by another thread.");
    self->busy = 1;
    memset(&info, 0, sizeof(info));
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_blob_cursor_next(self->cursor, &info, &err);
    CALL_END
    if (rc == H5STORE_DONE)
        result = NULL;
    else if (rc == H5STORE_E_DAMAGED)
        result = blob_info_new(state, &info, err.message);
    else if (rc < 0)
        result = error_raise(state, &err);
    else
        result = blob_info_new(state, &info, NULL);
    self->busy = 0;
    return result;
}

static PyType_Slot blob_cursor_slots[] = {
    {Py_tp_dealloc, blob_cursor_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, blob_cursor_next},
    {0, NULL},
};

static PyType_Spec blob_cursor_spec = {
    .name = "decache._h5store.BlobCursor",
    .basicsize = sizeof(BlobCursorObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = blob_cursor_slots,
};

int
blob_add(PyObject *module, module_state *state)
{
    if (module_add_record(module, &blob_info_desc, &state->blob_info_type) < 0 ||
        module_add_type(module, &blob_cursor_spec, &state->blob_cursor_type) < 0)
        return -1;
    return module_add_type(module, &blob_spec, &state->blob_type);
}
