/* SPDX-License-Identifier: MIT */
/*
 * The Batch type: changes that are committed together.
 *
 * Owns the h5store_batch until commit or abort; a Batch that is dropped is aborted.  It keeps
 * its Store open.
 */
#include "state.h"

typedef struct BatchObject {
    PyObject_HEAD StoreObject *store;
    h5store_batch *batch; /* NULL once ended */
    int busy;
} BatchObject;

PyObject *
batch_new(module_state *state, StoreObject *store, h5store_batch *batch)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(state->batch_type, Py_tp_alloc);
    BatchObject *self = (BatchObject *)allocate(state->batch_type, 0);

    if (self == NULL) {
        h5store_batch_abort(batch);
        return NULL;
    }
    Py_INCREF((PyObject *)store);
    self->store = store;
    self->batch = batch;
    return (PyObject *)self;
}

static void
batch_end(BatchObject *self)
{
    h5store_batch *batch = self->batch;

    self->batch = NULL;
    if (batch != NULL) {
        CALL_BEGIN(state_of((PyObject *)self))
        h5store_batch_abort(batch);
        CALL_END
    }
}

static void
batch_dealloc(BatchObject *self)
{
    batch_end(self);
    Py_XDECREF((PyObject *)self->store);
    object_free((PyObject *)self);
}

static int
batch_claim(BatchObject *self)
{
    const char *message = NULL;

    if (self->batch == NULL)
        message = "The batch was committed or aborted already.";
    else if (self->busy)
        message = "The batch is in use by another thread.";
    if (message != NULL) {
        error_raise_code(state_of((PyObject *)self), H5STORE_E_INVALID, message);
        return -1;
    }
    self->busy = 1;
    return 0;
}

/* None, or the exception for a failed call. */
static PyObject *
batch_result(BatchObject *self, int rc, const h5store_err *err)
{
    if (rc < 0)
        return error_raise(state_of((PyObject *)self), err);
    Py_RETURN_NONE;
}

static PyObject *
batch_put(BatchObject *self, PyObject *args)
{
    const char *dtype;
    PyObject *object;
    int64_t strides[H5STORE_MAX_RANK];
    h5store_array array;
    h5store_id id;
    h5store_err err;
    int rc;

    if (!PyArg_ParseTuple(args, "Os", &object, &dtype) ||
        array_describe(object, dtype, &array, strides) < 0 || batch_claim(self) < 0)
        return NULL;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_batch_put(self->batch, &array, &id, &err);
    CALL_END
    self->busy = 0;
    if (rc < 0)
        return error_raise(state_of((PyObject *)self), &err);
    return id_to_text(&id);
}

/* What put_all lends to the library. */
struct batch_arrays {
    Py_ssize_t count;
    PyObject *objects; /* a tuple, so that nobody takes them away meanwhile */
    h5store_array *arrays;
    int64_t (*strides)[H5STORE_MAX_RANK];
    h5store_id *ids;
};

static void
batch_arrays_release(struct batch_arrays *given)
{
    PyMem_Free(given->arrays);
    PyMem_Free(given->strides);
    PyMem_Free(given->ids);
    Py_XDECREF(given->objects);
}

/* From sequences of arrays and of their dtypes' descriptions; what there is by then has to be
 * released also after a failure. */
static int
batch_arrays_take(struct batch_arrays *given, PyObject *arrays, PyObject *dtypes)
{
    size_t room;

    given->objects = PySequence_Tuple(arrays);
    if (given->objects == NULL)
        return -1;
    given->count = PyTuple_Size(given->objects);
    room = (size_t)given->count + 1;
    given->arrays = PyMem_Calloc(room, sizeof *given->arrays);
    given->strides = PyMem_Calloc(room, sizeof *given->strides);
    given->ids = PyMem_Calloc(room, sizeof *given->ids);
    if (given->arrays == NULL || given->strides == NULL || given->ids == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (PyTuple_Size(dtypes) != given->count) {
        PyErr_SetString(PyExc_ValueError, "one dtype for each array is expected");
        return -1;
    }
    for (Py_ssize_t i = 0; i < given->count; i++) {
        const char *dtype = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(dtypes, i), NULL);

        if (dtype == NULL || array_describe(PyTuple_GetItem(given->objects, i), dtype,
                                            &given->arrays[i], given->strides[i]) < 0)
            return -1;
    }
    return 0;
}

