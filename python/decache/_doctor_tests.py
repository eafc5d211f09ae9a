# SPDX-License-Identifier: MIT
"""What a folder must offer, tested by doing it: the tests of `decache doctor`, one by one.

Each test makes the system calls that the store makes (LOCKING.md, src/os.c), most of them in two
processes, on files in a folder of its own, and says in a `Finding` what came of it. A call that
the file system refuses ends a test; `_TESTS` says what that refusal means.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ._doctor_hand import (
    EXCLUSIVE, MEMBER, NEXT, PINS, READ, SHARED, WRITE, Gone, Hand, OtherProcess,
)
from ._units import show_size, show_span

#: What a finding may be. Slow is safe; unknown is what only another machine can tell.
OK, SLOW, LIMITED, UNKNOWN, UNSAFE = "ok", "slow", "limited", "unknown", "not safe"

KIB, MIB = 1 << 10, 1 << 20

#: Seconds from which on a call is called slow: a hit makes some five calls for locks, and a
#: result that is to survive a power cut waits for a sync.
_SLOW_LOCK, _SLOW_SYNC = 1e-3, 0.1

#: Some file systems count the blocks of a file when they write them, seconds later.
_UNTIL_COUNTED = 8.0

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Finding:
    """What a test found.

    Attributes
    ----------
    test : str
        What was tested.
    result : str
        "ok"; "slow", which is safe; "limited": something will not work, or not last; "unknown";
        "not safe".
    text : str
        What that means, in some words.
    advice : str
        More of it, and what to do.
    values : dict
        What was measured.
    """

    test: str
    result: str
    text: str
    advice: str = ""
    values: dict[str, Any] = field(default_factory=dict)


class Place:
    """A folder to test, which is empty and private, and a second process in it.

    Parameters
    ----------
    folder : str
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.other = OtherProcess(folder)

    def path(self, name: str) -> str:
        """Return the path of a file in it."""
        return os.path.join(self.folder, name)

    def close(self) -> None:
        """End the second process."""
        self.other.end()

    @contextlib.contextmanager
    def hand(self, name: str, text: str = "", both: bool = False) -> Iterator[Hand]:
        """Make a file, and take it into one hand, or into both."""
        mine = Hand(self.path(name), os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            mine.write(0, text)
            if both:
                self.other.open(self.path(name))
            yield mine
        finally:
            mine.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(name))


class _Unsafe(Exception):
    """A promise of the file system that it does not keep: what happened."""


def _must(kept: bool, otherwise: str) -> None:
    if not kept:
        raise _Unsafe(otherwise)


# -- locks -----------------------------------------------------------------------------------------


def _locks(place: Place) -> Finding:
    with place.hand("locks", both=True) as mine:
        other = place.other
        _must(mine.lock(EXCLUSIVE, WRITE), "a lock that nobody holds is not given")
        _must(not other.lock(EXCLUSIVE, WRITE), "two processes get the same lock at once")
        _must(not other.lock(SHARED, WRITE), "a lock is shared that was taken for one alone")
        _must(other.find(WRITE) == EXCLUSIVE, "another process does not see a lock")
        _must(other.lock(EXCLUSIVE, NEXT), "locks on different bytes exclude each other")
        mine.unlock(WRITE)
        _must(other.lock(EXCLUSIVE, WRITE), "a lock that was given back is not given again")
        _must(not mine.lock(EXCLUSIVE, WRITE), "two processes get the same lock at once")
        other.unlock(WRITE)
        _must(mine.lock(EXCLUSIVE, WRITE), "a lock that was given back is not given again")
        mine.unlock(WRITE)

        def both() -> None:
            mine.lock(EXCLUSIVE, READ)
            mine.unlock(READ)

        taken = _seconds(both, 50) / 2
    values = {"seconds": taken}
    text = f"one process keeps others out; {show_span(taken)} a call"
    if taken > _SLOW_LOCK:
        return Finding("", SLOW, text, "Every hit makes about five calls for locks, and every "
                       "new result about twenty.", values)
    return Finding("", OK, text, values=values)


