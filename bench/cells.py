# SPDX-License-Identifier: MIT
"""What is timed, one result at a time; scale.py has the cells about many results.

Each cell is a function that takes a `Bench` and adds to its record. `CELLS` names them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import joblib
import numpy as np

import peers
from harness import Bench, clock, usage
from payload import MIB, Payload, touch

CACHES = ("joblib", "decache", "decache-0.1.7")
STORES = (*CACHES, "numpy", "h5py", "diskcache", "zarr")
LIMITS = ("bare", "write", "sha256", "memcpy")


# ---- one turn ------------------------------------------------------------------------------


def _map_and_touch(peer: peers.Peer, key: int) -> Any:
    value = peer.map(key)
    touch(value)
    return value


def _turn(
    peer: peers.Peer, payload: Payload, calls: int, operations: Sequence[str], thorough: bool
) -> dict[str, float]:
    """Run the operations of a peer on so many new values.

    Returns
    -------
    dict
        Seconds of a call, the mean, by operation.
    """
    seconds = {name: 0.0 for name in operations if name in peer.operations}
    stamps = []
    for key in range(calls):
        stamps.append(payload.renew())
        for name in ("new", "again"):
            if name in seconds:
                seconds[name] += clock(getattr(peer, name), key, payload.value)[0]
    for name, call in (("hit", peer.hit), ("map", lambda key: _map_and_touch(peer, key))):
        if name not in seconds:
            continue
        for key, stamp in enumerate(stamps):
            elapsed, value = clock(call, key)
            seconds[name] += elapsed
            last = key == calls - 1  # whose value the payload still is
            payload.check(value, stamp, thorough=thorough and last)
            del value
    return {name: total / calls for name, total in seconds.items()}


def _rounds(
    bench: Bench,
    cell: str,
    case: Any,
    payload: Payload,
    names: list[str],
    operations: Sequence[str] = peers.OPERATIONS,
) -> None:
    """All rounds of a cell about one payload."""
    calls = bench.settings.calls_for(payload.nbytes)
    for counts, order in bench.rounds(bench.settings.rounds_for(payload.nbytes), names):
        for name in order:
            with bench.opened(name) as peer:
                seconds = _turn(peer, payload, calls, operations, thorough=not counts)
            for operation, value in seconds.items() if counts else ():
                bench.record.add(cell, case, operation, name, value)


# ---- the cells -----------------------------------------------------------------------------


def arrays(bench: Bench) -> None:
    """One array as the result: new, the same from another function, hit, hit mapped.

    Mapped arrays are touched: one byte of each page is read, in the time.
    """
    for size in bench.settings.sizes:
        _rounds(bench, "arrays", size, Payload(size), bench.peers(*STORES, *LIMITS))


def nested(bench: Bench) -> None:
    """A list of 100 arrays of 1 MiB as the result."""
    settings = bench.settings
    payload = Payload(settings.list_bytes, settings.list_count)
    case = f"{settings.list_count} x {settings.list_bytes}"
    _rounds(bench, "list", case, payload, bench.peers(*CACHES), ("new", "hit"))


def scalar(bench: Bench) -> None:
    """A result without arrays; 50 calls make a turn."""
    value = {"score": 0.25, "label": "a result without arrays", "steps": list(range(10))}
    calls = 50
    for counts, order in bench.rounds(bench.settings.rounds_for(0), bench.peers(*CACHES)):
        for name in order:
            with bench.opened(name) as peer:
                new = sum(clock(peer.new, key, value)[0] for key in range(calls))
                hit = 0.0
                for key in range(calls):
                    elapsed, got = clock(peer.hit, key)
                    hit += elapsed
                    if got != value:
                        raise AssertionError("another value came back than was put")
            if counts:
                bench.record.add("scalar", "dict", "new", name, new / calls)
                bench.record.add("scalar", "dict", "hit", name, hit / calls)


def compress(bench: Bench) -> None:
    """64 MiB of float64 that compress well: time, and disk used, against joblib's zlib 1."""
    size = bench.settings.compress_bytes
    payload = Payload(size, smooth=True)
    names = bench.peers("joblib-zlib", "decache-zlib", "joblib", "decache")
    for counts, order in bench.rounds(bench.settings.rounds_for(4 * size), names):
        for name in order:
            with bench.opened(name) as peer:
                seconds = _turn(peer, payload, 1, ("new", "hit"), thorough=not counts)
                used, _ = usage(peer.folder)
            if counts:
                for operation, value in seconds.items():
                    bench.record.add("compress", size, operation, name, value)
                bench.record.add("compress", size, "disk", name, used, "bytes")


