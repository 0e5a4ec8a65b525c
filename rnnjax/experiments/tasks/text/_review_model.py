"""The text classifier: word features with subwords, loss, evaluation and inference."""

import reprlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.experiments.data._text_files import check_unicode
from rnnjax.experiments.data.text import ReviewBatch, ReviewData, ReviewReader, Words
from rnnjax.experiments.tasks._sequences import hits
from rnnjax.experiments.tasks._task import Loss, Recurrence
from rnnjax.running import in_float32
from rnnjax.scenarios import ManyToOneParams, cross_entropy, dropout, many_to_one, pooled
from rnnjax.unrolling import Layer

_AT_ONCE = 128  # texts that are classified at once


class WordFeatures(nn.Module):
    """Word embedding with subwords: `Words` to features `[T, B, D]`, with two kinds of dropout.

        w_t ← <unk> with probability word_dropout
        x_t = m_t ⊙ (E[w_t] + 2/n Σ_i S[g_i]),   g_1 … g_n the n-grams of w_t

    The n-grams give features to words that are in no training text. Word dropout replaces whole
    words, so that no single one decides; m_t drops features at the rate `dropout`. Both are active
    only with a "dropout" key.

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
            found = found + 2 * total / jnp.maximum(jnp.sum(known, axis=1), 1).astype(total.dtype)
        places = jnp.asarray(words.places)
        if training and self.word_dropout:
            kept = jax.random.bernoulli(
                self.make_rng("dropout"), 1 - self.word_dropout, places.shape
            )
            places = jnp.where(kept, places, 0)
        return nn.Dropout(self.dropout, deterministic=not training)(found[places])


class ReviewParams(NamedTuple):
    words: Params  # of WordFeatures
    net: ManyToOneParams


class ReviewModel(NamedTuple):
    init: Callable[[Array], ReviewParams]
    loss: Loss
    logits_of: Callable[[ReviewParams, Words, Array], Array]  # (params, words, lengths) -> [B, K]
    classify: Callable[[ReviewParams, Sequence[str]], list[tuple[str, float]]]
    recurrence: Callable[[ReviewParams, ReviewBatch], Recurrence] | None


def review_model(
    reader: ReviewReader, features: WordFeatures, layer: Layer | Cell, pooling: str, rate: float
) -> ReviewModel:
    """A model over features of words, with a class for each text.

    Args:
      reader: of its texts.
      features: the word embedding.
      layer: the recurrent part.
      pooling: as in `rnnjax.scenarios.many_to_one`.
      rate: dropout of the input of the head.
    """
    head = nn.Dense(len(reader.classes), param_dtype=jnp.result_type(float))
    net = many_to_one(layer, dropout(head, rate), pooling=pooling)

    def init(key: Array) -> ReviewParams:
        key_words, key_net = jax.random.split(key)
        xs = jnp.zeros((1, 1, features.features), jnp.result_type(float))
        words, _ = reader.of_texts([""])
        return ReviewParams(features.init(key_words, words), net.init(key_net, xs))

    def read(params: ReviewParams, words: Words, key: Array | None = None) -> Array:
        rngs = None if key is None else {"dropout": key}
        wide, _ = in_float32(params.words)  # in which the gradients of one word are summed
        return jnp.asarray(features.apply(wide, words, rngs=rngs))

    def loss(params: ReviewParams, carry: Carry, batch: ReviewBatch, key: Array | None) -> Any:
        del carry
        keys = (None, None) if key is None else jax.random.split(key)
        xs = read(params, batch.words, keys[0])
        logits = net.apply(params.net, xs, lengths=batch.lengths, key=keys[1])
        right = hits(logits, batch.labels)
        cost = cross_entropy(logits, jnp.asarray(batch.labels))
        return cost, (None, {"accuracy": jnp.mean(right)})

    @jax.jit
    def logits_of(params: ReviewParams, words: Words, lengths: Array) -> Array:
        return net.apply(params.net, read(params, words), lengths=lengths)

    def recurrence(cell: Cell, params: ReviewParams, batch: ReviewBatch) -> Recurrence:
        def cost(carry: Carry, ys: Array) -> Array:
            del carry
            summary = pooled(pooling).apply(params.net.pooling, ys, jnp.asarray(batch.lengths))
            logits = jnp.asarray(head.apply(params.net.head, summary))
            return cross_entropy(logits, jnp.asarray(batch.labels)) * len(batch.labels)

        xs = read(params, batch.words)
        return Recurrence(cell, params.net.layer, xs, cost, jnp.asarray(batch.lengths))

    return ReviewModel(
        init,
        loss,
        logits_of,
        _classification(reader, logits_of),
        partial(recurrence, layer) if isinstance(layer, Cell) else None,
    )


def evaluation(
    data: ReviewData, logits_of: Callable[..., Array]
) -> Callable[[ReviewParams], dict[str, float]]:
    """A function that scores params on the test texts."""

    def evaluate(params: ReviewParams) -> dict[str, float]:
        right = nats = 0.0
        for rows in data.test_batches():
            batch = data.batch(rows)
            logits = logits_of(params, batch.words, batch.lengths)
            costs = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
            nats += float(jnp.sum(costs))
            right += int(jnp.sum(hits(logits, batch.labels)))
        count = len(data.split.test)
        return {"accuracy": right / count, "nats": nats / count}

    return evaluate


def _classification(
    reader: ReviewReader, logits_of: Callable[..., Array]
) -> Callable[[ReviewParams, Sequence[str]], list[tuple[str, float]]]:
    def classify(params: ReviewParams, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The most probable class of each text, with its probability."""
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"texts must be a list of strings, got {texts!r}")
        for text in texts:
            check_unicode(text, f"the text {reprlib.repr(text)}")
        found: list[tuple[str, float]] = []
        for at in range(0, len(texts), _AT_ONCE):
            words, lengths = reader.of_texts(texts[at : at + _AT_ONCE])
            shares = np.asarray(jax.nn.softmax(logits_of(params, words, lengths)))
            best = shares.argmax(axis=-1)
            found += [
                (reader.classes[k], float(share[k])) for k, share in zip(best, shares, strict=True)
            ]
        return found

    return classify
