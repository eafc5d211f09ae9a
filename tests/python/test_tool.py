# SPDX-License-Identifier: MIT
"""The ``h5store`` command, run as a user runs it, on containers that decache made.

The program is taken from the environment variable ``H5STORE_TOOL`` (``make check`` sets
it) or from ``PATH``.  What it prints is compared with what the arrays and results are
known to be, not with what the library says of them.
"""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
import pty
import re
import resource
import signal
import subprocess
import sys
import time
import unicodedata
from typing import Any

import numpy as np
import pytest
from _tool import (
    ARRAYS,
    COMMANDS,
    LARGE,
    LISTINGS,
    MANUAL,
    TOOL,
    _h5store,
    arrays,
    assert_refused,
    cache,
    container_of,
    damage,
    decache,
    document,
    good,
    joblib,
    own_cache,
    run,
    shown,
    table,
)


# ---- usage ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("", "no command"),
        ("frobnicate", '"frobnicate"'),
        ("ls", "needs a container"),
        ("ls --frobnicate X", "--frobnicate"),
        ("ls -x X", "-x"),
        ("ls --full X", "--full"),
        ("ls --collections X", "--collections"),
        ("cat --json X 00", "--json"),
        ("flush --tsv X", "--tsv"),
        ("ls X Y", '"Y"'),
        ("tree X Y Z", '"Z"'),
        ("cat X", "needs an ID"),
        ("ls --json=3 X", "--json"),
        ("ls --timeout", "--timeout"),
        ("ls --timeout soon X", '"soon"'),
        ("ls --timeout -1 X", '"-1"'),
        ("ls --timeout nan X", '"nan"'),
        ("verify --fraction 1.5 X", '"1.5"'),
        ("verify --fraction 0.5x X", '"0.5x"'),
        ("verify --f X", "--f"),
    ],
)
def test_wrong_usage_is_refused_with_the_word_that_is_wrong(line: str, word: str) -> None:
    done = run(*line.split())
    assert_refused(done, 2, word, "--help")


def test_version() -> None:
    assert re.fullmatch(
        rb"h5store \d+\.\d+\S* \(container format 1, HDF5 \d+\.\d+\.\d+\S*\)\n", good("--version")
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command: str) -> None:
    text = good(command, "--help").decode()
    assert text.startswith(f"usage: h5store {command} ")
    assert max(map(len, text.splitlines())) <= 80
    assert good("help", command).decode() == text
    assert good(command, "-h", "whatever").decode() == text


def test_help_names_every_command() -> None:
    text = good("--help").decode()
    assert good("help").decode() == text
    assert re.findall(r"^  ([a-z]+)  +\S", text, re.M) == list(COMMANDS)


@pytest.mark.skipif(not MANUAL.exists(), reason="not run from the source tree")
def test_manual_has_every_command_and_option() -> None:
    manual = MANUAL.read_text().replace("\\-", "-")
    options = set()
    for command in COMMANDS:
        assert f".B h5store {command}" in manual
        options |= set(re.findall(r"--[a-z]+", good(command, "--help").decode()))
    assert {"--tsv", "--json", "--help", "--timeout", "--fraction"} <= options
    for option in options:
        assert re.search(rf"{option}\b", manual), option


@pytest.mark.skipif(not MANUAL.exists(), reason="not run from the source tree")
def test_manual_has_every_column(cache: pathlib.Path) -> None:
    words = set(re.findall(r"[a-z_]+", MANUAL.read_text().split(".SH OUTPUT")[1]))
    names = set(document("stat", cache)) | set(document("verify", cache))
    for command, list_name in (("ls", "blobs"), ("tree", "entries")):
        names |= {list_name, *document(command, cache)[list_name][0]}
    header = good("verify", "--tsv", cache).decode().splitlines()[0].split("\t")
    assert len(names | set(header)) > 30
    assert (names | set(header)) <= words


# ---- containers that cannot be opened ----------------------------------------


def make_bad(kind: str, folder: pathlib.Path, sound: pathlib.Path) -> pathlib.Path:
    path = folder / "bad.h5"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no container\n" * 1000)
    elif kind == "truncated":
        path.write_bytes(sound.read_bytes()[:-5000])
    elif kind == "a stump":
        path.write_bytes(sound.read_bytes()[:3000])
    elif kind == "fifo":
        os.mkfifo(path)
    return path


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "repair"])
@pytest.mark.parametrize(
    "kind", ["missing", "folder", "empty", "text", "truncated", "a stump", "fifo"]
)
def test_what_cannot_be_opened(
    command: str, kind: str, tmp_path: pathlib.Path, cache: pathlib.Path
) -> None:
    path = make_bad(kind, tmp_path, container_of(cache))
    before = path.read_bytes() if path.is_file() else None
    done = run(command, path, *(["00"] if command == "cat" else []))
    assert_refused(done, 3, str(path))
    assert done.stderr.count(b"\n") == 1
    if before is not None:
        assert path.read_bytes() == before


