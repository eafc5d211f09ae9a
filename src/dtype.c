/* SPDX-License-Identifier: MIT */
/*
 * From NumPy's descriptions to HDF5's types.
 *
 * blob.c makes datasets of these types.  Where h5py has a type for a dtype, it is the
 * same one, so that h5py gives the dtype back:
 *
 *   bool             enum of int8, FALSE = 0, TRUE = 1
 *   int, uint        two's complement in the byte order given
 *   float            IEEE 2, 4 or 8 bytes; long double as this machine has it
 *   complex          compound of the floats r and i
 *   'S'              fixed string, padded with zeros, ASCII
 *   'U', 'M', 'm'    opaque, with the tag that h5py.opaque_dtype gives: NUMPY:<M8[ns]
 *   'V'              opaque without a tag
 *   record           compound of the fields at the same offsets, padding kept
 *   subarray         array
 *
 * A record that HDF5 has no compound for becomes opaque, without a tag: h5py shows any
 * other tag as data that cannot be read.  The dtype attribute holds the truth, so
 * nothing is lost but the view.  Fields without bytes are left out of a compound.
 */
#include "dtype.h"
#include "dtype_parse.h"
#include "h5util.h"
#include <assert.h>
#include <stdio.h>

/*
 * A type lies in an object header message of at most 65,535 bytes.  H5Tencode measures the
 * oldest form, which is the longest: about a thousand plain fields fit, as in h5py's files.
 * A member takes 11 bytes at the very least (name, offset, type), so with more members
 * than that H5Tinsert, whose cost grows with the members there are, need not be tried.
 */
#define DTYPE_MAX_ENCODED 60000
#define DTYPE_MAX_MEMBERS (DTYPE_MAX_ENCODED / 11)

static int dtype_build(const hs_dtype *from, hid_t *type, h5store_err *err);

int
hs_dtype_itemsize(const char *descr, size_t *itemsize, h5store_err *err)
{
    HS_CLEANUP(hs_dtype_freep) hs_dtype *parsed = NULL;
    int rc = hs_dtype_parse(descr, &parsed, err);

    if (rc == H5STORE_OK)
        *itemsize = parsed->itemsize;
    return rc;
}

/* Hand a type over: its cleanup then does nothing. */
static hid_t
dtype_take(hid_t *type)
{
    hid_t taken = *type;

    *type = H5I_INVALID_HID;
    return taken;
}

static int
dtype_fail(h5store_err *err)
{
    return hs_h5_fail(err, H5STORE_E_HDF5, "cannot make an HDF5 type of a dtype");
}

/* ---- plain types ------------------------------------------------------------ */

static int
dtype_build_bool(hid_t *type, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_type) hid_t made = H5Tenum_create(H5T_STD_I8LE);
    const int8_t no = 0, yes = 1;

    if (made < 0 || H5Tenum_insert(made, "FALSE", &no) < 0 ||
        H5Tenum_insert(made, "TRUE", &yes) < 0)
        return dtype_fail(err);
    *type = dtype_take(&made);
    return H5STORE_OK;
}

static int
dtype_build_integer(const hs_dtype *from, hid_t *type, h5store_err *err)
{
    const hid_t natural[2][4] = {
        {H5T_STD_U8LE, H5T_STD_U16LE, H5T_STD_U32LE, H5T_STD_U64LE},
        {H5T_STD_I8LE, H5T_STD_I16LE, H5T_STD_I32LE, H5T_STD_I64LE},
    };
    int power = __builtin_ctzll(from->itemsize);
    HS_CLEANUP(hs_h5_close_type)
    hid_t made = H5Tcopy(natural[from->kind == HS_DTYPE_INT][power]);

    /* One byte has no order; h5py writes and finds little. */
    if (made < 0 ||
        (from->itemsize > 1 && from->big_endian && H5Tset_order(made, H5T_ORDER_BE) < 0))
        return dtype_fail(err);
    *type = dtype_take(&made);
    return H5STORE_OK;
}

/* Half precision: a sign, 5 bits of exponent with bias 15, 10 of mantissa. */
static bool
dtype_make_half(hid_t type)
{
    return H5Tset_fields(type, 15, 10, 5, 0, 10) >= 0 && H5Tset_size(type, 2) >= 0 &&
           H5Tset_ebias(type, 15) >= 0;
}

static int
dtype_build_float(size_t size, bool big_endian, hid_t *type, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_type) hid_t made = H5I_INVALID_HID;

    if (size > 8 && size != sizeof(long double))
        return hs_fail(err, H5STORE_E_UNSUPPORTED, 0,
                       "floats of %zu bytes: the long double of this machine has %zu; convert "
                       "the array to '<f8'",
                       size, sizeof(long double));
    made = H5Tcopy(size > 8 ? H5T_NATIVE_LDOUBLE : size == 8 ? H5T_IEEE_F64LE : H5T_IEEE_F32LE);
    if (made < 0 || (size == 2 && !dtype_make_half(made)) ||
        H5Tset_order(made, big_endian ? H5T_ORDER_BE : H5T_ORDER_LE) < 0)
        return dtype_fail(err);
    *type = dtype_take(&made);
    return H5STORE_OK;
}

