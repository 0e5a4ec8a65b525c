"""A figure of `flow.predictability`: λ_1 by the length of the sequence, and what deer() takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax._extras import optional
from rnnjax.experiments.report._lines import (
    Key,
    Line,
    add_legend,
    draw_levels,
    draw_line,
    fit_values,
    line_key,
    line_of,
)
from rnnjax.experiments.report._style import COLUMN, PAGE, Look, looks_of, new_figure, write_figure
from rnnjax.flow import Predictability

_HEIGHT = 2.2
_BAND = {"color": "#999999", "alpha": 0.3, "lw": 0}


def write_predictability(
    found: Mapping[str, Sequence[Predictability]],
    path: str | Path,
    *,
    iterations: Mapping[str, Sequence[int]] | None = None,
) -> Path:
    """Draw the largest Lyapunov exponent of nets by the length T over which it was measured.

    Within the band, ±1/T, the label is "neutral"; that of the longest sequence is in the legend.
    With `iterations` a second panel has those of `deer()`, at most T, on logarithmic axes: they
    hardly grow with T where λ_1 < 0, and grow up to T where λ_1 > 0.

    Args:
      found: name -> what `flow.predictability` returns, at one length or several.
      path: of the figure; .png, .pdf or .svg.
      iterations: name -> `methods.solve(...).iterations`, a number for each length.

    Returns:
      The path.

    Raises:
      ValueError: nothing to draw, or iterations of other names or numbers than `found`.
    """
    given = {k: [one] if isinstance(one, Predictability) else one for k, one in found.items()}
    orders = {name: _by_length(each) for name, each in given.items()}
    measured = {name: [each[k] for k in orders[name]] for name, each in given.items()}
    if not measured or not all(measured.values()):
        raise ValueError("nothing to draw: found has no measurements")
    counts: dict[str, np.ndarray] = {}
    for name, each in (iterations or {}).items():
        if name not in measured:
            raise ValueError(
                f"iterations has {name!r}, which found has not: it has {', '.join(measured)}"
            )
        if np.shape(each) != orders[name].shape:
            raise ValueError(
                f"iterations[{name!r}] must have a number for each of the {len(orders[name])} "
                f"measurements in found, got shape {np.shape(each)}"
            )
        counts[name] = np.asarray(each)[orders[name]]

    def draw() -> Any:
        panels = 2 if counts else 1
        figure, axes = new_figure(1, panels, (PAGE if counts else COLUMN, _HEIGHT))
        looks = dict(zip(measured, looks_of([*measured]), strict=True))
        steps = {name: np.array([one.steps for one in each]) for name, each in measured.items()}
        shortest = min(each[0] for each in steps.values())
        longest = max(each[-1] for each in steps.values())
        lengths = np.geomspace(shortest, max(longest, 10 * shortest), 200)  # a decade has ticks
        exponents = {name: np.array([[one.exponent for one in e]]) for name, e in measured.items()}
        keys = _draw_exponents(axes[0, 0], looks, steps, exponents, lengths)
        if counts:
            chosen = {name: looks[name] for name in counts}
            keys += _draw_iterations(axes[0, 1], chosen, steps, counts, lengths)
        for axis in axes[0]:
            axis.set_xscale("log")
            axis.set_xlim(lengths[0] / 1.1, lengths[-1] * 1.1)
            axis.set_xlabel("Length T (steps)")
        named = [
            line_key(look, f"{look.label}: {measured[name][-1].label}")
            for name, look in looks.items()
        ]
        add_legend(figure, [*named, *keys])
        return figure

    return write_figure(draw, path, "Predictability")


def _by_length(measured: Sequence[Predictability]) -> np.ndarray:
    return np.argsort([one.steps for one in measured], kind="stable")


def _draw_exponents(
    axis: Any,
    looks: Mapping[str, Look],
    steps: Mapping[str, np.ndarray],
    exponents: Mapping[str, np.ndarray],
    lengths: np.ndarray,
) -> list[Key]:
    lines = _lines(axis, looks, steps, exponents)
    axis.fill_between(lengths, -1 / lengths, 1 / lengths, zorder=0.5, **_BAND)
    axis.axhline(0, color="#777777", lw=0.6, zorder=1)
    fit_values(axis, lines, [-1 / lengths[0], 1 / lengths[0]], log=False)
    axis.set_ylabel("λ$_1$ (nats a step)")
    return [Key(optional("matplotlib.patches").Patch(**_BAND), "neutral: |λ₁| < 1/T")]


def _draw_iterations(
    axis: Any,
    looks: Mapping[str, Look],
    steps: Mapping[str, np.ndarray],
    counts: Mapping[str, np.ndarray],
    lengths: np.ndarray,
) -> list[Key]:
    lines = _lines(axis, looks, steps, {name: each[None] for name, each in counts.items()})
    keys = draw_levels(axis, {"T iterations always suffice": np.nan})
    axis.plot(lengths, lengths, color="#777777", lw=0.9, ls=axis.lines[-1].get_linestyle())
    fit_values(axis, lines, [lengths[0], lengths[-1]], log=True)
    axis.set_ylabel("Iterations of deer()")
    return keys


def _lines(
    axis: Any,
    looks: Mapping[str, Look],
    steps: Mapping[str, np.ndarray],
    values: Mapping[str, np.ndarray],
) -> list[Line]:
    lines = [line_of(look, steps[name], values[name]) for name, look in looks.items()]
    for k, line in enumerate(lines):
        draw_line(axis, line, k, len(lines))
    return lines
