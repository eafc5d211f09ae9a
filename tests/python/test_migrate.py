# SPDX-License-Identifier: MIT
"""``decache migrate``: the next run hits, nothing is lost on the way, and the disk is told right.

The old caches are made by joblib itself, in processes of their own, of functions in a module; so
are the calls afterwards, which count what was computed again.
"""

from __future__ import annotations

import inspect
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import _cached
import decache
import joblib
import numpy as np
import pytest
from _children import open_folder
from _cli import (
    CALLS,
    HERE,
    LARGE_BYTES,
    arrays_equal,
    busy,
    container_of,
    disk_bytes,
    document,
    environment,
    good,
    hits,
    holds,
    is_whole,
    make_cache,
    make_unopenable,
    refused,
    run,
    run_as_nobody,
)

#: Older versions of joblib cannot load arrays but in native byte order.
NATIVE_ONLY = "ensure_native_byte_order" not in inspect.signature(joblib.load).parameters
KINDS = [
    ["kinds", name] for name in _cached.KINDS if not (NATIVE_ONLY and name == "big endian")
]
#: decache 0.1 made other types of these, or failed.
CHANGED_BY_OLD = {"named", "ordered", "default", "cyclic", "masked"}


def make_old(location: Path, calls: list, compress: object = False) -> Path:
    """A cache of joblib's default backend."""
    code = (
        "import json, sys, joblib, _cached\n"
        "compress = json.loads(sys.argv[3])\n"
        "compress = tuple(compress) if isinstance(compress, list) else compress\n"
        "memory = joblib.Memory(sys.argv[1], verbose=0, compress=compress)\n"
        "for name, argument in json.loads(sys.argv[2]):\n"
        "    memory.cache(_cached.FUNCTIONS[name])(argument)\n"
    )
    command = [sys.executable, "-c", code]
    return _made(command, location, calls, json.dumps(compress))


def make_old_decache(location: Path, calls: list) -> Path:
    """A cache of decache 0.1."""
    return _made([sys.executable, os.path.join(HERE, "_old_decache.py")], location, calls)


