# SPDX-License-Identifier: MIT
"""``decache verify``, ``repair`` and ``compact``: damage is found, named and left behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import _cached
import decache
import joblib
import numpy as np
import pytest
from _children import open_folder
from _cli import (
    ARRAYS,
    CALLS,
    LARGE_BYTES,
    busy,
    container_of,
    disk_bytes,
    document,
    environment,
    flip_large,
    good,
    hits,
    holds,
    is_whole,
    make_cache,
    make_empty,
    make_unopenable,
    make_waste,
    on_terminal,
    refused,
    run,
    run_as_nobody,
)
from decache import _check, _h5store, _shared


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that nobody has open."""
    make_cache(tmp_path / "cache")
    _shared._close_all()
    return tmp_path / "cache"


#: The calls that have LARGE.
WITH_LARGE = {("_cached/first", seed) for seed in "0123"} | {
    ("_cached/second", seed) for seed in "012"
}


def calls_of(location: Path, rows: list[dict[str, str]]) -> set[tuple[str, str]]:
    """Function and seed of results given as function and key."""
    known = {(one.function, one.key): one.arguments for one in decache.results(location)}
    return {
        (row["function"], known[row["function"], row["key"]].get("seed", "")) for row in rows
    }


# -- verify ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--full"], ["--full", "--subset", "50%"]], ids=" ".join)
def test_verify_a_whole_cache(cache, options):
    found = document("verify", cache, *options)
    assert (found["errors"], found["findings"], found["affected"]) == (0, [], [])
    assert found["check"] == ("full" if options else "fast")
    assert good("verify", cache, *options) == "no errors\n"


def test_verify_names_the_calls_affected(cache):
    blob = flip_large(container_of(cache))
    for options in ([], ["--full"]):
        found = document("verify", cache, *options, status=1)
        assert found["errors"] == len(found["findings"]) >= 1
        numbers = [one["number"] for one in found["findings"]]
        assert numbers == list(range(1, len(numbers) + 1))
        clauses = {one["clause"] for one in found["findings"]}
        assert clauses <= {4, 5} and (5 in clauses) >= bool(options)
        assert all(blob in one["object"] and one["severity"] == "error"
                   and one["clause_name"] == _check.CLAUSES[one["clause"]]
                   for one in found["findings"])
        assert calls_of(cache, found["affected"]) == WITH_LARGE
    done = run("verify", cache)
    assert done.status == 1 and done.err == ""
    assert blob in done.out.replace("\n", "") and "_cached/second" in done.out
    assert all(len(line) <= 80 or blob in line for line in done.out.splitlines())


def test_verify_reads_only_a_subset(cache):
    flip_large(container_of(cache))
    assert document("verify", cache, "--subset", "0")["errors"] == 0
    statuses = [run("verify", cache, "--subset", "0.5").status for _ in range(24)]
    assert set(statuses) == {0, 1}  # both, but for one in eight million


def damage_small(path: Path) -> None:
    """Damage the pickle of the text, wherever pages hold it."""
    data = bytearray(path.read_bytes())
    place = data.find(b"xxx")
    while place >= 0:
        data[place - 30 : place + 3] = bytes(33)
        place = data.find(b"xxx")
    path.write_bytes(data)


def test_verify_names_a_damaged_result(cache):
    """A result whose pickle is gone is an error of its own."""
    key = next(one.key for one in decache.results(cache, "small"))
    damage_small(container_of(cache))
    done = run("verify", cache, "--json")
    assert done.status == 1, done
    assert key in done.out


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("/items/m/f/#ab/abc", ("m/f", "abc")), ("/items/m/#+/k", ("m", "k")),
        ("/items/m/%2E/%23x/#12/12", ("m/./#x", "12")), ("/items/m/f/#%2/%25a", ("m/f", "%a")),
        ("/items/m/f", None), ("/blobs/ab/" + "ab" * 32, None), ("/", None),
    ],
)
def test_paths_of_findings_become_calls(path, call):
    assert _check.call_of(path) == call


# -- repair ----------------------------------------------------------------------------------------


