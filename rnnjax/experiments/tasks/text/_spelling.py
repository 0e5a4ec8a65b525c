"""How words are spelt: their character n-grams, as numbers that fit a table."""

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

_SIZES = range(3, 6)  # characters of an n-gram
MOST = 24  # n-grams of a word; those of a longer word are left out, the longest first


def spelled(words: Sequence[str], buckets: int) -> np.ndarray:
    """The numbers of the character 3-, 4- and 5-grams of words.

    A word is taken between `<` and `>`, so that beginnings and ends are known as such. Each
    n-gram is hashed to 1 … buckets (CRC-32, the same on every machine); n-grams that collide
    share a number.

    Args:
      words: N words.
      buckets: how many numbers there are; 0 for no spelling.

    Returns:
      `[N, MOST]` int32, zero where a word has fewer; `[N, 0]` without buckets.

    Example:
      >>> first, second = spelled(["dull", "dully"], buckets=1000)
      >>> len(set(first) & set(second) - {0})  # <du dul ull <dul dull <dull
      6

    References:
      Bojanowski, Grave, Joulin & Mikolov (2017), Enriching word vectors with subword information,
      TACL 5.
    """
    if not buckets:
        return np.zeros((len(words), 0), np.int32)
    table = np.zeros((len(words), MOST), np.int32)
    for row, word in zip(table, words, strict=True):
        found = [zlib.crc32(gram.encode()) % buckets + 1 for gram in _grams(f"<{word}>")]
        row[: len(found)] = found[:MOST]
    return table


def _grams(word: str) -> Iterator[str]:
    return (word[at : at + n] for n in _SIZES for at in range(len(word) - n + 1))
