# SPDX-License-Identifier: MIT
"""decache.Store: arrays in one file without joblib."""

from __future__ import annotations

import gc
import os
import pathlib
import pickle
import threading
from collections.abc import Callable
from typing import Any

import decache
import numpy as np
import pytest

from decache import _h5store


def array(seed: int = 0, count: int = 5000) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count)


# -- what it does ------------------------------------------------------------------------------


def test_put_and_get(store: decache.Store) -> None:
    name = store.put(array())
    assert len(name) == 64 and int(name, 16)
    loaded = store.get(name)
    np.testing.assert_array_equal(loaded, array())
    assert loaded.flags.owndata and loaded.flags.writeable


def test_equal_arrays_have_one_name(store: decache.Store) -> None:
    names = {store.put(array()), store.put(array().copy()), store.put(np.repeat(array(), 2)[::2])}
    assert len(names) == 1
    assert len(store) == 1


@pytest.mark.parametrize(
    "other",
    [
        lambda a: a.reshape(50, 100),
        lambda a: np.asfortranarray(a.reshape(50, 100)),
        lambda a: a.view("<i8"),
        lambda a: a.astype(">f8"),
        lambda a: a[:-1],
        lambda a: np.concatenate([-a[:1], a[1:]]),
    ],
)
def test_other_arrays_have_other_names(other: Callable, store: decache.Store) -> None:
    assert store.put(array()) != store.put(other(array()))
    assert len(store) == 2


def test_a_name_is_the_same_everywhere(store: decache.Store, tmp_path: pathlib.Path) -> None:
    with decache.Store(tmp_path / "other.h5") as other:
        assert other.put(array()) == store.put(array())
    assert _h5store.hash_array(array(), "'<f8'") == store.put(array())
    assert _h5store.hash_array(array(), "'<f8'", 3) == store.put(array())


def test_contains_iterates_and_counts(store: decache.Store) -> None:
    assert list(store) == [] and len(store) == 0
    names = [store.put(array(seed)) for seed in range(5)]
    assert sorted(store) == sorted(names)
    assert len(store) == 5
    assert all(name in store for name in names)
    assert names[0].upper() in store
    for other in ("0" * 64, "short", "", 3, None, "x" * 64):
        assert other not in store


def test_info(store: decache.Store) -> None:
    info = store.info(store.put(np.asfortranarray(array().reshape(50, 100))))
    assert (info.dtype, info.order, info.shape, info.nbytes) == ("'<f8'", "F", (50, 100), 40_000)
    assert info.stored_bytes >= info.nbytes and info.offset % 4096 == 0
    assert info.damage is None


def test_stat(store: decache.Store) -> None:
    store.put(array()), store.put(array()), store.put(array(1))
    stat = store.stat()
    assert (stat.items, stat.blobs, stat.links, stat.blob_bytes) == (0, 2, 0, 80_000)
    assert stat.file_size >= 80_000


def test_discard(store: decache.Store) -> None:
    name = store.put(array())
    store.discard(name)
    assert name not in store
    assert store.stat().blob_bytes == 0
    with pytest.raises(decache.NotFoundError):
        store.discard(name)


def test_verify(store: decache.Store) -> None:
    for seed in range(3):
        store.put(array(seed))
    for check in ("never", "fast", "full"):
        assert [one for one in store.verify(check) if one.is_error] == []


