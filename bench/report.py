# SPDX-License-Identifier: MIT
"""The tables of a run, next to the targets; made from what is in results.json alone.

    python bench/report.py results.json
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from payload import KIB, MIB
from peers import BY_NAME

WIDTH = 80

Key = tuple[str, str, str, str]  # cell, case, operation, peer

#: What is to be reached: cell, case ("" where there is one), operation, ratio to joblib.
TARGETS = [
    *((f"new array, {size} MiB", "arrays", str(size * MIB), "new", ratio)
      for size, ratio in ((1, 0.8), (64, 0.85), (512, 1.0))),
    *((f"the same again, {size} MiB", "arrays", str(size * MIB), "again", ratio)
      for size, ratio in ((1, 0.55), (64, 0.5), (512, 0.65))),
    *((f"hit, copied, {size} MiB", "arrays", str(size * MIB), "hit", ratio)
      for size, ratio in ((1, 0.7), (64, 0.5), (512, 0.6))),
    *((f"hit, mapped, {size} MiB", "arrays", str(size * MIB), "map", 1.0)
      for size in (1, 64, 512)),
    ("no arrays, miss", "scalar", "", "new", 0.8),
    ("no arrays, hit", "scalar", "", "hit", 0.9),
    ("list of 100 x 1 MiB, new", "list", "", "new", 1.3),
    ("list of 100 x 1 MiB, hit", "list", "", "hit", 0.4),
    ("8 workers, misses", "workers", "8", "new", 0.9),
    ("8 workers, hits", "workers", "8", "hit", 0.7),
    ("64 KiB of many, put", "many", "", "new", 1 / 2),
    ("64 KiB of many, hit", "many", "", "hit", 1 / 3),
]  # fmt: skip

OPERATION_NAMES = {"new": "new", "again": "again", "hit": "hit", "map": "mapped"}


# ---- numbers -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some values."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of at least one value."""
        values = sorted(values)
        if len(values) < 3:
            return cls(statistics.median(values), values[0], values[-1])
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(middle, low, high)

    def times(self, factor: float) -> Spread:
        """In another unit."""
        return Spread(self.median * factor, self.low * factor, self.high * factor)

    def __str__(self) -> str:
        return f"{number(self.median)} {number(self.low)}-{number(self.high)}"


class Results:
    """The series of a run, to be looked up.

    Parameters
    ----------
    results : dict
        As in results.json.
    """

    def __init__(self, results: dict[str, Any]) -> None:
        self.values: dict[Key, list[float]] = {
            (one["cell"], one["case"], one["operation"], one["peer"]): one["values"]
            for one in results["series"]
        }
        self.tasks: int = results["settings"]["tasks"]

    def cases(self, cell: str) -> list[str]:
        """The cases of a cell, in the order in which they were run."""
        return list(dict.fromkeys(key[1] for key in self.values if key[0] == cell))

    def peers(self, cell: str) -> list[str]:
        """The peers of a cell."""
        found = {key[3] for key in self.values if key[0] == cell}
        return [name for name in BY_NAME if name in found]

    def spread(self, cell: str, case: str, operation: str, peer: str) -> Spread | None:
        """Of the values of one series, in its own unit; None if there is none."""
        values = self.values.get((cell, case, operation, peer))
        return Spread.of(values) if values else None

    def ratio(
        self, cell: str, case: str, operation: str, peer: str, reference: str = "joblib"
    ) -> Spread | None:
        """Of the ratios of two peers, round by round."""
        ours = self.values.get((cell, case, operation, peer))
        theirs = self.values.get((cell, case, operation, reference))
        if not ours or not theirs:
            return None
        return Spread.of(one / other for one, other in zip(ours, theirs, strict=True))


def number(value: float) -> str:
    """Three digits, or as many as there are before the point."""
    if abs(value) >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def size_name(nbytes: float) -> str:
    """Bytes as "64 KiB" or "1 MiB"."""
    if nbytes >= MIB:
        return f"{nbytes / MIB:g} MiB"
    return f"{nbytes / KIB:g} KiB" if nbytes >= KIB else f"{nbytes:g} B"


