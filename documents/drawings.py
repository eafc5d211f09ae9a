# SPDX-License-Identifier: MIT
"""The drawings of how-it-works.md: container.svg, put.svg, hit.svg and crash.svg beside this file.

Run it after a change (``python documents/drawings.py``); a test compares. The drawings have a
light ground of their own, so that they read the same on white and dark pages.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence
from html import escape

WIDTH = 880
GROUND, LINE, INK, SOFT = "#ffffff", "#8c959f", "#1f2328", "#59636e"
ARRAY, META, LOG, FREE, BAD = "#b7e1cd", "#cfe2ff", "#ffe0b3", "#f3f4f6", "#ffc9c4"


class Drawing:
    """Boxes, texts and arrows on a light ground."""

    def __init__(self, title: str, height: int) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" role="img" '
            'font-family="Helvetica, Arial, \'Liberation Sans\', sans-serif" font-size="13">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="{INK}"/></marker>'
            "</defs>",
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10" '
            f'fill="{GROUND}" stroke="{LINE}"/>',
        ]

    def box(
        self, x: int, y: int, width: int, height: int, fill: str, *lines: str, dashed: bool = False
    ) -> None:
        """A box with lines of text in its middle."""
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="{fill}" '
            f'stroke="{LINE}"{dash}/>'
        )
        first = y + height / 2 + 4.5 - 8 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.text(x + width / 2, first + 16 * number, line, anchor="middle")

    def text(
        self, x: float, y: float, line: str, *, anchor: str = "start", bold: bool = False,
        soft: bool = False, mono: bool = False,
    ) -> None:
        style = ' font-weight="bold"' if bold else ""
        style += ' font-family="\'DejaVu Sans Mono\', Menlo, monospace" font-size="12"' * mono
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{SOFT if soft else INK}"'
            f"{style}>{escape(line)}</text>"
        )

    def lines(self, x: float, y: float, *lines: str, **style: bool) -> None:
        for number, line in enumerate(lines):
            self.text(x, y + 17 * number, line, **style)

    def arrow(self, *points: tuple[float, float]) -> None:
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="1.4" '
            'marker-end="url(#tip)"/>'
        )

    def rule(self, y: int) -> None:
        self._parts.append(
            f'<line x1="20" y1="{y}" x2="{WIDTH - 20}" y2="{y}" stroke="{FREE}" stroke-width="2"/>'
        )

    def number(self, x: int, y: int, number: int, fill: str = INK) -> None:
        self._parts.append(f'<circle cx="{x}" cy="{y}" r="11" fill="{fill}"/>')
        self._parts.append(
            f'<text x="{x}" y="{y + 4.5:g}" text-anchor="middle" fill="{GROUND}" '
            f'font-weight="bold">{number}</text>'
        )

    def strip(self, x: int, y: int, cells: Sequence[tuple[int, str, str]]) -> None:
        """Boxes side by side, as bytes lie in a file."""
        for width, fill, line in cells:
            self.box(x, y, width, 30, fill, line, dashed=fill == FREE)
            x += width

    def svg(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])


def container() -> Drawing:
    """Two results of two functions, three references, two arrays."""
    d = Drawing("A container: results link to arrays, and equal arrays are one", 450)
    d.box(20, 20, 840, 310, "#fafbfc")
    d.text(36, 44, "blobs.h5", bold=True, mono=True)
    d.text(110, 44, "one HDF5 file, for h5dump, HDFView and h5py", soft=True)

    d.text(36, 76, "/items", bold=True, mono=True)
    d.text(92, 76, "one group for each cached result", soft=True)
    for y, call, output, links in (
        (90, "experiments/simulate", "159 bytes of pickle", 1),
        (210, "experiments/smooth", "206 bytes of pickle", 2),
    ):
        d.box(36, y, 330, 104, META)
        d.text(48, y + 20, call, mono=True, bold=True)
        d.text(48, y + 40, "/35dac501ab1c…" if links == 1 else "/2bca539e73b5…", mono=True)
        d.text(48, y + 62, "metadata: arguments, time, duration")
        d.text(48, y + 80, f"output: {output}")
        for link in range(links):
            d.box(334, y + 40 + 30 * link, 32, 24, GROUND, str(link))

    d.text(530, 76, "/blobs", bold=True, mono=True)
    d.text(586, 76, "each array once, under its SHA-256", soft=True)
    for y, name, note in (
        (100, "b1/b133d86e68a5…", "two links: two results have it"),
        (214, "d0/d0ba9dea7e47…", "one link"),
    ):
        d.box(530, y, 314, 86, ARRAY)
        d.text(542, y + 22, name, mono=True, bold=True)
        d.text(542, y + 44, "float64, 1000000 numbers, 8 MB")
        d.text(542, y + 66, note, soft=True)
    d.arrow((366, 142), (526, 142))
    d.arrow((366, 262), (448, 262), (448, 164), (526, 164))
    d.arrow((366, 292), (490, 292), (490, 256), (526, 256))
    d.text(382, 132, "hard links", soft=True)

    d.text(36, 362, "blobs.h5-wal", bold=True, mono=True)
    d.text(140, 362, "the log, there while a program has the container open", soft=True)
    d.strip(36, 376, [
        (110, LOG, "header"), (150, LOG, "commit 41"), (150, LOG, "commit 42"),
        (150, LOG, "commit 43"), (248, FREE, "the next one"),
    ])
    d.text(36, 432, "What is committed stands here first, and is applied to blobs.h5 within two "
                    "seconds.", soft=True)
    d.arrow((790, 376), (790, 334))
    return d


_COLUMNS = (64, 376, 512, 706)  # what, holds, container file, log


def _steps(d: Drawing, steps: Sequence[tuple[str, str, str]]) -> None:
    """The heads of the columns, and a row for each step: what, a note, what is held."""
    for x, word in zip(_COLUMNS, ("", "holds", "blobs.h5", "blobs.h5-wal"), strict=True):
        d.text(x, 34, word, bold=True)
    for number, (title, note, holds) in enumerate(steps, 1):
        y = 4 + 64 * number
        d.number(38, y, number)
        d.text(_COLUMNS[0], y - 4, title, bold=True)
        d.text(_COLUMNS[0], y + 14, note, soft=True)
        d.text(_COLUMNS[1], y + 4, holds)
        d.rule(y + 31)


def put() -> Drawing:
    """Seven steps from a result in memory to bytes at rest."""
    d = Drawing("One put: from a result in memory to the disk", 520)
    steps = (
        ("The arrays leave the pickle", "large ones; small ones stay in it", "nothing"),
        ("The array gets its name", "SHA-256 over pieces, by all CPUs", "nothing"),
        ("Is it there already?", "yes: go on with 6", "READ, shared"),
        ("Space is reserved", "a record in the log, no sync", "WRITE"),
        ("Its bytes are written", "several threads, past HDF5", "a pin"),
        ("The commit", "dataset, result and links: one record", "WRITE"),
        ("The log is applied", "by a thread, within two seconds", "WRITE, READ"),
    )
    _steps(d, steps)
    file, log = _COLUMNS[2], _COLUMNS[3]
    old = [(50, META, "meta"), (50, ARRAY, "…")]
    for number in (3, 4, 5, 6, 7):
        y = 4 + 64 * number - 15
        last = {3: (70, FREE, ""), 4: (70, FREE, "reserved")}.get(number, (70, ARRAY, "bytes"))
        meta = [(50, "#9ec5fe", "meta′")] if number == 7 else old[:1]
        d.strip(file, y, [*meta, old[1], last])
    d.strip(log, 245, [(70, LOG, "reserve")])
    d.strip(log, 309, [(70, LOG, "reserve")])
    d.strip(log, 373, [(70, LOG, "reserve"), (72, LOG, "commit")])
    d.strip(log, 437, [(70, FREE, ""), (72, FREE, "")])
    d.arrow((704, 452), (686, 452))
    d.text(log, 421, "no kill undoes this", bold=True)
    d.text(20, 506, "Steps 1, 2 and 5 take the time, and no lock but a pin is held in them: so any "
                    "number of processes put at once.", soft=True)
    return d


def hit() -> Drawing:
    """Five steps from a call to its result."""
    d = Drawing("One hit: from a call to its result", 396)
    steps = (
        ("The call gets its key", "joblib hashes the arguments", "nothing"),
        ("The result is looked up", "file, with the log's pages over it", "READ, shared"),
        ("Its arrays are pinned", "nobody may reuse their space now", "READ, pins"),
        ("Their bytes are read and checked", "XXH3, by several threads; or mapped", "pins"),
        ("The result is put together", "unpickled, the arrays in their places", "nothing"),
    )
    _steps(d, steps)
    file, log = _COLUMNS[2], _COLUMNS[3]
    d.strip(file, 117, [(50, "#9ec5fe", "meta"), (50, ARRAY, "…"), (70, ARRAY, "array")])
    d.strip(log, 117, [(70, LOG, "commit"), (72, LOG, "commit")])
    d.strip(file, 181, [(50, META, "meta"), (50, ARRAY, "…"), (70, ARRAY, "array")])
    d.text(log, 201, "a pin is a lock on its bytes", soft=True)
    d.strip(file, 245, [(50, META, "meta"), (50, ARRAY, "…"), (70, "#7ccba2", "array")])
    d.text(log, 256, "another sum: marked as", soft=True)
    d.text(log, 272, "damaged, computed again", soft=True)
    d.text(20, 380, "Nothing is written: the times of use are kept in memory, and go with a later "
                    "commit.", soft=True)
    return d


def crash() -> Drawing:
    """Where a process may die in a put, and what the others find."""
    d = Drawing("One crash: where a process may die, and what the others find", 456)
    d.text(20, 34, "A process that puts an array is killed …", bold=True)
    d.strip(20, 50, [
        (170, GROUND, "hash"), (190, ARRAY, "bytes are written"), (150, LOG, "commit"),
        (150, GROUND, "in the log"), (180, META, "pages are applied"),
    ])
    cases = (
        (1, 270, "… while bytes are written",
         "Nothing refers to them. The pin went with the process, so whoever looks next frees "
         "the space.", "The result was not acknowledged, and is not there."),
        (2, 440, "… while its record is written",
         "The record is torn, and its checksum wrong: the log ends before it.",
         "The same: as if it had never been."),
        (3, 610, "… after that, before the record is applied",
         "The whole record is in the log. Every process reads it there; whoever opens next "
         "applies it.", "The result was acknowledged, and is there."),
        (4, 770, "… while pages are being applied",
         "The file is half old and half new, and marked so: other HDF5 programs refuse it. Ours "
         "apply it again.", "The result is there. Applying twice changes nothing."),
    )
    for number, x, title, found, outcome in cases:
        d.number(x, 84, number, "#cf222e")
        y = 68 + 78 * number
        d.number(38, y, number, "#cf222e")
        d.text(_COLUMNS[0], y - 12, title, bold=True)
        d.text(_COLUMNS[0], y + 7, found)
        d.text(_COLUMNS[0], y + 26, outcome, soft=True)
        d.rule(y + 42)
    d.text(20, 442, "No tool has to be run after a crash: opening the container is the recovery.",
           soft=True)
    return d


def main(folder: pathlib.Path) -> None:
    for draw in (container, put, hit, crash):
        (folder / f"{draw.__name__}.svg").write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if sys.argv[1:] else pathlib.Path(__file__).parent)
