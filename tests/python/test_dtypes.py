# SPDX-License-Identifier: MIT
"""Every NumPy dtype, through put, h5py, h5dump, get and back.

For each array of the table: h5py gives the same dtype and the same values, h5dump reads it, and
get gives the same bytes, dtype, shape and order.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
from typing import Any

import decache
import numpy as np
import pytest

from decache import _dtype

ORDERS = "<>"

PLAIN = [
    "?", "i1", "u1",
    *[order + kind for order in ORDERS
      for kind in ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")],
    *[order + np.dtype(kind).str[1:] for order in ORDERS
      for kind in (np.longdouble, np.clongdouble)],
    *[f"{order}{kind}8{unit}" for order in ORDERS for kind in "Mm"
      for unit in ("[ns]", "[us]", "[D]", "[25s]", "")],
    "<M8[Y]", "<M8[h]", "<m8[as]",
    "S1", "S5", "S300", "<U1", "<U5", ">U5", "V1", "V7",
]

RECORDS = {
    "packed": [("x", "<i4"), ("y", "<f8")],
    "mixed orders": [("x", ">i4"), ("y", "<f8"), ("z", "?")],
    "nested": [("a", [("b", "<i2"), ("c", [("d", "S3")])]), ("e", "<c16")],
    "subarray": [("v", "<f4", (3,)), ("m", "<i2", (2, 2))],
    "nested subarray": [("p", [("x", "<f4"), ("y", "<f4")], (2,))],
    "non-ASCII": [("größe", "<f8"), ("名前", "<U4")],
    "odd names": [("with 'quote'", "<i4"), ('with "both" \\ and\n', "<i4"), (" ", "<i4")],
    "dates": [("t", "<M8[ns]"), ("d", "<m8[s]")],
    "void and bytes": [("v", "V3"), ("s", "S4")],
    "padded": {"names": ["x", "y"], "formats": ["i1", "<f8"], "offsets": [0, 8]},
    "padded end": {"names": ["x"], "formats": ["<i4"], "itemsize": 16},
    "padded start": {"names": ["x"], "formats": ["<i4"], "offsets": [4]},
    "titles": {"names": ["x", "y"], "formats": ["<i4", "<f8"], "titles": ["The x", None]},
    "out of order": {"names": ["x", "y"], "formats": ["<i4", "<i4"], "offsets": [4, 0]},
    "overlapping": {"names": ["x", "y"], "formats": ["<i4", "<i2"], "offsets": [0, 2]},
}


def aligned() -> np.dtype:
    return np.dtype([("a", "i1"), ("b", "<f8"), ("c", "i1")], align=True)


def nested_aligned() -> np.dtype:
    return np.dtype([("n", aligned()), ("m", "i1")])


DTYPES: dict[str, np.dtype] = {
    **{name: np.dtype(name) for name in PLAIN},
    **{name: np.dtype(fields) for name, fields in RECORDS.items()},
    "aligned": aligned(),
    "nested aligned": nested_aligned(),
}

BIG_CLONGDOUBLE = ">" + np.dtype(np.clongdouble).str[1:]

#: What h5py itself gives back otherwise when it wrote it: titles and fields that overlap get
#: lost, and the values of big-endian complex long doubles come out wrong. What is stored is
#: compared all the same.
NOT_AS_H5PY = {"overlapping", "out of order", "titles", BIG_CLONGDOUBLE}


def fill(dtype: np.dtype, shape: tuple[int, ...] = (40,)) -> np.ndarray:
    """Any values: of the bytes of a fixed sequence, made valid where the dtype asks for it."""
    rng = np.random.default_rng(9)
    array = np.zeros(shape, dtype)
    if dtype.names is not None:
        for name in dtype.names:
            array[name] = fill(array[name].dtype, array[name].shape)
    elif dtype.kind == "b":
        array[...] = rng.integers(0, 2, shape)
    elif dtype.kind in "SUV":
        words = [f"w{n}"[: max(1, dtype.itemsize)] for n in range(array.size)]
        array[...] = np.array(words, "S" if dtype.kind in "SV" else "U").reshape(shape).astype(
            dtype if dtype.kind != "V" else "S"
        ).astype(dtype)
    elif dtype.kind in "fc":
        array[...] = rng.standard_normal(shape)
    else:
        array[...] = rng.integers(0, 100, shape).astype(array.dtype)
    return array


def same(one: np.ndarray, other: np.ndarray) -> None:
    assert one.dtype == other.dtype
    assert one.dtype.str == other.dtype.str
    assert one.shape == other.shape
    assert one.flags.c_contiguous == other.flags.c_contiguous
    assert one.flags.f_contiguous == other.flags.f_contiguous
    assert one.tobytes("A") == other.tobytes("A")


def dataset(file: Any, name: str) -> Any:
    return file[f"blobs/{name[:2]}/{name}"]


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype(name: str, tmp_path: pathlib.Path) -> None:
    array = fill(DTYPES[name])
    dtype = array.dtype  # dates without unit are always in native order
    path = tmp_path / "dtypes.h5"
    with decache.Store(path) as store:
        blob = store.put(array)
        loaded = store.get(blob)
    same(loaded, array)
    assert loaded.dtype.isalignedstruct == dtype.isalignedstruct
    assert loaded.dtype.fields == dtype.fields

    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "r") as file:
        seen = dataset(file, blob)
        assert seen.shape == array.shape
        if name not in NOT_AS_H5PY:
            assert seen.dtype == dtype
            assert seen[...].tobytes() == array.tobytes() or _equal(seen[...], array)
    assert "DATASET" in h5dump(path, blob)


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal in all fields; the padding between them is nobody's business."""
    if other.dtype.names is None:
        return one.tobytes() == other.tobytes()
    return all(_equal(one[name].copy(), other[name].copy()) for name in other.dtype.names)


