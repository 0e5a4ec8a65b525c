"""Figures: log-log growth with fitted exponents, and compile times."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from benchmarks.scaling import lines
from rnnjax.experiments.report import PAGE, Key, add_legend, new_figure, say, write_figure

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
_MARKERS = "osD^vPX*"
_DASHES = ("-", (0, (4, 1.5)))  # beyond eight programs
_AXES = {"T": "Time steps T", "B": "Batch size B", "H": "Hidden units H (I = H)"}
_QUANTITIES = {"median_ms": ("Time (ms)", 1.0), "bytes": ("Memory (MiB)", 2.0**-20)}


class Look(NamedTuple):
    """One colour and one marker for a program, in every panel."""

    color: str
    marker: str
    linestyle: Any = "-"


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name, in their order."""
    count = len(_COLORS)
    return {
        name: Look(_COLORS[i % count], _MARKERS[i % count], _DASHES[i // count % len(_DASHES)])
        for i, name in enumerate(names)
    }


def draw_scaling(
    points: Sequence[dict[str, Any]], labels: Mapping[str, str], title: str, path: Path
) -> None:
    """Time above, memory below, a column for each axis; exponents above the panels."""

    def draw() -> Any:
        axes = list(dict.fromkeys(point["axis"] for point in points))
        names = dict.fromkeys(name for point in points for name in point["entries"])
        look = looks([name for name in labels if name in names])
        figure, panels = new_figure(2, len(axes), (_width(len(axes)), 5.2))
        for column, axis in enumerate(axes):
            for row, quantity in enumerate(_QUANTITIES):
                _draw_growth(panels[row, column], points, axis, quantity, look)
                panels[row, column].set_ylabel(_QUANTITIES[quantity][0] if column == 0 else "")
            panels[1, column].set_xlabel(_AXES[axis])
        _finish(figure, look, labels, title)
        return figure

    write_figure(draw, path, title)


def _draw_growth(
    panel: Any, points: Sequence[dict[str, Any]], axis: str, quantity: str, look: dict[str, Look]
) -> None:
    scale = _QUANTITIES[quantity][1]
    panel.set(xscale="log", yscale="log")
    handles, drawn = [], []
    for name, line in lines(points, axis, quantity).items():
        y = [value * scale for value in line["y"]]
        (handle,) = panel.plot(line["x"], y, ms=3, **look[name]._asdict())
        exponent = line["fit"].exponent
        handles.append((handle, "–" if exponent != exponent else f"${axis}^{{{exponent:.2f}}}$"))
        drawn += y
    values = sorted({point["value"] for point in points if point["axis"] == axis})
    plain_ticks(panel, values)
    if not handles:
        say(panel, "not measured")
        panel.set_yticks([])
        panel.yaxis.set_minor_locator(NullLocator())
        return
    place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.1}
    panel.legend(*zip(*handles, strict=True), **place, ncols=3, handlelength=1.6, columnspacing=0.8)
    fit_logs(panel, drawn)


def draw_compile(rows: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Seconds to trace (open marks, dashed) and to compile (solid) along T and depth."""
    labels = {"T": "Time steps T", "depth": "Layers"}

    def draw() -> Any:
        axes = list(dict.fromkeys(row["axis"] for row in rows))
        look = looks(list(dict.fromkeys(row["name"] for row in rows)))
        figure, panels = new_figure(1, max(len(axes), 1), (_width(len(axes)), 2.9))
        for panel, axis in zip(panels[0], axes, strict=False):
            panel.set(xscale="log", yscale="log", xlabel=labels[axis])
            on_axis = [row for row in rows if row["axis"] == axis]
            for name, each in look.items():
                mine = [row for row in on_axis if row["name"] == name]
                x = [row["value"] for row in mine]
                shown = each._asdict() | {"ms": 3}
                panel.plot(x, [row["compile_s"] for row in mine], **shown)
                shown |= {"linestyle": (0, (2.5, 1.5)), "lw": 0.9, "mfc": "white"}
                panel.plot(x, [row["trace_s"] for row in mine], **shown)
            plain_ticks(panel, sorted({row["value"] for row in on_axis}))
            fit_logs(panel, [row[k] for row in on_axis for k in ("compile_s", "trace_s")])
        if not axes:
            say(panels[0, 0], "not measured")
            panels[0, 0].set(xticks=[], yticks=[])
        panels[0, 0].set_ylabel("Time (s): solid to compile,\ndashed to trace")
        _finish(figure, look, {}, title)
        return figure

    write_figure(draw, path, title)


def _width(panels: int) -> float:
    return min(PAGE, 0.5 + 2.8 * max(panels, 1))


def fit_logs(panel: Any, values: Sequence[float]) -> None:
    """Limits of a decade at least, and plain numbers at the ticks."""
    logs = np.log10([value for value in values if value > 0] or [1.0])
    room = max(0.05 * np.ptp(logs), 0.5 * (1 - np.ptp(logs)))
    low, high = logs.min() - room, logs.max() + room
    panel.set_ylim(10**low, 10**high)
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high - low < 2 else (1,)))
    panel.yaxis.set_major_formatter(FuncFormatter(_plain_number))
    panel.yaxis.set_minor_formatter(NullFormatter())


def _plain_number(value: float, _: int) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def plain_ticks(panel: Any, values: Sequence[int]) -> None:
    """The values along a logarithmic axis, about five of them as numbers."""
    if not values:
        return
    if values[-1] > 2000:  # powers of ten
        panel.xaxis.set_minor_locator(NullLocator())
        return
    chosen = values[:: 1 if len(values) < 6 else 2]
    panel.set_xticks(chosen, [str(value) for value in chosen])
    panel.xaxis.set_minor_locator(NullLocator())
    if len(values) == 1:
        panel.set_xlim(values[0] / 2, values[0] * 2)


def _finish(figure: Any, look: Mapping[str, Look], labels: Mapping[str, str], title: str) -> None:
    """One legend below everything, and a title above."""
    figure.suptitle(title, fontsize=8)
    marks = {
        name: figure.axes[0].plot([], [], ms=3, **each._asdict()) for name, each in look.items()
    }
    add_legend(figure, [Key(line, labels.get(name, name)) for name, (line,) in marks.items()])
