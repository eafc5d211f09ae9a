# SPDX-License-Identifier: MIT
"""The joblib store backend "cas".

joblib calls `dump_item` and then `store_metadata` for each computed result. The former pickles
the result and writes its arrays, the latter commits: one call of the user's function is one
atomic commit. In between the commit waits in the thread that computed the result; whatever else
that thread asks of the cache first, the waiting commit is made before it.

Nothing here makes the user's call fail: every method catches what goes wrong, says it in one
warning, and answers so that joblib computes the result. With mmap_mode joblib loads what it has
just dumped; the result is kept until then, to be given back if it is not there: it could not be
stored, or another process removed it at once.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from joblib._store_backends import CacheItemInfo, StoreBackendBase, StoreBackendMixin
from joblib.logger import format_time

from . import _arrays, _h5store, _limits, _metadata, _names, _pending, _pickler, _shared, _unpickler
from ._location import prepare
from ._options import Options
from ._pending import Pending, commit_abandoned
from ._warnings import warn

T = TypeVar("T")

CONTAINER_NAME = "blobs.h5"

#: What is told of an item whose metadata cannot be read: so old that any callback that looks
#: at its age lets it be computed again.
_UNKNOWN_METADATA = {"duration": 0.0, "input_args": {}, "time": 0.0}


#: Bytes of arrays that may stay pinned between a question and the next.
_SMALL = 4 << 20


#: Most results that wait for metadata. Those of calls that were interrupted wait for ever.
_DUMPED_MOST = 8


#: Most names that are remembered of what was removed, to say why it is missing.
_GONE_MOST = 10_000


class _Kept(NamedTuple):
    """A result between `dump_item` and `load_item`.

    All the while joblib has it too, so a weak reference is enough where the type knows any.
    """

    call_id: tuple[str, ...]
    held: Any  # the result, or a reference to it
    is_weak: bool
    failed: bool  # it could not be dumped, and that was said


class _ThreadState(threading.local):
    """What a thread has in hand between two calls of the backend."""

    pending: Pending | None = None
    #: Results that were dumped, until their metadata come. There are several when joblib, which
    #: then asks for the texts of the arguments, so comes to call other cached functions.
    dumped: tuple[_Kept, ...] = ()
    kept: _Kept | None = None  # until it is loaded, or anything else is asked for
    #: A call, its metadata, until they are asked for, and the result as it was looked up, if
    #: that is small.
    contained: tuple[tuple[str, ...], str | None, _h5store.Item | None] | None = None
    missed: tuple[tuple[str, ...], str] | None = None  # a call, and why it was not there


class ContentAddressableStoreBackend(StoreBackendBase, StoreBackendMixin):
    """Results in ``<location>/blobs.h5``, every large array once.

    See ``joblib.Memory(location, backend="cas", backend_options={...})`` and `Options`.
    """

    def configure(
        self, location: str, verbose: int = 1, backend_options: dict[str, Any] | None = None
    ) -> None:
        """Set up the cache in a folder; called by joblib.

        Raises
        ------
        ValueError, TypeError
            An option is unknown or out of range.
        """
        options = Options.parse(backend_options)
        mmap_mode = options.mmap_mode
        if mmap_mode in ("r+", "w+"):
            warn(
                f"mmap_mode {mmap_mode!r} would change arrays that other results share; "
                "the 'cas' backend takes it for 'c': changes stay in memory."
            )
            mmap_mode = "c"
        self.location = location
        self.verbose = verbose
        self.compress = options.compress
        self.mmap_mode = mmap_mode
        self._options = options
        self._limits = _limits.Limits(options.bytes_limit, options.items_limit, options.age_limit)
        prepare(location)
        self._connect()

    def _connect(self, linger: bool = False) -> None:
        path = os.path.join(os.path.abspath(self.location), CONTAINER_NAME)
        self._shared = _shared.get(path, self._options, linger)
        self._thread = _ThreadState()
        self._keeper = _limits.Keeper(self._limits)
        #: What this object removed, and why; the latest at the end.
        self._gone: collections.OrderedDict[tuple[str, ...], str] = collections.OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        state = self.__dict__.copy()
        del state["_shared"], state["_thread"], state["_keeper"], state["_gone"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect(linger=True)

    # -- storing -------------------------------------------------------------------------------

    def dump_item(self, call_id: Sequence[str], item: Any, verbose: int = 1) -> None:
        """Pickle a result and write its arrays; `store_metadata` commits."""
        self._settle()
        if verbose > 10:
            print(f"Persisting in {self._show(call_id)}")
        pickled = pending = None
        try:
            pickled = _pickler.dump(item, self._options.large_array_threshold)
        except Exception as error:
            warn(
                f"The result of {_call(call_id)} is not cached, since it cannot be pickled: "
                f"{type(error).__name__}: {error}"
            )
        if pickled is not None:
            with _Telling(f"The result of {_call(call_id)} is not cached"):
                names = _names.split_call(call_id)
                pending = Pending(
                    self._shared, tuple(call_id), names, pickled, self._options.compress
                )
        # Not before: pickling may have called other cached functions.
        self._thread.pending = pending
        self._keep(call_id, item, pending is None)

    def store_metadata(self, call_id: Sequence[str], metadata: dict[str, Any]) -> None:
        """Commit the result just dumped, or change the metadata of a stored one."""
        state = self._thread
        pending, state.pending = state.pending, None
        state.contained = state.kept = None
        if pending is not None and pending.call_id != tuple(call_id):
            self._commit(pending)
            pending = None
        dumped = self._take_dumped(call_id)
        if dumped is not None and (dumped.is_weak or self.mmap_mode or _is_mapped_by_caller()):
            state.kept = dumped
        if dumped is not None and dumped.failed:
            return
        with _Telling(f"The metadata of {_call(call_id)} are not stored"):
            text = _metadata.encode(call_id, metadata)
            if pending is not None:
                pending.set_metadata(text)
            else:
                collection, key = _names.split_call(call_id)
                self._change(lambda batch: batch.set_metadata(collection, key, text))
        if pending is not None:
            self._commit(pending)

    def _commit(self, pending: Pending) -> None:
        missed, why = self._thread.missed or (None, "")
        if missed != pending.call_id:
            why = "the function was not asked for before, or was changed"
        with _Telling(f"The result of {_call(pending.call_id)} is not cached"):
            pending.commit(why)
        if self._keeper.is_needed:
            with _Telling(f"The limits of {self._shared.path} are not kept"):
                self._keep_limits(pending.call_id)

    def _keep_limits(self, call_id: Sequence[str]) -> None:
        names = _names.split_call(call_id)
        removed, too_large = self._shared.run(
            lambda handle: self._keeper.after_put(handle.raw, names), commits=True
        )
        for entry in removed[-1000:]:
            self._note_gone(entry.names, "it was removed to keep the limits")
        if too_large:
            warn(
                f"The result of {_call(call_id)} is larger than the bytes_limit of "
                f"{self._limits.bytes:,} bytes: with it the cache {self._shared.path} takes "
                f"{too_large:,} bytes. It is stored all the same; all others were removed."
            )

    def _settle(self) -> None:
        """Commit what this thread has in hand, before it asks for anything else."""
        state = self._thread
        pending, state.pending = state.pending, None
        state.kept = state.contained = None
        if pending is not None:
            self._commit(pending)
        if _pending.waiting():
            with _Telling("A result of a thread that has ended is not cached"):
                commit_abandoned()

    def _change(self, change: Callable[[_h5store.Batch], None]) -> None:
        """Commit one change."""

        def run(handle: _arrays.Handle) -> None:
            batch = handle.raw.batch()
            change(batch)
            batch.commit()

        self._shared.run(run, commits=True)
        self._shared.end_pauses()

    # -- a result between dump_item and load_item ----------------------------------------------

    def _keep(self, call_id: Sequence[str], item: Any, failed: bool) -> None:
        is_weak = type(item).__weakrefoffset__ != 0
        held = weakref.ref(item) if is_weak else item
        state = self._thread
        one = _Kept(tuple(call_id), held, is_weak, failed)
        state.dumped = (*state.dumped[1 - _DUMPED_MOST :], one)

    def _take_dumped(self, call_id: Sequence[str]) -> _Kept | None:
        """Return a result that waited for its metadata.

        Those that were dumped later go: their calls were made inside of this one, and did not end.
        """
        state, names = self._thread, tuple(call_id)
        dumped = state.dumped
        for at in range(len(dumped) - 1, -1, -1):
            if dumped[at].call_id == names:
                state.dumped = dumped[:at]
                return dumped[at]
        return None

    # -- loading -------------------------------------------------------------------------------

    def load_item(
        self,
        call_id: Sequence[str],
        verbose: int = 1,
        timestamp: float | None = None,
        metadata: dict[str, Any] | None = None,
        msg: str | None = None,
    ) -> Any:
        """Return a stored result.

        Raises
        ------
        KeyError
            There is none, or it cannot be read, and then a warning says why. joblib runs the
            function.
        """
        if verbose > 1:
            text = msg or _loading_message(call_id, timestamp, metadata)
            print(f"{text}..." if verbose < 10 else f"{text} from {self._show(call_id)}")

        kept = self._thread.kept
        contained = self._thread.contained
        found = contained[2] if contained and contained[0] == tuple(call_id) else None
        self._settle()
        try:
            return self._shared.run(self._load, _names.split_call(call_id), found)
        except Exception as error:
            if kept is not None and kept.call_id == tuple(call_id):
                if not kept.is_weak:
                    return kept.held
                item = kept.held()
                if item is not None:
                    return item
            if isinstance(error, _h5store.NotFoundError):
                message = f"Non-existing item (may have been cleared): {self._show(call_id)}"
                raise KeyError(message) from None
            self._thread.missed = tuple(call_id), f"it was damaged: {_sentence(error)}"
            self._note_heal(call_id)
            warn(self._loading_failed(call_id, error))
            raise KeyError(f"{self._show(call_id)} cannot be read: {error}") from error

    def _load(
        self, handle: _arrays.Handle, names: tuple[str, str], found: _h5store.Item | None
    ) -> Any:
        item = handle.raw.item(*names) if found is None else found
        check, mode = self._options.verify, self.mmap_mode
        if mode is None:
            result = _unpickler.load(item, check, lambda blob: _arrays.read(blob, check))
        else:
            _keep_from_joblib_workers(handle.path)
            result = _unpickler.load(item, check, lambda blob: handle.map(blob, mode))
        handle.raw.note("hit", *names)
        return result

    def _note_heal(self, call_id: Sequence[str]) -> None:
        with contextlib.suppress(Exception):  # the warning about the result says enough
            names = _names.split_call(call_id)
            self._shared.run(lambda handle: handle.raw.note("heal", *names))

    def _note_gone(self, names: tuple[str, ...], why: str) -> None:
        self._gone[names] = why
        if len(self._gone) > _GONE_MOST:
            self._gone.popitem(last=False)

    def _why_missing(self, names: tuple[str, str]) -> str:
        gone = self._gone.get(names) or self._gone.get(names[:1])
        return gone or "nothing was stored for these arguments"

    def _loading_failed(self, call_id: Sequence[str], error: Exception) -> str:
        what = f"The cached result of {_call(call_id)} in {self._shared.path}"
        if isinstance(error, _unpickler.BlobError):
            cause = error.__cause__
            return f"{what} is computed again, since its blob {error.blob_id} is lost: {cause}"
        return f"{what} is computed again, since it cannot be read: {_sentence(error)}"

    # -- asking --------------------------------------------------------------------------------

    def contains_item(self, call_id: Sequence[str]) -> bool:
        """Is there a result with all its arrays?

        Its metadata are read on the way, since joblib asks for them next.
        """
        self._settle()
        try:
            names = _names.split_call(call_id)
            found = self._shared.run(_look, names)
        except _h5store.NotFoundError:  # since it was looked at
            found = None
        except Exception as error:
            warn(f"The cache is not asked for {_call(call_id)}: {_sentence(error)}")
            return False
        if found is None:
            self._thread.missed = tuple(call_id), self._why_missing(names)
            return False
        self._thread.contained = (tuple(call_id), *found)
        return True

    def get_metadata(self, call_id: Sequence[str]) -> dict[str, Any]:
        """Return the metadata of a result, or {} if there is none."""
        contained = self._thread.contained
        self._settle()
        try:
            if contained and contained[0] == tuple(call_id) and contained[1] is not None:
                self._thread.contained = (contained[0], None, contained[2])
                return _metadata.decode(contained[1])
            names = _names.split_call(call_id)
            return _metadata.decode(self._shared.run(lambda one: one.raw.get_metadata(*names)))
        except _h5store.NotFoundError:
            return {}
        except Exception as error:
            warn(f"The metadata of {_call(call_id)} cannot be read: {_sentence(error)}")
            return dict(_UNKNOWN_METADATA)

    def get_item_info(self, call_id: Sequence[str]) -> dict[str, Any]:
        """Return where a result is."""
        return {"location": self._show(call_id)}

    def contains_path(self, call_id: Sequence[str]) -> bool:
        """Is anything stored for a function?"""
        self._settle()
        with _Telling(f"The cache is not asked for {_show_function(call_id)}"):
            collection = _names.collection_name(call_id)
            return self._shared.run(
                lambda handle: next(iter(handle.raw.items(collection)), None) is not None
            )
        return False

    # -- functions -----------------------------------------------------------------------------

    def store_cached_func_code(
        self, call_id: Sequence[str], func_code: str | None = None
    ) -> None:
        """Store the source of a function; without source there is nothing to do."""
        self._settle()
        if func_code is None:
            return
        with _Telling(f"The source of {_show_function(call_id)} is not stored"):
            collection = _names.collection_name(call_id)
            text = func_code.replace("\0", "\\0")
            self._change(lambda batch: batch.set_source(collection, text))

    def get_cached_func_code(self, call_id: Sequence[str]) -> str:
        """Return the source of a function.

        Raises
        ------
        OSError
            It is not there or cannot be read; joblib stores it then.
        """
        self._settle()
        try:
            collection = _names.collection_name(call_id)
            return self._shared.run(lambda handle: handle.raw.get_source(collection))
        except _h5store.NotFoundError:
            raise FileNotFoundError(f"no source of {_show_function(call_id)}") from None
        except Exception as error:
            text = f"The source of {_show_function(call_id)} cannot be read: {_sentence(error)}"
            warn(text)
            raise OSError(text) from error

    def get_cached_func_info(self, call_id: Sequence[str]) -> dict[str, Any]:
        """Return where a function's results are."""
        return {"location": self._show(call_id)}

    # -- removing ------------------------------------------------------------------------------

    def clear_item(self, call_id: Sequence[str]) -> None:
        """Remove a result, and the arrays that nothing else uses."""
        self._settle()
        with _Telling(f"The result of {_call(call_id)} is not removed"):
            names = _names.split_call(call_id)
            self._change(lambda batch: batch.remove(*names))

    def clear_path(self, call_id: Sequence[str]) -> None:
        """Remove all results of a function, and its source."""
        self._settle()
        with _Telling(f"The results of {_show_function(call_id)} are not removed"):
            collection = _names.collection_name(call_id)
            self._change(lambda batch: batch.remove(collection, None))
            self._note_gone((collection,), "the function was changed or cleared since")

    def clear_location(self, location: str) -> None:
        """Remove what is at a path that `get_items` told, or everything."""
        self._settle()
        self._shared.end_pauses()
        with _Telling(f"{location} is not removed"):
            names = _names.split_path(self.location, location)
            self._change(lambda batch: batch.remove(*names))

    def get_items(self) -> list[CacheItemInfo]:
        """Return path, size and time of last use of each result.

        The size counts arrays that other results share not at all: it is what removing this
        one result would free.
        """
        self._settle()
        with _Telling(f"The results in {self._shared.path} are not listed"):
            return [
                CacheItemInfo(
                    os.path.join(self.location, *entry.names),
                    entry.size,
                    datetime.datetime.fromtimestamp(entry.last_used),
                )
                for entry in self._shared.run(lambda handle: _limits.entries(handle.raw))
            ]
        return []

    def enforce_store_limits(
        self,
        bytes_limit: int | str | None,
        items_limit: int | None = None,
        age_limit: datetime.timedelta | None = None,
    ) -> None:
        """Remove the results that were not used for longest, until the limits are kept.

        Raises
        ------
        ValueError
            The age limit is negative.
        """
        limits = _limits.Limits.parse(bytes_limit, items_limit, age_limit)
        self._settle()
        self._shared.end_pauses()
        with _Telling(f"The limits of {self._shared.path} are not enforced"):
            removed = self._shared.run(
                lambda handle: _limits.enforce(handle.raw, limits), commits=True
            )
            if self.verbose > 10:
                for entry in removed:
                    print(f"Deleting item {os.path.join(self.location, *entry.names)}")

    #: The name of `enforce_store_limits` in joblib 1.2.
    reduce_store_size = enforce_store_limits

    # -- what joblib's base class asks of a store of files -------------------------------------

    def create_location(self, location: str) -> None:
        """Create a folder; joblib does not ask for it with this backend."""
        os.makedirs(location, exist_ok=True)

    def _item_exists(self, location: str) -> bool:
        collection, key = _names.split_path(self.location, location)
        if collection is None:
            return os.path.isdir(location)
        if key is None:
            return self.contains_path([collection])
        return self.contains_item([collection, key])

    def _open_item(self, f: str, mode: str) -> Any:
        raise NotImplementedError("results are not files in the 'cas' backend")

    def _move_item(self, src: str, dst: str) -> None:
        raise NotImplementedError("results are not files in the 'cas' backend")

    # -- telling -------------------------------------------------------------------------------

    def _show(self, call_id: Sequence[str]) -> str:
        return os.path.join(self.location, *call_id)


