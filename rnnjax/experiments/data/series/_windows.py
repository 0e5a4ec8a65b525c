"""Chronological split of a series into training, validation and test parts, and its windows."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from rnnjax._names import option

_CHUNK = 1 << 20  # values in memory at once
_WINDOWS = 1024  # windows of one part that are evaluated


class Series(NamedTuple):
    """A series, the boundaries of its parts, and statistics of its training part."""

    values: np.ndarray  # [N] float64, in the original unit
    valid: int  # index at which the validation part begins
    test: int  # index at which the test part begins
    mean: float  # of the training part
    scale: float  # its standard deviation
    naive: float  # mean |y_t - y_{t-m}| of the training part: the denominator of MASE

    def standardise(self, values: np.ndarray) -> np.ndarray:
        return (values - self.mean) / self.scale

    def restore(self, values: np.ndarray) -> np.ndarray:
        return values * self.scale + self.mean


def split_series(
    name: str,
    values: np.ndarray,
    *,
    window: int,
    horizon: int,
    season: int | None,
    valid_fraction: float,
    test_fraction: float,
) -> Series:
    """Split a series chronologically, and compute the statistics of its training part in chunks.

    Raises:
      ValueError: fractions that leave nothing for training, too few values, or a training part
        that is constant (or exactly periodic with the season).
    """
    if not (valid_fraction > 0 and test_fraction > 0 and valid_fraction + test_fraction < 1):
        raise ValueError(
            f"{option('valid_fraction')} and {option('test_fraction')} must be above 0 and "
            "together below 1, got "
            f"{valid_fraction} and {test_fraction}"
        )
    total = len(values)
    valid = int(total * (1 - valid_fraction - test_fraction))
    test = int(total * (1 - test_fraction))
    parts = {
        "training": (valid, window + horizon),
        "validation": (test - valid, horizon),
        "test": (total - test, horizon),
    }
    for part, (found, needed) in parts.items():
        if found < needed:
            raise ValueError(
                f"{name} is too short: of its {total} values {found} are the {part} part, which "
                f"needs {needed} with {option('window')} = {window} and {option('horizon')} = "
                f"{horizon}; make them smaller"
            )
    lag = season or 1
    mean = _mean(valid, lambda part: values[part])
    farthest = max(float(np.max(values[:valid])) - mean, mean - float(np.min(values[:valid])))
    unit = farthest or 1.0  # so that no square under- or overflows
    scale = unit * _mean(valid, lambda part: ((values[part] - mean) / unit) ** 2) ** 0.5
    naive = _mean(valid - lag, lambda part: np.abs(values[lag:][part] - values[part]))
    if scale == 0 or naive == 0:
        raise ValueError(
            f"{name} repeats itself exactly in its training part of {valid} values: there is "
            "nothing to learn"
        )
    return Series(values, valid, test, mean, scale, naive)


def format_values(values: Iterable[float], scale: float) -> list[str]:
    """Values with as many digits as tell them apart: four below the largest digit of `scale`.

    Args:
      values: any numbers.
      scale: the standard deviation of the series that they belong to.

    Example:
      >>> format_values([1e12 + 3.14159, 1e12 + 4], scale=2.5)
      ['1000000000003.1416', '1000000000004.0000']
      >>> format_values([0.00123456, 12], scale=30), format_values([1.5e-9], scale=2e-10)
      (['0.001', '12.000'], ['1.50000e-09'])
    """
    found = [float(value) for value in values]
    places = 4 - math.floor(math.log10(scale))
    largest = max(map(abs, filter(math.isfinite, found)), default=0.0)
    if places > 8 or largest >= 1e16:
        digits = max(places + math.floor(math.log10(largest or 1.0)), 0)
        return [f"{value:.{min(digits, 16)}e}" for value in found]
    return [f"{value:.{max(places, 0)}f}" for value in found]


def _mean(count: int, term: Callable[[slice], np.ndarray]) -> float:
    """The mean of `count` terms, computed in chunks."""
    parts = (slice(at, min(at + _CHUNK, count)) for at in range(0, count, _CHUNK))
    return sum(float(np.sum(term(part))) for part in parts) / count


def extract_windows(series: Series, origins: np.ndarray, window: int, horizon: int) -> np.ndarray:
    """Standardised values around each forecast origin, `[window + horizon, B]`.

    An origin is the index of the first value to forecast; the window before it may reach into an
    earlier part.
    """
    steps = np.arange(-window, horizon)[:, None]
    return series.standardise(np.asarray(series.values[origins[None] + steps]))


def forecast_origins(first: int, last: int, horizon: int) -> np.ndarray:
    """Origins whose targets lie in first … last - 1: all, or 1,024 evenly spaced."""
    count = last - horizon - first + 1
    return first + np.unique(np.linspace(0, count - 1, min(count, _WINDOWS)).round().astype(int))
