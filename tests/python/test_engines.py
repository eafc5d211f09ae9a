# SPDX-License-Identifier: MIT
"""Cached functions in the workers of loky, multiprocessing, threads, dask and ray: one container.

Every run of a function is noted in a file outside the cache, so that a hit is known from a
computation in whatever process it happens. dask and ray are tested where they are installed
(`scripts/engines.sh` installs them).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import decache
import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

WORKERS = 3
Run = Callable[[list[tuple]], list[Any]]


# -- what the workers do ---------------------------------------------------------------------------


def compute(seed: int, witness: str, gather: bool, fate: str) -> np.ndarray:
    """What is cached; `seed` alone is in its key."""
    note = f"{seed} {os.getpid()}.{threading.get_ident()}\n"
    with open(witness, "a") as file:
        file.write(note)
    deadline = time.monotonic() + 120
    while gather and len(Counter(who for _, who in noted(witness))) < 2:
        assert time.monotonic() < deadline, "there is only one worker"
        time.sleep(0.01)
    if fate and not os.path.exists(fate):
        Path(fate).touch()
        # It dies some milliseconds later: while the result is stored, or a little after.
        threading.Timer(0.003, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return value(seed, 1_000_000 if fate else 20_000)


def value(seed: int, count: int = 20_000) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count)


def call(
    cached: Callable, seed: int, witness: str, gather: bool = False, fate: str = ""
) -> np.ndarray:
    """One task: any warning of the cache fails it."""
    warnings.simplefilter("always", decache.CacheWarning)
    warnings.showwarning = refuse
    return cached(seed, witness, gather, fate)


def refuse(message: Warning | str, category: type[Warning], *where: Any) -> None:
    if issubclass(category, decache.CacheWarning):
        raise AssertionError(message)


def noted(witness: str | Path) -> list[tuple[int, str]]:
    """Which seeds were computed, and by whom."""
    with contextlib.suppress(FileNotFoundError):
        lines = Path(witness).read_text().splitlines()
        return [(int(seed), who) for seed, who in map(str.split, lines)]
    return []


def computed(witness: Path) -> Counter[int]:
    return Counter(seed for seed, _ in noted(witness))


@pytest.fixture
def cached(make_memory: Callable) -> Any:
    return make_memory().cache(compute, ignore=["witness", "gather", "fate"])


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    return tmp_path / "witness"


# -- the engines -----------------------------------------------------------------------------------


@contextlib.contextmanager
def with_joblib(backend: str) -> Iterator[Run]:
    def run(tasks: list[tuple]) -> list[Any]:
        parallel = joblib.Parallel(WORKERS, backend, batch_size=1, pre_dispatch="all")
        return parallel(joblib.delayed(call)(*task) for task in tasks)

    yield run
    if backend == "loky":
        get_reusable_executor().shutdown(wait=True)


@contextlib.contextmanager
def with_dask() -> Iterator[Run]:
    distributed = pytest.importorskip("distributed", reason="dask is not installed (distributed)")
    with distributed.LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None,
    ) as cluster, distributed.Client(cluster) as client:
        yield lambda tasks: client.gather(
            [client.submit(call, *task, pure=False) for task in tasks]
        )


@contextlib.contextmanager
def with_ray() -> Iterator[Run]:
    ray = pytest.importorskip("ray", reason="ray is not installed")
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    ray.init(
        num_cpus=WORKERS, include_dashboard=False, log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    try:
        remote = ray.remote(call)
        yield lambda tasks: ray.get([remote.remote(*task) for task in tasks])
    finally:
        ray.shutdown()


ENGINES = {
    "loky": lambda: with_joblib("loky"),
    "multiprocessing": lambda: with_joblib("multiprocessing"),
    "threading": lambda: with_joblib("threading"),
    "dask": with_dask,
    "ray": with_ray,
}


def check_values(results: list[Any], seeds: list[int], count: int = 20_000) -> None:
    assert len(results) == len(seeds) > 0
    for seed, result in zip(seeds, results, strict=True):
        np.testing.assert_array_equal(result, value(seed, count))


def check_one_container(cached: Any, items: int) -> None:
    """One file has all results, and all of it is whole."""
    folder = Path(cached.store_backend.location)
    assert {path.name for path in folder.iterdir()} <= {
        "CACHEDIR.TAG", "blobs.h5", "blobs.h5-wal"
    }
    with decache.Store(folder / "blobs.h5", create=False, verify="full") as store:
        assert (store.stat().items, store.stat().blobs) == (items, items)
        assert [one for one in store.verify("full") if one.is_error] == []


# -- tests -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENGINES)
def test_workers_share_one_container(name: str, cached: Any, witness: Path) -> None:
    seeds = list(range(12))
    with ENGINES[name]() as run:
        # Each argument once, so each is computed once, and not by one worker alone.
        check_values(run([(cached, seed, str(witness), True) for seed in seeds]), seeds)
        assert computed(witness) == Counter(seeds)
        workers = {who for _, who in noted(witness)}
        assert len(workers) >= 2
        own = {who for who in workers if who.startswith(f"{os.getpid()}.")}
        assert own == (workers if name == "threading" else set())

        # All of them twice more: whoever asks, it is there.
        again = seeds + seeds[::-1]
        check_values(run([(cached, seed, str(witness)) for seed in again]), again)
        assert computed(witness) == Counter(seeds)

        # One that is not there, by all at once: as often as there are workers, at most.
        check_values(run([(cached, 99, str(witness))] * 4 * WORKERS), [99] * 4 * WORKERS)
        assert 1 <= computed(witness)[99] <= WORKERS
        check_values([cached(99, str(witness), False, "")], [99])
        assert sum(computed(witness).values()) <= 12 + WORKERS
    check_one_container(cached, 13)


def test_one_engine_hits_what_another_stored(cached: Any, witness: Path) -> None:
    """Each in turn: what it computes is what the ones before it did not."""
    used, known = [], 0
    for name in ENGINES:
        try:
            with ENGINES[name]() as run:
                seeds = list(range(known + 4))
                check_values(run([(cached, seed, str(witness)) for seed in seeds]), seeds)
        except pytest.skip.Exception:
            continue
        known += 4
        used.append(name)
        assert computed(witness) == Counter(range(known)), name
    assert used[:3] == ["loky", "multiprocessing", "threading"]
    check_one_container(cached, known)


@pytest.mark.parametrize("name", ["loky", "dask", "ray"])
def test_a_worker_that_is_killed(name: str, cached: Any, witness: Path, tmp_path: Path) -> None:
    """dask and ray give its task to another worker; loky ends, and a new run goes on."""
    fate, seeds = str(tmp_path / "killed"), list(range(10))
    tasks = [(cached, seed, str(witness), False, fate if seed == 4 else "") for seed in seeds]
    with ENGINES[name]() as run:
        try:
            run(tasks)
        except TerminatedWorkerError:
            assert name == "loky"
        assert os.path.exists(fate)
    stored = [seed for seed in seeds if cached.check_call_in_cache(seed, str(witness), False, "")]
    before = computed(witness)
    with ENGINES[name]() as run:
        results = run(tasks)
    check_values(results[:4] + results[5:], seeds[:4] + seeds[5:])
    check_values(results[4:5], seeds[4:5], 1_000_000)
    # Nothing that was stored was lost, and what was not was computed now.
    assert computed(witness) - before == Counter(set(seeds) - set(stored))
    check_one_container(cached, len(seeds))


def test_a_worker_of_a_pool_that_is_killed(cached: Any, witness: Path, tmp_path: Path) -> None:
    """multiprocessing starts another worker; the task that died is never answered."""
    fate, seeds = str(tmp_path / "killed"), list(range(10))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        lost = pool.apply_async(call, (cached, 4, str(witness), False, fate))
        others = [
            pool.apply_async(call, (cached, seed, str(witness))) for seed in seeds if seed != 4
        ]
        check_values([one.get(120) for one in others], [seed for seed in seeds if seed != 4])
        with contextlib.suppress(multiprocessing.TimeoutError):
            lost.get(0.1)
        assert os.path.exists(fate)
        check_values(
            [pool.apply_async(call, (cached, 4, str(witness), False, fate)).get(120)], [4],
            1_000_000,
        )
    assert all(computed(witness)[seed] == 1 for seed in seeds if seed != 4)
    assert 1 <= computed(witness)[4] <= 2
    check_one_container(cached, len(seeds))
