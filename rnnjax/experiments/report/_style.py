"""The common style of all figures, and the label, color, dashes and marker of each cell."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rnnjax._extras import optional
from rnnjax._files import replace_file


class Look(NamedTuple):
    """How the line of a cell or a run is drawn."""

    label: str
    color: str  # from Okabe & Ito's palette, which is safe for color-blind readers
    dashes: str | tuple[int, tuple[float, ...]]  # lines differ in grayscale, too
    marker: str


LOOKS: dict[str, Look] = {
    "vanilla": Look("vanilla (tanh)", "#D55E00", "solid", "o"),
    "irnn": Look("IRNN (ReLU)", "#E69F00", (0, (5, 1.5)), "s"),
    "identity_rnn": Look("identity", "#000000", (0, (1, 1.2)), "D"),
    "lstm_1997": Look("LSTM 1997", "#56B4E9", (0, (5, 1.5, 1, 1.5)), "^"),
    "lstm": Look("LSTM", "#0072B2", "solid", "v"),
    "gru": Look("GRU", "#009E73", (0, (3, 1, 1, 1, 1, 1)), "P"),
}

COLORS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000")

_RC = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "legend.fontsize": 7.5,
    "legend.handlelength": 2.6,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
}


def style() -> Any:
    """A context manager in which figures are drawn and saved."""
    return optional("matplotlib").rc_context(_RC)


def write_figure(draw: Callable[[], Any], path: str | Path) -> Path:
    """Draw a figure in this style and save it; a path without a suffix gets .png."""
    path = Path(path)
    path = path if path.suffix else path.with_name(f"{path.name}.png")
    with style():
        replace_file(path, draw().savefig)
    return path


def new_figure(rows: int, columns: int, size: tuple[float, float], **options: Any) -> Any:
    """Make a figure outside matplotlib's global state, with an array of axes [rows, columns]."""
    figure = optional("matplotlib.figure").Figure(figsize=size)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)
