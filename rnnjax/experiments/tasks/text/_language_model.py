"""The language model: token embedding, cell, and scores of all next tokens."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell
from rnnjax.scenarios import ManyToMany, ManyToManyParams, dropout, many_to_many


class Embedding(nn.Module):
    """Token embedding: ids `[...]` to features `[..., D]`, with dropout in training.

        x_t = m_t ⊙ E[w_t],   m_t ~ Bernoulli(1 - dropout) / (1 - dropout)

    Dropout is active only with a "dropout" key, which `rnnjax.scenarios` passes in training.
    """

    entries: int
    features: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, ids: Array) -> Array:
        table = nn.Embed(
            self.entries, self.features, param_dtype=jnp.result_type(float), name="table"
        )
        training = self.has_rng("dropout")
        return nn.Dropout(self.dropout, deterministic=not training)(table(ids))


class LanguageModel(NamedTuple):
    net: ManyToMany  # outputs scores [..., V]
    embed: Callable[[ManyToManyParams, Array], Array]  # (params, tokens [...]) -> xs [..., D]
    head: Callable[[ManyToManyParams, Array], Array]  # (params, ys [..., H]) -> scores [..., V]


def language_model(
    cell: Cell,
    vocabulary: int,
    embedding: int,
    *,
    tied: bool = False,
    dropout_rate: float = 0.0,
    embedding_dropout: float = 0.0,
) -> LanguageModel:
    """A recurrent language model: embedding, cell and output layer.

        h_t = cell(h_{t-1}, E[w_t]);   p(w_{t+1} | w_1 … w_t) = softmax(W h_t + b)

    With tied weights the scores are E (W h_t + b), where W maps the outputs of the cell to the
    size of the embedding.

    Args:
      cell: the recurrent part.
      vocabulary: V, the number of tokens.
      embedding: D, size of the token embedding.
      tied: whether the output shares E.
      dropout_rate: of the input of the head.
      embedding_dropout: of the token embedding.

    Returns:
      A `LanguageModel`; its params are those of `rnnjax.scenarios.many_to_many`.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> model = language_model(rnnjax.gru(8), vocabulary=20, embedding=4, tied=True)
      >>> tokens = jnp.zeros((5, 2), int)
      >>> params = model.net.init(jax.random.key(0), tokens)
      >>> model.net.apply(params, tokens)[1].shape
      (5, 2, 20)

    References:
      Press & Wolf (2017), Using the output embedding to improve language models, EACL.
      Inan, Khosravi & Socher (2017), Tying word vectors and word classifiers, ICLR.
    """
    embed = Embedding(vocabulary, embedding, embedding_dropout)
    size = embedding if tied else vocabulary
    dense = nn.Dense(size, param_dtype=jnp.result_type(float))
    net = many_to_many(cell, dropout(dense, dropout_rate), embed=embed)

    one_step = cast(Callable[..., tuple[Carry, Array]], net.step)  # not None for a cell

    def scores(params: ManyToManyParams, outputs: Array) -> Array:
        if not tied:
            return outputs
        return outputs @ params.embed["params"]["table"]["embedding"].T

    def apply(params: ManyToManyParams, xs: Array, **options: Any) -> tuple[Carry, Array]:
        carry, outputs = net.apply(params, xs, **options)
        return carry, scores(params, outputs)

    def step(params: ManyToManyParams, carry: Carry, token: Array) -> tuple[Carry, Array]:
        carry, outputs = one_step(params, carry, token)
        return carry, scores(params, outputs)

    def head(params: ManyToManyParams, ys: Array) -> Array:
        return scores(params, jnp.asarray(dense.apply(params.head, ys)))

    def features(params: ManyToManyParams, tokens: Array) -> Array:
        return jnp.asarray(embed.apply(params.embed, tokens))

    return LanguageModel(net._replace(apply=apply, step=step), features, head)


def initial_carry(model: LanguageModel, params: ManyToManyParams, batch_size: int) -> Carry:
    """The carry before the first token, for `batch_size` streams."""
    start = cast(Callable[..., Carry], model.net.initial_carry)
    return start(params, (batch_size,))
