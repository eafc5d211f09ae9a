# SPDX-License-Identifier: MIT
"""Results of every kind come back as plain pickle gives them, with their arrays as blobs.

Each kind of the table goes through the backend into a container and back. "As pickle gives
it" is strict: pickled again, what came back must give the very bytes that plain pickle's own
copy gives. That covers values (NaN payloads and -0.0 too), types, dtypes and byte order, the
order of the axes, writeability, identity and cycles. Only the identity of dtype objects is left
out: unpickling makes equal ones where NumPy has one of each.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import functools
import io
import pathlib
import pickle
import random
import tempfile
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import decache
import joblib
import numpy as np
import pytest

from conftest import THRESHOLD

PROTOCOL = 5
LARGE = 1 << 15  # elements: their bytes are above every limit, also that of the stream
SMALL = 10


# -- classes that results are made of ----------------------------------------------------------


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclasses.dataclass
class Record:
    name: str
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class FrozenRecord:
    values: np.ndarray


class Slots:
    __slots__ = ("values",)

    def __init__(self, values: np.ndarray) -> None:
        self.values = values


class DictChild(dict):
    pass


class ListChild(list):
    pass


class Plain(np.ndarray):
    """Without pickling of its own."""


class WithInfo(np.ndarray):
    """With an attribute that it pickles in the way that NumPy's documentation shows."""

    def __array_finalize__(self, obj: Any) -> None:
        self.info = getattr(obj, "info", None)

    def __reduce__(self) -> tuple:
        function, args, state = super().__reduce__()
        return function, args, (*state, self.info)

    def __setstate__(self, state: tuple) -> None:
        self.info = state[-1]
        super().__setstate__(state[:-1])


class MaskedChild(np.ma.MaskedArray):
    """A masked array without pickling of its own."""


