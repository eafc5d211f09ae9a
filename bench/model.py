# SPDX-License-Identifier: MIT
"""A cost model: what one result costs decache on c cores, from what its parts cost on one.

The parts are measured by bench/micro.c, and the two for Python by the cell "scalar" (a result
without arrays has all of the cost per call, and no other):

    hash    SHA-256 of the array by one thread           h5store_hash
    write   pwrite of the array into a new file          the system
    read    pread and checksum by one thread             h5store_blob_read
    compare pread, memcmp and checksum by one thread     h5store_batch_put of a known array
    put     look up, reserve and note an array           h5store_batch_put of 4 KiB
    commit  what an array adds to a commit               that of one less that of an item
    open    what an array adds to opening a result
    miss, hit   a call through joblib.Memory             the cell "scalar"

    new   = miss + put + commit + max((hash + write) / c, write)
    again = miss + commit + compare / c
    hit   = hit  + open + read / c

Hashing and reading are divided among threads; writing is not, since the kernel lets one thread
at a time write to a file, but it is overlapped with hashing. joblib's backends use one core, so
their time is taken as measured. The model knows nothing of memory bandwidth: reads level off
when it is used up.
"""

from __future__ import annotations

from typing import Any

from payload import KIB
from report import Results

CORES = (1, 2, 4, 8, 16)


def predict(data: dict[str, Any]) -> dict[str, Any] | None:
    """Predict ratios, and put those that were measured next to them.

    Parameters
    ----------
    data : dict
        As in results.json.

    Returns
    -------
    dict or None
        None if the cells "arrays" and "scalar" and the benchmarks in C were not all run.
    """
    results = Results(data)
    cost = {(row["name"], row["size"], row["threads"]): row["seconds"] for row in data["micro"]}
    sizes = {size for name, size, _ in cost if str(size) in results.cases("arrays")}
    calls = [results.spread("scalar", "dict", one, "decache") for one in ("new", "hit")]
    if not sizes or None in calls:
        return None
    size = max(sizes)
    miss, hit = (spread.median for spread in calls)

    def part(name: str, nbytes: int = size) -> float:
        return cost[name, nbytes, 1]

    put = part("put", 4 * KIB)
    commit = max(0.0, part("commit") - part("item commit", 0))
    opened = max(0.0, part("open") - part("item open", 0))

    def new(cores: int) -> float:
        work = max((part("hash") + part("write")) / cores, part("write"))
        return miss + put + commit + work

    def again(cores: int) -> float:
        return miss + commit + part("put again") / cores

    def load(cores: int) -> float:
        return hit + opened + part("read") / cores

    rows = []
    for cores in CORES:
        predicted, measured = {}, {}
        for operation, seconds in (("new", new), ("again", again), ("hit", load)):
            theirs = results.spread("arrays", str(size), operation, "joblib")
            if theirs is None:
                return None
            predicted[operation] = seconds(cores) / theirs.median
            ratio = results.ratio("cores", f"{size} on {cores}", operation, "decache")
            if ratio is not None:
                measured[operation] = ratio.median
        rows.append({"cores": cores, "predicted": predicted, "measured": measured})
    parts = {
        "miss": miss, "hit": hit, "put": put, "commit": commit, "open": opened,
        "compare": part("put again"),
        **{name: part(name) for name in ("hash", "write", "read")},
    }  # fmt: skip
    return {
        "size": size,
        "rows": rows,
        "seconds": parts,
        "notes": [
            "new = miss + put + commit + max((hash + write) / cores, write)",
            "again = miss + commit + compare / cores;  hit = hit + open + read / cores",
            "ms: " + ", ".join(f"{name} {1e3 * value:.2f}" for name, value in parts.items()),
        ],
    }
