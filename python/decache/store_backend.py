# SPDX-License-Identifier: MIT
"""The joblib backend "cas", under the names that decache has always had for it."""

from __future__ import annotations

from joblib import register_store_backend

from ._backend import ContentAddressableStoreBackend

__all__ = ["ContentAddressableStoreBackend", "register_cas_store_backend"]


def register_cas_store_backend() -> None:
    """Make ``joblib.Memory(location, backend="cas")`` known to joblib.

    Importing decache does this already; doing it again does no harm.
    """
    register_store_backend("cas", ContentAddressableStoreBackend)
