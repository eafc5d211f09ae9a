# SPDX-License-Identifier: MIT
"""Results to pickles and arrays, without the store.

`dump` pickles a result with the C pickler, protocol 5, and takes out of the stream on the way
whatever is large:

* arrays, wherever they hide, through the pickler's ``reducer_override``. It is called only for
  objects that have no code of their own in the pickler, so that a million ints cost nothing,
  and the hook itself is in C (``_h5store.PickleHook``). The array's place in the stream is a
  call of `_rebuild.array` with an out-of-band buffer, so pickle's own memo keeps identity:
  ``[a, a]`` is one array after loading.
* buffers of others (Arrow), through ``buffer_callback``.
* bytes, bytearrays and strings: the C pickler hands payloads of 64 KiB or more to ``write`` as
  they are, between the frames. They become parts of the stream that lie elsewhere.

Everything else, and so every type, cycle and identity, is left to pickle.

What is stored as an item's output is the stream with a small table of its parts before it;
`Layout` has the bytes.
"""

from __future__ import annotations

import copyreg
import io
import math
import pickle
import struct
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from . import _dtype, _h5store, _rebuild

PROTOCOL = 5

#: Parts of the stream longer than this are stored as blobs, shorter ones in the item.
STREAM_LIMIT = 64 * 1024

#: Opcodes whose payload the C pickler writes by itself, and the bytes of the length after them.
_PAYLOAD_OPCODES = {b"B": 4, b"X": 4, b"\x8e": 8, b"\x8d": 8, b"\x96": 8}


@dataclass
class Pickled:
    """A result in pieces.

    Attributes
    ----------
    arrays : list of numpy.ndarray
        One for each out-of-band buffer, in the order in which the unpickler will ask for them.
        Exact ndarrays of any shape, order and dtype without references.
    parts : list of bytes or numpy.ndarray
        The pickle stream is all of these, one after the other. Arrays are to be stored as
        blobs: uint8, or typed where the bytes are known to be those of an array.
    """

    arrays: list[np.ndarray] = field(default_factory=list)
    parts: list[Any] = field(default_factory=list)


def dump(result: Any, threshold: int) -> Pickled:
    """Pickle a result.

    Parameters
    ----------
    result : object
    threshold : int
        Arrays and buffers of more bytes than this are taken out of the stream.

    Returns
    -------
    Pickled

    Raises
    ------
    Exception
        Whatever pickling the result raises.
    """
    return _Dump(threshold).run(result)


class _Pickler(pickle.Pickler):
    """The C pickler; a subclass so that its instances take a ``reducer_override``."""


