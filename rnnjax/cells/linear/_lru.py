"""The linear recurrent unit: a complex diagonal recurrence between two dense maps."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_positive_int
from rnnjax._dtypes import at_least_float32
from rnnjax._types import Array, Cell, Clip, Inputs, Linear, Rule, Structure
from rnnjax.cells._build import DType, factory, float_dtype
from rnnjax.cells.linear_algebra import affine, sum_outer, sum_product

__all__ = ["LRUCarry", "LRUParams", "lru"]


class LRUParams(NamedTuple):
    """Real numbers all: B = B_re + i B_im reads the input, C = C_re + i C_im the state."""

    nu_log: Array  # [N] |λ| = exp(-exp(nu_log))
    theta_log: Array  # [N] arg λ = exp(theta_log), in radians a step
    gamma_log: Array  # [N] γ = exp(gamma_log), the scale of the input
    b_re: Array  # [D, N]
    b_im: Array  # [D, N]
    c_re: Array  # [N, D]
    c_im: Array  # [N, D]
    d: Array  # [D] the skip connection


class LRUCarry(NamedTuple):
    h: Array  # [..., N] hidden state, complex


class LRUInputs(NamedTuple):
    """What a step adds to the state and to the output; in a δ_t the errors at both."""

    u: Array  # [..., N] γ ⊙ (x_t B), complex
    skip: Array  # [..., D] d ⊙ x_t


class LRUTape(NamedTuple):
    """Saved at every step: 2N complex numbers for each example."""

    h: Array  # [..., N] h_t
    h_tm1: Array  # [..., N]


@factory
def lru(
    state: int,
    *,
    r_min: float = 0.0,
    r_max: float = 1.0,
    max_phase: float = 2 * math.pi,
    dtype: DType | None = None,
) -> Cell:
    """The linear recurrent unit: a complex, diagonal, time-invariant linear recurrence.

        λ = exp(-exp(ν) + i exp(θ))
        h_t = λ ⊙ h_{t-1} + γ ⊙ (x_t B),   γ = exp(log γ)
        y_t = Re(h_t C) + d ⊙ x_t

    Each of the N states turns by exp(θ) radians a step and shrinks by |λ| = exp(-exp(ν)) < 1,
    whatever the params: ∂h_t/∂h_k = λ^{t-k} can vanish but not explode. The vector d is a skip
    connection from x_t, so y_t has as many features as x_t. The nonlinearity of the paper's block
    comes after the cell and between layers; it is not part of it.

    At the start λ is uniform on the ring r_min ≤ |λ| ≤ r_max, 0 ≤ arg λ ≤ max_phase, and
    γ = √(1 - |λ|²), with which a state driven by white noise has the same variance whatever its
    |λ|; γ is trained like the rest. The entries of B_re and B_im have variance 1 / 2D, those of
    C_re and C_im 1 / N and those of d 1.

    Where the paper leaves it open this follows minimal-LRU (Zucchet et al.): the real part without
    a factor of two, d a vector, and ν, θ and γ trained as logarithms.

    Args:
      state: N, the number of complex states.
      r_min, r_max: radii of the ring, 0 ≤ r_min < r_max ≤ 1. Close to 1 the net remembers longer.
      max_phase: the largest angle of λ, in radians. Small angles help on long sequences.
      dtype: dtype of the weights, which are real; JAX's default float if None. The state is
        complex64 for weights of 32 bits or fewer, bfloat16 included, as there is no smaller
        complex type, and complex128 for float64; outputs and gradients have the weights' dtype.

    Returns:
      A `Cell` with `LRUParams`, `LRUCarry(h [..., N])` complex, outputs `[..., D]`, a hand-derived
      rule and a linear form.

    Raises:
      ValueError: state < 1, radii that do not bound a ring in the unit disc, or max_phase ≤ 0.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.lru(3, dtype="float32")
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))
      >>> ys.shape, carry.h.shape, carry.h.dtype
      ((5, 2), (3,), dtype('complex64'))

    References:
      Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu & De (2023), Resurrecting recurrent neural
      networks for long sequences, ICML.
      Zucchet, Meier, Schug, Mujika & Sacramento (2023), Online learning of long-range
      dependencies, NeurIPS, whose authors published minimal-LRU.
    """
    check_positive_int("state", state)
    if not 0 <= r_min < r_max <= 1:
        raise ValueError(
            f"r_min and r_max bound |λ| at the start: expected 0 <= r_min < r_max <= 1, got "
            f"r_min={r_min} and r_max={r_max}"
        )
    if not max_phase > 0:
        raise ValueError(f"max_phase is an angle in radians above 0, got {max_phase}")

    def init(key: Array, inputs: Inputs) -> LRUParams:
        size, chosen = check_positive_int("input_size", inputs), float_dtype(dtype)
        keys = jax.random.split(key, 7)

        def normal(key: Array, shape: tuple[int, ...], variance: float) -> Array:
            return math.sqrt(variance) * jax.random.normal(key, shape, chosen)

        ring = _ring(keys[0], keys[1], state, r_min, r_max, max_phase, chosen)
        b_re, b_im = (normal(k, (size, state), 1 / (2 * size)) for k in keys[2:4])
        c_re, c_im = (normal(k, (state, size), 1 / state) for k in keys[4:6])
        return LRUParams(*ring, b_re, b_im, c_re, c_im, normal(keys[6], (size,), 1.0))

    shapes = LRUParams._make(
        (
            (state,),
            (state,),
            (state,),
            ("D", state),
            ("D", state),
            (state, "D"),
            (state, "D"),
            ("D",),
        )
    )
    structure = Structure(params=shapes, form="lru", linear=Linear(_coefficients, _readout))
    rule = Rule(_project, _forward, _backward, _gradients)
    return Cell(init, _initial_carry, _step, rule, structure)


def _ring(
    key_r: Array,
    key_theta: Array,
    state: int,
    r_min: float,
    r_max: float,
    max_phase: float,
    dtype: jnp.dtype,
) -> tuple[Array, Array, Array]:
    """log ν, log θ and log γ for λ uniform on the ring: |λ|² and arg λ are uniform numbers."""
    wide = at_least_float32(dtype)
    # Short of |λ| = 0 and 1 and of arg λ = 0, where logarithms are infinite.
    least, most = float(jnp.finfo(wide).tiny), 1 - float(jnp.finfo(wide).eps)
    squares = jax.random.uniform(key_r, (state,), wide, max(r_min**2, least), min(r_max**2, most))
    phases = jax.random.uniform(key_theta, (state,), wide, least, max_phase)
    nu_log = jnp.log(-0.5 * jnp.log(squares)).astype(dtype)
    # |λ|² = exp(-2 exp(ν)), of the ν that the weights hold
    gamma_log = 0.5 * jnp.log(-jnp.expm1(-2 * jnp.exp(nu_log.astype(wide))))
    return nu_log, jnp.log(phases).astype(dtype), gamma_log.astype(dtype)


def _initial_carry(
    params: LRUParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
) -> LRUCarry:
    del key
    zeros = jnp.zeros((*batch_shape, params.nu_log.shape[0]), at_least_float32(params.nu_log.dtype))
    return LRUCarry(jax.lax.complex(zeros, zeros))


def _eigenvalues(params: LRUParams) -> Array:
    """λ [N] = exp(-exp(ν)) (cos θ + i sin θ), with θ = exp(log θ)."""
    wide = at_least_float32(params.nu_log.dtype)
    radius = jnp.exp(-jnp.exp(params.nu_log.astype(wide)))
    angle = jnp.exp(params.theta_log.astype(wide))
    return jax.lax.complex(radius * jnp.cos(angle), radius * jnp.sin(angle))


def _along(vector: Array, like: Array) -> Array:
    """vector [N] with the axes of like [..., N] spelt out, so that no rank is promoted."""
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)


def _project(params: LRUParams, xs: Array) -> LRUInputs:
    wide = at_least_float32(params.nu_log.dtype)
    both = affine(xs, jnp.concatenate([params.b_re, params.b_im], axis=-1)).astype(wide)
    p_re, p_im = jnp.split(both, 2, axis=-1)
    gamma = _along(jnp.exp(params.gamma_log.astype(wide)), p_re)
    return LRUInputs(jax.lax.complex(gamma * p_re, gamma * p_im), _along(params.d, xs) * xs)


def _real_product(params: LRUParams, h: Array) -> Array:
    """Re(h C) = Re h C_re - Im h C_im: [..., N] -> [..., D]."""
    wide = h.real.dtype
    return h.real @ params.c_re.astype(wide) - h.imag @ params.c_im.astype(wide)


def _forward(params: LRUParams, carry: LRUCarry, z_t: LRUInputs):
    h = _along(_eigenvalues(params), carry.h) * carry.h + z_t.u
    y = _real_product(params, h).astype(z_t.skip.dtype) + z_t.skip
    return (LRUCarry(h), y), LRUTape(h, carry.h)


def _step(params: LRUParams, carry: LRUCarry, x_t: Array):
    return _forward(params, carry, _project(params, x_t))[0]


def _coefficients(params: LRUParams, xs: Array) -> tuple[LRUCarry, LRUCarry]:
    b = _project(params, xs).u
    a = jnp.broadcast_to(_along(_eigenvalues(params), b), b.shape)
    return LRUCarry(a), LRUCarry(b)


def _readout(params: LRUParams, carry: LRUCarry, xs: Array) -> Array:
    return _real_product(params, carry.h).astype(xs.dtype) + _along(params.d, xs) * xs


# The cotangent of a complex number z is, as in JAX, the z̄ for which dC = Re(z̄ dz): it is
# ∂C/∂Re z - i ∂C/∂Im z. A product w = a z then has z̄ = w̄ a and ā = w̄ z, with plain transposes
# as for real numbers and nothing conjugated. A real part r of w = r + i s has r̄ = Re w̄, and
# s̄ = Re(i w̄) = -Im w̄.


def _backward(params: LRUParams, tape: LRUTape, carry_ct: LRUCarry, y_ct: Array, clip: Clip):
    # y_t = Re(h_t C) + skip_t:    dC = ȳ_t Re(dh_t C) = Re(ȳ_t Cᵀ dh_t)
    #   dh_t = ∂C/∂h_t|_{t+1} + ȳ_t Cᵀ,   ∂C/∂skip_t = ȳ_t
    # h_t = λ h_{t-1} + u_t:       ∂C/∂u_t = dh_t,   ∂C/∂h_{t-1} = dh_t λ
    # No error goes through weights on its way back, so the clip acts on what reaches B alone; it
    # sees the errors at Re u_t and Im u_t side by side.
    wide = tape.h.real.dtype
    direct = y_ct.astype(wide) @ jnp.concatenate([params.c_re, params.c_im]).astype(wide).T
    dh = carry_ct.h + jax.lax.complex(*jnp.split(direct, 2, axis=-1))
    errors = clip(jnp.concatenate([dh.real, -dh.imag], axis=-1))
    at_re, at_im = jnp.split(errors, 2, axis=-1)
    carry_ct = LRUCarry(dh * _along(_eigenvalues(params), dh))
    return carry_ct, LRUInputs(jax.lax.complex(at_re, -at_im), y_ct)


def _gradients(params: LRUParams, xs: Array, tapes: LRUTape, deltas: LRUInputs):
    # u = γ (x B):   with e_t = [γ Re δ_t, -γ Im δ_t], the errors at Re and Im of x_t B,
    #   [dB_re, dB_im] = Σ_t x_tᵀ e_t,   dx_t = e_t [B_re, B_im]ᵀ + d ȳ_t
    #   u depends on γ and B by their product alone: d log γ = Σ_D (B_re dB_re + B_im dB_im)
    # λ = exp(w) with w = -exp(ν) + i exp(θ):   λ̄ = Σ_t δ_t h_{t-1},   dC = Re(λ̄ λ dw)
    #   dν = -exp(ν) Re(λ̄ λ),   dθ = Re(λ̄ λ i exp(θ)) = -exp(θ) Im(λ̄ λ), for ν, θ in logarithms
    # y = Re h C_re - Im h C_im + d x:
    #   dC_re = Σ_t Re h_tᵀ ȳ_t,   dC_im = -Σ_t Im h_tᵀ ȳ_t,   dd = Σ_t ȳ_t x_t
    dtype, wide = params.nu_log.dtype, tapes.h.real.dtype
    nu, theta, gamma = (jnp.exp(p.astype(wide)) for p in params[:3])
    b = jnp.concatenate([params.b_re, params.b_im], axis=-1).astype(wide)
    gammas = _along(gamma, deltas.u)
    errors = jnp.concatenate([gammas * deltas.u.real, -gammas * deltas.u.imag], axis=-1)
    b_ct = sum_outer(xs.astype(wide), errors)
    gamma_log_ct = jnp.sum((b * b_ct).reshape(-1, 2, gamma.shape[0]), axis=(0, 1))
    w_ct = _eigenvalues(params) * sum_product(tapes.h_tm1, deltas.u)
    y_ct = deltas.skip.astype(wide)
    c_ct = sum_outer(jnp.concatenate([tapes.h.real, -tapes.h.imag], axis=-1), y_ct)
    b_re, b_im = jnp.split(b_ct, 2, axis=-1)
    c_re, c_im = jnp.split(c_ct, 2)
    d = sum_product(xs, deltas.skip)
    params_ct = LRUParams(
        -nu * w_ct.real, -theta * w_ct.imag, gamma_log_ct, b_re, b_im, c_re, c_im, d
    )
    xs_ct = (errors @ b.T).astype(dtype) + _along(params.d, xs) * deltas.skip
    return jax.tree.map(lambda ct: ct.astype(dtype), params_ct), xs_ct