static PyObject *
batch_put_all(BatchObject *self, PyObject *args)
{
    struct batch_arrays given = {0};
    PyObject *arrays, *dtypes, *names = NULL;
    h5store_err err;
    int rc;

    if (!PyArg_ParseTuple(args, "OO!", &arrays, &PyTuple_Type, &dtypes))
        return NULL;
    if (batch_arrays_take(&given, arrays, dtypes) == 0 && batch_claim(self) == 0) {
        CALL_BEGIN(state_of((PyObject *)self))
        rc = h5store_batch_put_all(self->batch, given.arrays, (size_t)given.count, given.ids, &err);
        CALL_END
        self->busy = 0;
        if (rc < 0)
            error_raise(state_of((PyObject *)self), &err);
        else
            names = PyList_New(given.count);
    }
    for (Py_ssize_t i = 0; names != NULL && i < given.count; i++) {
        PyObject *name = id_to_text(&given.ids[i]);

        if (name == NULL || PyList_SetItem(names, i, name) < 0)
            Py_CLEAR(names);
    }
    batch_arrays_release(&given);
    return names;
}

static PyObject *
batch_compress(BatchObject *self, PyObject *args)
{
    h5store_err err;
    int level, rc;

    if (!PyArg_ParseTuple(args, "i", &level) || batch_claim(self) < 0)
        return NULL;
    rc = h5store_batch_compress(self->batch, level, &err);
    self->busy = 0;
    return batch_result(self, rc, &err);
}

/* A list of names as an array of ids, to be released with PyMem_Free. */
static h5store_id *
batch_parse_links(PyObject *links, Py_ssize_t *count)
{
    h5store_id *ids;

    *count = PySequence_Size(links);
    if (*count < 0)
        return NULL;
    ids = PyMem_Calloc((size_t)*count + 1, sizeof(*ids));
    if (ids == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < *count; i++) {
        PyObject *text = PySequence_GetItem(links, i);
        int ok = text != NULL && id_converter(text, &ids[i]);

        Py_XDECREF(text);
        if (!ok) {
            PyMem_Free(ids);
            return NULL;
        }
    }
    return ids;
}

static PyObject *
batch_set_item(BatchObject *self, PyObject *args)
{
    PyObject *first, *second, *links, *result = NULL;
    PyObject *collection = NULL, *key = NULL;
    h5store_item_spec spec = {0};
    h5store_id *ids = NULL;
    Py_ssize_t count, output_size;
    h5store_err err;
    int rc;

    if (!PyArg_ParseTuple(args, "OOy#sO", &first, &second, (const char **)&spec.output,
                          &output_size, &spec.metadata, &links))
        return NULL;
    collection = text_encode(first, "collection");
    if (collection == NULL)
        return NULL;
    key = text_encode(second, "key");
    if (key == NULL)
        goto done;
    ids = batch_parse_links(links, &count);
    if (ids == NULL || batch_claim(self) < 0)
        goto done;

    spec.collection = PyBytes_AsString(collection);
    spec.key = PyBytes_AsString(key);
    spec.output_size = (size_t)output_size;
    spec.links = ids;
    spec.link_count = (size_t)count;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_batch_set_item(self->batch, &spec, &err);
    CALL_END
    self->busy = 0;
    result = batch_result(self, rc, &err);
done:
    PyMem_Free(ids);
    Py_DECREF(collection);
    Py_XDECREF(key);
    return result;
}

/* A name that may be None; *text is NULL then.  -1 with an exception, else 0. */
static int
batch_optional(PyObject *object, const char *what, PyObject **bytes, const char **text)
{
    *bytes = NULL;
    *text = NULL;
    if (object == Py_None)
        return 0;
    *bytes = text_encode(object, what);
    if (*bytes == NULL)
        return -1;
    *text = PyBytes_AsString(*bytes);
    return 0;
}

static PyObject *
batch_set_metadata(BatchObject *self, PyObject *args)
{
    PyObject *objects[3], *bytes[3] = {NULL, NULL, NULL}, *result = NULL;
    static const char *const what[] = {"collection", "key", "metadata"};
    h5store_err err;
    int rc;

    if (!PyArg_ParseTuple(args, "OOO", &objects[0], &objects[1], &objects[2]))
        return NULL;
    for (int i = 0; i < 3; i++) {
        bytes[i] = text_encode(objects[i], what[i]);
        if (bytes[i] == NULL)
            goto done;
    }
    if (batch_claim(self) < 0)
        goto done;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_batch_set_metadata(self->batch, PyBytes_AsString(bytes[0]),
                                    PyBytes_AsString(bytes[1]), PyBytes_AsString(bytes[2]), &err);
    CALL_END
    self->busy = 0;
    result = batch_result(self, rc, &err);
done:
    for (int i = 0; i < 3; i++)
        Py_XDECREF(bytes[i]);
    return result;
}

/* Seconds as Python has them, in microseconds; what is no such time becomes 0. */
static uint64_t
batch_microseconds(double seconds)
{
    return seconds > 0 && seconds < 1e12 ? (uint64_t)(seconds * 1e6 + 0.5) : 0;
}

