"""Gradient checking: a cell's rule against autodiff and central differences, and its values."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import is_feature_shape, is_inexact
from rnnjax._execution import BaseGradient, Sequence
from rnnjax._types import Array, Carry, Cell, Inputs, Params, PyTree
from rnnjax.gradients._autodiff import autodiff
from rnnjax.gradients._bptt import bptt
from rnnjax.gradients._values import by_step, other_ways
from rnnjax.running import Scan, final_carry, prepare, validate

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
    note: str = ""  # why the leaf has no gradient to compare


class ValueRow(NamedTuple):
    """Another way to compute the step, compared with the step."""

    way: str  # "rule", "linear form" or "layers"
    leaf: str
    difference: float  # max |other - step| / max |step|
    passed: bool


class CheckReport(NamedTuple):
    """What `check` found; `print` it for a table."""

    rows: tuple[CheckRow, ...]
    values: tuple[ValueRow, ...]
    passed: bool

    def __str__(self) -> str:
        width = max(len("leaf"), *(len(row.leaf) for row in self.rows))
        head = f"{'leaf':<{width}}  rule-autodiff  rule-differences  autodiff-differences"
        lines = [
            f"{row.leaf:<{width}}  {_number(row.rule_autodiff):>13}"
            f"  {_number(row.rule_differences):>16}  {_number(row.autodiff_differences):>20}"
            f"  {row.note or _word(row.passed)}"
            for row in self.rows
        ]
        worst: dict[str, ValueRow] = {}
        for row in self.values:
            if row.way not in worst or row.difference > worst[row.way].difference:
                worst[row.way] = row
        lines += [
            f"values by the {row.way}: {_number(row.difference)} ({row.leaf})  {_word(row.passed)}"
            for row in worst.values()
        ]
        return "\n".join([head, *lines])


def check(
    cell: Cell,
    params: Params | None = None,
    xs: PyTree | None = None,
    *,
    key: Array | None = None,
    inputs: Inputs = 3,
    lengths: Array | None = None,
    resets: Array | None = None,
    differences: bool = True,
    tolerance: float = 1e-9,
) -> CheckReport:
    """Compare a cell's rule, autodiff and central differences, leaf by leaf, in float64.

    Values first: outputs and last carry by the rule's forward half, by the linear form and by the
    layers, where the cell has them, against the step. Then gradients: the cost is a random linear
    function of all outputs and of the last carry. Its gradients with respect to every leaf of
    params, xs and the initial carry are compared: rule against autodiff entry by entry, and both
    against central differences along eight random directions, complex ones for complex leaves.

    Args:
      cell: any `Cell`; without a rule only autodiff is compared with the differences.
      params: where to check. By default freshly drawn, with noise added so that no bias is zero.
      xs: inputs, leaves `[T, ..., *features]`; by default random, T = 6 and B = 3.
      key: PRNG key of all that is random here.
      inputs: features of the default params and xs, as `Cell.init` takes them.
      lengths, resets: as for `rnnjax.unroll`.
      differences: set to False for a cell that is not meant to have the true gradient, such as
        `lstm_1997(truncate=True)`.
      tolerance: the largest relative difference that passes, of values and between rule and
        autodiff. Against central differences, whose own error is below 1e-8 of a leaf's gradient,
        it is 1e-6.

    Returns:
      A `CheckReport` with a row for every leaf (one without a gradient, such as an integer, says so
      in its note), a row for every value compared, and `passed`.

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
            params = _perturb(keys[1], cell.init(keys[0], inputs))
        if xs is None:
            xs = _draw(keys[2], inputs)
        params, xs = _as_float64(params), _as_float64(xs)
        sequence = validate(cell, params, xs, None, None, lengths, resets)
        # Away from zero, so that no product with the initial carry hides an error.
        sequence = sequence._replace(carry=_perturb(keys[3], sequence.carry))
        values = _compare_values(cell, params, sequence, tolerance)
        problem = _Problem(cell, keys[4], sequence)
        at = Point(params, xs, sequence.carry)
        rows = _compare_gradients(problem, at, keys[5], differences, tolerance)
    passed = all(row.passed for row in (*rows, *values))
    return CheckReport(rows, values, passed)


class _Problem(NamedTuple):
    """A cost of everything that a run gives."""

    cell: Cell
    key: Array
    sequence: Sequence

    def cost(self, at: Point, gradient: BaseGradient) -> Array:
        here = self.sequence._replace(xs=at.xs, carry=at.carry)
        ready, first, xs = prepare(self.cell, at.params, here)
        last, ys = gradient.loop(ready, Scan(), at.params, first, xs, False)
        return _random_sum(self.key, (final_carry(last), ys))


