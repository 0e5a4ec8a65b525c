"""What the gradient of the weights consists of, by how many steps back it lies."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import is_inexact
from rnnjax._execution import Sequence
from rnnjax._leaves import inexact
from rnnjax._types import Array, Carry, Cell, Params, PyTree, initial_carry
from rnnjax.flow._norms import features_norm
from rnnjax.running import RestartCarry, accumulation_dtype, blank, final_carry, mask, prepare

Shape = tuple[int, tuple[int, ...], bool]  # how many lags, batch shape, whether a carry is given


class Way(NamedTuple):
    """What the errors of a run go back through, all arrays."""

    params: Params
    sequence: Sequence
    key: Array | None
    before: Carry  # before every step, [T, ...]


class Errors(NamedTuple):
    """∂C/∂ what is read of a run, each [T, ...]."""

    ends: list[Array]  # the carries after the steps, as `at_ends` places them
    ys: list[Array]  # the outputs


@partial(jax.jit, static_argnums=0)
def forward(cell: Cell, params: Params, sequence: Sequence) -> tuple[Carry, PyTree, Carry]:
    """The last carry, the outputs, and the carries before every step."""
    ready, carry, inputs = prepare(cell, params, sequence)

    def body(carry: Carry, x_t: PyTree) -> tuple[Carry, tuple[PyTree, Carry]]:
        new, y_t = ready.step(params, carry, x_t)
        return new, (y_t, carry)

    last, (ys, before) = jax.lax.scan(body, carry, inputs)
    return final_carry(last), ys, before


@partial(jax.jit, static_argnums=0)
def steps_behind(batch_ndim: int, way: Way, errors: Errors) -> Array:
    """How many steps of its episode lie behind each error `[T, ...]`, int32; -1 without one."""
    _, valid, begins = mask(way.params, way.sequence, reverse=False)

    def any_feature(ct: Array) -> Array:
        return jnp.any(ct != 0, axis=tuple(range(1 + batch_ndim, ct.ndim)))

    error = jax.tree.reduce(jnp.logical_or, [any_feature(ct) for ct in [*errors.ends, *errors.ys]])
    error = error if valid is None else error & valid
    t = jnp.arange(error.shape[0], dtype=jnp.int32).reshape((-1,) + (1,) * batch_ndim)
    behind = jnp.broadcast_to(t, error.shape)
    if begins is not None:
        start = jnp.where(begins, behind, 0)
        behind = behind - jax.lax.cummax(start, axis=0)
    return jnp.where(error, behind, -1)


@partial(jax.jit, static_argnums=(0, 1))
def by_lag(cell: Cell, shape: Shape, way: Way, errors: Errors) -> tuple[Array, Array]:
    """‖a_k‖ for k = 0 … lags - 1, and ‖Σ_{j=k}^{lags-1} a_j‖ for k = 0 … lags."""
    lags = shape[0]
    first, arrived, one_lag = _backwards(cell, shape, way, errors)

    def summed(state: Any, _: None) -> tuple[Any, None]:
        total, arrived = state
        arrived, part = one_lag(arrived)
        return (jax.tree.map(jnp.add, total, _wide(part)), arrived), None

    def measured(state: Any, _: None) -> tuple[Any, tuple[Array, Array]]:
        rest, arrived = state
        arrived, part = one_lag(arrived)
        rest = jax.tree.map(jnp.subtract, rest, _wide(part))
        return (rest, arrived), (_norm(part), _norm(rest))

    start = _wide(first)
    total = jax.lax.scan(summed, (start, arrived), length=lags - 1)[0][0]
    rest = jax.tree.map(jnp.subtract, total, start)
    norms, rests = jax.lax.scan(measured, (rest, arrived), length=lags - 1)[1]
    norms = jnp.concatenate([_norm(first)[None], norms])
    rests = jnp.concatenate([_norm(total)[None], _norm(rest)[None], rests])
    return norms, rests.at[-1].set(0.0)


@partial(jax.jit, static_argnums=(0, 1))
def norms_by_lag(cell: Cell, shape: Shape, way: Way, errors: Errors, which: Array) -> Array:
    """‖a_k‖ for k = 0 … lags - 1 of the errors at the steps `which` `[T, ...]` alone."""
    first, arrived, one_lag = _backwards(cell, shape, way, blank(which, errors))

    def measured(arrived: list[Array], _: None) -> tuple[list[Array], Array]:
        arrived, part = one_lag(arrived)
        return arrived, _norm(part)

    norms = jax.lax.scan(measured, arrived, length=shape[0] - 1)[1]
    return jnp.concatenate([_norm(first)[None], norms])


def _backwards(
    cell: Cell, shape: Shape, way: Way, errors: Errors
) -> tuple[Params, list[Array], Callable[[list[Array]], tuple[list[Array], Params]]]:
    """a_0, what arrives before every step, and how that goes on: to a_{k+1} and one step further.

    All steps go back by one step at once: what has arrived before step t goes on from step t - 1.
    A carry that is made of params, the first or that of an episode, is part of the step after it.
    """
    _, batch_shape, given_carry = shape
    params, sequence, key, before = way
    ready, _, inputs = prepare(cell, params, sequence)
    leaves, tree = jax.tree.flatten(before)
    moving = [i for i, leaf in enumerate(leaves) if is_inexact(leaf)]

    def all_steps(params: Params, floats: list[Array]) -> tuple[list[Array], list[Array]]:
        given = dict(zip(moving, floats, strict=True))
        carries = jax.tree.unflatten(tree, [given.get(i, leaf) for i, leaf in enumerate(leaves)])
        fresh = initial_carry(cell, params, batch_shape, key)
        carries = _begun(carries, fresh, given_carry)
        new, ys = jax.vmap(partial(ready.step, params))(carries, inputs)
        return inexact(new), inexact(ys)

    back = jax.vjp(all_steps, params, [leaves[i] for i in moving])[1]
    nothing = jax.tree.map(jnp.zeros_like, errors.ys)

    def one_lag(arrived: list[Array]) -> tuple[list[Array], Params]:
        onward = [jnp.concatenate([ct[1:], jnp.zeros_like(ct[:1])]) for ct in arrived]
        part, arrived = back((onward, nothing))
        return arrived, part

    return *back((errors.ends, errors.ys)), one_lag


def _begun(before: Carry, fresh: Carry, given: bool) -> Carry:
    """The carries before every step, the first and those of episodes as `fresh` is made."""

    def everywhere(leaf: Any, own: Any) -> Any:
        return jnp.broadcast_to(own, leaf.shape) if is_inexact(leaf) else leaf

    def at_first(leaf: Any, own: Any) -> Any:
        return leaf.at[0].set(own) if is_inexact(leaf) else leaf

    current = final_carry(before)
    current = current if given else jax.tree.map(at_first, current, fresh)
    if not isinstance(before, RestartCarry):
        return current
    return RestartCarry(current, jax.tree.map(everywhere, before.initial, fresh))


def at_ends(last_ct: list[Array], sequence: Sequence, before: Carry) -> list[Array]:
    """∂C/∂carry_t by the last carry alone: at each sequence's own last step, the first if none."""
    floats = inexact(before)

    def place(ct: Array, like: Array) -> Array:
        end = jnp.full((1,) * ct.ndim, like.shape[0])
        if sequence.lengths is not None:
            end = sequence.lengths.reshape(sequence.lengths.shape + (1,) * (ct.ndim - end_ndim))
        t = jnp.arange(like.shape[0], dtype=end.dtype).reshape((-1,) + (1,) * ct.ndim)
        return jnp.where(t == jnp.maximum(end[None] - 1, 0), ct[None], jnp.zeros_like(like))

    end_ndim = 0 if sequence.lengths is None else sequence.lengths.ndim
    given = [place(ct, like) for ct, like in zip(last_ct, floats, strict=False)]
    return [*given, *map(jnp.zeros_like, floats[len(given) :])]  # what episodes begin from


def _wide(tree: PyTree) -> list[Array]:
    """The differentiable leaves, in float32 at least."""
    return [leaf.astype(accumulation_dtype([leaf])) for leaf in inexact(tree)]


def _norm(tree: PyTree) -> Array:
    return features_norm([leaf[None] for leaf in inexact(tree)], 1)[0]
