"""`pascanu_regularizer`: how far each step back is from keeping the norm of the error."""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp

from rnnjax._checks import check_choice
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.flow._float64 import in_float64
from rnnjax.flow._ratios import step_ratios


@in_float64
def pascanu_regularizer(
    cell: Cell,
    params: Params,
    xs: PyTree,
    cost: Callable[[Carry, PyTree], Array],
    *,
    carry: Carry | None = None,
    key: Array | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    mask: Array | None = None,
    derivative: Literal["immediate", "full"] = "immediate",
) -> Array:
    """Ω, the vanishing-gradient regulariser of Pascanu, Mikolov & Bengio: add it to a cost.

        Ω = Σ_t (‖∂C/∂s_t ∂s_t/∂s_{t-1}‖ / ‖∂C/∂s_t‖ - 1)²        t = 1 … T

    It is zero where every step back keeps the norm of the error, in the direction that the error
    has. s is the carry as one vector, and ∂C/∂s_t comes by every path, outputs included. A step
    whose error is zero has no term, nor has one in the padding or one that is skipped.

    The value does not depend on `derivative`, what `jax.grad` makes of it does:
      "immediate": as in the paper, whose authors "only use the immediate partial derivative with
        respect to W_rec". ∂C/∂s_t and all that the forward pass saves, the tape of the cell's rule
        (states, gates, φ'), count as constants: what is left are the weights that the error is
        multiplied by. Costs one matrix product a step.
      "full": the derivative of Ω, through ∂C/∂s_t and through the states too. For any cell.

    The paper leaves open what a batch is and over which steps to sum. Its authors' code has the
    ratio of squared norms in place of the ratio, and averages over examples and steps: for their
    scale, use `jnp.mean(pascanu_regularizer(...)) / T`. The examples of a batch must not interact
    in the cost but by a sum or mean. `pascanu_ratios` gives the ratios one by one.

    Args:
      cell: the `Cell`; of several leaves in the carry if it says which of them y_t is
        (`Structure.output`), as `lstm` does. Of a stack pass one layer.
      params: its weights.
      xs: inputs `[T, ..., D]`.
      cost: `cost(carry, ys) -> C`, as for `record`.
      carry, key, lengths, resets, mask: as for `record`.
      derivative: "immediate" or "full".

    Returns:
      Ω of every example, `[...]`; NaN where its error is not finite. Differentiable, in reverse
      mode and forward.

    Raises:
      TypeError: as `record`.
      ValueError: an unknown derivative; "immediate" for a cell without a rule; a carry of several
        leaves none of which is known to be y_t; and as `record`.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.vanilla(2, "identity")
      >>> params = cell.init(jax.random.key(0), 1)._replace(w_h=0.5 * jax.numpy.eye(2))
      >>> xs = jax.numpy.ones((3, 1))
      >>> last = lambda carry, ys: ys[-1].sum()
      >>> float(rnnjax.flow.pascanu_regularizer(cell, params, xs, last))  # three steps, each by 1/2
      0.75

    References:
      Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural
      networks, ICML, section 3.3, equations 9 and 10.
    """
    check_choice("derivative", derivative, ("immediate", "full"))
    given = mask, carry, key, lengths, resets
    ratios, counts = step_ratios(cell, params, xs, cost, derivative, *given)
    return jnp.sum(jnp.where(counts, (ratios - 1) ** 2, 0), axis=0)
