# SPDX-License-Identifier: MIT
"""The reference: documents/api-c.md from the headers, documents/api-python.md from docstrings.

"make reference" runs this with the package in the build tree; a test compares.

    python scripts/reference.py [FOLDER]
"""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
import re
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

TOP = pathlib.Path(__file__).resolve().parents[1]

# -- C ---------------------------------------------------------------------------------------------

#: In an order in which each needs only those before it.
HEADERS = (
    "error", "id", "array", "store", "blob", "item", "usage", "verify", "compact", "repair",
    "version",
)

C_HEAD = """\
# The C library

*Made by `make reference` from the comments in `h5store/*.h`; change them there.*

`#include <h5store/h5store.h>`, and compile with what `pkg-config --cflags --libs h5store` says.
`examples/store.c` is a complete program.

"""


def c_page() -> str:
    """All public declarations with their contracts."""
    essay = _comment_text(re.search(r"\n/\*\n(.*?)\*/", _header("h5store"), re.DOTALL)[1])
    essay = essay.partition("\n\nTypical use")[0].partition("\n\n")[2]
    parts = [C_HEAD, re.sub(r"(^|\n\n)([\w ]+)\.  ", r"\1**\2.** ", essay), "\n"]
    for name in HEADERS:
        text = _header(name)
        about = _comment_text(re.search(r"\n/\*\n(.*?)\*/", text, re.DOTALL)[1])
        parts.append(f"\n## h5store/{name}.h\n\n{_fence_examples(about)}\n")
        for comment, declaration in _declarations(text):
            parts.append(_c_entry(comment, declaration))
    return "".join(parts)


def _header(name: str) -> str:
    path = TOP / "h5store" / (f"{name}.h.in" if name == "version" else f"{name}.h")
    return path.read_text(encoding="utf-8")


def _comment_text(comment: str) -> str:
    """The text of a comment without its stars."""
    return re.sub(r"(?m)^ ?\* ?", "", comment).strip()


def _fence_examples(text: str) -> str:
    """Indented parts as blocks."""
    block = re.compile(r"((?:^ {2,}\S.*\n?)+)", re.MULTILINE)
    return block.sub(lambda found: f"```text\n{found[1].rstrip()}\n```\n", text)


def _declarations(text: str) -> Iterator[tuple[str, str]]:
    """Documentation comments at the outermost level, each with what it stands before."""
    place = 0
    comment = re.compile(r"^/\*\*(?!<)(.*?)\*/\n", re.MULTILINE | re.DOTALL)
    while found := comment.search(text, place):
        end = found.end()
        while text.startswith("#define", end):
            end = text.index("\n", end) + 1
        if end == found.end() or not text.startswith("\n", end):
            depth = 0
            while depth > 0 or text[end] != ";":
                depth += {"{": 1, "}": -1}.get(text[end], 0)
                end += 1
            end += 1
        yield _comment_text(found[1]), text[found.end() : end].rstrip()
        place = end


