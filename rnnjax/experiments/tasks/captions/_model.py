"""The captioning model: an image encoder and a word decoder."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._names import option
from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.experiments.data.captions import BEGIN, UNKNOWN, CaptionBatch
from rnnjax.experiments.tasks._sequences import hits
from rnnjax.experiments.tasks._task import Loss
from rnnjax.experiments.tasks.captions._encoder import Convolutions, GivenFeature, GivenMap
from rnnjax.scenarios import (
    Decoder,
    Module,
    cross_entropy,
    encoder_decoder,
    one_to_many,
    valid_steps,
)


class Captioner(NamedTuple):
    decoder: Decoder
    init: Callable[[Array], Params]
    loss: Loss


def captioner(
    cell: Cell,
    words: int,
    example: np.ndarray,
    *,
    attention: str | None,
    features: int,
    embedding: int,
    dropout: float,
    word_dropout: float,
) -> Captioner:
    """Build the model for pictures, or precomputed features, of the shape of an example.

    Args:
      cell: the decoder's.
      words: V, the vocabulary.
      example: one picture `[S, S, 3]` uint8, or its features `[F]`, `[P, F]` or `[h, w, F]`.
      attention: "dot", "additive", or None for one vector that sets the initial carry.
      features: M, of the picture or of each position.
      embedding: E, size of the word embedding.
      dropout: of embedded words and of the input of the head.
      word_dropout: rate at which training replaces input words by <unk>.

    Raises:
      ValueError: attention over features that have no positions.
    """
    encoder = _encoder(example, features, attention)
    dtype: Any = jnp.result_type(float)
    hidden = nn.Dense(2 * embedding, param_dtype=dtype)
    head = nn.Sequential([hidden, nn.tanh, nn.Dense(words, param_dtype=dtype)])
    embed = nn.Embed(words, embedding, param_dtype=dtype)
    if attention is None:
        decoder = one_to_many(cell, head, embed=embed, context=encoder, dropout=dropout)
    else:
        decoder = encoder_decoder(
            None,
            cell,
            head,
            embed=embed,
            source_embed=encoder,
            attention=attention,
            dropout=dropout,
        )

    @jax.jit
    def init(key: Array) -> Params:
        return decoder.init(key, jnp.asarray(example)[None], jnp.zeros((1, 1), int))

    return Captioner(decoder, init, _loss(decoder, word_dropout))


def _encoder(example: np.ndarray, features: int, attention: str | None) -> Module:
    if example.dtype == np.uint8:
        return Convolutions(features, as_map=attention is not None)
    if attention is None:
        return GivenFeature(features)
    if example.ndim < 2:
        raise ValueError(
            f"the features have shape {example.shape} for one picture, without positions "
            f"to attend to: give [P, F] or [h, w, F], or {option('attention', 'none')}"
        )
    return GivenMap(features)


def _loss(decoder: Decoder, word_dropout: float) -> Loss:
    def loss(params: Params, carry: Carry, batch: CaptionBatch, key: Array | None):
        del carry
        words, lengths = jnp.asarray(batch.words), jnp.asarray(batch.lengths)
        before = jnp.concatenate([jnp.full_like(words[:1], BEGIN), words[:-1]])
        if key is not None and word_dropout:
            key_words, key = jax.random.split(key)
            hidden = jax.random.bernoulli(key_words, word_dropout, before.shape)
            before = jnp.where(hidden & (before != BEGIN), UNKNOWN, before)
        logits = decoder.apply(params, batch.pictures, before, lengths=lengths, key=key)
        valid = valid_steps(lengths, len(words))
        right = jnp.mean(hits(logits, words), where=valid)
        return cross_entropy(logits, words, valid), (None, {"right_words": right})

    return loss