def test_repair_of_a_whole_cache_loses_nothing(cache):
    content = container_of(cache).read_bytes()
    done = document("repair", cache)
    assert (done["items"], done["blobs"], done["lost_items"], done["lost_blobs"]) == (8, 4, 0, 0)
    assert done["findings"] == [] and done["set_aside"] is None
    assert container_of(cache).read_bytes() == content
    repaired = Path(done["repaired"])
    assert repaired == Path(f"{container_of(cache)}.repaired") and is_whole(repaired)
    assert "is there already" in refused("repair", cache)
    os.replace(repaired, container_of(cache))
    assert hits(cache, CALLS) == len(CALLS)


def test_repair_in_place(cache):
    path = container_of(cache)
    blob = flip_large(path)
    damaged = path.read_bytes()
    done = document("repair", cache, "--in-place", status=1)
    assert (done["items"], done["blobs"]) == (1, 3)  # arrays that are whole stay, for whom may
    assert (done["lost_items"], done["lost_blobs"]) == (7, 1)
    assert done["repaired"] == str(path)
    aside = Path(done["set_aside"])
    assert aside.name.startswith("blobs.h5.damaged-") and aside.read_bytes() == damaged
    assert any(blob in text for text in done["findings"])
    assert is_whole(path) and holds(path).items == 1
    assert sorted(one.name for one in path.parent.iterdir()) == sorted(
        ["CACHEDIR.TAG", "blobs.h5", aside.name]
    )
    assert hits(cache, CALLS) == 1
    assert hits(cache, CALLS) == len(CALLS)


def test_repair_without_a_root(cache):
    """HDF5 cannot open it; all that matters is found nevertheless."""
    path = make_unopenable(container_of(cache))
    assert run("verify", cache).status == 1
    done = document("repair", cache, "--in-place")
    assert (done["items"], done["lost_items"]) == (8, 0)
    assert is_whole(path)
    assert hits(cache, CALLS) == len(CALLS)


def test_repair_dry_run_writes_nothing(cache):
    path = container_of(cache)
    flip_large(path)
    before = {one.name: one.read_bytes() for one in path.parent.iterdir()}
    planned = document("repair", cache, "--in-place", "-n", status=1)
    assert {one.name: one.read_bytes() for one in path.parent.iterdir()} == before
    done = document("repair", cache, "--in-place", status=1)
    names = ("items", "blobs", "lost_items", "lost_blobs", "findings")
    assert [planned[name] for name in names] == [done[name] for name in names]
    assert planned["repaired"] is None and planned["set_aside"] is None


def test_repair_says_what_is_lost_by_name(cache):
    flip_large(container_of(cache))
    keys = {one.key for one in decache.results(cache, "first", "second")}
    done = run("repair", cache, "-o", cache / "fresh.h5")
    assert done.status == 1
    assert all(key in done.out.replace("\n  ", "") for key in keys) and len(keys) == 7
    assert "lost: 7 results, 1 array" in done.out and "saved: 1 result" in done.out
    assert is_whole(cache / "fresh.h5")


def test_arrays_whose_results_are_lost_are_kept_until_told_otherwise(cache):
    path = container_of(cache)
    with decache.Store(path) as store:
        own = store.put(np.arange(5000.0))
    flip_large(path)  # second(0..2) have an array each besides
    planned = run("repair", cache, "--in-place", "-n")
    assert "3 arrays of these, which no saved result has, would be kept" in planned.out
    done = run("repair", cache, "--in-place")
    assert (done.status, done.err) == (1, "")
    text = " ".join(done.out.split())
    assert "saved: 1 result, 4 arrays" in text
    assert "3 arrays of these, which no saved result has, are kept" in text
    assert "'decache rm --kept' removes them" in text
    assert holds(path).blobs == 4

    with decache.Store(path) as store:
        store.discard(own)  # it was not one of them
    memory = joblib.Memory(str(cache), backend="cas", verbose=0,
                           backend_options={"large_array_threshold": 1000})
    memory.cache(_cached.second)(1)  # one has a result again, and LARGE is back
    _shared._close_all()
    assert (holds(path).items, holds(path).blobs) == (2, 4)
    planned = document("rm", cache, "--kept", "-n")
    assert (planned["results"], planned["kept_arrays"]) == (0, 2)
    assert planned["array_bytes"] == planned["bytes"] == 2 * LARGE_BYTES
    disk = disk_bytes(path)
    assert document("rm", cache, "--kept") == {**planned, "dry_run": False}
    assert (holds(path).items, holds(path).blobs) == (2, 2)
    assert abs(disk - disk_bytes(path) - 2 * LARGE_BYTES) < 65536 < LARGE_BYTES
    done = run("rm", cache, "--kept")
    assert (done.status, done.err) == (1, "")
    assert done.out == "removed 0 arrays that no result has: 0 B\n"
    assert is_whole(path)
    for wrong in (["--all"], ["first"], ["--result", "ab"]):
        assert "not both" in refused("rm", cache, "--kept", *wrong)


