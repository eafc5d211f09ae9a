/* SPDX-License-Identifier: MIT */
/*
 * The Store type: one open container.
 *
 * Owns the h5store handle.  What must hold: the handle is freed only when no call is between
 * store_enter and store_leave, which are both run with the GIL held.
 */
#include "state.h"
#include <stdlib.h>
#include <unistd.h>

h5store *
store_enter(StoreObject *self)
{
    if (self->store == NULL) {
        error_raise_code(state_of((PyObject *)self), H5STORE_E_CLOSED, "The store is closed.");
        return NULL;
    }
    self->active++;
    return self->store;
}

void
store_leave(StoreObject *self)
{
    self->active--;
    if (self->active == 0 && self->closing) {
        self->closing = 0;
        PyThread_release_lock(self->idle);
    }
}

/*
 * Close once.  New calls are refused from here on; those that are inside are waited for.
 * In a forked child the parent's threads are gone with their calls, so nobody is waited for.
 */
static int
store_close_handle(StoreObject *self, h5store_err *err)
{
    h5store *store = self->store;
    int rc;

    self->store = NULL;
    if (store == NULL)
        return H5STORE_OK;

    self->closing = self->active > 0 && self->pid == getpid();
    if (self->closing) {
        Py_BEGIN_ALLOW_THREADS
        PyThread_acquire_lock(self->idle, WAIT_LOCK);
        Py_END_ALLOW_THREADS
    }
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_close(store, err);
    CALL_END
    return rc;
}

static int
durability_converter(PyObject *text, void *durability)
{
    if (PyUnicode_Check(text) && PyUnicode_CompareWithASCIIString(text, "process") == 0) {
        *(h5store_durability *)durability = H5STORE_DURABLE_PROCESS;
        return 1;
    }
    if (PyUnicode_Check(text) && PyUnicode_CompareWithASCIIString(text, "power") == 0) {
        *(h5store_durability *)durability = H5STORE_DURABLE_POWER;
        return 1;
    }
    PyErr_Format(PyExc_ValueError, "durability must be 'process' or 'power', not %R", text);
    return 0;
}

