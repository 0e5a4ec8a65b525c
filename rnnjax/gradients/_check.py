"""Gradient checking: a cell's rule against autodiff and central differences, and its values."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import (
    check_cell,
    check_flag,
    check_inputs,
    check_number,
    described,
    is_feature_shape,
    is_inexact,
)
from rnnjax._dtypes import promoted
from rnnjax._execution import BaseGradient, Sequence
from rnnjax._fields import output_leaf
from rnnjax._integers import of_own_width
from rnnjax._leaves import inexact
from rnnjax._params import check_params
from rnnjax._random import check_key
from rnnjax._types import Array, Carry, Cell, Inputs, Params, PyTree, known
from rnnjax.gradients._autodiff import autodiff
from rnnjax.gradients._bptt import bptt
from rnnjax.gradients._one_step import one_step_problems
from rnnjax.gradients._units import mixing_problems
from rnnjax.gradients._values import Values, by_inverse, by_step, other_ways, quick_jit
from rnnjax.running import Scan, final_carry, leading_shape, prepare, validate

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

    way: str  # "rule", "linear form", "layers", "inner cell", "inverse" or "output"
    leaf: str
    difference: float  # max |other - step| / max |step|
    passed: bool


class CheckReport(NamedTuple):
    """What `check` found; `print` it for a table."""

    rows: tuple[CheckRow, ...]
    values: tuple[ValueRow, ...]
    passed: bool
    problems: tuple[str, ...] = ()  # what else is wrong with the rule, or with mixing, in words

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
        return "\n".join([head, *lines, *(f"{problem}  WRONG" for problem in self.problems)])


def check(
    cell: Cell,
    params: Params | None = None,
    xs: PyTree | None = None,
    *,
    key: Array | None = None,
    inputs: Inputs | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    differences: bool = True,
    tolerance: float = 1e-9,
) -> CheckReport:
    """Compare a cell's rule, autodiff and central differences, leaf by leaf, in float64.

    Values first: outputs and last carry by the rule's forward half, by the linear form, by the
    layers and by the cell that it is around, where it has them, against the step; the first carry
    by the inverse step, run back from the last one; and the field of the carry that is y_t
    (`Structure.output`). Then
    gradients: the cost is a random linear function of all outputs and of the last carry. Its
    gradients with respect to every leaf of params, xs and the initial carry are compared: rule
    against autodiff entry by entry, and both against central differences along eight random
    directions, complex ones for complex leaves.

    A rule is also run at one step of one example, without a batch axis, and with a clip, which it
    must not ignore. A cell that says by `Structure.mixing` that it acts unit by unit is held to it:
    in one step, no unit may depend on the params of another, nor on its state but by the params
    that are named.

    Args:
      cell: any `Cell`; without a rule only autodiff is compared with the differences.
      params: where to check. By default freshly drawn, with noise added so that no bias is zero.
      xs: inputs, leaves `[T, ..., *features]`; by default random, T = 6 and B = 3.
      key: PRNG key of all that is random here.
      inputs: features of the default params and xs, as `Cell.init` takes them; by default three
        along each of the cell's feature axes.
      lengths, resets: as for `rnnjax.unroll`.
      differences: set to False for a cell that is not meant to have the true gradient, such as
        `lstm_1997(truncate=True)`.
      tolerance: the largest relative difference that passes, of values and between rule and
        autodiff. Against central differences, whose own error is below 1e-8 of a leaf's gradient,
        it is 1e-6.

    Returns:
      A `CheckReport` with a row for every leaf (one without a gradient, such as an integer, says so
      in its note), a row for every value compared, `problems` of the rule and of `mixing` in words,
      and `passed`.

    Raises:
      TypeError, ValueError: as `rnnjax.unroll`; a rule whose functions return something else than
        they should, which the message names; a step that fails on real inputs, as one of token ids
        does, where no xs are given.

    Example:
      >>> import rnnjax
      >>> rnnjax.gradients.check(rnnjax.lstm(4)).passed
      True
    """
    check_cell(cell)
    check_flag("differences", differences)
    if check_number("tolerance", tolerance) < 0:
        raise ValueError(f"tolerance must be at least 0, got {tolerance}")
    wide = jax.config.read("jax_enable_x64")
    with jax.enable_x64(True):
        key = jax.random.key(0) if key is None else key
        rng = np.random.default_rng(np.asarray(jax.random.key_data(check_key(key))))
        inputs = _inputs_of(cell) if inputs is None else inputs
        if params is None:
            params = _perturb(rng, cell.init(key, inputs))
        params, drawn = _as_float64(check_params(cell, params)), xs is None
        cell = of_own_width(cell, params, wide)
        xs = _as_float64(_draw(rng, inputs) if drawn else check_inputs(xs))
        sequence = validate(cell, params, xs, None, None, lengths, resets)
        if drawn:
            _check_runs(cell, params, sequence)
        # Away from zero, so that no product with the initial carry hides an error.
        sequence = sequence._replace(carry=_perturb(rng, sequence.carry))
        want = quick_jit(partial(by_step, cell))(params, sequence)
        values = _compare_values(cell, params, sequence, want, tolerance)
        weights = [_normal(rng, leaf) for leaf in inexact(want)]
        problem = _Problem(cell, weights, sequence)
        at = Point(params, xs, sequence.carry)
        rows = _compare_gradients(problem, at, rng, differences, tolerance)
        problems = _at_one_step(cell, params, sequence, rng, tolerance)
    passed = all(row.passed for row in (*rows, *values)) and not problems
    return CheckReport(rows, values, passed, problems)


def _check_runs(cell: Cell, params: Params, sequence: Sequence) -> None:
    """Raise TypeError if the step does not run on inputs that were drawn for it."""
    try:
        jax.eval_shape(partial(by_step, cell), params, sequence)
    except (TypeError, ValueError, IndexError) as error:
        raise TypeError(
            f"the step failed on the real inputs that check draws, {described(sequence.xs)}: "
            f"{error}. For a cell that reads integers, such as token ids, or of other inputs, pass "
            "xs="
        ) from error


def _at_one_step(
    cell: Cell, params: Params, sequence: Sequence, rng: np.random.Generator, tolerance: float
) -> tuple[str, ...]:
    """What is wrong with the rule and with `mixing` at the first step of the first example."""
    length, batch_shape = leading_shape(cell, params, sequence.xs, sequence.lengths)
    if 0 in (length, *batch_shape):
        return ()
    first = (0,) * len(batch_shape)
    x_t = jax.tree.map(lambda x: x[(0, *first)], sequence.xs)
    carry = jax.tree.map(lambda c: c[first], sequence.carry)
    out = jax.eval_shape(cell.step, params, carry, x_t)
    cts = jax.tree.map(lambda leaf: _normal(rng, leaf) if is_inexact(leaf) else None, out)
    given = (cell, params, carry, x_t, cts, tolerance)
    of_rule = () if cell.rule is None else one_step_problems(*given)
    return of_rule + mixing_problems(*given)


class _Problem(NamedTuple):
    """A cost of everything that a run gives."""

    cell: Cell
    weights: list[np.ndarray]  # for every differentiable leaf of the last carry and the outputs
    sequence: Sequence

    def cost(self, at: Point, gradient: BaseGradient) -> Array:
        here = self.sequence._replace(xs=at.xs, carry=at.carry)
        ready, first, xs = prepare(self.cell, at.params, here)
        last, ys = gradient.loop(ready, Scan(), at.params, first, xs, False)
        terms = zip(self.weights, inexact((final_carry(last), ys)), strict=True)
        return sum((jnp.sum(jnp.real(w * leaf)) for w, leaf in terms), start=jnp.zeros(()))


def _compare_values(
    cell: Cell, params: Params, sequence: Sequence, want: Values, tolerance: float
) -> tuple[ValueRow, ...]:
    rows: list[ValueRow] = []
    ways: list[tuple[str, Callable[[], Any], Any]]
    ways = [(way, run, want) for way, run in other_ways(cell, params, sequence)]
    if (run := by_inverse(cell, params, sequence)) is not None:
        ways.append(("inverse", run, (sequence.carry,)))
    for way, run, expected in ways:
        got = jax.tree.leaves(quick_jit(run)())
        named = dict(zip(("carry", "ys"), expected, strict=False))
        paths = jax.tree_util.tree_flatten_with_path(named)
        for (path, exact), value in zip(paths[0], got, strict=True):
            if exact.size == 0 or not is_inexact(exact):
                continue
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            difference = _relative(value, exact)
            rows.append(ValueRow(way, name, difference, difference <= tolerance))
    output = known(cell).output
    if output is not None and sequence.lengths is None and jax.tree.leaves(sequence.xs)[0].size:
        carry, ys = want
        got, exact = jax.tree.leaves(carry)[output_leaf(carry, output)], ys[-1]
        difference = _relative(got, exact) if got.shape == exact.shape else math.inf
        rows.append(ValueRow("output", f"carry.{output}", difference, difference <= tolerance))
    return tuple(rows)


def _compare_gradients(
    problem: _Problem, at: Point, rng: np.random.Generator, differences: bool, tolerance: float
) -> tuple[CheckRow, ...]:
    gradient_of = quick_jit(jax.grad(problem.cost, allow_int=True), static_argnums=1)
    exact = _leaves(gradient_of(at, autodiff()))
    rule = [None] * len(exact)
    if problem.cell.rule is not None:
        rule = _leaves(gradient_of(at, bptt()))
    value = quick_jit(jax.vmap(lambda point: problem.cost(point, autodiff())))
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
            directions, slopes = _central(value, at, index, rng)
            along = partial(_along, directions)
            scale = np.linalg.norm(by_autodiff)
            figures[1] = _relative(None if by_rule is None else along(by_rule), slopes, scale)
            figures[2] = _relative(along(by_autodiff), slopes, scale)
        passed = not any(f > limit for f, limit in zip(figures, limits, strict=True))
        rows.append(CheckRow(name, *figures, passed=passed))
    return tuple(rows)


def _leaves(tree: PyTree) -> list[np.ndarray]:
    return [np.asarray(leaf) if is_inexact(leaf) else leaf for leaf in jax.tree.leaves(tree)]


def _along(directions: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """The slope along each direction [8]: Re Σ d g, by JAX's convention for complex numbers."""
    return np.real(np.tensordot(directions, gradient, axes=gradient.ndim))


