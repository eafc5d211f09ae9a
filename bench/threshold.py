# SPDX-License-Identifier: MIT
"""From which size on is an array better stored as a blob than inside the pickle?

Both ways are timed in turn, in one process, through joblib.Memory: the same results once with
every array a blob and once with none. What is printed are medians, and the ratio of each pair
(below 1: the blob is quicker). A blob costs a dataset, but is deduplicated, visible in HDF5
tools, mapped and read in parallel; so the threshold belongs where it stops costing time.

    python bench/threshold.py [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import joblib
import numpy as np

import decache  # noqa: F401  (registers the backend)

SIZES = [1 << n for n in range(9, 22)]
NEVER = 1 << 40


def clock(call, *args) -> float:
    """Return the milliseconds that a call takes."""
    start = time.perf_counter()
    call(*args)
    return 1e3 * (time.perf_counter() - start)


def make(folder: str, threshold: int):
    """Return a cached function of a Memory in a folder."""
    memory = joblib.Memory(
        folder, backend="cas", verbose=0, backend_options={"large_array_threshold": threshold}
    )

    def result(size: int, seed: int):
        return np.random.default_rng(seed).integers(0, 255, size, np.uint8)

    return memory.cache(result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=41)
    rounds = parser.parse_args().rounds

    print(f"{'bytes':>9} {'miss: blob':>11} {'pickle':>8} {'ratio':>6}   "
          f"{'hit: blob':>10} {'pickle':>8} {'ratio':>6}")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            blob, pickled = make(one, 0), make(two, NEVER)
            rows = []
            for seed in range(rounds):
                pair = [(blob, 0), (pickled, 1)]
                times = [0.0] * 4
                for function, column in pair if seed % 2 else reversed(pair):
                    times[column] = clock(function, size, seed)
                    times[column + 2] = clock(function, size, seed)
                rows.append(times)
            rows = rows[3:]
            medians = [statistics.median(column) for column in zip(*rows)]
            miss = statistics.median(row[0] / row[1] for row in rows)
            hit = statistics.median(row[2] / row[3] for row in rows)
            print(f"{size:>9} {medians[0]:>11.3f} {medians[1]:>8.3f} {miss:>6.2f}   "
                  f"{medians[2]:>10.3f} {medians[3]:>8.3f} {hit:>6.2f}", flush=True)


if __name__ == "__main__":
    main()
