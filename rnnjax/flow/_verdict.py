"""`verdict`: whether one error vanishes, explodes or stays, over examples, and how sure that is."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from rnnjax._checks import known_values
from rnnjax._types import Array
from rnnjax.flow._fit import checked_norms, fit_line
from rnnjax.flow._float64 import keeping_float64
from rnnjax.flow._intervals import median_interval, share_interval
from rnnjax.flow._record import Recording

_MAJORITY = 0.75  # share of the examples that a label needs
_ZERO = "‖∂C/∂h_1‖ is exactly zero (no path leads so far back, or it underflows)"


class Verdict(NamedTuple):
    """Whether one error vanishes, explodes or stays constant, and how fast; made by `verdict`.

    `print` it for a sentence.
    """

    label: str  # "vanishes", "constant", "explodes" or "mixed"
    half_life: float  # steps; negative: the doubling time; inf: constant
    log10_ratio: float  # log10 of ‖∂C/∂h_1‖ / ‖∂C/∂h_T‖, median over examples
    rate: float  # λ, nats lost for each step back in time, median; negative: gained
    spread: float  # of the rates of the middle half of the examples, nats a step
    rate_interval: tuple[float, float] = (-np.inf, np.inf)  # 95 %, of the median rate
    share: float = np.nan  # of the examples that the label fits; "mixed": the most frequent one
    share_interval: tuple[float, float] = (0.0, 1.0)  # 95 %
    examples: int = 0  # that were judged

    @property
    def is_settled(self) -> bool:
        """Whether the interval of the share lies on one side of three quarters."""
        low, high = self.share_interval
        return high < _MAJORITY if self.label == "mixed" else low > _MAJORITY

    def __str__(self) -> str:
        return self._sentence() + self._confidence()

    def _confidence(self) -> str:
        """How many of several examples agree, and of how many more that would hold."""
        if self.examples < 2:
            return ""
        low, high = (f"{100 * share:.0f}" for share in self.share_interval)
        count = round(self.share * self.examples)
        most = "at most " if self.label == "mixed" else ""
        return (
            f"; {most}{count} of {self.examples} examples agree (95 % interval: {low} to {high} %)"
        )

    def _sentence(self) -> str:
        span = f"‖∂C/∂h_1‖ is 10^{self.log10_ratio:.1f} times ‖∂C/∂h_T‖"
        if np.isinf(self.log10_ratio):
            span = _ZERO if self.log10_ratio < 0 else "some norms are not finite"
        if self.label == "constant" or not np.isfinite(self.rate):
            return f"{self.label}: {span}"
        verb = "halves" if self.rate > 0 else "doubles"
        rate = f"{verb} every {abs(self.half_life):.3g} steps back in time"
        if self.label == "mixed":
            rate = f"λ = {self.rate:.2g} nats a step, over examples spread by {self.spread:.2g}"
        return f"{self.label}: {rate}; {span}"


@keeping_float64
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
    λ = -∞. Medians and shares take such examples as any other, so a few dead ones change nothing.

    The log10 ratio is -∞ where the norm at t = 1 is exactly zero in most examples: behind inactive
    ReLU units, a reset or a cut, or where it is below the smallest number of its dtype
    (10⁻⁴⁵ in float32, 10⁻³²⁴ in float64).

    Two 95 % intervals say how far the verdict would hold for further examples like these: that of
    the share of examples that the label fits (Clopper & Pearson), and that of the median rate,
    between two order statistics. Both follow from the binomial distribution, so they are right for
    few examples, any distribution of rates and infinite ones, where a bootstrap is not. Where the
    interval of the share lies on one side of three quarters, the label `is_settled`: that takes 13
    examples that all agree.

    Args:
      norms: a `record(..., last=True)`; or the norms ‖∂C/∂h_t‖ of one error for t = 1 … T, `[T]`
        or `[T, ...]` with examples. Examples with fewer than two steps, or without any gradient,
        are left out. Concrete values: not for use inside `jit`.
      leaf: of a `Recording`, the field of the carry; None for all.
      tolerance: the largest rate that counts as constant. 0.01 is a half-life of 69 steps.

    Returns:
      A `Verdict`: rate and log10_ratio are medians over examples, the half-life is ln 2 / rate,
      the spread is the interquartile range of the rates, and the intervals are as above. With
      padding, T of the ratio is each example's own last step. `str` of it is a sentence.

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
      Clopper & Pearson (1934), The use of confidence or fiducial limits illustrated in the case
      of the binomial, Biometrika 26.
    """
    checked = checked_norms(norms, leaf, "verdict")
    table = known_values("verdict", checked).reshape(checked.shape[0], -1)
    last = table.shape[0] - 1 - np.argmax(table[::-1] != 0, axis=0)
    table, last = table[:, table.any(axis=0) & (last > 0)], last[table.any(axis=0) & (last > 0)]
    if checked.size == 0:
        raise ValueError(f"the norms {checked.shape} are of no examples: give at least one")
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
    label, count = _label(rates, tolerance)
    return Verdict(
        label,
        float(np.log(2)) / rate if rate else np.inf,
        ratio,
        rate,
        0.0 if low == high else high - low,
        median_interval(rates),
        count / len(rates),
        share_interval(count, len(rates)),
        len(rates),
    )


def _rates(table: np.ndarray, tolerance: float) -> np.ndarray:
    """The rate of each example in nats a step, ±inf where the error is cut off or overflows."""
    rates, changes, rounding = (np.array(x, np.float64) for x in fit_line(jnp.asarray(table)))
    rates[np.abs(changes) <= rounding] = 0.0
    cut = (table[0] == 0) & ~(rates > tolerance)
    return np.where(np.isfinite(table).all(axis=0), np.where(cut, np.inf, rates), -np.inf)


def _middle(values: np.ndarray) -> float:
    """The median, also of infinities."""
    low, high = (float(np.quantile(values, 0.5, method=m)) for m in ("lower", "higher"))
    return low if low == high or np.isinf(low) else high if np.isinf(high) else (low + high) / 2


def _label(rates: np.ndarray, tolerance: float) -> tuple[str, int]:
    """The label, and how many examples the most frequent one fits."""
    counts = {
        "vanishes": int(np.sum(rates > tolerance)),
        "explodes": int(np.sum(rates < -tolerance)),
        "constant": int(np.sum(np.abs(rates) <= tolerance)),
    }
    label = max(counts, key=lambda name: counts[name])
    enough = counts[label] >= _MAJORITY * len(rates)
    return label if enough else "mixed", counts[label]
