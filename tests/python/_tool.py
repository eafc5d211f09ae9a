# SPDX-License-Identifier: MIT
"""Running the ``h5store`` command, and containers to run it on; for test_tool.py."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest

joblib = pytest.importorskip("joblib")
decache = pytest.importorskip("decache")
_h5store = pytest.importorskip("decache._h5store")

TOOL = os.environ.get("H5STORE_TOOL") or shutil.which("h5store")
if TOOL is None:
    pytest.skip("the h5store program is not installed", allow_module_level=True)

MANUAL = pathlib.Path(__file__).parents[2] / "documents" / "h5store.1"
COMMANDS = ("ls", "tree", "stat", "cat", "verify", "repair", "flush")
LISTINGS = (
    ("ls",),
    ("tree",),
    ("tree", "-d"),
    ("stat",),
    ("verify",),
)


def run(*args: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the program in a UTF-8 locale with its output captured."""
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    options.setdefault("env", dict(os.environ, LC_ALL="C.UTF-8"))
    return subprocess.run([TOOL, *map(str, args)], timeout=120, check=False, **options)


def good(*args: Any, **options: Any) -> bytes:
    """Run the program, which must succeed and have nothing to complain of."""
    done = run(*args, **options)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def document(*args: Any, status: int = 0) -> dict[str, Any]:
    """Run a listing with --json."""
    done = run(*args, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def table(*args: Any) -> list[dict[str, str]]:
    """Run a listing with --tsv; rows by column name, escapes undone."""
    lines = good(*args, "--tsv").decode("utf-8", "surrogateescape").split("\n")
    assert lines.pop() == ""
    undo = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}
    rows = [
        [re.sub(r"\\.", lambda found: undo[found[0]], cell) for cell in line.split("\t")]
        for line in lines
    ]
    assert all(len(row) == len(rows[0]) for row in rows)
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def shown(text: str, columns: int) -> str:
    """A text of ASCII letters as it is shown in so many columns."""
    return text if len(text) <= columns else text[: columns - 3] + "..."


def assert_refused(done: subprocess.CompletedProcess[bytes], status: int, *words: str) -> None:
    """The status, an empty standard output, and a message that holds the words."""
    assert done.returncode == status
    assert not done.stdout
    message = done.stderr.decode("utf-8", "surrogateescape")
    assert message.startswith("h5store: ")
    for word in words:
        assert word in message


# ---- containers -------------------------------------------------------------

PADDED = np.dtype({"names": ["a", "b"], "formats": ["i1", "<f8"], "offsets": [0, 8]})
TITLED = np.dtype(
    {
        "names": ["a", "b"],
        "formats": ["<i2", ("<f4", (2,))],
        "offsets": [4, 8],
        "titles": ["first", None],
        "itemsize": 24,
    }
)
ALIGNED = np.dtype([("flag", "?"), ("inner", np.dtype("i1,f8", align=True))], align=True)
WIDE = np.dtype(
    {
        "names": [f"c{index:04d}" for index in range(2550)],
        "formats": ["i1"] * 2550,
        "offsets": [8 * index for index in range(2550)],
    },
    align=True,
)


def filled(dtype: Any, shape: tuple[int, ...], order: str = "C") -> np.ndarray:
    """An array of random bytes in the fields, zeros in the padding between them."""
    dtype = np.dtype(dtype)
    array = np.zeros(shape, dtype, order=order)
    generator = np.random.default_rng(int.from_bytes(repr((dtype, shape)).encode()[:16], "big"))
    if dtype.names:
        for name in dtype.names:
            array[name] = filled(dtype[name].base, array[name].shape)
    elif dtype.kind in "iufcb":
        array[...] = generator.integers(0, 2 if dtype.kind == "b" else 100, shape)
    elif dtype.kind in "mM":
        array[...] = generator.integers(0, 10**6, shape).astype(dtype)
    else:
        array[...] = np.array(["", "x", "wörter" if dtype.kind == "U" else "words"], dtype)[
            generator.integers(0, 3, shape)
        ]
    return array


ARRAYS = {
    "float64": filled("<f8", (30, 20)),
    "fortran": filled("<f8", (7, 5, 3), "F"),
    "scalar": filled("<i4", ()),
    "empty": filled("<f4", (0, 3)),
    "bool": filled("?", (9,)),
    "int8": filled("i1", (5,)),
    "uint64": filled("<u8", (5, 1)),
    "float16": filled("<f2", (4,)),
    "longdouble": filled(np.longdouble, (4,)),
    "complex": filled("<c16", (3, 3)),
    "big endian": filled(">i4", (6,)),
    "datetime": filled("<M8[ns]", (4,)),
    "timedelta": filled("<m8[25s]", (4,)),
    "bytes": filled("S7", (4,)),
    "text": filled("<U6", (4,)),
    "record": filled([("x", "<i4"), ("y", "<f8", (3,))], (5,)),
    "nested record": filled([("p", [("u", "<i2"), ("v", "<f4")]), ("w", "S3")], (5,)),
    "field names that are not ASCII": filled([("größe", "<f8"), ("名", "<i4")], (3,)),
    "padded": filled(PADDED, (4,)),
    "titled": filled(TITLED, (4,)),
    "aligned": filled(ALIGNED, (4,)),
    "header over 64 KiB": filled(WIDE, (2,)),
    "high rank": filled("<i2", (1, 2) * 8),
}


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, dict[str, str]]:
    """A container with ARRAYS, and the id of each."""
    path = tmp_path_factory.mktemp("arrays") / "some.h5"
    with decache.Store(path) as store:
        ids = {name: str(store.put(array)) for name, array in ARRAYS.items()}
    assert len(set(ids.values())) == len(ARRAYS)
    return path, ids


LARGE = np.arange(200_000, dtype="<f8")


def double(seed: int) -> dict[str, Any]:
    return {"seed": seed, "values": LARGE}


def triple(seed: int) -> list[Any]:
    return [LARGE, LARGE + seed, "text"]


def plain(seed: int) -> str:
    return "x" * seed


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A joblib cache: two functions that share LARGE, and one without arrays.

    Results: double(1), double(2): LARGE; triple(3): LARGE, LARGE + 3; plain(10).
    """
    location = tmp_path_factory.mktemp("cache")
    memory = joblib.Memory(
        location, backend="cas", verbose=0, backend_options={"large_array_threshold": 1000}
    )
    memory.cache(double)(1)
    memory.cache(double)(2)
    memory.cache(triple)(3)
    memory.cache(plain)(10)
    return location


def container_of(location: pathlib.Path) -> pathlib.Path:
    (path,) = location.rglob("blobs.h5")
    return path


@pytest.fixture
def own_cache(cache: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the cache's container that a test may damage."""
    copy = tmp_path / "copy.h5"
    shutil.copy(container_of(cache), copy)
    return copy


def damage(path: pathlib.Path) -> tuple[str, int]:
    """Flip one bit in the bytes of LARGE; its id, and where in the array."""
    rows = document("ls", path)["blobs"]
    (row,) = [row for row in rows if row["links"] == 3]
    where = 1234
    with path.open("r+b") as file:
        file.seek(row["offset"] + where)
        byte = file.read(1)[0]
        file.seek(row["offset"] + where)
        file.write(bytes([byte ^ 4]))
    return row["id"], where
