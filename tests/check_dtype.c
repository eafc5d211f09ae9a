/* SPDX-License-Identifier: MIT */
/*
 * Descriptions of element types: item sizes, the HDF5 types made of them, refusals.
 *
 * HDF5 types are compared as text.  show_type writes all that HDF5 tells about a type, so
 * that the table below is complete: a wrong byte order, bias, offset or tag shows.  That
 * the types equal h5py's is tested with h5py itself, in tests/python.
 */
#include "dtype.h"
#include "h5util.h"
#include "suites.h"
#include "vfd_compat.h"
#include <check.h>
#include <stdio.h>

/* ---- HDF5 types as text ------------------------------------------------------- */

struct page {
    char text[2048];
    size_t used;
};

static void HS_PRINTF(2, 3) put(struct page *page, const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(page->text + page->used, sizeof page->text - page->used, format, arguments);
    va_end(arguments);
    ck_assert_int_ge(length, 0);
    page->used += (size_t)length;
    ck_assert_uint_lt(page->used, sizeof page->text);
}

static char
order_mark(hid_t type)
{
    H5T_order_t order = H5Tget_order(type);

    return order == H5T_ORDER_LE ? '<' : order == H5T_ORDER_BE ? '>' : '?';
}

/* i4<, u1< */
static void
show_integer(hid_t type, struct page *page)
{
    put(page, "%c%zu%c", H5Tget_sign(type) == H5T_SGN_NONE ? 'u' : 'i', H5Tget_size(type),
        order_mark(type));
    ck_assert_uint_eq(H5Tget_precision(type), 8 * H5Tget_size(type));
    ck_assert_int_eq(H5Tget_offset(type), 0);
}

/* f4<(32: s31 e23+8 m0+23 b127 n1): precision, places of the fields, bias, normalisation */
static void
show_float(hid_t type, struct page *page)
{
    size_t sign, exponent, exponent_bits, mantissa, mantissa_bits;

    H5Tget_fields(type, &sign, &exponent, &exponent_bits, &mantissa, &mantissa_bits);
    put(page, "f%zu%c(%zu: s%zu e%zu+%zu m%zu+%zu b%zu n%d)", H5Tget_size(type), order_mark(type),
        H5Tget_precision(type), sign, exponent, exponent_bits, mantissa, mantissa_bits,
        H5Tget_ebias(type), (int)H5Tget_norm(type));
    ck_assert_int_eq(H5Tget_offset(type), 0);
    ck_assert_int_eq(H5Tget_inpad(type), H5T_PAD_ZERO);
}

static void show_type(hid_t type, struct page *page);

static void
show_members(hid_t type, struct page *page)
{
    bool is_enum = H5Tget_class(type) == H5T_ENUM;

    for (int i = 0; i < H5Tget_nmembers(type); i++) {
        char *name = H5Tget_member_name(type, (unsigned)i);
        int8_t value = -1;

        put(page, "%s%s", i == 0 ? "" : ", ", name);
        H5free_memory(name);
        if (is_enum) {
            H5Tget_member_value(type, (unsigned)i, &value);
            put(page, "=%d", value);
        } else {
            hid_t member = H5Tget_member_type(type, (unsigned)i);

            put(page, "@%zu ", H5Tget_member_offset(type, (unsigned)i));
            show_type(member, page);
            H5Tclose(member);
        }
    }
}

static void
show_array(hid_t type, struct page *page)
{
    hid_t base = H5Tget_super(type);
    hsize_t dims[H5S_MAX_RANK];
    int rank = H5Tget_array_dims2(type, dims);

    put(page, "[");
    for (int i = 0; i < rank; i++)
        put(page, "%s%llu", i == 0 ? "" : ",", (unsigned long long)dims[i]);
    put(page, "] ");
    show_type(base, page);
    H5Tclose(base);
}

