"""The figure of `methods`: time, memory and error over T, a column for each cell."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterMathtext

from benchmarks.plots import Look, fit_logs, plain_ticks
from benchmarks.ways import FAMILIES
from rnnjax.experiments.report import PAGE, Key, add_legend, new_figure, say, write_figure

_COLORS = dict(zip(FAMILIES, ("#000000", "#0072B2", "#009E73", "#E69F00", "#D55E00"), strict=True))
_MARKERS = "osD^vPX*<>hp"
_QUANTITIES = {
    "median_ms": ("Time of a train step (ms)", 1.0),
    "temporaries": ("Memory beside the data (MiB)", 2.0**-20),
    "error": ("Relative error of the gradient", 1.0),
}


def draw_methods(rows: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """One colour for each family of ways, one marker for each of its members."""

    def draw() -> Any:
        cells = list(dict.fromkeys(row["cell"] for row in rows))
        families = {e["name"]: e["family"] for row in rows for e in _measured(row)}
        look = _looks(families)
        size = (min(PAGE, 0.6 + 2.15 * len(cells)), 6.4)
        figure, panels = new_figure(len(_QUANTITIES), len(cells), size, sharex=True, sharey="row")
        for row, (quantity, (label, _)) in enumerate(_QUANTITIES.items()):
            drawn: list[float] = []
            for column, cell in enumerate(cells):
                mine = [each for each in rows if each["cell"] == cell]
                drawn += _draw(panels[row, column], mine, quantity, look)
            fit_logs(panels[row, 0], drawn)
            panels[row, 0].yaxis.set_major_formatter(LogFormatterMathtext())
            panels[row, 0].set_ylabel(label)
        plain_ticks(panels[0, 0], sorted({row["T"] for row in rows}))
        for column, cell in enumerate(cells):
            panels[0, column].set_title(cell)
            panels[-1, column].set_xlabel("Time steps T")
        figure.align_ylabels(panels[:, 0])
        figure.suptitle(title, fontsize=8)
        add_legend(figure, [Key(Line2D([], [], ms=3, **v._asdict()), k) for k, v in look.items()])
        return figure

    write_figure(draw, path, title)


def _measured(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in row["entries"] if "median_ms" in entry]


def _looks(families: dict[str, str]) -> dict[str, Look]:
    """Family by family, as the legend names them."""
    found: dict[str, Look] = {}
    for family in FAMILIES:
        names = [name for name, own in families.items() if own == family]
        for name, marker in zip(names, cycle(_MARKERS), strict=False):
            line = (0, (3, 1.2)) if name.endswith("native()") else "-"
            found[name] = Look(_COLORS[family], marker, line)
    return found


def _draw(
    panel: Any, rows: Sequence[dict[str, Any]], quantity: str, look: dict[str, Look]
) -> list[float]:
    """The values that are drawn."""
    scale = _QUANTITIES[quantity][1]
    panel.set(xscale="log", yscale="log")
    drawn: list[float] = []
    for name, each in look.items():
        points = [
            (row["T"], entry[quantity] * scale)
            for row in rows
            for entry in _measured(row)
            if entry["name"] == name and entry[quantity]
        ]
        if points:
            x, y = zip(*points, strict=True)
            panel.plot(x, y, ms=3, lw=0.9, alpha=0.9, **each._asdict())
            drawn += y
    if not drawn:
        say(panel, "not measured")
    return drawn
