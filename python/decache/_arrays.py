# SPDX-License-Identifier: MIT
"""Arrays to blobs and back: copied, or mapped from the container.

A mapped array is a `numpy.memmap` whose file is the container, so that joblib passes it to
worker processes by name and offset, without a copy. Its base is a `PinnedMmap`, which keeps
the blob's pin: while any view lives the bytes stay where they are, whoever removes the blob.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _dtype, _h5store
from ._warnings import warn


def put(target: _h5store.Store, array: np.ndarray) -> str:
    """Store an array and return its name, 64 hex digits.

    Raises
    ------
    TypeError
        The array holds references.
    Error
        See `_h5store`.
    """
    return target.put(array, _dtype.describe(array.dtype))


def put_all(batch: _h5store.Batch, arrays: Sequence[np.ndarray]) -> list[str]:
    """Store arrays, those that are not large side by side, and return their names.

    Raises
    ------
    TypeError
        An array holds references.
    Error
        See `_h5store`.
    """
    return batch.put_all(arrays, tuple(_dtype.describe(array.dtype) for array in arrays))


def read(blob: _h5store.Blob, check: str) -> np.ndarray:
    """Copy a blob into a new array.

    Parameters
    ----------
    blob : _h5store.Blob
    check : {"never", "fast", "full"}

    Raises
    ------
    DamagedError
        The bytes are not those that were stored.
    """
    return blob.read(_dtype.parse(blob.dtype), check)


class PinnedMmap(mmap.mmap):
    """A mapping of a part of the container, and what pins that part.

    Also in a child of a fork, as long as it has this: the library leaves the pin of a blob that it
    was not asked to read to the children.
    """

    blob: _h5store.Blob


#: What pins the arrays whose places were sent to other processes, by file and offset.
_sent: dict[tuple[str, int], _h5store.Blob] = {}


class Place(str):
    """The path of the container as the `filename` of a mapped array.

    joblib does not send an array that is mapped to its workers: it sends the file's name, with
    where the array is in it, and the worker maps the file, which pins nothing. It may come to
    that when this process has dropped the array already, and keep it for longer than the task. So
    an array whose name was pickled stays pinned for as long as this process lives.

    Attributes
    ----------
    offset : int
        Of the array in the file.
    blob : _h5store.Blob
    """

    offset: int
    blob: _h5store.Blob

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        path = str(self)
        _sent[path, self.offset] = self.blob
        return str, (path,)


class Handle:
    """An open container, and the descriptor from which its blobs are mapped.

    Parameters
    ----------
    path : str
    **options
        As for `_h5store.Store`.

    Attributes
    ----------
    raw : _h5store.Store
    path : str
        Absolute.
    told : str
        What the user was told of `raw.notice`.
    told_compressed : bool
        Whether the user was told that compressed arrays cannot be mapped.
    """

    def __init__(self, path: str, **options: Any) -> None:
        self.raw = _h5store.Store(path, **options)
        self.told = ""
        self.told_compressed = False
        self.path = os.path.abspath(path)
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.raw.close()
            raise

    def close(self) -> None:
        """Close; mapped arrays stay valid."""
        self.__del__()
        self.raw.close()

    def __del__(self) -> None:
        fd, self._fd = getattr(self, "_fd", -1), -1
        if fd >= 0:
            os.close(fd)

    def map(self, blob: _h5store.Blob, mode: str) -> np.ndarray:
        """Map a blob.

        Parameters
        ----------
        blob : _h5store.Blob
        mode : {"r", "c"}
            "r": read-only. "c": writes change the array in memory, never the container.

        Returns
        -------
        numpy.memmap
            A plain array (read-only for "r") where the blob has no bytes of its own in the
            file, being too small, or has them compressed. The latter is said once.

        Raises
        ------
        DamagedError
            The file is shorter than the blob.
        OSError
            The system refused.
        """
        info = blob.info
        dtype = _dtype.parse(info.dtype)
        if info.offset == 0 and info.stored_bytes > 0 and not self.told_compressed:
            self.told_compressed = True
            warn(
                f"Arrays that are stored compressed in {self.path} are read into memory: they "
                "cannot be mapped."
            )
        if info.offset == 0 or info.nbytes == 0:
            array = blob.read(dtype, "fast")
            array.flags.writeable = mode != "r"
            return array
        if os.fstat(self._fd).st_size < info.offset + info.nbytes:
            raise _h5store.DamagedError(f"{self.path} is shorter than blob {info.id} needs")

        start = info.offset - info.offset % mmap.ALLOCATIONGRANULARITY
        mapping = PinnedMmap(
            self._fd,
            info.offset - start + info.nbytes,
            access=mmap.ACCESS_READ if mode == "r" else mmap.ACCESS_COPY,
            offset=start,
        )
        mapping.blob = blob
        mapped: Any = np.ndarray.__new__(
            np.memmap, info.shape, dtype, mapping, info.offset - start, order=info.order
        )
        mapped._mmap = mapping
        mapped.filename = place = Place(self.path)
        place.offset, place.blob = info.offset, blob
        mapped.offset = info.offset
        mapped.mode = mode
        return mapped


def is_compressed(info: _h5store.BlobInfo) -> bool:
    """Has the disk less of an array than memory would?"""
    return info.offset == 0 and info.stored_bytes > 0


def disk_bytes(info: _h5store.BlobInfo) -> int:
    """Return the bytes of an array as the disk has them."""
    return info.stored_bytes if is_compressed(info) else info.nbytes
