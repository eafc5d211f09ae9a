# SPDX-License-Identifier: MIT
"""Mapped arrays that joblib sends to its workers by their place in the file.

Such a place must hold the array for as long as a worker may look at it, whatever the process that
sent it does meanwhile: drop its array, remove the result, compact the file.
"""

from __future__ import annotations

import builtins
import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any

import decache
import joblib
import numpy as np
import pytest

from test_backend_processes import JOBLIB

COUNT = 400_000

pytestmark = pytest.mark.skipif(
    JOBLIB < (1, 4) and not hasattr(np, "byte_bounds"),
    reason="this joblib cannot send mapped arrays with this NumPy",
)


def fill(number: int) -> np.ndarray:
    return np.full(COUNT, float(number))


def look(array: np.ndarray) -> tuple[str, float, bool]:
    time.sleep(0.3)  # so that others wait in the queue
    return type(array).__name__, float(array[0]), bool((array == array[0]).all())


def tasks(cached: Callable, then: Callable[[], Any]) -> Iterator[Any]:
    """Six tasks, whose arrays nobody has any more once they are sent; the last two run after."""
    for number in range(1, 7):
        yield joblib.delayed(look)(cached(number))
    then()


def run(backend: str, cached: Callable, then: Callable[[], Any]) -> None:
    parallel = joblib.Parallel(
        2, backend=backend, pre_dispatch="all", batch_size=1, max_nbytes=1000
    )
    found = parallel(tasks(cached, then))
    assert found == [("memmap", float(number), True) for number in range(1, 7)]


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_removing_waits_for_workers(backend: str, make_memory: Callable) -> None:
    memory = make_memory(mmap_mode="r")
    cached = memory.cache(fill)

    def remove_and_store() -> None:
        memory.clear(warn=False)
        for number in range(11, 17):
            cached(number)  # would take the space

    run(backend, cached, remove_and_store)
    assert [cached(number)[0] for number in range(11, 17)] == list(range(11, 17))


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_compacting_waits_for_workers(backend: str, make_memory: Callable) -> None:
    memory = make_memory(mmap_mode="r")
    cached, moved = memory.cache(fill), []

    def compact() -> None:
        moved.append(decache.compact(memory.location).moved)

    for number in range(-6, 7):  # the first six leave holes below the others
        cached(number)
    for number in range(-6, 1):
        cached.call_and_shelve(number).clear()
    run(backend, cached, compact)
    assert moved[0] > 0


def keep(array: np.ndarray) -> None:
    builtins.kept = array  # type: ignore[attr-defined]


def look_again(_: int) -> tuple[str, float, bool]:
    return look(builtins.kept)  # type: ignore[attr-defined]


def test_workers_may_keep_what_they_were_sent(make_memory: Callable) -> None:
    memory = make_memory(mmap_mode="r")
    cached = memory.cache(fill)
    with joblib.Parallel(2, max_nbytes=1000, batch_size=1) as parallel:
        array = cached(1)
        parallel(joblib.delayed(keep)(array) for _ in range(8))
        del array
        memory.clear(warn=False)
        for number in range(2, 8):
            cached(number)
        found = parallel(joblib.delayed(look_again)(number) for number in range(8))
    assert found == [("memmap", 1.0, True)] * 8


def test_parts_of_mapped_arrays_go_by_their_place(make_memory: Callable) -> None:
    """joblib finds the file behind any view."""
    memory = make_memory(mmap_mode="r")
    cached = memory.cache(fill)

    def parts() -> Iterator[Any]:
        yield joblib.delayed(look)(cached(1)[::2])
        yield joblib.delayed(look)(np.asarray(cached(2))[1000:])
        yield joblib.delayed(look)(cached(3).reshape(2, -1)[1])
        memory.clear(warn=False)
        for number in range(11, 17):
            cached(number)

    found = joblib.Parallel(1 + 1, backend="multiprocessing", pre_dispatch="all", batch_size=1)(
        parts()
    )
    assert [value for _, value, _ in found] == [1.0, 2.0, 3.0]
    assert all(same for _, _, same in found)


def test_the_place_is_a_path(make_memory: Callable) -> None:
    memory = make_memory(mmap_mode="r")
    memory.cache(fill)(1)
    array = memory.cache(fill)(1)
    path = memory.store_backend._shared.path
    assert array.filename == path and isinstance(array.filename, str)
    with open(array.filename, "rb") as file:
        file.seek(array.offset)
        assert file.read(8) == np.float64(1).tobytes()
    again = pickle.loads(pickle.dumps(array.filename))
    assert type(again) is str and again == path
    assert type(pickle.loads(pickle.dumps(array))) is np.memmap  # by value, as ever
