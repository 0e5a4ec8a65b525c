"""Docstrings as this library writes them, for Sphinx: Unicode maths, backticks, references.

They are made to be read in the source. So before napoleon takes the sections apart, equations
(indented blocks) are kept as they stand, `names` are set as code, each reference gets a line of its
own, and what reStructuredText would take for markup is escaped.
"""

import inspect
import re
from typing import Any

from api import fields_of

_SECTION = re.compile(r"(Args|Returns|Yields|Raises|Example|Examples|References|Note|Notes):")
_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
_ENTRY = re.compile(r"\S.*\((in preparation|(18|19|20)\d\d[a-z]?)\)")


def setup(app: Any) -> dict[str, bool]:
    """Go before napoleon."""
    app.connect("autodoc-process-docstring", _on_docstring, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _on_docstring(
    app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    del app, name, options
    if what == "class" and lines and lines[0].startswith(f"{value.__name__}("):
        lines[:] = []  # what NamedTuple writes itself: the fields, which come below
    lines[:] = _restructured(lines)
    if what == "class":
        lines += _fields(value)


def _fields(value: type) -> list[str]:
    found = fields_of(value) if inspect.isclass(value) else []
    if not found:
        return []
    lines = ["", ".. list-table::", "   :class: fields", "   :widths: auto", ""]
    for name, kind, comment in found:
        lines += [f"   * - ``{name}``", f"     - ``{kind}``", f"     - {_inline(comment)}"]
    return [*lines, ""]


def _restructured(lines: list[str]) -> list[str]:
    out: list[str] = []
    section = ""
    for block in _blocks(lines):
        head = block[0].rstrip()
        if match := _SECTION.fullmatch(head):
            section = match[1]
            out += [head]
            block = block[1:]
            if section == "References":
                out += [*_references(block), ""]
                continue
        if not block:
            continue
        if any(line.lstrip().startswith(">>>") for line in block):
            out += [*block, ""]
        elif not section and all(line.startswith("  ") for line in block):
            out += [".. code-block:: text", "", *block, ""]
        else:
            out += [*_inline("\n".join(block)).split("\n"), ""]
    return out


def _blocks(lines: list[str]) -> list[list[str]]:
    """Paragraphs; one that continues as an indented block is divided there."""
    blocks: list[list[str]] = [[]]
    previous = 0
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if not line.strip():
            blocks.append([])
        elif (
            (_SECTION.fullmatch(line.rstrip())
            and blocks[-1])
            or (blocks[-1] and not blocks[-1][0].startswith(" ") and depth >= 4 > previous
            and not any(map(_SECTION.fullmatch, blocks[-1])))
        ):  # fmt: skip
            blocks.append([line])
        else:
            blocks[-1].append(line)
        previous = depth
    return [block for block in blocks if block]


def _references(block: list[str]) -> list[str]:
    entries: list[str] = []
    for line in block:
        if _ENTRY.match(line.strip()) or not entries:
            entries.append(line.strip())
        else:
            entries[-1] += " " + line.strip()
    return ["", *(f"  - {_inline(entry)}" for entry in entries)]


def _inline(text: str) -> str:
    parts = _CODE.split(text)
    return "".join(_code(part) if n % 2 else _escaped(part) for n, part in enumerate(parts))


def _code(span: str) -> str:
    return f"``{span.strip('`').strip()}``"


def _escaped(text: str) -> str:
    text = re.sub(r"([\\*|])", r"\\\1", text)
    return re.sub(r"_(?![A-Za-z0-9])", r"\\_", text)
