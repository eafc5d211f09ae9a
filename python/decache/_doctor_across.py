# SPDX-License-Identifier: MIT
"""Two doctors on two machines test the folder that both see: `decache doctor --across`.

They find and talk to each other through that folder alone. Whoever sees the folder of an older
doctor (their names are times) that is alive and alone becomes its guest, and from there on both
talk by letters in it: small files, each with one writer, who replaces it by a rename several
times a second. A letter that changes is a sign of life; one that does not was left by a doctor
that was killed, and is passed over. A client of a network file system may list a folder as it was
a minute ago, but not one that it writes to itself; so the host looks into its own folder only.

Then they take turns, by numbered steps, on files in the host's folder, and both report the same.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from ._doctor_hand import EXCLUSIVE, NEXT, PINS, SHARED, WRITE, Hand, OtherProcess
from ._doctor_tests import KIB, LIMITED, MIB, OK, UNSAFE, Finding, becomes
from ._units import show_span

#: Names of the folders of doctors begin so; what follows is the time.
PREFIX = ".decache-doctor-"

_PAUSE = 0.1

#: Seconds without a sign of life after which the other doctor is taken for dead, and those
#: within which something that the other machine did must be seen.
_SILENCE, _SEEN = 60.0, 20.0

_ONE, _TWO, _THREE = "1" * 64 * KIB, "2" * 128 * KIB, "3" * 4096


class Across(NamedTuple):
    """What two doctors found together.

    Attributes
    ----------
    host : str
        The name of the other machine.
    same_machine : bool
        Both doctors ran on one machine.
    findings : list of Finding
    """

    host: str
    same_machine: bool
    findings: list[Finding]


def examine(folder: str, patience: float) -> Across:
    """Find the doctor on the other machine, and test the folder together.

    Parameters
    ----------
    folder : str
        This doctor's own, in the folder that is tested.
    patience : float
        Seconds to wait for the other.

    Raises
    ------
    TimeoutError
        There is none, or it is silent.
    """
    letters, is_host = _meet(folder, patience)
    try:
        other = letters.wait(0)
        rows = (_as_host(letters) if is_host else _as_guest(letters, folder))
    except BaseException:
        with contextlib.suppress(OSError):
            letters.post(ended=True)
        raise
    findings = [Finding(**row) for row in rows]
    findings.append(_clocks(letters.ahead))
    same = _machine()["boot"] == other["boot"]
    return Across(other["host"], same, findings)


def _machine() -> dict[str, str]:
    """What tells this machine from others: its name, and this start of its system."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        boot = ""
    return {"host": socket.gethostname(), "boot": boot}


# -- letters ---------------------------------------------------------------------------------------


class _Letters:
    """One side's letter, which it writes again and again, and the other's.

    Parameters
    ----------
    folder : str
        The host's.
    own, others : str
        The names of the letters in it.
    """

    def __init__(self, folder: str, own: str, others: str) -> None:
        self.folder = folder
        self.others = others
        self._path = os.path.join(folder, own)
        self._letter: dict[str, Any] = {**_machine(), "step": 0, "beat": 0}
        self._beat, self._heard = -1, time.monotonic()
        #: How far the other's clock is ahead of this one, at least and at most, in seconds.
        self.ahead = (-float("inf"), float("inf"))

    def post(self, **facts: Any) -> None:
        """Write the letter anew, with more in it."""
        self._letter.update(facts)
        self._letter["beat"] += 1
        self._letter["now"] = time.time()
        with open(f"{self._path}.new", "w", encoding="utf-8") as file:
            json.dump(self._letter, file)
        os.replace(f"{self._path}.new", self._path)

    def wait(self, step: int) -> dict[str, Any]:
        """Return the other's letter when it has come to a step.

        Raises
        ------
        TimeoutError
            It is silent, or gave up.
        """
        self._heard = time.monotonic()
        while True:
            letter = _read(os.path.join(self.folder, self.others))
            if letter is not None and letter["beat"] != self._beat:
                self._beat, self._heard = letter["beat"], time.monotonic()
                self._compare_clocks(letter)
                if letter["step"] >= step:
                    return letter
            if (letter or {}).get("ended") or time.monotonic() - self._heard > _SILENCE:
                raise TimeoutError(
                    f"{self.folder}: the other 'decache doctor' does not go on; run both again"
                )
            self.post()
            time.sleep(_PAUSE)

    def _compare_clocks(self, letter: dict[str, Any]) -> None:
        """It was written before now, and after the letter of ours that it echoes."""
        least, most = self.ahead
        least = max(least, letter["now"] - time.time())
        if letter.get("echo") is not None:
            most = min(most, letter["now"] - letter["echo"])
        self.ahead = (least, most)
        self._letter["echo"] = letter["now"]


