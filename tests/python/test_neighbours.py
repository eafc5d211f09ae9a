# SPDX-License-Identifier: MIT
"""Other users of HDF5, and of files, in one process with decache: none notices the other.

Each neighbour is imported before and after decache, and uses its own files in threads while
threads of ours store results (_neighbour.py). A neighbour from pip has a libhdf5 of its own; the
h5py of the distribution has the one that this decache was built with, and shares all of its state.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import decache
import pytest
from _neighbour import address_of_hdf5

HERE = Path(__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"
NEIGHBOURS = ("h5py", "tables", "netCDF4", "pyarrow.parquet")


def run(
    python: str, *args: str, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    package = os.path.dirname(os.path.dirname(os.path.abspath(decache.__file__)))
    environment = {**os.environ, "PYTHONPATH": package, **variables}
    return subprocess.run(
        [python, *args], capture_output=True, text=True, timeout=300, env=environment, cwd=cwd
    )


@functools.cache
def why_not(python: str, name: str) -> str:
    """Say why a neighbour cannot be tried with an interpreter; nothing if it can."""
    if not os.path.exists(python):
        return f"there is no {python}"
    probe = run(python, "-c", f"import decache, {name}")
    if probe.returncode != 0:
        return f"{python} has no {name} beside decache: {probe.stderr.splitlines()[-1]}"
    return ""


def need(python: str, name: str) -> None:
    reason = why_not(python, name)
    if reason:
        pytest.skip(reason)


def live_together(python: str, name: str, order: str, folder: Path) -> tuple[list[Any], str]:
    """Run the program; what it printed, and what came on stderr, without names of the folder."""
    folder.mkdir()
    done = run(python, str(HERE / "_neighbour.py"), name, order, str(folder))
    assert done.returncode == 0, done.stderr
    errors = re.sub(re.escape(str(folder)), "", done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()], errors


def check(python: str, name: str, order: str, folder: Path) -> dict[str, Any]:
    """Compare a program with decache with one without."""
    (alone,), its_errors = live_together(python, name, "without", folder / "alone")
    (facts, ours), errors = live_together(python, name, order, folder / "both")
    assert facts == alone  # error printing, error texts, filters, drivers
    assert facts["before"] == facts["after"]
    assert errors == its_errors  # what HDF5 prints, and what is complained of at the end

    container = folder / "both/cache/joblib/blobs.h5"
    assert decache.verify(container, full=True).errors == []
    with decache.Store(container) as store:  # of both phases, by two threads, and one before
        assert store.stat().items >= 4 * 40 + 1
    return ours


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_neighbour_is_undisturbed(name: str, order: str, tmp_path: Path) -> None:
    need(sys.executable, name)
    ours = check(sys.executable, name, order, tmp_path)
    assert ours["seen"] > 0 or name not in ("h5py", "tables"), "the container was never opened"
    assert ours["locked"] == (ours["shared"] and name == "h5py")


@pytest.mark.parametrize("order", ["before", "after"])
def test_neighbour_that_shares_our_hdf5_is_undisturbed(order: str, tmp_path: Path) -> None:
    need(SYSTEM_PYTHON, "h5py")
    ours = check(SYSTEM_PYTHON, "h5py", order, tmp_path)
    if not ours["shared"]:
        pytest.skip(f"the h5py of {SYSTEM_PYTHON} has another libhdf5")
    assert ours["seen"] > 0
    assert ours["locked"]  # would be, if this HDF5 were not thread-safe


VISIT = """
import faulthandler, sys, threading
faulthandler.dump_traceback_later(100, exit=True)  # of a deadlock
import decache, h5py, numpy as np

stop, stored = threading.Event(), []

def store_more():
    with decache.Store(sys.argv[1] + "/b.h5") as store:
        while not stop.is_set():
            stored.append(store.put(np.full(3000, len(stored))))

with h5py.File(sys.argv[1] + "/visited.h5", "w") as file:
    for i in range(30):
        file.create_group(f"g{i}")
    other = threading.Thread(target=store_more)
    other.start()
    names = set()
    with decache.Store(sys.argv[1] + "/a.h5") as store:
        for k in range(5):
            file.visititems(lambda name, _: names.add(store.put(np.full(3000, 0.5 + len(names)))))
    stop.set()
    other.join()
print(len(names), len(stored) > 0)
"""


@pytest.mark.parametrize("python", [sys.executable, SYSTEM_PYTHON])
def test_callback_of_h5py_may_use_a_cache(python: str, tmp_path: Path) -> None:
    """While another thread does: h5py has its lock then, and HDF5's."""
    need(python, "h5py")
    done = run(python, "-c", VISIT, str(tmp_path))
    assert (done.stdout, done.stderr) == ("150 True\n", "")


LOCKED = """
import sys
import decache, numpy as np
from decache import _h5store

class Lock:
    depth = taken = 0
    def acquire(self):
        self.depth += 1
        self.taken += 1
    def release(self):
        self.depth -= 1

lock = Lock()
_h5store.lock_with(lambda: lock)
depths = []

def taken_by(action):
    before = lock.taken
    action()
    assert lock.depth == 0
    return lock.taken - before

stores = []
assert taken_by(lambda: stores.append(_h5store.Store(sys.argv[1] + "/c.h5", create=True))) == 1
raw = stores.pop()
assert taken_by(lambda: [raw.put(np.arange(3000.0) + i, "'<f8'") for i in range(5)]) == 5
assert taken_by(lambda: raw.verify(check="full", progress=lambda *_: depths.append(lock.depth)))
assert depths and set(depths) == {1}
assert taken_by(lambda: list(raw.blobs())) >= 5
assert taken_by(raw.close) == 1

def fails():
    raise RuntimeError("no lock today")

said = []
sys.unraisablehook = lambda hook: said.append(str(hook.exc_value))
_h5store.lock_with(fails)
with decache.Store(sys.argv[1] + "/c.h5") as store:
    assert len(store) == 5
assert said and set(said) == {"no lock today"}
"""


def test_library_is_called_under_the_lock_that_was_found(
    run_python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    assert run_python(LOCKED, str(tmp_path)).stderr == ""


def test_other_hdf5_at_run_time_is_refused(tmp_path: Path) -> None:
    """A driver made for one minor version does not fit another, which would end the program."""
    h5py = pytest.importorskip("h5py")
    if address_of_hdf5("decache._h5store") is None:
        pytest.skip("our HDF5 is part of the module: no other can take its place")
    ours = decache._h5store.hdf5_version
    theirs = h5py.version.hdf5_version
    if ours.split(".")[:2] == theirs.split(".")[:2]:
        pytest.skip(f"h5py has HDF5 {theirs}, and we have {ours}")
    maps = Path("/proc/self/maps").read_text().splitlines()
    libraries = {line.split()[-1] for line in maps if re.search(r"/h5py\.libs/libhdf5-", line)}
    if not libraries:
        pytest.skip("this h5py has no libhdf5 of its own")
    code = "import decache; decache.Store('c.h5')"
    done = run(sys.executable, "-c", code, cwd=tmp_path, LD_PRELOAD=libraries.pop())
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"decache.UnsupportedError: h5store was built with HDF5 {'.'.join(ours.split('.')[:2])} "
        f"and finds HDF5 {theirs} at run time"
    )
