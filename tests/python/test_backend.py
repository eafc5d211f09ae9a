# SPDX-License-Identifier: MIT
"""What users of joblib.Memory do, with backend "cas"."""

from __future__ import annotations

import asyncio
import datetime
import functools
import gc
import os
import pathlib
import pickle
import subprocess
import warnings
from collections.abc import Callable
from typing import Any

import decache
import joblib
import numpy as np
import pytest

from conftest import THRESHOLD, totals

JOBLIB = tuple(int(part) for part in joblib.__version__.split(".")[:2])

calls: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


def make(seed: int, count: int = THRESHOLD) -> np.ndarray:
    calls.append(seed)
    return np.random.default_rng(seed).standard_normal(count)


def make_other(seed: int, count: int = THRESHOLD) -> np.ndarray:
    calls.append(("other", seed))
    return np.random.default_rng(seed).standard_normal(count)


def make_pair(seed: int) -> list[np.ndarray]:
    return [make(seed), make(seed)]


async def make_async(seed: int) -> np.ndarray:
    await asyncio.sleep(0)
    return make(seed)


class Maker:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def make(self, seed: int) -> np.ndarray:
        return self.factor * make(seed)


# -- calls -------------------------------------------------------------------------------------


def test_the_second_call_does_not_run(memory: joblib.Memory) -> None:
    cached = memory.cache(make)
    first, second = cached(1), cached(1)
    assert calls == [1]
    assert first is not second
    np.testing.assert_array_equal(first, second)


def test_a_result_is_there_for_another_memory(make_memory: Callable) -> None:
    make_memory().cache(make)(1)
    make_memory().cache(make)(1)
    assert calls == [1]


def test_a_result_is_there_for_another_process(location: str, run_python: Callable) -> None:
    code = """
        import sys, decache, joblib
        import test_backend as user
        memory = joblib.Memory(sys.argv[1], backend="cas", verbose=0)
        print(memory.cache(user.make)(1).sum(), user.calls)
    """
    first, second = (run_python(code, location).stdout for _ in range(2))
    assert first.endswith(" [1]\n")
    assert second == first.replace("[1]", "[]")


def test_equal_arrays_of_two_functions_are_one_blob(memory: joblib.Memory) -> None:
    memory.cache(make)(1)
    memory.cache(make_other)(1)
    stat = totals(memory)
    assert (stat.items, stat.blobs, stat.links) == (2, 1, 2)
    assert stat.linked_bytes == 2 * stat.blob_bytes == 16 * THRESHOLD


