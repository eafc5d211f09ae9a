/* SPDX-License-Identifier: MIT */
/*
 * NumPy arrays as the library sees them: the only file with NumPy's headers.
 *
 * The dtype's description as text is made in decache/_dtype.py; here the bytes, the shape
 * and the order are taken from an array, and new arrays are made to read into.
 */
#include "slab.h"
#include "state.h"

#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#define NPY_TARGET_VERSION NPY_1_22_API_VERSION /* PyDataMem_SetHandler */
#include <malloc.h>
#include <numpy/arrayobject.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; before that it is refused */
#endif

int
array_import(void)
{
    slab_start();
#if NPY_ABI_VERSION >= 0x02000000
    return PyArray_ImportNumPyAPI();
#else
    return _import_array();
#endif
}

int
array_is_large(PyObject *object, Py_ssize_t threshold)
{
    PyArrayObject *array = (PyArrayObject *)object;

    return PyArray_Check(object) && PyArray_NBYTES(array) > threshold &&
           !PyDataType_REFCHK(PyArray_DESCR(array));
}

int
array_describe(PyObject *object, const char *dtype, h5store_array *array,
               int64_t strides[H5STORE_MAX_RANK])
{
    PyArrayObject *numpy = (PyArrayObject *)object;
    int whole;

    if (!PyArray_Check(object)) {
        PyErr_Format(PyExc_TypeError, "a NumPy array is expected, not %R", Py_TYPE(object));
        return -1;
    }
    if (PyDataType_REFCHK(PyArray_DESCR(numpy))) {
        PyErr_Format(PyExc_TypeError, "arrays of %R hold references and cannot be stored",
                     PyArray_DESCR(numpy));
        return -1;
    }
    if (PyArray_NDIM(numpy) > H5STORE_MAX_RANK) {
        PyErr_Format(PyExc_ValueError, "at most %d dimensions can be stored", H5STORE_MAX_RANK);
        return -1;
    }
    whole = PyArray_IS_C_CONTIGUOUS(numpy) || PyArray_IS_F_CONTIGUOUS(numpy);
    array->dtype = dtype;
    array->order = PyArray_IS_C_CONTIGUOUS(numpy) || !whole ? H5STORE_ORDER_C : H5STORE_ORDER_F;
    array->rank = PyArray_NDIM(numpy);
    for (int i = 0; i < array->rank; i++) {
        array->shape[i] = (uint64_t)PyArray_DIM(numpy, i);
        strides[i] = PyArray_STRIDE(numpy, i);
    }
    array->nbytes = (uint64_t)PyArray_NBYTES(numpy);
    array->data = PyArray_DATA(numpy);
    array->strides = whole ? NULL : strides;
    return 0;
}

/* ---- memory to read into ------------------------------------------------ */

/*
 * Large arrays that are read get memory that begins with a large page.  NumPy's own begins 16
 * bytes behind a page, where some CPUs copy from files at a third of the speed
 * (src/extent.c), and has small pages, slow to get, up to the first large one.
 *
 * Clearing new large pages still takes more than half of the time of reading into them.  So the
 * last block that went is kept for the next array of its size, which finds its pages where they
 * are: the results of a loop that drops them again.  Meanwhile the kernel may have the pages when
 * it needs some (MADV_FREE), and when memory of another size is asked for what was kept goes first.
 *
 * Middling ones of which many are alive share such memory (slab.c).  While few are, they are
 * malloc's: what it has kept of memory freed before is quicker than any that is new.  A large page
 * is all cleared for the first 64 KiB of it, and a virtual machine may have to get it from its host
 * first: 5 ms were seen, in each of eight workers.  (Memory that begins with a page, by
 * posix_memalign, malloc does not keep.)
 */
