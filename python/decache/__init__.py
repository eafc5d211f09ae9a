# SPDX-License-Identifier: MIT
"""decache: a joblib cache in one HDF5 file, which stores each array once.

Importing it registers joblib's backend "cas", and touches no file::

    import decache, joblib
    memory = joblib.Memory("cache", backend="cas")

`decache.Store` is the same store without joblib. `functions`, `results`, `result`, `statistics`
and `space` tell what is in a cache, `remove`, `prune`, `verify`, `repair` and `compact` take care
of it, `doctor` tells whether one is safe in a folder, and `export`, `import_from` and `migrate`
bring results out, in, and over from caches of joblib's default backend. The command ``decache``
is made of them.
"""

from __future__ import annotations

from ._catalog import functions, results, statistics
from ._check import compact, repair, verify
from ._detail import result
from ._doctor import doctor
from ._exchange import export, import_from
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
from ._migrate import migrate
from ._neighbours import install as _install_neighbours
from ._remove import prune, remove
from ._space import space
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
    "compact",
    "doctor",
    "export",
    "functions",
    "import_from",
    "migrate",
    "prune",
    "register_cas_store_backend",
    "remove",
    "repair",
    "result",
    "results",
    "space",
    "statistics",
    "verify",
]

_install_neighbours()
register_cas_store_backend()