static int
dtype_build_complex(const hs_dtype *from, hid_t *type, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_type) hid_t part = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_type) hid_t made = H5I_INVALID_HID;
    size_t half = from->itemsize / 2;
    int rc = dtype_build_float(half, from->big_endian, &part, err);

    if (rc < 0)
        return rc;
    made = H5Tcreate(H5T_COMPOUND, from->itemsize);
    if (made < 0 || H5Tinsert(made, "r", 0, part) < 0 || H5Tinsert(made, "i", half, part) < 0)
        return dtype_fail(err);
    *type = dtype_take(&made);
    return H5STORE_OK;
}

static int
dtype_build_string(size_t size, hid_t *type, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_type) hid_t made = H5Tcopy(H5T_C_S1);

    if (made < 0 || H5Tset_size(made, size) < 0 || H5Tset_strpad(made, H5T_STR_NULLPAD) < 0)
        return dtype_fail(err);
    *type = dtype_take(&made);
    return H5STORE_OK;
}

/* @p code NULL: without a tag. */
static int
dtype_build_opaque(size_t size, const char *code, hid_t *type, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_type) hid_t made = H5Tcreate(H5T_OPAQUE, size);
    char tag[sizeof "NUMPY:" + sizeof((hs_dtype *)NULL)->code];

    snprintf(tag, sizeof tag, "NUMPY:%s", code == NULL ? "" : code);
    if (made < 0 || H5Tset_tag(made, code == NULL ? "" : tag) < 0)
        return dtype_fail(err);
    *type = dtype_take(&made);
    return H5STORE_OK;
}

/* ---- types of types ---------------------------------------------------------- */

static int
dtype_build_subarray(const hs_dtype *from, hid_t *type, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_type) hid_t base = H5I_INVALID_HID;
    HS_CLEANUP(hs_h5_close_type) hid_t made = H5I_INVALID_HID;
    hsize_t dims[H5S_MAX_RANK];
    int rank = from->rank;
    int rc = dtype_build(from->base, &base, err);

    if (rc < 0)
        return rc;
    /* More dimensions than HDF5 has: the elements in one row. */
    if (rank > H5S_MAX_RANK) {
        dims[0] = from->itemsize / from->base->itemsize;
        rank = 1;
    } else {
        for (int i = 0; i < rank; i++)
            dims[i] = from->dims[i];
    }
    made = H5Tarray_create2(base, (unsigned)rank, dims);
    if (made < 0)
        return dtype_fail(err);
    *type = dtype_take(&made);
    return H5STORE_OK;
}

static bool
dtype_field_is_member(const hs_dtype_field *field)
{
    return !field->padding && field->type->itemsize > 0;
}

static int
dtype_compare_offsets(const void *a, const void *b)
{
    const hs_dtype_field *one = *(hs_dtype_field *const *)a;
    const hs_dtype_field *two = *(hs_dtype_field *const *)b;

    return (one->offset > two->offset) - (one->offset < two->offset);
}

/* Can HDF5 have a compound of it?  Not with names it cannot hold, or overlapping fields. */
static int
dtype_is_compound(const hs_dtype *record, bool *is_compound, h5store_err *err)
{
    HS_CLEANUP(hs_freep) const hs_dtype_field **members = NULL;
    const hs_dtype_field *field;
    size_t count = 0;

    *is_compound = false;
    for (field = record->fields; field != NULL; field = field->next) {
        if (!dtype_field_is_member(field))
            continue;
        if (!field->plain_name)
            return H5STORE_OK;
        count++;
    }
    if (count == 0 || count > DTYPE_MAX_MEMBERS)
        return H5STORE_OK;
    members = calloc(count, sizeof *members);
    if (members == NULL)
        return hs_fail_nomem(err, count * sizeof *members, "a dtype");
    count = 0;
    for (field = record->fields; field != NULL; field = field->next)
        if (dtype_field_is_member(field))
            members[count++] = field;
    qsort(members, count, sizeof *members, dtype_compare_offsets);
    for (size_t i = 1; i < count; i++)
        if (members[i - 1]->offset + members[i - 1]->type->itemsize > members[i]->offset)
            return H5STORE_OK;
    *is_compound = true;
    return H5STORE_OK;
}