class _Dump:
    """One run of the pickler."""

    def __init__(self, threshold: int) -> None:
        self._pickled = Pickled()
        self._threshold = threshold
        self._part = io.BytesIO()  # the current part
        self._tail = b""  # its last bytes
        self._typed: dict[int, tuple[bytes, np.ndarray]] = {}  # by id() of the bytes
        self._our_buffer: pickle.PickleBuffer | None = None

    def run(self, result: Any) -> Pickled:
        hook = _h5store.PickleHook(self._threshold, self._on_array, self._on_buffer)
        pickler = _Pickler(self, PROTOCOL, buffer_callback=hook.buffer)
        pickler.reducer_override = hook.reduce  # type: ignore[method-assign]
        pickler.dump(result)
        self._end_part()
        return self._pickled

    # -- the stream ----------------------------------------------------------------------------

    def write(self, chunk: Any) -> None:
        """Take a piece of the stream from the pickler: frames, or one large payload."""
        if isinstance(chunk, pickle.PickleBuffer):  # of an array that stays in the stream
            chunk = chunk.raw()
        if len(chunk) > max(self._threshold, STREAM_LIMIT) and self._is_payload(len(chunk)):
            self._end_part()
            typed = self._typed.get(id(chunk))
            array = np.frombuffer(chunk, np.uint8) if typed is None else typed[1]
            self._pickled.parts.append(array)
        else:
            self._part.write(chunk)
            self._tail = bytes(chunk[-9:])

    def _is_payload(self, length: int) -> bool:
        """Does the stream so far end with an opcode that announces this many bytes?"""
        end = self._tail
        return any(
            end[-size - 1 : -size] == opcode and int.from_bytes(end[-size:], "little") == length
            for opcode, size in _PAYLOAD_OPCODES.items()
        )

    def _end_part(self) -> None:
        part, self._part = self._part, io.BytesIO()
        size = part.tell()
        if size > STREAM_LIMIT:
            self._pickled.parts.append(np.frombuffer(part.getbuffer(), np.uint8))
        elif size > 0:
            self._pickled.parts.append(part.getvalue())

    # -- arrays and buffers --------------------------------------------------------------------

    def _on_buffer(self, buffer: pickle.PickleBuffer) -> bool:
        """Take a large buffer that is not of an array of ours; false: it is out of band."""
        if buffer is self._our_buffer:
            return False
        try:
            flat = buffer.raw()
        except BufferError:  # not contiguous: the pickler will say so
            return True
        self._pickled.arrays.append(np.frombuffer(flat, np.uint8))
        return False

    def _out_of_band(self, array: np.ndarray) -> pickle.PickleBuffer:
        """Note an array; the object stands for it in what is handed to the pickler."""
        self._pickled.arrays.append(array)
        self._our_buffer = pickle.PickleBuffer(bytearray())
        return self._our_buffer

    def _on_array(self, array: np.ndarray) -> Any:
        """Reduce a large array of any class."""
        cls = type(array)
        if cls in copyreg.dispatch_table or not _dtype.is_storable(array.dtype):
            return NotImplemented
        if cls is np.ndarray:
            return self._reduce_array(array)
        if _pickles_as(cls, np.ndarray):
            return self._reduce_subclass(array)
        if _pickles_as(cls, np.ma.MaskedArray):
            return self._reduce_masked(array)
        return self._reduce_own(array)

    def _reduce_array(self, array: np.ndarray) -> tuple[Any, ...]:
        axes = None
        if not array.flags.c_contiguous and not array.flags.f_contiguous:
            array, axes = _permuted(array)
        args: tuple[Any, ...] = ()
        dtype = None if _dtype.is_plain(array.dtype) else array.dtype
        writeable = array.flags.writeable or not _keeps_read_only(array)
        if dtype is not None or not writeable or axes is not None:
            args = (dtype, writeable, axes)
        return _rebuild.array, (self._out_of_band(array), *args)

    def _reduce_subclass(self, array: np.ndarray) -> tuple[Any, ...]:
        args = () if _dtype.is_plain(array.dtype) else (array.dtype,)
        plain = array.view(np.ndarray)
        return _rebuild.subclass, (type(array), self._out_of_band(plain), *args)

    def _reduce_masked(self, array: Any) -> tuple[Any, ...]:
        # Both go through the hook again. That is where their size is looked at.
        data = array.view(np.ndarray)
        if not data.flags.writeable:  # a flag that pickling drops for masked arrays
            data = data.copy()
        mask = np.ma.getmaskarray(array)
        args = (type(array), array._baseclass, data, mask, array._fill_value)
        return _rebuild.masked, args

    def _reduce_own(self, array: np.ndarray) -> Any:
        """Leave a subclass to its own ``__reduce__``, which puts the values into bytes.

        Where these are seen to be the values of an array, they are stored with its type. At
        loading the class gets its bytes back.
        """
        reduced = array.__reduce_ex__(PROTOCOL)
        if isinstance(reduced, tuple) and len(reduced) > 2:
            self._note_state(reduced[2])
        return reduced

    def _note_state(self, state: Any, depth: int = 0) -> None:
        """Find ``(..., shape, dtype, fortran, bytes, ...)`` in a state, as ndarray makes it."""
        if not isinstance(state, tuple) or depth > 3:
            return
        for member in state:
            self._note_state(member, depth + 1)
        for start in range(len(state) - 3):
            shape, dtype, fortran, data = state[start : start + 4]
            if (
                isinstance(shape, tuple)
                and isinstance(dtype, np.dtype)
                and isinstance(data, bytes)
                and not dtype.hasobject
                and _dtype.is_storable(dtype)
                and len(data) == math.prod(shape) * dtype.itemsize
            ):
                values = np.ndarray(shape, dtype, data, order="F" if fortran else "C")
                self._typed[id(data)] = (data, values)


