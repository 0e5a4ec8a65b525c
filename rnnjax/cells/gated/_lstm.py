"""The LSTM with a forget gate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._types import Array, Cell, Clip, Inputs, Rule, Structure
from rnnjax.cells._build import DType, draw_weights, factory
from rnnjax.cells.initializers import Initializer, glorot, orthogonal
from rnnjax.cells.linear_algebra import affine, joint_affine, sum_bias, sum_outer

__all__ = ["LSTMCarry", "LSTMParams", "lstm"]


class LSTMParams(NamedTuple):
    """Gates side by side in the last axis, in the order i, f, g, o."""

    w_x: Array  # [D, 4H]
    w_h: Array  # [H, 4H]
    b: Array  # [4H]


class LSTMCarry(NamedTuple):
    h: Array  # [..., H] hidden state
    c: Array  # [..., H] cell state


class LSTMTape(NamedTuple):
    """Saved at every step: 6H numbers for each example; c_t is recomputed from them."""

    gates: Array  # [..., 4H] i, f, g, o after their activations
    h_tm1: Array  # [..., H]
    c_tm1: Array  # [..., H]


@factory
def lstm(
    hidden: int,
    *,
    forget_bias: float = 1.0,
    w_x_init: Initializer | None = None,
    w_h_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """Long short-term memory with a forget gate, without peepholes: the popular one.

        [z_i, z_f, z_g, z_o] = x_t W_x + h_{t-1} W_h + b
        i, f, o = σ(z_i), σ(z_f), σ(z_o);   g = tanh(z_g)
        c_t = f ⊙ c_{t-1} + i ⊙ g
        h_t = o ⊙ tanh(c_t)
        y_t = h_t

    Args:
      hidden: H, the number of memory cells.
      forget_bias: where the forget gate's bias starts. At 1 the error along the cell state
        starts out shrinking by σ(1) = 0.73 a step; larger values remember for longer.
      w_x_init: initialiser of each gate's block of W_x; Glorot uniform by default.
      w_h_init: initialiser of each gate's block of W_h; orthogonal by default.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `LSTMParams`, `LSTMCarry(h, c)` and a hand-derived rule.

    Raises:
      ValueError: hidden < 1.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.lstm(3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))
      >>> ys.shape, carry.c.shape
      ((5, 3), (3,))

    References:
      Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9.
      Gers, Schmidhuber & Cummins (2000), Learning to forget, Neural Computation 12.
    """
    check_positive_int("hidden", hidden)
    w_x_init, w_h_init = w_x_init or glorot(), w_h_init or orthogonal()

    def init(key: Array, inputs: Inputs) -> LSTMParams:
        w_x, w_h, b = draw_weights(key, inputs, hidden, 4, w_x_init, w_h_init, dtype)
        return LSTMParams(w_x, w_h, b.at[hidden : 2 * hidden].set(forget_bias))

    shapes = LSTMParams._make(
        (
            ("D", 4 * hidden),
            (hidden, 4 * hidden),
            (4 * hidden,),
        )
    )
    structure = Structure(
        params=shapes,
        form="lstm",
        through_weights=("h",),
        mixing=("w_h",),
        output="h",
    )
    return Cell(
        init, _initial_carry, _step, Rule(_project, _forward, _backward, _gradients), structure
    )


def _initial_carry(
    params: LSTMParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
) -> LSTMCarry:
    del key
    zeros = jnp.zeros((*batch_shape, params.w_h.shape[0]), params.w_h.dtype)
    return LSTMCarry(zeros, jnp.zeros_like(zeros))


def _step(params: LSTMParams, carry: LSTMCarry, x_t: Array) -> tuple[LSTMCarry, Array]:
    z = joint_affine(x_t, carry.h, params.w_x, params.w_h, params.b)
    return _update(carry, z)[0]


def _update(carry: LSTMCarry, z: Array) -> tuple[tuple[LSTMCarry, Array], LSTMTape]:
    """The step after its matrix product: z [..., 4H] holds z_i, z_f, z_g, z_o."""
    z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
    i, f, o = jax.nn.sigmoid(z_i), jax.nn.sigmoid(z_f), jax.nn.sigmoid(z_o)
    g = jnp.tanh(z_g)
    c = f * carry.c + i * g
    h = o * jnp.tanh(c)
    return (LSTMCarry(h, c), h), LSTMTape(jnp.concatenate([i, f, g, o], -1), carry.h, carry.c)


def _project(params: LSTMParams, xs: Array) -> Array:
    return affine(xs, params.w_x, params.b)


def _forward(
    params: LSTMParams, carry: LSTMCarry, z_t: Array
) -> tuple[tuple[LSTMCarry, Array], LSTMTape]:
    return _update(carry, z_t + carry.h @ params.w_h)


def _backward(
    params: LSTMParams, tape: LSTMTape, carry_ct: LSTMCarry, y_ct: Array, clip: Clip
) -> tuple[LSTMCarry, Array]:
    # From h_t = o tanh(c_t):        dh = ∂C/∂h_t|_{t+1} + ∂C/∂y_t
    #                                dc = ∂C/∂c_t|_{t+1} + dh o (1 - tanh²c_t)
    # From c_t = f c_{t-1} + i g:    di = dc g,   df = dc c_{t-1},   dg = dc i,   do = dh tanh(c_t)
    # Through σ' = σ(1 - σ) and tanh' = 1 - tanh²:   δ_t = [δ_i, δ_f, δ_g, δ_o]
    # To step t - 1:                 ∂C/∂h_{t-1} = δ_t W_hᵀ,   ∂C/∂c_{t-1} = dc f
    i, f, g, o = jnp.split(tape.gates, 4, axis=-1)
    tanh_c = jnp.tanh(f * tape.c_tm1 + i * g)
    dh = carry_ct.h + y_ct
    dc = carry_ct.c + dh * o * (1 - tanh_c * tanh_c)
    delta_i = dc * g * i * (1 - i)
    delta_f = dc * tape.c_tm1 * f * (1 - f)
    delta_g = dc * i * (1 - g * g)
    delta_o = dh * tanh_c * o * (1 - o)
    delta = clip(jnp.concatenate([delta_i, delta_f, delta_g, delta_o], axis=-1))
    return LSTMCarry(delta @ params.w_h.T, dc * f), delta


def _gradients(
    params: LSTMParams, xs: Array, tapes: LSTMTape, deltas: Array
) -> tuple[LSTMParams, Array]:
    # dW_x = Σ_t x_tᵀ δ_t,   dW_h = Σ_t h_{t-1}ᵀ δ_t,   db = Σ_t δ_t,   dx_t = δ_t W_xᵀ
    params_ct = LSTMParams(sum_outer(xs, deltas), sum_outer(tapes.h_tm1, deltas), sum_bias(deltas))
    return params_ct, deltas @ params.w_x.T
