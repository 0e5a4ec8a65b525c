"""`log_singular_values`: the singular values of long products of Jacobians."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._checks import check_lengths, check_positive_int, is_inexact
from rnnjax._types import Array
from rnnjax.flow._blocks import mixes_one_way
from rnnjax.flow._exact import exact_products
from rnnjax.flow._float64 import in_float64
from rnnjax.flow._graded import (
    Graded,
    identity,
    log_row_norms,
    multiply,
    orthogonalised,
    pivoted,
    triangularised,
    weights,
)
from rnnjax.running import accumulation_dtype

_DEFAULT_LAGS = 12


class SingularValues(NamedTuple):
    lags: Array  # [L] int32, ascending
    logs: Array  # [L, ..., S] natural logarithms, descending


@in_float64
def log_singular_values(
    jacobians: Array,
    lags: Sequence[int] | Array | None = None,
    *,
    lengths: Array | None = None,
    sweeps: int = 20,
) -> SingularValues:
    """The singular values of ∂s_T/∂s_{T-lag}, as natural logarithms, for several lags.

        ∂s_T/∂s_{T-lag} = J_T J_{T-1} … J_{T-lag+1}
        J_tᵀ Q_{t+1} = Q_t R_t;   (J_T … J_{T-lag+1})ᵀ = Q_{T-lag+1} R_{T-lag+1} … R_T

    The product is never formed in plain floats. From the end backwards each factor is
    orthogonalised, column by column in the order in which the directions dominate the product so
    far, and the factors R are multiplied into a matrix whose rows have integer exponents of their
    own; one pass serves all lags. Its rows are then made orthogonal by one-sided Jacobi rotations,
    after which their norms are the singular values.

    Rounding errors spoil the smallest of them where states mix in one direction only or weakly
    (the layers of a stack: block triangular Jacobians), or where single Jacobians are nearly
    singular (saturated units). The first is seen from the Jacobians, the second by comparing
    Σ log σ_i with Σ_t log |det J_t|. Those products, and singular ones, are computed again on the
    host, exactly: with as many digits as the singular values range over, often hundreds. So the
    smallest singular value has as many digits as the largest, even where they range from e^{-2000}
    to e^{2000}, and is zero (-inf) only where the product of the numbers given is singular. Where
    all states are coupled, what the comparison lets pass was at most 1e-9 nats in float64 and 0.02
    in float32, in cells with saturated gates.

    An exact product takes about 0.02 s for 6 states and 150 steps, 0.5 s for 64 states and 64 steps
    and 4 s for 128 states and 64 steps, per example; the time grows with the square of the steps,
    and with the lags.

    Under `jit` or `vmap` no exact product is possible: what rounding may have spoiled is NaN there,
    except in singular products, which are not checked. Call it outside for those.

    Args:
      jacobians: `[T, ..., S, S]`, as `rnnjax.flow.jacobians` returns them.
      lags: integers in 1..T; by default about 12, evenly spaced in the logarithm from 1 to T.
      lengths: `[...]` integers in 0..T for right-padded sequences: T is each example's own last
        step, and lags beyond its length are NaN.
      sweeps: the maximum number of sweeps of rotations over all pairs; they end when the rows are
        orthogonal up to rounding, usually after 3 to 6.

    Returns:
      `SingularValues(lags [L], logs [L, ..., S])`: lags ascending without repeats, logs
      descending in the last axis, in nats. -inf for a direction that no error passes: all of them
      across a reset, whose Jacobian is zero. A product with NaN in it gives NaN. Not
      differentiable in reverse mode.

    Raises:
      TypeError: jacobians that are not floating point, lags that are not integers.
      ValueError: jacobians that are not `[T, ..., S, S]`, no lags, or lags outside 1..T.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> steps = jnp.broadcast_to(jnp.diag(jnp.exp(jnp.array([2.0, -3.0]))), (1000, 2, 2))
      >>> rnnjax.flow.log_singular_values(steps, [1000]).logs.round().tolist()
      [[2000.0, -3000.0]]

    References:
      Stewart (1997), On graded QR decompositions of products of matrices, Electronic Transactions
      on Numerical Analysis 5.
      Bai, Lee, Li & Xu (2011), Stable solutions of linear systems involving long chain of matrix
      multiplications, Linear Algebra and its Applications 435.
      Geist, Parlitz & Lauterborn (1990), Comparison of different methods for computing
      Lyapunov exponents, Progress of Theoretical Physics 83.
      Demmel, Gu, Eisenstat, Slapničar, Veselić & Drmač (1999), Computing the singular value
      decomposition with high relative accuracy, Linear Algebra and its Applications 299.
      Demmel & Veselić (1992), Jacobi's method is more accurate than QR, SIAM Journal on Matrix
      Analysis and Applications 13.
    """
    jacobians = jnp.asarray(jacobians)
    if not is_inexact(jacobians):
        raise TypeError(f"jacobians must be floating point, got dtype {jacobians.dtype}")
    if jacobians.ndim < 3 or jacobians.shape[-1] != jacobians.shape[-2] or not jacobians.shape[-1]:
        raise ValueError(
            f"jacobians must be [T, ..., S, S], got shape {jacobians.shape}: one square matrix a "
            "step, time first"
        )
    check_positive_int("sweeps", sweeps)
    chosen = _checked_lags(lags, jacobians.shape[0])
    if lengths is not None:
        lengths = check_lengths(lengths, jacobians.shape[0], jacobians.shape[1:-2], "jacobians")
        jacobians = _ending_together(jacobians, lengths)
    jacobians = jacobians[jacobians.shape[0] - chosen[-1] :]
    jacobians = jacobians.astype(accumulation_dtype([jacobians]))
    if jacobians.size == 0:  # no examples
        empty = jnp.zeros((len(chosen), *jacobians.shape[1:-1]), jacobians.dtype)
        return SingularValues(jnp.asarray(chosen, jnp.int32), empty)
    logs, uncertain, singular = _rounded(jacobians, chosen, sweeps)
    if isinstance(logs, Tracer):
        logs = jnp.where(uncertain[..., None], jnp.nan, logs)
    elif np.any(uncertain | singular):
        logs = _exact(jacobians, logs, np.asarray(uncertain | singular), chosen, sweeps)
    if lengths is not None:
        ends = jnp.asarray(chosen, lengths.dtype).reshape((-1,) + (1,) * lengths.ndim)
        reached = ends <= lengths[None]
        logs = jnp.where(reached[..., None], logs, jnp.nan)
    return SingularValues(jnp.asarray(chosen, jnp.int32), logs)


def _ending_together(jacobians: Array, lengths: Array) -> Array:
    """Each example moved to end at the last step, behind as many identities as it had padding."""
    steps, size = jacobians.shape[0], jacobians.shape[-1]
    t = jnp.arange(steps, dtype=lengths.dtype).reshape((steps,) + (1,) * lengths.ndim)
    t = t - (steps - lengths[None])
    moved = jnp.take_along_axis(jacobians, jnp.maximum(t, 0)[..., None, None], axis=0)
    identities = jnp.broadcast_to(jnp.eye(size, dtype=jacobians.dtype), moved.shape)
    return jnp.where((t >= 0)[..., None, None], moved, identities)


def _checked_lags(lags: Sequence[int] | Array | None, steps: int) -> tuple[int, ...]:
    if steps == 0:
        raise ValueError("jacobians has T = 0 steps: there is no product to take")
    spaced = np.rint(np.geomspace(1, steps, _DEFAULT_LAGS)).astype(int)
    values = np.atleast_1d(np.asarray(spaced if lags is None else lags))
    if values.size == 0:
        raise ValueError(f"lags is empty: give integers in 1..{steps}, or None for a selection")
    if not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"lags must be integers, got dtype {values.dtype}")
    if values.min() < 1 or values.max() > steps:
        raise ValueError(
            f"lags must lie in 1..{steps} (T of jacobians), got values from {values.min()} to "
            f"{values.max()}"
        )
    return tuple(np.unique(values).tolist())


@partial(jax.jit, static_argnums=(1, 2))
def _rounded(jacobians: Array, lags: tuple[int, ...], sweeps: int) -> tuple[Array, Array, Array]:
    """Logarithms [L, ..., S]; whether they may be wrong, and whether a Jacobian is singular.

    Rounding errors make the smallest singular values larger, and the product of all: it should be
    that of the determinants. Where states mix in one direction, it may be so by chance.
    """
    last, size = np.asarray(lags) - 1, jacobians.shape[-1]
    logs = _logs(_products(jacobians, lags), sweeps)
    determinants = jnp.cumsum(jnp.linalg.slogdet(jacobians)[1][::-1], axis=0)[last]
    singular = determinants == -jnp.inf
    volumes = jnp.sum(logs, axis=-1)
    sizes = jnp.sum(jnp.where(jnp.isfinite(logs), jnp.abs(logs), 0.0), axis=-1)
    tolerance = float(jnp.finfo(logs.dtype).eps) * (2000 * size + 8 * sizes)
    both = singular & (volumes == -jnp.inf)
    close = both | (jnp.abs(jnp.where(both, 0.0, volumes - determinants)) <= tolerance)
    one_way = jnp.broadcast_to(mixes_one_way(jacobians), close.shape)
    return logs, one_way | ~close, singular


@partial(jax.jit, static_argnums=1)
def _logs(products: Graded, sweeps: int) -> Array:
    size = products.rows.shape[-1]
    logs = log_row_norms(orthogonalised(triangularised(products), sweeps))[..., :size]
    return -jnp.sort(-logs, axis=-1)


def _exact(
    jacobians: Array, logs: Array, chosen: np.ndarray, lags: tuple[int, ...], sweeps: int
) -> Array:
    """`logs`, but from products in exact arithmetic where `chosen` [L, ...] and free of NaN."""
    steps, size = np.asarray(jacobians), logs.shape[-1]
    finite = np.all(np.isfinite(steps), axis=(-2, -1))[::-1]
    chosen = chosen & np.cumprod(finite, axis=0, dtype=bool)[np.asarray(lags) - 1]
    exponents, rows = np.zeros(logs.shape, np.int32), np.zeros((*logs.shape, size), logs.dtype)
    for example in np.ndindex(chosen.shape[1:]):
        places = np.flatnonzero(chosen[:, *example])
        if places.size:
            found = exact_products(steps[:, *example], tuple(lags[i] for i in places))
            exponents[places, *example], rows[places, *example] = found
    exact = _logs(Graded(jnp.asarray(exponents), jnp.asarray(rows)), sweeps)
    return jnp.where(jnp.asarray(chosen)[..., None], exact, logs)


def _products(jacobians: Array, lags: tuple[int, ...]) -> Graded:
    """R_{T-lag+1} … R_T for every lag, in one pass: exponents [L, ..., S], rows [L, ..., S, S]."""
    *batch_shape, size, _ = jacobians.shape[1:]
    basis = jnp.broadcast_to(jnp.eye(size, dtype=jacobians.dtype), jacobians.shape[1:])
    product = identity(tuple(batch_shape), size, jacobians.dtype)
    saved = jax.tree.map(lambda x: jnp.zeros((len(lags), *x.shape), x.dtype), product)
    # Every step writes into the place of the next requested lag; the last to write remains.
    places = jnp.asarray(np.searchsorted(lags, np.arange(1, lags[-1] + 1)))

    def body(
        state: tuple[Array, Graded, Graded], step: tuple[Array, Array]
    ) -> tuple[tuple[Array, Graded, Graded], None]:
        basis, product, saved = state
        jacobian, place = step
        images, magnitudes = basis @ jacobian, jnp.abs(basis) @ jnp.abs(jacobian)
        basis, r = pivoted(images, magnitudes, weights(product))
        product = multiply(r, product)
        saved = jax.tree.map(lambda all_, one: all_.at[place].set(one), saved, product)
        return (basis, product, saved), None

    steps = (jacobians[::-1], places)
    return jax.lax.scan(body, (basis, product, saved), steps)[0][2]
