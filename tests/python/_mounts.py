# SPDX-License-Identifier: MIT
"""File systems of their own for tests, in image files or in memory.

`mounted` makes one, mounts it below a folder and unmounts it at the end; where that is not
possible (not root, no mkfs, a kernel that lacks it) the test is skipped, with the reason.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

MIB = 1 << 20


class Kind(NamedTuple):
    """What a file system needs, and what it can do.

    Attributes
    ----------
    mebibytes : int
        Of the smallest one that mkfs makes without complaint, and enough for a test.
    mkfs : tuple of str
        The command, to which the image is appended; empty: there is no image.
    package : str
        Where the command comes from.
    punches : bool
        Holes can be punched into files.
    links : bool
        Files can have two names.
    """

    mebibytes: int
    mkfs: tuple[str, ...]
    package: str
    punches: bool
    links: bool


KINDS = {
    "ext4": Kind(24, ("mkfs.ext4", "-q", "-F", "-m", "0"), "e2fsprogs", True, True),
    "xfs": Kind(300, ("mkfs.xfs", "-q", "-f"), "xfsprogs", True, True),
    "btrfs": Kind(110, ("mkfs.btrfs", "-q", "-f"), "btrfs-progs", True, True),
    "tmpfs": Kind(24, (), "", True, True),
    "ramfs": Kind(0, (), "", False, True),
    "overlay": Kind(24, (), "", True, True),
    "vfat": Kind(24, ("mkfs.vfat",), "dosfstools", False, False),
}


@contextlib.contextmanager
def mounted(
    kind: str,
    folder: Path,
    mebibytes: int | None = None,
    options: str = "",
    features: str = "",
    lower: Callable[[Path], None] | None = None,
) -> Iterator[Path]:
    """Mount a new file system of a kind.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    folder : Path
        An empty place for the image and the mount point.
    mebibytes : int, optional
        Its size, where the usual one will not do.
    options : str
        For mount, separated by commas.
    features : str
        For the -O of mkfs.
    lower : callable, optional
        Fills the lower layer of an overlay before that is mounted.

    Yields
    ------
    Path
        Its root.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can mount file systems")
    size = mebibytes or KINDS[kind].mebibytes
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / "mount"
    root.mkdir()
    with contextlib.ExitStack() as below:
        if kind == "overlay":
            ground = below.enter_context(mounted("tmpfs", folder / "below", size))
            for name in ("lower", "upper", "work"):
                (ground / name).mkdir()
            if lower is not None:
                lower(ground / "lower")
            places = ",".join(
                f"{name}dir={ground / name}" for name in ("lower", "upper", "work")
            )
            command = ["-o", ",".join(filter(None, [places, options])), "none"]
        elif not KINDS[kind].mkfs:
            settings = ",".join(filter(None, [f"size={size}m" if size else "", options]))
            command = [*(["-o", settings] if settings else []), "none"]
        else:
            image = _make_image(kind, folder / "image", size, features)
            command = ["-o", ",".join(filter(None, ["loop", options])), str(image)]
        done = _run("mount", "-t", kind, *command, str(root))
        if done.returncode != 0:
            reason = done.stdout.splitlines()[0].replace(str(root), "it")
            pytest.skip(f"{kind} cannot be mounted here: {reason}")
        try:
            yield root
        finally:
            # Lazily: a test that failed may have left files open.
            _run("umount", "-l", str(root))


def remount(root: Path, options: str) -> None:
    """Mount it again with other options, when what was closed or deleted is gone for good."""
    deadline = time.monotonic() + 20
    while True:
        done = _run("mount", "-o", f"remount,{options}", str(root))
        if done.returncode == 0:
            return
        assert "busy" in done.stdout and time.monotonic() < deadline, done.stdout
        time.sleep(0.05)


def _make_image(kind: str, image: Path, mebibytes: int, features: str) -> Path:
    mkfs, package = KINDS[kind].mkfs, KINDS[kind].package
    if shutil.which(mkfs[0]) is None:
        pytest.skip(f"{mkfs[0]} is missing (package {package})")
    with open(image, "wb") as file:
        file.truncate(mebibytes * MIB)
    done = _run(*mkfs, *(["-O", features] if features else []), str(image))
    if done.returncode != 0:
        pytest.fail(f"{' '.join(mkfs)}: {done.stdout}")
    return image


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=60,
    )
