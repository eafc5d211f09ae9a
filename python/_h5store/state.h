/* SPDX-License-Identifier: MIT */
/*
 * What the files of decache._h5store share: the module's state, the object layouts, and
 * the rule by which the library is called.
 *
 * The rule.  Arguments are converted with the GIL held; the GIL is released round exactly
 * one call of libh5store (CALL_BEGIN); it is taken back before anything of Python is touched.
 * Python code runs inside the library only in callbacks (verify.c), which hold none of its locks,
 * so the GIL is never waited for with a lock of the library held, nor the other way round.
 *
 * Threads.  A Store may be shared: h5store is thread-safe, and store_enter/store_leave keep
 * close() from freeing the handle under a call that is on its way in.  Blobs, items, batches
 * and cursors are for one thread at a time in the library; their `busy` flag (guarded by the
 * GIL) turns a breach into an exception.
 */
#ifndef DECACHE_STATE_H
#define DECACHE_STATE_H

#define PY_SSIZE_T_CLEAN
#include <h5store/h5store.h>
#include <Python.h>
#include <pythread.h>
#include <sys/types.h>

/* One exception class for each code: slot -code. */
#define ERROR_CLASS_COUNT 17

typedef struct module_state {
    PyObject *find_lock;                        /* neighbour.c; NULL: no lock is needed */
    PyObject *error;                            /* decache.Error */
    PyObject *error_classes[ERROR_CLASS_COUNT]; /* slot 0 is unused */
    PyTypeObject *store_type;
    PyTypeObject *blob_type;
    PyTypeObject *blob_cursor_type;
    PyTypeObject *item_type;
    PyTypeObject *item_cursor_type;
    PyTypeObject *batch_type;
    PyTypeObject *hook_type;
    PyTypeObject *blob_info_type; /* struct sequences */
    PyTypeObject *item_info_type;
    PyTypeObject *totals_type;
    PyTypeObject *finding_type;
    PyTypeObject *usage_type;
    PyTypeObject *compaction_type;
    PyTypeObject *salvage_type;
} module_state;

typedef struct StoreObject {
    PyObject_HEAD h5store *store; /* NULL once closed */
    Py_ssize_t active;            /* calls between store_enter and store_leave */
    int closing;                  /* close() waits for `idle` */
    PyThread_type_lock idle;
    pid_t pid; /* of the process that opened it */
} StoreObject;

typedef struct BlobObject {
    PyObject_HEAD PyObject *owner; /* the Store or Item that it came from */
    h5store_blob *blob;
    int borrowed; /* the item closes it */
    int busy;
} BlobObject;

/* ---- module.c ---------------------------------------------------------- */

/* The state, from any object of one of our (final, immutable) types. */
module_state *state_of(PyObject *self);
/* Add a type made from a spec to the module; a new reference is left in *slot. */
int module_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot);
/* As above for a named tuple. */
int module_add_record(PyObject *module, PyStructSequence_Desc *desc, PyTypeObject **slot);
/* A named tuple of @p count whole numbers. */
PyObject *record_of_numbers(PyTypeObject *type, const uint64_t *numbers, Py_ssize_t count);
/* Free an object of one of our types and its reference to the type. */
void object_free(PyObject *self);

/* ---- neighbour.c ------------------------------------------------------- */

int neighbour_add(PyObject *module, module_state *state);
/* Take h5py's lock, where HDF5 needs it; to be given back.  NULL: there was none to take.  An
 * exception that is set stays set. */
PyObject *neighbour_enter(const module_state *state);
void neighbour_leave(PyObject *lock);

/* Round a call of the library that may use HDF5. */
#define CALL_BEGIN(state) \
    { \
        PyObject *call_lock = neighbour_enter(state); \
        Py_BEGIN_ALLOW_THREADS

#define CALL_END \
    Py_END_ALLOW_THREADS \
    neighbour_leave(call_lock); \
    }

/* ---- errors.c ---------------------------------------------------------- */

