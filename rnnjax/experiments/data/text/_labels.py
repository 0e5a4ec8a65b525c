"""Labels as class indices, and spellings of one class that look like two."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

MOST_CLASSES = 100


def encode_labels(names: Sequence[str], where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The class index of each text, `[N]` int32, and the classes in order, numbers first.

    Args:
      names: the label of each of N texts.
      where: the beginning of error messages.

    Raises:
      ValueError: too few or too many classes, or two that differ only in how they are spelled.

    Example:
      >>> encode_labels(["10", "2", "10"], "r.csv")
      (array([1, 0, 1], dtype=int32), ('2', '10'))
    """
    counts = Counter(names)
    classes = tuple(sorted(counts, key=_numbers_first))
    check_classes(counts, where)
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[name] for name in names], np.int32), classes


def check_classes(counts: Mapping[str, int], where: str) -> None:
    """Raise ValueError unless 2 to 100 classes are left that are more than spellings of each other.

    Args:
      counts: how many texts have each label.
      where: the beginning of error messages.
    """
    if not 2 <= len(counts) <= MOST_CLASSES:
        some = ", ".join(map(repr, sorted(counts, key=_numbers_first)[:5]))
        more = " …" if len(counts) > 5 else ""
        raise ValueError(
            f"{where}: expected 2 to {MOST_CLASSES} classes, got {len(counts)}: {some}{more}"
        )
    spellings: dict[str, list[str]] = {}
    for name in sorted(counts, key=_numbers_first):
        spellings.setdefault(_meaning(name), []).append(name)
    doubled = [names for names in spellings.values() if len(names) > 1]
    if doubled:
        same = "; ".join(
            " and ".join(f"{name!r} ({counts[name]:,} times)" for name in names)
            for names in doubled
        )
        raise ValueError(
            f"{where}: classes that differ only in spelling: {same}. Write each class in one way"
        )


def _meaning(name: str) -> str:
    """What spellings of one class have in common: letters whatever their case, or a number."""
    text = "".join(unicodedata.normalize("NFKC", name).casefold().split())
    try:
        return repr(float(text))
    except ValueError:
        return text


def _numbers_first(name: str) -> tuple[bool, float, str]:
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name
