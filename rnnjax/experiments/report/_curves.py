"""A figure of learning curves: training cost and held-out metric by step, with baselines."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnjax.experiments._metrics import check_metric
from rnnjax.experiments.report._lines import (
    Key,
    Line,
    add_legend,
    draw_levels,
    draw_line,
    fit_steps,
    fit_values,
    line_key,
    line_of,
    sign_keys,
)
from rnnjax.experiments.report._style import COLUMN, LOOKS, Look, looks_of, new_figure, write_figure
from rnnjax.experiments.report._words import (
    axis_label,
    is_fraction,
    metric_label,
    metric_words,
    run_label,
)
from rnnjax.experiments.tasks import Metric
from rnnjax.experiments.training import logged_values

_BASELINES = 3  # drawn at most


class RunCurve(NamedTuple):
    """One run, for `write_curves`."""

    label: str  # in the legend; a key of `training.CONTENDERS` has that cell's color
    history: Sequence[Mapping[str, Any]]  # as returned by `training.read_metrics`


class Curve(NamedTuple):
    """One line in each panel."""

    look: Look
    cost: Line
    scores: Line
    lacks: str = ""  # the metric, if the run was evaluated without it


def write_curves(
    runs: Sequence[RunCurve],
    metric: Metric,
    path: str | Path,
    baselines: Mapping[str, float] | None = None,
    title: str = "Learning curves",
) -> Path:
    """Draw the learning curves of runs of one task into a file, as wide as one column (3.3 inches).

    Above the training cost, below the metric on held-out data; for several seeds the mean over
    those that are finite, and the range. An axis is logarithmic if its values span more than a
    factor of 30. Spikes are cut off at 30 times the largest first value of a curve. A cross ends a
    curve after which values are NaN or infinite, and the legend says which run has none that are
    finite.

    Args:
      runs: at least one.
      metric: of the task.
      path: a file name with a suffix that matplotlib supports, such as .png or .pdf; .png is
        appended if it has none.
      baselines: the metric of baseline models, by name; the best three are drawn as grey lines.
      title: of the file, not in the figure.

    Returns:
      The path that was written.

    Raises:
      ImportError: matplotlib is not installed.
      TypeError: a metric that is no `Metric`.
      ValueError: no runs, two with the same label, or none that has logged anything; a metric whose
        goal is neither "max" nor "min".
    """
    if not runs:
        raise ValueError("write_curves needs at least one run")
    check_metric("metric", metric)
    labels = [run.label for run in runs]
    if not any(run.history for run in runs):
        raise ValueError(f"run {labels[0]!r} has not logged anything yet")
    for run in runs:
        if labels.count(run.label) > 1:
            raise ValueError(f"several runs have the label {run.label!r}: label each differently")
    return write_figure(lambda: curves_figure(runs, metric, baselines or {}), path, title)


def curves_figure(runs: Sequence[RunCurve], metric: Metric, baselines: Mapping[str, float]) -> Any:
    """Draw the figure of `write_curves`."""
    scale = 100.0 if is_fraction(metric) else 1.0
    curves = []
    for run, look in zip(runs, looks_of([run.label for run in runs]), strict=True):
        label = look.label if run.label in LOOKS else run_label(run.label)
        cost = _series(run.history, "cost")
        evaluations = [
            {"step": entry["step"], **entry["evaluation"]}
            for entry in run.history
            if "evaluation" in entry
        ]
        steps, scores = _series(evaluations, metric.name)
        look = look._replace(label=label)
        lacks = metric_words(metric.name) if evaluations and not len(steps) else ""
        scored = line_of(look, steps, scale * scores)
        curves.append(Curve(look, line_of(look, *cost), scored, lacks))
    return learning_figure(curves, metric, baselines)


def learning_figure(
    curves: Sequence[Curve],
    metric: Metric,
    baselines: Mapping[str, float],
    cost_label: str = "Training cost",
) -> Any:
    """Draw costs above, scores below, and one legend."""
    figure, axes = new_figure(2, 1, (COLUMN, 3.3), sharex=True)
    above, below = axes[:, 0]
    for k, curve in enumerate(curves):
        draw_line(above, curve.cost, k, len(curves))
        draw_line(below, curve.scores, k, len(curves))
    levels = _levels(metric, baselines)
    level_keys = draw_levels(below, levels)
    costs, scores = [curve.cost for curve in curves], [curve.scores for curve in curves]
    last = max((line.x[-1] for line in costs + scores if len(line.x)), default=1)
    fit_steps(below, 0, float(last))
    fit_values(above, costs)
    fit_values(below, scores, list(levels.values()), False if is_fraction(metric) else None)
    if is_fraction(metric):
        _keep_in_percent(below)
    above.set_ylabel(cost_label)
    below.set(xlabel="Training step", ylabel=axis_label(f"held-out {metric_label(metric)}"))
    figure.align_ylabels()
    keys = level_keys + sign_keys([(above, costs), (below, scores)])
    notes = [_note(curve, evaluated=any(len(line.x) for line in scores)) for curve in curves]
    if len(curves) > 1 or any(notes) or level_keys:
        keys = [*_run_keys(curves, notes), *keys]
    add_legend(figure, keys)
    return figure


def _run_keys(curves: Sequence[Curve], notes: Sequence[str]) -> list[Key]:
    return [
        line_key(curve.look, f"{curve.look.label}: {note}" if note else curve.look.label)
        for curve, note in zip(curves, notes, strict=True)
    ]


def _note(curve: Curve, evaluated: bool) -> str:
    """What a reader misses of a run, and why."""
    lines = (curve.cost, curve.scores)
    if all(line.is_empty for line in lines):
        return "no finite values" if any(len(line.x) for line in lines) else "nothing logged yet"
    if len(curve.cost.x) and curve.cost.is_empty:
        return "cost not finite"
    if curve.lacks:
        return f"has no {curve.lacks}"
    if evaluated and not len(curve.scores.x):
        return "not evaluated"
    if len(curve.scores.x) and curve.scores.is_empty:
        return "metric not finite"
    lost, seeds = max(line.lost for line in lines), max(line.seeds for line in lines)
    return f"{lost} of {seeds} seeds not finite at the end" if seeds > 1 and lost else ""


def _levels(metric: Metric, baselines: Mapping[str, float]) -> dict[str, float]:
    """The best baselines, as drawn: name -> value on the axis."""
    known = [(name, value) for name, value in baselines.items() if math.isfinite(value)]
    known.sort(key=lambda item: item[1], reverse=metric.goal == "max")
    scale = 100.0 if is_fraction(metric) else 1.0
    return {run_label(f"baseline: {name}"): scale * value for name, value in known[:_BASELINES]}


def _keep_in_percent(axis: Any) -> None:
    """Let an axis of percent span ten points at least, and end near 0 and 100."""
    low, high = axis.get_ylim()
    room = max(0.0, 10 - (high - low)) / 2
    axis.set_ylim(max(low - room, -3.0), min(high + room, 103.0))


def _series(history: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which a value was logged, and the values [seeds, steps]; null is NaN."""
    found = [(entry["step"], entry[name]) for entry in history if name in entry]
    steps = np.array([step for step, _ in found])
    columns = [logged_values(value) for _, value in found]
    seeds = max((len(column) for column in columns), default=1)
    columns = [np.broadcast_to(column, seeds) for column in columns]  # null stands for all seeds
    return steps, np.stack(columns, axis=1) if columns else np.zeros((1, 0))