def test_a_folder_stands_for_the_container_in_it(cache: pathlib.Path) -> None:
    path = container_of(cache)
    for given in (path, path.parent, f"{path.parent}/", cache, f"{cache}/"):
        found = document("stat", given)
        assert os.path.samefile(found.pop("container"), path)
        assert found == {k: v for k, v in document("stat", path).items() if k != "container"}


# ---- ls ---------------------------------------------------------------------


def test_ls_tells_each_array_as_it_is(arrays: tuple[pathlib.Path, dict[str, str]]) -> None:
    path, ids = arrays
    rows = {row["id"]: row for row in document("ls", path)["blobs"]}
    assert list(rows) == sorted(ids.values())
    for name, array in ARRAYS.items():
        row = rows[ids[name]]
        assert row["shape"] == list(array.shape), name
        assert row["bytes"] == array.nbytes, name
        assert row["order"] == ("F" if name == "fortran" else "C"), name
        assert (row["links"], row["problem"]) == (1, None), name
        assert row["offset"] == 0 or row["stored_bytes"] >= row["bytes"], name
        if array.dtype.isbuiltin == 1:
            assert np.dtype(row["dtype"].strip("'")) == array.dtype, name


def test_ls_in_tsv_says_what_it_says_in_json(arrays: tuple[pathlib.Path, dict[str, str]]) -> None:
    path, ids = arrays
    rows = document("ls", path)["blobs"]
    lines = table("ls", path)
    assert len(lines) == len(rows) == len(ids)
    for line, row in zip(lines, rows, strict=True):
        assert list(line) == list(row)
        assert line.pop("shape") == str(tuple(row.pop("shape")))
        assert line == {key: "" if value is None else str(value) for key, value in row.items()}


def test_ls_for_people_fits_and_is_aligned(arrays: tuple[pathlib.Path, dict[str, str]]) -> None:
    path, ids = arrays
    wide = dict(os.environ, LC_ALL="C.UTF-8", COLUMNS="200")
    head, *rows, total = good("ls", path, env=wide).decode().splitlines()
    assert max(map(len, [head, *rows])) <= 80
    assert [row[:12] for row in rows] == [text[:12] for text in sorted(ids.values())]
    assert {row[12:14] for row in rows} == {"  "}
    column = head.index("SHAPE")
    assert {row[column - 2 : column] for row in rows} == {"  "}
    assert total.startswith(f"{len(ids)} blobs, ")


def test_ls_counts_references(cache: pathlib.Path) -> None:
    rows = [row for row in document("ls", cache)["blobs"] if row["bytes"] == LARGE.nbytes]
    assert sorted(row["links"] for row in rows) == [1, 3]


