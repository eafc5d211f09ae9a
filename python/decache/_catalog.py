# SPDX-License-Identifier: MIT
"""What is in a cache: its functions, its results, and who uses the space.

Everything here reads, and nothing unpickles: arguments come from the metadata that joblib wrote
when a result was stored. A walk is a stream; a cache of a million results is not held in memory.
Results that cannot be read are told with their `damage`, and never end a walk.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from . import _h5store
from ._backend import CONTAINER_NAME

#: What reading one result may raise without anything being wrong with the others.
UNREADABLE = (_h5store.NotFoundError, _h5store.DamagedError, _h5store.VersionError, ValueError)


@dataclass(frozen=True)
class Function:
    """A cached function.

    Attributes
    ----------
    name : str
        As joblib names it: ``module/function``.
    results : int
    bytes : int
        Of its results, each with all its arrays, as if nothing were shared.
    shared_bytes : int
        Of these, in arrays that other results, of whatever function, have as well.
    used : float
        When one of them was last stored or returned, in seconds since the epoch; 0: unknown.
    damaged : int
        How many of them cannot be read.
    """

    name: str
    results: int = 0
    bytes: int = 0
    shared_bytes: int = 0
    used: float = 0.0
    damaged: int = 0


@dataclass(frozen=True)
class Result:
    """A cached result.

    Attributes
    ----------
    function : str
    key : str
        joblib's hash of the arguments.
    arguments : dict of str to str
        As they were printed when the result was stored.
    bytes : int
        Of the result with all its arrays.
    small_bytes : int
        Of these, in the pickle and the metadata.
    own_bytes : int
        What removing this result alone frees: `small_bytes` and the arrays nothing else has.
    links : int
        How many arrays (and large parts of the pickle) it refers to.
    computed : float
        When the function was called, in seconds since the epoch; 0: unknown.
    duration : float or None
        Of the call, in seconds.
    stored, used : float
        When it was stored, and when it was last stored or returned; 0: unknown.
    damage : str or None
        Why it cannot be read.
    """

    function: str
    key: str
    arguments: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    small_bytes: int = 0
    own_bytes: int = 0
    links: int = 0
    computed: float = 0.0
    duration: float | None = None
    stored: float = 0.0
    used: float = 0.0
    damage: str | None = None

    @property
    def shared_bytes(self) -> int:
        """Bytes in arrays that other results have as well."""
        return self.bytes - self.own_bytes


@dataclass(frozen=True)
class Statistics:
    """What a container holds, and how it has served.

    Attributes
    ----------
    totals : Totals
    usage : Usage
    misses : list of (float, str, str, str)
        The last misses, newest first: when, function, key, and why.
    """

    totals: _h5store.Totals
    usage: _h5store.Usage
    misses: list[tuple[float, str, str, str]]


# -- the container ---------------------------------------------------------------------------------


def find_container(location: str | os.PathLike[str], *, create: bool = False) -> str:
    """Return the path of the container of a cache.

    Parameters
    ----------
    location : str or os.PathLike
        What ``joblib.Memory`` was given, the folder "joblib" in it, or the container itself.
    create : bool
        If there is none, return where joblib would have it made.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    path = os.fspath(location)
    candidates = [os.path.join(path, CONTAINER_NAME), os.path.join(path, "joblib", CONTAINER_NAME)]
    if os.path.isdir(path):
        for candidate in candidates:
            if os.path.lexists(candidate):
                return candidate
        if create:
            return candidates[0 if os.path.basename(os.path.abspath(path)) == "joblib" else 1]
        raise FileNotFoundError(
            f"{path} has no container ({CONTAINER_NAME}); if it is a cache of joblib's default "
            "backend or of decache 0.1, 'decache migrate' converts it"
        )
    if os.path.lexists(path):
        return path
    if create:
        return path if path.endswith((".h5", ".hdf5")) else candidates[1]
    raise FileNotFoundError(f"{path} does not exist")


@contextlib.contextmanager
def opened(
    location: str | os.PathLike[str], *, write: bool = False, timeout: float = 30.0
) -> Iterator[_h5store.Store]:
    """Open the container of a cache that exists, and close it at the end.

    Raises
    ------
    FileNotFoundError
        There is none.
    Error
        It cannot be opened.
    """
    path = find_container(location)
    with _h5store.Store(path, read_only=not write, timeout=timeout) as raw:
        yield raw


# -- walks -----------------------------------------------------------------------------------------


def walk(raw: _h5store.Store, names: Iterable[str] | None = None) -> Iterator[_h5store.ItemInfo]:
    """Iterate over the results of functions, and of what is below them; None: over all."""
    for name in [None] if names is None else names:
        for info in raw.items(name):
            if info.key:  # else it is a function
                yield info


def kept(raw: _h5store.Store, lone: bool = False) -> Iterator[_h5store.BlobInfo]:
    """Iterate over the arrays that are kept by themselves.

    Parameters
    ----------
    raw : _h5store.Store
    lone : bool
        Only those that no result has, too.
    """
    totals = raw.stat()
    if totals.items == 0:
        yield from raw.blobs()
        return
    if sum(info.links for info in raw.blobs()) <= totals.links:
        return
    linked: Counter[str] = Counter()
    for info in walk(raw):
        linked.update(blob_ids(raw, info))
    for blob in raw.blobs():
        if blob.links > linked[blob.id] and not (lone and linked[blob.id]):
            yield blob


