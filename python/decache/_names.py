# SPDX-License-Identifier: MIT
"""joblib's names for calls and functions, and what they are called in the container.

joblib names a function by a path such as ``package.module/function`` and a call by that and the
hash of its arguments. They arrive as lists or tuples of strings, which differs by version.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Sequence

#: As h5store/item.h has them.
_MAX_COLLECTION = 4096
_MAX_KEY = 255

_ITEM = re.compile("[a-f0-9]{32}")


def split_call(call_id: Sequence[str]) -> tuple[str, str]:
    """Return collection and key of a call."""
    *collection, key = call_id
    return collection_name(collection), _fit(key.replace("\0", "%00"), _MAX_KEY)


def collection_name(parts: Sequence[str]) -> str:
    """Return the collection of a function."""
    return _collection_name(tuple(parts))


@functools.lru_cache(maxsize=256)  # asked several times a call, for the same functions
def _collection_name(parts: tuple[str, ...]) -> str:
    path = "/".join(parts).replace(os.sep, "/").replace("\0", "%00")
    components = [one for one in path.split("/") if one]
    return _fit("/".join(components) or "%", _MAX_COLLECTION)


def split_path(location: str, path: str) -> tuple[str | None, str | None]:
    """Return collection and key for a path as `get_items` gives it, or the location itself.

    A None means: all of them.
    """
    relative = os.path.relpath(path, location)
    if relative == os.curdir:
        return None, None
    components = relative.split(os.sep)
    if len(components) > 1 and _ITEM.fullmatch(components[-1]):
        return split_call(components)
    return collection_name(components), None


def _fit(name: str, limit: int) -> str:
    """Shorten a name that the container could not hold, keeping it distinct."""
    data = name.encode("utf-8", "surrogateescape")
    if len(data) <= limit:
        return name
    digest = hashlib.sha256(data).hexdigest()
    return data[: limit - 65].decode("utf-8", "ignore").rstrip("/") + "." + digest
