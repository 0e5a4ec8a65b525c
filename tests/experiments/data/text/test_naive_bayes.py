"""Naive Bayes against a count by hand, and against scikit-learn on its own."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from rnnjax.experiments.data import store_tokens
from rnnjax.experiments.data.text import _naive_bayes, naive_bayes

WORDS = 30  # 0 is <unk>, and from 25 on no training text has them
TRAIN, TEST = np.arange(120), np.arange(120, 200)


@pytest.fixture(scope="module")
def texts():
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 200).astype(np.int32)
    leaning = random.dirichlet(np.full(24, 0.7), 2)
    made = []
    for row, label in enumerate(labels):
        share = 0.35 * leaning[label] + 0.65 / 24
        words = 1 + random.choice(24, random.integers(1, 8), p=share)
        if row >= 120:
            words = np.append(words, [0, random.integers(25, WORDS)])
        made.append(words)
    return made, labels


def by_hand(texts, labels, features):
    counts = [Counter(), Counter()]
    for row in TRAIN:
        counts[labels[row]].update(features(texts[row]))
    known = set(counts[0]) | set(counts[1])
    right = 0
    for row in TEST:
        scores = [
            math.log((labels[TRAIN] == c).mean())
            + sum(
                math.log((counts[c][f] + 1) / (counts[c].total() + len(known)))
                for f in features(texts[row])
                if f in known
            )
            for c in (0, 1)
        ]
        right += int(scores[1] > scores[0]) == labels[row]
    return right / len(TEST)


def words_of(text):
    return [int(w) for w in text if 0 < w < 25]


def pairs_too(text):
    pairs = [(int(a), int(b)) for a, b in pairwise(text)]
    return words_of(text) + [pair for pair in pairs if all(0 < w < 25 for w in pair)]


@pytest.mark.parametrize("block", [4096, 7])
def test_against_a_count_by_hand(texts, monkeypatch, block):
    monkeypatch.setattr(_naive_bayes, "_BLOCK", block)
    store = store_tokens(texts[0], WORDS)
    scores = [
        naive_bayes(store, texts[1], TRAIN, TEST, words=25, pairs=pairs) for pairs in (False, True)
    ]
    expected = [by_hand(*texts, words_of), by_hand(*texts, pairs_too)]
    assert scores == expected
    assert 0.5 < scores[0] < 0.95  # neither guessing nor trivial
    assert scores[0] != scores[1]


def test_against_scikit_learn(texts):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    strings = [" ".join(f"w{w}" for w in text if w) for text in texts[0]]
    counter = CountVectorizer(token_pattern=r"\S+", ngram_range=(1, 2))
    model = MultinomialNB().fit(counter.fit_transform(strings[:120]), texts[1][:120])
    expected = model.score(counter.transform(strings[120:]), texts[1][120:])
    store = store_tokens(texts[0], WORDS)
    assert naive_bayes(store, texts[1], TRAIN, TEST, words=25, pairs=True) == expected


def test_store_keeps_texts_on_disk():
    texts = [np.array([3, 1, 4]), np.zeros(0, np.int32), np.array([1, 5])]
    for vocabulary, size in ((1 << 16, 2), ((1 << 16) + 1, 4)):
        store = store_tokens(texts, vocabulary)
        assert [store[k].tolist() for k in range(len(store))] == [[3, 1, 4], [], [1, 5]]
        assert store.lengths.tolist() == [3, 0, 2]
        assert isinstance(store.ids, np.memmap)
        assert store.ids.itemsize == size
    assert store_tokens([np.array([1 << 16])], 1 << 17)[0].tolist() == [1 << 16]
    assert len(store_tokens([], 5)) == 0