def matching(raw: _h5store.Store, patterns: Iterable[str], *, single: bool = False) -> list[str]:
    """Return the names of the functions that patterns stand for.

    Parameters
    ----------
    raw : _h5store.Store
    patterns : iterable of str
        Each is a name; or the end of one, from a component on; or has wildcards ``*?[]``.
        Dots and slashes are the same.
    single : bool
        Refuse a pattern without wildcards that several functions have as their end.

    Raises
    ------
    ValueError
        See `single`.
    """
    found: dict[str, None] = {}
    names: list[str] | None = None
    for pattern in patterns:
        if is_function(raw, pattern):
            found[pattern] = None
            continue
        if names is None:
            names = list(dict.fromkeys(info.collection for info in walk(raw)))
        chosen = [name for name in names if _matches(name, pattern)]
        if single and len(chosen) > 1 and not _has_wildcards(pattern):
            raise ValueError(
                f"{pattern!r} is the end of {len(chosen)} names: {some(chosen)}; "
                f"give one of them, or '*{pattern}' for all"
            )
        found.update(dict.fromkeys(chosen))
    # What is below another that was found comes with it.
    return [name for name in found if not any(_below(name, other) for other in found)]


def is_function(raw: _h5store.Store, name: str) -> bool:
    """Is this the exact name of a function, or of what functions are below?"""
    try:
        return next(iter(raw.items(name)), None) is not None
    except (_h5store.NotFoundError, _h5store.InvalidError):
        return False


def _matches(name: str, pattern: str) -> bool:
    name, pattern = name.replace("/", "."), pattern.replace("/", ".")
    if _has_wildcards(pattern):
        return fnmatch.fnmatchcase(name, pattern)
    return name == pattern or name.endswith("." + pattern)


def _has_wildcards(pattern: str) -> bool:
    return any(letter in pattern for letter in "*?[")


def _below(name: str, other: str) -> bool:
    return name.startswith(other + "/")


def some(names: list[str]) -> str:
    """Name some of many things."""
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def functions(
    location: str | os.PathLike[str], *names: str, timeout: float = 30.0
) -> list[Function]:
    """List the functions of a cache that have results.

    Parameters
    ----------
    location : str or os.PathLike
        What ``joblib.Memory`` was given, the folder "joblib" in it, or a container.
    *names : str
        Only these; wildcards, ends of names, and dots for slashes will do.
    timeout : float
        Seconds to wait for another process's lock.

    Returns
    -------
    list of Function
        By name.

    Raises
    ------
    FileNotFoundError
        There is no container.
    Error
        It cannot be opened.
    """
    with opened(location, timeout=timeout) as raw:
        return sum_up(walk(raw, matching(raw, names) if names else None))


def sum_up(infos: Iterable[_h5store.ItemInfo]) -> list[Function]:
    """Return the functions of the results of a walk, by name."""
    sums: dict[str, list[Any]] = {}
    for info in infos:
        one = sums.setdefault(info.collection, [0, 0, 0, 0.0, 0])
        one[0] += 1
        one[1] += info.output_size + info.metadata_size + info.linked_bytes
        one[2] += info.linked_bytes - info.own_bytes
        one[3] = max(one[3], info.used)
        one[4] += info.damage is not None
    return [Function(name, *sums[name]) for name in sorted(sums)]


def results(
    location: str | os.PathLike[str], *names: str, timeout: float = 30.0
) -> Iterator[Result]:
    """Iterate over the results of a cache, one function after the other.

    The container is open while the iterator is in use.

    Parameters
    ----------
    location, *names, timeout
        As for `functions`.

    Yields
    ------
    Result

    Raises
    ------
    FileNotFoundError, Error
        As for `functions`.
    """
    with opened(location, timeout=timeout) as raw:
        for info in walk(raw, matching(raw, names) if names else None):
            yield describe(raw, info)


def describe(raw: _h5store.Store, info: _h5store.ItemInfo) -> Result:
    """Return what the metadata say of a result that a walk found."""
    small = info.output_size + info.metadata_size
    metadata: dict[str, Any] = {}
    damage = info.damage
    try:
        metadata = _as_dict(json.loads(raw.get_metadata(info.collection, info.key)))
    except UNREADABLE as error:
        damage = damage or sentence(error)
    duration: Any = metadata.get("duration")
    return Result(
        info.collection,
        info.key,
        {str(name): str(value) for name, value in _as_dict(metadata.get("input_args")).items()},
        small + info.linked_bytes,
        small,
        small + info.own_bytes,
        info.link_count,
        _as_time(metadata.get("time")),
        float(duration) if _is_number(duration) else None,
        info.stored,
        info.used,
        damage,
    )


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _as_time(value: Any) -> float:
    return float(value) if _is_number(value) and 0 <= value < 1e11 else 0.0


def sentence(error: BaseException) -> str:
    """Say in one line what an exception means."""
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def blob_ids(raw: _h5store.Store, info: _h5store.ItemInfo) -> list[str]:
    """Return the names of the blobs of a result, as far as they can be read."""
    found = []
    with contextlib.suppress(*UNREADABLE):
        item = raw.item(info.collection, info.key)
        for link in range(item.link_count):
            with contextlib.suppress(*UNREADABLE):
                found.append(item.blob(link).info.id)
    return found


def same_code(source: str, other: str) -> bool:
    """Are two sources of a function the same to joblib, wherever in its file each begins?"""
    return _code(source) == _code(other)


def _code(source: str) -> str:
    first, _, rest = source.partition("\n")
    return rest if first.startswith("# first line:") else source


# -- totals ----------------------------------------------------------------------------------------


def statistics(location: str | os.PathLike[str], *, timeout: float = 30.0) -> Statistics:
    """Return totals, hits and misses of a cache.

    Parameters
    ----------
    location, timeout
        As for `functions`.

    Returns
    -------
    Statistics

    Raises
    ------
    FileNotFoundError, Error
        As for `functions`.
    """
    with opened(location, timeout=timeout) as raw:
        return Statistics(raw.stat(), raw.usage(), raw.misses())
