# SPDX-License-Identifier: MIT
"""What has to be measured in a process of its own; scale.py runs it and reads one line of JSON.

    children.py open PEER FOLDER KEY
        Seconds from making a Memory to the first result, imports not counted.
    children.py memory PEER FOLDER new|hit contiguous|strided BYTES
        Bytes by which the peak of resident memory exceeds the result itself.

The peak is VmHWM of /proc/self/status, reset through /proc/self/clear_refs. `getrusage` would
tell the same but for one thing: a child's ru_maxrss begins with the size of its parent.
"""

from __future__ import annotations

import json
import sys

import numpy as np

import peers
from harness import clock


def _status(name: str) -> int:
    """Bytes of a field of /proc/self/status."""
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(name + ":"):
                return 1024 * int(line.split()[1])
    raise LookupError(name)


def _reset_peak() -> int:
    """Make the peak what is resident now, and return it."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    return _status("VmHWM")


def _value(layout: str, nbytes: int) -> np.ndarray:
    """An array of 1024 rows; strided: every second column of one that is twice as wide."""
    words = nbytes // 8
    if layout == "contiguous":
        return np.arange(words, dtype=np.uint64).reshape(1024, -1)
    return np.arange(2 * words, dtype=np.uint64).reshape(1024, -1)[:, ::2]


def open_and_hit(name: str, folder: str, key: str) -> dict[str, float]:
    """Open a cache and load one result."""
    peer = peers.BY_NAME[name]()
    peer.load()

    def run() -> np.ndarray:
        return peer.memory(folder).cache(peers.first)(int(key))

    seconds, value = clock(run)
    if not isinstance(value, np.ndarray):
        raise AssertionError("the result is not what was put")
    return {"seconds": seconds}


def memory(name: str, folder: str, operation: str, layout: str, size: str) -> dict[str, float]:
    """Store, or load, one array."""
    nbytes = int(size)
    peer = peers.BY_NAME[name]()
    peer.open(folder)
    key = 2 if operation == "new" else 3
    peer.new(key, np.arange(100_000))  # what is imported or kept at the first array
    peer.hit(key)
    if operation == "new":
        value = _value(layout, nbytes)
        before = _reset_peak()
        peer.new(1, value)
        extra = _status("VmHWM") - before
    else:
        before = _reset_peak()
        value = peer.hit(1)
        extra = _status("VmHWM") - before - nbytes
        step = 1 if layout == "contiguous" else 2
        if value.nbytes != nbytes or int(value[-1, -1]) != step * (nbytes // 8 - 1):
            raise AssertionError("another array came back than was put")
    return {"extra": extra}


def main() -> None:
    command, *arguments = sys.argv[1:]
    print(json.dumps({"open": open_and_hit, "memory": memory}[command](*arguments)))


if __name__ == "__main__":
    main()
