# SPDX-License-Identifier: MIT
"""A hand on one file: the system calls of the store, one by one; and a second process with one.

`decache doctor` tests a folder with two hands, its own and that of a process which runs this file
by itself (so it imports nothing of the package, and starts in some hundredths of a second). Both
have the same methods, and fail with the same `OSError`.

The other process lives as long as its standard input is open. When that ends without a good-bye,
because the doctor was killed, it deletes the doctor's folder; so nothing is left either way.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

#: Seconds after which a call that did not return is one that never will.
PATIENCE = 60.0

#: The places of the locks on the log, as in src/lock.c.
PINS, MEMBER, WRITE, READ, NEXT, GATE = (2**61, *(2**62 + 16 * number for number in range(5)))

SHARED, EXCLUSIVE = fcntl.F_RDLCK, fcntl.F_WRLCK

_LOCK = "hhqqi4x"  # struct flock
_KEEP_SIZE, _PUNCH_HOLE = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)


class Hand:
    """One open file.

    Parameters
    ----------
    path : str
    flags : int
        For open(2).
    """

    def __init__(self, path: str, flags: int = os.O_RDWR) -> None:
        self._path = path
        self._fd = os.open(path, flags, 0o600)
        self._map: mmap.mmap | None = None

    def close(self) -> None:
        """Let go; the locks go with it, when a mapping does not hold the open file either."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def lock(self, kind: int, start: int, length: int = 1) -> bool:
        """Try an OFD lock; is it had?"""
        lock = struct.pack(_LOCK, kind, os.SEEK_SET, start, length, 0)
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, lock)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def unlock(self, start: int, length: int = 1) -> None:
        """Give a lock back."""
        self.lock(fcntl.F_UNLCK, start, length)

    def find(self, start: int, length: int = 1) -> int | None:
        """Return the kind of a lock of others that would keep an exclusive one out."""
        lock = struct.pack(_LOCK, EXCLUSIVE, os.SEEK_SET, start, length, 0)
        kind = int(struct.unpack(_LOCK, fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, lock))[0])
        return None if kind == fcntl.F_UNLCK else kind

    def flock(self, exclusive: bool) -> bool:
        """Try the lock of stock HDF5; is it had?"""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_NB | (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH))
        except BlockingIOError:
            return False
        return True

    def write(self, offset: int, text: str) -> None:
        """Write all of it."""
        data = text.encode("latin-1")
        while data:
            count = os.pwrite(self._fd, data, offset)
            data, offset = data[count:], offset + count

    def read(self, offset: int, length: int) -> str:
        """Read so much, less at the end of the file."""
        found = b""
        while len(found) < length:
            part = os.pread(self._fd, length - len(found), offset + len(found))
            if not part:
                break
            found += part
        return found.decode("latin-1")

    def map(self, length: int) -> None:
        """Map the beginning of the file, as `mmap_mode` does."""
        if self._map is not None:
            self._map.close()
        self._map = mmap.mmap(self._fd, length, mmap.MAP_SHARED, mmap.PROT_READ)

    def mapped(self, offset: int, length: int) -> str:
        """Read from the mapping."""
        assert self._map is not None
        return self._map[offset : offset + length].decode("latin-1")

    def reserve(self, offset: int, length: int, beyond: bool = False) -> None:
        """Set blocks aside; beyond the end without making the file longer."""
        self._allocate(_KEEP_SIZE if beyond else 0, offset, length)

    def punch(self, offset: int, length: int) -> None:
        """Give blocks back."""
        self._allocate(_PUNCH_HOLE | _KEEP_SIZE, offset, length)

    def _allocate(self, mode: int, offset: int, length: int) -> None:
        call = getattr(_libc, "fallocate64", _libc.fallocate)
        if call(self._fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), self._path)

    def sync(self) -> None:
        """Have the bytes on the disk."""
        os.fdatasync(self._fd)

    def truncate(self, length: int) -> None:
        """Set the length."""
        os.ftruncate(self._fd, length)

    def status(self) -> dict[str, Any]:
        """What fstat(2) says of the open file."""
        found = os.fstat(self._fd)
        return {
            "device": found.st_dev, "number": found.st_ino, "links": found.st_nlink,
            "size": found.st_size, "disk": found.st_blocks * 512,
            "written": found.st_mtime_ns / 1e9,
        }

    def longest(self) -> int:
        """Return the greatest length of a file, which is as far as one can seek."""
        low, high = 0, 2**63 - 1
        while low < high:
            middle = low + (high - low + 1) // 2
            try:
                os.lseek(self._fd, middle, os.SEEK_SET)
                low = middle
            except OSError:
                high = middle - 1
        return low


class Gone(Exception):
    """The other process ended, or does not answer."""


class OtherProcess:
    """A hand in another process; see `Hand` for what it can do.

    Parameters
    ----------
    folder : str
        Is deleted by the other process when this one dies.
    """

    def __init__(self, folder: str) -> None:
        self._process = subprocess.Popen(
            # Its own session, so that Ctrl-C is for this process alone.
            [sys.executable, "-I", "-S", __file__, folder], start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        )

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not hasattr(Hand, name):
            raise AttributeError(name)
        return lambda *args: self._ask(name, args)

    def open(self, path: str, flags: int = os.O_RDWR) -> None:
        """Take another file into the hand."""
        self._ask("open", (path, flags))

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self._process.kill()
        self._finish()

    def end(self) -> None:
        """Let it end by itself, and delete nothing."""
        with contextlib.suppress(OSError, Gone):
            self._ask("bye", ())
        self.kill()

    def _finish(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()

    def _ask(self, name: str, args: tuple[Any, ...]) -> Any:
        into, out = self._process.stdin, self._process.stdout
        assert into is not None and out is not None
        try:
            into.write(json.dumps([name, args]).encode() + b"\n")
        except (OSError, ValueError):
            raise Gone("the second process of the test ended") from None
        answer = b""
        while not answer.endswith(b"\n"):
            if not select.select([out], [], [], PATIENCE)[0]:
                raise Gone(f"{name} did not return within {PATIENCE:.0f} s")
            part = out.read(1 << 16)
            if not part:
                raise Gone("the second process of the test ended")
            answer += part
        value, code, path = json.loads(answer)
        if code:
            raise OSError(code, os.strerror(code), path)
        return value


def _serve(folder: str) -> None:
    """Do what is asked on standard input, until it ends."""
    # An interrupted doctor cleans up by itself; a killed one is seen by the end of the input.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    hand: Hand | None = None
    for line in sys.stdin:
        name, args = json.loads(line)
        value, code, path = None, 0, None
        try:
            if name == "open":
                if hand is not None:
                    hand.close()
                hand = Hand(*args)
            elif name != "bye":
                value = getattr(hand, name)(*args)
        except OSError as error:
            code, path = error.errno or 5, error.filename
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps([value, code, path]), flush=True)
        if name == "bye":
            return
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
