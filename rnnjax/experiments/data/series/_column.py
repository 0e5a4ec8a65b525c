"""One column of a table as numbers, cached on disk if the table is large."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnjax._arguments import check_choice, check_flag, checked_arguments
from rnnjax._names import option
from rnnjax.experiments._effects import check_no_effect
from rnnjax.experiments.data._tables import COMPRESSED, kind_of, no_header, read_cells, read_rows
from rnnjax.experiments.data.series._cells import (
    is_missing,
    is_nearly_a_number,
    number_reader,
    other_marks,
)
from rnnjax.experiments.data.series._mapped import MARK, mapped

LARGE = 64 << 20  # bytes of a file from which on its column is cached on disk
READING = ("header", "decimal", "thousands", "percent", "missing", "encoding")  # what cells mean
_COMPRESSION = 64  # how much smaller a compressed file may be


class Column(NamedTuple):
    name: str
    values: np.ndarray  # [N] float64; a read-only memory map if the file is large
    note: str = ""  # why this column, if none was named


class _Reader(NamedTuple):
    """The rows of a table, and what its cells mean."""

    path: Path
    encoding: str
    header: bool
    compression: str
    decimal: str
    missing: str
    number: Callable[[Any], float]

    def options(self) -> dict[str, Any]:
        """How `read_rows` and `read_cells` are to read it."""
        return {
            "encoding": self.encoding,
            "kind": kind_of(self.path) or "csv",
            "decimal": self.decimal,
            "header": self.header,
            "compression": self.compression,
        }

    def is_number(self, cell: Any) -> bool:
        try:
            return not is_missing(cell) and self.number(cell) is not None
        except ValueError:
            return False


@checked_arguments
def read_column(
    path: str | Path,
    column: str | None = None,
    *,
    header: bool = True,
    decimal: str = ".",
    thousands: str | None = None,
    percent: bool = False,
    missing: str = "error",
    encoding: str = "utf-8",
    compression: str = "infer",
    cache: Path | None = None,
) -> Column:
    """Read one column of numbers from a CSV, TSV or JSONL file.

    Options that pandas has too are named as in `pandas.read_csv`. A file with another ending than
    .tsv, .tab, .jsonl or .ndjson is read as CSV. The file is read once, row by row. The numbers of
    a file of 64 MiB or more (1 MiB if it is compressed) are cached on disk, under a hash of the
    file's content, and mapped into memory; where the cache cannot be written, in a temporary file.

    Args:
      path: the table.
      column: its name; None takes the last one with a number in the first row.
      header: whether the first line names the columns; if not, they are called "0", "1", ….
      decimal: the decimal mark, as "," in 3,14.
      thousands: what separates groups of three digits, as "." in 1.234.567; None for nothing.
      percent: whether every cell ends in %; the numbers are percentages: 12.5 % is 12.5.
      missing: how to handle a missing value: an empty cell, NA, NaN or null. "error" raises;
        "previous" repeats the value before (forward fill), so nothing leaks from the future.
      encoding: of the file.
      compression: "infer" goes by a final .gz, .bz2 or .xz; or "gzip", "bz2", "xz" or "none".
      cache: folder of the cached columns; None for `rnnjax` in the user's cache folder.

    Returns:
      A `Column` of the name, the values `[N]` float64, and why this column if none was named.

    Raises:
      FileNotFoundError: there is no such file.
      OSError: the file is large, and no disk has room for its numbers.
      ValueError: no such column (the nearest is suggested); a cell that is not a finite number,
        with its line; the first line holds a number where a name is expected; or no column is named
        and a later one than would be taken might be meant, whose first number is missing or written
        another way, such as 2,5.
    """
    check_choice("missing", missing, ("error", "previous"))
    path = Path(path)
    if kind_of(path) == "jsonl":
        check_no_effect(read_column, {"header": header}, f"on JSON lines, which {path} holds")
    reader = _Reader(
        path,
        encoding,
        check_flag("header", header),
        compression,
        decimal,
        missing,
        number_reader(decimal, thousands, percent),
    )
    name, note = _numeric_column(reader) if column is None else (column, "")
    compressed = compression != "infer" or path.suffix.lower() in COMPRESSED
    if path.stat().st_size < LARGE // (_COMPRESSION if compressed else 1):
        return Column(name, np.fromiter(_numbers(reader, name), np.float64), note)
    options = (name, header, decimal, thousands, percent, missing, encoding, compression)
    kept = _cache_file(path, options, cache)
    return Column(name, mapped(kept, lambda: _numbers(reader, name)), note)


def _numeric_column(reader: _Reader) -> tuple[str, str]:
    """The last column with a number in the first row, and a sentence on why it is this one."""
    line, row = next(read_rows(reader.path, **reader.options()))
    cells = list(reversed(row.items()))
    chosen = next((k for k, (_, cell) in enumerate(cells) if reader.is_number(cell)), None)
    if chosen is None:
        shown = ", ".join(f"{name!r} holds {_shortened(cell)}" for name, cell in row.items())
        raise ValueError(
            f"{reader.path}, line {line}: expected a number in one of the columns: {shown}"
            + next(filter(None, map(other_marks, row.values())), "")
        )
    name = cells[chosen][0]
    if reader.header and kind_of(reader.path) != "jsonl" and no_header([name]):
        raise ValueError(
            f"{reader.path}: the first line should name the columns, but has {name!r}"
            f"{no_header([name])}, or {option('column', name)} if that is a name"
        )
    for other, cell in cells[:chosen]:  # passed over
        if is_missing(cell) or is_nearly_a_number(cell):
            raise ValueError(
                f"{reader.path}, line {line}: column {other!r} holds {cell!r}, which is not a "
                f"number such as 1234.5{other_marks(cell)}. Without it the column would be "
                f"{name!r}: if that is meant, say {option('column', name)}"
            )
    others = [other for other, cell in cells[chosen + 1 :] if reader.is_number(cell)]
    return name, _note(reader.path, name, cells[:chosen], others)


def _note(path: Path, name: str, after: list[tuple[str, Any]], others: list[str]) -> str:
    which = "the last" if others else "the only one"
    said = f"column {name!r} of {path}, {which} with a number in the first row"
    if after:
        held = ", ".join(f"{other!r} holds {_shortened(cell)}" for other, cell in reversed(after))
        said += f"; passed over: {held}"
    if others:
        said += f"; {option('column')} takes another: {', '.join(map(repr, reversed(others)))}"
    return said


def _shortened(cell: Any) -> str:
    text = repr(cell)
    return text if len(text) <= 20 else f"{text[:19]}…"


def _numbers(reader: _Reader, name: str) -> Iterator[float]:
    before, number = None, reader.number
    for line, cell in read_cells(reader.path, name, **reader.options()):
        try:
            value = number(cell)
        except ValueError as error:
            where = f"{reader.path}, line {line}, column {name!r}"
            if not is_missing(cell):
                raise ValueError(f"{where}: {error}") from None
            if reader.missing == "error":
                raise ValueError(
                    f"{where}: no value, {cell!r}; "
                    f"{option('missing', 'previous')} repeats the one before it"
                ) from None
            if before is None:
                raise ValueError(
                    f"{where}: no value, {cell!r}, and no value before it to repeat"
                ) from None
            value = before
        yield value
        before = value


def _cache_file(path: Path, options: tuple[Any, ...], folder: Path | None) -> Path | None:
    """Where the numbers of the column are kept; None if the user has no place for them."""
    if folder is None:
        try:
            folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnjax"
        except RuntimeError:  # a user who is not known here, as in some containers
            return None
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256")
    # With the format, so that no version takes a file of one that writes another.
    found.update(repr((kind_of(path), *options)).encode() + MARK)
    return folder / f"{found.hexdigest()[:32]}.f64"
