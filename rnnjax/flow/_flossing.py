"""`flossing`: how far Lyapunov exponents are from zero, as a loss."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._checks import check_positive_int, described
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.flow._float64 import in_float64
from rnnjax.flow._lyapunov import measured


@in_float64
def flossing(
    cell: Cell,
    params: Params,
    xs: PyTree,
    k: int,
    *,
    target: float | Array = 0.0,
    carry: Carry | None = None,
    key: Array | None = None,
    burn_in: int = 0,
    lengths: Array | None = None,
    resets: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """Gradient flossing: the mean squared distance of the k leading Lyapunov exponents to a target.

        L = 1/k Σ_{i ≤ k} (λ_i - target_i)²        λ: `lyapunov_spectrum`, in nats a step

    An error that travels back changes by e^{λ_i} a step along each direction. Minimising L moves
    these rates to zero, so that k directions of the error neither vanish nor explode, before a task
    is learned or between phases of learning it. The schedule is your loop's:

        floss = jax.jit(jax.value_and_grad(lambda params: flossing(cell, params, xs, k)))
        for _ in range(300):                       # before training, or again every 500 updates
            loss, grads = floss(params)
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)

    The gradient is that of the finite sum over the steps of xs: exact, through every
    orthonormalisation, also where exponents are equal. Directions that a step maps to zero have the
    exponent -inf, which no small change of the params brings back: they are left out of L, and what
    is left has the gradient of itself. So with more exponents than the Jacobians have rank, such as
    with ReLU units that are off, L is that of the others, and 0 if there are none;
    `lyapunov_spectrum` shows which are -inf. Fewer than S exponents are faster, and steadier: the
    last ones belong to directions that are nearly lost.

    Args:
      cell: the `Cell`.
      params: its weights.
      xs: inputs `[T, ..., D]`; some 50 steps are enough for flossing, whatever the task's length.
      k: the number of exponents, in 1..S.
      target: the exponents aimed at: one number or `[k]`, descending.
      carry, key, burn_in, lengths, resets, mask: as for `lyapunov_spectrum`.

    Returns:
      The loss, a scalar `[]`: a mean over exponents and examples, without examples that have no
      step beyond the burn-in. Not finite where a Jacobian is not.

    Raises:
      TypeError: as `lyapunov_spectrum`.
      ValueError: a target of another shape or not finite, and as `lyapunov_spectrum`.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.identity_rnn(2)
      >>> params, xs = cell.init(jax.random.key(0), 1), jax.numpy.ones((10, 1))
      >>> float(rnnjax.flow.flossing(cell, params, xs, 2, target=-0.5))
      0.25

    References:
      Engelken (2023), Gradient flossing: improving gradient descent through dynamic control of
      Jacobians, NeurIPS.
    """
    count = check_positive_int("k", k)
    aimed = _target(target, count)
    options = carry, key, lengths, resets
    found, counted = measured(cell, params, xs, count, burn_in, mask, *options)
    live = (counted > 0)[..., None] & (found != -jnp.inf)
    distance = jnp.where(live, found, 0.0) - jnp.broadcast_to(aimed, found.shape)
    total = jnp.sum(jnp.where(live, distance**2, 0.0))
    return total / jnp.maximum(jnp.sum(live), 1).astype(total.dtype)


def _target(target: float | Array, k: int) -> Array:
    try:
        found = jnp.asarray(target, float)
    except (TypeError, ValueError):
        raise TypeError(
            f"target must be a number, or one for each exponent, got {described(target)}"
        ) from None
    if found.shape not in ((), (k,)):
        raise ValueError(
            f"target must be a number or have the shape [k] = [{k}], got {[*found.shape]}"
        )
    if not isinstance(found, Tracer) and not np.isfinite(found).all():
        raise ValueError(f"target must be finite, got {target}")
    return found
