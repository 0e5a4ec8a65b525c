"""A figure of learning curves: training cost and held-out metric by step, with baselines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnjax.experiments.report._style import COLORS, LOOKS, Look, new_figure, write_figure
from rnnjax.experiments.report._table import is_fraction
from rnnjax.experiments.tasks import Metric
from rnnjax.experiments.training import logged_values

_WIDE = 30.0  # ratio of the largest to the smallest value above which an axis is logarithmic
_PLAIN_DASHES = ("solid", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
_TOP = 30.0  # upper limit of an axis, in units of the largest first value of a curve
_MARKERS = 20  # on a line, at most
# For the baselines, best first: horizontal position and alignment of the label, and whether it is
# the best. The positions differ so that labels of close lines do not overlap.
_PLACES = ((1.0, "right", True), (0.5, "center", False), (0.0, "left", False))


class RunCurve(NamedTuple):
    """One run, for `write_curves`."""

    label: str  # in the legend; a key of `training.CONTENDERS` has that cell's color
    history: Sequence[Mapping[str, Any]]  # as returned by `training.read_metrics`


def write_curves(
    runs: Sequence[RunCurve],
    metric: Metric,
    path: str | Path,
    baselines: Mapping[str, float] | None = None,
) -> Path:
    """Draw the learning curves of runs of one task into a file.

    On the left the training cost, on the right the metric on held-out data; for several seeds the
    mean and the range. An axis is logarithmic if its values span more than a factor of 30. Spikes
    are cut off at 30 times the largest first value of a curve.

    Args:
      runs: at least one.
      metric: of the task.
      path: a file name with a suffix that matplotlib supports, such as .png or .pdf; .png is
        appended if it has none.
      baselines: the metric of baseline models, by name; the best three are drawn as grey lines.

    Returns:
      The path that was written.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: no runs, or a run with an empty history.
    """
    if not runs:
        raise ValueError("write_curves needs at least one run")
    for run in runs:
        if not run.history:
            raise ValueError(f"run {run.label!r} has not logged anything yet")
    return write_figure(lambda: curves_figure(runs, metric, baselines or {}), path)


def curves_figure(runs: Sequence[RunCurve], metric: Metric, baselines: Mapping[str, float]) -> Any:
    """Draw the figure of `write_curves`."""
    figure, axes = new_figure(1, 2, (7.2, 3.0), sharex=True)
    cost_axis, metric_axis = axes[0]
    scale, unit = (100.0, "%") if is_fraction(metric) else (1.0, metric.unit)
    for k, run in enumerate(runs):
        look = LOOKS.get(run.label) or _look(run.label, k)
        _draw(cost_axis, *_series(run.history, lambda entry: entry.get("cost")), look)
        steps, values = _series(
            run.history, lambda entry: entry.get("evaluation", {}).get(metric.name)
        )
        _draw(metric_axis, steps, scale * values, look, marker=look.marker)
    best = sorted(baselines.items(), key=lambda item: item[1], reverse=metric.goal == "max")
    for (name, value), place in zip(best, _PLACES, strict=False):
        _draw_baseline(metric_axis, name, scale * value, *place, metric.goal == "max")
    cost_axis.set(xlabel="training step", ylabel="training cost")
    label = metric.name.replace("_", " ")
    unit = "" if unit in label else f" ({unit})"
    metric_axis.set(xlabel="training step", ylabel=f"held-out {label}{unit}")
    for axis in (cost_axis, metric_axis):
        _set_scale(axis)
    if len(runs) > 1:
        figure.legend(
            *cost_axis.get_legend_handles_labels(),
            loc="outside lower center",
            ncols=min(len(runs), 6 if all(len(run.label) < 15 for run in runs) else 3),
            frameon=False,
        )
    return figure


def _look(label: str, number: int) -> Look:
    """A look for a run that is not labelled by a cell; colors vary first, then dashes."""
    dashes = _PLAIN_DASHES[number // len(COLORS) % len(_PLAIN_DASHES)]
    return Look(label, COLORS[number % len(COLORS)], dashes, "o")


def _series(history: Sequence[Mapping[str, Any]], value: Any) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which there is a value, and the values [seeds, steps]."""
    found = [(entry["step"], value(entry)) for entry in history]
    found = [(step, number) for step, number in found if number is not None]
    steps = np.array([step for step, _ in found])
    columns = [logged_values(number) for _, number in found]
    return steps, np.stack(columns, axis=1) if columns else np.zeros((1, 0))


def _draw(
    axis: Any, steps: np.ndarray, values: np.ndarray, look: Look, marker: str = "None"
) -> None:
    mean = values.mean(axis=0)
    drawn = {"color": look.color, "linestyle": look.dashes, "label": look.label}
    every = -(-len(steps) // _MARKERS) or 1
    axis.plot(steps, mean, **drawn, marker=marker, markersize=3, markevery=every)
    if len(values) > 1:
        low, high = values.min(axis=0), values.max(axis=0)
        axis.fill_between(steps, low, high, color=look.color, alpha=0.15, lw=0)


def _draw_baseline(
    axis: Any, name: str, value: float, at: float, align: str, is_best: bool, to_maximise: bool
) -> None:
    above = is_best or not to_maximise  # the side on which good curves leave room
    axis.axhline(value, color="#888888", lw=0.8, ls=(0, (4, 3)), zorder=1)
    axis.annotate(
        name,
        (at, value),
        xycoords=("axes fraction", "data"),
        xytext=(3 * (0.5 - at), 2 if above else -2),
        textcoords="offset points",
        ha=align,
        va="bottom" if above else "top",
        fontsize=6.5,
        color="#555555",
    )


def _set_scale(axis: Any) -> None:
    """Make the axis logarithmic if its values span more than `_WIDE`, and cut off spikes."""
    lines = [np.asarray(line.get_ydata(), float) for line in axis.lines]
    lines = [line[np.isfinite(line)] for line in lines if np.isfinite(line).any()]
    if not lines:
        return
    values = np.concatenate(lines)
    if values.min() > 0 and values.max() > _WIDE * values.min():
        axis.set_yscale("log")
    top = _TOP * max(line[0] for line in lines)
    if values.max() > top > values.min():
        axis.set_ylim(top=top)
