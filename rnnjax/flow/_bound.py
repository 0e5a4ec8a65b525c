"""`pascanu_bound`: a bound on the gradient from the recurrent weights alone."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from rnnjax._checks import check_array, check_choice, described, known_values
from rnnjax._types import Array
from rnnjax.cells import ACTIVATIONS, ActivationName


class Bound(NamedTuple):
    sigma_max: float  # the largest singular value of W_h
    gamma: float  # γ, the largest |φ'|
    product: float  # σ_max γ, the largest factor by which one step back can grow the error
    verdict: str  # "must vanish", "may explode" or "may stay constant"


def pascanu_bound(w_h: Array, activation: ActivationName) -> Bound:
    """The condition of Pascanu, Mikolov & Bengio for a vanilla cell's gradient to vanish.

        h_t = φ(x_t W_x + h_{t-1} W_h + b)
        ‖∂C/∂h_{t-1}‖ ≤ σ_max(W_h) γ ‖∂C/∂h_t‖        for a cost of the last state

    A product below 1 is sufficient for vanishing ("must vanish"): the error shrinks by at least
    that factor at every step, whatever the inputs. A product above 1 is necessary for exploding,
    but not sufficient ("may explode"): σ_max γ is attained only in the worst direction, at the
    steepest point of φ. At 1 the error cannot grow ("may stay constant").

    Args:
      w_h: recurrent weights of a vanilla cell, `[H, H]`.
      activation: φ, by name: "tanh", "relu", "sigmoid" or "identity"; γ is 1, 1, 1/4 and 1.

    Returns:
      A `Bound(sigma_max, gamma, product, verdict)`; a product that is 1 up to the rounding of
      w_h's dtype counts as 1. Concrete values: not for use inside `jit`.

    Raises:
      TypeError: w_h that is not real floating point, such as all params, or traced values.
      ValueError: w_h that is not a square matrix or not finite, or an unknown activation.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> rnnjax.flow.pascanu_bound(0.5 * jnp.eye(3), "tanh")
      Bound(sigma_max=0.5, gamma=1.0, product=0.5, verdict='must vanish')

    References:
      Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural
      networks, ICML, section 2.1.
    """
    form = "[H, H], such as params.w_h"
    if isinstance(w_h, Mapping) or hasattr(w_h, "_fields"):  # equal leaves would make an array
        raise TypeError(f"w_h must be an array {form}, got {described(w_h)}")
    w_h = check_array("w_h", w_h, form)
    if not jnp.issubdtype(w_h.dtype, jnp.floating):
        raise TypeError(f"w_h must be real floating point, got dtype {w_h.dtype}")
    if w_h.ndim != 2 or w_h.shape[0] != w_h.shape[1] or w_h.size == 0:
        raise ValueError(
            f"w_h must be a square matrix [H, H], got shape {w_h.shape}: pass params.w_h of a "
            "vanilla cell. The gates of an LSTM or GRU are outside this theorem"
        )
    instead = ", or use jnp.linalg.norm(w_h, 2) for its σ_max there"
    matrix = known_values("pascanu_bound", w_h, instead).astype(np.float64)
    if not np.all(np.isfinite(matrix)):
        raise ValueError("w_h has entries that are not finite, so it has no singular values")
    gamma = ACTIVATIONS[check_choice("activation", activation, ACTIVATIONS)].gamma
    sigma_max = float(np.linalg.svd(matrix, compute_uv=False)[0])
    product = sigma_max * gamma
    rounding = 4 * matrix.shape[0] * float(jnp.finfo(w_h.dtype).eps)
    if abs(product - 1) <= rounding:
        return Bound(sigma_max, gamma, product, "may stay constant")
    return Bound(sigma_max, gamma, product, "must vanish" if product < 1 else "may explode")
