# SPDX-License-Identifier: MIT
"""The command ``decache`` as such: help, statuses, terminals, completion, and the manual."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import decache
import pytest
from _cli import (
    TOP,
    container_of,
    document,
    environment,
    good,
    make_cache,
    make_empty,
    on_terminal,
    refused,
    run,
)
from decache import _cli_output, _h5store, _shared, _units
from decache._cli import make_parser
from decache._cli_completion import commands_of, script

MANUAL = TOP / "documents" / "decache.1"
COMMANDS = [one.name for one in commands_of(make_parser())]
COMPLETION = {"bash": "decache", "zsh": "_decache", "fish": "decache.fish"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    location = tmp_path_factory.mktemp("cache")
    make_cache(location)
    _shared._close_all()
    return location


# -- the command line ------------------------------------------------------------------------------


def test_there_are_all_commands():
    assert COMMANDS == ["ls", "show", "stats", "du", "rm", "prune", "verify", "repair", "compact",
                        "export", "import", "migrate", "doctor"]


def test_help():
    text = good("--help")
    assert all(f"    {name} " in text for name in COMMANDS)
    assert all(len(line) <= 80 for line in text.splitlines())
    for name in COMMANDS:
        text = good(name, "--help")
        assert text.startswith(f"usage: decache {name} ")
        assert "--json" in text and all(len(line) <= 80 for line in text.splitlines())


def test_what_unpickles_says_so():
    for name in COMMANDS:
        assert ("UNPICKLED" in good(name, "-h")) == (name in ("export", "migrate"))


def test_version():
    assert good("--version").startswith(f"decache {decache.__version__} (HDF5 ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a command"), (["nonsense"], "invalid choice"), (["ls"], "LOCATION"),
        (["ls", "x", "--nonsense"], "--nonsense"), (["show", "x"], "ID"),
        (["ls", "x", "--sort", "y"], "invalid choice"), (["ls", "x", "--timeout", "-1"], "timeout"),
        (["prune", "x", "--items", "-1"], "items"), (["du", "x", "--top", "many"], "top"),
        (["verify", "x", "--subset", "200%"], "part of a whole"),
        (["export", "x"], "--output"), (["import", "x"], "SOURCE"),
        (["ls", "x", "--tim", "3"], "--tim"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments, words):
    assert words in refused(*arguments)


def test_options_stand_anywhere(cache):
    expected = document("ls", "-r", cache, "first", "small")
    for arguments in (
        ["ls", cache, "-r", "first", "small"], ["ls", cache, "first", "-r", "small"],
        ["ls", cache, "first", "small", "--results"],
    ):
        assert document(*arguments) == expected


def test_a_failure_is_one_sentence_and_a_traceback_on_request(tmp_path):
    assert refused("ls", tmp_path / "none").endswith("does not exist\n")
    done = subprocess.run(
        [sys.executable, "-m", "decache", "ls", str(tmp_path / "none")],
        env={**environment(), "DECACHE_TRACEBACK": "1"}, capture_output=True, text=True,
        check=False,
    )
    assert "Traceback" in done.stderr and "does not exist" in done.stderr


def test_timeout_is_obeyed(tmp_path):
    """A lock that somebody keeps: the command waits as long as it was told, and says so."""
    make_cache(tmp_path)
    _shared._close_all()
    path = container_of(tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], env=environment(), stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"locked\n"
        done = run("rm", tmp_path, "--all", "--timeout", "0.2")
        assert (done.status, done.out) == (2, "") and str(path) in done.err
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert document("rm", tmp_path, "--all")["results"] == 8


#: Holds the lock of the one who writes, as LOCKING.md has it: log, 2^62 + 16, and + 48.
_HOLDER = """\
import fcntl, os, struct, sys, time
from decache import _h5store
raw = _h5store.Store(sys.argv[1])
log = os.open(sys.argv[1] + "-wal", os.O_RDWR)
for offset in (16, 48):
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 2**62 + offset, 16, 0)
    fcntl.fcntl(log, 37, lock)
