"""Encoder-decoder (sequence to sequence), with attention: translation, captioning."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_choice, check_rate
from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.running import blank, pack
from rnnjax.scenarios._attention import KINDS
from rnnjax.scenarios._carries import differentiable_leaves, leaves_by_path
from rnnjax.scenarios._decoder import Decoder, Encoded, Encoder, decoder
from rnnjax.scenarios._modules import (
    Module,
    apply_module,
    check_features,
    check_fields,
    check_module,
    split_key,
)
from rnnjax.scenarios._reading import (
    Reader,
    as_reader,
    check_reads_vectors,
    init_reading,
    read,
    without_padding,
)
from rnnjax.unrolling import Layer


class EncoderParams(NamedTuple):
    embed: Params  # None without a source_embed
    layer: Params  # None without an encoder


def encoder_decoder(
    encoder: Layer | Cell | None,
    cell: Cell,
    head: Module,
    *,
    embed: Module,
    source_embed: Module | None = None,
    attention: str | None = None,
    dropout: float = 0.0,
) -> Decoder:
    """A sequence-to-sequence model: encode one sequence, decode another of a different length.

        m_1 … m_S = encoder(source);   carry_0 = tanh(last carry of the encoder · W + b)
        carry_t, y_t = step(carry_{t-1}, embed(w_{t-1}));   logits_t = head(y_t)      t = 1 … T

    With attention, the decoder attends to the whole memory m before each word; the context c_t
    is also an input of the next step:

        carry_t, y_t = step(carry_{t-1}, [embed(w_{t-1}), c_{t-1}])
        a_ts = softmax_s(score(y_t, m_s));   c_t = Σ_s a_ts m_s;   logits_t = head([y_t, c_t])

        dot:       score(y, m) = yᵀ W m / √H
        additive:  score(y, m) = vᵀ tanh(W_y y + W_m m + b)

    Without an encoder the source itself is the memory, and carry_0 is computed from its mean.

    Args:
      encoder: a cell, or a layer such as `bidirectional(...)`; None where the source is a
        memory `[S, B, M]`, such as the feature map of an image, or is mapped to one by
        `source_embed`.
      cell: the decoder's, any cell.
      head: a module from `[T, B, H]`, or one step of it, to logits over the V words; with
        attention it reads `[..., H + M]`.
      embed: `flax.linen.Embed(V, E)` for the words of the decoder.
      source_embed: a module from the source to features, such as `flax.linen.Embed` for token
        ids `[S, B]` or, without an encoder, a CNN from images to `[S, B, M]`.
      attention: None, "dot" or "additive".
      dropout: rate at which features of the decoder's embedded words and of what its head reads
        are dropped in training.

    Returns:
      A `Decoder`, as `one_to_many` describes it; the options of `apply` are for the decoder, the
      encoder runs without. `apply`, `begin` and `attention` take `source_lengths [B]` for
      right-padded sources. With attention,
      `attention(params, source, tokens, *, source_lengths=None, lengths=None) -> a [T, B, S]`
      returns the attention weights for the words that follow `tokens`, and after each `step`
      `state.weights [B, S]` holds those of that step.

    Raises:
      TypeError: an integer source without `source_embed`; tokens that are not integers;
        arguments that are not a cell or a module.
      ValueError: an unknown attention, shapes that do not fit, and as `unroll`.

    Example:
      >>> import flax.linen as nn, jax, rnnjax
      >>> from rnnjax import scenarios
      >>> both = rnnjax.bidirectional(rnnjax.gru(4), rnnjax.gru(4))
      >>> model = scenarios.encoder_decoder(
      ...     both, rnnjax.gru(8), nn.Dense(20), embed=nn.Embed(20, 6), attention="additive")
      >>> source, words = jax.numpy.ones((9, 3, 5)), jax.numpy.ones((7, 3), int)
      >>> params = model.init(jax.random.key(0), source, words)
      >>> model.apply(params, source, words).shape
      (7, 3, 20)
      >>> model.attention(params, source, words).shape     # T, B, S
      (7, 3, 9)

    References:
      Sutskever, Vinyals & Le (2014), Sequence to sequence learning with neural networks, NeurIPS.
      Bahdanau, Cho & Bengio (2015), Neural machine translation by jointly learning to align and
      translate, ICLR (additive).
      Luong, Pham & Manning (2015), Effective approaches to attention-based neural machine
      translation, EMNLP (dot, with the context fed to the next step).
    """
    check_reads_vectors("cell", cell)
    for name, module in (("head", head), ("embed", embed)):
        check_module(name, module)
    if source_embed is not None:
        check_module("source_embed", source_embed)
    if attention is not None:
        check_choice("attention", attention, KINDS)
    check_rate("dropout", dropout)
    if encoder is None:
        reader = _memory_reader(source_embed)
    else:
        reader = _sequence_reader(as_reader("encoder", encoder), source_embed)
    return decoder(reader, cell, head, embed, attention, dropout)


def _sequence_reader(reader: Reader, embed: Module | None) -> Encoder:
    def init(key: Array, source: Array) -> EncoderParams:
        return EncoderParams(
            *init_reading(embed, reader, key, source, "source_embed", "source")[:2]
        )

    def encode(
        params: EncoderParams, source: Array, lengths: Array | None, key: Array | None
    ) -> Encoded:
        check_fields(params, EncoderParams, "params.encoder", embed=embed)
        keys, layer = split_key(key, 2), reader.layer
        features = read(embed, params.embed, source, lengths, keys[0], "source_embed", "source")
        carry, ys = layer.apply(params.layer, features.xs, lengths=features.lengths, key=keys[1])
        plain = carry
        if key is not None:
            plain = jax.eval_shape(lambda xs: layer.apply(params.layer, xs)[0], features.xs)
        return Encoded(_summary(carry, plain), ys, features.valid)

    return Encoder(init, encode)


def _summary(carry: Carry, plain: Carry) -> Array:
    """The state in a carry as real vectors [B, F]; `plain` has no masks and keys of training."""
    leaves = leaves_by_path(carry)
    return pack([leaves[path] for path in differentiable_leaves(plain)], 1)


def _memory_reader(embed: Module | None) -> Encoder:
    def init(key: Array, source: Any) -> EncoderParams:
        return EncoderParams(None if embed is None else embed.init(key, source), None)

    def encode(
        params: EncoderParams, source: Any, lengths: Array | None, key: Array | None
    ) -> Encoded:
        check_fields(params, EncoderParams, "params.encoder", embed=embed, layer=None)
        memory = source if embed is None else apply_module(embed, params.embed, source, key)
        memory = check_features("source", memory, "[S, B, M], positions first")
        if jnp.ndim(memory) != 3:
            raise ValueError(
                f"the memory has shape {jnp.shape(memory)}: expected [S, B, M], positions first; "
                "pass source_embed= to compute one from the source, or use one_to_many for one "
                "feature vector"
            )
        memory, lengths, valid = without_padding(memory, lengths, "source")
        total = jnp.sum(blank(valid, memory), axis=0)
        if lengths is None:
            return Encoded(total / memory.shape[0], memory, valid)
        count = jnp.maximum(lengths, 1)[:, None].astype(total.dtype)
        return Encoded(total / count, memory, valid)

    return Encoder(init, encode)
