#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check what the compiler does not: layers, names, exports, and the form of files.

Run by ``make check`` with `top_srcdir`, `top_builddir` and `NM` set, after everything was
built. Each check is a generator of complaints that starts with ``path:line:`` where there
is a line; HACKING.md, "Rooms" and "Style", has the rules and their reasons. A check that
looked at nothing is itself a failure, so that none can rot unnoticed.
"""

from __future__ import annotations

import collections
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator

TOP = pathlib.Path(os.environ.get("top_srcdir", pathlib.Path(__file__).parents[2]))
BUILD = pathlib.Path(os.environ.get("top_builddir", TOP / "build"))
NM = os.environ.get("NM", "nm").split()

MOST_LINES = 700
CLANG_FORMAT = 19  #: other versions lay some lines out in another way
make_list = runpy.run_path(str(TOP / "setup.py"), run_name="lists")["make_list"]

LAYERS = {
    name: layer for layer in range(5) for name in make_list(f"layer{layer}_sources")
}
TOOL = make_list("tool_sources")
EXTENSION = make_list("extension_sources")
HEADERS = make_list("public_headers") + ["h5store/version.h.in"]

#: Headers of other libraries, and the only files (or the lowest layer) that may use them.
FOREIGN = (
    (re.compile(r"hdf5(_hl)?\.h"), lambda name: LAYERS.get(name, -1) >= 2),
    (re.compile(r"H5.*\.h"), lambda name: name == "src/vfd_compat.h"),
    (re.compile(r"openssl/.*|xxhash\.h"), lambda name: name in ("src/digest.c",)),
    (re.compile(r"libdeflate\.h"), lambda name: name == "src/deflate.c"),
    (re.compile(r"Python\.h|pythread\.h|structmember\.h"), lambda name: name in EXTENSION),
    (re.compile(r"numpy/.*"), lambda name: name == "python/_h5store/array.c"),
    (re.compile(r"h5store/h5store\.h"), lambda name: LAYERS.get(name, 4) >= 4),
)

#: Calls on files and locks: src/os.c alone makes them, through its table.
SYSTEM_CALLS = frozenset(
    name + suffix
    for name in (
        "creat", "fallocate", "fcntl", "fdatasync", "flock", "fstat", "fstatvfs", "fsync",
        "ftruncate", "link", "lseek", "lstat", "mmap", "mremap", "munmap", "open", "openat",
        "pread", "preadv", "pwrite", "pwritev", "read", "rename", "renameat", "stat",
        "sync_file_range", "truncate", "unlink", "unlinkat", "write",
    )
    for suffix in ("", "64")
)

seen: collections.Counter[str] = collections.Counter()


def lines_of(name: str) -> list[str]:
    return (TOP / name).read_text(encoding="utf-8").splitlines()


def includes_of(name: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, ``"`` or ``<``, and header of each ``#include``."""
    for number, line in enumerate(lines_of(name), 1):
        found = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
        if found:
            seen["includes"] += 1
            yield number, found[1], found[2]


def check_layers() -> Iterator[str]:
    """A file includes headers of its own layer or a lower one, and nothing roundabout."""
    for name in [*LAYERS, *TOOL, *EXTENSION, *HEADERS]:
        for number, quote, header in includes_of(name):
            where = f"{name}:{number}: "
            if quote == "<":
                for pattern, allowed in FOREIGN:
                    if pattern.fullmatch(header) and name not in HEADERS and not allowed(name):
                        yield f"{where}<{header}> is not for this file"
                if name in HEADERS and not header.startswith(("h5store/", "std")):
                    yield f"{where}a public header includes <{header}>"
                continue
            target = f"{pathlib.PurePath(name).parent}/{header}"
            if name in LAYERS:
                if target not in LAYERS:
                    yield f"{where}{target} is in no layer of Makefile.am"
                elif LAYERS[target] > LAYERS[name]:
                    yield f"{where}layer {LAYERS[name]} includes {target} of layer {LAYERS[target]}"
            elif target not in (TOOL if name in TOOL else EXTENSION):
                yield f"{where}{target} is the library's; use <h5store/...>"