int errors_add(PyObject *module, module_state *state);
/* Raise what a failed call left in *err.  Always NULL. */
PyObject *error_raise(const module_state *state, const h5store_err *err);
/* The same for a failure that this module found. */
PyObject *error_raise_code(const module_state *state, int code, const char *message);

/* ---- text.c ------------------------------------------------------------ */

/*
 * Names travel as UTF-8 with surrogateescape, so that a name that is not UTF-8 survives the
 * way to Python and back.  A new bytes object; TypeError or ValueError (zero inside).
 */
PyObject *text_encode(PyObject *text, const char *what);
PyObject *text_decode(const char *bytes);
/* "O&" converters: a blob's name from 64 hex digits. */
int id_converter(PyObject *text, void *id);
PyObject *id_to_text(const h5store_id *id);
/* "O&" converter: "never", "fast" or "full" into an h5store_check. */
int check_converter(PyObject *text, void *check);

/* ---- store.c ----------------------------------------------------------- */

int store_add(PyObject *module, module_state *state);
/* NULL with an exception when closed; else the handle, to be given back by store_leave. */
h5store *store_enter(StoreObject *self);
void store_leave(StoreObject *self);

/* ---- the other types --------------------------------------------------- */

int blob_add(PyObject *module, module_state *state);
/* Takes over @p blob unless borrowed, also on failure; keeps a reference to owner. */
PyObject *blob_new(module_state *state, PyObject *owner, h5store_blob *blob, int borrowed);
PyObject *blob_info_new(module_state *state, const h5store_blob_info *info, const char *damage);
PyObject *blob_cursor_new(module_state *state, StoreObject *store);

int item_add(PyObject *module, module_state *state);
PyObject *item_new(module_state *state, StoreObject *store, h5store_item *item);
PyObject *item_cursor_new(module_state *state, StoreObject *store, const char *collection);

int batch_add(PyObject *module, module_state *state);
PyObject *batch_new(module_state *state, StoreObject *store, h5store_batch *batch);

int repair_add(PyObject *module, module_state *state);

int verify_add(PyObject *module, module_state *state);

/* The context of a call that tells Python how it goes.  Round the call: PyEval_SaveThread into
 * `thread`, and back from there; then PyErr_Occurred. */
typedef struct telling {
    module_state *state;
    PyObject *finding;  /* callable, for telling_finding */
    PyObject *progress; /* callable, for telling_progress; NULL or None: nobody is told */
    PyThreadState *thread;
} telling;

/* An h5store_finding_fn and an h5store_progress_fn. */
int telling_finding(const h5store_finding *finding, void *context);
int telling_progress(uint64_t done, uint64_t total, void *context);
/* Store.verify */
PyObject *store_verify(PyObject *self, PyObject *args, PyObject *kwargs);

int usage_add(PyObject *module, module_state *state);
/* Store.note, usage, misses, compact */
PyObject *store_note(PyObject *self, PyObject *args);
PyObject *store_usage(PyObject *self, PyObject *ignored);
PyObject *store_misses(PyObject *self, PyObject *ignored);
PyObject *store_compact(PyObject *self, PyObject *args);

int hook_add(PyObject *module, module_state *state);

/* ---- array.c: the only file that knows NumPy --------------------------- */

int array_import(void);
/* 1 if @p object is an ndarray (or subclass) without Python objects of more than
 * @p threshold bytes. */
int array_is_large(PyObject *object, Py_ssize_t threshold);
/*
 * Describe @p object for the library, which reads its memory where it lies; @p strides is
 * what the description points to for an array that is not contiguous.  Keep the object.
 */
int array_describe(PyObject *object, const char *dtype, h5store_array *array,
                   int64_t strides[H5STORE_MAX_RANK]);
/* A new array of the shape and order of a stored one; *data is its memory. */
PyObject *array_new(const module_state *state, const h5store_array *stored, PyObject *dtype,
                    void **data);
/*
 * Without the GIL: have the pages of a middling array's memory at once if they are new, before it
 * is read into.  One by one they take half as long again.
 */
void array_populate(void *data, size_t size);

#endif
