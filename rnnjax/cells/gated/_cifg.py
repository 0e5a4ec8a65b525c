"""The LSTM with coupled input and forget gates."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._types import Array, Cell, Clip, Inputs, Rule, Structure
from rnnjax.cells._build import DType, draw_weights, factory
from rnnjax.cells.gated._lstm import LSTMCarry
from rnnjax.cells.initializers import Initializer, glorot, orthogonal
from rnnjax.cells.linear_algebra import affine, joint_affine, sum_bias, sum_outer

__all__ = ["CIFGParams", "cifg"]


class CIFGParams(NamedTuple):
    """Gates side by side in the last axis, in the order i, g, o."""

    w_x: Array  # [D, 3H]
    w_h: Array  # [H, 3H]
    b: Array  # [3H]


class CIFGTape(NamedTuple):
    """Saved at every step: 5H numbers for each example; c_t is recomputed from them."""

    gates: Array  # [..., 3H] i, g, o after their activations
    h_tm1: Array  # [..., H]
    c_tm1: Array  # [..., H]


@factory
def cifg(
    hidden: int,
    *,
    forget_bias: float = 1.0,
    w_x_init: Initializer | None = None,
    w_h_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """The LSTM with coupled input and forget gates (CIFG): what is written replaces what was there.

        [z_i, z_g, z_o] = x_t W_x + h_{t-1} W_h + b
        i, o = σ(z_i), σ(z_o);   g = tanh(z_g)
        c_t = (1 - i) ⊙ c_{t-1} + i ⊙ g
        h_t = o ⊙ tanh(c_t)
        y_t = h_t

    Three quarters of the weights of `lstm`, and |c_t| stays below 1 if it starts there. Where
    another definition has i = 1 - f, the two are one function: negate the weights and bias of the
    gate.

    Args:
      hidden: H, the number of memory cells.
      forget_bias: minus this is where the input gate's bias starts, so that the forget gate 1 - i
        starts at σ(forget_bias), as that of `lstm`.
      w_x_init: initialiser of each gate's block of W_x; Glorot uniform by default.
      w_h_init: initialiser of each gate's block of W_h; orthogonal by default.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `CIFGParams`, `LSTMCarry(h, c)` and a hand-derived rule.

    Raises:
      ValueError: hidden < 1.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.cifg(3)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))
      >>> ys.shape, carry.c.shape
      ((5, 3), (3,))

    References:
      Greff, Srivastava, Koutník, Steunebrink & Schmidhuber (2017), LSTM: a search space odyssey,
      IEEE Transactions on Neural Networks and Learning Systems 28.
    """
    check_positive_int("hidden", hidden)
    w_x_init, w_h_init = w_x_init or glorot(), w_h_init or orthogonal()

    def init(key: Array, inputs: Inputs) -> CIFGParams:
        w_x, w_h, b = draw_weights(key, inputs, hidden, 3, w_x_init, w_h_init, dtype)
        return CIFGParams(w_x, w_h, b.at[:hidden].set(-forget_bias))

    shapes = CIFGParams._make(
        (
            ("D", 3 * hidden),
            (hidden, 3 * hidden),
            (3 * hidden,),
        )
    )
    structure = Structure(
        params=shapes,
        form="cifg",
        through_weights=("h",),
        mixing=("w_h",),
        output="h",
    )
    rule = Rule(_project, _forward, _backward, _gradients)
    return Cell(init, _initial_carry, _step, rule, structure)


def _initial_carry(
    params: CIFGParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
) -> LSTMCarry:
    del key
    zeros = jnp.zeros((*batch_shape, params.w_h.shape[0]), params.w_h.dtype)
    return LSTMCarry(zeros, jnp.zeros_like(zeros))


def _step(params: CIFGParams, carry: LSTMCarry, x_t: Array) -> tuple[LSTMCarry, Array]:
    z = joint_affine(x_t, carry.h, params.w_x, params.w_h, params.b)
    return _update(carry, z)[0]


def _update(carry: LSTMCarry, z: Array) -> tuple[tuple[LSTMCarry, Array], CIFGTape]:
    """The step after its matrix product: z [..., 3H] holds z_i, z_g, z_o."""
    z_i, z_g, z_o = jnp.split(z, 3, axis=-1)
    i, o = jax.nn.sigmoid(z_i), jax.nn.sigmoid(z_o)
    g = jnp.tanh(z_g)
    c = (1 - i) * carry.c + i * g
    h = o * jnp.tanh(c)
    return (LSTMCarry(h, c), h), CIFGTape(jnp.concatenate([i, g, o], -1), carry.h, carry.c)


def _project(params: CIFGParams, xs: Array) -> Array:
    return affine(xs, params.w_x, params.b)


def _forward(
    params: CIFGParams, carry: LSTMCarry, z_t: Array
) -> tuple[tuple[LSTMCarry, Array], CIFGTape]:
    return _update(carry, z_t + carry.h @ params.w_h)


def _backward(
    params: CIFGParams, tape: CIFGTape, carry_ct: LSTMCarry, y_ct: Array, clip: Clip
) -> tuple[LSTMCarry, Array]:
    # From h_t = o tanh(c_t):              dh = ∂C/∂h_t|_{t+1} + ∂C/∂y_t,   do = dh tanh(c_t)
    #                                      dc = ∂C/∂c_t|_{t+1} + dh o (1 - tanh²c_t)
    # From c_t = (1 - i) c_{t-1} + i g:    di = dc (g - c_{t-1}),   dg = dc i
    # Through σ' = σ(1 - σ) and tanh' = 1 - tanh²:   δ_t = [δ_i, δ_g, δ_o]
    # To step t - 1:                       ∂C/∂h_{t-1} = δ_t W_hᵀ,   ∂C/∂c_{t-1} = dc (1 - i)
    i, g, o = jnp.split(tape.gates, 3, axis=-1)
    tanh_c = jnp.tanh((1 - i) * tape.c_tm1 + i * g)
    dh = carry_ct.h + y_ct
    dc = carry_ct.c + dh * o * (1 - tanh_c * tanh_c)
    delta_i = dc * (g - tape.c_tm1) * i * (1 - i)
    delta_g = dc * i * (1 - g * g)
    delta_o = dh * tanh_c * o * (1 - o)
    delta = clip(jnp.concatenate([delta_i, delta_g, delta_o], axis=-1))
    return LSTMCarry(delta @ params.w_h.T, dc * (1 - i)), delta


def _gradients(
    params: CIFGParams, xs: Array, tapes: CIFGTape, deltas: Array
) -> tuple[CIFGParams, Array]:
    # dW_x = Σ_t x_tᵀ δ_t,   dW_h = Σ_t h_{t-1}ᵀ δ_t,   db = Σ_t δ_t,   dx_t = δ_t W_xᵀ
    params_ct = CIFGParams(sum_outer(xs, deltas), sum_outer(tapes.h_tm1, deltas), sum_bias(deltas))
    return params_ct, deltas @ params.w_x.T