static void
show_type(hid_t type, struct page *page)
{
    hid_t base;
    char *tag;

    switch (H5Tget_class(type)) {
    case H5T_INTEGER:
        show_integer(type, page);
        break;
    case H5T_FLOAT:
        show_float(type, page);
        break;
    case H5T_STRING:
        put(page, "string%zu%s%s", H5Tget_size(type),
            H5Tget_strpad(type) == H5T_STR_NULLPAD ? "" : " not padded with zeros",
            H5Tget_cset(type) == H5T_CSET_ASCII ? "" : " not ASCII");
        break;
    case H5T_OPAQUE:
        tag = H5Tget_tag(type);
        put(page, "opaque%zu '%s'", H5Tget_size(type), tag);
        H5free_memory(tag);
        break;
    case H5T_ENUM:
        base = H5Tget_super(type);
        put(page, "enum ");
        show_type(base, page);
        H5Tclose(base);
        put(page, " {");
        show_members(type, page);
        put(page, "}");
        break;
    case H5T_COMPOUND:
        put(page, "%zu{", H5Tget_size(type));
        show_members(type, page);
        put(page, "}");
        break;
    case H5T_ARRAY:
        show_array(type, page);
        break;
    default:
        put(page, "class %d", (int)H5Tget_class(type));
    }
}

/* ---- what is accepted ---------------------------------------------------------- */

#define F2(order) "f2" order "(16: s15 e10+5 m0+10 b15 n0)"
#define F4(order) "f4" order "(32: s31 e23+8 m0+23 b127 n0)"
#define F8(order) "f8" order "(64: s63 e52+11 m0+52 b1023 n0)"
#define F16(order) "f16" order "(80: s79 e64+15 m0+64 b16383 n2)" /* x87 */
#define BOOL "enum i1< {FALSE=0, TRUE=1}"

