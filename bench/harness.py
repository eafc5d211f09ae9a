# SPDX-License-Identifier: MIT
"""How things are measured: rounds, turns, folders, and the record of what came out.

Only ratios carry over from one machine to another, and on a shared machine not even the same
program takes the same time twice. So everything that is compared is run in turn: a *round* has
one *turn* of each peer, in an order drawn anew, and a peer's time is divided by joblib's of the
same round. What is reported is the median of these ratios, with the quartiles as their spread.
Nothing is subtracted, and the times themselves are reported as well. The first round of a cell
is thrown away: it pays for imports, for first touches of memory, and for joblib's look at the
source of a function.

The page cache is warm, and the kernel must not throttle: writing more than a tenth of the
memory makes it write to the disk, which is slower by ten and no property of a cache. So each
turn has an empty folder of its own, which is closed and deleted after it, not timed; and before
a cell all that others wrote is synced. That a cache writes to its disk in the background is
therefore not in short turns. It is in the cells that run for longer: "workers" and "many".
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import peers
from payload import MIB


@dataclass(frozen=True)
class Settings:
    """How much is measured; run.py fills it from its arguments."""

    sizes: tuple[int, ...] = ()
    rounds: int | None = None
    results: int = 10_000
    growth: int = 10_000
    workers: tuple[int, ...] = (1, 2, 4, 8)
    tasks: int = 64
    task_bytes: int = 4 * MIB
    list_count: int = 100
    list_bytes: int = MIB
    compress_bytes: int = 64 * MIB
    disk_results: int = 64
    memory_bytes: int = 512 * MIB
    effort: float = 1.0  # scales the numbers of rounds

    def rounds_for(self, nbytes: int) -> int:
        """How many rounds, by the bytes of one result: more of those that are quick."""
        if self.rounds is not None:
            return self.rounds
        for limit, rounds in ((2 * MIB, 21), (32 * MIB, 15), (128 * MIB, 11)):
            if nbytes <= limit:
                return max(3, round(rounds * self.effort))
        return max(3, round(5 * self.effort))

    @staticmethod
    def calls_for(nbytes: int) -> int:
        """How many calls make a turn; the turn counts as their mean."""
        return max(1, min(32, 8 * MIB // max(nbytes, 1)))


@dataclass
class Series:
    """What was measured of one peer in one cell, a value for each round."""

    cell: str
    case: str
    operation: str
    peer: str
    unit: str
    values: list[float] = field(default_factory=list)


class Record:
    """All series of a run.

    Values that belong together have the same place in the series of two peers.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str, str], Series] = {}

    def add(
        self, cell: str, case: Any, operation: str, peer: str, value: float, unit: str = "s"
    ) -> None:
        """Note one value.

        Parameters
        ----------
        cell, case, operation, peer : str
            What was measured, under which circumstances, of whom.
        value : float
        unit : str, optional
            "s", "bytes", or "files".
        """
        key = (cell, str(case), operation, peer)
        if key not in self._series:
            self._series[key] = Series(*key, unit)
        self._series[key].values.append(value)

    def __iter__(self) -> Iterator[Series]:
        return iter(self._series.values())


class Bench:
    """What a cell is handed.

    Parameters
    ----------
    settings : Settings
    names : list of str
        Peers that can be run.
    folder : str
        Where folders for the turns are made; on the file system to be measured.
    """

    def __init__(self, settings: Settings, names: list[str], folder: str) -> None:
        self.settings = settings
        self.record = Record()
        self.folder = folder
        self._names = names
        self._random = random.Random(1)

    def peers(self, *wanted: str) -> list[str]:
        """Those of `wanted` that can be run; the reference first."""
        return [name for name in wanted if name in self._names]

    def rounds(self, count: int, names: list[str]) -> Iterator[tuple[bool, list[str]]]:
        """Yield for each round whether it counts, and the peers in the order of their turns."""
        os.sync()
        for number in range(count + 1):
            order = list(names)
            self._random.shuffle(order)
            yield number > 0, order

    @contextlib.contextmanager
    def new_folder(self) -> Iterator[str]:
        """An empty folder, deleted afterwards."""
        folder = tempfile.mkdtemp(prefix="turn-", dir=self.folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[peers.Peer]:
        """A peer on an empty folder, ready to store."""
        with self.new_folder() as folder:
            peer = peers.BY_NAME[name]()
            peer.open(folder)
            try:
                yield peer
            finally:
                peer.close()

    def shuffled(self, count: int) -> list[int]:
        """The numbers below `count` in an order that is the same in each run."""
        numbers = list(range(count))
        self._random.shuffle(numbers)
        return numbers


def clock(call: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    """Return the seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    value = call(*args)
    return time.perf_counter() - start, value


def usage(folder: str) -> tuple[int, int]:
    """Return bytes on the disk (as of du), and the number of files and folders."""
    size, count = 0, 0
    for root, folders, files in os.walk(folder):
        count += len(folders) + len(files)
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):  # a log that was just applied
                size += 512 * os.lstat(os.path.join(root, name)).st_blocks
    return size, count


def say(text: str) -> None:
    """Tell how far the run is; standard output has the results alone."""
    print(text, file=sys.stderr, flush=True)
