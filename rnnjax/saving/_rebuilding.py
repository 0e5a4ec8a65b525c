"""A cell from the text that it prints as: calls of known factories on literals, and nothing else.

The text is parsed and never evaluated.
"""

import ast
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from rnnjax import combinators, unrolling
from rnnjax._names import nearest
from rnnjax._types import Cell
from rnnjax.cells import FACTORIES, initializers
from rnnjax.unrolling import Layer

_NUMBERS = {"inf": math.inf, "nan": math.nan}
_MAX_TEXT = 100_000


def rebuilt(text: str) -> Cell | Layer:
    """The cell or layer that prints as `text`.

    Raises:
      ValueError: no call of a factory that is known here, or one that the factory refuses.
    """
    if len(text) > _MAX_TEXT:
        raise ValueError(f"its description has {len(text)} characters, more than any cell's")
    try:
        tree = ast.parse(text, mode="eval").body
        made = _value(tree, _models())
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r} is not the call that makes a cell ({error})") from None
    if not isinstance(made, Cell | Layer):
        raise ValueError(f"{text!r} is not the call that makes a cell")
    return made


def _models() -> dict[str, Callable[..., Any]]:
    """What a call may name; factories that a user registered among them."""
    layers = {name: getattr(unrolling, name) for name in ("recurrent", "bidirectional", "serial")}
    return {**combinators.COMBINATORS, **layers, **FACTORIES}


def _initializers() -> dict[str, Callable[..., Any]]:
    each = {name: getattr(initializers, name) for name in initializers.__all__}
    return {name: value for name, value in each.items() if inspect.isfunction(value)}


def _value(node: ast.expr, models: Mapping[str, Callable[..., Any]]) -> Any:
    if isinstance(node, ast.Call):
        return _called(node, models)
    if isinstance(node, ast.Tuple):
        return tuple(_value(entry, models) for entry in node.elts)
    if isinstance(node, ast.Name) and node.id in _NUMBERS:
        return _NUMBERS[node.id]
    if isinstance(node, ast.UnaryOp) and ast.unparse(node) == "-inf":
        return -math.inf
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{ast.unparse(node)!r} is no number, text, or call of a cell") from None


def _called(node: ast.Call, models: Mapping[str, Callable[..., Any]]) -> Any:
    if not isinstance(node.func, ast.Name) or any(word.arg is None for word in node.keywords):
        raise ValueError(f"{ast.unparse(node)!r} is not the call of a cell's factory")
    name = node.func.id
    make = models.get(name) or _initializers().get(name)
    if make is None:
        raise ValueError(
            f"there is no cell called {name!r} here. If it is yours, first import the module that "
            f"makes it with @rnnjax.cells.factory, or pass cell={nearest(name, models)}"
        )
    given = [_value(argument, models) for argument in node.args]
    named = {str(word.arg): _value(word.value, models) for word in node.keywords}
    try:
        return make(*given, **named)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{ast.unparse(node)} cannot be made: {error}") from error
