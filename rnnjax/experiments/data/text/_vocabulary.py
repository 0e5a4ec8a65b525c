"""Words and characters as numbers."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from rnnjax._arguments import check_choice
from rnnjax._extras import optional

UNKNOWN = "<unk>"
UNITS = ("words", "spaces", "characters")
_TEXTS, _CHARACTERS = 1 << 10, 1 << 16  # at most so many are encoded at once


class Vocabulary:
    """Text to ids and back, by a tokenizer of Hugging Face. Made by `learn_vocabulary`.

    Id 0 stands for whatever is not in it, further special tokens come next, then the rest from
    the commonest to the rarest: the first n ids are the vocabulary of that size.
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
        """The vocabulary of the commonest, `size` entries in all."""
        return Vocabulary(self.entries[:size], self.units, self.lowercase)

    def extended(self, entries: Iterable[str]) -> "Vocabulary":
        """With further entries after its own; those that it has already are passed over."""
        own = set(self.entries)
        new = (entry for entry in dict.fromkeys(entries) if entry not in own)
        return Vocabulary([*self.entries, *new], self.units, self.lowercase)

    def split(self, text: str) -> list[str]:
        """The words or characters of a text, whether they are in the vocabulary or not."""
        if self._tokenizer.normalizer is not None:
            text = self._tokenizer.normalizer.normalize_str(text)
        return [part for part, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(text)]

    def number(self, entry: str) -> int:
        """The id of one word or character; 0 if it is not in the vocabulary."""
        return self._tokenizer.token_to_id(entry) or 0

    def encode(self, text: str) -> np.ndarray:
        """The ids `[t]` int32 of a text."""
        return np.asarray(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int32)

    def encode_all(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """The ids of each text in turn; a block of texts in memory at a time."""
        for block in _blocks(texts):
            for encoding in self._tokenizer.encode_batch(block, add_special_tokens=False):
                yield np.asarray(encoding.ids, np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids: words with spaces between them, characters without."""
        entries = (self.entries[int(number)] for number in ids)
        return ("" if self.units == "characters" else " ").join(entries)


def learn_vocabulary(
    texts: Iterable[str],
    units: str = "words",
    *,
    lowercase: bool = False,
    specials: Sequence[str] = (),
) -> Vocabulary:
    """All that occurs in texts, from the commonest to the rarest.

    Args:
      texts: those of the training part alone; read once, and not kept.
      units: "words" with punctuation apart from letters, "spaces" for whatever stands between
        spaces (text that has been tokenised already), or "characters".
      lowercase: whether capitals count as small letters.
      specials: entries besides `<unk>` that get ids of their own, from 1 on, used or not.

    Returns:
      A `Vocabulary`.

    Raises:
      ImportError: tokenizers is not installed.
      ValueError: unknown units, or texts with nothing in them.

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
        raise ValueError("there is nothing in the texts to learn a vocabulary from")
    reserved = (UNKNOWN, *specials)
    found = sorted(numbers.keys() - set(reserved), key=numbers.__getitem__)
    return Vocabulary([*reserved, *found], units, lowercase)


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts to encode at once: a token takes far more memory by then than its characters."""
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
