# SPDX-License-Identifier: MIT
"""What scripts/hdf5.sh runs with one HDF5 after the other: write a container, read all others.

    python -c 'import _hdf5_versions as v; v.write("FOLDER")'
    python -c 'import _hdf5_versions as v; v.read("FOLDER", ...)'
    python -c 'import _hdf5_versions as v; v.read_with_h5py("FOLDER", ...)'

A container is left as by a killed process: its last results are in the log alone.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

import numpy as np
from test_dtypes import DTYPES, NOT_AS_H5PY, fill

COLLECTION = "module/function"


def arrays() -> Iterator[tuple[str, np.ndarray]]:
    """All element types, and the ways in which an array is laid out."""
    for name, dtype in DTYPES.items():
        yield name, fill(dtype)
        yield name + ", large", fill(dtype, (3, 700))
    yield "scalar", np.array(7.5)
    yield "empty", np.zeros((0, 3))
    yield "Fortran", np.asfortranarray(np.arange(6000.0).reshape(3, 40, 50))
    yield "many chunks", np.arange(700_000.0).reshape(1000, 700)
    yield "packed", np.arange(300_000, dtype="<i4") // 7
    yield "packed floats", np.round(np.sin(np.arange(200_000) / 500), 2)


def put(raw: object, key: str, wanted: dict[str, np.ndarray], level: int) -> None:
    """Store arrays and an item that links to them."""
    from decache import _dtype

    batch = raw.batch()  # type: ignore[attr-defined]
    batch.compress(level)
    names = [batch.put(array, _dtype.describe(array.dtype)) for array in wanted.values()]
    batch.set_item(COLLECTION, key, b"output of " + key.encode(), '{"of": "%s"}' % key, names)
    batch.commit()


def write(folder: str) -> None:
    """Write a container, and end without closing it."""
    from decache import _h5store

    os.makedirs(folder)
    raw = _h5store.Store(folder + "/blobs.h5", create=True)
    wanted = dict(arrays())
    plain = {name: one for name, one in wanted.items() if not name.startswith("packed")}
    put(raw, "plain", plain, 0)
    put(raw, "packed", {name: wanted[name] for name in wanted if name not in plain}, 6)
    for i in range(40):  # groups whose links are dense
        put(raw, f"few{i:02d}", dict(list(plain.items())[: i % 5]), 0)
    raw.flush()
    put(raw, "late", {"late": np.arange(5000.0)}, 0)
    print(f"{len(wanted) + 1} arrays written by HDF5 {_h5store.hdf5_version}")
    sys.stdout.flush()
    os._exit(0)


def read(*folders: str) -> None:
    """Read and verify what was written with each HDF5, of copies: whoever opens applies the log."""
    from decache import _dtype, _h5store

    for folder in folders:
        with tempfile.TemporaryDirectory() as scratch:
            copy = shutil.copytree(folder, scratch + "/copy")
            assert os.path.getsize(copy + "/blobs.h5-wal") > 0
            wanted = dict(arrays())
            plain = [name for name in wanted if not name.startswith("packed")]
            packed = [name for name in wanted if name.startswith("packed")]
            wanted["late"] = np.arange(5000.0)
            expected = {"plain": plain, "packed": packed, "late": ["late"]}
            expected |= {f"few{i:02d}": plain[: i % 5] for i in range(40)}
            count = 0
            with _h5store.Store(copy + "/blobs.h5") as raw:
                for key, names in expected.items():
                    item = raw.item(COLLECTION, key)
                    assert item.output == b"output of " + key.encode()
                    assert item.metadata == '{"of": "%s"}' % key
                    assert item.link_count == len(names)
                    for i, name in enumerate(names):
                        blob = item.blob(i)
                        found = blob.read(_dtype.parse(blob.info.dtype), "full")
                        assert found.dtype == wanted[name].dtype, name
                        assert np.array_equal(found, wanted[name]), name
                        count += 1
                put(raw, "more", {"more": np.arange(4000) + 0.25}, 0)  # and it can be gone on with
                findings = [one for one in raw.verify(check="full") if one.is_error]
                assert findings == [], findings
        print(f"  {folder}: {count} arrays read by HDF5 {_h5store.hdf5_version}")


def read_with_h5py(*folders: str) -> None:
    """The same with a stock HDF5, which sees what has been applied."""
    import h5py

    for folder in folders:
        wanted = dict(arrays())
        names = [name for name in wanted if not name.startswith("packed")]
        names_of = {"plain": names, "packed": [name for name in wanted if name not in names]}
        count = same = 0
        with h5py.File(folder + "/blobs.h5", "r") as file:
            for key, names in names_of.items():
                group = file[f"items/{COLLECTION}/#{_bucket(file, key)}/{key}"]
                for i, name in enumerate(names):
                    found = group[str(i)][()]
                    count += 1
                    if name.split(",")[0] in NOT_AS_H5PY:
                        continue
                    array = wanted[name].T if name == "Fortran" else wanted[name]
                    assert np.array_equal(found, array), name
                    same += 1
            assert "late" not in str(list(file[f"items/{COLLECTION}"]))
        assert same > 100
        print(f"  {folder}: {count} arrays read, {same} compared by h5py's HDF5 "
              f"{h5py.version.hdf5_version}")


def _bucket(file: object, key: str) -> str:
    """The group among which a result is, by looking for it."""
    groups = file[f"items/{COLLECTION}"]  # type: ignore[index]
    return next(name[1:] for name in groups if key in groups[name])
