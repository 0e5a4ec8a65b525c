"""CSV, TSV and JSONL tables with random access to their rows, read from disk on demand."""

import csv
import json
import re
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rnnjax._arguments import check_choice, checked_arguments, nearest
from rnnjax.experiments.data._text_files import check_encoding, decode

KINDS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_BOM = b"\xef\xbb\xbf"
_LONGEST = 1 << 24  # bytes of one row, after which an open quote counts as unclosed
_CLOSE = re.compile(rb'(?:[^"]++|"")*+"')


class _Format(NamedTuple):
    """The format of a table, and the columns to read."""

    path: Path
    kind: str  # csv, tsv or jsonl
    encoding: str
    delimiter: str
    header: bool  # whether the first line names the columns
    fields: tuple[str, ...]  # the columns as they stand in the file; none for JSONL
    columns: tuple[str, ...]  # the columns to read; empty for all


class Table:
    """The rows of a file; `table[i]` reads row i from disk. Made by `open_table`."""

    def __init__(self, form: _Format, starts: array, ends: array) -> None:
        self._form, self._starts, self._ends = form, starts, ends
        self.path = form.path
        self.columns = form.columns or form.fields or tuple(self[0])

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, row: int, /) -> dict[str, Any]:
        start, end = self._starts[row], self._ends[row]
        with open(self.path, "rb") as file:
            file.seek(start)
            raw = file.read(end - start)
        try:
            return _parse(self._form, raw)
        except ValueError as error:
            raise ValueError(f"{self.where(row)}: {error}") from None

    def where(self, row: int) -> str:
        """`path, line n`: the location of a row, for error messages."""
        left, line = self._starts[row], 1
        with open(self.path, "rb") as file:
            while left > 0 and (chunk := file.read(min(left, 1 << 20))):
                line += chunk.count(b"\n")
                left -= len(chunk)
        return f"{self.path}, line {line}"


@checked_arguments
def open_table(
    path: str | Path,
    columns: Iterable[str] | None = None,
    *,
    encoding: str = "utf-8",
    kind: str | None = None,
    delimiter: str | None = None,
    header: bool = True,
    check: bool = True,
) -> Table:
    """Open a table on disk, with random access to its rows.

    Only the offsets of the rows are kept in memory (16 bytes a row). CSV follows RFC 4180: quoted
    fields may contain delimiters and line breaks. In TSV quotes have no special meaning, and a
    row is a line. JSONL has one object per line. Blank lines and a byte order mark are skipped.

    Args:
      path: the file.
      columns: the columns to return, which must exist; None for all. Without a header they name
        the fields from left to right.
      encoding: any in which the first 128 bytes are ASCII, as in UTF-8 and Latin-1.
      kind: csv, tsv or jsonl; None infers it from the file's extension.
      delimiter: of CSV; None takes the most frequent of `,` `;` `|` and tab in the first line.
      header: whether the first line of a CSV or TSV names the columns.
      check: parse every row once on opening, so that a bad one is found before it is needed.

    Returns:
      A `Table`: `len(table)` rows, `table[i]` a dict of strings (of JSON values for JSONL),
      `table.where(i)` the file and line, for the caller's own errors.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an unknown extension, an empty file, a missing column, or a row that cannot be
        parsed; the error gives the line and what was expected there.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "reviews.csv"
      >>> _ = path.write_text('text,stars\\n"good, cheap",5\\nbad,1\\n')
      >>> table = open_table(path, ["text"])
      >>> len(table), table[0], table.columns
      (2, {'text': 'good, cheap'}, ('text',))
    """
    form = _format(Path(path), columns, encoding, kind, delimiter, header)
    starts, ends = array("q"), array("q")
    for line, start, raw in _records(form):
        if check:
            _located(form, raw, line)
        starts.append(start)
        ends.append(start + len(raw))
    if not starts:
        raise ValueError(f"{path} has no rows" + (" after its header" if form.header else ""))
    return Table(form, starts, ends)