#define MEMORY_PAGE ((size_t)4096)
#define MEMORY_POPULATE_LEAST ((size_t)256 * 1024) /* for less, asking takes as long */
#define MEMORY_LARGE_PAGE ((size_t)2 * 1024 * 1024)
#define MEMORY_KEPT_MOST ((size_t)128 * 1024 * 1024)
#define MEMORY_FEW ((size_t)16 * 1024 * 1024) /* bytes of middling arrays that are alive */

static _Atomic(void *) memory_kept; /* whoever takes it out owns it */

static void *
memory_malloc(void *Py_UNUSED(context), size_t size)
{
    void *block = atomic_exchange(&memory_kept, NULL);
    size_t room = malloc_usable_size(block);

    /* What the alignment left over is in front of a block or behind it. */
    if (room >= size && room - size <= MEMORY_LARGE_PAGE + MEMORY_PAGE)
        return block;
    free(block);
    if (posix_memalign(&block, MEMORY_LARGE_PAGE, size) != 0)
        return NULL;
    /* Where it is not possible nothing is lost but time. */
    (void)madvise(block, size / MEMORY_LARGE_PAGE * MEMORY_LARGE_PAGE, MADV_HUGEPAGE);
    return block;
}

static void *
memory_calloc(void *Py_UNUSED(context), size_t count, size_t size)
{
    return calloc(count, size);
}

static void *
memory_realloc(void *Py_UNUSED(context), void *block, size_t size)
{
    return realloc(block, size);
}

static void
memory_free(void *Py_UNUSED(context), void *block, size_t Py_UNUSED(size))
{
    size_t room = malloc_usable_size(block);

    if (room > SLAB_MOST && room <= MEMORY_KEPT_MOST && (uintptr_t)block % MEMORY_LARGE_PAGE == 0 &&
        madvise(block, room / MEMORY_LARGE_PAGE * MEMORY_LARGE_PAGE, MADV_FREE) == 0)
        block = atomic_exchange(&memory_kept, block);
    free(block);
}

static void *
memory_slab_malloc(void *Py_UNUSED(context), size_t size)
{
    return slab_malloc(size);
}

static void *
memory_slab_calloc(void *Py_UNUSED(context), size_t count, size_t size)
{
    return slab_calloc(count, size);
}

static void *
memory_slab_realloc(void *Py_UNUSED(context), void *block, size_t size)
{
    return slab_realloc(block, size);
}

static void
memory_slab_free(void *Py_UNUSED(context), void *block, size_t Py_UNUSED(size))
{
    slab_free(block);
}

static _Atomic size_t memory_alive; /* bytes of what memory_count_malloc has given */

static void *
memory_count_malloc(void *Py_UNUSED(context), size_t size)
{
    void *block = malloc(size);

    memory_alive += malloc_usable_size(block);
    return block;
}

static void
memory_count_free(void *Py_UNUSED(context), void *block, size_t Py_UNUSED(size))
{
    memory_alive -= malloc_usable_size(block);
    free(block);
}

static void *
memory_count_calloc(void *Py_UNUSED(context), size_t count, size_t size)
{
    void *block = calloc(count, size);

    memory_alive += malloc_usable_size(block);
    return block;
}

static void *
memory_count_realloc(void *Py_UNUSED(context), void *block, size_t size)
{
    size_t before = malloc_usable_size(block);
    void *moved = realloc(block, size);

    if (moved != NULL)
        memory_alive += malloc_usable_size(moved) - before;
    return moved;
}

static PyDataMem_Handler memory_large = {
    "decache_large_pages", 1, {NULL, memory_malloc, memory_calloc, memory_realloc, memory_free}};
static PyDataMem_Handler memory_counted = {
    "decache_counted",
    1,
    {NULL, memory_count_malloc, memory_count_calloc, memory_count_realloc, memory_count_free}};
static PyDataMem_Handler memory_slabs = {
    "decache_slabs",
    1,
    {NULL, memory_slab_malloc, memory_slab_calloc, memory_slab_realloc, memory_slab_free}};

