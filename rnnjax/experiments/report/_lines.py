"""Lines of values by step, and axes that fit them: the parts that figures are composed of."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnjax._extras import optional
from rnnjax.experiments.report._style import Look
from rnnjax.experiments.report._words import plain_text, text_width, wrapped

_WIDE = 30.0  # ratio of the largest to the smallest value above which an axis is logarithmic
_WIDE_WITH_ZEROS = 1000.0  # the same where some values are exactly zero
_TOP = 30.0  # upper limit of a logarithmic axis, in units of the largest first value of a line
_FAR = 1000.0  # quartile ranges outside of the quartiles: a spike, on other axes
_MARKS = 8  # on a line, about
_UNDER = 0.6  # points by which the first of many lines is thicker than the last
_HANDLE = 0.44  # inches beside a text of a legend
_TINY = 1e-200  # values below are drawn on a logarithmic axis: matplotlib takes their range for 0
_GRAY = "#555555"
_LEVELS = ((0, (4, 3)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))  # dashes of baselines


class Line(NamedTuple):
    """The mean over seeds and the range, where at least one seed is finite; NaN elsewhere."""

    look: Look
    x: np.ndarray  # [n], ascending
    mean: np.ndarray  # [n]
    low: np.ndarray
    high: np.ndarray
    seeds: int
    lost: int  # seeds whose last value is not finite

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be drawn."""
        return not np.isfinite(self.mean).any()


class Key(NamedTuple):
    """One entry of a legend."""

    handle: Any
    label: str


def line_of(look: Look, x: np.ndarray, values: np.ndarray) -> Line:
    """A line through `values [seeds, n]` at `x [n]`."""
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    some = finite.any(axis=0)
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.where(finite, values, 0.0).sum(axis=0)
        mean = np.where(some, total / np.maximum(finite.sum(axis=0), 1), np.nan)
    low = np.where(some, np.where(finite, values, np.inf).min(axis=0), np.nan)
    high = np.where(some, np.where(finite, values, -np.inf).max(axis=0), np.nan)
    lost = int((~finite[:, -1]).sum()) if values.shape[1] else 0
    return Line(look, np.asarray(x), mean, low, high, len(values), lost)


def draw_line(axis: Any, line: Line, number: int = 0, count: int = 1) -> None:
    """Draw the mean with some markers, the range as a band, and a cross where a line breaks off.

    Points without neighbours always have a marker; other markers are in different places on each
    of `count` lines. A line is a little thicker than those drawn over it, and shows below them.
    """
    look, marked = line.look, _marked(line.mean, number / count)
    extra = _UNDER * (1 - (number + 1) / count)
    drawn = {"color": look.color, "linestyle": look.dashes, "marker": look.marker}
    size = {"linewidth": 1.1 + extra, "markersize": 3 + 2 * extra, "markeredgewidth": 0.5}
    axis.plot(line.x, line.mean, **drawn, **size, markevery=marked)
    if line.seeds > 1:
        axis.fill_between(line.x, line.low, line.high, color=look.color, alpha=0.18, lw=0)
    end = _breaks_off(line)
    if end is not None:
        axis.plot(line.x[end], line.mean[end], color=look.color, **_CROSS)


_CROSS = {"marker": "x", "markersize": 6, "markeredgewidth": 1.4, "ls": "None", "zorder": 4}
ZERO = {"marker": "v", "markersize": 4, "markerfacecolor": "white", "ls": "None", "zorder": 4}


def _marked(mean: np.ndarray, place: float) -> list[int]:
    finite = np.isfinite(mean)
    drawn = np.pad(finite & (mean != 0), 1)  # zeros are marked on their own, where they must be
    alone = drawn[1:-1] & ~drawn[:-2] & ~drawn[2:]
    count = len(mean)
    every = count if count == 0 else max(1, round(count / _MARKS))
    regular = range(int(place * every), count, every) if count else ()
    return sorted({*np.flatnonzero(alone).tolist(), *regular})


def _breaks_off(line: Line) -> int | None:
    """The last finite point of a line, if values that are not finite follow."""
    finite = np.flatnonzero(np.isfinite(line.mean))
    return int(finite[-1]) if len(finite) and finite[-1] < len(line.mean) - 1 else None


def draw_levels(axis: Any, levels: dict[str, float]) -> list[Key]:
    """Draw horizontal lines for baselines; their names are for the legend, off the curves."""
    keys = []
    for (name, value), dashes in zip(levels.items(), _LEVELS, strict=False):
        drawn = {"color": "#777777", "lw": 0.9, "ls": dashes}
        axis.axhline(value, **drawn, zorder=1)
        keys.append(Key(_handle(**drawn), name))
    return keys


def fit_values(
    axis: Any,
    lines: Sequence[Line],
    levels: Sequence[float] = (),
    log: bool | None = None,
    empty: str = "no finite values",
) -> None:
    """Fit the vertical axis to lines and levels, or say that there is nothing to see.

    Without `log`, it is logarithmic if the values span more than a factor of 30, or 1000 if some
    are zero, and spikes are cut off; with it all values are shown. Zeros on a logarithmic axis are
    triangles on its lower edge.
    """
    values = np.concatenate([np.ravel(levels), *(x for line in lines for x in line[2:5])])
    values = values[np.isfinite(values)]
    if all(line.is_empty for line in lines):
        say(axis, empty if any(len(line.x) for line in lines) else "no values")
    if not len(values):
        axis.set(ylim=(0, 1), yticks=[])
    elif _is_wide(values) if log is None else log and values.max() > 0:
        axis.set_yscale("log", nonpositive="clip")
        axis.set_ylim(_log_limits(values, lines if log is None else ()))
        _draw_zeros(axis, lines)
    else:
        axis.set_ylim(_linear_limits(values, levels))


