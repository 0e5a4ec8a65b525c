"""A combinator of your own, a cell made from a cell: copy this file and change what says TODO.

A learned gain on the output stands in for yours. `python my_combinator.py` checks its rule.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rnnjax
from rnnjax import extend


class GainParams(NamedTuple):  # TODO: the inner cell's params, and yours
    cell: Any
    gain: jax.Array  # []


@extend.combinator  # equal calls give one cell, which prints as its call and compiles once
def with_gain(cell: rnnjax.Cell) -> rnnjax.Cell:
    """Multiply a cell's output by a number that is learned.  TODO: your equations.

    carry_t, y'_t = step(params, carry_{t-1}, x_t);   y_t = g y'_t
    """
    inner = extend.known(cell)  # what holds of its step and rule; not cell.structure

    def init(key, inputs):
        params = cell.init(key, inputs)
        return GainParams(params, jnp.ones((), jax.tree.leaves(params)[0].dtype))  # TODO

    def initial_carry(params, batch_shape=(), key=None):
        return extend.initial_carry(cell, params.cell, batch_shape, key)

    def step(params, carry, x_t):
        carry, y_t = cell.step(params.cell, carry, x_t)
        return carry, params.gain * y_t  # TODO

    # TODO: pass on what still holds, and nothing else. What is left out is not claimed: zoneout,
    # for one, will refuse this cell, whose output is no field of its carry.
    structure = rnnjax.Structure(
        around=rnnjax.Around(  # the inner cell runs the whole sequence, by its kernel if it has one
            cell, own=lambda params: params.cell, after=lambda params, _, ys: params.gain * ys
        ),
        feature_axes=inner.feature_axes,
        through_weights=inner.through_weights,
    )
    rule = None if cell.rule is None else _rule(cell.rule)
    return rnnjax.Cell(init, initial_carry, step, rule, structure)


def _rule(inner: rnnjax.Rule) -> rnnjax.Rule:
    def project(params, xs):
        return inner.project(params.cell, xs)

    def forward(params, carry, z_t):
        (carry, y_t), tape = inner.forward(params.cell, carry, z_t)
        return (carry, params.gain * y_t), (tape, y_t)  # TODO

    def backward(params, tapes, carry_ct, y_ct, clip):
        # TODO:  ∂C/∂y'_t = g ∂C/∂y_t;   ∂C/∂g = Σ_t ∂C/∂y_t · y'_t
        tape, _ = tapes
        carry_ct, delta = inner.backward(params.cell, tape, carry_ct, params.gain * y_ct, clip)
        return carry_ct, (delta, y_ct)

    def gradients(params, xs, tapes, deltas):
        (inner_tapes, ys), (inner_deltas, ys_ct) = tapes, deltas
        cell_ct, xs_ct = inner.gradients(params.cell, xs, inner_tapes, inner_deltas)
        return GainParams(cell_ct, jnp.sum(ys * ys_ct)), xs_ct  # TODO

    return rnnjax.Rule(project, forward, backward, gradients)


if __name__ == "__main__":
    print(rnnjax.gradients.check(with_gain(rnnjax.gru(4))))