static const struct good {
    const char *descr;
    size_t itemsize;
    const char *hdf5; /* NULL: UNSUPPORTED there, since it has no bytes */
} goods[] = {
    {"'|b1'", 1, BOOL},
    {"'|i1'", 1, "i1<"},
    {"'|u1'", 1, "u1<"},
    {"'<i1'", 1, "i1<"},
    {"'>u1'", 1, "u1<"},
    {"'<i2'", 2, "i2<"},
    {"'>i2'", 2, "i2>"},
    {"'<u2'", 2, "u2<"},
    {"'>u2'", 2, "u2>"},
    {"'<i4'", 4, "i4<"},
    {"'>i4'", 4, "i4>"},
    {"'<u4'", 4, "u4<"},
    {"'>u4'", 4, "u4>"},
    {"'<i8'", 8, "i8<"},
    {"'>i8'", 8, "i8>"},
    {"'<u8'", 8, "u8<"},
    {"'>u8'", 8, "u8>"},
    {"\"<i4\"", 4, "i4<"},
    {" '<i4' ", 4, "i4<"},
    {"'\\x3ci4'", 4, "i4<"},
    {"'<f2'", 2, F2("<")},
    {"'>f2'", 2, F2(">")},
    {"'<f4'", 4, F4("<")},
    {"'>f4'", 4, F4(">")},
    {"'<f8'", 8, F8("<")},
    {"'>f8'", 8, F8(">")},
#if defined __x86_64__
    {"'<f16'", 16, F16("<")},
    {"'>f16'", 16, F16(">")},
    {"'<c32'", 32, "32{r@0 " F16("<") ", i@16 " F16("<") "}"},
    {"'>c32'", 32, "32{r@0 " F16(">") ", i@16 " F16(">") "}"},
#endif
    {"'<c8'", 8, "8{r@0 " F4("<") ", i@4 " F4("<") "}"},
    {"'>c8'", 8, "8{r@0 " F4(">") ", i@4 " F4(">") "}"},
    {"'<c16'", 16, "16{r@0 " F8("<") ", i@8 " F8("<") "}"},
    {"'>c16'", 16, "16{r@0 " F8(">") ", i@8 " F8(">") "}"},
    {"'<M8'", 8, "opaque8 'NUMPY:<M8'"},
    {"'<M8[ns]'", 8, "opaque8 'NUMPY:<M8[ns]'"},
    {"'>M8[D]'", 8, "opaque8 'NUMPY:>M8[D]'"},
    {"'<M8[25s]'", 8, "opaque8 'NUMPY:<M8[25s]'"},
    {"'<M8[2147483647as]'", 8, "opaque8 'NUMPY:<M8[2147483647as]'"},
    {"'<m8[Y]'", 8, "opaque8 'NUMPY:<m8[Y]'"},
    {"'>m8[us]'", 8, "opaque8 'NUMPY:>m8[us]'"},
    {"'<m8[h]'", 8, "opaque8 'NUMPY:<m8[h]'"},
    {"'<U5'", 20, "opaque20 'NUMPY:<U5'"},
    {"'>U1'", 4, "opaque4 'NUMPY:>U1'"},
    {"'|S1'", 1, "string1"},
    {"'|S300'", 300, "string300"},
    {"'|S2147483647'", 2147483647, "string2147483647"},
    {"'|V8'", 8, "opaque8 ''"},
    {"'<V2'", 2, "opaque2 ''"},
    {"'<U536870911'", 2147483644, "opaque2147483644 'NUMPY:<U536870911'"},
    {"'|S0'", 0, NULL},
    {"'<U0'", 0, NULL},
    {"'|V0'", 0, NULL},
    {"[]", 0, NULL},
    {"[('a', '|S0')]", 0, NULL},
    {"[('a', '<f8', (3, 0))]", 0, NULL},
    {"{'names': [], 'formats': [], 'offsets': [], 'itemsize': 0}", 0, NULL},

    /* records: the list form */
    {"[('x', '<i4')]", 4, "4{x@0 i4<}"},
    {"[('x','<i4'),('y','>u2')]", 6, "6{x@0 i4<, y@4 u2>}"},
    {"[ ( 'x' , '<i4' , ) , ]", 4, "4{x@0 i4<}"},
    {"[('a', '|b1'), ('b', '<M8[s]'), ('c', '|S3'), ('d', '|V4')]", 16,
     "16{a@0 " BOOL ", b@1 opaque8 'NUMPY:<M8[s]', c@9 string3, d@12 opaque4 ''}"},
    {"[('f0', '|i1'), ('', '|V7'), ('f1', '<f8')]", 16, "16{f0@0 i1<, f1@8 " F8("<") "}"},
    {"[('f0', '<i8'), ('f1', '|i1'), ('', '|V7')]", 16, "16{f0@0 i8<, f1@8 i1<}"},
    {"[('x', '<f8', (3,))]", 24, "24{x@0 [3] " F8("<") "}"},
    {"[('x', '<i2', (2, 3)), ('y', '|u1')]", 13, "13{x@0 [2,3] i2<, y@12 u1<}"},
    {"[('x', '<i2', (2,3,),),]", 12, "12{x@0 [2,3] i2<}"},
    {"[('x', '<i2', ())]", 2, "2{x@0 i2<}"},
    {"[('x', '<i2', (1,))]", 2, "2{x@0 [1] i2<}"},
    {"[('x', ('<i4', (2,)), (3,))]", 24, "24{x@0 [3] [2] i4<}"},
    {"[('p', [('y', '<i2'), ('z', '>i8', (2, 2))], (2,))]", 68,
     "68{p@0 [2] 34{y@0 i2<, z@2 [2,2] i8>}}"},
    {"[(('the title', 'n'), '<i4')]", 4, "4{n@0 i4<}"},
    {"[(('', 'n',), '<i4')]", 4, "4{n@0 i4<}"},
    {"[('\xc3\xa9', '<i4'), ('\\u65e5\\U0001F600\\xe9', '<i4')]", 8,
     "8{\xc3\xa9@0 i4<, \xe6\x97\xa5\xf0\x9f\x98\x80\xc3\xa9@4 i4<}"},
    {"[(\"it's\", '|i1'), ('q\"', '|i1'), ('\\'\\\\\\n', '|i1')]", 3,
     "3{it's@0 i1<, q\"@1 i1<, '\\\n@2 i1<}"},
    {"[('r', '<f4'), ('i', '<f4')]", 8, "8{r@0 " F4("<") ", i@4 " F4("<") "}"},
    {"('<f4', (2, 3))", 24, "[2,3] " F4("<")},
    /* ... fields without bytes are not shown */
    {"[('a', '|V0'), ('b', '<i4'), ('c', '<f8', (0,))]", 4, "4{b@0 i4<}"},
    {"[('', '|V8')]", 8, "opaque8 ''"},
    /* ... 33 dimensions: one row */
    {"[('x', '|i1', (2,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,3))]", 6,
     "6{x@0 [6] i1<}"},

    /* records: the dict form */
    {"{'names': ['a', 'b'], 'formats': ['<i4', '<f8']}", 12, "12{a@0 i4<, b@4 " F8("<") "}"},
    {"{'names': ['a', 'b'], 'formats': ['|i1', '<i8'], 'offsets': [0, 8], 'titles': [None, 'T'], "
     "'itemsize': 16, 'aligned': True}",
     16, "16{a@0 i1<, b@8 i8<}"},
    {"{'aligned': False, 'itemsize': 20, 'formats': ['<i4', '<i4'], 'offsets': [8, 0], "
     "'names': ['a', 'b'],}",
     20, "20{a@8 i4<, b@0 i4<}"},
    {"{'names': ['a'], 'formats': [('<i2', (2, 3))], 'offsets': [4]}", 16, "16{a@4 [2,3] i2<}"},
    {"{'names': ['p'], 'formats': [{'names': ['q'], 'formats': ['<i2'], 'offsets': [2], "
     "'itemsize': 6}], 'offsets': [0], 'itemsize': 8}",
     8, "8{p@0 6{q@2 i2<}}"},
    {"{'names': [], 'formats': [], 'offsets': [], 'itemsize': 8}", 8, "opaque8 ''"},
    /* ... what no compound can hold */
    {"{'names': ['a', 'b'], 'formats': ['<i4', '<i4'], 'offsets': [0, 2]}", 6, "opaque6 ''"},
    {"{'names': ['a', 'b'], 'formats': ['<i2', '<i4'], 'offsets': [1, 0]}", 4, "opaque4 ''"},
    {"[('x', {'names': ['a', 'b'], 'formats': ['<i4', '<i4'], 'offsets': [0, 0]}), ('y', '<i2')]",
     6, "6{x@0 opaque4 '', y@4 i2<}"},
    {"{'names': ['', 'b'], 'formats': ['<i4', '<i4']}", 8, "opaque8 ''"},
    {"[('', '<i4')]", 4, "opaque4 ''"},
    {"[('a\\x00b', '<i4'), ('a\\x00c', '<i4')]", 8, "opaque8 ''"},
    {"[('\\ud800', '<i4')]", 4, "opaque4 ''"},
};

