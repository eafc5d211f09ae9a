# SPDX-License-Identifier: MIT
"""Checking a container, saving what can be saved of a damaged one, and making one small.

`verify` turns the library's findings, which name objects in the file, into the calls whose
results are affected. `repair` copies what is whole into a fresh container; the damaged one is
never written to.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from . import _aside, _catalog, _h5store

#: What the findings are about; the numbers are those of FORMAT.md, "Findings".
CLAUSES = {
    1: "superblock and space",
    2: "root",
    3: "description of an array",
    4: "checksum of an array",
    5: "SHA-256 of an array",
    6: "array without reference",
    7: "result",
    8: "link of a result",
    9: "extents",
    10: "totals",
}

#: The clause of the remark that salvaging makes of an array that no saved result has.
_LONE = 6

#: How often a container that others made meanwhile is set aside, too.
_ATTEMPTS = 5


@dataclass
class Verification:
    """What a check found.

    Attributes
    ----------
    findings : list of Finding
    affected : list of (str, str)
        Function and key of the calls whose results cannot be returned; they are computed
        again.
    """

    findings: list[_h5store.Finding] = field(default_factory=list)
    affected: list[tuple[str, str]] = field(default_factory=list)

    @property
    def errors(self) -> list[_h5store.Finding]:
        """The findings that are not only remarks."""
        return [one for one in self.findings if one.is_error]


@dataclass
class Repair:
    """What could be saved.

    Attributes
    ----------
    salvage : Salvage
        Counts of results and arrays saved and lost.
    findings : list of str
        What was lost, by name, and why.
    kept : list of str
        Arrays that are whole but that no saved result has. They are kept by themselves until
        ``remove(container, kept=True)``, or `Store.discard`, lets them go.
    container : str
        Where the saved results are; "" for a dry run.
    aside : str
        Where the damaged container is now, if it was replaced.
    """

    salvage: _h5store.Salvage
    findings: list[str]
    kept: list[str]
    container: str = ""
    aside: str = ""


def verify(
    location: str | os.PathLike[str],
    *,
    full: bool = False,
    subset: float = 1.0,
    timeout: float = 30.0,
    progress: Callable[[int, int], object] | None = None,
) -> Verification:
    """Check a container against its format, while others may be using it.

    Parameters
    ----------
    location : str or os.PathLike
        What ``joblib.Memory`` was given, the folder "joblib" in it, or a container.
    full : bool
        Compare the bytes of arrays with their SHA-256; else with a fast checksum.
    subset : float
        The part of the arrays whose bytes are read, from 0 to 1, chosen at random.
    timeout : float
        Seconds to wait for another process's lock.
    progress : callable, optional
        Called now and then with the bytes checked so far, of about how many. What it raises
        ends the check.

    Returns
    -------
    Verification

    Raises
    ------
    FileNotFoundError, Error
        There is no container, or it cannot be opened for another reason than damage.
    """
    path = _catalog.find_container(location)
    try:
        raw = _h5store.Store(path, read_only=True, timeout=timeout)
    except (_h5store.DamagedError, _h5store.NotAStoreError) as error:
        return Verification([_h5store.Finding((1, True, "/", str(error)))])
    with raw:
        findings = [
            finding
            for finding in raw.verify(
                check="full" if full else "fast", fraction=subset, progress=progress
            )
            if finding.is_error or finding.clause != 7  # results that `affected` names, too
        ]
        return Verification(findings, affected(raw, findings))


def affected(
    raw: _h5store.Store, findings: Iterable[_h5store.Finding]
) -> list[tuple[str, str]]:
    """Return the calls whose results have one of the objects that errors were found in."""
    blobs: set[str] = set()
    calls: dict[tuple[str, str], None] = {}
    for finding in findings:
        blob, call = blob_of(finding.object), call_of(finding.object)
        if finding.is_error and blob and finding.clause in (3, 4, 5):
            blobs.add(blob)
        elif finding.is_error and call:
            calls[call] = None
    if blobs:
        for info in _catalog.walk(raw):
            if info.link_count and not blobs.isdisjoint(_catalog.blob_ids(raw, info)):
                calls[info.collection, info.key] = None
    return list(calls)


def blob_of(path: str) -> str | None:
    """Return the name of the array that lies at a path in the file."""
    found = re.fullmatch(r"/(?:blobs/[^/]*|kept)/([0-9a-f]{64})", path)
    return found and found[1]


def call_of(path: str) -> tuple[str, str] | None:
    """Return function and key of the path of a result's group in the file."""
    found = re.fullmatch(r"/items/(.+)/#[^/]*/([^/]+)", path)
    if found is None:
        return None
    return "/".join(map(_unescape, found[1].split("/"))), _unescape(found[2])


