"""Numbers that are computed once, kept in a file and mapped into memory."""

import errno
import os
import struct
import tempfile
from array import array
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from rnnjax._files import replace_file

_CHUNK = 1 << 20  # numbers in memory at once
_END = struct.Struct("<8sq")  # of a file: this mark, and how many numbers are before it
MARK = b"rnnjax 1"  # the format of a kept file


def mapped(kept: Path | None, numbers: Callable[[], Iterator[float]]) -> np.ndarray:
    """All numbers `[N]`, mapped from a file, which is written if it is not there and whole.

    Args:
      kept: the file; None, or one that cannot be written or read, for a temporary one.
      numbers: makes what is iterated over.

    Raises:
      OSError: there is no room for a temporary file either.
    """
    if kept is not None:
        try:
            return _from_kept(kept, numbers)
        except OSError:  # one of `numbers` is raised again below
            pass
    try:
        with tempfile.TemporaryFile() as file:
            return np.memmap(file, np.float64, "r", shape=_write(file, numbers()))
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None
        raise


def _from_kept(kept: Path, numbers: Callable[[], Iterator[float]]) -> np.ndarray:
    def fill(partial: Path) -> int:
        with partial.open("wb") as file:
            return _write(file, numbers())

    count = _count(kept)
    if count is None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        count = replace_file(kept, fill)
    return np.memmap(kept, np.float64, "r", shape=count)


def _count(kept: Path) -> int | None:
    """How many numbers are in a file of `_write`; None if there is none, or it is not whole."""
    if not kept.exists():
        return None
    with kept.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _END.size, 0))
        end = file.read()
    count = (size - _END.size) // 8
    return count if end == _END.pack(MARK, max(count, 0)) else None


def _write(file: IO[bytes], numbers: Iterator[float]) -> int:
    """Write numbers, and at the end how many, which is returned."""
    count = 0
    while chunk := array("d", islice(numbers, _CHUNK)):
        file.write(chunk.tobytes())
        count += len(chunk)
    file.write(_END.pack(MARK, count))
    file.flush()
    return count
