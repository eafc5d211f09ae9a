# SPDX-License-Identifier: MIT
"""Containers on real file systems, with room and without.

Each test gets a file system of its own (`_mounts`), so root is needed. What a file system
cannot do is asserted as well: the tests for holes fail if one that is listed as having them
no longer does.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import decache
import joblib
import numpy as np
import pytest

from _children import NOBODY, Child, become_nobody, in_child, open_folder
from _mounts import KINDS, MIB, mounted, remount
from conftest import reduce_size, totals
from test_backend_failures import Warned

calls: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def place(kind: str, tmp_path: Path) -> Iterator[Path]:
    """The root of a file system of each kind."""
    with mounted(kind, tmp_path / kind) as root:
        yield root


def array(seed: int, nbytes: int = 40_000) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, nbytes, dtype=np.uint8)


def check_holds(path: Path, kept: dict[str, np.ndarray]) -> None:
    """The container is sound and has every array, opened by a handle of its own."""
    assert kept
    with decache.Store(path, create=False, verify="full") as store:
        assert store.verify("full") == []
        for name, value in kept.items():
            np.testing.assert_array_equal(store.get(name), value)


# -- every file system -------------------------------------------------------------------------


def test_what_was_put_comes_back(place: Path) -> None:
    path, kept = place / "a.h5", {}
    with decache.Store(path) as store:
        for seed, nbytes in enumerate((0, 1, 300, 5000, 70_000, 3 * MIB + 1)):
            value = array(seed, nbytes)
            kept[store.put(value)] = value
        for name, value in kept.items():
            for mode in (None, "r", "c"):
                np.testing.assert_array_equal(store.get(name, mmap_mode=mode), value)
        store.flush()
        assert store.stat().file_size >= 3 * MIB
    check_holds(path, kept)
    assert [name for name in os.listdir(place) if name != "lost+found"] == ["a.h5"]


def write_some(path: Path, own: range, common: range) -> list[str]:
    with decache.Store(path) as store:
        return [store.put(array(seed)) for seed in (*own, *common)]


def test_four_processes_write_at_once(place: Path) -> None:
    path, common = place / "a.h5", range(1000, 1005)
    writers = [
        Child(write_some, path, range(100 * n, 100 * n + 10), common) for n in range(4)
    ]
    names = [writer.result() for writer in writers]
    assert len({tuple(one[10:]) for one in names}) == 1
    seeds = [seed for n in range(4) for seed in range(100 * n, 100 * n + 10)]
    kept = dict(zip((name for one in names for name in one[:10]), map(array, seeds)))
    kept.update(zip(names[0][10:], map(array, common)))
    assert len(kept) == 45
    check_holds(path, kept)
    with decache.Store(path) as store:
        assert len(store) == 45


def write_on(path: Path, witness: Path) -> None:
    """Put without end; what was acknowledged is noted outside the file system."""
    note = os.open(witness, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with decache.Store(path) as store:
        for seed in range(10**9):
            name = store.put(array(seed % 50, 4096 + seed % 50))
            os.write(note, f"{seed % 50} {name}\n".encode())
            if seed % 3 == 2:  # so that space is taken, freed and taken again
                os.write(note, f"{seed % 50} -\n".encode())  # from here on it may be gone
                store.discard(name)


def acknowledged(witness: Path) -> tuple[dict[str, np.ndarray], int]:
    """What must be there, and how many puts there were."""
    state: dict[int, str] = {}
    lines = witness.read_text().splitlines()
    for line in lines:
        seed, name = line.split()
        state[int(seed)] = name
    kept = {
        name: array(seed, 4096 + seed) for seed, name in state.items() if name != "-"
    }
    return kept, sum(not line.endswith("-") for line in lines)


def test_a_killed_writer_loses_nothing(place: Path, tmp_path: Path) -> None:
    path, witness = place / "a.h5", tmp_path / "witness"
    for after in (40, 90, 140):
        writer = Child(write_on, path, witness)
        while not witness.exists() or acknowledged_count(witness) < after:
            assert os.waitpid(writer.pid, os.WNOHANG) == (0, 0)
        writer.kill()
        kept, puts = acknowledged(witness)
        assert puts >= after // 2
        check_holds(path, kept)


def acknowledged_count(witness: Path) -> int:
    return witness.read_bytes().count(b"\n")


def test_stock_programs_read_it(place: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with decache.Store(place / "a.h5") as store:
        name = store.put(array(1))
        store.flush()
        with h5py.File(place / "a.h5", "r") as file:
            np.testing.assert_array_equal(file["blobs"][name[:2]][name][:], array(1))
            # A reader that stays keeps nobody from writing.
            kept = {name: array(1), store.put(array(2)): array(2)}
    check_holds(place / "a.h5", kept)


def test_removing_gives_space_back(place: Path, kind: str) -> None:
    with decache.Store(place / "a.h5") as store:
        names = [store.put(array(seed, 2 * MIB)) for seed in range(3)]
        store.flush()
        before = store.stat()
        with Warned():  # that du does not fall is said, see below
            store.discard(names[1])
            store.flush()
        after = store.stat()
        given_back = before.disk_bytes - after.disk_bytes
        assert after.free_bytes - before.free_bytes >= 2 * MIB
        assert (given_back >= 2 * MIB - 65536) == KINDS[kind].punches
        # Either way the next array of that size takes the place.
        names[1] = store.put(array(5, 2 * MIB))
        assert store.stat().file_size == before.file_size
        assert store.stat().free_bytes == before.free_bytes
    check_holds(place / "a.h5", {names[1]: array(5, 2 * MIB), names[2]: array(2, 2 * MIB)})


# -- where something is missing ----------------------------------------------------------------


def make(seed: int, nbytes: int = 40_000) -> np.ndarray:
    calls.append(seed)
    return array(seed, nbytes)


@pytest.fixture(params=["ramfs"])
def place_without_holes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with mounted(request.param, tmp_path / "file-system") as root:
        yield root


def test_that_no_holes_can_be_punched_is_said_once(place_without_holes: Path) -> None:
    path = place_without_holes / "a.h5"
    with decache.Store(path) as store:
        names = [store.put(array(seed)) for seed in range(4)]
        assert store._handle.raw.notice == ""
        store.discard(names[0])
        said = store._handle.raw.notice
        assert str(path) in said and "du" in said
        for name in names[1:]:
            store.discard(name)
        assert store._handle.raw.notice == said


def test_a_user_of_joblib_is_told_once(place_without_holes: Path, make_memory: Callable) -> None:
    memory = make_memory(str(place_without_holes / "cache"))
    cached = memory.cache(make)
    with Warned() as warned:
        for seed in range(6):
            cached(seed)
        for seed in range(3):
            cached.call_and_shelve(seed).clear()
        reduce_size(memory, items_limit=1)
        memory.clear(warn=False)
        np.testing.assert_array_equal(cached(1), array(1))
    assert len(warned.messages) == 1
    assert "blobs.h5" in warned.messages[0] and "punch holes" in warned.messages[0]


# -- an overlay, whose files move when they are first written ----------------------------------


def test_a_container_below_an_overlay_moves_up(tmp_path: Path) -> None:
    kept = {}

    def fill(lower: Path) -> None:
        with decache.Store(lower / "a.h5") as store:
            kept[store.put(array(1))] = array(1)

    with mounted("overlay", tmp_path / "overlay", lower=fill) as root:
        (name,) = kept
        reader = decache.Store(root / "a.h5", read_only=True)
        np.testing.assert_array_equal(reader.get(name), array(1))
        assert not list(root.parent.glob("below/mount/upper/*"))
        with decache.Store(root / "a.h5") as writer:  # now it is copied up
            assert list(root.parent.glob("below/mount/upper/a.h5"))
            other = writer.put(array(2))
            np.testing.assert_array_equal(reader.get(other), array(2))
            mapped = reader.get(name, mmap_mode="r")
            writer.discard(name)
            assert name not in reader
            np.testing.assert_array_equal(mapped, array(1))
        reader.close()
        check_holds(root / "a.h5", {other: array(2)})


# -- no space ----------------------------------------------------------------------------------


def fill_up(path: Path) -> None:
    """Leave no byte free, by a file that can be deleted again."""
    with open(path, "wb", buffering=0) as file:
        for size in (MIB, 4096, 256, 1):
            with pytest.raises(OSError, match="No space left"):
                while True:
                    if file.write(bytes(size)) == 0:
                        break
        os.fsync(file.fileno())


def put_until_full(store: decache.Store, kept: dict[str, np.ndarray], sizes: tuple) -> int:
    """Put ever smaller arrays until not even those fit; returns how many were refused."""
    refused, seed = 0, 0
    for nbytes in sizes:
        while True:
            seed += 1
            value = array(seed, nbytes)
            try:
                kept[store.put(value)] = value
            except decache.NoSpaceError as error:
                assert isinstance(error, OSError)
                assert store.path in str(error) and "No space left on device" in str(error)
                refused += 1
                break
    return refused


def free_bytes(root: Path) -> int:
    fd = os.open(root, os.O_RDONLY)
    try:  # btrfs counts what was freed when its transaction is complete
        assert ctypes.CDLL(None).syncfs(fd) == 0
    finally:
        os.close(fd)
    status = os.statvfs(root)
    return status.f_bavail * status.f_frsize


#: A write in place needs space as well.
COPY_ON_WRITE = ("btrfs",)


@pytest.fixture(params=["ext4", "tmpfs", "btrfs"])
def kind_of_place(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def small_place(kind_of_place: str, tmp_path: Path) -> Iterator[Path]:
    size = {"ext4": 12, "tmpfs": 8}.get(kind_of_place)
    with mounted(kind_of_place, tmp_path / "small", size) as root:
        yield root


def test_a_full_disk_costs_nothing_that_was_put(small_place: Path) -> None:
    path, kept = small_place / "a.h5", {}
    ballast = small_place / "ballast"
    ballast.write_bytes(bytes(MIB))
    sizes = (MIB, 100_000, 20_000, 3000, 300, 30)
    store = decache.Store(path)
    assert put_until_full(store, kept, sizes) == len(sizes)
    assert len(kept) >= 6
    assert store.verify("full") == []
    check_holds_open(store, kept)
    # And it goes on when there is space.
    ballast.unlink()
    for seed in range(-3, 0):
        kept[store.put(array(-seed, 5000))] = array(-seed, 5000)
    store.flush()
    store.close()
    check_holds(path, kept)


def check_holds_open(store: decache.Store, kept: dict[str, np.ndarray]) -> None:
    for name, value in kept.items():
        np.testing.assert_array_equal(store.get(name), value)


def test_a_refused_put_keeps_no_space(small_place: Path) -> None:
    with decache.Store(small_place / "a.h5") as store:
        kept = {store.put(array(1)): array(1)}
        store.flush()
        free = free_bytes(small_place)
        for seed in range(5):
            with pytest.raises(decache.NoSpaceError):
                store.put(array(seed, free + seed))
        assert free_bytes(small_place) > free - 512 * 1024
        # The place that the first one was refused is had by the others, too.
        assert store.stat().file_size < 2 * free + 4 * MIB
        half = free // 2
        kept[store.put(array(2, half))] = array(2, half)
    check_holds(small_place / "a.h5", kept)


def test_a_full_disk_can_be_emptied_by_removing(small_place: Path, kind_of_place: str) -> None:
    path, kept = small_place / "a.h5", {}
    (small_place / "ballast").write_bytes(bytes(MIB))
    with decache.Store(path) as store:
        put_until_full(store, kept, (MIB, 100_000, 20_000, 3000, 300, 30))
        free = free_bytes(small_place)
        if kind_of_place in COPY_ON_WRITE:
            first = next(iter(kept))
            try:  # which writes some hundred bytes, for which there is room or not
                store.discard(first)
                del kept[first]
            except decache.NoSpaceError as error:
                assert "No space left on device" in str(error)
            (small_place / "ballast").unlink()
        for name in list(kept)[:4]:
            store.discard(name)
            del kept[name]
        store.flush()
        assert free_bytes(small_place) - free >= 2 * MIB
        kept[store.put(array(7, MIB))] = array(7, MIB)
    check_holds(path, kept)


def test_a_disk_that_others_filled_can_be_emptied_too(
    small_place: Path, kind_of_place: str, make_memory: Callable
) -> None:
    if kind_of_place in COPY_ON_WRITE:
        pytest.skip("removing needs space there, see above")
    memory = make_memory(str(small_place / "cache"))
    cached = memory.cache(make)
    for seed in range(3):
        cached(seed, MIB)
    memory.store_backend._shared.handle().raw.flush()  # the log starts anew
    fill_up(small_place / "others")
    shelved = cached.call_and_shelve(1, MIB)
    shelved.clear()
    assert free_bytes(small_place) > 512 * 1024
    reduce_size(memory, items_limit=1)
    assert free_bytes(small_place) > 1536 * 1024
    assert totals(memory).items == 1
    assert calls == [0, 1, 2]


def test_a_full_disk_costs_the_user_one_warning(small_place: Path, make_memory: Callable) -> None:
    memory = make_memory(str(small_place / "cache"))
    cached = memory.cache(make)
    cached(1)
    fill_up(small_place / "ballast")
    with Warned() as warned:
        np.testing.assert_array_equal(cached(2), array(2))
    assert len(warned.messages) == 1
    assert "No space left on device" in warned.messages[0]
    assert "make (arguments" in warned.messages[0] and "not cached" in warned.messages[0]
    np.testing.assert_array_equal(cached(1), array(1))  # hits go on, without a word
    assert calls == [1, 2]
    (small_place / "ballast").unlink()
    for _ in range(2):
        np.testing.assert_array_equal(cached(2), array(2))
    assert calls == [1, 2, 2]


def test_a_cache_cannot_be_made_on_a_full_disk(small_place: Path, make_memory: Callable) -> None:
    fill_up(small_place / "ballast")
    before = sorted(os.listdir(small_place))
    with pytest.raises(decache.NoSpaceError, match="No space left on device"):
        decache.Store(small_place / "a.h5")
    assert sorted(os.listdir(small_place)) == before
    with Warned() as warned:
        cached = make_memory(str(small_place / "cache")).cache(make)
        np.testing.assert_array_equal(cached(1), array(1))
    assert warned.messages and all("No space left" in text for text in warned.messages)
    (small_place / "ballast").unlink()
    with decache.Store(small_place / "a.h5") as store:
        assert store.verify("full") == []


def limit_user(root: Path, uid: int, kibibytes: int) -> None:
    """Give a user of ext4 a hard limit of blocks: quotactl(2), Q_SETQUOTA."""
    (device,) = [
        line.split()[0] for line in Path("/proc/self/mounts").read_text().splitlines()
        if line.split()[1] == str(root)
    ]
    Q_SETQUOTA, QIF_BLIMITS = 0x800008, 1
    libc = ctypes.CDLL(None, use_errno=True)
    block = struct.pack("8QI4x", kibibytes, kibibytes, 0, 0, 0, 0, 0, 0, QIF_BLIMITS)
    if libc.quotactl(Q_SETQUOTA << 8, device.encode(), uid, block) != 0:
        pytest.skip(f"no quotas here: {os.strerror(ctypes.get_errno())}")


def limit_folder(root: Path, kibibytes: int) -> None:
    """Give all of a btrfs a limit."""
    for command in (["quota", "enable"], ["qgroup", "limit", f"{kibibytes}k"]):
        done = subprocess.run(
            ["btrfs", *command, str(root)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode != 0:
            pytest.skip(f"no quotas here: {done.stdout.decode().splitlines()[0]}")


def fill_as_nobody(root: Path) -> tuple[int, str]:
    become_nobody()
    kept: dict[str, np.ndarray] = {}
    with decache.Store(root / "a.h5") as store:
        for seed in range(1000):
            try:
                kept[store.put(array(seed, 100_000))] = array(seed, 100_000)
            except decache.NoSpaceError as error:
                assert store.verify("full") == []
                check_holds_open(store, kept)
                for name in list(kept)[:5]:
                    store.discard(name)
                    del kept[name]
                store.flush()
                kept[store.put(array(2000))] = array(2000)
                check_holds_open(store, kept)
                return len(kept), str(error)
    raise AssertionError("there was no limit")


@pytest.mark.parametrize("kind", ["ext4", "btrfs"])
def test_a_quota_is_a_full_disk(kind: str) -> None:
    settings = {"options": "usrquota", "features": "quota"} if kind == "ext4" else {}
    with open_folder() as folder, mounted(kind, folder / "quota", **settings) as root:
        if kind == "ext4":
            limit_user(root, NOBODY, 3072)
        else:
            limit_folder(root, 3072)
        os.chmod(root, 0o777)
        count, error = in_child(fill_as_nobody, root)
        assert 5 < count < 30
        assert str(root / "a.h5") in error and "Disk quota exceeded" in error
        with decache.Store(root / "a.h5") as store:
            assert len(store) == count
            assert store.verify("full") == []


# -- read-only ---------------------------------------------------------------------------------


@pytest.fixture(params=["ext4", "tmpfs", "btrfs"])
def any_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with mounted(request.param, tmp_path / "any") as root:
        yield root


def look(root: Path) -> list[tuple[str, int, int]]:
    """Every file with its size and time of last change."""
    found = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found]


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_a_read_only_file_system(
    mmap_mode: str | None, any_place: Path, make_memory: Callable
) -> None:
    location = str(any_place / "cache")
    memory = make_memory(location, mmap_mode=mmap_mode)
    memory.cache(make)(1)
    memory.store_backend._shared.close()
    remount(any_place, "ro")
    before = look(any_place)
    assert len(before) >= 3

    cached = make_memory(location, mmap_mode=mmap_mode).cache(make)
    np.testing.assert_array_equal(cached(1), array(1))
    assert calls == [1]
    with Warned() as warned:
        np.testing.assert_array_equal(cached(2), array(2))
    assert calls == [1, 2]
    assert len(warned.messages) == 1 and "not cached" in warned.messages[0]
    assert "blobs.h5" in warned.messages[0] and "read" in warned.messages[0]

    with pytest.raises(decache.ReadOnlyError, match="new.h5.*Read-only file system"):
        decache.Store(any_place / "new.h5")
    with Warned() as warned:
        fresh = make_memory(str(any_place / "other")).cache(make)
        np.testing.assert_array_equal(fresh(3), array(3))
    assert warned.messages
    assert all("Read-only file system" in text for text in warned.messages)
    assert look(any_place) == before


def test_a_killed_writers_log_on_a_read_only_file_system(
    any_place: Path, tmp_path: Path
) -> None:
    path, witness = any_place / "a.h5", tmp_path / "witness"
    writer = Child(write_on, path, witness)
    while not witness.exists() or acknowledged_count(witness) < 30:
        assert os.waitpid(writer.pid, os.WNOHANG) == (0, 0)
    writer.kill()
    kept, _ = acknowledged(witness)
    assert os.path.getsize(f"{path}-wal") > 4096
    remount(any_place, "ro")
    before = look(any_place)
    with decache.Store(path, read_only=True, verify="full") as store:
        assert store.verify("full") == []
        check_holds_open(store, kept)
        with pytest.raises(decache.ReadOnlyError, match=f"{path}.*reading only"):
            store.put(array(9))
    assert look(any_place) == before
    remount(any_place, "rw")
    check_holds(path, kept)
