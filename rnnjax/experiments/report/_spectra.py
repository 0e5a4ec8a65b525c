"""Panels of singular values by lag, which two figures have in common."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnjax._extras import optional
from rnnjax.experiments.report._lines import ZERO, Key, say, zero_key

LOWEST = -20.0  # log10 at which the axis ends, however much smaller singular values are


def draw_spectrum(axis: Any, lags: np.ndarray, logs: np.ndarray, color: str) -> None:
    """Draw log10 σ `[L, S]`, descending, by lag; triangles below where more are exactly zero."""
    finite = np.where(np.isfinite(logs), logs, np.nan)
    at = _zeros(logs)
    if not np.isfinite(logs).any():
        say(axis, "exactly\nzero" if len(at) else "not finite" if logs.size else "no lags")
        return
    alone = {"marker": "o"} if len(lags) == 1 else {}
    axis.axhline(0, color="black", lw=0.6, zorder=1)
    axis.plot(lags, finite[:, 1:], color=color, lw=0.4, alpha=0.5, markersize=1.5, **alone)
    axis.plot(lags, finite[:, 0], color=color, lw=1.6, markersize=4, **alone)
    if len(at):
        edge = {"transform": axis.get_xaxis_transform(), "clip_on": False}
        axis.plot(lags[at], np.zeros(len(at)), color=color, **ZERO, **edge)


def fit_spectra(axis: Any, every: Sequence[np.ndarray]) -> bool:
    """Fit the vertical axis to all panels' log10 σ and to 0; whether smaller ones lie below it."""
    drawn = np.concatenate([np.zeros(1), *(logs[np.isfinite(logs)] for logs in every)])
    low, high = max(drawn.min(), LOWEST), drawn.max()
    room = max(0.05 * (high - low), 0.5 * (1 - (high - low)))
    is_cut = bool(drawn.min() < LOWEST)
    axis.set_ylim(LOWEST if is_cut else low - room, high + room)
    return is_cut


def spectrum_keys(every: Sequence[np.ndarray]) -> list[Key]:
    """The legend entry of the triangles, where there are any."""
    shown = (logs for logs in every if np.isfinite(logs).any())
    return [zero_key()] if any(len(_zeros(logs)) for logs in shown) else []


def double_axis(axis: Any, longest: int) -> None:
    """A horizontal axis from 1 to the longest lag, logarithmic, with powers of two as ticks."""
    powers = [1 << k for k in range(longest.bit_length())]
    axis.set_xscale("log", base=2)
    axis.set_xlim(0.9, 1.1 * max(longest, 2))
    axis.set_xticks(powers[:: -(-len(powers) // 4)], minor=False)
    axis.xaxis.set_major_formatter(optional("matplotlib.ticker").FuncFormatter("{:.0f}".format))
    axis.xaxis.set_minor_locator(optional("matplotlib.ticker").NullLocator())


def _zeros(logs: np.ndarray) -> np.ndarray:
    """The places of the lags at which more singular values are exactly zero than before."""
    counts = np.sum(logs == -np.inf, axis=1)
    return np.flatnonzero(counts > np.pad(counts, (1, 0))[:-1])
