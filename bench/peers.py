# SPDX-License-Identifier: MIT
"""What is compared: decache, its peers, and the limits that no cache can beat.

Each is a class with one small interface (`Peer`), so that a cell times the same five calls
whoever is behind them. Those that are caches for joblib are measured as their users meet them:
a real function, cached by a real ``joblib.Memory`` with default options, is called. The others
store and load arrays under a key, without joblib's cost per call (some 0.2 ms), so they look
better by that much.

`decache_017` is the package decache 0.1.7 of PyPI under another name, so that both can be in
one process; scripts/bench.sh installs it so. Its default threshold of 16 MiB would leave most
arrays to joblib; it gets that of decache, 32 KiB, as its users set it to deduplicate.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import importlib.metadata
import inspect
import os
import types
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np

from bare import read_file, write_file

#: The operations of the interface, in the order in which a cell asks for them.
OPERATIONS = ("new", "again", "hit", "map")


class Peer:
    """The interface, and what most have in common.

    Attributes
    ----------
    name : str
        As given to ``--peers``.
    label : str
        For tables and plots.
    operations : tuple of str
        Those of `OPERATIONS` that make sense.
    module : str
        What must be importable; its version is reported.
    """

    name = ""
    label = ""
    operations: tuple[str, ...] = ("new", "again", "hit")
    module = "numpy"
    #: Whether results live longer than the process: not true of the limits in memory.
    stores = True

    def open(self, folder: str) -> None:
        """Be ready to store in an empty folder; not timed."""
        self.folder = folder

    def new(self, key: int, value: Any) -> None:
        """Store a value that was never stored before."""
        raise NotImplementedError

    def again(self, key: int, value: Any) -> None:
        """Store the same value once more, as the result of something else."""
        self.new(-1 - key, value)

    def hit(self, key: int) -> Any:
        """Return a copy of what `new` stored."""
        raise NotImplementedError

    def map(self, key: int) -> Any:
        """Return what `new` stored, mapped read-only."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the folder; not timed."""

    @classmethod
    def load(cls) -> None:
        """Import the package behind it.

        Raises
        ------
        ImportError
            It is not installed.
        """
        importlib.import_module(cls.module)

    @classmethod
    def version(cls) -> str:
        """The version of the package behind it."""
        try:
            return importlib.metadata.version(cls.module)
        except importlib.metadata.PackageNotFoundError:  # run from where it was built
            return str(getattr(importlib.import_module(cls.module), "__version__", "not installed"))


# ---- caches for joblib ---------------------------------------------------------------------


class _Slot:
    """What the cached functions return, and how often they ran."""

    value: Any = None
    runs = 0


def first(key: int) -> Any:
    """A cached function: its result is prebuilt, so that a miss costs what storing costs."""
    _Slot.runs += 1
    return _Slot.value


def second(key: int) -> Any:
    """Another function with the same results."""
    _Slot.runs += 1
    return _Slot.value


def _twin(function: types.FunctionType) -> types.FunctionType:
    """The same function as a new object.

    joblib stores the source of a function object once in a process, even if it is cached in
    several places; to the next process all but one of these would seem to lack it.
    """
    return types.FunctionType(function.__code__, function.__globals__, function.__name__)


