"""One step of a cell, which an episode may begin with."""

import jax
import jax.numpy as jnp

from rnnjax._checks import check_carry, check_inputs, check_reset
from rnnjax._params import check_params
from rnnjax._types import Array, Carry, Cell, Params, PyTree, initial_carry as carry_of
from rnnjax.running import input_dtypes, select


def step_with_reset(
    cell: Cell,
    params: Params,
    carry: Carry,
    x_t: PyTree,
    reset: Array,
    *,
    initial_carry: Carry | None = None,
) -> tuple[Carry, PyTree]:
    """One step of a rollout: `cell.step`, from a fresh carry where an episode begins.

    A loop of it over time computes what `unroll(cell, params, xs, carry=carry, resets=resets)`
    does, so a policy that acts step by step is trained on whole sequences by `unroll`.

    Args:
      cell: the `Cell`.
      params: its weights.
      carry: the state after the step before, of the batch shape.
      x_t: one step's inputs `[..., D]`; cast to the precision of the params.
      reset: `[...]` booleans, true for the examples whose episode begins with this step.
      initial_carry: what these start from; `cell.initial_carry(params, batch_shape)` if None. A
        cell with training-time randomness (dropout, zoneout) needs the carry that was drawn with
        its key.

    Returns:
      `(carry, y_t)`, as `cell.step`.

    Raises:
      TypeError: reset is not boolean.
      ValueError: a carry unlike the initial one, whose batch shape is that of `reset`.

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
    if initial_carry is None:
        initial_carry = carry_of(cell, params, reset.shape)
    check_carry("carry", carry, initial_carry)
    x_t = jax.tree.map(jnp.asarray, x_t, input_dtypes(params, x_t))
    return cell.step(params, select(reset, initial_carry, carry), x_t)