/* The allocator for an array that is read; NULL: NumPy's own. */
static PyDataMem_Handler *
memory_choose(uint64_t nbytes)
{
    if (nbytes > SLAB_MOST)
        return &memory_large;
    if (nbytes < SLAB_LEAST)
        return NULL;
    return memory_alive + nbytes > MEMORY_FEW ? &memory_slabs : &memory_counted;
}

/* PyArray_NewFromDescr, with memory of @p allocator, or NumPy's own if that is NULL. */
static PyObject *
memory_new_array(PyObject *dtype, int rank, npy_intp *shape, int flags,
                 PyDataMem_Handler *allocator)
{
    PyObject *handler = NULL, *before = NULL, *made, *error[3];

    if (allocator != NULL) {
        handler = PyCapsule_New(allocator, "mem_handler", NULL);
        if (handler == NULL)
            return NULL;
        before = PyDataMem_SetHandler(handler);
        Py_DECREF(handler);
        if (before == NULL)
            return NULL;
    }
    Py_INCREF(dtype); /* the next call steals it */
    made = PyArray_NewFromDescr(&PyArray_Type, (PyArray_Descr *)dtype, rank, shape, NULL, NULL,
                                flags, NULL);
    if (allocator != NULL) {
        PyErr_Fetch(&error[0], &error[1], &error[2]);
        Py_XDECREF(PyDataMem_SetHandler(before));
        Py_DECREF(before);
        PyErr_Restore(error[0], error[1], error[2]);
    }
    return made;
}

void
array_populate(void *data, size_t size)
{
    uintptr_t start = (uintptr_t)data, page = MEMORY_PAGE - 1;
    uintptr_t first = (start + page) & ~page, middle = (start + size / 2) & ~page;
    uintptr_t end = (start + size) & ~page;
    unsigned char is_there = 1;

    /* (Where pages are larger both calls are refused.) */
    if (size >= MEMORY_POPULATE_LEAST && size <= SLAB_MOST &&
        mincore((void *)middle, MEMORY_PAGE, &is_there) == 0 && !(is_there & 1))
        (void)madvise((void *)first, end - first, MADV_POPULATE_WRITE);
}

PyObject *
array_new(const module_state *state, const h5store_array *stored, PyObject *dtype, void **data)
{
    npy_intp shape[H5STORE_MAX_RANK];
    int fortran = stored->order == H5STORE_ORDER_F;
    PyObject *made;

    if (!PyArray_DescrCheck(dtype)) {
        PyErr_SetString(PyExc_TypeError, "dtype must be a numpy.dtype");
        return NULL;
    }
    if (PyDataType_REFCHK((PyArray_Descr *)dtype))
        return error_raise_code(state, H5STORE_E_DAMAGED,
                                "The stored description is of a type that holds references.");
    if (stored->rank < 0 || stored->rank > NPY_MAXDIMS)
        return error_raise_code(state, H5STORE_E_UNSUPPORTED,
                                "The stored array has more dimensions than this NumPy allows.");
    for (int i = 0; i < stored->rank; i++) {
        if (stored->shape[i] > (uint64_t)NPY_MAX_INTP)
            return error_raise_code(state, H5STORE_E_DAMAGED,
                                    "The stored shape is larger than memory can be.");
        shape[i] = (npy_intp)stored->shape[i];
    }

    made = memory_new_array(dtype, stored->rank, shape, fortran ? NPY_ARRAY_F_CONTIGUOUS : 0,
                            memory_choose(stored->nbytes));
    if (made == NULL)
        return NULL;
    if ((uint64_t)PyArray_NBYTES((PyArrayObject *)made) != stored->nbytes) {
        Py_DECREF(made);
        return error_raise_code(state, H5STORE_E_DAMAGED,
                                "The stored shape and element type do not match its size.");
    }
    *data = PyArray_DATA((PyArrayObject *)made);
    return made;
}
