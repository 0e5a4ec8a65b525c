"""Continuous-time recurrent networks of computational neuroscience, on any grid of times."""

import math
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from rnnjax._checks import (
    array_of,
    check_choice,
    check_known_number,
    check_positive_int,
    described,
    is_array,
    is_feature_shape,
    is_inexact,
)
from rnnjax._random import example_keys, next_keys, normal
from rnnjax._types import Array, Cell, Clip, Inputs, Rule, Structure
from rnnjax.cells._activations import ACTIVATIONS, Activation, ActivationName
from rnnjax.cells._build import DType, draw_weights, factory
from rnnjax.cells.initializers import Initializer, glorot, orthogonal
from rnnjax.cells.linear_algebra import (
    affine,
    check_features,
    sum_bias,
    sum_outer,
    sum_product,
)

__all__ = ["CTRNNCarry", "CTRNNParams", "ctrnn"]


class CTRNNParams(NamedTuple):
    w_x: Array  # [D, H]
    w_h: Array  # [H, H]
    b: Array  # [H]
    log_tau: Any  # Array [H], the logarithm of τ; None where τ is fixed


class CTRNNCarry(NamedTuple):
    h: Array  # [..., H] the current h_t, or the rate r_t with leak="rate"
    keys: Array | None  # [...] PRNG keys, one an example; None without noise


class CTRNNProjection(NamedTuple):
    """z_t: what of a step need not wait for the carry. A δ_t has the same fields and shapes."""

    z: Array  # [..., H] x_t W_x + b
    alpha: Array  # [..., 1] Δt/τ; [..., H] where each unit has its own τ


class CTRNNTape(NamedTuple):
    """Saved at every step: 3H numbers for each example, and H more with noise."""

    activity: Array  # [..., H] φ(h_t) with leak="current", φ(I_t) with leak="rate"
    sent: Array  # [..., H] what the units send to W_h: φ(h_{t-1}) or r_{t-1}
    change: Array  # [..., H] I_t - h_{t-1} or φ(I_t) - r_{t-1}, which α multiplies
    noise: Any  # Array [..., H] n_t; None without noise
    alpha: Array  # [..., 1] or [..., H]