class MemoryPeer(Peer):
    """A store backend behind joblib.Memory."""

    operations = OPERATIONS
    module = "joblib"
    backend = "local"
    backend_options: dict[str, Any] = {}
    compress: Any = False

    def memory(self, folder: str, mmap_mode: str | None = None) -> joblib.Memory:
        """Make a Memory of this backend."""
        self.load()
        return joblib.Memory(
            folder,
            backend=self.backend,
            verbose=0,
            mmap_mode=mmap_mode,
            compress=self.compress,
            backend_options=dict(self.backend_options),
        )

    def open(self, folder: str) -> None:
        super().open(folder)
        self._memory = self.memory(folder)
        function = _twin(first)
        self._first = self._memory.cache(function)
        self._second = self._memory.cache(_twin(second))
        # joblib looks at a function's source at its first call; that is not what is timed.
        _Slot.value = None
        self._first(-1)
        self._second(-1)
        if not self.compress:
            self._mapped = self.memory(folder, "r").cache(function)
            self._mapped(-1)

    def new(self, key: int, value: Any) -> None:
        self._miss(self._first, key, value)

    def again(self, key: int, value: Any) -> None:
        self._miss(self._second, key, value)

    def hit(self, key: int) -> Any:
        return self._hit(self._first, key)

    def map(self, key: int) -> Any:
        return self._hit(self._mapped, key)

    @staticmethod
    def _miss(function: Callable[[int], Any], key: int, value: Any) -> None:
        runs = _Slot.runs
        _Slot.value = value
        function(key)
        if _Slot.runs != runs + 1:
            raise AssertionError("a miss did not run the function")

    @staticmethod
    def _hit(function: Callable[[int], Any], key: int) -> Any:
        runs = _Slot.runs
        value = function(key)
        if _Slot.runs != runs:
            raise AssertionError("a hit ran the function")
        return value

    def close(self) -> None:
        _Slot.value = None
        self._memory = self._first = self._second = self._mapped = None
        gc.collect()  # decache closes a container with the last Memory that uses it

    # What only caches for joblib have; for the cells about many results.

    def walk(self) -> int:
        """Walk over all results; how many there are."""
        return len(self._memory.store_backend.get_items())

    def reduce(self, bytes_limit: int) -> None:
        """Remove the oldest results until the rest fits."""
        if "bytes_limit" in inspect.signature(self._memory.reduce_size).parameters:
            self._memory.reduce_size(bytes_limit=bytes_limit)
        else:  # before joblib 1.3 it is the Memory that has the limit
            self._memory.bytes_limit = bytes_limit
            self._memory.reduce_size()

    def clear(self) -> None:
        """Remove everything."""
        self._memory.clear(warn=False)


class Joblib(MemoryPeer):
    """What everything is compared with: joblib's default backend."""

    name = "joblib"
    label = "joblib (default)"


class JoblibZlib(MemoryPeer):
    """joblib's own compression, at the level that it is quickest."""

    name = "joblib-zlib"
    label = "joblib, zlib 1"
    operations = ("new", "again", "hit")
    compress = ("zlib", 1)


class Decache(MemoryPeer):
    """This project, with default options."""

    name = "decache"
    label = "decache"
    module = "decache"
    backend = "cas"


class DecacheZlib(Decache):
    """The same with compression, asked for as of joblib."""

    name = "decache-zlib"
    label = "decache, deflate 1"
    operations = ("new", "again", "hit")
    compress = ("zlib", 1)


class Decache017(MemoryPeer):
    """The original decache: blobs as files next to joblib's."""

    name = "decache-0.1.7"
    label = "decache 0.1.7"
    module = "decache_017"
    backend = "cas-0.1.7"
    backend_options = {"large_array_threshold": 32 * 1024}

    @classmethod
    def load(cls) -> None:
        store = importlib.import_module("decache_017.store_backend.fs_store")
        joblib.register_store_backend(cls.backend, store.ContentAddressableStoreBackend)

    @classmethod
    def version(cls) -> str:
        return "0.1.7"


# ---- other stores --------------------------------------------------------------------------


class NumpyFiles(Peer):
    """np.save and np.load: a file for each array, no more. A limit for stores of files."""

    name = "numpy"
    label = "np.save, np.load"
    operations = OPERATIONS

    def _path(self, key: int) -> str:
        return os.path.join(self.folder, f"{key}.npy")

    def new(self, key: int, value: np.ndarray) -> None:
        np.save(self._path(key), value)

    def hit(self, key: int) -> np.ndarray:
        return np.load(self._path(key))

    def map(self, key: int) -> np.ndarray:
        return np.load(self._path(key), mmap_mode="r")


