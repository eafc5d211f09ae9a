# SPDX-License-Identifier: MIT
"""A picture of who uses the space of a cache: a treemap, and a bar of what is saved.

As HTML or SVG it needs nothing but this module and shows details on hovering; as PNG it is drawn
by matplotlib, from the same layout. Names come from the container and are escaped.
"""

from __future__ import annotations

import html
import os
from typing import Any, NamedTuple

from ._space import Share, Space
from ._units import show_size

#: Functions beyond so many are drawn as one.
_MOST = 100

_WIDTH, _HEIGHT, _BAR, _GAP = 960.0, 540.0, 28.0, 40.0
_OWN, _SHARED, _SAVED = "#4878a8", "#e0a040", "#d8dde3"


class Box(NamedTuple):
    """A rectangle, and whose it is."""

    share: Share
    x: float
    y: float
    width: float
    height: float

    @property
    def shared_part(self) -> float:
        """The part of its area that stands for arrays of several functions."""
        return max(0.0, 1.0 - self.share.own_bytes / self.share.fair_bytes)


def layout(shares: list[Share], width: float, height: float) -> list[Box]:
    """Cut a rectangle into boxes with areas as the shares, as square as they will be.

    Parameters
    ----------
    shares : list of Share
        Largest first; those of nothing get no box.
    width, height : float

    Returns
    -------
    list of Box
    """
    drawn = [one for one in shares[:_MOST] if one.fair_bytes > 0]
    rest = [one for one in shares[_MOST:] if one.fair_bytes > 0]
    if rest:
        other = Share(f"{len(rest)} others")
        for one in rest:
            other.results += one.results
            other.bytes += one.bytes
            other.own_bytes += one.own_bytes
            other.fair_bytes += one.fair_bytes
        drawn.append(other)
        drawn.sort(key=lambda one: -one.fair_bytes)
    total = sum(one.fair_bytes for one in drawn)
    scale = width * height / total if total else 0.0
    boxes: list[Box] = []
    x = y = 0.0
    while drawn:
        side = min(width, height)
        row = drawn[:1]
        while len(row) < len(drawn) and _worst(drawn[: len(row) + 1], side, scale) <= _worst(
            row, side, scale
        ):
            row = drawn[: len(row) + 1]
        drawn = drawn[len(row):]
        depth = sum(one.fair_bytes for one in row) * scale / side if side else 0.0
        along = 0.0
        for one in row:
            length = one.fair_bytes * scale / depth if depth else 0.0
            if width >= height:
                boxes.append(Box(one, x, y + along, depth, length))
            else:
                boxes.append(Box(one, x + along, y, length, depth))
            along += length
        if width >= height:
            x, width = x + depth, max(0.0, width - depth)
        else:
            y, height = y + depth, max(0.0, height - depth)
    return boxes


def _worst(row: list[Share], side: float, scale: float) -> float:
    """How far from a square the worst box of a row is."""
    areas = [one.fair_bytes * scale for one in row]
    total = sum(areas)
    if not total or not side:
        return float("inf")
    return max(
        max(side * side * area / total**2, total**2 / (side * side * area)) for area in areas
    )


def plot(space: Space, path: str | os.PathLike[str]) -> None:
    """Draw into a file, whose ending says how: ``.html``, ``.svg`` or ``.png``.

    Raises
    ------
    ValueError
        Another ending.
    ImportError
        PNG needs matplotlib.
    OSError
        The file cannot be written.
    """
    name = os.fspath(path)
    ending = os.path.splitext(name)[1].lower()
    if ending == ".png":
        _draw_png(space, name)
        return
    if ending == ".svg":
        text = _svg(space)
    elif ending in (".html", ".htm"):
        text = _page(space)
    else:
        raise ValueError(f"{name} must end with .html, .svg or .png")
    with open(name, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


# -- SVG and HTML ----------------------------------------------------------------------------------


def _svg(space: Space) -> str:
    height = _HEIGHT + _BAR + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height:g}" '
        f'font-family="sans-serif" font-size="13" role="img">',
        f"<title>{_escape(_headline(space))}</title>",
        *_saving_bar(space),
        f'<g transform="translate(0 {_BAR + _GAP:g})">',
    ]
    for box in layout(space.shares, _WIDTH, _HEIGHT):
        parts += _svg_box(box)
    if not space.shares:
        parts.append(f'<text x="{_WIDTH / 2:g}" y="60" text-anchor="middle">no results</text>')
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _saving_bar(space: Space) -> list[str]:
    """What is stored, and what would be, on one line."""
    if not space.bytes:
        return []
    stored = _WIDTH * min(1.0, space.stored_bytes / space.bytes)
    return [
        f'<rect width="{_WIDTH:g}" height="{_BAR:g}" fill="{_SAVED}"/>',
        f'<rect width="{stored:.2f}" height="{_BAR:g}" fill="{_OWN}"/>',
        f'<text y="{_BAR + 18:g}">{_escape(_headline(space))}</text>',
    ]


