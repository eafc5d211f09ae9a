# SPDX-License-Identifier: MIT
"""``decache ls``, ``show`` and ``stats``: looking into a cache. Nothing here unpickles."""

from __future__ import annotations

import argparse
import operator
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from . import _catalog, _cli_common, _detail, _dtype, _h5store
from ._cli_output import Column, Screen
from ._units import show_ago, show_size, show_span, show_time

_ORDERS = {
    "name": (operator.attrgetter("name"), False),
    "results": (operator.attrgetter("results"), True),
    "bytes": (operator.attrgetter("bytes"), True),
    "shared": (operator.attrgetter("shared_bytes"), True),
    "used": (operator.attrgetter("used"), True),
}

#: Lines of a function's source that are shown on a terminal without being asked for.
_SOURCE_LINES = 20


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands of this module to the parser."""
    one = commands.add_parser(
        "ls", parents=[common], help="list functions, or results with their arguments",
        description="List the functions that have results: how many, their bytes, how many of "
        "these are in arrays that other results have as well, and when one was last used. With "
        "-r, list the results.",
    )
    _cli_common.add_choice(one)
    one.add_argument("-r", "--results", action="store_true", help="list results")
    one.add_argument(
        "--sort", choices=tuple(_ORDERS),
        help="order of the list (default: name; results come as they are stored)",
    )
    one.set_defaults(run=run_ls)

    one = commands.add_parser(
        "show", parents=[common], help="show one result: arguments, arrays, sharing, source",
        description="Show what is known of a result: its arguments, when and how long it was "
        "computed, its arrays, the source of its function, and which results share its arrays. "
        "The result itself is not loaded.",
    )
    one.add_argument(
        "id", metavar="ID", help="the result: the first digits of its key, or function/key"
    )
    one.add_argument("--source", action="store_true", help="show all of the function's source")
    one.set_defaults(run=run_show)

    one = commands.add_parser(
        "stats", parents=[common], help="hits, misses, healed results, and what sharing saves",
        description="Show totals of the container, hits and misses since it was made, what "
        "storing equal arrays once saves, and why the last misses missed.",
    )
    one.set_defaults(run=run_stats)


# -- ls --------------------------------------------------------------------------------------------


def run_ls(args: argparse.Namespace, screen: Screen) -> int:
    """List functions or results."""
    with _catalog.opened(args.location, timeout=args.timeout) as raw:
        choice = _cli_common.choice(raw, args)
        _cli_common.tell_notice(raw, screen)
        if args.results:
            count = _list_results(raw, choice.results(raw), args, screen)
        else:
            count = _list_functions(raw, choice, args, screen)
    if count == 0 and _cli_common.chosen(args):
        screen.say("nothing matches")
        return 1
    return 0


def _list_functions(
    raw: _h5store.Store, choice: Any, args: argparse.Namespace, screen: Screen
) -> int:
    with screen.progress("Reading") as progress:
        listed = _catalog.sum_up(_counted(choice.results(raw), progress))
    key, backwards = _ORDERS[args.sort or "name"]
    listed.sort(key=key, reverse=backwards)
    if screen.as_json:
        return screen.rows({"container": raw.path}, "functions", map(asdict, listed))
    if not listed:
        if not _cli_common.chosen(args):
            screen.line("no results")
        return 0
    columns = [
        Column("FUNCTION", tail=True), Column("RESULTS", 9, right=True),
        Column("BYTES", 9, right=True), Column("SHARED", 9, right=True),
        Column("LAST USED", 10, right=True),
    ]
    screen.table(
        columns,
        (
            (one.name, f"{one.results:,}", show_size(one.bytes), show_size(one.shared_bytes),
             show_ago(one.used))
            for one in listed
        ),
    )
    damaged = sum(one.damaged for one in listed)
    if damaged:
        screen.say(f"{damaged} results cannot be read; 'decache verify' says why")
    return len(listed)


def _list_results(
    raw: _h5store.Store,
    infos: Iterable[_h5store.ItemInfo],
    args: argparse.Namespace,
    screen: Screen,
) -> int:
    found: Iterable[_catalog.Result] = (_catalog.describe(raw, info) for info in infos)
    if args.sort:
        name = {"name": "function", "results": "function"}.get(args.sort)
        key = operator.attrgetter("function", "key") if name else _ORDERS[args.sort][0]
        with screen.progress("Reading") as progress:
            found = sorted(_counted(found, progress), key=key, reverse=not name)
    if screen.as_json:
        return screen.rows({"container": raw.path}, "results", map(_as_row, found))
    several = len(args.functions) != 1
    columns = [
        Column("KEY", 10), Column("BYTES", 9, right=True), Column("SHARED", 9, right=True),
        Column("LAST USED", 10, right=True), Column("CALL" if several else "ARGUMENTS"),
    ]
    count = screen.table(columns, (_result_row(one, several) for one in found))
    if count == 0 and not _cli_common.chosen(args):
        screen.line("no results")
    return count


def _result_row(one: _catalog.Result, with_function: bool) -> tuple[str, ...]:
    call = _arguments(one)
    if with_function:
        call = f"{one.function.rpartition('/')[2]}({call})"
    if one.damage:
        call = f"damaged: {one.damage}"
    return (
        one.key[:10], show_size(one.bytes), show_size(one.shared_bytes), show_ago(one.used), call
    )


def _as_row(one: _catalog.Result) -> dict[str, Any]:
    return {**asdict(one), "shared_bytes": one.shared_bytes}


def _arguments(one: _catalog.Result) -> str:
    return ", ".join(f"{name}={value}" for name, value in one.arguments.items())


def _counted(things: Iterable[Any], progress: Any) -> Iterator[Any]:
    for count, one in enumerate(things, 1):
        progress(count)
        yield one


# -- show ------------------------------------------------------------------------------------------


def run_show(args: argparse.Namespace, screen: Screen) -> int:
    """Show one result."""
    with _catalog.opened(args.location, timeout=args.timeout) as raw:
        _cli_common.tell_notice(raw, screen)
        try:
            info = _detail.the_one(raw, args.id)
        except KeyError as error:
            screen.say(str(error.args[0]))
            return 1
        detail = _detail.detail(raw, info)
        path = raw.path
    if screen.as_json:
        sharing = [
            {"function": function, "key": key, "arrays": count}
            for function, key, count in detail.sharing
        ]
        screen.document(
            {"container": path, "result": _as_row(detail.result),
             "arrays": [asdict(one) for one in detail.arrays],
             "source": detail.source, "sharing": sharing}
        )
        return 0
    _show_result(detail.result, screen)
    _show_arrays(detail.arrays, screen)
    _show_sharing(detail, screen)
    _show_source(detail.source, args.source, screen)
    return 0


def _show_result(one: _catalog.Result, screen: Screen) -> None:
    duration = "-" if one.duration is None else show_span(one.duration)
    pairs = [
        ("function", one.function),
        ("key", one.key),
        ("computed", f"{show_time(one.computed)}, took {duration}"),
        ("last used", f"{show_time(one.used)}, {show_ago(one.used)}"),
        ("size", f"{show_size(one.bytes)}, of which removing it frees {show_size(one.own_bytes)}"),
    ]
    if one.damage:
        pairs.append(("damaged", one.damage))
    screen.fields(pairs)
    screen.line()
    screen.line("arguments" if one.arguments else "no arguments are known", "head")
    for name, value in one.arguments.items():
        screen.wrapped(f"  {name} = {value}")


def _show_arrays(arrays: list[_detail.Array], screen: Screen) -> None:
    screen.line()
    if not arrays:
        screen.line("all of it is in the pickle", "faint")
        return
    columns = [
        Column("ARRAY", 10), Column("BYTES", 9, right=True), Column("RESULTS", 7, right=True),
        Column("TYPE", 20), Column("SHAPE"),
    ]
    screen.table(
        columns,
        (
            (one.id[:10], show_size(one.bytes), str(one.links), _type_of(one), _shape_of(one))
            for one in arrays
        ),
    )


def _type_of(one: _detail.Array) -> str:
    if one.damage:
        return "damaged"
    if one.role == "pickle":
        return "part of the pickle"
    try:
        return str(_dtype.parse(one.dtype))
    except (ValueError, TypeError):
        return one.dtype


def _shape_of(one: _detail.Array) -> str:
    if one.damage:
        return one.damage
    return str(one.shape) + (" Fortran order" if one.order == "F" else "")


def _show_sharing(detail: _detail.Detail, screen: Screen) -> None:
    if not detail.sharing:
        return
    screen.line()
    others = _cli_common.plural(len(detail.sharing), "other result")
    screen.line(f"its arrays are in {others} as well", "head")
    for function, key, count in detail.sharing[:10]:
        screen.wrapped(f"  {function}/{key[:10]}: {_cli_common.plural(count, 'array')}")
    if len(detail.sharing) > 10:
        screen.line("  ... (--json has all)", "faint")


def _show_source(source: str | None, everything: bool, screen: Screen) -> None:
    if source is None:
        return
    lines = source.rstrip("\n").split("\n")
    kept = lines if everything else lines[:_SOURCE_LINES]
    screen.line()
    for line in kept:
        screen.line(_cli_common.source_line(line))
    if len(kept) < len(lines):
        screen.line(f"... {len(lines) - len(kept)} more lines; --source shows them", "faint")


# -- stats -----------------------------------------------------------------------------------------


def run_stats(args: argparse.Namespace, screen: Screen) -> int:
    """Show totals and counters."""
    with _catalog.opened(args.location, timeout=args.timeout) as raw:
        _cli_common.tell_notice(raw, screen)
        totals, usage, misses = raw.stat(), raw.usage(), raw.misses()
        path = raw.path
    saved = max(0, totals.linked_bytes - totals.blob_bytes)
    if screen.as_json:
        screen.document(
            {
                "container": path,
                **{name: getattr(totals, name) for name in totals.__match_args__},
                "saved_bytes": saved,
                "usage": {name: getattr(usage, name) for name in usage.__match_args__},
                "misses": [
                    {"time": when, "function": function, "key": key, "reason": text}
                    for when, function, key, text in misses
                ],
            }
        )
        return 0
    asked = usage.hits + usage.misses
    rate = f" ({usage.hits / asked:.1%} of {asked:,})" if asked else ""
    part = f" ({saved / totals.linked_bytes:.1%})" if totals.linked_bytes else ""
    screen.fields(
        [
            ("results", f"{totals.items:,}"),
            ("arrays", f"{totals.blobs:,}, referred to {totals.links:,} times"),
            ("bytes", f"{show_size(totals.linked_bytes)} in results, "
                      f"{show_size(totals.blob_bytes)} stored"),
            ("saved", f"{show_size(saved)}{part}"),
            ("on disk", f"{show_size(totals.disk_bytes)}; the file is "
                        f"{show_size(totals.file_size)} long, {show_size(totals.free_bytes)} of "
                        "it free"),
            ("hits", f"{usage.hits:,}{rate}"),
            ("misses", f"{usage.misses:,}"),
            ("stored", f"{usage.stored:,} arrays, {usage.duplicates:,} of them already there "
                       f"({show_size(usage.duplicate_bytes)})"),
            ("healed", f"{usage.heals:,}"),
        ]
    )
    if misses:
        screen.line()
        columns = [Column("MISSED", 10, right=True), Column("CALL", 26, tail=True), Column("WHY")]
        screen.table(
            columns,
            (
                (show_ago(when), f"{function}/{key[:6]}", text)
                for when, function, key, text in misses
            ),
        )
    return 0
