# SPDX-License-Identifier: MIT
"""Files of bytes and nothing else, and the least that a backend of joblib can be.

`BareFiles` shows what joblib itself takes, whoever stores: a result is the bytes of its array,
in a file at the place that joblib's own backend gives it. There are no pickles, metadata, checks
or locks, and nothing but these arrays comes back. Hits of small arrays can hardly be quicker; of
large ones they can, with more threads and with memory that has its pages.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from joblib import register_store_backend
from joblib._store_backends import FileSystemStoreBackend


def write_file(path: str, value: np.ndarray) -> None:
    """Write the bytes of an array to a new file."""
    data = memoryview(value).cast("B")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)


def read_file(path: str) -> np.ndarray:
    """Read a file into a new array of uint64, as all payloads are but those to be compressed."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        array = np.empty(os.fstat(descriptor).st_size // 8, np.uint64)
        data, done = memoryview(array).cast("B"), 0
        while done < len(data):
            got = os.preadv(descriptor, [data[done:]], done)
            if got == 0:
                raise EOFError(path)
            done += got
        return array
    finally:
        os.close(descriptor)


class BareFiles(FileSystemStoreBackend):
    """joblib's own backend without all that can be left out."""

    def _place(self, call_id: Sequence[str]) -> str:
        return os.path.join(self.location, *call_id, "output.pkl")

    def contains_item(self, call_id: Sequence[str]) -> bool:
        """Is there such a file?"""
        return os.path.exists(self._place(call_id))

    def load_item(self, call_id: Sequence[str], *args: Any, **kwargs: Any) -> np.ndarray:
        """Read it."""
        return read_file(self._place(call_id))

    def dump_item(self, call_id: Sequence[str], item: Any, *args: Any, **kwargs: Any) -> None:
        """Write it, if it is an array."""
        path = self._place(call_id)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_file(path, item if isinstance(item, np.ndarray) else np.empty(0, np.uint64))

    def store_metadata(self, call_id: Sequence[str], metadata: dict[str, Any]) -> None:
        """Forget them."""

    def get_metadata(self, call_id: Sequence[str]) -> dict[str, Any]:
        """Know none."""
        return {}


register_store_backend("bare", BareFiles)
