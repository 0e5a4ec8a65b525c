"""Text files: lines with random access, blocks of running text, and decoding errors."""

import codecs
import io
from array import array
from collections.abc import Iterator
from pathlib import Path

from rnnjax._arguments import checked_arguments
from rnnjax._names import option

_BLOCK = 1 << 18  # bytes read at once
_MARKS = {  # byte order marks; that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class Lines:
    """The lines of a file that are not blank; `lines[i]` reads one from disk."""

    def __init__(self, path: Path, encoding: str, starts: array, numbers: array) -> None:
        self.path, self.encoding = path, encoding
        self._starts, self._numbers = starts, numbers

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int, /) -> str:
        with open(self.path, "rb") as file:
            file.seek(self._starts[index])
            raw = file.readline()
        where = f"{self.path}, line {self._numbers[index]}"
        return decode(raw, self.encoding, where, first=self._starts[index] == 0).strip()


@checked_arguments
def open_lines(path: str | Path, encoding: str = "utf-8") -> Lines:
    """Random access to the lines of a text file; blank ones are skipped.

    Only the offset of each line is kept in memory. Every line is decoded once on opening, so that
    a bad one is found before it is needed. A byte order mark is left out.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an empty file, or a line that is not in the encoding.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "rt.pos"
      >>> _ = path.write_bytes("a delight .\\n\\nna\\xefve , but fun .\\n".encode("latin-1"))
      >>> lines = open_lines(path, "latin-1")
      >>> len(lines), lines[1]
      (2, 'naïve , but fun .')
    """
    path = Path(path)
    starts, numbers, start = array("q"), array("q"), 0
    for number, raw in _numbered(path):
        if decode(raw, encoding, f"{path}, line {number}", first=start == 0).strip():
            starts.append(start)
            numbers.append(number)
        start += len(raw)
    if not starts:
        raise ValueError(f"{path} is empty: expected a text on each line")
    return Lines(path, encoding, starts, numbers)


@checked_arguments
def stripped_lines(path: Path, encoding: str) -> Iterator[tuple[str, str]]:
    """The lines of a file as `(location, text)`; the location is for error messages.

    Blank lines are skipped; the byte order mark, line ends and surrounding spaces are removed;
    tabs are kept.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a line that is not in the encoding.
    """
    for number, raw in _numbered(path):
        where = f"{path}, line {number}"
        if line := decode(raw, encoding, where, first=number == 1).strip("\ufeff\r\n "):
            yield where, line


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, in an encoding in which a line end is one byte."""
    with open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            if number == 1 and (wide := likely_encoding(raw)) in _MARKS.values():
                raise ValueError(f"{path} is {wide}, which is not read by lines: save it as utf-8")
            yield number, raw


@checked_arguments
def read_blocks(path: str | Path, encoding: str = "utf-8") -> Iterator[str]:
    """The text of a file, one block at a time, with every line end as a newline.

    A byte order mark is left out.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an empty file, or one that is not in the encoding; the error gives the line.
    """
    unmarked = codecs.getincrementaldecoder(without_mark(encoding))()
    decoder = io.IncrementalNewlineDecoder(unmarked, True)
    line, empty = 1, True
    with open(path, "rb") as file:
        while True:
            raw = file.read(_BLOCK)
            try:
                text = decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                message = _not_in(encoding, error, first=empty)
                raise ValueError(f"{path}, line {line}: {message}") from None
            if text:
                empty = False
                line += text.count("\n")
                yield text
            if not raw:
                break
    if empty:
        raise ValueError(f"{path} is empty: expected a text")


def decode(raw: bytes, encoding: str, where: object = None, *, first: bool = False) -> str:
    """`raw` as text; the error begins with the location `where`, if there is one.

    What comes first in its file is without the byte order mark.
    """
    check_encoding(encoding)
    try:
        return raw.decode(without_mark(encoding) if first else encoding)
    except UnicodeDecodeError as error:
        message = _not_in(encoding, error, f" at position {error.start + 1}", first)
        raise ValueError(message if where is None else f"{where}: {message}") from None


def check_encoding(encoding: str) -> None:
    """Raise ValueError if Python has no such encoding."""
    try:
        "a".encode(encoding)
    except LookupError:
        raise ValueError(
            f"{option('encoding', encoding)} is not known: try 'utf-8' or 'latin-1'"
        ) from None


def check_unicode(text: str, what: str) -> None:
    """Raise ValueError if half a surrogate pair is in a text, as in arguments that are not UTF-8.

    Example:
      >>> check_unicode("caf\\udce9", "the prompt")
      Traceback (most recent call last):
      ValueError: the prompt has half a surrogate pair, '\\udce9', which stands for the byte 0xe9 \
where text is not UTF-8: expected text in UTF-8
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        letter = text[error.start]
        byte = ord(letter) - 0xDC00
        escaped = f", which stands for the byte {byte:#04x} where text is not UTF-8"
        raise ValueError(
            f"{what} has half a surrogate pair, {letter!r}{escaped if 0x80 <= byte <= 0xFF else ''}"
            ": expected text in UTF-8"
        ) from None


def without_mark(encoding: str) -> str:
    """The encoding that leaves out a byte order mark, as Python's UTF-16 and UTF-32 do."""
    check_encoding(encoding)
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def likely_encoding(begin: bytes) -> str:
    """The encoding whose byte order mark comes first in a file that is not UTF-8, or Latin-1."""
    return next((name for mark, name in _MARKS.items() if begin.startswith(mark)), "latin-1")


def _not_in(
    encoding: str, error: UnicodeDecodeError, position: str = "", first: bool = False
) -> str:
    found = f"not {encoding}: byte {error.object[error.start]:#04x}{position}"
    if codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):  # it may be damaged
        return f"{found}. Give the file's encoding"
    likely = likely_encoding(error.object if first else b"")
    return f"{found}. Give the file's encoding, for example {option('encoding', likely)}"
