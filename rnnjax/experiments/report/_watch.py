"""A figure of gradient flow over training: what `flow.watch` measured."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

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
_HEIGHT, _HEIGHT_OF_SHARES = 1.15, 0.95  # inches


def write_watch(
    found: Watched | str | Path | Iterable[Mapping[str, Any]], path: str | Path
) -> Path:
    """Draw gradient flow over training, one column a layer.

    From above: a map of ‖∂C/∂s_{T-k}‖ by lag k, relative to lag 0 (blue: vanishes, white: constant,
    red: explodes); the largest Lyapunov exponent; spectral radii of W_h; and, a panel each, the
    shares of gate activations above 0.9 and below 0.1, of tanh units (an LSTM's g, a GRU's n) above
    0.8 in size, and of inactive ReLU units. A panel whose shares all stay under 1 % is left out.
    Gray in the map: nothing arrives, or no example has the lag.

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
    panels = [(row, [_lines(watched, layer, row) for layer in layers]) for row in _ROWS]
    panels = [(row, by_layer) for row, by_layer in panels if _is_shown(row, by_layer)]
    heights = [_HEIGHT_OF_SHARES if row.is_share else _HEIGHT for row, _ in panels]
    figure, axes = new_figure(
        1 + len(panels),
        len(layers),
        (COLUMN if len(layers) == 1 else PAGE, 1.7 + sum(heights)),
        sharex=True,
        sharey="row",
        height_ratios=[1.5 * _HEIGHT, *heights],
    )
    scale = _scale(watched)
    for column, layer in enumerate(layers):
        title = layer.replace("_", " ").capitalize()
        axes[0, column].set_title(title, loc="left")
        _draw_map(axes[0, column], watched, watched.log10_norms[layer], scale)
        fit_steps(axes[-1, column], float(watched.steps[0]), float(watched.steps[-1]))
        axes[-1, column].set_xlabel("Training step")
    used: list[Look] = []
    for (row, by_layer), beside in zip(panels, axes[1:], strict=True):
        for axis, lines in zip(beside, by_layer, strict=True):
            for k, line in enumerate(lines):
                draw_line(axis, line, k, len(lines))
            if not row.is_share and not all(line.is_empty for line in lines):
                draw_levels(axis, {"": row.level})
            used += [line.look for line in lines if line.look not in used]
        fit_values(beside[0], [*chain(*by_layer)], [row.level], log=False)
        beside[0].set_ylabel(row.label)
    mappable = optional("matplotlib.cm").ScalarMappable(scale["norm"], scale["cmap"])
    bar = figure.colorbar(mappable, ax=axes[0, :], extend="both", aspect=12, pad=0.02)
    bar.set_label("log$_{10}$ ‖∂C/∂s$_{T-k}$‖\n/ ‖∂C/∂s$_T$‖", fontsize=7)
    axes[0, 0].set_ylabel("Lag k (steps)")
    figure.align_ylabels(axes[:, 0])
    add_legend(figure, [line_key(look, look.label) for look in used] if len(used) > 1 else [])
    return figure


class _Row(NamedTuple):
    """Panels of one kind of values, side by side."""

    label: str
    word: str  # with which the names of the values begin
    level: float  # of the baseline, or the lower end of a share
    factor: float = 1.0
    least: float = 0.0  # a row whose values are all smaller is not drawn

    @property
    def is_share(self) -> bool:
        return self.least > 0


_share = partial(_Row, level=0.0, factor=100.0, least=1.0)  # percent
_ROWS = (
    _Row("λ$_1$\n(nats a step)", "lyapunov", 0.0),
    _Row("ρ(W$_h$)", "spectral_radius", 1.0),
    _share("Open gates\n(% above 0.9)", "open"),
    _share("Closed gates\n(% below 0.1)", "closed"),
    _share("Saturated\n(% |tanh| > 0.8)", "saturated"),
    _share("Inactive units\n(%)", "inactive"),
)


def _is_shown(row: _Row, by_layer: Sequence[Sequence[Line]]) -> bool:
    """Whether a row has lines and one of them ever reaches its least value."""
    most = (np.nanmax(np.abs(line.mean), initial=0.0) for line in chain(*by_layer))
    return any(each >= row.least for each in most)


def _lines(watched: Watched, layer: str, row: _Row) -> list[Line]:
    """The lines of one panel, one for each gate."""
    lines = []
    for name, column in watched.values.items():
        of, _, last = name.rpartition("/")
        if of == layer and (last == row.word or last.startswith(f"{row.word}_")):
            gate = last.removeprefix(row.word).removeprefix("_")
            look = GATE_LOOKS.get(gate, _WHOLE)
            lines.append(line_of(look, watched.steps, row.factor * column[None]))
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
