"""A figure of fixed points in the plane in which the states vary most."""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnnjax._checks import is_inexact
from rnnjax.experiments.report._lines import Key, add_legend, say
from rnnjax.experiments.report._style import COLUMN, new_figure, write_figure
from rnnjax.flow import FixedPoints

_GRAY = "#999999"
_KINDS = (
    ("stable", {"marker": "o", "color": "#0072B2"}),
    ("unstable", {"marker": "o", "color": "#D55E00", "markerfacecolor": "white"}),
    ("slow point", {"marker": "^", "color": "#E69F00"}),
)


def write_fixed_points(
    points: FixedPoints, path: str | Path, *, trajectories: Any | None = None
) -> Path:
    """Draw fixed and slow points among the states that a net visits.

    In the plane of the first two principal components of the trajectories, or of the points if
    there are none. Searches that did not converge are left out.

    Args:
      points: what `flow.fixed_points` or `flow.relu_fixed_points` returns.
      path: of the figure; .png, .pdf or .svg.
      trajectories: carries `[T, B, ...]`, as `unroll(..., return_carries=True)` returns them.

    Returns:
      The path.
    """
    return write_figure(lambda: _draw(points, trajectories), path, "Fixed points")


def _draw(points: FixedPoints, trajectories: Any | None) -> Any:
    states = _vectors(points.states, 1)
    size = states.shape[-1]
    lines = np.zeros((0, 0, size)) if trajectories is None else _vectors(trajectories, 2)
    ground = lines.reshape(-1, size) if lines.size else states
    center = ground.mean(axis=0) if len(ground) else np.zeros(size)
    axes = np.linalg.svd(ground - center, full_matrices=True)[2][:2]
    spread = ((ground - center) ** 2).sum()
    figure, panels = new_figure(1, 1, (COLUMN, 3.0))
    axis = panels[0, 0]
    for k in range(lines.shape[1]):
        flat = (lines[:, k] - center) @ axes.T
        axis.plot(flat[:, 0], _second(flat), color=_GRAY, lw=0.5, zorder=1)
    keys = []
    for name, look in _KINDS:
        flat = (states[_of(points, name)] - center) @ axes.T
        if len(flat):
            drawn = {"ls": "None", "markersize": 4.5, **look}
            keys.append(Key(axis.plot(flat[:, 0], _second(flat), **drawn)[0], name))
    if not keys and not lines.size:
        say(axis, "no fixed points")
    for k, set_label in enumerate((axis.set_xlabel, axis.set_ylabel)):
        share = ((ground - center) @ axes[k : k + 1].T) ** 2
        part = share.sum() / spread if spread > 0 else 0.0
        set_label(f"Principal component {k + 1} ({part:.0%} of the variance)")
    add_legend(figure, keys)
    return figure


def _vectors(carry: Any, leading: int) -> np.ndarray:
    """The differentiable leaves of a carry side by side, `[..., S]`; complex numbers as two."""
    parts: list[np.ndarray] = []
    for leaf in jax.tree.leaves(carry):
        if is_inexact(leaf):
            shape = np.shape(leaf)
            flat = np.asarray(leaf).reshape(*shape[:leading], math.prod(shape[leading:]))
            parts += [np.real(flat), np.imag(flat)] if np.iscomplexobj(flat) else [flat]
    return np.concatenate(parts, axis=-1).astype(np.float64)


def _second(flat: np.ndarray) -> np.ndarray:
    return flat[:, 1] if flat.shape[1] > 1 else np.zeros(len(flat))


def _of(points: FixedPoints, name: str) -> np.ndarray:
    if name == "slow point":
        return points.labels == "slow"
    return (points.labels == "fixed") & (points.stable == (name == "stable"))