def test_nothing_stored(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "none.h5"
    decache.Store(path).close()
    assert document("ls", path)["blobs"] == []
    assert document("tree", path)["entries"] == []
    assert document("verify", path)["findings"] == []
    assert table("ls", path) == []
    stat = document("stat", path)
    assert (stat["results"], stat["blobs"], stat["saved_percent"]) == (0, 0, 0)
    assert good("ls", path).decode().splitlines()[-1] == "0 blobs, 0 B"


# ---- cat --------------------------------------------------------------------


@pytest.mark.parametrize("name", ARRAYS)
def test_cat_gives_the_array(arrays: tuple[pathlib.Path, dict[str, str]], name: str) -> None:
    path, ids = arrays
    array = ARRAYS[name]
    npy = good("cat", path, ids[name])
    loaded = np.load(io.BytesIO(npy), max_header_size=1 << 20)

    assert loaded.dtype == array.dtype
    assert loaded.shape == array.shape
    assert loaded.flags.f_contiguous == array.flags.f_contiguous
    assert loaded.flags.c_contiguous == array.flags.c_contiguous
    assert repr(loaded.tolist()) == repr(array.tolist())

    expected = {"field names that are not ASCII": 3, "header over 64 KiB": 2}.get(name, 1)
    assert npy[6:8] == bytes([expected, 0])
    end = npy.index(b"\n") + 1
    assert end % 64 == 0
    assert npy[end:] == array.tobytes("A")  # the padding too, which np.load drops


def test_cat_keeps_titles_and_offsets(arrays: tuple[pathlib.Path, dict[str, str]]) -> None:
    path, ids = arrays
    loaded = np.load(io.BytesIO(good("cat", path, ids["titled"])))
    assert loaded.dtype.fields["a"] == (np.dtype("<i2"), 4, "first")
    assert loaded.dtype.fields["b"][1] == 8
    assert loaded.dtype.itemsize == 24


def test_cat_refuses_fields_that_overlap(tmp_path: pathlib.Path) -> None:
    dtype = np.dtype({"names": ["all", "low"], "formats": ["<u4", "<u2"], "offsets": [0, 0]})
    path = tmp_path / "overlap.h5"
    with decache.Store(path) as store:
        name = str(store.put(np.zeros(3, dtype)))
    assert_refused(run("cat", path, name), 3, "'low'", "overlaps")


def test_cat_takes_the_beginning_of_an_id(arrays: tuple[pathlib.Path, dict[str, str]]) -> None:
    path, ids = arrays
    name = ids["float64"]
    whole = good("cat", path, name)
    assert good("cat", path, name.upper()) == whole
    shortest = next(
        n for n in range(1, 65) if sum(other.startswith(name[:n]) for other in ids.values()) == 1
    )
    assert good("cat", path, name[:shortest]) == whole
    assert good("cat", path, name[:63]) == whole


def test_cat_of_what_is_no_id_or_not_one_array(arrays: tuple[pathlib.Path, dict[str, str]]) -> None:
    path, ids = arrays
    assert len(ids) > 16  # so that two begin with the same digit
    first = [name[0] for name in sorted(ids.values())]
    twice = next(digit for digit in first if first.count(digit) > 1)
    some = [name for name in ids.values() if name[0] == twice]

    done = run("cat", path, twice)
    assert_refused(done, 3, str(path), "more digits")
    assert sum(name.encode() in done.stderr for name in some) == 2
    assert_refused(run("cat", path, "0" * 63), 3, str(path), "0" * 63)
    assert_refused(run("cat", path, "0" * 64), 3)
    assert_refused(run("cat", path, "0" * 65), 2, "not an id")
    assert_refused(run("cat", path, "xyz"), 2, '"xyz"')
    assert_refused(run("cat", path, ""), 2, "not an id")


def test_cat_refuses_a_terminal(arrays: tuple[pathlib.Path, dict[str, str]]) -> None:
    path, ids = arrays
    leader, follower = pty.openpty()
    try:
        done = run("cat", path, ids["float64"], stdout=follower)
        assert_refused(done, 2, "terminal")
        os.set_blocking(leader, False)
        with pytest.raises(BlockingIOError):
            os.read(leader, 1)
    finally:
        os.close(leader)
        os.close(follower)


def test_cat_streams(tmp_path: pathlib.Path) -> None:
    """An array of 192 MiB goes through a process that may have 96 MiB of memory."""
    path = tmp_path / "large.h5"
    array = np.arange(24 << 20, dtype="<u8")
    with decache.Store(path) as store:
        name = str(store.put(array))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (96 << 20, 96 << 20))

    npy = good("cat", path, name, preexec_fn=limit)
    assert hashlib.sha256(npy[128:]).digest() == hashlib.sha256(array).digest()


def test_cat_of_a_damaged_array(own_cache: pathlib.Path) -> None:
    name, where = damage(own_cache)
    assert_refused(run("cat", own_cache, name), 3, name, "damaged", "--unchecked")
    loaded = np.load(io.BytesIO(good("cat", "--unchecked", own_cache, name)))
    (index,) = np.flatnonzero(loaded.view("u1") != LARGE.view("u1"))
    assert index == where


# ---- tree -------------------------------------------------------------------


