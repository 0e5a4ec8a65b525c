"""Corpora of running text for language models: split, encoded, and memory-mapped from disk."""

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnjax._arguments import check_choice, check_positive_int, checked_arguments
from rnnjax._names import option
from rnnjax.experiments._effects import check_no_effect
from rnnjax.experiments.data._storage import store_tokens
from rnnjax.experiments.data._text_files import read_blocks
from rnnjax.experiments.data.text._vocabulary import UNITS, UNKNOWN, Vocabulary, learn_vocabulary

END = "<eos>"  # end of line, if the units are words
_PIECE = 1 << 14  # characters that are encoded at once
_LONGEST_LINE = 1 << 18  # characters after which a line is cut


class Corpus(NamedTuple):
    train: np.ndarray  # [n] ids, memory-mapped
    held_out: np.ndarray  # [m] ids
    characters: int  # in the held-out text
    vocabulary: Vocabulary


@checked_arguments
def open_corpus(
    path: str | Path,
    *,
    units: str = "characters",
    lowercase: bool = False,
    max_words: int | None = None,
    held_out: float = 0.1,
    part: str = "valid",
    encoding: str = "utf-8",
) -> Corpus:
    """Read a training and a held-out text as token ids.

    The vocabulary is learned from the training text alone. Neither text is in memory as a whole.

    Args:
      path: a text file, whose last part is held out; or a folder with one file for each part,
        such as ptb.train.txt, ptb.valid.txt and ptb.test.txt. If there are also
        ptb.char.train.txt and so on, characters are read from those.
      units: the tokens: "characters"; "words", with punctuation separate; or "spaces",
        whitespace-separated words. Words have a token `<eos>` at each end of line.
      lowercase: whether to convert to lower case.
      max_words: largest size of the vocabulary, `<unk>` and `<eos>` included; the rarest words
        become `<unk>`.
      held_out: share of the characters of a single file, from its end, in (0, 1).
      part: which file of a folder to evaluate on, "valid" or "test".
      encoding: of the files.

    Returns:
      A `Corpus`.

    Raises:
      FileNotFoundError: path does not exist, or a part is missing from a folder.
      ValueError: a share outside (0, 1), max_words that leaves room for no word, an empty text, one
        that is not in the encoding (with its line), or an option that has no effect.
    """
    path = Path(path)
    check_choice("units", units, UNITS)
    check_choice("part", part, ("valid", "test"))
    specials = () if units == "characters" else (END,)
    if max_words is not None:
        _check_size(max_words, (UNKNOWN, *specials))
    if path.is_dir():
        check_no_effect(open_corpus, {"held_out": held_out}, f"on a folder, which {path} is")
        files = [_part(path, name, units) for name in ("train", part)]
        texts = [lambda file=file: read_blocks(file, encoding) for file in files]
    else:
        check_no_effect(open_corpus, {"part": part}, f"on a single file, which {path} is")
        texts = _cut(path, encoding, held_out, units)
    pieces = [lambda text=text: _pieces(text(), units) for text in texts]
    vocabulary = learn_vocabulary(
        (piece for piece, _ in pieces[0]()), units, lowercase=lowercase, specials=specials
    )
    if max_words is not None:
        vocabulary = vocabulary.first(max_words)
    train, test = (store_tokens(_ids(each(), vocabulary), len(vocabulary)).ids for each in pieces)
    return Corpus(train, test, sum(map(len, texts[1]())), vocabulary)


def _check_size(max_words: int, reserved: tuple[str, ...]) -> None:
    if check_positive_int("max_words", max_words) <= len(reserved):
        raise ValueError(
            f"{option('max_words')} must be above {len(reserved)}, with "
            f"{' and '.join(reserved)} among them, got {max_words}"
        )


def _part(folder: Path, name: str, units: str) -> Path:
    found = sorted(file for file in folder.iterdir() if name in file.name.split("."))
    if len(found) > 1:  # ptb.char.train.txt has the characters of ptb.train.txt
        in_characters = units == "characters"
        fit = [file for file in found if ("char" in file.name.split(".")) == in_characters]
        found = fit or found
    if len(found) != 1:
        names = f": {', '.join(file.name for file in found)}. Move the others away" if found else ""
        raise FileNotFoundError(
            f"{folder}: expected one file with {name!r} between dots in its name, such as "
            f"ptb.{name}.txt, got {len(found)}{names}"
        )
    return found[0]


def _cut(path: Path, encoding: str, held_out: float, units: str):
    """Two functions that iterate over the first and the last part of a file."""
    if not 0 < held_out < 1:
        raise ValueError(f"{option('held_out')} is a share of the text, in (0, 1), got {held_out}")
    total = sum(map(len, read_blocks(path, encoding)))
    at = int(total * (1 - held_out))
    if units != "characters":
        at = _next_space(read_blocks(path, encoding), at)
    if not 0 < at < total:
        raise ValueError(f"{path} has {total} characters: too few to hold out {held_out:g} of them")

    def first() -> Iterator[str]:
        left = at
        for block in read_blocks(path, encoding):
            yield block[:left]
            left -= len(block)
            if left <= 0:
                return

    def last() -> Iterator[str]:
        skip = at
        for block in read_blocks(path, encoding):
            if skip < len(block):
                yield block[skip:]
            skip = max(0, skip - len(block))

    return [first, last]


def _next_space(blocks: Iterable[str], at: int) -> int:
    """The position of the first whitespace at or after `at`."""
    passed = 0
    for block in blocks:
        for place in range(max(0, at - passed), len(block)):
            if block[place].isspace():
                return passed + place
        passed += len(block)
    return passed


def _pieces(blocks: Iterable[str], units: str) -> Iterator[tuple[str, bool]]:
    """Pieces that can be encoded separately, and whether each ends a line."""
    if units == "characters":
        for block in blocks:
            for at in range(0, len(block), _PIECE):
                yield block[at : at + _PIECE], False
        return
    rest = ""
    for block in blocks:
        *lines, rest = (rest + block).split("\n")
        yield from ((line, True) for line in lines)
        if len(rest) > _LONGEST_LINE:  # a very long line, cut after its last space
            begun = "" if rest[-1].isspace() else rest.rsplit(None, 1)[-1]
            yield rest[: len(rest) - len(begun)], False
            rest = begun
    if rest:
        yield rest, False


def _ids(pieces: Iterable[tuple[str, bool]], vocabulary: Vocabulary) -> Iterator[np.ndarray]:
    ends: deque[bool] = deque()  # of the pieces that are not encoded yet

    def texts() -> Iterator[str]:
        for text, end in pieces:
            ends.append(end)
            yield text

    for ids in vocabulary.encode_all(texts()):
        yield np.append(ids, np.int32(1)) if ends.popleft() else ids


def encode_text(text: str, vocabulary: Vocabulary) -> np.ndarray:
    """The token ids of a text, encoded as a corpus is: for words, with `<eos>` at line ends."""
    return np.concatenate(list(_ids(_pieces([text], vocabulary.units), vocabulary)))
