# SPDX-License-Identifier: MIT
"""h5py's lock, where h5py and this package use the same libhdf5 and it is not thread-safe.

An h5py that was installed by pip brings a libhdf5 of its own, so that nothing is shared; one of
the same distribution, or from the same modules of a computing centre, has ours. Most builds of
libhdf5 are thread-safe. For one that is not, every call of the library is made under the lock
that h5py makes its calls under. Then the two take turns, which costs time but is right.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from . import _h5store

_shared: bool | None = None  # not known before h5py is imported


def _hdf5_of(module: Any) -> int | None:
    """Return where the libhdf5 of an extension module lies in memory, if it has one."""
    function = getattr(ctypes.CDLL(module.__file__), "H5open", None)
    return None if function is None else ctypes.cast(function, ctypes.c_void_p).value


def find_lock() -> Any:
    """Return the lock of an h5py that has been imported and shares our libhdf5, else None."""
    global _shared
    calls = sys.modules.get("h5py.defs")
    lock = getattr(sys.modules.get("h5py._objects"), "phil", None)
    if calls is None or lock is None:
        return None
    if _shared is None:
        ours = _hdf5_of(_h5store)
        _shared = ours is not None and ours == _hdf5_of(calls)
    return lock if _shared else None


def hold_lock() -> None:
    """Take the lock for good: the program ends, and all stores are closed.

    The interpreter stops daemon threads where they come back from a call. One that had the lock
    would keep it, and h5py, which takes it to let go of its objects, would wait for ever.
    """
    lock = None if _h5store.hdf5_is_thread_safe else find_lock()
    if lock is not None:
        lock.acquire()


def install() -> None:
    """See to it that the lock is taken, where one is needed."""
    if not _h5store.hdf5_is_thread_safe:
        _h5store.lock_with(find_lock)