def h5dump(path: pathlib.Path, blob: str) -> str:
    if shutil.which("h5dump") is None:
        pytest.skip("h5dump is not installed")
    command = ["h5dump", "-d", f"/blobs/{blob[:2]}/{blob}", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_all_kinds_are_in_the_table() -> None:
    assert {dtype.kind for dtype in DTYPES.values()} == set("biufcMmSUV")
    assert len(DTYPES) > 60


# -- shapes and orders -------------------------------------------------------------------------


SHAPES = {
    "0-d": lambda: np.array(2.5),
    "one": lambda: np.ones(1),
    "empty": lambda: np.zeros(0),
    "empty in the middle": lambda: np.zeros((3, 0, 2)),
    "empty strings": lambda: np.zeros(3, "S0"),
    "row": lambda: fill(np.dtype("<f8"), (1, 500)),
    "column": lambda: fill(np.dtype("<f8"), (500, 1)),
    "3-d": lambda: fill(np.dtype("<i4"), (3, 5, 7)),
    "Fortran": lambda: np.asfortranarray(fill(np.dtype("<i4"), (30, 50))),
    "3-d Fortran": lambda: np.asfortranarray(fill(np.dtype("<i4"), (3, 5, 7))),
    "Fortran records": lambda: np.asfortranarray(fill(np.dtype(RECORDS["packed"]), (30, 5))),
    "32-d": lambda: np.zeros((1,) * 31 + (9,)),
    "several chunks": lambda: fill(np.dtype("<f8"), (700, 1000)),
    "long rows": lambda: fill(np.dtype("<f8"), (3, 400_000)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape(name: str, tmp_path: pathlib.Path) -> None:
    array = SHAPES[name]()
    path = tmp_path / "shapes.h5"
    with decache.Store(path) as store:
        blob = store.put(array)
        same(store.get(blob), array)
        same(np.asarray(store.get(blob, "r")), array)
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "r") as file:
        seen = dataset(file, blob)
        values = seen[...]
        expected = array.T if seen.attrs["order"] in (b"F", "F") else array
        if array.dtype.itemsize and array.ndim <= 32:
            assert values.shape == expected.shape
            np.testing.assert_array_equal(values, expected)
    assert h5dump(path, blob)


def test_more_dimensions_than_hdf5_has(tmp_path: pathlib.Path) -> None:
    if int(np.__version__.split(".")[0]) < 2:
        pytest.skip("this NumPy has 32 dimensions at most")
    array = np.arange(2.0).reshape((1,) * 63 + (2,))
    with decache.Store(tmp_path / "many.h5") as store:
        same(store.get(store.put(array)), array)


@pytest.mark.parametrize(
    "view",
    [lambda a: a[::2], lambda a: a[::-1], lambda a: a[5:9], lambda a: np.broadcast_to(a, (3, 40)),
     lambda a: np.frombuffer(a.tobytes(), a.dtype), lambda a: a.reshape(8, 5)[:, 1:3]],
    ids=["strided", "reversed", "part", "broadcast", "read-only", "columns"],
)
@pytest.mark.parametrize("dtype", ["<f8", ">i4", "S5", "<M8[s]"])
def test_views(dtype: str, view: Any, store: decache.Store) -> None:
    array = view(fill(np.dtype(dtype)))
    loaded = store.get(store.put(array))
    assert loaded.dtype == array.dtype
    np.testing.assert_array_equal(loaded, array)


def test_unaligned(store: decache.Store) -> None:
    array = np.frombuffer(b"x" + fill(np.dtype("<f8")).tobytes(), np.uint8)[1:].view("<f8")
    assert not array.flags.aligned
    np.testing.assert_array_equal(store.get(store.put(array)), array)


# -- the descriptions --------------------------------------------------------------------------


@pytest.mark.parametrize("name", DTYPES)
def test_descriptions_say_everything(name: str) -> None:
    dtype = DTYPES[name]
    parsed = _dtype.parse(_dtype.describe(dtype))
    assert parsed == dtype
    assert parsed.str == dtype.str
    assert parsed.isalignedstruct == dtype.isalignedstruct
    assert parsed.fields == dtype.fields
    assert parsed.itemsize == dtype.itemsize


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        ("<f8", "'<f8'"),
        ("?", "'|b1'"),
        (">M8[25s]", "'>M8[25s]'"),
        ([("x", "<i4"), ("y", "<f8", (3,))], "[('x', '<i4'), ('y', '<f8', (3,))]"),
        (RECORDS["padded"], "[('x', '|i1'), ('', '|V7'), ('y', '<f8')]"),
        (RECORDS["titles"], "{'names': ['x', 'y'], 'formats': ['<i4', '<f8'], 'offsets': [0, 4], "
                            "'titles': ['The x', None], 'itemsize': 12}"),
    ],
)
def test_descriptions_are_numpys_own(dtype: Any, text: str) -> None:
    assert _dtype.describe(np.dtype(dtype)) == text


