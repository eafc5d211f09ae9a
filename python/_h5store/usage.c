/* SPDX-License-Identifier: MIT */
/*
 * Store.note, usage, misses and compact: what a container is used for, and its size.
 */
#include "state.h"

#include <string.h>

static int
usage_kind(const char *name, h5store_note_kind *kind)
{
    static const char *const names[] = {"hit", "miss", "heal"};

    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            *kind = (h5store_note_kind)i;
            return 0;
        }
    PyErr_Format(PyExc_ValueError, "a note is 'hit', 'miss' or 'heal', not '%s'", name);
    return -1;
}

PyObject *
store_note(PyObject *self, PyObject *args)
{
    PyObject *texts[3] = {NULL, NULL, NULL}, *bytes[3] = {NULL, NULL, NULL};
    static const char *const what[] = {"collection", "key", "text"};
    PyObject *result = NULL;
    h5store_note_kind kind = H5STORE_NOTE_HIT;
    const char *name;
    h5store_err err;
    h5store *store;
    int rc = 0;

    if (!PyArg_ParseTuple(args, "sUU|U:note", &name, &texts[0], &texts[1], &texts[2]) ||
        usage_kind(name, &kind) < 0)
        return NULL;
    for (int i = 0; i < 3 && rc == 0; i++)
        if (texts[i] != NULL && (bytes[i] = text_encode(texts[i], what[i])) == NULL)
            rc = -1;
    store = rc == 0 ? store_enter((StoreObject *)self) : NULL;
    if (store != NULL) {
        CALL_BEGIN(state_of((PyObject *)self))
        rc = h5store_note(store, kind, PyBytes_AsString(bytes[0]), PyBytes_AsString(bytes[1]),
                          bytes[2] != NULL ? PyBytes_AsString(bytes[2]) : "", &err);
        CALL_END
        store_leave((StoreObject *)self);
        result = rc < 0 ? error_raise(state_of(self), &err) : Py_NewRef(Py_None);
    }
    for (int i = 0; i < 3; i++)
        Py_XDECREF(bytes[i]);
    return result;
}

static PyStructSequence_Field usage_fields[] = {
    {"hits", "results that were read"},
    {"misses", "results that had to be computed"},
    {"heals", "damaged results that were computed again"},
    {"stored", "arrays that were written"},
    {"duplicates", "arrays that were there already"},
    {"duplicate_bytes", "bytes of those"},
    {NULL, NULL},
};

static PyStructSequence_Desc usage_desc = {
    "decache.Usage", "What a container was used for since it was made.", usage_fields, 6};

PyObject *
store_usage(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    h5store_usage usage;
    h5store_err err;
    h5store *store = store_enter((StoreObject *)self);
    int rc;

    if (store == NULL)
        return NULL;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_get_usage(store, &usage, &err);
    CALL_END
    store_leave((StoreObject *)self);
    if (rc < 0)
        return error_raise(state_of(self), &err);

    const uint64_t values[] = {usage.hits,   usage.misses,     usage.heals,
                               usage.stored, usage.duplicates, usage.duplicate_bytes};

    return record_of_numbers(state_of(self)->usage_type, values, 6);
}

static PyObject *
usage_miss(const h5store_miss *miss)
{
    PyObject *parts[4] = {PyFloat_FromDouble((double)miss->time * 1e-6),
                          text_decode(miss->collection), text_decode(miss->key),
                          text_decode(miss->text)};
    PyObject *tuple = NULL;

    if (parts[0] != NULL && parts[1] != NULL && parts[2] != NULL && parts[3] != NULL)
        tuple = PyTuple_Pack(4, parts[0], parts[1], parts[2], parts[3]);
    for (int i = 0; i < 4; i++)
        Py_XDECREF(parts[i]);
    return tuple;
}

PyObject *
store_misses(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    h5store_miss misses[H5STORE_MAX_MISSES];
    PyObject *list;
    size_t count;
    h5store_err err;
    h5store *store = store_enter((StoreObject *)self);
    int rc;

    if (store == NULL)
        return NULL;
    CALL_BEGIN(state_of((PyObject *)self))
    rc = h5store_get_misses(store, misses, &count, &err);
    CALL_END
    store_leave((StoreObject *)self);
    if (rc < 0)
        return error_raise(state_of(self), &err);
    list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *miss = usage_miss(&misses[i]);

        if (miss == NULL || PyList_Append(list, miss) < 0)
            Py_CLEAR(list);
        Py_XDECREF(miss);
    }
    return list;
}

static PyStructSequence_Field compaction_fields[] = {
    {"before_bytes", "size of the file before"},
    {"after_bytes", "size of the file after"},
    {"moved_bytes", "bytes of arrays that were moved"},
    {"moved", "arrays that were moved"},
    {"rebuilt", "1: the metadata was made anew"},
    {"left", "1: it was not, though the file would get shorter: others who have the container open "
             "would wait, or not all can be read"},
    {NULL, NULL},
};

static PyStructSequence_Desc compaction_desc = {"decache.Compaction", "What a compaction did.",
                                                compaction_fields, 6};

PyObject *
store_compact(PyObject *self, PyObject *args)
{
    h5store_compaction done;
    telling told = {.state = state_of(self)};
    h5store_err err;
    h5store *store;
    int rc;
    PyObject *lock;

    if (!PyArg_ParseTuple(args, "|O:compact", &told.progress))
        return NULL;
    store = store_enter((StoreObject *)self);
    if (store == NULL)
        return NULL;
    lock = neighbour_enter(told.state);
    told.thread = PyEval_SaveThread();
    rc = h5store_compact(store, telling_progress, &told, &done, &err);
    PyEval_RestoreThread(told.thread);
    neighbour_leave(lock);
    store_leave((StoreObject *)self);
    if (PyErr_Occurred())
        return NULL;
    if (rc < 0)
        return error_raise(told.state, &err);

    const uint64_t values[] = {done.size_before, done.size_after,        done.moved_bytes,
                               done.moved,       (uint64_t)done.rebuilt, (uint64_t)done.left};

    return record_of_numbers(told.state->compaction_type, values, 6);
}

int
usage_add(PyObject *module, module_state *state)
{
    if (module_add_record(module, &usage_desc, &state->usage_type) < 0)
        return -1;
    return module_add_record(module, &compaction_desc, &state->compaction_type);
}
