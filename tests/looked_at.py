"""What a reader sees of a figure: texts that overlap, leave the figure, or lie on curves."""

from itertools import combinations

import numpy as np
from matplotlib.text import Text
from matplotlib.transforms import Bbox

_TOLERANCE = 0.5  # pixels


def faults(figure):
    """Overlaps among the texts of a figure, with its edges and with its curves, in words."""
    figure.draw_without_rendering()
    boxes = [(text.get_text(), _box(text)) for text in _texts(figure)]
    found = [
        f"{a!r} on {b!r}" for (a, one), (b, other) in combinations(boxes, 2) if one.overlaps(other)
    ]
    whole = figure.bbox
    found += [f"{text!r} leaves the figure" for text, box in boxes if not _inside(box, whole)]
    for axis in figure.axes:
        for line in axis.lines:
            path = line.get_path().interpolated(8)
            points = line.get_transform().transform(path.vertices)
            points = points[np.isfinite(points).all(axis=1)]
            points = points[_within(points, axis.bbox)]
            found += [f"{text!r} on a curve" for text, box in boxes if _within(points, box).any()]
    return found


def _within(points, box):
    return ((points > box.min) & (points < box.max)).all(axis=1)


def legend_of(figure):
    """The entries of the legend: text -> (color, marker)."""
    if not figure.legends:
        return {}
    legend = figure.legends[0]
    return {
        text.get_text(): getattr(handle, "get_marker", lambda: "patch")()
        for text, handle in zip(legend.texts, legend.legend_handles, strict=True)
    }


def _texts(figure):
    for axis in figure.axes:
        axis.get_tightbbox()  # updates ticks
    shown = [
        text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()
    ]
    hidden = {label for axis in figure.axes for label in _labels_outside(axis)}
    return [text for text in shown if text not in hidden]


def _labels_outside(axis):
    """Tick labels that matplotlib keeps but does not draw: out of the limits, or axes off."""
    for each in (axis.xaxis, axis.yaxis):
        drawn = set(each._update_ticks()) if axis.axison else set()
        for tick in (*each.get_major_ticks(), *each.get_minor_ticks()):
            if tick not in drawn:
                yield from (tick.label1, tick.label2)


def _box(text):
    box = text.get_window_extent()
    return Bbox.from_extents(*(box.min + _TOLERANCE), *(box.max - _TOLERANCE))


def _inside(box, whole):
    return (box.min >= whole.min - 1).all() and (box.max <= whole.max + 1).all()
