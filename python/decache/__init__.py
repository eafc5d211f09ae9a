# SPDX-License-Identifier: MIT
"""decache: a joblib cache in one HDF5 file, which stores each array once.

Importing it registers joblib's backend "cas", and touches no file::

    import decache, joblib
    memory = joblib.Memory("cache", backend="cas")

`decache.Store` is the same store without joblib.
"""

from __future__ import annotations

from ._h5store import (
    BlobInfo,
    BusyError,
    ChangedError,
    ClosedError,
    DamagedError,
    Error,
    Finding,
    ForkedError,
    HDF5Error,
    InputOutputError,
    InvalidError,
    NoSpaceError,
    NotAStoreError,
    NotFoundError,
    OutOfMemoryError,
    PoisonedError,
    ReadOnlyError,
    Totals,
    UnsupportedError,
    VersionError,
    library_version as __version__,
)
from ._store import Store
from ._warnings import CacheWarning
from .store_backend import register_cas_store_backend

__all__ = [
    "BlobInfo",
    "BusyError",
    "CacheWarning",
    "ChangedError",
    "ClosedError",
    "DamagedError",
    "Error",
    "Finding",
    "ForkedError",
    "HDF5Error",
    "InputOutputError",
    "InvalidError",
    "NoSpaceError",
    "NotAStoreError",
    "NotFoundError",
    "OutOfMemoryError",
    "PoisonedError",
    "ReadOnlyError",
    "Store",
    "Totals",
    "UnsupportedError",
    "VersionError",
    "__version__",
    "register_cas_store_backend",
]

register_cas_store_backend()
