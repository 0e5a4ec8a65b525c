"""The LSTM with peepholes: gates that read the cell state."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._types import Array, Cell, Clip, Inputs, Rule, Structure
from rnnjax.cells._build import DType, draw_weights, factory
from rnnjax.cells.gated._lstm import LSTMCarry
from rnnjax.cells.initializers import Initializer, glorot, orthogonal
from rnnjax.cells.linear_algebra import affine, joint_affine, sum_bias, sum_outer

__all__ = ["PeepholeLSTMParams", "peephole_lstm"]


class PeepholeLSTMParams(NamedTuple):
    """Gates side by side in the last axis, in the order i, f, g, o; of p in the order i, f, o."""

    w_x: Array  # [D, 4H]
    w_h: Array  # [H, 4H]
    b: Array  # [4H]
    p: Array  # [3H] peephole weights, one for each memory cell and gate


class PeepholeLSTMTape(NamedTuple):
    """Saved at every step: 6H numbers for each example; c_t is recomputed from them."""

    gates: Array  # [..., 4H] i, f, g, o after their activations
    h_tm1: Array  # [..., H]
    c_tm1: Array  # [..., H]


@factory
def peephole_lstm(
    hidden: int,
    *,
    forget_bias: float = 1.0,
    w_x_init: Initializer | None = None,
    w_h_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """Long short-term memory with peephole connections from the cell state to the gates.

        [z_i, z_f, z_g, z_o] = x_t W_x + h_{t-1} W_h + b
        i, f = σ(z_i + p_i ⊙ c_{t-1}), σ(z_f + p_f ⊙ c_{t-1});   g = tanh(z_g)
        c_t = f ⊙ c_{t-1} + i ⊙ g
        o = σ(z_o + p_o ⊙ c_t)
        h_t = o ⊙ tanh(c_t)
        y_t = h_t

    The peephole weights p start at zero, where the cell is `lstm` exactly (with the same key, the
    same weights too); their gradient is not zero there. The error of the gates flows back through
    the peepholes too.

    Args:
      hidden: H, the number of memory cells.
      forget_bias: where the forget gate's bias starts, as in `lstm`.
      w_x_init: initialiser of each gate's block of W_x; Glorot uniform by default.
      w_h_init: initialiser of each gate's block of W_h; orthogonal by default.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `PeepholeLSTMParams`, `LSTMCarry(h, c)` and a hand-derived rule.

    Raises:
      ValueError: hidden < 1.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.peephole_lstm(3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))
      >>> ys.shape, carry.c.shape, params.p.shape
      ((5, 3), (3,), (9,))

    References:
      Gers & Schmidhuber (2000), Recurrent nets that time and count, IJCNN.
      Gers, Schraudolph & Schmidhuber (2002), Learning precise timing with LSTM recurrent
      networks, Journal of Machine Learning Research 3.
    """
    check_positive_int("hidden", hidden)
    w_x_init, w_h_init = w_x_init or glorot(), w_h_init or orthogonal()

    def init(key: Array, inputs: Inputs) -> PeepholeLSTMParams:
        w_x, w_h, b = draw_weights(key, inputs, hidden, 4, w_x_init, w_h_init, dtype)
        b = b.at[hidden : 2 * hidden].set(forget_bias)
        return PeepholeLSTMParams(w_x, w_h, b, jnp.zeros(3 * hidden, b.dtype))

    shapes = PeepholeLSTMParams._make(
        (
            ("D", 4 * hidden),
            (hidden, 4 * hidden),
            (4 * hidden,),
            (3 * hidden,),
        )
    )
    structure = Structure(
        params=shapes,
        form="peephole_lstm",
        through_weights=("h",),
        mixing=("w_h",),
        output="h",
    )
    rule = Rule(_project, _forward, _backward, _gradients)
    return Cell(init, _initial_carry, _step, rule, structure)


def _initial_carry(
    params: PeepholeLSTMParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
) -> LSTMCarry:
    del key
    zeros = jnp.zeros((*batch_shape, params.w_h.shape[0]), params.w_h.dtype)
    return LSTMCarry(zeros, jnp.zeros_like(zeros))


def _step(params: PeepholeLSTMParams, carry: LSTMCarry, x_t: Array) -> tuple[LSTMCarry, Array]:
    z = joint_affine(x_t, carry.h, params.w_x, params.w_h, params.b)
    return _update(params, carry, z)[0]


def _peepholes(params: PeepholeLSTMParams, ndim: int) -> list[Array]:
    """p_i, p_f, p_o, each [1, ..., 1, H] of rank `ndim`."""
    return [p.reshape((1,) * (ndim - 1) + p.shape) for p in jnp.split(params.p, 3)]


def _update(
    params: PeepholeLSTMParams, carry: LSTMCarry, z: Array
) -> tuple[tuple[LSTMCarry, Array], PeepholeLSTMTape]:
    """The step after its matrix product: z [..., 4H] holds z_i, z_f, z_g, z_o."""
    z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
    p_i, p_f, p_o = _peepholes(params, z.ndim)
    i, f = jax.nn.sigmoid(z_i + p_i * carry.c), jax.nn.sigmoid(z_f + p_f * carry.c)
    g = jnp.tanh(z_g)
    c = f * carry.c + i * g
    o = jax.nn.sigmoid(z_o + p_o * c)
    h = o * jnp.tanh(c)
    tape = PeepholeLSTMTape(jnp.concatenate([i, f, g, o], -1), carry.h, carry.c)
    return (LSTMCarry(h, c), h), tape


def _project(params: PeepholeLSTMParams, xs: Array) -> Array:
    return affine(xs, params.w_x, params.b)


def _forward(
    params: PeepholeLSTMParams, carry: LSTMCarry, z_t: Array
) -> tuple[tuple[LSTMCarry, Array], PeepholeLSTMTape]:
    return _update(params, carry, z_t + carry.h @ params.w_h)


def _backward(
    params: PeepholeLSTMParams,
    tape: PeepholeLSTMTape,
    carry_ct: LSTMCarry,
    y_ct: Array,
    clip: Clip,
) -> tuple[LSTMCarry, Array]:
    # From h_t = o tanh(c_t):        dh = ∂C/∂h_t|_{t+1} + ∂C/∂y_t,   δ_o = dh tanh(c_t) o (1 - o)
    # c_t is read by h_t and by o:   dc = ∂C/∂c_t|_{t+1} + dh o (1 - tanh²c_t) + δ_o p_o
    # From c_t = f c_{t-1} + i g:    δ_i = dc g i (1 - i),   δ_f = dc c_{t-1} f (1 - f),
    #                                δ_g = dc i (1 - g²)
    # c_{t-1} is read by c_t, i, f:  ∂C/∂c_{t-1} = dc f + δ_i p_i + δ_f p_f
    # To step t - 1 along h:         ∂C/∂h_{t-1} = δ_t W_hᵀ,   δ_t = [δ_i, δ_f, δ_g, δ_o]
    i, f, g, o = jnp.split(tape.gates, 4, axis=-1)
    p_i, p_f, p_o = _peepholes(params, tape.gates.ndim)
    tanh_c = jnp.tanh(f * tape.c_tm1 + i * g)
    dh = carry_ct.h + y_ct
    delta_o = dh * tanh_c * o * (1 - o)
    dc = carry_ct.c + dh * o * (1 - tanh_c * tanh_c) + delta_o * p_o
    delta_i = dc * g * i * (1 - i)
    delta_f = dc * tape.c_tm1 * f * (1 - f)
    delta_g = dc * i * (1 - g * g)
    delta = clip(jnp.concatenate([delta_i, delta_f, delta_g, delta_o], axis=-1))
    delta_i, delta_f, *_ = jnp.split(delta, 4, axis=-1)  # clipped, on their way to step t - 1
    return LSTMCarry(delta @ params.w_h.T, dc * f + delta_i * p_i + delta_f * p_f), delta


def _gradients(
    params: PeepholeLSTMParams, xs: Array, tapes: PeepholeLSTMTape, deltas: Array
) -> tuple[PeepholeLSTMParams, Array]:
    # dW_x = Σ_t x_tᵀ δ_t,   dW_h = Σ_t h_{t-1}ᵀ δ_t,   db = Σ_t δ_t,   dx_t = δ_t W_xᵀ
    # dp_i = Σ_t δ_i ⊙ c_{t-1},   dp_f = Σ_t δ_f ⊙ c_{t-1},   dp_o = Σ_t δ_o ⊙ c_t
    i, f, g, _ = jnp.split(tapes.gates, 4, axis=-1)
    delta_i, delta_f, _, delta_o = jnp.split(deltas, 4, axis=-1)
    c = f * tapes.c_tm1 + i * g
    read = [delta_i * tapes.c_tm1, delta_f * tapes.c_tm1, delta_o * c]
    params_ct = PeepholeLSTMParams(
        sum_outer(xs, deltas),
        sum_outer(tapes.h_tm1, deltas),
        sum_bias(deltas),
        sum_bias(jnp.concatenate(read, axis=-1)),
    )
    return params_ct, deltas @ params.w_x.T
