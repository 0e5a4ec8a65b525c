"""The table of `rnnjax compare`."""

import math
from collections.abc import Mapping
from typing import Any

from rnnjax._extras import optional
from rnnjax.experiments.report._style import LOOKS
from rnnjax.experiments.report._words import is_fraction
from rnnjax.experiments.tasks import Metric
from rnnjax.experiments.training import CellResult, FlowMeasures


def comparison_table(results: Mapping[str, CellResult], compact: bool = False) -> Any:
    """Make a rich table with two rows per cell, before and after training.

    Args:
      results: by cell, a key of `training.CONTENDERS`.
      compact: fit into 80 columns.
    """
    boxes = optional("rich.box")
    seeds = max((len(result.scores) for result in results.values()), default=1)
    table = optional("rich.table").Table(
        box=boxes.SIMPLE_HEAD if compact else boxes.HEAVY_HEAD,
        padding=(0, 0 if compact else 1),
        pad_edge=not compact,
        show_edge=not compact,
        title=f"Gradient flow and {_metric(results).name}, before → after training",
        caption=(
            "C: the cost of the last output, one error on its way back. "
            "half-life: steps over which it halves (∞: constant; ×2: doubles), median. "
            "verdict: of three quarters of the examples, constant up to 1 % a step; "
            "?: too few examples agree to be sure of that share at 95 %. "
            "−∞: exactly zero, behind inactive ReLU units or below the smallest float. "
            "λ₁: largest Lyapunov exponent, nats per step. "
            "σγ: Pascanu's bound on the growth of a vanilla cell's gradient in one step."
            + f" The gradient flow is that of the first of {seeds} seeds, the metric their mean ± "
            "standard deviation." * (seeds > 1)
        ),
        caption_justify="left",
    )
    for heading, justify in (
        ("cell", "left"),
        ("", "left"),
        (_heading(results), "right"),
        ("half-life\nsteps", "right"),
        ("log₁₀\n‖∂C/∂h₁‖ /\n‖∂C/∂h_T‖", "right"),
        ("λ₁", "right"),
        ("verdict", "left"),
        ("σγ", "right"),
        ("ms/\nstep", "right"),
    ):
        table.add_column(heading, justify=justify, no_wrap=True)
    for name, result in results.items():
        before, after = _rows(LOOKS[name].label, result)
        table.add_row(*before)
        table.add_row(*after, end_section=True)
    return table


def _rows(label: str, result: CellResult) -> tuple[list[str], list[str]]:
    start, end = map(_number, result.bounds or (math.nan, math.nan))
    before = [label, "before", "", *_flow(result.before), start]
    time = f"{result.milliseconds:.1f}"
    return before, ["", "after", _score(result), *_flow(result.after), end, time]


def _heading(results: Mapping[str, CellResult]) -> str:
    metric = _metric(results)
    return f"test\n{metric.name}\n{'%' if is_fraction(metric) else metric.unit}"


def _metric(results: Mapping[str, CellResult]) -> Metric:
    return next(iter(results.values())).metric


def _score(result: CellResult) -> str:
    share = is_fraction(result.metric)
    values = (100 if share else 1) * result.scores
    mean = f"{values.mean():{'.1f' if share else '.4g'}}"
    return (
        mean if len(values) == 1 else f"{mean} ± {values.std(ddof=1):{'.1f' if share else '.2g'}}"
    )


def _flow(measures: FlowMeasures) -> tuple[str, str, str, str]:
    verdict = measures.verdict
    return (
        _half_life(verdict.half_life),
        _number(verdict.log10_ratio),
        _number(measures.lyapunov, 3),
        f"{verdict.label}?" if verdict.examples and not verdict.is_settled else verdict.label,
    )


def _half_life(steps: float) -> str:
    if steps == math.inf:
        return "∞"
    return f"×2 in {-steps:.3g}" if steps < 0 else _significant(steps)


def _significant(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def _number(value: float, digits: int = 2) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no negative zero
