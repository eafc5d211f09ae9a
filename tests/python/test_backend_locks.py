# SPDX-License-Identifier: MIT
"""A process that was stopped with a lock costs the others the timeout now and then, no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import numpy as np
import pytest

from conftest import totals
from decache import _h5store, _shared
from test_backend_failures import HOLD_LOCKS, Warned, container, hold

TIMEOUT = 0.25

# Only WRITE, as a process has it that was stopped in a commit: LOCKING.md.
HOLD_WRITE = HOLD_LOCKS.replace("(1 << 62) + 1, 0", "(1 << 62) + 16, 1")

calls: list[Any] = []


def make(seed: int) -> np.ndarray:
    calls.append(seed)
    return np.full(1000, seed)


@pytest.fixture
def memory(make_memory: Callable) -> joblib.Memory:
    calls.clear()
    memory = make_memory(backend_options={"timeout": TIMEOUT})
    memory.cache(make)(0)
    calls.clear()
    return memory


@pytest.fixture
def writing(memory: joblib.Memory) -> Iterator[None]:
    with hold(HOLD_WRITE, container(memory) + "-wal"):
        yield


def waits(cached: Callable, seconds: float) -> tuple[int, int]:
    """Call for some time with new arguments; returns how many calls waited, and how many not."""
    slow = fast = 0
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        before = time.monotonic()
        cached(1000 + len(calls))
        if time.monotonic() - before < TIMEOUT:
            fast += 1
            time.sleep(0.01)
        else:
            slow += 1
    return slow, fast


def test_waits_for_a_lock_become_rare(memory: joblib.Memory, writing: None) -> None:
    with Warned() as warned:
        slow, fast = waits(memory.cache(make), 16 * TIMEOUT)
    # After 0, 2, 5, 10 timeouts. Now and then a call waits for our own applier, which waits.
    assert slow <= 10 and fast > 20
    assert memory.store_backend._shared._commit_pause.seconds >= 4 * TIMEOUT
    assert all("not cached" in message for message in warned.messages)


def test_results_are_found_while_none_can_be_stored(memory: joblib.Memory, writing: None) -> None:
    cached = memory.cache(make)
    with Warned():
        cached(1)
    for _ in range(5):
        np.testing.assert_array_equal(cached(0), np.full(1000, 0))
    assert calls == [1]


def test_results_are_stored_again_after_the_pause(memory: joblib.Memory) -> None:
    cached = memory.cache(make)
    with hold(HOLD_WRITE, container(memory) + "-wal"), Warned():
        waits(cached, 3 * TIMEOUT)
    with Warned():
        waits(cached, 6 * TIMEOUT)
    calls.clear()
    cached(1), cached(1)
    assert calls == [1]
    assert memory.store_backend._shared._commit_pause is None


@pytest.mark.parametrize("remove", ["clear", "reduce_size"])
def test_who_removes_does_not_wait_for_the_end_of_a_pause(
    remove: str, memory: joblib.Memory
) -> None:
    with hold(HOLD_WRITE, container(memory) + "-wal"), Warned():
        waits(memory.cache(make), 4 * TIMEOUT)
    if remove == "clear":
        memory.clear(warn=False)
    else:
        memory.store_backend.enforce_store_limits(None, 0)
    assert totals(memory).items == 0


def test_pauses_double_up_to_five_minutes(memory: joblib.Memory) -> None:
    store = memory.store_backend._shared
    busy, length = _h5store.BusyError("busy"), []
    pause = None
    for _ in range(15):
        pause = store._longer(pause, busy)
        assert store._longer(pause, busy) is pause  # of several threads that waited together
        length.append(pause.seconds)
        pause = pause._replace(until=0.0)
    assert length[:4] == [TIMEOUT, 2 * TIMEOUT, 4 * TIMEOUT, 8 * TIMEOUT]
    assert length[-2:] == [300.0, 300.0] == [_shared._LONGEST_PAUSE] * 2
