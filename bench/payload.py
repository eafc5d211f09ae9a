# SPDX-License-Identifier: MIT
"""Results to cache: prebuilt arrays that become new ones in microseconds.

A benchmark of a cache must hand out a different array for every new result, and must not spend
its time on making one. A payload is filled with random bytes once; `Payload.renew` then writes
a number that was never used before over the first 8 bytes of each piece of 256 KiB. So no two
results are equal (nor do two pieces of them), and all pages have been touched before anything
is timed: the first touch of memory is slow, in virtual machines above all.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

import numpy as np

KIB = 1024
MIB = 1024 * KIB

_PIECE_WORDS = 256 * KIB // 8

#: Numbers that no other payload of this or another process uses: 22 bits say which process,
#: 22 bits count, and 20 bits are left for the number of the piece.
_serial = itertools.count((os.getpid() % 2**22) << 22)


def _random(words: int, generator: np.random.Generator) -> np.ndarray:
    """Random 64-bit words, made in slabs: the peak of memory is the result itself."""
    array = np.empty(words, np.uint64)
    for start in range(0, words, MIB):
        slab = array[start : start + MIB]
        slab[...] = generator.integers(0, 2**64, slab.size, np.uint64)
    return array


def _smooth(words: int, generator: np.random.Generator) -> np.ndarray:
    """Doubles like a sensor's: a random walk in whole steps, which deflate halves and more."""
    return np.cumsum(generator.integers(-3, 4, words)).astype(np.float64)


class Payload:
    """One array, or a list of equally large ones.

    Parameters
    ----------
    nbytes : int
        Of each array; a multiple of 8.
    count : int, optional
        None: the value is an array of shape ``(nbytes / 8,)``; else a list of so many.
    smooth : bool, optional
        float64 that compresses well, instead of uint64 that does not at all.
    """

    def __init__(self, nbytes: int, count: int | None = None, smooth: bool = False) -> None:
        make = _smooth if smooth else _random
        generator = np.random.default_rng(nbytes)
        self._arrays = [make(nbytes // 8, generator) for _ in range(count or 1)]
        self._single = count is None
        self.nbytes = nbytes * len(self._arrays)

    @property
    def value(self) -> Any:
        """What a function returns; renewed in place."""
        return self._arrays[0] if self._single else self._arrays

    def renew(self) -> int:
        """Make it a value that was never there before.

        Returns
        -------
        int
            The stamp of this value, for `apply` and `check`.
        """
        stamp = next(_serial)
        self.apply(stamp)
        return stamp

    def apply(self, stamp: int) -> None:
        """Make it the value that has this stamp."""
        for index, array in enumerate(self._arrays):
            array[::_PIECE_WORDS] = self._stamps(stamp, index)

    def _stamps(self, stamp: int, index: int) -> np.ndarray:
        pieces = -(-self._arrays[index].size // _PIECE_WORDS)
        first = (stamp << 20) + index * pieces
        words = np.arange(pieces, dtype=np.uint64) + np.uint64(first)
        return words.astype(self._arrays[index].dtype)

    def check(self, value: Any, stamp: int, thorough: bool = False) -> None:
        """Raise unless a value is the one that has this stamp.

        Parameters
        ----------
        value : array or list of arrays
            What a cache returned.
        stamp : int
        thorough : bool, optional
            Compare every byte, and not just the stamps. The payload itself must have the stamp.
        """
        values = [value] if self._single else value
        if len(values) != len(self._arrays):
            raise AssertionError(f"{len(values)} arrays came back instead of {len(self._arrays)}")
        for index, (got, put) in enumerate(zip(values, self._arrays, strict=True)):
            if got.dtype != put.dtype or got.shape != put.shape:
                raise AssertionError(f"{got.dtype} {got.shape} instead of {put.dtype} {put.shape}")
            same = np.array_equal(got[::_PIECE_WORDS], self._stamps(stamp, index))
            if same and thorough:
                same = np.array_equal(got, put)
            if not same:
                raise AssertionError("another array came back than was put")


def touch(value: Any) -> int:
    """Look at one byte of each page of a (mapped) array or list of arrays."""
    arrays = value if isinstance(value, list) else [value]
    return sum(int(array.view(np.uint8)[:: 4 * KIB].sum()) for array in arrays)
