"""Multinomial naive Bayes: what a classifier of texts has to beat."""

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
    """The share of test texts that multinomial naive Bayes gets right.

        class = argmax_c  ln p(c) + Σ_w n_w ln p(w | c),   p(w | c) ∝ 1 + count of w in class c

    over words, or over words and pairs of neighbouring words. Whatever does not occur in the
    training texts is left out. Texts are counted a block at a time.

    Args:
      store: the ids of the words of all texts.
      labels: `[N]` numbers of classes.
      train, test: numbers of the texts to learn from and to judge by.
      words: how many there are in the training texts, `<unk>` among them: id 0, and ids from
        here on, do not count.
      pairs: whether to count pairs of words too.

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
    """The ids of some texts one after the other, and which of the texts each belongs to."""
    ids = np.concatenate([store[row] for row in rows]).astype(np.int64)
    return np.where(ids < words, ids, 0), np.repeat(np.arange(len(rows)), store.lengths[rows])


def _pair_codes(ids: np.ndarray, owner: np.ndarray, words: int) -> tuple[np.ndarray, np.ndarray]:
    """One number for each pair of neighbours within a text, and the text that it is in."""
    inside = (owner[1:] == owner[:-1]) & (ids[1:] > 0) & (ids[:-1] > 0)
    return (ids[:-1] * words + ids[1:])[inside], owner[1:][inside]


def _pairs_in(store: TokenStore, rows: np.ndarray, words: int) -> np.ndarray:
    """The pairs that occur in some texts, sorted."""
    known = np.zeros(0, np.int64)
    for block in _blocks(rows):
        known = np.union1d(known, _pair_codes(*_joined(store, block, words), words)[0])
    return known


def _counts(store: TokenStore, rows: np.ndarray, words: int, known: np.ndarray) -> Any:
    """How often each word, and each known pair, occurs: sparse `[rows, words + pairs]`."""
    from scipy.sparse import csr_matrix  # JAX and scikit-learn both bring scipy

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
