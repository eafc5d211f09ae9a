# SPDX-License-Identifier: MIT
"""``decache ls``, ``show``, ``stats`` and ``du``: they tell the truth, and change nothing."""

from __future__ import annotations

import html.parser
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import _cached
import decache
import pytest
from _children import open_folder
from _cli import (
    ARRAYS,
    LARGE_BYTES,
    RESULTS,
    busy,
    container_of,
    document,
    flip_large,
    good,
    holds,
    make_cache,
    make_empty,
    make_unopenable,
    refused,
    rows_of,
    run,
    run_as_nobody,
)
from decache import _h5store, _pickler, _shared

COMMANDS = (["ls"], ["ls", "-r"], ["stats"], ["du"])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    location = tmp_path_factory.mktemp("cache")
    make_cache(location)
    return location


# -- what they tell --------------------------------------------------------------------------------


def test_ls_lists_functions(cache):
    rows = rows_of(good("ls", cache))
    assert [(row[0], int(row[1])) for row in rows] == sorted(RESULTS.items())
    listed = document("ls", cache)
    assert listed["container"] == str(container_of(cache))
    found = {row["name"]: row for row in listed["functions"]}
    assert {name: row["results"] for name, row in found.items()} == RESULTS
    assert found["_cached/first"]["shared_bytes"] == 4 * LARGE_BYTES
    assert found["_cached/second"]["shared_bytes"] == 3 * LARGE_BYTES
    assert found["_cached/small"]["shared_bytes"] == 0
    for row in found.values():
        small = row["bytes"] - {"_cached/first": 4, "_cached/second": 6}.get(
            row["name"], 0
        ) * LARGE_BYTES
        assert 0 < small < 2000 * row["results"]
        assert abs(row["used"] - os.stat(container_of(cache)).st_mtime) < 600
        assert row["damaged"] == 0


def test_ls_results_have_their_arguments(cache):
    rows = document("ls", "-r", cache)["results"]
    assert len(rows) == sum(RESULTS.values())
    first = [row for row in rows if row["function"] == "_cached/first"]
    assert {row["arguments"]["seed"] for row in first} == {"0", "1", "2", "3"}
    assert all(row["links"] == 1 and row["own_bytes"] == row["small_bytes"] for row in first)
    assert all(row["duration"] >= 0 and row["computed"] > 1e9 for row in rows)
    shown = rows_of(good("ls", "-r", cache, "second"))
    # In what order the arguments are is up to joblib's version.
    assert {tuple(sorted(row[-1].split(", "))) for row in shown} == {
        ("scale=2.0", f"seed={seed}") for seed in range(3)
    }
    calls = rows_of(good("ls", "-r", cache))
    assert "small(text='x')" in {row[-1] for row in calls}
    assert {row[0] for row in calls} == {row["key"][:10] for row in rows}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["first"], 4), (["_cached/first"], 4), (["_cached.first"], 4), (["*i*"], 4),
        (["first", "small"], 5), (["_cached"], 8), (["--match", "seed=1"], 2),
        (["--match", "seed=[12]", "first"], 2), (["--match", "'x'"], 1),
        (["--match", "seed=1", "--match", "scale=*"], 1), (["--older-than", "1h"], 0),
        (["--older-than", "0s"], 8), (["nothing"], 0),
    ],
)
def test_ls_chooses(cache, options, expected):
    done = document("ls", "-r", cache, *options, status=0 if expected else 1)
    assert len(done["results"]) == expected


@pytest.mark.parametrize("order", ["name", "results", "bytes", "shared", "used"])
def test_ls_sorts(cache, order):
    rows = document("ls", cache, "--sort", order)["functions"]
    member = {"shared": "shared_bytes"}.get(order, order)
    values = [row[member] for row in rows]
    assert values == sorted(values, reverse=order != "name") and len(values) == len(RESULTS)
    results = document("ls", "-r", cache, "--sort", order)["results"]
    assert len(results) == sum(RESULTS.values())


def test_show_tells_all_without_loading(cache):
    (row,) = document("ls", "-r", cache, "first", "--match", "seed=2")["results"]
    shown = document("show", cache, f"first/{row['key'][:8]}")
    assert shown["result"] == row
    (array,) = shown["arrays"]
    assert (array["dtype"], array["shape"], array["bytes"], array["links"], array["role"]) == (
        "'<f8'", [20480], LARGE_BYTES, 7, "array"
    )
    assert "def first(seed: int)" in shown["source"]
    assert len(shown["sharing"]) == 6
    assert {one["function"] for one in shown["sharing"]} == {"_cached/first", "_cached/second"}
    text = good("show", cache, f"_cached/first/{row['key']}")
    for expected in ("seed = 2", "float64", "(20480,)", "6 other results", "def first(seed: int)"):
        assert expected in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_show_refuses_what_is_not_there_or_not_unique(cache):
    done = run("show", cache, "0123456789")
    assert (done.status, done.out) == (1, "") and "no result 0123456789" in done.err
    done = run("show", cache, "first/")
    assert (done.status, done.out) == (1, "") and "any of 4 results" in done.err


