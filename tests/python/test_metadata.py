# SPDX-License-Identifier: MIT
"""The metadata of a result: readable inside the container, joblib's own when asked for."""

from __future__ import annotations

import calendar
import json
import time

import h5py
import joblib
import pytest
from decache import _metadata


def area(width: int, height: int = 2, note: str = "") -> int:
    return width * height


def stored(location: str) -> dict:
    """The one metadata text in a container, as a stock program sees it."""
    found = []

    def look(name: str, thing: h5py.Group) -> None:
        if "metadata" in thing.attrs:
            found.append(thing.attrs["metadata"])

    with h5py.File(location, "r") as file:
        file["items"].visititems(look)
    assert len(found) == 1
    text = found[0]
    return json.loads(text.decode() if isinstance(text, bytes) else text)


def test_a_viewer_shows_the_call_and_the_time_first(memory: joblib.Memory) -> None:
    cached = memory.cache(area)
    cached(3)
    memory.store_backend._shared.close()
    shown = stored(f"{memory.store_backend.location}/blobs.h5")
    assert list(shown)[:2] == ["call", "computed"]
    assert shown["call"].startswith("area(")  # the order is joblib's
    assert sorted(shown["call"][5:-1].split(", ")) == ["height=2", "note=''", "width=3"]
    computed = calendar.timegm(time.strptime(shown["computed"], "%Y-%m-%d %H:%M:%S UTC"))
    assert abs(computed - shown["time"]) <= 1


def test_joblib_gets_back_what_it_gave(memory: joblib.Memory) -> None:
    cached = memory.cache(area)
    if not hasattr(cached, "func_id"):
        pytest.skip("this joblib names calls otherwise")
    cached(3)
    call_id = (cached.func_id, cached._get_args_id(3))
    for backend in (memory.store_backend, joblib.Memory(
        memory.location, backend="cas", verbose=0
    ).cache(area).store_backend):
        assert set(backend.get_metadata(call_id)) == {"duration", "input_args", "time"}


@pytest.mark.parametrize(
    ("metadata", "call"),
    [
        ({"input_args": {"a": "1", "b": "'x'"}}, "f(a=1, b='x')"),
        ({"input_args": {}}, "f()"),
        ({}, "f"),
        ({"input_args": {"a": "9" * 1000}}, "f(a=" + "9" * 193 + "..."),
    ],
)
def test_the_call(metadata: dict, call: str) -> None:
    given = {**metadata, "time": 1e9}
    text = _metadata.encode(("module/f", "0123"), given)
    assert json.loads(text)["call"] == call
    assert json.loads(text)["computed"] == "2001-09-09 01:46:40 UTC"
    assert _metadata.decode(text) == given


@pytest.mark.parametrize("when", [None, "yesterday", 1e300, float("nan")])
def test_a_time_that_is_none(when: object) -> None:
    text = _metadata.encode(("module/f", "0123"), {"time": when})
    assert "computed" not in json.loads(text)


def test_a_text_that_is_not_ours() -> None:
    assert _metadata.decode("[1]") == [1]
    assert _metadata.decode(' {"call": "f()", "time": 2.5}\n') == {"time": 2.5}
    with pytest.raises(ValueError):
        _metadata.decode("{")
    with pytest.raises(ValueError):
        _metadata.decode("{} {}")
