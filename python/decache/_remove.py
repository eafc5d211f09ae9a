# SPDX-License-Identifier: MIT
"""Removing results: chosen ones, or those that limits leave no room for.

Arrays are shared, so what a removal frees is counted, not added up: an array's bytes are freed
by the last result that has it. The same count is made whether the results really go or not, so
a dry run says what a run would do.
"""

from __future__ import annotations

import datetime
import fnmatch
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from . import _arrays, _catalog, _detail, _h5store, _limits

#: Results removed by one commit.
_CHUNK = 20_000


@dataclass
class Removal:
    """What went, or would go.

    Attributes
    ----------
    results : int
    array_bytes : int
        Of arrays that nothing else refers to. This much comes back to the disk at once, or as
        soon as nobody has them mapped any more.
    small_bytes : int
        Of pickles and metadata, whose space in the container serves the next results;
        compacting gives it back to the disk.
    kept_arrays : int
        Arrays that no result had, and that were only kept by themselves.
    by_function : dict of str to int
        How many results of each function.
    """

    results: int = 0
    array_bytes: int = 0
    small_bytes: int = 0
    kept_arrays: int = 0
    by_function: dict[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """All bytes."""
        return self.array_bytes + self.small_bytes

    def add(self, function: str, small_bytes: int, array_bytes: int) -> None:
        """Count one result."""
        self.results += 1
        self.small_bytes += small_bytes
        self.array_bytes += array_bytes
        self.by_function[function] = self.by_function.get(function, 0) + 1


@dataclass(frozen=True)
class Choice:
    """Which results are meant: those for which all of these hold.

    Attributes
    ----------
    functions : list of str or None
        Exact names; None: of all functions.
    older_than : float or None
        Not used for this many seconds.
    arguments : tuple of str
        Patterns with wildcards for ``name=value`` of an argument, or for the value alone.
        Each must match an argument.
    """

    functions: list[str] | None = None
    older_than: float | None = None
    arguments: tuple[str, ...] = ()

    def whole(self) -> bool:
        """Are whole functions meant, with their sources?"""
        return self.older_than is None and not self.arguments

    def results(self, raw: _h5store.Store) -> Iterator[_h5store.ItemInfo]:
        """Iterate over the results that are meant."""
        deadline = None if self.older_than is None else time.time() - self.older_than
        for info in _catalog.walk(raw, self.functions):
            if deadline is not None and info.used > deadline:
                continue
            if self.arguments and not self._has_arguments(_catalog.describe(raw, info)):
                continue
            yield info

    def _has_arguments(self, result: _catalog.Result) -> bool:
        texts = [f"{name}={value}" for name, value in result.arguments.items()]
        texts += result.arguments.values()
        return all(
            any(fnmatch.fnmatchcase(text, pattern) for text in texts)
            for pattern in self.arguments
        )


def remove(
    location: str | os.PathLike[str],
    *functions: str,
    older_than: datetime.timedelta | None = None,
    arguments: Iterable[str] = (),
    results: Iterable[str] = (),
    everything: bool = False,
    kept: bool = False,
    dry_run: bool = False,
    timeout: float = 30.0,
) -> Removal:
    """Remove results from a cache, and the arrays that nothing else uses.

    Parameters
    ----------
    location : str or os.PathLike
        What ``joblib.Memory`` was given, the folder "joblib" in it, or a container.
    *functions : str
        Only of these; wildcards, unique ends of names, and dots for slashes will do.
    older_than : datetime.timedelta, optional
        Only what was neither stored nor returned for so long.
    arguments : iterable of str
        Only results with arguments that match all of these patterns, such as ``"seed=1*"``.
    results : iterable of str
        These results, by key, its first digits, or ``function/key``; not together with the
        above.
    everything : bool
        Needed if nothing else is given.
    kept : bool
        Remove no results, but the arrays that no result has: what `repair` could save no
        result of, and what `Store.put` stored. Not together with the above.
    dry_run : bool
        Remove nothing, and tell what would go.
    timeout : float
        Seconds to wait for another process's lock.

    Returns
    -------
    Removal

    Raises
    ------
    ValueError
        Nothing says what to remove, or a name is the end of several.
    KeyError
        One of `results` is not there.
    FileNotFoundError, Error
        There is no container, or it cannot be opened or changed.
    """
    arguments, results = tuple(arguments), tuple(results)
    chosen = bool(functions or arguments or older_than is not None)
    if results and chosen:
        raise ValueError("name results, or say which to choose; not both")
    if kept and (results or chosen or everything):
        raise ValueError("remove kept arrays, or results; not both")
    if not (results or chosen or everything or kept):
        raise ValueError("nothing says what to remove")
    seconds = None if older_than is None else older_than.total_seconds()
    with _catalog.opened(location, write=not dry_run, timeout=timeout) as raw:
        if kept:
            return remove_kept(raw, dry_run)
        if results:
            return remove_results(raw, results, dry_run)
        names = _catalog.matching(raw, functions, single=True) if functions else None
        return remove_choice(raw, Choice(names, seconds, arguments), dry_run)


def remove_choice(
    raw: _h5store.Store,
    choice: Choice,
    dry_run: bool,
    progress: Callable[[int], None] | None = None,
) -> Removal:
    """Remove what is meant from an open container.

    Parameters
    ----------
    raw : _h5store.Store
    choice : Choice
    dry_run : bool
    progress : callable, optional
        Called with the number of results so far.
    """
    whole = choice.whole()
    removal = _remove(raw, choice.results(raw), dry_run or whole, progress)
    if whole and not dry_run:
        batch = raw.batch()
        for name in [None] if choice.functions is None else choice.functions:
            batch.remove(name, None)
        batch.commit()
    return removal


def remove_results(raw: _h5store.Store, identifiers: Iterable[str], dry_run: bool) -> Removal:
    """Remove the results that identifiers mean from an open container.

    Raises
    ------
    KeyError
        One is not there; then nothing is removed.
    """
    found = [_detail.the_one(raw, one) for one in identifiers]
    named = {(info.collection, info.key): info for info in found}
    return _remove(raw, named.values(), dry_run)


def remove_kept(
    raw: _h5store.Store, dry_run: bool, progress: Callable[[int], None] | None = None
) -> Removal:
    """Remove the arrays that no result has from an open container.

    Parameters
    ----------
    raw, dry_run, progress
        As for `remove_choice`; `progress` is called with the number of arrays.
    """
    removal = Removal()
    for info in list(_catalog.kept(raw, lone=True)):
        try:
            if not dry_run:
                raw.discard(info.id)
        except _h5store.NotFoundError:  # somebody else was faster
            continue
        removal.kept_arrays += 1
        removal.array_bytes += _arrays.disk_bytes(info)
        if progress is not None:
            progress(removal.kept_arrays)
    return removal


def _remove(
    raw: _h5store.Store,
    infos: Iterable[_h5store.ItemInfo],
    dry_run: bool,
    progress: Callable[[int], None] | None = None,
) -> Removal:
    removal = Removal()
    counter = _limits.LinkCounter(raw, exact=True)
    names: list[tuple[str, str]] = []
    for info in infos:
        small = info.output_size + info.metadata_size
        removal.add(info.collection, small, counter.freed(info))
        if not dry_run:
            names.append((info.collection, info.key))
        if len(names) >= _CHUNK:
            _commit(raw, names)
            names = []
        if progress is not None:
            progress(removal.results)
    if names:
        _commit(raw, names)
    return removal


def _commit(raw: _h5store.Store, names: list[tuple[str, str]]) -> None:
    batch = raw.batch()
    for collection, key in names:
        batch.remove(collection, key)
    batch.commit()


def prune(
    location: str | os.PathLike[str],
    *,
    bytes_limit: int | str | None = None,
    items_limit: int | None = None,
    age_limit: datetime.timedelta | None = None,
    dry_run: bool = False,
    timeout: float = 30.0,
) -> Removal:
    """Remove the results that were not used for longest, until a cache is within limits.

    As ``Memory.reduce_size``, without a Memory.

    Parameters
    ----------
    location, dry_run, timeout
        As for `remove`.
    bytes_limit : int or str, optional
        Bytes, or a text like "500M".
    items_limit : int, optional
        How many results may stay.
    age_limit : datetime.timedelta, optional
        How long a result may stay unused.

    Returns
    -------
    Removal

    Raises
    ------
    ValueError
        A limit that is not a size, a number or a time.
    FileNotFoundError, Error
        As for `remove`.
    """
    limits = _limits.Limits.parse(bytes_limit, items_limit, age_limit)
    with _catalog.opened(location, write=not dry_run, timeout=timeout) as raw:
        return prune_open(raw, limits, dry_run)


def prune_open(raw: _h5store.Store, limits: _limits.Limits, dry_run: bool) -> Removal:
    """As `prune`, of an open container."""
    removal = Removal()
    counter = _limits.LinkCounter(raw, exact=True)
    for entry in _limits.enforce(raw, limits, dry_run=dry_run, counter=counter):
        removal.add(entry.names[0], entry.small_bytes, entry.freed_bytes - entry.small_bytes)
    return removal
