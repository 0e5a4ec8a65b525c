"""One step of a cell, which an episode may begin with."""

from rnnjax._checks import batch_shape_of, check_carry, check_inputs, check_reset
from rnnjax._params import check_params, in_dtype_of
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.running import restart_carry, select


def step_with_reset(
    cell: Cell,
    params: Params,
    carry: Carry,
    x_t: PyTree,
    reset: Array,
    *,
    initial_carry: Carry | None = None,
    key: Array | None = None,
) -> tuple[Carry, PyTree]:
    """One step of a rollout: `cell.step`, from a fresh carry where an episode begins.

    A loop of it over time computes what `unroll(cell, params, xs, carry=carry, resets=resets)`
    does, so a policy that acts step by step is trained on whole sequences by `unroll`. What
    episodes start from is the same if both get the same `initial_carry`, or the same `key` and the
    same batch: a key is split by the batch, so for a part of it take
    `initial_carry=cell.initial_carry(params, batch_shape, key)` in both, and its entries here.
    Without `carry=`, `unroll` begins the sequence from `initial_carry` too: begin the loop there.

    Args:
      cell: the `Cell`.
      params: its weights.
      carry: the state after the step before, of the batch shape.
      x_t: one step's inputs `[..., D]`; cast to the precision of the params.
      reset: `[...]` booleans, true for the examples whose episode begins with this step.
      initial_carry: what these start from; `cell.initial_carry(params, batch_shape)` if None. One
        without batch axes is where every example begins.
      key: PRNG key for the carry of these examples instead, for cells with training-time
        randomness (dropout, zoneout).

    Returns:
      `(carry, y_t)`, as `cell.step`.

    Raises:
      TypeError: reset is not boolean.
      ValueError: a carry unlike the initial one, or other batch axes in one than in another.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry = cell.initial_carry(params, (2,))
      >>> begins = jax.numpy.array([True, False])
      >>> carry, y_t = rnnjax.step_with_reset(cell, params, carry, jax.numpy.ones((2, 3)), begins)
      >>> y_t.shape
      (2, 4)
    """
    params, x_t = check_params(cell, params), check_inputs(x_t)
    reset = check_reset(reset)
    batch_shape = batch_shape_of(cell.structure.feature_axes, x_t)
    if batch_shape not in (None, reset.shape):
        raise ValueError(
            f"reset has shape {reset.shape}, but x_t has the batch shape {batch_shape}: give one "
            "flag for each example"
        )
    fresh = restart_carry(cell, params, carry, reset.shape, initial_carry, key)
    check_carry("carry", carry, fresh)
    return cell.step(params, select(reset, fresh, carry), in_dtype_of(params, x_t))
