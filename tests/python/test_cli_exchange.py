# SPDX-License-Identifier: MIT
"""``decache export`` and ``import``: what goes out is what was returned, and comes in again."""

from __future__ import annotations

import os
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
    CALLS,
    LARGE_BYTES,
    arrays_equal,
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
    refused,
    run,
    run_as_nobody,
)
from decache import _h5store, _shared


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    location = tmp_path_factory.mktemp("cache")
    make_cache(location)
    _shared._close_all()
    return location


def keys_of(location: Path, function: str) -> dict[str, str]:
    """From the seed of a call to its key."""
    return {one.arguments["seed"]: one.key for one in decache.results(location, function)}


# -- arrays ----------------------------------------------------------------------------------------


def test_npy_files(cache, tmp_path):
    done = document("export", cache, "-o", tmp_path / "out")
    assert (done["results"], done["arrays"], done["failed"]) == (8, 10, [])
    assert done["bytes"] == 10 * LARGE_BYTES
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.npy")}
    expected = {
        f"_cached/first/{key}.values.npy": _cached.LARGE
        for key in keys_of(cache, "first").values()
    }
    for seed, key in keys_of(cache, "second").items():
        for place, array in enumerate(_cached.second(int(seed))):
            expected[f"_cached/second/{key}.{place}.npy"] = array
    assert files == set(expected) and len(files) == 10
    for name, array in expected.items():
        assert arrays_equal(np.load(tmp_path / "out" / name), array)


def test_npz_file(cache, tmp_path):
    done = document("export", cache, "second", "-o", tmp_path / "out.npz")
    assert (done["results"], done["arrays"]) == (3, 6)
    keys = keys_of(cache, "second")
    with np.load(tmp_path / "out.npz") as file:
        assert len(file.files) == 6
        for seed, key in keys.items():
            for place, array in enumerate(_cached.second(int(seed))):
                assert arrays_equal(file[f"_cached/second/{key}.{place}"], array)
    assert [path.name for path in tmp_path.iterdir()] == ["out.npz"]


def test_arrays_of_every_kind(tmp_path):
    """Arrays come out as the user knows them, however they lie in the container."""
    memory = joblib.Memory(str(tmp_path / "cache"), backend="cas", verbose=0,
                           backend_options={"large_array_threshold": 1000})
    for name in _cached.KINDS:
        memory.cache(_cached.kinds)(name)
    keys = {one.arguments["which"].strip("'"): one.key
            for one in decache.results(tmp_path / "cache")}
    done = document("export", tmp_path / "cache", "-o", tmp_path / "out", status=1)
    assert {one["name"].rpartition("/")[2] for one in done["failed"]} == {keys["objects"]}
    folder = tmp_path / "out" / "_cached" / "kinds"

    def read(kind: str, place: str = "") -> np.ndarray:
        return np.load(folder / f"{keys[kind]}{place}.npy")

    for kind in ("array", "fortran", "transposed", "strided", "big endian", "records", "dates",
                 "empty"):
        assert arrays_equal(read(kind), _cached.KINDS[kind]()), kind
    masked = _cached.KINDS["masked"]()
    assert arrays_equal(read("masked", ".data"), masked.data)
    assert arrays_equal(read("masked", ".mask"), masked.mask)
    assert arrays_equal(read("named", ".left"), _cached.LARGE)
    assert arrays_equal(read("deep", ".a.0.b.1"), _cached.LARGE + 1)
    assert arrays_equal(read("cyclic", ".0"), _cached.LARGE[:100])
    assert arrays_equal(read("twice", ".3"), _cached.LARGE)


def test_names_do_not_lead_out_of_the_folder(tmp_path):
    """Names of functions, keys and dict entries become harmless file names."""
    from decache import _options, _pending, _pickler

    path = tmp_path / "odd.h5"
    value = {"../../escaped": _cached.LARGE, "/etc": _cached.LARGE, "..": _cached.LARGE,
             "a\nb\0": _cached.LARGE, 3: _cached.LARGE}
    pickled = _pickler.dump(value, _options.DEFAULT_THRESHOLD)
    names = (("..", "../.."), "k"), (("m", "%..", "f"), "..")
    with _h5store.Store(str(path), create=True) as raw:
        batch = raw.batch()
        for parts, key in names:
            _pending.put_result(batch, ("/".join(parts), key), pickled, "{}")
        batch.commit()
    (tmp_path / "deep" / "down").mkdir(parents=True)
    done = document("export", path, "-o", tmp_path / "deep" / "down" / "out")
    assert (done["results"], done["arrays"]) == (2, 10)
    inside = [one for one in (tmp_path / "deep" / "down" / "out").rglob("*.npy")]
    assert len(inside) == 10
    everywhere = [one for one in tmp_path.rglob("*.npy")]
    assert sorted(everywhere) == sorted(inside)
    assert not Path("/etc.npy").exists()