#define GOODS ((int)(sizeof goods / sizeof *goods))

/* Parse and, when that works, map; all that must hold for any text is checked here. */
static int
judge(const char *descr)
{
    h5store_err err = {.code = 1};
    size_t itemsize = 77;
    ssize_t open_before;
    hid_t type = -77;
    int rc = hs_dtype_itemsize(descr, &itemsize, &err), mapped;

    ck_assert_int_eq(hs_dtype_itemsize(descr, &(size_t){0}, NULL), rc);
    hs_h5_enter();
    open_before = H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_DATATYPE);
    mapped = hs_dtype_to_hdf5(descr, &type, NULL);
    /* No type but the one asked for is left open. */
    ck_assert_int_eq(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_DATATYPE),
                     open_before + (mapped == H5STORE_OK));
    if (mapped == H5STORE_OK) {
        ck_assert_uint_eq(H5Tget_size(type), itemsize);
        H5Tclose(type);
    } else {
        ck_assert_int_eq(type, -77);
    }
    hs_h5_leave();
    if (rc == H5STORE_OK) {
        ck_assert_uint_le(itemsize, INT32_MAX);
        ck_assert(mapped == H5STORE_OK || mapped == H5STORE_E_UNSUPPORTED);
        return rc;
    }
    ck_assert_msg(rc == H5STORE_E_INVALID || rc == H5STORE_E_UNSUPPORTED, "%s: %d", descr, rc);
    ck_assert_int_eq(mapped, rc);
    ck_assert_int_eq(err.code, rc);
    ck_assert_uint_gt(strlen(err.message), 0);
    ck_assert_uint_eq(itemsize, 77);
    return rc;
}

/* A type and the message of it are the same to HDF5. */
static void
compare_message(const char *descr, hid_t type)
{
    uint8_t *message = NULL, encoded[70000] = {3, 0};
    size_t size = 0;
    h5store_err err = {0};
    hid_t decoded;
    int rc = hs_dtype_encode(descr, &message, &size, &err);

    ck_assert_msg(rc == H5STORE_OK, "%s: %s", descr, err.message);
    ck_assert_uint_le(size, sizeof encoded - 2);
    memcpy(encoded + 2, message, size);
    free(message);
    decoded = hs_type_decode(encoded, size + 2);
    ck_assert_int_ge(decoded, 0);
    ck_assert_int_gt(H5Tequal(decoded, type), 0);
    H5Tclose(decoded);
}

