"""Vocabularies: words or characters to token ids and back."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from rnnjax._arguments import check_choice, checked_arguments
from rnnjax._extras import optional

UNKNOWN = "<unk>"
UNITS = ("words", "spaces", "characters")
_TEXTS, _CHARACTERS = 1 << 10, 1 << 16  # at most this many are encoded at once


class Vocabulary:
    """Encode and decode text by a Hugging Face tokenizer. Made by `learn_vocabulary`.

    Id 0 is the unknown token, further special tokens come next, then the other entries from the
    most to the least frequent: the first n ids are the vocabulary of size n.
    """

    def __init__(self, entries: Sequence[str], units: str, lowercase: bool) -> None:
        self.entries = tuple(entries)
        self.units = units
        self.lowercase = lowercase
        model = optional("tokenizers").models.WordLevel(
            {entry: number for number, entry in enumerate(self.entries)}, unk_token=UNKNOWN
        )
        self._tokenizer = _tokenizer(model, units, lowercase)

    def __len__(self) -> int:
        return len(self.entries)

    def first(self, size: int) -> "Vocabulary":
        """The vocabulary of the `size` most frequent entries, special tokens included."""
        return Vocabulary(self.entries[:size], self.units, self.lowercase)

    def extended(self, entries: Iterable[str]) -> "Vocabulary":
        """With further entries appended; those that it already has are ignored."""
        own = set(self.entries)
        new = (entry for entry in dict.fromkeys(entries) if entry not in own)
        return Vocabulary([*self.entries, *new], self.units, self.lowercase)

    def split(self, text: str) -> list[str]:
        """The words or characters of a text, whether or not they are in the vocabulary."""
        if self._tokenizer.normalizer is not None:
            text = self._tokenizer.normalizer.normalize_str(text)
        return [part for part, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(text)]

    def number(self, entry: str) -> int:
        """The id of one word or character; 0 if unknown."""
        return self._tokenizer.token_to_id(entry) or 0

    def encode(self, text: str) -> np.ndarray:
        """The token ids of a text, `[t]` int32."""
        return np.asarray(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int32)

    def encode_all(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """The token ids of each text in turn; encodes a block of texts at a time."""
        for block in _blocks(texts):
            for encoding in self._tokenizer.encode_batch(block, add_special_tokens=False):
                yield np.asarray(encoding.ids, np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids: words joined by spaces, or characters."""
        entries = (self.entries[int(number)] for number in ids)
        return ("" if self.units == "characters" else " ").join(entries)


@checked_arguments
def learn_vocabulary(
    texts: Iterable[str],
    units: str = "words",
    *,
    lowercase: bool = False,
    specials: Sequence[str] = (),
) -> Vocabulary:
    """Learn the vocabulary of texts, ordered from the most to the least frequent entry.

    Args:
      texts: of the training part; iterated over once.
      units: "words" with punctuation separate, "spaces" for whitespace-separated words (text that
        is already tokenised), or "characters".
      lowercase: whether to convert to lower case.
      specials: special tokens besides `<unk>`, with ids from 1 on.

    Returns:
      A `Vocabulary`.

    Raises:
      ImportError: tokenizers is not installed.
      ValueError: unknown units, or empty texts.

    Example:
      >>> vocabulary = learn_vocabulary(["a bad film", "a good film", "A film!"], lowercase=True)
      >>> vocabulary.entries
      ('<unk>', 'a', 'film', '!', 'bad', 'good')
      >>> vocabulary.encode("A dull film").tolist(), vocabulary.decode([1, 4, 2])
      ([1, 0, 2], 'a bad film')
    """
    check_choice("units", units, UNITS)
    models, trainers = optional("tokenizers").models, optional("tokenizers").trainers
    counter = _tokenizer(models.WordLevel(unk_token=UNKNOWN), units, lowercase)
    trainer = trainers.WordLevelTrainer(
        vocab_size=1 << 31, min_frequency=0, special_tokens=[], show_progress=False
    )
    counter.train_from_iterator(texts, trainer)
    numbers = counter.get_vocab()
    if not numbers:
        raise ValueError("there is nothing in the texts to learn a vocabulary from: they are empty")
    reserved = (UNKNOWN, *specials)
    found = sorted(numbers.keys() - set(reserved), key=numbers.__getitem__)
    return Vocabulary([*reserved, *found], units, lowercase)


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Blocks of texts to encode at once, limited since an encoded token takes far more memory."""
    block, size = [], 0
    for text in texts:
        if block and (len(block) == _TEXTS or size + len(text) > _CHARACTERS):
            yield block
            block, size = [], 0
        block.append(text)
        size += len(text)
    if block:
        yield block


def _tokenizer(model: Any, units: str, lowercase: bool) -> Any:
    package = optional("tokenizers")
    splits = package.pre_tokenizers
    tokenizer = package.Tokenizer(model)
    if lowercase:
        tokenizer.normalizer = package.normalizers.Lowercase()
    if units == "characters":
        tokenizer.pre_tokenizer = splits.Split(package.Regex(r"[\s\S]"), "isolated")
    else:
        tokenizer.pre_tokenizer = (
            splits.Whitespace() if units == "words" else splits.WhitespaceSplit()
        )
    return tokenizer
