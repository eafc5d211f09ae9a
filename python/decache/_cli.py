# SPDX-License-Identifier: MIT
"""The command ``decache``: reads its arguments, runs one command, and gives its exit status.

The commands are in the modules ``_cli_*``, each of which adds its own to the parser. They return
an exit status and raise what went wrong; here that becomes one sentence. decache(1) is the
reference.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from . import (
    _cli_change,
    _cli_check,
    _cli_doctor,
    _cli_exchange,
    _cli_show,
    _cli_space,
    _h5store,
)
from ._cli_output import Screen

FINE, FINDINGS, FAILED = 0, 1, 2

_DESCRIPTION = """\
Look into a cache of decache, clean it up, check it, mend it, and bring results in and out.
LOCATION is what joblib.Memory was given, the folder "joblib" in it, or the container itself
(blobs.h5). Other processes may be using it meanwhile."""

_EPILOG = """\
exit status: 0 fine; 1 something was found that needs care, or nothing of what was asked for;
2 wrong usage, or a failure, which one sentence on standard error explains."""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one sentence each."""

    def error(self, message: str) -> NoReturn:
        self.exit(FAILED, f"{self.prog}: {message}; '{self.prog} --help' says more\n")


class _Command(_Parser):
    """A parser that takes options before, between and behind its arguments."""

    _inside = False

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._inside:
            return super().parse_known_args(args, namespace)
        self._inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(
        prog="decache", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=_version())
    parser.add_argument("--completion", choices=("bash", "zsh", "fish"), help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Command)
    common = _Parser(add_help=False)
    common.add_argument("location", metavar="LOCATION", help="the cache: a folder or a container")
    common.add_argument(
        "--timeout", type=_seconds, default=30.0, metavar="SECONDS",
        help="how long to wait for another process's lock (default: 30)",
    )
    common.add_argument("--json", action="store_true", help="write one JSON document")
    common.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    for family in (
        _cli_show, _cli_space, _cli_change, _cli_check, _cli_exchange, _cli_doctor
    ):
        family.add_commands(commands, common)
    return parser


def _version() -> str:
    return f"decache {_h5store.library_version} (HDF5 {_h5store.hdf5_version})"


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; by default those of the process.
    """
    parser = make_parser()
    args = parser.parse_args(arguments)
    try:
        if args.completion:
            from ._cli_completion import script

            sys.stdout.write(script(parser, args.completion))
            return FINE
        if args.command is None:
            parser.error("give a command")
        status = args.run(args, Screen(args.json, args.quiet))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _die_of_pipe()
    except KeyboardInterrupt:
        print("decache: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except Exception as error:
        if os.environ.get("DECACHE_TRACEBACK"):
            raise
        _flush()
        print(f"decache: {sentence(error)}", file=sys.stderr)
    return FAILED


def sentence(error: BaseException) -> str:
    """Say in one line what an exception means."""
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])
    elif isinstance(error, OSError) and not isinstance(error, _h5store.Error) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = str(error)
    known = (_h5store.Error, OSError, KeyError, ValueError, ImportError)
    if not isinstance(error, known) or not text:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return " ".join(text.split())


def _flush() -> None:
    with contextlib.suppress(OSError):
        sys.stdout.flush()


def _die_of_pipe() -> None:
    """End as programs do whose reader has gone; containers were closed on the way here."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
