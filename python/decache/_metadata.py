# SPDX-License-Identifier: MIT
"""joblib's metadata of a result as the text that the container keeps, and back.

The text is JSON that begins with what somebody who looks into the container wants to see first:
the call, and when it was computed. A viewer shows the beginning of a text, and seconds since 1970
tell nobody anything. Both follow from the rest, so they go when the text is read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

_ADDED = ("call", "computed")
_decoder = json.JSONDecoder()
_LONGEST = 200  #: characters of a call


def encode(call_id: Sequence[str], metadata: dict[str, Any]) -> str:
    """Return the text for a result.

    Parameters
    ----------
    call_id : sequence of str
        joblib's name of the call: parts of the function's, then the hash of the arguments.
    metadata : dict
        joblib's; without ``time``, which joblib 1.2 does not give, that is now: a result of no
        time would count as the oldest.
    """
    metadata = {"time": time.time(), **metadata}
    return json.dumps({**_described(call_id, metadata), **metadata})


def decode(text: str) -> dict[str, Any]:
    """Return what joblib gave.

    Raises
    ------
    ValueError
        The text is not JSON.
    """
    try:
        metadata, end = _decoder.raw_decode(text)  # half the time of json.loads
    except ValueError:
        end = -1
    if end != len(text):  # of others, with blanks around it, or no JSON at all
        metadata = json.loads(text)
    if isinstance(metadata, dict):
        for name in _ADDED:
            metadata.pop(name, None)
    return metadata


def call(call_id: Sequence[str], metadata: dict[str, Any]) -> str:
    """Return a call as one would write it: the function and joblib's texts of its arguments."""
    function = call_id[-2].rpartition("/")[2] if len(call_id) > 1 else ""
    arguments = metadata.get("input_args")
    if not isinstance(arguments, dict):
        return function
    return f"{function}({', '.join(f'{name}={value}' for name, value in arguments.items())})"


@lru_cache(maxsize=16)  # most results of a second come one after the other
def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _described(call_id: Sequence[str], metadata: dict[str, Any]) -> dict[str, str]:
    described = {}
    text = call(call_id, metadata)
    if text:
        described["call"] = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    try:
        described["computed"] = _moment(int(float(metadata["time"])))
    except (TypeError, ValueError, OverflowError, OSError):  # it is joblib's to give any
        pass
    return described
