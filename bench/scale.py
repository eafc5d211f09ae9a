# SPDX-License-Identifier: MIT
"""What is timed when there are many results, and what they take on the disk and in memory.

These cells keep their folders for long: they cannot delete between rounds. "many" syncs between
its turns instead (not timed), so that no turn meets the kernel's throttling. At 100,000 results
of 64 KiB two peers take 13 GB, and only two are run, so that the page cache holds both.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from cells import CACHES, STORES
from harness import Bench, clock, say, usage
from payload import KIB, MIB, Payload

RESULT_BYTES = 64 * KIB


@contextlib.contextmanager
def _all_opened(bench: Bench, names: list[str]) -> Iterator[dict[str, Any]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(bench.opened(name)) for name in names}


def _child(*arguments: Any) -> dict[str, float]:
    """Run children.py, which prints one line of JSON."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "children.py")
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)], stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


# ---- many results --------------------------------------------------------------------------


def many(bench: Bench) -> None:
    """10,000 (or 100,000) results of 64 KiB, and all that is done to a cache of that size.

    Puts and hits are timed in chunks, the peers in turn, so that they have a spread; walking,
    opening and "nothing to reduce" three times; reducing to half and clearing once.  How long
    closing takes after those is noted beside them: decache then waits for the disk to have freed
    what is removed.
    """
    count = bench.settings.results
    names = bench.peers(*((*CACHES, "bare") if count <= 20_000 else CACHES[:2]))
    payload = Payload(RESULT_BYTES)
    chunk = max(10, min(1000, count // 20))
    stamps = {name: [0] * count for name in names}

    def note(operation: str, name: str, value: float, unit: str = "s") -> None:
        bench.record.add("many", count, operation, name, value, unit)

    def in_turns(times: int, operation: str, call: Callable[[Any], Any]) -> None:
        for _ in range(times):
            for index in bench.shuffled(len(names)):
                note(operation, names[index], clock(call, opened[names[index]])[0])
                os.sync()

    def note_usage(when: str) -> None:
        for name, peer in opened.items():
            size, files = usage(peer.folder)
            note(f"disk {when}", name, size, "bytes")
            note(f"files {when}", name, files, "files")

    with _all_opened(bench, names) as opened:
        for start in range(0, count, chunk):
            keys = range(start, min(start + chunk, count))
            for index in bench.shuffled(len(names)):
                os.sync()
                name = names[index]
                total = 0.0
                for key in keys:
                    stamps[name][key] = payload.renew()
                    total += clock(opened[name].new, key, payload.value)[0]
                note("new", name, total / len(keys))
            if start % (10 * chunk) == 0:
                say(f"    {start} of {count} stored")
        note_usage("full")

        order = bench.shuffled(count)
        for start in range(0, count, chunk):
            keys = order[start : start + chunk]
            for index in bench.shuffled(len(names)):
                name = names[index]
                total = 0.0
                for key in keys:
                    elapsed, value = clock(opened[name].hit, key)
                    total += elapsed
                    payload.check(value, stamps[name][key])
                note("hit", name, total / len(keys))

        def walk(peer: Any) -> None:
            if peer.walk() < count:
                raise AssertionError("a walk did not find all results")

        in_turns(3, "walk", walk)
        in_turns(3, "reduce, nothing to do", lambda peer: peer.reduce(2**50))
        if any(peer.walk() < count for peer in opened.values()):
            raise AssertionError("results went, though the limit was kept")

        def reopen() -> None:
            for peer in opened.values():
                peer.open(peer.folder)

        in_turns(1, "close", lambda peer: peer.close())
        for _ in range(3):
            for index in bench.shuffled(len(names)):
                name = names[index]
                note("open", name, _child("open", name, opened[name].folder, order[0])["seconds"])
        reopen()

        in_turns(1, "reduce to half", lambda peer: peer.reduce(count * RESULT_BYTES // 2))
        in_turns(1, "close after half", lambda peer: peer.close())
        reopen()
        for name, peer in opened.items():
            note("results after", name, peer.walk(), "results")
        note_usage("half")
        in_turns(1, "clear", lambda peer: peer.clear())
        in_turns(1, "close after clear", lambda peer: peer.close())
        reopen()
        note_usage("cleared")


def growth(bench: Bench) -> None:
    """What a put and a hit cost when so many results are there: small ones, without arrays.

    At each mark (100, 200, 500, 1000 ...) 10 blocks of 10 calls are timed in turn.
    """
    most = bench.settings.growth
    marks = [step * 10**power for power in range(2, 7) for step in (1, 2, 5)]
    value = {"score": 0.25, "label": "a result without arrays", "steps": list(range(10))}
    names = bench.peers("joblib", "decache", "diskcache")
    block, blocks = 10, 10
    stored = 0
    with _all_opened(bench, names) as opened:
        for mark in [mark for mark in marks if mark <= most]:
            for peer in opened.values():
                for key in range(stored, mark - block * blocks):
                    peer.new(key, value)
            os.sync()
            for start in range(mark - block * blocks, mark, block):
                for index in bench.shuffled(len(names)):
                    peer = opened[names[index]]
                    keys = range(start, start + block)
                    seconds = sum(clock(peer.new, key, value)[0] for key in keys)
                    bench.record.add("growth", mark, "new", names[index], seconds / block)
            stored = mark
            asked = bench.shuffled(stored)[: block * blocks]
            for start in range(0, block * blocks, block):
                for index in bench.shuffled(len(names)):
                    peer = opened[names[index]]
                    keys = asked[start : start + block]
                    seconds = sum(clock(peer.hit, key)[0] for key in keys)
                    bench.record.add("growth", mark, "hit", names[index], seconds / block)
            if mark in (10**power for power in range(2, 7)):
                for name, peer in opened.items():
                    size, files = usage(peer.folder)
                    bench.record.add("growth", mark, "disk", name, size, "bytes")
                    bench.record.add("growth", mark, "files", name, files, "files")
                say(f"    {mark} stored")


# ---- disk and memory -----------------------------------------------------------------------


def disk(bench: Bench) -> None:
    """What 1, 2, 4 ... 64 results of 1 MiB take on the disk, half of them equal."""
    payload = Payload(min(MIB, bench.settings.memory_bytes))
    marks = {2**power for power in range(20)} | {bench.settings.disk_results}
    for name in bench.peers(*STORES):
        with bench.opened(name) as peer:
            for index in range(bench.settings.disk_results):
                if index % 2 == 0:
                    payload.renew()
                peer.new(index, payload.value)
                if index + 1 in marks:
                    size, files = usage(peer.folder)
                    bench.record.add("disk", index + 1, "disk", name, size, "bytes")
                    bench.record.add("disk", index + 1, "files", name, files, "files")


def memory(bench: Bench) -> None:
    """Peak memory beyond the result itself, of a miss and of a hit; each in a new process."""
    nbytes = bench.settings.memory_bytes
    for layout in ("contiguous", "strided"):
        for name in bench.peers(*CACHES):
            with bench.new_folder() as folder:
                for operation in ("new", "hit"):
                    extra = _child("memory", name, folder, operation, layout, nbytes)["extra"]
                    bench.record.add("memory", layout, operation, name, extra, "bytes")


CELLS = {"disk": disk, "growth": growth, "memory": memory, "many": many}
