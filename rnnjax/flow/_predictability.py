"""`predictability`: whether a recurrence can be run in parallel over time."""

from typing import Any, NamedTuple

import numpy as np

from rnnjax._checks import known_values
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.flow._cell import check_some
from rnnjax.flow._float64 import in_float64
from rnnjax.flow._lyapunov import measured


class Predictability(NamedTuple):
    """Whether nearby states converge or diverge, and what that means for `deer()`.

    `print` it for a sentence.
    """

    label: str  # "converges", "diverges", "neutral", or "unknown" where a Jacobian is not finite
    exponent: float  # λ_1, nats a step; of the example with the largest
    steps: int  # of that example, that λ_1 is the mean over: T without burn-in and padding

    def __str__(self) -> str:
        rate = f"λ_1 = {self.exponent:+.2g} nats a step"
        if self.label == "unknown":
            return (
                "λ_1 = NaN: the states or their derivatives are not finite somewhere along the "
                "run, so nothing is known: look at unroll(..., return_carries=True)"
            )
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
    lengths: Array | None = None,
    resets: Array | None = None,
    mask: Array | None = None,
) -> Predictability:
    """Whether Newton's method over time, `rnnjax.deer()`, can pay: by the sign of λ_1.

    The condition of the problem that it solves grows as exp(λ_1 T) with the largest Lyapunov
    exponent. Negative, errors of the guess die out within a few steps, and the number of iterations
    hardly depends on T; positive, they explode, and only the steps that are exact already help: one
    more with each iteration. Measured along the sequential trajectory, one tangent a step.

    Args:
      cell, params, xs, carry, key, burn_in, lengths, resets, mask: as for
        `rnnjax.flow.lyapunov_spectrum`.

    Returns:
      A `Predictability(label, exponent, steps)`; "neutral" where |λ_1| < 1/steps, the error of the
      estimate; "unknown" where an exponent is NaN. Of a batch, the largest exponent counts: the
      slowest example decides, of those with a step beyond the burn-in. Concrete values: not for use
      inside `jit`.

    Raises:
      TypeError, ValueError: as `rnnjax.flow.lyapunov_spectrum`; traced values, no examples, or none
        with a step beyond the burn-in.

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
    options = mask, carry, key, lengths, resets
    exponents, counted = _of_examples(cell, params, xs, burn_in, options)
    instead = ", or use rnnjax.flow.lyapunov_spectrum(cell, params, xs, 1)"
    found = known_values("predictability", exponents, instead).reshape(-1)
    counts = np.asarray(counted).reshape(-1)
    check_some(1, np.shape(exponents)[:-1])
    if not counts.any():
        raise ValueError(
            f"no example has a step beyond burn_in = {burn_in}, so that there is nothing to "
            "measure: give longer sequences or episodes, or a smaller burn_in"
        )
    found, counts = found[counts > 0], counts[counts > 0]
    at = int(np.argmax(found))  # the first NaN, if there is one
    largest, steps = float(found[at]), int(counts[at])
    if np.isnan(largest):
        return Predictability("unknown", largest, steps)
    label = "converges" if largest <= -1 / steps else "diverges"
    return Predictability("neutral" if abs(largest) < 1 / steps else label, largest, steps)


@in_float64
def _of_examples(
    cell: Cell, params: Params, xs: PyTree, burn_in: int, options: tuple[Any, ...]
) -> tuple[Array, Array]:
    """λ_1 of each example `[..., 1]`, and the number of its steps `[...]`."""
    return measured(cell, params, xs, 1, burn_in, *options)
