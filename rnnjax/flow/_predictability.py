"""`predictability`: whether a recurrence can be run in parallel over time."""

from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax._checks import arrays_of, known_values
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.flow._cell import check_some
from rnnjax.flow._lyapunov import lyapunov_spectrum


class Predictability(NamedTuple):
    """Whether nearby states converge or diverge, and what that means for `deer()`.

    `print` it for a sentence.
    """

    label: str  # "converges", "diverges" or "neutral"
    exponent: float  # λ_1, nats a step; of the example with the largest
    steps: int  # T

    def __str__(self) -> str:
        rate = f"λ_1 = {self.exponent:+.2g} nats a step"
        if self.label == "converges":
            half = f"they halve their distance every {np.log(2) / -self.exponent:.3g} steps"
            return (
                f"{rate}: nearby states converge, {half}: the iterations of deer() hardly grow "
                "with T, and it pays on a device that runs all steps side by side"
            )
        if self.label == "neutral":
            return (
                f"{rate}: nearby states neither converge nor diverge over {self.steps} steps: try "
                "deer(), and look at rnnjax.methods.solve(...).iterations"
            )
        growth = self.exponent * self.steps / np.log(10)
        return (
            f"{rate}: nearby states diverge, by 10^{growth:.1f} over {self.steps} steps: the "
            "iterations of deer() grow with T, up to T of them, and no damping helps: use "
            "sequential()"
        )


def predictability(
    cell: Cell,
    params: Params,
    xs: PyTree,
    *,
    carry: Carry | None = None,
    key: Array | None = None,
    burn_in: int = 0,
) -> Predictability:
    """Whether Newton's method over time, `rnnjax.deer()`, can pay: by the sign of λ_1.

    The condition of the problem that it solves grows as exp(λ_1 T) with the largest Lyapunov
    exponent. Negative, errors of the guess die out within a few steps, and the number of iterations
    hardly depends on T; positive, they explode, and only the steps that are exact already help: one
    more with each iteration. Measured along the sequential trajectory, one tangent a step.

    Args:
      cell, params, xs, carry, key, burn_in: as for `rnnjax.flow.lyapunov_spectrum`.

    Returns:
      A `Predictability(label, exponent, steps)`; "neutral" where |λ_1| < 1/T, the error of the
      estimate. Of a batch, the largest exponent counts: the slowest example decides. Concrete
      values: not for use inside `jit`.

    Raises:
      TypeError, ValueError: as `rnnjax.flow.lyapunov_spectrum`; traced values, or no examples.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.gru(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> rnnjax.flow.predictability(cell, params, jax.numpy.ones((100, 3))).label
      'converges'

    References:
      Gonzalez, Kozachkov, Zoltowski, Clarkson & Linderman (2025), Predictability enables
      parallelization of nonlinear state space models, NeurIPS.
    """
    given: Any = {"carry": carry, "key": key, "burn_in": burn_in}
    exponents: Array = lyapunov_spectrum(cell, params, xs, 1, **given)
    instead = ", or use rnnjax.flow.lyapunov_spectrum(cell, params, xs, 1)"
    found = known_values("predictability", exponents, instead)
    steps = jax.tree.leaves(arrays_of(xs))[0].shape[0] - burn_in
    check_some(steps, found.shape[:-1])
    largest = float(np.max(found))
    label = "converges" if largest <= -1 / steps else "diverges"
    return Predictability("neutral" if abs(largest) < 1 / steps else label, largest, steps)
