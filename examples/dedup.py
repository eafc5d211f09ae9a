# SPDX-License-Identifier: MIT
"""Two different functions return the same array. It is stored once.

Run it with the folder for the cache as argument (default: a temporary one, removed at the end).
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

import decache
import joblib
import numpy as np


def load_measurements(sensor: str) -> np.ndarray:
    """Read 8 MB of measurements, slowly."""
    print(f"      load_measurements({sensor!r}) runs")
    return np.random.default_rng(42).standard_normal(1 << 20)


def without_outliers(limit: float) -> np.ndarray:
    """Drop outliers. There are none, so this gives the same 8 MB again."""
    print(f"      without_outliers({limit}) runs")
    values = np.random.default_rng(42).standard_normal(1 << 20)
    return values[np.abs(values) < limit]


@contextlib.contextmanager
def folder_of(arguments: list[str]) -> Iterator[str]:
    """Yield the folder given, or a temporary one."""
    if arguments:
        yield arguments[0]
        return
    with tempfile.TemporaryDirectory(prefix="decache-dedup-") as folder:
        yield folder


def megabytes(count: int) -> str:
    """Show a number of bytes in MB, aligned."""
    return f"{count / 1e6:8.2f} MB"


def show(memory: joblib.Memory) -> None:
    """Print what the container holds."""
    path = os.path.join(memory.store_backend.location, "blobs.h5")
    with decache.Store(path, read_only=True) as store:
        stat = store.stat()
        print(f"      cached results     {stat.items:8d}")
        print(f"      arrays in them     {stat.links:8d}    {megabytes(stat.linked_bytes)}")
        print(f"      arrays stored      {stat.blobs:8d}    {megabytes(stat.blob_bytes)}")
        saved = stat.linked_bytes - stat.blob_bytes
        print(f"      saved                          {megabytes(saved)}")
        for name in store:
            info = store.info(name)
            shape = " x ".join(map(str, info.shape))
            print(f"\n      array  {name[:32]}...")
            print(f"             {info.dtype.strip(chr(39))}, shape {shape}, links: {info.links}")


def main(arguments: list[str]) -> None:
    with folder_of(arguments) as folder:
        print("\nOne array from two functions\n" + "=" * 80)
        print("\n  1.  A cache in one HDF5 file:\n")
        print('      memory = joblib.Memory(folder, backend="cas")')
        memory = joblib.Memory(folder, backend="cas", verbose=0)
        load = memory.cache(load_measurements)
        clean = memory.cache(without_outliers)

        print("\n  2.  Two different functions, which return equal arrays:\n")
        first, second = load("north"), clean(10.0)
        assert np.array_equal(first, second)

        print("\n  3.  The array is stored once, under the hash of its content:\n")
        show(memory)

        print("\n  4.  Both results come from the cache now; neither function runs:\n")
        assert np.array_equal(load("north"), first)
        assert np.array_equal(clean(10.0), second)
        print("      load_measurements('north')  from the cache")
        print("      without_outliers(10.0)      from the cache")

        print("\n  5.  One result goes; the other still needs the array:\n")
        load.clear(warn=False)
        show(memory)

        print("\n  6.  The other goes too, and the array with it:\n")
        clean.clear(warn=False)
        show(memory)
        print()


if __name__ == "__main__":
    main(sys.argv[1:])
