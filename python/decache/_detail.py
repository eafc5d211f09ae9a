# SPDX-License-Identifier: MIT
"""One result: finding it by a few digits, and all that is known of it without unpickling it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from . import _h5store, _pickler
from ._catalog import (
    UNREADABLE,
    Result,
    blob_ids,
    describe,
    is_function,
    matching,
    opened,
    sentence,
    some,
    walk,
)


@dataclass(frozen=True)
class Array:
    """An array of a result, or a large part of its pickle.

    Attributes
    ----------
    id : str
        Its name in the container, 64 hex digits.
    role : {"array", "pickle"}
    dtype : str
        As in the header of a ``.npy`` file.
    shape : tuple of int
    order : {"C", "F"}
    bytes : int
    links : int
        How many times results refer to it, or it is kept by itself.
    damage : str or None
    """

    id: str
    role: str
    dtype: str
    shape: tuple[int, ...]
    order: str
    bytes: int
    links: int
    damage: str | None = None


@dataclass(frozen=True)
class Detail:
    """All that is known of a result without unpickling it.

    Attributes
    ----------
    result : Result
    arrays : list of Array
    source : str or None
        Of the function.
    sharing : list of (str, str, int)
        Function and key of the other results that have arrays of it, and how many.
    """

    result: Result
    arrays: list[Array]
    source: str | None
    sharing: list[tuple[str, str, int]]


def find(raw: _h5store.Store, identifier: str) -> list[_h5store.ItemInfo]:
    """Return the results that an identifier may mean.

    Parameters
    ----------
    raw : _h5store.Store
    identifier : str
        A key, or the first digits of one, after the name of the function and a slash, or
        without it.
    """
    name, slash, key = identifier.rpartition("/")
    names: list[str] | None = [name] if slash else None
    if slash and not is_function(raw, name):
        names = matching(raw, [name])
    found = [info for info in walk(raw, names) if info.key.startswith(key)]
    whole = [info for info in found if info.key == key]
    return whole or found


def result(
    location: str | os.PathLike[str], identifier: str, *, timeout: float = 30.0
) -> Detail:
    """Return all that is known of a result without unpickling it.

    Parameters
    ----------
    location, timeout
        As for `functions`.
    identifier : str
        The result's key or its first digits, alone or as ``function/key``.

    Returns
    -------
    Detail

    Raises
    ------
    KeyError
        There is no such result, or more than one.
    FileNotFoundError, Error
        As for `functions`.
    """
    with opened(location, timeout=timeout) as raw:
        return detail(raw, the_one(raw, identifier))


def the_one(raw: _h5store.Store, identifier: str) -> _h5store.ItemInfo:
    """Return the result that an identifier means.

    Raises
    ------
    KeyError
        There is none, or more than one.
    """
    found = find(raw, identifier)
    if not found:
        raise KeyError(f"there is no result {identifier}")
    if len(found) > 1:
        names = some([f"{info.collection}/{info.key}" for info in found])
        raise KeyError(f"{identifier} may be any of {len(found)} results: {names}")
    return found[0]


def detail(raw: _h5store.Store, info: _h5store.ItemInfo) -> Detail:
    """As `result`, of an open container and a result that a walk found."""
    described = describe(raw, info)
    source = None
    with contextlib.suppress(*UNREADABLE):
        source = raw.get_source(info.collection)
    arrays: list[Array] = []
    with contextlib.suppress(*UNREADABLE):
        item = raw.item(info.collection, info.key)
        buffers = _count_buffers(item)
        arrays = [_array(item, link, link < buffers) for link in range(item.link_count)]
    return Detail(described, arrays, source, _sharing(raw, info, arrays))


def _count_buffers(item: _h5store.Item) -> int:
    """How many links are arrays; the others are parts of the pickle."""
    try:
        return _pickler.decode(item.output).buffers
    except UNREADABLE:
        return item.link_count


def _array(item: _h5store.Item, link: int, is_array: bool) -> Array:
    role = "array" if is_array else "pickle"
    try:
        info = item.blob(link).info
    except UNREADABLE as error:
        return Array("", role, "", (), "C", 0, 0, sentence(error))
    return Array(
        info.id, role, info.dtype, info.shape, info.order, info.nbytes, info.links, info.damage
    )


def _sharing(
    raw: _h5store.Store, info: _h5store.ItemInfo, arrays: list[Array]
) -> list[tuple[str, str, int]]:
    """Find the other results that have arrays of one; stops when all links are known."""
    wanted: dict[str, int] = {}
    for array in arrays:
        if array.id:
            wanted[array.id] = wanted.get(array.id, array.links) - 1
    wanted = {name: count for name, count in wanted.items() if count > 0}
    found: list[tuple[str, str, int]] = []
    for other in walk(raw):
        if not wanted:
            break
        if other.linked_bytes == other.own_bytes:
            continue
        if (other.collection, other.key) == (info.collection, info.key):
            continue
        names = [name for name in blob_ids(raw, other) if name in wanted]
        if names:
            found.append((other.collection, other.key, len(set(names))))
        for name in names:
            wanted[name] -= 1
            if wanted[name] == 0:
                del wanted[name]
    return found