def test_nothing_is_unpickled(tmp_path):
    """A result that would end the process when it is loaded is listed and shown."""
    path = tmp_path / "trap.h5"
    trap = b"cos\n_exit\n(I7\ntR."
    output = _pickler.encode(0, [(trap, len(trap), None)])
    with _h5store.Store(str(path), create=True) as raw:
        batch = raw.batch()
        batch.set_item("m/f", "0" * 32, output, "{}", [])
        batch.commit()
    for command in (*COMMANDS, ["show", "0"], ["verify"]):
        assert run(command[0], path, *command[1:]).status == 0
    assert run("export", path, "-o", tmp_path / "copy.h5").status == 0
    assert run("export", path, "-o", tmp_path / "arrays").status == 7  # it says that it loads


def test_stats_counts(cache):
    stats = document("stats", cache)
    totals = holds(container_of(cache))
    for name in totals.__match_args__:
        if name not in ("disk_bytes", "log_bytes"):
            assert stats[name] == getattr(totals, name)
    assert (stats["items"], stats["blobs"], stats["links"]) == (8, ARRAYS, 10)
    assert stats["saved_bytes"] == 6 * LARGE_BYTES
    assert "6 times" not in good("stats", cache)


def test_stats_knows_hits_misses_and_why(tmp_path):
    memory = make_cache(tmp_path)
    for seed in range(3):
        memory.cache(_cached.first)(seed)
    _shared._close_all()
    stats = document("stats", tmp_path)
    usage, misses = stats["usage"], stats["misses"]
    assert usage["hits"] == 3
    assert usage["duplicates"] == 6
    assert usage["duplicate_bytes"] == 6 * LARGE_BYTES
    assert 0 < usage["misses"] == len(misses) <= 8
    assert all(one["reason"] and one["function"] in RESULTS for one in misses)
    assert [one["time"] for one in misses] == sorted((one["time"] for one in misses), reverse=True)
    asked = usage["hits"] + usage["misses"]
    text = good("stats", tmp_path)
    assert f"3 ({3 / asked:.1%} of {asked})" in text and "WHY" in text
    assert misses[0]["reason"][:20] in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_du_adds_up(cache):
    found = document("du", cache)
    rows = {row["name"]: row for row in found["functions"]}
    first, second = rows["_cached/first"], rows["_cached/second"]
    assert first["shared_bytes"] == second["shared_bytes"] == LARGE_BYTES
    assert first["own_bytes"] < LARGE_BYTES  # only pickles
    assert 3 * LARGE_BYTES < second["own_bytes"] < 4 * LARGE_BYTES
    assert sum(row["fair_bytes"] for row in rows.values()) == pytest.approx(found["stored_bytes"])
    assert sum(row["bytes"] for row in rows.values()) == found["bytes"]
    assert found["saved_bytes"] == found["bytes"] - found["stored_bytes"] == 6 * LARGE_BYTES
    assert found["kept_bytes"] == 0
    text = good("du", cache)
    assert rows_of(text)[0][0] == "_cached/second" and "############" in text


def test_du_counts_kept_arrays(tmp_path):
    path = tmp_path / "kept.h5"
    with decache.Store(path) as store:
        store.put(_cached.LARGE)
    assert document("du", path)["kept_bytes"] == LARGE_BYTES
    assert "kept arrays" in good("du", path)


