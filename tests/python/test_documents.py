# SPDX-License-Identifier: MIT
"""The code in the documents does what they say."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
from joblib import Memory

import decache

TOP = pathlib.Path(__file__).resolve().parents[2]


def code_blocks(document: str, language: str) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    text = (TOP / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


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
    (block,) = code_blocks("FORMAT.md", "python")
    exec(block, namespace)
    with h5py.File(path, "r") as file:
        datasets = [one for group in file["blobs"].values() for one in group.values()]
        assert {namespace["blob_name"](one) for one in datasets} == names
    assert len(names) == len(arrays)


def test_readme_python_runs(tmp_path):
    """The blocks of README.md run one after the other, as a reader would type them."""
    blocks = code_blocks("README.md", "python")
    assert len(blocks) >= 3
    script = "\n".join(blocks).replace("def simulate(seed): ...", SIMULATE)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "This is a container of h5store" in done.stdout


#: The body that README leaves out, and a call, so that there is a container to look into.
SIMULATE = """\
def simulate(seed):
    import numpy
    return numpy.random.default_rng(seed).normal(size=200_000)

simulate(1)
"""


def simulate(seed):
    return np.random.default_rng(seed).normal(size=200_000)


def test_readme_decache_commands_run(tmp_path):
    """The commands of decache in README run on a cache with one result, one after the other."""
    location = tmp_path / "cache"
    memory = Memory(str(location), backend="cas", verbose=0)
    old = Memory(str(tmp_path / "old-joblib-cache"), verbose=0)
    for one in (memory, old):
        one.cache(simulate)(1)
    key = memory.store_backend.get_items()[0].path.rsplit("/", 1)[1]
    section = (TOP / "README.md").read_text(encoding="utf-8").split("## Look inside")[1]
    commands = [
        line.split("#")[0].split() for line in section.splitlines() if line.startswith("decache ")
    ]
    assert len(commands) >= 10
    for command in commands:
        command = [key if word == "3fa9" else word for word in command[1:]]
        done = subprocess.run(
            [sys.executable, "-m", "decache", *command],
            cwd=tmp_path, capture_output=True, text=True, timeout=120,
        )
        # Nothing is older than a month, which rm says with its status.
        assert done.returncode == (1 if command[0] == "rm" else 0), (command, done.stderr)
    assert np.load(tmp_path / "arrays.npz").files
    assert (tmp_path / "du.html").stat().st_size > 1000