static PyObject *
batch_set_times(BatchObject *self, PyObject *args)
{
    PyObject *first, *second, *collection, *key, *result = NULL;
    double stored, used;
    h5store_err err;
    int rc;

    if (!PyArg_ParseTuple(args, "OOdd", &first, &second, &stored, &used))
        return NULL;
    collection = text_encode(first, "collection");
    key = collection != NULL ? text_encode(second, "key") : NULL;
    if (key != NULL && batch_claim(self) == 0) {
        rc = h5store_batch_set_times(self->batch, PyBytes_AsString(collection),
                                     PyBytes_AsString(key), batch_microseconds(stored),
                                     batch_microseconds(used), &err);
        self->busy = 0;
        result = batch_result(self, rc, &err);
    }
    Py_XDECREF(collection);
    Py_XDECREF(key);
    return result;
}

/* Both set_source and remove take a pair of texts. */
typedef int pair_function(h5store_batch *, const char *, const char *, h5store_err *);

static PyObject *
batch_call_pair(BatchObject *self, PyObject *args, const char *second_name, pair_function *call)
{
    PyObject *first, *second, *first_bytes = NULL, *second_bytes = NULL, *result = NULL;
    const char *first_text, *second_text;
    h5store_err err;
    int rc;

    if (!PyArg_ParseTuple(args, "OO", &first, &second))
        return NULL;
    if (batch_optional(first, "collection", &first_bytes, &first_text) < 0 ||
        batch_optional(second, second_name, &second_bytes, &second_text) < 0 ||
        batch_claim(self) < 0)
        goto done;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = call(self->batch, first_text, second_text, &err);
    CALL_END
    self->busy = 0;
    result = batch_result(self, rc, &err);
done:
    Py_XDECREF(first_bytes);
    Py_XDECREF(second_bytes);
    return result;
}

static PyObject *
batch_set_source(BatchObject *self, PyObject *args)
{
    return batch_call_pair(self, args, "text", h5store_batch_set_source);
}

static PyObject *
batch_remove(BatchObject *self, PyObject *args)
{
    return batch_call_pair(self, args, "key", h5store_batch_remove);
}

static PyObject *
batch_commit(BatchObject *self, PyObject *Py_UNUSED(ignored))
{
    h5store_batch *batch;
    h5store_err err;
    int rc;

    if (batch_claim(self) < 0)
        return NULL;
    batch = self->batch;
    self->batch = NULL; /* released by the call, whatever it returns */
    self->busy = 0;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_batch_commit(batch, &err);
    CALL_END
    return batch_result(self, rc, &err);
}

static PyObject *
batch_abort(BatchObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self->busy)
        return error_raise_code(state_of((PyObject *)self), H5STORE_E_INVALID,
                                "The batch is in use by another thread.");
    batch_end(self);
    Py_RETURN_NONE;
}

static PyMethodDef batch_methods[] = {
    {"put", (PyCFunction)batch_put, METH_VARARGS, "put(array, dtype) -> id"},
    {"put_all", (PyCFunction)batch_put_all, METH_VARARGS,
     "put_all(arrays, dtypes) -> list of ids; those that are not large side by side"},
    {"compress", (PyCFunction)batch_compress, METH_VARARGS,
     "compress(level): arrays put from now on; 0: no more"},
    {"set_item", (PyCFunction)batch_set_item, METH_VARARGS,
     "set_item(collection, key, output, metadata, links)"},
    {"set_metadata", (PyCFunction)batch_set_metadata, METH_VARARGS,
     "set_metadata(collection, key, metadata)"},
    {"set_times", (PyCFunction)batch_set_times, METH_VARARGS,
     "set_times(collection, key, stored, used): seconds since the epoch; 0: not known"},
    {"set_source", (PyCFunction)batch_set_source, METH_VARARGS, "set_source(collection, text)"},
    {"remove", (PyCFunction)batch_remove, METH_VARARGS,
     "remove(collection, key): either may be None"},
    {"commit", (PyCFunction)batch_commit, METH_NOARGS, "Make all of it so, or nothing."},
    {"abort", (PyCFunction)batch_abort, METH_NOARGS, "Forget it."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot batch_slots[] = {
    {Py_tp_dealloc, batch_dealloc},
    {Py_tp_methods, batch_methods},
    {Py_tp_doc, "Changes that are committed together, or not at all."},
    {0, NULL},
};

static PyType_Spec batch_spec = {
    .name = "decache._h5store.Batch",
    .basicsize = sizeof(BatchObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = batch_slots,
};

int
batch_add(PyObject *module, module_state *state)
{
    return module_add_type(module, &batch_spec, &state->batch_type);
}