START_TEST(description_gives_size_and_hdf5_type)
{
    const struct good *good = &goods[_i];
    struct page page = {.used = 0};
    h5store_err err = {0};
    size_t itemsize = 77;
    hid_t type = -77;
    int rc = hs_dtype_itemsize(good->descr, &itemsize, &err);

    ck_assert_msg(rc == H5STORE_OK, "%s: %s", good->descr, err.message);
    ck_assert_uint_eq(itemsize, good->itemsize);
    ck_assert_int_eq(judge(good->descr), H5STORE_OK);
    hs_h5_enter();
    rc = hs_dtype_to_hdf5(good->descr, &type, &err);
    if (good->hdf5 == NULL) {
        ck_assert_int_eq(rc, H5STORE_E_UNSUPPORTED);
        ck_assert_int_eq(type, -77);
    } else {
        ck_assert_msg(rc == H5STORE_OK, "%s: %s", good->descr, err.message);
        ck_assert_uint_eq(H5Tget_size(type), good->itemsize);
        show_type(type, &page);
        ck_assert_str_eq(page.text, good->hdf5);
    }
    hs_h5_leave();
    if (good->hdf5 != NULL) { /* hs_dtype_encode goes into HDF5 itself */
        compare_message(good->descr, type);
        H5Tclose(type);
    } else {
        uint8_t *message = NULL;
        size_t size = 77;

        ck_assert_int_eq(hs_dtype_encode(good->descr, &message, &size, &err),
                         H5STORE_E_UNSUPPORTED);
        ck_assert_ptr_null(message);
        ck_assert_uint_eq(size, 77);
    }
}
END_TEST

/* ---- what is refused --------------------------------------------------------------- */

