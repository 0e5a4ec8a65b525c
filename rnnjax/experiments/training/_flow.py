"""Gradient flow through the recurrent cell of a task: norms, Jacobians, sensitivity, verdict."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from rnnjax import flow
from rnnjax._arguments import check_positive_int, checked_arguments
from rnnjax._types import Array, Cell, Params
from rnnjax.experiments.tasks import Recurrence

_LONGEST = 256  # steps that Jacobians and sensitivity maps are computed for


class FlowMeasures(NamedTuple):
    """Gradient flow through a cell at given params."""

    norms: np.ndarray  # [T, examples] ‖∂C/∂h_t‖, C the cost of each example's last output
    verdict: flow.Verdict
    lyapunov: float  # largest Lyapunov exponent, nats per step
    lags: np.ndarray  # [L]
    log_singular_values: np.ndarray  # [L, S] natural log, of ∂s_T/∂s_{T-lag} for one example
    sensitivity: np.ndarray  # [T, T] ‖∂y_t/∂x_k‖ for one example
    paths: Mapping[str, np.ndarray] = MappingProxyType({})
    """[T, examples] ‖∂C/∂c_t‖ (h_t of a GRU), and of its parts by `flow.paths`; else empty."""


@checked_arguments
def measure_flow(net: Recurrence, examples: int) -> FlowMeasures:
    """Measure the gradient flow through the recurrent cell of a task.

    The norms and the verdict are those of one error, that of the last output which the cost reads:
    with targets at every step, ∂C/∂h_t would be a sum of errors, whose size is no sign of what
    happens to any of them. If sequences differ in length, only the longest of the batch are
    measured, so that each lag belongs to one step.

    Args:
      net: what `Task.recurrence` returns; the carry of its cell has a field `h`.
      examples: how many at most. Singular values and the sensitivity map are those of the first
        example alone, over its first 256 steps.
    """
    check_positive_int("examples", examples)
    recording = flow.record(net.cell, net.params, net.xs, net.cost, lengths=net.lengths, last=True)
    norms, reads = flow.gradient_norms(recording, "h"), np.asarray(recording.reads)
    xs, longest = jnp.asarray(net.xs), norms.shape[0]
    chosen = np.arange(norms.shape[1])
    if net.lengths is not None:
        lengths = np.asarray(net.lengths)
        longest = int(lengths.max())
        chosen = np.flatnonzero(lengths == longest)
    chosen = chosen[:examples]
    read = np.flatnonzero(reads[:, chosen].any(axis=1))
    end = read[-1] + 1 if read.size else longest
    measures = _measures(net.cell, net.params, norms[:end, chosen], xs[:longest, chosen])
    return measures._replace(paths=_paths(net, end, chosen))


def _paths(net: Recurrence, end: int, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """‖∂C/∂m_t‖ `[T, examples]`, m the cell's memory, whole and by the gate it left through."""
    if not flow.gates(net.cell):
        return {}
    found = flow.paths(net.cell, net.params, net.xs, net.cost, lengths=net.lengths, last=True)
    every = {"whole": found.recording, **found.parts}
    return {
        name: np.asarray(flow.gradient_norms(part, found.memory))[:end, chosen]
        for name, part in every.items()
    }


def _measures(cell: Cell, params: Params, norms: Array, xs: Array) -> FlowMeasures:
    """From norms `[T, B]` and inputs `[T, B, D]`."""
    one = xs[:_LONGEST, 0]
    values = flow.log_singular_values(flow.jacobians(cell, params, one))
    return FlowMeasures(
        np.asarray(norms),
        _verdict(norms),
        float(jnp.mean(flow.lyapunov_spectrum(cell, params, xs, 1))),
        np.asarray(values.lags),
        np.asarray(values.logs),
        np.asarray(flow.sensitivity(cell, params, one)),
    )


def _verdict(norms: Array) -> flow.Verdict:
    table = np.asarray(norms)
    if len(table) < 2 or not np.any(table[1:]):  # the cost is exactly zero, or no unit is active
        return flow.Verdict("no gradient", math.nan, math.nan, math.nan, math.nan)
    return flow.verdict(norms)
