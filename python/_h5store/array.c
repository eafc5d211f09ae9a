/* SPDX-License-Identifier: MIT */
/*
 * NumPy arrays as the library sees them: the only file with NumPy's headers.
 *
 * The dtype's description as text is made in decache/_dtype.py; here the bytes, the shape
 * and the order are taken from an array, and new arrays are made to read into.
 */
#include "state.h"

#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#include <numpy/arrayobject.h>

int
array_import(void)
{
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

/*
 * The one place where an array may be copied: when its bytes do not lie in one piece in C or
 * Fortran order.
 */
static PyObject *
array_contiguous(PyObject *object)
{
    if (PyArray_IS_C_CONTIGUOUS((PyArrayObject *)object) ||
        PyArray_IS_F_CONTIGUOUS((PyArrayObject *)object)) {
        Py_INCREF(object);
        return object;
    }
    return PyArray_FromAny(object, NULL, 0, 0, NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ENSUREARRAY,
                           NULL);
}

int
array_describe(PyObject *object, const char *dtype, h5store_array *array, PyObject **owner)
{
    PyArrayObject *contiguous;

    if (!PyArray_Check(object)) {
        PyErr_Format(PyExc_TypeError, "a NumPy array is expected, not %R", Py_TYPE(object));
        return -1;
    }
    if (PyDataType_REFCHK(PyArray_DESCR((PyArrayObject *)object))) {
        PyErr_Format(PyExc_TypeError, "arrays of %R hold references and cannot be stored",
                     PyArray_DESCR((PyArrayObject *)object));
        return -1;
    }
    if (PyArray_NDIM((PyArrayObject *)object) > H5STORE_MAX_RANK) {
        PyErr_Format(PyExc_ValueError, "at most %d dimensions can be stored", H5STORE_MAX_RANK);
        return -1;
    }
    *owner = array_contiguous(object);
    if (*owner == NULL)
        return -1;

    contiguous = (PyArrayObject *)*owner;
    array->dtype = dtype;
    array->order =
        PyArray_IS_C_CONTIGUOUS(contiguous) ? H5STORE_ORDER_C : H5STORE_ORDER_F;
    array->rank = PyArray_NDIM(contiguous);
    for (int i = 0; i < array->rank; i++)
        array->shape[i] = (uint64_t)PyArray_DIM(contiguous, i);
    array->nbytes = (uint64_t)PyArray_NBYTES(contiguous);
    array->data = PyArray_DATA(contiguous);
    return 0;
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

    Py_INCREF(dtype); /* the next call steals it */
    made = PyArray_NewFromDescr(&PyArray_Type, (PyArray_Descr *)dtype, stored->rank, shape, NULL,
                                NULL, fortran ? NPY_ARRAY_F_CONTIGUOUS : 0, NULL);
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
