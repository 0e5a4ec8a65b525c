"""One column of a table as numbers, cached on disk if it is large."""

import hashlib
import math
import os
import re
from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnjax._arguments import check_choice, checked_arguments
from rnnjax.experiments.data._tables import read_rows

MISSING = ("", "na", "n/a", "nan", "null", "none", "?")
LARGE = 64 << 20  # bytes of a file from which on its column is cached on disk
# A number written another way: decimal comma, thousands, percent, currency.
_NEARLY = re.compile(r"[\s+\-$€£]*\d[\d.,'\s]*[\s%$€£]*")
_CHUNK = 1 << 20  # values in memory at once


class Column(NamedTuple):
    name: str
    values: np.ndarray  # [N] float64; a read-only memory map if the file is large
    note: str = ""  # why this column, if none was named


@checked_arguments
def read_column(
    path: str | Path,
    column: str | None = None,
    *,
    missing: str = "error",
    encoding: str = "utf-8",
    cache: Path | None = None,
) -> Column:
    """Read one column of numbers from a CSV, TSV or JSONL file.

    The file is read once, row by row. The numbers of a file of 64 MiB or more are cached in a
    memory-mapped file, which is reused as long as the table is unchanged.

    Args:
      path: the table.
      column: its name; None takes the last one with a number in the first row.
      missing: how to handle a missing value: an empty cell, NA, NaN or null. "error" raises;
        "previous" repeats the value before (forward fill), so nothing leaks from the future.
      encoding: of the file.
      cache: folder of the cached columns; None for `rnnjax` in the user's cache folder.

    Returns:
      A `Column` of the name, the values `[N]` float64, and why this column if none was named.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: no such column (the nearest is suggested); a cell that is not a finite number,
        with its line; or no column is named and a later one than would be taken might be meant,
        whose first number is missing or written another way, such as 2,5.
    """
    check_choice("missing", missing, ("error", "previous"))
    path = Path(path)
    name, note = _numeric_column(path, encoding) if column is None else (column, "")
    numbers = _numbers(path, name, missing, encoding)
    if path.stat().st_size < LARGE:
        return Column(name, np.fromiter(numbers, np.float64), note)
    kept = _cache_file(path, name, missing, encoding, cache)
    if not kept.exists():
        _write(kept, numbers)
    return Column(name, np.memmap(kept, np.float64, "r"), note)


def _numeric_column(path: Path, encoding: str) -> tuple[str, str]:
    """The last column with a number in the first row, and a sentence on why it is this one."""
    line, row = next(read_rows(path, encoding=encoding), (1, {}))
    if not row:
        raise ValueError(f"{path} has no rows after its header")
    cells = list(reversed(row.items()))
    chosen = next((place for place, (_, cell) in enumerate(cells) if _is_number(cell)), None)
    if chosen is None:
        raise ValueError(f"{path}, line {line}: expected a number in one of the columns, got {row}")
    name = cells[chosen][0]
    for other, cell in cells[:chosen]:  # passed over
        if _is_missing(cell) or _NEARLY.fullmatch(str(cell)):
            raise ValueError(
                f"{path}, line {line}: column {other!r} holds {cell!r}, which is not a number such "
                f"as 1234.5, so the column would be {name!r}: if that is meant, say column={name!r}"
            )
    others = [other for other, cell in cells[chosen + 1 :] if _is_number(cell)]
    return name, _note(path, name, cells[:chosen], others)


def _note(path: Path, name: str, after: list[tuple[str, Any]], others: list[str]) -> str:
    which = "the last" if others else "the only one"
    said = f"column {name!r} of {path}, {which} with a number in the first row"
    if after:
        held = ", ".join(f"{other!r} holds {_shortened(cell)}" for other, cell in reversed(after))
        said += f"; passed over: {held}"
    if others:
        said += f"; column= takes another: {', '.join(map(repr, reversed(others)))}"
    return said


def _shortened(cell: Any) -> str:
    text = repr(cell)
    return text if len(text) <= 20 else f"{text[:19]}…"


def _is_number(cell: Any) -> bool:
    try:
        return _number(cell) is not None
    except ValueError:
        return False


def _numbers(path: Path, name: str, missing: str, encoding: str) -> Iterator[float]:
    before = None
    for line, row in read_rows(path, [name], encoding=encoding):
        where = f"{path}, line {line}, column {name!r}"
        try:
            value = _number(row[name])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if value is None and missing == "error":
            raise ValueError(
                f"{where}: no value, {row[name]!r}; missing='previous' repeats the one before it"
            )
        value = before if value is None else value
        if value is None:
            raise ValueError(f"{where}: no value, {row[name]!r}, and no value before it to repeat")
        yield value
        before = value
    if before is None:
        raise ValueError(f"{path} has no rows after its header")


def _is_missing(cell: Any) -> bool:
    return cell is None or str(cell).strip().lower() in MISSING


def _number(cell: Any) -> float | None:
    """The number in a cell; None if missing."""
    if _is_missing(cell):
        return None
    try:
        if isinstance(cell, bool):
            raise ValueError
        value = float(cell)
    except (ValueError, TypeError):
        raise ValueError(f"expected a number such as 3.14, got {cell!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {cell!r}")
    return value


def _cache_file(path: Path, name: str, missing: str, encoding: str, folder: Path | None) -> Path:
    if folder is None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnjax"
    state = path.stat()
    said = (str(path.resolve()), state.st_size, state.st_mtime_ns, name, missing, encoding)
    return folder / f"{path.stem}-{hashlib.sha256(repr(said).encode()).hexdigest()[:16]}.f64"


def _write(kept: Path, numbers: Iterator[float]) -> None:
    """Write all numbers, or leave no file behind."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(f".{os.getpid()}")
    try:
        with open(part, "wb") as file:
            while chunk := array("d", islice(numbers, _CHUNK)):
                chunk.tofile(file)
        part.replace(kept)
    finally:
        part.unlink(missing_ok=True)
