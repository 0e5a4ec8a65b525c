"""The figures of `rnnjax compare`: gradient norms and paths, spectra, sensitivity, learning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax._extras import optional
from rnnjax.experiments.report._curves import Curve, learning_figure
from rnnjax.experiments.report._lines import (
    Line,
    add_legend,
    draw_line,
    fit_steps,
    fit_values,
    line_key,
    line_of,
    say,
    sign_keys,
)
from rnnjax.experiments.report._paths import error_paths
from rnnjax.experiments.report._spectra import (
    LOWEST,
    double_axis,
    draw_spectrum,
    fit_spectra,
    spectrum_keys,
)
from rnnjax.experiments.report._style import COLUMN, LOOKS, PAGE, new_figure, save_figure, style
from rnnjax.experiments.report._words import is_fraction
from rnnjax.experiments.training import CellResult, FlowMeasures

Results = Mapping[str, CellResult]

WHEN = (("before", "Before training"), ("after", "After training"))


def write_figures(results: Results, folder: Path) -> None:
    """Draw all figures of `results` into `folder`, each as PNG and PDF.

    Earlier ones that these results have not are removed, so that a folder holds those of one
    comparison; of no results, all are.
    """
    for name, draw, title in (
        ("gradient_norms", gradient_norms, "Norms of the gradient by hidden states"),
        ("singular_values", singular_values, "Singular values of products of Jacobians"),
        ("sensitivity", sensitivity, "Sensitivity of outputs to inputs"),
        ("learning_curves", learning_curves, "Learning curves"),
        ("error_paths", error_paths, "Paths of the error through an LSTM and a GRU"),
    ):
        files = [folder / f"{name}.{suffix}" for suffix in ("png", "pdf")]
        with style():
            figure = draw(results) if results else None
            for file in files:
                if figure is None:
                    file.unlink(missing_ok=True)
                    continue
                save_figure(figure, file, title)
                figure.set_layout_engine("none")  # it is laid out, for both


def gradient_norms(results: Results) -> Any:
    """Draw ‖∂C/∂h_t‖ by lag, all cells on one logarithmic axis, before and after training.

    C is the cost of the last output alone: one error on its way back, not a sum of them.
    """
    figure, axes = new_figure(2, 1, (COLUMN, 3.8), sharex=True)
    panels = []
    for axis, (when, title) in zip(axes[:, 0], WHEN, strict=True):
        lines = [_norm_line(name, getattr(result, when)) for name, result in results.items()]
        for k, line in enumerate(lines):
            draw_line(axis, line, k, len(lines))
        fit_values(axis, lines, log=True, empty="no gradient")
        axis.set_title("\n".join([title, *_missing(results, when)]), loc="left")
        panels.append((axis, lines))
    steps = max(len(line.x) for _, lines in panels for line in lines)
    fit_steps(axes[-1, 0], 0, max(steps - 1, 1))
    count = max(result.before.norms.shape[1] for result in results.values())
    of = f"median over {count} examples" if count > 1 else "one example"
    axes[-1, 0].set_xlabel(f"Lag T − t (steps)\nC: cost of the last output\n({of})")
    figure.supylabel("‖∂C/∂h$_t$‖ / ‖∂C/∂h$_T$‖", fontsize=7.5)
    looks = [LOOKS[name] for name in results]
    keys = [line_key(look, look.label) for look in looks] + sign_keys(panels)
    add_legend(figure, keys)
    return figure


def _norm_line(name: str, measures: FlowMeasures) -> Line:
    relative = _relative_norms(measures)[::-1]
    return line_of(LOOKS[name], np.arange(len(relative)), relative[None])


def _missing(results: Results, when: str) -> list[str]:
    """Which cells have no line, and why."""
    reasons: dict[str, list[str]] = {}
    for name, result in results.items():
        measures = getattr(result, when)
        if not np.isfinite(_relative_norms(measures)).any():
            why = "no gradient" if np.isfinite(measures.norms).all() else "not finite"
            reasons.setdefault(why, []).append(LOOKS[name].label)
    return [f"({why}: {', '.join(labels)})" for why, labels in reasons.items()]


def _relative_norms(measures: FlowMeasures) -> np.ndarray:
    """Gradient norms relative to the last step: [T], median over the examples.

    Examples with zero gradient at the last step (dead units) are left out; NaN if all are.
    """
    norms = measures.norms[:, measures.norms[-1] > 0].astype(np.float64)
    if norms.shape[1] == 0:
        return np.full(len(norms), np.nan)
    with np.errstate(invalid="ignore"):  # of inf and inf
        return np.median(norms / norms[-1], axis=1)


def singular_values(results: Results) -> Any:
    """Draw the singular values of ∂s_T/∂s_{T-lag}: one column per cell, before and after."""
    figure, axes = _grid(len(results), 3.2)
    every, longest = [], 1
    for column, (name, result) in enumerate(results.items()):
        axes[0, column].set_title(LOOKS[name].label)
        for row, (when, _) in enumerate(WHEN):
            measures = getattr(result, when)
            logs = np.asarray(measures.log_singular_values, np.float64) / np.log(10)
            draw_spectrum(axes[row, column], measures.lags, logs, LOOKS[name].color)
            every.append(logs)
            longest = max([longest, *measures.lags])
    is_cut = fit_spectra(axes[0, 0], every)
    if not any(np.isfinite(logs).any() for logs in every):
        axes[0, 0].set_yticks([])
    double_axis(axes[0, 0], int(longest))
    for row, (_, title) in enumerate(WHEN):
        axes[row, 0].set_ylabel(f"{title}\nlog$_{{10}}$ σ$_i$")
    said = "Lag T − t (steps)\nσ$_i$: of ∂s$_T$/∂s$_t$, s the whole state; thick: the largest"
    if is_cut:
        said += f"\nthe axis ends at {LOWEST:.0f}: lines go on below it".replace("-", "−")
    if spectrum_keys(every):
        said += "\n▽: from this lag on, more σ$_i$ are exactly zero"
    figure.supxlabel(said, fontsize=7.5)  # where a legend would be
    return figure


def sensitivity(results: Results) -> Any:
    """Draw ‖∂y_t/∂x_k‖, one column per cell, before and after, on one logarithmic scale."""
    side = min(((COLUMN if len(results) <= 2 else PAGE) - 1.6) / len(results), 1.4)
    figure, axes = _grid(len(results), 2 * side + 0.85)
    figure.set_layout_engine("compressed")  # the maps are square
    scale = {"norm": optional("matplotlib.colors").LogNorm(vmin=LEAST, vmax=1.0), **MAP}
    for column, (name, result) in enumerate(results.items()):
        axes[0, column].set_title(LOOKS[name].label)
        axes[1, column].set_xlabel("Input step k")
        for row, (when, _) in enumerate(WHEN):
            draw_map(axes[row, column], getattr(result, when).sensitivity, scale)
    for row, (_, title) in enumerate(WHEN):
        axes[row, 0].set_ylabel(f"{title}\nOutput step t")
    mappable = optional("matplotlib.cm").ScalarMappable(scale["norm"], scale["cmap"])
    bar = figure.colorbar(mappable, ax=axes, extend="min", aspect=18, pad=0.04)
    bar.set_label("‖∂y$_t$/∂x$_k$‖ / its maximum\n(white: inputs to come, k > t)", fontsize=7.5)
    return figure


LEAST = 1e-6
MAP = {"cmap": "cividis", "origin": "lower", "interpolation": "nearest"}


def draw_map(axis: Any, sensitivity: np.ndarray, scale: dict[str, Any]) -> None:
    steps, peak = len(sensitivity), np.max(sensitivity, initial=0.0)
    ticks = sorted({1, (steps + 1) // 2, steps})
    axis.grid(visible=False)
    axis.set(xlim=(0.5, steps + 0.5), ylim=(0.5, steps + 0.5), xticks=ticks, yticks=ticks)
    axis.set_aspect("equal")
    if not (np.isfinite(peak) and peak > 0):
        say(axis, "all zero" if peak == 0 else "not finite")
        return
    axis.imshow(_relative_map(sensitivity), extent=(0.5, steps + 0.5) * 2, **scale)


def _relative_map(sensitivity: np.ndarray) -> np.ndarray:
    """The map relative to its maximum, at least 1e-6; NaN (white) for future inputs, k > t."""
    relative = np.maximum(sensitivity / sensitivity.max(), LEAST)
    return np.where(np.tri(len(sensitivity), dtype=bool), relative, np.nan)


def _grid(cells: int, height: float) -> Any:
    """Panels for each cell, before above after, as wide as a column or, for many cells, a page."""
    size = (COLUMN if cells <= 2 else PAGE, height)
    return new_figure(2, cells, size, sharex=True, sharey=True)


def learning_curves(results: Results) -> Any:
    """Draw training cost and metric by step: the mean over seeds, and their range."""
    metric = next(iter(results.values())).metric
    scale = 100.0 if is_fraction(metric) else 1.0
    curves = []
    for name, result in results.items():
        look, costs = LOOKS[name], _smoothed(result.cost, result.cost_every)
        steps = result.cost_every * np.arange(1, costs.shape[1] + 1)
        scores = line_of(look, result.curve_steps, scale * result.curve)
        curves.append(Curve(look, line_of(look, steps, costs), scores))
    return learning_figure(curves, metric, {}, "Training cost, smoothed")


def _smoothed(cost: np.ndarray, every: int) -> np.ndarray:
    """Exponential moving average over about 20 steps of `cost [seeds, steps/every]`."""
    values, kept = cost.astype(np.float64), 0.95**every
    smooth, state = np.empty_like(values), values[:, 0]
    for step, value in enumerate(values.T):
        mixed = np.where(np.isfinite(state), kept * state + (1 - kept) * value, value)
        smooth[:, step] = np.where(np.isfinite(value), mixed, value)
        state = np.where(np.isfinite(value), mixed, state)
    return smooth
