"""Reviews prepared for training: split, vocabulary, encoded texts, batches and baselines."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnjax.experiments.data._batching import (
    batches_by_length,
    bucket_sizes,
    bucketed_batches,
    steps_per_epoch,
)
from rnnjax.experiments.data._storage import TokenStore, store_tokens
from rnnjax.experiments.data.text._folds import Split, dev_split, fold_split
from rnnjax.experiments.data.text._naive_bayes import naive_bayes
from rnnjax.experiments.data.text._reviews import ReviewSource, select_texts
from rnnjax.experiments.data.text._vocabulary import Vocabulary, learn_vocabulary
from rnnjax.experiments.data.text._words import Words, character_ngrams, distinct_words

AT_ONCE = 128  # texts of one batch in evaluation


class ReviewBatch(NamedTuple):
    words: Words  # [T, B]
    lengths: np.ndarray  # [B] int32
    labels: np.ndarray  # [B] int32


class ReviewReader(NamedTuple):
    """What a model needs to read texts and to name their classes."""

    classes: tuple[str, ...]
    vocabulary: Vocabulary
    buckets: int  # number of hash buckets of the n-grams
    max_length: int  # words

    def of_texts(self, texts: Sequence[str]) -> tuple[Words, np.ndarray]:
        """Encode texts as the model reads them; returns their words and lengths `[B]`."""
        split = [self.vocabulary.split(text)[: self.max_length] for text in texts]
        new = list(dict.fromkeys(word for words in split for word in words))
        places = {word: place for place, word in enumerate(new, start=1)}
        rows = [np.array([places[word] for word in words], np.int32) for words in split]
        words, lengths = distinct_words(rows, 0, character_ngrams(["", *new], self.buckets))
        ids = np.zeros_like(words.ids)
        ids[1 : 1 + len(new)] = [self.vocabulary.number(word) for word in new]
        return words._replace(ids=ids), lengths


class ReviewData(NamedTuple):
    """Encoded reviews with their split.

    Ids are ordered: the words in the model's vocabulary, other words of the training texts, then
    words of held-out texts alone, which the model sees only as character n-grams.
    """

    store: TokenStore
    labels: np.ndarray  # [N] int32
    reader: ReviewReader  # of the model
    split: Split
    train_words: int  # number of words in the training texts
    spelling: np.ndarray  # [words, G] int32

    def batch(self, rows: np.ndarray, sizes: Sequence[int] | None = None) -> ReviewBatch:
        """A padded batch of the texts with these indices."""
        texts = [self.store[int(row)][: self.reader.max_length] for row in rows]
        known = len(self.reader.vocabulary)
        words, lengths = distinct_words(texts, known, self.spelling, sizes)
        return ReviewBatch(words, lengths, self.labels[rows])

    def batches(self, seed: int, batch_size: int) -> Any:
        """Endless training batches of texts of similar length."""
        rows = self.split.train
        lengths = self._lengths(rows)
        sizes = bucket_sizes(lengths)
        numbers = bucketed_batches(lengths, self._size(batch_size), seed, drop_remainder=True)
        return numbers.map(lambda chosen: self.batch(rows[chosen], sizes))

    def steps_per_epoch(self, batch_size: int) -> int:
        """The number of batches in an epoch."""
        train = len(self.split.train)
        return steps_per_epoch(train, self._size(batch_size), drop_remainder=True)

    def test_batches(self) -> list[np.ndarray]:
        """Index batches of the test set, each text once; pass each to `batch`."""
        rows = self.split.test
        return [rows[chosen] for chosen in batches_by_length(self._lengths(rows), AT_ONCE)]

    def baselines(self) -> dict[str, float]:
        """Test accuracy of the most frequent class, and of naive Bayes on words and on bigrams."""
        train, test = self.split
        common = np.bincount(self.labels[train]).argmax()
        scores = {"most frequent class": float((self.labels[test] == common).mean())}
        for name, pairs in (("naive Bayes", False), ("naive Bayes, word pairs", True)):
            scores[name] = naive_bayes(
                self.store, self.labels, train, test, words=self.train_words, pairs=pairs
            )
        return scores

    def _lengths(self, rows: np.ndarray) -> np.ndarray:
        return np.minimum(self.store.lengths[rows], self.reader.max_length)

    def _size(self, batch_size: int) -> int:
        return min(batch_size, len(self.split.train))


def prepare_reviews(
    source: ReviewSource,
    *,
    fold: int,
    folds: int,
    dev: bool,
    units: str,
    lowercase: bool,
    min_count: int,
    max_words: int | None,
    max_length: int,
    buckets: int,
) -> ReviewData:
    """Split reviews, learn the vocabulary from the training part, and encode all texts."""
    labels, split = _split(source, fold, folds, dev)
    train, test = source.train, source.test

    def texts(rows: np.ndarray) -> Iterator[str]:
        yield from select_texts(train.texts, rows[rows < len(train.labels)])
        if test is not None:
            yield from select_texts(test.texts, rows[rows >= len(train.labels)] - len(train.labels))

    learnt = learn_vocabulary(texts(split.train), units, lowercase=lowercase)
    held_out = learn_vocabulary(texts(split.test), units, lowercase=lowercase)
    all_words = learnt.extended(held_out.entries)
    store = store_tokens(all_words.encode_all(texts(np.arange(len(labels)))), len(all_words))
    counts = np.zeros(len(all_words), np.int64)
    for row in split.train:
        np.add.at(counts, store[int(row)], 1)
    known = 1 + int((counts[1 : len(learnt)] >= min_count).sum())
    vocabulary = learnt.first(min(known, max_words or known))
    return ReviewData(
        store,
        labels,
        ReviewReader(train.classes, vocabulary, buckets, max_length),
        split,
        len(learnt),
        character_ngrams(["", *all_words.entries[1:]], buckets),
    )


def _split(source: ReviewSource, fold: int, folds: int, dev: bool) -> tuple[np.ndarray, Split]:
    labels = source.train.labels
    if source.test is None:
        split = fold_split(labels, fold, folds)
    else:
        split = Split(np.arange(len(labels)), len(labels) + np.arange(len(source.test.labels)))
        labels = np.concatenate([labels, source.test.labels])
    return labels, dev_split(labels, split.train) if dev else split
