"""Figures of clipping: what clips do to gradients, and a loss surface with paths of descent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax._extras import optional
from rnnjax.experiments.report._lines import Key, add_legend, say
from rnnjax.experiments.report._style import PAGE, looks_of, new_figure, write_figure
from rnnjax.flow import Clipping

_GRAY = "#777777"


def write_clipping(found: Clipping, path: str | Path) -> Path:
    """Draw each gradient's norm after clipping, and its cosine with the true one, by its true norm.

    Args:
      found: what `flow.clipping` returns.
      path: of the figure; .png, .pdf or .svg.

    Returns:
      The path.
    """
    return write_figure(lambda: _draw_clipping(found), path, "Clipped gradients")


def _draw_clipping(found: Clipping) -> Any:
    figure, axes = new_figure(1, 2, (PAGE, 2.5))
    kept, turned = axes[0]
    usable = np.isfinite(found.norm) & (found.norm > 0)
    norm, keys = found.norm[usable], []
    if not usable.any():
        for axis in (kept, turned):
            say(axis, "no gradient that is finite and not zero")
        return figure
    for look, name in zip(looks_of([*found.ratio]), found.ratio, strict=True):
        drawn = {"color": look.color, "marker": look.marker, "markersize": 2.6, "alpha": 0.75}
        drawn = {**drawn, "ls": "None", "markeredgewidth": 0}
        kept.plot(norm, norm * found.ratio[name][usable], **drawn)
        turned.plot(norm, found.cosine[name][usable], **drawn)
        share = f"{found.fires[name][usable].mean():.0%}"
        keys.append(Key(optional("matplotlib.lines").Line2D([], [], **drawn), f"{name} ({share})"))
    ends = np.array([norm.min(), norm.max()])
    line = kept.plot(ends, ends, color=_GRAY, lw=0.9, ls=(0, (4, 3)), zorder=1)[0]
    kept.set(xscale="log", yscale="log", ylabel="Norm after clipping")
    turned.set(xscale="log", ylabel="Cosine with the true gradient")
    turned.axhline(0, color=_GRAY, lw=0.6, zorder=1)
    for axis in (kept, turned):
        axis.set_xlabel("Norm of the true gradient")
    add_legend(figure, [*keys, Key(line, "unchanged (in brackets: how often each clip fires)")])
    return figure


def write_surface(
    x: Any,
    y: Any,
    values: Any,
    path: str | Path,
    *,
    paths: Mapping[str, Any] | None = None,
    labels: tuple[str, str, str] = ("x", "y", "cost"),
) -> Path:
    """Draw a loss over two parameters as a surface and from above, with paths of descent.

    Args:
      x: `[n]`, ascending; y: `[m]`, ascending.
      values: `[n, m]`, the loss.
      path: of the figure; .png, .pdf or .svg.
      paths: name -> `[steps, 3]`, the points (x, y, loss) that an optimiser visits. Only the part
        inside the ranges of x and y is drawn, an arrow where a path leaves them.
      labels: of x, y and the loss.

    Returns:
      The path.
    """
    checked = _checked(x, y, values, paths or {})
    return write_figure(lambda: _draw_surface(*checked, labels), path, "Loss surface")


_Surface = tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]


def _checked(x: Any, y: Any, values: Any, paths: Mapping[str, Any]) -> _Surface:
    x, y, values = (np.asarray(a, np.float64) for a in (x, y, values))
    if x.ndim != 1 or y.ndim != 1 or values.shape != (len(x), len(y)):
        raise ValueError(
            f"values must be [n, m] for x [n] and y [m], got shapes {values.shape}, {x.shape} and "
            f"{y.shape}"
        )
    found = {name: np.asarray(points, np.float64) for name, points in paths.items()}
    for name, points in found.items():
        if points.ndim != 2 or points.shape[1] != 3 or len(points) < 2:
            raise ValueError(
                f"paths[{name!r}] must be [steps, 3], points (x, y, loss), got {points.shape}"
            )
    return x, y, values, found


def _draw_surface(
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    paths: Mapping[str, np.ndarray],
    labels: tuple[str, str, str],
) -> Any:
    figure = optional("matplotlib.figure").Figure(figsize=(PAGE, 2.9))
    solid = figure.add_subplot(1, 2, 1, projection="3d", computed_zorder=False)
    flat = figure.add_subplot(1, 2, 2)
    grid = np.meshgrid(x, y, indexing="ij")
    cmap = optional("matplotlib.colors").LinearSegmentedColormap.from_list(
        "", ["#fbfbfb", "#7a7a7a"]
    )
    shown = {"rcount": 200, "ccount": 200, "cmap": cmap, "lw": 0}
    solid.plot_surface(*grid, values, **shown, antialiased=False)
    levels = flat.contourf(*grid, values, levels=12, cmap=cmap)
    flat.contour(*grid, values, levels=levels.levels, colors="#666666", linewidths=0.3)
    keys = []
    for number, (name, points) in enumerate(paths.items()):
        look = looks_of([*paths])[number]
        keys.append(Key(_path(solid, flat, points, look, (x, y, values), number), name))
    solid.view_init(elev=38, azim=-35)
    solid.set_box_aspect((1, 1, 0.6), zoom=0.85)
    solid.set(xlabel=labels[0], ylabel=labels[1])
    solid.set_title(f"{labels[2]}, as height", loc="left")
    flat.set_title("From above", loc="left")
    for axis in (solid.xaxis, solid.yaxis, solid.zaxis):
        axis.set_major_locator(optional("matplotlib.ticker").MaxNLocator(4))
        axis.pane.set_facecolor("white")
    flat.set(xlabel=labels[0], ylabel=labels[1], xlim=x[[0, -1]], ylim=y[[0, -1]])
    flat.grid(visible=False)
    figure.colorbar(levels, ax=flat, label=labels[2], pad=0.02)
    add_legend(figure, keys)
    return figure


def _path(solid: Any, flat: Any, points: np.ndarray, look: Any, ground: Any, number: int) -> Any:
    """One path on both panels up to where it leaves the surface, and an arrow there."""
    x, y, values = ground
    inside = (points[:, 0] >= x[0]) & (points[:, 0] <= x[-1])
    inside &= (points[:, 1] >= y[0]) & (points[:, 1] <= y[-1]) & np.isfinite(points[:, 2])
    count = len(points) if inside.all() else int(np.argmin(inside))
    a, b, z = points[:count].T
    drawn = {"color": look.color, "lw": 0.8, "marker": look.marker, "markersize": 1.8}
    drawn["zorder"] = 9 - number
    lift = 0.02 * (values.max() - values.min())  # above the surface, which it would sink into
    solid.plot(a, b, z + lift, **drawn)
    line = flat.plot(a, b, **drawn)[0]
    if count < len(points) and count:
        end = _edge(points[count - 1, :2], points[count, :2], x, y)
        arrow = {"arrowstyle": "-|>", "color": look.color, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
        flat.annotate("", end, points[count - 1, :2], arrowprops={**arrow, "ls": (0, (3, 1.5))})
    return line


def _edge(start: np.ndarray, end: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where the way from a point inside to one outside leaves the ranges of x and y."""
    part, way = 1.0, end - start
    for k, (low, high) in enumerate(((x[0], x[-1]), (y[0], y[-1]))):
        for limit in (low, high):
            if way[k] and 0 <= (limit - start[k]) / way[k] < part and np.isfinite(way).all():
                part = (limit - start[k]) / way[k]
    return start + part * way if np.isfinite(way).all() else start