static const struct bad {
    const char *descr;
    int code;
} bads[] = {
    {"", H5STORE_E_INVALID},
    {" ", H5STORE_E_INVALID},
    {"f8", H5STORE_E_INVALID},
    {"''", H5STORE_E_INVALID},
    {"'<'", H5STORE_E_INVALID},
    {"'<f'", H5STORE_E_INVALID},
    {"'f8'", H5STORE_E_INVALID},
    {"'=f8'", H5STORE_E_INVALID},
    {"'|f8'", H5STORE_E_INVALID},
    {"'|U2'", H5STORE_E_INVALID},
    {"'|U0'", H5STORE_E_INVALID},
    {"'<f8", H5STORE_E_INVALID},
    {"'<f8\"", H5STORE_E_INVALID},
    {"'<f8' ''", H5STORE_E_INVALID},
    {"'<f8'x", H5STORE_E_INVALID},
    {"'<f8',", H5STORE_E_INVALID},
    {"\n'<f8'", H5STORE_E_INVALID},
    {"'<f3'", H5STORE_E_INVALID},
    {"'<f08'", H5STORE_E_INVALID},
    {"'<i16'", H5STORE_E_INVALID},
    {"'<i72'", H5STORE_E_INVALID}, /* 8, were a size taken modulo 64 */
    {"'<b2'", H5STORE_E_INVALID},
    {"'<c4'", H5STORE_E_INVALID},
    {"'<q8'", H5STORE_E_INVALID},
    {"'|a5'", H5STORE_E_INVALID},
    {"'<f8[ns]'", H5STORE_E_INVALID},
    {"'<M4[ns]'", H5STORE_E_INVALID},
    {"'<M8[]'", H5STORE_E_INVALID},
    {"'<M8[25]'", H5STORE_E_INVALID},
    {"'<M8[0s]'", H5STORE_E_INVALID},
    {"'<M8[2147483648s]'", H5STORE_E_INVALID},
    {"'<M8[ns'", H5STORE_E_INVALID},
    {"'<M8[ns]]'", H5STORE_E_INVALID},
    {"'<M8[zs]'", H5STORE_E_INVALID},
    {"'<M8[generic]'", H5STORE_E_INVALID},
    {"'|S2147483648'", H5STORE_E_INVALID},
    {"'|S99999999999999999999999999'", H5STORE_E_INVALID},
    {"'<U536870912'", H5STORE_E_INVALID},
    {"'|S-1'", H5STORE_E_INVALID},
    {"'<f8\\x00'", H5STORE_E_INVALID},
    {"'|O'", H5STORE_E_UNSUPPORTED},
    {"'|O8'", H5STORE_E_UNSUPPORTED},
    {"'|T16'", H5STORE_E_UNSUPPORTED},
    {"[('a', '<i4'), ('b', '|O')]", H5STORE_E_UNSUPPORTED},

    /* strings */
    {"[('\\q', '<i4')]", H5STORE_E_INVALID},
    {"[('\\1', '<i4')]", H5STORE_E_INVALID},
    {"[('\\x4', '<i4')]", H5STORE_E_INVALID},
    {"[('\\u12', '<i4')]", H5STORE_E_INVALID},
    {"[('\\U00110000', '<i4')]", H5STORE_E_INVALID},
    {"[('\t', '<i4')]", H5STORE_E_INVALID},
    {"[('\x80', '<i4')]", H5STORE_E_INVALID},             /* a tail alone */
    {"[('\xc3', '<i4')]", H5STORE_E_INVALID},             /* a head alone */
    {"[('\xc0\xaf', '<i4')]", H5STORE_E_INVALID},         /* overlong, two bytes */
    {"[('\xe0\x80\xaf', '<i4')]", H5STORE_E_INVALID},     /* overlong, three */
    {"[('\xf0\x80\x80\xaf', '<i4')]", H5STORE_E_INVALID}, /* overlong, four */
    {"[('\xed\xa0\x80', '<i4')]", H5STORE_E_INVALID},     /* a surrogate */
    {"[('\xf4\x90\x80\x80', '<i4')]", H5STORE_E_INVALID}, /* beyond U+10FFFF */
    {"[('\xff', '<i4')]", H5STORE_E_INVALID},
    {"[(b'a', '<i4')]", H5STORE_E_INVALID},

    /* lists */
    {"['<i4']", H5STORE_E_INVALID},
    {"[,]", H5STORE_E_INVALID},
    {"[('a', '<i4'),,]", H5STORE_E_INVALID},
    {"[('a', '<i4') ('b', '<i4')]", H5STORE_E_INVALID},
    {"[('a')]", H5STORE_E_INVALID},
    {"[('a', '<i4', (2,), 3)]", H5STORE_E_INVALID},
    {"[['a', '<i4']]", H5STORE_E_INVALID},
    {"[(1, '<i4')]", H5STORE_E_INVALID},
    {"[('a', '<i4'), ('a', '<f8')]", H5STORE_E_INVALID},
    {"[('a', '<i4'), ('b', '<f8'), ('\\x61', '|S0')]", H5STORE_E_INVALID},
    {"[('', '<i4'), ('', '<f8')]", H5STORE_E_INVALID},
    {"[((None), '<i4')]", H5STORE_E_INVALID},
    {"[(('t', 'n', 'x'), '<i4')]", H5STORE_E_INVALID},
    {"[('a', '|S2147483647'), ('b', '|i1')]", H5STORE_E_INVALID},

    /* shapes */
    {"[('a', '<i4', 3)]", H5STORE_E_INVALID},
    {"[('a', '<i4', (3))]", H5STORE_E_INVALID},
    {"[('a', '<i4', (3 ))]", H5STORE_E_INVALID},
    {"[('a', '<i4', (,))]", H5STORE_E_INVALID},
    {"[('a', '<i4', (3,,))]", H5STORE_E_INVALID},
    {"[('a', '<i4', (2 3))]", H5STORE_E_INVALID},
    {"[('a', '<i4', (-1,))]", H5STORE_E_INVALID},
    {"[('a', '<i4', (1_0,))]", H5STORE_E_INVALID},
    {"[('a', '<i4', (0x1,))]", H5STORE_E_INVALID},
    {"[('a', '<i4', [3])]", H5STORE_E_INVALID},
    {"[('a', '<i4', (536870912,))]", H5STORE_E_INVALID},
    {"[('a', '<i4', (65536, 65536))]", H5STORE_E_INVALID}, /* 0 in 32 bits */
    {"('<i4', (2,), 1)", H5STORE_E_INVALID},
    {"('<i4',)", H5STORE_E_INVALID},
    {"('<i4')", H5STORE_E_INVALID},
    {"()", H5STORE_E_INVALID},
    {"[('a', '|i1', (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
     "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1))]",
     H5STORE_E_UNSUPPORTED},

    /* dicts */
    {"{}", H5STORE_E_INVALID},
    {"{'names': ['a']}", H5STORE_E_INVALID},
    {"{'formats': ['<i4']}", H5STORE_E_INVALID},
    {"{'names': ['a'], 'formats': []}", H5STORE_E_INVALID},
    {"{'names': [], 'formats': ['<i4']}", H5STORE_E_INVALID},
    {"{'names': ['a'], 'formats': ['<i4'], 'offsets': []}", H5STORE_E_INVALID},
    {"{'names': ['a'], 'formats': ['<i4'], 'offsets': [0, 4]}", H5STORE_E_INVALID},
    {"{'names': ['a'], 'formats': ['<i4'], 'names': ['a']}", H5STORE_E_INVALID},
    {"{'names': ['a', 'a'], 'formats': ['<i4', '<i4']}", H5STORE_E_INVALID},
    {"{'names': ['a'], 'formats': ['<i4'], 'size': 4}", H5STORE_E_INVALID},
    {"{'names': ['a'], 'formats': ['<i4'], 'itemsize': 3}", H5STORE_E_INVALID},
    {"{'names': ['a'], 'formats': ['<i4'], 'itemsize': 2147483648}", H5STORE_E_INVALID},
    {"{'names': ['a'], 'formats': ['<i4'], 'offsets': [2147483644]}", H5STORE_E_INVALID},
    {"{'names': ['a'], 'formats': ['<i4'], 'offsets': [-4]}", H5STORE_E_INVALID},
    {"{'names': ['a'], 'formats': ['<i4'], 'aligned': 1}", H5STORE_E_INVALID},
    {"{'names': ['a'], 'formats': ['<i4'], 'aligned': True}", H5STORE_E_INVALID},
    {"{'names': ['a'], 'formats': ['<i4'], 'titles': [1]}", H5STORE_E_INVALID},
    {"{'names': ['a'], 'formats': ['<i4'], 'titles': ['t', 'u']}", H5STORE_E_INVALID},
    {"{'names' ['a'], 'formats': ['<i4']}", H5STORE_E_INVALID},
    {"{'names': 'a', 'formats': ['<i4']}", H5STORE_E_INVALID},
    {"{'names': ['a'] 'formats': ['<i4']}", H5STORE_E_INVALID},
    {"{'a': ('<i4', 0)}", H5STORE_E_INVALID},
};