def _compare_values(
    cell: Cell, params: Params, sequence: Sequence, tolerance: float
) -> tuple[ValueRow, ...]:
    want = jax.jit(partial(by_step, cell))(params, sequence)
    rows: list[ValueRow] = []
    for way, run in other_ways(cell, params, sequence):
        got = jax.tree.leaves(jax.jit(run)())
        paths = jax.tree_util.tree_flatten_with_path(dict(zip(("carry", "ys"), want, strict=True)))
        for (path, exact), value in zip(paths[0], got, strict=True):
            if exact.size == 0 or not is_inexact(exact):
                continue
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            difference = _relative(value, exact)
            rows.append(ValueRow(way, name, difference, difference <= tolerance))
    return tuple(rows)


def _compare_gradients(
    problem: _Problem, at: Point, key: Array, differences: bool, tolerance: float
) -> tuple[CheckRow, ...]:
    gradient_of = jax.jit(jax.grad(problem.cost, allow_int=True), static_argnums=1)
    exact = jax.tree.leaves(gradient_of(at, autodiff()))
    rule = [None] * len(exact)
    if problem.cell.rule is not None:
        rule = jax.tree.leaves(gradient_of(at, bptt()))
    value = jax.jit(jax.vmap(lambda point: problem.cost(point, autodiff())))
    limits = (tolerance, _DIFFERENCES_TOLERANCE, _DIFFERENCES_TOLERANCE)
    rows: list[CheckRow] = []
    for index, (path, leaf) in enumerate(jax.tree_util.tree_flatten_with_path(at)[0]):
        name = jax.tree_util.keystr(path).lstrip(".")
        note = "empty" if leaf.size == 0 else f"not differentiable ({leaf.dtype})"
        if leaf.size == 0 or not is_inexact(leaf):
            rows.append(CheckRow(name, *[math.nan] * 3, passed=True, note=note))
            continue
        by_rule, by_autodiff = rule[index], exact[index]
        figures = [_relative(by_rule, by_autodiff), math.nan, math.nan]
        if differences:
            directions, slopes = _central(value, at, index, jax.random.fold_in(key, index))
            along = partial(_along, directions)
            scale = jnp.linalg.norm(by_autodiff)
            figures[1] = _relative(None if by_rule is None else along(by_rule), slopes, scale)
            figures[2] = _relative(along(by_autodiff), slopes, scale)
        passed = not any(f > limit for f, limit in zip(figures, limits, strict=True))
        rows.append(CheckRow(name, *figures, passed=passed))
    return tuple(rows)


def _along(directions: Array, gradient: Array) -> Array:
    """The slope along each direction [8]: Re Σ d g, by JAX's convention for complex numbers."""
    return jnp.real(jnp.tensordot(directions, gradient, axes=gradient.ndim))


def _central(
    value: Callable[[Point], Array], at: Point, index: int, key: Array
) -> tuple[Array, Array]:
    """Unit directions [8, ...] in one leaf, and the cost's slope along each [8]."""
    leaves, tree = jax.tree.flatten(at)
    leaf = leaves[index]
    directions = jax.random.normal(key, (_DIRECTIONS, *leaf.shape), leaf.dtype)
    axes = tuple(range(1, directions.ndim))
    directions /= jnp.sqrt(jnp.sum(jnp.abs(directions) ** 2, axis=axes, keepdims=True))

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
    # A NaN in either is an error, not a column that does not apply.
    return math.inf if math.isnan(difference) else difference / size if size else difference


def _random_sum(key: Array, tree: PyTree) -> Array:
    """A fixed random linear function of all differentiable leaves, real."""
    total = jnp.zeros(())
    for index, leaf in enumerate(x for x in jax.tree.leaves(tree) if is_inexact(x)):
        weights = jax.random.normal(jax.random.fold_in(key, index), leaf.shape, leaf.dtype)
        total += jnp.sum(jnp.real(weights * leaf))
    return total


def _perturb(key: Array, tree: PyTree) -> PyTree:
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, max(len(leaves), 1))
    noisy = [
        x + 0.3 * jax.random.normal(k, x.shape, x.dtype) if is_inexact(x) else x
        for k, x in zip(keys, leaves, strict=False)
    ]
    return jax.tree.unflatten(structure, noisy)


def _draw(key: Array, inputs: Inputs) -> PyTree:
    """Random inputs [6, 3, *features] for the features that `Cell.init` takes."""

    shapes, tree = jax.tree.flatten(inputs, is_leaf=is_feature_shape)
    keys = jax.random.split(key, len(shapes))
    drawn = []
    for k, shape in zip(keys, shapes, strict=True):
        features = (shape,) if isinstance(shape, int) else shape
        drawn.append(jax.random.normal(k, (6, 3, *features)))
    return jax.tree.unflatten(tree, drawn)


def _as_float64(tree: PyTree) -> PyTree:
    def widen(x: Array) -> Array:
        if not is_inexact(x):
            return x
        return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float64))

    return jax.tree.map(widen, tree)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1e}"


def _word(passed: bool) -> str:
    return "ok" if passed else "WRONG"