def test_nothing_is_replaced_without_force(cache, tmp_path):
    for name in ("out", "out.npz", "out.h5"):
        good("export", cache, "first", "-o", tmp_path / name)
        assert "is there already" in refused("export", cache, "first", "-o", tmp_path / name)
        good("export", cache, "first", "-o", tmp_path / name, "--force")
    assert holds(tmp_path / "out.h5").items == 4
    assert not list(tmp_path.glob("*.part"))


def test_dry_run_writes_nothing(cache, tmp_path):
    for name in ("out", "out.npz", "out.h5"):
        planned = document("export", cache, "-o", tmp_path / name, "-n")
        assert list(tmp_path.glob(f"{name}*")) == []
        done = document("export", cache, "-o", tmp_path / name)
        assert done == {**planned, "dry_run": False}


def test_results_by_id_and_choice(cache, tmp_path):
    keys = keys_of(cache, "second")
    done = document("export", cache, "-o", tmp_path / "a", "--result", f"second/{keys['1']}")
    assert (done["results"], done["arrays"]) == (1, 2)
    done = document("export", cache, "-o", tmp_path / "b", "--match", "seed=1")
    assert (done["results"], done["arrays"]) == (2, 3)
    done = run("export", cache, "-o", tmp_path / "c", "--result", "0" * 32)
    assert (done.status, done.out) == (1, "") and "nothing is exported" in done.err
    assert run("export", cache, "-o", tmp_path / "d", "--match", "seed=9").status == 1
    assert "not both" in refused("export", cache, "first", "-o", "e", "--result", "0")


