"""Figures: log-log growth with fitted exponents, and compile times."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from benchmarks.scaling import lines
from rnnjax.experiments.report import new_figure, style

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
_MARKERS = "osD^vPX*"
_AXES = {"T": "time steps T", "B": "batch size B", "H": "hidden units H (I = H)"}
_QUANTITIES = {"median_ms": ("time (ms)", 1.0), "bytes": ("memory (MiB)", 2.0**-20)}


class Look(NamedTuple):
    """One colour and one marker for a program, in every panel."""

    color: str
    marker: str


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name, in their order."""
    return {
        name: Look(_COLORS[i % len(_COLORS)], _MARKERS[i % len(_MARKERS)])
        for i, name in enumerate(names)
    }


def draw_scaling(
    points: Sequence[dict[str, Any]], labels: Mapping[str, str], title: str, path: Path
) -> None:
    """Time above, memory below, a column for each axis; exponents beside the curves' marks."""
    axes = list(dict.fromkeys(point["axis"] for point in points))
    look = looks(list(labels))
    with style():
        figure, panels = new_figure(2, len(axes), (0.6 + 2.9 * len(axes), 5.6))
        for column, axis in enumerate(axes):
            for row, quantity in enumerate(_QUANTITIES):
                _draw_growth(panels[row, column], points, axis, quantity, look)
                panels[row, column].set_ylabel(_QUANTITIES[quantity][0] if column == 0 else "")
            panels[1, column].set_xlabel(_AXES[axis])
        _finish(figure, panels[0, 0], labels, title, path)


def _draw_growth(
    panel: Any, points: Sequence[dict[str, Any]], axis: str, quantity: str, look: dict[str, Look]
) -> None:
    scale = _QUANTITIES[quantity][1]
    panel.set(xscale="log", yscale="log")
    handles = []
    for name, line in lines(points, axis, quantity).items():
        y = [value * scale for value in line["y"]]
        (handle,) = panel.plot(line["x"], y, label=name, ms=3.5, **look[name]._asdict())
        exponent = line["fit"].exponent
        handles.append((handle, "-" if exponent != exponent else f"${axis}^{{{exponent:.2f}}}$"))
    if handles:
        low, high = panel.get_ylim()
        panel.set_ylim(low, high * (high / low) ** 0.4)  # room for the exponents
        panel.legend(*zip(*handles, strict=True), loc="upper left", ncols=2, framealpha=0.9)
    if axis != "T":
        values = sorted({point["value"] for point in points if point["axis"] == axis})
        _plain_ticks(panel, values[:: 1 if len(values) < 6 else 2])
    low, high = panel.get_ylim()
    subs = (1, 2, 5) if high / low < 100 else (1,)
    panel.yaxis.set_major_locator(LogLocator(subs=subs))
    panel.yaxis.set_major_formatter(FuncFormatter(_plain_number))
    panel.yaxis.set_minor_formatter(NullFormatter())


def draw_compile(rows: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Seconds to trace (open marks, dashed) and to compile (solid) along T and depth."""
    axes = list(dict.fromkeys(row["axis"] for row in rows))
    names = list(dict.fromkeys(row["name"] for row in rows))
    look = looks(names)
    labels = {"T": "time steps T", "depth": "layers"}
    with style():
        figure, panels = new_figure(1, len(axes), (0.6 + 3.4 * len(axes), 3.6))
        for panel, axis in zip(panels[0], axes, strict=True):
            panel.set(xscale="log", yscale="log", xlabel=labels[axis])
            for name in names:
                mine = [row for row in rows if (row["axis"], row["name"]) == (axis, name)]
                x = [row["value"] for row in mine]
                shown = look[name]._asdict() | {"ms": 3.5}
                panel.plot(x, [row["compile_s"] for row in mine], label=name, **shown)
                panel.plot(x, [row["trace_s"] for row in mine], ls="--", mfc="white", **shown)
            _plain_ticks(panel, sorted({row["value"] for row in rows if row["axis"] == axis}))
        panels[0, 0].set_ylabel("seconds: compile (solid), trace (dashed)")
        _finish(figure, panels[0, 0], dict.fromkeys(names), title, path)


def _plain_number(value: float, _: int) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _plain_ticks(panel: Any, values: Sequence[int]) -> None:
    panel.set_xticks(values, [str(value) for value in values])
    panel.xaxis.set_minor_locator(NullLocator())


def _finish(figure: Any, panel: Any, labels: Mapping[str, str | None], title: str, path: Path):
    """One legend below everything, a title above, and the file."""
    handles, names = panel.get_legend_handles_labels()
    shown = [labels.get(name) or name for name in names]
    figure.legend(handles, shown, loc="outside lower center", ncols=min(4, len(shown)))
    figure.suptitle(title, fontsize=9.5)
    figure.savefig(path)
