# SPDX-License-Identifier: MIT
"""The pickler by itself: what it takes out of the stream, and what it leaves there."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pytest

from conftest import totals
from decache import _h5store, _pickler

LARGE = 1 << 15


def arrays_of(result: Any, threshold: int = 1000) -> list[np.ndarray]:
    return _pickler.dump(result, threshold).arrays


# -- what is taken out -------------------------------------------------------------------------


def test_an_array_is_not_copied() -> None:
    array = np.arange(LARGE)
    (taken,) = arrays_of({"x": [array]})
    assert np.shares_memory(taken, array)


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a.reshape(128, -1).T,
        lambda a: a.reshape(8, 16, -1).transpose(2, 0, 1),
        lambda a: a[100:],
        lambda a: a.view(np.matrix),
        lambda a: a.view("M8[s]"),
        lambda a: np.ma.masked_array(a, np.zeros(len(a), bool)),
    ],
    ids=["transposed", "permuted", "part", "matrix", "dates", "masked"],
)
def test_neither_is_a_view(view: Callable) -> None:
    array = np.arange(LARGE)
    taken = arrays_of(view(array))[0]
    assert np.shares_memory(taken, array)


def test_the_threshold_is_exclusive() -> None:
    array = np.zeros(1000, np.uint8)
    assert arrays_of(array, 1000) == []
    assert len(arrays_of(array, 999)) == 1


def test_a_view_takes_its_own_values_only() -> None:
    (taken,) = arrays_of(np.arange(1 << 20)[:LARGE])
    assert taken.shape == (LARGE,)


def test_one_array_is_taken_once() -> None:
    array = np.arange(LARGE)
    assert len(arrays_of([array, array, {"x": array}])) == 1
    assert len(arrays_of([array, array.copy()])) == 2


def test_arrays_of_objects_stay_but_what_they_hold_goes() -> None:
    array = np.empty(5000, object)
    array[:] = "text"
    array[7] = np.arange(LARGE)
    (taken,) = arrays_of(array)
    assert taken.dtype == np.arange(1).dtype


def test_large_bytes_become_parts_of_the_stream() -> None:
    data = random.Random(3).randbytes(1 << 20)
    pickled = _pickler.dump(["before", data, "after"], 1000)
    sizes = [getattr(part, "nbytes", None) or len(part) for part in pickled.parts]
    assert sizes[1] == len(data)
    assert sizes[0] < 100 and sizes[2] < 100
    assert np.shares_memory(pickled.parts[1], np.frombuffer(data, np.uint8))  # not copied
    stream = b"".join(bytes(part) for part in pickled.parts)
    assert stream == pickle.dumps(["before", data, "after"], 5)


def test_the_stream_is_what_pickle_writes() -> None:
    for result in ([1, 2], list(range(100_000)), {"x": "y" * 500_000}, [b"z" * 70_000] * 2):
        pickled = _pickler.dump(result, 1000)
        stream = b"".join(bytes(part) for part in pickled.parts)
        assert stream == pickle.dumps(result, 5)


def test_a_long_stream_is_one_part() -> None:
    pickled = _pickler.dump(list(range(500_000)), 1000)
    assert [type(part) for part in pickled.parts] == [np.ndarray]


def test_bytes_of_a_subclass_get_the_type_of_its_values() -> None:
    from test_pickler_kinds import WithInfo

    array = np.asfortranarray(np.random.default_rng(1).standard_normal((200, 300))).view(WithInfo)
    pickled = _pickler.dump(array, 1000)
    (part,) = [part for part in pickled.parts if isinstance(part, np.ndarray)]
    assert (part.dtype, part.shape) == (array.dtype, array.shape)
    assert part.flags.f_contiguous
    np.testing.assert_array_equal(part, array)


def test_the_pickler_keeps_nothing_alive() -> None:
    array = np.arange(LARGE)
    before = sys.getrefcount(array)
    _pickler.dump([array, array.view(np.matrix)], 1000)
    assert sys.getrefcount(array) == before


def test_a_reducer_of_copyreg_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    import copyreg

    from test_pickler_kinds import Plain

    monkeypatch.setitem(copyreg.dispatch_table, Plain, lambda array: (len, ("four",)))
    stream = b"".join(_pickler.dump(np.arange(LARGE).view(Plain), 1000).parts)
    assert pickle.loads(stream) == 4


# -- deterministic -----------------------------------------------------------------------------


def test_another_process_makes_the_same_pieces(run_python: Callable) -> None:
    code = """
        import hashlib, numpy
        import test_pickler_kinds as kinds
        from decache import _dtype, _h5store, _pickler
        made = dict((name, make) for name, make, _ in kinds.KINDS)
        for name in ("array", "records", "masked array", "subclass with attributes",
                     "large bytes", "many ints", "shared by objects", "recarray",
                     "transposed view", "strided view", "dataclass", "large text"):
            pickled = _pickler.dump(made[name](), 1000)
            for piece in [*pickled.arrays, *pickled.parts]:
                data = piece if isinstance(piece, bytes) else piece.tobytes("A")
                print(name, hashlib.sha256(data).hexdigest())
    """
    first, second = run_python(code).stdout, run_python(code).stdout
    assert first == second
    assert first.count("\n") >= 12


# -- the hook ----------------------------------------------------------------------------------


def test_the_hook_sends_small_things_on() -> None:
    seen: list[Any] = []
    hook = _h5store.PickleHook(100, lambda array: seen.append(array) or "array", seen.append)
    for small in (1, "x" * 1000, [1], np.zeros(10), np.empty(1000, object), ValueError, len):
        assert hook.reduce(small) is NotImplemented
    assert hook.reduce(np.zeros(1000)) == "array"
    assert hook.reduce(np.zeros(1000).view(np.matrix)) == "array"
    assert len(seen) == 2
    assert hook.buffer(pickle.PickleBuffer(bytes(100))) is True
    assert len(seen) == 2
    hook.buffer(pickle.PickleBuffer(bytes(101)))
    assert len(seen) == 3


def test_the_hook_passes_exceptions_on() -> None:
    def fail(_: Any) -> None:
        raise KeyError("passed")

    hook = _h5store.PickleHook(10, fail, fail)
    with pytest.raises(KeyError, match="passed"):
        hook.reduce(np.zeros(1000))
    with pytest.raises(KeyError, match="passed"):
        hook.buffer(pickle.PickleBuffer(bytes(1000)))
    with pytest.raises(TypeError):
        _h5store.PickleHook("x", fail, fail)


# -- the output's bytes ------------------------------------------------------------------------


def test_output_of_one_inline_part() -> None:
    output = _pickler.encode(3, [(b"stream", 6, None)])
    assert output == (
        b"dcr\x01" b"\x03\0\0\0" b"\x01\0\0\0" b"\x06\0\0\0\0\0\0\0" b"\xff\xff\xff\xff" b"stream"
    )
    layout = _pickler.decode(output)
    assert (layout.buffers, layout.parts) == (3, ((6, None, b"stream"),))


def test_output_of_mixed_parts() -> None:
    parts = [(b"ab", 2, None), (None, 1 << 40, 7), (b"c", 1, None), (None, 5, 8)]
    layout = _pickler.decode(_pickler.encode(0, parts))
    assert layout.parts == ((2, None, b"ab"), (1 << 40, 7, None), (1, None, b"c"), (5, 8, None))


@pytest.mark.parametrize(
    "output",
    [b"", b"dcr", b"dcr\x01", b"dcr\x02" + bytes(8), b"dcr\x01" + bytes(4) + b"\xff" * 4,
     b"dcr\x01" + bytes(8) + b"more", _pickler.encode(0, [(b"abc", 3, None)])[:-1]],
)
def test_outputs_that_are_none(output: bytes) -> None:
    with pytest.raises(ValueError, match="stored output"):
        _pickler.decode(output)


# -- shared streams ----------------------------------------------------------------------------


def test_equal_results_without_arrays_are_stored_once(memory: joblib.Memory) -> None:
    backend = memory.store_backend
    for key in ("0" * 32, "1" * 32):
        backend.dump_item(("f", key), list(range(100_000)))
        backend.store_metadata(("f", key), {})
    stat = totals(memory)
    assert (stat.items, stat.blobs, stat.links) == (2, 1, 2)


def test_results_with_parts_of_every_kind(memory: joblib.Memory) -> None:
    rng = random.Random(5)
    result = {
        "small": b"x",
        "bytes": rng.randbytes(200_000),
        "array": np.arange(LARGE),
        "bytearray": bytearray(rng.randbytes(70_000)),
        "numbers": list(range(100_000)),
        "text": "é" * 100_000,
        "again": np.arange(LARGE)[::-1],
        "empty": b"",
    }
    backend = memory.store_backend
    backend.dump_item(("f", "0" * 32), result)
    backend.store_metadata(("f", "0" * 32), {})
    loaded = backend.load_item(("f", "0" * 32))
    assert pickle.dumps(loaded, 5) == pickle.dumps(pickle.loads(pickle.dumps(result, 5)), 5)


def test_loaded_arrays_are_independent(memory: joblib.Memory) -> None:
    backend = memory.store_backend
    backend.dump_item(("f", "0" * 32), [np.arange(LARGE), np.arange(LARGE)])
    backend.store_metadata(("f", "0" * 32), {})
    one, two = backend.load_item(("f", "0" * 32))
    one[:] = 0
    assert two[1] == 1
    assert one.flags.owndata and two.flags.owndata
