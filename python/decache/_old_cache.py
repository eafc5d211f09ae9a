# SPDX-License-Identifier: MIT
"""Caches in folders, as joblib's default backend and decache 0.1 make them, for `_migrate`.

Below the root there is a folder for each function, with its source in ``func_code.py``, and in
that a folder for each result, named by 32 hex digits, with ``output.pkl`` (by `joblib.dump`,
compressed or not) and ``metadata.json``. decache 0.1 took large arrays out of lists, tuples and
dicts, put them by `joblib.dump` into ``blobs/<hash>`` below the root, and left a
`NumpyBlobReference` in the result. Loading is unpickling.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import shutil
import sys
import time
import types
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import joblib
import numpy as np

from . import _names

_RESULT = re.compile("[0-9a-f]{32}")
_OUTPUT, _METADATA, _SOURCE, _BLOBS = "output.pkl", "metadata.json", "func_code.py", "blobs"

#: A result without output, untouched for so many seconds, is of a process that was killed.
_ABANDONED = 3600.0

#: The byte order is kept as it was stored where joblib can be told so, and made native else.
_AS_STORED: dict[str, Any] = (
    {"ensure_native_byte_order": False}
    if "ensure_native_byte_order" in inspect.signature(joblib.load).parameters
    else {}
)


class NumpyBlobReference:
    """What decache 0.1 pickled in place of a large array; pickle fills it."""

    blob_hash: str
    dtype: np.dtype
    shape: tuple[int, ...]
    order: str


def _register() -> None:
    """Have the class found under the name that the old pickles call it by."""
    name = "decache.store_backend.types"
    module = types.ModuleType(name, "What decache 0.1 pickled; see decache._old_cache.")
    vars(module)[NumpyBlobReference.__name__] = NumpyBlobReference
    sys.modules.setdefault(name, module)


_register()


class OldFunction(NamedTuple):
    """A folder with the source of a function."""

    name: str
    folder: str


class OldResult(NamedTuple):
    """A folder with a result; `complete` is False if it has no output."""

    function: str
    key: str
    folder: str
    complete: bool

    @property
    def output(self) -> str:
        """The path of its pickle."""
        return os.path.join(self.folder, _OUTPUT)


class OldCache:
    """A cache in folders.

    Parameters
    ----------
    location : str or os.PathLike
        What ``joblib.Memory`` was given, or the folder "joblib" in it.

    Attributes
    ----------
    root : str
        The folder with the functions.
    below : str
        How the root is called seen from the location: "joblib" or "".
    has_blobs : bool
        Is it one of decache 0.1?

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(os.fspath(location))
        if not os.path.isdir(self.root):
            raise FileNotFoundError(f"{os.fspath(location)} is no folder")
        self.below = ""
        if os.path.basename(self.root) == "joblib":
            self.below = "joblib"
        elif os.path.isdir(os.path.join(self.root, "joblib")):
            self.root = os.path.join(self.root, "joblib")
            self.below = "joblib"
        self._blobs = os.path.join(self.root, _BLOBS)
        self.has_blobs = os.path.isdir(self._blobs)

    # -- walking -------------------------------------------------------------------------------

    def walk(self) -> Iterator[OldFunction | OldResult]:
        """Iterate over functions and results; a function comes before its results."""
        yield from self._walk(self.root, ())

    def _walk(self, folder: str, parts: tuple[str, ...]) -> Iterator[OldFunction | OldResult]:
        names = sorted(self._names(folder))
        if parts and os.path.isfile(os.path.join(folder, _SOURCE)):
            yield OldFunction(_names.collection_name(parts), folder)
        for name in names:
            path = os.path.join(folder, name)
            if parts and _RESULT.fullmatch(name):
                complete = os.path.isfile(os.path.join(path, _OUTPUT))
                yield OldResult(_names.collection_name(parts), name, path, complete)
            elif parts or name != _BLOBS:
                yield from self._walk(path, (*parts, name))

    @staticmethod
    def _names(folder: str) -> Iterator[str]:
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield entry.name

    # -- reading -------------------------------------------------------------------------------

    def source(self, function: OldFunction) -> str:
        """Return the source of a function, with joblib's line about where it begins.

        Raises
        ------
        OSError
            It cannot be read.
        """
        path = os.path.join(function.folder, _SOURCE)
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            return file.read().replace("\0", "\\0")

    def metadata(self, result: OldResult) -> dict[str, Any]:
        """Return what joblib noted of a call, and at least when its result was stored."""
        stored = os.stat(result.output).st_mtime
        try:
            with open(os.path.join(result.folder, _METADATA), encoding="utf-8") as file:
                noted = json.load(file)
        except (OSError, ValueError):
            noted = {}
        return {"time": stored, **(noted if isinstance(noted, dict) else {})}

    def times(self, result: OldResult) -> tuple[float, float]:
        """Return when a result was stored and last used, as joblib's limits go by it."""
        found = os.stat(result.output)
        return found.st_mtime, max(found.st_mtime, found.st_atime)

    def load(self, result: OldResult) -> Any:
        """Unpickle a result.

        Raises
        ------
        FileNotFoundError
            An array of it is missing.
        Exception
            Whatever unpickling raises.
        """
        value = _load(result.output)
        return self._restored(value) if self.has_blobs else value

    def _restored(self, value: Any) -> Any:
        """Put the arrays back, where decache 0.1 took them out."""
        if isinstance(value, NumpyBlobReference):
            return self._blob(value)
        if isinstance(value, (list, dict)) and _has_reference(value):
            # In place, so that an object that refers to it still does.
            for place in range(len(value)) if isinstance(value, list) else list(value):
                value[place] = self._restored(value[place])
        elif isinstance(value, tuple) and _has_reference(value):
            return tuple(self._restored(one) for one in value)
        return value

    def _blob(self, reference: NumpyBlobReference) -> np.ndarray:
        if not _RESULT.fullmatch(str(reference.blob_hash)):
            raise ValueError(f"{reference.blob_hash!r} is no name of an array")
        path = os.path.join(self._blobs, reference.blob_hash)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"its array {path} is missing")
        array = _load(path)
        if array.shape != reference.shape or array.dtype != reference.dtype:
            raise ValueError(f"{path} holds another array than the result had")
        return array

    # -- removing ------------------------------------------------------------------------------

    def remove(self, result: OldResult) -> None:
        """Delete the folder of a result.

        Raises
        ------
        OSError
            It could not be deleted.
        """
        shutil.rmtree(result.folder)

    def is_abandoned(self, result: OldResult) -> bool:
        """Is it what a killed process left, and no process writes now?"""
        newest = 0.0
        with contextlib.suppress(OSError):
            newest = os.stat(result.folder).st_mtime
            for entry in os.scandir(result.folder):
                newest = max(newest, entry.stat(follow_symlinks=False).st_mtime)
        return not result.complete and newest < time.time() - _ABANDONED

    def remove_empty(self) -> None:
        """Delete the folders of functions without results, and arrays when no result is left."""
        functions = [one for one in self.walk() if isinstance(one, OldFunction)]
        for function in reversed(functions):
            if next(self._names(function.folder), None) is None:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(function.folder, _SOURCE))
                self._remove_upwards(function.folder)
        if self.has_blobs and not any(isinstance(one, OldResult) for one in self.walk()):
            for entry in list(os.scandir(self._blobs)):
                if re.fullmatch(r"[0-9a-f]{32}(\.[0-9a-f]{32}-[\w-]+)?", entry.name):
                    os.unlink(entry.path)
            self._remove_upwards(self._blobs)

    def _remove_upwards(self, folder: str) -> None:
        while folder != self.root:
            try:
                os.rmdir(folder)
            except OSError:  # something else is in it
                return
            folder = os.path.dirname(folder)

    def disk_bytes(self) -> tuple[int, int]:
        """Return the disk space of functions, results and arrays, and the number of files."""
        size = count = 0
        for folder, _, names in os.walk(self.root):
            for name in [os.curdir, *names]:
                if folder == self.root:
                    continue  # the container of a migration in place, and joblib's own files
                with contextlib.suppress(OSError):
                    size += os.lstat(os.path.join(folder, name)).st_blocks * 512
                    count += 1
        return size, count


def _has_reference(value: Any) -> bool:
    members = value.values() if isinstance(value, dict) else value
    return any(
        isinstance(one, NumpyBlobReference)
        or (isinstance(one, (list, tuple, dict)) and _has_reference(one))
        for one in members
    )


@contextlib.contextmanager
def _as_if_unread(path: str) -> Iterator[None]:
    """Leave the time of the last access, which joblib's limits go by, as it is."""
    with open(path, "rb") as file:
        before = os.fstat(file.fileno())
        try:
            yield
        finally:
            if os.fstat(file.fileno()).st_atime_ns != before.st_atime_ns:
                with contextlib.suppress(OSError):  # somebody else's file
                    os.utime(file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))


def _load(path: str) -> Any:
    with _as_if_unread(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old formats and versions: it loads, or it does not
        return joblib.load(path, **_AS_STORED)