def _is_mapped_by_caller() -> bool:
    """Is the method's caller a function that was cached with an `mmap_mode` of its own?

    joblib does not tell a backend of it, but loads what it has stored.
    """
    caller = sys._getframe(2).f_locals.get("self")
    return getattr(caller, "mmap_mode", None) is not None


class _Telling:
    """Turn what goes wrong inside into a warning.

    (What a hit asks for has ``try`` instead: a text that is made and not needed takes a percent.)
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        warn(f"{self._what}: {_sentence(error)}")
        return True


def _look(
    handle: _arrays.Handle, names: tuple[str, str]
) -> tuple[str, _h5store.Item | None] | None:
    """Return the metadata of a result, and the result itself if it is small; None: there is none.

    joblib asks for the one and loads the other right after. Large results are looked up again:
    looking up pins their arrays, and a thread may ask whether there is a result and never load
    it, nor ask for anything else.
    """
    try:
        item = handle.raw.find_item(*names)
    except _h5store.DamagedError:
        return handle.raw.get_metadata(*names), None
    if item is None:
        return None
    small = item.link_count < 4 and item.linked_bytes <= _SMALL
    return item.metadata, item if small else None


def _call(call_id: Sequence[str]) -> str:
    return f"{_show_function(call_id[:-1])} (arguments {call_id[-1]})"


def _show_function(parts: Sequence[str]) -> str:
    return "/".join(parts)


def _sentence(error: BaseException) -> str:
    """What an exception says, with its class where it is not one of ours."""
    text = str(error) or type(error).__name__
    ours = isinstance(error, (_h5store.Error, OSError))
    return text if ours else f"{type(error).__name__}: {text}"


def _loading_message(
    call_id: Sequence[str], timestamp: float | None, metadata: dict[str, Any] | None
) -> str:
    """The line that joblib's own backend prints when verbose."""
    since = "" if timestamp is None else f"{format_time(time.time() - timestamp): <16}"
    return f"[Memory]{since}: Loading {_metadata.call(call_id, metadata or {})}"


def _keep_from_joblib_workers(path: str) -> None:
    """Have joblib's workers return arrays mapped from the container by value.

    joblib would send their place in the file to the parent process, where nothing pins it once
    the worker is gone. (Parents send places to workers, as they should: `_arrays.Place`.)
    """
    with contextlib.suppress(ImportError, AttributeError):
        from joblib._memmapping_reducer import JOBLIB_MMAPS

        JOBLIB_MMAPS.add(path)