print("locked", flush=True)
time.sleep(60)
"""


def test_a_reader_that_goes_away(tmp_path):
    """As by ``| head``: no message, and the end by SIGPIPE."""
    path = tmp_path / "many.h5"
    with _h5store.Store(str(path), create=True) as raw:
        batch = raw.batch()
        for number in range(3000):
            batch.set_item(f"m/f{number:04}", "0" * 32, b"x", "{}", [])
        batch.commit()
    process = subprocess.Popen(
        [sys.executable, "-m", "decache", "ls", "-r", str(path)], env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    assert process.stdout.readline().startswith(b"KEY")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == -signal.SIGPIPE
    process.stderr.close()
    assert not Path(f"{path}-wal").exists()


def test_interrupted_from_the_keyboard(tmp_path):
    location = tmp_path / "cache"
    make_cache(location, backend="local")
    code = (
        "import os, signal, sys; from decache import _cli, _migrate; "
        # Whatever started the tests in the background may have had them ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        "_migrate._Run.take_result = lambda *_: os.kill(os.getpid(), signal.SIGINT); "
        "sys.exit(_cli.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "migrate", str(location)], env=environment(),
        capture_output=True, text=True, check=False,
    )
    assert (done.returncode, done.stdout) == (130, "") and done.stderr == "decache: interrupted\n"


def test_the_installed_command_is_the_same():
    if shutil.which("decache") is None:
        text = (TOP / "pyproject.toml").read_text(encoding="utf-8")
        assert '[project.scripts]\ndecache = "decache._cli:main"\n' in text
        return
    done = subprocess.run(["decache", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: decache ")


# -- terminals -------------------------------------------------------------------------------------


def test_colour_only_on_a_terminal(cache):
    assert "\x1b[1m" in on_terminal("ls", cache)
    assert "\x1b" not in on_terminal("ls", cache, NO_COLOR="1")
    assert "\x1b" not in good("ls", cache)


@pytest.mark.parametrize("columns", [60, 80, 132])
def test_tables_fit_the_terminal(tmp_path, columns):
    path = tmp_path / "long.h5"
    with _h5store.Store(str(path), create=True) as raw:
        batch = raw.batch()
        arguments = {"text": "'" + "\u6f22\u5b57 " * 60 + "'"}
        batch.set_item("m" * 90 + "/" + "f" * 90, "0" * 32, b"x",
                       json.dumps({"input_args": arguments}), [])
        batch.commit()
    for command in (["ls"], ["ls", "-r"], ["du"], ["show"]):
        text = on_terminal(*command, path, *(["0"] if command == ["show"] else []),
                           columns=columns, NO_COLOR="1")
        widths = [_cli_output.columns_of(line) for line in text.splitlines()]
        assert max(widths) <= columns and len(widths) > 1
        if command in (["ls"], ["ls", "-r"]):
            assert max(widths) > columns - 3  # there is more to show than room


def test_control_characters_never_reach_the_terminal(tmp_path):
    path = tmp_path / "odd.h5"
    evil = "\x1b]0;title\x07\x9b31m\r\n\u202e"
    with _h5store.Store(str(path), create=True) as raw:
        batch = raw.batch()
        batch.set_item("m/" + evil, "k" + evil, b"x",
                       json.dumps({"input_args": {"a" + evil: evil}}), [])
        batch.set_source("m/" + evil, "def f():\n    " + evil)
        batch.commit()
    seen = []
    for command in (["ls"], ["ls", "-r"], ["du"], ["show"], ["stats"], ["rm", "--all", "-n"]):
        extra = ["k"] if command == ["show"] else []
        text = on_terminal(command[0], path, *command[1:], *extra, NO_COLOR="1")
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text), repr(text)
        seen.append("\\u202e" in text)
    assert sum(seen) >= 3


_SLOW = """\
import sys, time
sys.modules.setdefault("tqdm", None) if {fallback} else None
from decache import _catalog, _cli, _cli_output
_cli_output.PATIENCE = {patience}
walk = _catalog.walk
def slowly(*args):
    for one in walk(*args):
        time.sleep(0.05)
        yield one
