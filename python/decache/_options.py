# SPDX-License-Identifier: MIT
"""The options of the backend: their names, defaults and checks."""

from __future__ import annotations

import datetime
import difflib
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from joblib.disk import memstr_to_bytes

#: Arrays of more bytes than this become blobs.
DEFAULT_THRESHOLD = 32 * 1024

_LARGEST = 2**62

#: What joblib passes with the options, and refuses among them: arguments of its own.
_OF_MEMORY = ("compress", "mmap_mode")


@dataclass(frozen=True)
class Options:
    """What ``joblib.Memory(..., backend_options={...})`` may say.

    Attributes
    ----------
    large_array_threshold : int
        Arrays and buffers of more bytes than this are stored as blobs of their own, each once;
        smaller ones with the rest of the result. Default: 32,768.
    durability : {"process", "power"}
        "process": a stored result survives the death of any process at once, and a power cut
        after about two seconds, or ten while results are stored without a pause. "power": it
        survives both at once; every new result then waits for the disk.
    timeout : float
        Seconds to wait for another process's lock before giving up with a warning. Then results
        are computed and not stored for as long, at most 5 seconds; and if the lock is not to be
        had after that, being a stopped process's, for twice as long each time, up to 5 minutes.
    verify : {"fast", "full", "never"}
        What a load that copies checks: a fast checksum, the SHA-256, or nothing. Memory maps are
        not checked.
    threads : int
        For hashing, reading and writing one array; 0: by the CPUs, 8 at most, and no more than
        the environment variable OMP_NUM_THREADS says, which joblib sets in its workers.
    compress : int
        0, or the level, 1 to 9, at which arrays are deflated that get smaller by it. To be given
        as ``Memory(compress=...)``, in any form that joblib knows: True is 1, a pair such as
        ("zlib", 3) its level, "lz4" 1, "bz2", "lzma" and "xz" 9. joblib refuses it here.
    level : int, optional
        The same, 0 to 9, whatever `compress` says.
    bytes_limit : int or str, optional
        Most bytes used in the file, or a text such as "50G". Whoever stores a result looks whether
        a limit is exceeded; if so, the results that were not used for longest go, a tenth more
        than have to; never the one just stored. Below 1 MiB only the bytes of results count.
    items_limit : int, optional
        Most results.
    age_limit : float or datetime.timedelta, optional
        Longest time, by custom in seconds, that a result may stay unused. Looked at once a minute
        by whoever stores a result, and not in the first minute.
    mmap_mode : {None, "r", "c"}
        To be given as ``Memory(mmap_mode=...)``; joblib refuses it here. "r+" and "w+" would
        change arrays that results share, and are taken for "c".
    """

    large_array_threshold: int = DEFAULT_THRESHOLD
    durability: str = "process"
    timeout: float = 30.0
    verify: str = "fast"
    threads: int = 0
    compress: int = 0
    level: int | None = None
    bytes_limit: int | None = None
    items_limit: int | None = None
    age_limit: float | None = None
    mmap_mode: str | None = None

    @classmethod
    def parse(cls, given: Mapping[str, Any] | None) -> Options:
        """Check what was given.

        Raises
        ------
        ValueError
            An unknown option, or a value out of range.
        TypeError
            A value of the wrong kind.
        """
        values = dict(given or {})
        known = [one.name for one in fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)
                meant = f"Memory({near[0]}=...)" if near[0] in _OF_MEMORY else repr(near[0])
                options = ", ".join(one for one in known if one not in _OF_MEMORY)
                raise ValueError(
                    f"unknown backend option {name!r} of the 'cas' backend; "
                    f"did you mean {meant}? Options: {options}"
                )
        for name, check in _CHECKS.items():
            if name in values:
                values[name] = check(name, values[name])
        if values.get("level") is not None:
            values["compress"] = values["level"]
        return cls(**values)


#: What joblib calls its methods, and the level that each of them stands for. None: any.
_METHODS = {"deflate": None, "zlib": None, "gzip": None, "lz4": 1, "bz2": 9, "lzma": 9, "xz": 9}


