# SPDX-License-Identifier: MIT
"""Stored results back to objects.

The C unpickler reads the stream through `_Stream`, which joins the parts that stand in the
item with those that are blobs, and gets the arrays, read or mapped, as its out-of-band buffers.
A large payload is read from its blob straight into the object that the unpickler made for it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

from . import _h5store, _pickler


class BlobError(Exception):
    """A blob of a result could not be read; ``__cause__`` says why.

    Attributes
    ----------
    blob_id : str
        64 hex digits.
    """

    def __init__(self, blob_id: str) -> None:
        super().__init__(blob_id)
        self.blob_id = blob_id


def load(item: _h5store.Item, check: str, read: Callable[[_h5store.Blob], Any]) -> Any:
    """Unpickle an item.

    Parameters
    ----------
    item : _h5store.Item
    check : {"never", "fast", "full"}
        For the parts of the stream.
    read : callable
        From a blob to the array that it holds; called once for each array in the result.

    Returns
    -------
    object

    Raises
    ------
    BlobError
        A blob is damaged or cannot be read.
    ValueError
        The output is not of the format.
    Exception
        Whatever unpickling raises.
    """
    layout = _pickler.decode(item.output)
    buffers = _buffers(item, layout.buffers, read)
    if len(layout.parts) == 1 and layout.parts[0][2] is not None:
        return pickle.loads(layout.parts[0][2], buffers=buffers)
    return pickle.Unpickler(_Stream(item, layout, check), buffers=buffers).load()


def _buffers(
    item: _h5store.Item, count: int, read: Callable[[_h5store.Blob], Any]
) -> Iterator[Any]:
    for link in range(count):
        blob = item.blob(link)
        try:
            array = read(blob)
        except Exception as error:
            raise BlobError(blob.info.id) from error
        yield array


class _Stream:
    """The pickle stream as a file: what the C unpickler needs of one."""

    def __init__(self, item: _h5store.Item, layout: _pickler.Layout, check: str) -> None:
        self._item = item
        self._parts = iter(layout.parts)
        self._check = check
        self._now = memoryview(b"")  # rest of the part that is in memory
        self._blob: _h5store.Blob | None = None  # or the part that is not
        self._size = 0

    def _next_part(self) -> bool:
        part = next(self._parts, None)
        if part is None:
            return False
        self._size, link, inline = part
        if link is None:
            assert inline is not None
            self._now = inline
        else:
            self._blob = self._item.blob(link)
        return True

    def _fetch(self, blob: _h5store.Blob, target: Any) -> None:
        self._blob = None
        try:
            blob.read_into(target, self._check)
        except Exception as error:
            raise BlobError(blob.info.id) from error

    def readinto(self, target: Any) -> int:
        target = memoryview(target).cast("B")
        while len(self._now) == 0:
            if self._blob is not None and self._size == len(target):
                self._fetch(self._blob, target)
                return len(target)
            if self._blob is not None:
                memory = bytearray(self._size)
                self._fetch(self._blob, memory)
                self._now = memoryview(memory)
            elif not self._next_part():
                return 0
        size = min(len(target), len(self._now))
        target[:size] = self._now[:size]
        self._now = self._now[size:]
        if size < len(target):
            return size + self.readinto(target[size:])
        return size

    def read(self, size: int) -> bytes:
        if size <= len(self._now):  # opcodes, one by one
            chunk, self._now = self._now[:size], self._now[size:]
            return bytes(chunk)
        target = bytearray(size)
        return bytes(memoryview(target)[: self.readinto(target)])

    def readline(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n"):
            byte = self.read(1)
            if not byte:
                break
            line += byte
        return bytes(line)