def test_tree_has_every_collection_and_result(cache: pathlib.Path) -> None:
    entries = document("tree", cache)["entries"]
    items = [entry for entry in entries if entry["kind"] == "item"]
    collections = {
        entry["collection"]: entry for entry in entries if entry["kind"] == "collection"
    }
    assert len(items) == 4
    assert len(collections) + len(items) == len(entries)

    by_function: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        assert item["collection"] in collections
        by_function.setdefault(item["collection"].rsplit("/", 1)[-1], []).append(item)
    assert {name: len(found) for name, found in by_function.items()} == {
        "double": 2,
        "triple": 1,
        "plain": 1,
    }
    (one,) = by_function["triple"]
    assert one["linked_bytes"] >= 2 * LARGE.nbytes
    assert one["own_bytes"] == LARGE.nbytes  # LARGE + 3 is its own, LARGE is shared
    for item in by_function["double"]:
        assert (item["linked_bytes"], item["own_bytes"]) == (LARGE.nbytes, 0)
    (one,) = by_function["plain"]
    assert (one["links"], one["linked_bytes"]) == (0, 0)
    assert one["output_bytes"] > 10

    for path, collection in collections.items():
        below = [i for i in items if f"{i['collection']}/".startswith(f"{path}/")]
        assert collection["results"] == len(below)
        for key in ("links", "output_bytes", "metadata_bytes", "linked_bytes", "own_bytes"):
            assert collection[key] == sum(item[key] for item in below), (path, key)


def test_tree_in_tsv_says_what_it_says_in_json(cache: pathlib.Path) -> None:
    rows = document("tree", cache)["entries"]
    lines = table("tree", cache)
    assert lines == [
        {key: "" if value is None else str(value) for key, value in row.items()} for row in rows
    ]


def test_tree_of_one_collection(cache: pathlib.Path) -> None:
    entries = document("tree", cache)["entries"]
    (double_,) = {e["collection"] for e in entries if e["collection"].endswith("/double")}
    part = [entry for entry in entries if entry["collection"] == double_]
    assert len(part) == 3
    assert document("tree", cache, double_)["entries"] == part
    assert document("tree", cache, double_ + "/")["entries"] == part
    above = double_.rsplit("/", 1)[0]
    below = [entry for entry in entries if f"{entry['collection']}/".startswith(f"{above}/")]
    assert document("tree", cache, above)["entries"] == below

    assert_refused(run("tree", cache, above + "/no such"), 3, "no such", str(cache))
    assert_refused(run("tree", cache, double_[:-1]), 3)


def test_tree_of_collections_alone(cache: pathlib.Path) -> None:
    entries = document("tree", cache)["entries"]
    alone = document("tree", "-d", cache)["entries"]
    assert alone == document("tree", "--collections", cache)["entries"]
    assert sorted(e["collection"] for e in alone) == sorted(
        e["collection"] for e in entries if e["kind"] == "collection"
    )
    assert all(entry in entries for entry in alone)


def test_tree_for_people_is_indented_and_fits(cache: pathlib.Path) -> None:
    head, *lines, total = good("tree", cache).decode().splitlines()
    assert max(map(len, [head, *lines])) <= 80
    column = head.index("NAME")
    names = [line[column:] for line in lines]
    entries = document("tree", cache)["entries"]
    assert len(names) == len(entries)
    for name, entry in zip(names, entries, strict=True):
        depth = entry["collection"].count("/") + (entry["kind"] == "item")
        assert len(name) - len(name.lstrip(" ")) == 2 * depth
        shown = name.strip().removesuffix("...")
        assert (entry["key"] or entry["collection"].rsplit("/", 1)[-1]).startswith(shown)
    assert total.startswith("4 results in ")