static PyObject *
store_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"path",    "create",  "read_only", "durability",
                            "timeout", "threads", NULL};
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    h5store_options options;
    PyObject *path = NULL;
    int create = 0, read_only = 0, rc;
    StoreObject *self;
    h5store_err err;

    h5store_options_init(&options);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&|$ppO&di:Store", names, PyUnicode_FSConverter,
                                     &path, &create, &read_only, durability_converter,
                                     &options.durability, &options.timeout, &options.threads))
        return NULL;
    options.flags = (create ? H5STORE_CREATE : 0u) | (read_only ? H5STORE_READ_ONLY : 0u);

    self = (StoreObject *)allocate(type, 0);
    if (self == NULL) {
        Py_DECREF(path);
        return NULL;
    }
    self->pid = getpid();
    self->idle = PyThread_allocate_lock();
    if (self->idle == NULL) {
        Py_DECREF(path);
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    (void)PyThread_acquire_lock(self->idle, NOWAIT_LOCK); /* released by the last to leave */

    CALL_BEGIN(PyType_GetModuleState(type))
    rc = h5store_open(PyBytes_AsString(path), &options, &self->store, &err);
    CALL_END
    Py_DECREF(path);
    if (rc < 0) {
        error_raise(PyType_GetModuleState(type), &err);
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void
store_dealloc(StoreObject *self)
{
    (void)store_close_handle(self, NULL);
    if (self->idle != NULL)
        PyThread_free_lock(self->idle);
    object_free((PyObject *)self);
}

static PyObject *
store_close(StoreObject *self, PyObject *Py_UNUSED(ignored))
{
    h5store_err err;

    if (store_close_handle(self, &err) < 0)
        return error_raise(state_of((PyObject *)self), &err);
    Py_RETURN_NONE;
}

static PyObject *
store_self(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Py_INCREF(self);
    return self;
}

static PyObject *
store_exit(StoreObject *self, PyObject *Py_UNUSED(args))
{
    return store_close(self, NULL);
}

static PyObject *
store_put(StoreObject *self, PyObject *args)
{
    const char *dtype;
    PyObject *object;
    int64_t strides[H5STORE_MAX_RANK];
    h5store_array array;
    h5store_id id;
    h5store_err err;
    h5store *store;
    int rc;

    if (!PyArg_ParseTuple(args, "Os", &object, &dtype) ||
        array_describe(object, dtype, &array, strides) < 0)
        return NULL;
    store = store_enter(self);
    if (store == NULL)
        return NULL;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_put(store, &array, &id, &err);
    CALL_END
    store_leave(self);
    if (rc < 0)
        return error_raise(state_of((PyObject *)self), &err);
    return id_to_text(&id);
}

static PyObject *
store_discard(StoreObject *self, PyObject *args)
{
    h5store_id id;
    h5store_err err;
    h5store *store;
    int rc;

    if (!PyArg_ParseTuple(args, "O&", id_converter, &id))
        return NULL;
    store = store_enter(self);
    if (store == NULL)
        return NULL;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_discard(store, &id, &err);
    CALL_END
    store_leave(self);
    if (rc < 0)
        return error_raise(state_of((PyObject *)self), &err);
    Py_RETURN_NONE;
}

static PyObject *
store_blob(StoreObject *self, PyObject *args)
{
    h5store_blob *blob = NULL;
    h5store_id id;
    h5store_err err;
    h5store *store;
    int rc;

    if (!PyArg_ParseTuple(args, "O&", id_converter, &id))
        return NULL;
    store = store_enter(self);
    if (store == NULL)
        return NULL;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_blob_open(store, &id, &blob, &err);
    CALL_END
    store_leave(self);
    if (rc < 0)
        return error_raise(state_of((PyObject *)self), &err);
    return blob_new(state_of((PyObject *)self), (PyObject *)self, blob, 0);
}

/* Collection and key as bytes; both are released by the caller, also on failure. */
static int
store_parse_names(PyObject *args, PyObject **collection, PyObject **key)
{
    PyObject *first, *second;

    *collection = *key = NULL;
    if (!PyArg_ParseTuple(args, "OO", &first, &second))
        return -1;
    *collection = text_encode(first, "collection");
    if (*collection == NULL)
        return -1;
    *key = text_encode(second, "key");
    return *key == NULL ? -1 : 0;
}

static PyObject *
store_has_item(StoreObject *self, PyObject *args)
{
    PyObject *collection, *key, *result = NULL;
    h5store_err err;
    h5store *store;
    int rc;

    if (store_parse_names(args, &collection, &key) < 0)
        goto done;
    store = store_enter(self);
    if (store == NULL)
        goto done;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_item_has(store, PyBytes_AsString(collection), PyBytes_AsString(key), &err);
    CALL_END
    store_leave(self);
    if (rc < 0 && rc != H5STORE_E_NOT_FOUND)
        error_raise(state_of((PyObject *)self), &err);
    else
        result = PyBool_FromLong(rc >= 0);
done:
    Py_XDECREF(collection);
    Py_XDECREF(key);
    return result;
}

static PyObject *
store_get_item(StoreObject *self, PyObject *args, int required)
{
    PyObject *collection, *key, *result = NULL;
    h5store_item *item = NULL;
    h5store_err err;
    h5store *store;
    int rc;

    if (store_parse_names(args, &collection, &key) < 0)
        goto done;
    store = store_enter(self);
    if (store == NULL)
        goto done;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_item_open(store, PyBytes_AsString(collection), PyBytes_AsString(key), &item, &err);
    CALL_END
    store_leave(self);
    if (rc == H5STORE_E_NOT_FOUND && !required)
        result = Py_NewRef(Py_None);
    else if (rc < 0)
        error_raise(state_of((PyObject *)self), &err);
    else
        result = item_new(state_of((PyObject *)self), self, item);
done:
    Py_XDECREF(collection);
    Py_XDECREF(key);
    return result;
}

static PyObject *
store_item(StoreObject *self, PyObject *args)
{
    return store_get_item(self, args, 1);
}

static PyObject *
store_find_item(StoreObject *self, PyObject *args)
{
    return store_get_item(self, args, 0);
}

/* A malloc'ed text from the library as str; released here. */
static PyObject *
store_take_text(char *text)
{
    PyObject *result = text_decode(text);

    free(text);
    return result;
}

static PyObject *
store_get_metadata(StoreObject *self, PyObject *args)
{
    PyObject *collection, *key, *result = NULL;
    char *metadata = NULL;
    h5store_err err;
    h5store *store;
    int rc;

    if (store_parse_names(args, &collection, &key) < 0)
        goto done;
    store = store_enter(self);
    if (store == NULL)
        goto done;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_item_get_metadata(store, PyBytes_AsString(collection), PyBytes_AsString(key),
                                   &metadata, &err);
    CALL_END
    store_leave(self);
    if (rc < 0)
        error_raise(state_of((PyObject *)self), &err);
    else
        result = store_take_text(metadata);
done:
    Py_XDECREF(collection);
    Py_XDECREF(key);
    return result;
}

static PyObject *
store_get_source(StoreObject *self, PyObject *name)
{
    PyObject *collection = text_encode(name, "collection");
    char *text = NULL;
    h5store_err err;
    h5store *store;
    int rc;

    if (collection == NULL)
        return NULL;
    store = store_enter(self);
    if (store == NULL) {
        Py_DECREF(collection);
        return NULL;
    }
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_get_source(store, PyBytes_AsString(collection), &text, &err);
    CALL_END
    store_leave(self);
    Py_DECREF(collection);
    if (rc < 0)
        return error_raise(state_of((PyObject *)self), &err);
    return store_take_text(text);
}

static PyObject *
store_blobs(StoreObject *self, PyObject *Py_UNUSED(ignored))
{
    return blob_cursor_new(state_of((PyObject *)self), self);
}

static PyObject *
store_items(StoreObject *self, PyObject *args)
{
    PyObject *name = Py_None, *collection, *result;

    if (!PyArg_ParseTuple(args, "|O", &name))
        return NULL;
    if (name == Py_None)
        return item_cursor_new(state_of((PyObject *)self), self, NULL);
    collection = text_encode(name, "collection");
    if (collection == NULL)
        return NULL;
    result = item_cursor_new(state_of((PyObject *)self), self, PyBytes_AsString(collection));
    Py_DECREF(collection);
    return result;
}

static PyObject *
store_batch(StoreObject *self, PyObject *Py_UNUSED(ignored))
{
    h5store_batch *batch = NULL;
    h5store_err err;
    h5store *store = store_enter(self);
    int rc;

    if (store == NULL)
        return NULL;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_batch_begin(store, &batch, &err);
    CALL_END
    store_leave(self);
    if (rc < 0)
        return error_raise(state_of((PyObject *)self), &err);
    return batch_new(state_of((PyObject *)self), self, batch);
}

static PyObject *
store_flush(StoreObject *self, PyObject *Py_UNUSED(ignored))
{
    h5store_err err;
    h5store *store = store_enter(self);
    int rc;

    if (store == NULL)
        return NULL;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_flush(store, &err);
    CALL_END
    store_leave(self);
    if (rc < 0)
        return error_raise(state_of((PyObject *)self), &err);
    Py_RETURN_NONE;
}

static PyStructSequence_Field totals_fields[] = {
    {"items", "cached results"},
    {"blobs", "distinct arrays"},
    {"links", "references from results to arrays"},
    {"blob_bytes", "bytes of the distinct arrays"},
    {"linked_bytes", "bytes if every reference had its own copy"},
    {"free_bytes", "space inside the file for later puts"},
    {"file_size", "length of the container file"},
    {"disk_bytes", "bytes it occupies on the disk, log included"},
    {"log_bytes", "length of the log"},
    {"used_bytes", "of the file, neither free nor removed nor reserved"},
    {"metadata_bytes", "of those, HDF5 metadata"},
    {NULL, NULL},
};

static PyStructSequence_Desc totals_desc = {
    "decache.Totals", "What a container holds in all, as of one commit.", totals_fields, 11};

static PyObject *
store_stat(StoreObject *self, PyObject *Py_UNUSED(ignored))
{
    h5store_totals totals;
    h5store_err err;
    h5store *store = store_enter(self);
    int rc;

    if (store == NULL)
        return NULL;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_stat(store, &totals, &err);
    CALL_END
    store_leave(self);
    if (rc < 0)
        return error_raise(state_of((PyObject *)self), &err);

    const uint64_t values[] = {
        totals.items,        totals.blobs,      totals.links,          totals.blob_bytes,
        totals.linked_bytes, totals.free_bytes, totals.file_size,      totals.disk_bytes,
        totals.log_bytes,    totals.used_bytes, totals.metadata_bytes,
    };

    return record_of_numbers(state_of((PyObject *)self)->totals_type, values, 11);
}

static PyObject *
store_get_path(StoreObject *self, void *Py_UNUSED(closure))
{
    h5store *store = store_enter(self);
    PyObject *path;

    if (store == NULL)
        return NULL;
    path = PyUnicode_DecodeFSDefault(h5store_path(store));
    store_leave(self);
    return path;
}

static PyObject *
store_get_notice(StoreObject *self, void *Py_UNUSED(closure))
{
    h5store *store = store_enter(self);
    PyObject *notice;

    if (store == NULL)
        return NULL;
    notice = text_decode(h5store_notice(store));
    store_leave(self);
    return notice;
}

static PyObject *
store_get_read_only(StoreObject *self, void *Py_UNUSED(closure))
{
    h5store *store = store_enter(self);
    PyObject *result;

    if (store == NULL)
        return NULL;
    result = PyBool_FromLong(h5store_is_read_only(store));
    store_leave(self);
    return result;
}

static PyObject *
store_get_closed(StoreObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->store == NULL);
}

static PyMethodDef store_methods[] = {
    {"close", (PyCFunction)store_close, METH_NOARGS, "Close; waits for calls of other threads."},
    {"__enter__", store_self, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)store_exit, METH_VARARGS, NULL},
    {"put", (PyCFunction)store_put, METH_VARARGS, "put(array, dtype) -> id"},
    {"discard", (PyCFunction)store_discard, METH_VARARGS, "discard(id)"},
    {"blob", (PyCFunction)store_blob, METH_VARARGS, "blob(id) -> Blob"},
    {"has_item", (PyCFunction)store_has_item, METH_VARARGS, "has_item(collection, key) -> bool"},
    {"item", (PyCFunction)store_item, METH_VARARGS, "item(collection, key) -> Item"},
    {"find_item", (PyCFunction)store_find_item, METH_VARARGS,
     "find_item(collection, key) -> Item, or None if there is none"},
    {"get_metadata", (PyCFunction)store_get_metadata, METH_VARARGS,
     "get_metadata(collection, key) -> str"},
    {"get_source", (PyCFunction)store_get_source, METH_O, "get_source(collection) -> str"},
    {"blobs", (PyCFunction)store_blobs, METH_NOARGS, "Iterate over BlobInfo."},
    {"items", (PyCFunction)store_items, METH_VARARGS, "items(collection=None): over ItemInfo."},
    {"batch", (PyCFunction)store_batch, METH_NOARGS, "batch() -> Batch"},
    {"stat", (PyCFunction)store_stat, METH_NOARGS, "stat() -> Totals"},
    {"flush", (PyCFunction)store_flush, METH_NOARGS, "Sync, and apply the log."},
    {"note", store_note, METH_VARARGS, "note(kind, collection, key, text='')"},
    {"usage", store_usage, METH_NOARGS, "usage() -> Usage"},
    {"misses", store_misses, METH_NOARGS, "misses() -> list of (time, collection, key, text)"},
    {"compact", store_compact, METH_VARARGS, "compact(progress=None) -> Compaction"},
    {"verify", (PyCFunction)(void (*)(void))store_verify, METH_VARARGS | METH_KEYWORDS,
     "verify(*, check='fast', fraction=1.0) -> list of Finding"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef store_getset[] = {
    {"path", (getter)store_get_path, NULL, "As it was given.", NULL},
    {"notice", (getter)store_get_notice, NULL, "What opening had to say, or ''.", NULL},
    {"read_only", (getter)store_get_read_only, NULL, NULL, NULL},
    {"closed", (getter)store_get_closed, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot store_slots[] = {
    {Py_tp_new, store_new},
    {Py_tp_dealloc, store_dealloc},
    {Py_tp_methods, store_methods},
    {Py_tp_getset, store_getset},
    {Py_tp_doc, "Store(path, *, create=False, read_only=False, durability='process', "
                "timeout=30.0, threads=0)"},
    {0, NULL},
};

static PyType_Spec store_spec = {
    .name = "decache._h5store.Store",
    .basicsize = sizeof(StoreObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = store_slots,
};

int
store_add(PyObject *module, module_state *state)
{
    if (module_add_record(module, &totals_desc, &state->totals_type) < 0)
        return -1;
    return module_add_type(module, &store_spec, &state->store_type);
}
