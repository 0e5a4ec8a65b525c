"""`check`: is a cell's hand-derived rule right?"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import is_float
from rnnjax._types import Array, Carry, Cell, Gradient, Params, PyTree
from rnnjax.cells._sequence import checked_sequence, final_carry, prepare
from rnnjax.gradients._autodiff import autodiff
from rnnjax.gradients._bptt import bptt
from rnnjax.methods import sequential

_STEP = 1e-5  # of the central differences
_DIRECTIONS = 8
_DIFFERENCES_TOLERANCE = 1e-6


class Point(NamedTuple):
    """Where the derivatives are taken: all that is differentiable."""

    params: Params
    xs: PyTree
    carry: Carry


class CheckRow(NamedTuple):
    """Relative differences for one leaf; NaN where a column does not apply."""

    leaf: str
    rule_autodiff: float  # max |rule - autodiff| / max |autodiff|
    rule_differences: float  # of slopes along random directions, by the norm of the gradient
    autodiff_differences: float  # the same
    passed: bool


class CheckReport(NamedTuple):
    """What `check` found; `print` it for a table."""

    rows: tuple[CheckRow, ...]
    passed: bool

    def __str__(self) -> str:
        width = max(len("leaf"), *(len(row.leaf) for row in self.rows))
        head = f"{'leaf':<{width}}  rule-autodiff  rule-differences  autodiff-differences"
        lines = [
            f"{row.leaf:<{width}}  {_figure(row.rule_autodiff):>13}"
            f"  {_figure(row.rule_differences):>16}  {_figure(row.autodiff_differences):>20}"
            f"  {'ok' if row.passed else 'WRONG'}"
            for row in self.rows
        ]
        return "\n".join([head, *lines])


def check(
    cell: Cell,
    params: Params | None = None,
    xs: PyTree | None = None,
    *,
    key: Array | None = None,
    input_size: int = 3,
    lengths: Array | None = None,
    resets: Array | None = None,
    differences: bool = True,
    tolerance: float = 1e-9,
) -> CheckReport:
    """Compare a cell's rule, autodiff and central differences, leaf by leaf, in float64.

    The cost is a random linear function of all outputs and of the last carry. Its gradients with
    respect to every leaf of params, xs and the initial carry are compared: rule against autodiff
    entry by entry, and both against central differences along eight random directions.

    Args:
      cell: any `Cell`; without a rule only autodiff is held against the differences.
      params: where to check. By default freshly drawn, with noise added so that no bias is zero.
      xs: inputs `[T, ..., D]`; by default random, T = 6 and B = 3.
      key: PRNG key of all that is random here.
      input_size: D of the default params and xs.
      lengths, resets: as for `rnnjax.unroll`.
      differences: set to False for a cell that is not meant to have the true gradient, such as
        `lstm_1997(truncate=True)`.
      tolerance: the largest relative difference between rule and autodiff that passes. Against
        central differences, whose own error is below 1e-8 of a leaf's gradient, it is 1e-6.

    Returns:
      A `CheckReport` with one row a leaf, and `passed`.

    Raises:
      TypeError, ValueError: as `rnnjax.unroll`.

    Example:
      >>> import rnnjax
      >>> rnnjax.gradients.check(rnnjax.lstm(4)).passed
      True
    """
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0) if key is None else key, 6)
        if params is None:
            params = _perturb(keys[1], cell.init(keys[0], input_size))
        if xs is None:
            xs = jax.random.normal(keys[2], (6, 3, input_size))
        params, xs = _as_float64(params), _as_float64(xs)
        sequence = checked_sequence(cell, params, xs, None, None, lengths, resets)
        # Away from zero, so that no product with the initial carry hides an error.
        carry = _perturb(keys[3], sequence.carry)

        def cost(at: Point, gradient: Gradient) -> Array:
            here = sequence._replace(xs=at.xs, carry=at.carry)
            ready, first, inputs = prepare(cell, at.params, here)
            last, ys = gradient.run(ready, sequential(), at.params, first, inputs, False)
            return _random_sum(keys[4], (final_carry(last), ys))

        rows = _compare(cell, cost, Point(params, xs, carry), keys[5], differences, tolerance)
    return CheckReport(rows, all(row.passed for row in rows))


def _compare(
    cell: Cell,
    cost: Callable[[Point, Gradient], Array],
    at: Point,
    key: Array,
    differences: bool,
    tolerance: float,
) -> tuple[CheckRow, ...]:
    gradient_of = jax.jit(jax.grad(cost, allow_int=True), static_argnums=1)
    exact = jax.tree.leaves(gradient_of(at, autodiff()))
    rule = [None] * len(exact)
    if cell.rule is not None:
        rule = jax.tree.leaves(gradient_of(at, bptt()))
    value = jax.jit(jax.vmap(lambda point: cost(point, autodiff())))
    rows = []
    for index, (path, leaf) in enumerate(jax.tree_util.tree_flatten_with_path(at)[0]):
        if not is_float(leaf) or leaf.size == 0:
            continue
        by_rule, by_autodiff = rule[index], exact[index]
        figures = [_relative(by_rule, by_autodiff), math.nan, math.nan]
        if differences:
            directions, slopes = _central(value, at, index, jax.random.fold_in(key, index))
            along = partial(jnp.tensordot, directions, axes=leaf.ndim)
            scale = jnp.linalg.norm(by_autodiff)
            figures[1] = _relative(None if by_rule is None else along(by_rule), slopes, scale)
            figures[2] = _relative(along(by_autodiff), slopes, scale)
        limits = (tolerance, _DIFFERENCES_TOLERANCE, _DIFFERENCES_TOLERANCE)
        passed = not any(f > limit for f, limit in zip(figures, limits, strict=True))
        rows.append(CheckRow(jax.tree_util.keystr(path).lstrip("."), *figures, passed=passed))
    return tuple(rows)


def _central(
    value: Callable[[Point], Array], at: Point, index: int, key: Array
) -> tuple[Array, Array]:
    """Unit directions [8, ...] in one leaf, and the cost's slope along each [8]."""
    leaves, tree = jax.tree.flatten(at)
    leaf = leaves[index]
    directions = jax.random.normal(key, (_DIRECTIONS, *leaf.shape))
    norms = jnp.sqrt(jnp.sum(directions**2, axis=tuple(range(1, directions.ndim)), keepdims=True))
    directions = directions / norms

    def shifted(step: float) -> Array:
        many = [jnp.broadcast_to(x, (_DIRECTIONS, *x.shape)) for x in leaves]
        many[index] = many[index] + step * directions
        return value(jax.tree.unflatten(tree, many))

    return directions, (shifted(_STEP) - shifted(-_STEP)) / (2 * _STEP)


def _relative(a: Array | None, b: Array, scale: Array | None = None) -> float:
    """max |a - b| / max |b| (or / scale); NaN, not compared, where there is no a."""
    if a is None:
        return math.nan
    difference = float(jnp.max(jnp.abs(a - b)))
    size = float(jnp.max(jnp.abs(b)) if scale is None else scale)
    # A NaN in either gradient is an error, not a column that does not apply.
    return math.inf if math.isnan(difference) else difference / size if size else difference


def _random_sum(key: Array, tree: PyTree) -> Array:
    """A fixed random linear function of all float leaves."""
    total = jnp.zeros(())
    for index, leaf in enumerate(x for x in jax.tree.leaves(tree) if is_float(x)):
        total += jnp.sum(jax.random.normal(jax.random.fold_in(key, index), leaf.shape) * leaf)
    return total


def _perturb(key: Array, tree: PyTree) -> PyTree:
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, max(len(leaves), 1))
    noisy = [
        x + 0.3 * jax.random.normal(k, x.shape) if is_float(x) else x
        for k, x in zip(keys, leaves, strict=False)
    ]
    return jax.tree.unflatten(structure, noisy)


def _as_float64(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64) if is_float(x) else x, tree)


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1e}"
