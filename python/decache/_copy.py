# SPDX-License-Identifier: MIT
"""Results from one container into another, as they are, without unpickling.

Each array is mapped from the one and hashed again on its way into the other: where the name that
comes out is not the one that it had, it is damaged, and the result is left out. A function whose
source is another in the target is left out as a whole, since its results would be wrong there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from . import _arrays, _catalog, _h5store

#: One commit of a copy has at most so many results, and about so many bytes.
_GROUP_RESULTS = 256
_GROUP_BYTES = 64 * 1024 * 1024

#: At which level arrays are deflated again that were at one that is not known.
_USUAL_LEVEL = 1


@dataclass
class Transfer:
    """What was copied, or would be.

    Attributes
    ----------
    target : str
    results : int
    arrays : int
        Files or members written; for a container, arrays that it did not have.
    bytes : int
        Of these arrays, and of pickles and metadata.
    present : int
        Results that were there already.
    failed : list of (str, str)
        Results left out, and why.
    names : dict of str to str
        What arrays that were imported from files are called in the container.
    """

    target: str
    results: int = 0
    arrays: int = 0
    bytes: int = 0
    present: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)


class Copy:
    """Copies results from a container into another, or only counts what it would copy.

    Parameters
    ----------
    source : _h5store.Store
    target : _h5store.Store or None
        None: there is none yet, and nothing is written.
    done : Transfer
        Where everything is counted.
    write : bool
        False: only count.
    compress : int, optional
        The level at which arrays are deflated; None: a usual one, and only those that were.
    """

    def __init__(
        self,
        source: _h5store.Store,
        target: _h5store.Store | None,
        done: Transfer,
        write: bool = True,
        compress: int | None = None,
    ) -> None:
        self._source = source
        self._target = target
        self._done = done
        self._written = target if write else None  # where something is written to
        self._compress = compress
        self._sources: dict[str, str] = {}  # of each function: why it is left out, or ""
        self._new: set[str] = set()  # blobs counted by a dry run
        self._batch: _h5store.Batch | None = None
        self._results = self._bytes = 0

    def __enter__(self) -> Copy:
        self._from = _arrays.Handle(self._source.path, read_only=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._from.close()

    def run(self, infos: Iterable[_h5store.ItemInfo]) -> None:
        """Copy the results of a walk, with the sources of their functions."""
        for info in infos:
            name = f"{info.collection}/{info.key}"
            reason = self._source_of(info.collection)
            if reason:
                self._done.failed.append((name, reason))
            elif self._target is not None and self._target.has_item(info.collection, info.key):
                self._done.present += 1
            else:
                try:
                    self._copy(info)
                except _catalog.UNREADABLE as error:
                    self._done.failed.append((name, _catalog.sentence(error)))
        self._commit()

    def keep(self, ids: Iterable[str]) -> None:
        """Copy arrays that are kept by themselves."""
        for name in ids:
            try:
                array = self._mapped(name)
                if self._written is not None:
                    self._written.put(array, self._source.blob(name).info.dtype)
                self._done.arrays += 1
                self._done.bytes += array.nbytes
            except _catalog.UNREADABLE as error:
                self._done.failed.append((name, _catalog.sentence(error)))

    def _source_of(self, function: str) -> str:
        """Bring a function's source over, once; why its results must be left out, or ""."""
        if function in self._sources:
            return self._sources[function]
        reason = ""
        try:
            source: str | None = self._source.get_source(function)
        except _catalog.UNREADABLE:
            source = None
        there: str | None = None
        if self._target is not None:
            with contextlib.suppress(_h5store.NotFoundError):
                there = self._target.get_source(function)
        if there is None and source is not None and self._written is not None:
            batch = self._written.batch()
            batch.set_source(function, source)
            batch.commit()
        elif there is not None and not (source and _catalog.same_code(there, source)):
            reason = "the container has results of another version of the function"
        self._sources[function] = reason
        return reason

    def _mapped(self, name: str) -> np.ndarray:
        blob = self._from.raw.blob(name)
        if _arrays.is_compressed(blob.info):
            return _arrays.read(blob, "fast")
        return self._from.map(blob, "r")

    def _level(self, info: _h5store.BlobInfo) -> int:
        if self._compress is not None:
            return self._compress
        return _USUAL_LEVEL if _arrays.is_compressed(info) else 0

    def _copy(self, info: _h5store.ItemInfo) -> None:
        item = self._source.item(info.collection, info.key)
        links = [item.blob(link).info for link in range(item.link_count)]
        output, metadata = item.output, item.metadata
        fresh = [one for one in links if not self._has(one.id)]
        if self._written is not None:
            if self._batch is None:
                self._batch = self._written.batch()
            for one in links:
                self._batch.compress(self._level(one))
                if self._batch.put(self._mapped(one.id), one.dtype) != one.id:
                    raise _h5store.DamagedError(f"its array {one.id} is damaged")
            ids = [one.id for one in links]
            self._batch.set_item(info.collection, info.key, output, metadata, ids)
            self._batch.set_times(info.collection, info.key, info.stored, info.used)
        for one in {one.id: one for one in fresh}.values():
            self._new.add(one.id)
            self._done.arrays += 1
            self._done.bytes += one.nbytes
        self._done.results += 1
        self._done.bytes += len(output) + len(metadata.encode())
        self._results += 1
        self._bytes += sum(one.nbytes for one in fresh)
        if self._results >= _GROUP_RESULTS or self._bytes >= _GROUP_BYTES:
            self._commit()

    def _has(self, name: str) -> bool:
        if name in self._new:
            return True
        if self._target is None:
            return False
        try:
            self._target.blob(name)
        except _h5store.NotFoundError:
            return False
        except _h5store.DamagedError:
            pass
        return True

    def _commit(self) -> None:
        batch, self._batch = self._batch, None
        self._results = self._bytes = 0
        if self._written is not None:
            self._new.clear()
        if batch is not None:
            batch.commit()
