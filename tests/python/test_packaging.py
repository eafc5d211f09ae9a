# SPDX-License-Identifier: MIT
"""What pip installs: the source distribution builds, and the wheel from it holds what it should.

scripts/wheel.sh goes on from there: it repairs the wheel, and runs all tests on it where there is
neither HDF5 nor a compiler.
"""

from __future__ import annotations

import email
import email.message
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import decache
import pytest
from decache import _h5store

TOP = pathlib.Path(__file__).parents[2]
SETUP = runpy.run_path(str(TOP / "setup.py"), run_name="lists")

#: What setuptools is asked for by a front end such as build or pip.
_SDIST = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"


def _has_setuptools() -> bool:
    try:
        import setuptools
    except ImportError:
        return False
    return int(setuptools.__version__.split(".")[0]) >= 77


needs_setuptools = pytest.mark.skipif(not _has_setuptools(), reason="needs setuptools >= 77")
needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None and "top_builddir" not in os.environ, reason="no compiler here"
)


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=300, check=False, **options,
    )


def without_libraries() -> dict[str, str]:
    """An environment in which setup.py finds nothing to compile against."""
    names = ("HDF5_CFLAGS", "HDF5_LIBS")
    return {**{k: v for k, v in os.environ.items() if k not in names}, "PKG_CONFIG": "false"}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The source distribution, unpacked; made where no library is found.

    From a copy: setuptools writes beside the sources, which "make distcheck" does not allow.
    """
    folder = tmp_path_factory.mktemp("sdist")
    source = folder / "source"
    source.mkdir()
    for name in ("LICENSE", "MANIFEST.in", "Makefile.am", "NEWS", "README.md", "configure.ac",
                 "pyproject.toml", "setup.py"):  # fmt: skip
        shutil.copy(TOP / name, source)
    for name in ("documents", "h5store", "python", "src"):
        unwanted = shutil.ignore_patterns("*.egg-info", "__pycache__", "version.h")
        shutil.copytree(TOP / name, source / name, ignore=unwanted)
    run("chmod", "-R", "u+w", source)
    done = run(sys.executable, "-c", _SDIST, folder, cwd=source, env=without_libraries())
    assert done.returncode == 0, done.stdout
    archive = folder / done.stdout.splitlines()[-1]
    with tarfile.open(archive) as opened:
        opened.extractall(folder)
    return folder / archive.name.removesuffix(".tar.gz")


class Wheel(NamedTuple):
    path: pathlib.Path
    names: list[str]
    metadata: email.message.Message


@pytest.fixture(scope="module")
def wheel(sdist: pathlib.Path) -> Wheel:
    """The wheel that pip builds from the source distribution."""
    folder = sdist.parent / "wheel"
    done = run(
        sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index",
        "--wheel-dir", folder, sdist,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (path,) = folder.iterdir()
    with zipfile.ZipFile(path) as opened:
        names = opened.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        return Wheel(path, names, email.message_from_bytes(opened.read(metadata)))


@needs_setuptools
def test_without_libraries_the_build_says_what_to_install(sdist: pathlib.Path):
    done = run(
        sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index",
        "--wheel-dir", sdist.parent / "none", sdist, env=without_libraries(),
    )  # fmt: skip
    assert done.returncode != 0
    assert "false does not find hdf5" in done.stdout
    assert "apt-get install build-essential" in done.stdout


@needs_setuptools
@needs_compiler
def test_one_wheel_serves_every_later_python(wheel: Wheel):
    python, abi = wheel.path.stem.split("-")[2:4]
    if SETUP["LIMITED_API"]:
        assert (python, abi) == ("cp311", "abi3")
        assert "decache/_h5store.abi3.so" in wheel.names
    else:
        assert python.startswith("cp3") and abi.startswith(python)


@needs_setuptools
@needs_compiler
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Wheel):
    lists = SETUP["make_list"]("package_sources") + SETUP["make_list"]("package_data")
    expected = {name.removeprefix("python/") for name in lists}
    package = {name for name in wheel.names if name.startswith("decache/") and name[-1] != "/"}
    (module,) = package - expected
    assert package - {module} == expected
    assert module.startswith("decache/_h5store.") and module.endswith(".so")

    others = {name.split("/", 1)[1] for name in wheel.names if name.startswith("decache-")}
    assert {"licenses/LICENSE", "data/share/man/man1/decache.1"} <= others
    assert wheel.metadata["Version"] == _h5store.library_version
    assert wheel.metadata["License-Expression"] == "MIT"


@needs_setuptools
@needs_compiler
def test_the_module_exports_nothing_of_the_library(wheel: Wheel, tmp_path: pathlib.Path):
    with zipfile.ZipFile(wheel.path) as opened:
        (name,) = (name for name in wheel.names if name.endswith(".so"))
        module = opened.extract(name, tmp_path)
    done = run(*os.environ.get("NM", "nm").split(), "-D", "--defined-only", module)
    assert done.returncode == 0, done.stdout
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["PyInit__h5store"]


@needs_setuptools
@needs_compiler
def test_the_wheel_works_where_pip_puts_it(wheel: Wheel, tmp_path: pathlib.Path):
    target = tmp_path / "site"
    done = run(
        sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", target,
        wheel.path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    environment = {**os.environ, "PYTHONPATH": str(target)}
    where = run(sys.executable, "-c", "import decache; print(decache.__file__)", env=environment,
                cwd=tmp_path)  # fmt: skip
    assert where.stdout.strip() == str(target / "decache" / "__init__.py")

    done = run(sys.executable, "-m", "decache", "--version", env=environment, cwd=tmp_path)
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["decache", decache.__version__])
    example = run(sys.executable, TOP / "examples" / "dedup.py", tmp_path / "cache",
                  env=environment, cwd=tmp_path)  # fmt: skip
    assert example.returncode == 0, example.stdout
    assert list((tmp_path / "cache").rglob("blobs.h5"))


@pytest.mark.parametrize("first", ["decache", "h5py"])
def test_h5py_and_decache_share_a_process(
    run_python: Callable[..., subprocess.CompletedProcess[str]], first: str
):
    """Also when each brings an HDF5 of its own, as wheels do: of versions that need not agree."""
    pytest.importorskip("h5py")
    done = run_python(
        """\
        import importlib, sys
        importlib.import_module(sys.argv[1])
        import decache, h5py
        import numpy as np

        one, other = np.arange(100_000.0), np.arange(5_000, dtype="<i4")
        with h5py.File("plain.h5", "w") as plain, decache.Store("arrays.h5") as store:
            for turn in range(20):
                name = store.put(one + turn)
                plain.create_dataset(str(turn), data=other + turn, compression="gzip")
                assert (store.get(name) == one + turn).all()
                assert (plain[str(turn)][()] == other + turn).all()
            try:
                h5py.File("nowhere.h5", "r")
            except OSError:
                pass
            try:
                store.get("0" * 64)
            except decache.NotFoundError:
                pass
            assert store.verify("full") == []
            names = list(store)
        with h5py.File("arrays.h5", "r") as container:
            values = sorted(container["blobs"][n[:2]][n][0] for n in names)
        assert values == list(range(20))
        print("works")
        """,
        first,
    )
    assert done.stdout.split() == ["works"], done.stderr


def test_a_repaired_wheel_uses_what_it_brings(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
):
    libs = pathlib.Path(decache.__file__).parents[1] / "decache.libs"
    if not libs.is_dir():
        pytest.skip("decache was not installed from a wheel of scripts/wheel.sh")
    done = run_python(
        """\
        import decache._h5store
        print(*sorted({line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}))
        """
    )
    ours = ("libcrypto", "libdeflate", "libhdf5", "libxxhash")
    loaded = [pathlib.Path(one) for one in done.stdout.split()]
    loaded = [one for one in loaded if one.name.startswith(ours)]
    brought = [one for one in loaded if one.parent == libs]
    assert {one.name.split("-")[0] for one in brought} == {"libcrypto", "libdeflate", "libxxhash"}
    assert not [one for one in loaded if "hdf5" in one.name]
