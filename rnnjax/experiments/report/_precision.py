"""A figure of the digits of a gradient that are left at each lag."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.experiments.report._flow_lines import by_name
from rnnjax.experiments.report._lines import (
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
from rnnjax.experiments.report._style import COLUMN, PAGE, looks_of, new_figure, write_figure
from rnnjax.experiments.report._words import plain_text
from rnnjax.flow import Precision

_LEVELS = {"no digit right": 0.5}


def write_precision(found: Precision | Mapping[str, Precision], path: str | Path) -> Path:
    """Draw the relative error of ∂C/∂x_t by lag, one line a dtype: the median over examples.

    Args:
      found: what `flow.precision` returns; or several by name, such as cells, gradients or methods
        to compare, each in a panel of its own.
      path: of the figure; .png, .pdf or .svg.

    Returns:
      The path.

    Raises:
      ValueError: nothing to draw.
    """
    audits = by_name(found)
    return write_figure(lambda: _draw(audits), path, "Precision of the gradient by lag")


def _draw(audits: Mapping[str, Precision]) -> Any:
    width = COLUMN if len(audits) == 1 else PAGE
    figure, axes = new_figure(1, len(audits), (width, 2.2), sharey=True)
    names = list(dict.fromkeys(name for audit in audits.values() for name in audit.errors))
    looks = dict(zip(names, looks_of(names), strict=True))
    panels, levels = [], []
    for axis, (title, audit) in zip(axes[0], audits.items(), strict=True):
        lines = [_line(looks[name], audit, name) for name in audit.errors]
        for k, line in enumerate(lines):
            draw_line(axis, line, k, len(lines))
        levels = draw_levels(axis, _LEVELS)
        fit_steps(axis, 0, max(len(audit.lags) - 1, 1))
        axis.set_title(plain_text(title), loc="left")
        axis.set_xlabel("Lag T − t (steps)")
        panels.append((axis, lines))
    for axis, _ in panels:  # one axis for all panels
        fit_values(axis, [line for _, lines in panels for line in lines], [0.5], log=True)
    axes[0, 0].set_ylabel("Relative error of ∂C/∂x$_t$")
    shown = [line_key(look, look.label) for look in looks.values()]
    add_legend(figure, [*shown, *levels, *sign_keys(panels)])
    return figure


def _line(look: Any, audit: Precision, name: str) -> Line:
    medians = np.median(audit.errors[name].reshape(len(audit.lags), -1), axis=1)
    return line_of(look, audit.lags, medians[None])