def test_the_same_text_as_in_npy_files() -> None:
    for name, dtype in DTYPES.items():
        text = _dtype.describe(dtype)
        if text[0] != "{" and "{" not in text:
            assert text == repr(np.lib.format.dtype_to_descr(dtype)), name


def test_records_that_differ_in_alignment_alone() -> None:
    plain = np.dtype([("a", "<i4"), ("b", "<i4")])
    aligned_too = np.dtype([("a", "<i4"), ("b", "<i4")], align=True)
    assert _dtype.describe(plain) != _dtype.describe(aligned_too)
    assert _dtype.parse(_dtype.describe(aligned_too)).isalignedstruct


@pytest.mark.parametrize(
    "text",
    ["", "f8", "'<f9'", "[('x',)]", "[('x', '<i4'", "{'names': ['x']}", "__import__('os')",
     "['x']", "3", "None", "('<f8', (2,), 3, 4)x", "[" * 1000],
)
def test_texts_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="does not describe"):
        _dtype.parse(text)


def test_types_of_others_are_stored_as_bytes(store: decache.Store) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.arange(1000).astype(ml_dtypes.bfloat16)
    loaded = store.get(store.put(array))
    assert loaded.dtype == np.dtype("V2")
    assert loaded.tobytes() == array.tobytes()


