# SPDX-License-Identifier: MIT
"""Setting aside a container that cannot be used.

Nothing that was there is deleted: the file and its log get a name that says what they are, and
a fresh container can take their place. Several processes may find the same file unusable at
once; a lock on that very file makes sure that only one of them moves it, and that nobody moves
the fresh one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

#: Seconds to wait for a program that has the unusable file locked.
_PATIENCE = 5.0


def set_aside(
    path: str, identity: tuple[int, int], what: str = "unusable"
) -> str | None:
    """Rename a container and its log.

    Parameters
    ----------
    path : str
    identity : tuple of int
        `identify` of the file that was found unusable.
    what : str
        What the new name says that it is.

    Returns
    -------
    str or None
        The new path; None if another process has done it already.

    Raises
    ------
    OSError
        It could not be renamed, or is locked by another program.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        _lock(fd, path)
        if identify(path) != identity or _identity(os.fstat(fd)) != identity:
            return None
        target = _free_name(path, what)
        if os.path.lexists(path + "-wal"):
            os.rename(path + "-wal", target + "-wal")
        os.rename(path, target)
        return target
    finally:
        os.close(fd)


def identify(path: str) -> tuple[int, int] | None:
    """Return device and inode of a file, or None if there is none."""
    try:
        return _identity(os.stat(path))
    except OSError:
        return None


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


def _lock(fd: int, path: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _free_name(path: str, what: str) -> str:
    base = f"{path}.{what}-{time.strftime('%Y%m%dT%H%M%S')}"
    target, number = base, 1
    while os.path.lexists(target):
        number += 1
        target = f"{base}-{number}"
    return target
