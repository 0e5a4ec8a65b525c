"""Words of texts as ids and as hashed character n-grams."""

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rnnjax.experiments.data._batching import pad

_SIZES = range(3, 6)  # characters of an n-gram
MAX_NGRAMS = 24  # of a word; those of a longer word are left out, the longest first


class Words(NamedTuple):
    """A batch of texts by their distinct words; the first word is `<unk>`, without n-grams."""

    places: np.ndarray  # [T, B] int32 rows of ids and spelling; 0 in the padding
    ids: np.ndarray  # [U] int32 ids in the vocabulary; 0 for unknown words
    spelling: np.ndarray  # [U, G] int32 from `character_ngrams`


def distinct_words(
    texts: Sequence[np.ndarray],
    vocabulary: int,
    spelling: np.ndarray,
    sizes: Sequence[int] | None = None,
) -> tuple[Words, np.ndarray]:
    """Batch texts by their distinct words; returns `Words` and the lengths `[B]`.

    Args:
      texts: B arrays of rows of `spelling`, 0 for `<unk>`.
      vocabulary: its size; words from there on are represented by their n-grams alone.
      spelling: `[N, G]` n-grams of each word, the first row zero.
      sizes: as in `rnnjax.experiments.data.pad`.

    Example:
      >>> texts = [np.array([5, 2, 5]), np.array([9])]
      >>> words, lengths = distinct_words(texts, 8, np.arange(10)[:, None], sizes=[4])
      >>> words.places.T.tolist(), words.ids[:4].tolist(), words.spelling[:4, 0].tolist()
      ([[2, 1, 2, 0], [3, 0, 0, 0]], [0, 2, 5, 0], [0, 2, 5, 9])
    """
    rows, lengths = pad([np.asarray(text, np.int32) for text in texts], sizes=sizes)
    found, places = np.unique(np.append(rows.ravel(), 0), return_inverse=True)
    found = pad([found]).xs[:, 0]
    ids = np.where(found < vocabulary, found, 0).astype(np.int32)
    return Words(places[:-1].reshape(rows.shape).astype(np.int32), ids, spelling[found]), lengths


def character_ngrams(words: Sequence[str], buckets: int) -> np.ndarray:
    """Hash the character 3-, 4- and 5-grams of words (the subword units of fastText).

    A word is enclosed in `<` and `>`, which mark its beginning and end. Each n-gram is hashed to
    1 … buckets by CRC-32, which is the same on every machine.

    Args:
      words: N words.
      buckets: number of hash buckets; 0 for no n-grams.

    Returns:
      `[N, MAX_NGRAMS]` int32, zero-padded; `[N, 0]` without buckets.

    Example:
      >>> first, second = character_ngrams(["dull", "dully"], buckets=1000)
      >>> len(set(first) & set(second) - {0})  # <du dul ull <dul dull <dull
      6

    References:
      Bojanowski, Grave, Joulin & Mikolov (2017), Enriching word vectors with subword information,
      TACL 5.
    """
    if not buckets:
        return np.zeros((len(words), 0), np.int32)
    table = np.zeros((len(words), MAX_NGRAMS), np.int32)
    for row, word in zip(table, words, strict=True):
        found = [zlib.crc32(gram.encode()) % buckets + 1 for gram in _grams(f"<{word}>")]
        row[: len(found)] = found[:MAX_NGRAMS]
    return table


def _grams(word: str) -> Iterator[str]:
    return (word[at : at + n] for n in _SIZES for at in range(len(word) - n + 1))
