"""Wrong calls made systematically from a valid one, and what each of them comes to.

Every argument of the valid call is replaced by what users put there by mistake: another type,
shape or dtype, its neighbour, a function that was not called, the params of another cell. A wrong
call is *clear* if an error of rnnjax's own says what is wrong, *right* if it gives the same result
as the valid call (a list for an array), *unclear* if another error surfaces, and *wrong* if it
gives another result in silence.
"""

import ast
import contextlib
import functools
import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from op_by_op import op_by_op

import rnnjax
from rnnjax import Cell, Layer

SOURCE = str(Path(rnnjax.__file__).parent)
OTHER_CELL = rnnjax.peephole_lstm(7)
OTHER_PARAMS = OTHER_CELL.init(jax.random.key(0), 6)
# What an error has to say, unless it names the argument.
_HELPS = re.compile(r"expect|must|needs|reads? |pass |give |use |is a |are ")


class Call(NamedTuple):
    """A valid call."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    accepted: tuple[str, ...] = ()  # calls that are right, with another result: patterns of labels
    eager: bool = True  # op by op, see `op_by_op`: compiling the calls that are right takes long


class Outcome(NamedTuple):
    call: str
    kind: str  # "clear", "right", "unclear" or "wrong"
    detail: str


def outcomes(name: str, call: Call) -> list[Outcome]:
    """What every wrong call that is made from a valid one comes to."""
    with op_by_op() if call.eager else contextlib.nullcontext():
        return _outcomes(name, call)


def _outcomes(name: str, call: Call) -> list[Outcome]:
    want = call.function(**call.arguments)
    found = []
    for label, arguments in wrong_calls(call):
        if any(re.fullmatch(pattern, label) for pattern in call.accepted):
            continue
        kind, detail = _outcome(call.function, arguments, want, label)
        found.append(Outcome(f"{name}({label})", kind, detail))
    return found


def _outcome(function: Any, arguments: dict[str, Any], want: Any, label: str) -> tuple[str, str]:
    try:
        got = function(**arguments)
    except Exception as error:  # what a user would see
        detail = _line(f"{type(error).__name__}: {error}")
        return ("clear" if _is_clear(error, label) else "unclear"), detail
    return ("right" if same(got, want) else "wrong"), _line(repr(got))


def _line(text: str) -> str:
    return " ".join(text[:300].split())


def _is_clear(error: Exception, label: str) -> bool:
    if isinstance(error, FileNotFoundError):
        return True  # it names the file
    if not isinstance(error, TypeError | ValueError):
        return False
    frame = error.__traceback__
    while frame.tb_next is not None:
        frame = frame.tb_next
    file = frame.tb_frame.f_code.co_filename
    if not file.startswith(SOURCE) or frame.tb_lineno not in _lines_that_raise(file):
        return False
    names = [name.strip() for name in label.split(":")[0].split("<->")]
    return any(name in str(error) for name in names) or bool(_HELPS.search(str(error)))


@functools.cache
def _lines_that_raise(file: str) -> set[int]:
    nodes = ast.walk(ast.parse(Path(file).read_text()))
    raises = [node for node in nodes if isinstance(node, ast.Raise)]
    return {line for node in raises for line in range(node.lineno, node.end_lineno + 1)}


def same(got: Any, want: Any) -> bool:
    """Whether two results are equal: arrays and floats by value, all else by ==."""
    got_leaves, got_tree = jax.tree.flatten(got)
    want_leaves, want_tree = jax.tree.flatten(want)
    return got_tree == want_tree and all(map(_same_leaf, got_leaves, want_leaves))


def _same_leaf(got: Any, want: Any) -> bool:
    if type(got) is type(want) is float:
        got, want = np.float64(got), np.float64(want)
    if not hasattr(want, "dtype"):
        return type(got) is type(want) and bool(got == want)
    if getattr(got, "dtype", None) != want.dtype or got.shape != want.shape:
        return False
    if isinstance(want, jax.ShapeDtypeStruct):
        return True
    if jnp.issubdtype(want.dtype, jax.dtypes.prng_key):
        got, want = jax.random.key_data(got), jax.random.key_data(want)
    return bool(np.allclose(np.asarray(got), np.asarray(want), rtol=1e-5, equal_nan=True))


def wrong_calls(call: Call) -> Iterator[tuple[str, dict[str, Any]]]:
    """Wrong calls, each by its label: "xs: None", "params <-> xs"."""
    names = list(call.arguments)
    for name, value in call.arguments.items():
        others = [*_instead(value, _optional(call.function, name))]
        if isinstance(value, Cell) and "params" in call.arguments:
            others.append(("another cell", OTHER_CELL))
        for what, other in others:
            yield f"{name}: {what}", {**call.arguments, name: other}
    for one, two in itertools.pairwise(names):
        a, b = call.arguments[one], call.arguments[two]
        alike = isinstance(a, int | float | str | Cell) and type(a) is type(b)
        if not alike and not (type(a) is type(b) and same(a, b)):
            yield f"{one} <-> {two}", {**call.arguments, one: b, two: a}


def _optional(function: Any, name: str) -> bool:
    """Whether None is a default of this argument."""
    parameter = inspect.signature(function).parameters.get(name)
    return parameter is not None and parameter.default is None


def _instead(value: Any, optional: bool) -> Iterator[tuple[str, Any]]:
    """What is put in the place of a value by mistake."""
    if not optional and value is not None:
        yield "None", None
    if not isinstance(value, str | Path):
        yield "string", "no such"
    yield from _of_kind(value)


def _of_kind(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Cell):
        yield from _for_cell(value)
    elif isinstance(value, Layer):
        yield from [("uncalled", rnnjax.recurrent), ("list", [value]), ("number", 3)]
    elif isinstance(value, bool):
        yield from [("'no'", "no"), ("2", 2), ("list", [value])]
    elif isinstance(value, int):
        yield from [("-1", -1), ("1.5", 1.5), ("nan", np.nan), ("digits", str(value))]
        yield from [("list", [value]), ("uncalled", len), ("flag", True)]
    elif isinstance(value, float):
        yield from [("nan", np.nan), ("digits", str(value)), ("list", [value])]
        yield from [("uncalled", len), ("complex", 1j)]
    elif isinstance(value, str):
        yield from [("unknown", "no such"), ("number", 3), ("list", [value]), ("uncalled", len)]
    elif isinstance(value, Path):
        yield from [("missing", Path("no/such/file")), ("number", 3), ("list", [value])]
    elif hasattr(value, "dtype") and hasattr(value, "shape"):
        yield from _for_array(value)
    elif isinstance(value, dict | tuple | list):
        yield from _for_tree(value)
    elif callable(value):
        yield from [("number", 3), ("no arguments", lambda: None)]
        yield from [("gives None", lambda *_, **__: None), ("list", [value])]
    elif value is not None:  # a gradient, a method
        yield from [("uncalled", type(value)), ("number", 3), ("list", [value])]


def _for_cell(cell: Cell) -> Iterator[tuple[str, Any]]:
    yield from [("uncalled", rnnjax.lstm), ("list", [cell]), ("number", 3)]
    yield "layer", rnnjax.recurrent(cell)
    yield "params", OTHER_PARAMS


def _for_array(value: Any) -> Iterator[tuple[str, Any]]:
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        yield from [("seed", 0), ("zeros", jnp.zeros(3)), ("many", jax.random.split(value, 3))]
        return
    array = np.asarray(value)
    yield from [("list", array.tolist()), ("number", 3)]
    yield "another axis", jnp.asarray(array[None])
    if array.ndim:
        if array.size:
            yield "an axis less", jnp.asarray(array[0])
        yield "longer", jnp.asarray(np.concatenate([array, array[..., :1]], axis=-1))
    if array.dtype.kind != "f":
        yield "floats", jnp.asarray(array, float)
    if array.dtype.kind not in "iu":
        yield "integers", jnp.asarray(array.real.astype(int))
    if array.dtype.kind != "c":
        yield "complex", jnp.asarray(array, complex)
    if array.dtype.kind in "iu":
        yield "negative", jnp.asarray(-1 - array)
        yield "huge", jnp.asarray(array + 1000)
    yield "words", np.full(array.shape, "word")


def _for_tree(value: Any) -> Iterator[tuple[str, Any]]:
    """For params, carries, states, and sequences of anything."""
    yield "number", 3
    if hasattr(value, "_fields"):
        yield from [("dict", value._asdict()), ("tuple", tuple(value)), ("list", list(value))]
        yield "wrong fields", dict.fromkeys(("a", "b"), value[0])
        yield "another's params", OTHER_PARAMS
    elif isinstance(value, tuple | list) and value:
        yield "one less", value[:-1]
        yield "one more", (*value, value[-1])
    leaves, tree = jax.tree.flatten(value)
    places = [i for i, leaf in enumerate(leaves) if hasattr(leaf, "dtype") and leaf.ndim]
    for i in places[:2]:
        for what, other in _instead_of_leaf(leaves[i]):
            yield (
                f"leaf {i} {what}",
                jax.tree.unflatten(tree, [*leaves[:i], other, *leaves[i + 1 :]]),
            )


def _instead_of_leaf(leaf: Any) -> Iterator[tuple[str, Any]]:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return
    yield from [("None", None), ("string", "w"), ("list", np.asarray(leaf).tolist())]
    if leaf.ndim > 1 and leaf.shape[-1] != leaf.shape[-2]:
        yield "transposed", jnp.swapaxes(leaf, -1, -2)
    yield "another axis", leaf[None]
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        yield "integers", leaf.real.astype(int)
        small = jnp.complex64 if jnp.iscomplexobj(leaf) else jnp.float16
        yield "another dtype", leaf.astype(small)
