# SPDX-License-Identifier: MIT
"""Who uses the space of a cache, counted exactly, and what storing arrays once saves.

An array that several functions have belongs to none of them alone. It is told apart from what
removing a function would free, and split evenly where one number for each is needed. Only
results that share arrays are opened one by one; of arrays that are shared the counts are kept
in memory, of all others only sums.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass

from . import _catalog, _h5store


@dataclass
class Share:
    """What a function uses.

    Attributes
    ----------
    name : str
    results : int
    bytes : int
        Of its results, each with all its arrays, as if nothing were shared.
    own_bytes : int
        What removing the function frees: pickles, metadata, and arrays no other function has.
    shared_bytes : int
        Of arrays that other functions have as well, each counted once.
    fair_bytes : float
        `own_bytes` and an even part of each shared array.
    """

    name: str
    results: int = 0
    bytes: int = 0
    own_bytes: int = 0
    shared_bytes: int = 0
    fair_bytes: float = 0.0


@dataclass
class Space:
    """What a cache uses.

    Attributes
    ----------
    container : str
    shares : list of Share
        Largest first.
    totals : Totals
    stored_bytes : int
        Of all pickles, metadata and arrays of results, each array counted once.
    kept_bytes : int
        Of arrays that no result has, kept by `Store.put`.
    """

    container: str
    shares: list[Share]
    totals: _h5store.Totals
    stored_bytes: int = 0
    kept_bytes: int = 0

    @property
    def bytes(self) -> int:
        """What the results would take if nothing were shared."""
        return sum(one.bytes for one in self.shares)

    @property
    def saved_bytes(self) -> int:
        """What storing equal arrays once saves."""
        return self.bytes - self.stored_bytes


def space(location: str | os.PathLike[str], *, timeout: float = 30.0) -> Space:
    """Count who uses the space of a cache.

    Parameters
    ----------
    location : str or os.PathLike
        What ``joblib.Memory`` was given, the folder "joblib" in it, or a container.
    timeout : float
        Seconds to wait for another process's lock.

    Returns
    -------
    Space

    Raises
    ------
    FileNotFoundError, Error
        There is no container, or it cannot be opened.
    """
    with _catalog.opened(location, timeout=timeout) as raw:
        return count(raw)


def count(raw: _h5store.Store, progress: Callable[[int], None] | None = None) -> Space:
    """As `space`, of an open container."""
    shares: dict[str, Share] = {}
    shared: dict[str, tuple[int, set[str]]] = {}  # blob: bytes, functions
    arrays = smalls = 0
    for number, info in enumerate(_catalog.walk(raw), 1):
        share = shares.setdefault(info.collection, Share(info.collection))
        small = info.output_size + info.metadata_size
        share.results += 1
        share.bytes += small + info.linked_bytes
        share.own_bytes += small
        smalls += small
        if info.own_bytes == info.linked_bytes:
            share.own_bytes += info.own_bytes
            arrays += info.own_bytes
        else:
            for blob, size in _blobs(raw, info).items():
                shared.setdefault(blob, (size, set()))[1].add(info.collection)
        if progress is not None:
            progress(number)
    for size, names in shared.values():
        arrays += size
        for name in names:
            if len(names) == 1:
                shares[name].own_bytes += size
            else:
                shares[name].shared_bytes += size
                shares[name].fair_bytes += size / len(names)
    for share in shares.values():
        share.fair_bytes += share.own_bytes
    done = Space(raw.path, sorted(shares.values(), key=_by_size), raw.stat())
    done.stored_bytes = smalls + arrays
    done.kept_bytes = max(0, done.totals.blob_bytes - arrays)
    return done


def _by_size(share: Share) -> tuple[float, str]:
    return -share.fair_bytes, share.name


def _blobs(raw: _h5store.Store, info: _h5store.ItemInfo) -> dict[str, int]:
    """Return the blobs of a result, each once, and their bytes."""
    found = {}
    with contextlib.suppress(*_catalog.UNREADABLE):
        item = raw.item(info.collection, info.key)
        for link in range(item.link_count):
            with contextlib.suppress(*_catalog.UNREADABLE):
                blob = item.blob(link).info
                found[blob.id] = blob.nbytes
    return found
