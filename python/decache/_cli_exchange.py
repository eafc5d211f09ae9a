# SPDX-License-Identifier: MIT
"""``decache export``, ``import`` and ``migrate``: results out, in, and over from folders."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from typing import Any

from . import _catalog, _cli_common, _detail, _exchange, _migrate
from ._cli_output import Column, Screen
from ._copy import Transfer
from ._options import DEFAULT_THRESHOLD
from ._units import parse_size, show_size

#: How many results that were left out are named.
_SHOWN = 20


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of this module to the parser."""
    one = commands.add_parser(
        "export", parents=[common], help="copy arrays to .npy or .npz, or results to a container",
        description="Copy results out. Where -o ends with .npz: their arrays into one file; with "
        ".h5: the results into a new container; else their arrays into .npy files in a folder, "
        "FUNCTION/KEY.PLACE.npy. For arrays THE RESULTS ARE UNPICKLED, which can run code: "
        "export only from a cache that you trust. Nothing is unpickled for a container.",
    )
    _cli_common.add_choice(one, results=True)
    one.add_argument("-o", "--output", required=True, metavar="PATH", help="where to")
    one.add_argument("--force", action="store_true", help="replace files that are there")
    _add_compress(one, None)
    _add_import_path(one)
    _cli_common.add_dry_run(one)
    one.set_defaults(run=run_export)

    one = commands.add_parser(
        "import", parents=[common], help="copy results or arrays into the cache",
        description="Copy the results of another container, or the arrays of .npy and .npz files, "
        "into the cache, which is made if there is none. Results that are there already stay. "
        "Nothing is unpickled.",
    )
    one.add_argument("sources", metavar="SOURCE", nargs="+", help="a cache, container, or file")
    _add_compress(one, None)
    _cli_common.add_dry_run(one)
    one.set_defaults(run=run_import)

    one = commands.add_parser(
        "migrate", parents=[common], help="convert a cache of joblib's, or of decache 0.1",
        description="Bring the results of joblib's default backend, or of decache 0.1, into a "
        "container, so that the next run with backend='cas' finds them. Each result is loaded "
        "back and compared. THE RESULTS ARE UNPICKLED, which can run code, and needs the modules "
        "that they come from: migrate only a cache that you trust. When it was interrupted, run "
        "it again.",
    )
    one.add_argument(
        "--to", metavar="TARGET",
        help="a location or container for the results (default: in LOCATION)",
    )
    one.add_argument(
        "--remove", action="store_true",
        help="delete each result from the folders when it was brought over and compared",
    )
    one.add_argument(
        "--threshold", type=_cli_common.checked(parse_size), default=DEFAULT_THRESHOLD,
        metavar="SIZE",
        help="arrays larger than this are stored once each (default: 32K)",
    )
    _add_compress(one, 0)
    _add_import_path(one)
    _cli_common.add_dry_run(one)
    one.set_defaults(run=run_migrate)


def _add_compress(parser: argparse.ArgumentParser, default: int | None) -> None:
    usual = "as they were" if default is None else default
    parser.add_argument(
        "--compress", type=int, choices=range(10), default=default, metavar="LEVEL",
        help=f"deflate arrays in the container, 1 to 9; 0: do not (default: {usual})",
    )


def _add_import_path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--import-path", action="append", default=[], metavar="FOLDER",
        help="where modules are that the results need; may be repeated",
    )


def _use_import_path(args: argparse.Namespace) -> None:
    """Have modules found where the user said, and in the current folder, as by ``python -m``."""
    sys.path[:0] = [os.path.abspath(one) for one in args.import_path]
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())


# -- export and import -----------------------------------------------------------------------------


def run_export(args: argparse.Namespace, screen: Screen) -> int:
    """Copy out."""
    if args.result and _cli_common.chosen(args):
        raise ValueError("give --result, or say which results to choose; not both")
    _use_import_path(args)
    with _catalog.opened(args.location, timeout=args.timeout) as raw:
        _cli_common.tell_notice(raw, screen)
        if args.result:
            try:
                infos: Any = [_detail.the_one(raw, one) for one in args.result]
            except KeyError as error:
                screen.say(f"nothing is exported: {error.args[0]}")
                return 1
        else:
            infos = _cli_common.choice(raw, args).results(raw)
        with screen.progress("Exporting") as progress:
            done = _exchange.export_open(
                raw, infos, args.output, force=args.force, compress=args.compress,
                dry_run=args.dry_run, progress=progress,
            )
    _show_transfer(done, "exported", "export", args.dry_run, screen)
    if not done.results and not done.failed and (_cli_common.chosen(args) or args.result):
        screen.say("nothing matches")
        return 1
    return 1 if done.failed else 0


