"""Token ids of many texts in one file on disk, mapped into memory."""

import tempfile
from array import array
from collections.abc import Iterable

import numpy as np


class TokenStore:
    """The ids of N texts one after the other; `store[i]` is those of text i.

    They lie in a temporary file without a name, mapped into memory: what is not being read
    takes none, and the file is gone with the store.
    """

    def __init__(self, ids: np.ndarray, starts: np.ndarray) -> None:
        self.ids = ids  # [all] uint16 or int32, read-only
        self.starts = starts  # [N + 1] int64

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, text: int, /) -> np.ndarray:
        return self.ids[self.starts[text] : self.starts[text + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """How many ids each text has, `[N]`."""
        return np.diff(self.starts)


def store_tokens(texts: Iterable[np.ndarray], vocabulary: int) -> TokenStore:
    """Write the ids of texts to disk, one text in memory at a time.

    Args:
      texts: arrays of ids.
      vocabulary: its size; up to 65,536 an id takes two bytes, above that four.

    Returns:
      A `TokenStore`.

    Example:
      >>> store = store_tokens([np.array([3, 1, 4]), np.array([1, 5])], vocabulary=10)
      >>> store[1].tolist(), store.lengths.tolist()
      ([1, 5], [3, 2])
    """
    dtype = np.uint16 if vocabulary <= 1 << 16 else np.int32
    starts = array("q", [0])
    with tempfile.TemporaryFile() as file:
        for ids in texts:
            file.write(ids.astype(dtype).tobytes())
            starts.append(starts[-1] + len(ids))
        file.flush()
        ids = np.memmap(file, dtype, mode="r") if starts[-1] else np.zeros(0, dtype)
    return TokenStore(ids, np.asarray(starts, np.int64))
