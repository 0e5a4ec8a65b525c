"""The unitary evolution RNN: complex units and a recurrent matrix that keeps every norm."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import check_known_number, check_positive_int
from rnnjax._dtypes import at_least_float32
from rnnjax._types import Array, Cell, Clip, Inputs, Rule, Structure
from rnnjax.cells._build import DType, draw, factory, float_dtype
from rnnjax.cells.initializers import Initializer, glorot
from rnnjax.cells.linear_algebra import affine, sum_outer

__all__ = ["URNNCarry", "URNNParams", "urnn"]


class URNNParams(NamedTuple):
    """Real numbers all: V = V_re + i V_im reads the input, v are the vectors of the reflections."""

    v_re: Array  # [D, N]
    v_im: Array  # [D, N]
    theta: Array  # [3, N] the phases of D_1, D_2 and D_3, in radians
    reflect_re: Array  # [2, N] the vectors of R_1 and R_2, of any length
    reflect_im: Array  # [2, N]
    b: Array  # [N] of the modReLU


class URNNCarry(NamedTuple):
    h: Array  # [..., N] hidden state, complex


class URNNTape(NamedTuple):
    """Saved at every step: 2N complex numbers for each example."""

    z: Array  # [..., N] W h_{t-1} + V x_t
    h_tm1: Array  # [..., N]


class _Stages(NamedTuple):
    """What W h is made of, from the right: the state before and after each of its factors."""

    turned: Array  # D_1 h
    spectrum: Array  # F D_1 h, which R_1 reflects
    shuffled: Array  # D_2 Π R_1 F D_1 h
    back: Array  # F⁻¹ of it, which R_2 reflects
    whole: Array  # W h


@factory
def urnn(
    hidden: int,
    *,
    permutation: int = 0,
    v_init: Initializer | None = None,
    dtype: DType | None = None,
) -> Cell:
    """The unitary evolution RNN (uRNN): complex units, a unitary recurrent matrix and a modReLU.

        z_t = W h_{t-1} + V x_t,   W = D_3 R_2 F⁻¹ D_2 Π R_1 F D_1
        h_t = max(0, |z_t| + b) z_t / |z_t|
        y_t = [Re h_t, Im h_t]

    Every factor of W is unitary, whatever the params: D = diag(e^{iθ}), reflections
    R = I - 2 v v* / ‖v‖², a fixed permutation Π, and the Fourier transform F. So W keeps the norm
    of the state and of the error, with 7N params in N log N operations. What can still lose an
    error is the modReLU, and only where b < 0 switches a unit off; with b ≠ 0 it also scales the
    part of the error along the phase, by 1 + b/|z|.

    Params start as in the paper: θ uniform on ±π, v on ±1, V by Glorot; b = 0. Its initial state is
    trained: `learned_carry(urnn(N))`. Its authors' published code divides by |z| + 10⁻⁵ and leaves
    F and F⁻¹ out, which are part of the cell here; σ(0) = 0.

    Args:
      hidden: N, the number of complex units.
      permutation: the seed of Π, which is drawn once and not trained.
      v_init: initialiser of V_re and of V_im; Glorot uniform by default.
      dtype: dtype of the weights, which are real; JAX's default float if None. The state is
        complex64 for weights of 32 bits or fewer and complex128 for float64; outputs have the
        weights' dtype.

    Returns:
      A `Cell` with `URNNParams`, `URNNCarry(h [..., N])` complex, outputs `[..., 2N]` and a
      hand-derived rule.

    Raises:
      ValueError: hidden < 1, or a negative seed.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.urnn(3, dtype="float32")
      >>> params = cell.init(jax.random.key(0), 2)
      >>> carry, ys = rnnjax.unroll(cell, params, jax.numpy.ones((5, 2)))
      >>> ys.shape, carry.h.shape, carry.h.dtype
      ((5, 6), (3,), dtype('complex64'))

    References:
      Arjovsky, Shah & Bengio (2016), Unitary evolution recurrent neural networks, ICML.
    """
    check_positive_int("hidden", hidden)
    if check_known_number("permutation", permutation) < 0 or permutation != int(permutation):
        raise ValueError(f"permutation is the seed of Π, an integer from 0 on, got {permutation}")
    order = np.random.default_rng(int(permutation)).permutation(hidden).astype(np.int32)
    inverse, v_init = np.argsort(order).astype(np.int32), v_init or glorot()

    def init(key: Array, inputs: Inputs) -> URNNParams:
        size, chosen = check_positive_int("input_size", inputs), float_dtype(dtype)
        keys = jax.random.split(key, 5)
        wide = at_least_float32(chosen)

        def uniform(key: Array, rows: int, most: float) -> Array:
            return jax.random.uniform(key, (rows, hidden), wide, -most, most).astype(chosen)

        v_re, v_im = (draw("v_init", v_init, k, (size, hidden), chosen) for k in keys[:2])
        reflect_re, reflect_im = (uniform(k, 2, 1.0) for k in keys[2:4])
        theta = uniform(keys[4], 3, math.pi)
        return URNNParams(v_re, v_im, theta, reflect_re, reflect_im, jnp.zeros(hidden, chosen))

    def initial_carry(
        params: URNNParams, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> URNNCarry:
        del key
        zeros = jnp.zeros((*batch_shape, hidden), at_least_float32(params.b.dtype))
        return URNNCarry(jax.lax.complex(zeros, zeros))

    def evolve(params: URNNParams, h: Array) -> _Stages:
        d_1, d_2, d_3 = _phases(params)
        v_1, v_2 = _vectors(params)
        turned = _along(d_1, h) * h
        spectrum = jnp.fft.fft(turned, norm="ortho")
        shuffled = _along(d_2, h) * _reflected(spectrum, v_1)[..., order]
        back = jnp.fft.ifft(shuffled, norm="ortho")
        return _Stages(turned, spectrum, shuffled, back, _along(d_3, h) * _reflected(back, v_2))

    def pull(params: URNNParams, delta: Array) -> _Stages:
        """∂C/∂ of every stage, from ∂C/∂(W h); that of W h is in the end ∂C/∂h."""
        d_1, d_2, d_3 = _phases(params)
        v_1, v_2 = _vectors(params)
        reflected = _along(d_3, delta) * delta
        back = _reflected(reflected, v_2.conj())
        shuffled = jnp.fft.ifft(back, norm="ortho")
        reordered = (_along(d_2, delta) * shuffled)[..., inverse]
        spectrum = _reflected(reordered, v_1.conj())
        turned = jnp.fft.fft(spectrum, norm="ortho")
        return _Stages(turned, reordered, shuffled, reflected, _along(d_1, delta) * turned)

    def forward(params: URNNParams, carry: URNNCarry, u_t: Array):
        z = evolve(params, carry.h).whole + u_t
        size, phase = _polar(z)
        longer = jax.nn.relu(size + _along(params.b.astype(size.dtype), size))
        h = longer.astype(phase.dtype) * phase
        y = jnp.concatenate([h.real, h.imag], axis=-1).astype(params.b.dtype)
        return (URNNCarry(h), y), URNNTape(z, carry.h)

    def step(params: URNNParams, carry: URNNCarry, x_t: Array):
        return forward(params, carry, _project(params, x_t))[0]

    # Cotangents are JAX's: dC = Re(z̄ dz), so that transposes are plain, nothing conjugated.

    def backward(params: URNNParams, tape: URNNTape, carry_ct: URNNCarry, y_ct: Array, clip: Clip):
        # y_t = [Re h_t, Im h_t]:   dh_t = ∂C/∂h_t|_{t+1} + ȳ_re - i ȳ_im
        # h = (m + b) q with m = |z|, q = z/m, where m + b > 0, else 0:   dm = Re(q* dz),
        #   dq = (dz - q dm)/m,   so   δ = (Re(dh q) + i (1 + b/m) Im(dh q)) q*
        # ∂C/∂h_{t-1} = Wᵀ δ:   Dᵀ = D, Fᵀ = F, Πᵀ = Π⁻¹, and Rᵀ is R with v* for v.
        size, phase = _polar(tape.z)
        b = _along(params.b.astype(size.dtype), size)
        y_re, y_im = jnp.split(y_ct.astype(size.dtype), 2, axis=-1)
        dh = carry_ct.h + jax.lax.complex(y_re, -y_im)
        along = dh * phase
        turned = along.imag * (size + b) / jnp.where(size == 0, 1, size)
        delta = jax.lax.complex(along.real, turned) * phase.conj()
        delta = jnp.where(size + b <= 0, 0, delta)
        errors = clip(jnp.concatenate([delta.real, -delta.imag], axis=-1))
        at_re, at_im = jnp.split(errors, 2, axis=-1)
        delta = jax.lax.complex(at_re, -at_im)
        return URNNCarry(pull(params, delta).whole), delta

    def gradients(params: URNNParams, xs: Array, tapes: URNNTape, deltas: Array):
        # e^{iθ} a:   dC = Re(out̄ i out dθ),   so dθ = -Im(out̄ out) for D_3, and -Im(ā a), the
        #   same product, for D_2 and D_1 at what they return
        # b:   dC = Re(dh q) db,   and Re(δ q) = Re(dh q), as the terms in b/m cancel
        # u = x V:   dV_re = Σ_t x_tᵀ Re δ_t,   dV_im = -Σ_t x_tᵀ Im δ_t
        at, error = evolve(params, tapes.h_tm1), pull(params, deltas)
        v_1, v_2 = _vectors(params)
        theta = jnp.stack(
            [
                -_total((error.turned * at.turned).imag),
                -_total((error.shuffled * at.shuffled).imag),
                -_total((deltas * at.whole).imag),
            ]
        )
        reflect = jnp.stack(
            [
                _reflection_ct(v_1, at.spectrum, error.spectrum),
                _reflection_ct(v_2, at.back, error.back),
            ]
        )
        b = _total((deltas * _polar(tapes.z)[1]).real)
        errors = jnp.concatenate([deltas.real, -deltas.imag], axis=-1)
        v_re, v_im = jnp.split(sum_outer(xs.astype(errors.dtype), errors), 2, axis=-1)
        params_ct = URNNParams(v_re, v_im, theta, reflect.real, -reflect.imag, b)
        dtype = params.b.dtype
        both = jnp.concatenate([params.v_re, params.v_im], axis=-1).astype(errors.dtype)
        return jax.tree.map(lambda ct: ct.astype(dtype), params_ct), (errors @ both.T).astype(dtype)

    shapes = URNNParams._make(
        (("D", hidden), ("D", hidden), (3, hidden), (2, hidden), (2, hidden), (hidden,))
    )
    structure = Structure(params=shapes, form=("urnn", int(permutation)), through_weights=("h",))
    return Cell(init, initial_carry, step, Rule(_project, forward, backward, gradients), structure)


def _project(params: URNNParams, xs: Array) -> Array:
    wide = at_least_float32(params.b.dtype)
    both = affine(xs, jnp.concatenate([params.v_re, params.v_im], axis=-1)).astype(wide)
    return jax.lax.complex(*jnp.split(both, 2, axis=-1))


def _phases(params: URNNParams) -> Array:
    """The diagonals of D_1, D_2 and D_3: [3, N]."""
    theta = params.theta.astype(at_least_float32(params.theta.dtype))
    return jax.lax.complex(jnp.cos(theta), jnp.sin(theta))


def _vectors(params: URNNParams) -> Array:
    """v of R_1 and R_2: [2, N]."""
    wide = at_least_float32(params.b.dtype)
    return jax.lax.complex(params.reflect_re.astype(wide), params.reflect_im.astype(wide))


def _squared(v: Array) -> Array:
    return jnp.sum(v.real**2 + v.imag**2)


def _along(vector: Array, like: Array) -> Array:
    """vector [N] with the axes of like [..., N] spelt out, so that no rank is promoted."""
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)


def _reflected(a: Array, v: Array) -> Array:
    """R a = a - 2 v (v* a) / ‖v‖²: [..., N]."""
    inner = jnp.sum(_along(v.conj(), a) * a, axis=-1, keepdims=True)
    return a - (2 / _squared(v)).astype(a.dtype) * inner * _along(v, a)


def _reflection_ct(v: Array, a: Array, out_ct: Array) -> Array:
    """∂C/∂v of R a, summed over steps and batch: [N].

    With α = v* a, β = out̄ᵀ v and n = ‖v‖²:   v̄ = -2/n (α out̄ + β* a*) + 4 Re(αβ)/n² v*
    """
    n = _squared(v)
    alpha = jnp.sum(_along(v.conj(), a) * a, axis=-1, keepdims=True)
    beta = jnp.sum(_along(v, a) * out_ct, axis=-1, keepdims=True)
    direct = _total(alpha * out_ct + (beta * a).conj())
    along = 4 / n**2 * jnp.sum((alpha * beta).real)
    return (-2 / n).astype(v.dtype) * direct + along.astype(v.dtype) * v.conj()


def _polar(z: Array) -> tuple[Array, Array]:
    """|z| and z / |z|, which is 0 at 0; squares are taken of scaled numbers."""
    peak = jax.lax.stop_gradient(jnp.maximum(jnp.abs(z.real), jnp.abs(z.imag)))
    scale = jnp.where((peak > 0) & jnp.isfinite(peak), peak, 1)
    scaled = jax.lax.complex(z.real / scale, z.imag / scale)
    squared = scaled.real**2 + scaled.imag**2
    some = squared != 0
    size = jnp.sqrt(jnp.where(some, squared, 1))
    return jnp.where(some, scale * size, 0), jnp.where(some, scaled / size.astype(z.dtype), 0)


def _total(x: Array) -> Array:
    """The sum over all axes but the last."""
    return jnp.sum(x, axis=tuple(range(x.ndim - 1)))
