"""The common style of all figures: sizes, type, colors, and how a file is written."""

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from rnnjax._extras import optional
from rnnjax._files import replace_file
from rnnjax._version import __version__

COLUMN, PAGE = 3.3, 7.0  # inches: figures are as wide as one or two columns of a journal


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
"""How the lines of the compared cells are drawn, in every figure alike."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000")
_DASHES = ("solid", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
_MARKERS = "osD^vPX*"

_RC = {
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "legend.fontsize": 7,
    "legend.handlelength": 2.6,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.5,
    "legend.frameon": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "figure.constrained_layout.use": True,
    "figure.dpi": 300,  # in which texts are measured, too
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # TrueType: text stays text, as journals ask
    "ps.fonttype": 42,
    "text.usetex": False,
}


def style() -> Any:
    """A context manager in which figures are drawn and saved."""
    return optional("matplotlib").rc_context(_RC)


def looks_of(names: Sequence[str]) -> list[Look]:
    """A look for each name, in order: a cell's own, and others that differ from all before."""
    taken = {LOOKS[name].color for name in names if name in LOOKS}
    free = [color for color in COLORS if color not in taken] or list(COLORS)
    markers = cycle(_MARKERS)
    others = (
        Look(name, free[k % len(free)], _DASHES[k // len(free) % len(_DASHES)], next(markers))
        for k, name in enumerate(name for name in names if name not in LOOKS)
    )
    return [LOOKS[name] if name in LOOKS else next(others) for name in names]


def write_figure(draw: Callable[[], Any], path: str | Path, title: str) -> Path:
    """Draw a figure in this style and save it; a path without a suffix gets .png.

    PNG and PDF files carry the title, and rnnjax as their author; PDFs embed their fonts. The same
    figure gives the same bytes.
    """
    path = Path(path)
    path = path if path.suffix else path.with_name(f"{path.name}.png")
    _check_format(path)
    with style():
        save_figure(draw(), path, title)
    return path


def save_figure(figure: Any, path: Path, title: str) -> None:
    """Save a figure; within `style()`."""
    metadata = _metadata(path.suffix.lower(), title)
    try:
        replace_file(path, lambda partial: figure.savefig(partial, metadata=metadata))
    except OSError as error:  # of the temporary file
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def _check_format(path: Path) -> None:
    known = optional("matplotlib.backend_bases").FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise ValueError(
            f"{path}: a figure in the format {path.suffix} is not supported: choose .png, .pdf or "
            f".svg, or one of {', '.join(sorted(known))}"
        )


def _metadata(suffix: str, title: str) -> dict[str, Any] | None:
    author = f"rnnjax {__version__}"
    if suffix == ".pdf":
        return {"Title": title, "Author": author, "CreationDate": None}
    if suffix == ".png":
        return {"Title": title, "Author": author}
    return {"Title": title, "Date": None} if suffix in (".svg", ".svgz") else None


def new_figure(rows: int, columns: int, size: tuple[float, float], **options: Any) -> Any:
    """Make a figure outside matplotlib's global state, with an array of axes [rows, columns]."""
    figure = optional("matplotlib.figure").Figure(figsize=size)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)
