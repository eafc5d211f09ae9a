# SPDX-License-Identifier: MIT
"""What the commands have in common: choosing results, and telling what was removed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from . import _catalog, _h5store, _remove
from ._cli_output import Column, Screen, clean
from ._units import parse_age, show_size


def add_choice(parser: argparse.ArgumentParser, results: bool = False) -> None:
    """Add the options that choose results.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    results : bool
        Also the option that names single results.
    """
    parser.add_argument(
        "functions", metavar="FUNCTION", nargs="*", default=[],
        help="only of these: a name, the end of one, or a pattern with * ? [ ]",
    )
    parser.add_argument(
        "--older-than", type=checked(parse_age), metavar="AGE",
        help="only what was not used for so long: 30d, 12h, 2w",
    )
    parser.add_argument(
        "--match", action="append", default=[], metavar="NAME=PATTERN",
        help="only results with an argument like this; may be repeated",
    )
    if results:
        parser.add_argument(
            "--result", action="append", default=[], metavar="ID",
            help="this result: the first digits of its key, or function/key; may be repeated",
        )


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add the option that changes nothing."""
    parser.add_argument(
        "-n", "--dry-run", action="store_true",
        help="change nothing, and tell what would be done",
    )


def checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Turn a parser of `_units` into one for argparse, which then says what is wrong."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def count(text: str) -> int:
    """Read a number of 0 or more, for argparse."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def chosen(args: argparse.Namespace) -> bool:
    """Was anything chosen?"""
    return bool(args.functions or args.match or args.older_than is not None)


def choice(
    raw: _h5store.Store, args: argparse.Namespace, single: bool = False
) -> _remove.Choice:
    """Return what the options choose."""
    names = _catalog.matching(raw, args.functions, single=single) if args.functions else None
    return _remove.Choice(names, args.older_than, tuple(args.match))


def tell_notice(raw: _h5store.Store, screen: Screen) -> None:
    """Pass on what the container has to say."""
    if raw.notice:
        screen.say(raw.notice)


def source_line(text: str) -> str:
    """Return a line of a program for showing: tabs become spaces."""
    return clean(text.rstrip("\r").expandtabs(8))


def show_removal(
    removal: _remove.Removal, path: str, dry_run: bool, screen: Screen, kept: bool = False
) -> None:
    """Tell what was, or would be, removed."""
    if screen.as_json:
        screen.document(
            {"container": path, "dry_run": dry_run, **asdict(removal), "bytes": removal.bytes}
        )
        return
    if len(removal.by_function) > 1:
        screen.table(
            [Column("FUNCTION", tail=True), Column("RESULTS", 9, right=True)],
            ((name, f"{count:,}") for name, count in removal.by_function.items()),
        )
    verb = "would remove" if dry_run else "removed"
    if kept:
        arrays = f"{plural(removal.kept_arrays, 'array')} that no result has"
        screen.line(f"{verb} {arrays}: {exact(removal.array_bytes)}")
        return
    screen.line(
        f"{verb} {plural(removal.results, 'result')}: "
        f"{exact(removal.array_bytes)} of arrays, {exact(removal.small_bytes)} of pickles"
    )


def exact(size: int) -> str:
    """Return a size for people with all its digits: "1.5 KiB (1,536 B)"."""
    return show_size(size) if size < 1024 else f"{show_size(size)} ({size:,} B)"


def plural(count: int, thing: str) -> str:
    """Return "1 result", "2 results"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