def _read(path: str) -> dict[str, Any] | None:
    """Return a letter if there is one that is whole: it may be replaced just now."""
    try:
        with open(path, encoding="utf-8") as file:
            letter = json.load(file)
    except (OSError, ValueError):
        return None
    return letter if isinstance(letter, dict) and letter.keys() >= {"beat", "now", "step"} else None


def _meet(folder: str, patience: float) -> tuple[_Letters, bool]:
    """Find another doctor; is this one the host?"""
    parent, name = os.path.split(folder)
    own = _Letters(folder, "host", "")
    beats: dict[str, int] = {}
    deadline = time.monotonic() + patience
    while True:
        own.post(guest=None)
        for guest in sorted(os.listdir(folder)):
            if guest.startswith("guest-") and not guest.endswith(".new"):
                own.others = guest
                own.post(guest=guest)
                return own, True
        for older in _older(parent, name):
            host = os.path.join(parent, older)
            letter = _read(os.path.join(host, "host"))
            if letter is None or letter.get("guest") is not None:
                continue
            if beats.setdefault(host, letter["beat"]) == letter["beat"]:
                continue
            letters = _visit(host, f"guest-{name}")
            if letters is not None:
                own.post(guest=host)  # so nobody visits here
                return letters, False
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"no other 'decache doctor --across' was seen in {parent} within "
                f"{show_span(patience)}: start it on another machine for the same folder; if it "
                "did run, the file system does not show what another machine writes"
            )
        time.sleep(_PAUSE)


def _older(parent: str, name: str) -> Iterator[str]:
    """Folders of doctors that began before this one."""
    for one in sorted(os.listdir(parent)):
        if one.startswith(PREFIX) and one < name:
            yield one


def _visit(host: str, name: str) -> _Letters | None:
    """Become the guest of a host that is alone, if it takes us."""
    letters = _Letters(host, name, "host")
    deadline = time.monotonic() + _SEEN
    with contextlib.suppress(FileNotFoundError):  # the host went
        while time.monotonic() < deadline:
            letters.post()
            answer = _read(os.path.join(host, "host"))
            if answer is not None and answer.get("guest") is not None:
                if answer["guest"] == name:
                    return letters
                break
            time.sleep(_PAUSE)
        os.unlink(os.path.join(host, name))
    return None


# -- taking turns ----------------------------------------------------------------------------------


