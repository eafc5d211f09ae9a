# SPDX-License-Identifier: MIT
"""How much memory storing and reading take beside the array itself.

Measured by the kernel, in a child: the highest resident size since a moment (VmHWM, which
/proc/self/clear_refs resets). Before each look malloc gives back what it holds of memory freed:
how much that is depends on all tests before, and new arrays may come out of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import decache
import joblib
import numpy as np
import pytest
from _children import Child

MAP_FIXED = 0x10  # Linux
MIB = 1 << 20
SIZE = 160 * MIB  # of which none is kept for the next
MOST = 16 * MIB
LEAST = SIZE - MIB  # the kernel counts pages of each thread in batches


def trim() -> None:
    """Have malloc give back what is free, and nothing else; glibc alone holds on to so much."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def memory(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024


def peak(work: Callable[[], Any]) -> int:
    """Return how much the resident size rose at most while something ran."""
    gc.collect()
    trim()
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    work()
    return memory("VmHWM") - before


SLICES = {
    "whole": lambda a: a[:, ::1],
    "columns": lambda a: a[:, 1::2],
    "backwards": lambda a: a[::-1],
    "transposed": lambda a: a[::2].T,
}


def sliced(kind: str) -> np.ndarray:
    """Return an array of SIZE bytes."""
    doubled = kind in ("columns", "transposed")
    base = np.random.default_rng(1).random((SIZE // 8 // 1024, 2048 if doubled else 1024))
    part = SLICES[kind](base)
    assert part.nbytes == SIZE
    return part


@pytest.mark.parametrize("kind", SLICES)
def test_storing_takes_no_copy(tmp_path: Path, kind: str) -> None:
    def work() -> tuple[int, int]:
        array = sliced(kind)
        with decache.Store(tmp_path / "arrays.h5") as store:
            store.put(np.arange(300_000.0))
            new = peak(lambda: store.put(array))
            known = peak(lambda: store.put(array))
            assert len(store) == 2
        return new, known

    new, known = Child(work).result()
    assert new <= MOST
    assert known <= MOST


@pytest.mark.parametrize("check", ["never", "fast", "full"])
def test_reading_takes_the_result_alone(tmp_path: Path, check: str) -> None:
    def work() -> int:
        array = sliced("whole")
        with decache.Store(tmp_path / "arrays.h5", verify=check) as store:
            name = store.put(array)
            assert np.array_equal(store.get(name), array)
            return peak(lambda: store.get(name))

    assert LEAST <= Child(work).result() <= SIZE + MOST


@pytest.mark.parametrize("kind", ["whole", "columns"])
def test_a_cached_call_takes_no_copy(tmp_path: Path, kind: str) -> None:
    def work() -> tuple[int, int]:
        array = sliced(kind)
        cached = joblib.Memory(tmp_path, backend="cas", verbose=0).cache(lambda: {"a": array})
        miss = peak(cached)
        cached()  # now nothing is kept that a test before this one has left
        return miss, peak(cached)

    miss, hit = Child(work).result()
    assert miss <= MOST
    assert LEAST <= hit <= SIZE + MOST


def let_go(store: decache.Store) -> None:
    """Have nothing kept that a test before this one has left: so large an array is not."""
    store.get(store.put(np.zeros(SIZE // 8)))
    trim()


def rollup(name: str) -> int:
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024


@pytest.mark.parametrize("nbytes", [5 * MIB, 8 * MIB, 64 * MIB])
def test_memory_of_the_last_large_array_is_kept_for_the_next(
    tmp_path: Path, nbytes: int
) -> None:
    """So that a loop that drops its results gets no new pages; the kernel may have them."""

    def work() -> None:
        arrays = [np.arange(nbytes / 8) + number for number in range(2)]
        with decache.Store(tmp_path / "arrays.h5") as store:
            names = [store.put(array) for array in arrays]
            let_go(store)
            before = rollup("LazyFree")
            place = store.get(names[0]).ctypes.data
            assert rollup("LazyFree") - before >= nbytes // 2
            for _ in range(3):
                for name, array in zip(names, arrays, strict=True):
                    got = store.get(name)
                    assert got.ctypes.data == place
                    assert np.array_equal(got, array)
                    del got
            one, other = map(store.get, names)
            assert place in (one.ctypes.data, other.ctypes.data)
            assert one.ctypes.data != other.ctypes.data
            assert np.array_equal(one, arrays[0]) and np.array_equal(other, arrays[1])

    Child(work).result()


def test_memory_is_kept_wherever_it_lies(tmp_path: Path) -> None:
    """malloc leaves what it needs to align a block in front of it or behind it.

    So large a block is a mapping of its own, and each begins some pages before or behind a
    large page: in a hole of its size among addresses that are taken.
    """
    nbytes, page, large = 40 * MIB, mmap.PAGESIZE, 2 * MIB
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *3 * [ctypes.c_int], ctypes.c_long]
    libc.mmap.restype = ctypes.c_void_p
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p

    def take(start: int | None, size: int, fixed: int) -> int:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | fixed
        return libc.mmap(start, size, 0, flags, -1, 0)

    def work() -> dict[int, tuple[int, int]]:
        found = {}
        with decache.Store(tmp_path / "arrays.h5") as store:
            name = store.put(np.ones(nbytes // 8))
            let_go(store)
            while libc.malloc(nbytes) % page != 16:
                pass  # what a test before this one has left is taken; now mappings are made
            size = nbytes + large + page
            middle = (take(None, 256 * MIB, 0) + 128 * MIB) // large * large
            while take(None, size, 0) > middle:
                pass  # Linux takes the highest addresses that are free; there are none now
            for pages in (-3, -2, -1, 0, 1, 2, 256):
                start = middle + pages * page
                assert libc.munmap(start, size) == 0
                place = store.get(name).ctypes.data
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                store.get(name)
                faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
                found[pages] = (place - start, faults)
                let_go(store)
                assert take(start, size, MAP_FIXED) == start
        return found

    found = Child(work).result()
    for pages, (behind, faults) in found.items():
        # In front there is at least what malloc notes of a block.
        assert behind == (-pages * page if pages < 0 else large - pages * page)
        assert faults < 16  # a page of 2 MiB at a time makes 20 of them
    assert len(found) == 7


def test_no_more_is_kept_than_one_array_of_128_mib(tmp_path: Path) -> None:
    def work() -> list[int]:
        with decache.Store(tmp_path / "arrays.h5") as store:
            names = [store.put(np.ones(size * MIB // 8)) for size in (64, 40, 100, 160)]
            let_go(store)
            before, kept = memory("VmRSS"), []
            for name in names:
                store.get(name)
                trim()
                kept.append(memory("VmRSS") - before)
            together = [store.get(name) for name in names[:3]]
            del together
            trim()
            kept.append(memory("VmRSS") - before)
            return kept

    kept = Child(work).result()
    assert [round(rise / MIB) for rise in kept[:3]] == pytest.approx([64, 40, 100], abs=8)
    assert kept[3] <= 8 * MIB  # all that was kept went before memory of another size was had
    assert kept[4] <= 108 * MIB


def test_kept_memory_is_of_each_process(tmp_path: Path) -> None:
    with decache.Store(tmp_path / "arrays.h5") as store:
        name = store.put(np.arange(6.0 * MIB))
        expected = store.get(name).copy()
        store.get(name)  # and is kept

        def work() -> bool:
            with decache.Store(tmp_path / "arrays.h5") as mine:
                got = mine.get(name)
                got += 1
                return bool(np.array_equal(got, expected + 1))

        child = Child(work)
        assert np.array_equal(store.get(name), expected)
        assert child.result()
        assert np.array_equal(store.get(name), expected)


def test_large_arrays_are_ordinary_arrays(store: decache.Store) -> None:
    array = np.arange(5_000_000.0)
    got = store.get(store.put(array))
    assert np.array_equal(got, array)
    assert got.flags.owndata and got.flags.writeable and got.base is None
    got.resize(6_000_000, refcheck=False)
    assert np.array_equal(got[:5_000_000], array) and not got[5_000_000:].any()
    got.resize(10, refcheck=False)
    assert got.tolist() == list(range(10))
    # What is made afterwards has NumPy's own memory again.
    handler = getattr(getattr(np, "_core", None) or np.core, "multiarray").get_handler_name
    assert handler(np.empty(5_000_000)) == handler(np.empty(3)) != handler(got)
