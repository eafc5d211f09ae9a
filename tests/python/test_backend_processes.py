# SPDX-License-Identifier: MIT
"""Many workers on one cache: loky, multiprocessing, fork, threads; and workers that die."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import decache
import joblib
import numpy as np
import pytest

from conftest import totals

JOBLIB = tuple(int(part) for part in joblib.__version__.split(".")[:2])


def make(seed: int, count: int = 20_000) -> np.ndarray:
    return np.random.default_rng(seed % 5).standard_normal(count)


def expected(seed: int, count: int = 20_000) -> np.ndarray:
    return np.random.default_rng(seed % 5).standard_normal(count)


# -- workers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_workers_share_the_cache(
    backend: str, mmap_mode: str | None, make_memory: Callable
) -> None:
    memory = make_memory(mmap_mode=mmap_mode)
    cached = memory.cache(make)
    for _ in range(2):
        with joblib.parallel_backend(backend, n_jobs=3):
            arrays = joblib.Parallel()(joblib.delayed(cached)(seed) for seed in range(20))
        for seed, array in enumerate(arrays):
            np.testing.assert_array_equal(array, expected(seed))
    stat = totals(memory)
    assert (stat.items, stat.blobs) == (20, 5)
    assert all(cached.check_call_in_cache(seed) for seed in range(20))


def work(memory: joblib.Memory, seed: int) -> float:
    return float(memory.cache(make)(seed).sum())


def test_a_memory_is_sent_to_workers(memory: joblib.Memory) -> None:
    sums = joblib.Parallel(2, "loky")(joblib.delayed(work)(memory, seed) for seed in range(6))
    assert sums == [float(expected(seed).sum()) for seed in range(6)]
    assert totals(memory).items == 6


def hit(cached: Any, seed: int) -> None:
    cached(seed)


def holds(container: str) -> int:
    """Descriptors of this process that are of a file."""
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{descriptor}") == os.path.realpath(container)
        except FileNotFoundError:  # that of the listing itself
            pass
    return count


def test_a_worker_keeps_the_container_open_between_tasks(memory: joblib.Memory) -> None:
    """Each task brings the cached function along, and takes it away."""
    cached = memory.cache(make)
    with joblib.Parallel(n_jobs=2) as parallel:
        for _ in range(2):
            parallel(joblib.delayed(hit)(cached, seed) for seed in range(8))
        container = os.path.join(memory.store_backend.location, "blobs.h5")
        held = parallel(joblib.delayed(holds)(container) for _ in range(8))
    assert any(held), held


def test_a_worker_keeps_few_containers_open(location: str, make_memory: Callable) -> None:
    here = [make_memory(f"{location}/{number}") for number in range(7)]
    files = [os.path.join(one.store_backend.location, "blobs.h5") for one in here]
    for one in here:
        one.cache(make)(1)
        pickle.loads(pickle.dumps(one))
    assert all(holds(file) for file in files)
    del one
    here.clear()
    gc.collect()
    assert [bool(holds(file)) for file in files] == [False] * 3 + [True] * 4


def backing(array: np.ndarray) -> tuple[str, int, float]:
    """Where a worker got an array from: file, offset, and its sum."""
    assert isinstance(array, np.memmap)
    return array.filename, array.offset, float(array.sum())


@pytest.mark.parametrize("mmap_mode", ["r", "c"])
def test_mapped_arrays_go_to_workers_without_a_copy(
    mmap_mode: str, make_memory: Callable
) -> None:
    if JOBLIB < (1, 4) and not hasattr(np, "byte_bounds"):
        pytest.skip("this joblib cannot send mapped arrays with this NumPy")
    memory = make_memory(mmap_mode=mmap_mode)
    arrays = [memory.cache(make)(seed, 300_000) for seed in range(3)]
    seen = joblib.Parallel(2, "loky", max_nbytes=1000)(
        joblib.delayed(backing)(array) for array in arrays
    )
    path = os.path.join(memory.store_backend.location, "blobs.h5")
    assert seen == [(path, array.offset, float(array.sum())) for array in arrays]
    assert len({offset for _, offset, _ in seen}) == 3


def test_what_workers_return_outlives_them_and_the_cache(make_memory: Callable) -> None:
    """joblib must not hand over a place in the file that nobody pins any more."""
    memory = make_memory(mmap_mode="r")
    cached = memory.cache(make)
    arrays = joblib.Parallel(2, "loky")(joblib.delayed(cached)(seed) for seed in range(5))
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)
    memory.clear(warn=False)
    filler = make_memory().cache(make)
    for seed in range(5):
        filler(seed + 1, 21_000)  # takes the space
    for seed, array in enumerate(arrays):
        np.testing.assert_array_equal(array, expected(seed))


def test_processes_that_construct_the_memory(location: str, run_python: Callable) -> None:
    code = """
        import sys, decache, joblib
        import test_backend_processes as user
        memory = joblib.Memory(sys.argv[1], backend="cas", verbose=0)
        cached = memory.cache(user.make)
        for seed in range(10):
            assert (cached(seed) == user.expected(seed)).all()
    """
    threads = [threading.Thread(target=run_python, args=(code, location)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with decache.Store(os.path.join(location, "joblib", "blobs.h5")) as store:
        assert (store.stat().items, store.stat().blobs) == (10, 5)
        assert [finding for finding in store.verify(check="full") if finding.is_error] == []


# -- threads -----------------------------------------------------------------------------------


def test_threads_with_one_cached_function(memory: joblib.Memory) -> None:
    cached = memory.cache(make)
    failures: list[Any] = []
    done: list[int] = []

    def run(start: int) -> None:
        try:
            for seed in range(start, start + 15):
                np.testing.assert_array_equal(cached(seed), expected(seed))
                done.append(seed)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(5 * one,)) for one in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(done) == 90
    assert totals(memory).items == 40


def read_until_closed(
    store: decache.Store, name: str, started: threading.Barrier, counts: dict[str, int]
) -> None:
    started.wait()
    while True:
        try:
            assert store.get(name)[0] == expected(1)[0]
            counts["read"] += 1
        except decache.ClosedError:
            counts["closed"] += 1
            return


def test_closing_while_threads_read(tmp_path: Any) -> None:
    """A handle may be closed at any moment: calls give their result or ClosedError."""
    counts = {"read": 0, "closed": 0}
    for _ in range(10):
        store = decache.Store(tmp_path / "closing.h5")
        name = store.put(expected(1))
        started = threading.Barrier(4)
        arguments = (store, name, started, counts)
        threads = [threading.Thread(target=read_until_closed, args=arguments) for _ in range(3)]
        for thread in threads:
            thread.start()
        started.wait()
        time.sleep(0.01)
        store.close()
        for thread in threads:
            thread.join()
    assert counts["closed"] == 30
    assert counts["read"] > 0


def test_a_thread_that_ends_between_dump_and_metadata(memory: joblib.Memory) -> None:
    backend = memory.store_backend
    thread = threading.Thread(target=backend.dump_item, args=(("f", "0" * 32), expected(1)))
    thread.start()
    thread.join()
    del thread
    assert backend.contains_item(("f", "0" * 32))


# -- fork --------------------------------------------------------------------------------------


def in_child(action: Callable[[], None]) -> int:
    """Run an action in a forked child and return its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_goes_on_with_the_cache(memory: joblib.Memory) -> None:
    cached = memory.cache(make)
    cached(1)

    def child() -> None:
        np.testing.assert_array_equal(cached(1), expected(1))
        np.testing.assert_array_equal(cached(2), expected(2))

    assert in_child(child) == 0
    assert cached.check_call_in_cache(2)
    np.testing.assert_array_equal(cached(3), expected(3))
    assert totals(memory).items == 3


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_between_dump_and_commit(memory: joblib.Memory) -> None:
    """The parent commits its result; the child neither commits nor spoils it."""
    backend = memory.store_backend
    backend.dump_item(("f", "0" * 32), expected(1))

    def child() -> None:
        assert not backend.contains_item(("f", "0" * 32))
        memory.cache(make)(2)

    assert in_child(child) == 0
    backend.store_metadata(("f", "0" * 32), {"time": 1.0})
    np.testing.assert_array_equal(backend.load_item(("f", "0" * 32)), expected(1))
    assert totals(memory).items == 2


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_mapped_array_in_a_forked_child(make_memory: Callable) -> None:
    array = make_memory(mmap_mode="r").cache(make)(1)
    assert in_child(lambda: np.testing.assert_array_equal(array, expected(1))) == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("closes", [False, True])
