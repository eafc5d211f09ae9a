# SPDX-License-Identifier: MIT
"""backend_options: what is accepted, and what is said of the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pytest

from conftest import totals


def blobs_of(memory: joblib.Memory, nbytes: int) -> int:
    memory.cache(np.ones)(nbytes, np.uint8)
    return totals(memory).blobs


@pytest.mark.parametrize("threshold", [5000, 5000.0, np.int64(5000), np.float32(5000)])
def test_threshold(threshold: Any, make_memory: Callable) -> None:
    memory = make_memory(backend_options={"large_array_threshold": threshold})
    assert blobs_of(memory, 5000) == 0
    assert blobs_of(memory, 5001) == 1


def test_threshold_zero_and_infinity(make_memory: Callable, tmp_path: Any) -> None:
    everything = make_memory(backend_options={"large_array_threshold": 0})
    assert blobs_of(everything, 1) == 1
    nothing = make_memory(
        str(tmp_path / "other"), backend_options={"large_array_threshold": math.inf}
    )
    assert blobs_of(nothing, 10_000) == 0
    np.testing.assert_array_equal(nothing.cache(np.ones)(10_000, np.uint8), 1)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"large_array_threshold": "big"}, TypeError, "large_array_threshold.*whole number.*'big'"),
        ({"large_array_threshold": None}, TypeError, "large_array_threshold"),
        ({"large_array_threshold": True}, TypeError, "large_array_threshold"),
        ({"large_array_threshold": math.nan}, TypeError, "large_array_threshold"),
        ({"large_array_threshold": -1}, ValueError, "must not be negative"),
        ({"large_array_threshold": 1.5}, ValueError, "whole number"),
        ({"large_aray_threshold": 1}, ValueError,
         "'large_aray_threshold'.*mean 'large_array_threshold'"),
        ({"time_out": 1}, ValueError, "mean 'timeout'"),
        ({"mmap-mode": "r"}, ValueError, r"mean Memory\(mmap_mode=\.\.\.\)\?"),
        ({"compresss": 1}, ValueError, r"mean Memory\(compress=\.\.\.\)\?"),
        ({"timeout": "long"}, TypeError, "timeout.*seconds"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"timeout": math.inf}, ValueError, "timeout"),
        ({"durability": "always"}, ValueError, "'process', 'power'.*'always'"),
        ({"verify": True}, ValueError, "'fast', 'full', 'never'"),
        ({"threads": -2}, ValueError, "threads"),
        ({"threads": 10**6}, ValueError, "threads"),
    ],
)
def test_bad_options(
    options: dict, error: type, words: str, make_memory: Callable, location: str
) -> None:
    with pytest.raises(error, match=words):
        make_memory(backend_options=options)


def test_only_what_joblib_lets_through_is_offered(make_memory: Callable) -> None:
    with pytest.raises(ValueError, match="Options: large") as caught:
        make_memory(backend_options={"x": 1})
    for name in str(caught.value).partition("Options: ")[2].split(", "):
        # Nothing but a wrong value is wrong with it.
        with pytest.raises((TypeError, ValueError), match=f"backend option '{name}'"):
            make_memory(backend_options={name: object()})


def test_bad_mmap_mode(make_memory: Callable) -> None:
    with pytest.raises(ValueError, match="mmap_mode.*'x'"):
        make_memory(mmap_mode="x")


@pytest.mark.parametrize(
    "options",
    [{"durability": "power"}, {"verify": "full"}, {"verify": "never"}, {"threads": 3},
     {"timeout": 0.5}],
)
def test_other_options_store_and_load(options: dict, make_memory: Callable) -> None:
    cached = make_memory(backend_options=options).cache(np.arange)
    np.testing.assert_array_equal(cached(5000), cached(5000))
    assert cached.check_call_in_cache(5000)


@pytest.mark.parametrize("compress", [True, 3, ("zlib", 3)])
def test_compress_is_accepted(compress: Any, make_memory: Callable) -> None:
    cached = make_memory(compress=compress).cache(np.arange)
    np.testing.assert_array_equal(cached(5000), cached(5000))
