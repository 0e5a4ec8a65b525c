"""The Mackey-Glass equation: a chaotic benchmark series."""

from functools import lru_cache

import numpy as np

from rnnjax._arguments import check_positive_int, checked_arguments

_SUBSTEPS = 10


@checked_arguments
@lru_cache(maxsize=4)
def mackey_glass(length: int, delay: int = 17) -> np.ndarray:
    """The Mackey-Glass series, solution of a delay differential equation.

        dx/dt = 0.2 x(t-τ) / (1 + x(t-τ)¹⁰) - 0.1 x(t)

    Integrated from x = 1.2 by fourth-order Runge-Kutta in steps of 0.1, sampled once per unit of
    time after a transient of 300.

    Args:
      length: N.
      delay: τ; 17 is mildly chaotic.

    Returns:
      `[N]` float64.

    Example:
      >>> mackey_glass(3).round(3).tolist()
      [1.094, 1.035, 0.975]

    References:
      Mackey & Glass (1977), Oscillation and chaos in physiological control systems, Science 197.
    """
    check_positive_int("length", length)
    check_positive_int("delay", delay)
    h, lag, skipped = 1 / _SUBSTEPS, delay * _SUBSTEPS, 300
    x = [1.2] * (lag + 1)
    for _ in range((skipped + length) * _SUBSTEPS):
        now, old, next_old = x[-1], x[-1 - lag], x[-lag]
        made = [0.2 * d / (1 + d**10) for d in (old, (old + next_old) / 2, next_old)]
        k1 = made[0] - 0.1 * now
        k2 = made[1] - 0.1 * (now + h / 2 * k1)
        k3 = made[1] - 0.1 * (now + h / 2 * k2)
        k4 = made[2] - 0.1 * (now + h * k3)
        x.append(now + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    series = np.array(x[lag + 1 :])[_SUBSTEPS - 1 :: _SUBSTEPS]
    series = series[skipped:]
    series.flags.writeable = False
    return series
