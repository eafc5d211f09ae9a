# SPDX-License-Identifier: MIT
"""What the documents state of the format is what the library does."""

from __future__ import annotations

import doctest
import inspect
import os
import re
import runpy
import shutil
import site
import subprocess
import sys

import decache
import h5py
import numpy as np
import pytest

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


def test_reference_is_up_to_date(tmp_path):
    """documents/api-*.md are what "make reference" makes now."""
    runpy.run_path(str(TOP / "scripts" / "reference.py"))["main"](tmp_path)
    for name in ("api-c.md", "api-python.md"):
        made, kept = (tmp_path / name).read_text(), (TOP / "documents" / name).read_text()
        assert made == kept, f"documents/{name} is not of this code: make reference"


def test_reference_has_all_that_is_public():
    exported = re.findall(r"^\s+(h5store_\w+);", (TOP / "src" / "h5store.map").read_text(), re.M)
    c_page = (TOP / "documents" / "api-c.md").read_text()
    assert len(exported) > 40
    assert [name for name in exported if f"\n### {name}\n" not in c_page] == []
    python_page = (TOP / "documents" / "api-python.md").read_text()
    public = set(decache.__all__) - {"__version__"}
    assert [name for name in public if not re.search(rf"\b{name}\b", python_page)] == []


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler, cc")
def test_declarations_of_the_reference_compile(tmp_path):
    """The blocks of the C page, one after the other, are a header of their own."""
    blocks = blocks_of((TOP / "documents" / "api-c.md").read_text())
    code = [one.text for one in blocks if one.language == "c"]
    assert len(code) > 80
    source = tmp_path / "page.c"
    source.write_text("#include <stddef.h>\n#include <stdint.h>\n" + "\n".join(code))
    command = [os.environ.get("CC", "cc").split()[0], "-std=c11", "-Wall", "-Wextra", "-pedantic"]
    done = subprocess.run(
        [*command, "-Werror", "-fsyntax-only", str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_public_docstrings_are_complete():
    """Whoever takes parameters, returns something or is a value says of what kind it is."""
    looked_at = 0
    things = {name: getattr(decache, name) for name in decache.__all__ if name != "__version__"}
    things |= {
        f"Store.{name}": one for name, one in vars(decache.Store).items()
        if inspect.isfunction(one) and not name.startswith("_")
    }
    for name, thing in things.items():
        text = inspect.getdoc(thing)
        assert text, name
        if not inspect.isfunction(thing):
            continue
        signature = inspect.signature(thing)
        for parameter in signature.parameters:
            assert parameter == "self" or re.search(rf"\b{parameter}\b", text), (name, parameter)
        if len(signature.parameters) > (1 if "." in name else 0):
            assert "\nParameters\n" in text and "\nRaises\n" in text, name
        if signature.return_annotation != "None":
            assert "\nReturns\n" in text or "\nYields\n" in text, name
        looked_at += 1
    assert looked_at > 20


def test_examples_in_docstrings_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    globs = {"decache": decache, "np": np}
    tests = [
        one for name in decache.__all__
        for one in doctest.DocTestFinder().find(getattr(decache, name), name, globs=globs)
        if one.examples
    ]
    assert tests
    for one in tests:
        assert doctest.DocTestRunner().run(one).failed == 0


def test_stubs_are_those_of_the_extension():
    """stubtest compares _h5store.pyi with the compiled module, and mypy reads the package."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    config = ["--mypy-config-file", str(TOP / "pyproject.toml")]
    package = os.path.dirname(os.path.dirname(decache.__file__))
    installed = package in site.getsitepackages()  # there mypy looks by itself, and wants no path
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", *config, "decache._h5store"],
        env={**os.environ, "MYPYPATH": "" if installed else package},
        cwd=TOP, capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no issues found in 1 module" in done.stdout