def check_versions() -> Iterator[str]:
    """vfd_compat.h alone knows that there are several versions of HDF5."""
    for name in LAYERS:
        for number, line in enumerate(lines_of(name), 1):
            seen["lines"] += 1
            if re.match(r"\s*#\s*(el)?if.*\bH5_VERS", line) and name != "src/vfd_compat.h":
                yield f"{name}:{number}: a condition on HDF5's version"


def declarations() -> dict[str, tuple[str, str]]:
    """Return, by name, the comment before each public function and its declaration."""
    found = {}
    pattern = re.compile(r"/\*\*((?:(?!\*/).)*)\*/\s*H5STORE_API([^;]*);", re.DOTALL)
    for name in HEADERS:
        text = (TOP / name).read_text(encoding="utf-8")
        for comment, declaration in pattern.findall(text):
            function = re.search(r"\b(h5store_\w+)\(", declaration)[1]
            found[function] = (comment, declaration)
        if len(re.findall(r"^H5STORE_API", text, re.MULTILINE)) != len(pattern.findall(text)):
            found[name] = ("", "")
    return found


PUBLIC = declarations()


def check_contracts() -> Iterator[str]:
    """Each public function has a comment, and one that can fail says how."""
    for function, (comment, declaration) in PUBLIC.items():
        seen["contracts"] += 1
        if not comment:
            yield f"{function}: a declaration without a comment right before it"
            continue
        if "h5store_err *err" in declaration and "@retval" not in comment:
            yield f"{function}: can fail, and has no @retval"
        if "h5store_err *err" in declaration and " int" not in declaration:
            yield f"{function}: can fail, and does not return int"
        if "@since" not in comment:
            yield f"{function}: no @since"


def symbols(path: pathlib.Path, *options: str) -> Iterator[tuple[str, str, str]]:
    """Yield object file's stem, type letter and name of each symbol that nm lists."""
    done = subprocess.run(
        [*NM, "-A", *options, str(path)], check=True, stdout=subprocess.PIPE, text=True
    )
    for line in done.stdout.splitlines():
        where, kind, name = re.fullmatch(r"(.*?):?\s*[0-9a-f]*\s+(\w) (\S+)", line).groups()
        if name.startswith("__"):
            continue  # the sanitizers' own
        seen[f"symbols of {path.name}"] += 1
        stem = re.search(r"([^-:/]+)\.o(?::[0-9a-f]*)?$", where)
        yield stem[1] if stem else "", kind, name.partition("@")[0]


def check_names() -> Iterator[str]:
    """A global name is public, hs_* between modules, or <module>_* inside one.

    Each is declared in a header; inside a module that is <module>_impl.h. And os.c alone
    makes system calls.
    """
    declared = {
        name: "".join(lines_of(name)) for name in [*LAYERS, *HEADERS] if not name.endswith(".c")
    }
    for stem, kind, name in symbols(BUILD / "src/.libs/libcore.a", "-g"):
        if kind in "Uw":  # w: used if it is there
            if name in SYSTEM_CALLS and stem != "os":
                yield f"src/{stem}.c: calls {name}(), which is os.c's"
            continue
        word = re.compile(rf"\b{name}\b")
        headers = [header for header, text in declared.items() if word.search(text)]
        module = name.partition("_")[0]
        if name.startswith("h5store_"):
            if name not in PUBLIC:
                yield f"src/{stem}.c: {name} is in no public header"
        elif not headers:
            yield f"src/{stem}.c: {name} is global and in no header"
        elif not name.startswith("hs_") and headers != [f"src/{module}_impl.h"]:
            yield f"src/{stem}.c: {name} has neither hs_ nor the prefix of a module of its own"