def _pickles_as(cls: type, base: type) -> bool:
    """Is a class a subclass of another and pickled by its methods?"""
    names = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
    return issubclass(cls, base) and all(
        getattr(cls, name, None) is getattr(base, name, None) for name in names
    )


def _permuted(array: np.ndarray) -> tuple[np.ndarray, tuple[int, ...] | None]:
    """Return an array with its axes such that it lies in one piece, and how to undo it.

    An array for which there is no such order is returned as it is.
    """
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    turned = array.transpose(order)
    if not turned.flags.c_contiguous:
        return array, None
    return turned, tuple(int(axis) for axis in np.argsort(order))


def _keeps_read_only(array: np.ndarray) -> bool:
    """Does plain pickle keep this array read-only? It does where it can take its buffer."""
    if not array.flags.c_contiguous and not array.flags.f_contiguous:
        return False
    try:
        memoryview(array)  # type: ignore[arg-type]
    except (ValueError, TypeError, BufferError):  # dates, and types of others
        return False
    return True


# -- the bytes of an item's output -------------------------------------------------------------

_MAGIC = b"dcr\x01"
_HEAD = struct.Struct("<4sII")  # magic, count of buffers, count of parts
_PART = struct.Struct("<QI")  # length, link or INLINE
_INLINE = 0xFFFFFFFF


class Layout(NamedTuple):
    """The table at the start of an item's output.

    =====  ========================================================================
    bytes
    =====  ========================================================================
    4      ``64 63 72 01``: "dcr", version 1
    4      number of buffers; their blobs are links 0, 1, 2 ... in this order
    4      number of parts of the pickle stream
    12 x   for each part: 8 bytes of length, 4 bytes: the link whose blob holds it, or
           ff ff ff ff if it stands here
    rest   the parts that stand here, one after the other
    =====  ========================================================================

    All numbers are little-endian.

    Attributes
    ----------
    buffers : int
    parts : tuple of (int, int or None, memoryview or None)
        Length, link, bytes.
    """

    buffers: int
    parts: tuple[tuple[int, int | None, memoryview | None], ...]


def encode(buffers: int, parts: list[tuple[bytes | None, int, int | None]]) -> bytes:
    """Return an output.

    Parameters
    ----------
    buffers : int
        Links 0 to ``buffers - 1`` are out-of-band buffers.
    parts : list of (bytes or None, int, int or None)
        Bytes of a part that stands inline; its length; the link that holds it instead.
    """
    pieces = [_HEAD.pack(_MAGIC, buffers, len(parts))]
    pieces += [_PART.pack(length, _INLINE if link is None else link) for _, length, link in parts]
    pieces += [inline for inline, _, _ in parts if inline is not None]
    return b"".join(pieces)


def decode(output: bytes) -> Layout:
    """Read the table of an output.

    Raises
    ------
    ValueError
        It is not an output of this format.
    """
    view = memoryview(output)
    if output[: len(_MAGIC)] != _MAGIC:
        raise ValueError("the stored output is of an unknown version")
    if len(view) < _HEAD.size:
        raise ValueError("the stored output is cut short")
    _, buffers, count = _HEAD.unpack_from(view)
    at = _HEAD.size + count * _PART.size
    if at > len(view):
        raise ValueError("the stored output is cut short")

    parts: list[tuple[int, int | None, memoryview | None]] = []
    for length, link in _PART.iter_unpack(view[_HEAD.size : at]):
        if link == _INLINE:
            parts.append((length, None, view[at : at + length]))
            at += length
        else:
            parts.append((length, link, None))
    if at != len(view):
        raise ValueError("the stored output is not as long as its table says")
    return Layout(buffers, tuple(parts))