def _svg_box(box: Box) -> list[str]:
    lower = box.height * box.shared_part
    where = f'x="{box.x:.2f}" width="{box.width:.2f}"'
    parts = [
        "<g>",
        f"<title>{_escape(_tooltip(box.share))}</title>",
        f'<rect {where} y="{box.y:.2f}" height="{box.height:.2f}" fill="{_OWN}" stroke="white"/>',
    ]
    if lower >= 0.5:
        parts.append(
            f'<rect {where} y="{box.y + box.height - lower:.2f}" height="{lower:.2f}" '
            f'fill="{_SHARED}" stroke="white"/>'
        )
    for number, text in enumerate(_labels(box)):
        parts.append(
            f'<text x="{box.x + 6:.2f}" y="{box.y + 18 + 16 * number:.2f}" '
            f'fill="white">{_escape(text)}</text>'
        )
    return [*parts, "</g>"]


def _labels(box: Box) -> list[str]:
    """The lines of text for which there is room in a box."""
    room = int((box.width - 12) / 7.5)
    if room < 4 or box.height < 24:
        return []
    name = box.share.name
    lines = [name if len(name) <= room else "\u2026" + name[-room + 1 :]]
    size = show_size(box.share.fair_bytes)
    if box.height >= 42 and len(size) <= room:
        lines.append(size)
    return lines


def _tooltip(share: Share) -> str:
    return (
        f"{share.name}\n{share.results:,} results, {show_size(share.bytes)} in all\n"
        f"{show_size(share.own_bytes)} of its own\n"
        f"{show_size(share.shared_bytes)} shared with other functions"
    )


def _headline(space: Space) -> str:
    return (
        f"{show_size(space.bytes)} in results, {show_size(space.stored_bytes)} stored: "
        f"{show_size(max(0, space.saved_bytes))} saved"
    )


def _escape(text: str) -> str:
    shown = "".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in text)
    return html.escape(shown)


_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; max-width: 960px; margin: 2em auto; color: #222; }}
table {{ border-collapse: collapse; width: 100%; margin-top: 2em; }}
th, td {{ padding: 2px 8px; text-align: right; border-bottom: 1px solid #ddd; }}
th:first-child, td:first-child {{ text-align: left; word-break: break-all; }}
i {{ display: inline-block; width: 1em; height: 1em; vertical-align: -2px; }}
</style>
</head>
<body>
<h1>{title}</h1>
{svg}
<p><i style="background: {own}"></i> arrays and pickles of one function
<i style="background: {shared}"></i> its part of arrays that several functions have
<i style="background: {saved}"></i> saved by storing equal arrays once</p>
<table>
<tr><th>function</th><th>results</th><th>bytes</th><th>own</th><th>shared</th></tr>
{rows}
</table>
</body>
</html>
"""


def _page(space: Space) -> str:
    rows = "\n".join(
        f"<tr><td>{_escape(one.name)}</td><td>{one.results:,}</td><td>{show_size(one.bytes)}</td>"
        f"<td>{show_size(one.own_bytes)}</td><td>{show_size(one.shared_bytes)}</td></tr>"
        for one in space.shares
    )
    return _PAGE.format(
        title=_escape(space.container), svg=_svg(space), rows=rows,
        own=_OWN, shared=_SHARED, saved=_SAVED,
    )


# -- PNG -------------------------------------------------------------------------------------------


def _draw_png(space: Space, path: str) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "a .png needs matplotlib (pip install matplotlib); .html and .svg need nothing"
        ) from None
    figure = Figure(figsize=(9.6, 6.1), dpi=100)
    FigureCanvasAgg(figure)
    bar = figure.add_axes((0.01, 0.93, 0.98, 0.05))
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.85))
    for one in (bar, axes):
        one.set_axis_off()
    bar.set_xlim(0, 1)
    part = min(1.0, space.stored_bytes / space.bytes) if space.bytes else 0.0
    bar.barh([0], [1.0], color=_SAVED)
    bar.barh([0], [part], color=_OWN)
    figure.text(0.01, 0.89, _headline(space), fontsize=10, parse_math=False)
    axes.set_xlim(0, _WIDTH)
    axes.set_ylim(_HEIGHT, 0)
    for box in layout(space.shares, _WIDTH, _HEIGHT):
        _png_box(axes, box)
    figure.savefig(path, format="png")


def _png_box(axes: Any, box: Box) -> None:
    from matplotlib.patches import Rectangle

    lower = box.height * box.shared_part
    axes.add_patch(
        Rectangle((box.x, box.y), box.width, box.height, facecolor=_OWN, edgecolor="white")
    )
    if lower >= 0.5:
        top = box.y + box.height - lower
        axes.add_patch(
            Rectangle((box.x, top), box.width, lower, facecolor=_SHARED, edgecolor="white")
        )
    for number, text in enumerate(_labels(box)):
        axes.text(
            box.x + 6, box.y + 18 + 16 * number, text, color="white", fontsize=8,
            verticalalignment="center", parse_math=False,
        )
