# SPDX-License-Identifier: MIT
"""Sizes, ages and shares of a whole as people write and read them."""

from __future__ import annotations

import math
import re
import time

_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(?:([kmgtpe])i?)?b?\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}

_AGE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]+)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_size(text: str) -> int:
    """Return a number of bytes: "500", "64K", "1.5 GiB"; K is 1024.

    Raises
    ------
    ValueError
        It is no size.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no size; write for example 500M or 1.5G")
    return int(float(found[1]) * 1024 ** _POWERS[(found[2] or "").lower()])


def parse_age(text: str) -> float:
    """Return seconds: "90s", "15min", "12h", "30d", "2w", or several, "1d12h".

    Raises
    ------
    ValueError
        It is no age.
    """
    compact = text.replace(" ", "").lower()
    parts = _AGE.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"{text!r} is no age; write for example 30d, 12h or 15min")
    if any(unit not in _SECONDS for _, unit in parts):
        raise ValueError(f"{text!r} is no age; the units are {', '.join(_SECONDS)}")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_fraction(text: str) -> float:
    """Return a part of 1: "5%" or "0.05".

    Raises
    ------
    ValueError
        It is no number from 0 to 1.
    """
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is no part of a whole; write for example 5% or 0.05")
    return value


def show_size(size: float) -> str:
    """Return a size in at most 9 characters, as "1.5 MiB"; 1 KiB is 1024 bytes."""
    if size < 1024:
        return f"{int(size)} B"
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        size /= 1024
        if size < 999.5 or unit == "EiB":
            digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
            return f"{size:.{digits}f} {unit}"
    raise AssertionError("the last unit takes all sizes")


def show_span(seconds: float) -> str:
    """Return a length of time in at most 8 characters, as "1.5 h"."""
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} us"
    for length, unit in ((1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "d")):
        value = seconds / length
        if value < 90 or unit == "d":
            return f"{value:.3g} {unit}" if value < 999.5 else f"{value:.0f} {unit}"
    raise AssertionError("the last unit takes all lengths")


def show_ago(when: float, now: float | None = None) -> str:
    """Return how long ago a time was, as "3 d ago"; "-" where it is unknown (0)."""
    if when <= 0:
        return "-"
    seconds = max(0.0, (time.time() if now is None else now) - when)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "now" if seconds < 1 else f"{int(seconds)} s ago"


def show_time(when: float) -> str:
    """Return a time by the local clock, as "2026-11-24 15:04:05"; "-" where unknown."""
    if when <= 0:
        return "-"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
    except (OverflowError, ValueError, OSError):
        return "-"