def test_verify_finds_a_flipped_byte(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "flipped.h5"
    with decache.Store(path) as store:
        name = store.put(array())
        offset = store.info(name).offset
    with open(path, "r+b") as file:
        file.seek(offset + 100)
        file.write(b"\xff\xff\xff")
    with decache.Store(path) as store:
        findings = [one for one in store.verify("fast") if one.is_error]
        assert len(findings) == 1
        assert name in findings[0].object
        with pytest.raises(decache.DamagedError, match=name[:8]):
            store.get(name)
        assert store.put(array()) == name  # mends it
        np.testing.assert_array_equal(store.get(name), array())
        assert [one for one in store.verify("full") if one.is_error] == []


def test_array_likes(store: decache.Store) -> None:
    np.testing.assert_array_equal(store.get(store.put([[1, 2], [3, 4]])), [[1, 2], [3, 4]])
    assert store.get(store.put(2.5)) == 2.5
    assert type(store.get(store.put(np.matrix([[1, 2]])))) is np.ndarray


# -- mapped arrays -----------------------------------------------------------------------------


def test_mapped_for_reading(store: decache.Store) -> None:
    mapped = store.get(store.put(array().reshape(50, 100)), "r")
    assert type(mapped) is np.memmap
    assert (mapped.filename, mapped.mode) == (store.path, "r")
    np.testing.assert_array_equal(mapped, array().reshape(50, 100))
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 1
    again = np.memmap(mapped.filename, mapped.dtype, "r", mapped.offset, mapped.shape)
    np.testing.assert_array_equal(again, mapped)


def test_mapped_for_copy_on_write(store: decache.Store) -> None:
    name = store.put(array())
    mapped = store.get(name, "c")
    mapped[:] = 0
    np.testing.assert_array_equal(store.get(name), array())


def test_a_mapped_array_outlives_everything(tmp_path: pathlib.Path) -> None:
    store = decache.Store(tmp_path / "pinned.h5")
    name = store.put(array())
    view = store.get(name, "r")[1000:]
    store.discard(name)
    for seed in range(1, 20):
        store.put(array(seed))
    store.flush()
    gc.collect()
    np.testing.assert_array_equal(view, array()[1000:])
    store.close()
    np.testing.assert_array_equal(view, array()[1000:])


def test_the_space_of_an_unmapped_array_comes_back(store: decache.Store) -> None:
    name = store.put(array(0, 1 << 20))
    mapped = store.get(name, "r")
    store.discard(name)
    held = os.stat(store.path).st_blocks * 512
    assert held >= 8 << 20
    del mapped
    gc.collect()
    store.put(array(1))
    store.flush()
    assert os.stat(store.path).st_blocks * 512 < 2 << 20


@pytest.mark.parametrize("value", [np.array(1.5), np.zeros((0, 3)), np.zeros(3, "S1")])
def test_small_arrays_can_be_mapped_too(value: np.ndarray, store: decache.Store) -> None:
    for mode in ("r", "c"):
        mapped = store.get(store.put(value), mode)
        np.testing.assert_array_equal(mapped, value)
        assert (mapped.shape, mapped.dtype) == (value.shape, value.dtype)
        assert mapped.flags.writeable == (mode == "c")


# -- opening and closing -----------------------------------------------------------------------


def test_another_store_sees_it_at_once(store: decache.Store) -> None:
    with decache.Store(store.path) as other:
        name = store.put(array())
        np.testing.assert_array_equal(other.get(name), array())
    np.testing.assert_array_equal(store.get(name), array())


def test_read_only(store: decache.Store) -> None:
    name = store.put(array())
    with decache.Store(store.path, read_only=True) as reader:
        np.testing.assert_array_equal(reader.get(name), array())
        with pytest.raises(decache.ReadOnlyError):
            reader.put(array(1))


def test_closed(tmp_path: pathlib.Path) -> None:
    store = decache.Store(tmp_path / "closed.h5")
    name = store.put(array())
    store.close()
    store.close()
    for use in (lambda: store.put(array()), lambda: store.get(name), store.stat, store.flush,
                lambda: list(store), store.verify, lambda: name in store):
        with pytest.raises(decache.ClosedError):
            use()
    assert os.listdir(tmp_path) == ["closed.h5"]


def test_without_create(tmp_path: pathlib.Path) -> None:
    with pytest.raises(decache.NotFoundError):
        decache.Store(tmp_path / "none.h5", create=False)
    with pytest.raises(decache.NotFoundError):
        decache.Store(tmp_path / "none.h5", read_only=True)
    assert os.listdir(tmp_path) == []


def test_pickled(store: decache.Store) -> None:
    name = store.put(array())
    with pickle.loads(pickle.dumps(store)) as other:
        np.testing.assert_array_equal(other.get(name), array())


def test_paths_of_every_kind(tmp_path: pathlib.Path) -> None:
    for name in ("plain.h5", "ünïcode.h5", "with space.h5", os.fsdecode(b"bytes\xff.h5")):
        for path in (tmp_path / name, str(tmp_path / name)):
            with decache.Store(path) as store:
                store.put(array())
            with decache.Store(path, create=False) as store:
                assert len(store) == 1


def test_repr(store: decache.Store) -> None:
    assert repr(store) == f"decache.Store({store.path!r})"


# -- bad arguments -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.array(["a", None]), np.array([{}]),
     np.zeros(3, [("x", "O")])],
)
def test_arrays_that_hold_objects(value: Any, store: decache.Store) -> None:
    with pytest.raises(TypeError, match="references"):
        store.put(value)
    assert len(store) == 0


def test_arrays_of_variable_strings(store: decache.Store) -> None:
    if not hasattr(getattr(np, "dtypes", None), "StringDType"):
        pytest.skip("this NumPy has no StringDType")
    with pytest.raises(TypeError, match="references"):
        store.put(np.array(["a"], np.dtypes.StringDType()))


@pytest.mark.parametrize("name", ["", "0" * 63, "g" * 64, "0" * 65, "ü" * 64])
def test_names_that_are_none(name: str, store: decache.Store) -> None:
    with pytest.raises(ValueError, match="64 hex digits"):
        store.get(name)


