"""Matrices whose rows differ by any power of two, and what can be done to them without overflow.

    M = diag(2^e) U        e integers, U with rows of ordinary size

A product of a thousand Jacobians has singular values from e^{-2000} to e^{2000}; no float holds
them, and the largest would drown the others. Row by row with integer exponents they stay apart,
and scaling by powers of two is free of rounding.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array

_NOTHING = -(2**28)  # the exponent that zero is given where exponents are compared


class Graded(NamedTuple):
    exponents: Array  # [..., S] int32; 0 for a zero row
    rows: Array  # [..., S, S] largest entry of each row in [1/2, 1), or the row is zero


def identity(batch_shape: tuple[int, ...], size: int, dtype: jnp.dtype) -> Graded:
    eye = jnp.broadcast_to(jnp.eye(size, dtype=dtype), (*batch_shape, size, size))
    return normalised(jnp.zeros((*batch_shape, size), jnp.int32), eye)


def normalised(exponents: Array, rows: Array) -> Graded:
    """diag(2^exponents) rows, with what is common to a row moved into its exponent."""
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
    weights = _times_powers(r, jnp.where(jnp.all(m.rows == 0, -1), _NOTHING, m.exponents))
    return normalised(weights.exponents, weights.rows @ m.rows)


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
    """Q, R with A = Q R; a column that depends on those before it gets an exact zero in R.

    Rounding leaves such a column with a diagonal entry of the order of ε times its norm. Taken
    for a number, that noise would pass for a tiny singular value.
    """
    q, r = jnp.linalg.qr(a)
    norms = jnp.sqrt(jnp.sum(a * a, axis=-2))
    diagonal = jnp.diagonal(r, axis1=-2, axis2=-1)
    noise = jnp.abs(diagonal) <= resolution(a) * norms
    eye = jnp.broadcast_to(jnp.eye(r.shape[-2], r.shape[-1], dtype=bool), r.shape)
    return q, jnp.where(eye & noise[..., None, :], 0.0, r)


def resolution(a: Array) -> float:
    """What is left of a unit vector by rounding when all of it should cancel, generously."""
    return 4 * float(jnp.finfo(a.dtype).eps) * a.shape[-1] ** 0.5


def triangularised(m: Graded) -> Graded:
    """A matrix with the singular values of M whose rows are nearer to orthogonal.

    With the rows of M sorted by size, Mᵀ = Uᵀ diag(2^e) = Q (R diag(2^e)). What a short row has
    in common with a long one moves into the long one.
    """
    order = jnp.argsort(-log_row_norms(m), axis=-1)
    exponents = jnp.take_along_axis(m.exponents, order, axis=-1)
    rows = jnp.take_along_axis(m.rows, order[..., None], axis=-2)
    _, r = qr(jnp.swapaxes(rows, -1, -2))
    weights = _times_powers(r, jnp.where(jnp.all(rows == 0, -1), _NOTHING, exponents))
    return normalised(*weights)


def orthogonalised(m: Graded, sweeps: int) -> Graded:
    """M times rotations from the left until its rows are orthogonal: one-sided Jacobi.

    The norms of the rows are then the singular values, the smallest as exactly as the largest.
    Each sweep meets every pair of rows once, S/2 disjoint pairs at a time.
    """
    size = m.rows.shape[-2]
    padding = size % 2
    if padding:
        m = Graded(
            jnp.pad(m.exponents, [(0, 0)] * (m.exponents.ndim - 1) + [(0, 1)]),
            jnp.pad(m.rows, [(0, 0)] * (m.rows.ndim - 2) + [(0, 1), (0, 0)]),
        )
    count = size + padding
    if count < 2:
        return m
    after = jnp.array([0, count - 1, *range(1, count - 1)])
    enough = resolution(m.rows)

    def one_round(_: int, state: tuple[Graded, Array]) -> tuple[Graded, Array]:
        m, largest = state
        m, cosines = _rotate_pairs(m)
        m = Graded(m.exponents[..., after], m.rows[..., after, :])
        return m, jnp.maximum(largest, jnp.max(cosines, initial=0.0))

    def sweep(state: tuple[int, Graded, Array]) -> tuple[int, Graded, Array]:
        done, m, largest = state
        m, largest = jax.lax.fori_loop(0, count - 1, one_round, (m, jnp.zeros_like(largest)))
        return done + 1, m, largest

    def unfinished(state: tuple[int, Graded, Array]) -> Array:
        return (state[0] < sweeps) & (state[2] > enough)

    first = (0, m, jnp.asarray(jnp.inf, m.rows.dtype))
    return jax.lax.while_loop(unfinished, sweep, first)[1]


def _rotate_pairs(m: Graded) -> tuple[Graded, Array]:
    """Make row i and row S - 1 - i orthogonal, for all i < S/2; |cosines| before [..., S/2].

    With rows a (the longer) and b, cosine g and ratio ρ = ‖b‖/‖a‖, the rotation by
        τ = 2ρg / (1 - ρ² + √((1 - ρ²)² + 4ρ²g²))
    gives a + τ b and b - τ a up to a common factor 1/√(1 + τ²). Only ρ may underflow, and then
    τ/ρ -> g: b loses its component along a, and a does not change.
    """
    half = m.rows.shape[-2] // 2
    upper = Graded(m.exponents[..., :half], m.rows[..., :half, :])
    lower = Graded(m.exponents[..., half:][..., ::-1], m.rows[..., half:, :][..., ::-1, :])
    swap = log_row_norms(upper) < log_row_norms(lower)
    a, b = _exchange(swap, upper, lower)
    norm_a, norm_b = row_norms(a), row_norms(b)
    lengths = jnp.where(norm_a * norm_b > 0, norm_a * norm_b, 1.0)
    cosine = jnp.sum(a.rows * b.rows, axis=-1) / lengths
    gap = jnp.where(norm_b > 0, b.exponents - a.exponents, _NOTHING)
    rho = scale(norm_b / jnp.where(norm_a > 0, norm_a, 1.0), gap)
    lead = (1 - rho) * (1 + rho)
    below = lead + jnp.sqrt(lead * lead + (2 * rho * cosine) ** 2)
    tilt = jnp.where(below > 0, 2 * cosine / jnp.where(below > 0, below, 1.0), 0.0)  # τ/ρ
    shrink = (1 / jnp.sqrt(1 + (tilt * rho) ** 2))[..., None]
    to_a = tilt * rho * rho * norm_a / jnp.where(norm_b > 0, norm_b, 1.0)  # τ 2^(e_b - e_a)
    to_b = tilt * norm_b / jnp.where(norm_a > 0, norm_a, 1.0)  # τ 2^(e_a - e_b)
    rows_a = (a.rows + to_a[..., None] * b.rows) * shrink
    rows_b = (b.rows - to_b[..., None] * a.rows) * shrink
    left = jnp.sqrt(jnp.sum(rows_b * rows_b, axis=-1)) > resolution(m.rows) * norm_b
    rows_b = jnp.where(left[..., None] | jnp.isnan(rows_b), rows_b, 0.0)
    upper, lower = _exchange(swap, normalised(a.exponents, rows_a), normalised(b.exponents, rows_b))
    joined = Graded(
        jnp.concatenate([upper.exponents, lower.exponents[..., ::-1]], axis=-1),
        jnp.concatenate([upper.rows, lower.rows[..., ::-1, :]], axis=-2),
    )
    return joined, jnp.abs(cosine)


def _exchange(swap: Array, x: Graded, y: Graded) -> tuple[Graded, Graded]:
    def pick(flag: Array, a: Graded, b: Graded) -> Graded:
        return Graded(
            jnp.where(flag, a.exponents, b.exponents), jnp.where(flag[..., None], a.rows, b.rows)
        )

    return pick(swap, y, x), pick(swap, x, y)
