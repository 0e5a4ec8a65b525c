"""BLEU against counts written out, the best constant sentence against a search of all."""

from collections import Counter
from math import exp, log

import pytest

from rnnjax.experiments.tasks.captions import best_constant, bleu
from rnnjax.experiments.tasks.captions._scores import exact, named, shuffled

CAPTIONS = ["a dog runs on the the grass", "two cats", "a cat sat on a mat there"]
REFERENCES = [
    ["a dog runs on the grass", "the brown dog runs"],
    ["two cats sit", "two big cats", "cats two cats here"],
    ["there a cat sat on the mat"],
]


def grams(text, n):
    words = text.split()
    return Counter(tuple(words[k : k + n]) for k in range(len(words) + 1 - n))


def counted(captions, references, order):
    """Papineni et al.'s corpus BLEU of one order, in percent."""
    total = 0.0
    for n in range(1, order + 1):
        hits = sum(
            min(count, max(grams(text, n)[gram] for text in each))
            for caption, each in zip(captions, references, strict=True)
            for gram, count in grams(caption, n).items()
        )
        total += log(hits / sum(sum(grams(caption, n).values()) for caption in captions)) / order
    c = sum(len(caption.split()) for caption in captions)
    r = 0
    for caption, each in zip(captions, references, strict=True):
        lengths = [len(text.split()) for text in each]
        r += min(lengths, key=lambda x: (abs(x - len(caption.split())), x))
    return 100 * exp(min(0.0, 1 - r / c) + total)


def test_all_four_orders_by_hand():
    for n, score in enumerate(bleu(CAPTIONS, REFERENCES), start=1):
        assert score == pytest.approx(counted(CAPTIONS, REFERENCES, n), rel=1e-9)


def test_right_captions_and_wrong_ones():
    right = [each[-1] for each in REFERENCES]
    assert bleu(right, REFERENCES) == pytest.approx((100,) * 4)
    assert bleu(["no", "nothing", "x"], REFERENCES) == (0, 0, 0, 0)
    assert bleu(["", "", ""], REFERENCES) == (0, 0, 0, 0)
    assert bleu(["", *right[1:]], REFERENCES)[0] == pytest.approx(100 * exp(1 - 15 / 11))


def test_scores_by_name():
    scores = named("shuffled_", CAPTIONS, [["x"], ["two cats"], ["y"]])
    assert scores["shuffled_exact"] == pytest.approx(1 / 3)
    assert list(scores) == ["shuffled_exact", *(f"shuffled_bleu_{n}" for n in (1, 2, 3, 4))]
    assert exact(["a", "b"], [["b", "a"], ["c"]]) == 0.5


def test_shuffled_captions_are_all_of_other_pictures():
    for count in (2, 3, 8):
        captions = [str(k) for k in range(count)]
        moved = shuffled(captions)
        assert sorted(moved) == captions
        assert all(a != b for a, b in zip(moved, captions, strict=True))


def test_the_best_constant_sentence_is_the_best_of_all():
    references = [
        ["a dog runs in the grass", "a brown dog is running"],
        ["a dog runs in the sand", "dogs"],
        ["a black dog runs in the grass", "a dog in the grass"],
        ["a cat sleeps", "the cat is asleep on a chair by the window in the sun"],
        ["a dog runs in the snow", "a white dog plays"],
    ]
    every = {text for each in references for text in each}
    best = max(every, key=lambda text: counted_or_zero([text] * len(references), references))
    assert best_constant(references) == best == "a dog runs in the grass"


def counted_or_zero(captions, references):
    try:
        return counted(captions, references, 4)
    except (ValueError, ZeroDivisionError):
        return 0.0
