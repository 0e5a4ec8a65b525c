"""The source of a cell's rule, and which of its lines each line of the derivation stands for."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

from rnnjax._types import Rule
from rnnjax.experiments.illustrate._lines import Line


class Listing(NamedTuple):
    """Functions of a rule as they stand in their file."""

    path: str  # of the module: "rnnjax/cells/gated/_lstm.py"
    lines: list[str]
    spans: list[tuple[bool, int, int]]  # each statement: of the backward pass, first, last line


def listing_of(rule: Rule) -> Listing:
    """The rule's functions and what they call in their own module, forward before backward."""
    seen: dict[Any, bool] = {}
    for function, back in (
        (rule.project, False),
        (rule.forward, False),
        (rule.backward, True),
        (rule.gradients, True),
    ):
        _collect(function, back, seen)
    lines: list[str] = []
    spans: list[tuple[bool, int, int]] = []
    for function, back in seen.items():
        text = textwrap.dedent(inspect.getsource(function)).rstrip()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.stmt) and not isinstance(node, ast.FunctionDef):
                end = node.end_lineno or node.lineno
                spans.append((back, len(lines) + node.lineno - 1, len(lines) + end - 1))
        lines += [*text.split("\n"), ""]
    module = rule.forward.__module__.replace(".", "/")
    return Listing(f"{module}.py", lines[:-1], spans)


def _collect(function: Callable[..., Any], back: bool, seen: dict[Any, bool]) -> None:
    if function in seen:
        return
    seen[function] = back
    code = function.__code__
    for name in code.co_names:
        other = function.__globals__.get(name)
        if inspect.isfunction(other) and other.__module__ == function.__module__:
            _collect(other, back, seen)


def lines_of(listing: Listing, line: Line, back: bool) -> list[int]:
    """Indices of the lines of code that compute a line; several statements may begin alike."""
    if not line.code:
        return []
    return sorted(
        {
            n
            for of_back, first, last in listing.spans
            if of_back == back and listing.lines[first].strip().startswith(line.code)
            for n in range(first, last + 1)
        }
    )
