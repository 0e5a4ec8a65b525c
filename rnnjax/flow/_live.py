"""What `watch` shows in the terminal: a table that is redrawn, or a line for each measurement."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rnnjax._extras import optional
from rnnjax.flow._watched import LAG

_BARS = "▁▂▃▄▅▆▇█"
_RECENT = 30  # measurements in a sparkline
_SHOWN_LAGS = 4


class Live:
    """A terminal that follows the measurements."""

    def __init__(self) -> None:
        self._live: Any = None

    def show(self, history: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> None:
        """Show the last entry, beside the first and the way between them."""
        if not sys.stderr.isatty():
            print(line_of(history[-1]), file=sys.stderr, flush=True)
            return
        if self._live is None:
            console = optional("rich.console").Console(stderr=True)
            self._live = optional("rich.live").Live(console=console, auto_refresh=False)
            self._live.start()
        self._live.update(table_of(history, notes), refresh=True)

    def close(self) -> None:
        """Leave the last table on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def line_of(entry: Mapping[str, Any]) -> str:
    """The essence of a measurement in one line, layer by layer."""
    layers: dict[str, dict[str, float]] = {}
    for name, value in entry.items():
        layer, _, last = name.rpartition("/")
        if not _is_apart(name, value):
            layers.setdefault(layer, {})[last] = value
    parts = []
    for layer, values in layers.items():
        norms = {int(lag[2]): values[name] for name in values if (lag := LAG.fullmatch(name))}
        longest = max((lag for lag, norm in norms.items() if not math.isnan(norm)), default=0)
        radii = [value for name, value in values.items() if name.startswith("spectral_radius")]
        change = _number(norms[longest] - norms[0])
        words = f"λ₁ {_number(values['lyapunov'])}, "
        words += f"‖∂C/∂s‖ 10^{change} times as large {longest} steps back"
        words += f", ρ(W_h) {_number(max(radii))}" if radii else ""
        parts.append(f"{layer.replace('_', ' ')}: {words}" if layer else words)
    return f"step {entry['step']}: " + "; ".join(parts)


def table_of(history: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> Any:
    """A rich table with a row for each value."""
    table = optional("rich.table").Table(
        title=f"Gradient flow at step {history[-1]['step']:,}",
        caption="\n".join(f"not measured: {note}" for note in notes) or None,
        box=optional("rich.box").SIMPLE_HEAD,
    )
    table.add_column("")
    for heading in ("first", "now"):
        table.add_column(heading, justify="right")
    table.add_column("since")
    for name in _shown(history):
        values = [entry[name] for entry in history]
        ends = (_number(values[0]), _number(values[-1]))
        table.add_row(label_of(name), *ends, sparkline(values[-_RECENT:]))
    return table


def sparkline(values: Sequence[float]) -> str:
    """Bars from the smallest to the largest of the finite values."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        _BARS[round((value - low) * scale)] if math.isfinite(value) else "·" for value in values
    )


def label_of(name: str) -> str:
    """A measured value as a reader knows it: "log₁₀ ‖∂C/∂s‖ at lag 8"."""
    layer, _, last = name.rpartition("/")
    found = LAG.fullmatch(last)
    words = (
        f"log₁₀ ‖∂C/∂s‖ at lag {found[2]}"
        if found
        else "λ₁ (nats a step)"
        if last == "lyapunov"
        else last.replace("_", " ")
    )
    return f"{layer.replace('_', ' ')}: {words}" if layer else words


def _shown(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the values, with few of the lags of each layer."""
    names = [name for name, value in history[-1].items() if not _is_apart(name, value)]
    shown = []
    for name in names:
        found = LAG.fullmatch(name)
        if found:
            lags = [other for other in names if other.startswith(name[: found.end(1)])]
            lags = [other for other in lags if LAG.fullmatch(other)]
            every = -(-(len(lags) - 1) // (_SHOWN_LAGS - 1)) or 1
            if (len(lags) - 1 - lags.index(name)) % every and name != lags[0]:
                continue
        if "spectral_norm" in name and name.replace("norm", "radius") in names:
            continue
        shown.append(name)
    return shown


def _is_apart(name: str, value: Any) -> bool:
    """Of a measurement, what is not one number over time: the step, and lists of eigenvalues."""
    return name == "step" or isinstance(value, list)


def _number(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return "–" if math.isnan(value) else f"{value:.3g}".replace("-", "−")
