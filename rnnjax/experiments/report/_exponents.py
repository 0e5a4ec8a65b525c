"""A figure of Lyapunov spectra, and of how the nets that have them learned."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
from rnnjax.experiments.report._style import COLUMN, PAGE, Look, looks_of, new_figure, write_figure


def write_exponents(
    exponents: Mapping[str, Any],
    path: str | Path,
    *,
    curves: Mapping[str, tuple[Any, Any]] | None = None,
    label: str = "Accuracy (%)",
    over: str = "seeds",
) -> Path:
    """Draw Lyapunov spectra, one line a net: the mean over seeds or sequences, and the range.

    Args:
      exponents: name -> `[k]` or `[rows, k]`, as `flow.lyapunov_spectrum` returns them.
      path: of the figure; .png, .pdf or .svg.
      curves: name -> `(steps [n], values [n] or [rows, n])`, how each net learned: a panel to the
        left, in the same colors.
      label: of the values of the curves.
      over: what the rows are, for the legend: "seeds", or such as "sequences".

    Returns:
      The path.
    """
    spectra = {name: _rows(f"exponents[{name!r}]", rows) for name, rows in exponents.items()}
    learned = {}
    for name, (steps, values) in (curves or {}).items():
        learned[name] = (np.asarray(steps), _rows(f"curves[{name!r}]", values))
        if learned[name][0].shape != learned[name][1].shape[1:]:
            raise ValueError(
                f"curves[{name!r}] must be (steps [n], values [n] or [rows, n]), got shapes "
                f"{np.shape(steps)} and {np.shape(values)}"
            )
    return write_figure(lambda: _draw(spectra, learned, label, over), path, "Lyapunov exponents")


def _rows(name: str, values: Any) -> np.ndarray:
    rows = np.atleast_2d(np.asarray(values, np.float64))
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"{name} must be [k] or [rows, k], got shape {np.shape(values)}")
    return rows


def _draw(
    spectra: Mapping[str, np.ndarray],
    learned: Mapping[str, tuple[np.ndarray, np.ndarray]],
    label: str,
    over: str = "seeds",
) -> Any:
    names = [*dict.fromkeys([*learned, *spectra])]
    looks = dict(zip(names, looks_of(names), strict=True))
    count = 2 if learned else 1
    figure, axes = new_figure(1, count, (PAGE if learned else COLUMN, 2.3))
    places = {name: np.arange(1, rows.shape[1] + 1) for name, rows in spectra.items()}
    lines = _lines(looks, {name: (places[name], rows) for name, rows in spectra.items()})
    last = axes[0, -1]
    panels = [(last, lines)]
    keys = draw_levels(last, {"neither grows nor shrinks": 0.0})
    last.set(xlabel="i", ylabel="Lyapunov exponent λ$_i$ (nats a step)")
    if learned:
        panels.append((axes[0, 0], _lines(looks, learned)))
        axes[0, 0].set(xlabel="Training step", ylabel=label)
    for axis, drawn in panels:
        for k, line in enumerate(drawn):
            draw_line(axis, line, k, len(drawn))
        fit_values(axis, drawn, [0.0] if axis is last else [], log=False)
        fit_steps(axis, min(line.x[0] for line in drawn), max(line.x[-1] for line in drawn))
    add_legend(figure, [*(line_key(looks[n], n) for n in names), *keys, *sign_keys(panels, over)])
    return figure


def _lines(looks: Mapping[str, Look], drawn: Mapping[str, Sequence[Any]]) -> list[Line]:
    return [line_of(looks[name], x, rows) for name, (x, rows) in drawn.items()]
