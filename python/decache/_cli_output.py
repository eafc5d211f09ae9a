# SPDX-License-Identifier: MIT
"""What the command writes: tables for people, JSON for programs, and progress on a terminal.

Tables fit the terminal, and 80 columns where there is none. Text from a container may hold
anything; control characters in it are shown as ``\\xNN`` and never reach the terminal. Colour is
for terminals only, and not where NO_COLOR is set.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TextIO

from ._units import show_size

#: Seconds that something may take before its progress is shown.
PATIENCE = 1.0

_STYLES = {"head": "1", "faint": "2", "bad": "31", "good": "32", "remark": "33"}


class Column(NamedTuple):
    """A column of a table.

    Attributes
    ----------
    title : str
    width : int
        0: what is left of the line.
    right : bool
        Aligned to the right.
    tail : bool
        Text that does not fit loses its beginning, not its end.
    """

    title: str
    width: int = 0
    right: bool = False
    tail: bool = False


def clean(text: str) -> str:
    """Return text in which whatever a terminal would act upon is spelled out."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 256:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )


def fit(text: str, width: int, tail: bool = False) -> str:
    """Cut a text to so many columns; dots say that something is missing."""
    if columns_of(text) <= width:
        return text
    if width <= 3:
        return "..."[:width]
    letters = reversed(text) if tail else text
    kept, room = "", width - 3
    for one in letters:
        room -= columns_of(one)
        if room < 0:
            break
        kept += one
    return "..." + kept[::-1] if tail else kept + "..."


class Screen:
    """Standard output and standard error, and what they are.

    Parameters
    ----------
    as_json : bool
        A program reads: nothing but one JSON document goes to standard output.
    quiet : bool
        No progress.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self._progress = not quiet and sys.stderr.isatty()
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        terminal = sys.stdout.isatty()
        self.width = max(40, shutil.get_terminal_size().columns) if terminal else 80

    # -- people --------------------------------------------------------------------------------

    def styled(self, text: str, style: str) -> str:
        """Return text in a style, on a terminal that shows it."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self._colour and style else text

    def line(self, text: str = "", style: str = "") -> None:
        """Write a line."""
        print(self.styled(text, style))

    def wrapped(self, text: str, style: str = "") -> None:
        """Write a text, broken at spaces."""
        text = clean(text)
        line = indent = " " * (len(text) - len(text.lstrip(" ")))
        for word in text.split():
            if line.strip() and columns_of(line) + 1 + columns_of(word) > self.width:
                self.line(line, style)
                line = indent + "  " + word
            else:
                line = f"{line} {word}" if line.strip() else line + word
        self.line(line, style)

    def fields(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Write names and values below each other."""
        pairs = list(pairs)
        left = max((len(name) for name, _ in pairs), default=0) + 2
        for name, value in pairs:
            name = self.styled(f"{name:<{left}}", "faint")
            self.line(name + fit(clean(value), self.width - left))

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> int:
        """Write a table row by row, and return how many there were.

        Its head is written before the first row; without rows there is none.
        """
        fixed = sum(column.width for column in columns) + 2 * (len(columns) - 1)
        flexible = sum(1 for column in columns if not column.width)
        widths = [
            column.width or max(8, (self.width - fixed) // max(1, flexible)) for column in columns
        ]
        count = 0
        for row in rows:
            if count == 0:
                self._row(columns, widths, [column.title for column in columns], "head")
            self._row(columns, widths, row)
            count += 1
        return count

    def _row(
        self, columns: Sequence[Column], widths: list[int], cells: Sequence[str], style: str = ""
    ) -> None:
        shown = []
        for column, width, cell in zip(columns, widths, cells, strict=True):
            text = fit(clean(cell), width, column.tail)
            space = " " * (width - columns_of(text))
            shown.append(space + text if column.right else text + space)
        self.line("  ".join(shown).rstrip(), style)

    # -- programs ------------------------------------------------------------------------------

    def document(self, members: dict[str, Any]) -> None:
        """Write a JSON document."""
        print(json.dumps(members, indent=1))

    def rows(self, members: dict[str, Any], name: str, rows: Iterable[dict[str, Any]]) -> int:
        """Write a JSON document with a list, one row a line, as they come.

        A document that does not end was cut off by a failure.

        Returns
        -------
        int
            How many rows there were.
        """
        print("{" + "".join(f"{json.dumps(key)}: {json.dumps(value)},\n " for key, value in
                            members.items()) + json.dumps(name) + ": [", end="")
        count = 0
        for row in rows:
            print(("," if count else "") + "\n  " + json.dumps(row), end="")
            count += 1
        print("\n ]}" if count else "]}")
        return count

    # -- telling -------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Write a remark to standard error."""
        print(f"decache: {clean(text)}", file=sys.stderr)

    @contextlib.contextmanager
    def progress(
        self, what: str, total: float = 0, in_bytes: bool = False
    ) -> Iterator[Callable[..., None]]:
        """Show how far something is, where somebody looks on and it takes long.

        Parameters
        ----------
        what : str
        total : float
            0: unknown.
        in_bytes : bool
            Else things are counted.

        Yields
        ------
        callable
            To be called with what is done so far, and a new total if there is one.
        """
        if not self._progress:
            yield lambda done, total=total: None
            return
        bar = _tqdm_bar(what, total, in_bytes) or _Bar(what, total, in_bytes, sys.stderr)
        try:
            yield bar.show
        finally:
            bar.close()


class _Bar:
    """One line on a terminal, written over again and again, and gone at the end."""

    def __init__(self, what: str, total: float, in_bytes: bool, stream: TextIO) -> None:
        self._what = what
        self._total = total
        self._show = show_size if in_bytes else "{:,.0f}".format
        self._stream = stream
        self._next = time.monotonic() + PATIENCE
        self._shown = False

    def show(self, done: float, total: float | None = None) -> None:
        self._total = self._total if total is None else total
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 0.1
        self._shown = True
        text = f"{self._what}: {self._show(done)}"
        if self._total > 0:
            part = min(1.0, done / self._total)
            text = f"{self._what} {part:4.0%} {'#' * int(part * 20):.<20} {self._show(done)}"
            text += f" of {self._show(self._total)}"
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r\x1b[K" + fit(text, width))
        self._stream.flush()

    def close(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


class _TqdmBar:
    """The same with tqdm, for those who have it."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def show(self, done: float, total: float | None = None) -> None:
        if total is not None:
            self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        self._bar.close()


def _tqdm_bar(what: str, total: float, in_bytes: bool) -> _TqdmBar | None:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return _TqdmBar(
        tqdm(
            desc=what, total=total or None, delay=PATIENCE, leave=False, file=sys.stderr,
            unit="B" if in_bytes else "", unit_scale=True, unit_divisor=1024 if in_bytes else 1000,
        )
    )
