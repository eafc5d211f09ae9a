/* SPDX-License-Identifier: MIT */
/*
 * The Item type: the output, metadata and blobs of one stored result, as of one commit and
 * pinned for as long as the object (or one of its Blobs) lives; and the walk over items.
 */
#include "state.h"
#include <string.h>

typedef struct ItemObject {
    PyObject_HEAD StoreObject *store;
    h5store_item *item;
} ItemObject;

PyObject *
item_new(module_state *state, StoreObject *store, h5store_item *item)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(state->item_type, Py_tp_alloc);
    ItemObject *self = (ItemObject *)allocate(state->item_type, 0);

    if (self == NULL) {
        h5store_item_close(item);
        return NULL;
    }
    Py_INCREF((PyObject *)store);
    self->store = store;
    self->item = item;
    return (PyObject *)self;
}

static void
item_dealloc(ItemObject *self)
{
    if (self->item != NULL) {
        CALL_BEGIN(state_of((PyObject *)self))
        h5store_item_close(self->item);
        CALL_END
    }
    Py_XDECREF((PyObject *)self->store);
    object_free((PyObject *)self);
}

static PyObject *
item_get_output(ItemObject *self, void *Py_UNUSED(closure))
{
    size_t size = 0;
    const void *output = h5store_item_output(self->item, &size);

    return PyBytes_FromStringAndSize(output, (Py_ssize_t)size);
}

static PyObject *
item_get_metadata(ItemObject *self, void *Py_UNUSED(closure))
{
    return text_decode(h5store_item_metadata(self->item));
}

static PyObject *
item_get_link_count(ItemObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(h5store_item_link_count(self->item));
}

static PyObject *
item_get_linked_bytes(ItemObject *self, void *Py_UNUSED(closure))
{
    size_t count = h5store_item_link_count(self->item);
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += h5store_blob_get_info(h5store_item_blob(self->item, i))->array.nbytes;
    return PyLong_FromUnsignedLongLong(sum);
}

static PyObject *
item_blob(ItemObject *self, PyObject *args)
{
    Py_ssize_t index;
    h5store_blob *blob;

    if (!PyArg_ParseTuple(args, "n", &index))
        return NULL;
    blob = index < 0 ? NULL : h5store_item_blob(self->item, (size_t)index);
    if (blob == NULL) {
        PyErr_Format(PyExc_IndexError, "the item has no link %zd", index);
        return NULL;
    }
    return blob_new(state_of((PyObject *)self), (PyObject *)self, blob, 1);
}

