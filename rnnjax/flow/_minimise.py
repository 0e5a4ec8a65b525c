"""The search behind `fixed_points`: from every start to where q(s) = ½ ‖F(s) - s‖² is smallest."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.running import chosen_leaves, pack, unpack

_FLAT = 1e-6  # by which a unit move of the state changes the speed, relative to it: a minimum
_NO_MOVE = 1e-10  # a move of the state that is none, relative to it
_UNEVEN = 0.1  # the slowest rate of a unit beside the fastest from which on weights are worth while
_TOGETHER = 4096  # numbers in the Jacobians of the starts that are followed at once


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def minimise(
    cell: Cell,
    indices: tuple[int, ...],
    period: int,
    max_steps: int,
    tolerance: float,
    params: Params,
    starts: Carry,
    xs: PyTree,
) -> tuple[Array, ...]:
    """For every start: where it ends, its speed, whether q is flat there, ∂F/∂s, the period."""

    def one(start: Carry, x_t: PyTree) -> tuple[Array, ...]:
        like = chosen_leaves(start, indices)

        def step(state: Array) -> Array:
            carry = with_state(start, indices, state)
            return pack(chosen_leaves(cell.step(params, carry, x_t)[0], indices), 0)

        def residual(state: Array) -> tuple[Array, Array]:
            moved = state
            for _ in range(period):
                moved = step(moved)
            return moved - state, moved - state

        def measured(state: Array) -> tuple[Array, Array]:
            jacobian, value = jax.jacfwd(residual, has_aux=True)(state)
            return value, jacobian

        state = pack(like, 0)
        rates = _rates(measured(state)[1])
        weights = jnp.min(rates) / rates
        limit = jnp.where(jnp.min(weights) < _UNEVEN, max_steps, 0)
        ahead = _search(measured, state, weights, limit, tolerance)
        state = jnp.where(_is_polished(ahead, tolerance), ahead.state, state)
        even = jnp.ones_like(state)
        found = _search(measured, state, even, jnp.asarray(max_steps), tolerance)
        state, value, jacobian = found[:3]
        returns, moved = jnp.asarray(period), state
        near = 10 * tolerance * _scale(state)
        for k in range(1, period):
            moved = step(moved)
            back = (period % k == 0) & (jnp.max(jnp.abs(moved - state)) <= near)
            returns = jnp.where(back & (returns == period), k, returns)
        by_state = jacobian + jnp.eye(state.size, dtype=state.dtype)
        flat = _is_flat(found, even)
        return state, jnp.max(jnp.abs(value)), flat, _scale(state), by_state, returns

    count = jax.tree.leaves(starts)[0].shape[0]
    together = min(count, max(1, _TOGETHER // _num_states(starts, indices) ** 2))
    every = jnp.arange(-(-count // together) * together) % count  # whole groups, some twice
    starts, xs = jax.tree.map(lambda leaf: leaf[every], (starts, xs))
    ends = jax.lax.map(lambda each: one(*each), (starts, xs), batch_size=together)
    return tuple(each[:count] for each in ends)


def _num_states(starts: Carry, indices: tuple[int, ...]) -> int:
    """S of one start."""
    return sum(leaf[0].size for leaf in chosen_leaves(starts, indices))


class _Search(NamedTuple):
    """Where a minimisation is."""

    state: Array  # [S]
    value: Array  # [S] F(s) - s
    jacobian: Array  # [S, S] of it
    damping: Array
    tried: Array  # how many moves
    stuck: Array  # whether the last one made nothing better, however small


def _search(
    measured: Callable[[Array], tuple[Array, Array]],
    start: Array,
    weights: Array,
    limit: Array,
    tolerance: float,
) -> _Search:
    """Minimise ½ ‖w ⊙ (F(s) - s)‖² from a start, in at most `limit` moves.

    Where units move by very different parts of their errors in a step, as with time constants that
    differ, q has a curved valley that is slow to follow, and the weighted sum has none. It leads to
    the same zeros; other minima are those of q alone.
    """

    def go_on(held: _Search) -> Array:
        over = _is_polished(held, tolerance) | _is_flat(held, weights)
        return (held.tried < limit) & ~over

    def move(held: _Search) -> _Search:
        change = _damped_step(held, weights)
        new = held.state + change
        value, jacobian = measured(new)
        better = jnp.linalg.norm(weights * value) < jnp.linalg.norm(weights * held.value)
        stuck = ~better & (jnp.max(jnp.abs(change)) <= _NO_MOVE * _scale(held.state))
        damping = jnp.where(better, held.damping / 10, held.damping * 4)
        moved = held._replace(state=new, value=value, jacobian=jacobian)
        kept = jax.tree.map(lambda a, b: jnp.where(better, a, b), moved, held)
        damping = jnp.clip(damping, 1e-40, 1e24)
        return kept._replace(damping=damping, tried=held.tried + 1, stuck=stuck)

    value, jacobian = measured(start)
    damping = 1e-2 * jnp.max(jnp.sum((weights[:, None] * jacobian) ** 2, axis=0))
    first = _Search(start, value, jacobian, damping, jnp.asarray(0), jnp.asarray(False))
    return jax.lax.while_loop(go_on, move, first)


def _damped_step(held: _Search, weights: Array) -> Array:
    """min ‖w ⊙ (J d + r)‖² + λ ‖d‖², by the triangular factor of both rows with the right side."""
    size = held.state.size
    eye = jnp.sqrt(held.damping) * jnp.eye(size, dtype=held.state.dtype)
    rows = jnp.concatenate([weights[:, None] * held.jacobian, eye])
    wanted = jnp.concatenate([-weights * held.value, jnp.zeros_like(held.value)])
    r = jnp.linalg.qr(jnp.concatenate([rows, wanted[:, None]], axis=1), mode="r")
    return jax.scipy.linalg.solve_triangular(r[:size, :size], r[:size, size])


def _rates(jacobian: Array) -> Array:
    """`[S]`: the part of its error by which a unit moves in a step, by its row of ∂(F - s)/∂s."""
    tiny = jnp.finfo(jacobian.dtype).tiny
    return jnp.clip(jnp.linalg.norm(jacobian, axis=1), tiny, 1.0)


def _is_polished(held: _Search, tolerance: float) -> Array:
    """Whether the state is so near to where it stays as rounding lets it be."""
    rounding = 4 * jnp.finfo(held.value.dtype).eps
    enough = jnp.maximum(1e-3 * tolerance * _rates(held.jacobian), rounding)
    return jnp.all(jnp.abs(held.value) <= enough * _scale(held.state))


def _is_flat(held: _Search, weights: Array) -> Array:
    """Whether no move of the state makes the residual smaller, in whatever units of time."""
    value, jacobian = weights * held.value, weights[:, None] * held.jacobian
    slope = jnp.linalg.norm(jacobian.T @ value)
    return held.stuck | (slope * _scale(held.state) <= _FLAT * jnp.sum(value**2))


def _scale(state: Array) -> Array:
    return jnp.maximum(1.0, jnp.max(jnp.abs(state)))


def with_state(carry: Carry, indices: tuple[int, ...], state: Any) -> Carry:
    """`carry` with the state `[..., S]` in its differentiable leaves."""
    leaves, tree = jax.tree.flatten(carry)
    for i, leaf in zip(indices, unpack(state, chosen_leaves(carry, indices)), strict=True):
        leaves[i] = leaf
    return jax.tree.unflatten(tree, leaves)
