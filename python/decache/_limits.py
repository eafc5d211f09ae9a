# SPDX-License-Identifier: MIT
"""Keeping a cache within limits of bytes, results and age.

Arrays are shared, so an array's bytes are freed by the last of the results that use it. The
results to remove are chosen by counting that down; then they go in one commit, and the container
is asked whether the limits are kept. No limit is ever enforced but when the user asks for it.
"""

from __future__ import annotations

import datetime
import json
import time
from dataclasses import dataclass

from joblib.disk import memstr_to_bytes

from . import _h5store


@dataclass(frozen=True)
class Entry:
    """One stored result.

    Attributes
    ----------
    names : tuple of str
        Collection and key.
    small_bytes : int
        Bytes of output and metadata.
    own_bytes : int
        Bytes of the arrays that nothing else uses.
    last_used : float
        Seconds since the epoch.
    """

    names: tuple[str, str]
    small_bytes: int
    own_bytes: int
    last_used: float

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
        if isinstance(bytes_limit, str):
            bytes_limit = memstr_to_bytes(bytes_limit)
        age = None if age_limit is None else age_limit.total_seconds()
        if age is not None and age < 0:
            raise ValueError("age_limit has to be a positive timedelta")
        return cls(bytes_limit, items_limit, age)


def entries(raw: _h5store.Store) -> list[Entry]:
    """Return all results, those that were not used for longest first."""
    found = []
    for info in raw.items():
        if info.key is not None:
            names = (info.collection, info.key)
            small = info.output_size + info.metadata_size
            found.append(Entry(names, small, info.own_bytes, _last_used(raw, names)))
    found.sort(key=lambda entry: entry.last_used)
    return found


def _last_used(raw: _h5store.Store, names: tuple[str, str]) -> float:
    """The time in the metadata; one without, or damaged, counts as oldest."""
    try:
        return float(json.loads(raw.get_metadata(*names)).get("time", 0.0))
    except (_h5store.NotFoundError, _h5store.DamagedError, ValueError, TypeError):
        return 0.0


def enforce(raw: _h5store.Store, limits: Limits) -> list[tuple[str, str]]:
    """Remove results until all limits are kept, and return their names."""
    removed: list[tuple[str, str]] = []
    while True:
        chosen = _choose(raw, limits)
        if not chosen:
            return removed
        batch = raw.batch()
        for entry in chosen:
            batch.remove(*entry.names)
        batch.commit()
        removed += [entry.names for entry in chosen]


def _choose(raw: _h5store.Store, limits: Limits) -> list[Entry]:
    """Return what to remove; at least one result while there are any and a limit is exceeded."""
    oldest_first = entries(raw)
    total = raw.stat().blob_bytes + sum(entry.small_bytes for entry in oldest_first)
    deadline = None if limits.age is None else time.time() - limits.age
    links_left: dict[str, int] = {}

    chosen: list[Entry] = []
    for entry in oldest_first:
        too_large = limits.bytes is not None and total > limits.bytes
        too_many = limits.items is not None and len(oldest_first) - len(chosen) > limits.items
        too_old = deadline is not None and entry.last_used <= deadline
        if not (too_large or too_many or too_old):
            break
        chosen.append(entry)
        if limits.bytes is not None:
            total -= entry.small_bytes + _freed(raw, entry, links_left)
    return chosen


def _freed(raw: _h5store.Store, entry: Entry, links_left: dict[str, int]) -> int:
    """Count the links of a result off, and return the bytes of arrays that have none left."""
    freed = 0
    try:
        item = raw.item(*entry.names)
    except (_h5store.NotFoundError, _h5store.DamagedError):
        return 0
    for link in range(item.link_count):
        info = item.blob(link).info
        links_left[info.id] = links_left.get(info.id, info.links) - 1
        if links_left[info.id] == 0:
            freed += info.nbytes
    return freed