#define BADS ((int)(sizeof bads / sizeof *bads))

START_TEST(malformed_description_is_refused)
{
    int rc = judge(bads[_i].descr);

    ck_assert_msg(rc == bads[_i].code, "%s: %d", bads[_i].descr, rc);
}
END_TEST

START_TEST(message_names_the_byte)
{
    h5store_err err;
    size_t itemsize;

    ck_assert_int_eq(hs_dtype_itemsize("[('a', '<i4'), ('\xc3\xa9', 5)]", &itemsize, &err),
                     H5STORE_E_INVALID);
    ck_assert_ptr_nonnull(strstr(err.message, "byte 22"));
    ck_assert_ptr_nonnull(strstr(err.message, "near \"5)]\""));
    /* The part quoted is cut without regard to characters, and must not end in half a one. */
    ck_assert_int_eq(hs_dtype_itemsize("[\xc3\xa9]", &itemsize, &err), H5STORE_E_INVALID);
    ck_assert_ptr_nonnull(strstr(err.message, "near \"?\?]\""));
}
END_TEST

/* Every kind of token, and each of them in the middle. */
static const char *const samples[] = {
    "'<M8[25s]'",
    "[('x', '<i2', (2, 3)), (('t', \"n's\"), '>f8'), ('', '|V3'), ('\\u65e5\\n\xc3\xa9', '|S5')]",
    ("{'names': ['a', 'b'], 'formats': [('<c8', (2,)), [('q', '|b1')]], 'offsets': [0, 24], "
     "'titles': [None, 'T'], 'itemsize': 32, 'aligned': False}"),
};

#define SAMPLES ((int)(sizeof samples / sizeof *samples))

START_TEST(no_beginning_of_a_description_is_one)
{
    size_t length = strlen(samples[_i]), tried = 0;
    char *part;

    ck_assert_int_eq(judge(samples[_i]), H5STORE_OK);
    for (size_t keep = 0; keep < length; keep++) {
        part = strndup(samples[_i], keep); /* the heap, so that ASan sees a step too far */
        ck_assert_msg(judge(part) == H5STORE_E_INVALID, "'%s' was accepted", part);
        free(part);
        tried++;
    }
    ck_assert_uint_eq(tried, length);
}
END_TEST

START_TEST(changed_bytes_are_read_or_refused)
{
    static const int needed[SAMPLES] = {20, 200, 200};
    size_t length = strlen(samples[_i]);
    int accepted = 0, refused = 0;
    char *copy;

    for (size_t at = 0; at < length; at++) {
        for (int value = 1; value < 256; value++) {
            copy = strdup(samples[_i]);
            copy[at] = (char)value;
            if (judge(copy) == H5STORE_OK)
                accepted++;
            else
                refused++;
            free(copy);
        }
    }
    ck_assert_int_eq(accepted + refused, (int)length * 255);
    ck_assert_int_gt(accepted, needed[_i]);
    ck_assert_int_gt(refused, accepted);
}
END_TEST