def _c_entry(comment: str, declaration: str) -> str:
    name = re.match(
        r"#define (\w+)|enum (\w+)|typedef (?:struct|enum) (\w+)|typedef int \(\*(\w+)"
        r"|enum \{\s*/\*.*?\*/\s*(\w+)|.*?(\w+)\(",
        declaration, re.DOTALL,
    )
    title = next(one for one in name.groups() if one)
    if declaration.startswith("H5STORE_API "):
        declaration = declaration.replace("\n" + " " * 12, "\n").removeprefix("H5STORE_API ")
        declaration = re.sub(r"\s+H5STORE_MUST_CHECK;", ";", declaration)
    declaration = re.sub(r"/\*\*<?", "/*", declaration)
    comment = re.sub(r"@[pc] (\w+)", r"`\1`", comment)
    text, *tagged = re.split(r"@(param(?:\[out\])?|retval|return|since)\s+", comment)
    tags = list(zip(tagged[::2], tagged[1::2], strict=True))
    parts = [f"\n### {title}\n\n```c\n{declaration}\n```\n\n{text.strip()}\n"]
    parameters, results = [], []
    for tag, value in tags:
        value = " ".join(value.split())
        if tag.startswith("param"):
            parameter, _, about = value.partition(" ")
            out = " (out)" * tag.endswith("[out]")
            parameters.append(f"| `{parameter}`{out} | {about} |")
        elif tag == "retval":
            codes = re.match(r"((?:H5STORE_\w+|others)(?:, H5STORE_\w+)*) (.*)", value)
            if codes:
                code = ", ".join(f"`{one}`" for one in codes[1].split(", "))
                results.append(f"| {code.replace('`others`', 'others')} | {codes[2]} |")
            else:
                results.append(f"| all | {value[0].upper()}{value[1:]} |")
        elif tag == "return":
            results.append(f"| a value | {value} |")
    if parameters:
        parts.append("\n| parameter | |\n|--|--|\n" + "\n".join(parameters) + "\n")
    if results:
        parts.append("\n| returns | when |\n|--|--|\n" + "\n".join(results) + "\n")
    return "".join(parts)


# -- Python ----------------------------------------------------------------------------------------

PYTHON_HEAD = """\
# The Python package

*Made by `make reference` from the docstrings in `python/decache/`; change them there.*

Types are those of the stubs, which `mypy` finds in the package.

"""

#: Sections, and the public names in each; the values that functions return follow by themselves.
SECTIONS = {
    "The joblib backend": ("register_cas_store_backend", "CacheWarning"),
    "Arrays without joblib": ("Store",),
    "What is in a cache": ("functions", "results", "result", "statistics", "space"),
    "Keeping it small": ("remove", "prune", "compact"),
    "Checking and repairing": ("verify", "repair", "doctor"),
    "In, out, and over": ("export", "import_from", "migrate"),
}


def python_page() -> str:
    """All public names of decache, and the values that its functions return."""
    import decache
    from decache import _options

    public = {name: getattr(decache, name) for name in decache.__all__ if name != "__version__"}
    errors = {name for name in public if name.endswith("Error")}
    values: dict[type, str] = {}
    parts = [PYTHON_HEAD, inspect.getdoc(decache).partition("\n\n")[0], "\n"]
    for section, names in SECTIONS.items():
        parts.append(f"\n## {section}\n")
        for name in names:
            parts.append(_entry(f"decache.{name}", public.pop(name), values))
        if section == "The joblib backend":
            parts.append(_entry("backend_options", _options.Options, {}))

    parts.append("\n## Errors\n\nAll are `Error`, and many also one of Python's own.\n")
    parts.append("\n| | also | |\n|--|--|--|\n")
    for name in sorted(errors, key=lambda name: (name != "Error", name)):
        error = public.pop(name)
        also = [base.__name__ for base in error.__bases__ if base is not decache.Error]
        also = [f"`{base}`" for base in also if base != "Exception"]
        parts.append(f"| `{name}` | {', '.join(also)} | {inspect.getdoc(error)} |\n")

    parts.append("\n## Values\n\nWhat functions and methods return. None of them can be changed.\n")
    entries: dict[str, str] = {}
    while left := [value for value, title in values.items() if title not in entries]:
        entries[values[left[0]]] = _entry(values[left[0]], left[0], values)
        public.pop(values[left[0]], None)
    parts += [entries[title] for title in sorted(entries)]
    if public:
        raise SystemExit(f"reference.py has no section for {', '.join(public)}")
    return "".join(parts)


