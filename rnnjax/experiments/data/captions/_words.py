"""Captions as words and ids: normalisation, vocabulary, encoding and decoding."""

import re
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from rnnjax._arguments import check_positive_int
from rnnjax._names import option
from rnnjax.experiments.data.text._vocabulary import Vocabulary, learn_vocabulary

UNKNOWN, BEGIN, END = 0, 1, 2  # ids
_MARKS = ("<s>", "</s>")
_NOT_OF_WORDS = re.compile(r"[^\w\s']+|_")


def normalise_caption(caption: str) -> str:
    """Normalise a caption: lower case, no punctuation, single spaces.

    Example:
      >>> normalise_caption("Two dogs , one black , don't bark .")
      "two dogs one black don't bark"
    """
    return " ".join(_NOT_OF_WORDS.sub(" ", caption.lower()).split())


def caption_vocabulary(captions: Iterable[str], max_words: int | None = None) -> Vocabulary:
    """The vocabulary of normalised captions: three special tokens, then words by frequency.

    Args:
      captions: of the training pictures.
      max_words: largest size of the vocabulary, special tokens included.

    Raises:
      ImportError: tokenizers is not installed.
      TypeError: max_words that is not an int.
      ValueError: captions without words, or max_words that leaves room for none.
    """
    vocabulary = learn_vocabulary(captions, "spaces", specials=_MARKS)
    if max_words is None:
        return vocabulary
    if check_positive_int("max_words", max_words) <= 1 + len(_MARKS):
        raise ValueError(
            f"{option('max_words')} must be above {1 + len(_MARKS)}, the special tokens, got "
            f"{max_words}"
        )
    return vocabulary.first(max_words)


class Sentences:
    """The captions of all pictures as token ids; `sentences[n]` is one caption."""

    def __init__(self, captions: Sequence[Sequence[str]], vocabulary: Vocabulary) -> None:
        """Encode normalised captions, picture by picture."""
        counts = [len(each) for each in captions]
        found = vocabulary.encode_all(chain.from_iterable(captions))
        parts = [np.append(ids, END).astype(np.int32) for ids in found]
        self._ids = np.concatenate(parts)
        self._starts = np.append(0, np.cumsum([len(part) for part in parts]))
        self.pictures = np.repeat(np.arange(len(captions)), counts)  # [N] picture of each caption

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, sentence: int, /) -> np.ndarray:
        return self._ids[self._starts[sentence] : self._starts[sentence + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each caption, the end token included, `[N]`."""
        return np.diff(self._starts)


def decode_caption(vocabulary: Vocabulary, ids: Iterable[int]) -> str:
    """The text of token ids, up to the end token."""
    words = []
    for number in ids:
        if number == END:
            break
        words.append(number)
    return vocabulary.decode(words)
