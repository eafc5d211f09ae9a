# SPDX-License-Identifier: MIT
"""One list of sources: what make builds, what pip builds, and what lies in the folders.

A file that is in a folder and in no list would be missing from the library, from the wheel
or from the tarball, and only there.
"""

from __future__ import annotations

import os
import pathlib
import re
import runpy
import subprocess

import pytest

TOP = pathlib.Path(__file__).parents[2]
BUILD = os.environ.get("top_builddir")
SETUP = runpy.run_path(str(TOP / "setup.py"), run_name="lists")

needs_make = pytest.mark.skipif(BUILD is None, reason="only under make check")


def made(target: str) -> list[str]:
    """Return what make itself takes a list to be."""
    command = [os.environ.get("MAKE", "make"), "-s", "--no-print-directory", "-C", BUILD, target]
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS")}
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    return done.stdout.split()


def lying_in(folder: str, *endings: str) -> set[str]:
    return {
        f"{folder}/{path.name}" for path in (TOP / folder).iterdir() if path.suffix in endings
    }


@needs_make
def test_pip_compiles_what_make_compiles():
    pip = SETUP["extension_sources"]()
    make = [name for name in made("print-sources") if name.endswith(".c")]
    assert len(pip) > 20
    assert pip == make


@needs_make
def test_make_installs_the_whole_package():
    assert set(made("print-package")) == lying_in("python/decache", ".py", ".pyi", ".typed")


@pytest.mark.parametrize(
    ("folder", "lists"),
    [
        ("src", ("library_sources", "tool_sources")),
        ("python/_h5store", ("extension_sources",)),
        ("h5store", ("public_headers",)),
    ],
)
def test_every_source_is_in_exactly_one_list(folder: str, lists: tuple[str, ...]):
    listed = [name for variable in lists for name in SETUP["make_list"](variable)]
    generated = {"h5store/version.h"}
    assert sorted(listed) == sorted(lying_in(folder, ".c", ".h") - generated)


def test_every_test_in_c_is_in_a_list():
    """In both, if programs of both kinds need it."""
    listed = SETUP["make_list"]("check_sources") + SETUP["make_list"]("support_sources")
    lying = lying_in("tests", ".c", ".h") | lying_in("tests/support", ".c", ".h")
    assert set(listed) == lying


def test_every_suite_is_run():
    """A suite that is compiled but not named in suites.h would pass by never running."""
    named = set(re.findall(r"X\((\w+)\)", (TOP / "tests/suites.h").read_text()))
    lying = {path.stem.removeprefix("check_") for path in (TOP / "tests").glob("check_*.c")}
    assert named == lying - {"main"} and len(named) > 20


@needs_make
@pytest.mark.skipif(not (TOP / ".git").exists(), reason="only in a checkout")
def test_every_tracked_file_is_in_the_tarball():
    done = subprocess.run(
        ["git", "-c", f"safe.directory={TOP}", "-C", str(TOP), "ls-files"],
        check=True, stdout=subprocess.PIPE, text=True,
    )
    distributed = [pathlib.PurePath(os.path.relpath(os.path.join(BUILD, name), TOP))
                   if not (TOP / name).exists() else pathlib.PurePath(name)
                   for name in made("print-distributed")]
    tracked = [pathlib.PurePath(name) for name in done.stdout.splitlines()]
    assert len(tracked) > 50
    left_out = [
        str(path) for path in tracked
        if not path.parts[0].startswith(".")
        and not any(path == given or given in path.parents for given in distributed)
    ]
    assert left_out == []
