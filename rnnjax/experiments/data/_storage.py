"""Results cached in memory up to a limit, and token ids in a memory-mapped file."""

import tempfile
from array import array
from collections.abc import Callable, Iterable

import numpy as np

from rnnjax._arguments import checked_arguments

_CACHE_BYTES = 256 << 20


@checked_arguments
def cached(
    function: Callable[[int], np.ndarray], limit: int = _CACHE_BYTES
) -> Callable[[int], np.ndarray]:
    """`function`, with its results cached until they take up `limit` bytes."""
    cache: dict[int, np.ndarray] = {}
    free = [limit]

    def read(k: int) -> np.ndarray:
        k = int(k)
        if k in cache:
            return cache[k]
        value = function(k)
        if value.nbytes <= free[0]:
            free[0] -= value.nbytes
            cache[k] = value
        return value

    return read


class TokenStore:
    """The token ids of N texts, concatenated; `store[i]` returns those of text i.

    They are in an unnamed temporary file, mapped into memory: only the pages in use take up
    memory, and the file disappears with the store.
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
        """The number of tokens of each text, `[N]`."""
        return np.diff(self.starts)


@checked_arguments
def store_tokens(texts: Iterable[np.ndarray], vocabulary: int) -> TokenStore:
    """Write the token ids of texts to disk, one text at a time.

    Args:
      texts: arrays of ids.
      vocabulary: its size; an id takes two bytes up to 65,536, four above.

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
