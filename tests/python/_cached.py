# SPDX-License-Identifier: MIT
"""Functions whose results the tests of the command cache, in a module as users have them."""

from __future__ import annotations

import collections
from typing import Any, NamedTuple

import numpy as np

#: 40 pages of 4096 bytes, so that the disk has exactly as many bytes as the array.
LARGE = np.arange(20_480, dtype="<f8")

#: The calls that were not answered from a cache.
CALLS: list[tuple[str, Any]] = []


class Pair(NamedTuple):
    left: np.ndarray
    right: str


def first(seed: int) -> dict[str, Any]:
    CALLS.append(("first", seed))
    return {"seed": seed, "values": LARGE}


def second(seed: int, scale: float = 2.0) -> list[np.ndarray]:
    CALLS.append(("second", seed))
    return [LARGE, LARGE * scale + seed]


def small(text: str) -> str:
    CALLS.append(("small", text))
    return text * 3


def kinds(which: str) -> Any:
    """A result of one of many kinds."""
    CALLS.append(("kinds", which))
    return KINDS[which]()


def cyclic() -> list[Any]:
    ring: list[Any] = [LARGE[:100]]
    ring.append(ring)
    return ring


def twice() -> list[Any]:
    inner = {"a": 1}
    return [inner, inner, LARGE, LARGE]


KINDS: dict[str, Any] = {
    "none": lambda: None,
    "text": lambda: "wörter\n" * 50_000,
    "bytes": lambda: bytes(range(256)) * 1000,
    "integers": lambda: list(range(1000)),
    "array": lambda: LARGE.copy(),
    "fortran": lambda: np.asfortranarray(LARGE.reshape(128, 160)),
    "transposed": lambda: LARGE.reshape(32, 32, 20).transpose(1, 2, 0),
    "strided": lambda: LARGE[::2],
    "big endian": lambda: LARGE.astype(">f8"),
    "records": lambda: np.ones(5000, [("x", "<i4"), ("y", "<f8", (3,))]),
    "dates": lambda: np.arange(20_000).astype("datetime64[s]"),
    "objects": lambda: np.array([{"a": LARGE}, None, "x"], dtype=object),
    "empty": lambda: np.zeros((0, 7)),
    "scalar": lambda: np.float32(2.5),
    "masked": lambda: np.ma.masked_greater(LARGE, 100.0),
    "named": lambda: Pair(LARGE, "x"),
    "ordered": lambda: collections.OrderedDict(b=LARGE, a=1),
    "default": lambda: collections.defaultdict(list, {"k": [LARGE]}),
    "set": lambda: {f"k{number}" for number in range(500)} | {3, (1, 2)},
    "deep": lambda: {"a": [{"b": (LARGE, LARGE + 1)}]},
    "cyclic": cyclic,
    "twice": twice,
}

FUNCTIONS = {"first": first, "second": second, "small": small, "kinds": kinds}


def same(left: Any, right: Any, depth: int = 0) -> bool:
    """Are two results alike: in types, and in what is in them? What lies too deep is."""
    if type(left) is not type(right):
        return False
    if depth > 10:
        return True
    if isinstance(left, np.ma.MaskedArray):
        return same(left.data, right.data) and same(left.mask, right.mask)
    if isinstance(left, np.ndarray):
        if left.dtype != right.dtype or left.shape != right.shape:
            return False
        if left.dtype.hasobject:
            return same(left.tolist(), right.tolist(), depth + 1)
        return left.tobytes() == right.tobytes()
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()), depth + 1)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(
            same(one, other, depth + 1) for one, other in zip(left, right, strict=True)
        )
    return bool(left == right)
