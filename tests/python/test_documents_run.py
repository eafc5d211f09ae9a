# SPDX-License-Identifier: MIT
"""Every code block of every document runs, and prints what the document shows."""

from __future__ import annotations

import difflib
import os
import pathlib
import re
import shutil

import joblib
import numpy as np
import pytest

import _documents
from _documents import LANGUAGES, TOP, blocks_of, documents

needs_commands = pytest.mark.skipif(
    (os.environ.get("H5STORE_TOOL") or shutil.which("h5store")) is None
    or shutil.which("h5ls") is None,
    reason="h5store or the HDF5 tools (hdf5-tools) are not installed",
)


def all_blocks(path: pathlib.Path) -> list[_documents.Block]:
    return blocks_of(path.read_text(encoding="utf-8"))


WITH_CODE = [one for one in documents() if any(block.runs for block in all_blocks(one))]


def old_cache(folder: pathlib.Path) -> None:
    """A cache as joblib itself makes it, for the documents that migrate one."""
    memory = joblib.Memory(str(folder / "old-joblib-cache"), verbose=0)
    memory.cache(simulate)(1)


def simulate(seed):
    return np.random.default_rng(seed).normal(size=200_000)


@needs_commands
@pytest.mark.parametrize("path", WITH_CODE, ids=[one.stem for one in WITH_CODE])
def test_blocks_run_and_print_what_is_shown(path, tmp_path):
    old_cache(tmp_path)
    pairs = _documents.run(path, tmp_path)
    assert [block for block, _ in pairs] == [one for one in all_blocks(path) if one.runs]
    for block, printed in pairs:
        if block.expected is not None and not _documents.agrees(block.expected.text, printed):
            shown = _documents.steady(block.expected.text).splitlines()
            difference = difflib.unified_diff(
                shown, _documents.steady(printed).splitlines(), "shown", "printed", lineterm=""
            )
            pytest.fail(f"{path.name}, line {block.line}:\n" + "\n".join(difference))


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.stem)
def test_every_block_says_what_it_is(path):
    """A block of an unknown kind would not be run, and an output of nothing not be compared."""
    text = path.read_text(encoding="utf-8")
    blocks = blocks_of(text)
    assert text.count("\n```") + text.startswith("```") == 2 * len(blocks)
    before = None
    for block in blocks:
        where = f"{path.name}, line {block.line}"
        assert block.language in LANGUAGES, f"{where}: say one of {LANGUAGES} after the ```"
        if block.language == "output":
            assert before is not None and before.runs, f"{where}: the output of which block?"
        before = block


def test_most_blocks_run():
    """The marks that keep blocks from being run are few, and say why."""
    blocks = [block for path in documents() for block in all_blocks(path)]
    code = [block for block in blocks if block.language in ("python", "sh")]
    left_out = [block for block in code if not block.runs]
    compared = [block for block in code if block.expected is not None and block.runs]
    assert all(len(block.not_run) > 10 for block in left_out)
    assert len(code) - len(left_out) >= 45
    assert len(compared) >= 25
    assert len(left_out) <= 6


def test_comparing_sees_differences():
    """What stands for anything stands for no more than that."""
    agrees = _documents.agrees
    assert agrees("3 results, 1.2 s\n", "3 results, 0.7 s\n")
    assert agrees("a   b\n", "a b")
    assert agrees("first\n...\nlast\n", "first\none\ntwo\nlast\n")
    assert agrees("first\n...\n", "first\none\ntwo\n")
    assert agrees("key 35da...", "key 35dac501")
    assert not agrees("3 results, 1.2 s\n", "4 results, 1.2 s\n")
    assert not agrees("first\n...\nlast\n", "first\none\n")
    assert not agrees("first\nlast\n", "first\none\nlast\n")
    assert not agrees("key 35da... x", "key 35dac501")
    assert not agrees("True 1", "True 1\nFalse")


def test_links_lead_somewhere():
    """Relative links and pictures of the documents are files of the project."""
    seen = 0
    for path in documents():
        text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)|src=\"([^\"]+)\"", text):
            target = "".join(target)
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"
                seen += 1
    assert seen >= 10
