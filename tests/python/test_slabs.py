# SPDX-License-Identifier: MIT
"""Memory of arrays of 64 KiB to 4 MiB that are read: they lie side by side in slabs."""

from __future__ import annotations

import gc
import os
import random
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import decache
import numpy as np
import pytest
from _children import Child

KIB, MIB = 1 << 10, 1 << 20
SLAB = 8 * MIB


@pytest.fixture
def store(tmp_path: Path) -> Iterator[decache.Store]:
    with decache.Store(tmp_path / "arrays.h5") as store:
        name = store.put(filled(99, 64 * KIB))
        alive = [store.get(name)]
        while allocator(alive[-1]) != "decache_slabs":  # as for the first 16 MiB that are alive
            alive.append(store.get(name))
        alive.pop()
        yield store
        del alive


def filled(number: int, nbytes: int = MIB) -> np.ndarray:
    array = np.arange(nbytes // 8, dtype=np.uint64)
    array += np.uint64(number << 32)
    return array


def resident() -> int:
    text = Path("/proc/self/status").read_text()
    return int(re.search(r"^RssAnon:\s+(\d+) kB", text, re.MULTILINE)[1]) * KIB


def allocator(array: np.ndarray) -> str | None:
    try:
        from numpy._core.multiarray import get_handler_name
    except ImportError:  # NumPy 1
        from numpy.core.multiarray import get_handler_name
    return get_handler_name(array)


@pytest.mark.parametrize(
    ("nbytes", "slabs"),
    [(64 * KIB - 8, False), (64 * KIB, True), (4 * MIB, True), (4 * MIB + 8, False)],
)
def test_which_arrays(store: decache.Store, nbytes: int, slabs: bool) -> None:
    array = store.get(store.put(filled(1, nbytes)))
    assert (allocator(array) == "decache_slabs") == slabs
    assert array.flags.owndata and array.flags.writeable
    assert not slabs or array.ctypes.data % 4096 == 0


def test_few_arrays_need_none(tmp_path: Path) -> None:
    """Slabs are for those who keep more than 16 MiB."""

    def work() -> list[bool]:
        with decache.Store(tmp_path / "arrays.h5") as store:
            name = store.put(filled(1))
            dropped = [allocator(store.get(name)) for _ in range(40)]
            kept = [store.get(name) for _ in range(40)]
            names = [*dropped, *map(allocator, kept)]
            del kept
            names.append(allocator(store.get(name)))
            return [one == "decache_slabs" for one in names]

    slabs = Child(work).result()
    assert slabs[:40] == [False] * 40
    assert slabs[40:80] == [False] * 15 + [True] * 25
    assert not slabs[80]


def test_neighbours_do_not_overlap(store: decache.Store) -> None:
    """Sizes at random, dropped at random: what lives keeps its bytes."""
    sizes = [64 * KIB, 64 * KIB + 8, 100_000, 600_000, MIB, 4 * MIB]
    names = {(i, size): store.put(filled(i, size)) for i in range(8) for size in sizes}
    order = random.Random(1)
    living: list[tuple[tuple[int, int], np.ndarray]] = []
    looked = 0
    for _ in range(600):
        key = order.choice(list(names))
        living.append((key, store.get(names[key])))
        living[-1][1][-1] += np.uint64(1)  # it is ours to change
        while len(living) > order.choice([2, 10, 30]):
            (number, size), array = living.pop(order.randrange(len(living)))
            wanted = filled(number, size)
            wanted[-1] += np.uint64(1)
            assert np.array_equal(array, wanted)
            looked += 1
    assert looked > 500


def test_arrays_dropped_one_by_one_get_the_same_memory(store: decache.Store) -> None:
    names = [store.put(filled(i)) for i in range(50)]
    places = {store.get(name).ctypes.data for name in names}
    assert len(places) == 1


def test_dropping_all_gives_all_back(store: decache.Store) -> None:
    names = [store.put(filled(i)) for i in range(100)]

    def work() -> tuple[int, int]:
        with decache.Store(store.path) as mine:
            mine.get(names[0])
            before = resident()
            arrays = [mine.get(name) for name in names]
            full = resident() - before
            del arrays
            gc.collect()
            return full, resident() - before

    full, left = Child(work).result()
    assert full > 90 * MIB
    assert left <= SLAB


@pytest.mark.parametrize("every", [8, 20])
def test_one_array_of_many_keeps_few_others(store: decache.Store, every: int) -> None:
    names = [store.put(filled(i, MIB // 2)) for i in range(160)]

    def work() -> tuple[int, int]:
        with decache.Store(store.path) as mine:
            mine.get(names[0])
            before = resident()
            arrays = [mine.get(name) for name in names]
            kept = arrays[::every]
            del arrays
            gc.collect()
            assert all(np.array_equal(a, filled(i * every, MIB // 2)) for i, a in enumerate(kept))
            return sum(a.nbytes for a in kept), resident() - before

    kept, held = Child(work).result()
    assert kept > 3 * MIB
    assert held <= 4 * kept + SLAB + 2 * MIB  # NumPy's own for the comparison


def test_resizing_in_place(store: decache.Store) -> None:
    name, other = store.put(filled(1)), store.put(filled(2))
    for size in (10, 200_000, 4_000_000):  # smaller, larger, larger than a slab
        array, neighbour = store.get(name), store.get(other)
        array.resize(size, refcheck=False)
        both = min(size, MIB // 8)
        assert np.array_equal(array[:both], filled(1)[:both])
        assert not array[both:].any()
        array[:] = 7
        assert np.array_equal(neighbour, filled(2))


def test_threads(store: decache.Store) -> None:
    names = [store.put(filled(i, 128 * KIB)) for i in range(64)]
    looked: list[int] = []

    def work(seed: int) -> None:
        order, mine = random.Random(seed), []
        for _ in range(150):
            number = order.randrange(64)
            mine.append((number, store.get(names[number])))
            if len(mine) > 20:
                number, array = mine.pop(order.randrange(20))
                assert np.array_equal(array, filled(number, 128 * KIB))
                looked.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(looked) == 4 * 130


def test_a_forked_child(store: decache.Store) -> None:
    arrays = [store.get(store.put(filled(i))) for i in range(10)]
    child = os.fork()
    if child == 0:
        good = all(np.array_equal(array, filled(i)) for i, array in enumerate(arrays))
        arrays[3][:] = 0
        del arrays[4:]
        with decache.Store(store.path) as mine:
            arrays += [mine.get(name) for name in list(mine)[:8]]
        os._exit(0 if good and len(arrays) == 12 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert all(np.array_equal(array, filled(i)) for i, array in enumerate(arrays))
