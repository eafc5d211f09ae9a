# SPDX-License-Identifier: MIT
"""What a run ran on: without it, its numbers say nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any


def _field(path: str, name: str) -> str:
    """The value of the first "name : value" line of a file of /proc."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""


def _file_system(folder: str) -> str:
    """Type of the file system that a folder is on."""
    real = os.path.realpath(folder)
    found = ("", "unknown")
    with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, point, kind, *_ = line.split()
            inside = real == point or real.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(found[0]):
                found = (point, kind)
    return found[1]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def describe(folder: str) -> dict[str, Any]:
    """Describe processor, memory, kernel, file system and versions.

    Parameters
    ----------
    folder : str
        On the file system that is measured.
    """
    about = {
        "processor": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "sha_instructions": "sha_ni" in _field("/proc/cpuinfo", "flags").split(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "virtual": "hypervisor" in _field("/proc/cpuinfo", "flags").split(),
        "kernel": platform.release(),
        "file_system": _file_system(folder),
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "load": os.getloadavg()[0],
    }
    try:
        from decache import _h5store
    except ImportError:
        return about
    return {**about, "libh5store": _h5store.library_version, "hdf5": _h5store.hdf5_version}
