# SPDX-License-Identifier: MIT
"""Whatever goes wrong in the cache, the user's call returns its result, with one warning."""

from __future__ import annotations

import contextlib
import ctypes
import glob
import os
import pathlib
import resource
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import decache
import joblib
import numpy as np
import pytest

from conftest import totals

calls: list[Any] = []

ROOT = os.geteuid() == 0


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


def make(seed: int, count: int = 1000) -> np.ndarray:
    calls.append(seed)
    return np.random.default_rng(seed).standard_normal(count)


def expected(seed: int, count: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count)


def container(memory: joblib.Memory) -> str:
    return os.path.join(memory.store_backend.location, "blobs.h5")


class Warned:
    """The warnings of the cache that a block gave."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def __enter__(self) -> Warned:
        self._catch = warnings.catch_warnings(record=True)
        self._caught = self._catch.__enter__()
        warnings.simplefilter("always")
        return self

    def __exit__(self, *exc: Any) -> None:
        self._catch.__exit__(*exc)
        self.messages = [
            str(one.message) for one in self._caught if one.category is decache.CacheWarning
        ]


# -- results that cannot be pickled or loaded --------------------------------------------------


class Unpicklable:
    def __reduce__(self) -> Any:
        raise ValueError("not me")


class Vanishing:
    """Can be pickled, but loading it fails: its class is gone."""

    def __reduce__(self) -> tuple:
        return _vanished, ()


def _vanished() -> None:
    raise ImportError("No module named 'gone'")


def unpicklable(n: int) -> list:
    calls.append(n)
    return [np.arange(1000), Unpicklable()]


def with_lambda(n: int) -> Callable:
    calls.append(n)
    return lambda: n


def vanishing(n: int) -> list:
    calls.append(n)
    return [np.arange(1000), Vanishing()]


@pytest.mark.parametrize("mmap_mode", [None, "r", "c"])
@pytest.mark.parametrize("function", [unpicklable, with_lambda])
def test_a_result_that_cannot_be_pickled(
    function: Callable, mmap_mode: str | None, make_memory: Callable
) -> None:
    memory = make_memory(mmap_mode=mmap_mode)
    cached = memory.cache(function)
    for _ in range(2):
        with Warned() as warned:
            result = cached(3)
        assert len(warned.messages) == 1
        assert f"{function.__name__} (arguments" in warned.messages[0]
        assert "cannot be pickled" in warned.messages[0]
        assert type(result) is type(function(3))
    assert totals(memory).items == totals(memory).blobs == 0


def test_the_cause_is_named(memory: joblib.Memory) -> None:
    with pytest.warns(decache.CacheWarning, match="ValueError: not me"):
        memory.cache(unpicklable)(1)


def test_the_warning_is_at_the_line_of_the_call(memory: joblib.Memory) -> None:
    with pytest.warns(decache.CacheWarning) as caught:
        memory.cache(unpicklable)(1)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_with_warnings_as_errors_the_call_returns_and_the_warning_is_shown(
    mmap_mode: str | None, location: str, run_python: Callable
) -> None:
    code = """
        import shutil, sys, warnings
        import decache, joblib
        import test_backend_failures as user
        memory = joblib.Memory(sys.argv[1], backend="cas", verbose=0, mmap_mode=sys.argv[2] or None)
        warnings.simplefilter("error")
        print(type(memory.cache(user.unpicklable)(1)))
        cached = memory.cache(user.make)
        cached(1)
        shutil.rmtree(memory.store_backend.location)
        print((cached(1) == user.expected(1)).all())
        print(user.calls)
    """
    run = run_python(code, location, mmap_mode or "")
    assert run.stdout.split("\n")[:3] == ["<class 'list'>", "True", "[1, 1, 1]"]
    assert run.stderr.count("CacheWarning: The result of ") == 1
    assert run.stderr.count("CacheWarning: The cache ") == 1
    assert "<string>:7: CacheWarning" in run.stderr


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_a_result_whose_class_is_gone(mmap_mode: str | None, make_memory: Callable) -> None:
    cached = make_memory(mmap_mode=mmap_mode).cache(vanishing)
    with Warned() as warned:
        cached(1)
    assert len(warned.messages) <= (mmap_mode is not None)
    with Warned() as warned:
        result = cached(1)
    assert calls == [1, 1]
    assert isinstance(result[1], Vanishing)
    assert "No module named 'gone'" in warned.messages[0]


def test_a_recursion_too_deep(memory: joblib.Memory) -> None:
    with Warned() as warned:
        result = memory.cache(nest)(100_000)
    assert isinstance(result, list)
    assert len(warned.messages) == 1
    assert "recursion" in warned.messages[0].lower()
    while result:  # freed layer by layer
        result = result[0] if result else result


def nest(depth: int) -> list:
    result: list = []
    for _ in range(depth):
        result = [result]
    return result


# -- containers that cannot be used ------------------------------------------------------------


def write_garbage(path: str) -> None:
    pathlib.Path(path).write_bytes(b"not an HDF5 file\n" * 1000)


def write_nothing(path: str) -> None:
    pathlib.Path(path).write_bytes(b"")


def make_folder(path: str) -> None:
    os.mkdir(path)
    pathlib.Path(path, "inside").write_text("kept")


def write_other_hdf5(path: str) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["data"] = np.arange(10)


def truncate(path: str) -> None:
    with decache.Store(path) as opened:
        for seed in range(20):
            opened.put(expected(seed))
    os.truncate(path, os.path.getsize(path) // 2)


def cut_head(path: str) -> None:
    with decache.Store(path) as opened:
        opened.put(expected(1))
    with open(path, "r+b") as file:
        file.write(b"\0" * 512)


@pytest.mark.parametrize(
    "spoil",
    [write_garbage, write_nothing, make_folder, write_other_hdf5, truncate, cut_head],
)
def test_an_unusable_container_is_set_aside(spoil: Callable, memory: joblib.Memory) -> None:
    path = container(memory)
    spoil(path)
    before = os.stat(path)
    cached = memory.cache(make)
    with Warned() as warned:
        for _ in range(3):
            np.testing.assert_array_equal(cached(1), expected(1))
    assert calls == [1]
    assert len(warned.messages) == 1
    aside = [name for name in glob.glob(path + ".unusable-*") if not name.endswith("-wal")]
    assert len(aside) == 1
    assert path in warned.messages[0] and aside[0] in warned.messages[0]
    assert (os.stat(aside[0]).st_ino, os.stat(aside[0]).st_size) == (before.st_ino, before.st_size)
    assert totals(memory).items == 1


def test_two_unusable_containers_in_one_second(memory: joblib.Memory) -> None:
    path = container(memory)
    for _ in range(3):
        memory.store_backend._shared.close()
        for name in glob.glob(path) + glob.glob(path + "-wal"):
            os.unlink(name)
        write_garbage(path)
        with Warned() as warned:
            memory.cache(make)(1)
        assert len(warned.messages) == 1
    assert len(glob.glob(path + ".unusable-*")) == 3


def raise_version(path: str) -> None:
    """Write a higher format version into the stamp (FORMAT.md, "Stamp")."""
    checksum = ctypes.CDLL("libxxhash.so.0").XXH3_64bits
    checksum.restype, checksum.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]
    with open(path, "r+b") as file:
        file.seek(256)
        stamp = bytearray(file.read(256))
        assert stamp[:8] == b"h5store\n"
        assert struct.unpack_from("<Q", stamp, 248)[0] == checksum(bytes(stamp), 248)
        struct.pack_into("<I", stamp, 8, 1 + struct.unpack_from("<I", stamp, 8)[0])
        struct.pack_into("<Q", stamp, 248, checksum(bytes(stamp), 248))
        file.seek(256)
        file.write(stamp)


def test_a_container_of_a_newer_version_is_not_touched(memory: joblib.Memory) -> None:
    path = container(memory)
    memory.cache(make)(1)
    memory.store_backend._shared.close()
    raise_version(path)
    before = pathlib.Path(path).read_bytes()
    calls.clear()
    with Warned() as warned:
        for _ in range(2):
            np.testing.assert_array_equal(memory.cache(make)(2), expected(2))
    assert calls == [2, 2]
    assert any("newer" in message for message in warned.messages)
    assert pathlib.Path(path).read_bytes() == before
    assert sorted(os.listdir(memory.store_backend.location)) == ["CACHEDIR.TAG", "blobs.h5"]


def test_many_processes_set_an_unusable_container_aside_once(
    memory: joblib.Memory, location: str, run_python: Callable
) -> None:
    path = container(memory)
    write_garbage(path)
    code = """
        import sys, decache, joblib, warnings
        import test_backend_failures as user
        warnings.simplefilter("ignore")
        memory = joblib.Memory(sys.argv[1], backend="cas", verbose=0)
        memory.cache(user.make)(int(sys.argv[2]))
    """
    threads = [
        threading.Thread(target=run_python, args=(code, location, str(seed)))
        for seed in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(glob.glob(path + ".unusable-*")) == 1
    assert totals(memory).items == 4


# -- places that cannot be written -------------------------------------------------------------


@pytest.fixture
def file_as_location(tmp_path: pathlib.Path) -> str:
    """A location that is not a folder: nobody can write there, root neither."""
    path = tmp_path / "file"
    path.write_text("in the way")
    return str(path)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_a_location_that_cannot_be_written(
    mmap_mode: str | None, file_as_location: str, make_memory: Callable
) -> None:
    with pytest.warns(decache.CacheWarning, match="cannot be written"):
        memory = make_memory(file_as_location, mmap_mode=mmap_mode)
    cached = memory.cache(make)
    with Warned() as warned:
        for _ in range(2):
            np.testing.assert_array_equal(cached(1), expected(1))
    assert calls == [1, 1]
    assert all(file_as_location in message for message in warned.messages)
    assert warned.messages


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_a_read_only_cache_still_gives_hits(
    memory: joblib.Memory, location: str, run_python: Callable
) -> None:
    memory.cache(make)(1)
    memory.store_backend._shared.close()
    folder = memory.store_backend.location
    os.chmod(container(memory), 0o444)
    os.chmod(folder, 0o555)
    try:
        with Warned() as warned:
            np.testing.assert_array_equal(memory.cache(make)(1), expected(1))
            assert calls == [1]
            assert warned.messages == []
            np.testing.assert_array_equal(memory.cache(make)(2), expected(2))
        assert any("not cached" in message for message in warned.messages)
    finally:
        os.chmod(folder, 0o755)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 1 MiB: what a full disk looks like."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_no_space(mmap_mode: str | None, small_files: None, make_memory: Callable) -> None:
    memory = make_memory(mmap_mode=mmap_mode)
    cached = memory.cache(make)
    small = cached(1)
    with Warned() as warned:
        large = cached(2, 1 << 18)
    np.testing.assert_array_equal(small, expected(1))
    np.testing.assert_array_equal(large, expected(2, 1 << 18))
    assert len(warned.messages) == 1
    assert "not cached" in warned.messages[0] and "blobs.h5" in warned.messages[0]
    cached(1)
    assert calls == [1, 2]  # what was there still is
    assert totals(memory).blobs == 1


# -- the container goes or changes under us ----------------------------------------------------


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_the_folder_is_deleted_while_in_use(mmap_mode: str | None, make_memory: Callable) -> None:
    memory = make_memory(mmap_mode=mmap_mode)
    cached = memory.cache(make)
    cached(1)
    shutil.rmtree(memory.store_backend.location)
    with Warned() as warned:
        for seed in (1, 1, 2):
            np.testing.assert_array_equal(cached(seed), expected(seed))
    assert calls == [1, 1, 2]
    assert totals(memory).items == 2
    (message,) = warned.messages
    assert "opened anew" in message and "deleted or replaced" in message


def test_the_folder_is_deleted_between_dump_and_commit(memory: joblib.Memory) -> None:
    backend = memory.store_backend
    backend.dump_item(("f", "0" * 32), expected(1))
    shutil.rmtree(backend.location)
    with Warned() as warned:
        backend.store_metadata(("f", "0" * 32), {"time": 1.0})
        np.testing.assert_array_equal(backend.load_item(("f", "0" * 32)), expected(1))
        assert backend.get_metadata(("f", "0" * 32)) == {"time": 1.0}
    (message,) = warned.messages
    assert "opened anew" in message


def test_the_container_is_replaced_while_in_use(
    memory: joblib.Memory, tmp_path: pathlib.Path, make_memory: Callable
) -> None:
    other = make_memory(str(tmp_path / "other"))
    other.cache(make)(5)
    other.store_backend._shared.close()
    cached = memory.cache(make)
    cached(1)
    os.replace(container(other), container(memory))
    calls.clear()
    with Warned() as warned:
        np.testing.assert_array_equal(cached(5), expected(5))
        np.testing.assert_array_equal(cached(1), expected(1))
    assert calls == [1]
    (message,) = warned.messages
    assert "another container" in message or "opened anew" in message


def test_an_item_removed_between_question_and_load(memory: joblib.Memory) -> None:
    cached = memory.cache(make)
    shelved = cached.call_and_shelve(1)
    memory.clear(warn=False)
    with pytest.raises(KeyError, match="may have been cleared"):
        shelved.get()


# -- damage ------------------------------------------------------------------------------------


def flip_byte_of_blob(memory: joblib.Memory) -> str:
    """Change one byte of the only blob, and return its name."""
    path = container(memory)
    with decache.Store(path) as opened:
        opened.flush()
        (name,) = opened
        info = opened.info(name)
    assert info.offset > 0
    with open(path, "r+b") as file:
        file.seek(info.offset + info.nbytes // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    return name


def test_a_flipped_byte_is_a_miss_and_is_mended(memory: joblib.Memory) -> None:
    cached, other = memory.cache(make), memory.cache(make_again)
    cached(1), other(1)
    memory.store_backend._shared.close()
    name = flip_byte_of_blob(memory)
    calls.clear()
    with Warned() as warned:
        np.testing.assert_array_equal(cached(1), expected(1))
    assert calls == [1]
    assert len(warned.messages) == 1
    assert name in warned.messages[0] and "make (arguments" in warned.messages[0]
    calls.clear()
    np.testing.assert_array_equal(other(1), expected(1))  # it shares the mended blob
    np.testing.assert_array_equal(cached(1), expected(1))
    assert calls == []


def make_again(seed: int, count: int = 1000) -> np.ndarray:
    return make(seed, count)


def test_verify_never_does_not_look(make_memory: Callable) -> None:
    memory = make_memory(backend_options={"verify": "never"})
    cached = memory.cache(make)
    cached(1)
    memory.store_backend._shared.close()
    flip_byte_of_blob(memory)
    assert (cached(1) != expected(1)).sum() == 1
    assert calls == [1]


def test_verify_full_finds_it_too(make_memory: Callable) -> None:
    memory = make_memory(backend_options={"verify": "full"})
    cached = memory.cache(make)
    cached(1)
    memory.store_backend._shared.close()
    flip_byte_of_blob(memory)
    with pytest.warns(decache.CacheWarning, match="computed again"):
        np.testing.assert_array_equal(cached(1), expected(1))


def test_a_damaged_stream_is_a_miss(memory: joblib.Memory) -> None:
    cached = memory.cache(make_list)
    cached(100_000)
    memory.store_backend._shared.close()
    flip_byte_of_blob(memory)
    with pytest.warns(decache.CacheWarning, match="blob [0-9a-f]{64} is lost"):
        assert cached(100_000) == list(range(100_000))
    assert cached(100_000) == list(range(100_000))
    assert calls == [100_000] * 2


def make_list(count: int) -> list:
    calls.append(count)
    return list(range(count))


def test_an_output_of_an_unknown_version_is_a_miss(memory: joblib.Memory) -> None:
    backend = memory.store_backend
    cached = memory.cache(make)
    shelved = cached.call_and_shelve(1)
    batch = backend._shared.handle().raw.batch()
    batch.set_item(shelved.func_id, shelved.args_id, b"dcr\x09 from the future", "{}", [])
    batch.commit()
    with pytest.warns(decache.CacheWarning, match="unknown version"):
        np.testing.assert_array_equal(cached(1), expected(1))
    np.testing.assert_array_equal(cached(1), expected(1))
    assert calls == [1, 1]


# -- locks -------------------------------------------------------------------------------------


# Takes all roles but that of being a member: LOCKING.md.
HOLD_LOCKS = """
    import fcntl, os, struct, sys
    F_OFD_SETLK = 37
    fd = os.open(sys.argv[1], os.O_RDWR)
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, (1 << 62) + 1, 0, 0)
    fcntl.fcntl(fd, F_OFD_SETLK, lock)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def hold(code: str, log: str) -> Iterator[None]:
    """Another process holds locks on a log."""
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), log],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        yield
    finally:
        holder.stdin.close()
        assert holder.wait(30) == 0


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_a_lock_that_somebody_keeps(
    mmap_mode: str | None, make_memory: Callable, tmp_path: pathlib.Path
) -> None:
    memory = make_memory(mmap_mode=mmap_mode, backend_options={"timeout": 0.2})
    cached = memory.cache(make)
    cached(1)
    with hold(HOLD_LOCKS, container(memory) + "-wal"), Warned() as warned:
        np.testing.assert_array_equal(cached(2), expected(2))
    assert any("blobs.h5" in message for message in warned.messages)
    assert calls == [1, 2]


def test_a_thread_that_is_long_at_opening(make_memory: Callable) -> None:
    memory = make_memory(backend_options={"timeout": 0.2})
    cached = memory.cache(make)
    cached(1)
    store = memory.store_backend._shared
    store.close()
    with store._lock, Warned() as warned:  # as a thread that opens the container has it
        np.testing.assert_array_equal(cached(2), expected(2))
    assert any("blobs.h5" in message for message in warned.messages)
    assert calls == [1, 2]
