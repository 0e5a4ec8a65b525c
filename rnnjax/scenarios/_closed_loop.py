"""A net that reads its own outputs: time series continued, free-running training."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._types import Array, Carry


def closed_loop(
    step: Callable[[Carry, Array], tuple[Carry, Array]], carry: Carry, x_0: Array, steps: int
) -> tuple[Carry, Array]:
    """Feed every output back as the next input.

        carry_t, x_t = step(carry_{t-1}, x_{t-1})        t = 1 … steps

    Differentiable, so a cost of the outputs trains the net in the way it will be used.

    Args:
      step: `(carry, x [B, D]) -> (carry, output [B, D])`, such as
        `functools.partial(model.step, params)` of a `many_to_many`.
      carry: the state after everything before `x_0` has been read.
      x_0: `[B, D]` the first input.
      steps: how many outputs.

    Returns:
      `(carry, outputs [steps, B, D])`.

    Raises:
      TypeError: steps is not an integer.
      ValueError: steps < 1, or outputs that do not have the shape of the inputs.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax import scenarios
      >>> def step(carry, x):
      ...     return carry, 2 * x
      >>> carry, xs = scenarios.closed_loop(step, None, jnp.ones((1, 1)), 3)
      >>> xs[:, 0, 0].tolist()
      [2.0, 4.0, 8.0]
    """
    steps = check_positive_int("steps", steps)
    output = jax.eval_shape(step, carry, x_0)[1]
    if output.shape != jnp.shape(x_0):
        raise ValueError(
            f"x_0 has shape {jnp.shape(x_0)} and the outputs {output.shape}: a closed loop reads "
            "its own outputs, so the head must have as many features as the input"
        )

    def body(held: tuple[Carry, Array], _: None) -> tuple[tuple[Carry, Array], Array]:
        carry, x = step(*held)
        return (carry, x), x

    start = (carry, jnp.asarray(x_0, output.dtype))
    (carry, _), outputs = jax.lax.scan(body, start, None, length=steps)
    return carry, outputs
