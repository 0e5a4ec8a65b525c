"""The gated recurrent unit, with the reset gate before or after the recurrent product."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_choice, check_positive_int
from rnnjax._types import Array, Cell, Clip, Inputs, Rule, Structure
from rnnjax.cells._build import DType, draw_weights, factory
from rnnjax.cells.initializers import Initializer, glorot, orthogonal
from rnnjax.cells.linear_algebra import add_bias, affine, sum_bias, sum_outer

__all__ = ["GRUCarry", "GRUParams", "gru"]


class GRUParams(NamedTuple):
    """Gates side by side in the last axis, in the order r, z, n."""

    w_x: Array  # [D, 3H]
    w_h: Array  # [H, 3H]
    b: Array  # [3H]
    b_hn: Any  # Array [H], inside the reset gate; None when the reset comes before


class GRUCarry(NamedTuple):
    h: Array  # [..., H] hidden state


class GRUTape(NamedTuple):
    """Saved at every step: 5H numbers for each example, 4H when the reset comes before."""

    gates: Array  # [..., 3H] r, z, n after their activations
    h_tm1: Array  # [..., H]
    recurrent: Any  # Array [..., H] h_{t-1} W_hn + b_hn; None when the reset comes before


@factory
def gru(
    hidden: int,
    *,
    reset: Literal["before", "after"] = "after",
    w_x_init: Initializer | None = None,
    w_h_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """The gated recurrent unit.

        r = σ(x_t W_xr + h_{t-1} W_hr + b_r)
        z = σ(x_t W_xz + h_{t-1} W_hz + b_z)
        n = tanh(x_t W_xn + b_n + r ⊙ (h_{t-1} W_hn + b_hn))     reset="after"
        n = tanh(x_t W_xn + b_n + (r ⊙ h_{t-1}) W_hn)            reset="before"
        h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}
        y_t = h_t

    Args:
      hidden: H, the number of hidden units.
      reset: "after" is version 1 of the paper, cuDNN, PyTorch and Keras: one recurrent product
        a step. "before" is the paper's version 3: the product with W_hn waits for r.
      w_x_init: initialiser of each gate's block of W_x; Glorot uniform by default.
      w_h_init: initialiser of each gate's block of W_h; orthogonal by default.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `GRUParams`, `GRUCarry(h [..., H])` and a hand-derived rule.

    Raises:
      ValueError: hidden < 1, or an unknown reset.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.gru(3, reset="before")
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))
      >>> ys.shape
      (5, 3)

    References:
      Cho et al. (2014), Learning phrase representations using RNN encoder-decoder for
      statistical machine translation, EMNLP; arXiv 1406.1078, v1 and v3.
    """
    check_positive_int("hidden", hidden)
    w_x_init, w_h_init = w_x_init or glorot(), w_h_init or orthogonal()
    after = check_choice("reset", reset, ("before", "after")) == "after"

    def init(key: Array, inputs: Inputs) -> GRUParams:
        w_x, w_h, b = draw_weights(key, inputs, hidden, 3, w_x_init, w_h_init, dtype)
        return GRUParams(w_x, w_h, b, jnp.zeros(hidden, w_h.dtype) if after else None)

    if after:
        rule = Rule(_project, _forward_after, _backward_after, _gradients_after)
    else:
        rule = Rule(_project, _forward_before, _backward_before, _gradients_before)

    def step(params: GRUParams, carry: GRUCarry, x_t: Array):
        return rule.forward(params, carry, _project(params, x_t))[0]

    shapes = GRUParams._make(
        (
            ("D", 3 * hidden),
            (hidden, 3 * hidden),
            (3 * hidden,),
            (hidden,) if after else None,
        )
    )
    mixing = ("w_h",) if after else None  # before, r_j reaches every unit in the same step
    structure = Structure(params=shapes, form=("gru", reset), mixing=mixing, output="h")
    return Cell(init, _initial_carry, step, rule, structure)


def _initial_carry(
    params: GRUParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
) -> GRUCarry:
    del key
    return GRUCarry(jnp.zeros((*batch_shape, params.w_h.shape[0]), params.w_h.dtype))


def _project(params: GRUParams, xs: Array) -> Array:
    return affine(xs, params.w_x, params.b)


def _blend(r: Array, z: Array, n: Array, h_tm1: Array, recurrent: Array | None):
    h = (1 - z) * n + z * h_tm1
    return (GRUCarry(h), h), GRUTape(jnp.concatenate([r, z, n], -1), h_tm1, recurrent)


def _unblend(tape: GRUTape, carry_ct: GRUCarry, y_ct: Array):
    # h_t = (1 - z) n + z h_{t-1}:   dh = ∂C/∂h_t|_{t+1} + ∂C/∂y_t
    #   δ_z = dh (h_{t-1} - n) z (1 - z),   δ_n = dh (1 - z)(1 - n²),   to h_{t-1} directly: dh z
    r, z, n = jnp.split(tape.gates, 3, axis=-1)
    dh = carry_ct.h + y_ct
    delta_z = dh * (tape.h_tm1 - n) * z * (1 - z)
    delta_n = dh * (1 - z) * (1 - n * n)
    return r, delta_z, delta_n, dh * z


def _forward_after(params: GRUParams, carry: GRUCarry, z_t: Array):
    hidden = carry.h.shape[-1]
    s_r, s_z, s_n = jnp.split(carry.h @ params.w_h, 3, axis=-1)
    r = jax.nn.sigmoid(z_t[..., :hidden] + s_r)
    z = jax.nn.sigmoid(z_t[..., hidden : 2 * hidden] + s_z)
    recurrent = add_bias(s_n, params.b_hn)
    n = jnp.tanh(z_t[..., 2 * hidden :] + r * recurrent)
    return _blend(r, z, n, carry.h, recurrent)


def _backward_after(params: GRUParams, tape: GRUTape, carry_ct: GRUCarry, y_ct: Array, clip: Clip):
    # n = tanh(z_n + r q), q = h_{t-1} W_hn + b_hn:   δ_r = δ_n q r (1 - r),   ∂C/∂q = δ_n r
    # ∂C/∂h_{t-1} = dh z + [δ_r, δ_z, δ_n r] W_hᵀ
    r, delta_z, delta_n, direct = _unblend(tape, carry_ct, y_ct)
    delta_r = delta_n * tape.recurrent * r * (1 - r)
    delta = clip(jnp.concatenate([delta_r, delta_z, delta_n], axis=-1))
    return GRUCarry(direct + _scale_last(delta, r) @ params.w_h.T), delta


def _scale_last(deltas: Array, r: Array) -> Array:
    """[δ_r, δ_z, δ_n] -> [δ_r, δ_z, δ_n ⊙ r]: the error at h_{t-1} W_h."""
    hidden = r.shape[-1]
    return jnp.concatenate([deltas[..., : 2 * hidden], deltas[..., 2 * hidden :] * r], axis=-1)


def _gradients_after(params: GRUParams, xs: Array, tapes: GRUTape, deltas: Array):
    # dW_x = Σ_t x_tᵀ δ_t,   dW_h = Σ_t h_{t-1}ᵀ [δ_r, δ_z, δ_n r],   db = Σ_t δ_t,
    # db_hn = Σ_t δ_n r,   dx_t = δ_t W_xᵀ
    hidden = tapes.h_tm1.shape[-1]
    recurrent = _scale_last(deltas, tapes.gates[..., :hidden])
    params_ct = GRUParams(
        sum_outer(xs, deltas),
        sum_outer(tapes.h_tm1, recurrent),
        sum_bias(deltas),
        sum_bias(recurrent[..., 2 * hidden :]),
    )
    return params_ct, deltas @ params.w_x.T


def _forward_before(params: GRUParams, carry: GRUCarry, z_t: Array):
    hidden = carry.h.shape[-1]
    w_rz, w_n = params.w_h[:, : 2 * hidden], params.w_h[:, 2 * hidden :]
    r, z = jnp.split(jax.nn.sigmoid(z_t[..., : 2 * hidden] + carry.h @ w_rz), 2, axis=-1)
    n = jnp.tanh(z_t[..., 2 * hidden :] + (r * carry.h) @ w_n)
    return _blend(r, z, n, carry.h, None)


def _backward_before(params: GRUParams, tape: GRUTape, carry_ct: GRUCarry, y_ct: Array, clip: Clip):
    # n = tanh(z_n + p W_hn), p = r h_{t-1}:   dp = δ_n W_hnᵀ,   δ_r = dp h_{t-1} r (1 - r)
    # ∂C/∂h_{t-1} = dh z + dp r + [δ_r, δ_z] [W_hr, W_hz]ᵀ
    hidden = tape.h_tm1.shape[-1]
    w_rz, w_n = params.w_h[:, : 2 * hidden], params.w_h[:, 2 * hidden :]
    r, delta_z, delta_n, direct = _unblend(tape, carry_ct, y_ct)
    delta_n = clip(delta_n)
    dp = delta_n @ w_n.T
    delta_rz = clip(jnp.concatenate([dp * tape.h_tm1 * r * (1 - r), delta_z], axis=-1))
    carry_ct = GRUCarry(direct + dp * r + delta_rz @ w_rz.T)
    return carry_ct, jnp.concatenate([delta_rz, delta_n], axis=-1)


def _gradients_before(params: GRUParams, xs: Array, tapes: GRUTape, deltas: Array):
    # dW_x = Σ_t x_tᵀ δ_t,   d[W_hr, W_hz] = Σ_t h_{t-1}ᵀ [δ_r, δ_z],
    # dW_hn = Σ_t (r h_{t-1})ᵀ δ_n,   db = Σ_t δ_t,   dx_t = δ_t W_xᵀ
    hidden = tapes.h_tm1.shape[-1]
    reset = tapes.gates[..., :hidden] * tapes.h_tm1
    w_rz_ct = sum_outer(tapes.h_tm1, deltas[..., : 2 * hidden])
    w_n_ct = sum_outer(reset, deltas[..., 2 * hidden :])
    w_h_ct = jnp.concatenate([w_rz_ct, w_n_ct], axis=-1)
    params_ct = GRUParams(sum_outer(xs, deltas), w_h_ct, sum_bias(deltas), None)
    return params_ct, deltas @ params.w_x.T
