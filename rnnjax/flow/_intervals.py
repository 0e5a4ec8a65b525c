"""Confidence intervals over examples that hold for any distribution of the rates.

Both are binomial. A bootstrap would only be right for many examples, would differ from run to run,
and has no means of infinite rates; counting how many examples lie on one side needs none of it.
"""

from math import comb

import numpy as np

LEVEL = 0.95


def share_interval(count: int, total: int) -> tuple[float, float]:
    """Clopper & Pearson's interval of a share of which `count` of `total` examples were counted."""
    from scipy.special import betaincinv  # a dependency of JAX's

    tail = (1 - LEVEL) / 2
    low = betaincinv(count, total - count + 1, tail) if count > 0 else 0.0
    high = betaincinv(count + 1, total - count, 1 - tail) if count < total else 1.0
    return float(low), float(high)


def median_interval(values: np.ndarray) -> tuple[float, float]:
    """An interval of the median between two of the values: the number below it is Bin(n, ½).

    The whole line for fewer than six values, which no two of them bound with this confidence.
    """
    ordered, total = np.sort(values), len(values)
    tail, outside = 0.0, 0  # P(at most `outside` - 1 values lie below the median)
    while outside < total and tail + comb(total, outside) / 2**total <= (1 - LEVEL) / 2:
        tail += comb(total, outside) / 2**total
        outside += 1
    if outside == 0:
        return -np.inf, np.inf
    return float(ordered[outside - 1]), float(ordered[total - outside])
