# SPDX-License-Identifier: MIT
"""What the tests of decache share: caches in temporary folders, and child processes.

Every test works on real containers; processes are real processes.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import decache
import joblib
import pytest

THRESHOLD = 1000


@pytest.fixture
def location(tmp_path: Path) -> str:
    """A folder for a cache; the container will be in its subfolder "joblib"."""
    return str(tmp_path / "cache")


@pytest.fixture
def make_memory(location: str) -> Callable[..., joblib.Memory]:
    """Make a quiet Memory with a small threshold."""

    def make(where: Any = location, **settings: Any) -> joblib.Memory:
        options = {"large_array_threshold": THRESHOLD, **settings.pop("backend_options", {})}
        settings.setdefault("verbose", 0)
        return joblib.Memory(where, backend="cas", backend_options=options, **settings)

    return make


@pytest.fixture
def memory(make_memory: Callable[..., joblib.Memory]) -> joblib.Memory:
    return make_memory()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[decache.Store]:
    with decache.Store(tmp_path / "arrays.h5") as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_unexpected_warnings() -> Iterator[None]:
    """A warning of the cache that a test does not expect fails it.

    That is at its end: in a call that warns, it is never raised.
    """
    unexpected: list[warnings.WarningMessage] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", decache.CacheWarning)
        yield
        unexpected = [one for one in caught if issubclass(one.category, decache.CacheWarning)]
    for one in caught:
        if one not in unexpected:
            warnings.showwarning(one.message, one.category, one.filename, one.lineno)
    assert [str(one.message) for one in unexpected] == []


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run code in a process of its own, with the folder of the tests on its path."""

    def run(code: str, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        path = [os.path.dirname(__file__), *filter(None, sys.path)]
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), *args],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=check,
        )

    return run


def reduce_size(memory: joblib.Memory, **limits: Any) -> None:
    """Memory.reduce_size with limits; without joblib where it has none, before 1.3."""
    if "items_limit" in inspect.signature(memory.reduce_size).parameters:
        memory.reduce_size(**limits)
    else:
        memory.store_backend.enforce_store_limits(limits.pop("bytes_limit", None), **limits)


def totals(memory: joblib.Memory) -> decache.Totals:
    """What the container of a Memory holds."""
    path = os.path.join(memory.store_backend.location, "blobs.h5")
    with decache.Store(path, read_only=True) as opened:
        return opened.stat()
