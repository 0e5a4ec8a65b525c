"""`lyapunov_spectrum`: the average exponential rates at which nearby states diverge."""

from functools import partial

import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._execution import Sequence
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.flow._cell import validate_cell
from rnnjax.flow._graded import qr
from rnnjax.running import chosen_leaves, leaf_indices, pack, prepare, push


def lyapunov_spectrum(
    cell: Cell,
    params: Params,
    xs: PyTree,
    k: int | None = None,
    *,
    carry: Carry | None = None,
    burn_in: int = 0,
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
      burn_in: initial steps that align the tangents and are not averaged over.

    Returns:
      Exponents `[..., k]` in nats a step, descending, at least float32. -inf for a direction
      that some step maps to zero. An estimate from T - burn_in steps, whose error falls as one
      over that number.

    Raises:
      TypeError: k or burn_in that is not an integer, and as `rnnjax.unroll`.
      ValueError: T ≤ burn_in, k above S, and as `rnnjax.unroll`.

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
    sequence, length, batch_shape = validate_cell(cell, params, xs, carry)
    if burn_in != 0:
        check_positive_int("burn_in", burn_in)
    if length <= burn_in:
        raise ValueError(
            f"xs has T = {length} steps and burn_in = {burn_in}: no step is left to measure. Give "
            "a longer sequence or a smaller burn_in"
        )
    indices = leaf_indices(sequence.carry, None)
    state = jax.eval_shape(
        lambda carry: pack(chosen_leaves(carry, indices), len(batch_shape)), sequence.carry
    )
    size = state.shape[-1]
    count = size if k is None else check_positive_int("k", k)
    if count > size:
        raise ValueError(f"k = {k} exponents of a carry of size S = {size}: k is at most S")
    first = _first_tangents(size, count, state.dtype)
    tangents = jnp.broadcast_to(first, (*batch_shape, size, count))
    return _run(cell, indices, burn_in, params, sequence, tangents)


def _first_tangents(size: int, k: int, dtype: jnp.dtype) -> Array:
    """Unit vectors if there are S, since they span the space; fewer are in general position."""
    if k == size:
        return jnp.eye(size, dtype=dtype)
    return jnp.linalg.qr(jax.random.normal(jax.random.key(0), (size, k), dtype))[0]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _run(
    cell: Cell,
    indices: tuple[int, ...],
    burn_in: int,
    params: Params,
    sequence: Sequence,
    tangents: Array,
) -> Array:
    ready, carry, inputs = prepare(cell, params, sequence)
    steps = jax.tree.leaves(inputs)[0].shape[0]

    def body(
        state: tuple[Carry, Array, Array], step: tuple[PyTree, Array]
    ) -> tuple[tuple[Carry, Array, Array], None]:
        carry, tangents, total = state
        x_t, counts = step
        carry, pushed = push(ready, params, carry, x_t, tangents, indices)
        tangents, r = qr(pushed)
        growth = jnp.log(jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1)))
        return (carry, tangents, total + jnp.where(counts, growth, 0.0)), None

    total = jnp.zeros((*tangents.shape[:-2], tangents.shape[-1]), tangents.dtype)
    measured = jnp.arange(steps) >= burn_in
    total = jax.lax.scan(body, (carry, tangents, total), (inputs, measured))[0][2]
    return -jnp.sort(-total / (steps - burn_in), axis=-1)
