# SPDX-License-Identifier: MIT
"""``decache rm`` and ``prune``: what a dry run says is what a run does, and what the disk gets."""

from __future__ import annotations

import datetime
import os
import time
from pathlib import Path

import _cached
import decache
import joblib
import pytest
from _children import open_folder
from _cli import (
    LARGE_BYTES,
    RESULTS,
    busy,
    container_of,
    disk_bytes,
    document,
    flip_large,
    good,
    hits,
    holds,
    is_whole,
    make_cache,
    make_empty,
    make_unopenable,
    refused,
    run,
    run_as_nobody,
)
from decache import _arrays, _h5store, _remove, _shared

#: Bytes by which the disk may have more or less for the metadata of a change; an array is more.
SMALL_CHANGE = 64 * 1024
assert SMALL_CHANGE < LARGE_BYTES / 2

#: How to remove; how many results that takes of the cache, and how many of its arrays.
REMOVALS = [
    (["rm", "second"], 3, 3),
    (["rm", "_cached.first", "small"], 5, 0),
    (["rm", "first", "second"], 7, 4),
    (["rm", "*"], 8, 4),
    (["rm", "--all"], 8, 4),
    (["rm", "--match", "seed=1"], 2, 1),
    (["rm", "second", "--match", "seed=1"], 1, 1),
    (["rm", "--match", "seed=[012]", "--match", "scale=2.0"], 3, 3),
    (["rm", "--older-than", "0s"], 8, 4),
    (["prune", "--items", "0"], 8, 4),
    (["prune", "--items", "1"], 7, 4),  # the last one stored is the text
    (["prune", "--bytes", "0"], 8, 4),
    (["prune", "--bytes", str(3 * LARGE_BYTES + 2000)], 5, 1),  # first(0..3) frees nothing
    (["prune", "--age", "0s"], 8, 4),
    (["prune", "--age", "30d"], 0, 0),
    (["prune", "--bytes", "1G", "--items", "8"], 0, 0),
]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that nobody has open."""
    make_cache(tmp_path / "cache")
    _shared._close_all()
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("command", "results", "arrays"), REMOVALS, ids=[" ".join(one[0]) for one in REMOVALS]
)
def test_dry_run_says_what_a_run_does(cache, command, results, arrays):
    path = container_of(cache)
    content, before = path.read_bytes(), holds(path)
    planned = document(command[0], cache, *command[1:], "--dry-run")
    assert path.read_bytes() == content and holds(path) == before
    assert (planned["results"], planned["array_bytes"]) == (results, arrays * LARGE_BYTES)
    assert planned["bytes"] == planned["array_bytes"] + planned["small_bytes"]

    disk = disk_bytes(path)
    done = document(command[0], cache, *command[1:])
    assert done == {**planned, "dry_run": False}
    after = holds(path)
    assert before.items - after.items == results
    assert before.blob_bytes - after.blob_bytes == arrays * LARGE_BYTES
    assert abs(disk - disk_bytes(path) - arrays * LARGE_BYTES) <= SMALL_CHANGE
    assert is_whole(path)


@pytest.mark.parametrize(
    "command", [["rm", "second"], ["rm", "--all"], ["prune", "--items", "2"]], ids=" ".join
)
def test_compressed_arrays_count_as_the_disk_has_them(tmp_path, command):
    """Many and large enough that what the disk gets is more than metadata."""
    memory = joblib.Memory(str(tmp_path), backend="cas", verbose=0, compress=1)
    joblib.memory._FUNCTION_HASHES.clear()
    for seed in range(12):
        memory.cache(_cached.second)(seed, 1e5)
    _shared._close_all()
    path = container_of(tmp_path)
    assert holds(path).blobs == 13 and disk_bytes(path) < 12 * LARGE_BYTES
    planned = document(command[0], tmp_path, *command[1:], "-n")
    assert 0 < planned["array_bytes"] < planned["results"] * LARGE_BYTES * 0.9
    disk = disk_bytes(path)
    assert document(command[0], tmp_path, *command[1:]) == {**planned, "dry_run": False}
    assert abs(disk - disk_bytes(path) - planned["array_bytes"]) <= SMALL_CHANGE
    assert planned["array_bytes"] > 2 * SMALL_CHANGE


def test_what_is_left_is_right_and_what_went_is_computed_again(cache):
    good("rm", cache, "--match", "seed=1")
    calls = [("first", seed) for seed in range(4)] + [("second", seed) for seed in range(3)]
    assert hits(cache, calls) == 5
    assert hits(cache, calls) == 7


def test_removing_a_function_removes_its_source(cache):
    with _h5store.Store(str(container_of(cache)), read_only=True) as raw:
        assert "def first" in raw.get_source("_cached/first")
    good("rm", cache, "first")
    with _h5store.Store(str(container_of(cache)), read_only=True) as raw:
        with pytest.raises(decache.NotFoundError):
            raw.get_source("_cached/first")
        assert "def second" in raw.get_source("_cached/second")


def test_results_by_id(cache):
    rows = document("ls", "-r", cache, "second")["results"]
    named = [f"second/{row['key'][:8]}" for row in rows[:2]]
    options = [word for name in named for word in ("--result", name)]
    planned = document("rm", cache, *options, "-n")
    assert (planned["results"], planned["array_bytes"]) == (2, 2 * LARGE_BYTES)
    assert document("rm", cache, *options) == {**planned, "dry_run": False}
    done = run("rm", cache, *options)
    assert (done.status, done.out) == (1, "") and "nothing is removed: there is no" in done.err
    assert len(document("ls", "-r", cache)["results"]) == 6


def test_the_same_result_named_twice_counts_once(cache):
    (row,) = document("ls", "-r", cache, "small")["results"]
    options = ["--result", row["key"], "--result", f"small/{row['key']}"]
    assert document("rm", cache, *options, "-n")["results"] == 1


def test_older_than_goes_by_last_use(tmp_path):
    memory = make_cache(tmp_path)
    time.sleep(1.5)
    between = time.time()
    time.sleep(1.5)
    for seed in (0, 2):
        memory.cache(_cached.first)(seed)
    _shared._close_all()
    age = datetime.timedelta(seconds=time.time() - between)
    assert decache.remove(tmp_path, "first", older_than=age).results == 2
    rows = document("ls", "-r", tmp_path, "first")["results"]
    assert {row["arguments"]["seed"] for row in rows} == {"0", "2"}


def test_prune_removes_the_least_recently_used_first(tmp_path):
    memory = make_cache(tmp_path)
    time.sleep(1.1)
    for seed in (1, 3):
        memory.cache(_cached.first)(seed)
    memory.cache(_cached.second)(1)
    _shared._close_all()
    good("prune", tmp_path, "--items", "3")
    rows = document("ls", "-r", tmp_path)["results"]
    assert {(row["function"], row["arguments"].get("seed")) for row in rows} == {
        ("_cached/first", "1"), ("_cached/first", "3"), ("_cached/second", "1")
    }


def test_nothing_without_a_choice(cache):
    assert "--all removes everything" in refused("rm", cache)
    assert "not both" in refused("rm", cache, "first", "--all")
    assert "not both" in refused("rm", cache, "first", "--result", "0")
    assert "give a limit" in refused("prune", cache)
    assert "no size" in refused("prune", cache, "--bytes", "much")
    assert "no age" in refused("rm", cache, "--older-than", "long")
    assert holds(container_of(cache)).items == 8


def test_a_name_that_is_the_end_of_several_is_refused(tmp_path):
    path = tmp_path / "two.h5"
    with _h5store.Store(str(path), create=True) as raw:
        batch = raw.batch()
        for function in ("a/train", "b/train", "b/train/inner"):
            batch.set_item(function, "0" * 32, b"x", "{}", [])
        batch.commit()
    message = refused("rm", path, "train")
    assert "a/train" in message and "b/train" in message
    # As func.clear() does, also what is below.
    assert document("rm", path, "*.train", "-n")["by_function"] == {
        "a/train": 1, "b/train": 1, "b/train/inner": 1
    }
    assert document("rm", path, "b/train", "-n")["results"] == 2
    assert document("rm", path, "b.train")["results"] == 2
    assert holds(path).items == 1


def test_no_match_is_status_1(cache):
    for command in (["nowhere"], ["--match", "seed=9"], ["first", "--older-than", "1h"]):
        assert run("rm", cache, *command).status == 1
        assert run("rm", cache, *command, "--dry-run").status == 1


def test_many_results_in_several_commits(tmp_path):
    """More than go into one commit, all with the same array: it goes with the last one."""
    path = tmp_path / "many.h5"
    count = _remove._CHUNK + 500
    with _h5store.Store(str(path), create=True) as raw:
        batch = raw.batch()
        link = _arrays.put(batch, _cached.LARGE)
        for number in range(count):
            batch.set_item("m/f", f"{number:032x}", b"x", "{}", [link])
        batch.commit()
    planned = document("rm", path, "m/f", "-n")
    assert (planned["results"], planned["array_bytes"]) == (count, LARGE_BYTES)
    assert document("rm", path, "m/f")["array_bytes"] == LARGE_BYTES
    assert holds(path).items == 0 and is_whole(path)


# -- states of the container -----------------------------------------------------------------------


COMMANDS = (["rm", "--all"], ["prune", "--items", "2"])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_empty(tmp_path, command):
    path = make_empty(tmp_path / "empty.h5")
    for options in (["-n"], []):
        done = document(command[0], path, *command[1:], *options)
        assert (done["results"], done["bytes"]) == (0, 0)
        assert "0 results" in good(command[0], path, *command[1:], *options)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_damaged_array(cache, command):
    path = container_of(cache)
    flip_large(path)
    planned = document(command[0], cache, *command[1:], "-n")
    assert planned["array_bytes"] >= 2 * LARGE_BYTES
    assert document(command[0], cache, *command[1:]) == {**planned, "dry_run": False}
    assert holds(path).items == 8 - planned["results"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_unopenable(cache, command):
    path = make_unopenable(container_of(cache))
    content = path.read_bytes()
    for options in (["-n"], []):
        assert str(path) in refused(command[0], cache, *command[1:], *options)
    assert path.read_bytes() == content


@pytest.mark.parametrize("command", [["rm", "first", "second"], ["prune", "--items", "2"]],
                         ids=" ".join)
def test_busy(cache, command):
    path = container_of(cache)
    with busy(cache) as writer:
        before = writer.count()
        planned = document(command[0], cache, *command[1:], "-n")
        done = document(command[0], cache, *command[1:])
        assert planned["results"] >= 6 and done["results"] >= 6
        writer.wait_for(20)
        assert writer.count() > before
    assert is_whole(path)
    left = {row["name"] for row in document("ls", cache)["functions"]}
    assert not left & {"_cached/first", "_cached/second"}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_read_only(command):
    with open_folder() as folder:
        make_cache(folder)
        _shared._close_all()
        path = container_of(folder)
        os.chmod(path, 0o444)
        content = path.read_bytes()
        planned = run_as_nobody(command[0], folder, *command[1:], "-n")
        assert planned.status == 0 and "would remove" in planned.out and planned.err == ""
        done = run_as_nobody(command[0], folder, *command[1:])
        assert (done.status, done.out) == (2, "") and str(path) in done.err
        assert path.read_bytes() == content


# -- in Python -------------------------------------------------------------------------------------


def test_python_functions(cache):
    planned = decache.remove(cache, "second", dry_run=True)
    assert (planned.results, planned.array_bytes) == (3, 3 * LARGE_BYTES)
    assert decache.remove(cache, "second") == planned
    assert decache.remove(cache, arguments=["seed=1"]).results == 1
    assert decache.remove(cache, older_than=datetime.timedelta(hours=1)).results == 0
    (row,) = decache.results(cache, "small")
    assert decache.remove(cache, results=[row.key]).by_function == {"_cached/small": 1}
    with pytest.raises(KeyError):
        decache.remove(cache, results=[row.key])
    with pytest.raises(ValueError, match="nothing says"):
        decache.remove(cache)
    assert decache.prune(cache, items_limit=1).results == RESULTS["_cached/first"] - 2
    assert decache.remove(cache, everything=True).results == 1
    assert holds(container_of(cache)).items == 0