static int
dtype_build_record(const hs_dtype *from, hid_t *type, h5store_err *err)
{
    HS_CLEANUP(hs_h5_close_type) hid_t made = H5I_INVALID_HID;
    bool is_compound;
    int rc = dtype_is_compound(from, &is_compound, err);

    if (rc < 0)
        return rc;
    if (!is_compound)
        return dtype_build_opaque(from->itemsize, NULL, type, err);
    made = H5Tcreate(H5T_COMPOUND, from->itemsize);
    if (made < 0)
        return dtype_fail(err);
    for (const hs_dtype_field *field = from->fields; field != NULL; field = field->next) {
        HS_CLEANUP(hs_h5_close_type) hid_t member = H5I_INVALID_HID;

        if (!dtype_field_is_member(field))
            continue;
        rc = dtype_build(field->type, &member, err);
        if (rc < 0)
            return rc;
        if (H5Tinsert(made, field->name, field->offset, member) < 0)
            return dtype_fail(err);
    }
    *type = dtype_take(&made);
    return H5STORE_OK;
}

/* @p from has bytes: HDF5 has no type of size 0. */
static int
dtype_build(const hs_dtype *from, hid_t *type, h5store_err *err)
{
    assert(from->itemsize > 0);
    switch (from->kind) {
    case HS_DTYPE_BOOL:
        return dtype_build_bool(type, err);
    case HS_DTYPE_INT:
    case HS_DTYPE_UINT:
        return dtype_build_integer(from, type, err);
    case HS_DTYPE_FLOAT:
        return dtype_build_float(from->itemsize, from->big_endian, type, err);
    case HS_DTYPE_COMPLEX:
        return dtype_build_complex(from, type, err);
    case HS_DTYPE_BYTES:
        return dtype_build_string(from->itemsize, type, err);
    case HS_DTYPE_TIME:
    case HS_DTYPE_TEXT:
        return dtype_build_opaque(from->itemsize, from->code, type, err);
    case HS_DTYPE_VOID:
        return dtype_build_opaque(from->itemsize, NULL, type, err);
    case HS_DTYPE_RECORD:
        return dtype_build_record(from, type, err);
    case HS_DTYPE_SUBARRAY:
        return dtype_build_subarray(from, type, err);
    }
    abort(); /* all kinds are above */
}

int
hs_dtype_to_hdf5(const char *descr, hid_t *type, h5store_err *err)
{
    HS_CLEANUP(hs_dtype_freep) hs_dtype *parsed = NULL;
    HS_CLEANUP(hs_h5_close_type) hid_t made = H5I_INVALID_HID;
    size_t encoded = 0;
    int rc = hs_dtype_parse(descr, &parsed, err);

    if (rc < 0)
        return rc;
    if (parsed->itemsize == 0)
        return hs_fail(err, H5STORE_E_UNSUPPORTED, 0,
                       "HDF5 has no type for elements of 0 bytes; keep the dtype in words alone");
    rc = dtype_build(parsed, &made, err);
    if (rc < 0)
        return rc;
    assert(H5Tget_size(made) == parsed->itemsize);
    if (H5Tencode(made, NULL, &encoded) < 0)
        return dtype_fail(err);
    if (encoded > DTYPE_MAX_ENCODED)
        return dtype_build_opaque(parsed->itemsize, NULL, type, err);
    *type = dtype_take(&made);
    return H5STORE_OK;
}

/* Inside HDF5. */
static int
dtype_encode(const char *descr, uint8_t **message, size_t *size, h5store_err *err)
{
    /* What H5Tencode puts before the message: its kind, and the version of that. */
    static const uint8_t head[2] = {3, 0};
    HS_CLEANUP(hs_h5_close_type) hid_t type = H5I_INVALID_HID;
    HS_CLEANUP(hs_freep) uint8_t *encoded = NULL;
    size_t length = 0;
    int rc = hs_dtype_to_hdf5(descr, &type, err);

    if (rc < 0)
        return rc;
    if (H5Tencode(type, NULL, &length) < 0)
        return dtype_fail(err);
    encoded = malloc(length + 1);
    if (encoded == NULL)
        return hs_fail_nomem(err, length, "a type");
    if (H5Tencode(type, encoded, &length) < 0)
        return dtype_fail(err);
    if (length < sizeof head + 8 || memcmp(encoded, head, sizeof head) != 0)
        return hs_fail(err, H5STORE_E_UNSUPPORTED, 0,
                       "HDF5 encodes the type of '%s' in an unknown way", descr);
    *size = length - sizeof head;
    memmove(encoded, encoded + sizeof head, *size);
    *message = hs_take(&encoded);
    return H5STORE_OK;
}

int
hs_dtype_encode(const char *descr, uint8_t **message, size_t *size, h5store_err *err)
{
    int rc;

    hs_h5_enter();
    rc = dtype_encode(descr, message, size, err);
    hs_h5_leave();
    return rc;
}
