# SPDX-License-Identifier: MIT
"""Times of use travel with results: what was used last stays longest, wherever it went.

Each way from one container to another is gone with results that were used at times of their own,
and then limits are kept: what goes first must be what would have gone first before.
"""

from __future__ import annotations

import inspect
import os
import time
from pathlib import Path
from typing import Any

import decache
import joblib
import pytest
from _cli import container_of, document, good, hits, make_cache, make_unopenable, make_waste
from decache import _h5store, _shared

Names = tuple[str, str]


def times_of(path: Any) -> dict[Names, tuple[float, float]]:
    """When each result of a container was stored and used."""
    with _h5store.Store(str(path), read_only=True) as raw:
        return {
            (info.collection, info.key): (info.stored, info.used)
            for info in raw.items() if info.key
        }


def given_times(names: list[Names]) -> dict[Names, tuple[float, float]]:
    """Times for results: none was used in the order in which it was stored."""
    start = 1_700_000_000.0
    return {
        name: (start + place, start + 1000.5 + place * 37 % 101)
        for place, name in enumerate(sorted(names))
    }


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache whose results are of 2023."""
    make_cache(tmp_path / "cache")
    _shared._close_all()
    path = container_of(tmp_path / "cache")
    wanted = given_times(list(times_of(path)))
    with _h5store.Store(str(path)) as raw:
        batch = raw.batch()
        for names, times in wanted.items():
            batch.set_times(*names, *times)
        batch.commit()
    assert times_of(path) == wanted and len(set(wanted.values())) == 8
    return tmp_path / "cache"


def exported(cache: Path, tmp_path: Path) -> Path:
    good("export", cache, "-o", tmp_path / "out.h5")
    return tmp_path / "out.h5"


def imported(cache: Path, tmp_path: Path) -> Path:
    good("import", tmp_path / "new", container_of(cache))
    return container_of(tmp_path / "new")


def repaired(cache: Path, tmp_path: Path) -> Path:
    good("repair", cache, "-o", tmp_path / "fresh.h5")
    return tmp_path / "fresh.h5"


def repaired_without_root(cache: Path, tmp_path: Path) -> Path:
    """The page that leads to the times is in front, but not in the first block."""
    path = container_of(cache)
    front = path.read_bytes()[1024:1280]
    make_unopenable(path)
    with open(path, "r+b") as file:
        file.seek(1024)
        file.write(front)
    return repaired(cache, tmp_path)


def compacted(cache: Path, tmp_path: Path) -> Path:
    make_waste(container_of(cache))
    assert document("compact", cache)["rebuilt"] == 1
    return container_of(cache)


@pytest.mark.parametrize(
    "way", [exported, imported, repaired, repaired_without_root, compacted],
    ids=lambda way: way.__name__,
)
def test_limits_go_by_the_times_that_came_along(cache, tmp_path, way):
    before = times_of(container_of(cache))
    path = way(cache, tmp_path)
    assert times_of(path) == before
    good("prune", path, "--items", "3")
    latest = sorted(before, key=lambda names: before[names][1])[-3:]
    assert sorted(times_of(path)) == sorted(latest)


def test_without_the_table_results_count_as_used_now(cache, tmp_path):
    begin = time.time()
    make_unopenable(container_of(cache))
    found = times_of(repaired(cache, tmp_path))
    assert len(found) == 8
    assert all(begin - 1 <= stored <= used <= time.time() for stored, used in found.values())


def test_a_hit_counts_from_then_on(cache):
    """Times that were given are no different from others."""
    before = times_of(container_of(cache))
    begin = time.time()
    assert hits(cache, [("first", 2)]) == 1
    after = times_of(container_of(cache))
    (name,) = [name for name in after if after[name] != before[name]]
    assert name[0] == "_cached/first"
    assert after[name][0] == before[name][0] and begin - 1 <= after[name][1] <= time.time()


# -- from joblib -----------------------------------------------------------------------------------


def outputs_of(location: Path) -> dict[Names, Path]:
    """The files of the results of a cache in folders."""
    root = location / "joblib"
    return {
        (str(path.parent.parent.relative_to(root)), path.parent.name): path
        for path in root.rglob("output.pkl")
    }


def make_old(location: Path) -> Path:
    """A cache of joblib's own, with results of 2023."""
    make_cache(location, backend="local")
    outputs = outputs_of(location)
    for names, (stored, used) in given_times(list(outputs)).items():
        os.utime(outputs[names], (used, stored))
    return location


def test_results_in_folders_keep_the_times_of_their_files(tmp_path):
    """Migrating reads them, which is no use: neither it nor its dry run changes what goes first."""
    old_cache = make_old(tmp_path / "old")
    kept_by_joblib = make_old(tmp_path / "same")
    memory = joblib.Memory(str(kept_by_joblib), verbose=0)
    if "items_limit" not in inspect.signature(memory.reduce_size).parameters:
        pytest.skip("this joblib has no limit on the number of results")
    memory.reduce_size(items_limit=3)
    assert len(outputs_of(kept_by_joblib)) == 3

    good("migrate", old_cache, "--to", tmp_path / "new", "-n")
    good("migrate", old_cache, "--to", tmp_path / "new")
    wanted = given_times(list(outputs_of(old_cache)))
    assert times_of(container_of(tmp_path / "new")) == wanted
    for names, path in outputs_of(old_cache).items():
        assert (path.stat().st_mtime, path.stat().st_atime) == wanted[names]
    good("migrate", old_cache, "--remove")
    assert times_of(container_of(old_cache)) == wanted
    for location in (old_cache, tmp_path / "new"):
        decache.prune(location, items_limit=3)
        left = times_of(container_of(location))
        assert sorted(left) == sorted(outputs_of(kept_by_joblib))


def test_a_result_that_was_never_read_was_used_when_it_was_stored(tmp_path):
    """A file system that keeps no times of access, or one that was copied."""
    old_cache, stored = make_old(tmp_path / "old"), 1_600_000_000.0
    for path in outputs_of(old_cache).values():
        os.utime(path, (stored - 5000, stored))
    good("migrate", old_cache, "--to", tmp_path / "new")
    assert set(times_of(container_of(tmp_path / "new")).values()) == {(stored, stored)}