def run_import(args: argparse.Namespace, screen: Screen) -> int:
    """Copy in."""
    failed = False
    documents = []
    for source in args.sources:
        with screen.progress("Importing") as progress:
            done = _exchange.import_from(
                args.location, source, compress=args.compress, dry_run=args.dry_run,
                progress=progress, timeout=args.timeout,
            )
        failed = failed or bool(done.failed)
        documents.append({"source": source, **_transfer_row(done)})
        if not screen.as_json:
            _show_transfer(done, "imported", "import", args.dry_run, screen)
            screen.table(
                [Column("ARRAY", 40, tail=True), Column("NAME")],
                ((name, blob) for name, blob in done.names.items()),
            )
    if screen.as_json:
        screen.document({"dry_run": args.dry_run, "imports": documents})
    return 1 if failed else 0


def _transfer_row(done: Transfer) -> dict[str, Any]:
    row = asdict(done)
    row["failed"] = [{"name": name, "reason": reason} for name, reason in done.failed]
    return row


def _show_transfer(
    done: Transfer, past: str, verb: str, dry_run: bool, screen: Screen
) -> None:
    if screen.as_json:
        if verb == "export":
            screen.document({"dry_run": dry_run, **_transfer_row(done)})
        return
    _show_failed(done.failed, screen)
    there = f"; {done.present:,} were there already" if done.present else ""
    screen.wrapped(
        f"{'would ' + verb if dry_run else past} {_cli_common.plural(done.results, 'result')}, "
        f"{_cli_common.plural(done.arrays, 'array')}: {_cli_common.exact(done.bytes)}"
        f" to {done.target}{there}"
    )


def _show_failed(failed: list[tuple[str, str]], screen: Screen) -> None:
    for name, reason in failed[:_SHOWN]:
        screen.wrapped(f"left out: {name}: {reason}", "remark")
    if len(failed) > _SHOWN:
        screen.line(f"... and {len(failed) - _SHOWN:,} more; --json names all", "remark")


# -- migrate ---------------------------------------------------------------------------------------


def run_migrate(args: argparse.Namespace, screen: Screen) -> int:
    """Convert."""
    _use_import_path(args)
    with screen.progress("Migrating") as progress:
        done = _migrate.migrate(
            args.location, args.to, remove=args.remove, dry_run=args.dry_run,
            large_array_threshold=args.threshold, compress=args.compress, progress=progress,
            timeout=args.timeout,
        )
    if screen.as_json:
        row = asdict(done)
        row["failed"] = [{"name": name, "reason": reason} for name, reason in done.failed]
        screen.document({"dry_run": args.dry_run, "saved_bytes": done.saved_bytes, **row})
        return 1 if done.failed else 0
    _show_failed(done.failed, screen)
    verb = "would convert" if args.dry_run else "converted"
    there = f", {done.present:,} were there already" if done.present else ""
    screen.wrapped(f"{verb} {_cli_common.plural(done.converted, 'result')}{there} "
                   f"into {done.container}")
    would = "would grow" if args.dry_run else "grew"
    files = _cli_common.plural(done.old_files, "file")
    screen.wrapped(
        f"the folders had {show_size(done.old_bytes)} of the disk in {files}; the container "
        f"{would} by {show_size(done.new_bytes)}"
    )
    if args.remove:
        verb = "would be removed" if args.dry_run else "were removed"
        count = done.converted + done.present if args.dry_run else done.removed
        screen.wrapped(
            f"{_cli_common.plural(count, 'result')} {verb} from the folders: "
            f"{_balance(done.saved_bytes)} of the disk in use than before"
        )
    else:
        screen.wrapped(
            "the folders stay as they are; --remove deletes what was brought over, and leaves "
            f"{_balance(done.old_bytes - done.new_bytes)} of the disk in use than before"
        )
    if done.abandoned:
        screen.wrapped(
            f"{_cli_common.plural(done.abandoned, 'folder')} without a result, of processes "
            "that were killed"
        )
    return 1 if done.failed else 0


def _balance(saved: int) -> str:
    return f"{show_size(saved)} less" if saved >= 0 else f"{show_size(-saved)} more"
