"""A figure of the digits of a gradient that are left at each lag."""

from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.experiments.report._lines import (
    add_legend,
    draw_levels,
    draw_line,
    fit_steps,
    fit_values,
    line_key,
    line_of,
)
from rnnjax.experiments.report._style import COLUMN, looks_of, new_figure, write_figure
from rnnjax.flow import Precision


def write_precision(found: Precision, path: str | Path) -> Path:
    """Draw the relative error of ∂C/∂x_t by lag, one line a dtype: the median over examples.

    Args:
      found: what `flow.precision` returns.
      path: of the figure; .png, .pdf or .svg.

    Returns:
      The path.
    """
    return write_figure(lambda: _draw(found), path, "Precision of the gradient by lag")


def _draw(found: Precision) -> Any:
    figure, axes = new_figure(1, 1, (COLUMN, 2.4))
    axis, lines = axes[0, 0], []
    for look, errors in zip(looks_of([*found.errors]), found.errors.values(), strict=True):
        medians = np.median(errors.reshape(len(found.lags), -1), axis=1)
        lines.append(line_of(look, found.lags, medians[None]))
    for k, line in enumerate(lines):
        draw_line(axis, line, k, len(lines))
    levels = {"no digit right": 0.5}
    keys = draw_levels(axis, levels)
    fit_values(axis, lines, [*levels.values()], log=True)
    fit_steps(axis, 0, max(len(found.lags) - 1, 1))
    axis.set_xlabel("Lag T − t (steps)")
    axis.set_ylabel("‖g − g$_{64}$‖ / ‖g$_{64}$‖,  g = ∂C/∂x$_t$")
    add_legend(figure, [*(line_key(line.look, line.look.label) for line in lines), *keys])
    return figure
