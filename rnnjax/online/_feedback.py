"""A readout whose error goes back by other weights than its own: feedback alignment."""

import jax

from rnnjax._checks import check_array, check_flag, check_real
from rnnjax._types import Array
from rnnjax.cells.linear_algebra import affine, sum_outer


def readout_with_feedback(
    ys: Array, w_out: Array, feedback: Array, *, adaptive: bool = False
) -> Array:
    """A linear readout that sends its error back through `feedback`: B in the place of W.

        o_t = y_t W,   ∂C/∂y_t := ∂C/∂o_t Bᵀ,   ∂C/∂W = Σ_t y_tᵀ ∂C/∂o_t

    The learning signals of `eprop` and `rflo`: symmetric feedback is y_t W itself, random feedback
    a fixed random B, adaptive feedback a B that learns as W does, and becomes W where both decay.
    It changes what reaches the cell under any gradient.

    Args:
      ys: outputs of a cell `[..., H]`, of one step or of all.
      w_out: W `[H, O]`.
      feedback: B `[H, O]`.
      adaptive: whether B has the gradient of W; else it has none.

    Returns:
      `[..., O]`.

    Raises:
      ValueError: W and B differ in shape, or ys has other features.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> ys, w, b = jnp.ones((5, 3)), jnp.ones((3, 1)), jnp.full((3, 1), 2.0)
      >>> jax.grad(lambda ys: rnnjax.online.readout_with_feedback(ys, w, b).sum())(ys)[0].tolist()
      [2.0, 2.0, 2.0]

    References:
      Lillicrap, Cownden, Tweed & Akerman (2016), Random synaptic feedback weights support error
      backpropagation for deep learning, Nature Communications 7.
      Bellec et al. (2020), Nature Communications 11, for adaptive feedback.
    """
    check_flag("adaptive", adaptive)
    ys = check_array("ys", ys, "[..., H]")
    w_out = check_real("w_out", check_array("w_out", w_out, "[H, O]"))
    feedback = check_real("feedback", check_array("feedback", feedback, "[H, O]"))
    if w_out.shape != feedback.shape:
        raise ValueError(
            f"feedback has shape {feedback.shape} and w_out {w_out.shape}: both must be [H, O]"
        )
    return _readout(adaptive, ys, w_out, feedback)


def _value(adaptive: bool, ys: Array, w_out: Array, feedback: Array) -> Array:
    return affine(ys, w_out)


_readout = jax.custom_vjp(_value, nondiff_argnums=(0,))


def _forward(adaptive: bool, ys: Array, w_out: Array, feedback: Array):
    return affine(ys, w_out), (ys, feedback)


def _backward(adaptive: bool, saved: tuple[Array, Array], ct: Array):
    ys, feedback = saved
    w_ct = sum_outer(ys, ct)
    return ct @ feedback.T, w_ct, w_ct if adaptive else None


_readout.defvjp(_forward, _backward)
