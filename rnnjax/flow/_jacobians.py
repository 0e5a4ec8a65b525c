"""`jacobians`: the Jacobian of each state with respect to the previous one."""

from functools import partial

import jax
import jax.numpy as jnp

from rnnjax._execution import Sequence
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.flow._cell import choose, follow, validate_masked
from rnnjax.flow._float64 import in_float64
from rnnjax.running import chosen_leaves, leaf_indices, pack, push


@in_float64
def jacobians(
    cell: Cell,
    params: Params,
    xs: PyTree,
    *,
    carry: Carry | None = None,
    key: Array | None = None,
    leaf: str | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """The state-to-state Jacobian of every step along the trajectory driven by xs.

        J_t = ∂s_t/∂s_{t-1},   J_t[i, j] = ∂s_t[i]/∂s_{t-1}[j]        t = 1 … T

    s is the carry as one real vector: its differentiable leaves flattened and put side by side in
    the order of the tree (LSTM: h, then c; a stack: the cells from the input up). A complex leaf
    counts twice, real parts before imaginary parts. By forward mode, S tangents pushed through
    `cell.step` at once. The result has T·S² numbers for each example.

    Args:
      cell: the `Cell`.
      params: its weights.
      xs: inputs `[T, ..., D]`.
      carry: the state before the first step; `cell.initial_carry(params, batch_shape)` if None.
      key: as for `rnnjax.unroll`, of a cell with training-time randomness. What a step draws is
        what it would draw in float64, not what it draws in float32.
      leaf: the name of a field of the carry: then s is that field alone and J_t its own block,
        such as ∂h_t/∂h_{t-1} with the other fields held constant. In a stack, the field of every
        cell that has it; "[0].h" is that of the first alone, and "[1]" the second of a tuple.
      lengths: `[...]` integers in 0..T for right-padded sequences. In padding the state stays, and
        J_t is the identity.
      resets: `[T, ...]` bool, true where an episode begins: there s_t does not depend on s_{t-1},
        and J_t is zero.
      mask: `[T, ...]` bool, false at steps to skip, as for `rnnjax.unroll`: there the state stays,
        and J_t is the identity.

    Returns:
      Jacobians `[T, ..., S, S]`, float64.

    Raises:
      TypeError: as `rnnjax.unroll`, or a `leaf` that is not a string.
      ValueError: as `rnnjax.unroll`, or an unknown field; the error lists the leaves.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.identity_rnn(2)
      >>> params = cell.init(jax.random.key(0), 1)
      >>> rnnjax.flow.jacobians(cell, params, jax.numpy.ones((3, 1)))[-1].tolist()
      [[1.0, 0.0], [0.0, 1.0]]

    References:
      Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural
      networks, ICML.
    """
    given = carry, key, lengths, resets
    sequence, _, batch_shape, in_time = validate_masked(cell, params, xs, mask, *given)
    indices = leaf_indices(sequence.carry, leaf)
    found = _run(cell, indices, batch_shape, params, sequence)
    if in_time is None:
        return found
    shown, eye = in_time.shown[..., None, None], jnp.eye(found.shape[-1], dtype=found.dtype)
    return jnp.where(shown, in_time.of_steps(found), jnp.broadcast_to(eye, found.shape))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _run(
    cell: Cell,
    indices: tuple[int, ...],
    batch_shape: tuple[int, ...],
    params: Params,
    sequence: Sequence,
) -> Array:
    state = pack(chosen_leaves(sequence.carry, indices), len(batch_shape))
    size = state.shape[-1]
    basis = jnp.broadcast_to(jnp.eye(size, dtype=state.dtype), (*batch_shape, size, size))

    def step(carry: Carry, x_t: PyTree, valid: Array | bool, begins: Array | bool, _: None):
        carry, jacobian = push(cell, params, carry, x_t, basis, indices)
        jacobian = choose(begins, jnp.zeros_like(jacobian), jacobian)
        return carry, None, choose(valid, jacobian, basis)

    return follow(params, sequence, None, step)[1]
