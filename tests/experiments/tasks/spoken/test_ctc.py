"""Greedy decoding and edit distance against every possibility."""

from itertools import groupby, product

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from rnnjax.experiments.tasks.spoken import ctc_greedy, edit_distance, label_error_rate

WORDS = st.lists(st.integers(0, 2), max_size=5)


@pytest.mark.parametrize("blank", [0, 2])
def test_paths_are_merged_and_blanks_dropped(blank):
    paths = np.array(list(product(range(3), repeat=4))).T  # [T, B]
    logits = np.eye(3)[paths]
    lengths = np.arange(81) % 5
    expected = [
        [k for k, _ in groupby(path[:n]) if k != blank]
        for path, n in zip(paths.T.tolist(), lengths, strict=True)
    ]
    assert ctc_greedy(logits, lengths, blank=blank) == expected


def plain_distance(a, b):
    if not a or not b:
        return len(a) + len(b)
    return min(
        plain_distance(a[1:], b) + 1,
        plain_distance(a, b[1:]) + 1,
        plain_distance(a[1:], b[1:]) + (a[0] != b[0]),
    )


@given(WORDS, WORDS)
def test_fewest_edits(a, b):
    assert edit_distance(a, b) == plain_distance(a, b)


def test_rate_is_edits_for_each_label_meant():
    assert label_error_rate([[1, 2], [], [3, 3]], [[1, 2, 3], [1], [3]]) == 3 / 5