@pytest.mark.parametrize("name", ["", "out.npz", "out.h5"])
def test_a_full_disk_leaves_no_half_file(cache, tmp_path, name):
    """What cannot be written whole is not there."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (150000, 150000)); "
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "from decache._cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "export", str(cache), "-o", str(tmp_path / name)],
        env=environment(), capture_output=True, text=True, check=False,
    )
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# -- results ---------------------------------------------------------------------------------------


def test_a_container_goes_out_and_in(cache, tmp_path):
    done = document("export", cache, "-o", tmp_path / "all.h5")
    assert (done["results"], done["arrays"]) == (8, 4)
    assert done["bytes"] == 4 * LARGE_BYTES + sum(
        one.small_bytes for one in decache.results(cache)
    )
    assert is_whole(tmp_path / "all.h5")
    planned = document("import", tmp_path / "new", tmp_path / "all.h5", "-n")
    assert not (tmp_path / "new").exists()
    imported = document("import", tmp_path / "new", tmp_path / "all.h5")
    assert imported == {**planned, "dry_run": False}
    assert imported["imports"][0]["bytes"] == done["bytes"]
    assert hits(tmp_path / "new", CALLS) == len(CALLS)
    assert is_whole(container_of(tmp_path / "new"))
    assert {path.name for path in (tmp_path / "new" / "joblib").iterdir()} == {
        "CACHEDIR.TAG", "blobs.h5"
    }


def test_import_adds_what_is_missing(cache, tmp_path):
    good("export", cache, "first", "-o", tmp_path / "first.h5")
    good("import", tmp_path / "new", tmp_path / "first.h5")
    planned = document("import", tmp_path / "new", cache, "-n")["imports"][0]
    done = document("import", tmp_path / "new", cache)["imports"][0]
    assert done == planned
    assert (done["results"], done["present"], done["arrays"]) == (4, 4, 3)
    again = document("import", tmp_path / "new", cache)["imports"][0]
    assert (again["results"], again["present"], again["bytes"]) == (0, 8, 0)
    assert hits(tmp_path / "new", CALLS) == len(CALLS)


def test_results_of_other_code_are_left_out(cache, tmp_path):
    """Results of an older version of a function would be returned for the newer one."""
    make_cache(tmp_path / "new")
    _shared._close_all()
    with _h5store.Store(str(container_of(tmp_path / "new"))) as raw:
        batch = raw.batch()
        batch.remove("_cached/first", keys_of(tmp_path / "new", "first")["0"])
        batch.set_source("_cached/first", "# first line: 1\ndef first(seed): return 1\n")
        batch.commit()
    done = document("import", tmp_path / "new", cache, status=1)["imports"][0]
    assert {one["name"].rpartition("/")[0] for one in done["failed"]} == {"_cached/first"}
    assert (len(done["failed"]), done["present"]) == (4, 4)


def test_a_moved_function_is_the_same(cache, tmp_path):
    """joblib notes at which line a function begins; that may differ."""
    path = tmp_path / "moved.h5"
    good("export", cache, "-o", path)
    with _h5store.Store(str(path)) as raw:
        source = raw.get_source("_cached/first")
        assert source.startswith("# first line: ")
        batch = raw.batch()
        batch.set_source("_cached/first", "# first line: 999\n" + source.partition("\n")[2])
        batch.remove("_cached/first", keys_of(cache, "first")["0"])
        batch.commit()
    done = document("import", path, cache)["imports"][0]
    assert (done["results"], done["failed"]) == (1, [])


def test_kept_arrays_go_along(cache, tmp_path):
    """Arrays of Store.put, alone in their container and among results."""
    with decache.Store(tmp_path / "arrays.h5") as store:
        names = {store.put(np.arange(1000) + number) for number in range(3)}
    done = document("import", tmp_path / "new", tmp_path / "arrays.h5")["imports"][0]
    assert (done["results"], done["arrays"]) == (0, 3)
    good("import", tmp_path / "new", cache)
    done = document("import", tmp_path / "third.h5", tmp_path / "new")["imports"][0]
    assert (done["results"], done["arrays"]) == (8, 7)
    with decache.Store(tmp_path / "third.h5", create=False) as store:
        for name in names:
            store.discard(name)  # it is kept, else this would fail
        assert len(store) == 4


def test_arrays_from_files(tmp_path):
    arrays = {"a": np.arange(5000.0), "b": np.eye(40), "c": np.arange(5000.0)}
    np.savez(tmp_path / "some.npz", **arrays)
    np.save(tmp_path / "one.npy", np.asfortranarray(np.arange(600.0).reshape(20, 30)))
    sources = [tmp_path / "some.npz", tmp_path / "one.npy"]
    planned = document("import", tmp_path / "new.h5", *sources, "-n")
    assert not (tmp_path / "new.h5").exists()
    done = document("import", tmp_path / "new.h5", *sources)
    assert done == {**planned, "dry_run": False}
    first, second = done["imports"]
    assert (first["arrays"], first["present"]) == (2, 1)
    assert first["bytes"] == arrays["a"].nbytes + arrays["b"].nbytes
    with decache.Store(tmp_path / "new.h5", create=False) as store:
        for name, array in arrays.items():
            assert arrays_equal(store.get(first["names"][name]), array)
        assert store.get(second["names"]["one"]).flags.f_contiguous
    assert first["names"]["a"] == first["names"]["c"]
    text = good("import", tmp_path / "new.h5", tmp_path / "one.npy")
    assert second["names"]["one"][:30] in text


def test_files_with_pickles_are_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([print, None], dtype=object), allow_pickle=True)
    (tmp_path / "text.npz").write_text("no archive")
    assert "objects.npy" in refused("import", tmp_path / "new.h5", tmp_path / "objects.npy")
    assert "text.npz" in refused("import", tmp_path / "new.h5", tmp_path / "text.npz")
    assert "does not exist" in refused("import", tmp_path / "new.h5", tmp_path / "none.npz")
    assert "does not exist" in refused("import", tmp_path / "new.h5", tmp_path / "none.h5")


def test_compressed_arrays_stay_so_unless_told_otherwise(cache, tmp_path):
    good("export", cache, "-o", tmp_path / "small.h5", "--compress", "6")
    good("export", tmp_path / "small.h5", "-o", tmp_path / "again.h5")
    good("import", tmp_path / "third.h5", tmp_path / "small.h5")
    good("import", tmp_path / "plain.h5", tmp_path / "small.h5", "--compress", "0")
    good("export", tmp_path / "small.h5", "-o", tmp_path / "arrays")
    sizes = {path.stem: disk_bytes(path) for path in tmp_path.glob("*.h5")}
    assert max(sizes[name] for name in ("small", "again", "third")) < sizes["plain"] / 2
    for name in sizes:
        path = tmp_path / f"{name}.h5"
        assert holds(path).blob_bytes == 4 * LARGE_BYTES and is_whole(path)
    good("import", tmp_path / "new", tmp_path / "again.h5")
    assert hits(tmp_path / "new", CALLS) == len(CALLS)
    arrays = [np.load(path) for path in (tmp_path / "arrays").rglob("*.values.npy")]
    assert len(arrays) == 4 and all(arrays_equal(one, _cached.LARGE) for one in arrays)


def test_a_container_is_not_imported_into_itself(cache):
    assert "the same container" in refused("import", cache, container_of(cache))


# -- states of the container -----------------------------------------------------------------------


def test_empty(cache, tmp_path):
    path = make_empty(tmp_path / "empty.h5")
    for name in ("out", "out.npz", "out.h5"):
        done = document("export", path, "-o", tmp_path / name)
        assert (done["results"], done["arrays"]) == (0, 0)
    assert document("import", cache, path)["imports"][0]["results"] == 0
    assert document("import", path, cache)["imports"][0]["results"] == 8


def test_damage_does_not_travel(tmp_path):
    """Results without the damaged array go, the others are named, and the status is 1."""
    make_cache(tmp_path / "cache")
    _shared._close_all()
    blob = flip_large(container_of(tmp_path / "cache"))
    for name in ("out", "out.npz", "out.h5"):
        done = document("export", tmp_path / "cache", "-o", tmp_path / name, status=1)
        assert (done["results"], len(done["failed"])) == (1, 7)
        assert all(blob in one["reason"] for one in done["failed"])
    assert not list((tmp_path / "out").rglob("*.npy"))
    done = document("import", tmp_path / "new", tmp_path / "cache", status=1)["imports"][0]
    assert (done["results"], len(done["failed"])) == (1, 7)
    for path in (tmp_path / "out.h5", container_of(tmp_path / "new")):
        assert is_whole(path) and holds(path).items == 1
        with decache.Store(path, create=False) as store:
            assert blob not in store


def test_unopenable(cache, tmp_path):
    make_cache(tmp_path / "bad")
    _shared._close_all()
    path = make_unopenable(container_of(tmp_path / "bad"))
    content = path.read_bytes()
    assert str(path) in refused("export", path, "-o", tmp_path / "out")
    assert str(path) in refused("import", cache, path)
    assert str(path) in refused("import", path, cache)
    assert path.read_bytes() == content


def test_busy(cache, tmp_path):
    make_cache(tmp_path / "cache")
    with busy(tmp_path / "cache") as writer:
        before = writer.count()
        done = document("export", tmp_path / "cache", "first", "second", "-o", tmp_path / "out")
        assert (done["results"], done["arrays"]) == (7, 10)
        good("export", tmp_path / "cache", "first", "-o", tmp_path / "some.h5")
        good("rm", tmp_path / "cache", "first")
        done = document("import", tmp_path / "cache", tmp_path / "some.h5")["imports"][0]
        assert (done["results"], done["failed"]) == (4, [])
        assert writer.count() > before
    assert hits(tmp_path / "cache", CALLS) == len(CALLS)
    assert is_whole(container_of(tmp_path / "cache"))


def test_read_only(cache):
    with open_folder() as folder:
        make_cache(folder / "cache")
        _shared._close_all()
        path = container_of(folder / "cache")
        os.chmod(path, 0o444)
        content = path.read_bytes()
        (folder / "out").mkdir(mode=0o777)
        os.chmod(folder / "out", 0o777)
        for name in ("arrays", "out.npz", "out.h5"):
            done = run_as_nobody("export", path, "-o", folder / "out" / name)
            assert (done.status, done.err) == (0, "")
        done = run_as_nobody("import", path, folder / "out" / "out.h5")
        assert (done.status, done.out) == (2, "") and str(path) in done.err
        done = run_as_nobody("export", path, "-o", folder / "closed" / "out.npz")
        assert (done.status, done.out) == (2, "") and done.err.count("\n") == 1
        assert path.read_bytes() == content


# -- in Python -------------------------------------------------------------------------------------


def test_python_functions(cache, tmp_path):
    done = decache.export(cache, tmp_path / "out.npz", "first")
    assert (done.results, done.arrays) == (4, 4)
    with pytest.raises(FileExistsError):
        decache.export(cache, tmp_path / "out.npz", "first")
    assert decache.export(cache, tmp_path / "out.h5", arguments=["seed=1"]).results == 2
    told = []
    done = decache.import_from(tmp_path / "new", tmp_path / "out.h5", progress=told.append)
    assert (done.results, told) == (2, [1, 2])
    names = decache.import_from(tmp_path / "new", tmp_path / "out.npz").names
    assert len(names) == 4 and len(set(names.values())) == 1
    assert holds(container_of(tmp_path / "new")).items == 2
