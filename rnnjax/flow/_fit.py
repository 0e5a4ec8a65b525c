"""How fast one error shrinks or grows on its way back: `half_life`, and `verdict` in words."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._types import Array
from rnnjax.flow._norms import gradient_norms
from rnnjax.flow._record import Recording
from rnnjax.running import accumulation_dtype

_MAJORITY = 0.75  # share of the examples that a label needs


class Verdict(NamedTuple):
    """Whether one error vanishes, explodes or stays constant, and how fast; made by `verdict`.

    `print` it for a sentence.
    """

    label: str  # "vanishes", "constant", "explodes" or "mixed"
    half_life: float  # steps; negative: the doubling time; inf: constant
    log10_ratio: float  # log10 of ‖∂C/∂h_1‖ / ‖∂C/∂h_T‖, median over examples
    rate: float  # λ, nats lost for each step back in time, median; negative: gained
    spread: float  # of the rates of the middle half of the examples, nats a step

    def __str__(self) -> str:
        span = f"‖∂C/∂h_1‖ is 10^{self.log10_ratio:.1f} times ‖∂C/∂h_T‖"
        if np.isinf(self.log10_ratio):
            span = "‖∂C/∂h_1‖ is zero" if self.log10_ratio < 0 else "some norms are not finite"
        if self.label == "constant" or not np.isfinite(self.rate):
            return f"{self.label}: {span}"
        verb = "halves" if self.rate > 0 else "doubles"
        rate = f"{verb} every {abs(self.half_life):.3g} steps back in time"
        if self.label == "mixed":
            rate = f"λ = {self.rate:.2g} nats a step, over examples spread by {self.spread:.2g}"
        return f"{self.label}: {rate}; {span}"


class _Line(NamedTuple):
    """The least-squares line ln norm = a - rate (T - t)."""

    rate: Array  # [...] nats a step; NaN with fewer than two points
    change: Array  # [...] rate times the steps from the first to the last point
    rounding: Array  # [...] a |change| up to this is rounding error


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
    return _half_life(_checked(norms, leaf, "half_life"))


@jax.jit
def _half_life(norms: Array) -> Array:
    line = _fit(norms)
    rate = jnp.where(jnp.abs(line.change) <= line.rounding, 1.0, line.rate)
    return jnp.where(jnp.abs(line.change) <= line.rounding, jnp.inf, jnp.log(2.0) / rate)


def verdict(
    norms: Array | Recording, *, leaf: str | None = None, tolerance: float = 0.01
) -> Verdict:
    """Classify how one error travels back in time: vanishing, exploding or constant.

    By the rate λ of `half_life`, in nats a step, so that it does not depend on the length of the
    sequence. Each example has its own rate, and three quarters of the examples must agree:

        "vanishes"   λ > tolerance
        "explodes"   λ < -tolerance
        "constant"   |λ| ≤ tolerance
        "mixed"      there is no such majority

    In an example whose norm is exactly zero at t = 1 and not at the end, and does not shrink in
    between, the error was cut off: it vanishes, λ = ∞. With norms that are not finite it explodes,
    λ = -∞.

    Args:
      norms: a `record(..., last=True)`; or the norms ‖∂C/∂h_t‖ of one error for t = 1 … T, `[T]`
        or `[T, ...]` with examples. Examples with fewer than two steps, or without any gradient,
        are left out. Concrete values: not for use inside `jit`.
      leaf: of a `Recording`, the field of the carry; None for all.
      tolerance: the largest rate that counts as constant. 0.01 is a half-life of 69 steps.

    Returns:
      A `Verdict(label, half_life, log10_ratio, rate, spread)`: rate and log10_ratio are medians
      over examples, the half-life is ln 2 / rate, the spread is the interquartile range of the
      rates. With padding, T of the ratio is each example's own last step. `str` of it is a
      sentence.

    Raises:
      TypeError: what are no real norms.
      ValueError: norms without a time axis, negative numbers, no example with a gradient over two
        steps or more, or a `Recording` of a cost that reads more than one step.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> print(rnnjax.flow.verdict(0.5 ** (jnp.arange(10, 0, -1) / 3.0)))
      vanishes: halves every 3 steps back in time; ‖∂C/∂h_1‖ is 10^-0.9 times ‖∂C/∂h_T‖

    References:
      Hochreiter (1991), Untersuchungen zu dynamischen neuronalen Netzen, TU München.
      Bengio, Simard & Frasconi (1994), Learning long-term dependencies with gradient descent
      is difficult, IEEE Transactions on Neural Networks 5.
    """
    checked = _checked(norms, leaf, "verdict")
    table = np.asarray(checked).reshape(checked.shape[0], -1)
    last = table.shape[0] - 1 - np.argmax(table[::-1] != 0, axis=0)
    table, last = table[:, table.any(axis=0) & (last > 0)], last[table.any(axis=0) & (last > 0)]
    if table.size == 0:
        raise ValueError(
            f"no example of the norms {checked.shape} has a gradient over two steps or more: the "
            "cost does not depend on the state, or T = 1. Pass norms of ∂C/∂h_t for a cost of the "
            "last state or of the last output"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log10(table[0]) - np.log10(table[last, np.arange(table.shape[1])])
    ratios = np.where(np.isfinite(table).all(axis=0), ratios, np.inf)
    rates = _rates(table, tolerance)
    rate, ratio = _middle(rates), _middle(ratios)
    low, high = (float(np.quantile(rates, q, method="nearest")) for q in (0.25, 0.75))
    return Verdict(
        _label(rates, tolerance),
        float(np.log(2)) / rate if rate else np.inf,
        ratio,
        rate,
        0.0 if low == high else high - low,
    )


def _rates(table: np.ndarray, tolerance: float) -> np.ndarray:
    """The rate of each example in nats a step, ±inf where the error is cut off or overflows."""
    rates, changes, rounding = (np.array(x, np.float64) for x in _fit(jnp.asarray(table)))
    rates[np.abs(changes) <= rounding] = 0.0
    cut = (table[0] == 0) & ~(rates > tolerance)
    return np.where(np.isfinite(table).all(axis=0), np.where(cut, np.inf, rates), -np.inf)


def _middle(values: np.ndarray) -> float:
    """The median, also of infinities."""
    low, high = (float(np.quantile(values, 0.5, method=m)) for m in ("lower", "higher"))
    return low if low == high or np.isinf(low) else high if np.isinf(high) else (low + high) / 2


def _label(rates: np.ndarray, tolerance: float) -> str:
    shares = {
        "vanishes": np.mean(rates > tolerance),
        "explodes": np.mean(rates < -tolerance),
        "constant": np.mean(np.abs(rates) <= tolerance),
    }
    label = max(shares, key=lambda name: shares[name])
    return label if shares[label] >= _MAJORITY else "mixed"


def _checked(norms: Any, leaf: str | None, caller: str) -> Array:
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
def _fit(norms: Array) -> _Line:
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
    return _Line(rate, rate * (far - near), rounding)