ODD_NAMES = (
    "tab\tand\nnewline\r",
    'quote " and \\ and \\t',
    "escape \x1b[31m red",
    "\x01 \x7f",
    "größe 名 \N{GRINNING FACE}",
    os.fsdecode(b"not UTF-8: \xff \xc3( \xed\xa0\x80 \xc0\xaf"),
    "long " * 40,
)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A container with a collection and an item of each of ODD_NAMES."""
    path = tmp_path_factory.mktemp("odd") / "odd.h5"
    with _h5store.Store(path, create=True) as store:
        batch = store.batch()
        for name in ODD_NAMES:
            batch.set_item(f"odd/{name}", name, b"output", "{}", [])
        batch.commit()
    return path


def test_names_of_any_bytes_come_whole(odd: pathlib.Path) -> None:
    for rows in (document("tree", odd)["entries"], table("tree", odd)):
        assert {row["key"] for row in rows if row["kind"] == "item"} == set(ODD_NAMES)
        assert {row["collection"] for row in rows} == {"odd", *(f"odd/{n}" for n in ODD_NAMES)}
    for name in ODD_NAMES:
        (item,) = [e for e in document("tree", odd, f"odd/{name}")["entries"] if e["key"]]
        assert (item["key"], item["output_bytes"]) == (name, 6)


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_names_of_any_bytes_are_safe_to_show(odd: pathlib.Path, locale: str) -> None:
    text = good("tree", odd, env=dict(os.environ, LC_ALL=locale))
    lines = text.decode().split("\n")
    assert len(lines) == 1 + 1 + 2 * len(ODD_NAMES) + 1 + 1
    for line in lines:
        assert line.isprintable()
        wide = sum(unicodedata.east_asian_width(character) == "W" for character in line)
        assert len(line) + wide <= 80
    assert text.count(b"\\x1b[31m") == 2
    assert text.count(b"not UTF-8: \\xff") == 2
    assert text.count("größe 名".encode()) == (2 if locale == "C.UTF-8" else 0)


# ---- stat -------------------------------------------------------------------


def test_stat_says_what_sharing_saved(cache: pathlib.Path) -> None:
    stat = document("stat", cache)
    path = container_of(cache)
    assert stat["results"] == 4
    assert stat["links"] - stat["blobs"] >= 2  # LARGE is stored once for three
    assert stat["saved_bytes"] == stat["linked_bytes"] - stat["blob_bytes"]
    assert stat["saved_bytes"] == 2 * LARGE.nbytes
    assert stat["saved_percent"] == pytest.approx(
        100 * stat["saved_bytes"] / stat["linked_bytes"], rel=1e-5
    )
    assert stat["file_bytes"] == path.stat().st_size
    assert 0 < stat["disk_bytes"]
    assert {row["name"]: row["value"] for row in table("stat", cache)} == {
        key: f"{value:.6g}" if isinstance(value, float) else str(value)
        for key, value in stat.items()
        if key != "container"
    }

    text = good("stat", cache).decode()
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(r"^results +4$", text, re.M)
    assert re.search(r"^saved by sharing +3\.1 MiB +\d\d\.\d %$", text, re.M)


# ---- verify -----------------------------------------------------------------


@pytest.mark.parametrize("depth", ["fast", "full", "structure"])
def test_verify_of_a_sound_container(cache: pathlib.Path, depth: str) -> None:
    found = document("verify", f"--{depth}", cache)
    assert (found["check"], found["fraction"], found["errors"]) == (depth, 1, 0)
    assert not [f for f in found["findings"] if f["severity"] == "error"]
    assert good("verify", f"--{depth}", cache).decode().splitlines()[-1].startswith("0 errors, ")


@pytest.mark.parametrize(("depth", "clauses"), [("fast", {4}), ("full", {4, 5})])
def test_verify_finds_a_flipped_bit(
    own_cache: pathlib.Path, depth: str, clauses: set[int]
) -> None:
    name, _ = damage(own_cache)
    found = document("verify", f"--{depth}", own_cache, status=1)
    errors = [f for f in found["findings"] if f["severity"] == "error"]
    assert len(errors) == found["errors"] >= 1
    assert {f["clause"] for f in errors} <= clauses
    assert all(name in f["object"] for f in errors)
    assert [f["number"] for f in found["findings"]] == list(range(1, len(found["findings"]) + 1))

    done = run("verify", f"--{depth}", own_cache)
    assert done.returncode == 1
    text = done.stdout.decode()
    assert max(map(len, text.splitlines())) <= 80
    assert re.match(r"1\. (error|remark), clause \d+ \([a-z ]+\)\n", text)
    assert name[:12] in text
    assert name[:13] not in text
    assert run("verify", f"--{depth}", "--tsv", own_cache).returncode == 1


def test_verify_looks_no_further_than_it_was_told(own_cache: pathlib.Path) -> None:
    damage(own_cache)
    assert document("verify", "--structure", own_cache)["errors"] == 0
    assert document("verify", "--fraction", "0", own_cache)["errors"] == 0


def verify_and_pause(path: pathlib.Path, seconds: float) -> tuple[bytes, int]:
    """Stop verify for a while as soon as it has begun; what its terminal got, and its status."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [TOOL, "verify", "--full", "--tsv", str(path)], stdout=subprocess.PIPE, stderr=follower
    )
    os.close(follower)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    process.send_signal(signal.SIGCONT)
    process.stdout.close()
    status = process.wait(60)
    seen = b""
    try:
        while chunk := os.read(leader, 4096):
            seen += chunk
    except OSError:  # Linux says EIO at the end
        pass
    os.close(leader)
    return seen, status


