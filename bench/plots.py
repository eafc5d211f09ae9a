# SPDX-License-Identifier: MIT
"""Draws the plots of a run, and one HTML page with them and the tables, which needs no other file.

    python bench/plots.py results.json DIR
"""

from __future__ import annotations

import html
import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

import report
from payload import MIB
from peers import BY_NAME
from report import Results, Table

#: One colour for each peer in all plots (Okabe and Ito's, told apart by colour-blind people).
COLOURS = {
    "joblib": "#555555", "decache": "#d55e00", "decache-0.1.7": "#e69f00", "numpy": "#0072b2",
    "h5py": "#009e73", "diskcache": "#cc79a7", "zarr": "#56b4e9",
}  # fmt: skip
LIMITS = {"bare": (0, (1, 3)), "write": ":", "sha256": "--", "memcpy": "-."}

STYLE = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#e6e6e6", "axes.axisbelow": True, "svg.fonttype": "none",
    "legend.frameon": False, "figure.constrained_layout.use": True,
}  # fmt: skip


def _line(axes: Axes, points: list[tuple[float, report.Spread]], peer: str, factor: float) -> None:
    """One peer's medians, with the quartiles as a band."""
    limit = peer in LIMITS
    colour = "#999999" if limit else COLOURS.get(peer, "#000000")
    x = [place for place, _ in points]
    axes.plot(
        x, [spread.median * factor for _, spread in points], color=colour,
        marker="" if limit else "o", markersize=4, linestyle=LIMITS.get(peer, "-"),
        linewidth=2.2 if peer == "decache" else 1.2, label=BY_NAME[peer].label,
        zorder=3 if peer == "decache" else 2,
    )  # fmt: skip
    if not limit:
        low = [spread.low * factor for _, spread in points]
        high = [spread.high * factor for _, spread in points]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _ticks(axes: Axes, places: list[float], name: Callable[[float], str]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: name(value)))
    axes.tick_params(axis="x", rotation=30)


def _log(axes: Axes) -> None:
    """Decades, and 2 and 5 between them, as plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)


# ---- the plots -----------------------------------------------------------------------------


def _against_size(
    results: Results, label: str, look_up: Callable[..., report.Spread | None], factor: float
) -> Figure | None:
    """Four panels, one for each operation, against the size of the array."""
    cases = results.cases("arrays")
    if len(cases) < 2:
        return None
    figure, grid = plt.subplots(2, 2, figsize=(9, 7), sharex=True)
    titles = {"new": "new array", "again": "the same array from another function",
              "hit": "hit, copied", "map": "hit, mapped and touched"}  # fmt: skip
    for axes, (operation, title) in zip(grid.flat, titles.items(), strict=True):
        for peer in results.peers("arrays"):
            found = [(int(case), look_up("arrays", case, operation, peer)) for case in cases]
            points = [(size, spread) for size, spread in found if spread is not None]
            if points:
                _line(axes, points, peer, factor)
        axes.set(xscale="log", title=title, ylabel=label)
        _log(axes)
        _ticks(axes, [int(case) for case in cases], report.size_name)
    _below(figure, grid[0, 0])
    return figure


def time_against_size(results: Results) -> Figure | None:
    """Milliseconds of one call against the size of the array."""
    return _against_size(results, "ms", results.spread, 1e3)


def ratio_against_size(results: Results) -> Figure | None:
    """Ratio to joblib's default backend against the size of the array."""
    return _against_size(results, "time / joblib's time", results.ratio, 1.0)


def throughput_against_workers(results: Results) -> Figure | None:
    """Results per second against the number of workers."""
    cases = results.cases("workers")
    if not cases:
        return None
    figure, grid = plt.subplots(1, 2, figsize=(9, 3.8))
    for axes, operation, title in zip(grid, ("new", "hit"), ("misses", "hits"), strict=True):
        for peer in results.peers("workers"):
            points = []
            for case in cases:
                spread = results.spread("workers", case, operation, peer)
                if spread is not None:
                    rate = report.Spread(1 / spread.median, 1 / spread.high, 1 / spread.low)
                    points.append((int(case), rate))
            _line(axes, points, peer, results.tasks)
        axes.set(title=f"{title}, 4 MiB, half of them equal", xlabel="workers", xscale="log",
                 ylabel="results per second")  # fmt: skip
        axes.set_ylim(bottom=0)
        _ticks(axes, [int(case) for case in cases], lambda value: f"{value:g}")
    _below(figure, grid[0])
    return figure


def cost_against_stored(results: Results) -> Figure | None:
    """Microseconds of a put and of a hit against the number of results that are there."""
    cases = results.cases("growth")
    if len(cases) < 2:
        return None
    figure, grid = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True)
    for axes, operation, title in zip(grid, ("new", "hit"), ("put", "hit"), strict=True):
        for peer in results.peers("growth"):
            found = [(int(case), results.spread("growth", case, operation, peer)) for case in cases]
            _line(axes, [(x, spread) for x, spread in found if spread], peer, 1e6)
        axes.set(title=f"{title}, small results", xlabel="results stored", xscale="log",
                 ylabel="microseconds")  # fmt: skip
        _log(axes)
    _below(figure, grid[0])
    return figure


