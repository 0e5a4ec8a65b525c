"""A learned initial carry: the state before the first step as weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_carry, check_cell, described, is_inexact
from rnnjax._params import check_params
from rnnjax._types import (
    Around,
    Array,
    Carry,
    Cell,
    Inputs,
    Linear,
    Params,
    PyTree,
    Rule,
    Structure,
    initial_carry,
    known,
)
from rnnjax.combinators._inner import combinator
from rnnjax.combinators._stack import stack


class LearnedCarryParams(NamedTuple):
    cell: Params
    carry: Carry  # of one example, in real numbers; None in the place of what has no gradient


@combinator
def learned_carry(cell: Cell) -> Cell:
    """Learn the initial carry: every sequence and every episode begins from a trained state.

        carry_0 = params.carry;   carry_t, y_t = step(params.cell, carry_{t-1}, x_t)

    params.carry begins as the cell's own initial carry, zero in most. Where the state is complex it
    holds real and imaginary parts on a first axis of two, as optimizers descend along real weights
    alone: JAX's gradient of a complex number is the conjugate of its steepest ascent.
    `unroll(..., carry=...)` still says where a run begins; episodes that begin within it, by
    `resets`, take the learned one.

    `unroll` runs the cell itself, so that every method and gradient that can run it still does;
    of those forwards in time, `rtrl()` and `uoro(key)` give params.carry a gradient, and the others
    refuse to: stop it, by `params._replace(carry=jax.lax.stop_gradient(params.carry))`.

    Args:
      cell: any cell, stacks included.

    Returns:
      A `Cell` with `LearnedCarryParams` and the same carry. It has a rule and a linear form if
      `cell` has.

    Raises:
      TypeError: `cell` is not a `Cell`.
      ValueError: (when a carry is made) params.carry unlike a carry of the cell.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.learned_carry(rnnjax.lstm(4))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> down = jax.grad(lambda p: rnnjax.unroll(cell, p, jax.numpy.ones((5, 3, 2)))[1].sum())
      >>> down(params).carry.h.shape
      (4,)

    References:
      Forcada & Carrasco (1995), Learning the initial state of a second-order recurrent neural
      network during regular-language inference, Neural Computation 7.
    """
    inner = known(check_cell(cell))

    def init(key: Array, inputs: Inputs) -> LearnedCarryParams:
        params = cell.init(key, inputs)
        return LearnedCarryParams(params, _states(initial_carry(cell, params, ())))

    def start(
        params: LearnedCarryParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> Carry:
        _check_params(cell, params)
        carry = initial_carry(cell, params.cell, batch_shape, key)
        learned = iter(jax.tree.leaves(params.carry))

        def begin(leaf: Any) -> Any:
            if not is_inexact(leaf):
                return leaf  # randomness, and no state
            return jnp.broadcast_to(_state(next(learned), leaf.dtype), jnp.shape(leaf))

        return jax.tree.map(begin, carry)

    def step(params: LearnedCarryParams, carry: Carry, x_t: PyTree) -> tuple[Carry, PyTree]:
        return cell.step(params.cell, carry, x_t)

    structure = Structure(
        linear=None if inner.linear is None else _linear(inner.linear),
        feature_axes=inner.feature_axes,
        through_weights=inner.through_weights,
        output=inner.output,
        inside=cell,
    )
    return Cell(init, start, step, None if cell.rule is None else _rule(cell.rule), structure)


def _states(carry: Carry) -> Carry:
    """What is differentiable in a carry, as real numbers."""

    def learned(leaf: Any) -> Array | None:
        if not is_inexact(leaf):
            return None
        state = jnp.asarray(leaf)
        return jnp.stack([state.real, state.imag]) if jnp.iscomplexobj(state) else state

    return jax.tree.map(learned, carry)


def _state(learned: Array, dtype: Any) -> Array:
    """The part of a carry that these weights are."""
    if not jnp.issubdtype(dtype, jnp.complexfloating):
        return learned
    real, imaginary = jnp.asarray(learned)
    return jax.lax.complex(real, imaginary)


def _check_params(cell: Cell, params: Any) -> None:
    if not isinstance(params, LearnedCarryParams):
        raise TypeError(
            f"params must be LearnedCarryParams(cell, carry) for learned_carry({cell!r}), as "
            f"cell.init(key, inputs) returns them, got {described(params)}"
        )
    check_params(cell, params.cell)
    own = jax.eval_shape(lambda p: _states(initial_carry(cell, p, ())), params.cell)
    check_carry("params.carry", params.carry, own)


def _linear(inner: Linear) -> Linear:
    return inner._replace(
        coefficients=lambda params, xs: inner.coefficients(params.cell, xs),
        readout=lambda params, carry, xs: inner.readout(params.cell, carry, xs),
    )


def _rule(inner: Rule) -> Rule:
    def gradients(params: LearnedCarryParams, xs: PyTree, tapes: Any, deltas: PyTree) -> Any:
        # No step reads params.carry: its gradient is ∂C/∂carry_0, which the loop returns.
        params_ct, xs_ct = inner.gradients(params.cell, xs, tapes, deltas)
        return LearnedCarryParams(params_ct, jax.tree.map(jnp.zeros_like, params.carry)), xs_ct

    return Rule(
        lambda params, xs: inner.project(params.cell, xs),
        lambda params, carry, z_t: inner.forward(params.cell, carry, z_t),
        lambda params, *rest: inner.backward(params.cell, *rest),
        gradients,
    )


def without_learned_carries(cell: Cell, params: Params) -> tuple[Cell, Params]:
    """The cell that takes the same steps, and its own params: what runs once a carry is there."""
    bare, own = _bare(cell)
    return bare, own(params)


def inner_cell(around: Around) -> Around:
    """The same, around the cell that takes the inner one's steps."""
    bare, own = _bare(around.cell)
    return around._replace(cell=bare, own=lambda params: own(around.own(params)))


def _bare(cell: Cell) -> tuple[Cell, Callable[[Params], Params]]:
    """The cell that takes the same steps, and params -> its own."""
    structure = known(cell)
    if structure.inside is not None:
        bare, own = _bare(structure.inside)
        return bare, lambda params: own(params.cell)
    layers = [_bare(layer) for layer in structure.layers]
    if all(bare is layer for (bare, _), layer in zip(layers, structure.layers, strict=True)):
        return cell, lambda params: params

    def each(params: Params) -> Params:
        return tuple(own(p) for (_, own), p in zip(layers, params, strict=True))

    return stack(*(bare for bare, _ in layers)), each
