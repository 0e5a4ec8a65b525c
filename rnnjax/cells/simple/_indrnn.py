"""The IndRNN: units that each read only their own past."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_choice, check_positive_int
from rnnjax._types import Array, Cell, Clip, Inputs, Linear, Rule, Structure
from rnnjax.cells._activations import ACTIVATIONS, ActivationName
from rnnjax.cells._build import DType, draw, factory, float_dtype
from rnnjax.cells.initializers import Initializer, glorot
from rnnjax.cells.linear_algebra import affine, sum_bias, sum_outer, sum_product

__all__ = ["IndRNNCarry", "IndRNNParams", "indrnn"]


class IndRNNParams(NamedTuple):
    w_x: Array  # [D, H]
    u: Array  # [H] one recurrent weight a unit
    b: Array  # [H]


class IndRNNCarry(NamedTuple):
    h: Array  # [..., H] hidden state


class IndRNNTape(NamedTuple):
    """Saved at every step: 2H numbers for each example."""

    h: Array  # [..., H] h_t, from which φ'(z_t) follows
    h_tm1: Array  # [..., H]


@factory
def indrnn(
    hidden: int,
    activation: ActivationName = "relu",
    *,
    recurrent_min: float = 0.0,
    recurrent_max: float = 1.0,
    w_x_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """The independently recurrent cell (IndRNN): a vanilla cell whose recurrence is diagonal.

        z_t = x_t W_x + u ⊙ h_{t-1} + b
        h_t = φ(z_t)
        y_t = h_t

    Units do not see each other within a layer; they mix in the W_x of the layer above. The error
    of each unit flows back through its own weight alone, ∂h_T/∂h_0 = diag(Π_t u ⊙ φ'(z_t)), so
    with |φ'| ≤ 1 a bound |u| ≤ γ^(1/T) keeps its growth over T steps below γ.

    The paper draws u uniformly between 0 and that bound, and for the last layer, which has to
    remember for longest, between γ^(-1/T) and γ^(1/T); its experiments on sequences of T steps
    take γ = 2. That is `recurrent_max=2 ** (1 / T)`, with `recurrent_min=2 ** (-1 / T)` in the
    last layer. It also clips u to the bound after every update of training, which is the
    optimiser's part; here the bounds set the initial values alone.

    A mask on h_{t-1} would make some weights zero and divide the others by 1 - rate at every
    step, past any bound on u: the structure does not offer h to `recurrent_dropout`.

    Args:
      hidden: H, the number of hidden units.
      activation: φ, one of "tanh", "relu", "sigmoid", "identity". With "identity" the cell is
        linear in its state and says so in `structure.linear`.
      recurrent_min: the smallest initial recurrent weight.
      recurrent_max: the largest; 1 is the limit of γ^(1/T) for long sequences.
      w_x_init: initialiser of W_x; Glorot uniform by default.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `IndRNNParams`, `IndRNNCarry(h [..., H])` and a hand-derived rule.

    Raises:
      ValueError: hidden < 1, an unknown activation, or recurrent_min > recurrent_max.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.indrnn(3, recurrent_max=2 ** (1 / 5))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))
      >>> ys.shape, params.u.shape
      ((5, 3), (3,))

    References:
      Li, Li, Cook, Zhu & Gao (2018), Independently recurrent neural network (IndRNN): building
      a longer and deeper RNN, CVPR.
    """
    check_positive_int("hidden", hidden)
    phi = ACTIVATIONS[check_choice("activation", activation, ACTIVATIONS)]
    if not recurrent_min <= recurrent_max:
        raise ValueError(
            "recurrent weights are drawn between recurrent_min and recurrent_max, got "
            f"{recurrent_min} > {recurrent_max}"
        )
    w_x_init = w_x_init or glorot()

    def init(key: Array, inputs: Inputs) -> IndRNNParams:
        input_size, chosen = check_positive_int("input_size", inputs), float_dtype(dtype)
        key_x, key_u = jax.random.split(key)
        u = jax.random.uniform(key_u, (hidden,), chosen, recurrent_min, recurrent_max)
        return IndRNNParams(
            draw("w_x_init", w_x_init, key_x, (input_size, hidden), chosen),
            u,
            jnp.zeros(hidden, chosen),
        )

    def forward(params: IndRNNParams, carry: IndRNNCarry, z_t: Array):
        h = phi.apply(z_t + _times(carry.h, params.u))
        return (IndRNNCarry(h), h), IndRNNTape(h, carry.h)

    def step(params: IndRNNParams, carry: IndRNNCarry, x_t: Array):
        return forward(params, carry, _project(params, x_t))[0]

    def backward(
        params: IndRNNParams, tape: IndRNNTape, carry_ct: IndRNNCarry, y_ct: Array, clip: Clip
    ):
        # As in the vanilla cell, with diag(u) for W_h:
        #   dh_t = ∂C/∂h_t|_{t+1} + ∂C/∂y_t,   δ_t = dh_t ⊙ φ'(z_t),   ∂C/∂h_{t-1} = δ_t ⊙ u
        dh = carry_ct.h + y_ct
        delta = clip(dh * phi.derivative(tape.h))
        return IndRNNCarry(_times(delta, params.u)), delta

    linear = Linear(_coefficients, _readout) if activation == "identity" else None
    shapes = IndRNNParams._make(
        (
            ("D", hidden),
            (hidden,),
            (hidden,),
        )
    )
    structure = Structure(
        params=shapes, form=("indrnn", activation), linear=linear, mixing=(), output="h"
    )
    return Cell(
        init, _initial_carry, step, Rule(_project, forward, backward, _gradients), structure
    )


def _initial_carry(
    params: IndRNNParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
) -> IndRNNCarry:
    del key
    return IndRNNCarry(jnp.zeros((*batch_shape, params.u.shape[0]), params.u.dtype))


def _project(params: IndRNNParams, xs: Array) -> Array:
    return affine(xs, params.w_x, params.b)


def _times(h: Array, u: Array) -> Array:
    """h [..., H] ⊙ u [H]."""
    return h * u.reshape((1,) * (h.ndim - 1) + u.shape)


def _gradients(params: IndRNNParams, xs: Array, tapes: IndRNNTape, deltas: Array):
    # dW_x = Σ_t x_tᵀ δ_t,   du = Σ_t h_{t-1} ⊙ δ_t,   db = Σ_t δ_t,   dx_t = δ_t W_xᵀ
    params_ct = IndRNNParams(
        sum_outer(xs, deltas), sum_product(tapes.h_tm1, deltas), sum_bias(deltas)
    )
    return params_ct, deltas @ params.w_x.T


def _coefficients(params: IndRNNParams, xs: Array) -> tuple[IndRNNCarry, IndRNNCarry]:
    # With φ(z) = z:   h_t = u ⊙ h_{t-1} + (x_t W_x + b)
    b = _project(params, xs)
    return IndRNNCarry(jnp.broadcast_to(params.u, b.shape)), IndRNNCarry(b)


def _readout(params: IndRNNParams, carry: IndRNNCarry, xs: Array) -> Array:
    del params, xs
    return carry.h