@factory
def ctrnn(
    hidden: int,
    activation: ActivationName = "tanh",
    *,
    leak: Literal["current", "rate"] = "current",
    tau: float | tuple[float, ...] = 1.0,
    learn_tau: bool = False,
    noise: float = 0.0,
    w_x_init: Initializer | None = None,
    w_h_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """The continuous-time RNN of neuroscience: leaky units, one Euler step of length Δt at a time.

    Inputs are pairs `(x_t, Δt)`: the input and the time since the last step, so that steps may
    be irregular; `fixed_dt(cell, dt)` makes them equal and reads x_t alone. With α = Δt/τ and noise
    n_t in the input current I_t, either the current leaks,

        τ dh/dt = -h + φ(h) W_h + x W_x + b                         leak="current"
        I_t = φ(h_{t-1}) W_h + x_t W_x + b + n_t
        h_t = (1 - α) ⊙ h_{t-1} + α ⊙ I_t
        y_t = φ(h_t)

    or the firing rate does:

        τ dr/dt = -r + φ(r W_h + x W_x + b)                         leak="rate"
        I_t = r_{t-1} W_h + x_t W_x + b + n_t
        r_t = (1 - α) ⊙ r_{t-1} + α ⊙ φ(I_t)
        y_t = r_t

        n_t = √(2/α) σ ξ_t,   ξ_t ~ N(0, I)

    Without noise, and with one τ for all units and a constant input, r_t W_h + x W_x + b of the
    rate model is h_t of the current model (Miller & Fumarola). Noise adds √(2 α σ²) ξ_t to h_t, so
    that its stationary standard deviation, for α ≪ 1 and without recurrence, is σ whatever the
    step; in the rate model it is inside φ, and rates of a positive φ stay positive.

    Euler steps average old and new values as long as α ≤ 1: choose Δt ≤ τ. At α = 1 the rate model
    is the vanilla cell; beyond α = 2 the leak alone diverges.

    Noise is active when the carry was made with a key, `unroll(..., key=key)` or
    `initial_carry(params, batch_shape, key)`; without one the cell is deterministic. Where
    Δt ≤ 0, as in padding, there is none.

    Args:
      hidden: H, the number of units.
      activation: φ, one of "tanh", "relu", "sigmoid", "identity".
      leak: what decays without input: "current" or "rate".
      tau: the time constant τ > 0, in the unit of Δt; a tuple of H numbers for one a unit.
      learn_tau: make τ of each unit a parameter, as `params.log_tau`, that starts at `tau`.
      noise: σ, the noise's standard deviation.
      w_x_init: initialiser of W_x; Glorot uniform by default.
      w_h_init: initialiser of W_h; orthogonal by default.
      dtype: dtype of the weights; JAX's default float if None.

    Returns:
      A `Cell` with `CTRNNParams`, `CTRNNCarry(h [..., H], keys)` and a hand-derived rule, which
      gives ∂C/∂Δt too. It reads pairs `(x_t [..., D], Δt [...])`; `init` takes D or `(D, ())`.

    Raises:
      TypeError: (when it runs) inputs that are no pair `(x_t, Δt)` of floating-point arrays.
      ValueError: hidden < 1, an unknown activation or leak, tau ≤ 0 or not H of them, noise < 0.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.ctrnn(3, "relu", tau=100.0, noise=0.05)  # times in milliseconds
      >>> params = cell.init(jax.random.key(0), 2)
      >>> xs, dts = jax.numpy.ones((5, 2)), jax.numpy.full(5, 20.0)
      >>> carry, ys = rnnjax.unroll(cell, params, (xs, dts), key=jax.random.key(1))
      >>> ys.shape, carry.h.shape
      ((5, 3), (3,))

    References:
      Song, Yang & Wang (2016), Training excitatory-inhibitory recurrent neural networks for
      cognitive tasks, PLoS Computational Biology 12 (the current leaks).
      Yang, Joglekar, Song, Newsome & Wang (2019), Task representations in neural networks trained
      to perform many cognitive tasks, Nature Neuroscience 22 (the rate leaks).
      Miller & Fumarola (2012), Mathematical equivalence of two common forms of firing rate models
      of neural networks, Neural Computation 24.
    """
    check_positive_int("hidden", hidden)
    phi = ACTIVATIONS[check_choice("activation", activation, ACTIVATIONS)]
    check_choice("leak", leak, ["current", "rate"])
    taus = _check_tau(tau, hidden)
    if not (noise >= 0.0 and math.isfinite(noise)):
        raise ValueError(f"noise is a standard deviation, at least 0, got {noise}")
    w_x_init, w_h_init = w_x_init or glorot(), w_h_init or orthogonal()

    def init(key: Array, inputs: Inputs) -> CTRNNParams:
        size = _input_size(inputs)
        w_x, w_h, b = draw_weights(key, size, hidden, 1, w_x_init, w_h_init, dtype)
        log_tau = jnp.broadcast_to(jnp.log(jnp.asarray(taus, b.dtype)), (hidden,))
        return CTRNNParams(w_x, w_h, b, log_tau if learn_tau else None)

    def initial_carry(
        params: CTRNNParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> CTRNNCarry:
        h = jnp.zeros((*batch_shape, hidden), params.w_h.dtype)
        return CTRNNCarry(h, example_keys(key, batch_shape) if noise else None)

    def tau_of(params: CTRNNParams) -> Array:
        """τ [1] or [H]."""
        if params.log_tau is None:
            return jnp.asarray(taus, params.b.dtype)
        return jnp.exp(params.log_tau)

    def project(params: CTRNNParams, xs: Any) -> CTRNNProjection:
        x, dt = _pair(xs, params.w_x)
        z, tau = affine(x, params.w_x, params.b), tau_of(params)
        return CTRNNProjection(z, dt[..., None] / tau.reshape((1,) * dt.ndim + tau.shape))

    model = _current_model(phi) if leak == "current" else _rate_model(phi)

    def forward(params: CTRNNParams, carry: CTRNNCarry, z_t: CTRNNProjection):
        keys, n = _draw_noise(carry.keys, noise, z_t)
        z = z_t.z if n is None else z_t.z + n
        h, y_t, activity, sent, change = model.forward(params, carry.h, z, z_t.alpha)
        return (CTRNNCarry(h, keys), y_t), CTRNNTape(activity, sent, change, n, z_t.alpha)

    def step(params: CTRNNParams, carry: CTRNNCarry, x_t: Any):
        return forward(params, carry, project(params, x_t))[0]

    def backward(
        params: CTRNNParams, tape: CTRNNTape, carry_ct: CTRNNCarry, y_ct: Array, clip: Clip
    ):
        # α moves h_t (or r_t) along what it mixes in, and the size of the noise, n_t ~ α^(-1/2):
        #   ∂C/∂α = dh_t ⊙ change_t - δ_t ⊙ n_t / (2α),   summed over the units that share α
        dh, delta, h_ct = model.backward(params, tape, carry_ct.h, y_ct, clip)
        alpha_ct = dh * tape.change
        if tape.noise is not None:
            # n_t = 0 where α ≤ 0, so any finite divisor will do there.
            alpha_ct -= delta * tape.noise / (2 * jnp.where(tape.alpha > 0, tape.alpha, 1))
        if tape.alpha.shape[-1] != hidden:
            alpha_ct = jnp.sum(alpha_ct, axis=-1, keepdims=True)
        return CTRNNCarry(h_ct, None), CTRNNProjection(delta, alpha_ct)

    def gradients(params: CTRNNParams, xs: Any, tapes: CTRNNTape, deltas: CTRNNProjection):
        # dW_x = Σ_t x_tᵀ δ_t,   dW_h = Σ_t sent_tᵀ δ_t,   db = Σ_t δ_t,   dx_t = δ_t W_xᵀ
        # From α = Δt/τ:   dΔt = Σ_units ∂C/∂α / τ,   d log τ = -Σ_t α ⊙ ∂C/∂α
        x, _ = xs
        tau, log_tau_ct = tau_of(params), None
        if params.log_tau is not None:
            log_tau_ct = -sum_product(tapes.alpha, deltas.alpha)
        params_ct = CTRNNParams(
            sum_outer(x, deltas.z), sum_outer(tapes.sent, deltas.z), sum_bias(deltas.z), log_tau_ct
        )
        return params_ct, (deltas.z @ params.w_x.T, deltas.alpha @ (1 / tau))

    shapes = CTRNNParams._make(
        (
            ("D", hidden),
            (hidden, hidden),
            (hidden,),
            (hidden,) if learn_tau else None,
        )
    )
    structure = Structure(
        params=shapes,
        form=("ctrnn", leak, activation, None if learn_tau else taus, noise),
        feature_axes=(1, 0),
        mixing=("w_h",),
        output="h" if leak == "rate" else None,
    )
    return Cell(init, initial_carry, step, Rule(project, forward, backward, gradients), structure)


class _Model(NamedTuple):
    """One of the two models, between the noise and the gradient of α."""

    forward: Any  # (params, h_{t-1}, z_t + n_t, α) -> (h_t, y_t, activity, sent, change)
    backward: Any  # (params, tape, h_ct, y_ct, clip) -> (dh_t, δ_t, ∂C/∂h_{t-1})


def _current_model(phi: Activation) -> _Model:
    def forward(params: CTRNNParams, h_tm1: Array, z: Array, alpha: Array):
        sent = phi.apply(h_tm1)
        current = sent @ params.w_h + z
        h = (1 - alpha) * h_tm1 + alpha * current
        y = phi.apply(h)
        return h, y, y, sent, current - h_tm1

    def backward(params: CTRNNParams, tape: CTRNNTape, h_ct: Array, y_ct: Array, clip: Clip):
        # h_t reaches C through step t + 1 and through y_t = φ(h_t); δ_t is the error at I_t:
        #   dh_t = ∂C/∂h_t|_{t+1} + ∂C/∂y_t ⊙ φ'(h_t),   δ_t = α ⊙ dh_t
        #   ∂C/∂h_{t-1} = (1 - α) ⊙ dh_t + (δ_t W_hᵀ) ⊙ φ'(h_{t-1})
        dh = h_ct + y_ct * phi.derivative(tape.activity)
        delta = clip(tape.alpha * dh)
        recurrent = (delta @ params.w_h.T) * phi.derivative(tape.sent)
        return dh, delta, (1 - tape.alpha) * dh + recurrent

    return _Model(forward, backward)


def _rate_model(phi: Activation) -> _Model:
    def forward(params: CTRNNParams, r_tm1: Array, z: Array, alpha: Array):
        rate = phi.apply(r_tm1 @ params.w_h + z)
        r = (1 - alpha) * r_tm1 + alpha * rate
        return r, r, rate, r_tm1, rate - r_tm1

    def backward(params: CTRNNParams, tape: CTRNNTape, r_ct: Array, y_ct: Array, clip: Clip):
        # r_t reaches C through step t + 1 and as y_t; δ_t is the error at I_t, inside φ:
        #   dr_t = ∂C/∂r_t|_{t+1} + ∂C/∂y_t,   δ_t = α ⊙ dr_t ⊙ φ'(I_t)
        #   ∂C/∂r_{t-1} = (1 - α) ⊙ dr_t + δ_t W_hᵀ
        dr = r_ct + y_ct
        delta = clip(tape.alpha * dr * phi.derivative(tape.activity))
        return dr, delta, (1 - tape.alpha) * dr + delta @ params.w_h.T

    return _Model(forward, backward)


def _draw_noise(
    keys: Array | None, sigma: float, z_t: CTRNNProjection
) -> tuple[Array | None, Array | None]:
    """The keys to carry on, and n_t [..., H]; None for both without noise."""
    if keys is None:
        return None, None
    later, now = next_keys(keys)
    xi = normal(now, z_t.z.shape[keys.ndim :], z_t.z.dtype)
    # √(2/α) has no value or slope at α = 0, and a product with 0 would not make them finite.
    positive = z_t.alpha > 0
    scale = sigma * jnp.sqrt(2 / jnp.where(positive, z_t.alpha, 1))
    return later, jnp.where(positive, scale, 0) * xi


def _pair(xs: Any, w_x: Array) -> tuple[Array, Array]:
    """The input [..., D] and Δt [...] of one step, or of all steps."""
    if not (isinstance(xs, tuple) and len(xs) == 2):
        raise TypeError(
            "a ctrnn reads pairs (x_t [..., D], Δt [...]), the input and the time since the last "
            f"step, got {'one array' if is_array(xs) else f'a {type(xs).__name__}'}. For equal "
            "steps, and in a stack, make the cell rnnjax.fixed_dt(cell, dt)"
        )
    x, dt = map(array_of, xs)
    check_features(x, w_x)
    if not is_array(dt):
        raise TypeError(f"Δt must be one array [...], got {described(dt)}")
    if not is_inexact(dt):
        raise TypeError(
            f"Δt has dtype {jnp.result_type(dt)}: pass floating-point times, such as "
            "dt.astype(float)"
        )
    if jnp.shape(dt) != x.shape[:-1]:
        raise ValueError(
            f"Δt has shape {jnp.shape(dt)} and the input {x.shape}: give one Δt for each input, "
            f"here {x.shape[:-1]}"
        )
    return x, jnp.asarray(dt)


def _input_size(inputs: Inputs) -> int:
    """D, from D itself or from the features of a pair: (D, ()) or ((D,), ())."""
    if is_feature_shape(inputs) and not isinstance(inputs, tuple):
        return check_positive_int("input_size", inputs)
    if isinstance(inputs, tuple) and len(inputs) == 2 and inputs[1] == ():
        (size,) = inputs[0] if isinstance(inputs[0], tuple) and len(inputs[0]) == 1 else inputs[:1]
        return check_positive_int("input_size", size)
    raise ValueError(
        f"a ctrnn reads pairs (x_t, Δt), whose features are D or (D, ()), got {inputs!r}"
    )


def _check_tau(tau: Any, hidden: int) -> tuple[float, ...]:
    """τ as a tuple of one number, or of one a unit."""
    each = tau if isinstance(tau, tuple | list) else (tau,)
    taus = tuple(float(check_known_number("tau", t)) for t in each)
    if len(taus) not in (1, hidden):
        raise ValueError(
            f"tau is one time constant or one for each of the {hidden} units, got {len(taus)}"
        )
    if not all(t > 0 and math.isfinite(t) for t in taus):
        raise ValueError(f"tau must be positive, got {tau}")
    return taus