def test_verify_shows_progress_on_a_terminal_once_it_takes_long(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "large.h5"
    with decache.Store(path) as store:
        for seed in range(24):
            store.put(np.full(1 << 20, seed, "<f8"))

    for _ in range(20):  # a check that was through before the signal came shows nothing
        seen, status = verify_and_pause(path, 1.1)
        assert status == 0
        if seen:
            break
    assert re.match(rb"\rverify: +\d+ %, +\S+ .?i?B of +192\.0 MiB", seen)
    assert re.search(rb"\r +\r$", seen)  # and takes it away at the end

    done = run("verify", "--full", path)
    assert (done.returncode, done.stderr) == (0, b"")


# ---- output that cannot be written ----------------------------------------------


@pytest.mark.parametrize("form", ["", "--tsv", "--json"])
@pytest.mark.parametrize("command", LISTINGS)
def test_a_full_disk_is_told(cache: pathlib.Path, command: tuple[str, ...], form: str) -> None:
    with open("/dev/full", "wb") as full:
        done = run(*command, *([form] if form else []), cache, stdout=full)
    assert done.returncode == 3
    assert b"standard output" in done.stderr and b"No space left" in done.stderr


def test_a_full_disk_is_told_by_what_is_no_listing(cache: pathlib.Path) -> None:
    name = document("ls", cache)["blobs"][0]["id"]
    for command in (("cat", cache, name), ("flush", cache), ("--version",), ("ls", "--help")):
        with open("/dev/full", "wb") as full:
            done = run(*command, stdout=full)
        assert done.returncode == 3
        assert b"standard output" in done.stderr and b"No space left" in done.stderr


def test_a_closed_output_never_becomes_the_container(own_cache: pathlib.Path) -> None:
    before = own_cache.read_bytes()
    done = run("ls", own_cache, stdout=None, preexec_fn=lambda: os.close(1))
    assert done.returncode == 3
    assert b"standard output" in done.stderr
    assert own_cache.read_bytes() == before


def test_a_reader_that_goes_away_ends_it_quietly(cache: pathlib.Path) -> None:
    (name,) = [row["id"] for row in document("ls", cache)["blobs"] if row["links"] == 3]
    for ignored in (False, True):  # whoever starts us may have SIGPIPE ignored
        process = subprocess.Popen(
            [TOOL, "cat", str(cache), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            restore_signals=not ignored,
        )
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(10).startswith(b"\x93NUMPY")
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(60) == -signal.SIGPIPE
    assert good("verify", cache)


# ---- what it must not do ----------------------------------------------------------


def test_looking_changes_nothing(own_cache: pathlib.Path) -> None:
    before = own_cache.read_bytes()
    folder = sorted(own_cache.parent.iterdir())
    name = document("ls", own_cache)["blobs"][0]["id"]
    for command in LISTINGS:
        good(*command, own_cache)
    good("cat", own_cache, name)
    assert own_cache.read_bytes() == before
    assert sorted(own_cache.parent.iterdir()) == folder


class Trap:
    """Unpickling one makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def set_trap(path: str) -> Trap:
    return Trap(path)


def test_it_never_unpickles(tmp_path: pathlib.Path) -> None:
    location, sprung = tmp_path / "trap", tmp_path / "sprung"
    joblib.Memory(location, backend="cas", verbose=0).cache(set_trap)(str(sprung))
    assert document("stat", location)["results"] == 1
    for command in LISTINGS:
        good(*command, location)
        assert not sprung.exists()


def test_it_looks_while_others_write(cache: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A store that is open, with results in the log that the file does not have yet."""
    path = tmp_path / "busy.h5"
    with decache.Store(path) as store:
        name = str(store.put(LARGE))
        assert [row["id"] for row in document("ls", path)["blobs"]] == [name]
        np.testing.assert_array_equal(np.load(io.BytesIO(good("cat", path, name))), LARGE)
        good("verify", path)
        good("flush", path)


def test_flush_shows_results_to_stock_programs(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("h5py")
    path = tmp_path / "busy.h5"
    script = "import h5py, sys; print(*h5py.File(sys.argv[1])['blobs'])"
    with decache.Store(path) as store:
        name = str(store.put(LARGE))
        assert good("flush", path).decode() == f"{shown(str(path), 65)} is up to date\n"
        stock = subprocess.run(
            [sys.executable, "-c", script, path], stdout=subprocess.PIPE, check=True
        )
    assert stock.stdout.split() == [name[:2].encode()]
