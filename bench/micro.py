# SPDX-License-Identifier: MIT
"""Runs bench/micro, the benchmarks in C, and reads the table that it prints."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What one operation costs.

    Attributes
    ----------
    name : str
        As in bench/micro.c.
    size : int
        Bytes of the array; 0 where there is none.
    threads : int
    seconds, low, high : float
        Median and quartiles, of one call.
    """

    name: str
    size: int
    threads: int
    seconds: float
    low: float
    high: float


def run(program: str, folder: str, quick: bool = False) -> list[Row]:
    """Run the program.

    Parameters
    ----------
    program : str
    folder : str
        Where it makes a folder of its own.
    quick : bool, optional
        Few rounds.

    Raises
    ------
    subprocess.CalledProcessError
        It failed; what it had to say is on standard error.
    """
    with tempfile.TemporaryDirectory(prefix="micro-", dir=folder) as own:
        command = [program, *(["--quick"] if quick else []), os.path.join(own, "micro")]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    lines = [line.split("\t") for line in done.stdout.splitlines() if not line.startswith("#")]
    return [
        Row(name, int(size), int(threads), float(median), float(low), float(high))
        for name, size, threads, median, low, high in lines
    ]
