"""Texts on disk with random access to each, read once from a table that may not fit in memory."""

import tempfile
from array import array
from collections.abc import Iterable

import numpy as np


class StoredTexts:
    """N texts in an unnamed temporary file; `texts[i]` reads text i. Made by `store_texts`.

    The file is mapped into memory: only the pages in use take up memory, and it disappears with
    this object. In memory are the offsets, 8 bytes a text.
    """

    def __init__(self, content: np.ndarray, starts: np.ndarray) -> None:
        self._content = content  # [bytes] uint8, UTF-8
        self._starts = starts  # [N + 1] int64

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int, /) -> str:
        return self._content[self._starts[index] : self._starts[index + 1]].tobytes().decode()


def store_texts(texts: Iterable[str]) -> StoredTexts:
    """Write texts to disk, one in memory at a time.

    Example:
      >>> texts = store_texts(text for text in ("naïve", "", "fun"))
      >>> len(texts), texts[0], texts[2]
      (3, 'naïve', 'fun')
    """
    starts = array("q", [0])
    with tempfile.TemporaryFile() as file:
        for text in texts:
            starts.append(starts[-1] + file.write(text.encode()))
        file.flush()
        content = np.memmap(file, np.uint8, "r") if starts[-1] else np.zeros(0, np.uint8)
    return StoredTexts(content, np.asarray(starts, np.int64))
