"""The UnICORNN: undamped oscillators, one a unit, whose step can be run backwards."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_known_number, check_positive_int
from rnnjax._types import Array, Cell, Clip, Inputs, Rule, Structure
from rnnjax.cells._build import DType, draw, factory, float_dtype
from rnnjax.cells.initializers import Initializer
from rnnjax.cells.linear_algebra import affine, sum_bias, sum_outer, sum_product

__all__ = ["UnICORNNCarry", "UnICORNNParams", "unicornn"]


class UnICORNNParams(NamedTuple):
    w_x: Array  # [D, H]
    u: Array  # [H] one recurrent weight a unit
    b: Array  # [H]
    c: Array  # [H] sets each unit's own time step, Δt σ(c)


class UnICORNNCarry(NamedTuple):
    y: Array  # [..., H] position
    z: Array  # [..., H] velocity


class UnICORNNTape(NamedTuple):
    """Saved at every step: 3H numbers for each example."""

    y_tm1: Array  # [..., H]
    z: Array  # [..., H] z_t
    a: Array  # [..., H] tanh(a_t)


class UnICORNNDelta(NamedTuple):
    a: Array  # [..., H] δ_t = ∂C/∂a_t
    s: Array  # [..., H] ∂C/∂s, of the time step s


@factory
def unicornn(
    hidden: int,
    *,
    dt: float = 0.1,
    alpha: float = 0.0,
    w_x_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """Undamped independent controlled oscillatory RNN (UnICORNN): reversible in time.

        s = Δt σ(c)
        a_t = x_t W_x + u ⊙ y_{t-1} + b
        z_t = z_{t-1} - s ⊙ (tanh(a_t) + α y_{t-1})
        y_t = y_{t-1} + s ⊙ z_t

    One step of the symplectic Euler method for y'' = -(tanh(u y + W x + b) + α y), a unit an
    oscillator. Units do not see each other within a layer; they mix in the W_x of the layer above.
    Nothing is damped, so over a time t = T Δt the gradient neither vanishes nor explodes
    exponentially in T. The step has an inverse (`Structure.inverse`), by which
    `gradient=reversible()` runs backwards in memory that does not grow with T:

        y_{t-1} = y_t - s ⊙ z_t;   z_{t-1} = z_t + s ⊙ (tanh(a_t) + α y_{t-1})

    The paper writes w for u, V for W_x, and 1/2 + tanh(c/2)/2 for σ(c), which is the same. It
    stacks layers: `stack(unicornn(64), unicornn(64))`, with `residual` for its skip connections.

    Args:
      hidden: H, the number of oscillators.
      dt: Δt > 0, the largest time step of a unit. The paper tunes it: 0.19 for permuted MNIST.
      alpha: α ≥ 0, the linear restoring force; 30.65 there. Needs Δt² (α + |u|) < 4 to be stable
        for every c.
      w_x_init: initialiser of W_x; uniform on ±√(6 / 65 D), as in the authors' code, by default.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `UnICORNNParams`, u uniform on [0, 1], c uniform on ±0.1 and b zero,
      `UnICORNNCarry(y, z)`, a hand-derived rule and an inverse.

    Raises:
      ValueError: hidden < 1, dt ≤ 0, alpha < 0.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.unicornn(3, dt=0.2)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> run = {"gradient": rnnjax.reversible(), "method": rnnjax.sequential()}
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)), **run)
      >>> ys.shape, carry.z.shape
      ((5, 3), (3,))

    References:
      Rusch & Mishra (2021), UnICORNN: A recurrent model for learning very long time dependencies,
      ICML; the authors' code is github.com/tk-rusch/unicornn.
    """
    check_positive_int("hidden", hidden)
    if not 0 < check_known_number("dt", dt) < math.inf:
        raise ValueError(f"dt must be positive, got {dt}")
    if not 0 <= check_known_number("alpha", alpha) < math.inf:
        raise ValueError(f"alpha must be at least 0, got {alpha}")
    w_x_init = w_x_init or _kaiming

    def init(key: Array, inputs: Inputs) -> UnICORNNParams:
        input_size, chosen = check_positive_int("input_size", inputs), float_dtype(dtype)
        key_x, key_u, key_c = jax.random.split(key, 3)
        return UnICORNNParams(
            draw("w_x_init", w_x_init, key_x, (input_size, hidden), chosen),
            jax.random.uniform(key_u, (hidden,), chosen),
            jnp.zeros(hidden, chosen),
            jax.random.uniform(key_c, (hidden,), chosen, -0.1, 0.1),
        )

    def step_size(params: UnICORNNParams, like: Array) -> Array:
        return _as(dt * jax.nn.sigmoid(params.c), like)

    def forward(params: UnICORNNParams, carry: UnICORNNCarry, z_t: Array):
        y, s = carry.y, step_size(params, carry.y)
        a = jnp.tanh(z_t + _as(params.u, y) * y)
        z = carry.z - s * (a + alpha * y)
        new = UnICORNNCarry(y + s * z, z)
        return (new, new.y), UnICORNNTape(y, z, a)

    def step(params: UnICORNNParams, carry: UnICORNNCarry, x_t: Array):
        return forward(params, carry, _project(params, x_t))[0]

    def inverse(params: UnICORNNParams, carry: UnICORNNCarry, x_t: Array) -> UnICORNNCarry:
        s = step_size(params, carry.y)
        y = carry.y - s * carry.z
        a = jnp.tanh(_project(params, x_t) + _as(params.u, y) * y)
        return UnICORNNCarry(y, carry.z + s * (a + alpha * y))

    def backward(
        params: UnICORNNParams,
        tape: UnICORNNTape,
        carry_ct: UnICORNNCarry,
        y_ct: Array,
        clip: Clip,
    ):
        # From y_t = y_{t-1} + s z_t:       dy = ∂C/∂y_t|_{t+1} + ∂C/∂y_t,   dz = ∂C/∂z_t + dy s
        # From z_t = z_{t-1} - s f,  f = tanh(a_t) + α y_{t-1}:
        #   δ_t = -dz s (1 - tanh²a_t),   ∂C/∂s = dy z_t - dz f
        # To step t - 1:   ∂C/∂y_{t-1} = dy + δ_t u - α s dz,   ∂C/∂z_{t-1} = dz
        s = step_size(params, tape.z)
        dy = carry_ct.y + y_ct
        dz = carry_ct.z + dy * s
        delta = clip(-dz * s * (1 - tape.a * tape.a))
        s_ct = dy * tape.z - dz * (tape.a + alpha * tape.y_tm1)
        y_tm1_ct = dy + delta * _as(params.u, delta) - alpha * s * dz
        return UnICORNNCarry(y_tm1_ct, dz), UnICORNNDelta(delta, s_ct)

    def gradients(params: UnICORNNParams, xs: Array, tapes: UnICORNNTape, deltas: UnICORNNDelta):
        # dW_x = Σ_t x_tᵀ δ_t,   du = Σ_t y_{t-1} ⊙ δ_t,   db = Σ_t δ_t,   dx_t = δ_t W_xᵀ
        # dc = Σ_t ∂C/∂s ⊙ Δt σ(c) (1 - σ(c))
        sigma = jax.nn.sigmoid(params.c)
        params_ct = UnICORNNParams(
            sum_outer(xs, deltas.a),
            sum_product(tapes.y_tm1, deltas.a),
            sum_bias(deltas.a),
            sum_bias(deltas.s) * (dt * sigma * (1 - sigma)),
        )
        return params_ct, deltas.a @ params.w_x.T

    structure = Structure(
        params=UnICORNNParams(("D", hidden), (hidden,), (hidden,), (hidden,)),  # pyright: ignore
        form=("unicornn", dt, alpha),
        mixing=(),
        output="y",
        inverse=inverse,
    )
    rule = Rule(_project, forward, backward, gradients)
    return Cell(init, _initial_carry, step, rule, structure)


def _initial_carry(
    params: UnICORNNParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
) -> UnICORNNCarry:
    del key
    zeros = jnp.zeros((*batch_shape, params.u.shape[0]), params.u.dtype)
    return UnICORNNCarry(zeros, jnp.zeros_like(zeros))


def _project(params: UnICORNNParams, xs: Array) -> Array:
    return affine(xs, params.w_x, params.b)


def _as(vector: Array, like: Array) -> Array:
    """A vector [H] with the rank of [..., H]."""
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)


def _kaiming(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """He's uniform initialisation for a leaky ReLU of slope 8."""
    bound = math.sqrt(6 / ((1 + 8**2) * shape[0]))
    return jax.random.uniform(key, shape, dtype, -bound, bound)
