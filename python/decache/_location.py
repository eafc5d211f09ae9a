# SPDX-License-Identifier: MIT
"""The folder of a cache, and the two small files that tell others what it is."""

from __future__ import annotations

import os

from ._warnings import warn

_GITIGNORE = "# Created by joblib automatically.\n*\n"

#: So that backup programs leave the cache out; the first line is the standard's signature.
_CACHEDIR_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This folder is a joblib cache, made by decache.\n"
    "# For information about cache directory tags see https://bford.info/cachedir/\n"
)


def prepare(location: str) -> None:
    """Create the folder, joblib's .gitignore and a CACHEDIR.TAG, as far as possible.

    joblib appends "joblib" to a location given as str and keeps its .gitignore beside that.
    """
    parent, name = os.path.split(location)
    ignored = parent if parent and name == "joblib" else location
    try:
        os.makedirs(location, exist_ok=True)
        _write_new(os.path.join(ignored, ".gitignore"), _GITIGNORE)
        _write_new(os.path.join(location, "CACHEDIR.TAG"), _CACHEDIR_TAG)
    except OSError as error:
        warn(
            f"The cache folder {location} cannot be written: {error}. Results are not cached "
            "until it can; choose another location, or mend its permissions."
        )


def _write_new(path: str, text: str) -> None:
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        pass