class Reduced:
    """Pickles to a call with an array as its argument."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __reduce__(self) -> tuple:
        return Reduced, (self.values,)


def scaled(factor: float, values: np.ndarray) -> np.ndarray:
    return factor * values


def floats(count: int = LARGE) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(count)


# -- kinds without other packages --------------------------------------------------------------


def twice() -> list:
    array = floats()
    return [array, array]


def equal_twice() -> list:
    return [floats(), floats()]


def cycle() -> list:
    result: list[Any] = [floats()]
    result.append(result)
    return result


def cycle_through_dict() -> dict:
    result: dict[str, Any] = {"values": floats()}
    result["self"] = {"again": result}
    return result


def cycle_through_object_array() -> np.ndarray:
    array = np.empty(2, object)
    array[:] = [floats(), None]
    array[1] = [array]
    return array


def nan_payloads() -> np.ndarray:
    bits = np.full(LARGE, 0x7FF8000000000000, np.uint64) + np.arange(LARGE, dtype=np.uint64)
    bits[0] = 1 << 63  # -0.0
    return bits.view(np.float64)


def longdouble() -> np.ndarray:
    array = np.zeros(LARGE, np.longdouble)  # with the unused bytes of each element zero
    array[:] = floats()
    return array


def read_only() -> np.ndarray:
    array = floats()
    array.flags.writeable = False
    return array


def read_only_dates() -> np.ndarray:
    array = np.arange(LARGE).astype("M8[s]")
    array.flags.writeable = False
    return array


def read_only_matrix() -> np.matrix:
    array = np.matrix(floats())
    array.flags.writeable = False
    return array


def object_array() -> np.ndarray:
    array = np.empty((2, 2), object)
    array[0, 0], array[0, 1], array[1, 0] = floats(), "text", floats(SMALL)
    array[1, 1] = array[0, 0]
    return array


def permuted() -> np.ndarray:
    if tuple(int(part) for part in np.__version__.split(".")[:2]) < (2, 3):
        pytest.skip("this NumPy's pickle loses the order of more than two axes; we keep it")
    return floats().reshape(8, 16, -1).transpose(1, 0, 2)


def memmap() -> np.memmap:
    with tempfile.TemporaryFile() as file:
        array = np.memmap(file, "<f8", "w+", shape=(LARGE,))
        array[:] = floats()
        return array


def masked() -> np.ma.MaskedArray:
    return np.ma.masked_array(floats(), floats() > 1, fill_value=-1.0)


def masked_without_mask() -> np.ma.MaskedArray:
    return np.ma.masked_array(floats())


def masked_read_only() -> np.ma.MaskedArray:
    array = masked()
    array.flags.writeable = False
    return array


def masked_hard() -> np.ma.MaskedArray:
    return np.ma.masked_array(floats().reshape(64, -1), floats() > 1, hard_mask=True)


def masked_records() -> np.ma.MaskedArray:
    array = np.ma.masked_array(np.zeros(LARGE, [("x", "i4"), ("y", "f8")]))
    array.mask[3] = (True, False)
    return array


def structured() -> np.ndarray:
    dtype = np.dtype({"names": ["n", "ö"], "formats": ["i2", ("<f4", (3,))]}, align=True)
    array = np.zeros(LARGE, dtype)
    array["ö"] = floats()[:, None]
    return array


def recarray() -> np.recarray:
    return np.rec.fromarrays([np.arange(LARGE), floats()], names="n, x")


def with_metadata() -> np.ndarray:
    return floats().astype(np.dtype("<f8", metadata={"unit": "m"}))


def with_info() -> WithInfo:
    array = floats().view(WithInfo)
    array.info = {"unit": "m"}
    return array


def string_dtype() -> np.ndarray:
    if not hasattr(getattr(np, "dtypes", None), "StringDType"):
        pytest.skip("this NumPy has no StringDType")
    return np.array(["a", "long " * 20] * 2000, np.dtypes.StringDType())


def shared_state() -> dict:
    array = floats()
    return {"model": Record("a", array), "again": types.SimpleNamespace(values=array)}


def defaultdict() -> collections.defaultdict:
    return collections.defaultdict(list, {"x": [floats()]})


def deep() -> list:
    result: list[Any] = [floats()]
    for _ in range(200):
        result = [result]
    return result


# -- kinds of other packages -------------------------------------------------------------------


def pandas_frame() -> Any:
    pd = pytest.importorskip("pandas")
    dates = pd.date_range("2020", periods=LARGE, freq="min")
    return pd.DataFrame({"x": floats(), "y": floats() * 2, "n": range(LARGE)}, index=dates)


def pandas_mixed() -> Any:
    pd = pytest.importorskip("pandas")
    words = [f"word {i % 100}" for i in range(LARGE)]
    return pd.DataFrame({"x": floats(), "word": words, "flag": floats() > 0})


def pandas_categorical() -> Any:
    pd = pytest.importorskip("pandas")
    return pd.Series(pd.Categorical(["a", "b", "c", None] * (LARGE // 4)))


def pandas_nullable() -> Any:
    pd = pytest.importorskip("pandas")
    return pd.Series([1, None, 3, 4] * (LARGE // 4), dtype="Int64")


def pandas_arrow() -> Any:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    return pd.DataFrame({"x": pd.array(floats(), dtype="float64[pyarrow]")})


def pandas_datetimes() -> Any:
    pd = pytest.importorskip("pandas")
    return pd.Series(pd.date_range("2020", periods=LARGE, freq="s", tz="Europe/Berlin"))


def pandas_multiindex() -> Any:
    pd = pytest.importorskip("pandas")
    index = pd.MultiIndex.from_product([range(128), range(LARGE // 128)], names=["a", "b"])
    return pd.Series(floats(), index)


def scipy_sparse(kind: str) -> Any:
    sparse = pytest.importorskip("scipy.sparse")
    return sparse.random(2000, 2000, 0.01, kind, random_state=3)


def sklearn_forest() -> Any:
    pytest.importorskip("sklearn")
    from sklearn.ensemble import RandomForestRegressor

    x = floats().reshape(-1, 16)
    return RandomForestRegressor(4, random_state=0).fit(x, x[:, 0])


def sklearn_pipeline() -> Any:
    pytest.importorskip("sklearn")
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), PCA(40)).fit(floats().reshape(-1, 64))


def sklearn_neighbors() -> Any:
    pytest.importorskip("sklearn")
    from sklearn.neighbors import KNeighborsClassifier

    x = floats().reshape(-1, 4)
    return KNeighborsClassifier(algorithm="kd_tree").fit(x, x[:, 0] > 0)


def sklearn_bunch() -> Any:
    datasets = pytest.importorskip("sklearn.datasets")
    return datasets.load_digits()


def xarray_dataset() -> Any:
    xr = pytest.importorskip("xarray")
    data = xr.DataArray(floats().reshape(64, -1), dims=("time", "x"), attrs={"unit": "K"})
    return xr.Dataset({"t": data, "mean": data.mean("x")})


def arrow_table() -> Any:
    pa = pytest.importorskip("pyarrow")
    words = pa.array([f"word {i}" for i in range(LARGE)])
    return pa.table({"x": floats(), "word": words})


def arrow_chunked() -> Any:
    pa = pytest.importorskip("pyarrow")
    return pa.chunked_array([floats(), floats() * 2])


def polars_frame() -> Any:
    pl = pytest.importorskip("polars")
    return pl.DataFrame({"x": floats(), "n": np.arange(LARGE)})


def torch_tensor() -> Any:
    torch = pytest.importorskip("torch")
    return torch.from_numpy(floats())


# Name, how to make it, how many blobs it must give at least.
KINDS: list[tuple[str, Callable[[], Any], int]] = [
    ("none", lambda: None, 0),
    ("numbers", lambda: [1, 2.5, True, 1 << 200, -0.0, 3j, decimal.Decimal("1.10")], 0),
    ("text", lambda: "ä" * SMALL, 0),
    ("large text", lambda: "äö " * LARGE, 1),
    ("text with surrogates", lambda: "\udc80" * LARGE, 1),
    ("bytes", lambda: b"x" * SMALL, 0),
    ("large bytes", lambda: random.Random(1).randbytes(LARGE * 8), 1),
    ("large bytearray", lambda: bytearray(random.Random(1).randbytes(LARGE * 8)), 1),
    ("bytes in a tuple", lambda: (1, random.Random(1).randbytes(LARGE * 8), "after"), 1),
    ("equal bytes", lambda: [bytes(LARGE * 8), bytes(LARGE * 8)], 1),
    ("many ints", lambda: list(range(200_000)), 1),
    ("set", lambda: {1, 2, (3, 4)}, 0),
    ("dates", lambda: [datetime.datetime(2020, 1, 2), datetime.timedelta(3)], 0),
    ("path", lambda: pathlib.PurePosixPath("/a/b"), 0),
    ("range and slice", lambda: [range(5), slice(1, None, 2)], 0),
    ("exception", lambda: ValueError("bad", 3), 0),
    ("array", floats, 1),
    ("small array", lambda: floats(SMALL), 0),
    ("empty array", lambda: np.empty((0, 3)), 0),
    ("0-d array", lambda: np.array(2.5), 0),
    ("array scalar", lambda: np.float32(2.5), 0),
    ("2-d array", lambda: floats().reshape(128, -1), 1),
    ("Fortran order", lambda: np.asfortranarray(floats().reshape(128, -1)), 1),
    ("transposed view", lambda: floats().reshape(128, -1).T, 1),
    ("3-d permuted", permuted, 1),
    ("strided view", lambda: np.repeat(floats(), 2)[::2], 1),
    ("reversed view", lambda: floats()[::-1], 1),
    ("view of a part", lambda: np.tile(floats(), 4)[LARGE : 2 * LARGE], 1),
    ("broadcast", lambda: np.broadcast_to(floats(), (4, LARGE)), 1),
    ("read-only", read_only, 1),
    ("read-only dates", read_only_dates, 1),
    ("big-endian", lambda: floats().astype(">f8"), 1),
    ("bool array", lambda: np.repeat(floats() > 0, 8), 1),
    ("complex", lambda: floats() * 1j, 1),
    ("float16", lambda: np.repeat(floats(), 4).astype("f2"), 1),
    ("longdouble", longdouble, 1),
    ("dates array", lambda: np.arange(LARGE).astype("M8[D]"), 1),
    ("fixed text", lambda: np.arange(LARGE).astype("U8"), 1),
    ("fixed bytes", lambda: np.arange(LARGE).astype("S8"), 1),
    ("void", lambda: floats().view("V8"), 1),
    ("NaN payloads and -0.0", nan_payloads, 1),
    ("records", structured, 1),
    ("dtype with metadata", with_metadata, 1),
    ("same array twice", twice, 1),
    ("equal arrays", equal_twice, 1),
    ("cycle", cycle, 1),
    ("cycle through dict", cycle_through_dict, 1),
    ("cycle through object array", cycle_through_object_array, 1),
    ("object array with arrays", object_array, 1),
    ("StringDType", string_dtype, 0),
    ("matrix", lambda: np.matrix(floats().reshape(64, -1)), 1),
    ("read-only matrix", read_only_matrix, 1),
    ("recarray", recarray, 1),
    ("chararray", lambda: np.char.array(["abcdefgh"] * LARGE), 1),
    ("memmap", memmap, 1),
    ("masked array", masked, 2),
    ("masked array without mask", masked_without_mask, 2),
    ("masked array, read-only", masked_read_only, 2),
    ("masked array, hard mask", masked_hard, 2),
    ("masked records", masked_records, 2),
    ("subclass of masked array", lambda: masked().view(MaskedChild), 2),
    ("subclass", lambda: floats().view(Plain), 1),
    ("subclass with attributes", with_info, 1),
    ("namedtuple", lambda: Pair(floats(), [1]), 1),
    ("dataclass", lambda: Record("a", floats()), 1),
    ("frozen dataclass", lambda: FrozenRecord(floats()), 1),
    ("object with slots", lambda: Slots(floats()), 1),
    ("object with __reduce__", lambda: Reduced(floats()), 1),
    ("shared by objects", shared_state, 1),
    ("OrderedDict", lambda: collections.OrderedDict(b=floats(), a=1), 1),
    ("defaultdict", defaultdict, 1),
    ("Counter", lambda: collections.Counter("abca"), 0),
    ("deque", lambda: collections.deque([floats()], 3), 1),
    ("dict subclass", lambda: DictChild(x=floats()), 1),
    ("list subclass", lambda: ListChild([floats()]), 1),
    ("partial", lambda: functools.partial(scaled, values=floats()), 1),
    ("random generator", lambda: np.random.default_rng(3), 0),
    ("deeply nested", deep, 1),
    ("DataFrame", pandas_frame, 1),
    ("DataFrame of kinds", pandas_mixed, 1),
    ("Categorical", pandas_categorical, 1),
    ("nullable Series", pandas_nullable, 1),
    ("Arrow-backed DataFrame", pandas_arrow, 1),
    ("Series with time zone", pandas_datetimes, 1),
    ("Series with MultiIndex", pandas_multiindex, 1),
    *[(f"sparse {kind}", functools.partial(scipy_sparse, kind), 2)
      for kind in ("csr", "csc", "coo")],
    ("sparse bsr", functools.partial(scipy_sparse, "bsr"), 2),
    ("random forest", sklearn_forest, 1),
    ("fitted pipeline", sklearn_pipeline, 1),
    ("k-d tree", sklearn_neighbors, 1),
    ("Bunch", sklearn_bunch, 1),
    ("xarray Dataset", xarray_dataset, 1),
    ("pyarrow Table", arrow_table, 2),
    ("pyarrow ChunkedArray", arrow_chunked, 2),
    ("polars DataFrame", polars_frame, 1),
    ("torch tensor", torch_tensor, 1),
]


def plain_copy(result: Any) -> Any:
    return pickle.loads(pickle.dumps(result, PROTOCOL))


class _Canonical(pickle.Pickler):
    """Plain pickle, but for dtypes, which are written out each time."""

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, np.dtype):
            metadata = dict(obj.metadata or {})  # NumPy 2.2 makes None to {}
            return f"{obj!r} {obj.str} {metadata} {obj.isalignedstruct} {obj.type}"
        return None


def canonical(result: Any) -> bytes:
    file = io.BytesIO()
    _Canonical(file, PROTOCOL).dump(result)
    return file.getvalue()


def joblib_copy(result: Any) -> Any:
    file = io.BytesIO()
    joblib.dump(result, file)
    file.seek(0)
    return joblib.load(file)


def our_copy(memory: joblib.Memory, result: Any) -> tuple[Any, decache.Totals]:
    backend = memory.store_backend
    call_id = ("module/function", "0" * 32)
    backend.dump_item(call_id, result)
    backend.store_metadata(call_id, {"time": 1.0})
    stat = backend._shared.run(lambda handle: handle.raw.stat())
    return backend.load_item(call_id), stat


def test_the_table_has_sixty_kinds() -> None:
    assert len({name for name, _, _ in KINDS}) == len(KINDS) >= 60


@pytest.mark.parametrize(("name", "make", "blobs"), KINDS, ids=[kind[0] for kind in KINDS])
def test_comes_back_as_pickle_gives_it(
    name: str, make: Callable[[], Any], blobs: int, memory: joblib.Memory
) -> None:
    result = make()
    pickle.dumps(result, PROTOCOL)  # some change when they are pickled first
    expected = canonical(plain_copy(result))

    loaded, stat = our_copy(memory, result)

    assert type(loaded) is type(result)
    assert canonical(loaded) == expected
    assert stat.blobs >= blobs
    if blobs == 0 and not isinstance(result, np.ndarray):
        assert stat.blobs == 0
    try:
        same = canonical(joblib_copy(result)) == expected
        print(f"{name}: joblib's default {'is the same' if same else 'differs'}")
    except Exception as error:
        print(f"{name}: joblib's default fails: {error!r}")


@pytest.mark.parametrize("make", [kind[1] for kind in KINDS], ids=[kind[0] for kind in KINDS])
def test_with_a_threshold_above_the_arrays(
    make: Callable[[], Any], make_memory: Callable[..., joblib.Memory]
) -> None:
    """What stays in the stream comes back as well."""
    memory = make_memory(backend_options={"large_array_threshold": 1 << 30})
    result = make()
    pickle.dumps(result, PROTOCOL)
    loaded, _ = our_copy(memory, result)
    assert type(loaded) is type(result)
    assert canonical(loaded) == canonical(plain_copy(result))


@pytest.mark.parametrize(("name", "make", "blobs"), KINDS, ids=[kind[0] for kind in KINDS])
def test_arrays_do_not_stay_in_the_item(
    name: str, make: Callable[[], Any], blobs: int, memory: joblib.Memory
) -> None:
    """Whatever is large is outside the item, so that equal results share it."""
    if blobs == 0:
        pytest.skip("has no large parts")
    backend = memory.store_backend
    for key in ("0" * 32, "1" * 32):
        backend.dump_item(("module/function", key), make())
        backend.store_metadata(("module/function", key), {"time": 1.0})

    first, second = (item for item in backend.get_items())
    output = backend._shared.run(lambda one: one.raw.item("module/function", "0" * 32).output)
    assert len(output) <= 70_000
    if name not in _NOT_DETERMINISTIC:
        # The second result brought no bytes of its own.
        assert first.size == second.size <= 70_000


#: Their pickles differ from run to run, by their own doing.
_NOT_DETERMINISTIC: set[str] = set()


def test_threshold_is_what_the_tests_think() -> None:
    assert SMALL * 8 <= THRESHOLD < LARGE
