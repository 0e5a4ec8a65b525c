"""Multinomial naive Bayes: a baseline for text classifiers."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnjax._extras import optional
from rnnjax.experiments.data._storage import TokenStore

_BLOCK = 4096  # texts that are counted at once


def naive_bayes(
    store: TokenStore,
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    *,
    words: int,
    pairs: bool = False,
) -> float:
    """The test accuracy of multinomial naive Bayes.

        class = argmax_c  ln p(c) + Σ_w n_w ln p(w | c),   p(w | c) ∝ 1 + count of w in class c

    over words, or over words and bigrams. Features that do not occur in the training texts are
    ignored. Texts are counted block by block.

    Args:
      store: the word ids of all texts.
      labels: `[N]` class indices.
      train, test: indices of training and test texts.
      words: number of words in the training texts, `<unk>` included; id 0 and ids from here on
        are ignored.
      pairs: whether to count bigrams too.

    Returns:
      The accuracy, in [0, 1].

    Raises:
      ImportError: scikit-learn is not installed.

    References:
      Wang & Manning (2012), Baselines and bigrams: simple, good sentiment and topic
      classification, ACL.
    """
    model = optional("sklearn.naive_bayes").MultinomialNB()
    known = _pairs_in(store, train, words) if pairs else np.zeros(0, np.int64)
    classes = np.unique(labels[train])
    for rows in _blocks(train):
        model.partial_fit(_counts(store, rows, words, known), labels[rows], classes=classes)
    right = sum(
        int((model.predict(_counts(store, rows, words, known)) == labels[rows]).sum())
        for rows in _blocks(test)
    )
    return right / len(test)


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[at : at + _BLOCK] for at in range(0, len(rows), _BLOCK))


def _joined(store: TokenStore, rows: np.ndarray, words: int) -> tuple[np.ndarray, np.ndarray]:
    """The concatenated ids of some texts, and the row that each id belongs to."""
    ids = np.concatenate([store[row] for row in rows]).astype(np.int64)
    return np.where(ids < words, ids, 0), np.repeat(np.arange(len(rows)), store.lengths[rows])


def _pair_codes(ids: np.ndarray, owner: np.ndarray, words: int) -> tuple[np.ndarray, np.ndarray]:
    """An integer code for each bigram within a text, and the row that it belongs to."""
    inside = (owner[1:] == owner[:-1]) & (ids[1:] > 0) & (ids[:-1] > 0)
    return (ids[:-1] * words + ids[1:])[inside], owner[1:][inside]


def _pairs_in(store: TokenStore, rows: np.ndarray, words: int) -> np.ndarray:
    """The sorted codes of the bigrams that occur in some texts."""
    known = np.zeros(0, np.int64)
    for block in _blocks(rows):
        known = np.union1d(known, _pair_codes(*_joined(store, block, words), words)[0])
    return known


def _counts(store: TokenStore, rows: np.ndarray, words: int, known: np.ndarray) -> Any:
    """Counts of words and known bigrams: sparse `[rows, words + pairs]`."""
    from scipy.sparse import csr_matrix  # a dependency of JAX and of scikit-learn

    ids, owner = _joined(store, rows, words)
    columns, owners = [ids[ids > 0]], [owner[ids > 0]]
    if len(known):
        codes, pair_owner = _pair_codes(ids, owner, words)
        at = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        found = known[at] == codes
        columns.append(words + at[found])
        owners.append(pair_owner[found])
    column, row = np.concatenate(columns), np.concatenate(owners)
    shape = (len(rows), words + len(known))
    return csr_matrix((np.ones(len(column)), (row, column)), shape=shape)
