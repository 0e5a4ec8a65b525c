"""The log of a run: metrics.jsonl, and TensorBoard event files."""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax._arguments import checked_arguments
from rnnjax._extras import optional
from rnnjax._files import json_line, replace_file
from rnnjax.experiments._parsing import parse_json

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


@checked_arguments
def read_metrics(folder: Path, last: int | None = None) -> list[dict[str, Any]]:
    """Read the lines of a run's metrics.jsonl, in order; an empty list if there is no such file.

    A last line that was truncated when the run was killed is dropped.

    Args:
      folder: of the run.
      last: drop the lines of later steps.

    Raises:
      ValueError: a line that is not a log entry; the message gives the file and the line.
    """
    path = Path(folder) / METRICS
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    lines = [_read(line, f"{path}, line {n}") for n, line in enumerate(whole.split("\n"), 1)]
    lines = [line for line in lines if line]
    return [line for line in lines if last is None or line["step"] <= last]


def _read(line: str, where: str) -> dict[str, Any]:
    """Parse a log entry; an empty line gives an empty one."""
    try:
        entry = parse_json(line) if line.strip() else {}
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or (entry and "step" not in entry):
        raise ValueError(
            f"{where}: expected an object with a step, got {line[:60]!r}: delete the line"
        )
    return entry


@checked_arguments
def logged_values(value: Any) -> np.ndarray:
    """Convert a logged value, or one for each seed, to floats [n]: None is NaN, "-inf" is -inf."""
    each = [value] if np.ndim(value) == 0 else value
    return np.array([math.nan if x is None else float(x) for x in each])


@checked_arguments
def logged_mean(value: Any) -> float:
    """Convert a logged value to a float: the mean over seeds, if there are several."""
    with np.errstate(invalid="ignore"):  # of inf and -inf
        return float(np.mean(logged_values(value)))


class Log:
    """Appends to metrics.jsonl and, optionally, to TensorBoard event files."""

    def __init__(self, folder: Path, kept: list[dict[str, Any]], tensorboard: bool) -> None:
        """Open a log that continues after the lines that are kept."""
        path = folder / METRICS
        text = "".join(json_line(entry) for entry in kept)
        replace_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))
        self._file = path.open("a", encoding="utf-8")
        self._board = None
        if tensorboard:
            begin = kept[-1]["step"] + 1 if kept else 0
            writer = optional("tensorboardX").SummaryWriter
            self._board = writer(str(folder / TENSORBOARD), purge_step=begin)

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append one line and flush it; OSError on a full disk."""
        with self._named():
            self._file.write(json_line(entry))
            self._file.flush()
        if self._board is not None:
            for name, value in _scalars(entry if entry["step"] else {**entry, "cost": {}}):
                self._board.add_scalar(name, value, entry["step"])

    def synchronise(self) -> None:
        """Wait until all lines are on the disk, where a power cut leaves them."""
        with self._named():
            os.fsync(self._file.fileno())

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Add the name of the file to an OSError."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._file.name) from None

    def close(self) -> None:
        """Close the files."""
        with suppress(OSError):  # of what is left after a failed write
            self._file.close()
        if self._board is not None:
            self._board.close()


def _scalars(entry: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Names and values; the mean over seeds, if there are several."""
    found: list[tuple[str, float]] = []
    for name, value in entry.items():
        if isinstance(value, Mapping):
            found += _scalars(value, f"{prefix}{name}/")
        elif name != "step" and np.ndim(value) < 2:  # not eigenvalues
            with suppress(ValueError):  # of words
                found.append((prefix + name, logged_mean(value)))
    return found
