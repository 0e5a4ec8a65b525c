"""Rows of CSV, TSV and JSONL tables, in order, each with its line for error messages.

They are read by Python's own csv and json. A column of 3.5 million numbers (64 MiB) takes 4 s and
39 MiB of memory; 0.25 s and 55 MiB in pandas, 0.5 s and 140 MiB in pyarrow. But those accept
damaged tables: pandas fills short rows with NaN and truncates long ones, pyarrow takes all that
follows an unclosed quote for one field, and neither gives the line of a cell that is no number.
What is large is read once: a series into a cache, texts into a copy with random access.
"""

import bz2
import csv
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO, TypeVar, cast

from rnnjax._arguments import check_choice, checked_arguments, nearest
from rnnjax._names import option
from rnnjax.experiments._parsing import parse_json
from rnnjax.experiments.data._text_files import decode, without_mark

KINDS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz"}
COMPRESSIONS = ("infer", "none", *COMPRESSED.values())
_LONGEST = 1 << 24  # characters of one line
_DELIMITERS = ",;|\t"
_OPEN = {"none": open, "gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}


T = TypeVar("T")


class _Format(NamedTuple):
    """How a table is written."""

    path: Path
    kind: str  # csv, tsv or jsonl
    compression: str  # none, gzip, bz2 or xz
    encoding: str
    delimiter: str | None  # None: to be found
    decimal: str  # the decimal mark, which delimits only if nothing else does
    header: bool  # whether the first line names the columns


@checked_arguments
def read_rows(
    path: str | Path,
    columns: Iterable[str] | None = None,
    *,
    encoding: str = "utf-8",
    kind: str | None = None,
    delimiter: str | None = None,
    decimal: str = ".",
    header: bool = True,
    compression: str = "infer",
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a table in order as `(line number, row)`, one in memory at a time.

    CSV follows RFC 4180: quoted fields may contain delimiters and line breaks. In TSV quotes have
    no special meaning, and a row is a line. JSONL has one object per line. Blank lines and a byte
    order mark are skipped.

    Args:
      path: the file.
      columns: the columns to return, which must exist; None for all. Without a header they name
        the fields from left to right.
      encoding: of the text.
      kind: csv, tsv or jsonl; None infers it from the file's extension.
      delimiter: of CSV; None takes the most frequent of `,` `;` `|` and tab in the first line.
      decimal: the decimal mark of its numbers; if that is a comma, commas delimit only where
        nothing else does.
      header: whether the first line of a CSV or TSV names the columns; if not, and they are not
        named here, they are called "0", "1", ….
      compression: gzip, bz2, xz or none; infer takes it from a final .gz, .bz2 or .xz.

    Yields:
      The number of the row's first line, from 1, and a dict of strings (of JSON values for JSONL).

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an unknown extension, an empty file, a missing column, or a row that cannot be
        parsed; the error gives the line and what was expected there.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "reviews.csv"
      >>> _ = path.write_text('text,stars\\n"good, cheap",5\\nbad,1\\n')
      >>> list(read_rows(path, ["text"]))
      [(2, {'text': 'good, cheap'}), (3, {'text': 'bad'})]
    """
    form = _format(Path(path), kind, compression, encoding, delimiter, decimal, header)
    wanted = None if columns is None else tuple(columns)
    with _opened(form) as file:
        if form.kind == "jsonl":
            yield from _objects(form, file, wanted or ())
        else:
            yield from _records(form, file, wanted, _as_dict)


def read_cells(path: Path, column: str, **options: Any) -> Iterator[tuple[int, Any]]:
    """The cells of one column in order as `(line number, cell)`; options as in `read_rows`."""
    form = _format(path, **options)
    with _opened(form) as file:
        if form.kind == "jsonl":
            yield from ((line, row[column]) for line, row in _objects(form, file, (column,)))
        else:
            yield from _records(form, file, (column,), lambda places: itemgetter(places[column]))


def _as_dict(places: dict[str, int]) -> Callable[[list[str]], dict[str, str]]:
    named = tuple(places.items())
    return lambda row: {name: row[place] for name, place in named}


def _format(
    path: Path,
    kind: str | None,
    compression: str,
    encoding: str,
    delimiter: str | None = None,
    decimal: str = ".",
    header: bool = True,
) -> _Format:
    check_choice("compression", compression, COMPRESSIONS)
    encoding = without_mark(encoding)
    for name, mark in (("delimiter", delimiter), ("decimal", decimal)):
        if mark is not None and (len(mark) != 1 or mark in '"\r\n'):
            raise ValueError(f"{option(name)} must be one character such as ',', got {mark!r}")
    ending = path.suffix.lower()
    if compression == "infer":
        compression = COMPRESSED.get(ending, "none")
    if kind is None:
        kind = kind_of(path)
    if kind is None:
        endings = ", ".join(KINDS)
        raise ValueError(f"{path}: expected a name that ends in {endings}; or pass kind=")
    check_choice("kind", kind, ("csv", "tsv", "jsonl"))
    if kind == "tsv":
        delimiter = "\t"
    return _Format(path, kind, compression, encoding, delimiter, decimal, header)


def kind_of(path: Path) -> str | None:
    """The kind of table that a file's name says it is: csv, tsv or jsonl, or None."""
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return KINDS.get(inner.suffix.lower())


@contextmanager
def _opened(form: _Format) -> Iterator[TextIO]:
    """The text of a table; what is wrong with its bytes is a ValueError."""
    try:
        file = cast(BinaryIO, _OPEN[form.compression](form.path, "rb"))
        with file, io.TextIOWrapper(file, form.encoding, newline="") as text:
            yield text
    except UnicodeError as error:
        raise _undecodable(form, error) from None
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if form.compression == "none" or getattr(error, "errno", None):
            raise
        raise ValueError(f"{form.path}: damaged {form.compression} file: {error}") from None


def _undecodable(form: _Format, error: UnicodeError) -> ValueError:
    """The error for bytes that are not in the encoding, with their line if lines can be told."""
    encoding = form.encoding.removesuffix("-sig")
    with cast(BinaryIO, _OPEN[form.compression](form.path, "rb")) as file:
        if file.read(2) == b"\x1f\x8b":
            return ValueError(
                f"{form.path} is compressed, though its name does not end in .gz: rename it, or "
                f"give {option('compression', 'gzip')}"
            )
        file.seek(0)
        if "\n".encode(encoding) == b"\n":
            try:
                for line, raw in enumerate(file, start=1):
                    decode(raw, encoding, f"{form.path}, line {line}", first=line == 1)
            except ValueError as found:
                return found
    return ValueError(f"{form.path}: not {encoding}: {getattr(error, 'reason', error)}")


def _lines(form: _Format, file: TextIO) -> Iterator[str]:
    """Lines with their ends; one that would fill the memory is an error."""
    number = 0
    while line := file.readline(_LONGEST):
        number += 1
        if len(line) == _LONGEST and line[-1] not in "\r\n":
            raise ValueError(
                f"{form.path}, line {number}: more than {_LONGEST:,} characters in one line: "
                "expected a table"
            )
        yield line


def _records(
    form: _Format,
    file: TextIO,
    wanted: tuple[str, ...] | None,
    taking: Callable[[dict[str, int]], Callable[[list[str]], T]],
) -> Iterator[tuple[int, T]]:
    """The rows of CSV or TSV, by a function made for the places of the wanted columns."""
    lines = _lines(form, file)
    before = 0
    for first in lines:
        if first.strip("\r\n "):
            break
        before += 1
    else:
        raise ValueError(f"{form.path} is empty")
    reader = csv.reader(chain([first], lines), **_dialect(form, first))
    line, names, count, has_rows = 1 + before, (), 0, False
    take: Callable[[list[str]], T] | None = None
    try:
        for row in reader:
            if take is None:
                names, places = _columns(form, row, line, wanted)
                take, count = taking(places), len(names)
                if form.header:
                    line = 1 + before + reader.line_num
                    continue
            if len(row) == count and not (count == 1 and row[0].isspace()):
                has_rows = True
                yield line, take(row)
            elif len(row) > 1 or (row and row[0].strip()):  # not a blank line
                fields = f"{count} field{'s' * (count > 1)} ({', '.join(names)})"
                raise ValueError(f"{form.path}, line {line}: expected {fields}, got {len(row)}")
            line = 1 + before + reader.line_num
    except csv.Error as error:
        raise ValueError(f"{form.path}, line {line}: {_explained(error)}") from None
    if not has_rows:
        raise ValueError(f"{form.path} has no rows after its header")


def _dialect(form: _Format, first: str) -> dict[str, Any]:
    if form.kind == "tsv":
        return {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    delimiter = form.delimiter or max(_DELIMITERS, key=lambda mark: _likelihood(form, first, mark))
    return {"delimiter": delimiter, "strict": True}


def _likelihood(form: _Format, first: str, mark: str) -> tuple[bool, int, bool]:
    """How likely a mark delimits the fields of the first line."""
    meant_otherwise = mark == form.decimal
    return mark in first and not meant_otherwise, first.count(mark), not meant_otherwise


def _columns(
    form: _Format, found: list[str], line: int, wanted: tuple[str, ...] | None
) -> tuple[tuple[str, ...], dict[str, int]]:
    """The names of all fields, and the places of the wanted ones."""
    where = f"{form.path}, line {line}"
    if not form.header:
        numbered = list(map(str, range(len(found))))
        if wanted and not set(wanted) <= set(numbered):
            if len(wanted) == len(found):
                return wanted, {name: place for place, name in enumerate(wanted)}
            names = ", ".join(wanted)
            raise ValueError(
                f"{where}: expected {len(wanted)} fields ({names}), got {len(found)}; without a "
                f"header they are called {', '.join(numbered[:3])} …"
            )
        found = numbered
    for name in wanted or found:
        if name not in found:
            names = ", ".join(map(repr, found))
            hint = nearest(name, found) or no_header(found)
            raise ValueError(f"{where}: no column {name!r} in {names}{hint}")
        if found.count(name) > 1:
            raise ValueError(
                f"{where}: {found.count(name)} columns are named {name!r}{no_header(found)}"
            )
    return tuple(found), {name: found.index(name) for name in wanted or found}


def no_header(names: Iterable[str]) -> str:
    """A question to add to an error, if what should be names are numbers."""
    hint = f"; is there no header? Then give {option('header', False)}"
    return hint if any(map(_is_number, names)) else ""


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _explained(error: csv.Error) -> str:
    message = str(error)
    if "unexpected end of data" in message:
        return (
            'a field begins with " but no closing " follows; a quote within a field is written '
            "twice"
        )
    if "field limit" in message:
        return (
            f"a field of more than {csv.field_size_limit():,} characters: a quote that is not "
            "closed? Longer ones need csv.field_size_limit(…)"
        )
    return f"not a row of CSV: {message}; a quote within a field is written twice"


def _objects(
    form: _Format, file: TextIO, columns: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of JSONL."""
    empty = True
    for line, text in enumerate(_lines(form, file), start=1):
        if text.strip("\r\n "):
            empty = False
            try:
                yield line, _json_row(text, columns)
            except ValueError as error:
                raise ValueError(f"{form.path}, line {line}: {error}") from None
    if empty:
        raise ValueError(f"{form.path} is empty")


def _json_row(text: str, columns: tuple[str, ...]) -> dict[str, Any]:
    row = parse_json(text)
    if not isinstance(row, dict):
        raise ValueError(f"expected a JSON object, got {type(row).__name__}")
    for name in columns:
        if name not in row:
            raise ValueError(f"no {name!r} in {', '.join(map(repr, row))}{nearest(name, row)}")
    return {name: row[name] for name in columns} if columns else row
