"""Atomic writing of results as strict JSON."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

# Of the name of a temporary file, in bytes: a file system takes no more than 255, or 143.
_RANDOM = 4
_KEPT = 60  # of the stem, and of the suffix


def write_json(path: Path, content: Any) -> None:
    """Write `content` as strict JSON, through a temporary file in the same folder.

    NamedTuples become objects and arrays lists. NaN becomes null; infinities, for which JSON has
    no number, become the strings "inf" and "-inf".
    """
    text = json.dumps(plain(content), indent=1, allow_nan=False)
    replace_file(path, lambda partial: partial.write_text(text + "\n", encoding="utf-8"))


def replace_file(path: Path, write: Callable[[Path], T]) -> T:
    """Let `write` fill a temporary file beside `path`, then put it in the place of `path`.

    Returns what `write` does. Of several writers of one path, in threads or processes, the last to
    finish wins. One that is killed leaves its temporary file behind, see `left_partials`.
    """
    partial = path.with_name(_partial_name(path, os.urandom(_RANDOM).hex()))
    try:
        written = write(partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # before the name: a power cut leaves one file or the other
        os.replace(partial, path)
        return written
    except OSError as error:
        # Without a name it is of a write, on a full disk.
        if error.errno is not None and error.filename in (None, str(partial), partial):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        with suppress(OSError):  # of what is cleaned up, which would hide the one of writing
            partial.unlink(missing_ok=True)


def left_partials(path: Path) -> Iterator[Path]:
    """The temporary files of `replace_file` for `path`, whose name may be a pattern as of `glob`.

    They are what killed writers left behind if nobody is writing.
    """
    return path.parent.glob(_partial_name(path, "[0-9a-f]" * 2 * _RANDOM))


def _partial_name(path: Path, random: str) -> str:
    stem, suffix = (
        os.fsencode(part)[:_KEPT].decode(errors="ignore") for part in (path.stem, path.suffix)
    )
    return f"{stem}.{random}.partial{suffix}"


def json_line(content: Any) -> str:
    """`content` as one line of a .jsonl file, by the rules of `write_json`."""
    return json.dumps(plain(content), allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """`value` out of what JSON has, by the rules of `write_json`."""
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
