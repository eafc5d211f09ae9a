# SPDX-License-Identifier: MIT
"""Completion scripts for shells, made from the parser: ``decache --completion bash``.

The files in the folder ``documents/completion`` are what this prints; a test compares them.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

#: Arguments and options whose values are files or folders.
_PATHS = {"LOCATION", "SOURCE", "PATH", "FILE", "FOLDER", "TARGET"}


class Option(NamedTuple):
    """An option of a command.

    Attributes
    ----------
    names : list of str
    help : str
    values : list of str
        What it may be followed by; empty: anything, or nothing.
    takes_value : bool
    is_path : bool
        Its value is a file or folder.
    """

    names: list[str]
    help: str
    values: list[str]
    takes_value: bool
    is_path: bool


class Command(NamedTuple):
    """A command, and its options."""

    name: str
    help: str
    options: list[Option]


def commands_of(parser: argparse.ArgumentParser) -> list[Command]:
    """Return the commands of the parser of the whole command line."""
    (group,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    helps = {one.dest: one.help or "" for one in group._choices_actions}
    return [
        Command(name, helps[name], _options(one)) for name, one in group.choices.items()
    ]


def _options(parser: argparse.ArgumentParser) -> list[Option]:
    return [
        Option(
            list(one.option_strings),
            (one.help or "").replace("%%", "%"),
            [str(value) for value in one.choices or ()],
            one.nargs != 0,
            one.metavar in _PATHS,
        )
        for one in parser._actions
        if one.option_strings and one.help != argparse.SUPPRESS
    ]


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script for a shell: bash, zsh or fish."""
    make = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    head = "" if shell == "zsh" else _HEAD
    return head + make(commands_of(parser), _options(parser))


_HEAD = "# SPDX-License-Identifier: MIT\n# Made by: decache --completion\n"


# -- bash ------------------------------------------------------------------------------------------

_BASH = """\
_decache()
{{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local command=${{COMP_WORDS[1]}} words=

    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "{commands} {options}" -- "$current")
        return
    fi
    case $command:$previous in
{values}    esac
    if [ -n "$words" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
    fi
    case $current in
    -*)
        case $command in
{cases}        esac
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        ;;
    *)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        ;;
    esac
}}
complete -F _decache decache
"""


def _bash(commands: list[Command], options: list[Option]) -> str:
    values, cases = "", ""
    for command in commands:
        words = " ".join(name for option in command.options for name in option.names)
        cases += f"        {command.name}) words='{words}' ;;\n"
        for option in command.options:
            for name in option.names if option.values else ():
                values += f"    {command.name}:{name}) words='{' '.join(option.values)}' ;;\n"
    return _BASH.format(
        commands=" ".join(command.name for command in commands),
        options=" ".join(name for option in options for name in option.names),
        values=values, cases=cases,
    )


# -- zsh -------------------------------------------------------------------------------------------

_ZSH = """\
#compdef decache
{head}
_decache()
{{
    local -a commands
    commands=(
{commands}    )
    if (( CURRENT == 2 )); then
        _describe -t commands 'command' commands
        _arguments {options}
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
{cases}    esac
}}

_decache "$@"
"""


def _zsh(commands: list[Command], options: list[Option]) -> str:
    cases = ""
    for command in commands:
        specs = " \\\n            ".join(_zsh_spec(option) for option in command.options)
        cases += f"    {command.name})\n        _arguments {specs} \\\n"
        cases += "            '*:file:_files'\n        ;;\n"
    return _ZSH.format(
        head=_HEAD.rstrip("\n"),
        commands="".join(
            f"        {_quoted(command.name + ':' + command.help)}\n" for command in commands
        ),
        options=" ".join(_zsh_spec(option) for option in options),
        cases=cases,
    )


def _zsh_spec(option: Option) -> str:
    text = option.help
    for letter in ("[", "]", ":"):
        text = text.replace(letter, "\\" + letter)
    tail = f"[{text}]"
    if option.takes_value:
        action = f"({' '.join(option.values)})" if option.values else ""
        tail += f":value:{'_files' if option.is_path else action}"
    if len(option.names) == 1:
        return _quoted(option.names[0] + tail)
    either = ",".join(option.names)
    return f"'({' '.join(option.names)})'{{{either}}}{_quoted(tail)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# -- fish ------------------------------------------------------------------------------------------


def _fish(commands: list[Command], options: list[Option]) -> str:
    first = "__fish_use_subcommand"
    lines = [_fish_option(option, first) for option in options]
    for command in commands:
        help_text = _fish_quoted(command.help)
        lines.append(f"complete -c decache -f -n {first} -a {command.name} -d {help_text}")
    for command in commands:
        inside = f"'__fish_seen_subcommand_from {command.name}'"
        lines += [_fish_option(option, inside) for option in command.options]
    return "\n".join(lines) + "\n"


def _fish_option(option: Option, condition: str) -> str:
    words = [f"complete -c decache -n {condition}"]
    for name in option.names:
        words.append(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}")
    if option.takes_value:
        words.append("-r" if option.is_path else "-x")
    if option.values:
        words.append(f"-a {_fish_quoted(' '.join(option.values))}")
    words.append(f"-d {_fish_quoted(option.help)}")
    return " ".join(words)


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