def test_a_name_that_is_not_there(store: decache.Store) -> None:
    with pytest.raises(decache.NotFoundError, match="0" * 8) as caught:
        store.get("0" * 64)
    assert isinstance(caught.value, KeyError) and isinstance(caught.value, decache.Error)
    assert caught.value.code == -2
    assert str(caught.value)[0] != "'"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"durability": "maybe"}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"threads": -1}, ValueError),
        ({"verify": "yes"}, ValueError),
    ],
)
def test_bad_options(options: dict, error: type, tmp_path: pathlib.Path) -> None:
    with pytest.raises(error):
        decache.Store(tmp_path / "bad.h5", **options)


def test_bad_mode_and_check(store: decache.Store) -> None:
    name = store.put(array())
    with pytest.raises(ValueError, match="mmap_mode"):
        store.get(name, "r+")
    with pytest.raises(ValueError, match="'never', 'fast' or 'full'"):
        store.verify("slow")
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError):
            store.verify(fraction=fraction)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(2000)])
def test_files_that_are_no_containers(content: bytes, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "other.h5"
    path.write_bytes(content)
    with pytest.raises((decache.NotAStoreError, decache.DamagedError), match="other.h5"):
        decache.Store(path)
    assert path.read_bytes() == content


def test_a_folder_and_a_missing_folder(tmp_path: pathlib.Path) -> None:
    with pytest.raises(decache.NotAStoreError, match="folder"):
        decache.Store(tmp_path)
    with pytest.raises(decache.Error, match="none"):
        decache.Store(tmp_path / "none" / "x.h5")


def test_every_error_class_is_exported() -> None:
    classes = [one for one in vars(_h5store).values()
               if isinstance(one, type) and issubclass(one, decache.Error)]
    assert len(classes) == 17
    for one in classes:
        assert getattr(decache, one.__name__) is one
        assert one.__doc__


# -- the extension -----------------------------------------------------------------------------


def test_private_types_cannot_be_made() -> None:
    for one in (_h5store.Blob, _h5store.Item, _h5store.Batch):
        with pytest.raises(TypeError):
            one()
    with pytest.raises(TypeError):
        _h5store.Store.anything = 1


def test_an_ended_batch(store: decache.Store) -> None:
    batch = store._handle.raw.batch()
    batch.put(array(), "'<f8'")
    batch.abort()
    batch.abort()
    with pytest.raises(decache.InvalidError):
        batch.commit()
    assert len(store) == 0


def test_a_dropped_batch_leaves_nothing(store: decache.Store) -> None:
    for _ in range(3):
        store._handle.raw.batch().put(array(), "'<f8'")
    assert len(store) == 0
    assert [one for one in store.verify() if one.is_error] == []


def test_an_item_with_a_link_to_nothing(store: decache.Store) -> None:
    batch = store._handle.raw.batch()
    batch.set_item("f", "key", b"", "{}", ["0" * 64])
    with pytest.raises(decache.NotFoundError):
        batch.commit()
    assert store.stat().items == 0


def test_names_with_a_zero(store: decache.Store) -> None:
    batch = store._handle.raw.batch()
    with pytest.raises(ValueError, match="zero character"):
        batch.set_source("a\0b", "text")


def test_nothing_leaks(store: decache.Store) -> None:
    """References: the same work again and again leaves as many objects as before."""
    raw = store._handle.raw

    def work() -> None:
        batch = raw.batch()
        name = batch.put(array(), "'<f8'")
        batch.set_item("m/f", "key", b"output", "{}", [name, name])
        batch.commit()
        item = raw.item("m/f", "key")
        item.blob(1).read(np.dtype("f8"))
        store.get(name, "r")
        list(raw.items()), list(raw.blobs()), raw.stat(), store.verify()
        for fail in (lambda: raw.blob("0" * 64), lambda: item.blob(7), lambda: raw.blob(3),
                     lambda: batch.commit(), lambda: raw.get_source("none")):
            with pytest.raises((decache.Error, IndexError, TypeError)):
                fail()

    def count() -> int:
        gc.collect()
        return len(gc.get_objects())

    for _ in range(3):
        work()
    before, files = count(), len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        work()
    assert count() - before < 20
    assert len(os.listdir("/proc/self/fd")) == files


def test_calls_of_many_threads_overlap(store: decache.Store) -> None:
    """The GIL is free while an array is hashed and written: another thread runs meanwhile."""
    large = array(3, 1 << 23)
    ticks, done = [0], threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks[0] += 1

    thread = threading.Thread(target=tick)
    thread.start()
    before = ticks[0]
    store._handle.raw.put(large, "'<f8'")
    during = ticks[0] - before
    done.set()
    thread.join()
    assert during > 100
