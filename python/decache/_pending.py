# SPDX-License-Identifier: MIT
"""A result between its dump and its commit."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import threading
import time

from . import _arrays, _h5store, _pickler, _shared
from ._warnings import logger


class Pending:
    """A batch with one result, whose arrays are written and which waits for its commit.

    Parameters
    ----------
    shared : _shared.SharedStore
    call_id : tuple of str
        joblib's name of the call.
    names : tuple of str
        Collection and key.
    pickled : _pickler.Pickled
    level : int
        At which its arrays are deflated; 0: not at all.
    """

    def __init__(
        self,
        shared: _shared.SharedStore,
        call_id: tuple[str, ...],
        names: tuple[str, str],
        pickled: _pickler.Pickled,
        level: int = 0,
    ) -> None:
        self.call_id = call_id
        self._shared = shared
        self._names = names
        self._pickled = pickled
        self._level = level
        self._metadata = json.dumps({"time": time.time()})
        self._thread = threading.current_thread()
        self._pid = os.getpid()
        self._batch: _h5store.Batch | None = shared.run(self._write, commits=True)
        _waiting.add(self)

    def set_metadata(self, text: str) -> None:
        """Say what metadata the result is committed with."""
        self._metadata = text

    def commit(self, why: str = "") -> None:
        """Make it so.

        Parameters
        ----------
        why : str
            Why the result had to be computed, for the statistics.

        Raises
        ------
        Error, OSError
            Nothing is stored.
        """
        _waiting.discard(self)
        batch, self._batch = self._batch, None
        if batch is None or self._pid != os.getpid():
            return  # of the parent process, which commits it
        self._shared.run(self._store, [batch], why, commits=True)
        self._shared.end_pauses()

    def _store(self, handle: _arrays.Handle, batches: list[_h5store.Batch], why: str) -> None:
        """Commit the batch; if that is gone, having been tried before, write it again."""
        handle.raw.note("miss", *self._names, why)
        with contextlib.suppress(
            _h5store.ChangedError, _h5store.PoisonedError, _h5store.ClosedError
        ):
            if batches:
                return self._finish(batches.pop())
        # The container was deleted or replaced since: write everything to the new one.
        self._finish(self._write(handle))

    def _write(self, handle: _arrays.Handle) -> _h5store.Batch:
        batch = handle.raw.batch()
        batch.compress(self._level)
        put_result(batch, self._names, self._pickled, self._metadata)
        return batch

    def _finish(self, batch: _h5store.Batch) -> None:
        batch.set_metadata(*self._names, self._metadata)
        batch.commit()


def put_result(
    batch: _h5store.Batch, names: tuple[str, str], pickled: _pickler.Pickled, metadata: str
) -> int:
    """Write the arrays of a result and put it into a batch.

    Returns
    -------
    int
        Bytes of output and metadata.
    """
    arrays = list(pickled.arrays)
    parts: list[tuple[bytes | None, int, int | None]] = []
    for part in pickled.parts:
        if isinstance(part, bytes):
            parts.append((part, len(part), None))
        else:
            parts.append((None, part.nbytes, len(arrays)))
            arrays.append(part)
    links = _arrays.put_all(batch, arrays)
    output = _pickler.encode(len(pickled.arrays), parts)
    batch.set_item(*names, output, metadata, links)
    return len(output) + len(metadata.encode())


#: Strong references: a thread's own are gone with it.
_waiting: set[Pending] = set()


def waiting() -> bool:
    """Does any result of this process wait for its commit?"""
    return bool(_waiting)


def commit_abandoned() -> None:
    """Commit what threads left that have ended before the metadata came.

    Raises
    ------
    Error, OSError
        One of them is not stored.
    """
    for pending in list(_waiting):
        if not pending._thread.is_alive():
            pending.commit()


def _commit_all() -> None:
    """At exit: results whose metadata never came, since the call was interrupted."""
    for pending in list(_waiting):
        try:
            pending.commit()
        except Exception as error:  # nobody is left to tell but the log
            logger.warning("storing %s: %s", pending.call_id, error)


# Run before _shared closes the containers: handlers run in reverse order.
atexit.register(_commit_all)
