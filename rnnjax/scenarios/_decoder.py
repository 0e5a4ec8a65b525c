"""An autoregressive decoder given a source: what captioning and translation share."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from rnnjax._checks import check_number, check_real, described
from rnnjax._dtypes import promoted
from rnnjax._params import in_dtype_of
from rnnjax._random import check_key
from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.running import blank, fill_padding, in_float32
from rnnjax.scenarios._attention import (
    AttentionParams,
    AttentiveCarry,
    AttentiveParams,
    Memory,
    attentive,
    init_attention,
    remember,
)
from rnnjax.scenarios._carries import bridge, init_bridge
from rnnjax.scenarios._modules import (
    Module,
    apply_module,
    check_fields,
    check_tokens,
    drop,
    embedded,
    head_at_each,
    split_key,
)
from rnnjax.scenarios._reading import Features, one_step, read, without_padding
from rnnjax.unrolling import recurrent, unroll


class Encoded(NamedTuple):
    summary: Array  # [B, F] the decoder's initial carry is computed from it
    memory: Array | None  # [S, B, M] what attention reads
    valid: Array | None  # [S, B]


class Encoder(NamedTuple):
    """A pair of pure functions from a decoder's source to `Encoded`."""

    init: Callable[[Array, Array], Params]  # (key, source) -> params
    apply: Callable[..., Encoded]  # (params, source, lengths, key) -> Encoded


class DecoderParams(NamedTuple):
    encoder: Params
    bridge: dict[str, Params]  # dense maps from the summary, by the path of a leaf of the carry
    embed: Params
    cell: Params
    attention: AttentionParams | None
    head: Params


class DecoderState(NamedTuple):
    """The state of a decoder between two words; every leaf is batch first."""

    carry: Carry
    memory: Memory | None
    weights: Array | None  # [B, S] attention weights of the last word


class Decoder(NamedTuple):
    """Pure functions over `DecoderParams`; made by `one_to_many` and `encoder_decoder`."""

    init: Callable[[Array, Any, Array], DecoderParams]  # (key, source, tokens) -> params
    apply: Callable[..., Array]  # (params, source, tokens, *, …) -> logits [T, B, V]
    begin: Callable[..., DecoderState]  # (params, source, *, source_lengths, key) -> state
    step: Callable[..., tuple[DecoderState, Array]]  # (params, state, token) -> (state, logits)
    attention: Callable[..., Array] | None  # (params, source, tokens, *, …) -> [T, B, S]


class _Parts(NamedTuple):
    encoder: Encoder
    cell: Cell
    core: Cell  # the cell, wrapped with attention if there is any
    head: Module
    embed: Module
    kind: str | None  # of attention
    dropout: float


def decoder(
    encoder: Encoder,
    cell: Cell,
    head: Module,
    embed: Module,
    kind: str | None = None,
    dropout: float = 0.0,
) -> Decoder:
    """A `Decoder` for any `Encoder` of its source."""
    core = cell if kind is None else attentive(cell, kind)
    parts = _Parts(encoder, cell, core, head, embed, kind, dropout)
    sampled = jax.jit(partial(_sampled, parts))

    def init(key: Array, source: Any, tokens: Array) -> DecoderParams:
        return _init(parts, key, source, check_tokens("tokens", tokens, 2))

    def begin(
        params: DecoderParams,
        source: Any,
        *,
        source_lengths: Array | None = None,
        key: Array | None = None,
    ) -> DecoderState:
        return _begin(parts, params, source, source_lengths, key)

    def step(
        params: DecoderParams, state: DecoderState, token: Array
    ) -> tuple[DecoderState, Array]:
        _check_params(parts, params)
        token = check_tokens("token", token, 1)
        if not isinstance(state, DecoderState):
            raise TypeError(
                "state must be the DecoderState that begin(params, source) or step returns, got "
                f"{described(state)}"
            )
        if (state.memory is None) != (kind is None):
            raise ValueError(
                "state is that of a decoder with attention where this one has none, or the other "
                "way round: begin with model.begin(params, source) of this model"
            )
        _check_batch("token", token, state)
        return _step(parts, params, state, token)

    def apply(
        params: DecoderParams,
        source: Any,
        tokens: Array,
        *,
        source_lengths: Array | None = None,
        lengths: Array | None = None,
        key: Array | None = None,
        sampling: float | Array = 0.0,
        **options: Any,
    ) -> Array:
        tokens = check_tokens("tokens", tokens, 2)
        _check_options(options)
        keys = split_key(key, 2)
        state = _begin(parts, params, source, source_lengths, keys[0])
        _check_batch("tokens", tokens, state)
        if not isinstance(sampling, Tracer) and check_number("sampling", sampling) == 0.0:
            if options.get("resets") is not None:
                options["key"] = _carry_key(keys[0])
            return _forced(parts, params, state, tokens, lengths, keys[1], options)[0]
        _check_sampling(sampling, options)
        if keys[1] is None:
            raise ValueError("sampling= draws words from the model's own predictions: pass key=")
        rate = jnp.asarray(sampling)
        return sampled(params, state, without_padding(tokens, lengths, "tokens"), keys[1], rate)

    def attention(
        params: DecoderParams,
        source: Any,
        tokens: Array,
        *,
        source_lengths: Array | None = None,
        lengths: Array | None = None,
    ) -> Array:
        tokens = check_tokens("tokens", tokens, 2)
        state = _begin(parts, params, source, source_lengths, None)
        _check_batch("tokens", tokens, state)
        return _forced(parts, params, state, tokens, lengths, None, {})[1].weights

    return Decoder(init, apply, begin, step, None if kind is None else attention)


