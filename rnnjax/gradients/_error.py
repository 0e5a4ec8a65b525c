"""The error of a gradient that is not exact, measured on a user's own cell, data and cost."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._arrays import Static, put_arrays, take_arrays
from rnnjax._checks import (
    check_callable,
    check_cost,
    check_mask,
    check_positive_int,
    described,
    is_inexact,
)
from rnnjax._execution import Gradient, check_gradient
from rnnjax._extras import optional
from rnnjax._params import check_params
from rnnjax._random import is_key
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.combinators import without_learned_carries
from rnnjax.gradients._run import exact, run_of
from rnnjax.running import Scan, close_up, lay_out_outputs, validate, validate_shaped


class ErrorRow(NamedTuple):
    """One leaf of params at one window, or all leaves together as one vector; g is the gradient
    and e the exact one. NaN where a number is not defined: e = 0."""

    window: int  # steps
    leaf: str  # "all": the whole gradient
    relative: float  # ‖g - e‖ / ‖e‖, its root mean square over seeds
    cosine: float  # ⟨g, e⟩ / ‖g‖ ‖e‖, mean over seeds
    signs: float  # the part of entries that have the sign of e, mean over seeds
    bias: float  # ‖mean of g - e‖ / ‖e‖
    deviation: float  # √(mean of ‖g - mean of g‖²) / ‖e‖: the standard deviation over seeds
    noise: float  # deviation / √seeds: what of the bias is to be expected of an unbiased gradient


class ErrorReport(NamedTuple):
    """What `error` measured; `print` it for a table."""

    gradient: str
    seeds: int
    rows: tuple[ErrorRow, ...]

    def __str__(self) -> str:
        width = max(len(row.leaf) for row in self.rows)
        names = ("relative", "cosine", "signs", "bias", "deviation", "noise")
        lines = [
            f"{self.gradient} against the exact gradient"
            + (f", {self.seeds} seeds" if self.seeds > 1 else ""),
            f"window  {'leaf':<{width}}" + "".join(f"  {name:>9}" for name in names),
        ]
        for row in self.rows:
            numbers = "".join(f"  {_number(getattr(row, name)):>9}" for name in names)
            lines.append(f"{row.window:>6}  {row.leaf:<{width}}{numbers}")
        return "\n".join(lines)

    def figure(self) -> Any:
        """The relative error over the window, a line for each leaf: a `matplotlib` Figure.

        Raises:
          ImportError: matplotlib is not installed.
        """
        figure = optional("matplotlib.figure").Figure(figsize=(3.3, 2.4), layout="constrained")
        axes = figure.subplots()
        for leaf in dict.fromkeys(row.leaf for row in self.rows):
            own = [row for row in self.rows if row.leaf == leaf]
            look = {"color": "black", "linewidth": 2} if leaf == "all" else {}
            windows = [row.window for row in own]
            axes.plot(windows, [row.relative for row in own], marker="o", label=leaf, **look)
        axes.set(xlabel="window [steps]", ylabel="relative error", title=self.gradient)
        axes.set_yscale("symlog", linthresh=1e-3)  # an exact gradient has error 0
        axes.legend()
        return figure


def error(
    cell: Cell,
    params: Params,
    xs: PyTree,
    cost: Callable[[Carry, PyTree], Array],
    gradient: Gradient,
    *,
    windows: Iterable[int] | None = None,
    seeds: int = 32,
    carry: Carry | None = None,
    key: Array | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    mask: Array | None = None,
) -> ErrorReport:
    """Measure how far a gradient with respect to params is from exact BPTT, leaf by leaf.

    Truncated, approximate and random gradients can only be judged on the problem at hand, and on
    finite windows of it: what an approximation drops is what lies far back. With a cost of the last
    output alone, a window of w steps has lags of up to w - 1.

    Args:
      cell: any `Cell`.
      params: its weights.
      xs: inputs `[T, ..., D]`.
      cost: `(carry, ys) -> scalar`, of the last carry and the outputs; those of each window, ys
        `[w, ...]`.
      gradient: any value of `unroll(..., gradient=...)`: `truncated(5)`, `rnnjax.online.snap(1)`,
        `bptt(clip=...)`, …
      windows: lengths at which to measure: of the first w steps, for each w. T alone by default.
        Each is compiled.
      seeds: for a gradient that draws random numbers, such as `rnnjax.online.uoro(key)`: how many
        keys, made from its own. Others are computed once.
      carry, key, lengths, resets, mask: as for `rnnjax.unroll`; lengths beyond a window end with
        it.

    Returns:
      An `ErrorReport` with, for every window, a row for each leaf of params and one for all: the
      relative L2 error, cosine, agreement of signs, and over seeds the bias and the standard
      deviation. `print` it for a table; `figure()` draws it.

    Raises:
      TypeError, ValueError: as `rnnjax.unroll`; a cost that is not a scalar, windows outside 1..T.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.vanilla(8)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> xs = jax.random.normal(jax.random.key(1), (20, 4, 2))
      >>> report = rnnjax.gradients.error(
      ...     cell, params, xs, lambda carry, ys: (ys[-1] ** 2).sum(), rnnjax.truncated(5)
      ... )
      >>> [row.leaf for row in report.rows], 0 < report.rows[-1].relative < 1
      (['w_x', 'w_h', 'b', 'all'], True)

    References:
      Marschall, Cho & Savin (2020), A unified framework of online learning algorithms for training
      recurrent neural networks, JMLR 21, compare algorithms so.
    """
    sequence, steps, batch_shape = validate_shaped(cell, params, xs, carry, key, lengths, resets)
    check_callable("cost", cost, "(carry, ys) -> scalar")
    params, gradient = check_params(cell, params), check_gradient("gradient", gradient)
    inner, _ = without_learned_carries(cell, params)
    reason = gradient.base and gradient.base.refusal(inner)
    if reason:
        raise ValueError(reason)
    given = _Given(
        sequence.xs,
        None if carry is None else sequence.carry,
        key,
        sequence.lengths,
        sequence.resets,
        None if mask is None else check_mask(mask, steps, batch_shape),
    )
    drawn = _drawn(gradient, check_positive_int("seeds", seeds))
    rows: list[ErrorRow] = []
    for window in _checked_windows(windows, steps):
        cut = _cut(given, window)
        want = _gradient(cell, cost, exact(inner), params, cut)
        many = [_gradient(cell, cost, value, params, cut) for value in drawn]
        rows += _rows(window, many, want)
    return ErrorReport(gradient.name, len(drawn), tuple(rows))


def _drawn(gradient: Gradient, seeds: int) -> list[Gradient]:
    """The gradient with other keys, one for each seed; itself alone if it has none."""
    static, arrays = take_arrays(gradient)
    if not any(a is not None and is_key(a) for a in arrays):
        return [gradient]

    def other(a: Array | None, seed: int) -> Array | None:
        return jax.random.fold_in(a, seed) if a is not None and is_key(a) else a

    return [put_arrays(static, tuple(other(a, i) for a in arrays)) for i in range(seeds)]


def _checked_windows(windows: Iterable[int] | None, steps: int) -> list[int]:
    if windows is None:
        return [steps]
    if not isinstance(windows, Iterable) or isinstance(windows, str):
        raise TypeError(f"windows must be lengths, such as (1, 5, 20), got {described(windows)}")
    checked = [check_positive_int("windows", w) for w in windows]
    if not checked:
        raise ValueError("windows must have at least one length, got none")
    for window in checked:
        if window > steps:
            raise ValueError(f"windows must lie in 1..{steps} (T of xs), got {window}")
    return checked


class _Given(NamedTuple):
    """A sequence whose carries are made of params, unless one is given."""

    xs: PyTree
    carry: Carry | None
    key: Array | None
    lengths: Array | None
    resets: Array | None
    mask: Array | None


def _cut(given: _Given, window: int) -> _Given:
    """The first steps of a sequence."""
    return given._replace(
        xs=jax.tree.map(lambda x: x[:window], given.xs),
        lengths=None if given.lengths is None else jnp.minimum(given.lengths, window),
        resets=None if given.resets is None else given.resets[:window],
        mask=None if given.mask is None else given.mask[:window],
    )


def _gradient(
    cell: Cell,
    cost: Callable[[Carry, PyTree], Array],
    gradient: Gradient,
    params: Params,
    given: _Given,
) -> Params:
    static, arrays = take_arrays(gradient)

    def value(params: Params) -> Array:
        # Outside of what is compiled, so that what the cost reads is read at every call.
        return check_cost(cost(*_run(cell, static, arrays, params, given)))

    return jax.grad(value, allow_int=True)(params)


@partial(jax.jit, static_argnums=(0, 1))
def _run(
    cell: Cell, static: Static, arrays: tuple[Array | None, ...], params: Params, given: _Given
) -> tuple[Carry, PyTree]:
    gradient: Gradient = put_arrays(static, arrays)
    sequence = validate(cell, params, *given[:-1])
    inner, own = without_learned_carries(cell, params)
    run = gradient.wrap(run_of(inner, gradient.base, Scan()), False)
    if given.mask is None:
        return run(own, sequence)
    closed, skipped = close_up(sequence, given.mask, False)
    last, ys = run(own, closed)
    return last, lay_out_outputs(skipped, ys)


def _rows(window: int, many: list[Params], want: Params) -> list[ErrorRow]:
    exact_leaves = jax.tree_util.tree_flatten_with_path(want)[0]
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in exact_leaves]
    used = [i for i, (_, leaf) in enumerate(exact_leaves) if is_inexact(leaf)]
    vectors = [_vector(exact_leaves[i][1]) for i in used]
    drawn = [[_vector(jax.tree.leaves(each)[i]) for each in many] for i in used]
    pairs = [(names[i], e, np.stack(g)) for i, e, g in zip(used, vectors, drawn, strict=True)]
    every = np.concatenate([g for _, _, g in pairs], axis=1)
    pairs.append(("all", np.concatenate(vectors), every))
    return [_row(window, *pair) for pair in pairs]


def _vector(leaf: Array) -> np.ndarray:
    """A leaf as real numbers in float64."""
    flat: Any = np.asarray(leaf).reshape(-1)
    parts = (flat.real, flat.imag) if np.iscomplexobj(flat) else (flat,)
    return np.concatenate([part.astype(np.float64) for part in parts])


def _row(window: int, leaf: str, e: np.ndarray, g: np.ndarray) -> ErrorRow:
    """For the exact gradient e [n] and the measured ones g [seeds, n]."""
    size, sizes = np.linalg.norm(e), np.linalg.norm(g, axis=1)
    mean = g.mean(axis=0)
    signs = float(np.mean(np.sign(g) == np.sign(e))) if e.size else math.nan
    if not size > 0:  # nothing to compare with, or NaN
        return ErrorRow(window, leaf, math.nan, math.nan, signs, *[math.nan] * 3)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = float(np.mean(g @ e / (sizes * size)))
    relative = float(np.sqrt(np.mean(np.sum((g - e) ** 2, axis=1))) / size)
    deviation = float(np.sqrt(np.mean(np.sum((g - mean) ** 2, axis=1))) / size)
    bias = float(np.linalg.norm(mean - e) / size)
    noise = deviation / math.sqrt(len(g))
    return ErrorRow(window, leaf, relative, cosine, signs, bias, deviation, noise)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"
