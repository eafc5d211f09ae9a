# SPDX-License-Identifier: MIT
"""One open container for all the Memory objects of a process that use it.

`SharedStore.run` is the only way to it. It opens the container when it is first needed, and
again after a fork, or when somebody deleted or replaced the file, or closed it after a failed
sync; and it sets a container aside that cannot be used.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import copy
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from . import _aside, _h5store, _neighbours
from ._arrays import Handle
from ._options import Options
from ._warnings import logger, warn

T = TypeVar("T")

#: Opening again can help after these.
_STALE = (
    _h5store.ChangedError,
    _h5store.ForkedError,
    _h5store.ClosedError,
    _h5store.PoisonedError,
)
#: Seconds for which a container that could not be opened or locked is not tried again, so
#: that a call, which asks several times, waits for the timeout once. For a lock that somebody
#: keeps they double each time, up to the latter: a process that was stopped with it costs every
#: call the timeout, and may stay stopped for days.
_PAUSE = 5.0
_LONGEST_PAUSE = 300.0
#: The file cannot be used, and never will be.
_UNUSABLE = (_h5store.NotAStoreError, _h5store.DamagedError, _h5store.ChangedError)


class _Pause(NamedTuple):
    """Until when, by the monotonic clock, something is not tried again, and why."""

    until: float
    seconds: float
    error: Exception

    def check(self) -> None:
        """Raise the error as long as the pause lasts."""
        if time.monotonic() < self.until:
            raise copy.copy(self.error)


class SharedStore:
    """A container that is opened on demand.

    Who finds that another process keeps a lock for longer than the timeout does not ask for it
    again for as long, or 5 seconds if that is less; and if it is in vain then, for twice as long
    each time, up to 5 minutes. What only reads does not wait for one that commits, so each kind
    has a pause of its own. Reading ends the one, a commit both.

    Parameters
    ----------
    path : str
    options : Options
    """

    def __init__(self, path: str, options: Options) -> None:
        self.path = path
        self._settings: dict[str, Any] = {
            "durability": options.durability,
            "timeout": options.timeout,
            "threads": options.threads,
        }
        self._patience = max(1.0, options.timeout)
        self._lock = threading.Lock()
        self._handle: Handle | None = None
        self._pause: _Pause | None = None
        self._commit_pause: _Pause | None = None

    def run(self, action: Callable[..., T], *arguments: Any, commits: bool = False) -> T:
        """Run an action on the open container, a second time if it had to be opened anew.

        It gets a `Handle`, and the arguments. Whether it may need the lock of those who commit is
        to be said with `commits`; and that it had it, by `end_pauses`.

        Raises
        ------
        Error, OSError
            The container cannot be opened, or whatever the action raises.
        """
        pause = self._commit_pause if commits else None
        if pause is not None:
            pause.check()
        handle = self.handle()
        try:
            try:
                result = action(handle, *arguments)
            except _STALE as error:
                logger.info("opening %s again: %s", self.path, error)
                self.drop(handle)
                handle = self.handle()
                if isinstance(error, _h5store.ChangedError) and not handle.told:
                    warn(f"The cache {self.path} is opened anew: {error}")
                result = action(handle, *arguments)
        except _h5store.BusyError as error:
            if commits:
                self._commit_pause = self._longer(self._commit_pause, error)
            else:
                self._pause = self._longer(self._pause, error)
            raise
        if self._pause is not None:
            self._pause = None
        self._tell(handle)
        return result

    def _longer(self, before: _Pause | None, error: Exception) -> _Pause:
        """Return the pause that follows from an error, after another one."""
        now, seconds = time.monotonic(), _PAUSE
        if before is not None and now < before.until:
            return before  # other threads waited for the same
        if isinstance(error, _h5store.BusyError):
            seconds = min(_PAUSE, self._settings["timeout"])
            if before is not None:
                seconds = min(max(2 * before.seconds, seconds), _LONGEST_PAUSE)
        # A copy: the traceback of one that was raised holds the result that was to be stored.
        return _Pause(now + seconds, seconds, copy.copy(error))

    def end_pauses(self) -> None:
        """Try everything again: a commit was possible, or the user asks for more than a result."""
        self._pause = self._commit_pause = None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock; nobody waits longer for it than for the container's, or a second.

        Whoever opens the container has it, and waits for HDF5, which another thread may be in: in
        a callback of h5py, say, that calls a cached function and so comes here.
        """
        lock, timeout = self._lock, self._patience
        if not lock.acquire(timeout=min(timeout, threading.TIMEOUT_MAX)):
            raise _h5store.BusyError(
                f"Another thread has been opening {self.path} for {timeout:g} s; call again, or "
                "give a longer timeout."
            )
        try:
            yield
        finally:
            lock.release()

    def handle(self) -> Handle:
        """Return the open container, opening it if need be."""
        handle = self._handle
        if handle is not None and self._pause is None:
            return handle
        with self._locked():
            pause = self._pause
            if pause is not None:
                pause.check()
            if self._handle is None:
                try:
                    self._handle = self._open()
                except (_h5store.Error, OSError) as error:
                    self._pause = self._longer(self._pause, error)
                    raise
            return self._handle

    def drop(self, handle: Handle) -> None:
        """Forget a handle that is of no more use; whoever comes next opens another."""
        with self._locked():
            if self._handle is handle:
                self._handle = None
        # Not closed here: other threads may be using it, and what they hold keeps it.

    def close(self) -> None:
        """Close the container; the next use opens it again."""
        with self._locked():
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def _open(self) -> Handle:
        identity = _aside.identify(self.path)
        try:
            return self._open_once()
        except _UNUSABLE as error:
            reason = error
        if identity is not None:
            try:
                moved = _aside.set_aside(self.path, identity)
            except OSError as error:
                raise reason from error
            if moved is not None:
                warn(
                    f"The cache {self.path} cannot be used: {reason} It was renamed to {moved}, "
                    "and a fresh one is started. Delete the renamed file if you do not need it."
                )
        return self._open_once()

    def _open_once(self) -> Handle:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        try:
            handle = Handle(self.path, create=True, **self._settings)
        except _h5store.ReadOnlyError:
            if not os.path.exists(self.path):
                raise
            # What is there can still be read. Storing will say why it is not possible.
            handle = Handle(self.path, read_only=True, **self._settings)
        self._tell(handle)
        return handle

    def _tell(self, handle: Handle) -> None:
        """Warn of what the container has to say, once."""
        notice = "" if handle.raw.closed else handle.raw.notice
        if notice != handle.told:
            handle.told = notice
            warn(f"The cache {self.path}: {notice}")

    def _after_fork_in_child(self) -> None:
        # A thread of the parent may have held the lock, and the handle is the parent's.
        self._lock = threading.Lock()
        self._handle = None
        self.end_pauses()


