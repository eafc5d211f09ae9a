# SPDX-License-Identifier: MIT
"""Keeping a cache within limits of bytes, results and age.

What a limit of bytes limits is the container file: the space of it that is in use, as du shows
it once what was removed is punched. Arrays are shared, so an array's bytes are freed by the last
of the results that use it; the results to remove are chosen by counting that down, those that
were not used for longest first, and go in one commit. No limit is ever enforced but when the
user asks for it.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from joblib.disk import memstr_to_bytes

from . import _arrays, _h5store


@dataclass(frozen=True)
class Entry:
    """One stored result.

    Attributes
    ----------
    names : tuple of str
        Collection and key.
    small_bytes : int
        Bytes of output and metadata.
    own_bytes, linked_bytes : int
        Bytes of the arrays that nothing else uses, and of all.
    last_used : float
        Seconds since the epoch.
    freed_bytes : int
        Bytes that removing it freed after those before it were removed; see `enforce`.
    """

    names: tuple[str, str]
    small_bytes: int
    own_bytes: int
    linked_bytes: int
    last_used: float
    freed_bytes: int = 0

    @property
    def collection(self) -> str:
        return self.names[0]

    @property
    def key(self) -> str:
        return self.names[1]

    @property
    def size(self) -> int:
        """Bytes that removing it frees."""
        return self.small_bytes + self.own_bytes


@dataclass(frozen=True)
class Limits:
    """What `Memory.reduce_size` was given; None: no limit."""

    bytes: int | None = None
    items: int | None = None
    age: float | None = None

    @classmethod
    def parse(
        cls,
        bytes_limit: int | str | None,
        items_limit: int | None,
        age_limit: datetime.timedelta | None,
    ) -> Limits:
        """Check what was given.

        Raises
        ------
        ValueError
            A negative age, or a size that is none.
        """
        size = memstr_to_bytes(bytes_limit) if isinstance(bytes_limit, str) else bytes_limit
        age = None if age_limit is None else age_limit.total_seconds()
        if age is not None and age < 0:
            raise ValueError("age_limit has to be a positive timedelta")
        return cls(size, items_limit, age)


def entries(raw: _h5store.Store) -> list[Entry]:
    """Return all results, those that were not used for longest first."""
    found = []
    for info in raw.items():
        if info.key:
            names = (info.collection, info.key)
            small = info.output_size + info.metadata_size
            found.append(Entry(names, small, info.own_bytes, info.linked_bytes, info.used))
    found.sort(key=lambda entry: entry.last_used)
    return found


def enforce(
    raw: _h5store.Store,
    limits: Limits,
    dry_run: bool = False,
    spare: Collection[tuple[str, str]] = (),
    counter: LinkCounter | None = None,
) -> list[Entry]:
    """Remove results until all limits are kept.

    Parameters
    ----------
    raw : _h5store.Store
    limits : Limits
    dry_run : bool
        Remove nothing, and tell what would go.
    spare : collection of tuple of str
        Names of results that stay.
    counter : LinkCounter, optional
        What tells the bytes that go; by default one that takes no look at compression.

    Returns
    -------
    list of Entry
        What went, in order, with the bytes that each of them freed.
    """
    removed: list[Entry] = []
    compacted = False
    while True:
        chosen = _choose(raw, limits, spare, counter or LinkCounter(raw))
        if dry_run or not chosen:
            return chosen if dry_run else removed
        batch = raw.batch()
        for entry in chosen:
            batch.remove(*entry.names)
        batch.commit()
        removed += chosen
        if not compacted and _is_mostly_metadata(raw, limits, chosen):
            raw.compact()
            compacted = True


#: What a hole in the file takes in the table of free space, which doubles when it is full.
_HOLE_BYTES = 48

#: An empty container has some 100 KB. Limits below this count the bytes of results alone.
_SMALL = 1 << 20


def _used(raw: _h5store.Store, limits: Limits) -> int:
    """Return the bytes that count against the limit."""
    totals = raw.stat()
    if limits.bytes is not None and limits.bytes < _SMALL:
        small = sum(info.output_size + info.metadata_size for info in raw.items())
        return totals.blob_bytes + small
    return totals.used_bytes


def _is_mostly_metadata(raw: _h5store.Store, limits: Limits, gone: list[Entry]) -> bool:
    """Is the limit of bytes exceeded still, perhaps by metadata of what was removed?

    Compacting moves arrays, which takes longer than all the rest: not for a few of them that more
    results would free.
    """
    if limits.bytes is None or _used(raw, limits) <= limits.bytes:
        return False
    totals = raw.stat()
    metadata = totals.used_bytes - totals.blob_bytes
    small = any(2 * entry.small_bytes > entry.freed_bytes for entry in gone)
    return small or metadata > limits.bytes // 2


def _choose(
    raw: _h5store.Store,
    limits: Limits,
    spare: Collection[tuple[str, str]],
    counter: LinkCounter,
) -> list[Entry]:
    """Return what to remove; at least one result while there are any and a limit is exceeded."""
    count = raw.stat().items
    total = 0 if limits.bytes is None else _used(raw, limits)
    over = (limits.bytes is not None and total > limits.bytes) or (
        limits.items is not None and count > limits.items
    )
    if not over and limits.age is None:
        return []  # whatever is stored, this took no look at any of it

    deadline = None if limits.age is None else time.time() - limits.age
    is_small = limits.bytes is not None and limits.bytes < _SMALL
    chosen: list[Entry] = []
    for entry in entries(raw):
        too_large = limits.bytes is not None and total > limits.bytes
        too_many = limits.items is not None and count - len(chosen) > limits.items
        too_old = deadline is not None and entry.last_used <= deadline
        if not (too_large or too_many or too_old):
            break
        if entry.names in spare:
            continue
        arrays = counter.freed(entry)
        chosen.append(replace(entry, freed_bytes=arrays + entry.small_bytes))
        # The space of pickles stays with the container, to be used again: where there are arrays
        # the file does not become smaller by it.
        freed = max(arrays, entry.small_bytes) - _HOLE_BYTES
        total -= chosen[-1].freed_bytes if is_small else max(freed, 0)
    return chosen


#: Seconds between two looks for results that are too old.
_AGE_INTERVAL = 60.0


class Keeper:
    """Keeps the limits of ``backend_options`` after results are stored.

    As long as no limit is exceeded that takes one look at the totals. When one is, a tenth more
    than necessary goes, so that the next results do not each have to look at all others.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._aged = time.monotonic()

    @property
    def is_needed(self) -> bool:
        """Is there any limit?"""
        return self._limits != Limits()

    def after_put(self, raw: _h5store.Store, names: tuple[str, str]) -> tuple[list[Entry], int]:
        """Keep the limits after a result was stored, which itself stays.

        Returns
        -------
        removed : list of Entry
        too_large : int
            The bytes in use, if that one result alone exceeds the limit; else 0.
        """
        limits = replace(self._limits, age=None)
        if self._limits.age is not None and time.monotonic() > self._aged + _AGE_INTERVAL:
            limits = self._limits
            self._aged = time.monotonic()
        if not self._is_exceeded(raw, limits):
            return [], 0
        removed = enforce(raw, self._lower(limits), spare=(names,))
        used = 0 if limits.bytes is None else _used(raw, limits)
        too_large = limits.bytes is not None and used > limits.bytes and raw.stat().items == 1
        return removed, used if too_large else 0

    @staticmethod
    def _is_exceeded(raw: _h5store.Store, limits: Limits) -> bool:
        return (
            limits.age is not None
            or (limits.bytes is not None and _used(raw, limits) > limits.bytes)
            or (limits.items is not None and raw.stat().items > limits.items)
        )

    @staticmethod
    def _lower(limits: Limits) -> Limits:
        return replace(
            limits,
            bytes=None if limits.bytes is None else limits.bytes - limits.bytes // 10,
            items=None if limits.items is None else limits.items - limits.items // 10,
        )


