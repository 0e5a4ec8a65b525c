"""Which gradient runs by which method, under which transformation: found by trying each.

Nothing is compiled: it is traced, and lowered where a refusal comes as late as that.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

import rnnjax
from benchmarks.markdown import grid
from benchmarks.ways import GRADIENTS, METHODS

T, B, D, H = 50, 2, 2, 2  # longer than any window of the table
_OWN = rnnjax.Cell(*rnnjax.vanilla(H, "sigmoid")[:3])  # a user's: three functions
CELLS: dict[str, rnnjax.Cell] = {
    "vanilla": rnnjax.vanilla(H),
    "lstm": rnnjax.lstm(H),
    "gru": rnnjax.gru(H),
    'gru(reset="before")': rnnjax.gru(H, reset="before"),
    "ctrnn": rnnjax.fixed_dt(rnnjax.ctrnn(H, tau=4.0), 1.0),
    "min_gru": rnnjax.min_gru(H),
    "lru": rnnjax.lru(H),
    "unicornn": rnnjax.unicornn(H),
    "stack": rnnjax.stack(rnnjax.lstm(H), rnnjax.gru(H)),
    "your own": _OWN,
}
FLAGS: dict[str, Any] = {"lengths": jnp.full(B, 9), "resets": jnp.zeros((T, B), bool)}
Loss = Callable[..., Any]
TRANSFORMS: dict[str, Callable[[Loss, Any], Any]] = {
    "vmap": lambda loss, at: jax.vmap(jax.grad(loss))(jax.tree.map(lambda x: x[None], at)),
    "jvp": lambda loss, at: jax.jvp(loss, (at,), (at,)),
    "grad of grad": lambda loss, at: jax.jvp(jax.grad(loss), (at,), (at,)),
}


def combinations() -> str:
    """The table in Markdown: a row for each gradient, a column for each method. Half a minute."""
    heads = ["gradient", *(f"`{name}`" for name in METHODS)]
    heads += ["lengths, resets, reverse", "of xs", "of the first carry", "cells"]
    lines = [_line(f"`{name}`", gradient.value) for name, gradient in GRADIENTS.items()]
    by_method = (_cells(None, method) for method in METHODS.values())
    lines.append(["cells", *by_method, *[""] * 4])
    return grid(heads, lines, left=len(heads))


def _line(name: str, gradient: Any) -> list[str]:
    cell = next((c for c in CELLS.values() if runs(c, gradient)), None)
    plain = METHODS["sequential()"]
    if cell is None:
        raise ValueError(f"{name} runs none of {', '.join(CELLS)}")
    by_method = [_transforms(gradient, method) for method in METHODS.values()]
    of = [runs_of(field, cell, gradient) for field in ("xs", "carry")]
    marks = ("yes" if found else "no" for found in of)
    return [name, *by_method, flags_of(cell, gradient), *marks, _cells(gradient, plain)]


def flags_of(cell: rnnjax.Cell, gradient: Any) -> str:
    """`all`, or which are refused, of lengths, resets and reverse."""
    options = {**FLAGS, "reverse": True}
    if runs(cell, gradient, **options):
        return "all"
    each = (name for name, v in options.items() if not runs(cell, gradient, **{name: v}))
    return ", ".join(f"no {name}" for name in each)


def runs(cell: rnnjax.Cell, gradient: Any, method: Any = None, **options: Any) -> bool:
    """Whether a gradient of params is there."""
    method = METHODS["sequential()"] if method is None else method
    loss, at = _loss(cell, gradient, method, **options)
    return _works(lambda: jax.grad(loss)(at))


def _transforms(gradient: Any, method: Any) -> str:
    """`all`, or which are refused; a dash where the two do not go together for any cell."""
    for cell in CELLS.values():
        if runs(cell, gradient, method):
            missing = [n for n in TRANSFORMS if not transforms(cell, gradient, method, n)]
            return ", ".join(f"no {name}" for name in missing) or "all"
    return "–"


def transforms(cell: rnnjax.Cell, gradient: Any, method: Any, name: str) -> bool:
    """Whether one of TRANSFORMS works."""
    loss, at = _loss(cell, gradient, method)
    return _works(lambda: TRANSFORMS[name](loss, at), lower=True)


def _cells(gradient: Any, method: Any) -> str:
    return _named(name for name, cell in CELLS.items() if runs(cell, gradient, method))


def _named(found: Iterable[str]) -> str:
    names = list(found)
    missing = [name for name in CELLS if name not in names]
    if not missing:
        return "any"
    return f"all but {', '.join(missing)}" if len(missing) < 3 else ", ".join(names)


@cache
def _point(cell: rnnjax.Cell) -> tuple[Any, Any]:
    return cell.init(jax.random.key(0), D), jnp.ones((T, B, D))


def _loss(cell: rnnjax.Cell, gradient: Any, method: Any, **options: Any) -> tuple[Loss, Any]:
    params, xs = _point(cell)

    def loss(params: Any) -> Any:
        ys = rnnjax.unroll(cell, params, xs, gradient=gradient, method=method, **options)[1]
        return jnp.sum(ys)

    return loss, params


def runs_of(field: str, cell: rnnjax.Cell, gradient: Any) -> bool:
    """Whether the gradient of "xs" or of the first "carry" is there."""
    params, xs = _point(cell)
    carry = cell.initial_carry(params, (B,))
    at = xs if field == "xs" else carry

    def loss(at: Any) -> Any:
        given = (at, carry) if field == "xs" else (xs, at)
        return jnp.sum(rnnjax.unroll(cell, params, given[0], carry=given[1], gradient=gradient)[1])

    return _works(lambda: jax.grad(loss)(at))


def _works(run: Callable[[], Any], *, lower: bool = False) -> bool:
    """Whether it can be traced; refusals of forward mode come when it is lowered."""
    try:
        jax.jit(run).lower() if lower else jax.eval_shape(run)
    except (TypeError, ValueError, NotImplementedError):
        return False
    return True