def _init(parts: _Parts, key: Array, source: Any, tokens: Array) -> DecoderParams:
    keys = jax.random.split(check_key(key), 6)
    encoder = parts.encoder.init(keys[0], source)
    encoded = jax.eval_shape(parts.encoder.apply, encoder, source, None, None)
    embed = parts.embed.init(keys[1], tokens)
    xs = jax.eval_shape(parts.embed.apply, embed, tokens)
    width = 0 if parts.kind is None else _check_memory(encoded.memory)
    cell = parts.cell.init(keys[2], xs.shape[-1] + width)
    y = one_step(recurrent(parts.cell), cell, (xs.shape[-1] + width,))
    summary = in_dtype_of(cell, jnp.zeros((1, encoded.summary.shape[-1])))
    maps = init_bridge(parts.cell, cell, keys[3], summary)
    attention, features = None, y
    if parts.kind is not None:
        value = in_dtype_of(cell, jnp.zeros((1, width)))
        attention = init_attention(parts.kind, keys[4], y, value)
        features = jnp.concatenate([y, value], axis=-1)
    return DecoderParams(encoder, maps, embed, cell, attention, parts.head.init(keys[5], features))


def _check_memory(memory: Any) -> int:
    """The number of features M of what attention reads."""
    if memory.ndim != 3:
        raise ValueError(
            f"the encoder's outputs have shape {memory.shape}: attention reads [S, B, M], vectors "
            "at S positions; pass an encoder whose outputs are vectors, or attention=None"
        )
    return memory.shape[-1]


def _begin(
    parts: _Parts, params: DecoderParams, source: Any, lengths: Array | None, key: Array | None
) -> DecoderState:
    _check_params(parts, params)
    encoded = parts.encoder.apply(params.encoder, source, lengths, split_key(key, 2)[0])
    summary = in_dtype_of(params.cell, encoded.summary)
    carry = bridge(parts.cell, params.cell, params.bridge, summary, _carry_key(key))
    if parts.kind is None or encoded.memory is None or params.attention is None:
        return DecoderState(carry, None, None)
    memory = check_real("what attention reads", encoded.memory)
    values = in_dtype_of(params.cell, memory).swapaxes(0, 1)
    valid = None if encoded.valid is None else encoded.valid.T
    memory = remember(parts.kind, params.attention, values, valid)
    context = jnp.zeros((len(values), values.shape[-1]), values.dtype)
    weights = jnp.zeros(values.shape[:2], values.dtype)
    return DecoderState(AttentiveCarry(carry, context), memory, weights)


def _carry_key(key: Array | None) -> Array | None:
    """The key that `_begin` draws a carry's randomness from, which is that of resets as well."""
    return split_key(key, 2)[1]


def _core_params(parts: _Parts, params: DecoderParams, memory: Memory | None) -> Params:
    if memory is None or params.attention is None:
        return params.cell
    return AttentiveParams(params.cell, params.attention, memory)


