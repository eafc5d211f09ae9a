# SPDX-License-Identifier: MIT
"""Salvaging damaged caches: ``_h5store.salvage`` and ``h5store repair``.

The caches are made by joblib and decache, damaged as files, and what was saved is judged by
whether the functions are called again.
"""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from _tool import (
    LARGE,
    MANUAL,
    _h5store,
    assert_refused,
    cache,
    container_of,
    damage,
    document,
    double,
    good,
    joblib,
    own_cache,
    plain,
    run,
    table,
    triple,
)

CALLS = ((double, 1), (double, 2), (triple, 3), (plain, 10))


def salvage(source: pathlib.Path, target: pathlib.Path) -> tuple[Any, list[Any]]:
    """Salvage into a new container; what became of it, and the findings."""
    findings: list[Any] = []
    with _h5store.Store(str(target), create=True) as store:
        done = _h5store.salvage(source, store, findings.append)
        assert [found for found in store.verify(check="full") if found.is_error] == []
        totals = store.stat()
        assert (totals.items, totals.blobs) == (done.items, done.blobs)
    return done, findings


def hits(target: pathlib.Path, folder: pathlib.Path) -> dict[tuple[str, int], bool]:
    """Which calls the container has the results of, asked as joblib asks."""
    folder.mkdir()
    shutil.copy(target, folder / "blobs.h5")
    memory = joblib.Memory(
        folder, backend="cas", verbose=0, backend_options={"large_array_threshold": 1000}
    )
    return {
        (function.__name__, seed): memory.cache(function).check_call_in_cache(seed)
        for function, seed in CALLS
    }


def overwrite(path: pathlib.Path, offset: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(size))


# ---- salvage ----------------------------------------------------------------


def test_a_sound_cache_is_copied(cache: pathlib.Path, tmp_path: pathlib.Path) -> None:
    done, findings = salvage(container_of(cache), tmp_path / "new.h5")
    assert done == (4, 2, 0, 0, 0)
    assert findings == []
    assert all(hits(tmp_path / "new.h5", tmp_path / "cache").values())
    with _h5store.Store(str(tmp_path / "new.h5"), read_only=True) as store:
        (collection,) = {
            info.collection for info in store.items() if info.collection.endswith("/double")
        }
        assert "def double" in store.get_source(collection)


@pytest.mark.parametrize("size", [48, 1024, 8192])
def test_the_start_of_the_file_is_not_needed(
    own_cache: pathlib.Path, tmp_path: pathlib.Path, size: int
) -> None:
    overwrite(own_cache, 0, size)
    with pytest.raises(_h5store.Error):
        _h5store.Store(str(own_cache))
    done, findings = salvage(own_cache, tmp_path / "new.h5")
    assert done == (4, 2, 0, 0, 0)
    assert findings and not any(found.is_error for found in findings)
    assert all(hits(tmp_path / "new.h5", tmp_path / "cache").values())


