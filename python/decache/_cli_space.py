# SPDX-License-Identifier: MIT
"""``decache du``: who uses the space, as a table and as a picture."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from . import _catalog, _cli_common, _plot, _space
from ._cli_output import Column, Screen
from ._units import show_size

_BAR = 12


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command of this module to the parser."""
    one = commands.add_parser(
        "du", parents=[common], help="who uses the space, and what storing arrays once saves",
        description="Count exactly who uses the space. BYTES: what the results would take if "
        "nothing were shared. OWN: what removing the function frees. SHARED: arrays that other "
        "functions have as well, each counted once. The bar is OWN and an even part of SHARED.",
    )
    one.add_argument(
        "--plot", metavar="FILE",
        help="draw a treemap: .html or .svg, or .png if there is matplotlib",
    )
    one.add_argument(
        "--top", type=_cli_common.count, metavar="N", help="only the N largest functions"
    )
    one.set_defaults(run=run_du)


def run_du(args: argparse.Namespace, screen: Screen) -> int:
    """Count."""
    with _catalog.opened(args.location, timeout=args.timeout) as raw:
        _cli_common.tell_notice(raw, screen)
        with screen.progress("Counting", raw.stat().items) as progress:
            found = _space.count(raw, progress)
    if args.plot:
        _plot.plot(found, args.plot)
    if screen.as_json:
        screen.rows(
            {
                "container": found.container,
                "bytes": found.bytes,
                "stored_bytes": found.stored_bytes,
                "saved_bytes": found.saved_bytes,
                "kept_bytes": found.kept_bytes,
                "disk_bytes": found.totals.disk_bytes,
            },
            "functions",
            map(asdict, found.shares[: args.top]),
        )
        return 0
    columns = [
        Column("FUNCTION", tail=True), Column("BYTES", 9, right=True),
        Column("OWN", 9, right=True), Column("SHARED", 9, right=True), Column("", _BAR),
    ]
    screen.table(columns, _rows(found, args.top))
    if found.shares:
        screen.line()
    pairs = [
        ("in results", show_size(found.bytes)),
        ("stored", f"{show_size(found.stored_bytes)}, each array once"),
        ("saved", show_size(found.saved_bytes)),
        ("on disk", show_size(found.totals.disk_bytes)),
    ]
    if found.kept_bytes:
        pairs.insert(2, ("kept arrays", show_size(found.kept_bytes)))
    screen.fields(pairs)
    return 0


def _rows(found: _space.Space, top: int | None) -> Iterator[tuple[str, ...]]:
    largest = max((one.fair_bytes for one in found.shares), default=0.0)
    for one in found.shares[:top]:
        bar = "#" * round(_BAR * one.fair_bytes / largest) if largest else ""
        yield (
            one.name, show_size(one.bytes), show_size(one.own_bytes), show_size(one.shared_bytes),
            bar,
        )