_catalog.walk = slowly
sys.exit(_cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("fallback", [True, False], ids=["own", "tqdm"])
def test_progress_on_a_terminal_when_it_takes_long(cache, fallback):
    if not fallback:
        pytest.importorskip("tqdm")
    slow = _SLOW.format(fallback=fallback, patience=0.1)
    shown = on_terminal("ls", cache, code=slow, NO_COLOR="1")
    assert re.search(r"\rReading|\x1b\[K", shown) and "Reading" in shown
    assert "_cached/first" in shown.split("Reading")[-1]  # the table comes when it is gone
    assert "Reading" not in on_terminal("ls", cache, "-q", code=slow, NO_COLOR="1")
    patient = _SLOW.format(fallback=fallback, patience=60)
    assert "Reading" not in on_terminal("ls", cache, code=patient, NO_COLOR="1")


def test_no_progress_in_a_pipe(cache):
    done = subprocess.run(
        [sys.executable, "-c", _SLOW.format(fallback=True, patience=0.0), "ls", str(cache)],
        env=environment(), capture_output=True, text=True, check=True,
    )
    assert done.stderr == "" and "Reading" not in done.stdout


def test_own_progress_bar():
    class Terminal:
        text = ""

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    stream = Terminal()
    bar = _cli_output._Bar("Copying", 4096, True, stream)
    bar.show(100)
    assert stream.text == ""  # not yet
    bar._next = 0.0
    bar.show(1024)
    assert "Copying  25% #####..............." in stream.text
    assert "1.00 KiB of 4.00 KiB" in stream.text
    bar.close()
    assert stream.text.endswith("\r\x1b[K")


# -- units -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500", 500), ("1K", 1024), ("1k", 1024), ("1.5K", 1536), ("2 MiB", 2 << 20),
     ("1GB", 1 << 30), ("3T", 3 << 40), (".5M", 1 << 19), ("7B", 7)],
)
def test_sizes(text, size):
    assert _units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "K", "-1", "1X", "1 KiBs", "one", "1e3", "nan"])
def test_no_sizes(text):
    with pytest.raises(ValueError, match="is no size"):
        _units.parse_size(text)


@pytest.mark.parametrize(
    ("text", "age"),
    [("90s", 90), ("15min", 900), ("12h", 43200), ("30d", 30 * 86400), ("2w", 14 * 86400),
     ("1d12h", 129600), ("1.5 h", 5400), ("0s", 0)],
)
def test_ages(text, age):
    assert _units.parse_age(text) == age


@pytest.mark.parametrize("text", ["", "30", "5x", "d", "-1d", "1d 3"])
def test_no_ages(text):
    with pytest.raises(ValueError, match="is no age"):
        _units.parse_age(text)


