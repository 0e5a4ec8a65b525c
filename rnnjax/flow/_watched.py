"""`read_watch`: what `watch` measured over training, as arrays."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnjax._checks import described

LAG = re.compile(r"(|layer_\d+/)log10_gradient_norm_lag_(\d+)")  # names that `watch` gives
_EIGENVALUES = re.compile(r"(layer_\d+/)?eigenvalues(_\w+)?")


class Watched(NamedTuple):
    """Gradient flow over training; made by `read_watch`."""

    steps: np.ndarray  # [n] ascending
    lags: np.ndarray  # [L] ascending
    log10_norms: dict[str, np.ndarray]  # layer -> [n, L] of ‖∂C/∂s_{T-lag}‖; "" if there is one
    values: dict[str, np.ndarray]  # name -> [n] of everything else
    eigenvalues: dict[str, np.ndarray]  # name -> [n, H] complex, the largest first


def read_watch(source: str | Path | Iterable[Mapping[str, Any]]) -> Watched:
    """Read the measurements of `watch` back: from its file, from a run, or from `watch.history`.

    Where steps go back, as after a run that was resumed from a checkpoint, later lines replace the
    earlier ones from that step on. A last line that was cut off is dropped.

    Args:
      source: the .jsonl file of `watch(to=...)`; the metrics.jsonl of a run of `training.fit` with
        `flow_callback`, or its folder; or entries, as in `watch.history`.

    Returns:
      A `Watched(steps, lags, log10_norms, values, eigenvalues)`. NaN where a value is missing.

    Raises:
      TypeError: something else than a path or entries.
      FileNotFoundError: there is no such file.
      ValueError: no measurements, or a line that is none; the message gives the line.

    Example:
      >>> import rnnjax
      >>> entry = {"step": 0, "log10_gradient_norm_lag_0": -1.0, "lyapunov": "-inf"}
      >>> rnnjax.flow.read_watch([entry]).values
      {'lyapunov': array([-inf])}
    """
    entries: list[Mapping[str, Any]] = []
    for entry in _entries(source):
        while entries and entries[-1]["step"] >= entry["step"]:
            entries.pop()
        entries.append(entry)
    if not entries:
        raise ValueError(
            f"no measurements in {source}: they are written by flow.watch(to=...), and in a run by "
            "training.flow_callback or rnnjax train --flow-every N"
        )
    names = dict.fromkeys(name for entry in entries for name in entry if name != "step")
    rows = {name: [entry.get(name) for entry in entries] for name in names}
    spectra = {name: _complex(row) for name, row in rows.items() if _EIGENVALUES.fullmatch(name)}
    columns = {
        name: np.array([_float(value) for value in row])
        for name, row in rows.items()
        if name not in spectra
    }
    found = {name: lag for name in names if (lag := LAG.fullmatch(name))}
    lags = sorted({int(lag[2]) for lag in found.values()})
    layers = dict.fromkeys(lag[1].rstrip("/") for lag in found.values())
    missing = np.full(len(entries), np.nan)
    norms = {
        layer: np.stack(
            [
                columns.get(f"{layer}/".lstrip("/") + f"log10_gradient_norm_lag_{lag}", missing)
                for lag in lags
            ],
            axis=1,
        )
        for layer in layers
    }
    values = {name: column for name, column in columns.items() if name not in found}
    steps = np.array([entry["step"] for entry in entries])
    return Watched(steps, np.array(lags, int), norms, values, spectra)


def _entries(source: Any) -> Iterable[Mapping[str, Any]]:
    if isinstance(source, str | Path):
        path = Path(source)
        path = path / "metrics.jsonl" if path.is_dir() else path
        whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
        lines = enumerate(whole.split("\n") if whole else [], 1)
        read = (_parsed(line, f"{path}, line {number}") for number, line in lines if line.strip())
    elif isinstance(source, Iterable):
        read = (_checked(entry, "source") for entry in source)
    else:
        raise TypeError(
            f"source must be a path, or entries as in watch.history, got {described(source)}"
        )
    for entry in read:
        if "cost" in entry:  # of a run: what callbacks returned stands apart
            found = entry.get("callbacks", {})
            if any(LAG.fullmatch(name) for name in found):
                yield {"step": entry["step"], **found}
        else:
            yield entry


def _parsed(line: str, where: str) -> Mapping[str, Any]:
    try:
        return _checked(json.loads(line), where)
    except json.JSONDecodeError:
        return _checked(line[:60], where)


def _checked(entry: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("step"), int):
        raise ValueError(f"{where}: expected an object with a step, got {entry!r}")
    return entry


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _complex(rows: Sequence[Any]) -> np.ndarray:
    """`[n, H]` of n lists of pairs, or None."""
    found = np.full((len(rows), max(len(row or ()) for row in rows)), complex(math.nan, math.nan))
    for k, row in enumerate(rows):
        for i, pair in enumerate(row or ()):
            found[k, i] = complex(*map(_float, pair))
    return found