def _step(
    parts: _Parts,
    params: DecoderParams,
    state: DecoderState,
    token: Array,
    key: Array | None = None,
) -> tuple[DecoderState, Array]:
    keys = split_key(key, 4)
    x_t = embedded("token", parts.embed, params.embed, token, keys[0])
    x_t = drop(x_t, parts.dropout, keys[1])
    core = _core_params(parts, params, state.memory)
    carry, out = parts.core.step(core, state.carry, in_dtype_of(params.cell, x_t))
    features, weights = (out, None) if parts.kind is None else out
    features = drop(features, parts.dropout, keys[2])
    logits = apply_module(parts.head, params.head, features, keys[3])
    return DecoderState(carry, state.memory, weights), logits


def _forced(
    parts: _Parts,
    params: DecoderParams,
    state: DecoderState,
    tokens: Array,
    lengths: Array | None,
    key: Array | None,
    options: dict[str, Any],
) -> tuple[Array, Any]:
    """Logits under teacher forcing, and the cell's outputs that they were computed from."""
    keys = split_key(key, 4)
    mask = options.get("mask")
    features = read(parts.embed, params.embed, tokens, lengths, keys[0], what="tokens", mask=mask)
    xs, lengths, valid = features
    xs = in_dtype_of(params.cell, drop(xs, parts.dropout, keys[1]))
    core = _core_params(parts, params, state.memory)
    _, out = unroll(parts.core, core, xs, carry=state.carry, lengths=lengths, **options)
    features = out if parts.kind is None else out.features
    features = drop(features, parts.dropout, keys[2])
    features = fill_padding(features, lengths, valid)
    return blank(valid, head_at_each(parts.head, params.head, features, keys[3])), out


def _sampled(
    parts: _Parts,
    params: DecoderParams,
    state: DecoderState,
    tokens: Features,
    key: Array,
    rate: Array,
) -> Array:
    """Logits under scheduled sampling: inputs are, at this rate, the model's own predictions."""
    wide, narrow = in_float32((params, state.memory))
    ids, _, valid = tokens
    ids = ids.astype(promoted(ids, jnp.int32))  # wide enough for any prediction
    steps = ids.shape[0]
    first = jnp.arange(steps) == 0

    def body(state_tm1: tuple[Carry, Array], inputs: tuple[Array, Array, Array]):
        carry, predicted = state_tm1
        token, first, key = inputs
        key_coin, key_sample, key_drop = jax.random.split(key, 3)
        own = jax.random.bernoulli(key_coin, rate, token.shape) & ~first
        params, memory = narrow(wide)
        before = state._replace(carry=carry, memory=memory)
        after, logits = _step(parts, params, before, jnp.where(own, predicted, token), key_drop)
        predicted = jax.random.categorical(key_sample, logits).astype(token.dtype)
        return (after.carry, predicted), logits

    initial = (state.carry, jnp.zeros_like(ids[0]))
    _, logits = jax.lax.scan(body, initial, (ids, first, jax.random.split(key, steps)))
    return blank(valid, logits)


def _check_params(parts: _Parts, params: DecoderParams) -> None:
    check_fields(params, DecoderParams, attention=parts.kind)
    if parts.kind is not None:
        scored = "additive" if parts.kind == "additive" else None
        check_fields(
            params.attention, AttentionParams, "params.attention", query=scored, score=scored
        )


def _check_batch(name: str, tokens: Array, state: DecoderState) -> None:
    batch = jax.tree.leaves(state)[0].shape[0]
    if tokens.shape[-1] != batch:
        raise ValueError(
            f"{name} has shape {tokens.shape} but the source has a batch of {batch}: expected "
            f"{batch} in the last axis"
        )


def _check_options(options: dict[str, Any]) -> None:
    reasons = {
        "carry": "the initial carry of a decoder is computed from the source",
        "reverse": "each word is predicted from the words before it, so they are read in order",
        "return_carries": "it returns logits alone, and step returns the state after each word",
    }
    for name in reasons.keys() & options.keys():
        raise ValueError(f"{name} cannot be given to a decoder: {reasons[name]}. Leave it out")


def _check_sampling(sampling: Any, options: dict[str, Any]) -> None:
    if options:
        raise ValueError(
            f"{', '.join(sorted(options))} cannot be given with sampling=, which runs step by "
            "step: leave sampling out for teacher forcing"
        )
    if not isinstance(sampling, Tracer) and not 0.0 <= float(sampling) <= 1.0:
        raise ValueError(f"sampling is a probability in [0, 1], got {sampling}")
