"""The figure of the paths that the error takes through an LSTM and a GRU."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnjax.experiments.report._lines import (
    add_legend,
    draw_line,
    fit_steps,
    fit_values,
    line_key,
    line_of,
    sign_keys,
)
from rnnjax.experiments.report._style import COLUMN, LOOKS, PAGE, Look, new_figure
from rnnjax.experiments.training import CellResult

WHEN = (("before", "before training"), ("after", "after training"))
_ALONG = Look("along the state alone (LSTM: Π f, GRU: Π z)", "#0072B2", "solid", "v")
_CANDIDATE = Look("candidate (LSTM: g, GRU: n)", "#CC79A7", (0, (5, 1.5, 1, 1.5)), "^")
GATE_LOOKS = {
    "whole": Look("whole gradient", "#000000", "solid", "o"),
    "carousel": _ALONG,
    "leak": _ALONG,
    "i": Look("input gate i", "#D55E00", (0, (5, 1.5)), "s"),
    "f": Look("forget gate f", "#E69F00", (0, (1, 1.2)), "D"),
    "o": Look("output gate o", "#009E73", (0, (3, 1, 1, 1, 1, 1)), "P"),
    "g": _CANDIDATE,
    "n": _CANDIDATE,
    "r": Look("reset gate r", "#D55E00", (0, (1, 1.2)), "X"),
    "z": Look("update gate z", "#E69F00", (0, (5, 1.5)), "*"),
}


def error_paths(results: Mapping[str, CellResult]) -> Any | None:
    """Draw ‖∂C/∂m_t‖ by lag, whole and by the gate that the error left through; m the memory.

    One column per cell whose gates are known, before training above after; None without such.
    """
    results = {name: result for name, result in results.items() if result.before.paths}
    if not results:
        return None
    width = COLUMN if len(results) == 1 else PAGE
    figure, axes = new_figure(2, len(results), (width, 3.6), sharex="col")
    panels, used = [], []
    for column, (name, result) in enumerate(results.items()):
        fit_steps(axes[-1, column], 0, max(len(result.before.paths["whole"]) - 1, 1))
        for row, (when, words) in enumerate(WHEN):
            axis, measures = axes[row, column], getattr(result, when)
            lines = lines_by_path(measures.paths)
            for k, line in enumerate(lines):
                draw_line(axis, line, k, len(lines))
            fit_values(axis, lines, log=True, empty="no gradient")
            axis.set_title(f"{LOOKS[name].label}, {words}", loc="left")
            used += [line.look for line in lines if line.look not in used]
            panels.append((axis, lines))
        axes[-1, column].set_xlabel("Lag T − t (steps)")
    figure.supylabel("‖part of ∂C/∂m$_t$‖ / ‖∂C/∂m$_T$‖\n(m: LSTM c, GRU h)", fontsize=7.5)
    add_legend(figure, [line_key(look, look.label) for look in used] + sign_keys(panels))
    return figure


def lines_by_path(paths: Mapping[str, np.ndarray]) -> list[Any]:
    """Medians over the examples that have a gradient at the last step, by lag.

    Norms `[T, examples]` by the name of the path, with the whole gradient first.
    """
    last = np.asarray(paths["whole"], np.float64)[-1]
    alive = last > 0
    lines = []
    for name, norms in paths.items():
        relative = np.asarray(norms, np.float64)[::-1, alive] / last[alive]
        median = np.median(relative, axis=1) if alive.any() else np.full(len(norms), np.nan)
        first = (
            0 if GATE_LOOKS[name] in (GATE_LOOKS["whole"], _ALONG) else 1
        )  # no gate comes before the cost
        lines.append(line_of(GATE_LOOKS[name], np.arange(first, len(median)), median[None, first:]))
    return lines