def disk_against_results(results: Results) -> Figure | None:
    """Disk used against results: arrays of which half are equal, and small results."""
    panels = [("disk", "results of 1 MiB, half of them equal"), ("growth", "small results")]
    panels = [(cell, title) for cell, title in panels if results.cases(cell)]
    if not panels:
        return None
    figure, grid = plt.subplots(1, len(panels), figsize=(9, 3.8), squeeze=False)
    for axes, (cell, title) in zip(grid[0], panels, strict=True):
        for peer in results.peers(cell):
            found = [(int(case), results.spread(cell, case, "disk", peer))
                     for case in results.cases(cell)]  # fmt: skip
            _line(axes, [(x, spread) for x, spread in found if spread], peer, 1 / MIB)
        axes.set(title=title, xlabel="results stored", ylabel="MiB on the disk")
        if cell == "growth":
            axes.set(xscale="log")
            _log(axes)
    _below(figure, grid[0, 0])
    return figure


def ratio_against_cores(data: dict[str, Any]) -> Figure | None:
    """The cost model's ratio against cores, and what was measured."""
    if not data["model"]:
        return None
    rows = data["model"]["rows"]
    figure, axes = plt.subplots(figsize=(5.5, 3.8))
    names = {"new": "new array", "again": "the same again", "hit": "hit, copied"}
    colours = {"new": "#d55e00", "again": "#0072b2", "hit": "#009e73"}
    for operation, name in names.items():
        colour = colours[operation]
        cores = [row["cores"] for row in rows]
        axes.plot(cores, [row["predicted"][operation] for row in rows], color=colour, label=name)
        measured = [(row["cores"], row["measured"][operation])
                    for row in rows if operation in row["measured"]]  # fmt: skip
        axes.plot([at for at, _ in measured], [ratio for _, ratio in measured], "o", color=colour)
    axes.set(title=f"{report.size_name(data['model']['size'])}: model (lines), measured (dots)",
             xlabel="cores", ylabel="time / joblib's time", xscale="log")  # fmt: skip
    axes.set_ylim(bottom=0)
    _ticks(axes, [row["cores"] for row in rows], lambda value: f"{value:g}")
    axes.legend()
    return figure


# ---- the page ------------------------------------------------------------------------------

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>decache: benchmark</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em;
  color: #222 }}
table {{ border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }}
th, td {{ text-align: right; padding: 2px 10px; border-bottom: 1px solid #e6e6e6;
  white-space: nowrap }}
th:first-child, td:first-child {{ text-align: left }}
td.missed {{ color: #b00020 }} td.met {{ color: #00703c }}
h2 {{ font-size: 16px; margin-top: 2em }} svg {{ max-width: 100%; height: auto }}
.note {{ color: #666; font-size: 13px }} .wide {{ overflow-x: auto }}
</style></head><body><h1>decache: benchmark</h1>
{machine}
{plots}
{tables}
</body></html>
"""


def _table(table: Table) -> str:
    def row(tag: str, cells: list[str]) -> str:
        kind = {"MISSED": ' class="missed"', "met": ' class="met"'}
        return "<tr>" + "".join(
            f"<{tag}{kind.get(cell, '')}>{html.escape(cell)}</{tag}>" for cell in cells
        ) + "</tr>"  # fmt: skip

    rows = "\n".join([row("th", table.columns), *(row("td", cells) for cells in table.rows)])
    notes = "<br>".join(map(html.escape, table.notes))
    return (f"<h2>{html.escape(table.title)}</h2>\n<div class=wide><table>\n{rows}\n</table></div>"
            f"\n<p class=note>{notes}</p>")  # fmt: skip


def _machine(data: dict[str, Any]) -> str:
    about = data["machine"]
    words = [
        f"{about['processor']}, {about['cpus']} CPUs" + (", virtual" if about["virtual"] else ""),
        "SHA instructions" if about["sha_instructions"] else "no SHA instructions",
        f"{about['memory_bytes'] / 2**30:.0f} GiB",
        f"Linux {about['kernel']}, {about['file_system']}",
        f"Python {about['python']}, NumPy {about['numpy']}, HDF5 {about.get('hdf5', '?')}",
        *(f"{name} {version}" for name, version in data["peers"].items()
          if version != about["numpy"]),
        f"load at the start {about['load']:.2f}",
    ]  # fmt: skip
    return (f"<p>{html.escape('; '.join(words))}.</p><p>{data['started']}, {data['seconds']:.0f} s."
            " Ratios are to joblib's default backend in the same round; medians, and the"
            " quartiles as bands. Lower is better, except for results per second.</p>")  # fmt: skip


def draw(data: dict[str, Any], tables: list[Table], out: str) -> None:
    """Write PNG files and report.html.

    Parameters
    ----------
    data : dict
        As in results.json.
    tables : list of Table
    out : str
        A folder.
    """
    results = Results(data)
    figures: list[tuple[str, Callable[[Any], Figure | None], Any]] = [
        ("ratio-against-size", ratio_against_size, results),
        ("time-against-size", time_against_size, results),
        ("throughput-against-workers", throughput_against_workers, results),
        ("cost-against-stored", cost_against_stored, results),
        ("disk-against-results", disk_against_results, results),
        ("ratio-against-cores", ratio_against_cores, data),
    ]
    parts = []
    with plt.rc_context(STYLE):
        for name, make, source in figures:
            figure = make(source)
            if figure is None:
                continue
            figure.savefig(os.path.join(out, f"{name}.png"), dpi=150)
            image = io.StringIO()
            figure.savefig(image, format="svg")
            plt.close(figure)
            svg = image.getvalue()
            caption = html.escape(make.__doc__ or "")
            parts.append(f"<h2>{caption}</h2>\n{svg[svg.index('<svg'):]}")
    page = _PAGE.format(
        machine=_machine(data), plots="\n".join(parts), tables="\n".join(map(_table, tables))
    )
    with open(os.path.join(out, "report.html"), "w", encoding="utf-8") as file:
        file.write(page)


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        data = json.load(file)
    draw(data, report.tables(data), sys.argv[2])


if __name__ == "__main__":
    main()
