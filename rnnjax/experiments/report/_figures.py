"""The figures of `rnnjax compare`: gradient norms, spectra, sensitivity, learning curves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax._extras import optional
from rnnjax._files import replace_file
from rnnjax.experiments.report._style import LOOKS, new_figure, style
from rnnjax.experiments.report._table import is_fraction
from rnnjax.experiments.training import CellResult, FlowMeasures

Results = Mapping[str, CellResult]

_LAG = "lag T − t (steps);  C the cost of the last output"
WHEN = (("before", "before training"), ("after", "after training"))


def write_figures(results: Results, folder: Path) -> None:
    """Draw all figures of `results` into `folder`, each as PNG and PDF."""
    for draw in (gradient_norms, singular_values, sensitivity, learning_curves):
        with style():
            figure = draw(results)
            for suffix in ("png", "pdf"):
                replace_file(folder / f"{draw.__name__}.{suffix}", figure.savefig)


def gradient_norms(results: Results) -> Any:
    """Draw ‖∂C/∂h_t‖ by lag, all cells on one logarithmic axis, before and after training.

    C is the cost of the last output.
    """
    figure, axes = new_figure(1, 2, (7.2, 3.2))
    for axis, (when, title) in zip(axes[0], WHEN, strict=True):
        for name, result in results.items():
            relative = _relative_norms(getattr(result, when))
            lags = np.arange(len(relative))[::-1]
            look = LOOKS[name]
            axis.plot(
                lags,
                relative,
                color=look.color,
                linestyle=look.dashes,
                marker=look.marker,
                markevery=9,
                markersize=4,
                label=look.label,
            )
        axis.set(title=f"{title} (own scale)", xlabel=_LAG, yscale="log")
        axis.locator_params(axis="x", integer=True)
    axes[0, 0].set_ylabel("‖∂C/∂h$_t$‖ / ‖∂C/∂h$_T$‖, median")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False
    )
    return figure


def _relative_norms(measures: FlowMeasures) -> np.ndarray:
    """Gradient norms relative to the last step: [T], median over the examples.

    Examples with zero gradient at the last step (dead units) are left out. Where at least half of
    the others are exactly zero, the result is NaN, a gap in the line.
    """
    norms = measures.norms[:, measures.norms[-1] > 0].astype(np.float64)
    if norms.shape[1] == 0:
        return np.full(len(norms), np.nan)
    median = np.median(norms / norms[-1], axis=1)
    return np.where(median > 0, median, np.nan)


def singular_values(results: Results) -> Any:
    """Draw the singular values of ∂s_T/∂s_{T-lag}: one column per cell, before and after."""
    count = len(results)
    size = (max(1.15 * count, 3.0) + 0.6, 3.6)
    figure, axes = new_figure(2, count, size, sharex=True, sharey=True)
    top = 1.0
    for column, (name, result) in enumerate(results.items()):
        for row, (when, title) in enumerate(WHEN):
            measures = getattr(result, when)
            logs = measures.log_singular_values.astype(np.float64) / np.log(10)
            logs[~np.isfinite(logs)] = np.nan  # singular values of exactly zero: a gap
            top = max(top, 1.1 * np.max(logs, initial=0.0, where=np.isfinite(logs)))
            axis = axes[row, column]
            axis.plot(measures.lags, logs[:, 1:], color=LOOKS[name].color, lw=0.4, alpha=0.5)
            axis.plot(measures.lags, logs[:, 0], color=LOOKS[name].color, lw=1.8)
            axis.axhline(0, color="black", lw=0.6)
            axis.set_xscale("log", base=2)
            if row == 0:
                axis.set_title(LOOKS[name].label)
            if column == 0:
                axis.set_ylabel(f"{title}\nlog$_{{10}}$ σ$_i$")
    axes[0, 0].set_ylim(max(axes[0, 0].get_ylim()[0], -20.0), top)
    figure.supxlabel(
        "lag T − t (steps);  σ$_i$ of ∂s$_T$/∂s$_t$ with s the whole state, largest bold",
        fontsize=8.5,
    )
    return figure


def sensitivity(results: Results) -> Any:
    """Draw ‖∂y_t/∂x_k‖, one column per cell, before and after, on one logarithmic scale."""
    count = len(results)
    size = (max(1.1 * count, 2.6) + 0.9, 2.55)
    figure, axes = new_figure(2, count, size, sharex=True, sharey=True)
    figure.set_layout_engine("compressed")  # the maps are square
    norm = optional("matplotlib.colors").LogNorm(vmin=1e-6, vmax=1.0)
    image: Any = None
    for column, (name, result) in enumerate(results.items()):
        for row, (when, title) in enumerate(WHEN):
            axis = axes[row, column]
            relative = _relative_map(getattr(result, when).sensitivity)
            steps = len(relative)
            edges = (0.5, steps + 0.5) * 2
            image = axis.imshow(relative, norm=norm, extent=edges, **_MAP)
            axis.grid(visible=False)
            ticks = sorted({1, (steps + 1) // 2, steps})
            axis.set(xticks=ticks, yticks=ticks)
            if column == 0:
                axis.set_ylabel(f"{title}\noutput step t")
        axes[0, column].set_title(LOOKS[name].label)
        axes[1, column].set_xlabel("input step k")
    bar = figure.colorbar(image, ax=axes, extend="min", aspect=16)
    bar.set_label("‖∂y$_t$/∂x$_k$‖ / maximum")
    return figure


_MAP = {
    "cmap": "cividis",
    "origin": "lower",
    "interpolation": "nearest",
}


def _relative_map(sensitivity: np.ndarray) -> np.ndarray:
    """The map relative to its maximum, at least 1e-6; NaN (white) for future inputs, k > t."""
    peak = sensitivity.max()
    relative = np.maximum(sensitivity / (peak if peak > 0 else 1.0), 1e-6)
    return np.where(np.tri(len(sensitivity), dtype=bool), relative, np.nan)


def learning_curves(results: Results) -> Any:
    """Draw training cost and metric by step: the mean over seeds, and their range."""
    figure, axes = new_figure(1, 2, (7.2, 3.0))
    starts = []
    for name, result in results.items():
        look = LOOKS[name]
        style = {"color": look.color, "linestyle": look.dashes}
        costs = _smoothed(result.cost, result.cost_every)
        starts.append(costs[:, 0].mean())
        steps = result.cost_every * np.arange(1, costs.shape[1] + 1)
        axes[0, 0].plot(steps, costs.mean(axis=0), **style)
        marks = {"marker": look.marker, "markersize": 3.5, "label": look.label}
        curve = (100 if is_fraction(result.metric) else 1) * result.curve
        axes[0, 1].plot(result.curve_steps, curve.mean(axis=0), **style, **marks)
        if len(curve) > 1:
            band = {"color": look.color, "alpha": 0.15, "lw": 0}
            axes[0, 0].fill_between(steps, costs.min(axis=0), costs.max(axis=0), **band)
            axes[0, 1].fill_between(
                result.curve_steps, curve.min(axis=0), curve.max(axis=0), **band
            )
    axes[0, 0].set(xlabel="training step", ylabel="training cost, smoothed")
    axes[0, 0].set_ylim(0, _TOP * float(np.nanmedian(starts)))
    metric = next(iter(results.values())).metric
    unit = "%" if is_fraction(metric) else metric.unit
    axes[0, 1].set(xlabel="training step", ylabel=f"test {metric.name}{unit and f' ({unit})'}")
    if is_fraction(metric):
        axes[0, 1].set_ylim(0, 100)
    figure.legend(
        *axes[0, 1].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False
    )
    return figure


_TOP = 1.3  # upper limit of the cost axis, in units of the cost at the start of training


def _smoothed(cost: np.ndarray, every: int) -> np.ndarray:
    """Exponential moving average over about 20 steps of `cost [seeds, steps/every]`."""
    smooth, kept = cost.astype(np.float64), 0.95**every
    for step in range(1, cost.shape[1]):
        smooth[:, step] = kept * smooth[:, step - 1] + (1 - kept) * cost[:, step]
    return smooth