# -- what a blob cannot have -------------------------------------------------------------------


def wide(count: int, digits: int) -> np.dtype:
    return np.dtype([(f"c{number:0{digits}}", "<f8") for number in range(count)])


def deep(levels: int, form: str = "list") -> np.dtype:
    dtype = np.dtype("<f8")
    for _ in range(levels):
        if form == "list":
            dtype = np.dtype([("n", dtype)])
        elif form == "aligned":
            dtype = np.dtype([("n", dtype)], align=True)
        elif form == "shape":
            dtype = np.dtype([("n", dtype, (1,))])
        else:
            dtype = np.dtype({"names": ["n"], "formats": [(dtype, (1,))], "titles": ["t"]})
    return dtype


EXTREME = {
    "wide": wide(2000, 20),
    "wide, of other letters": np.dtype([(f"{'é' * 30}{n}", "<f8") for n in range(900)]),
    "wide inside": np.dtype([(f"n{n}", wide(60, 15)) for n in range(40)]),
    "wide with titles": np.dtype(
        [((f"title {n:020}", f"name {n:020}"), "<f8") for n in range(800)]
    ),
    "deep": deep(32),
    "very deep": deep(60),
    "deep, aligned": deep(32, "aligned"),
    "deep, with shapes": deep(32, "shape"),
    "deep, with titles": deep(17, "titles"),
}


@pytest.mark.parametrize("dtype", EXTREME.values(), ids=EXTREME)
def test_types_that_no_blob_can_have_are_cached(dtype: np.dtype, make_memory: Any) -> None:
    calls: list[str] = []
    kinds = ["plain", "recarray", "strided"] + ["masked"] * (dtype.names == ("n",))

    def make(kind: str) -> Any:
        calls.append(kind)
        array = np.frombuffer(bytes(range(250)) * (dtype.itemsize * 8), dtype).copy()
        if kind == "masked":
            return np.ma.masked_array(array, np.zeros(array.shape, np.ma.make_mask_descr(dtype)))
        if kind == "strided":
            return np.repeat(array, 2)[::2]
        return array.view(np.recarray) if kind == "recarray" else {"a": [array, array]}

    for mmap_mode in (None, "r"):
        cached = make_memory(mmap_mode=mmap_mode).cache(make)
        for kind in kinds:
            cached(kind)
            result, expected = cached(kind), make(kind)
            calls.pop()
            if kind == "plain":
                assert result["a"][0] is result["a"][1]
                result, expected = result["a"][0], expected["a"][0]
                assert result.flags.writeable == (mmap_mode is None)
            assert isinstance(result, np.recarray) == (kind == "recarray")
            assert result.dtype == expected.dtype
            assert result.tobytes() == expected.tobytes()
    assert calls == kinds


@pytest.mark.parametrize(
    "dtype",
    [*EXTREME.values(), wide(1500, 20), wide(3000, 4), deep(31), deep(15, "shape"),
     deep(31, "aligned"), deep(15, "titles"),
     *(wide(count, 20) for count in (1625, 1800, 1805, 1806, 1810)),
     *(np.dtype(RECORDS[name]) for name in RECORDS)],
)
def test_what_is_storable_is_what_can_be_stored(
    dtype: np.dtype, store: decache.Store
) -> None:
    try:
        store.put(np.zeros(3, dtype))
        stored = True
    except decache.UnsupportedError:
        stored = False
    assert _dtype.is_storable(dtype) == stored
    if dtype.names is not None:
        assert _dtype._extent(dtype)[1] >= len(_dtype.describe(dtype).encode())