class _Page(html.parser.HTMLParser):
    """Collects tags, and whatever would load something from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]


def test_plot_html_is_self_contained(cache, tmp_path):
    good("du", cache, "--plot", tmp_path / "space.html")
    text = (tmp_path / "space.html").read_text()
    page = _Page()
    page.feed(text)
    assert page.links == [] and "script" not in page.tags and "link" not in page.tags
    assert page.tags.count("svg") == 1
    assert all(name in text for name in RESULTS)


def test_plot_svg_areas_are_the_shares(cache, tmp_path):
    good("du", cache, "--plot", tmp_path / "space.svg")
    shares = {row["name"]: row["fair_bytes"] for row in document("du", cache)["functions"]}
    root = ElementTree.parse(tmp_path / "space.svg").getroot()
    name_of = "{http://www.w3.org/2000/svg}"
    areas = {}
    for group in root.iter(f"{name_of}g"):
        title, rect = group.find(f"{name_of}title"), group.find(f"{name_of}rect")
        if title is not None and rect is not None:
            area = float(rect.get("width")) * float(rect.get("height"))
            areas[title.text.split("\n")[0]] = area
    assert set(areas) == set(shares)
    whole = sum(areas.values())
    for name, area in areas.items():
        assert area / whole == pytest.approx(shares[name] / sum(shares.values()), abs=0.01)


def test_plot_escapes_names(tmp_path):
    path = tmp_path / "odd.h5"
    with _h5store.Store(str(path), create=True) as raw:
        batch = raw.batch()
        batch.set_item("m/<script>alert(1)</script>\x1b[31m", "k", b"x" * 5000, "{}", [])
        batch.commit()
    good("du", path, "--plot", tmp_path / "odd.html")
    text = (tmp_path / "odd.html").read_text()
    assert "<script>" not in text and "&lt;script&gt;" in text and "\x1b" not in text
    assert "\x1b" not in good("du", path) + good("ls", path) + good("ls", "-r", path)


def test_plot_png(cache, tmp_path):
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert "matplotlib" in refused("du", cache, "--plot", tmp_path / "space.png")
        return
    good("du", cache, "--plot", tmp_path / "space.png")
    assert (tmp_path / "space.png").read_bytes().startswith(b"\x89PNG")


def test_plot_refuses_other_endings(cache, tmp_path):
    assert ".html, .svg or .png" in refused("du", cache, "--plot", tmp_path / "space.bmp")


# -- states of the container -----------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_empty(tmp_path, command):
    path = make_empty(tmp_path / "empty.h5")
    assert good(*command, path)
    shown = document(*command, path)
    assert not shown.get("functions") and not shown.get("results") and not shown.get("items")
    assert run("show", path, "0").status == 1


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_damaged_array(tmp_path, command):
    """Nothing here reads arrays, so nothing is different."""
    make_cache(tmp_path)
    flip_large(container_of(tmp_path))
    assert document(*command, tmp_path)
    good(*command, tmp_path)


@pytest.mark.parametrize("command", [*COMMANDS, ["show"]], ids=" ".join)
def test_unopenable(tmp_path, command):
    make_cache(tmp_path)
    path = make_unopenable(container_of(tmp_path))
    message = refused(*command, tmp_path, *(["0"] if command == ["show"] else []))
    assert str(path) in message


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_busy(tmp_path, command):
    make_cache(tmp_path)
    with busy(tmp_path) as writer:
        for _ in range(3):
            before = writer.count()
            shown = document(*command, tmp_path)
            good(*command, tmp_path)
            assert writer.count() > before
            if command == ["ls"]:
                names = {row["name"]: row["results"] for row in shown["functions"]}
                assert names.items() >= RESULTS.items() and len(names) == 4
            (row,) = document("ls", "-r", tmp_path, "small")["results"]
            assert good("show", tmp_path, row["key"])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_read_only(command):
    with open_folder() as folder:
        make_cache(folder)
        _shared._close_all()
        path = container_of(folder)
        os.chmod(path, 0o444)
        before = path.read_bytes()
        done = run_as_nobody(*command, folder)
        assert (done.status, done.err) == (0, "") and done.out
        assert path.read_bytes() == before and not list(folder.rglob("*-wal"))


def test_no_container(tmp_path):
    assert "decache migrate" in refused("ls", tmp_path)
    assert "does not exist" in refused("ls", tmp_path / "nowhere")
    (tmp_path / "text.h5").write_text("some text" * 1000)
    assert "text.h5" in refused("ls", tmp_path / "text.h5")


@pytest.mark.parametrize("place", ["", "joblib", "joblib/blobs.h5"])
def test_every_form_of_location(cache, place):
    assert document("ls", cache / place)["container"] == str(container_of(cache))


# -- in Python -------------------------------------------------------------------------------------


def test_python_functions(cache):
    listed = decache.functions(cache)
    assert {one.name: one.results for one in listed} == RESULTS
    assert [one.name for one in decache.functions(cache, "first")] == ["_cached/first"]
    found = list(decache.results(cache, "second"))
    assert [one.arguments for one in sorted(found, key=lambda one: one.arguments["seed"])] == [
        {"scale": "2.0", "seed": str(seed)} for seed in range(3)
    ]
    detail = decache.result(cache, f"second/{found[0].key[:6]}")
    assert detail.result == found[0] and len(detail.arrays) == 2
    with pytest.raises(KeyError):
        decache.result(cache, "f" * 32)
    assert decache.statistics(cache).totals.items == 8
    assert decache.space(cache).saved_bytes == 6 * LARGE_BYTES