@checked_arguments
def read_rows(
    path: str | Path,
    columns: Iterable[str] | None = None,
    *,
    encoding: str = "utf-8",
    kind: str | None = None,
    delimiter: str | None = None,
    header: bool = True,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows in order as `(line number, row)`, one in memory at a time; see `open_table`."""
    form = _format(Path(path), columns, encoding, kind, delimiter, header)
    for line, _, raw in _records(form):
        yield line, _located(form, raw, line)


def _format(
    path: Path,
    columns: Iterable[str] | None,
    encoding: str,
    kind: str | None,
    delimiter: str | None,
    header: bool,
) -> _Format:
    if kind is None:
        kind = KINDS.get(path.suffix.lower())
    if kind is None:
        endings = ", ".join(KINDS)
        raise ValueError(f"{path}: expected a name that ends in {endings}; or pass kind=")
    check_choice("kind", kind, ("csv", "tsv", "jsonl"))
    with open(path, "rb") as file:
        first = file.read(1 << 16).removeprefix(_BOM).lstrip(b"\r\n ").split(b"\n")[0]
    if not first:
        raise ValueError(f"{path} is empty")
    if kind == "tsv":
        delimiter = "\t"
    elif delimiter is None:
        delimiter = max(",;|\t", key=lambda letter: first.count(letter.encode()))
    wanted = () if columns is None else tuple(columns)
    form = _Format(path, kind, _ascii_based(encoding), delimiter, False, (), wanted)
    return form if kind == "jsonl" else _with_fields(form, header)


def _ascii_based(encoding: str) -> str:
    name = "utf-8" if encoding.lower() == "utf-8-sig" else encoding
    check_encoding(name)
    if '\n",;\t{'.encode(name) != b'\n",;\t{':
        raise ValueError(
            f"encoding {encoding!r} is not based on ASCII, so lines cannot be found in it: convert "
            "the file to UTF-8"
        )
    return name


def _with_fields(form: _Format, header: bool) -> _Format:
    """The format with the names of its fields, from the header or the given columns."""
    line, _, raw = next(_records(form))
    where = f"{form.path}, line {line}"
    try:
        found = tuple(_fields(form, decode(raw, form.encoding)))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    wanted = form.columns
    if header:
        for name in wanted or found:
            if name not in found:
                names = ", ".join(map(repr, found))
                raise ValueError(f"{where}: no column {name!r} in {names}{nearest(name, found)}")
            if found.count(name) > 1:
                raise ValueError(f"{where}: {found.count(name)} columns are named {name!r}")
        return form._replace(fields=found, header=True)
    if wanted and len(wanted) != len(found):
        names = ", ".join(wanted)
        raise ValueError(f"{where}: expected {len(wanted)} fields ({names}), got {len(found)}")
    return form._replace(fields=wanted or tuple(str(k) for k in range(len(found))))


def _records(form: _Format) -> Iterator[tuple[int, int, bytes]]:
    """Line number, byte offset and bytes of each row."""
    with open(form.path, "rb") as file:
        start = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
        file.seek(start)
        line, skip = 1, form.header
        while raw := file.readline():
            lines = 1
            if form.kind == "csv" and b'"' in raw:
                raw, lines = _whole(form, file, raw, line)
            if skip or not raw.strip(b"\r\n "):
                skip = skip and not raw.strip(b"\r\n ")
            else:
                yield line, start, raw
            start, line = start + len(raw), line + lines


def _whole(form: _Format, file: BinaryIO, first: bytes, line: int) -> tuple[bytes, int]:
    """A row with the further lines that its quoted fields span, and the number of its lines."""
    opening = re.compile(b'(?:^|%b)"' % re.escape(form.delimiter.encode()))
    raw, lines, at, inside = bytearray(first), 1, 0, False
    while True:
        found = _CLOSE.match(raw, at) if inside else opening.search(raw, at)
        if found:
            at, inside = found.end(), not inside
        elif not inside:
            return bytes(raw), lines
        else:
            at = len(raw)
            raw += file.readline()
            if len(raw) == at or at > _LONGEST:
                raise ValueError(
                    f'{form.path}, line {line}: a field begins with " but no closing " follows; a '
                    "quote within a field is written twice"
                )
            lines += 1


def _located(form: _Format, raw: bytes, line: int) -> dict[str, Any]:
    try:
        return _parse(form, raw)
    except ValueError as error:
        raise ValueError(f"{form.path}, line {line}: {error}") from None


def _parse(form: _Format, raw: bytes) -> dict[str, Any]:
    text = decode(raw, form.encoding)
    if form.kind == "jsonl":
        return _json_row(text, form.columns)
    values = _fields(form, text)
    if len(values) != len(form.fields):
        names = ", ".join(form.fields)
        raise ValueError(f"expected {len(form.fields)} fields ({names}), got {len(values)}")
    row = dict(zip(form.fields, values, strict=True))
    return {name: row[name] for name in form.columns} if form.columns else row


def _fields(form: _Format, text: str) -> list[str]:
    text = text.rstrip("\r\n")
    if form.kind == "tsv":
        return text.split("\t")
    try:
        return next(csv.reader([text], delimiter=form.delimiter), [""])
    except csv.Error as error:
        raise ValueError(f"not a row of CSV: {error}") from None


def _json_row(text: str, columns: tuple[str, ...]) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"expected a JSON object: {error.msg} at position {error.pos + 1}"
        ) from None
    if not isinstance(row, dict):
        raise ValueError(f"expected a JSON object, got {type(row).__name__}")
    for name in columns:
        if name not in row:
            raise ValueError(f"no {name!r} in {', '.join(map(repr, row))}{nearest(name, row)}")
    return {name: row[name] for name in columns} if columns else row