def _central(
    value: Callable[[Point], Array], at: Point, index: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Unit directions [8, ...] in one leaf, and the cost's slope along each [8]."""
    leaves, tree = jax.tree.flatten(at)
    leaf = np.asarray(leaves[index])
    directions = _normal(rng, np.broadcast_to(leaf, (_DIRECTIONS, *leaf.shape)))
    directions /= np.linalg.norm(directions.reshape(_DIRECTIONS, -1), axis=1).reshape(
        -1, *[1] * leaf.ndim
    )

    many = [_repeated(x) for x in leaves]
    many[index] = leaf + _STEP * np.concatenate([directions, -directions])
    ahead, behind = np.split(np.asarray(value(jax.tree.unflatten(tree, many))), 2)
    return directions, (ahead - behind) / (2 * _STEP)


def _repeated(leaf: Array) -> Any:
    """The leaf for both senses of every direction, along a new first axis."""
    broadcast = np.broadcast_to if is_inexact(leaf) else jnp.broadcast_to
    return broadcast(leaf, (2 * _DIRECTIONS, *leaf.shape))


def _relative(a: Any, b: Any, scale: Any = None) -> float:
    """max |a - b| / max |b| (or / scale); NaN, not compared, where there is no a."""
    if a is None:
        return math.nan
    difference = float(np.max(np.abs(np.asarray(a) - np.asarray(b))))
    size = float(np.max(np.abs(b)) if scale is None else scale)
    # A NaN in either is an error, not a column that does not apply.
    return math.inf if math.isnan(difference) else difference / size if size else difference


# Random numbers are NumPy's: JAX would compile a program for every shape.


def _normal(rng: np.random.Generator, leaf: Any) -> np.ndarray:
    """Standard normal numbers of a leaf's shape and dtype; complex ones in both parts."""
    drawn = rng.standard_normal(leaf.shape)
    if jnp.iscomplexobj(leaf):
        drawn = (drawn + 1j * rng.standard_normal(leaf.shape)) / math.sqrt(2)
    return drawn.astype(leaf.dtype)


def _perturb(rng: np.random.Generator, tree: PyTree) -> PyTree:
    def noisy(x: Any) -> Any:
        return np.asarray(x) + 0.3 * _normal(rng, x) if is_inexact(x) else x

    return jax.tree.map(noisy, tree)


def _inputs_of(cell: Cell) -> Inputs:
    """Three features along each feature axis."""
    return jax.tree.map(
        lambda count: 3 if count == 1 else (3,) * count, cell.structure.feature_axes
    )


def _draw(rng: np.random.Generator, inputs: Inputs) -> PyTree:
    """Random inputs [6, 3, *features] for the features that `Cell.init` takes."""

    def drawn(shape: Any) -> np.ndarray:
        return rng.standard_normal((6, 3, *((shape,) if isinstance(shape, int) else shape)))

    return jax.tree.map(drawn, inputs, is_leaf=is_feature_shape)


def _as_float64(tree: PyTree) -> PyTree:
    def widen(x: Any) -> Any:
        if not is_inexact(x):
            return x
        return np.asarray(x, promoted(jnp.result_type(x), jnp.float64))

    return jax.tree.map(widen, tree)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1e}"


def _word(passed: bool) -> str:
    return "ok" if passed else "WRONG"
