# SPDX-License-Identifier: MIT
"""``decache doctor``: is a cache safe in this folder?"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from . import _cli_common, _doctor
from ._cli_output import Column, Screen

#: Styles of the verdict, by its status.
_STYLES = ("good", "remark", "bad")


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command of this module to the parser."""
    one = commands.add_parser(
        "doctor", parents=[common], help="test whether a cache is safe in a folder",
        description="Test the very folder: locks between two processes, bytes, mappings, holes, "
        "names, space and clock, and a container on trial. Nothing is left there, and a "
        "container that is there is not changed. Status 0: safe; 1: it works, with "
        "restrictions; 2: not safe.",
    )
    one.add_argument(
        "--across", action="store_true",
        help="test the folder together with another machine: run this on both at once",
    )
    one.add_argument(
        "--wait", type=_cli_common.count, default=600, metavar="SECONDS",
        help="how long to wait for the other machine (default: 600)",
    )
    one.set_defaults(run=run_doctor)


def run_doctor(args: argparse.Namespace, screen: Screen) -> int:
    """Test."""
    with screen.progress("Testing") as progress:
        count = 0

        def note(_: object) -> None:
            nonlocal count
            count += 1
            progress(count)

        found = _doctor.doctor(
            args.location, across=args.across, wait=args.wait, timeout=args.timeout, progress=note
        )
    if screen.as_json:
        screen.document(
            {
                "folder": found.folder,
                "container": found.container,
                "machines": found.machines,
                "findings": [asdict(one) for one in found.findings],
                "state": found.state,
                "verdict": found.verdict,
                "status": found.status,
            }
        )
        return found.status
    screen.fields([("folder", found.folder), ("container", found.container)])
    screen.line()
    screen.table(
        [Column("TEST", 17), Column("RESULT", 8), Column("WHICH MEANS")],
        ((one.test, one.result, one.text) for one in found.findings),
    )
    advice: dict[str, list[str]] = {}
    for one in found.findings:
        if one.advice:
            advice.setdefault(one.advice, []).append(one.test)
    if advice:
        screen.line()
    for text, tests in advice.items():
        screen.wrapped(f"{', '.join(tests)}: {text}")
    screen.line()
    screen.wrapped(found.verdict, _STYLES[found.status])
    return found.status
