"""Equal time steps for a cell that reads the time since the last one."""

import math
from typing import Any

import jax.numpy as jnp

from rnnjax._checks import check_cell, check_known_number, described, is_array
from rnnjax._types import (
    Array,
    Carry,
    Cell,
    Inputs,
    Linear,
    Params,
    PyTree,
    Rule,
    Structure,
    Tape,
    known,
)
from rnnjax.combinators._inner import combinator


@combinator
def fixed_dt(cell: Cell, dt: float) -> Cell:
    """Give a timed cell, such as `ctrnn`, the same Δt at every step, so that it reads x_t alone.

        carry_t, y_t = step(params, carry_{t-1}, (x_t, Δt))

    So it can stand anywhere in a `stack`, and wherever any other cell can.

    Args:
      cell: a cell that reads pairs `(x_t [..., D], Δt [...])`.
      dt: Δt > 0, the time between two steps, in the unit of the cell's time constants.

    Returns:
      A `Cell` with the same params and carry that reads `x_t [..., D]`, and a rule if `cell` has
      one.

    Raises:
      TypeError: `cell` is not a `Cell`.
      ValueError: it does not read pairs, or Δt is not a positive number.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.stack(rnnjax.lstm(4), rnnjax.fixed_dt(rnnjax.ctrnn(3, tau=100.0), 20.0))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))[1].shape
      (5, 3)
    """
    axes = check_cell(cell).structure.feature_axes
    if not (isinstance(axes, tuple) and len(axes) == 2 and axes[1] == 0):
        raise ValueError(
            f"fixed_dt() is for cells that read pairs (x_t, Δt), such as ctrnn(8), and {cell} does "
            "not: its Structure(feature_axes=...) is not (1, 0)"
        )
    if not (check_known_number("dt", dt) > 0 and math.isfinite(dt)):
        raise ValueError(f"dt is the time between two steps, a positive number, got {dt}")

    def timed(xs: Array) -> tuple[Array, Array]:
        """Pairs for one step or for all."""
        if not is_array(xs):
            raise TypeError(
                f"a cell of fixed_dt() reads one array a step, as Δt = {dt} is its own, got "
                f"{described(xs)}"
            )
        return xs, jnp.full(xs.shape[: xs.ndim - axes[0]], dt, xs.dtype)

    def init(key: Array, inputs: Inputs) -> Params:
        return cell.init(key, (inputs, ()))

    def step(params: Params, carry: Carry, x_t: Array) -> tuple[Carry, PyTree]:
        return cell.step(params, carry, timed(x_t))

    def rule_of(inner: Rule) -> Rule:
        def project(params: Params, xs: Array) -> PyTree:
            return inner.project(params, timed(xs))

        def gradients(params: Params, xs: Array, tapes: Tape, deltas: PyTree) -> Any:
            params_ct, (xs_ct, _) = inner.gradients(params, timed(xs), tapes, deltas)
            return params_ct, xs_ct

        return Rule(project, inner.forward, inner.backward, gradients)

    def linear_of(inner: Linear) -> Linear:
        return inner._replace(
            coefficients=lambda params, xs: inner.coefficients(params, timed(xs)),
            readout=lambda params, carry, xs: inner.readout(params, carry, timed(xs)),
        )

    inner = known(cell)
    structure = Structure(
        form=None if inner.form is None else ("fixed_dt", inner.form, dt),
        linear=None if inner.linear is None else linear_of(inner.linear),
        feature_axes=axes[0],
        params=inner.params,
        through_weights=inner.through_weights,
        mixing=inner.mixing,
        output=inner.output,
    )
    rule = None if cell.rule is None else rule_of(cell.rule)
    return Cell(init, cell.initial_carry, step, rule, structure)