def test_repair_names_the_arrays_that_it_kept(cache):
    flip_large(container_of(cache))
    done = document("repair", cache, "-o", cache / "fresh.h5", status=1)
    with decache.Store(cache / "fresh.h5") as store:
        assert sorted(done["kept"]) == sorted(store) and len(done["kept"]) == 3
    assert decache.remove(cache / "fresh.h5", kept=True, dry_run=True).kept_arrays == 3
    assert decache.remove(cache / "fresh.h5", kept=True).array_bytes == 3 * LARGE_BYTES
    assert holds(cache / "fresh.h5").blobs == 0
    with pytest.raises(ValueError):
        decache.remove(cache / "fresh.h5", kept=True, everything=True)


def test_repair_of_something_else_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("some text\n" * 3000)
    assert "text.h5" in refused("repair", tmp_path / "text.h5")
    assert [one.name for one in tmp_path.iterdir()] == ["text.h5"]
    assert "does not exist" in refused("repair", tmp_path / "none.h5")


def test_repair_in_place_does_not_hide_what_others_made_meanwhile(cache, monkeypatch):
    """Somebody makes a fresh container in the moment between: it is set aside, not lost."""
    path = container_of(cache)
    real, made = _check._aside.set_aside, []

    def set_aside(*arguments):
        moved = real(*arguments)
        if not made:
            make_cache(cache)
            _shared._close_all()
            made.append(path.read_bytes())
        return moved

    monkeypatch.setattr(_check._aside, "set_aside", set_aside)
    done = decache.repair(cache, in_place=True)
    assert done.salvage.items == 8 and made
    aside = [one for one in path.parent.iterdir() if ".damaged-" in one.name]
    assert len(aside) == 2 and made[0] in [one.read_bytes() for one in aside]
    assert is_whole(path)


# -- compact ---------------------------------------------------------------------------------------


def fragmented(location: Path) -> Path:
    """A container of which nine tenths were removed."""
    joblib.memory._FUNCTION_HASHES.clear()
    memory = joblib.Memory(str(location), backend="cas", verbose=0,
                           backend_options={"large_array_threshold": 1000})
    cached = memory.cache(_cached.second)
    for seed in range(50):
        cached(seed)
    for seed in range(45):
        cached.call_and_shelve(seed).clear()
    _shared._close_all()
    return container_of(location)


def test_compact_makes_the_file_small(tmp_path):
    path = fragmented(tmp_path / "cache")
    content = 6 * LARGE_BYTES
    before = os.stat(path).st_size
    done = document("compact", tmp_path / "cache")
    assert done["before_bytes"] >= before - 65536
    assert os.stat(path).st_size <= content + 512 * 1024
    assert disk_bytes(path) <= content + 512 * 1024
    shutil.copy(path, tmp_path / "copy.h5")
    assert disk_bytes(tmp_path / "copy.h5") <= content + 512 * 1024
    assert is_whole(path) and holds(path).items == 5
    calls = [("second", seed) for seed in range(45, 50)]
    assert hits(tmp_path / "cache", calls) == 5
    text = good("compact", tmp_path / "cache")
    assert "before" in text and "after" in text