class LinkCounter:
    """Counts the links of results off, to tell what removing them one by one frees.

    Parameters
    ----------
    raw : _h5store.Store
    exact : bool
        Count compressed arrays with the bytes that they have on the disk, for which all arrays
        are looked at first; else with those that they have in memory.
    """

    def __init__(self, raw: _h5store.Store, exact: bool = False) -> None:
        self._raw = raw
        self._one_by_one = exact and any(map(_arrays.is_compressed, raw.blobs()))
        self._left: dict[str, int] = {}  # of blobs with more links than were counted off

    def freed(self, info: Entry | _h5store.ItemInfo) -> int:
        """Return the bytes of arrays that have no link left after this result's."""
        if info.own_bytes == info.linked_bytes and not self._one_by_one:  # it shares nothing
            return info.own_bytes
        freed = 0
        for blob in self._blobs(info.collection, info.key):
            left = self._left.pop(blob.id, blob.links) - 1
            if left > 0:
                self._left[blob.id] = left
            else:
                freed += _arrays.disk_bytes(blob) if self._one_by_one else blob.nbytes
        return freed

    def _blobs(self, collection: str, key: str) -> Iterator[_h5store.BlobInfo]:
        with contextlib.suppress(_h5store.NotFoundError, _h5store.DamagedError):
            item = self._raw.item(collection, key)
            for link in range(item.link_count):
                with contextlib.suppress(_h5store.NotFoundError, _h5store.DamagedError):
                    yield item.blob(link).info
