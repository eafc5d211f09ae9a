# SPDX-License-Identifier: MIT
"""What the documents state of the format is what the library does."""

from __future__ import annotations

import runpy

import decache
import h5py
import numpy as np

from _documents import TOP, blocks_of


def test_format_recomputes_names(tmp_path):
    """FORMAT.md's ten lines give the name of every blob, from h5py alone."""
    arrays = [
        np.arange(300_000.0).reshape(600, 500),
        np.asfortranarray(np.arange(300_000, dtype=">i2").reshape(600, 500)),
        np.zeros((3, 0, 2), np.complex64),
        np.array(7, np.uint8),
        np.arange(90_000).astype("datetime64[s]"),
        np.zeros(40_000, [("x", "<i4"), ("y", "<f8", (2,))]),
        np.arange(200_000) % 3 == 0,
        np.array(["a", "bcd"] * 500),
    ]
    path = tmp_path / "blobs.h5"
    with decache.Store(path) as store:
        names = {store.put(array) for array in arrays}
    namespace: dict = {}
    blocks = blocks_of((TOP / "FORMAT.md").read_text(encoding="utf-8"))
    (block,) = [one for one in blocks if one.language == "python"]
    exec(block.text, namespace)
    with h5py.File(path, "r") as file:
        datasets = [one for group in file["blobs"].values() for one in group.values()]
        assert {namespace["blob_name"](one) for one in datasets} == names
    assert len(names) == len(arrays)


def test_drawings_are_those_of_the_script(tmp_path):
    """The SVG files in documents/ are what drawings.py makes now."""
    runpy.run_path(str(TOP / "documents" / "drawings.py"))["main"](tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(made) == {path.name for path in (TOP / "documents").glob("*.svg")}
    for name, text in made.items():
        assert text == (TOP / "documents" / name).read_text(), name