def compression_level(value: Any) -> int:
    """Return the level of deflate that comes next to what joblib is told as ``compress``.

    ==============================  =====================================================
    ``compress``                    level
    ==============================  =====================================================
    False, None, 0                  0: not compressed
    True                            1
    1 ... 9                         the same
    "zlib", "gzip", "deflate"       1; with a level, as in ``("zlib", 3)``, that one
    "lz4"                           1, whatever its level: it is the fast one
    "bz2", "lzma", "xz"             9, whatever their level: they are the small ones
    ==============================  =====================================================

    Raises
    ------
    ValueError
        No such method or level.
    TypeError
        Something else.
    """
    method, level = value, None
    if isinstance(value, (tuple, list)):
        if len(value) != 2 or not isinstance(value[0], str):
            raise TypeError(f"compress must be a pair of method and level, not {value!r}")
        method, level = value
    if method is None or isinstance(method, bool):
        return int(bool(method))
    if not isinstance(method, str):
        return _level("compress", method)
    if method not in _METHODS:
        names = ", ".join(map(repr, _METHODS))
        raise ValueError(f"compress must name one of {names}, not {method!r}")
    level = 1 if level is None else _level("compress", level)
    fixed = _METHODS[method]
    return level if fixed is None else fixed


def _level(name: str, value: Any) -> int:
    level = _whole_number(name, value)
    if level > 9:
        raise ValueError(f"backend option {name!r} must be at most 9, but is {value!r}")
    return level


def _optional_level(name: str, value: Any) -> int | None:
    return None if value is None else _level(name, value)


def _compress(name: str, value: Any) -> int:
    return compression_level(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _whole_number(name: str, value: Any) -> int:
    """Return a number of 0 or more without fraction; infinity is the largest there is."""
    if not _is_number(value) or math.isnan(value):
        raise TypeError(f"backend option {name!r} must be a whole number, not {value!r}")
    if value < 0:
        raise ValueError(f"backend option {name!r} must not be negative, but is {value!r}")
    if value >= _LARGEST:
        return _LARGEST
    if value != int(value):
        raise ValueError(f"backend option {name!r} must be a whole number, not {value!r}")
    return int(value)


def _threads(name: str, value: Any) -> int:
    count = _whole_number(name, value)
    if count > 1024:
        raise ValueError(f"backend option {name!r} must be at most 1024, but is {value!r}")
    return count


def _timeout(name: str, value: Any) -> float:
    if not _is_number(value):
        raise TypeError(f"backend option {name!r} must be a number of seconds, not {value!r}")
    if not 0 <= value < math.inf:
        raise ValueError(f"backend option {name!r} must be 0 or more, but is {value!r}")
    return float(value)


def _size(name: str, value: Any) -> int | None:
    if isinstance(value, str):
        try:
            return memstr_to_bytes(value)
        except ValueError:
            raise ValueError(
                f"backend option {name!r} must be a size such as '50G', not {value!r}"
            ) from None
    return _count(name, value)


def _count(name: str, value: Any) -> int | None:
    return None if value is None else _whole_number(name, value)


def _age(name: str, value: Any) -> float | None:
    if isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    return None if value is None else _timeout(name, value)


def _one_of(*allowed: Any) -> Any:
    def check(name: str, value: Any) -> Any:
        if value not in allowed:
            words = ", ".join(map(repr, allowed))
            raise ValueError(f"backend option {name!r} must be one of {words}, not {value!r}")
        return value

    return check


_CHECKS = {
    "large_array_threshold": _whole_number,
    "durability": _one_of("process", "power"),
    "timeout": _timeout,
    "verify": _one_of("fast", "full", "never"),
    "threads": _threads,
    "compress": _compress,
    "level": _optional_level,
    "bytes_limit": _size,
    "items_limit": _count,
    "age_limit": _age,
    "mmap_mode": _one_of(None, "r", "c", "r+", "w+"),
}
