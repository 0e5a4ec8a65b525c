"""Witten-Bell n-grams against the recursion written out."""

import math
from collections import Counter

import numpy as np
import pytest

from rnnjax.experiments.data.text import longest_context, witten_bell

V = 5
TRAIN = np.random.default_rng(0).integers(0, V, 60) * np.random.default_rng(1).integers(0, 2, 60)
HELD_OUT = np.random.default_rng(2).integers(0, V, 25)


def probability(word, context):
    """p_k(w | c), by counting the training text anew."""
    lower = 1 / V if not context else probability(word, context[1:])
    k = len(context)
    after = Counter(
        int(TRAIN[at + k]) for at in range(len(TRAIN) - k) if tuple(TRAIN[at : at + k]) == context
    )
    if not after:
        return lower
    return (after[word] + len(after) * lower) / (after.total() + len(after))


def test_against_the_recursion():
    text = [*TRAIN.tolist(), *HELD_OUT.tolist()]
    found = witten_bell(TRAIN, HELD_OUT, V, 3)
    for k in range(4):
        nats = [
            -math.log(probability(text[at], tuple(text[at - k : at])))
            for at in range(len(TRAIN), len(text))
        ]
        assert found[k] == pytest.approx(np.mean(nats), rel=1e-12)
    assert len({round(nats, 6) for nats in found}) == 4


def test_probabilities_sum_to_one():
    for context in ((), (0,), (3, 1), (1, 0, 4)):
        assert sum(probability(word, context) for word in range(V)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("vocabulary", "wanted", "expected"),
    [
        (50, 4, 4),
        (6208, 4, 4),
        (6209, 4, 3),
        (6301, 4, 3),
        (10**5, 2, 2),
        (1 << 21, 2, 1),
        (9, 0, 0),
    ],
)
def test_the_longest_context_that_can_be_counted(vocabulary, wanted, expected):
    assert longest_context(vocabulary, wanted) == expected
    assert len(witten_bell(TRAIN, HELD_OUT, vocabulary, expected)) == expected + 1


def test_contexts_too_long_for_a_number():
    with pytest.raises(ValueError, match="contexts of 4 tokens are too long for 10000 words"):
        witten_bell(TRAIN, HELD_OUT, 10_000, 4)
