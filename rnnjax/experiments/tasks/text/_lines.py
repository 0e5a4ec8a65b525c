"""The lines of a text file by their number, read from disk as they are asked for."""

from array import array
from collections.abc import Iterator
from pathlib import Path


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
        return decoded(raw, self.encoding, f"{self.path}, line {self._numbers[index]}").strip()


def open_lines(path: str | Path, encoding: str = "utf-8") -> Lines:
    """Random access to the lines of a text file; blank ones are skipped.

    Only where each line begins is kept in memory. Every line is read once now, so that a bad one
    is found before it is needed.

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
    with open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            if decoded(raw, encoding, f"{path}, line {number}").strip():
                starts.append(start)
                numbers.append(number)
            start += len(raw)
    if not starts:
        raise ValueError(f"{path} is empty: expected a text on each line")
    return Lines(path, encoding, starts, numbers)


def stripped_lines(path: Path, encoding: str) -> Iterator[tuple[str, str]]:
    """Where each line of a file stands, for errors, and what it says; blank ones are skipped.

    Byte order mark, line ends and spaces around are gone; tabs are kept.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a line that is not in the encoding.
    """
    with open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            where = f"{path}, line {number}"
            if line := decoded(raw, encoding, where).strip("\ufeff\r\n "):
                yield where, line


def decoded(raw: bytes, encoding: str, where: object) -> str:
    """`raw` as text; the error says where it stands and what to do."""
    try:
        return raw.decode(encoding)
    except LookupError:
        raise ValueError(f"encoding {encoding!r} is not known: try 'utf-8' or 'latin-1'") from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: not {encoding}: byte {raw[error.start]:#04x} at position "
            f"{error.start + 1}. Give the file's encoding, for example encoding='latin-1'"
        ) from None
