# SPDX-License-Identifier: MIT
"""Bringing a cache in folders into a container, so that the next run finds its results.

Results go over in groups, each of which is one commit. What was committed is loaded back from
the container, with its SHA-256 checked, and compared with what it was made of by the digest of
its pickle; only then it counts. A journal beside the container names what was compared, so that
a migration that was interrupted goes on where it was. With `remove` each group is flushed to
the disk and then deleted from the folders; then these are what tells how far it came, and the
migration never needs room for more than one group twice.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import _arrays, _catalog, _dtype, _h5store, _metadata, _pickler, _same, _unpickler
from ._backend import CONTAINER_NAME
from ._location import prepare
from ._old_cache import OldCache, OldFunction, OldResult
from ._options import DEFAULT_THRESHOLD
from ._pending import put_result

#: One commit has at most so many results, and about so many bytes.
_GROUP_RESULTS = 256
_GROUP_BYTES = 64 * 1024 * 1024

_JOURNAL = ".migrating"


@dataclass
class Migration:
    """How it went, or would go.

    Attributes
    ----------
    container : str
    converted : int
        Results that were brought over, loaded back and compared.
    present : int
        Results that the container had already, the same ones or newer.
    removed : int
        Results that were deleted from the folders.
    abandoned : int
        Folders without a result, left by processes that were killed.
    failed : list of (str, str)
        Results that stay where they are, and why.
    old_bytes, old_files : int
        Disk space of the folders before, and how many files and folders there were.
    new_bytes : int
        Disk space that the container grew by; for a dry run, bytes of new arrays and pickles.
    container_bytes : int
        Disk space of the container now.
    left_bytes : int
        Disk space of the folders now.
    """

    container: str
    converted: int = 0
    present: int = 0
    removed: int = 0
    abandoned: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    old_bytes: int = 0
    old_files: int = 0
    new_bytes: int = 0
    container_bytes: int = 0
    left_bytes: int = 0

    @property
    def saved_bytes(self) -> int:
        """Disk space that this saved: less than none while the folders are there."""
        return self.old_bytes - self.left_bytes - self.new_bytes


def migrate(
    location: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    remove: bool = False,
    dry_run: bool = False,
    large_array_threshold: int = DEFAULT_THRESHOLD,
    compress: int = 0,
    progress: Callable[[int, int], None] | None = None,
    timeout: float = 30.0,
) -> Migration:
    """Bring the results of joblib's default backend, or of decache 0.1, into a container.

    Results are unpickled, so the modules that they need must be importable, and the cache must
    be one that you trust. It may be interrupted, and then be run again.

    Parameters
    ----------
    location : str or os.PathLike
        What ``joblib.Memory`` was given, or the folder "joblib" in it.
    target : str or os.PathLike, optional
        A location for the container, or the container itself; by default it is made in
        `location`, where ``joblib.Memory(location, backend="cas")`` finds it.
    remove : bool
        Delete each result from the folders when it was brought over and compared.
    dry_run : bool
        Load everything, and tell what would be stored; write nothing.
    large_array_threshold : int
        As in `backend_options`.
    compress : int
        The level, 0 to 9, at which arrays are deflated.
    progress : callable, optional
        Called with the number of results done and of all.
    timeout : float
        Seconds to wait for another process's lock.

    Returns
    -------
    Migration

    Raises
    ------
    FileNotFoundError
        `location` is no folder, or has no results in folders.
    Error, OSError
        The container cannot be written. What was brought over is there.
    """
    old = OldCache(location)
    container = _container(old, target)
    done = Migration(container)
    total = sum(isinstance(one, OldResult) and one.complete for one in old.walk())
    if total == 0 and not any(isinstance(one, OldResult) for one in old.walk()):
        raise FileNotFoundError(f"{os.fspath(location)} has no results in folders")
    done.old_bytes, done.old_files = old.disk_bytes()
    if dry_run:
        _DryRun(old, done, large_array_threshold).run(progress, total)
        done.left_bytes = 0 if remove else done.old_bytes
        return done

    os.makedirs(os.path.dirname(container), exist_ok=True)
    before = _disk_bytes(container)
    with _h5store.Store(container, create=True, timeout=timeout) as raw:
        prepare(os.path.dirname(container))
        with _Journal(container) as journal:
            run = _Run(old, raw, done, journal, remove, large_array_threshold, compress)
            run.run(progress, total)
    done.container_bytes = _disk_bytes(container)
    done.new_bytes = done.container_bytes - before
    done.left_bytes, _ = old.disk_bytes()
    return done


def _container(old: OldCache, target: str | os.PathLike[str] | None) -> str:
    if target is None:
        return os.path.join(old.root, CONTAINER_NAME)
    path = os.path.abspath(os.fspath(target))
    if os.path.isfile(path) or (path.endswith((".h5", ".hdf5")) and not os.path.isdir(path)):
        return path
    if os.path.basename(path) == "joblib":
        return os.path.join(path, CONTAINER_NAME)
    return os.path.join(path, old.below, CONTAINER_NAME)


def _disk_bytes(container: str) -> int:
    size = 0
    for path in (container, container + "-wal"):
        with contextlib.suppress(FileNotFoundError):
            size += os.stat(path).st_blocks * 512
    return size


class _Journal:
    """The names of the results that were compared, in a file that is gone at the end."""

    def __init__(self, container: str) -> None:
        self._path = container + _JOURNAL
        self.names: set[str] = set()
        how: Any = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n"}
        with contextlib.suppress(FileNotFoundError), open(self._path, **how) as file:
            self.names.update(line.rstrip("\n") for line in file)
        self._file = open(self._path, "a", **how)
        # A name that a crash cut off lacks digits of its key; it is nobody's.
        self._file.write("\n" if self._file.tell() else "")

    def add(self, name: str) -> None:
        """Note a result."""
        self._file.write(name.replace("\n", " ") + "\n")
        self._file.flush()

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)


def _name(result: OldResult) -> str:
    return f"{result.function}/{result.key}"


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class _Skip(Exception):
    """A result cannot be brought over; the next one may."""


class _Walk:
    """What a run and a dry run have in common: from results in folders to pickles."""

    def __init__(self, old: OldCache, done: Migration, threshold: int) -> None:
        self.old = old
        self.done = done
        self._threshold = threshold
        self._refused: set[str] = set()  # functions whose results would be wrong

    def run(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        """Go through all functions and results."""
        count = 0
        for one in self.old.walk():
            if isinstance(one, OldFunction):
                self._take_function(one)
            elif not one.complete:
                self.done.abandoned += 1
                self.take_abandoned(one)
            else:
                if one.function not in self._refused:
                    self._take_result(one)
                count += 1
                if progress is not None:
                    progress(count, total)
        self.finish()

    def _take_function(self, function: OldFunction) -> None:
        try:
            source = self.old.source(function)
        except OSError as error:
            self.done.failed.append((function.name, _said(error)))
            return
        there = self.source_there(function.name)
        if there is None:
            self.take_source(function.name, source)
        elif not _catalog.same_code(there, source):
            self._refused.add(function.name)
            reason = "the container has results of another version of this function"
            self.done.failed.append((function.name, reason))

    def _take_result(self, result: OldResult) -> None:
        try:
            self.take_result(result)
        except _Skip as error:
            self.done.failed.append((_name(result), str(error)))

    def read(self, result: OldResult) -> tuple[_pickler.Pickled, bytes, str]:
        """Load a result; return its pickle, the digest to compare with, and its metadata.

        Raises
        ------
        _Skip
            It cannot be unpickled, or not be pickled again.
        """
        try:
            value = self.old.load(result)
            pickled = _pickler.dump(value, self._threshold)
            digest = _same.digest(_same.reloaded(value))
            text = _metadata.encode((result.function, result.key), self.old.metadata(result))
            return pickled, digest, text
        except MemoryError:
            raise
        except Exception as error:
            raise _Skip(_said(error)) from error

    def source_there(self, function: str) -> str | None:
        """Return the source of a function in the container."""
        raise NotImplementedError

    def take_source(self, function: str, source: str) -> None:
        """Take the source of a function that the container does not have."""

    def take_result(self, result: OldResult) -> None:
        """Take a result."""
        raise NotImplementedError

    def take_abandoned(self, result: OldResult) -> None:
        """Take notice of a folder without output."""

    def finish(self) -> None:
        """Do what is left."""


def _source_in(raw: _h5store.Store | None, function: str) -> str | None:
    try:
        return None if raw is None else raw.get_source(function)
    except _h5store.NotFoundError:
        return None


class _DryRun(_Walk):
    """Counts what would be stored."""

    def __init__(self, old: OldCache, done: Migration, threshold: int) -> None:
        super().__init__(old, done, threshold)
        self._blobs: set[str] = set()
        self._raw: _h5store.Store | None = None

    def run(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        with contextlib.ExitStack() as stack:
            if os.path.exists(self.done.container):
                store = _h5store.Store(self.done.container, read_only=True)
                self._raw = stack.enter_context(store)
            super().run(progress, total)

    def source_there(self, function: str) -> str | None:
        return _source_in(self._raw, function)

    def take_result(self, result: OldResult) -> None:
        if self._raw is not None and self._raw.has_item(result.function, result.key):
            self.done.present += 1
            return
        pickled, _, metadata = self.read(result)
        large = [one for one in pickled.parts if not isinstance(one, bytes)]
        parts: list[Any] = [
            (one, len(one), None) if isinstance(one, bytes) else (None, one.nbytes, 0)
            for one in pickled.parts
        ]
        self.done.new_bytes += len(_pickler.encode(0, parts)) + len(metadata)
        for array in [*pickled.arrays, *large]:
            name = _h5store.hash_array(array, _dtype.describe(array.dtype))
            if name not in self._blobs and not self._has(name):
                self._blobs.add(name)
                self.done.new_bytes += array.nbytes
        self.done.converted += 1

    def _has(self, name: str) -> bool:
        if self._raw is None:
            return False
        try:
            self._raw.blob(name)
        except _h5store.NotFoundError:
            return False
        return True


@dataclass
class _Waiting:
    """A result in the batch that is not yet committed."""

    result: OldResult
    digest: bytes
    stamp: tuple[int, int]  # of its output when it was read
    fresh: bool  # false: the container had it


class _Run(_Walk):
    """Stores, compares, and removes."""

    def __init__(
        self,
        old: OldCache,
        raw: _h5store.Store,
        done: Migration,
        journal: _Journal,
        remove: bool,
        threshold: int,
        compress: int,
    ) -> None:
        super().__init__(old, done, threshold)
        self._raw = raw
        self._journal = journal
        self._remove = remove
        self._compress = compress
        self._batch: _h5store.Batch | None = None
        self._group: list[_Waiting] = []
        self._bytes = 0

    def source_there(self, function: str) -> str | None:
        return _source_in(self._raw, function)

    def take_source(self, function: str, source: str) -> None:
        batch = self._raw.batch()
        batch.set_source(function, source)
        batch.commit()

    def take_result(self, result: OldResult) -> None:
        stamp, times = _stamp(result.output), self.old.times(result)
        there = self._raw.has_item(result.function, result.key)
        if there and _name(result) in self._journal.names:
            self._settled(_Waiting(result, b"", stamp, False))
            return
        pickled, digest, metadata = self.read(result)
        waiting = _Waiting(result, digest, stamp, not there)
        if there:
            self._compare(waiting)
            return
        if self._batch is None:
            self._batch = self._raw.batch()
            self._batch.compress(self._compress)
        try:
            put_result(self._batch, (result.function, result.key), pickled, metadata)
            self._batch.set_times(result.function, result.key, *times)
        except (_h5store.InvalidError, _h5store.UnsupportedError, TypeError) as error:
            raise _Skip(_said(error)) from error
        self._group.append(waiting)
        for one in [*pickled.arrays, *pickled.parts]:
            self._bytes += len(one) if isinstance(one, bytes) else one.nbytes
        if len(self._group) >= _GROUP_RESULTS or self._bytes >= _GROUP_BYTES:
            self._commit()

    def take_abandoned(self, result: OldResult) -> None:
        if self._remove and self.old.is_abandoned(result):
            self.old.remove(result)

    def finish(self) -> None:
        self._commit()
        if self._remove and not self.done.failed:
            self.old.remove_empty()

    def _commit(self) -> None:
        batch, self._batch = self._batch, None
        group, self._group, self._bytes = self._group, [], 0
        if batch is None:
            return
        batch.commit()
        if self._remove:
            with contextlib.suppress(_h5store.BusyError):  # safe, but not yet in the file
                self._raw.flush()
        for waiting in group:
            self._compare(waiting)

    def _compare(self, waiting: _Waiting) -> None:
        """Load a result back; only if it is the same the one in the folder may go."""
        result = waiting.result
        try:
            same = self._digest(result) == waiting.digest
            reason = "what was loaded back is not the same"
        except (MemoryError, _h5store.BusyError, _h5store.InputOutputError):
            raise
        except Exception as error:
            same, reason = False, f"it could not be loaded back: {_said(error)}"
        if same:
            self._settled(waiting)
        elif waiting.fresh:
            batch = self._raw.batch()
            batch.remove(result.function, result.key)
            batch.commit()
            self.done.failed.append((_name(result), reason))
        else:
            reason = "the container has another result of this call already"
            self.done.failed.append((_name(result), reason))

    def _digest(self, result: OldResult) -> bytes:
        item = self._raw.item(result.function, result.key)
        return _same.digest(
            _unpickler.load(item, "full", lambda blob: _arrays.read(blob, "full"))
        )

    def _settled(self, waiting: _Waiting) -> None:
        result = waiting.result
        if waiting.fresh:
            self.done.converted += 1
        else:
            self.done.present += 1
        if not self._remove:
            self._journal.add(_name(result))
            return
        try:
            if _stamp(result.output) == waiting.stamp:
                self.old.remove(result)
                self.done.removed += 1
            else:
                self.done.failed.append((_name(result), "it was stored anew meanwhile"))
        except OSError as error:
            self.done.failed.append((_name(result), f"it is not removed: {_said(error)}"))


def _stamp(path: str) -> tuple[int, int]:
    """What changes when joblib replaces a file."""
    found = os.stat(path)
    return found.st_ino, found.st_mtime_ns
