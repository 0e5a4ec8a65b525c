"""CTC decoding, edit distance, and label error rate."""

from collections.abc import Sequence

import numpy as np


def ctc_greedy(logits: np.ndarray, lengths: np.ndarray, *, blank: int = 0) -> list[list[int]]:
    """Greedy CTC decoding: the labels of the most probable alignment of each sequence.

        argmax_k logits[t, k] at every step; repetitions merged, then blanks removed

    Args:
      logits: `[T, B, K]`.
      lengths: `[B]` steps of each sequence.
      blank: the index of the blank.

    Returns:
      B lists of labels.

    Example:
      >>> best = np.array([0, 3, 3, 0, 3, 1, 1])
      >>> ctc_greedy(np.eye(4)[best][:, None], [6])
      [[3, 3, 1]]

    References:
      Graves, Fernández, Gomez & Schmidhuber (2006), Connectionist temporal classification:
      labelling unsegmented sequence data with recurrent neural networks, ICML.
    """
    best = np.asarray(logits).argmax(axis=-1)
    decoded = []
    for path, length in zip(best.T, lengths, strict=True):
        path = path[:length]
        starts = path[np.diff(path, prepend=-1) != 0]
        decoded.append([int(label) for label in starts if label != blank])
    return decoded


def edit_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Levenshtein distance: the fewest insertions, deletions and substitutions between sequences.

    Example:
      >>> edit_distance([1, 2, 3, 4], [2, 3, 5])
      2

    References:
      Levenshtein (1966), Binary codes capable of correcting deletions, insertions and reversals,
      Soviet Physics Doklady 10.
    """
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        above, row = row, [i]
        for j, b in enumerate(other, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
    return row[-1]


def label_error_rate(
    decoded: Sequence[Sequence[int]], references: Sequence[Sequence[int]]
) -> float:
    """Label error rate: edit distance to the references, divided by their length."""
    edits = sum(edit_distance(a, b) for a, b in zip(decoded, references, strict=True))
    return edits / sum(len(labels) for labels in references)
