# SPDX-License-Identifier: MIT
"""A result that could not be stored: the call returns it, and then nobody holds it."""

from __future__ import annotations

import gc
import pathlib
import weakref
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pytest

from _children import in_child
from conftest import totals
from test_backend_failures import HOLD_LOCKS, Unpicklable, Warned, container, hold

calls: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


#: Of types with and without weak references.
RESULTS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "number": lambda: 3,
    "text": lambda: "text",
    "tuple": lambda: (1, 2),
    "list": lambda: [np.arange(1000)],
    "dict": lambda: {"a": np.arange(1000)},
    "array": lambda: np.arange(1000),
    "set": lambda: {1, 2},
}


def make(which: str) -> Any:
    calls.append(which)
    return RESULTS[which]()


def same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and repr(left) == repr(right)


@pytest.fixture
def nowhere(tmp_path: pathlib.Path) -> str:
    """A location that is a file: nobody can store anything there."""
    path = tmp_path / "file"
    path.write_text("in the way")
    return str(path)


# -- it is returned ----------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["memory", "decorator"])
@pytest.mark.parametrize("which", RESULTS)
def test_a_result_that_cannot_be_stored_is_returned(
    which: str, where: str, nowhere: str, make_memory: Callable
) -> None:
    with Warned():
        if where == "memory":
            cached = make_memory(nowhere, mmap_mode="r").cache(make)
        else:
            cached = make_memory(nowhere).cache(make, mmap_mode="r")
        for _ in range(2):
            assert same(cached(which), RESULTS[which]())
    assert calls == [which] * 2


@pytest.mark.parametrize("where", ["memory", "decorator"])
@pytest.mark.parametrize("which", RESULTS)
def test_a_result_that_another_process_removes_at_once_is_returned(
    which: str, where: str, make_memory: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = make_memory(mmap_mode="r" if where == "memory" else None)
    cached = memory.cache(make, mmap_mode="r")
    load = memory.store_backend.load_item

    def remove_and_load(*args: Any, **kwargs: Any) -> Any:
        in_child(clear, memory)
        return load(*args, **kwargs)

    monkeypatch.setattr(memory.store_backend, "load_item", remove_and_load)
    for _ in range(2):
        assert same(cached(which), RESULTS[which]())
    assert calls == [which] * 2


def clear(memory: joblib.Memory) -> None:
    memory.clear(warn=False)


class Nested:
    """Its pickling calls a cached function, and then fails."""

    inner: Callable[[str], Any]

    def __getstate__(self) -> dict:
        Nested.inner("list")
        raise ValueError("not me")


def nested(n: int) -> Any:
    return [Nested()]


def test_a_cached_call_inside_of_pickling_that_fails(make_memory: Callable) -> None:
    memory = make_memory(mmap_mode="r")
    Nested.inner = staticmethod(memory.cache(make))
    with Warned() as warned:
        (result,) = memory.cache(nested)(1)
    assert type(result) is Nested
    assert len(warned.messages) == 1 and "ValueError: not me" in warned.messages[0]
    assert totals(memory).items == 1


class Curious:
    """Its repr, which joblib asks for between storing and loading, calls cached functions."""

    inner: Callable[[str], Any] | None = None

    def __repr__(self) -> str:
        if Curious.inner is not None:
            Curious.inner("list"), Curious.inner("none")
        return "Curious()"


def give(argument: Curious, which: str) -> Any:
    return [Unpicklable()] if which == "unpicklable" else RESULTS[which]()


@pytest.mark.parametrize("which", ["none", "list", "array"])
def test_cached_calls_between_storing_and_loading(
    which: str, nowhere: str, make_memory: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Warned():
        memory = make_memory(nowhere, mmap_mode="r")
        monkeypatch.setattr(Curious, "inner", staticmethod(memory.cache(make)))
        assert same(memory.cache(give)(Curious(), which), RESULTS[which]())


def test_cached_calls_between_failing_to_pickle_and_loading(
    make_memory: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = make_memory(mmap_mode="r")
    monkeypatch.setattr(Curious, "inner", staticmethod(memory.cache(make)))
    with Warned() as warned:
        (result,) = memory.cache(give)(Curious(), "unpicklable")
    assert type(result) is Unpicklable
    assert len(warned.messages) == 1
    assert totals(memory).items == 2


# -- nobody holds it ---------------------------------------------------------------------------


class Large:
    """What can be seen to go; not to be pickled if it is so said."""

    alive: weakref.WeakSet[Large] = weakref.WeakSet()

    def __init__(self, picklable: bool) -> None:
        self.picklable = picklable
        Large.alive.add(self)

    def __getstate__(self) -> dict:
        if not self.picklable:
            raise ValueError("not me")
        return self.__dict__


def alone(n: int, picklable: bool) -> Any:
    return Large(picklable)


def in_a_list(n: int, picklable: bool) -> Any:
    return [Large(picklable), np.arange(1000)]


@pytest.fixture
def all_gone() -> Callable[[], bool]:
    def look() -> bool:
        gc.collect()
        return len(Large.alive) == 0

    assert look()
    return look


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize("picklable", [True, False])
@pytest.mark.parametrize("function", [alone, in_a_list])
def test_a_result_goes_with_its_user(
    function: Callable, picklable: bool, mmap_mode: str | None, make_memory: Callable,
    all_gone: Callable,
) -> None:
    cached = make_memory(mmap_mode=mmap_mode).cache(function)
    with Warned() as warned:
        cached(1, picklable)
    assert len(warned.messages) == (not picklable)
    assert all_gone()


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize("function", [alone, in_a_list])
def test_a_result_that_cannot_be_stored_goes_with_its_user(
    function: Callable, mmap_mode: str | None, nowhere: str, make_memory: Callable,
    all_gone: Callable,
) -> None:
    with Warned():
        cached = make_memory(nowhere, mmap_mode=mmap_mode).cache(function)
        cached(1, True)
        assert all_gone()


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_a_result_that_was_shelved_in_vain_goes(
    mmap_mode: str | None, make_memory: Callable, all_gone: Callable
) -> None:
    cached = make_memory(mmap_mode=mmap_mode).cache(alone)
    with Warned():
        shelved = cached.call_and_shelve(1, False)
    assert all_gone()
    with pytest.raises(KeyError):
        shelved.get()


def test_a_result_that_found_no_lock_goes_with_its_user(
    make_memory: Callable, all_gone: Callable
) -> None:
    memory = make_memory(backend_options={"timeout": 0.2})
    cached = memory.cache(in_a_list)
    cached(1, True)
    with hold(HOLD_LOCKS, container(memory) + "-wal"), Warned() as warned:
        cached(2, True)
        assert all_gone()
    assert warned.messages
