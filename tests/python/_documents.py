# SPDX-License-Identifier: MIT
"""Running the code blocks of a document one after the other, as a reader would.

A fenced block says what it is:

``python``   run after the blocks before it, all of a document in one interpreter
``sh``       run by bash, in the same folder
``c``        compiled, by the test of its page
``output``   what the block before it printed, standard error included
``text``     nothing to run: a drawing, a layout

``<!-- not run: REASON -->`` before a block keeps it from being run, ``<!-- file: NAME -->`` writes
it to a file for the blocks that follow. Outputs are compared after what differs from run to run
was replaced (`steady`); in the document ``...`` stands for any text in a line, and alone in a line
for any lines.

``python tests/python/_documents.py DOCUMENT...`` runs documents and writes their outputs anew;
with ``--in FOLDER DOCUMENT`` it runs one in a folder, and leaves there what its blocks made.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import types
from dataclasses import dataclass
from typing import Any

TOP = pathlib.Path(__file__).resolve().parents[2]
LANGUAGES = ("python", "sh", "c", "output", "text")

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOTE = re.compile(r"<!-- (not run|file): (\S[^<>]*?) -->\s*\Z")


@dataclass
class Block:
    """One fenced block."""

    language: str
    text: str
    start: int  # of the text, in the document
    line: int
    not_run: str | None = None  # the reason
    file: str | None = None  # where it is written to
    expected: Block | None = None  # the output block behind it

    @property
    def runs(self) -> bool:
        return self.language in ("python", "sh") and self.not_run is None


def documents() -> list[pathlib.Path]:
    """Every document of the project."""
    return sorted(TOP.glob("*.md")) + sorted(TOP.glob("documents/*.md"))


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    blocks: list[Block] = []
    for found in _FENCE.finditer(text):
        start = found.start(2)
        block = Block(found[1], found[2], start, text.count("\n", 0, start) + 1)
        note = _NOTE.search(text, 0, found.start())
        if note:
            setattr(block, {"not run": "not_run", "file": "file"}[note[1]], note[2])
        if block.language == "output" and blocks:
            blocks[-1].expected = block
        blocks.append(block)
    return blocks


def run(path: pathlib.Path, folder: pathlib.Path) -> list[tuple[Block, str]]:
    """Run the blocks of a document in a folder, and return each with what it printed.

    There the folder is called ``/home/you``.

    Raises
    ------
    AssertionError
        A block failed. The message has its line in the document, and what it printed.
    """
    blocks = [one for one in blocks_of(path.read_text(encoding="utf-8")) if one.runs]
    task = {
        "script": str(folder / f"{path.stem}.py"),
        "blocks": [(one.language, one.text, one.line, one.file) for one in blocks],
    }
    done = subprocess.run(
        [sys.executable, __file__, "--child"],
        input=json.dumps(task), capture_output=True, text=True, timeout=300, check=False,
        cwd=folder, env=_environment(folder),
    )
    printed = [
        json.loads(line).replace(str(folder), "/home/you") for line in done.stdout.splitlines()
    ]
    if done.returncode != 0 or len(printed) != len(blocks):
        line = blocks[min(len(printed), len(blocks) - 1)].line
        raise AssertionError(f"{path.name}, block at line {line}:\n{done.stderr}")
    return list(zip(blocks, printed, strict=True))


def _environment(folder: pathlib.Path) -> dict[str, str]:
    """The commands of this build first in the path, and a terminal of 80 columns."""
    commands = folder / ".commands"
    commands.mkdir()
    (commands / "decache").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m decache "$@"\n')
    (commands / "decache").chmod(0o755)
    (commands / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (commands / "python").chmod(0o755)
    tool = os.environ.get("H5STORE_TOOL") or shutil.which("h5store")
    build = os.environ.get("top_builddir")
    if tool is not None:
        (commands / "h5store").symlink_to(tool)
        build = build or str(pathlib.Path(tool).resolve().parents[1])
    return {
        **os.environ,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)]),
        "PKG_CONFIG_PATH": build or "",
        "COLUMNS": "80",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def _child() -> None:
    """Run the blocks told on standard input; print what each printed, as JSON, one a line.

    The Python blocks are one script with the line numbers of the document, so that tracebacks
    are right, and joblib finds the source of functions.
    """
    task = json.load(sys.stdin)
    results = os.fdopen(os.dup(1), "w")
    complaints = os.fdopen(os.dup(2), "w")
    script = ""
    for language, text, line, file in task["blocks"]:
        if language == "python" and file is None:
            script += "\n" * (line - 1 - script.count("\n")) + text
    pathlib.Path(task["script"]).write_text(script, encoding="utf-8")
    main = types.ModuleType("__main__")
    main.__file__ = task["script"]
    sys.modules["__main__"] = main

    for language, text, line, file in task["blocks"]:
        with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            try:
                _run_block(main, language, text, line, file)
            except BaseException as error:
                sys.stdout.flush()
                output.seek(0)
                complaints.write(f"{output.read()}{type(error).__name__}: {error}\n")
                complaints.close()
                os._exit(1)
            sys.stdout.flush()
            output.seek(0)
            print(json.dumps(output.read()), file=results, flush=True)


def _run_block(main: Any, language: str, text: str, line: int, file: str | None) -> None:
    if file is not None:
        pathlib.Path(file).write_text(text, encoding="utf-8")
    elif language == "python":
        exec(compile("\n" * (line - 1) + text, main.__file__, "exec"), main.__dict__)
    else:
        subprocess.run(["bash", "-e", "-o", "pipefail", "-c", text], check=True)


# -- comparing -------------------------------------------------------------------------------------

_VARYING = [
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?( UTC|Z|[+-]\d\d:?\d\d)?", "<when>"),
    (r"\b\d+(\.\d+)?(e-?\d+)? ?(s|ms|us|µs|min|seconds)\b( ago)?|\bnow\b", "<time>"),
    (r'"(time|duration)": [\d.e-]+', "<time>"),
    (r"\bSTRSIZE \d+", "STRSIZE <length>"),
    # Pickle and metadata, in which times stand as numbers, some longer than others.
    (r"\b\d{2,} B\b", "<bytes>"),
    (r"\b(\d+)\.\d KiB\b", r"\1 KiB"),
    (r"\bon disk .*", "on disk <size>"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<uuid>"),
    (r"\b\d{8}T\d{6}\b", "<when>"),
    (r"[ \t]+", " "),
    (r" \n|\n ", "\n"),
]


def steady(text: str) -> str:
    """Replace what differs from one run to the next: times, small sizes, the width of columns."""
    for pattern, name in _VARYING:
        text = re.sub(pattern, name, text)
    return text.strip()


def agrees(document: str, printed: str) -> bool:
    """Whether what a block printed is what the document shows."""
    pattern = re.escape(steady(document))
    pattern = re.sub(r"(?m)^\\\.\\\.\\\.(\\\n|\Z)", r"(.*\\n)*?.*", pattern)
    pattern = pattern.replace(r"\.\.\.", ".*")
    return re.fullmatch(pattern, steady(printed)) is not None


def _renew(path: pathlib.Path) -> int:
    """Run a document and write the outputs that differ; return how many did."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = run(path, pathlib.Path(folder))
    text = path.read_text(encoding="utf-8")
    changed = 0
    for block, printed in reversed(pairs):
        old = block.expected
        if old is not None and not agrees(old.text, printed):
            lines = [line.rstrip() for line in printed.strip("\n").split("\n")]
            text = text[: old.start] + "\n".join(lines) + "\n" + text[old.start + len(old.text):]
            changed += 1
    path.write_text(text, encoding="utf-8")
    return changed


if __name__ == "__main__":
    if sys.argv[1:] == ["--child"]:
        _child()
    elif sys.argv[1:2] == ["--in"]:
        run(pathlib.Path(sys.argv[3]).resolve(), pathlib.Path(sys.argv[2]).resolve())
    else:
        for name in sys.argv[1:]:
            print(f"{name}: {_renew(pathlib.Path(name).resolve())} outputs written")
