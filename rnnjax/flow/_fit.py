"""Summaries of a sequence of gradient norms: `half_life`, and `verdict` in words."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import is_inexact
from rnnjax._types import Array
from rnnjax.running import accumulation_dtype


class Verdict(NamedTuple):
    """Whether a gradient vanishes, explodes or stays constant, and how fast; made by `verdict`.

    `print` it for a sentence.
    """

    label: str  # "vanishes", "constant" or "explodes"
    half_life: float  # steps; negative: the doubling time; inf: constant
    log10_ratio: float  # log10 of ‖∂C/∂h_1‖ / ‖∂C/∂h_T‖
    rate: float  # nats lost for each step back in time; negative: gained

    def __str__(self) -> str:
        span = f"‖∂C/∂h_1‖ is 10^{self.log10_ratio:.1f} times ‖∂C/∂h_T‖"
        if np.isinf(self.log10_ratio):
            span = "‖∂C/∂h_1‖ is zero" if self.log10_ratio < 0 else "some norms are not finite"
        if self.label == "constant" or not np.isfinite(self.rate):
            return f"{self.label}: {span}"
        verb = "halves" if self.rate > 0 else "doubles"
        return f"{self.label}: {verb} every {abs(self.half_life):.3g} steps back in time; {span}"


class _Line(NamedTuple):
    """The least-squares line ln norm = a - rate (T - t)."""

    rate: Array  # [...] nats a step; NaN with fewer than two points
    change: Array  # [...] rate times the steps from the first to the last point
    rounding: Array  # [...] a |change| up to this is rounding error


def half_life(norms: Array) -> Array:
    """The number of steps back in time over which the error signal halves.

        half-life = ln 2 / λ,    ln ‖∂C/∂h_t‖ ≈ a - λ (T - t)

    λ is fitted by least squares to all finite, positive norms, so that padding, where the
    gradient is zero, does not count.

    Args:
      norms: ‖∂C/∂h_t‖ for t = 1 … T, `[T, ...]`, as from `gradient_norms`.

    Returns:
      Half-lives `[...]` in steps. Negative where the signal grows on its way back: then it
      doubles in that many steps. +inf where it changes by no more than rounding over the
      sequence, NaN where fewer than two norms are positive and finite.

    Raises:
      TypeError: norms that are not floating point.
      ValueError: norms without a time axis.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> norms = 0.5 ** (jnp.arange(10, 0, -1) / 3.0)     # halves every 3 steps back
      >>> round(float(rnnjax.flow.half_life(norms)), 3)
      3.0
    """
    return _half_life(_checked(norms, "half_life"))


@jax.jit
def _half_life(norms: Array) -> Array:
    line = _fit(norms)
    rate = jnp.where(jnp.abs(line.change) <= line.rounding, 1.0, line.rate)
    return jnp.where(jnp.abs(line.change) <= line.rounding, jnp.inf, jnp.log(2.0) / rate)


def verdict(norms: Array) -> Verdict:
    """Classify a sequence of gradient norms: vanishing, exploding or constant.

    The rate λ of `half_life` is averaged over examples, which averages the logarithms of norms.
    The label depends on the total change of the fitted line over the sequence:

        "vanishes"   the norm shrinks by a factor of 2 or more on its way back
        "explodes"   the norm grows by a factor of 2 or more on its way back
        "constant"   neither

    A gradient that is exactly zero at t = 1 and not at the end has vanished; norms that are not
    finite have exploded.

    Args:
      norms: ‖∂C/∂h_t‖ for t = 1 … T, `[T]` or `[T, ...]` with examples. Examples without any
        gradient (of length 0) are left out. Concrete values: not for use inside `jit`.

    Returns:
      A `Verdict(label, half_life, log10_ratio, rate)`; half_life in steps, rate in nats a step.
      With padding, T of the ratio is each example's own last step. `str` of it is a sentence.

    Raises:
      TypeError: norms that are not floating point.
      ValueError: norms without a time axis, or zero everywhere.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> print(rnnjax.flow.verdict(0.5 ** (jnp.arange(10, 0, -1) / 3.0)))
      vanishes: halves every 3 steps back in time; ‖∂C/∂h_1‖ is 10^-0.9 times ‖∂C/∂h_T‖

    References:
      Hochreiter (1991), Untersuchungen zu dynamischen neuronalen Netzen, TU München.
      Bengio, Simard & Frasconi (1994), Learning long-term dependencies with gradient descent
      is difficult, IEEE Transactions on Neural Networks 5.
    """
    norms = _checked(norms, "verdict")
    table = np.asarray(norms).reshape(norms.shape[0], -1)
    table = table[:, np.any(table != 0, axis=0)]
    if table.size == 0:
        raise ValueError(
            "all norms are zero: the cost does not depend on the state, so there is no gradient "
            "to classify. Pass norms of ∂C/∂h_t for a cost of the last state or of the outputs"
        )
    if not np.all(np.isfinite(table)):
        return Verdict("explodes", 0.0, np.inf, -np.inf)
    last = table.shape[0] - 1 - np.argmax(table[::-1] > 0, axis=0)
    with np.errstate(divide="ignore"):
        ratios = np.log10(table[0]) - np.log10(table[last, np.arange(table.shape[1])])
    ratio = float(np.mean(ratios))
    rates, changes, rounding = (np.asarray(x) for x in _fit(jnp.asarray(table)))
    fitted = ~np.isnan(rates)
    if not fitted.any():
        gone = ratio == -np.inf
        return Verdict(
            *(("vanishes", 0.0, ratio, np.inf) if gone else ("constant", np.inf, 0.0, 0.0))
        )
    rate, change = float(rates[fitted].mean()), float(changes[fitted].mean())
    life = np.inf if abs(change) <= rounding[fitted].max() else float(np.log(2)) / rate
    return Verdict(_label(change, ratio), life, ratio, rate)


def _label(change: float, log10_ratio: float) -> str:
    if log10_ratio == -np.inf or change >= np.log(2):
        return "vanishes"
    return "explodes" if change <= -np.log(2) else "constant"


def _checked(norms: Array, caller: str) -> Array:
    norms = jnp.asarray(norms)
    if not is_inexact(norms):
        raise TypeError(
            f"{caller} expects floating-point norms [T, ...], got dtype {norms.dtype}: pass "
            "gradient_norms(record(...))"
        )
    if norms.ndim < 1 or norms.shape[0] < 1:
        raise ValueError(
            f"{caller} expects norms [T, ...] with T at least 1, got shape {norms.shape}"
        )
    return norms.astype(accumulation_dtype([norms]))


@jax.jit
def _fit(norms: Array) -> _Line:
    steps = norms.shape[0]
    valid = jnp.isfinite(norms) & (norms > 0)
    count = jnp.maximum(jnp.sum(valid, axis=0), 1)
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
    return _Line(rate, rate * (far - near), rounding)