def test_small_arrays_are_no_blobs(memory: joblib.Memory) -> None:
    memory.cache(make)(1, THRESHOLD // 8)
    assert totals(memory).blobs == 0
    memory.cache(make)(1, THRESHOLD // 8 + 1)
    assert totals(memory).blobs == 1


def test_call_runs_and_stores_again(memory: joblib.Memory) -> None:
    cached = memory.cache(make)
    cached(1)
    cached.call(1)
    cached(1)
    assert calls == [1, 1]
    assert totals(memory).items == 1


def test_keyword_and_ignored_arguments(memory: joblib.Memory) -> None:
    cached = memory.cache(make, ignore=["count"])
    cached(1, count=2000)
    assert len(cached(seed=1, count=3000)) == 2000
    assert calls == [1]


@pytest.mark.parametrize(
    "function",
    [Maker(2).make, functools.partial(make, count=1234), lambda seed: make(seed), np.sqrt],
    ids=["method", "partial", "lambda", "ufunc"],
)
def test_functions_of_other_kinds(function: Callable, memory: joblib.Memory) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", joblib.memory.JobLibCollisionWarning)
        cached = memory.cache(function)
        first, second = cached(4), cached(4)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, function(4))


def test_nested_functions_and_functions_of_main(
    location: str, tmp_path: pathlib.Path, run_python: Callable
) -> None:
    code = """
import sys, decache, joblib, numpy
memory = joblib.Memory(sys.argv[1], backend="cas", verbose=0)

class Holder:
    def __init__(self):
        self.values = numpy.arange(20_000)

def outer():
    def inner(n):
        print("inner", n)
        return numpy.arange(n)
    return memory.cache(inner)

@memory.cache
def top():
    print("top")
    return Holder()

outer()(20_000), outer()(20_000)
top()
print(top().values.sum())
"""
    (tmp_path / "script.py").write_text(code)
    main = """
        import subprocess, sys
        sys.exit(subprocess.call([sys.executable, "script.py", sys.argv[1]]))
    """
    assert run_python(main, location).stdout == "inner 20000\ntop\n199990000\n"
    assert run_python(main, location).stdout == "199990000\n"


def test_async_functions(memory: joblib.Memory) -> None:
    if JOBLIB < (1, 4):
        pytest.skip("this joblib does not await")
    cached = memory.cache(make_async)

    async def both() -> tuple:
        return await cached(1), await cached(1)

    first, second = asyncio.run(both())
    np.testing.assert_array_equal(first, second)
    assert calls == [1]


def test_many_async_calls_at_once(memory: joblib.Memory) -> None:
    if JOBLIB < (1, 4):
        pytest.skip("this joblib does not await")
    cached = memory.cache(make_async)

    async def many() -> list:
        return await asyncio.gather(*(cached(seed) for seed in range(20)))

    for seed, array in enumerate(asyncio.run(many())):
        np.testing.assert_array_equal(array, np.random.default_rng(seed).standard_normal(1000))
    assert totals(memory).items == 20


# -- asking ------------------------------------------------------------------------------------


def test_check_call_in_cache(memory: joblib.Memory) -> None:
    cached = memory.cache(make)
    assert not cached.check_call_in_cache(1)
    cached(1)
    assert cached.check_call_in_cache(1)
    assert not cached.check_call_in_cache(2)


def test_shelving(memory: joblib.Memory) -> None:
    cached = memory.cache(make)
    shelved = cached.call_and_shelve(1)
    again = cached.call_and_shelve(1)
    np.testing.assert_array_equal(shelved.get(), again.get())
    assert calls == [1]
    travelled = pickle.loads(pickle.dumps(shelved))
    np.testing.assert_array_equal(shelved.get(), travelled.get())
    shelved.clear()
    with pytest.raises(KeyError, match="may have been cleared"):
        again.get()
    assert totals(memory).blobs == 0


def test_metadata_of_a_call(memory: joblib.Memory) -> None:
    shelved = memory.cache(make).call_and_shelve(1)
    metadata = memory.store_backend.get_metadata([shelved.func_id, shelved.args_id])
    assert metadata["input_args"] == {"seed": "1", "count": "1000"}
    assert metadata["duration"] >= 0


def test_validation_callback(memory: joblib.Memory) -> None:
    if JOBLIB < (1, 3):
        pytest.skip("this joblib has no validation callbacks")
    answers, seen = [True, False, True], []

    def validate(metadata: dict) -> bool:
        seen.append(metadata)
        return answers.pop(0)

    cached = memory.cache(make, cache_validation_callback=validate)
    for _ in range(4):
        cached(1)
    assert calls == [1, 1]
    assert all(metadata["input_args"]["seed"] == "1" for metadata in seen)
    assert len(seen) == 3


def test_expires_after(memory: joblib.Memory) -> None:
    if JOBLIB < (1, 3):
        pytest.skip("this joblib has no validation callbacks")
    from joblib import expires_after

    cached = memory.cache(make, cache_validation_callback=expires_after(hours=1))
    cached(1), cached(1)
    cached = memory.cache(make, cache_validation_callback=expires_after(seconds=-1))
    cached(1)
    assert calls == [1, 1]


# -- removing ----------------------------------------------------------------------------------


def test_clear_of_a_function_leaves_what_others_share(memory: joblib.Memory) -> None:
    one, other = memory.cache(make), memory.cache(make_other)
    one(1), one(2), other(1)
    one.clear(warn=False)
    stat = totals(memory)
    assert (stat.items, stat.blobs) == (1, 1)
    one(1), other(1)
    assert calls == [1, 2, ("other", 1), 1]


def test_clear_of_everything(memory: joblib.Memory) -> None:
    cached = memory.cache(make)
    cached(1), cached(2)
    memory.clear(warn=False)
    stat = totals(memory)
    assert (stat.items, stat.blobs) == (0, 0)
    cached(1), cached(1)
    assert calls == [1, 2, 1]


def test_changed_code_clears_the_function(
    location: str, tmp_path: pathlib.Path, run_python: Callable
) -> None:
    code = """
        import sys, decache, joblib
        sys.path.insert(0, ".")
        sys.dont_write_bytecode = True
        import changing
        memory = joblib.Memory(sys.argv[1], backend="cas", verbose=0)
        print(memory.cache(changing.function)(3))
    """
    for factor in (1, 2):
        source = f"def function(x):\n    print('runs')\n    return {factor} * x\n"
        (tmp_path / "changing.py").write_text(source)
        assert run_python(code, location).stdout == f"runs\n{3 * factor}\n"
        assert run_python(code, location).stdout == f"{3 * factor}\n"


# -- limits ------------------------------------------------------------------------------------


def fill(memory: joblib.Memory, count: int) -> Callable:
    cached = memory.cache(make)
    for seed in range(count):
        cached(seed)
    return cached


def test_reduce_size_to_bytes_removes_the_oldest(memory: joblib.Memory) -> None:
    cached = fill(memory, 6)
    if JOBLIB < (1, 3):
        memory.bytes_limit = 35_000
        memory.reduce_size()
    else:
        memory.reduce_size("35K")
    assert [cached.check_call_in_cache(seed) for seed in range(6)] == [False] * 2 + [True] * 4
    assert totals(memory).blobs == 4


def test_reduce_size_counts_shared_arrays_once(memory: joblib.Memory) -> None:
    if JOBLIB < (1, 3):
        pytest.skip("limits are given otherwise")
    one, other = memory.cache(make), memory.cache(make_other)
    for seed in range(3):
        one(seed), other(seed)
    memory.reduce_size(30_000)
    assert totals(memory).items == 6
    memory.reduce_size(20_000)
    stat = totals(memory)
    assert (stat.items, stat.blobs) == (4, 2)


def test_reduce_size_to_items_and_age(memory: joblib.Memory) -> None:
    if JOBLIB < (1, 3):
        pytest.skip("this joblib has no such limits")
    cached = fill(memory, 5)
    memory.reduce_size(items_limit=2)
    assert [cached.check_call_in_cache(seed) for seed in range(5)] == [False] * 3 + [True] * 2
    memory.reduce_size(age_limit=datetime.timedelta(days=1))
    assert totals(memory).items == 2
    memory.reduce_size(age_limit=datetime.timedelta(0))
    assert totals(memory).items == 0
    with pytest.raises(ValueError, match="age_limit"):
        memory.reduce_size(age_limit=datetime.timedelta(days=-1))


def test_limits_of_an_empty_cache(memory: joblib.Memory) -> None:
    memory.store_backend.enforce_store_limits(1, None, None)
    memory.store_backend.reduce_store_size(1)


# -- mapped arrays -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["r", "c"])
def test_mmap_mode(mode: str, make_memory: Callable) -> None:
    memory = make_memory(mmap_mode=mode)
    cached = memory.cache(make)
    for array in (cached(1), cached(1)):
        assert type(array) is np.memmap
        assert array.mode == mode
        assert array.filename == os.path.join(memory.store_backend.location, "blobs.h5")
        np.testing.assert_array_equal(array, np.random.default_rng(1).standard_normal(1000))
        assert array.flags.writeable == (mode == "c")
    assert calls == [1]


def test_copy_on_write_leaves_the_blob(make_memory: Callable) -> None:
    cached = make_memory(mmap_mode="c").cache(make)
    array = cached(1)
    array[:] = 0
    np.testing.assert_array_equal(cached(1), np.random.default_rng(1).standard_normal(1000))


@pytest.mark.parametrize("mode", ["r+", "w+"])
def test_writing_modes_are_taken_for_copy_on_write(mode: str, make_memory: Callable) -> None:
    with pytest.warns(decache.CacheWarning, match="taken? .*for 'c'|takes it for 'c'") as caught:
        memory = make_memory(mmap_mode=mode)
    assert len(caught) == 1
    cached = memory.cache(make)
    cached(1)[:] = 0
    assert cached(1).any()


def test_a_mapped_array_outlives_its_removal(make_memory: Callable) -> None:
    memory = make_memory(mmap_mode="r")
    array = memory.cache(make)(1)
    view = array[10:]
    expected = np.random.default_rng(1).standard_normal(1000)[10:]
    del array
    memory.clear(warn=False)
    other = make_memory().cache(make)
    for seed in range(2, 12):  # would take the space
        other(seed)
    gc.collect()
    np.testing.assert_array_equal(view, expected)


def test_mapped_arrays_of_every_order(make_memory: Callable) -> None:
    memory = make_memory(mmap_mode="r")
    backend = memory.store_backend
    fortran = np.asfortranarray(make(1, 4000).reshape(40, 100))
    parts = {"f": fortran, "t": fortran.T, "big": fortran.astype(">f8"), "d": fortran.view("M8[s]")}
    backend.dump_item(("f", "0" * 32), parts)
    backend.store_metadata(("f", "0" * 32), {})
    loaded = backend.load_item(("f", "0" * 32))
    for name, array in parts.items():
        assert isinstance(loaded[name], np.memmap)
        assert loaded[name].dtype == array.dtype
        assert loaded[name].tobytes("A") == array.tobytes("A")
        assert loaded[name].flags.f_contiguous == array.flags.f_contiguous


def test_mmap_mode_of_the_decorator_does_not_lose_the_result(memory: joblib.Memory) -> None:
    cached = memory.cache(make, mmap_mode="r")
    np.testing.assert_array_equal(cached(1), cached(1))
    assert calls == [1]


# -- places, pickling, printing ----------------------------------------------------------------


def test_location_as_text_and_as_path(tmp_path: pathlib.Path, make_memory: Callable) -> None:
    memories = [make_memory(str(tmp_path / "text")), make_memory(tmp_path / "path")]
    for memory in memories:
        memory.cache(make)(1)
    files = ["CACHEDIR.TAG", "blobs.h5", "blobs.h5-wal"]
    assert sorted(os.listdir(tmp_path / "text")) == [".gitignore", "joblib"]
    assert sorted(os.listdir(tmp_path / "text" / "joblib")) == files
    assert sorted(os.listdir(tmp_path / "path")) == [".gitignore", *files]


def test_the_log_goes_when_the_process_ends(location: str, run_python: Callable) -> None:
    run_python(
        """
        import sys, decache, joblib, numpy
        memory = joblib.Memory(sys.argv[1], backend="cas", verbose=0)
        memory.cache(numpy.ones)(100_000)
        """,
        location,
    )
    assert sorted(os.listdir(os.path.join(location, "joblib"))) == ["CACHEDIR.TAG", "blobs.h5"]


def test_the_number_of_files_does_not_grow(memory: joblib.Memory) -> None:
    fill(memory, 2)
    before = sorted(os.listdir(memory.store_backend.location))
    fill(memory, 40)
    assert sorted(os.listdir(memory.store_backend.location)) == before


def test_a_gitignore_of_the_user_is_kept(tmp_path: pathlib.Path, make_memory: Callable) -> None:
    (tmp_path / ".gitignore").write_text("mine\n")
    make_memory(str(tmp_path))
    assert (tmp_path / ".gitignore").read_text() == "mine\n"
    assert (tmp_path / "joblib" / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f59")


def test_a_memory_travels(memory: joblib.Memory) -> None:
    memory.cache(make)(1)
    travelled = pickle.loads(pickle.dumps(memory))
    travelled.cache(make)(1)
    assert calls == [1]
    assert travelled.store_backend._shared is memory.store_backend._shared


def test_a_cached_function_travels(memory: joblib.Memory) -> None:
    cached = memory.cache(make)
    cached(1)
    pickle.loads(pickle.dumps(cached))(1)
    assert calls == [1]


def test_several_memories_share_one_container(make_memory: Callable, location: str) -> None:
    one, two = make_memory(), make_memory()
    assert one.store_backend._shared is two.store_backend._shared
    assert make_memory(location + "/../cache").store_backend._shared is one.store_backend._shared


def test_repr(memory: joblib.Memory) -> None:
    location = memory.store_backend.location
    assert repr(memory) == f"Memory(location={location})"
    assert location in repr(memory.cache(make))
    shelved = memory.cache(make).call_and_shelve(1)
    assert location in repr(shelved)


def test_verbose_prints_what_joblib_prints(make_memory: Callable, capsys: Any) -> None:
    cached = make_memory(verbose=11).cache(make)
    cached(1)
    out = capsys.readouterr().out
    assert "[Memory] Calling" in out
    assert f"Persisting in {cached.store_backend.location}" in out
    cached(1)
    out = capsys.readouterr().out
    assert "Loading make" in out and " from " in out
    cached = make_memory(verbose=5).cache(make)
    cached(1)
    assert capsys.readouterr().out.count("...") >= 1


def test_a_nested_cached_call_in_the_repr_of_an_argument(memory: joblib.Memory) -> None:
    """joblib calls repr between dump and metadata: a call in there must lose nothing."""
    inner = memory.cache(make)
    outer = memory.cache(use)
    argument = Nosy()
    Nosy.look = lambda: inner(7)
    try:
        outer(argument), outer(argument)
    finally:
        Nosy.look = None
    assert calls.count("use") == 1
    assert totals(memory).items == 2


class Nosy:
    look: Callable | None = None

    def __repr__(self) -> str:
        if Nosy.look is not None:
            Nosy.look()
        return "Nosy()"


def use(argument: Nosy) -> str:
    calls.append("use")
    return "used"


def test_importing_touches_no_file_and_configures_no_logger(
    tmp_path: pathlib.Path, run_python: Callable
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    folder.chmod(0o555)
    code = """
        import os, sys, logging
        os.chdir(sys.argv[1])
        import decache, joblib
        assert not logging.getLogger().handlers
        handlers = logging.getLogger("decache").handlers
        assert [type(one) for one in handlers] == [logging.NullHandler]
        assert "cas" in joblib.memory._STORE_BACKENDS
        print(os.listdir())
    """
    done = run_python(code, str(folder))
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_names_of_the_original_package(location: str, run_python: Callable) -> None:
    code = """
        import sys, joblib, numpy
        from decache.store_backend import register_cas_store_backend
        register_cas_store_backend()
        memory = joblib.Memory(sys.argv[1], backend="cas", verbose=0,
                               backend_options={"large_array_threshold": 1 << 20})
        print(memory.cache(numpy.ones)(1 << 18).nbytes)
    """
    assert run_python(code, location).stdout == f"{8 << 18}\n"


def test_memory_without_location() -> None:
    cached = joblib.Memory(None, backend="cas", verbose=0).cache(make)
    cached(1), cached(1)
    assert calls == [1, 1]


def test_the_container_has_the_permissions_of_the_umask(
    location: str, run_python: Callable
) -> None:
    code = """
        import os, sys, decache, joblib, numpy
        os.umask(0o077)
        joblib.Memory(sys.argv[1], backend="cas", verbose=0).cache(numpy.ones)(100_000)
    """
    run_python(code, location)
    mode = os.stat(os.path.join(location, "joblib", "blobs.h5")).st_mode
    assert mode & 0o777 == 0o600


def test_h5dump_reads_the_container(location: str, run_python: Callable) -> None:
    run_python(
        """
        import sys, decache, joblib, numpy
        memory = joblib.Memory(sys.argv[1], backend="cas", verbose=0)
        memory.cache(numpy.arange)(100_000)
        """,
        location,
    )
    path = os.path.join(location, "joblib", "blobs.h5")
    try:
        dump = subprocess.run(["h5dump", "-H", path], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("h5dump is not installed")
    assert "H5T_STD_I64LE" in dump.stdout
    assert "( 100000 )" in dump.stdout