def _shared_locks(place: Place) -> Finding:
    with place.hand("shared", both=True) as mine:
        other = place.other
        _must(mine.lock(SHARED, MEMBER) and other.lock(SHARED, MEMBER),
              "two processes cannot share a lock")
        _must(not other.lock(EXCLUSIVE, MEMBER), "a shared lock is given to one alone")
        mine.unlock(MEMBER)
        _must(other.lock(EXCLUSIVE, MEMBER), "the last holder cannot make its lock exclusive")
        _must(not mine.lock(SHARED, MEMBER), "a lock is shared that was taken for one alone")
        _must(other.lock(SHARED, MEMBER) and mine.lock(SHARED, MEMBER),
              "an exclusive lock cannot be made a shared one")
        # Pins: ranges, as long as arrays.
        _must(mine.lock(SHARED, PINS + MIB, MIB), "a range cannot be locked")
        _must(not other.lock(EXCLUSIVE, PINS + 3 * MIB // 2, 4096),
              "a part of a locked range is given to another process")
        _must(other.lock(EXCLUSIVE, PINS + 2 * MIB, MIB), "ranges that touch exclude each other")
        # The lock is the open file's, not the process's.
        again = Hand(place.path("shared"))
        try:
            _must(not again.lock(EXCLUSIVE, PINS + MIB, MIB), "one process gets a lock twice")
        finally:
            again.close()
        _must(not other.lock(EXCLUSIVE, PINS + MIB, MIB), "closing a file loses another's lock")
    return Finding("", OK, "many hold one together, and can change over")


def _locks_of_the_dead(place: Place) -> Finding:
    with place.hand("dead") as mine:
        victim = OtherProcess(place.folder)
        try:
            victim.open(place.path("dead"))
            _must(victim.lock(EXCLUSIVE, WRITE) and victim.lock(SHARED, PINS, MIB),
                  "a lock that nobody holds is not given")
            _must(not mine.lock(EXCLUSIVE, WRITE), "two processes get the same lock at once")
        finally:
            victim.kill()
        _must(becomes(lambda: mine.lock(EXCLUSIVE, WRITE)
                       and mine.lock(EXCLUSIVE, PINS, MIB), 10.0),
              "the locks of a killed process stay")
    return Finding("", OK, "they go with the process that held them")


def _flock(place: Place) -> Finding:
    with place.hand("flock", both=True) as mine:
        good = mine.flock(False) and place.other.flock(False) and not place.other.flock(True)
    if not good:
        return _without_flock("it keeps nobody out")
    return Finding("", OK, "HDF5 programs that look on are waited for")


def _without_flock(why: str) -> Finding:
    return Finding(
        "", LIMITED, f"{why}: HDF5 viewers may err",
        "HDF5 programs that open the container (HDFView, h5py, h5dump) lock it with flock. Here "
        "they may read while it changes, and show something wrong or fail; decache does not.",
    )


# -- bytes -----------------------------------------------------------------------------------------


def _bytes(place: Place) -> Finding:
    with place.hand("bytes", "1" * 64 * KIB, both=True) as mine:
        other = place.other
        _must(other.read(0, 64 * KIB) == "1" * 64 * KIB, "another process reads something else")
        mine.write(4096, "2" * 128 * KIB)
        _must(other.read(0, MIB) == "1" * 4096 + "2" * 128 * KIB,
              "another process does not see what was written")
        _must(other.status()["size"] == 132 * KIB, "another process sees an old length")
        other.write(0, "3" * 4096)
        _must(mine.read(0, 8192) == "3" * 4096 + "2" * 4096,
              "another process does not see what was written")
        mine.truncate(4096)
        _must(other.read(0, MIB) == "3" * 4096, "another process reads what was cut off")
    return Finding("", OK, "what one process writes, others read at once")


def _mapping(place: Place) -> Finding:
    with place.hand("mapping", "1" * 64 * KIB, both=True) as mine:
        other = place.other
        other.map(64 * KIB)
        _must(other.mapped(0, 4096) == "1" * 4096, "a mapping shows something else")
        mine.write(8192, "2" * 4096)
        if other.mapped(8192, 4096) != "2" * 4096:
            # Bytes of an array never change while it is mapped; a new mapping must see them.
            other.map(64 * KIB)
            _must(other.mapped(8192, 4096) == "2" * 4096,
                  "a mapping does not show what was written")
            return Finding("", OK, "mmap_mode works; new mappings see what is written")
    return Finding("", OK, "mmap_mode works; mappings see what is written")


def _holes(place: Place) -> Finding:
    text = os.urandom(4 * MIB).decode("latin-1")  # so that nothing is compressed
    with place.hand("holes", text) as mine:
        mine.sync()
        becomes(lambda: mine.status()["disk"] >= 4 * MIB)
        before = mine.status()["disk"]
        began = time.perf_counter()
        mine.punch(MIB, 2 * MIB)
        taken = time.perf_counter() - began
        _must(mine.read(0, 4 * MIB) == text[:MIB] + "\0" * 2 * MIB + text[3 * MIB :],
              "a hole reaches further than it was punched")
        mine.sync()
        becomes(lambda: mine.status()["disk"] <= before - 2 * MIB + 64 * KIB)
        back = before - mine.status()["disk"]
    values = {"seconds": taken, "back_bytes": back}
    if back < 2 * MIB - 64 * KIB:
        return _without_holes("they free nothing", values)
    return Finding("", OK, "removing results gives space back at once", values=values)


def _without_holes(why: str, values: dict[str, Any] | None = None) -> Finding:
    return Finding(
        "", LIMITED, f"{why}: du does not fall",
        "What is removed makes room for new results, but the file does not take less of the "
        "disk; 'decache compact' makes it shorter.",
        values or {},
    )


def _reserving(place: Place) -> Finding:
    with place.hand("reserving") as mine:
        mine.reserve(0, MIB)
        _must(mine.status()["size"] == MIB, "reserving gives a file a wrong length")
        mine.reserve(MIB, MIB, True)
        _must(mine.status()["size"] == MIB, "reserving beyond the end changes the length")
        mine.sync()
        if not becomes(lambda: mine.status()["disk"] >= 2 * MIB - 64 * KIB):
            return _without_reserving("it reserves nothing")
    return Finding("", OK, "a disk that fills up is noticed in time")


def _without_reserving(why: str) -> Finding:
    return Finding(
        "", LIMITED, f"{why}: no space is set aside",
        "Blocks come with the bytes. When the disk is full nothing is stored, and removing "
        "results may need a little space elsewhere first.",
    )


def _syncing(place: Place) -> Finding:
    with place.hand("syncing", "1" * 4096) as mine:
        def once() -> None:
            mine.write(0, "2" * 4096)
            mine.sync()

        taken = _seconds(once, 5)
    folder = os.open(place.folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # no folders are synced there, nor need be
            raise
    finally:
        os.close(folder)
    text = f"{show_span(taken)} until bytes are on the disk"
    if taken > _SLOW_SYNC:
        return Finding("", SLOW, text, "With durability='power' every new result waits that "
                       "long; with the default it is done in the background.",
                       {"seconds": taken})
    return Finding("", OK, text, values={"seconds": taken})


# -- names -----------------------------------------------------------------------------------------


def _names(place: Place) -> Finding:
    first, second, name = (place.path(one) for one in ("first", "second", "name"))
    linked = True
    with place.hand("first", "1") as mine, place.hand("second", "2"):
        try:
            os.link(first, name)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
            linked = False
            os.rename(first, name)
        try:
            if linked:
                with contextlib.suppress(FileExistsError):
                    os.link(second, name)
                    raise _Unsafe("a name is given to two files")
            place.other.open(name)
            seen, own = place.other.status(), mine.status()
            _must((seen["device"], seen["number"]) == (own["device"], own["number"]),
                  "two processes see one file as two")
            os.rename(second, name)
            place.other.open(name)
            _must(place.other.read(0, 2) == "2", "a file is not replaced by a rename")
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
    if not linked:
        return Finding(
            "", LIMITED, "no links: make the cache before many use it",
            "Two processes that make the same container in the same moment may both succeed, and "
            "one loses what it stored. Let one process make the cache before others start.",
        )
    return Finding("", OK, "files are made and replaced as one step")


def _deleting(place: Place) -> Finding:
    with place.hand("deleting", "1" * 4096, both=True):
        os.unlink(place.path("deleting"))
        _must(place.other.read(0, 8192) == "1" * 4096, "an open file that is deleted is lost")
        if place.other.status()["links"] == 0:
            return Finding("", OK, "open files can be deleted, and that is seen")
    return Finding(
        "", LIMITED, "who has a file open does not see it deleted",
        "Do not delete or replace a container while programs use it: they would go on with the "
        "old one, and what they store would be lost. 'decache rm --all' empties it safely.",
    )


# -- room ------------------------------------------------------------------------------------------


def _length(place: Place) -> Finding:
    with place.hand("length") as mine:
        longest = mine.longest()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    values: dict[str, Any] = {"bytes": longest}
    if limit != resource.RLIM_INFINITY:
        values["process_bytes"] = limit
    if 0 <= limit < longest:
        return Finding("", LIMITED, f"this process may write {show_size(limit)} a file",
                       "The limit is the shell's (ulimit -f). A cache that reaches it stores "
                       "nothing more.", values)
    if longest < 1 << 40:
        return Finding("", LIMITED, f"up to {show_size(longest)}, and so is the cache",
                       "All results are in one file. A cache that reaches the limit stores "
                       "nothing more; keep it below with bytes_limit.", values)
    return Finding("", OK, f"up to {show_size(longest)}", values=values)


def space(folder: str) -> Finding:
    """Look how much is free; this needs no file."""
    found = os.statvfs(folder)
    free, files = found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None
    values = {"free_bytes": free, "free_files": files}
    text = f"{show_size(free)} free" + ("" if files is None else f", for {files:,} files")
    if free < 64 * MIB or (files is not None and files < 16):
        return Finding("space", LIMITED, text, "Results that find no space are returned and not "
                       "stored; what is there stays.", values)
    return Finding("space", OK, text, values=values)


def _clock(place: Place) -> Finding:
    with place.hand("clock") as mine:
        before = time.time()
        mine.write(0, "1")
        mine.sync()
        written, after = mine.status()["written"], time.time()
    skew = written - after if written > after else min(0.0, written - before)
    values = {"skew_seconds": skew}
    # FAT counts in steps of two seconds.
    if abs(skew) > 2.5:
        which = "ahead of" if skew > 0 else "behind"
        return Finding("", LIMITED, f"files are {show_span(abs(skew))} {which} this machine",
                       "When a result was used is noted by the clock of the machine that used "
                       "it; age limits are wrong by what the clocks differ.", values)
    return Finding("", OK, "files are dated by the same clock", values=values)


# -- all of them -----------------------------------------------------------------------------------

_Refusal = Callable[[str], Finding]


def _refused_locks(why: str) -> Finding:
    return Finding("", UNSAFE, why, "Without locks decache stores nothing here: functions are "
                   "computed each time, with a warning. Put the cache on another file system.")


def _refused(why: str) -> Finding:
    return Finding("", UNSAFE, why, "The store needs this. Put the cache on another file system.")


def _without_mapping(why: str) -> Finding:
    return Finding("", LIMITED, f"{why}: no mmap_mode",
                   "Leave mmap_mode out; arrays are then read into memory.")


#: Name, test, and what it means that the system refuses a call of it.
_TESTS: tuple[tuple[str, Callable[[Place], Finding], _Refusal], ...] = (
    ("file length", _length, _refused),
    ("clock", _clock, _refused),
    ("locks", _locks, _refused_locks),
    ("shared locks", _shared_locks, _refused_locks),
    ("locks of the dead", _locks_of_the_dead, _refused_locks),
    ("flock", _flock, _without_flock),
    ("bytes", _bytes, _refused),
    ("mapping", _mapping, _without_mapping),
    ("holes", _holes, _without_holes),
    ("reserving", _reserving, _without_reserving),
    ("syncing", _syncing, _refused),
    ("names", _names, _refused),
    ("deleting", _deleting, _refused),
)


def run(place: Place) -> Iterator[Finding]:
    """Run all tests."""
    for name, test, refusal in _TESTS:
        yield named(name, run_one(functools.partial(test, place), refusal))


def named(name: str, found: Finding) -> Finding:
    """Return a finding with the name of its test."""
    return replace(found, test=name)


def run_one(test: Callable[[], Finding], refusal: _Refusal = _refused) -> Finding:
    """Run a test; what it raises becomes a finding."""
    try:
        return test()
    except _Unsafe as error:
        return Finding("", UNSAFE, str(error), "The store relies on this, and would damage or "
                       "lose results. Put the cache on another file system.")
    except Gone as error:
        return Finding("", UNSAFE, str(error), "A program that uses a cache here would hang.")
    except OSError as error:
        if error.errno in _FULL:
            return Finding("", LIMITED, "no space to test it",
                           "Free some megabytes, and run this again.")
        return refusal(os.strerror(error.errno or errno.EIO))


def _seconds(call: Callable[[], Any], times: int) -> float:
    """How long a call takes: the median of some."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def becomes(true: Callable[[], bool], seconds: float = _UNTIL_COUNTED) -> bool:
    """Wait until something is so; is it?"""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
