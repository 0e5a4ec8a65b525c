"""A figure of captioned images, with the attention map for each word."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnjax._extras import optional
from rnnjax.experiments.report._style import new_figure, write_figure

_PANEL = 0.56  # inches
_WRONG, _HEAT = "#D55E00", "#E69F00"
_GRAY = np.array([0.299, 0.587, 0.114])  # luminance weights of red, green and blue


class CaptionRow(NamedTuple):
    """An image and the caption generated for it."""

    image: np.ndarray  # [S, S, 3] uint8
    caption: str
    references: Sequence[str] = ()  # reference captions; empty if unknown
    attention: np.ndarray | None = None  # [words, h, w] maps; any beyond are not drawn


def write_captions(rows: Sequence[CaptionRow], path: str | Path) -> Path:
    """Draw images with their captions into a file, one row each.

    With attention, each word has a panel: the image in grey, overlaid with the attention weights
    with which the word was generated, scaled to their maximum. Words that do not match the nearest
    reference caption are red, and that reference is printed below.

    Args:
      rows: the images, their captions, reference captions, and attention maps.
      path: a file name with a suffix that matplotlib supports, such as .png or .pdf; .png is
        appended if it has none.

    Returns:
      The path that was written.

    Raises:
      ImportError: matplotlib is not installed.
      ValueError: no rows.
    """
    if not rows:
        raise ValueError("write_captions needs at least one picture")
    return write_figure(lambda: caption_figure(rows), path)


def caption_figure(rows: Sequence[CaptionRow]) -> Any:
    """Draw the figure of `write_captions`."""
    words = max(len(row.caption.split()) for row in rows)
    panels = words if any(row.attention is not None for row in rows) else 0
    width = 1.5 * _PANEL + max(panels * _PANEL, 3.5)
    ratios = [1.5, *[1.0] * panels] if panels else [1.5, width / _PANEL - 1.5]
    figure, axes = new_figure(
        len(rows), len(ratios), (width, 1.66 * _PANEL * len(rows)), width_ratios=ratios
    )
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.03, wspace=0.0, hspace=0.02)
    for line, row in zip(axes, rows, strict=True):
        for axis in line:
            axis.set_axis_off()
        line[0].imshow(row.image, interpolation="nearest")
        marked, reference = _matched(row)
        if panels:
            _draw_words(line[1:], row, marked)
        else:
            line[1].text(0, 0.6, row.caption, color=_WRONG if reference else "black", va="center")
        if reference:
            _note(line[1], f"reference: {reference}", below=panels > 0)
    return figure


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


def _note(axis: Any, text: str, below: bool) -> None:
    """Write a note beside the image, or below the first panel, past which it may extend."""
    height, align = (-0.12, "top") if below else (0.25, "center")
    look = {"fontsize": 6.5, "color": "#555555", "va": align}
    axis.text(0, height, text, transform=axis.transAxes, **look).set_in_layout(not below)


def _draw_words(axes: Sequence[Any], row: CaptionRow, right: Sequence[bool]) -> None:
    gray = row.image @ _GRAY / 255
    for k, (axis, word) in enumerate(zip(axes, row.caption.split(), strict=False)):
        look = {"color": "black"} if right[k] else {"color": _WRONG, "fontweight": "bold"}
        axis.set_title(word, fontsize=7, pad=2, **look)
        axis.imshow(gray, cmap="gray", vmin=0, vmax=1.25, interpolation="nearest")
        if row.attention is None:
            continue
        weights = row.attention[k] / max(float(row.attention[k].max()), 1e-12)
        heat = np.zeros((*weights.shape, 4))
        heat[..., :3] = optional("matplotlib.colors").to_rgb(_HEAT)
        heat[..., 3] = 0.85 * weights
        height, width = gray.shape
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        axis.imshow(heat, extent=extent, interpolation="bilinear")
