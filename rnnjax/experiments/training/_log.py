"""metrics.jsonl, and TensorBoard beside it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax._extras import optional
from rnnjax._files import plain, replace_file

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


def read_metrics(folder: Path, last: int | None = None) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, in order; none if there is no such file.

    A last line that a kill has cut short is left out.

    Args:
      folder: of the run.
      last: the step after which lines are left out.

    Raises:
      ValueError: a line that is not one of a log; the message gives the file and the line.
    """
    path = Path(folder) / METRICS
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    lines = [_read(line, f"{path}, line {n}") for n, line in enumerate(whole.split("\n"), 1)]
    lines = [line for line in lines if line]
    return [line for line in lines if last is None or line["step"] <= last]


def _read(line: str, where: str) -> dict[str, Any]:
    """An entry of the log; an empty one of an empty line."""
    try:
        entry = json.loads(line) if line.strip() else {}
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or (entry and "step" not in entry):
        raise ValueError(f"{where}: expected an object with a step, got {line!r}: delete the line")
    return entry


def numbers(value: Any) -> np.ndarray:
    """A logged figure, or those of several seeds, as floats [n]: None is NaN, "-inf" is -inf."""
    each = [value] if np.ndim(value) == 0 else value
    return np.array([math.nan if x is None else float(x) for x in each])


def mean_of(value: Any) -> float:
    """A logged figure, or the mean of those of several seeds."""
    with np.errstate(invalid="ignore"):  # of inf and -inf
        return float(np.mean(numbers(value)))


class Log:
    """Appends to metrics.jsonl and, if asked, to TensorBoard's event files."""

    def __init__(self, folder: Path, kept: list[dict[str, Any]], tensorboard: bool) -> None:
        """Open a log that goes on after the lines that are kept."""
        path = folder / METRICS
        text = "".join(_line(entry) for entry in kept)
        replace_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))
        self._file = path.open("a", encoding="utf-8")
        self._board = None
        if tensorboard:
            begin = kept[-1]["step"] + 1 if kept else 1
            writer = optional("tensorboardX").SummaryWriter
            self._board = writer(str(folder / TENSORBOARD), purge_step=begin)

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append one line, and hand it to the operating system at once."""
        self._file.write(_line(entry))
        self._file.flush()
        if self._board is not None:
            for name, value in _scalars(entry):
                self._board.add_scalar(name, value, entry["step"])

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(plain(entry), allow_nan=False) + "\n"


def _scalars(entry: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Names and numbers; of several seeds the mean."""
    found: list[tuple[str, float]] = []
    for name, value in entry.items():
        if isinstance(value, Mapping):
            found += _scalars(value, f"{prefix}{name}/")
        elif name != "step":
            found.append((prefix + name, mean_of(value)))
    return found