def test_a_mapped_array_stays_in_the_child(
    make_memory: Callable, location: str, closes: bool
) -> None:
    """The parent drops its array and removes the result; with a new handle, or the same."""
    memory = make_memory(mmap_mode="r")
    memory.cache(make)(1)
    array = memory.cache(make)(1)
    assert isinstance(array, np.memmap)
    go_read, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(go_read, 1)  # until the parent has closed it
        os._exit(0 if np.array_equal(array, expected(1)) else 1)
    os.close(go_read)
    del array
    gc.collect()
    path = os.path.join(location, "joblib", "blobs.h5")
    if closes:
        memory.store_backend._shared.close()
        assert os.path.exists(path + "-wal")  # with the child's pin
    memory.clear(warn=False)
    memory.cache(make)(2)  # would take its place
    os.close(go)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with decache.Store(path) as store:
        assert [finding for finding in store.verify(check="full") if finding.is_error] == []


# -- death -------------------------------------------------------------------------------------


def test_results_survive_the_death_of_their_process(memory: joblib.Memory, location: str) -> None:
    """Kill writers at random moments: what they said was stored is there, and nothing is torn."""
    code = textwrap.dedent(
        """
        import sys, decache, joblib
        import test_backend_processes as user
        memory = joblib.Memory(sys.argv[1], backend="cas", verbose=0,
                               backend_options={"large_array_threshold": 1000})
        cached = memory.cache(user.make)
        for seed in range(int(sys.argv[2]), 1_000_000):
            cached(seed)
            print(seed, flush=True)
        """
    )
    cached = memory.cache(make)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(
        [os.path.dirname(__file__), *filter(None, sys.path)])}
    acknowledged: set[int] = set()
    for round_ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", code, location, str(1000 * round_)],
            stdout=subprocess.PIPE,
            env=environment,
        )
        acknowledged.add(int(process.stdout.readline()))
        time.sleep(0.05 + 0.07 * round_)
        process.send_signal(signal.SIGKILL)
        acknowledged.update(int(line) for line in process.stdout.read().splitlines())
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()

    assert len(acknowledged) > 20
    for seed in acknowledged:
        assert cached.check_call_in_cache(seed)
    for seed in sorted(acknowledged)[:: max(1, len(acknowledged) // 50)]:
        np.testing.assert_array_equal(cached(seed), expected(seed))
    with decache.Store(os.path.join(location, "joblib", "blobs.h5")) as store:
        assert [finding for finding in store.verify(check="full") if finding.is_error] == []


def stop() -> None:
    raise KeyboardInterrupt


class Interrupting:
    """Ctrl-C while the result is pickled."""

    def __reduce__(self) -> Any:
        return stop()


def test_an_interrupted_dump_leaves_the_cache_as_it_was(memory: joblib.Memory) -> None:
    memory.cache(make)(1)
    before = totals(memory)
    backend = memory.store_backend
    with pytest.raises(KeyboardInterrupt):
        backend.dump_item(("f", "0" * 32), [expected(2), Interrupting()])
    assert not backend.contains_item(("f", "0" * 32))
    assert totals(memory)[:5] == before[:5]