def _as_host(letters: _Letters) -> list[dict[str, Any]]:
    path = os.path.join(letters.folder, "across")
    mine = Hand(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    flock = Hand(f"{path}-flock", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    facts: dict[str, Any] = {}
    try:
        mine.write(0, _ONE)
        mine.lock(EXCLUSIVE, WRITE)
        mine.lock(SHARED, PINS + MIB, MIB)
        with contextlib.suppress(OSError):
            flock.flock(True)
        letters.post(step=1)
        facts |= letters.wait(1)["facts"]

        mine.write(4096, _TWO)
        mine.unlock(WRITE)
        letters.post(step=2)
        facts |= letters.wait(2)["facts"]
        facts["is kept out"] = not mine.lock(EXCLUSIVE, WRITE)
        letters.post(step=3)

        letters.wait(3)
        facts["victim holds"] = not mine.lock(EXCLUSIVE, NEXT)
        letters.post(step=4)
        letters.wait(4)
        facts["dead let go"] = becomes(
            lambda: mine.lock(EXCLUSIVE, NEXT) and mine.lock(EXCLUSIVE, WRITE), _SEEN
        )
        facts["reads back"] = mine.read(0, MIB) == _THREE + _TWO

        facts["has links"] = _link(path, f"{path}-name") is None
        letters.post(step=5)
        facts |= letters.wait(5)["facts"]
    finally:
        mine.close()
        flock.close()
    rows = [asdict(one) for one in _judge(facts)]
    letters.post(step=6, rows=rows)
    with contextlib.suppress(TimeoutError):
        letters.wait(6)
    return rows


def _as_guest(letters: _Letters, folder: str) -> list[dict[str, Any]]:
    path = os.path.join(letters.folder, "across")
    letters.wait(1)
    becomes(lambda: os.path.exists(path) and os.path.exists(f"{path}-flock"), _SEEN)
    mine, flock = Hand(path), Hand(f"{path}-flock")
    victim = OtherProcess(folder)
    try:
        facts: dict[str, Any] = {
            "reads": mine.read(0, 64 * KIB) == _ONE,  # and has it in its memory from here on
            "keeps out": not mine.lock(EXCLUSIVE, WRITE) and not mine.lock(SHARED, WRITE),
            "shows": mine.find(WRITE) == EXCLUSIVE,
            "pins": not mine.lock(EXCLUSIVE, PINS + MIB, 4096) and mine.lock(SHARED, PINS + MIB),
            "flock": _is_kept_out_by_flock(flock),
        }
        letters.post(step=1, facts=facts)

        letters.wait(2)
        facts["given back"] = becomes(lambda: mine.lock(EXCLUSIVE, WRITE), _SEEN)
        facts["reads new"] = mine.read(0, MIB) == "1" * 4096 + _TWO
        facts["length"] = mine.status()["size"] == 132 * KIB
        mine.map(64 * KIB)
        facts["maps new"] = mine.mapped(4096, 8192) == "2" * 8192
        letters.post(step=2, facts=facts)

        letters.wait(3)
        mine.write(0, _THREE)
        victim.open(path)
        victim.lock(EXCLUSIVE, NEXT)
        letters.post(step=3)
        letters.wait(4)
        victim.kill()
        mine.close()  # and WRITE is free
        letters.post(step=4)

        letters.wait(5)
        facts["name is taken"] = _link(f"{path}-flock", f"{path}-name") == errno.EEXIST
        letters.post(step=5, facts=facts)
        rows: list[dict[str, Any]] = letters.wait(6)["rows"]
        letters.post(step=6)
        return rows
    finally:
        victim.kill()
        mine.close()
        flock.close()


def _is_kept_out_by_flock(hand: Hand) -> bool:
    try:
        return not hand.flock(True)
    except OSError:
        return False


def _link(path: str, name: str) -> int | None:
    """Give a file another name; the error, if it cannot be."""
    try:
        os.link(path, name)
    except OSError as error:
        return error.errno
    return None


# -- what came of it -------------------------------------------------------------------------------

_ADVICE = (
    "Use a cache in this folder from one machine at a time; or put it on a file system whose "
    "locks work between machines (for NFS: version 4, mounted without nolock or local_lock)."
)


def _judge(facts: dict[str, Any]) -> list[Finding]:
    """Say what the facts mean."""
    def first_of(test: str, good: str, **wrong: str) -> Finding:
        for fact, text in wrong.items():
            if not facts[fact.replace("_", " ")]:
                return Finding(f"across: {test}", UNSAFE, text, _ADVICE)
        return Finding(f"across: {test}", OK, good)

    found = [
        first_of(
            "locks", "one machine keeps the other out",
            keeps_out="both machines get the same lock at once",
            is_kept_out="both machines get the same lock at once",
            pins="both machines get the same lock at once",
            shows="the other machine does not see a lock",
            given_back="a lock that was given back is not given again",
        ),
        first_of(
            "the dead", "locks go with the process that held them",
            victim_holds="both machines get the same lock at once",
            dead_let_go="the locks of a killed process stay",
        ),
        first_of(
            "bytes", "what one machine writes, the other reads",
            reads="the other machine reads something else",
            reads_new="the other machine reads old bytes",
            length="the other machine sees an old length",
            maps_new="the other machine maps old bytes",
            reads_back="the other machine's bytes are not read",
        ),
    ]
    if facts["has links"]:
        found.append(first_of("names", "a name is given once",
                              name_is_taken="a name is given to two files"))
    else:
        found.append(Finding("across: names", LIMITED, "no links: make the cache before use"))
    if facts["flock"]:
        found.append(Finding("across: flock", OK, "HDF5 programs that look on are waited for"))
    else:
        found.append(Finding(
            "across: flock", LIMITED, "it keeps nobody out on the other machine",
            "Look into the container with HDF5 programs only where nothing writes to it, or "
            "into a copy ('decache export -o copy.h5').",
        ))
    return found


def _clocks(ahead: tuple[float, float]) -> Finding:
    """Compare the clocks, of which is known in what range they differ."""
    least, most = ahead
    values = {"ahead_at_least_seconds": least, "ahead_at_most_seconds": most}
    assert all(map(math.isfinite, ahead))  # many letters were echoed
    skew = least if least > 0 else min(0.0, most)
    if abs(skew) <= 2.0:
        return Finding("across: clocks", OK, "they agree within seconds", "", values)
    which = "ahead" if skew > 0 else "behind"
    return Finding(
        "across: clocks", LIMITED, f"the other's is {show_span(abs(skew))} {which}",
        "When a result was used is noted by the clock of the machine that used it; limits of "
        "age are wrong by what the clocks differ.", values,
    )
