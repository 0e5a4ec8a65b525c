"""Figures of one panel of what `rnnjax.flow` measures, most of them by lag."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rnnjax._extras import optional
from rnnjax._types import Array
from rnnjax.experiments.report._by_lag import by_lag, relative_by_lag, shares_by_lag, spread_line
from rnnjax.experiments.report._lines import (
    Key,
    Line,
    add_legend,
    draw_levels,
    draw_line,
    fit_steps,
    fit_values,
    line_key,
    line_of,
)
from rnnjax.experiments.report._style import COLUMN, Look, looks_of, new_figure, write_figure
from rnnjax.flow import Bound, Recording, Truncation, gradient_norms

T = TypeVar("T")
_HEIGHT = 2.2
_GRAY = "#555555"
_MIDDLE = "middle half of the examples"
_BOUND = {"lw": 1.0, "ls": (0, (1.5, 1.5)), "zorder": 4}


def write_norms(
    found: Recording | Array | Mapping[str, Recording | Array],
    path: str | Path,
    *,
    leaf: str | None = None,
    bounds: Mapping[str, Bound] | None = None,
) -> Path:
    """Draw how one error shrinks or grows on its way back: ‖∂C/∂s_{T-k}‖ / ‖∂C/∂s_T‖ by lag k.

    A line is the median over examples, its band their middle half. Examples without a gradient are
    left out; with lengths, T is each example's own last step.

    Args:
      found: `flow.record(..., last=True)`, or norms `[T, ...]`; or several by name.
      path: of the figure; .png, .pdf or .svg.
      leaf: of recordings, the field of the carry; None for all.
      bounds: what `flow.pascanu_bound` returns, by name: dashed lines (σ_max γ)^k.

    Returns:
      The path.

    Raises:
      ValueError: nothing to draw, or bounds of a name that is not in `found`.
    """
    norms = {
        name: np.asarray(gradient_norms(each, leaf) if isinstance(each, Recording) else each)
        for name, each in by_name(found).items()
    }
    unknown = set(bounds or {}) - set(norms)
    if unknown:
        raise ValueError(f"bounds of {sorted(unknown)}: found has {sorted(norms)}")

    def draw() -> Any:
        figure, axis, looks = _new(norms)
        lines = [spread_line(looks[name], relative_by_lag(table)) for name, table in norms.items()]
        axis.axhline(1, color="#777777", lw=0.6, zorder=1)
        _draw_all(axis, lines)
        for name, bound in (bounds or {}).items():
            lags = np.arange(len(norms[name]))
            with np.errstate(under="ignore", over="ignore"):
                powers = float(bound.product) ** lags
            axis.plot(lags, powers, color=looks[name].color, **_BOUND)
        fit_values(axis, lines, log=True, empty="no gradient")
        fit_steps(axis, 0, max([1, *(len(table) - 1 for table in norms.values())]))
        axis.set_xlabel("Lag k (steps)")
        axis.set_ylabel("‖∂C/∂s$_{T-k}$‖ / ‖∂C/∂s$_T$‖")
        keys = _bands(lines, _MIDDLE)
        if bounds:
            handle = optional("matplotlib.lines").Line2D([], [], color=_GRAY, **_BOUND)
            keys.append(Key(handle, "Pascanu's bound (σγ)ᵏ"))
        return _finished(figure, looks, keys)

    return write_figure(draw, path, "Norms of the gradient by lag")


def write_ratios(found: Array | Mapping[str, Array], path: str | Path) -> Path:
    """Draw by lag how much each step back shrinks or stretches the error.

    A line is the median over examples, its band their middle half. Ω, the sum of the squared
    distances from 1, is in the legend: the median over examples. T is the last step of each example
    that has a ratio.

    Args:
      found: what `flow.pascanu_ratios` returns, `[T, ...]`; or several by name.
      path: of the figure; .png, .pdf or .svg.

    Returns:
      The path.

    Raises:
      ValueError: nothing to draw.
    """
    ratios = {
        name: np.asarray(each, np.float64).reshape(len(each), -1)
        for name, each in by_name(found).items()
        if np.size(each)
    }
    if not ratios:
        raise ValueError("nothing to draw: found has no steps, or no examples")

    def draw() -> Any:
        figure, axis, looks = _new(ratios)
        lines = [
            spread_line(looks[name], by_lag(each, np.isfinite(each)))
            for name, each in ratios.items()
        ]
        keys = draw_levels(axis, {"keeps the norm of the error": 1.0})
        _draw_all(axis, lines)
        fit_values(axis, lines, [1.0], empty="no error")
        fit_steps(axis, 0, max([1, *(len(each) - 1 for each in ratios.values())]))
        axis.set_xlabel("Lag T − t (steps)")
        axis.set_ylabel("‖∂C/∂s$_t$ ∂s$_t$/∂s$_{t-1}$‖ / ‖∂C/∂s$_t$‖")
        for name, each in ratios.items():
            omega = f"Ω = {np.median(np.nansum((each - 1) ** 2, axis=0)):.3g}"
            looks[name] = _saying(looks[name], omega)
        return _finished(figure, looks, [*keys, *_bands(lines, _MIDDLE)])

    return write_figure(draw, path, "Ratios of the norms of the error from step to step")


def write_truncation(found: Truncation | Mapping[str, Truncation], path: str | Path) -> Path:
    """Draw the bound on the relative bias of truncated BPTT by its length.

    The large marker is the shortest length under the bias that was asked for, the dashed line.

    Args:
      found: what `flow.truncation_length` returns; or several by name.
      path: of the figure; .png, .pdf or .svg.

    Returns:
      The path.

    Raises:
      ValueError: nothing to draw.
    """
    truncations = by_name(found)

    def draw() -> Any:
        figure, axis, looks = _new(truncations)
        lines = []
        for name, each in truncations.items():
            bounds = np.asarray(each.bounds, np.float64)
            lines.append(line_of(looks[name], np.arange(1, len(bounds) + 1), bounds[None]))
        _draw_all(axis, lines)
        for name, each in truncations.items():
            if each.length is not None:
                look = looks[name]
                axis.plot(each.length, each.bound, look.marker, color=look.color, ms=7, zorder=5)
        wanted = sorted({each.bias for each in truncations.values()})
        keys = draw_levels(axis, {f"bias asked for: {bias:g}": bias for bias in wanted})
        fit_values(axis, lines, wanted, log=True)
        fit_steps(axis, 1, max([2, *(len(line.x) for line in lines)]))
        for (name, look), line in zip(looks.items(), lines, strict=True):
            if line.is_empty:
                looks[name] = _saying(look, "no bound")
        axis.set_xlabel("Length of the truncation (steps)")
        axis.set_ylabel("Bound on the relative bias")
        return _finished(figure, looks, keys)

    return write_figure(draw, path, "Bias of truncated backpropagation")


def write_clipped_steps(
    found: Array | Mapping[str, Array], path: str | Path, *, lengths: Array | None = None
) -> Path:
    """Draw in how many examples a clip inside the loop fires, by lag k: percent at step T - k.

    Args:
      found: what `flow.clipped_steps` returns, bool `[T, ...]`; or several by name.
      path: of the figure; .png, .pdf or .svg.
      lengths: of the sequences, as they were given to `flow.clipped_steps`: T is each one's last
        step, and a lag counts the examples that have it.

    Returns:
      The path.

    Raises:
      ValueError: nothing to draw, or lengths of another shape.
    """
    shares = {name: shares_by_lag(each, lengths) for name, each in by_name(found).items()}

    def draw() -> Any:
        figure, axis, looks = _new(shares)
        lines = [
            line_of(looks[name], np.arange(len(share)), 100 * share[None])
            for name, share in shares.items()
        ]
        _draw_all(axis, lines)
        fit_values(axis, lines, [0, 100], log=False)
        fit_steps(axis, 0, max([1, *(len(line.x) - 1 for line in lines)]))
        axis.set_xlabel("Lag k (steps)")
        axis.set_ylabel("Examples clipped at T - k (%)")
        return _finished(figure, looks, [])

    return write_figure(draw, path, "Where a clip inside the loop fires")


def by_name(found: T | Mapping[str, T]) -> dict[str, T]:
    """What to draw by name, "" for a single one; ValueError if there is nothing."""
    named: dict[str, Any] = dict(found) if isinstance(found, Mapping) else {"": found}
    if not named:
        raise ValueError("nothing to draw: found is empty")
    return named


def _saying(look: Look, words: str) -> Look:
    return look._replace(label=": ".join(filter(None, [look.label, words])))


def _new(named: Mapping[str, Any]) -> tuple[Any, Any, dict[str, Look]]:
    figure, axes = new_figure(1, 1, (COLUMN, _HEIGHT))
    return figure, axes[0, 0], dict(zip(named, looks_of([*named]), strict=True))


def _draw_all(axis: Any, lines: list[Line]) -> None:
    for k, line in enumerate(lines):
        draw_line(axis, line, k, len(lines))


def _bands(lines: list[Line], label: str) -> list[Key]:
    """The legend entry of the bands, if there are any."""
    if all(line.seeds < 2 or line.is_empty for line in lines):
        return []
    return [Key(optional("matplotlib.patches").Patch(color=_GRAY, alpha=0.25, lw=0), label)]


def _finished(figure: Any, looks: Mapping[str, Look], keys: list[Any]) -> Any:
    named = [line_key(look, look.label) for look in looks.values() if look.label]
    add_legend(figure, [*named, *keys])
    return figure