class H5py(Peer):
    """One HDF5 file that is kept open: no other process, no safety from a crash, no check."""

    name = "h5py"
    label = "h5py, kept open"
    module = "h5py"

    def open(self, folder: str) -> None:
        import h5py

        super().open(folder)
        self._file = h5py.File(os.path.join(folder, "arrays.h5"), "w")

    def new(self, key: int, value: np.ndarray) -> None:
        self._file.create_dataset(str(key), data=value)

    def hit(self, key: int) -> np.ndarray:
        return self._file[str(key)][...]

    def close(self) -> None:
        self._file.close()


class DiskCache(Peer):
    """diskcache: SQLite, and a file for each large value."""

    name = "diskcache"
    label = "diskcache"
    module = "diskcache"

    def open(self, folder: str) -> None:
        import diskcache

        super().open(folder)
        self._cache = diskcache.Cache(folder, eviction_policy="none", size_limit=2**50)
        self.new(-(2**40), b"")

    def new(self, key: int, value: Any) -> None:
        self._cache.set(key, value)

    def hit(self, key: int) -> Any:
        return self._cache[key]

    def close(self) -> None:
        self._cache.close()


class Zarr(Peer):
    """zarr: each array one chunk, which is one file; not compressed."""

    name = "zarr"
    label = "zarr, one chunk"
    module = "zarr"

    def open(self, folder: str) -> None:
        import zarr

        super().open(folder)
        self._group = zarr.open_group(os.path.join(folder, "arrays"), mode="w")

    def new(self, key: int, value: np.ndarray) -> None:
        self._group.create_array(str(key), data=value, chunks=value.shape, compressors=None)

    def hit(self, key: int) -> np.ndarray:
        return self._group[str(key)][...]


# ---- limits --------------------------------------------------------------------------------


class Bare(MemoryPeer):
    """The least that a backend behind joblib.Memory can be; see bare.py."""

    name = "bare"
    label = "limit: bare"
    operations = ("new", "again", "hit")
    backend = "bare"


class WriteRead(Peer):
    """os.write to a new file, os.preadv into fresh memory; one thread, nothing else."""

    name = "write"
    label = "limit: write, pread"
    operations = ("new", "hit")

    def new(self, key: int, value: np.ndarray) -> None:
        write_file(self._path(key), value)

    def hit(self, key: int) -> np.ndarray:
        return read_file(self._path(key))

    def _path(self, key: int) -> str:
        return os.path.join(self.folder, str(key))


class Sha256(Peer):
    """SHA-256 alone (OpenSSL, one thread): what a name costs that depends on every byte."""

    name = "sha256"
    label = "limit: SHA-256"
    operations = ("new", "again")
    stores = False

    def new(self, key: int, value: np.ndarray) -> None:
        hashlib.sha256(value).digest()


class Memcpy(Peer):
    """A copy into fresh memory, which any hit that copies needs at least."""

    name = "memcpy"
    label = "limit: memcpy"
    operations = ("new", "hit")
    stores = False

    def open(self, folder: str) -> None:
        super().open(folder)
        self._values: dict[int, np.ndarray] = {}

    def new(self, key: int, value: np.ndarray) -> None:
        self._values[key] = value.copy()

    def hit(self, key: int) -> np.ndarray:
        return self._values[key].copy()

    def close(self) -> None:
        self._values.clear()


#: All of them; joblib is first, as the reference.
ALL: tuple[type[Peer], ...] = (
    Joblib, Decache, Decache017, NumpyFiles, H5py, DiskCache, Zarr, Bare, WriteRead, Sha256,
    Memcpy, JoblibZlib, DecacheZlib,
)  # fmt: skip

BY_NAME = {peer.name: peer for peer in ALL}

#: The ratio of a time is to the time of this one in the same round.
REFERENCE = Joblib.name


def available(names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Try to import what peers need.

    Returns
    -------
    versions, missing : dict
        Version, or reason, by name of the peer.
    """
    versions, missing = {}, {}
    for name in names:
        try:
            BY_NAME[name].load()
            versions[name] = BY_NAME[name].version()
        except ImportError as error:
            missing[name] = str(error)
    return versions, missing
