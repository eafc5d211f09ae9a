# SPDX-License-Identifier: MIT
"""The system says no, or the files go: what is asked for returns, and nothing is damaged.

Limits, users and refused system calls are those of a forked child (`_children`), and real:
each test also shows that its limit is in force.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import resource
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import decache
import joblib
import numpy as np
import pytest

from _children import (
    Child, become_nobody, can_refuse_calls, in_child, open_folder, refuse_calls,
)
from conftest import reduce_size, totals
from test_backend_failures import Warned

KIB, MIB = 1 << 10, 1 << 20
calls: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


def array(seed: int, nbytes: int = 40_000) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, nbytes, dtype=np.uint8)


def make(seed: int, nbytes: int = 40_000) -> np.ndarray:
    calls.append(seed)
    return array(seed, nbytes)


def call(cached: Callable, seed: int) -> tuple[bool, list[str]]:
    """Call, check the result; returns whether it was computed, and the warnings."""
    before = len(calls)
    with Warned() as warned:
        np.testing.assert_array_equal(cached(seed), array(seed))
    return len(calls) > before, warned.messages


def memory_at(location: Path, **settings: Any) -> joblib.Memory:
    options = {"large_array_threshold": 1000, "timeout": 5.0}
    return joblib.Memory(
        str(location), backend="cas", verbose=0, backend_options=options, **settings
    )


def check_sound(path: Path | str) -> None:
    with decache.Store(path, create=False, verify="full") as store:
        assert store.verify("full") == []


# -- no permission -----------------------------------------------------------------------------


@pytest.fixture
def open_place() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def use_without_rights(location: Path, seeds: list[int]) -> list[tuple[bool, list[str]]]:
    become_nobody()
    with Warned() as warned:
        memory = memory_at(location)
    cached = memory.cache(make)
    results = [(False, warned.messages), *(call(cached, seed) for seed in seeds)]
    memory.store_backend._shared.close()
    return results


def test_a_container_that_may_not_be_read(open_place: Path) -> None:
    location = open_place / "cache"
    memory = memory_at(location)
    memory.cache(make)(1)
    memory.store_backend._shared.close()
    path = location / "joblib" / "blobs.h5"
    os.chmod(path, 0)
    (_, first), *rest = in_child(use_without_rights, location, [1, 1])
    assert first == []
    for computed, messages in rest:
        assert computed
        assert messages
        assert all(str(path) in text and "Permission denied" in text for text in messages)
    os.chmod(path, 0o644)
    assert call(memory_at(location).cache(make), 1) == (False, [])


def test_a_container_that_may_only_be_read(open_place: Path) -> None:
    location = open_place / "cache"
    memory = memory_at(location)
    memory.cache(make)(1)
    memory.store_backend._shared.close()
    path = location / "joblib" / "blobs.h5"
    for one in (path, *path.parents[:2]):
        os.chmod(one, 0o444 if one == path else 0o555)
    before = path.read_bytes()
    _, hit, miss, again = in_child(use_without_rights, location, [1, 2, 1])
    assert hit == (False, [])
    computed, messages = miss
    assert computed and len(messages) == 1
    assert str(path) in messages[0] and "reading only" in messages[0]
    assert again == (False, [])
    assert path.read_bytes() == before
    assert sorted(os.listdir(path.parent)) == ["CACHEDIR.TAG", "blobs.h5"]


def test_a_folder_that_may_not_be_written(open_place: Path) -> None:
    location = open_place / "closed"
    location.mkdir()
    os.chmod(location, 0o555)
    (_, first), *rest = in_child(use_without_rights, location / "cache", [1, 1])
    assert len(first) == 1
    assert "cannot be written" in first[0] and "Permission denied" in first[0]
    for computed, messages in rest:
        assert computed
        assert messages and all("Permission denied" in text for text in messages)
    assert os.listdir(location) == []


def create_without_rights(path: Path) -> str:
    become_nobody()
    with pytest.raises(decache.ReadOnlyError) as caught:
        decache.Store(path)
    assert caught.value.errno == errno.EACCES
    return str(caught.value)


def test_a_store_that_may_not_be_made_or_read(open_place: Path) -> None:
    os.chmod(open_place, 0o555)
    assert str(open_place / "a.h5") in in_child(create_without_rights, open_place / "a.h5")
    os.chmod(open_place, 0o755)
    with decache.Store(open_place / "a.h5") as store:
        store.put(array(1))
    os.chmod(open_place / "a.h5", 0)
    message = in_child(create_without_rights, open_place / "a.h5")
    assert "a.h5" in message and "Permission denied" in message
    assert os.listdir(open_place) == ["a.h5"]


# -- files that go while they are open ---------------------------------------------------------


def delete_container(folder: Path, spare: Path) -> None:
    os.unlink(folder / "blobs.h5")


def delete_log(folder: Path, spare: Path) -> None:
    os.unlink(folder / "blobs.h5-wal")


def move_container(folder: Path, spare: Path) -> None:
    os.rename(folder / "blobs.h5", folder / "moved.h5")


def replace_container(folder: Path, spare: Path) -> None:
    os.replace(spare, folder / "blobs.h5")


def remove_folder(folder: Path, spare: Path) -> None:
    shutil.rmtree(folder)


def move_folder(folder: Path, spare: Path) -> None:
    os.rename(folder, folder.with_name("moved"))


LOSSES = [
    delete_container, delete_log, move_container, replace_container, remove_folder, move_folder,
]


@pytest.fixture
def spare(tmp_path: Path) -> Path:
    """Another container, complete and closed."""
    with decache.Store(tmp_path / "spare.h5") as store:
        store.put(array(99))
    return tmp_path / "spare.h5"


def use_when_told(location: Path, ready: int, go: int) -> list[tuple[bool, list[str]]]:
    cached = memory_at(location).cache(make)
    results = [call(cached, 1)]
    os.write(ready, b"r")
    assert os.read(go, 1) == b"g"
    return results + [call(cached, seed) for seed in (1, 2, 1, 2)]


@pytest.mark.parametrize("lose", LOSSES)
def test_files_go_while_two_processes_use_them(
    lose: Callable, tmp_path: Path, spare: Path
) -> None:
    location = tmp_path / "cache"
    memory = memory_at(location)
    cached = memory.cache(make)
    assert call(cached, 1) == (True, [])
    ready, told = os.pipe(), os.pipe()
    child = Child(use_when_told, location, ready[1], told[0])
    assert os.read(ready[0], 1) == b"r"
    lose(location / "joblib", spare)
    for seed in (1, 2, 1, 2):
        _, messages = call(cached, seed)
        assert len(messages) <= 1, messages
    os.write(told[1], b"g")
    first, *others = child.result()
    assert first[0] is False
    assert sum(len(messages) for _, messages in others) <= 1, others
    assert [computed for computed, _ in others[-2:]] == [False, False]
    for end in (*ready, *told):
        os.close(end)
    memory.store_backend._shared.close()

    # And the next program finds a cache that is whole.
    again = memory_at(location).cache(make)
    calls.clear()
    for seed in (1, 2):
        call(again, seed)
        assert call(again, seed) == (False, [])
    again.store_backend._shared.close()
    check_sound(location / "joblib" / "blobs.h5")


@pytest.mark.parametrize("lose", [delete_container, delete_log, replace_container, remove_folder])
def test_a_store_says_that_its_files_went(lose: Callable, tmp_path: Path, spare: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    store = decache.Store(folder / "blobs.h5")
    name = store.put(array(1))
    lose(folder, spare)
    for attempt in (lambda: store.put(array(2)), lambda: store.get(name), store.stat):
        with pytest.raises(decache.ChangedError, match=r"blobs\.h5.*open it again"):
            attempt()
    store.close()
    folder.mkdir(exist_ok=True)
    with decache.Store(folder / "blobs.h5") as fresh:
        other = fresh.put(array(3))
        np.testing.assert_array_equal(fresh.get(other), array(3))
    check_sound(folder / "blobs.h5")


def test_a_mapped_array_outlives_its_file(tmp_path: Path) -> None:
    store = decache.Store(tmp_path / "a.h5")
    mapped = store.get(store.put(array(1)), mmap_mode="r")
    os.unlink(tmp_path / "a.h5")
    os.unlink(tmp_path / "a.h5-wal")
    store.close()
    np.testing.assert_array_equal(mapped, array(1))
    assert os.listdir(tmp_path) == []


# -- a clock that is wrong ---------------------------------------------------------------------


def use_with_a_wrong_clock(location: Path) -> dict[str, Any]:
    import datetime

    real, offset = time.time, [0.0]
    time.time = lambda: real() + offset[0]
    memory = memory_at(location)
    cached = memory.cache(make)
    day = 86400.0
    seen: dict[str, Any] = {}
    for seed, offset[0] in enumerate((0.0, 400 * day, -400 * day)):
        assert call(cached, seed) == (True, [])
    offset[0] = -800 * day  # now everything is from the future
    seen["hits"] = [call(cached, seed) == (False, []) for seed in range(3)]
    reduce_size(memory, age_limit=datetime.timedelta(days=1))
    seen["from the future"] = totals(memory).items
    offset[0] = 0.0  # by their metadata 400 days old, new, from the future; all were used just now
    reduce_size(memory, age_limit=datetime.timedelta(days=1))
    seen["with the right time"] = totals(memory).items
    seen["kept"] = [call(cached, seed)[0] is False for seed in range(3)]
    reduce_size(memory, items_limit=1)
    seen["one"] = totals(memory).items
    memory.store_backend._shared.close()
    return seen


def test_a_clock_that_goes_backwards(tmp_path: Path) -> None:
    seen = in_child(use_with_a_wrong_clock, tmp_path / "cache")
    assert seen["hits"] == [True, True, True]
    assert seen["from the future"] == 3
    assert seen["with the right time"] == 3  # when they were used the container itself knows
    assert seen["kept"] == [True, True, True]
    assert seen["one"] == 1
    check_sound(tmp_path / "cache" / "joblib" / "blobs.h5")


# -- no memory ---------------------------------------------------------------------------------


def address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


class Little:
    """A block in which this process can have so many more bytes of addresses, and no more.

    The limit alone would leave what malloc has in stock, which can be megabytes; so that is
    taken first, in blocks of at least 4 KiB, but for the 32 KiB that Python itself may need.
    """

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes
        self._taken: list[int | None] = [None] * 10_000  # no growing without memory

    def __enter__(self) -> None:
        present, count = address_space(), 0
        self._limit(present)
        for size in (MIB, 64 * KIB, 4 * KIB):
            while block := libc.malloc(size):
                self._taken[count] = block
                count += 1
        for last in range(count - 1, max(count - 1 - 8, -1), -1):
            libc.free(self._taken[last])
            self._taken[last] = None
        self._limit(present + self._nbytes)

    def __exit__(self, *_: object) -> None:
        self._limit(resource.RLIM_INFINITY)
        for block in self._taken:
            libc.free(block)

    def _limit(self, nbytes: int) -> None:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (nbytes, hard))


def work_without_memory(path: Path, rooms: tuple) -> list[tuple[int, int, list[str]]]:
    """For each room: how many operations were done, how many refused, and errors."""
    sizes = (100, 40_000, 3 * MIB)
    values = {
        (room, n): array(10 * r + n, size) for r, room in enumerate(rooms)
        for n, size in enumerate(sizes)
    }
    kept: dict[str, np.ndarray] = {}
    outcomes = []
    with decache.Store(path) as store:
        for value in (array(500), array(501, 2 * MIB)):
            kept[store.put(value)] = value
        for room in rooms:
            done, refused = 0, []
            with Little(room):
                for _ in range(5):
                    for n in range(len(sizes)):
                        try:
                            name = store.put(values[room, n])
                            kept[name] = values[room, n]
                            done += 1
                            store.get(name)
                            done += 1
                        except (MemoryError, decache.Error) as error:
                            refused.append(error)
                    try:
                        len(store), store.stat(), list(store)
                        done += 1
                    except (MemoryError, decache.Error) as error:
                        refused.append(error)
            for error in refused:  # nothing but memory was ever wrong
                assert isinstance(error, MemoryError) or "memory" in str(error), repr(error)
            outcomes.append((done, len(refused), sorted({str(error) for error in refused})))
        assert store.verify("full") == []
        for name, value in kept.items():
            np.testing.assert_array_equal(store.get(name), value)
    return outcomes


def test_no_addresses_left(tmp_path: Path) -> None:
    rooms = (32 * KIB, 0, 256 * KIB, 2 * MIB, 8 * MIB, 64 * MIB)
    outcomes = in_child(work_without_memory, tmp_path / "a.h5", rooms)
    assert len(outcomes) == len(rooms)
    assert outcomes[0][1] > 0  # 3 MiB cannot be had from 32 KiB
    assert outcomes[-1][0] > 0 and outcomes[-1][1] == 0
    check_sound(tmp_path / "a.h5")


def call_without_memory(location: Path) -> list[int]:
    results = {seed: array(seed) for seed in range(40)}

    def give(seed: int) -> np.ndarray:
        return results[seed]

    # joblib logs what it could not load. Where that goes to is pytest's here, which makes an error
    # of having no memory for it; logging itself does not.
    logging.getLogger().handlers.clear()
    memory = memory_at(location)
    cached = memory.cache(give)
    cached(0)
    said = []
    for room in (32 * KIB, 0, 512 * KIB):
        for seed in range(1, 10):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                with Little(room):
                    result = cached(seed)
            assert (result == results[seed]).all()
            said.append(len(caught))
    memory.store_backend._shared.close()
    return said


def test_a_call_returns_without_addresses(tmp_path: Path) -> None:
    said = in_child(call_without_memory, tmp_path / "cache")
    assert len(said) == 27
    check_sound(tmp_path / "cache" / "joblib" / "blobs.h5")


# -- no descriptors ----------------------------------------------------------------------------


def use_up_descriptors() -> list[int]:
    taken = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    with pytest.raises(OSError, match="Too many open files"):
        while True:
            taken.append(os.dup(0))
    return taken


def work_without_descriptors(folder: Path, durability: str) -> int:
    with decache.Store(folder / "a.h5", durability=durability) as store:
        kept = {store.put(array(1)): array(1)}
        taken = use_up_descriptors()
        with pytest.raises(decache.InputOutputError, match="b.h5.*Too many open files"):
            decache.Store(folder / "b.h5")
        with pytest.raises(decache.InputOutputError, match="a.h5.*Too many open files"):
            decache.Store(folder / "a.h5")
        for seed in range(2, 6):
            value = array(seed, seed * 400_000)
            kept[store.put(value)] = value
        if durability == "process":  # the log's folder was not synced yet, see below
            with pytest.raises(decache.InputOutputError, match="Too many open files"):
                store.flush()
        else:
            store.flush()
        store.discard(next(iter(kept)))
        kept.pop(next(iter(kept)))
        assert store.verify("full") == []
        for mode in (None, "r"):  # a mapping of Python's needs a descriptor
            try:
                for name, value in kept.items():
                    np.testing.assert_array_equal(store.get(name, mmap_mode=mode), value)
            except OSError as error:
                assert mode == "r" and "Too many open files" in str(error)
        for fd in taken:
            os.close(fd)
        store.flush()
        with decache.Store(folder / "b.h5") as other:
            other.put(array(1))
        return len(store)


@pytest.mark.parametrize("durability", ["process", "power"])
def test_no_descriptors_left(durability: str, tmp_path: Path) -> None:
    assert in_child(work_without_descriptors, tmp_path, durability) == 4
    check_sound(tmp_path / "a.h5")
    check_sound(tmp_path / "b.h5")


def first_sync_without_descriptors(path: Path) -> None:
    store = decache.Store(path, durability="power")
    taken = use_up_descriptors()
    # The log's name was never synced, which needs the folder: nothing can be promised yet,
    try:
        store.put(array(1))
    except decache.InputOutputError as error:
        assert "Too many open files" in str(error)
    for fd in taken:
        os.close(fd)
    # but the store is as good as before.
    store.put(array(2))
    store.flush()
    store.close()


def test_the_first_sync_without_descriptors(tmp_path: Path) -> None:
    in_child(first_sync_without_descriptors, tmp_path / "a.h5")
    with decache.Store(tmp_path / "a.h5") as store:
        assert len(store) >= 1
    check_sound(tmp_path / "a.h5")


def call_without_descriptors(location: Path) -> list[tuple[bool, list[str]]]:
    cached = memory_at(location).cache(make)
    used = [call(cached, 1)]
    fresh = memory_at(location.with_name("other")).cache(make)
    taken = use_up_descriptors()
    used += [call(cached, 1), call(cached, 2), call(fresh, 1)]
    for fd in taken:
        os.close(fd)
    fresh.store_backend._shared._pause = None  # do not wait until it is tried again
    return [*used, call(fresh, 1), call(fresh, 1)]


def test_a_call_returns_without_descriptors(tmp_path: Path) -> None:
    results = in_child(call_without_descriptors, tmp_path / "cache")
    assert results[:3] == [(True, []), (False, []), (True, [])]
    computed, messages = results[3]
    assert computed and messages
    assert all("Too many open files" in text for text in messages)
    assert [computed for computed, _ in results[4:]] == [True, False]


# -- no threads --------------------------------------------------------------------------------


def work_without_threads(folder: Path) -> None:
    become_nobody()
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
    with pytest.raises(RuntimeError, match="can't start new thread"):
        threading.Thread(target=print).start()
    with decache.Store(folder / "a.h5", threads=8, verify="full") as store:
        value = array(1, 20 * MIB)
        name = store.put(value)
        np.testing.assert_array_equal(store.get(name), value)
        assert store.put(value) == name
        store.flush()
        assert store.stat().log_bytes <= 8192  # applied, though there is no janitor
        assert store.verify("full") == []
        assert len(os.listdir("/proc/self/task")) == 1
    assert os.listdir(folder) == ["a.h5"]


def test_no_threads_to_be_had(open_place: Path) -> None:
    os.chmod(open_place, 0o777)
    in_child(work_without_threads, open_place)
    check_sound(open_place / "a.h5")


# -- file systems that refuse ------------------------------------------------------------------


refusing = pytest.mark.skipif(
    not can_refuse_calls(), reason="this kernel or machine filters no system calls"
)


def open_without_locks(folder: Path, code: int) -> tuple[str, list[tuple[bool, list[str]]]]:
    refuse_calls({"fcntl": code})
    with pytest.raises(decache.UnsupportedError) as caught:
        decache.Store(folder / "a.h5")
    cached = memory_at(folder / "cache").cache(make)
    return str(caught.value), [call(cached, 1), call(cached, 1)]


@refusing
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EINVAL, errno.EOPNOTSUPP])
def test_without_locks_it_is_refused(code: int, tmp_path: Path) -> None:
    message, results = in_child(open_without_locks, tmp_path, code)
    assert str(tmp_path / "a.h5") in message
    assert "byte-range locks" in message and "put the container on another one" in message
    for computed, messages in results:
        assert computed
        assert messages and all("byte-range locks" in text for text in messages)
    assert not (tmp_path / "a.h5").exists()
    check_nothing_left(tmp_path)


def check_nothing_left(folder: Path) -> None:
    assert [str(path) for path in folder.rglob("*.h5*")] == []


def work_where_little_is_possible(path: Path) -> str:
    refuse_calls({
        "flock": errno.ENOLCK, "fallocate": errno.EOPNOTSUPP, "link": errno.EPERM,
    })
    with pytest.raises(OSError):
        os.link("/proc/self/exe", path)
    with pytest.raises(OSError):
        os.posix_fallocate(os.open(path.parent, os.O_RDONLY), 0, 1)
    kept = {}
    with decache.Store(path) as store:
        for seed in range(5):
            kept[store.put(array(seed, MIB))] = array(seed, MIB)
        gone = next(iter(kept))
        store.discard(gone)
        del kept[gone]
        size = store.stat().file_size
        kept[store.put(array(9, MIB))] = array(9, MIB)
        assert store.stat().file_size == size  # the space was used again
        assert store.verify("full") == []
        for name, value in kept.items():
            np.testing.assert_array_equal(store.get(name), value)
        return store._handle.raw.notice


@refusing
def test_without_holes_links_and_flock_it_works(tmp_path: Path) -> None:
    notice = in_child(work_where_little_is_possible, tmp_path / "a.h5")
    assert notice.count("cannot punch holes") == 1 and str(tmp_path / "a.h5") in notice
    with decache.Store(tmp_path / "a.h5") as store:
        assert len(store) == 5
    check_sound(tmp_path / "a.h5")
    assert os.listdir(tmp_path) == ["a.h5"]
