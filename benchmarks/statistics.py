"""The few statistics that results are made of."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Summary(NamedTuple):
    """Times of one program, in milliseconds."""

    median_ms: float
    min_ms: float
    q1_ms: float
    q3_ms: float
    rounds: int


def summary(seconds: Sequence[float]) -> Summary:
    """Median, minimum and quartiles: a mean would follow the few rounds that were disturbed."""
    q1, median, q3 = (float(q) * 1e3 for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return Summary(median, min(seconds) * 1e3, q1, q3, len(seconds))


def speedup(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times faster ours is: the median over rounds of their time over ours.

    Both numbers of a ratio come from the same round, so what slows a round down drops out.
    """
    return float(np.median(np.divide(theirs, ours)))


def geometric_mean(ratios: Sequence[float]) -> float:
    """The mean of ratios under which twice as fast and half as fast make 1; NaN of nothing."""
    return float(np.exp(np.mean(np.log(ratios)))) if len(ratios) else float("nan")


class Fit(NamedTuple):
    """y ≈ factor · x^exponent."""

    exponent: float
    factor: float
    points: int


def fit_power(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Least squares in log-log over the larger half of the points, at least three.

    Small sizes are ruled by what a call costs at all, so the larger half shows the growth.
    Points that are not finite and positive are left out; with fewer than two the fit is NaN.
    """
    points = np.array(sorted(zip(x, y, strict=True)), dtype=float).reshape(-1, 2)
    points = points[np.all(np.isfinite(points) & (points > 0), axis=1)]
    points = points[-max(3, (len(points) + 1) // 2) :]
    if len(points) < 2:
        return Fit(float("nan"), float("nan"), len(points))
    log_x, log_y = np.log(points).T
    exponent, offset = np.polyfit(log_x, log_y, 1)
    return Fit(float(exponent), float(np.exp(offset)), len(points))
