# SPDX-License-Identifier: MIT
"""Results out of a container and into one.

`export` writes the arrays of results to ``.npy`` files or one ``.npz``, for which the results
must be unpickled: an array may be anywhere in a result, permuted, masked or of a class of its
own. Between containers results are copied as they are, without unpickling; see `_copy`.

Names of functions, keys and arguments come from a file that others may have written: a path is
made of them only after `_safe` has taken out what would lead somewhere else.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from . import _arrays, _catalog, _detail, _dtype, _h5store, _unpickler
from ._backend import CONTAINER_NAME
from ._copy import Copy, Transfer
from ._location import prepare
from ._remove import Choice

#: How deep arrays are looked for in lists, tuples and dicts.
_DEPTH = 16


# -- export ----------------------------------------------------------------------------------------


def export(
    location: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *functions: str,
    older_than: datetime.timedelta | None = None,
    arguments: Iterable[str] = (),
    results: Iterable[str] = (),
    force: bool = False,
    compress: int | None = None,
    dry_run: bool = False,
    timeout: float = 30.0,
) -> Transfer:
    """Copy results, or their arrays, out of a cache.

    Parameters
    ----------
    location : str or os.PathLike
        What ``joblib.Memory`` was given, the folder "joblib" in it, or a container.
    output : str or os.PathLike
        Ends with ``.npz``: one file with all arrays. Ends with ``.h5``: a new container with
        the results. Else a folder, for a ``.npy`` file of each array. For arrays the results
        are unpickled, so the cache must be one that you trust.
    *functions, older_than, arguments, results
        Which results, as for `remove`; by default all.
    force : bool
        Replace files that are there.
    compress : int, optional
        For a container: the level, 0 to 9, at which arrays are deflated. By default arrays that
        are deflated in the source stay so, and others are not.
    dry_run : bool
        Write nothing.
    timeout : float
        Seconds to wait for another process's lock.

    Returns
    -------
    Transfer

    Raises
    ------
    FileExistsError
        A file is there.
    KeyError
        One of `results` is not there.
    FileNotFoundError, Error, OSError
        There is no container, or a file cannot be written.
    """
    with _catalog.opened(location, timeout=timeout) as raw:
        identifiers = tuple(results)
        if identifiers:
            infos: Iterable[_h5store.ItemInfo] = [_detail.the_one(raw, one) for one in identifiers]
        else:
            names = _catalog.matching(raw, functions) if functions else None
            seconds = None if older_than is None else older_than.total_seconds()
            infos = Choice(names, seconds, tuple(arguments)).results(raw)
        return export_open(
            raw, infos, os.fspath(output), force=force, compress=compress, dry_run=dry_run
        )


def export_open(
    raw: _h5store.Store,
    infos: Iterable[_h5store.ItemInfo],
    output: str,
    *,
    force: bool = False,
    compress: int | None = None,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Transfer:
    """As `export`, of an open container and the results of a walk."""
    done = Transfer(output)
    counted = _told(infos, progress)
    if _is_container(output):
        _refuse_existing(output, force)
        if dry_run:
            with Copy(raw, None, done) as copy:
                copy.run(counted)
        else:
            _export_results(raw, counted, output, done, compress)
        return done
    make = _NpzFile if output.endswith(".npz") else _NpyFolder
    with _NoFile() if dry_run else make(output, force) as writer:
        for info in counted:
            _export_arrays(raw, info, writer, done)
    return done


def _export_results(
    raw: _h5store.Store,
    infos: Iterable[_h5store.ItemInfo],
    output: str,
    done: Transfer,
    compress: int | None,
) -> None:
    """Copy results into a new container, which is gone if that fails."""
    _delete_container(output)
    try:
        with _h5store.Store(output, create=True) as target:
            with Copy(raw, target, done, compress=compress) as copy:
                copy.run(infos)
            target.flush()
    except BaseException:
        _delete_container(output)
        raise


def _told(things: Iterable[Any], progress: Callable[[int], None] | None) -> Iterator[Any]:
    for count, one in enumerate(things, 1):
        yield one
        if progress is not None:
            progress(count)


def _is_container(path: str) -> bool:
    return path.endswith((".h5", ".hdf5")) and not os.path.isdir(path)


def _refuse_existing(path: str, force: bool) -> None:
    if os.path.lexists(path) and not force:
        raise FileExistsError(f"{path} is there already; --force (force=True) replaces it")


def _delete_container(path: str) -> None:
    for one in (path, path + "-wal"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(one)


def _export_arrays(
    raw: _h5store.Store, info: _h5store.ItemInfo, writer: Any, done: Transfer
) -> None:
    """Unpickle a result and write all arrays that are found in it."""
    name = f"{info.collection}/{info.key}"
    try:
        item = raw.item(info.collection, info.key)
        value = _unpickler.load(item, "full", lambda blob: _arrays.read(blob, "full"))
    except _unpickler.BlobError as error:
        done.failed.append((name, f"its array {error.blob_id} is lost: {error.__cause__}"))
        return
    except MemoryError:
        raise
    except Exception as error:
        done.failed.append((name, f"it cannot be unpickled: {type(error).__name__}: {error}"))
        return
    done.results += 1
    folder = [_safe(one) for one in info.collection.split("/")]
    for place, array in _arrays_in(value, (), frozenset()):
        if array.dtype.hasobject or array.dtype.kind == "T":
            done.failed.append((name, f"an array of {array.dtype} cannot be a .npy file"))
            continue
        writer.write("/".join([*folder, ".".join([_safe(info.key), *place])]), array)
        done.arrays += 1
        done.bytes += array.nbytes


def _arrays_in(
    value: Any, place: tuple[str, ...], above: frozenset[int]
) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Iterate over the arrays in a result: alone, or in lists, tuples and dicts."""
    if isinstance(value, np.ma.MaskedArray):
        yield (*place, "data"), np.ma.getdata(value)
        yield (*place, "mask"), np.ma.getmaskarray(value)
    elif isinstance(value, np.ndarray):
        yield place, np.asarray(value)
    elif len(place) < _DEPTH and id(value) not in above:
        above |= {id(value)}
        if isinstance(value, dict):
            members: Iterable[tuple[Any, Any]] = value.items()
        elif isinstance(value, tuple) and hasattr(value, "_fields"):
            members = zip(value._fields, value, strict=False)
        elif isinstance(value, (list, tuple)):
            members = enumerate(value)
        else:
            return
        for name, one in members:
            yield from _arrays_in(one, (*place, _safe(str(name))), above)