def test_compact_while_an_array_is_mapped(tmp_path):
    """The mapped array keeps its bytes, wherever they lie now."""
    path = fragmented(tmp_path / "cache")
    memory = joblib.Memory(str(tmp_path / "cache"), backend="cas", verbose=0, mmap_mode="r",
                           backend_options={"large_array_threshold": 1000})
    mapped = memory.cache(_cached.second)(49)
    assert isinstance(mapped[1], np.memmap)
    good("compact", tmp_path / "cache")
    assert np.array_equal(mapped[0], _cached.LARGE)
    assert np.array_equal(mapped[1], _cached.LARGE * 2.0 + 49)
    del mapped
    _shared._close_all()
    assert is_whole(path)


def test_compact_leaves_metadata_that_cannot_be_read(cache):
    """And says why, which is not that others have the container open."""
    make_waste(container_of(cache))
    damage_small(container_of(cache))
    found = document("compact", cache)
    assert not found["rebuilt"] and found["left"]
    done = run("compact", cache)
    assert done.status == 0, done
    assert "not all of the metadata" in done.err and "others" not in done.err


# -- progress --------------------------------------------------------------------------------------

_PATIENT = """\
import sys
{tqdm}
from decache import _cli, _cli_output
_cli_output.PATIENCE = {patience}
sys.exit(_cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("bar", ["own", "tqdm"])
@pytest.mark.parametrize(
    ("command", "what"),
    [(["verify"], "Checking"), (["repair", "--in-place"], "Saving"), (["compact"], "Compacting")],
    ids=["verify", "repair", "compact"],
)
def test_progress_on_a_terminal(cache, command, what, bar):
    if bar == "tqdm":
        pytest.importorskip("tqdm")
    tqdm = "sys.modules['tqdm'] = None" if bar == "own" else ""
    code = _PATIENT.format(tqdm=tqdm, patience=0)
    shown = on_terminal(command[0], cache, *command[1:], code=code, NO_COLOR="1")
    assert re.search(rf"\r(\x1b\[K)?{what}:? +\d", shown), shown
    last = shown.split(what)[-1]  # the answer comes when it is gone
    assert re.search(r"no errors|saved: 8 results|before, ", last), shown
    assert what not in on_terminal(command[0], cache, *command[1:], "-q", code=code)
    patient = _PATIENT.format(tqdm=tqdm, patience=60)
    assert what not in on_terminal(command[0], cache, *command[1:], code=patient)
    done = subprocess.run(
        [sys.executable, "-c", code, command[0], str(cache), *command[1:]], env=environment(),
        capture_output=True, text=True, check=True,
    )
    assert done.stderr == "" and what not in done.stdout


class Enough(Exception):
    """Raised by a callback."""


def test_what_progress_tells_in_python(cache):
    told: list[tuple[int, int]] = []

    def note(done, total):
        told.append((done, total))

    def stop(done, total):
        note(done, total)
        raise Enough

    path = container_of(cache)
    assert decache.verify(cache, progress=note).findings == []
    assert len(told) == ARRAYS and told[-1] == (ARRAYS * LARGE_BYTES,) * 2
    assert told == sorted(told)
    for act in (
        lambda: decache.verify(cache, progress=stop),
        lambda: decache.repair(cache, progress=stop),
        lambda: decache.repair(cache, in_place=True, progress=stop),
        lambda: decache.compact(cache, progress=stop),
    ):
        told.clear()
        with pytest.raises(Enough):
            act()
        assert len(told) == 1 and 0 < told[0][0] <= told[0][1]
        assert not list(path.parent.glob("*repair*"))
    assert is_whole(path) and holds(path).items == 8
    told.clear()
    assert decache.repair(cache, in_place=True, progress=note).salvage.items == 8
    assert len(told) >= ARRAYS and told == sorted(told)
    assert all(done <= total for done, total in told)


def test_control_c_ends_a_check(cache):
    """The signal comes in the middle of the library's call."""
    code = (
        "import os, signal, sys\nfrom decache import _cli, _cli_output\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # it may be ignored
        "signal.setitimer(signal.ITIMER_REAL, 60)\n"
        "_cli_output.Screen.progress = lambda *args, **options: Killing()\n"
        "class Killing:\n"
        "    def __enter__(self): return lambda *done: os.kill(os.getpid(), signal.SIGINT)\n"
        "    def __exit__(self, *error): pass\n"
        "sys.exit(_cli.main(sys.argv[1:]))"
    )
    before = sorted(container_of(cache).parent.iterdir())
    for command in ("verify", "repair", "compact"):
        done = subprocess.run(
            [sys.executable, "-c", code, command, str(cache)], env=environment(),
            capture_output=True, text=True, check=False,
        )
        assert (done.returncode, done.stdout) == (130, ""), done
        assert done.stderr == "decache: interrupted\n"
        assert sorted(container_of(cache).parent.iterdir()) == before
    assert is_whole(container_of(cache))


