"""`lyapunov_spectrum`: the average exponential rates at which nearby states diverge."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._checks import check_nonnegative_int, check_positive_int
from rnnjax._execution import Sequence
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.flow._cell import choose, follow, validate_masked
from rnnjax.flow._float64 import in_float64
from rnnjax.flow._gram_schmidt import gram_schmidt
from rnnjax.running import chosen_leaves, leaf_indices, pack, push


@in_float64
def lyapunov_spectrum(
    cell: Cell,
    params: Params,
    xs: PyTree,
    k: int | None = None,
    *,
    carry: Carry | None = None,
    key: Array | None = None,
    burn_in: int = 0,
    lengths: Array | None = None,
    resets: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """The leading Lyapunov exponents along the trajectory driven by xs.

        J_t Q_{t-1} = Q_t R_t;        λ_i = 1/(T - burn_in) Σ_{t > burn_in} ln |R_t[i, i]|

    k orthonormal tangents are pushed through each step and re-orthonormalised (Benettin et
    al.), without the full Jacobian: k Jacobian-vector products a step. A positive λ_1 means that
    nearby states diverge and that errors explode on their way back; if all λ are well below zero,
    both vanish.

    Args:
      cell: the `Cell`.
      params: its weights.
      xs: inputs `[T, ..., D]`.
      k: the number of exponents, in 1..S, where S is the size of the carry in real numbers; all S
        if None.
      carry: the state before the first step; `cell.initial_carry(params, batch_shape)` if None.
      key: as for `rnnjax.unroll`, of a cell with training-time randomness: the exponents are then
        those of the net driven by what it draws, in float64.
      burn_in: initial steps that align the tangents and are not averaged over.
      lengths: `[...]` integers in 0..T for right-padded sequences: each example is averaged over
        its own steps.
      resets: `[T, ...]` bool, true where an episode begins. The tangents start anew there, each
        episode with a burn-in of its own, and the average is over the steps of all episodes.
      mask: `[T, ...]` bool, false at steps to skip, as for `rnnjax.unroll`: they count for nothing.

    Returns:
      Exponents `[..., k]` in nats a step, descending, float64. -inf for a direction
      that some step maps to zero. An estimate from T - burn_in steps, whose error falls as one
      over that number. NaN for an example whose episodes have no step beyond the burn-in.

    Raises:
      TypeError: k or burn_in that is not an integer, and as `rnnjax.unroll`.
      ValueError: T ≤ burn_in, k above S, a negative burn_in, and as `rnnjax.unroll`.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.identity_rnn(2)
      >>> params = cell.init(jax.random.key(0), 1)
      >>> rnnjax.flow.lyapunov_spectrum(cell, params, jax.numpy.ones((10, 1))).tolist()
      [0.0, 0.0]

    References:
      Benettin, Galgani, Giorgilli & Strelcyn (1980), Lyapunov characteristic exponents for
      smooth dynamical systems, Meccanica 15.
      Engelken, Wolf & Abbott (2023), Lyapunov spectra of chaotic recurrent neural networks,
      Physical Review Research 5.
    """
    return measured(cell, params, xs, k, burn_in, mask, carry, key, lengths, resets)[0]


def measured(
    cell: Cell,
    params: Params,
    xs: PyTree,
    k: int | None,
    burn_in: int,
    mask: Array | None,
    *options: Any,
) -> tuple[Array, Array]:
    """`lyapunov_spectrum`, and how many steps of each example it is averaged over: `[...]`.

    `options` are carry, key, lengths and resets.
    """
    sequence, length, batch_shape, _ = validate_masked(cell, params, xs, mask, *options)
    check_nonnegative_int("burn_in", burn_in)
    if length <= burn_in:
        raise ValueError(
            f"xs has T = {length} steps and burn_in = {burn_in}: no step is left to measure. Give "
            "a longer sequence or a smaller burn_in"
        )
    indices, state = _state(sequence, batch_shape)
    size = state.shape[-1]
    count = size if k is None else check_positive_int("k", k)
    if count > size:
        raise ValueError(f"k = {k} exponents of a carry of size S = {size}: k is at most S")
    first = _first_tangents(size, count, state.dtype)
    tangents = jnp.broadcast_to(first, (*batch_shape, size, count))
    return _run(cell, indices, burn_in, params, sequence, tangents)


def largest_exponent(
    cell: Cell,
    params: Params,
    sequence: Sequence,
    batch_shape: tuple[int, ...],
    beside: Callable[[Carry, PyTree], PyTree],
) -> tuple[Array, PyTree]:
    """λ₁ `[..., 1]` of a validated sequence, and what `beside(carry, x_t)` gives at each step."""
    indices, state = _state(sequence, batch_shape)
    first = _first_tangents(state.shape[-1], 1, state.dtype)
    tangents = jnp.broadcast_to(first, (*batch_shape, *first.shape))
    exponents, _, outs = _along(cell, indices, 0, params, sequence, tangents, beside)
    return exponents, outs


def _state(
    sequence: Sequence, batch_shape: tuple[int, ...]
) -> tuple[tuple[int, ...], jax.ShapeDtypeStruct]:
    """The differentiable leaves of the carry, and the shape of the vector that they are."""
    indices = leaf_indices(sequence.carry, None)
    return indices, jax.eval_shape(
        lambda carry: pack(chosen_leaves(carry, indices), len(batch_shape)), sequence.carry
    )


def _first_tangents(size: int, k: int, dtype: jnp.dtype) -> Array:
    """Unit vectors if there are S, since they span the space; fewer are in general position."""
    if k == size:
        return jnp.eye(size, dtype=dtype)
    drawn = jax.random.normal(jax.random.key(0), (size, k), jnp.float32)  # alike in every dtype
    return jnp.linalg.qr(drawn.astype(dtype))[0]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _run(
    cell: Cell,
    indices: tuple[int, ...],
    burn_in: int,
    params: Params,
    sequence: Sequence,
    tangents: Array,
) -> tuple[Array, Array]:
    return _along(cell, indices, burn_in, params, sequence, tangents, lambda carry, x_t: None)[:2]


def _along(
    cell: Cell,
    indices: tuple[int, ...],
    burn_in: int,
    params: Params,
    sequence: Sequence,
    tangents: Array,
    beside: Callable[[Carry, PyTree], PyTree],
) -> tuple[Array, Array, PyTree]:
    total = jnp.zeros((*tangents.shape[:-2], tangents.shape[-1]), tangents.dtype)
    none = jnp.zeros(tangents.shape[:-2], jnp.int32)

    def step(carry: Carry, x_t: PyTree, valid: Array | bool, begins: Array | bool, state: Any):
        now, age, counted, total = state
        now, age = choose(begins, tangents, now), choose(begins, none, age)
        out = beside(carry, x_t)
        carry, pushed = push(cell, params, carry, x_t, now, indices)
        turned, growth = gram_schmidt(pushed)
        counts = valid & (age >= burn_in)
        total = choose(counts, total + growth, total)
        counted = counted + counts.astype(counted.dtype)
        return carry, (choose(valid, turned, now), age + 1, counted, total), out

    state, outs = follow(params, sequence, (tangents, none, none, total), step)
    _, _, counted, total = state
    some = counted > 0
    mean = total / jnp.maximum(counted, 1)[..., None].astype(total.dtype)
    return jnp.where(some[..., None], -jnp.sort(-mean, axis=-1), jnp.nan), counted, outs
