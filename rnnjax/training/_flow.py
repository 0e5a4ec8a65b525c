"""How the error of a trained or untrained classifier flows back through its cell."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from rnnjax import flow
from rnnjax._types import Array, Carry, Cell
from rnnjax.training._classifier import Classifier, ClassifierParams, cross_entropy


class FlowMeasures(NamedTuple):
    norms: np.ndarray  # [T, examples] ‖∂C/∂h_t‖ of each example's own cost
    verdict: flow.Verdict
    lyapunov: float  # largest exponent, nats a step
    lags: np.ndarray  # [L]
    log_singular_values: np.ndarray  # [L, S] natural log, of ∂s_T/∂s_{T-lag} for one example
    sensitivity: np.ndarray  # [T, T] ‖∂y_t/∂x_k‖ for one example


def measure_flow(
    cell: Cell, net: Classifier, params: ClassifierParams, xs: Array, labels: Array
) -> FlowMeasures:
    """Measure the gradient flow of a many-to-one classifier on a few examples.

    Args:
      cell: the cell of `net`; its carry has a field `h`.
      net: the classifier.
      params: its params.
      xs: inputs `[T, B, D]`. All B go into the gradient norms and the Lyapunov exponent, the
        first alone into the singular values and the sensitivity map.
      labels: their classes `[B]`.
    """
    recording = flow.record(cell, params.cell, xs, _sum_of_costs(net, params, labels))
    norms = flow.gradient_norms(recording.carry_ct, "h")
    exponents = flow.lyapunov_spectrum(cell, params.cell, xs, 1)
    one = xs[:, 0]
    values = flow.log_singular_values(flow.jacobians(cell, params.cell, one))
    return FlowMeasures(
        np.asarray(norms),
        _verdict(norms),
        float(jnp.mean(exponents)),
        np.asarray(values.lags),
        np.asarray(values.logs),
        np.asarray(flow.sensitivity(cell, params.cell, one)),
    )


def _sum_of_costs(
    net: Classifier, params: ClassifierParams, labels: Array
) -> Callable[[Carry, Array], Array]:
    """The examples' costs added up, so that each one's gradient is that of its own cost."""

    def cost(carry: Carry, ys: Array) -> Array:
        del carry
        return jnp.sum(cross_entropy(net.head(params, ys[-1]), labels))

    return cost


def _verdict(norms: Array) -> flow.Verdict:
    if not np.any(np.asarray(norms)):  # the cost is exactly zero, or no unit is active
        return flow.Verdict("no gradient", math.nan, math.nan, math.nan)
    return flow.verdict(norms)
