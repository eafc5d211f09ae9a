# SPDX-License-Identifier: MIT
"""The benchmark runs, checks what comes back, and reports all it was asked for.

How long anything takes is not looked at, only that it took some time.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

BENCH = pathlib.Path(__file__).parents[2] / "bench"

#: Cells, and the operations that each must have of joblib and decache.
CELLS = {
    "arrays": {"new", "again", "hit", "map"},
    "scalar": {"new", "hit"},
    "workers": {"new", "hit"},
    "growth": {"new", "hit", "disk", "files"},
    "memory": {"new", "hit"},
    "many": {"new", "hit", "walk", "open", "reduce, nothing to do", "reduce to half", "clear"},
}


def run_bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, BENCH / "run.py", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict]:
    """What a tiny run printed, and its results.json."""
    out = tmp_path_factory.mktemp("bench")
    done = run_bench(
        "--quick", "--only", ",".join(CELLS), "--peers", "joblib,decache,numpy,bare", "--rounds", 2,
        "--sizes", "8K,96K", "--results", 40, "--growth", 200, "--workers", "2",
        "--memory", "1M", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert [path.name for path in out.iterdir() if path.is_dir()] == []  # it cleaned up
    return done.stdout, json.loads((out / "results.json").read_text(encoding="utf-8"))


def test_every_cell_has_times(done):
    _, results = done
    assert results["failed"] == {} and results["missing"] == {}
    series = results["series"]
    for cell, operations in CELLS.items():
        for peer in ("joblib", "decache"):
            found = [one for one in series if (one["cell"], one["peer"]) == (cell, peer)]
            assert operations <= {one["operation"] for one in found}, (cell, peer)
            times = [value for one in found if one["unit"] == "s" for value in one["values"]]
            assert all(value > 0 for value in times)
            assert times or cell == "memory"
    cases = {(one["case"], one["peer"]) for one in series if one["cell"] == "arrays"}
    assert cases == {(size, peer) for size in ("8192", "98304")
                     for peer in ("joblib", "decache", "numpy", "bare")}  # fmt: skip


def test_rounds_belong_together(done):
    """A ratio is that of two times in one round: the series of a case are equally long."""
    _, results = done
    lengths: dict[tuple, set[int]] = {}
    for one in results["series"]:
        key = (one["cell"], one["case"], one["operation"])
        lengths.setdefault(key, set()).add(len(one["values"]))
    assert len(lengths) > 20
    assert all(len(found) == 1 for found in lengths.values())
    assert lengths["arrays", "8192", "new"] == {2}


def test_tables_fit_a_terminal(done):
    printed, _ = done
    lines = printed.splitlines()
    assert any(line.startswith("no arrays, miss") and "<= 0.80" in line for line in lines)
    assert any(line.startswith("hits per second") for line in lines)
    assert [line for line in lines if len(line) > 80] == []


def test_report_is_made_from_the_file_alone(done, tmp_path):
    printed, results = done
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    again = subprocess.run(
        [sys.executable, BENCH / "report.py", path], capture_output=True, text=True, timeout=60
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout == printed


def test_page_needs_no_other_file(done, tmp_path):
    pytest.importorskip("matplotlib")
    _, results = done
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    subprocess.run([sys.executable, BENCH / "plots.py", path, tmp_path], check=True, timeout=120)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 3 and page.count("<table>") >= 4
    assert "<img" not in page and "<link" not in page and "<script" not in page
    assert (tmp_path / "time-against-size.png").read_bytes().startswith(b"\x89PNG")


def test_a_wrong_value_is_noticed():
    """Times of a cache that returns something else would be worth nothing."""
    code = """
import numpy, payload
one = payload.Payload(600_000 // 8 * 8)
first = one.renew()
kept = one.value.copy()
second = one.renew()
one.check(one.value, second, thorough=True)
one.check(kept, first)
wrong = [(kept, second, False), (one.value[:-1], second, False), (kept.view("i8"), first, False)]
kept = one.value.copy()
kept[-1] ^= numpy.uint64(1)
wrong.append((kept, second, True))
for value, stamp, thorough in wrong:
    try:
        one.check(value, stamp, thorough)
    except AssertionError:
        print("noticed")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=BENCH, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["noticed"] * 4


def test_unknown_names_are_refused(tmp_path):
    for arguments in (("--only", "nothing"), ("--peers", "nobody"), ("--sizes", "7")):
        done = run_bench(*arguments, "--out", tmp_path)
        assert done.returncode == 2
        assert "results.json" not in os.listdir(tmp_path)
