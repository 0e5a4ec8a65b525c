"""The figure of `methods`: time, memory and error, a line for each way, a column for each cell."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterMathtext, LogLocator, NullFormatter

from benchmarks.ways import FAMILIES
from rnnjax.experiments.report import PAGE, Key, add_legend, new_figure, say, write_figure

_COLORS: dict[str, str] = dict(
    zip(FAMILIES, ("#000000", "#0072B2", "#009E73", "#CC79A7", "#D55E00"), strict=True)
)
_MARKERS = "osD^vPX*"
_QUANTITIES = {
    "median_ms": ("Time of a train step (ms)", 1.0),
    "temporaries": ("Memory beside the data (MiB)", 2.0**-20),
    "error": ("Relative error of the gradient", 1.0),
}
_LINE = 0.118  # inches between ways


def draw_methods(rows: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Each way has its name beside a line of points, one for each T; families have colors."""

    def draw() -> Any:
        cells = list(dict.fromkeys(row["cell"] for row in rows))
        families = {e["name"]: e["family"] for row in rows for e in _measured(row)}
        names = [name for family in FAMILIES for name, own in families.items() if own == family]
        height = (_LINE * (len(names) + 1) + 0.42) * len(_QUANTITIES) + 0.4
        figure, panels = new_figure(
            len(_QUANTITIES), len(cells), (PAGE, height), sharex="row", sharey=True
        )
        markers = dict(zip(sorted({row["T"] for row in rows}), _MARKERS, strict=False))
        for panel_row, (quantity, (label, _)) in zip(panels, _QUANTITIES.items(), strict=True):
            for panel, cell in zip(panel_row, cells, strict=True):
                mine = [row for row in rows if row["cell"] == cell]
                _draw(panel, mine, quantity, names, families, markers)
            panel_row[len(cells) // 2].set_xlabel(label)
            _log_axis(panel_row[0].xaxis)
        for panel, cell in zip(panels[0], cells, strict=True):
            panel.set_title(cell)
        panels[0, 0].set_ylim(len(names) - 0.4, -0.6)
        for panel in panels[:, 0]:
            panel.set_yticks(range(len(names)), names, fontsize=6.5)
            for tick, name in zip(panel.get_yticklabels(), names, strict=True):
                tick.set_color(_COLORS[families[name]])
        figure.suptitle(title, fontsize=8)
        add_legend(figure, _keys(markers, [f for f in FAMILIES if f in families.values()]))
        return figure

    write_figure(draw, path, title)


def _keys(markers: dict[int, str], families: Sequence[str]) -> list[Key]:
    lengths = [
        Key(Line2D([], [], color="#555555", marker=marker, ms=3.2, ls="None"), f"T = {T:,}")
        for T, marker in markers.items()
    ]
    return lengths + [Key(Line2D([], [], color=_COLORS[f], lw=1.2), f) for f in families]


def _measured(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in row["entries"] if "median_ms" in entry]


def _missing(rows: Sequence[dict[str, Any]], name: str, lengths: bool) -> str:
    """Why there is no point, as "refused"; with `lengths` also why some lengths have none."""
    found = {row["T"]: e for row in rows for e in row["entries"] if e["name"] == name}
    why = {T: entry["status"] for T, entry in found.items() if "median_ms" not in entry}
    if len(why) == len(found):
        return ", ".join(dict.fromkeys(why.values()))
    return ", ".join(f"T = {T:,}: {status}" for T, status in why.items()) if lengths else ""


def _log_axis(axis: Any) -> None:
    axis.set_major_locator(LogLocator(numticks=6))
    axis.set_major_formatter(LogFormatterMathtext())
    axis.set_minor_formatter(NullFormatter())


def _draw(
    panel: Any,
    rows: Sequence[dict[str, Any]],
    quantity: str,
    names: Sequence[str],
    families: dict[str, str],
    markers: dict[int, str],
) -> None:
    scale = _QUANTITIES[quantity][1]
    panel.set(xscale="log")
    panel.tick_params(axis="y", length=0)
    some = False
    for place, name in enumerate(names):
        points = [
            (row["T"], entry[quantity] * scale)
            for row in rows
            for entry in _measured(row)
            if entry["name"] == name and entry[quantity]
        ]
        reason = _missing(rows, name, lengths=quantity == "median_ms")
        if reason:
            at = panel.get_yaxis_transform()
            panel.text(0.02, place, reason, transform=at, fontsize=5, color="#707070", va="center")
        color = _COLORS[families[name]]
        values = [value for _, value in points]
        panel.plot(values, [place] * len(values), color=color, lw=0.8, alpha=0.6)
        for T, value in points:
            panel.plot(value, place, markers[T], color=color, ms=3.2, mew=0)
        some = some or bool(points)
    if not some:
        say(panel, "not measured")
