# SPDX-License-Identifier: MIT
"""Limits: reduce_size and backend_options keep the file small, and the right results."""

import datetime
import os
import time

import numpy as np
import pytest
from conftest import reduce_size
from joblib import Memory

from decache import CacheWarning, _backend, _h5store

MIB = 1 << 20


def cached(tmp_path, **options):
    memory = Memory(str(tmp_path), backend="cas", verbose=0, backend_options=options)

    @memory.cache
    def make(number, size=MIB):
        return np.full(size // 8, float(number))

    @memory.cache
    def again(number, size=MIB):
        return np.full(size // 8, float(number))

    return memory, make, again


def container(tmp_path):
    return tmp_path / "joblib" / "blobs.h5"


def totals(memory):
    return memory.store_backend._shared.run(lambda handle: handle.raw.stat())


def test_reduce_size_gets_the_file_under_the_limit(tmp_path):
    memory, make, _ = cached(tmp_path)
    for number in range(20):
        make(number)
    reduce_size(memory, bytes_limit=8 * MIB)
    assert 4 <= totals(memory).items <= 7
    assert os.stat(container(tmp_path)).st_blocks * 512 <= 8 * MIB
    assert make.check_call_in_cache(19) and not make.check_call_in_cache(0)


def test_sharing_is_taken_into_account(tmp_path):
    """Results that share an array free it only with the last of them."""
    memory, make, again = cached(tmp_path)
    for number in range(10):
        make(number)
        again(number)
    assert totals(memory).blobs == 10
    reduce_size(memory, bytes_limit=6 * MIB)
    assert totals(memory).used_bytes <= 6 * MIB
    assert totals(memory).items == 2 * totals(memory).blobs
    assert totals(memory).blobs >= 4


def test_what_was_used_last_stays(tmp_path):
    memory, make, _ = cached(tmp_path)
    for number in range(10):
        make(number)
    for number in (3, 1, 7):
        make(number)  # hits
    reduce_size(memory, items_limit=3)
    assert [n for n in range(10) if make.check_call_in_cache(n)] == [1, 3, 7]


def test_hits_of_another_process_count(tmp_path):
    """Times of use are kept in the container."""
    memory, make, _ = cached(tmp_path)
    for number in range(4):
        make(number)
    memory.store_backend._shared.close()
    other, theirs, _ = cached(tmp_path)
    theirs(0)
    other.store_backend._shared.close()
    third, make, _ = cached(tmp_path)
    reduce_size(third, items_limit=1)
    assert make.check_call_in_cache(0)


def test_age_counts_from_the_last_use(tmp_path):
    memory, make, _ = cached(tmp_path)
    make(1)
    make(2)
    time.sleep(1.2)
    make(1)
    reduce_size(memory, age_limit=datetime.timedelta(seconds=1))
    assert make.check_call_in_cache(1) and not make.check_call_in_cache(2)


def test_nothing_to_do_looks_at_nothing(tmp_path, monkeypatch):
    memory, make, _ = cached(tmp_path)
    make(1)
    from decache import _limits

    monkeypatch.setattr(_limits, "entries", lambda raw: pytest.fail("it looked"))
    reduce_size(memory, bytes_limit="1G", items_limit=5)
    assert make.check_call_in_cache(1)


def test_no_limit_by_default(tmp_path):
    memory, make, _ = cached(tmp_path)
    for number in range(50):
        make(number)
    assert totals(memory).items == 50


@pytest.mark.parametrize("options", [{"bytes_limit": "6M"}, {"items_limit": 5}])
def test_limits_of_the_backend_are_kept_without_asking(tmp_path, options):
    memory, make, _ = cached(tmp_path, **options)
    seen = []
    for number in range(30):
        make(number)
        assert make.check_call_in_cache(number)  # never what was just stored
        seen.append(totals(memory))
    assert max(one.items for one in seen) <= 6
    if "bytes_limit" in options:
        assert max(one.used_bytes for one in seen) <= 6_000_000 + 2 * MIB
    assert totals(memory).items >= 3


def test_space_for_results_to_come_does_not_count(tmp_path):
    """Who stores one after the other reserves up to 4 MiB ahead: more than all of this limit."""
    memory, make, _ = cached(tmp_path, bytes_limit="3M")
    seen = []
    for number in range(60):
        make(number, 240_000)
        seen.append(totals(memory))
    assert min(one.items for one in seen[12:]) >= 9  # a tenth more than necessary goes
    assert max(one.used_bytes for one in seen) <= 3_000_000 + 240_000 + 4096


def test_result_larger_than_the_limit_is_stored_with_a_warning(tmp_path):
    memory, make, _ = cached(tmp_path, bytes_limit=2 * MIB)
    make(1)
    with pytest.warns(CacheWarning, match=r"make .*is larger than the bytes_limit"):
        make(2, size=5 * MIB)
    assert make.check_call_in_cache(2, size=5 * MIB) and not make.check_call_in_cache(1)


@pytest.mark.parametrize(
    "options, error",
    [
        ({"bytes_limit": "much"}, ValueError),
        ({"items_limit": -1}, ValueError),
        ({"age_limit": "old"}, TypeError),
    ],
)
def test_bad_limits_are_refused(tmp_path, options, error):
    with pytest.raises(error):
        cached(tmp_path, **options)


def test_hits_and_misses_are_counted(tmp_path):
    memory, make, _ = cached(tmp_path)
    make(1)
    make(1)
    make(2)
    raw = memory.store_backend._shared.handle().raw
    assert raw.usage()[:3] == (1, 2, 0)
    collection, key, why = raw.misses()[0][1:]
    assert collection.endswith("make") and len(key) == 32
    assert why == "nothing was stored for these arguments"
    make.clear(warn=False)
    make(1)
    assert raw.misses()[0][3] == "the function was changed or cleared since"


def test_what_went_is_not_remembered_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(_backend, "_GONE_MOST", 20, raising=False)
    memory, make, again = cached(tmp_path, items_limit=10)
    for number in range(60):
        make(number, 8)
    assert len(memory.store_backend._gone) <= 20
    last = max(n for n in range(60) if not make.check_call_in_cache(n, 8))
    make(last, 8)
    make(0, 8)
    raw = memory.store_backend._shared.handle().raw
    assert [miss[3] for miss in raw.misses()[:2]] == [
        "nothing was stored for these arguments", "it was removed to keep the limits"
    ]


def test_healed_results_are_counted(tmp_path):
    memory, make, _ = cached(tmp_path)
    make(1)
    raw = memory.store_backend._shared.handle().raw
    offset = next(raw.blobs()).offset
    raw.flush()
    with open(container(tmp_path), "r+b") as file:
        file.seek(offset + 100)
        file.write(b"\xaa")
    with pytest.warns(CacheWarning, match="computed again"):
        assert make(1)[5] == 1.0
    assert raw.usage().heals == 1


def test_reading_only_notes_nothing(tmp_path):
    memory, make, _ = cached(tmp_path)
    make(1)
    memory.store_backend._shared.close()
    with _h5store.Store(str(container(tmp_path)), read_only=True) as raw:
        raw.note("hit", "m/f", "k")
        assert raw.usage().hits == 0
