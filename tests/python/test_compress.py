# SPDX-License-Identifier: MIT
"""Compressed results: other programs read them without plugins, and they are what was put."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import decache
import h5py
import joblib
import numpy as np
import pytest
from decache._options import Options, compression_level


def container(location: str) -> Path:
    return Path(location) / "joblib" / "blobs.h5"


def blobs(location: str) -> list[Any]:
    with decache.Store(container(location), read_only=True) as store:
        return [store.info(name) for name in store]


def is_compressed(info: Any) -> bool:
    return info.offset == 0 and info.stored_bytes > 0


def smooth(size: int = 200_000) -> np.ndarray:
    return np.arange(size, dtype=float) // 3


# -- what compress means -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "level"),
    [(False, 0), (None, 0), (0, 0), (True, 1), (1, 1), (9, 9), (np.int64(4), 4), ("zlib", 1),
     ("deflate", 1), ("gzip", 1), (("zlib", 3), 3), (["gzip", 7], 7), (("zlib", 0), 0),
     (("zlib", None), 1), ("lz4", 1), (("lz4", 1), 1), (("lz4", 0), 1), ("xz", 9),
     (("bz2", 3), 9), (("lzma", 1), 9)],
)
def test_forms_of_joblib(value: Any, level: int) -> None:
    assert compression_level(value) == level
    assert Options.parse({"compress": value}).compress == level


@pytest.mark.parametrize(
    ("options", "error"),
    [({"compress": 10}, ValueError), ({"compress": -1}, ValueError),
     ({"compress": "snappy"}, ValueError), ({"compress": ("zlib", 10)}, ValueError),
     ({"compress": ("zlib",)}, TypeError), ({"compress": (3, "zlib")}, TypeError),
     ({"compress": 2.5}, ValueError), ({"compress": object()}, TypeError),
     ({"level": 10}, ValueError), ({"level": "1"}, TypeError)],
)
def test_other_values_are_refused(options: dict, error: type) -> None:
    with pytest.raises(error, match="compress|level"):
        Options.parse(options)


def test_level_alone_and_with_a_method() -> None:
    assert Options.parse({"compress": False, "level": 3}).compress == 3
    assert Options.parse({"compress": "deflate", "level": 2}).compress == 2
    assert Options.parse({"compress": 9, "level": 0}).compress == 0
    assert Options.parse({"compress": 9, "level": None}).compress == 9


@pytest.mark.parametrize(
    "settings",
    [{"compress": True}, {"compress": 3}, {"compress": ("lz4", 1)}, {"compress": "zlib"},
     {"backend_options": {"level": 1}}],
)
def test_results_are_compressed(
    settings: dict, make_memory: Callable, location: str
) -> None:
    cached = make_memory(**settings).cache(smooth)
    cached()
    np.testing.assert_array_equal(cached(), smooth())
    assert cached.check_call_in_cache()
    (info,) = blobs(location)
    assert is_compressed(info)
    assert info.stored_bytes < info.nbytes / 3


def test_by_default_they_are_not(memory: joblib.Memory, location: str) -> None:
    memory.cache(smooth)()
    assert not is_compressed(blobs(location)[0])


def test_incompressible_arrays_stay_plain(make_memory: Callable, location: str) -> None:
    cached = make_memory(compress=9).cache(lambda: np.random.default_rng(1).bytes(1_000_000))
    assert cached() == cached()
    assert [is_compressed(info) for info in blobs(location)] == [False]


def test_nested_results(make_memory: Callable, location: str) -> None:
    def compute() -> dict:
        a = smooth()
        return {"a": a, "again": a, "cut": a[::3], "turned": a.reshape(400, 500).T, "few": a[:20]}

    cached = make_memory(compress=1).cache(compute)
    cached()
    result = cached()
    for key, value in compute().items():
        np.testing.assert_array_equal(result[key], value)
    assert result["a"] is result["again"]
    assert sum(is_compressed(info) for info in blobs(location)) == 3


# -- one name for both forms -------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1])
def test_plain_and_compressed_are_one_blob(
    make_memory: Callable, location: str, first: int
) -> None:
    def one() -> np.ndarray:
        return smooth()

    def two() -> np.ndarray:
        return smooth()

    make_memory(compress=first).cache(one)()
    make_memory(compress=1 - first).cache(two)()
    (info,) = blobs(location)
    assert info.links == 2
    assert is_compressed(info) == bool(first)


# -- other programs ----------------------------------------------------------------------------

ARRAYS = {
    "float64": smooth(),
    "float32 F": np.asfortranarray(smooth(120_000).astype("f4").reshape(300, 400)),
    "float16": (np.arange(60_000) % 900).astype("f2"),
    "big-endian": smooth(50_000).astype(">i8"),
    "int8": (np.arange(100_000) // 1000).astype("i1"),
    "bool": np.arange(100_000) % 7 == 0,
    "complex": (smooth(50_000) + 1j).astype("c8"),
    "longdouble": smooth(30_000).astype(np.longdouble),
    "date": np.arange(50_000).astype("M8[ns]"),
    "text": np.repeat(np.array(["one", "two", "three"]), 5_000),
    "bytes": np.repeat(np.array([b"one", b"two", b"three"]), 9_000),
    "record": np.zeros(9_000, [("x", "<i4"), ("y", "<f8", (3,)), ("z", "S3")]),
    "aligned": np.zeros(9_000, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "3-d": smooth(240_000).reshape(60, 40, 100),
    "one row": smooth(300_000).reshape(1, -1),
    "0 strides": np.broadcast_to(smooth(1_000), (200, 1_000)),
}


@pytest.fixture(params=ARRAYS)
def array(request: pytest.FixtureRequest) -> np.ndarray:
    return ARRAYS[request.param]


def put(path: Path, array: np.ndarray, level: int = 1) -> str:
    """Put an array compressed; return its name."""
    with decache.Store(path) as store:
        batch = store._handle.raw.batch()
        batch.compress(level)
        name = batch.put(array, decache._dtype.describe(array.dtype))
        batch.set_item("m/f", "key", b"", "{}", [name])
        batch.commit()
        info = store.info(name)
        assert is_compressed(info), info
        got = store.get(name)
        assert got.dtype == array.dtype and got.shape == array.shape
        assert got.tobytes("A") == np.asarray(array).tobytes("A")
        assert not store.verify("full")
    return name


def test_h5py_reads_them(tmp_path: Path, array: np.ndarray) -> None:
    name = put(tmp_path / "a.h5", array)
    with h5py.File(tmp_path / "a.h5") as file:
        dataset = file[f"blobs/{name[:2]}/{name}"]
        assert dataset.compression == "gzip"
        values = dataset[()]
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        values = values.T
    assert values.dtype == array.dtype
    np.testing.assert_array_equal(values, array)


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="h5dump is not installed")
def test_h5dump_reads_them(tmp_path: Path, array: np.ndarray) -> None:
    name = put(tmp_path / "a.h5", array)
    command = ["h5dump", "-p", "-y", "-w", "0", "-d", f"/blobs/{name[:2]}/{name}"]
    if array.dtype == float:
        command += ["-m", "%.17g"]
    done = subprocess.run(
        [*command, str(tmp_path / "a.h5")], capture_output=True, text=True, check=True
    )
    assert "COMPRESSION DEFLATE { LEVEL 1 }" in done.stdout
    assert "USER_DEFINED" not in done.stdout
    if array.dtype == float:
        data = done.stdout[done.stdout.index("DATA {") : done.stdout.index("ATTRIBUTE")]
        numbers = data.replace("DATA {", "").replace("}", "").replace(",", " ").split()
        np.testing.assert_array_equal(np.array(numbers, float), array.ravel())


def test_name_can_be_computed_from_what_h5py_reads(tmp_path: Path) -> None:
    array = smooth()
    name = put(tmp_path / "a.h5", array)
    with decache.Store(tmp_path / "b.h5") as other, h5py.File(tmp_path / "a.h5") as file:
        assert other.put(file[f"blobs/{name[:2]}/{name}"][()]) == name


# -- mapping -----------------------------------------------------------------------------------


def test_mapping_gives_a_normal_array_and_says_so_once(
    make_memory: Callable, location: str
) -> None:
    compute = lambda i: smooth() + i  # noqa: E731
    make_memory(compress=1).cache(compute)(1)
    make_memory(compress=1).cache(compute)(2)
    mapping = make_memory(mmap_mode="r").cache(compute)
    with pytest.warns(decache.CacheWarning, match="cannot be mapped") as told:
        first = mapping(1)
        second = mapping(2)
    assert len([one for one in told if "mapped" in str(one.message)]) == 1
    for i, result in ((1, first), (2, second)):
        assert type(result) is np.ndarray
        assert not result.flags.writeable
        np.testing.assert_array_equal(result, compute(i))


# -- damage ------------------------------------------------------------------------------------


def flip(path: Path, name: str) -> None:
    """Turn a bit of the first chunk over."""
    with h5py.File(path) as file:
        place = file[f"blobs/{name[:2]}/{name}"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as file:
        file.seek(place + 500)
        byte = file.read(1)[0]
        file.seek(place + 500)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("level", [0, 1, 6])
def test_damage_is_noticed_and_healed_for_all(
    make_memory: Callable, location: str, level: int
) -> None:
    calls = []

    def compute(i: int) -> np.ndarray:
        calls.append(i)
        return smooth()

    cached = make_memory(compress=1).cache(compute)
    cached(1), cached(2)
    del cached
    (info,) = blobs(location)
    flip(container(location), info.id)
    with decache.Store(container(location)) as store:
        with pytest.raises(decache.DamagedError):
            store.get(info.id)
        assert store.verify()

    cached = make_memory(compress=level).cache(compute)
    with pytest.warns(decache.CacheWarning, match="computed again"):
        np.testing.assert_array_equal(cached(1), smooth())
    np.testing.assert_array_equal(cached(2), smooth())
    assert calls == [1, 2, 1]
    (healed,) = blobs(location)
    assert healed.id == info.id and is_compressed(healed)
    with decache.Store(container(location)) as store:
        assert not store.verify("full")


def test_compaction_keeps_them(tmp_path: Path) -> None:
    with decache.Store(tmp_path / "a.h5") as store:
        first = store.put(np.random.default_rng(2).random(1_000_000))
    name = put(tmp_path / "a.h5", smooth())
    size = (tmp_path / "a.h5").stat().st_size
    with decache.Store(tmp_path / "a.h5") as store:
        store.discard(first)
        store._handle.raw.compact()
        np.testing.assert_array_equal(store.get(name), smooth())
    assert (tmp_path / "a.h5").stat().st_size < size / 4
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file[f"blobs/{name[:2]}/{name}"][()], smooth())


def test_joblib_says_itself_that_both_cannot_be(make_memory: Callable) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        cached = make_memory(compress=1, mmap_mode="r").cache(smooth)
        np.testing.assert_array_equal(cached(), smooth())
        np.testing.assert_array_equal(cached(), smooth())
    assert any("memmapped" in str(one.message) for one in told)
