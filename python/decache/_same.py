# SPDX-License-Identifier: MIT
"""Are two results the same, as far as pickle can tell? Told by a digest of each.

Two objects that came out of the same pickle pickle alike, but for the identity of the dtypes
inside their arrays, which NumPy makes anew or not as it likes. So dtypes are written by value.
"""

from __future__ import annotations

import hashlib
import pickle
from typing import Any

import numpy as np


class _Pickler(pickle.Pickler):
    """Feeds a hash with the pickle and the bytes of arrays, of which it makes no copy."""

    def __init__(self, digest: Any) -> None:
        super().__init__(self, 5, buffer_callback=self._take)
        self._digest = digest

    def write(self, chunk: Any) -> None:
        self._digest.update(chunk)

    def _take(self, buffer: pickle.PickleBuffer) -> bool:
        self._digest.update(buffer.raw())
        return False

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, np.dtype):
            return repr(value.__reduce__()[1:])
        return None


def digest(value: Any) -> bytes:
    """Return the SHA-256 of what a result pickles to.

    Raises
    ------
    Exception
        Whatever pickling raises.
    """
    taken = hashlib.sha256()
    _Pickler(taken).dump(value)
    return taken.digest()


def reloaded(value: Any) -> Any:
    """Return what a result is after it was pickled and unpickled; arrays share their bytes.

    Raises
    ------
    Exception
        Whatever pickling or unpickling raises.
    """
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, 5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=buffers)
