# SPDX-License-Identifier: MIT
"""A program that uses a neighbour of decache, and decache or not: for test_neighbours.py.

    python _neighbour.py NEIGHBOUR before|after|without FOLDER

NEIGHBOUR is imported before or after decache. Then its threads use files of its own while
threads of ours store and load results, and at the end files and cache are left open for atexit.
Prints, as JSON, what the program knows of the neighbour.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 40


def array_of(i: int, k: int) -> np.ndarray:
    """The array that thread `i` writes in round `k`."""
    return np.arange(3000.0) + 1000 * i + k


class Neighbour:
    """What each of them can be asked; `threads` of them may use it at a time."""

    threads = 1
    #: The extension module through which its libhdf5 is found.
    extension: str | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def use(self, i: int) -> str:
        """Write and read in a file that is left open, and return what an error of its says."""
        raise NotImplementedError

    def read(self, path: str) -> int:
        """Count the arrays in a container of ours; OSError while it may not be opened."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        return {} if self.extension is None else hdf5_state(self.extension)


class H5py(Neighbour):
    threads = 2
    extension = "h5py.defs"

    def use(self, i: int) -> str:
        import h5py

        self.left_open = file = h5py.File(self.folder / f"h5py{i}.h5", "w")
        for k in range(ROUNDS):
            file.create_dataset(f"g{k}/x", data=array_of(i, k), compression="gzip", chunks=(1000,))
            file[f"g{k}"].attrs["k"] = k
            assert np.array_equal(file[f"g{k}/x"][()], array_of(i, k))
        try:
            file["nowhere"]
        except KeyError as error:
            return str(error)
        return "no error"

    def read(self, path: str) -> int:
        import h5py

        with h5py.File(path, "r") as file:
            names = [f"{k}/{name}" for k in file["blobs"] for name in file["blobs"][k]]
            return sum(file["blobs"][name][...].size > 0 for name in names)

    def state(self) -> dict[str, Any]:
        import h5py

        return {**super().state(), "drivers": sorted(h5py.registered_drivers())}


class PyTables(Neighbour):
    extension = "tables.hdf5extension"

    def use(self, i: int) -> str:
        import tables

        self.left_open = file = tables.open_file(str(self.folder / f"tables{i}.h5"), "w")
        filters = tables.Filters(5, "blosc2")
        for k in range(ROUNDS):
            file.create_carray("/", f"x{k}", obj=array_of(i, k), filters=filters)
            assert np.array_equal(file.get_node(f"/x{k}")[:], array_of(i, k))
        try:
            tables.open_file(str(self.folder / "nowhere.h5"), "r")
        except OSError as error:
            return str(error).replace(str(self.folder), "")
        return "no error"

    def read(self, path: str) -> int:
        import tables

        try:
            with tables.open_file(path, "r") as file:
                return len(list(file.walk_nodes("/blobs", "Leaf")))
        except tables.HDF5ExtError as error:
            raise OSError(str(error)) from None

    def state(self) -> dict[str, Any]:
        import tables

        return {**super().state(), "lzo": tables.which_lib_version("lzo") is not None}


class NetCDF4(Neighbour):
    extension = "netCDF4._netCDF4"

    def use(self, i: int) -> str:
        import netCDF4

        self.left_open = file = netCDF4.Dataset(self.folder / f"netcdf{i}.nc", "w")
        file.createDimension("n", 3000)
        for k in range(ROUNDS):
            variable = file.createVariable(f"x{k}", "f8", ("n",), zlib=True)
            variable[:] = array_of(i, k)
            assert np.array_equal(variable[:], array_of(i, k))
        try:
            netCDF4.Dataset(self.folder / "nowhere.nc")
        except OSError as error:
            return str(error).replace(str(self.folder), "")
        return "no error"


class PyArrow(Neighbour):
    threads = 2

    def use(self, i: int) -> str:
        import pyarrow.parquet as pq

        for k in range(ROUNDS):
            table = sys.modules["pyarrow"].table({"x": array_of(i, k)})
            pq.write_table(table, self.folder / f"{i}.parquet", compression="zstd")
            assert pq.read_table(self.folder / f"{i}.parquet").equals(table)
        try:
            pq.read_table(self.folder / "nowhere.parquet")
        except OSError as error:
            return str(error).replace(str(self.folder), "")
        return "no error"

    def state(self) -> dict[str, Any]:
        codec = sys.modules["pyarrow"].Codec
        return {"codecs": [codec.is_available(n) for n in ("gzip", "zstd", "lz4", "brotli")]}