def _safe(name: str) -> str:
    """Return a name that can stand for a component of a path, and for nothing else."""
    text = re.sub(
        r"[^A-Za-z0-9_.,=+@-]",
        lambda found: "".join(f"%{byte:02X}" for byte in os.fsencode(found[0])),
        name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
    )
    text = text[:120] or "%"
    return text if text.strip(".") else text.replace(".", "%2E")


class _NoFile:
    """Writes nothing."""

    def __enter__(self) -> _NoFile:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, name: str, array: np.ndarray) -> None:
        """Do nothing."""


class _NpyFolder:
    """Writes a .npy file for each array."""

    def __init__(self, folder: str, force: bool) -> None:
        self._folder = folder
        self._mode = "wb" if force else "xb"

    def __enter__(self) -> _NpyFolder:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, name: str, array: np.ndarray) -> None:
        path = os.path.join(self._folder, name + ".npy")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            file = open(path, self._mode)
        except FileExistsError:
            raise FileExistsError(
                f"{path} is there already; --force (force=True) replaces it"
            ) from None
        try:
            with file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        except BaseException:
            os.unlink(path)
            raise


class _NpzFile:
    """Writes all arrays into one .npz file, which has its name when it is whole."""

    def __init__(self, path: str, force: bool) -> None:
        _refuse_existing(path, force)
        self._path = path
        self._part = path + ".part"

    def __enter__(self) -> _NpzFile:
        self._zip = zipfile.ZipFile(self._part, "w", zipfile.ZIP_STORED)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        whole = False
        try:
            self._zip.close()
            whole = kind is None
        finally:
            if whole:
                os.replace(self._part, self._path)
            else:
                os.unlink(self._part)

    def write(self, name: str, array: np.ndarray) -> None:
        with self._zip.open(name + ".npy", "w", force_zip64=True) as file:
            np.lib.format.write_array(file, array, allow_pickle=False)


