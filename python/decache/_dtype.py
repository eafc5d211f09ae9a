# SPDX-License-Identifier: MIT
"""NumPy dtypes as text, and back.

A blob's ``dtype`` attribute holds NumPy's own description, as in the header of a .npy file:
``'<f8'`` (with the quotes), ``[('x', '<i4'), ('y', '<f8', (3,))]``, padding as nameless void.
Records with titles, the aligned flag or fields that overlap, which .npy loses, take the form of
the dictionary that `numpy.dtype` accepts. FORMAT.md, "Element types", has the grammar.

Types that hold Python objects or other pointers have no description. What no text can hold (a
dtype's metadata, a subclass of its scalar type, a user's own type) is kept by the pickle of a
result beside the blob, see `is_plain`.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import Any

import numpy as np


def describe(dtype: np.dtype) -> str:
    """Return the description of a dtype.

    Parameters
    ----------
    dtype : numpy.dtype
        Any but those that hold references.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        The dtype holds Python objects or strings of variable length.
    """
    if dtype.hasobject:
        raise TypeError(f"arrays of {dtype!r} hold references and cannot be stored as a blob")
    # Records that differ in the aligned flag alone are equal: no cache for them.
    return _describe_plain(dtype) if dtype.names is None else repr(_describe(dtype))


@lru_cache(maxsize=256)
def _describe_plain(dtype: np.dtype) -> str:
    return repr(_describe(dtype))


def _describe(dtype: np.dtype) -> Any:
    if dtype.names is None:
        # A user's own type (isbuiltin 2) says nothing of itself: its bytes are stored.
        return f"|V{dtype.itemsize}" if dtype.isbuiltin == 2 else dtype.str
    if dtype.isalignedstruct or _has_titles(dtype) or not _in_sequence(dtype):
        return _describe_dict(dtype)

    fields: list[tuple[Any, ...]] = []
    end = 0
    for name, (field, offset, *_) in _fields(dtype).items():
        if offset > end:
            fields.append(("", f"|V{offset - end}"))
        fields.append((name, *_describe_field(field)))
        end = offset + field.itemsize
    if dtype.itemsize > end:
        fields.append(("", f"|V{dtype.itemsize - end}"))
    return fields


def _fields(dtype: np.dtype) -> dict[str, Any]:
    """Return the fields in their order: dtype, offset, and perhaps a title."""
    fields: Any = dtype.fields
    return {name: fields[name] for name in dtype.names or ()}


def _describe_field(field: np.dtype) -> tuple[Any, ...]:
    if field.subdtype is None:
        return (_describe(field),)
    base, shape = field.subdtype
    return (_describe(base), shape)


def _describe_dict(dtype: np.dtype) -> dict[str, Any]:
    names, fields = list(_fields(dtype)), list(_fields(dtype).values())
    described: dict[str, Any] = {"names": names, "formats": [], "offsets": []}
    for field in fields:
        parts = _describe_field(field[0])
        described["formats"].append(parts[0] if len(parts) == 1 else parts)
        described["offsets"].append(field[1])
    if _has_titles(dtype):
        described["titles"] = [field[2] if len(field) == 3 else None for field in fields]
    described["itemsize"] = dtype.itemsize
    if dtype.isalignedstruct:
        described["aligned"] = True
    return described


def _has_titles(dtype: np.dtype) -> bool:
    return any(len(field) == 3 for field in _fields(dtype).values())


def _in_sequence(dtype: np.dtype) -> bool:
    """Do the fields follow each other without overlap, so that a list can describe them?"""
    end = 0
    for field, offset, *_ in _fields(dtype).values():
        if offset < end:
            return False
        end = offset + field.itemsize
    return True


#: What the container takes of a description: bytes, and types inside one another (FORMAT.md).
_MOST_BYTES = 65_000
_MOST_LEVELS = 32

#: More bytes than a description has for a record, for a field beside its name, title and type, but
#: with padding, and for a dimension of its shape.
_RECORD_BYTES = 120
_FIELD_BYTES = 45
_DIMENSION_BYTES = 22


def is_storable(dtype: np.dtype) -> bool:
    """Can a blob have this element type?

    Its description can be too long or too deep, but only that of records. It is not made for this
    where an estimate will do: making it takes longer than anything else that is asked here.

    Parameters
    ----------
    dtype : numpy.dtype
        One without references.
    """
    if dtype.names is None:
        return True
    levels, most = _extent(dtype)
    return levels <= _MOST_LEVELS and (
        most <= _MOST_BYTES or len(describe(dtype).encode()) <= _MOST_BYTES
    )


def _extent(dtype: np.dtype) -> tuple[int, int]:
    """Return how many types stand inside one another, and bytes that suffice to describe them."""
    fields: Any = dtype.fields
    titles = [field[2] for field in fields.values() if len(field) == 3]
    levels, widest = 1, 0
    for field in {id(field[0]): field[0] for field in fields.values()}.values():  # mostly a few
        base, shape = field.subdtype or (field, ())
        inside, length = (1, len(base.str)) if base.names is None else _extent(base)
        # A shape is a level in the dict form. Elsewhere it is not, but HDF5 takes twice as long for
        # each shape inside of another: 40 seconds for 30.
        levels = max(levels, inside + bool(shape))
        widest = max(widest, length + _DIMENSION_BYTES * len(shape))
    names = len(repr((dtype.names, titles)).encode())
    return levels + 1, _RECORD_BYTES + names + len(fields) * (_FIELD_BYTES + widest)


@lru_cache(maxsize=256)
def parse(text: str) -> np.dtype:
    """Return the dtype that a description stands for.

    Parameters
    ----------
    text : str
        As made by `describe`; nothing in it is evaluated but literals.

    Returns
    -------
    numpy.dtype

    Raises
    ------
    ValueError
        The text is not a description.
    """
    try:
        return _parse(ast.literal_eval(text))
    except (SyntaxError, TypeError, KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{text!r} does not describe an element type: {error}") from error


def _parse(described: Any) -> np.dtype:
    if isinstance(described, str):
        return np.dtype(described)
    if isinstance(described, dict):
        return _parse_dict(described)
    if isinstance(described, tuple):
        return np.dtype((_parse(described[0]), described[1]))

    names, formats, offsets, end = [], [], [], 0
    for name, *parts in described:
        field = _parse(parts[0]) if len(parts) == 1 else np.dtype((_parse(parts[0]), parts[1]))
        if name:
            names.append(name)
            formats.append(field)
            offsets.append(end)
        end += field.itemsize
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": end})


def _parse_dict(described: dict[str, Any]) -> np.dtype:
    fields: Any = {"names": described["names"], "offsets": described["offsets"]}
    fields["formats"] = [_parse(one) for one in described["formats"]]
    if "titles" in described:
        fields["titles"] = described["titles"]
    fields["itemsize"] = described["itemsize"]
    return np.dtype(fields, align=bool(described.get("aligned", False)))


def is_plain(dtype: np.dtype) -> bool:
    """Does the description say all there is to say about the dtype?

    Records are never plain: their exact form is worth the few bytes that it takes in a pickle.
    """
    return dtype.names is None and dtype.isbuiltin != 2 and not dtype.metadata
