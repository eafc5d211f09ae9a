# SPDX-License-Identifier: MIT
"""How the cache tells of its troubles: one warning each, at the user's line."""

from __future__ import annotations

import logging
import sys
import warnings
from types import FrameType

import joblib._store_backends as _joblib_backends

logger = logging.getLogger("decache")
logger.addHandler(logging.NullHandler())

#: joblib's own class for such warnings; it came with joblib 1.3.
_JoblibWarning: type[Warning] = getattr(_joblib_backends, "CacheWarning", UserWarning)


class CacheWarning(_JoblibWarning):  # type: ignore[valid-type,misc]
    """The cache could not do its part; the results of calls are not affected."""


def warn(message: str) -> None:
    """Warn, as from the first line on the stack that is neither ours nor joblib's.

    This never raises. Where the user's filters make errors of warnings, the warning is shown
    instead: an error would take the place of a result that is there.
    """
    level = 1
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_internal(frame.f_globals.get("__name__", "")):
        level += 1
        frame = frame.f_back
    logger.warning(message)
    try:
        warnings.warn(message, CacheWarning, stacklevel=level + 1)
    except CacheWarning as error:
        where = ("sys", 1) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
        warnings.showwarning(error, CacheWarning, *where)


def _is_internal(module: str) -> bool:
    return module.partition(".")[0] in ("decache", "joblib")
