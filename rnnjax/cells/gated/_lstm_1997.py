"""The LSTM of 1997: input and output gates around a constant error carousel."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._types import Array, Cell, Clip, Inputs, Rule, Structure
from rnnjax.cells._build import DType, draw_weights, factory
from rnnjax.cells.gated._lstm import LSTMCarry
from rnnjax.cells.initializers import Initializer, glorot, orthogonal
from rnnjax.cells.linear_algebra import affine, joint_affine, sum_bias, sum_outer

__all__ = ["LSTM1997Params", "lstm_1997"]


class LSTM1997Params(NamedTuple):
    """Gates side by side in the last axis, in the order i, g, o."""

    w_x: Array  # [D, 3H]
    w_h: Array  # [H, 3H]
    b: Array  # [3H]


class LSTM1997Tape(NamedTuple):
    """Saved at every step: 5H numbers for each example."""

    gates: Array  # [..., 3H] i, g, o after their activations
    h_tm1: Array  # [..., H]
    tanh_c: Array  # [..., H] tanh(c_t)


@factory
def lstm_1997(
    hidden: int,
    *,
    truncate: bool = False,
    output_bias: float = 0.0,
    w_x_init: Initializer | None = None,
    w_h_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """The original LSTM: no forget gate, so the cell state is a constant error carousel.

        [z_i, z_g, z_o] = x_t W_x + h_{t-1} W_h + b
        i, o = σ(z_i), σ(z_o);   g = tanh(z_g)
        c_t = c_{t-1} + i ⊙ g
        h_t = o ⊙ tanh(c_t)
        y_t = h_t

    The paper squashes with 4σ(z) - 2 and 2σ(c) - 1; these are 2 tanh(z/2) and tanh(c/2), and
    the scaling is left to the weights here. Memory cells come in blocks of size one.

    Args:
      hidden: H, the number of memory cells.
      truncate: cut the error where it would leave a memory cell through W_h, as the paper's
        learning rule does. Inside the cell it then flows back unchanged for ever. The
        gradient is no longer that of the cost; `autodiff()` and `bptt()` agree on it.
      output_bias: where the output gate's bias starts; the paper uses negative values to keep
        cells from being read before they hold anything.
      w_x_init: initialiser of each gate's block of W_x; Glorot uniform by default.
      w_h_init: initialiser of each gate's block of W_h; orthogonal by default.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `LSTM1997Params`, `LSTMCarry(h, c)` and a hand-derived rule.

    Raises:
      ValueError: hidden < 1.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.lstm_1997(3, truncate=True)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))
      >>> ys.shape
      (5, 3)

    References:
      Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9; the
      truncated gradient is its appendix A.1.
    """
    check_positive_int("hidden", hidden)
    w_x_init, w_h_init = w_x_init or glorot(), w_h_init or orthogonal()

    def init(key: Array, inputs: Inputs) -> LSTM1997Params:
        w_x, w_h, b = draw_weights(key, inputs, hidden, 3, w_x_init, w_h_init, dtype)
        return LSTM1997Params(w_x, w_h, b.at[2 * hidden :].set(output_bias))

    def h_read(carry: LSTMCarry) -> Array:
        """h_{t-1} as the recurrent product reads it."""
        return jax.lax.stop_gradient(carry.h) if truncate else carry.h

    def step(params: LSTM1997Params, carry: LSTMCarry, x_t: Array):
        z = joint_affine(x_t, h_read(carry), params.w_x, params.w_h, params.b)
        return _update(carry, z)[0]

    def forward(params: LSTM1997Params, carry: LSTMCarry, z_t: Array):
        read = LSTMCarry(h_read(carry), carry.c)  # the tape too, so that second derivatives agree
        return _update(read, z_t + read.h @ params.w_h)

    def backward(
        params: LSTM1997Params, tape: LSTM1997Tape, carry_ct: LSTMCarry, y_ct: Array, clip: Clip
    ):
        # As the LSTM's with f = 1, so that ∂C/∂c_{t-1} = dc: nothing is lost along c.
        # Truncated: no error goes back through W_h, ∂C/∂h_{t-1} = 0.
        i, g, o = jnp.split(tape.gates, 3, axis=-1)
        dh = carry_ct.h + y_ct
        dc = carry_ct.c + dh * o * (1 - tape.tanh_c * tape.tanh_c)
        delta_i = dc * g * i * (1 - i)
        delta_g = dc * i * (1 - g * g)
        delta_o = dh * tape.tanh_c * o * (1 - o)
        delta = clip(jnp.concatenate([delta_i, delta_g, delta_o], axis=-1))
        h_ct = jnp.zeros_like(dh) if truncate else delta @ params.w_h.T
        return LSTMCarry(h_ct, dc), delta

    form = None if truncate else "lstm_1997"
    shapes = LSTM1997Params._make(
        (
            ("D", 3 * hidden),
            (hidden, 3 * hidden),
            (3 * hidden,),
        )
    )
    structure = Structure(
        params=shapes,
        form=form,
        through_weights=("h",),
        mixing=("w_h",),
        output="h",
    )
    rule = Rule(_project, forward, backward, _gradients)
    return Cell(init, _initial_carry, step, rule, structure)


def _initial_carry(
    params: LSTM1997Params, batch_shape: tuple[int, ...] = (), key: Array | None = None
) -> LSTMCarry:
    del key
    zeros = jnp.zeros((*batch_shape, params.w_h.shape[0]), params.w_h.dtype)
    return LSTMCarry(zeros, jnp.zeros_like(zeros))


def _update(carry: LSTMCarry, z: Array) -> tuple[tuple[LSTMCarry, Array], LSTM1997Tape]:
    """The step after its matrix product: z [..., 3H] holds z_i, z_g, z_o."""
    z_i, z_g, z_o = jnp.split(z, 3, axis=-1)
    i, o = jax.nn.sigmoid(z_i), jax.nn.sigmoid(z_o)
    g = jnp.tanh(z_g)
    c = carry.c + i * g
    tanh_c = jnp.tanh(c)
    h = o * tanh_c
    return (LSTMCarry(h, c), h), LSTM1997Tape(jnp.concatenate([i, g, o], -1), carry.h, tanh_c)


def _project(params: LSTM1997Params, xs: Array) -> Array:
    return affine(xs, params.w_x, params.b)


def _gradients(params: LSTM1997Params, xs: Array, tapes: LSTM1997Tape, deltas: Array):
    # dW_x = Σ_t x_tᵀ δ_t,   dW_h = Σ_t h_{t-1}ᵀ δ_t,   db = Σ_t δ_t,   dx_t = δ_t W_xᵀ
    params_ct = LSTM1997Params(
        sum_outer(xs, deltas), sum_outer(tapes.h_tm1, deltas), sum_bias(deltas)
    )
    return params_ct, deltas @ params.w_x.T
