"""Residual (skip) connection around a cell."""

from typing import Any

import jax

from rnnjax._checks import check_cell, described
from rnnjax._types import (
    Around,
    Array,
    Carry,
    Cell,
    Clip,
    Linear,
    Params,
    PyTree,
    Rule,
    Structure,
    known,
)
from rnnjax.combinators._inner import combinator


@combinator
def residual(cell: Cell) -> Cell:
    """Add a cell's input to its output, as between the layers of a deep recurrent net.

        carry_t, y'_t = step(params, carry_{t-1}, x_t);   y_t = x_t + y'_t

    Args:
      cell: a cell with as many outputs as inputs, leaf by leaf where these are pytrees, which then
        have one structure.

    Returns:
      A `Cell` with the same params and carry, and a rule if `cell` has one.

    Raises:
      TypeError: `cell` is not a `Cell`.
      ValueError: (at the first step) the output does not have the input's features or structure.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.stack(rnnjax.lstm(4), rnnjax.residual(rnnjax.lstm(4)))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))[1].shape
      (5, 4)

    References:
      Wu et al. (2016), Google's neural machine translation system, arXiv 1609.08144.
    """

    def step(params: Params, carry: Carry, x_t: PyTree) -> tuple[Carry, PyTree]:
        carry, y_t = cell.step(params, carry, x_t)
        return carry, _add(x_t, y_t)

    inner = known(check_cell(cell))
    structure = Structure(
        around=Around(cell, after=lambda _, xs, ys: _add(xs, ys)),
        linear=None if inner.linear is None else _residual_linear(inner.linear),
        inverse=inner.inverse,
        feature_axes=inner.feature_axes,
        through_weights=inner.through_weights,
        skips=cell,
        params=inner.params,
    )
    rule = None if cell.rule is None else _residual_rule(cell.rule)
    return Cell(cell.init, cell.initial_carry, step, rule, structure)


def _residual_linear(inner: Linear) -> Linear:
    def readout(params: Params, carry: Carry, xs: PyTree) -> PyTree:
        return _add(xs, inner.readout(params, carry, xs))

    return inner._replace(readout=readout)


def _add(x_t: PyTree, y_t: PyTree) -> PyTree:
    if jax.tree.structure(x_t) != jax.tree.structure(y_t):
        raise ValueError(
            f"residual() adds the input {described(x_t)} to the output {described(y_t)}, leaf by "
            "leaf: let the cell return what has the structure of its input"
        )
    return jax.tree.map(_add_leaves, x_t, y_t)


def _add_leaves(x_t: Array, y_t: Array) -> Array:
    if x_t.shape != y_t.shape:
        raise ValueError(
            f"residual() adds the input {x_t.shape} to the output {y_t.shape}: give the cell as "
            f"many hidden units as the input has features ({x_t.shape[-1]})"
        )
    return x_t + y_t


def _residual_rule(inner: Rule) -> Rule:
    def project(params: Params, xs: Array) -> PyTree:
        return inner.project(params, xs), xs

    def forward(params: Params, carry: Carry, z_t: PyTree):
        z_inner, x_t = z_t
        (carry, y_t), tape = inner.forward(params, carry, z_inner)
        return (carry, _add(x_t, y_t)), tape

    def backward(params: Params, tape: Any, carry_ct: Carry, y_ct: Array, clip: Clip):
        # y_t = x_t + y'_t: ∂C/∂y'_t is ∂C/∂y_t, which also goes straight to x_t.
        carry_ct, delta = inner.backward(params, tape, carry_ct, y_ct, clip)
        return carry_ct, (delta, y_ct)

    def gradients(params: Params, xs: Array, tapes: Any, deltas: PyTree):
        inner_deltas, ys_ct = deltas
        params_ct, xs_ct = inner.gradients(params, xs, tapes, inner_deltas)
        return params_ct, _add(xs_ct, ys_ct)

    return Rule(project, forward, backward, gradients)
