"""Gram-Schmidt with an exact derivative, also where columns depend on one another."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array
from rnnjax.flow._graded import qr

_Pair = tuple[Array, Array]


class _Factored(NamedTuple):
    q: Array  # [..., S, k]
    growth: Array  # [..., k] ln |R[i, i]|
    dead: Array  # [..., k] bool, the columns left out
    found: Array  # [..., k] bool, the first of the others that is to be left out


@jax.custom_jvp
def gram_schmidt(a: Array) -> tuple[Array, Array]:
    """Orthonormal Q `[..., S, k]`, and ln |R[i, i]| `[..., k]`, of A = Q R `[..., S, k]`.

    A column in the span of those before it, up to rounding, becomes a column of zeros in Q, with
    -inf: those after it are orthogonalised as if it were not there.
    """
    if a.shape[-1] == 1:
        return _unit(a)
    q, r = qr(a)
    growth = _growth(r)
    return jax.lax.cond(jnp.any(growth == -jnp.inf), _independent, lambda _: (q, growth), a)


@gram_schmidt.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[_Pair, _Pair]:
    """Forward mode, which JAX transposes.

        X = dA R⁻¹,   Ω = L - Lᵀ with L the part of QᵀX below its diagonal
        dQ = X + Q (Ω - QᵀX),   d ln |R[i, i]| = (QᵀX)[i, i]

    Dependent columns take no part: they are constants, and R has a one in their place.
    """
    (a,), (da,) = primals, tangents
    q, growth = gram_schmidt(a)
    live = growth != -jnp.inf
    a, da = (jnp.where(live[..., None, :], x, 0.0) for x in (a, da))
    r = jnp.triu(_transposed(q) @ a)
    diagonal = jnp.broadcast_to(jnp.eye(r.shape[-1], dtype=bool), r.shape)
    r = jnp.where(diagonal & ~live[..., None, :], 1.0, r)
    x = jax.lax.linalg.triangular_solve(r, da, left_side=False, lower=False)
    within = _transposed(q) @ x
    below = jnp.tril(within, -1)
    dq = x + q @ (below - _transposed(below) - within)
    return (q, growth), (dq, jnp.diagonal(within, axis1=-2, axis2=-1))


def _unit(a: Array) -> tuple[Array, Array]:
    """`gram_schmidt` of one column, without LAPACK; its square may not be a float."""
    largest = jnp.max(jnp.abs(a), axis=-2, keepdims=True)
    scaled = a / jnp.where(largest == 0, 1.0, largest)
    norm = jnp.sqrt(jnp.sum(scaled * scaled, axis=-2, keepdims=True))
    unit = scaled / jnp.where(largest == 0, 1.0, norm)
    return unit, (jnp.log(norm) + jnp.log(largest))[..., 0, :]


def _independent(a: Array) -> tuple[Array, Array]:
    """`gram_schmidt` where columns may depend on those before them.

    The factors of LAPACK hold up to the first dependent column, whose place an arbitrary direction
    takes. So that column is moved to the end, and the others factored again, until none is left.
    """

    def factored(dead: Array) -> _Factored:
        order = jnp.argsort(dead, axis=-1, stable=True)
        q, r = qr(_columns(jnp.where(dead[..., None, :], 0.0, a), order))
        back = jnp.argsort(order, axis=-1)
        q = jnp.where(dead[..., None, :], 0.0, _columns(q, back))
        growth = jnp.where(dead, -jnp.inf, jnp.take_along_axis(_growth(r), back, axis=-1))
        found = (growth == -jnp.inf) & ~dead
        first = found & (jnp.cumsum(found, axis=-1) == 1)
        return _Factored(q, growth, dead, first)

    def again(state: _Factored) -> _Factored:
        return factored(state.dead | state.found)

    start = factored(jnp.all(a == 0, axis=-2))
    end = jax.lax.while_loop(lambda state: jnp.any(state.found), again, start)
    return end.q, end.growth


def _growth(r: Array) -> Array:
    return jnp.log(jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1)))


def _columns(a: Array, order: Array) -> Array:
    return jnp.take_along_axis(a, order[..., None, :], axis=-1)


def _transposed(a: Array) -> Array:
    return jnp.swapaxes(a, -1, -2)