/* ---- bounds --------------------------------------------------------------------------- */

/* @p depth types inside one another: records round an int, or subarrays of one element. */
static char *
nested(int depth, const char *before, const char *after)
{
    char *text = calloc(1, (size_t)depth * (strlen(before) + strlen(after)) + 8);

    for (int i = 1; i < depth; i++)
        strcat(text, before);
    strcat(text, "'|i1'");
    for (int i = 1; i < depth; i++)
        strcat(text, after);
    return text;
}

START_TEST(depth_is_bounded)
{
    static const char *const forms[][2] = {
        {"[('a', ", ")]"},
        {"(", ", (1,))"},
        {"{'names': ['a'], 'formats': [", "]}"},
    };
    const char *before = forms[_i][0], *after = forms[_i][1];
    HS_CLEANUP(hs_freep) char *deepest = nested(32, before, after);
    HS_CLEANUP(hs_freep) char *deeper = nested(33, before, after);
    HS_CLEANUP(hs_freep) char *endless = calloc(1, 60001);

    ck_assert_int_eq(judge(deepest), H5STORE_OK);
    ck_assert_int_eq(judge(deeper), H5STORE_E_UNSUPPORTED);
    while (strlen(endless) + strlen(before) <= 60000)
        strcat(endless, before);
    ck_assert_int_eq(judge(endless), H5STORE_E_UNSUPPORTED);
}
END_TEST

START_TEST(length_is_bounded)
{
    HS_CLEANUP(hs_freep) char *text = malloc(H5STORE_MAX_DTYPE + 2);

    memset(text, ' ', H5STORE_MAX_DTYPE + 1);
    text[H5STORE_MAX_DTYPE + 1] = '\0';
    memcpy(text, "'<i4'", 5);
    ck_assert_int_eq(judge(text), H5STORE_E_UNSUPPORTED);
    text[H5STORE_MAX_DTYPE] = '\0';
    ck_assert_int_eq(judge(text), H5STORE_OK);
}
END_TEST

static char *
many_fields(int fields)
{
    char *text = malloc((size_t)fields * 24 + 4);
    size_t used = 1;

    text[0] = '[';
    for (int i = 0; i < fields; i++)
        used += (size_t)sprintf(text + used, "('%d', '|i1'),", i);
    strcpy(text + used, "]");
    return text;
}

/* As many fields as an object header has room for are shown, more are opaque. */
START_TEST(record_too_long_for_a_header_is_opaque)
{
    static const struct {
        int fields;
        H5T_class_t class;
    } cases[] = {{900, H5T_COMPOUND}, {1200, H5T_OPAQUE}, {3800, H5T_OPAQUE}};
    HS_CLEANUP(hs_freep) char *text = many_fields(cases[_i].fields);
    hid_t type = H5I_INVALID_HID;

    hs_h5_enter();
    ck_assert_int_eq(hs_dtype_to_hdf5(text, &type, NULL), H5STORE_OK);
    ck_assert_int_eq(H5Tget_class(type), cases[_i].class);
    ck_assert_uint_eq(H5Tget_size(type), cases[_i].fields);
    H5Tclose(type);
    hs_h5_leave();
}
END_TEST

Suite *
dtype_suite(void)
{
    Suite *suite = suite_create("dtype");
    TCase *table = tcase_create("table");
    TCase *refused = tcase_create("refused");
    TCase *bounds = tcase_create("bounds");

    tcase_add_loop_test(table, description_gives_size_and_hdf5_type, 0, GOODS);
    tcase_add_loop_test(refused, malformed_description_is_refused, 0, BADS);
    tcase_add_test(refused, message_names_the_byte);
    tcase_add_loop_test(refused, no_beginning_of_a_description_is_one, 0, SAMPLES);
    tcase_add_loop_test(refused, changed_bytes_are_read_or_refused, 0, SAMPLES);
    tcase_set_timeout(refused, 120);
    tcase_add_loop_test(bounds, depth_is_bounded, 0, 3);
    tcase_add_test(bounds, length_is_bounded);
    tcase_add_loop_test(bounds, record_too_long_for_a_header_is_opaque, 0, 3);
    tcase_set_timeout(bounds, 120);
    suite_add_tcase(suite, table);
    suite_add_tcase(suite, refused);
    suite_add_tcase(suite, bounds);
    return suite;
}
