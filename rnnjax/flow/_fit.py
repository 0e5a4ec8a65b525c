"""`half_life`: how fast one error shrinks or grows on its way back."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._types import Array
from rnnjax.flow._float64 import keeping_float64
from rnnjax.flow._norms import gradient_norms
from rnnjax.flow._record import Recording
from rnnjax.running import accumulation_dtype


class Line(NamedTuple):
    """The least-squares line ln norm = a - rate (T - t)."""

    rate: Array  # [...] nats a step; NaN with fewer than two points
    change: Array  # [...] rate times the steps from the first to the last point
    rounding: Array  # [...] a |change| up to this is rounding error


@keeping_float64
def half_life(norms: Array | Recording, *, leaf: str | None = None) -> Array:
    """The number of steps back in time over which one error halves.

        half-life = ln 2 / λ,    ln ‖∂C/∂h_t‖ ≈ a - λ (T - t)

    λ is fitted by least squares to all finite, positive norms, so that padding, where the
    gradient is zero, does not count.

    Args:
      norms: a `record(..., last=True)`; or the norms ‖∂C/∂h_t‖ of one error for t = 1 … T,
        `[T, ...]`, as from `gradient_norms`.
      leaf: of a `Recording`, the field of the carry; None for all.

    Returns:
      Half-lives `[...]` in steps. Negative where the error grows on its way back: then it
      doubles in that many steps. +inf where it changes by no more than rounding over the
      sequence, NaN where fewer than two norms are positive and finite.

    Raises:
      TypeError: what are no real norms.
      ValueError: norms without a time axis, negative numbers, or a `Recording` of a cost that
        reads more than one step.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> norms = 0.5 ** (jnp.arange(10, 0, -1) / 3.0)     # halves every 3 steps back
      >>> round(float(rnnjax.flow.half_life(norms)), 3)
      3.0
    """
    return _half_life(checked_norms(norms, leaf, "half_life"))


@jax.jit
def _half_life(norms: Array) -> Array:
    line = fit_line(norms)
    rate = jnp.where(jnp.abs(line.change) <= line.rounding, 1.0, line.rate)
    return jnp.where(jnp.abs(line.change) <= line.rounding, jnp.inf, jnp.log(2.0) / rate)


def checked_norms(norms: Any, leaf: str | None, caller: str) -> Array:
    if isinstance(norms, Recording):
        _check_one_error(norms, caller)
        norms = gradient_norms(norms, leaf)
    elif leaf is not None:
        raise TypeError(f"leaf={leaf!r} chooses a field of a Recording, and {caller} got norms")
    if not hasattr(norms, "dtype") or not jnp.issubdtype(norms.dtype, jnp.floating):
        got = f"dtype {norms.dtype}" if hasattr(norms, "dtype") else type(norms).__name__
        raise TypeError(
            f"{caller} expects real norms [T, ...], or a record(..., last=True), got {got}: of "
            "gradients take gradient_norms(...)"
        )
    if norms.ndim < 1 or norms.shape[0] < 1:
        raise ValueError(
            f"{caller} expects norms [T, ...] with T at least 1, got shape {norms.shape}"
        )
    if not isinstance(norms, Tracer) and bool(np.any(np.asarray(norms) < 0)):
        raise ValueError(
            f"{caller} expects norms [T, ...], got {norms.shape} with negative numbers: of "
            "gradients take gradient_norms(...)"
        )
    return jnp.asarray(norms).astype(accumulation_dtype([norms]))


def _check_one_error(recording: Recording, caller: str) -> None:
    reads = recording.reads
    if reads is None or isinstance(reads, Tracer):
        return
    steps = int(np.max(np.sum(np.asarray(reads), axis=0), initial=0))
    if steps > 1:
        raise ValueError(
            f"the cost of this Recording reads {steps} steps, so that ∂C/∂h_t is a sum of the "
            f"errors of all later ones, and its size no rate at which one error travels: give "
            f"{caller} a record(..., last=True)"
        )


@jax.jit
def fit_line(norms: Array) -> Line:
    steps = norms.shape[0]
    valid = jnp.isfinite(norms) & (norms > 0)
    count = jnp.maximum(jnp.sum(valid, axis=0), 1).astype(norms.dtype)
    logs = jnp.log(jnp.where(valid, norms, 1.0))
    lags = jnp.arange(steps - 1, -1, -1, dtype=norms.dtype)
    lags = jnp.broadcast_to(lags.reshape((steps,) + (1,) * (norms.ndim - 1)), norms.shape)

    def centred(values: Array) -> Array:
        mean = jnp.sum(jnp.where(valid, values, 0.0), axis=0) / count
        return jnp.where(valid, values - mean[None], 0.0)

    spread = jnp.sum(centred(lags) ** 2, axis=0)
    slope = jnp.sum(centred(lags) * centred(logs), axis=0) / jnp.where(spread > 0, spread, 1.0)
    rate = jnp.where(spread > 0, -slope, jnp.nan)
    # Fewer than two points leave no span; the initial values keep the reductions defined.
    far = jnp.max(jnp.where(valid, lags, 0.0), axis=0)
    near = jnp.min(jnp.where(valid, lags, float(steps)), axis=0)
    rounding = 8 * jnp.finfo(norms.dtype).eps * (steps + jnp.max(jnp.abs(logs), axis=0))
    return Line(rate, rate * (far - near), rounding)
