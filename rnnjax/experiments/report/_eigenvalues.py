"""A figure of the eigenvalues of recurrent weights, before and after training."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax._extras import optional
from rnnjax.experiments.report._lines import Key, add_legend
from rnnjax.experiments.report._paths import GATE_LOOKS
from rnnjax.experiments.report._style import COLUMN, PAGE, new_figure, write_figure
from rnnjax.flow import Watched, read_watch

_FIRST = {"ls": "None", "marker": "o", "ms": 3, "mew": 0.6, "mec": "#888888", "mfc": "none"}
_LAST = {"ls": "None", "marker": "o", "ms": 2.4, "mew": 0, "color": "#0072B2"}
_CIRCLE = {"color": "#777777", "lw": 0.9, "ls": (0, (4, 3)), "zorder": 1}
_ROOM = 1.12


def write_eigenvalues(
    found: Watched | str | Path | Iterable[Mapping[str, Any]], path: str | Path
) -> Path:
    """Draw the eigenvalues of W_h in the complex plane, at the first and the last measurement.

    One row a layer and one panel a gate, with the unit circle: of a linear net, what lies outside
    grows from step to step, and what lies inside decays.

    Args:
      found: what `flow.read_watch` returns, or what it reads.
      path: of the figure; .png, .pdf or .svg.

    Returns:
      The path.

    Raises:
      TypeError: as `flow.read_watch`.
      ValueError: measurements without eigenvalues, and as `flow.read_watch`.
    """
    watched = found if isinstance(found, Watched) else read_watch(found)
    if not any(np.isfinite(each).any() for each in watched.eigenvalues.values()):
        raise ValueError(
            "no eigenvalues were measured: of layers above 64 units they are kept on request, by "
            "flow.watch(..., eigenvalues=True) or training.flow_callback(eigenvalues=True)"
        )
    return write_figure(lambda: _draw(watched), path, "Eigenvalues of recurrent weights")


def _draw(watched: Watched) -> Any:
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, values in watched.eigenvalues.items():
        layer, _, last = name.rpartition("/")
        gate = last.removeprefix("eigenvalues").removeprefix("_")
        layers.setdefault(layer, {})[gate] = values[[0, -1]]
    columns = max(map(len, layers.values()))
    width = PAGE if columns > 1 else COLUMN
    figure, axes = new_figure(
        len(layers),
        columns,
        (width, (width / max(columns, 2.2) + 0.1) * len(layers) + 0.3),
        sharex=True,
        sharey=True,
    )
    figure.set_layout_engine("compressed")  # the panels are square
    every: Any = np.concatenate([each[[0, -1]].ravel() for each in watched.eigenvalues.values()])
    parts = np.abs([every.real, every.imag])
    reach = _ROOM * parts[np.isfinite(parts)].max(initial=1.0)
    for row, (layer, gates) in enumerate(layers.items()):
        for column, axis in enumerate(axes[row]):
            axis.set_visible(column < len(gates))
        for axis, (gate, ends) in zip(axes[row], gates.items(), strict=False):
            _draw_panel(axis, ends, reach)
            title = ", ".join(word for word in (layer.replace("_", " "), _words(gate)) if word)
            axis.set_title(title[:1].upper() + title[1:], loc="left")
        axes[row, 0].set_ylabel("Im λ")
    for column in axes.T:
        lowest = [axis for axis in column if axis.get_visible()][-1]
        lowest.set_xlabel("Re λ")
        lowest.tick_params(labelbottom=True)
    line = optional("matplotlib.lines").Line2D
    steps = (("first", _FIRST, 0), ("last", _LAST, -1))
    keys = [Key(line([], [], **look), f"step {watched.steps[at]:,}") for _, look, at in steps]
    keys = keys if len(watched.steps) > 1 else keys[1:]
    add_legend(figure, [*keys, Key(line([], [], **_CIRCLE), "|λ| = 1")])
    return figure


def _words(gate: str) -> str:
    """ "forget gate f"; "" of a layer without gates."""
    if gate in ("g", "n"):
        return f"candidate {gate}"
    return GATE_LOOKS[gate].label if gate in GATE_LOOKS else gate and f"block {gate}"


def _draw_panel(axis: Any, ends: np.ndarray, reach: float) -> None:
    """Draw the first and the last measurement, `[2, H]`."""
    axis.set_aspect("equal")
    ticker = optional("matplotlib.ticker")
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_locator(ticker.MaxNLocator(4, steps=[1, 2, 5, 10]))
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach))
    angle = np.linspace(0, 2 * np.pi, 181)
    axis.plot(np.cos(angle), np.sin(angle), **_CIRCLE)
    for look, each in zip((_FIRST, _LAST), ends, strict=True):
        axis.plot(each.real, each.imag, **look)
