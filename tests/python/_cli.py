# SPDX-License-Identifier: MIT
"""Running the command ``decache``, and caches in all states to run it on.

Every command runs in a process of its own, as a user would start it; only what must run as
another user runs in a fork, since that user may not be able to read the interpreter.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import _cached
import decache
import joblib
import numpy as np
from _children import become_nobody, in_child
from decache import _cli as _command

TOP = Path(__file__).resolve().parents[2]
HERE = os.path.dirname(__file__)
THRESHOLD = 1000
LARGE_BYTES = _cached.LARGE.nbytes


class Done(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def environment() -> dict[str, str]:
    """The tests' own, with their folder on the path, so that results find their module."""
    path = [HERE, *filter(None, sys.path)]
    kept = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    return {**kept, "PYTHONPATH": os.pathsep.join(path), "LC_ALL": "C.UTF-8"}


def run(*args: Any, cwd: Any = None) -> Done:
    """Run ``python -m decache`` with these arguments."""
    done = subprocess.run(
        [sys.executable, "-m", "decache", *map(str, args)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(), cwd=cwd, timeout=120, check=False,
    )
    out = done.stdout.decode()
    assert "Traceback" not in done.stderr.decode(), done.stderr.decode()
    return Done(done.returncode, out, done.stderr.decode())


def good(*args: Any, **options: Any) -> str:
    """Run a command that must succeed and have nothing to say; its output."""
    done = run(*args, **options)
    assert (done.status, done.err) == (0, ""), done
    return done.out


def document(*args: Any, status: int = 0, **options: Any) -> dict[str, Any]:
    """Run a command with --json."""
    done = run(*args, "--json", **options)
    assert done.status == status, done
    return json.loads(done.out)


def refused(*args: Any, status: int = 2) -> str:
    """Run a command that must fail with one sentence; that sentence."""
    done = run(*args)
    assert (done.status, done.out) == (status, ""), done
    assert done.err.startswith("decache") and done.err.count("\n") == 1, done.err
    return done.err


def on_terminal(*args: object, columns: int = 80, code: str = "", **variables: str) -> str:
    """Run the command with a terminal as its output; what it wrote there."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    start = ["-c", code] if code else ["-m", "decache"]
    kept = {name: value for name, value in environment().items() if name != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, *start, *map(str, args)], stdin=subprocess.DEVNULL,
        stdout=child, stderr=child,
        env={**kept, "TERM": "xterm", **variables},
    )
    os.close(child)
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([parent], [], [], 1.0)[0]:
            continue
        try:
            chunk = os.read(parent, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(parent)
    assert process.wait() == 0, shown
    return shown.decode().replace("\r\n", "\n")


def run_as_nobody(*args: Any) -> Done:
    """Run the command as a user without rights."""
    return Done(*in_child(_main_as_nobody, list(map(str, args))))


def _main_as_nobody(args: list[str]) -> tuple[int, str, str]:
    become_nobody()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = _command.main(args)
        except SystemExit as error:
            status = error.code
    return status, out.getvalue(), err.getvalue()


def rows_of(text: str) -> list[list[str]]:
    """The cells of a table, which has two spaces or more between columns; without its head."""
    lines = text.rstrip("\n").split("\n")
    assert all(len(line) <= 80 for line in lines), max(lines, key=len)
    return [re.split(r"  +", line.strip()) for line in lines[1:]]


# -- caches ----------------------------------------------------------------------------------------


def make_cache(location: Any, backend: str = "cas", **options: Any) -> joblib.Memory:
    """A cache with eight results: first(0..3), second(0..2), small("x").

    LARGE is in seven of them; second has three more arrays, of the same size.
    """
    if backend == "cas":
        options.setdefault("backend_options", {"large_array_threshold": THRESHOLD})
    joblib.memory._FUNCTION_HASHES.clear()  # else sources go only into the first cache
    memory = joblib.Memory(str(location), backend=backend, verbose=0, **options)
    for seed in range(4):
        memory.cache(_cached.first)(seed)
    for seed in range(3):
        memory.cache(_cached.second)(seed)
    memory.cache(_cached.small)("x")
    assert backend != "cas" or len(memory.store_backend.get_items()) == sum(RESULTS.values())
    return memory


RESULTS = {"_cached/first": 4, "_cached/second": 3, "_cached/small": 1}
ARRAYS = 4


def container_of(location: Any) -> Path:
    """The container of a cache."""
    (path,) = Path(location).rglob("blobs.h5")
    return path


def make_waste(path: Any) -> None:
    """Store results and remove them, so that a compaction makes the metadata anew."""
    with decache.Store(path) as store:
        raw = store._handle.raw
        batch = raw.batch()
        for number in range(100):
            batch.set_item("waste", str(number), b"x" * 4000, "{}", [])
        batch.commit()
        batch = raw.batch()
        batch.remove("waste", None)
        batch.commit()


def disk_bytes(path: Any) -> int:
    """What the disk has of a container."""
    return os.stat(path).st_blocks * 512


def holds(path: Any) -> decache.Totals:
    """What a container holds."""
    with decache.Store(path, create=False, read_only=True) as store:
        return store.stat()


def is_whole(path: Any) -> bool:
    """Does a container pass the check with SHA-256?"""
    with decache.Store(path, create=False, read_only=True) as store:
        return [one for one in store.verify("full") if one.is_error] == []


def flip_large(path: Any) -> str:
    """Flip one bit in the bytes of LARGE in a container; the name of the blob."""
    with decache.Store(path, create=False, read_only=True) as store:
        infos = [store.info(name) for name in store]
    (info,) = [one for one in infos if one.links == 7]
    with open(path, "r+b") as file:
        file.seek(info.offset + 1234)
        byte = file.read(1)[0]
        file.seek(info.offset + 1234)
        file.write(bytes([byte ^ 4]))
    return info.id


def make_empty(path: Path) -> Path:
    """A container with nothing in it."""
    decache.Store(path).close()
    return path


def make_unopenable(path: Path) -> Path:
    """A container whose beginning was written over."""
    with open(path, "r+b") as file:
        file.write(os.urandom(4096))
    return path


# -- a busy container ------------------------------------------------------------------------------

_WRITER = """\
import sys, time
import joblib, numpy as np, decache

memory = joblib.Memory(sys.argv[1], backend="cas", verbose=0,
                       backend_options={"large_array_threshold": 1000})

@memory.cache
def busy(number):
    return np.full(2048, float(number))

for number in range(10**9):
    assert busy(number)[0] == number
    busy.call_and_shelve(number - 20).clear()
    print(number, flush=True)
"""


class Writer:
    """A process that stores and removes results without end, each about 20 times alive."""

    def __init__(self, location: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "always::decache.CacheWarning", "-c", _WRITER, str(location)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment(),
        )
        os.set_blocking(self._process.stdout.fileno(), False)
        self._seen = b""
        self.wait_for(30)

    def count(self) -> int:
        """How many results it has stored so far."""
        while chunk := self._process.stdout.read(1 << 16):
            self._seen += chunk
        return self._seen.count(b"\n")

    def wait_for(self, more: int) -> None:
        """Wait until it has stored so many more; it must not have ended."""
        target = self.count() + more
        deadline = time.monotonic() + 60
        while self.count() < target:
            assert self._process.poll() is None, self._process.stderr.read().decode()
            assert time.monotonic() < deadline, "the writer is stuck"
            time.sleep(0.005)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with self._process.stderr as stderr:
            said = stderr.read().decode()
        assert "CacheWarning: " not in said, said


@contextlib.contextmanager
def busy(location: Any) -> Iterator[Writer]:
    """Have somebody write to a cache, all the time, without any trouble."""
    writer = Writer(location)
    try:
        yield writer
        writer.wait_for(5)
    finally:
        writer.stop()


def hits(location: Any, calls: list[tuple[str, Any]], backend: str = "cas") -> int:
    """Call functions in a new process; how many were answered from the cache.

    Every answer is compared with what the function returns.
    """
    done = subprocess.run(
        [sys.executable, "-c", _CALLER, str(location), backend, json.dumps(calls)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(),
        timeout=120, check=False,
    )
    assert done.returncode == 0, done.stderr
    asked, computed = map(int, done.stdout.split())
    assert asked == len(calls) > 0
    return asked - computed


_CALLER = """\
import json, sys
import decache, joblib, _cached

memory = joblib.Memory(sys.argv[1], backend=sys.argv[2], verbose=0,
                       backend_options={"large_array_threshold": 1000})
calls = json.loads(sys.argv[3])
answers = [memory.cache(_cached.FUNCTIONS[name])(argument) for name, argument in calls]
computed = len(_cached.CALLS)
for (name, argument), answer in zip(calls, answers, strict=True):
    expected = _cached.FUNCTIONS[name](argument)
    assert _cached.same(answer, expected), (name, argument, type(answer))
print(len(calls), computed)
"""

CALLS = (
    [("first", seed) for seed in range(4)]
    + [("second", seed) for seed in range(3)]
    + [("small", "x")]
)


def arrays_equal(left: Any, right: Any) -> bool:
    """The same dtype, shape and bytes."""
    left, right = np.asarray(left), np.asarray(right)
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.tobytes() == right.tobytes()
    )
