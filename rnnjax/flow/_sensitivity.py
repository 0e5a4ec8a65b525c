"""`sensitivity`: how strongly each output depends on each input."""

import math
from functools import partial

import jax
import jax.numpy as jnp

from rnnjax._checks import array_of, described, is_array, is_inexact
from rnnjax._execution import Sequence
from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.flow._cell import validate_cell
from rnnjax.flow._float64 import in_float64
from rnnjax.flow._norms import features_norm
from rnnjax.running import accumulation_dtype, input_dtypes, prepare


@in_float64
def sensitivity(
    cell: Cell,
    params: Params,
    xs: Array,
    *,
    carry: Carry | None = None,
    key: Array | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
) -> Array:
    """How strongly every output depends on every input: norms of input-output Jacobians.

        S[t, k] = ‖∂y_t/∂x_k‖        the Frobenius norm, for each example

    It shows fading memory: a row says how strongly the output at step t depends on each input so
    far, a column how the influence of one input decays over later outputs. S[t, k] = 0 for k > t.
    By forward mode, D tangents at a time, D the number of features of one input; a complex number
    counts as two real ones. Costs T·D runs of the cell over T steps.

    Args:
      cell: the `Cell`.
      params: its weights.
      xs: inputs `[T, ..., *features]`, one real or complex array.
      carry: the state before the first step; `cell.initial_carry(params, batch_shape)` if None.
      key: as for `rnnjax.unroll`, of a cell with training-time randomness. What a step draws is
        what it would draw in float64, not what it draws in float32.
      lengths: `[...]` integers in 0..T for right-padded sequences. Rows and columns in the
        padding are zero.
      resets: `[T, ...]` bool, true where an episode begins: outputs from there on do not depend on
        inputs before it.

    Returns:
      Sensitivities `[T, T, ...]`, output step first, input step second, float64. In
      units of y per unit of x.

    Raises:
      TypeError: xs that is not one real or complex array.
      ValueError: as `rnnjax.unroll`.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.identity_rnn(1)
      >>> params = rnnjax.cells.IdentityParams(w_x=jax.numpy.full((1, 1), 2.0))
      >>> rnnjax.flow.sensitivity(cell, params, jax.numpy.ones((3, 1))).tolist()
      [[2.0, 0.0, 0.0], [2.0, 2.0, 0.0], [2.0, 2.0, 2.0]]

    References:
      Graves (2012), Supervised sequence labelling with recurrent neural networks, Springer,
      chapter 4.
    """
    xs = array_of(xs)
    if not is_array(xs):
        axes = cell.structure.feature_axes if isinstance(cell, Cell) else ()
        timed = isinstance(axes, tuple) and axes[1:] == (0,)
        hint = ". With equal time steps, wrap the cell: rnnjax.fixed_dt(cell, dt)" if timed else ""
        raise TypeError(f"xs must be one array [T, ..., D], got {described(xs)}{hint}")
    if not is_inexact(xs):
        raise TypeError(
            f"xs has dtype {xs.dtype}: outputs have derivatives with respect to floating-point "
            "features alone. For token ids, pass their embeddings"
        )
    sequence, _, batch_shape = validate_cell(cell, params, xs, carry, key, lengths, resets)
    return _run(cell, len(batch_shape), params, sequence)


@partial(jax.jit, static_argnums=(0, 1))
def _run(cell: Cell, batch_ndim: int, params: Params, sequence: Sequence) -> Array:
    xs = jnp.asarray(sequence.xs, input_dtypes(params, sequence.xs))
    steps, features = xs.shape[0], xs.shape[1 + batch_ndim :]
    directions = jnp.eye(math.prod(features), dtype=xs.dtype).reshape(-1, *features)
    if jnp.iscomplexobj(xs):
        directions = jnp.concatenate([directions, 1j * directions])

    def outputs(xs: Array) -> Array:
        ready, carry, inputs = prepare(cell, params, sequence._replace(xs=xs))
        return jax.lax.scan(partial(ready.step, params), carry, inputs)[1]

    linear = jax.linearize(outputs, xs)[1]  # one forward pass for all tangents

    def influence(k: Array) -> Array:
        """‖∂y_t/∂x_k‖ for all t: [T, ...]."""

        def along(direction: Array) -> Array:
            return linear(jnp.zeros_like(xs).at[k].set(direction))

        columns = jax.vmap(along, out_axes=-1)(directions)
        return features_norm([columns], 1 + batch_ndim)

    if steps == 0:
        return jnp.zeros((0, *xs.shape[: 1 + batch_ndim]), accumulation_dtype([xs]))
    return jnp.moveaxis(jax.lax.map(influence, jnp.arange(steps)), 0, 1)
