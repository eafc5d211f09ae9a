# SPDX-License-Identifier: MIT
"""Writes a cache as decache 0.1 did, in a process of its own: ``_old_decache.py LOCATION CALLS``.

The class that it pickled must have the name that it had there, which is a module of ours today.
So this process makes a package of that name for itself, and must not import ours. The backend
does what version 0.1.7 from PyPI does: it takes large arrays out of lists, tuples and dicts,
dumps each once under joblib's hash of it, and pickles a reference.
"""

from __future__ import annotations

import json
import os
import sys
import types

for name in ("decache", "decache.store_backend", "decache.store_backend.types"):
    sys.modules[name] = types.ModuleType(name)


class NumpyBlobReference:
    def __init__(self, blob_hash, dtype, shape, order):
        self.blob_hash = blob_hash
        self.dtype = dtype
        self.shape = shape
        self.order = order


NumpyBlobReference.__module__ = "decache.store_backend.types"
sys.modules["decache.store_backend.types"].NumpyBlobReference = NumpyBlobReference

import _cached  # noqa: E402
import joblib  # noqa: E402
import numpy as np  # noqa: E402
from joblib._store_backends import FileSystemStoreBackend  # noqa: E402

THRESHOLD = 10_000


class OldBackend(FileSystemStoreBackend):
    """Stores as decache 0.1 did. It does not load."""

    def dump_item(self, call_id, item, verbose=1):
        super().dump_item(call_id, self._replaced(item), verbose)

    def _replaced(self, item):
        if isinstance(item, np.ndarray) and item.nbytes > THRESHOLD:
            digest = joblib.hash(item)
            folder = os.path.join(self.location, "blobs")
            os.makedirs(folder, exist_ok=True)
            path = os.path.join(folder, digest)
            if not os.path.exists(path):
                joblib.dump(item, path)
            order = "F" if np.isfortran(item) else "C"
            return NumpyBlobReference(digest, item.dtype, item.shape, order)
        if isinstance(item, list):
            return [self._replaced(one) for one in item]
        if isinstance(item, tuple):
            return tuple(self._replaced(one) for one in item)
        if isinstance(item, dict):
            return {key: self._replaced(one) for key, one in item.items()}
        return item


if __name__ == "__main__":
    joblib.register_store_backend("cas", OldBackend)
    memory = joblib.Memory(sys.argv[1], backend="cas", verbose=0)
    calls = json.loads(sys.argv[2])
    for function, argument in calls:
        memory.cache(_cached.FUNCTIONS[function])(argument)
    assert len(_cached.CALLS) == len(calls)