def fit_steps(axis: Any, first: float, last: float) -> None:
    """Fit the horizontal axis to steps from `first` to `last`, with whole numbers as ticks."""
    width = max(last - first, 1)
    axis.set_xlim(first - 0.03 * width, first + 1.03 * width)
    ticker = optional("matplotlib.ticker")
    axis.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True, min_n_ticks=1))


def say(axis: Any, text: str) -> None:
    """Write into the middle of a panel that shows nothing else."""
    look = {"ha": "center", "va": "center", "color": _GRAY, "style": "italic"}
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # over a baseline
    axis.text(0.5, 0.5, text, transform=axis.transAxes, bbox=behind, **look)


def _is_wide(values: np.ndarray) -> bool:
    positive = values[values > 0]
    if not len(positive) or values.min() < 0:
        return False
    wide = _WIDE if len(positive) == len(values) else _WIDE_WITH_ZEROS
    return bool(positive.max() / wide > positive.min() or positive.max() < _TINY)


def _log_limits(values: np.ndarray, cut: Sequence[Line]) -> tuple[float, float]:
    positive = np.log10(values[values > 0])
    low, high = positive.min(), positive.max()
    starts = [line.mean[np.isfinite(line.mean)][0] for line in cut if not line.is_empty]
    if starts and max(starts) > 0:
        high = max(min(high, np.log10(max(starts)) + np.log10(_TOP)), low)
    room = max(0.05 * (high - low), 0.5 * (1 - (high - low)))
    least, most = (-300.0, 290.0) if high - low < 100 else (-200.0, 200.0)  # ticks lie beyond
    return 10.0 ** max(low - room, least), 10.0 ** min(high + room, most)


def _linear_limits(values: np.ndarray, levels: Sequence[float]) -> tuple[float, float]:
    first, third = np.percentile(values, [25, 75])
    reach = _FAR * (third - first)
    near = values[np.abs(values - first) <= reach] if reach > 0 else values
    near = np.append(near, levels)
    low, high = near.min(), near.max()
    scale = max(abs(low), abs(high))
    room = 0.05 * (high - low) if high - low > 1e-6 * scale else 0.1 * scale or 1.0
    return float(low - room), float(high + room)


def _draw_zeros(axis: Any, lines: Sequence[Line]) -> None:
    """End curves where they become zero, and mark that place on the lower edge."""
    for drawn in axis.lines:
        if drawn.get_transform() == axis.transData:
            values = np.asarray(drawn.get_ydata(), float)
            drawn.set_ydata(np.where(values > 0, values, np.nan))
    for line in lines:
        at = _zeros(line)
        if len(at):
            edge = {"transform": axis.get_xaxis_transform(), "clip_on": False}
            axis.plot(line.x[at], np.zeros(len(at)), color=line.look.color, **ZERO, **edge)


def _zeros(line: Line) -> np.ndarray:
    """Where the mean becomes exactly zero: the first of neighbouring zeros."""
    zero = line.mean == 0
    return np.flatnonzero(zero & ~np.pad(zero, (1, 0))[:-1])


def line_key(look: Look, label: str) -> Key:
    """The legend entry of a line, as it is drawn."""
    drawn = {"color": look.color, "linestyle": look.dashes, "marker": look.marker}
    return Key(_handle(**drawn, markersize=3), label)


def sign_keys(panels: Sequence[tuple[Any, Sequence[Line]]], over: str = "seeds") -> list[Key]:
    """Legend entries that explain bands, crosses and triangles, where there are any.

    `over` says what a line is the mean of.
    """
    lines = [line for _, drawn in panels for line in drawn]
    keys = []
    if any(line.seeds > 1 and not line.is_empty for line in lines):
        patch = optional("matplotlib.patches").Patch(color=_GRAY, alpha=0.25, lw=0)
        keys.append(Key(patch, f"range over {over} (line: mean)"))
    if any(_breaks_off(line) is not None for line in lines):
        keys.append(Key(_handle(color=_GRAY, **_CROSS), "then not finite"))
    logs = [line for axis, drawn in panels if axis.get_yscale() == "log" for line in drawn]
    if any(len(_zeros(line)) for line in logs):
        keys.append(zero_key())
    return keys


def zero_key() -> Key:
    """The legend entry of triangles on the lower edge."""
    return Key(_handle(color=_GRAY, **ZERO), "then exactly zero")


def _handle(**drawn: Any) -> Any:
    return optional("matplotlib.lines").Line2D([], [], **drawn)


def add_legend(figure: Any, keys: Sequence[Key]) -> None:
    """One legend below all panels, with long names in several lines; the figure grows by it."""
    if not keys:
        return
    width, height = figure.get_size_inches()
    names = [wrapped(key.label, width - _HANDLE) for key in keys]
    widest = max(text_width(line) for lines in names for line in lines)
    columns = int(max(1, min(len(keys), width // (widest + _HANDLE))))
    rows = -(-len(keys) // columns)
    lines = max(sum(map(len, names[k : k + rows])) for k in range(0, len(keys), rows))
    figure.set_size_inches(width, height + 0.155 * lines + 0.08)
    labels = ["\n".join(map(plain_text, lines)) for lines in names]
    place = {"loc": "outside lower center", "ncols": columns, "borderaxespad": 0.2}
    figure.legend([key.handle for key in keys], labels, **place)
