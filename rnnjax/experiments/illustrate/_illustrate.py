"""`illustrate`: from a cell to its page."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import (
    check_array,
    check_carry,
    check_cell,
    check_positive_int,
    check_real,
    checked_arguments,
    is_array,
)
from rnnjax._params import check_params
from rnnjax._types import Array, Carry, Cell, Params, known
from rnnjax.experiments.illustrate._content import Content
from rnnjax.experiments.illustrate._gru import GRU
from rnnjax.experiments.illustrate._lines import Illustration
from rnnjax.experiments.illustrate._lstm import LSTM
from rnnjax.experiments.illustrate._lstm_1997 import LSTM_1997
from rnnjax.experiments.illustrate._page import render
from rnnjax.experiments.illustrate._run import Problem, compute
from rnnjax.experiments.illustrate._vanilla import IRNN, VANILLA
from rnnjax.experiments.illustrate._verify import verify

ILLUSTRATIONS: dict[str, Illustration] = {
    "lstm": LSTM,
    "gru": GRU,
    "vanilla": VANILLA,
    "irnn": IRNN,
    "lstm_1997": LSTM_1997,
}
"""The cells that there is an illustration of, by the name of their factory."""

_INPUTS, _STEPS, _MOST_STEPS = 2, 4, 8


@checked_arguments
def illustrate(
    cell: Cell,
    params: Params | None = None,
    xs: Array | None = None,
    targets: Array | None = None,
    *,
    carry: Carry | None = None,
    steps: int | None = None,
    seed: int = 0,
    weights_from: str | None = None,
) -> str:
    """Make a page that steps through a cell's forward and backward pass, equation by equation.

    The cost is C = Σ_t ½‖y_t - τ_t‖² with targets τ_t. Every line of the derivation is evaluated in
    float64 with the values given, and compared with the cell's step and rule and with autodiff.

    Args:
      cell: an `lstm`, a `gru` (reset "after"), a `vanilla` with tanh or ReLU (an `irnn`), or
        an `lstm_1997`.
      params: its weights; by default drawn, and rounded to two decimals.
      xs: inputs `[T, D]` of one example, T at most 8; by default random.
      targets: τ `[T, H]`; by default random.
      carry: before the first step, leaves `[H]`; the cell's initial carry by default.
      steps: T of random inputs; 4 by default.
      seed: of all that is random here.
      weights_from: where the weights come from, for the page to say.

    Returns:
      An HTML page that loads nothing from elsewhere.

    Raises:
      TypeError, ValueError: a cell without an illustration; arrays of other shapes.
      RuntimeError: the illustration does not follow the cell's rule.

    Example:
      >>> import rnnjax
      >>> from rnnjax.experiments.illustrate import illustrate
      >>> page = illustrate(rnnjax.vanilla(2))
      >>> page[:15]
      '<!doctype html>'

    References:
      Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9.
      Werbos (1990), Backpropagation through time: what it does and how to do it, Proc. IEEE 78.
    """
    form = known(check_cell(cell)).form
    illustration = next((each for each in ILLUSTRATIONS.values() if each.form == form), None)
    if illustration is None or cell.rule is None:
        raise ValueError(
            f"there is no illustration of {cell!r}: expected an unchanged cell made by one of "
            f"{', '.join(ILLUSTRATIONS)} (vanilla with tanh or relu, gru with reset after)"
        )
    check_positive_int("steps", _STEPS if steps is None else steps)
    if steps is not None and xs is not None:
        raise ValueError("steps is that of random inputs: expected steps or xs, got both")
    rng = np.random.default_rng(seed)
    drawn = f"seed {seed}"
    made_from = drawn if params is None else f"weights: {weights_from or 'given'}; inputs: {drawn}"
    with jax.enable_x64(True):
        if params is None:
            params = _drawn(rng, cell.init(jax.random.key(seed), _width(xs)))
        weights: Any = check_params(cell, params)
        weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), weights)
        inputs = _inputs(rng, steps or _STEPS, weights.w_x.shape[0]) if xs is None else xs
        problem = _problem(cell, weights, inputs, targets, carry, rng)
        run = compute(illustration, problem)
        agreement = verify(cell, illustration, problem, run)
    return render(Content(cell, illustration, problem, run, made_from), agreement)


def _width(xs: Any) -> int:
    return _INPUTS if xs is None else int(_matrix("xs", xs, "[T, D]").shape[1])


def _inputs(rng: np.random.Generator, steps: int, features: int) -> np.ndarray:
    return np.round(0.8 * rng.standard_normal((steps, features)), 1)


def _drawn(rng: np.random.Generator, params: Params) -> Params:
    """Weights that are short to read, and no bias zero."""
    return jax.tree.map(lambda w: np.round(w + 0.3 * rng.standard_normal(w.shape), 2), params)


def _problem(
    cell: Cell, params: Params, xs: Any, targets: Any, carry: Any, rng: np.random.Generator
) -> Problem:
    inputs, hidden = params.w_x.shape[0], params.w_h.shape[0]
    xs = _matrix("xs", xs, "[T, D]")
    if not 1 <= len(xs) <= _MOST_STEPS or xs.shape[1] != inputs:
        raise ValueError(
            f"xs must be [T, {inputs}], one example with T from 1 to {_MOST_STEPS}, for these "
            f"params, got {list(xs.shape)}"
        )
    if targets is None:
        targets = np.round(rng.uniform(-1, 1, (len(xs), hidden)), 1)
    targets = _matrix("targets", targets, "[T, H]")
    if targets.shape != (len(xs), hidden):
        raise ValueError(f"targets must be [{len(xs)}, {hidden}], got {list(targets.shape)}")
    first = cell.initial_carry(params, ())
    if carry is not None:
        carry = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64) if is_array(x) else x, carry)
        check_carry("carry", carry, first)
        first = carry
    return Problem(params, xs, targets, first)


def _matrix(name: str, value: Any, form: str) -> np.ndarray:
    array = np.asarray(check_real(name, check_array(name, value, form)), np.float64)
    if array.ndim != 2 or not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be {form}, finite numbers, got {list(array.shape)}")
    return array