def _entry(title: str, thing: Any, values: dict[type, str]) -> str:
    """One function, method or class. Classes of ours that it returns or has are added to values."""
    parts = [f"\n### {title}\n"]
    is_value = isinstance(thing, type) and not inspect.isfunction(vars(thing).get("put"))
    if not is_value:
        name = title.rpartition(".")[2]
        parts.append(f"\n```text\n{_signature(name, thing)}\n```\n")
    parts.append(_markdown(inspect.getdoc(thing)))
    if inspect.isfunction(thing):
        _note(str(inspect.signature(thing).return_annotation), thing, values)
    elif issubclass(thing, tuple):
        rows = [(field, vars(thing)[field].__doc__) for field in thing.__match_args__]
        parts.append("\n| | |\n|--|--|\n")
        parts += [f"| `{field}` | {about} |\n" for field, about in rows]
    elif dataclasses.is_dataclass(thing):
        for field in dataclasses.fields(thing):
            _note(str(field.type), thing, values)
    if isinstance(thing, type):
        members = {name: one for name, one in vars(thing).items() if not name.startswith("_")}
        for name, member in members.items():
            if isinstance(member, property) and member.__doc__:
                parts.append(f"\n`{name}`: {inspect.getdoc(member)}\n")
        for name, member in members.items():
            if inspect.isfunction(member) and not is_value:
                parts.append(_entry(f"{title}.{name}", member, values))
    return "".join(parts)


def _note(annotation: str, where: Any, values: dict[type, str]) -> None:
    """Add the classes of ours that an annotation names."""
    from decache import _h5store

    module = sys.modules[where.__module__]
    for word in re.findall(r"\w+", annotation):
        found = getattr(module, word, None) or getattr(_h5store, word, None)
        if isinstance(found, type) and found.__module__.startswith("decache"):
            if issubclass(found, tuple) or dataclasses.is_dataclass(found):
                # Two may have one name; the one that is not public says whose it is.
                is_other = found is not getattr(sys.modules["decache"], word, found)
                values[found] = f"{word}, of {where.__name__}" if is_other else word


def _signature(name: str, thing: Any) -> str:
    """Name, parameters with their defaults, and what is returned; one line if it fits."""
    signature = inspect.signature(thing)
    words, star = [], False
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            words.append("*")
        star = star or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        default = "..." if callable(parameter.default) else repr(parameter.default)
        bare = parameter.default is parameter.empty
        stars = "*" * (parameter.kind is parameter.VAR_POSITIONAL)
        words.append(f"{stars}{parameter.name}" + ("" if bare else f"={default}"))
    returned = signature.return_annotation
    arrow = "" if returned in ("None", inspect.Signature.empty) else f" -> {returned}"
    arrow = "" if isinstance(thing, type) else arrow.replace("_h5store.", "")
    line = f"{name}({', '.join(words)}){arrow}"
    if len(line) <= 90:
        return line
    inner = textwrap.fill(", ".join(words), 90, initial_indent="    ", subsequent_indent="    ")
    return f"{name}(\n{inner}\n){arrow}"


_HEADING = re.compile(r"^(\w+)\n-+$", re.MULTILINE)


def _markdown(docstring: str | None) -> str:
    """A docstring in NumPy's style as Markdown."""
    text, *sections = _HEADING.split(docstring or "")
    parts = [f"\n{text.strip()}\n".replace("``", "`")]
    for heading, body in zip(sections[::2], sections[1::2], strict=True):
        if heading == "Examples":
            parts.append(f"\n```text\n{body.strip()}\n```\n")
            continue
        parts.append(f"\n**{heading}**\n\n")
        for entry in re.split(r"\n(?=\S)", body.strip()):
            name, _, about = entry.partition("\n")
            about = " ".join(about.replace("``", "`").split())
            names, colon, kind = name.partition(" : ")
            shown = ", ".join(f"`{one}`" for one in names.split(", ")) if colon else f"`{name}`"
            kind, about = f" ({kind})" * bool(colon), f": {about}" * bool(about)
            parts.append(f"* {shown}{kind}{about}\n")
    return "".join(parts)


def main(folder: pathlib.Path) -> None:
    (folder / "api-c.md").write_text(c_page(), encoding="utf-8")
    (folder / "api-python.md").write_text(python_page(), encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if sys.argv[1:] else TOP / "documents")
