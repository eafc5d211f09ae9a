# SPDX-License-Identifier: MIT
"""What the pickles in a container call to put arrays together again.

The names and parameters here are part of the container's format: they stand in pickles that
older and newer versions read. Add functions, never change them. Each gets as its first
parameter what the unpickler was given for one out-of-band buffer: the array as it was read or
mapped (see `_pickler`).
"""

from __future__ import annotations

from typing import Any

import numpy as np


def array(
    stored: np.ndarray,
    dtype: np.dtype | None = None,
    writeable: bool = True,
    axes: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Return a stored array as it was.

    Parameters
    ----------
    stored : numpy.ndarray
        As read from its blob.
    dtype : numpy.dtype, optional
        The exact dtype where the blob's description does not say everything.
    writeable : bool
        False for an array that was read-only when it was put. (One that is mapped for reading
        stays read-only in any case.)
    axes : tuple of int, optional
        For an array whose axes were permuted to lie in one piece: how to put them back.
    """
    if dtype is not None and dtype is not stored.dtype:
        stored = stored.view(dtype)
    if axes is not None:
        stored = stored.transpose(axes)
    if not writeable:
        stored.flags.writeable = False
    return stored


def subclass(cls: type, stored: np.ndarray, dtype: np.dtype | None = None) -> np.ndarray:
    """Return an instance of a subclass of ndarray that has no pickling of its own.

    As when NumPy unpickles one, ``__array_finalize__`` is called with None.
    """
    base = array(stored, dtype)
    return np.ndarray.__new__(cls, base.shape, base.dtype, base, 0, base.strides)


def masked(
    cls: Any, baseclass: type, data: np.ndarray, mask: np.ndarray, fill_value: Any
) -> np.ma.MaskedArray:
    """Return a masked array of data and mask."""
    made: Any = cls.__new__(cls, data.view(baseclass), mask=mask, dtype=data.dtype)
    made.fill_value = fill_value
    return made