def test_sizes_are_shown_in_nine_characters():
    for power in range(63):
        for size in (2**power - 1, 2**power, 2**power + 1, 3 * 2**power // 2, 10**18):
            text = _units.show_size(size)
            assert len(text) <= 9
            number, unit = text.split()
            factor = 1024 ** ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB").index(unit)
            assert float(number) * factor == pytest.approx(size, rel=0.006)


def test_times_are_shown():
    assert [_units.show_ago(1000.0 - ago, 1000.0) for ago in (0, 5, 60, 999)] == [
        "now", "5 s ago", "1 min ago", "16 min ago"
    ]
    assert _units.show_ago(0.0) == _units.show_time(0.0) == _units.show_time(1e30) == "-"
    assert _units.show_ago(1.0, 86400 * 400.0) == "399 d ago"
    assert _units.show_span(0.0123) == "12.3 ms" and _units.show_span(86400 * 4.5) == "4.5 d"
    for exponent in range(-6, 9):
        assert len(_units.show_span(1.234 * 10.0**exponent)) <= 9


# -- the manual ------------------------------------------------------------------------------------


def plain_manual() -> str:
    """The manual's text without markup."""
    text = MANUAL.read_text(encoding="utf-8")
    text = re.sub(r"\\f[BIRP]|\\&", "", text).replace("\\-", "-").replace('"', "")
    return re.sub(r"^\.(B|I|BR|BI|RB|RI|IR|IB) ", "", text, flags=re.MULTILINE)


def test_every_option_is_in_the_manual():
    text = plain_manual()
    seen = 0
    for command in commands_of(make_parser()):
        assert re.search(rf"^decache {command.name}$", text, re.MULTILINE), command.name
        for option in command.options:
            for name in option.names:
                seen += 1
                assert re.search(rf"(?<![\w-]){name}(?![\w-])", text), (command.name, name)
            for value in option.values:
                assert value in text or value.isdigit()
    assert seen > 80


def test_every_option_in_the_manual_exists():
    parser = make_parser()
    known = {name for command in commands_of(parser) for option in command.options
             for name in option.names} | {"--version", "--help"}
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", plain_manual()))
    assert mentioned - known == set() and len(mentioned) > 15


def test_every_positional_is_in_the_manual():
    text = MANUAL.read_text(encoding="utf-8")
    parser = make_parser()
    (group,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    names = {one.metavar for command in group.choices.values()
             for one in command._actions if not one.option_strings}
    assert names == {"LOCATION", "FUNCTION", "ID", "SOURCE"}
    assert all(name in text for name in names)


def test_the_manual_is_well_formed():
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", str(MANUAL)], capture_output=True, text=True,
        check=True,
    )
    assert done.stderr == ""


# -- completion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", COMPLETION)
def test_completion_files_are_what_the_command_prints(shell):
    path = TOP / "documents" / "completion" / COMPLETION[shell]
    printed = good("--completion", shell)
    assert path.read_text(encoding="utf-8") == printed == script(make_parser(), shell)


def complete(*words: str) -> list[str]:
    """What bash offers for the last word."""
    code = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _decache 2>/dev/null; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = TOP / "documents" / "completion" / "decache"
    done = subprocess.run(
        ["bash", "-c", code, "bash", str(path), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.split("\n")[:-1]


def test_bash_completes(tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    assert complete("decache", "") == [*COMMANDS, "-h", "--help", "--version"]
    assert complete("decache", "re") == ["repair"]
    assert complete("decache", "rm", "--d") == ["--dry-run"]
    assert complete("decache", "ls", "--sort", "") == ["name", "results", "bytes", "shared", "used"]
    (tmp_path / "my cache").mkdir()
    assert complete("decache", "ls", f"{tmp_path}/my") == [f"{tmp_path}/my cache"]
    for command in commands_of(make_parser()):
        offered = complete("decache", command.name, "-")
        assert sorted(offered) == sorted(
            name for option in command.options for name in option.names
        )


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_accept_their_files(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = TOP / "documents" / "completion" / COMPLETION[shell]
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_fish_completes():
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    path = TOP / "documents" / "completion" / "decache.fish"
    done = subprocess.run(
        ["fish", "-c", f"source {path}; complete -C 'decache r'; complete -C 'decache ls --so'"],
        capture_output=True, text=True, check=True,
    )
    offered = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert offered == ["repair", "rm", "--sort"]


# -- the package -----------------------------------------------------------------------------------


def test_public_names_are_documented():
    assert decache.__all__ == sorted(set(decache.__all__))
    for name in ("functions", "results", "result", "statistics", "space", "remove", "prune",
                 "verify", "repair", "compact", "doctor", "export", "import_from", "migrate"):
        function = getattr(decache, name)
        assert name in decache.__all__ and "Parameters\n" in function.__doc__
        names = [one for one in function.__code__.co_varnames[: function.__code__.co_argcount
                 + function.__code__.co_kwonlyargcount]]
        assert all(one in function.__doc__ for one in names), name


def test_an_empty_container_has_nothing(tmp_path):
    path = make_empty(tmp_path / "empty.h5")
    assert "no results" in good("ls", path) and "no results" in good("ls", "-r", path)
