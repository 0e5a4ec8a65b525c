"""A figure of captioned images, with the attention map for each word."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnjax._extras import optional
from rnnjax.experiments.report._style import COLUMN, PAGE, write_figure
from rnnjax.experiments.report._words import plain_text, text_width, wrapped

# All in inches: the image, the panels of words, and the lines of text.
_IMAGE, _PANEL, _GAP, _TITLE, _LINE, _KEY = 0.84, 0.44, 0.05, 0.14, 0.12, 0.42
_WIDEST = 1.0  # a word beyond is set in smaller type
_SMALL = 6.5  # points
_TALLEST = 200.0  # of a figure
_WRONG, _HEAT, _NOTE = "#D55E00", "#E69F00", "#555555"
_GRAY = np.array([0.299, 0.587, 0.114])  # luminance weights of red, green and blue


class CaptionRow(NamedTuple):
    """An image and the caption generated for it."""

    image: np.ndarray  # [S, S, 3] uint8
    caption: str
    references: Sequence[str] = ()  # reference captions; empty if unknown
    attention: np.ndarray | None = None  # [words, h, w] maps; any beyond are not drawn


class _Row(NamedTuple):
    """What is drawn of a row, and where it breaks."""

    row: CaptionRow
    words: list[str]
    right: list[bool]  # whether each word matches
    note: list[str]  # lines that quote the nearest reference
    height: float


class _Page(NamedTuple):
    """The measures that all rows share."""

    width: float
    cell: float  # width of a word
    columns: int  # words in a line; 0: captions are lines of text


def write_captions(rows: Sequence[CaptionRow], path: str | Path) -> Path:
    """Draw images with their captions into a file, one row each, at most as wide as a page.

    With attention, each word has a panel: the image in grey, overlaid with the attention weights
    with which the word was generated, scaled to their maximum. Words that do not match the nearest
    reference caption are red, and that reference is printed below. Long captions go on in a second
    line, and empty ones are named so.

    Args:
      rows: the images, their captions, reference captions, and attention maps.
      path: a file name with a suffix that matplotlib supports, such as .png or .pdf; .png is
        appended if it has none.

    Returns:
      The path that was written.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: no rows, or more than fit into one figure.
    """
    if not rows:
        raise ValueError("write_captions needs at least one picture")
    return write_figure(lambda: caption_figure(rows), path, "Captions")


def caption_figure(rows: Sequence[CaptionRow]) -> Any:
    """Draw the figure of `write_captions`."""
    page = _page(rows)
    laid = [_laid_out(row, page) for row in rows]
    has_heat = page.columns > 0
    has_wrong = any(each.note for each in laid)
    key = _KEY if has_heat or has_wrong else 0.0
    height = sum(each.height for each in laid) + key
    if height > _TALLEST:
        raise ValueError(
            f"{len(rows)} images would be a figure of {height:.0f} inches, at most {_TALLEST:.0f} "
            "can be drawn: split them into several figures"
        )
    figure = optional("matplotlib.figure").Figure(figsize=(page.width, height), layout="none")
    top = height
    for each in laid:
        _draw_row(figure, each, page, top)
        top -= each.height
    if key:
        _draw_key(figure, has_heat, has_wrong)
    return figure


def _page(rows: Sequence[CaptionRow]) -> _Page:
    words = {word for row in rows for word in row.caption.split()}
    count = max(len(row.caption.split()) for row in rows)
    if not words or all(row.attention is None for row in rows):
        return _Page(COLUMN, 0.0, 0)
    widest = max(text_width(word, weight="bold") for word in words)
    cell = min(max(_PANEL + 0.02, widest + 0.02), _WIDEST)
    left = _IMAGE + 2 * _GAP
    columns = min(count, int((PAGE - left) // cell))
    return _Page(max(left + columns * cell, COLUMN), cell, columns)


def _laid_out(row: CaptionRow, page: _Page) -> _Row:
    right, reference = _matched(row)
    words = row.caption.split()
    room = page.width - _IMAGE - 3 * _GAP
    note = wrapped(f"reference: {reference}", room, _SMALL) if reference else []
    if page.columns:
        lines = max(1, -(-len(words) // page.columns))
        height = lines * (_TITLE + _PANEL + _GAP)
    else:
        words = wrapped(row.caption, room)
        height = _LINE * len(words) + _GAP
    return _Row(row, words, right, note, max(_IMAGE, height + _LINE * len(note)) + 2 * _GAP)


def _matched(row: CaptionRow) -> tuple[list[bool], str]:
    """Whether each word matches, and the nearest reference unless all do."""
    words = row.caption.split()
    if not row.references or row.caption in row.references:
        return [True] * len(words), ""
    matches = {
        reference: SequenceMatcher(None, words, reference.split(), autojunk=False)
        for reference in row.references
    }
    nearest = max(matches, key=lambda reference: matches[reference].ratio())
    right = [False] * len(words)
    for begin, _, size in matches[nearest].get_matching_blocks():
        right[begin : begin + size] = [True] * size
    return right, nearest


def _draw_row(figure: Any, laid: _Row, page: _Page, top: float) -> None:
    """Draw one row below `top`, inches from the lower edge of the figure."""
    _panel(figure, _GAP, top - _GAP - _IMAGE, _IMAGE).imshow(
        laid.row.image, interpolation="nearest"
    )
    left, line = _IMAGE + 2 * _GAP, top - _GAP
    if not laid.words:
        _write(figure, left, line, "(empty caption)", color=_NOTE, style="italic")
        line -= _LINE + _GAP
    elif page.columns:
        for k, word in enumerate(laid.words):
            if k and k % page.columns == 0:
                line -= _TITLE + _PANEL + _GAP
            _draw_word(figure, laid, k, word, left + k % page.columns * page.cell, line, page.cell)
        line -= _TITLE + _PANEL + _GAP
    else:
        color = _WRONG if laid.note else "black"
        for text in laid.words:
            _write(figure, left, line, text, color=color)
            line -= _LINE
        line -= _GAP
    for text in laid.note:
        _write(figure, left, line, text, color=_NOTE, fontsize=_SMALL)
        line -= _LINE


def _draw_word(
    figure: Any, laid: _Row, number: int, word: str, left: float, top: float, cell: float
) -> None:
    right, middle = laid.right[number], left + cell / 2
    look = {"color": "black"} if right else {"color": _WRONG, "fontweight": "bold"}
    size = 7 * min(1.0, (cell - 0.02) / text_width(word, weight="bold"))
    _write(figure, middle, top, word, ha="center", fontsize=size, **look)
    axis = _panel(figure, middle - _PANEL / 2, top - _TITLE - _PANEL, _PANEL)
    gray = laid.row.image @ _GRAY / 255
    axis.imshow(gray, cmap="gray", vmin=0, vmax=1.25, interpolation="nearest")
    maps = laid.row.attention
    if maps is None or number >= len(maps):
        return
    weights = np.nan_to_num(np.asarray(maps[number], np.float64), posinf=0.0, neginf=0.0)
    height, width = gray.shape
    axis.imshow(
        weights / max(float(weights.max()), 1e-12),
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        **_heat(),
        interpolation="bilinear",
    )


def _heat() -> dict[str, Any]:
    """Colors of attention weights relative to their maximum: from clear to orange."""
    colors = optional("matplotlib.colors")
    ends = [colors.to_rgba(_HEAT, alpha) for alpha in (0.0, 0.85)]
    return {
        "cmap": colors.LinearSegmentedColormap.from_list("attention", ends),
        "norm": colors.Normalize(0, 1),
    }


def _draw_key(figure: Any, has_heat: bool, has_wrong: bool) -> None:
    """What the colors mean, along the lower edge."""
    left, width = _GAP, figure.get_size_inches()[0]
    if has_heat:
        bar = _panel(figure, left + 0.05, 0.22, 1.0, 0.08)
        bar.set_axis_on()
        mappable = optional("matplotlib.cm").ScalarMappable(**_heat())
        figure.colorbar(mappable, cax=bar, orientation="horizontal", ticks=[0, 1])
        bar.tick_params(labelsize=6, length=2, pad=1)
        bar.grid(visible=False)
        left += 1.2
        _write(figure, left, 0.33, "attention / its maximum for the word")
    if has_wrong:
        text = "red: not in the nearest reference" if has_heat else "red: matches no reference"
        fits_beside = width > 5 or not has_heat
        place = (left + 2.1 * has_heat, 0.33) if fits_beside else (left, 0.17)
        _write(figure, *place, text, color=_WRONG, fontweight="bold")


def _panel(figure: Any, left: float, bottom: float, width: float, height: float = 0.0) -> Any:
    """Axes without ticks at a place in inches; square unless a height is given."""
    wide, tall = figure.get_size_inches()
    axis = figure.add_axes(
        (left / wide, bottom / tall, width / wide, (height or width) / tall), xticks=[], yticks=[]
    )
    axis.set_axis_off()
    return axis


def _write(figure: Any, left: float, top: float, text: str, **look: Any) -> None:
    wide, tall = figure.get_size_inches()
    look = {"fontsize": 7, "va": "top", **look}
    figure.text(left / wide, top / tall, plain_text(text), **look)