NEIGHBOURS: dict[str, type[Neighbour]] = {
    "h5py": H5py,
    "tables": PyTables,
    "netCDF4": NetCDF4,
    "pyarrow.parquet": PyArrow,
}


def library_of(module: str) -> ctypes.CDLL:
    """The extension module, whose libhdf5 is found through it."""
    file = importlib.import_module(module).__file__
    assert file is not None
    return ctypes.CDLL(file)


def address_of_hdf5(module: str) -> int | None:
    """Where its HDF5 is; None if that is part of the module and unseen, as in our wheels."""
    function = getattr(library_of(module), "H5open", None)
    return None if function is None else ctypes.cast(function, ctypes.c_void_p).value


def error_printing(library: ctypes.CDLL) -> bool:
    """Does HDF5 print its errors, in this thread?"""
    function, data = ctypes.c_void_p(), ctypes.c_void_p()
    get = library.H5Eget_auto2
    get.argtypes = [ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
    assert get(0, ctypes.byref(function), ctypes.byref(data)) >= 0
    return function.value is not None


def hdf5_state(module: str) -> dict[str, Any]:
    """What HDF5 knows that others could have changed: error printing and filters."""
    library = library_of(module)
    in_thread: list[bool] = []
    thread = threading.Thread(target=lambda: in_thread.append(error_printing(library)))
    thread.start()
    thread.join()
    numbers = [*range(1, 7), 305, 307, *range(32000, 32030)]
    return {
        "prints errors": [error_printing(library), *in_thread],
        "filters": [n for n in numbers if library.H5Zfilter_avail(n) > 0],
    }


class Ours:
    """A cache that threads use, and that the neighbour looks into."""

    def __init__(self, folder: Path) -> None:
        import decache
        import joblib

        self.path = str(folder / "cache/joblib/blobs.h5")
        memory = joblib.Memory(
            str(folder / "cache"),
            backend="cas",
            backend_options={"large_array_threshold": 1000},
            verbose=0,
        )
        self.cached = memory.cache(array_of)
        self.seen = self.refused = 0
        self.cached(99, 0)
        with decache.Store(self.path) as store:
            store.flush()  # so that there is something to see from the beginning

    def use(self, i: int) -> None:
        for k in range(ROUNDS):
            for _ in range(2):  # a miss and a hit
                assert np.array_equal(self.cached(i, k), array_of(i, k))

    def facts(self, neighbour: Neighbour) -> dict[str, Any]:
        from decache._neighbours import find_lock

        theirs = neighbour.extension and address_of_hdf5(neighbour.extension)
        return {
            "seen": self.seen,
            "refused": self.refused,
            "shared": theirs is not None and theirs == address_of_hdf5("decache._h5store"),
            "locked": find_lock() is not None,
        }

    def look(self, neighbour: Neighbour) -> None:
        """Open the container with the neighbour while it is written."""
        for _ in range(ROUNDS // 2):
            try:
                self.seen = max(self.seen, neighbour.read(self.path))
            except OSError:
                self.refused += 1  # it is being applied; see LOCKING.md
            except NotImplementedError:
                return


def main(name: str, order: str, folder: Path) -> None:
    if order == "before":
        importlib.import_module(name)
    ours = None if order == "without" else Ours(folder)
    if order != "before":
        importlib.import_module(name)
    neighbour = NEIGHBOURS[name](folder)
    said: list[str] = []
    failures: list[BaseException] = []

    def run(work: Callable[..., Any], *args: Any) -> None:
        try:
            result = work(*args)
        except BaseException as error:
            failures.append(error)
            raise
        if result is not None:
            said.append(result)

    facts: dict[str, Any] = {"before": neighbour.state()}
    for look in (False, True):
        # PyTables and netCDF4 are for one thread at a time, so they look when they have written.
        jobs: list[tuple[Any, ...]] = []
        if not look:
            jobs += [(neighbour.use, i) for i in range(neighbour.threads)]
        elif ours is not None:
            jobs += [(ours.look, neighbour)]
        if ours is not None:
            jobs += [(ours.use, 10 * look + i) for i in range(2)]
        threads = [threading.Thread(target=run, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    facts.update(said=sorted(said), after=neighbour.state())
    print(json.dumps(facts))
    if ours is not None:
        print(json.dumps(ours.facts(neighbour)))
        for i in range(2):  # they are inside when the interpreter ends
            threading.Thread(target=ours.use, args=(20 + i,), daemon=True).start()
    assert not failures
    globals()["kept"] = neighbour, ours  # until the interpreter ends
    sys.stdout.flush()


if __name__ == "__main__":
    os.umask(0o077)
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
