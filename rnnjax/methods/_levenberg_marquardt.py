"""A damped Newton step over time, as a Kalman smoother: ELK (Gonzalez et al. 2024).

    δ = argmin Σ_t ‖δ_t - J_t δ_{t-1} - r_t‖² + λ ‖δ_t‖²

This is the mean of a linear Gaussian chain with unit noise whose states are all observed to be zero
with precision λ. The covariances P_t follow a Riccati recursion; given them, the filter is an
affine scan and the smoother another one, backwards in time.
"""

import jax
import jax.numpy as jnp

from rnnjax._types import Array
from rnnjax.methods._linear_scan import shifted
from rnnjax.methods._recurrence import affine_scan


def damped(J: Array, r: Array, damping: Array, begins: Array | None, reverse: bool) -> Array:
    """δ [T, ..., M, K].

    Args:
      J: [T, ..., M, K, K].
      r: [T, ..., M, K].
      damping: λ, a scalar.
      begins: [T, ...] bool, where J_t is taken for zero; None: nowhere.
      reverse: the chain goes from t = T down to 1.
    """
    if begins is not None:
        J = jnp.where(begins[..., None, None, None], jnp.zeros_like(J), J)
    K = J.shape[-1]
    one = jnp.eye(K, dtype=J.dtype).reshape((1,) * (J.ndim - 2) + (K, K))
    weight = jnp.broadcast_to(damping, (*one.shape[:-2], 1, 1))
    P = _covariances(J, weight, one, reverse)
    before = shifted(P, jnp.zeros_like(P[0]), reverse)
    predicted = J @ before @ _transposed(J) + one  # of δ_t before it is observed
    shrink = _inverse(one + weight * predicted)
    filtered = affine_scan(shrink @ J, _times(shrink, r), None, reverse)
    # δ_t = m_t + G_t (δ_{t+1} - J_{t+1} m_t - r_{t+1}),  G_t = P_t J_{t+1}ᵀ P⁻_{t+1}⁻¹
    gain = before @ _transposed(J) @ _inverse(predicted)  # G_{t-1}
    m_before = shifted(filtered, jnp.zeros_like(filtered[0]), reverse)
    offset = -_times(gain, _times(J, m_before) + r)
    gain, offset = (shifted(x, jnp.zeros_like(x[0]), not reverse) for x in (gain, offset))
    return affine_scan(gain, filtered + offset, None, not reverse)


def _covariances(J: Array, weight: Array, one: Array, reverse: bool) -> Array:
    """P_t = P⁻ (1 + λ P⁻)⁻¹ with P⁻ = J_t P_{t-1} J_tᵀ + 1, from P_0 = 0."""
    if jax.default_backend() == "cpu":

        def body(P: Array, J_t: Array) -> tuple[Array, Array]:
            predicted = J_t @ P @ _transposed(J_t) + one[0]
            P = predicted @ _inverse(one[0] + weight[0] * predicted)
            return P, P

        return jax.lax.scan(body, jnp.zeros_like(J[0]), J, reverse=reverse)[1]

    # Särkkä & García-Fernández (2021): a step maps x to A x + noise of covariance C, and brings
    # the information I = J of its observation about x.
    def join(earlier: tuple[Array, ...], later: tuple[Array, ...]) -> tuple[Array, ...]:
        (A_1, C_1, I_1), (A_2, C_2, I_2) = earlier, later
        middle = _inverse(one + C_1 @ I_2)
        pulled = _transposed(A_1) @ _transposed(middle)
        carried = A_2 @ middle
        return carried @ A_1, carried @ C_1 @ _transposed(A_2) + C_2, pulled @ I_2 @ A_1 + I_1

    kept = 1 / (1 + weight)
    steps = (kept * J, jnp.broadcast_to(kept * one, J.shape), weight * kept * _transposed(J) @ J)
    return jax.lax.associative_scan(join, steps, reverse=reverse)[1]


def _times(a: Array, v: Array) -> Array:
    return jnp.einsum("...ij,...j->...i", a, v)


def _transposed(a: Array) -> Array:
    return a.swapaxes(-1, -2)


def _inverse(a: Array) -> Array:
    return 1 / a if a.shape[-1] == 1 else jnp.linalg.inv(a)
