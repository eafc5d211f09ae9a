# SPDX-License-Identifier: MIT
"""Store: arrays in one HDF5 file, each once, without joblib."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import _arrays, _h5store


class Store:
    """A content-addressed store of NumPy arrays in one HDF5 file.

    Any number of threads and processes may use one file at once. ``name in store`` says whether an
    array is there, ``len(store)`` how many there are, and iterating over a store gives the names
    of all, also those of cached results. ``with`` closes it at the end.

    Parameters
    ----------
    path : str or os.PathLike
        The container, by custom with the ending ``.h5``.
    create : bool
        Make it if there is none.
    read_only : bool
        Never write; needs no permission to write.
    durability : {"process", "power"}
        "process": what `put` stored survives the death of any process at once, and a power cut
        after about two seconds, or ten while arrays are put without a pause. "power": both at
        once; every new array waits for the disk.
    timeout : float
        Seconds to wait for another process's lock.
    threads : int
        For hashing, reading and writing one array; 0: by the CPUs, 8 at most, and no more than
        the environment variable OMP_NUM_THREADS says.
    verify : {"fast", "full", "never"}
        What `get` checks when it copies: a fast checksum, the SHA-256, or nothing.

    Raises
    ------
    NotFoundError, NotAStoreError, VersionError, DamagedError, ReadOnlyError, Error
        It cannot be opened; each class says why.
    ValueError, TypeError
        A parameter out of range.

    Examples
    --------
    >>> with decache.Store("arrays.h5") as store:
    ...     name = store.put(np.arange(10))
    ...     int(store.get(name).sum())
    45
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        read_only: bool = False,
        durability: str = "process",
        timeout: float = 30.0,
        threads: int = 0,
        verify: str = "fast",
    ) -> None:
        if verify not in ("fast", "full", "never"):
            raise ValueError(f"verify must be 'fast', 'full' or 'never', not {verify!r}")
        self._options = {
            "create": create and not read_only,
            "read_only": read_only,
            "durability": durability,
            "timeout": timeout,
            "threads": threads,
        }
        self._check = verify
        self._handle = _arrays.Handle(os.fspath(path), **self._options)

    def put(self, array: Any) -> str:
        """Store an array and keep it until `discard`.

        Parameters
        ----------
        array : array_like
            Of any shape, order and dtype that holds no Python objects. A subclass of ndarray
            is stored as a plain array.

        Returns
        -------
        str
            The array's name: 64 hex digits, the same for the same dtype, shape, order and
            bytes everywhere.

        Raises
        ------
        TypeError
            The array holds Python objects or strings of variable length.
        NoSpaceError, BusyError, ReadOnlyError, Error
            The container is unchanged.
        """
        return _arrays.put(self._handle.raw, np.asarray(array))

    def get(self, blob_id: str, mmap_mode: str | None = None) -> np.ndarray:
        """Return a stored array.

        Parameters
        ----------
        blob_id : str
            Its name, as `put` returned it.
        mmap_mode : {None, "r", "c"}
            None: a new array, checked while it is read. "r": a read-only `numpy.memmap` on the
            container. "c": one that may be written to, in memory only. Mapped arrays are not
            checked, and stay valid after `discard` and `close`. Arrays of at most 512 bytes, and
            compressed ones, come as plain arrays.

        Returns
        -------
        numpy.ndarray
            Of the dtype, shape and order that were put.

        Raises
        ------
        NotFoundError
            No such array (also a KeyError).
        DamagedError
            The bytes are not those that were put.
        ValueError
            `blob_id` is not 64 hex digits, or `mmap_mode` is another.
        """
        if mmap_mode not in (None, "r", "c"):
            raise ValueError(f"mmap_mode must be None, 'r' or 'c', not {mmap_mode!r}")
        blob = self._handle.raw.blob(blob_id)
        if mmap_mode is None:
            return _arrays.read(blob, self._check)
        return self._handle.map(blob, mmap_mode)

    def info(self, blob_id: str) -> _h5store.BlobInfo:
        """Return what is known of an array without reading it.

        Parameters
        ----------
        blob_id : str
            Its name.

        Returns
        -------
        BlobInfo

        Raises
        ------
        NotFoundError
            No such array.
        """
        return self._handle.raw.blob(blob_id).info

    def discard(self, blob_id: str) -> None:
        """No longer keep an array; it goes unless a cached result refers to it.

        Parameters
        ----------
        blob_id : str
            Its name.

        Raises
        ------
        NotFoundError
            It was not kept.
        """
        self._handle.raw.discard(blob_id)

    def __contains__(self, blob_id: object) -> bool:
        if not isinstance(blob_id, str):
            return False
        try:
            self._handle.raw.blob(blob_id)
        except _h5store.NotFoundError:
            return False
        except ValueError as error:
            if isinstance(error, _h5store.Error):
                raise
            return False  # not 64 hex digits
        return True

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of all arrays, also those of cached results."""
        return (info.id for info in self._handle.raw.blobs())

    def __len__(self) -> int:
        return self._handle.raw.stat().blobs

    def stat(self) -> _h5store.Totals:
        """Return the totals of the container.

        Returns
        -------
        Totals
            All as of one commit; this costs a few reads, whatever is stored.
        """
        return self._handle.raw.stat()

    def verify(
        self,
        check: str = "fast",
        fraction: float = 1.0,
        progress: Callable[[int, int], object] | None = None,
    ) -> list[_h5store.Finding]:
        """Check the container against its format, while others may be using it.

        Parameters
        ----------
        check : {"fast", "full", "never"}
            Of the bytes of each array.
        fraction : float
            The part of the arrays whose bytes are checked, from 0 to 1.
        progress : callable, optional
            Called now and then with the bytes checked so far, of about how many. What it
            raises ends the check.

        Returns
        -------
        list of Finding
            Empty when all is well; see the ``is_error`` of each.

        Raises
        ------
        ValueError
            Another `check`, or a `fraction` out of range.
        """
        return self._handle.raw.verify(check=check, fraction=fraction, progress=progress)

    def flush(self) -> None:
        """Make all that was put safe from a power cut and visible to other HDF5 programs.

        Raises
        ------
        BusyError
            Another program holds the file open; it is safe, but not yet visible there.
        NoSpaceError, InputOutputError
            The disk; what was put is still in the log.
        """
        self._handle.raw.flush()

    def close(self) -> None:
        """Close; what was put is in the file."""
        self._handle.close()

    @property
    def path(self) -> str:
        """The container, absolute."""
        return self._handle.path

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        # A handle is of one process: another opens its own.
        return _reopen, (self.path, {**self._options, "verify": self._check})

    def __repr__(self) -> str:
        return f"decache.Store({self.path!r})"


def _reopen(path: str, options: dict[str, Any]) -> Store:
    return Store(path, **options)
