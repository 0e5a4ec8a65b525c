"""Tables `[T, ...]` read backwards: by lag from each example's own last step."""

from typing import Any

import numpy as np

from rnnjax.experiments.report._lines import Line
from rnnjax.experiments.report._style import Look


def by_lag(table: np.ndarray, some: np.ndarray) -> np.ndarray:
    """`[T, n]` from the last step on that has something in an example; NaN beyond its first."""
    return _back_from(table, len(table) - 1 - np.argmax(some[::-1], axis=0))


def relative_by_lag(norms: np.ndarray) -> np.ndarray:
    """Norms `[T, ...]` by lag relative to the last that is not zero: `[T, n]`."""
    table = norms.reshape(len(norms), -1).astype(np.float64)
    table = table[:, (table != 0).any(axis=0)]
    there = by_lag(table, table != 0)
    with np.errstate(invalid="ignore", over="ignore"):
        return there / there[:1]


def spread_line(look: Look, values: np.ndarray) -> Line:
    """The median over the examples `[n, examples]` and their middle half."""
    some = np.isfinite(values).any(axis=1)
    low, middle, high = np.full((3, len(values)), np.nan)
    if some.any():
        low[some], middle[some], high[some] = np.nanquantile(
            values[some], [0.25, 0.5, 0.75], axis=1
        )
    return Line(look, np.arange(len(values)), middle, low, high, max(values.shape[1], 1), 0)


def shares_by_lag(fires: Any, lengths: Any) -> np.ndarray:
    """The share of the examples that fire at each lag `[T]`, NaN where none is so long."""
    table = np.asarray(fires, bool)
    steps, ends = len(table), np.full(table.shape[1:], len(table))
    if lengths is not None:
        ends = np.asarray(lengths)
        if ends.shape != table.shape[1:]:
            raise ValueError(
                f"lengths must have the shape {[*table.shape[1:]]} of the examples in found, got "
                f"{[*ends.shape]}"
            )
    there = _back_from(table.reshape(steps, -1), ends.reshape(-1) - 1)
    count = np.isfinite(there).sum(axis=1)
    return np.where(count > 0, np.nansum(there, axis=1) / np.maximum(count, 1), np.nan)


def _back_from(table: np.ndarray, last: np.ndarray) -> np.ndarray:
    """`[T, n]` from step `last` `[n]` backwards; NaN beyond the first step."""
    places = last[None] - np.arange(len(table))[:, None]
    there = np.take_along_axis(table, np.maximum(places, 0), axis=0)
    return np.where(places >= 0, there, np.nan)
