# SPDX-License-Identifier: MIT
"""``decache verify``, ``repair`` and ``compact``: is it whole, make it whole, make it small."""

from __future__ import annotations

import argparse
from typing import Any

from . import _catalog, _check, _cli_common
from ._cli_output import Column, Screen
from ._units import parse_fraction, show_size


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of this module to the parser."""
    one = commands.add_parser(
        "verify", parents=[common], help="check the container, and name the calls affected",
        description="Check the container against its format, and list what was found, numbered, "
        "with the clause of FORMAT.md, and the calls whose results are affected: these are "
        "computed again when they are called. Status 1 if there was an error.",
    )
    one.add_argument(
        "--full", action="store_true",
        help="compare the bytes of arrays with their SHA-256, not only with a checksum",
    )
    one.add_argument(
        "--subset", type=_cli_common.checked(parse_fraction), default=1.0, metavar="PART",
        help="read only this part of the arrays, chosen at random: 5%%",
    )
    one.set_defaults(run=run_verify)

    one = commands.add_parser(
        "repair", parents=[common], help="save what is whole in a damaged container",
        description="Copy every array that still has its SHA-256, and every result with all its "
        "arrays, into a fresh container, however damaged this one is, and name what is lost. "
        "Arrays that no saved result has are kept by themselves; 'decache rm --kept' removes them. "
        "The damaged container is not changed. Status 1 if something is lost.",
    )
    one.add_argument(
        "-o", "--output", metavar="FILE",
        help="the fresh container (default: the container's name with .repaired)",
    )
    one.add_argument(
        "--in-place", action="store_true",
        help="put the fresh one in place of the damaged one, which gets another name",
    )
    _cli_common.add_dry_run(one)
    one.set_defaults(run=run_repair)

    one = commands.add_parser(
        "compact", parents=[common], help="make the file as small as what is in it",
        description="Close the holes in the file and rebuild its metadata. Arrays are moved only "
        "where that makes the file shorter. Safe while others use the cache.",
    )
    one.set_defaults(run=run_compact)


# -- verify ----------------------------------------------------------------------------------------


def run_verify(args: argparse.Namespace, screen: Screen) -> int:
    """Check."""
    path = _catalog.find_container(args.location)
    with screen.progress("Checking", in_bytes=True) as progress:
        found = _check.verify(
            path, full=args.full, subset=args.subset, timeout=args.timeout, progress=progress
        )
    errors, remarks = len(found.errors), len(found.findings) - len(found.errors)
    if screen.as_json:
        screen.document(
            {
                "container": path,
                "check": "full" if args.full else "fast",
                "subset": args.subset,
                "errors": errors,
                "remarks": remarks,
                "findings": [
                    {
                        "number": number,
                        "severity": "error" if one.is_error else "remark",
                        "clause": one.clause,
                        "clause_name": _check.CLAUSES.get(one.clause, ""),
                        "object": one.object,
                        "text": one.text,
                    }
                    for number, one in enumerate(found.findings, 1)
                ],
                "affected": [{"function": name, "key": key} for name, key in found.affected],
            }
        )
        return 1 if errors else 0
    for number, one in enumerate(found.findings, 1):
        kind, style = ("error", "bad") if one.is_error else ("remark", "remark")
        clause = f"clause {one.clause}, {_check.CLAUSES.get(one.clause, 'unknown')}"
        screen.line(f"{number} {kind}: {clause}", style)
        screen.wrapped(f"  {one.object}: {one.text}")
    if found.affected:
        screen.line()
        screen.table(
            [Column("AFFECTED", tail=True), Column("KEY", 32)], found.affected
        )
    if not errors:
        screen.line("no errors" + (f", {remarks} remarks" if remarks else ""), "good")
        return 0
    screen.line()
    screen.wrapped(
        f"{_cli_common.plural(errors, 'error')}, {_cli_common.plural(remarks, 'remark')}; "
        "results that are affected are computed again and mended when their functions are "
        "called; 'decache repair' saves what is whole"
    )
    return 1


# -- repair ----------------------------------------------------------------------------------------


def run_repair(args: argparse.Namespace, screen: Screen) -> int:
    """Save what is whole."""
    path = _catalog.find_container(args.location)
    with screen.progress("Saving", in_bytes=True) as progress:
        done = _check.repair(
            path, args.output, in_place=args.in_place, dry_run=args.dry_run, progress=progress
        )
    salvage = done.salvage
    lost = salvage.lost_items + salvage.lost_blobs
    if screen.as_json:
        screen.document(
            {
                "container": path,
                "dry_run": args.dry_run,
                "repaired": done.container or None,
                "set_aside": done.aside or None,
                **{name: getattr(salvage, name) for name in salvage.__match_args__},
                "findings": done.findings,
                "kept": done.kept,
            }
        )
        return 1 if lost else 0
    for text in done.findings:
        screen.wrapped(text, "bad")
    would = "would be " if args.dry_run else ""
    screen.line(
        f"{would}saved: {_cli_common.plural(salvage.items, 'result')}, "
        f"{_cli_common.plural(salvage.blobs, 'array')}"
    )
    if salvage.unnamed_items:
        screen.line(
            f"{_cli_common.plural(salvage.unnamed_items, 'result')} of them below the function "
            "'recovered', without their names"
        )
    screen.line(
        f"{would}lost: {_cli_common.plural(salvage.lost_items, 'result')}, "
        f"{_cli_common.plural(salvage.lost_blobs, 'array')}",
        "bad" if lost else "",
    )
    if done.kept:
        screen.wrapped(
            f"{_cli_common.plural(len(done.kept), 'array')} of these, which no saved result has, "
            f"{would or 'are '}kept; 'decache rm --kept' removes them"
        )
    if done.container:
        screen.line(f"the repaired container is {done.container}")
    if done.aside:
        screen.line(f"the damaged one is now {done.aside}")
    return 1 if lost else 0


# -- compact ---------------------------------------------------------------------------------------


def run_compact(args: argparse.Namespace, screen: Screen) -> int:
    """Make small."""
    with _catalog.opened(args.location, write=True, timeout=args.timeout) as raw:
        _cli_common.tell_notice(raw, screen)
        notice = raw.notice
        with screen.progress("Compacting", in_bytes=True) as progress:
            done = raw.compact(progress)
        unreadable = raw.notice != notice
        if unreadable:
            _cli_common.tell_notice(raw, screen)
        path = raw.path
    if screen.as_json:
        screen.document(
            {"container": path, **{name: getattr(done, name) for name in done.__match_args__}}
        )
        return 0
    screen.line(
        f"{show_size(done.before_bytes)} before, {show_size(done.after_bytes)} after; "
        f"{show_size(done.moved_bytes)} of arrays moved"
    )
    if done.left and not unreadable:
        screen.say("the metadata is as it was: others have the container open; try again later")
    return 0
