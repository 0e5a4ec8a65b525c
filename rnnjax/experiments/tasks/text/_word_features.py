"""Words as features: one vector for each word, and one for each piece of its spelling."""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array
from rnnjax.experiments.tasks._batching import pad


class Words(NamedTuple):
    """Texts by their distinct words, the first of which is `<unk>`, spelt with nothing."""

    places: np.ndarray  # [T, B] int32, rows of the two below; 0 in the padding
    ids: np.ndarray  # [U] int32, in the vocabulary; 0 for words that are not in it
    spelling: np.ndarray  # [U, G] int32, of `spelled`


def distinct_words(
    texts: Sequence[np.ndarray],
    vocabulary: int,
    spelling: np.ndarray,
    sizes: Sequence[int] | None = None,
) -> tuple[Words, np.ndarray]:
    """A batch of texts, and their lengths `[B]`.

    Args:
      texts: B arrays of rows of `spelling`, 0 for `<unk>`.
      vocabulary: its size: rows from there on are words known by their spelling alone.
      spelling: `[N, G]`, its first row zero.
      sizes: as for `rnnjax.experiments.tasks._batching.pad`.

    Example:
      >>> texts = [np.array([5, 2, 5]), np.array([9])]
      >>> words, lengths = distinct_words(texts, 8, np.arange(10)[:, None], sizes=[4])
      >>> words.places.T.tolist(), words.ids[:4].tolist(), words.spelling[:4, 0].tolist()
      ([[2, 1, 2, 0], [3, 0, 0, 0]], [0, 2, 5, 0], [0, 2, 5, 9])
    """
    rows, lengths = pad([np.asarray(text, np.int32) for text in texts], sizes=sizes)
    found, places = np.unique(np.append(rows.ravel(), 0), return_inverse=True)
    found = pad([found]).xs[:, 0]
    ids = np.where(found < vocabulary, found, 0).astype(np.int32)
    return Words(places[:-1].reshape(rows.shape).astype(np.int32), ids, spelling[found]), lengths


class WordFeatures(nn.Module):
    """`Words` to features `[T, B, D]`, in training with two kinds of dropout.

        w_t ← <unk> with probability word_dropout
        x_t = m_t ⊙ (E[w_t] + 2/n Σ_i S[g_i]),   g_1 … g_n the n-grams of w_t

    A word that is in no training text still has a spelling. Word dropout hides whole words, so
    that no single one decides; m_t drops features at the rate `dropout`. Both are active with a
    "dropout" key alone.

    References:
      Bojanowski, Grave, Joulin & Mikolov (2017), Enriching word vectors with subword information,
      TACL 5.
      Iyyer, Manjunatha, Boyd-Graber & Daumé III (2015), Deep unordered composition rivals
      syntactic methods for text classification, ACL (word dropout).
    """

    entries: int
    features: int
    buckets: int = 0
    dropout: float = 0.0
    word_dropout: float = 0.0

    @nn.compact
    def __call__(self, words: Words) -> Array:
        dtype, training = jnp.result_type(float), self.has_rng("dropout")
        found = nn.Embed(self.entries, self.features, param_dtype=dtype, name="words")(words.ids)
        if self.buckets:
            grams = nn.Embed(self.buckets + 1, self.features, param_dtype=dtype, name="grams")
            known = (words.spelling > 0)[..., None]
            total = jnp.sum(grams(words.spelling), axis=1, where=known)
            found = found + 2 * total / jnp.maximum(jnp.sum(known, axis=1), 1)
        places = jnp.asarray(words.places)
        if training and self.word_dropout:
            kept = jax.random.bernoulli(
                self.make_rng("dropout"), 1 - self.word_dropout, places.shape
            )
            places = jnp.where(kept, places, 0)
        return nn.Dropout(self.dropout, deterministic=not training)(found[places])