def _unescape(component: str) -> str:
    """Undo what FORMAT.md, "Items", says of the first byte of a component."""
    found = re.match(r"%([0-9A-Fa-f]{2})", component)
    return chr(int(found[1], 16)) + component[3:] if found else component


# -- repair ----------------------------------------------------------------------------------------


def repair(
    location: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    in_place: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Repair:
    """Copy what is whole in a damaged container into a fresh one.

    Every array whose bytes still have its SHA-256 is saved, and every result whose arrays are
    all there, also where HDF5 cannot open the file at all.

    Parameters
    ----------
    location : str or os.PathLike
        What ``joblib.Memory`` was given, the folder "joblib" in it, or a container.
    output : str or os.PathLike, optional
        The fresh container, which must not exist; by default ``<container>.repaired``.
    in_place : bool
        Give the damaged container and its log another name, which is told, and put the fresh
        one into its place. Programs that use the cache open the fresh one by themselves; what
        they stored since the repair began stays in the other.
    dry_run : bool
        Save into a file that is deleted at once, and tell what was found.
    progress : callable, optional
        Called now and then with the bytes looked at so far, of about how many. What it raises
        ends the repair; then nothing is left of the fresh container.

    Returns
    -------
    Repair

    Raises
    ------
    FileExistsError
        `output` is there.
    FileNotFoundError, Error
        There is no container, or it cannot be read, or the fresh one cannot be written.
    """
    path = _catalog.find_container(location)
    folder = os.path.dirname(os.path.abspath(path))
    if dry_run or (in_place and output is None):
        with tempfile.TemporaryDirectory(prefix="decache-repair-", dir=folder) as scratch:
            fresh = os.path.join(scratch, "blobs.h5")
            done = _salvage(path, fresh, progress)
            if not dry_run:
                done.aside = _swap(path, fresh)
                done.container = path
        return done
    target = os.fspath(output) if output is not None else path + ".repaired"
    if os.path.lexists(target):
        raise FileExistsError(f"{target} is there already; give another name, or remove it")
    done = _salvage(path, target, progress)
    done.container = target
    if in_place:
        done.aside = _swap(path, target)
        done.container = path
    return done


def _salvage(
    path: str, fresh: str, progress: Callable[[int, int], object] | None
) -> Repair:
    lost: list[str] = []
    kept: list[str] = []

    def told(finding: _h5store.Finding) -> None:
        lost.append(_told(finding))
        blob = blob_of(finding.object)
        if finding.clause == _LONE and not finding.is_error and blob:
            kept.append(blob)

    try:
        with _h5store.Store(fresh, create=True) as target:
            salvage = _h5store.salvage(path, target, told, progress)
            target.flush()
    except BaseException:
        for one in (fresh, fresh + "-wal"):
            with contextlib.suppress(OSError):
                os.unlink(one)
        raise
    return Repair(salvage, lost, kept)


def _told(finding: _h5store.Finding) -> str:
    call = call_of(finding.object)
    name = "/".join(call) if call else finding.object
    return f"{name}: {finding.text}"


def _swap(path: str, fresh: str) -> str:
    """Put a closed container into the place of another, and return the other's new name."""
    moved = ""
    for _ in range(_ATTEMPTS):
        identity = _aside.identify(path)
        if identity is not None:
            moved = _aside.set_aside(path, identity, "damaged") or moved
        try:
            os.link(fresh, path)  # a rename would hide what others made here meanwhile
        except FileExistsError:
            continue
        except OSError:  # a file system without second names
            os.rename(fresh, path)
            return moved
        os.unlink(fresh)
        return moved
    raise FileExistsError(f"other programs make {path} again and again; end them, and repeat")


# -- compact ---------------------------------------------------------------------------------------


def compact(
    location: str | os.PathLike[str],
    *,
    timeout: float = 30.0,
    progress: Callable[[int, int], object] | None = None,
) -> _h5store.Compaction:
    """Make a container nearly as small as what is in it, while others may be using it.

    Parameters
    ----------
    location, timeout
        As for `verify`.
    progress : callable, optional
        Called now and then with the bytes looked at so far, of how many. What it raises ends
        the work early.

    Returns
    -------
    Compaction

    Raises
    ------
    FileNotFoundError, Error
        There is no container, or it cannot be opened or changed.
    """
    with _catalog.opened(location, write=True, timeout=timeout) as raw:
        return raw.compact(progress)