def _made(command: list[str], location: Path, calls: list, *more: str) -> Path:
    done = subprocess.run(
        [*command, str(location), json.dumps(calls), *more],
        env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(outputs(location)) == len(calls) > 0
    return location


MAKERS = {"joblib": make_old, "decache 0.1": make_old_decache}
both = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def outputs(location: Path) -> list[Path]:
    return sorted(location.rglob("output.pkl"))


def snapshot(location: Path) -> dict[str, bytes]:
    """All files below the folders of functions, and their contents."""
    return {
        str(path.relative_to(location)): path.read_bytes()
        for path in location.rglob("*")
        if path.is_file() and not path.name.startswith(("blobs.h5", ".", "CACHEDIR"))
    }


# -- the next run hits -----------------------------------------------------------------------------


@both
def test_in_place(tmp_path, make):
    location = make(tmp_path / "cache", CALLS)
    before = snapshot(location)
    done = document("migrate", location)
    assert (done["converted"], done["present"], done["failed"]) == (8, 0, [])
    assert done["container"] == str(location / "joblib" / "blobs.h5")
    assert snapshot(location) == before  # nothing is removed without being asked for
    assert hits(location, CALLS) == len(CALLS)
    totals = holds(container_of(location))
    assert (totals.items, totals.blobs, totals.blob_bytes) == (8, 4, 4 * LARGE_BYTES)
    assert is_whole(container_of(location))
    assert not list(location.rglob("*.migrating"))


@both
@pytest.mark.parametrize("target", ["other", "other/joblib", "some.h5"])
def test_to_another_place(tmp_path, make, target):
    location = make(tmp_path / "cache", CALLS)
    before = snapshot(location)
    done = document("migrate", location, "--to", tmp_path / target)
    assert done["converted"] == 8 and not list(location.rglob("blobs.h5"))
    assert snapshot(location) == before
    if target == "some.h5":
        assert holds(tmp_path / target).items == 8
        good("import", tmp_path / "other", tmp_path / target)
    assert hits(tmp_path / "other", CALLS) == len(CALLS)


@pytest.mark.parametrize("compress", [True, 9, ["zlib", 3], ["gzip", 3], ["bz2", 3], ["xz", 1]],
                         ids=str)
def test_compressed_pickles(tmp_path, compress):
    location = make_old(tmp_path / "cache", CALLS, compress)
    assert document("migrate", location)["converted"] == 8
    assert hits(location, CALLS) == len(CALLS)


def test_compressing(tmp_path):
    location = make_old(tmp_path / "cache", CALLS, True)
    good("migrate", location, "--to", tmp_path / "plain")
    done = document("migrate", location, "--compress", "6")
    assert done["converted"] == 8
    path = container_of(location)
    assert disk_bytes(path) < disk_bytes(container_of(tmp_path / "plain")) / 2
    assert holds(path).blob_bytes == 4 * LARGE_BYTES and is_whole(path)
    assert hits(location, CALLS) == len(CALLS)


def test_every_kind_of_result(tmp_path):
    location = make_old(tmp_path / "cache", KINDS)
    loaded = {pickle.dumps(joblib.load(path)) for path in outputs(location)}
    assert len(loaded) > 15
    done = document("migrate", location)
    assert (done["converted"], done["failed"]) == (len(KINDS), [])
    assert len(KINDS) > 20
    assert hits(location, KINDS) == len(KINDS)


def test_every_kind_of_result_of_old_decache(tmp_path):
    calls = [call for call in KINDS if call[1] not in CHANGED_BY_OLD]
    assert len(calls) > 12
    location = make_old_decache(tmp_path / "cache", calls)
    assert len(list((location / "joblib" / "blobs").iterdir())) >= 4
    done = document("migrate", location)
    assert (done["converted"], done["failed"]) == (len(calls), [])
    assert hits(location, calls) == len(calls)


@pytest.mark.skipif(NATIVE_ONLY, reason="this joblib loads arrays in native byte order only")
def test_big_endian_stays_as_it_was_stored(tmp_path):
    location = make_old(tmp_path / "cache", [["kinds", "big endian"]])
    good("migrate", location)
    answer = joblib.Memory(str(location), backend="cas", verbose=0).cache(_cached.kinds)(
        "big endian"
    )
    assert answer.dtype == np.dtype(">f8") and arrays_equal(answer, _cached.LARGE.astype(">f8"))


def test_a_memory_that_was_given_a_path(tmp_path):
    """joblib appends "joblib" to a location that is a str, and only then."""
    memory = joblib.Memory(tmp_path / "cache", verbose=0)
    joblib.memory._FUNCTION_HASHES.clear()
    memory.cache(_cached.first)(5)
    assert document("migrate", tmp_path / "cache")["container"] == str(
        tmp_path / "cache" / "blobs.h5"
    )
    joblib.memory._FUNCTION_HASHES.clear()
    later = joblib.Memory(tmp_path / "cache", backend="cas", verbose=0)
    assert later.cache(_cached.first).check_call_in_cache(5)


def test_metadata_go_along(tmp_path):
    location = make_old(tmp_path / "cache", [["first", 3]])
    (path,) = location.rglob("metadata.json")
    noted = json.loads(path.read_text())
    stored = path.with_name("output.pkl").stat().st_mtime  # joblib 1.2 notes no time
    good("migrate", location)
    (result,) = decache.results(location)
    assert result.arguments == {"seed": "3"}
    assert (result.duration, result.computed) == (noted["duration"], noted.get("time", stored))


@pytest.mark.parametrize("text", ["", "{", "[1]", None])
def test_broken_metadata_do_not_keep_a_result_back(tmp_path, text):
    location = make_old(tmp_path / "cache", CALLS)
    for path in location.rglob("metadata.json"):
        path.unlink() if text is None else path.write_text(text)
    assert document("migrate", location)["converted"] == 8
    assert hits(location, CALLS) == len(CALLS)
    assert all(one.computed > 1e9 for one in decache.results(location))


# -- removing, and what it saves -------------------------------------------------------------------


@both
def test_remove(tmp_path, make):
    location = make(tmp_path / "cache", CALLS)
    old = used_by_folders(location)
    done = document("migrate", location, "--remove")
    assert (done["converted"], done["removed"], done["failed"]) == (8, 8, [])
    assert sorted(one.name for one in (location / "joblib").iterdir()) == [
        "CACHEDIR.TAG", "blobs.h5"
    ]
    assert done["old_bytes"] == old and done["left_bytes"] == 0
    assert done["container_bytes"] == disk_bytes(container_of(location))
    assert done["saved_bytes"] == old - done["new_bytes"]
    assert hits(location, CALLS) == len(CALLS)


def used_by_folders(location: Path) -> int:
    root = location / "joblib"
    return sum(
        path.lstat().st_blocks * 512 for path in root.rglob("*") if path.parent != root
        or path.is_dir()
    )


@both
def test_remove_after_a_migration_compares_again(tmp_path, make):
    location = make(tmp_path / "cache", CALLS)
    good("migrate", location)
    done = document("migrate", location, "--remove")
    assert (done["converted"], done["present"], done["removed"]) == (0, 8, 8)
    assert not outputs(location)
    assert hits(location, CALLS) == len(CALLS)


def test_other_files_stay(tmp_path):
    location = make_old(tmp_path / "cache", CALLS)
    note = location / "joblib" / "_cached" / "note.txt"
    note.write_text("mine")
    good("migrate", location, "--remove")
    assert note.read_text() == "mine"
    assert {path.name for path in note.parent.iterdir()} == {"note.txt"}


@both
def test_dry_run(tmp_path, make):
    location = make(tmp_path / "cache", CALLS)
    before = snapshot(location)
    planned = document("migrate", location, "--dry-run")
    assert snapshot(location) == before and not list(location.rglob("blobs.h5*"))
    done = document("migrate", location)
    assert planned["converted"] == done["converted"] == 8
    totals = holds(container_of(location))
    small = sum(one.small_bytes for one in decache.results(location))
    assert planned["new_bytes"] == totals.blob_bytes + small
    again = document("migrate", location, "-n")
    assert (again["converted"], again["present"], again["new_bytes"]) == (0, 8, 0)


def test_what_killed_processes_left_goes(tmp_path):
    location = make_old(tmp_path / "cache", CALLS)
    (function,) = location.rglob("_cached/first")
    for number, age in (("0" * 32, 7200), ("1" * 32, 0)):
        (function / number).mkdir()
        left = function / number / f"output.pkl.{'a' * 32}-1-2"
        left.write_bytes(b"half")
        then = time.time() - age
        os.utime(left, (then, then))
        os.utime(function / number, (then, then))
    done = document("migrate", location, "--remove")
    assert (done["abandoned"], done["removed"]) == (2, 8)
    assert not (function / ("0" * 32)).exists()
    assert (function / ("1" * 32)).exists()  # somebody may be writing it now


# -- being interrupted -----------------------------------------------------------------------------


@both
@pytest.mark.parametrize("options", [[], ["--remove"]], ids=["keep", "remove"])
def test_killed_and_run_again(tmp_path, make, options):
    """Killed at many moments: no result is ever lost, and in the end all are there."""
    calls = [["second", seed] for seed in range(40)]
    original = make(tmp_path / "original", calls)
    kills = 0
    for number in range(6):
        location = tmp_path / f"cache{number}"
        shutil.copytree(original, location)
        process = subprocess.Popen(
            [sys.executable, "-c", _SLOWLY, "migrate", str(location), *options],
            env={**environment(), "KILL_AFTER": str(1 + number * 7)}, stderr=subprocess.PIPE,
        )
        _, err = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, err.decode()
        kills += 1
        there = {one.key for one in decache.results(location)}
        there |= {path.parent.name for path in outputs(location)}
        assert len(there) == len(calls)
        done = document("migrate", location, *options)
        assert done["failed"] == [] and not list(location.rglob("*.migrating"))
        assert done["converted"] + done["present"] <= len(calls)
        assert holds(container_of(location)).items == len(calls)
        assert bool(outputs(location)) == (not options)
        shutil.rmtree(location / "joblib" / "_cached", ignore_errors=True)
        assert is_whole(container_of(location))
        assert hits(location, calls) == len(calls)
    assert kills == 6


#: Small groups, and death after so many results were compared.
_SLOWLY = """\
import os, signal, sys
import decache
from decache import _cli, _migrate

_migrate._GROUP_RESULTS = 4
left = int(os.environ["KILL_AFTER"])
settled = _migrate._Run._settled

def count(self, waiting):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    settled(self, waiting)

_migrate._Run._settled = count
sys.exit(_cli.main(sys.argv[1:]))
"""


def test_a_second_run_does_not_read_what_was_compared(tmp_path):
    calls = [["second", seed] for seed in range(12)]
    location = make_old(tmp_path / "cache", calls)
    process = subprocess.run(
        [sys.executable, "-c", _SLOWLY, "migrate", str(location)],
        env={**environment(), "KILL_AFTER": "9"}, check=False,
    )
    assert process.returncode == -signal.SIGKILL
    (journal,) = location.rglob("*.migrating")
    compared = [line for line in journal.read_text().split("\n") if line]
    assert len(compared) == 8
    for name in compared:  # unreadable now, so reading them again would fail
        (location / "joblib" / name / "output.pkl").write_bytes(b"damaged")
    done = document("migrate", location)
    assert (done["converted"] + done["present"], done["failed"]) == (12, [])
    assert hits(location, calls) == len(calls)


def test_two_at_once(tmp_path):
    location = make_old(tmp_path / "cache", [["second", seed] for seed in range(30)])
    command = [sys.executable, "-m", "decache", "migrate", str(location), "--json"]
    both_runs = [
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) for _ in range(2)
    ]
    results = [json.loads(one.communicate(timeout=120)[0]) for one in both_runs]
    assert [one.returncode for one in both_runs] == [0, 0]
    assert all(one["converted"] + one["present"] == 30 for one in results)
    assert holds(container_of(location)).items == 30 and is_whole(container_of(location))


