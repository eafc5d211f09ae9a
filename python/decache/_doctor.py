# SPDX-License-Identifier: MIT
"""Is a cache safe in a folder?  The very folder is tested, and what it comes to is said.

Called by the command ``decache doctor`` and by users. All files that a test needs are in one
folder of a hidden name below the folder that is tested, which is deleted at the end, by a second
process if this one is killed (`_doctor_hand`). A container that is there is only looked at.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from . import _catalog, _doctor_across, _h5store
from ._doctor_hand import GATE, MEMBER, NEXT, PINS, READ, SHARED, WRITE, Hand
from ._doctor_tests import (
    LIMITED, OK, UNKNOWN, UNSAFE, Finding, Place, named, run, run_one, space,
)
from ._store import Store
from ._units import show_size

#: By what mountinfo calls them. Of a network, or of several machines:
_NETWORK = {
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "davfs", "gfs2", "glusterfs", "gpfs", "lustre",
    "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs",
    "vboxsf", "wekafs",
}
_MEMORY = {"tmpfs", "ramfs"}

#: Mount options that leave locks to each machine alone.
_OWN_LOCKS = {"nolock", "local_lock=all", "local_lock=posix", "nobrl", "localflock"}


@dataclass(frozen=True)
class Diagnosis:
    """What `doctor` found.

    Attributes
    ----------
    folder : str
        What was tested: the folder of the container, or where it is not there yet, the folder
        that it would be made in.
    container : str
        Where the container of the cache is, or would be.
    findings : list of Finding
    state : dict
        Of the container: "exists", and if it does whether it "opens", or "error"; "results",
        "bytes", "log_bytes" (None: there is no log) and "locks", those held by others now.
    machines : list of str
        The names of the machines that took part.
    """

    folder: str
    container: str
    findings: list[Finding] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    machines: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """0: safe; 1: it works, with restrictions; 2: not safe."""
        results = {one.result for one in self.findings}
        return 2 if UNSAFE in results else 1 if results & {LIMITED, UNKNOWN} else 0

    @property
    def verdict(self) -> str:
        """All of it in one sentence."""
        worst = [one for one in self.findings if one.result == UNSAFE]
        if worst:
            return f"not safe: {worst[0].test}: {worst[0].text}"
        if len(self.machines) > 1:
            where = f"processes of {self.machines[0]} and {self.machines[1]}"
        else:
            where = "processes of this machine"
        limits = [one.test for one in self.findings if one.result in (LIMITED, UNKNOWN)]
        if limits:
            return f"safe for any number of {where}, but mind: {', '.join(limits)}"
        return f"safe for any number of {where}"


def doctor(
    location: str | os.PathLike[str],
    *,
    across: bool = False,
    wait: float = 600.0,
    timeout: float = 30.0,
    progress: Callable[[Finding], None] = lambda finding: None,
) -> Diagnosis:
    """Test whether a cache is safe in a folder.

    Parameters
    ----------
    location : str or os.PathLike
        What ``joblib.Memory`` is or will be given, the folder "joblib" in it, or a container.
    across : bool
        Test it together with another machine, on which the same must be called.
    wait : float
        Seconds to wait for the other machine.
    timeout : float
        Seconds to wait for the lock of a container that is there.
    progress : callable
        Is given each finding as it comes.

    Returns
    -------
    Diagnosis

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        No part of the path is there, or one is no folder.
    TimeoutError
        No other machine showed up, or it stopped.
    """
    container = _catalog.find_container(location, create=True)
    found = Diagnosis(_folder_of(container), container)
    found.machines.append(os.uname().nodename)

    def note(one: Finding) -> None:
        found.findings.append(one)
        progress(one)

    mount = _mount_of(found.folder)
    note(_file_system(mount))
    note(_look(container, timeout, found.state))
    note(space(found.folder))
    with contextlib.ExitStack() as ends:
        try:
            place = ends.enter_context(_workplace(found.folder))
        except OSError as error:
            note(_no_workplace(error))
            return found
        for one in run(place):
            note(one)
        if found.status < 2:
            note(named("trial", run_one(lambda: _try(place))))
        if across and found.status < 2:
            _examine_across(place.folder, wait, found, note)
        elif (between := _between(mount)) is not None:
            note(between)
    return found


def _examine_across(
    folder: str, wait: float, found: Diagnosis, note: Callable[[Finding], None]
) -> None:
    both = _doctor_across.examine(folder, wait)
    if both.same_machine:
        note(Finding("across", LIMITED, "both doctors ran on this machine",
                     "Start one of them on another machine; this says nothing of others."))
    else:
        found.machines.append(both.host)
        note(Finding("across", OK, f"together with {both.host}"))
    for one in both.findings:
        note(one)


# -- where -----------------------------------------------------------------------------------------


def _folder_of(container: str) -> str:
    """Return the folder of a container, or the one in which that will be made."""
    folder = os.path.realpath(os.path.dirname(os.path.abspath(container)))
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise NotADirectoryError(f"{folder} is not a folder")
    return folder


@contextlib.contextmanager
def _workplace(folder: str) -> Iterator[Place]:
    """Make a private folder in a folder, and delete it at the end, however that comes."""
    path = os.path.join(
        folder, f"{_doctor_across.PREFIX}{time.time_ns():016x}-{secrets.token_hex(4)}"
    )
    os.mkdir(path, 0o700)
    try:
        place = Place(path)
        try:
            yield place
        finally:
            place.close()
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _no_workplace(error: OSError) -> Finding:
    why = os.strerror(error.errno or 0)
    return Finding(
        "writing", LIMITED, f"{why}: nothing is stored",
        "Nothing can be made in this folder: results that are there are returned, and none is "
        "stored. The other tests need a folder that can be written.",
    )


# -- the file system -------------------------------------------------------------------------------


class _Mount(NamedTuple):
    kind: str
    point: str
    options: frozenset[str]


def _mount_of(folder: str) -> _Mount:
    """Return what is mounted where a folder is; the last line for a path is on top."""
    best = _Mount("unknown", "", frozenset())
    with contextlib.suppress(OSError), open(
        "/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape"
    ) as file:
        for line in file:
            left, _, right = line.partition(" - ")
            point = _unescaped(left.split()[4])
            kind, _, options = right.split()
            inside = folder == point or folder.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best.point):
                own = left.split()[5]
                best = _Mount(kind, point, frozenset(f"{own},{options}".split(",")))
    return best


def _unescaped(text: str) -> str:
    """Mountinfo writes spaces and such as octal numbers."""
    for letter in (" ", "\t", "\n", "\\"):
        text = text.replace(f"\\{ord(letter):03o}", letter)
    return text


def _is_shared(mount: _Mount) -> bool:
    return mount.kind in _NETWORK or mount.kind.startswith("fuse")


def _file_system(mount: _Mount) -> Finding:
    values = {"type": mount.kind, "mounted_at": mount.point, "options": sorted(mount.options)}
    if mount.kind in _MEMORY:
        return Finding("file system", LIMITED, f"{mount.kind}: in memory, lost when it stops",
                       "Results here do not survive the machine's end, and take its memory.",
                       values)
    if mount.kind == "overlay":
        return Finding("file system", LIMITED, "overlay: may go with its container",
                       "In a Docker or Podman container the cache goes when that is removed; "
                       "mount a volume and put it there.", values)
    if _is_shared(mount):
        return Finding("file system", OK, f"{mount.kind}: of a network, or of a program",
                       values=values)
    return Finding("file system", OK, f"{mount.kind}, of this machine", values=values)


def _between(mount: _Mount) -> Finding | None:
    """What is known of other machines without one."""
    if not _is_shared(mount):
        return None
    own = sorted(mount.options & _OWN_LOCKS)
    if mount.kind == "fuse.sshfs":
        own.append("sshfs")
    if own:
        return Finding(
            "other machines", LIMITED, f"{own[0]}: locks are for this machine alone",
            "Two machines that use a cache here at once would damage it. Use it from one "
            "machine at a time, or mount it without that option.",
        )
    return Finding(
        "other machines", UNKNOWN, "only another machine can tell: see --across",
        f"Run 'decache doctor {mount.point} --across' on two machines at once before you use a "
        "cache here from several.",
    )


# -- the container ---------------------------------------------------------------------------------

_LOCKS = {
    "MEMBER": (MEMBER, 1), "WRITE": (WRITE, 1), "READ": (READ, 1), "NEXT": (NEXT, 1),
    "GATE": (GATE, 1), "pins": (PINS, 2**61),
}


def _look(container: str, timeout: float, state: dict[str, Any]) -> Finding:
    """Look at a container as any reader does; it is not changed."""
    state["exists"] = os.path.lexists(container)
    if not state["exists"]:
        return Finding("container", OK, "there is none yet")
    log = f"{container}-wal"
    state["log_bytes"] = os.path.getsize(log) if os.path.exists(log) else None
    state["locks"] = _locks_held(log)
    try:
        with _h5store.Store(container, read_only=True, timeout=timeout) as raw:
            totals = raw.stat()
            state |= {"opens": True, "results": totals.items, "bytes": totals.file_size}
    except (_h5store.Error, OSError) as error:
        state |= {"opens": False, "error": str(error)}
        return Finding("container", LIMITED, "it cannot be opened", str(error), dict(state))
    log_text = "no log" if state["log_bytes"] is None else f"log {show_size(state['log_bytes'])}"
    use = "in use" if "MEMBER" in state["locks"] else "not in use"
    advice = ""
    if state["locks"]:
        advice = f"Locks held by others now: {', '.join(state['locks'])}."
    return Finding("container", OK, f"it opens; {totals.items:,} results; {log_text}; {use}",
                   advice, dict(state))


def _locks_held(log: str) -> list[str]:
    try:
        hand = Hand(log, os.O_RDONLY)
    except OSError:
        return []
    try:
        return [
            name if kind != SHARED else f"{name} (shared)"
            for name, (start, length) in _LOCKS.items()
            if (kind := hand.find(start, length)) is not None
        ]
    except OSError:  # the file system has no such locks, which a test says
        return []
    finally:
        hand.close()


# -- a trial ---------------------------------------------------------------------------------------

_ARRAYS = 8

#: Reads what is there, adds as much, and dies with the container open.
_CUSTOMER = """\
import json, os, signal, sys
sys.path[:] = json.loads(sys.argv[1])
import numpy as np
from decache import Store
store = Store(sys.argv[2], create=False, verify="full", timeout=20.0)
names = json.loads(sys.argv[3])
good = all((store.get(name) == number).all() for number, name in enumerate(names))
made = [store.put(np.full(20_000, len(names) + number)) for number in range(len(names))]
print(json.dumps([good, made]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def _try(place: Place) -> Finding:
    """Use a real container, in two processes, one of which dies."""
    folder = place.path("trial")
    os.mkdir(folder)
    path = os.path.join(folder, "trial.h5")
    try:
        with Store(path, verify="full", timeout=20.0) as store:
            names = [store.put(np.full(20_000, number)) for number in range(_ARRAYS)]
            done = subprocess.run(
                [sys.executable, "-c", _CUSTOMER, json.dumps(sys.path), path, json.dumps(names)],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
            )
            if not done.stdout:
                reason = (done.stderr.strip().splitlines() or ["it ended"])[-1]
                return _failed_trial(f"the second process: {reason}")
            good, made = json.loads(done.stdout)
            kept = names[::2] + made
            values = [*range(0, _ARRAYS, 2), *range(_ARRAYS, 2 * _ARRAYS)]
            for name in names[1::2]:
                store.discard(name)
            good &= all(
                bool((store.get(name) == value).all())
                for name, value in zip(kept, values, strict=True)
            )
            findings = [one for one in store.verify("full") if one.is_error]
    except _h5store.NoSpaceError as error:
        raise OSError(error.errno, str(error)) from None
    except _h5store.Error as error:
        return _failed_trial(str(error))
    if not good or findings:
        return _failed_trial(findings[0].text if findings else "another array came back")
    left = sorted(os.listdir(folder))
    if left != ["trial.h5"]:
        return _failed_trial(f"files are left: {', '.join(left)}")
    return Finding("", OK, "two processes used a container, and one died")


def _failed_trial(why: str) -> Finding:
    return Finding("", UNSAFE, "a container does not work here", why)
