"""A figure of gradient flow over training: what `flow.watch` measured."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax._extras import optional
from rnnjax.experiments.report._lines import (
    Line,
    add_legend,
    draw_levels,
    draw_line,
    fit_steps,
    fit_values,
    line_key,
    line_of,
    say,
)
from rnnjax.experiments.report._paths import GATE_LOOKS
from rnnjax.experiments.report._style import COLUMN, PAGE, Look, new_figure, write_figure
from rnnjax.flow import Watched, read_watch

_WHOLE = Look("units or whole layer", "#000000", "solid", "o")
_STRONGEST = 6.0  # powers of ten at which the colors of the map end
_TICKS = 5
_LEAST = 1.0  # percent: a share that never is as large is not drawn
_NEARLY_ZERO = 1e-9


def write_watch(
    found: Watched | str | Path | Iterable[Mapping[str, Any]], path: str | Path
) -> Path:
    """Draw gradient flow over training, one column a layer.

    From above: a map of ‖∂C/∂s_{T-k}‖ by lag k, relative to lag 0 (blue: vanishes, white: constant,
    red: explodes); the largest Lyapunov exponent; spectral radii of W_h; and the shares of gates
    that are open or of units that are saturated above zero, of gates that are closed below, without
    those that stay under 1 %. Gray in the map: nothing arrives, or no example has the lag.

    Args:
      found: what `flow.read_watch` returns, or what it reads.
      path: of the figure; .png, .pdf or .svg.

    Returns:
      The path.

    Raises:
      TypeError, ValueError: as `flow.read_watch`.
    """
    watched = found if isinstance(found, Watched) else read_watch(found)
    return write_figure(lambda: _draw(watched), path, "Gradient flow over training")


def _draw(watched: Watched) -> Any:
    layers = [*watched.log10_norms]
    rows = [rows for rows in _ROWS if any(_lines(watched, layer, rows[1]) for layer in layers)]
    figure, axes = new_figure(
        1 + len(rows),
        len(layers),
        (COLUMN if len(layers) == 1 else PAGE, 1.7 + 1.15 * len(rows)),
        sharex=True,
        sharey="row",
        height_ratios=[1.5, *(1 for _ in rows)],
    )
    scale = _scale(watched)
    used: list[Look] = []
    for column, layer in enumerate(layers):
        title = layer.replace("_", " ").capitalize()
        axes[0, column].set_title(title, loc="left")
        _draw_map(axes[0, column], watched, watched.log10_norms[layer], scale)
        for row, (_, prefixes, level) in enumerate(rows, 1):
            lines = _lines(watched, layer, prefixes)
            for k, line in enumerate(lines):
                draw_line(axes[row, column], line, k, len(lines))
            if not all(line.is_empty for line in lines):
                draw_levels(axes[row, column], {"": level})
            used += [line.look for line in lines if line.look not in used]
        fit_steps(axes[-1, column], float(watched.steps[0]), float(watched.steps[-1]))
        axes[-1, column].set_xlabel("Training step")
    for row, (label, prefixes, level) in enumerate(rows, 1):
        every = [line for layer in layers for line in _lines(watched, layer, prefixes)]
        fit_values(axes[row, 0], every, [level], log=False)
        axes[row, 0].set_ylabel(label or _of_shares(watched))
    mappable = optional("matplotlib.cm").ScalarMappable(scale["norm"], scale["cmap"])
    bar = figure.colorbar(mappable, ax=axes[0, :], extend="both", aspect=12, pad=0.02)
    bar.set_label("log$_{10}$ ‖∂C/∂s$_{T-k}$‖\n/ ‖∂C/∂s$_T$‖", fontsize=7)
    axes[0, 0].set_ylabel("Lag k (steps)")
    figure.align_ylabels(axes[:, 0])
    add_legend(figure, [line_key(look, look.label) for look in used] if len(used) > 1 else [])
    return figure


_SHARES = {"open": 100.0, "saturated": 100.0, "inactive": 100.0, "closed": -100.0}
# The label of a row, the names of what it shows with their factors, and where its baseline is.
_ROWS: tuple[tuple[str, dict[str, float], float], ...] = (
    ("λ$_1$\n(nats a step)", {"lyapunov": 1.0}, 0.0),
    ("ρ(W$_h$)", {"spectral_radius": 1.0}, 1.0),
    (
        "",  # see _of_shares
        _SHARES,
        0.0,
    ),
)


def _of_shares(watched: Watched) -> str:
    """The label of the row of shares."""
    words = {name.rpartition("/")[2].partition("_")[0] for name in watched.values}
    if words & {"open", "closed"}:
        return "← closed, open →\n(%)"
    return "Inactive units\n(%)" if "inactive" in words else "Saturated units\n(%)"


def _lines(watched: Watched, layer: str, factors: Mapping[str, float]) -> list[Line]:
    """The lines of one panel, one for each gate and word."""
    lines = []
    for name, column in watched.values.items():
        of, _, last = name.rpartition("/")
        word = next((word for word in factors if last == word or last.startswith(f"{word}_")), None)
        if of == layer and word is not None:
            gate = last.removeprefix(word).removeprefix("_")
            values = factors[word] * column
            if word in _SHARES and np.nanmax(np.abs(values), initial=0.0) < _LEAST:
                continue
            # Not exactly zero: that has a marker of its own on a logarithmic axis.
            values = np.where(values == 0, _NEARLY_ZERO, values)
            lines.append(line_of(GATE_LOOKS.get(gate, _WHOLE), watched.steps, values[None]))
    return lines


def _scale(watched: Watched) -> dict[str, Any]:
    ratios = np.concatenate([np.ravel(_relative(norms)) for norms in watched.log10_norms.values()])
    largest = np.abs(ratios[np.isfinite(ratios)]).max(initial=1.0)
    end = min(largest, _STRONGEST)
    colors = optional("matplotlib").colormaps["RdBu_r"].with_extremes(bad="#bbbbbb")
    return {"norm": optional("matplotlib.colors").Normalize(-end, end), "cmap": colors}


def _relative(norms: np.ndarray) -> np.ndarray:
    """log10 of the ratio to lag 0, `[n, L]`; NaN where nothing arrives."""
    with np.errstate(invalid="ignore"):
        ratios = norms - norms[:, :1]
    return np.where(np.isfinite(ratios), ratios, np.nan)


def _draw_map(axis: Any, watched: Watched, norms: np.ndarray, scale: Mapping[str, Any]) -> None:
    axis.grid(visible=False)
    lags, ratios = watched.lags, _relative(norms)
    shown = np.unique(np.linspace(0, len(lags) - 1, min(_TICKS, len(lags))).round().astype(int))
    axis.set_yticks(shown, [str(lags[k]) for k in shown])
    axis.set_ylim(-0.5, len(lags) - 0.5)
    if not np.isfinite(ratios).any():
        say(axis, "no gradient")
        return
    steps = watched.steps.astype(float)
    middle = (steps[1:] + steps[:-1]) / 2
    edges = np.concatenate([steps[:1], middle, steps[-1:] + (len(steps) == 1)])
    masked = np.ma.masked_invalid(ratios.T)
    axis.pcolormesh(edges, np.arange(len(lags) + 1) - 0.5, masked, rasterized=True, **scale)
