# SPDX-License-Identifier: MIT
"""Work in a forked child, where limits, users and signals do not touch the tests.

A fork is some milliseconds where a new interpreter with NumPy is most of a second. What the
work returns comes back through a pipe; what it raises fails the test, with its traceback.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import shutil
import signal
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


class Child:
    """A function that runs in a child.

    Parameters
    ----------
    work : callable
    *args
        What it is called with; its result must be picklable.
    """

    def __init__(self, work: Callable[..., Any], *args: Any) -> None:
        self._out, into = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._out)
            _run(into, work, args)
        os.close(into)

    def result(self) -> Any:
        """Wait for the end, and return what the work returned."""
        with open(self._out, "rb") as pipe:
            answer = pipe.read()
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code == 0 and answer, f"the child ended with {code}"
        good, value = pickle.loads(answer)
        assert good, f"in the child:\n{value}"
        return value

    def kill(self) -> None:
        """Kill it and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self._out)
        # Else it had ended by itself, and the kill proved nothing.
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def in_child(work: Callable[..., Any], *args: Any) -> Any:
    """Run a function in a child and return its result."""
    return Child(work, *args).result()


def _run(into: int, work: Callable[..., Any], args: tuple) -> None:
    """Never returns: the tests go on in the parent."""
    try:
        try:
            answer = pickle.dumps((True, work(*args)))
        except BaseException:
            answer = pickle.dumps((False, traceback.format_exc()))
        while answer:
            answer = answer[os.write(into, answer):]
    finally:
        os._exit(0)


NOBODY = 65534


def become_nobody() -> None:
    """In a child: be a user without rights, if this is root; else it is one already."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that every user can look into, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="decache-test-"))
    os.chmod(folder, 0o755)
    try:
        yield folder
    finally:
        for path in folder.rglob("*"):
            os.chmod(path, 0o755)
        shutil.rmtree(folder)


#: Numbers of system calls, by the machine: Linux's tables, and the audit number of each.
_SYSTEM_CALLS = {
    "x86_64": (0xC000003E, {"fcntl": 72, "flock": 73, "fallocate": 285, "link": 86}),
    "aarch64": (0xC00000B7, {"fcntl": 25, "flock": 32, "fallocate": 47, "link": 37}),
}

F_OFD_SETLK = 37


def refuse_calls(refusals: dict[str, int]) -> None:
    """In a child: have the kernel refuse system calls, as a file system would.

    Parameters
    ----------
    refusals : dict
        From "fcntl" (locks of open files alone), "flock", "fallocate", "link" to an errno.
    """
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in _SYSTEM_CALLS:
        raise NotImplementedError(machine)
    audit, numbers = _SYSTEM_CALLS[machine]
    load, equal, give = 0x20, 0x15, 0x06  # BPF: ld [k], jeq #k, ret #k
    allow, refuse = 0x7FFF0000, 0x00050000
    program = [(load, 0, 0, 4), (equal, 1, 0, audit), (give, 0, 0, allow)]
    for call, code in refusals.items():
        if call == "fcntl":  # its second argument says what is wanted
            program += [
                (load, 0, 0, 0), (equal, 0, 3, numbers[call]),
                (load, 0, 0, 24), (equal, 0, 1, F_OFD_SETLK),
            ]
        else:
            program += [(load, 0, 0, 0), (equal, 0, 1, numbers[call])]
        program.append((give, 0, 0, refuse | code))
    program.append((give, 0, 0, allow))
    steps = b"".join(struct.pack("HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(steps, len(steps))
    filter_ = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def can_refuse_calls() -> bool:
    """Does this kernel do that?"""
    if os.uname().machine not in _SYSTEM_CALLS:
        return False
    try:
        in_child(refuse_calls, {})
    except AssertionError:
        return False
    return True
