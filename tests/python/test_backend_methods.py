# SPDX-License-Identifier: MIT
"""The backend's methods, one by one, in all the forms in which joblib 1.2 to 1.6 call them."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pytest
from joblib._store_backends import CacheItemInfo, StoreBackendBase

from conftest import totals
from decache import _metadata
from decache.store_backend import ContentAddressableStoreBackend

FUNCTION = "package.module/function"
KEY = "0123456789abcdef0123456789abcdef"
METADATA = {"duration": 1.5, "input_args": {"x": "'ä'"}, "time": 1_600_000_000.0}


@pytest.fixture
def backend(memory: joblib.Memory) -> ContentAddressableStoreBackend:
    return memory.store_backend


@pytest.fixture(params=[list, tuple], ids=["list", "tuple"])
def form(request: pytest.FixtureRequest) -> Callable:
    """Paths are lists in joblib 1.2 and 1.3, tuples later."""
    return request.param


def put(backend: ContentAddressableStoreBackend, value: Any, key: str = KEY) -> None:
    backend.dump_item((FUNCTION, key), value, verbose=0)
    backend.store_metadata((FUNCTION, key), METADATA)


def test_it_is_a_store_backend(backend: ContentAddressableStoreBackend) -> None:
    assert isinstance(backend, StoreBackendBase)
    assert isinstance(backend.location, str)
    assert repr(backend) == f'ContentAddressableStoreBackend(location="{backend.location}")'


def test_dump_and_load(backend: ContentAddressableStoreBackend, form: Callable) -> None:
    path = form([FUNCTION, KEY])
    backend.dump_item(path, {"x": np.arange(500)}, verbose=1)
    backend.store_metadata(path, METADATA)
    for arguments in ({}, {"verbose": 0}, {"msg": None}, {"timestamp": 1.0, "metadata": METADATA}):
        loaded = backend.load_item(path, **arguments)
        np.testing.assert_array_equal(loaded["x"], np.arange(500))
    assert path == form([FUNCTION, KEY])


def test_load_of_nothing(backend: ContentAddressableStoreBackend, form: Callable) -> None:
    with pytest.raises(KeyError, match="Non-existing item"):
        backend.load_item(form([FUNCTION, KEY]))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"verbose": 1}, ""),
        ({"verbose": 2, "msg": "[Memory] old form"}, "[Memory] old form...\n"),
        ({"verbose": 2}, "[Memory]: Loading function...\n"),
        ({"verbose": 2, "metadata": METADATA}, "[Memory]: Loading function(x='ä')...\n"),
        ({"verbose": 10}, "[Memory]: Loading function from {}\n"),
    ],
)
def test_load_prints(
    arguments: dict, line: str, backend: ContentAddressableStoreBackend, capsys: Any
) -> None:
    put(backend, 1)
    backend.load_item((FUNCTION, KEY), **arguments)
    full = os.path.join(backend.location, FUNCTION, KEY)
    assert capsys.readouterr().out == line.format(full)


def test_contains_item(backend: ContentAddressableStoreBackend, form: Callable) -> None:
    path = form([FUNCTION, KEY])
    assert backend.contains_item(path) is False
    put(backend, 1)
    assert backend.contains_item(path) is True
    backend.clear_item(path)
    assert backend.contains_item(path) is False


def test_an_item_is_one_commit(backend: ContentAddressableStoreBackend) -> None:
    """Until the metadata have come nobody sees the item; then all of it is there."""
    reader = backend._shared.handle().raw
    backend.dump_item((FUNCTION, KEY), np.arange(500))
    assert not reader.has_item(FUNCTION, KEY)
    backend.store_metadata((FUNCTION, KEY), METADATA)
    item = reader.item(FUNCTION, KEY)
    assert _metadata.decode(item.metadata) == METADATA
    assert item.link_count == 1


def test_an_item_without_metadata_is_committed_by_the_next_call(
    backend: ContentAddressableStoreBackend,
) -> None:
    backend.dump_item((FUNCTION, KEY), np.arange(500))
    assert backend.contains_item((FUNCTION, KEY))
    assert list(backend.get_metadata((FUNCTION, KEY))) == ["time"]
    backend.store_metadata((FUNCTION, KEY), METADATA)
    assert backend.get_metadata((FUNCTION, KEY)) == METADATA


def test_metadata(backend: ContentAddressableStoreBackend, form: Callable) -> None:
    path = form([FUNCTION, KEY])
    assert backend.get_metadata(path) == {}
    put(backend, 1)
    assert backend.get_metadata(path) == METADATA


def test_metadata_without_time_get_one(backend: ContentAddressableStoreBackend) -> None:
    """As from joblib 1.2: what was just stored must not count as the oldest."""
    put(backend, 1)
    backend.dump_item((FUNCTION, "f" * 32), 2)
    backend.store_metadata((FUNCTION, "f" * 32), {"duration": 1.0})
    backend.reduce_store_size(100)
    backend.enforce_store_limits(None, 1)
    assert len(backend.get_items()) <= 1
    assert not backend.contains_item((FUNCTION, KEY))


def test_metadata_of_no_item_are_not_kept(backend: ContentAddressableStoreBackend) -> None:
    backend.store_metadata((FUNCTION, KEY), METADATA)
    assert backend.get_metadata((FUNCTION, KEY)) == {}


def test_metadata_of_an_item_removed_meanwhile(
    backend: ContentAddressableStoreBackend, make_memory: Callable
) -> None:
    """Callbacks look at metadata["time"]: they get what it was when joblib found the item."""
    put(backend, 1)
    assert backend.contains_item((FUNCTION, KEY))
    backend._shared.run(lambda handle: remove_all(handle.raw))
    assert backend.get_metadata((FUNCTION, KEY)) == METADATA
    assert backend.get_metadata((FUNCTION, KEY)) == {}


def remove_all(raw: Any) -> None:
    batch = raw.batch()
    batch.remove(None, None)
    batch.commit()


def test_function_code(backend: ContentAddressableStoreBackend) -> None:
    path = [FUNCTION]
    backend.store_cached_func_code(path)
    with pytest.raises(OSError):
        backend.get_cached_func_code(path)
    code = "# first line: 1\ndef f():\n    return 'ä'\n"
    backend.store_cached_func_code(path, code)
    assert backend.get_cached_func_code(path) == code
    backend.store_cached_func_code(path, code + "#")
    assert backend.get_cached_func_code(path) == code + "#"
    backend.store_cached_func_code(path)
    assert backend.get_cached_func_code(path) == code + "#"
    assert path == [FUNCTION]


def test_decorating_writes_nothing(memory: joblib.Memory) -> None:
    memory.cache(np.sqrt)
    assert "blobs.h5" not in os.listdir(memory.store_backend.location)


def test_infos(backend: ContentAddressableStoreBackend, form: Callable) -> None:
    assert backend.get_cached_func_info([FUNCTION]) == {
        "location": os.path.join(backend.location, FUNCTION)
    }
    assert backend.get_item_info(form([FUNCTION, KEY])) == {
        "location": os.path.join(backend.location, FUNCTION, KEY)
    }


def test_contains_path(backend: ContentAddressableStoreBackend) -> None:
    assert not backend.contains_path([FUNCTION])
    put(backend, 1)
    assert backend.contains_path([FUNCTION])


def test_clear_path_takes_items_and_code(backend: ContentAddressableStoreBackend) -> None:
    put(backend, np.arange(500))
    backend.store_cached_func_code([FUNCTION], "code")
    backend.store_cached_func_code([FUNCTION + "2"], "code 2")
    backend.clear_path([FUNCTION])
    assert not backend.contains_item((FUNCTION, KEY))
    with pytest.raises(OSError):
        backend.get_cached_func_code([FUNCTION])
    assert backend.get_cached_func_code([FUNCTION + "2"]) == "code 2"


def test_clearing_what_is_not_there(backend: ContentAddressableStoreBackend) -> None:
    backend.clear_path([FUNCTION])
    backend.clear_item((FUNCTION, KEY))
    backend.clear_location(os.path.join(backend.location, FUNCTION, KEY))
    backend.clear()


def test_get_items(backend: ContentAddressableStoreBackend) -> None:
    assert backend.get_items() == []
    put(backend, np.arange(500))
    put(backend, np.arange(500), "f" * 32)
    put(backend, np.arange(1000), "e" * 32)
    items = {item.path: item for item in backend.get_items()}
    assert len(items) == 3
    for item in items.values():
        assert isinstance(item, CacheItemInfo)
        age = datetime.datetime.now() - item.last_access
        assert datetime.timedelta(0) <= age < datetime.timedelta(minutes=5)
    sizes = [items[os.path.join(backend.location, FUNCTION, key)].size
             for key in (KEY, "f" * 32, "e" * 32)]
    assert 0 < sizes[0] == sizes[1] < 500  # the array is not theirs alone
    assert 8000 < sizes[2] < 8500


def test_clear_location_of_an_item_and_of_all(backend: ContentAddressableStoreBackend) -> None:
    put(backend, np.arange(500))
    put(backend, 2, "f" * 32)
    backend.clear_location(backend.get_items()[0].path)
    assert len(backend.get_items()) == 1
    backend.clear_location(backend.location)
    assert backend.get_items() == []


def test_replacing_an_item_frees_its_arrays(
    backend: ContentAddressableStoreBackend, memory: joblib.Memory
) -> None:
    put(backend, np.arange(500))
    put(backend, np.arange(600))
    stat = totals(memory)
    assert (stat.items, stat.blobs, stat.blob_bytes) == (1, 1, 4800)


@pytest.mark.parametrize(
    "name",
    ["f", "a/b/c/d", "ünïcode/ƒ", "with space/and 'quotes'", "__main__--tmp-<stdin>/f", "a//b",
     "x" * 300 + "/f", "/".join(["long" * 60] * 20), "bad\udc80/f"],
    ids=["short", "deep", "unicode", "quotes", "main", "empty part", "long", "very long", "bytes"],
)
def test_names_of_functions(name: str, backend: ContentAddressableStoreBackend) -> None:
    backend.store_cached_func_code([name], "code")
    backend.dump_item((name, KEY), np.arange(500))
    backend.store_metadata((name, KEY), METADATA)
    assert backend.get_cached_func_code([name]) == "code"
    assert backend.contains_item((name, KEY))
    np.testing.assert_array_equal(backend.load_item((name, KEY)), np.arange(500))
    assert len(backend.get_items()) == 1
    backend.clear_location(backend.get_items()[0].path)
    assert not backend.contains_item((name, KEY))
    backend.clear_path([name])
    with pytest.raises(OSError):
        backend.get_cached_func_code([name])


def test_a_function_inside_another_collection(backend: ContentAddressableStoreBackend) -> None:
    """As with folders: clearing "a" clears "a/b"; clearing "a/b" leaves "a"."""
    for name in ("a", "a/b"):
        backend.dump_item((name, KEY), 1)
        backend.store_metadata((name, KEY), METADATA)
    backend.clear_path(["a/b"])
    assert backend.contains_item(("a", KEY))
    assert not backend.contains_item(("a/b", KEY))
    backend.dump_item(("a/b", KEY), 1)
    backend.store_metadata(("a/b", KEY), METADATA)
    backend.clear_path(["a"])
    assert backend.get_items() == []