def test_a_damaged_array_costs_the_calls_that_have_it(
    own_cache: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    id, _ = damage(own_cache)
    done, findings = salvage(own_cache, tmp_path / "new.h5")
    assert done == (1, 1, 3, 1, 0)
    assert {found.object for found in findings if id in found.object} == {
        f"/blobs/{id[:2]}/{id}"
    }
    lost = [found for found in findings if found.object.startswith("/items/")]
    assert len(lost) == 3
    assert all(found.is_error and id[:12] in found.text for found in lost)
    assert hits(tmp_path / "new.h5", tmp_path / "cache") == {
        ("double", 1): False,
        ("double", 2): False,
        ("triple", 3): False,
        ("plain", 10): True,
    }


def test_what_was_lost_is_computed_again(own_cache: pathlib.Path, tmp_path: pathlib.Path) -> None:
    damage(own_cache)
    salvage(own_cache, tmp_path / "new.h5")
    hits(tmp_path / "new.h5", tmp_path / "cache")
    memory = joblib.Memory(
        tmp_path / "cache",
        backend="cas",
        verbose=0,
        backend_options={"large_array_threshold": 1000},
    )
    np.testing.assert_array_equal(memory.cache(double)(1)["values"], LARGE)
    assert memory.cache(double).check_call_in_cache(1)


def test_each_half_of_a_cache(own_cache: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Cut anywhere, what was saved and what was lost come to all there was."""
    whole = own_cache.read_bytes()
    counts = set()
    for cut in range(len(whole) - 4096, 8192, -len(whole) // 30):
        own_cache.write_bytes(whole[:cut])
        target = tmp_path / f"{cut}.h5"
        done, findings = salvage(own_cache, target)
        assert done.items + done.lost_items == 4
        assert done.blobs + done.lost_blobs == 2
        assert any(found.is_error for found in findings) == (done[2:] != (0, 0, 0))
        counts.add(done.items)
        target.unlink()
    assert len(counts) >= 2


def test_an_exception_of_the_callback_is_raised(
    own_cache: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    damage(own_cache)
    calls = []

    def refuse(finding: Any) -> None:
        calls.append(finding)
        raise KeyError("no more")

    with _h5store.Store(str(tmp_path / "new.h5"), create=True) as store:
        with pytest.raises(KeyError, match="no more"):
            _h5store.salvage(own_cache, store, refuse)
        assert len(calls) == 1
        assert store.verify() == []
        assert _h5store.salvage(own_cache, store, None).lost_blobs == 1
        assert _h5store.salvage(str(own_cache), store).items == 1


def test_the_callback_may_use_the_target(
    own_cache: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    damage(own_cache)
    seen = []
    with _h5store.Store(str(tmp_path / "new.h5"), create=True) as store:
        _h5store.salvage(own_cache, store, lambda finding: seen.append(store.stat().items))
    assert len(seen) == 5  # three results, their array, and another that is kept by itself


def test_arguments(cache: pathlib.Path, tmp_path: pathlib.Path) -> None:
    source = container_of(cache)
    with _h5store.Store(str(tmp_path / "new.h5"), create=True) as store:
        with pytest.raises(TypeError):
            _h5store.salvage(source)  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            _h5store.salvage(source, "target")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            _h5store.salvage(3, store)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="not callable"):
            overwrite(shutil.copy(source, tmp_path / "bad.h5"), 0, 48)
            _h5store.salvage(tmp_path / "bad.h5", store, 3)  # type: ignore[arg-type]
        with pytest.raises(_h5store.NotFoundError):
            _h5store.salvage(tmp_path / "nothing", store)
        with pytest.raises(_h5store.NotAStoreError):
            _h5store.salvage(__file__, store)
        with pytest.raises(_h5store.InvalidError):
            _h5store.salvage(tmp_path / "new.h5", store)
    with pytest.raises(_h5store.ClosedError):
        _h5store.salvage(source, store)


# ---- h5store repair ---------------------------------------------------------


def test_repair_of_a_sound_container(cache: pathlib.Path, tmp_path: pathlib.Path) -> None:
    target = tmp_path / "new.h5"
    text = good("repair", cache, target).decode()
    assert "saved 4 results, 2 arrays\nlost  0 results, 0 arrays\n" in text
    assert good("verify", "--full", target).startswith(b"0 errors")
    assert document("stat", target)["results"] == 4


def test_repair_names_what_was_lost(own_cache: pathlib.Path, tmp_path: pathlib.Path) -> None:
    id, _ = damage(own_cache)
    done = run("repair", own_cache, tmp_path / "new.h5")
    assert (done.returncode, done.stderr) == (1, b"")
    text = done.stdout.decode()
    assert max(map(len, text.splitlines())) <= 80
    assert f"/blobs/{id[:2]}/{id[:12]}" in text
    assert text.count("/items/") == 3
    assert "saved 1 result, 1 array\nlost  3 results, 1 array\n" in text


def test_repair_for_programs(own_cache: pathlib.Path, tmp_path: pathlib.Path) -> None:
    damage(own_cache)
    found = document("repair", own_cache, tmp_path / "a.h5", status=1)
    assert found.pop("container") == str(own_cache)
    assert found.pop("target") == str(tmp_path / "a.h5")
    findings = found.pop("findings")
    assert found == {
        "results": 1,
        "blobs": 1,
        "lost_results": 3,
        "lost_blobs": 1,
        "unnamed_results": 0,
    }
    done = run("repair", "--tsv", own_cache, tmp_path / "b.h5")
    assert done.returncode == 1
    assert done.stdout.decode().splitlines()[0].split("\t") == list(findings[0])
    assert len(done.stdout.splitlines()) == 1 + len(findings)


@pytest.mark.skipif(not MANUAL.exists(), reason="not run from the source tree")
def test_manual_has_what_repair_prints(cache: pathlib.Path, tmp_path: pathlib.Path) -> None:
    manual = MANUAL.read_text()
    for name in document("repair", cache, tmp_path / "new.h5"):
        assert name in manual


def test_repair_changes_nothing(own_cache: pathlib.Path, tmp_path: pathlib.Path) -> None:
    damage(own_cache)
    before = own_cache.read_bytes()
    run("repair", own_cache, tmp_path / "new.h5")
    assert own_cache.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.h5", "new.h5"]


def test_repair_refuses_a_target_that_exists(
    own_cache: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    target = tmp_path / "new.h5"
    target.write_text("mine")
    assert_refused(run("repair", own_cache, target), 3, str(target), "already")
    assert target.read_text() == "mine"
    assert_refused(run("repair", own_cache), 2, "TARGET")


@pytest.mark.parametrize("make", [lambda path: None, pathlib.Path.mkdir, pathlib.Path.touch])
def test_repair_of_what_is_no_container(
    make: Callable[[pathlib.Path], Any], tmp_path: pathlib.Path
) -> None:
    source = tmp_path / "source"
    make(source)
    assert_refused(run("repair", source, tmp_path / "new.h5"), 3, str(source))
    assert not (tmp_path / "new.h5").exists()
    assert not (tmp_path / "new.h5-wal").exists()


def test_repair_of_a_container_in_use(own_cache: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with _h5store.Store(str(own_cache)) as store:
        good("repair", own_cache, tmp_path / "new.h5")
        assert store.verify() == []
    assert table("stat", tmp_path / "new.h5")[0] == {"name": "results", "value": "4"}