def cores(bench: Bench) -> None:
    """64 MiB with the process held to 1, 2, ... of its CPUs: what more of them give."""
    allowed = sorted(os.sched_getaffinity(0))
    size = max((size for size in bench.settings.sizes if size <= 64 * MIB), default=MIB)
    payload = Payload(size)
    counts_of_cpus = [count for count in (1, 2, 4, 8, 16) if count <= len(allowed)]
    try:
        for count in counts_of_cpus:
            os.sched_setaffinity(0, allowed[:count])
            names = bench.peers("joblib", "decache")
            _rounds(bench, "cores", f"{size} on {count}", payload, names)
    finally:
        os.sched_setaffinity(0, allowed)


# ---- workers -------------------------------------------------------------------------------

_base: dict[int, np.ndarray] = {}
_runs = [0]


def work(nbytes: int, index: int) -> np.ndarray:
    """The cached function of the workers: results 2 n and 2 n + 1 are equal."""
    _runs[0] += 1
    if nbytes not in _base:
        _base[nbytes] = Payload(nbytes).value
    array = _base[nbytes]
    array[:: 256 * 1024 // 8] = index // 2 + 1
    return array


def _task(cached: Any, nbytes: int, index: int) -> tuple[int, int, bool]:
    """Call it, and tell what came out without sending it: that is not what is measured."""
    runs = _runs[0]
    array = cached(nbytes, index)
    return int(array[0]), array.nbytes, _runs[0] > runs


def _warm_up(cached: Any, nbytes: int, index: int) -> None:
    """Import all there is to import, and build the array, in as many workers as there are."""
    cached(8, 2 * nbytes + index)
    work(nbytes, 0)
    time.sleep(0.05)


def workers(bench: Bench) -> None:
    """64 misses, then 64 hits, by loky workers: 4 MiB results, half of them equal.

    ``joblib.Parallel`` runs the tasks; with one worker it runs them in this process. Workers are
    started anew for each round, which is not timed.
    """
    from joblib.externals.loky import get_reusable_executor

    settings = bench.settings
    nbytes, tasks = settings.task_bytes, settings.tasks
    rounds = settings.rounds or max(3, round(5 * settings.effort))
    for count in settings.workers:
        for counts, order in bench.rounds(rounds, bench.peers(*CACHES, "bare")):
            for name in order:
                with bench.new_folder() as folder:
                    memory = peers.BY_NAME[name]().memory(folder)
                    cached = memory.cache(work)
                    with joblib.Parallel(n_jobs=count) as parallel:
                        parallel(
                            joblib.delayed(_warm_up)(cached, nbytes, index)
                            for index in range(2 * count)
                        )
                        for operation in ("new", "hit"):
                            elapsed, got = clock(
                                parallel,
                                [joblib.delayed(_task)(cached, nbytes, i) for i in range(tasks)],
                            )
                            missed = operation == "new"
                            if got != [(i // 2 + 1, nbytes, missed) for i in range(tasks)]:
                                raise AssertionError("a worker's result is not what was put")
                            if counts:
                                bench.record.add("workers", count, operation, name, elapsed)
                    del memory, cached
            if count > 1:
                get_reusable_executor().shutdown(wait=True)
        _base.clear()


CELLS = {
    "arrays": arrays,
    "scalar": scalar,
    "list": nested,
    "workers": workers,
    "compress": compress,
    "cores": cores,
}
