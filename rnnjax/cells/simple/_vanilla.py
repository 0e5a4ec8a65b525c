"""The vanilla (Elman) cell and the IRNN."""

from typing import NamedTuple

import jax.numpy as jnp

from rnnjax._checks import check_choice, check_positive_int
from rnnjax._types import Array, Cell, Clip, Inputs, Rule, Structure
from rnnjax.cells._activations import ACTIVATIONS, ActivationName
from rnnjax.cells._build import DType, draw_weights, factory
from rnnjax.cells.initializers import Initializer, glorot, identity, normal, orthogonal
from rnnjax.cells.linear_algebra import affine, joint_affine, sum_bias, sum_outer

__all__ = ["VanillaCarry", "VanillaParams", "irnn", "vanilla"]


class VanillaParams(NamedTuple):
    w_x: Array  # [D, H]
    w_h: Array  # [H, H]
    b: Array  # [H]


class VanillaCarry(NamedTuple):
    h: Array  # [..., H] hidden state


class VanillaTape(NamedTuple):
    """Saved at every step: 2H numbers for each example."""

    h: Array  # [..., H] h_t, from which φ'(z_t) follows
    h_tm1: Array  # [..., H]


@factory
def vanilla(
    hidden: int,
    activation: ActivationName = "tanh",
    *,
    w_x_init: Initializer | None = None,
    w_h_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """The vanilla recurrent cell.

        z_t = x_t W_x + h_{t-1} W_h + b
        h_t = φ(z_t)
        y_t = h_t

    With W = [W_x; W_h] this is h_t = φ([x_t, h_{t-1}] W + b).

    Args:
      hidden: H, the number of hidden units.
      activation: φ, one of "tanh", "relu", "sigmoid", "identity".
      w_x_init: initialiser of W_x; Glorot uniform by default.
      w_h_init: initialiser of W_h; orthogonal by default.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `VanillaParams`, `VanillaCarry(h [..., H])` and a hand-derived rule.

    Raises:
      ValueError: hidden < 1, or an unknown activation.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.vanilla(3, "relu")
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))
      >>> ys.shape, carry.h.shape
      ((5, 3), (3,))

    References:
      Elman (1990), Finding structure in time, Cognitive Science 14.
    """
    check_positive_int("hidden", hidden)
    phi = ACTIVATIONS[check_choice("activation", activation, ACTIVATIONS)]
    w_x_init, w_h_init = w_x_init or glorot(), w_h_init or orthogonal()

    def init(key: Array, inputs: Inputs) -> VanillaParams:
        return VanillaParams(*draw_weights(key, inputs, hidden, 1, w_x_init, w_h_init, dtype))

    def initial_carry(
        params: VanillaParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> VanillaCarry:
        del key
        return VanillaCarry(jnp.zeros((*batch_shape, hidden), params.w_h.dtype))

    def project(params: VanillaParams, xs: Array) -> Array:
        return affine(xs, params.w_x, params.b)

    def step(params: VanillaParams, carry: VanillaCarry, x_t: Array):
        h = phi.apply(joint_affine(x_t, carry.h, params.w_x, params.w_h, params.b))
        return VanillaCarry(h), h

    def forward(params: VanillaParams, carry: VanillaCarry, z_t: Array):
        h = phi.apply(z_t + carry.h @ params.w_h)
        return (VanillaCarry(h), h), VanillaTape(h, carry.h)

    def backward(
        params: VanillaParams, tape: VanillaTape, carry_ct: VanillaCarry, y_ct: Array, clip: Clip
    ):
        # h_t reaches C through step t + 1 and through y_t; then z_t through φ, h_{t-1} through W_h:
        #   dh_t = ∂C/∂h_t|_{t+1} + ∂C/∂y_t,   δ_t = dh_t ⊙ φ'(z_t),   ∂C/∂h_{t-1} = δ_t W_hᵀ
        dh = carry_ct.h + y_ct
        delta = clip(dh * phi.derivative(tape.h))
        return VanillaCarry(delta @ params.w_h.T), delta

    shapes = VanillaParams._make(
        (
            ("D", hidden),
            (hidden, hidden),
            (hidden,),
        )
    )
    structure = Structure(
        params=shapes,
        form=("vanilla", activation),
        through_weights=("h",),
        mixing=("w_h",),
        output="h",
    )
    return Cell(init, initial_carry, step, Rule(project, forward, backward, _gradients), structure)


def _gradients(params: VanillaParams, xs: Array, tapes: VanillaTape, deltas: Array):
    # dW_x = Σ_t x_tᵀ δ_t,   dW_h = Σ_t h_{t-1}ᵀ δ_t,   db = Σ_t δ_t,   dx_t = δ_t W_xᵀ
    params_ct = VanillaParams(
        sum_outer(xs, deltas), sum_outer(tapes.h_tm1, deltas), sum_bias(deltas)
    )
    return params_ct, deltas @ params.w_x.T


@factory
def irnn(
    hidden: int, scale: float = 1.0, *, w_x_stddev: float = 0.001, dtype: DType | None = None
) -> Cell:
    """The IRNN: a ReLU vanilla cell whose recurrent matrix starts at `scale` times the identity.

        h_t = max(0, x_t W_x + h_{t-1} W_h + b),   W_h = scale·I and b = 0 at the start

    At initialisation an active unit's error flows back unchanged, as through the LSTM's cell
    state; training moves W_h away from it.

    Args:
      hidden: H, the number of hidden units.
      scale: what the identity is multiplied by; below 1 the net forgets.
      w_x_stddev: standard deviation of the Gaussian that W_x is drawn from.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` as made by `vanilla(hidden, "relu")`.

    References:
      Le, Jaitly & Hinton (2015), A simple way to initialize recurrent networks of rectified
      linear units, arXiv 1504.00941.
    """
    return vanilla(
        hidden, "relu", w_x_init=normal(w_x_stddev), w_h_init=identity(scale), dtype=dtype
    )