# -- states of the container -----------------------------------------------------------------------


def test_empty(tmp_path):
    path = make_empty(tmp_path / "empty.h5")
    assert document("verify", path)["findings"] == []
    done = document("repair", path)
    assert (done["items"], done["blobs"], done["lost_items"]) == (0, 0, 0)
    assert document("compact", path)["moved_bytes"] == 0
    assert is_whole(path)


def test_damaged_array(cache):
    """Compacting leaves the damage where it is, and the rest right."""
    path = container_of(cache)
    flip_large(path)
    assert run("compact", cache).status == 0
    assert document("verify", cache, status=1)["errors"] >= 1
    assert holds(path).items == 8
    assert hits(cache, [("small", "x")]) == 1


def test_unopenable(cache):
    path = make_unopenable(container_of(cache))
    content = path.read_bytes()
    found = document("verify", cache, status=1)
    assert found["errors"] == 1 and found["findings"][0]["clause"] == 1
    assert str(path) in refused("compact", cache)
    assert path.read_bytes() == content


def test_busy(cache):
    path = container_of(cache)
    with busy(cache) as writer:
        before = writer.count()
        assert document("verify", cache, "--full")["errors"] == 0
        good("compact", cache)
        done = document("repair", cache, "-o", cache / "fresh.h5")
        assert done["items"] >= 8 and done["lost_items"] == 0
        assert writer.count() > before
    assert is_whole(path) and is_whole(cache / "fresh.h5")
    assert hits(cache, CALLS) == len(CALLS)


def test_busy_repair_in_place(cache):
    """The program that uses the cache goes over to the fresh container by itself."""
    path = container_of(cache)
    with busy(cache) as writer:
        done = document("repair", cache, "--in-place")
        assert done["lost_items"] == 0
        writer.wait_for(30)
    names = {row["name"] for row in document("ls", cache)["functions"]}
    assert "_cached/first" in names and len(names) == 4  # the writer's results are there, too
    assert is_whole(path)
    assert hits(cache, CALLS) == len(CALLS)


def test_read_only():
    with open_folder() as folder:
        make_cache(folder / "cache")
        _shared._close_all()
        path = container_of(folder / "cache")
        os.chmod(path, 0o444)
        content = path.read_bytes()
        done = run_as_nobody("verify", path, "--full")
        assert (done.status, done.out, done.err) == (0, "no errors\n", "")
        for command in (["compact"], ["repair"], ["repair", "--in-place"], ["repair", "-n"]):
            done = run_as_nobody(command[0], path, *command[1:])
            assert (done.status, done.out) == (2, "") and done.err.count("\n") == 1
            assert str(path.parent) in done.err
        (folder / "out").mkdir()
        os.chmod(folder / "out", 0o777)
        done = run_as_nobody("repair", path, "-o", folder / "out" / "fresh.h5")
        assert (done.status, done.err) == (0, "")
        assert is_whole(folder / "out" / "fresh.h5")
        assert path.read_bytes() == content


# -- in Python -------------------------------------------------------------------------------------


def test_python_functions(cache):
    assert decache.verify(cache, full=True).findings == []
    flip_large(container_of(cache))
    found = decache.verify(cache)
    assert len(found.errors) == len(found.findings) >= 1 and len(found.affected) == 7
    done = decache.repair(cache, cache / "fresh.h5")
    assert isinstance(done.salvage, _h5store.Salvage) and done.container == str(cache / "fresh.h5")
    assert len(done.findings) >= 7
    assert decache.compact(cache).after_bytes <= os.stat(container_of(cache)).st_size + 65536