# ---- tables --------------------------------------------------------------------------------


@dataclass
class Table:
    """A title, columns of which the first is text, and remarks below."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        text = [self.title, ""]
        for place, line in enumerate(lines):
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            text.append("  ".join(cells).rstrip())
            if place == 0:
                text.append("  ".join("-" * width for width in widths))
        return "\n".join([*text, *self.notes])


def _show(spread: Spread | None, factor: float = 1.0) -> str:
    return "-" if spread is None else str(spread.times(factor))


def _median(spread: Spread | None, factor: float = 1.0) -> str:
    return "-" if spread is None else number(spread.median * factor)


def _span(spread: Spread | None) -> str:
    return "-" if spread is None else f"{number(spread.low)}-{number(spread.high)}"


def target_table(results: Results) -> Table:
    """decache next to joblib and next to what is to be reached."""
    table = Table(
        "decache and joblib's default backend: ms of a call (workers: s), and targets",
        ["", "joblib", "decache", "ratio", "quartiles", "bare", "target", ""],
        notes=[
            "Medians over the rounds; a ratio is that of one round; quartiles of the ratios.",
            "bare: the ratio of a backend that only reads or writes the bytes (bare.py).",
        ],
    )
    for label, cell, wanted, operation, target in TARGETS:
        for case in results.cases(cell):
            ratio = results.ratio(cell, case, operation, "decache")
            if ratio is None or wanted not in ("", case):
                continue
            factor = 1.0 if cell == "workers" else 1e3
            table.rows.append([
                label,
                _median(results.spread(cell, case, operation, "joblib"), factor),
                _median(results.spread(cell, case, operation, "decache"), factor),
                number(ratio.median),
                _span(ratio),
                _median(results.ratio(cell, case, operation, "bare")),
                f"<= {target:.2f}",
                "met" if ratio.median <= target else "MISSED",
            ])  # fmt: skip
    return table


def size_table(results: Results, case: str) -> Table:
    """All peers at one size."""
    table = Table(
        f"One array of {size_name(int(case))}: ratio to joblib's time in the same round",
        ["", *OPERATION_NAMES.values()],
        [["joblib, ms", *(_show(results.spread("arrays", case, operation, "joblib"), 1e3)
                          for operation in OPERATION_NAMES)]],
    )  # fmt: skip
    for peer in results.peers("arrays"):
        if peer != "joblib":
            ratios = [results.ratio("arrays", case, one, peer) for one in OPERATION_NAMES]
            table.rows.append([BY_NAME[peer].label, *map(_show, ratios)])
    return table


def old_table(results: Results) -> Table:
    """How many times faster than decache 0.1.7, everywhere."""
    table = Table("decache 0.1.7: its time divided by decache's", ["", "times", "quartiles"])
    for (cell, case, operation, peer), values in results.values.items():
        single = cell in ("memory", "disk") or operation.startswith(("disk", "files", "results"))
        if peer != "decache-0.1.7" or single:
            continue
        ratio = results.ratio(cell, case, operation, peer, "decache")
        if ratio is not None:
            name = f"{case} workers" if cell == "workers" else cell
            where = size_name(int(case)) if cell == "arrays" else name
            table.rows.append([
                f"{where}, {operation}", number(ratio.median),
                _span(ratio) if len(values) > 2 else "",
            ])  # fmt: skip
    return table


def workers_table(results: Results) -> Table:
    """Milliseconds of all tasks, by the number of workers."""
    found = results.peers("workers")
    table = Table(
        f"loky workers: milliseconds for {results.tasks} tasks",
        ["workers", *found, "ratio", "quartiles"],
    )
    for case in results.cases("workers"):
        for operation, name in (("new", "misses"), ("hit", "hits")):
            times = [
                _median(results.spread("workers", case, operation, peer), 1e3) for peer in found
            ]
            ratio = results.ratio("workers", case, operation, "decache")
            table.rows.append([f"{case}, {name}", *times, _median(ratio), _span(ratio)])
    return table


def many_tables(results: Results) -> Iterable[Table]:
    """Everything about many results, the peers as columns."""
    found = results.peers("many")
    for case in results.cases("many"):
        table = Table(f"{int(case):,} results of 64 KiB", ["", *found])
        spread = {
            (operation, peer): results.spread("many", case, operation, peer)
            for _, _, operation, _ in results.values
            for peer in found
        }
        rows = [
            *((label, operation, lambda s: f"{1 / s.median:,.0f}")
              for label, operation in (("puts per second", "new"), ("hits per second", "hit"))),
            *((f"{operation}, s", operation, lambda s: number(s.median))
              for operation in ("walk", "reduce, nothing to do", "reduce to half",
                                "close after half", "clear", "close after clear", "close")),
            ("open and first hit, ms", "open", lambda s: number(1e3 * s.median)),
            ("results after reduce", "results after", lambda s: f"{s.median:,.0f}"),
            *((f"{what} {when}", f"{what.split(',')[0]} {when}", show)
              for when in ("full", "half", "cleared")
              for what, show in (("files", lambda s: f"{s.median:,.0f}"),
                                 ("disk, MiB,", lambda s: f"{s.median / MIB:,.0f}"))),
        ]  # fmt: skip
        for label, operation, show in rows:
            cells = [spread.get((operation, peer)) for peer in found]
            table.rows.append([label, *(show(one) if one else "-" for one in cells)])
        for operation, name in (("new", "put"), ("hit", "hit")):
            ratios = [results.ratio("many", case, operation, peer) for peer in found]
            table.rows.append([f"{name}, ratio of times", *map(_median, ratios)])
            table.rows.append(["    quartiles", *map(_span, ratios)])
        yield table


def growth_table(results: Results) -> Table:
    """Microseconds of a put and a hit against the number of results there are."""
    found = results.peers("growth")
    table = Table(
        "Results without arrays: microseconds of put / hit when so many are stored",
        ["stored", *(BY_NAME[peer].label for peer in found), "ratio", "quartiles"],
    )
    for case in results.cases("growth"):
        times = [
            " / ".join(
                _median(results.spread("growth", case, one, peer), 1e6) for one in ("new", "hit")
            )
            for peer in found
        ]
        both = [results.ratio("growth", case, one, "decache") for one in ("new", "hit")]
        table.rows.append([f"{int(case):,}", *times, " / ".join(map(_median, both)),
                           " / ".join(map(_span, both))])  # fmt: skip
    return table


def disk_table(results: Results) -> Table:
    """Disk used and files, of results of which half are equal."""
    found = results.peers("disk")
    last = results.cases("disk")[-1]
    table = Table(f"{last} results of 1 MiB, half of them equal", ["", "disk, MiB", "files"])
    for peer in found:
        table.rows.append([
            BY_NAME[peer].label,
            _median(results.spread("disk", last, "disk", peer), 1 / MIB),
            f"{results.values['disk', last, 'files', peer][-1]:.0f}",
        ])  # fmt: skip
    return table


def memory_table(results: Results, nbytes: int) -> Table:
    """Peak of resident memory beyond the result."""
    found = results.peers("memory")
    table = Table(
        f"Peak memory beyond a result of {size_name(nbytes)}, MiB",
        ["", *(BY_NAME[peer].label for peer in found), "target", ""],
    )
    for layout in results.cases("memory"):
        for operation in ("new", "hit"):
            cells = [results.spread("memory", layout, operation, peer) for peer in found]
            ours = results.spread("memory", layout, operation, "decache")
            table.rows.append([
                f"{layout}, {operation}", *(_median(one, 1 / MIB) for one in cells), "<= 16",
                "-" if ours is None else "met" if ours.median <= 16 * MIB else "MISSED",
            ])  # fmt: skip
    return table


def compress_table(results: Results) -> Table:
    """Compressed results."""
    case = results.cases("compress")[0]
    table = Table(
        f"{size_name(int(case))} of float64, compressed: ratio to joblib with zlib 1",
        ["", "new", "hit", "ms, new / hit", "disk, MiB"],
    )
    for peer in results.peers("compress"):
        ratios = [
            _show(results.ratio("compress", case, one, peer, "joblib-zlib"))
            for one in ("new", "hit")
        ]
        times = [results.spread("compress", case, one, peer) for one in ("new", "hit")]
        table.rows.append([
            BY_NAME[peer].label, *ratios, " / ".join(_median(one, 1e3) for one in times),
            _median(results.spread("compress", case, "disk", peer), 1 / MIB),
        ])  # fmt: skip
        used = results.values["compress", case, "disk", peer][-1]
        if peer.endswith("-zlib") and used > int(case):
            table.notes.append(f"{BY_NAME[peer].label}: this version did not compress.")
    return table


def micro_tables(rows: list[dict[str, Any]], about: dict[str, Any]) -> Iterable[Table]:
    """The library without Python, and the two targets that are about it."""
    sizes = sorted({row["size"] for row in rows if row["size"]})
    found = {(row["name"], row["size"], row["threads"]): row for row in rows}
    table = Table(
        "The library without Python (bench/micro): microseconds of one call",
        ["", "threads", *map(size_name, sizes)],
    )
    for name, threads in dict.fromkeys((row["name"], row["threads"]) for row in rows):
        cells = [found.get((name, size, threads)) for size in sizes]
        if any(cells):
            shown = [number(1e6 * cell["seconds"]) if cell else "-" for cell in cells]
            table.rows.append([name, str(threads), *shown])
    yield table

    table = Table("Results without arrays: microseconds of one call", ["", "", "quartiles"])
    for row in rows:
        if row["size"] == 0:
            low, high = number(1e6 * row["low"]), number(1e6 * row["high"])
            table.rows.append([row["name"], number(1e6 * row["seconds"]), f"{low}-{high}"])
    yield table

    largest, threads = sizes[-1], max(row["threads"] for row in rows)
    table = Table(f"Limits of the machine, {size_name(largest)}", ["", "", "target", ""])

    def compare(label: str, top: tuple[str, int], bottom: tuple[str, int], target: float) -> None:
        speed = (found[bottom[0], largest, bottom[1]]["seconds"]
                 / found[top[0], largest, top[1]]["seconds"])  # fmt: skip
        table.rows.append(
            [label, number(speed), f">= {number(target)}", "met" if speed >= target else "MISSED"]
        )

    factor = 1.4 if about["sha_instructions"] else 0.9
    compare(f"hash, {threads} threads: times OpenSSL's SHA-256 on one core",
            ("hash", threads), ("evp", 1), factor * threads)  # fmt: skip
    compare(f"read and checked, {threads} threads: share of bare pread's speed",
            ("read", threads), ("pread", threads), 0.8)  # fmt: skip
    yield table


def model_table(predicted: dict[str, Any]) -> Table:
    """What the cost model says of more cores; model.py explains it."""
    table = Table(
        f"Cost model, {size_name(predicted['size'])}: decache's ratio to joblib, predicted "
        "(measured)",
        ["cores", "new", "again", "hit"],
        notes=predicted["notes"],
    )
    for row in predicted["rows"]:
        cells = []
        for operation in ("new", "again", "hit"):
            measured = row["measured"].get(operation)
            shown = number(row["predicted"][operation])
            cells.append(shown + (f" ({number(measured)})" if measured else ""))
        table.rows.append([str(row["cores"]), *cells])
    return table


def tables(data: dict[str, Any]) -> list[Table]:
    """All tables for which there are numbers.

    Parameters
    ----------
    data : dict
        As in results.json.
    """
    results = Results(data)
    made = [target_table(results)]
    made += [size_table(results, case) for case in results.cases("arrays")]
    made.append(old_table(results))
    for cell, make in (("workers", workers_table), ("growth", growth_table), ("disk", disk_table),
                       ("compress", compress_table)):  # fmt: skip
        if results.cases(cell):
            made.append(make(results))
    made += many_tables(results)
    if results.cases("memory"):
        made.append(memory_table(results, data["settings"]["memory_bytes"]))
    if data["micro"]:
        made += micro_tables(data["micro"], data["machine"])
    if data["model"]:
        made.append(model_table(data["model"]))
    return [table for table in made if table.rows]


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        print("\n\n".join(map(str, tables(json.load(file)))))


if __name__ == "__main__":
    main()