# -- import ----------------------------------------------------------------------------------------


def import_from(
    location: str | os.PathLike[str],
    source: str | os.PathLike[str],
    *,
    compress: int | None = None,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
    timeout: float = 30.0,
) -> Transfer:
    """Copy the results of another container, or arrays from files, into a cache.

    Parameters
    ----------
    location : str or os.PathLike
        A location or container, which is made if there is none.
    source : str or os.PathLike
        A location or container, whose results, sources and kept arrays are copied; a result
        that is there already stays. Or a ``.npy`` or ``.npz`` file, whose arrays are kept as by
        `Store.put`; `Transfer.names` says under which names. Nothing is unpickled.
    compress : int, optional
        The level, 0 to 9, at which arrays of results are deflated. By default arrays that are
        deflated in the source stay so, and others are not.
    dry_run : bool
        Write nothing.
    progress : callable, optional
        Called with the number of results, or arrays, done.
    timeout : float
        Seconds to wait for another process's lock.

    Returns
    -------
    Transfer

    Raises
    ------
    FileNotFoundError
        There is no `source`.
    ValueError
        It is no file of arrays.
    Error, OSError
        The container cannot be opened or written.
    """
    given = os.fspath(source)
    is_file = given.endswith((".npy", ".npz"))
    if is_file and not os.path.exists(given):
        raise FileNotFoundError(f"{given} does not exist")
    origin = given if is_file else _catalog.find_container(given)
    path = _catalog.find_container(location, create=True)
    done = Transfer(path)
    with contextlib.ExitStack() as stack:
        target = None
        if not dry_run:
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
            target = stack.enter_context(_h5store.Store(path, create=True, timeout=timeout))
            if os.path.basename(path) == CONTAINER_NAME:
                prepare(os.path.dirname(path))
        elif os.path.exists(path):
            target = stack.enter_context(_h5store.Store(path, read_only=True, timeout=timeout))
        if is_file:
            _import_arrays(target, _told(_arrays_of(origin), progress), done, not dry_run)
            return done
        raw = stack.enter_context(_h5store.Store(origin, read_only=True, timeout=timeout))
        if os.path.exists(path) and os.path.samefile(origin, path):
            raise ValueError(f"{origin} and {path} are the same container")
        copy = stack.enter_context(Copy(raw, target, done, not dry_run, compress))
        copy.run(_told(_catalog.walk(raw), progress))
        copy.keep(info.id for info in _catalog.kept(raw))
    return done


def _arrays_of(path: str) -> Iterator[tuple[str, np.ndarray]]:
    """Iterate over the arrays in a file, one in memory at a time.

    Raises
    ------
    ValueError
        It is no such file, or holds pickled objects, which are not loaded.
    """
    name = os.path.splitext(os.path.basename(path))[0]
    try:
        if path.endswith(".npy"):
            yield name, np.load(path, mmap_mode="r", allow_pickle=False)
            return
        with np.load(path, allow_pickle=False) as file:
            for member in file.files:
                yield member, file[member]
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _import_arrays(
    target: _h5store.Store | None,
    arrays: Iterable[tuple[str, np.ndarray]],
    done: Transfer,
    write: bool,
) -> None:
    new: set[str] = set()
    for name, given in arrays:
        array = np.asarray(given)
        text = _dtype.describe(array.dtype)
        blob = _h5store.hash_array(array, text)
        done.names[name] = blob
        there = blob in new
        if target is not None and not there:
            with contextlib.suppress(_h5store.NotFoundError):
                target.blob(blob)
                there = True
        if write and target is not None:
            target.put(array, text)
        if there:
            done.present += 1
        else:
            new.add(blob)
            done.arrays += 1
            done.bytes += array.nbytes