_shared: weakref.WeakValueDictionary[tuple[Any, ...], SharedStore] = weakref.WeakValueDictionary()
_shared_lock = threading.Lock()
#: The stores that were asked for last with `linger`, the latest one at the end.
_lingering: collections.OrderedDict[tuple[Any, ...], SharedStore] = collections.OrderedDict()
_LINGERING_MOST = 4


def get(path: str, options: Options, linger: bool = False) -> SharedStore:
    """Return the store for a path, the same for the same path and options.

    It is closed when nobody has it any more; with `linger` only when several others were asked
    for since, or the process ends. That is for what is unpickled: a worker gets the cached
    function anew with each task and drops it after that, and opening and closing the container
    took longer than the hit in between. (What a path leads to is then not looked up again, which
    took longer than all the rest: the same function means the same container.)
    """
    asked = (path, options.durability, options.timeout, options.threads)
    displaced = None
    with _shared_lock:
        store = _lingering.get(asked) if linger else None
    if store is None:
        key = (os.path.realpath(path), *asked[1:])
        with _shared_lock:
            store = _shared.get(key)
            if store is None:
                store = _shared[key] = SharedStore(path, options)
    if linger:
        with _shared_lock:
            _lingering[asked] = store
            _lingering.move_to_end(asked)
            if len(_lingering) > _LINGERING_MOST:
                _, displaced = _lingering.popitem(last=False)
    del displaced  # closed here, if at all, where nobody waits for the lock
    return store


def _forked() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()
    for store in list(_shared.values()):
        store._after_fork_in_child()


def _close_all() -> None:
    for store in list(_shared.values()):
        try:
            store.close()
        except Exception as error:  # nobody is left to tell but the log
            logger.warning("closing %s: %s", store.path, error)


os.register_at_fork(after_in_child=_forked)
atexit.register(_neighbours.hold_lock)  # after the next: the last registered is the first to run
atexit.register(_close_all)
