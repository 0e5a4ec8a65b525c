"""What a task says of its data before training, in `Task.notes`."""

from collections import Counter
from collections.abc import Iterable, Sequence

_SHOWN = 10


def class_counts(classes: Sequence[object], counts: Iterable[int]) -> str:
    """Classes with the number of their examples, as in "neg (12), pos (1,300)"."""
    return shortened([f"{c} ({n:,})" for c, n in zip(classes, counts, strict=True)])


def counts_of(classes: Sequence[object], labels: Iterable[object]) -> str:
    """`class_counts` of the labels of a set of examples."""
    found = Counter(labels)
    return class_counts(classes, [found[each] for each in classes])


def shortened(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
