"""Matrices with an integer exponent per row: products and SVDs without overflow or underflow.

    M = diag(2^e) U        e integers, U with rows of ordinary size

A product of a thousand Jacobians has singular values from e^{-2000} to e^{2000}; no float holds
them, and the largest would swamp the others. With an integer exponent for each row they are kept
apart, and scaling by powers of two is free of rounding errors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array
from rnnjax.flow._norms import features_norm

_NOTHING = -(2**28)  # the exponent of zero where exponents are compared


class Graded(NamedTuple):
    exponents: Array  # [..., S] int32; 0 for a zero row
    rows: Array  # [..., S, S] largest entry of each row in [1/2, 1), or the row is zero


def identity(batch_shape: tuple[int, ...], size: int, dtype: jnp.dtype) -> Graded:
    eye = jnp.broadcast_to(jnp.eye(size, dtype=dtype), (*batch_shape, size, size))
    return normalised(jnp.zeros((*batch_shape, size), jnp.int32), eye)


def normalised(exponents: Array, rows: Array) -> Graded:
    """diag(2^exponents) rows, with the magnitude of each row moved into its exponent."""
    shift = jnp.frexp(jnp.max(jnp.abs(rows), axis=-1))[1].astype(jnp.int32)
    empty = jnp.all(rows == 0, axis=-1)
    scaled = scale(rows, jnp.broadcast_to(-shift[..., None], rows.shape))
    return Graded(jnp.where(empty, 0, exponents + shift), scaled)


def scale(x: Array, exponent: Array) -> Array:
    """x 2^exponent, zero where that is far below the smallest normal number."""
    floor = jnp.finfo(x.dtype).minexp
    return jnp.where(exponent < floor, 0.0, jnp.ldexp(x, jnp.maximum(exponent, floor)))


def multiply(r: Array, m: Graded) -> Graded:
    """R M for any matrix R [..., S, S]."""
    scaled = _times_powers(r, weights(m))
    return normalised(scaled.exponents, scaled.rows @ m.rows)


def weights(m: Graded) -> Array:
    """The exponents of the rows, far below all others for a zero row."""
    return jnp.where(jnp.all(m.rows == 0, axis=-1), _NOTHING, m.exponents)


def _times_powers(r: Array, exponents: Array) -> Graded:
    """R diag(2^exponents) with a row exponent taken out, not yet normalised."""
    mantissa, own = jnp.frexp(r)
    total = own.astype(jnp.int32) + exponents[..., None, :]
    total = jnp.where(r == 0, 2 * _NOTHING, total)
    top = jnp.max(total, axis=-1)
    return Graded(top, scale(mantissa, total - top[..., None]))


def row_norms(m: Graded) -> Array:
    return jnp.sqrt(jnp.sum(m.rows * m.rows, axis=-1))


def log_row_norms(m: Graded) -> Array:
    """ln of the norm of each row of M: [..., S], -inf for a zero row."""
    return m.exponents.astype(m.rows.dtype) * jnp.log(2.0).astype(m.rows.dtype) + jnp.log(
        row_norms(m)
    )


def qr(a: Array) -> tuple[Array, Array]:
    """Q, R with A = Q R; entries of R that may be rounding errors alone are set to zero.

    A column that depends on those before it leaves entries of the order of ε times its norm on
    and above the diagonal. If kept, that noise would appear as tiny singular values.
    """
    q, r = jnp.linalg.qr(a)
    norms = features_norm([jnp.swapaxes(a, -1, -2)], a.ndim - 1)[..., None, :]
    return q, jnp.where(jnp.abs(r) <= resolution(a) * norms, 0.0, r)


def pivoted(images: Array, magnitudes: Array, exponents: Array) -> tuple[Array, Array]:
    """Orthonormal rows V and coefficients R, in the order in which the weighted images dominate.

        images_j = Σ_k R[k, j] V_k        row j has the weight 2^exponents[j]

    Gram-Schmidt with pivoting, twice for each row: the next V is the direction of what is left of
    the heaviest image. Directions that do not mix, because of zeros in the images, stay exactly
    apart, in whatever order they come; reflections would mix them by rounding errors.

    Args:
      images: [..., S, S].
      magnitudes: [..., S, S] an upper bound on the numbers that each image was summed from. What
        is left of an entry and may be their rounding error alone is set to zero.
      exponents: [..., S] int32, far below zero for a weight of zero.

    Returns:
      V and R, [..., S, S]; V_k is zero where nothing is left.
    """
    size = images.shape[-1]
    tiny = resolution(images)

    def body(k: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        left, bound, weights, v, r = state
        peaks = jnp.max(jnp.abs(left), axis=-1)
        order = jnp.where(peaks == 0, -jnp.inf, jnp.log2(peaks) + weights)
        chosen = jnp.argmax(order, axis=-1)
        vector = jnp.take_along_axis(left, chosen[..., None, None], axis=-2)[..., 0, :]
        vector = _unit(vector)
        again = jnp.einsum("...ij,...j->...i", v, vector)
        vector = _unit(vector - jnp.einsum("...ij,...i->...j", v, again))
        row = jnp.einsum("...ij,...j->...i", left, vector)
        left = left - row[..., None] * vector[..., None, :]
        bound = bound + jnp.abs(row[..., None] * vector[..., None, :])
        used = jax.nn.one_hot(chosen, size, dtype=bool)[..., None]
        done = used | (jnp.abs(left) <= tiny * bound)
        left = jnp.where(done, 0.0, left)
        return left, bound, weights, v.at[..., k, :].set(vector), r.at[..., k, :].set(row)

    zeros = jnp.zeros_like(images)
    start = jnp.where(jnp.abs(images) <= tiny * magnitudes, 0.0, images)
    start = (start, magnitudes, exponents.astype(images.dtype), zeros, zeros)
    return jax.lax.fori_loop(0, size, body, start)[3:]


def _unit(vector: Array) -> Array:
    """The vector over its norm, or zero."""
    peak = jnp.max(jnp.abs(vector), axis=-1, keepdims=True)
    vector = vector / jnp.where(peak == 0, 1.0, peak)
    norm = jnp.sqrt(jnp.sum(vector * vector, axis=-1, keepdims=True))
    return vector / jnp.where(norm == 0, 1.0, norm)


def resolution(a: Array) -> float:
    """An upper bound on the rounding error left of a unit vector when all of it should cancel."""
    return 4 * float(jnp.finfo(a.dtype).eps) * a.shape[-1] ** 0.5


def triangularised(m: Graded) -> Graded:
    """A matrix with the singular values of M whose rows are closer to orthogonal.

    With the rows of M sorted by size, Mᵀ = Uᵀ diag(2^e) = Q (R diag(2^e)). The component of a
    short row along a long one moves into the long one.
    """
    order = jnp.argsort(-log_row_norms(m), axis=-1)
    exponents = jnp.take_along_axis(m.exponents, order, axis=-1)
    rows = jnp.take_along_axis(m.rows, order[..., None], axis=-2)
    _, r = qr(jnp.swapaxes(rows, -1, -2))
    weights = _times_powers(r, jnp.where(jnp.all(rows == 0, -1), _NOTHING, exponents))
    return normalised(*weights)


def orthogonalised(m: Graded, sweeps: int) -> Graded:
    """M times rotations from the left until its rows are orthogonal: one-sided Jacobi.

    The norms of the rows are then the singular values, all to the same relative accuracy.
    A sweep rotates every pair of rows once, in round-robin order: S/2 disjoint pairs at a time.
    With S odd a zero row is added, to complete the last pair.
    """
    padding = [(0, 0)] * (m.exponents.ndim - 1) + [(0, m.exponents.shape[-1] % 2)]
    m = Graded(jnp.pad(m.exponents, padding), jnp.pad(m.rows, [*padding, (0, 0)]))
    half = m.exponents.shape[-1] // 2
    enough = (
        float(jnp.finfo(m.rows.dtype).eps) ** 0.75
    )  # convergence is quadratic: the last sweep squares it

    def one_round(_: int, state: tuple[Graded, Graded, Array]) -> tuple[Graded, Graded, Array]:
        upper, lower, largest = state
        upper, lower, cosines = _rotate_pairs(upper, lower)
        cosines = jnp.where(jnp.isnan(cosines), 0.0, cosines)  # or one NaN would end all sweeps
        return *_next_pairs(upper, lower), jnp.maximum(largest, jnp.max(cosines, initial=0.0))

    def sweep(state: tuple[Array, Graded, Array]) -> tuple[Array, Graded, Array]:
        done, m, largest = state
        upper = Graded(m.exponents[..., :half], m.rows[..., :half, :])
        lower = Graded(m.exponents[..., half:], m.rows[..., half:, :])
        start = (upper, lower, jnp.zeros_like(largest))
        upper, lower, largest = jax.lax.fori_loop(0, 2 * half - 1, one_round, start)
        return done + 1, normalised(*_joined(upper, lower)), largest

    def unfinished(state: tuple[Array, Graded, Array]) -> Array:
        return (state[0] < sweeps) & (state[2] > enough)

    first = (jnp.zeros((), jnp.int32), m, jnp.asarray(jnp.inf, m.rows.dtype))
    return jax.lax.while_loop(unfinished, sweep, first)[1]


def _joined(upper: Graded, lower: Graded) -> Graded:
    return Graded(
        jnp.concatenate([upper.exponents, lower.exponents], axis=-1),
        jnp.concatenate([upper.rows, lower.rows], axis=-2),
    )


def _next_pairs(upper: Graded, lower: Graded) -> tuple[Graded, Graded]:
    """The next pairing of a round-robin tournament: all rows but the first move on one place."""
    if upper.rows.shape[-2] == 1:
        return upper, lower

    def move(u: Array, v: Array) -> tuple[Array, Array]:  # the place in axis 0
        return jnp.concatenate([u[:1], v[:1], u[1:-1]]), jnp.concatenate([v[1:], u[-1:]])

    def placed(exponents: Array, rows: Array) -> Graded:
        return Graded(jnp.moveaxis(exponents, 0, -1), jnp.moveaxis(rows, 0, -2))

    e_u, e_l = move(*(jnp.moveaxis(x.exponents, -1, 0) for x in (upper, lower)))
    r_u, r_l = move(*(jnp.moveaxis(x.rows, -2, 0) for x in (upper, lower)))
    return placed(e_u, r_u), placed(e_l, r_l)


def _rotate_pairs(upper: Graded, lower: Graded) -> tuple[Graded, Graded, Array]:
    """Make each upper row orthogonal to the lower row beside it; also |cosines| before [..., S/2].

    With a the longer of the two and b the other, cosine g and ratio ρ = ‖b‖/‖a‖, the rotation by
        τ = 2ρg / (1 - ρ² + √((1 - ρ²)² + 4ρ²g²))
    gives a + τ b and b - τ a, up to a common factor 1/√(1 + τ²). Only ρ can underflow, and then
    τ/ρ = g: b loses its component along a, and a does not change. A remainder of b that may be
    rounding error alone is set to zero.
    """
    norm_u, norm_l = row_norms(upper), row_norms(lower)
    size_u, size_l = (_log2_size(m.exponents, n) for m, n in ((upper, norm_u), (lower, norm_l)))
    longer = size_u >= size_l
    norm_a, norm_b = jnp.where(longer, norm_u, norm_l), jnp.where(longer, norm_l, norm_u)
    some = norm_a * norm_b > 0
    norm_a, norm_b = jnp.where(some, norm_a, 1.0), jnp.where(some, norm_b, 1.0)
    difference = jnp.where(longer, 1, -1) * (lower.exponents - upper.exponents)
    rho = scale(norm_b / norm_a, jnp.where(some, difference, _NOTHING))
    cosine = jnp.sum(upper.rows * lower.rows, axis=-1) / (norm_a * norm_b)
    lead = (1 - rho) * (1 + rho)
    below = lead + jnp.sqrt(lead * lead + (2 * rho * cosine) ** 2)
    tilt = jnp.where(below != 0, 2 * cosine / jnp.where(below != 0, below, 1.0), 0.0)  # τ/ρ
    shrink = 1 / jnp.sqrt(1 + (tilt * rho) ** 2)
    to_a, to_b = tilt * rho * rho * norm_a / norm_b, -tilt * norm_b / norm_a
    on_u, on_l = jnp.where(longer, to_a, to_b), jnp.where(longer, to_b, to_a)

    def turned(x: Graded, norm: Array, factor: Array, other: Graded) -> Graded:
        rows = shrink[..., None] * (x.rows + factor[..., None] * other.rows)
        left = jnp.sqrt(jnp.sum(rows * rows, axis=-1))
        return x._replace(rows=jnp.where((left <= resolution(rows) * norm)[..., None], 0.0, rows))

    new = turned(upper, norm_u, on_u, lower), turned(lower, norm_l, on_l, upper)
    return *new, jnp.abs(cosine)


def _log2_size(exponents: Array, norms: Array) -> Array:
    size = exponents.astype(norms.dtype) + jnp.log2(jnp.where(norms > 0, norms, 1.0))
    return jnp.where(norms > 0, size, -jnp.inf)