# -- what cannot be brought over -------------------------------------------------------------------


def test_a_result_that_cannot_be_loaded_stays(tmp_path):
    location = make_old(tmp_path / "cache", CALLS)
    victim = outputs(location)[2]
    victim.write_bytes(victim.read_bytes()[:100])
    done = document("migrate", location, "--remove", status=1)
    assert (done["converted"], done["removed"], len(done["failed"])) == (7, 7, 1)
    assert victim.parent.name in done["failed"][0]["name"]
    assert outputs(location) == [victim]
    assert "left out" in run("migrate", location).out


def test_an_array_of_old_decache_that_is_missing(tmp_path):
    location = make_old_decache(tmp_path / "cache", CALLS)
    shared = joblib.hash(_cached.LARGE)
    (location / "joblib" / "blobs" / shared).unlink()
    done = document("migrate", location, "--remove", status=1)
    assert (done["converted"], len(done["failed"])) == (1, 7)
    assert all(shared in one["reason"] for one in done["failed"])
    assert len(outputs(location)) == 7 and (location / "joblib" / "blobs").is_dir()


def test_a_module_that_cannot_be_imported(tmp_path):
    """The results are named, and stay; --import-path, or the current folder, mends it."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "theirs.py").write_text(
        "class Thing:\n    def __init__(self, x):\n        self.x = x\n\n"
        "def make(x):\n    return Thing(x)\n"
    )
    code = (
        "import sys; sys.path.insert(0, 'code'); import joblib, theirs; "
        "joblib.Memory('cache', verbose=0).cache(theirs.make)(4)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), check=True)
    done = document("migrate", tmp_path / "cache", status=1)
    assert "theirs" in done["failed"][0]["reason"] and done["converted"] == 0
    for options in (["--import-path", tmp_path / "code"], []):
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
        done = document(
            "migrate", tmp_path / "cache", "--to", tmp_path / "other", *options,
            cwd=tmp_path / "code" if not options else None,
        )
        assert done["converted"] == 1


def test_results_of_other_code_are_not_mixed(tmp_path):
    """The container has results of a newer version of a function: older ones would be wrong."""
    location = make_old(tmp_path / "cache", CALLS)
    (source,) = location.rglob("_cached/first/func_code.py")
    source.write_text(source.read_text().replace("LARGE", "SMALL"))
    make_cache(location)
    done = document("migrate", location, "--remove", status=1)
    assert [one["name"] for one in done["failed"]] == ["_cached/first"]
    assert len(outputs(location)) == 4


def test_a_result_that_is_there_already_is_kept(tmp_path):
    location = make_old(tmp_path / "cache", [["first", 0], ["small", "x"]])
    with decache._h5store.Store(str(location / "joblib" / "blobs.h5"), create=True) as raw:
        key = outputs(location)[0].parent.name
        batch = raw.batch()
        batch.set_item("_cached/first", key, b"dcr\x01", "{}", [])
        batch.commit()
    done = document("migrate", location, "--remove", status=1)
    assert (done["converted"], done["removed"]) == (1, 1)
    assert key in done["failed"][0]["name"]
    assert [path.parent.name for path in outputs(location)] == [key]


def test_what_is_loaded_back_is_compared(tmp_path, monkeypatch):
    """A result that changes by being pickled is not brought over."""
    from decache import _migrate, _same

    location = make_old(tmp_path / "cache", [["first", 0], ["small", "x"]])
    real = _same.digest
    seen = []

    def lying(value):
        seen.append(value)
        return real([value, len(seen)]) if isinstance(value, str) else real(value)

    monkeypatch.setattr(_migrate._same, "digest", lying)
    done = decache.migrate(location, remove=True)
    assert (done.converted, done.removed, len(done.failed)) == (1, 1, 1)
    assert "_cached/small" in done.failed[0][0] and "not the same" in done.failed[0][1]
    assert holds(container_of(location)).items == 1 and len(outputs(location)) == 1
    assert len(seen) == 4


def test_nothing_to_migrate(tmp_path):
    assert "no results in folders" in refused("migrate", tmp_path)
    assert "is no folder" in refused("migrate", tmp_path / "nowhere")
    make_cache(tmp_path)
    assert "no results in folders" in refused("migrate", tmp_path)


# -- states of the container -----------------------------------------------------------------------


def test_unopenable_container(tmp_path):
    location = make_old(tmp_path / "cache", CALLS)
    decache.Store(location / "joblib" / "blobs.h5").close()
    path = make_unopenable(location / "joblib" / "blobs.h5")
    content = path.read_bytes()
    for options in (["-n"], [], ["--remove"]):
        assert str(path) in refused("migrate", location, *options)
    assert path.read_bytes() == content and len(outputs(location)) == 8


def test_busy_container(tmp_path):
    location = make_old(tmp_path / "cache", CALLS)
    with busy(location) as writer:
        before = writer.count()
        done = document("migrate", location, "--remove")
        assert (done["converted"], done["failed"]) == (8, [])
        assert writer.count() > before
    assert hits(location, CALLS) == len(CALLS)
    assert is_whole(container_of(location))


def test_read_only_folder():
    with open_folder() as folder:
        make_old(folder / "cache", CALLS)
        done = run_as_nobody("migrate", folder / "cache")
        assert (done.status, done.out) == (2, "")
        assert re.search("blobs.h5", done.err) and done.err.count("\n") == 1
        assert len(outputs(folder / "cache")) == 8


# -- in Python -------------------------------------------------------------------------------------


def test_python_function(tmp_path):
    location = make_old(tmp_path / "cache", CALLS)
    told = []
    done = decache.migrate(
        location, tmp_path / "other", progress=lambda count, total: told.append((count, total))
    )
    assert (done.converted, done.failed) == (8, [])
    assert told == [(count, 8) for count in range(1, 9)]
    assert done.saved_bytes == -done.new_bytes < 0  # the folders are still there
