# SPDX-License-Identifier: MIT
"""Measure decache and its peers, in turn, in one run; scripts/bench.sh sets everything up.

    python bench/run.py [--quick | --full] [--only CELLS] [--peers PEERS] [--out DIR]

Prints tables with targets, and writes results.json, plots as PNG, and report.html into DIR.
harness.py says how is measured, cells.py and scale.py what, peers.py whom.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Any

import cells
import machine
import micro
import model
import peers
import report
import scale
from harness import Bench, Settings, say
from payload import KIB, MIB

CELLS = {**cells.CELLS, **scale.CELLS}
EXTRA_CELLS = ("micro",)

SIZES = tuple(KIB << power for power in (4, 6, 8, 10, 12, 14, 16, 19))  # 16 KiB to 512 MiB
QUICK_SIZES = (64 * KIB, MIB, 16 * MIB, 64 * MIB)

QUICK = Settings(
    sizes=QUICK_SIZES, rounds=3, results=400, growth=1000, workers=(1, 4), tasks=16,
    compress_bytes=8 * MIB, disk_results=16, memory_bytes=64 * MIB,
)  # fmt: skip
DEFAULT = Settings(sizes=SIZES)
FULL = Settings(sizes=SIZES, results=100_000, growth=100_000, effort=2.0)


def parse_size(text: str) -> int:
    """Bytes of "64K", "1M", "512M"."""
    factor = {"K": KIB, "M": MIB, "G": 1024 * MIB}.get(text[-1:].upper())
    try:
        size = int(text[:-1]) * factor if factor else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a size: {text!r}") from None
    if size < 8 or size % 8:
        raise argparse.ArgumentTypeError(f"a size is a multiple of 8 bytes, not {text!r}")
    return size


def _listed(known: Any) -> Any:
    """A type for argparse: names separated by commas."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"there is no {name!r}; there are {', '.join(known)}"
                )
        return names

    return parse


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_true", help="a minute: sees that all runs")
    effort.add_argument("--full", action="store_true", help="100,000 results, more rounds")
    parser.add_argument("--million", action="store_true", help="growth up to 1,000,000 results")
    parser.add_argument(
        "--only", type=_listed((*CELLS, *EXTRA_CELLS)), metavar="CELLS",
        help=f"of {', '.join((*CELLS, *EXTRA_CELLS))}",
    )  # fmt: skip
    parser.add_argument(
        "--peers", type=_listed(peers.BY_NAME), metavar="PEERS",
        help=f"of {', '.join(peers.BY_NAME)}; joblib always is",
    )  # fmt: skip
    parser.add_argument("--out", default="bench-results", metavar="DIR")
    parser.add_argument("--micro", metavar="PROGRAM", help="the compiled bench/micro")
    parser.add_argument("--rounds", type=int, help="instead of 3 to 42, by size")
    parser.add_argument("--results", type=int, help='of cell "many"')
    parser.add_argument("--growth", type=int, metavar="RESULTS", help='of cell "growth"')
    parser.add_argument(
        "--sizes", type=lambda text: tuple(map(parse_size, text.split(","))), help="16K,1M,..."
    )
    parser.add_argument("--workers", type=lambda text: tuple(map(int, text.split(","))))
    parser.add_argument("--memory", type=parse_size, metavar="SIZE", help='of cell "memory"')
    return parser.parse_args(arguments)


def make_settings(arguments: argparse.Namespace) -> Settings:
    """What the arguments say is to be measured."""
    chosen = QUICK if arguments.quick else FULL if arguments.full else DEFAULT
    changes = {
        "rounds": arguments.rounds,
        "results": arguments.results,
        "growth": 10**6 if arguments.million else arguments.growth,
        "sizes": arguments.sizes,
        "workers": arguments.workers,
        "memory_bytes": arguments.memory,
    }
    return dataclasses.replace(chosen, **{k: v for k, v in changes.items() if v is not None})


def measure(bench: Bench, names: list[str]) -> dict[str, str]:
    """Run cells, and return what went wrong, by cell."""
    failed = {}
    for name in names:
        start = time.perf_counter()
        say(f"==> {name}: {CELLS[name].__doc__.splitlines()[0]}")
        try:
            CELLS[name](bench)
        except Exception as error:  # the others are worth having
            traceback.print_exc()
            failed[name] = f"{type(error).__name__}: {error}"
        say(f"    {time.perf_counter() - start:.0f} s")
    return failed


def measure_micro(
    program: str | None, folder: str, quick: bool, failed: dict[str, str]
) -> list[micro.Row]:
    """Run the benchmarks in C, if it is known where they are."""
    if not program:
        say("==> without micro: --micro does not say where it is")
        return []
    say("==> micro: the library without Python")
    try:
        return micro.run(program, folder, quick)
    except (OSError, subprocess.CalledProcessError) as error:
        failed["micro"] = str(error)
        return []


def main(arguments: list[str] | None = None) -> int:
    """Run it all; returns the status for the shell."""
    options = parse_arguments(arguments)
    settings = make_settings(options)
    wanted = options.only or [*CELLS, *EXTRA_CELLS]
    out = os.path.abspath(options.out)
    program = options.micro and os.path.abspath(options.micro)
    os.makedirs(out, exist_ok=True)

    names = list(options.peers or peers.BY_NAME)
    if peers.REFERENCE not in names:
        names.insert(0, peers.REFERENCE)

    started = datetime.datetime.now(datetime.timezone.utc)
    clock = time.perf_counter()
    home = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="work-", dir=out) as folder:
        os.chdir(folder)  # decache 0.1.7 writes a log into the current folder
        try:
            versions, missing = peers.available(names)
            for name, reason in missing.items():
                say(f"==> without {name}: {reason}")
            about = machine.describe(folder)
            if about["load"] > 0.5:
                say(f"==> this machine is busy (load {about['load']:.1f}): expect a wide spread")
            bench = Bench(settings, list(versions), folder)
            failed = measure(bench, [name for name in wanted if name in CELLS])
            rows = []
            if "micro" in wanted:
                rows = measure_micro(program, folder, options.quick, failed)
        finally:
            os.chdir(home)

    results = {
        "format": 1,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - clock, 1),
        "machine": about,
        "settings": dataclasses.asdict(settings),
        "peers": versions,
        "missing": missing,
        "failed": failed,
        "series": [dataclasses.asdict(series) for series in bench.record],
        "micro": [dataclasses.asdict(row) for row in rows],
    }
    results["model"] = model.predict(results)
    with open(os.path.join(out, "results.json"), "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)

    tables = report.tables(results)
    print("\n\n".join(str(table) for table in tables))
    try:
        import plots
    except ImportError as error:
        say(f"==> without plots: {error}")
    else:
        plots.draw(results, tables, out)
    say(f"==> {out}: {', '.join(sorted(os.listdir(out)))}")
    for name, reason in failed.items():
        say(f"==> FAILED: {name}: {reason}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