static PyMethodDef item_methods[] = {
    {"blob", (PyCFunction)item_blob, METH_VARARGS, "blob(index) -> Blob"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef item_getset[] = {
    {"output", (getter)item_get_output, NULL, "bytes", NULL},
    {"metadata", (getter)item_get_metadata, NULL, "str", NULL},
    {"link_count", (getter)item_get_link_count, NULL, "How many blobs it links to.", NULL},
    {"linked_bytes", (getter)item_get_linked_bytes, NULL, "Bytes of their arrays.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot item_slots[] = {
    {Py_tp_dealloc, item_dealloc},
    {Py_tp_methods, item_methods},
    {Py_tp_getset, item_getset},
    {Py_tp_doc, "One stored result, its blobs pinned for as long as this lives."},
    {0, NULL},
};

static PyType_Spec item_spec = {
    .name = "decache._h5store.Item",
    .basicsize = sizeof(ItemObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = item_slots,
};

/* ---- the walk ---------------------------------------------------------- */

typedef struct ItemCursorObject {
    PyObject_HEAD StoreObject *store; /* kept open by the reference */
    h5store_item_cursor *cursor;
    int busy;
} ItemCursorObject;

static PyStructSequence_Field item_info_fields[] = {
    {"collection", "path of the collection"},
    {"key", "\"\": the collection itself"},
    {"output_size", "bytes of the output"},
    {"metadata_size", "bytes of the metadata"},
    {"link_count", "links to blobs"},
    {"linked_bytes", "bytes of the linked blobs"},
    {"own_bytes", "of these, bytes of blobs that nothing else links to"},
    {"stored", "when it was stored, in seconds since the epoch; 0.0: unknown"},
    {"used", "when it was stored or last used; 0.0: unknown"},
    {"damage", "None, or what is wrong with it"},
    {NULL, NULL},
};

static PyStructSequence_Desc item_info_desc = {
    "decache.ItemInfo", "What a walk over the items tells of one.", item_info_fields, 10};

static PyObject *
item_info_new(module_state *state, const h5store_item_info *info, const char *damage)
{
    const uint64_t numbers[] = {info->output_size, info->metadata_size, info->link_count,
                                info->linked_bytes, info->own_bytes};
    PyObject *record = PyStructSequence_New(state->item_info_type);
    PyObject *values[10];
    int failed = 0;

    if (record == NULL)
        return NULL;
    values[0] = text_decode(info->collection);
    values[1] = text_decode(info->key != NULL ? info->key : ""); /* which no key is */
    for (int i = 0; i < 5; i++)
        values[2 + i] = PyLong_FromUnsignedLongLong(damage == NULL ? numbers[i] : 0);
    values[7] = PyFloat_FromDouble((double)info->stored * 1e-6);
    values[8] = PyFloat_FromDouble((double)info->used * 1e-6);
    values[9] = damage != NULL ? text_decode(damage) : Py_NewRef(Py_None);
    for (Py_ssize_t i = 0; i < 10; i++) {
        failed |= values[i] == NULL;
        PyStructSequence_SetItem(record, i, values[i]);
    }
    if (failed)
        Py_CLEAR(record);
    return record;
}

PyObject *
item_cursor_new(module_state *state, StoreObject *store, const char *collection)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(state->item_cursor_type, Py_tp_alloc);
    ItemCursorObject *self = (ItemCursorObject *)allocate(state->item_cursor_type, 0);
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
    rc = h5store_item_cursor_open(handle, collection, &self->cursor, &err);
    CALL_END
    store_leave(store);
    if (rc < 0) {
        Py_DECREF(self);
        return error_raise(state, &err);
    }
    return (PyObject *)self;
}

static void
item_cursor_dealloc(ItemCursorObject *self)
{
    if (self->cursor != NULL) {
        CALL_BEGIN(state_of((PyObject *)self))
        h5store_item_cursor_close(self->cursor);
        CALL_END
    }
    Py_XDECREF((PyObject *)self->store);
    object_free((PyObject *)self);
}

static PyObject *
item_cursor_next(ItemCursorObject *self)
{
    module_state *state = state_of((PyObject *)self);
    h5store_item_info info;
    h5store_err err;
    PyObject *result;
    int rc;

    if (self->busy)
        return error_raise_code(state, H5STORE_E_INVALID,
                                "The cursor is in use by another thread.");
    self->busy = 1;
    memset(&info, 0, sizeof(info));
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_item_cursor_next(self->cursor, &info, &err);
    CALL_END
    if (rc == H5STORE_DONE)
        result = NULL;
    else if (rc == H5STORE_E_DAMAGED)
        result = item_info_new(state, &info, err.message);
    else if (rc < 0)
        result = error_raise(state, &err);
    else
        result = item_info_new(state, &info, NULL);
    self->busy = 0;
    return result;
}

static PyType_Slot item_cursor_slots[] = {
    {Py_tp_dealloc, item_cursor_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, item_cursor_next},
    {0, NULL},
};

static PyType_Spec item_cursor_spec = {
    .name = "decache._h5store.ItemCursor",
    .basicsize = sizeof(ItemCursorObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = item_cursor_slots,
};

int
item_add(PyObject *module, module_state *state)
{
    if (module_add_record(module, &item_info_desc, &state->item_info_type) < 0 ||
        module_add_type(module, &item_cursor_spec, &state->item_cursor_type) < 0)
        return -1;
    return module_add_type(module, &item_spec, &state->item_type);
}