def check_exports() -> Iterator[str]:
    """Headers, symbol map and library name the same functions; the extension none."""
    text = re.sub(r"/\*.*?\*/", "", (TOP / "src/h5store.map").read_text(encoding="utf-8"),
                  flags=re.DOTALL)
    mapped = re.findall(r"\b(h5store_\w+);", text)
    library = BUILD / "src/.libs/libh5store.so"
    exported = {name for _, kind, name in symbols(library, "-D", "--defined-only") if kind != "A"}
    for name in sorted({name for name in mapped if mapped.count(name) > 1}):
        yield f"src/h5store.map: {name} twice"
    for name in sorted(set(PUBLIC) ^ set(mapped)):
        yield f"src/h5store.map: {name} is in {'the headers' if name in PUBLIC else 'the map'} only"
    for name in sorted(set(PUBLIC) ^ exported):
        yield f"{library.name}: {name} is {'not exported' if name in PUBLIC else 'in no header'}"
    for module in BUILD.glob("python/.libs/_h5store*.so"):
        for _, _, name in symbols(module, "-D", "--defined-only"):
            if name != "PyInit__h5store":
                yield f"{module.name}: exports {name}"


def check_files() -> Iterator[str]:
    """Each file says its licence first, is not too long, and has no line that is."""
    here = [*LAYERS, *TOOL, *EXTENSION, *HEADERS, "configure.ac", "Makefile.am", "setup.py"]
    for folder in ("bench", "examples", "m4", "python", "scripts", "tests"):
        here += [
            str(path.relative_to(TOP)) for path in sorted((TOP / folder).rglob("*"))
            if path.suffix in (".c", ".cc", ".h", ".m4", ".py", ".pyi", ".sh")
            and not re.fullmatch(r"libtool\.m4|lt.*\.m4", path.name)
        ]
    for name in dict.fromkeys(here):
        lines = lines_of(name)
        seen["files"] += 1
        if not any("SPDX-License-Identifier: MIT" in line for line in lines[:2]):
            yield f"{name}:1: no SPDX line"
        if len(lines) > MOST_LINES:
            yield f"{name}: {len(lines)} lines, more than {MOST_LINES}"
        for number, line in enumerate(lines, 1):
            if len(line) > 100:
                yield f"{name}:{number}: {len(line)} columns"
            if line != line.rstrip():
                yield f"{name}:{number}: space at the end of the line"
            if "\t" in line and name != "Makefile.am":
                yield f"{name}:{number}: a tab"


def check_format() -> Iterator[str]:
    """All C is as .clang-format says, where the version that it was written for is at hand."""
    beside = pathlib.Path(sys.executable).with_name("clang-format")
    program = str(beside) if beside.exists() else shutil.which("clang-format") or ""
    version = subprocess.run([program, "--version"], stdout=subprocess.PIPE, text=True).stdout \
        if program else ""
    if f" {CLANG_FORMAT}." not in version:
        seen[f"clang-format {CLANG_FORMAT}: not here, so layout was not checked; times"] += 1
        return
    here = sorted(
        str(path.relative_to(TOP))
        for folder in ("bench", "examples", "h5store", "python/_h5store", "src", "tests")
        for path in (TOP / folder).rglob("*")
        if path.suffix in (".c", ".cc", ".h") and path.name != "version.h"
    )
    seen["laid out"] += len(here)
    done = subprocess.run(
        [program, "--dry-run", "-Werror", "--ferror-limit=1", *here],
        cwd=TOP, stderr=subprocess.PIPE, text=True,
    )
    for name in re.findall(r"^(\S+:\d+):\d+: error: ", done.stderr, re.MULTILINE):
        yield f"{name}: not as .clang-format says; run clang-format -i"
    if done.returncode and not re.search(r": error: ", done.stderr):
        yield f"clang-format failed: {done.stderr.strip()}"


def main() -> int:
    complaints = []
    for check in (check_layers, check_versions, check_contracts, check_names, check_exports,
                  check_files, check_format):
        before = seen.total()
        complaints += check()
        if seen.total() == before:
            complaints.append(f"{check.__name__} looked at nothing")
    print("\n".join(complaints + [f"looked at {', '.join(f'{n} {k}' for k, n in seen.items())}"]))
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
