# SPDX-License-Identifier: MIT
"""``decache rm`` and ``prune``: removing results."""

from __future__ import annotations

import argparse
import datetime
from typing import Any

from . import _catalog, _cli_common, _limits, _remove
from ._cli_output import Screen
from ._units import parse_age, parse_size


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of this module to the parser."""
    one = commands.add_parser(
        "rm", parents=[common], help="remove results",
        description="Remove the results that all options together choose, and the arrays that "
        "nothing else uses; their space comes back to the disk at once. The functions are "
        "computed again when they are called.",
    )
    _cli_common.add_choice(one, results=True)
    one.add_argument("--all", action="store_true", help="remove everything")
    one.add_argument(
        "--kept", action="store_true",
        help="remove the arrays that no result has: those that 'decache repair' or Store.put kept",
    )
    _cli_common.add_dry_run(one)
    one.set_defaults(run=run_rm)

    one = commands.add_parser(
        "prune", parents=[common], help="keep within limits: remove what was unused for longest",
        description="Remove the results that were not used for longest, until the cache is "
        "within all limits that are given.",
    )
    one.add_argument(
        "--bytes", type=_cli_common.checked(parse_size), metavar="SIZE",
        help="at most so much for arrays and pickles: 500M, 50G",
    )
    one.add_argument("--items", type=_cli_common.count, metavar="N", help="at most so many results")
    one.add_argument(
        "--age", type=_cli_common.checked(parse_age), metavar="AGE",
        help="nothing that was not used for so long: 30d, 12h, 2w",
    )
    _cli_common.add_dry_run(one)
    one.set_defaults(run=run_prune)


def run_rm(args: argparse.Namespace, screen: Screen) -> int:
    """Remove chosen results."""
    if args.result and (_cli_common.chosen(args) or args.all):
        raise ValueError("give --result, or say which results to choose; not both")
    if args.kept and (args.result or args.all or _cli_common.chosen(args)):
        raise ValueError("give --kept, or say which results to remove; not both")
    if not (args.result or args.all or args.kept or _cli_common.chosen(args)):
        raise ValueError("nothing says what to remove; --all removes everything")
    if args.all and _cli_common.chosen(args):
        raise ValueError("give --all, or say which results to choose; not both")
    with _catalog.opened(
        args.location, write=not args.dry_run, timeout=args.timeout
    ) as raw:
        _cli_common.tell_notice(raw, screen)
        with screen.progress("Removing") as progress:
            if args.kept:
                removal = _remove.remove_kept(raw, args.dry_run, progress)
            elif args.result:
                try:
                    removal = _remove.remove_results(raw, args.result, args.dry_run)
                except KeyError as error:
                    screen.say(f"nothing is removed: {error.args[0]}")
                    return 1
            else:
                choice = _cli_common.choice(raw, args, single=True)
                removal = _remove.remove_choice(raw, choice, args.dry_run, progress)
        path = raw.path
    _cli_common.show_removal(removal, path, args.dry_run, screen, args.kept)
    return 1 if removal.results + removal.kept_arrays == 0 and not args.all else 0


def run_prune(args: argparse.Namespace, screen: Screen) -> int:
    """Keep limits."""
    if args.bytes is None and args.items is None and args.age is None:
        raise ValueError("give a limit: --bytes, --items or --age")
    age = None if args.age is None else datetime.timedelta(seconds=args.age)
    limits = _limits.Limits.parse(args.bytes, args.items, age)
    with _catalog.opened(
        args.location, write=not args.dry_run, timeout=args.timeout
    ) as raw:
        _cli_common.tell_notice(raw, screen)
        removal = _remove.prune_open(raw, limits, args.dry_run)
        path = raw.path
    _cli_common.show_removal(removal, path, args.dry_run, screen)
    return 0
