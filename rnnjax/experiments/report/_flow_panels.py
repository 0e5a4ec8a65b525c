"""Figures with a panel for each net: singular values, sensitivity, and paths of the error."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax._extras import optional
from rnnjax._types import Array
from rnnjax.experiments.report._figures import LEAST, MAP, draw_map
from rnnjax.experiments.report._flow_lines import by_name
from rnnjax.experiments.report._lines import (
    add_legend,
    draw_line,
    fit_steps,
    fit_values,
    line_key,
    sign_keys,
)
from rnnjax.experiments.report._paths import lines_by_path
from rnnjax.experiments.report._spectra import (
    double_axis,
    draw_spectrum,
    fit_spectra,
    spectrum_keys,
)
from rnnjax.experiments.report._style import COLUMN, PAGE, looks_of, new_figure, write_figure
from rnnjax.experiments.report._words import plain_text
from rnnjax.flow import Paths, SingularValues, gradient_norms


def write_singular_values(
    found: SingularValues | Mapping[str, SingularValues], path: str | Path
) -> Path:
    """Draw all singular values of products of Jacobians by lag: what each direction keeps.

    On logarithmic axes, the largest thick; at zero (σ = 1) an error keeps its size. The axis ends
    at 1e-20 at the latest, and lines that leave it there go on below. Triangles on the lower edge
    stand where more singular values than before are exactly zero. Of a batch, the median over the
    examples that have the lag.

    Args:
      found: what `flow.log_singular_values` returns; or several by name, a panel each.
      path: of the figure; .png, .pdf or .svg.

    Returns:
      The path.

    Raises:
      ValueError: nothing to draw.
    """
    named = by_name(found)

    def draw() -> Any:
        figure, axes = _panels(named, 2.2, sharey=True)
        looks, every = looks_of([*named]), []
        for axis, look, each in zip(axes, looks, named.values(), strict=True):
            lags = np.asarray(each.lags)
            logs = np.asarray(each.logs, np.float64) / np.log(10)
            logs = _median(logs.reshape(len(lags), -1, logs.shape[-1]))
            draw_spectrum(axis, lags, logs, look.color)
            double_axis(axis, int(lags.max(initial=1)))
            axis.set_xlabel("Lag T − t (steps)")
            every.append(logs)
        fit_spectra(axes[0], every)
        add_legend(figure, spectrum_keys(every))
        axes[0].set_ylabel("log$_{10}$ σ$_i$ of ∂s$_T$/∂s$_t$")
        return figure

    return write_figure(draw, path, "Singular values of products of Jacobians")


def write_sensitivity(found: Array | Mapping[str, Array], path: str | Path) -> Path:
    """Draw maps of ‖∂y_t/∂x_k‖ relative to their maximum: how long an input is remembered.

    On one logarithmic scale; of a batch, the median over examples. Inputs to come are white.

    Args:
      found: what `flow.sensitivity` returns, `[T, T, ...]`; or several by name, a panel each.
      path: of the figure; .png, .pdf or .svg.

    Returns:
      The path.

    Raises:
      ValueError: nothing to draw.
    """
    named = by_name(found)

    def draw() -> Any:
        figure, axes = _panels(named, 2.4 if len(named) > 1 else 2.8)
        figure.set_layout_engine("compressed")  # the maps are square
        scale = {"norm": optional("matplotlib.colors").LogNorm(vmin=LEAST, vmax=1.0), **MAP}
        for axis, each in zip(axes, named.values(), strict=True):
            values = np.asarray(each, np.float64)
            draw_map(axis, np.median(values.reshape(*values.shape[:2], -1), axis=2), scale)
            axis.set_xlabel("Input step k")
        axes[0].set_ylabel("Output step t")
        mappable = optional("matplotlib.cm").ScalarMappable(scale["norm"], scale["cmap"])
        bar = figure.colorbar(mappable, ax=[*axes], extend="min", aspect=18, pad=0.03, shrink=0.8)
        bar.set_label("‖∂y$_t$/∂x$_k$‖ / maximum", fontsize=7.5)
        return figure

    return write_figure(draw, path, "Sensitivity of outputs to inputs")


def write_paths(found: Paths | Mapping[str, Paths], path: str | Path) -> Path:
    """Draw the parts of the error of an LSTM or a GRU by lag: along the state, and by each gate.

    Medians over the examples with a gradient at the last step, relative to the whole there.

    Args:
      found: what `flow.paths` returns; or several by name, a panel each.
      path: of the figure; .png, .pdf or .svg.

    Returns:
      The path.

    Raises:
      ValueError: nothing to draw.
    """
    named = by_name(found)

    def draw() -> Any:
        figure, axes = _panels(named, 2.2)
        panels, used = [], []
        for axis, each in zip(axes, named.values(), strict=True):
            norms = {
                name: np.asarray(gradient_norms(part, each.memory))
                for name, part in {"whole": each.recording, **each.parts}.items()
            }
            lines = lines_by_path({name: n.reshape(len(n), -1) for name, n in norms.items()})
            for k, line in enumerate(lines):
                draw_line(axis, line, k, len(lines))
            fit_values(axis, lines, log=True, empty="no gradient")
            fit_steps(axis, 0, max(len(norms["whole"]) - 1, 1))
            axis.set_xlabel("Lag T − t (steps)")
            used += [line.look for line in lines if line.look not in used]
            panels.append((axis, lines))
        axes[0].set_ylabel("‖part of ∂C/∂m$_t$‖ / ‖∂C/∂m$_T$‖\n(m: LSTM c, GRU h)")
        add_legend(figure, [line_key(look, look.label) for look in used] + sign_keys(panels))
        return figure

    return write_figure(draw, path, "Paths of the error")


def _panels(named: Mapping[str, Any], height: float, **options: Any) -> tuple[Any, Any]:
    """A figure with one panel for each name, in one row."""
    width = COLUMN if len(named) == 1 else PAGE
    figure, axes = new_figure(1, len(named), (width, height), **options)
    for axis, name in zip(axes[0], named, strict=True):
        axis.set_title(plain_text(name), loc="left")
    return figure, axes[0]


def _median(logs: np.ndarray) -> np.ndarray:
    """The median over the examples of `[L, examples, S]` that are not NaN there: `[L, S]`."""
    some = np.logical_not(np.all(np.isnan(logs), axis=1))
    return np.where(some, np.nanmedian(np.where(some[:, None], logs, 0.0), axis=1), np.nan)
