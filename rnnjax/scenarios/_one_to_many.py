"""One to many: a sequence of words from a single feature vector (captioning)."""

from typing import Any

from rnnjax._checks import check_rate
from rnnjax._types import Array, Cell, Params
from rnnjax.scenarios._decoder import Decoder, Encoded, Encoder, decoder
from rnnjax.scenarios._modules import Module, apply_module, check_features, check_module, check_part
from rnnjax.scenarios._reading import check_reads_vectors


def one_to_many(
    cell: Cell, head: Module, *, embed: Module, context: Module | None = None, dropout: float = 0.0
) -> Decoder:
    """A model that generates a sequence of words from one source, such as a caption of an image.

        f = context(source);   carry_0 = tanh(f W + b), a map for each leaf of the carry
        carry_t, y_t = step(carry_{t-1}, embed(w_{t-1}));   logits_t = head(y_t)      t = 1 … T

    w_0 is the start token. Under teacher forcing, where the previous words are given, this is
    `many_to_many` on those words from the initial carry that `begin` computes.

    Args:
      cell: any cell, stacks included.
      head: a module from `[T, B, H]`, or one step of it, to logits over the V words.
      embed: `flax.linen.Embed(V, E)`.
      context: a module from the source to a feature vector `[B, F]`, such as a CNN trained
        together with the decoder; None where the source is that feature vector.
      dropout: rate at which features of the embedded words and of y_t are dropped in training.

    Returns:
      A `Decoder` of
      `init(key, source, tokens) -> params`;
      `apply(params, source, tokens, *, lengths=None, key=None, sampling=0.0, **options)
      -> logits [T, B, V]`: tokens `[T, B]` are the previous words, so that logits_t predicts the
      word after tokens_t; zero in the padding; the options are `gradient`, `method`, `mask` and
      `resets` of `unroll`, where a reset restores the cell's own initial carry, not the one
      computed from the source. With `sampling` each word after the first is, at this rate, drawn
      from the model's own prediction instead: scheduled sampling if the rate grows during training,
      free running at 1;
      `begin(params, source, *, key=None) -> state` and `step(params, state, token [B]) ->
      (state, logits [B, V])`, for `greedy`, `sample` and `beam_search`;
      `attention`: None.
      A key turns on all dropout.

    Raises:
      TypeError: tokens that are not integers; arguments that are not a cell or a module.
      ValueError: shapes that do not fit, sampling without a key, `carry`, `reverse` or
        `return_carries` given, and as `unroll`.

    Example:
      >>> import flax.linen as nn, jax, rnnjax
      >>> from functools import partial
      >>> from rnnjax import scenarios
      >>> model = scenarios.one_to_many(rnnjax.lstm(8), nn.Dense(20), embed=nn.Embed(20, 6))
      >>> feature, words = jax.numpy.ones((3, 5)), jax.numpy.ones((7, 3), int)
      >>> params = model.init(jax.random.key(0), feature, words)
      >>> model.apply(params, feature, words).shape        # teacher forced
      (7, 3, 20)
      >>> step, state = partial(model.step, params), model.begin(params, feature)
      >>> scenarios.greedy(step, state, words[0], 7, end=0).tokens.shape
      (7, 3)

    References:
      Vinyals et al. (2015), Show and tell: a neural image caption generator, CVPR.
      Xu et al. (2015), Show, attend and tell, ICML (the initial carry from the image).
      Bengio, Vinyals, Jaitly & Shazeer (2015), Scheduled sampling for sequence prediction with
      recurrent neural networks, NeurIPS.
    """
    check_reads_vectors("cell", cell)
    for name, module in (("head", head), ("embed", embed)):
        check_module(name, module)
    if context is not None:
        check_module("context", context)
    check_rate("dropout", dropout)

    def init(key: Array, source: Any) -> Params:
        return None if context is None else context.init(key, source)

    def encode(params: Params, source: Any, lengths: Array | None, key: Array | None) -> Encoded:
        if lengths is not None:
            raise ValueError(
                "source_lengths is for sequences: one_to_many reads one feature vector"
            )
        check_part("params.encoder", params, context)
        feature = source if context is None else apply_module(context, params, source, key)
        feature = check_features("source", feature, "[B, F]")
        if feature.ndim != 2:
            raise ValueError(
                f"the source's feature has shape {feature.shape}: expected [B, F]; pass "
                "context= to compute it from the source, or use encoder_decoder for a sequence"
            )
        return Encoded(feature, None, None)

    return decoder(Encoder(init, encode), cell, head, embed, None, dropout)
