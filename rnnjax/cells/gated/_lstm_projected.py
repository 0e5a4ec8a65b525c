"""The LSTM with a recurrent projection layer (LSTMP): fewer outputs than memory cells."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._types import Array, Cell, Clip, Inputs, Rule, Structure
from rnnjax.cells._build import DType, draw, draw_weights, factory
from rnnjax.cells.gated._lstm import LSTMCarry
from rnnjax.cells.initializers import Initializer, glorot, orthogonal
from rnnjax.cells.linear_algebra import affine, joint_affine, sum_bias, sum_outer

__all__ = ["LSTMProjectedParams", "lstm_projected"]


class LSTMProjectedParams(NamedTuple):
    """Gates side by side in the last axis, in the order i, f, g, o."""

    w_x: Array  # [D, 4H]
    w_h: Array  # [P, 4H]
    b: Array  # [4H]
    w_p: Array  # [H, P] the projection


class LSTMProjectedTape(NamedTuple):
    """Saved at every step: 5H + P numbers for each example; c_t is recomputed from them."""

    gates: Array  # [..., 4H] i, f, g, o after their activations
    h_tm1: Array  # [..., P]
    c_tm1: Array  # [..., H]


class LSTMProjectedErrors(NamedTuple):
    z: Array  # [..., 4H] δ_t, the error at the gates
    h: Array  # [..., P] the error at h_t, of which dW_p is made


@factory
def lstm_projected(
    hidden: int,
    projection: int,
    *,
    forget_bias: float = 1.0,
    w_x_init: Initializer | None = None,
    w_h_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """Long short-term memory with a recurrent projection (LSTMP), as PyTorch's `proj_size`.

        [z_i, z_f, z_g, z_o] = x_t W_x + h_{t-1} W_h + b
        i, f, o = σ(z_i), σ(z_f), σ(z_o);   g = tanh(z_g)
        c_t = f ⊙ c_{t-1} + i ⊙ g
        h_t = (o ⊙ tanh(c_t)) W_p
        y_t = h_t

    The projection is linear and has no bias. The paper has peepholes, and besides h_t a second
    projection that is not fed back; both are left out, as in PyTorch.

    Args:
      hidden: H, the number of memory cells.
      projection: P, the size of h_t and of the outputs; smaller than H where it is to save weights.
      forget_bias: where the forget gate's bias starts, as in `lstm`.
      w_x_init: initialiser of each gate's block of W_x [D, H], and of W_p [H, P]; Glorot uniform
        by default.
      w_h_init: initialiser of each gate's block of W_h [P, H]; orthogonal by default.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `LSTMProjectedParams`, `LSTMCarry(h [..., P], c [..., H])` and a hand-derived
      rule.

    Raises:
      ValueError: hidden < 1 or projection < 1.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.lstm_projected(5, 2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((7, 3)))
      >>> ys.shape, carry.c.shape
      ((7, 2), (5,))

    References:
      Sak, Senior & Beaufays (2014), Long short-term memory recurrent neural network architectures
      for large scale acoustic modeling, Interspeech.
    """
    check_positive_int("hidden", hidden)
    check_positive_int("projection", projection)
    w_x_init, w_h_init = w_x_init or glorot(), w_h_init or orthogonal()

    def init(key: Array, inputs: Inputs) -> LSTMProjectedParams:
        key, key_p = jax.random.split(key)
        w_x, w_h, b = draw_weights(
            key, inputs, hidden, 4, w_x_init, w_h_init, dtype, outputs=projection
        )
        w_p = draw("w_x_init", w_x_init, key_p, (hidden, projection), w_x.dtype)
        return LSTMProjectedParams(w_x, w_h, b.at[hidden : 2 * hidden].set(forget_bias), w_p)

    shapes = LSTMProjectedParams._make(
        (
            ("D", 4 * hidden),
            (projection, 4 * hidden),
            (4 * hidden,),
            (hidden, projection),
        )
    )
    structure = Structure(params=shapes, form="lstm_projected", through_weights=("h",), output="h")
    rule = Rule(_project, _forward, _backward, _gradients)
    return Cell(init, _initial_carry, _step, rule, structure)


def _initial_carry(
    params: LSTMProjectedParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
) -> LSTMCarry:
    del key
    hidden, projection = params.w_p.shape
    dtype = params.w_p.dtype
    return LSTMCarry(
        jnp.zeros((*batch_shape, projection), dtype), jnp.zeros((*batch_shape, hidden), dtype)
    )


def _step(params: LSTMProjectedParams, carry: LSTMCarry, x_t: Array) -> tuple[LSTMCarry, Array]:
    z = joint_affine(x_t, carry.h, params.w_x, params.w_h, params.b)
    return _update(params, carry, z)[0]


def _update(
    params: LSTMProjectedParams, carry: LSTMCarry, z: Array
) -> tuple[tuple[LSTMCarry, Array], LSTMProjectedTape]:
    """The step after its first matrix product: z [..., 4H] holds z_i, z_f, z_g, z_o."""
    z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
    i, f, o = jax.nn.sigmoid(z_i), jax.nn.sigmoid(z_f), jax.nn.sigmoid(z_o)
    g = jnp.tanh(z_g)
    c = f * carry.c + i * g
    h = (o * jnp.tanh(c)) @ params.w_p
    tape = LSTMProjectedTape(jnp.concatenate([i, f, g, o], -1), carry.h, carry.c)
    return (LSTMCarry(h, c), h), tape


def _project(params: LSTMProjectedParams, xs: Array) -> Array:
    return affine(xs, params.w_x, params.b)


def _forward(
    params: LSTMProjectedParams, carry: LSTMCarry, z_t: Array
) -> tuple[tuple[LSTMCarry, Array], LSTMProjectedTape]:
    return _update(params, carry, z_t + carry.h @ params.w_h)


def _backward(
    params: LSTMProjectedParams,
    tape: LSTMProjectedTape,
    carry_ct: LSTMCarry,
    y_ct: Array,
    clip: Clip,
) -> tuple[LSTMCarry, LSTMProjectedErrors]:
    # From h_t = m W_p:                dh = ∂C/∂h_t|_{t+1} + ∂C/∂y_t,   dm = dh W_pᵀ
    # From m = o tanh(c_t):            do = dm tanh(c_t),
    #                                  dc = ∂C/∂c_t|_{t+1} + dm o (1 - tanh²c_t)
    # From there on it is the LSTM:    di = dc g,   df = dc c_{t-1},   dg = dc i
    # To step t - 1:                   ∂C/∂h_{t-1} = δ_t W_hᵀ,   ∂C/∂c_{t-1} = dc f
    i, f, g, o = jnp.split(tape.gates, 4, axis=-1)
    tanh_c = jnp.tanh(f * tape.c_tm1 + i * g)
    dh = carry_ct.h + y_ct
    dm = dh @ params.w_p.T
    dc = carry_ct.c + dm * o * (1 - tanh_c * tanh_c)
    delta_i = dc * g * i * (1 - i)
    delta_f = dc * tape.c_tm1 * f * (1 - f)
    delta_g = dc * i * (1 - g * g)
    delta_o = dm * tanh_c * o * (1 - o)
    delta = clip(jnp.concatenate([delta_i, delta_f, delta_g, delta_o], axis=-1))
    return LSTMCarry(delta @ params.w_h.T, dc * f), LSTMProjectedErrors(delta, dh)


def _gradients(
    params: LSTMProjectedParams, xs: Array, tapes: LSTMProjectedTape, deltas: LSTMProjectedErrors
) -> tuple[LSTMProjectedParams, Array]:
    # dW_x = Σ_t x_tᵀ δ_t,   dW_h = Σ_t h_{t-1}ᵀ δ_t,   db = Σ_t δ_t,   dx_t = δ_t W_xᵀ
    # dW_p = Σ_t (o tanh c_t)ᵀ dh_t
    i, f, g, o = jnp.split(tapes.gates, 4, axis=-1)
    m = o * jnp.tanh(f * tapes.c_tm1 + i * g)
    params_ct = LSTMProjectedParams(
        sum_outer(xs, deltas.z),
        sum_outer(tapes.h_tm1, deltas.z),
        sum_bias(deltas.z),
        sum_outer(m, deltas.h),
    )
    return params_ct, deltas.z @ params.w_x.T
